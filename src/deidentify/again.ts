/**
 * A second cleaning of what is stored: what came later may name people, places and numbers that were nobody's when a text was cleaned.
 * Only texts and code strings are looked at, by the rules that wrote them; every other byte is copied.
 */
import { decodeText, UTF_8 } from '../dicom/character-set.ts';
import { asciiOf, valueBytes, withoutTrailingPadding, type DataElement, type DataSet } from '../dicom/data-set.ts';
import { isPrivate, isPrivateCreator, tag, vrOf } from '../dicom/dictionary.ts';
import { attributeType } from '../dicom/iod.ts';
import type { Deidentified } from '../dicom/object.ts';
import type { HeadAndBody } from '../dicom/part10.ts';
import { VR_TRAITS } from '../dicom/vr.ts';
import {
  copyElement,
  openSink,
  sinkBytes,
  writeBytes,
  writeElement,
  writeText,
  type Sink,
  writeSequence,
} from '../dicom/writer.ts';
import { isPublicScheme } from './codes.ts';
import { domainOf, type Wall } from './wall.ts';
import { findStudy } from './crosswalk.ts';
import { openCleaner, type Cleaner } from './free-text.ts';
import { isIdentifier, retained } from './identity.ts';
import { stamped } from './inspect.ts';
import { knownKin, NOTHING_SAID, wholeIdentity } from './kin.ts';
import { conditionHolds, findOverride } from './overrides.ts';
import type { CompiledProfile } from './profile.ts';
import { STAMP_TAGS } from './stamps.ts';
import { planOf } from './unlisted.ts';
import { isClinicalWord } from './vocabulary.ts';

/** What is known by now, as the profile of an object looks for it. */
interface Knowledge {
  readonly profile: CompiledProfile;
  readonly cleaner: Cleaner;
  /** Words of names and of the patient's numbers, upper case. */
  readonly words: ReadonlySet<string>;
}

interface Again extends Knowledge {
  readonly root: DataSet;
  readonly sopClassUID: string;
  /** What is left of each text that does not stay as it is. */
  readonly left: Map<DataElement, string>;
}

export interface SecondCleaning {
  /** The head of a stored object with what is known by now taken out; undefined when nothing has to go. */
  clean(read: HeadAndBody, sopClassUID: string): Buffer | undefined;
}

/** Undefined where nothing is known of the study any more. */
export function openSecondCleaning(
  wall: Wall,
  of: { readonly project: string; readonly studyInstanceUID: string; readonly profiles: readonly CompiledProfile[] },
): SecondCleaning | undefined {
  const own = findStudy(wall, of.project, of.studyInstanceUID);
  if (own === undefined) return undefined;
  const kin = knownKin(wall, domainOf(wall, of.project), { patient: own.patient, study: of.studyInstanceUID });
  const words = new Set([...kin.patient.words, ...kin.study.words]);
  const known = new Map<CompiledProfile, Knowledge>();
  const knowledgeOf = (profile: CompiledProfile): Knowledge => {
    const knowledge = known.get(profile) ?? {
      profile,
      cleaner: openCleaner(
        wholeIdentity(NOTHING_SAID, kin, retained(profile.options)),
        profile.file.freeText ?? 'words',
      ),
      words,
    };
    known.set(profile, knowledge);
    return knowledge;
  };
  return {
    clean(read, sopClassUID) {
      const [newest] = stamped(read.head.dataSet).ruleSets;
      const profile = of.profiles.find(({ hash }) => newest !== undefined && hash.startsWith(newest));
      // What no rule set of ours has written was made here of what one has.
      const knowledge = profile === undefined ? [...known.values()][0] : knowledgeOf(profile);
      return knowledge && cleanHeadAgain(read, sopClassUID, knowledge);
    },
  };
}

function cleanHeadAgain(
  { head, bodyStart }: HeadAndBody,
  sopClassUID: string,
  knowledge: Knowledge,
): Buffer | undefined {
  const { dataSet } = head;
  const again: Again = { ...knowledge, root: dataSet, sopClassUID, left: new Map() };
  lookThrough(again, dataSet, []);
  if (again.left.size === 0) return undefined;
  const sink = openSink(bodyStart + 256);
  // Whatever we stored lies in memory as it was written: meta information before the data set, the pixel data's header behind it.
  writeBytes(sink, dataSet.bytes.subarray(0, dataSet.start));
  writeChanged(again, sink, dataSet, []);
  writeBytes(sink, dataSet.bytes.subarray(dataSet.end, bodyStart));
  return sinkBytes(sink);
}

/** The same instance in its better cleaned form; the pixel data as it is stored. */
export function withHead(object: Pick<Deidentified, Facts>, head: Buffer): Deidentified {
  return { ...object, head } as Deidentified;
}

type Facts = Exclude<keyof Deidentified, 'head' | symbol>;

