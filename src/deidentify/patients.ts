/** Patients of the crosswalk: their pseudonyms and salts, records that are one person's, and those who are being erased. */
import { randomBytes } from 'node:crypto';
import type { Row } from '../database.ts';
import { Refusal } from '../dicom/refusal.ts';
import { base32, hmac } from './pseudonyms.ts';
import { domainOf, forgetInMemory, MAX_CACHED, seal, unseal, type Domain, type Wall } from './wall.ts';

export interface PatientPseudonym {
  readonly pseudonym: string;
  /** Lets this patient's dates be derived; destroying it ends that. */
  readonly salt: Buffer;
}

/**
 * The patient's pseudonym and salt, made at first sight. The row is written at once and by itself: every process must agree on the salt
 * before the first object that depends on it exists.
 * @throws Refusal Busy while the patient is being erased
 */
export function patientPseudonym(wall: Wall, domain: Domain, issuer: string, patientId: string): PatientPseudonym {
  const key = `${issuer.length}:${issuer}${patientId}`;
  const known = domain.patients.get(key);
  if (known !== undefined) return known;
  const lookup = patientLookup(domain, issuer, patientId);
  if (!domain.lasting) {
    const salt = hmac(domain.keys.patient, 'salt', issuer, patientId);
    const pseudonym = base32(hmac(domain.keys.patient, salt, issuer, patientId)).slice(0, 10);
    return { pseudonym, salt };
  }
  const patient = wall.database.transaction(() => {
    const row = patientRow(wall, domain.project, lookup);
    if (row === undefined) return addPatient(wall, domain, lookup, issuer, patientId);
    const pseudonym = survivorOf(wall, domain.project, row['pseudonym'] as string);
    refuseLeaving(wall, domain.project, pseudonym);
    return pseudonym === row['pseudonym']
      ? { pseudonym, salt: unseal(wall, domain, `patient:${pseudonym}`, row) }
      : knownPatient(wall, domain, pseudonym);
  });
  if (domain.patients.size >= MAX_CACHED) domain.patients.clear();
  domain.patients.set(key, patient);
  return patient;
}

function addPatient(wall: Wall, domain: Domain, lookup: Buffer, issuer: string, patientId: string): PatientPseudonym {
  const salt = randomBytes(16);
  for (let attempt = 0; ; attempt++) {
    const word = base32(hmac(domain.keys.patient, salt, issuer, patientId, String(attempt)));
    const pseudonym = word.slice(0, 10);
    const { sealed, generation } = seal(wall, domain, `patient:${pseudonym}`, salt);
    const { changes } = wall.database.run(
      'INSERT OR IGNORE INTO crosswalk_patient (project, lookup, pseudonym, sealed, generation) VALUES (?, ?, ?, ?, ?)',
      domain.project,
      lookup,
      pseudonym,
      sealed,
      generation,
    );
    if (changes === 1) return { pseudonym, salt };
  }
}

export function knownPatient(wall: Wall, domain: Domain, pseudonym: string): PatientPseudonym {
  const row = wall.database.get(
    'SELECT sealed, generation FROM crosswalk_patient WHERE project = ? AND pseudonym = ?',
    domain.project,
    pseudonym,
  );
  if (row === undefined) throw new Refusal('Unresolved', 'the crosswalk row of a merged patient is missing');
  return { pseudonym, salt: unseal(wall, domain, `patient:${pseudonym}`, row) };
}

function patientLookup(domain: Domain, issuer: string, patientId: string): Buffer {
  return hmac(domain.keys.patient, 'lookup', issuer, patientId);
}

function patientRow(wall: Wall, project: string, lookup: Buffer): Row | undefined {
  return wall.database.get(
    'SELECT pseudonym, sealed, generation FROM crosswalk_patient WHERE project = ? AND lookup = ?',
    project,
    lookup,
  );
}

/** The pseudonym under which this patient is or was known, without making one; not followed through merges. */
export function knownPseudonym(wall: Wall, project: string, issuer: string, patientId: string): string | undefined {
  const row = patientRow(wall, project, patientLookup(domainOf(wall, project), issuer, patientId));
  return row === undefined ? undefined : (row['pseudonym'] as string);
}

