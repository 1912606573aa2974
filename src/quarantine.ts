/**
 * Objects that could not be let in, sealed as they came (AES-256-GCM) with the reason, until a person looks.
 * A file: 12 bytes of nonce, ciphertext, 16 bytes of tag. Its row holds no identity: a keyed fingerprint tells a re-send.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, statfs, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Database, Row } from './database.ts';
import { Refusal } from './dicom/refusal.ts';

export interface Quarantine {
  readonly database: Database;
  readonly folder: string;
  /** 32 bytes. */
  readonly key: Buffer;
  /** Less free disk than this holds nothing any more: what nobody wants never takes the room of what is wanted. */
  readonly reserveBytes: number;
  readonly now: () => number;
}

export interface Held {
  readonly id: string;
  readonly heldAt: number;
  readonly reason: string;
  /** What was found and expected, without any value of the object. */
  readonly sentence: string;
  readonly door: string;
  readonly callingAE: string;
  readonly bytes: number;
  /** How often the very same bytes came. */
  readonly arrivals: number;
  /** The transfer syntax of a data set without file meta (DIMSE); empty for Part 10. */
  readonly transferSyntaxUID: string;
}

export const MIGRATE_QUARANTINE = {
  room: 'quarantine',
  steps: [
    `CREATE TABLE quarantine (
       id TEXT PRIMARY KEY,
       fingerprint TEXT NOT NULL UNIQUE,
       held_at INTEGER NOT NULL,
       reason TEXT NOT NULL,
       sentence TEXT NOT NULL,
       door TEXT NOT NULL,
       calling_ae TEXT NOT NULL,
       bytes INTEGER NOT NULL,
       arrivals INTEGER NOT NULL DEFAULT 1,
       transfer_syntax TEXT NOT NULL
     ) WITHOUT ROWID;
     CREATE INDEX quarantine_held_at ON quarantine (held_at)`,
    `ALTER TABLE quarantine ADD COLUMN subject BLOB;
     CREATE INDEX quarantine_subject ON quarantine (subject) WHERE subject IS NOT NULL`,
    `ALTER TABLE quarantine ADD COLUMN study BLOB;
     CREATE INDEX quarantine_study ON quarantine (study) WHERE study IS NOT NULL`,
    `ALTER TABLE quarantine ADD COLUMN batch BLOB;
     CREATE INDEX quarantine_batch ON quarantine (batch, held_at) WHERE batch IS NOT NULL`,
  ],
} as const;

