/**
 * A coarse picture of a head in patient axes (LPS mm), filled plane by plane, so that a volume is never in memory as a whole. Cells are
 * means of the voxels whose centres lie in them; `one` keeps a single voxel of each, for what noise looks like.
 */
import type { Plane, Vector3 } from '../../dicom/slices.ts';
import type { Stack } from './stack.ts';

export interface Grid {
  readonly cellMm: number;
  /** Centre of cell (0, 0, 0). */
  readonly originMm: Vector3;
  readonly size: Vector3;
  /** NaN: no voxel lies there. */
  readonly mean: Float32Array;
  /** Empty where nobody asks what noise looks like. */
  readonly one: Float32Array;
}

/** A grid that is being filled. */
export interface GridWork {
  readonly grid: Grid;
  readonly count: Uint16Array;
  /** Planes are repeated at these distances along the normal, so that none of the cells between them stays empty. */
  readonly shiftsMm: readonly number[];
  readonly normal: Vector3;
}

const CELL_MM = 2.5;
/** Of what reaches further down only the upper part can be the head: a whole body. */
const MOST_HEIGHT_MM = 420;
const MOST_WIDTH_MM = 900;

/** Bytes of a cell while its grid is filled, without its single voxel. */
export const CELL_BYTES = 6;

export function openGrid(stack: Pick<Stack, 'planes' | 'normal' | 'stepMm'>, keepOne: boolean): GridWork {
  const low: [number, number, number] = [Infinity, Infinity, Infinity];
  const high: [number, number, number] = [-Infinity, -Infinity, -Infinity];
  let pixelMm = 0;
  for (const plane of stack.planes) {
    pixelMm = Math.max(pixelMm, ...plane.spacingMm);
    for (const corner of cornersOf(plane)) {
      for (const axis of [0, 1, 2] as const) {
        low[axis] = Math.min(low[axis], corner[axis]);
        high[axis] = Math.max(high[axis], corner[axis]);
      }
    }
  }
  const cellMm = Math.max(CELL_MM, 1.3 * pixelMm);
  low[2] = Math.max(low[2], high[2] - MOST_HEIGHT_MM);
  for (const axis of [0, 1] as const) {
    const middle = (low[axis] + high[axis]) / 2;
    low[axis] = Math.max(low[axis], middle - MOST_WIDTH_MM / 2);
    high[axis] = Math.min(high[axis], middle + MOST_WIDTH_MM / 2);
  }
  const size = low.map((from, axis) => Math.ceil(((high[axis] ?? 0) - from) / cellMm) + 1) as unknown as Vector3;
  const cells = size[0] * size[1] * size[2];
  const repeats = Math.max(1, Math.ceil((1.3 * stack.stepMm) / cellMm));
  return {
    grid: {
      cellMm,
      originMm: low,
      size,
      mean: new Float32Array(cells),
      one: new Float32Array(keepOne ? cells : 0),
    },
    count: new Uint16Array(cells),
    shiftsMm: Array.from({ length: repeats }, (_, index) => ((index + 0.5) / repeats - 0.5) * stack.stepMm),
    normal: stack.normal,
  };
}

/** To be filled anew, in the memory it has. */
export function emptied(work: GridWork): GridWork {
  work.grid.mean.fill(0);
  work.count.fill(0);
  return work;
}

function cornersOf({ positionMm, row, column, spacingMm, format }: Plane): Vector3[] {
  const right = (format.columns - 1) * spacingMm[0];
  const down = (format.rows - 1) * spacingMm[1];
  return [
    [0, 0],
    [right, 0],
    [0, down],
    [right, down],
  ].map(([a = 0, b = 0]) =>
    ([0, 1, 2] as const).map((axis) => positionMm[axis] + a * row[axis] + b * column[axis]),
  ) as unknown as Vector3[];
}

/** Adds the real values of one plane. */
export function addPlane({ grid, count, shiftsMm, normal }: GridWork, plane: Plane, values: Float32Array): void {
  const { cellMm, originMm, size, mean, one } = grid;
  const { positionMm, row, column, spacingMm, format } = plane;
  // Two voxels an axis are enough for the mean of a cell.
  const skip = Math.max(1, Math.floor(cellMm / 2 / Math.max(...spacingMm)));
  const [nx, ny, nz] = size;
  const stepX = (skip * spacingMm[0] * row[0]) / cellMm;
  const stepY = (skip * spacingMm[0] * row[1]) / cellMm;
  const stepZ = (skip * spacingMm[0] * row[2]) / cellMm;
  for (const shift of shiftsMm) {
    for (let j = 0; j < format.rows; j += skip) {
      const down = j * spacingMm[1];
      let x = (positionMm[0] + down * column[0] + shift * normal[0] - originMm[0]) / cellMm + 0.5;
      let y = (positionMm[1] + down * column[1] + shift * normal[1] - originMm[1]) / cellMm + 0.5;
      let z = (positionMm[2] + down * column[2] + shift * normal[2] - originMm[2]) / cellMm + 0.5;
      for (let i = 0; i < format.columns; i += skip, x += stepX, y += stepY, z += stepZ) {
        if (x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz) continue;
        const cell = ((z | 0) * ny + (y | 0)) * nx + (x | 0);
        const value = values[j * format.columns + i] ?? 0;
        mean[cell] = (mean[cell] ?? 0) + value;
        if (one.length > 0) one[cell] = value;
        count[cell] = Math.min(65_535, (count[cell] ?? 0) + 1);
      }
    }
  }
}

/** Sums become means; cells that the raster missed take the mean of their neighbours. */
export function closeGrid({ grid, count }: GridWork): Grid {
  const { mean, size } = grid;
  for (let cell = 0; cell < mean.length; cell++) {
    const of = count[cell] ?? 0;
    mean[cell] = of === 0 ? NaN : (mean[cell] ?? 0) / of;
  }
  const [nx, ny, nz] = size;
  const steps = [1, -1, nx, -nx, nx * ny, -nx * ny];
  for (let turn = 0; turn < 2; turn++) {
    const filled: [number, number][] = [];
    for (let z = 1; z < nz - 1; z++) {
      for (let y = 1; y < ny - 1; y++) {
        for (let x = 1; x < nx - 1; x++) {
          const cell = (z * ny + y) * nx + x;
          if (!Number.isNaN(mean[cell] ?? NaN)) continue;
          let [sum, found] = [0, 0];
          for (const step of steps) {
            const value = mean[cell + step] ?? NaN;
            if (Number.isNaN(value)) continue;
            sum += value;
            found++;
          }
          if (found >= 3) filled.push([cell, sum / found]);
        }
      }
    }
    for (const [cell, value] of filled) mean[cell] = value;
  }
  return grid;
}

/** The cell that a place lies in; -1 outside of the grid. */
export function cellAt(
  { cellMm, originMm, size }: Pick<Grid, 'cellMm' | 'originMm' | 'size'>,
  x: number,
  y: number,
  z: number,
): number {
  const i = Math.round((x - originMm[0]) / cellMm);
  const j = Math.round((y - originMm[1]) / cellMm);
  const k = Math.round((z - originMm[2]) / cellMm);
  if (i < 0 || j < 0 || k < 0 || i >= size[0] || j >= size[1] || k >= size[2]) return -1;
  return (k * size[1] + j) * size[0] + i;
}
