/** A group's bytes in their packs: each arrival is given its place, written, synchronised, and taken back when the group fails. */
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Database } from '../database.ts';
import type { Described } from './described.ts';
import type { Planned } from './duplicates.ts';
import type { Archive, Spooled } from './handle.ts';
import { forgetPack, openGrowing, packPath, syncFolder } from './pack-files.ts';
import { BLOCK_BYTES, formatComment, formatRecordHeader, paddingBytes, recordBytes } from './tar.ts';

/** What a spooled file leaves free for the comment and the record's header. */
export const SPOOL_OFFSET = 3 * BLOCK_BYTES;

export interface Placed {
  readonly planned: Planned;
  readonly header: Buffer;
  readonly sequence: number;
  readonly pack: Pack;
  /** Of the Part 10 bytes in the pack. */
  readonly offset: number;
}

export interface Pack {
  readonly id: number;
  readonly path: string;
  readonly isNew: boolean;
  readonly start: number;
  readonly comment: Buffer | undefined;
  end: number;
  spooled: Spooled | undefined;
}

/** Gives each arrival its place; the rows of new packs are durable. */
export async function place(archive: Archive, planned: readonly Planned[], storedAt: Date): Promise<Placed[]> {
  const { database, intake, options } = archive;
  const open = new Map<string, Pack>();
  const placeAll = (): Placed[] =>
    planned.map((one) => {
      const { described, content, lengthBytes, crc, derived, source } = one.arrival;
      const study = described.studyInstanceUID;
      let pack = content.kind === 'file' ? undefined : open.get(study);
      if (pack === undefined || pack.end > options.packBytes)
        pack = newPack(database, described, content.kind === 'file');
      if (content.kind === 'file') pack.spooled = content;
      else open.set(study, pack);
      const sequence = ++intake.sequence;
      const path = `${study}/${described.seriesInstanceUID}/${described.sopInstanceUID}.dcm`;
      const header = formatRecordHeader({
        path,
        lengthBytes,
        crc,
        sequence,
        derived,
        source: source?.digest,
        storedAt,
      });
      const offset = pack.end + BLOCK_BYTES;
      pack.end += recordBytes(lengthBytes);
      return { planned: one, header, sequence, pack, offset };
    });
  let grows = true;
  let bytes = 0;
  for (const { arrival } of planned) {
    const { content, described, lengthBytes } = arrival;
    bytes += recordBytes(lengthBytes);
    if (content.kind === 'file') grows = false;
    else if (!open.has(described.studyInstanceUID)) {
      const pack = growingPack(database, described.studyInstanceUID, options.packBytes);
      if (pack === undefined) grows = false;
      else open.set(described.studyInstanceUID, pack);
    }
  }
  // Where every pack is there and has room nothing is written yet.
  const room = [...open.values()].every(({ end }) => end + bytes <= options.packBytes);
  const placed = grows && room ? placeAll() : database.transactionUnsynced(placeAll);
  if (placed.some(({ pack }) => pack.isNew)) await orFail(archive, database.synchronise());
  return placed;
}

function growingPack(database: Database, studyInstanceUID: string, packBytes: number): Pack | undefined {
  const row = database.get(
    `SELECT id, path, length FROM pack WHERE study_uid = (SELECT ?) AND whole = 0 AND dying = 0 AND length > 0 AND length <= (SELECT ?)
     ORDER BY number DESC LIMIT 1`,
    studyInstanceUID,
    packBytes,
  );
  if (row === undefined) return undefined;
  const length = Number(row['length']);
  return {
    id: Number(row['id']),
    path: String(row['path']),
    isNew: false,
    start: length,
    comment: undefined,
    end: length,
    spooled: undefined,
  };
}

function newPack(database: Database, { studyInstanceUID, project }: Described, whole: boolean): Pack {
  const last = database.get('SELECT max(number) AS last FROM pack WHERE study_uid = ?', studyInstanceUID)?.['last'];
  const number = Number(last ?? 0) + 1;
  const path = packPath(studyInstanceUID, number);
  const { lastId } = database.run(
    'INSERT INTO pack (study_uid, number, path, length, dead_bytes, whole) VALUES (?, ?, ?, 0, 0, ?)',
    studyInstanceUID,
    number,
    path,
    whole ? 1 : 0,
  );
  const comment = formatComment(`project=${project}`);
  return { id: lastId, path, isNew: true, start: 0, comment, end: comment.length, spooled: undefined };
}

const PACKS_AT_ONCE = 8;

