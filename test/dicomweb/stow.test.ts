/** STOW-RS over a real socket: DICOMWEB.md traps 10 and 16, section 7, and section 11 "STOW" inverted. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deflateSync, gzipSync } from 'node:zlib';
import { makeObject, type ObjectOptions } from '../phantom/objects.ts';
import { agent, getJson, MULTIPART, multipartBody, openDoor, type Door, type JsonDataSet } from './door.ts';

let door: Door;
before(async () => {
  door = await openDoor();
});
after(() => door.close());

const CT = '1.2.840.10008.5.1.4.1.1.2';
let made = 0;
/** A new object each time, as a sender has it. */
function object(options: ObjectOptions = {}): { bytes: Buffer; uid: string; body: Buffer } {
  const uid = `2.25.77.${++made}`;
  const { bytes, body } = makeObject({
    rows: 4,
    columns: 4,
    studyInstanceUID: '2.25.7',
    seriesInstanceUID: '2.25.7.1',
    sopInstanceUID: uid,
    instanceNumber: made,
    pixels: Buffer.alloc(32, made),
    ...options,
  });
  return { bytes, uid, body };
}

interface Answer {
  readonly status: number;
  readonly type: string | null;
  readonly dataSet: JsonDataSet;
}
async function post(body: Buffer, path = '/studies', headers: Record<string, string> = {}, to = door): Promise<Answer> {
  const response = await fetch(`${to.url}${path}`, {
    method: 'POST',
    body: new Uint8Array(body),
    headers: { 'content-type': MULTIPART, ...headers },
  });
  const text = await response.text();
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    dataSet: (text === '' ? {} : JSON.parse(text)) as JsonDataSet,
  };
}
const itemsOf = (dataSet: JsonDataSet, key: string): JsonDataSet[] => (dataSet[key]?.Value ?? []) as JsonDataSet[];
const uidsOf = (dataSet: JsonDataSet, key: string): unknown[] =>
  itemsOf(dataSet, key).map((item) => item['00081155']?.Value?.[0]);
const stored = async (to = door): Promise<number> => {
  const response = await fetch(`${to.url}/instances`);
  return response.status === 204 ? 0 : ((await response.json()) as unknown[]).length;
};

test("STOW-1: all stored is 200, and the sender's own UIDs are referenced in the order of the parts", async () => {
  const objects = [object(), object()];
  const { status, type, dataSet } = await post(multipartBody(objects.map(({ bytes }) => bytes)));
  assert.equal(status, 200);
  assert.equal(type, 'application/dicom+json');
  assert.deepEqual(Object.keys(dataSet), ['00081190', '00081199']);
  assert.deepEqual(
    uidsOf(dataSet, '00081199'),
    objects.map(({ uid }) => uid),
  );
  for (const item of itemsOf(dataSet, '00081199')) assert.deepEqual(item['00081150'], { vr: 'UI', Value: [CT] });
});

test('PS3.18-I.1-retrieve: each Retrieve URL of the response leads to the copy, under its own UIDs', async () => {
  const objects = [object(), object()];
  const { dataSet } = await post(multipartBody(objects.map(({ bytes }) => bytes)));
  for (const [index, item] of itemsOf(dataSet, '00081199').entries()) {
    const url = String(item['00081190']?.Value?.[0]);
    assert.ok(url.startsWith(`${String(dataSet['00081190']?.Value?.[0])}/series/`) && !url.includes('2.25.77.'));
    const frame = await fetch(`${url}/frames/1`, { headers: { accept: 'application/octet-stream' } });
    assert.deepEqual(Buffer.from(await frame.arrayBuffer()), objects[index]?.body);
  }
});

