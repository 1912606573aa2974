/** Where other origin servers were seen to fail at search, storage and the services around: each fault turned into a requirement. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { storeInstance } from '../../src/archive/instances.ts';
import { identified, objectOf } from '../phantom/keywords.ts';
import { makeObject } from '../phantom/objects.ts';
import { fill, multipartBody, MULTIPART, openDoor, type Door, type JsonDataSet } from './door.ts';
import { bodyOf, bulkPart, itemsIn, JSON_FORM, jsonPart, reasonsIn, stow } from './stow-bodies.ts';
import { changeState, postWorkitem, readWorkitem } from './workitem.ts';

const NAMES = ['Ng^Lee-Ann^Mary', 'Ångström^Åsa', 'Иванов^Пётр', 'Yamada^Tarou=山田^太郎', 'O\u2019Brien "Bob"^Al'];
const SEARCHES = [
  '/studies',
  '/series',
  '/instances',
  '/studies/2.25.1/series',
  '/studies/2.25.1/instances',
  '/studies/2.25.1/series/2.25.1.1/instances',
];
let door: Door;
/** For what is stored by a test. */
let inbox: Door;
before(async () => {
  door = await openDoor();
  inbox = await openDoor();
  for (const [index, patientName] of NAMES.entries())
    for (const number of [1, 2])
      await fill(door, {
        studyInstanceUID: `2.25.${index + 1}`,
        seriesInstanceUID: `2.25.${index + 1}.${number}`,
        sopInstanceUID: `2.25.${index + 1}.${number}.1`,
        seriesNumber: number,
        studyDate: `2024010${index + 1}`,
        studyTime: `${10 + index}0000`,
        patientID: `P${index + 1}`,
        otherPatientIDs: [`OTHER${index + 1}`],
        patientName,
        modality: number === 1 ? 'CT' : 'SR',
        accessionNumber: index === 0 ? '' : `A${index + 1}`,
        scheduledProcedureStepID: `SPS${index + 1}`,
      });
});
after(async () => {
  await door.close();
  await inbox.close();
});

const studiesOf = async (query: string): Promise<string[]> =>
  (await door.search(`/studies?${query}`)).map((study) => String(study['0020000D']?.Value?.[0])).toSorted();
const encoded = encodeURIComponent;

test('TRAP-1: every search resource handles all seven parameters, the last two by matching', async () => {
  const all = 'fuzzymatching=true&includefield=StudyDescription&limit=50&offset=0&emptyvaluematching=true';
  for (const path of SEARCHES) {
    assert.ok((await door.search(`${path}?${all}&multiplevaluematching=true`)).length > 0, path);
    for (const name of ['fuzzymatching', 'emptyvaluematching', 'multiplevaluematching'])
      assert.equal(await door.statusOf(`${path}?${name}=maybe`), 400, `${path} ${name}`);
  }
  assert.deepEqual(await studiesOf(`AccessionNumber=${encoded('""')}&emptyvaluematching=true`), ['2.25.1']);
  assert.deepEqual(await studiesOf(`AccessionNumber=${encoded('""')}`), []);
  const both = `ModalitiesInStudy=${encoded('CT\\SR')}&multiplevaluematching=true`;
  assert.equal((await studiesOf(both)).length, 5);
  assert.deepEqual(await studiesOf(both.replace('SR', 'MR')), []);
});

test('TRAP-2: no Warning says that a parameter is not supported, since all are; none names another origin', async () => {
  for (const path of [...SEARCHES, '/workitems'])
    for (const name of ['fuzzymatching', 'emptyvaluematching', 'multiplevaluematching']) {
      const { headers, status } = await door.get(`${path}?${name}=true&limit=1`);
      assert.ok(status === 200 || status === 204);
      const warning = headers.get('warning');
      if (warning !== null) assert.match(warning, new RegExp(`^299 ${door.url}: There are \\d+ additional results`));
    }
});

