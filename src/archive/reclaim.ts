/**
 * Room for what is dead: a pack is written anew with what the index still knows of it, then the old one goes. Also how single instances
 * are deleted so that nothing of them stays on the disk.
 */
import { constants } from 'node:fs';
import { mkdir, open, rm, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Row } from '../database.ts';
import { Refusal } from '../dicom/refusal.ts';
import { lastChange, recordChange } from './changes.ts';
import type { Archive } from './handle.ts';
import { raiseHighWater, removeInstance } from './index-rows.ts';
import { instancesOf, type InstanceRow } from './instance-rows.ts';
import { betweenGroups } from './intake.ts';
import { forgetPack, packPath, streamPack, syncFolder } from './pack-files.ts';
import type { Alongside } from './studies.ts';
import { writeAll } from './pack-writing.ts';
import { freeBytes } from './room.ts';
import { BLOCK_BYTES, formatComment, recordBytes } from './tar.ts';

/** Packs with more dead bytes than this share of their length are worth the copying. */
const DEAD_SHARE = 0.25;

/** Rewrites packs that are a good part dead, one after the other, so that arrivals wait for one at most. Returns the bytes freed. */
export async function reclaim(archive: Archive): Promise<number> {
  const packs = archive.database.all(
    'SELECT id, path, length, study_uid FROM pack WHERE dying = 0 AND dead_bytes > length * ?',
    DEAD_SHARE,
  );
  let freed = 0;
  for (const pack of packs) freed += await betweenGroups(archive, () => rewritePack(archive, Number(pack['id'])));
  return freed;
}

/** Rewrites every pack of a study in which something was replaced, however little: what was there before may not stay on the disk. */
export async function dropReplaced(archive: Archive, studyInstanceUID: string): Promise<void> {
  const packs = archive.database.all(
    'SELECT id FROM pack WHERE study_uid = ? AND dying = 0 AND dead_bytes > 0',
    studyInstanceUID,
  );
  for (const pack of packs) await betweenGroups(archive, () => rewritePack(archive, Number(pack['id'])));
}

/**
 * Deletes the instances of a series, or some of them: rows and tombstones in one transaction, then their packs are written anew.
 * Returns how many were deleted.
 */
export async function deleteInstances(
  archive: Archive,
  scope: { studyInstanceUID: string; seriesInstanceUID: string; sopInstanceUIDs?: readonly string[] },
  options: Alongside = {},
): Promise<number> {
  return betweenGroups(archive, async () => {
    const { database, intake } = archive;
    const wanted = scope.sopInstanceUIDs === undefined ? undefined : new Set(scope.sopInstanceUIDs);
    const doomed = instancesOf(archive, scope).filter(({ sopInstanceUID }) => wanted?.has(sopInstanceUID) ?? true);
    await refuseWithoutRoomToCopy(archive, doomed);
    database.transaction(() => {
      options.before?.();
      for (const instance of doomed) {
        removeInstance(database, instance, ++intake.sequence);
        bury(archive, instance.sopInstanceUID);
        recordChange(database, 'delete', instance, { at: archive.options.now() });
      }
      raiseHighWater(database, intake.sequence);
      for (const uid of [scope.seriesInstanceUID, scope.studyInstanceUID])
        if (isEmpty(archive, uid)) bury(archive, uid);
      options.alongside?.();
    });
    intake.durableChange = lastChange(database);
    for (const pack of packsOf(doomed)) {
      await rewritePack(archive, pack).catch((error: unknown) => {
        // The next round of reclaiming takes it up, however little of it is dead.
        database.run('UPDATE pack SET dead_bytes = length WHERE id = ?', pack);
        throw error;
      });
    }
    return doomed.length;
  });
}

function packsOf(instances: readonly InstanceRow[]): Set<number> {
  return new Set(instances.map(({ packKey }) => packKey));
}

/**
 * What stays of a pack is copied before the pack goes.
 * @throws Refusal DiskFull while nothing has been deleted yet
 */
async function refuseWithoutRoomToCopy(archive: Archive, doomed: readonly InstanceRow[]): Promise<void> {
  const free = await freeBytes(archive);
  for (const pack of packsOf(doomed)) {
    const row = archive.database.get('SELECT sum(length) AS bytes FROM instance WHERE pack = ?', pack);
    const going = doomed
      .filter(({ packKey }) => packKey === pack)
      .reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    if (Number(row?.['bytes']) - going > free)
      throw new Refusal(
        'DiskFull',
        'there is no room to copy what stays beside it; a whole study takes none to delete',
      );
  }
}

