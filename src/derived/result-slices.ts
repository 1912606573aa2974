/**
 * The slices of a corrected or resampled result beside the planes that they are made of and the places where they lie: what classic and
 * multi-frame images are written from.
 */
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Plane } from '../dicom/slices.ts';
import { indexToPatient, planVolumes, type Volume, type VolumeGeometry, type VolumePlan } from '../dicom/volume.ts';
import { runKey, SMOOTHING, SPATIAL_RESAMPLING, SUBTRACTION, type Code, type Provenance } from './provenance.ts';
import { referenceTo, type Reference } from './references.ts';
import { chooseStorage, type Storage } from './stored-values.ts';

export type ImageModality = 'CT' | 'MR' | 'PT';

export interface ImageSeriesRequest {
  /**
   * denoised, corrected: same grid and slices as the source. registered: the source's content on the grid of `reference`. residual,
   * subtracted: what differs between such a result and its source, or the reference.
   */
  readonly kind: 'denoised' | 'corrected' | 'residual' | 'registered' | 'subtracted';
  /** corrected: the value that Image Type gets, and the code of the derivation where the standard has one. */
  readonly done?: { readonly imageType: string; readonly code: Code | undefined };
  /** The heads of the series whose pixels were changed. */
  readonly sources: readonly Head[];
  /** The heads of the fixed series; needed for `registered` and `subtracted`. Its first volume is the grid. */
  readonly reference?: readonly Head[];
  readonly volume: Volume;
  /** The further volumes of a series that holds several (time points, stacks), in the order of `planVolumes`. */
  readonly others?: readonly Volume[];
  readonly provenance: Provenance;
  /** Real value of voxels that hold no data (outside the moving field of view); written as Pixel Padding Value. */
  readonly padding?: number;
}

/** One slice of the result. */
export interface ResultSlice {
  readonly values: Float32Array;
  /** What speaks for its acquisition: the plane it is made of; of a resampled slice the middle one of its volume. */
  readonly plane: Plane;
  /** All planes that it is made of. */
  readonly planes: readonly Plane[];
  /** Where it lies: slice k of a grid. */
  readonly geometry: VolumeGeometry;
  readonly k: number;
  /** The plane of the grid. */
  readonly target: Plane;
  /** Number of its volume, from 0. */
  readonly part: number;
}

export interface Series {
  readonly request: ImageSeriesRequest;
  /** The heads of the grid: the sources, or the fixed series. */
  readonly grid: readonly Head[];
  readonly plans: readonly VolumePlan[];
  readonly slices: readonly ResultSlice[];
  readonly references: readonly Reference[];
  readonly modality: ImageModality;
  readonly key: string;
  readonly storage: Storage;
  /** Of the window of a series of differences. */
  readonly differenceWidth: number | undefined;
}

/**
 * @throws Refusal PipelineRefused for another modality than CT, MR and PT, other geometry than the series it stands for, or voxels that are
 * no numbers
 */
export function openSeries(request: ImageSeriesRequest): Series {
  const { kind, sources, reference, volume, others = [], provenance } = request;
  const moved = !keepsSlices(kind);
  if (moved && reference === undefined) throw new Error('a registered series needs the heads of its fixed series');
  const plans = planVolumes(sources);
  const grid = moved ? (reference ?? []) : sources;
  const fixed = moved ? planVolumes(grid)[0] : undefined;
  const { modality } = volume;
  if ((modality !== 'CT' && modality !== 'MR' && modality !== 'PT') || plans[0]?.modality !== modality)
    throw new Refusal('PipelineRefused', 'derived images are written for CT, MR and PET sources only');
  const volumes = [volume, ...others];
  if (volumes.length !== plans.length)
    throw new Refusal(
      'PipelineRefused',
      `the result has ${volumes.length} volumes where its series has ${plans.length}`,
    );
  const slices = plans.flatMap((plan, part) => slicesOf(volumes[part] ?? volume, plan, fixed, part));
  const references = sources.map(referenceTo);
  const everything = [...references, ...(moved ? grid.map(referenceTo) : [])];
  return {
    request,
    grid,
    plans,
    slices,
    references,
    modality,
    key: runKey(kind, everything, provenance),
    storage: chooseStorage({
      slices: slices.map(({ values }) => values),
      planes: plans.flatMap(({ planes }) => planes),
      sources: plans.flatMap((plan) => plan.sources),
      padding: request.padding,
      sameSlices: !moved,
      // PS3.3 C.8.9.4.1.11: the intercept of a PET image is 0.
      throughZero: modality === 'PT',
    }),
    differenceWidth: isDifference(kind) ? differenceWidth(volumes) : undefined,
  };
}

function slicesOf(volume: Volume, plan: VolumePlan, fixed: VolumePlan | undefined, part: number): ResultSlice[] {
  const { geometry, planes } = fixed ?? plan;
  refuseOtherGrid(volume.geometry, geometry);
  const size = geometry.columns * geometry.rows;
  return planes.flatMap((target, k): ResultSlice[] => {
    const plane = fixed === undefined ? target : plan.planes[plan.planes.length >> 1];
    if (plane === undefined) return [];
    return [
      {
        values: volume.voxels.subarray(k * size, (k + 1) * size),
        plane,
        planes: fixed === undefined ? [plane] : plan.planes,
        geometry,
        k,
        target,
        part,
      },
    ];
  });
}

/** True when slice k of the result is made of slice k of the source alone. */
export function keepsSlices(kind: ImageSeriesRequest['kind']): boolean {
  return kind === 'denoised' || kind === 'corrected' || kind === 'residual';
}

function isDifference(kind: ImageSeriesRequest['kind']): boolean {
  return kind === 'residual' || kind === 'subtracted';
}

/** @throws Refusal PipelineRefused unless the two are one grid */
export function refuseOtherGrid(found: VolumeGeometry, expected: VolumeGeometry): void {
  const matrices = [indexToPatient(found), indexToPatient(expected)];
  const off = (matrices[0] ?? []).some((value, index) => Math.abs(value - (matrices[1]?.[index] ?? 0)) > 1e-3);
  if (off || found.columns !== expected.columns || found.rows !== expected.rows || found.slices !== expected.slices)
    throw new Refusal(
      'PipelineRefused',
      `the result is ${found.columns} x ${found.rows} x ${found.slices} voxels where its series has ${expected.columns} x ${expected.rows} x ${expected.slices}, or lies elsewhere in the patient`,
    );
}

/** The value of Image Type that says what was done. */
export const IMAGE_TYPES = {
  denoised: 'DENOISED',
  corrected: 'CORRECTED',
  registered: 'REGISTERED',
  residual: 'RESIDUAL',
  subtracted: 'SUBTRACTION',
} as const satisfies Record<ImageSeriesRequest['kind'], string>;

const DERIVATIONS = {
  denoised: SMOOTHING,
  corrected: SMOOTHING,
  registered: SPATIAL_RESAMPLING,
  residual: SUBTRACTION,
  subtracted: SUBTRACTION,
} as const satisfies Record<ImageSeriesRequest['kind'], Code>;

export function derivationCode({ kind, done }: ImageSeriesRequest): Code | undefined {
  return done === undefined ? DERIVATIONS[kind] : done.code;
}

/** Of the whole series, so that its slices are seen alike: half of the range, since most differences are small. */
function differenceWidth(volumes: readonly Volume[]): number {
  let most = 1;
  for (const { voxels } of volumes) for (const value of voxels) most = Math.max(most, Math.abs(value));
  return Number(most.toPrecision(4));
}
