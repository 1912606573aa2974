/**
 * The deformable step: a discrete search over shifts of a contrast-free descriptor (ONNX) reaches far, then Gauss-Newton steps of a cubic
 * B-spline on windows' correlation, coarse to fine, end below a tenth of a voxel. What would fold is smoothed until it does not.
 */
import { setImmediate } from 'node:timers/promises';
import type { VolumeGeometry } from '../dicom/volume.ts';
import type { GridField } from './field-quality.ts';
import { benchOf, correlationTerms, fixedLevel, sampledThrough, sloped } from './local-correlation.ts';
import type { Terms } from './local-correlation.ts';
import { CHANNELS, descriptorTerms, descriptors } from './self-similarity.ts';
import type { Session } from './session.ts';
import { at } from './space.ts';
import { expand, gather, latticeOver, samplingOf, throughValues, volumeOf } from './spline-lattice.ts';
import type { Counts, Lattice, Sampling } from './spline-lattice.ts';

/** Two images on one grid, about [0, 1]. */
export interface GridPair {
  readonly grid: VolumeGeometry;
  readonly fixed: Float32Array;
  readonly moving: Float32Array;
  /** 0 where the moving image has no voxels of its own. */
  readonly seen?: Uint8Array;
}

export interface LevelPlan {
  /** The level's voxels are this many of the grid's; a power of two. */
  readonly pool: number;
  /** Distance of control points, voxels of the level. */
  readonly distance: number;
  /** Correlation of windows of this radius in voxels of the level; 0 = distance of descriptors. */
  readonly radius: number;
  readonly steps: number;
  /** Weight of the bending of the spline against what the images say. */
  readonly bending: number;
}

export interface DeformationPlan {
  readonly levels: readonly LevelPlan[];
}

/** For every pair and contrast; models/register/evaluation says what it was chosen by. */
export const DEFORMATION: DeformationPlan = {
  levels: [
    { pool: 2, distance: 6, radius: 0, steps: 8, bending: 1 },
    { pool: 1, distance: 6, radius: 2, steps: 6, bending: 1.5 },
  ],
};

/** Largest move of one step, voxels of the level. */
const LONGEST_STEP = 1.5;
/** A step of this root mean square ends a level. */
const SETTLED = 0.01;
const SOLVER_STEPS = 16;
/** Least determinant that is left standing. */
const LEAST_JACOBIAN = 0.15;

/** The field that brings `moving` onto `fixed`, without folds; `told` hears the share done, step after step. */
export async function deform(
  search: Session,
  pair: GridPair,
  plan: DeformationPlan = DEFORMATION,
  told: (share: number) => void = () => undefined,
): Promise<GridField> {
  let field = await searched(search, pair);
  // Blocks of two voxels have to fit into the level.
  const fitting = plan.levels.filter(({ pool }) => countsOf(pair.grid).every((count) => count % (2 * pool) === 0));
  for (const [i, level] of fitting.entries()) {
    const from = 0.25 + (0.75 * i) / fitting.length;
    field = await refined(pair, field, level, (share) => told(from + (0.75 * share) / fitting.length));
  }
  return { grid: pair.grid, voxels: field };
}

/**
 * The discrete search, at half the resolution where that leaves enough: its graph wants axes that are multiples of 4, and averages over 4
 * voxels before it looks. Where there are fewer than two such averages it says nothing.
 */
async function searched(search: Session, { grid, fixed, moving }: GridPair): Promise<Float32Array> {
  const counts = countsOf(grid);
  if (counts.some((count) => count < 8)) return new Float32Array(3 * volumeOf(counts));
  const coarser = counts.every((count) => count >= 16 && count % 8 === 0);
  const [nx, ny, nz] = coarser ? halfOf(counts) : counts;
  const see = (image: Float32Array) => ({ dims: [1, 1, nz, ny, nx], data: coarser ? pooled(image, counts) : image });
  const { field } = await search.run({ fixed: see(fixed), moving: see(moving) });
  if (field === undefined) throw new Error('the search gives no field');
  return coarser ? enlarged(field.data, [nx, ny, nz]) : field.data;
}

