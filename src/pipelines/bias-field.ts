/**
 * Intensity inhomogeneity of MR, the way of N3 and N4 (Sled 1998, Tustison 2010): the histogram of the logarithm is sharpened by
 * deconvolution, what a voxel then lacks is fitted by a smooth B-spline field, again and again on finer lattices. The model's
 * graph makes the fit (Lee 1997, multilevel B-spline approximation); everything happens on a grid of about a quarter.
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Session, Tensor } from './session.ts';
import { percentiles } from './zoo-figures.ts';
import { toGrid, type Grid } from './zoo-steps.ts';

interface Settings {
  /** Spans of the coarsest lattice; doubled at each level. */
  readonly spans: number;
  readonly levels: number;
  readonly iterations: number;
  /** Of the Gaussian that the field blurs the histogram with, natural logarithm. */
  readonly fwhm: number;
  /** A wider one for a first pass over the coarsest lattices, which brings strong shading within the narrow one's reach; 0: none. */
  readonly wideFwhm: number;
  readonly wideLevels: number;
  /** Largest side of the grid that is worked on. */
  readonly side: number;
  /** Smallest coefficient of variation of a step's change that is worth another step. */
  readonly enough: number;
  /** Factor on a step's field: above 1 fewer steps are needed. */
  readonly stride: number;
  /** Share of the step before that is taken again: on one lattice the steps shrink slowly and point the same way. */
  readonly momentum: number;
}

const BINS = 200;
const PADDED = 512;
const WIENER = 0.01;
const LEAST_MASK = 0.1;

/** What the field itself says of whether it is a coil's, beside the figures that every correction has. */
export const BIAS_FIGURES = {
  /** The field's 99th over its 1st percentile within the body. */
  shadingRatio: 'lower',
  /** Entropy of the logarithms within the body, after less before: a coil's shading blurs the tissues' peaks, its removal sharpens them. */
  entropyChange: 'lower',
  /** Coefficient of variation of the last step at the lattice that was left least settled: a field that was still growing is not all of it. */
  unsettledPercent: 'lower',
} as const;

export interface BiasResult {
  readonly values: Float32Array;
  readonly figures: Readonly<Record<keyof typeof BIAS_FIGURES, number>>;
}

export async function biasField(
  session: Session | undefined,
  grid: Grid,
  given: Readonly<Record<string, number | string | boolean>>,
  progress: (share: number) => void,
): Promise<BiasResult> {
  if (session === undefined) throw new Error('the bias field has no graph');
  const settings = settingsOf(given);
  const small = shrunk(grid, settings.side);
  const body = foreground(small.values);
  const share = body.inside.length / body.mask.length;
  if (share < LEAST_MASK)
    throw new Refusal(
      'PipelineRefused',
      `the body fills ${(100 * share).toFixed(1)} % of the volume; at least 10 % are needed`,
    );
  const { field, before, after, unsettledPercent } = await estimate(session, small, body, settings, progress);
  const [low, high] = percentiles(picked(field, body.inside), [1, 99]);
  const figures = {
    shadingRatio: Math.exp(high! - low!),
    entropyChange: entropy(after) - entropy(before),
    unsettledPercent,
  };
  return { values: multiplied(grid, { ...small, values: gainOf(field, body) }), figures };
}

function picked(values: Float32Array, at: Int32Array): Float32Array {
  const out = new Float32Array(at.length);
  for (let n = 0; n < at.length; n++) out[n] = values[at[n]!]!;
  return out;
}

const ENTROPY_BIN = 0.02;

/** In nats; bins of 2 per cent of intensity. */
function entropy(logs: Float32Array): number {
  let [least, most] = [Infinity, -Infinity];
  for (let i = 0; i < logs.length; i++) {
    least = Math.min(least, logs[i]!);
    most = Math.max(most, logs[i]!);
  }
  const counts = new Float64Array(Math.floor((most - least) / ENTROPY_BIN) + 1);
  for (let i = 0; i < logs.length; i++) counts[Math.floor((logs[i]! - least) / ENTROPY_BIN)]!++;
  let sum = 0;
  for (const count of counts) if (count > 0) sum -= (count / logs.length) * Math.log(count / logs.length);
  return sum;
}

