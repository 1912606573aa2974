/** Frames and bulk data by stored extents: ranges of a pack, no DICOM parsed but the head for values inside it. */
import { findElement, valueBytes, type DataSet, type Extent } from '../dicom/data-set.ts';
import { readHead } from '../dicom/part10.ts';
import { unpackExtents, type FrameExtents } from '../dicom/pixel-data.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Vr } from '../dicom/vr.ts';
import type { Archive } from './handle.ts';
import { readInstanceHead, type InstanceRow } from './instance-rows.ts';
import { readPack, streamPack, type Lend } from './pack-files.ts';

type Readable = Pick<Archive, 'database' | 'packs'>;

export interface Frame {
  /** Whole up to 1 MiB, a stream above. */
  readonly bytes: Buffer | AsyncIterable<Buffer>;
  readonly lengthBytes: number;
  readonly transferSyntaxUID: string;
}

const MOST_WHOLE_BYTES = 2 ** 20;

/**
 * A frame counted from 1; fragments joined without item tags, single-bit frames moved to begin on a byte (PS3.18 8.7.3.3.1).
 * @throws Refusal NotFound beyond the last frame, NotAcceptable for video, whose frames cannot be told apart
 */
export async function readFrame(archive: Readable, instance: InstanceRow, frameNumber: number): Promise<Frame> {
  if (!Number.isInteger(frameNumber) || frameNumber < 1 || frameNumber > Math.max(instance.frameCount, 1)) {
    throw new Refusal('NotFound', `there is no such frame; the instance has ${instance.frameCount}`);
  }
  const { transferSyntaxUID } = instance;
  const extents = extentsOf(archive, instance);
  switch (extents.kind) {
    case 'none':
      throw instance.headLengthBytes === instance.lengthBytes
        ? new Refusal('NotFound', 'the instance has no pixel data')
        : new Refusal('NotAcceptable', 'the pixel data is not made of frames that can be told apart');
    case 'native':
      return { ...(await readNative(archive, instance, extents, frameNumber - 1)), transferSyntaxUID };
    case 'encapsulated':
      return { ...(await readFragments(archive, instance, extents.frames[frameNumber - 1] ?? [])), transferSyntaxUID };
    default:
      return extents satisfies never;
  }
}

function extentsOf(archive: Pick<Archive, 'database'>, instance: InstanceRow): FrameExtents {
  const row = archive.database.get('SELECT extents FROM instance WHERE id = ?', instance.key);
  if (row === undefined) throw new Refusal('Gone', 'the instance has been deleted');
  return unpackExtents(row['extents'] as Buffer | null);
}

/** Below it is read at once. */
const LEAST_STREAMED_BYTES = 2 ** 16;

/**
 * A frame that is one range of its pack and not small, to be read while it is sent, into lent buffers; undefined for any other.
 * @throws Refusal Gone
 */
export function frameStream(
  archive: Readable,
  instance: InstanceRow,
  frameNumber: number,
): { readonly lengthBytes: number; readonly body: Streamed } | undefined {
  if (frameNumber < 1 || frameNumber > instance.frameCount) return undefined;
  const range = rangeOf(extentsOf(archive, instance), frameNumber - 1);
  if (range === undefined || range.end - range.start < LEAST_STREAMED_BYTES) return undefined;
  return { lengthBytes: range.end - range.start, body: streamed(archive, instance, range) };
}

/** Read while it is sent, into lent buffers. */
export type Streamed = (lend?: Lend) => AsyncIterable<Buffer>;

/** A range of the pixel data's value. */
function streamed(archive: Readable, { pack, offset, headLengthBytes }: InstanceRow, { start, end }: Extent): Streamed {
  const value = offset + headLengthBytes;
  return (lend) => streamPack(archive.packs, pack, { start: value + start, end: value + end }, lend);
}

function rangeOf(extents: FrameExtents, index: number): Extent | undefined {
  if (extents.kind === 'native') {
    const bytes = extents.frameBits / 8;
    return Number.isInteger(bytes) ? { start: index * bytes, end: (index + 1) * bytes } : undefined;
  }
  const fragments = extents.kind === 'encapsulated' ? extents.frames[index] : undefined;
  return fragments?.length === 1 ? fragments[0] : undefined;
}

type Bytes = Omit<Frame, 'transferSyntaxUID'>;

async function readNative(
  archive: Readable,
  instance: InstanceRow,
  { frameBits }: { readonly frameBits: number },
  index: number,
): Promise<Bytes> {
  const firstBit = index * frameBits;
  const start = Math.floor(firstBit / 8);
  const end = Math.ceil((firstBit + frameBits) / 8);
  const shift = firstBit % 8;
  if (shift === 0 && frameBits % 8 === 0) return readRange(archive, instance, { start, end });
  const bytes = shiftBits(await readWhole(archive, instance, { start, end }), shift, frameBits);
  return { bytes, lengthBytes: bytes.length };
}