async function refined(
  pair: GridPair,
  start: Float32Array,
  plan: LevelPlan,
  told: (share: number) => void,
): Promise<Float32Array> {
  let [counts, u, fixed, moving] = [countsOf(pair.grid), start, pair.fixed, pair.moving];
  let seen = pair.seen;
  for (let pool = plan.pool; pool > 1; pool /= 2) {
    u = pooledField(u, counts);
    fixed = pooled(fixed, counts);
    moving = pooled(moving, counts);
    seen = seen === undefined ? undefined : pooledMask(seen, counts);
    counts = halfOf(counts);
  }
  const lattice = latticeOver(counts, plan.distance);
  const [dense, blocks] = [samplingOf(lattice, counts, 1, 0), samplingOf(lattice, halfOf(counts), 2, 0.5)];
  const termsAt =
    plan.radius > 0
      ? byCorrelation(fixed, moving, counts, plan.radius, seen)
      : byDescriptors(fixed, moving, counts, seen);
  let spline = fitted(lattice, u, counts);
  let [best, least] = [spline, Infinity];
  let share = 1;
  let update: Float64Array = new Float64Array(0);
  u = new Float32Array(3 * volumeOf(counts));
  for (let step = 0; step <= plan.steps; step++) {
    told(step / (plan.steps + 1));
    // What was told goes out, and who wants the end of it is heard.
    await setImmediate();
    expand(lattice, spline, dense, u);
    const terms = termsAt(u);
    const cost = terms.cost + plan.bending * bendingEnergy(lattice, spline);
    if (cost < least) {
      [best, least] = [spline, cost];
      if (step === plan.steps) break;
      update = solved(lattice, blocks, terms, spline, plan.bending);
      share = 1;
    } else {
      share /= 3;
    }
    const length = rootMeanSquare(update) * share;
    if (length < SETTLED || share < 0.1) break;
    const longest = update.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const factor = Math.min(share, LONGEST_STEP / longest);
    spline = best.map((value, n) => value + factor * update[n]!);
  }
  expand(lattice, unfolded(lattice, best, dense), dense, u);
  for (let pool = plan.pool; pool > 1; pool /= 2) {
    u = enlarged(u, counts);
    counts = [2 * counts[0], 2 * counts[1], 2 * counts[2]];
  }
  return u;
}

function byCorrelation(
  fixed: Float32Array,
  moving: Float32Array,
  counts: Counts,
  radius: number,
  seen: Uint8Array | undefined,
) {
  const stage = fixedLevel(fixed, counts, radius);
  const source = sloped(moving, counts, seen);
  const bench = benchOf(counts);
  return (u: Float32Array): Terms => {
    sampledThrough(source, counts, u, bench.moved);
    return correlationTerms(stage, bench);
  };
}

/** Described anew at every step, as the image lies then: the descriptor turns with nothing. */
function byDescriptors(fixed: Float32Array, moving: Float32Array, counts: Counts, seen: Uint8Array | undefined) {
  const described = descriptors(fixed, counts);
  const source = sloped(moving, counts, seen);
  const { moved } = benchOf(counts);
  const there = new Float32Array(CHANNELS * volumeOf(counts));
  return (u: Float32Array): Terms => {
    sampledThrough(source, counts, u, moved);
    return descriptorTerms(described, descriptors(moved[0], counts, there), counts, seen);
  };
}

