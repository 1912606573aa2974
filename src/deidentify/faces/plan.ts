/**
 * What is to be done to the frames of a series, so that each can be done by itself, today or when it comes late, and every time the
 * same: where the head lies, what stays untouched, and what takes the face's place. One plan for all volumes in the same places.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { Refusal } from '../../dicom/refusal.ts';
import type { Plane, Vector3 } from '../../dicom/slices.ts';
import type { Cranium } from './cranium.ts';
import type { Grid } from './grid.ts';
import type { HeadFound } from './head.ts';
import { squaredDistance } from './morphology.ts';
import { cross, dot, refuseOther, sealed, type Modality, type Stack } from './stack.ts';
import { zoneOf } from './zone.ts';

export const PLAN_VERSION = 1;

export interface FacePlan {
  readonly version: typeof PLAN_VERSION;
  readonly modality: Modality;
  readonly cranium: Cranium;
  /** Above it a voxel is body, not air. */
  readonly bodyAbove: number;
  readonly grid: Pick<Grid, 'cellMm' | 'originMm' | 'size'>;
  /** Of each cell: 0 the zone decides, 1 inside the skull and untouched, 2 air that may hold the face's ghost. Deflated, base64. */
  readonly fates: string;
  /** Real values that the air of this series has, evenly over their distribution. */
  readonly air: readonly number[];
  readonly planes: {
    readonly columns: number;
    readonly rows: number;
    readonly spacingMm: readonly [number, number];
    readonly row: Vector3;
    readonly column: Vector3;
    readonly firstMm: number;
    readonly lastMm: number;
    readonly stepMm: number;
    /** Of the first and the last plane, and how many there are. Not in the one plan of a series that an earlier version wrote. */
    readonly line?: { readonly from: Vector3; readonly to: Vector3; readonly count: number };
  };
}

/** One plan for each place that volumes of the series lie in. */
export type SeriesPlan = readonly FacePlan[];

/** As it was written down: before series of several volumes, a plan was one alone. */
export function readSeriesPlan(json: string): SeriesPlan {
  const read = JSON.parse(json) as FacePlan | SeriesPlan;
  return Array.isArray(read) ? (read as SeriesPlan) : [read as FacePlan];
}

export const INSIDE = 1;
export const GHOST = 2;

/** An MR's air is cleaned as near to the head as this. */
const AIR_FROM_MM = 12;
const AIR_VALUES = 64;

/** @throws Refusal Quarantined when the inside of the skull reaches far into where the face should be */
export function planOf(stack: Stack, grid: Grid, head: HeadFound): FacePlan {
  const { modality, planes } = stack;
  const [first] = planes;
  if (first === undefined) throw sealed('the series has no image');
  const { row, column, spacingMm, format } = first;
  const fromBody = squaredDistance(head.body, grid.size, 1);
  const airCells = (AIR_FROM_MM / grid.cellMm) ** 2;
  const fates = Uint8Array.from(head.inside, (inside, cell) => {
    if (inside === 1) return INSIDE;
    return modality === 'MR' && (fromBody[cell] ?? 0) > airCells ? GHOST : 0;
  });
  refuseInsideOutside(head, grid);
  return {
    version: PLAN_VERSION,
    modality,
    cranium: rounded(head.cranium),
    bodyAbove: head.bodyAbove,
    grid: { cellMm: grid.cellMm, originMm: grid.originMm, size: grid.size },
    fates: deflateRawSync(fates, { level: 9 }).toString('base64'),
    air: airOf(grid, modality, fromBody, airCells),
    planes: {
      columns: format.columns,
      rows: format.rows,
      spacingMm,
      row,
      column,
      firstMm: stack.placesMm[0] ?? 0,
      lastMm: stack.placesMm.at(-1) ?? 0,
      stepMm: stack.stepMm,
      line: { from: first.positionMm, to: planes.at(-1)?.positionMm ?? first.positionMm, count: planes.length },
    },
  };
}

/** Part of the inside of the skull that the zone may claim: the base of the skull is no ellipsoid. More, and this is another head than thought. */
const MOST_CONTESTED = 0.04;

function refuseInsideOutside({ cranium, inside }: HeadFound, { size, originMm, cellMm }: Grid): void {
  const zone = zoneOf(cranium.semiMm);
  const { centreMm, axes, level } = cranium;
  let [all, contested, cell] = [0, 0, 0];
  for (let z = 0; z < size[2]; z++) {
    for (let y = 0; y < size[1]; y++) {
      for (let x = 0; x < size[0]; x++, cell++) {
        if (inside[cell] !== 1) continue;
        all++;
        const place: Vector3 = [
          originMm[0] + x * cellMm - centreMm[0],
          originMm[1] + y * cellMm - centreMm[1],
          originMm[2] + z * cellMm - centreMm[2],
        ];
        const [x1, y1, z1] = [dot(axes[0], place), dot(axes[1], place), dot(axes[2], place)];
        if (zone(x1, y1, z1, dot(level[1], place), dot(level[2], place))) contested++;
      }
    }
  }
  if (contested > MOST_CONTESTED * all)
    throw sealed(
      `${((100 * contested) / all).toFixed(1)} % of the inside of the skull lies where the face was expected; up to ${100 * MOST_CONTESTED} % may`,
    );
}

