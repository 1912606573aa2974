/**
 * Whether a codestream is whole, before a codec sees it: codecs give a full frame for half a stream and say nothing. JPEG and JPEG-LS:
 * ITU-T T.81 annex B, T.87 annex C; JPEG 2000 and HTJ2K: ITU-T T.800 annex A. Nothing is decoded here.
 */
import { unusable, type ImageLayout } from './image.ts';

/** What the codestream says of its image. */
export interface StreamHeader {
  readonly rows: number;
  readonly columns: number;
  readonly components: number;
  /** Bits of a sample. */
  readonly precision: number;
  readonly signed: boolean;
  /** JPEG: the second byte of the frame marker, which tells the process; 0 for JPEG 2000. */
  readonly process: number;
  /** Of Adobe's APP14: 0 as it is, 1 YCbCr; undefined without one. */
  readonly adobeTransform: number | undefined;
  /** First byte of each component, as 4 bits horizontal and 4 vertical sampling; empty for JPEG 2000. */
  readonly sampling: readonly number[];
  /** Quantisation table of each component; empty for JPEG 2000. */
  readonly quantisers: readonly number[];
  /** Ids of the components, which some writers set to R, G, B. */
  readonly componentIds: readonly number[];
  /** The stream itself, without a wrapping of boxes before it. */
  readonly bytes: Buffer;
}

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const APP14 = 0xee;
/** Start of frame: SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC); SOF55 of JPEG-LS is F7. */
const isFrameMarker = (marker: number): boolean =>
  (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) || marker === 0xf7;

/** Walks the segments from SOI to EOI. @throws Refusal NotAcceptable when the stream breaks off or is no such stream */
export function readJpegStream(bytes: Buffer): StreamHeader {
  if (bytes[0] !== 0xff || bytes[1] !== SOI) throw broken('JPEG', 'it does not begin with SOI');
  let at = 2;
  let header: Omit<StreamHeader, 'adobeTransform' | 'bytes'> | undefined;
  let adobeTransform: number | undefined;
  let scans = 0;
  for (;;) {
    const marker = markerAt(bytes, at);
    at = marker.end;
    if (marker.code === EOI) break;
    if (at + 2 > bytes.length) throw broken('JPEG', 'a segment has no length');
    const end = at + bytes.readUInt16BE(at);
    if (end > bytes.length || end < at + 2) throw broken('JPEG', 'a segment is longer than the stream');
    const segment = bytes.subarray(at + 2, end);
    if (isFrameMarker(marker.code)) {
      if (header !== undefined) throw broken('JPEG', 'it has two frames');
      header = frameHeader(segment, marker.code);
    }
    if (marker.code === APP14 && segment.length >= 12 && segment.toString('latin1', 0, 5) === 'Adobe')
      adobeTransform = segment[11];
    at = end;
    if (marker.code === SOS) {
      if (header === undefined) throw broken('JPEG', 'a scan stands before the frame header');
      scans++;
      at = endOfScan(bytes, at);
    }
  }
  if (header === undefined || scans === 0) throw broken('JPEG', 'it has no scan');
  return { ...header, adobeTransform, bytes: bytes.subarray(0, at) };
}

/** A marker may have any number of FF before it (T.81 B.1.1.2). */
function markerAt(bytes: Buffer, start: number): { code: number; end: number } {
  let at = start;
  if (bytes[at] !== 0xff) throw broken('JPEG', at >= bytes.length ? 'it ends without EOI' : 'a marker is missing');
  while (bytes[at] === 0xff) at++;
  const code = bytes[at];
  if (code === undefined) throw broken('JPEG', 'it ends without EOI');
  return { code, end: at + 1 };
}

/**
 * The marker that ends the entropy-coded data. After FF a byte below 80 is stuffing (T.81 B.1.1.5: 00; T.87 C: a zero bit), D0 to D7
 * are restart markers.
 */
function endOfScan(bytes: Buffer, start: number): number {
  for (let at = bytes.indexOf(0xff, start); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    const next = bytes[at + 1];
    if (next !== undefined && next >= 0x80 && next !== 0xff && (next < 0xd0 || next > 0xd7)) return at;
  }
  throw broken('JPEG', 'it ends without EOI');
}

function frameHeader(segment: Buffer, process: number): Omit<StreamHeader, 'adobeTransform' | 'bytes'> {
  const components = segment[5] ?? 0;
  if (segment.length < 6 + 3 * components) throw broken('JPEG', 'the frame header is short');
  const each = Array.from({ length: components }, (_, index) => index);
  return {
    precision: segment[0] ?? 0,
    rows: segment.readUInt16BE(1),
    columns: segment.readUInt16BE(3),
    components,
    signed: false,
    process,
    componentIds: each.map((index) => segment[6 + 3 * index] ?? 0),
    sampling: each.map((index) => segment[7 + 3 * index] ?? 0),
    quantisers: each.map((index) => segment[8 + 3 * index] ?? 0),
  };
}

const SOC_SIZ = 0xff4fff51;
const SOT = 0xff90;
const SOD = 0xff93;
const EOC = 0xffd9;

