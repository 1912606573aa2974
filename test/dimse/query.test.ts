/** Query and retrieve on the wire, against dcmtk both ways and against peers made of bytes. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { asciiValue, type DataSet } from '../../src/dicom/data-set.ts';
import { implicitDataSet } from '../../src/dicom/implicit-vr.ts';
import { readDataSet } from '../../src/dicom/reader.ts';
import { openSink, sinkBytes, writeText } from '../../src/dicom/writer.ts';
import { CommandField, NO_DATA_SET, readCommand, type Command } from '../../src/dimse/command.ts';
import type {
  FindRequest,
  FoundMatch,
  RetrieveRequest,
  RetrievedObject,
  ScpHandlers,
} from '../../src/dimse/handlers.ts';
import {
  openAssociation,
  release,
  store,
  type Association,
  type ProposedClass,
  type Serve,
} from '../../src/dimse/scu.ts';
import { find, get, move } from '../../src/dimse/scu-query.ts';
import { queryClassUID } from '../../src/dimse/sop-classes.ts';
import { freePort, until } from '../peers/ports.ts';
import {
  CT_IMAGE,
  EXPLICIT_LE,
  IMPLICIT_LE,
  RawPeer,
  dataSetOffset,
  encapsulatedObject,
  runPeer,
  scratch,
  sha256,
  startHashingScp,
  startStorescp,
  syntheticObject,
  withoutDcmtk,
  type SyntheticObject,
} from './peers.ts';
import * as wire from './wire.ts';

const skip = withoutDcmtk();
const STUDY_FIND = queryClassUID('study', 'find');
const NEVER = 20_000;

function dataSet(values: Readonly<Record<number, string>>): DataSet {
  const sink = openSink();
  for (const [tag, value] of Object.entries(values)) writeText(sink, Number(tag), 'LO', value);
  const bytes = sinkBytes(sink);
  return readDataSet(bytes, 0, bytes.length, 'explicit-le', { complete: true }).dataSet;
}

function matchNumber(index: number): FoundMatch {
  const uid = `2.25.${index + 1}`;
  const identifier = dataSet({ 0x00080052: 'STUDY', 0x00100020: `PSEUDONYM${index}`, 0x0020000d: uid });
  return { identifier, keysUnsupported: index % 2 === 1 };
}

interface Archive {
  readonly port: number;
  readonly asked: (FindRequest | RetrieveRequest)[];
  /** How many matches were asked for. */
  readonly given: () => number;
  readonly ended: () => number;
}

/** An SCP whose handlers answer from lists. */
async function startArchive(
  t: TestContext,
  { found = 0, objects = [], receiver }: { found?: number; objects?: SyntheticObject[]; receiver?: number },
  handlers: Partial<ScpHandlers> = {},
): Promise<Archive> {
  const asked: (FindRequest | RetrieveRequest)[] = [];
  let given = 0;
  let ended = 0;
  const { port } = await startHashingScp(
    t,
    { artimMs: NEVER, idleMs: NEVER },
    {
      async *find(request) {
        asked.push(request);
        try {
          for (let index = 0; index < found; index++) {
            given++;
            yield await Promise.resolve(matchNumber(index));
          }
        } finally {
          ended++;
        }
      },
      retrieve(request) {
        asked.push(request);
        const destination =
          request.destinationAE === 'RECEIVER' && receiver !== undefined
            ? { host: '127.0.0.1', port: receiver, aeTitle: 'RECEIVER' }
            : undefined;
        return Promise.resolve({ objects: objects.map(retrieved), destination });
      },
      ...handlers,
    },
  );
  return { port, asked, given: () => given, ended: () => ended };
}