/** Numbers that JSON repeats exactly, and no more digits than are known. */
function rounded({ centreMm, axes, level, semiMm }: Cranium): Cranium {
  const digits = (values: Vector3, factor: number): Vector3 =>
    values.map((value) => Math.round(value * factor) / factor) as unknown as Vector3;
  return {
    centreMm: digits(centreMm, 100),
    semiMm: digits(semiMm, 100),
    axes: [digits(axes[0], 1e6), digits(axes[1], 1e6), digits(axes[2], 1e6)],
    level: [digits(level[0], 1e6), digits(level[1], 1e6), digits(level[2], 1e6)],
  };
}

const FEWEST_SAMPLES = 200;

/** Without the brightest tenth, which ghosts and flow may have made. */
function airOf(grid: Grid, modality: Modality, fromBody: Float32Array, beyond: number): number[] {
  const samples: number[] = [];
  for (let cell = 0; cell < fromBody.length; cell++) {
    if ((fromBody[cell] ?? 0) <= beyond || !Number.isFinite(grid.mean[cell] ?? NaN)) continue;
    const value = grid.one[cell] ?? 0;
    if (modality === 'MR' || (value > -1100 && value < -850)) samples.push(value);
  }
  if (samples.length < FEWEST_SAMPLES) {
    if (modality === 'CT') return [-1000];
    const all = grid.mean.filter((value) => Number.isFinite(value)).sort();
    return [all[Math.floor(all.length / 50)] ?? 0];
  }
  samples.sort((a, b) => a - b);
  return Array.from({ length: AIR_VALUES }, (_, index) => {
    const part = 0.02 + (0.88 * (index + 0.5)) / AIR_VALUES;
    return samples[Math.floor(part * samples.length)] ?? 0;
  });
}

/** A plan that is worked with. */
export interface OpenPlan {
  readonly plan: FacePlan;
  readonly fates: Uint8Array;
}

export function openPlan(plan: FacePlan): OpenPlan {
  const [nx, ny, nz] = plan.grid.size;
  const fates = inflateRawSync(Buffer.from(plan.fates, 'base64'), { maxOutputLength: nx * ny * nz });
  if (plan.version !== PLAN_VERSION || fates.length !== nx * ny * nz)
    throw new Error('this is no plan of this version');
  return { plan, fates };
}

/**
 * The plan for one plane: that of the volume in whose place it lies, also when it comes late; of the same size and direction, between or
 * next to those that the plan was made of. Answers its position in the series' plan. @throws Refusal Quarantined
 */
export function planFor(plans: SeriesPlan, plane: Plane): number {
  const fitting = [...plans.keys()].filter((index) => fits(plans[index], plane));
  const chosen = fitting.sort((a, b) => misfit(plans[a], plane) - misfit(plans[b], plane))[0] ?? 0;
  const plan = plans[chosen];
  if (plan === undefined) throw new Error('a series has no plan');
  refuseStranger(plan, plane);
  return chosen;
}

function fits(plan: FacePlan | undefined, plane: Plane): boolean {
  try {
    if (plan !== undefined) refuseStranger(plan, plane);
    return plan !== undefined;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

function refuseStranger(plan: FacePlan, plane: Plane): void {
  const { columns, rows, spacingMm, row, column, firstMm, lastMm, stepMm } = plan.planes;
  refuseOther(plane, { format: { ...plane.format, columns, rows }, spacingMm, row, column });
  const place = dot(plane.positionMm, cross(row, column));
  if (place < firstMm - 1.6 * stepMm || place > lastMm + 1.6 * stepMm)
    throw sealed('the image lies outside of the volume in which the face was found');
}

/** How far the plane is from the nearest place of the plan's, were they evenly spaced. */
function misfit(plan: FacePlan | undefined, { positionMm }: Plane): number {
  const line = plan?.planes.line;
  if (line === undefined) return 0;
  const { from, to, count } = line;
  const along = minus(to, from);
  const part = dot(minus(positionMm, from), along) / dot(along, along);
  const place = Math.round(part * (count - 1)) / (count - 1);
  return Math.hypot(...minus(positionMm, from).map((mm, axis) => mm - place * (along[axis] ?? 0)));
}

function minus(a: Vector3, b: Vector3): Vector3 {
  return [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
}
