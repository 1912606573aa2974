import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { claimWork, failWork, workItemsOf } from '../../src/workitems.ts';
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

test('a node that does not answer keeps no delivery to another node waiting', async (t) => {
  const asked = Promise.withResolvers<undefined>();
  const mute = createServer((request) => {
    request.resume();
    asked.resolve(undefined);
  });
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  const { port } = mute.address() as AddressInfo;
  const node = `{ dicomweb: { url: 'http://127.0.0.1:${port}' }, deliverBy: dicomweb, proof: status }`;
  const opened = await openInFolder(t, {
    nodes: `nodes:\n  mute: ${node}\n  other: ${node}\n`,
    rules: `admission:\n  - { name: all, when: { modality: CT }, project: ${PROJECT}, profile: basic }\nprocessing: []\n`,
  });
  const { gateway } = opened;
  const study = await completed(opened);
  const series = await deriveSeries(opened, study);
  for (const key of ['a', 'b', 'c', 'd'])
    scheduleDelivery(gateway, study, key, { project: PROJECT, node: 'mute', seriesInstanceUIDs: [series] });
  // Of nothing, so that nobody is asked.
  scheduleDelivery(gateway, study, 'e', { project: PROJECT, node: 'other', seriesInstanceUIDs: [] });
  const performer = startPerformer(gateway);
  performer.kick();
  await asked.promise;
  const statesOf = (name: string): string[] =>
    workItemsOf(gateway.workItems, study)
      .filter(({ parameters }) => parameters['node'] === name)
      .map(({ state }) => state)
      .sort();
  await until('the other node', () => statesOf('other')[0] === 'COMPLETED', 10_000, 10);
  assert.deepEqual(statesOf('mute'), ['IN PROGRESS', 'IN PROGRESS', 'IN PROGRESS', 'SCHEDULED']);
  mute.closeAllConnections();
  mute.close();
  await performer.stop();
});

test('when a node answers again, what had failed on it does not wait for the end of its back-off', async (t) => {
  const opened = await openInFolder(t, {
    nodes: `nodes:\n  pacs: { dicomweb: { url: 'http://127.0.0.1:9' }, deliverBy: dicomweb, proof: status }\n`,
    rules: `admission:\n  - { name: all, when: { modality: CT }, project: ${PROJECT}, profile: basic }\nprocessing: []\n`,
  });
  const { gateway, clock } = opened;
  const { workItems } = gateway;
  const study = await completed(opened);
  const schedule = (key: string): void =>
    scheduleDelivery(gateway, study, key, { project: PROJECT, node: 'pacs', seriesInstanceUIDs: [] });
  const failOnce = (): void => {
    const item = claimWork(workItems, 'deliver', 60_000);
    assert.ok(item !== undefined);
    failWork(workItems, item, 'DeliveryFailed: the node did not answer: ECONNREFUSED', { final: false });
    clock.now = workItems.database.get('SELECT max(next_attempt_at) AS at FROM work_item')?.['at'] as number;
  };
  schedule('long down');
  for (let attempt = 0; attempt < 9; attempt++) failOnce();
  clock.now -= 1;
  schedule('first to be tried');
  const rests = clock.now;
  failOnce();
  clock.now = rests + 20_000;
  const states = (): string[] => workItemsOf(workItems, study).map(({ state }) => state);
  assert.deepEqual(states(), ['IN PROGRESS', 'IN PROGRESS']);
  workItems.database.run('UPDATE work_item SET next_attempt_at = ? WHERE attempts > 5', clock.now + 1_800_000);
  const performer = startPerformer(gateway);
  performer.kick();
  await until('both deliveries', () => states().every((state) => state === 'COMPLETED'), 10_000, 10);
  await performer.stop();
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
