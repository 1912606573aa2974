/**
 * The deformable step: a discrete search over shifts of a contrast-free descriptor (ONNX) reaches far, then Gauss-Newton steps of a cubic
 * B-spline on windows' correlation, coarse to fine, end below a tenth of a voxel. What would fold is smoothed until it does not.
 */
import { setImmediate } from 'node:timers/promises';
import type { VolumeGeometry } from '../dicom/volume.ts';
import { crewOf, type Crew } from './crew.ts';
import { LOOKS, costOf, levelOf, type Level, type Seen } from './deformation-kernels.ts';
import { inverseAt, sampleField } from './field-inverse.ts';
import type { GridField } from './field-quality.ts';
import { enlarged, halfOf, pooled, pooledField, pooledMask } from './pooling.ts';
import type { Session } from './session.ts';
import { at, voxelCount } from './space.ts';
import { latticeOver, throughValues, volumeOf, type Counts, type Lattice } from './spline-lattice.ts';
import { rootMeanSquare, roughness, solved } from './spline-solver.ts';
import { foldingVoxels, unfolded } from './unfolding.ts';

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
  /** Weight of the smoothness of the spline against what the images say. */
  readonly smoothness: number;
}

export interface DeformationPlan {
  readonly levels: readonly LevelPlan[];
  /** Steps of the second estimate, from moving to fixed, at the last level; the field is the mean of one and the inverse of the other. 0 = none. */
  readonly stepsBack: number;
}

/** For every pair and contrast; models/register/evaluation says what it was chosen by. */
export const DEFORMATION: DeformationPlan = {
  levels: [
    { pool: 2, distance: 6, radius: 0, steps: 8, smoothness: 0.3 },
    { pool: 1, distance: 6, radius: 2, steps: 6, smoothness: 0.45 },
  ],
  stepsBack: 3,
};

export interface DeformationOptions {
  readonly plan?: DeformationPlan;
  /** Hears the share done, step after step. */
  readonly told?: (share: number) => void;
  /** The result is the same for any number. */
  readonly threads?: number;
}

/** Fewer voxels are done before another thread has started. */
const WORTH_A_THREAD = 100_000;
/** Largest move of one step, voxels of the level. */
const LONGEST_STEP = 1.5;
/** A step of this root mean square ends a level. */
const SETTLED = 0.01;

/** The field that brings `moving` onto `fixed`, without folds. */
export async function deform(
  search: Session,
  pair: GridPair,
  { plan = DEFORMATION, told = () => undefined, threads = 1 }: DeformationOptions = {},
): Promise<GridField> {
  const crew = crewOf(voxelCount(pair.grid) < WORTH_A_THREAD ? 1 : threads);
  try {
    return { grid: pair.grid, voxels: await estimated(crew, pair, await searched(search, pair), { plan, told }) };
  } finally {
    await crew.release();
  }
}