/** Every voxel times the gain at its place, linear between the centres of the coarse grid: the one pass over all voxels. */
function multiplied({ values, size: [nx, ny, nz], spacingMm }: Grid, gain: Grid): Float32Array {
  const out = new Float32Array(values.length);
  const [gx, gy] = gain.size;
  const along = toGrid(gain, [gx, gy, nz], [gain.spacingMm[0], gain.spacingMm[1], spacingMm[2]]).values;
  const [across, down] = [between(gx, nx), between(gy, ny)];
  const line = new Float64Array(gx);
  for (let k = 0, at = 0; k < nz; k++)
    for (let j = 0; j < ny; j++) {
      const [above, below] = [(k * gy + down.first[j]!) * gx, (k * gy + down.second[j]!) * gx];
      const share = down.share[j]!;
      for (let i = 0; i < gx; i++) line[i] = (1 - share) * along[above + i]! + share * along[below + i]!;
      for (let i = 0; i < nx; i++, at++) {
        const from = line[across.first[i]!]!;
        out[at] = values[at]! * (from + across.share[i]! * (line[across.second[i]!]! - from));
      }
    }
  return out;
}

/** For each of `many` places over an axis the two of `few` centres it lies between, and how near to the second. */
function between(few: number, many: number): { first: Int32Array; second: Int32Array; share: Float64Array } {
  const centre = Float64Array.from({ length: many }, (_, n) =>
    Math.min(few - 1, Math.max(0, ((n + 0.5) * few) / many - 0.5)),
  );
  const first = Int32Array.from(centre);
  return {
    first,
    second: first.map((at) => Math.min(few - 1, at + 1)),
    share: centre.map((place, n) => place - first[n]!),
  };
}

function settingsOf(given: Readonly<Record<string, number | string | boolean>>): Settings {
  const number = (key: string, otherwise: number): number => {
    const value = given[key];
    return typeof value === 'number' ? value : otherwise;
  };
  return {
    spans: number('spans', 1),
    levels: number('levels', 4),
    iterations: number('iterations', 20),
    fwhm: number('fwhm', 0.15),
    wideFwhm: number('wideFwhm', 0),
    wideLevels: number('wideLevels', 2),
    side: number('side', 64),
    enough: number('enough', 0.001),
    stride: number('stride', 1),
    momentum: number('momentum', 0),
  };
}

/** About cubic voxels, as small as the longest side allows: each the mean of the voxels whose centres lie in it, every voxel read once. */
function shrunk({ values, size, spacingMm }: Grid, side: number): Grid {
  const extent = size.map((n, a) => n * spacingMm[a as 0]);
  const spacing = Math.max(...extent) / side;
  const [gx, gy, gz] = size.map((n, a) => Math.max(1, Math.min(n, Math.round(extent[a]! / spacing)))) as [
    number,
    number,
    number,
  ];
  const [nx, ny, nz] = size;
  const binsOf = (many: number, few: number): Int32Array =>
    Int32Array.from({ length: many }, (_, n) => Math.floor((n * few) / many));
  const [bx, by, bz] = [binsOf(nx, gx), binsOf(ny, gy), binsOf(nz, gz)];
  const sums = new Float64Array(gx * gy * gz);
  for (let k = 0, at = 0; k < nz; k++)
    for (let j = 0; j < ny; j++) {
      const line = (bz[k]! * gy + by[j]!) * gx;
      for (let i = 0; i < nx; i++, at++) sums[line + bx[i]!]! += values[at]!;
    }
  const counts = [bx, by, bz].map((bins) => {
    const count = new Float64Array(bins[bins.length - 1]! + 1);
    for (const bin of bins) count[bin]!++;
    return count;
  });
  const means = Float32Array.from(
    sums,
    (sum, at) =>
      sum / (counts[0]![at % gx]! * counts[1]![Math.floor(at / gx) % gy]! * counts[2]![Math.floor(at / gx / gy)]!),
  );
  return { values: means, size: [gx, gy, gz], spacingMm: [extent[0]! / gx, extent[1]! / gy, extent[2]! / gz] };
}

/** Voxels of the coarse grid that show the body: 1 where they do, and their indices. */
interface Body {
  readonly mask: Float32Array;
  readonly inside: Int32Array;
}

