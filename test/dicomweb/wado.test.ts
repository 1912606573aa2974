/** WADO-RS over a real socket: DICOMWEB.md traps 6 to 8 and 11, sections 5 and 6. */
import assert from 'node:assert/strict';
import { truncate } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { after, before, test } from 'node:test';
import { deleteStudy } from '../../src/archive/studies.ts';
import { instanceOf, storeInstance } from '../../src/archive/instances.ts';
import { makeLargeObject, makeObject, type MadeObject } from '../phantom/objects.ts';
import { agent, fill, getJson, openDoor, partsOf, type Door, type JsonDataSet } from './door.ts';

let door: Door;
let native: MadeObject[];
let compressed: MadeObject;

const NATIVE = '/studies/2.25.1/series/2.25.1.1/instances';
const MULTI = '/studies/2.25.2/series/2.25.2.1/instances/2.25.2.1.1';
const JPEG = '/studies/2.25.3/series/2.25.3.1/instances/2.25.3.1.1';
const EXPLICIT_LE = '1.2.840.10008.1.2.1';
const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
const JPEG_2000 = '1.2.840.10008.1.2.4.90';
const FRAMES = [1, 2, 3].map((value) => Buffer.alloc(32, value));
const CODESTREAMS = [0x11, 0x22].map((value) => Buffer.alloc(10 + value, value));
const LONG_TEXT = 'not short '.repeat(1000);

before(async () => {
  door = await openDoor();
  native = await fill(
    door,
    ...[1, 2, 3].map((instanceNumber) => ({
      studyInstanceUID: '2.25.1',
      seriesInstanceUID: '2.25.1.1',
      sopInstanceUID: `2.25.1.1.${instanceNumber}`,
      instanceNumber,
      pixels: Buffer.alloc(32, instanceNumber),
      ...(instanceNumber === 1 ? { privateText: LONG_TEXT } : {}),
    })),
  );
  await fill(door, {
    studyInstanceUID: '2.25.2',
    seriesInstanceUID: '2.25.2.1',
    sopInstanceUID: '2.25.2.1.1',
    numberOfFrames: 3,
    pixels: Buffer.concat(FRAMES),
  });
  [compressed] = (await fill(
    door,
    {
      studyInstanceUID: '2.25.3',
      seriesInstanceUID: '2.25.3.1',
      sopInstanceUID: '2.25.3.1.1',
      transferSyntaxUID: JPEG_BASELINE,
      numberOfFrames: 2,
      bitsAllocated: 8,
      fragments: CODESTREAMS,
    },
    {
      studyInstanceUID: '2.25.3',
      seriesInstanceUID: '2.25.3.2',
      seriesNumber: 2,
      sopInstanceUID: '2.25.3.2.1',
      transferSyntaxUID: JPEG_2000,
      fragments: [Buffer.alloc(20, 7)],
    },
  )) as [MadeObject, MadeObject];
});
after(() => door.close());

const dicom = (syntax?: string): { accept: string } => ({
  accept: `multipart/related; type="application/dicom"${syntax === undefined ? '' : `; transfer-syntax=${syntax}`}`,
});

test('WADO-1: study, series and instance come as parts with the very bytes that are stored', async () => {
  for (const [path, expected] of [
    ['/studies/2.25.1', native],
    ['/studies/2.25.1/series/2.25.1.1', native],
    [`${NATIVE}/2.25.1.1.2`, native.slice(1, 2)],
  ] as const) {
    const response = await door.get(path, dicom());
    assert.equal(response.status, 200);
    assert.match(
      response.headers.get('content-type') ?? '',
      /^multipart\/related; type="application\/dicom"; boundary=[0-9a-z-]+$/,
    );
    const parts = await partsOf(response);
    assert.deepEqual(
      parts.map(({ body }) => body),
      expected.map(({ bytes }) => bytes),
    );
    for (const { headers, body } of parts) {
      assert.equal(headers['content-type'], `application/dicom; transfer-syntax=${EXPLICIT_LE}`);
      assert.equal(Number(headers['content-length']), body.length);
      const again = await door.get(new URL(headers['content-location'] ?? '').pathname.replace('/dicom-web', ''), {
        accept: 'application/dicom',
      });
      assert.deepEqual(Buffer.from(await again.arrayBuffer()), body);
    }
  }
});

