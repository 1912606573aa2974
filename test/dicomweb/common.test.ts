/** The common parts of PS3.18 (chapter 8) as they hold for every transaction, sentence by sentence, over a real socket. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { deleteStudy } from '../../src/archive/studies.ts';
import { makeObject } from '../phantom/objects.ts';
import { fill, MULTIPART, openDoor, partsOf, type Door } from './door.ts';

const SERIES = '/studies/2.25.1/series/2.25.1.1';
const INSTANCE = `${SERIES}/instances/2.25.1.1.1`;
const OBJECTS = 'multipart/related; type="application/dicom"';
const OCTETS = 'multipart/related; type="application/octet-stream"';

let door: Door;
before(async () => {
  door = await openDoor();
  const ids = { studyInstanceUID: '2.25.1', seriesInstanceUID: '2.25.1.1' };
  await fill(
    door,
    { ...ids, sopInstanceUID: '2.25.1.1.1', patientName: 'Nobody^One' },
    { ...ids, sopInstanceUID: '2.25.1.1.2', instanceNumber: 2 },
    { studyInstanceUID: '2.25.9', seriesInstanceUID: '2.25.9.1', sopInstanceUID: '2.25.9.1.1' },
  );
  deleteStudy(door.gateway.archive, '2.25.9');
});
after(() => door.close());

interface Answered {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Buffer;
}
async function ask(path: string, headers: Record<string, string> = {}, init: RequestInit = {}): Promise<Answered> {
  const response = await fetch(`${door.url}${path}`, { headers, ...init });
  return { status: response.status, headers: response.headers, body: Buffer.from(await response.arrayBuffer()) };
}
const statusOf = async (path: string, headers: Record<string, string> = {}): Promise<number> =>
  (await ask(path, headers)).status;
/** Every kind of resource, with a type it is asked in. */
const RESOURCES: readonly (readonly [path: string, accept: string])[] = [
  ['/studies', 'application/dicom+json'],
  ['/series', 'multipart/related; type="application/dicom+xml"'],
  ['/studies/2.25.1', OBJECTS],
  ['/studies/2.25.1', 'application/zip'],
  [SERIES, OBJECTS],
  [INSTANCE, OBJECTS],
  [INSTANCE, 'application/dicom'],
  ['/studies/2.25.1/metadata', 'application/dicom+json'],
  [`${SERIES}/metadata`, 'multipart/related; type="application/dicom+xml"'],
  [`${INSTANCE}/metadata`, 'application/dicom+json'],
  [`${INSTANCE}/frames/1`, OCTETS],
  [`${INSTANCE}/frames/1`, 'application/octet-stream'],
  [`${INSTANCE}/bulkdata/7FE00010`, OCTETS],
  [`${INSTANCE}/bulkdata/7FE00010`, 'application/octet-stream'],
  ['/studies/2.25.1/bulkdata', OCTETS],
  [`${SERIES}/pixeldata`, OCTETS],
  [`${INSTANCE}/rendered`, 'image/png'],
  [`${SERIES}/rendered`, 'multipart/related; type="image/jpeg"'],
  ['/studies/2.25.1/thumbnail', 'image/jpeg'],
];
/** Requests that are refused, with their statuses. */
const REFUSED: readonly (readonly [path: string, method: string, accept: string, status: number])[] = [
  ['/studies?PatientNam=x', 'GET', '*/*', 400],
  ['/studies/2.25.x', 'GET', '*/*', 400],
  ['/studies/%zz', 'GET', '*/*', 400],
  ['/nothing', 'GET', '*/*', 404],
  ['/studies/2.25.7', 'GET', '*/*', 404],
  [`${INSTANCE}/frames/2`, 'GET', '*/*', 404],
  ['/studies', 'PATCH', '*/*', 405],
  ['/studies', 'GET', 'text/csv', 406],
  ['/studies/2.25.9', 'GET', '*/*', 410],
  ['/studies', 'POST', '*/*', 415],
];

