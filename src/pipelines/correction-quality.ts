/**
 * What a denoised CT series is judged by, gathered slice by slice so that nothing of the volume is copied.
 */
import { boxMean } from './body.ts';
import type { Slice } from './noise-level.ts';

export interface DenoiseQuality {
  readonly slices: number;
  /** Slices in which noise was found and corrected; the others are unchanged. */
  readonly correctedSlices: number;
  readonly correctedVoxelShare: number;
  readonly alpha: number;
  readonly colour: 'white' | 'coloured';
  /** Median over the corrected slices. */
  readonly sigmaBeforeHU: number;
  readonly sigmaAfterHU: number;
  /** Mean of result - source over quiet places of one kind; null where the series has none. */
  readonly meanShiftAirHU: number | null;
  readonly meanShiftFatHU: number | null;
  readonly meanShiftSoftTissueHU: number | null;
  /** Root mean square of what was taken away / (alpha * sigma). */
  readonly residualShare: number;
  /** Correlation of |what was taken away| with the gradient of the image: edges in the residual. */
  readonly gradientCorrelation: number;
  /** Structural similarity to the source in a window of 400 HU, inside the body. */
  readonly ssimToSource: number;
  /** How much wider strong edges are than in the source (0.1 = 10 %), from their slope; null without strong edges. */
  readonly edgeWidthChange: number | null;
  /** Change of the root mean square frequency of the noise in quiet places; null without such places. */
  readonly noiseFrequencyChange: number | null;
  /** Voxels at or beyond the ends of what the stored bits can hold. */
  readonly clippedBefore: number;
  readonly clippedAfter: number;
  /** How foreign the series is to the model; absent where its card names no check. */
  readonly unfamiliarFeatures?: number;
  readonly farthestFeature?: number;
  readonly isolation?: number;
}

const CLASSES_HU = { air: [-1050, -850], fat: [-140, -60], softTissue: [-20, 120] } as const;
/** Half width of the windows for means, variances and structural similarity: 7x7 pixels. */
const RADIUS = 3;
const SSIM_WINDOW_HU = 400;
const SSIM_C1 = (0.01 * SSIM_WINDOW_HU) ** 2;
const SSIM_C2 = (0.03 * SSIM_WINDOW_HU) ** 2;

/** A slice before and after, what was known of it. */
export interface SlicePair {
  readonly source: Slice;
  readonly result: Float32Array;
  readonly weights: Float32Array;
  readonly sigma: number;
  readonly alpha: number;
}

interface Sum {
  sum: number;
  count: number;
}

export interface QualityGatherer {
  readonly buffers: Record<'product' | 'x' | 'y' | 'xx' | 'yy' | 'xy', Float64Array>;
  readonly shift: Record<keyof typeof CLASSES_HU, Sum>;
  readonly ssim: Sum;
  readonly residual: Sum;
  readonly pearson: { n: number; a: number; b: number; aa: number; bb: number; ab: number };
  readonly edge: { source: number; result: number; count: number };
  readonly texture: { sourceGradient: number; sourcePower: number; resultGradient: number; resultPower: number };
  changed: number;
}

export function openQuality(pixels: number): QualityGatherer {
  const buffer = (): Float64Array => new Float64Array(pixels);
  const empty = (): Sum => ({ sum: 0, count: 0 });
  return {
    buffers: { product: buffer(), x: buffer(), y: buffer(), xx: buffer(), yy: buffer(), xy: buffer() },
    shift: { air: empty(), fat: empty(), softTissue: empty() },
    ssim: empty(),
    residual: empty(),
    pearson: { n: 0, a: 0, b: 0, aa: 0, bb: 0, ab: 0 },
    edge: { source: 0, result: 0, count: 0 },
    texture: { sourceGradient: 0, sourcePower: 0, resultGradient: 0, resultPower: 0 },
    changed: 0,
  };
}

