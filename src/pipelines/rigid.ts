/** Rigid alignment by the ONNX graphs: a discrete search that reaches far, then Gauss-Newton steps that end below a voxel. */
import type { Vector3, Volume, VolumeGeometry } from '../dicom/volume.ts';
import { fitTrimmed, rotationAbout, solveStep } from './least-squares.ts';
import type { NormalEquations } from './least-squares.ts';
import type { Session } from './session.ts';
import { bodyMask, ncc, nmi, normalised } from './similarity.ts';
import type { Window } from './similarity.ts';
import {
  IDENTITY,
  at,
  averaged,
  centreOf,
  cubicGrid,
  fieldOfView,
  indexToPatient,
  invert,
  multiply,
  resampled,
  transformPoint,
  translation,
  voxelCount,
  walk,
} from './space.ts';
import type { Matrix4 } from './space.ts';

export interface RigidSessions {
  /** Discrete matcher of long reach. */
  readonly wide: Session;
  /** Gauss-Newton terms of one step. */
  readonly step: Session;
}

/** Two series made ready: averaged to about the working spacing, each with its intensity window. */
export interface Prepared {
  readonly volume: Volume;
  readonly window: Window;
}

/** Rounds of the far-reaching matcher, and the most voxels of its grid. */
const WIDE_ROUNDS = 3;
const WIDE_STRIDE = 4;
const WIDE_VOXELS = 130_000;

/** Levels of the Gauss-Newton steps: spacing in mm, and the most steps. Coarse steps are cheap and go far. */
const LEVELS = [
  { spacingMm: 8, steps: 25 },
  { spacingMm: 5.5, steps: 15 },
  { spacingMm: 4, steps: 10 },
  { spacingMm: 2.5, steps: 8 },
] as const;
/** Levels that tell whether the mirror image fits better. */
const MIRROR_LEVELS = LEVELS.slice(0, 2);
const STEP_VOXELS = 300_000;
/** Largest step: voxels of translation, radians. */
const LONGEST_STEP = [3, 0.15] as const;
const LONGEST_STRETCH = 3;
/** A step that moves no corner of the body by this many voxels ends a level. */
const SETTLED_VOXELS = 0.015;

/** Mirrored mutual information must exceed the plain one by this factor before a pair is refused. */
const MIRROR_MARGIN = 1.25;
/** Blocks below this percentile of local variance say nothing about displacement. */
const FLAT_SHARE = 0.6;

/** Where to begin: in one frame of reference as the scanner says; else the best of three by similarity. */
export function initialAlignment(fixed: Prepared, moving: Prepared): Matrix4 {
  const [a, b] = [fixed.volume.geometry, moving.volume.geometry];
  if (a.frameOfReferenceUID !== undefined && a.frameOfReferenceUID === b.frameOfReferenceUID) return IDENTITY;
  const between = (from: Vector3, to: Vector3) => translation([to[0] - from[0], to[1] - from[1], to[2] - from[2]]);
  const candidates = [between(centreOf(a), centreOf(b)), between(centreOfMass(fixed), centreOfMass(moving)), IDENTITY];
  const grid = cubicGrid(a, 4, 60_000);
  const image = normalised(resampled(fixed.volume, grid, IDENTITY), fixed.window);
  const scores = candidates.map((move) => {
    const view = fieldOfView(b, grid, move);
    const seen = view.reduce((sum, one) => sum + one, 0) / view.length;
    const other = normalised(resampled(moving.volume, grid, move), moving.window);
    // A sliver of overlap can look alike by chance: similarity counts by how much of the grid it speaks for.
    return seen * (nmi(image, other, view) - 1);
  });
  return candidates[scores.indexOf(Math.max(...scores))] ?? IDENTITY;
}

/** Refines `start`: fixed point -> moving point, mm. */
export async function alignRigidly(
  sessions: RigidSessions,
  fixed: Prepared,
  moving: Prepared,
  start: Matrix4,
  levels: readonly Level[] = LEVELS,
): Promise<Matrix4> {
  const wide = await alignWidely(sessions.wide, fixed, moving, start);
  let move = wide;
  for (const level of levels) move = await settle(sessions.step, fixed, moving, move, level);
  return move;
}