/** Coarse to fine; then once more at the last level from the other side, and the mean of both: noise leads each astray in its own way. */
async function estimated(
  crew: Crew,
  { grid, fixed, moving, seen }: GridPair,
  start: Float32Array,
  { plan, told }: Required<Pick<DeformationOptions, 'plan' | 'told'>>,
): Promise<Float32Array> {
  const counts = countsOf(grid);
  // Blocks of two voxels have to fit into the level.
  const fitting = plan.levels.filter(({ pool }) => counts.every((count) => count % (2 * pool) === 0));
  const last = fitting.at(-1);
  if (last === undefined) return start;
  const rounds = fitting.length + (plan.stepsBack > 0 ? 1 : 0);
  const part = (i: number) => (share: number) => told(0.25 + (0.75 * (i + share)) / rounds);
  let field = start;
  const there: Seen = { fixed, moving, movingSeen: seen };
  for (const [i, level] of fitting.entries())
    field = await refined(crew, there, { counts, field, inverse: false }, level, part(i));
  if (plan.stepsBack === 0) return field;
  const back: Seen = { fixed: moving, moving: fixed, fixedSeen: seen };
  const turned = { ...last, steps: plan.stepsBack };
  const other = await refined(crew, back, { counts, field, inverse: true }, turned, part(fitting.length));
  const mean = field.map((value, n) => 0.5 * (value + other[n]!));
  // Neither folds, and their mean hardly ever.
  return foldingVoxels(mean, counts).length === 0 ? mean : field;
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

/** Where a level begins: a field on the grid of the pair. `inverse`: the inverse of it is where it begins, and of what it finds what comes back. */
interface Beginning {
  readonly counts: Counts;
  readonly field: Float32Array;
  readonly inverse: boolean;
}

async function refined(
  crew: Crew,
  images: Seen,
  beginning: Beginning,
  plan: LevelPlan,
  told: (share: number) => void,
): Promise<Float32Array> {
  const { inverse } = beginning;
  let { counts, field } = beginning;
  let seen = images;
  for (let pool = plan.pool; pool > 1; pool /= 2) {
    field = pooledField(field, counts);
    seen = pooledImages(seen, counts);
    counts = halfOf(counts);
  }
  const lattice = latticeOver(counts, plan.distance);
  const level = levelOf(seen, counts, lattice, { radius: plan.radius, inverse });
  crew.begin(level);
  const spline = fitted(lattice, field, counts, inverse ? inverseAt : sampleField);
  const best = await descended(crew, level, spline, plan, told);
  level.spline.set(unfolded(lattice, best, level.dense));
  crew.run('lay', counts[2]);
  if (inverse) crew.run('invert', counts[2]);
  let result = inverse ? level.inverse : level.field;
  for (let pool = plan.pool; pool > 1; pool /= 2) {
    result = enlarged(result, counts);
    counts = [2 * counts[0], 2 * counts[1], 2 * counts[2]];
  }
  return result;
}

/** Gauss-Newton steps, as long as they bring the images closer. */
async function descended(
  crew: Crew,
  level: Level,
  start: Float64Array,
  { steps, smoothness }: LevelPlan,
  told: (share: number) => void,
): Promise<Float64Array> {
  const { lattice, counts } = level;
  const looks = LOOKS[level.pull.by];
  let [spline, best, least, share] = [start, start, Infinity, 1];
  let update: Float64Array = new Float64Array(0);
  for (let step = 0; step <= steps; step++) {
    told(step / (steps + 1));
    // What was told goes out, and who wants the end of it is heard.
    await setImmediate();
    level.spline.set(spline);
    for (const look of looks.slices) crew.run(look, counts[2]);
    crew.run(looks.layers, counts[2] / 2);
    const cost = costOf(level) + smoothness * roughness(lattice, spline);
    if (cost < least) {
      [best, least] = [spline, cost];
      if (step === steps) break;
      update = solved(crew, level, spline, smoothness);
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
  return best;
}

function pooledImages({ fixed, moving, fixedSeen, movingSeen }: Seen, counts: Counts): Seen {
  const mask = (one: Uint8Array | undefined) => (one === undefined ? undefined : pooledMask(one, counts));
  const [fixedMask, movingMask] = [mask(fixedSeen), mask(movingSeen)];
  return { fixed: pooled(fixed, counts), moving: pooled(moving, counts), fixedSeen: fixedMask, movingSeen: movingMask };
}

/** The spline through what `sample` says at the control points. */
function fitted(lattice: Lattice, u: Float32Array, counts: Counts, sample: typeof sampleField): Float64Array {
  const [cx, cy, cz] = lattice.counts;
  const points = volumeOf(lattice.counts);
  const values = new Float64Array(3 * points);
  const vector = new Float64Array(3);
  const place = (index: number, axis: number) =>
    Math.min(Math.max((index - 1) * lattice.distance, 0), at(counts, axis) - 1);
  let n = 0;
  for (let c = 0; c < cz; c++)
    for (let b = 0; b < cy; b++)
      for (let a = 0; a < cx; a++, n++) {
        sample(u, counts, place(a, 0), place(b, 1), place(c, 2), vector);
        for (let channel = 0; channel < 3; channel++) values[channel * points + n] = vector[channel]!;
      }
  throughValues(lattice, values);
  return values;
}

function countsOf({ columns, rows, slices }: VolumeGeometry): Counts {
  return [columns, rows, slices];
}
