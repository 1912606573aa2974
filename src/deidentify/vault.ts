/**
 * The secrets that every pseudonym and every row of the crosswalk hang on. They are random and lie in the database, each wrapped under a
 * key-encryption key that lies elsewhere: in a file, in the environment, or in a key service that a command speaks to and that never
 * gives it away. So the key can be changed at any time without touching a pseudonym, and the database alone opens nothing.
 */
import { spawnSync } from 'node:child_process';
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import type { Database, MigrationStep } from '../database.ts';
import { Refusal } from '../dicom/refusal.ts';

export interface KeySource {
  /** Made with mode 0600 when it does not exist and the database holds no secret yet. */
  readonly keyFile: string;
  /** 64 hexadecimal digits; takes the place of the file. */
  readonly keyHex?: string | undefined;
  /**
   * Program and arguments; takes the place of both. It is run with `wrap` or `unwrap` added, reads one line of Base64 from its input
   * and writes one line of Base64.
   */
  readonly command?: readonly string[] | undefined;
}

export interface Secrets {
  /** 32 bytes; pseudonyms, date offsets and the seal of quarantine hang on it. It never changes. */
  readonly master: Buffer;
  /** 32 bytes by generation: rows of the crosswalk are sealed under the newest. Generation 0 hangs on the master secret. */
  readonly seals: Map<number, Buffer>;
}

export const VAULT_STEPS: readonly MigrationStep[] = [
  `CREATE TABLE vault_secret (
     name TEXT PRIMARY KEY, wrapped BLOB NOT NULL) WITHOUT ROWID;
   ALTER TABLE crosswalk_patient ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE crosswalk_study ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE crosswalk_uid ADD COLUMN generation INTEGER NOT NULL DEFAULT 0`,
];

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const MASTER = 'master';
const COMMAND_MS = 30_000;

/** Wraps secrets and opens them again. `unwrap` answers undefined when this is not the key they were wrapped under. */
interface KeyHolder {
  wrap(name: string, secret: Buffer): Buffer;
  unwrap(name: string, wrapped: Buffer): Buffer | undefined;
}

/** @throws Refusal BadConfiguration when the key cannot be trusted, or is not the one that the database was begun with */
export function openSecrets(database: Database, source: KeySource): Secrets {
  return database.transaction(() => {
    const rows = database.all('SELECT name, wrapped FROM vault_secret');
    // Before there was a vault the key itself was the master secret, and this mark told whether it was the right one.
    const mark = database.get('SELECT mark FROM crosswalk_key')?.['mark'] as Buffer | undefined;
    const begun = rows.length > 0 || mark !== undefined;
    const holder = openHolder(source, begun);
    if (rows.length > 0) return unwrapAll(rows, holder);
    const master = mark === undefined ? randomBytes(KEY_BYTES) : masterOfMark(mark, source);
    storeSecret(database, holder, MASTER, master);
    database.run('DELETE FROM crosswalk_key');
    return { master, seals: new Map() };
  });
}

function masterOfMark(mark: Buffer, source: KeySource): Buffer {
  if (source.command !== undefined) {
    throw new Refusal(
      'BadConfiguration',
      'the database was begun with a key of its own: open it with that key once, then change to the command with isthmus vault rotate',
    );
  }
  const key = localKey(source, true);
  if (!hkdf(key, 'mark').equals(mark)) throw notTheKey();
  return key;
}

function unwrapAll(rows: readonly Readonly<Record<string, unknown>>[], holder: KeyHolder): Secrets {
  const secrets = new Map<string, Buffer>();
  for (const row of rows) {
    const name = String(row['name']);
    const secret = holder.unwrap(name, row['wrapped'] as Buffer);
    if (secret?.length !== KEY_BYTES) throw notTheKey();
    secrets.set(name, secret);
  }
  const master = secrets.get(MASTER);
  if (master === undefined)
    throw new Refusal('BadConfiguration', 'the database holds secrets but not the first of them');
  const seals = new Map<number, Buffer>();
  for (const [name, secret] of secrets) {
    const generation = /^seal:(\d+)$/.exec(name)?.[1];
    if (generation !== undefined) seals.set(Number(generation), secret);
  }
  return { master, seals };
}

function notTheKey(): Refusal {
  return new Refusal(
    'BadConfiguration',
    'the crosswalk key is not the one that the database was begun with: nothing in it could be turned back',
  );
}

/** Wrapped, opened again and only then written: what cannot be opened must not come to be needed. */
function storeSecret(database: Database, holder: KeyHolder, name: string, secret: Buffer): void {
  const wrapped = holder.wrap(name, secret);
  if (holder.unwrap(name, wrapped)?.equals(secret) !== true)
    throw new Refusal('BadConfiguration', 'what the crosswalk key wraps it does not open again');
  database.run('INSERT OR REPLACE INTO vault_secret (name, wrapped) VALUES (?, ?)', name, wrapped);
}

