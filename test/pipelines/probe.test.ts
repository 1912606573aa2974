/** What a site's own model is asked before the first job: its operators, and the memory probe: what one piece of a site's own model takes is measured when the gateway opens, and counts from then on. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { volumeOf } from '../../models/cases.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { closePool, openPool, runZoo, type Pool } from '../../src/pipelines/pool.ts';
import { opsetOf } from '../../src/pipelines/opset.ts';
import { writeSiteModel, type SiteModel } from './site-model.ts';

const withoutKernel = process.platform === 'linux' ? false : 'only Linux tells the peak of a process';
/** A piece of 512 x 512 voxels so many times is 157 MB. */
const HUNGRY: SiteModel = { factor: 0.5, copies: 150 };

async function poolWith(t: TestContext, model: SiteModel): Promise<Pool> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-probe-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeSiteModel(folder, 'ours', model);
  const modelsFolder = join(folder, 'none');
  const pool = await openPool({ threads: 1, maxMemoryMb: 2000, modelsFolder, siteModelsFolder: folder });
  t.after(() => closePool(pool));
  return pool;
}

test(
  'MODEL-probe: a model that takes more memory for a piece than its card allows does not open',
  { skip: withoutKernel },
  async (t) => {
    await assert.rejects(
      poolWith(t, { ...HUNGRY, maxMemoryMB: 100 }),
      (error: unknown) =>
        error instanceof Refusal &&
        error.reason === 'BadConfiguration' &&
        /memory probe: one piece of 512 x 512 x 1 took 1\d\d MB; runtime.maxMemoryMB is 100/.test(error.message),
    );
  },
);

test(
  'what the probe measured counts where the card says less: a slice that would not fit is refused before it runs',
  { skip: withoutKernel },
  async (t) => {
    const pool = await poolWith(t, { ...HUNGRY, maxMemoryMB: 400 });
    const { tookMb = 0, bytesPerVoxel = 0 } = pool.probes.get('ours') ?? {};
    assert.ok(tookMb > 140 && tookMb < 300, `${tookMb} MB`);
    // 150 copies of four bytes, where a card that says nothing is taken to need 256 bytes.
    assert.ok(bytesPerVoxel > 550 && bytesPerVoxel < 1200, `${bytesPerVoxel} bytes`);
    const run = (side: number) =>
      runZoo(pool, 'ours', {
        volume: volumeOf(
          Float32Array.from({ length: side * side }, (_, n) => n % 100),
          [side, side, 1],
          [1, 1, 1],
          'CT',
        ),
        stored: { lowest: -1024, highest: 3071 },
        imageType: ['ORIGINAL', 'PRIMARY', 'AXIAL'],
        rescaleType: undefined,
        settings: {},
      });
    assert.equal((await run(64)).voxels[50], 25);
    await assert.rejects(
      run(1024),
      (error: unknown) => error instanceof Refusal && /ours needs \d+ MB; 400 MB are allowed/.test(error.message),
    );
  },
);

test('a graph written in other operators than the card says does not open', async (t) => {
  await assert.rejects(
    poolWith(t, { factor: 0.5, opset: 13 }),
    (error: unknown) =>
      error instanceof Refusal && /model.onnx is written in opset 17; the card says 13/.test(error.message),
  );
  assert.equal(opsetOf(Buffer.from('no graph at all, but long enough to be taken for one')), undefined);
  assert.equal(opsetOf(Buffer.alloc(0)), undefined);
});