test('STOW-2: one bad part among good ones: the others are stored, 202, and every failure is listed', async () => {
  const good = [object(), object()];
  const broken = object().bytes.subarray(0, -5);
  const noDicom = Buffer.from('this is no DICOM object at all');
  const { status, dataSet } = await post(
    multipartBody([good[0]?.bytes ?? broken, noDicom, broken, good[1]?.bytes ?? broken]),
  );
  assert.equal(status, 202);
  assert.deepEqual(
    uidsOf(dataSet, '00081199'),
    good.map(({ uid }) => uid),
  );
  const failures = [...itemsOf(dataSet, '00081198'), ...itemsOf(dataSet, '0008119A')];
  assert.equal(failures.length, 2);
  for (const item of failures) assert.deepEqual(item['00081197'], { vr: 'US', Value: [0xc000] });
});

test('PS3.18-I.1-other: a part that no SOP Instance UID can be read from is an Other Failure, one that has one a Failed SOP', async () => {
  const { bytes, uid } = object();
  const { dataSet } = await post(multipartBody([Buffer.from('no DICOM'), bytes.subarray(0, -5)]));
  assert.deepEqual(itemsOf(dataSet, '0008119A'), [{ '00081197': { vr: 'US', Value: [0xc000] } }]);
  assert.deepEqual(uidsOf(dataSet, '00081198'), [uid]);
});

test("STOW-3: to a study's resource, instances of another study fail one by one, and the study's own is stored: 202", async () => {
  const own = object({ studyInstanceUID: '2.25.70', seriesInstanceUID: '2.25.70.1' });
  const others = [object(), object()];
  const some = await post(multipartBody([own, ...others].map(({ bytes }) => bytes)), '/studies/2.25.70');
  assert.equal(some.status, 202);
  assert.deepEqual(uidsOf(some.dataSet, '00081199'), [own.uid]);
  assert.deepEqual(
    uidsOf(some.dataSet, '00081198'),
    others.map(({ uid }) => uid),
  );
});

test("PS3.18-10.5.3.1-all: where every instance fails, as of another study at a study's resource, the answer is 409 with each", async () => {
  const others = [object(), object()];
  const all = await post(multipartBody(others.map(({ bytes }) => bytes)), '/studies/2.25.70');
  assert.equal(all.status, 409);
  assert.equal(all.dataSet['00081199'], undefined);
  assert.equal(itemsOf(all.dataSet, '00081198').length, 2);
  assert.deepEqual(itemsOf(all.dataSet, '00081198')[0]?.['00081197'], { vr: 'US', Value: [0xa900] });
});

test('STOW-4: the same instance again is a success and no second row', async () => {
  const first = object();
  await post(multipartBody([first.bytes]));
  const count = await stored();
  const again = await post(multipartBody([first.bytes]));
  assert.equal(again.status, 200);
  assert.deepEqual(uidsOf(again.dataSet, '00081199'), [first.uid]);
  assert.equal(await stored(), count);
});

test('PS3.18-10.5.3.1-conflict: other content under a SOP Instance UID that is stored is 409, and what is stored stays', async () => {
  const first = object();
  await post(multipartBody([first.bytes]));
  const count = await stored();
  const other = object({ sopInstanceUID: first.uid, pixels: Buffer.alloc(32, 0xee) });
  const refused = await post(multipartBody([other.bytes]));
  assert.equal(refused.status, 409);
  assert.deepEqual(uidsOf(refused.dataSet, '00081198'), [first.uid]);
  assert.equal(await stored(), count);
});

test('STOW-5: a missing final boundary is 400; the last part is not stored, the one before it is', async () => {
  const [first, last] = [object(), object({ rows: 128, columns: 128, pixels: Buffer.alloc(32_768) })];
  const whole = multipartBody([first.bytes, last.bytes]);
  const count = await stored();
  const { status, dataSet } = await post(whole.subarray(0, whole.length - 10));
  assert.equal(status, 400);
  assert.deepEqual(uidsOf(dataSet, '00081199'), [first.uid]);
  assert.deepEqual(uidsOf(dataSet, '00081198'), [last.uid]);
  assert.equal(await stored(), count + 1);
});

test('STOW-6: a multipart body without a part is 400', async () => {
  assert.equal((await post(Buffer.from('--b0--\r\n'))).status, 400);
});

