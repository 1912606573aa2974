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
  const shares = Float64Array.from(
    { length: nx },
    (_, i) => 1 / (Math.min(i + radius, nx - 1) - Math.max(i - radius, 0) + 1),
  );
  const rows = new Float32Array(nx * ny);
  for (let k = from; k < to; k++) {
    const plane = k * nx * ny;
    for (let row = 0; row < rows.length; row += nx) {
      const p = plane + row;
      let sum = 0;
      for (let i = 0; i < Math.min(radius, nx); i++) sum += source[p + i]!;
      for (let i = 0; i < nx; i++) {
        if (i + radius < nx) sum += source[p + i + radius]!;
        if (i > radius) sum -= source[p + i - radius - 1]!;
        rows[row + i] = sum * shares[i]!;
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
  for (let n = 0; n < plane; n++) {
    let sum = 0;
    for (let p = first * plane + n, slice = first; slice <= last; slice++, p += plane) sum += source[p]!;
    target[n] = share * sum;
  }
}