test('WADO-2: a single part is for one instance only', async () => {
  const response = await door.get(`${NATIVE}/2.25.1.1.1`, { accept: 'application/dicom' });
  assert.equal(response.headers.get('content-type'), `application/dicom; transfer-syntax=${EXPLICIT_LE}`);
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), native[0]?.bytes);
  assert.equal((await door.get('/studies/2.25.1', { accept: 'application/dicom' })).status, 406);
});

test('WADO-3: what is compressed goes out under * and its own syntax, 406 with a list for another', async () => {
  for (const syntax of ['*', JPEG_BASELINE]) {
    const [part] = await partsOf(await door.get(JPEG, dicom(syntax)));
    assert.deepEqual(part?.body, compressed.bytes);
    assert.equal(part?.headers['content-type'], `application/dicom; transfer-syntax=${JPEG_BASELINE}`);
  }
  const other = await door.get('/studies/2.25.3/series/2.25.3.2', dicom());
  assert.equal(other.status, 406);
  assert.match(await other.text(), /1\.2\.840\.10008\.1\.2\.4\.90/);
  assert.equal((await door.get(`${NATIVE}/2.25.1.1.1`, dicom('1.2.840.10008.1.2'))).status, 406);
});

test('WADO-4: an object that is only lossily compressed is sent so, and labelled, where Explicit LE is asked', async () => {
  const [part] = await partsOf(await door.get(JPEG, dicom(EXPLICIT_LE)));
  assert.equal(part?.headers['content-type'], `application/dicom; transfer-syntax=${JPEG_BASELINE}`);
});

test('WADO-5: of a study with several syntaxes what can be sent is sent with 206', async () => {
  const partial = await door.get('/studies/2.25.3', dicom(JPEG_2000));
  assert.equal(partial.status, 206);
  assert.equal((await partsOf(partial)).length, 1);
  const whole = await door.get('/studies/2.25.3', dicom('*'));
  assert.equal(whole.status, 200);
  assert.deepEqual(
    (await partsOf(whole)).map(({ headers }) => headers['content-type']?.split('=')[1]),
    [JPEG_BASELINE, JPEG_2000],
  );
});

test('WADO-6: metadata at three levels, without group 2, bulk data by absolute URL that can be fetched', async () => {
  for (const [path, count] of [
    ['/studies/2.25.1/metadata', 3],
    ['/studies/2.25.1/series/2.25.1.1/metadata', 3],
    [`${NATIVE}/2.25.1.1.1/metadata`, 1],
  ] as const) {
    const response = await door.get(path, { accept: 'application/dicom+json' });
    assert.equal(response.headers.get('content-type'), 'application/dicom+json');
    const metadata = (await response.json()) as JsonDataSet[];
    assert.equal(metadata.length, count);
    for (const dataSet of metadata) {
      assert.equal(dataSet['0020000D']?.Value?.[0], '2.25.1');
      assert.ok(Object.keys(dataSet).every((key) => !key.startsWith('0002')));
    }
  }
  const [dataSet = {}] = await getJson(`${door.url}${NATIVE}/2.25.1.1.1/metadata`);
  assert.equal(dataSet['7FE00010']?.BulkDataURI, `${door.url}${NATIVE}/2.25.1.1.1/bulkdata/7FE00010`);
  const long = dataSet['00091010'];
  const text =
    long?.BulkDataURI === undefined
      ? String(long?.Value?.[0])
      : Buffer.from(
          await (await fetch(long.BulkDataURI, { headers: { accept: 'application/octet-stream' } })).arrayBuffer(),
        ).toString();
  assert.equal(text.trimEnd(), LONG_TEXT.trimEnd());
});

test('WADO-7: frames come in the order asked, one part each; one frame also as a single part', async () => {
  for (const list of ['3,1', '3%2C1']) {
    const parts = await partsOf(await door.get(`${MULTI}/frames/${list}`));
    assert.deepEqual(
      parts.map(({ body }) => body),
      [FRAMES[2], FRAMES[0]],
    );
    assert.equal(parts[0]?.headers['content-type'], `application/octet-stream; transfer-syntax=${EXPLICIT_LE}`);
    assert.ok(parts[0]?.headers['content-location']?.endsWith('/frames/3'));
  }
  const single = await door.get(`${MULTI}/frames/2`, { accept: 'application/octet-stream' });
  assert.deepEqual(Buffer.from(await single.arrayBuffer()), FRAMES[1]);
  assert.equal((await door.get(`${MULTI}/frames/1,2`, { accept: 'application/octet-stream' })).status, 406);
});