test('PS3.18-10.5.1.4-present: a request without a payload is 400', async () => {
  assert.equal((await post(Buffer.alloc(0))).status, 400);
});

test('PS3.18-8.6.1.2-boundary: a multipart type without a boundary, and a body with another one, are 400', async () => {
  const body = multipartBody([object().bytes]);
  const type = 'multipart/related; type="application/dicom"';
  assert.equal((await post(body, '/studies', { 'content-type': type })).status, 400);
  assert.equal((await post(body, '/studies', { 'content-type': `${type}; boundary=other` })).status, 400);
});

test('PS3.18-10.5.3.1-type: a payload of another type is 415 and says which are taken', async () => {
  for (const type of [
    'application/json',
    'multipart/form-data; boundary=b0',
    'multipart/mixed; boundary=b0',
    'multipart/related; type="application/dicom+zip"; boundary=b0',
  ]) {
    const response = await agent(door).post('/dicom-web/studies').set('Content-Type', type).send('x');
    assert.equal(response.status, 415, type);
    assert.match(response.text, /application\/dicom/);
  }
});

test('PS3.18-10.5.1.1.1-study: a study in the path that is no UID is 400', async () => {
  assert.equal((await post(multipartBody([object().bytes]), '/studies/not-a-uid')).status, 400);
});

test('PS3.18-10.5.4-accept: a response in a type that there is not is 406, and nothing is stored', async () => {
  const count = await stored();
  const body = multipartBody([object().bytes]);
  assert.equal((await post(body, '/studies', { accept: 'application/nope' })).status, 406);
  assert.equal(await stored(), count);
});

test('PS3.18-10.5.1.2-none: query parameters are passed over, since Store has none', async () => {
  const { bytes, uid } = object();
  const { status, dataSet } = await post(multipartBody([bytes]), '/studies?PatientID=x&limit=none');
  assert.deepEqual([status, uidsOf(dataSet, '00081199')], [200, [uid]]);
});

test('PS3.18-10.5.1.3-coding: a body in gzip or deflate is what it was before; another coding is 415 and says which are taken', async () => {
  const codings: [string, (body: Buffer) => Buffer][] = [
    ['gzip', gzipSync],
    ['x-gzip', gzipSync],
    ['GZIP', gzipSync],
    ['deflate', deflateSync],
    ['identity', (body) => body],
  ];
  for (const [coding, encode] of codings) {
    const { bytes, uid } = object();
    const answer = await post(encode(multipartBody([bytes])), '/studies', { 'content-encoding': coding });
    assert.equal(answer.status, 200, coding);
    assert.deepEqual(uidsOf(answer.dataSet, '00081199'), [uid]);
  }
  for (const coding of ['br', 'compress', 'gzip, gzip']) {
    const headers = { 'content-type': MULTIPART, 'content-encoding': coding };
    const response = await fetch(`${door.url}/studies`, { method: 'POST', headers, body: 'x' });
    assert.deepEqual([response.status, response.headers.get('accept-encoding')], [415, 'gzip, deflate'], coding);
  }
});

test('PS3.18-10.5.1.3-damaged: a coded body that breaks off or is none is 400 and stores nothing; its length counts decoded', async () => {
  const before = await stored();
  const coded = gzipSync(multipartBody([object().bytes, object().bytes]));
  const gzip = { 'content-encoding': 'gzip' };
  for (const body of [coded.subarray(0, 60), Buffer.from('no gzip'), multipartBody([object().bytes])])
    assert.equal((await post(body, '/studies', gzip)).status, 400);
  assert.equal(await stored(), before);
  const small = await openDoor('http: { maxRequestMb: 1 }');
  try {
    const bomb = gzipSync(Buffer.concat([Buffer.from('--b0\r\n\r\n'), Buffer.alloc(8 * 2 ** 20)]));
    assert.ok(bomb.length < 2 ** 20);
    assert.equal((await post(bomb, '/studies', gzip, small)).status, 413);
  } finally {
    await small.close();
  }
});

