/** What in an object names people, places and machines, at any depth: what free text is searched for. */
import { characterSetOf, valueBytes, withoutTrailingPadding, type DataSet } from '../dicom/data-set.ts';
import { decodeText, type CharacterSet } from '../dicom/character-set.ts';
import { tag } from '../dicom/dictionary.ts';
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
  readonly kind: Kind;
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
  const skips = (attribute: number): boolean =>
    (options.has('retain-device-identity') && DEVICE_TAGS.has(attribute)) ||
    (options.has('retain-institution-identity') && INSTITUTIONS.has(attribute));
  const pieces: Piece[] = [];
  const key: string[] = [];
  gather(dataSet, undefined, { pieces, key, skips });
  return { key: key.join('\u0000'), pieces };
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
    to.pieces.push({ kind, set, vr: element.vr === 'UN' ? 'LO' : element.vr, bytes: valueBytes(dataSet, element) });
  }
}

const SPECIFIC_CHARACTER_SET = 0x00080005;
/** Longer than any name, id or address. */
const MAX_VALUE_BYTES = 4096;

export function identityOf({ pieces }: RawIdentity): Identity {
  const identity = {
    names: new Set<string>(),
    ids: new Set<string>(),
    numbers: new Set<string>(),
    places: new Set<string>(),
  };
  for (const { kind, set, vr, bytes } of pieces) {
    for (const value of decodeText(set, bytes, vr).split('\\')) {
      const text = withoutTrailingPadding(value).trim();
      if (text !== '') identity[kind].add(text);
    }
  }
  return identity;
}
