/** Cubic B-splines on a lattice of control points: a smooth displacement of a grid from few numbers, and the sums back onto them. */
import { at } from './space.ts';

/** Counts along x, y, z; x runs fastest. */
export type Counts = readonly [number, number, number];

/** Three channels (z, y, x), one after the other. */
export interface Lattice {
  readonly counts: Counts;
  /** Distance of the control points in voxels of the level; point 0 lies one distance before voxel 0. */
  readonly distance: number;
}

/** Where samples along one axis lie among the control points: the first of four, and their weights. */
interface Axis {
  readonly first: Int32Array;
  readonly weights: Float64Array;
}

/** Samples at step * i + offset voxels along every axis. */
export interface Sampling {
  readonly counts: Counts;
  readonly axes: readonly [Axis, Axis, Axis];
}

export function latticeOver(counts: Counts, distance: number): Lattice {
  const points = counts.map((count) => Math.floor((count - 1) / distance) + 4);
  return { counts: [at(points, 0), at(points, 1), at(points, 2)], distance };
}

export function volumeOf(counts: Counts): number {
  return counts[0] * counts[1] * counts[2];
}

export function samplingOf(lattice: Lattice, counts: Counts, step: number, offset: number): Sampling {
  const axis = (a: number): Axis => {
    const count = at(counts, a);
    const [first, weights] = [new Int32Array(count), new Float64Array(4 * count)];
    for (let i = 0; i < count; i++) {
      const place = (step * i + offset) / lattice.distance;
      const base = Math.min(Math.max(Math.floor(place), 0), at(lattice.counts, a) - 4);
      const t = place - base;
      first[i] = base;
      weights[4 * i] = (1 - t) ** 3 / 6;
      weights[4 * i + 1] = (3 * t ** 3 - 6 * t * t + 4) / 6;
      weights[4 * i + 2] = (-3 * t ** 3 + 3 * t * t + 3 * t + 1) / 6;
      weights[4 * i + 3] = t ** 3 / 6;
    }
    return { first, weights };
  };
  return { counts, axes: [axis(0), axis(1), axis(2)] };
}

/** The spline's three channels at the samples, one after the other; in `result`, of which the slices from..to are written. */
export function expand(
  lattice: Lattice,
  coefficients: Float64Array,
  sampling: Sampling,
  result: Float32Array = new Float32Array(3 * volumeOf(sampling.counts)),
  [from, to]: readonly [number, number] = [0, sampling.counts[2]],
): Float32Array {
  const [cx, cy, cz] = lattice.counts;
  const [nx, ny, nz] = sampling.counts;
  const [ax, ay, az] = sampling.axes;
  const points = cx * cy;
  const across = new Float64Array(points);
  const alongX = new Float64Array(nx * cy);
  for (let channel = 0; channel < 3; channel++)
    for (let k = from; k < to; k++) {
      const first = (channel * cz + az.first[k]!) * points;
      for (let n = 0, p = first; n < points; n++, p++)
        across[n] =
          az.weights[4 * k]! * coefficients[p]! +
          az.weights[4 * k + 1]! * coefficients[p + points]! +
          az.weights[4 * k + 2]! * coefficients[p + 2 * points]! +
          az.weights[4 * k + 3]! * coefficients[p + 3 * points]!;
      for (let line = 0; line < cy; line++) {
        const row = line * cx;
        const out = line * nx;
        for (let i = 0; i < nx; i++) {
          const p = row + ax.first[i]!;
          const w = 4 * i;
          alongX[out + i] =
            ax.weights[w]! * across[p]! +
            ax.weights[w + 1]! * across[p + 1]! +
            ax.weights[w + 2]! * across[p + 2]! +
            ax.weights[w + 3]! * across[p + 3]!;
        }
      }
      const plane = (channel * nz + k) * nx * ny;
      for (let j = 0; j < ny; j++) blend(alongX, ay.first[j]! * nx, nx, ay.weights, 4 * j, result, plane + j * nx);
    }
  return result;
}

/** target = sum of four neighbouring runs of `length` numbers, one after another, each times its weight. */
function blend(
  source: Float64Array,
  from: number,
  length: number,
  weights: Float64Array,
  w: number,
  target: Float32Array,
  to: number,
): void {
  const a = weights[w]!;
  const b = weights[w + 1]!;
  const c = weights[w + 2]!;
  const d = weights[w + 3]!;
  const p = from + length;
  const q = p + length;
  const r = q + length;
  for (let i = 0; i < length; i++)
    target[to + i] = a * source[from + i]! + b * source[p + i]! + c * source[q + i]! + d * source[r + i]!;
}

