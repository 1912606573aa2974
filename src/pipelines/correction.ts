/**
 * Takes noise out of a CT series, slice by slice: result = source + weight * alpha * (network(source) - source). Where nothing
 * is corrected (outside the body, padding, metal, constant areas) the voxels stay exactly those of the source.
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Volume } from '../dicom/volume.ts';
import { correctionWeights, makeScratch, WINDOW_HU, type Scratch } from './body.ts';
import { addSlice, gatheredQuality, gateFigures, openQuality } from './correction-quality.ts';
import type { DenoiseQuality, QualityGatherer } from './correction-quality.ts';
import { judgeFamiliar, limitsOf, type Familiarity } from './familiarity.ts';
import { judge, type Gate, type Verdict } from './gates.ts';
import { estimateNoise, type NoiseLevel, type Slice } from './noise-level.ts';
import type { Session } from './session.ts';
import { clippedVoxels } from './zoo-figures.ts';

export interface DenoiseSettings {
  /** Share of the noise found that is taken away, 0.1 to 0.95; the rest keeps the grain that readers trust. Absent: by the noise's colour. */
  readonly alpha?: number;
}

/** What the stored bits of the source can hold, after rescale. */
export interface StoredRange {
  readonly lowestHU: number;
  readonly highestHU: number;
  /** Pixel Padding Value (0028,0120) to its Range Limit (0028,0121), after rescale, lower end first. */
  readonly paddingHU?: readonly [number, number] | undefined;
}

export interface DenoiseInput {
  readonly volume: Volume;
  readonly storedRange?: StoredRange | undefined;
  /** Image Type (0008,0008) of the source. */
  readonly imageType?: readonly string[] | undefined;
  /** Rescale Type (0028,1054) of the source; absent means HU for CT (PS3.3 C.8.2.1). */
  readonly rescaleType?: string | undefined;
  readonly settings?: DenoiseSettings | undefined;
}

export interface DenoiseModel {
  /** The opened graph of models/ct-denoise: inputs x and sigma in HU, output y. */
  readonly session: Session;
  /** Gates of its card. */
  readonly gates: Readonly<Record<string, Gate>>;
  /** What its card names as familiar; absent: nothing is foreign. */
  readonly familiarity?: Familiarity | undefined;
}

export interface DenoiseResult {
  readonly voxels: Float32Array;
  readonly quality: DenoiseQuality;
  readonly verdict: Verdict;
}

/**
 * Coloured noise: the grain of CT that readers know; 0.85 had the best PSNR of 0.7, 0.85 and 1 at low noise. White noise is told from
 * structure more surely, and what stays of it costs more: (1 - alpha)^2 of its variance.
 */
const DEFAULT_ALPHA: Readonly<Record<NoiseLevel['colour'], number>> = { coloured: 0.85, white: 0.95 };
const ALPHA: readonly [number, number] = [0.1, 0.95];
/** Noise, in HU, below which there is nothing to correct and above which the network was not measured. */
const SIGMA_HU: readonly [number, number] = [2, 200];
const SPACING_XY_MM: readonly [number, number] = [0.1, 2];
const LARGEST_SIDE = 2048;
/** Values of Image Type of what is no picture of attenuation slice by slice, and of our own result. */
const NO_SOURCE: ReadonlySet<string> = new Set(['LOCALIZER', 'DENOISED', 'PERFUSION', 'MIP', 'MIN_IP', 'SCREEN SAVE']);
/** Slices to each side whose noise levels share in the median that a slice is corrected with. */
const NEIGHBOURS = 2;

/** Settings as a rule gives them; an unknown key or a value out of bounds is refused. */
export function parseDenoiseSettings(given: Readonly<Record<string, unknown>>): DenoiseSettings {
  for (const key of Object.keys(given)) {
    if (key !== 'alpha') throw new Refusal('BadConfiguration', `ct-denoise has no setting ${key}; expected alpha`);
  }
  const alpha = given['alpha'];
  if (alpha === undefined) return {};
  if (typeof alpha !== 'number' || !(alpha >= ALPHA[0] && alpha <= ALPHA[1])) {
    throw new Refusal('BadConfiguration', `ct-denoise: alpha must be a number from ${ALPHA[0]} to ${ALPHA[1]}`);
  }
  return { alpha };
}

