/** QIDO-RS over a real socket: DICOMWEB.md traps 1 to 4, 9 and 13, and section 11 "Search" inverted. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deleteStudy } from '../../src/archive/studies.ts';
import { agent, fill, getJson, openDoor, type Door, type JsonDataSet } from './door.ts';

let door: Door;
const STUDIES = ['2.25.1', '2.25.2', '2.25.3'] as const;

before(async () => {
  door = await openDoor();
  for (const [index, study] of STUDIES.entries()) {
    const common = {
      studyInstanceUID: study,
      studyDate: `2024010${index + 1}`,
      patientID: `P${index + 1}`,
      patientName: ['Pseudonym^Ada', 'Pseudonym^Bert', 'Other^Cleo'][index] ?? '',
      studyDescription: `study ${index + 1}`,
    };
    for (const seriesNumber of [1, 2]) {
      for (const instanceNumber of [1, 2, 3]) {
        await fill(door, {
          ...common,
          seriesNumber,
          instanceNumber,
          modality: seriesNumber === 1 ? 'CT' : 'MR',
          scheduledProcedureStepID: `SPS${index + 1}`,
          seriesInstanceUID: `${study}.${seriesNumber}`,
          sopInstanceUID: `${study}.${seriesNumber}.${instanceNumber}`,
        });
      }
    }
  }
});
after(() => door.close());

const valuesOf = (results: readonly JsonDataSet[], key: string): unknown[] =>
  results.map((result) => result[key]?.Value?.[0]);
const studiesOf = async (path: string): Promise<unknown[]> => valuesOf(await getJson(`${door.url}${path}`), '0020000D');

test('QIDO-1: the six search resources answer with the instances of their scope', async () => {
  const counts: [string, number][] = [
    ['/studies', 3],
    ['/series', 6],
    ['/instances', 18],
    ['/studies/2.25.1/series', 2],
    ['/studies/2.25.1/instances', 6],
    ['/studies/2.25.1/series/2.25.1.2/instances', 3],
  ];
  for (const [path, count] of counts) assert.equal((await getJson(`${door.url}${path}`)).length, count, path);
});

test('QIDO-2: the answer is application/dicom+json without a charset, keys ascending, URLs absolute', async () => {
  const response = await door.get('/studies?PatientID=P2', { accept: 'application/dicom+json' });
  assert.equal(response.headers.get('content-type'), 'application/dicom+json');
  const [study = {}] = (await response.json()) as JsonDataSet[];
  assert.deepEqual(Object.keys(study), Object.keys(study).toSorted());
  assert.deepEqual(study['00081190'], { vr: 'UR', Value: [`${door.url}/studies/2.25.2`] });
  assert.deepEqual(study['00100010'], { vr: 'PN', Value: [{ Alphabetic: 'Pseudonym^Bert' }] });
  assert.deepEqual(study['00080061']?.Value?.toSorted(), ['CT', 'MR']);
  assert.deepEqual(study['00201208']?.Value, [6]);
  assert.deepEqual(study['00080050'], { vr: 'SH' });
});

test('QIDO-3: keyword, tag, sequence path, range, wildcard and UID list each narrow the result', async () => {
  assert.deepEqual(await studiesOf('/studies?PatientID=P1'), ['2.25.1']);
  assert.deepEqual(await studiesOf('/studies?00100020=P1'), ['2.25.1']);
  assert.deepEqual(await studiesOf('/studies?StudyDate=20240102-'), ['2.25.3', '2.25.2']);
  assert.deepEqual(await studiesOf('/studies?PatientName=pseudonym*'), ['2.25.2', '2.25.1']);
  assert.deepEqual((await studiesOf('/studies?StudyInstanceUID=2.25.1%2C2.25.3')).toSorted(), ['2.25.1', '2.25.3']);
  assert.equal((await getJson(`${door.url}/series?RequestAttributesSequence.ScheduledProcedureStepID=SPS2`)).length, 2);
  assert.equal((await getJson(`${door.url}/studies/2.25.1/series?Modality=MR`)).length, 1);
});

test('QIDO-4: an unknown, malformed, repeated or unmatchable key is 400 and names the key, never the value', async () => {
  for (const query of [
    'PatientNam=SECRET',
    '0010002Z=SECRET',
    'RequestAttributesSequence.x=SECRET',
    'PatientID=SECRET&PatientID=SECRET2',
    'StudyDate=SECRET',
    'limit=SECRET',
    'PixelData=SECRET',
    'PatientID=%E4SECRET',
  ]) {
    const response = await door.get(`/studies?${query}`);
    const body = await response.text();
    assert.equal(response.status, 400, query);
    assert.ok(!body.includes('SECRET'), body);
    assert.equal(response.headers.get('content-type'), 'application/json');
  }
  assert.match(await (await door.get('/studies?PatientNam=x')).text(), /PatientNam/);
});

test('QIDO-5: nothing found is 204 with an empty body, also for limit=0 and beyond the end', async () => {
  for (const query of ['PatientID=NOBODY', 'limit=0', 'offset=99']) {
    const response = await door.get(`/studies?${query}`);
    assert.equal(response.status, 204, query);
    assert.equal(await response.text(), '');
  }
});

test('QIDO-6: Warning 299 tells exactly how many are left, also when the client set the limit', async () => {
  const warningOf = async (query: string): Promise<string | null> =>
    (await door.get(`/instances?${query}`)).headers.get('warning');
  assert.equal(await warningOf('limit=5'), `299 ${door.url}: There are 13 additional results that can be requested`);
  assert.equal(
    await warningOf('limit=5&offset=10'),
    `299 ${door.url}: There are 3 additional results that can be requested`,
  );
  assert.equal(await warningOf('limit=5&offset=13'), null);
  assert.equal(await warningOf(''), null);
});

test('QIDO-7: pages of any limit add up to the whole list in the same order', async () => {
  const whole = valuesOf(await getJson(`${door.url}/instances`), '00080018');
  assert.equal(new Set(whole).size, 18);
  for (const limit of [1, 4, 7, 18, 50]) {
    const paged: unknown[] = [];
    for (let offset = 0; offset < 18; offset += limit)
      paged.push(...valuesOf(await getJson(`${door.url}/instances?limit=${limit}&offset=${offset}`), '00080018'));
    assert.deepEqual(paged, whole, `limit ${limit}`);
  }
});

test('QIDO-8: includefield adds attributes, as list, repeat or all; a lower level is not returned', async () => {
  const [plain = {}] = await getJson(`${door.url}/studies?PatientID=P1`);
  assert.equal(plain['00081030'], undefined);
  for (const query of [
    'includefield=00081030%2C00080080',
    'includefield=StudyDescription&includefield=00080080',
    'includefield=all',
  ]) {
    const [study = {}] = await getJson(`${door.url}/studies?PatientID=P1&${query}`);
    assert.deepEqual(study['00081030'], { vr: 'LO', Value: ['study 1'] }, query);
  }
  const [study = {}] = await getJson(`${door.url}/studies?PatientID=P1&includefield=Modality`);
  assert.ok((study['00080060']?.Value ?? []).length === 0);
});

test('QIDO-9: All Series carries study attributes, All Instances those of study and series, in a study only the levels below', async () => {
  const [series = {}] = await getJson(`${door.url}/series?limit=1`);
  const [instance = {}] = await getJson(`${door.url}/instances?limit=1`);
  const [inStudy = {}] = await getJson(`${door.url}/studies/2.25.1/instances?limit=1`);
  assert.ok(series['00100020'] !== undefined && series['00080060'] !== undefined);
  assert.ok(
    instance['00100020'] !== undefined && instance['00080060'] !== undefined && instance['00083002'] !== undefined,
  );
  assert.ok(
    inStudy['00100020'] === undefined && inStudy['00080060'] !== undefined && inStudy['0020000D'] !== undefined,
  );
});

test('QIDO-14: a time zone whose plus became a blank is understood, one that is none is 400', async () => {
  for (const offset of ['+0100', '%2B0100', '%200100', '-0330'])
    assert.deepEqual(
      await studiesOf(`/studies?StudyDate=20240102&TimezoneOffsetFromUTC=${offset}`),
      ['2.25.2'],
      offset,
    );
  assert.equal((await door.get('/studies?StudyDate=20240102&TimezoneOffsetFromUTC=SECRET')).status, 400);
});

test('QIDO-15: a private key is matched and returned with its creator; without one it is 400, as key and in includefield', async () => {
  await fill(door, { studyInstanceUID: '2.25.9', privateText: 'seven', patientID: 'P9', pixels: null });
  const [study = {}, ...more] = await getJson(`${door.url}/studies?00090010=PHANTOM&00091010=seven`);
  assert.deepEqual([study['0020000D']?.Value, more.length], [['2.25.9'], 0]);
  assert.deepEqual(study['00091010']?.Value, ['seven']);
  const [instance = {}] = await getJson(`${door.url}/instances?PatientID=P9&00090042=PHANTOM&includefield=00094210`);
  assert.deepEqual([instance['00090042']?.Value, instance['00094210']?.Value], [['PHANTOM'], ['seven']]);
  assert.equal((await door.get('/studies?00090010=OTHER&00091010=seven')).status, 204);
  for (const query of ['00091010=SECRET', 'PatientID=P9&includefield=00091010', '00090010=&00091010=SECRET']) {
    const response = await door.get(`/studies?${query}`);
    assert.equal(response.status, 400, query);
    assert.ok(!(await response.text()).includes('SECRET'));
  }
  await deleteStudy(door.gateway.archive, '2.25.9');
});

test('QIDO-11: fuzzy matching contains what literal matching finds', async () => {
  const literal = await studiesOf('/studies?PatientName=pseudonym*');
  const fuzzy = await studiesOf('/studies?PatientName=pseudonym*&fuzzymatching=true');
  for (const study of literal) assert.ok(fuzzy.includes(study));
});

test('QIDO-12: a browser gets JSON, application/nope 406, accept= goes before the header', async () => {
  assert.equal((await door.get('/studies', { accept: 'image/webp, */*;q=0.8, text/html' })).status, 200);
  const refused = await door.get('/studies', { accept: 'application/nope' });
  assert.equal(refused.status, 406);
  assert.match(await refused.text(), /application\/dicom\+json/);
  assert.equal((await door.get('/studies?accept=application/dicom%2Bjson', { accept: 'text/html' })).status, 200);
  assert.equal((await door.get('/studies', { accept: 'text/plain' })).status, 406);
});

