/**
 * A series as one volume of voxels with its place in the patient: LPS millimetres (PS3.3 C.7.6.2.1.1). Slices are put in order by
 * Image Position and Orientation alone; what is no regular, straight, complete grid is refused by name.
 */
import { asciiValue } from './data-set.ts';
import type { Head } from './object.ts';
import { Refusal } from './refusal.ts';
import { partsOf, type Part } from './parts.ts';
import { paddingOf, planesOf, unfit, type Plane, type Variant, type Vector3 } from './slices.ts';
import { readFrame } from './voxels.ts';

export type { Vector3 } from './slices.ts';

/**
 * Where a regular grid of voxels lies. Voxel (i, j, k) = (column, row, slice), counted from 0, has its centre at
 * `origin + i * spacing[0] * axes[0] + j * spacing[1] * axes[1] + k * spacing[2] * axes[2]`.
 * axes[0] runs along a row (increasing column), axes[1] down a column, axes[2] from slice to slice; unit vectors, orthogonal.
 */
export interface VolumeGeometry {
  readonly columns: number;
  readonly rows: number;
  readonly slices: number;
  readonly spacingMm: Vector3;
  readonly originMm: Vector3;
  readonly axes: readonly [Vector3, Vector3, Vector3];
  readonly frameOfReferenceUID: string | undefined;
}

/** A grid whose axes are the patient's: rows run to the left, columns to the back, slices to the head (PS3.3 C.7.6.2.1.1). */
export function axialGrid(counts: Vector3, spacingMm: Vector3, originMm: Vector3 = [0, 0, 0]): VolumeGeometry {
  const [columns, rows, slices] = counts;
  const axes: VolumeGeometry['axes'] = [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ];
  return { columns, rows, slices, spacingMm, originMm, axes, frameOfReferenceUID: undefined };
}

/** Voxels in real world values (HU after rescale; arbitrary units in MR), index = (k * rows + j) * columns + i. */
export interface Volume {
  readonly geometry: VolumeGeometry;
  readonly voxels: Float32Array;
  readonly modality: string;
}

/** One instance of a series: its head, and its native pixel data, asked for once and not kept. */
export interface SeriesInstance {
  readonly head: Head;
  pixels(): Promise<Buffer>;
}

/** Which frame of which instance a slice comes from, and how its stored values became real ones. */
export interface SliceSource {
  /** Index into the instances as they were given. */
  readonly instance: number;
  /** Counted from 1. */
  readonly frame: number;
  readonly slope: number;
  readonly intercept: number;
  /** Real values from the lower to the upper that stand for "no data here" (Pixel Padding Value); undefined when there are none. */
  readonly padding: readonly [number, number] | undefined;
}

/** A volume that was read from a series: slice k of the voxels is `sources[k]`. */
export interface SeriesVolume extends Volume {
  readonly sources: readonly SliceSource[];
  /** What it is among the volumes of its series, e.g. `time point 2 of 5`; empty where it is the only one. */
  readonly label: string;
}

/** Everything about a volume that the heads tell. */
export interface VolumePlan {
  readonly geometry: VolumeGeometry;
  readonly modality: string;
  readonly planes: readonly Plane[];
  readonly sources: readonly SliceSource[];
  /** As in SeriesVolume. */
  readonly label: string;
  /** What tells it apart from the other volumes of its series. */
  readonly by: readonly (keyof Variant)[];
}

/** Most voxels of a volume: 2 GiB as Float32, six times a CT of 512 x 512 x 300. */
const MAX_VOXELS = 2 ** 29;
/** A slice nearer to its neighbour than this part of the spacing stands at the same place. */
const SAME_PLACE = 0.05;
/** A slice may be off its place by this part of the spacing (positions are written with few digits). */
const UNEVEN = 0.1;
/** A slice may be off the straight line by this part of a pixel. */
const SHEAR = 0.25;

