/** The Worklist Service (PS3.18 chapter 11): what holds for all of its transactions. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deflateSync, gzipSync } from 'node:zlib';
import { openDoor, partsOf, type Door, type JsonDataSet } from './door.ts';
import { changeState, el, postWorkitem, readWorkitem, REASON, send, workitem } from './workitem.ts';

const GLOBAL = '1.2.840.10008.5.1.4.34.5';
const FILTERED = `${GLOBAL}.1`;
const XML = 'multipart/related; type="application/dicom+xml"';

let door: Door;
before(async () => {
  door = await openDoor();
  for (const uid of ['2.25.1', '2.25.2', '2.25.3']) assert.equal((await postWorkitem(door, uid)).status, 201);
  assert.equal((await changeState(door, '2.25.2', 'IN PROGRESS', '2.25.22')).status, 200);
  assert.equal((await changeState(door, '2.25.3', 'IN PROGRESS', '2.25.33')).status, 200);
  assert.equal((await send(door, 'POST', '/workitems/2.25.3?2.25.33', REASON)).status, 200);
  assert.equal((await changeState(door, '2.25.3', 'CANCELED', '2.25.33')).status, 200);
});
after(() => door.close());

test('PS3.18-11.1.3-types: work items go out as DICOM JSON by default and as multipart XML; in another type 406', async () => {
  for (const path of ['/workitems/2.25.1', '/workitems?ProcedureStepState=SCHEDULED']) {
    const plain = await fetch(`${door.url}${path}`);
    assert.deepEqual([plain.status, plain.headers.get('content-type')], [200, 'application/dicom+json'], path);
    const [object] = (await plain.json()) as JsonDataSet[];
    assert.deepEqual(object?.['00080018']?.Value, ['2.25.1']);
    const parts = await partsOf(await fetch(`${door.url}${path}`, { headers: { accept: XML } }));
    assert.equal(parts.length, 1);
    assert.equal(parts[0]?.headers['content-type'], 'application/dicom+xml');
    assert.match(String(parts[0]?.body), /<DicomAttribute[^>]*tag="00741000"[^>]*>.*SCHEDULED/s);
    assert.equal((await fetch(`${door.url}${path}`, { headers: { accept: 'text/html' } })).status, 406, path);
  }
});

test('PS3.18-11.4.1.4-payload: a work item comes as DICOM JSON or as XML; another type is 415, another shape 400', async () => {
  const item = workitem();
  const xml = Object.entries(item)
    .filter(([, { vr }]) => vr === 'CS' || vr === 'LO' || vr === 'DT')
    .map(([key, { vr, Value: values = [] }]) => {
      const inner = values.map((value, at) => `<Value number="${at + 1}">${String(value)}</Value>`).join('');
      return `<DicomAttribute tag="${key}" vr="${vr}">${inner}</DicomAttribute>`;
    })
    .join('');
  const body = `--b\r\nContent-Type: application/dicom+xml\r\n\r\n<NativeDicomModel>${xml}</NativeDicomModel>\r\n--b--\r\n`;
  const created = await send(door, 'POST', '/workitems?2.25.11', body, { 'content-type': `${XML}; boundary=b` });
  assert.equal(created.status, 201, created.text);
  assert.deepEqual((await readWorkitem(door, '2.25.11'))['00741204']?.Value, item['00741204']?.Value);
  const post = (payload: string, type: string): ReturnType<typeof send> =>
    send(door, 'POST', '/workitems?2.25.12', payload, { 'content-type': type });
  assert.equal((await post('x', 'text/plain')).status, 415);
  for (const payload of ['', '[]', '{', '"x"', JSON.stringify([item, item])])
    assert.equal((await post(payload, 'application/dicom+json')).status, 400, payload.slice(0, 20));
  assert.equal((await send(door, 'GET', '/workitems/2.25.12')).status, 404);
});

test('PS3.18-11.4.1.3-coding: a work item may come in gzip or deflate; damaged it is 400, in another coding 415', async () => {
  const post = async (query: string, coding: string, body: Buffer): Promise<number> => {
    const headers = { 'content-type': 'application/dicom+json', 'content-encoding': coding };
    const url = `${door.url}/workitems?${query}`;
    return (await fetch(url, { method: 'POST', headers, body: new Uint8Array(body) })).status;
  };
  const json = Buffer.from(JSON.stringify([workitem()]));
  assert.equal(await post('2.25.61', 'gzip', gzipSync(json)), 201);
  assert.equal(await post('2.25.62', 'deflate', deflateSync(json)), 201);
  assert.equal(await post('2.25.63', 'gzip', json), 400);
  assert.equal(await post('2.25.63', 'gzip', gzipSync(json).subarray(0, 40)), 400);
  assert.equal(await post('2.25.63', 'zstd', json), 415);
});

test('PS3.18-11.5.2-transaction: no answer holds a Transaction UID, in whatever state and form', async () => {
  for (const path of ['/workitems/2.25.1', '/workitems/2.25.2', '/workitems/2.25.3', '/workitems?includefield=all'])
    for (const accept of ['application/dicom+json', XML]) {
      const { status, text } = await send(door, 'GET', path, undefined, { accept });
      assert.equal(status, 200, path);
      assert.ok(!/2\.25\.22\b|2\.25\.33\b/.test(text), `${path} as ${accept}`);
      assert.ok(!/00081195.{0,40}2\.25/.test(text));
    }
});

test('PS3.18-11.7.3.3-empty: what succeeds without anything to say has no payload', async () => {
  assert.equal((await postWorkitem(door, '2.25.20')).text, '');
  for (const [method, path, body] of [
    ['PUT', '/workitems/2.25.20/state', { '00741000': el('CS', 'IN PROGRESS'), '00081195': el('UI', '2.25.9') }],
    ['POST', '/workitems/2.25.20?2.25.9', { '00741204': el('LO', 'other') }],
    ['POST', '/workitems/2.25.20/subscribers/WATCHER', undefined],
    ['DELETE', '/workitems/2.25.20/subscribers/WATCHER', undefined],
    ['POST', `/workitems/${GLOBAL}/subscribers/WATCHER`, undefined],
    ['POST', `/workitems/${GLOBAL}/subscribers/WATCHER/suspend`, undefined],
    ['DELETE', `/workitems/${GLOBAL}/subscribers/WATCHER`, undefined],
  ] as const) {
    const { status, text, headers } = await send(door, method, path, body);
    assert.ok(status === 200 || status === 201, `${status} ${method} ${path} ${text}`);
    assert.equal(text, '');
    assert.equal(headers.get('content-type'), null);
  }
});

test('PS3.18-11.9.2-returned: a search returns the keys of return type 1 and 2, and what was matched or asked for', async () => {
  const [found] = JSON.parse(
    (
      await send(
        door,
        'GET',
        '/workitems?ProcedureStepState=SCHEDULED&WorklistLabel=READING&includefield=CommentsOnTheScheduledProcedureStep&limit=1',
      )
    ).text,
  ) as JsonDataSet[];
  // PS3.4 table CC.2.5-3: return keys of type 1 and 2 of the modules SOP Common, Scheduled, Patient, Progress.
  for (const key of [
    '00080016',
    '00080018',
    '00741200',
    '00741204',
    '00404005',
    '00404018',
    '00404025',
    '00404041',
    '00404021',
    '00741000',
    '00100010',
    '00100020',
    '00100030',
    '00100040',
    '00741202',
    '00400400',
  ])
    assert.ok(found?.[key] !== undefined, key);
});

test('PS3.18-11.9.1.2-parameters: the parameters of every search hold: 400 for what is none, pages, Warning, 204', async () => {
  for (const query of [
    'Nonesuch=1',
    'limit=x',
    'offset=-1',
    'ProcedureStepState=SCHEDULED&00741000=SCHEDULED',
    'fuzzymatching=2',
  ])
    assert.equal((await send(door, 'GET', `/workitems?${query}`)).status, 400, query);
  const all = JSON.parse((await send(door, 'GET', '/workitems')).text) as JsonDataSet[];
  const page = await send(door, 'GET', '/workitems?limit=1');
  assert.equal(page.warning, `There are ${all.length - 1} additional results that can be requested`);
  assert.deepEqual(JSON.parse(page.text), all.slice(0, 1));
  const none = await send(door, 'GET', '/workitems?ProcedureStepLabel=nonesuch');
  assert.deepEqual([none.status, none.text], [204, '']);
});

test('PS3.18-11.3-404: what the worklist has never had is 404 in every transaction; what is no UID 400', async () => {
  for (const [method, below, body] of [
    ['GET', '', undefined],
    ['POST', '', { '00741204': el('LO', 'x') }],
    ['PUT', '/state', { '00741000': el('CS', 'IN PROGRESS'), '00081195': el('UI', '2.25.9') }],
    ['POST', '/cancelrequest', undefined],
    ['POST', '/subscribers/WATCHER', undefined],
  ] as const) {
    assert.equal((await send(door, method, `/workitems/2.25.404${below}`, body)).status, 404, `${method} ${below}`);
    assert.equal((await send(door, method, `/workitems/nouid${below}`, body)).status, 400, `${method} ${below}`);
  }
});

test('PS3.18-11.10.3.2-location: a subscription to a work item, the worklist or a filtered one names its WebSocket', async () => {
  for (const path of [
    '/workitems/2.25.1/subscribers/READER',
    `/workitems/${GLOBAL}/subscribers/READER`,
    `/workitems/${FILTERED}/subscribers/READER?filter=WorklistLabel%3DREADING`,
  ]) {
    const { status, headers } = await send(door, 'POST', path);
    assert.equal(status, 201, path);
    assert.match(headers.get('content-location') ?? '', /^ws:\/\/127\.0\.0\.1:\d+\/dicom-web\/.*READER$/);
  }
});
