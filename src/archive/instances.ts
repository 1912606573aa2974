/** Instances: stored so that they are durable when it returns, found by their UIDs, read as they were stored. */
import { constants } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Deidentified } from '../dicom/object.ts';
import { encapsulatedExtents, nativeExtents, scanFragments, type FragmentScan } from '../dicom/pixel-data.ts';
import { Refusal } from '../dicom/refusal.ts';
import { transferSyntax } from '../dicom/transfer-syntax.ts';
import { describe, type ReadDescription } from './described.ts';
import type { Archive, Arrival, Source, StoreResult } from './handle.ts';
import { commit } from './intake.ts';
import { SPOOL_OFFSET, SPOOL_SUFFIX, writeAll } from './pack-writing.ts';
import { checkSpace, hold, outOfSpace, waitForMemory } from './room.ts';

export type { Source, StoreResult } from './handle.ts';
export {
  instanceOf,
  instancesOf,
  readInstance,
  readInstanceBody,
  readInstanceHead,
  readInstanceHeads,
  type InstanceRow,
} from './instance-rows.ts';

export interface StoreOptions {
  /**
   * Runs in the transaction that indexes the instance, and only when it is stored or replaced; what it throws leaves nothing stored.
   * Runs again when another arrival of its group could not be indexed, the first run having been rolled back.
   */
  readonly alongside?: () => void;
  /** Made by a pipeline, not received. */
  readonly derived?: boolean;
  /** Asked when the body has been read. Who sends the same again is not refused, whatever has become of it (`duplicates`). */
  readonly source?: (() => Source) | undefined;
  /** The version that this is another form of: stored in its place whatever `duplicates` says, and only while it is in force. */
  readonly inPlaceOf?: number;
}

/** Objects longer than this are not gathered in memory but streamed to a pack of their own. */
const MOST_IN_MEMORY_BYTES = 8 * 2 ** 20;
const SPOOL_CHUNK_BYTES = 2 ** 20;

/**
 * Resolves only when bytes and index rows are durable. The same bytes under the same SOP Instance UID are not written again; other bytes of
 * the same source take the place of those that are there.
 * @throws Refusal Duplicate (by policy), DiskFull, OutOfResources, CannotUnderstand; whatever the body throws
 */
export async function storeInstance(
  archive: Archive,
  object: Deidentified,
  options: StoreOptions = {},
): Promise<StoreResult> {
  const { intake } = archive;
  const read = describe(object, intake.alike);
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
      source: options.source?.(),
      inPlaceOf: options.inPlaceOf,
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
  { described, layout, pixelData }: ReadDescription,
  scan: FragmentScan | undefined,
  bodyBytes: number,
): ReturnType<typeof nativeExtents> {
  if (pixelData === undefined) return { kind: 'none' };
  return scan !== undefined && transferSyntax(described.transferSyntaxUID)?.encapsulated === true
    ? encapsulatedExtents(layout, scan)
    : nativeExtents(layout, bodyBytes);
}
