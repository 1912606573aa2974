/** What de-identification writes about itself: PS3.3 C.7.1.1 and C.7.5, codes of PS3.16 CID 7050. Earlier stamps are kept, ours follow. */
import { itemsOf, textValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { SOFTWARE_VERSION } from '../dicom/implementation.ts';
import { beginItem, endItem, writeText } from '../dicom/writer.ts';
import type { CompiledProfile } from './profile.ts';
import { NO_INSERTS, rewriteDataSet, writeCode, writeCodeSequence, type Insert, type Rewriting } from './rewrite.ts';

const PATIENT_IDENTITY_REMOVED = tag('PatientIdentityRemoved');
const DEIDENTIFICATION_METHOD = tag('DeidentificationMethod');
const DEIDENTIFICATION_METHOD_CODE_SEQUENCE = tag('DeidentificationMethodCodeSequence');
const RECOGNIZABLE_VISUAL_FEATURES = tag('RecognizableVisualFeatures');
const LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED = tag('LongitudinalTemporalInformationModified');

/** Every tag that stamps occupy: taken out again when an object goes back to its patient. */
export const STAMP_TAGS: readonly number[] = [
  PATIENT_IDENTITY_REMOVED,
  DEIDENTIFICATION_METHOD,
  DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
  LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
];

const CODES = {
  basic: ['113100', 'Basic Application Confidentiality Profile'],
  modifiedDates: ['113107', 'Retain Longitudinal Temporal Information Modified Dates Option'],
} as const;

export interface Verdict {
  /** Pixels that may hold text passed because the profile allows it. */
  readonly pixelsAtRisk: boolean;
  /** A head whose face was not removed passed because the profile allows it. */
  readonly faceVisible: boolean;
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
    [DEIDENTIFICATION_METHOD_CODE_SEQUENCE, (sink) => writeCodes(run, sink, dataSet)],
    [
      LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
      (sink) => writeText(sink, LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED, 'CS', temporal(profile)),
    ],
  ];
  if (verdict.faceVisible) {
    inserts.splice(3, 0, [
      RECOGNIZABLE_VISUAL_FEATURES,
      (sink) => writeText(sink, RECOGNIZABLE_VISUAL_FEATURES, 'CS', 'YES'),
    ]);
  }
  return inserts;
}

function temporal(profile: CompiledProfile): string {
  return profile.file.dates.mode === 'remove' ? 'REMOVED' : 'MODIFIED';
}

/** Earlier methods first; one that holds a word of the patient's goes. */
function methods(run: Rewriting, dataSet: DataSet): string[] {
  const own = `Isthmus ${SOFTWARE_VERSION} ${run.profile.name}@${run.profile.hash.slice(0, 8)}`;
  const earlier = (textValue(dataSet, DEIDENTIFICATION_METHOD) ?? '')
    .split('\\')
    .map((value) => value.trim())
    .filter((value) => value !== '' && value !== own)
    .filter((value) => ![...run.identifyingWords].some((word) => value.toUpperCase().includes(word)));
  return [...earlier, own];
}

function writeCodes(run: Rewriting, sink: Rewriting['sink'], dataSet: DataSet): void {
  const codes: (readonly [string, string])[] = [CODES.basic];
  if (run.profile.file.dates.mode === 'shift') codes.push(CODES.modifiedDates);
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
