import assert from 'node:assert/strict';
import { before, after, describe, test } from 'node:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { storeInstance } from '../../src/archive/instances.ts';
import { metadataOf, withBase } from '../../src/archive/metadata.ts';
import { search, searchStatement, type Level, type Query } from '../../src/archive/search.ts';
import { SERIES_ATTRIBUTES, STUDY_ATTRIBUTES } from '../../src/archive/attributes.ts';
import { reindex } from '../../src/archive/reindex.ts';
import { tag, vrOf } from '../../src/dicom/dictionary.ts';
import { tagKey } from '../../src/dicom/data-set.ts';
import { formatDicomJsonObject, type DicomJson } from '../../src/dicom/json.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { MR_IMAGE, makeObject, type ObjectOptions } from '../phantom/objects.ts';
import { close, openIn, opened, type Opened } from './support.ts';

const STUDIES: readonly ObjectOptions[] = [
  {
    studyInstanceUID: '2.25.1',
    patientID: 'P1',
    patientName: 'Müller^Jörg',
    studyDate: '20240101',
    studyTime: '080000',
    accessionNumber: 'A1',
    studyDescription: 'CT Thorax',
  },
  {
    studyInstanceUID: '2.25.2',
    patientID: 'P1',
    patientName: 'Muller^Jorg^^',
    studyDate: '20240102',
    studyTime: '0930',
    modality: 'MR',
    sopClassUID: MR_IMAGE,
    studyDescription: 'MR Kopf',
  },
  {
    studyInstanceUID: '2.25.3',
    patientID: 'P2',
    patientName: 'Yamada^Tarou=山田^太郎=やまだ^たろう',
    studyDate: '20240102',
    studyTime: '101500.5',
    bodyPart: 'HEAD',
  },
  {
    studyInstanceUID: '2.25.4',
    patientID: 'P[3]',
    patientName: 'Doe-Smith^Jane',
    studyDate: '',
    studyTime: '',
    scheduledProcedureStepID: 'SPS9',
  },
  {
    studyInstanceUID: '2.25.5',
    patientID: 'P5*',
    patientName: 'Иванов^Иван',
    studyDate: '20240301',
    studyTime: '235959',
    studyDescription: 'CT "Thorax"',
  },
];

const ask = (overrides: Partial<Query> = {}): Query => ({
  level: 'study',
  scope: {},
  matches: [],
  fuzzyMatching: false,
  includeFields: [],
  limit: 1000,
  offset: 0,
  ...overrides,
});

function matchOf(keyword: string, value: string): Query['matches'][number] {
  const path = keyword.split('.').map(tag);
  return { path, value, vr: vrOf(path.at(-1) ?? 0) ?? 'UN' };
}

let one: Opened;
let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'search-'));
  one = await openIn(folder);
  for (const study of STUDIES) {
    for (const seriesNumber of [2, 1]) {
      for (const instanceNumber of [3, 1, 2]) {
        await storeInstance(
          one.archive,
          makeObject({ rows: 8, columns: 8, ...study, seriesNumber, instanceNumber }).object,
        );
      }
    }
  }
  // A second modality in study 2.
  await storeInstance(
    one.archive,
    makeObject({ ...STUDIES[1], modality: 'SEG', seriesNumber: 9, rows: 8, columns: 8 }).object,
  );
});
after(async () => {
  await close(one);
  await rm(folder, { recursive: true, force: true });
});

const found = (query: Partial<Query>): DicomJson[] =>
  search(one.archive, ask(query)).results.map((text) => JSON.parse(text) as DicomJson);
const first = (object: DicomJson, key: string): unknown => {
  const element = object[key];
  return element !== undefined && 'Value' in element ? element.Value?.[0] : undefined;
};
const studies = (...matches: [string, string][]): string[] =>
  found({ matches: matches.map(([keyword, value]) => matchOf(keyword, value)) })
    .map((study) => String(first(study, '0020000D')).slice(5))
    .sort();

