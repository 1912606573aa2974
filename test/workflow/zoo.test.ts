/** A hospital's own model, a folder with a graph and a card, run by a rule: DICOM in, derived series out. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { instancesOf } from '../../src/archive/instances.ts';
import { seriesOf } from '../../src/archive/studies.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { loadInstances, loadSeries } from '../../src/workflow/load-series.ts';
import { produceByManifest } from '../../src/workflow/produce.ts';
import { type WorkItem } from '../../src/workitems.ts';
import { ctStudy } from '../phantom/studies.ts';
import { writeSiteModel } from '../pipelines/site-model.ts';
import { workOff, PROJECT, openInFolder, takeStudy, type Opened } from './opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-1', birthDate: '19631112', sex: 'F' } as const;

function temporary(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-zoo-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function opened(t: TestContext, site: string, run: string, more = ''): Promise<Opened> {
  return openInFolder(t, {
    gateway: `pipelines: { threads: 1, modelsFolder: '${site}' }\n`,
    rules: `admission:\n  - { name: all, when: { modality: [CT, MR] }, project: ${PROJECT}, profile: basic }\nprocessing:\n  - { name: own, when: { modality: CT }, run: ${run}${more}, outputs: [image], deliver: [] }\n`,
  });
}

async function performed(here: Opened): Promise<{ study: string; item: WorkItem }> {
  const study = await takeStudy(here, ctStudy({ patient: PATIENT, slices: 3, size: 24 }).objects);
  const [item] = await workOff(here, study);
  assert.ok(item);
  return { study, item };
}

test("a rule runs a hospital's own model: the derived series is its output, said to be its work", async (t) => {
  const site = temporary(t);
  // y = 0.5 x
  writeSiteModel(site, 'half', { factor: 0.5 });
  const here = await opened(t, site, 'half', ', with: { alpha: 0.5 }');
  const { study, item } = await performed(here);
  assert.equal(item.state, 'COMPLETED', item.lastError ?? '');
  const [source, derived] = [false, true].map((wanted) =>
    seriesOf(here.gateway.archive, study).find((series) => series.derived === wanted),
  );
  assert.ok(source && derived);
  const name = (series: typeof source): { studyInstanceUID: string; seriesInstanceUID: string } => ({
    studyInstanceUID: study,
    seriesInstanceUID: series.SeriesInstanceUID,
  });
  const [before, after] = [await loadSeries(here.gateway, name(source)), await loadSeries(here.gateway, name(derived))];
  // Half of the way to one half: three quarters, rounded to stored values.
  after.volume.voxels.forEach((value, i) => {
    assert.ok(Math.abs(value - 0.75 * before.volume.voxels[i]!) <= 0.5, `voxel ${i}`);
  });
  assert.match(derived.SeriesDescription ?? '', /\[HALF\]$/);
  assert.equal(instancesOf(here.gateway.archive, name(derived)).length, 3);
});

test('ZOO-own: the same input, model and settings give the same bytes and UIDs', async (t) => {
  const site = temporary(t);
  writeSiteModel(site, 'half', { factor: 0.5, pre: '[{ op: rescaleHU }, { op: tile, size: 16, overlap: 4 }]' });
  const here = await opened(t, site, 'half');
  const study = await takeStudy(here, ctStudy({ patient: PATIENT, slices: 2, size: 24 }).objects);
  const [series] = seriesOf(here.gateway.archive, study);
  const name = { studyInstanceUID: study, seriesInstanceUID: series?.SeriesInstanceUID ?? '' };
  const made = await Promise.all(
    [1, 2].map(async () => {
      const instances = await loadInstances(here.gateway, name);
      const { objects } = await produceByManifest(here.gateway.pool, { id: 'half', instances, settings: {} }, {});
      return [...objects].map(({ head, body }) => Buffer.concat([head, body]).toString('base64'));
    }),
  );
  // Two slices, how they are to be seen, report and key image.
  assert.equal(made[0]?.length, 5);
  assert.deepEqual(made[0], made[1]);
});

test('a series outside the box of the card makes no image; the work item says what was found and expected', async (t) => {
  const site = temporary(t);
  writeSiteModel(site, 'half', { factor: 0.5, applies: '{ Modality: [MR] }' });
  const { item } = await performed(await opened(t, site, 'half'));
  assert.equal(item.state, 'CANCELED');
  assert.match(item.lastError ?? '', /PipelineRefused: half: Modality \(0008,0060\) is CT, expected MR/);
});

test('a result beyond a gate of the card makes no image', async (t) => {
  const site = temporary(t);
  writeSiteModel(site, 'half', { factor: 0.5, gates: '{ meanShiftPercent: { max: 0.1, hard: 0.2 } }' });
  const { study, item } = await performed(await opened(t, site, 'half'));
  assert.match(item.lastError ?? '', /meanShiftPercent is [0-9.]+, expected at most 0.1 \(hard limit 0.2\)/);
  assert.equal(item.state, 'CANCELED');
  assert.match(study, /^[0-9.]+$/);
});

test('a model whose output overflows makes no image; the item says so', async (t) => {
  const site = temporary(t);
  // What the self-test asks stays within float32, real HU do not.
  writeSiteModel(site, 'half', { factor: 2 ** 124 });
  const here = await opened(t, site, 'half');
  const { study, item } = await performed(here);
  assert.equal(item.state, 'CANCELED');
  assert.match(item.lastError ?? '', /PipelineRefused: half gave a value that is no finite number/);
  assert.equal(seriesOf(here.gateway.archive, study).filter(({ derived }) => derived).length, 0);
});

const FAULTY: readonly (readonly [string, Parameters<typeof writeSiteModel>[2], RegExp])[] = [
  [
    'another graph than the card says',
    { factor: 0.5, sha256: 'a'.repeat(64) },
    /has sha256 [0-9a-f]{64}; the card says a{64}/,
  ],
  ['an input the graph does not have', { factor: 0.5, input: 'picture' }, /picture is no tensor of the graph/],
  ['a volume model around a slice graph', { factor: 0.5, dims: '3d-volume' }, /3d-volume needs 5 axes/],
  [
    'a self-test that does not come out',
    { factor: 0.5, selfTestFactor: 0.6 },
    /self-test: the result differs by 0\.[0-9]+; at most 0\.001/,
  ],
  ['an unknown key', { factor: 0.5, more: 'colour: blue' }, /colour/],
  ['a step that needs more', { factor: 0.5, pre: '[{ op: window }]' }, /pre\[0\] window needs range/],
  ['a step in the wrong place', { factor: 0.5, post: '[{ op: rescale }]' }, /post\[0\] rescale belongs to pre/],
  ['a gate that is no figure', { factor: 0.5, gates: '{ beauty: { max: 1, hard: 2 } }' }, /gate beauty is no figure/],
];

for (const [name, model, sentence] of FAULTY) {
  test(`the gateway does not start with a model of the site that has ${name}`, async (t) => {
    const site = temporary(t);
    writeSiteModel(site, 'half', model);
    await assert.rejects(
      opened(t, site, 'half'),
      (error) => error instanceof Refusal && error.reason === 'BadConfiguration' && sentence.test(error.message),
    );
  });
}

test('a rule that names a model that is not there, or gives it a setting it does not have, is refused at its line', async (t) => {
  const site = temporary(t);
  writeSiteModel(site, 'half', { factor: 0.5, post: '[]' });
  await assert.rejects(
    opened(t, site, 'quarter'),
    /rules.yaml line 4: there is no pipeline "quarter" \(there are: .*half/,
  );
  await assert.rejects(
    opened(t, site, 'half', ', with: { alpha: 0.5 }'),
    /rules.yaml line 4: half has no setting "alpha"/,
  );
});

test('a file beside the models that is no model is left alone', async (t) => {
  const site = temporary(t);
  writeSiteModel(site, 'half', { factor: 0.5 });
  writeFileSync(join(site, 'README.md'), 'notes');
  mkdirSync(join(site, 'old'));
  assert.deepEqual([...(await opened(t, site, 'half')).gateway.pool.zoo.keys()], ['half']);
});
