import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { asciiValue, findElement, itemsOf, textValue, type DataSet } from '../../src/dicom/data-set.ts';
import { readHead } from '../../src/dicom/part10.ts';
import type { Refusal } from '../../src/dicom/refusal.ts';
import { newUid } from '../../src/dicom/uid.ts';
import { certifyDerived } from '../../src/deidentify/certify.ts';
import { resolveUid } from '../../src/deidentify/crosswalk.ts';
import type { Wall } from '../../src/deidentify/wall.ts';
import { reidentify, type Reidentified } from '../../src/deidentify/reidentify.ts';
import {
  CT_ATTRIBUTES,
  makeFile,
  memoryWall,
  pass,
  PIXELS,
  SAFE_HARBOR,
  UIDS,
  type Passed,
  type Value,
} from './support.ts';

const PRODUCED_AT = new Date(2026, 10, 21, 3, 4, 5);

function back(wall: Wall, head: Buffer): Reidentified & { dataSet: DataSet } {
  const result = reidentify(wall, { head, project: 'trial', producedAt: PRODUCED_AT });
  return { ...result, dataSet: readHead(result.head).head.dataSet };
}

/** A derived object beside a de-identified one: new series, instance and frame of reference, a reference to its source. */
function derivedFrom(
  source: Passed,
  more: Record<string, Value | undefined> = {},
): { head: Buffer; uids: Record<string, string> } {
  const uids = { series: newUid(), instance: newUid(), frame: newUid() };
  const file = makeFile({
    '00080020': asciiValue(source.dataSet, 0x00080020) ?? '',
    '00080022': asciiValue(source.dataSet, 0x00080022) ?? '',
    '00080030': undefined,
    '00080050': '',
    '00080018': uids.instance,
    '0020000D': source.result.object.studyInstanceUID,
    '0020000E': uids.series,
    '00200052': uids.frame,
    '00100010': textValue(source.dataSet, 0x00100010) ?? '',
    '00100020': textValue(source.dataSet, 0x00100020) ?? '',
    '00100030': '',
    '00081030': undefined,
    '00101010': undefined,
    '00082112': [{ '00081150': CT_ATTRIBUTES['00080016'] as string, '00081155': source.result.object.sopInstanceUID }],
    '00120062': 'YES',
    '00280303': 'MODIFIED',
    ...more,
  });
  return { head: file.subarray(0, file.length - PIXELS.length), uids };
}

function certify(wall: Wall, head: Buffer): void {
  certifyDerived(wall, { head, body: PIXELS, project: 'trial' }).remember();
}

