/** Blind noise estimation, on noise whose level is known. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { estimateNoise, type Slice } from '../../src/pipelines/noise-level.ts';
import { gaussian, makePhantom } from './ct-phantom.ts';

function phantomSlice(sigmaHU: number, colour: 'white' | 'coloured', size = 256): Slice {
  const { volume } = makePhantom({ columns: size, rows: size, slices: 1, sigmaHU, colour, seed: 11 });
  return { values: volume.voxels, columns: size, rows: size };
}

for (const colour of ['white', 'coloured'] as const) {
  for (const sigmaHU of [4, 10, 28, 60, 120]) {
    test(`${sigmaHU} HU of ${colour} noise are found within 1.5 times, and its colour`, () => {
      const found = estimateNoise(phantomSlice(sigmaHU, colour));
      assert.ok(found.sigma > sigmaHU / 1.5 && found.sigma < sigmaHU * 1.5, `found ${found.sigma.toFixed(1)} HU`);
      assert.equal(found.colour, colour);
    });
  }
}

test('the finest octave alone misses most of coloured noise, which is why there are two', () => {
  const { octaves, sigma } = estimateNoise(phantomSlice(28, 'coloured'));
  assert.ok(octaves[0] < 28 / 1.8);
  assert.ok(sigma > 28 / 1.3);
});

test('a phantom without noise has no noise', () => {
  assert.equal(estimateNoise(phantomSlice(0, 'white')).sigma, 0);
});

test('constant slices, slices of a gradient and slices too small have no noise', () => {
  const side = 64;
  const constant = new Float32Array(side * side).fill(40);
  assert.equal(estimateNoise({ values: constant, columns: side, rows: side }).sigma, 0);
  const ramp = Float32Array.from(constant, (_, i) => (i % side) + Math.floor(i / side));
  assert.equal(estimateNoise({ values: ramp, columns: side, rows: side }).sigma, 0);
  const random = gaussian(3);
  const small = Float32Array.from({ length: 16 * 16 }, () => 20 * random());
  assert.equal(estimateNoise({ values: small, columns: 16, rows: 16 }).sigma, 0);
});

test('pixels that are not usable or not finite are left out', () => {
  const { values, columns, rows } = phantomSlice(20, 'white');
  const usable = new Uint8Array(values.length).fill(1);
  const loud = values.slice();
  for (let i = 0; i < loud.length / 2; i++) {
    loud[i] = i % 2 === 0 ? Number.NaN : 200 * (i % 7);
    usable[i] = 0;
  }
  const { sigma } = estimateNoise({ values: loud, columns, rows }, usable);
  assert.ok(sigma > 20 / 1.5 && sigma < 20 * 1.5, `found ${sigma.toFixed(1)} HU`);
  assert.equal(estimateNoise({ values, columns, rows }, new Uint8Array(values.length)).sigma, 0);
});
