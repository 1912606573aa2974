/** The user against acceptors made of bytes, and against our own provider. */
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import fc from 'fast-check';
import { Refusal } from '../../src/dicom/refusal.ts';
import { CommandField, NO_DATA_SET, readCommand } from '../../src/dimse/command.ts';
import { VERIFICATION } from '../../src/dimse/negotiation.ts';
import { writePdu } from '../../src/dimse/pdu.ts';
import { abort, acceptedContexts, echo, openAssociation, release, store } from '../../src/dimse/scu.ts';
import type { Association, ScuOptions } from '../../src/dimse/scu.ts';
import {
  CT_IMAGE,
  EXPLICIT_LE,
  IMPLICIT_LE,
  type RawPeer,
  sha256,
  startHashingScp,
  startRawPeer,
  syntheticObject,
} from './peers.ts';
import * as wire from './wire.ts';

const NOT_DELIVERED = { name: 'Refusal', reason: 'DeliveryFailed' };
const CONTEXTS = [
  { sopClassUID: VERIFICATION, transferSyntaxUIDs: [IMPLICIT_LE] },
  { sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] },
];

function open(port: number, changes: Partial<ScuOptions> = {}): Promise<Association> {
  const base = { host: '127.0.0.1', port, callingAE: 'SENDER', calledAE: 'ISTHMUS', contexts: CONTEXTS };
  return openAssociation({ ...base, ...changes });
}

/** An association whose far end is in the test's hands. */
async function openToRaw(
  t: TestContext,
  changes: Partial<ScuOptions> = {},
): Promise<{ association: Association; peer: RawPeer }> {
  const far = await startRawPeer(t);
  const opening = open(far.port, changes);
  const peer = await far.peer;
  const request = await peer.next();
  assert.ok(request?.type === 'A-ASSOCIATE-RQ');
  peer.send(wire.acceptAll(request.request));
  return { association: await opening, peer };
}

function echoResponse(messageId: number): Buffer {
  return wire.command(wire.VERIFICATION_CONTEXT, {
    CommandField: CommandField['C-ECHO-RSP'],
    MessageIDBeingRespondedTo: messageId,
    CommandDataSetType: NO_DATA_SET,
    Status: 0,
  });
}

test('PS3.8-D.1-length: our user and our provider speak with each other, at any PDU length', async (t) => {
  for (const maxPduLength of [64, 1000, 16_384, 1 << 20]) {
    const { port, received } = await startHashingScp(t, { maxPduLength });
    const association = await open(port, { maxPduLength });
    assert.equal(await echo(association), 0);
    const objects = [syntheticObject(32), syntheticObject(33), syntheticObject(1)];
    const statuses = await Promise.all(objects.map((object) => store(association, object)));
    assert.deepEqual(statuses, [0, 0, 0]);
    await release(association);
    assert.deepEqual(
      received.map(({ sha256: hash }) => hash),
      objects.map(({ dataSet }) => sha256(dataSet)),
    );
  }
});

test('PS3.8-9.3.3.2-accepted: only what was proposed and accepted counts as accepted', async (t) => {
  const far = await startRawPeer(t);
  const opening = open(far.port);
  const peer = await far.peer;
  const request = await peer.next();
  assert.ok(request?.type === 'A-ASSOCIATE-RQ');
  const contexts = [
    { id: 1, result: 0, transferSyntaxUID: IMPLICIT_LE },
    { id: 3, result: 0, transferSyntaxUID: '1.2.840.10008.1.2.4.50' },
    { id: 99, result: 0, transferSyntaxUID: EXPLICIT_LE },
  ];
  peer.send(wire.acceptAll(request.request, { contexts }));
  const association = await opening;
  assert.deepEqual(acceptedContexts(association), [
    { id: 1, sopClassUID: VERIFICATION, transferSyntaxUID: IMPLICIT_LE },
  ]);
  await assert.rejects(store(association, syntheticObject(1)), NOT_DELIVERED);
  abort(association);
});

test('PS3.8-9.3.4-told: a rejection is told with its result, source and reason', async (t) => {
  const { port } = await startHashingScp(t);
  await assert.rejects(open(port, { calledAE: 'NOBODY' }), {
    ...NOT_DELIVERED,
    message: /rejected: result 1, source 1, reason 7/,
  });
});

