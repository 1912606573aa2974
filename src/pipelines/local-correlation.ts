/**
 * What pulls a moving image onto a fixed one by the squared correlation of small windows, which any locally linear relation of
 * two contrasts satisfies, falling ones too: the force and stiffness of every voxel for a Gauss-Newton step (after Cachier et al. 2003).
 */
import { volumeOf } from './spline-lattice.ts';
import type { Counts } from './spline-lattice.ts';

/** An image of one level with its means and spreads of windows, which stay as they are from step to step. */
export interface FixedLevel {
  readonly counts: Counts;
  readonly image: Float32Array;
  readonly mean: Float32Array;
  readonly variance: Float32Array;
  readonly radius: number;
  /** Spread below which a window shows nothing but noise. */
  readonly floor: number;
}

/** Brightness and its slopes (x, y, z) side by side, so that one interpolation finds all. */
export type Sloped = Float32Array;

/** Per block of 2 x 2 x 2 voxels, summed: force (z, y, x), and stiffness (zz, zy, zx, yy, yx, xx). */
export interface Terms {
  readonly force: Float32Array;
  readonly stiffness: Float32Array;
  /** Mean of 1 - correlation^2 over windows that show something. */
  readonly cost: number;
}

export function fixedLevel(image: Float32Array, counts: Counts, radius: number): FixedLevel {
  const mean = boxMean(image, counts, radius);
  const variance = boxMean(
    image.map((value) => value * value),
    counts,
    radius,
  );
  for (let n = 0; n < variance.length; n++) variance[n] = Math.max(0, variance[n]! - mean[n]! ** 2);
  return { counts, image, mean, variance, radius, floor: noiseFloor(variance) };
}

/** A fifth of the windows of a body are flat but for noise. */
function noiseFloor(variance: Float32Array): number {
  const some = variance.filter((value, n) => n % 7 === 0 && value > 1e-7).sort();
  return some[Math.floor(0.2 * some.length)] ?? 1e-6;
}

/** Slopes are 0 where `seen` is 0: what lies outside the moving field of view pulls nothing. */
export function sloped(image: Float32Array, [nx, ny, nz]: Counts, seen: Uint8Array | undefined): Sloped {
  const result = new Float32Array(4 * image.length);
  let n = 0;
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++, n++) {
        result[4 * n] = image[n]!;
        if (seen !== undefined && seen[n] === 0) continue;
        result[4 * n + 1] = 0.5 * (image[i < nx - 1 ? n + 1 : n]! - image[i > 0 ? n - 1 : n]!);
        result[4 * n + 2] = 0.5 * (image[j < ny - 1 ? n + nx : n]! - image[j > 0 ? n - nx : n]!);
        result[4 * n + 3] = 0.5 * (image[k < nz - 1 ? n + nx * ny : n]! - image[k > 0 ? n - nx * ny : n]!);
      }
  return result;
}

/** Brightness and slopes at x + u(x), channel after channel; u has the channels (z, y, x). */
export function sampledThrough(source: Sloped, [nx, ny, nz]: Counts, u: Float32Array): Float32Array[] {
  const count = nx * ny * nz;
  const results = [0, 1, 2, 3].map(() => new Float32Array(count));
  const [image, gx, gy, gz] = results as [Float32Array, Float32Array, Float32Array, Float32Array];
  const [mx, my, mz] = [nx - 1, ny - 1, nz - 1];
  let n = 0;
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++, n++) {
        const x = Math.min(Math.max(i + u[2 * count + n]!, 0), mx);
        const y = Math.min(Math.max(j + u[count + n]!, 0), my);
        const z = Math.min(Math.max(k + u[n]!, 0), mz);
        const [x0, y0, z0] = [x | 0, y | 0, z | 0];
        const [fx, fy, fz] = [x - x0, y - y0, z - z0];
        const p = 4 * ((z0 * ny + y0) * nx + x0);
        const dx = x0 < mx ? 4 : 0;
        const dy = y0 < my ? 4 * nx : 0;
        const dz = z0 < mz ? 4 * nx * ny : 0;
        const [w11, w01, w10] = [fy * fz, (1 - fy) * fz, fy * (1 - fz)];
        const w00 = (1 - fy) * (1 - fz);
        const [a, b, c, d] = [p, p + dy, p + dz, p + dy + dz];
        const ex = 1 - fx;
        image[n] =
          w00 * (ex * source[a]! + fx * source[a + dx]!) +
          w10 * (ex * source[b]! + fx * source[b + dx]!) +
          w01 * (ex * source[c]! + fx * source[c + dx]!) +
          w11 * (ex * source[d]! + fx * source[d + dx]!);
        gx[n] =
          w00 * (ex * source[a + 1]! + fx * source[a + dx + 1]!) +
          w10 * (ex * source[b + 1]! + fx * source[b + dx + 1]!) +
          w01 * (ex * source[c + 1]! + fx * source[c + dx + 1]!) +
          w11 * (ex * source[d + 1]! + fx * source[d + dx + 1]!);
        gy[n] =
          w00 * (ex * source[a + 2]! + fx * source[a + dx + 2]!) +
          w10 * (ex * source[b + 2]! + fx * source[b + dx + 2]!) +
          w01 * (ex * source[c + 2]! + fx * source[c + dx + 2]!) +
          w11 * (ex * source[d + 2]! + fx * source[d + dx + 2]!);
        gz[n] =
          w00 * (ex * source[a + 3]! + fx * source[a + dx + 3]!) +
          w10 * (ex * source[b + 3]! + fx * source[b + dx + 3]!) +
          w01 * (ex * source[c + 3]! + fx * source[c + dx + 3]!) +
          w11 * (ex * source[d + 3]! + fx * source[d + dx + 3]!);
      }
  return results;
}

