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

/** Share of the noise's spread below which a window is not heard; chosen on the tuning phantoms (models/register/evaluation). */
const HEARD = 0.4;

/** A fifth of the windows of a body are flat but for noise. */
function noiseFloor(variance: Float32Array): number {
  const some = variance.filter((value, n) => n % 7 === 0 && value > 1e-7).sort();
  return HEARD * (some[Math.floor(0.2 * some.length)] ?? 1e-6);
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

/** Room for the terms of one level, used again at every step. */
export interface Bench {
  /** Brightness of the moving image and its slopes x, y, z, as it lies now. */
  readonly moved: readonly [Float32Array, Float32Array, Float32Array, Float32Array];
  readonly spare: readonly [Float32Array, Float32Array, Float32Array, Float32Array];
  readonly force: Float32Array;
  readonly stiffness: Float32Array;
}

export function benchOf(counts: Counts): Bench {
  const count = volumeOf(counts);
  const four = () => [0, 1, 2, 3].map(() => new Float32Array(count)) as unknown as Bench['moved'];
  return {
    moved: four(),
    spare: four(),
    force: new Float32Array((3 * count) / 8),
    stiffness: new Float32Array((6 * count) / 8),
  };
}

/** Brightness and slopes at x + u(x); u has the channels (z, y, x). */
export function sampledThrough(source: Sloped, [nx, ny, nz]: Counts, u: Float32Array, moved: Bench['moved']): void {
  const count = nx * ny * nz;
  const image = moved[0];
  const gx = moved[1];
  const gy = moved[2];
  const gz = moved[3];
  const mx = nx - 1;
  const my = ny - 1;
  const mz = nz - 1;
  let n = 0;
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++, n++) {
        // No pairs of names here: an array a voxel would be made for each.
        const x = Math.min(Math.max(i + u[2 * count + n]!, 0), mx);
        const y = Math.min(Math.max(j + u[count + n]!, 0), my);
        const z = Math.min(Math.max(k + u[n]!, 0), mz);
        const x0 = x | 0;
        const y0 = y | 0;
        const z0 = z | 0;
        const fx = x - x0;
        const fy = y - y0;
        const fz = z - z0;
        const a = 4 * ((z0 * ny + y0) * nx + x0);
        const dx = x0 < mx ? 4 : 0;
        const b = y0 < my ? a + 4 * nx : a;
        const dz = z0 < mz ? 4 * nx * ny : 0;
        const c = a + dz;
        const d = b + dz;
        const w11 = fy * fz;
        const w01 = fz - w11;
        const w10 = fy - w11;
        const w00 = 1 - fy - w01;
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
}

/** Force and stiffness of the mean over windows of 1 - correlation^2, the moving image as it lies now; they lie on the bench. */
export function correlationTerms(fixed: FixedLevel, bench: Bench): Terms {
  const { counts, image: f, mean: fMeans, variance: fVariances, radius, floor } = fixed;
  const count = volumeOf(counts);
  const m = bench.moved[0];
  const [a, b, c, d] = bench.spare;
  for (let n = 0; n < count; n++) {
    a[n] = m[n]! * m[n]!;
    b[n] = f[n]! * m[n]!;
  }
  const means = boxMean(m, counts, radius, { spare: d, result: c });
  const variances = boxMean(a, counts, radius, { spare: a, result: d });
  const covariances = boxMean(b, counts, radius, { spare: b, result: a });
  // Of each window: w = 1 / (variance of f), s = slope of the line f = s m + t; in place of what is not needed any more.
  let cost = 0;
  let windows = 0;
  for (let n = 0; n < count; n++) {
    const fMean = fMeans[n]!;
    const mMean = means[n]!;
    const fVariance = fVariances[n]!;
    const mVariance = Math.max(0, variances[n]! - mMean * mMean);
    const both = covariances[n]! - fMean * mMean;
    const weight = 1 / (fVariance + floor);
    const slope = both / (mVariance + floor);
    if (fVariance > floor) {
      cost += 1 - Math.min(1, slope * both * weight);
      windows += 1;
    }
    covariances[n] = weight * slope;
    means[n] = weight * slope * (fMean - slope * mMean);
    variances[n] = weight * slope * slope;
  }
  const sw = boxMean(covariances, counts, radius, { spare: covariances, result: b });
  const st = boxMean(means, counts, radius, { spare: means, result: a });
  const ss = boxMean(variances, counts, radius, { spare: variances, result: c });
  intoBlocks(bench, counts, f, [sw, st, ss]);
  return { force: bench.force, stiffness: bench.stiffness, cost: windows > 0 ? cost / windows : 0 };
}

function intoBlocks(
  { moved: [m, gx, gy, gz], force, stiffness }: Bench,
  [nx, ny, nz]: Counts,
  f: Float32Array,
  [sw, st, ss]: readonly [Float32Array, Float32Array, Float32Array],
): void {
  const blocks = (nx * ny * nz) / 8;
  force.fill(0);
  stiffness.fill(0);
  let n = 0;
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++) {
      const row = ((k >> 1) * (ny >> 1) + (j >> 1)) * (nx >> 1);
      for (let i = 0; i < nx; i++, n++) {
        const b = row + (i >> 1);
        const stiff = ss[n]!;
        const pull = sw[n]! * f[n]! - st[n]! - stiff * m[n]!;
        const x = gx[n]!;
        const y = gy[n]!;
        const z = gz[n]!;
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
}

/** Where a mean is worked out; `spare` may be the source, which is lost then. */
interface Room {
  readonly spare: Float32Array;
  readonly result: Float32Array;
}

/** Mean over a cube of 2 radius + 1 voxels, cut at the edges of the volume. */
export function boxMean(source: Float32Array, [nx, ny, nz]: Counts, radius: number, room?: Room): Float32Array {
  const { spare, result } = room ?? {
    spare: new Float32Array(source.length),
    result: new Float32Array(source.length),
  };
  const shares = Float64Array.from(
    { length: nx },
    (_, i) => 1 / (Math.min(i + radius, nx - 1) - Math.max(i - radius, 0) + 1),
  );
  for (let row = 0; row < source.length; row += nx) {
    let sum = 0;
    for (let i = 0; i < Math.min(radius, nx); i++) sum += source[row + i]!;
    for (let i = 0; i < nx; i++) {
      if (i + radius < nx) sum += source[row + i + radius]!;
      if (i > radius) sum -= source[row + i - radius - 1]!;
      result[row + i] = sum * shares[i]!;
    }
  }
  for (let k = 0; k < nz; k++) slide(result, spare, { from: k * nx * ny, count: ny, length: nx, radius });
  slide(spare, result, { from: 0, count: nz, length: nx * ny, radius });
  return result;
}

/** The running mean of `count` runs of `length` numbers, one after another. */
function slide(
  source: Float32Array,
  target: Float32Array,
  {
    from,
    count,
    length,
    radius,
  }: { readonly from: number; readonly count: number; readonly length: number; readonly radius: number },
): void {
  const sums = new Float64Array(length);
  for (let r = 0; r < Math.min(radius, count); r++) {
    const run = from + r * length;
    for (let i = 0; i < length; i++) sums[i]! += source[run + i]!;
  }
  for (let r = 0; r < count; r++) {
    const run = from + r * length;
    const enters = run + radius * length;
    const leaves = run - (radius + 1) * length;
    const share = 1 / (Math.min(r + radius, count - 1) - Math.max(r - radius, 0) + 1);
    if (r + radius >= count || r <= radius) {
      if (r + radius < count) for (let i = 0; i < length; i++) sums[i]! += source[enters + i]!;
      if (r > radius) for (let i = 0; i < length; i++) sums[i]! -= source[leaves + i]!;
      for (let i = 0; i < length; i++) target[run + i] = share * sums[i]!;
    } else
      for (let i = 0; i < length; i++) {
        const sum = sums[i]! + source[enters + i]! - source[leaves + i]!;
        sums[i] = sum;
        target[run + i] = share * sum;
      }
  }
}
