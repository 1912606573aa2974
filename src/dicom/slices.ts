/**
 * The planes of a series: where each frame lies in the patient and how its stored values become real ones, from the classic
 * attributes (PS3.3 C.7.6.2, C.11.1) or from functional groups (PS3.3 C.7.6.16). Nothing here reads pixels.
 */
import {
  asciiValue,
  asciiValues,
  findElement,
  itemsOf,
  numberValue,
  numberValues,
  valueBytes,
  type DataSet,
} from './data-set.ts';
import type { Head } from './object.ts';
import { Refusal } from './refusal.ts';
import { pixelFormat, refuseShortPixels, type PixelFormat } from './voxels.ts';

export type Vector3 = readonly [number, number, number];

/** One frame of one instance. */
export interface Plane {
  /** Index into the instances as they were given. */
  readonly instance: number;
  /** Counted from 1. */
  readonly frame: number;
  readonly format: PixelFormat;
  readonly positionMm: Vector3;
  /** Unit vectors along a row and down a column. */
  readonly row: Vector3;
  readonly column: Vector3;
  /** Between columns, between rows. */
  readonly spacingMm: readonly [number, number];
  /** Slice Thickness or Spacing Between Slices, for a series of one slice; undefined when neither is given. */
  readonly thicknessMm: number | undefined;
  readonly slope: number;
  readonly intercept: number;
  /** What tells planes at the same place apart: temporal position, b-value, echo. */
  readonly variant: Variant;
}

export interface Variant {
  readonly temporalPosition: string | undefined;
  readonly bValue: string | undefined;
  readonly echo: string | undefined;
  readonly acquisition: string | undefined;
  readonly stack: string | undefined;
  /** Diffusion gradient orientation. */
  readonly gradient: string | undefined;
  /** Magnitude, phase, water, fat: Image Type or Frame Type from its third value on, and the complex component. */
  readonly kind: string | undefined;
  /** After the R wave. */
  readonly trigger: string | undefined;
  /** Of the acquisition. */
  readonly time: string | undefined;
}

const SHARED_GROUPS = 0x52009229;
const PER_FRAME_GROUPS = 0x52009230;
const IMAGE_POSITION = 0x00200032;
const IMAGE_ORIENTATION = 0x00200037;
const PIXEL_SPACING = 0x00280030;

/** What is not fit to be part of a volume. */
export function unfit(sentence: string): Refusal {
  return new Refusal('PipelineRefused', sentence);
}

/** Every plane of an instance. @throws Refusal PipelineRefused, CannotUnderstand, naming what was found and what is needed */
export function planesOf(head: Head, instance: number): Plane[] {
  const { dataSet } = head;
  const format = pixelFormat(head);
  if (findElement(dataSet, 0x00283000) !== undefined)
    throw unfit('a Modality LUT Sequence (0028,3000) is present; only linear rescale makes a volume');
  const frames = itemsOf(dataSet, PER_FRAME_GROUPS);
  if (frames.length === 0) {
    if (format.frames > 1) {
      throw unfit(
        `Number of Frames (0028,0008) is ${format.frames} without Per-Frame Functional Groups (5200,9230): the frames have no place in the patient`,
      );
    }
    refuseLocalizer(asciiValues(dataSet, 0x00080008), 'Image Type (0008,0008)');
    refuseShortPixels(head, format);
    return [planeOf(classicGroups(dataSet), format, instance, 1)];
  }
  if (frames.length !== format.frames) {
    throw unfit(
      `Per-Frame Functional Groups (5200,9230) has ${frames.length} items, Number of Frames (0028,0008) is ${format.frames}`,
    );
  }
  refuseShortPixels(head, format);
  const [shared] = itemsOf(dataSet, SHARED_GROUPS);
  return frames.map((frame, index) => {
    const groups = enhancedGroups(dataSet, shared, frame);
    const frameType = groups.frameType;
    if (frameType !== undefined) refuseLocalizer(asciiValues(frameType, 0x00089007), 'Frame Type (0008,9007)');
    return planeOf(groups, format, instance, index + 1);
  });
}

/** Where to look for each attribute of a frame. */
interface Groups {
  readonly position: DataSet | undefined;
  readonly orientation: DataSet | undefined;
  readonly measures: DataSet | undefined;
  readonly transformation: DataSet | undefined;
  readonly frameType: DataSet | undefined;
  readonly requireRescale: boolean;
  readonly variant: Variant;
}

