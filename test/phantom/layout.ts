/** Layouts of made pictures. */
import type { ImageLayout } from '../../src/dicom/image-layout.ts';

/** One unsigned sample a pixel, in one byte or, from 9 bits on, in two. */
export function greyLayout(rows: number, columns: number, bitsStored = 16): ImageLayout {
  return {
    rows,
    columns,
    samplesPerPixel: 1,
    bitsAllocated: bitsStored > 8 ? 16 : 8,
    bitsStored,
    highBit: bitsStored - 1,
    signed: false,
    planar: false,
    photometricInterpretation: 'MONOCHROME2',
  };
}
