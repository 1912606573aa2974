/** What a displacement field says about itself: folds, stretching, and whether the way back leads back. */
import type { VolumeGeometry } from '../dicom/volume.ts';
import { at, sampleLinear, voxelCount } from './space.ts';

/** Displacement on a grid of cubic voxels: channels (z, y, x) one after the other, in voxels of the grid. */
export interface GridField {
  readonly grid: VolumeGeometry;
  readonly voxels: Float32Array;
}

export interface JacobianFigures {
  /** Share of the mask where the determinant is 0 or less: space folded over itself. */
  readonly foldingFraction: number;
  /** Share of the mask where the determinant is outside 0.2 to 5. */
  readonly extremeFraction: number;
  readonly jacobianMin: number;
  readonly jacobianP1: number;
  readonly jacobianMedian: number;
  readonly jacobianP99: number;
  readonly jacobianMax: number;
  /** Standard deviation of log J; folded voxels count as 0.001. */
  readonly sdLogJacobian: number;
}

export interface Spread {
  readonly median: number;
  readonly p95: number;
  readonly max: number;
}

/** Determinant of x -> x + u(x) by central differences, over the inner voxels of the mask. */
export function jacobianFigures({ grid, voxels }: GridField, mask: Uint8Array): JacobianFigures {
  const { columns, rows, slices } = grid;
  const count = voxelCount(grid);
  const steps = [1, columns, columns * rows] as const;
  const determinants = new Float32Array(count);
  let [n, folded, extreme, min, max, sum, squares] = [0, 0, 0, Infinity, -Infinity, 0, 0];
  for (let k = 1; k < slices - 1; k++) {
    for (let j = 1; j < rows - 1; j++) {
      for (let i = 1; i < columns - 1; i++) {
        const place = (k * rows + j) * columns + i;
        if (at(mask, place) === 0) continue;
        const determinant = determinantAt(voxels, place, count, steps);
        determinants[n] = determinant;
        n += 1;
        if (determinant <= 0) folded += 1;
        if (determinant < 0.2 || determinant > 5) extreme += 1;
        min = Math.min(min, determinant);
        max = Math.max(max, determinant);
        const log = Math.log(Math.max(determinant, 0.001));
        sum += log;
        squares += log * log;
      }
    }
  }
  const sorted = determinants.subarray(0, n).sort();
  const rank = (share: number): number => sorted[Math.min(n - 1, Math.floor(share * n))] ?? Number.NaN;
  const variance = squares / n - (sum / n) ** 2;
  return {
    foldingFraction: folded / n,
    extremeFraction: extreme / n,
    jacobianMin: min,
    jacobianP1: rank(0.01),
    jacobianMedian: rank(0.5),
    jacobianP99: rank(0.99),
    jacobianMax: max,
    sdLogJacobian: Math.sqrt(Math.max(0, variance)),
  };
}

function determinantAt(u: Float32Array, n: number, count: number, steps: readonly [number, number, number]): number {
  const d = (channel: number, axis: 0 | 1 | 2) =>
    (at(u, channel * count + n + steps[axis]) - at(u, channel * count + n - steps[axis])) / 2;
  const [x, y, z] = [2, 1, 0];
  const [a, b, c] = [1 + d(x, 0), d(x, 1), d(x, 2)];
  const [e, f, g] = [d(y, 0), 1 + d(y, 1), d(y, 2)];
  const [h, i, j] = [d(z, 0), d(z, 1), 1 + d(z, 2)];
  return a * (f * j - g * i) - b * (e * j - g * h) + c * (e * i - f * h);
}

/** The determinant at every voxel; on the grid's faces that of the next voxel within. */
export function jacobianMap({ grid, voxels }: GridField): Float32Array {
  const { columns, rows, slices } = grid;
  const steps = [1, columns, columns * rows] as const;
  const within = (index: number, count: number): number => Math.min(Math.max(index, 1), Math.max(count - 2, 0));
  const count = voxelCount(grid);
  const map = new Float32Array(count);
  let n = 0;
  for (let k = 0; k < slices; k++)
    for (let j = 0; j < rows; j++)
      for (let i = 0; i < columns; i++, n++) {
        const place = (within(k, slices) * rows + within(j, rows)) * columns + within(i, columns);
        map[n] = determinantAt(voxels, place, count, steps);
      }
  return map;
}

/** |u(x) + v(x + u(x))| in mm over the mask: u there, v back, each on its own grid in the same space. */
export function inverseConsistency(map: Float32Array, mask: Uint8Array): Spread {
  return spread(Array.from(map.filter((_, n) => at(mask, n) === 1)));
}

/** The same at every voxel: how far from where it began a point comes back, which tells where the field is not to be trusted. */
export function inverseConsistencyMap(there: GridField, back: GridField): Float32Array {
  const { grid } = there;
  const [count, backCount] = [voxelCount(grid), voxelCount(back.grid)];
  const spacing = at(grid.spacingMm, 0);
  const ratio = at(back.grid.spacingMm, 0) / spacing;
  const channels = [0, 1, 2].map((c) => back.voxels.subarray(c * backCount, (c + 1) * backCount)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ];
  const errors = new Float32Array(count);
  let n = 0;
  for (let k = 0; k < grid.slices; k++) {
    for (let j = 0; j < grid.rows; j++) {
      for (let i = 0; i < grid.columns; i++, n++) {
        const [u, v, w] = [at(there.voxels, 2 * count + n), at(there.voxels, count + n), at(there.voxels, n)];
        // Voxel i of the coarse grid is centred at ratio * i + (ratio - 1) / 2 of the fine one.
        const offset = (ratio - 1) / 2;
        const [x, y, z] = [(i + u - offset) / ratio, (j + v - offset) / ratio, (k + w - offset) / ratio];
        const sample = (channel: Float32Array) => ratio * sampleLinear(channel, back.grid, x, y, z);
        const [dz, dy, dx] = [w + sample(channels[0]), v + sample(channels[1]), u + sample(channels[2])];
        errors[n] = spacing * Math.hypot(dx, dy, dz);
      }
    }
  }
  return errors;
}

/** Length of the displacement in mm over the mask. */
export function displacementLengths({ grid, voxels }: GridField, mask: Uint8Array): Spread {
  const count = voxelCount(grid);
  const spacing = at(grid.spacingMm, 0);
  const lengths: number[] = [];
  for (let n = 0; n < count; n++) {
    if (at(mask, n) === 0) continue;
    lengths.push(spacing * Math.hypot(at(voxels, n), at(voxels, count + n), at(voxels, 2 * count + n)));
  }
  return spread(lengths);
}

export function spread(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort();
  const rank = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { median: rank(0.5), p95: rank(0.95), max: rank(1) };
}