/** Otsu's threshold over the values that are not the darkest. */
function foreground(values: Float32Array): Body {
  const [low, high] = percentiles(values, [0, 99.5]) as [number, number];
  if (!(high > low)) throw new Refusal('PipelineRefused', 'the volume shows nothing');
  const counts = new Float64Array(256);
  const bins = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) {
    bins[i] = Math.min(255, Math.max(0, ((values[i]! - low) / (high - low)) * 255));
    counts[bins[i]!]!++;
  }
  let [best, at] = [-1, 0];
  const total = values.length;
  const whole = counts.reduce((sum, count, i) => sum + count * i, 0);
  let [below, sum] = [0, 0];
  for (let i = 0; i < 255; i++) {
    below += counts[i]!;
    sum += counts[i]! * i;
    if (below === 0 || below === total) continue;
    const between = below * (total - below) * (sum / below - (whole - sum) / (total - below)) ** 2;
    if (between > best) [best, at] = [between, i];
  }
  // Half of Otsu's threshold: dark tissue in a dark corner of the coil belongs to the body.
  const mask = new Float32Array(values.length);
  const inside = new Int32Array(values.length);
  let count = 0;
  for (let i = 0; i < values.length; i++) {
    if (!(values[i]! > 0 && bins[i]! > 0.5 * at)) continue;
    mask[i] = 1;
    inside[count++] = i;
  }
  return { mask, inside: inside.slice(0, count) };
}

interface Estimate {
  readonly field: Float32Array;
  /** Logarithms of the body's voxels, as they were and without the field. */
  readonly before: Float32Array;
  readonly after: Float32Array;
  readonly unsettledPercent: number;
}

async function estimate(
  session: Session,
  { values, size }: Grid,
  { mask, inside }: Body,
  settings: Settings,
  progress: (share: number) => void,
): Promise<Estimate> {
  const before = picked(values, inside);
  for (let n = 0; n < before.length; n++) before[n] = Math.log(before[n]!);
  const after = before.slice();
  const field = new Float32Array(values.length);
  const residual = new Float32Array(values.length);
  const dims = [size[2], size[1], size[0]];
  const passes = [
    ...(settings.wideFwhm > 0 ? levelsOf(settings.wideLevels, settings.wideFwhm) : []),
    ...levelsOf(settings.levels, settings.fwhm),
  ];
  let unsettledPercent = 0;
  for (const [n, { level, fwhm }] of passes.entries()) {
    const spans = settings.spans * 2 ** level;
    const bases = { bz: basis(size[2], spans), by: basis(size[1], spans), bx: basis(size[0], spans) };
    const change = new Float32Array(values.length);
    let last = 0;
    for (let turn = 0; turn < settings.iterations; turn++) {
      const expected = sharpened(after, fwhm);
      for (let m = 0; m < inside.length; m++) residual[inside[m]!] = after[m]! - expected(after[m]!);
      const { field: step } = await session.run({
        residual: { dims, data: residual },
        weight: { dims, data: mask },
        ...bases,
      });
      if (step === undefined) throw new Error('the graph gave no field');
      for (let i = 0; i < field.length; i++) {
        change[i] = settings.stride * step.data[i]! + settings.momentum * change[i]!;
        field[i]! += change[i]!;
      }
      for (let m = 0; m < inside.length; m++) after[m] = before[m]! - field[inside[m]!]!;
      progress((n + (turn + 1) / settings.iterations) / passes.length);
      last = variationOfGain(change, inside);
      if (last < settings.enough) break;
    }
    unsettledPercent = Math.max(unsettledPercent, 100 * last);
  }
  return { field, before, after, unsettledPercent };
}

/** Coefficient of variation of exp(change) within the body, for the small changes that a step is. */
function variationOfGain(change: Float32Array, inside: Int32Array): number {
  let [sum, squares] = [0, 0];
  for (let n = 0; n < inside.length; n++) {
    const by = change[inside[n]!]!;
    const gain = 1 + by * (1 + by * (1 / 2 + by / 6));
    sum += gain;
    squares += gain * gain;
  }
  const mean = sum / inside.length;
  return Math.sqrt(Math.max(0, squares / inside.length - mean * mean)) / mean;
}

/** From the coarsest lattice on. */
function levelsOf(count: number, fwhm: number): { level: number; fwhm: number }[] {
  return Array.from({ length: count }, (_, level) => ({ level, fwhm }));
}

