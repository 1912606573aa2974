/**
 * Every row of Table E.1-1 under the Basic Profile with each option: what the row's cells oblige to is told from what comes out. The cells
 * are compared with another extraction of the table (second-table.json) and, where ISTHMUS_SHARED leads to it, with a third.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, test } from 'node:test';
import { asciiValue, findElement, formatTag, itemsOf, textValue, type DataSet } from '../../src/dicom/data-set.ts';
import { vrOf } from '../../src/dicom/dictionary.ts';
import { attributeType, hasAttributeTypes, type AttributeType } from '../../src/dicom/iod.ts';
import { storageSopClasses } from '../../src/dicom/sop-class.ts';
import type { Vr } from '../../src/dicom/vr.ts';
import { resolveAction } from '../../src/deidentify/actions.ts';
import { compileProfile, tableRows, type Option, type ProfileFile } from '../../src/deidentify/profile.ts';
import { uncleanable } from '../../src/deidentify/risk.ts';
import type { BasicAction } from '../../src/deidentify/rule.ts';
import { CT, fileOf, holds, makeFile, memoryWall, pass, type Value } from './support.ts';

type Row = ReturnType<typeof tableRows>[number];
type Column = Exclude<keyof Row, 'tag' | 'keyword' | 'vr' | 'basic'>;

const COLUMNS: readonly Column[] = [
  'retainSafePrivate',
  'retainUIDs',
  'retainDeviceIdentity',
  'retainInstitutionIdentity',
  'retainPatientCharacteristics',
  'retainLongitudinalFullDates',
  'retainLongitudinalModifiedDates',
  'cleanDescriptors',
  'cleanStructuredContent',
  'cleanGraphics',
];

describe('the cells of Table E.1-1', () => {
  test('DEID-TABLE: are those of another extraction, row by row', () => {
    const { rows } = JSON.parse(readFileSync(new URL('second-table.json', import.meta.url), 'utf8')) as {
      rows: string[];
    };
    const theirs = new Map(rows.flatMap((line) => line.split(' ')).map((pair) => pair.split(':') as [string, string]));
    const ours = tableRows().filter(({ tag }) => tag !== 'private');
    assert.equal(theirs.size, 620);
    assert.equal(ours.length, 620);
    for (const row of ours) {
      const cells = [row.tag, row.basic, ...COLUMNS.map((column) => row[column] ?? '')].join('|');
      assert.equal(createHash('sha256').update(cells).digest('hex').slice(0, 8), theirs.get(row.tag), row.tag);
    }
  });

  const shared = join(process.env['ISTHMUS_SHARED'] ?? '', 'data/e1-1/confidentiality_profile_attributes.json');
  const skip = existsSync(shared) ? false : 'ISTHMUS_SHARED does not lead to data/e1-1';
  it('are those of the extraction beside the samples', { skip }, () => {
    const names = [
      'rtnSafePrivOpt',
      'rtnUIDsOpt',
      'rtnDevIdOpt',
      'rtnInstIdOpt',
      'rtnPatCharsOpt',
      'rtnLongFullDatesOpt',
      'rtnLongModifDatesOpt',
      'cleanDescOpt',
      'cleanStructContOpt',
      'cleanGraphOpt',
    ];
    const theirs = JSON.parse(readFileSync(shared, 'utf8')) as Record<string, string>[];
    assert.equal(theirs.length, 621);
    const byTag = new Map(tableRows().map((row) => [row.tag.toLowerCase(), row]));
    for (const their of theirs) {
      const id = their['id'] ?? '';
      const row = byTag.get(id.startsWith('gggg') ? 'private' : id.toLowerCase());
      assert.ok(row !== undefined, id);
      assert.equal(row.basic, their['basicProfile'], id);
      for (const [index, column] of COLUMNS.entries())
        assert.equal(row[column], their[names[index] ?? ''], `${id} ${column}`);
    }
  });
});

const plain: ProfileFile = { ...fileOf('basic'), dates: { mode: 'remove' }, ages: 'remove' };

/** The columns that an option is about, and a profile that has it. */
const CASES: readonly (readonly [name: string, column: Column | undefined, file: ProfileFile])[] = [
  ['no option', undefined, plain],
  ...(
    [
      ['clean-descriptors', 'cleanDescriptors'],
      ['clean-structured-content', 'cleanStructuredContent'],
      ['clean-graphics', 'cleanGraphics'],
      ['retain-patient-characteristics', 'retainPatientCharacteristics'],
      ['retain-device-identity', 'retainDeviceIdentity'],
      ['retain-institution-identity', 'retainInstitutionIdentity'],
      ['retain-uids', 'retainUIDs'],
    ] as const
  ).map(([option, column]): readonly [string, Column, ProfileFile] => [
    option,
    column,
    {
      ...plain,
      options: [option satisfies Option],
      freeText: 'scrub',
      ages: option === 'retain-patient-characteristics' ? 'keep' : 'remove',
    },
  ]),
  ['full dates', 'retainLongitudinalFullDates', { ...plain, dates: { mode: 'keep' } }],
  [
    'modified dates',
    'retainLongitudinalModifiedDates',
    { ...plain, dates: { mode: 'shift', windowDays: [-100, -1], times: 'keep' } },
  ],
];