/** Walks the tile-parts to EOC; each tile has to be there. @throws Refusal NotAcceptable, as readJpegStream does */
export function readJpeg2000Stream(wrapped: Buffer): StreamHeader {
  const bytes = withoutBoxes(wrapped);
  if (bytes.length < 50 || bytes.readUInt32BE(0) !== SOC_SIZ)
    throw broken('JPEG 2000', 'it does not begin with SOC and SIZ');
  const size = imageSize(bytes);
  let at = 2;
  const tiles = new Set<number>();
  for (;;) {
    if (at + 2 > bytes.length) throw broken('JPEG 2000', 'it ends without EOC');
    const marker = bytes.readUInt16BE(at);
    if (marker === EOC) break;
    if (marker < 0xff01 || at + 4 > bytes.length) throw broken('JPEG 2000', 'a marker segment is missing');
    if (marker !== SOT) {
      if (tiles.size > 0) throw broken('JPEG 2000', 'something else stands between the tile-parts');
      at += 2 + bytes.readUInt16BE(at + 2);
      continue;
    }
    if (at + 12 > bytes.length) throw broken('JPEG 2000', 'a tile-part header breaks off');
    tiles.add(bytes.readUInt16BE(at + 4));
    const length = bytes.readUInt32BE(at + 6);
    // Psot 0: the last tile-part, up to EOC (T.800 A.4.2).
    at = length === 0 ? lastEoc(bytes) : at + length;
    if (length !== 0 && length < 14) throw broken('JPEG 2000', 'a tile-part is shorter than its header');
  }
  const { tileCount, ...image } = size;
  for (let tile = 0; tile < tileCount; tile++)
    if (!tiles.has(tile)) throw broken('JPEG 2000', `${tiles.size} of ${tileCount} tiles are there`);
  if (bytes.indexOf(SOD_BYTES) < 0) throw broken('JPEG 2000', 'no tile-part has data');
  return {
    ...image,
    process: 0,
    adobeTransform: undefined,
    sampling: [],
    quantisers: [],
    componentIds: [],
    bytes: bytes.subarray(0, at + 2),
  };
}

const SOD_BYTES = Buffer.from([SOD >> 8, SOD & 0xff]);

/** EOC may be followed by the pad byte of the fragment (PS3.5 A.4). */
function lastEoc(bytes: Buffer): number {
  for (const back of [2, 3]) {
    if (bytes.readUInt16BE(bytes.length - back) === EOC) return bytes.length - back;
  }
  throw broken('JPEG 2000', 'it ends without EOC');
}

/** T.800 A.5.1. */
function imageSize(
  bytes: Buffer,
): Pick<StreamHeader, 'rows' | 'columns' | 'components' | 'precision' | 'signed'> & { tileCount: number } {
  const word = (at: number): number => bytes.readUInt32BE(at);
  const [right, bottom, left, top] = [word(8), word(12), word(16), word(20)];
  const [tileWidth, tileHeight, tileLeft, tileTop] = [word(24), word(28), word(32), word(36)];
  const components = bytes.readUInt16BE(40);
  if (tileWidth === 0 || tileHeight === 0 || right <= left || bottom <= top || bytes.length < 42 + 3 * components)
    throw broken('JPEG 2000', 'the image size is impossible');
  const tileCount = Math.ceil((right - tileLeft) / tileWidth) * Math.ceil((bottom - tileTop) / tileHeight);
  if (!(tileCount >= 1 && tileCount <= 65_535)) throw broken('JPEG 2000', 'the number of tiles is impossible');
  const depth = bytes[42] ?? 0;
  for (let component = 0; component < components; component++) {
    const at = 42 + 3 * component;
    if (bytes[at] !== depth || bytes[at + 1] !== 1 || bytes[at + 2] !== 1)
      throw broken('JPEG 2000', 'its components differ in depth or size');
  }
  return {
    rows: bottom - top,
    columns: right - left,
    components,
    precision: (depth & 0x7f) + 1,
    signed: depth >= 0x80,
    tileCount,
  };
}

const JP2_SIGNATURE = Buffer.from([0, 0, 0, 12, 0x6a, 0x50, 0x20, 0x20]);

/** PS3.5 A.4.4 allows no JP2 boxes around the codestream; some writers put them there. */
function withoutBoxes(bytes: Buffer): Buffer {
  if (!bytes.subarray(0, 8).equals(JP2_SIGNATURE)) return bytes;
  let at = 0;
  while (at + 8 <= bytes.length) {
    const length = bytes.readUInt32BE(at);
    if (bytes.toString('latin1', at + 4, at + 8) === 'jp2c') {
      if (length > bytes.length - at) throw broken('JPEG 2000', 'its box is longer than the stream');
      return bytes.subarray(at + 8, length === 0 ? bytes.length : at + length);
    }
    if (length < 8) break;
    at += length;
  }
  throw broken('JPEG 2000', 'it has boxes but no codestream');
}

/** The stream and the object have to speak of the same image. @throws Refusal NotAcceptable */
export function refuseOtherSize(header: StreamHeader, layout: ImageLayout): void {
  const { rows, columns, components } = header;
  if (rows !== layout.rows || columns !== layout.columns || components !== layout.samplesPerPixel)
    throw unusable(
      `the codestream has ${columns} x ${rows} pixels of ${components} samples; the object says ${layout.columns} x ${layout.rows} of ${layout.samplesPerPixel}`,
    );
}

function broken(kind: 'JPEG' | 'JPEG 2000', what: string): Error {
  return unusable(`the ${kind} codestream is not whole: ${what}`);
}
