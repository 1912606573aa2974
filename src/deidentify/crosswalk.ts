/** What leads back: which study, and which UIDs, the hospital has under the names that were given to them, sealed row by row. */
import { setImmediate } from 'node:timers/promises';
import type { Database } from '../database.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isWellKnownUid } from '../dicom/sop-class.ts';
import { isOtherRecord, knownPatient, refuseGone, type PatientPseudonym } from './patients.ts';
import { outwardUid } from './pseudonyms.ts';
import { domainOf, MAX_CACHED, seal, unseal, type Domain, type Wall } from './wall.ts';

/** Original attributes by eight-digit tag, as text. */
export type Originals = Readonly<Record<string, string>>;

/** What is needed to give an object of this study back to its patient. */
export interface StudyRow {
  readonly originalStudyInstanceUID: string;
  readonly patient: string;
  readonly attributes: Originals;
  readonly dateMode: 'shift' | 'year-only' | 'remove';
  /** Days that were added to every date. */
  readonly offsetDays: number;
}

/**
 * The patient as a study has them: one whose record was merged while its objects arrive goes on under the pseudonym and the distance of
 * dates that its first object was given.
 */
export function patientInStudy(wall: Wall, domain: Domain, study: string, patient: PatientPseudonym): PatientPseudonym {
  const { project } = domain;
  const known = domain.patientsOfStudies.get(study);
  if (known === patient.pseudonym || !domain.lasting) return patient;
  const earlier = known ?? patientOfStudy(wall, project, study);
  if (domain.patientsOfStudies.size >= MAX_CACHED) domain.patientsOfStudies.clear();
  if (earlier !== undefined) domain.patientsOfStudies.set(study, earlier);
  return earlier !== undefined && isOtherRecord(wall, project, earlier, patient.pseudonym)
    ? knownPatient(wall, domain, earlier)
    : patient;
}

/** Rows of one object: which it needs, by pseudonym. */
interface NewRows {
  readonly study: string;
  readonly studyRow: () => StudyRow;
  readonly patient: string;
  /** Pseudonym -> original. */
  readonly uids: ReadonlyMap<string, string>;
}

/**
 * Writes what is not known to be there. Inside the caller's transaction when there is one.
 * @throws Refusal Busy when since the object was read its patient has begun to be erased, or was merged and the study begun under the other record
 */
export function rememberRows(wall: Wall, domain: Domain, rows: NewRows): void {
  const { database } = wall;
  const { project } = domain;
  const studyKey = `study:${rows.study}`;
  database.transaction(() => {
    refuseGone(wall, project, rows.patient);
    if (isMissing(domain, studyKey, () => hasRow(database, 'crosswalk_study', project, rows.study))) {
      const { sealed, generation } = seal(wall, domain, studyKey, Buffer.from(JSON.stringify(rows.studyRow()), 'utf8'));
      database.run(
        'INSERT OR IGNORE INTO crosswalk_study (project, pseudonym, patient, sealed, generation) VALUES (?, ?, ?, ?, ?)',
        project,
        rows.study,
        rows.patient,
        sealed,
        generation,
      );
    }
    // Written by this transaction too, so not kept.
    const first = domain.patientsOfStudies.get(rows.study) ?? patientOfStudy(wall, project, rows.study);
    if (first !== undefined && isOtherRecord(wall, project, first, rows.patient))
      throw new Refusal('Busy', 'the patient was merged while the object was on its way');
    for (const [pseudonym, original] of rows.uids) {
      const uidKey = `uid:${pseudonym}`;
      if (!isMissing(domain, uidKey, () => hasRow(database, 'crosswalk_uid', project, pseudonym))) continue;
      const { sealed, generation } = seal(wall, domain, uidKey, Buffer.from(original, 'latin1'));
      database.run(
        'INSERT OR IGNORE INTO crosswalk_uid (project, pseudonym, patient, sealed, generation) VALUES (?, ?, ?, ?, ?)',
        project,
        pseudonym,
        rows.patient,
        sealed,
        generation,
      );
    }
  });
}

