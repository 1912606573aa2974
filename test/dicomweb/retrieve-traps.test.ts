/** Where other origin servers were seen to fail at retrieval: each fault turned into a requirement, over a real socket. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { encodeFrame } from '../../src/codecs/frames.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { greyLayout } from '../phantom/layout.ts';
import { fill, openDoor, partsOf, type Door } from './door.ts';
import { readPng } from './png.ts';

const EXPLICIT_LE = '1.2.840.10008.1.2.1';
const JPEG_2000 = '1.2.840.10008.1.2.4.90';
const JPEG_LS = '1.2.840.10008.1.2.4.80';
const SERIES = '/studies/2.25.1/series/2.25.1.1';
const NATIVE = `${SERIES}/instances/2.25.1.1.1`;
const PACKED = `${SERIES}/instances/2.25.1.1.2`;
const CINE = `${SERIES}/instances/2.25.1.1.3`;
const LAYOUT = greyLayout(20, 30);
const FRAME = Buffer.alloc(1200);
for (let at = 0; at < 600; at++) FRAME.writeUInt16LE((at * 101) % 4096, 2 * at);

let door: Door;
before(async () => {
  door = await openDoor();
  const ids = (instanceNumber: number): object => ({
    studyInstanceUID: '2.25.1',
    seriesInstanceUID: '2.25.1.1',
    sopInstanceUID: `2.25.1.1.${instanceNumber}`,
    instanceNumber,
    rows: 20,
    columns: 30,
    patientName: 'Nobody^At All',
  });
  await fill(
    door,
    { ...ids(1), pixels: FRAME },
    {
      ...ids(2),
      transferSyntaxUID: JPEG_LS,
      fragments: [await encodeFrame({ bytes: FRAME, layout: LAYOUT }, JPEG_LS)],
    },
    { ...ids(3), numberOfFrames: 2, pixels: Buffer.concat([FRAME, FRAME]) },
  );
});
after(() => door.close());

test('TRAP-6: Implicit VR and Big Endian never leave, whatever is accepted; Explicit VR Little Endian is the default', async () => {
  for (const accept of [
    '*/*',
    'multipart/related',
    'multipart/related; type="application/dicom"',
    'multipart/related; type="application/dicom"; transfer-syntax=*',
  ])
    for (const { headers, body } of await partsOf(await door.get(SERIES, accept))) {
      const { transferSyntaxUID } = readHead(body).head;
      assert.ok(accept.includes('=*') || transferSyntaxUID === EXPLICIT_LE, accept);
      assert.notEqual(transferSyntaxUID, '1.2.840.10008.1.2');
      assert.equal(headers['content-type'], `application/dicom; transfer-syntax=${transferSyntaxUID}`);
    }
  for (const never of ['1.2.840.10008.1.2', '1.2.840.10008.1.2.2'])
    assert.equal(
      await door.statusOf(SERIES, `multipart/related; type="application/dicom"; transfer-syntax=${never}`),
      406,
    );
});

test('TRAP-7: of a mixed series each part is labelled with its own syntax', async () => {
  const parts = await partsOf(await door.get(SERIES, 'multipart/related; type="application/dicom"; transfer-syntax=*'));
  assert.deepEqual(
    parts.map(({ headers }) => headers['content-type']),
    [EXPLICIT_LE, JPEG_LS, EXPLICIT_LE].map((uid) => `application/dicom; transfer-syntax=${uid}`),
  );
});

test('TRAP-8: what must pass passes, what must not is 406 and tells what there is', async () => {
  const frame = `${NATIVE}/frames/1`;
  for (const accept of [
    '*/*',
    '*/*; q=.2',
    'multipart/related',
    'multipart/related; transfer-syntax=*',
    'multipart/related; type="application/octet-stream"; transfer-syntax="*"',
    'multipart/related;   type =  "application/octet-stream"  ',
    'multipart/related; type="*/*"',
    'multipart/related; type="image/*"',
    'multipart/related; type=image/jp2',
    'application/octet-stream',
    'image/jp2',
    'image/jhc',
    'multipart/related; type="image/x-jls"',
  ])
    assert.equal(await door.statusOf(frame, accept), 200, accept);
  assert.equal(await door.statusOf(`${NATIVE}/metadata`, 'image/webp, */*;q=0.8, text/html'), 200);
  assert.equal(await door.statusOf(`${NATIVE}/metadata`, 'toto, application/dicom+json'), 200);
  for (const accept of [
    'application/nope',
    'multipart/nope',
    'multipart/related; type=application/nope',
    'multipart/related; type="application/octet-stream"; transfer-syntax=nope',
    'multipart/related; type=" application/octet-stream"',
  ]) {
    const refused = await door.get(frame, accept);
    assert.equal(refused.status, 406, accept);
    const { message } = (await refused.json()) as { message: string };
    assert.match(message, /available: .*application\/octet-stream.*image\/jp2/);
  }
  assert.equal(await door.statusOf(`${CINE}/frames/1,2`, 'application/octet-stream'), 406);
  assert.equal(await door.statusOf(`${NATIVE}/metadata`, 'text/plain'), 406);
});

