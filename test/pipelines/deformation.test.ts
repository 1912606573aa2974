/** The deformable step: its pieces against their definitions, and known warps found in one and in two contrasts. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { axialGrid, type VolumeGeometry } from '../../src/dicom/volume.ts';
import { boxMean } from '../../src/pipelines/box-mean.ts';
import { deform } from '../../src/pipelines/deformation.ts';
import type { GridPair } from '../../src/pipelines/deformation.ts';
import { inverseAt, invertSlices, sampleField } from '../../src/pipelines/field-inverse.ts';
import { jacobianFigures } from '../../src/pipelines/field-quality.ts';
import { openGraph } from '../../src/pipelines/graph-session.ts';
import {
  benchOf,
  correlate,
  correlationCost,
  fixedLevel,
  judgeWindows,
  pull,
  sampledThrough,
  sloped,
} from '../../src/pipelines/local-correlation.ts';
import { loadModel } from '../../src/pipelines/manifest.ts';
import {
  described,
  descriptionOf,
  descriptorBenchOf,
  descriptorCost,
  pullTogether,
} from '../../src/pipelines/self-similarity.ts';
import type { Session } from '../../src/pipelines/session.ts';
import { percentileWindow } from '../../src/pipelines/similarity.ts';
import { expand, gather, latticeOver, samplingOf, throughValues } from '../../src/pipelines/spline-lattice.ts';
import type { Counts } from '../../src/pipelines/spline-lattice.ts';

const counts: Counts = [16, 12, 20];
const count = 16 * 12 * 20;

/** The same numbers for the same seed, in [0, 1). */
function numbers(seed: number, length: number): Float64Array {
  let state = seed >>> 0;
  return Float64Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) / 2 ** 24;
  });
}

/** Random values, smooth enough to be interpolated. */
function smoothImage(seed: number, size: Counts = counts): Float32Array {
  const rough = Float32Array.from(numbers(seed, size[0] * size[1] * size[2]));
  const smooth = boxMean(boxMean(rough, size, 1), size, 1);
  return smooth.map((value) => 4 * (value - 0.5) + 0.5);
}

test('a spline and its sums onto the control points are adjoint', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1e6 }), fc.double({ min: 2, max: 7, noNaN: true }), (seed, distance) => {
      const lattice = latticeOver(counts, distance);
      const sampling = samplingOf(lattice, [8, 6, 10], 2, 0.5);
      const points = lattice.counts[0] * lattice.counts[1] * lattice.counts[2];
      const [c, v] = [numbers(seed, 3 * points), Float32Array.from(numbers(seed + 1, 3 * 480))];
      const [there, back] = [expand(lattice, c, sampling), gather(lattice, v, sampling)];
      const left = there.reduce((sum, value, n) => sum + value * (v[n] ?? 0), 0);
      const right = c.reduce((sum, value, n) => sum + value * (back[n] ?? 0), 0);
      assert.ok(Math.abs(left - right) < 1e-4 * Math.abs(left), `${left} ${right}`);
    }),
    { numRuns: 20 },
  );
});

test('the spline through values passes through them, and a linear field is kept between them', () => {
  const lattice = latticeOver(counts, 4);
  const [cx, cy, cz] = lattice.counts;
  const values = new Float64Array(3 * cx * cy * cz);
  for (let n = 0; n < cx * cy * cz; n++) values[n] = 0.3 * (n % cx) - 0.2 * (Math.floor(n / cx) % cy);
  const coefficients = values.slice();
  throughValues(lattice, coefficients);
  const inner = samplingOf(lattice, [3, 2, 4], 4, 4);
  const found = expand(lattice, coefficients, inner);
  for (let k = 0; k < 4; k++)
    for (let j = 0; j < 2; j++)
      for (let i = 0; i < 3; i++)
        assert.ok(Math.abs((found[(k * 2 + j) * 3 + i] ?? 9) - (0.3 * (i + 2) - 0.2 * (j + 2))) < 1e-2);
});

