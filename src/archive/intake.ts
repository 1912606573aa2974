/**
 * Group commit: what arrives while a group is being written makes the next one. A group costs one fdatasync for each pack it touches
 * and one of the index, side by side; only then do its senders hear that it is stored. A pack's row is committed before its file is made,
 * so that whatever file nobody knows is no leftover of a crash.
 */
import { mkdir, open, rename, rm, statfs, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Refusal } from '../dicom/refusal.ts';
import type { Database } from '../database.ts';
import type { Archive, Arrival, Intake, Spooled, StoreResult, Waiting } from './handle.ts';
import { lastChange, recordChange } from './changes.ts';
import { addInstance, removeInstance, type Described } from './index-rows.ts';
import { instanceOf, readInstance, readInstanceBody, type InstanceRow } from './instance-rows.ts';
import { closeIdleGrowing, forgetPack, openGrowing, packPath, syncFolder } from './pack-files.ts';
import { BLOCK_BYTES, formatComment, formatRecordHeader, paddingBytes, recordBytes } from './tar.ts';

/** What a spooled file leaves free for the comment and the record's header. */
export const SPOOL_OFFSET = 3 * BLOCK_BYTES;
/** Files of that name in the archive's folder belong to nobody when it is opened. */
export const SPOOL_SUFFIX = '.part';

/**
 * Memory for objects that are arriving or wait to be written; nobody new begins above it. What waits longer outlives two collections of the
 * young generation, and only a whole one gives it back: at 16 MiB a CT costs 2.1 ms of CPU and the gateway 280 MB, at 4 MiB 1.8 ms and 250 MB,
 * at the same rate.
 */
const MOST_HELD_BYTES = 4 * 2 ** 20;
export const MOST_GROUP_BYTES = 96 * 2 ** 20;
const MOST_GROUP_INSTANCES = 512;
const LOOK_EVERY_BYTES = 64 * 2 ** 20;
const LOOK_EVERY_MS = 250;

export function openIntake(database: Database): Intake {
  // A number is never given twice: the newest instance may have been deleted since.
  const last = Number(
    database.get(
      `SELECT max(sequence, (SELECT ifnull(max(sequence), 0) FROM instance), (SELECT sequence FROM high_water)) AS last
       FROM durable`,
    )?.['last'] ?? 0,
  );
  return {
    waiting: [],
    queue: [],
    heldBytes: 0,
    sequence: last,
    durableChange: lastChange(database),
    spools: 0,
    running: undefined,
    failure: undefined,
    freeBytes: 0,
    untilLookBytes: 0,
    lookedAt: -Infinity,
  };
}

/** Waits until there is memory for another object. What it then takes is told by `hold`. */
export async function waitForMemory(intake: Intake): Promise<void> {
  while (intake.heldBytes >= MOST_HELD_BYTES) await new Promise<void>((resolve) => intake.queue.push(resolve));
}

/** Counts memory in (positive) or out (negative). */
export function hold(intake: Intake, bytes: number): void {
  intake.heldBytes += bytes;
  if (intake.heldBytes < MOST_HELD_BYTES) for (const wake of intake.queue.splice(0)) wake();
}

/** @throws Refusal OutOfResources when the disk has less left than the reserve */
export async function checkSpace(archive: Archive, bytes: number): Promise<void> {
  const { intake, options } = archive;
  if (intake.untilLookBytes <= 0) await look(archive);
  intake.untilLookBytes -= bytes;
  intake.freeBytes -= bytes;
  if (intake.freeBytes < options.reserveBytes) {
    intake.untilLookBytes = 0;
    throw new Refusal('OutOfResources', `less than ${options.reserveBytes} bytes are free on the archive's disk`);
  }
}

/**
 * Before anything of a request has been read: room for what it announces, besides the reserve.
 * @throws Refusal OutOfResources when there is none
 */
export async function refuseWithoutRoom(archive: Archive, announcedBytes = 0): Promise<void> {
  const { intake, options } = archive;
  if (performance.now() - intake.lookedAt > LOOK_EVERY_MS || intake.untilLookBytes <= 0) await look(archive);
  if (intake.freeBytes - announcedBytes < options.reserveBytes) {
    intake.untilLookBytes = 0;
    throw new Refusal('OutOfResources', `less than ${options.reserveBytes} bytes would be left on the archive's disk`);
  }
}

/** What is free; until the next look, what is stored is taken off. */
async function look({ intake, folder }: Archive): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  intake.freeBytes = bavail * bsize;
  intake.untilLookBytes = LOOK_EVERY_BYTES;
  intake.lookedAt = performance.now();
}

/** Resolves when the arrival is durable. */
export async function commit(archive: Archive, arrival: Arrival): Promise<StoreResult> {
  const { intake } = archive;
  if (intake.failure !== undefined) {
    // What fdatasync failed on may look written while it is not: only reading it anew after a start tells.
    throw new Refusal('OutOfResources', "the archive's disk failed while storing; nothing is taken until a restart");
  }
  return new Promise((resolve, reject) => {
    intake.waiting.push({ arrival, resolve, reject });
    intake.running ??= run(archive);
  });
}