test('TRAP-3: tags, keywords and paths of either; lists by comma; repeats of includefield; all alone; a key once', async () => {
  for (const key of [
    'PatientID=P2',
    '00100020=P2',
    'OtherPatientIDsSequence.PatientID=OTHER2',
    '00101002.00100020=OTHER2',
  ])
    assert.deepEqual(await studiesOf(key), ['2.25.2'], key);
  assert.deepEqual(await studiesOf('OtherPatientIDsSequence.00100020=OTHER2'), ['2.25.2']);
  assert.deepEqual(await studiesOf('StudyInstanceUID=2.25.1,2.25.3'), ['2.25.1', '2.25.3']);
  assert.deepEqual(await studiesOf('StudyInstanceUID=2.25.1%2C2.25.3'), ['2.25.1', '2.25.3']);
  const keysOf = async (query: string): Promise<string[]> =>
    Object.keys((await door.search(`/studies?${query}`))[0] ?? {});
  const one = await keysOf('includefield=00081060%2C00101002');
  assert.deepEqual(await keysOf('includefield=00081060&includefield=OtherPatientIDsSequence'), one);
  assert.ok(one.includes('00101002'));
  for (const query of [
    'includefield=all&includefield=00081060',
    'includefield=all,00081060',
    'PatientID=P1&PatientID=P2',
    'PatientID=P1&00100020=P1',
    '00091001=x',
    'includefield=00091001',
  ])
    assert.equal(await door.statusOf(`/studies?${query}`), 400, query);
});

test('TRAP-4: pages add up to the whole; Warning whenever something is left, also by the limit of the client; never 206', async () => {
  for (const path of SEARCHES) {
    const whole = JSON.stringify(await door.search(path));
    const total = (JSON.parse(whole) as unknown[]).length;
    for (const limit of [1, 2, 3, 7]) {
      const paged: JsonDataSet[] = [];
      for (let offset = 0; ; offset += limit) {
        const response = await door.get(`${path}?limit=${limit}&offset=${offset}`);
        if (response.status === 204) break;
        assert.equal(response.status, 200);
        paged.push(...((await response.json()) as JsonDataSet[]));
        const left = total - offset - limit;
        const warning = `299 ${door.url}: There are ${left} additional results that can be requested`;
        assert.equal(response.headers.get('warning'), left > 0 ? warning : null, `${path} ${limit} ${offset}`);
      }
      assert.equal(JSON.stringify(paged), whole, `${path} by ${limit}`);
    }
  }
  assert.equal(await door.statusOf('/studies?limit=0'), 204);
});

test('TRAP-5: Retrieve, Store, Search and the worklist stand in the Capabilities of the base', async () => {
  const text = await (await fetch(`${door.url}/`, { method: 'OPTIONS' })).text();
  for (const id of ['SearchStudies', 'RetrieveStudiesStudy', 'StoreStudies', 'CreateWorkitemWorkitems'])
    assert.match(text, new RegExp(`id="${id}"`));
  assert.equal((await fetch(`${door.url}/`, { method: 'GET' })).status, 405);
});

test('TRAP-10: 200, 202, 400, 409 and 415 of Store, each with its sequences and without empty ones', async () => {
  const good = (at: number): Buffer =>
    makeObject({ rows: 4, columns: 4, studyInstanceUID: '2.25.60', instanceNumber: at }).bytes;
  const cases: readonly (readonly [type: string, body: Buffer, status: number, keys: string[]])[] = [
    [MULTIPART, multipartBody([good(1)]), 200, ['00081190', '00081199']],
    [MULTIPART, multipartBody([good(2), Buffer.from('no object')]), 202, ['00081190', '00081199', '0008119A']],
    [MULTIPART, multipartBody([Buffer.from('no object')]), 400, ['00081190', '0008119A']],
    [MULTIPART, Buffer.from('--b0--'), 400, ['00081190', '0008119A']],
  ];
  for (const [type, body, status, keys] of cases) {
    const answer = await stow(inbox, type, body);
    assert.deepEqual([answer.status, Object.keys(answer.dataSet)], [status, keys], answer.text);
  }
  const wrong = await stow(inbox, 'text/plain', Buffer.from('x'));
  assert.equal(wrong.status, 415);
  assert.match(wrong.text, /multipart\/related; type=\\"application\/dicom\\"/);
});

