/** Search parameters (PS3.18 8.3.1 and 8.3.4) and what a search returns (10.6), a test for each sentence, over a real socket. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { tag } from '../../src/dicom/dictionary.ts';
import { tagKey } from '../../src/dicom/data-set.ts';
import { fill, openDoor, type Door } from './door.ts';

const STUDIES = [
  { patientName: 'Pseudonym^Ada', studyDate: '20240101', studyTime: '220000', accessionNumber: 'A1' },
  { patientName: 'Pseudonym^Bert', studyDate: '20240102', studyTime: '060000' },
  { patientName: 'Other^Cleo', studyDate: '20240103', studyTime: '120000', accessionNumber: 'A,3' },
];
const LEVELS = ['/studies', '/series', '/instances'];
const SEARCHES = [
  ...LEVELS,
  '/studies/2.25.1/series',
  '/studies/2.25.1/instances',
  '/studies/2.25.1/series/2.25.1.1/instances',
];

let door: Door;
before(async () => {
  door = await openDoor();
  for (const [index, attributes] of STUDIES.entries())
    for (const number of [1, 2]) {
      const study = `2.25.${index + 1}`;
      await fill(door, {
        ...attributes,
        studyInstanceUID: study,
        seriesInstanceUID: `${study}.${number}`,
        sopInstanceUID: `${study}.${number}.1`,
        seriesNumber: number,
        patientID: `P${index + 1}`,
        modality: number === 1 ? 'CT' : 'MR',
        studyDescription: `study ${index + 1}`,
        seriesDescription: `series ${number}`,
        readingPhysicians: 'Alpha^Ann\\Beta^Bob',
        scheduledProcedureStepID: `SPS${index + 1}`,
        otherPatientIDs: [`OTHER${index + 1}`],
        privateText: `private ${index + 1}`,
      });
    }
});
after(() => door.close());

/** The studies found, by the last part of their UIDs, in order of that. */
const found = async (query: string): Promise<string> =>
  (await door.search(`/studies?${query}`))
    .map((study) => String(study['0020000D']?.Value?.[0]).slice(5))
    .toSorted()
    .join(' ');
const keysOf = async (path: string): Promise<string[]> => Object.keys((await door.search(path))[0] ?? {});
const key = (keyword: string): string => tagKey(tag(keyword));
const refused = async (queries: readonly string[]): Promise<void> => {
  for (const query of queries) assert.equal(await door.statusOf(`/studies?${query}`), 400, query);
};

test('PS3.18-8.3.1-keyword: a keyword begins with a letter, is made of letters and digits, and is of PS3.6', async () => {
  assert.equal(await found('PatientID=P2'), '2');
  await refused(['Patient-ID=P2', '1PatientID=P2', 'Patient%20ID=P2', 'PatientIDentifier=P2', "Patient'sName=x"]);
});

test('PS3.18-8.3.1-inner: of a path all but the last attribute are sequences', async () => {
  await refused(['PatientID.PatientName=x', 'OtherPatientIDsSequence.PatientID.PatientName=x', '00100020.00100010=x']);
});

test('PS3.18-8.3.1-last: the last attribute of a path is no sequence', async () => {
  await refused(['OtherPatientIDsSequence=x', '00101002=x']);
});

test('PS3.18-8.3.1-representation: a value is one of its value representation', async () => {
  await refused([
    'StudyDate=2024-01-01',
    'StudyDate=20240230',
    'StudyTime=2460',
    'StudyTime=10%3A00',
    'NumberOfStudyRelatedInstances=many',
    'TimezoneOffsetFromUTC=0100',
  ]);
});

test('PS3.18-8.3.1-padding: blanks around a value are no part of it', async () => {
  assert.equal(await found('PatientID=P2%20'), '2');
  assert.equal(await found('PatientID=%20P2'), '2');
});

test('PS3.18-8.3.1-uid: a UID is digits and dots as PS3.5 9.1 has it, of at most 64 characters, not padded', async () => {
  assert.equal(await found('StudyInstanceUID=2.25.2'), '2');
  await refused([
    'StudyInstanceUID=2.25.02',
    'StudyInstanceUID=2..25',
    'StudyInstanceUID=2.25.',
    'StudyInstanceUID=2.25.x',
    'StudyInstanceUID=2.25.*',
    `StudyInstanceUID=1.${'2'.repeat(63)}`,
    'StudyInstanceUID=2.25.2%00',
  ]);
});

