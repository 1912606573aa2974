/**
 * Rigid and affine alignment by mutual information, whatever the contrasts: a search over turns and shifts on a coarse picture, the best
 * starts followed uphill from level to level, and the last of them refined on many samples. No randomness, no graph, no parameter.
 */
import type { Vector3, Volume } from '../dicom/volume.ts';
import { rotationAbout } from './rotation.ts';
import { benchFor, inform, samplesOf, slopeOf, targetOf, type Samples, type Target } from './mutual-information.ts';
import type { Prepared } from './prepared.ts';
import { withoutShading } from './shading.ts';
import { bodyMask, normalised, percentileWindow } from './similarity.ts';
import {
  IDENTITY,
  at,
  averaged,
  centreOf,
  indexToPatient,
  multiply,
  transformPoint,
  translation,
  type Matrix4,
} from './space.ts';

interface Level {
  readonly spacingMm: number;
  readonly samples: number;
  readonly steps: number;
  /** How many of the candidates go on to the next level. */
  readonly kept: number;
}

const SEARCH = { spacingMm: 12, samples: 2500, kept: 12 } as const;
const LEVELS: readonly Level[] = [
  { spacingMm: 9, samples: 5000, steps: 25, kept: 5 },
  { spacingMm: 5, samples: 20_000, steps: 25, kept: 2 },
  { spacingMm: 2.5, samples: 60_000, steps: 25, kept: 1 },
];
const FINEST: Level = { spacingMm: 1.2, samples: 120_000, steps: 20, kept: 1 };

/** Turns of the search, degrees; and shifts about each first guess, mm. */
const TURNS = [0, 17, 34];
const SHIFTS = [-22, 0, 22];
/** Fewer samples in view than this share say nothing. */
const LEAST_SEEN = 0.2;
/** Candidates that lie closer than this, mm at the radius of the samples, are one. */
const SAME_MM = 8;
const SETTLED_MM = 0.005;

/** Fixed point -> moving point, mm; of two series that were `flattened`. `start`: what one frame of reference says, tried beside all others. */
export function align(
  fixed: Prepared,
  moving: Prepared,
  options: { readonly start: Matrix4 | undefined; readonly affine: boolean },
): Matrix4 {
  let candidates = search(fixed, moving, options.start);
  for (const level of LEVELS) candidates = climbAll(fixed, moving, candidates, level, false);
  const [best = options.start ?? IDENTITY] = candidates;
  const finest = { ...FINEST, spacingMm: Math.max(FINEST.spacingMm, finestOf(fixed), finestOf(moving)) };
  const rigid = climbAll(fixed, moving, [best], finest, false)[0] ?? best;
  if (!options.affine) return rigid;
  const coarse =
    climbAll(fixed, moving, [rigid], { ...FINEST, spacingMm: 5, samples: 40_000, steps: 40 }, true)[0] ?? rigid;
  return climbAll(fixed, moving, [coarse], { ...finest, steps: 40 }, true)[0] ?? coarse;
}

/** As `align` wants to see a series: without the shading of coils, which only MR has. */
export function flattened(series: Prepared): Prepared {
  if (series.volume.modality !== 'MR') return series;
  const volume = withoutShading(series.volume, series.window);
  return { volume, window: percentileWindow(averaged(volume, 3).voxels) };
}

/** Follows one start uphill on the coarse levels alone. */
export function alignFrom(fixed: Prepared, moving: Prepared, start: Matrix4): Matrix4 {
  return LEVELS.slice(0, 2).reduce((move, level) => climbAll(fixed, moving, [move], level, false)[0] ?? move, start);
}

/** The finest spacing of a series along any axis. */
function finestOf({ volume }: Prepared): number {
  return Math.min(...volume.geometry.spacingMm);
}

interface Stage {
  readonly samples: Samples;
  readonly target: Target;
  readonly bench: ReturnType<typeof benchFor>;
}

function stageAt(fixed: Prepared, moving: Prepared, spacingMm: number, count: number): Stage {
  const samples = samplesOf(smoothed(fixed.volume, spacingMm), fixed.window, count);
  return { samples, target: targetOf(smoothed(moving.volume, spacingMm), moving.window), bench: benchFor(samples) };
}

