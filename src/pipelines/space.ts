/** Grids and maps in patient space: LPS millimetres outside, voxel indices (i, j, k) inside. */
import type { Vector3, Volume, VolumeGeometry } from '../dicom/volume.ts';

/** Homogeneous 4x4 matrix, row-major: p' = m p. */
export type Matrix4 = readonly number[];

export const IDENTITY: Matrix4 = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

/** Axes of working grids are multiples of this: the graphs average over up to 4 voxels, on the grid and at half of it. */
const GRID_MULTIPLE = 8;

export function voxelCount(geometry: VolumeGeometry): number {
  return geometry.columns * geometry.rows * geometry.slices;
}

/** The number at an index that is within bounds by construction. */
export function at(values: ArrayLike<number>, index: number): number {
  return values[index] as number;
}

/** Voxel indices -> patient space. */
export function indexToPatient({ spacingMm, originMm, axes }: VolumeGeometry): Matrix4 {
  const [x, y, z] = axes;
  const [sx, sy, sz] = spacingMm;
  const row = (r: 0 | 1 | 2) => [x[r] * sx, y[r] * sy, z[r] * sz, originMm[r]];
  return [...row(0), ...row(1), ...row(2), 0, 0, 0, 1];
}

/** Patient space -> voxel indices. */
export function patientToIndex(geometry: VolumeGeometry): Matrix4 {
  return invert(indexToPatient(geometry));
}

export function multiply(a: Matrix4, b: Matrix4): Matrix4 {
  return Array.from({ length: 16 }, (_, n) => {
    const [row, column] = [n - (n % 4), n % 4];
    let sum = 0;
    for (let k = 0; k < 4; k++) sum += at(a, row + k) * at(b, 4 * k + column);
    return sum;
  });
}

/** Inverse of an affine map (last row 0 0 0 1). */
export function invert(m: Matrix4): Matrix4 {
  const [a, b, c, tx, d, e, f, ty, g, h, i, tz] = m as number[] as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  const n = [
    e * i - f * h,
    c * h - b * i,
    b * f - c * e,
    f * g - d * i,
    a * i - c * g,
    c * d - a * f,
    d * h - e * g,
    b * g - a * h,
    a * e - b * d,
  ].map((cofactor) => cofactor / det);
  const shift = (r: number) => -(at(n, 3 * r) * tx + at(n, 3 * r + 1) * ty + at(n, 3 * r + 2) * tz);
  const row = (r: number) => [at(n, 3 * r), at(n, 3 * r + 1), at(n, 3 * r + 2), shift(r)];
  return [...row(0), ...row(1), ...row(2), 0, 0, 0, 1];
}

export function transformPoint(m: Matrix4, [x, y, z]: Vector3): Vector3 {
  const row = (r: number) => at(m, r) * x + at(m, r + 1) * y + at(m, r + 2) * z + at(m, r + 3);
  return [row(0), row(4), row(8)];
}

export function translation([x, y, z]: Vector3): Matrix4 {
  return [1, 0, 0, x, 0, 1, 0, y, 0, 0, 1, z, 0, 0, 0, 1];
}

export function centreOf(geometry: VolumeGeometry): Vector3 {
  const { columns, rows, slices } = geometry;
  return transformPoint(indexToPatient(geometry), [(columns - 1) / 2, (rows - 1) / 2, (slices - 1) / 2]);
}

/**
 * A grid of cubic voxels over all voxel centres of `geometry`, along its axes and about its centre. The spacing is the
 * finest that keeps the grid within `maxVoxels` and is not below `finestMm`; each axis is a multiple of GRID_MULTIPLE.
 */
export function cubicGrid(geometry: VolumeGeometry, finestMm: number, maxVoxels: number): VolumeGeometry {
  const { columns, rows, slices, spacingMm } = geometry;
  const extents = [columns, rows, slices].map((count, axis) => (count - 1) * at(spacingMm, axis));
  const countsAt = (spacing: number) =>
    extents.map((extent) => GRID_MULTIPLE * Math.ceil((Math.ceil(extent / spacing - 1e-6) + 1) / GRID_MULTIPLE));
  let spacing = finestMm;
  while (countsAt(spacing).reduce((product, count) => product * count, 1) > maxVoxels) spacing *= 1.02;
  const [nx, ny, nz] = countsAt(spacing) as [number, number, number];
  return gridAbout(centreOf(geometry), [nx, ny, nz], [spacing, spacing, spacing], geometry);
}

/** The same extent with voxels twice as large; the axes of `grid` are even. */
export function halved(grid: VolumeGeometry): VolumeGeometry {
  const [x, y, z] = grid.spacingMm;
  const counts: Vector3 = [grid.columns / 2, grid.rows / 2, grid.slices / 2];
  return gridAbout(centreOf(grid), counts, [2 * x, 2 * y, 2 * z], grid);
}

function gridAbout(centre: Vector3, counts: Vector3, spacingMm: Vector3, like: VolumeGeometry): VolumeGeometry {
  const { axes, frameOfReferenceUID } = like;
  const back = (r: 0 | 1 | 2) =>
    at(centre, r) - axes.reduce((sum, axis, a) => sum + axis[r] * at(spacingMm, a) * ((at(counts, a) - 1) / 2), 0);
  const [columns, rows, slices] = counts;
  return { columns, rows, slices, spacingMm, originMm: [back(0), back(1), back(2)], axes, frameOfReferenceUID };
}