test('PS3.18-8.3.4.1-id: an attribute is named by its tag, of eight hexadecimal digits in either case, or its keyword', async () => {
  assert.equal(await found('00100020=P2'), '2');
  assert.equal(await door.search('/studies/2.25.1/series?0008103e=series%202').then(({ length }) => length), 1);
  await refused(['(0010,0020)=P2', '0010%2C0020=P2', '0x00100020=P2', '100020=P2', '001000200=P2']);
});

test('PS3.18-8.3.4.1-single: an attribute that is no UID has one value, in which a comma is a comma', async () => {
  assert.equal(await found('AccessionNumber=A%2C3'), '3');
  assert.equal(await found('PatientID=P1%2CP2'), '');
});

test('PS3.18-8.3.4.1-list: UIDs may be a list with commas between', async () => {
  assert.equal(await found('StudyInstanceUID=2.25.1,2.25.3'), '1 3');
  assert.equal(await found('StudyInstanceUID=2.25.1%2C2.25.3%2C2.25.77'), '1 3');
  await refused(['StudyInstanceUID=2.25.1,,2.25.3', 'StudyInstanceUID=2.25.1,']);
});

test('PS3.18-8.3.4.1-creator: a private attribute that is matched or asked for needs its private creator', async () => {
  assert.equal(await found('00090010=PHANTOM&00091010=private%202'), '2');
  await refused(['00091010=private%202', 'PatientID=P2&includefield=00091010']);
});

test('PS3.18-8.3.4.1.1-hierarchical: a search is among what is below its resource, and its keys are of its level or above', async () => {
  assert.equal((await door.search('/studies/2.25.1/series?Modality=MR')).length, 1);
  assert.equal(await door.statusOf('/studies/2.25.1/series?Modality=PT'), 204);
  for (const query of ['Modality=MR', 'SOPInstanceUID=2.25.1.1.1', 'InstanceNumber=1']) await refused([query]);
  assert.equal(await door.statusOf('/series?SOPInstanceUID=2.25.1.1.1'), 400);
});

test('PS3.18-8.3.4.1.1-combined: a date and a time of a study are one moment, and their ranges one interval', async () => {
  assert.equal(await found('StudyDate=20240101-20240102&StudyTime=200000-080000'), '1 2');
  assert.equal(await found('StudyDate=20240101-20240103&StudyTime=230000-110000'), '2');
});

test('PS3.18-8.3.4.1.1-zone: a time zone of the request is that of its dates and times', async () => {
  assert.equal(await found('StudyDate=20240102&TimezoneOffsetFromUTC=%2B0000'), '2');
  assert.equal(await found('StudyDate=20240102&StudyTime=060000&TimezoneOffsetFromUTC=%2B0000'), '2');
  await refused(['StudyDate=20240102&TimezoneOffsetFromUTC=%2B9900']);
});

test('PS3.18-8.3.4.2-false: without fuzzy matching, or with false, a name is matched as it is written', async () => {
  for (const flag of ['', '&fuzzymatching=false']) {
    assert.equal(await found(`PatientName=Pseudonym%5EAda${flag}`), '1');
    assert.equal(await found(`PatientName=Ada%20Pseudonym${flag}`), '');
  }
});

test('PS3.18-8.3.4.2-true: with fuzzy matching parts of a name are found in any order', async () => {
  assert.equal(await found('PatientName=Ada%20Pseudonym&fuzzymatching=true'), '1');
  assert.equal(await found('PatientName=Pseudonym&fuzzymatching=true'), '1 2');
});

test('PS3.18-8.3.4.2-value: each option is true or false, once', async () => {
  for (const name of ['fuzzymatching', 'emptyvaluematching', 'multiplevaluematching'])
    await refused([`${name}=`, `${name}=TRUE`, `${name}=1`, `${name}=true&${name}=true`]);
});

test('PS3.18-8.3.4.2-documented: fuzzy, empty and multiple value matching stand in the conformance statement', () => {
  const statement = readFileSync(new URL('../../conformance/statement.md', import.meta.url), 'utf8').toLowerCase();
  for (const name of ['fuzzymatching', 'emptyvaluematching', 'multiplevaluematching'])
    assert.ok(statement.includes(name), name);
});

test('PS3.18-8.3.4.2-capabilities: fuzzy, empty and multiple value matching stand in the Capabilities of every search', async () => {
  const response = await fetch(`${door.url}/`, { method: 'OPTIONS' });
  const text = await response.text();
  for (const name of ['fuzzymatching', 'emptyvaluematching', 'multiplevaluematching'])
    assert.equal(text.split(`name="${name}"`).length - 1, SEARCHES.length + 1, `${name}, with that of the worklist`);
});

test('PS3.18-8.3.4.3-list: includefield is a list with commas between', async () => {
  const keys = await keysOf('/studies?includefield=StudyDescription%2COtherPatientIDsSequence');
  assert.ok(keys.includes(key('StudyDescription')) && keys.includes(key('OtherPatientIDsSequence')));
});

