/** Instances: stored so that they are durable when it returns, found by their UIDs, read as they were stored. */
import { constants } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Row } from '../database.ts';
import type { Deidentified } from '../dicom/object.ts';
import type { SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID } from '../dicom/uid.ts';
import { transferSyntax } from '../dicom/transfer-syntax.ts';
import {
  encapsulatedExtents,
  nativeExtents,
  pixelLayout,
  scanFragments,
  type FragmentScan,
} from '../dicom/pixel-data.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Archive } from './archive.ts';
import { describe, type ReadDescription } from './index-rows.ts';
import {
  SPOOL_OFFSET,
  SPOOL_SUFFIX,
  checkSpace,
  commit,
  hold,
  outOfSpace,
  waitForMemory,
  writeAll,
  type Arrival,
  type StoreResult,
} from './intake.ts';
import { readPack, streamPack } from './pack-files.ts';

export type { StoreResult } from './intake.ts';

export interface StoreOptions {
  /**
   * Runs in the transaction that indexes the instance, and only when it is stored or replaced; what it throws leaves nothing stored.
   * Runs again when another arrival of its group could not be indexed, the first run having been rolled back.
   */
  readonly alongside?: () => void;
  /** Made by a pipeline, not received. */
  readonly derived?: boolean;
}

export interface InstanceRow {
  readonly key: number;
  readonly studyKey: number;
  readonly seriesKey: number;
  readonly packKey: number;
  readonly studyInstanceUID: StudyInstanceUID;
  readonly seriesInstanceUID: SeriesInstanceUID;
  readonly sopInstanceUID: SOPInstanceUID;
  readonly sopClassUID: string;
  readonly transferSyntaxUID: string;
  readonly modality: string;
  readonly instanceNumber: number | undefined;
  readonly rows: number | undefined;
  readonly columns: number | undefined;
  /** As Number of Frames (0028,0008) says; undefined when it is absent. */
  readonly numberOfFrames: number | undefined;
  /** Frames that `readFrame` can give; 0 for what is no image and for video. */
  readonly frameCount: number;
  readonly derived: boolean;
  /** Ascending with every change of the archive: what an entity tag is made of. */
  readonly version: number;
  /** Of the whole Part 10 object, and of the part before the pixel data's value. */
  readonly lengthBytes: number;
  readonly headLengthBytes: number;
  readonly crc: number;
  /** The pack and where in it the object begins. */
  readonly pack: string;
  readonly offset: number;
}

/** Objects longer than this are not gathered in memory but streamed to a pack of their own. */
const MOST_IN_MEMORY_BYTES = 8 * 2 ** 20;
const SPOOL_CHUNK_BYTES = 2 ** 20;

/**
 * Resolves only when bytes and index rows are durable. The same bytes under the same SOP Instance UID are not written again.
 * @throws Refusal Duplicate (by policy), OutOfResources, CannotUnderstand; whatever the body throws
 */
export async function storeInstance(
  archive: Archive,
  object: Deidentified,
  options: StoreOptions = {},
): Promise<StoreResult> {
  const { intake } = archive;
  const read = describe(object);
  await checkSpace(archive, object.head.length + (object.bodyLengthBytes ?? 0));
  await waitForMemory(intake);
  const gathered = new Gathering(archive, object.head);
  try {
    const scan = read.pixelData?.lengthBytes === undefined ? scanFragments() : undefined;
    for await (const chunk of object.body) {
      scan?.take(chunk);
      await gathered.take(chunk);
    }
    checkLength(read, gathered.bodyBytes);
    read.described.extents = frameExtents(read, scan, gathered.bodyBytes);
    return await commit(archive, await gathered.finish(read, options));
  } catch (error) {
    throw outOfSpace(error);
  } finally {
    await gathered.close();
  }
}

/** The bytes of one object as they arrive: in memory, or in a file when they become too many. */
class Gathering {
  readonly archive: Archive;
  readonly head: Buffer;
  bodyBytes = 0;
  private chunks: Buffer[];
  private chunkBytes: number;
  private crc: number;
  private spool: { path: string; handle: FileHandle; at: number } | undefined;

