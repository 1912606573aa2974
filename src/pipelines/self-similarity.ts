/**
 * MIND-SSC, a descriptor of how a voxel's surroundings resemble each other, whatever the contrast (Heinrich et al., MICCAI 2013), and the
 * force and stiffness of every voxel that bring two of them together: a Gauss-Newton step that needs no relation of brightness at all.
 */
import { boxMean } from './local-correlation.ts';
import type { Terms } from './local-correlation.ts';
import { volumeOf } from './spline-lattice.ts';
import type { Counts } from './spline-lattice.ts';

const NEIGHBOURS = [
  [-1, 0, 0],
  [1, 0, 0],
  [0, -1, 0],
  [0, 1, 0],
  [0, 0, -1],
  [0, 0, 1],
] as const;

/** The 12 pairs of neighbours that do not face each other. */
const PAIRS = NEIGHBOURS.flatMap((a, i) => NEIGHBOURS.map((b, j) => [a, b, i, j] as const)).filter(
  ([, , i, j]) => j > i && i >> 1 !== j >> 1,
);

export const CHANNELS = PAIRS.length;

/** Twelve channels in [0, 1], one after the other; in `result`. */
export function descriptors(
  image: Float32Array,
  counts: Counts,
  result: Float32Array = new Float32Array(CHANNELS * volumeOf(counts)),
): Float32Array {
  const count = volumeOf(counts);
  const spread = new Float32Array(count);
  PAIRS.forEach(([a, b], channel) => {
    squaredDifference(image, counts, [a, b], spread);
    const place = result.subarray(channel * count, (channel + 1) * count);
    boxMean(spread, counts, 1, { spare: spread, result: place });
  });
  let total = 0;
  for (let n = 0; n < count; n++) {
    let least = Infinity;
    let sum = 0;
    for (let p = n; p < result.length; p += count) {
      const value = result[p]!;
      sum += value;
      if (value < least) least = value;
    }
    for (let p = n; p < result.length; p += count) result[p]! -= least;
    spread[n] = sum / CHANNELS - least;
    total += spread[n]!;
  }
  const overall = total / count;
  for (let n = 0; n < count; n++) {
    const scale = -1 / (Math.min(Math.max(spread[n]!, 0.001 * overall), 1000 * overall) + 1e-8);
    for (let p = n; p < result.length; p += count) result[p] = Math.exp(scale * result[p]!);
  }
  return result;
}

type Offset = readonly [number, number, number];

/** (I(x + a) - I(x + b))^2; beyond an edge the edge goes on. Offsets are (z, y, x). */
function squaredDifference(
  image: Float32Array,
  [nx, ny, nz]: Counts,
  [a, b]: readonly [Offset, Offset],
  result: Float32Array,
): void {
  const within = (index: number, count: number): number => Math.min(Math.max(index, 0), count - 1);
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++) {
      const rowA = (within(k + a[0], nz) * ny + within(j + a[1], ny)) * nx;
      const rowB = (within(k + b[0], nz) * ny + within(j + b[1], ny)) * nx;
      const row = (k * ny + j) * nx;
      const [fromA, fromB] = [rowA + a[2], rowB + b[2]];
      for (let i = 1; i < nx - 1; i++) {
        const d = image[fromA + i]! - image[fromB + i]!;
        result[row + i] = d * d;
      }
      for (const i of [0, nx - 1]) {
        const d = image[rowA + within(i + a[2], nx)]! - image[rowB + within(i + b[2], nx)]!;
        result[row + i] = d * d;
      }
    }
}

/** Force and stiffness of the squared distance of the descriptors; slopes are those of the moving one as it lies now. */
export function descriptorTerms(
  fixed: Float32Array,
  moved: Float32Array,
  counts: Counts,
  seen: Uint8Array | undefined,
): Terms {
  const [nx, ny, nz] = counts;
  const [count, plane] = [volumeOf(counts), nx * ny];
  const half: Counts = [nx / 2, ny / 2, nz / 2];
  const blocks = volumeOf(half);
  const [force, stiffness] = [new Float32Array(3 * blocks), new Float32Array(6 * blocks)];
  let [cost, n] = [0, 0];
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++) {
      const row = ((k >> 1) * half[1] + (j >> 1)) * half[0];
      const [up, down] = [k < nz - 1 ? plane : 0, k > 0 ? plane : 0];
      const [back, front] = [j < ny - 1 ? nx : 0, j > 0 ? nx : 0];
      for (let i = 0; i < nx; i++, n++) {
        if (seen !== undefined && seen[n] === 0) continue;
        const right = i < nx - 1 ? 1 : 0;
        const left = i > 0 ? 1 : 0;
        let fx = 0;
        let fy = 0;
        let fz = 0;
        let zz = 0;
        let zy = 0;
        let zx = 0;
        let yy = 0;
        let yx = 0;
        let xx = 0;
        for (let channel = 0, p = n; channel < CHANNELS; channel++, p += count) {
          const r = fixed[p]! - moved[p]!;
          const x = moved[p + right]! - moved[p - left]!;
          const y = moved[p + back]! - moved[p - front]!;
          const z = moved[p + up]! - moved[p - down]!;
          cost += r * r;
          fx += r * x;
          fy += r * y;
          fz += r * z;
          zz += z * z;
          zy += z * y;
          zx += z * x;
          yy += y * y;
          yx += y * x;
          xx += x * x;
        }
        const b = row + (i >> 1);
        force[b]! += 0.5 * fz;
        force[blocks + b]! += 0.5 * fy;
        force[2 * blocks + b]! += 0.5 * fx;
        stiffness[b]! += 0.25 * zz;
        stiffness[blocks + b]! += 0.25 * zy;
        stiffness[2 * blocks + b]! += 0.25 * zx;
        stiffness[3 * blocks + b]! += 0.25 * yy;
        stiffness[4 * blocks + b]! += 0.25 * yx;
        stiffness[5 * blocks + b]! += 0.25 * xx;
      }
    }
  return { force, stiffness, cost: cost / count };
}
