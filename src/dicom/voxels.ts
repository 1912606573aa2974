/** Stored values of native pixel data (PS3.5 section 8) to real values, one frame at a time, written where they are to stay. */
import { asciiValue, numberValue } from './data-set.ts';
import type { Head } from './object.ts';
import { Refusal } from './refusal.ts';

/** How one frame after another lies in the pixel data's value. */
export interface PixelFormat {
  readonly columns: number;
  readonly rows: number;
  readonly frames: number;
  readonly bytesPerPixel: 1 | 2 | 4;
  readonly bitsStored: number;
  readonly highBit: number;
  readonly signed: boolean;
  readonly bigEndian: boolean;
}

/**
 * How the pixels of an instance are stored. MONOCHROME1 is taken as it is: it tells how values are shown, not what they are.
 * @throws Refusal PipelineRefused for colour, float, encapsulated and impossible pixels
 */
export function pixelFormat(head: Head): PixelFormat {
  const { dataSet, pixelData } = head;
  if (pixelData === undefined) throw unfit('there is no Pixel Data (7FE0,0010)');
  if (pixelData.tag !== 0x7fe00010)
    throw unfit('Float or Double Float Pixel Data (7FE0,0008), (7FE0,0009) found, Pixel Data (7FE0,0010) needed');
  if (pixelData.lengthBytes === undefined)
    throw unfit(`transfer syntax ${head.transferSyntaxUID} is compressed; there is no codec for it`);
  const samples = numberValue(dataSet, 0x00280002) ?? 1;
  const photometric = asciiValue(dataSet, 0x00280004) ?? 'absent';
  // Only the standard's own words are repeated in a message.
  const shown = /^(RGB|YBR_[A-Z0-9_]+|PALETTE COLOR|MONOCHROME[12]|HSV|ARGB|CMYK|absent)$/.test(photometric)
    ? photometric
    : `a value of ${photometric.length} characters`;
  if (samples !== 1 || (photometric !== 'MONOCHROME1' && photometric !== 'MONOCHROME2'))
    throw unfit(
      `Samples per Pixel (0028,0002) is ${samples} and Photometric Interpretation (0028,0004) ${shown}; one sample in MONOCHROME1 or MONOCHROME2 is needed`,
    );
  const columns = numberValue(dataSet, 0x00280011) ?? 0;
  const rows = numberValue(dataSet, 0x00280010) ?? 0;
  const frames = numberValue(dataSet, 0x00280008) ?? 1;
  if (![columns, rows, frames].every((count) => Number.isInteger(count) && count >= 1))
    throw unfit(
      `Columns (0028,0011) ${columns}, Rows (0028,0010) ${rows}, Number of Frames (0028,0008) ${frames}: each must be a whole number of at least 1`,
    );
  const bitsAllocated = numberValue(dataSet, 0x00280100) ?? 0;
  if (bitsAllocated !== 8 && bitsAllocated !== 16 && bitsAllocated !== 32)
    throw unfit(`Bits Allocated (0028,0100) is ${bitsAllocated}; 8, 16 or 32 are needed`);
  const bitsStored = numberValue(dataSet, 0x00280101) ?? bitsAllocated;
  const highBit = numberValue(dataSet, 0x00280102) ?? bitsStored - 1;
  if (bitsStored < 1 || bitsStored > bitsAllocated || highBit >= bitsAllocated || highBit < bitsStored - 1)
    throw unfit(
      `Bits Stored (0028,0101) ${bitsStored} and High Bit (0028,0102) ${highBit} do not fit into Bits Allocated (0028,0100) ${bitsAllocated}`,
    );
  return {
    columns,
    rows,
    frames,
    bytesPerPixel: (bitsAllocated / 8) as 1 | 2 | 4,
    bitsStored,
    highBit,
    signed: numberValue(dataSet, 0x00280103) === 1,
    bigEndian: dataSet.encoding === 'explicit-be',
  };
}