const UNDER_TEST = tableRows().filter(({ tag }) => /^[0-9A-F]{8}$/.test(tag) && tag >= '00080000' && tag < 'FFFA0000');
/** What the engine writes whatever stands there. */
const WRITTEN = new Set(['00080018', '0020000D', '0020000E', '00100010', '00100020']);
const PERSON = 'QZMEIERX';

/** A value valid for the VR; text says something of the examination and names the patient. */
function planted(vr: Vr): { value: Value; sign: string } {
  switch (vr) {
    case 'UI':
      return { value: '1.2.77777.5.6', sign: '1.2.77777.5.6' };
    case 'DA':
      return { value: '19940917', sign: '19940917' };
    case 'DT':
      return { value: '19940917101112', sign: '19940917101112' };
    case 'TM':
      return { value: '174839', sign: '174839' };
    case 'AS':
      return { value: '047Y', sign: '047Y' };
    case 'DS':
      return { value: '73.9182737', sign: '73.9182737' };
    case 'IS':
      return { value: '7391827', sign: '7391827' };
    case 'US':
      return { value: Buffer.from([0x39, 0x05]), sign: '\x39\x05' };
    case 'CS':
      return { value: 'QZSTATE', sign: 'QZSTATE' };
    case 'AE':
      return { value: 'QZ_STATION', sign: 'QZ_STATION' };
    case 'SQ':
      return { value: [{ '00280010': Buffer.from([0x39, 0x05]), '00100010': `${PERSON}^A` }], sign: '\x39\x05' };
    case 'OB':
    case 'OW':
    case 'UN':
      return { value: Buffer.from('QZBYTES8'), sign: 'QZBYTES8' };
    case 'PN':
      return { value: 'QZNAME^B', sign: 'QZNAME' };
    case 'UR':
      return { value: 'urn:qz:8', sign: 'urn:qz:8' };
    default:
      return { value: `${vr}:Liver of ${PERSON}`, sign: 'Liver' };
  }
}

function valueOf(dataSet: DataSet, row: Row): string | undefined {
  const element = findElement(dataSet, Number.parseInt(row.tag, 16));
  if (element === undefined) return undefined;
  return dataSet.bytes.toString('latin1', element.valueStart, element.valueEnd);
}

const WALL = memoryWall();
let patients = 0;

describe('every row under every option', () => {
  for (const [name, column, file] of CASES) {
    const profile = compileProfile({ ...file, profile: 'under-test' });
    it(name, async () => {
      let told = 0;
      for (const row of UNDER_TEST) {
        const vr = vrOf(Number.parseInt(row.tag, 16)) ?? 'UN';
        const { value, sign } =
          row.keyword === 'TimezoneOffsetFromUTC' ? { value: '+0130', sign: '+0130' } : planted(vr);
        // A patient and a study of its own: what one object says of its people is taken out of the others, too.
        const attributes = {
          '00100010': `${PERSON}^Q`,
          '00100020': `P-${++patients}`,
          '0020000D': `1.2.3.4.7.${patients}`,
          [row.tag]: value,
        };
        const { dataSet, file: out } = await pass(makeFile(attributes), { profile, wall: WALL });
        const where = `${name}: ${formatTag(Number.parseInt(row.tag, 16))} ${row.keyword}`;
        assert.equal(holds(out, PERSON), false, `${where}: the patient's name came through`);
        if (WRITTEN.has(row.tag) && column !== 'retainUIDs') continue;
        if (row.tag === '00100010' || row.tag === '00100020') continue;
        told++;
        const found = valueOf(dataSet, row);
        const cell = column === undefined ? undefined : row[column];
        if (cell === 'K') assert.ok(found?.includes(sign) === true, `${where}: K keeps it`);
        else if (cell === 'C') expectCleaned(vr, found, sign, where);
        else expectBasic(row, found, sign, CT, where);
      }
      assert.ok(told > 600, `${told} rows`);
    });
  }
});

function expectCleaned(vr: Vr, found: string | undefined, sign: string, where: string): void {
  if (vr === 'DA' || vr === 'DT') {
    assert.ok(found !== undefined && found.length >= 8 && !found.includes(sign.slice(0, 8)), `${where}: moved`);
  } else if (vr === 'OB') {
    assert.ok(found?.includes(sign) !== true, `${where}: bytes cannot be cleaned`);
  } else assert.ok(found?.includes(sign) === true, `${where}: C leaves what says nothing of a person`);
}

function expectBasic(row: Row, found: string | undefined, sign: string, sopClass: string, where: string): void {
  const type = attributeType(sopClass, [Number.parseInt(row.tag, 16)]);
  expectLetter(row.basic, type, row.vr, found, where);
  if (row.vr !== 'SQ') assert.ok(found?.includes(sign) !== true, `${where}: the value came through`);
}