/** A body of one part under a boundary with a blank in it. */
const quotedBody = (head: string): Buffer =>
  Buffer.concat([Buffer.from(`--b 0\r\n${head}\r\n`), object().bytes, Buffer.from('\r\n--b 0--')]);
const QUOTED = { 'content-type': 'multipart/related; boundary="b 0"; type=application/dicom' };

test('STOW-7: a boundary may be quoted, and a type not; an untyped part has the type of the whole', async () => {
  assert.equal((await post(quotedBody(''), '/studies', QUOTED)).status, 200);
});

test('PS3.18-8.7.9-part: the type of a part may name its transfer syntax', async () => {
  const typed = quotedBody('Content-Type: application/dicom;transfer-syntax=1.2.840.10008.1.2.1\r\n');
  assert.equal((await post(typed, '/studies', QUOTED)).status, 200);
});

test('STOW-48: one object by itself is stored too, an extension', async () => {
  assert.equal((await post(object().bytes, '/studies', { 'content-type': 'application/dicom' })).status, 200);
});

test('PS3.18-8.6.1.2-foreign: a part of another type than the whole is a failure of its own', async () => {
  const foreign = await post(quotedBody('Content-Type: text/plain\r\n'), '/studies', QUOTED);
  assert.equal(foreign.status, 409);
  assert.deepEqual(itemsOf(foreign.dataSet, '0008119A')[0]?.['00081197'], { vr: 'US', Value: [0x0110] });
});

test('PS3.18-8.6.1.2-nested: a multipart in a part is no object, and nothing of it is stored', async () => {
  const count = await stored();
  const inner = Buffer.concat([
    Buffer.from('--b 0\r\nContent-Type: multipart/related; boundary=b0\r\n\r\n'),
    multipartBody([object().bytes]),
    Buffer.from('\r\n--b 0--'),
  ]);
  const nested = await post(inner, '/studies', QUOTED);
  assert.equal(nested.status, 409);
  assert.equal(itemsOf(nested.dataSet, '0008119A').length, 1);
  assert.equal(await stored(), count);
});

test('STOW-8: one who sends but may not view learns no URL, and cannot search; without a token nothing goes', async () => {
  const hash = (text: string): string => createHash('sha256').update(text).digest('hex');
  const guarded = await openDoor(
    `access:\n  tokens:\n    - { name: modality, sha256: ${hash('send')}, roles: [sender] }\n    - { name: reader, sha256: ${hash('read')}, roles: [viewer] }\n`,
  );
  try {
    const bytes = multipartBody([object().bytes]);
    const sent = await post(bytes, '/studies', { authorization: 'Bearer send' }, guarded);
    assert.equal(sent.status, 200);
    assert.deepEqual(sent.dataSet['00081190'], { vr: 'UR' });
    assert.deepEqual(itemsOf(sent.dataSet, '00081199')[0]?.['00081190'], { vr: 'UR' });
    const status = async (method: string, path: string, token?: string): Promise<number> =>
      (
        await fetch(`${guarded.url}${path}`, {
          method,
          headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        })
      ).status;
    assert.equal(await status('GET', '/studies', 'send'), 403);
    assert.equal(await status('GET', '/studies', 'read'), 200);
    assert.equal(await status('GET', '/studies'), 401);
    assert.equal(await status('GET', '/studies', 'guess'), 401);
    assert.equal((await post(bytes, '/studies', { authorization: 'Bearer read' }, guarded)).status, 403);
    assert.equal((await fetch(`http://127.0.0.1:${guarded.port}/metrics`)).status, 401);
  } finally {
    await guarded.close();
  }
});

