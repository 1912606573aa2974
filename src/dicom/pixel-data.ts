/**
 * Where each frame lies in the pixel data's value: native (PS3.5 8.1), encapsulated with a basic offset table, an extended one
 * (PS3.3 C.7.6.3.1.8) or none (PS3.5 A.4). Offset tables are believed only where they agree with the fragments.
 */
import { asciiValue, findElement, numberValue, valueBytes, type DataSet, type Extent } from './data-set.ts';
import { transferSyntax } from './transfer-syntax.ts';

/** What the head says about the pixels. */
export interface PixelLayout {
  readonly rows: number;
  readonly columns: number;
  readonly bitsAllocated: number;
  readonly samplesPerPixel: number;
  readonly photometricInterpretation: string;
  /** At least 1. */
  readonly numberOfFrames: number;
  readonly transferSyntaxUID: string;
  /** Extended Offset Table (7FE0,0001): where each frame's first item begins, counted from the item after the basic table. */
  readonly extendedOffsets: readonly number[] | undefined;
}

/** Frames in the pixel data's value; byte positions count from the value's first byte. */
export type FrameExtents =
  /** One after the other, each of `frameBits`; with 1 bit a pixel a frame need not begin on a byte. */
  | { readonly kind: 'native'; readonly frameBits: number; readonly count: number }
  /** The fragments of each frame, without their item tags. */
  | { readonly kind: 'encapsulated'; readonly frames: readonly (readonly Extent[])[] }
  /** No frame can be told from another: a video stream, or values that contradict each other. */
  | { readonly kind: 'none' };

export function pixelLayout(dataSet: DataSet, transferSyntaxUID: string): PixelLayout {
  const table = findElement(dataSet, 0x7fe00001);
  return {
    rows: numberValue(dataSet, 0x00280010) ?? 0,
    columns: numberValue(dataSet, 0x00280011) ?? 0,
    bitsAllocated: numberValue(dataSet, 0x00280100) ?? 0,
    samplesPerPixel: numberValue(dataSet, 0x00280002) ?? 1,
    photometricInterpretation: asciiValue(dataSet, 0x00280004) ?? '',
    numberOfFrames: Math.max(1, Math.trunc(numberValue(dataSet, 0x00280008) ?? 1)),
    transferSyntaxUID,
    extendedOffsets: table === undefined ? undefined : readOffsets64(valueBytes(dataSet, table)),
  };
}

function readOffsets64(bytes: Buffer): number[] {
  const offsets: number[] = [];
  for (let at = 0; at + 8 <= bytes.length; at += 8) offsets.push(Number(bytes.readBigUInt64LE(at)));
  return offsets;
}

/** Bits of one native frame. YBR_FULL_422 halves both chrominance samples (PS3.3 C.7.6.3.1.2). */
export function nativeFrameBits(layout: PixelLayout): number {
  const samples = layout.photometricInterpretation === 'YBR_FULL_422' ? 2 : layout.samplesPerPixel;
  return layout.rows * layout.columns * samples * layout.bitsAllocated;
}

/** Frames of a native value of this length; frames that the value is too short for are not counted. */
export function nativeExtents(layout: PixelLayout, lengthBytes: number): FrameExtents {
  const frameBits = nativeFrameBits(layout);
  if (frameBits === 0) return { kind: 'none' };
  const count = Math.min(layout.numberOfFrames, Math.floor((lengthBytes * 8) / frameBits));
  return count === 0 ? { kind: 'none' } : { kind: 'native', frameBits, count };
}

/** Walks the items of encapsulated pixel data as they pass by, across chunk borders. */
export interface FragmentScan {
  readonly fragments: Fragment[];
  /** Frame offsets of the basic table; empty when it is. */
  readonly basicOffsets: readonly number[];
  take(chunk: Buffer): void;
}

interface Fragment extends Extent {
  /** First bytes, which tell the start of an image. */
  readonly mark: number;
}

const ITEM = 0xe000fffe;
const MAX_TABLE_BYTES = 64 * 2 ** 20;

export function scanFragments(): FragmentScan {
  const fragments: Fragment[] = [];
  const basicOffsets: number[] = [];
  const header = Buffer.alloc(8);
  const word = Buffer.alloc(4);
  let headerBytes = 0;
  let position = 0;
  let itemStart = 0;
  let itemLeft = 0;
  let itemLength = 0;
  let items = 0;
  let over = false;
  let mark = 0;

  function takeItem(part: Buffer): void {
    for (let at = 0, inItem = itemLength - itemLeft; at < part.length; at++, inItem++) {
      if (items > 1 && inItem >= 4) return;
      if (items > 1) mark = ((mark << 8) | (part[at] ?? 0)) >>> 0;
      else if (itemLength <= MAX_TABLE_BYTES) {
        word[inItem & 3] = part[at] ?? 0;
        if ((inItem & 3) === 3) basicOffsets.push(word.readUInt32LE(0));
      }
    }
  }

  function endItem(): void {
    if (items > 1) fragments.push({ start: itemStart, end: itemStart + itemLength, mark });
  }

  return {
    fragments,
    basicOffsets,
    take(chunk) {
      let at = 0;
      while (at < chunk.length && !over) {
        if (itemLeft > 0) {
          const step = Math.min(itemLeft, chunk.length - at);
          takeItem(chunk.subarray(at, at + step));
          itemLeft -= step;
          at += step;
          if (itemLeft === 0) endItem();
          continue;
        }
        const step = Math.min(8 - headerBytes, chunk.length - at);
        chunk.copy(header, headerBytes, at, at + step);
        headerBytes += step;
        at += step;
        if (headerBytes < 8) continue;
        headerBytes = 0;
        if (header.readUInt32LE(0) !== ITEM) {
          over = true;
          continue;
        }
        items++;
        mark = 0;
        itemLength = header.readUInt32LE(4);
        itemLeft = itemLength;
        itemStart = position + at;
        if (itemLength === 0) endItem();
      }
      position += chunk.length;
    },
  };
}