/**
 * Reads a series as one volume, one instance's pixels at a time. @throws Refusal PipelineRefused by `planVolume`, CannotUnderstand for
 * pixel data that end early
 */
export async function readVolume(instances: readonly SeriesInstance[]): Promise<SeriesVolume> {
  const [volume] = await loadVolumes([planVolume(instances.map(({ head }) => head))], instances);
  if (volume === undefined) throw new Error('a plan without a volume');
  return volume;
}

/**
 * Reads all volumes of a series, one instance's pixels at a time. @throws Refusal PipelineRefused by `planVolumes`, CannotUnderstand for
 * pixel data that end early
 */
export function readVolumes(instances: readonly SeriesInstance[]): Promise<SeriesVolume[]> {
  return loadVolumes(planVolumes(instances.map(({ head }) => head)), instances);
}

/** Fills planned volumes; an instance's native pixel data are asked for once, in slice order. */
async function loadVolumes(
  plans: readonly VolumePlan[],
  instances: readonly SeriesInstance[],
): Promise<SeriesVolume[]> {
  const volumes = plans.map(({ geometry, modality, sources, label }): SeriesVolume => {
    const { columns, rows, slices } = geometry;
    return { geometry, voxels: new Float32Array(columns * rows * slices), modality, sources, label };
  });
  const slices = plans.flatMap(({ planes, geometry }, index) =>
    planes.map((plane, k) => ({ plane, index, at: k * geometry.columns * geometry.rows })),
  );
  for (const [number, own] of Map.groupBy(slices, ({ plane }) => plane.instance)) {
    const instance = instances[number];
    if (instance === undefined) throw new Error(`there is no instance ${number}`);
    const pixels = await instance.pixels();
    for (const { plane, index, at } of own) {
      const voxels = volumes[index]?.voxels;
      if (voxels !== undefined) readFrame(pixels, plane.format, plane.frame, plane, voxels, at);
    }
  }
  return volumes;
}

/**
 * The grid that the planes of a series make, without reading a pixel: slices in order along `row x column`, so that axes are
 * right-handed. @throws Refusal PipelineRefused for no instance, several series or frames of reference, several sizes, spacings or
 * orientations, localizers, colour, compression, several time points or b-values, duplicate positions, gaps, uneven spacing, tilt
 */
export function planVolume(heads: readonly Head[]): VolumePlan {
  const series = seriesOf(heads);
  sameGrid(series.planes);
  refuseMany(series.planes);
  refuseVariants(series.planes);
  return planOf(series, { label: '', by: [], planes: series.planes });
}

/**
 * The volumes of a series: one for each stack, time point, b-value, and what else tells planes of one place apart. All of one stack have
 * the same grid. @throws Refusal PipelineRefused as `planVolume`, naming the volume
 */
export function planVolumes(heads: readonly Head[]): VolumePlan[] {
  const series = seriesOf(heads);
  const parts = partsOf(series.planes);
  if (parts.length === 1) return [planVolume(heads)];
  refuseMany(series.planes);
  const [first] = series.planes;
  for (const { format } of series.planes)
    if (format.columns !== first?.format.columns || format.rows !== first.format.rows)
      throw unfit(
        `sizes are mixed: ${first?.format.columns} x ${first?.format.rows} and ${format.columns} x ${format.rows} pixels; one size is needed`,
      );
  const plans = parts.map((part) => {
    try {
      return planOf(series, part);
    } catch (error) {
      if (error instanceof Refusal) throw new Refusal(error.reason, `${part.label}: ${error.message}`);
      throw error;
    }
  });
  for (const stack of Map.groupBy(plans, ({ planes }) => planes[0]?.variant.stack).values()) refuseUnlike(stack);
  return plans;
}

