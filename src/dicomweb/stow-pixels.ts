/**
 * Pixel data from the parts of a STOW-RS request (PS3.18 10.5.2, table 10.5.2-1): bytes as they are, compressed frames unchanged in fragments,
 * PNG and GIF decoded. What the stream says of its image completes the Image Pixel attributes or has to agree with them.
 */
import { FRAME_TYPES, lossyMethod, recogniseFrame, type Recognised } from '../codecs/recognise.ts';
import type { CodecPool } from '../codecs/pool.ts';
import { tagKey } from '../dicom/data-set.ts';
import { END_OF_ITEMS, itemHeader } from '../dicom/items.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../dicom/transfer-syntax.ts';
import {
  contradiction,
  elementIn,
  numberIn,
  settle,
  textIn,
  type JsonElement,
  type JsonObject,
} from './json-object.ts';
import { missingPart, pixelPartsOf, type BulkPart, type BulkParts } from './stow-parts.ts';
import { requireImage, settleImage } from './stow-image.ts';
import { decodedPicture } from './stow-picture.ts';
import { readKept, readWhole, type Kept, type Spool } from './spool.ts';
import { readVideo } from './video.ts';

/** Pixel Data, Float Pixel Data, Double Float Pixel Data. */
export const PIXEL_TAGS: readonly number[] = [0x7fe00010, 0x7fe00008, 0x7fe00009];

export interface PixelData {
  readonly tag: number;
  readonly vr: 'OB' | 'OW' | 'OF' | 'OD';
  /** Undefined: encapsulated. */
  readonly lengthBytes: number | undefined;
  /** About what the value takes, encapsulated too. */
  readonly costBytes: number;
  readonly transferSyntaxUID: string;
  /** What the metadata has to have besides what it has. */
  readonly attributes: JsonObject;
  body(): AsyncGenerator<Buffer, void, undefined>;
}

export interface PixelSource {
  readonly spool: Spool;
  readonly bulk: BulkParts;
  readonly codecs: CodecPool;
}

/** A run of kept bytes. */
interface Piece {
  readonly kept: Kept;
  readonly from: number;
  readonly to: number;
}

const NUMBER_OF_FRAMES = '00280008';
const BITS_ALLOCATED = '00280100';
const OCTETS = 'application/octet-stream';
const PICTURE_TYPES: readonly string[] = ['image/png', 'image/gif'];
const NATIVE_SYNTAXES: readonly string[] = [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN];
/** Its frames have no media type of their own; nothing in them tells of their image. */
const DEFLATED_IMAGE_FRAME = '1.2.840.10008.1.2.8.1';
/** A frame is looked at as a whole, one at a time. */
const MOST_FRAME_BYTES = 256 * 2 ** 20;
/** A fragment's length has 32 bits; a longer stream goes into several. */
const MOST_FRAGMENT_BYTES = 2 ** 31;
const MOST_NATIVE_BYTES = 0xfffffffe;

/** Undefined when the metadata has no pixel data. @throws Refusal when its bulk data cannot become pixel data of this image */
export async function pixelDataOf(source: PixelSource, json: JsonObject): Promise<PixelData | undefined> {
  const tag = PIXEL_TAGS.find((one) => json[tagKey(one)] !== undefined);
  if (tag === undefined) return undefined;
  const element = elementIn(json, tagKey(tag)) ?? {};
  if (typeof element.BulkDataURI !== 'string') return inlinePixels(tag, element, json);
  const parts = pixelPartsOf(source.bulk, element.BulkDataURI);
  const [first] = parts;
  if (first === undefined) throw missingPart();
  if (parts.some(({ type }) => type.name !== first.type.name || syntaxIn(type) !== syntaxIn(first.type)))
    throw new Refusal('CannotUnderstand', 'the frames of pixel data come in different media types');
  const mediaType = frameType(first);
  if (mediaType === OCTETS) return nativePixels(source, tag, json, element, parts.map(wholePart));
  if (tag !== 0x7fe00010) throw new Refusal('DataSetMismatch', `floating point pixel data comes as ${OCTETS}`);
  if (PICTURE_TYPES.includes(mediaType)) {
    const described = { ...json };
    const decoded = await decodedPicture(source, described, mediaType, parts);
    return nativePixels(source, tag, described, element, decoded.map(wholeKept), changes(json, described));
  }
  if (mediaType.startsWith('video/')) return videoPixels(source, tag, json, first, parts.length);
  return compressedPixels(source, tag, json, mediaType, parts);
}