/** Force and stiffness of the mean over windows of 1 - correlation^2, the moving image as it lies now. */
export function correlationTerms(fixed: FixedLevel, moved: readonly Float32Array[]): Terms {
  const { counts, image: f, radius, floor } = fixed;
  const [m, gx, gy, gz] = moved as [Float32Array, Float32Array, Float32Array, Float32Array];
  const count = volumeOf(counts);
  const mean = boxMean(m, counts, radius);
  const [squares, products] = [new Float32Array(count), new Float32Array(count)];
  for (let n = 0; n < count; n++) {
    squares[n] = m[n]! * m[n]!;
    products[n] = f[n]! * m[n]!;
  }
  const [variance, covariance] = [boxMean(squares, counts, radius), boxMean(products, counts, radius)];
  // Of each window: w = 1 / (variance of f), a = slope of the line f = a m + b; in place of what is not needed any more.
  const [wa, wab, waa] = [covariance, squares, variance];
  let [cost, windows] = [0, 0];
  for (let n = 0; n < count; n++) {
    const [fMean, mMean] = [fixed.mean[n]!, mean[n]!];
    const fVariance = fixed.variance[n]!;
    const mVariance = Math.max(0, variance[n]! - mMean * mMean);
    const both = covariance[n]! - fMean * mMean;
    const weight = 1 / (fVariance + floor);
    const slope = both / (mVariance + floor);
    if (fVariance > floor) {
      cost += 1 - Math.min(1, slope * both * weight);
      windows += 1;
    }
    wa[n] = weight * slope;
    wab[n] = weight * slope * (fMean - slope * mMean);
    waa[n] = weight * slope * slope;
  }
  const [sa, sab, saa] = [boxMean(wa, counts, radius), boxMean(wab, counts, radius), boxMean(waa, counts, radius)];
  const [nx, ny, nz] = counts;
  const half: Counts = [nx / 2, ny / 2, nz / 2];
  const blocks = volumeOf(half);
  const [force, stiffness] = [new Float32Array(3 * blocks), new Float32Array(6 * blocks)];
  let n = 0;
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++) {
      const row = ((k >> 1) * half[1] + (j >> 1)) * half[0];
      for (let i = 0; i < nx; i++, n++) {
        const b = row + (i >> 1);
        const pull = sa[n]! * f[n]! - sab[n]! - saa[n]! * m[n]!;
        const stiff = saa[n]!;
        const [x, y, z] = [gx[n]!, gy[n]!, gz[n]!];
        force[b]! += pull * z;
        force[blocks + b]! += pull * y;
        force[2 * blocks + b]! += pull * x;
        stiffness[b]! += stiff * z * z;
        stiffness[blocks + b]! += stiff * z * y;
        stiffness[2 * blocks + b]! += stiff * z * x;
        stiffness[3 * blocks + b]! += stiff * y * y;
        stiffness[4 * blocks + b]! += stiff * y * x;
        stiffness[5 * blocks + b]! += stiff * x * x;
      }
    }
  return { force, stiffness, cost: windows > 0 ? cost / windows : 0 };
}

/** Mean over a cube of 2 radius + 1 voxels, cut at the edges of the volume. */
export function boxMean(source: Float32Array, [nx, ny, nz]: Counts, radius: number): Float32Array {
  const result = new Float32Array(source.length);
  const between = new Float32Array(source.length);
  for (let line = 0; line < ny * nz; line++) {
    const row = line * nx;
    let sum = 0;
    for (let i = 0; i < Math.min(radius, nx); i++) sum += source[row + i]!;
    for (let i = 0; i < nx; i++) {
      if (i + radius < nx) sum += source[row + i + radius]!;
      if (i > radius) sum -= source[row + i - radius - 1]!;
      between[row + i] = sum / (Math.min(i + radius, nx - 1) - Math.max(i - radius, 0) + 1);
    }
  }
  for (let k = 0; k < nz; k++) slide(between, result, k * nx * ny, ny, nx, radius);
  slide(result, between, 0, nz, nx * ny, radius);
  return between;
}

/** The running mean of `count` runs of `length` numbers, one after another. */
function slide(
  source: Float32Array,
  target: Float32Array,
  from: number,
  count: number,
  length: number,
  radius: number,
): void {
  const sums = new Float64Array(length);
  for (let r = 0; r < Math.min(radius, count); r++) {
    const run = from + r * length;
    for (let i = 0; i < length; i++) sums[i]! += source[run + i]!;
  }
  for (let r = 0; r < count; r++) {
    const [enters, leaves] = [from + (r + radius) * length, from + (r - radius - 1) * length];
    const [more, fewer] = [r + radius < count, r > radius];
    const share = 1 / (Math.min(r + radius, count - 1) - Math.max(r - radius, 0) + 1);
    const run = from + r * length;
    for (let i = 0; i < length; i++) {
      let sum = sums[i]!;
      if (more) sum += source[enters + i]!;
      if (fewer) sum -= source[leaves + i]!;
      sums[i] = sum;
      target[run + i] = share * sum;
    }
  }
}
