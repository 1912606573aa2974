/**
 * The wall between the two worlds: the crosswalk's tables, the keys of each project (HKDF from the vault's master secret), and the seal of
 * its rows (AES-256-GCM). The key that the vault's secrets are wrapped under is the only thing that opens them.
 */
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes, type KeyObject } from 'node:crypto';
import { migrate, type Database, type MigrationStep, type Row } from '../database.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Faultless } from '../dicom/value-faults.ts';
import type { Kin } from './kin.ts';
import type { PatientPseudonym } from './patients.ts';
import type { Known } from './residue.ts';
import { hkdf, newestGeneration, openSecrets, VAULT_STEPS, type KeySource, type Secrets } from './vault.ts';

export interface Wall extends Secrets {
  readonly database: Database;
  readonly domains: Map<string, Domain>;
  /** In memory, what is known of the last patients and how their texts are cleaned; empty again when somebody is erased. */
  readonly kin: Map<string, Kin>;
  readonly known: Map<string, Known>;
  /** Of the last series: heads as they came. Empty again with the others. */
  readonly faultless: Faultless;
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

/** Of a study some thousands; a UID that is met again later costs 5 microseconds, and a gateway that runs for months stays as small as on its first day. */
export const MAX_CACHED = 8192;

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
  const memory = { domains: new Map(), kin: new Map(), known: new Map(), faultless: new Map() };
  return { database, ...openSecrets(database, source), ...memory };
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

/** Names and words of the last patients that are kept at hand. */
export function forgetInMemory(wall: Wall): void {
  wall.kin.clear();
  wall.known.clear();
  wall.faultless.clear();
}

interface SealedRow {
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