function retrieved(object: SyntheticObject): RetrievedObject {
  const isPlain = object.transferSyntaxUID === EXPLICIT_LE;
  return {
    sopClassUID: object.sopClassUID,
    sopInstanceUID: object.sopInstanceUID,
    transferSyntaxUIDs: isPlain ? [EXPLICIT_LE, IMPLICIT_LE] : [object.transferSyntaxUID],
    dataSet(transferSyntaxUID) {
      if (transferSyntaxUID === object.transferSyntaxUID) return Promise.resolve(object.dataSet);
      const { length } = object.dataSet;
      const read = readDataSet(object.dataSet, 0, length, 'explicit-le', { complete: true });
      return Promise.resolve(implicitDataSet(read.dataSet));
    },
  };
}

function open(port: number, contexts: ProposedClass[], serve?: Serve): Promise<Association> {
  return openAssociation({
    host: '127.0.0.1',
    port,
    callingAE: 'VIEWER',
    calledAE: 'ISTHMUS',
    contexts,
    ...(serve === undefined ? {} : { serve }),
  });
}

const KEYS = ['-k', 'QueryRetrieveLevel=STUDY', '-k', 'StudyInstanceUID', '-k', 'PatientID=A*'];

for (const [option, root] of [
  ['-S', 'study'],
  ['-P', 'patient'],
] as const)
  for (const syntax of ['-x=', '-xi'])
    test(`findscu ${option} ${syntax} is given every match`, { skip }, async (t) => {
      const { port, asked } = await startArchive(t, { found: 7 });
      const folder = scratch(t);
      const args = [option, syntax, '-v', '-X', '-od', folder, '-aec', 'ISTHMUS', '127.0.0.1', String(port), ...KEYS];
      const { code, output } = await runPeer('findscu', args);
      assert.equal(code, 0, output);
      assert.equal(asked[0]?.root, root);
      assert.equal(asked[0]?.identifier.encoding, syntax === '-xi' ? 'implicit-le' : 'explicit-le');
      assert.ok(asked[0] !== undefined && asciiValue(asked[0].identifier, 0x00100020) === 'A*');
      assert.equal(readdirSync(folder).length, 7);
      for (const [index, name] of readdirSync(folder).sort().entries()) {
        assert.ok(readFileSync(join(folder, name)).includes(`PSEUDONYM${index}`));
      }
      assert.match(output, /Received Final Find Response \(Success\)/);
    });

test('CFIND-3: findscu cancels after some matches and hears that it was canceled', { skip }, async (t) => {
  const { port, given, ended } = await startArchive(t, { found: 20_000 });
  const args = ['-S', '-v', '--cancel', '3', '-aec', 'ISTHMUS', '127.0.0.1', String(port), ...KEYS];
  const { code, output } = await runPeer('findscu', args);
  assert.equal(code, 0, output);
  assert.match(output, /Cancel|0xfe00/i);
  assert.ok(given() < 20_000, `${given()} matches were made`);
  assert.equal(ended(), 1);
});

test('CFIND-4: matches are made no faster than the peer takes them', async (t) => {
  const { port, given } = await startArchive(t, { found: 200_000 });
  const peer = await RawPeer.connect(t, port);
  peer.send(findAssociation());
  assert.equal((await peer.next())?.type, 'A-ASSOCIATE-AC');
  peer.socket.pause();
  peer.send(...findRequest(1));
  let before = -1;
  await until(
    'the matches to stop',
    () => {
      const isStill = given() > 0 && given() === before;
      before = given();
      return isStill;
    },
    15_000,
    300,
  );
  assert.ok(given() < 200_000, `${given()} matches for a peer that reads none`);
  peer.socket.resume();
  peer.send(cancel(1));
  for (;;) {
    const status = await nextStatus(peer);
    if (status === 0xff00 || status === 0xff01) continue;
    assert.equal(status, 0xfe00);
    break;
  }
});

