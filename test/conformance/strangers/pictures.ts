/** What is seen on a screen beside what the gateway renders: grey values on a common grid, and how much alike they are. */
import sharp, { type Sharp } from 'sharp';

/** Side of the grid: that of the phantom, so that its noise remains. */
const GRID = 192;

export interface Picture {
  readonly grey: Float64Array;
  readonly mean: number;
  readonly deviation: number;
}

/** The square in the middle of the image, where a viewer fits a square slice. */
export async function readPicture(encoded: Buffer): Promise<Picture> {
  const grey = Float64Array.from(await (await onGrid(encoded)).toColourspace('b-w').raw().toBuffer());
  const mean = grey.reduce((sum, value) => sum + value, 0) / grey.length;
  const deviation = Math.sqrt(grey.reduce((sum, value) => sum + (value - mean) ** 2, 0) / grey.length);
  return { grey, mean, deviation };
}

/** How far red, green and blue are apart on the same grid: 0 for every grey, 255 for a full colour. */
export async function readColourfulness(encoded: Buffer): Promise<readonly number[]> {
  const rgb = await (await onGrid(encoded)).toColourspace('srgb').raw().toBuffer();
  return Array.from({ length: GRID * GRID }, (_, n) => {
    const pixel = rgb.subarray(3 * n, 3 * n + 3);
    return Math.max(...pixel) - Math.min(...pixel);
  });
}

async function onGrid(encoded: Buffer): Promise<Sharp> {
  const image = sharp(encoded);
  const { width, height } = await image.metadata();
  const side = Math.min(width, height);
  return image
    .extract({ left: Math.floor((width - side) / 2), top: Math.floor((height - side) / 2), width: side, height: side })
    .resize(GRID, GRID, { fit: 'fill' })
    .removeAlpha();
}

/** Pearson's coefficient: 1 is the same picture, but for brightness and contrast. */
export function correlation(a: Picture, b: Picture): number {
  if (a.deviation === 0 || b.deviation === 0) return 0;
  let sum = 0;
  for (let n = 0; n < a.grey.length; n++) sum += ((a.grey[n] ?? 0) - a.mean) * ((b.grey[n] ?? 0) - b.mean);
  return sum / a.grey.length / (a.deviation * b.deviation);
}

/** Mean difference of grey values, 0 to 255. */
export function difference(a: Picture, b: Picture): number {
  return a.grey.reduce((sum, value, n) => sum + Math.abs(value - (b.grey[n] ?? 0)), 0) / a.grey.length;
}