/** (sum over blocks of B^T S B + bending) update = force - bending spline, by conjugate gradients. */
function solved(
  lattice: Lattice,
  blocks: Sampling,
  { force, stiffness }: Terms,
  spline: Float64Array,
  bending: number,
): Float64Array {
  const count = volumeOf(blocks.counts);
  const points = volumeOf(lattice.counts);
  const weight = bendingWeight(lattice, bending);
  const v = new Float32Array(3 * count);
  const apply = (x: Float64Array): Float64Array => {
    expand(lattice, x, blocks, v);
    for (let n = 0; n < count; n++) {
      const z = v[n]!;
      const y = v[count + n]!;
      const w = v[2 * count + n]!;
      const zy = stiffness[count + n]!;
      const zx = stiffness[2 * count + n]!;
      const yx = stiffness[4 * count + n]!;
      v[n] = stiffness[n]! * z + zy * y + zx * w;
      v[count + n] = zy * z + stiffness[3 * count + n]! * y + yx * w;
      v[2 * count + n] = zx * z + yx * y + stiffness[5 * count + n]! * w;
    }
    const result = gather(lattice, v, blocks);
    addBending(lattice, x, weight, result);
    return result;
  };
  const r = gather(lattice, force, blocks);
  addBending(lattice, spline, -weight, r);
  // The diagonal of the stiffness, roughly: how much each control point is held.
  const trace = new Float32Array(count);
  for (let n = 0; n < count; n++)
    trace[n] = (stiffness[n]! + stiffness[3 * count + n]! + stiffness[5 * count + n]!) / 3;
  const held = gather(lattice, trace, blocks, 1);
  const damping = 0.02 * (held.reduce((sum, one) => sum + one, 0) / points) + 1e-9;
  const scale = Float64Array.from(r, (_, n) => 1 / (0.35 * held[n % points]! + 42 * weight + damping));
  const x = new Float64Array(r.length);
  let z = r.map((value, n) => value * scale[n]!);
  let direction = z.slice();
  let rz = dot(r, z);
  const enough = 1e-4 * rz;
  for (let step = 0; step < SOLVER_STEPS && rz > enough; step++) {
    const image = apply(direction);
    for (let n = 0; n < image.length; n++) image[n]! += damping * direction[n]!;
    const a = rz / dot(direction, image);
    for (let n = 0; n < x.length; n++) {
      x[n]! += a * direction[n]!;
      r[n]! -= a * image[n]!;
    }
    z = r.map((value, n) => value * scale[n]!);
    const next = dot(r, z);
    const b = next / rz;
    direction = direction.map((value, n) => z[n]! + b * value);
    rz = next;
  }
  return x;
}

/** Per control point: the squared Laplacian in voxels stands for the bending of the volume around it. */
function bendingWeight({ distance }: Lattice, bending: number): number {
  return bending / distance;
}

function bendingEnergy(lattice: Lattice, spline: Float64Array): number {
  const bent = new Float64Array(spline.length);
  addBending(lattice, spline, bendingWeight(lattice, 1), bent);
  return dot(spline, bent) / (volumeOf(lattice.counts) * lattice.distance ** 3);
}

/** result += weight L^T L x, L the sum of second differences along the axes. */
function addBending({ counts }: Lattice, x: Float64Array, weight: number, result: Float64Array): void {
  const bent = secondDifferences(x, counts);
  const back = secondDifferences(bent, counts);
  for (let n = 0; n < back.length; n++) result[n]! += weight * back[n]!;
}

/** Sum of second differences; beyond an end the end goes on, so that the operator is its own adjoint. */
function secondDifferences(x: Float64Array, [nx, ny, nz]: Counts): Float64Array {
  const result = new Float64Array(x.length);
  const [count, plane] = [nx * ny * nz, nx * ny];
  for (let channel = 0; channel < 3; channel++) {
    let n = channel * count;
    for (let k = 0; k < nz; k++)
      for (let j = 0; j < ny; j++)
        for (let i = 0; i < nx; i++, n++) {
          const here = x[n]!;
          let sum = 0;
          if (i > 0) sum += x[n - 1]! - here;
          if (i < nx - 1) sum += x[n + 1]! - here;
          if (j > 0) sum += x[n - nx]! - here;
          if (j < ny - 1) sum += x[n + nx]! - here;
          if (k > 0) sum += x[n - plane]! - here;
          if (k < nz - 1) sum += x[n + plane]! - here;
          result[n] = sum;
        }
  }
  return result;
}