test('our SCU reads matches one by one and may cancel the rest', async (t) => {
  const { port } = await startArchive(t, { found: 500 });
  for (const transferSyntaxUID of [EXPLICIT_LE, IMPLICIT_LE]) {
    const association = await open(port, [{ sopClassUID: STUDY_FIND, transferSyntaxUIDs: [transferSyntaxUID] }]);
    const query = { root: 'study', identifier: dataSet({ 0x00080052: 'STUDY' }) } as const;
    const uids: string[] = [];
    const status = await find(association, query, async (match) => {
      await Promise.resolve();
      uids.push(asciiValue(match, 0x0020000d) ?? '');
      return true;
    });
    assert.equal(status, 0);
    assert.deepEqual(
      uids,
      Array.from({ length: 500 }, (_, index) => `2.25.${index + 1}`),
    );
    let taken = 0;
    assert.equal(await find(association, query, () => ++taken < 4), 0xfe00);
    assert.equal(taken, 4);
    await release(association);
  }
});

test('CFIND-5: what is no identifier is A900, what the handler refuses its status, and the association lives on', async (t) => {
  const { port } = await startArchive(t, { found: 1 });
  const peer = await RawPeer.connect(t, port);
  peer.send(findAssociation());
  assert.equal((await peer.next())?.type, 'A-ASSOCIATE-AC');
  peer.send(...findRequest(1, Buffer.from('this is no data set')));
  assert.equal(await nextStatus(peer), 0xa900);
  peer.send(wire.command(1, { ...findCommand(2), CommandDataSetType: NO_DATA_SET }));
  assert.equal(await nextStatus(peer), 0xa900);
  peer.send(...findRequest(3, Buffer.alloc(0), { AffectedSOPClassUID: queryClassUID('patient', 'find') }));
  assert.equal(await nextStatus(peer), 0x0122);
  peer.send(...findRequest(4, Buffer.alloc(0), { CommandField: CommandField['C-GET-RQ'] }));
  assert.equal(await nextStatus(peer), 0x0122);
  peer.send(...findRequest(5, Buffer.alloc(0), { CommandField: 0x0150 }));
  assert.equal(await nextStatus(peer), 0x0211);
  // A cancellation of nothing is no fault (PS3.7 9.3.2.3): it may have crossed the last response.
  peer.send(cancel(5), ...findRequest(6));
  assert.equal(await nextStatus(peer), 0xff00);
  assert.equal(await nextStatus(peer), 0x0000);
});

test('PS3.7-9.1.2-queue: two requests without waiting are served one after another', async (t) => {
  const { port } = await startArchive(t, { found: 1 });
  const peer = await RawPeer.connect(t, port);
  peer.send(findAssociation());
  assert.equal((await peer.next())?.type, 'A-ASSOCIATE-AC');
  peer.send(...findRequest(1), ...findRequest(2), ...findRequest(3));
  for (let message = 1; message <= 3; message++) {
    assert.equal(await nextStatus(peer), 0xff00);
    assert.equal(await nextStatus(peer), 0x0000);
  }
  peer.send(wire.RELEASE);
  assert.equal((await peer.next())?.type, 'A-RELEASE-RP');
});

test('PS3.7-9.1.2-vanish: a peer that vanishes or aborts in the middle of its answers ends the search', async (t) => {
  for (const leave of ['destroy', 'abort', 'release'] as const) {
    const { port, ended } = await startArchive(t, { found: 100_000 });
    const peer = await RawPeer.connect(t, port);
    peer.send(findAssociation());
    assert.equal((await peer.next())?.type, 'A-ASSOCIATE-AC');
    peer.send(...findRequest(1));
    assert.equal(await nextStatus(peer), 0xff00);
    if (leave === 'destroy') peer.socket.destroy();
    else peer.send(leave === 'abort' ? wire.ABORT : wire.RELEASE);
    await until('the search to end', () => ended() === 1, 10_000, 10);
  }
});

