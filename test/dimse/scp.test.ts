/** The provider against peers made of bytes: orderly, impatient, wrong, hostile and vanishing ones. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import fc from 'fast-check';
import { Refusal } from '../../src/dicom/refusal.ts';
import { readCommand } from '../../src/dimse/command.ts';
import type { AssociateRequest } from '../../src/dimse/association-items.ts';
import type { Pdu } from '../../src/dimse/pdu.ts';
import { startScp } from '../../src/dimse/scp.ts';
import type { ScpHandlers, ScpOptions } from '../../src/dimse/scp.ts';
import { RawPeer, sha256, startHashingScp } from './peers.ts';
import * as wire from './wire.ts';

/** Long enough not to matter, short enough that a test which waits for it ends. */
const NEVER = 20_000;

async function join(t: TestContext, port: number, changes: Partial<AssociateRequest> = {}): Promise<RawPeer> {
  const peer = await RawPeer.connect(t, port);
  peer.send(wire.associate(changes));
  assert.equal((await peer.next())?.type, 'A-ASSOCIATE-AC');
  return peer;
}

function start(
  t: TestContext,
  options: Partial<ScpOptions> = {},
  handlers: Partial<ScpHandlers> = {},
): ReturnType<typeof startHashingScp> {
  return startHashingScp(t, { artimMs: NEVER, idleMs: NEVER, ...options }, handlers);
}

async function response(
  peer: RawPeer,
): Promise<{ messageId: number | undefined; status: number | undefined; field: number }> {
  const pdu = await peer.next();
  assert.ok(pdu?.type === 'P-DATA-TF', pdu?.type ?? 'the connection was closed');
  const value = pdu.values[0];
  assert.ok(value?.isCommand && value.isLast);
  const command = readCommand(Buffer.concat(value.slices));
  return { messageId: command.MessageIDBeingRespondedTo, status: command.Status, field: command.CommandField };
}

function abortOf(pdu: Pdu | undefined): unknown {
  return pdu?.type === 'A-ABORT' ? pdu.abort : pdu?.type;
}

test('PS3.8-9.3.4-reject: what cannot be accepted is rejected with the result, source and reason of PS3.8 Table 9-21', async (t) => {
  const { port } = await start(t, { callingAEs: ['RAW', 'OTHER'] });
  const cases: [Partial<AssociateRequest>, unknown][] = [
    [{ protocolVersion: 2 }, { result: 1, source: 2, reason: 2 }],
    [{ applicationContext: '1.2.3' }, { result: 1, source: 1, reason: 2 }],
    [{ applicationContext: '' }, { result: 1, source: 1, reason: 2 }],
    [{ calledAE: 'NOBODY' }, { result: 1, source: 1, reason: 7 }],
    [{ calledAE: '' }, { result: 1, source: 1, reason: 7 }],
    [{ callingAE: 'STRANGER' }, { result: 1, source: 1, reason: 3 }],
    [{ callingAE: 'RAW\n' }, { result: 1, source: 1, reason: 3 }],
    [{ user: { ...wire.REQUEST.user, maxPduLength: 7 } }, { result: 1, source: 1, reason: 1 }],
  ];
  for (const [changes, expected] of cases) {
    const peer = await RawPeer.connect(t, port);
    peer.send(wire.associate(changes));
    const pdu = await peer.next();
    assert.deepEqual(pdu?.type === 'A-ASSOCIATE-RJ' && pdu.reject, expected);
  }
});

test('a rejection is an event with address and titles, but no title that is none', async (t) => {
  const { port, events } = await start(t, { callingAEs: ['RAW'] });
  for (const callingAE of ['STRANGER', 'RAW\n']) {
    const peer = await RawPeer.connect(t, port);
    peer.send(wire.associate({ callingAE }));
    await peer.next();
  }
  const facts = { remoteAddress: '127.0.0.1', calledAE: 'ISTHMUS', sentence: 'result 1, source 1, reason 3' };
  assert.deepEqual(events, [
    ['association-rejected', { ...facts, callingAE: 'STRANGER' }],
    ['association-rejected', { ...facts, callingAE: '' }],
  ]);
});

