/**
 * Mutual information of two series as a function of the map between them, with its derivative: samples of the fixed one in hard bins, the
 * moving one spread over bins by a cubic B-spline (Mattes et al., IEEE Trans. Med. Imaging 22, 2003).
 */
import type { Vector3, Volume, VolumeGeometry } from '../dicom/volume.ts';
import { at, indexToPatient, multiply, patientToIndex, sampleLinear, transformPoint } from './space.ts';
import type { Matrix4 } from './space.ts';
import type { Window } from './similarity.ts';

/** Reading of one kind of array each: a reader of all kinds would be slow in the innermost loops. */
const f64 = (values: Float64Array, n: number): number => values[n] as number;
const f32 = (values: Float32Array, n: number): number => values[n] as number;
const u8 = (values: Uint8Array, n: number): number => values[n] as number;
const i32 = (values: Int32Array, n: number): number => values[n] as number;

const BINS = 32;
/** Bins that a spline reaches beyond the smallest and the largest value. */
const MARGIN = 2;

/** Points of the fixed series, LPS mm, and the bin of each. */
export interface Samples {
  readonly points: Float64Array;
  readonly bins: Uint8Array;
  readonly centre: Vector3;
  /** Root mean square distance from the centre, mm: what makes an angle comparable with a shift. */
  readonly radiusMm: number;
}

/** The moving series, its values in bins. */
export interface Target {
  readonly voxels: Float32Array;
  readonly geometry: VolumeGeometry;
  readonly toIndex: Matrix4;
}

export interface Measured {
  /** Nat; 0 = independent. */
  readonly information: number;
  /** (H(fixed) + H(moving)) / H(both), 1 = independent. */
  readonly normalised: number;
  /** Share of the samples that `move` leads into the moving field of view. */
  readonly seen: number;
}

/** About `count` points on a jittered lattice over the series: no lattice of voxels is favoured. */
export function samplesOf(volume: Volume, window: Window, count: number): Samples {
  const { geometry, voxels } = volume;
  const { columns, rows, slices, spacingMm } = geometry;
  const extents = [columns - 1, rows - 1, slices - 1].map((last, axis) => last * at(spacingMm, axis));
  const pitch = Math.cbrt((at(extents, 0) * at(extents, 1) * at(extents, 2)) / count);
  const counts = extents.map((extent) => Math.max(1, Math.round(extent / pitch)));
  const [nx, ny, nz] = counts as [number, number, number];
  const points = new Float64Array(3 * nx * ny * nz);
  const bins = new Uint8Array(nx * ny * nz);
  const place = indexToPatient(geometry);
  const random = numbers(20_261_121);
  const sum = [0, 0, 0];
  let n = 0;
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++, n++) {
        const x = ((i + random()) / nx) * (columns - 1);
        const y = ((j + random()) / ny) * (rows - 1);
        const z = ((k + random()) / nz) * (slices - 1);
        const point = transformPoint(place, [x, y, z]);
        points.set(point, 3 * n);
        for (const r of [0, 1, 2] as const) sum[r] = at(sum, r) + point[r];
        bins[n] = Math.round(share(sampleLinear(voxels, geometry, x, y, z), window) * (BINS - 1));
      }
  const centre: Vector3 = [at(sum, 0) / n, at(sum, 1) / n, at(sum, 2) / n];
  let squares = 0;
  for (let p = 0; p < points.length; p++) squares += (f64(points, p) - at(centre, p % 3)) ** 2;
  return { points, bins, centre, radiusMm: Math.sqrt(squares / n) };
}

export function targetOf({ voxels, geometry }: Volume, window: Window): Target {
  const scale = BINS - 1 - 2 * MARGIN;
  const values = voxels.map((value) => MARGIN + scale * share(value, window));
  return { voxels: values, geometry, toIndex: patientToIndex(geometry) };
}

function share(value: number, { low, high }: Window): number {
  return Math.min(1, Math.max(0, (value - low) / (high - low)));
}

/** Room for the measurement of so many samples, used again and again. */
export interface Bench {
  readonly joint: Float64Array;
  /** Of every sample in view: its number, value, and slope along the moving indices. */
  readonly which: Int32Array;
  readonly values: Float32Array;
  readonly slopes: Float32Array;
}

