/** What in an object names people, places and machines, at any depth: what free text is searched for. */
import { characterSetOf, valueBytes, withoutTrailingPadding, type DataSet } from '../dicom/data-set.ts';
import { decodeText, UTF_8, type CharacterSet } from '../dicom/character-set.ts';
import { tag, vrOf } from '../dicom/dictionary.ts';
import type { Vr } from '../dicom/vr.ts';
import type { Option } from './profile.ts';

export interface Identity {
  /** Values of PN, with their component groups. */
  readonly names: ReadonlySet<string>;
  /** The patient's identifiers, telephone numbers, addresses of electronic mail. */
  readonly ids: ReadonlySet<string>;
  /** Of examinations, orders, specimens and machines. */
  readonly numbers: ReadonlySet<string>;
  /** Institutions, departments, addresses. */
  readonly places: ReadonlySet<string>;
}

type Kind = keyof Identity;

const IDS = tags(
  'AccessionNumber PatientID OtherPatientIDs AdmissionID ServiceEpisodeID MedicalRecordLocator ClinicalTrialSubjectID ' +
    'ClinicalTrialSubjectReadingID InsurancePlanIdentification PatientTelephoneNumbers PatientTelecomInformation PatientBirthDate MilitaryRank',
);
const NUMBERS = tags(
  'StudyID RequestedProcedureID ScheduledProcedureStepID PerformedProcedureStepID FillerOrderNumberImagingServiceRequest ' +
    'PlacerOrderNumberImagingServiceRequest ReferringPhysicianTelephoneNumbers PersonTelephoneNumbers PersonTelecomInformation ' +
    'OrderCallbackPhoneNumber OrderCallbackTelecomInformation SpecimenIdentifier ContainerIdentifier SpecimenAccessionNumber',
);
const PLACES = tags(
  'InstitutionName InstitutionAddress InstitutionalDepartmentName PatientAddress RegionOfResidence CountryOfResidence ReferringPhysicianAddress ' +
    'PatientInstitutionResidence CurrentPatientLocation RequestingService ResponsibleOrganization PersonAddress PhysiciansOfRecord ' +
    'ClinicalTrialSiteName ClinicalTrialCoordinatingCenterName ClinicalTrialSponsorName ScheduledStudyLocation ScheduledProcedureStepLocation ' +
    'PerformedLocation PatientReligiousPreference BranchOfService RequestedProcedureLocation IssuerOfPatientID VerifyingOrganization',
);
const DEVICES = tags(
  'StationName DeviceSerialNumber PerformedStationName ScheduledStationName GantryID GeneratorID PlateID CassetteID DetectorID ' +
    'StationAETitle PerformedStationAETitle ScheduledStationAETitle',
);

function tags(keywords: string): number[] {
  return keywords.split(' ').map(tag);
}

const INSTITUTIONS = new Set(tags('InstitutionName InstitutionAddress InstitutionalDepartmentName'));
const KINDS = new Map<number, Kind>([
  ...IDS.map((attribute) => [attribute, 'ids'] as const),
  ...PLACES.map((attribute) => [attribute, 'places'] as const),
  ...[...NUMBERS, ...DEVICES].map((attribute) => [attribute, 'numbers'] as const),
]);
const DEVICE_TAGS = new Set(DEVICES);

/** Whether an attribute is a name or number of somebody by its nature: kept, if a profile says so, it is kept as it is. */
export function isIdentifier(attribute: number, vr: Vr): boolean {
  return vr === 'PN' || KINDS.get(attribute) === 'ids';
}

/** One value that names somebody or something, as it lies in the bytes. */
interface Piece {
  readonly attribute: number;
  readonly set: CharacterSet;
  readonly vr: Vr;
  readonly bytes: Buffer;
}

/** What an object says of people, places and numbers. What an option retains is no secret to be searched for. */
export interface RawIdentity {
  /** The same for objects that say the same. */
  readonly key: string;
  readonly pieces: readonly Piece[];
}