/** The discrete matcher: bridges what the gradient of an image does not see, within a few voxels of the truth. */
async function alignWidely(session: Session, fixed: Prepared, moving: Prepared, start: Matrix4): Promise<Matrix4> {
  const level = onLevelGrid(fixed, moving, 4, WIDE_VOXELS);
  let move = start;
  for (let round = 0; round < WIDE_ROUNDS; round++) {
    const field = await runOn(session, level, moving, move, 'field');
    const view = fieldOfView(level.source.geometry, level.grid, move);
    const points = texturedPoints(level.image, view, level.grid, WIDE_STRIDE);
    const matched = displaced(points, field, level.grid);
    move = multiply(move, fitTrimmed(patientPoints(points, level.grid), matched));
  }
  return move;
}

/** Gauss-Newton steps on the descriptors of one level, as long as they bring the images closer. */
async function settle(
  session: Session,
  fixed: Prepared,
  moving: Prepared,
  start: Matrix4,
  { spacingMm, steps }: Level,
): Promise<Matrix4> {
  const level = onLevelGrid(fixed, moving, spacingMm, STEP_VOXELS);
  const place = indexToPatient(level.grid);
  let [best, cost, move, stretch] = [start, Infinity, start, 1];
  let solved: number[] | undefined;
  for (let step = 0; step <= steps; step++) {
    const terms = await runOn(session, level, moving, move, 'terms');
    const equations = normalEquations(terms, level.grid, fieldOfView(level.source.geometry, level.grid, move));
    if (equations.cost < cost) {
      [best, cost, solved] = [move, equations.cost, solveStep(equations)];
      // Noise in flat parts makes each step too short: steps that help are lengthened.
      stretch = step === 0 ? 1 : Math.min(LONGEST_STRETCH, 1.4 * stretch);
    } else if (stretch > 1) {
      stretch = 1;
    } else {
      break;
    }
    if (solved === undefined) break;
    const { map, length } = stepMap(solved, stretch, level.grid);
    if (length < SETTLED_VOXELS) break;
    move = multiply(best, multiply(place, multiply(map, invert(place))));
  }
  return best;
}

/** Rotation and translation of one step, in voxels about the grid's centre, made shorter where they overshoot. */
function stepMap(solved: readonly number[], stretch: number, grid: VolumeGeometry): { map: Matrix4; length: number } {
  const [a, b, c, x, y, z] = solved as [number, number, number, number, number, number];
  const [angle, shift] = [Math.hypot(a, b, c), Math.hypot(x, y, z)];
  const share = Math.min(stretch, LONGEST_STEP[0] / shift, LONGEST_STEP[1] / angle);
  const centre = middleOf(grid);
  const turn = multiply(
    rotationAbout([share * a, share * b, share * c]),
    translation([-centre[0], -centre[1], -centre[2]]),
  );
  const back = translation([centre[0] + share * x, centre[1] + share * y, centre[2] + share * z]);
  return { map: multiply(back, turn), length: shift + (angle * Math.max(...centre)) / 2 };
}

function middleOf({ columns, rows, slices }: VolumeGeometry): Vector3 {
  return [(columns - 1) / 2, (rows - 1) / 2, (slices - 1) / 2];
}