export function benchFor({ bins }: Samples): Bench {
  const count = bins.length;
  return {
    joint: new Float64Array(BINS * BINS),
    which: new Int32Array(count),
    values: new Float32Array(count),
    slopes: new Float32Array(3 * count),
  };
}

/** How much the moving series through `move` tells of the fixed one. */
export function inform(samples: Samples, target: Target, move: Matrix4, bench: Bench): Measured & { count: number } {
  const count = gather(samples, target, move, bench);
  const { joint, values, which } = bench;
  joint.fill(0);
  for (let s = 0; s < count; s++) {
    const value = f32(values, s);
    const whole = Math.floor(value);
    const t = value - whole;
    const cell = u8(samples.bins, i32(which, s)) * BINS + whole;
    const r = 1 - t;
    joint[cell - 1] = f64(joint, cell - 1) + (r * r * r) / 6;
    joint[cell] = f64(joint, cell) + (4 - 6 * t * t + 3 * t * t * t) / 6;
    joint[cell + 1] = f64(joint, cell + 1) + (4 - 6 * r * r + 3 * r * r * r) / 6;
    joint[cell + 2] = f64(joint, cell + 2) + (t * t * t) / 6;
  }
  const seen = count / samples.bins.length;
  if (count === 0) return { information: 0, normalised: 1, seen, count };
  const [rows, columns] = marginals(joint);
  const [f, m, both] = [entropy(rows, count), entropy(columns, count), entropy(joint, count)];
  return { information: f + m - both, normalised: both > 0 ? (f + m) / both : 1, seen, count };
}

/**
 * The derivative of the information by a small motion of the fixed points before `move`: with `affine` by the nine entries of a matrix
 * about the samples' centre (row by row, each times the radius), else by a rotation vector (times the radius); then by a shift, mm.
 * Of what `inform` has measured last.
 */
export function slopeOf(
  samples: Samples,
  target: Target,
  move: Matrix4,
  { bench, count, affine }: { readonly bench: Bench; readonly count: number; readonly affine: boolean },
): Float64Array {
  const { joint, values, which, slopes } = bench;
  const { points, centre, radiusMm } = samples;
  const [, columns] = marginals(joint);
  const weights = joint.map((cell, n) => (cell > 0 ? Math.log(cell / f64(columns, n % BINS)) : 0));
  const gradient = new Float64Array(affine ? 12 : 6);
  // Slope along moving indices -> along fixed mm.
  const map = Float64Array.from(multiply(target.toIndex, move));
  const m = (n: number) => f64(map, n);
  const [a, b, c, d, e, f, g, h, i] = [m(0), m(1), m(2), m(4), m(5), m(6), m(8), m(9), m(10)];
  for (let s = 0; s < count; s++) {
    const value = f32(values, s);
    const whole = Math.floor(value);
    const t = value - whole;
    const r = 1 - t;
    const n = i32(which, s);
    const cell = u8(samples.bins, n) * BINS + whole;
    const pull =
      -0.5 * r * r * f64(weights, cell - 1) +
      (1.5 * t * t - 2 * t) * f64(weights, cell) +
      (2 * r - 1.5 * r * r) * f64(weights, cell + 1) +
      0.5 * t * t * f64(weights, cell + 2);
    if (pull === 0) continue;
    const u = pull * f32(slopes, 3 * s);
    const v = pull * f32(slopes, 3 * s + 1);
    const w = pull * f32(slopes, 3 * s + 2);
    const x = a * u + d * v + g * w;
    const y = b * u + e * v + h * w;
    const z = c * u + f * v + i * w;
    const px = f64(points, 3 * n) - centre[0];
    const py = f64(points, 3 * n + 1) - centre[1];
    const pz = f64(points, 3 * n + 2) - centre[2];
    if (affine) {
      gradient[0] = f64(gradient, 0) + x * px;
      gradient[1] = f64(gradient, 1) + x * py;
      gradient[2] = f64(gradient, 2) + x * pz;
      gradient[3] = f64(gradient, 3) + y * px;
      gradient[4] = f64(gradient, 4) + y * py;
      gradient[5] = f64(gradient, 5) + y * pz;
      gradient[6] = f64(gradient, 6) + z * px;
      gradient[7] = f64(gradient, 7) + z * py;
      gradient[8] = f64(gradient, 8) + z * pz;
    } else {
      gradient[0] = f64(gradient, 0) + py * z - pz * y;
      gradient[1] = f64(gradient, 1) + pz * x - px * z;
      gradient[2] = f64(gradient, 2) + px * y - py * x;
    }
    const shift = affine ? 9 : 3;
    gradient[shift] = f64(gradient, shift) + x;
    gradient[shift + 1] = f64(gradient, shift + 1) + y;
    gradient[shift + 2] = f64(gradient, shift + 2) + z;
  }
  const turns = gradient.length - 3;
  return gradient.map((sum, p) => sum / (p < turns ? count * radiusMm : count));
}