/** Puts every secret under another key, in one transaction. The one it was under opens nothing of this database afterwards. */
export function rewrapSecrets(database: Database, from: KeySource, to: KeySource): number {
  return scrubbed(database, () => {
    openSecrets(database, from);
    const old = openHolder(from, true);
    const next = openHolder(to, false);
    const rows = database.all('SELECT name, wrapped FROM vault_secret');
    for (const row of rows) {
      const name = String(row['name']);
      const secret = old.unwrap(name, row['wrapped'] as Buffer);
      if (secret === undefined) throw notTheKey();
      storeSecret(database, next, name, secret);
    }
    return rows.length;
  });
}

/** A new secret for sealing rows, under the key in force; answers its generation. */
export function addSealSecret(database: Database, source: KeySource, secrets: Secrets): number {
  const generation = newestGeneration(secrets) + 1;
  const secret = randomBytes(KEY_BYTES);
  storeSecret(database, openHolder(source, true), `seal:${generation}`, secret);
  secrets.seals.set(generation, secret);
  return generation;
}

/** Destroys the seals before this generation: nothing may be sealed under them any more. */
export function dropSealSecrets(database: Database, secrets: Secrets, before: number): void {
  scrubbed(database, () => {
    for (const generation of [...secrets.seals.keys()].filter((one) => one < before)) {
      database.run('DELETE FROM vault_secret WHERE name = ?', `seal:${generation}`);
      secrets.seals.delete(generation);
    }
  });
}

export function newestGeneration({ seals }: Secrets): number {
  return Math.max(0, ...seals.keys());
}

/** One transaction, after which what it deleted and replaced is in no file of the database any more. */
export function scrubbed<T>(database: Database, work: () => T): T {
  const done = database.transaction(work);
  database.truncateLog();
  return done;
}

function openHolder(source: KeySource, begun: boolean): KeyHolder {
  if (source.command !== undefined) return commandHolder(source.command);
  const key = hkdf(localKey(source, begun), 'wrap');
  return {
    wrap(name, secret) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, nonce);
      cipher.setAAD(Buffer.from(name, 'utf8'));
      const wrapped = Buffer.concat([cipher.update(secret), cipher.final()]);
      return Buffer.concat([nonce, cipher.getAuthTag(), wrapped]);
    },
    unwrap(name, wrapped) {
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, wrapped.subarray(0, NONCE_BYTES));
        decipher.setAAD(Buffer.from(name, 'utf8'));
        decipher.setAuthTag(wrapped.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
        return Buffer.concat([decipher.update(wrapped.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]);
      } catch {
        return undefined;
      }
    },
  };
}

/** The name goes along with the secret, so that one wrapped secret cannot be put in another's place. */
function commandHolder(command: readonly string[]): KeyHolder {
  return {
    wrap: (name, secret) => runKeyCommand(command, 'wrap', Buffer.concat([secret, Buffer.from(name, 'utf8')])),
    unwrap(name, wrapped) {
      const clear = runKeyCommand(command, 'unwrap', wrapped);
      return clear.subarray(KEY_BYTES).toString('utf8') === name ? clear.subarray(0, KEY_BYTES) : undefined;
    },
  };
}

function runKeyCommand(command: readonly string[], verb: 'wrap' | 'unwrap', input: Buffer): Buffer {
  const [program = '', ...given] = command;
  const ran = spawnSync(program, [...given, verb], {
    input: `${input.toString('base64')}\n`,
    encoding: 'utf8',
    timeout: COMMAND_MS,
    maxBuffer: 65_536,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const how = ran.error === undefined ? `ended with status ${String(ran.status)}` : `failed: ${ran.error.name}`;
  if (ran.error !== undefined || ran.status !== 0)
    throw new Refusal('BadConfiguration', `the crosswalk key command, asked to ${verb}, ${how}`);
  const text = ran.stdout.trim();
  if (!/^(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)) {
    throw new Refusal(
      'BadConfiguration',
      `the crosswalk key command, asked to ${verb}, wrote ${text.length} characters; one line of Base64 is expected`,
    );
  }
  return Buffer.from(text, 'base64');
}

function localKey({ keyFile, keyHex }: KeySource, begun: boolean): Buffer {
  if (keyHex !== undefined) return parseKey(keyHex, 'the given key');
  if (begun && !existsSync(keyFile)) {
    throw new Refusal(
      'BadConfiguration',
      `the crosswalk key file ${keyFile} is missing, and the database was begun with it: bring it back from its backup`,
    );
  }
  return readOrMakeKey(keyFile, begun);
}

function readOrMakeKey(keyFile: string, begun: boolean): Buffer {
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
    // Left by one that was killed before it wrote the key: nothing can be under it.
    if (!begun && statSync(keyFile).size === 0) {
      rmSync(keyFile);
      return readOrMakeKey(keyFile, begun);
    }
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

/** HKDF-SHA256 (RFC 5869) without salt. */
export function hkdf(key: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, Buffer.alloc(0), info, KEY_BYTES));
}
