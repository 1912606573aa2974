import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { asciiValue, findElement, formatTag } from '../../src/dicom/data-set.ts';
import { vrOf } from '../../src/dicom/dictionary.ts';
import { attributeType } from '../../src/dicom/iod.ts';
import { storageSopClasses } from '../../src/dicom/sop-class.ts';
import { isUid } from '../../src/dicom/uid.ts';
import type { Vr } from '../../src/dicom/vr.ts';
import { compileProfile, tableRows } from '../../src/deidentify/profile.ts';
import { uncleanable } from '../../src/deidentify/risk.ts';
import {
  BASIC,
  CT,
  CT_ATTRIBUTES,
  holds,
  makeFile,
  memoryWall,
  pass,
  SAFE_HARBOR,
  TABLE_ONLY,
  type Value,
} from './support.ts';

const WALL = memoryWall();
const WORD = 'QZCANARY7X';

/** A value that is valid for the VR and tells where it came from. */
function canary(vr: Vr): { value: Value; needle: string } | undefined {
  switch (vr) {
    case 'UI':
      return { value: '1.2.77777.5.6', needle: '1.2.77777.5.6' };
    case 'DA':
      return { value: '19410917', needle: '19410917' };
    case 'DT':
      return { value: '19410917101112', needle: '19410917' };
    case 'TM':
      return { value: '174839.123457', needle: '174839.123457' };
    case 'AS':
      return { value: '097Y', needle: '097Y' };
    case 'DS':
      return { value: '73.9182737', needle: '73.9182737' };
    case 'IS':
      return { value: '7391827', needle: '7391827' };
    case 'SQ':
      return { value: [{ '00080104': WORD, '00100010': `${WORD}^A`, '0040A160': WORD }], needle: WORD };
    case 'OB':
    case 'OW':
    case 'UN':
      return { value: Buffer.from(WORD), needle: WORD };
    case 'US':
      return { value: Buffer.from('Q7'), needle: '' };
    default:
      return { value: `${vr}:${WORD}`, needle: WORD };
  }
}

const UNDER_TEST = tableRows().filter(
  (row) => /^[0-9A-F]{8}$/.test(row.tag) && row.tag >= '00080000' && row.tag < 'FFFA0000',
);
// What the test object cannot do without, or what stands for a person there and has its own tests.
const OWN = new Set(['00080018', '0020000D', '0020000E', '00100010', '00100020', '00080016']);

/** Scans of a surface are held by the profile as shipped. */
const OPEN_HARBOR = compileProfile({ ...SAFE_HARBOR.file, faces: 'allow' });

describe('every row of Table E.1-1 under the Basic Profile', () => {
  it('PS3.15-E.1-table: has a table of 621 rows, all but nine of which an object may carry as they stand', () => {
    assert.equal(tableRows().length, 621);
    assert.equal(UNDER_TEST.length, 621 - 9 - 1);
  });

  for (const profile of [TABLE_ONLY, BASIC, SAFE_HARBOR]) {
    const mode = profile.file.dates.mode;
    for (const row of UNDER_TEST) {
      if (OWN.has(row.tag)) continue;
      const tag = Number.parseInt(row.tag, 16);
      it(`${formatTag(tag)} ${row.keyword}: ${row.basic}, dates ${mode}`, async () => {
        const vr = vrOf(tag) ?? 'UN';
        const planted = canary(vr);
        assert.ok(planted !== undefined, vr);
        const { file, dataSet } = await pass(makeFile({ [row.tag]: planted.value }), { profile, wall: WALL });
        if (planted.needle !== '') assert.equal(holds(file, planted.needle), false, 'the planted value came through');
        const found = findElement(dataSet, tag);
        const length = found === undefined ? -1 : found.valueEnd - found.valueStart;
        const isDate = mode !== 'remove' && (vr === 'DA' || vr === 'DT' || vr === 'TM');
        if (isDate || row.keyword === 'PatientAge') return;
        const type = attributeType(CT, [tag]);
        switch (row.basic) {
          case 'X':
            assert.equal(length, -1);
            break;
          case 'D':
            assert.ok(length > 0 || vr === 'SQ', 'a dummy has a value');
            break;
          case 'Z':
            assert.ok(length >= 0, 'stays, empty or as a dummy');
            break;
          case 'U':
            assert.ok(isUid(asciiValue(dataSet, tag) ?? ''), 'a UID stays a UID');
            break;
          case 'X/Z/U*':
            assert.ok(length > 0, 'the sequence stays');
            break;
          default:
            if (type === '1' || type === '1C') assert.ok(length > 0, `type ${type} needs a value`);
            else if (type === '2' || type === '2C') assert.ok(length >= 0, `type ${type} must be there`);
            else assert.ok(!row.basic.startsWith('X') || length === -1, 'type 3 goes');
        }
      });
    }
  }

  it('PS3.15-E.1-classes: holds for every storage SOP class, at the top and inside kept sequences, with every row in one object', async () => {
    const rows: Record<string, Value> = {};
    for (const { tag } of UNDER_TEST) {
      if (!OWN.has(tag)) rows[tag] = canary(vrOf(Number.parseInt(tag, 16)) ?? 'UN')?.value ?? '';
    }
    const nested = { ...rows, '00100010': `${WORD}^A`, '00100020': WORD, '00081155': '1.2.77777.5.7' };
    const needles = new Set(UNDER_TEST.map(({ tag }) => canary(vrOf(Number.parseInt(tag, 16)) ?? 'UN')?.needle ?? ''));
    needles.delete('');
    for (const { uid } of storageSopClasses()) {
      if (uncleanable(uid) !== undefined) continue;
      const object = makeFile({ ...rows, '00080016': uid, '00089215': [{ '00089215': [nested] }] }, { pixels: null });
      for (const profile of [TABLE_ONLY, OPEN_HARBOR]) {
        const { file } = await pass(object, { profile, wall: WALL });
        for (const needle of needles)
          assert.equal(holds(file, needle), false, `${needle} under ${uid}, ${profile.name}`);
      }
    }
  });

  it('leaves alone what describes the image', async () => {
    const { dataSet, body } = await pass(makeFile());
    for (const key of [
      '00280010',
      '00280011',
      '00280030',
      '00200032',
      '00200037',
      '00180050',
      '00281052',
      '00281053',
      '00080060',
    ])
      assert.ok(findElement(dataSet, Number.parseInt(key, 16)) !== undefined, key);
    assert.equal(asciiValue(dataSet, 0x00200032), CT_ATTRIBUTES['00200032']);
    assert.equal(body.length, 16);
  });
});
