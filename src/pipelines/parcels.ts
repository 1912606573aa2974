/**
 * Voxels between two processes: what is long goes through files that only this user may read and that are gone once they are read, the
 * rest of a message through the channel. Only pseudonymous pixels pass here; identified ones stay within the process.
 */
import { mkdtempSync, readFileSync, readdirSync, rmSync, unlinkSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Shorter arrays go through the channel. */
const LEAST_BYTES = 2 ** 16;

interface Parcel {
  readonly parcel: 'Float32Array' | 'Uint8Array';
  readonly file: string;
}

const PREFIX = 'isthmus-parcels-';

/** A folder of this process; what processes that are gone have left is cleared away. */
export function openParcels(): string {
  for (const name of readdirSync(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
  return mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The message with its long arrays in files `prefix-1`, `prefix-2` ...; all arrays are empty afterwards. */
export async function pack(value: unknown, prefix: string): Promise<unknown> {
  let count = 0;
  const packed = async (part: unknown): Promise<unknown> => {
    if (part instanceof Float32Array || part instanceof Uint8Array) {
      if (part.byteLength < LEAST_BYTES) {
        const own = part.slice();
        if (part.buffer instanceof ArrayBuffer) part.buffer.transfer(0);
        return own;
      }
      const file = `${prefix}-${++count}`;
      await writeAll(file, part);
      if (part.buffer instanceof ArrayBuffer) part.buffer.transfer(0);
      return { parcel: part instanceof Float32Array ? 'Float32Array' : 'Uint8Array', file } satisfies Parcel;
    }
    if (Array.isArray(part)) return Promise.all(part.map(packed));
    if (typeof part !== 'object' || part === null) return part;
    const entries: [string, unknown][] = [];
    for (const [key, inner] of Object.entries(part)) entries.push([key, await packed(inner)]);
    return Object.fromEntries(entries);
  };
  return packed(value);
}

/** One write call moves at most 2 GB. */
const PORTION_BYTES = 2 ** 28;

async function writeAll(file: string, { buffer, byteOffset, byteLength }: Float32Array | Uint8Array): Promise<void> {
  const handle = await open(file, 'wx', 0o600);
  try {
    for (let at = 0; at < byteLength;) {
      const portion = new Uint8Array(buffer, byteOffset + at, Math.min(PORTION_BYTES, byteLength - at));
      at += (await handle.write(portion)).bytesWritten;
    }
  } finally {
    await handle.close();
  }
}

/** The message as it was; the files are gone. */
export function unpack(value: unknown): unknown {
  if (ArrayBuffer.isView(value) || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(unpack);
  if ('parcel' in value && 'file' in value) return read(value as Parcel);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, unpack(inner)]));
}

function read({ parcel, file }: Parcel): Float32Array | Uint8Array {
  const bytes = readFileSync(file);
  unlinkSync(file);
  if (parcel === 'Uint8Array') return bytes;
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : Buffer.from(new Uint8Array(bytes).buffer);
  return new Float32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}

/** What was packed for a process that will not read it any more. */
export function dropParcels(folder: string, prefix: string): void {
  for (const name of readdirSync(folder)) if (name.startsWith(prefix)) rmSync(join(folder, name), { force: true });
}
