/**
 * Registration of one series to another: rigid or affine by mutual information, then deformable by the parameter-free graphs of
 * models/register.
 * All results are in patient space: fixed point -> moving point, LPS mm. Nothing is delivered that did not help.
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Volume, VolumeGeometry } from '../dicom/volume.ts';
import { DEFORMATION, deform } from './deformation.ts';
import type { GridPair } from './deformation.ts';
import { displacementField, resampleThrough } from './displacement.ts';
import type { DisplacementField } from './displacement.ts';
import {
  displacementLengths,
  inverseConsistency,
  inverseConsistencyMap,
  jacobianFigures,
  jacobianMap,
} from './field-quality.ts';
import type { GridField } from './field-quality.ts';
import { judge } from './gates.ts';
import type { Gate, Verdict } from './gates.ts';
import type { ModelCard } from './manifest.ts';
import type { RegistrationPair } from './registration-settings.ts';
import { resampleAlong } from './resample.ts';
import { align, flattened } from './align.ts';
import type { Prepared } from './align.ts';
import {
  initialAlignment,
  mirrorLooksBetter,
  refuseStretch,
  rotationDegrees,
  sharedFrame,
  similarityThrough,
} from './rigid.ts';
import type { Session } from './session.ts';
import { bodyMask, ncc, nmi, normalised, percentileWindow } from './similarity.ts';
import {
  IDENTITY,
  at,
  averaged,
  cubicGrid,
  fieldOfView,
  halved,
  resampled,
  sampleLinear,
  voxelCount,
  walk,
} from './space.ts';
import type { Matrix4 } from './space.ts';

export interface RegistrationSessions {
  /** Discrete matcher that begins the deformable step; rigid and affine registration do without. */
  readonly search: Session | undefined;
}

export interface RegistrationModel {
  readonly sessions: RegistrationSessions;
  readonly gates: Readonly<Record<string, Gate>>;
  readonly applies: ModelCard['applies'];
}

