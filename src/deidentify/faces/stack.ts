/**
 * The frames of a head series as parallel planes in the patient (LPS mm), in order. Unlike a volume for a pipeline they may be sheared by
 * a tilted gantry: a face is looked for in millimetres, not in voxels. What a face cannot be found in with confidence is refused by name.
 */
import { asciiValue, asciiValues, itemsOf, numberValue, type DataSet } from '../../dicom/data-set.ts';
import { tag } from '../../dicom/dictionary.ts';
import { frameBytes, imageLayout } from '../../dicom/image-layout.ts';
import type { Head } from '../../dicom/object.ts';
import { Refusal } from '../../dicom/refusal.ts';
import { planesOf, type Plane, type Vector3 } from '../../dicom/slices.ts';

export type Modality = 'CT' | 'MR';

/** What an object's head says of the places of its frames. */
export interface HeadImage {
  readonly modality: Modality;
  readonly frameOfReferenceUID: string;
  /** In the order of the frames. */
  readonly planes: readonly Plane[];
}

export interface Stack {
  readonly modality: Modality;
  /** Ascending along the normal. */
  readonly planes: readonly Plane[];
  readonly normal: Vector3;
  /** Of each plane along the normal. */
  readonly placesMm: readonly number[];
  /** The usual distance between planes. */
  readonly stepMm: number;
}

const CLASS = '1.2.840.10008.5.1.4.1.1';
/** Classic, enhanced and legacy converted enhanced. */
const MODALITIES: ReadonlyMap<string, Modality> = new Map([
  [`${CLASS}.2`, 'CT'],
  [`${CLASS}.2.1`, 'CT'],
  [`${CLASS}.2.2`, 'CT'],
  [`${CLASS}.4`, 'MR'],
  [`${CLASS}.4.1`, 'MR'],
  [`${CLASS}.4.4`, 'MR'],
]);

/** A projection shows the surface along lines of sight, so that no place in it is a place in the patient. */
const PROJECTED =
  /^(PROJECTION IMAGE|MIP|MAX_IP|MINIP|MIN_IP|MNIP|MIPT|.*\bMIP\b.*|MAXIMUM|MINIMUM|VOLUME_RENDER|SURFACE_RENDER|DISTORTED)$/;

const LEAST_PLANES = 20;
/** Between planes: beyond this eyes and nose lie in one or two planes. */
const MOST_STEP_MM = 6.5;
const LEAST_EXTENT_MM = 90;
const MOST_PLANES = 2000;

/** Planes of one volume. @throws Refusal Quarantined, saying what was found and what is needed */
export function stackOf(modality: Modality, unordered: readonly Plane[]): Stack {
  const [reference] = unordered;
  if (reference === undefined || unordered.length < LEAST_PLANES)
    throw sealed(`the volume has ${unordered.length} images; at least ${LEAST_PLANES} are needed`);
  if (unordered.length > MOST_PLANES)
    throw sealed(`the volume has ${unordered.length} images; up to ${MOST_PLANES} are taken as one volume`);
  for (const plane of unordered) refuseOther(plane, reference);
  const normal = cross(reference.row, reference.column);
  const planes = [...unordered].sort((a, b) => dot(a.positionMm, normal) - dot(b.positionMm, normal));
  const placesMm = planes.map(({ positionMm }) => dot(positionMm, normal));
  return { modality, planes, normal, placesMm, stepMm: stepOf(placesMm) };
}

/** @throws Refusal Quarantined for what is no image of slices in the patient */
export function headImage(head: Head): HeadImage {
  const { dataSet } = head;
  const modality = modalityOf(dataSet);
  if (kindsOf(dataSet).some((value) => PROJECTED.test(value.toUpperCase())))
    throw sealed(
      'Image Type (0008,0008) or Frame Type (0008,9007) names a projection, in which no place is a place in the patient',
    );
  try {
    const planes = planesOf(asNative(head), 0);
    if (planes.some(({ format }) => format.bytesPerPixel === 4))
      throw sealed('Bits Allocated (0028,0100) is 32; 8 or 16 are needed');
    return { modality, frameOfReferenceUID: asciiValue(dataSet, tag('FrameOfReferenceUID')) ?? '', planes };
  } catch (error) {
    if (!(error instanceof Refusal) || error.reason === 'Quarantined') throw error;
    throw sealed(error.message);
  }
}

function modalityOf(dataSet: DataSet): Modality {
  const modality = MODALITIES.get(asciiValue(dataSet, tag('SOPClassUID')) ?? '');
  if (modality === undefined)
    throw sealed('its SOP Class is none of CT and MR Image Storage, Enhanced and Legacy Converted Enhanced CT and MR');
  return modality;
}

const GROUPS = ['SharedFunctionalGroupsSequence', 'PerFrameFunctionalGroupsSequence'].map(tag);
export const FRAME_TYPES: readonly number[] = ['CTImageFrameTypeSequence', 'MRImageFrameTypeSequence'].map(tag);
const KINDS = ['ImageType', 'FrameType', 'VolumetricProperties', 'VolumeBasedCalculationTechnique'].map(tag);

/** What the object says of how its pixels came about, for all frames or each (PS3.3 C.8.16.1, C.8.16.2). */
function kindsOf(dataSet: DataSet): string[] {
  const groups = GROUPS.flatMap((sequence) => itemsOf(dataSet, sequence));
  const types = groups.flatMap((group) => FRAME_TYPES.flatMap((sequence) => itemsOf(group, sequence)));
  return [dataSet, ...types].flatMap((place) => KINDS.flatMap((kind) => asciiValues(place, kind)));
}

/** As the object would be if its frames were decoded and in little endian: what is handed to the defacer. */
function asNative(head: Head): Head {
  const { dataSet, pixelData } = head;
  if (pixelData === undefined) throw sealed('an image has no Pixel Data (7FE0,0010)');
  const frames = numberValue(dataSet, tag('NumberOfFrames')) ?? 1;
  const lengthBytes = pixelData.lengthBytes ?? frames * frameBytes(imageLayout(dataSet));
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