function syntaxIn({ parameters }: BulkPart['type']): string | undefined {
  return parameters.get('transfer-syntax');
}

function wholePart({ kept }: BulkPart): Piece {
  return wholeKept(kept);
}

function wholeKept(kept: Kept): Piece {
  return { kept, from: 0, to: kept.lengthBytes };
}

/** The media type of what is in the part: bytes in a compressed transfer syntax are frames of that syntax. */
function frameType({ type }: BulkPart): string {
  const uid = syntaxIn(type);
  if (type.name !== OCTETS) {
    if (FRAME_TYPES.has(type.name) || PICTURE_TYPES.includes(type.name) || type.name.startsWith('video/'))
      return type.name;
    throw new Refusal('UnsupportedMediaType', 'pixel data comes in a media type of PS3.18 table 8.7.3-5 or 10.5.2-1');
  }
  if (uid === undefined || NATIVE_SYNTAXES.includes(uid)) return OCTETS;
  const syntax = transferSyntax(uid);
  if (uid === DEFLATED_IMAGE_FRAME) return uid;
  if (syntax?.encapsulated !== true || syntax.mediaType === undefined)
    throw new Refusal(
      'TransferSyntaxNotSupported',
      'bulk data is taken in little endian or in a compressed transfer syntax',
    );
  return syntax.mediaType;
}

/** The attributes that `described` has anew. */
function changes(json: JsonObject, described: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(described).filter(([key, element]) => json[key] !== element));
}

function inlinePixels(tag: number, element: JsonElement, json: JsonObject): PixelData {
  const text = element.InlineBinary ?? '';
  if (typeof text !== 'string' || element.Value !== undefined)
    throw new Refusal('CannotUnderstand', 'pixel data is neither InlineBinary nor BulkDataURI (PS3.18 F.2.2)');
  const bytes = Buffer.from(text, 'base64');
  return nativeValue(tag, json, element, bytes.length, {}, async function* body() {
    yield bytes;
  });
}

function nativePixels(
  { spool }: PixelSource,
  tag: number,
  json: JsonObject,
  element: JsonElement,
  pieces: readonly Piece[],
  attributes: JsonObject = {},
): PixelData {
  if (pieces.length > 1 && numberIn(json, BITS_ALLOCATED) === 1 && (frameBits(json, tag) ?? 0) % 8 !== 0)
    throw new Refusal('DataSetMismatch', 'frames of single bits that do not end with a byte come in one part');
  const lengthBytes = pieceBytes(pieces);
  return nativeValue(tag, json, element, lengthBytes, attributes, () => piecesOf(spool, pieces));
}

function pieceBytes(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { from, to }) => sum + to - from, 0);
}

async function* piecesOf(spool: Spool, pieces: readonly Piece[]): AsyncGenerator<Buffer, void, undefined> {
  for (const { kept, from, to } of pieces) yield* readKept(spool, kept, from, to);
}

function nativeValue(
  tag: number,
  json: JsonObject,
  element: JsonElement,
  lengthBytes: number,
  attributes: JsonObject,
  bytes: () => AsyncGenerator<Buffer, void, undefined>,
): PixelData {
  refuseOtherLength(json, tag, lengthBytes);
  const bitsAllocated = numberIn(json, BITS_ALLOCATED) ?? 16;
  // PS3.5 8.2: OW for more than 8 bits.
  const integers = element.vr === 'OB' && bitsAllocated <= 8 ? 'OB' : 'OW';
  return {
    tag,
    vr: tag === 0x7fe00008 ? 'OF' : tag === 0x7fe00009 ? 'OD' : integers,
    lengthBytes: lengthBytes + (lengthBytes & 1),
    costBytes: lengthBytes,
    transferSyntaxUID: EXPLICIT_VR_LITTLE_ENDIAN,
    attributes,
    async *body() {
      yield* bytes();
      if ((lengthBytes & 1) === 1) yield Buffer.alloc(1);
    },
  };
}