describe('matching', () => {
  const CASES: readonly [why: string, matches: [string, string][], expected: string[]][] = [
    ['single value', [['PatientID', 'P1']], ['1', '2']],
    ['single value is case-sensitive', [['PatientID', 'p1']], []],
    ['universal: empty', [['PatientID', '']], ['1', '2', '3', '4', '5']],
    ['universal: *', [['PatientID', '*']], ['1', '2', '3', '4', '5']],
    ['wild card *', [['PatientID', 'P*']], ['1', '2', '3', '4', '5']],
    ['wild card ?', [['PatientID', 'P?']], ['1', '2', '3']],
    ['a bracket is no wild card', [['PatientID', 'P[3]']], ['4']],
    ['a bracket beside a wild card', [['PatientID', '*[3]']], ['4']],
    ['a quote is data', [['StudyDescription', '*"Thorax"']], ['5']],
    ['UID', [['StudyInstanceUID', '2.25.3']], ['3']],
    ['UID list by comma', [['StudyInstanceUID', '2.25.3,2.25.1']], ['1', '3']],
    ['UID list by backslash', [['StudyInstanceUID', '2.25.3\\2.25.1']], ['1', '3']],
    ['date', [['StudyDate', '20240102']], ['2', '3']],
    ['date range', [['StudyDate', '20240102-20240301']], ['2', '3', '5']],
    ['date from', [['StudyDate', '20240102-']], ['2', '3', '5']],
    ['date until, without studies that have none', [['StudyDate', '-20240102']], ['1', '2', '3']],
    ['time of lower precision covers its whole hour', [['StudyTime', '10']], ['3']],
    ['time range', [['StudyTime', '0800-0930']], ['1', '2']],
    [
      'date range and time range are one interval',
      [
        ['StudyDate', '20240101-20240102'],
        ['StudyTime', '0900-1000'],
      ],
      ['2'],
    ],
    [
      'one interval reaches over midnight',
      [
        ['StudyDate', '20240102-20240301'],
        ['StudyTime', '100000-080000'],
      ],
      ['3'],
    ],
    ['name without case and accents', [['PatientName', 'MULLER^JORG']], ['1', '2']],
    ['name with accents finds those without', [['PatientName', 'Müller^Jörg']], ['1', '2']],
    ['name with wild cards', [['PatientName', '*mith*']], ['4']],
    ['ideographic group', [['PatientName', '山田^太郎']], ['3']],
    ['phonetic group by wild card', [['PatientName', 'やまだ*']], ['3']],
    ['groups together', [['PatientName', 'yamada*=山田*']], ['3']],
    ['Cyrillic without case', [['PatientName', 'ИВАНОВ*']], ['5']],
    ['modalities in study: any series', [['ModalitiesInStudy', 'SEG']], ['2']],
    ['modalities in study: alternatives', [['ModalitiesInStudy', 'SEG\\MR']], ['2']],
    [
      'two keys are both needed',
      [
        ['PatientID', 'P1'],
        ['ModalitiesInStudy', 'CT'],
      ],
      ['1'],
    ],
    ['nothing', [['AccessionNumber', 'none']], []],
  ];
  for (const [why, matches, expected] of CASES) {
    test(why, () => assert.deepEqual(studies(...matches), expected));
  }

  test('series and instance keys, in sequences too', () => {
    const level = 'series' as const;
    assert.equal(found({ level, matches: [matchOf('Modality', 'MR')] }).length, 2);
    assert.equal(found({ level, matches: [matchOf('SeriesNumber', '2')] }).length, 5);
    assert.equal(found({ level, matches: [matchOf('BodyPartExamined', 'HEAD')] }).length, 2);
    assert.equal(
      found({ level, matches: [matchOf('RequestAttributesSequence.ScheduledProcedureStepID', 'SPS?')] }).length,
      2,
    );
    assert.equal(
      found({ level, matches: [matchOf('RequestAttributesSequence.RequestedProcedureID', 'none')] }).length,
      0,
    );
    assert.equal(found({ level: 'instance', matches: [matchOf('InstanceNumber', '3')] }).length, 10);
    assert.equal(found({ level: 'instance', matches: [matchOf('SOPClassUID', MR_IMAGE)] }).length, 7);
    assert.equal(
      found({ level: 'instance', scope: { studyInstanceUID: '2.25.1' }, matches: [matchOf('PatientID', 'P2')] }).length,
      0,
    );
  });

  test('fuzzy only adds: any order, middle and hyphenated names', () => {
    const fuzzy = (value: string): number =>
      found({ fuzzyMatching: true, matches: [matchOf('PatientName', value)] }).length;
    assert.equal(fuzzy('jane smith'), 1);
    assert.equal(fuzzy('Jör mul'), 2);
    assert.equal(fuzzy('иван'), 1);
    assert.equal(fuzzy('太郎'), 1);
    assert.equal(fuzzy('*mith*'), 1);
    assert.equal(fuzzy('nobody'), 0);
  });

  const BAD: readonly [string, string][] = [
    ['StudyDate', 'garbage'],
    ['StudyDate', '20240230'],
    ['StudyDate', '2024'],
    ['StudyDate', '-'],
    ['StudyDate', '20240101*'],
    ['StudyTime', '25'],
    ['StudyTime', 'x-'],
    ['StudyInstanceUID', '2.25.*'],
    ['StudyInstanceUID', '2.25.1,'],
  ];
  for (const [keyword, value] of BAD) {
    test(`${keyword} = ${value} is a bad request that names the key and not the value`, () => {
      assert.throws(
        () => found({ matches: [matchOf(keyword, value)] }),
        (error: unknown) =>
          error instanceof Refusal &&
          error.reason === 'BadRequest' &&
          error.message.includes(keyword) &&
          !error.message.includes(value),
      );
    });
  }

  test('keys that cannot be matched, of a lower level, or twice, are bad requests', () => {
    const bad = (query: Partial<Query>, name: string): void =>
      assert.throws(
        () => found(query),
        (error: unknown) => error instanceof Refusal && error.message.includes(name),
      );
    bad({ matches: [matchOf('Rows', '512')] }, 'Rows');
    bad({ matches: [matchOf('Modality', 'CT')] }, 'Modality');
    bad({ matches: [matchOf('PatientID', 'a'), matchOf('PatientID', 'b')] }, 'PatientID');
    bad({ level: 'instance', matches: [matchOf('InstanceNumber', '1-2')] }, 'InstanceNumber');
    bad({ matches: [{ path: [0x00091010], vr: 'UN', value: 'x' }] }, '0009,1010');
  });
});

