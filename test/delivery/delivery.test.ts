import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { test, type TestContext } from 'node:test';
import { readLedger, type LedgerState } from '../../src/delivery/ledger.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { startScp } from '../../src/dimse/scp.ts';
import { claimWork, failWork, finishWork, type WorkItem } from '../../src/workitems.ts';
import { deliver, scheduleDelivery } from '../../src/workflow/deliver.ts';
import { isReturning } from '../../src/workflow/returning.ts';
import { ctStudy } from '../phantom/studies.ts';
import { PROJECT, deriveSeries, openInFolder, takeStudy, type Opened } from '../workflow/opened.ts';
import { json, startStandIn, type StandIn } from './node.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-77', birthDate: '19631112', sex: 'F' } as const;
const SLICES = 6;

interface Scene extends Opened {
  readonly study: string;
  readonly originalStudy: string;
}

/** A derived series waits for its way to the node. */
async function scene(t: TestContext, nodes: string, slices = SLICES): Promise<Scene> {
  const opened = await openInFolder(t, { nodes });
  const { objects, studyInstanceUID } = ctStudy({ patient: PATIENT, slices, size: 8 });
  const study = await takeStudy(opened, objects);
  const series = await deriveSeries(opened, study);
  scheduleDelivery(opened.gateway, study, 'key', { project: PROJECT, node: 'pacs', seriesInstanceUIDs: [series] });
  return { ...opened, study, originalStudy: studyInstanceUID };
}

const stowNode = (url: string, more = '', proof = 'read-back'): string =>
  `nodes:\n  pacs:\n    dicomweb: { url: '${url}'${more} }\n    deliverBy: dicomweb\n    proof: ${proof}\n`;
const storeNode = (port: number, more = ''): string =>
  `nodes:\n  pacs:\n    dimse: { aeTitle: PACS, host: 127.0.0.1, port: ${port}${more} }\n    deliverBy: dimse\n    proof: status\n`;

function claim({ gateway, clock }: Scene): WorkItem {
  clock.now += 4_000_000;
  const item = claimWork(gateway.workItems, 'deliver', 60_000);
  assert.ok(item);
  return item;
}

/** One attempt, as the performer makes it. */
async function attempt(at: Scene): Promise<Refusal | undefined> {
  const item = claim(at);
  try {
    finishWork(at.gateway.workItems, item, { ...(await deliver(at.gateway, item)) });
    return undefined;
  } catch (error) {
    assert.ok(error instanceof Refusal, error instanceof Error ? error.stack : 'no error');
    assert.doesNotMatch(error.message, /Muster|KH-77/);
    failWork(at.gateway.workItems, item, error.message, { final: false });
    return error;
  }
}