/** Puts the fragments together to frames. */
export function encapsulatedExtents(layout: PixelLayout, scan: FragmentScan): FrameExtents {
  const { fragments } = scan;
  const { numberOfFrames } = layout;
  if (fragments.length === 0 || isVideo(layout.transferSyntaxUID)) return { kind: 'none' };
  if (numberOfFrames === 1) return encapsulated([fragments]);
  if (fragments.length === numberOfFrames) return encapsulated(fragments.map((fragment) => [fragment]));
  // Fewer fragments than frames: what is there is given out, one a frame.
  if (fragments.length < numberOfFrames) return encapsulated(fragments.map((fragment) => [fragment]));
  const starts =
    startsFromTable(layout.extendedOffsets, scan, numberOfFrames) ??
    startsFromTable(scan.basicOffsets, scan, numberOfFrames) ??
    startsFromMarks(fragments, numberOfFrames);
  if (starts === undefined) return { kind: 'none' };
  return encapsulated(starts.map((start, index) => fragments.slice(start, starts[index + 1] ?? fragments.length)));
}

function encapsulated(frames: readonly (readonly Fragment[])[]): FrameExtents {
  return { kind: 'encapsulated', frames: frames.map((frame) => frame.map(({ start, end }) => ({ start, end }))) };
}

/** MPEG-2, MPEG-4 AVC and HEVC: one stream, whatever NumberOfFrames says (PS3.5 8.2.5 to 8.2.8). */
function isVideo(transferSyntaxUID: string): boolean {
  return transferSyntax(transferSyntaxUID)?.mediaType?.startsWith('video/') === true;
}

/** The index of each frame's first fragment; undefined when the table names a place where no fragment begins. */
function startsFromTable(
  offsets: readonly number[] | undefined,
  scan: FragmentScan,
  numberOfFrames: number,
): number[] | undefined {
  const first = scan.fragments[0];
  if (offsets?.length !== numberOfFrames || first === undefined) return undefined;
  const origin = first.start - 8;
  const byPosition = new Map(scan.fragments.map((fragment, index) => [fragment.start - 8 - origin, index]));
  const starts: number[] = [];
  for (const offset of offsets) {
    const index = byPosition.get(offset);
    if (index === undefined || index <= (starts.at(-1) ?? -1)) return undefined;
    starts.push(index);
  }
  return starts[0] === 0 ? starts : undefined;
}

/** Frames begin where an image begins: SOI of JPEG and JPEG-LS (FFD8), SOC and SIZ of JPEG 2000 (FF4FFF51), a JPEG XL signature (FF0A). */
function startsFromMarks(fragments: readonly Fragment[], numberOfFrames: number): number[] | undefined {
  const starts: number[] = [];
  fragments.forEach(({ mark }, index) => {
    const two = mark >>> 16;
    if (two === 0xffd8 || mark === 0xff4fff51 || two === 0xff0a) starts.push(index);
  });
  return starts.length === numberOfFrames && starts[0] === 0 ? starts : undefined;
}

/** A few bytes a frame: kind, count, then for each fragment the gap before it and its length, as variable-length numbers. */
export function packExtents(extents: FrameExtents): Buffer | undefined {
  if (extents.kind === 'none') return undefined;
  const bytes: number[] = [];
  if (extents.kind === 'native') {
    bytes.push(0);
    pushNumber(bytes, extents.count);
    pushNumber(bytes, extents.frameBits);
    return Buffer.from(bytes);
  }
  bytes.push(1);
  pushNumber(bytes, extents.frames.length);
  let position = 0;
  for (const frame of extents.frames) {
    pushNumber(bytes, frame.length);
    for (const { start, end } of frame) {
      pushNumber(bytes, start - position);
      pushNumber(bytes, end - start);
      position = end;
    }
  }
  return Buffer.from(bytes);
}

export function unpackExtents(packed: Buffer | null): FrameExtents {
  if (packed === null) return { kind: 'none' };
  const cursor = { bytes: packed, at: 1 };
  const count = takeNumber(cursor);
  if (packed[0] === 0) return { kind: 'native', count, frameBits: takeNumber(cursor) };
  const frames: Extent[][] = [];
  let position = 0;
  for (let frame = 0; frame < count; frame++) {
    const fragments: Extent[] = [];
    for (let left = takeNumber(cursor); left > 0; left--) {
      const start = position + takeNumber(cursor);
      position = start + takeNumber(cursor);
      fragments.push({ start, end: position });
    }
    frames.push(fragments);
  }
  return { kind: 'encapsulated', frames };
}

/** Seven bits a byte, low first, the eighth saying that more follow; up to 2^53. */
function pushNumber(bytes: number[], value: number): void {
  let left = value;
  while (left >= 0x80) {
    bytes.push((left % 0x80) | 0x80);
    left = Math.floor(left / 0x80);
  }
  bytes.push(left);
}

function takeNumber(cursor: { readonly bytes: Buffer; at: number }): number {
  let value = 0;
  for (let scale = 1; ; scale *= 0x80) {
    const byte = cursor.bytes[cursor.at++];
    if (byte === undefined) throw new Error('packed frame extents end early');
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return value;
  }
}