test('STOW-9: a body in single bytes and slow chunks is the same body', async () => {
  const { bytes, uid } = object();
  const body = multipartBody([bytes]);
  const socket = connect(door.port, '127.0.0.1').setNoDelay(true);
  socket.write(
    `POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${MULTIPART}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n`,
  );
  for (let at = 0; at < body.length; at += 97) {
    const chunk = body.subarray(at, at + 97);
    socket.write(`${chunk.length.toString(16)}\r\n`);
    socket.write(chunk);
    socket.write('\r\n');
    if (at % 970 === 0) await delay(1);
  }
  socket.write('0\r\n\r\n');
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  assert.match(answer, /^HTTP\/1\.1 200 /);
  assert.ok(answer.includes(`"${uid}"`));
});

test('STOW-47: a study is being received until the request that brings it has ended, however long it rests between objects', async () => {
  const objects = [1, 2].map((at) => object({ studyInstanceUID: '2.25.4711', instanceNumber: at }).bytes);
  const body = multipartBody(objects);
  // All of the first object and the beginning of the second.
  const cut = body.length - (objects[1]?.length ?? 0);
  const before = await stored();
  const socket = connect(door.port, '127.0.0.1').setNoDelay(true);
  socket.write(
    `POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${MULTIPART}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`,
  );
  socket.write(body.subarray(0, cut));
  while ((await stored()) === before) await delay(5);
  const [study] = door.gateway.arrivals.keys();
  assert.ok(study !== undefined);
  assert.equal((await fetch(`${door.url}/studies/${study}`, { method: 'DELETE' })).status, 409);
  socket.write(body.subarray(cut));
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  assert.match(answer, /^HTTP\/1\.1 200 /);
  assert.equal(door.gateway.arrivals.has(study), false);
  assert.equal((await fetch(`${door.url}/studies/${study}`, { method: 'DELETE' })).status, 204);
});

test('STOW-10: a sender that goes away leaves nothing half stored and the service alive', async () => {
  const count = await stored();
  const { bytes } = object({ rows: 512, columns: 512, pixels: Buffer.alloc(512 * 512 * 2) });
  const socket = connect(door.port, '127.0.0.1');
  socket.write(
    `POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${MULTIPART}\r\nContent-Length: 9999999\r\n\r\n`,
  );
  socket.write(multipartBody([bytes]).subarray(0, 300_000));
  await delay(50);
  socket.destroy();
  await once(socket, 'close');
  await delay(50);
  assert.equal(await stored(), count);
});

test('STOW-11: Expect: 100-continue is answered, then the object is stored', async () => {
  const body = multipartBody([object().bytes]);
  const socket = connect(door.port, '127.0.0.1');
  socket.write(
    `POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${MULTIPART}\r\nContent-Length: ${body.length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`,
  );
  const [first] = (await once(socket, 'data')) as [Buffer];
  assert.match(first.toString(), /^HTTP\/1\.1 100 /);
  socket.write(body);
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  assert.match(answer, /^HTTP\/1\.1 200 /);
});

test('STOW-12: a request longer than the limit is 413, told beforehand or found on the way', async () => {
  const small = await openDoor('http: { maxRequestMb: 1 }');
  try {
    const { bytes } = object({ rows: 1024, columns: 1024, pixels: Buffer.alloc(2 ** 21) });
    assert.equal((await post(multipartBody([bytes]), '/studies', {}, small)).status, 413);
    const body = multipartBody([bytes]);
    const response = await fetch(`${small.url}/studies`, {
      method: 'POST',
      headers: { 'content-type': MULTIPART },
      duplex: 'half',
      body: new ReadableStream({
        pull(controller) {
          controller.enqueue(new Uint8Array(body));
          controller.close();
        },
      }),
    } as RequestInit);
    assert.equal(response.status, 413);
    await response.text();
    assert.equal(await stored(small), 0);
  } finally {
    await small.close();
  }
});