function classicGroups(dataSet: DataSet): Groups {
  return {
    position: dataSet,
    orientation: dataSet,
    measures: dataSet,
    transformation: dataSet,
    frameType: undefined,
    requireRescale: asciiValue(dataSet, 0x00080060) === 'CT',
    variant: {
      temporalPosition: asciiValue(dataSet, 0x00200100),
      bValue: textOfNumber(dataSet, 0x00189087),
      echo: asciiValue(dataSet, 0x00180086) ?? asciiValue(dataSet, 0x00180081),
      acquisition: asciiValue(dataSet, 0x00200012),
      stack: undefined,
      gradient: textOfNumbers(dataSet, 0x00189089),
      kind: kindOf(asciiValues(dataSet, 0x00080008), asciiValue(dataSet, 0x00089208)),
      trigger: textOfNumber(dataSet, 0x00181060),
      time: asciiValue(dataSet, 0x0008002a) ?? asciiValue(dataSet, 0x00080032),
    },
  };
}

/** Each functional group stands in the frame's item or, the same for all frames, in the shared one (PS3.3 C.7.6.16). */
function enhancedGroups(dataSet: DataSet, shared: DataSet | undefined, frame: DataSet): Groups {
  const group = (tag: number): DataSet | undefined =>
    itemsOf(frame, tag)[0] ?? (shared === undefined ? undefined : itemsOf(shared, tag)[0]);
  const content = group(0x00209111);
  const diffusion = group(0x00189117);
  const direction = diffusion === undefined ? undefined : itemsOf(diffusion, 0x00189076)[0];
  const echo = group(0x00189114);
  const heart = group(0x00189118);
  const frameType = group(0x00189329) ?? group(0x00189226);
  return {
    position: group(0x00209113),
    orientation: group(0x00209116),
    measures: group(0x00289110),
    transformation: group(0x00289145),
    frameType,
    requireRescale: asciiValue(dataSet, 0x00080060) === 'CT',
    variant: {
      temporalPosition: content === undefined ? undefined : textOfNumber(content, 0x00209128),
      bValue: diffusion === undefined ? undefined : textOfNumber(diffusion, 0x00189087),
      echo: echo === undefined ? undefined : textOfNumber(echo, 0x00189082),
      acquisition: content === undefined ? undefined : textOfNumber(content, 0x00209156),
      stack: content === undefined ? undefined : asciiValue(content, 0x00209056),
      gradient: direction === undefined ? undefined : textOfNumbers(direction, 0x00189089),
      kind:
        frameType === undefined
          ? undefined
          : kindOf(asciiValues(frameType, 0x00089007), asciiValue(frameType, 0x00089208)),
      trigger: heart === undefined ? undefined : textOfNumber(heart, 0x00209153),
      time: content === undefined ? undefined : (asciiValue(content, 0x00189074) ?? asciiValue(content, 0x00189151)),
    },
  };
}

function kindOf(type: readonly string[], component: string | undefined): string {
  return [...type.slice(2), component ?? ''].join('/');
}

function textOfNumbers(dataSet: DataSet, tag: number): string | undefined {
  const values = numberValues(dataSet, tag);
  return values.length === 0 ? undefined : values.join(' ');
}

function textOfNumber(dataSet: DataSet, tag: number): string | undefined {
  return numberValue(dataSet, tag)?.toString();
}

function planeOf(groups: Groups, format: PixelFormat, instance: number, frame: number): Plane {
  const where = `instance ${instance + 1}, frame ${frame}`;
  const position = numbers(groups.position, IMAGE_POSITION, 3, `Image Position (Patient) (0020,0032), ${where}`);
  const cosines = numbers(
    groups.orientation,
    IMAGE_ORIENTATION,
    6,
    `Image Orientation (Patient) (0020,0037), ${where}`,
  );
  const spacing = numbers(groups.measures, PIXEL_SPACING, 2, `Pixel Spacing (0028,0030), ${where}`);
  const [betweenRows = 0, betweenColumns = 0] = spacing;
  if (betweenRows <= 0 || betweenColumns <= 0)
    throw unfit(`Pixel Spacing (0028,0030), ${where}, is ${betweenRows} x ${betweenColumns} mm; both must be above 0`);
  const { row, column } = orthonormal(cosines, where);
  return {
    instance,
    frame,
    format,
    positionMm: [position[0] ?? 0, position[1] ?? 0, position[2] ?? 0],
    row,
    column,
    spacingMm: [betweenColumns, betweenRows],
    thicknessMm: positive(groups.measures, 0x00180088) ?? positive(groups.measures, 0x00180050),
    ...rescaleOf(groups, where),
    variant: groups.variant,
  };
}