test('the mean over a cube is that of the voxels in it, cut at the edges', () => {
  const image = smoothImage(7);
  const means = boxMean(image, counts, 2);
  const [nx, ny, nz] = counts;
  for (const [i, j, k] of [
    [0, 0, 0],
    [15, 11, 19],
    [5, 6, 7],
    [1, 11, 3],
  ] as const) {
    let [sum, n] = [0, 0];
    for (let z = Math.max(0, k - 2); z <= Math.min(nz - 1, k + 2); z++)
      for (let y = Math.max(0, j - 2); y <= Math.min(ny - 1, j + 2); y++)
        for (let x = Math.max(0, i - 2); x <= Math.min(nx - 1, i + 2); x++, n++)
          sum += image[(z * ny + y) * nx + x] ?? 0;
    assert.ok(Math.abs((means[(k * ny + j) * nx + i] ?? 9) - sum / n) < 1e-5);
  }
});

/** A field that moves a few blocks of voxels, smooth. */
function bump(size: Counts, height: number): Float32Array {
  const [nx, ny, nz] = size;
  const u = new Float32Array(3 * nx * ny * nz);
  let n = 0;
  for (let k = 0; k < nz; k++)
    for (let j = 0; j < ny; j++)
      for (let i = 0; i < nx; i++, n++)
        u[2 * nx * ny * nz + n] = height * Math.exp(-((i - nx / 2) ** 2 + (j - ny / 2) ** 2 + (k - nz / 2) ** 2) / 12);
  return u;
}

test('the force of correlation is the slope of its cost', () => {
  const [fixed, moving] = [smoothImage(1), smoothImage(2)];
  const level = fixedLevel(fixed, counts, 2);
  const source = sloped(moving, counts, undefined);
  const bench = benchOf(counts);
  const cost = (height: number): number => {
    sampledThrough(source, counts, bump(counts, height), bench.moved, [0, counts[2]]);
    correlate(level, bench, [0, counts[2]]);
    judgeWindows(level, bench, [0, counts[2]]);
    pull(level, bench, [0, counts[2] / 2]);
    return correlationCost(bench);
  };
  const direction = bump(counts, 1);
  cost(0);
  const force = bench.force.slice();
  // Force is summed over blocks; the direction hardly changes within one.
  let slope = 0;
  const blocks = force.length / 3;
  for (let k = 0; k < 10; k++)
    for (let j = 0; j < 6; j++)
      for (let i = 0; i < 8; i++) {
        let mean = 0;
        for (const [a, b, c] of [
          [0, 0, 0],
          [1, 0, 0],
          [0, 1, 0],
          [1, 1, 0],
          [0, 0, 1],
          [1, 0, 1],
          [0, 1, 1],
          [1, 1, 1],
        ] as const)
          mean += (direction[2 * count + ((2 * k + c) * 12 + 2 * j + b) * 16 + 2 * i + a] ?? 0) / 8;
        slope += mean * (force[2 * blocks + (k * 6 + j) * 8 + i] ?? 0);
      }
  const numeric = ((cost(0.05) - cost(-0.05)) / 0.1) * count;
  assert.ok(
    Math.sign(numeric) === -Math.sign(slope) && Math.abs(numeric + 2 * slope) < 0.35 * Math.abs(numeric),
    `${numeric} ${-2 * slope}`,
  );
});

test('descriptors are the same for a negative of the image, and pull nothing where nothing moved', () => {
  const image = smoothImage(3);
  const [a, b] = [
    described(image, counts),
    described(
      image.map((value) => 1 - value),
      counts,
    ),
  ];
  assert.ok(a.every((value, n) => Math.abs(value - (b[n] ?? 9)) < 1e-3));
  const bench = descriptorBenchOf(counts);
  pullTogether(a, { ...descriptionOf(counts), channels: b }, undefined, bench, [0, counts[2] / 2]);
  assert.ok(descriptorCost(bench, counts) < 1e-5 && bench.force.every((value) => Math.abs(value) < 1e-2));
});

