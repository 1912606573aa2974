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
const MOST_SLICES = 8;

export interface Compared {
  readonly source: Volume;
  readonly result: Float32Array;
  readonly stored: { readonly lowest: number; readonly highest: number };
}

export function imageFigures({ source, result, stored }: Compared): Record<string, number> {
  const [low, high] = percentiles(source.voxels, [1, 99]);
  const range = Math.max(high! - low!, 1e-6);
  const { voxels } = source;
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < result.length; i++) {
    const difference = result[i]! - voxels[i]!;
    sum += difference;
    squares += difference * difference;
  }
  return {
    meanShiftPercent: (100 * Math.abs(sum / result.length)) / range,
    changePercent: (100 * Math.sqrt(squares / result.length)) / range,
    clippedAdded: clippedVoxels(result, stored) - clippedVoxels(voxels, stored),
    ...sliceFigures(source, result, range),
  };
}

/** Voxels at the ends of what the stored bits hold; without a branch per voxel. */
export function clippedVoxels(values: Float32Array, { lowest, highest }: Compared['stored']): number {
  let count = 0;
  for (let i = 0; i < values.length; i++) count += Number(values[i]! <= lowest) + Number(values[i]! >= highest);
  return count;
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
  const maps = mapsOf(pixels);
  for (let k = step >> 1; k < slices; k += step) {
    const [a, b] = [voxels, result].map((all) => all.subarray(k * pixels, (k + 1) * pixels)) as [
      Float32Array,
      Float32Array,
    ];
    similarity += meanSimilarity([a, b], [columns, rows], range, maps);
    looked++;
    addGradients([a, b], [columns, rows], maps, pearson, edges);
  }
  const spread = Math.sqrt((pearson.n * pearson.aa - pearson.a ** 2) * (pearson.n * pearson.bb - pearson.b ** 2));
  return {
    ssimToSource: looked === 0 ? 1 : similarity / looked,
    residualStructure: spread > 0 ? (pearson.n * pearson.ab - pearson.a * pearson.b) / spread : 0,
    edgeRatio: edges.source > 0 ? edges.result / edges.source : 1,
  };
}

/** Room for one slice's maps, made once for a volume. */
interface Maps {
  readonly means: readonly [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array];
  readonly product: Float64Array;
  readonly steep: Float32Array;
  readonly steepAfter: Float32Array;
}

function mapsOf(pixels: number): Maps {
  const map = (): Float64Array => new Float64Array(pixels);
  return {
    means: [map(), map(), map(), map(), map()],
    product: map(),
    steep: new Float32Array(pixels),
    steepAfter: new Float32Array(pixels),
  };
}

function meanSimilarity(
  [a, b]: readonly [Float32Array, Float32Array],
  [columns, rows]: readonly [number, number],
  range: number,
  { means: [x, y, xx, yy, xy], product }: Maps,
): number {
  const [c1, c2] = [(0.01 * range) ** 2, (0.03 * range) ** 2];
  const meanOfProduct = (p: Float32Array, q: Float32Array, out: Float64Array): void => {
    for (let i = 0; i < p.length; i++) product[i] = p[i]! * q[i]!;
    boxMean(product, columns, rows, RADIUS, out);
  };
  boxMean(a, columns, rows, RADIUS, x);
  boxMean(b, columns, rows, RADIUS, y);
  meanOfProduct(a, a, xx);
  meanOfProduct(b, b, yy);
  meanOfProduct(a, b, xy);
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const mx = x[i]!;
    const my = y[i]!;
    const vx = Math.max(0, xx[i]! - mx * mx);
    const vy = Math.max(0, yy[i]! - my * my);
    sum += ((2 * mx * my + c1) * (2 * (xy[i]! - mx * my) + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2));
  }
  return sum / a.length;
}

function addGradients(
  [a, b]: readonly [Float32Array, Float32Array],
  [columns, rows]: readonly [number, number],
  { steep, steepAfter }: Maps,
  pearson: { n: number; a: number; b: number; aa: number; bb: number; ab: number },
  edges: { source: number; result: number },
): void {
  gradients(a, columns, rows, steep);
  gradients(b, columns, rows, steepAfter);
  for (let row = 1; row < rows - 1; row++) {
    for (let i = row * columns + 1; i < (row + 1) * columns - 1; i++) {
      const change = Math.abs(b[i]! - a[i]!);
      const slope = steep[i]!;
      pearson.n++;
      pearson.a += change;
      pearson.b += slope;
      pearson.aa += change * change;
      pearson.bb += slope * slope;
      pearson.ab += change * slope;
    }
  }
  const [strong] = percentiles(steep, [98]);
  for (let i = 0; i < steep.length; i++) {
    if (steep[i]! < strong! || steep[i] === 0) continue;
    edges.source += steep[i]!;
    edges.result += steepAfter[i]!;
  }
}

/** Magnitudes of central differences; 0 along the border. */
function gradients(values: Float32Array, columns: number, rows: number, out: Float32Array): void {
  out.fill(0);
  for (let row = 1; row < rows - 1; row++) {
    for (let i = row * columns + 1; i < (row + 1) * columns - 1; i++) {
      const across = values[i + 1]! - values[i - 1]!;
      const down = values[i + columns]! - values[i - columns]!;
      out[i] = Math.sqrt(across * across + down * down) / 2;
    }
  }
}

/** Of at most about 100 000 values, taken evenly. */
export function percentiles(values: Float32Array, wanted: readonly number[]): number[] {
  const step = Math.max(1, Math.floor(values.length / 100_000));
  const taken = new Float32Array(Math.ceil(values.length / step));
  for (let i = 0; i < taken.length; i++) taken[i] = values[i * step]!;
  return wanted.map((percent) => nth(taken, Math.min(taken.length - 1, Math.floor((percent / 100) * taken.length))));
}

/** The value that would stand there if they were sorted (Hoare's selection, in place); 0 of none. */
function nth(values: Float32Array, wanted: number): number {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const pivot = values[(low + high) >> 1]!;
    let [i, j] = [low, high];
    while (i <= j) {
      while (values[i]! < pivot) i++;
      while (values[j]! > pivot) j--;
      if (i > j) break;
      const swapped = values[i]!;
      values[i++] = values[j]!;
      values[j--] = swapped;
    }
    if (wanted <= j) high = j;
    else if (wanted >= i) low = i;
    else break;
  }
  return values[wanted] ?? 0;
}