test('PS3.18-8.3.4.3-repeated: includefield may be repeated, and says the same as a list', async () => {
  assert.deepEqual(
    await keysOf('/studies?includefield=StudyDescription&includefield=00101002'),
    await keysOf('/studies?includefield=StudyDescription,00101002'),
  );
});

test('PS3.18-8.3.4.3-all: includefield=all is every attribute that there is of the level', async () => {
  for (const path of SEARCHES) {
    const [plain, all] = [await keysOf(path), await keysOf(`${path}?includefield=all`)];
    assert.ok(all.length > plain.length, path);
    assert.deepEqual(
      plain.filter((one) => !all.includes(one)),
      [],
    );
  }
});

test('PS3.18-8.3.4.3-alone: beside includefield=all there is no other, by list or repeat', async () => {
  await refused([
    'includefield=all&includefield=StudyDescription',
    'includefield=StudyDescription&includefield=all',
    'includefield=all,StudyDescription',
  ]);
});

test('PS3.18-8.3.4.3-universal: what is asked for narrows nothing, and is there without a value where it has none', async () => {
  assert.equal(await found('includefield=StudyComments,AccessionNumber,StudyDescription'), '1 2 3');
  const [bert] = await door.search('/studies?PatientID=P2&includefield=AccessionNumber');
  assert.deepEqual(bert?.[key('AccessionNumber')], { vr: 'SH' });
});

test('PS3.18-8.3.4.3-private: a private attribute that is asked for comes with its creator', async () => {
  const [study] = await door.search('/studies?PatientID=P2&00090010=PHANTOM&includefield=00091010');
  assert.deepEqual(study?.['00090010']?.Value, ['PHANTOM']);
  assert.deepEqual(study['00091010']?.Value, ['private 2']);
});

test('PS3.18-8.3.4.4-offset: offset is how many matches are passed over; 0 by default', async () => {
  for (const path of SEARCHES) {
    const whole = await door.search(path);
    assert.deepEqual(await door.search(`${path}?offset=0`), whole, path);
    assert.deepEqual(await door.search(`${path}?offset=1`), whole.slice(1), path);
  }
});

test('PS3.18-8.3.4.4-limit: limit is the most matches that are returned', async () => {
  for (const path of SEARCHES) {
    const whole = await door.search(path);
    for (const limit of [1, 2, whole.length, 1000])
      assert.deepEqual(await door.search(`${path}?limit=${limit}`), whole.slice(0, limit), `${path} ${limit}`);
  }
});

test('PS3.18-8.3.4.4.1-idempotent: the same request gives the same list in the same order, byte by byte', async () => {
  for (const path of SEARCHES)
    for (const query of ['', '?limit=2', '?includefield=all', '?PatientName=*o*&fuzzymatching=true']) {
      const [first, second] = [await door.get(path + query), await door.get(path + query)];
      assert.equal(await first.text(), await second.text(), path + query);
    }
});

test('PS3.18-8.3.4.4.1-none: without results the answer is 204 and has no payload', async () => {
  for (const path of SEARCHES)
    for (const query of ['limit=0', 'offset=99', 'PatientID=NOBODY', 'StudyInstanceUID=2.25.99']) {
      const response = await door.get(`${path}?${query}`);
      const { headers } = response;
      assert.deepEqual([response.status, await response.text(), headers.get('content-type')], [204, '', null]);
    }
});

test('PS3.18-8.3.4.4.1-some: with results the answer is 200 and they are its payload', async () => {
  for (const path of SEARCHES) {
    const response = await door.get(path);
    assert.equal(response.status, 200);
    assert.ok(((await response.json()) as unknown[]).length > 0, path);
  }
});

test('PS3.18-8.3.4.4.1-remaining: the Warning says how many results are left, and is not there when none are', async () => {
  for (const path of SEARCHES) {
    const total = (await door.search(path)).length;
    for (let limit = 1; limit <= total; limit++) {
      const { headers } = await door.get(`${path}?limit=${limit}`);
      const left = `299 ${door.url}: There are ${total - limit} additional results that can be requested`;
      assert.equal(headers.get('warning'), limit < total ? left : null, `${path} ${limit}`);
    }
  }
});

test('PS3.18-8.3.4.5-false: without emptyvaluematching, or with false, two quotes are a value like another', async () => {
  for (const flag of ['', '&emptyvaluematching=false'])
    assert.equal(await found(`AccessionNumber=%22%22${flag}`), '', flag);
});