/** Averaged to about the spacing, then over each voxel's neighbours (1 2 1): slopes reach further. */
function smoothed(volume: Volume, spacingMm: number): Volume {
  const { geometry, voxels, modality } = averaged(volume, spacingMm);
  const { columns, rows, slices } = geometry;
  let from = voxels;
  const axes = [
    { step: 1, length: columns },
    { step: columns, length: rows },
    { step: columns * rows, length: slices },
  ];
  for (const [axis, { step, length }] of axes.entries()) {
    if (at(geometry.spacingMm, axis) > 1.5 * spacingMm || length < 3) continue;
    const to = new Float32Array(from.length);
    for (let begin = 0; begin < from.length; begin += step * length)
      for (let place = 0; place < length; place++) {
        const row = begin + place * step;
        const low = place === 0 ? 0 : -step;
        const high = place === length - 1 ? 0 : step;
        for (let n = row; n < row + step; n++)
          to[n] = 0.25 * (from[n + low] as number) + 0.5 * (from[n] as number) + 0.25 * (from[n + high] as number);
      }
    from = to;
  }
  return { geometry, voxels: from, modality };
}

/** Looks everywhere: turns about the middle of the samples and shifts about each first guess. */
function search(fixed: Prepared, moving: Prepared, start: Matrix4 | undefined): Matrix4[] {
  const stage = stageAt(fixed, moving, SEARCH.spacingMm, SEARCH.samples);
  const tried: { move: Matrix4; score: number }[] = [];
  const attempt = (move: Matrix4): void => {
    tried.push({ move, score: scoreOf(stage, move) });
  };
  if (start !== undefined) attempt(start);
  const pairs: (readonly [Vector3, Vector3])[] = [
    [centreOf(fixed.volume.geometry), centreOf(moving.volume.geometry)],
    [centreOfMass(fixed), centreOfMass(moving)],
  ];
  for (const turn of turns())
    for (const [from, to] of pairs)
      for (const x of SHIFTS)
        for (const y of SHIFTS)
          for (const z of SHIFTS) {
            const place = translation([to[0] + x, to[1] + y, to[2] + z]);
            attempt(multiply(place, multiply(turn, translation([-from[0], -from[1], -from[2]]))));
          }
  return distinct(stage.samples, tried, SEARCH.kept, start);
}

/** No turn, and turns of each size about 26 axes. */
function turns(): Matrix4[] {
  const axes = [-1, 0, 1].flatMap((x) => [-1, 0, 1].flatMap((y) => [-1, 0, 1].map((z) => [x, y, z] as const)));
  return TURNS.flatMap((degrees) => {
    if (degrees === 0) return [IDENTITY];
    return axes.flatMap(([x, y, z]) => {
      const length = Math.hypot(x, y, z);
      const scale = (degrees * Math.PI) / 180 / length;
      return length === 0 ? [] : [rotationAbout([scale * x, scale * y, scale * z])];
    });
  });
}

/** A sliver of overlap can look alike by chance: likeness counts by how much of the series it speaks for. */
function scoreOf({ samples, target, bench }: Stage, move: Matrix4): number {
  const { normalised: likeness, seen } = inform(samples, target, move, bench);
  return seen < LEAST_SEEN ? -1 : Math.min(1, seen * 1.25) * (likeness - 1);
}

/** The best, each apart from those before it; `always` among them. */
function distinct(
  samples: Samples,
  tried: readonly { readonly move: Matrix4; readonly score: number }[],
  most: number,
  always?: Matrix4,
): Matrix4[] {
  const found: Matrix4[] = always === undefined ? [] : [always];
  for (const { move, score } of [...tried].sort((a, b) => b.score - a.score)) {
    if (found.length >= most || score < 0) break;
    if (found.every((other) => distanceMm(samples, other, move) >= SAME_MM)) found.push(move);
  }
  return found;
}

