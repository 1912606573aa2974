/**
 * Pseudonyms and the way back. Keys by HKDF per project, UIDs and patients by HMAC, what leads back sealed with AES-256-GCM row by row.
 * The key that the vault's secrets are wrapped under is the only thing that opens the rows.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { migrate, type Database, type MigrationStep, type Row } from '../database.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isWellKnownUid } from '../dicom/sop-class.ts';
import { uuidUid } from '../dicom/uid.ts';
import type { Kin } from './kin.ts';
import type { Known } from './residue.ts';
import { hkdf, newestGeneration, openSecrets, VAULT_STEPS, type KeySource, type Secrets } from './vault.ts';

/** The wall between the two worlds: the database that holds the crosswalk, and the keys. */
export interface Wall extends Secrets {
  readonly database: Database;
  readonly domains: Map<string, Domain>;
  /** In memory, what is known of the last patients and how their texts are cleaned; empty again when somebody is erased. */
  readonly kin: Map<string, Kin>;
  readonly known: Map<string, Known>;
}

/** The scope of keys is the scope of linkability: two projects share no pseudonym. */
export interface Domain {
  readonly project: string;
  /** False: its key is kept nowhere, and no row is written that could lead back (one-time.ts). */
  readonly lasting: boolean;
  readonly keys: Readonly<Record<KeyUse, KeyObject>>;
  /** What rows are sealed under, by generation. */
  readonly seals: Map<number, KeyObject>;
  readonly uids: Map<string, string>;
  readonly patients: Map<string, PatientPseudonym>;
  /** Whose a study is, seen in the database after its row's transaction ended: only an erasure changes it. */
  readonly patientsOfStudies: Map<string, string>;
  /** Rows seen in the database after their transaction ended: they need not be written again. */
  readonly stored: Set<string>;
  /** Rows handed to a transaction whose end has not been seen yet. */
  readonly written: Set<string>;
}

type KeyUse = 'uid' | 'outward' | 'patient' | 'date' | 'text' | 'seal';
const KEY_USES: readonly KeyUse[] = ['uid', 'outward', 'patient', 'date', 'text', 'seal'];

export interface PatientPseudonym {
  readonly pseudonym: string;
  /** Lets this patient's dates be derived; destroying it ends that. */
  readonly salt: Buffer;
}

/** Of a study some thousands; a UID that is met again later costs 5 microseconds, and a gateway that runs for months stays as small as on its first day. */
const MAX_CACHED = 8192;

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

const MIGRATIONS: readonly MigrationStep[] = [
  `CREATE TABLE crosswalk_patient (
     project TEXT NOT NULL, lookup BLOB NOT NULL, pseudonym TEXT NOT NULL, sealed BLOB NOT NULL,
     PRIMARY KEY (project, lookup), UNIQUE (project, pseudonym)) WITHOUT ROWID;
   CREATE TABLE crosswalk_study (
     project TEXT NOT NULL, pseudonym TEXT NOT NULL, patient TEXT NOT NULL, sealed BLOB NOT NULL,
     PRIMARY KEY (project, pseudonym)) WITHOUT ROWID;
   CREATE TABLE crosswalk_uid (
     project TEXT NOT NULL, pseudonym TEXT NOT NULL, patient TEXT NOT NULL, sealed BLOB NOT NULL,
     PRIMARY KEY (project, pseudonym)) WITHOUT ROWID;
   CREATE INDEX crosswalk_uid_patient ON crosswalk_uid (project, patient);
   CREATE INDEX crosswalk_study_patient ON crosswalk_study (project, patient);
   CREATE TABLE minted_uid (
     project TEXT NOT NULL, uid TEXT NOT NULL, study TEXT NOT NULL,
     PRIMARY KEY (project, uid)) WITHOUT ROWID`,
  'CREATE TABLE crosswalk_key (one INTEGER PRIMARY KEY CHECK (one = 1), mark BLOB NOT NULL)',
  ...VAULT_STEPS,
  // Two records of one person, as the hospital found out (merge.ts); people whose erasure has begun.
  `CREATE TABLE crosswalk_merged (
     project TEXT NOT NULL, pseudonym TEXT NOT NULL, survivor TEXT NOT NULL,
     PRIMARY KEY (project, pseudonym)) WITHOUT ROWID;
   CREATE INDEX crosswalk_merged_survivor ON crosswalk_merged (project, survivor);
   CREATE TABLE crosswalk_leaving (
     project TEXT NOT NULL, pseudonym TEXT NOT NULL, PRIMARY KEY (project, pseudonym)) WITHOUT ROWID;
   CREATE TABLE crosswalk_note (
     project TEXT NOT NULL, pseudonym TEXT NOT NULL, patient TEXT NOT NULL, sealed BLOB NOT NULL,
     generation INTEGER NOT NULL, PRIMARY KEY (project, pseudonym)) WITHOUT ROWID;
   CREATE INDEX crosswalk_note_patient ON crosswalk_note (project, patient)`,
  // Names, numbers and places that a patient's objects were seen to hold (kin.ts).
  `CREATE TABLE crosswalk_kin (
     project TEXT NOT NULL, pseudonym TEXT NOT NULL, patient TEXT NOT NULL, study TEXT NOT NULL, sealed BLOB NOT NULL,
     generation INTEGER NOT NULL, PRIMARY KEY (project, pseudonym)) WITHOUT ROWID;
   CREATE INDEX crosswalk_kin_patient ON crosswalk_kin (project, patient);
   CREATE INDEX crosswalk_kin_study ON crosswalk_kin (project, study)`,
];