test('titles and lengths that cannot be are refused before the port is opened', async () => {
  const base = { host: '127.0.0.1', port: 0, aeTitle: 'ISTHMUS' };
  const handlers = { store: () => Promise.resolve(0) };
  for (const changes of [
    { aeTitle: '' },
    { aeTitle: 'SEVENTEEN_LETTERS' },
    { calledAEs: ['A\\B'] },
    { maxPduLength: 10 },
  ]) {
    await assert.rejects(startScp({ ...base, ...changes }, handlers), { reason: 'BadConfiguration' });
  }
});

test('other called titles are answered where they are configured', async (t) => {
  for (const calledAEs of [['SECOND'], ['*']]) {
    const { port } = await start(t, { calledAEs });
    await join(t, port, { calledAE: 'SECOND' });
    await join(t, port);
  }
});

test('PS3.8-9.3.4-transient: one association too many is rejected as transient, and accepted when another has ended', async (t) => {
  const { port } = await start(t, { maxAssociations: 2 });
  const first = await join(t, port);
  await join(t, port);
  const third = await RawPeer.connect(t, port);
  third.send(wire.associate());
  assert.deepEqual(await third.next(), { type: 'A-ASSOCIATE-RJ', reject: { result: 2, source: 3, reason: 2 } });
  first.send(wire.RELEASE);
  assert.equal((await first.next())?.type, 'A-RELEASE-RP');
  await join(t, port);
});

test('PS3.8-9.3.3.2-contexts: contexts are answered one by one, and identity, roles and windows do not disturb', async (t) => {
  const { port } = await start(t, { moreSopClasses: ['1.3.6.1.4.1.9999.1'] });
  const peer = await RawPeer.connect(t, port);
  const ct = '1.2.840.10008.5.1.4.1.1.2';
  peer.send(
    wire.associate({
      contexts: [
        { id: 1, abstractSyntax: '1.2.840.10008.5.1.4.1.2.2.1', transferSyntaxUIDs: ['1.2.840.10008.1.2'] },
        { id: 3, abstractSyntax: ct, transferSyntaxUIDs: ['1.2.840.10008.1.2', '1.2.840.10008.1.2.1'] },
        { id: 5, abstractSyntax: ct, transferSyntaxUIDs: ['1.2.3'] },
        { id: 7, abstractSyntax: '1.3.6.1.4.1.9999.1', transferSyntaxUIDs: ['1.2.840.10008.1.2'] },
        { id: 9, abstractSyntax: '1.3.6.1.4.1.9999.2', transferSyntaxUIDs: ['1.2.840.10008.1.2'] },
        { id: 11, abstractSyntax: ct, transferSyntaxUIDs: [] },
      ],
      user: {
        ...wire.REQUEST.user,
        asyncOperations: { invoked: 0, performed: 0 },
        roles: [{ sopClassUID: ct, scu: true, scp: true }],
      },
    }),
  );
  const pdu = await peer.next();
  assert.ok(pdu?.type === 'A-ASSOCIATE-AC');
  const answers = pdu.accept.contexts.map(({ id, result, transferSyntaxUID }) => [id, result, transferSyntaxUID]);
  assert.deepEqual(answers, [
    [1, 3, ''],
    [3, 0, '1.2.840.10008.1.2.1'],
    [5, 4, ''],
    [7, 0, '1.2.840.10008.1.2'],
    [9, 3, ''],
    [11, 4, ''],
  ]);
  assert.equal(pdu.accept.user.asyncOperations, undefined);
  assert.deepEqual(pdu.accept.user.roles, [{ sopClassUID: ct, scu: true, scp: false }]);
  assert.equal(pdu.accept.user.maxPduLength, 131_072);
});

test('PS3.7-D.3.3.3-window: requests that come before the answer to the last are served in order, in one stream of bytes', async (t) => {
  const { port, received } = await start(t);
  const peer = await join(t, port);
  const bytes = Buffer.alloc(40_000, 7);
  const last = { isLast: true };
  peer.send(
    Buffer.concat([
      wire.echoRequest(1),
      wire.storeRequest(2),
      wire.fragment(wire.CT_CONTEXT, bytes.subarray(0, 30_000)),
      wire.fragment(wire.CT_CONTEXT, bytes.subarray(30_000), last),
      wire.storeRequest(3),
      wire.fragment(wire.CT_CONTEXT, bytes, last),
      wire.echoRequest(4),
      wire.RELEASE,
    ]),
  );
  for (const messageId of [1, 2, 3, 4]) {
    const answer = await response(peer);
    assert.deepEqual([answer.messageId, answer.status], [messageId, 0]);
  }
  assert.equal((await peer.next())?.type, 'A-RELEASE-RP');
  assert.deepEqual(
    received.map(({ sha256: hash }) => hash),
    [sha256(bytes), sha256(bytes)],
  );
});

