/** The wire against dcmtk, in both directions. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/dicom/refusal.ts';
import { VERIFICATION } from '../../src/dimse/negotiation.ts';
import { echo, openAssociation, release, store } from '../../src/dimse/scu.ts';
import {
  CT_IMAGE,
  EXPLICIT_LE,
  IMPLICIT_LE,
  dataSetOffset,
  encapsulatedObject,
  runPeer,
  scratch,
  sha256,
  startHashingScp,
  startStorescp,
  syntheticObject,
  withoutDcmtk,
  writePart10,
} from './peers.ts';

const skip = withoutDcmtk();

test('PS3.4-A.4-echo: echoscu gets an answer and parts in order', { skip }, async (t) => {
  const ways: string[] = [];
  const { port } = await startHashingScp(t, {}, { closed: (_association, how) => void ways.push(how) });
  const { code, output } = await runPeer('echoscu', ['-v', '-aec', 'ISTHMUS', '127.0.0.1', String(port)]);
  assert.equal(code, 0, output);
  assert.match(output, /Received Echo Response \(Success\)/);
  await untilTrue(() => ways.length === 1);
  assert.deepEqual(ways, ['released']);
});

for (const args of [
  [],
  ['-xi'],
  ['-xb'],
  ['-xe'],
  ['-R'],
  ['-R', '+C'],
  ['-xs'],
  ['-pdu', '4096'],
  ['--max-send-pdu', '4096'],
]) {
  test(`storescu ${args.join(' ')} delivers its files`, { skip }, async (t) => {
    const folder = scratch(t);
    const { port, received } = await startHashingScp(t);
    const objects = [syntheticObject(64), syntheticObject(256), syntheticObject(32)];
    const files = objects.map((object) => writePart10(folder, object));
    const { code, output } = await runPeer('storescu', [
      '-v',
      ...args,
      '-aec',
      'ISTHMUS',
      '127.0.0.1',
      String(port),
      ...files,
    ]);
    assert.equal(code, 0, output);
    assert.deepEqual(
      received.map(({ request }) => request.sopInstanceUID),
      objects.map((object) => object.sopInstanceUID),
    );
    for (const [index, { request, sha256: hash }] of received.entries()) {
      assert.equal(request.sopClassUID, CT_IMAGE);
      if (request.transferSyntaxUID === EXPLICIT_LE)
        assert.equal(hash, sha256(objects[index]?.dataSet ?? Buffer.alloc(0)));
    }
    if (args[0] === '-xi') assert.equal(received[0]?.request.transferSyntaxUID, IMPLICIT_LE);
    else if (args[0] !== '-xb') assert.equal(received[0]?.request.transferSyntaxUID, EXPLICIT_LE);
  });
}

const COMPRESSED: readonly [string, string][] = [
  ['-xs', '1.2.840.10008.1.2.4.70'],
  ['-xy', '1.2.840.10008.1.2.4.50'],
  ['-xx', '1.2.840.10008.1.2.4.51'],
  ['-xv', '1.2.840.10008.1.2.4.90'],
  ['-xw', '1.2.840.10008.1.2.4.91'],
  ['-xt', '1.2.840.10008.1.2.4.80'],
  ['-xu', '1.2.840.10008.1.2.4.81'],
  ['-xr', '1.2.840.10008.1.2.5'],
  ['-xm', '1.2.840.10008.1.2.4.100'],
  ['-xn', '1.2.840.10008.1.2.4.102'],
  ['-x4', '1.2.840.10008.1.2.4.107'],
];

test(
  'PS3.4-B.2.2-compressed: storescu delivers compressed objects as they are, beside uncompressed ones',
  { skip },
  async (t) => {
    const folder = scratch(t);
    const { port, received } = await startHashingScp(t);
    for (const [option, transferSyntaxUID] of COMPRESSED) {
      // With a video syntax dcmtk proposes nothing else.
      const isVideo = Number(transferSyntaxUID.split('.').at(-1)) >= 100;
      const objects = [encapsulatedObject(transferSyntaxUID), ...(isVideo ? [] : [syntheticObject(16)])];
      const files = objects.map((object) => writePart10(folder, object));
      const { code, output } = await runPeer('storescu', [
        option,
        '-R',
        '-aec',
        'ISTHMUS',
        '127.0.0.1',
        String(port),
        ...files,
      ]);
      assert.equal(code, 0, output);
      const arrived = received.splice(0).map(({ request, sha256: hash }) => [request.transferSyntaxUID, hash]);
      assert.deepEqual(
        arrived,
        objects.map((object) => [object.transferSyntaxUID, sha256(object.dataSet)]),
      );
    }
  },
);

test(
  'PS3.4-B.2.1-compressed: our SCU delivers compressed objects to storescp, one context for each syntax of a class',
  { skip },
  async (t) => {
    const folder = scratch(t);
    const port = await startStorescp(t, folder, ['+xa']);
    const objects = COMPRESSED.map(([, transferSyntaxUID]) => encapsulatedObject(transferSyntaxUID));
    const association = await openAssociation({
      host: '127.0.0.1',
      port,
      callingAE: 'ISTHMUS',
      calledAE: 'STORESCP',
      contexts: objects.map(({ sopClassUID, transferSyntaxUID }) => ({
        sopClassUID,
        transferSyntaxUIDs: [transferSyntaxUID],
      })),
    });
    for (const object of objects) assert.equal(await store(association, object), 0);
    await release(association);
    const stored = readdirSync(folder).map((name) => {
      const file = readFileSync(join(folder, name));
      return sha256(file.subarray(dataSetOffset(file)));
    });
    assert.deepEqual(stored.sort(), objects.map(({ dataSet }) => sha256(dataSet)).sort());
  },
);

test('PS3.8-9.3.4-called: an association refused for its called AE says so to the peer', { skip }, async (t) => {
  const { port } = await startHashingScp(t);
  const { code, output } = await runPeer('echoscu', ['-v', '-aec', 'SOMEBODY', '127.0.0.1', String(port)]);
  assert.notEqual(code, 0);
  assert.match(output, /Called AE Title Not Recognized/);
});

test('PS3.8-9.1.2-several: four associations of storescu at once deliver everything', { skip }, async (t) => {
  const folder = scratch(t);
  const { port, received } = await startHashingScp(t);
  const sets = Array.from({ length: 4 }, () => Array.from({ length: 10 }, () => syntheticObject(256)));
  const outcomes = await Promise.all(
    sets.map((set) =>
      runPeer('storescu', [
        '-aec',
        'ISTHMUS',
        '127.0.0.1',
        String(port),
        ...set.map((object) => writePart10(folder, object)),
      ]),
    ),
  );
  for (const { code, output } of outcomes) assert.equal(code, 0, output);
  const hashes = new Map(received.map(({ request, sha256: hash }) => [request.sopInstanceUID, hash]));
  for (const object of sets.flat()) assert.equal(hashes.get(object.sopInstanceUID), sha256(object.dataSet));
  assert.equal(new Set(received.map(({ request }) => request.association.id)).size, 4);
});

test('PS3.4-B.2.1-store: our SCU delivers to storescp byte for byte, at small and large PDUs', { skip }, async (t) => {
  for (const pdu of ['4096', '16384', '131072']) {
    const folder = scratch(t);
    const port = await startStorescp(t, folder, ['-pdu', pdu]);
    const association = await openAssociation({
      host: '127.0.0.1',
      port,
      callingAE: 'ISTHMUS',
      calledAE: 'STORESCP',
      contexts: [
        { sopClassUID: VERIFICATION, transferSyntaxUIDs: [IMPLICIT_LE] },
        { sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] },
      ],
    });
    assert.equal(await echo(association), 0);
    const objects = [syntheticObject(512), syntheticObject(8), syntheticObject(512), syntheticObject(100)];
    const [asBuffer, asChunks, asStream, together] = objects;
    assert.ok(asBuffer && asChunks && asStream && together);
    assert.equal(await store(association, asBuffer), 0);
    assert.equal(await store(association, { ...asChunks, dataSet: chunks(asChunks.dataSet, 7) }), 0);
    const statuses = await Promise.all([
      store(association, { ...asStream, dataSet: streamed(asStream.dataSet) }),
      store(association, together),
    ]);
    assert.deepEqual(statuses, [0, 0]);
    await release(association);
    const files = readdirSync(folder).map((name) => readFileSync(join(folder, name)));
    const stored = files.map((file) => sha256(file.subarray(dataSetOffset(file))));
    assert.deepEqual(stored.sort(), objects.map((object) => sha256(object.dataSet)).sort());
  }
});

test(
  'a store without an accepted context is refused before a byte is sent, naming class and syntax',
  { skip },
  async (t) => {
    const port = await startStorescp(t, scratch(t));
    const contexts = [{ sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] }];
    const association = await openAssociation({ host: '127.0.0.1', port, callingAE: 'A', calledAE: 'B', contexts });
    const object = { ...syntheticObject(8), transferSyntaxUID: '1.2.840.10008.1.2.4.90' };
    await assert.rejects(store(association, object), (error) => {
      assert.ok(error instanceof Refusal && error.reason === 'DeliveryFailed');
      return error.message.includes(CT_IMAGE) && error.message.includes('1.2.840.10008.1.2.4.90');
    });
    await release(association);
  },
);

for (const [option, name] of [
  ['--abort-during', 'in the middle of an object'],
  ['--abort-after', 'after an object'],
] as const) {
  test(`a peer that aborts ${name} fails the store and every later one`, { skip }, async (t) => {
    const port = await startStorescp(t, scratch(t), [option]);
    const contexts = [{ sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] }];
    const association = await openAssociation({ host: '127.0.0.1', port, callingAE: 'A', calledAE: 'B', contexts });
    const failed = { name: 'Refusal', reason: 'DeliveryFailed' };
    await assert.rejects(store(association, syntheticObject(512)), failed);
    await assert.rejects(store(association, syntheticObject(8)), failed);
    await assert.rejects(release(association), failed);
  });
}

function* chunks(bytes: Buffer, size: number): Iterable<Buffer> {
  for (let offset = 0; offset < bytes.length; offset += size) yield bytes.subarray(offset, offset + size);
}

async function* streamed(bytes: Buffer): AsyncIterable<Buffer> {
  for (const chunk of chunks(bytes, 10_000)) {
    await new Promise((resolve) => setImmediate(resolve));
    yield chunk;
  }
}

async function untilTrue(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
