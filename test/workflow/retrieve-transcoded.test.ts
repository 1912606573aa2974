/** C-MOVE and C-GET to peers that do not take an object as it is stored; dcmtk as the peer, gdcm as the judge of pixels. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { storeInstance } from '../../src/archive/instances.ts';
import { encodeFrame } from '../../src/codecs/frames.ts';
import { renamedHead } from '../../src/codecs/head.ts';
import { asciiValue } from '../../src/dicom/data-set.ts';
import type { Deidentified } from '../../src/dicom/object.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { startScp } from '../../src/dimse/scp.ts';
import { queryHandlers } from '../../src/workflow/query-retrieve.ts';
import { storeHandlers } from '../../src/workflow/receive.ts';
import { runPeer, scratch, startStorescp, withoutDcmtk } from '../dimse/peers.ts';
import { makeObject } from '../phantom/objects.ts';
import { greyLayout } from '../phantom/layout.ts';
import { openInFolder } from './opened.ts';
import { samples, withoutSamples } from './sample-files.ts';

const EXPLICIT_LE = '1.2.840.10008.1.2.1';
const IMPLICIT_LE = '1.2.840.10008.1.2';
const JPEG_LS = '1.2.840.10008.1.2.4.80';
const skip = withoutDcmtk();

const FRAMES = [7, 11].map((step) => {
  const frame = Buffer.alloc(31 * 17 * 2);
  for (let at = 0; at < 31 * 17; at++) frame.writeUInt16LE((at * step * 97) % 65_536, 2 * at);
  return frame;
});
const LAYOUT = greyLayout(17, 31);
const COMPRESSED = [JPEG_LS, '1.2.840.10008.1.2.4.90', '1.2.840.10008.1.2.5', '1.2.840.10008.1.2.4.201'];

/** A study of two-frame objects, each compressed in another way, and one that breaks off. */
async function serve(t: TestContext, nodes: string, more: readonly Deidentified[] = []): Promise<number> {
  const { gateway } = await openInFolder(t, { gateway: 'dimse: { viewers: [MOVESCU, GETSCU] }\n', nodes });
  const size = { studyInstanceUID: '2.25.1', rows: 17, columns: 31 };
  for (const [index, transferSyntaxUID] of COMPRESSED.entries()) {
    const fragments = await Promise.all(
      FRAMES.map((bytes) => encodeFrame({ bytes, layout: LAYOUT }, transferSyntaxUID)),
    );
    const ids = { instanceNumber: index + 1, sopInstanceUID: `2.25.1.1.${index + 1}` };
    await storeInstance(
      gateway.archive,
      makeObject({ ...size, ...ids, transferSyntaxUID, fragments, numberOfFrames: 2 }).object,
    );
  }
  const broken = [Buffer.from([0xff, 0xd8, 0xff, 0xf7])];
  const ids = { studyInstanceUID: '2.25.2', sopInstanceUID: '2.25.2.1.1', transferSyntaxUID: JPEG_LS };
  await storeInstance(gateway.archive, makeObject({ ...size, ...ids, fragments: broken }).object);
  for (const object of more) await storeInstance(gateway.archive, object);
  const scp = await startScp(
    { host: '127.0.0.1', port: 0, aeTitle: 'ISTHMUS', closeMs: 100 },
    { ...storeHandlers(gateway), ...queryHandlers(gateway) },
  );
  t.after(() => scp.close());
  return scp.port;
}

const receiver = (port: number): string => `nodes:
  research:
    receives: pseudonyms
    dimse: { aeTitle: RESEARCH, host: 127.0.0.1, port: ${port} }
`;
const asked = (port: number, study: string): string[] => [
  '127.0.0.1',
  String(port),
  '-k',
  'QueryRetrieveLevel=STUDY',
  '-k',
  `StudyInstanceUID=${study}`,
];
const move = (port: number, study: string): ReturnType<typeof runPeer> =>
  runPeer('movescu', ['-S', '-v', '-aec', 'ISTHMUS', '-aem', 'RESEARCH', ...asked(port, study)]);
const arrivedIn = (folder: string): Buffer[] => readdirSync(folder).map((name) => readFileSync(join(folder, name)));

test(
  'CMOVE-6: a receiver of Implicit VR alone gets compressed objects native, the same pixels and UIDs',
  { skip },
  async (t) => {
    const folder = scratch(t);
    const port = await serve(t, receiver(await startStorescp(t, folder, ['+xi'])));
    const moved = await move(port, '2.25.1');
    assert.equal(moved.code, 0, moved.output);
    const arrived = arrivedIn(folder);
    assert.equal(arrived.length, COMPRESSED.length);
    for (const bytes of arrived) {
      const { head, bodyStart } = readHead(bytes);
      assert.equal(head.transferSyntaxUID, IMPLICIT_LE);
      assert.match(asciiValue(head.dataSet, 0x00080018) ?? '', /^2\.25\.1\.1\.[1-4]$/);
      assert.ok(bytes.subarray(bodyStart).equals(Buffer.concat(FRAMES)));
    }
  },
);