/** The adjoint of `expand`: what every sample says, summed onto the control points by their weight in it. */
export function gather(lattice: Lattice, values: Float32Array, sampling: Sampling, channels = 3): Float64Array {
  const nz = sampling.counts[2];
  const planes = new Float64Array(channels * nz * lattice.counts[0] * lattice.counts[1]);
  gatherPlanes(lattice, values, sampling, planes, { channels, slices: [0, nz] });
  return gatherAcross(lattice, planes, sampling, channels);
}

/** The sums within slices: for every channel and slice a plane of control points, of which the slices from..to are written. */
export function gatherPlanes(
  lattice: Lattice,
  values: Float32Array,
  { counts: [nx, ny, nz], axes: [ax, ay] }: Sampling,
  planes: Float64Array,
  { channels, slices: [from, to] }: { readonly channels: number; readonly slices: readonly [number, number] },
): void {
  const [cx, cy] = lattice.counts;
  const alongY = new Float64Array(nx * cy);
  for (let channel = 0; channel < channels; channel++)
    for (let k = from; k < to; k++) {
      const slice = channel * nz + k;
      alongY.fill(0);
      for (let j = 0; j < ny; j++)
        scatter(values, (slice * ny + j) * nx, nx, ay.weights, 4 * j, alongY, ay.first[j]! * nx);
      planes.fill(0, slice * cx * cy, (slice + 1) * cx * cy);
      for (let line = 0; line < cy; line++) {
        const row = (slice * cy + line) * cx;
        for (let i = 0; i < nx; i++) {
          const value = alongY[line * nx + i]!;
          const p = row + ax.first[i]!;
          const w = 4 * i;
          planes[p]! += ax.weights[w]! * value;
          planes[p + 1]! += ax.weights[w + 1]! * value;
          planes[p + 2]! += ax.weights[w + 2]! * value;
          planes[p + 3]! += ax.weights[w + 3]! * value;
        }
      }
    }
}

/** What `gatherPlanes` found, summed across the slices. */
export function gatherAcross(
  lattice: Lattice,
  planes: Float64Array,
  { counts: [, , nz], axes: [, , az] }: Sampling,
  channels = 3,
): Float64Array {
  const [cx, cy, cz] = lattice.counts;
  const plane = cx * cy;
  const result = new Float64Array(channels * plane * cz);
  for (let channel = 0; channel < channels; channel++)
    for (let k = 0; k < nz; k++) {
      const from = (channel * nz + k) * plane;
      for (let line = 0; line < 4; line++) {
        const weight = az.weights[4 * k + line]!;
        const to = (channel * cz + az.first[k]! + line) * plane;
        for (let n = 0; n < plane; n++) result[to + n]! += weight * planes[from + n]!;
      }
    }
  return result;
}

/** A run of `length` numbers, added to four neighbouring runs by their weights. */
function scatter(
  source: Float32Array,
  from: number,
  length: number,
  weights: Float64Array,
  w: number,
  target: Float64Array,
  to: number,
): void {
  const a = weights[w]!;
  const b = weights[w + 1]!;
  const c = weights[w + 2]!;
  const d = weights[w + 3]!;
  const p = to + length;
  const q = p + length;
  const r = q + length;
  for (let i = 0; i < length; i++) {
    const value = source[from + i]!;
    target[to + i]! += a * value;
    target[p + i]! += b * value;
    target[q + i]! += c * value;
    target[r + i]! += d * value;
  }
}

/** Coefficients of the spline that runs through the values at the control points (Unser 1993, mirrored at both ends), in place. */
export function throughValues({ counts }: Lattice, values: Float64Array, channels = 3): void {
  const pole = Math.sqrt(3) - 2;
  const strides = [1, counts[0], counts[0] * counts[1]];
  const total = volumeOf(counts);
  for (let channel = 0; channel < channels; channel++)
    for (const axis of [0, 1, 2]) {
      const [n, stride] = [at(counts, axis), at(strides, axis)];
      for (let start = 0; start < total; start++) {
        if (Math.floor(start / stride) % n !== 0) continue;
        const first = channel * total + start;
        const last = first + (n - 1) * stride;
        let [sum, power] = [0, 1];
        for (let i = 0; i < n; i++, power *= pole) sum += power * values[first + i * stride]!;
        values[first] = 6 * sum;
        for (let p = first + stride; p <= last; p += stride) values[p] = 6 * values[p]! + pole * values[p - stride]!;
        values[last] = (pole / (pole * pole - 1)) * (values[last]! + pole * values[last - stride]!);
        for (let p = last - stride; p >= first; p -= stride) values[p] = pole * (values[p + stride]! - values[p]!);
      }
    }
}
