/**
 * MIND-SSC, a descriptor of how a voxel's surroundings resemble each other, whatever the contrast (Heinrich et al., MICCAI 2013), and the
 * force and stiffness of every voxel that bring two of them together: a Gauss-Newton step that needs no relation of brightness at all.
 */
import { meanAcross, meanWithin, type Slices } from './box-mean.ts';
import { shared, sharedDoubles } from './shared-memory.ts';
import { clearLayers, type Terms } from './local-correlation.ts';
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

/** An image described, and what it takes on the way there. */
export interface Description {
  readonly counts: Counts;
  /** Twelve channels in [0, 1], one after the other. */
  readonly channels: Float32Array;
  /** Their squared differences, meaned within slices. */
  readonly within: Float32Array;
  /** Spread of the channels of every voxel, and its sums by slice. */
  readonly spread: Float32Array;
  readonly totals: Float64Array;
}

export function descriptionOf(counts: Counts): Description {
  const count = volumeOf(counts);
  const [channels, within] = [shared(CHANNELS * count), shared(CHANNELS * count)];
  return { counts, channels, within, spread: shared(count), totals: sharedDoubles(counts[2]) };
}

/** First of three steps to an image's description: how far its neighbours are from each other. */
export function differ({ counts, within }: Description, image: Float32Array, slices: Slices): void {
  PAIRS.forEach(([a, b], channel) => {
    const one = within.subarray(channel * volumeOf(counts), (channel + 1) * volumeOf(counts));
    squaredDifference(image, counts, [a, b], one, slices);
    meanWithin(one, counts, 1, one, slices);
  });
}

/** Second step, when the first is done everywhere: means over cubes, and what all channels have in common. */
export function spreadOut({ counts, channels, within, spread, totals }: Description, [from, to]: Slices): void {
  const count = volumeOf(counts);
  const plane = counts[0] * counts[1];
  for (let k = from; k < to; k++) {
    for (let c = 0; c < channels.length; c += count)
      meanAcross(within.subarray(c, c + count), counts, 1, k, channels.subarray(c + k * plane, c + (k + 1) * plane));
    let total = 0;
    for (let n = k * plane; n < (k + 1) * plane; n++) {
      let least = Infinity;
      let sum = 0;
      for (let p = n; p < channels.length; p += count) {
        const value = channels[p]!;
        sum += value;
        if (value < least) least = value;
      }
      for (let p = n; p < channels.length; p += count) channels[p]! -= least;
      spread[n] = sum / CHANNELS - least;
      total += spread[n]!;
    }
    totals[k] = total;
  }
}

/** Third step: as shares of the spread here, kept within bounds by that of the whole image. */
export function weigh({ counts, channels, spread, totals }: Description, [from, to]: Slices): void {
  const count = volumeOf(counts);
  const plane = counts[0] * counts[1];
  const overall = totals.reduce((sum, one) => sum + one, 0) / count;
  for (let n = from * plane; n < to * plane; n++) {
    const scale = -1 / (Math.min(Math.max(spread[n]!, 0.001 * overall), 1000 * overall) + 1e-8);
    for (let p = n; p < channels.length; p += count) channels[p] = Math.exp(scale * channels[p]!);
  }
}

/** An image described at once. */
export function described(image: Float32Array, counts: Counts): Float32Array {
  const description = descriptionOf(counts);
  const all: Slices = [0, counts[2]];
  differ(description, image, all);
  spreadOut(description, all);
  weigh(description, all);
  return description.channels;
}

type Offset = readonly [number, number, number];

/** (I(x + a) - I(x + b))^2; beyond an edge the edge goes on. Offsets are (z, y, x). */
function squaredDifference(
  image: Float32Array,
  [nx, ny, nz]: Counts,
  [a, b]: readonly [Offset, Offset],
  result: Float32Array,
  [from, to]: Slices,
): void {
  const within = (index: number, count: number): number => Math.min(Math.max(index, 0), count - 1);
  for (let k = from; k < to; k++)
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

/** Room for the terms of one level; `costs` has the sum of squared distances by slice. */
export interface DescriptorBench extends Terms {
  readonly costs: Float64Array;
}

export function descriptorBenchOf(counts: Counts): DescriptorBench {
  const count = volumeOf(counts);
  return {
    force: shared((3 * count) / 8),
    stiffness: shared((6 * count) / 8),
    costs: sharedDoubles(counts[2]),
  };
}

/** Force and stiffness of the squared distance of the descriptors in `layers` of blocks; slopes are those of the moving one as it lies now. */
export function pullTogether(
  fixed: Float32Array,
  { counts, channels: moved }: Description,
  seen: Uint8Array | undefined,
  bench: DescriptorBench,
  layers: Slices,
): void {
  const [nx, ny, nz] = counts;
  const [count, plane] = [volumeOf(counts), nx * ny];
  const [half, blocks] = [[nx / 2, ny / 2] as const, count / 8];
  const { force, stiffness, costs } = bench;
  clearLayers(bench, counts, layers);
  let n = 2 * layers[0] * plane;
  for (let k = 2 * layers[0]; k < 2 * layers[1]; k++) {
    let cost = 0;
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
    costs[k] = cost;
  }
}

/** Mean squared distance of the descriptors. */
export function descriptorCost({ costs }: DescriptorBench, counts: Counts): number {
  return costs.reduce((sum, one) => sum + one, 0) / volumeOf(counts);
}
