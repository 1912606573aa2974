/** What is measured of a slice against the same slice at rest; values up to about 1000. */
import { boxMean } from '../../../src/pipelines/body.ts';

export const SIDE = 192;

/** Where the slice at rest, blurred over 9 x 9 pixels, is above a tenth of its range: half of the ghosts' error lies elsewhere, in the air. */
export function bodyOf(rest: Float32Array): Uint8Array {
  return Uint8Array.from(meanOf(rest, 4), (value) => Number(value > 100));
}

function meanOf(values: Float32Array | Float64Array, radius: number): Float64Array {
  const out = new Float64Array(values.length);
  boxMean(values, SIDE, SIDE, radius, out);
  return out;
}

/** By how many dB the error is smaller than it was, where `inside` says (everywhere without it). */
export function gain(before: Float32Array, after: Float32Array, rest: Float32Array, inside?: Uint8Array): number {
  const squares = (of: Float32Array): number =>
    of.reduce((sum, value, n) => sum + (inside?.[n] === 0 ? 0 : (value - rest[n]!) ** 2), 0);
  return 10 * Math.log10(squares(before) / squares(after));
}

const RANGE = 1000;
const [C1, C2] = [(0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2];

/** Structural similarity (Wang 2004), windows of 7 x 7. */
export function ssim(a: Float32Array, b: Float32Array): number {
  const product = (p: Float32Array, q: Float32Array): Float64Array =>
    meanOf(
      Float64Array.from(p, (value, n) => value * q[n]!),
      3,
    );
  const [x, y, xx, yy, xy] = [meanOf(a, 3), meanOf(b, 3), product(a, a), product(b, b), product(a, b)];
  let sum = 0;
  for (let n = 0; n < a.length; n++) {
    const [u, v] = [x[n]!, y[n]!];
    const spread = xx[n]! - u * u + yy[n]! - v * v;
    sum += ((2 * u * v + C1) * (2 * (xy[n]! - u * v) + C2)) / ((u * u + v * v + C1) * (spread + C2));
  }
  return sum / a.length;
}
