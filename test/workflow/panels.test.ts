import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Volume } from '../../src/dicom/volume.ts';
import { subtracted } from '../../src/workflow/panels.ts';
import { gridAbout } from '../pipelines/solid-phantom.ts';

const geometry = gridAbout([4, 1, 1], [1, 1, 1]);
const volume = (modality: string, ...values: number[]): Volume => ({
  geometry,
  modality,
  voxels: Float32Array.from(values),
});

test('differences of a registered CT are in HU; air where there was tissue is one, what was not in view is none', () => {
  const registered = volume('CT', -1024, 60, 40, -1024);
  const { voxels } = subtracted(registered, Float32Array.of(30, 40, 40, 30), Uint8Array.of(1, 1, 1, 0));
  assert.deepEqual([...voxels], [-1054, 20, 0, 0]);
});

test('an MR is brought to the values of the other one before it is subtracted', () => {
  const registered = volume('MR', 10, 20, 30, 999);
  const { voxels } = subtracted(registered, Float32Array.of(100, 200, 300, 0), Uint8Array.of(1, 1, 1, 0));
  assert.ok(
    voxels.every((value) => Math.abs(value) < 1e-3),
    [...voxels].join(' '),
  );
});