test('the window of an image is that of its sorted voxels', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.constant(0), fc.float({ noNaN: true, min: -1e3, max: 1e3 })), {
        minLength: 1,
        maxLength: 400,
      }),
      (values) => {
        const sorted = Float32Array.from(values).sort();
        const rank = (share: number) =>
          sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
        const { low, high } = percentileWindow(Float32Array.from(values));
        assert.ok(low === rank(0.005) && high === rank(0.995), `${low} ${high}`);
      },
    ),
  );
});

test('the inverse of a field leads back, whatever the slices it is worked out in', () => {
  const u = bump(counts, 1.5);
  const whole = new Float32Array(u.length);
  invertSlices(u, counts, whole, [0, counts[2]]);
  const parts = new Float32Array(u.length);
  for (const slices of [[0, 7] as const, [7, 8] as const, [8, 20] as const]) invertSlices(u, counts, parts, slices);
  assert.deepEqual(parts, whole);
  const [there, back] = [new Float64Array(3), new Float64Array(3)];
  for (const [x, y, z] of [
    [8, 6, 10],
    [6.5, 5.2, 9.1],
    [9.5, 7, 11],
  ] as const) {
    inverseAt(u, counts, x, y, z, back);
    const [dz, dy, dx] = [...back] as [number, number, number];
    sampleField(u, counts, x + dx, y + dy, z + dz, there);
    assert.ok(
      there.every((value, channel) => Math.abs(value + (back[channel] ?? 9)) < 0.01),
      `${x} ${y} ${z}`,
    );
  }
});

test('windows of the fixed image that reach beyond its own voxels ask for nothing', () => {
  const [fixed, moving] = [smoothImage(5), smoothImage(6)];
  const seen = new Uint8Array(count).fill(1).fill(0, 0, 16 * 12 * 10);
  const level = fixedLevel(fixed, counts, 2, seen);
  const bench = benchOf(counts);
  sampledThrough(sloped(moving, counts, undefined), counts, new Float32Array(3 * count), bench.moved, [0, counts[2]]);
  correlate(level, bench, [0, counts[2]]);
  judgeWindows(level, bench, [0, counts[2]]);
  pull(level, bench, [0, counts[2] / 2]);
  const layer = (16 * 12) / 4;
  for (let channel = 0; channel < 3; channel++) {
    const from = (channel * count) / 8;
    assert.ok(bench.force.subarray(from, from + 5 * layer).every((value) => value === 0));
    assert.ok(bench.force.subarray(from + 7 * layer, from + 10 * layer).some((value) => value !== 0));
  }
});

const grid = axialGrid([48, 48, 48], [2, 2, 2]);
const size: Counts = [48, 48, 48];
const total = 48 ** 3;
let search: Session;

before(async () => {
  search = await openGraph(loadModel(join(import.meta.dirname, '..', '..', 'models', 'register')), 'deform-search', 2);
});
after(() => search.release());

/** Blobs of many sizes; `other` shows each with another brightness. */
function blobs(
  other: boolean,
  at: (x: number, y: number, z: number) => readonly [number, number, number],
): Float32Array {
  const random = numbers(11, 6 * 60);
  const parts = Array.from({ length: 60 }, (_, p) => [...random.subarray(6 * p, 6 * p + 6)] as number[]);
  const image = new Float32Array(total);
  for (let n = 0; n < total; n++) {
    const [x, y, z] = at(n % 48, Math.floor(n / 48) % 48, Math.floor(n / 2304));
    let value = Math.hypot(x - 23.5, y - 23.5, z - 23.5) < 21 ? 0.3 : 0;
    for (const [a = 0, b = 0, c = 0, r = 0, one = 0, two = 0] of parts) {
      const d = Math.hypot(x - 6 - 36 * a, y - 6 - 36 * b, z - 6 - 36 * c) / (2 + 5 * r);
      if (d < 1.2 && value > 0)
        value += Math.min(1, Math.max(0, (1.2 - d) / 0.4)) * (0.2 + 0.8 * (other ? two : one) - value);
    }
    image[n] = value;
  }
  return image;
}

