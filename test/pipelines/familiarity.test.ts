/** The out-of-distribution check, as shipped beside the models, on series drawn by the recipe and on what is foreign. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { random, volumeOf } from '../../models/cases.ts';
import { sampleOf } from '../../models/familiar-samples.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import type { Volume } from '../../src/dicom/volume.ts';
import { denoise } from '../../src/pipelines/correction.ts';
import {
  featureValues,
  figuresOf,
  judgeFamiliar,
  limitsOf,
  loadFamiliarity,
  type Familiarity,
} from '../../src/pipelines/familiarity.ts';
import { GatesRefusal, judge } from '../../src/pipelines/gates.ts';
import { isolationOf } from '../../src/pipelines/isolation-forest.ts';
import { loadModel } from '../../src/pipelines/manifest.ts';
import { loadManifest } from '../../src/pipelines/zoo-manifest.ts';
import { runModel } from '../../src/pipelines/zoo.ts';
import { makePhantom } from './ct-phantom.ts';

const models = fileURLToPath(new URL('../../models', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'familiar-'));
after(() => rmSync(scratch, { recursive: true }));

function shipped(id: string): Familiarity {
  const folder = join(models, id);
  const { familiar } = id === 'ct-denoise' ? loadModel(folder).card : loadManifest(folder).card;
  assert.ok(familiar !== undefined, `${id} names no check`);
  return loadFamiliarity(folder, familiar);
}

function refused(familiarity: Familiarity, volume: Volume): boolean {
  try {
    judgeFamiliar(familiarity, volume);
    return false;
  } catch (error) {
    assert.ok(error instanceof GatesRefusal && error.findings.length === 3, String(error));
    return true;
  }
}

/** The sample with the matrix it stands for is a matter of the fit; here the matrix is that of the volume, within every fence. */
function figures(familiarity: Familiarity, kind: 'CT' | 'MR' | 'XR', seed: number): ReturnType<typeof figuresOf> {
  const { volume, matrix } = sampleOf(kind, seed);
  const values = featureValues(
    volume,
    familiarity.features.map(({ name }) => name),
  );
  return figuresOf(
    familiarity,
    values.map((value, i) => (familiarity.features[i]!.name === 'matrix' ? Math.log2(matrix) : value)),
  );
}

for (const [id, kind] of [
  ['ct-denoise', 'CT'],
  ['mr-denoise', 'MR'],
  ['mr-bias', 'MR'],
  ['gibbs', 'MR'],
  ['xr-exposure', 'XR'],
] as const)
  test(`${id} knows series of its kind that its check was not fitted on`, () => {
    const familiarity = shipped(id);
    const outcomes = Array.from({ length: 25 }, (_, n) => {
      try {
        return judge(limitsOf(familiarity), { ...figures(familiarity, kind, 20_000 + n) }).outcome;
      } catch {
        return 'refuse';
      }
    });
    assert.ok(outcomes.filter((outcome) => outcome === 'pass').length >= 22, outcomes.join(' '));
    assert.ok(!outcomes.includes('refuse'), outcomes.join(' '));
  });

test('a CT body passes; the same with its values turned round, and a constant slice, are refused', () => {
  const familiarity = shipped('ct-denoise');
  const { volume } = makePhantom({ columns: 512, rows: 512, slices: 1, sigmaHU: 20, colour: 'coloured', seed: 3 });
  assert.equal(refused(familiarity, volume), false);
  assert.equal(refused(familiarity, { ...volume, voxels: volume.voxels.map((value) => -value) }), true);
  assert.equal(refused(familiarity, { ...volume, voxels: volume.voxels.map(() => 40) }), true);
});

test('pixels that are a little longer than wide are no foreign series; a refusal names what is foreign and what the model knows', () => {
  const familiarity = shipped('ct-denoise');
  const { volume } = makePhantom({ columns: 512, rows: 512, slices: 1, sigmaHU: 20, colour: 'coloured', seed: 3 });
  const { geometry } = volume;
  const stretched = (by: number): Volume => {
    const [x, y, z] = geometry.spacingMm;
    return { ...volume, geometry: { ...geometry, spacingMm: [x, by * y, z] } };
  };
  assert.equal(refused(familiarity, stretched(1.25)), false);
  assert.equal(judgeFamiliar(familiarity, stretched(1.25)).unfamiliarFeatures, 1);
  assert.throws(
    () => judgeFamiliar(familiarity, stretched(3)),
    /farthestFeature is .*; pixelAspect is -1\.58, the model knows -0\.0015 to 0\.0015/,
  );
});

