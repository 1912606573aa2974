/** A frame in one transfer syntax to a frame in another: the one checked way into every codec. Runs in the worker threads. */
import { inflateRawSync } from 'node:zlib';
import { Refusal } from '../dicom/refusal.ts';
import { readJpegStream } from './codestream.ts';
import { decodeHtj2k, encodeHtj2k } from './htj2k.ts';
import { frameBytes, interleave, unusable, type ImageLayout } from './image.ts';
import { decodeJpeg2000, encodeJpeg2000 } from './jpeg-2000.ts';
import { decodeJpegLs, encodeJpegLs } from './jpeg-ls.ts';
import { blankJpeg, type PixelBox } from './jpeg-blank.ts';
import { decodeJpeg, encodeJpegLossless, isYcbcr } from './jpeg.ts';
import { decodedLayout } from './photometric.ts';
import { encodeBaseline } from './picture.ts';
import { decodeRle, encodeRle } from './rle.ts';
import { codingOf, type Coding } from './syntaxes.ts';

/** A native little-endian frame: pixel after pixel, single bits as they were. */
export interface NativeFrame {
  readonly bytes: Buffer;
  readonly layout: ImageLayout;
}

/**
 * @param bytes one frame as it is stored, without item tags
 * @param layout what the object says; the result's own layout may differ in its colours and planes
 * @throws Refusal NotAcceptable for a syntax that is not decoded, for what breaks off and for what is another image than the layout
 */
export async function decodeFrame(bytes: Buffer, layout: ImageLayout, transferSyntaxUID: string): Promise<NativeFrame> {
  const coding = codingOf(transferSyntaxUID);
  if (coding === undefined) throw unusable('pixel data of this transfer syntax is not decoded');
  const decoded = await guarded(() => samplesOf(bytes, layout, coding));
  const expected = frameBytes(layout);
  const fitted = fitSamples(decoded, layout, expected);
  if (fitted.length !== expected)
    throw unusable(`the frame decodes to ${decoded.length} bytes; the object says ${expected}`);
  return { bytes: extendSign(fitted, layout, coding), layout: decodedLayout(layout, transferSyntaxUID) };
}

/** @throws Refusal NotAcceptable for other processes than baseline and extended, and for what breaks off */
export async function blankFrame(bytes: Buffer, layout: ImageLayout, boxes: readonly PixelBox[]): Promise<Buffer> {
  const header = readJpegStream(bytes);
  return guarded(() =>
    Promise.resolve(
      blankJpeg(bytes, {
        boxes,
        ycbcr: header.components === 3 && isYcbcr(header, layout),
        // PS3.3 C.7.6.3.1.2: MONOCHROME1 shows its highest value black.
        shade: layout.photometricInterpretation === 'MONOCHROME1' ? 'highest' : 'lowest',
      }),
    ),
  );
}

/** A codec failed inside: what it left behind cannot be trusted, so its thread is replaced. */
export class CodecFault extends Refusal {
  constructor(cause: unknown) {
    super('NotAcceptable', 'the codec cannot make anything of the frame');
    this.cause = cause;
  }
}

/** Codecs throw numbers, strings and traps of their own. */
async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof Refusal ? error : new CodecFault(error);
  }
}

async function samplesOf(bytes: Buffer, layout: ImageLayout, coding: Coding): Promise<Buffer> {
  switch (coding) {
    case 'native':
      return nativeSamples(bytes, layout);
    case 'deflated':
      return nativeSamples(inflated(bytes, frameBytes(layout)), layout);
    case 'rle':
      return decodeRle(bytes, layout);
    case 'jpeg baseline':
    case 'jpeg extended':
    case 'jpeg lossless':
      return decodeJpeg(bytes, layout);
    case 'jpeg-ls':
      return decodeJpegLs(bytes, layout);
    case 'jpeg 2000':
      return decodeJpeg2000(bytes, layout);
    case 'htj2k':
      return decodeHtj2k(bytes, layout);
    default:
      return coding satisfies never;
  }
}

/** PS3.5 A.4.13: a raw DEFLATE stream of the native frame. */
function inflated(bytes: Buffer, expected: number): Buffer {
  try {
    return inflateRawSync(bytes, { maxOutputLength: expected + 1 });
  } catch {
    throw unusable('the deflated frame breaks off, is longer than the image or is no DEFLATE stream');
  }
}

function nativeSamples(bytes: Buffer, layout: ImageLayout): Buffer {
  const { samplesPerPixel, bitsAllocated, planar } = layout;
  if (layout.photometricInterpretation === 'YBR_FULL_422' && samplesPerPixel === 3 && bitsAllocated === 8)
    return withFullChrominance(bytes, layout);
  const whole = bytes.subarray(0, frameBytes(layout));
  if (!planar || samplesPerPixel === 1 || bitsAllocated < 8) return whole;
  return interleave(whole, samplesPerPixel, bitsAllocated / 8);
}

