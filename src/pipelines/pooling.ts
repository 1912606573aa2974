/** Images, masks and fields on a grid of half or twice as many voxels per axis. */
import type { Counts } from './spline-lattice.ts';

export function halfOf([x, y, z]: Counts): Counts {
  return [x / 2, y / 2, z / 2];
}

/** Means of blocks of 2 x 2 x 2, one channel after another. */
export function pooled(source: Float32Array, [nx, ny, nz]: Counts, channels = 1): Float32Array {
  const [hx, hy, hz] = [nx / 2, ny / 2, nz / 2];
  const result = new Float32Array(channels * hx * hy * hz);
  const plane = nx * ny;
  let n = 0;
  for (let k = 0; k < channels * hz; k++)
    for (let j = 0; j < hy; j++) {
      let p = 2 * k * plane + 2 * j * nx;
      for (let i = 0; i < hx; i++, n++, p += 2)
        result[n] =
          (source[p]! +
            source[p + 1]! +
            source[p + nx]! +
            source[p + nx + 1]! +
            source[p + plane]! +
            source[p + plane + 1]! +
            source[p + plane + nx]! +
            source[p + plane + nx + 1]!) /
          8;
    }
  return result;
}

export function pooledField(u: Float32Array, counts: Counts): Float32Array {
  const result = pooled(u, counts, 3);
  for (let n = 0; n < result.length; n++) result[n]! /= 2;
  return result;
}

export function pooledMask(mask: Uint8Array, counts: Counts): Uint8Array {
  return Uint8Array.from(pooled(Float32Array.from(mask), counts), (share) => (share > 0.5 ? 1 : 0));
}

/** A field on twice as many voxels per axis: coarse voxel i lies between the fine ones 2 i and 2 i + 1. */
export function enlarged(u: Float32Array, [nx, ny, nz]: Counts): Float32Array {
  const alongX = doubled(u, 1, nx, 3 * nz * ny, 2);
  const alongY = doubled(alongX, 2 * nx, ny, 3 * nz, 1);
  return doubled(alongY, 4 * nx * ny, nz, 3, 1);
}

function doubled(source: Float32Array, length: number, count: number, groups: number, factor: number): Float32Array {
  const result = new Float32Array(2 * source.length);
  for (let group = 0; group < groups; group++)
    for (let r = 0; r < count; r++) {
      const run = (group * count + r) * length;
      const before = r > 0 ? run - length : run;
      const after = r < count - 1 ? run + length : run;
      const to = (group * count + r) * 2 * length;
      for (let i = 0; i < length; i++) {
        const here = 0.75 * source[run + i]!;
        result[to + i] = factor * (here + 0.25 * source[before + i]!);
        result[to + length + i] = factor * (here + 0.25 * source[after + i]!);
      }
    }
  return result;
}
