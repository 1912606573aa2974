/** Storage commitment on the wire: what is asked and reported, what is refused, and peers that part or lie. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { readDataSet } from '../../src/dicom/reader.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { readCommand, type Command } from '../../src/dimse/command.ts';
import {
  commitmentReportDataSet,
  commitmentRequestDataSet,
  readCommitmentReport,
  readCommitmentRequest,
  type CommitmentReport,
} from '../../src/dimse/commitment.ts';
import type { ScpHandlers } from '../../src/dimse/handlers.ts';
import { answerRoles } from '../../src/dimse/negotiation.ts';
import { openAssociation, release } from '../../src/dimse/scu.ts';
import { commitmentContext, reportCommitment, requestCommitment } from '../../src/dimse/scu-commitment.ts';
import { STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE } from '../../src/dimse/sop-classes.ts';
import { EXPLICIT_LE, RawPeer, startHashingScp } from './peers.ts';
import * as wire from './wire.ts';

const NEVER = 20_000;
const INSTANCES = [
  { sopClassUID: '1.2.840.10008.5.1.4.1.1.2', sopInstanceUID: '2.25.1' },
  { sopClassUID: '1.2.840.10008.5.1.4.1.1.4', sopInstanceUID: '2.25.22' },
];
const REPORT: CommitmentReport = {
  transactionUID: '2.25.9',
  committed: INSTANCES.slice(0, 1),
  failed: INSTANCES.slice(1).map((instance) => ({ ...instance, reason: 0x0112 })),
};

const start = (t: TestContext, handlers: Partial<ScpHandlers>): ReturnType<typeof startHashingScp> =>
  startHashingScp(t, { artimMs: NEVER, idleMs: NEVER }, handlers);

function action(messageId: number, changes: Partial<Command> = {}, dataSet?: Buffer): Buffer[] {
  const { bytes, end } = commitmentRequestDataSet('2.25.9', INSTANCES);
  return [
    wire.command(1, {
      CommandField: 0x0130,
      RequestedSOPClassUID: STORAGE_COMMITMENT,
      RequestedSOPInstanceUID: STORAGE_COMMITMENT_INSTANCE,
      ActionTypeID: 1,
      MessageID: messageId,
      CommandDataSetType: 0,
      ...changes,
    }),
    wire.fragment(1, dataSet ?? bytes.subarray(0, end), { isLast: true }),
  ];
}

async function join(t: TestContext, port: number): Promise<RawPeer> {
  const peer = await RawPeer.connect(t, port);
  peer.send(
    wire.associate({ contexts: [{ id: 1, abstractSyntax: STORAGE_COMMITMENT, transferSyntaxUIDs: [EXPLICIT_LE] }] }),
  );
  assert.equal((await peer.next())?.type, 'A-ASSOCIATE-AC');
  return peer;
}

async function nextCommand(peer: RawPeer): Promise<Command> {
  for (;;) {
    const pdu = await peer.next();
    assert.ok(pdu?.type === 'P-DATA-TF', pdu?.type ?? 'the connection was closed');
    for (const value of pdu.values) if (value.isCommand) return readCommand(Buffer.concat(value.slices));
  }
}

test('PS3.4-J.3.2-datasets: requests and reports survive a round trip', () => {
  assert.deepEqual(readCommitmentRequest(commitmentRequestDataSet('2.25.9', INSTANCES)), {
    transactionUID: '2.25.9',
    instances: INSTANCES,
  });
  assert.deepEqual(readCommitmentReport(commitmentReportDataSet(REPORT)), REPORT);
});

test('cut or mutated data sets of a request and a report are read or refused and nothing else', () => {
  for (const [dataSet, read] of [
    [commitmentRequestDataSet('2.25.9', INSTANCES), readCommitmentRequest],
    [commitmentReportDataSet(REPORT), readCommitmentReport],
  ] as const) {
    const whole = Buffer.from(dataSet.bytes.subarray(dataSet.start, dataSet.end));
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 0, max: 255 }), fc.nat(), (at, to, cut) => {
        const bytes = Buffer.from(whole.subarray(0, cut % 3 === 0 ? cut % whole.length : whole.length));
        if (bytes.length > 0) bytes[at % bytes.length] = to;
        try {
          read(readDataSet(bytes, 0, bytes.length, 'explicit-le', { complete: true }).dataSet);
        } catch (error) {
          assert.ok(error instanceof Refusal, String(error));
        }
      }),
      { seed: 5, numRuns: 3000 },
    );
  }
});

test('COMMIT-7: another action, class or instance, and a data set that is none, are refused by the statuses of PS3.7 10.1.4', async (t) => {
  const asked: string[] = [];
  const { port } = await start(t, {
    commit({ transactionUID }) {
      asked.push(transactionUID);
      return Promise.resolve(undefined);
    },
  });
  const peer = await join(t, port);
  for (const [changes, dataSet, status] of [
    [{ ActionTypeID: 2 }, undefined, 0x0123],
    [{ RequestedSOPInstanceUID: '2.25.3' }, undefined, 0x0112],
    [{ RequestedSOPClassUID: '1.2.840.10008.1.1' }, undefined, 0x0122],
    [{}, Buffer.from('this is no data set'), 0x0115],
    [{}, Buffer.alloc(0), 0x0115],
    [{}, undefined, 0x0000],
  ] as const) {
    peer.send(...action(7, changes, dataSet));
    const { Status, CommandField, AffectedSOPInstanceUID } = await nextCommand(peer);
    assert.deepEqual([Status, CommandField, AffectedSOPInstanceUID], [status, 0x8130, STORAGE_COMMITMENT_INSTANCE]);
  }
  assert.deepEqual(asked, ['2.25.9']);
});

test('PS3.4-J.3.3-parts: a peer that parts instead of answering a report is let go', async (t) => {
  const { port, events } = await start(t, {
    commit: ({ transactionUID, instances }) => Promise.resolve({ transactionUID, committed: instances, failed: [] }),
  });
  const peer = await join(t, port);
  peer.send(...action(1));
  assert.equal((await nextCommand(peer)).Status, 0);
  assert.equal((await nextCommand(peer)).CommandField, 0x0100);
  peer.send(wire.RELEASE);
  let pdu = await peer.next();
  while (pdu?.type === 'P-DATA-TF') pdu = await peer.next();
  assert.equal(pdu?.type, 'A-RELEASE-RP');
  assert.ok(events.some(([name]) => name === 'commitment-not-reported'));
});

test('PS3.4-J.3.3-reports: reports arrive whole, and answers to them come back', async (t) => {
  const reports: CommitmentReport[] = [];
  const { port } = await start(t, {
    committed(_association, report) {
      reports.push(report);
      return Promise.resolve(report.transactionUID === '2.25.9' ? 0 : 0x0115);
    },
  });
  const us = { host: '127.0.0.1', port, callingAE: 'PACS', calledAE: 'ISTHMUS' };
  const association = await openAssociation({ ...us, contexts: [commitmentContext(true)] });
  assert.equal(await reportCommitment(association, REPORT), 0);
  assert.equal(await reportCommitment(association, { ...REPORT, transactionUID: '2.25.8' }), 0x0115);
  // Nobody here takes requests.
  assert.equal(await requestCommitment(association, '2.25.9', INSTANCES), 0x0211);
  await release(association);
  assert.deepEqual(reports[0], REPORT);
});

test('roles are granted as far as there is somebody to play the other part', () => {
  const roles = [
    { sopClassUID: STORAGE_COMMITMENT, scu: true, scp: true },
    { sopClassUID: '1.2.840.10008.5.1.4.1.1.2', scu: true, scp: true },
    { sopClassUID: '1.2.840.10008.1.1', scu: true, scp: true },
  ];
  const granted = (offer: Parameters<typeof answerRoles>[1]): string[] =>
    answerRoles(roles, offer).map(({ scu, scp }) => `${scu ? 'scu' : ''} ${scp ? 'scp' : ''}`.trim());
  const moreClasses = new Set<string>();
  assert.deepEqual(granted({ moreClasses }), ['', 'scu', 'scu']);
  assert.deepEqual(granted({ moreClasses, commitment: { scp: true, scu: false } }), ['scu', 'scu', 'scu']);
  assert.deepEqual(granted({ moreClasses, commitment: { scp: false, scu: true } }), ['scp', 'scu', 'scu']);
  assert.deepEqual(granted({ moreClasses, query: new Set(['get']) }), ['', 'scu scp', 'scu']);
});
