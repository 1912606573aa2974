/** What would fold is smoothed until it does not. */
import { secondDifferences } from './spline-solver.ts';
import { expand, volumeOf, type Counts, type Lattice, type Sampling } from './spline-lattice.ts';

/** Least determinant that is left standing. */
const LEAST_JACOBIAN = 0.15;

/** Control points around voxels that fold, or nearly, take the mean of their neighbours, again and again until nothing folds. */
export function unfolded(lattice: Lattice, spline: Float64Array, dense: Sampling): Float64Array {
  let current = spline;
  const { counts, distance } = lattice;
  const points = volumeOf(counts);
  for (let round = 0; round < 60; round++) {
    const folds = foldingVoxels(expand(lattice, current, dense), dense.counts);
    if (folds.length === 0) return current;
    const marked = new Uint8Array(points);
    const [nx, ny] = dense.counts;
    // Each round takes in more of the surroundings, so that a hard fold has room to spread.
    const reach = 2 + Math.floor(round / 10);
    for (const n of folds) {
      const [i, j, k] = [n % nx, Math.floor(n / nx) % ny, Math.floor(n / (nx * ny))];
      const [a, b, c] = [i, j, k].map((index) => Math.round(index / distance) + 1) as [number, number, number];
      for (let z = Math.max(0, c - reach); z <= Math.min(counts[2] - 1, c + reach); z++)
        for (let y = Math.max(0, b - reach); y <= Math.min(counts[1] - 1, b + reach); y++)
          for (let x = Math.max(0, a - reach); x <= Math.min(counts[0] - 1, a + reach); x++)
            marked[(z * counts[1] + y) * counts[0] + x] = 1;
    }
    const mean = secondDifferences(current, counts);
    current = current.map((value, n) => (marked[n % points] === 1 ? value + mean[n]! / 8 : value));
  }
  return current;
}

/** Numbers of the voxels whose determinant is below the least, by one-sided differences on both sides. */
export function foldingVoxels(u: Float32Array, [nx, ny, nz]: Counts): number[] {
  const found: number[] = [];
  const [count, plane] = [nx * ny * nz, nx * ny];
  const steps = [1, nx, plane] as const;
  for (let k = 1; k < nz - 1; k++)
    for (let j = 1; j < ny - 1; j++)
      for (let i = 1; i < nx - 1; i++) {
        const n = k * plane + j * nx + i;
        if (determinant(u, count, n, steps) < LEAST_JACOBIAN) found.push(n);
      }
  return found;
}

function determinant(u: Float32Array, count: number, n: number, [x, y, z]: readonly [number, number, number]): number {
  const [w, v, s] = [n, count + n, 2 * count + n];
  const a = 1 + 0.5 * (u[s + x]! - u[s - x]!);
  const b = 0.5 * (u[s + y]! - u[s - y]!);
  const c = 0.5 * (u[s + z]! - u[s - z]!);
  const d = 0.5 * (u[v + x]! - u[v - x]!);
  const e = 1 + 0.5 * (u[v + y]! - u[v - y]!);
  const f = 0.5 * (u[v + z]! - u[v - z]!);
  const g = 0.5 * (u[w + x]! - u[w - x]!);
  const h = 0.5 * (u[w + y]! - u[w - y]!);
  const i = 1 + 0.5 * (u[w + z]! - u[w - z]!);
  return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
}
