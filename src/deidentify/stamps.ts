/** What de-identification writes about itself: PS3.3 C.7.1.1 and C.7.5, codes of PS3.16 CID 7050. Earlier stamps are kept, ours follow. */
import { asciiValues, findElement, itemsOf, numberValue, textValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { SOFTWARE_VERSION } from '../dicom/implementation.ts';
import { beginItem, endItem, writeNumbers, writeText } from '../dicom/writer.ts';
import type { DefacedPixels } from './faces/defacer.ts';
import { FRAME_TYPES } from './faces/stack.ts';
import type { CompiledProfile, Option } from './profile.ts';
import { NO_INSERTS, type Insert, type Rewriting } from './rewriting.ts';
import { rewriteDataSet } from './rewrite.ts';
import { writeCode, writeCodeSequence } from './codes.ts';

const IMAGE_TYPE = tag('ImageType');
const FRAME_TYPE = tag('FrameType');
const DERIVATION_DESCRIPTION = tag('DerivationDescription');
const SMALLEST = tag('SmallestImagePixelValue');
const LARGEST = tag('LargestImagePixelValue');
const PATIENT_IDENTITY_REMOVED = tag('PatientIdentityRemoved');
const DEIDENTIFICATION_METHOD = tag('DeidentificationMethod');
const DEIDENTIFICATION_METHOD_CODE_SEQUENCE = tag('DeidentificationMethodCodeSequence');
const BURNED_IN_ANNOTATION = tag('BurnedInAnnotation');
const RECOGNIZABLE_VISUAL_FEATURES = tag('RecognizableVisualFeatures');
const LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED = tag('LongitudinalTemporalInformationModified');

/** Every tag that stamps occupy: taken out again when an object goes back to its patient. */
export const STAMP_TAGS: readonly number[] = [
  PATIENT_IDENTITY_REMOVED,
  DEIDENTIFICATION_METHOD,
  DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
  LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
];

type Code = readonly [value: string, meaning: string];

const BASIC: Code = ['113100', 'Basic Application Confidentiality Profile'];
const CLEAN_PIXELS: Code = ['113101', 'Clean Pixel Data Option'];
const CLEAN_FACES: Code = ['113102', 'Clean Recognizable Visual Features Option'];
const FULL_DATES: Code = ['113106', 'Retain Longitudinal Temporal Information Full Dates Option'];
const MODIFIED_DATES: Code = ['113107', 'Retain Longitudinal Temporal Information Modified Dates Option'];
const SAFE_PRIVATE: Code = ['113111', 'Retain Safe Private Option'];
export const OPTION_CODES: Readonly<Record<Option, Code>> = {
  'clean-graphics': ['113103', 'Clean Graphics Option'],
  'clean-structured-content': ['113104', 'Clean Structured Content Option'],
  'clean-descriptors': ['113105', 'Clean Descriptors Option'],
  'retain-patient-characteristics': ['113108', 'Retain Patient Characteristics Option'],
  'retain-device-identity': ['113109', 'Retain Device Identity Option'],
  'retain-uids': ['113110', 'Retain UIDs Option'],
  'retain-institution-identity': ['113112', 'Retain Institution Identity Option'],
};

/** CID 7050 of what was truly done, ascending. */
function codesOf({ file, options }: CompiledProfile, verdict: Verdict): Code[] {
  const codes = [BASIC, ...[...options].map((option) => OPTION_CODES[option])];
  if (verdict.pixelsCleaned === true) codes.push(CLEAN_PIXELS);
  if (verdict.faceRemoved === true) codes.push(CLEAN_FACES);
  if (file.dates.mode === 'keep') codes.push(FULL_DATES);
  if (file.dates.mode === 'shift') codes.push(MODIFIED_DATES);
  if (file.private?.mode === 'safe-list') codes.push(SAFE_PRIVATE);
  return codes.sort(([a], [b]) => (a < b ? -1 : 1));
}

export interface Verdict {
  /** Pixels that may hold text passed because the profile allows it. */
  readonly pixelsAtRisk: boolean;
  /** A head whose face was not removed passed because the profile allows it. */
  readonly faceVisible: boolean;
  /** Text was looked for in the pixels, blanked, and a second look found none. */
  readonly pixelsCleaned?: boolean;
  /** The face was taken out of the volume. */
  readonly faceRemoved?: boolean;
}

export function stampInserts(run: Rewriting, dataSet: DataSet, verdict: Verdict): Insert[] {
  const { profile } = run;
  const inserts: Insert[] = [
    // Only what is true: with text in the pixels identity may not be gone.
    [
      PATIENT_IDENTITY_REMOVED,
      (sink) => writeText(sink, PATIENT_IDENTITY_REMOVED, 'CS', verdict.pixelsAtRisk ? 'NO' : 'YES'),
    ],
    [
      DEIDENTIFICATION_METHOD,
      (sink) => writeText(sink, DEIDENTIFICATION_METHOD, 'LO', methods(run, dataSet).join('\\')),
    ],
    [DEIDENTIFICATION_METHOD_CODE_SEQUENCE, (sink) => writeCodes(run, sink, dataSet, codesOf(profile, verdict))],
    [
      LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
      (sink) => writeText(sink, LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, 'CS', temporal(profile)),
    ],
  ];
  const say = (attribute: number, value: 'YES' | 'NO'): number =>
    inserts.splice(-1, 0, [attribute, (sink) => writeText(sink, attribute, 'CS', value)]).length;
  // What is stamped NO was made so here, and only here.
  if (verdict.pixelsCleaned === true) say(BURNED_IN_ANNOTATION, 'NO');
  if (verdict.faceRemoved === true) say(RECOGNIZABLE_VISUAL_FEATURES, 'NO');
  else if (verdict.faceVisible) say(RECOGNIZABLE_VISUAL_FEATURES, 'YES');
  return inserts;
}

/**
 * Of an image whose face was taken out: other pixels than the scanner's (PS3.3 C.7.6.1.1.2), and what lies in them now. Said of every
 * image of the series, since as a volume it is another one.
 */
export function defacedInserts(run: Rewriting, dataSet: DataSet, { smallest, largest }: DefacedPixels): Insert[] {
  const signed = numberValue(dataSet, tag('PixelRepresentation')) === 1;
  const inserts: Insert[] = [
    derivedType(run.identifyingWords, dataSet, IMAGE_TYPE),
    [
      DERIVATION_DESCRIPTION,
      (sink) =>
        writeText(sink, DERIVATION_DESCRIPTION, 'ST', `Face taken out, PS3.15 E.3.2 (Isthmus ${SOFTWARE_VERSION})`),
    ],
  ];
  for (const [attribute, value] of [
    [SMALLEST, smallest],
    [LARGEST, largest],
  ] as const) {
    if (findElement(dataSet, attribute) === undefined) continue;
    inserts.push([attribute, (sink) => writeNumbers(sink, attribute, signed ? 'SS' : 'US', [value])]);
  }
  return inserts;
}

/** And of each of its frames, where they have a type of their own (PS3.3 C.8.16.1.1): the two agree. */
export function defacedItemInserts(words: ReadonlySet<string>, sequence: number, item: DataSet): readonly Insert[] {
  return FRAME_TYPES.includes(sequence) ? [derivedType(words, item, FRAME_TYPE)] : NO_INSERTS;
}

function derivedType(identifyingWords: ReadonlySet<string>, dataSet: DataSet, attribute: number): Insert {
  const said = asciiValues(dataSet, attribute)
    .slice(1)
    .map((value) => value.trim().toUpperCase())
    .map((value) => (/^[A-Z0-9_ ]{0,16}$/.test(value) && !identifyingWords.has(value) ? value : ''));
  const values = ['DERIVED', ...(said.length === 0 ? ['PRIMARY'] : said)];
  return [attribute, (sink) => writeText(sink, attribute, 'CS', values.join('\\'))];
}

function temporal({ file }: CompiledProfile): string {
  if (file.dates.mode === 'keep') return 'UNMODIFIED';
  return file.dates.mode === 'remove' ? 'REMOVED' : 'MODIFIED';
}

/** Earlier methods first; one that holds a word of the patient's goes. */
function methods(run: Rewriting, dataSet: DataSet): string[] {
  const { name, hash, file } = run.profile;
  const own = [`Isthmus ${SOFTWARE_VERSION} ${name}@${hash.slice(0, 8)}`];
  if (file.determination !== undefined) own.push(`Expert determination ${file.determination.id}`);
  const earlier = (textValue(dataSet, DEIDENTIFICATION_METHOD) ?? '')
    .split('\\')
    .map((value) => value.trim())
    .filter((value) => value !== '' && !own.includes(value))
    .filter((value) => ![...run.identifyingWords].some((word) => value.toUpperCase().includes(word)));
  return [...earlier, ...own];
}

function writeCodes(run: Rewriting, sink: Rewriting['sink'], dataSet: DataSet, codes: readonly Code[]): void {
  const own = new Set(codes.map(([value]) => value));
  writeCodeSequence(sink, DEIDENTIFICATION_METHOD_CODE_SEQUENCE, () => {
    for (const item of itemsOf(dataSet, DEIDENTIFICATION_METHOD_CODE_SEQUENCE)) {
      if (own.has(textValue(item, tag('CodeValue')) ?? '')) continue;
      const mark = beginItem(sink);
      rewriteDataSet(run, item, NO_INSERTS, [DEIDENTIFICATION_METHOD_CODE_SEQUENCE]);
      endItem(sink, mark);
    }
    for (const [value, meaning] of codes) writeCode(sink, value, 'DCM', meaning);
  });
}
