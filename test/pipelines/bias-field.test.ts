/** What the shading correction says of its own field, and what its card makes of that. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { axialGrid, type Volume } from '../../src/dicom/volume.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { loadManifest } from '../../src/pipelines/zoo-manifest.ts';
import { openModel, runModel, type OpenedModel, type ZooResult } from '../../src/pipelines/zoo.ts';

const SIZE = [48, 52, 40] as const;

/** A ball of two tissues with grain, times exp(shading) that grows along x and y. */
function ball(shading: number, change: (value: number, x: number) => number = (value) => value): Volume {
  const [columns, rows, slices] = SIZE;
  const voxels = new Float32Array(columns * rows * slices);
  for (let i = 0; i < voxels.length; i++) {
    const [x, y, z] = [i % columns, Math.floor(i / columns) % rows, Math.floor(i / columns / rows)];
    const [u, v, w] = [(2 * x) / columns - 1, (2 * y) / rows - 1, (2 * z) / slices - 1];
    const tissue = Math.hypot(u, v, w) > 0.85 ? 0 : Math.sin(9 * u + 4 * v) * Math.cos(8 * w) > 0 ? 1000 : 600;
    const grain = 1 + 0.02 * Math.sin(i * 12.9898 + (i % 7));
    voxels[i] = change(tissue * grain * Math.exp(shading * (u + 0.5 * v)), u);
  }
  const geometry = axialGrid([columns, rows, slices], [4, 4, 4]);
  return { voxels, modality: 'MR', geometry };
}

function spreadOf(values: Float32Array, reference: Volume): number {
  const flat = values.filter((_, i) => reference.voxels[i]! > 900);
  const mean = flat.reduce((sum, value) => sum + value, 0) / flat.length;
  return Math.sqrt(flat.reduce((sum, value) => sum + (value - mean) ** 2, 0) / flat.length) / mean;
}

describe('mr-bias', () => {
  let opened: OpenedModel;
  before(async () => {
    const found = await openModel(loadManifest(join(import.meta.dirname, '../../models/mr-bias')), 1);
    opened = { ...found, familiarity: undefined };
  });
  after(() => opened.session?.release());

  const run = (volume: Volume): Promise<ZooResult> =>
    runModel(opened, {
      volume,
      stored: { lowest: 0, highest: 65535 },
      imageType: ['ORIGINAL', 'PRIMARY'],
      rescaleType: undefined,
      settings: {},
    });

  it('takes a smooth shading out, and says how much it was and that the tissues became sharper', async () => {
    const shaded = ball(0.25);
    const { voxels, quality, verdict } = await run(shaded);
    assert.ok(spreadOf(voxels, ball(0)) < 0.5 * spreadOf(shaded.voxels, ball(0)));
    assert.ok(quality['shadingRatio']! > 1.3 && quality['shadingRatio']! < 2.5, String(quality['shadingRatio']));
    assert.ok(quality['entropyChange']! < -0.1, String(quality['entropyChange']));
    assert.equal(verdict.outcome, 'pass');
  });

  it('takes a strong shading out too', async () => {
    const shaded = ball(0.6);
    const { voxels, quality } = await run(shaded);
    const left = spreadOf(voxels, ball(0)) / spreadOf(shaded.voxels, ball(0));
    assert.ok(left < 0.2, String(left));
    assert.ok(quality['unsettledPercent']! < 0.4, String(quality['unsettledPercent']));
  });

  it('leaves what is even as it is', async () => {
    const even = ball(0);
    const { quality } = await run(even);
    assert.ok(quality['shadingRatio']! < 1.1, String(quality['shadingRatio']));
    assert.ok(Math.abs(quality['changePercent']!) < 1, String(quality['changePercent']));
  });

  it('refuses what is no product of tissue and shading: the field would blur the tissues', async () => {
    const inverted = ball(0.3, (value) => 2400 - value);
    await assert.rejects(run(inverted), (error: unknown) => {
      assert.ok(error instanceof Refusal);
      assert.match(error.message, /entropyChange is .*, expected at most 0\.02/);
      return true;
    });
  });
});