test('an empty data set is stored as one', async (t) => {
  const { port, received } = await start(t);
  const peer = await join(t, port);
  peer.send(wire.storeRequest(1), wire.fragment(wire.CT_CONTEXT, Buffer.alloc(0), { isLast: true }));
  assert.equal((await response(peer)).status, 0);
  assert.equal(received[0]?.lengthBytes, 0);
});

test('a response travels in one segment', async (t) => {
  const { port } = await start(t);
  const peer = await join(t, port);
  const chunk = new Promise<Buffer>((resolve) => peer.socket.once('data', resolve));
  peer.send(wire.storeRequest(1), wire.fragment(wire.CT_CONTEXT, Buffer.alloc(10), { isLast: true }));
  const bytes = await chunk;
  assert.equal(bytes.length, 6 + bytes.readUInt32BE(2));
});

test('PS3.4-B.2.3-statuses: the status of the handler is answered, an error becomes 0x0110, a Refusal its own, and the association lives on', async (t) => {
  const answers: (() => Promise<number>)[] = [
    () => Promise.resolve(0xb000),
    () => Promise.reject(new Error('broken')),
    () => Promise.reject(new Refusal('OutOfResources', 'the disk is full')),
    () => Promise.resolve(0),
  ];
  const { port } = await start(t, {}, { store: () => (answers.shift() ?? assert.fail)() });
  const peer = await join(t, port);
  for (const [messageId, status] of [0xb000, 0x0110, 0xa700, 0].entries()) {
    // None of the handlers reads the data set: what is sent must still be drained, however long.
    peer.send(wire.storeRequest(messageId + 1));
    for (let sent = 0; sent < 40; sent++) peer.send(wire.fragment(wire.CT_CONTEXT, Buffer.alloc(100_000)));
    peer.send(wire.fragment(wire.CT_CONTEXT, Buffer.alloc(2), { isLast: true }));
    assert.deepEqual(await response(peer), { messageId: messageId + 1, status, field: 0x8001 });
  }
});

test('a handler that stops reading early gets its answer out, after the whole data set has come', async (t) => {
  const store: ScpHandlers['store'] = async ({ dataSet }) => {
    for await (const chunk of dataSet) return chunk.length > 0 ? 0xa900 : 0;
    return 0;
  };
  const { port } = await start(t, {}, { store });
  const peer = await join(t, port);
  peer.send(wire.storeRequest(1));
  for (let sent = 0; sent < 60; sent++) peer.send(wire.fragment(wire.CT_CONTEXT, Buffer.alloc(100_000)));
  peer.send(wire.fragment(wire.CT_CONTEXT, Buffer.alloc(2), { isLast: true }), wire.echoRequest(2));
  assert.equal((await response(peer)).status, 0xa900);
  assert.equal((await response(peer)).messageId, 2);
});

test('PS3.7-C.5-statuses: requests that make no sense are answered with the status that says why', async (t) => {
  const { port, received } = await start(t);
  const peer = await join(t, port);
  const data = wire.fragment(wire.CT_CONTEXT, Buffer.alloc(10), { isLast: true });
  const cases: [Buffer[], number][] = [
    [[wire.storeRequest(1, { AffectedSOPInstanceUID: '../../etc/passwd' }), data], 0x0106],
    [[wire.storeRequest(1, { AffectedSOPInstanceUID: `1.${'2'.repeat(70)}` }), data], 0x0106],
    [[wire.storeRequest(1, { AffectedSOPInstanceUID: '1..2' }), data], 0x0106],
    [[wire.storeRequest(1, { AffectedSOPClassUID: '1.2.840.10008.5.1.4.1.1.4' }), data], 0x0122],
    [[wire.storeRequest(1, { CommandDataSetType: 0x0101 })], 0xc000],
    [[wire.storeRequest(1, { CommandField: 0x0020 }), data], 0x0211],
    [[wire.command(wire.CT_CONTEXT, { CommandField: 1, CommandDataSetType: 0, MessageID: 1 }), data], 0x0120],
  ];
  for (const [bytes, status] of cases) {
    peer.send(...bytes);
    assert.equal((await response(peer)).status, status);
  }
  // A cancel is no request: nothing answers it.
  peer.send(
    wire.command(wire.CT_CONTEXT, { CommandField: 0x0fff, CommandDataSetType: 0x0101, MessageIDBeingRespondedTo: 1 }),
  );
  peer.send(wire.echoRequest(9));
  assert.equal((await response(peer)).messageId, 9);
  assert.equal(received.length, 0);
});