test('WADO-8: frame 0, a negative one, no number and nothing are 400; beyond the last is 404', async () => {
  for (const list of ['0', '-1', 'x', '1,,2', '1,', '1.5', '%20', '01'])
    assert.equal((await door.get(`${MULTI}/frames/${list}`)).status, 400, list);
  for (const list of ['4', '1,99', '999999999', '99999999999999999999'])
    assert.equal((await door.get(`${MULTI}/frames/${list}`)).status, 404, list);
});

test('PS3.18-10.4.1.1.1-frames: a list without a frame is 400, not a resource that is not there', async () => {
  for (const path of [`${MULTI}/frames`, `${MULTI}/frames/`, `${MULTI}/frames/,`])
    assert.equal((await door.get(path)).status, 400, path);
});

test('WADO-9: compressed frames: the image type or named octets, never raw octets that they are not', async () => {
  const typeOf = async (accept: string): Promise<string> => {
    const response = await door.get(`${JPEG}/frames/2`, { accept });
    if (response.status !== 200) return String(response.status);
    const [part] = await partsOf(response);
    assert.deepEqual(part?.body.subarray(0, CODESTREAMS[1]?.length), CODESTREAMS[1]);
    return part?.headers['content-type'] ?? '';
  };
  const octets = `application/octet-stream; transfer-syntax=${JPEG_BASELINE}`;
  const image = `image/jpeg; transfer-syntax=${JPEG_BASELINE}`;
  assert.equal(await typeOf('multipart/related; type="application/octet-stream"; transfer-syntax="*"'), octets);
  assert.equal(await typeOf('multipart/related; type="*/*"'), image);
  assert.equal(await typeOf('multipart/related; type="image/*"'), image);
  assert.equal(await typeOf(`multipart/related; type="image/jpeg"; transfer-syntax=${JPEG_BASELINE}`), image);
  assert.equal(await typeOf('multipart/related; transfer-syntax=*'), image);
  assert.equal(await typeOf('*/*'), image);
  assert.equal(await typeOf('multipart/related; type="image/jpeg"'), '406');
  assert.equal(await typeOf('multipart/related; type="application/octet-stream"'), '406');
});

test('WADO-10: bulk data single part serves ranges', async () => {
  const path = `${MULTI}/bulkdata/7FE00010`;
  const whole = Buffer.concat(FRAMES);
  const ask = async (range: string): Promise<[number, string | null, Buffer]> => {
    const response = await door.get(path, { accept: 'application/octet-stream', range });
    return [response.status, response.headers.get('content-range'), Buffer.from(await response.arrayBuffer())];
  };
  assert.deepEqual(await ask('bytes=32-63'), [206, 'bytes 32-63/96', FRAMES[1]]);
  assert.deepEqual(await ask('bytes=90-'), [206, 'bytes 90-95/96', whole.subarray(90)]);
  assert.deepEqual(await ask('bytes=-4'), [206, 'bytes 92-95/96', whole.subarray(92)]);
  assert.deepEqual(await ask('bytes=90-1000'), [206, 'bytes 90-95/96', whole.subarray(90)]);
  assert.equal((await ask('bytes=96-'))[0], 416);
  assert.deepEqual((await ask('bytes=0-1,4-5'))[2], whole);
  const [part] = await partsOf(
    await door.get(path, { accept: 'multipart/related; type="application/octet-stream"', range: 'bytes=0-3' }),
  );
  assert.deepEqual(part?.body, whole);
  assert.equal((await door.get(`${MULTI}/bulkdata/00091010`)).status, 404);
  assert.equal((await door.get(`${MULTI}/bulkdata/nonsense`)).status, 400);
  assert.equal((await door.get(`${MULTI}/bulkdata/..%2F..%2Fx`)).status, 400);
});

