/**
 * What a compressed frame is, told by the codestream itself: the transfer syntaxes that it may stand under (PS3.5 Annex A) and its
 * image, so that PS3.18 10.5.2 can leave Rows, Columns and the like to us. The stream is walked to its end; nothing is decoded.
 */
import { Refusal } from '../dicom/refusal.ts';
import { readJpeg2000Stream, readJpegStream, type StreamHeader } from './codestream.ts';

/** Attributes of the Image Pixel Description Macro (PS3.3 C.7.6.3) that a stream settles. */
export interface StreamImage {
  readonly rows: number;
  readonly columns: number;
  readonly samplesPerPixel: number;
  /** Bits of a sample. */
  readonly precision: number;
  /** Undefined where the form cannot tell (JPEG). */
  readonly signed: boolean | undefined;
  readonly photometricInterpretation: string;
}

export interface Recognised {
  /** The one it is, then others that it may be called: a lossless stream may stand under the syntax that allows loss too. */
  readonly transferSyntaxUIDs: readonly string[];
  readonly lossy: boolean;
  /** Undefined where the frame says nothing of it (RLE). */
  readonly image: StreamImage | undefined;
  /** The codestream in the frame, without boxes around it and what follows its end. */
  readonly start: number;
  readonly end: number;
}

/** Media types of a frame in fragments (PS3.18 table 8.7.3-5), legacy names included. */
export const FRAME_TYPES: ReadonlyMap<string, 'jpeg' | 'jpeg 2000' | 'rle' | 'jpeg xl'> = new Map([
  ['image/jpeg', 'jpeg'],
  ['image/jpg', 'jpeg'],
  ['image/dicom+jpeg', 'jpeg'],
  ['image/jls', 'jpeg'],
  ['image/x-jls', 'jpeg'],
  ['image/jp2', 'jpeg 2000'],
  ['image/jpx', 'jpeg 2000'],
  ['image/j2c', 'jpeg 2000'],
  ['image/jph', 'jpeg 2000'],
  ['image/jphc', 'jpeg 2000'],
  ['image/jhc', 'jpeg 2000'],
  ['image/dicom-rle', 'rle'],
  ['image/x-dicom-rle', 'rle'],
  ['image/jxl', 'jpeg xl'],
]);

/** @throws Refusal CannotUnderstand when the frame is no whole stream of its media type */
export function recogniseFrame(mediaType: string, frame: Buffer): Recognised {
  try {
    switch (FRAME_TYPES.get(mediaType)) {
      case 'jpeg':
        return jpeg(frame, mediaType.endsWith('jls'));
      case 'jpeg 2000':
        return jpeg2000(frame);
      case 'rle':
        return rle(frame);
      case 'jpeg xl':
        return jpegXl(frame);
      default:
        throw new Refusal('UnsupportedMediaType', 'this media type holds no frame');
    }
  } catch (error) {
    // Here it is the sender's stream that is broken, not an answer that cannot be made.
    if (error instanceof Refusal && error.reason === 'NotAcceptable')
      throw new Refusal('CannotUnderstand', `bulk data: ${error.message}`);
    throw error;
  }
}

const JPEG = '1.2.840.10008.1.2.4.';
const SOF0 = 0xc0;
const SOF1 = 0xc1;
const SOF2 = 0xc2;
const SOF3 = 0xc3;
const SOF55 = 0xf7;

function jpeg(frame: Buffer, asJpegLs: boolean): Recognised {
  const header = readJpegStream(frame);
  if ((header.process === SOF55) !== asJpegLs)
    throw new Refusal('CannotUnderstand', 'bulk data: image/jls and image/jpeg are not the same coding');
  // Ss of the scan: the predictor of lossless JPEG (T.81 H.1.2.1), NEAR of JPEG-LS (T.87 C.2.3).
  const selection = scanSelection(header.bytes);
  const numbers = jpegSyntaxes(header, selection);
  if (numbers === undefined)
    throw new Refusal(
      'TransferSyntaxNotSupported',
      'bulk data: no transfer syntax has this JPEG process (PS3.5 A.4.1)',
    );
  const lossy = header.process === SOF55 ? selection !== 0 : header.process !== SOF3;
  return {
    transferSyntaxUIDs: numbers.map((number) => `${JPEG}${number}`),
    lossy,
    image: imageOf(header, undefined, jpegColours(header)),
    start: 0,
    end: header.bytes.length,
  };
}

function jpegSyntaxes({ process, precision }: StreamHeader, selection: number): number[] | undefined {
  switch (process) {
    case SOF0:
      return [50, 51];
    case SOF1:
      return precision === 8 || precision === 12 ? [51] : undefined;
    case SOF2:
      // Full progression, or spectral selection alone: the same marker.
      return [55, 53];
    case SOF3:
      return selection === 1 ? [70, 57] : [57];
    case SOF55:
      return selection === 0 ? [80, 81] : [81];
    default:
      return undefined;
  }
}