/** Values and slopes of the moving series where `move` leads the samples; answers how many are in view. The innermost loop of all. */
function gather({ points, bins }: Samples, { voxels, geometry, toIndex }: Target, move: Matrix4, bench: Bench): number {
  const { columns, rows, slices } = geometry;
  const plane = columns * rows;
  const map = Float64Array.from(multiply(toIndex, move));
  const { which, values, slopes } = bench;
  let count = 0;
  for (let n = 0, p = 0; n < bins.length; n++, p += 3) {
    const px = f64(points, p);
    const py = f64(points, p + 1);
    const pz = f64(points, p + 2);
    const x = f64(map, 0) * px + f64(map, 1) * py + f64(map, 2) * pz + f64(map, 3);
    if (!(x >= 0 && x < columns - 1)) continue;
    const y = f64(map, 4) * px + f64(map, 5) * py + f64(map, 6) * pz + f64(map, 7);
    if (!(y >= 0 && y < rows - 1)) continue;
    const z = f64(map, 8) * px + f64(map, 9) * py + f64(map, 10) * pz + f64(map, 11);
    if (!(z >= 0 && z < slices - 1)) continue;
    const ix = Math.trunc(x);
    const iy = Math.trunc(y);
    const iz = Math.trunc(z);
    const fx = x - ix;
    const fy = y - iy;
    const fz = z - iz;
    const o = iz * plane + iy * columns + ix;
    const q = o + plane;
    const v0 = f32(voxels, o);
    const v2 = f32(voxels, o + columns);
    const v4 = f32(voxels, q);
    const v6 = f32(voxels, q + columns);
    const d0 = f32(voxels, o + 1) - v0;
    const d1 = f32(voxels, o + columns + 1) - v2;
    const d2 = f32(voxels, q + 1) - v4;
    const d3 = f32(voxels, q + columns + 1) - v6;
    const l0 = v0 + fx * d0;
    const l2 = v4 + fx * d2;
    const e0 = v2 + fx * d1 - l0;
    const e1 = v6 + fx * d3 - l2;
    const s0 = l0 + fy * e0;
    const rise = l2 + fy * e1 - s0;
    which[count] = n;
    values[count] = s0 + fz * rise;
    const low = d0 + fy * (d1 - d0);
    slopes[3 * count] = low + fz * (d2 + fy * (d3 - d2) - low);
    slopes[3 * count + 1] = e0 + fz * (e1 - e0);
    slopes[3 * count + 2] = rise;
    count += 1;
  }
  return count;
}

function marginals(joint: Float64Array): [Float64Array, Float64Array] {
  const [rows, columns] = [new Float64Array(BINS), new Float64Array(BINS)];
  for (let row = 0, n = 0; row < BINS; row++)
    for (let column = 0; column < BINS; column++, n++) {
      const cell = f64(joint, n);
      rows[row] = f64(rows, row) + cell;
      columns[column] = f64(columns, column) + cell;
    }
  return [rows, columns];
}

function entropy(counts: Float64Array, total: number): number {
  let sum = 0;
  for (let n = 0; n < counts.length; n++) {
    const cell = f64(counts, n);
    if (cell > 0) sum -= cell * Math.log(cell);
  }
  return sum / total + Math.log(total);
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32, public domain). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