function states({ gateway, study }: Scene): Partial<Record<LedgerState, number>> {
  const counts: Partial<Record<LedgerState, number>> = {};
  for (const { state } of readLedger(gateway.database, study)) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

async function withStandIn(t: TestContext, more = '', proof = 'read-back'): Promise<{ at: Scene; node: StandIn }> {
  const node = await startStandIn(t);
  return { at: await scene(t, stowNode(node.url, more, proof)), node };
}

test('a derived series arrives under its patient and study, is proven there, and would be known again', async (t) => {
  const { at, node } = await withStandIn(t);
  assert.equal(await attempt(at), undefined);
  assert.deepEqual(states(at), { proven: SLICES });
  assert.equal(node.kept.size, SLICES);
  for (const { study, patientID, bytes, sop } of node.kept.values()) {
    assert.deepEqual([study, patientID], [at.originalStudy, 'KH-77']);
    assert.ok(bytes.includes('Muster^Erika'));
    assert.ok(isReturning(at.gateway, sop));
  }
  const rows = JSON.stringify(readLedger(at.gateway.database, at.study));
  for (const { sop } of node.kept.values()) assert.equal(rows.includes(sop), false, 'the ledger holds pseudonyms only');
});

test('objects that were lost after a 200 are found out and sent again, the others are not', async (t) => {
  const { at, node } = await withStandIn(t);
  node.loses = (count) => count === 2 || count === 5;
  assert.match((await attempt(at))?.message ?? '', /2 of 6 objects are not found/);
  assert.deepEqual(states(at), { proven: 4, pushed: 2 });
  assert.equal(await attempt(at), undefined);
  assert.deepEqual(states(at), { proven: SLICES });
  assert.deepEqual([...node.sent.values()].sort(), [1, 1, 1, 1, 2, 2]);
});

test('objects that the node refuses are told with their status and sent again; what it took is proven at once', async (t) => {
  const { at, node } = await withStandIn(t);
  node.refuses = (count) => count === 3;
  assert.match((await attempt(at))?.message ?? '', /refused 1 of 6 objects, the first with status 0xA900/);
  assert.deepEqual(states(at), { proven: 5, refused: 1 });
  assert.equal(await attempt(at), undefined);
  assert.equal(
    [...node.sent.values()].reduce((sum, times) => sum + times, 0),
    SLICES + 1,
  );
});

test('an attempt that ended between push and proof is searched first: nothing is sent twice', async (t) => {
  const { at, node } = await withStandIn(t);
  node.searchAnswer = (response) => void response.writeHead(500).end();
  assert.match((await attempt(at))?.message ?? '', /search with status 500/);
  assert.deepEqual(states(at), { pushed: SLICES });
  node.searchAnswer = undefined;
  assert.equal(await attempt(at), undefined);
  assert.deepEqual(
    [...node.sent.values()],
    Array.from({ length: SLICES }, () => 1),
  );
});

test('a study that lies under another patient there is never proven', async (t) => {
  const { at, node } = await withStandIn(t);
  node.searchAnswer = (response) =>
    json(
      response,
      node.searches % 2 === 1
        ? [...node.sent.keys()].map((sop) => ({ '00080018': { vr: 'UI', Value: [sop] } }))
        : [{ '00100020': { vr: 'LO', Value: ['SOMEBODY-ELSE'] } }],
    );
  const refusal = await attempt(at);
  assert.match(refusal?.message ?? '', /patient IDs/);
  assert.equal(refusal?.message.includes('SOMEBODY'), false);
  assert.deepEqual(states(at), { pushed: SLICES });
});

test('a node that cuts its pages shorter than asked is read to the end', async (t) => {
  const { at, node } = await withStandIn(t);
  node.mostPerPage = 4;
  assert.equal(await attempt(at), undefined);
  assert.deepEqual(states(at), { proven: SLICES });
});

const SPOILED: readonly (readonly [string, (response: ServerResponse) => void, RegExp])[] = [
  ['500', (response) => void response.writeHead(500).end('oops'), /status 500/],
  ['401', (response) => void response.writeHead(401).end(), /status 401/],
  ['bytes that are no JSON', (response) => void response.writeHead(200).end('<html>'), /no DICOM JSON/],
  ['null', (response) => json(response, null), /refused 6 of 6/],
  [
    'sequences that are none',
    (response) => json(response, { '00081199': { Value: 7 }, '00081198': { Value: [null, 3] } }),
    /refused 6 of 6/,
  ],
  ['a reset', (response) => void response.destroy(), /did not answer/],
  [
    'an endless body',
    (response) => {
      const block = Buffer.alloc(2 ** 20, ' ');
      const more = (): void => {
        while (!response.destroyed && response.write(block));
      };
      response.on('drain', more);
      more();
    },
    /longer than/,
  ],
];
for (const [what, spoil, expected] of SPOILED) {
  test(`a node that answers STOW with ${what} is a failed attempt, the next one succeeds`, async (t) => {
    const { at, node } = await withStandIn(t);
    node.stowAnswer = (response, request) => {
      request.resume().on('end', () => spoil(response));
    };
    const refusal = await attempt(at);
    assert.equal(refusal?.reason, 'DeliveryFailed');
    assert.match(refusal.message, expected);
    node.stowAnswer = undefined;
    assert.equal(await attempt(at), undefined);
    assert.deepEqual(states(at), { proven: SLICES });
  });
}

test('a node that never answers is given up after its time limit', async (t) => {
  const { at, node } = await withStandIn(t, ', timeoutSeconds: 0.3');
  node.stowAnswer = () => undefined;
  assert.match((await attempt(at))?.message ?? '', /did not answer/);
});

for (const [what, answer] of [
  ['no list', { a: 1 }],
  ['a list of nothing', [null, 3, 'x', { '00080018': null }]],
] as const) {
  test(`a search that is answered with ${what} proves nothing`, async (t) => {
    const { at, node } = await withStandIn(t);
    node.searchAnswer = (response) => json(response, answer);
    assert.equal((await attempt(at))?.reason, 'DeliveryFailed');
    assert.deepEqual(states(at), { pushed: SLICES });
  });
}

test('where the status is proof enough, what was taken before a failure is not sent again', async (t) => {
  const { at, node } = await withStandIn(t, '', 'status');
  node.refuses = (count) => count === 6;
  assert.ok(await attempt(at));
  assert.deepEqual(states(at), { proven: 5, refused: 1 });
  assert.equal(await attempt(at), undefined);
  assert.equal(node.searches, 0);
});

test('a delivery that is cancelled stops before its next object', async (t) => {
  const { at, node } = await withStandIn(t);
  const item = claim(at);
  await assert.rejects(deliver(at.gateway, item, AbortSignal.abort()), /closing/);
  assert.equal(node.sent.size, 0);
});

test('C-STORE goes over several associations side by side, every object once', async (t) => {
  const received: string[] = [];
  const associations = new Set<string>();
  const arrived = Promise.withResolvers<undefined>();
  const scp = await startScp(
    { host: '127.0.0.1', port: 0, aeTitle: 'PACS' },
    {
      async store({ association, sopInstanceUID, dataSet }) {
        for await (const _chunk of dataSet);
        associations.add(association.id);
        received.push(sopInstanceUID);
        // The first objects wait for one another: only associations side by side can bring three.
        if (associations.size === 3) arrived.resolve(undefined);
        await arrived.promise;
        return 0;
      },
    },
  );
  t.after(() => scp.close());
  const at = await scene(t, storeNode(scp.port, ', associations: 3'));
  assert.equal(await attempt(at), undefined);
  assert.deepEqual([received.length, new Set(received).size, associations.size], [SLICES, SLICES, 3]);
  assert.deepEqual(states(at), { proven: SLICES });
});

test('a node that takes one association at a time gets everything over that one', async (t) => {
  let stored = 0;
  const scp = await startScp(
    { host: '127.0.0.1', port: 0, aeTitle: 'PACS', maxAssociations: 1 },
    {
      async store({ dataSet }) {
        for await (const _chunk of dataSet);
        stored++;
        return 0;
      },
    },
  );
  t.after(() => scp.close());
  const at = await scene(t, storeNode(scp.port));
  assert.equal(await attempt(at), undefined);
  assert.equal(stored, SLICES);
});

test('C-STORE: a warning is taken, a failure is refused with its status, and only that one is sent again', async (t) => {
  let count = 0;
  const scp = await startScp(
    { host: '127.0.0.1', port: 0, aeTitle: 'PACS' },
    {
      async store({ dataSet }) {
        for await (const _chunk of dataSet);
        count++;
        return count === 2 ? 0xb000 : count === 4 ? 0xa700 : 0;
      },
    },
  );
  t.after(() => scp.close());
  const at = await scene(t, storeNode(scp.port));
  assert.match((await attempt(at))?.message ?? '', /refused 1 of 6 objects, the first with status 0xA700/);
  assert.equal(await attempt(at), undefined);
  assert.equal(count, SLICES + 1);
});

test('C-STORE to nobody is a failed attempt that names no patient', async (t) => {
  const scp = await startScp({ host: '127.0.0.1', port: 0, aeTitle: 'PACS' }, { store: () => Promise.resolve(0) });
  const { port } = scp;
  await scp.close();
  const at = await scene(t, storeNode(port));
  assert.equal((await attempt(at))?.reason, 'DeliveryFailed');
  assert.deepEqual(states(at), {});
});
