/**
 * Is there a head in the grid, and where: skin, cranium, skull under the skin, and the inside of the skull as far as its contrast tells.
 * Every doubt is a refusal.
 */
import type { Vector3 } from '../../dicom/slices.ts';
import { distanceTo, fitCranium, inPatient, type Cranium } from './cranium.ts';
import { cellAt, type Grid } from './grid.ts';
import { dilated, eroded, filled, largestPart } from './morphology.ts';
import { sealed, type Modality } from './stack.ts';

export interface HeadFound {
  readonly cranium: Cranium;
  /** Above it a voxel is body, not air. */
  readonly bodyAbove: number;
  /** Cells of the head and what hangs on it, cavities included. */
  readonly body: Uint8Array;
  /** Cells inside the skull: brain and what surrounds it. */
  readonly inside: Uint8Array;
  readonly figures: FitFigures;
}

export interface FitFigures {
  readonly rmsMm: number;
  /** Part of the directions over the brow that fit, and in which skull lies under the skin. */
  readonly near: number;
  readonly skull: number;
  readonly pitchDegrees: number;
  readonly yawDegrees: number;
  readonly rollDegrees: number;
}

const CT_BODY_HU = -350;
const BONE_HU = 160;

/** @throws Refusal Quarantined */
export function findHead(grid: Grid, modality: Modality): HeadFound {
  const bodyAbove = bodyThreshold(grid, modality);
  const { size, mean, cellMm } = grid;
  const above = Uint8Array.from(mean, (value) => (value > bodyAbove ? 1 : 0));
  // Tables, head rests and noise hang together with the head by thin things at most.
  const whole = withoutHoles(above, size, CLOSED_MM / cellMm);
  const opened = dilated(largestPart(eroded(whole, size, 2), size), size, 2);
  const solid = Uint8Array.from(opened, (value, cell) => (value === 1 && Number.isFinite(mean[cell] ?? NaN) ? 1 : 0));
  const top = topOf(grid, solid);
  const start = startOf(grid, solid, top);
  let points = skinPoints(grid, solid, start.middle);
  let fit = fitCranium(points.points, start.middle, start.semi);
  // Once more from the middle that was found.
  points = skinPoints(grid, solid, fit.cranium.centreMm);
  fit = fitCranium(points.points, fit.cranium.centreMm, fit.cranium.semiMm);
  const { cranium } = fit;
  refuseCutOff(points.seen);
  refuseStrange(cranium, fit.rmsMm, fit.near);
  refuseTurned(angles(cranium));
  const skull = skullUnderSkin(grid, modality, cranium, bodyAbove);
  if (skull < (modality === 'CT' ? 0.6 : 0.35))
    throw sealed(
      `a skull lies under ${(100 * skull).toFixed(0)} % of the surface, ${modality === 'CT' ? 60 : 35} % are needed: this may be no head, or one without skin`,
    );
  const body = largestPart(whole, size, (cell) => opened[cell] === 1);
  const inside = insideSkull(grid, modality, cranium, bodyAbove);
  const brainMl = (inside.reduce((sum, value) => sum + value, 0) * cellMm ** 3) / 1000;
  if (brainMl < 250) throw sealed(`${brainMl.toFixed(0)} ml were found inside a skull; at least 250 are needed`);
  return { cranium, bodyAbove, body, inside, figures: { rmsMm: fit.rmsMm, near: fit.near, skull, ...angles(cranium) } };
}

/** Nostrils and ear canals are narrower: bone, dark in MR, must not be taken for the air outside. */
const CLOSED_MM = 7.5;

function withoutHoles(set: Uint8Array, size: Vector3, cells: number): Uint8Array {
  const closed = eroded(filled(dilated(set, size, cells), size), size, cells);
  return closed.map((value, cell) => value | (set[cell] ?? 0));
}

function angles({ axes }: Cranium): Angles {
  const degrees = (radians: number): number => (radians * 180) / Math.PI;
  return {
    yawDegrees: degrees(Math.atan2(-axes[1][0], axes[1][1])),
    pitchDegrees: degrees(Math.asin(axes[1][2])),
    rollDegrees: degrees(Math.atan2(-axes[0][2], axes[2][2])),
  };
}

/** Above it a voxel is body, not air. @throws Refusal Quarantined for images without anything in them */
export function bodyThreshold(grid: Grid, modality: Modality): number {
  return modality === 'CT' ? CT_BODY_HU : mrThreshold(grid);
}

