/** Boxes of a native frame made one shade, in the bytes as they lie; nothing outside of the boxes changes. */
import type { ImageLayout } from '../../dicom/image-layout.ts';
import type { Box } from './tools.ts';

/** Where a frame lies and how its samples are written. */
export interface FramePlace {
  readonly bytes: Buffer;
  /** First bit of the frame; a multiple of 8 unless samples are single bits. */
  readonly firstBit: number;
  readonly layout: ImageLayout;
  /** Y Y Cb Cr for two pixels (PS3.3 C.7.6.3.1.2). */
  readonly halfChrominance: boolean;
}

/** One value per sample of a pixel: black, as far as the layout alone tells. */
export function blackOf(layout: ImageLayout, darkestIndex: number | undefined): readonly number[] {
  const { photometricInterpretation, bitsStored, signed, samplesPerPixel } = layout;
  const lowest = signed ? -(2 ** (bitsStored - 1)) : 0;
  const highest = signed ? 2 ** (bitsStored - 1) - 1 : 2 ** bitsStored - 1;
  if (samplesPerPixel === 3)
    return photometricInterpretation.startsWith('YBR') ? [0, 2 ** (bitsStored - 1), 2 ** (bitsStored - 1)] : [0, 0, 0];
  if (photometricInterpretation === 'PALETTE COLOR') return [darkestIndex ?? lowest];
  return [photometricInterpretation === 'MONOCHROME1' ? highest : lowest];
}

export function blankNative(place: FramePlace, boxes: readonly Box[], black: readonly number[]): void {
  for (const box of boxes) blankBox(place, box, black);
}

function blankBox(place: FramePlace, { top, bottom, ...sides }: Box, black: readonly number[]): void {
  const { layout, halfChrominance } = place;
  // Two pixels share their colour: both are blanked, or neither.
  const left = halfChrominance ? sides.left - (sides.left % 2) : sides.left;
  const right = halfChrominance ? Math.min(layout.columns, sides.right + (sides.right % 2)) : sides.right;
  const { columns, rows, samplesPerPixel, planar, highBit, bitsStored } = layout;
  // Stored bits may not begin at the lowest one.
  const shift = highBit + 1 - bitsStored;
  const words = black.map((value) => value * 2 ** shift);
  for (let row = top; row < bottom; row++) {
    for (let column = left; column < right; column++) {
      const pixel = row * columns + column;
      if (halfChrominance) {
        const pair = (pixel >> 1) * 4;
        writeSample(place, pair + (pixel & 1), words[0] ?? 0);
        writeSample(place, pair + 2, words[1] ?? 0);
        writeSample(place, pair + 3, words[2] ?? 0);
        continue;
      }
      for (let sample = 0; sample < samplesPerPixel; sample++) {
        const index = planar ? sample * rows * columns + pixel : pixel * samplesPerPixel + sample;
        writeSample(place, index, words[sample] ?? 0);
      }
    }
  }
}

/** The whole allocated word, so that nothing stays in bits that are not stored. */
function writeSample({ bytes, firstBit, layout }: FramePlace, index: number, value: number): void {
  switch (layout.bitsAllocated) {
    case 1: {
      const bit = firstBit + index;
      const mask = 1 << (bit & 7);
      bytes[bit >> 3] = value === 0 ? (bytes[bit >> 3] ?? 0) & ~mask : (bytes[bit >> 3] ?? 0) | mask;
      return;
    }
    case 8:
      bytes[firstBit / 8 + index] = value & 0xff;
      return;
    case 16:
      bytes.writeUInt16LE(value & 0xffff, firstBit / 8 + 2 * index);
      return;
    default:
      bytes.writeInt32LE(value | 0, firstBit / 8 + 4 * index);
  }
}

/** Clears, in every sample, what lies outside of the stored bits: overlays that were put there (PS3.5 8.1.2). @returns whether any did */
export function clearUnusedBits({ bytes, firstBit, layout }: FramePlace): boolean {
  const { rows, columns, samplesPerPixel, bitsAllocated, bitsStored, highBit, signed } = layout;
  if (bitsAllocated !== 8 && bitsAllocated !== 16) return false;
  const shift = highBit + 1 - bitsStored;
  const mask = (2 ** bitsStored - 1) << shift;
  const negative = 1 << highBit;
  // A sign that is carried on above the stored bits says nothing new.
  const above = signed && shift === 0 ? (2 ** bitsAllocated - 1) & ~mask : 0;
  let changed = false;
  const count = rows * columns * samplesPerPixel;
  for (let index = 0, at = firstBit / 8; index < count; index++, at += bitsAllocated / 8) {
    const word = bitsAllocated === 8 ? (bytes[at] ?? 0) : bytes.readUInt16LE(at);
    const clean = (word & mask) | ((word & negative) !== 0 ? above : 0);
    if (clean === word) continue;
    changed = true;
    if (bitsAllocated === 8) bytes[at] = clean;
    else bytes.writeUInt16LE(clean, at);
  }
  return changed;
}

/** Pixel after pixel and with full chrominance, as decoders give it; the same bytes where they lie so already. */
export function interleavedFrame({ bytes, firstBit, layout, halfChrominance }: FramePlace): Buffer {
  const { rows, columns, samplesPerPixel, bitsAllocated, planar } = layout;
  const pixels = rows * columns;
  if (bitsAllocated === 1) return bytes;
  const from = firstBit / 8;
  if (halfChrominance) {
    const full = Buffer.allocUnsafe(pixels * 3);
    for (let pixel = 0; pixel < pixels; pixel++) {
      const pair = from + (pixel >> 1) * 4;
      full[3 * pixel] = bytes[pair + (pixel & 1)] ?? 0;
      full[3 * pixel + 1] = bytes[pair + 2] ?? 0;
      full[3 * pixel + 2] = bytes[pair + 3] ?? 0;
    }
    return full;
  }
  const wide = bitsAllocated / 8;
  const frame = bytes.subarray(from, from + pixels * samplesPerPixel * wide);
  if (!planar || samplesPerPixel === 1) return frame;
  const mixed = Buffer.allocUnsafe(frame.length);
  for (let sample = 0; sample < samplesPerPixel; sample++)
    for (let pixel = 0; pixel < pixels; pixel++)
      frame.copy(
        mixed,
        (pixel * samplesPerPixel + sample) * wide,
        (sample * pixels + pixel) * wide,
        (sample * pixels + pixel + 1) * wide,
      );
  return mixed;
}