export interface HoldFacts {
  readonly reason: string;
  readonly sentence: string;
  readonly door: string;
  readonly callingAE: string;
  readonly transferSyntaxUID: string;
  /** A keyed mark of the patient, by which an erasure finds what is held of them; undefined when the object names nobody. */
  readonly subject?: Buffer | undefined;
  /** The same of the study. */
  readonly study?: Buffer | undefined;
  /** A keyed mark of what it can only be let in together with; undefined when it stands for itself. */
  readonly batch?: Buffer | undefined;
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** Bytes written between two looks at the disk. */
const LOOK_EVERY_BYTES = 64 * 2 ** 20;

/**
 * Seals the bytes; resolves when file and row are durable. The same bytes again only count up.
 * @throws Refusal DiskFull when the disk is short; whatever the source throws. Then nothing is left behind.
 */
export async function hold(quarantine: Quarantine, source: AsyncIterable<Uint8Array>, facts: HoldFacts): Promise<Held> {
  await mkdir(quarantine.folder, { recursive: true, mode: 0o700 });
  const id = randomUUID();
  const file = join(quarantine.folder, `${id}.sealed`);
  const partial = `${file}.part`;
  let sealed: { bytes: number; fingerprint: string };
  try {
    const handle = await open(partial, 'wx', 0o600);
    try {
      sealed = await seal(quarantine, { id, batch: facts.batch }, source, handle);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') throw diskIsShort(quarantine);
    throw error;
  }
  await syncFolder(quarantine.folder);
  const row = quarantine.database.get(
    `INSERT INTO quarantine (id, fingerprint, held_at, reason, sentence, door, calling_ae, bytes, transfer_syntax, subject, study, batch)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (fingerprint) DO UPDATE SET arrivals = arrivals + 1, reason = excluded.reason, sentence = excluded.sentence
     RETURNING *`,
    id,
    sealed.fingerprint,
    quarantine.now(),
    facts.reason,
    facts.sentence,
    facts.door,
    facts.callingAE,
    sealed.bytes,
    facts.transferSyntaxUID,
    facts.subject ?? null,
    facts.study ?? null,
    facts.batch ?? null,
  );
  if (row === undefined) throw new Error('the quarantine row was not written');
  if (row['id'] !== id) await rm(file, { force: true });
  return held(row);
}

async function seal(
  quarantine: Quarantine,
  { id, batch }: { readonly id: string; readonly batch: Buffer | undefined },
  source: AsyncIterable<Uint8Array>,
  handle: FileHandle,
): Promise<{ bytes: number; fingerprint: string }> {
  const fingerprint = createHmac('sha256', quarantine.key);
  // The same bytes may wait in two batches: for two projects.
  if (batch !== undefined) fingerprint.update(batch);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', quarantine.key, nonce);
  cipher.setAAD(Buffer.from(id));
  let bytes = 0;
  let lookAt = 0;
  await handle.writeFile(nonce);
  for await (const chunk of source) {
    if (bytes >= lookAt) {
      await refuseOnShortDisk(quarantine);
      lookAt = bytes + LOOK_EVERY_BYTES;
    }
    fingerprint.update(chunk);
    bytes += chunk.length;
    await handle.writeFile(cipher.update(chunk));
  }
  await handle.writeFile(Buffer.concat([cipher.final(), cipher.getAuthTag()]));
  return { bytes, fingerprint: fingerprint.digest('hex') };
}

async function refuseOnShortDisk(quarantine: Quarantine): Promise<void> {
  const { bavail, bsize } = await statfs(quarantine.folder);
  if (bavail * bsize < quarantine.reserveBytes) throw diskIsShort(quarantine);
}

function diskIsShort({ reserveBytes }: Quarantine): Refusal {
  return new Refusal('DiskFull', `less than ${reserveBytes} bytes are free on the quarantine's disk`);
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Which of the held are asked for; what is undefined is no condition. */
export interface HeldFilter {
  readonly reason?: string | undefined;
  readonly sentence?: string | undefined;
  readonly callingAE?: string | undefined;
  readonly door?: string | undefined;
}

/** Newest first. */
export function listHeld({ database }: Quarantine, limit: number, filter: HeldFilter = {}, offset = 0): Held[] {
  const { where, values } = conditionOf(filter);
  return database
    .all(`SELECT * FROM quarantine ${where} ORDER BY held_at DESC, id LIMIT ? OFFSET ?`, ...values, limit, offset)
    .map(held);
}

export function countHeld({ database }: Quarantine, filter: HeldFilter = {}): number {
  const { where, values } = conditionOf(filter);
  return Number(database.get(`SELECT count(*) AS held FROM quarantine ${where}`, ...values)?.['held'] ?? 0);
}

function conditionOf(filter: HeldFilter): { where: string; values: string[] } {
  const conditions = [
    ['reason', filter.reason],
    ['sentence', filter.sentence],
    ['calling_ae', filter.callingAE],
    ['door', filter.door],
  ].flatMap(([column, value]) => (value === undefined ? [] : [{ sql: `${column} = ?`, value }]));
  const where = conditions.length === 0 ? '' : `WHERE ${conditions.map(({ sql }) => sql).join(' AND ')}`;
  return { where, values: conditions.map(({ value }) => value) };
}

/** What is held for one and the same reason. */
export interface HeldGroup {
  readonly reason: string;
  readonly sentence: string;
}

/** The largest first. */
export function groupHeld({ database }: Quarantine): (HeldGroup & { objects: number; bytes: number })[] {
  return database
    .all(
      `SELECT reason, sentence, count(*) AS objects, sum(bytes) AS bytes FROM quarantine
       GROUP BY reason, sentence ORDER BY objects DESC, sentence LIMIT 1000`,
    )
    .map((row) => ({
      reason: String(row['reason']),
      sentence: String(row['sentence']),
      objects: Number(row['objects']),
      bytes: Number(row['bytes']),
    }));
}

export function heldByReason({ database }: Quarantine): { reason: string; objects: number; bytes: number }[] {
  return database
    .all('SELECT reason, count(*) AS objects, sum(bytes) AS bytes FROM quarantine GROUP BY reason')
    .map((row) => ({ reason: String(row['reason']), objects: Number(row['objects']), bytes: Number(row['bytes']) }));
}

export function heldById(quarantine: Quarantine, id: string): Held | undefined {
  const row = quarantine.database.get('SELECT * FROM quarantine WHERE id = ?', id);
  return row === undefined ? undefined : held(row);
}

/**
 * Opens the seal, for release after review. The file is read twice, so that not one byte of a damaged one comes out and a large one is
 * never in memory. @throws Refusal NotFound; CannotUnderstand when the file is damaged, was tampered with or is gone
 */
export async function unseal(quarantine: Quarantine, id: string): Promise<AsyncIterable<Buffer>> {
  if (heldById(quarantine, id) === undefined) throw new Refusal('NotFound', 'nothing is held under this id');
  for await (const _clear of clearBytes(quarantine, id));
  return clearBytes(quarantine, id);
}

async function* clearBytes(quarantine: Quarantine, id: string): AsyncGenerator<Buffer> {
  try {
    const path = join(quarantine.folder, `${id}.sealed`);
    const { nonce, tag, lengthBytes } = await readSeal(path);
    const decipher = createDecipheriv('aes-256-gcm', quarantine.key, nonce);
    decipher.setAAD(Buffer.from(id));
    decipher.setAuthTag(tag);
    for (let at = 0; at < lengthBytes; at += READ_BYTES)
      yield decipher.update(await readAt(path, NONCE_BYTES + at, Math.min(READ_BYTES, lengthBytes - at)));
    decipher.final();
  } catch {
    throw new Refusal('CannotUnderstand', 'the sealed file is damaged, gone or was sealed with another key');
  }
}

const READ_BYTES = 2 ** 20;

/** The file is open only while a piece is read: many who unseal an object look at no more than its head. */
async function readAt(path: string, position: number, lengthBytes: number): Promise<Buffer> {
  const handle = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(lengthBytes), 0, lengthBytes, position);
    if (bytesRead < lengthBytes) throw new Error('too short');
    return buffer;
  } finally {
    await handle.close();
  }
}

async function readSeal(path: string): Promise<{ nonce: Buffer; tag: Buffer; lengthBytes: number }> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    const lengthBytes = size - NONCE_BYTES - TAG_BYTES;
    if (lengthBytes < 0) throw new Error('too short');
    const nonce = Buffer.alloc(NONCE_BYTES);
    const tag = Buffer.alloc(TAG_BYTES);
    await handle.read(nonce, 0, NONCE_BYTES, 0);
    await handle.read(tag, 0, TAG_BYTES, NONCE_BYTES + lengthBytes);
    return { nonce, tag, lengthBytes };
  } finally {
    await handle.close();
  }
}

