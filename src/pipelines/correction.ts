/**
 * Takes noise out of a CT series, slice by slice: result = source + weight * alpha * (network(source) - source). Where nothing
 * is corrected (outside the body, padding, metal, constant areas) the voxels stay exactly those of the source.
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Volume } from '../dicom/volume.ts';
import { correctionWeights, makeScratch, WINDOW_HU, type Scratch } from './body.ts';
import { addSlice, gatheredQuality, gateFigures, openQuality } from './correction-quality.ts';
import type { DenoiseQuality, QualityGatherer } from './correction-quality.ts';
import { judge, type Gate, type Verdict } from './gates.ts';
import { estimateNoise, type NoiseLevel, type Slice } from './noise-level.ts';
import type { Session } from './session.ts';

export interface DenoiseSettings {
  /** Share of the noise found that is taken away, 0.1 to 0.7; the rest keeps the grain that readers trust. */
  readonly alpha: number;
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
}

export interface DenoiseResult {
  readonly voxels: Float32Array;
  readonly quality: DenoiseQuality;
  readonly verdict: Verdict;
}

export const DEFAULT_ALPHA = 0.6;
const ALPHA: readonly [number, number] = [0.1, 0.7];
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
  const alpha = given['alpha'] ?? DEFAULT_ALPHA;
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
  { session, gates }: DenoiseModel,
  input: DenoiseInput,
  progress: (step: string, share: number) => void = () => undefined,
): Promise<DenoiseResult> {
  const { alpha } = parseDenoiseSettings({ ...input.settings });
  checkInput(input);
  const { volume, storedRange } = input;
  const { slices } = volume.geometry;
  const levels = Array.from({ length: slices }, (_, k) => estimateNoise(sliceAt(volume, volume.voxels, k)));
  const sigmas = levels.map((_, k) => neighbourhoodSigma(levels, k));
  checkNoise(sigmas);
  const voxels = volume.voxels.slice();
  const pixels = volume.geometry.columns * volume.geometry.rows;
  const work = { scratch: makeScratch(pixels), weights: new Float32Array(pixels), quality: openQuality(pixels) };
  const after: number[] = [];
  for (let k = 0; k < slices; k++) {
    const sigma = sigmas[k]!;
    if (sigma >= SIGMA_HU[0]) {
      const result = sliceAt(volume, voxels, k);
      await correctSlice(
        session,
        { source: sliceAt(volume, volume.voxels, k), result, sigma, alpha },
        storedRange,
        work,
      );
      after.push(estimateNoise(result).sigma);
    }
    progress('denoise', (k + 1) / slices);
  }
  const corrected = levels.filter((_, k) => sigmas[k]! >= SIGMA_HU[0]);
  const quality: DenoiseQuality = {
    slices,
    correctedSlices: corrected.length,
    correctedVoxelShare: work.quality.changed / voxels.length,
    alpha,
    colour:
      corrected.filter(({ colour }) => colour === 'coloured').length * 2 > corrected.length ? 'coloured' : 'white',
    sigmaBeforeHU: median(sigmas.filter((sigma) => sigma >= SIGMA_HU[0])),
    sigmaAfterHU: median(after),
    ...gatheredQuality(work.quality),
    clippedBefore: clippedVoxels(volume.voxels, storedRange),
    clippedAfter: clippedVoxels(voxels, storedRange),
  };
  return { voxels, quality, verdict: judge(gates, gateFigures(quality)) };
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
}

async function correctSlice(
  session: Session,
  { source, result, sigma, alpha }: Correction,
  storedRange: StoredRange | undefined,
  { scratch, weights, quality }: Work,
): Promise<void> {
  const { columns, rows, values } = source;
  correctionWeights(source, storedRange?.paddingHU, weights, scratch);
  const even = padToEven(source);
  const { y } = await session.run({
    x: { dims: [1, 1, even.rows, even.columns], data: even.values },
    sigma: { dims: [1, 1, 1, 1], data: Float32Array.of(sigma) },
  });
  if (y === undefined || y.data.length !== even.values.length)
    throw new Error('ct-denoise gave no slice of equal size');
  const [lowest, highest] = [storedRange?.lowestHU ?? -Infinity, storedRange?.highestHU ?? Infinity];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const i = row * columns + column;
      if (weights[i] === 0) continue;
      const at = row * even.columns + column;
      const value = values[i]! + weights[i]! * alpha * (y.data[at]! - even.values[at]!);
      if (!Number.isFinite(value)) throw new Error('ct-denoise gave a value that is not a number');
      // What would come to the ends of the stored range keeps the source's value: a correction never adds clipping, not
      // even when it is rounded.
      if (value >= lowest + 1 && value <= highest - 1) result.values[i] = value;
    }
  }
  addSlice(quality, { source, result: result.values, weights, sigma, alpha });
}

/** Even sides by repeating the edge (the network halves them), values held within the window. */
function padToEven({ values, columns, rows }: Slice): Slice {
  const padded = { columns: columns + (columns % 2), rows: rows + (rows % 2) };
  const out = new Float32Array(padded.columns * padded.rows);
  for (let y = 0; y < padded.rows; y++) {
    for (let x = 0; x < padded.columns; x++) {
      const value = values[Math.min(y, rows - 1) * columns + Math.min(x, columns - 1)]!;
      out[y * padded.columns + x] = Math.min(WINDOW_HU[1], Math.max(WINDOW_HU[0], value));
    }
  }
  return { ...padded, values: out };
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

function clippedVoxels(voxels: Float32Array, storedRange: StoredRange | undefined): number {
  if (storedRange === undefined) return 0;
  const { lowestHU, highestHU } = storedRange;
  let count = 0;
  for (let i = 0; i < voxels.length; i++) if (voxels[i]! <= lowestHU || voxels[i]! >= highestHU) count++;
  return count;
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