test('PS3.18-8.1.2-response: every request is answered with a status of three digits, also one that is no HTTP', async () => {
  for (const [path, method, accept, status] of REFUSED)
    assert.equal((await ask(path, { accept }, { method })).status, status, `${method} ${path}`);
  const socket = connect(door.port, '127.0.0.1').setEncoding('latin1');
  socket.end('\x16\x03\x01 this is no request\r\n\r\n');
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  assert.match(text, /^HTTP\/1\.1 400 /);
});

test('PS3.18-8.3-unsupported: a parameter that a retrieval does not have is passed over', async () => {
  for (const path of [`${INSTANCE}/metadata`, `${INSTANCE}/frames/1`, `${INSTANCE}/rendered`, '/studies/2.25.1'])
    assert.equal(await statusOf(`${path}?nonesuch=1&transfer-syntax=1.2`), 200, path);
});

test('PS3.18-8.3-invalid: a parameter that is supported is 400 with a value that is none', async () => {
  for (const query of ['limit=-1', 'limit=x', 'limit=', 'offset=1.5', 'fuzzymatching=yes', 'emptyvaluematching=1'])
    assert.equal(await statusOf(`/studies?${query}`), 400, query);
  for (const query of ['quality=0', 'quality=101', 'quality=', 'quality', 'window=1,2', 'viewport=1', 'annotation='])
    assert.equal(await statusOf(`${INSTANCE}/rendered?${query}`), 400, query);
});

test('PS3.18-8.3.1-case: names of parameters and keywords are told apart by case', async () => {
  for (const query of ['Limit=1', 'FUZZYMATCHING=true', 'patientname=x', 'PATIENTID=x', 'IncludeField=all'])
    assert.equal(await statusOf(`/studies?${query}`), 400, query);
  assert.equal(await statusOf('/studies?limit=1&fuzzymatching=true&PatientName=Nobody*'), 200);
});

test('PS3.18-8.3.1-name: a key without a value matches everything', async () => {
  for (const query of ['PatientName', 'PatientName=', '00100010', 'PatientName=*'])
    assert.equal((JSON.parse(String((await ask(`/studies?${query}`)).body)) as unknown[]).length, 1, query);
});

test('PS3.18-8.3.1-null: a value with a NULL is 400', async () => {
  for (const query of ['PatientID=%00', 'PatientName=Nobody%00*', 'StudyInstanceUID=2.25.1%00', '00100020=A%00B'])
    assert.equal(await statusOf(`/studies?${query}`), 400, query);
});

const renderedAs = async (query: string, accept: string): Promise<string | null> =>
  (await ask(`${INSTANCE}/rendered?${query}`, { accept })).headers.get('content-type');

test('PS3.18-8.3.3.1-accept: the query parameter accept goes before the header', async () => {
  assert.equal(await renderedAs('accept=image/png', 'image/*'), 'image/png');
  assert.equal(await renderedAs('accept=image/png', 'image/jpeg, */*;q=0.1'), 'image/png');
});

test('PS3.18-8.3.3.1-wildcard: the query parameter accept has no wildcard', async () => {
  for (const wildcard of ['image/*', '*/*', 'image/png,*/*'])
    assert.equal(await statusOf(`${INSTANCE}/rendered?accept=${encodeURIComponent(wildcard)}`), 400, wildcard);
});

test('PS3.18-8.3.3.1-unsupported: what the query parameter accept names and cannot be had is left to the header', async () => {
  assert.equal(await renderedAs('accept=image/nope', 'image/gif'), 'image/gif');
  assert.equal(await renderedAs('accept=image/nope,image/png', 'image/gif'), 'image/png');
});

/** Every path there is to read from, once. */
const READ = [...new Set(['/studies', '/workitems', '/changefeed', ...RESOURCES.map(([path]) => path)])];

