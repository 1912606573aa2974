/** The way back of a field without folds. */
import type { Slices } from './box-mean.ts';
import type { Counts } from './spline-lattice.ts';

/** Rounds and the change in voxels that ends them: each round is a third of the one before, or less, where a field is smooth. */
const MOST_ROUNDS = 12;
const SETTLED = 0.003;

/** u, channels (z, y, x), at a place between voxels; beyond the edge the edge goes on. */
export function sampleField(
  u: Float32Array,
  [nx, ny, nz]: Counts,
  x: number,
  y: number,
  z: number,
  result: Float64Array,
): void {
  const cx = x < 0 ? 0 : x > nx - 1 ? nx - 1 : x;
  const cy = y < 0 ? 0 : y > ny - 1 ? ny - 1 : y;
  const cz = z < 0 ? 0 : z > nz - 1 ? nz - 1 : z;
  const i = cx | 0;
  const j = cy | 0;
  const k = cz | 0;
  const fx = cx - i;
  const fy = cy - j;
  const fz = cz - k;
  const dx = i < nx - 1 ? 1 : 0;
  const dy = j < ny - 1 ? nx : 0;
  const dz = k < nz - 1 ? nx * ny : 0;
  for (let channel = 0, p = (k * ny + j) * nx + i; channel < 3; channel++, p += nx * ny * nz) {
    const q = p + dz;
    const near = (1 - fy) * ((1 - fx) * u[p]! + fx * u[p + dx]!) + fy * ((1 - fx) * u[p + dy]! + fx * u[p + dy + dx]!);
    const far = (1 - fy) * ((1 - fx) * u[q]! + fx * u[q + dx]!) + fy * ((1 - fx) * u[q + dy]! + fx * u[q + dy + dx]!);
    result[channel] = (1 - fz) * near + fz * far;
  }
}

/** v with v(p) = -u(p + v(p)) at one place; `guessed`: the search begins with what is in `result`. */
export function inverseAt(
  u: Float32Array,
  counts: Counts,
  x: number,
  y: number,
  z: number,
  result: Float64Array,
  guessed = false,
): void {
  let v0 = guessed ? result[0]! : 0;
  let v1 = guessed ? result[1]! : 0;
  let v2 = guessed ? result[2]! : 0;
  let change = Infinity;
  for (let round = 0; round < MOST_ROUNDS && change > SETTLED; round++) {
    sampleField(u, counts, x + v2, y + v1, z + v0, result);
    change = Math.max(Math.abs(result[0]! + v0), Math.abs(result[1]! + v1), Math.abs(result[2]! + v2));
    v0 = -result[0]!;
    v1 = -result[1]!;
    v2 = -result[2]!;
  }
  result[0] = v0;
  result[1] = v1;
  result[2] = v2;
}

/** At every voxel of some slices. */
export function invertSlices(u: Float32Array, counts: Counts, inverse: Float32Array, [from, to]: Slices): void {
  const [nx, ny, nz] = counts;
  const count = nx * ny * nz;
  const v = new Float64Array(3);
  let n = from * nx * ny;
  for (let k = from; k < to; k++)
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++, n++) {
        // Neighbours in a row are alike.
        inverseAt(u, counts, i, j, k, v, i > 0);
        inverse[n] = v[0]!;
        inverse[count + n] = v[1]!;
        inverse[2 * count + n] = v[2]!;
      }
}
