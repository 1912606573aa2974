/**
 * The archive: packs of de-identified objects and their index. Nothing here names a person.
 * Opening it mends what a crash left: bytes that no index row speaks of were never acknowledged and are cut off.
 */
import { statSync } from 'node:fs';
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Database } from '../database.ts';
import { Refusal } from '../dicom/refusal.ts';
import { MOST_GROUP_BYTES, openIntake, settled } from './intake.ts';
import { SPOOL_SUFFIX } from './pack-writing.ts';
import type { Archive, ArchiveOptions } from './handle.ts';
import { recordChange } from './changes.ts';
import { nextVersion, removeInstance } from './index-rows.ts';
import { instanceOf } from './instance-rows.ts';
import { closePacks, packFiles } from './pack-files.ts';
import { faultOf } from './record-bytes.ts';
import { migrateArchive } from './schema.ts';
import { BLOCK_BYTES } from './tar.ts';

export type { Archive, ArchiveOptions, DuplicatePolicy } from './handle.ts';

/** One group of arrivals, with the headers and padding of its records. */
const MOST_TAIL_BYTES = 2 * MOST_GROUP_BYTES;

/** @throws Refusal BadConfiguration when the index is older than the packs: that wants `reindex`, not repair */
export async function openArchive(database: Database, folder: string, options: ArchiveOptions): Promise<Archive> {
  await mkdir(folder, { recursive: true });
  migrateArchive(database);
  await repair(database, folder);
  // What the feed holds now is shown: it has to outlast a power cut.
  await database.synchronise();
  return {
    database,
    folder,
    options: { packBytes: 2 ** 30, reserveBytes: 2 ** 30, now: () => new Date(), ...options },
    packs: packFiles(folder),
    intake: openIntake(database),
  };
}

/** Waits for what is being stored. */
export async function closeArchive(archive: Archive): Promise<void> {
  const { database, intake } = archive;
  await settled(intake);
  if (intake.failure === undefined) database.run('UPDATE durable SET sequence = ?', intake.sequence);
  await closePacks(archive.packs);
}

/** Every file in the shards of a folder of packs, relative to it. */
export async function listPacks(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const shard of await readdir(folder, { withFileTypes: true })) {
    if (!shard.isDirectory() || !/^[0-9a-f]{2}$/.test(shard.name)) continue;
    for (const name of await readdir(join(folder, shard.name))) found.push(`${shard.name}/${name}`);
  }
  return found.sort();
}

async function repair(database: Database, folder: string): Promise<void> {
  const packs = database.all('SELECT id, path, length, dying FROM pack').map((row) => ({
    id: Number(row['id']),
    path: String(row['path']),
    lengthBytes: Number(row['length']),
    dying: row['dying'] === 1,
  }));
  const known = new Set(packs.map(({ path }) => path));
  const unknown = (await listPacks(folder)).filter((path) => !known.has(path));
  const strangers = unknown.filter((path) => path.endsWith('.tar')).length;
  if (strangers > 0) {
    throw new Refusal('BadConfiguration', `the index does not know ${strangers} of the packs: run "isthmus reindex"`);
  }
  const leftOver = (await readdir(folder)).filter((name) => name.endsWith(SPOOL_SUFFIX));
  for (const path of [...unknown, ...leftOver]) await rm(join(folder, path), { force: true });

  const tails: { path: string; lengthBytes: number; tailBytes: number }[] = [];
  for (const { id, path, lengthBytes, dying } of packs) {
    if (dying || lengthBytes === 0) {
      await rm(join(folder, path), { force: true });
      database.run('DELETE FROM pack WHERE id = ?', id);
      continue;
    }
    // Nothing else runs yet, and waiting for each of many thousands would take ten times as long.
    const size = statSync(join(folder, path), { throwIfNoEntry: false })?.size ?? -1;
    // Never appended to again; what is lost shows when it is read or verified.
    if (size < lengthBytes) database.run('UPDATE pack SET whole = 1 WHERE id = ?', id);
    else if (size > lengthBytes) tails.push({ path, lengthBytes, tailBytes: size - lengthBytes });
  }
  const tailBytes = tails.reduce((sum, tail) => sum + tail.tailBytes, 0);
  if (tailBytes > MOST_TAIL_BYTES) {
    throw new Refusal(
      'BadConfiguration',
      `${tailBytes} bytes in packs are not in the index, more than a crash leaves: run "isthmus reindex"`,
    );
  }
  for (const { path, lengthBytes } of tails) await cutOff(join(folder, path), lengthBytes);
  await dropTorn(database, folder);
}

/**
 * Bytes and rows of a group go to the disk side by side, so a power cut may leave rows whose bytes did not arrive. Their senders were
 * never answered: the rows go, and a pack with such a record is not appended to again.
 */
async function dropTorn(database: Database, folder: string): Promise<void> {
  const late = database.all(
    `SELECT instance.sop_uid AS sop_uid, instance.pack AS pack, instance.offset AS offset, instance.length AS length, instance.crc AS crc,
       pack.path AS path
     FROM instance JOIN pack ON pack.id = instance.pack WHERE instance.sequence > (SELECT sequence FROM durable)`,
  );
  for (const row of late) {
    const at = Number(row['offset']) - BLOCK_BYTES;
    const fault = await faultOf(join(folder, String(row['path'])), at, Number(row['length']), Number(row['crc']));
    const instance = fault === undefined ? undefined : instanceOf({ database }, String(row['sop_uid']));
    if (instance === undefined) continue;
    database.transaction(() => {
      // Readers may have seen what goes: what is left has another version.
      removeInstance(database, instance, nextVersion(database));
      recordChange(database, 'delete', instance, { at: new Date() });
      database.run('UPDATE pack SET whole = 1 WHERE id = ?', instance.packKey);
    });
  }
  database.run('UPDATE durable SET sequence = max(sequence, (SELECT ifnull(max(sequence), 0) FROM instance))');
}

async function cutOff(path: string, lengthBytes: number): Promise<void> {
  const handle = await open(path, 'r+');
  try {
    await handle.truncate(lengthBytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
