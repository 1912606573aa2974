/**
 * How far a series lies from what a model was made on: features of intensity, noise, gradient and spacing, each against its fence
 * (Q1 - 1.5 IQR to Q3 + 1.5 IQR, Tukey 1977), all together against an isolation forest (Liu 2008). Both were fitted by the model's recipe
 * and lie beside it as JSON; asked before the run, so that what is foreign is refused before anything is made of it.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Volume } from '../dicom/volume.ts';
import { GatesRefusal, judge, sentenceOf, type Gate } from './gates.ts';
import { checkTree, isolationOf, type Forest } from './isolation-forest.ts';
import { readInside, refuseModel } from './manifest.ts';
import { percentiles } from './zoo-figures.ts';

/** The model's familiar.json. */
export interface Familiarity extends Forest {
  readonly features: readonly { readonly name: FeatureName; readonly fence: readonly [number, number] }[];
  readonly limits: Readonly<Record<keyof FamiliarityFigures, Gate>>;
}

/** In the card: the file in the model's folder and what it must hash to. */
export interface FamiliarityFile {
  readonly file: string;
  readonly sha256: string;
}

export interface FamiliarityFigures {
  /** Features outside their fence. */
  readonly unfamiliarFeatures: number;
  /** How far outside its fence the worst feature lies, in widths of that fence; 0 when none does. */
  readonly farthestFeature: number;
  /** Anomaly score of the forest, 0 to 1: about 0.4 for the familiar, above 0.6 for what is isolated at once. */
  readonly isolation: number;
}

