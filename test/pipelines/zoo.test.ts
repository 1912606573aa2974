/** What surrounds a manifest's graph: pieces put together again, steps undone, the Rician transform and its noise estimate. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { seeded } from '../phantom/random.ts';
import { axialGrid } from '../../src/dicom/volume.ts';
import { ricianSigma, stabilise } from '../../src/pipelines/rician.ts';
import { openModel, runModel } from '../../src/pipelines/zoo.ts';
import { loadManifest } from '../../src/pipelines/zoo-manifest.ts';
import { prepare, type Grid, type Prepared } from '../../src/pipelines/zoo-steps.ts';
import { byPieces } from '../../src/pipelines/zoo-tiles.ts';
import { writeSiteModel } from './site-model.ts';

const MODELS = join(import.meta.dirname, '..', '..', 'models');
const side = fc.integer({ min: 1, max: 40 });

function ramp(size: readonly [number, number, number]): Grid {
  const values = Float32Array.from({ length: size[0] * size[1] * size[2] }, (_, i) => ((i * 7919) % 1009) + 1);
  return { values, size, spacingMm: [1, 1.5, 3] };
}

test('a model that changes nothing gives back every voxel, whatever the size, the pieces and their overlap', () =>
  fc.assert(
    fc.asyncProperty(
      fc.tuple(side, side, fc.integer({ min: 1, max: 12 })),
      fc.integer({ min: 8, max: 20 }),
      fc.integer({ min: 0, max: 7 }),
      fc.constantFrom(1, 2, 8),
      fc.constantFrom('edge', 'zero', 'reflect'),
      fc.boolean(),
      async (size, piece, overlap, multipleOf, pad, flat) => {
        const grid = ramp(size);
        const tiling = { size: piece, overlap, multipleOf, pad, fixed: [0, 0, 0], flat } as const;
        const made = await byPieces(
          grid,
          tiling,
          ({ values, size: [x, y, z] }) => {
            assert.ok([x, y, ...(flat ? [] : [z])].every((n) => n % multipleOf === 0));
            return Promise.resolve(values);
          },
          () => undefined,
        );
        made.forEach((value, i) => assert.ok(Math.abs(value - grid.values[i]!) < 1e-3 * grid.values[i]!));
      },
    ),
    { numRuns: 60 },
  ));

test('slice by slice, a result may be written over the grid: the same values, and no second volume', async () => {
  const tiling = { size: 12, overlap: 5, multipleOf: 4, pad: 'reflect', fixed: [0, 0, 0], flat: true } as const;
  const doubled = ({ values }: { readonly values: Float32Array }): Promise<Float32Array> =>
    Promise.resolve(values.map((value) => 2 * value + 1));
  const kept = ramp([30, 22, 5]);
  const apart = await byPieces(kept, tiling, doubled, () => undefined);
  assert.deepEqual(kept.values, ramp([30, 22, 5]).values);
  const spent = ramp([30, 22, 5]);
  const over = await byPieces(spent, { ...tiling, spend: true }, doubled, () => undefined);
  assert.equal(over, spent.values);
  assert.deepEqual(over, apart);
});

test('value steps are undone by invert, orientation always', () => {
  const grid = ramp([5, 6, 7]);
  const untouched = grid.values.slice();
  const around = {
    voxels: grid.values,
    modality: 'MR',
    rescaleType: undefined,
    attributes: {},
    geometry: {
      columns: 5,
      rows: 6,
      slices: 7,
      spacingMm: [1, 1.5, 3] as const,
      originMm: [0, 0, 0] as const,
      // Sagittal: columns run to posterior, rows to inferior, slices to the left.
      axes: [
        [0, 1, 0],
        [0, 0, -1],
        [-1, 0, 0],
      ] as const,
      frameOfReferenceUID: undefined,
    },
  };
  let prepared: Prepared = { grid, valuesBack: [], gridBack: [] };
  for (const step of [
    { op: 'orient', axes: 'LPS' },
    { op: 'window', range: [100, 800] },
    { op: 'log', offset: 1 },
    { op: 'normalise', low: 1, high: 99 },
    { op: 'linear', from: [0, 1], to: [-1000, 1000] },
  ] as const)
    prepared = prepare(prepared, step, around);
  assert.deepEqual(prepared.grid.size, [7, 5, 6]);
  assert.deepEqual(grid.values, untouched);
  assert.deepEqual(prepared.grid.spacingMm, [3, 1, 1.5]);
  let back: Grid = prepared.grid;
  for (const undo of prepared.valuesBack) undo(back.values);
  for (const undo of prepared.gridBack) back = undo(back);
  back.values.forEach((value, i) => assert.ok(Math.abs(value - grid.values[i]!) < 0.1, `${i}: ${value}`));
});

test('the noise of a magnitude image is found within 15 %, and the way back takes its bias away', () => {
  const random = seeded(5);
  const [n, sigma] = [128, 20];
  const truth = (i: number): number => (Math.hypot((i % n) - 64, Math.floor(i / n) - 64) < 50 ? 100 : 0);
  const values = Float32Array.from({ length: n * n }, (_, i) =>
    Math.hypot(truth(i) + sigma * random.gaussian(), sigma * random.gaussian()),
  );
  const grid: Grid = { values, size: [n, n, 1], spacingMm: [1, 1, 1] };
  const found = ricianSigma(grid);
  assert.ok(Math.abs(found / sigma - 1) < 0.15, `${found}`);
  const stable = stabilise(grid);
  const where = [...values.keys()].filter((i) => Math.hypot((i % n) - 64, Math.floor(i / n) - 64) < 45);
  const { mean, spread } = momentsOf(where.map((i) => stable.values[i]!));
  assert.ok(Math.abs(spread - 1) < 0.15, `${spread}`);
  const back = new Float32Array(values.length).fill(mean);
  stable.back(back);
  assert.ok(
    where.every((i) => Math.abs(back[i]! - 100) < 2),
    `${back[where[0]!]}`,
  );
});

test('mr-denoise: slices that show too little to tell their noise by have that of the series', async () => {
  const random = seeded(11);
  const [n, slices] = [96, 15];
  // A head that was cut out: nothing around it, and hardly any of it in the outer slices.
  const radiusOf = (k: number): number => 40 * Math.sqrt(Math.max(0, 1 - ((k - 7) / 4.2) ** 2));
  const sigma = 12;
  const noisy = Float32Array.from({ length: n * n * slices }, (_, i) => {
    const [x, y, k] = [i % n, Math.floor(i / n) % n, Math.floor(i / n / n)];
    if (Math.hypot(x - 48, y - 48) > radiusOf(k)) return 0;
    const signal = 400 + (Math.hypot(x - 40, y - 50) < 10 ? 200 : 0);
    return Math.hypot(signal + sigma * random.gaussian(), sigma * random.gaussian());
  });
  const { session, model } = await openModel(loadManifest(join(MODELS, 'mr-denoise')), 1);
  const opened = { session, familiarity: undefined, model: { ...model, card: { ...model.card, gates: {} } } };
  const { voxels } = await runModel(opened, {
    volume: { voxels: noisy, modality: 'MR', geometry: axialGrid([n, n, slices], [2, 2, 2]) },
    stored: { lowest: 0, highest: 65_535 },
    imageType: [],
    rescaleType: undefined,
    settings: {},
  });
  assert.ok(voxels.every(Number.isFinite));
  const spreadIn = (of: Float32Array, k: number): number =>
    momentsOf(
      [...of.keys()]
        .filter((i) => Math.floor(i / n / n) === k && Math.hypot((i % n) - 60, (Math.floor(i / n) % n) - 40) < 7)
        .map((i) => of[i]!),
    ).spread;
  for (const k of [4, 7, 10]) assert.ok(spreadIn(voxels, k) < 0.75 * spreadIn(noisy, k), `slice ${k}`);
  await session?.release();
});

test('noise that grows threefold over the plane has one variance after the transform, and edges do not count as noise', () => {
  const random = seeded(6);
  const n = 160;
  const sigmaAt = (i: number): number => 12 * 3 ** (((i % n) / n - 0.5) * 1);
  const values = Float32Array.from({ length: n * n }, (_, i) => {
    const [x, y] = [i % n, Math.floor(i / n)];
    const signal = 300 + (Math.hypot((x % 40) - 20, (y % 40) - 20) < 9 ? 250 : 0);
    return Math.hypot(signal + sigmaAt(i) * random.gaussian(), sigmaAt(i) * random.gaussian());
  });
  const stable = stabilise({ values, size: [n, n, 1], spacingMm: [1, 1, 1] });
  const spreadIn = (from: number, to: number): number =>
    momentsOf(
      [...values.keys()]
        .filter(
          (i) => i % n >= from && i % n < to && Math.hypot(((i % n) % 40) - 20, (Math.floor(i / n) % 40) - 20) > 12,
        )
        .map((i) => stable.values[i]! - 300 / sigmaAt(i)),
    ).spread;
  const [left, right] = [spreadIn(8, 40), spreadIn(120, 152)];
  assert.ok(left / right > 0.8 && left / right < 1.25, `${left} and ${right}`);
  const even = stabilise({
    values: values.map((v, i) => 300 + ((v - 300) * 12) / sigmaAt(i)),
    size: [n, n, 1],
    spacingMm: [1, 1, 1],
  });
  assert.ok(Math.abs(even.sigma / 12 - 1) < 0.2, `${even.sigma}`);
});

function momentsOf(of: readonly number[]): { mean: number; spread: number } {
  const mean = of.reduce((sum, value) => sum + value, 0) / of.length;
  return { mean, spread: Math.sqrt(of.reduce((sum, value) => sum + (value - mean) ** 2, 0) / of.length) };
}

test('what was interpolated or zero-filled is refused by its spectrum and by its header; what was measured is not', () => {
  const [side, wide] = [128, 256];
  const next = seeded(11);
  const measured = Float32Array.from({ length: side * side }, (_, i) => {
    const [x, y] = [i % side, Math.floor(i / side)];
    return Math.abs((Math.hypot(x - 60, y - 64) < 40 ? 500 : 20) + 7 * next.gaussian());
  });
  const stretched = Float32Array.from({ length: wide * side }, (_, i) => {
    const at = Math.min(side - 1, (i % wide) / 2);
    const from = Math.floor(i / wide) * side + Math.floor(at);
    return measured[from]! + (at % 1) * ((measured[from + 1] ?? 0) - measured[from]!);
  });
  const geometry = { spacingMm: [1, 1, 1], originMm: [0, 0, 0], frameOfReferenceUID: undefined } as never;
  const asked = (values: Float32Array, columns: number, matrix: readonly string[] = []): Prepared =>
    prepare(
      { grid: { values, size: [columns, side, 1], spacingMm: [1, 1, 1] }, valuesBack: [], gridBack: [] },
      { op: 'asMeasured', dropDb: 8 },
      { geometry, modality: 'MR', rescaleType: undefined, attributes: { AcquisitionMatrix: matrix }, voxels: values },
    );
  assert.equal(asked(measured, side, ['128', '0', '0', '128']).grid.values, measured);
  assert.equal(asked(measured, side).grid.values, measured);
  // 112 of 128 columns and all 128 rows, as a scanner says it of a picture that it has turned.
  const tall = measured.slice(0, 112 * side);
  assert.equal(asked(tall, 112, ['0', '128', '112', '0']).grid.values, tall);
  assert.throws(() => asked(stretched, wide), /the spectrum falls by .* the image was interpolated/);
  assert.throws(() => asked(measured, side, ['0', '128', '96', '0']), /Acquisition Matrix .* is 128 x 96 of 128 x 128/);
});

test('a figure that the graph gives is the mean over the slices, and a gate of its name judges it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-figure-'));
  t.after(() => rmSync(folder, { recursive: true }));
  // Slices with means of 0, 1 and 2.
  const voxels = Float32Array.from({ length: 8 * 8 * 3 }, (_, n) => Math.floor(n / 64) + (n % 2 === 0 ? 1 : -1));
  const run = async (max: number): ReturnType<typeof runModel> => {
    const gates = `{ brightness: { max: ${max}, hard: ${max} } }`;
    const applies = '{ Modality: [MR] }';
    writeSiteModel(folder, 'half', { factor: 0.5, figure: 'brightness', gates, applies, pre: '[]' });
    const opened = await openModel(loadManifest(join(folder, 'half')), 1);
    return runModel(opened, {
      volume: { voxels, modality: 'MR', geometry: axialGrid([8, 8, 3], [1, 1, 1]) },
      stored: { lowest: -100, highest: 100 },
      imageType: [],
      rescaleType: undefined,
      settings: {},
    });
  };
  const { quality } = await run(1.5);
  assert.ok(Math.abs(quality['brightness']! - 1) < 1e-6, String(quality['brightness']));
  await assert.rejects(run(0.5), /brightness is 1, expected at most 0.5/);
});