/**
 * A row is written when first needed. Later, before it is needed again, it is looked for once: only a row that is there after its
 * transaction ended counts as stored, so that a transaction rolled back costs a second write and nothing else.
 */
function isMissing(domain: Domain, key: string, isThere: () => boolean): boolean {
  if (domain.stored.has(key)) return false;
  if (domain.stored.size >= MAX_CACHED) domain.stored.clear();
  if (domain.written.size >= MAX_CACHED) domain.written.clear();
  if (!domain.written.has(key)) {
    domain.written.add(key);
    return true;
  }
  return !isThere();
}

/** Called between transactions: rows written before and there now are stored. */
export function settleWritten(wall: Wall, domain: Domain, study: string, pseudonyms: Iterable<string>): void {
  const settle = (key: string, table: 'crosswalk_study' | 'crosswalk_uid', pseudonym: string): void => {
    if (!domain.written.has(key) || domain.stored.has(key)) return;
    if (hasRow(wall.database, table, domain.project, pseudonym)) {
      domain.stored.add(key);
      domain.written.delete(key);
    }
  };
  settle(`study:${study}`, 'crosswalk_study', study);
  for (const pseudonym of pseudonyms) settle(`uid:${pseudonym}`, 'crosswalk_uid', pseudonym);
}

function hasRow(
  database: Database,
  table: 'crosswalk_study' | 'crosswalk_uid',
  project: string,
  pseudonym: string,
): boolean {
  return database.get(`SELECT 1 FROM ${table} WHERE project = ? AND pseudonym = ?`, project, pseudonym) !== undefined;
}

export function findStudy(wall: Wall, project: string, studyPseudonym: string): StudyRow | undefined {
  const row = wall.database.get(
    'SELECT sealed, generation FROM crosswalk_study WHERE project = ? AND pseudonym = ?',
    project,
    studyPseudonym,
  );
  if (row === undefined) return undefined;
  const json = unseal(wall, domainOf(wall, project), `study:${studyPseudonym}`, row).toString('utf8');
  return JSON.parse(json) as StudyRow;
}

/** Puts other facts in the place of a study's; its pseudonym and patient stay. */
export function rewriteStudy(wall: Wall, project: string, studyPseudonym: string, row: StudyRow): void {
  const clear = Buffer.from(JSON.stringify(row), 'utf8');
  const { sealed, generation } = seal(wall, domainOf(wall, project), `study:${studyPseudonym}`, clear);
  wall.database.run(
    'UPDATE crosswalk_study SET sealed = ?, generation = ? WHERE project = ? AND pseudonym = ?',
    sealed,
    generation,
    project,
    studyPseudonym,
  );
}

/** The original of a pseudonym; undefined when the crosswalk does not have it. */
export function originalUid(wall: Wall, project: string, pseudonym: string): string | undefined {
  const row = wall.database.get(
    'SELECT sealed, generation FROM crosswalk_uid WHERE project = ? AND pseudonym = ?',
    project,
    pseudonym,
  );
  if (row === undefined) return undefined;
  return unseal(wall, domainOf(wall, project), `uid:${pseudonym}`, row).toString('latin1');
}

/** UIDs opened at a time: what else is to be done gets its turn between. */
const OPENED_AT_ONCE = 500;

/** By the index of patients, which by itself SQLite passes over for the order of pseudonyms: then it walks the UIDs of everybody. */
export const UIDS_OF_PATIENT = `SELECT pseudonym, sealed, generation FROM crosswalk_uid INDEXED BY crosswalk_uid_patient
   WHERE project = ? AND patient = ? AND pseudonym > ? ORDER BY pseudonym LIMIT ?`;