/** Between noise and tissue, of means: well over the first, well under the second, so that dark skin still counts. */
function mrThreshold({ mean }: Grid): number {
  const values = mean.filter((value) => Number.isFinite(value)).sort();
  const at = (part: number): number => values[Math.min(values.length - 1, Math.floor(part * values.length))] ?? 0;
  const high = at(0.985);
  const otsu = otsuOf(values, high);
  let low = 0;
  while (low < values.length && (values[low] ?? 0) < otsu * 0.5) low++;
  const dark = values.subarray(0, Math.max(1, low));
  const noise = dark[dark.length >> 1] ?? 0;
  if (!(high > noise)) throw sealed('the images are empty');
  return Math.max(noise + 0.1 * (high - noise), Math.min(2.2 * noise, 0.5 * otsu), 0.42 * otsu);
}

function otsuOf(sorted: Float32Array, high: number): number {
  const BINS = 256;
  const bins = new Float64Array(BINS);
  const low = sorted[0] ?? 0;
  const width = (high - low) / BINS || 1;
  for (const value of sorted) bins[Math.max(0, Math.min(BINS - 1, Math.floor((value - low) / width)))]!++;
  const total = sorted.length;
  const sum = bins.reduce((all, count, bin) => all + count * bin, 0);
  let [under, underSum, best, bestBin] = [0, 0, -1, 0];
  for (let bin = 0; bin < BINS; bin++) {
    under += bins[bin] ?? 0;
    underSum += bin * (bins[bin] ?? 0);
    if (under === 0 || under === total) continue;
    const between = (underSum * total - sum * under) ** 2 / (under * (total - under));
    if (between > best) [best, bestBin] = [between, bin];
  }
  return low + (bestBin + 0.5) * width;
}

/** Area of a layer that counts as the top of a head, and that a whole head does not begin with. */
const TOP_AREA_MM2 = 900;
const CUT_AREA_MM2 = 5500;

/** The highest layer of the head. @throws Refusal when the scan begins below it */
function topOf({ size, cellMm, mean }: Grid, solid: Uint8Array): number {
  const [nx, ny, nz] = size;
  let highestData = -1;
  for (let z = nz - 1; z >= 0; z--) {
    let [area, data] = [0, 0];
    for (let cell = z * nx * ny; cell < (z + 1) * nx * ny; cell++) {
      area += solid[cell] ?? 0;
      if (Number.isFinite(mean[cell] ?? NaN)) data++;
    }
    if (data > 0 && highestData < 0) highestData = z;
    if (area * cellMm ** 2 < TOP_AREA_MM2) continue;
    if (z >= highestData - 1 && area * cellMm ** 2 > CUT_AREA_MM2)
      throw sealed('the top of the head is not in the images');
    return z;
  }
  throw sealed('nothing as large as a head is in the images');
}

function startOf(
  { size, cellMm, originMm }: Grid,
  solid: Uint8Array,
  top: number,
): { readonly middle: Vector3; readonly semi: Vector3 } {
  const [nx, ny] = size;
  const from = Math.max(0, top - Math.round(80 / cellMm));
  const to = Math.max(0, top - Math.round(35 / cellMm));
  if (from === 0) throw sealed('less than 80 mm of a head are in the images');
  let [count, sumX, sumY] = [0, 0, 0];
  const widths: number[] = [];
  const lengths: number[] = [];
  for (let z = from; z <= to; z++) {
    let [left, right, front, back] = [nx, -1, ny, -1];
    for (let y = 0; y < ny; y++) {
      for (let x = 0; x < nx; x++) {
        if (solid[(z * ny + y) * nx + x] !== 1) continue;
        count++;
        sumX += x;
        sumY += y;
        left = Math.min(left, x);
        right = Math.max(right, x);
        front = Math.min(front, y);
        back = Math.max(back, y);
      }
    }
    widths.push(right - left + 1);
    lengths.push(back - front + 1);
  }
  const half = (values: number[]): number => (Math.max(...values) * cellMm) / 2;
  const [a, b] = [half(widths), half(lengths)];
  if (a < 45 || b < 50 || a > 140 || b > 160)
    throw sealed(
      `what is in the images is ${(2 * a).toFixed(0)} x ${(2 * b).toFixed(0)} mm wide where a head was looked for`,
    );
  const [semiA, semiB] = [Math.min(a, 95), Math.min(b, 115)];
  const semiC = HEIGHT * Math.sqrt(semiA * semiB);
  return {
    middle: [
      originMm[0] + (sumX / count) * cellMm,
      originMm[1] + (sumY / count) * cellMm,
      originMm[2] + top * cellMm - semiC,
    ],
    semi: [semiA, semiB, semiC],
  };
}

