/** Means over cubes of voxels, cut at the edges of the volume: within slices by running sums, then across them. */
import { volumeOf, type Counts } from './spline-lattice.ts';

/** Slices from the first to before the second. */
export type Slices = readonly [number, number];

/** Mean over a cube of 2 radius + 1 voxels. */
export function boxMean(source: Float32Array, counts: Counts, radius: number): Float32Array {
  const result = new Float32Array(volumeOf(counts));
  const within = new Float32Array(result.length);
  meanWithin(source, counts, radius, within, [0, counts[2]]);
  for (let k = 0; k < counts[2]; k++) meanAcross(within, counts, radius, k, result.subarray(k * counts[0] * counts[1]));
  return result;
}

/** Mean over the square of each voxel's slice; `target` may be the source. Slices are independent of each other. */
export function meanWithin(
  source: Float32Array,
  [nx, ny]: Counts,
  radius: number,
  target: Float32Array,
  [from, to]: Slices,
): void {
  const rows = new Float32Array(nx * ny);
  const share = 1 / (2 * radius + 1);
  for (let k = from; k < to; k++) {
    const plane = k * nx * ny;
    for (let row = 0; row < rows.length; row += nx) {
      const p = plane + row;
      const enters = p + radius;
      const leaves = p - radius - 1;
      let sum = 0;
      for (let i = 0; i < Math.min(radius, nx); i++) sum += source[p + i]!;
      let i = 0;
      for (; i <= radius && i < nx; i++) {
        if (i + radius < nx) sum += source[enters + i]!;
        rows[row + i] = sum / (Math.min(i + radius, nx - 1) + 1);
      }
      for (; i < nx - radius; i++) {
        sum += source[enters + i]! - source[leaves + i]!;
        rows[row + i] = sum * share;
      }
      for (; i < nx; i++) {
        sum -= source[leaves + i]!;
        rows[row + i] = sum / (nx - i + radius);
      }
    }
    slide(rows, [nx, ny], radius, target, plane);
  }
}

/** The running mean of rows, one after another. */
function slide(
  rows: Float32Array,
  [nx, ny]: readonly [number, number],
  radius: number,
  target: Float32Array,
  to: number,
): void {
  const sums = new Float64Array(nx);
  for (let n = 0; n < nx * Math.min(radius, ny); n++) sums[n % nx]! += rows[n]!;
  for (let j = 0; j < ny; j++) {
    const row = j * nx;
    const enters = row + radius * nx;
    const leaves = row - (radius + 1) * nx;
    const share = 1 / (Math.min(j + radius, ny - 1) - Math.max(j - radius, 0) + 1);
    if (j + radius < ny && j > radius)
      for (let i = 0; i < nx; i++) {
        const sum = sums[i]! + rows[enters + i]! - rows[leaves + i]!;
        sums[i] = sum;
        target[to + row + i] = share * sum;
      }
    else {
      if (j + radius < ny) for (let i = 0; i < nx; i++) sums[i]! += rows[enters + i]!;
      if (j > radius) for (let i = 0; i < nx; i++) sums[i]! -= rows[leaves + i]!;
      for (let i = 0; i < nx; i++) target[to + row + i] = share * sums[i]!;
    }
  }
}

/** Mean over the slices around slice k, into the plane `target`; summed anew for each, so that it matters not where a thread began. */
export function meanAcross(
  source: Float32Array,
  [nx, ny, nz]: Counts,
  radius: number,
  k: number,
  target: Float32Array,
): void {
  const plane = nx * ny;
  const [first, last] = [Math.max(k - radius, 0), Math.min(k + radius, nz - 1)];
  const share = 1 / (last - first + 1);
  const from = first * plane;
  // The radii in use have their sums written out: they are most of the work.
  if (last - first === 4) {
    const [b, c, d, e] = [from + plane, from + 2 * plane, from + 3 * plane, from + 4 * plane];
    for (let n = 0; n < plane; n++)
      target[n] = share * (source[from + n]! + source[b + n]! + source[c + n]! + source[d + n]! + source[e + n]!);
  } else if (last - first === 2) {
    const [b, c] = [from + plane, from + 2 * plane];
    for (let n = 0; n < plane; n++) target[n] = share * (source[from + n]! + source[b + n]! + source[c + n]!);
  } else
    for (let n = 0; n < plane; n++) {
      let sum = 0;
      for (let p = from + n, slice = first; slice <= last; slice++, p += plane) sum += source[p]!;
      target[n] = share * sum;
    }
}