const VIOLATIONS: [string, Buffer[], unknown][] = [
  ['a PDU longer than we offer', [Buffer.from('040000020001', 'hex')], { source: 2, reason: 6 }],
  ['a PDU of unknown type', [Buffer.from('090000000000', 'hex')], { source: 2, reason: 1 }],
  ['a second A-ASSOCIATE-RQ', [wire.associate()], { source: 2, reason: 2 }],
  ['an A-RELEASE-RP out of the blue', [wire.RELEASE_RESPONSE], { source: 2, reason: 2 }],
  [
    'a context that was not accepted',
    [wire.fragment(77, Buffer.alloc(4), { isCommand: true })],
    { source: 2, reason: 6 },
  ],
  ['a data set without a command', [wire.fragment(wire.CT_CONTEXT, Buffer.alloc(4))], { source: 2, reason: 5 }],
  ['a command inside a data set', [wire.storeRequest(1), wire.storeRequest(2)], { source: 2, reason: 5 }],
  [
    'a message that changes its context',
    [wire.storeRequest(1), wire.fragment(wire.VERIFICATION_CONTEXT, Buffer.alloc(4))],
    { source: 2, reason: 5 },
  ],
  [
    'a command that is none',
    [wire.fragment(wire.CT_CONTEXT, Buffer.alloc(9, 1), { isCommand: true, isLast: true })],
    { source: 2, reason: 6 },
  ],
  [
    'an endless command',
    [wire.fragment(wire.CT_CONTEXT, Buffer.alloc(20_000), { isCommand: true })],
    { source: 2, reason: 5 },
  ],
];

for (const [name, bytes, expected] of VIOLATIONS) {
  test(`${name} ends in an A-ABORT that says so, and the next association is served`, async (t) => {
    const ways: string[] = [];
    const { port } = await start(t, { artimMs: 100 }, { closed: (_association, how) => void ways.push(how) });
    const peer = await join(t, port);
    peer.send(...bytes);
    assert.deepEqual(abortOf(await peer.next()), expected);
    await peer.closed();
    const next = await join(t, port);
    next.send(wire.echoRequest(1));
    assert.equal((await response(next)).status, 0);
    assert.deepEqual(ways, ['aborted']);
  });
}

test('PS3.8-9.2.2-garbage: garbage instead of an A-ASSOCIATE-RQ is aborted and the connection closed', async (t) => {
  const { port } = await start(t, { artimMs: 100 });
  for (const garbage of [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.alloc(100_000, 0xff),
    wire.RELEASE,
    wire.echoRequest(1),
  ]) {
    const peer = await RawPeer.connect(t, port);
    peer.send(garbage);
    assert.deepEqual(abortOf(await peer.next()), { source: 0, reason: 0 });
    await peer.closed();
  }
});

test('PS3.8-9.1.5-artim: connections that never ask, or ask byte by byte, are closed when ARTIM expires', async (t) => {
  const { port } = await start(t, { artimMs: 150 });
  const silent = await RawPeer.connect(t, port);
  const slow = await RawPeer.connect(t, port);
  const request = wire.associate();
  let sent = 0;
  const trickle = setInterval(() => slow.send(request.subarray(sent, ++sent)), 10);
  t.after(() => clearInterval(trickle));
  await Promise.all([silent.closed(), slow.closed()]);
  assert.ok(sent < request.length);
});

