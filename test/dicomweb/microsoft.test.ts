/**
 * Cases of microsoft/dicom-server's end-to-end tests, by the names they have there: query, retrieve, entity tags, delete. Where our
 * status differs the title says so; what stores is in stow-faults, what works in ups and changefeed.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { makeObject } from '../phantom/objects.ts';
import { fill, getJson, multipartBody, MULTIPART, openDoor, partsOf, type Door, type JsonDataSet } from './door.ts';
import { stow } from './stow-bodies.ts';

const JPEG_2000_LOSSY = '1.2.840.10008.1.2.4.91';
const EXPLICIT_LE = '1.2.840.10008.1.2.1';
const SERIES = '/studies/2.25.1/series/2.25.1.1';
const INSTANCE = `${SERIES}/instances/2.25.1.1.1`;
const NO_PIXELS = '/studies/2.25.2/series/2.25.2.1/instances/2.25.2.1.1';
const LEVELS = ['/studies/2.25.1', SERIES, INSTANCE];

let door: Door;
before(async () => {
  door = await openDoor();
  await fill(
    door,
    {
      studyInstanceUID: '2.25.1',
      seriesInstanceUID: '2.25.1.1',
      sopInstanceUID: '2.25.1.1.1',
      patientName: 'Brün^Josée',
      patientID: 'P1',
      studyDescription: 'Thorax nativ',
      referringPhysician: 'Dr^Who',
      numberOfFrames: 3,
      pixels: Buffer.from([...Array.from({ length: 96 }).keys()]),
      sopClassUID: '1.2.840.10008.5.1.4.1.1.7.3',
    },
    {
      studyInstanceUID: '2.25.1',
      seriesInstanceUID: '2.25.1.2',
      sopInstanceUID: '2.25.1.2.1',
      seriesNumber: 2,
      patientName: 'Brün^Josée',
      patientID: 'P1',
      modality: 'MR',
      transferSyntaxUID: JPEG_2000_LOSSY,
      // With loss: it goes out as it is stored, and nothing else is made of it.
      fragments: [Buffer.from('ff4fff51', 'hex')],
    },
    {
      studyInstanceUID: '2.25.2',
      seriesInstanceUID: '2.25.2.1',
      sopInstanceUID: '2.25.2.1.1',
      patientName: 'Smith^Jane',
      patientID: 'P2',
      pixels: null,
    },
  );
});
after(() => door.close());

const uidsOf = (found: readonly JsonDataSet[], key: string): unknown[] => found.map((one) => one[key]?.Value?.[0]);

test('MS-QUERY-1: GivenSearchRequest_WithUnsupportedTag: 400; WithNoMatches: 204', async () => {
  for (const path of ['/studies', '/series', '/instances', '/studies/2.25.1/series', `${SERIES}/instances`])
    assert.equal(await door.statusOf(`${path}?PixelData=1`), 400, path);
  for (const path of ['/studies?PatientID=nobody', '/studies/2.25.404/series', '/studies/2.25.404/instances'])
    assert.equal(await door.statusOf(path), 204, path);
});

test('MS-QUERY-2: AllStudies, StudySeries, AllSeries, StudyInstances, StudySeriesInstances, AllInstances find what they hold', async () => {
  for (const [path, key, uids] of [
    ['/studies?PatientID=P1', '0020000D', ['2.25.1']],
    ['/studies/2.25.1/series?Modality=MR', '0020000E', ['2.25.1.2']],
    ['/series?Modality=MR', '0020000E', ['2.25.1.2']],
    ['/studies/2.25.1/instances?Modality=MR', '00080018', ['2.25.1.2.1']],
    [`${SERIES}/instances?SOPInstanceUID=2.25.1.1.1`, '00080018', ['2.25.1.1.1']],
    ['/instances?Modality=MR', '00080018', ['2.25.1.2.1']],
    ['/instances?StudyInstanceUID=2.25.2', '00080018', ['2.25.2.1.1']],
  ] as const)
    assert.deepEqual(uidsOf(await getJson(`${door.url}${path}`), key), uids, path);
});

test('MS-QUERY-3: StudyComputedColumns and SeriesComputedColumns: modalities and counts, also where they are asked for', async () => {
  const query = 'StudyInstanceUID=2.25.1&includefield=ModalitiesInStudy&includefield=NumberOfStudyRelatedInstances';
  const [study = {}] = await getJson(`${door.url}/studies?${query}`);
  assert.deepEqual(study['00080061']?.Value?.toSorted(), ['CT', 'MR']);
  assert.deepEqual([study['00201206']?.Value, study['00201208']?.Value], [[2], [2]]);
  const [series = {}] = await getJson(`${door.url}/studies/2.25.1/series?includefield=NumberOfSeriesRelatedInstances`);
  assert.deepEqual(series['00201209']?.Value, [1]);
});

test('MS-QUERY-4: PatientName: case- and accent-insensitive; FuzzyMatch: by the beginnings of words', async () => {
  for (const query of [
    'PatientName=Brün^Josée',
    'PatientName=BRUN^JOSEE',
    'PatientName=brun^josee',
    'PatientName=brun*',
    'PatientName=jos&fuzzymatching=true',
    'PatientName=Josée Brün&fuzzymatching=true',
  ])
    assert.deepEqual(uidsOf(await getJson(`${door.url}/studies?${query}`), '00100020'), ['P1'], query);
  assert.equal(await door.statusOf('/studies?PatientName=ose&fuzzymatching=true'), 204);
});

test("MS-QUERY-5: OHIF's query of the study list, as its viewer sends it", async () => {
  const found = await getJson(
    `${door.url}/studies?limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060%2C00080090%2C00100030`,
  );
  assert.deepEqual(uidsOf(found, '00100020').toSorted(), ['P1', 'P2']);
  const thorax = found.find((study) => study['00081030']?.Value?.[0] === 'Thorax nativ');
  assert.deepEqual(thorax?.['00080090']?.Value, [{ Alphabetic: 'Dr^Who' }]);
});

test('MS-RETRIEVE-1: GivenSupportedAcceptHeaders at study, series and instance: 200; GivenUnsupported: 406', async () => {
  for (const path of ['/studies/2.25.2', '/studies/2.25.2/series/2.25.2.1', NO_PIXELS]) {
    for (const accept of [
      'multipart/related; type="application/dicom"',
      'multipart/related; type="application/dicom"; transfer-syntax=*',
      `multipart/related; type="application/dicom"; transfer-syntax=${EXPLICIT_LE}`,
      '*/*',
    ])
      assert.equal(await door.statusOf(path, { accept }), 200, `${path} ${accept}`);
    for (const accept of [
      'application/data',
      'multipart/related; type="image/png"',
      'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.100',
    ])
      assert.equal(await door.statusOf(path, { accept }), 406, `${path} ${accept}`);
  }
});