const HEIGHT = 0.93;

/** Sectors of the horizon: front, left, back, right; and the top. */
interface Seen {
  readonly front: number;
  readonly left: number;
  readonly back: number;
  readonly right: number;
  readonly top: number;
}

const DIRECTIONS = 1500;

/** Where rays from far outside first meet the head, over the whole upper half; those that leave the images are not told of. */
function skinPoints(grid: Grid, solid: Uint8Array, middle: Vector3): { points: Vector3[]; seen: Seen } {
  const points: Vector3[] = [];
  const seen = { front: [0, 0], left: [0, 0], back: [0, 0], right: [0, 0], top: [0, 0] } as Record<
    keyof Seen,
    [number, number]
  >;
  for (const direction of upperDirections(DIRECTIONS)) {
    const sector = sectorOf(direction);
    seen[sector][1]++;
    const point = firstHit(grid, solid, middle, direction);
    if (point === undefined) continue;
    seen[sector][0]++;
    points.push(point);
  }
  const part = (sector: keyof Seen): number => seen[sector][0] / Math.max(1, seen[sector][1]);
  return {
    points,
    seen: { front: part('front'), left: part('left'), back: part('back'), right: part('right'), top: part('top') },
  };
}

function sectorOf([x, y, z]: Vector3): keyof Seen {
  if (z > 0.77) return 'top';
  if (Math.abs(y) > Math.abs(x)) return y < 0 ? 'front' : 'back';
  return x > 0 ? 'left' : 'right';
}

/** Evenly over the half above the horizon and a little below it. */
function* upperDirections(count: number): Generator<Vector3> {
  const golden = Math.PI * (3 - Math.sqrt(5));
  for (let index = 0; index < count; index++) {
    const z = 1 - (index + 0.5) * (1.05 / count);
    const radius = Math.sqrt(Math.max(0, 1 - z * z));
    yield [radius * Math.cos(index * golden), radius * Math.sin(index * golden), z];
  }
}

/** undefined: the head goes on beyond what was scanned, or there is nothing in this direction. */
function firstHit(grid: Grid, solid: Uint8Array, middle: Vector3, direction: Vector3): Vector3 | undefined {
  const step = grid.cellMm / 3;
  let air = false;
  for (let mm = 170; mm > 20; mm -= step) {
    const [x, y, z] = [0, 1, 2].map((axis) => (middle[axis] ?? 0) + mm * (direction[axis] ?? 0)) as [
      number,
      number,
      number,
    ];
    const cell = cellAt(grid, x, y, z);
    if (cell < 0 || !Number.isFinite(grid.mean[cell] ?? NaN)) {
      air = false;
      continue;
    }
    if (solid[cell] !== 1) {
      air = true;
      continue;
    }
    return air ? [x, y, z] : undefined;
  }
  return undefined;
}

function refuseCutOff(seen: Seen): void {
  if (seen.top < 0.5) throw sealed('the top of the head is not in the images');
  if (seen.front < 0.5) throw sealed('the forehead is not in the images');
  if (seen.back < 0.35) throw sealed('the back of the head is not in the images');
  if (Math.max(seen.left, seen.right) < 0.4) throw sealed('the sides of the head are not in the images');
}

function refuseStrange({ semiMm: [a, b, c] }: Cranium, rmsMm: number, near: number): void {
  const isHead = a > 48 && a < 100 && b > 58 && b < 125 && c > 48 && c < 115 && b / a > 0.95 && b / a < 1.6;
  if (!isHead)
    throw sealed(
      `what was found is ${(2 * a).toFixed(0)} x ${(2 * b).toFixed(0)} x ${(2 * c).toFixed(0)} mm large, not as a head is`,
    );
  if (near < 0.8 || rmsMm > 3.8)
    throw sealed(
      `the surface is not that of a head: ${(100 * near).toFixed(0)} % of it lies on an ellipsoid, ${rmsMm.toFixed(1)} mm off`,
    );
}

type Angles = Pick<FitFigures, 'pitchDegrees' | 'yawDegrees' | 'rollDegrees'>;