/** Peak of a run beyond the runtime's own, MB: the volume, its result, and what one slice takes (measured up to 2048x2048). */
export function denoiseMemoryMb({ geometry: { columns, rows, slices } }: Volume): number {
  return Math.ceil((50e6 + (8 * slices + 650) * columns * rows) / 1e6);
}

/**
 * Denoises a CT volume. Memory beyond the volume and its
 * result is that of one slice. Refuses what is no CT in HU, has no noise, or comes out worse than the gates allow.
 */
export async function denoise(
  { session, gates, familiarity }: DenoiseModel,
  input: DenoiseInput,
  progress: (step: string, share: number) => void = () => undefined,
): Promise<DenoiseResult> {
  const settings = parseDenoiseSettings({ ...input.settings });
  checkInput(input);
  const { volume, storedRange } = input;
  const stored = { lowest: storedRange?.lowestHU ?? -Infinity, highest: storedRange?.highestHU ?? Infinity };
  const foreign = familiarity === undefined ? undefined : judgeFamiliar(familiarity, volume);
  const { slices } = volume.geometry;
  const levels = Array.from({ length: slices }, (_, k) => estimateNoise(sliceAt(volume, volume.voxels, k)));
  const sigmas = levels.map((_, k) => neighbourhoodSigma(levels, k));
  checkNoise(sigmas);
  const corrected = levels.filter((_, k) => sigmas[k]! >= SIGMA_HU[0]);
  const coloured = corrected.filter(({ colour }) => colour === 'coloured');
  const colour = coloured.length * 2 > corrected.length ? 'coloured' : 'white';
  const alpha = settings.alpha ?? DEFAULT_ALPHA[colour];
  const voxels = volume.voxels.slice();
  const pixels = volume.geometry.columns * volume.geometry.rows;
  const work = { scratch: makeScratch(pixels), weights: new Float32Array(pixels), quality: openQuality(pixels) };
  const box = bodyBox(volume);
  const after: number[] = [];
  for (let k = 0; k < slices; k++) {
    const sigma = sigmas[k]!;
    if (sigma >= SIGMA_HU[0]) {
      const result = sliceAt(volume, voxels, k);
      await correctSlice(
        session,
        { source: sliceAt(volume, volume.voxels, k), result, sigma, alpha, box },
        storedRange,
        work,
      );
      after.push(estimateNoise(result).sigma);
    }
    progress('denoise', (k + 1) / slices);
  }
  const quality: DenoiseQuality = {
    slices,
    correctedSlices: corrected.length,
    correctedVoxelShare: work.quality.changed / voxels.length,
    alpha,
    colour,
    sigmaBeforeHU: median(sigmas.filter((sigma) => sigma >= SIGMA_HU[0])),
    sigmaAfterHU: median(after),
    ...gatheredQuality(work.quality),
    clippedBefore: clippedVoxels(volume.voxels, stored),
    clippedAfter: clippedVoxels(voxels, stored),
    ...foreign,
  };
  const limits = familiarity === undefined ? {} : limitsOf(familiarity);
  return { voxels, quality, verdict: judge({ ...limits, ...gates }, { ...foreign, ...gateFigures(quality) }) };
}

interface Work {
  readonly scratch: Scratch;
  readonly weights: Float32Array;
  readonly quality: QualityGatherer;
}

interface Correction {
  readonly source: Slice;
  readonly result: Slice;
  readonly sigma: number;
  readonly alpha: number;
  readonly box: Box;
}

