/** What keeps searches flat: pages far in, lists by modality and pieces of text say the same as a walk through everything would. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { STUDY_ATTRIBUTES } from '../../src/archive/attributes.ts';
import { instanceOf, storeInstance } from '../../src/archive/instances.ts';
import { elementsIn } from '../../src/archive/json-elements.ts';
import { listedElements } from '../../src/archive/listed.ts';
import { nextVersion, removeInstance } from '../../src/archive/index-rows.ts';
import { countInDays, findPage, startCondition } from '../../src/archive/page-start.ts';
import { search, searchStatement, seriesStatements, type Query } from '../../src/archive/search.ts';
import { deleteStudy } from '../../src/archive/studies.ts';
import { migrateArchive } from '../../src/archive/schema.ts';
import { openDatabase, type Database } from '../../src/database.ts';
import { tagKey } from '../../src/dicom/data-set.ts';
import { tag, vrOf } from '../../src/dicom/dictionary.ts';
import { MR_IMAGE, makeObject } from '../phantom/objects.ts';
import { openFilling } from '../bench/bulk-index.ts';
import { close, openIn, opened, type Opened } from './support.ts';

/** 2200 instances in 33 series. */
const STUDIES = 11;
let folder: string;
let one: Opened;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'archive-scale-'));
  one = await openIn(folder);
  openFilling(one.database, join(folder, 'packs')).fill(STUDIES);
});
after(async () => {
  await close(one);
  await rm(folder, { recursive: true, force: true });
});

const ask = (overrides: Partial<Query>): Query => ({
  level: 'study',
  scope: {},
  matches: [],
  fuzzyMatching: false,
  includeFields: [],
  limit: 5000,
  offset: 0,
  ...overrides,
});
const matchOf = (keyword: string, value: string) => ({ path: [tag(keyword)], vr: vrOf(tag(keyword)) ?? 'UN', value });
const uidsOf = (results: readonly string[], key: string): string[] =>
  results.map((text) => String((JSON.parse(text) as Record<string, { Value: string[] }>)[key]?.Value[0]));