/** Nobody lies in a scanner like this: either it is no head, or its front is not where the orientation says. */
function refuseTurned({ yawDegrees, pitchDegrees, rollDegrees }: Angles): void {
  if (Math.abs(yawDegrees) > 40 || Math.abs(pitchDegrees) > 40 || Math.abs(rollDegrees) > 25)
    throw sealed(
      `what was found is turned by ${yawDegrees.toFixed(0)}, ${pitchDegrees.toFixed(0)} and ${rollDegrees.toFixed(0)} degrees, not as a head lies in a scanner`,
    );
}

/**
 * In how many directions over the brow skull lies under the skin: bone in CT, a dark band between scalp and brain in MR. A brain that
 * was taken out of its head by somebody else has none, and neither has a knee.
 */
function skullUnderSkin(grid: Grid, modality: Modality, cranium: Cranium, bodyAbove: number): number {
  let [found, asked] = [0, 0];
  const step = grid.cellMm / 2;
  for (const direction of upperDirections(600)) {
    if (direction[2] < 0.1) continue;
    const profile: number[] = [];
    const radius = 100 - distanceTo(cranium, inPatient(cranium, along(direction, 100)));
    for (let mm = radius + 10; mm > radius - 34; mm -= step) {
      const cell = cellAt(grid, ...inPatient(cranium, along(direction, mm)));
      profile.push(cell < 0 ? NaN : (grid.mean[cell] ?? NaN));
    }
    if (profile.some(Number.isNaN)) continue;
    asked++;
    if (modality === 'CT' ? Math.max(...profile) > BONE_HU : hasDarkBand(profile, bodyAbove)) found++;
  }
  return asked < 60 ? 0 : found / asked;
}

function along([x, y, z]: Vector3, mm: number): Vector3 {
  return [x * mm, y * mm, z * mm];
}

/** From outside: air, a bright layer, a darker one, and brighter again. */
function hasDarkBand(profile: readonly number[], bodyAbove: number): boolean {
  const start = profile.findIndex((value) => value > bodyAbove);
  if (start < 0) return false;
  const under = profile.slice(start);
  for (let at = 1; at < under.length - 1; at++) {
    const outer = Math.max(...under.slice(0, at));
    const inner = Math.max(...under.slice(at + 1));
    if ((under[at] ?? 0) < 0.75 * Math.min(outer, inner)) return true;
  }
  return false;
}

const CORE_MM = 6;

/**
 * What hangs together with the middle of the head when thin bridges (nerves, vessels, sutures) are cut, grown back to where it ended. It
 * never reaches out of the cranium, so that what leaks through the base of the skull protects no face.
 */
function insideSkull(grid: Grid, modality: Modality, cranium: Cranium, bodyAbove: number): Uint8Array {
  const { size, mean, cellMm } = grid;
  const places = new Float32Array(mean.length).fill(NaN);
  eachCell(grid, (cell, point) => {
    places[cell] = distanceTo(cranium, point);
  });
  const middle: number[] = [];
  for (let cell = 0; cell < mean.length; cell++)
    if ((places[cell] ?? 0) < -0.45 * Math.min(...cranium.semiMm) && Number.isFinite(mean[cell] ?? NaN))
      middle.push(mean[cell] ?? 0);
  middle.sort((a, b) => a - b);
  const usual = middle[middle.length >> 1] ?? 0;
  const [low, high] = modality === 'CT' ? [-30, 110] : [Math.max(bodyAbove, 0.42 * usual), Infinity];
  const tissue = Uint8Array.from(mean, (value, cell) =>
    value >= low && value <= high && (places[cell] ?? 1) < -2 ? 1 : 0,
  );
  const cells = CORE_MM / cellMm;
  const core = largestPart(eroded(tissue, size, cells), size);
  const grown = dilated(core, size, cells + 0.8);
  const closed = filled(grown, size);
  return Uint8Array.from(closed, (value, cell) => (value === 1 && (places[cell] ?? 1) < -3 ? 1 : 0));
}

function eachCell({ size, originMm, cellMm }: Grid, work: (cell: number, point: Vector3) => void): void {
  let cell = 0;
  for (let z = 0; z < size[2]; z++)
    for (let y = 0; y < size[1]; y++)
      for (let x = 0; x < size[0]; x++)
        work(cell++, [originMm[0] + x * cellMm, originMm[1] + y * cellMm, originMm[2] + z * cellMm]);
}
