/** The Studies Service (PS3.18 chapter 10) by the tables of the standard: resources, keys, returned attributes, header fields. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { storeInstance } from '../../src/archive/instances.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { tagKey } from '../../src/dicom/data-set.ts';
import { ROUTES } from '../../src/dicomweb/router.ts';
import { identified, objectOf, type Keywords } from '../phantom/keywords.ts';
import { makeObject } from '../phantom/objects.ts';
import { getJson, multipartBody, MULTIPART, openDoor, partsOf, type Door, type JsonDataSet } from './door.ts';
import { bodyOf, itemsIn, JSON_FORM, jsonPart, reasonsIn, stow } from './stow-bodies.ts';

const CT = '1.2.840.10008.5.1.4.1.1.2';
const IMAGE: Keywords = {
  SamplesPerPixel: 1,
  PhotometricInterpretation: 'MONOCHROME2',
  Rows: 4,
  Columns: 4,
  BitsAllocated: 16,
  BitsStored: 16,
  HighBit: 15,
  PixelRepresentation: 0,
  PixelData: Buffer.alloc(32, 7),
};
const FULL: Keywords = {
  ...identified(CT, 'CT', [1, 1, 1]),
  ...IMAGE,
  StudyDate: '20240101',
  StudyTime: '101500',
  AccessionNumber: 'ACC1',
  ReferringPhysicianName: 'Refer^One',
  PatientID: 'P1',
  PatientName: 'Adam^One',
  PatientBirthDate: '19700101',
  PatientSex: 'M',
  StudyID: 'S1',
  StudyDescription: 'description 1',
  SeriesDescription: 'series 1',
  SeriesNumber: 11,
  InstanceNumber: 21,
  TimezoneOffsetFromUTC: '+0100',
  PerformedProcedureStepStartDate: '20240101',
  PerformedProcedureStepStartTime: '101600',
  RequestAttributesSequence: [{ ScheduledProcedureStepID: 'SPS1', RequestedProcedureID: 'RP1' }],
  NumberOfFrames: 1,
  IconImageSequence: [{ ...IMAGE, PixelData: undefined, '7FE00010 OW': Buffer.alloc(32, 9) }],
};
/** Nothing in it agrees with the first, and what is not required is not there. */
const BARE: Keywords = {
  ...identified('1.2.840.10008.5.1.4.1.1.4', 'MR', [2, 1, 1]),
  ...IMAGE,
  StudyDate: '20200202',
  StudyTime: '080000',
  PatientID: 'P2',
  PatientName: 'Berta^Two',
  SeriesNumber: 12,
  InstanceNumber: 22,
};

let door: Door;
before(async () => {
  door = await openDoor();
  for (const attributes of [FULL, BARE]) await storeInstance(door.gateway.archive, objectOf(attributes));
});
after(() => door.close());

const INSTANCE = '/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1';
const key = (keyword: string): string => tagKey(tag(keyword));

test('PS3.18-10.2-resources: every mandatory resource of Retrieve, Store and Search is there, and Capabilities', async () => {
  const study = '/studies/:study';
  const series = `${study}/series/:series`;
  const instance = `${series}/instances/:instance`;
  const levels = [study, series, instance];
  const wanted = [
    ...['', '/metadata', '/rendered', '/thumbnail', '/bulkdata', '/pixeldata'].flatMap((what) =>
      levels.map((level) => `GET ${level}${what}`),
    ),
    ...['', '/rendered', '/thumbnail'].map((what) => `GET ${instance}/frames/:frames${what}`),
    ...['/studies', '/series', '/instances', `${study}/series`, `${study}/instances`, `${series}/instances`].map(
      (path) => `GET ${path}`,
    ),
    'POST /studies',
    `POST ${study}`,
  ];
  const routed = new Set(ROUTES.map(({ method, path }) => `${method} ${path}`));
  assert.deepEqual(
    wanted.filter((route) => !routed.has(route)),
    [],
  );
  assert.equal((await fetch(`${door.url}/`, { method: 'OPTIONS' })).status, 200);
});