async function correctSlice(
  session: Session,
  { source, result, sigma, alpha, box }: Correction,
  storedRange: StoredRange | undefined,
  { scratch, weights, quality }: Work,
): Promise<void> {
  const { columns, rows, values } = source;
  correctionWeights(source, storedRange?.paddingHU, weights, scratch);
  clearOutside(weights, columns, box);
  const part = cutOut(source, box);
  const { y } = await session.run({
    x: { dims: [1, 1, part.rows, part.columns], data: part.values },
    sigma: { dims: [1, 1, 1, 1], data: Float32Array.of(sigma) },
  });
  if (y === undefined || y.data.length !== part.values.length)
    throw new Error('ct-denoise gave no slice of equal size');
  const [lowest, highest] = [storedRange?.lowestHU ?? -Infinity, storedRange?.highestHU ?? Infinity];
  for (let row = box.top; row < Math.min(rows, box.bottom); row++) {
    for (let column = box.left; column < Math.min(columns, box.right); column++) {
      const i = row * columns + column;
      if (weights[i] === 0) continue;
      const at = (row - box.top) * part.columns + column - box.left;
      const value = values[i]! + weights[i]! * alpha * (y.data[at]! - part.values[at]!);
      if (!Number.isFinite(value)) throw new Error('ct-denoise gave a value that is not a number');
      // What would come to the ends of the stored range keeps the source's value: a correction never adds clipping, not
      // even when it is rounded.
      if (value >= lowest + 1 && value <= highest - 1) result.values[i] = value;
    }
  }
  addSlice(quality, { source, result: result.values, weights, sigma, alpha });
}

/** Pixels from left to right - 1 and from top to bottom - 1; sides are multiples of 8 (the graph halves them three times) and may reach beyond the slice. */
interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Every how many-th pixel of a row and of a column is asked, and how far the box reaches beyond the body. */
const BOX_STEP = 4;
const BOX_MARGIN = 24;
const BODY_ABOVE_HU = -500;

/** What holds the body in every slice: the air around it costs the network as much as the body does. One box, so that shapes stay alike. */
function bodyBox({ voxels, geometry: { columns, rows, slices } }: Volume): Box {
  let [left, top, right, bottom] = [columns, rows, 0, 0];
  for (let k = 0; k < slices; k++)
    for (let row = k % BOX_STEP; row < rows; row += BOX_STEP) {
      const start = (k * rows + row) * columns;
      for (let column = 0; column < columns; column += BOX_STEP) {
        if (!(voxels[start + column]! > BODY_ABOVE_HU)) continue;
        left = Math.min(left, column);
        right = Math.max(right, column);
        top = Math.min(top, row);
        bottom = Math.max(bottom, row);
      }
    }
  if (right < left) return { left: 0, top: 0, right: upTo8(columns), bottom: upTo8(rows) };
  const from = [Math.max(0, left - BOX_MARGIN), Math.max(0, top - BOX_MARGIN)] as const;
  const to = [Math.min(columns, right + BOX_MARGIN), Math.min(rows, bottom + BOX_MARGIN)] as const;
  return {
    left: from[0],
    top: from[1],
    right: from[0] + upTo8(to[0] - from[0]),
    bottom: from[1] + upTo8(to[1] - from[1]),
  };
}

function upTo8(length: number): number {
  return 8 * Math.ceil(length / 8);
}

function clearOutside(weights: Float32Array, columns: number, { left, top, right, bottom }: Box): void {
  for (let row = 0; row * columns < weights.length; row++) {
    const line = weights.subarray(row * columns, (row + 1) * columns);
    if (row < top || row >= bottom) line.fill(0);
    else line.fill(0, 0, left).fill(0, Math.min(columns, right));
  }
}