test('PS3.18-8.3.3.2-charset: a character set that is not supported is passed over, on every resource', async () => {
  for (const path of READ) {
    const plain = await ask(path);
    for (const value of ['nonesuch', 'iso-8859-1', '"ISO_IR 100"', 'utf-16,iso-8859-5;q=0.5', 'iso-8859-1,utf-8']) {
      const { status, headers, body } = await ask(`${path}?charset=${encodeURIComponent(value)}`);
      const known = [plain.status, plain.headers.get('content-type')?.split(';')[0]];
      assert.deepEqual([status, headers.get('content-type')?.split(';')[0]], known, `${path} ${value}`);
      assert.ok(body.equals(plain.body), `${path} ${value}`);
    }
  }
});

test('PS3.18-8.3.3.2-wildcard: the query parameter charset has no wildcard, and is no empty list: 400, on every resource', async () => {
  for (const path of READ)
    for (const value of ['*', '', 'utf-8,*;q=0.1', ',', 'utf-8,', '<xss>'])
      assert.equal(await statusOf(`${path}?charset=${encodeURIComponent(value)}`), 400, `${path} ${value}`);
});

test('PS3.18-8.8.1-charset: what is not supported is passed over beside UTF-8, in the header and in the media type', async () => {
  const plain = String((await ask('/studies')).body);
  assert.match(plain, /Nobody/);
  for (const [query, headers] of [
    ['?charset=utf-8', {}],
    ['?charset=iso-8859-1%3Bq%3D1%2CUTF-8%3Bq%3D0.5', {}],
    ['?charset=ISO_IR+192', {}],
    ['?charset=%22ISO_IR+192%22', {}],
    ['', { 'accept-charset': 'iso-8859-5, utf-8;q=0.5' }],
    ['', { 'accept-charset': 'nonesuch' }],
    ['', { accept: 'application/dicom+json; charset="ISO_IR 100"' }],
    ['', { accept: 'application/dicom+json; charset=UTF-8' }],
  ] as [string, Record<string, string>][]) {
    const { status, body } = await ask(`/studies${query}`, headers);
    assert.equal(status, 200, query);
    assert.equal(String(body), plain, `${query} ${JSON.stringify(headers)}`);
  }
});

test('PS3.18-8.3.4.4-large: every unsigned integer is a limit and an offset', async () => {
  for (const query of ['limit=99999999999999', 'limit=18446744073709551615', 'offset=0', 'limit=1&offset=0'])
    assert.equal(await statusOf(`/studies?${query}`), 200, query);
  assert.equal(await statusOf('/studies?offset=99999999999999'), 204);
});

test('PS3.18-8.4.2-type: whatever has a payload has a Content-Type; what has none has none', async () => {
  for (const [path, accept] of RESOURCES) {
    const { status, headers, body } = await ask(path, { accept });
    assert.equal(status, 200, path);
    assert.ok(body.length > 0);
    assert.ok(headers.get('content-type')?.startsWith(accept.replace(/;.*/, '')), path);
  }
  for (const [path, method, accept] of REFUSED)
    assert.equal((await ask(path, { accept }, { method })).headers.get('content-type'), 'application/json', path);
  const none = await ask('/studies?PatientID=nonesuch');
  assert.deepEqual([none.status, none.body.length, none.headers.get('content-type')], [204, 0, null]);
});

test('PS3.18-8.4.2-location: a representation of a resource names the resource, also where it has not changed', async () => {
  for (const [path, accept] of RESOURCES) {
    if (!path.startsWith('/studies/')) continue;
    const { headers } = await ask(`${path}?nonesuch=secret`, { accept });
    const location = headers.get('content-location') ?? '';
    assert.ok(location.startsWith(`${door.url}/studies/2.25.1`), `${path} as ${accept}: ${location}`);
    assert.ok(!location.includes('secret'));
    const tag = headers.get('etag');
    if (tag === null) continue;
    const again = await ask(path, { accept, 'if-none-match': tag });
    assert.equal(again.status, 304, path);
    assert.ok(again.headers.get('content-location')?.startsWith(door.url), path);
  }
});