function isEmpty({ database }: Archive, uid: string): boolean {
  return (
    database.get('SELECT 1 FROM series WHERE series_uid = ?', uid) === undefined &&
    database.get('SELECT 1 FROM study WHERE study_uid = ?', uid) === undefined
  );
}

function bury({ database, options }: Archive, uid: string): void {
  const now = Math.floor(options.now().getTime() / 1000);
  database.run('INSERT OR REPLACE INTO tombstone (uid, deleted) VALUES (?, ?)', uid, now);
}

/** New pack, durable; rows switched and the old pack dying in one transaction; then the old one is unlinked. Returns the bytes freed. */
async function rewritePack(archive: Archive, key: number): Promise<number> {
  const { database, folder, packs } = archive;
  const old = database.get('SELECT * FROM pack WHERE id = ? AND dying = 0', key);
  if (old === undefined) return 0;
  const live = database.all('SELECT id, offset, length FROM instance WHERE pack = ? ORDER BY offset', key);
  const oldPath = String(old['path']);
  let end = 0;
  let renew: (() => void) | undefined;
  if (live.length > 0) {
    const study = String(old['study_uid']);
    const last = database.get('SELECT max(number) AS last FROM pack WHERE study_uid = ?', study)?.['last'];
    const number = Number(last ?? 0) + 1;
    const path = packPath(study, number);
    // As for every pack: first its row, then its file.
    const { lastId } = database.run(
      'INSERT INTO pack (study_uid, number, path, length, dead_bytes, whole) VALUES (?, ?, ?, 0, 0, 1)',
      study,
      number,
      path,
    );
    try {
      const project = String(database.get('SELECT project FROM study WHERE study_uid = ?', study)?.['project'] ?? '');
      const copied = await copyRecords(archive, oldPath, path, live, project);
      end = copied.end;
      renew = () => {
        for (const { id, offset } of copied.places) {
          database.run('UPDATE instance SET pack = ?, offset = ? WHERE id = ?', lastId, offset, id);
        }
        database.run('UPDATE pack SET length = ?, whole = ? WHERE id = ?', end, Number(old['whole']), lastId);
      };
    } catch (error) {
      await rm(join(folder, path), { force: true });
      database.run('DELETE FROM pack WHERE id = ?', lastId);
      throw error;
    }
  }
  database.transaction(() => {
    renew?.();
    database.run('UPDATE pack SET dying = 1 WHERE id = ?', key);
  });
  await forgetPack(packs, oldPath);
  await rm(join(folder, oldPath), { force: true });
  await syncFolder(dirname(join(folder, oldPath)));
  database.run('DELETE FROM pack WHERE id = ?', key);
  return Number(old['length']) - end;
}

interface Copied {
  readonly places: { readonly id: number; readonly offset: number }[];
  readonly end: number;
}

/** Records as they are, header, bytes and padding. */
async function copyRecords(
  archive: Archive,
  from: string,
  to: string,
  live: readonly Row[],
  project: string,
): Promise<Copied> {
  const path = join(archive.folder, to);
  await mkdir(dirname(path), { recursive: true });
  const handle = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o640);
  const places: Copied['places'] = [];
  try {
    const comment = formatComment(`project=${project}`);
    await writeAll(handle, [comment], 0);
    let end = comment.length;
    for (const row of live) {
      const start = Number(row['offset']) - BLOCK_BYTES;
      places.push({ id: Number(row['id']), offset: end + BLOCK_BYTES });
      end = await copyRange(archive, handle, from, { start, end: start + recordBytes(Number(row['length'])) }, end);
    }
    await handle.datasync();
    await syncFolder(dirname(path));
    return { places, end };
  } finally {
    await handle.close();
  }
}

async function copyRange(
  archive: Archive,
  handle: FileHandle,
  from: string,
  range: { start: number; end: number },
  to: number,
): Promise<number> {
  let at = to;
  for await (const chunk of streamPack(archive.packs, from, range)) {
    await writeAll(handle, [chunk], at);
    at += chunk.length;
  }
  return at;
}