/** PS3.18 table 10.6.1-5 with a value of the first object and one of neither. */
const MATCHES: Readonly<Record<'studies' | 'series' | 'instances', readonly (readonly [string, string, string])[]>> = {
  studies: [
    ['StudyDate', '20240101', '20240102'],
    ['StudyTime', '101500', '101501'],
    ['AccessionNumber', 'ACC1', 'ACC2'],
    ['ModalitiesInStudy', 'CT', 'PT'],
    ['ReferringPhysicianName', 'Refer^One', 'Refer^Two'],
    ['PatientName', 'Adam^One', 'Adam^Two'],
    ['PatientID', 'P1', 'P3'],
    ['StudyInstanceUID', '2.25.1', '2.25.3'],
    ['StudyID', 'S1', 'S2'],
  ],
  series: [
    ['Modality', 'CT', 'PT'],
    ['SeriesInstanceUID', '2.25.1.1', '2.25.1.2'],
    ['SeriesNumber', '11', '13'],
    ['PerformedProcedureStepStartDate', '20240101', '20240102'],
    ['PerformedProcedureStepStartTime', '101600', '101601'],
    ['RequestAttributesSequence.ScheduledProcedureStepID', 'SPS1', 'SPS2'],
    ['RequestAttributesSequence.RequestedProcedureID', 'RP1', 'RP2'],
  ],
  instances: [
    ['SOPClassUID', CT, '1.2.840.10008.5.1.4.1.1.128'],
    ['SOPInstanceUID', '2.25.1.1.1', '2.25.1.1.9'],
    ['InstanceNumber', '21', '23'],
  ],
};

test('PS3.18-10.6.1.2.3-keys: every required key of its level and of those above narrows, by keyword and by tag', async () => {
  const levels = ['studies', 'series', 'instances'] as const;
  for (const [index, level] of levels.entries())
    for (const [keyword, value, other] of levels.slice(0, index + 1).flatMap((at) => MATCHES[at])) {
      const byTag = keyword.split('.').map(key).join('.');
      for (const name of [keyword, byTag]) {
        const found = await door.search(`/${level}?${name}=${encodeURIComponent(value)}`);
        assert.deepEqual(
          found.map((result) => result['0020000D']?.Value),
          [['2.25.1']],
          `/${level}?${name}`,
        );
        assert.deepEqual(
          await door.search(`/${level}?${name}=${encodeURIComponent(other)}`),
          [],
          `/${level}?${name}, other`,
        );
      }
    }
});

test('PS3.18-10.6.1.2.3-scope: the keys of series and instances narrow inside a study and a series', async () => {
  const scopes = { series: '/studies/2.25.1/series', instances: '/studies/2.25.1/series/2.25.1.1/instances' };
  for (const level of ['series', 'instances'] as const)
    for (const [keyword, value, other] of MATCHES[level]) {
      assert.equal((await door.search(`${scopes[level]}?${keyword}=${value}`)).length, 1, keyword);
      assert.equal((await door.search(`${scopes[level]}?${keyword}=${other}`)).length, 0, keyword);
    }
  for (const [keyword, value, other] of MATCHES.series) {
    assert.equal((await door.search(`/studies/2.25.1/instances?${keyword}=${value}`)).length, 1, keyword);
    assert.equal((await door.search(`/studies/2.25.1/instances?${keyword}=${other}`)).length, 0, keyword);
  }
});

/** PS3.18 tables 10.6.3-3 to 10.6.3-5: required, and present where known. */
const RETURNED = {
  studies: {
    required:
      'StudyDate StudyTime AccessionNumber ModalitiesInStudy ReferringPhysicianName RetrieveURL PatientName PatientID ' +
      'PatientBirthDate PatientSex StudyInstanceUID StudyID NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances ' +
      'InstanceAvailability',
    known: 'TimezoneOffsetFromUTC',
  },
  series: {
    required: 'Modality RetrieveURL SeriesInstanceUID SeriesNumber NumberOfSeriesRelatedInstances',
    known:
      'TimezoneOffsetFromUTC SeriesDescription PerformedProcedureStepStartDate PerformedProcedureStepStartTime ' +
      'RequestAttributesSequence',
  },
  instances: {
    required: 'SOPClassUID SOPInstanceUID RetrieveURL InstanceNumber InstanceAvailability',
    known: 'TimezoneOffsetFromUTC Rows Columns BitsAllocated NumberOfFrames',
  },
} as const;
const lists = (result: JsonDataSet, keywords: string): string[] =>
  keywords.split(' ').filter((keyword) => result[key(keyword)] === undefined);