function scanSelection(stream: Buffer): number {
  for (let at = 2; at + 4 <= stream.length;) {
    if (stream[at + 1] === 0xff) {
      at++;
      continue;
    }
    const components = stream[at + 4] ?? 0;
    if (stream[at + 1] === 0xda) return stream[at + 5 + 2 * components] ?? 0;
    at += 2 + stream.readUInt16BE(at + 2);
  }
  return 0;
}

/** PS3.3 C.7.6.3.1.2: lossy JPEG is in YCbCr unless it says otherwise; the lossless processes leave colours as they are. */
function jpegColours({ process, components, adobeTransform, componentIds, sampling }: StreamHeader): string {
  if (components === 1) return 'MONOCHROME2';
  const named = componentIds[0] === 0x52 && componentIds[1] === 0x47 && componentIds[2] === 0x42;
  if (adobeTransform === 0 || named) return 'RGB';
  if (adobeTransform === undefined && (process === SOF3 || process === SOF55)) return 'RGB';
  return sampling[0] === 0x11 ? 'YBR_FULL' : 'YBR_FULL_422';
}

const SIZ = 0xff51;
const CAP = 0xff50;
const COD = 0xff52;
const SOT = 0xff90;

function jpeg2000(frame: Buffer): Recognised {
  const header = readJpeg2000Stream(frame);
  const { bytes } = header;
  const start = bytes.byteOffset - frame.byteOffset;
  let [part2, highThroughput, transformed, reversible] = [false, false, false, false];
  for (let at = 2; at + 4 <= bytes.length && bytes.readUInt16BE(at) !== SOT; at += 2 + bytes.readUInt16BE(at + 2)) {
    const marker = bytes.readUInt16BE(at);
    // Rsiz: bit 15 tells extensions of part 2, bit 14 of part 15 (T.800 A.5.1, T.814 A.2).
    if (marker === SIZ) part2 = (bytes.readUInt16BE(at + 4) & 0x8000) !== 0;
    if (marker === CAP) highThroughput = (bytes.readUInt32BE(at + 4) & 0x00020000) !== 0;
    if (marker === COD) {
      transformed = bytes[at + 8] === 1;
      reversible = bytes[at + 13] === 1;
    }
  }
  const numbers = highThroughput ? [201, 202, 203] : part2 ? [92, 93] : [90, 91];
  const colours = header.components === 1 ? 'MONOCHROME2' : transformed ? (reversible ? 'YBR_RCT' : 'YBR_ICT') : 'RGB';
  return {
    transferSyntaxUIDs: (reversible ? numbers : numbers.slice(-1)).map((number) => `${JPEG}${number}`),
    lossy: !reversible,
    image: imageOf(header, header.signed, colours),
    start,
    end: start + bytes.length,
  };
}

function imageOf(header: StreamHeader, signed: boolean | undefined, photometricInterpretation: string): StreamImage {
  const { rows, columns, components, precision } = header;
  if (rows === 0 || columns === 0 || (components !== 1 && components !== 3) || precision > 16)
    throw new Refusal(
      'CannotUnderstand',
      `bulk data: ${components} components of ${precision} bits, ${columns} x ${rows}`,
    );
  return { rows, columns, samplesPerPixel: components, precision, signed, photometricInterpretation };
}

/** PS3.5 G.5: the number of segments, then where each begins, the first behind the header of 64 bytes. */
function rle(frame: Buffer): Recognised {
  const segments = frame.length < 64 ? 0 : frame.readUInt32LE(0);
  if (segments < 1 || segments > 15 || frame.readUInt32LE(4) !== 64)
    throw new Refusal('CannotUnderstand', 'bulk data: no RLE header (PS3.5 G.5)');
  return {
    transferSyntaxUIDs: ['1.2.840.10008.1.2.5'],
    lossy: false,
    image: undefined,
    start: 0,
    end: frame.length,
  };
}

/** A bare codestream (ISO/IEC 18181-1); whether it lost anything only a decoder could tell. */
function jpegXl(frame: Buffer): Recognised {
  if (frame[0] !== 0xff || frame[1] !== 0x0a)
    throw new Refusal('CannotUnderstand', 'bulk data: no JPEG XL codestream (PS3.5 A.4.12 allows no container)');
  return {
    transferSyntaxUIDs: [`${JPEG}112`, `${JPEG}110`, `${JPEG}111`],
    lossy: true,
    image: undefined,
    start: 0,
    end: frame.length,
  };
}

/** How the compression is named in Lossy Image Compression Method (0028,2114), PS3.3 C.7.6.1.1.5.1. */
export function lossyMethod(transferSyntaxUID: string): string | undefined {
  const number = transferSyntaxUID.startsWith(JPEG) ? Number(transferSyntaxUID.slice(JPEG.length)) : 0;
  if (number >= 50 && number <= 56) return 'ISO_10918_1';
  if (number === 81) return 'ISO_14495_1';
  if (number === 91 || number === 93) return 'ISO_15444_1';
  if (number === 203) return 'ISO_15444_15';
  return number === 112 ? 'ISO_18181_1' : undefined;
}
