/** Frames as codecs handle them: how they are measured, and their samples brought into another order. */
import type { ImageLayout } from '../dicom/image-layout.ts';

export { frameBytes, imageLayout, unusable, type ImageLayout } from '../dicom/image-layout.ts';

/** Levels of a wavelet transform: 5 as usual, fewer where the image is too small to be halved so often. */
export function decompositions({ rows, columns }: ImageLayout): number {
  return Math.min(5, Math.floor(Math.log2(Math.min(rows, columns))));
}

/** All of one sample after another, as RLE and Planar Configuration 1 have it, to pixel after pixel. */
export function interleave(planes: Buffer, samples: number, bytesPerSample: number): Buffer {
  const count = planes.length / samples;
  const mixed = Buffer.allocUnsafe(planes.length);
  const pixelBytes = samples * bytesPerSample;
  for (let sample = 0; sample < samples; sample++) {
    for (let byte = 0; byte < bytesPerSample; byte++) {
      const shift = sample * bytesPerSample + byte;
      for (let from = sample * count + byte, to = shift; to < mixed.length; from += bytesPerSample, to += pixelBytes)
        mixed[to] = planes[from] ?? 0;
    }
  }
  return mixed;
}

/** Pixel after pixel to all of one sample after another. */
export function deinterleave(mixed: Buffer, samples: number, bytesPerSample: number): Buffer {
  const count = mixed.length / samples;
  const planes = Buffer.allocUnsafe(mixed.length);
  const pixelBytes = samples * bytesPerSample;
  for (let sample = 0; sample < samples; sample++) {
    for (let byte = 0; byte < bytesPerSample; byte++) {
      const shift = sample * bytesPerSample + byte;
      for (let from = shift, to = sample * count + byte; from < mixed.length; from += pixelBytes, to += bytesPerSample)
        planes[to] = mixed[from] ?? 0;
    }
  }
  return planes;
}
