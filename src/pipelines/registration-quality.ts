/** What a registration is judged by: how alike the two are before and after, where both show the body, and what the field says of itself. */
import type { VolumeGeometry } from '../dicom/volume.ts';
import { displacementField } from './displacement.ts';
import type { GridPair } from './deformation.ts';
import {
  displacementLengths,
  inverseConsistency,
  jacobianFigures,
  spread,
  type GridField,
  type JacobianFigures,
} from './field-quality.ts';
import { judge, type Gate, type Verdict } from './gates.ts';
import { pairOn, type Prepared } from './prepared.ts';
import { rotationDegrees } from './rigid.ts';
import { bodyMask, ncc, nmi } from './similarity.ts';
import {
  IDENTITY,
  at,
  fieldOfView,
  indexToPatient,
  resampled,
  sampleLinear,
  transformPoint,
  translation,
  voxelCount,
  walk,
  type Matrix4,
} from './space.ts';

export interface RegistrationQuality extends JacobianFigures {
  readonly contrast: 'same' | 'different';
  readonly similarityMeasure: 'NCC' | 'NMI';
  /** After the initial alignment (identity in one frame of reference), before anything was estimated. */
  readonly similarityBefore: number;
  readonly similarityRigid: number;
  readonly similarityAfter: number;
  /** Mean of the six that the same result has 10 mm aside: how much of the likeness is owed to the place. */
  readonly similarityAside: number;
  /** How far from where the series began the search ended, in the body: 95 % of it are moved less. */
  readonly movedMm: number;
  readonly inverseConsistencyMedianMm: number;
  readonly inverseConsistencyP95Mm: number;
  /** Of the deformable part alone, in the body. */
  readonly maxDisplacementMm: number;
  readonly rotationDegrees: number;
  /** Share of the fixed body that lies in the moving field of view. */
  readonly bodyInView: number;
  /** Share of the smaller of the two bodies that lies on the other, after rigid alignment, where both are in view. */
  readonly bodyOverlap: number;
  readonly workingSpacingMm: number;
}

/** A pair that the search leaves within this of where it began lay aligned already. */
const ALIGNED_MM = 5;
const ASIDE_MM = 10;
/** Share of what its place is worth that a pair which lay aligned may lose by being interpolated. */
const LOST = 0.25;

export interface Estimate {
  readonly start: Matrix4;
  readonly move: Matrix4;
  /** Where the search ended; `move`, unless the series are less alike there than at the start. */
  readonly found: Matrix4;
  readonly images: GridPair;
  readonly deformation: GridField;
  readonly inverseConsistencyMm: Float32Array;
  readonly same: boolean;
}

export function measure(fixed: Prepared, moving: Prepared, estimate: Estimate): RegistrationQuality {
  const { start, move, images, deformation, inverseConsistencyMm, same } = estimate;
  const { grid } = deformation;
  const body = bodyMask(images.fixed);
  const view = fieldOfView(moving.volume.geometry, grid, move);
  const atStart = fieldOfView(moving.volume.geometry, grid, start);
  const inView = body.map((one, n) => one & at(view, n));
  const other = bodyMask(images.moving).map((one, n) => one & at(view, n));
  const judged = widened(body, grid, thickest(fixed, moving)).map((one, n) => one & at(view, n) & at(atStart, n));
  const similarity = (image: Float32Array) => (same ? ncc : nmi)(images.fixed, image, judged);
  const consistency = inverseConsistency(inverseConsistencyMm, inView);
  const total = (mask: Uint8Array) => mask.reduce((sum, one) => sum + one, 0);
  const result = deformed(images.moving, deformation);
  const aside = SIDES.map((side) =>
    similarity(resampled({ ...moving.volume, geometry: grid, voxels: result }, grid, side)),
  );
  return {
    contrast: same ? 'same' : 'different',
    similarityMeasure: same ? 'NCC' : 'NMI',
    similarityBefore: similarity(pairOn(grid, fixed, moving, start).moving),
    similarityRigid: similarity(images.moving),
    similarityAfter: similarity(result),
    similarityAside: aside.reduce((sum, one) => sum + one, 0) / aside.length,
    movedMm: movedMm(estimate, inView),
    ...jacobianFigures(deformation, inView),
    inverseConsistencyMedianMm: consistency.median,
    inverseConsistencyP95Mm: consistency.p95,
    maxDisplacementMm: displacementLengths(deformation, inView).max,
    rotationDegrees: rotationDegrees(move),
    bodyInView: total(inView) / total(body),
    bodyOverlap: total(inView.map((one, n) => one & at(other, n))) / Math.min(total(inView), total(other)),
    workingSpacingMm: at(grid.spacingMm, 0),
  };
}