test('HTTP-1: HEAD is answered like GET without a body, another method is 405 with Allow', async () => {
  const head = await fetch(`${door.url}/studies`, { method: 'HEAD' });
  assert.equal(head.status, 200);
  assert.ok(Number(head.headers.get('content-length')) > 0);
  assert.equal(await head.text(), '');
  const wrong = await agent(door).delete('/dicom-web/studies');
  assert.equal(wrong.status, 405);
  assert.equal(wrong.headers['allow'], 'GET, HEAD, POST, OPTIONS');
});

test('HTTP-2: what is no resource is 404 without repeating the path, a path that does not decode is 400', async () => {
  const response = await door.get('/nothing/SECRET');
  assert.equal(response.status, 404);
  assert.ok(!(await response.text()).includes('SECRET'));
  assert.equal((await door.get('/studies/%E4/series')).status, 400);
  assert.equal((await door.get('/studies/not-a-uid/series')).status, 400);
});

test('HTTP-3: a large answer is compressed for who takes gzip and says it varies', async () => {
  const answer = await agent(door).get('/dicom-web/instances').set('Accept-Encoding', 'gzip');
  assert.equal(answer.headers['content-encoding'], 'gzip');
  assert.match(answer.headers['vary'] ?? '', /Accept-Encoding/);
  const plain = await agent(door).get('/dicom-web/instances').set('Accept-Encoding', 'gzip;q=0');
  assert.equal(plain.headers['content-encoding'], undefined);
});

test('QIDO-13: with emptySearch 200 an empty result is an empty array', async () => {
  const other = await openDoor('http: { emptySearch: 200 }');
  try {
    const response = await fetch(`${other.url}/studies`);
    assert.equal(response.status, 200);
    assert.deepEqual(await response.json(), []);
  } finally {
    await other.close();
  }
});