/** A few at a time: each waits for the disk by itself. All have ended when this does, however it ends. */
export async function writePacks(archive: Archive, packs: readonly Pack[], placed: readonly Placed[]): Promise<void> {
  for (let at = 0; at < packs.length; at += PACKS_AT_ONCE) {
    const some = packs.slice(at, at + PACKS_AT_ONCE).map((pack) => writePack(archive, pack, placed));
    for (const written of await Promise.allSettled(some)) if (written.status === 'rejected') throw written.reason;
  }
}

async function writePack(archive: Archive, pack: Pack, placed: readonly Placed[]): Promise<void> {
  const records = placed.filter((one) => one.pack === pack);
  if (pack.isNew) await mkdir(dirname(join(archive.folder, pack.path)), { recursive: true });
  if (pack.spooled !== undefined) return adoptSpool(join(archive.folder, pack.path), pack.spooled, pack, records);
  const buffers: Buffer[] = pack.comment === undefined ? [] : [pack.comment];
  for (const { header, planned } of records) {
    const { content, lengthBytes } = planned.arrival;
    if (content.kind === 'memory')
      buffers.push(header, ...content.chunks, PADDING.subarray(0, paddingBytes(lengthBytes)));
  }
  const handle = await openGrowing(archive.packs, pack.path, pack.isNew);
  await writeAll(handle, buffers, pack.start);
}

const PADDING = Buffer.alloc(BLOCK_BYTES);

/** The spooled bytes lie where they belong: the headers go before them, padding behind. */
async function adoptSpool(path: string, spooled: Spooled, pack: Pack, records: readonly Placed[]): Promise<void> {
  const [record] = records;
  if (record === undefined || pack.comment === undefined) throw new Error('a spooled pack has one record');
  if (pack.comment.length + BLOCK_BYTES !== SPOOL_OFFSET)
    throw new Error('the comment of a pack is longer than a block');
  const { lengthBytes } = record.planned.arrival;
  await writeAll(spooled.handle, [pack.comment, record.header], 0);
  await writeAll(spooled.handle, [PADDING.subarray(0, paddingBytes(lengthBytes))], SPOOL_OFFSET + lengthBytes);
  await rename(spooled.path, path);
}

/** The bytes of the packs, and the names of new ones. */
export async function syncPacks(archive: Archive, packs: readonly Pack[]): Promise<void> {
  for (let at = 0; at < packs.length; at += PACKS_AT_ONCE) {
    const some = packs.slice(at, at + PACKS_AT_ONCE).map(async ({ path, spooled }) => {
      const handle = spooled?.handle ?? (await openGrowing(archive.packs, path, false));
      await handle.datasync();
    });
    for (const synced of await Promise.allSettled(some)) if (synced.status === 'rejected') throw synced.reason;
  }
  await syncNewFolders(archive, packs);
}

/** Every byte, however few the system takes at a time. */
export async function writeAll(handle: FileHandle, buffers: readonly Buffer[], start: number): Promise<void> {
  let left = buffers.filter((buffer) => buffer.length > 0);
  let at = start;
  while (left.length > 0) {
    const { bytesWritten } = await handle.writev(left.slice(0, 1000), at);
    at += bytesWritten;
    let skip = bytesWritten;
    let index = 0;
    for (; index < left.length; index++) {
      const length = left[index]?.length ?? 0;
      if (skip < length) break;
      skip -= length;
    }
    left = left.slice(index);
    const [first] = left;
    if (skip > 0 && first !== undefined) left[0] = first.subarray(skip);
  }
}

async function syncNewFolders(archive: Archive, packs: readonly Pack[]): Promise<void> {
  const shards = new Set(packs.filter(({ isNew }) => isNew).map(({ path }) => dirname(join(archive.folder, path))));
  if (shards.size === 0) return;
  for (const shard of shards) await syncFolder(shard);
  await syncFolder(archive.folder);
}

/** Leaves the packs as long as the index says; files that the failed group made go, spooled ones back to where they were. */
export async function undo(archive: Archive, packs: readonly Pack[]): Promise<void> {
  for (const pack of packs) {
    const path = join(archive.folder, pack.path);
    if (pack.spooled !== undefined) await rename(path, pack.spooled.path).catch(() => undefined);
    else if (pack.isNew) {
      await forgetPack(archive.packs, pack.path);
      await rm(path, { force: true });
    } else {
      const handle = await open(path, 'r+');
      await handle.truncate(pack.start).finally(() => handle.close());
    }
    if (pack.isNew) archive.database.run('DELETE FROM pack WHERE id = ?', pack.id);
  }
}

/** What the disk did not take may look written: nothing is stored after it. */
export async function orFail(archive: Archive, synchronised: Promise<unknown>): Promise<void> {
  try {
    await synchronised;
  } catch (error) {
    archive.intake.failure = error;
    throw error;
  }
}

/** Files of that name in the archive's folder belong to nobody when it is opened. */
export const SPOOL_SUFFIX = '.part';