export function isKnownPseudonym(wall: Wall, project: string, pseudonym: string): boolean {
  return (
    wall.database.get('SELECT 1 FROM crosswalk_patient WHERE project = ? AND pseudonym = ?', project, pseudonym) !==
    undefined
  );
}

/** Projects that know at least one patient. */
export function projectsOfWall(wall: Wall): string[] {
  const projects: string[] = [];
  for (let last = ''; ;) {
    const row = wall.database.get('SELECT min(project) AS next FROM crosswalk_patient WHERE project > ?', last);
    if (typeof row?.['next'] !== 'string') return projects;
    last = row['next'];
    projects.push(last);
  }
}

/** Follows merges to the record that stands for the person. */
export function survivorOf(wall: Wall, project: string, pseudonym: string): string {
  let at = pseudonym;
  for (;;) {
    const row = wall.database.get(
      'SELECT survivor FROM crosswalk_merged WHERE project = ? AND pseudonym = ?',
      project,
      at,
    );
    if (row === undefined) return at;
    at = row['survivor'] as string;
  }
}

/** Two records that are one person's. */
export function isOtherRecord(wall: Wall, project: string, one: string, other: string): boolean {
  return one !== other && survivorOf(wall, project, one) === survivorOf(wall, project, other);
}

/** Nothing more of this person comes in, is worked on or goes out. @throws Refusal Busy */
export function refuseLeaving(wall: Wall, project: string, pseudonym: string): void {
  const leaving = wall.database.get(
    'SELECT 1 FROM crosswalk_leaving WHERE project = ? AND pseudonym = ?',
    project,
    pseudonym,
  );
  if (leaving !== undefined) throw new Refusal('Busy', 'the patient is being erased');
}

/** The same for what was read before an erasure and is to be stored after it. @throws Refusal Busy */
export function refuseGone(wall: Wall, project: string, pseudonym: string): void {
  const there = wall.database.get(
    `SELECT 1 FROM crosswalk_patient WHERE project = ? AND pseudonym = ?
       AND NOT EXISTS (SELECT 1 FROM crosswalk_leaving WHERE project = ? AND pseudonym = ?)`,
    project,
    pseudonym,
    project,
    pseudonym,
  );
  if (there === undefined) throw new Refusal('Busy', 'the patient is being erased');
}

/** From here on the patient is refused at every door, until `forgetPatient`. */
export function markLeaving(wall: Wall, project: string, pseudonym: string): void {
  wall.database.run('INSERT OR IGNORE INTO crosswalk_leaving (project, pseudonym) VALUES (?, ?)', project, pseudonym);
  domainOf(wall, project).patients.clear();
  forgetInMemory(wall);
}

/** Destroys salt and rows of a patient: nothing here leads back any more. Returns how many rows went. */
export function forgetPatient(wall: Wall, project: string, patient: string): number {
  const domain = domainOf(wall, project);
  const forgotten = wall.database.transaction(() => {
    let rows = 0;
    rows += wall.database.run(
      'DELETE FROM minted_uid WHERE project = ? AND study IN (SELECT pseudonym FROM crosswalk_study WHERE project = ? AND patient = ?)',
      project,
      project,
      patient,
    ).changes;
    for (const table of ['crosswalk_uid', 'crosswalk_study', 'crosswalk_note', 'crosswalk_kin']) {
      rows += wall.database.run(`DELETE FROM ${table} WHERE project = ? AND patient = ?`, project, patient).changes;
    }
    wall.database.run(
      'DELETE FROM crosswalk_merged WHERE project = ? AND (pseudonym = ? OR survivor = ?)',
      project,
      patient,
      patient,
    );
    wall.database.run('DELETE FROM crosswalk_leaving WHERE project = ? AND pseudonym = ?', project, patient);
    return (
      rows +
      wall.database.run('DELETE FROM crosswalk_patient WHERE project = ? AND pseudonym = ?', project, patient).changes
    );
  });
  domain.uids.clear();
  domain.patients.clear();
  domain.patientsOfStudies.clear();
  domain.stored.clear();
  domain.written.clear();
  forgetInMemory(wall);
  return forgotten;
}
