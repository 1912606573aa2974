/** What runs leave beside images, from a rule to the PACS: every object under the patient's own identity, every UID resolved. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { seriesOf } from '../../src/archive/studies.ts';
import { PARAMETRIC_MAP } from '../../src/derived/parametric-map.ts';
import { asciiValue, itemsOf, textValue, type DataSet } from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { workItemsOf } from '../../src/workitems.ts';
import { iodErrors, NO_DCIODVFY, scratch, writeObjects } from '../derived/tools.ts';
import { startStandIn } from '../delivery/node.ts';
import { ctStudy, mrFollowUp, type PhantomStudy } from '../phantom/studies.ts';
import { pacsAt, workOff, openInFolder, PROJECT, takeStudy, type Opened } from './opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-77', birthDate: '19631112', sex: 'F' } as const;

interface Done {
  readonly opened: Opened;
  readonly study: string;
  readonly originalStudy: string;
  readonly arrived: readonly { readonly bytes: Buffer; readonly patientID: string; readonly study: string }[];
}

async function run(t: TestContext, processing: string, size: number): Promise<Done> {
  return runOn(t, processing, [ctStudy({ patient: PATIENT, slices: 4, size })]);
}

/** Takes the studies in one after another; what is asked of is the last. */
async function runOn(t: TestContext, processing: string, studies: readonly PhantomStudy[]): Promise<Done> {
  const node = await startStandIn(t);
  const opened = await openInFolder(t, {
    models: true,
    nodes: pacsAt(node.url),
    rules: `admission:\n  - { name: CT, when: { modality: CT }, project: ${PROJECT}, profile: hipaa-safe-harbor }\n  - { name: MR, when: { modality: MR }, project: ${PROJECT}, profile: basic }\nprocessing:\n  - ${processing}\n`,
  });
  let study = '';
  for (const { objects } of studies) study = await takeStudy(opened, objects);
  await workOff(opened, study, 240_000);
  const arrived = [...node.kept.values()].map((kept) => ({
    bytes: kept.bytes,
    patientID: kept.patientID,
    study: kept.study,
  }));
  return { opened, study, originalStudy: studies.at(-1)?.studyInstanceUID ?? '', arrived };
}

/** Under the patient's own identity, valid, and without a pseudonym left. */
function checkHome(arrived: Done['arrived'], originalStudy: string): void {
  const folder = scratch();
  const paths = writeObjects(
    folder,
    arrived.map(({ bytes }) => bytes),
  );
  for (const [index, object] of arrived.entries()) {
    assert.deepEqual([object.patientID, object.study], [PATIENT.id, originalStudy]);
    assert.equal(textValue(dataSetOf(object), tag('PatientName')), PATIENT.name);
    if (NO_DCIODVFY === false) assert.deepEqual(iodErrors(paths[index] ?? ''), []);
  }
}

function dataSetOf({ bytes }: { readonly bytes: Buffer }): DataSet {
  return readHead(bytes).head.dataSet;
}

function modalities({ arrived }: Done): string[] {
  return arrived.map((object) => asciiValue(dataSetOf(object), tag('Modality')) ?? '').sort();
}

test('DERIVE-SR-1: a refused run leaves its report alone, and the report goes home under the patient', async (t) => {
  const done = await run(t, '{ name: quiet, when: { modality: CT }, run: ct-denoise, deliver: [pacs] }', 8);
  const [derive] = workItemsOf(done.opened.gateway.workItems, done.study).filter(({ kind }) => kind === 'derive');
  assert.equal(derive?.state, 'CANCELED');
  assert.match(derive.lastError ?? '', /^PipelineRefused: /);
  const derived = seriesOf(done.opened.gateway.archive, done.study).filter((series) => series.derived);
  assert.deepEqual(
    derived.map(({ Modality }) => Modality),
    ['SR'],
  );
  const [report] = done.arrived;
  assert.ok(report !== undefined && done.arrived.length === 1);
  assert.deepEqual([report.patientID, report.study], [PATIENT.id, done.originalStudy]);
  const dataSet = dataSetOf(report);
  assert.equal(textValue(dataSet, tag('PatientName')), PATIENT.name);
  const [evidence] = itemsOf(dataSet, tag('CurrentRequestedProcedureEvidenceSequence'));
  assert.equal(evidence && asciiValue(evidence, tag('StudyInstanceUID')), done.originalStudy);
  const [path] = writeObjects(scratch(), [report.bytes]);
  if (NO_DCIODVFY === false) assert.deepEqual(iodErrors(path ?? ''), []);
});

test('a rule says what is written: without the report a refused run leaves nothing', async (t) => {
  const rule = '{ name: quiet, when: { modality: CT }, run: ct-denoise, outputs: [image], deliver: [pacs] }';
  const done = await run(t, rule, 8);
  assert.deepEqual(modalities(done), []);
  assert.equal(seriesOf(done.opened.gateway.archive, done.study).filter((series) => series.derived).length, 0);
});

test('a denoised series arrives with the report of its figures', async (t) => {
  const rule = '{ name: quiet, when: { modality: CT }, run: ct-denoise, outputs: [image, report], deliver: [pacs] }';
  const done = await run(t, rule, 192);
  assert.deepEqual(modalities(done), ['CT', 'CT', 'CT', 'CT', 'SR']);
});

test('DERIVE-SC-1: everything a denoised series can have beside it arrives, resolves and satisfies its IOD', async (t) => {
  const outputs = '[image, report, key-image, difference]';
  const done = await run(
    t,
    `{ name: quiet, when: { modality: CT }, run: ct-denoise, outputs: ${outputs}, deliver: [pacs] }`,
    192,
  );
  assert.deepEqual(modalities(done), [...Array<string>(8).fill('CT'), 'OT', 'PR', 'SR']);
  checkHome(done.arrived, done.originalStudy);
});

test('a registration leaves maps, differences, report and key image, all under the current study', async (t) => {
  const [prior, current] = mrFollowUp({ patient: PATIENT, size: 40, slices: 32 });
  const outputs = '[image, report, key-image, map, difference]';
  const rule = `{ name: align, when: { modality: MR, hasPrior: true }, run: register, with: { fixed: newest-prior }, outputs: ${outputs}, deliver: [pacs] }`;
  const done = await runOn(t, rule, [prior, current]);
  assert.deepEqual(
    modalities(done).filter((modality) => modality !== 'MR'),
    ['OT', 'PR', 'REG', 'SR'],
  );
  const maps = done.arrived.filter((object) => asciiValue(dataSetOf(object), tag('SOPClassUID')) === PARAMETRIC_MAP);
  assert.equal(maps.length, 2);
  assert.equal(modalities(done).length, 4 + 2 + 2 * 32);
  checkHome(done.arrived, done.originalStudy);
});
