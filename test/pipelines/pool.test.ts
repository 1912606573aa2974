/** Pipelines in worker processes: what the main thread sees when a job runs, waits, overruns, is given up or asks too much. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Vector3 } from '../../src/dicom/volume.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import type { RefusalReason } from '../../src/dicom/refusal.ts';
import { closePool, openPool, runRegistration } from '../../src/pipelines/pool.ts';
import type { Pool, PoolOptions } from '../../src/pipelines/pool.ts';
import { DEFAULT_SETTINGS } from '../../src/pipelines/registration-settings.ts';
import type { RegistrationPair } from '../../src/pipelines/registration-settings.ts';
import { invert, transformPoint } from '../../src/pipelines/space.ts';
import { gridAbout, makeBody, rigidMove, sampleBody } from './solid-phantom.ts';

const modelsFolder = join(import.meta.dirname, '..', '..', 'models');
const body = makeBody(3, 20);

const move = rigidMove([9, -8, 10], [-5, 4, -3]);
const inverse = invert(move);
const throughInverse = (point: Vector3) => transformPoint(inverse, point);

function smallPair(): RegistrationPair {
  const geometry = gridAbout([32, 36, 32], [4, 4, 4]);
  const fixed = sampleBody(body, geometry, { contrast: 0, seed: 1, toBody: (point) => point });
  const moving = sampleBody(body, geometry, { contrast: 0, seed: 2, toBody: throughInverse });
  return { fixed, moving, settings: { ...DEFAULT_SETTINGS, transform: 'rigid' } };
}

async function withPool<T>(options: Partial<PoolOptions>, use: (pool: Pool) => Promise<T>): Promise<T> {
  const pool = await openPool({ threads: 2, maxMemoryMb: 2000, modelsFolder, ...options });
  try {
    return await use(pool);
  } finally {
    await closePool(pool);
  }
}

function refuses(reason: RefusalReason, sentence: RegExp) {
  return (error: unknown) => error instanceof Refusal && error.reason === reason && sentence.test(error.message);
}

test('a job runs off the main thread, takes the voxels along and tells its progress', () =>
  withPool({}, async (pool) => {
    const pair = smallPair();
    let ticks = 0;
    const timer = setInterval(() => (ticks += 1), 1);
    const steps: string[] = [];
    const result = await runRegistration(pool, pair, { onProgress: (step) => steps.push(step) });
    clearInterval(timer);
    assert.deepEqual(
      [result.rigid[3], result.rigid[7], result.rigid[11]].map((mm) => Math.round(mm ?? 0)),
      [-5, 4, -3],
    );
    assert.ok(ticks > 50, `the main thread went on ${ticks} times`);
    assert.deepEqual([pair.fixed.voxels.length, pair.moving.voxels.length], [0, 0]);
    assert.deepEqual(steps, ['rigid', 'deformable', 'quality', 'resampling']);
  }));

test("a refusal of the pipeline keeps its reason and sentence across the threads, and the worker's next job runs", () =>
  withPool({}, async (pool) => {
    const pair = smallPair();
    const moving = { ...pair.moving, voxels: new Float32Array(pair.moving.voxels.length) };
    await assert.rejects(
      runRegistration(pool, { ...pair, moving }),
      refuses('PipelineRefused', /moving shows nothing/),
    );
    assert.equal(pool.workers.size, 1);
    await runRegistration(pool, smallPair());
  }));

test('a job that overruns its time is refused, its worker replaced, and the next job runs', () =>
  withPool({}, async (pool) => {
    const first = runRegistration(pool, smallPair(), { timeoutMs: 1 });
    await assert.rejects(first, refuses('OutOfResources', /align did not end within 1 ms/));
    await runRegistration(pool, smallPair());
  }));

test('a worker that dies fails its job with a refusal, and the next job runs', () =>
  withPool({}, async (pool) => {
    const job = runRegistration(pool, smallPair());
    const refused = assert.rejects(job, refuses('OutOfResources', /the pipeline's worker ended with signal SIGSEGV/));
    const [worker] = pool.workers;
    // As a native crash or the kernel's lack of memory would end it.
    process.kill(worker?.runner.pid ?? 0, 'SIGSEGV');
    await refused;
    await runRegistration(pool, smallPair());
  }));

test('a job given up by its caller ends with that reason, waiting or running', () =>
  withPool({}, async (pool) => {
    const [one, two] = [new AbortController(), new AbortController()];
    const running = runRegistration(pool, smallPair(), { signal: one.signal });
    const waiting = runRegistration(pool, smallPair(), { signal: two.signal });
    const gone = new Error('the study was erased');
    two.abort(gone);
    one.abort(gone);
    await assert.rejects(waiting, gone);
    await assert.rejects(running, gone);
    await assert.rejects(runRegistration(pool, smallPair(), { signal: one.signal }), gone);
  }));

test('a job given up while onnxruntime works on it takes neither the process nor the next job with it', () =>
  withPool({}, async (pool) => {
    const gone = new Error('the gateway closes');
    for (const delayMs of [0, 5, 20]) {
      const caller = new AbortController();
      // The deformable step begins with a graph; some of these moments are inside it.
      const onProgress = (step: string): void =>
        void (step === 'deformable' && setTimeout(() => caller.abort(gone), delayMs));
      const pair = { ...smallPair(), settings: DEFAULT_SETTINGS };
      assert.equal(pair.settings.transform, 'deformable');
      await assert.rejects(runRegistration(pool, pair, { signal: caller.signal, onProgress }), gone);
    }
    await runRegistration(pool, smallPair());
  }));

test('a worker is replaced after its number of jobs', () =>
  withPool({ jobsPerWorker: 1 }, async (pool) => {
    const [first] = await Promise.all([runRegistration(pool, smallPair()), runRegistration(pool, smallPair())]);
    assert.equal(first.verdict.outcome, 'pass');
  }));

test('what does not fit into the memory is refused before it starts', () =>
  withPool({ maxMemoryMb: 200 }, async (pool) => {
    await assert.rejects(
      runRegistration(pool, smallPair()),
      refuses('PipelineRefused', /registration needs at least \d+ MB; 200 MB are allowed/),
    );
    assert.equal(pool.workers.size, 0);
  }));

test('one array given as fixed and moving is copied, not lost', () =>
  withPool({}, async (pool) => {
    const { fixed, settings } = smallPair();
    const { verdict, quality } = await runRegistration(pool, { fixed, moving: fixed, settings });
    assert.equal(verdict.outcome, 'pass');
    assert.ok(quality.movedMm < 0.5 && quality.similarityAfter > 0.99);
  }));

test('a pipeline without a model, and a closed pool, refuse by name', async (t) => {
  const empty = mkdtempSync(join(tmpdir(), 'isthmus-models-'));
  t.after(() => rmSync(empty, { recursive: true }));
  const pool = await openPool({ threads: 1, maxMemoryMb: 2000, modelsFolder: empty });
  await assert.rejects(runRegistration(pool, smallPair()), refuses('BadConfiguration', /there is no model reg-rigid/));
  await closePool(pool);
  const closed = await openPool({ threads: 1, maxMemoryMb: 2000, modelsFolder });
  await closePool(closed);
  await assert.rejects(runRegistration(closed, smallPair()), refuses('OutOfResources', /shutting down/));
});

test('WORKER-crash: a hanging job is stopped within two seconds of its cancellation', () =>
  withPool({}, async (pool) => {
    const caller = new AbortController();
    const job = runRegistration(pool, smallPair(), { signal: caller.signal });
    const refused = assert.rejects(job, /given up/);
    const [worker] = pool.workers;
    assert.ok(worker?.runner.pid !== undefined);
    // It answers nothing any more, whatever it is asked.
    process.kill(worker.runner.pid, 'SIGSTOP');
    const began = performance.now();
    caller.abort(new Error('given up'));
    await refused;
    while (pool.workers.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(performance.now() - began < 2000);
  }));

test('WORKER-budget: a job that takes more memory than its model may is stopped by name, and the next job runs', () =>
  withPool({}, async (pool) => {
    const real = pool.workers;
    const job = runRegistration(pool, smallPair());
    const refused = assert.rejects(
      job,
      refuses('OutOfResources', /align took \d+ MB of memory where \d+ MB are allowed/),
    );
    const [worker] = real;
    assert.ok(worker);
    Object.assign(worker.runner, { residentMb: () => 1e6 });
    await refused;
    await runRegistration(pool, smallPair());
  }));

test('a pool leaves no file behind', async () => {
  let folder: string | undefined;
  await withPool({}, async (pool) => {
    folder = pool.parcels;
    assert.ok(folder !== undefined && existsSync(folder));
    await runRegistration(pool, smallPair());
    assert.deepEqual(readdirSync(folder), []);
  });
  assert.ok(folder !== undefined && !existsSync(folder));
});

test('threads serve as well, where nothing may leave the process', () =>
  withPool({ isolation: 'thread' }, async (pool) => {
    assert.equal(pool.parcels, undefined);
    await runRegistration(pool, smallPair());
  }));