describe('results', () => {
  test('of studies are complete, empty attributes included, counts computed', () => {
    const [study] = found({ matches: [matchOf('StudyInstanceUID', '2.25.2')] });
    assert.deepEqual(Object.keys(study ?? {}), [
      '00080020',
      '00080030',
      '00080050',
      '00080056',
      '00080061',
      '00080090',
      '00081190',
      '00100010',
      '00100020',
      '00100030',
      '00100040',
      '0020000D',
      '00200010',
      '00201206',
      '00201208',
    ]);
    assert.deepEqual(study?.['00080061'], { vr: 'CS', Value: ['MR', 'SEG'] });
    assert.deepEqual(study?.['00201206'], { vr: 'IS', Value: [3] });
    assert.deepEqual(study?.['00201208'], { vr: 'IS', Value: [7] });
    assert.deepEqual(study?.['00080050'], { vr: 'SH' });
  });

  test('carry URLs whose base is put in while sending', () => {
    const [text = ''] = search(one.archive, ask({ matches: [matchOf('StudyInstanceUID', '2.25.2')] })).results;
    const study = JSON.parse(withBase(text, 'https://host/dicom-web')) as DicomJson;
    assert.equal(first(study, '00081190'), 'https://host/dicom-web/studies/2.25.2');
  });

  test('come in one total order', () => {
    assert.deepEqual(
      found({}).map((study) => first(study, '0020000D')),
      ['2.25.5', '2.25.3', '2.25.2', '2.25.1', '2.25.4'],
    );
    const numbers = found({ level: 'instance', scope: { studyInstanceUID: '2.25.1' } }).map((object) => [
      first(object, '00200011'),
      first(object, '00200013'),
    ]);
    assert.deepEqual(numbers, [
      [1, 1],
      [1, 2],
      [1, 3],
      [2, 1],
      [2, 2],
      [2, 3],
    ]);
  });

  test("of All Series have study attributes, of All Instances those of both levels, of a study's instances those of series", () => {
    const has = (object: DicomJson | undefined, ...keys: string[]): boolean[] =>
      keys.map((key) => object?.[key] !== undefined);
    const keys = ['00100020', '00080060', '00080018'];
    assert.deepEqual(has(found({ level: 'series' })[0], ...keys), [true, true, false]);
    assert.deepEqual(has(found({ level: 'series', scope: { studyInstanceUID: '2.25.1' } })[0], ...keys), [
      false,
      true,
      false,
    ]);
    assert.deepEqual(has(found({ level: 'instance' })[0], ...keys), [true, true, true]);
    assert.deepEqual(has(found({ level: 'instance', scope: { studyInstanceUID: '2.25.1' } })[0], ...keys), [
      false,
      true,
      true,
    ]);
    const seriesInstanceUID = String(
      first(found({ level: 'series', scope: { studyInstanceUID: '2.25.1' } })[0] ?? {}, '0020000E'),
    );
    const plain = found({ level: 'instance', scope: { studyInstanceUID: '2.25.1', seriesInstanceUID } })[0];
    assert.deepEqual(Object.keys(plain ?? {}), [
      '00080016',
      '00080018',
      '00080056',
      '00081190',
      '00083002',
      '0020000D',
      '0020000E',
      '00200013',
      '00280010',
      '00280011',
      '00280100',
    ]);
  });

  test('includefield adds attributes of the level and those above, whole or a path in a sequence', () => {
    const scope = { studyInstanceUID: '2.25.4' };
    const fields = [
      [tag('StudyDescription')],
      [tag('Rows')],
      [tag('RequestAttributesSequence'), tag('RequestedProcedureID')],
    ];
    const [series] = found({ level: 'series', scope, includeFields: fields });
    assert.equal(series?.['00280010'], undefined);
    assert.deepEqual(series?.['00081030'], { vr: 'LO' });
    assert.deepEqual(series?.['00400275'], {
      vr: 'SQ',
      Value: [{ '00400009': { vr: 'SH', Value: ['SPS9'] }, '00401001': { vr: 'SH', Value: ['RP1'] } }],
    });
    const [instance] = found({
      level: 'instance',
      scope: { studyInstanceUID: '2.25.1' },
      includeFields: [[tag('SliceThickness')], [tag('StudyDescription')]],
    });
    assert.deepEqual(instance?.['00180050'], { vr: 'DS', Value: [1.5] });
    assert.equal(first(instance ?? {}, '00081030'), 'CT Thorax');
  });

  test('includefield all gives every attribute of an instance', () => {
    const [instance] = found({ level: 'instance', scope: { studyInstanceUID: '2.25.1' }, includeFields: 'all' });
    const [metadata = '{}'] = metadataOf(one.archive, { studyInstanceUID: '2.25.1' });
    for (const key of Object.keys(JSON.parse(metadata) as DicomJson)) assert.ok(instance?.[key], key);
    const [study] = found({ includeFields: 'all', matches: [matchOf('StudyInstanceUID', '2.25.1')] });
    assert.equal(first(study ?? {}, '00081030'), 'CT Thorax');
    assert.equal(study?.['00080060'], undefined);
  });

  test('PROP-c: results put together from texts are those that are read and written anew, whatever is asked for', () => {
    const attributes = fc.constantFrom(
      ...[...STUDY_ATTRIBUTES.keys, ...SERIES_ATTRIBUTES.keys].map((at) => Number.parseInt(at, 16)),
      ...['InstanceNumber', 'ContentDate', 'SliceThickness', 'Rows', 'NumberOfFrames', 'PixelData'].map(tag),
      ...['NumberOfStudyRelatedInstances', 'NumberOfSeriesRelatedInstances', 'ModalitiesInStudy', 'RetrieveURL'].map(
        tag,
      ),
    );
    // Which classes a study has is not in the texts: who asks for it as well is answered the other way.
    const classes = tag('SOPClassesInStudy');
    fc.assert(
      fc.property(
        fc.constantFrom<Level>('study', 'series', 'instance'),
        fc.constantFrom({}, { studyInstanceUID: '2.25.1' }, { studyInstanceUID: '2.25.3' }),
        fc.uniqueArray(attributes, { maxLength: 6 }),
        (level, scope, asked) => {
          const fields = asked.map((at) => [at]);
          const plain = search(one.archive, ask({ level, scope, includeFields: fields })).results;
          const whole = search(one.archive, ask({ level, scope, includeFields: [...fields, [classes]] })).results;
          const without = whole.map((text) => {
            const object = JSON.parse(text) as DicomJson;
            delete object[tagKey(classes)];
            return formatDicomJsonObject(object);
          });
          assert.deepEqual(plain, without);
        },
      ),
    );
  });

  test('names beyond ASCII declare UTF-8', () => {
    const [study] = found({ matches: [matchOf('StudyInstanceUID', '2.25.3')] });
    assert.deepEqual(study?.['00080005'], { vr: 'CS', Value: ['ISO_IR 192'] });
    assert.deepEqual(first(study ?? {}, '00100010'), {
      Alphabetic: 'Yamada^Tarou',
      Ideographic: '山田^太郎',
      Phonetic: 'やまだ^たろう',
    });
  });
});