test('PS3.18-8.3.4.5-true: with emptyvaluematching two quotes match what has no value', async () => {
  assert.equal(await found('AccessionNumber=%22%22&emptyvaluematching=true'), '2');
  assert.equal(await found('PatientID=%22%22&emptyvaluematching=true'), '');
});

test('PS3.18-8.3.4.6-false: without multiplevaluematching, or with false, a list with backslashes is no list', async () => {
  for (const flag of ['', '&multiplevaluematching=false'])
    assert.equal(await found(`NameOfPhysiciansReadingStudy=Beta%5EBob%5CAlpha%5EAnn${flag}`), '', flag);
});

test('PS3.18-8.3.4.6-true: with multiplevaluematching all values of the list have to be there', async () => {
  assert.equal(await found('ModalitiesInStudy=CT%5CMR&multiplevaluematching=true'), '1 2 3');
  assert.equal(await found('ModalitiesInStudy=CT%5CPT&multiplevaluematching=true'), '');
  const readers = 'NameOfPhysiciansReadingStudy=Beta%5EBob%5CAlpha%5EAnn&multiplevaluematching=true';
  assert.equal(await found(readers), '1 2 3');
  assert.equal(await found(readers.replace('Ann', 'Amy')), '');
});

test('PS3.18-10.6.3.1-warning: no search warns of anything but what is left', async () => {
  for (const path of SEARCHES)
    for (const query of ['fuzzymatching=true', 'emptyvaluematching=true', 'multiplevaluematching=true'])
      assert.equal((await door.get(`${path}?${query}`)).headers.get('warning'), null, `${path} ${query}`);
});

test('PS3.18-10.6.3.3.1-lower: attributes of series and instances that are asked of a study are not returned', async () => {
  const keys = await keysOf('/studies?includefield=Modality,SeriesDescription,SOPInstanceUID,InstanceNumber');
  for (const keyword of ['Modality', 'SeriesDescription', 'SOPInstanceUID', 'InstanceNumber'])
    assert.ok(!keys.includes(key(keyword)), keyword);
});

test('PS3.18-10.6.3.3.2-lower: attributes of instances that are asked of a series are not returned', async () => {
  for (const path of ['/series', '/studies/2.25.1/series']) {
    const keys = await keysOf(`${path}?includefield=SOPInstanceUID,InstanceNumber,Rows`);
    for (const keyword of ['SOPInstanceUID', 'InstanceNumber', 'Rows'])
      assert.ok(!keys.includes(key(keyword)), keyword);
  }
});

test('PS3.18-10.6.3.3.2-higher: attributes of the study that are asked of a series are returned', async () => {
  const keys = await keysOf('/studies/2.25.1/series?includefield=StudyDescription,PatientName');
  assert.ok(keys.includes(key('StudyDescription')) && keys.includes(key('PatientName')));
});

test('PS3.18-10.6.3.3.3-higher: attributes of study and series that are asked of an instance are returned', async () => {
  const path = '/studies/2.25.1/series/2.25.1.1/instances';
  const keys = await keysOf(`${path}?includefield=StudyDescription,SeriesDescription`);
  assert.ok(keys.includes(key('StudyDescription')) && keys.includes(key('SeriesDescription')));
});

test("PS3.18-10.6.3.3.3-study: a study's instances have the attributes of their series, all instances those of the study too", async () => {
  const inStudy = await keysOf('/studies/2.25.1/instances');
  assert.ok(inStudy.includes(key('Modality')) && inStudy.includes(key('SeriesInstanceUID')));
  assert.ok(!inStudy.includes(key('PatientID')));
  const all = await keysOf('/instances');
  assert.ok(all.includes(key('Modality')) && all.includes(key('PatientID')) && all.includes(key('StudyDate')));
});

test('PS3.18-10.6.3.3.3-syntax: an instance names the transfer syntaxes in which it can be had, and can be had in each', async () => {
  const [instance] = await door.search('/instances?SOPInstanceUID=2.25.1.1.1');
  const syntaxes = (instance?.['00083002']?.Value ?? []) as string[];
  assert.ok(syntaxes.includes('1.2.840.10008.1.2.1'));
  for (const syntax of syntaxes) {
    const accept = `application/dicom; transfer-syntax=${syntax}`;
    const response = await fetch(String(instance?.['00081190']?.Value?.[0]), { headers: { accept } });
    await response.arrayBuffer();
    assert.equal(response.status, 200, syntax);
  }
});

test('PS3.18-10.6.1.3-cache: a search is answered anew each time', async () => {
  for (const path of SEARCHES)
    assert.match((await door.get(path)).headers.get('cache-control') ?? '', /no-cache/, path);
});