for (const [id, level, path] of [
  ['PS3.18-10.6.3.3.1-attributes', 'studies', '/studies'],
  ['PS3.18-10.6.3.3.2-attributes', 'series', '/studies/{s}/series'],
  ['PS3.18-10.6.3.3.3-attributes', 'instances', '/studies/{s}/series/{s}.1/instances'],
] as const)
  test(`${id}: ${level} are returned with what is required, empty where it has no value, and with what is known`, async () => {
    const of = async (study: string): Promise<JsonDataSet> => {
      const at = path.replaceAll('{s}', study);
      const [result = {}] = await door.search(level === 'studies' ? `${at}?StudyInstanceUID=${study}` : at);
      return result;
    };
    const { required, known } = RETURNED[level];
    const full = await of('2.25.1');
    const bare = await of('2.25.2');
    assert.deepEqual(lists(full, `${required} ${known}`), []);
    assert.deepEqual(lists(bare, required), []);
    if (level === 'studies') {
      assert.deepEqual(bare[key('AccessionNumber')], { vr: 'SH' });
      assert.deepEqual(full[key('NumberOfStudyRelatedInstances')]?.Value, [1]);
      assert.deepEqual(full[key('ModalitiesInStudy')]?.Value, ['CT']);
    }
    const url = String(full[key('RetrieveURL')]?.Value?.[0]);
    assert.equal((await fetch(url)).status, 200, url);
  });

test('PS3.18-10.6.3.3.1-include: attributes asked for are returned, of the level or above; of a lower level not', async () => {
  const keysOf = async (path: string): Promise<string[]> => Object.keys((await door.search(path))[0] ?? {});
  const lower = ['Modality', 'SeriesNumber', 'SOPClassUID', 'Rows'];
  const studies = await keysOf(`/studies?PatientID=P1&includefield=${['StudyDescription', ...lower].join('%2C')}`);
  assert.ok(studies.includes(key('StudyDescription')));
  assert.deepEqual(
    lower.filter((keyword) => studies.includes(key(keyword))),
    [],
  );
  const series = await keysOf('/studies/2.25.1/series?includefield=StudyDescription,PatientName,SOPClassUID');
  assert.ok(series.includes(key('StudyDescription')) && series.includes(key('PatientName')));
  assert.ok(!series.includes(key('SOPClassUID')));
  const instances = await keysOf(
    '/studies/2.25.1/series/2.25.1.1/instances?includefield=PatientName&includefield=Modality',
  );
  assert.ok(instances.includes(key('PatientName')) && instances.includes(key('Modality')));
});

test('PS3.18-10.6.3.3.1-matched: an attribute that was matched on is returned', async () => {
  const [study = {}] = await door.search('/studies?StudyDescription=description*');
  assert.deepEqual(study[key('StudyDescription')]?.Value, ['description 1']);
  const [series = {}] = await door.search('/series?SeriesDescription=series%201&BodyPartExamined=');
  assert.deepEqual(series[key('SeriesDescription')]?.Value, ['series 1']);
});

test('PS3.18-10.6.3.3.2-all: All Series and All Instances have every attribute of the levels above', async () => {
  const [series = {}] = await door.search('/series?PatientID=P1');
  assert.deepEqual(lists(series, `${RETURNED.studies.required} ${RETURNED.series.required}`), []);
  const [instance = {}] = await door.search('/instances?PatientID=P1');
  const every = Object.values(RETURNED).map(({ required }) => required);
  assert.deepEqual(lists(instance, every.join(' ')), []);
  const [inStudy = {}] = await door.search('/studies/2.25.1/instances');
  assert.deepEqual(lists(inStudy, RETURNED.series.required), []);
});

test('PS3.18-10.4.1.1.4-thumbnails: thumbnails of study, series, instance and frame are there, one image each', async () => {
  for (const path of ['/studies/2.25.1', '/studies/2.25.1/series/2.25.1.1', INSTANCE, `${INSTANCE}/frames/1`]) {
    const response = await door.get(`${path}/thumbnail`, 'image/png');
    assert.deepEqual([response.status, response.headers.get('content-type')], [200, 'image/png'], path);
    const bytes = Buffer.from(await response.arrayBuffer());
    assert.equal(bytes.subarray(0, 8).toString('latin1'), '\x89PNG\r\n\x1a\n');
  }
});