/** Cubic B-splines over `spans` equal spans of an axis: [spans + 3, length]. */
function basis(length: number, spans: number): Tensor {
  const rows = spans + 3;
  const data = new Float32Array(rows * length);
  for (let n = 0; n < length; n++) {
    const at = length === 1 ? spans / 2 : Math.min(spans - 1e-6, (n / (length - 1)) * spans);
    const first = Math.floor(at);
    const t = at - first;
    const weights = [
      (1 - t) ** 3 / 6,
      (3 * t ** 3 - 6 * t * t + 4) / 6,
      (-3 * t ** 3 + 3 * t * t + 3 * t + 1) / 6,
      t ** 3 / 6,
    ];
    weights.forEach((weight, i) => (data[(first + i) * length + n] = weight));
  }
  return { dims: [rows, length], data };
}

/** The value each logarithm is expected to have without the blur of the field: E(u | v) of N3. */
function sharpened(logs: Float32Array, fwhm: number): (value: number) => number {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < logs.length; i++) {
    low = Math.min(low, logs[i]!);
    high = Math.max(high, logs[i]!);
  }
  const width = (high - low) / (BINS - 1);
  if (!(width > 0)) return (value) => value;
  const sharp = new Float64Array(PADDED);
  const offset = (PADDED - BINS) >> 1;
  for (let i = 0; i < logs.length; i++) {
    const at = (logs[i]! - low) / width;
    const bin = Math.min(BINS - 2, Math.floor(at));
    sharp[offset + bin]! += 1 - (at - bin);
    sharp[offset + bin + 1]! += at - bin;
  }
  const sigma = fwhm / (2 * Math.sqrt(2 * Math.log(2))) / width;
  const blur = Float64Array.from({ length: PADDED }, (_, k) =>
    Math.exp(-2 * ((Math.PI * sigma * Math.min(k, PADDED - k)) / PADDED) ** 2),
  );
  filter(
    sharp,
    new Float64Array(PADDED),
    blur.map((gain) => gain / (gain * gain + WIENER)),
  );
  const weight = sharp.map((value) => Math.max(0, value));
  const weighted = weight.map((value, i) => value * (low + (i - offset) * width));
  filter(weighted, weight, blur);
  const expected = new Float64Array(BINS);
  for (let i = 0; i < BINS; i++) {
    const total = weight[offset + i]!;
    expected[i] = total > 1e-9 ? weighted[offset + i]! / total : low + i * width;
  }
  return (value) => {
    const at = Math.min(BINS - 1.000001, Math.max(0, (value - low) / width));
    const bin = Math.floor(at);
    return expected[bin]! + (at - bin) * (expected[bin + 1]! - expected[bin]!);
  };
}

/** Two real sequences in place through a filter that is real and even in frequency: as one complex sequence they stay apart. */
function filter(re: Float64Array, im: Float64Array, gain: Float64Array): void {
  fft(re, im);
  for (let k = 0; k < PADDED; k++) {
    const scaled = gain[k]! / PADDED;
    re[k]! *= scaled;
    im[k]! *= scaled;
  }
  // With its parts exchanged the transform is its own inverse.
  fft(im, re);
}

/** Of the angles 2 pi n / PADDED; sin(-a) = cos(a + pi / 2). */
const COSINES = Float64Array.from({ length: PADDED }, (_, n) => Math.cos((2 * Math.PI * n) / PADDED));

/** In place, length PADDED. */
function fft(re: Float64Array, im: Float64Array): void {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j]!, re[i]!];
      [im[i], im[j]] = [im[j]!, im[i]!];
    }
  }
  for (let length = 2; length <= n; length <<= 1) {
    const half = length >> 1;
    for (let k = 0; k < half; k++) {
      const cosine = COSINES[(k * PADDED) / length]!;
      const sine = COSINES[(k * PADDED) / length + PADDED / 4]!;
      for (let a = k; a < n; a += length) {
        const b = a + half;
        const [x, y] = [re[b]! * cosine - im[b]! * sine, re[b]! * sine + im[b]! * cosine];
        [re[b], im[b]] = [re[a]! - x, im[a]! - y];
        [re[a], im[a]] = [re[a]! + x, im[a]! + y];
      }
    }
  }
}

/** exp(-field); the mean of the field within the body is taken out first: its brightness stays, as far as a factor can be known. */
function gainOf(field: Float32Array, { inside }: Body): Float32Array {
  let sum = 0;
  for (let n = 0; n < inside.length; n++) sum += field[inside[n]!]!;
  const mean = sum / inside.length;
  const gain = new Float32Array(field.length);
  for (let i = 0; i < field.length; i++) gain[i] = Math.exp(mean - field[i]!);
  return gain;
}
