/**
 * Table E.1-1, every row under every option in every storage class whose IOD is known, at the top and two sequences deep: what comes out is
 * held against the letter that the row's cells and the attribute's type make, worked out here from the table alone.
 */
import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import { findElement, type DataSet } from '../../src/dicom/data-set.ts';
import { vrOf } from '../../src/dicom/dictionary.ts';
import { attributeType, hasAttributeTypes, type AttributeType } from '../../src/dicom/iod.ts';
import { storageSopClasses } from '../../src/dicom/sop-class.ts';
import type { Vr } from '../../src/dicom/vr.ts';
import { compileProfile, tableRows, type Option, type ProfileFile } from '../../src/deidentify/profile.ts';
import { uncleanable } from '../../src/deidentify/risk.ts';
import { CT, fileOf, makeFile, memoryWall, pass, type Attributes, type Value } from './support.ts';

type Row = ReturnType<typeof tableRows>[number];
type Column = Exclude<keyof Row, 'tag' | 'keyword' | 'vr' | 'basic'>;

const OPTIONS: Readonly<Record<Option, Column>> = {
  'clean-descriptors': 'cleanDescriptors',
  'clean-structured-content': 'cleanStructuredContent',
  'clean-graphics': 'cleanGraphics',
  'retain-patient-characteristics': 'retainPatientCharacteristics',
  'retain-device-identity': 'retainDeviceIdentity',
  'retain-institution-identity': 'retainInstitutionIdentity',
  'retain-uids': 'retainUIDs',
};

const plain: ProfileFile = { ...fileOf('basic'), dates: { mode: 'remove' }, ages: 'remove', freeText: 'scrub' };

interface Case {
  readonly name: string;
  readonly columns: readonly Column[];
  readonly file: ProfileFile;
}

function withOptions(options: readonly Option[]): Case {
  const ages = options.includes('retain-patient-characteristics') ? 'keep' : 'remove';
  return {
    name: options.join(' with ') || 'no option',
    columns: options.map((option) => OPTIONS[option]),
    file: { ...plain, options, ages },
  };
}

const NAMES = Object.keys(OPTIONS) as Option[];
const SINGLE: readonly Case[] = [
  withOptions([]),
  ...NAMES.map((option) => withOptions([option])),
  { name: 'full dates', columns: ['retainLongitudinalFullDates'], file: { ...plain, dates: { mode: 'keep' } } },
  {
    name: 'modified dates',
    columns: ['retainLongitudinalModifiedDates'],
    file: { ...plain, dates: { mode: 'shift', windowDays: [-100, -1], times: 'keep' } },
  },
];
const PAIRS = NAMES.flatMap((one, index) => NAMES.slice(index + 1).map((other) => withOptions([one, other])));
const ALL: Case = { ...withOptions(NAMES), name: 'all options' };

const ROWS = tableRows().filter(({ tag }) => /^[0-9A-F]{8}$/.test(tag) && tag >= '00080000' && tag < 'FFFA0000');
/** What the engine writes whatever stands there (with tests of their own), and what stands for the same word elsewhere. */
const WRITTEN = new Set(['00080018', '0020000D', '0020000E', '00100010', '00100020']);

/** A value of the VR that no other row has. */
function planted(row: Row, number: number): Value {
  const letters = number
    .toString(26)
    .padStart(3, '0')
    .replaceAll(/\d/g, (digit) => 'qrstuvwxyz'[Number(digit)] ?? '');
  const word = `Qz${letters.toUpperCase()}`;
  if (row.keyword === 'TimezoneOffsetFromUTC') return '+0130';
  switch (vrOf(Number.parseInt(row.tag, 16)) ?? 'UN') {
    case 'UI':
      return `1.2.77777.5.${number + 1}`;
    case 'DA':
      return `19${40 + (number % 50)}0917`;
    case 'DT':
      return `19${40 + (number % 50)}0917101112`;
    case 'TM':
      return `1748${10 + (number % 50)}`;
    case 'AS':
      return '047Y';
    case 'DS':
      return `73.${number}`;
    case 'IS':
      return `73${number}`;
    case 'US':
      return Buffer.from([0x39, 0x05]);
    case 'CS':
    case 'AE':
      return `QZ${letters.toUpperCase()}`;
    case 'SQ':
      return [{ '00280010': Buffer.from([0x39, 0x05]) }];
    case 'OB':
    case 'OW':
    case 'UN':
      return Buffer.from(`QZ${String(number).padStart(4, '0')}`);
    case 'PN':
      return `${word}^B`;
    case 'UR':
      return `urn:qz:${letters}`;
    default:
      return word;
  }
}

/** What must be seen of the attribute: `same` keeps the value, `changed` has one that is not it. */
type Outcome = 'gone' | 'empty' | 'there' | 'changed' | 'same' | 'cleaned';

function outcomesOf(row: Row, columns: readonly Column[], type: AttributeType | undefined): readonly Outcome[] {
  const cells = columns.map((column) => row[column]);
  if (cells.includes('K')) return ['same'];
  if (cells.includes('C')) return ['same', 'cleaned', ...letterOf(row, type)];
  return letterOf(row, type);
}