test('PS3.18-8.4.3-length: an answer has either Content-Length or Transfer-Encoding, and the length is true', async () => {
  for (const [path, accept] of RESOURCES) {
    const { headers, body } = await ask(path, { accept, 'accept-encoding': 'identity' });
    const length = headers.get('content-length');
    assert.notEqual(length === null, headers.get('transfer-encoding') === null, `${path} as ${accept}`);
    if (length !== null) assert.equal(Number(length), body.length, path);
  }
  for (const [path, method, accept] of REFUSED) {
    const { headers, body } = await ask(path, { accept }, { method });
    assert.equal(Number(headers.get('content-length')), body.length, path);
  }
});

test('PS3.18-8.6-none: an answer without a payload has neither Content-Length nor Transfer-Encoding nor a type', async () => {
  const { headers } = await ask(INSTANCE);
  for (const [path, given, status] of [
    ['/studies?PatientID=NOBODY', {}, 204],
    [INSTANCE, { 'if-none-match': headers.get('etag') ?? '' }, 304],
  ] as [string, Record<string, string>, number][]) {
    const answer = await ask(path, given);
    assert.equal(answer.status, status, path);
    for (const name of ['content-length', 'transfer-encoding', 'content-type'])
      assert.equal(answer.headers.get(name), null, `${path} ${name}`);
  }
});

test('PS3.18-8.5-206: 206 is for ranges: no other request of what there is whole is answered with it', async () => {
  for (const [path, accept] of RESOURCES) assert.equal(await statusOf(path, { accept }), 200, path);
  const range = { accept: 'application/octet-stream', range: 'bytes=0-1' };
  assert.equal(await statusOf(`${INSTANCE}/bulkdata/7FE00010`, range), 206);
});

test('PS3.18-8.4.2-encoding: a content coding is told, and what it hides is the same', async () => {
  const raw = (encoding: string): Promise<Answered> => ask('/studies/2.25.1/metadata', { 'accept-encoding': encoding });
  const zipped = await raw('gzip');
  assert.equal(zipped.headers.get('content-encoding'), 'gzip');
  const plain = await raw('identity');
  assert.equal(plain.headers.get('content-encoding'), null);
  assert.deepEqual(zipped.body, plain.body);
});

test('PS3.18-8.5-405: another method is 405 and Allow lists those there are', async () => {
  for (const [path, allowed] of [
    ['/studies', 'GET, HEAD, POST, OPTIONS'],
    ['/studies/2.25.1', 'GET, HEAD, DELETE, POST, OPTIONS'],
    [`${INSTANCE}/metadata`, 'GET, HEAD, OPTIONS'],
  ] as const) {
    const { status, headers } = await ask(path, {}, { method: 'PUT' });
    assert.equal(status, 405, path);
    assert.deepEqual(headers.get('allow')?.split(', ').toSorted(), allowed.split(', ').toSorted(), path);
  }
});

test('RFC9112-9.3-rest: a connection that rests is kept for a minute, for clients that come back', async () => {
  const { headers } = await ask('/studies');
  const [, seconds] = /timeout=(\d+)/.exec(headers.get('keep-alive') ?? '') ?? [];
  assert.ok(Number(seconds) >= 60, String(headers.get('keep-alive')));
});

test('PS3.18-8.5-410: what is known to be deleted is 410, at every resource below it', async () => {
  for (const path of ['', '/metadata', '/series/2.25.9.1', '/series/2.25.9.1/instances/2.25.9.1.1', '/rendered'])
    assert.equal(await statusOf(`/studies/2.25.9${path}`), 410, path);
  assert.equal(await statusOf('/studies/2.25.8'), 404);
});

test('PS3.18-8.5-416: Content-Range of a range that cannot be satisfied tells the length', async () => {
  const range = { accept: 'application/octet-stream', range: 'bytes=99-' };
  const { status, headers } = await ask(`${INSTANCE}/bulkdata/7FE00010`, range);
  assert.deepEqual([status, headers.get('content-range')], [416, 'bytes */32']);
});

test('PS3.18-8.6.3-report: a refusal says what is the matter and repeats nothing of the request', async () => {
  for (const [path, method, accept, status] of REFUSED) {
    const { body } = await ask(path, { accept }, { method });
    const report = JSON.parse(String(body)) as { status: number; reason: string; message: string };
    assert.equal(report.status, status);
    assert.ok(report.reason.length > 3 && report.message.length > 8, path);
  }
});

