/** What a corrected series is judged by, whatever the model: each figure may be a gate of a card. */
import type { Volume } from '../dicom/volume.ts';
import { boxMean } from './body.ts';

export const FIGURES = {
  /** |mean(result) - mean(source)| in per cent of the source's range from the 1st to the 99th percentile. */
  meanShiftPercent: 'lower',
  /** Structural similarity to the source, 7 x 7 pixels, mean over the slices looked at. */
  ssimToSource: 'higher',
  /** Root mean square of result - source, in per cent of the source's range. */
  changePercent: 'lower',
  /** Correlation of |result - source| with the gradient of the source: structure that was taken away. */
  residualStructure: 'lower',
  /** Sum of gradient magnitudes of the strongest 2 per cent of edges, result / source. */
  edgeRatio: 'higher',
  /** Voxels at the ends of what the stored bits hold, more than before. */
  clippedAdded: 'lower',
} as const;

export type FigureName = keyof typeof FIGURES;

const RADIUS = 3;
/** Slices looked at, evenly through the volume. */
const MOST_SLICES = 16;

export interface Compared {
  readonly source: Volume;
  readonly result: Float32Array;
  readonly stored: { readonly lowest: number; readonly highest: number };
}

export function imageFigures({ source, result, stored }: Compared): Record<string, number> {
  const [low, high] = percentiles(source.voxels, [1, 99]);
  const range = Math.max(high! - low!, 1e-6);
  let sum = 0;
  let squares = 0;
  let clipped = 0;
  for (let i = 0; i < result.length; i++) {
    const difference = result[i]! - source.voxels[i]!;
    sum += difference;
    squares += difference * difference;
    const [before, after] = [source.voxels[i]!, result[i]!].map((v) =>
      v <= stored.lowest || v >= stored.highest ? 1 : 0,
    );
    clipped += after! - before!;
  }
  return {
    meanShiftPercent: (100 * Math.abs(sum / result.length)) / range,
    changePercent: (100 * Math.sqrt(squares / result.length)) / range,
    clippedAdded: clipped,
    ...sliceFigures(source, result, range),
  };
}

function sliceFigures(
  { geometry: { columns, rows, slices }, voxels }: Volume,
  result: Float32Array,
  range: number,
): { ssimToSource: number; residualStructure: number; edgeRatio: number } {
  const pixels = columns * rows;
  const step = Math.max(1, Math.floor(slices / MOST_SLICES));
  let similarity = 0;
  let looked = 0;
  const pearson = { n: 0, a: 0, b: 0, aa: 0, bb: 0, ab: 0 };
  const edges = { source: 0, result: 0 };
  for (let k = step >> 1; k < slices; k += step) {
    const [a, b] = [voxels, result].map((all) => all.subarray(k * pixels, (k + 1) * pixels)) as [
      Float32Array,
      Float32Array,
    ];
    similarity += meanSimilarity(a, b, columns, rows, range);
    looked++;
    addGradients(a, b, columns, rows, pearson, edges);
  }
  const spread = Math.sqrt((pearson.n * pearson.aa - pearson.a ** 2) * (pearson.n * pearson.bb - pearson.b ** 2));
  return {
    ssimToSource: looked === 0 ? 1 : similarity / looked,
    residualStructure: spread > 0 ? (pearson.n * pearson.ab - pearson.a * pearson.b) / spread : 0,
    edgeRatio: edges.source > 0 ? edges.result / edges.source : 1,
  };
}

function meanSimilarity(a: Float32Array, b: Float32Array, columns: number, rows: number, range: number): number {
  const [c1, c2] = [(0.01 * range) ** 2, (0.03 * range) ** 2];
  const mean = (values: Float64Array | Float32Array): Float64Array => {
    const out = new Float64Array(a.length);
    boxMean(values, columns, rows, RADIUS, out);
    return out;
  };
  const product = (p: Float32Array, q: Float32Array): Float64Array => Float64Array.from(p, (value, i) => value * q[i]!);
  const [x, y, xx, yy, xy] = [mean(a), mean(b), mean(product(a, a)), mean(product(b, b)), mean(product(a, b))];
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const vx = Math.max(0, xx[i]! - x[i]! ** 2);
    const vy = Math.max(0, yy[i]! - y[i]! ** 2);
    sum +=
      ((2 * x[i]! * y[i]! + c1) * (2 * (xy[i]! - x[i]! * y[i]!) + c2)) /
      ((x[i]! ** 2 + y[i]! ** 2 + c1) * (vx + vy + c2));
  }
  return sum / a.length;
}

function addGradients(
  a: Float32Array,
  b: Float32Array,
  columns: number,
  rows: number,
  pearson: { n: number; a: number; b: number; aa: number; bb: number; ab: number },
  edges: { source: number; result: number },
): void {
  const magnitudes = new Float32Array(a.length);
  const gradient = (v: Float32Array, i: number): number =>
    Math.hypot(v[i + 1]! - v[i - 1]!, v[i + columns]! - v[i - columns]!) / 2;
  for (let row = 1; row < rows - 1; row++) {
    for (let i = row * columns + 1; i < (row + 1) * columns - 1; i++) {
      const steep = gradient(a, i);
      const change = Math.abs(b[i]! - a[i]!);
      magnitudes[i] = steep;
      pearson.n++;
      pearson.a += change;
      pearson.b += steep;
      pearson.aa += change * change;
      pearson.bb += steep * steep;
      pearson.ab += change * steep;
    }
  }
  const [strong] = percentiles(magnitudes, [98]);
  for (let row = 1; row < rows - 1; row++) {
    for (let i = row * columns + 1; i < (row + 1) * columns - 1; i++) {
      if (magnitudes[i]! < strong! || magnitudes[i] === 0) continue;
      edges.source += magnitudes[i]!;
      edges.result += gradient(b, i);
    }
  }
}

/** Of at most about 100 000 values, taken evenly. */
export function percentiles(values: Float32Array, wanted: readonly number[]): number[] {
  const step = Math.max(1, Math.floor(values.length / 100_000));
  const taken = new Float32Array(Math.ceil(values.length / step));
  for (let i = 0; i < taken.length; i++) taken[i] = values[i * step]!;
  taken.sort();
  return wanted.map((percent) => taken[Math.min(taken.length - 1, Math.floor((percent / 100) * taken.length))] ?? 0);
}