/** Sums J^T S J and J^T f over the voxels in view, J the motion of a voxel with the six parameters. */
function normalEquations(terms: Float32Array, grid: VolumeGeometry, view: Uint8Array): NormalEquations {
  const count = voxelCount(grid);
  const [cx, cy, cz] = middleOf(grid);
  const [matrix, vector] = [new Float64Array(36), new Float64Array(6)];
  const term = (channel: number, n: number) => at(terms, channel * count + n);
  let [residual, seen] = [0, 0];
  walk(grid, IDENTITY, (n, i, j, k) => {
    if (at(view, n) === 0) return;
    seen += 1;
    residual += term(0, n);
    const [vx, vy, vz] = [i - cx, j - cy, k - cz];
    const [fz, fy, fx] = [term(1, n), term(2, n), term(3, n)];
    const [zz, zy, zx, yy, yx, xx] = [term(4, n), term(5, n), term(6, n), term(7, n), term(8, n), term(9, n)];
    // Columns of S J: the tensor times the motion by each parameter.
    for (let p = 0; p < 6; p++) {
      const mx = p === 1 ? vz : p === 2 ? -vy : p === 3 ? 1 : 0;
      const my = p === 0 ? -vz : p === 2 ? vx : p === 4 ? 1 : 0;
      const mz = p === 0 ? vy : p === 1 ? -vx : p === 5 ? 1 : 0;
      const [sx, sy, sz] = [xx * mx + yx * my + zx * mz, yx * mx + yy * my + zy * mz, zx * mx + zy * my + zz * mz];
      vector[p] = at(vector, p) + mx * fx + my * fy + mz * fz;
      const row = 6 * p;
      matrix[row] = at(matrix, row) - vz * sy + vy * sz;
      matrix[row + 1] = at(matrix, row + 1) + vz * sx - vx * sz;
      matrix[row + 2] = at(matrix, row + 2) - vy * sx + vx * sy;
      matrix[row + 3] = at(matrix, row + 3) + sx;
      matrix[row + 4] = at(matrix, row + 4) + sy;
      matrix[row + 5] = at(matrix, row + 5) + sz;
    }
  });
  return { matrix, vector, cost: residual / seen };
}

interface Level {
  readonly spacingMm: number;
  readonly steps: number;
}

interface LevelImages {
  readonly grid: VolumeGeometry;
  readonly image: Float32Array;
  readonly source: Volume;
}

/** One output of a graph on the fixed image and the moving one as moved so far. */
async function runOn(
  session: Session,
  { grid, image, source }: LevelImages,
  moving: Prepared,
  move: Matrix4,
  output: 'field' | 'terms',
): Promise<Float32Array> {
  const dims = [1, 1, grid.slices, grid.rows, grid.columns];
  const moved = normalised(resampled(source, grid, move), moving.window);
  const result = (await session.run({ fixed: { dims, data: image }, moving: { dims, data: moved } }))[output];
  if (result === undefined) throw new Error(`a rigid graph gives no ${output}`);
  return result.data;
}

/** The fixed image on a grid of about `finestMm`, and the moving series averaged to its spacing. */
function onLevelGrid(fixed: Prepared, moving: Prepared, finestMm: number, maxVoxels: number): LevelImages {
  const { geometry } = fixed.volume;
  const grid = cubicGrid(geometry, finestMm, maxVoxels);
  const spacing = at(grid.spacingMm, 0);
  const image = normalised(resampled(averaged(fixed.volume, spacing), grid, IDENTITY), fixed.window);
  return { grid, image, source: averaged(moving.volume, spacing) };
}

/**
 * Whether the moving series, mirrored left to right about its middle and aligned in the same way, is clearly more like the
 * fixed one: then one of the two has its sides exchanged. A symmetric head stays undecided and passes.
 */