/** What PS3.15 table E.1-1a says of a letter, from the type alone. */
function expectLetter(
  letter: BasicAction,
  type: AttributeType | undefined,
  vr: string,
  found: string | undefined,
  where: string,
): void {
  const required = type === '1' || type === '1C';
  const mayBeEmpty = type === '2' || type === '2C';
  const say = `${where}: ${letter} with type ${type ?? 'none'}`;
  const hasValue = (found?.length ?? 0) > 0;
  switch (letter) {
    case 'X':
      return assert.equal(found, undefined, say);
    case 'D':
    case 'U':
    case 'X/Z/U*':
      return assert.ok(hasValue, say);
    case 'Z':
      return assert.ok(found !== undefined && (hasValue || !required), say);
    case 'Z/D':
      return assert.ok(required ? hasValue : found !== undefined, say);
    case 'X/Z':
    case 'X/D':
    case 'X/Z/D':
      if (required) return assert.ok(hasValue, say);
      if (mayBeEmpty) return assert.ok(found !== undefined && (letter !== 'X/D' || hasValue || vr === 'SQ'), say);
      return assert.equal(found, undefined, say);
  }
}

describe('an institution that stays', () => {
  for (const [name, more] of [
    ['by the option', { options: ['retain-institution-identity'] }],
    ['by an override', { overrides: [{ tag: 'InstitutionName', action: 'K' }] }],
  ] as const) {
    it(`may be called as who numbers its patients, ${name}; the patient's name still goes out of it`, async () => {
      const profile = compileProfile({ ...plain, ...more, profile: 'under-test' });
      const attributes = {
        '00080080': 'Harrowfield Infirmary of Saint QZMEIER',
        '00100010': 'QZMEIER^A',
        '00100021': 'HARROWFIELD',
        '00081040': 'Harrowfield East',
      };
      const { dataSet } = await pass(makeFile(attributes), { profile, wall: memoryWall() });
      assert.equal(textValue(dataSet, 0x00080080), 'Harrowfield Infirmary of Saint');
      assert.equal(findElement(dataSet, 0x00100021), undefined);
    });
  }
});

describe('conditional letters', () => {
  const classes = storageSopClasses().filter(({ uid }) => hasAttributeTypes(uid) && uncleanable(uid) === undefined);

  test('DEID-TYPES: follow the type of the attribute in the IOD of at least a hundred SOP classes', async () => {
    assert.ok(classes.length >= 100, `${classes.length} classes`);
    const conditional = UNDER_TEST.filter(({ basic, tag }) => basic.length > 1 && !WRITTEN.has(tag));
    const profile = compileProfile({ ...plain, profile: 'under-test' });
    const types = new Set<string>();
    for (const { uid } of classes) {
      const attributes: Record<string, Value> = {};
      for (const row of conditional) attributes[row.tag] = planted(vrOf(Number.parseInt(row.tag, 16)) ?? 'UN').value;
      const { dataSet } = await pass(makeFile({ ...attributes, '00080016': uid }, { pixels: null }), {
        profile,
        wall: WALL,
      });
      for (const row of conditional) {
        const type = attributeType(uid, [Number.parseInt(row.tag, 16)]);
        types.add(`${row.basic} ${type ?? 'none'}`);
        expectBasic(
          row,
          valueOf(dataSet, row),
          planted(vrOf(Number.parseInt(row.tag, 16)) ?? 'UN').sign,
          uid,
          `${uid} ${row.tag}`,
        );
      }
    }
    assert.ok(types.size >= 15, [...types].join(', '));
  });

  it('of a class that is not known satisfy any type', () => {
    assert.equal(resolveAction('X/Z/D', undefined, false), 'D');
    assert.equal(resolveAction('X/Z', undefined, false), 'Z');
    assert.equal(resolveAction('X/D', undefined, false), 'D');
    assert.equal(resolveAction('Z/D', undefined, false), 'D');
  });
});

describe('stamps', () => {
  const CODES: Readonly<Record<string, string>> = {
    'no option': '',
    'clean-graphics': '113103',
    'clean-structured-content': '113104',
    'clean-descriptors': '113105',
    'full dates': '113106',
    'modified dates': '113107',
    'retain-patient-characteristics': '113108',
    'retain-device-identity': '113109',
    'retain-uids': '113110',
    'retain-institution-identity': '113112',
  };
  for (const [name, , file] of CASES) {
    it(`name the option in CID 7050: ${name}`, async () => {
      const { dataSet } = await pass(makeFile(), { profile: compileProfile(file), wall: WALL });
      const codes = itemsOf(dataSet, 0x00120064).map((item) => textValue(item, 0x00080100));
      assert.deepEqual(
        codes,
        ['113100', CODES[name]].filter((code) => code !== ''),
      );
      const temporal = name === 'full dates' ? 'UNMODIFIED' : name === 'modified dates' ? 'MODIFIED' : 'REMOVED';
      assert.equal(asciiValue(dataSet, 0x00280303), temporal);
    });
  }
});