test('CMOVE-1: movescu has objects sent to a third node, byte for byte', { skip }, async (t) => {
  const folder = scratch(t);
  const receiver = await startStorescp(t, folder, ['+xa']);
  const objects = [syntheticObject(64), syntheticObject(8), encapsulatedObject('1.2.840.10008.1.2.4.70')];
  const { port, asked } = await startArchive(t, { objects, receiver });
  const args = ['-S', '-v', '-aec', 'ISTHMUS', '-aem', 'RECEIVER', '127.0.0.1', String(port), ...KEYS];
  const { code, output } = await runPeer('movescu', args);
  assert.equal(code, 0, output);
  assert.match(output, /Received Final Move Response \(Success\)/);
  assert.equal((asked[0] as RetrieveRequest).destinationAE, 'RECEIVER');
  assert.deepEqual(hashesIn(folder), objects.map((object) => sha256(object.dataSet)).sort());
});

test('CMOVE-2: a destination that is not known is A801 and nothing is sent', { skip }, async (t) => {
  const folder = scratch(t);
  const receiver = await startStorescp(t, folder);
  const { port } = await startArchive(t, { objects: [syntheticObject(8)], receiver });
  const args = ['-S', '-v', '-aec', 'ISTHMUS', '-aem', 'STRANGER', '127.0.0.1', String(port), ...KEYS];
  const { code, output } = await runPeer('movescu', args);
  assert.notEqual(code, 0);
  assert.match(output, /MoveDestinationUnknown|0xa801/i);
  assert.deepEqual(readdirSync(folder), []);
});

test('CMOVE-3: a destination that takes nothing or only some is told by counts and the list of what failed', async (t) => {
  const objects = [syntheticObject(8), syntheticObject(8), syntheticObject(8)];
  const query = { root: 'study', identifier: dataSet({ 0x00080052: 'STUDY' }) } as const;
  const contexts = [{ sopClassUID: queryClassUID('study', 'move'), transferSyntaxUIDs: [EXPLICIT_LE] }];
  const statuses = [0x0000, 0xb000, 0xa700];
  const some = await startHashingScp(
    t,
    { calledAEs: ['*'] },
    { store: () => Promise.resolve(statuses.shift() ?? 0xa700) },
  );
  const { port } = await startArchive(t, { objects, receiver: some.port });
  const association = await open(port, contexts);
  const outcome = await move(association, query, 'RECEIVER');
  assert.deepEqual(outcome, { status: 0xb000, completed: 1, failed: 1, warnings: 1 });
  const none = await move(association, query, 'RECEIVER');
  assert.deepEqual(none, { status: 0xa702, completed: 0, failed: 3, warnings: 0 });
  await release(association);
  const nobody = await startArchive(t, { objects, receiver: await freePort() });
  const other = await open(nobody.port, contexts);
  assert.equal((await move(other, query, 'RECEIVER')).status, 0xa702);
  await release(other);
});

for (const syntax of [[], ['+xi']])
  test(`getscu ${syntax.join('')} is sent its objects on its own association`, { skip }, async (t) => {
    const folder = scratch(t);
    const objects = [syntheticObject(64), syntheticObject(256), syntheticObject(8)];
    const { port } = await startArchive(t, { objects });
    const args = ['-S', '-v', ...syntax, '-od', folder, '-aec', 'ISTHMUS', '127.0.0.1', String(port), ...KEYS];
    const { code, output } = await runPeer('getscu', [...args, ...(syntax.length === 0 ? ['+B'] : [])]);
    assert.equal(code, 0, output);
    assert.equal(readdirSync(folder).length, 3, output);
    if (syntax.length === 0) assert.deepEqual(hashesIn(folder), objects.map((object) => sha256(object.dataSet)).sort());
    for (const object of objects) assert.ok(readdirSync(folder).some((name) => name.includes(object.sopInstanceUID)));
  });