function numbers(groups: DataSet | undefined, tag: number, count: number, name: string): number[] {
  const values = groups === undefined ? [] : numberValues(groups, tag);
  if (values.length !== count || !values.every(Number.isFinite))
    throw unfit(`${name}: ${values.filter(Number.isFinite).length} numbers found, ${count} needed`);
  return values;
}

function positive(groups: DataSet | undefined, tag: number): number | undefined {
  const value = groups === undefined ? undefined : numberValue(groups, tag);
  return value !== undefined && value > 0 ? value : undefined;
}

/** PS3.3 C.11.1.1.2. A CT without it would be taken for HU, which it is not; an MR without it is in stored values. */
function rescaleOf(groups: Groups, where: string): { slope: number; intercept: number } {
  const { transformation } = groups;
  const slope = transformation === undefined ? undefined : numberValue(transformation, 0x00281053);
  const intercept = transformation === undefined ? undefined : numberValue(transformation, 0x00281052);
  if (groups.requireRescale && (slope === undefined || intercept === undefined))
    throw unfit(
      `Rescale Slope (0028,1053) or Intercept (0028,1052), ${where}, is absent; without them a CT is not in HU`,
    );
  if (slope === 0) throw unfit(`Rescale Slope (0028,1053), ${where}, is 0`);
  return { slope: slope ?? 1, intercept: intercept ?? 0 };
}

/** Written with few digits, so the cosines are mended; what is far from orthonormal (PS3.3 C.7.6.2.1.1) is refused. */
function orthonormal(cosines: readonly number[], where: string): { row: Vector3; column: Vector3 } {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = cosines;
  const rowLength = Math.hypot(a, b, c);
  const columnLength = Math.hypot(d, e, f);
  const lean = a * d + b * e + c * f;
  if (Math.abs(rowLength - 1) > 1e-2 || Math.abs(columnLength - 1) > 1e-2 || Math.abs(lean) > 1e-2) {
    throw unfit(
      `Image Orientation (Patient) (0020,0037), ${where}: lengths ${rowLength.toFixed(4)} and ${columnLength.toFixed(4)}, product ${lean.toFixed(4)}; two orthogonal unit vectors are needed (PS3.3 C.7.6.2.1.1)`,
    );
  }
  const row: Vector3 = [a / rowLength, b / rowLength, c / rowLength];
  const along = row[0] * d + row[1] * e + row[2] * f;
  const rest: Vector3 = [d - along * row[0], e - along * row[1], f - along * row[2]];
  const length = Math.hypot(...rest);
  return { row, column: [rest[0] / length, rest[1] / length, rest[2] / length] };
}

function refuseLocalizer(imageType: readonly string[], name: string): void {
  if (imageType.includes('LOCALIZER') || imageType.includes('SCOUT'))
    throw unfit(`${name} says LOCALIZER: its planes are no volume`);
}

/** Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2) as stored values; undefined when there is none. */
export function paddingOf(head: Head, format: PixelFormat): readonly [number, number] | undefined {
  const value = paddingNumber(head.dataSet, 0x00280120, format);
  if (value === undefined) return undefined;
  const limit = paddingNumber(head.dataSet, 0x00280121, format) ?? value;
  return [Math.min(value, limit), Math.max(value, limit)];
}

/** US or SS by Pixel Representation, whichever of the two a writer put there. */
function paddingNumber(dataSet: DataSet, tag: number, format: PixelFormat): number | undefined {
  const element = findElement(dataSet, tag);
  if (element === undefined || element.valueEnd - element.valueStart < 2) return undefined;
  const bytes = valueBytes(dataSet, element);
  const raw = dataSet.encoding === 'explicit-be' ? bytes.readUInt16BE(0) : bytes.readUInt16LE(0);
  return format.signed && raw >= 0x8000 ? raw - 0x10000 : raw;
}
