/** Storage commitment both ways, with Debian's Orthanc as the peer of each and with peers of our own that report late, twice or falsely. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { readLedger } from '../../src/delivery/ledger.ts';
import { tellCommitment } from '../../src/delivery/commitment.ts';
import type { Node } from '../../src/config/nodes.ts';
import { asciiValue } from '../../src/dicom/data-set.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { newUid } from '../../src/dicom/uid.ts';
import type { CommitmentReport, ReferencedInstance } from '../../src/dimse/commitment.ts';
import type { CommitmentRequest, ScpHandlers } from '../../src/dimse/handlers.ts';
import { startScp } from '../../src/dimse/scp.ts';
import { openAssociation, release } from '../../src/dimse/scu.ts';
import { commitmentContext, requestCommitment, serveCommitmentReport } from '../../src/dimse/scu-commitment.ts';
import { closeGateway, openGateway, type Gateway } from '../../src/gateway.ts';
import { workItemsOf } from '../../src/workitems.ts';
import { commitmentHandlers } from '../../src/workflow/commit.ts';
import { scheduleDelivery } from '../../src/workflow/deliver.ts';
import { startPerformer } from '../../src/workflow/perform.ts';
import { storeHandlers } from '../../src/workflow/receive.ts';
import { orthancMissing, startOrthanc, type Orthanc } from '../peers/orthanc.ts';
import { freePort, until } from '../peers/ports.ts';
import { ctStudy } from '../phantom/studies.ts';
import { PROJECT, deriveSeries, openInFolder, takeStudy, type Opened } from './opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-1', birthDate: '19631112', sex: 'F' } as const;
const SLICES = 3;
const objects = (): readonly Buffer[] => ctStudy({ patient: PATIENT, slices: SLICES, size: 8 }).objects;

const pacsNode = (port: number, aeTitle = 'ORTHANC'): string =>
  `nodes:\n  pacs: { dimse: { aeTitle: ${aeTitle}, host: 127.0.0.1, port: ${port} }, deliverBy: dimse, proof: storage-commitment }\n`;

async function listen(t: TestContext, gateway: Gateway, port: number): Promise<void> {
  const scp = await startScp(
    { host: '127.0.0.1', port, aeTitle: 'ISTHMUS', closeMs: 100 },
    { ...storeHandlers(gateway), ...commitmentHandlers(gateway) },
  );
  t.after(() => scp.close());
}

/** A PACS of our own: takes everything, and answers a request for commitment as it is told. */
async function startPacs(
  t: TestContext,
  commit: (request: CommitmentRequest) => CommitmentReport | undefined,
): Promise<{ port: number; stored: string[]; asked: CommitmentRequest[] }> {
  const stored: string[] = [];
  const asked: CommitmentRequest[] = [];
  const handlers: ScpHandlers = {
    async store({ sopInstanceUID, dataSet }) {
      for await (const slice of dataSet) assert.ok(slice.length > 0);
      stored.push(sopInstanceUID);
      return 0;
    },
    commit(request) {
      asked.push(request);
      return Promise.resolve(commit(request));
    },
  };
  const scp = await startScp({ host: '127.0.0.1', port: 0, aeTitle: 'PACS', closeMs: 100 }, handlers);
  t.after(() => scp.close());
  return { port: scp.port, stored, asked };
}

const allOf = ({ transactionUID, instances }: CommitmentRequest): CommitmentReport => ({
  transactionUID,
  committed: instances,
  failed: [],
});

interface Delivering {
  readonly study: string;
  readonly states: () => string[];
  readonly item: () => ReturnType<typeof workItemsOf>[number] | undefined;
}

async function startDelivery(opened: Opened): Promise<Delivering> {
  const study = await takeStudy(opened, objects());
  const series = await deriveSeries(opened, study);
  scheduleDelivery(opened.gateway, study, 'test', { project: PROJECT, node: 'pacs', seriesInstanceUIDs: [series] });
  return follow(opened.gateway, study);
}

function follow(gateway: Gateway, study: string): Delivering {
  return {
    study,
    states: () => readLedger(gateway.database, study).map(({ state, proof }) => `${state} ${proof ?? ''}`.trim()),
    item: () => workItemsOf(gateway.workItems, study).find(({ kind }) => kind === 'deliver'),
  };
}

const PROVEN = Array<string>(SLICES).fill('proven storage-commitment');

function perform(t: TestContext, gateway: Gateway): ReturnType<typeof startPerformer> {
  const performer = startPerformer(gateway);
  t.after(() => performer.stop());
  performer.kick();
  return performer;
}

/** Claimed, worked on, and resting again. */
const rests = ({ item }: Delivering): boolean => item()?.state === 'IN PROGRESS' && item()?.leaseUntil === 0;