/** Asked before anything is allocated, so that a header cannot claim more than the object holds. @throws Refusal CannotUnderstand */
export function refuseShortPixels(head: Head, format: PixelFormat): void {
  const { columns, rows, frames, bytesPerPixel } = format;
  const neededBytes = columns * rows * frames * bytesPerPixel;
  const lengthBytes = head.pixelData?.lengthBytes ?? 0;
  if (lengthBytes < neededBytes)
    throw new Refusal(
      'CannotUnderstand',
      `Pixel Data (7FE0,0010) has ${lengthBytes} bytes; ${frames} frames of ${columns} x ${rows} pixels are ${neededBytes}`,
    );
}

function unfit(sentence: string): Refusal {
  return new Refusal('PipelineRefused', sentence);
}

export interface Rescale {
  readonly slope: number;
  readonly intercept: number;
}

/**
 * Writes one frame's real values, `stored * slope + intercept`, into `voxels` from `at` on. `frame` counts from 1.
 * Bits outside Bits Stored (old overlays) are dropped. @throws Refusal CannotUnderstand when the pixel data are too short
 */
export function readFrame(
  pixels: Buffer,
  format: PixelFormat,
  frame: number,
  rescale: Rescale,
  voxels: Float32Array,
  at: number,
): void {
  const { slope, intercept } = rescale;
  const stored = storedFrame(pixels, format, frame);
  const { up, down } = shiftsOf(format);
  if (format.signed) {
    for (let i = 0; i < stored.length; i++) voxels[at + i] = (((stored[i] ?? 0) << up) >> down) * slope + intercept;
  } else {
    for (let i = 0; i < stored.length; i++) voxels[at + i] = (((stored[i] ?? 0) << up) >>> down) * slope + intercept;
  }
}

/**
 * The stored values of one frame and how often each occurs; one by one where there are more than 16 bits.
 * @throws Refusal CannotUnderstand when the pixel data are too short
 */
export function* countedValues(
  pixels: Buffer,
  format: PixelFormat,
  frame: number,
): Generator<readonly [value: number, count: number]> {
  const stored = storedFrame(pixels, format, frame);
  const { up, down } = shiftsOf(format);
  const valueOf = (bits: number): number => (format.signed ? (bits << down) >> down : bits);
  if (format.bitsStored > 16) {
    for (const bits of stored) yield [valueOf((bits << up) >>> down), 1];
    return;
  }
  const counts = new Uint32Array(2 ** format.bitsStored);
  for (let i = 0; i < stored.length; i++) {
    const bits = ((stored[i] ?? 0) << up) >>> down;
    counts[bits] = (counts[bits] ?? 0) + 1;
  }
  for (let bits = 0; bits < counts.length; bits++) {
    const count = counts[bits] ?? 0;
    if (count > 0) yield [valueOf(bits), count];
  }
}

/** Shifting the stored bits up against the sign bit and down again drops what lies above and below them, and extends the sign. */
function shiftsOf({ highBit, bitsStored }: PixelFormat): { up: number; down: number } {
  return { up: 31 - highBit, down: 32 - bitsStored };
}

function storedFrame(pixels: Buffer, format: PixelFormat, frame: number): Uint8Array | Uint16Array | Uint32Array {
  const lengthBytes = format.columns * format.rows * format.bytesPerPixel;
  const end = frame * lengthBytes;
  if (pixels.length < end) {
    throw new Refusal(
      'CannotUnderstand',
      `Pixel Data (7FE0,0010) has ${pixels.length} bytes; frame ${frame} of ${format.columns} x ${format.rows} pixels ends at byte ${end}`,
    );
  }
  return storedValues(pixels.subarray(end - lengthBytes, end), format);
}

/** A view on the bytes where they are aligned and in this machine's order (all that Node runs on are little endian), else a copy. */
function storedValues(bytes: Buffer, format: PixelFormat): Uint8Array | Uint16Array | Uint32Array {
  if (format.bytesPerPixel === 1) return bytes;
  const aligned = bytes.byteOffset % format.bytesPerPixel === 0 && !format.bigEndian;
  const own = aligned ? bytes : Buffer.from(new Uint8Array(bytes).buffer);
  if (format.bigEndian) {
    if (format.bytesPerPixel === 2) own.swap16();
    else own.swap32();
  }
  return format.bytesPerPixel === 2
    ? new Uint16Array(own.buffer, own.byteOffset, own.length / 2)
    : new Uint32Array(own.buffer, own.byteOffset, own.length / 4);
}