test('PS3.18-8.6.1.2-multipart: a multipart type has type and boundary; each part its type, length and location', async () => {
  for (const [path, accept] of RESOURCES) {
    if (!accept.startsWith('multipart')) continue;
    const response = await fetch(`${door.url}${path}`, { headers: { accept } });
    const type = response.headers.get('content-type') ?? '';
    const [, inner] = /^multipart\/related; type="([^"]+)"; boundary=[\w.-]{16,70}$/.exec(type) ?? [];
    assert.ok(inner !== undefined && accept.includes(inner), type);
    const parts = await partsOf(response);
    assert.ok(parts.length > 0, path);
    for (const { headers, body } of parts) {
      assert.ok(headers['content-type']?.startsWith(inner), path);
      assert.match(headers['content-location'] ?? '', /^http:\/\/127\.0\.0\.1:\d+\/dicom-web\/studies\//, path);
      if (headers['content-length'] !== undefined) assert.equal(Number(headers['content-length']), body.length, path);
    }
  }
});

test('PS3.18-8.6.2.1-explicit: Implicit VR and Big Endian are refused by name and never chosen by *', async () => {
  for (const syntax of ['1.2.840.10008.1.2', '1.2.840.10008.1.2.2'])
    for (const [path, type] of [
      [INSTANCE, 'application/dicom'],
      [`${INSTANCE}/frames/1`, 'application/octet-stream'],
      [`${SERIES}/pixeldata`, 'application/octet-stream'],
    ] as const)
      assert.equal(
        await statusOf(path, { accept: `multipart/related; type="${type}"; transfer-syntax=${syntax}` }),
        406,
        `${path} ${syntax}`,
      );
});

test('PS3.18-8.7.3.5.2-syntax: a type has one transfer syntax at most; an entry with two is passed over', async () => {
  const twice = `${OBJECTS}; transfer-syntax=1.2.840.10008.1.2.1; transfer-syntax=*`;
  assert.equal(await statusOf(INSTANCE, { accept: twice }), 406);
  assert.equal(await statusOf(INSTANCE, { accept: `${twice}, application/dicom` }), 200);
  const response = await fetch(`${door.url}${INSTANCE}`, { headers: { accept: `${OBJECTS}; transfer-syntax=*` } });
  const [part] = await partsOf(response);
  assert.equal(part?.headers['content-type'], 'application/dicom; transfer-syntax=1.2.840.10008.1.2.1');
});

test('PS3.18-8.7.4-jpeg: a rendered JPEG is baseline, eight bits, Huffman', async () => {
  const { body } = await ask(`${INSTANCE}/rendered`, { accept: 'image/jpeg' });
  let at = 2;
  const markers: number[] = [];
  let precision = 0;
  while (at < body.length && body[at] === 0xff && body[at + 1] !== 0xda) {
    markers.push(body[at + 1] ?? 0);
    if (body[at + 1] === 0xc0) precision = body[at + 4] ?? 0;
    at += 2 + body.readUInt16BE(at + 2);
  }
  assert.deepEqual(
    markers.filter((marker) => marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4),
    [0xc0],
  );
  assert.equal(precision, 8);
});

test('PS3.18-8.7.5-missing: with strictAccept a request that could have a payload is 406 without Accept, also with the parameter', async (t) => {
  const strict = await openDoor('http: { strictAccept: true }');
  t.after(() => strict.close());
  await fill(strict, { studyInstanceUID: '2.25.1', seriesInstanceUID: '2.25.1.1', sopInstanceUID: '2.25.1.1.1' });
  const raw = async (path: string, accept = ''): Promise<string> => {
    const socket = connect(strict.port, '127.0.0.1').setEncoding('latin1');
    socket.end(`GET /dicom-web${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${accept}Connection: close\r\n\r\n`);
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    return text.slice(9, 12);
  };
  assert.equal(await raw('/studies'), '406');
  assert.equal(await raw(`${INSTANCE}/metadata`), '406');
  assert.equal(await raw('/studies', 'Accept: */*\r\n'), '200');
});