export async function mirrorLooksBetter(
  sessions: RigidSessions,
  fixed: Prepared,
  moving: Prepared,
  move: Matrix4,
): Promise<boolean> {
  const [middle] = transformPoint(move, centreOfMass(fixed));
  const mirror: Matrix4 = [-1, 0, 0, 2 * middle, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  const mirrored = await alignRigidly(sessions, fixed, moving, multiply(mirror, move), MIRROR_LEVELS);
  const [as, exchanged] = [move, mirrored].map((map) => similarityThrough(fixed, moving, map).nmi - 1);
  return (exchanged ?? 0) > MIRROR_MARGIN * (as ?? 0);
}

/** Angle of the rotation in a rigid map, degrees. */
export function rotationDegrees(m: Matrix4): number {
  const cosine = (at(m, 0) + at(m, 5) + at(m, 10) - 1) / 2;
  return (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI;
}

/** Similarity of the two images through `move`, on a coarse grid: correlation and mutual information. */
export function similarityThrough(fixed: Prepared, moving: Prepared, move: Matrix4): { ncc: number; nmi: number } {
  const grid = cubicGrid(fixed.volume.geometry, 2, 200_000);
  const a = normalised(resampled(fixed.volume, grid, IDENTITY), fixed.window);
  const b = normalised(resampled(moving.volume, grid, move), moving.window);
  const view = fieldOfView(moving.volume.geometry, grid, move);
  const body = bodyMask(a);
  const mask = view.map((inView, n) => inView & at(body, n));
  return { ncc: ncc(a, b, mask), nmi: nmi(a, b, mask) };
}

function centreOfMass({ volume, window }: Prepared): Vector3 {
  const { geometry } = volume;
  const image = normalised(volume.voxels, window);
  const body = bodyMask(image);
  let [n, count, x, y, z] = [0, 0, 0, 0, 0];
  for (let k = 0; k < geometry.slices; k++) {
    for (let j = 0; j < geometry.rows; j++) {
      for (let i = 0; i < geometry.columns; i++, n++) {
        if (at(body, n) === 0) continue;
        count += 1;
        x += i;
        y += j;
        z += k;
      }
    }
  }
  if (count === 0) return centreOf(geometry);
  return transformPoint(indexToPatient(geometry), [x / count, y / count, z / count]);
}

/** Numbers of the voxels, every `stride` along each axis, that are in view and whose neighbourhood is not flat. */
function texturedPoints(image: Float32Array, view: Uint8Array, grid: VolumeGeometry, stride: number): number[] {
  const found: { n: number; variance: number }[] = [];
  const plane = grid.columns * grid.rows;
  const half = stride / 2;
  for (let k = half; k < grid.slices - half; k += stride) {
    for (let j = half; j < grid.rows - half; j += stride) {
      for (let i = half; i < grid.columns - half; i += stride) {
        const n = k * plane + j * grid.columns + i;
        if (at(view, n) === 0) continue;
        let [sum, squares] = [0, 0];
        for (const [dk, dj, di] of CORNERS) {
          const value = at(image, n + half * (dk * plane + dj * grid.columns + di));
          sum += value;
          squares += value * value;
        }
        found.push({ n, variance: squares - (sum * sum) / CORNERS.length });
      }
    }
  }
  const sorted = Float64Array.from(found, ({ variance }) => variance).sort();
  const flat = sorted[Math.floor(FLAT_SHARE * sorted.length)] ?? 0;
  return found.filter(({ variance }) => variance > flat).map(({ n }) => n);
}

const CORNERS = [
  [0, 0, 0],
  [-1, -1, -1],
  [-1, -1, 1],
  [-1, 1, -1],
  [-1, 1, 1],
  [1, -1, -1],
  [1, -1, 1],
  [1, 1, -1],
  [1, 1, 1],
] as const;

/** Grid voxels as points in mm, three numbers each. */
function patientPoints(numbers: readonly number[], grid: VolumeGeometry): Float64Array {
  const place = indexToPatient(grid);
  const points = new Float64Array(3 * numbers.length);
  numbers.forEach((n, p) => {
    const j = Math.floor(n / grid.columns);
    points.set(transformPoint(place, [n % grid.columns, j % grid.rows, Math.floor(j / grid.rows)]), 3 * p);
  });
  return points;
}

/** The same points where the field (channels z, y, x; grid voxels) says their match lies, mm. */
function displaced(numbers: readonly number[], field: Float32Array, grid: VolumeGeometry): Float64Array {
  const points = patientPoints(numbers, grid);
  const count = voxelCount(grid);
  const place = indexToPatient(grid);
  numbers.forEach((n, p) => {
    const [u, v, w] = [at(field, 2 * count + n), at(field, count + n), at(field, n)];
    for (const r of [0, 1, 2]) {
      points[3 * p + r] =
        at(points, 3 * p + r) + at(place, 4 * r) * u + at(place, 4 * r + 1) * v + at(place, 4 * r + 2) * w;
    }
  });
  return points;
}