test('PS3.18-10.4.3.3.2-attributes: metadata has every attribute of the stored object, and no file meta', async () => {
  const [metadata = {}] = await getJson(`${door.url}${INSTANCE}/metadata`);
  const stored = Object.keys(FULL).map((name) => (/^[0-9A-F]{8} /.test(name) ? name.slice(0, 8) : key(name)));
  assert.deepEqual(Object.keys(metadata), stored.toSorted());
  assert.ok(Object.keys(metadata).every((name) => !name.startsWith('0002')));
});

test('PS3.18-10.4.3.3.6-top: the pixeldata resource has the pixel data of the top level, not that of an icon', async () => {
  const parts = await partsOf(
    await door.get(`${INSTANCE}/pixeldata`, 'multipart/related; type="application/octet-stream"'),
  );
  assert.deepEqual(
    parts.map(({ body }) => body),
    [Buffer.alloc(32, 7)],
  );
  const [metadata = {}] = await getJson(`${door.url}${INSTANCE}/metadata`);
  assert.equal(parts[0]?.headers['content-location'], metadata['7FE00010']?.BulkDataURI);
});

test('PS3.18-10.4.3.3.5-nested: the bulkdata resource has that of sequences too, each under its URI in the metadata', async () => {
  const parts = await partsOf(
    await door.get(`${INSTANCE}/bulkdata`, 'multipart/related; type="application/octet-stream"'),
  );
  const uris = parts.map(({ headers }) => headers['content-location']);
  const [metadata = {}] = await getJson(`${door.url}${INSTANCE}/metadata`);
  const named = [...JSON.stringify(metadata).matchAll(/"BulkDataURI":"([^"]+)"/g)].map(([, uri]) => uri);
  assert.ok(named.length >= 1);
  assert.deepEqual(uris.toSorted(), named.toSorted());
});

test('PS3.18-10.4.4-single: a single part is for a single item: 406 for series and study, whatever they hold', async () => {
  for (const [path, type] of [
    ['/studies/2.25.1', 'application/dicom'],
    ['/studies/2.25.1/series/2.25.1.1', 'application/dicom'],
    ['/studies/2.25.1/rendered', 'image/jpeg'],
    ['/studies/2.25.1/series/2.25.1.1/rendered', 'image/png'],
    ['/studies/2.25.1/bulkdata', 'application/octet-stream'],
    ['/studies/2.25.1/series/2.25.1.1/pixeldata', 'application/octet-stream'],
  ] as const)
    assert.equal(await door.statusOf(path, type), 406, path);
  assert.equal(await door.statusOf(INSTANCE, 'application/dicom'), 200);
});

test('PS3.18-10.5.1.4-meta: file meta in metadata to be stored is passed over; the object is stored as its data set says', async () => {
  const made = identified(CT, 'CT', [5, 1, 1]);
  const dataSet: Record<string, unknown> = {
    '00020010': { vr: 'UI', Value: ['1.2.840.10008.1.2.4.90'] },
    ...Object.fromEntries(
      Object.entries({ ...made, ...IMAGE })
        .filter(([name]) => name !== 'PixelData' && name !== 'SpecificCharacterSet')
        .map(([name, value]) => [
          key(name),
          name === 'PatientName' ? { vr: 'PN', Value: [{ Alphabetic: value }] } : { vr: vrFor(name), Value: [value] },
        ]),
    ),
    '7FE00010': { vr: 'OW', InlineBinary: Buffer.alloc(32).toString('base64') },
  };
  const answer = await stow(door, JSON_FORM, bodyOf([jsonPart(dataSet)]));
  assert.equal(answer.status, 200, answer.text);
  const url = String(itemsIn(answer.dataSet, '00081199')[0]?.['00081190']?.Value?.[0]);
  const object = await fetch(url, { headers: { accept: 'application/dicom; transfer-syntax=*' } });
  assert.equal(object.headers.get('content-type'), 'application/dicom; transfer-syntax=1.2.840.10008.1.2.1');
});

