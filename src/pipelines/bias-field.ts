/**
 * Intensity inhomogeneity of MR, the way of N3 and N4 (Sled 1998, Tustison 2010): the histogram of the logarithm is sharpened by
 * deconvolution, what a voxel then lacks is fitted by a smooth B-spline field, again and again on finer lattices. The model's
 * graph makes the fit (Lee 1997, multilevel B-spline approximation); everything happens on a grid of about a quarter.
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Session, Tensor } from './session.ts';
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
  const mask = foreground(small.values);
  const share = mask.reduce((sum, value) => sum + value, 0) / mask.length;
  if (share < LEAST_MASK)
    throw new Refusal(
      'PipelineRefused',
      `the body fills ${(100 * share).toFixed(1)} % of the volume; at least 10 % are needed`,
    );
  const { field, unsettledPercent } = await estimate(session, small, mask, settings, progress);
  centre(field, mask);
  const figures = { ...fieldFigures(small.values, field, mask), unsettledPercent };
  return { values: multiplied(grid, { ...small, values: field.map((value) => Math.exp(-value)) }), figures };
}

function fieldFigures(
  values: Float32Array,
  field: Float32Array,
  mask: Float32Array,
): { shadingRatio: number; entropyChange: number } {
  const within = field.filter((_, i) => mask[i] === 1).sort();
  const percentile = (share: number): number => within[Math.round(share * (within.length - 1))]!;
  const logs = values.map((value) => (value > 0 ? Math.log(value) : 0));
  const after = logs.map((value, i) => value - field[i]!);
  return {
    shadingRatio: Math.exp(percentile(0.99) - percentile(0.01)),
    entropyChange: entropy(after, mask) - entropy(logs, mask),
  };
}

const ENTROPY_BIN = 0.02;

/** Of the values where the mask is 1, in nats; bins of 2 per cent of intensity. */
function entropy(logs: Float32Array, mask: Float32Array): number {
  const counts = new Map<number, number>();
  let total = 0;
  for (let i = 0; i < logs.length; i++) {
    if (mask[i] !== 1) continue;
    const bin = Math.floor(logs[i]! / ENTROPY_BIN);
    counts.set(bin, (counts.get(bin) ?? 0) + 1);
    total++;
  }
  let sum = 0;
  for (const count of counts.values()) sum -= (count / total) * Math.log(count / total);
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

/** Otsu's threshold over the values that are not the darkest. */
function foreground(values: Float32Array): Float32Array {
  const sorted = values.slice().sort();
  const high = sorted[Math.floor(0.995 * (sorted.length - 1))]!;
  const low = sorted[0]!;
  if (!(high > low)) throw new Refusal('PipelineRefused', 'the volume shows nothing');
  const counts = new Float64Array(256);
  const bin = (value: number): number => Math.min(255, Math.max(0, Math.floor(((value - low) / (high - low)) * 255)));
  for (const value of values) counts[bin(value)]!++;
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
  return values.map((value) => (value > 0 && bin(value) > 0.5 * at ? 1 : 0));
}

async function estimate(
  session: Session,
  { values, size }: Grid,
  mask: Float32Array,
  settings: Settings,
  progress: (share: number) => void,
): Promise<{ field: Float32Array; unsettledPercent: number }> {
  const log = values.map((value, i) => (mask[i] === 1 ? Math.log(value) : 0));
  const field = new Float32Array(values.length);
  const corrected = log.slice();
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
    let last = 0;
    for (let turn = 0; turn < settings.iterations; turn++) {
      const expected = sharpened(corrected, mask, fwhm);
      for (let i = 0; i < residual.length; i++)
        residual[i] = mask[i] === 1 ? corrected[i]! - expected(corrected[i]!) : 0;
      const { field: step } = await session.run({
        residual: { dims, data: residual },
        weight: { dims, data: mask },
        ...bases,
      });
      if (step === undefined) throw new Error('the graph gave no field');
      let [sum, squares, count] = [0, 0, 0];
      for (let i = 0; i < field.length; i++) {
        const change = settings.stride * step.data[i]!;
        field[i]! += change;
        if (mask[i] !== 1) continue;
        corrected[i] = log[i]! - field[i]!;
        // exp(change) for the small changes that a step is.
        const factor = 1 + change * (1 + change * (1 / 2 + change / 6));
        sum += factor;
        squares += factor * factor;
        count++;
      }
      const mean = sum / count;
      progress((n + (turn + 1) / settings.iterations) / passes.length);
      last = Math.sqrt(Math.max(0, squares / count - mean * mean)) / mean;
      if (last < settings.enough) break;
    }
    unsettledPercent = Math.max(unsettledPercent, 100 * last);
  }
  return { field, unsettledPercent };
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
function sharpened(values: Float32Array, mask: Float32Array, fwhm: number): (value: number) => number {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < values.length; i++) {
    if (mask[i] !== 1) continue;
    if (values[i]! < low) low = values[i]!;
    if (values[i]! > high) high = values[i]!;
  }
  const width = (high - low) / (BINS - 1);
  if (!(width > 0)) return (value) => value;
  const counts = new Float64Array(PADDED);
  const offset = (PADDED - BINS) >> 1;
  for (let i = 0; i < values.length; i++) {
    if (mask[i] !== 1) continue;
    const at = (values[i]! - low) / width;
    const bin = Math.min(BINS - 2, Math.floor(at));
    counts[offset + bin]! += 1 - (at - bin);
    counts[offset + bin + 1]! += at - bin;
  }
  const gaussian = new Float64Array(PADDED);
  const sigma = fwhm / (2 * Math.sqrt(2 * Math.log(2))) / width;
  for (let i = 0; i < PADDED; i++) {
    const distance = Math.min(i, PADDED - i);
    gaussian[i] = Math.exp(-(distance ** 2) / (2 * sigma * sigma)) / (sigma * Math.sqrt(2 * Math.PI));
  }
  const f = transformed(gaussian);
  const sharp = filtered(counts, (k) => f.re[k]! / (f.re[k]! ** 2 + WIENER)).map((value) => Math.max(0, value));
  const blur = (k: number): number => f.re[k]!;
  const weighted = filtered(
    sharp.map((value, i) => value * (low + (i - offset) * width)),
    blur,
  );
  const weight = filtered(sharp, blur);
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

/** A real sequence through a filter that is real and even in frequency. */
function filtered(values: Float64Array, gain: (k: number) => number): Float64Array {
  const { re, im } = transformed(values);
  for (let k = 0; k < PADDED; k++) {
    re[k]! *= gain(k);
    im[k]! *= -gain(k);
  }
  // The inverse is the transform of the conjugate; the result is real.
  fft(re, im);
  return re.map((value) => value / PADDED);
}

function transformed(values: Float64Array): { re: Float64Array; im: Float64Array } {
  const [re, im] = [values.slice(), new Float64Array(values.length)];
  fft(re, im);
  return { re, im };
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

/** The mean of the body stays what it was, as far as a factor can be known. */
function centre(field: Float32Array, mask: Float32Array): void {
  let [sum, count] = [0, 0];
  for (let i = 0; i < field.length; i++) {
    if (mask[i] !== 1) continue;
    sum += field[i]!;
    count++;
  }
  for (let i = 0; i < field.length; i++) field[i]! -= sum / count;
}
