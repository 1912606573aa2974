/** Whose object it is: under which names it goes on, and what is known of the people it is about. */
import { textValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Identified } from '../dicom/object.ts';
import { namesOf } from './admit.ts';
import { patientInStudy } from './crosswalk.ts';
import type { DeidentifySettings } from './deidentify.ts';
import { openCleaner } from './free-text.ts';
import { identityOf, rawIdentityOf, retained, withSaid, type RawIdentity, type Said } from './identity.ts';
import { learnKin, wholeIdentity, type KinOfObject } from './kin.ts';
import { oneTimeDomain, openOneTimeKeys } from './one-time.ts';
import { recordOf } from './patient-facts.ts';
import { patientPseudonym, type PatientPseudonym } from './patients.ts';
import type { CompiledProfile } from './profile.ts';
import { dateOffsetDays } from './pseudonyms.ts';
import { needlesOf, type Known } from './residue.ts';
import { pseudonymFor } from './value-outcomes.ts';
import { domainOf, type Domain, type Wall } from './wall.ts';

export interface Subject {
  readonly domain: Domain;
  /** The pseudonym of its Study Instance UID. */
  readonly study: string;
  readonly patient: PatientPseudonym;
  /** Added to every date; 0 where the profile moves none. */
  readonly offsetDays: number;
  readonly kin: KinOfObject;
  readonly known: Known;
}

/** @param object.said what its document says of the patient */
export function subjectOf(
  wall: Wall,
  dataSet: DataSet,
  {
    settings,
    ...object
  }: {
    readonly settings: DeidentifySettings;
    readonly study: string;
    readonly said: Said;
  },
): Subject {
  const { profile } = settings;
  const { dates } = profile.file;
  const domain = domainFor(wall, settings);
  const study = pseudonymFor(profile, domain, object.study);
  const patient = patientInStudy(wall, domain, study, patientOf(wall, domain, dataSet, object.study));
  const raw = withSaid(rawIdentityOf(dataSet, profile.options), object.said);
  const kin = learnKin(wall, domain, { patient: patient.pseudonym, study }, raw);
  return {
    domain,
    study,
    patient,
    offsetDays: dates.mode === 'shift' ? dateOffsetDays(domain, patient.salt, dates.windowDays) : 0,
    kin,
    known: knownOf(wall, profile, dataSet, raw, kin),
  };
}

type Naming = Pick<DeidentifySettings, 'project' | 'profile' | 'oneTimeKeys' | 'now'>;

/** What the object's study will be called. */
export function studyPseudonym(wall: Wall, { head }: Identified, naming: Naming): string {
  return pseudonymFor(naming.profile, domainFor(wall, naming), namesOf(head.dataSet).study);
}

function domainFor(wall: Wall, { project, profile, oneTimeKeys = ONE_TIME_KEYS, now = Date.now }: Naming): Domain {
  return profile.file.keys === 'once' ? oneTimeDomain(oneTimeKeys, project, now()) : domainOf(wall, project);
}

/** Of a gateway: one process, one set. */
const ONE_TIME_KEYS = openOneTimeKeys();

/** Without an ID nobody knows whether two studies are one patient's: each stands for itself. */
function patientOf(wall: Wall, domain: Domain, dataSet: DataSet, study: string): PatientPseudonym {
  const record = recordOf(dataSet);
  return record === undefined
    ? patientPseudonym(wall, domain, 'no patient id', study)
    : patientPseudonym(wall, domain, record.issuer, record.id);
}

/** The last few are kept in memory, since instances of a series say the same of their patient. */
function knownOf(wall: Wall, profile: CompiledProfile, dataSet: DataSet, raw: RawIdentity, kin: KinOfObject): Known {
  const { known: remembered } = wall;
  const key = `${profile.hash} ${kin.patient.name} ${kin.patient.said.size} ${kin.study.name} ${kin.study.said.size} ${raw.key}`;
  const known = remembered.get(key) ?? {
    cleaner: openCleaner(wholeIdentity(raw, kin, retained(profile.options)), profile.file.freeText ?? 'words'),
    needles: needlesOf(
      identityOf(raw),
      raw,
      MAKERS.map((maker) => textValue(dataSet, maker) ?? ''),
    ),
    alike: new Map(),
  };
  remembered.delete(key);
  remembered.set(key, known);
  const [oldest] = remembered.keys();
  if (remembered.size > MAX_KNOWN && oldest !== undefined) remembered.delete(oldest);
  return known;
}

const MAKERS = ['Manufacturer', 'ManufacturerModelName'].map(tag);
const MAX_KNOWN = 8;