test('CGET-2: what the peer has not taken the SCP role for fails, object by object', async (t) => {
  const objects = [syntheticObject(8), encapsulatedObject('1.2.840.10008.1.2.4.70'), syntheticObject(16)];
  const { port } = await startArchive(t, { objects });
  const arrived: string[] = [];
  const serve: Serve = async ({ command, dataSet: stream }) => {
    for await (const slice of stream) assert.ok(slice.length > 0);
    arrived.push(command.AffectedSOPInstanceUID ?? '');
    return 0;
  };
  const storage = { sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] };
  const retrieve = { sopClassUID: queryClassUID('study', 'get'), transferSyntaxUIDs: [IMPLICIT_LE] };
  const query = { root: 'study', identifier: dataSet({ 0x00080052: 'STUDY' }) } as const;
  const able = await open(port, [retrieve, { ...storage, asScp: true }], serve);
  assert.deepEqual(await get(able, query), { status: 0xb000, completed: 2, failed: 1, warnings: 0 });
  assert.deepEqual(arrived, [objects[0]?.sopInstanceUID, objects[2]?.sopInstanceUID]);
  await release(able);
  const unable = await open(port, [retrieve, storage], serve);
  assert.deepEqual(await get(unable, query), { status: 0xa702, completed: 0, failed: 3, warnings: 0 });
  await release(unable);
});

test('PS3.4-C.4-scu: our SCU finds, moves and gets at dcmqrscp', { skip }, async (t) => {
  const folder = scratch(t);
  const database = join(folder, 'DB');
  mkdirSync(database);
  const [port, receiver] = [await freePort(), await freePort()];
  const config = join(folder, 'dcmqrscp.cfg');
  writeFileSync(
    config,
    `NetworkTCPPort = ${port}
MaxPDUSize = 16384
MaxAssociations = 4
HostTable BEGIN
receiver = (RECEIVER, 127.0.0.1, ${receiver})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
QR ${database} RW (9, 1024mb) ANY
AETable END
`,
  );
  const child = spawn('dcmqrscp', ['-c', config], { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  const peer = { host: '127.0.0.1', port, callingAE: 'RECEIVER', calledAE: 'QR' };
  const storage = { sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] };
  await until(
    'dcmqrscp to listen',
    () =>
      openAssociation({ ...peer, contexts: [storage] })
        .then(release)
        .then(
          () => true,
          () => false,
        ),
    10_000,
  );
  const objects = [syntheticObject(16), syntheticObject(16)];
  const sender = await openAssociation({ ...peer, contexts: [storage] });
  for (const object of objects) assert.equal(await store(sender, object), 0);
  await release(sender);

  const { received } = await startHashingScp(t, { port: receiver, aeTitle: 'RECEIVER' });
  const got: string[] = [];
  const association = await openAssociation({
    ...peer,
    contexts: [
      ...(['find', 'move', 'get'] as const).map((operation) => ({
        sopClassUID: queryClassUID('study', operation),
        transferSyntaxUIDs: [EXPLICIT_LE, IMPLICIT_LE],
      })),
      { ...storage, asScp: true },
    ],
    async serve({ dataSet: stream }) {
      const slices: Buffer[] = [];
      for await (const slice of stream) slices.push(slice);
      got.push(sha256(Buffer.concat(slices)));
      return 0;
    },
  });
  const identifier = dataSet({ 0x00080052: 'STUDY', 0x00100020: '', 0x0020000d: '2.25.1' });
  const patients: string[] = [];
  const status = await find(association, { root: 'study', identifier }, (match) => {
    patients.push(asciiValue(match, 0x00100020) ?? '');
    return true;
  });
  assert.equal(status, 0);
  assert.deepEqual(patients, ['PHANTOM']);
  assert.equal((await move(association, { root: 'study', identifier }, 'RECEIVER')).completed, 2);
  assert.equal((await get(association, { root: 'study', identifier })).completed, 2);
  await release(association);
  const hashes = objects.map((object) => sha256(object.dataSet)).sort();
  assert.deepEqual(received.map(({ sha256: hash }) => hash).sort(), hashes);
  assert.equal(received[0]?.request.moveOriginatorAE, 'RECEIVER');
  assert.deepEqual(got.sort(), hashes);
});

test('QR-1: Patient/Study Only is not offered, nor any query class without its handler', async (t) => {
  const only = '1.2.840.10008.5.1.4.1.2.3.1';
  const { port } = await startArchive(t, {});
  const association = await open(port, [
    { sopClassUID: STUDY_FIND, transferSyntaxUIDs: [IMPLICIT_LE] },
    { sopClassUID: only, transferSyntaxUIDs: [IMPLICIT_LE] },
  ]);
  assert.deepEqual(
    association.contexts.map(({ sopClassUID }) => sopClassUID),
    [STUDY_FIND],
  );
  await release(association);
  const plain = await startHashingScp(t, { moreSopClasses: ['*'] });
  const classes = ['find', 'move', 'get'] as const;
  const other = await open(
    plain.port,
    classes.map((operation) => ({ sopClassUID: queryClassUID('study', operation), transferSyntaxUIDs: [IMPLICIT_LE] })),
  );
  assert.deepEqual(other.contexts, []);
  await release(other);
});

test('mutated requests are answered or abort the association, and the next association is served', async (t) => {
  const { port } = await startArchive(t, { found: 2, objects: [syntheticObject(4)] });
  const bytes = Buffer.concat([...findRequest(1), cancel(1), ...findRequest(2)]);
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 6 }),
      async (changes) => {
        const mutated = Buffer.from(bytes);
        for (const [at, to] of changes) mutated[at % mutated.length] = to;
        const peer = await RawPeer.connect(t, port);
        peer.send(findAssociation());
        assert.equal((await peer.next())?.type, 'A-ASSOCIATE-AC');
        peer.send(mutated);
        peer.socket.end();
        while ((await peer.next().catch(() => undefined)) !== undefined);
        peer.socket.destroy();
      },
    ),
    { seed: 11, numRuns: 150 },
  );
  const association = await open(port, [{ sopClassUID: STUDY_FIND, transferSyntaxUIDs: [EXPLICIT_LE] }]);
  assert.equal(await find(association, { root: 'study', identifier: dataSet({ 0x00080052: 'STUDY' }) }, () => true), 0);
  await release(association);
});