/** A time point that ends early, or lies elsewhere, has lost slices. */
function refuseUnlike(plans: readonly VolumePlan[]): void {
  const most = plans.reduce((one, other) => (other.geometry.slices > one.geometry.slices ? other : one));
  for (const { geometry, label } of plans) {
    if (geometry.slices !== most.geometry.slices)
      throw unfit(
        `${label}: slices are missing: it has ${geometry.slices} where ${most.label} has ${most.geometry.slices}`,
      );
    const offMm = Math.hypot(...minus(geometry.originMm, most.geometry.originMm));
    if (offMm > SAME_PLACE * Math.max(...geometry.spacingMm))
      throw unfit(
        `${label} lies ${offMm.toFixed(2)} mm away from ${most.label}; the volumes of a stack share one grid`,
      );
  }
}

interface SeriesPlanes {
  readonly heads: readonly Head[];
  readonly planes: readonly Plane[];
  readonly modality: string;
  readonly frameOfReferenceUID: string | undefined;
}

function seriesOf(heads: readonly Head[]): SeriesPlanes {
  if (heads.length === 0) throw unfit('the series has no instance');
  const modality = only(heads, 0x00080060, 'Modality (0008,0060)') ?? 'OT';
  only(heads, 0x0020000e, 'Series Instance UID (0020,000E)');
  const frameOfReferenceUID = only(heads, 0x00200052, 'Frame of Reference UID (0020,0052)');
  const planes = heads.flatMap((head, instance) => planesOf(head, instance));
  return { heads, planes, modality, frameOfReferenceUID };
}

function refuseMany(planes: readonly Plane[]): void {
  const count = planes.reduce((sum, { format }) => sum + format.columns * format.rows, 0);
  if (count > MAX_VOXELS) throw unfit(`the series has ${count} voxels; up to ${MAX_VOXELS} are read at once`);
}

function planOf(
  { heads, modality, frameOfReferenceUID }: SeriesPlanes,
  { planes: unordered, label, by }: Part,
): VolumePlan {
  const grid = sameGrid(unordered);
  const along = (plane: Plane): number => dot(plane.positionMm, grid.normal);
  const planes = [...unordered].sort((a, b) => along(a) - along(b));
  const originMm = planes[0]?.positionMm ?? grid.first.positionMm;
  const betweenMm = spacingOf(planes, along, grid.first);
  refuseTilt(planes, originMm, grid.first, grid.normal);
  const { first: plane, normal } = grid;
  return {
    geometry: {
      columns: plane.format.columns,
      rows: plane.format.rows,
      slices: planes.length,
      spacingMm: [plane.spacingMm[0], plane.spacingMm[1], betweenMm],
      originMm,
      axes: [plane.row, plane.column, normal],
      frameOfReferenceUID,
    },
    modality,
    planes,
    sources: planes.map((slice) => sourceOf(heads, slice)),
    label,
    by,
  };
}

function sourceOf(heads: readonly Head[], plane: Plane): SliceSource {
  const { instance, frame, slope, intercept } = plane;
  const head = heads[instance];
  const stored = head === undefined ? undefined : paddingOf(head, plane.format);
  if (stored === undefined) return { instance, frame, slope, intercept, padding: undefined };
  const [a, b] = [stored[0] * slope + intercept, stored[1] * slope + intercept];
  return { instance, frame, slope, intercept, padding: [Math.min(a, b), Math.max(a, b)] };
}

/** The value that all heads share; undefined when none has one. UIDs are pseudonyms, but still only counted in the message. */
function only(heads: readonly Head[], tag: number, name: string): string | undefined {
  const found = new Set(heads.map((head) => asciiValue(head.dataSet, tag)));
  if (found.size > 1) throw unfit(`${name} has ${found.size} different values in the series; one is needed`);
  return [...found][0];
}

interface Grid {
  readonly first: Plane;
  readonly normal: Vector3;
}