export interface RegistrationQuality {
  readonly contrast: 'same' | 'different';
  readonly similarityMeasure: 'NCC' | 'NMI';
  /** After the initial alignment (identity in one frame of reference), before anything was estimated. */
  readonly similarityBefore: number;
  readonly similarityRigid: number;
  readonly similarityAfter: number;
  readonly foldingFraction: number;
  readonly extremeFraction: number;
  readonly jacobianMin: number;
  readonly jacobianP1: number;
  readonly jacobianMedian: number;
  readonly jacobianP99: number;
  readonly jacobianMax: number;
  readonly sdLogJacobian: number;
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

export interface RegistrationResult {
  /** The moving series on the fixed geometry, interpolated once from its own voxels. */
  readonly resampled: Volume;
  /** Value of voxels outside the moving field of view: the smallest value of the moving series. */
  readonly paddingValue: number;
  /** Fixed point -> moving point, row-major: rigid, or affine where that was asked for. */
  readonly rigid: Matrix4;
  readonly field: DisplacementField;
  /** On the field's grid: determinant of the deformable part, and how far from where it began a point comes back, mm. */
  readonly maps: { readonly jacobian: Float32Array; readonly inverseConsistencyMm: Float32Array };
  readonly quality: RegistrationQuality;
  readonly verdict: Verdict;
}

/** Told after each step, with the share done. */
export type Progress = (step: string, share: number) => void;

/** Fewer give descriptors and gradients nothing to stand on. */
const LEAST_PER_AXIS = 8;
const MIN_IN_VIEW = 0.1;
/** Grid of a registration without deformation. */
const JUDGED_VOXELS = 250_000;
/** Correlation after rigid alignment from which two series of one modality count as one contrast. */
const SAME_CONTRAST_NCC = 0.5;

/** @throws Refusal PipelineRefused naming what was found and what was expected */
export async function register(
  model: RegistrationModel,
  { fixed, moving, settings }: RegistrationPair,
  progress: Progress = () => undefined,
): Promise<RegistrationResult> {
  refuseUnfit('fixed', fixed, model.applies);
  refuseUnfit('moving', moving, model.applies);
  const finest = Math.max(Math.min(...fixed.geometry.spacingMm), Math.min(...moving.geometry.spacingMm));
  const grid = cubicGrid(fixed.geometry, finest, settings.maxWorkingVoxels);
  const spacing = at(grid.spacingMm, 0);
  const [f, m] = [prepare('fixed', fixed, spacing), prepare('moving', moving, spacing)];

  const start = initialAlignment(f, m);
  refuseSeparate(grid, m.volume.geometry, start);
  progress('rigid', 0.05);
  const affine = settings.transform === 'affine';
  const [even, evenMoving] = [flattened(f), flattened(m)];
  const found = align(even, evenMoving, { start: sharedFrame(f, m), affine });
  const move = similarityThrough(f, m, found).nmi >= similarityThrough(f, m, start).nmi ? found : start;
  if (affine) refuseStretch(move);
  if (mirrorLooksBetter(even, evenMoving, move)) {
    throw new Refusal(
      'PipelineRefused',
      'moving looks more like fixed when left and right are exchanged; expected the same side',
    );
  }
  progress('deformable', 0.35);
  const same = fixed.modality === moving.modality && similarityThrough(f, m, move).ncc >= SAME_CONTRAST_NCC;
  const { search } = model.sessions;
  const wanted = settings.transform === 'deformable';
  if (wanted && search === undefined) throw new Error('a deformable registration needs its search');
  // What is only judged needs no more voxels.
  const shown = wanted ? grid : cubicGrid(fixed.geometry, finest, JUDGED_VOXELS);
  const images = pairOn(shown, f, m, move);
  const deformation =
    search !== undefined && wanted
      ? await deform(search, images, DEFORMATION, (share) => progress('deformable', 0.35 + 0.45 * share))
      : noField(shown);
  progress('quality', 0.8);
  // The way back is estimated at half the resolution: an eighth of the time, and independent of the way there.
  const half = halved(shown);
  const coarse = pairOn(half, f, m, move);
  const turned = { grid: half, fixed: coarse.moving, moving: coarse.fixed };
  const back = search !== undefined && wanted ? await deform(search, turned) : noField(half);
  const inverseConsistencyMm = inverseConsistencyMap(deformation, back);
  const quality = measure(f, m, { start, move, images, deformation, inverseConsistencyMm, same });
  const verdict = judge(gatesFor(model.gates, quality), gateValues(quality));
  progress('resampling', 0.9);
  const field = displacementField(deformation, move);
  const paddingValue = leastOf(moving.voxels);
  const onFixed = wanted
    ? resampleThrough(moving, fixed.geometry, field, paddingValue)
    : resampleAlong(moving, fixed.geometry, { move, padding: paddingValue });
  const maps = { jacobian: jacobianMap(deformation), inverseConsistencyMm };
  return { resampled: onFixed, paddingValue, rigid: move, field, maps, quality, verdict };
}

function leastOf(voxels: Float32Array): number {
  let least = Infinity;
  for (const value of voxels) if (value < least) least = value;
  return least;
}

interface Estimate {
  readonly start: Matrix4;
  readonly move: Matrix4;
  readonly images: GridPair;
  readonly deformation: GridField;
  readonly inverseConsistencyMm: Float32Array;
  readonly same: boolean;
}

function refuseUnfit(
  role: 'fixed' | 'moving',
  { geometry, voxels, modality }: Volume,
  { modalities, minSlices = 1 }: ModelCard['applies'],
): void {
  const { columns, rows, slices } = geometry;
  const least = Math.max(minSlices, LEAST_PER_AXIS);
  if (slices < least || Math.min(columns, rows) < LEAST_PER_AXIS) {
    const size = `${columns} x ${rows} x ${slices}`;
    throw new Refusal(
      'PipelineRefused',
      `${role} has ${size} voxels; at least ${least} slices and ${LEAST_PER_AXIS} per axis are expected`,
    );
  }
  if (voxels.length !== voxelCount(geometry)) {
    throw new Refusal(
      'PipelineRefused',
      `${role} has ${voxels.length} voxel values; its geometry asks for ${voxelCount(geometry)}`,
    );
  }
  if (!modalities.includes(modality)) {
    throw new Refusal('PipelineRefused', `${role} is of another modality than ${modalities.join(', ')}`);
  }
  if (!voxels.every((value) => Number.isFinite(value))) {
    throw new Refusal('PipelineRefused', `${role} has voxels that are not finite numbers`);
  }
}

export function prepare(role: 'fixed' | 'moving', volume: Volume, spacingMm: number): Prepared {
  const coarse = averaged(volume, spacingMm);
  const window = percentileWindow(coarse.voxels);
  if (!(window.high > window.low)) {
    throw new Refusal('PipelineRefused', `${role} shows nothing: 99 % of its voxels are equal`);
  }
  return { volume: coarse, window };
}

/** Fields of view that hardly meet cannot be judged by similarity. */
function refuseSeparate(grid: VolumeGeometry, moving: VolumeGeometry, move: Matrix4): void {
  const view = fieldOfView(moving, grid, move);
  const share = view.reduce((sum, one) => sum + one, 0) / view.length;
  if (share < MIN_IN_VIEW) {
    const found = `${(100 * share).toFixed(1)} % of the fixed volume lies in the moving field of view`;
    throw new Refusal('PipelineRefused', `${found}; at least ${100 * MIN_IN_VIEW} % is expected`);
  }
}

/** Both series on one grid of fixed space, about [0, 1]. */
export function pairOn(grid: VolumeGeometry, fixed: Prepared, moving: Prepared, move: Matrix4): GridPair {
  const spacing = at(grid.spacingMm, 0);
  const see = ({ volume, window }: Prepared, map: Matrix4) =>
    normalised(resampled(averaged(volume, spacing), grid, map), window);
  const seen = fieldOfView(moving.volume.geometry, grid, move);
  return { grid, fixed: see(fixed, IDENTITY), moving: see(moving, move), seen };
}

function noField(grid: VolumeGeometry): GridField {
  return { grid, voxels: new Float32Array(3 * voxelCount(grid)) };
}

function measure(fixed: Prepared, moving: Prepared, estimate: Estimate): RegistrationQuality {
  const { start, move, images, deformation, inverseConsistencyMm, same } = estimate;
  const { grid } = deformation;
  const body = bodyMask(images.fixed);
  const view = fieldOfView(moving.volume.geometry, grid, move);
  const atStart = fieldOfView(moving.volume.geometry, grid, start);
  const inView = body.map((one, n) => one & at(view, n));
  const other = bodyMask(images.moving).map((one, n) => one & at(view, n));
  const judged = inView.map((one, n) => one & at(atStart, n));
  const similarity = (image: Float32Array) => (same ? ncc : nmi)(images.fixed, image, judged);
  const consistency = inverseConsistency(inverseConsistencyMm, inView);
  const total = (mask: Uint8Array) => mask.reduce((sum, one) => sum + one, 0);
  return {
    contrast: same ? 'same' : 'different',
    similarityMeasure: same ? 'NCC' : 'NMI',
    similarityBefore: similarity(pairOn(grid, fixed, moving, start).moving),
    similarityRigid: similarity(images.moving),
    similarityAfter: similarity(deformed(images.moving, deformation)),
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

/** The gates without those of the measure that was not used: names begin with ncc or nmi. */
function gatesFor(gates: Readonly<Record<string, Gate>>, { similarityMeasure }: RegistrationQuality) {
  const other = similarityMeasure === 'NCC' ? 'nmi' : 'ncc';
  return Object.fromEntries(Object.entries(gates).filter(([name]) => !name.startsWith(other)));
}

/** The values the card's gates speak of; lengths of consistency in working voxels. */
function gateValues(quality: RegistrationQuality): Record<string, number> {
  const { similarityBefore: before, similarityAfter: after, workingSpacingMm: spacing } = quality;
  return {
    ...(quality.contrast === 'same' ? { nccGain: after - before, nccAfter: after } : { nmiGain: after - before }),
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
