/**
 * One image without a place in the patient (ultrasound, X-ray: PS3.3 A.6, A.2, A.26) as voxels: its frames stand where slices would. The
 * geometry says no more than the size and the spacing in the plane.
 */
import { asciiValue, findElement, numberValue, numberValues } from './data-set.ts';
import type { Head } from './object.ts';
import { Refusal } from './refusal.ts';
import { axialGrid, type SeriesInstance, type SeriesVolume } from './volume.ts';
import { pixelFormat, readFrame, refuseShortPixels } from './voxels.ts';

/** Modalities whose images are read one by one. */
const PROJECTIONS: ReadonlySet<string> = new Set(['US', 'CR', 'DX', 'MG', 'RF', 'XA', 'PX', 'IO']);

/** Whether the images of a series have no place in the patient, and are read one by one. */
export function areProjections([first]: readonly Head[]): boolean {
  return first !== undefined && PROJECTIONS.has(asciiValue(first.dataSet, 0x00080060) ?? '');
}

const MAX_VOXELS = 2 ** 29;

/** @throws Refusal PipelineRefused for colour, look-up tables and too many pixels, CannotUnderstand for pixel data that end early */
export async function readProjection({ head, pixels }: SeriesInstance): Promise<SeriesVolume> {
  const { dataSet } = head;
  const format = pixelFormat(head);
  refuseShortPixels(head, format);
  if (findElement(dataSet, 0x00283000) !== undefined)
    throw new Refusal('PipelineRefused', 'a Modality LUT Sequence (0028,3000) is present; only linear rescale is read');
  const { columns, rows, frames } = format;
  if (columns * rows * frames > MAX_VOXELS)
    throw new Refusal(
      'PipelineRefused',
      `the image has ${columns * rows * frames} pixels; up to ${MAX_VOXELS} are read`,
    );
  const slope = numberValue(dataSet, 0x00281053) ?? 1;
  const intercept = numberValue(dataSet, 0x00281052) ?? 0;
  if (slope === 0) throw new Refusal('PipelineRefused', 'Rescale Slope (0028,1053) is 0');
  // Pixel Spacing, else Imager Pixel Spacing: rows first.
  const [down, across] = [0x00280030, 0x00181164]
    .map((tag) => numberValues(dataSet, tag))
    .find((two) => two.length === 2) ?? [1, 1];
  const voxels = new Float32Array(columns * rows * frames);
  const bytes = await pixels();
  for (let frame = 1; frame <= frames; frame++)
    readFrame(bytes, format, frame, { slope, intercept }, voxels, (frame - 1) * columns * rows);
  return {
    voxels,
    modality: asciiValue(dataSet, 0x00080060) ?? 'OT',
    label: '',
    sources: Array.from({ length: frames }, (_, k) => ({
      instance: 0,
      frame: k + 1,
      slope,
      intercept,
      padding: undefined,
    })),
    geometry: axialGrid([columns, rows, frames], [across ?? 1, down ?? 1, 1]),
  };
}