function sameGrid(planes: readonly Plane[]): Grid {
  const [first] = planes;
  if (first === undefined) throw unfit('the series has no frame');
  const normal = cross(first.row, first.column);
  for (const plane of planes) {
    const { format } = plane;
    if (format.columns !== first.format.columns || format.rows !== first.format.rows)
      throw unfit(
        `sizes are mixed: ${first.format.columns} x ${first.format.rows} and ${format.columns} x ${format.rows} pixels; one size is needed`,
      );
    // An angle of 0.1 degree moves the far corner of a 500 mm plane by less than 1 mm.
    const cosine = Math.min(dot(plane.row, first.row), dot(plane.column, first.column));
    if (cosine < Math.cos((0.1 * Math.PI) / 180))
      throw unfit(
        `orientations are mixed: two planes are ${degrees(cosine).toFixed(1)} degrees apart; parallel planes are needed`,
      );
    const [across, down] = plane.spacingMm;
    if (!near(across, first.spacingMm[0]) || !near(down, first.spacingMm[1]))
      throw unfit(
        `Pixel Spacing (0028,0030) is mixed: ${first.spacingMm.join(' x ')} and ${plane.spacingMm.join(' x ')} mm; one is needed`,
      );
  }
  return { first, normal };
}

function near(a: number, b: number): boolean {
  return Math.abs(a - b) <= 1e-3 * Math.abs(b);
}

const VARIANT_NAMES: Readonly<Record<keyof Variant, string>> = {
  temporalPosition: 'time points (Temporal Position Identifier (0020,0100) or Index (0020,9128))',
  bValue: 'b-values (Diffusion b-value (0018,9087))',
  echo: 'echoes (Echo Numbers (0018,0086) or Echo Time (0018,0081), (0018,9082))',
  stack: 'stacks (Stack ID (0020,9056))',
  acquisition: 'acquisitions (Acquisition Number (0020,0012), (0020,9156))',
  gradient: 'diffusion directions (Diffusion Gradient Orientation (0018,9089))',
  kind: 'kinds of image (Image Type (0008,0008), Frame Type (0008,9007))',
  trigger: 'heart phases (Trigger Time (0018,1060))',
  time: 'times (Acquisition Time (0008,0032))',
};

/** Several volumes in one series are no volume; several acquisitions may well be (a long CT), unless they overlap. */
function refuseVariants(planes: readonly Plane[]): void {
  for (const key of ['temporalPosition', 'bValue', 'stack'] as const) {
    const found = new Set(planes.map((plane) => plane.variant[key]));
    if (found.size > 1) throw unfit(`the series holds ${found.size} ${VARIANT_NAMES[key]}; one is needed`);
  }
}

/** Distance from slice to slice. */
function spacingOf(planes: readonly Plane[], along: (plane: Plane) => number, first: Plane): number {
  if (planes.length === 1) {
    if (first.thicknessMm === undefined)
      throw unfit(
        'one slice without Slice Thickness (0018,0050) or Spacing Between Slices (0018,0088): its extent is unknown',
      );
    return first.thicknessMm;
  }
  const places = planes.map(along);
  const steps = places.slice(1).map((place, index) => place - (places[index] ?? 0));
  const sorted = [...steps].sort((a, b) => a - b);
  // The upper median: when half of the positions are taken twice the lower one would be 0.
  const usual = sorted[sorted.length >> 1] ?? 0;
  refuseDuplicates(planes, steps, usual);
  const widest = sorted.at(-1) ?? 0;
  if (widest > 1.5 * usual) {
    const missing = steps.reduce((count, step) => count + Math.max(0, Math.round(step / usual) - 1), 0);
    const gaps = steps.filter((step) => step > 1.5 * usual).length;
    throw unfit(
      `slices are missing: ${gaps} gap${gaps === 1 ? '' : 's'} of up to ${widest.toFixed(3)} mm where slices are ${usual.toFixed(3)} mm apart, about ${missing} of ${planes.length + missing} slices`,
    );
  }
  const start = places[0] ?? 0;
  const mean = ((places.at(-1) ?? 0) - start) / steps.length;
  places.forEach((place, k) => {
    const offMm = Math.abs(place - (start + k * mean));
    if (offMm > UNEVEN * mean)
      throw unfit(
        `spacing is uneven: slice ${k + 1} is ${offMm.toFixed(3)} mm off its place where slices are ${mean.toFixed(3)} mm apart; up to ${(UNEVEN * mean).toFixed(3)} mm are allowed`,
      );
  });
  return mean;
}

