/**
 * Which attributes stand at which level (PS3.18 Tables 10.6.3-3 to -5), and how values are made comparable for matching
 * (PS3.4 C.2.2.2). Works on the DICOM JSON model, so character sets and paddings are behind us.
 */
import { tag } from '../dicom/dictionary.ts';
import { tagKey } from '../dicom/data-set.ts';
import { formatDicomJsonObject, type DicomJson, type DicomJsonElement } from '../dicom/json.ts';
import { timeBounds } from '../matching/moments.ts';
import { foldPerson } from '../matching/values.ts';

export type Level = 'study' | 'series' | 'instance';

/** Stands for the base of every URL until an answer is sent: `withBase` puts it in. */
export const BASE = '\u0001';

/** JSON text with the URLs complete. `base`: e.g. `https://host/dicom-web`, without a slash at its end. */
export function withBase(json: string, base: string): string {
  return json.replaceAll('"\\u0001/', `"${base}/`);
}

export interface LevelAttributes {
  /** Returned always, empty when absent, with the VR to say so. */
  readonly returned: Readonly<Record<string, string>>;
  /** Kept for includefield. */
  readonly further: readonly string[];
  /** Both. */
  readonly keys: readonly string[];
}

const keys = (...keywords: string[]): string[] => keywords.map((keyword) => tagKey(tag(keyword)));
const levelAttributes = (vrs: Record<string, string>, further: string[]): LevelAttributes => {
  const returned = Object.fromEntries(Object.entries(vrs).map(([keyword, vr]) => [tagKey(tag(keyword)), vr]));
  return { returned, further, keys: [...Object.keys(returned), ...further] };
};

export const STUDY_ATTRIBUTES = levelAttributes(
  {
    StudyDate: 'DA',
    StudyTime: 'TM',
    AccessionNumber: 'SH',
    ReferringPhysicianName: 'PN',
    PatientName: 'PN',
    PatientID: 'LO',
    PatientBirthDate: 'DA',
    PatientSex: 'CS',
    StudyInstanceUID: 'UI',
    StudyID: 'SH',
  },
  keys(
    'TimezoneOffsetFromUTC',
    'InstitutionName',
    'StudyDescription',
    'ProcedureCodeSequence',
    'NameOfPhysiciansReadingStudy',
    'AdmittingDiagnosesDescription',
    'ReferencedStudySequence',
    'IssuerOfPatientID',
    'PatientBirthTime',
    'OtherPatientIDsSequence',
    'PatientAge',
    'PatientSize',
    'PatientWeight',
    'EthnicGroup',
    'Occupation',
    'PatientComments',
    'PatientSpeciesDescription',
    'PatientIdentityRemoved',
    'DeidentificationMethod',
    'DeidentificationMethodCodeSequence',
    'ClinicalTrialSponsorName',
    'ClinicalTrialProtocolID',
    'ClinicalTrialProtocolName',
    'ClinicalTrialSiteID',
    'ClinicalTrialSubjectID',
    'ClinicalTrialTimePointID',
    'RequestedProcedureDescription',
  ),
);

export const SERIES_ATTRIBUTES = levelAttributes(
  {
    Modality: 'CS',
    SeriesDescription: 'LO',
    SeriesInstanceUID: 'UI',
    SeriesNumber: 'IS',
    PerformedProcedureStepStartDate: 'DA',
    PerformedProcedureStepStartTime: 'TM',
    RequestAttributesSequence: 'SQ',
  },
  keys(
    'SeriesDate',
    'SeriesTime',
    'Manufacturer',
    'StationName',
    'InstitutionalDepartmentName',
    'ManufacturerModelName',
    'PerformingPhysicianName',
    'OperatorsName',
    'AnatomicRegionSequence',
    'BodyPartExamined',
    'ProtocolName',
    'PatientPosition',
    'Laterality',
    'FrameOfReferenceUID',
    'PositionReferenceIndicator',
    'SynchronizationFrameOfReferenceUID',
    'PerformedProcedureStepID',
    'PerformedProcedureStepDescription',
    'PerformedProtocolCodeSequence',
  ),
);

/** Of an instance, besides what can be matched without a column of its own (attribute-keys.ts). */
export const INSTANCE_COLUMNS = ['InstanceNumber', 'Rows', 'Columns', 'BitsAllocated', 'NumberOfFrames'] as const;

/** The part of an object that describes its study or series; absent attributes left out. */
export function levelJson(object: DicomJson, level: LevelAttributes): string {
  const kept: DicomJson = {};
  for (const key of level.keys) {
    const element = object[key];
    if (element !== undefined) kept[key] = element;
  }
  return formatDicomJsonObject(kept);
}

/** What the first instance left empty, later ones may fill; what stands stays. */
export function mergeLevelJson(known: string, arriving: string): string {
  if (known === arriving) return known;
  const merged = JSON.parse(known) as DicomJson;
  for (const [key, element] of Object.entries(JSON.parse(arriving) as DicomJson)) {
    if (isEmpty(merged[key])) merged[key] = element;
  }
  return formatDicomJsonObject(merged);
}

function isEmpty(element: DicomJsonElement | undefined): boolean {
  return element === undefined || Object.keys(element).length === 1;
}

function firstValue(object: DicomJson, keyword: string): unknown {
  const element = object[tagKey(tag(keyword))];
  return element !== undefined && 'Value' in element ? element.Value?.[0] : undefined;
}

/** The first value as text; '' when there is none. */
export function textOf(object: DicomJson, keyword: string): string {
  const value = firstValue(object, keyword);
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

/** The first value as a whole number; null when there is none or it is no such number. */
export function integerOf(object: DicomJson, keyword: string): number | null {
  const text = textOf(object, keyword);
  const number = text.trim() === '' ? NaN : Number(text);
  return Number.isSafeInteger(number) ? number : null;
}

export function itemsIn(object: DicomJson, keyword: string): DicomJson[] {
  const element = object[tagKey(tag(keyword))];
  return element?.vr === 'SQ' ? (element.Value ?? []) : [];
}

/** `family^given` groups with `=` between, folded as `foldName` does. */
export function nameOf(object: DicomJson, keyword: string): string {
  return foldPerson(firstValue(object, keyword));
}

/** YYYYMMDD; '' for what is no date. The old form with dots (PS3.5 6.2 note) is understood. */
export function dateOf(object: DicomJson, keyword: string): string {
  const text = textOf(object, keyword).replaceAll('.', '');
  return /^\d{8}$/.test(text) ? text : '';
}

/** HHMMSS.FFFFFF, missing parts being zero; '' for what is no time. */
export function timeOf(object: DicomJson, keyword: string): string {
  return timeBounds(textOf(object, keyword).replaceAll(':', ''))?.[0] ?? '';
}
