/**
 * Pseudonyms and the way back. Keys by HKDF per project, UIDs and patients by HMAC, what leads back sealed with AES-256-GCM row by row.
 * The file or environment value that holds the key is the only thing that opens the rows.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { closeSync, existsSync, fstatSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { migrate, type Database } from '../database.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isWellKnownUid } from '../dicom/sop-class.ts';
import { uuidUid } from '../dicom/uid.ts';

/** The wall between the two worlds: the database that holds the crosswalk, and the keys. */
export interface Wall {
  readonly database: Database;
  readonly master: Buffer;
  readonly domains: Map<string, Domain>;
}

/** The scope of keys is the scope of linkability: two projects share no pseudonym. */
export interface Domain {
  readonly project: string;
  readonly keys: Readonly<Record<KeyUse, KeyObject>>;
  readonly uids: Map<string, string>;
  readonly patients: Map<string, PatientPseudonym>;
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

const MAX_CACHED = 200_000;
const KEY_BYTES = 32;

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

const MIGRATIONS = [
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
];

export interface KeySource {
  /** Made with mode 0600 when it does not exist. */
  readonly keyFile: string;
  /** 64 hexadecimal digits; takes the place of the file. */
  readonly keyHex?: string | undefined;
}

/** @throws Refusal BadConfiguration when the key cannot be trusted, or is not the one that the database was begun with */
export function openWall(database: Database, source: KeySource): Wall {
  migrate(database, 'deidentify', MIGRATIONS);
  const known = database.get('SELECT mark FROM crosswalk_key')?.['mark'];
  if (known !== undefined && source.keyHex === undefined && !existsSync(source.keyFile)) {
    throw new Refusal(
      'BadConfiguration',
      `the crosswalk key file ${source.keyFile} is missing, and the database was begun with it: bring it back from its backup`,
    );
  }
  const master = source.keyHex === undefined ? readOrMakeKey(source.keyFile) : parseKey(source.keyHex, 'the given key');
  // Tells nothing of the key: it hangs on it as the domains' keys do.
  const mark = hkdf(master, 'mark');
  if (known === undefined) database.run('INSERT INTO crosswalk_key (one, mark) VALUES (1, ?)', mark);
  else if (!mark.equals(known as Buffer)) {
    throw new Refusal(
      'BadConfiguration',
      'the crosswalk key is not the one that the database was begun with: nothing in it could be turned back',
    );
  }
  return { database, master, domains: new Map() };
}

function readOrMakeKey(keyFile: string): Buffer {
  const folder = dirname(keyFile);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  try {
    const made = openSync(keyFile, 'wx', 0o600);
    try {
      writeSync(made, `${randomBytes(KEY_BYTES).toString('hex')}\n`);
      fsyncSync(made);
    } finally {
      closeSync(made);
    }
    // Its name, too, is there after a power cut.
    syncFolder(folder);
    syncFolder(dirname(folder));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const file = openSync(keyFile, 'r');
  try {
    const mode = fstatSync(file).mode & 0o777;
    if ((mode & 0o077) !== 0) {
      throw new Refusal(
        'BadConfiguration',
        `the crosswalk key file ${keyFile} has mode ${mode.toString(8)}; nobody but its owner may have access (0600)`,
      );
    }
    return parseKey(readFileSync(file, 'utf8').trim(), `the crosswalk key file ${keyFile}`);
  } finally {
    closeSync(file);
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function parseKey(hex: string, where: string): Buffer {
  if (!/^[0-9a-fA-F]{64}$/.test(hex)) {
    throw new Refusal('BadConfiguration', `${where} holds ${hex.length} characters; 64 hexadecimal digits are needed`);
  }
  return Buffer.from(hex, 'hex');
}

export function domainOf(wall: Wall, project: string): Domain {
  const known = wall.domains.get(project);
  if (known !== undefined) return known;
  const root = hkdf(wall.master, `domain:${project}`);
  const keys = Object.fromEntries(KEY_USES.map((use) => [use, createSecretKey(hkdf(root, use))])) as Record<
    KeyUse,
    KeyObject
  >;
  const domain: Domain = {
    project,
    keys,
    uids: new Map(),
    patients: new Map(),
    stored: new Set(),
    written: new Set(),
  };
  wall.domains.set(project, domain);
  return domain;
}

function hkdf(key: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, Buffer.alloc(0), info, KEY_BYTES));
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
 */
export function patientPseudonym(wall: Wall, domain: Domain, issuer: string, patientId: string): PatientPseudonym {
  const lookup = hmac(domain.keys.patient, 'lookup', issuer, patientId);
  const key = lookup.toString('latin1');
  const known = domain.patients.get(key);
  if (known !== undefined) return known;
  const patient = wall.database.transaction(() => {
    const row = wall.database.get(
      'SELECT pseudonym, sealed FROM crosswalk_patient WHERE project = ? AND lookup = ?',
      domain.project,
      lookup,
    );
    if (row !== undefined) {
      const pseudonym = row['pseudonym'] as string;
      return { pseudonym, salt: unseal(domain, `patient:${pseudonym}`, row['sealed'] as Buffer) };
    }
    return addPatient(wall, domain, lookup, issuer, patientId);
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
    const { changes } = wall.database.run(
      'INSERT OR IGNORE INTO crosswalk_patient (project, lookup, pseudonym, sealed) VALUES (?, ?, ?, ?)',
      domain.project,
      lookup,
      pseudonym,
      seal(domain, `patient:${pseudonym}`, salt),
    );
    if (changes === 1) return { pseudonym, salt };
  }
}

/** Whole days, never 0, the same for every date of a patient in a project. */
export function dateOffsetDays(domain: Domain, salt: Buffer, windowDays: readonly [number, number]): number {
  const [first, last] = windowDays;
  const days = last - first + 1;
  const offset = first + Number(hmac(domain.keys.date, salt).readBigUInt64BE(0) % BigInt(days));
  if (offset !== 0) return offset;
  return last > 0 ? last : first;
}

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

/** Writes what is not known to be there. Inside the caller's transaction when there is one. */
export function rememberRows(wall: Wall, domain: Domain, rows: NewRows): void {
  const { database } = wall;
  const { project } = domain;
  const studyKey = `study:${rows.study}`;
  database.transaction(() => {
    if (isMissing(domain, studyKey, () => hasRow(database, 'crosswalk_study', project, rows.study))) {
      database.run(
        'INSERT OR IGNORE INTO crosswalk_study (project, pseudonym, patient, sealed) VALUES (?, ?, ?, ?)',
        project,
        rows.study,
        rows.patient,
        seal(domain, studyKey, Buffer.from(JSON.stringify(rows.studyRow()), 'utf8')),
      );
    }
    for (const [pseudonym, original] of rows.uids) {
      const uidKey = `uid:${pseudonym}`;
      if (!isMissing(domain, uidKey, () => hasRow(database, 'crosswalk_uid', project, pseudonym))) continue;
      database.run(
        'INSERT OR IGNORE INTO crosswalk_uid (project, pseudonym, patient, sealed) VALUES (?, ?, ?, ?)',
        project,
        pseudonym,
        rows.patient,
        seal(domain, uidKey, Buffer.from(original, 'latin1')),
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
    'SELECT sealed FROM crosswalk_study WHERE project = ? AND pseudonym = ?',
    project,
    studyPseudonym,
  );
  if (row === undefined) return undefined;
  const json = unseal(domainOf(wall, project), `study:${studyPseudonym}`, row['sealed'] as Buffer).toString('utf8');
  return JSON.parse(json) as StudyRow;
}

/** The original of a pseudonym; undefined when the crosswalk does not have it. */
export function originalUid(wall: Wall, project: string, pseudonym: string): string | undefined {
  const row = wall.database.get(
    'SELECT sealed FROM crosswalk_uid WHERE project = ? AND pseudonym = ?',
    project,
    pseudonym,
  );
  if (row === undefined) return undefined;
  return unseal(domainOf(wall, project), `uid:${pseudonym}`, row['sealed'] as Buffer).toString('latin1');
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

/** Pseudonyms of a patient's studies: what is left to erase before the patient can be forgotten. */
export function studiesOfPatient(wall: Wall, project: string, patient: string): string[] {
  return wall.database
    .all('SELECT pseudonym FROM crosswalk_study WHERE project = ? AND patient = ? ORDER BY pseudonym', project, patient)
    .map((row) => row['pseudonym'] as string);
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
    for (const table of ['crosswalk_uid', 'crosswalk_study']) {
      rows += wall.database.run(`DELETE FROM ${table} WHERE project = ? AND patient = ?`, project, patient).changes;
    }
    return (
      rows +
      wall.database.run('DELETE FROM crosswalk_patient WHERE project = ? AND pseudonym = ?', project, patient).changes
    );
  });
  domain.uids.clear();
  domain.patients.clear();
  domain.stored.clear();
  domain.written.clear();
  return forgotten;
}

/** 12 bytes nonce, 16 bytes tag, then the ciphertext; bound to the project and to the row's name. */
function seal(domain: Domain, name: string, clear: Buffer): Buffer {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', domain.keys.seal, nonce);
  cipher.setAAD(Buffer.from(`${domain.project}\n${name}`, 'utf8'));
  const sealed = Buffer.concat([cipher.update(clear), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), sealed]);
}

/** @throws Refusal Unresolved when the key is another one or the row was changed */
function unseal(domain: Domain, name: string, sealed: Buffer): Buffer {
  try {
    const decipher = createDecipheriv('aes-256-gcm', domain.keys.seal, sealed.subarray(0, 12));
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