/** Deletes row and file; `alongside` runs in the row's transaction. False, and nothing touched, when nothing is held under this id. */
export async function discard(
  quarantine: Quarantine,
  id: string,
  options: { readonly alongside?: () => void } = {},
): Promise<boolean> {
  const deleted = quarantine.database.transaction(() => {
    const { changes } = quarantine.database.run('DELETE FROM quarantine WHERE id = ?', id);
    if (changes > 0) options.alongside?.();
    return changes > 0;
  });
  // Only an id that was in the table is part of a path.
  if (deleted) await rm(join(quarantine.folder, `${id}.sealed`), { force: true });
  return deleted;
}

/** Deletes the row alone, in the caller's transaction; `discard` or the next start deletes the file. False: nothing is held any more. */
export function takeOut(quarantine: Quarantine, id: string): boolean {
  return quarantine.database.run('DELETE FROM quarantine WHERE id = ?', id).changes > 0;
}

/** Of what was taken out. */
export async function deleteSealed(quarantine: Quarantine, { id }: Held): Promise<void> {
  await rm(join(quarantine.folder, `${id}.sealed`), { force: true });
}

/** Deletes files that a crash left without a row: their senders were never told that they are in safe hands. For the start, before doors open. */
export async function sweepQuarantine(quarantine: Quarantine): Promise<number> {
  const names = await readdir(quarantine.folder).catch(() => []);
  let swept = 0;
  for (const name of names) {
    const sealed = /^([0-9a-f-]{36})\.sealed$/.exec(name)?.[1];
    if (sealed !== undefined ? heldById(quarantine, sealed) !== undefined : !name.endsWith('.sealed.part')) continue;
    await rm(join(quarantine.folder, name), { force: true });
    swept++;
  }
  return swept;
}