test('STOW-13: 320 MB in one request pass through with flat memory, each part taken after the one before', async () => {
  const sopInstanceUID = '2.25.77.900000';
  const { bytes } = object({
    sopInstanceUID,
    rows: 1024,
    columns: 1024,
    numberOfFrames: 20,
    pixels: Buffer.alloc(40 * 2 ** 20, 3),
  });
  const count = await stored();
  const baseline = process.memoryUsage().rss;
  let peak = baseline;
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().rss);
  }, 20);
  const socket = connect(door.port, '127.0.0.1');
  socket.write(
    `POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${MULTIPART}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n`,
  );
  const send = async (chunk: Buffer): Promise<void> => {
    socket.write(`${chunk.length.toString(16)}\r\n`);
    socket.write(chunk);
    if (!socket.write('\r\n')) await once(socket, 'drain');
  };
  for (let part = 0; part < 8; part++) {
    // The same pixels under another UID of the same length, so that the test itself holds them once.
    const head = Buffer.from(
      bytes.subarray(0, 4096).toString('latin1').replaceAll(sopInstanceUID, `2.25.77.90000${part}`),
      'latin1',
    );
    await send(Buffer.concat([Buffer.from('\r\n--b0\r\nContent-Type: application/dicom\r\n\r\n'), head]));
    for (let at = head.length; at < bytes.length; at += 2 ** 18) await send(bytes.subarray(at, at + 2 ** 18));
  }
  await send(Buffer.from('\r\n--b0--\r\n'));
  socket.write('0\r\n\r\n');
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  clearInterval(watch);
  assert.match(answer, /^HTTP\/1\.1 200 /, answer.slice(0, 300));
  assert.equal(await stored(), count + 8);
  assert.ok(peak - baseline < 160 * 2 ** 20, `memory grew by ${Math.round((peak - baseline) / 2 ** 20)} MiB`);
});

test('STOW-14: what a viewer is sent names nobody of what a sender said', async () => {
  const marks = { patientName: 'Zauberberg^Castorp', patientID: 'MRN-4711-X' };
  const { status } = await post(
    multipartBody([
      object({ ...marks, studyInstanceUID: '2.25.990817263544', seriesInstanceUID: '2.25.990817263544.1' }).bytes,
    ]),
  );
  assert.equal(status, 200);
  for (const path of [
    '/studies',
    '/series',
    '/instances',
    ...(await getJson(`${door.url}/studies`)).map((s) => `/studies/${String(s['0020000D']?.Value?.[0])}/metadata`),
  ]) {
    const text = await (await fetch(`${door.url}${path}`)).text();
    for (const mark of ['Castorp', 'MRN-4711-X', '2.25.990817263544'])
      assert.ok(!text.includes(mark), `${mark} in ${path}`);
  }
});

test('STOW-15: an object that no rule admits is held: 202 with Warning Reason B000, and nothing to retrieve', async () => {
  const strict = await openDoor(
    '',
    'admission:\n  - { name: none, when: { callingAE: NOBODY }, project: research, profile: basic }\nprocessing: []\n',
  );
  try {
    const { bytes, uid } = object();
    const { status, dataSet } = await post(multipartBody([bytes]), '/studies', {}, strict);
    assert.equal(status, 202);
    assert.deepEqual(dataSet, {
      '00081190': { vr: 'UR' },
      '00081199': {
        vr: 'SQ',
        Value: [
          {
            '00081150': { vr: 'UI', Value: [CT] },
            '00081155': { vr: 'UI', Value: [uid] },
            '00081190': { vr: 'UR' },
            '00081196': { vr: 'US', Value: [0xb000] },
          },
        ],
      },
    });
    assert.equal(await stored(strict), 0);
  } finally {
    await strict.close();
  }
});

test('STOW-16: many small objects in one request are all stored and named in their order', async () => {
  const objects = Array.from({ length: 120 }, () =>
    object({ studyInstanceUID: '2.25.71', seriesInstanceUID: '2.25.71.1' }),
  );
  const { status, dataSet } = await post(multipartBody(objects.map(({ bytes }) => bytes)));
  assert.equal(status, 200);
  assert.deepEqual(
    uidsOf(dataSet, '00081199'),
    objects.map(({ uid }) => uid),
  );
});
