import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { claimWork, workItemsOf } from '../../src/workitems.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { scheduleDelivery } from '../../src/workflow/deliver.ts';
import { startPerformer } from '../../src/workflow/perform.ts';
import { startTimetable } from '../../src/workflow/timetable.ts';
import { until } from '../peers/ports.ts';
import { ctStudy } from '../phantom/studies.ts';
import { PROJECT, deriveSeries, openInFolder, takeStudy, type Opened } from './opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-1', birthDate: '19631112', sex: 'F' } as const;

async function completed(opened: Opened): Promise<string> {
  const study = await takeStudy(opened, ctStudy({ patient: PATIENT, slices: 2, size: 8 }).objects);
  opened.clock.now += 60_000;
  completeStudies(opened.gateway);
  return study;
}

test('work that cannot be done is canceled with its reason, and takes nothing else with it', async (t) => {
  const opened = await openInFolder(t);
  const study = await completed(opened);
  const performer = startPerformer(opened.gateway);
  performer.kick();
  await until(
    'the item to end',
    () => workItemsOf(opened.gateway.workItems, study)[0]?.state === 'CANCELED',
    10_000,
    10,
  );
  await performer.stop();
  const [item] = workItemsOf(opened.gateway.workItems, study);
  assert.match(item?.lastError ?? '', /^(BadConfiguration|PipelineRefused): /);
  assert.equal(item?.attempts, 1, 'what no second attempt can mend has none');
});

test('closing gives running work back to the queue: it is due at once and the attempt does not count', async (t) => {
  const asked = Promise.withResolvers<undefined>();
  const slow = createServer((request, response) => {
    asked.resolve(undefined);
    // Answers only once everything has been said, and then not with success.
    request.resume().on('end', () => setTimeout(() => response.writeHead(500).end(), 100));
  });
  await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
  t.after(() => slow.close());
  const { port } = slow.address() as AddressInfo;
  const opened = await openInFolder(t, {
    nodes: `nodes:\n  pacs:\n    dicomweb: { url: 'http://127.0.0.1:${port}' }\n    deliverBy: dicomweb\n    proof: status\n`,
    rules: `admission:\n  - { name: all, when: { modality: CT }, project: ${PROJECT}, profile: basic }\nprocessing: []\n`,
  });
  const { gateway } = opened;
  const study = await completed(opened);
  const series = await deriveSeries(opened, study);
  scheduleDelivery(gateway, study, 'key', { project: PROJECT, node: 'pacs', seriesInstanceUIDs: [series] });
  const performer = startPerformer(gateway);
  performer.kick();
  await asked.promise;
  await performer.stop();
  performer.kick();
  const item = claimWork(gateway.workItems, 'deliver', 60_000);
  assert.equal(item?.attempts, 1);
});

test('the timetable completes and performs by itself, and after stop nothing begins any more', async (t) => {
  const opened = await openInFolder(t);
  const { gateway, clock } = opened;
  const study = await takeStudy(opened, ctStudy({ patient: PATIENT, slices: 2, size: 8 }).objects);
  clock.now += 60_000;
  const timetable = startTimetable(gateway);
  await until('the clock', () => workItemsOf(gateway.workItems, study)[0]?.state === 'CANCELED', 15_000, 20);
  await timetable.stop();
  gateway.database.run("UPDATE study_clock SET state = 'open'");
  await new Promise((resolve) => setTimeout(resolve, 1200));
  assert.equal(gateway.database.get('SELECT state FROM study_clock')?.['state'], 'open');
});