function letterOf({ basic, vr }: Row, type: AttributeType | undefined): readonly Outcome[] {
  const required = type === '1' || type === '1C';
  const mayBeEmpty = type === '2' || type === '2C';
  const dummy: readonly Outcome[] = vr === 'SQ' ? ['there'] : ['changed'];
  switch (basic) {
    case 'X':
      return ['gone'];
    case 'D':
    case 'U':
      return dummy;
    case 'X/Z/U*':
      return ['there'];
    case 'Z':
      return required ? dummy : ['empty', ...dummy];
    case 'Z/D':
      return required ? dummy : ['empty', ...dummy];
    case 'X/Z':
      return required ? dummy : mayBeEmpty ? ['empty'] : ['gone'];
    case 'X/D':
      return required || mayBeEmpty ? dummy : ['gone'];
    case 'X/Z/D':
      return required ? dummy : mayBeEmpty ? ['empty', ...dummy] : ['gone'];
  }
}

function seen(dataSet: DataSet, row: Row, value: Value): readonly Outcome[] {
  const element = findElement(dataSet, Number.parseInt(row.tag, 16));
  if (element === undefined) return ['gone'];
  if (element.items !== undefined) return element.items.length > 0 ? ['there', 'changed', 'same'] : ['empty'];
  const bytes = dataSet.bytes.toString('latin1', element.valueStart, element.valueEnd);
  const found = Buffer.isBuffer(value) ? bytes : bytes.replace(/[\0 ]$/, '');
  if (found === '') return ['empty', 'cleaned'];
  const before = Buffer.isBuffer(value) ? value.toString('latin1') : String(value);
  return found === before ? ['same', 'there'] : ['changed', 'there', 'cleaned'];
}

/** Dates of a shifted profile are neither kept nor a dummy; a UTC offset is nobody's. */
function outcomesFor(row: Row, { columns, file }: Case, type: AttributeType | undefined): readonly Outcome[] {
  const vr = vrOf(Number.parseInt(row.tag, 16)) as Vr | undefined;
  if (file.dates.mode === 'shift' && row.retainLongitudinalModifiedDates === 'C') {
    if (vr === 'DA' || vr === 'DT') return ['changed'];
    if (vr === 'TM' || vr === 'SH') return ['same'];
    return letterOf(row, type);
  }
  return outcomesOf(row, columns, type);
}

const OUTER = 0x00089215;
const WALL = memoryWall();
let patients = 0;

async function check(one: Case, sopClass: string, nested: boolean): Promise<number> {
  const profile = compileProfile({ ...one.file, profile: 'under-test' });
  const values = new Map(ROWS.map((row, index) => [row.tag, planted(row, index)]));
  const rows: Record<string, Value> = Object.fromEntries(values);
  for (const tag of WRITTEN) delete rows[tag];
  // A patient and a study of its own: what one object says of its people is taken out of the others, too.
  const own: Attributes = { '00100020': `P-${++patients}`, '0020000D': `1.2.3.4.9.${patients}`, '00080016': sopClass };
  const object = nested ? { ...own, '00089215': [{ '00089215': [rows] }] } : { ...rows, ...own };
  const { dataSet } = await pass(makeFile(object, { pixels: null }), { profile, wall: WALL });
  const inner = nested ? findElement(dataSet, OUTER)?.items?.[0] : undefined;
  const place = nested ? inner && findElement(inner, OUTER)?.items?.[0] : dataSet;
  assert.ok(place !== undefined);
  let told = 0;
  for (const row of ROWS) {
    const value = rows[row.tag];
    if (value === undefined) continue;
    const tag = Number.parseInt(row.tag, 16);
    const wanted = outcomesFor(row, one, attributeType(sopClass, nested ? [OUTER, OUTER, tag] : [tag]));
    const found = seen(place, row, value);
    const where = `${one.name}, ${sopClass}${nested ? ', nested' : ''}: (${row.tag}) ${row.keyword} ${row.basic}`;
    assert.ok(
      found.some((outcome) => wanted.includes(outcome)),
      `${where}: ${found.join('/')}, expected ${wanted.join('/')}`,
    );
    told++;
  }
  return told;
}

const CLASSES = storageSopClasses()
  .map(({ uid }) => uid)
  .filter((uid) => hasAttributeTypes(uid) && uncleanable(uid) === undefined);

describe('every row of Table E.1-1', () => {
  test('DEID-MATRIX: comes to what its cells and its type say, under each option, in each class, at the top and nested', async () => {
    let cells = 0;
    for (const one of SINGLE) {
      for (const [index, sopClass] of CLASSES.entries()) {
        cells += await check(one, sopClass, false);
        // Nested the type hardly differs between classes: every fourth.
        if (index % 4 === 0) cells += await check(one, sopClass, true);
      }
    }
    assert.ok(CLASSES.length >= 100, `${CLASSES.length} classes`);
    assert.ok(cells > 600_000, `${cells} cells`);
  });

  for (const one of [...PAIRS, ALL]) {
    it(`under ${one.name}: what is kept stands before what is cleaned, both before the Basic Profile`, async () => {
      assert.ok((await check(one, CT, false)) > 600);
      assert.ok((await check(one, CT, true)) > 600);
    });
  }
});