/** Control points around voxels that fold, or nearly, take the mean of their neighbours, again and again until nothing folds. */
function unfolded(lattice: Lattice, spline: Float64Array, dense: Sampling): Float64Array {
  let current = spline;
  const { counts, distance } = lattice;
  const points = volumeOf(counts);
  for (let round = 0; round < 60; round++) {
    const folds = foldingVoxels(expand(lattice, current, dense), dense.counts);
    if (folds.length === 0) return current;
    const marked = new Uint8Array(points);
    const [nx, ny] = dense.counts;
    // Each round takes in more of the surroundings, so that a hard fold has room to spread.
    const reach = 2 + Math.floor(round / 10);
    for (const n of folds) {
      const [i, j, k] = [n % nx, Math.floor(n / nx) % ny, Math.floor(n / (nx * ny))];
      const [a, b, c] = [i, j, k].map((index) => Math.round(index / distance) + 1) as [number, number, number];
      for (let z = Math.max(0, c - reach); z <= Math.min(counts[2] - 1, c + reach); z++)
        for (let y = Math.max(0, b - reach); y <= Math.min(counts[1] - 1, b + reach); y++)
          for (let x = Math.max(0, a - reach); x <= Math.min(counts[0] - 1, a + reach); x++)
            marked[(z * counts[1] + y) * counts[0] + x] = 1;
    }
    const mean = secondDifferences(current, counts);
    current = current.map((value, n) => (marked[n % points] === 1 ? value + mean[n]! / 8 : value));
  }
  return current;
}

/** Numbers of the voxels whose determinant is below the least, by one-sided differences on both sides. */
function foldingVoxels(u: Float32Array, [nx, ny, nz]: Counts): number[] {
  const found: number[] = [];
  const [count, plane] = [nx * ny * nz, nx * ny];
  const steps = [1, nx, plane] as const;
  for (let k = 1; k < nz - 1; k++)
    for (let j = 1; j < ny - 1; j++)
      for (let i = 1; i < nx - 1; i++) {
        const n = k * plane + j * nx + i;
        if (determinant(u, count, n, steps) < LEAST_JACOBIAN) found.push(n);
      }
  return found;
}

function determinant(u: Float32Array, count: number, n: number, [x, y, z]: readonly [number, number, number]): number {
  const [w, v, s] = [n, count + n, 2 * count + n];
  const a = 1 + 0.5 * (u[s + x]! - u[s - x]!);
  const b = 0.5 * (u[s + y]! - u[s - y]!);
  const c = 0.5 * (u[s + z]! - u[s - z]!);
  const d = 0.5 * (u[v + x]! - u[v - x]!);
  const e = 1 + 0.5 * (u[v + y]! - u[v - y]!);
  const f = 0.5 * (u[v + z]! - u[v - z]!);
  const g = 0.5 * (u[w + x]! - u[w - x]!);
  const h = 0.5 * (u[w + y]! - u[w - y]!);
  const i = 1 + 0.5 * (u[w + z]! - u[w - z]!);
  return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
}

/** The spline through the field's values at the control points. */
function fitted(lattice: Lattice, u: Float32Array, counts: Counts): Float64Array {
  const [cx, cy, cz] = lattice.counts;
  const [points, count] = [volumeOf(lattice.counts), volumeOf(counts)];
  const values = new Float64Array(3 * points);
  let n = 0;
  for (let c = 0; c < cz; c++)
    for (let b = 0; b < cy; b++)
      for (let a = 0; a < cx; a++, n++) {
        const place = [a, b, c].map((index, axis) =>
          Math.min(Math.max((index - 1) * lattice.distance, 0), at(counts, axis) - 1),
        ) as [number, number, number];
        for (let channel = 0; channel < 3; channel++)
          values[channel * points + n] = sampleOne(u, channel * count, counts, place);
      }
  throughValues(lattice, values);
  return values;
}