/** Y Y Cb Cr for two pixels (PS3.3 C.7.6.3.1.2). A value that holds three samples a pixel all the same is taken as such. */
function withFullChrominance(bytes: Buffer, layout: ImageLayout): Buffer {
  const expected = frameBytes(layout);
  if (bytes.length >= expected) return bytes.subarray(0, expected);
  const pixels = layout.rows * layout.columns;
  if (bytes.length < pixels * 2) return bytes;
  const full = Buffer.allocUnsafe(expected);
  for (let pixel = 0, to = 0; pixel < pixels; pixel++, to += 3) {
    const pair = (pixel >> 1) * 4;
    full[to] = bytes[pair + (pixel & 1)] ?? 0;
    full[to + 1] = bytes[pair + 2] ?? 0;
    full[to + 2] = bytes[pair + 3] ?? 0;
  }
  return full;
}

/** A codec gives 8 bits for up to 8 bits of precision, whatever is allocated; single bits come as bytes. */
function fitSamples(decoded: Buffer, layout: ImageLayout, expected: number): Buffer {
  const count = layout.rows * layout.columns * layout.samplesPerPixel;
  if (decoded.length !== count || decoded.length === expected) return decoded;
  if (layout.bitsAllocated === 1) {
    const bits = Buffer.alloc(expected);
    for (let at = 0; at < count; at++) if (decoded[at] !== 0) bits[at >> 3] = (bits[at >> 3] ?? 0) | (1 << (at & 7));
    return bits;
  }
  if (layout.bitsAllocated !== 16) return decoded;
  const words = Buffer.alloc(expected);
  for (let at = 0; at < count; at++) words[2 * at] = decoded[at] ?? 0;
  return words;
}

/** Codecs give the bits of the stream; readers of signed values want the sign in the bits above too. */
function extendSign(frame: Buffer, layout: ImageLayout, coding: Coding): Buffer {
  const { signed, bitsAllocated, bitsStored, highBit } = layout;
  if (coding === 'native' || !signed || bitsStored === bitsAllocated || highBit !== bitsStored - 1) return frame;
  const shift = 32 - bitsStored;
  if (bitsAllocated === 8) {
    for (let at = 0; at < frame.length; at++) frame[at] = (((frame[at] ?? 0) << shift) >> shift) & 0xff;
  } else if (bitsAllocated === 16) {
    for (let at = 0; at + 1 < frame.length; at += 2) frame.writeInt16LE((frame.readUInt16LE(at) << shift) >> shift, at);
  }
  return frame;
}

/**
 * @param frame as `decodeFrame` gives it
 * @throws Refusal NotAcceptable for a syntax that is not written, and for an image that has no form in it
 */
export function encodeFrame(frame: NativeFrame, transferSyntaxUID: string): Promise<Buffer> {
  return guarded(() => encoded(frame, codingOf(transferSyntaxUID)));
}

async function encoded({ bytes, layout }: NativeFrame, coding: Coding | undefined): Promise<Buffer> {
  switch (coding) {
    case 'native':
      return bytes;
    case 'rle':
      return encodeRle(bytes, layout);
    case 'jpeg lossless':
      return encodeJpegLossless(...precise(bytes, layout, false));
    case 'jpeg-ls':
      return encodeJpegLs(...precise(bytes, layout, false));
    case 'jpeg 2000':
      return encodeJpeg2000(...precise(bytes, layout, layout.signed));
    case 'htj2k':
      return encodeHtj2k(...precise(bytes, layout, layout.signed));
    case 'jpeg baseline':
      return encodeBaseline(bytes, layout);
    default:
      throw unusable('pixel data is not written in this transfer syntax');
  }
}

/**
 * The samples in the precision that the codestream is to have, which is Bits Stored (PS3.5 8.2.1 to 8.2.4); up to 8 bits in bytes.
 * @throws Refusal NotAcceptable when bits above Bits Stored say something of their own (old overlays), which would be lost
 */
function precise(bytes: Buffer, layout: ImageLayout, signed: boolean): [bytes: Buffer, layout: ImageLayout] {
  const { bitsAllocated, bitsStored, highBit } = layout;
  if (bitsAllocated !== 8 && bitsAllocated !== 16)
    throw unusable(`samples of ${bitsAllocated} bits are not compressed so`);
  if (bitsStored === bitsAllocated) return [bytes, layout];
  if (highBit !== bitsStored - 1) throw unusable('Bits Stored do not begin at the lowest bit: not compressed so');
  const count = layout.rows * layout.columns * layout.samplesPerPixel;
  const wide = bitsStored > 8;
  const samples = wide ? Buffer.allocUnsafe(count * 2) : Buffer.allocUnsafe(count);
  const mask = 2 ** bitsStored - 1;
  const shift = 32 - bitsStored;
  for (let at = 0; at < count; at++) {
    const word = bitsAllocated === 8 ? (bytes[at] ?? 0) : bytes.readUInt16LE(2 * at);
    const low = word & mask;
    const extended = ((low << shift) >> shift) & (2 ** bitsAllocated - 1);
    if (word !== low && !(layout.signed && word === extended)) throw unusable('bits above Bits Stored are in use');
    const sample = signed ? (low << shift) >> shift : low;
    if (!wide) samples[at] = sample & 0xff;
    else samples.writeUInt16LE(sample & 0xffff, 2 * at);
  }
  return [samples, { ...layout, bitsAllocated: wide ? 16 : 8 }];
}