test('MS-RETRIEVE-2: GivenInstanceWithDifferentTransferSyntaxes: the original by *, what can be had with 206, none 406', async () => {
  const original = 'multipart/related; type="application/dicom"; transfer-syntax=*';
  const parts = await partsOf(await door.get('/studies/2.25.1', { accept: original }));
  assert.deepEqual(
    parts.map(({ headers }) => headers['content-type']),
    [EXPLICIT_LE, JPEG_2000_LOSSY].map((uid) => `application/dicom; transfer-syntax=${uid}`),
  );
  const lossy = original.replace('*', JPEG_2000_LOSSY);
  const some = await door.get('/studies/2.25.1', { accept: lossy });
  assert.equal(some.status, 206);
  assert.equal((await partsOf(some)).length, 1);
  assert.equal(await door.statusOf(INSTANCE, { accept: lossy }), 406);
  assert.equal(await door.statusOf('/studies/2.25.2', { accept: lossy }), 406);
});

test('MS-RETRIEVE-3: GivenNonExisting study, series, instance, frame, metadata: 404; an invalid UID: 400', async () => {
  for (const path of ['/studies/2.25.404', '/studies/2.25.1/series/2.25.404', `${SERIES}/instances/2.25.404`])
    for (const below of ['', '/metadata', '/rendered'])
      assert.equal(await door.statusOf(path + below), 404, path + below);
  for (const path of ['/studies/a.b', '/studies/2.25.1/series/aaaa', `${SERIES}/instances/1..2`, '/studies/01.2'])
    assert.equal(await door.statusOf(path), 400, path);
});

