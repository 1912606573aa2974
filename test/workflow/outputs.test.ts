/** What runs leave beside images, from a rule to the PACS: every object under the patient's own identity, every UID resolved. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { seriesOf } from '../../src/archive/studies.ts';
import { asciiValue, itemsOf, textValue, type DataSet } from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { workItemsOf } from '../../src/workitems.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { startPerformer } from '../../src/workflow/perform.ts';
import { iodErrors, NO_DCIODVFY, scratch, writeObjects } from '../derived/tools.ts';
import { startStandIn } from '../delivery/node.ts';
import { until } from '../peers/ports.ts';
import { ctStudy } from '../phantom/studies.ts';
import { openInFolder, PROJECT, takeStudy, type Opened } from './opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-77', birthDate: '19631112', sex: 'F' } as const;

interface Done {
  readonly opened: Opened;
  readonly study: string;
  readonly originalStudy: string;
  readonly arrived: readonly { readonly bytes: Buffer; readonly patientID: string; readonly study: string }[];
}

async function run(t: TestContext, processing: string, size: number): Promise<Done> {
  const node = await startStandIn(t);
  const opened = await openInFolder(t, {
    models: true,
    nodes: `nodes:\n  pacs:\n    dicomweb: { url: '${node.url}' }\n    deliverBy: dicomweb\n    proof: read-back\n`,
    rules: `admission:\n  - { name: all, when: { modality: CT }, project: ${PROJECT}, profile: hipaa-safe-harbor }\nprocessing:\n  - ${processing}\n`,
  });
  const { gateway, clock } = opened;
  const { objects, studyInstanceUID } = ctStudy({ patient: PATIENT, slices: 4, size });
  const study = await takeStudy(opened, objects);
  clock.now += 60_000;
  completeStudies(gateway);
  const performer = startPerformer(gateway);
  t.after(() => performer.stop());
  performer.kick();
  await until(
    'the work to end',
    () => workItemsOf(gateway.workItems, study).every(({ state }) => state === 'COMPLETED' || state === 'CANCELED'),
    120_000,
    50,
  );
  const arrived = [...node.kept.values()].map(({ bytes, patientID, study: under }) => ({
    bytes,
    patientID,
    study: under,
  }));
  return { opened, study, originalStudy: studyInstanceUID, arrived };
}

function dataSetOf({ bytes }: { readonly bytes: Buffer }): DataSet {
  return readHead(bytes).head.dataSet;
}

function modalities({ arrived }: Done): string[] {
  return arrived.map((object) => asciiValue(dataSetOf(object), tag('Modality')) ?? '').sort();
}

test('a refused run leaves its report alone, and the report goes home under the patient', async (t) => {
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
