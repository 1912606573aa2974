/**
 * Magnitude MR images (Rician noise): the noise level from the image alone, the transform after which the noise has one variance
 * everywhere, and the way back that also takes away the bias of the magnitude (Foi, ISBI 2011, by numerical integration here).
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Grid } from './zoo-steps.ts';

const STEP = 0.05;
/** From here on, in units of sigma, noise of a magnitude is Gaussian with the variance it has in the real part. */
const GAUSSIAN_FROM = 12;
const COUNT = Math.round(GAUSSIAN_FROM / STEP) + 1;

interface Table {
  /** By signal nu = n * STEP: mean and deviation of the magnitude, stabilising function of that mean, mean of the stabilised magnitude. */
  readonly mean: Float64Array;
  readonly deviation: Float64Array;
  readonly stable: Float64Array;
  readonly expected: Float64Array;
}

/** Made at the first use: 30 ms. */
let table: Table | undefined;

/** A grid after the stabilising transform, in units of its noise, and the way back for values on the same grid. */
export interface Stabilised {
  readonly values: Float32Array;
  /** Of the noise in the middle of the plane. */
  readonly sigma: number;
  readonly back: (values: Float32Array) => void;
}

/**
 * Stabilises every voxel by the noise at its place: parallel imaging and coils near the skin leave it uneven over the plane.
 * @throws Refusal PipelineRefused when no noise is found
 */
export function stabilise(grid: Grid): Stabilised {
  const blocks = blocksOf(grid);
  const sigma = sigmaOf(blocks);
  if (!(sigma > 0)) throw new Refusal('PipelineRefused', 'no noise was found; nothing to correct');
  table ??= makeTable();
  const { mean, deviation, stable, expected } = table;
  const plane = sigmaPlane(grid.size, blocks, sigma);
  const values = new Float32Array(grid.values.length);
  for (let start = 0; start < values.length; start += plane.length)
    for (let i = 0; i < plane.length; i++) {
      const z = Math.max(0, grid.values[start + i]!) / plane[i]!;
      values[start + i] = forwardUnit(z, mean, stable, deviation[0]!);
    }
  const back = (all: Float32Array): void => {
    for (let start = 0; start < all.length; start += plane.length)
      for (let i = 0; i < plane.length; i++) all[start + i] = plane[i]! * signalOf(expected, all[start + i]!);
  };
  return { values, sigma, back };
}

/** Terms of the logarithm of sigma over the plane; x and y from -1 to 1. */
const TERMS = 6;
/** Ratio of the largest to the smallest sigma up to which one level is taken: the fit's own error. */
const EVEN = 1.25;
/** What a fit may make of it at most. */
const MOST_UNEVEN = 6;

/** Sigma of each pixel of a plane, the same for all slices: exp of a quadratic fitted robustly to the levels of quiet blocks. */
function sigmaPlane([nx, ny]: Grid['size'], blocks: readonly Block[], sigma: number): Float32Array {
  const even = new Float32Array(nx * ny).fill(sigma);
  const quiet = quietBlocks(blocks).flatMap(({ x, y, deviation, mean }) => {
    const here = correctedSigma(deviation, mean);
    return here > sigma / MOST_UNEVEN && here < sigma * MOST_UNEVEN ? [{ x, y, log: Math.log(here) }] : [];
  });
  if (quiet.length < 8 * TERMS) return even;
  let kept = quiet;
  let fit: Float64Array = new Float64Array(TERMS);
  for (let turn = 0; turn < 4; turn++) {
    fit = quadraticThrough(kept);
    const residuals = quiet.map((one) => one.log - valueOf(fit, one.x, one.y));
    const limit = 2.5 * median(residuals.map(Math.abs)) * 1.4826;
    kept = quiet.filter((_, i) => Math.abs(residuals[i]!) <= limit);
    if (kept.length < 8 * TERMS) return even;
  }
  const plane = even.map((_, i) => valueOf(fit, (2 * (i % nx)) / nx - 1, (2 * Math.floor(i / nx)) / ny - 1));
  const reached = kept.map(({ x, y }) => valueOf(fit, x, y)).sort((a, b) => a - b);
  const [least, most] = [reached[0]!, reached.at(-1)!];
  if (most - least < Math.log(EVEN) || most - least > Math.log(MOST_UNEVEN)) return even;
  // Where no block was seen the level of the nearest that were holds; the median is the one found over the whole grid.
  const level = Math.log(sigma) - median(reached);
  return plane.map((log) => Math.exp(Math.min(most, Math.max(least, log)) + level));
}