function vrFor(keyword: string): string {
  if (/UID$/.test(keyword)) return 'UI';
  if (/Date$/.test(keyword)) return 'DA';
  if (/Time$/.test(keyword)) return 'TM';
  if (/^(Modality|PhotometricInterpretation)$/.test(keyword)) return 'CS';
  if (/Number$/.test(keyword)) return 'IS';
  return keyword === 'PatientID' ? 'LO' : 'US';
}

test('PS3.18-10.5.3.2-location: a new study is named by Location and Content-Location, and its Retrieve URL is the same', async () => {
  const { bytes } = makeObject({ rows: 4, columns: 4, studyInstanceUID: '2.25.41', sopInstanceUID: '2.25.41.1' });
  const answer = await stow(door, MULTIPART, multipartBody([bytes]));
  const url = answer.dataSet['00081190']?.Value?.[0];
  assert.equal(answer.headers.get('location'), url);
  assert.equal(answer.headers.get('content-location'), url);
  assert.equal((await fetch(String(url))).status, 200);
});

test('PS3.18-I.1-types: Retrieve URL is there, empty where nothing was stored; sequences only with items', async () => {
  const bad = await stow(door, MULTIPART, multipartBody([Buffer.from('this is no object')]));
  assert.equal(bad.status, 400);
  assert.deepEqual(bad.dataSet['00081190'], { vr: 'UR' });
  assert.equal(bad.dataSet['00081199'], undefined);
  assert.equal(bad.dataSet['00081198'], undefined);
  assert.equal(reasonsIn(bad.dataSet, '0008119A').length, 1);
  const good = await stow(door, MULTIPART, multipartBody([makeObject({ rows: 4, columns: 4 }).bytes]));
  assert.deepEqual(Object.keys(good.dataSet), ['00081190', '00081199']);
  const [item = {}] = itemsIn(good.dataSet, '00081199');
  assert.deepEqual(Object.keys(item), ['00081150', '00081155', '00081190']);
});

test('PS3.18-I.2-reasons: each cause has its Failure or Warning Reason of tables I.2-1 and I.2-2, as a number', async () => {
  const objectAt = (options: object): Buffer => makeObject({ rows: 4, columns: 4, ...options }).bytes;
  const send = (bytes: Buffer, path = '/studies'): ReturnType<typeof stow> =>
    stow(door, MULTIPART, multipartBody([bytes]), path);
  const otherStudy = await send(objectAt({}), '/studies/2.25.77');
  assert.deepEqual([otherStudy.status, ...reasonsIn(otherStudy.dataSet, '00081198')], [409, 0xa900]);
  const syntax = await send(objectAt({ transferSyntaxUID: '1.2.3.4', sopInstanceUID: '2.25.51' }));
  assert.deepEqual([syntax.status, ...reasonsIn(syntax.dataSet, '00081198')], [409, 0xc122]);
  assert.deepEqual(itemsIn(syntax.dataSet, '00081198')[0]?.['00081155']?.Value, ['2.25.51']);
  const unreadable = await send(Buffer.alloc(200, 1));
  assert.deepEqual([unreadable.status, ...reasonsIn(unreadable.dataSet, '0008119A')], [400, 0xc000]);
  // A class that no profile knows is held for a person.
  const held = await send(objectAt({ sopClassUID: '1.2.840.10008.1.1' }));
  const warnings = itemsIn(held.dataSet, '00081199').map((item) => item['00081196']);
  assert.deepEqual([held.status, warnings], [202, [{ vr: 'US', Value: [0xb000] }]]);
});

test('PS3.18-10.6.5-statement: the conformance statement says what the standard wants said', () => {
  const statement = readFileSync(new URL('../../conformance/statement.md', import.meta.url), 'utf8');
  for (const words of [
    'At most 5000 results in one answer',
    'Fuzzy matching adds to',
    'Multiple values',
    'role of origin server',
    'native implementation',
    'emptyvaluematching',
    'Deviations from PS3.18',
    'Transfer syntax',
    'Failure Reason',
    'Character sets',
    'Thumbnails fit a square of 128 pixels',
    'quality` is that of the JPEG encoder',
    'Notification connections (8.10)',
  ])
    assert.ok(statement.includes(words), words);
});