describe('the way back', () => {
  it('gives a de-identified object its UIDs, patient, study and dates again', async () => {
    const wall = memoryWall();
    const nested = {
      '00081140': [{ '00081155': '1.2.77.1' }],
      '00080022': '20240406',
      '00080005': 'ISO_IR 100',
      '00081090': 'X',
    };
    const { head } = await pass(makeFile({ ...nested, '00100010': Buffer.from('M\xfcller^J\xf6rg', 'latin1') }), {
      wall,
    });
    const { dataSet, originalStudyInstanceUID, sopInstanceUID } = back(wall, head);
    assert.equal(originalStudyInstanceUID, UIDS.study);
    assert.equal(sopInstanceUID, UIDS.instance);
    for (const [tag, value] of [
      [0x00080018, UIDS.instance],
      [0x0020000d, UIDS.study],
      [0x0020000e, UIDS.series],
      [0x00200052, UIDS.frame],
      [0x00080020, '20240405'],
      [0x00080022, '20240406'],
      [0x00080030, '101112'],
      [0x00080050, 'ACC-77'],
      [0x00100020, 'PID-4711'],
      [0x00100030, '19570302'],
      [0x00200010, 'S-12'],
    ] as const)
      assert.equal(asciiValue(dataSet, tag), value, tag.toString(16));
    assert.equal(textValue(dataSet, 0x00100010), 'Müller^Jörg');
    const [reference] = itemsOf(dataSet, 0x00081140);
    assert.ok(reference !== undefined);
    assert.equal(asciiValue(reference, 0x00081155), '1.2.77.1');
    assert.equal(asciiValue(readHead(head).head.dataSet, 0x00280010), asciiValue(dataSet, 0x00280010));
  });

  it('takes the stamps of de-identification out again', async () => {
    const wall = memoryWall();
    const { head } = await pass(makeFile(), { wall });
    const { dataSet } = back(wall, head);
    for (const tag of [0x00120062, 0x00120063, 0x00120064, 0x00280303])
      assert.equal(findElement(dataSet, tag), undefined);
  });

  it('puts what was derived into the original study under new UIDs of the outer world, the same ones every time', async () => {
    const wall = memoryWall();
    const source = await pass(makeFile({ '00080022': '20240406' }), { wall });
    const { head, uids } = derivedFrom(source);
    certify(wall, head);
    const first = back(wall, head);
    assert.equal(first.originalStudyInstanceUID, UIDS.study);
    assert.notEqual(first.seriesInstanceUID, uids['series']);
    assert.notEqual(first.sopInstanceUID, uids['instance']);
    assert.notEqual(asciiValue(first.dataSet, 0x00200052), uids['frame']);
    assert.deepEqual(back(wall, head).head, first.head);
    const [reference] = itemsOf(first.dataSet, 0x00082112);
    assert.ok(reference !== undefined);
    assert.equal(asciiValue(reference, 0x00081155), UIDS.instance);
    assert.equal(asciiValue(first.dataSet, 0x00080020), '20240405');
    assert.equal(asciiValue(first.dataSet, 0x00080022), '20240406');
    assert.equal(asciiValue(first.dataSet, 0x00080021), '20261121');
    assert.equal(asciiValue(first.dataSet, 0x00080033), '030405');
    assert.deepEqual(
      [uids['series'] ?? '', source.result.object.studyInstanceUID, '1.2.9'].map((uid) =>
        resolveUid(wall, 'trial', uid),
      ),
      [first.seriesInstanceUID, UIDS.study, undefined],
    );
  });

  it('refuses an object with one reference that does not resolve, and names its place, not its value', async () => {
    const wall = memoryWall();
    const source = await pass(makeFile(), { wall });
    const stranger = '2.25.77777';
    const { head } = derivedFrom(source, { '00081140': [{ '00089215': [{ '00081155': stranger }] }] });
    certify(wall, head);
    assert.throws(
      () => back(wall, head),
      (error: Refusal) =>
        error.reason === 'Unresolved' &&
        error.message.includes('(0008,1140) > (0008,9215) > (0008,1155)') &&
        !error.message.includes(stranger),
    );
  });

  it('refuses an object that was not certified', async () => {
    const wall = memoryWall();
    const { head } = derivedFrom(await pass(makeFile(), { wall }));
    assert.throws(
      () => back(wall, head),
      (error: Refusal) => error.reason === 'Unresolved',
    );
  });

  it('refuses to certify or give back what names another patient than its study has', async () => {
    const wall = memoryWall();
    const source = await pass(makeFile(), { wall });
    const other = await pass(makeFile({ '00100020': 'PID-5000', '0020000D': '1.2.3.4.80' }), { wall });
    const { head } = derivedFrom(source, { '00100020': textValue(other.dataSet, 0x00100020) ?? '' });
    const unresolved = (error: Refusal): boolean => error.reason === 'Unresolved';
    assert.throws(() => certify(wall, head), unresolved);
    assert.throws(() => back(wall, head), unresolved);
    assert.throws(() => certify(wall, derivedFrom(source, { '0020000D': newUid() }).head), unresolved);
  });

  it('gives no date back of which only the year was kept, but the study’s own', async () => {
    const wall = memoryWall();
    const source = await pass(makeFile({ '00080022': '20240406' }), { wall, profile: SAFE_HARBOR });
    const { dataSet } = back(wall, source.head);
    assert.equal(asciiValue(dataSet, 0x00080020), '20240405');
    assert.equal(findElement(dataSet, 0x00080022), undefined);
  });
});
