/** What in an object names people, places and machines, at any depth: what free text is searched for. */
import { characterSetOf, withoutTrailingPadding, type DataSet } from '../dicom/data-set.ts';
import { decodeText, type CharacterSet } from '../dicom/character-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { littleEndianValue } from '../dicom/writer.ts';
import type { Option } from './profile.ts';

export interface Identity {
  /** Values of PN, with their component groups. */
  readonly names: ReadonlySet<string>;
  /** Identifiers, telephone numbers, addresses of electronic mail. */
  readonly ids: ReadonlySet<string>;
  /** Institutions, departments, addresses. */
  readonly places: ReadonlySet<string>;
}

type Kind = keyof Identity;

const IDS = tags(
  'AccessionNumber PatientID OtherPatientIDs StudyID AdmissionID ServiceEpisodeID MedicalRecordLocator RequestedProcedureID ' +
    'ScheduledProcedureStepID PerformedProcedureStepID FillerOrderNumberImagingServiceRequest PlacerOrderNumberImagingServiceRequest ' +
    'ClinicalTrialSubjectID ClinicalTrialSubjectReadingID InsurancePlanIdentification PatientTelephoneNumbers PatientTelecomInformation ' +
    'ReferringPhysicianTelephoneNumbers PersonTelephoneNumbers PersonTelecomInformation OrderCallbackPhoneNumber OrderCallbackTelecomInformation ' +
    'SpecimenIdentifier ContainerIdentifier SpecimenAccessionNumber ' +
    'PatientBirthDate MilitaryRank',
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
  ...DEVICES.map((attribute) => [attribute, 'ids'] as const),
]);
const DEVICE_TAGS = new Set(DEVICES);

/** What an option retains is no secret to be searched for. */
export function identityOfObject(dataSet: DataSet, options: ReadonlySet<Option>): Identity {
  const identity = { names: new Set<string>(), ids: new Set<string>(), places: new Set<string>() };
  const skips = (attribute: number): boolean =>
    (options.has('retain-device-identity') && DEVICE_TAGS.has(attribute)) ||
    (options.has('retain-institution-identity') && INSTITUTIONS.has(attribute));
  gather(dataSet, undefined, identity, skips);
  return identity;
}

type Growing = { readonly [kind in Kind]: Set<string> };

function gather(
  dataSet: DataSet,
  inherited: CharacterSet | undefined,
  identity: Growing,
  skips: (attribute: number) => boolean,
): void {
  const set = characterSetOf(dataSet, inherited);
  for (const element of dataSet.elements) {
    for (const item of element.items ?? []) gather(item, set, identity, skips);
    const kind = KINDS.get(element.tag) ?? (element.vr === 'PN' ? 'names' : undefined);
    if (kind === undefined || element.items !== undefined || element.valueEnd === element.valueStart) continue;
    if (element.valueEnd - element.valueStart > MAX_VALUE_BYTES || skips(element.tag)) continue;
    const vr = element.vr === 'UN' ? 'LO' : element.vr;
    for (const value of decodeText(set, littleEndianValue(dataSet, element), vr).split('\\')) {
      const text = withoutTrailingPadding(value).trim();
      if (text !== '') identity[kind].add(text);
    }
  }
}

/** Longer than any name, id or address. */
const MAX_VALUE_BYTES = 4096;
