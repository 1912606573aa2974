/**
 * Parts of a request that can only be judged once the last one has come, kept aside meanwhile. They may be longer than memory, so they
 * lie on disk: in a file without a name, under a key that nobody but this request ever knew, so that nothing of it outlives a crash.
 */
import { createCipheriv, createDecipheriv, randomBytes, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Archive } from '../archive/archive.ts';
import { SPOOL_SUFFIX, writeAll } from '../archive/pack-writing.ts';
import { checkSpace, outOfSpace } from '../archive/room.ts';

export interface Spool {
  readonly archive: Archive;
  readonly key: Buffer;
  handle: FileHandle | undefined;
  lengthBytes: number;
}

/** One part, as it came. */
export interface Kept {
  readonly start: number;
  readonly lengthBytes: number;
  /** First block of the key stream. */
  readonly counter: Buffer;
}

const CIPHER = 'aes-256-ctr';
const BLOCK_BYTES = 16;
const WRITE_BYTES = 2 ** 20;
const READ_BYTES = 2 ** 18;

/** Nothing is made on disk before something is kept. */
export function openSpool(archive: Archive): Spool {
  return { archive, key: randomBytes(32), handle: undefined, lengthBytes: 0 };
}

export async function closeSpool(spool: Spool): Promise<void> {
  await spool.handle?.close();
  spool.handle = undefined;
}

/** Reads the source to its end. @throws Refusal DiskFull when the disk is short; whatever the source throws */
export async function keep(spool: Spool, source: AsyncIterable<Buffer>): Promise<Kept> {
  const counter = randomBytes(BLOCK_BYTES);
  const cipher = createCipheriv(CIPHER, spool.key, counter);
  const start = spool.lengthBytes;
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  const flush = async (): Promise<void> => {
    if (waitingBytes === 0) return;
    await append(spool, waiting, waitingBytes);
    waiting = [];
    waitingBytes = 0;
  };
  for await (const chunk of source) {
    waiting.push(cipher.update(chunk));
    waitingBytes += chunk.length;
    if (waitingBytes >= WRITE_BYTES) await flush();
  }
  await flush();
  return { start, lengthBytes: spool.lengthBytes - start, counter };
}

async function append(spool: Spool, buffers: readonly Buffer[], bytes: number): Promise<void> {
  try {
    spool.handle ??= await openNameless(spool.archive.folder);
    await checkSpace(spool.archive, bytes);
    await writeAll(spool.handle, buffers, spool.lengthBytes);
  } catch (error) {
    throw outOfSpace(error);
  }
  spool.lengthBytes += bytes;
}

/** A name of the kind that the archive sweeps away when it is opened, should a crash fall between the two calls. */
async function openNameless(folder: string): Promise<FileHandle> {
  const path = join(folder, `request-${randomUUID()}${SPOOL_SUFFIX}`);
  const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600);
  await rm(path, { force: true });
  return handle;
}

/** The bytes from `from` up to, not including, `to`. */
export async function* readKept(
  spool: Spool,
  kept: Kept,
  from = 0,
  to = kept.lengthBytes,
): AsyncGenerator<Buffer, void, undefined> {
  const end = Math.min(to, kept.lengthBytes);
  if (spool.handle === undefined || from >= end) return;
  const skip = from % BLOCK_BYTES;
  const decipher = createDecipheriv(CIPHER, spool.key, advanced(kept.counter, (from - skip) / BLOCK_BYTES));
  decipher.update(Buffer.alloc(skip));
  for (let at = from; at < end;) {
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, end - at));
    const { bytesRead } = await spool.handle.read(buffer, 0, buffer.length, kept.start + at);
    if (bytesRead === 0) throw new Error('what was kept aside is shorter than it was');
    at += bytesRead;
    yield decipher.update(buffer.subarray(0, bytesRead));
  }
}

/** The counter of a later block: one number of 128 bits, most significant byte first. */
function advanced(counter: Buffer, blocks: number): Buffer {
  const next = (BigInt(`0x${counter.toString('hex')}`) + BigInt(blocks)) & ((1n << 128n) - 1n);
  return Buffer.from(next.toString(16).padStart(2 * BLOCK_BYTES, '0'), 'hex');
}

/** Whole, for what is known to be small. */
export async function readWhole(spool: Spool, kept: Kept, from = 0, to = kept.lengthBytes): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of readKept(spool, kept, from, to)) chunks.push(chunk);
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}
