/**
 * A CT phantom in HU with known truth: a body of soft tissue in a ring of fat, two lungs, a bone, a bead of metal, inserts of
 * low contrast, air around it and padding of -2000 outside the circle of reconstruction. Noise from a seeded generator.
 */
import { axialGrid, type Volume } from '../../src/dicom/volume.ts';

export interface PhantomOptions {
  readonly columns: number;
  readonly rows: number;
  readonly slices: number;
  readonly sigmaHU: number;
  readonly colour: 'white' | 'coloured';
  readonly seed: number;
}

export interface Insert {
  readonly contrastHU: number;
  /** 1 where the insert certainly is, away from its edge. */
  readonly core: Uint8Array;
}

export interface Phantom {
  readonly volume: Volume;
  /** One slice without noise (all slices are alike). */
  readonly truth: Float32Array;
  readonly inserts: readonly Insert[];
  /** 1 in soft tissue without anything else near. */
  readonly flat: Uint8Array;
}

export const PADDING_HU = -2000;
export const METAL_HU = 3500;
const TISSUE_HU = 40;

export function makePhantom(options: PhantomOptions): Phantom {
  const { columns, rows, slices } = options;
  const pixels = columns * rows;
  const place = placeOf(columns, rows);
  const truth = new Float32Array(pixels);
  for (let i = 0; i < pixels; i++) truth[i] = valueAt(...place(i));
  const random = gaussian(options.seed);
  const voxels = new Float32Array(pixels * slices);
  for (let k = 0; k < slices; k++) {
    const noise = options.colour === 'white' ? whiteNoise(pixels, random) : colouredNoise(columns, rows, random);
    for (let i = 0; i < pixels; i++) {
      const exact = truth[i] === PADDING_HU || truth[i] === METAL_HU;
      // Whole HU, as stored integers are.
      voxels[k * pixels + i] = exact ? truth[i]! : Math.round(truth[i]! + options.sigmaHU * noise[i]!);
    }
  }
  const mask = (inside: (x: number, y: number) => boolean): Uint8Array =>
    Uint8Array.from({ length: pixels }, (_, i) => Number(inside(...place(i))));
  return {
    volume: volumeOf(columns, rows, slices, voxels),
    truth,
    inserts: INSERTS.map(({ x, y, contrastHU }) => ({
      contrastHU,
      core: mask((u, v) => Math.hypot(u - x, v - y) < 0.6 * INSERT_RADIUS),
    })),
    flat: mask((u, v) => Math.abs(u) < 0.42 && Math.abs(v - 0.02) < 0.05),
  };
}

export function volumeOf(columns: number, rows: number, slices: number, voxels: Float32Array, modality = 'CT'): Volume {
  return {
    geometry: axialGrid([columns, rows, slices], [0.7, 0.7, 2]),
    voxels,
    modality,
  };
}

const INSERT_RADIUS = 0.09;
const INSERTS = [
  { x: -0.32, y: 0.28, contrastHU: 10 },
  { x: -0.1, y: 0.3, contrastHU: 20 },
  { x: 0.12, y: 0.3, contrastHU: 50 },
  { x: 0.34, y: 0.28, contrastHU: -100 },
] as const;

/** Place of a pixel: (0, 0) in the middle, 1 at the nearest border. */
function placeOf(columns: number, rows: number): (i: number) => [number, number] {
  const half = Math.min(columns, rows) / 2;
  return (i) => [((i % columns) - (columns - 1) / 2) / half, (Math.floor(i / columns) - (rows - 1) / 2) / half];
}

function valueAt(x: number, y: number): number {
  const within = (cx: number, cy: number, rx: number, ry: number): boolean =>
    ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1;
  if (Math.hypot(x, y) > 0.98) return PADDING_HU;
  if (!within(0, 0, 0.74, 0.62)) return -1000;
  if (!within(0, 0, 0.66, 0.54)) return -100;
  if (within(-0.3, -0.24, 0.14, 0.16) || within(0.3, -0.24, 0.14, 0.16)) return -870;
  if (within(0, -0.3, 0.08, 0.08)) return 700;
  if (within(0, -0.12, 0.025, 0.025)) return METAL_HU;
  const insert = INSERTS.find((one) => within(one.x, one.y, INSERT_RADIUS, INSERT_RADIUS));
  return TISSUE_HU + (insert?.contrastHU ?? 0);
}

/** Standard normal numbers from a seed (mulberry32 and Box-Muller). */
export function gaussian(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

function whiteNoise(length: number, random: () => number): Float32Array {
  return Float32Array.from({ length }, random);
}

/** Noise as filtered back-projection leaves it: a band of frequencies (Gaussian of 0.8 minus 0.7 of one of 2.4 pixels). */
function colouredNoise(columns: number, rows: number, random: () => number): Float32Array {
  const white = whiteNoise(columns * rows, random);
  const narrow = blurred(white, columns, rows, 0.8);
  const wide = blurred(white, columns, rows, 2.4);
  const noise = narrow.map((value, i) => value - 0.7 * wide[i]!);
  const power = noise.reduce((sum, value) => sum + value * value, 0) / noise.length;
  return noise.map((value) => value / Math.sqrt(power));
}

/** Periodic at the border, so that the noise is alike everywhere. */
function blurred(values: Float32Array, columns: number, rows: number, sigma: number): Float32Array {
  const reach = Math.ceil(4 * sigma);
  const kernel = Float64Array.from({ length: 2 * reach + 1 }, (_, i) =>
    Math.exp(-((i - reach) ** 2) / (2 * sigma ** 2)),
  );
  const total = kernel.reduce((sum, weight) => sum + weight, 0);
  const along = (from: Float32Array, length: number, stride: number, start: (i: number) => number): Float32Array =>
    from.map((_, i) => {
      const position = Math.floor((i - start(i)) / stride);
      let sum = 0;
      for (let k = -reach; k <= reach; k++) {
        sum += kernel[k + reach]! * from[start(i) + ((((position + k) % length) + length) % length) * stride]!;
      }
      return sum / total;
    });
  const horizontal = along(values, columns, 1, (i) => i - (i % columns));
  return along(horizontal, rows, columns, (i) => i % columns);
}