/** Undefined when the metadata lacks an attribute that tells. */
function frameBits(json: JsonObject, tag: number): number | undefined {
  const rows = numberIn(json, '00280010');
  const columns = numberIn(json, '00280011');
  const allocated = tag === 0x7fe00008 ? 32 : tag === 0x7fe00009 ? 64 : numberIn(json, BITS_ALLOCATED);
  if (rows === undefined || columns === undefined || allocated === undefined) return undefined;
  // Both chrominance samples are halved (PS3.3 C.7.6.3.1.2).
  const samples = textIn(json, '00280004') === 'YBR_FULL_422' ? 2 : (numberIn(json, '00280002') ?? 1);
  return rows * columns * samples * allocated;
}

function refuseOtherLength(json: JsonObject, tag: number, lengthBytes: number): void {
  if (lengthBytes > MOST_NATIVE_BYTES) throw new Refusal('TooLarge', 'uncompressed pixel data is longer than 4 GiB');
  const bits = frameBits(json, tag);
  if (bits === undefined)
    throw new Refusal(
      'DataSetMismatch',
      'Rows, Columns or Bits Allocated are missing, which uncompressed pixel data does not tell',
    );
  const expected = Math.ceil((bits * (numberIn(json, NUMBER_OF_FRAMES) ?? 1)) / 8);
  if (lengthBytes !== expected && lengthBytes !== expected + (expected & 1))
    throw new Refusal('DataSetMismatch', `the pixel data has ${lengthBytes} bytes; the metadata makes ${expected}`);
}

async function compressedPixels(
  { spool }: PixelSource,
  tag: number,
  json: JsonObject,
  mediaType: string,
  parts: readonly BulkPart[],
): Promise<PixelData> {
  const pieces: Piece[] = [];
  let whole: Recognised | undefined;
  for (const { kept } of parts) {
    if (kept.lengthBytes > MOST_FRAME_BYTES)
      throw new Refusal('TooLarge', `a compressed frame is longer than ${MOST_FRAME_BYTES} bytes`);
    const frame =
      mediaType === DEFLATED_IMAGE_FRAME
        ? deflatedFrame(kept)
        : recogniseFrame(mediaType, await readWhole(spool, kept));
    whole = whole === undefined ? frame : joined(whole, frame);
    pieces.push({ kept, from: frame.start, to: frame.end });
  }
  if (whole === undefined) throw missingPart();
  const [first] = parts;
  const transferSyntaxUID = chosenSyntax(
    whole.transferSyntaxUIDs,
    first === undefined ? undefined : syntaxIn(first.type),
  );
  const described = { ...json };
  if (pieces.length > 1 || numberIn(json, NUMBER_OF_FRAMES) !== undefined)
    settle(described, NUMBER_OF_FRAMES, 'IS', pieces.length);
  if (whole.image !== undefined) settleImage(described, whole.image);
  else requireImage(described);
  if (whole.lossy && transferSyntax(transferSyntaxUID)?.compression !== 'lossless')
    settleLoss(described, transferSyntaxUID, tag, pieces);
  return encapsulated(spool, tag, transferSyntaxUID, changes(json, described), pieces);
}

function deflatedFrame({ lengthBytes }: Kept): Recognised {
  return { transferSyntaxUIDs: [DEFLATED_IMAGE_FRAME], lossy: false, image: undefined, start: 0, end: lengthBytes };
}

/** All frames are of one image, and of a transfer syntax that each may stand under. */
function joined(whole: Recognised, frame: Recognised): Recognised {
  const transferSyntaxUIDs = whole.transferSyntaxUIDs.filter((uid) => frame.transferSyntaxUIDs.includes(uid));
  if (transferSyntaxUIDs.length === 0 || JSON.stringify(whole.image) !== JSON.stringify(frame.image))
    throw new Refusal('DataSetMismatch', 'the frames of pixel data are not coded alike');
  return { ...whole, transferSyntaxUIDs, lossy: whole.lossy || frame.lossy };
}

/** What the stream is, or what the part calls it where it may be called so. */
function chosenSyntax(possible: readonly string[], named: string | undefined): string {
  if (named !== undefined && !possible.includes(named))
    throw new Refusal('DataSetMismatch', 'the codestream is of another transfer syntax than its part says');
  return named ?? possible[0] ?? '';
}