test('MS-RETRIEVE-4: GivenInstanceWithoutPixelData: the instance 200, its frames 404, its picture 406', async () => {
  assert.equal(await door.statusOf(NO_PIXELS), 200);
  assert.equal(await door.statusOf(`${NO_PIXELS}/metadata`), 200);
  assert.equal(await door.statusOf(`${NO_PIXELS}/frames/1`), 404);
  assert.equal(await door.statusOf(`${NO_PIXELS}/rendered`), 406);
});

test('MS-RETRIEVE-5: GivenFrames: several as parts, one as a single part, NonExisting 404, Invalid 400', async () => {
  const all = Buffer.from([...Array.from({ length: 96 }).keys()]);
  const multipart = 'multipart/related; type="application/octet-stream"';
  const parts = await partsOf(await door.get(`${INSTANCE}/frames/1,3`, { accept: multipart }));
  assert.deepEqual(
    parts.map(({ body }) => body),
    [all.subarray(0, 32), all.subarray(64)],
  );
  const single = await door.get(`${INSTANCE}/frames/2`, { accept: 'application/octet-stream' });
  assert.deepEqual(Buffer.from(await single.arrayBuffer()), all.subarray(32, 64));
  assert.equal(await door.statusOf(`${INSTANCE}/frames/4`), 404);
  assert.equal(await door.statusOf(`${INSTANCE}/frames/1,4`), 404);
  for (const list of ['0', '-1', 'abc', '1,,2', '1,0', '1.5', '%20'])
    assert.equal(await door.statusOf(`${INSTANCE}/frames/${list}`), 400, list);
});

test('MS-RETRIEVE-6: GivenRendered: JPEG and PNG, by frame, quality 1 to 100; other types 406, other qualities 400', async () => {
  for (const path of [`${INSTANCE}/frames/2/rendered`, `${NO_PIXELS.replaceAll('2.25.2', '2.25.1')}/frames/1/rendered`])
    for (const accept of ['image/jpeg', 'image/png'])
      assert.equal((await door.get(path, { accept })).headers.get('content-type'), accept, path);
  const sizes: number[] = [];
  for (const quality of [1, 50, 100])
    sizes.push((await (await door.get(`${INSTANCE}/frames/1/rendered?quality=${quality}`)).arrayBuffer()).byteLength);
  assert.ok((sizes[0] ?? 0) < (sizes[2] ?? 0));
  for (const quality of ['0', '101', 'good', '-1', '1.5'])
    assert.equal(await door.statusOf(`${INSTANCE}/frames/1/rendered?quality=${quality}`), 400, quality);
  assert.equal(await door.statusOf(`${INSTANCE}/rendered`, { accept: 'image/tiff' }), 406);
  assert.equal(await door.statusOf(`${INSTANCE}/frames/9/rendered`), 404);
});

test('MS-RETRIEVE-7: GivenMetadata with unsupported Accept: 406; GivenBulkData is not in it but named', async () => {
  for (const level of LEVELS)
    assert.equal(await door.statusOf(`${level}/metadata`, { accept: 'application/data' }), 406);
  const [metadata = {}] = await getJson(`${door.url}${INSTANCE}/metadata`);
  assert.equal(metadata['7FE00010']?.InlineBinary, undefined);
  assert.equal((await fetch(metadata['7FE00010']?.BulkDataURI ?? '')).status, 200);
});

test('MS-ETAG-1: IfNoneMatch that matches at study, series and instance: 304; that differs or is absent: 200', async () => {
  for (const level of LEVELS) {
    const tag = (await door.get(`${level}/metadata`)).headers.get('etag') ?? '';
    assert.match(tag, /^"[^"]+"$/);
    for (const known of [tag, `W/${tag}`, `"x", ${tag}`, '*'])
      assert.equal(await door.statusOf(`${level}/metadata`, { 'if-none-match': known }), 304, `${level} ${known}`);
    for (const known of ['"x"', tag.slice(1, -1)])
      assert.equal(await door.statusOf(`${level}/metadata`, { 'if-none-match': known }), 200, `${level} ${known}`);
  }
});