function termsAt(x: number, y: number): readonly number[] {
  return [1, x, y, x * x, x * y, y * y];
}

function valueOf(fit: Float64Array, x: number, y: number): number {
  return termsAt(x, y).reduce((sum, term, i) => sum + term * fit[i]!, 0);
}

/** Least squares by the normal equations, with a little held back for a plane that the blocks do not span. */
function quadraticThrough(
  points: readonly { readonly x: number; readonly y: number; readonly log: number }[],
): Float64Array {
  const rows = Array.from({ length: TERMS }, (_, i) =>
    Float64Array.from({ length: TERMS + 1 }, (__, j) => (i === j ? 1e-3 * points.length : 0)),
  );
  for (const { x, y, log } of points) {
    const terms = termsAt(x, y);
    for (let i = 0; i < TERMS; i++) {
      for (let j = 0; j < TERMS; j++) rows[i]![j]! += terms[i]! * terms[j]!;
      rows[i]![TERMS]! += terms[i]! * log;
    }
  }
  for (let i = 0; i < TERMS; i++)
    for (let j = 0; j < TERMS; j++) {
      if (j === i) continue;
      const share = rows[j]![i]! / rows[i]![i]!;
      for (let k = i; k <= TERMS; k++) rows[j]![k]! -= share * rows[i]![k]!;
    }
  return Float64Array.from({ length: TERMS }, (_, i) => rows[i]![TERMS]! / rows[i]![i]!);
}

/** `inAir`: the deviation where there is no signal. */
function forwardUnit(z: number, mean: Float64Array, stable: Float64Array, inAir: number): number {
  const first = mean[0]!;
  if (z <= first) return (z - first) / inAir;
  const last = mean.length - 1;
  if (z >= mean[last]!) return stable[last]! + z - mean[last]!;
  const low = lowerIndex(mean, z);
  const share = (z - mean[low]!) / (mean[low + 1]! - mean[low]!);
  return stable[low]! + share * (stable[low + 1]! - stable[low]!);
}

/** The signal nu whose stabilised mean is `value`; 0 below the table. */
function signalOf(expected: Float64Array, value: number): number {
  const last = expected.length - 1;
  if (value <= expected[0]!) return 0;
  if (value >= expected[last]!) return GAUSSIAN_FROM + value - expected[last]!;
  const low = lowerIndex(expected, value);
  const gap = expected[low + 1]! - expected[low]!;
  return STEP * (low + (gap > 0 ? (value - expected[low]!) / gap : 0));
}

function makeTable(): Table {
  const mean = new Float64Array(COUNT);
  const stable = new Float64Array(COUNT);
  const expected = new Float64Array(COUNT);
  const deviation = new Float64Array(COUNT);
  for (let n = 0; n < COUNT; n++) {
    const { mean: m, square } = momentsOf(n * STEP);
    mean[n] = m;
    deviation[n] = Math.sqrt(square - m * m);
    if (n > 0) stable[n] = stable[n - 1]! + ((m - mean[n - 1]!) * (1 / deviation[n]! + 1 / deviation[n - 1]!)) / 2;
  }
  for (let n = 0; n < COUNT; n++) expected[n] = integrate(n * STEP, (z) => forwardUnit(z, mean, stable, deviation[0]!));
  // Means of a function that never falls cannot fall; rounding may not make them.
  for (let n = 1; n < COUNT; n++) expected[n] = Math.max(expected[n]!, expected[n - 1]!);
  return { mean, deviation, stable, expected };
}

function momentsOf(nu: number): { mean: number; square: number } {
  return { mean: integrate(nu, (z) => z), square: nu * nu + 2 };
}

/** Mean of f(z) for a magnitude z of signal nu and noise 1. */
function integrate(nu: number, f: (z: number) => number): number {
  const step = 0.02;
  let sum = 0;
  let weight = 0;
  for (let z = Math.max(step / 2, nu - 7); z < nu + 7; z += step) {
    const density = z * Math.exp(-((z - nu) ** 2) / 2) * scaledBessel(z * nu);
    sum += density * f(z);
    weight += density;
  }
  return sum / weight;
}

/** exp(-x) I0(x), Abramowitz and Stegun 9.8.1 and 9.8.2. */
function scaledBessel(x: number): number {
  if (x < 3.75) {
    const t = (x / 3.75) ** 2;
    const value =
      1 + t * (3.5156229 + t * (3.0899424 + t * (1.2067492 + t * (0.2659732 + t * (0.0360768 + t * 0.0045813)))));
    return value * Math.exp(-x);
  }
  const t = 3.75 / x;
  const tail = 0.00916281 + t * (-0.02057706 + t * (0.02635537 + t * (-0.01647633 + t * 0.00392377)));
  return (0.39894228 + t * (0.01328592 + t * (0.00225319 + t * (-0.00157565 + t * tail)))) / Math.sqrt(x);
}