test('PS3.8-9.1.5-idle: an association that rests, or trickles one PDU for ever, is aborted after the idle time', async (t) => {
  const { port } = await start(t, { idleMs: 150, artimMs: 100 });
  const silent = await join(t, port);
  const slow = await join(t, port);
  slow.send(Buffer.from('040000010000', 'hex'));
  const trickle = setInterval(() => slow.send(Buffer.alloc(1)), 10);
  t.after(() => clearInterval(trickle));
  for (const peer of [silent, slow]) {
    assert.deepEqual(abortOf(await peer.next()), { source: 0, reason: 0 });
    await peer.closed();
  }
});

test('PS3.8-9.2.2-aborted: a peer that talks on after it was aborted is not heard, and is cut off when ARTIM expires', async (t) => {
  const { port, received } = await start(t, { idleMs: 50, artimMs: 300 });
  const peer = await join(t, port);
  assert.deepEqual(abortOf(await peer.next()), { source: 0, reason: 0 });
  const store = Buffer.concat([
    wire.storeRequest(1),
    wire.fragment(wire.CT_CONTEXT, Buffer.alloc(10), { isLast: true }),
  ]);
  const talk = setInterval(() => peer.send(store), 10);
  t.after(() => clearInterval(talk));
  assert.equal(await peer.next(), undefined);
  assert.equal(received.length, 0);
});

test('a slow handler is not an idle peer', async (t) => {
  const store = (): Promise<number> => new Promise((resolve) => setTimeout(() => resolve(0), 600));
  const { port } = await start(t, { idleMs: 100 }, { store });
  const peer = await join(t, port);
  peer.send(wire.storeRequest(1), wire.fragment(wire.CT_CONTEXT, Buffer.alloc(10), { isLast: true }));
  assert.equal((await response(peer)).status, 0);
});

for (const [name, leave] of [
  ['vanishes', (peer: RawPeer) => peer.socket.destroy()],
  ['resets the connection', (peer: RawPeer) => peer.socket.resetAndDestroy()],
  ['aborts', (peer: RawPeer) => peer.send(wire.ABORT)],
  ['releases', (peer: RawPeer) => peer.send(wire.RELEASE)],
] as const) {
  test(`a peer that ${name} inside an object: the handler learns that it is not whole, and closed comes after it`, async (t) => {
    const order: string[] = [];
    let settled: (() => void) | undefined;
    const over = new Promise<void>((resolve) => (settled = resolve));
    const store: ScpHandlers['store'] = async ({ dataSet }) => {
      let lengthBytes = 0;
      try {
        for await (const chunk of dataSet) {
          lengthBytes += chunk.length;
          order.push('begun');
          leave(peer);
        }
        order.push('whole');
      } catch {
        order.push(`broken after ${lengthBytes}`);
      }
      return 0;
    };
    const closed: ScpHandlers['closed'] = (_association, how) => {
      order.push(how);
      settled?.();
    };
    const { port } = await start(t, {}, { store, closed });
    const peer = await join(t, port);
    peer.send(wire.storeRequest(1), wire.fragment(wire.CT_CONTEXT, Buffer.alloc(100)));
    await over;
    assert.deepEqual(order, ['begun', 'broken after 100', name === 'releases' ? 'released' : 'aborted']);
    assert.equal((await join(t, port)).isClosed, false);
  });
}