test('TRAP-12: JSON as Annex F has it: order, empty values, null, empty items, component groups, nothing that JSON has not', async () => {
  await storeInstance(
    door.gateway.archive,
    objectOf({
      ...identified('1.2.840.10008.5.1.4.1.1.2', 'CT', [70, 1, 1]),
      ImageType: ['ORIGINAL', '', 'AXIAL'],
      AccessionNumber: '',
      ReferencedStudySequence: [{}],
      FrameIncrementPointer: '00540010',
      '00189074 FD': Buffer.from(new Float64Array([1.5]).buffer),
    }),
  );
  const text = await (await door.get('/studies/2.25.70/metadata')).text();
  const [object = {}] = JSON.parse(text) as JsonDataSet[];
  assert.deepEqual(Object.keys(object), Object.keys(object).toSorted());
  assert.deepEqual(object['00080008']?.Value, ['ORIGINAL', null, 'AXIAL']);
  assert.deepEqual(object['00080050'], { vr: 'SH' });
  assert.deepEqual(object['00081110'], { vr: 'SQ', Value: [{}] });
  assert.deepEqual(object['00280009'], { vr: 'AT', Value: ['00540010'] });
  assert.deepEqual(object['00100010']?.Value, [{ Alphabetic: 'Pseudonym^One' }]);
  assert.deepEqual(object['00200013'], { vr: 'IS', Value: [1] });
  assert.ok(!/NaN|Infinity|"Value":\[\]|"\d{4}[0-9A-F]{0}0000":/.test(text));
  for (const element of Object.values(object))
    assert.ok(['Value', 'BulkDataURI', 'InlineBinary'].filter((name) => name in element).length <= 1);
  await fetch(`${door.url}/studies/2.25.70`, { method: 'DELETE' });
});

test('TRAP-13: what is returned follows the level; a lower level asked for is not returned', async () => {
  for (const field of ['Modality', 'SeriesNumber', 'SOPInstanceUID', 'Rows']) {
    const [study = {}] = await door.search(`/studies?includefield=${field}`);
    const tag = { Modality: '00080060', SeriesNumber: '00200011', SOPInstanceUID: '00080018', Rows: '00280010' }[field];
    assert.equal(study[tag ?? ''], undefined, field);
  }
  const [series = {}] = await door.search('/studies/2.25.1/series?includefield=SOPClassUID,PatientName');
  assert.equal(series['00080016'], undefined);
  assert.ok(series['00100010'] !== undefined && series['00100020'] === undefined);
});

test('TRAP-14: open ranges, date and time as one interval, a time zone, wild cards in text alone', async () => {
  assert.deepEqual(await studiesOf('StudyDate=20240104-'), ['2.25.4', '2.25.5']);
  assert.deepEqual(await studiesOf('StudyDate=-20240102'), ['2.25.1', '2.25.2']);
  // From the 2nd at noon to the 4th at half past ten: one interval, not a daily one.
  assert.deepEqual(await studiesOf('StudyDate=20240102-20240104&StudyTime=1130-1030'), ['2.25.3']);
  assert.deepEqual(await studiesOf('StudyDate=20240102-20240104&StudyTime=1030-1230'), ['2.25.2', '2.25.3']);
  assert.deepEqual(await studiesOf('StudyDate=20240101&TimezoneOffsetFromUTC=%2B0100'), ['2.25.1']);
  assert.deepEqual(await studiesOf('PatientID=P?'), ['2.25.1', '2.25.2', '2.25.3', '2.25.4', '2.25.5']);
  for (const query of ['StudyDate=2024*', 'StudyTime=10*', 'StudyDate=20241301', 'StudyDate=20240103-x'])
    assert.equal(await door.statusOf(`/studies?${query}`), 400, query);
  assert.equal(await door.statusOf('/studies?StudyInstanceUID=2.25.*'), 400);
});

test('TRAP-16: success is never told of what was not stored: no part, no boundary, no end, a foreign part', async () => {
  const { bytes } = makeObject({ rows: 4, columns: 4, studyInstanceUID: '2.25.61', sopInstanceUID: '2.25.61.1' });
  const whole = multipartBody([bytes]);
  for (const [type, body] of [
    [MULTIPART, Buffer.alloc(0)],
    [MULTIPART, Buffer.from('--b0\r\n--b0--\r\n')],
    [MULTIPART.replace('b0', 'other'), whole],
    [MULTIPART, whole.subarray(0, whole.length - 8)],
    [MULTIPART.replace('; boundary=b0', ''), whole],
  ] as const) {
    const { status, dataSet } = await stow(inbox, type, body);
    assert.equal(status, 400);
    assert.equal(itemsIn(dataSet, '00081199').length, 0);
  }
  const answer = await stow(inbox, MULTIPART, whole);
  const [stored] = itemsIn(answer.dataSet, '00081199');
  assert.deepEqual([answer.status, stored?.['00081155']?.Value], [200, ['2.25.61.1']]);
  assert.equal((await fetch(String(stored?.['00081190']?.Value?.[0]))).status, 200);
});