test('metadata are the instances of the scope in order, pixel data as a URL', () => {
  const all = [...metadataOf(one.archive, { studyInstanceUID: '2.25.1' })].map(
    (text) => JSON.parse(withBase(text, 'http://h/d')) as DicomJson,
  );
  assert.deepEqual(
    all.map((object) => first(object, '00200013')),
    [1, 2, 3, 1, 2, 3],
  );
  const object = all[0] ?? {};
  const uid = (key: string): string => String(first(object, key));
  assert.deepEqual(object['7FE00010'], {
    vr: 'OW',
    BulkDataURI: `http://h/d/studies/2.25.1/series/${uid('0020000E')}/instances/${uid('00080018')}/bulkdata/7FE00010`,
  });
  assert.deepEqual(
    [...metadataOf(one.archive, { studyInstanceUID: '2.25.1', sopInstanceUID: uid('00080018') })].length,
    1,
  );
  assert.deepEqual([...metadataOf(one.archive, { studyInstanceUID: '2.25.99' })], []);
});

const LEVELS = ['study', 'series', 'instance'] as const;
const KEYS: readonly [string, string][] = [
  ['PatientID', 'P1'],
  ['PatientID', 'P*'],
  ['StudyDate', '20240102-'],
  ['PatientName', '*u*'],
  ['ModalitiesInStudy', 'CT'],
  ['StudyTime', '0800-12'],
];