/** @throws Refusal BadConfiguration when the key cannot be trusted, or is not the one that the database was begun with */
export function openWall(database: Database, source: KeySource): Wall {
  migrate(database, 'deidentify', MIGRATIONS);
  return { database, ...openSecrets(database, source), domains: new Map(), kin: new Map(), known: new Map() };
}

export function domainOf(wall: Wall, project: string): Domain {
  const known = wall.domains.get(project);
  if (known !== undefined) return known;
  const domain = openDomain(project, hkdf(wall.master, `domain:${project}`), true);
  wall.domains.set(project, domain);
  return domain;
}

/** A domain of its own root key. */
export function openDomain(project: string, root: Buffer, lasting: boolean): Domain {
  const keys = Object.fromEntries(KEY_USES.map((use) => [use, createSecretKey(hkdf(root, use))])) as Record<
    KeyUse,
    KeyObject
  >;
  return {
    project,
    lasting,
    keys,
    seals: new Map([[0, keys.seal]]),
    uids: new Map(),
    patients: new Map(),
    patientsOfStudies: new Map(),
    stored: new Set(),
    written: new Set(),
  };
}

function hmac(key: KeyObject, ...words: readonly (string | Buffer)[]): Buffer {
  const hash = createHmac('sha256', key);
  for (const word of words) {
    const bytes = typeof word === 'string' ? Buffer.from(word, 'utf8') : word;
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest();
}

/** The pseudonym of a UID: 2.25 and 128 bits of a keyed hash (PS3.5 B.2). Pure: any worker, any order, the same answer. */
export function pseudonymOfUid(domain: Domain, uid: string): string {
  const known = domain.uids.get(uid);
  if (known !== undefined) return known;
  const pseudonym = uuidUid(createHmac('sha256', domain.keys.uid).update(uid).digest(), 8);
  if (domain.uids.size >= MAX_CACHED) domain.uids.clear();
  domain.uids.set(uid, pseudonym);
  return pseudonym;
}

/** What the hospital sees instead of a UID that we made, so that the two worlds share none. The same every time. */
export function outwardUid(wall: Wall, project: string, minted: string): string {
  return uuidUid(createHmac('sha256', domainOf(wall, project).keys.outward).update(minted).digest(), 8);
}

/** Stands for a short text whose equality matters (stack ids, optical path ids); the same text gives the same word. */
export function pseudonymOfText(domain: Domain, text: string): string {
  return `T${base32(createHmac('sha256', domain.keys.text).update(text).digest()).slice(0, 10)}`;
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

function knownPatient(wall: Wall, domain: Domain, pseudonym: string): PatientPseudonym {
  const row = wall.database.get(
    'SELECT sealed, generation FROM crosswalk_patient WHERE project = ? AND pseudonym = ?',
    domain.project,
    pseudonym,
  );
  if (row === undefined) throw new Refusal('Unresolved', 'the crosswalk row of a merged patient is missing');
  return { pseudonym, salt: unseal(wall, domain, `patient:${pseudonym}`, row) };
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

/** Two records that are one person's. */
function isOtherRecord(wall: Wall, project: string, one: string, other: string): boolean {
  return one !== other && survivorOf(wall, project, one) === survivorOf(wall, project, other);
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

/** Whom an object is about, for what is kept without being let in; the same for every project. Leads to nobody without the master secret. */
export function subjectMark(wall: Wall, issuer: string, patientId: string): Buffer {
  return hmac(createSecretKey(hkdf(wall.master, 'subject')), issuer, patientId);
}

/** The same of a study as the hospital names it, for what is sealed of it. */
export function studyMark(wall: Wall, studyInstanceUID: string): Buffer {
  return hmac(createSecretKey(hkdf(wall.master, 'study')), studyInstanceUID);
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

/** Whole days, never 0, the same for every date of a patient in a project. */
export function dateOffsetDays(domain: Domain, salt: Buffer, windowDays: readonly [number, number]): number {
  const window = windowDays.join();
  const known = OFFSETS.get(salt);
  if (known?.window === window) return known.days;
  const [first, last] = windowDays;
  const offset = first + Number(hmac(domain.keys.date, salt).readBigUInt64BE(0) % BigInt(last - first + 1));
  const days = offset !== 0 ? offset : last > 0 ? last : first;
  OFFSETS.set(salt, { window, days });
  return days;
}

/** By a patient's salt in memory, which no two projects share. */
const OFFSETS = new WeakMap<Buffer, { readonly window: string; readonly days: number }>();

/** RFC 4648 without padding. */
function base32(bytes: Buffer): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  let bits = 0;
  let value = 0;
  let text = '';
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xfff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += alphabet[(value >>> bits) & 31];
    }
  }
  return text;
}

/** Rows of one object: which it needs, by pseudonym. */
export interface NewRows {
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

/** Every UID of a patient: pseudonym and original. */
export async function* originalsOf(
  wall: Wall,
  project: string,
  patient: string,
): AsyncGenerator<readonly [pseudonym: string, original: string], void, undefined> {
  const domain = domainOf(wall, project);
  for (let last = ''; ;) {
    const rows = wall.database.all(
      'SELECT pseudonym, sealed, generation FROM crosswalk_uid WHERE project = ? AND patient = ? AND pseudonym > ? ORDER BY pseudonym LIMIT ?',
      project,
      patient,
      last,
      OPENED_AT_ONCE,
    );
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

/** `resolveUid` for several; those that do not resolve are left out. */
export function outwardUids(wall: Wall, project: string, uids: Iterable<string>): Map<string, string> {
  const resolved = new Map<string, string>();
  for (const uid of uids) {
    const outward = resolveUid(wall, project, uid);
    if (outward !== undefined) resolved.set(uid, outward);
  }
  return resolved;
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

/** Names and words of the last patients that are kept at hand. */
export function forgetInMemory(wall: Wall): void {
  wall.kin.clear();
  wall.known.clear();
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

export interface SealedRow {
  readonly sealed: Buffer;
  readonly generation: number;
}

/** 12 bytes nonce, 16 bytes tag, then the ciphertext; bound to the project and to the row's name; under the newest secret. */
export function seal(wall: Wall, domain: Domain, name: string, clear: Buffer): SealedRow {
  const generation = newestGeneration(wall);
  const nonce = freshNonce();
  const cipher = createCipheriv('aes-256-gcm', sealKey(wall, domain, generation), nonce);
  cipher.setAAD(Buffer.from(`${domain.project}\n${name}`, 'utf8'));
  const sealed = Buffer.concat([cipher.update(clear), cipher.final()]);
  return { sealed: Buffer.concat([nonce, cipher.getAuthTag(), sealed]), generation };
}

const NONCE_BYTES = 12;
/** Drawn for many rows at once; each is given out once. */
const NONCES = { bytes: Buffer.alloc(0), at: 0 };

function freshNonce(): Buffer {
  if (NONCES.at >= NONCES.bytes.length) {
    NONCES.bytes = randomBytes(256 * NONCE_BYTES);
    NONCES.at = 0;
  }
  NONCES.at += NONCE_BYTES;
  return NONCES.bytes.subarray(NONCES.at - NONCE_BYTES, NONCES.at);
}

/** @throws Refusal Unresolved when the key is another one or the row was changed */
export function unseal(wall: Wall, domain: Domain, name: string, row: Row): Buffer {
  const sealed = row['sealed'] as Buffer;
  try {
    const key = sealKey(wall, domain, Number(row['generation']));
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12));
    decipher.setAAD(Buffer.from(`${domain.project}\n${name}`, 'utf8'));
    decipher.setAuthTag(sealed.subarray(12, 28));
    return Buffer.concat([decipher.update(sealed.subarray(28)), decipher.final()]);
  } catch {
    throw new Refusal(
      'Unresolved',
      'a row of the crosswalk cannot be opened: the key is not the one it was sealed with, or the row was changed',
    );
  }
}

function sealKey(wall: Wall, domain: Domain, generation: number): KeyObject {
  const known = domain.seals.get(generation);
  if (known !== undefined) return known;
  const secret = wall.seals.get(generation);
  if (secret === undefined) throw new Refusal('Unresolved', `the crosswalk holds no seal of generation ${generation}`);
  const key = createSecretKey(hkdf(secret, `seal:${domain.project}`));
  domain.seals.set(generation, key);
  return key;
}