/** Runs something that changes packs while no group is being written. */
export async function betweenGroups<T>(archive: Archive, work: () => Promise<T>): Promise<T> {
  const { intake } = archive;
  while (intake.running !== undefined) await intake.running;
  const result = work();
  intake.running = result.then(
    () => run(archive),
    () => run(archive),
  );
  return result;
}

export async function settled(intake: Intake): Promise<void> {
  while (intake.running !== undefined) await intake.running;
}

async function run(archive: Archive): Promise<void> {
  const { intake } = archive;
  // What is ready in the same turn of the loop belongs to one group.
  await new Promise<void>((resolve) => setImmediate(resolve));
  while (intake.waiting.length > 0) {
    const group = nextGroup(intake.waiting);
    try {
      await commitGroup(archive, group);
    } catch (error) {
      for (const { reject } of group) reject(outOfSpace(error));
    }
  }
  // In the same turn as the last look: who comes next finds nobody running.
  intake.running = undefined;
}

/** In order of arrival; a SOP Instance UID comes once in a group. */
function nextGroup(waiting: Waiting[]): Waiting[] {
  const group: Waiting[] = [];
  const later: Waiting[] = [];
  const seen = new Set<string>();
  let bytes = 0;
  for (const one of waiting.splice(0)) {
    const uid = one.arrival.described.sopInstanceUID;
    const inMemory = one.arrival.content.kind === 'memory' ? one.arrival.lengthBytes : 0;
    const full = group.length >= MOST_GROUP_INSTANCES || (group.length > 0 && bytes + inMemory > MOST_GROUP_BYTES / 2);
    if (full || seen.has(uid)) later.push(one);
    else {
      group.push(one);
      bytes += inMemory;
    }
    seen.add(uid);
  }
  waiting.push(...later);
  return group;
}

interface Planned extends Waiting {
  readonly replaces: InstanceRow | undefined;
}

interface Placed {
  readonly planned: Planned;
  readonly header: Buffer;
  readonly sequence: number;
  readonly pack: Pack;
  /** Of the Part 10 bytes in the pack. */
  readonly offset: number;
}

interface Pack {
  readonly id: number;
  readonly path: string;
  readonly isNew: boolean;
  readonly start: number;
  readonly comment: Buffer | undefined;
  end: number;
  spooled: Spooled | undefined;
}

async function commitGroup(archive: Archive, group: readonly Waiting[]): Promise<void> {
  let planned: Planned[] = [];
  for (const one of group) {
    const plan = await decide(archive, one).catch((error: unknown) => one.reject(error));
    if (plan !== undefined) planned.push(plan);
  }
  // One that cannot be indexed takes nobody with it: the rest is written again as if it had never come.
  while (planned.length > 0) {
    const storedAt = archive.options.now();
    const placed = await place(archive, planned, storedAt);
    const packs = [...new Set(placed.map(({ pack }) => pack))];
    // Who replaces somebody must be safe before the other leaves the index.
    const inOrder = planned.some(({ replaces }) => replaces !== undefined);
    let keys: number[];
    let change: number;
    try {
      await writePacks(archive, packs, placed);
      if (inOrder) await syncPacks(archive, packs);
      keys = index(archive, placed, packs, storedAt);
      change = lastChange(archive.database);
    } catch (error) {
      await undo(archive, packs);
      if (!(error instanceof Unindexed)) throw error;
      error.planned.reject(error.cause);
      planned = planned.filter((one) => one !== error.planned);
      continue;
    }
    // Otherwise bytes and rows reach the disk side by side; `openArchive` mends what a power cut leaves of that.
    await orFail(
      archive,
      Promise.all([inOrder ? undefined : syncPacks(archive, packs), archive.database.synchronise()]),
    );
    archive.intake.durableChange = change;
    await closeIdleGrowing(archive.packs);
    placed.forEach(({ planned: { resolve, replaces } }, at) =>
      resolve({ outcome: replaces === undefined ? 'stored' : 'replaced', studyKey: keys[at] ?? 0 }),
    );
    return;
  }
}

/** What the disk did not take may look written: nothing is stored after it. */
async function orFail(archive: Archive, synchronised: Promise<unknown>): Promise<void> {
  try {
    await synchronised;
  } catch (error) {
    archive.intake.failure = error;
    throw error;
  }
}