/** @throws Refusal BadConfiguration when the file is not what the card says */
export function loadFamiliarity(folder: string, { file, sha256 }: FamiliarityFile): Familiarity {
  const bytes = readInside(folder, join(folder, file));
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== sha256) refuseModel(folder, `${file} has sha256 ${found}; the card says ${sha256}`);
  try {
    return checked(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    return refuseModel(folder, `${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** @throws Error when it is no forest over features that exist */
function checked(value: unknown): Familiarity {
  const { features, trees, samples, limits } = value as Familiarity;
  if (!(samples >= 2) || !Array.isArray(trees) || trees.length === 0) throw new Error('samples and trees are expected');
  for (const { name, fence } of features)
    if (!(name in FEATURES) || !(fence[0] <= fence[1])) throw new Error(`${String(name)} is no feature with a fence`);
  for (const tree of trees) checkTree(tree, features.length);
  for (const { max = Number.NaN, hard } of [limits.unfamiliarFeatures, limits.farthestFeature, limits.isolation])
    if (!(max <= hard)) throw new Error('limits need max and hard, in this order');
  return { features, trees, samples, limits };
}

/** How familiar the series is. @throws GatesRefusal PipelineRefused with the figures and what is foreign about it when it is not */
export function judgeFamiliar(familiarity: Familiarity, volume: Volume): FamiliarityFigures {
  const { features } = familiarity;
  const values = featureValues(
    volume,
    features.map(({ name }) => name),
  );
  const figures = figuresOf(familiarity, values);
  try {
    judge(limitsOf(familiarity), { ...figures });
  } catch (error) {
    if (!(error instanceof GatesRefusal)) throw error;
    const told = foreignIn(features, values);
    const first = error.findings.findIndex(({ outcome }) => outcome === 'refuse');
    const findings = error.findings.map((one, n) =>
      n === first ? { ...one, expected: `${one.expected}${told}` } : one,
    );
    const refused = findings.filter(({ outcome }) => outcome === 'refuse');
    throw new GatesRefusal(refused.map(sentenceOf).join('; '), findings);
  }
  return figures;
}

const MOST_TOLD = 3;

/** The features that lie farthest outside, with what the model was made on. */
function foreignIn(features: Familiarity['features'], values: readonly number[]): string {
  const outside = features
    .map(({ name, fence }, i) => ({ name, fence, value: values[i]!, share: distanceFrom(name, fence, values[i]!) }))
    .filter(({ share }) => share > 0)
    .toSorted((a, b) => b.share - a.share)
    .slice(0, MOST_TOLD);
  const short = (value: number): string => String(Number(value.toPrecision(3)));
  return outside
    .map(
      ({ name, fence, value }) =>
        `; ${name} is ${short(value)}, the model knows ${short(fence[0])} to ${short(fence[1])}`,
    )
    .join('');
}

export function limitsOf({ limits }: Familiarity): Record<string, Gate> {
  return { ...limits };
}

export function figuresOf(
  { features, ...forest }: Forest & Pick<Familiarity, 'features'>,
  values: readonly number[],
): FamiliarityFigures {
  const outside = features.map(({ name, fence }, i) => distanceFrom(name, fence, values[i]!));
  return {
    unfamiliarFeatures: outside.filter((share) => share > 0).length,
    farthestFeature: Math.max(...outside),
    isolation: isolationOf(forest, values),
  };
}

/** A fence may have no width: a recipe draws CT with square pixels. Pixels a fifth longer than wide are then one width aside. */
const LEAST_WIDTH: Partial<Record<FeatureName, number>> = { pixelAspect: Math.log2(1.2) };

/** How far outside the fence, in its widths; 0 within. */
function distanceFrom(name: FeatureName, [low, high]: readonly [number, number], value: number): number {
  return Math.max(0, low - value, value - high) / Math.max(LEAST_WIDTH[name] ?? 1e-9, high - low);
}

/** Slices looked at, evenly through the volume, and pixels of each side of them. */
const SLICES = 6;
const SIDE = 96;

interface Seen {
  /** Pixels of the longer side. */
  readonly matrix: number;
  readonly spacingMm: readonly [number, number, number];
  /** Percentiles 1, 10, 50, 90, 99 of the values looked at. */
  readonly levels: readonly number[];
  /** levels[4] - levels[0], at least 1e-6. */
  readonly range: number;
  readonly values: Float32Array;
  readonly border: number;
  readonly noise: readonly [number, number];
  readonly gradient: { readonly mean: number; readonly kurtosis: number };
}

/** Each feature is a number without a unit but the levels in HU, which go with CT alone. */
const FEATURES = {
  lowHU: ({ levels }: Seen) => levels[0]!,
  middleHU: ({ levels }: Seen) => levels[2]!,
  highHU: ({ levels }: Seen) => levels[4]!,
  borderHU: ({ border }: Seen) => border,
  gasShare: ({ values }: Seen) => shareBelow(values, -800),
  denseShare: ({ values }: Seen) => 1 - shareBelow(values, 600),
  middleShare: ({ levels, range }: Seen) => (levels[2]! - levels[0]!) / range,
  upperShare: ({ levels, range }: Seen) => (levels[3]! - levels[0]!) / range,
  lowerShare: ({ levels, range }: Seen) => (levels[1]! - levels[0]!) / range,
  darkShare: ({ values, levels, range }: Seen) => shareBelow(values, levels[0]! + 0.1 * range),
  brightShare: ({ values, levels, range }: Seen) => 1 - shareBelow(values, levels[0]! + 0.7 * range),
  borderShare: ({ border, levels, range }: Seen) => (border - levels[0]!) / range,
  entropy: ({ values, levels, range }: Seen) => entropyOf(values, levels[0]!, range),
  noise: ({ noise, range }: Seen) => Math.log10(Math.max(1e-6, noise[0] / range)),
  noiseColour: ({ noise }: Seen) => Math.log2(Math.max(1e-3, noise[1]) / Math.max(1e-3, noise[0])),
  gradient: ({ gradient, range }: Seen) => Math.log10(Math.max(1e-6, gradient.mean / range)),
  gradientKurtosis: ({ gradient }: Seen) => Math.log10(gradient.kurtosis),
  matrix: ({ matrix }: Seen) => Math.log2(matrix),
  pixelMm: ({ spacingMm: [x] }: Seen) => Math.log2(x),
  pixelAspect: ({ spacingMm: [x, y] }: Seen) => Math.log2(x / y),
  sliceMm: ({ spacingMm: [, , z] }: Seen) => Math.log2(z),
} as const;

export type FeatureName = keyof typeof FEATURES;

export function featureValues(volume: Volume, names: readonly FeatureName[]): number[] {
  const seen = look(volume);
  return names.map((name) => FEATURES[name](seen));
}

function look({ geometry, voxels, modality }: Volume): Seen {
  const { columns, rows, slices, spacingMm } = geometry;
  const [stepX, stepY] = [Math.ceil(columns / SIDE), Math.ceil(rows / SIDE)];
  const [width, height] = [Math.floor(columns / stepX), Math.floor(rows / stepY)];
  const count = Math.min(SLICES, slices);
  const values = new Float32Array(width * height * count);
  const noise: [number[], number[]] = [[], []];
  const border = { sum: 0, count: 0 };
  for (let n = 0; n < count; n++) {
    const k = Math.floor(((n + 0.5) * slices) / count);
    const slice = voxels.subarray(k * columns * rows, (k + 1) * columns * rows);
    const part = values.subarray(n * width * height, (n + 1) * width * height);
    thin(slice, columns, [stepX, stepY], [width, height], part);
    // What a reconstruction fills up around its circle is no attenuation.
    if (modality === 'CT') for (let i = 0; i < part.length; i++) part[i] = Math.max(-1024, part[i]!);
    addDetail(slice, columns, rows, noise);
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        if (x < 2 || y < 2 || x >= width - 2 || y >= height - 2) {
          border.sum += part[y * width + x]!;
          border.count++;
        }
  }
  const levels = percentiles(values, [1, 10, 50, 90, 99]);
  const range = Math.max(levels[4]! - levels[0]!, 1e-6);
  return {
    matrix: Math.max(columns, rows),
    spacingMm,
    levels,
    range,
    values,
    border: border.sum / Math.max(1, border.count),
    noise: [medianOf(noise[0]), medianOf(noise[1])],
    gradient: gradientOf(values, width, height),
  };
}

/** Means of step x step pixels. */
function thin(
  slice: Float32Array,
  columns: number,
  [stepX, stepY]: readonly [number, number],
  [width, height]: readonly [number, number],
  out: Float32Array,
): void {
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let sum = 0;
      for (let v = 0; v < stepY; v++)
        for (let u = 0; u < stepX; u++) sum += slice[(y * stepY + v) * columns + x * stepX + u]!;
      out[y * width + x] = sum / (stepX * stepY);
    }
}

/** Robust deviation of diagonal detail at two octaves, over a lattice of the slice's own pixels. */
function addDetail(slice: Float32Array, columns: number, rows: number, noise: [number[], number[]]): void {
  const step = 4 * Math.max(1, Math.floor(Math.max(columns, rows) / 512));
  for (let y = 0; y + 4 <= rows; y += step)
    for (let x = 0; x + 4 <= columns; x += step) {
      const at = y * columns + x;
      const block = (i: number): number => slice[i]! + slice[i + 1]! + slice[i + columns]! + slice[i + columns + 1]!;
      noise[0].push(Math.abs(slice[at]! - slice[at + 1]! - slice[at + columns]! + slice[at + columns + 1]!) / 2);
      const low = 2 * columns;
      noise[1].push(Math.abs(block(at) - block(at + 2) - block(at + low) + block(at + low + 2)) / 4);
    }
}

function medianOf(values: number[]): number {
  return (Float64Array.from(values).sort()[values.length >> 1] ?? 0) / 0.6745;
}

function gradientOf(values: Float32Array, width: number, height: number): { mean: number; kurtosis: number } {
  let [count, sum, squares, fourths] = [0, 0, 0, 0];
  const slices = values.length / (width * height);
  for (let k = 0; k < slices; k++)
    for (let y = 1; y < height; y++)
      for (let x = 1; x < width; x++) {
        const i = (k * height + y) * width + x;
        const square = (values[i]! - values[i - 1]!) ** 2 + (values[i]! - values[i - width]!) ** 2;
        count++;
        sum += Math.sqrt(square);
        squares += square;
        fourths += square * square;
      }
  return { mean: sum / Math.max(1, count), kurtosis: squares > 0 ? (fourths * count) / squares ** 2 : 1 };
}

function shareBelow(values: Float32Array, limit: number): number {
  let below = 0;
  for (const value of values) if (value < limit) below++;
  return below / values.length;
}

/** Bits of a histogram of 64 bins between the outer percentiles. */
function entropyOf(values: Float32Array, low: number, range: number): number {
  const counts = new Float64Array(64);
  for (const value of values) counts[Math.min(63, Math.max(0, Math.floor(((value - low) / range) * 64)))]!++;
  return counts.reduce((sum, count) => {
    const share = count / values.length;
    return share > 0 ? sum - share * Math.log2(share) : sum;
  }, 0);
}