test('PS3.8-9.3.5-pressure: a reader that rests makes the sender rest, and nothing is lost', async (t) => {
  const gate: { open?: () => void } = {};
  const opened = new Promise<void>((resolve) => (gate.open = resolve));
  const sums: string[] = [];
  const store: ScpHandlers['store'] = async ({ dataSet }) => {
    await opened;
    const chunks: Buffer[] = [];
    for await (const chunk of dataSet) chunks.push(chunk);
    sums.push(sha256(Buffer.concat(chunks)));
    return 0;
  };
  const { port } = await start(t, {}, { store });
  const peer = await join(t, port);
  const bytes = Buffer.alloc(64 * 1024 * 1024);
  for (let offset = 0; offset < bytes.length; offset += 4) bytes.writeUInt32LE(offset, offset);
  peer.send(wire.storeRequest(1));
  for (let offset = 0; offset < bytes.length; offset += 65_536) {
    const isLast = offset + 65_536 === bytes.length;
    peer.send(wire.fragment(wire.CT_CONTEXT, bytes.subarray(offset, offset + 65_536), { isLast }));
  }
  // What the kernel holds for the two sockets is a few MB; a gateway without backpressure would have taken all 64.
  let before = -1;
  while (peer.socket.writableLength !== before) {
    before = peer.socket.writableLength;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  assert.ok(before > 32 * 1024 * 1024, `${before} bytes are still with the sender`);
  gate.open?.();
  assert.equal((await response(peer)).status, 0);
  assert.deepEqual(sums, [sha256(bytes)]);
});

test('PS3.8-7.2-close: close lets a running store finish and answer, then aborts; resting associations are aborted at once', async (t) => {
  const gate: { open?: () => void } = {};
  const store = (): Promise<number> => new Promise((resolve) => (gate.open = () => resolve(0)));
  const { port, scp } = await start(t, { closeMs: NEVER }, { store });
  const resting = await join(t, port);
  const busy = await join(t, port);
  busy.send(wire.storeRequest(1), wire.fragment(wire.CT_CONTEXT, Buffer.alloc(10), { isLast: true }));
  while (gate.open === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  const closing = scp.close();
  assert.deepEqual(abortOf(await resting.next()), { source: 0, reason: 0 });
  resting.socket.destroy();
  gate.open();
  assert.equal((await response(busy)).status, 0);
  assert.deepEqual(abortOf(await busy.next()), { source: 0, reason: 0 });
  busy.socket.destroy();
  await closing;
});

test('close does not wait for a handler that never ends, nor for a peer that never leaves', async (t) => {
  const { port, scp } = await start(t, { closeMs: 100 }, { store: () => new Promise(() => undefined) });
  const busy = await join(t, port);
  const silent = await RawPeer.connect(t, port);
  busy.send(wire.storeRequest(1), wire.fragment(wire.CT_CONTEXT, Buffer.alloc(10), { isLast: true }));
  await scp.close();
  await Promise.all([busy.closed(), silent.closed()]);
});

test('events carry names, ids and numbers, and nothing of the object', async (t) => {
  const { port, events } = await start(t);
  const peer = await join(t, port);
  peer.send(wire.storeRequest(5), wire.fragment(wire.CT_CONTEXT, Buffer.from('Doe^John'), { isLast: true }));
  await response(peer);
  peer.send(wire.RELEASE);
  await peer.next();
  while (events.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(
    events.map(([name]) => name),
    ['association-accepted', 'stored', 'association-released'],
  );
  assert.deepEqual(
    { ...events[1]?.[1], association: '' },
    { association: '', messageId: 5, status: 0, lengthBytes: 8 },
  );
  const { stored, notStored } = events[2]?.[1] ?? {};
  assert.deepEqual([stored, notStored], [1, 0]);
  assert.doesNotMatch(JSON.stringify(events), /Doe|2\.25\.5/);
});

test('PS3.8-9.2.2-mutated: mutated conversations never crash, hang or fill the provider', async (t) => {
  const { port } = await start(t, { artimMs: 200, idleMs: 200, maxAssociations: 64 });
  const talk = Buffer.concat([
    wire.associate(),
    wire.echoRequest(1),
    wire.storeRequest(2),
    wire.fragment(wire.CT_CONTEXT, Buffer.alloc(3000, 1)),
    wire.fragment(wire.CT_CONTEXT, Buffer.alloc(3000, 2), { isLast: true }),
    wire.RELEASE,
  ]);
  const mutation = fc.record({ at: fc.nat(talk.length - 1), to: fc.integer({ min: 0, max: 255 }), how: fc.nat(3) });
  const conversation = async (mutations: readonly { at: number; to: number; how: number }[]): Promise<void> => {
    let bytes = Buffer.from(talk);
    for (const { at, to, how } of mutations) {
      const place = at % Math.max(1, bytes.length);
      if (how === 0) bytes = Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + to)]);
      else if (how === 1)
        bytes = Buffer.concat([bytes.subarray(0, place), Buffer.alloc(to, to), bytes.subarray(place)]);
      // Most of the grammar lies in the first bytes.
      else bytes[how === 2 ? place % 300 : place] = to;
    }
    const peer = await RawPeer.connect(t, port);
    peer.send(bytes);
    peer.socket.end();
    await peer.closed();
  };
  await fc.assert(fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 5 }), conversation), {
    seed: 11,
    numRuns: 600,
  });
  const peer = await join(t, port);
  peer.send(wire.echoRequest(1));
  assert.equal((await response(peer)).status, 0);
});