/** Undefined when there is nothing to write, the sender having been answered. */
async function decide(archive: Archive, one: Waiting): Promise<Planned | undefined> {
  const { arrival } = one;
  const stored = instanceOf(archive, arrival.described.sopInstanceUID);
  if (arrival.inPlaceOf !== undefined && stored?.version !== arrival.inPlaceOf) {
    one.resolve({ outcome: 'gone', studyKey: stored?.studyKey ?? 0 });
    return undefined;
  }
  if (stored === undefined) return { ...one, replaces: undefined };
  const same =
    stored.lengthBytes === arrival.lengthBytes &&
    stored.crc === arrival.crc &&
    (await sameBytes(archive, stored, arrival));
  const { duplicates } = archive.options;
  if (same || (duplicates === 'keep-first' && arrival.inPlaceOf === undefined)) {
    one.resolve({ outcome: 'already-there', studyKey: stored.studyKey });
    return undefined;
  }
  if (duplicates === 'reject' && arrival.inPlaceOf === undefined && !(await sameSource(archive, stored, arrival))) {
    throw new Refusal('Duplicate', 'the SOP Instance UID (0008,0018) is already there with other content');
  }
  return { ...one, replaces: stored };
}

/** Whether the sender gave what it gave before: what was made of it may differ, by rules or by what is known of the patient since. */
async function sameSource(archive: Archive, stored: InstanceRow, arrival: Arrival): Promise<boolean> {
  const { source } = arrival;
  if (source === undefined || source.digest !== stored.source) return false;
  if (source.coversPixels) return true;
  if (stored.lengthBytes - stored.headLengthBytes !== arrival.lengthBytes - arrival.headBytes) return false;
  return sameBytes(archive, stored, arrival, true);
}

/** Whether an arrival has the very bytes of a stored instance, or of its pixel data. */
async function sameBytes(
  archive: Archive,
  stored: InstanceRow,
  arrival: Arrival,
  pixelsOnly = false,
): Promise<boolean> {
  const { content } = arrival;
  let memory = content.kind === 'memory' ? Buffer.concat(content.chunks) : undefined;
  let at = pixelsOnly ? arrival.headBytes : 0;
  for await (const chunk of pixelsOnly ? readInstanceBody(archive, stored) : readInstance(archive, stored)) {
    if (content.kind === 'file') {
      memory ??= Buffer.allocUnsafe(chunk.length);
      let length = 0;
      while (length < chunk.length) {
        const { bytesRead } = await content.handle.read(
          memory,
          length,
          chunk.length - length,
          SPOOL_OFFSET + at + length,
        );
        if (bytesRead === 0) return false;
        length += bytesRead;
      }
    }
    const arriving =
      content.kind === 'file' ? memory?.subarray(0, chunk.length) : memory?.subarray(at, at + chunk.length);
    if (arriving?.equals(chunk) !== true) return false;
    at += chunk.length;
  }
  return true;
}

/** Gives each arrival its place; the rows of new packs are durable. */
async function place(archive: Archive, planned: readonly Planned[], storedAt: Date): Promise<Placed[]> {
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

/** A few at a time: each waits for the disk by itself. All have ended when this does, however it ends. */
async function writePacks(archive: Archive, packs: readonly Pack[], placed: readonly Placed[]): Promise<void> {
  for (let at = 0; at < packs.length; at += PACKS_AT_ONCE) {
    const some = packs.slice(at, at + PACKS_AT_ONCE).map((pack) => writePack(archive, pack, placed));
    for (const written of await Promise.allSettled(some)) if (written.status === 'rejected') throw written.reason;
  }
}

const PACKS_AT_ONCE = 8;

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
async function syncPacks(archive: Archive, packs: readonly Pack[]): Promise<void> {
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

/** An arrival whose rows could not be written; the transaction has been rolled back. */
class Unindexed extends Error {
  readonly planned: Planned;
  constructor(planned: Planned, cause: unknown) {
    super('an arrival could not be indexed', { cause });
    this.planned = planned;
  }
}

function index(archive: Archive, placed: readonly Placed[], packs: readonly Pack[], at: Date): number[] {
  const { database } = archive;
  const storedAt = Math.floor(at.getTime() / 1000);
  return database.transactionUnsynced(() => {
    // All groups before this one have been synchronised.
    database.run('UPDATE durable SET sequence = max(sequence, ?)', (placed[0]?.sequence ?? 1) - 1);
    for (const pack of packs) database.run('UPDATE pack SET length = ? WHERE id = ?', pack.end, pack.id);
    return placed.map(({ planned, sequence, pack, offset }) => {
      const { described, headBytes, lengthBytes, crc, derived, source, alongside } = planned.arrival;
      try {
        if (planned.replaces !== undefined) removeInstance(database, planned.replaces, sequence);
        const place = {
          pack: pack.id,
          offset,
          headBytes,
          lengthBytes,
          crc,
          sequence,
          derived,
          source: source?.digest,
          storedAt,
        };
        const studyKey = addInstance(database, described, place);
        const action = planned.replaces === undefined ? 'create' : 'update';
        recordChange(database, action, described, { version: sequence, at });
        alongside?.();
        return studyKey;
      } catch (error) {
        throw new Unindexed(planned, error);
      }
    });
  });
}

/** Leaves the packs as long as the index says; files that the failed group made go, spooled ones back to where they were. */
async function undo(archive: Archive, packs: readonly Pack[]): Promise<void> {
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

/** A full disk is no bug. */
export function outOfSpace(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'SQLITE_FULL'
    ? new Refusal('OutOfResources', "the archive's disk is full")
    : error;
}
