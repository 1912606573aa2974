/**
 * Registration of one series to another: rigid or affine by mutual information, then deformable by the parameter-free graphs of
 * models/register.
 * All results are in patient space: fixed point -> moving point, LPS mm. Nothing is delivered that did not help, unless there was
 * nothing to help.
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Volume, VolumeGeometry } from '../dicom/volume.ts';
import { deform } from './deformation.ts';
import { displacementField, resampleThrough } from './displacement.ts';
import type { DisplacementField } from './displacement.ts';
import { inverseConsistencyMap, jacobianMap } from './field-quality.ts';
import type { GridField } from './field-quality.ts';
import type { Gate, Verdict } from './gates.ts';
import type { ModelCard } from './manifest.ts';
import type { RegistrationPair } from './registration-settings.ts';
import { resampleAlong } from './resample.ts';
import { align, flattened } from './align.ts';
import { pairOn, prepare } from './prepared.ts';
import { judgeRegistration, measure, type RegistrationQuality } from './registration-quality.ts';
import { initialAlignment, mirrorLooksBetter, refuseStretch, sharedFrame, similarityThrough } from './rigid.ts';
import type { Session } from './session.ts';
import { at, cubicGrid, fieldOfView, halved, voxelCount } from './space.ts';
import type { Matrix4 } from './space.ts';

export interface RegistrationSessions {
  /** Discrete matcher that begins the deformable step; rigid and affine registration do without. */
  readonly search: Session | undefined;
}

export interface RegistrationModel {
  readonly sessions: RegistrationSessions;
  readonly gates: Readonly<Record<string, Gate>>;
  readonly applies: ModelCard['applies'];
  /** Of the deformable step; its result is the same for any number. */
  readonly threads: number;
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

/** What is known of a pair's use beside its run. */
export interface RunsWith {
  readonly progress?: Progress;
  /** Told of voxels that are not needed any more: a long series is a gigabyte. */
  readonly spent?: (voxels: Float32Array) => void;
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
  { progress = () => undefined, spent = () => undefined }: RunsWith = {},
): Promise<RegistrationResult> {
  refuseUnfit('fixed', fixed, model.applies);
  refuseUnfit('moving', moving, model.applies);
  const finest = Math.max(Math.min(...fixed.geometry.spacingMm), Math.min(...moving.geometry.spacingMm));
  const grid = cubicGrid(fixed.geometry, finest, settings.maxWorkingVoxels);
  const spacing = at(grid.spacingMm, 0);
  const [f, m] = [prepare('fixed', fixed, spacing), prepare('moving', moving, spacing)];
  // From here on the fixed series is seen at the working resolution alone; of the moving one every voxel is wanted at the end.
  if (f.volume.voxels !== fixed.voxels) spent(fixed.voxels);

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
  const { sessions, threads } = model;
  const { search } = sessions;
  const wanted = settings.transform === 'deformable';
  if (wanted && search === undefined) throw new Error('a deformable registration needs its search');
  // What is only judged needs no more voxels.
  const shown = wanted ? grid : cubicGrid(fixed.geometry, finest, JUDGED_VOXELS);
  const images = pairOn(shown, f, m, move);
  const deformation =
    search !== undefined && wanted
      ? await deform(search, images, { told: (share) => progress('deformable', 0.35 + 0.45 * share), threads })
      : noField(shown);
  progress('quality', 0.8);
  // The way back is estimated at half the resolution: an eighth of the time, and independent of the way there.
  const half = halved(shown);
  const coarse = pairOn(half, f, m, move);
  const turned = { grid: half, fixed: coarse.moving, moving: coarse.fixed };
  const back = search !== undefined && wanted ? await deform(search, turned, { threads }) : noField(half);
  const inverseConsistencyMm = inverseConsistencyMap(deformation, back);
  const quality = measure(f, m, { start, move, found, images, deformation, inverseConsistencyMm, same });
  const verdict = judgeRegistration(model.gates, quality);
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

/** Fields of view that hardly meet cannot be judged by similarity. */
function refuseSeparate(grid: VolumeGeometry, moving: VolumeGeometry, move: Matrix4): void {
  const view = fieldOfView(moving, grid, move);
  const share = view.reduce((sum, one) => sum + one, 0) / view.length;
  if (share < MIN_IN_VIEW) {
    const found = `${(100 * share).toFixed(1)} % of the fixed volume lies in the moving field of view`;
    throw new Refusal('PipelineRefused', `${found}; at least ${100 * MIN_IN_VIEW} % is expected`);
  }
}

function noField(grid: VolumeGeometry): GridField {
  return { grid, voxels: new Float32Array(3 * voxelCount(grid)) };
}
