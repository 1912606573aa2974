/**
 * Takes objects that this gateway derived from pseudonymous ones into the pseudonymous world, and notes which UIDs it minted, so that
 * re-identification can tell ours from one that merely does not resolve.
 */
import { asciiValue, asciiValues, findElement, itemsOf, textValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Deidentified } from '../dicom/object.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isWellKnownUid } from '../dicom/sop-class.ts';
import { parseUid } from '../dicom/uid.ts';
import { originalUid, patientOfStudy, rememberMinted } from './crosswalk.ts';
import { refuseGone } from './patients.ts';
import type { Wall } from './wall.ts';

export interface DerivedBytes {
  /** Preamble, file meta, data set up to and including the pixel data element's header. */
  readonly head: Buffer;
  readonly body: Buffer;
  readonly project: string;
}

/** Attributes by which an object gives a new thing its UID; everywhere else a UID refers to something that is there already. */
const DEFINING = [
  'SOPInstanceUID',
  'SeriesInstanceUID',
  'FrameOfReferenceUID',
  'SynchronizationFrameOfReferenceUID',
  'TrackingUID',
  'ConcatenationUID',
  'DimensionOrganizationUID',
  'ObservationUID',
  'FiducialUID',
  'ImplementationClassUID',
  'InstanceCreatorUID',
].map(tag);

/** Concepts of UIDREF content items that name a new thing: a tracked finding, the device that observed (PS3.16 TID 1501, 1004). */
const DEFINING_CONCEPTS: ReadonlySet<string> = new Set(['112040', '121012']);
const UID_VALUE = tag('UID');

/** @throws Refusal Unresolved when the study or its patient is not the crosswalk's; from `remember` Busy while the patient is erased */
export function certifyDerived(wall: Wall, derived: DerivedBytes): { object: Deidentified; remember: () => void } {
  const { head, body, project } = derived;
  const { dataSet, transferSyntaxUID } = readHead(head).head;
  const study = asciiValue(dataSet, 0x0020000d) ?? '';
  const patient = patientOfStudy(wall, project, study);
  if (patient === undefined) {
    throw new Refusal('Unresolved', 'Study Instance UID (0020,000D) of a derived object is no study of the project');
  }
  if (textValue(dataSet, tag('PatientID')) !== patient) {
    throw new Refusal('Unresolved', 'Patient ID (0010,0020) of a derived object is not that of its study');
  }
  const minted = new Set<string>();
  gatherMinted(wall, project, dataSet, minted);
  const object = {
    head,
    body: once(body),
    bodyLengthBytes: body.length,
    studyInstanceUID: parseUid(study, 'Study Instance UID (0020,000D)'),
    seriesInstanceUID: parseUid(asciiValue(dataSet, 0x0020000e) ?? '', 'Series Instance UID (0020,000E)'),
    sopInstanceUID: parseUid(asciiValue(dataSet, 0x00080018) ?? '', 'SOP Instance UID (0008,0018)'),
    sopClassUID: asciiValue(dataSet, 0x00080016) ?? '',
    transferSyntaxUID,
    project,
  } as Deidentified;
  const remember = (): void => {
    refuseGone(wall, project, patient);
    rememberMinted(wall, project, study, minted);
  };
  return { object, remember };
}

async function* once(body: Buffer): AsyncIterable<Buffer> {
  if (body.length > 0) yield body;
}

/** New UIDs at any depth; one that the crosswalk has came from the source. */
function gatherMinted(wall: Wall, project: string, dataSet: DataSet, minted: Set<string>): void {
  for (const attribute of [...DEFINING, ...(definesByConcept(dataSet) ? [UID_VALUE] : [])]) {
    if (findElement(dataSet, attribute) === undefined) continue;
    for (const uid of asciiValues(dataSet, attribute)) {
      if (uid === '' || minted.has(uid) || isWellKnownUid(uid)) continue;
      if (originalUid(wall, project, uid) === undefined) minted.add(uid);
    }
  }
  for (const element of dataSet.elements) {
    for (const item of element.items ?? []) gatherMinted(wall, project, item, minted);
  }
}

function definesByConcept(item: DataSet): boolean {
  if (asciiValue(item, tag('ValueType')) !== 'UIDREF') return false;
  const [concept] = itemsOf(item, tag('ConceptNameCodeSequence'));
  if (concept === undefined || asciiValue(concept, tag('CodingSchemeDesignator')) !== 'DCM') return false;
  return DEFINING_CONCEPTS.has(asciiValue(concept, tag('CodeValue')) ?? '');
}
