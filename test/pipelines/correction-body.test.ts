/** Which pixels a correction may touch, and the box mean beneath it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { boxMean, correctionWeights, makeScratch } from '../../src/pipelines/body.ts';
import { makePhantom, METAL_HU, PADDING_HU } from './ct-phantom.ts';

function weightsOf(values: Float32Array, columns: number, rows: number, paddingHU?: [number, number]): Float32Array {
  const weights = new Float32Array(values.length).fill(Number.NaN);
  correctionWeights({ values, columns, rows }, paddingHU, weights, makeScratch(values.length));
  return weights;
}

test('a box mean is the mean over the pixels of the box that exist, for every size, in place too', () => {
  const sizes = fc.record({
    columns: fc.integer({ min: 1, max: 9 }),
    rows: fc.integer({ min: 1, max: 9 }),
    radius: fc.integer({ min: 1, max: 4 }),
    seed: fc.integer(),
  });
  fc.assert(
    fc.property(sizes, ({ columns, rows, radius, seed }) => {
      const input = Float64Array.from({ length: columns * rows }, (_, i) => Math.sin(seed + 7.3 * i) * 1000);
      const out = new Float64Array(input.length);
      boxMean(input, columns, rows, radius, out);
      for (let y = 0; y < rows; y++) {
        for (let x = 0; x < columns; x++) {
          const box: number[] = [];
          for (let v = Math.max(0, y - radius); v <= Math.min(rows - 1, y + radius); v++) {
            for (let u = Math.max(0, x - radius); u <= Math.min(columns - 1, x + radius); u++) {
              box.push(input[v * columns + u]!);
            }
          }
          const mean = box.reduce((sum, value) => sum + value, 0) / box.length;
          assert.ok(Math.abs(out[y * columns + x]! - mean) < 1e-8);
        }
      }
      boxMean(input, columns, rows, radius, input);
      assert.deepEqual(input, out);
    }),
    { seed: 1 },
  );
});

test('lungs, soft tissue and bone are corrected in full; air around the body, padding and metal not at all', () => {
  const { volume, truth } = makePhantom({ columns: 256, rows: 256, slices: 1, sigmaHU: 20, colour: 'white', seed: 2 });
  const weights = weightsOf(volume.voxels, 256, 256);
  const share = (value: number, wanted: number): number => {
    const of = weights.filter((_, i) => truth[i] === value);
    return of.filter((weight) => weight === wanted).length / of.length;
  };
  assert.equal(share(-870, 1), 1);
  assert.equal(share(40, 1), 1);
  assert.equal(share(700, 1), 1);
  assert.equal(share(METAL_HU, 0), 1);
  assert.equal(share(PADDING_HU, 0), 1);
  assert.ok(share(-1000, 0) > 0.7);
  assert.ok(weights.every((weight) => weight >= 0 && weight <= 1));
});

test('a slice of air alone, of one value, and of a single pixel is not corrected', () => {
  const noisy = Float32Array.from({ length: 64 * 64 }, (_, i) => -1000 + ((i * 37) % 41));
  assert.ok(weightsOf(noisy, 64, 64).every((weight) => weight === 0));
  assert.ok(weightsOf(new Float32Array(64 * 64).fill(40), 64, 64).every((weight) => weight === 0));
  assert.deepEqual(weightsOf(Float32Array.of(40), 1, 1), Float32Array.of(0));
});

test('padding is every value of its range', () => {
  const tissue = Float32Array.from({ length: 32 * 32 }, (_, i) => 40 + (i % 3));
  tissue.fill(-5, 0, 32);
  tissue.fill(-7, 32, 64);
  const weights = weightsOf(tissue, 32, 32, [-8, -5]);
  assert.ok(weights.subarray(0, 64).every((weight) => weight === 0));
  assert.ok(weights.subarray(640).every((weight) => weight === 1));
});
