/** Matching beyond single values: names and their index, empty and multiple values, time zones, sequences, private attributes. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { storeInstance } from '../../src/archive/instances.ts';
import { foldName } from '../../src/matching/names.ts';
import { reindex } from '../../src/archive/reindex.ts';
import { enterKeys } from '../../src/archive/attribute-keys.ts';
import { enterAllKeys } from '../../src/archive/level-rows.ts';
import { matchingKeys, search, searchStatement, type Query } from '../../src/archive/search.ts';
import { deleteStudy } from '../../src/archive/studies.ts';
import { tag, vrOf } from '../../src/dicom/dictionary.ts';
import type { DicomJson } from '../../src/dicom/json.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { makeObject, type ObjectOptions } from '../phantom/objects.ts';
import { close, openIn, opened, type Opened } from './support.ts';

const PEOPLE: readonly [name: string, more: ObjectOptions][] = [
  ['Müller-Lüdenscheidt^Hans Peter', { readingPhysicians: 'Alpha^Ann\\Beta^Bob', modality: 'CT' }],
  ['Smith^John^Quincy', { timezone: '+0100', studyDate: '20240110', studyTime: '003000' }],
  ['Yamada^Tarou=山田^太郎=やまだ^たろう', { otherPatientIDs: ['OLD1', 'OLD2'] }],
  ['Иванов^Иван^Иванович', { timezone: '-0500', studyDate: '20240109', studyTime: '190000' }],
  ["O'Brien^Mary", { accessionNumber: 'A5', referringPhysician: 'Smith^Erna' }],
  ['Straße^Jürgen', { privateText: 'secret 7' }],
  ['van den Berg^Jan', { acquisitionDateTime: '20240109233000.5+0100' }],
  [
    'Hong^Gildong=洪^吉洞=홍^길동',
    {
      requests: [
        ['S1', 'P1'],
        ['S2', 'P2'],
      ],
    },
  ],
];

let one: Opened;
let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'matching-'));
  one = await openIn(folder);
  for (const [index, [patientName, more]] of PEOPLE.entries()) {
    const studyInstanceUID = `2.25.${index + 1}`;
    const object = { rows: 4, columns: 4, studyInstanceUID, patientName, ...more };
    await storeInstance(one.archive, makeObject(object).object);
  }
  const second = { studyInstanceUID: '2.25.1', patientName: PEOPLE[0]?.[0] ?? '', modality: 'PT', seriesNumber: 2 };
  await storeInstance(one.archive, makeObject({ rows: 4, columns: 4, ...second }).object);
});
after(async () => {
  await close(one);
  await rm(folder, { recursive: true, force: true });
});

function query(keys: readonly (readonly [string, string])[], more: Partial<Query> = {}): Query {
  const matches = keys.map(([keyword, value]) => {
    const path = keyword.split('.').map(tag);
    return { path, value, vr: vrOf(path.at(-1) ?? 0) ?? 'UN' };
  });
  return {
    level: 'study',
    scope: {},
    matches,
    fuzzyMatching: false,
    includeFields: [],
    limit: 100,
    offset: 0,
    ...more,
  };
}

function studiesIn(opened: Opened, asked: Query): string {
  return search(opened.archive, asked)
    .results.map((text) => JSON.parse(text) as DicomJson)
    .map((study) => (study['0020000D'] as { Value: string[] }).Value[0]?.slice(5))
    .sort()
    .join(' ');
}

const found = (keys: readonly (readonly [string, string])[], more: Partial<Query> = {}): string =>
  studiesIn(one, query(keys, more));
const named = (value: string, fuzzyMatching = false): string => found([['PatientName', value]], { fuzzyMatching });

describe('names', () => {
  const LITERAL: readonly [string, string][] = [
    ['*ludenscheidt*', '1'],
    ['MÜLLER*', '1'],
    ['*berg*', '7'],
    ['*山*', '3'],
    ['*太郎', '3'],
    ['洪*', '8'],
    ['홍^길동', '8'],
    ['*=山田*', '3'],
    ['yamada*==やまだ*', '3'],
    ['strasse*', '6'],
    ['STRAßE^JURGEN', '6'],
    ['*б*', ''],
    ['*ов*', '4'],
    ['O?Brien*', '5'],
    ['*"*', ''],
    ['smith', ''],
    ['??????^*', '3 4'],
  ];
  for (const [value, expected] of LITERAL) test(`literal ${value}`, () => assert.equal(named(value), expected));

  const FUZZY: readonly [string, string][] = [
    ['hans ludenscheidt', '1'],
    ['Mueller', '1'],
    ['peter', '1'],
    ['quincy smith', '2'],
    ['Smyth', '2'],
    ['Jon Smit', '2'],
    ['太郎 山田', '3'],
    ['山田太郎', '3'],
    ['Ivanov', '4'],
    ['иван', '4'],
    ['obrien', '5'],
    ['vandenberg', '7'],
    ['berg jan', '7'],
    ['길동', '8'],
    ['"', ''],
    ['zzz', ''],
  ];
  for (const [value, expected] of FUZZY) test(`fuzzy ${value}`, () => assert.equal(named(value, true), expected));

  test('any pattern gives what comparing every name with it gives, and fuzzy contains that', () => {
    const part = fc.constantFrom(
      'm',
      'ü',
      'll',
      'smith',
      '山',
      '田^',
      'и',
      'o',
      '*',
      '?',
      '^',
      '=',
      ' ',
      '-',
      "'",
      '[',
    );
    const matches = (pattern: string, name: string): boolean => {
      const groups = name.split('=');
      const like = (text: string, glob: string): boolean =>
        new RegExp(
          `^${glob
            .replace(/[.+^${}()|[\]\\]/g, '\\$&')
            .replace(/\*/g, '.*')
            .replace(/\?/g, '.')}$`,
          'su',
        ).test(text);
      if (!pattern.includes('=')) return groups.some((group) => like(group, pattern));
      const whole = pattern
        .split('=')
        .map((group) => (group === '' ? '*' : group))
        .join('=');
      return like(name, whole) || like(name, `${whole}=*`);
    };
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
        const value = parts.join('');
        const pattern = foldName(value);
        fc.pre(pattern !== '' && !/^\*+$/.test(value));
        const expected = PEOPLE.flatMap(([name], index) => (matches(pattern, foldName(name)) ? [`${index + 1}`] : []));
        assert.equal(named(value), expected.join(' '), value);
        const fuzzy = new Set(named(value, true).split(' '));
        assert.ok(expected.every((study) => fuzzy.has(study)));
      }),
      { numRuns: 300 },
    );
  });

  test('a wild card or a fuzzy name walks no table of studies', () => {
    for (const value of ['*berg*', 'smith*', '*山*', 'smith^john'])
      for (const fuzzyMatching of [false, true])
        for (const keyword of ['PatientName', 'ReferringPhysicianName']) {
          const { page, values } = searchStatement(query([[keyword, value]], { fuzzyMatching }));
          const plan = one.database
            .all(`EXPLAIN QUERY PLAN ${page}`, ...values, 25, 0)
            .map(({ detail }) => String(detail));
          assert.deepEqual(
            plan.filter((line) => /^SCAN (study|series|instance|name)\b/.test(line) && !line.includes('VIRTUAL')),
            [],
            plan.join('\n'),
          );
        }
  });

  test('nobody is found any more by the name of a study that was deleted', async (t) => {
    const other = await opened(t);
    await storeInstance(other.archive, makeObject({ patientName: 'Gone^Ada', studyInstanceUID: '2.25.1' }).object);
    await storeInstance(other.archive, makeObject({ patientName: 'Here^Ada', studyInstanceUID: '2.25.2' }).object);
    await deleteStudy(other.archive, '2.25.1');
    assert.deepEqual(
      other.database.all('SELECT folded FROM name').map(({ folded }) => folded),
      ['here^ada'],
    );
    assert.equal(studiesIn(other, query([['PatientName', '*ada']])), '2');
    assert.equal(Number(other.database.get('SELECT count(*) AS rows FROM attribute_key WHERE level = 0')?.['rows']), 0);
  });
});

test('PS3.4-C.2.2.2.7-empty: two quotation marks match what is absent or empty, and only when that is asked for', () => {
  const empty = { emptyValueMatching: true };
  assert.equal(found([['AccessionNumber', '""']], empty), '1 2 3 4 6 7 8');
  assert.equal(found([['AccessionNumber', '""']]), '');
  assert.equal(found([['ReferringPhysicianName', '""']], empty), '1 2 3 4 6 7 8');
  assert.equal(found([['OtherPatientIDsSequence.PatientID', '""']], empty), '1 2 4 5 6 7 8');
  assert.equal(found([['NameOfPhysiciansReadingStudy', '""']], empty), '2 3 4 5 6 7 8');
  assert.equal(found([['ModalitiesInStudy', '""']], empty), '');
  assert.equal(found([['PatientBirthDate', '""']], empty), '1 2 3 4 5 6 7 8');
  const series = (...keys: (readonly [string, string])[]): string => found(keys, { ...empty, level: 'series' });
  assert.equal(series(['RequestAttributesSequence.ScheduledProcedureStepID', '""']), '1 1 2 3 4 5 6 7');
  assert.equal(series(['AccessionNumber', 'A5'], ['SeriesDescription', '""']), '5');
  assert.throws(
    () => found([['StudyDate', '""']]),
    (error) => error instanceof Refusal,
  );
});

test('PS3.4-C.2.2.2.8-multiple: values parted by backslashes are all to be there, in any order, without wild cards', () => {
  const multiple = { multipleValueMatching: true };
  assert.equal(found([['ModalitiesInStudy', 'PT\\CT']], multiple), '1');
  assert.equal(found([['ModalitiesInStudy', 'PT\\MR']], multiple), '');
  assert.equal(found([['ModalitiesInStudy', 'PT']], multiple), '1');
  assert.equal(found([['NameOfPhysiciansReadingStudy', 'beta^bob\\ALPHA^ANN']], multiple), '1');
  assert.equal(found([['NameOfPhysiciansReadingStudy', 'beta^bob\\gamma^g']], multiple), '');
  for (const value of ['PT\\C*', 'PT\\'])
    assert.throws(
      () => found([['ModalitiesInStudy', value]], multiple),
      (error) => error instanceof Refusal && error.reason === 'BadRequest',
    );
});

test('PS3.4-C.2.2.2.6-item: two keys of one sequence are matched in the same item', () => {
  const series = (step: string, procedure: string): string =>
    found(
      [
        ['RequestAttributesSequence.ScheduledProcedureStepID', step],
        ['RequestAttributesSequence.RequestedProcedureID', procedure],
      ],
      { level: 'series' },
    );
  assert.equal(series('S1', 'P1'), '8');
  assert.equal(series('S1', 'P2'), '');
  assert.equal(found([['OtherPatientIDsSequence.PatientID', 'OLD2']]), '3');
  assert.equal(found([['OtherPatientIDsSequence.PatientID', 'OLD?']]), '3');
});

test('PS3.4-C.2.2.2.5-timezone: dates and times of the query are in the zone it names, each study is brought there', () => {
  // Study 2 is 2024-01-09 23:30 UTC, study 4 is 2024-01-10 00:00 UTC.
  const at = (offset: string, ...keys: (readonly [string, string])[]): string =>
    found([...keys, ['TimezoneOffsetFromUTC', offset], ['PatientName', '*']]);
  assert.equal(at('+0000', ['StudyDate', '20240109']), '2');
  assert.equal(at(' 0000', ['StudyDate', '20240109']), '2');
  assert.equal(at('+0000', ['StudyDate', '20240110']), '4');
  assert.equal(at('+0100', ['StudyDate', '20240110']), '2 4');
  assert.equal(at('-0500', ['StudyDate', '20240109']), '2 4');
  assert.equal(at('+0000', ['StudyDate', '20240109-20240110'], ['StudyTime', '2300-2345']), '2 4');
  assert.equal(at('+0000', ['StudyDate', '20240109-20240109'], ['StudyTime', '2300-2345']), '2');
  assert.equal(at('+0530', ['StudyTime', '0500']), '2');
  assert.equal(found([['StudyDate', '20240110']]), '2');
  for (const offset of ['0100', '+1', '+9900', 'garbage'])
    assert.throws(
      () => at(offset, ['StudyDate', '20240110']),
      (error) => error instanceof Refusal && error.message.includes('TimezoneOffsetFromUTC'),
    );
});

test('PS3.4-C.2.2.2.5-datetime: a DT is a moment, its offset counts, ranges may be open', () => {
  const at = (value: string): string => found([['AcquisitionDateTime', value]], { level: 'instance' });
  assert.equal(at('20240109'), '7');
  assert.equal(at('20240109223000.500000'), '7');
  assert.equal(at('20240109173000.5-0500'), '7');
  assert.equal(at('20240109223000-0000-202401092231'), '7');
  assert.equal(at('2024-'), '7');
  assert.equal(at('-2023'), '');
  assert.equal(at('202401092231-'), '');
  for (const value of ['garbage', '-', '202413', '20240109-x'])
    assert.throws(
      () => at(value),
      (error) => error instanceof Refusal && error.reason === 'BadRequest',
    );
});

test('PS3.18-8.3.4.1-private: a private attribute is matched under its creator, in whatever block it lies', () => {
  const at = (path: number, value: string, creator: string | undefined, level: Query['level'] = 'study'): string =>
    studiesIn(one, query([], { level, matches: [{ path: [path], vr: 'UN', value, creator }] }));
  assert.equal(at(0x00091010, 'secret 7', 'PHANTOM'), '6');
  assert.equal(at(0x00094210, 'secret 7', 'PHANTOM', 'instance'), '6');
  assert.equal(at(0x00091010, 'secret*', 'PHANTOM', 'series'), '6');
  assert.equal(at(0x00091010, 'secret 7', 'OTHER'), '');
  assert.equal(at(0x00091011, 'secret 7', 'PHANTOM'), '');
  assert.equal(at(0x00090010, 'PHANTOM', 'PHANTOM'), '6');
  const [text = '{}'] = search(
    one.archive,
    query([], { matches: [{ path: [0x00094210], vr: 'UN', value: 'secret 7', creator: 'PHANTOM' }] }),
  ).results;
  const study = JSON.parse(text) as DicomJson;
  assert.deepEqual(study['00090042'], { vr: 'LO', Value: ['PHANTOM'] });
  assert.deepEqual(study['00094210'], { vr: 'UT', Value: ['secret 7'] });
});

test('PS3.4-C.2.2.2.7-private: two quotation marks match what has no value of a private attribute, whatever kind of value others have', async (context) => {
  const many = await opened(context);
  const objects = [{}, { privateText: 'short' }, { privateText: 'long '.repeat(100) }, {}, {}];
  for (const [index, more] of objects.entries())
    await storeInstance(
      many.archive,
      makeObject({ rows: 4, columns: 4, studyInstanceUID: `2.25.${index + 1}`, ...more }).object,
    );
  const creator: DicomJson = { '00090042': { vr: 'LO', Value: ['PHANTOM'] } };
  const values = Object.fromEntries(
    Array.from({ length: 300 }, (_, at) => [(0x000b1000 + at).toString(16).toUpperCase().padStart(8, '0'), at]),
  );
  const crowd: DicomJson = { '000B0010': { vr: 'LO', Value: ['CROWD'] }, '000B0011': { vr: 'LO', Value: ['CROWD 2'] } };
  for (const [key, value] of Object.entries(values)) crowd[key] = { vr: 'IS', Value: [value] };
  many.database.transaction(() => {
    enterKeys(many.database, 'instance', 4, { ...creator, '00094210': { vr: 'OB', InlineBinary: 'AAA=' } });
    enterKeys(many.database, 'instance', 5, crowd);
  });
  const empty = (privateTag: number, owner: string, level: Query['level'] = 'study'): string =>
    studiesIn(
      many,
      query([], {
        level,
        matches: [{ path: [privateTag], vr: 'UN', value: '""', creator: owner }],
        emptyValueMatching: true,
      }),
    );
  for (const level of ['study', 'series', 'instance'] as const) assert.equal(empty(0x00091010, 'PHANTOM', level), '1');
  assert.equal(empty(0x00091010, 'OTHER'), '1 2 3 4');
  assert.equal(empty(0x000b1001, 'CROWD'), '1 2 3 4');
  const literal = { matches: [{ path: [0x00091010], vr: 'UN', value: '""', creator: 'PHANTOM' }] };
  assert.equal(studiesIn(many, query([], literal)), '', 'without the parameter they are two characters');
});

test('PS3.4-C.3.4-counts: studies and series are matched by how much is in them, and by the classes of their instances', () => {
  assert.equal(found([['NumberOfStudyRelatedInstances', '2']]), '1');
  assert.equal(found([['NumberOfStudyRelatedSeries', '2']]), '1');
  assert.equal(found([['NumberOfStudyRelatedSeries', '1']]), '2 3 4 5 6 7 8');
  assert.equal(found([['NumberOfStudyRelatedSeries', '*']]), '1 2 3 4 5 6 7 8');
  assert.equal(found([['NumberOfSeriesRelatedInstances', '1']], { level: 'series' }), '1 1 2 3 4 5 6 7 8');
  assert.equal(found([['NumberOfStudyRelatedInstances', '2']], { level: 'instance' }), '1 1');
  const [class_] = JSON.parse(`[${classes(one)}]`) as string[];
  assert.ok(class_ !== undefined);
  assert.equal(found([['SOPClassesInStudy', class_]]), '1 2 3 4 5 6 7 8');
  assert.equal(found([['SOPClassesInStudy', `1.2.3\\${class_}`]], { level: 'series', limit: 1 }).length, 1);
  assert.equal(found([['SOPClassesInStudy', '1.2.3']]), '');
  for (const [keyword, value, level] of [
    ['NumberOfStudyRelatedInstances', 'two', 'study'],
    ['NumberOfStudyRelatedInstances', '1-2', 'study'],
    ['SOPClassesInStudy', 'CT*', 'study'],
    ['NumberOfSeriesRelatedInstances', '1', 'study'],
  ] as const)
    assert.throws(
      () => found([[keyword, value]], { level }),
      (error) => error instanceof Refusal && error.reason === 'BadRequest' && error.message.includes(keyword),
    );
});

function classes({ archive }: Opened): string {
  const [text = '{}'] = search(
    archive,
    query([['StudyInstanceUID', '2.25.1']], { includeFields: [[tag('SOPClassesInStudy')]] }),
  ).results;
  const { Value: values = [] } = (JSON.parse(text) as Record<string, { Value?: unknown[] }>)['00080062'] ?? {};
  return values.map((uid) => JSON.stringify(uid)).join();
}

test('whatever the key, the value and the options, a filter never adds a result; what it cannot use it refuses', () => {
  const value = fc
    .array(
      fc.constantFrom(
        '"',
        '""',
        '*',
        '?',
        '\\',
        '-',
        '2024',
        '0110',
        'CT',
        'P1',
        'a',
        '=',
        '^',
        ' ',
        '山',
        '+0100',
        '1',
        '2.25.1',
      ),
      { maxLength: 4 },
    )
    .map((parts) => parts.join(''));
  const level = fc.constantFrom('study' as const, 'series' as const, 'instance' as const);
  const uids = (asked: Query): Set<unknown> =>
    new Set(
      search(one.archive, asked).results.map((text) => {
        const result = JSON.parse(text) as DicomJson;
        return JSON.stringify([result['0020000D'], result['0020000E'], result['00080018']]);
      }),
    );
  const options = fc.record({
    fuzzyMatching: fc.boolean(),
    emptyValueMatching: fc.boolean(),
    multipleValueMatching: fc.boolean(),
  });
  let answered = 0;
  fc.assert(
    fc.property(
      level,
      fc.nat(),
      value,
      fc.nat(),
      value,
      options,
      (at, first, firstValue, second, secondValue, more) => {
        const keys = matchingKeys(at);
        const matchOf = (index: number, given: string): Query['matches'][number] => {
          const path = keys[index % keys.length] ?? [];
          return { path, value: given, vr: vrOf(path.at(-1) ?? 0) ?? 'UN' };
        };
        const [a, b] = [matchOf(first, firstValue), matchOf(second, secondValue)];
        // A zone alone is no filter, and with dates it moves them.
        fc.pre(![a, b].some(({ path }) => path[0] === tag('TimezoneOffsetFromUTC')));
        fc.pre(a.path.join() !== b.path.join());
        // Date and time together are one interval, which is another filter than each by itself.
        fc.pre(![a, b].every(({ vr }) => vr === 'DA' || vr === 'TM'));
        try {
          const both = uids(query([], { ...more, level: at, matches: [a, b] }));
          const alone = uids(query([], { ...more, level: at, matches: [a] }));
          const all = uids(query([], { level: at }));
          assert.ok([...both].every((uid) => alone.has(uid)) && [...alone].every((uid) => all.has(uid)));
          answered++;
        } catch (error) {
          assert.ok(error instanceof Refusal && error.reason === 'BadRequest', String(error));
        }
      },
    ),
    { numRuns: 600 },
  );
  assert.ok(answered > 50);
});

test('a pattern that would take for ever is refused, stars in a row are one', () => {
  assert.equal(found([['PatientName', `***berg${'*'.repeat(500)}`]]), '7');
  for (const value of ['a*'.repeat(40), 'x'.repeat(5000)])
    for (const keyword of ['PatientName', 'PatientID', 'ModalitiesInStudy'])
      assert.throws(
        () => found([[keyword, value]]),
        (error) => error instanceof Refusal && error.reason === 'BadRequest',
      );
});

test('an answer longer than the limit is refused as too large', () => {
  assert.throws(
    () => found([], { mostCharacters: 2000 }),
    (error) => error instanceof Refusal && error.answer.httpStatus === 413,
  );
});

test('an index from before the further keys gets them when it is migrated, and reindex makes the same', async (t) => {
  const other = await opened(t);
  for (const [patientName, more] of PEOPLE.slice(2, 6))
    await storeInstance(
      other.archive,
      makeObject({ rows: 4, columns: 4, patientName, ...more, studyInstanceUID: `2.25.${patientName.length}` }).object,
    );
  const rows = (): unknown => [
    other.database.all('SELECT path, value, level FROM attribute_key ORDER BY path, value'),
    other.database.all('SELECT folded FROM name ORDER BY folded'),
    other.database.all('SELECT patient_name, timezone FROM study ORDER BY study_uid'),
    studiesIn(other, query([['PatientName', '*ов*']])),
  ];
  const expected = rows();
  for (const table of ['attribute_key', 'name', 'name_token']) other.database.run(`DELETE FROM ${table}`);
  other.database.run("UPDATE study SET timezone = '', patient_name = 'x'");
  other.database.transaction(() => enterAllKeys(other.database));
  assert.deepEqual(rows(), expected);
  await reindex(other.database, other.archive.folder);
  assert.deepEqual(rows(), expected);
});
