/** Pools over many jobs, on several providers and thread counts: memory stays, bytes stay, what is not offered is refused. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { axialGrid } from '../../src/dicom/volume.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { closePool, openPool, runZoo } from '../../src/pipelines/pool.ts';
import { growth, soak } from '../bench/soak.ts';

const modelsFolder = join(import.meta.dirname, '..', '..', 'models');

test('POOL-provider: a provider that onnxruntime does not offer here is refused with what there is, or falls back when told to', async () => {
  const options = { threads: 1, maxMemoryMb: 1000, modelsFolder };
  const provider = { name: 'no-such', deviceId: 0 };
  await assert.rejects(
    openPool({ ...options, provider }),
    (error) =>
      error instanceof Refusal &&
      error.reason === 'BadConfiguration' &&
      /provider is no-such; onnxruntime offers .*cpu/.test(error.message),
  );
  const pool = await openPool({ ...options, provider: { ...provider, fallback: 'cpu' } });
  assert.equal(pool.provider, undefined);
  await closePool(pool);
});

test('POOL-same: the same input, model and settings give the same bytes in other processes and with other threads', async () => {
  const results: Float32Array[] = [];
  for (const threads of [1, 1, 2]) {
    const pool = await openPool({ threads, maxMemoryMb: 1000, modelsFolder });
    const side = 48;
    const voxels = Float32Array.from({ length: side * side * 4 }, (_, n) => {
      const r = Math.hypot((n % side) - 24, (Math.floor(n / side) % side) - 24);
      return (r < 10 ? 700 : r < 20 ? 400 : 5) + ((n * 7919) % 101) / 3;
    });
    const geometry = { ...axialGrid([side, side, 4], [1, 1, 2]), frameOfReferenceUID: '1.2' };
    try {
      const request = {
        volume: { geometry, voxels, modality: 'MR' },
        stored: { lowest: 0, highest: 65535 },
        imageType: ['ORIGINAL', 'PRIMARY', 'M'],
        rescaleType: undefined,
        settings: {},
      };
      results.push((await runZoo(pool, 'gibbs', request)).voxels);
    } finally {
      await closePool(pool);
    }
  }
  assert.equal(results.length, 3);
  for (const other of results.slice(1)) assert.deepEqual(other, results[0]);
});

test('POOL-soak: memory of the gateway and of all its workers stays over many jobs', async () => {
  const { gatewayMb, treeMb } = await soak(24);
  // Few jobs: warming up still shows, a leak of a volume per job would show far more.
  assert.ok(growth(gatewayMb) < 1.3, `gateway ${gatewayMb.map(Math.round).join(' ')}`);
  assert.ok(growth(treeMb) < 1.5, `tree ${treeMb.map(Math.round).join(' ')}`);
});