test('PROP-a: pages of any size add up to the whole, and say exactly how many remain', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...LEVELS),
      fc.integer({ min: 1, max: 9 }),
      fc.subarray([...KEYS], { maxLength: 1 }),
      (level, limit, keys) => {
        const matches = keys.map(([keyword, value]) => matchOf(keyword, value));
        const whole = search(one.archive, ask({ level, matches }));
        const pages: string[] = [];
        for (let offset = 0; ; offset += limit) {
          const page = search(one.archive, ask({ level, matches, limit, offset }));
          pages.push(...page.results);
          assert.equal(page.remaining, Math.max(0, whole.results.length - offset - page.results.length));
          if (page.results.length === 0) break;
        }
        assert.deepEqual(pages, whole.results);
        assert.equal(search(one.archive, ask({ level, matches, limit: 0 })).remaining, whole.results.length);
      },
    ),
  );
});

test('PROP-b: a filter never makes the result larger, and fuzzy contains literal', () => {
  const text = fc.string({
    unit: fc.constantFrom('P', '1', '*', '?', '[', '^', 'm', 'ü', 'J', ' ', '"', '='),
    maxLength: 6,
  });
  fc.assert(
    fc.property(
      fc.constantFrom('PatientID', 'PatientName', 'StudyDescription', 'StudyID'),
      text,
      fc.subarray([...KEYS], { maxLength: 1 }),
      (keyword, value, keys) => {
        const base = keys.filter(([other]) => other !== keyword).map(([other, given]) => matchOf(other, given));
        const urls = (query: Partial<Query>): Set<unknown> =>
          new Set(found(query).map((study) => first(study, '0020000D')));
        const without = urls({ matches: base });
        const literal = urls({ matches: [...base, matchOf(keyword, value)] });
        const fuzzy = urls({ matches: [...base, matchOf(keyword, value)], fuzzyMatching: true });
        assert.ok([...literal].every((uid) => without.has(uid)));
        assert.ok([...literal].every((uid) => fuzzy.has(uid)));
      },
    ),
  );
});