function lookThrough(again: Again, dataSet: DataSet, path: number[]): void {
  for (const element of dataSet.elements) {
    if (path.length === 0 && STAMPS.has(element.tag)) continue;
    if (element.items === undefined) lookAt(again, dataSet, element, path);
    else {
      path.push(element.tag);
      for (const item of element.items) lookThrough(again, item, path);
      path.pop();
    }
  }
}

const STAMPS: ReadonlySet<number> = new Set(STAMP_TAGS);

function lookAt(again: Again, dataSet: DataSet, element: DataElement, path: readonly number[]): void {
  if (element.valueEnd === element.valueStart) return;
  const clean = cleanerOf(again, dataSet, element, path);
  if (clean === undefined) return;
  const { vr } = element;
  const text = withoutTrailingPadding(decodeText(UTF_8, valueBytes(dataSet, element), vr));
  const left = VR_TRAITS[vr].multiValued ? text.split('\\').map(clean).join('\\') : clean(text);
  if (left !== text) again.left.set(element, left);
}

function writeChanged(again: Again, sink: Sink, dataSet: DataSet, path: number[]): void {
  for (const element of dataSet.elements) {
    const left = again.left.get(element);
    if (left !== undefined) writeLeft(again, sink, element, left, path);
    else if (element.items === undefined) copyElement(sink, dataSet, element);
    else {
      path.push(element.tag);
      writeSequence(sink, element.tag, element.items, (item) => writeChanged(again, sink, item, path));
      path.pop();
    }
  }
}

/** Nothing left of an attribute that the IOD requires: a dummy, or no value. */
function writeLeft(again: Again, sink: Sink, element: DataElement, left: string, path: readonly number[]): void {
  const { tag: attribute, vr } = element;
  if (left.replaceAll('\\', '') !== '') return writeText(sink, attribute, vr, left);
  const type = attributeType(again.sopClassUID, [...path, attribute]);
  if (type === '1' || type === '1C') writeText(sink, attribute, vr, 'REMOVED');
  else if (type === '2' || type === '2C') writeElement(sink, attribute, vr, EMPTY);
}

const EMPTY = Buffer.alloc(0);
const CODE_MEANING = tag('CodeMeaning');
const CODING_SCHEME_DESIGNATOR = tag('CodingSchemeDesignator');

/** What the rules do to a text here; undefined for what no person wrote, or what was put in somebody's place. */
function cleanerOf(
  again: Again,
  dataSet: DataSet,
  { tag: attribute, vr }: DataElement,
  path: readonly number[],
): ((text: string) => string) | undefined {
  if (VR_TRAITS[vr].text === false || vr === 'PN' || attribute === SPECIFIC_CHARACTER_SET) return undefined;
  const { cleaner, profile } = again;
  const isText = TEXT.has(vr);
  if (isPrivate(attribute)) return isText && !isPrivateCreator(attribute) ? (text) => cleaner.clean(text) : undefined;
  const rule =
    findOverride(profile.overrides.get(attribute) ?? [], path, (one) => conditionHolds(one, again.root))?.rule ??
    profile.rules.get(attribute);
  if (vr === 'CS') {
    const stays = rule === undefined || rule.action === 'keep' || rule.action === 'clean';
    return stays ? (code) => (namesSomebody(again, attribute, code) ? '' : code) : undefined;
  }
  if (!isText) return undefined;
  if (rule !== undefined) {
    if (rule.action === 'clean') return (text) => cleaner.clean(text);
    if (rule.action === 'keep' && !isIdentifier(attribute, vrOf(attribute) ?? vr)) return (text) => cleaner.scrub(text);
    return undefined;
  }
  switch (planOf(attribute).kind) {
    case 'free-text':
      return profile.file.unknown === 'clean' ? (text) => cleaner.clean(text) : undefined;
    case 'kept-text':
      return (text) => (holdsWord(again, text) ? '' : text);
    case 'coded':
      return attribute === CODE_MEANING && !isPublicScheme(schemeOf(dataSet))
        ? (text) => (holdsWord(again, text) ? '' : text)
        : undefined;
    default:
      return undefined;
  }
}

const SPECIFIC_CHARACTER_SET = tag('SpecificCharacterSet');
const TEXT: ReadonlySet<string> = new Set(['LO', 'LT', 'SH', 'ST', 'UC', 'UT']);

function schemeOf(dataSet: DataSet): string {
  const element = dataSet.elements.find((one) => one.tag === CODING_SCHEME_DESIGNATOR);
  return element === undefined ? '' : asciiOf(dataSet, element);
}

function holdsWord({ words }: Again, text: string): boolean {
  const upper = text.toUpperCase();
  for (const word of words) if (upper.includes(word)) return true;
  return false;
}

/** Somebody's name as a whole word that no examination has; what describes pixels names nobody. */
function namesSomebody({ words }: Again, attribute: number, code: string): boolean {
  if (attribute >>> 16 === 0x0028) return false;
  return code.split(/[\\_ ]+/).some((word) => words.has(word.toUpperCase()) && !isClinicalWord(word.toLowerCase()));
}