test(
  'COMMIT-1: Orthanc commits itself to what it was sent, reporting on an association of its own',
  { skip: orthancMissing() ?? false },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'isthmus-commit-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const port = await freePort();
    const orthanc = await startOrthanc(folder, { modalities: { isthmus: { aet: 'ISTHMUS', port } } });
    t.after(() => orthanc.stop());
    const opened = await openInFolder(t, { nodes: pacsNode(orthanc.dicomPort) });
    await listen(t, opened.gateway, port);
    const delivering = await startDelivery(opened);
    const performer = perform(t, opened.gateway);
    await until(
      'the delivery to be proven',
      () => {
        performer.kick();
        return delivering.item()?.state === 'COMPLETED';
      },
      30_000,
    );
    assert.deepEqual(delivering.states(), PROVEN);
    assert.equal(delivering.item()?.attempts, 1);
  },
);

test('COMMIT-2: a report on the association that asked is taken there', async (t) => {
  const pacs = await startPacs(t, allOf);
  const opened = await openInFolder(t, { nodes: pacsNode(pacs.port, 'PACS') });
  const delivering = await startDelivery(opened);
  perform(t, opened.gateway);
  await until('the delivery to end', () => delivering.item()?.state === 'COMPLETED', 15_000);
  assert.deepEqual(delivering.states(), PROVEN);
  assert.deepEqual(
    pacs.asked[0]?.instances.map(({ sopInstanceUID }) => sopInstanceUID).sort(),
    [...pacs.stored].sort(),
  );
});

test('COMMIT-3: without a report an object is not proven; one that comes after a restart is taken, once, from that node alone', async (t) => {
  const pacs = await startPacs(t, () => undefined);
  const opened = await openInFolder(t, { nodes: pacsNode(pacs.port, 'PACS') });
  const before = await startDelivery(opened);
  const performer = perform(t, opened.gateway);
  await until('the delivery to wait', () => rests(before) && pacs.asked.length === 1, 15_000);
  assert.deepEqual(before.states(), Array<string>(SLICES).fill('pushed'));
  await performer.stop();
  const { config, log } = opened.gateway;
  await opened.close();

  const again = await openGateway(config, log, () => opened.clock.now);
  t.after(() => closeGateway(again));
  const after = follow(again, before.study);
  const port = await freePort();
  await listen(t, again, port);
  const [request] = pacs.asked;
  assert.ok(request !== undefined);
  const us = {
    name: 'us',
    dimse: { aeTitle: 'ISTHMUS', host: '127.0.0.1', port, tls: false, authorities: undefined, associations: 1 },
  } as Node;
  const tell = (callingAE: string, report: CommitmentReport): Promise<number> =>
    tellCommitment(us, report, { callingAE, tls: undefined });
  assert.equal(await tell('STRANGER', allOf(request)), 0x0124);
  assert.equal(await tell('PACS', { ...allOf(request), transactionUID: newUid() }), 0x0115);
  assert.deepEqual(after.states(), Array<string>(SLICES).fill('pushed'));
  assert.equal(await tell('PACS', allOf(request)), 0);
  assert.equal(
    await tell('PACS', {
      ...allOf(request),
      committed: [],
      failed: request.instances.map((one) => ({ ...one, reason: 0x0112 })),
    }),
    0,
  );
  assert.deepEqual(after.states(), PROVEN);
  perform(t, again);
  await until('the delivery to end', () => after.item()?.state === 'COMPLETED', 15_000);
  assert.equal(pacs.stored.length, SLICES, 'nothing was sent twice');
});

test('COMMIT-4: what a node will not commit itself to is sent and asked for again, with back-off', async (t) => {
  let reports = 0;
  const pacs = await startPacs(t, (request) => {
    const [first, ...others] = request.instances;
    if (++reports > 1 || first === undefined) return allOf(request);
    return { transactionUID: request.transactionUID, committed: others, failed: [{ ...first, reason: 0x0112 }] };
  });
  const opened = await openInFolder(t, { nodes: pacsNode(pacs.port, 'PACS') });
  const delivering = await startDelivery(opened);
  const performer = perform(t, opened.gateway);
  await until('the delivery to wait', () => rests(delivering) && reports === 1, 15_000);
  assert.deepEqual(delivering.states().sort(), [...PROVEN.slice(1), 'refused']);
  performer.kick();
  assert.equal(pacs.asked.length, 1, 'not at once');
  opened.clock.now += 7 * 3_600_000;
  performer.kick();
  await until('the delivery to end', () => delivering.item()?.state === 'COMPLETED', 15_000);
  assert.deepEqual(delivering.states(), PROVEN);
  assert.equal(pacs.stored.length, SLICES + 1);
  assert.equal(pacs.asked[1]?.instances.length, 1);
});

test('a node that never reports is asked again after hours, without the objects being sent again', async (t) => {
  const pacs = await startPacs(t, () => undefined);
  const opened = await openInFolder(t, { nodes: pacsNode(pacs.port, 'PACS') });
  const delivering = await startDelivery(opened);
  const performer = perform(t, opened.gateway);
  for (const asked of [1, 2]) {
    await until('the delivery to wait', () => rests(delivering) && pacs.asked.length === asked, 15_000);
    opened.clock.now += 7 * 3_600_000;
    performer.kick();
  }
  await until('the third request', () => pacs.asked.length === 3, 15_000);
  assert.equal(pacs.stored.length, SLICES);
});