const bend = (x: number, y: number, z: number) =>
  [x + 2.2 * Math.sin(y / 8), y + 2 * Math.sin(z / 9), z - 2 * Math.sin(x / 8)] as const;
const straight = (x: number, y: number, z: number) => [x, y, z] as const;

for (const other of [false, true])
  test(`a bend of ${other ? 'two contrasts' : 'one contrast'} is found within a voxel, without folds, the same bytes each time`, async () => {
    const pair: GridPair = { grid, fixed: blobs(false, bend), moving: blobs(other, straight) };
    const found = await deform(search, pair);
    const errors: number[] = [];
    const inside = pair.fixed.map((value) => (value > 0 ? 1 : 0));
    for (let n = 0; n < total; n++) {
      if (inside[n] === 0) continue;
      const [i, j, k] = [n % 48, Math.floor(n / 48) % 48, Math.floor(n / 2304)];
      const [x, y, z] = bend(i, j, k);
      const u = (channel: number) => found.voxels[channel * total + n] ?? Number.NaN;
      errors.push(Math.hypot(i + u(2) - x, j + u(1) - y, k + u(0) - z));
    }
    errors.sort((a, b) => a - b);
    const median = errors[Math.floor(errors.length / 2)] ?? Number.NaN;
    const p95 = errors[Math.floor(0.95 * errors.length)] ?? Number.NaN;
    assert.ok(median < (other ? 0.6 : 0.4) && p95 < 1.5, `median ${median}, p95 ${p95} voxels`);
    assert.equal(jacobianFigures(found, Uint8Array.from(inside)).foldingFraction, 0);
    assert.deepEqual(await deform(search, pair), found);
  });

test('every step of a deformation is told, and others have their turn between two steps', async () => {
  const pair: GridPair = { grid, fixed: blobs(false, bend), moving: blobs(false, straight) };
  const shares: number[] = [];
  let turns = 0;
  const turning = setInterval(() => turns++, 0);
  await deform(search, pair, { told: (share) => shares.push(share) });
  clearInterval(turning);
  assert.ok(shares.length >= 6 && (shares[0] ?? 9) > 0 && (shares.at(-1) ?? 9) < 1, shares.join(' '));
  assert.ok(shares.every((share, n) => n === 0 || share > (shares[n - 1] ?? 9)));
  assert.ok(turns >= 4, `${turns} turns`);
});

test('any number of threads finds the same bytes', async () => {
  // Large enough that threads are started.
  const large: Counts = [64, 48, 40];
  const wide: VolumeGeometry = { ...grid, columns: 64, rows: 48, slices: 40 };
  const seen = new Uint8Array(64 * 48 * 40).fill(1).fill(0, 0, 64 * 48 * 3);
  const pair: GridPair = { grid: wide, fixed: smoothImage(41, large), moving: smoothImage(42, large), seen };
  const [one, two, five] = [
    await deform(search, pair, { threads: 1 }),
    await deform(search, pair, { threads: 2 }),
    await deform(search, pair, { threads: 5 }),
  ];
  assert.deepEqual(two.voxels, one.voxels);
  assert.deepEqual(five.voxels, one.voxels);
  assert.ok(one.voxels.some((value) => value !== 0));
});

test('two images that have nothing in common leave a field that does not fold', async () => {
  const pair: GridPair = { grid, fixed: smoothImage(21, size), moving: smoothImage(22, size) };
  const found = await deform(search, pair);
  assert.equal(jacobianFigures(found, new Uint8Array(total).fill(1)).foldingFraction, 0);
});

for (const slices of [4, 8])
  test(`a pair of ${slices} slices is deformed by finite numbers`, async () => {
    const thin: Counts = [24, 16, slices];
    const few: VolumeGeometry = { ...grid, columns: 24, rows: 16, slices };
    const pair: GridPair = { grid: few, fixed: smoothImage(31, thin), moving: smoothImage(32, thin) };
    const { voxels } = await deform(search, pair);
    assert.equal(voxels.length, 3 * 24 * 16 * slices);
    assert.ok(voxels.every((value) => Number.isFinite(value)));
  });