test('TRAP-17: DELETE is for its roles and leaves 410; work is locked by its transaction UID', async () => {
  const hash = createHash('sha256').update('secret').digest('hex');
  const guarded = await openDoor(`access:\n  tokens:\n    - { name: v, sha256: ${hash}, roles: [viewer] }\n`);
  try {
    await fill(guarded, { studyInstanceUID: '2.25.1' });
    const headers = { authorization: 'Bearer secret' };
    const remove = await fetch(`${guarded.url}/studies/2.25.1`, { method: 'DELETE', headers });
    assert.equal(remove.status, 403);
    assert.equal((await fetch(`${guarded.url}/studies/2.25.1/metadata`, { headers })).status, 200);
  } finally {
    await guarded.close();
  }
  await fill(door, { studyInstanceUID: '2.25.62' });
  assert.equal((await fetch(`${door.url}/studies/2.25.62`, { method: 'DELETE' })).status, 204);
  assert.equal(await door.statusOf('/studies/2.25.62'), 410);
  assert.equal((await postWorkitem(door, '2.25.500')).status, 201);
  assert.equal((await changeState(door, '2.25.500', 'IN PROGRESS', '2.25.501')).status, 200);
  assert.equal((await changeState(door, '2.25.500', 'CANCELED', '2.25.502')).status, 400);
  assert.equal((await changeState(door, '2.25.500', 'CANCELED')).status, 400);
  assert.equal((await readWorkitem(door, '2.25.500'))['00081195'], undefined);
});

test('TRAP-18: WADO-URI: a syntax that is none or repeated is 400, one that cannot be had 406', async () => {
  const object = '/wado?requestType=WADO&studyUID=2.25.1&seriesUID=2.25.1.1&objectUID=2.25.1.1.1';
  const at = (query: string): Promise<number> => door.statusOf(`${object}&contentType=application/dicom&${query}`);
  assert.equal(await at('transferSyntax=1.2.840.10008.1.2.1'), 200);
  assert.equal(await at('transferSyntax=1.2.840.10008.1.2.4.100'), 406);
  assert.equal(await at('transferSyntax=1.2.840.10008.1.2'), 406);
  assert.equal(await at('transferSyntax=nope'), 400);
  assert.equal(await at('transferSyntax=1.2.840.10008.1.2.1&transferSyntax=1.2.840.10008.1.2.1'), 400);
});

test('PROBED-2: a search that cannot be understood is 400, never every study; what can be is answered', async () => {
  for (const query of ['Nonesuch=1', '0010002=1', 'RequestAttributesSequence.x=1', 'StudyDate=garbage', 'limit=abc'])
    assert.equal(await door.statusOf(`/studies?${query}`), 400, query);
  assert.deepEqual(await studiesOf('PatientID=nobody'), []);
  const fuzzy = await studiesOf('PatientName=Lee%20Ann%20Ng&fuzzymatching=true');
  assert.deepEqual(fuzzy, ['2.25.1']);
  const [all = {}] = await door.search('/instances?includefield=all&limit=1');
  assert.ok(all['00180050'] !== undefined && all['00200032'] !== undefined, 'attributes of the instance itself');
  const dates = (await door.search('/studies?PatientID=P*')).map((study) => String(study['00080020']?.Value?.[0]));
  assert.deepEqual(dates, dates.toSorted().toReversed());
});

test('PROBED-3: Accept is obeyed by a search: text/plain is 406, multipart XML is XML, the parameter counts', async () => {
  assert.equal(await door.statusOf('/studies', { accept: 'text/plain' }), 406);
  for (const accept of [
    'multipart/related; type="application/dicom+xml"',
    'multipart/related;type=application/dicom+xml',
  ])
    assert.match(
      (await door.get('/studies', { accept })).headers.get('content-type') ?? '',
      /^multipart\/related; type="app/,
    );
  const xml = await door.get(`/studies?accept=${encoded('multipart/related; type="application/dicom+xml"')}`);
  assert.match(await xml.text(), /<NativeDicomModel/);
  assert.equal((await fetch(`${door.url}/studies`, { method: 'HEAD' })).status, 200);
});