test('MS-ETAG-2: after an update and after a delete the tags of study and series are others, that of a sibling is not', async () => {
  const study = '/studies/2.25.30';
  const [one, two] = [`${study}/series/2.25.30.1`, `${study}/series/2.25.30.2`];
  const ids = (series: number, instance: number): object => ({
    studyInstanceUID: '2.25.30',
    seriesInstanceUID: `2.25.30.${series}`,
    sopInstanceUID: `2.25.30.${series}.${instance}`,
    seriesNumber: series,
    instanceNumber: instance,
  });
  await fill(door, ids(1, 1), ids(2, 1));
  const tags = (): Promise<(string | null)[]> =>
    Promise.all([study, one, two].map(async (path) => (await door.get(`${path}/metadata`)).headers.get('etag')));
  const before = await tags();
  await fill(door, ids(1, 2));
  const updated = await tags();
  assert.deepEqual(
    updated.map((tag, at) => tag === before[at]),
    [false, false, true],
  );
  assert.equal(await door.statusOf(`${one}/instances/2.25.30.1.2`, {}, 'DELETE'), 204);
  const deleted = await tags();
  assert.deepEqual(
    deleted.map((tag, at) => tag === updated[at]),
    [false, false, true],
  );
});

test('MS-DELETE-1: an instance, a series, a study: 204, again 410 (404 there), the siblings stay', async () => {
  const study = '/studies/2.25.40';
  for (const [series, instance] of [
    [1, 1],
    [1, 2],
    [2, 1],
  ])
    await fill(door, {
      studyInstanceUID: '2.25.40',
      seriesInstanceUID: `2.25.40.${series}`,
      sopInstanceUID: `2.25.40.${series}.${instance}`,
      seriesNumber: series ?? 0,
      instanceNumber: instance ?? 0,
    });
  const left = async (): Promise<unknown[]> => {
    const response = await door.get('/instances?StudyInstanceUID=2.25.40');
    return response.status === 204 ? [] : uidsOf((await response.json()) as JsonDataSet[], '00080018');
  };
  for (const [path, remaining] of [
    [`${study}/series/2.25.40.1/instances/2.25.40.1.1`, ['2.25.40.1.2', '2.25.40.2.1']],
    [`${study}/series/2.25.40.1`, ['2.25.40.2.1']],
    [study, []],
  ] as const) {
    assert.equal(await door.statusOf(path, {}, 'DELETE'), 204, path);
    assert.equal(await door.statusOf(path, {}, 'DELETE'), 410, path);
    assert.equal(await door.statusOf(`${path}/metadata`), 410, path);
    assert.deepEqual(await left(), remaining);
  }
});

test('MS-DELETE-2: GivenABadUID: 400; GivenNonExisting: 404, and nothing is gone', async () => {
  for (const path of ['/studies/bad', '/studies/2.25.1/series/bad', `${SERIES}/instances/bad`])
    assert.equal(await door.statusOf(path, {}, 'DELETE'), 400, path);
  for (const path of ['/studies/2.25.404', '/studies/2.25.1/series/2.25.404', `${SERIES}/instances/2.25.404`])
    assert.equal(await door.statusOf(path, {}, 'DELETE'), 404, path);
  assert.equal(await door.statusOf(INSTANCE), 200);
});

test('MS-DELETE-3: what was deleted can be stored again and is there', async () => {
  const body = multipartBody([
    makeObject({ rows: 4, columns: 4, studyInstanceUID: '2.25.50', sopInstanceUID: '2.25.50.1' }).bytes,
  ]);
  const url = String((await stow(door, MULTIPART, body)).dataSet['00081190']?.Value?.[0]);
  assert.equal((await fetch(url, { method: 'DELETE' })).status, 204);
  assert.equal((await fetch(url)).status, 410);
  assert.equal((await stow(door, MULTIPART, body)).status, 200);
  assert.equal((await fetch(url)).status, 200);
});
