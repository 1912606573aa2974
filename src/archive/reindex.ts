/** The index from the packs alone, and the proof that both agree. */
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Database } from '../database.ts';
import { asciiValue } from '../dicom/data-set.ts';
import { readHead } from '../dicom/part10.ts';
import { scanFragments } from '../dicom/pixel-data.ts';
import { Refusal } from '../dicom/refusal.ts';
import { parseUid, type SeriesInstanceUID, type SOPInstanceUID, type StudyInstanceUID } from '../dicom/uid.ts';
import { listPacks } from './archive.ts';
import { fillChanges } from './changes.ts';
import { describe, type ReadDescription } from './described.ts';
import type { Archive } from './handle.ts';
import { enterInstances, nextVersion, type Entering } from './index-rows.ts';
import { frameExtents } from './instances.ts';
import { CHUNK_BYTES, faultOf, readAt } from './record-bytes.ts';
import { INDEX_TABLES, migrateArchive } from './schema.ts';
import { BLOCK_BYTES, parseComment, parseHeader, recordBytes, type TarRecord } from './tar.ts';

/** Bytes that are not what they should be. */
export interface Damage {
  readonly pack: string;
  /** Where in the pack the record begins. */
  readonly at: number;
  readonly sentence: string;
}

export interface ReindexReport {
  readonly packs: number;
  readonly instances: number;
  /** Records of a SOP Instance UID that a later record replaced. */
  readonly superseded: number;
  readonly damaged: readonly Damage[];
}

/** Instances indexed in one transaction. */
const BATCH = 500;

/**
 * Rebuilds every row; keys of studies stay what they were where the old index still knows them. Nothing else may be using the folder.
 * Damaged records are left out and reported; a pack with bytes that are no record is never appended to again.
 */
export async function reindex(database: Database, folder: string): Promise<ReindexReport> {
  migrateArchive(database);
  const damaged: Damage[] = [];
  const packs = (await listPacks(folder)).filter((path) => path.endsWith('.tar'));
  const studyKeys = new Map(
    database.all('SELECT id, study_uid FROM study').map((row) => [String(row['study_uid']), Number(row['id'])]),
  );
  database.transaction(() => {
    for (const table of INDEX_TABLES) database.run(`DELETE FROM ${table}`);
  });
  database.run('DROP TABLE IF EXISTS temp.found');
  database.run(
    `CREATE TEMP TABLE found (sequence INTEGER PRIMARY KEY, sop_uid TEXT NOT NULL, pack INTEGER NOT NULL, path TEXT NOT NULL,
       at INTEGER NOT NULL, project TEXT NOT NULL)`,
  );
  database.run('CREATE INDEX temp.found_sop ON found (sop_uid, sequence)');
  for (const path of packs) await listRecords(database, folder, path, damaged);
  const { instances, superseded } = await indexRecords(database, folder, studyKeys, damaged);
  database.run('DROP TABLE temp.found');
  database.run('UPDATE durable SET sequence = (SELECT ifnull(max(sequence), 0) FROM instance)');
  fillChanges(database);
  database.transaction(() => {
    // Records that are gone had made other versions than those that are left make.
    const version = nextVersion(database);
    for (const table of ['study', 'series']) database.run(`UPDATE ${table} SET version = ?`, version);
  });
  return { packs: packs.length, instances, superseded, damaged };
}

async function listRecords(database: Database, folder: string, path: string, damaged: Damage[]): Promise<void> {
  const name = /^[0-9a-f]{2}\/([0-9.]+)-(\d+)\.tar$/.exec(path);
  if (name === null) {
    damaged.push({ pack: path, at: 0, sentence: 'the file is not named like a pack' });
    return;
  }
  const handle = await open(join(folder, path), 'r');
  try {
    const { size } = await handle.stat();
    const walk = await walkPack(handle, size);
    for (const { at, lengthBytes } of walk.gaps) {
      damaged.push({ pack: path, at, sentence: `${lengthBytes} bytes are no record` });
    }
    database.transaction(() => {
      const { lastId } = database.run(
        'INSERT INTO pack (study_uid, number, path, length, dead_bytes, whole) VALUES (?, ?, ?, ?, 0, ?)',
        name[1] ?? '',
        Number(name[2]),
        path,
        size,
        walk.gaps.length > 0 ? 1 : 0,
      );
      for (const { at, record } of walk.records) {
        database.run(
          'INSERT OR REPLACE INTO temp.found (sequence, sop_uid, pack, path, at, project) VALUES (?, ?, ?, ?, ?, ?)',
          record.sequence,
          record.path.slice(record.path.lastIndexOf('/') + 1, -'.dcm'.length),
          lastId,
          path,
          at,
          walk.project,
        );
      }
    });
  } finally {
    await handle.close();
  }
}