test('a search by class or number in the whole archive gives what a walk would, and goes by lists', () => {
  const ct = '1.2.840.10008.5.1.4.1.1.2';
  const all = search(one.archive, ask({ level: 'instance', includeFields: 'all' })).results.map(
    (text) => JSON.parse(text) as Record<string, { Value: unknown[] }>,
  );
  for (const [keyword, key, value] of [
    ['SOPClassUID', '00080016', ct],
    ['SOPClassUID', '00080016', MR_IMAGE],
    ['SOPClassUID', '00080016', `${ct}\\${MR_IMAGE}`],
    ['SOPClassUID', '00080016', '1.2.3'],
    ['InstanceNumber', '00200013', '7'],
    ['InstanceNumber', '00200013', '100000'],
  ] as const) {
    const matches = [matchOf(keyword, value)];
    const expected = all
      .filter((object) => value.split('\\').includes(String(object[key]?.Value[0])))
      .map((object) => String(object['00080018']?.Value[0]));
    const whole = search(one.archive, ask({ level: 'instance', matches }));
    assert.deepEqual(uidsOf(whole.results, '00080018'), expected, value);
    const page = search(one.archive, ask({ level: 'instance', matches, limit: 3, offset: 2 }));
    assert.deepEqual(uidsOf(page.results, '00080018'), expected.slice(2, 5), value);
    assert.equal(page.remaining, Math.max(0, expected.length - 5), value);
    const both = [...matches, matchOf('InstanceNumber', '7')];
    if (keyword === 'SOPClassUID')
      assert.equal(
        search(one.archive, ask({ level: 'instance', matches: both, limit: 1 })).remaining,
        Math.max(0, search(one.archive, ask({ level: 'instance', matches: both })).results.length - 1),
        value,
      );
  }
  const listed = one.database
    .all('SELECT sop_class, series, instances FROM class_in_series ORDER BY sop_class, series')
    .map((row) => JSON.stringify(row));
  const walked = one.database
    .all('SELECT sop_class, series, count(*) AS instances FROM instance GROUP BY 1, 2 ORDER BY 1, 2')
    .map((row) => JSON.stringify(row));
  assert.deepEqual(listed, walked);
  const asked = { sql: 'sop_class = ?', values: [ct] };
  for (const [matches, classes] of [
    [[matchOf('InstanceNumber', '7')], undefined],
    [[matchOf('SOPClassUID', ct)], { asked, instances: 1e6 }],
    [[matchOf('SOPClassUID', ct)], { asked, instances: 10 }],
  ] as const) {
    const statement = searchStatement(ask({ level: 'instance', matches, limit: 25 }), { classes });
    for (const [sql, values] of [
      [statement.page, [...statement.pageValues, 25, 0]],
      [statement.count, statement.values],
    ] as const) {
      const plan = one.database.all(`EXPLAIN QUERY PLAN ${sql}`, ...values).map(({ detail }) => String(detail));
      assert.match(plan.join('\n'), /instance USING (COVERING )?INDEX instance_order \(series=\?/);
      assert.doesNotMatch(plan.join('\n'), /AUTOMATIC|SCAN (series|instance)/);
    }
  }
});

test('pages far into all instances and all series are those that a walk comes to, with the right number left', () => {
  for (const [level, key] of [
    ['instance', '00080018'],
    ['series', '0020000E'],
  ] as const) {
    for (const matches of [[], [matchOf('StudyDate', '20080101-')]]) {
      const all = uidsOf(search(one.archive, ask({ level, matches })).results, key);
      assert.ok(all.length > 20);
      for (const offset of [0, 499, 500, 730, 1111, 1999, all.length - 3, all.length, all.length + 1000]) {
        const { results, remaining } = search(one.archive, ask({ level, matches, offset, limit: 7 }));
        assert.deepEqual(uidsOf(results, key), all.slice(offset, offset + 7), `${level} ${offset}`);
        assert.equal(remaining, Math.max(0, all.length - offset - results.length), `${level} ${offset}`);
      }
    }
  }
});

test('instances that are found by way of their series are those that a walk through everything finds, page by page', () => {
  const all = search(one.archive, ask({ level: 'instance', includeFields: 'all' })).results.map(
    (text) => JSON.parse(text) as Record<string, { Value?: unknown[] }>,
  );
  const value = (at: number, key: string): string => String(all[at]?.[key]?.Value?.[0]);
  const number = (asked: string): string => (asked === '00200013' ? '7' : value(300, asked));
  for (const keywords of [
    ['ContentDate'],
    ['ContentDate', 'InstanceNumber'],
    ['SeriesDescription'],
    ['BodyPartExamined', 'StudyDate'],
    ['SeriesInstanceUID', 'InstanceNumber'],
  ]) {
    const asked = keywords.map((keyword) => tagKey(tag(keyword)));
    const matches = keywords.map((keyword, at) => matchOf(keyword, number(asked[at] ?? '')));
    const expected = all
      .filter((object) => asked.every((key) => String(object[key]?.Value?.[0]) === number(key)))
      .map((object) => String(object['00080018']?.Value?.[0]));
    assert.ok(expected.length > 0, keywords.join());
    for (const offset of [0, 1, 49, 130, 185, expected.length, expected.length + 5]) {
      const { results, remaining } = search(one.archive, ask({ level: 'instance', matches, limit: 60, offset }));
      assert.deepEqual(
        uidsOf(results, '00080018'),
        expected.slice(offset, offset + 60),
        `${keywords.join()} ${offset}`,
      );
      assert.equal(remaining, Math.max(0, expected.length - offset - results.length), `${keywords.join()} ${offset}`);
    }
  }
});

test('what a range of days has is counted by days and whole years', () => {
  const days = one.database
    .all('SELECT study_date FROM day ORDER BY study_date')
    .map((row) => String(row['study_date']));
  assert.ok(new Set(days.map((day) => day.slice(0, 4))).size > 3);
  const ends = [undefined, '20100630', ...days.filter((_, at) => at % 3 === 0)];
  for (const from of ends)
    for (const to of ends) {
      const within = 'study_date <> ? AND study_date >= ? AND study_date <= ?';
      const walked = one.database.get(`SELECT count(*) AS n FROM study WHERE ${within}`, '', from ?? '', to ?? '9');
      assert.equal(countInDays(one.database, 'studies', { from, to }), walked?.['n'], `${from}-${to}`);
    }
  assert.equal(countInDays(one.database, 'instances', undefined), 2200);
});

test('what is left behind a page of one modality is counted, of studies, series and instances', () => {
  const mr = matchOf('Modality', 'MR');
  const left = (query: Partial<Query>): number => search(one.archive, ask({ limit: 1, ...query })).remaining;
  assert.equal(left({ matches: [matchOf('ModalitiesInStudy', 'MR')] }), 0);
  assert.equal(left({ matches: [matchOf('ModalitiesInStudy', 'CT')] }), 9);
  assert.equal(left({ level: 'series', matches: [matchOf('ModalitiesInStudy', 'CT')] }), 29);
  assert.equal(left({ level: 'series', matches: [mr] }), 2);
  assert.equal(left({ level: 'series', matches: [mr, matchOf('StudyDate', '19000101-')] }), 2);
  assert.equal(left({ level: 'instance', matches: [mr] }), 199);
  assert.equal(left({ level: 'instance', matches: [matchOf('ModalitiesInStudy', 'MR'), mr] }), 199);
});

test('what is left behind a page of one instance number is counted, and what else is asked for counts too', () => {
  const left = (...matches: Query['matches']): number =>
    search(one.archive, ask({ level: 'instance', limit: 1, matches })).remaining;
  const all = (value: string): number =>
    Number(one.database.get('SELECT count(*) AS n FROM instance WHERE number = ?', Number(value))?.['n']);
  for (const value of ['7', '130']) assert.equal(left(matchOf('InstanceNumber', value)), all(value) - 1, value);
  assert.ok(left(matchOf('InstanceNumber', '7'), matchOf('Modality', 'MR')) < left(matchOf('InstanceNumber', '7')));
  assert.equal(left(matchOf('InstanceNumber', '9999')), 0);
});

/** `listed`: the study of each result. A page starts at the first one of a study, that of the page itself or not far before it. */
function assertStart(
  database: Database,
  listed: readonly string[],
  offset: number,
  start: ReturnType<typeof findPage>,
): void {
  assert.ok(start !== 'behind the end', String(offset));
  const { sql, values } = startCondition(start);
  const first = String(
    database.get(
      `SELECT study_uid FROM study WHERE ${sql} ORDER BY study_date DESC, study_time DESC, study_uid LIMIT 1`,
      ...values,
    )?.['study_uid'],
  );
  assert.equal(start.skipped, listed.indexOf(first), String(offset));
  assert.ok(start.skipped <= offset);
  assert.ok(offset - start.skipped <= 50 || first === listed[offset], String(offset));
}

test('the days lead to the study that a page begins in', () => {
  const instances = uidsOf(search(one.archive, ask({ level: 'instance' })).results, '0020000D');
  for (const offset of [0, 199, 200, 201, 1500, 2199])
    assertStart(one.database, instances, offset, findPage(one.database, 'instances', [], offset));
  assert.equal(findPage(one.database, 'instances', [], 2200), 'behind the end');
  const studies = uidsOf(search(one.archive, ask({ level: 'study' })).results, '0020000D');
  for (const offset of studies.keys())
    assertStart(one.database, studies, offset, findPage(one.database, 'studies', [], offset));
  assert.equal(findPage(one.database, 'studies', [], studies.length), 'behind the end');
});

/** What the triggers keep, worked out anew from the tables they look at. */
function assertKept(database: Database): void {
  assert.deepEqual(
    database.all('SELECT * FROM day WHERE studies > 0 ORDER BY study_date'),
    database.all(
      `SELECT study_date, count(*) AS studies, sum(series_count) AS series, sum(instance_count) AS instances FROM study
       GROUP BY study_date ORDER BY study_date`,
    ),
  );
  assert.deepEqual(
    database.all('SELECT * FROM year WHERE studies > 0 ORDER BY year'),
    database.all(
      `SELECT substr(study_date, 1, 4) AS year, count(*) AS studies, sum(series_count) AS series, sum(instance_count) AS instances
       FROM study GROUP BY 1 ORDER BY 1`,
    ),
  );
  assert.deepEqual(
    database.all('SELECT * FROM modality_total WHERE studies > 0 ORDER BY modality'),
    database.all('SELECT modality, count(*) AS studies FROM study_modality GROUP BY modality ORDER BY modality'),
  );
  assert.deepEqual(
    database.all('SELECT * FROM number_total WHERE instances > 0 ORDER BY number'),
    database.all(
      'SELECT number, count(*) AS instances FROM instance WHERE number IS NOT NULL GROUP BY number ORDER BY number',
    ),
  );
  assert.deepEqual(
    database.all('SELECT * FROM study_modality ORDER BY modality, study'),
    database.all(
      `SELECT DISTINCT series.modality AS modality, study_date, study_time, study_uid, study.id AS study
       FROM study JOIN series ON series.study = study.id WHERE series.modality <> '' ORDER BY series.modality, study.id`,
    ),
  );
  assert.deepEqual(
    database.all('SELECT text, studies FROM description ORDER BY text'),
    database.all(
      "SELECT description AS text, count(*) AS studies FROM study WHERE description <> '' GROUP BY description ORDER BY 1",
    ),
  );
  const listed = 'id, study_date, study_time, study_uid, modalities, series_count, instance_count, version';
  assert.deepEqual(
    database.all(`SELECT ${listed} FROM study_listed ORDER BY id`),
    database.all(`SELECT ${listed} FROM study ORDER BY id`),
  );
  for (const { json, elements } of database.all(
    'SELECT json, elements FROM study JOIN study_listed ON study_listed.id = study.id',
  )) {
    const whole = elementsIn(String(json));
    for (const [at, element] of listedElements(String(elements)))
      assert.equal(element, whole.get(at) ?? `"${at}":{"vr":"${STUDY_ATTRIBUTES.returned[at]}"}`);
  }
  for (const level of ['study', 'series', 'description'])
    assert.deepEqual(
      database.all(`SELECT rowid AS id FROM ${level}_gram ORDER BY rowid`),
      database.all(`SELECT id FROM ${level} ORDER BY id`),
    );
}

test('the lists follow every change of studies and series', async (t) => {
  const other = await opened(t, { duplicates: 'overwrite' });
  const store = (options: Parameters<typeof makeObject>[0]): Promise<unknown> =>
    storeInstance(other.archive, makeObject({ rows: 4, columns: 4, ...options }).object);
  const mr = { modality: 'MR', sopClassUID: MR_IMAGE };
  await store({ studyInstanceUID: '2.25.1', seriesInstanceUID: '2.25.1.1', sopInstanceUID: '2.25.1.1.1' });
  await store({ studyInstanceUID: '2.25.1', seriesInstanceUID: '2.25.1.2', sopInstanceUID: '2.25.1.2.1', ...mr });
  // What the first instance left open a later one fills: the study moves to another day.
  await store({ studyInstanceUID: '2.25.2', sopInstanceUID: '2.25.2.1', studyDate: '', studyDescription: '' });
  assertKept(other.database);
  await store({
    studyInstanceUID: '2.25.2',
    sopInstanceUID: '2.25.2.2',
    studyDate: '20240505',
    studyDescription: 'late knee',
  });
  assertKept(other.database);
  const found = (keyword: string, value: string): string[] =>
    uidsOf(search(other.archive, ask({ matches: [matchOf(keyword, value)] })).results, '0020000D');
  assert.deepEqual(found('StudyDescription', '*knee'), ['2.25.2']);
  assert.deepEqual(found('ModalitiesInStudy', 'MR'), ['2.25.1']);
  const instance = instanceOf(other.archive, '2.25.1.2.1');
  assert.ok(instance !== undefined);
  other.database.transaction(() => removeInstance(other.database, instance, nextVersion(other.database)));
  assertKept(other.database);
  assert.deepEqual(found('ModalitiesInStudy', 'MR'), []);
  await deleteStudy(other.archive, '2.25.2');
  assertKept(other.database);
  assert.deepEqual(found('StudyDescription', '*knee'), []);
});

test('pages of studies by description are those of a walk, however many descriptions there are', async (t) => {
  const other = await opened(t);
  const descriptions = [
    'CT head',
    'MR head',
    'CT thorax',
    'head',
    'knee',
    '',
    ...Array.from({ length: 70 }, (_, at) => `foot ${at}`),
  ];
  const studies = fc.sample(
    fc.record({
      studyDescription: fc.constantFrom(...descriptions),
      studyDate: fc.constantFrom('', '20240101', '20240102', '19991231'),
      studyTime: fc.constantFrom('', '101500', '235959.5'),
    }),
    { numRuns: 120, seed: 5 },
  );
  for (const [at, study] of studies.entries())
    await storeInstance(
      other.archive,
      makeObject({ rows: 2, columns: 2, studyInstanceUID: `2.25.${at + 1}`, ...study }).object,
    );
  assertKept(other.database);
  const all = search(other.archive, ask({ includeFields: [[tag('StudyDescription')]] })).results;
  const uids = uidsOf(all, '0020000D');
  // Those without a date come last, in a year without a name.
  const dated = [{ sql: 'study.study_date > ?', values: ['20000101'] }];
  const after2000 = uidsOf(
    search(other.archive, ask({ matches: [matchOf('StudyDate', '20000102-')] })).results,
    '0020000D',
  );
  for (const [dates, listed] of [
    [[], uids],
    [dated, after2000],
  ] as const) {
    assert.ok(listed.length > 30);
    for (const offset of listed.keys())
      assertStart(other.database, listed, offset, findPage(other.database, 'studies', dates, offset));
    assert.equal(findPage(other.database, 'studies', dates, listed.length), 'behind the end');
  }
  const said = all.map(
    (text) => (JSON.parse(text) as Record<string, { Value?: string[] }>)['00081030']?.Value?.[0] ?? '',
  );
  const having = (value: string): string[] =>
    uidsOf(search(other.archive, ask({ matches: [matchOf('StudyDescription', value)] })).results, '0020000D');
  assert.deepEqual(having(' * '), uids);
  assert.deepEqual(
    having('  '),
    uids.filter((_, at) => said[at] === ''),
  );
  for (const value of ['*head*', '*head', 'CT*', '?T head', 'head', '*o*', 'foot*', '*zzz*', 'CT head ']) {
    const pattern = new RegExp(`^${value.trim().replaceAll('*', '.*').replaceAll('?', '.')}$`, 's');
    const expected = uids.filter((_, at) => said[at] !== '' && pattern.test(said[at] ?? ''));
    const matches = [matchOf('StudyDescription', value)];
    for (const offset of [0, 1, 3, 8, expected.length, expected.length + 2]) {
      const { results, remaining } = search(other.archive, ask({ matches, limit: 4, offset }));
      assert.deepEqual(uidsOf(results, '0020000D'), expected.slice(offset, offset + 4), `${value} ${offset}`);
      assert.equal(remaining, Math.max(0, expected.length - offset - results.length), `${value} ${offset}`);
    }
  }
});

test('an index from before descriptions were kept once gets them when it is migrated', () => {
  const former = openDatabase(':memory:');
  migrateArchive(former, 17);
  assert.equal(former.get("SELECT 1 FROM sqlite_schema WHERE name = 'description'"), undefined);
  openFilling(former, join(folder, 'former')).fill(STUDIES);
  migrateArchive(former);
  const shape = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name";
  assert.deepEqual(former.all(shape), one.database.all(shape));
  assertKept(former);
  for (const [keyword, value] of [
    ['StudyDescription', '*horax*'],
    ['StudyDescription', 'MR*'],
    ['PatientID', '*-*'],
    ['AccessionNumber', '*A*'],
  ] as const) {
    const query = ask({ matches: [matchOf(keyword, value)], limit: 3 });
    const migrated = search({ database: former }, query);
    assert.ok(migrated.results.length > 0);
    assert.deepEqual(migrated, search(one.archive, query), value);
  }
  former.close();
});

test('a piece of text is found wherever it stands, quotation marks and all, and case counts', async (t) => {
  const other = await opened(t);
  const texts = ['CT "Thorax" plain', 'ct thorax', 'Kopf 頭部造影', 'ab'];
  for (const [at, studyDescription] of texts.entries())
    await storeInstance(
      other.archive,
      makeObject({ rows: 4, columns: 4, studyInstanceUID: `2.25.${at + 1}`, studyDescription }).object,
    );
  const found = (value: string): string[] =>
    uidsOf(search(other.archive, ask({ matches: [matchOf('StudyDescription', value)] })).results, '0020000D').sort();
  assert.deepEqual(found('*"Thorax"*'), ['2.25.1']);
  assert.deepEqual(found('*horax*'), ['2.25.1', '2.25.2']);
  assert.deepEqual(found('*Thorax*'), ['2.25.1']);
  assert.deepEqual(found('*部造影'), ['2.25.3']);
  assert.deepEqual(found('ab'), ['2.25.4']);
  assert.deepEqual(found('a?'), ['2.25.4']);
  assert.deepEqual(found('ct thorax'), ['2.25.2']);
  assert.deepEqual(found('*tho*rax*'), ['2.25.2']);
});

test('no kind of search goes through a table of studies, series or instances without an index', () => {
  const kinds: Record<string, Partial<Query>> = {
    'by modality': { matches: [matchOf('ModalitiesInStudy', 'CT')], limit: 25 },
    'by modality and date': { matches: [matchOf('ModalitiesInStudy', 'CT'), matchOf('StudyDate', '20200101-')] },
    'by modality and patient': { matches: [matchOf('ModalitiesInStudy', 'CT'), matchOf('PatientID', 'P1')] },
    'by a piece of the description': { matches: [matchOf('StudyDescription', '*horax*')] },
    'by a piece of the PatientID': { matches: [matchOf('PatientID', '*123*')] },
    'by name': { matches: [matchOf('PatientName', 'doe^jane')] },
    'of series by modality': { level: 'series', matches: [matchOf('Modality', 'MR')] },
    'of series by description': { level: 'series', matches: [matchOf('SeriesDescription', 'Thorax')] },
    'of instances by series description': { level: 'instance', matches: [matchOf('SeriesDescription', '*horax*')] },
    'of instances by content date': { level: 'instance', matches: [matchOf('ContentDate', '20200101')] },
  };
  // As the archive runs: without statistics, so that a plan does not change with what is stored.
  for (const [what, query] of Object.entries(kinds)) {
    const statement = searchStatement(ask(query));
    const bySeries = seriesStatements(ask({ ...query, level: 'instance' }));
    for (const [sql, given] of [
      [statement.page, [...statement.pageValues, 25, 0]],
      [statement.count, statement.values],
      ...(query.level === 'instance'
        ? ([
            [bySeries.lead, bySeries.values],
            [bySeries.page, [1, ...bySeries.pageValues, 25, 0]],
          ] as const)
        : []),
    ] as const) {
      const plan = one.database.all(`EXPLAIN QUERY PLAN ${sql}`, ...given).map(({ detail }) => String(detail));
      const scans = plan.filter((line) => /^SCAN (study|series|instance|study_modality)\b(?!.*VIRTUAL)/.test(line));
      assert.deepEqual(scans, [], `${what}: ${plan.join('\n')}`);
    }
  }
});

test('a study shows the same where it is listed as where it is read whole', async (t) => {
  const other = await opened(t);
  const studies = fc.sample(
    fc.record({
      studyDescription: fc.constantFrom('', 'CT "Thorax"', 'back\\slash', 'Kopf \u982d\u90e8', 'tab\there'),
      studyDate: fc.constantFrom('', '20240101', '20241399', '19990000'),
      modality: fc.constantFrom('CT', 'MR'),
      patientName: fc.constantFrom('Doe^Jane', 'M\u00fcller^J\u00f6rg', '\u5c71\u7530^\u592a\u90ce', ''),
    }),
    { numRuns: 40, seed: 3 },
  );
  for (const [at, study] of studies.entries())
    await storeInstance(
      other.archive,
      makeObject({
        rows: 2,
        columns: 2,
        ...study,
        studyInstanceUID: `2.25.${at + 1}`,
        seriesInstanceUID: `2.25.${at + 1}.1`,
      }).object,
    );
  for (const keywords of [
    [],
    ['StudyDescription'],
    ['ModalitiesInStudy', 'PatientName'],
    ['Modality', 'StudyDescription'],
  ])
    for (const [level, keyword] of [
      ['study', 'StudyInstanceUID'],
      ['series', 'SeriesInstanceUID'],
    ] as const) {
      const includeFields = keywords.map((one) => [tag(one)]);
      const listed = search(other.archive, ask({ level, includeFields })).results;
      assert.equal(listed.length, studies.length);
      for (const [at, uid] of uidsOf(listed, tagKey(tag(keyword))).entries()) {
        const whole = search(other.archive, ask({ level, includeFields, matches: [matchOf(keyword, uid)] })).results;
        assert.deepEqual([listed[at]], whole);
      }
    }
  assertKept(other.database);
});