  constructor(archive: Archive, head: Buffer) {
    this.archive = archive;
    this.head = head;
    this.chunks = [head];
    this.chunkBytes = head.length;
    this.crc = crc32(head);
    hold(archive.intake, head.length);
  }

  async take(chunk: Buffer): Promise<void> {
    this.crc = crc32(chunk, this.crc);
    this.chunks.push(chunk);
    this.chunkBytes += chunk.length;
    this.bodyBytes += chunk.length;
    hold(this.archive.intake, chunk.length);
    const most = this.spool === undefined ? MOST_IN_MEMORY_BYTES : SPOOL_CHUNK_BYTES;
    if (this.chunkBytes > most) await this.flush();
  }

  private async flush(): Promise<void> {
    if (this.spool === undefined) {
      const path = join(this.archive.folder, `arriving-${++this.archive.intake.spools}${SPOOL_SUFFIX}`);
      this.spool = {
        path,
        handle: await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC, 0o640),
        at: SPOOL_OFFSET,
      };
    }
    await checkSpace(this.archive, this.chunkBytes);
    await writeAll(this.spool.handle, this.chunks, this.spool.at);
    this.spool.at += this.chunkBytes;
    this.letGo();
  }

  private letGo(): void {
    hold(this.archive.intake, -this.chunkBytes);
    this.chunks = [];
    this.chunkBytes = 0;
  }

  async finish(read: ReadDescription, options: StoreOptions): Promise<Arrival> {
    if (this.spool !== undefined) await this.flush();
    return {
      described: read.described,
      headBytes: this.head.length,
      lengthBytes: this.head.length + this.bodyBytes,
      crc: this.crc,
      derived: options.derived === true,
      alongside: options.alongside,
      content:
        this.spool === undefined
          ? { kind: 'memory', chunks: this.chunks }
          : { kind: 'file', path: this.spool.path, handle: this.spool.handle },
    };
  }

  /** Memory and the file are let go; a file that became a pack is no longer under its old name. */
  async close(): Promise<void> {
    this.letGo();
    await this.spool?.handle.close();
    if (this.spool !== undefined) await rm(this.spool.path, { force: true });
  }
}

/** A value that is shorter or longer than its header says would make the stored object unreadable. */
function checkLength({ pixelData }: ReadDescription, bodyBytes: number): void {
  const expected = pixelData === undefined ? 0 : pixelData.lengthBytes;
  if (expected !== undefined && expected !== bodyBytes) {
    throw new Refusal('CannotUnderstand', `the pixel data has ${bodyBytes} bytes, its header says ${expected}`);
  }
}

export function frameExtents(
  { described, dataSet, pixelData }: ReadDescription,
  scan: FragmentScan | undefined,
  bodyBytes: number,
): ReturnType<typeof nativeExtents> {
  if (pixelData === undefined) return { kind: 'none' };
  const layout = pixelLayout(dataSet, described.transferSyntaxUID);
  return scan !== undefined && transferSyntax(described.transferSyntaxUID)?.encapsulated === true
    ? encapsulatedExtents(layout, scan)
    : nativeExtents(layout, bodyBytes);
}

const COLUMNS = `instance.id AS id, instance.sop_uid AS sop_uid, instance.number AS number, instance.sop_class AS sop_class,
  instance.transfer_syntax AS transfer_syntax, instance.rows AS rows, instance.columns AS columns, instance.frames AS frames,
  instance.frame_count AS frame_count, instance.derived AS derived, instance.sequence AS sequence, instance.pack AS pack,
  instance.offset AS offset, instance.head_length AS head_length, instance.length AS length, instance.crc AS crc,
  series.id AS series, series.series_uid AS series_uid, series.modality AS modality, study.id AS study, study.study_uid AS study_uid,
  pack.path AS path`;
const TABLES = `instance JOIN series ON series.id = instance.series JOIN study ON study.id = series.study
  JOIN pack ON pack.id = instance.pack`;

