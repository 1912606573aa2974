/** Slices as a reader sees them, for the key image of a run. */
import type { Panel } from '../derived/key-image.ts';
import { numberValue } from '../dicom/data-set.ts';
import type { Head } from '../dicom/object.ts';
import { indexToPatient, patientToIndex, transformPoint, type Volume, type VolumeGeometry } from '../dicom/volume.ts';

/** One slice of a grid, with real values. */
export interface Plane {
  readonly values: Float32Array;
  readonly columns: number;
  readonly rows: number;
  readonly pixelMm: readonly [number, number];
}

export interface Window {
  readonly center: number;
  readonly width: number;
}

/** A copy: the volume may be handed on. */
export function planeOf({ geometry, voxels }: Pick<Volume, 'geometry' | 'voxels'>, k: number): Plane {
  const size = geometry.columns * geometry.rows;
  return { ...shapeOf(geometry), values: voxels.slice(k * size, (k + 1) * size) };
}

export function middleOf({ slices }: VolumeGeometry): number {
  return slices >> 1;
}

/** What another series shows at slice k of a grid, before any registration: by patient coordinates, or, without a common frame of reference, centre on centre. */
export function planeThrough(series: Pick<Volume, 'geometry' | 'voxels'>, grid: VolumeGeometry, k: number): Plane {
  const { geometry, voxels } = series;
  const toIndex = patientToIndex(geometry);
  const toPatient = indexToPatient(grid);
  const common = grid.frameOfReferenceUID !== undefined && grid.frameOfReferenceUID === geometry.frameOfReferenceUID;
  const [here, there] = [centreOf(grid), centreOf(geometry)];
  const shift = here.map((value, axis) => (common ? 0 : (there[axis] ?? 0) - value));
  const low = voxels.reduce((least, value) => Math.min(least, value), Infinity);
  const values = new Float32Array(grid.columns * grid.rows);
  for (let j = 0; j < grid.rows; j++)
    for (let i = 0; i < grid.columns; i++) {
      const [x, y, z] = transformPoint(toPatient, [i, j, k]);
      const [u, v, w] = transformPoint(toIndex, [x + (shift[0] ?? 0), y + (shift[1] ?? 0), z + (shift[2] ?? 0)]);
      const [a, b, c] = [Math.round(u), Math.round(v), Math.round(w)];
      const inside = a >= 0 && b >= 0 && c >= 0 && a < geometry.columns && b < geometry.rows && c < geometry.slices;
      values[j * grid.columns + i] = inside ? (voxels[(c * geometry.rows + b) * geometry.columns + a] ?? low) : low;
    }
  return { ...shapeOf(grid), values };
}

function centreOf(geometry: VolumeGeometry): readonly number[] {
  const { columns, rows, slices } = geometry;
  return transformPoint(indexToPatient(geometry), [(columns - 1) / 2, (rows - 1) / 2, (slices - 1) / 2]);
}

function shapeOf({ columns, rows, spacingMm }: VolumeGeometry): Omit<Plane, 'values'> {
  return { columns, rows, pixelMm: [spacingMm[0], spacingMm[1]] };
}

/** The middle 98 % of what is there. */
export function windowOver({ values }: Plane): Window {
  const sorted = values.slice().sort();
  const rank = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? 0;
  const [low, high] = [rank(0.01), rank(0.99)];
  return { center: (low + high) / 2, width: Math.max(high - low, 1e-6) };
}

export function panelOf(title: string, plane: Plane, window: Window = windowOver(plane)): Panel {
  const low = window.center - window.width / 2;
  const grey = Uint8Array.from(plane.values, (value) =>
    Math.max(0, Math.min(255, Math.round((255 * (value - low)) / window.width))),
  );
  return { title, grey, columns: plane.columns, rows: plane.rows, pixelMm: plane.pixelMm };
}

/** Result minus source: grey where nothing differs. */
export function differencePanel(title: string, result: Plane, source: Plane): Panel {
  const values = result.values.map((value, n) => value - (source.values[n] ?? 0));
  const sorted = values.map(Math.abs).sort();
  const most = sorted[Math.floor(0.99 * (sorted.length - 1))] ?? 0;
  return panelOf(title, { ...result, values }, { center: 0, width: 2 * Math.max(most, 1e-6) });
}

const FIELDS = 8;

/** Two contrasts cannot be subtracted: fields of the one beside fields of the other show whether edges go on. */
export function checkerboardPanel(title: string, one: Plane, other: Plane): Panel {
  const [a, b] = [panelOf(title, one), panelOf(title, other)];
  const grey = a.grey.map((value, n) => {
    const column = Math.floor(((n % a.columns) * FIELDS) / a.columns);
    const row = Math.floor((Math.floor(n / a.columns) * FIELDS) / a.rows);
    return (column + row) % 2 === 0 ? value : (b.grey[n] ?? 0);
  });
  return { ...a, grey };
}

/** An image's own window, its first. */
export function windowIn(head: Head | undefined): Window | undefined {
  if (head === undefined) return undefined;
  const { dataSet } = head;
  const [center, width] = [numberValue(dataSet, 0x00281050), numberValue(dataSet, 0x00281051)];
  return center === undefined || width === undefined || width < 1 ? undefined : { center, width };
}

/**
 * Registered minus fixed, of CT in HU; where the moving series has no data nothing is said to differ. The value that stands there may be
 * that of air too, so it is the field of view that tells. In the room of `registered`: the last thing that is made of it.
 */
export function subtracted(registered: Volume, fixed: Float32Array, inView: Uint8Array): Volume {
  const { gain, offset } =
    registered.modality === 'CT' ? { gain: 1, offset: 0 } : leastSquares(registered.voxels, fixed, inView);
  const { voxels } = registered;
  for (let n = 0; n < voxels.length; n++) voxels[n] = inView[n] === 1 ? gain * voxels[n]! + offset - fixed[n]! : 0;
  return registered;
}

export function scaledTo(plane: Plane, like: Plane, modality: string): Plane {
  if (modality === 'CT') return plane;
  const { gain, offset } = leastSquares(plane.values, like.values);
  return { ...plane, values: plane.values.map((value) => gain * value + offset) };
}

/** Gain and offset that bring one series' values nearest to the other's: MR scales its values anew with every scan. */
function leastSquares(from: Float32Array, to: Float32Array, among?: Uint8Array): { gain: number; offset: number } {
  let [n, a, b, aa, ab] = [0, 0, 0, 0, 0];
  for (let i = 0; i < from.length; i++) {
    const [x, y] = [from[i] ?? 0, to[i] ?? 0];
    if (among?.[i] === 0) continue;
    n++;
    a += x;
    b += y;
    aa += x * x;
    ab += x * y;
  }
  const spread = n * aa - a * a;
  const gain = spread > 0 ? (n * ab - a * b) / spread : 1;
  return { gain, offset: n === 0 ? 0 : (b - gain * a) / n };
}