export function rawIdentityOf(dataSet: DataSet, options: ReadonlySet<Option>): RawIdentity {
  const pieces: Piece[] = [];
  const key: string[] = [];
  gather(dataSet, undefined, { pieces, key, skips: retained(options) });
  return { key: key.join('\u0000'), pieces };
}

/** What a document in an object says of the people it is about, by the attribute that would say it. */
export type Said = readonly (readonly [keyword: string, text: string])[];

/** What is said elsewhere than in attributes, by the attribute that would say it. */
export function withSaid(raw: RawIdentity, said: Said): RawIdentity {
  const pieces = said.map(([keyword, text]) => ({
    attribute: tag(keyword),
    set: UTF_8,
    vr: vrOf(tag(keyword)) ?? ('LO' as const),
    bytes: Buffer.from(text, 'utf8'),
  }));
  return { key: [raw.key, ...said.flat()].join('\u0000'), pieces: [...raw.pieces, ...pieces] };
}

/** Whether an option retains an attribute that names a machine or an institution. */
export function retained(options: ReadonlySet<Option>): (attribute: number) => boolean {
  const devices = options.has('retain-device-identity');
  const institutions = options.has('retain-institution-identity');
  return (attribute) => (devices && DEVICE_TAGS.has(attribute)) || (institutions && INSTITUTIONS.has(attribute));
}

interface Gathering {
  readonly pieces: Piece[];
  readonly key: string[];
  readonly skips: (attribute: number) => boolean;
}

function gather(dataSet: DataSet, inherited: CharacterSet | undefined, to: Gathering): void {
  const set = characterSetOf(dataSet, inherited);
  for (const element of dataSet.elements) {
    const { tag: attribute, valueStart, valueEnd } = element;
    for (const item of element.items ?? []) gather(item, set, to);
    if (attribute === SPECIFIC_CHARACTER_SET) to.key.push(dataSet.bytes.toString('latin1', valueStart, valueEnd));
    const kind = KINDS.get(attribute) ?? (element.vr === 'PN' ? 'names' : undefined);
    if (kind === undefined || element.items !== undefined || valueEnd === valueStart) continue;
    if (valueEnd - valueStart > MAX_VALUE_BYTES || to.skips(attribute)) continue;
    to.key.push(kind, dataSet.bytes.toString('latin1', valueStart, valueEnd));
    to.pieces.push({
      attribute,
      set,
      vr: element.vr === 'UN' ? 'LO' : element.vr,
      bytes: valueBytes(dataSet, element),
    });
  }
}

const SPECIFIC_CHARACTER_SET = 0x00080005;
/** Longer than any name, id or address. */
const MAX_VALUE_BYTES = 4096;

export function noIdentity(): Record<Kind, Set<string>> {
  return { names: new Set(), ids: new Set(), numbers: new Set(), places: new Set() };
}

export function addPiece(identity: Record<Kind, Set<string>>, [attribute, text]: readonly [number, string]): void {
  identity[kindOf(attribute)].add(text);
}

/** Of one object alone. */
export function identityOf(raw: RawIdentity): Identity {
  const identity = noIdentity();
  for (const one of decodePieces(raw)) addPiece(identity, one);
  return identity;
}

/** Attribute and text, value by value. */
export function decodePieces({ pieces }: RawIdentity): (readonly [attribute: number, text: string])[] {
  return pieces.flatMap(({ attribute, set, vr, bytes }) =>
    decodeText(set, bytes, vr)
      .split('\\')
      .map((value) => withoutTrailingPadding(value).trim())
      .filter((text) => text !== '')
      .map((text) => [attribute, text] as const),
  );
}

/** What an attribute tells of somebody, if it does. */
export function kindOf(attribute: number): Kind {
  return KINDS.get(attribute) ?? 'names';
}

/** Whether an attribute tells who or where somebody is. */
export function isTelling(attribute: number): boolean {
  return KINDS.has(attribute) || vrOf(attribute) === 'PN';
}