/** The box's values, held within the window; beyond the slice its edge is repeated. */
function cutOut({ values, columns, rows }: Slice, { left, top, right, bottom }: Box): Slice {
  const size = { columns: right - left, rows: bottom - top };
  const out = new Float32Array(size.columns * size.rows);
  for (let y = 0; y < size.rows; y++) {
    for (let x = 0; x < size.columns; x++) {
      const value = values[Math.min(top + y, rows - 1) * columns + Math.min(left + x, columns - 1)]!;
      out[y * size.columns + x] = Math.min(WINDOW_HU[1], Math.max(WINDOW_HU[0], value));
    }
  }
  return { ...size, values: out };
}

/** A view, not a copy. */
function sliceAt({ geometry: { columns, rows } }: Volume, voxels: Float32Array, k: number): Slice {
  return { values: voxels.subarray(k * columns * rows, (k + 1) * columns * rows), columns, rows };
}

/** The median of a slice's noise and that of its neighbours; 0 where the slice itself has none. */
function neighbourhoodSigma(levels: readonly NoiseLevel[], k: number): number {
  if (levels[k]!.sigma === 0) return 0;
  const near = levels.slice(Math.max(0, k - NEIGHBOURS), k + NEIGHBOURS + 1).map(({ sigma }) => sigma);
  return median(near.filter((sigma) => sigma > 0));
}

function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  return sorted.length === 0 ? 0 : (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
}

function checkInput({ volume, imageType, rescaleType, storedRange }: DenoiseInput): void {
  const { geometry, modality, voxels } = volume;
  const { columns, rows, slices } = geometry;
  if (modality !== 'CT') refuse(`Modality (0008,0060) is ${modality.slice(0, 16)}, expected CT`);
  if (rescaleType !== undefined && rescaleType !== 'HU') refuse('Rescale Type (0028,1054) is not HU');
  const type = imageType?.find((value) => NO_SOURCE.has(value));
  if (type !== undefined) refuse(`Image Type (0008,0008) contains ${type}; expected a source series`);
  if (!(slices >= 1 && columns >= 1 && rows >= 1))
    refuse(`${columns} x ${rows} x ${slices} voxels, expected at least 1`);
  if (Math.max(columns, rows) > LARGEST_SIDE)
    refuse(`${columns} x ${rows} pixels, expected at most ${LARGEST_SIDE} a side`);
  if (voxels.length !== columns * rows * slices) {
    refuse(`${voxels.length} voxels, expected ${columns} x ${rows} x ${slices}`);
  }
  for (const mm of geometry.spacingMm.slice(0, 2)) {
    if (!(mm >= SPACING_XY_MM[0] && mm <= SPACING_XY_MM[1])) {
      refuse(`pixel spacing is ${mm} mm, expected ${SPACING_XY_MM[0]} to ${SPACING_XY_MM[1]}`);
    }
  }
  if (storedRange !== undefined && !(storedRange.lowestHU < storedRange.highestHU)) {
    refuse(`stored range is ${storedRange.lowestHU} to ${storedRange.highestHU} HU, expected lowest below highest`);
  }
  checkHounsfield(voxels);
}

/** A rescale that was forgotten leaves no value below 0; gas and fat are below 0 in every CT image of a body. */
function checkHounsfield(voxels: Float32Array): void {
  let lowest = Infinity;
  for (const value of voxels) {
    if (!Number.isFinite(value)) refuse('a voxel is not a finite number');
    if (value < lowest) lowest = value;
  }
  if (lowest >= 0) refuse(`the lowest value is ${lowest}, expected Hounsfield units with gas or fat below 0`);
}

function checkNoise(sigmas: readonly number[]): void {
  const highest = Math.max(...sigmas);
  const say = `${highest.toFixed(2)} HU of noise found, expected ${SIGMA_HU[0]} to ${SIGMA_HU[1]}`;
  if (highest < SIGMA_HU[0]) refuse(`${say}: nothing to correct`);
  if (median(sigmas.filter((sigma) => sigma > 0)) > SIGMA_HU[1]) refuse(say);
}

function refuse(sentence: string): never {
  throw new Refusal('PipelineRefused', `ct-denoise: ${sentence}`);
}