/** Whether the pair lay aligned to begin with: the search ended where it had begun, and little was lost on the way. */
export function layAligned(quality: RegistrationQuality): boolean {
  const { movedMm: moved, similarityBefore: before, similarityAfter: after, similarityAside: aside } = quality;
  return moved <= ALIGNED_MM && after >= before - LOST * (before - aside);
}

/** @throws GatesRefusal */
export function judgeRegistration(gates: Readonly<Record<string, Gate>>, quality: RegistrationQuality): Verdict {
  return judge(gatesFor(gates, quality), gateValues(quality));
}

/**
 * Gates whose names begin with ncc or nmi are for that measure. A gain is asked of a pair that had to be moved; one that lay aligned
 * cannot gain, and has to be more alike than it would be a little aside.
 */
function gatesFor(gates: Readonly<Record<string, Gate>>, quality: RegistrationQuality) {
  const other = quality.similarityMeasure === 'NCC' ? 'nmi' : 'ncc';
  const needless = `${quality.similarityMeasure.toLowerCase()}${layAligned(quality) ? 'Gain' : 'Peak'}`;
  return Object.fromEntries(Object.entries(gates).filter(([name]) => !name.startsWith(other) && name !== needless));
}

/** The values the card's gates speak of; lengths of consistency in working voxels. */
function gateValues(quality: RegistrationQuality): Record<string, number> {
  const { similarityBefore: before, similarityAfter: after, workingSpacingMm: spacing } = quality;
  const measureName = quality.similarityMeasure.toLowerCase();
  return {
    [`${measureName}Gain`]: after - before,
    [`${measureName}Peak`]: after - quality.similarityAside,
    [`${measureName}After`]: after,
    foldingFraction: quality.foldingFraction,
    extremeFraction: quality.extremeFraction,
    inverseConsistencyMedianVoxels: quality.inverseConsistencyMedianMm / spacing,
    inverseConsistencyP95Voxels: quality.inverseConsistencyP95Mm / spacing,
    maxDisplacementMm: quality.maxDisplacementMm,
    rotationDegrees: quality.rotationDegrees,
    bodyInView: quality.bodyInView,
    bodyOverlap: quality.bodyOverlap,
  };
}

/** An image of the grid, moved by a field of the same grid. */
function deformed(image: Float32Array, { grid, voxels }: GridField): Float32Array {
  const count = voxelCount(grid);
  const result = new Float32Array(count);
  walk(grid, IDENTITY, (n, i, j, k) => {
    const [u, v, w] = [at(voxels, 2 * count + n), at(voxels, count + n), at(voxels, n)];
    result[n] = sampleLinear(image, grid, i + u, j + v, k + w);
  });
  return result;
}

const SIDES: readonly Matrix4[] = [0, 1, 2].flatMap((axis) =>
  [-ASIDE_MM, ASIDE_MM].map((shift) =>
    translation([0, 1, 2].map((one) => (one === axis ? shift : 0)) as [number, number, number]),
  ),
);

function movedMm({ start, found, deformation }: Estimate, mask: Uint8Array): number {
  const { geometry, vectorsMm } = displacementField(deformation, found);
  const lengths: number[] = [];
  walk(geometry, indexToPatient(geometry), (n, x, y, z) => {
    if (at(mask, n) === 0) return;
    const [a, b, c] = transformPoint(start, [x, y, z]);
    const moved = (axis: number) => at(vectorsMm, 3 * n + axis);
    lengths.push(Math.hypot(x + moved(0) - a, y + moved(1) - b, z + moved(2) - c));
  });
  return spread(lengths).p95;
}

/** The largest distance between neighbours, along any axis of the two: as far as the rim of a body is smeared. */
function thickest(fixed: Prepared, moving: Prepared): number {
  return Math.max(...fixed.volume.geometry.spacingMm, ...moving.volume.geometry.spacingMm);
}

/** The mask and what lies within `reachMm` of it along the axes: a body's rim counts on both of its sides. */
function widened(mask: Uint8Array, grid: VolumeGeometry, reachMm: number): Uint8Array {
  const reach = Math.ceil(reachMm / at(grid.spacingMm, 0) - 1e-6);
  let from = mask;
  for (const [step, length] of [
    [1, grid.columns],
    [grid.columns, grid.rows],
    [grid.columns * grid.rows, grid.slices],
  ] as const) {
    const to = new Uint8Array(from.length);
    for (let n = 0; n < from.length; n++) {
      if (at(from, n) === 0) continue;
      const place = Math.floor(n / step) % length;
      const [first, last] = [Math.max(-place, -reach), Math.min(length - 1 - place, reach)];
      for (let offset = first; offset <= last; offset++) to[n + offset * step] = 1;
    }
    from = to;
  }
  return from;
}