test('RFC9110-13.1.5-range: a range holds for the representation that If-Range names; else everything is sent', async () => {
  await modified(MULTI);
  for (const path of [`${MULTI}/bulkdata/7FE00010`, `${MULTI}/frames/2`]) {
    const ask = async (condition?: string): Promise<number> => {
      const headers = { accept: 'application/octet-stream', range: 'bytes=0-3' };
      const response = await door.get(path, condition === undefined ? headers : { ...headers, 'if-range': condition });
      const { byteLength } = await response.arrayBuffer();
      assert.equal(byteLength, response.status === 206 ? 4 : Number(response.headers.get('content-length')));
      return response.status;
    };
    const { headers } = await door.get(path, { accept: 'application/octet-stream' });
    const tag = headers.get('etag') ?? '';
    assert.equal(await ask(tag), 206);
    assert.equal(await ask('"another"'), 200);
    assert.equal(await ask(`W/${tag}`), 200, 'a weak tag is never as strong as a range needs');
    assert.equal(await ask(headers.get('last-modified') ?? ''), 206);
    assert.equal(await ask(new Date(0).toUTCString()), 200);
  }
});

test('RFC9110-14.1.2-last: a range that ends behind the end ends at the end, however far behind', async () => {
  const path = `${MULTI}/bulkdata/7FE00010`;
  const whole = Buffer.from(await (await door.get(path, { accept: 'application/octet-stream' })).arrayBuffer());
  for (const last of [whole.length - 1, whole.length, '99999999999999999999']) {
    const response = await door.get(path, { accept: 'application/octet-stream', range: `bytes=4-${last}` });
    assert.equal(response.status, 206);
    assert.equal(response.headers.get('content-range'), `bytes 4-${whole.length - 1}/${whole.length}`);
    assert.deepEqual(Buffer.from(await response.arrayBuffer()), whole.subarray(4));
  }
});

test('RFC9110-14.2-get: a range of a single object is cut out of its bytes; HEAD knows no ranges', async () => {
  const asked = { accept: 'application/dicom; transfer-syntax=*' };
  const whole = Buffer.from(await (await door.get(MULTI, asked)).arrayBuffer());
  const part = await door.get(MULTI, { ...asked, range: 'bytes=128-131' });
  assert.equal(part.status, 206);
  assert.equal(part.headers.get('content-range'), `bytes 128-131/${whole.length}`);
  assert.equal(await part.text(), 'DICM');
  assert.equal((await door.get(MULTI, { ...asked, range: `bytes=${whole.length}-` })).status, 416);
  for (const path of [MULTI, `${MULTI}/frames/2`, `${MULTI}/bulkdata/7FE00010`]) {
    const head = await fetch(`${door.url}${path}`, {
      method: 'HEAD',
      headers: { accept: 'application/octet-stream, application/dicom; transfer-syntax=*', range: 'bytes=0-3' },
    });
    assert.equal(head.status, 200, path);
  }
});

test('RFC9110-13.1.1-match: what If-Match does not name is 412 and not sent', async () => {
  for (const path of [MULTI, `${MULTI}/metadata`, `${MULTI}/frames/1`, `${MULTI}/bulkdata/7FE00010`]) {
    const first = await door.get(path);
    const tag = first.headers.get('etag') ?? '';
    await first.arrayBuffer();
    for (const [condition, status] of [
      [tag, 200],
      [`"another", ${tag}`, 200],
      ['*', 200],
      ['"another"', 412],
      [`W/${tag}`, 412],
    ] as const) {
      const response = await door.get(path, { 'if-match': condition });
      assert.equal(response.status, status, `${path} ${condition}`);
      const body = await response.text();
      if (status === 412) assert.deepEqual((JSON.parse(body) as { reason: string }).reason, 'PreconditionFailed');
    }
  }
});

