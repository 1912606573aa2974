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
  /** Room for what is expanded along x, and along x and y. */
  readonly alongX: Float64Array;
  readonly alongY: Float64Array;
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
  const [nx, ny] = counts;
  const [, cy, cz] = lattice.counts;
  return {
    counts,
    axes: [axis(0), axis(1), axis(2)],
    alongX: new Float64Array(nx * cy * cz),
    alongY: new Float64Array(nx * ny * cz),
  };
}

/** The spline's three channels at the samples, one after the other; in `result`. */
export function expand(
  lattice: Lattice,
  coefficients: Float64Array,
  sampling: Sampling,
  result: Float32Array = new Float32Array(3 * volumeOf(sampling.counts)),
): Float32Array {
  const [cx, cy, cz] = lattice.counts;
  const [nx, ny, nz] = sampling.counts;
  const [ax, ay, az] = sampling.axes;
  const { alongX, alongY } = sampling;
  for (let channel = 0; channel < 3; channel++) {
    const from = channel * cx * cy * cz;
    for (let line = 0; line < cy * cz; line++) {
      const row = from + line * cx;
      for (let i = 0; i < nx; i++) {
        const p = row + ax.first[i]!;
        const w = 4 * i;
        alongX[line * nx + i] =
          ax.weights[w]! * coefficients[p]! +
          ax.weights[w + 1]! * coefficients[p + 1]! +
          ax.weights[w + 2]! * coefficients[p + 2]! +
          ax.weights[w + 3]! * coefficients[p + 3]!;
      }
    }
    for (let k = 0; k < cz; k++)
      for (let j = 0; j < ny; j++)
        blend(alongX, (k * cy + ay.first[j]!) * nx, nx, ay.weights, 4 * j, alongY, (k * ny + j) * nx, nx);
    const plane = nx * ny;
    for (let k = 0; k < nz; k++)
      blend(alongY, az.first[k]! * plane, plane, az.weights, 4 * k, result, (channel * nz + k) * plane, plane);
  }
  return result;
}

/** target = sum of four neighbouring runs of `length` numbers, `stride` apart, each times its weight. */
function blend(
  source: Float64Array,
  from: number,
  stride: number,
  weights: Float64Array,
  w: number,
  target: Float32Array | Float64Array,
  to: number,
  length: number,
): void {
  const a = weights[w]!;
  const b = weights[w + 1]!;
  const c = weights[w + 2]!;
  const d = weights[w + 3]!;
  const p = from + stride;
  const q = from + 2 * stride;
  const r = from + 3 * stride;
  for (let i = 0; i < length; i++)
    target[to + i] = a * source[from + i]! + b * source[p + i]! + c * source[q + i]! + d * source[r + i]!;
}

/** The adjoint of `expand`: what every sample says, summed onto the control points by their weight in it. */
export function gather(lattice: Lattice, values: Float32Array, sampling: Sampling, channels = 3): Float64Array {
  const [cx, cy, cz] = lattice.counts;
  const [nx, ny, nz] = sampling.counts;
  const [ax, ay, az] = sampling.axes;
  const result = new Float64Array(channels * cx * cy * cz);
  const { alongX, alongY } = sampling;
  const plane = nx * ny;
  for (let channel = 0; channel < channels; channel++) {
    alongX.fill(0);
    alongY.fill(0);
    for (let k = 0; k < nz; k++)
      scatter(values, (channel * nz + k) * plane, plane, az.weights, 4 * k, alongY, az.first[k]! * plane, plane);
    for (let k = 0; k < cz; k++)
      for (let j = 0; j < ny; j++)
        scatter(alongY, (k * ny + j) * nx, nx, ay.weights, 4 * j, alongX, (k * cy + ay.first[j]!) * nx, nx);
    const to = channel * cx * cy * cz;
    for (let line = 0; line < cy * cz; line++) {
      const row = to + line * cx;
      for (let i = 0; i < nx; i++) {
        const value = alongX[line * nx + i]!;
        const p = row + ax.first[i]!;
        const w = 4 * i;
        result[p]! += ax.weights[w]! * value;
        result[p + 1]! += ax.weights[w + 1]! * value;
        result[p + 2]! += ax.weights[w + 2]! * value;
        result[p + 3]! += ax.weights[w + 3]! * value;
      }
    }
  }
  return result;
}

function scatter(
  source: Float32Array | Float64Array,
  from: number,
  length: number,
  weights: Float64Array,
  w: number,
  target: Float64Array,
  to: number,
  stride: number,
): void {
  const [a, b, c, d] = [weights[w]!, weights[w + 1]!, weights[w + 2]!, weights[w + 3]!];
  const [p, q, r] = [to + stride, to + 2 * stride, to + 3 * stride];
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