test('a chest radiograph under the header of an MR series is refused by the MR models, by their box or by the check', async () => {
  const side = 2048;
  const next = random(4);
  const chest = Float32Array.from({ length: side * side }, (_, i) => {
    const [x, y] = [(2 * (i % side)) / side - 1, (2 * Math.floor(i / side)) / side - 1];
    const lung = Math.min(Math.hypot((x - 0.42) / 0.3, y / 0.6), Math.hypot((x + 0.42) / 0.3, y / 0.6));
    return Math.round(3000 - 1800 * Math.max(0, 1 - lung ** 4) + 300 * Math.exp(-((8 * x) ** 2)) + 3 * next.normal());
  });
  const input = { stored: { lowest: 0, highest: 4095 }, imageType: [], rescaleType: undefined, settings: {} };
  for (const id of ['mr-denoise', 'mr-bias', 'gibbs']) {
    const opened = { model: loadManifest(join(models, id)), session: undefined, familiarity: shipped(id) };
    for (const modality of ['DX', 'MR']) {
      const volume = volumeOf(chest, [side, side, 1], [0.14, 0.14, 1], modality);
      await assert.rejects(
        runModel(opened, { ...input, volume }),
        (error: unknown) => error instanceof Refusal && error.reason === 'PipelineRefused',
        `${id} ${modality}`,
      );
    }
  }
});

test('what is foreign is refused before the network is asked', async () => {
  const familiarity = shipped('ct-denoise');
  const { volume } = makePhantom({ columns: 512, rows: 512, slices: 1, sigmaHU: 20, colour: 'coloured', seed: 3 });
  const session = {
    inputs: [],
    outputs: [],
    shapes: [],
    run: () => assert.fail('the network was asked'),
    release: () => Promise.resolve(),
  };
  const inverted = { ...volume, voxels: volume.voxels.map((value) => -value) };
  await assert.rejects(
    denoise({ session, gates: {}, familiarity }, { volume: inverted }),
    (error: unknown) => error instanceof Refusal && /Feature|isolation/.test(error.message),
  );
});

test('a point outside what the trees were grown on is isolated sooner than one inside', () => {
  const trees = [
    [[0, 10, 1, 2], [0, 5, 3, 4], [1], [7], [8]],
    [[1, 10, 1, 2], [1, 5, 3, 4], [1], [7], [8]],
  ] as const;
  const score = (x: number, y: number): number => isolationOf({ trees, samples: 16 }, [x, y]);
  assert.ok(score(20, 20) > score(20, 3) && score(20, 3) > score(4, 3));
  assert.ok(score(20, 20) < 1 && score(4, 3) > 0);
});

test('a check that is not the one of the card, or leads in a circle, is refused when the model is opened', () => {
  const good = JSON.parse(readFileSync(join(models, 'ct-denoise', 'familiar.json'), 'utf8')) as Record<string, unknown>;
  const load = (value: unknown, sha256?: string): Familiarity => {
    const text = JSON.stringify(value);
    writeFileSync(join(scratch, 'familiar.json'), text);
    const hash = sha256 ?? createHash('sha256').update(text).digest('hex');
    return loadFamiliarity(scratch, { file: 'familiar.json', sha256: hash });
  };
  assert.ok(load(good).trees.length > 0);
  const refusedAs = (sentence: RegExp) => (error: unknown) =>
    error instanceof Refusal && error.reason === 'BadConfiguration' && sentence.test(error.message);
  assert.throws(() => load(good, '0'.repeat(64)), refusedAs(/sha256/));
  assert.throws(() => load({ ...good, trees: [[[0, 1, 0, 0]]] }), refusedAs(/out of itself/));
  assert.throws(() => load({ ...good, trees: [] }), refusedAs(/trees/));
  assert.throws(() => load({ ...good, features: [{ name: 'colour', fence: [0, 1] }] }), refusedAs(/no feature/));
});