test(
  'CMOVE-7: what a receiver takes as it is stored comes so, though it takes other syntaxes too',
  { skip },
  async (t) => {
    const folder = scratch(t);
    const port = await serve(t, receiver(await startStorescp(t, folder, ['+xa'])));
    const moved = await move(port, '2.25.1');
    assert.equal(moved.code, 0, moved.output);
    const syntaxes = new Map(
      arrivedIn(folder).map((bytes) => {
        const { head } = readHead(bytes);
        return [asciiValue(head.dataSet, 0x00080018), head.transferSyntaxUID];
      }),
    );
    assert.equal(syntaxes.size, COMPRESSED.length);
    // HTJ2K is unknown to dcmtk 3.6.7: it is made into something else.
    for (const [index, syntax] of COMPRESSED.slice(0, 3).entries())
      assert.equal(syntaxes.get(`2.25.1.1.${index + 1}`), syntax);
  },
);

test('CMOVE-8: an object that cannot be decoded fails by itself', { skip }, async (t) => {
  const folder = scratch(t);
  const port = await serve(t, receiver(await startStorescp(t, folder, ['+xi'])));
  const moved = await move(port, '2.25.2');
  assert.match(moved.output, /OutOfResourcesSubOperations/);
  assert.deepEqual(readdirSync(folder), []);
});

test('CGET-3: getscu, which takes native objects alone, gets compressed ones native', { skip }, async (t) => {
  const folder = scratch(t);
  const port = await serve(t, 'nodes: {}\n');
  const got = await runPeer('getscu', [
    '-S',
    '-v',
    '-xi',
    '+xi',
    '-od',
    folder,
    '+B',
    '-aec',
    'ISTHMUS',
    ...asked(port, '2.25.1'),
  ]);
  assert.equal(got.code, 0, got.output);
  const arrived = arrivedIn(folder);
  assert.equal(arrived.length, COMPRESSED.length);
  for (const bytes of arrived) {
    const { head, bodyStart } = readHead(bytes);
    // Whatever it is told, getscu of dcmtk 3.6.7 proposes Explicit VR too.
    assert.ok([IMPLICIT_LE, EXPLICIT_LE].includes(head.transferSyntaxUID));
    assert.ok(bytes.subarray(bodyStart).equals(Buffer.concat(FRAMES)));
  }
});

const SAMPLES = [
  'RLELosslessTransferSyntax_1.2.840.10008.1.2.5',
  'JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80',
  'JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81',
  'JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90',
  'JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91',
  'JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70',
  'JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51',
].map((name) => `oddities/ts_ct/CTImage.dcm_${name}.dcm`);

const COMPARE = `
import sys, pydicom, numpy
pairs = list(zip(sys.argv[1::2], sys.argv[2::2]))
for a, b in pairs:
    x, y = pydicom.dcmread(a), pydicom.dcmread(b)
    assert not y.file_meta.TransferSyntaxUID.is_compressed, b
    print(int(numpy.abs(x.pixel_array.astype(int) - y.pixel_array.astype(int)).max()))
`;

test(
  'CMOVE-9: real objects in seven syntaxes arrive with the pixels that gdcm decodes',
  { skip: skip || withoutSamples },
  async (t) => {
    const folder = scratch(t);
    const objects = SAMPLES.map((name, index) => sampleObject(join(samples, name), index));
    const port = await serve(t, receiver(await startStorescp(t, folder, ['+xi'])), objects);
    const moved = await move(port, '2.25.9');
    assert.equal(moved.code, 0, moved.output);
    const files = new Map(
      readdirSync(folder).map((name) => [
        asciiValue(readHead(readFileSync(join(folder, name))).head.dataSet, 0x00080018),
        join(folder, name),
      ]),
    );
    const pairs = SAMPLES.flatMap((name, index) => [join(samples, name), files.get(`2.25.9.1.${index}`) ?? 'missing']);
    const found = execFileSync('/usr/bin/python3', ['-c', COMPARE, ...pairs], { encoding: 'utf8' })
      .trim()
      .split('\n');
    assert.deepEqual(
      found,
      SAMPLES.map(() => '0'),
    );
  },
);

/** The file under other UIDs, as if it had been received: the archive takes what names nobody. */
function sampleObject(path: string, index: number): Deidentified {
  const bytes = readFileSync(path);
  const object = readHead(bytes);
  const uid = `2.25.9.1.${index}`;
  const head = renamedHead(object, uid);
  const body = bytes.subarray(object.bodyStart);
  return {
    head,
    body: (async function* () {
      yield body;
    })(),
    bodyLengthBytes: body.length,
    studyInstanceUID: '2.25.9',
    seriesInstanceUID: '2.25.9.1',
    sopInstanceUID: uid,
    sopClassUID: asciiValue(object.head.dataSet, 0x00080016) ?? '',
    transferSyntaxUID: object.head.transferSyntaxUID,
    project: 'research',
  } as unknown as Deidentified;
}