test('RFC9110-13.1.4-unmodified: what has changed after If-Unmodified-Since is 412; the date counts only without If-Match', async () => {
  const date = await modified(MULTI);
  const tag = (await fetch(`${door.url}${MULTI}`, { method: 'HEAD' })).headers.get('etag') ?? '';
  for (const [headers, status] of [
    [{ 'if-unmodified-since': date }, 200],
    [{ 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' }, 412],
    [{ 'if-unmodified-since': 'yesterday' }, 200],
    [{ 'if-unmodified-since': 'Thu, 01 Jan 1970 00:00:00 GMT', 'if-match': tag }, 200],
  ] as [Record<string, string>, number][]) {
    const response = await door.get(MULTI, headers);
    await response.arrayBuffer();
    assert.equal(response.status, status, JSON.stringify(headers));
  }
});

test('WADO-11: encapsulated pixel data as bulk data comes frame by frame, without item tags', async () => {
  const parts = await partsOf(await door.get(`${JPEG}/bulkdata/7FE00010`, { accept: 'multipart/related; type="*/*"' }));
  assert.deepEqual(
    parts.map(({ body }, index) => body.subarray(0, CODESTREAMS[index]?.length)),
    CODESTREAMS,
  );
});

test('WADO-12: an unchanged answer is 304; a new instance changes the tag of every level above it', async () => {
  const paths = [
    '/studies/2.25.5',
    '/studies/2.25.5/metadata',
    '/studies/2.25.5/series/2.25.5.1/metadata',
    '/studies/2.25.5/series/2.25.5.1',
  ];
  const make = (instanceNumber: number) => ({
    studyInstanceUID: '2.25.5',
    seriesInstanceUID: '2.25.5.1',
    sopInstanceUID: `2.25.5.1.${instanceNumber}`,
    instanceNumber,
  });
  await fill(door, make(1));
  const tags: string[] = [];
  for (const path of paths) {
    const first = await door.get(path);
    await first.arrayBuffer();
    const tag = first.headers.get('etag') ?? '';
    assert.match(tag, /^"[0-9a-f]{16}-[0-9a-f]{32}"$/);
    assert.equal(first.headers.get('cache-control'), 'private, no-cache');
    assert.equal((await door.get(path, { 'if-none-match': `"x", ${tag}` })).status, 304);
    tags.push(tag);
  }
  await fill(door, make(2));
  for (const [index, path] of paths.entries()) {
    const response = await door.get(path, { 'if-none-match': tags[index] ?? '' });
    assert.equal(response.status, 200, path);
    await response.arrayBuffer();
  }
});

/** Waits until a change of now would be told from the last one: dates have whole seconds. */
async function modified(path: string): Promise<string> {
  for (;;) {
    const response = await door.get(path);
    await response.arrayBuffer();
    const date = response.headers.get('last-modified');
    if (date !== null) return date;
    await delay(100);
  }
}

test('RFC9110-8.8.2-modified: Last-Modified is when the study last changed; unchanged since then is 304, a tag decides first', async () => {
  const study = '/studies/2.25.55';
  const make = (instanceNumber: number) => ({
    studyInstanceUID: '2.25.55',
    seriesInstanceUID: '2.25.55.1',
    sopInstanceUID: `2.25.55.1.${instanceNumber}`,
    instanceNumber,
  });
  await fill(door, make(1));
  const first = await modified(study);
  assert.ok(Math.abs(Date.parse(first) - Date.now()) < 600_000);
  const known = { 'if-modified-since': first };
  const paths = [
    '',
    '/metadata',
    '/thumbnail',
    '/series/2.25.55.1',
    '/series/2.25.55.1/instances/2.25.55.1.1/frames/1',
  ];
  for (const path of paths) {
    assert.equal((await door.get(`${study}${path}`, known)).status, 304, path);
    const other = await door.get(`${study}${path}`, { ...known, 'if-none-match': '"another"' });
    await other.arrayBuffer();
    assert.equal(other.status, 200, path);
    const older = await door.get(`${study}${path}`, { 'if-modified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' });
    await older.arrayBuffer();
    assert.equal(older.status, 200, path);
    const none = await door.get(`${study}${path}`, { 'if-modified-since': 'yesterday' });
    await none.arrayBuffer();
    assert.equal(none.status, 200, path);
  }
  await fill(door, make(2));
  const changed = await door.get(study, known);
  await changed.arrayBuffer();
  assert.equal(changed.status, 200);
  const second = await modified(study);
  const gone = `${door.url}${study}/series/2.25.55.1/instances/2.25.55.1.2`;
  assert.equal((await fetch(gone, { method: 'DELETE' })).status, 204);
  const less = await door.get(study, { 'if-modified-since': second });
  await less.arrayBuffer();
  assert.equal(less.status, 200, 'a deletion is a change');
});

test('WADO-13: the same request gives the same bytes, boundary included', async () => {
  const [first, second] = await Promise.all([door.get('/studies/2.25.1'), door.get('/studies/2.25.1')]);
  assert.deepEqual(await first.arrayBuffer(), await second.arrayBuffer());
});

test('WADO-14: what never was is 404, what has been deleted 410, on every level', async () => {
  await fill(door, { studyInstanceUID: '2.25.6', seriesInstanceUID: '2.25.6.1', sopInstanceUID: '2.25.6.1.1' });
  await deleteStudy(door.gateway.archive, '2.25.6');
  for (const tail of [
    '',
    '/metadata',
    '/series/2.25.6.1',
    '/series/2.25.6.1/metadata',
    '/series/2.25.6.1/instances/2.25.6.1.1/frames/1',
  ]) {
    assert.equal((await door.get(`/studies/2.25.6${tail}`)).status, 410, tail);
    assert.equal((await door.get(`/studies/2.25.7${tail.replaceAll('2.25.6', '2.25.7')}`)).status, 404, tail);
  }
  assert.equal((await door.get('/studies/2.25.2/series/2.25.1.1/instances/2.25.1.1.1')).status, 404);
});

test('WADO-15: HEAD tells type and length and sends nothing', async () => {
  const head = await agent(door).head(`/dicom-web${NATIVE}/2.25.1.1.1`).set('Accept', 'application/dicom');
  assert.equal(head.status, 200);
  assert.equal(Number(head.headers['content-length']), native[0]?.bytes.length);
  for (const path of ['/studies/2.25.1', '/studies/2.25.1/metadata', `${MULTI}/frames/1`])
    assert.equal((await fetch(`${door.url}${path}`, { method: 'HEAD' })).status, 200, path);
});

test('WADO-16: a reader that stops reading holds the answer up, not the memory', async () => {
  const chunk = Buffer.alloc(2 ** 20, 5);
  await storeInstance(
    door.gateway.archive,
    makeLargeObject(
      {
        studyInstanceUID: '2.25.8',
        seriesInstanceUID: '2.25.8.1',
        sopInstanceUID: '2.25.8.1.1',
        rows: 1024,
        columns: 512,
        numberOfFrames: 200,
      },
      chunk,
      200,
    ),
  );
  const socket = connect(door.port, '127.0.0.1');
  socket.write('GET /dicom-web/studies/2.25.8 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n');
  await once(socket, 'readable');
  const before = process.memoryUsage().rss;
  await delay(500);
  const grown = process.memoryUsage().rss - before;
  let received = 0;
  for await (const bytes of socket) received += (bytes as Buffer).length;
  assert.ok(received > 200 * 2 ** 20, `${received} bytes`);
  assert.ok(grown < 60 * 2 ** 20, `memory grew by ${Math.round(grown / 2 ** 20)} MiB`);
});

test('several slow readers at once get every byte of their own, though the buffers are shared', async () => {
  const sent = [11, 12, 13].map((study) => {
    // A pattern that is different at each place and in each study.
    const chunk = Buffer.from(Uint32Array.from({ length: 2 ** 18 }, (_, n) => n * 2654435761 * study).buffer);
    const uid = `2.25.8${study}`;
    const names = { studyInstanceUID: uid, seriesInstanceUID: `${uid}.1`, sopInstanceUID: `${uid}.1.1` };
    return {
      uid,
      chunk,
      object: makeLargeObject({ ...names, rows: 1024, columns: 512, numberOfFrames: 12 }, chunk, 12),
    };
  });
  for (const { object } of sent) await storeInstance(door.gateway.archive, object);
  await Promise.all(
    [...sent, ...sent].map(async ({ uid, chunk }) => {
      const response = await door.get(`/studies/${uid}`);
      const pieces: Uint8Array[] = [];
      for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
        pieces.push(piece);
        if (pieces.length % 8 === 0) await delay(2);
      }
      const body = Buffer.concat(pieces);
      const pixels = Buffer.concat(Array.from({ length: 12 }, () => chunk));
      assert.ok(body.includes(pixels), uid);
    }),
  );
});

test('WADO-17: an answer that fails on the way is cut, so that it cannot look whole', async () => {
  const { object } = makeObject({
    studyInstanceUID: '2.25.9',
    seriesInstanceUID: '2.25.9.1',
    sopInstanceUID: '2.25.9.1.1',
    rows: 2048,
    columns: 2048,
  });
  await storeInstance(door.gateway.archive, object);
  const row = instanceOf(door.gateway.archive, '2.25.9.1.1');
  assert.ok(row !== undefined);
  // The pack loses its second half behind the archive's back.
  await truncate(join(door.data, 'store', 'packs', row.pack), row.offset + row.lengthBytes / 2);
  const response = await door.get('/studies/2.25.9');
  assert.equal(response.status, 200);
  await assert.rejects(response.arrayBuffer());
});
