/**
 * Objects that could not be let in, sealed as they came (AES-256-GCM) with the reason, until a person looks.
 * A file: 12 bytes of nonce, ciphertext, 16 bytes of tag. Its row holds no identity: a keyed fingerprint tells a re-send.
 */
import { createCipheriv, createDecipheriv, createHmac, randomBytes, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Database, Row } from './database.ts';
import { Refusal } from './dicom/refusal.ts';

export interface Quarantine {
  readonly database: Database;
  readonly folder: string;
  /** 32 bytes. */
  readonly key: Buffer;
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
  ],
} as const;

export interface HoldFacts {
  readonly reason: string;
  readonly sentence: string;
  readonly door: string;
  readonly callingAE: string;
  readonly transferSyntaxUID: string;
}

/** Seals the bytes; resolves when file and row are durable. The same bytes again only count up. */
export async function hold(quarantine: Quarantine, source: AsyncIterable<Uint8Array>, facts: HoldFacts): Promise<Held> {
  await mkdir(quarantine.folder, { recursive: true, mode: 0o700 });
  const id = randomUUID();
  const file = join(quarantine.folder, `${id}.sealed`);
  const partial = `${file}.part`;
  const fingerprint = createHmac('sha256', quarantine.key);
  let bytes = 0;
  try {
    const handle = await open(partial, 'wx', 0o600);
    try {
      const nonce = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', quarantine.key, nonce);
      cipher.setAAD(Buffer.from(id));
      await handle.write(nonce);
      for await (const chunk of source) {
        fingerprint.update(chunk);
        bytes += chunk.length;
        await handle.write(cipher.update(chunk));
      }
      await handle.write(cipher.final());
      await handle.write(cipher.getAuthTag());
      await handle.datasync();
    } finally {
      await handle.close();
    }
    await rename(partial, file);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  await syncFolder(quarantine.folder);
  const print = fingerprint.digest('hex');
  const row = quarantine.database.get(
    `INSERT INTO quarantine (id, fingerprint, held_at, reason, sentence, door, calling_ae, bytes, transfer_syntax)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (fingerprint) DO UPDATE SET arrivals = arrivals + 1, reason = excluded.reason, sentence = excluded.sentence
     RETURNING *`,
    id,
    print,
    quarantine.now(),
    facts.reason,
    facts.sentence,
    facts.door,
    facts.callingAE,
    bytes,
    facts.transferSyntaxUID,
  );
  if (row === undefined) throw new Error('the quarantine row was not written');
  if (row['id'] !== id) await rm(file, { force: true });
  return held(row);
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Newest first. */
export function listHeld(quarantine: Quarantine, limit: number): Held[] {
  return quarantine.database.all('SELECT * FROM quarantine ORDER BY held_at DESC, id LIMIT ?', limit).map(held);
}

export function countHeld(quarantine: Quarantine): number {
  return Number(quarantine.database.get('SELECT count(*) AS held FROM quarantine')?.['held'] ?? 0);
}

export function heldById(quarantine: Quarantine, id: string): Held | undefined {
  const row = quarantine.database.get('SELECT * FROM quarantine WHERE id = ?', id);
  return row === undefined ? undefined : held(row);
}

/** Opens the seal; for release after review. @throws Refusal NotFound; CannotUnderstand when the file was tampered with */
export async function unseal(quarantine: Quarantine, id: string): Promise<Buffer> {
  if (heldById(quarantine, id) === undefined) throw new Refusal('NotFound', 'nothing is held under this id');
  const sealed = await readFile(join(quarantine.folder, `${id}.sealed`));
  try {
    const decipher = createDecipheriv('aes-256-gcm', quarantine.key, sealed.subarray(0, 12));
    decipher.setAAD(Buffer.from(id));
    decipher.setAuthTag(sealed.subarray(sealed.length - 16));
    return Buffer.concat([decipher.update(sealed.subarray(12, sealed.length - 16)), decipher.final()]);
  } catch {
    throw new Refusal('CannotUnderstand', 'the sealed file is damaged or was sealed with another key');
  }
}

/** Deletes row and file. */
export async function discard(quarantine: Quarantine, id: string): Promise<boolean> {
  const { changes } = quarantine.database.run('DELETE FROM quarantine WHERE id = ?', id);
  await rm(join(quarantine.folder, `${id}.sealed`), { force: true });
  return changes > 0;
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