/** Averages whole blocks of voxels until no axis is finer than `spacingMm`: what a coarser grid may sample without aliasing. */
export function averaged(volume: Volume, spacingMm: number): Volume {
  const { geometry, voxels } = volume;
  const counts = [geometry.columns, geometry.rows, geometry.slices];
  const blocks = counts.map((count, axis) => {
    const fitting = Math.floor(spacingMm / at(geometry.spacingMm, axis) + 0.25);
    return Math.max(1, Math.min(fitting, count));
  });
  const [bx, by, bz] = blocks as [number, number, number];
  if (bx * by * bz === 1) return volume;
  const [columns, rows, slices] = counts.map((count, axis) => Math.floor(count / at(blocks, axis))) as [
    number,
    number,
    number,
  ];
  const sums = new Float32Array(columns * rows * slices);
  for (let k = 0; k < slices * bz; k++) {
    for (let j = 0; j < rows * by; j++) {
      const from = (k * geometry.rows + j) * geometry.columns;
      const to = (Math.floor(k / bz) * rows + Math.floor(j / by)) * columns;
      for (let i = 0; i < columns; i++) {
        let sum = 0;
        for (let b = 0; b < bx; b++) sum += voxels[from + i * bx + b] as number;
        sums[to + i] = (sums[to + i] as number) + sum;
      }
    }
  }
  const share = 1 / (bx * by * bz);
  for (let n = 0; n < sums.length; n++) sums[n] = at(sums, n) * share;
  const [sx, sy, sz] = geometry.spacingMm;
  const originMm = transformPoint(indexToPatient(geometry), [(bx - 1) / 2, (by - 1) / 2, (bz - 1) / 2]);
  const coarse = { ...geometry, columns, rows, slices, originMm, spacingMm: [sx * bx, sy * by, sz * bz] as const };
  return { geometry: coarse, voxels: sums, modality: volume.modality };
}

/** Linear interpolation at an index; beyond the edge the edge goes on. */
export function sampleLinear(voxels: Float32Array, geometry: VolumeGeometry, x: number, y: number, z: number): number {
  const { columns, rows, slices } = geometry;
  const cx = x < 0 ? 0 : x > columns - 1 ? columns - 1 : x;
  const cy = y < 0 ? 0 : y > rows - 1 ? rows - 1 : y;
  const cz = z < 0 ? 0 : z > slices - 1 ? slices - 1 : z;
  const i = Math.floor(cx);
  const j = Math.floor(cy);
  const k = Math.floor(cz);
  const fx = cx - i;
  const fy = cy - j;
  const fz = cz - k;
  const dx = fx > 0 ? 1 : 0;
  const dy = fy > 0 ? columns : 0;
  const dz = fz > 0 ? columns * rows : 0;
  const n = (k * rows + j) * columns + i;
  const low = line(voxels, n, dx, fx) * (1 - fy) + line(voxels, n + dy, dx, fx) * fy;
  const high = line(voxels, n + dz, dx, fx) * (1 - fy) + line(voxels, n + dz + dy, dx, fx) * fy;
  return low * (1 - fz) + high * fz;
}

function line(voxels: Float32Array, n: number, dx: number, fx: number): number {
  // Not by `at`: this is called with one kind of array only, and must stay fast.
  return (voxels[n] as number) * (1 - fx) + (voxels[n + dx] as number) * fx;
}

/** True where an index lies within half a voxel of the volume. */
export function isInside(geometry: VolumeGeometry, x: number, y: number, z: number): boolean {
  const { columns, rows, slices } = geometry;
  return x >= -0.5 && y >= -0.5 && z >= -0.5 && x <= columns - 0.5 && y <= rows - 0.5 && z <= slices - 0.5;
}

/** Calls `visit` with every grid voxel's number and where the affine map puts it. */
export function walk(
  grid: VolumeGeometry,
  map: Matrix4,
  visit: (n: number, x: number, y: number, z: number) => void,
): void {
  const [a, b, c, tx, d, e, f, ty, g, h, i, tz] = map as number[] as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  let n = 0;
  for (let k = 0; k < grid.slices; k++) {
    for (let j = 0; j < grid.rows; j++) {
      for (let column = 0; column < grid.columns; column++) {
        const x = a * column + b * j + c * k + tx;
        const y = d * column + e * j + f * k + ty;
        visit(n, x, y, g * column + h * j + i * k + tz);
        n += 1;
      }
    }
  }
}

/** `source` seen on `grid` through `move` (point of the grid's space -> point of the source's space, mm). */
export function resampled(source: Volume, grid: VolumeGeometry, move: Matrix4): Float32Array {
  const result = new Float32Array(voxelCount(grid));
  const map = multiply(patientToIndex(source.geometry), multiply(move, indexToPatient(grid)));
  walk(grid, map, (n, x, y, z) => {
    result[n] = sampleLinear(source.voxels, source.geometry, x, y, z);
  });
  return result;
}

/** 1 where `move` leads from a voxel of the grid into the source's field of view, else 0. */
export function fieldOfView(source: VolumeGeometry, grid: VolumeGeometry, move: Matrix4): Uint8Array {
  const result = new Uint8Array(voxelCount(grid));
  const map = multiply(patientToIndex(source), multiply(move, indexToPatient(grid)));
  walk(grid, map, (n, x, y, z) => {
    result[n] = isInside(source, x, y, z) ? 1 : 0;
  });
  return result;
}
