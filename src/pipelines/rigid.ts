/** Rigid alignment by the ONNX matchers: their displacement fields, fitted by trimmed least squares, round after round. */
import type { Vector3, Volume, VolumeGeometry } from '../dicom/volume.ts';
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
  multiply,
  resampled,
  transformPoint,
  translation,
  voxelCount,
} from './space.ts';
import type { Matrix4 } from './space.ts';

/** The matchers from far-reaching to fine. */
export interface RigidSessions {
  readonly wide: Session;
  readonly middle: Session;
  readonly fine: Session;
}

/** Two series made ready: averaged to about the working spacing, each with its intensity window. */
export interface Prepared {
  readonly volume: Volume;
  readonly window: Window;
}

/** Matcher of each round, and how far apart the voxels are that enter the fit. */
const ROUNDS = [
  ['wide', 4],
  ['wide', 4],
  ['wide', 4],
  ['middle', 2],
  ['middle', 2],
  ['middle', 2],
  ['fine', 2],
  ['fine', 2],
] as const;

const MAX_VOXELS = 400_000;
/** Mirrored mutual information must exceed the plain one by this factor before a pair is refused. */
const MIRROR_MARGIN = 1.25;
const MIRROR_ROUNDS = 4;
const REFITS = 8;
const KEPT_SHARE = 0.6;
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
  rounds: number = ROUNDS.length,
): Promise<Matrix4> {
  const finest = Math.max(...fixed.volume.geometry.spacingMm.map((mm) => Math.min(mm, 4)));
  const grid = cubicGrid(fixed.volume.geometry, finest, MAX_VOXELS);
  const source = averaged(moving.volume, at(grid.spacingMm, 0));
  const dims = [1, 1, grid.slices, grid.rows, grid.columns];
  const image = normalised(resampled(averaged(fixed.volume, at(grid.spacingMm, 0)), grid, IDENTITY), fixed.window);
  let move = start;
  for (const [matcher, stride] of ROUNDS.slice(0, rounds)) {
    const moved = normalised(resampled(source, grid, move), moving.window);
    const view = fieldOfView(source.geometry, grid, move);
    const feeds = { fixed: { dims, data: image }, moving: { dims, data: moved } };
    const { field } = await sessions[matcher].run(feeds);
    if (field === undefined) throw new Error(`graph ${matcher} gives no field`);
    const points = texturedPoints(image, view, grid, stride);
    move = multiply(move, fitTrimmed(patientPoints(points, grid), displaced(points, field.data, grid)));
  }
  return move;
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
  const mirrored = await alignRigidly(sessions, fixed, moving, multiply(mirror, move), MIRROR_ROUNDS);
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

/** The rigid map x -> y of least squares over the best share of the points, refitted until it settles. */
export function fitTrimmed(x: Float64Array, y: Float64Array): Matrix4 {
  const count = x.length / 3;
  if (count < 20) return IDENTITY;
  let map = fitRigid(
    x,
    y,
    Array.from({ length: count }, (_, p) => p),
  );
  for (let refit = 1; refit < REFITS; refit++) {
    const errors = new Float64Array(count);
    for (let p = 0; p < count; p++) {
      const q = transformPoint(map, [at(x, 3 * p), at(x, 3 * p + 1), at(x, 3 * p + 2)]);
      errors[p] = (q[0] - at(y, 3 * p)) ** 2 + (q[1] - at(y, 3 * p + 1)) ** 2 + (q[2] - at(y, 3 * p + 2)) ** 2;
    }
    const limit = at(errors.slice().sort(), Math.floor(KEPT_SHARE * (count - 1)));
    map = fitRigid(x, y, indicesBelow(errors, limit));
  }
  return map;
}

function indicesBelow(errors: Float64Array, limit: number): number[] {
  const found: number[] = [];
  errors.forEach((error, p) => {
    if (error <= limit) found.push(p);
  });
  return found;
}

/** Horn's closed form (J. Opt. Soc. Am. A 4, 1987): the rotation is the largest eigenvector of a 4x4 matrix, never a mirror. */
function fitRigid(x: Float64Array, y: Float64Array, points: readonly number[]): Matrix4 {
  const mean = (values: Float64Array, r: number) =>
    points.reduce((sum, p) => sum + at(values, 3 * p + r), 0) / points.length;
  const from: Vector3 = [mean(x, 0), mean(x, 1), mean(x, 2)];
  const to: Vector3 = [mean(y, 0), mean(y, 1), mean(y, 2)];
  const s = new Float64Array(9);
  for (const p of points) {
    for (let r = 0; r < 3; r++) {
      const a = at(x, 3 * p + r) - at(from, r);
      for (let c = 0; c < 3; c++) s[3 * r + c] = at(s, 3 * r + c) + a * (at(y, 3 * p + c) - at(to, c));
    }
  }
  const rotation = rotationOf(largestEigenvector(hornMatrix(s)));
  const back = transformPoint(rotation, from);
  return multiply(translation([to[0] - back[0], to[1] - back[1], to[2] - back[2]]), rotation);
}

function hornMatrix(s: Float64Array): Float64Array {
  const [xx, xy, xz, yx, yy, yz, zx, zy, zz] = s as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return Float64Array.of(
    xx + yy + zz,
    yz - zy,
    zx - xz,
    xy - yx,
    yz - zy,
    xx - yy - zz,
    xy + yx,
    zx + xz,
    zx - xz,
    xy + yx,
    yy - xx - zz,
    yz + zy,
    xy - yx,
    zx + xz,
    yz + zy,
    zz - xx - yy,
  );
}

/** Of a symmetric 4x4 matrix, by Jacobi rotations. */
function largestEigenvector(matrix: Float64Array): [number, number, number, number] {
  const m = matrix.slice();
  const v = Float64Array.from(IDENTITY);
  for (let sweep = 0; sweep < 30; sweep++) {
    for (let p = 0; p < 3; p++) {
      for (let q = p + 1; q < 4; q++) {
        const off = at(m, 4 * p + q);
        if (off === 0) continue;
        const angle = 0.5 * Math.atan2(2 * off, at(m, 4 * p + p) - at(m, 4 * q + q));
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        rotateColumns(m, p, q, c, s);
        rotateRows(m, p, q, c, s);
        rotateColumns(v, p, q, c, s);
      }
    }
  }
  const diagonal = [0, 5, 10, 15].map((n) => at(m, n));
  const column = diagonal.indexOf(Math.max(...diagonal));
  return [at(v, column), at(v, 4 + column), at(v, 8 + column), at(v, 12 + column)];
}

function rotateColumns(m: Float64Array, p: number, q: number, c: number, s: number): void {
  for (let row = 0; row < 4; row++) {
    const [a, b] = [at(m, 4 * row + p), at(m, 4 * row + q)];
    m[4 * row + p] = c * a + s * b;
    m[4 * row + q] = c * b - s * a;
  }
}

function rotateRows(m: Float64Array, p: number, q: number, c: number, s: number): void {
  for (let column = 0; column < 4; column++) {
    const [a, b] = [at(m, 4 * p + column), at(m, 4 * q + column)];
    m[4 * p + column] = c * a + s * b;
    m[4 * q + column] = c * b - s * a;
  }
}

function rotationOf([w, x, y, z]: readonly [number, number, number, number]): Matrix4 {
  return [
    w * w + x * x - y * y - z * z,
    2 * (x * y - w * z),
    2 * (x * z + w * y),
    0,
    2 * (x * y + w * z),
    w * w - x * x + y * y - z * z,
    2 * (y * z - w * x),
    0,
    2 * (x * z - w * y),
    2 * (y * z + w * x),
    w * w - x * x - y * y + z * z,
    0,
    0,
    0,
    0,
    1,
  ];
}
