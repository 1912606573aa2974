/** The packs on disk: where they lie, and the handles kept open for reading them. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../dicom/refusal.ts';

/** Handles of the packs read last, and of those appended to last. */
export interface PackFiles {
  readonly folder: string;
  readonly open: Map<string, OpenPack>;
  /** Only the group that is being stored uses them, so nobody has to be counted. */
  readonly growing: Map<string, FileHandle>;
}

interface OpenPack {
  readonly handle: Promise<FileHandle>;
  readers: number;
  /** Closed when its last reader is done: pushed out by others, or the pack is gone. */
  leaving: boolean;
}

const MOST_OPEN = 128;
const MOST_GROWING = 32;
/** Whole up to here, in chunks of this size above: measured to cost half of what the default chunks of a stream do. */
const READ_BYTES = 2 ** 20;

export function packFiles(folder: string): PackFiles {
  return { folder, open: new Map(), growing: new Map() };
}

/** `<shard>/<study>-<number>.tar`, relative to the folder; 256 shards keep folders small. */
export function packPath(studyInstanceUID: string, number: number): string {
  const shard = createHash('sha256').update(studyInstanceUID).digest('hex').slice(0, 2);
  return `${shard}/${studyInstanceUID}-${number}.tar`;
}

/** Makes names in a folder durable. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Reads bytes `start` to `end` of a pack. @throws Refusal Gone, when the pack has been deleted meanwhile */
export async function readPack(files: PackFiles, path: string, start: number, end: number): Promise<Buffer> {
  const pack = enter(files, path);
  try {
    return await readInto(await pack.handle, Buffer.allocUnsafe(end - start), start);
  } catch (error) {
    throw goneWhenMissing(error);
  } finally {
    await leave(files, path, pack);
  }
}

/** Where the next bytes may be read into; whoever lends takes the buffer back when its bytes are used, and lends it again. */
export type Lend = () => Promise<Buffer>;

/** The same as a stream of chunks, in buffers of their own or in lent ones. */
export async function* streamPack(
  files: PackFiles,
  path: string,
  { start, end }: { start: number; end: number },
  lend?: Lend,
): AsyncGenerator<Buffer> {
  const pack = enter(files, path);
  try {
    const handle = await pack.handle;
    for (let at = start; at < end;) {
      const into = (await lend?.()) ?? Buffer.allocUnsafe(Math.min(READ_BYTES, end - at));
      const chunk = await readInto(handle, into.subarray(0, end - at), at);
      at += chunk.length;
      yield chunk;
    }
  } catch (error) {
    throw goneWhenMissing(error);
  } finally {
    await leave(files, path, pack);
  }
}

/**
 * The pack opened for appending; kept open, since opening and closing cost as much as the write itself. `create` empties what a crash
 * may have left under the name.
 */
export async function openGrowing(files: PackFiles, path: string, create: boolean): Promise<FileHandle> {
  const known = create ? undefined : files.growing.get(path);
  const flags = constants.O_WRONLY | (create ? constants.O_CREAT | constants.O_TRUNC : 0);
  const handle = known ?? (await open(join(files.folder, path), flags, 0o640));
  // Last used, last in the map.
  files.growing.delete(path);
  files.growing.set(path, handle);
  return handle;
}

/** Closes the packs not appended to lately; to be called when no group is being stored. */
export async function closeIdleGrowing(files: PackFiles, most = MOST_GROWING): Promise<void> {
  for (const [path, handle] of files.growing) {
    if (files.growing.size <= most) return;
    files.growing.delete(path);
    await handle.close();
  }
}

/** Lets go of a pack that is about to be deleted. */
export async function forgetPack(files: PackFiles, path: string): Promise<void> {
  const growing = files.growing.get(path);
  files.growing.delete(path);
  await growing?.close();
  const pack = files.open.get(path);
  if (pack === undefined) return;
  files.open.delete(path);
  pack.leaving = true;
  if (pack.readers === 0) await closeQuietly(pack);
}

export async function closePacks(files: PackFiles): Promise<void> {
  await closeIdleGrowing(files, 0);
  await Promise.all([...files.open.keys()].map((path) => forgetPack(files, path)));
}

function enter(files: PackFiles, path: string): OpenPack {
  const known = files.open.get(path);
  const pack = known ?? { handle: open(join(files.folder, path), constants.O_RDONLY), readers: 0, leaving: false };
  pack.readers++;
  // Last used, last in the map.
  files.open.delete(path);
  files.open.set(path, pack);
  if (known === undefined) {
    // A failure reaches whoever awaits the handle; here it must only not be kept.
    pack.handle.catch(() => files.open.delete(path));
  }
  return pack;
}

async function leave(files: PackFiles, path: string, pack: OpenPack): Promise<void> {
  pack.readers--;
  if (pack.leaving && pack.readers === 0) await closeQuietly(pack);
  for (const [oldest, idle] of files.open) {
    if (files.open.size <= MOST_OPEN) break;
    if (oldest !== path && idle.readers === 0) await forgetPack(files, oldest);
  }
}

async function closeQuietly(pack: OpenPack): Promise<void> {
  const handle = await pack.handle.catch(() => undefined);
  await handle?.close();
}

/** Fills `bytes`. */
async function readInto(handle: FileHandle, bytes: Buffer, start: number): Promise<Buffer> {
  let length = 0;
  while (length < bytes.length) {
    const { bytesRead } = await handle.read(bytes, length, bytes.length - length, start + length);
    if (bytesRead === 0)
      throw new Error(`a pack ends at byte ${start + length}, ${start + bytes.length} were expected`);
    length += bytesRead;
  }
  return bytes;
}

function goneWhenMissing(error: unknown): unknown {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
    ? new Refusal('Gone', 'the instance has been deleted while it was read')
    : error;
}