test('PS3.8-9.1.2-connect: a port where nobody listens, hangs up or is silent fails in time', async (t) => {
  const server = createServer((socket) => socket.destroy());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await assert.rejects(open(port), { ...NOT_DELIVERED, message: /connection lost/ });
  server.close();
  await once(server, 'close');
  await assert.rejects(open(port), { ...NOT_DELIVERED, message: /ECONNREFUSED/ });
  const silent = await startRawPeer(t);
  await assert.rejects(open(silent.port, { idleMs: 100 }), {
    ...NOT_DELIVERED,
    message: /nothing from the peer for 100 ms/,
  });
  const noTls = await startRawPeer(t);
  await assert.rejects(open(noTls.port, { tls: {}, connectTimeoutMs: 100 }), NOT_DELIVERED);
  const left = await noTls.peer;
  await left.closed();
});

test('contexts that do not fit into one association are refused before a connection is made', async () => {
  const contexts = Array.from({ length: 129 }, () => ({ sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] }));
  await assert.rejects(open(1, { contexts }), { reason: 'BadRequest' });
  await assert.rejects(open(1, { contexts: [] }), { reason: 'BadRequest' });
  await assert.rejects(open(1, { calledAE: 'SEVENTEEN_LETTERS' }), { reason: 'BadRequest' });
});

test('a peer that never answers a store is given up, and told so', async (t) => {
  const { association, peer } = await openToRaw(t, { idleMs: 150 });
  await assert.rejects(store(association, syntheticObject(4)), { ...NOT_DELIVERED, message: /nothing from the peer/ });
  let last = await peer.next();
  while (last?.type === 'P-DATA-TF') last = await peer.next();
  assert.deepEqual(last, { type: 'A-ABORT', abort: { source: 0, reason: 0 } });
});

test('a peer that takes no bytes is given up', async (t) => {
  const { association, peer } = await openToRaw(t, { idleMs: 200, artimMs: 200 });
  peer.socket.pause();
  await assert.rejects(
    store(association, { ...syntheticObject(1), dataSet: Buffer.alloc(64 * 1024 * 1024) }),
    NOT_DELIVERED,
  );
});

test('an association that rests between two operations is kept', async (t) => {
  const { port } = await startHashingScp(t);
  const association = await open(port, { idleMs: 100 });
  assert.equal(await echo(association), 0);
  await new Promise((resolve) => setTimeout(resolve, 350));
  assert.equal(await echo(association), 0);
  await release(association);
});