/** Adds one corrected slice. */
export function addSlice(quality: QualityGatherer, pair: SlicePair): void {
  addWindows(quality, pair);
  addGradients(quality, pair);
  const { source, result, weights } = pair;
  for (let i = 0; i < result.length; i++) {
    if (result[i] !== source.values[i]) quality.changed++;
    if (weights[i] === 1) addTo(quality.residual, ((result[i]! - source.values[i]!) / (pair.alpha * pair.sigma)) ** 2);
  }
}

/** Means and variances in windows: structural similarity, mean shift per class, power of the noise in quiet places. */
function addWindows(quality: QualityGatherer, { source, result, weights, sigma, alpha }: SlicePair): void {
  const { columns, rows, values } = source;
  const { product, x, y, xx, yy, xy } = quality.buffers;
  boxMean(values, columns, rows, RADIUS, x);
  boxMean(result, columns, rows, RADIUS, y);
  boxMean(multiplied(values, values, product), columns, rows, RADIUS, xx);
  boxMean(multiplied(result, result, product), columns, rows, RADIUS, yy);
  boxMean(multiplied(values, result, product), columns, rows, RADIUS, xy);
  for (let i = 0; i < values.length; i++) {
    if (weights[i] !== 1) continue;
    const mx = x[i]!;
    const my = y[i]!;
    const vx = Math.max(0, xx[i]! - mx * mx);
    const vy = Math.max(0, yy[i]! - my * my);
    const likeness =
      ((2 * mx * my + SSIM_C1) * (2 * (xy[i]! - mx * my) + SSIM_C2)) /
      ((mx * mx + my * my + SSIM_C1) * (vx + vy + SSIM_C2));
    addTo(quality.ssim, likeness);
    if (vx > (2 * sigma) ** 2) continue;
    // By what the network took the place for: by the noisy mean itself, chance alone would show as a shift.
    const kind = classOf(mx + (my - mx) / alpha);
    if (kind !== undefined) addTo(quality.shift[kind], my - mx);
    if (kind !== 'softTissue' || vx > (1.4 * sigma) ** 2) continue;
    quality.texture.sourcePower += vx;
    quality.texture.resultPower += vy;
    quality.texture.sourceGradient += squaredGradient(values, i, columns);
    quality.texture.resultGradient += squaredGradient(result, i, columns);
  }
}

function multiplied(a: Float32Array, b: Float32Array, out: Float64Array): Float64Array {
  for (let i = 0; i < out.length; i++) out[i] = a[i]! * b[i]!;
  return out;
}

/** Gradients against the network's own picture of the slice: is there structure in what was taken, are edges less steep? */
function addGradients(quality: QualityGatherer, pair: SlicePair): void {
  const { source, result, weights, sigma, alpha } = pair;
  const { columns, rows, values } = source;
  const clean = quality.buffers.product;
  for (let i = 0; i < values.length; i++) clean[i] = values[i]! + (result[i]! - values[i]!) / alpha;
  const steep = Math.max(40, 4 * sigma) ** 2;
  const { pearson, edge } = quality;
  for (let row = 1; row < rows - 1; row++) {
    for (let i = row * columns + 1; i < (row + 1) * columns - 1; i++) {
      const left = i - 1;
      const right = i + 1;
      const up = i - columns;
      const down = i + columns;
      const inside = weights[i] === 1 && weights[left] === 1 && weights[right] === 1;
      if (!inside || weights[up] !== 1 || weights[down] !== 1) continue;
      const gx = (clean[right]! - clean[left]!) / 2;
      const gy = (clean[down]! - clean[up]!) / 2;
      const square = gx * gx + gy * gy;
      const a = Math.abs(values[i]! - result[i]!) / sigma;
      const b = Math.sqrt(square) / sigma;
      pearson.n++;
      pearson.a += a;
      pearson.b += b;
      pearson.aa += a * a;
      pearson.bb += b * b;
      pearson.ab += a * b;
      if (square < steep) continue;
      edge.count++;
      edge.source += gx * (values[right]! - values[left]!) + gy * (values[down]! - values[up]!);
      edge.result += gx * (result[right]! - result[left]!) + gy * (result[down]! - result[up]!);
    }
  }
}