function sampleOne(values: Float32Array, from: number, [nx, ny, nz]: Counts, place: readonly number[]): number {
  const [x, y, z] = place as [number, number, number];
  const [i, j, k] = [Math.floor(x), Math.floor(y), Math.floor(z)];
  const [fx, fy, fz] = [x - i, y - j, z - k];
  const value = (a: number, b: number, c: number) =>
    values[from + (Math.min(c, nz - 1) * ny + Math.min(b, ny - 1)) * nx + Math.min(a, nx - 1)]!;
  const row = (b: number, c: number) => (1 - fx) * value(i, b, c) + fx * value(i + 1, b, c);
  const plane = (c: number) => (1 - fy) * row(j, c) + fy * row(j + 1, c);
  return (1 - fz) * plane(k) + fz * plane(k + 1);
}

function countsOf({ columns, rows, slices }: VolumeGeometry): Counts {
  return [columns, rows, slices];
}

function halfOf([x, y, z]: Counts): Counts {
  return [x / 2, y / 2, z / 2];
}

/** Means of blocks of 2 x 2 x 2, one channel after another. */
function pooled(source: Float32Array, [nx, ny, nz]: Counts, channels = 1): Float32Array {
  const [hx, hy, hz] = [nx / 2, ny / 2, nz / 2];
  const result = new Float32Array(channels * hx * hy * hz);
  const plane = nx * ny;
  let n = 0;
  for (let k = 0; k < channels * hz; k++)
    for (let j = 0; j < hy; j++) {
      let p = 2 * k * plane + 2 * j * nx;
      for (let i = 0; i < hx; i++, n++, p += 2)
        result[n] =
          (source[p]! +
            source[p + 1]! +
            source[p + nx]! +
            source[p + nx + 1]! +
            source[p + plane]! +
            source[p + plane + 1]! +
            source[p + plane + nx]! +
            source[p + plane + nx + 1]!) /
          8;
    }
  return result;
}

function pooledField(u: Float32Array, counts: Counts): Float32Array {
  const result = pooled(u, counts, 3);
  for (let n = 0; n < result.length; n++) result[n]! /= 2;
  return result;
}

function pooledMask(mask: Uint8Array, counts: Counts): Uint8Array {
  return Uint8Array.from(pooled(Float32Array.from(mask), counts), (share) => (share > 0.5 ? 1 : 0));
}

/** A field on twice as many voxels per axis: coarse voxel i lies between the fine ones 2 i and 2 i + 1. */
function enlarged(u: Float32Array, [nx, ny, nz]: Counts): Float32Array {
  const alongX = doubled(u, 1, nx, 3 * nz * ny, 2);
  const alongY = doubled(alongX, 2 * nx, ny, 3 * nz, 1);
  return doubled(alongY, 4 * nx * ny, nz, 3, 1);
}

function doubled(source: Float32Array, length: number, count: number, groups: number, factor: number): Float32Array {
  const result = new Float32Array(2 * source.length);
  for (let group = 0; group < groups; group++)
    for (let r = 0; r < count; r++) {
      const run = (group * count + r) * length;
      const before = r > 0 ? run - length : run;
      const after = r < count - 1 ? run + length : run;
      const to = (group * count + r) * 2 * length;
      for (let i = 0; i < length; i++) {
        const here = 0.75 * source[run + i]!;
        result[to + i] = factor * (here + 0.25 * source[before + i]!);
        result[to + length + i] = factor * (here + 0.25 * source[after + i]!);
      }
    }
  return result;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let n = 0; n < a.length; n++) sum += a[n]! * b[n]!;
  return sum;
}

function rootMeanSquare(x: Float64Array): number {
  return Math.sqrt(dot(x, x) / x.length);
}