/** By its SOP Instance UID; undefined as well when it belongs to another study or series than the ones named. */
export function instanceOf(
  archive: Pick<Archive, 'database'>,
  sopInstanceUID: string,
  studyInstanceUID?: string,
  seriesInstanceUID?: string,
): InstanceRow | undefined {
  const row = archive.database.get(`SELECT ${COLUMNS} FROM ${TABLES} WHERE instance.sop_uid = ?`, sopInstanceUID);
  if (row === undefined) return undefined;
  if (studyInstanceUID !== undefined && row['study_uid'] !== studyInstanceUID) return undefined;
  if (seriesInstanceUID !== undefined && row['series_uid'] !== seriesInstanceUID) return undefined;
  return instanceRow(row);
}

/** By series number, series UID, instance number, SOP Instance UID. */
export function instancesOf(
  archive: Pick<Archive, 'database'>,
  scope: { studyInstanceUID: string; seriesInstanceUID?: string | undefined },
): InstanceRow[] {
  const { studyInstanceUID, seriesInstanceUID } = scope;
  const inSeries = seriesInstanceUID === undefined ? '' : 'AND series.series_uid = ?';
  return archive.database
    .all(
      `SELECT ${COLUMNS} FROM ${TABLES} WHERE study.study_uid = ? ${inSeries}
       ORDER BY series.number, series.series_uid, instance.number, instance.sop_uid`,
      studyInstanceUID,
      ...(seriesInstanceUID === undefined ? [] : [seriesInstanceUID]),
    )
    .map(instanceRow);
}

function instanceRow(row: Row): InstanceRow {
  return {
    key: Number(row['id']),
    studyKey: Number(row['study']),
    seriesKey: Number(row['series']),
    packKey: Number(row['pack']),
    studyInstanceUID: String(row['study_uid']) as StudyInstanceUID,
    seriesInstanceUID: String(row['series_uid']) as SeriesInstanceUID,
    sopInstanceUID: String(row['sop_uid']) as SOPInstanceUID,
    sopClassUID: String(row['sop_class']),
    transferSyntaxUID: String(row['transfer_syntax']),
    modality: String(row['modality']),
    instanceNumber: numberIn(row, 'number'),
    rows: numberIn(row, 'rows'),
    columns: numberIn(row, 'columns'),
    numberOfFrames: numberIn(row, 'frames'),
    frameCount: Number(row['frame_count']),
    derived: row['derived'] === 1,
    version: Number(row['sequence']),
    lengthBytes: Number(row['length']),
    headLengthBytes: Number(row['head_length']),
    crc: Number(row['crc']),
    pack: String(row['path']),
    offset: Number(row['offset']),
  };
}

function numberIn(row: Row, column: string): number | undefined {
  const value = row[column];
  return typeof value === 'number' ? value : undefined;
}

/** The Part 10 bytes as they were stored: one chunk up to 1 MiB, then MiB by MiB. */
export function readInstance(archive: Pick<Archive, 'packs'>, instance: InstanceRow): AsyncIterable<Buffer> {
  return streamPack(archive.packs, instance.pack, instance.offset, instance.offset + instance.lengthBytes);
}

/** Preamble, file meta and data set up to and including the pixel data element's header. */
export function readInstanceHead(archive: Pick<Archive, 'packs'>, instance: InstanceRow): Promise<Buffer> {
  return readPack(archive.packs, instance.pack, instance.offset, instance.offset + instance.headLengthBytes);
}

/** Whether an arrival has the very bytes of a stored instance. */
export async function sameBytes(archive: Archive, stored: InstanceRow, arrival: Arrival): Promise<boolean> {
  const { content } = arrival;
  let memory = content.kind === 'memory' ? Buffer.concat(content.chunks) : undefined;
  let at = 0;
  for await (const chunk of readInstance(archive, stored)) {
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

/** The pixel data's value as stored, item tags of encapsulated ones included. */
export function readInstanceBody(archive: Pick<Archive, 'packs'>, instance: InstanceRow): AsyncIterable<Buffer> {
  const { pack, offset, headLengthBytes, lengthBytes } = instance;
  return streamPack(archive.packs, pack, offset + headLengthBytes, offset + lengthBytes);
}