/** PS3.3 C.7.6.1.1.5: what has been lost stays told; said here where the metadata is silent. */
function settleLoss(json: JsonObject, transferSyntaxUID: string, tag: number, pieces: readonly Piece[]): void {
  settle(json, '00282110', 'CS', '01');
  const method = lossyMethod(transferSyntaxUID);
  const bits = frameBits(json, tag);
  const bytes = pieceBytes(pieces);
  if (method === undefined || bits === undefined || bytes === 0) return;
  if (elementIn(json, '00282112') !== undefined || elementIn(json, '00282114') !== undefined) return;
  json['00282112'] = { vr: 'DS', Value: [Math.round((bits * pieces.length * 100) / (8 * bytes)) / 100] };
  json['00282114'] = { vr: 'CS', Value: [method] };
}

async function videoPixels(
  { spool }: PixelSource,
  tag: number,
  json: JsonObject,
  part: BulkPart,
  parts: number,
): Promise<PixelData> {
  if (parts !== 1) throw new Refusal('DataSetMismatch', 'a video comes in one part');
  const { kept } = part;
  const video = await readVideo(
    part.type.name,
    kept.lengthBytes,
    (from, to) => readWhole(spool, kept, from, to),
    () => readKept(spool, kept),
  );
  const described = { ...json };
  settleImage(described, video.image);
  if (video.frames !== undefined) settle(described, NUMBER_OF_FRAMES, 'IS', video.frames);
  else if (numberIn(described, NUMBER_OF_FRAMES) === undefined) throw contradiction(NUMBER_OF_FRAMES);
  settle(described, '00282110', 'CS', '01');
  const transferSyntaxUID = chosenSyntax(video.transferSyntaxUIDs, syntaxIn(part.type));
  return encapsulated(spool, tag, transferSyntaxUID, changes(json, described), [wholeKept(kept)]);
}

/** PS3.5 A.4: an offset table, then each frame in a fragment of its own. */
function encapsulated(
  spool: Spool,
  tag: number,
  transferSyntaxUID: string,
  attributes: JsonObject,
  pieces: readonly Piece[],
): PixelData {
  const { table, extended } = offsetTables(pieces);
  return {
    tag,
    vr: 'OB',
    lengthBytes: undefined,
    costBytes: pieceBytes(pieces),
    transferSyntaxUID,
    attributes: { ...attributes, ...extended },
    async *body() {
      yield itemHeader(table.length);
      yield table;
      for (const { kept, from, to } of pieces) {
        for (let at = from; at < to; at += MOST_FRAGMENT_BYTES) {
          const end = Math.min(to, at + MOST_FRAGMENT_BYTES);
          yield itemHeader(end - at + ((end - at) & 1));
          yield* readKept(spool, kept, at, end);
          if (((end - at) & 1) === 1) yield Buffer.alloc(1);
        }
      }
      yield END_OF_ITEMS;
    },
  };
}

/** Of several frames; the extended one (PS3.3 C.7.6.3.1.8) where 32 bits do not reach. */
function offsetTables(pieces: readonly Piece[]): { table: Buffer; extended: JsonObject } {
  const nothing = { table: Buffer.alloc(0), extended: {} };
  if (pieces.length < 2) return nothing;
  const lengths = pieces.map(({ from, to }) => to - from + ((to - from) & 1));
  let at = 0;
  const offsets = lengths.map((length) => {
    const offset = at;
    at += 8 + length;
    return offset;
  });
  if ((offsets.at(-1) ?? 0) > 0xffffffff)
    return {
      ...nothing,
      extended: {
        '7FE00001': { vr: 'OV', InlineBinary: words64(offsets).toString('base64') },
        '7FE00002': { vr: 'OV', InlineBinary: words64(pieces.map(({ from, to }) => to - from)).toString('base64') },
      },
    };
  const table = Buffer.alloc(4 * offsets.length);
  offsets.forEach((offset, index) => table.writeUInt32LE(offset, 4 * index));
  return { table, extended: {} };
}

function words64(numbers: readonly number[]): Buffer {
  const bytes = Buffer.alloc(8 * numbers.length);
  numbers.forEach((number, index) => bytes.writeBigUInt64LE(BigInt(number), 8 * index));
  return bytes;
}