test('TRAP-9: escaped commas are commas: viewport, window, annotation and frame lists', async () => {
  const png = async (query: string): Promise<Buffer> =>
    Buffer.from(await (await door.get(`${NATIVE}/rendered?${query}`, 'image/png')).arrayBuffer());
  for (const query of [
    'viewport=15,10',
    'window=100,200,linear',
    'annotation=patient,technique',
    'viewport=6,5,0,0,-12,10',
  ])
    assert.ok((await png(query)).equals(await png(query.replaceAll(',', '%2C'))), query);
  const { width, height } = readPng(await png('viewport=64%2C64'));
  assert.deepEqual([width, height], [64, 43]);
  assert.equal((await partsOf(await door.get(`${CINE}/frames/1%2C2`))).length, 2);
});

test('TRAP-11: bulk data of compressed pixels has no item tags, answers ranges, and its URIs lead back', async () => {
  const [metadata] = (await (await door.get(`${PACKED}/metadata`)).json()) as Record<
    string,
    { BulkDataURI?: string }
  >[];
  const uri = metadata?.['7FE00010']?.BulkDataURI ?? '';
  const [part] = await partsOf(
    await fetch(uri, { headers: { accept: 'multipart/related; type="image/jls"; transfer-syntax=*' } }),
  );
  assert.equal(part?.body.readUInt16BE(0), 0xffd8);
  const range = await door.get(`${PACKED}/frames/1`, {
    accept: `image/jls; transfer-syntax=${JPEG_LS}`,
    range: 'bytes=0-1',
  });
  assert.equal(range.status, 206);
  assert.deepEqual(Buffer.from(await range.arrayBuffer()), Buffer.from([0xff, 0xd8]));
});

test('TRAP-15: a thumbnail is never annotated, a picture only where it is asked for', async () => {
  const bytes = async (path: string): Promise<Buffer> =>
    Buffer.from(await (await door.get(path, 'image/png')).arrayBuffer());
  for (const path of ['/studies/2.25.1', SERIES, NATIVE, `${NATIVE}/frames/1`])
    assert.ok((await bytes(`${path}/thumbnail?annotation=patient`)).equals(await bytes(`${path}/thumbnail`)), path);
  const plain = await bytes(`${NATIVE}/rendered?viewport=300,200`);
  assert.ok(!plain.equals(await bytes(`${NATIVE}/rendered?viewport=300,200&annotation=patient`)));
});

test("PROBED-1: what Debian's server has not, or answers wrongly, is here", async () => {
  for (const path of ['thumbnail', 'rendered', 'pixeldata', 'bulkdata', 'metadata']) {
    assert.equal(await door.statusOf(`${NATIVE}/${path}`), 200, path);
    const head = await fetch(`${door.url}${NATIVE}/${path}`, { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.ok(head.headers.get('etag') !== null, path);
  }
  assert.equal(await door.statusOf(`${NATIVE}/rendered`, 'image/gif'), 200);
  assert.equal(await door.statusOf(NATIVE, 'application/zip'), 200);
  assert.equal(await door.statusOf(`${NATIVE}/frames/0`), 400);
  assert.equal(await door.statusOf(`${NATIVE}/frames/99`), 404);
  assert.equal(await door.statusOf(`${NATIVE}/rendered?accept=image/png`, 'text/html'), 200);
  assert.equal(
    await door.statusOf(NATIVE, `multipart/related; type="application/dicom"; transfer-syntax=${JPEG_2000}`),
    200,
  );
  assert.equal(
    await door.statusOf('/wado?requestType=WADO&studyUID=2.25.1&seriesUID=2.25.1.1&objectUID=2.25.1.1.1'),
    200,
  );
  for (const path of ['renderedmpr', 'rendered3d']) assert.equal(await door.statusOf(`${SERIES}/${path}`), 404);
  const wrong = await fetch(`${door.url}${NATIVE}/rendered`, { method: 'PUT' });
  assert.equal(wrong.status, 405);
  assert.match(wrong.headers.get('allow') ?? '', /GET, HEAD/);
});
