/**
 * The images of a head series as parallel planes in the patient (LPS mm), in order. Unlike a volume for a pipeline they may be sheared by
 * a tilted gantry: a face is looked for in millimetres, not in voxels. What a face cannot be found in with confidence is refused by name.
 */
import { asciiValues, numberValue } from '../../dicom/data-set.ts';
import { tag } from '../../dicom/dictionary.ts';
import { frameBytes, imageLayout } from '../../dicom/image-layout.ts';
import type { Head } from '../../dicom/object.ts';
import { Refusal } from '../../dicom/refusal.ts';
import { planesOf, type Plane, type Vector3 } from '../../dicom/slices.ts';

export interface Stack {
  readonly modality: 'CT' | 'MR';
  /** Ascending along the normal; `instance` counts the heads as they were given. */
  readonly planes: readonly Plane[];
  readonly normal: Vector3;
  /** Of each plane along the normal. */
  readonly placesMm: readonly number[];
  /** The usual distance between planes. */
  readonly stepMm: number;
}

const CLASS = '1.2.840.10008.5.1.4.1.1';
const MODALITIES: ReadonlyMap<string, 'CT' | 'MR'> = new Map([
  [`${CLASS}.2`, 'CT'],
  [`${CLASS}.4`, 'MR'],
]);

/** A projection shows the surface along lines of sight, so that no place in it is a place in the patient. */
const PROJECTED = /^(PROJECTION IMAGE|MIP|MAX_IP|MINIP|MIN_IP|MNIP|MIPT|.*\bMIP\b.*)$/;

const LEAST_PLANES = 20;
/** Between planes: beyond this eyes and nose lie in one or two planes. */
const MOST_STEP_MM = 6.5;
const LEAST_EXTENT_MM = 90;
const MOST_PLANES = 2000;

/** @throws Refusal Quarantined, saying what was found and what is needed */
export function stackOf(heads: readonly Head[]): Stack {
  const [first] = heads;
  if (first === undefined || heads.length < LEAST_PLANES)
    throw sealed(`the series has ${heads.length} images; at least ${LEAST_PLANES} are needed`);
  if (heads.length > MOST_PLANES)
    throw sealed(`the series has ${heads.length} images; up to ${MOST_PLANES} are taken as one volume`);
  const modality = sameOf(heads.map(modalityOf), 'modalities');
  sameOf(
    heads.map(({ dataSet }) => asciiValues(dataSet, tag('FrameOfReferenceUID'))[0] ?? ''),
    'frames of reference',
  );
  const planes = heads.map(planeOf);
  const [reference] = planes;
  if (reference === undefined) throw sealed('the series has no image');
  for (const plane of planes) refuseOther(plane, reference);
  const normal = cross(reference.row, reference.column);
  for (const key of ['temporalPosition', 'bValue', 'echo'] as const) {
    const found = new Set(planes.map((plane) => plane.variant[key]));
    if (found.size > 1) throw sealed(`the series holds ${found.size} volumes (${VARIANTS[key]}); one is needed`);
  }
  planes.sort((a, b) => dot(a.positionMm, normal) - dot(b.positionMm, normal));
  const placesMm = planes.map(({ positionMm }) => dot(positionMm, normal));
  return { modality, planes, normal, placesMm, stepMm: stepOf(placesMm) };
}

const VARIANTS = { temporalPosition: 'time points', bValue: 'b-values', echo: 'echoes' } as const;

/** One image of a series by itself. @throws Refusal Quarantined */
export function planeOf(head: Head, instance: number): Plane {
  modalityOf(head);
  const { dataSet } = head;
  if ((numberValue(dataSet, tag('NumberOfFrames')) ?? 1) > 1) throw sealed('it is a multi-frame image');
  if (asciiValues(dataSet, tag('ImageType')).some((value) => PROJECTED.test(value.toUpperCase())))
    throw sealed('Image Type (0008,0008) names a projection, in which no place is a place in the patient');
  try {
    const [plane] = planesOf(asNative(head), instance);
    if (plane === undefined) throw sealed('an image has no plane');
    if (plane.format.bytesPerPixel === 4) throw sealed('Bits Allocated (0028,0100) is 32; 8 or 16 are needed');
    return plane;
  } catch (error) {
    if (!(error instanceof Refusal) || error.reason === 'Quarantined') throw error;
    throw sealed(error.message);
  }
}