/** Bits are packed with the first pixel in the least significant one (PS3.5 8.1.1); what is behind the last pixel becomes zero. */
function shiftBits(bytes: Buffer, shift: number, bits: number): Buffer {
  const shifted = Buffer.alloc(Math.ceil(bits / 8));
  for (let at = 0; at < shifted.length; at++) {
    shifted[at] = ((bytes[at] ?? 0) >>> shift) | ((bytes[at + 1] ?? 0) << (8 - shift));
  }
  const over = shifted.length * 8 - bits;
  const last = shifted.length - 1;
  shifted[last] = (shifted[last] ?? 0) & (0xff >>> over);
  return shifted;
}

async function readFragments(archive: Readable, instance: InstanceRow, fragments: readonly Extent[]): Promise<Bytes> {
  const [only] = fragments;
  if (fragments.length === 1 && only !== undefined) return readRange(archive, instance, only);
  const lengthBytes = fragments.reduce((sum, { start, end }) => sum + end - start, 0);
  const bytes = joined(archive, instance, fragments);
  return { bytes: lengthBytes <= MOST_WHOLE_BYTES ? await whole(bytes) : bytes, lengthBytes };
}

async function* joined(archive: Readable, instance: InstanceRow, extents: readonly Extent[]): AsyncGenerator<Buffer> {
  for (const extent of extents) yield* streamed(archive, instance, extent)();
}

async function whole(chunks: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  return Buffer.concat(parts);
}

/** A range of the pixel data's value. */
async function readRange(archive: Readable, instance: InstanceRow, extent: Extent): Promise<Bytes> {
  const lengthBytes = extent.end - extent.start;
  const bytes =
    lengthBytes <= MOST_WHOLE_BYTES
      ? await readWhole(archive, instance, extent)
      : streamed(archive, instance, extent)();
  return { bytes, lengthBytes };
}

function readWhole(archive: Readable, instance: InstanceRow, { start, end }: Extent): Promise<Buffer> {
  const value = instance.offset + instance.headLengthBytes;
  return readPack(archive.packs, instance.pack, value + start, value + end);
}

/** The value of one attribute, or of encapsulated pixel data, which goes out frame by frame (PS3.18 8.7.3.3.2). */
export type BulkData =
  | {
      readonly kind: 'value';
      readonly vr: Vr;
      /** Whole below 64 KiB. */
      readonly bytes: Buffer | Streamed;
      readonly lengthBytes: number;
    }
  | { readonly kind: 'frames'; readonly frameCount: number };

/**
 * @param path tags and item numbers from 0, as in a BulkDataURI: `7FE00010` or `00400275/0/00091010`
 * @param range first byte and the one after the last, for a part of a value
 * @throws Refusal NotFound when there is no such attribute, BadRequest for what is no path or a range outside the value
 */
export async function readBulkData(
  archive: Readable,
  instance: InstanceRow,
  path: string,
  range?: Extent,
): Promise<BulkData> {
  if (!/^[0-9A-F]{8}(\/\d{1,6}\/[0-9A-F]{8})*$/i.test(path)) {
    throw new Refusal('BadRequest', 'a bulk data path is made of tags of eight hex digits and item numbers');
  }
  const { head, bodyStart } = readHead(await readInstanceHead(archive, instance));
  const steps = path.split('/');
  const tag = Number.parseInt(steps[0] ?? '', 16);
  if (steps.length === 1 && head.pixelData?.tag === tag) {
    const { vr, lengthBytes } = head.pixelData;
    if (lengthBytes === undefined) return { kind: 'frames', frameCount: instance.frameCount };
    const extent = within(range, lengthBytes);
    const length = extent.end - extent.start;
    const isSmall = length < LEAST_STREAMED_BYTES;
    const bytes = isSmall ? await readWhole(archive, instance, extent) : streamed(archive, instance, extent);
    return { kind: 'value', vr, bytes, lengthBytes: length };
  }
  if (bodyStart > instance.headLengthBytes) throw new Error('the stored head length is too small');
  return { kind: 'value', ...valueAt(head.dataSet, steps, range) };
}

function valueAt(
  dataSet: DataSet,
  steps: readonly string[],
  range: Extent | undefined,
): { bytes: Buffer; lengthBytes: number; vr: Vr } {
  let inside: DataSet | undefined = dataSet;
  for (let at = 0; at + 2 < steps.length && inside !== undefined; at += 2) {
    inside = findElement(inside, Number.parseInt(steps[at] ?? '', 16))?.items?.[Number(steps[at + 1])];
  }
  const element = inside === undefined ? undefined : findElement(inside, Number.parseInt(steps.at(-1) ?? '', 16));
  if (inside === undefined || element === undefined || element.items !== undefined) {
    throw new Refusal('NotFound', 'the instance has no such bulk data');
  }
  const value = valueBytes(inside, element);
  const { start, end } = within(range, value.length);
  return { vr: element.vr, bytes: value.subarray(start, end), lengthBytes: end - start };
}

function within(range: Extent | undefined, lengthBytes: number): Extent {
  if (range === undefined) return { start: 0, end: lengthBytes };
  if (range.start < 0 || range.end > lengthBytes || range.start > range.end) {
    throw new Refusal('BadRequest', `the range lies outside the value's ${lengthBytes} bytes`);
  }
  return range;
}