interface Walked {
  readonly project: string;
  readonly records: { readonly at: number; readonly record: TarRecord }[];
  /** Bytes in which no record begins. */
  readonly gaps: { readonly at: number; readonly lengthBytes: number }[];
}

/** Goes from header to header without reading what lies between; over damage it feels its way block by block. */
async function walkPack(handle: FileHandle, size: number): Promise<Walked> {
  const walked: Walked & { project: string } = { project: '', records: [], gaps: [] };
  let at = 0;
  let gapStart: number | undefined;
  const endGap = (): void => {
    if (gapStart !== undefined) walked.gaps.push({ at: gapStart, lengthBytes: at - gapStart });
    gapStart = undefined;
  };
  while (at < size) {
    const entry = parseHeader(await readAt(handle, at, BLOCK_BYTES));
    const lengthBytes = entry?.kind === 'record' ? entry.record.lengthBytes : (entry?.lengthBytes ?? 0);
    if (entry === undefined || at + recordBytes(lengthBytes) > size) {
      gapStart ??= at;
      at = Math.min(at + BLOCK_BYTES, size);
      continue;
    }
    endGap();
    if (entry.kind === 'record') walked.records.push({ at, record: entry.record });
    else {
      const comment = parseComment(await readAt(handle, at + BLOCK_BYTES, lengthBytes));
      if (comment?.startsWith('project=') === true) walked.project = comment.slice('project='.length);
    }
    at += recordBytes(lengthBytes);
  }
  endGap();
  return walked;
}

/** In the order they were stored, so that what the first instance said of its study stands again. */
async function indexRecords(
  database: Database,
  folder: string,
  studyKeys: ReadonlyMap<string, number>,
  damaged: Damage[],
): Promise<{ instances: number; superseded: number }> {
  let instances = 0;
  let superseded = 0;
  let after = -1;
  for (;;) {
    const rows = database.all('SELECT * FROM temp.found WHERE sequence > ? ORDER BY sequence LIMIT ?', after, BATCH);
    if (rows.length === 0) return { instances, superseded };
    const ready: ((entering: Entering) => void)[] = [];
    for (const row of rows) {
      after = Number(row['sequence']);
      const [pack, path, at] = [Number(row['pack']), String(row['path']), Number(row['at'])];
      const later = database.get(
        'SELECT 1 FROM temp.found WHERE sop_uid = ? AND sequence > ? LIMIT 1',
        String(row['sop_uid']),
        after,
      );
      if (later !== undefined) {
        superseded++;
        const dead = await recordAt(folder, path, at);
        ready.push(() =>
          database.run('UPDATE pack SET dead_bytes = dead_bytes + ? WHERE id = ?', dead.lengthBytes, pack),
        );
        continue;
      }
      try {
        const { record, read, headBytes } = await readRecord(folder, path, at, String(row['project']));
        const place = {
          pack,
          offset: at + BLOCK_BYTES,
          headBytes,
          lengthBytes: record.lengthBytes,
          crc: record.crc,
          sequence: record.sequence,
          derived: record.derived,
          source: record.source,
          storedAt: Math.floor(record.storedAt.getTime() / 1000),
        };
        const key = studyKeys.get(read.described.studyInstanceUID);
        ready.push((entering) => {
          entering.add(read.described, place, key);
          instances++;
        });
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        damaged.push({ pack: path, at, sentence: error.message });
      }
    }
    database.transaction(() => {
      const entering = enterInstances(database);
      for (const write of ready) write(entering);
      entering.settle();
    });
  }
}

async function recordAt(folder: string, path: string, at: number): Promise<TarRecord> {
  const handle = await open(join(folder, path), 'r');
  try {
    const entry = parseHeader(await readAt(handle, at, BLOCK_BYTES));
    if (entry?.kind !== 'record') throw new Refusal('CannotUnderstand', 'no record begins here');
    return entry.record;
  } finally {
    await handle.close();
  }
}