/** Every UID of a patient: pseudonym and original. */
export async function* originalsOf(
  wall: Wall,
  project: string,
  patient: string,
): AsyncGenerator<readonly [pseudonym: string, original: string], void, undefined> {
  const domain = domainOf(wall, project);
  for (let last = ''; ;) {
    const rows = wall.database.all(UIDS_OF_PATIENT, project, patient, last, OPENED_AT_ONCE);
    for (const row of rows) {
      last = row['pseudonym'] as string;
      yield [last, unseal(wall, domain, `uid:${last}`, row).toString('latin1')];
    }
    if (rows.length < OPENED_AT_ONCE) return;
    await setImmediate();
  }
}

/** Words of a person about a patient, which may name them: sealed, and gone when the patient is. */
export function writeNote(wall: Wall, project: string, note: { id: string; patient: string; text: string }): void {
  const { sealed, generation } = seal(wall, domainOf(wall, project), `note:${note.id}`, Buffer.from(note.text, 'utf8'));
  wall.database.run(
    'INSERT INTO crosswalk_note (project, pseudonym, patient, sealed, generation) VALUES (?, ?, ?, ?, ?)',
    project,
    note.id,
    note.patient,
    sealed,
    generation,
  );
}

export function readNote(wall: Wall, project: string, id: string): string | undefined {
  const row = wall.database.get(
    'SELECT sealed, generation FROM crosswalk_note WHERE project = ? AND pseudonym = ?',
    project,
    id,
  );
  return row === undefined ? undefined : unseal(wall, domainOf(wall, project), `note:${id}`, row).toString('utf8');
}

/** What the hospital calls this UID of ours: the original, or the outward UID of one we minted; undefined when it does not resolve. */
export function resolveUid(wall: Wall, project: string, uid: string): string | undefined {
  if (isWellKnownUid(uid)) return uid;
  return originalUid(wall, project, uid) ?? (isMinted(wall, project, uid) ? outwardUid(wall, project, uid) : undefined);
}

export function isMinted(wall: Wall, project: string, uid: string): boolean {
  return wall.database.get('SELECT 1 FROM minted_uid WHERE project = ? AND uid = ?', project, uid) !== undefined;
}

export function rememberMinted(wall: Wall, project: string, study: string, uids: Iterable<string>): void {
  wall.database.transaction(() => {
    for (const uid of uids) {
      wall.database.run('INSERT OR IGNORE INTO minted_uid (project, uid, study) VALUES (?, ?, ?)', project, uid, study);
    }
  });
}

export function patientOfStudy(wall: Wall, project: string, studyPseudonym: string): string | undefined {
  const row = wall.database.get(
    'SELECT patient FROM crosswalk_study WHERE project = ? AND pseudonym = ?',
    project,
    studyPseudonym,
  );
  return row === undefined ? undefined : (row['patient'] as string);
}

/** Whose UID this is; undefined when the crosswalk does not have it or it was minted here. */
export function patientOfUid(wall: Wall, project: string, pseudonym: string): string | undefined {
  const row = wall.database.get(
    'SELECT patient FROM crosswalk_uid WHERE project = ? AND pseudonym = ?',
    project,
    pseudonym,
  );
  return row === undefined ? undefined : (row['patient'] as string);
}

/** Pseudonyms of a patient's studies: what is left to erase before the patient can be forgotten. */
export function studiesOfPatient(wall: Wall, project: string, patient: string): string[] {
  return wall.database
    .all('SELECT pseudonym FROM crosswalk_study WHERE project = ? AND patient = ? ORDER BY pseudonym', project, patient)
    .map((row) => row['pseudonym'] as string);
}

/** Every pseudonymous UID that a patient's objects were given, those of derived objects too. */
export function uidsOfPatient(wall: Wall, project: string, patient: string): string[] {
  return wall.database
    .all(
      `SELECT pseudonym AS uid FROM crosswalk_uid WHERE project = ? AND patient = ?
       UNION SELECT uid FROM minted_uid WHERE project = ?
         AND study IN (SELECT pseudonym FROM crosswalk_study WHERE project = ? AND patient = ?)`,
      project,
      patient,
      project,
      project,
      patient,
    )
    .map((row) => row['uid'] as string);
}