function squaredGradient(values: Float32Array, at: number, columns: number): number {
  const right = values[at + 1];
  const down = values[at + columns];
  const here = values[at]!;
  return (right === undefined ? 0 : (right - here) ** 2) + (down === undefined ? 0 : (down - here) ** 2);
}

function classOf(meanHU: number): keyof typeof CLASSES_HU | undefined {
  for (const kind of ['air', 'fat', 'softTissue'] as const) {
    if (meanHU >= CLASSES_HU[kind][0] && meanHU <= CLASSES_HU[kind][1]) return kind;
  }
  return undefined;
}

function addTo(sum: Sum, value: number): void {
  sum.sum += value;
  sum.count++;
}

/** What the slices added up to; the rest of the figures is the caller's. */
export type GatheredQuality = Pick<
  DenoiseQuality,
  | 'meanShiftAirHU'
  | 'meanShiftFatHU'
  | 'meanShiftSoftTissueHU'
  | 'residualShare'
  | 'gradientCorrelation'
  | 'ssimToSource'
  | 'edgeWidthChange'
  | 'noiseFrequencyChange'
>;

const LEAST_PIXELS = 200;

export function gatheredQuality(quality: QualityGatherer): GatheredQuality {
  const { pearson: p, edge, texture, shift } = quality;
  const mean = ({ sum, count }: Sum): number => (count === 0 ? 0 : sum / count);
  const meanOrNull = (of: Sum): number | null => (of.count < LEAST_PIXELS ? null : mean(of));
  const spread = Math.sqrt((p.n * p.aa - p.a ** 2) * (p.n * p.bb - p.b ** 2));
  const frequency = (gradient: number, power: number): number => Math.sqrt(gradient / power);
  return {
    meanShiftAirHU: meanOrNull(shift.air),
    meanShiftFatHU: meanOrNull(shift.fat),
    meanShiftSoftTissueHU: meanOrNull(shift.softTissue),
    residualShare: Math.sqrt(mean(quality.residual)),
    gradientCorrelation: spread > 0 ? (p.n * p.ab - p.a * p.b) / spread : 0,
    ssimToSource: quality.ssim.count === 0 ? 1 : mean(quality.ssim),
    edgeWidthChange: edge.count < LEAST_PIXELS || edge.result <= 0 ? null : edge.source / edge.result - 1,
    noiseFrequencyChange:
      texture.sourcePower > 0 && texture.resultPower > 0
        ? frequency(texture.resultGradient, texture.resultPower) /
            frequency(texture.sourceGradient, texture.sourcePower) -
          1
        : null,
  };
}

/**
 * The figures under the names of the card's gates, so that more is worse (but for the similarity). A class of tissue that the
 * series has none of has not shifted; a series without strong edges has none that got wider.
 */
export function gateFigures(quality: DenoiseQuality): Record<string, number> {
  const { alpha } = quality;
  // Taking alpha of the noise away and nothing else leaves this similarity in a place without structure.
  const expectedSsim = (2 * (1 - alpha)) / (1 + (1 - alpha) ** 2);
  return {
    meanShiftAirHU: Math.abs(quality.meanShiftAirHU ?? 0),
    meanShiftFatHU: Math.abs(quality.meanShiftFatHU ?? 0),
    meanShiftSoftTissueHU: Math.abs(quality.meanShiftSoftTissueHU ?? 0),
    noiseLeft: quality.sigmaAfterHU / quality.sigmaBeforeHU,
    residualShare: quality.residualShare,
    gradientCorrelation: quality.gradientCorrelation,
    ssimToExpected: quality.ssimToSource / expectedSsim,
    edgeWidthChange: Math.abs(quality.edgeWidthChange ?? 0),
    clippedAdded: quality.clippedAfter - quality.clippedBefore,
  };
}