function refuseDuplicates(planes: readonly Plane[], steps: readonly number[], usual: number): void {
  const twice = steps.findIndex((step) => step < Math.max(1e-3, SAME_PLACE * usual));
  if (twice < 0) return;
  const count = steps.filter((step) => step < Math.max(1e-3, SAME_PLACE * usual)).length;
  const a = planes[twice]?.variant;
  const b = planes[twice + 1]?.variant;
  const differing = (['echo', 'gradient', 'kind', 'acquisition', 'trigger'] as const).find(
    (key) => a?.[key] !== b?.[key],
  );
  const because = differing === undefined ? '' : `: they are different ${VARIANT_NAMES[differing]}`;
  throw unfit(
    `${count + 1} or more of ${planes.length} slices share a position with another${because}; one slice at each position is needed`,
  );
}

/** A tilted gantry shifts each slice within its plane, so that the grid is sheared (PS3.3 C.8.2.1, Gantry/Detector Tilt). */
function refuseTilt(planes: readonly Plane[], originMm: Vector3, first: Plane, normal: Vector3): void {
  const allowedMm = SHEAR * Math.min(...first.spacingMm);
  for (const plane of planes) {
    const offset = minus(plane.positionMm, originMm);
    const across = dot(offset, first.row);
    const down = dot(offset, first.column);
    const offMm = Math.hypot(across, down);
    if (offMm > allowedMm) {
      const tilt = (Math.atan2(offMm, Math.abs(dot(offset, normal))) * 180) / Math.PI;
      throw unfit(
        `slices are not straight above each other (gantry tilt): ${tilt.toFixed(2)} degrees, ${offMm.toFixed(2)} mm off; up to ${allowedMm.toFixed(2)} mm are allowed`,
      );
    }
  }
}

/** 4 x 4 row-major matrix from voxel indices (i, j, k, 1) to LPS millimetres. */
export function indexToPatient(geometry: VolumeGeometry): number[] {
  const { axes, spacingMm, originMm } = geometry;
  const row = (c: 0 | 1 | 2): number[] => [
    axes[0][c] * spacingMm[0],
    axes[1][c] * spacingMm[1],
    axes[2][c] * spacingMm[2],
    originMm[c],
  ];
  return [...row(0), ...row(1), ...row(2), 0, 0, 0, 1];
}

/** The inverse of `indexToPatient`: axes are orthonormal, so their transpose divided by the spacing. */
export function patientToIndex(geometry: VolumeGeometry): number[] {
  const { axes, spacingMm, originMm } = geometry;
  const row = (a: 0 | 1 | 2): number[] => {
    const axis = axes[a].map((cosine) => cosine / spacingMm[a]);
    return [...axis, -axis.reduce((sum, cosine, c) => sum + cosine * (originMm[c] ?? 0), 0)];
  };
  return [...row(0), ...row(1), ...row(2), 0, 0, 0, 1];
}

/** A 4 x 4 row-major affine matrix on a point. */
export function transformPoint(matrix: readonly number[], point: Vector3): Vector3 {
  const row = (r: number): number =>
    (matrix[r] ?? 0) * point[0] +
    (matrix[r + 1] ?? 0) * point[1] +
    (matrix[r + 2] ?? 0) * point[2] +
    (matrix[r + 3] ?? 0);
  return [row(0), row(4), row(8)];
}

function dot(a: Vector3, b: Vector3): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

function minus(a: Vector3, b: Vector3): Vector3 {
  return [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
}

function cross(a: Vector3, b: Vector3): Vector3 {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

function degrees(cosine: number): number {
  return (Math.acos(Math.max(-1, Math.min(1, cosine))) * 180) / Math.PI;
}