const BLOCK = 8;

/**
 * Sigma of the complex noise: medians of the second differences' magnitude in blocks of tissue, corrected for the Rician
 * variance at the block's signal (Koay and Basser's fixed point, by the table's moments); the lower half of the blocks by structure.
 */
export function ricianSigma(grid: Grid): number {
  return sigmaOf(blocksOf(grid));
}

function sigmaOf(found: readonly Block[]): number {
  if (found.length < 16) return 0;
  // Tissue: blocks above three times the median deviation of all; air alone has its mean near 1.25 sigma.
  const rough = median(found.map(({ deviation }) => deviation));
  const tissue = found.filter(({ mean }) => mean > 4 * rough);
  const candidates = tissue.length >= 16 ? tissue : found;
  const quiet = candidates.toSorted((a, b) => a.structure - b.structure).slice(0, Math.max(16, candidates.length >> 2));
  return median(quiet.map(({ deviation, mean }) => correctedSigma(deviation, mean)));
}

interface Block {
  /** Place of its middle, -1 to 1. */
  readonly x: number;
  readonly y: number;
  readonly structure: number;
  readonly deviation: number;
  readonly mean: number;
}

/** The half with the least structure in each part of the plane, so that no part goes without. */
function quietBlocks(blocks: readonly Block[]): Block[] {
  const parts = Map.groupBy(blocks, ({ x, y }) => 6 * Math.floor(3 * (y + 1)) + Math.floor(3 * (x + 1)));
  return [...parts.values()].flatMap((part) =>
    part.sort((a, b) => a.structure - b.structure).slice(0, Math.ceil(part.length / 2)),
  );
}

function blocksOf({ values, size: [nx, ny, nz] }: Grid): Block[] {
  const found: Block[] = [];
  const step = Math.max(1, Math.floor(nz / 24));
  for (let k = step >> 1; k < nz; k += step)
    for (let y = 0; y + BLOCK <= ny; y += BLOCK)
      for (let x = 0; x + BLOCK <= nx; x += BLOCK) {
        const block = readBlock(values, (k * ny + y) * nx + x, nx);
        const place = { x: (2 * (x + BLOCK / 2)) / nx - 1, y: (2 * (y + BLOCK / 2)) / ny - 1 };
        if (block !== undefined) found.push({ ...place, ...block });
      }
  return found;
}

function readBlock(
  values: Float32Array,
  start: number,
  columns: number,
): { structure: number; deviation: number; mean: number } | undefined {
  const diagonal: number[] = [];
  const means: number[] = [];
  for (let y = 0; y < BLOCK; y += 2)
    for (let x = 0; x < BLOCK; x += 2) {
      const at = start + y * columns + x;
      const [a, b, c, d] = [values[at]!, values[at + 1]!, values[at + columns]!, values[at + columns + 1]!];
      diagonal.push((a - b - c + d) / 2);
      means.push((a + b + c + d) / 4);
    }
  const deviation = Math.sqrt(diagonal.reduce((sum, v) => sum + v * v, 0) / diagonal.length);
  if (!(deviation > 0)) return undefined;
  const mean = means.reduce((sum, v) => sum + v, 0) / means.length;
  const spread = Math.sqrt(means.reduce((sum, v) => sum + (v - mean) ** 2, 0) / means.length);
  return { structure: spread / (deviation / 2), deviation, mean };
}

/** The sigma at which a magnitude of this mean has this deviation: fixed point on the signal-to-noise ratio. */
function correctedSigma(deviation: number, mean: number): number {
  table ??= makeTable();
  let sigma = deviation;
  for (let turn = 0; turn < 6; turn++) {
    const z = mean / sigma;
    const [low, high] = [table.mean[0]!, table.mean[COUNT - 1]!];
    if (z >= high) return deviation;
    sigma = deviation / table.deviation[z <= low ? 0 : lowerIndex(table.mean, z)]!;
  }
  return sigma;
}

/** The place, before the last, of the highest value that is not above this one; 0 where all are. */
function lowerIndex(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! <= value) low = middle;
    else high = middle;
  }
  return low;
}

function median(values: number[]): number {
  const sorted = values.sort((a, b) => a - b);
  return sorted.length === 0 ? 0 : sorted[sorted.length >> 1]!;
}