test('PS3.18-8.7.5-mixed: types that the resource has not are passed over, DICOM or rendered', async () => {
  const types = 'image/webp, application/dicom;q=0.9, image/jpeg';
  assert.equal(
    (await ask(INSTANCE, { accept: types })).headers.get('content-type')?.split(';')[0],
    'application/dicom',
  );
  assert.equal((await ask(`${INSTANCE}/rendered`, { accept: types })).headers.get('content-type'), 'image/jpeg');
});

test('PS3.18-8.7.7-ignored: what is no media type or no parameter of one is passed over', async () => {
  for (const accept of [
    '@@@, application/dicom+json',
    'toto, */*',
    'application/dicom+json;q=2, application/dicom+json',
  ])
    assert.equal(await statusOf('/studies', { accept }), 200, accept);
  for (const accept of ['@@@', 'application', 'application/dicom+json;q=x', 'text/*'])
    assert.equal(await statusOf('/studies', { accept }), 406, accept);
});

test('PS3.18-8.7.8.1-weight: the weightiest type that there is is chosen, q=0 excludes', async () => {
  const typeOf = async (accept: string): Promise<string | undefined> =>
    (await ask(`${INSTANCE}/rendered`, { accept })).headers.get('content-type')?.split(';')[0];
  assert.equal(await typeOf('image/jpeg;q=0.4, image/png;q=0.5'), 'image/png');
  assert.equal(await typeOf('image/*;q=0.3, image/gif;q=0.8'), 'image/gif');
  assert.equal(await typeOf('*/*, image/jpeg;q=0'), 'image/png');
  assert.equal(await typeOf('*/*'), 'image/jpeg');
});

test('PS3.18-8.7.9-meta: File Meta Information says the transfer syntax, whatever the part says', async () => {
  const { bytes } = makeObject({ rows: 4, columns: 4, studyInstanceUID: '2.25.31', sopInstanceUID: '2.25.31.1' });
  const body = Buffer.concat([
    Buffer.from('--b0\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90\r\n\r\n'),
    bytes,
    Buffer.from('\r\n--b0--\r\n'),
  ]);
  const { status } = await ask(
    '/studies',
    { 'content-type': MULTIPART },
    { method: 'POST', body: new Uint8Array(body) },
  );
  assert.equal(status, 200);
});

test('PS3.18-8.8.5-utf8: names of any script are sent in UTF-8, and the data set says so', async () => {
  const own = await openDoor();
  try {
    await fill(own, { studyInstanceUID: '2.25.1', patientName: 'Ямада^Тарō=山田^太郎' });
    const text = await (await fetch(`${own.url}/studies/2.25.1/metadata`)).text();
    assert.match(text, /"00080005":\{"vr":"CS","Value":\["ISO_IR 192"\]\}/);
    assert.match(text, /"Alphabetic":"Ямада\^Тарō","Ideographic":"山田\^太郎"/);
    const xml = await (
      await fetch(`${own.url}/studies?accept=multipart/related%3Btype=application/dicom%2Bxml`)
    ).text();
    assert.match(xml, /<FamilyName>山田<\/FamilyName>/);
  } finally {
    await own.close();
  }
});

test('PS3.18-8.9.2-options: OPTIONS of the base is Capabilities in an acceptable type, 406 in another', async () => {
  for (const [accept, type] of [
    ['*/*', 'application/vnd.sun.wadl+xml'],
    ['application/json', 'application/json'],
    ['application/json;q=0.1, application/vnd.sun.wadl+xml', 'application/vnd.sun.wadl+xml'],
  ] as const) {
    const { status, headers, body } = await ask('/', { accept }, { method: 'OPTIONS' });
    assert.deepEqual([status, headers.get('content-type')], [200, type]);
    assert.ok(String(body).includes(door.url));
  }
  assert.equal((await ask('/', { accept: 'text/html' }, { method: 'OPTIONS' })).status, 406);
});