function modalityOf({ dataSet }: Head): 'CT' | 'MR' {
  const modality = MODALITIES.get(asciiValues(dataSet, tag('SOPClassUID'))[0] ?? '');
  if (modality === undefined)
    throw sealed('its SOP Class is neither CT Image Storage nor MR Image Storage; enhanced images are not defaced');
  return modality;
}

/** As the object would be if its frame were decoded and in little endian: what is handed to the defacer. */
function asNative(head: Head): Head {
  const { dataSet, pixelData } = head;
  if (pixelData === undefined) throw sealed('an image has no Pixel Data (7FE0,0010)');
  const lengthBytes = pixelData.lengthBytes ?? frameBytes(imageLayout(dataSet));
  return { ...head, pixelData: { ...pixelData, lengthBytes } };
}

/** @throws Refusal Quarantined when the plane is not parallel to, or not as large as, the others */
export function refuseOther(plane: Plane, reference: Pick<Plane, 'format' | 'row' | 'column' | 'spacingMm'>): void {
  const [a, b] = [plane.format, reference.format];
  if (a.columns !== b.columns || a.rows !== b.rows)
    throw sealed(`sizes are mixed: ${b.columns} x ${b.rows} and ${a.columns} x ${a.rows} pixels`);
  const cosine = Math.min(dot(plane.row, reference.row), dot(plane.column, reference.column));
  if (cosine < Math.cos((0.2 * Math.PI) / 180)) throw sealed('orientations are mixed; parallel planes are needed');
  if (plane.spacingMm.some((mm, axis) => Math.abs(mm - (reference.spacingMm[axis] ?? 0)) > 1e-3 * mm))
    throw sealed('Pixel Spacing (0028,0030) is mixed; one is needed');
}

function stepOf(placesMm: readonly number[]): number {
  const steps = placesMm.slice(1).map((place, index) => place - (placesMm[index] ?? 0));
  const sorted = [...steps].sort((a, b) => a - b);
  const usual = sorted[sorted.length >> 1] ?? 0;
  const twice = steps.filter((step) => step < Math.max(1e-3, 0.05 * usual)).length;
  if (twice > 0) throw sealed(`${twice + 1} or more of ${placesMm.length} images lie in the same place`);
  const widest = sorted.at(-1) ?? 0;
  if (widest > 1.6 * usual)
    throw sealed(`images are missing: a gap of ${widest.toFixed(1)} mm where they are ${usual.toFixed(1)} mm apart`);
  if (widest > MOST_STEP_MM)
    throw sealed(`images are ${widest.toFixed(1)} mm apart; up to ${MOST_STEP_MM} mm are taken as a volume`);
  const extent = (placesMm.at(-1) ?? 0) - (placesMm[0] ?? 0);
  if (extent < LEAST_EXTENT_MM)
    throw sealed(`the images cover ${extent.toFixed(0)} mm; at least ${LEAST_EXTENT_MM} mm of a head are needed`);
  return usual;
}

function sameOf<Value>(values: readonly Value[], what: string): Value {
  const found = new Set(values);
  const [only] = found;
  if (only === undefined || found.size > 1) throw sealed(`the series holds ${found.size} ${what}; one is needed`);
  return only;
}

/** The face stays where it is and the series sealed. */
export function sealed(why: string): Refusal {
  return new Refusal('Quarantined', `the face cannot be taken out: ${why}`);
}

export function dot(a: Vector3, b: Vector3): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

export function cross(a: Vector3, b: Vector3): Vector3 {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}