async function stateOf(orthanc: Orthanc, transaction: string): Promise<Record<string, unknown>> {
  const reply = await fetch(`${orthanc.base}/storage-commitment/${transaction}`);
  return reply.status === 200 ? ((await reply.json()) as Record<string, unknown>) : {};
}

test(
  'COMMIT-5: Orthanc asks us about what it sent and what it did not, and hears the truth',
  { skip: orthancMissing() ?? false },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'isthmus-commit-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const port = await freePort();
    const orthanc = await startOrthanc(folder, { modalities: { isthmus: { aet: 'ISTHMUS', port } } });
    t.after(() => orthanc.stop());
    const opened = await openInFolder(t, {
      gateway: 'dimse: { commitTo: [ORTHANC] }\n',
      nodes: pacsNode(orthanc.dicomPort),
    });
    await listen(t, opened.gateway, port);
    const ids: string[] = [];
    for (const body of objects()) {
      const reply = await fetch(`${orthanc.base}/instances`, { method: 'POST', body });
      ids.push(((await reply.json()) as { ID: string }).ID);
    }
    const sent = ids.slice(0, SLICES - 1);
    const stored = await fetch(`${orthanc.base}/modalities/isthmus/store`, {
      method: 'POST',
      body: JSON.stringify(sent),
    });
    assert.equal(stored.status, 200);
    const ask = async (resources: readonly string[]): Promise<Record<string, unknown>> => {
      const body = JSON.stringify({ Resources: resources, Timeout: 20 });
      const reply = await fetch(`${orthanc.base}/modalities/isthmus/storage-commitment`, { method: 'POST', body });
      assert.equal(reply.status, 200);
      const { ID } = (await reply.json()) as { ID: string };
      let report: Record<string, unknown> = {};
      await until(
        'the report',
        async () => {
          report = await stateOf(orthanc, ID);
          return report['Status'] === 'Success' || report['Status'] === 'Failure';
        },
        20_000,
      );
      return report;
    };
    const good = await ask(sent);
    assert.equal(good['Status'], 'Success');
    assert.equal((good['Success'] as unknown[]).length, sent.length);
    const mixed = await ask(ids);
    assert.equal(mixed['Status'], 'Failure');
    assert.equal((mixed['Success'] as unknown[]).length, sent.length);
    assert.equal((mixed['Failures'] as unknown[]).length, 1);
  },
);

async function referencesOf(files: readonly Buffer[]): Promise<ReferencedInstance[]> {
  return Promise.all(
    files.map(async (file) => {
      const { dataSet } = (await readObject(file)).head;
      return {
        sopClassUID: asciiValue(dataSet, 0x00080016) ?? '',
        sopInstanceUID: asciiValue(dataSet, 0x00080018) ?? '',
      };
    }),
  );
}

async function askUs(
  port: number,
  callingAE: string,
  instances: readonly ReferencedInstance[],
): Promise<{ status: number; report: CommitmentReport | undefined }> {
  let report: CommitmentReport | undefined;
  const association = await openAssociation({
    host: '127.0.0.1',
    port,
    callingAE,
    calledAE: 'ISTHMUS',
    contexts: [commitmentContext(false)],
    serve: serveCommitmentReport((taken) => {
      report = taken;
      return Promise.resolve(0);
    }),
  });
  const status = await requestCommitment(association, newUid(), instances);
  if (status === 0) await until('the report', () => report !== undefined, 10_000, 5);
  await release(association);
  return { status, report };
}

test('COMMIT-6: a sender is answered for its own project, class by class, and only where the configuration says so', async (t) => {
  const opened = await openInFolder(t, {
    gateway: 'dimse: { commitTo: [CT01, ELSEWHERE] }\n',
    rules: `admission:
  - { name: elsewhere, when: { callingAE: ELSEWHERE }, project: other, profile: basic }
  - { name: ours, when: { callingAE: CT01 }, project: ${PROJECT}, profile: basic }
processing: []
`,
  });
  const port = await freePort();
  await listen(t, opened.gateway, port);
  const files = objects();
  const study = await takeStudy(opened, files);
  const references = await referencesOf(files);
  const [first, ...others] = references;
  assert.ok(first !== undefined);
  const wrongClass = { ...first, sopClassUID: '1.2.840.10008.5.1.4.1.1.4' };
  const pseudonym = { ...first, sopInstanceUID: '2.25.5' };
  const { report } = await askUs(port, 'CT01', [wrongClass, pseudonym, ...others]);
  assert.deepEqual(report?.committed, others);
  assert.deepEqual(report.failed, [
    { ...wrongClass, reason: 0x0119 },
    { ...pseudonym, reason: 0x0112 },
  ]);
  assert.equal((await askUs(port, 'ELSEWHERE', references)).report?.failed.length, SLICES);
  assert.equal((await askUs(port, 'CT02', references)).status, 0x0124);
  const log = JSON.stringify(opened.events);
  for (const { sopInstanceUID } of references) assert.ok(!log.includes(sopInstanceUID));
  assert.ok(study !== '');
});