describe('the query plan', () => {
  const NO_SCAN: readonly [string, Partial<Query>][] = [
    ['study by UID', { matches: [matchOf('StudyInstanceUID', '2.25.1')] }],
    ['study by PatientID', { matches: [matchOf('PatientID', 'P1')] }],
    ['study by PatientID prefix', { matches: [matchOf('AccessionNumber', 'A1')] }],
    ['study by date range', { matches: [matchOf('StudyDate', '20240101-20240102')], limit: 25 }],
    ['study by date and time', { matches: [matchOf('StudyDate', '20240101-20240102'), matchOf('StudyTime', '08-10')] }],
    ['study by modality and date', { matches: [matchOf('StudyDate', '20240101'), matchOf('ModalitiesInStudy', 'CT')] }],
    ['series of a study', { level: 'series', scope: { studyInstanceUID: '2.25.1' } }],
    ['series by UID', { level: 'series', matches: [matchOf('SeriesInstanceUID', '2.25.1')] }],
    [
      'instances of a series',
      { level: 'instance', scope: { studyInstanceUID: '2.25.1', seriesInstanceUID: '2.25.2' } },
    ],
    ['instance by UID', { level: 'instance', matches: [matchOf('SOPInstanceUID', '2.25.1')] }],
    ['instances by PatientID', { level: 'instance', matches: [matchOf('PatientID', 'P1')] }],
  ];
  for (const [what, query] of NO_SCAN) {
    test(`of ${what} scans no table`, () => {
      const { page, count, values } = searchStatement(ask(query));
      for (const [sql, ...more] of [[page, 25, 0], [count]] as const) {
        const plan = one.database
          .all(`EXPLAIN QUERY PLAN ${sql}`, ...values, ...more)
          .map(({ detail }) => String(detail));
        assert.deepEqual(
          plan.filter((line) => /^SCAN (study|series|instance|request)/.test(line)),
          [],
          plan.join('\n'),
        );
      }
    });
  }
});

test('All Series and All Instances come from indexes in their order, without sorting the whole archive', () => {
  for (const level of ['series', 'instance'] as const) {
    const { page, values } = searchStatement(ask({ level, matches: [matchOf('StudyDate', '20240101-')] }));
    const plan = one.database.all(`EXPLAIN QUERY PLAN ${page}`, ...values, 25, 0).map(({ detail }) => String(detail));
    assert.ok(!plan.includes('USE TEMP B-TREE FOR ORDER BY'), plan.join('\n'));
  }
});

test('reindex from the packs alone gives the same answers to every search', async (t) => {
  const source = await opened(t, { duplicates: 'overwrite' });
  for (const study of STUDIES) {
    for (const instanceNumber of [1, 2]) {
      await storeInstance(source.archive, makeObject({ rows: 8, columns: 8, ...study, instanceNumber }).object, {
        derived: instanceNumber === 2,
      });
    }
  }
  const fragments = [Buffer.from([0xff, 0xd8, 1, 1]), Buffer.from([0xff, 0xd8, 2, 2])];
  const multi = { instanceNumber: 7, transferSyntaxUID: '1.2.840.10008.1.2.4.50', numberOfFrames: 2, fragments };
  await storeInstance(source.archive, makeObject({ ...STUDIES[0], ...multi }).object);
  // Replaced: the packs hold both versions.
  await storeInstance(
    source.archive,
    makeObject({ ...STUDIES[0], rows: 8, columns: 8, studyDescription: 'changed', pixels: Buffer.alloc(128, 1) })
      .object,
  );
  const answers = (): unknown => [
    ...LEVELS.map((level) => search(source.archive, ask({ level, includeFields: 'all' }))),
    ...STUDIES.map(({ studyInstanceUID = '' }) => [...metadataOf(source.archive, { studyInstanceUID })]),
    source.database.all(
      'SELECT sop_uid, derived, extents, sequence, "offset", head_length, length, crc, frame_count FROM instance ORDER BY sop_uid',
    ),
    source.database.all(
      'SELECT id, study_uid, project, modalities, series_count, instance_count, derived_count, last_stored FROM study ORDER BY study_uid',
    ),
    source.database.all('SELECT path, length FROM pack ORDER BY path'),
  ];
  const expected = answers();
  const report = await reindex(source.database, source.archive.folder);
  assert.deepEqual({ ...report, packs: 0 }, { packs: 0, instances: 11, superseded: 1, damaged: [] });
  assert.deepEqual(answers(), expected);
});
