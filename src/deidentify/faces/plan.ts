/**
 * What is to be done to the images of one series, so that each can be done by itself, today or when it comes late, and every time the
 * same: where the head lies, what stays untouched, and what takes the face's place.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { Plane, Vector3 } from '../../dicom/slices.ts';
import type { Cranium } from './cranium.ts';
import type { Grid } from './grid.ts';
import type { HeadFound } from './head.ts';
import { squaredDistance } from './morphology.ts';
import { dot, refuseOther, sealed, type Stack } from './stack.ts';
import { zoneOf } from './zone.ts';

export const PLAN_VERSION = 1;

export interface FacePlan {
  readonly version: typeof PLAN_VERSION;
  readonly modality: 'CT' | 'MR';
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
  };
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
function airOf(grid: Grid, modality: 'CT' | 'MR', fromBody: Float32Array, beyond: number): number[] {
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

/** A single image that comes late: of the same size and direction, between or next to those that the plan was made of. @throws Refusal Quarantined */
export function refuseStranger(plan: FacePlan, plane: Plane): void {
  const { columns, rows, spacingMm, row, column, firstMm, lastMm, stepMm } = plan.planes;
  refuseOther(plane, { format: { ...plane.format, columns, rows }, spacingMm, row, column });
  const normal: Vector3 = [
    row[1] * column[2] - row[2] * column[1],
    row[2] * column[0] - row[0] * column[2],
    row[0] * column[1] - row[1] * column[0],
  ];
  const place = dot(plane.positionMm, normal);
  if (place < firstMm - 1.6 * stepMm || place > lastMm + 1.6 * stepMm)
    throw sealed('the image lies outside of the volume in which the face was found');
}