function hashesIn(folder: string): string[] {
  return readdirSync(folder)
    .map((name) => {
      const file = readFileSync(join(folder, name));
      return sha256(file.subarray(dataSetOffset(file)));
    })
    .sort();
}

function findAssociation(): Buffer {
  return wire.associate({ contexts: [{ id: 1, abstractSyntax: STUDY_FIND, transferSyntaxUIDs: [EXPLICIT_LE] }] });
}

function findCommand(messageId: number): Command {
  return {
    CommandField: CommandField['C-FIND-RQ'],
    AffectedSOPClassUID: STUDY_FIND,
    MessageID: messageId,
    Priority: 0,
    CommandDataSetType: 0,
  };
}

function findRequest(messageId: number, identifier?: Buffer, changes: Partial<Command> = {}): Buffer[] {
  const bytes = identifier ?? dataSet({ 0x00080052: 'STUDY' }).bytes;
  return [wire.command(1, { ...findCommand(messageId), ...changes }), wire.fragment(1, bytes, { isLast: true })];
}

function cancel(messageId: number): Buffer {
  return wire.command(1, {
    CommandField: CommandField['C-CANCEL-RQ'],
    MessageIDBeingRespondedTo: messageId,
    CommandDataSetType: NO_DATA_SET,
  });
}

/** Of the next response; data sets between are passed over. */
async function nextStatus(peer: RawPeer): Promise<number | undefined> {
  for (;;) {
    const pdu = await peer.next();
    assert.ok(pdu?.type === 'P-DATA-TF', pdu?.type ?? 'the connection was closed');
    for (const value of pdu.values) {
      if (value.isCommand) return readCommand(Buffer.concat(value.slices)).Status;
    }
  }
}
