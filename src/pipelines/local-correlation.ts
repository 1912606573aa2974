/**
 * What pulls a moving image onto a fixed one by the squared correlation of small windows, which any locally linear relation of
 * two contrasts satisfies, falling ones too: the force and stiffness of every voxel for a Gauss-Newton step (after Cachier et al. 2003).
 */
import { boxMean, meanAcross, meanWithin, type Slices } from './box-mean.ts';
import { shared, sharedDoubles } from './shared-memory.ts';
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
}

/** Where `seen` is 0 the image has no voxels of its own: windows that reach there are not heard. */
export function fixedLevel(image: Float32Array, counts: Counts, radius: number, seen?: Uint8Array): FixedLevel {
  const mean = shared(boxMean(image, counts, radius));
  const variance = boxMean(
    image.map((value) => value * value),
    counts,
    radius,
  );
  for (let n = 0; n < variance.length; n++) variance[n] = Math.max(0, variance[n]! - mean[n]! ** 2);
  const floor = noiseFloor(variance);
  if (seen !== undefined) {
    const whole = boxMean(Float32Array.from(seen), counts, radius);
    for (let n = 0; n < variance.length; n++) if (whole[n]! < 0.999) variance[n] = Infinity;
  }
  return { counts, image: shared(image), mean, variance: shared(variance), radius, floor };
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
  const result = shared(4 * image.length);
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
export interface Bench extends Terms {
  /** Brightness of the moving image and its slopes x, y, z, as it lies now. */
  readonly moved: readonly [Float32Array, Float32Array, Float32Array, Float32Array];
  /** Means within slices of the moving image, its square and its product with the fixed one. */
  readonly means: readonly [Float32Array, Float32Array, Float32Array];
  /** Means within slices of what the windows ask for. */
  readonly asked: readonly [Float32Array, Float32Array, Float32Array];
  /** By slice: the sum of 1 - correlation^2 over windows that show something, and how many there are. */
  readonly costs: Float64Array;
}

export function benchOf(counts: Counts): Bench {
  const count = volumeOf(counts);
  const volume = () => shared(count);
  return {
    moved: [volume(), volume(), volume(), volume()],
    means: [volume(), volume(), volume()],
    asked: [volume(), volume(), volume()],
    force: shared((3 * count) / 8),
    stiffness: shared((6 * count) / 8),
    costs: sharedDoubles(2 * counts[2]),
  };
}

/** Brightness and slopes at x + u(x); u has the channels (z, y, x). */
export function sampledThrough(
  source: Sloped,
  [nx, ny, nz]: Counts,
  u: Float32Array,
  moved: Bench['moved'],
  [from, to]: Slices,
): void {
  const count = nx * ny * nz;
  const image = moved[0];
  const gx = moved[1];
  const gy = moved[2];
  const gz = moved[3];
  const mx = nx - 1;
  const my = ny - 1;
  const mz = nz - 1;
  let n = from * nx * ny;
  for (let k = from; k < to; k++)
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

/** Brightness alone at x + u(x), of an image without slopes. */
export function imageThrough(
  source: Float32Array,
  [nx, ny, nz]: Counts,
  u: Float32Array,
  result: Float32Array,
  [from, to]: Slices,
): void {
  const count = nx * ny * nz;
  let n = from * nx * ny;
  for (let k = from; k < to; k++)
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++, n++) {
        const x = Math.min(Math.max(i + u[2 * count + n]!, 0), nx - 1);
        const y = Math.min(Math.max(j + u[count + n]!, 0), ny - 1);
        const z = Math.min(Math.max(k + u[n]!, 0), nz - 1);
        const x0 = x | 0;
        const y0 = y | 0;
        const z0 = z | 0;
        const fx = x - x0;
        const fy = y - y0;
        const fz = z - z0;
        const a = (z0 * ny + y0) * nx + x0;
        const dx = x0 < nx - 1 ? 1 : 0;
        const b = y0 < ny - 1 ? a + nx : a;
        const dz = z0 < nz - 1 ? nx * ny : 0;
        const near = (1 - fy) * mix(source, a, dx, fx) + fy * mix(source, b, dx, fx);
        const far = (1 - fy) * mix(source, a + dz, dx, fx) + fy * mix(source, b + dz, dx, fx);
        result[n] = (1 - fz) * near + fz * far;
      }
}

function mix(source: Float32Array, at: number, step: number, share: number): number {
  return (1 - share) * source[at]! + share * source[at + step]!;
}

/** First of three steps to the force of the mean over windows of 1 - correlation^2: means within slices. */
export function correlate({ counts, image, radius }: FixedLevel, { moved: [m], means }: Bench, slices: Slices): void {
  const [a, b, c] = means;
  const plane = counts[0] * counts[1];
  for (let n = slices[0] * plane; n < slices[1] * plane; n++) {
    b[n] = m[n]! * m[n]!;
    c[n] = image[n]! * m[n]!;
  }
  meanWithin(m, counts, radius, a, slices);
  meanWithin(b, counts, radius, b, slices);
  meanWithin(c, counts, radius, c, slices);
}

/** Second step, when the first is done everywhere: what each window asks for, and its means within slices. */
export function judgeWindows(fixed: FixedLevel, { means, asked, costs }: Bench, slices: Slices): void {
  const { counts, mean: fMeans, variance: fVariances, radius, floor } = fixed;
  const plane = counts[0] * counts[1];
  const [mean, square, product] = [new Float32Array(plane), new Float32Array(plane), new Float32Array(plane)];
  const [a, b, c] = asked;
  for (let k = slices[0]; k < slices[1]; k++) {
    meanAcross(means[0], counts, radius, k, mean);
    meanAcross(means[1], counts, radius, k, square);
    meanAcross(means[2], counts, radius, k, product);
    let cost = 0;
    let windows = 0;
    for (let i = 0, n = k * plane; i < plane; i++, n++) {
      const fMean = fMeans[n]!;
      const mMean = mean[i]!;
      const fVariance = fVariances[n]!;
      const mVariance = Math.max(0, square[i]! - mMean * mMean);
      const both = product[i]! - fMean * mMean;
      // The line f = slope m + t, and its weight.
      const weight = 1 / (fVariance + floor);
      const slope = both / (mVariance + floor);
      if (fVariance > floor) {
        cost += 1 - Math.min(1, slope * both * weight);
        windows += 1;
      }
      a[n] = weight * slope;
      b[n] = weight * slope * (fMean - slope * mMean);
      c[n] = weight * slope * slope;
    }
    costs[2 * k] = cost;
    costs[2 * k + 1] = windows;
  }
  for (const one of asked) meanWithin(one, counts, radius, one, slices);
}

/** Third step: force and stiffness of blocks, `layers` of them. */
export function pull(fixed: FixedLevel, bench: Bench, layers: Slices): void {
  const { counts, image: f, radius } = fixed;
  const [nx, ny, nz] = counts;
  const { force, stiffness, asked } = bench;
  const [m, gx, gy, gz] = bench.moved;
  const plane = nx * ny;
  const blocks = (plane * nz) / 8;
  const [slopes, lines, squares] = [new Float32Array(plane), new Float32Array(plane), new Float32Array(plane)];
  clearLayers(bench, counts, layers);
  for (let k = 2 * layers[0]; k < 2 * layers[1]; k++) {
    meanAcross(asked[0], counts, radius, k, slopes);
    meanAcross(asked[1], counts, radius, k, lines);
    meanAcross(asked[2], counts, radius, k, squares);
    let [p, n] = [0, k * plane];
    for (let j = 0; j < ny; j++) {
      const row = ((k >> 1) * (ny >> 1) + (j >> 1)) * (nx >> 1);
      for (let i = 0; i < nx; i++, n++, p++) {
        const b = row + (i >> 1);
        const stiff = squares[p]!;
        const strength = slopes[p]! * f[n]! - lines[p]! - stiff * m[n]!;
        const x = gx[n]!;
        const y = gy[n]!;
        const z = gz[n]!;
        force[b]! += strength * z;
        force[blocks + b]! += strength * y;
        force[2 * blocks + b]! += strength * x;
        stiffness[b]! += stiff * z * z;
        stiffness[blocks + b]! += stiff * z * y;
        stiffness[2 * blocks + b]! += stiff * z * x;
        stiffness[3 * blocks + b]! += stiff * y * y;
        stiffness[4 * blocks + b]! += stiff * y * x;
        stiffness[5 * blocks + b]! += stiff * x * x;
      }
    }
  }
}

/** Nothing pulls yet in these layers of blocks. */
export function clearLayers({ force, stiffness }: Terms, [nx, ny, nz]: Counts, [from, to]: Slices): void {
  const layer = (nx * ny) / 4;
  const blocks = (layer * nz) / 2;
  for (const [terms, channels] of [
    [force, 3],
    [stiffness, 6],
  ] as const)
    for (let channel = 0; channel < channels; channel++)
      terms.fill(0, channel * blocks + from * layer, channel * blocks + to * layer);
}

/** Mean of 1 - correlation^2 over windows that show something. */
export function correlationCost({ costs }: Bench): number {
  let [cost, windows] = [0, 0];
  for (let n = 0; n < costs.length; n += 2) {
    cost += costs[n]!;
    windows += costs[n + 1]!;
  }
  return windows > 0 ? cost / windows : 0;
}