test('PS3.7-9.3.1-half: an object whose source fails half-way aborts the association: the far side never sees a whole one', async (t) => {
  const seen: string[] = [];
  const { port } = await startHashingScp(
    t,
    {},
    {
      async store({ dataSet }) {
        try {
          for await (const chunk of dataSet) assert.ok(chunk.length > 0);
          seen.push('whole');
        } catch {
          seen.push('broken');
        }
        return 0;
      },
      closed: (_association, how) => void seen.push(how),
    },
  );
  const association = await open(port);
  function* broken(): Iterable<Buffer> {
    yield Buffer.alloc(1_000_000);
    throw new Error('disk error');
  }
  await assert.rejects(store(association, { ...syntheticObject(1), dataSet: broken() }), { message: 'disk error' });
  await assert.rejects(echo(association), NOT_DELIVERED);
  while (seen.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(seen, ['broken', 'aborted']);
});

test('PS3.8-7.2.2-collision: a release collision is resolved as PS3.8 9.2.3 wants it on the requestor side', async (t) => {
  const { association, peer } = await openToRaw(t);
  const parting = release(association);
  assert.equal((await peer.next())?.type, 'A-RELEASE-RQ');
  peer.send(wire.RELEASE);
  assert.equal((await peer.next())?.type, 'A-RELEASE-RP');
  peer.send(wire.RELEASE_RESPONSE);
  await parting;
  await peer.closed();
});

test('PS3.8-7.2-release: a release by the peer is answered, and ends what is still to come', async (t) => {
  const { association, peer } = await openToRaw(t);
  peer.send(wire.RELEASE);
  assert.equal((await peer.next())?.type, 'A-RELEASE-RP');
  await assert.rejects(echo(association), NOT_DELIVERED);
  peer.socket.destroy();
});

test('PS3.8-7.3-abort: an abort fails the running operation on this side and is seen on the other', async (t) => {
  const { association, peer } = await openToRaw(t);
  const running = echo(association);
  assert.equal((await peer.next())?.type, 'P-DATA-TF');
  abort(association);
  await assert.rejects(running, NOT_DELIVERED);
  assert.equal((await peer.next())?.type, 'A-ABORT');
});

test('PS3.8-7.3-peer: an A-ABORT of the peer fails the operation with its source and reason', async (t) => {
  const { association, peer } = await openToRaw(t);
  const running = echo(association);
  await peer.next();
  peer.send(writePdu({ type: 'A-ABORT', abort: { source: 2, reason: 1 } }));
  await assert.rejects(running, { ...NOT_DELIVERED, message: /source 2, reason 1/ });
});

test('PS3.7-9.3-response: a response to another message is a violation', async (t) => {
  const { association, peer } = await openToRaw(t);
  const running = echo(association);
  await peer.next();
  peer.send(echoResponse(4711));
  await assert.rejects(running, NOT_DELIVERED);
  assert.deepEqual(await peer.next(), { type: 'A-ABORT', abort: { source: 2, reason: 5 } });
});

test('PS3.7-C.5-unrecognized: a request of the acceptor is answered as not recognized, and ours goes on', async (t) => {
  const { association, peer } = await openToRaw(t);
  const running = echo(association);
  await peer.next();
  peer.send(wire.echoRequest(77));
  const pdu = await peer.next();
  assert.ok(pdu?.type === 'P-DATA-TF');
  const answer = readCommand(Buffer.concat(pdu.values[0]?.slices ?? []));
  assert.deepEqual([answer.MessageIDBeingRespondedTo, answer.Status], [77, 0x0211]);
  peer.send(echoResponse(1));
  assert.equal(await running, 0);
  abort(association);
});

test('PS3.8-9.2.1-mutated: mutated answers of an acceptor end in a result or a Refusal, never in a crash or a hang', async (t) => {
  const answers = [wire.acceptAll(wire.REQUEST), echoResponse(1), wire.RELEASE_RESPONSE];
  const state = { answers };
  const server = createServer((socket) => {
    const left = [...state.answers];
    socket.on('error', () => undefined);
    socket.on('data', () => socket.write(left.shift() ?? Buffer.alloc(0)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const outcomes = { done: 0, refused: 0 };
  const talk = async (): Promise<void> => {
    const association = await open(port, { idleMs: 60, artimMs: 60 });
    try {
      assert.equal(typeof (await echo(association)), 'number');
      await release(association);
    } finally {
      abort(association);
    }
  };
  const mutation = fc.record({
    part: fc.nat(2),
    at: fc.nat(300),
    to: fc.integer({ min: 0, max: 255 }),
    cut: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
      state.answers = answers.map((answer) => Buffer.from(answer));
      for (const { part, at, to, cut } of mutations) {
        const bytes = state.answers[part] ?? assert.fail();
        const place = at % bytes.length;
        if (cut)
          state.answers[part] = Buffer.concat([
            bytes.subarray(0, place),
            bytes.subarray(place + (to % 8) + 1),
            Buffer.alloc(8, to),
          ]);
        else bytes[place] = to;
      }
      await talk().then(
        () => outcomes.done++,
        (error: unknown) => {
          assert.ok(error instanceof Refusal && error.reason === 'DeliveryFailed', String(error));
          outcomes.refused++;
        },
      );
    }),
    { seed: 5, numRuns: 150 },
  );
  // Both must happen, or the mutations are not what they claim to be.
  assert.ok(outcomes.done > 10 && outcomes.refused > 10, JSON.stringify(outcomes));
});

test('a small object and its command travel in one write', async (t) => {
  const { association, peer } = await openToRaw(t);
  const chunk = once(peer.socket, 'data') as Promise<[Buffer]>;
  const running = store(association, syntheticObject(8));
  const [bytes] = await chunk;
  const first = 6 + bytes.readUInt32BE(2);
  assert.equal(bytes.length, first + 6 + bytes.readUInt32BE(first + 2));
  abort(association);
  await assert.rejects(running, NOT_DELIVERED);
});