test('PROBED-4: metadata in JSON and single parts are stored, an empty multipart is not 200', async () => {
  const made = makeObject({ rows: 4, columns: 4, studyInstanceUID: '2.25.63', sopInstanceUID: '2.25.63.1' });
  assert.equal((await stow(inbox, 'application/dicom', made.bytes)).status, 200);
  const dataSet = {
    '00080016': { vr: 'UI', Value: ['1.2.840.10008.5.1.4.1.1.2'] },
    '00080018': { vr: 'UI', Value: ['2.25.64.1'] },
    '00080060': { vr: 'CS', Value: ['CT'] },
    '00180015': { vr: 'CS', Value: ['CHEST'] },
    '0020000D': { vr: 'UI', Value: ['2.25.64'] },
    '0020000E': { vr: 'UI', Value: ['2.25.64.2'] },
    '00280002': { vr: 'US', Value: [1] },
    '00280004': { vr: 'CS', Value: ['MONOCHROME2'] },
    '00280010': { vr: 'US', Value: [4] },
    '00280011': { vr: 'US', Value: [4] },
    '00280100': { vr: 'US', Value: [16] },
    '00280101': { vr: 'US', Value: [16] },
    '00280102': { vr: 'US', Value: [15] },
    '00280103': { vr: 'US', Value: [0] },
    '7FE00010': { vr: 'OW', BulkDataURI: 'pixels' },
  };
  const apart = await stow(inbox, JSON_FORM, bodyOf([jsonPart(dataSet), bulkPart('pixels', Buffer.alloc(32))]));
  assert.ok(apart.status === 200 || apart.status === 202, apart.text);
  assert.equal(itemsIn(apart.dataSet, '00081199').length, 1);
  const empty = await stow(inbox, MULTIPART, Buffer.from('--b0--\r\n'));
  assert.deepEqual([empty.status, reasonsIn(empty.dataSet, '0008119A').length], [400, 1]);
});

test('PROP-f: no refusal repeats anything of the request: path, key, value, header or body', async () => {
  const secret = 'Kowalski';
  const bodies: string[] = [];
  for (const [method, path, headers, body] of [
    ['GET', `/studies/${secret}`, {}, undefined],
    ['GET', `/${secret}`, {}, undefined],
    ['GET', `/studies?${secret}^Jan=1`, {}, undefined],
    ['GET', `/studies?PatientName=${secret}%00`, {}, undefined],
    ['GET', `/studies?StudyDate=${secret}`, {}, undefined],
    ['GET', `/studies?limit=${secret}`, {}, undefined],
    ['GET', `/studies?includefield=${secret}%20Jan`, {}, undefined],
    ['GET', '/studies', { accept: `text/${secret}` }, undefined],
    ['GET', `/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1/frames/${secret}`, {}, undefined],
    ['GET', `/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1/rendered?window=${secret}`, {}, undefined],
    ['GET', `/wado?requestType=${secret}`, {}, undefined],
    ['GET', `/workitems?${secret}^=1`, {}, undefined],
    ['GET', `/workitems/${secret}`, {}, undefined],
    ['POST', '/studies', { 'content-type': `text/${secret}` }, secret],
    ['POST', '/studies', { 'content-type': MULTIPART }, `--b0\r\n\r\n${secret}\r\n--b0--`],
    ['POST', '/studies', { 'content-type': JSON_FORM }, `--b0\r\n\r\n[{"00100010":"${secret}"}]\r\n--b0--`],
    ['POST', `/workitems?2.25.9`, { 'content-type': 'application/dicom+json' }, `[{"00100010":"${secret}"}]`],
    ['POST', `/studies/${secret}`, { 'content-type': MULTIPART }, 'x'],
  ] as readonly (readonly [string, string, Record<string, string>, string | undefined])[]) {
    const response = await fetch(`${door.url}${path}`, { method, headers, ...(body === undefined ? {} : { body }) });
    const text = await response.text();
    assert.ok(response.status >= 400 && response.status < 500, `${response.status} ${method} ${path}`);
    assert.ok(!text.includes(secret), `${method} ${path}: ${text}`);
    assert.ok(!JSON.stringify([...response.headers]).includes(secret), path);
    bodies.push(text);
  }
  assert.equal(bodies.length, 18);
});

test('PROP-c: fuzzy contains literal over HTTP, for every name and beginning of a name', async () => {
  for (const name of NAMES.flatMap((all) => [all, `${all.slice(0, 3)}*`, all.split(/[\^=]/)[0] ?? ''])) {
    const literal = await studiesOf(`PatientName=${encoded(name)}`);
    const fuzzy = await studiesOf(`PatientName=${encoded(name)}&fuzzymatching=true`);
    assert.deepEqual(
      literal.filter((study) => !fuzzy.includes(study)),
      [],
      name,
    );
    assert.ok(fuzzy.length > 0, name);
  }
  // A quotation mark is data, not an operator.
  assert.deepEqual(await studiesOf('fuzzymatching=true&PatientName=%22Bob%22'), ['2.25.5']);
});