interface ReadRecord {
  readonly record: TarRecord;
  readonly read: ReadDescription;
  readonly headBytes: number;
}

/** Reads a record to its end, checking the CRC on the way. @throws Refusal CannotUnderstand */
async function readRecord(folder: string, path: string, at: number, project: string): Promise<ReadRecord> {
  const record = await recordAt(folder, path, at);
  const handle = await open(join(folder, path), 'r');
  try {
    const start = at + BLOCK_BYTES;
    let crc = 0;
    for (let done = 0; done < record.lengthBytes; done += CHUNK_BYTES) {
      crc = crc32(await readAt(handle, start + done, Math.min(CHUNK_BYTES, record.lengthBytes - done)), crc);
    }
    if (crc !== record.crc)
      throw new Refusal('CannotUnderstand', 'the bytes do not have the CRC-32 that they were stored with');
    const { read, headBytes } = await readRecordHead(handle, start, record.lengthBytes, project);
    const scan = read.pixelData?.lengthBytes === undefined ? scanFragments() : undefined;
    for (let done = headBytes; scan !== undefined && done < record.lengthBytes; done += CHUNK_BYTES) {
      scan.take(await readAt(handle, start + done, Math.min(CHUNK_BYTES, record.lengthBytes - done)));
    }
    read.described.extents = frameExtents(read, scan, record.lengthBytes - headBytes);
    return { record, read, headBytes };
  } finally {
    await handle.close();
  }
}

async function readRecordHead(
  handle: FileHandle,
  start: number,
  lengthBytes: number,
  project: string,
): Promise<{ read: ReadDescription; headBytes: number }> {
  // Heads are mostly a few KiB; one that does not fit is read again with more.
  for (let prefixBytes = 64 * 1024; ; prefixBytes *= 8) {
    const prefix = await readAt(handle, start, Math.min(prefixBytes, lengthBytes));
    try {
      return describeBytes(prefix, project);
    } catch (error) {
      if (prefix.length >= lengthBytes || !(error instanceof Refusal)) throw error;
    }
  }
}

function describeBytes(prefix: Buffer, project: string): { read: ReadDescription; headBytes: number } {
  const { head, bodyStart } = readHead(prefix);
  const uid = (tag: number, where: string): string => parseUid(asciiValue(head.dataSet, tag) ?? '', where);
  const read = describe({
    head: prefix.subarray(0, bodyStart),
    studyInstanceUID: uid(0x0020000d, 'Study Instance UID (0020,000D)') as StudyInstanceUID,
    seriesInstanceUID: uid(0x0020000e, 'Series Instance UID (0020,000E)') as SeriesInstanceUID,
    sopInstanceUID: uid(0x00080018, 'SOP Instance UID (0008,0018)') as SOPInstanceUID,
    sopClassUID: uid(0x00080016, 'SOP Class UID (0008,0016)'),
    transferSyntaxUID: head.transferSyntaxUID,
    project,
  });
  return { read, headBytes: bodyStart };
}

export interface VerifyReport {
  readonly instances: number;
  readonly bytes: number;
  readonly damaged: readonly Damage[];
}

/** Reads every instance that the index knows: its record must be where the index says, as long, and have the stored CRC. */
export async function verify(archive: Pick<Archive, 'database' | 'folder'>): Promise<VerifyReport> {
  const { database, folder } = archive;
  const damaged: Damage[] = [];
  let instances = 0;
  let bytes = 0;
  let after = -1;
  for (;;) {
    const rows = database.all(
      `SELECT instance.id AS id, instance.offset AS offset, instance.length AS length, instance.crc AS crc, pack.path AS path
       FROM instance JOIN pack ON pack.id = instance.pack WHERE instance.id > ? ORDER BY instance.id LIMIT ?`,
      after,
      BATCH,
    );
    if (rows.length === 0) return { instances, bytes, damaged };
    for (const row of rows) {
      after = Number(row['id']);
      instances++;
      bytes += Number(row['length']);
      const path = String(row['path']);
      const at = Number(row['offset']) - BLOCK_BYTES;
      const sentence = await faultOf(join(folder, path), at, Number(row['length']), Number(row['crc']));
      if (sentence !== undefined) damaged.push({ pack: path, at, sentence });
    }
  }
}