/** Ids of what is held of the patient with this mark. */
export function heldOfSubject(quarantine: Quarantine, subject: Buffer): string[] {
  return quarantine.database
    .all('SELECT id FROM quarantine WHERE subject = ? ORDER BY id', subject)
    .map((row) => String(row['id']));
}

/** What is to be let in together, in the order in which it came. */
export function heldOfBatch(quarantine: Quarantine, batch: Buffer): Held[] {
  return quarantine.database.all('SELECT * FROM quarantine WHERE batch = ? ORDER BY held_at, id', batch).map(held);
}

/** Held already, it now waits for the others of its batch. @throws Refusal NotFound */
export function joinBatch(quarantine: Quarantine, id: string, batch: Buffer, sentence: string): void {
  const { changes } = quarantine.database.run(
    'UPDATE quarantine SET batch = ?, sentence = ? WHERE id = ?',
    batch,
    sentence,
    id,
  );
  if (changes === 0) throw new Refusal('NotFound', 'nothing is held under this id');
}

/** It stays, for another reason than it came. */
export function holdBecause(quarantine: Quarantine, id: string, reason: string, sentence: string): void {
  quarantine.database.run('UPDATE quarantine SET reason = ?, sentence = ? WHERE id = ?', reason, sentence, id);
}

/** How many objects are held of the study with this mark. */
export function countHeldOfStudy(quarantine: Quarantine, study: Buffer): number {
  return Number(
    quarantine.database.get('SELECT count(*) AS held FROM quarantine WHERE study = ?', study)?.['held'] ?? 0,
  );
}

/** How many held objects name no patient that could be read. */
export function countUnattributed(quarantine: Quarantine): number {
  return Number(
    quarantine.database.get('SELECT count(*) AS held FROM quarantine WHERE subject IS NULL')?.['held'] ?? 0,
  );
}

/** Deletes what was held before this time (milliseconds since 1970); answers how many. */
export async function discardHeldBefore(quarantine: Quarantine, before: number): Promise<number> {
  const rows = quarantine.database.all('SELECT id FROM quarantine WHERE held_at < ?', before);
  for (const row of rows) await discard(quarantine, String(row['id']));
  return rows.length;
}

function held(row: Row): Held {
  return {
    id: String(row['id']),
    heldAt: Number(row['held_at']),
    reason: String(row['reason']),
    sentence: String(row['sentence']),
    door: String(row['door']),
    callingAE: String(row['calling_ae']),
    bytes: Number(row['bytes']),
    arrivals: Number(row['arrivals']),
    transferSyntaxUID: String(row['transfer_syntax']),
  };
}