/** Root mean square distance between where two maps lead the samples. */
function distanceMm({ centre, radiusMm }: Samples, a: Matrix4, b: Matrix4): number {
  const [p, q] = [transformPoint(a, centre), transformPoint(b, centre)];
  let squares = (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 + (p[2] - q[2]) ** 2;
  for (const n of [0, 1, 2, 4, 5, 6, 8, 9, 10]) squares += (radiusMm * (at(a, n) - at(b, n))) ** 2 / 3;
  return Math.sqrt(squares);
}

function climbAll(
  fixed: Prepared,
  moving: Prepared,
  starts: readonly Matrix4[],
  level: Level,
  affine: boolean,
): Matrix4[] {
  const stage = stageAt(fixed, moving, level.spacingMm, level.samples);
  const ended = starts.map((start) => {
    const move = climb(stage, start, level, affine);
    return { move, score: scoreOf(stage, move) };
  });
  return distinct(stage.samples, ended, level.kept);
}

/** Quasi-Newton steps (BFGS) in the tangent of the maps at the place reached, each checked to lead uphill. */
function climb(stage: Stage, start: Matrix4, { spacingMm, steps }: Level, affine: boolean): Matrix4 {
  const { samples, target, bench } = stage;
  const size = affine ? 12 : 6;
  let move = start;
  let here = inform(samples, target, move, bench);
  let gradient = slopeOf(samples, target, move, { bench, count: here.count, affine });
  let inverse: Float64Array | undefined;
  for (let step = 0; step < steps; step++) {
    const direction = inverse === undefined ? steepest(gradient, spacingMm / 2) : product(inverse, gradient);
    const length = norm(direction);
    if (length > 2 * spacingMm) direction.forEach((one, n) => (direction[n] = (one * 2 * spacingMm) / length));
    const slope = dot(direction, gradient);
    if (!(slope > 0)) {
      if (inverse === undefined) break;
      inverse = undefined;
      continue;
    }
    let share = 1;
    let next = move;
    let there = here;
    let isHigher = false;
    while (share > 1 / 64) {
      next = multiply(move, motion(samples, direction, share, affine));
      there = inform(samples, target, next, bench);
      isHigher = there.seen >= LEAST_SEEN && there.information > here.information + 1e-4 * share * slope;
      if (isHigher) break;
      share /= 2.5;
    }
    if (!isHigher) {
      if (inverse === undefined) break;
      inverse = undefined;
      continue;
    }
    const after = slopeOf(samples, target, next, { bench, count: there.count, affine });
    const taken = direction.map((one) => share * one);
    const change = gradient.map((one, n) => one - at(after, n));
    inverse = updated(inverse, taken, change, size);
    [move, here, gradient] = [next, there, after];
    if (norm(taken) < SETTLED_MM) break;
  }
  return move;
}

function steepest(gradient: Float64Array, lengthMm: number): Float64Array {
  const length = norm(gradient);
  return gradient.map((one) => (length > 0 ? (one * lengthMm) / length : 0));
}

/** The BFGS update of the inverse of the (negated) second derivative; a step without curvature leaves it. */
function updated(
  inverse: Float64Array | undefined,
  s: Float64Array,
  y: Float64Array,
  size: number,
): Float64Array | undefined {
  const curvature = dot(s, y);
  if (!(curvature > 1e-12)) return inverse;
  const scale = curvature / dot(y, y);
  const h = inverse ?? Float64Array.from({ length: size * size }, (_, n) => (n % (size + 1) === 0 ? scale : 0));
  const hy = product(h, y);
  const yhy = dot(y, hy);
  return h.map((one, n) => {
    const [r, c] = [Math.floor(n / size), n % size];
    return (
      one +
      ((1 + yhy / curvature) * at(s, r) * at(s, c)) / curvature -
      (at(hy, r) * at(s, c) + at(s, r) * at(hy, c)) / curvature
    );
  });
}

/** What a step of these lengths does to fixed points, mm. */
function motion({ centre, radiusMm }: Samples, direction: Float64Array, share: number, affine: boolean): Matrix4 {
  const d = (n: number) => share * at(direction, n);
  const shift = affine ? 9 : 3;
  const linear = affine
    ? [
        1 + d(0) / radiusMm,
        d(1) / radiusMm,
        d(2) / radiusMm,
        0,
        d(3) / radiusMm,
        1 + d(4) / radiusMm,
        d(5) / radiusMm,
        0,
        d(6) / radiusMm,
        d(7) / radiusMm,
        1 + d(8) / radiusMm,
        0,
        0,
        0,
        0,
        1,
      ]
    : rotationAbout([d(0) / radiusMm, d(1) / radiusMm, d(2) / radiusMm]);
  const back = translation([centre[0] + d(shift), centre[1] + d(shift + 1), centre[2] + d(shift + 2)]);
  return multiply(back, multiply(linear, translation([-centre[0], -centre[1], -centre[2]])));
}

function product(matrix: Float64Array, vector: Float64Array): Float64Array {
  const size = vector.length;
  return vector.map((_, r) => {
    let sum = 0;
    for (let c = 0; c < size; c++) sum += at(matrix, r * size + c) * at(vector, c);
    return sum;
  });
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, one, n) => sum + one * at(b, n), 0);
}

function norm(vector: Float64Array): number {
  return Math.sqrt(dot(vector, vector));
}

/** The middle of what is body. */
export function centreOfMass({ volume, window }: Prepared): Vector3 {
  const { geometry, voxels } = averaged(volume, 6);
  const body = bodyMask(normalised(voxels, window));
  let [n, count, x, y, z] = [0, 0, 0, 0, 0];
  for (let k = 0; k < geometry.slices; k++)
    for (let j = 0; j < geometry.rows; j++)
      for (let i = 0; i < geometry.columns; i++, n++) {
        if (at(body, n) === 0) continue;
        count += 1;
        x += i;
        y += j;
        z += k;
      }
  if (count === 0) return centreOf(geometry);
  return transformPoint(indexToPatient(geometry), [x / count, y / count, z / count]);
}
