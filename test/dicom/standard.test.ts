import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { lookUp, tag } from '../../src/dicom/dictionary.ts';
import { attributeType, hasAttributeTypes } from '../../src/dicom/iod.ts';
import { isWellKnownUid, registeredUid, storageSopClass, storageSopClasses } from '../../src/dicom/sop-class.ts';
import { transferSyntax, transferSyntaxes } from '../../src/dicom/transfer-syntax.ts';

const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2';
const ENHANCED_MR_IMAGE = '1.2.840.10008.5.1.4.1.1.4.1';
const COMPREHENSIVE_SR = '1.2.840.10008.5.1.4.1.1.88.33';

test('a UID is registered once, each transfer syntax bears the name and the state that PS3.6 Annex A registers', () => {
  const file = new URL('../../src/dicom/standard/uids-2024d.json', import.meta.url);
  const { rows } = JSON.parse(readFileSync(file, 'utf8')) as { rows: string[][] };
  assert.ok(rows.length > 1800 && new Set(rows.map(([uid]) => uid)).size === rows.length);
  const syntaxes = [...transferSyntaxes()];
  assert.equal(syntaxes.length, 57);
  for (const { uid, name, retired } of syntaxes) {
    const registered = registeredUid(uid);
    assert.equal(registered?.type, 'Transfer Syntax', uid);
    assert.equal(name, registered.name);
    assert.equal(retired, registered.retired, uid);
  }
});

test('what is not Implicit VR LE or Explicit VR BE is Explicit VR LE; encapsulated is never deflated as a whole', () => {
  for (const syntax of transferSyntaxes()) {
    if (syntax.uid === '1.2.840.10008.1.2') assert.equal(syntax.encoding, 'implicit-le');
    else if (syntax.uid === '1.2.840.10008.1.2.2') assert.equal(syntax.encoding, 'explicit-be');
    else assert.equal(syntax.encoding, 'explicit-le');
    assert.ok(!(syntax.encapsulated && syntax.deflated));
    assert.equal(syntax.mediaType === undefined, syntax.referenced || syntax.uid === '1.2.840.10008.1.2.8.1');
  }
  assert.equal(transferSyntax('1.2.840.10008.1.2.1.99')?.deflated, true);
  assert.equal(transferSyntax('1.2.840.10008.1.2.8.1')?.deflated, false, 'deflates frames, not the data set');
  assert.equal(transferSyntax('1.2.840.113619.5.2'), undefined, 'a private syntax');
});

test('a UID is well known because it is registered, not because of its prefix', () => {
  assert.ok(isWellKnownUid(CT_IMAGE));
  assert.ok(isWellKnownUid('1.2.840.10008.1.4.1.1'), 'a well-known frame of reference');
  assert.ok(isWellKnownUid('1.2.840.10008.2.16.4'), 'a coding scheme');
  assert.ok(isWellKnownUid('1.2.840.10008.6.1.925'), 'the context group of de-identification methods');
  assert.ok(!isWellKnownUid('1.2.840.10008.9999.1'));
  assert.ok(!isWellKnownUid('1.2.840.10008.5.1.4.1.1.2.20240101.1'));
  assert.ok(!isWellKnownUid(''));
});

test('storage SOP classes: images by their pixel data modules, retired ones marked', () => {
  assert.deepEqual(
    [storageSopClass(CT_IMAGE)?.image, storageSopClass(COMPREHENSIVE_SR)?.image, storageSopClass(CT_IMAGE)?.retired],
    [true, false, false],
  );
  const images = ['30', '481.2', '66.4', '6.2', '77.1.5.8'];
  for (const end of images) assert.equal(storageSopClass(`1.2.840.10008.5.1.4.1.1.${end}`)?.image, true, end);
  const others = ['104.1', '66', '66.1', '66.5', '4.2', '481.3', '9.1.1', '11.1'];
  for (const end of others) assert.equal(storageSopClass(`1.2.840.10008.5.1.4.1.1.${end}`)?.image, false, end);
  assert.equal(storageSopClass('1.2.840.10008.5.1.4.1.1.6')?.retired, true);
  for (const uid of [
    '1.2.840.10008.1.1',
    '1.2.840.10008.1.20.1',
    '1.2.840.10008.4.2',
    '1.2.840.10008.1.3.10',
    '1.2.3',
  ]) {
    assert.equal(storageSopClass(uid), undefined, uid);
  }
  assert.ok(storageSopClasses().length >= 190);
});

const typeOf = (sopClass: string, ...keywords: string[]): string | undefined =>
  attributeType(sopClass, keywords.map(tag));

test('attribute types by SOP class (PS3.3)', () => {
  assert.equal(typeOf(CT_IMAGE, 'StudyInstanceUID'), '1');
  assert.equal(typeOf(CT_IMAGE, 'PatientName'), '2');
  assert.equal(typeOf(CT_IMAGE, 'StudyDescription'), '3');
  assert.equal(typeOf(CT_IMAGE, 'PatientOrientation'), '2C');
  assert.equal(typeOf(CT_IMAGE, 'ContentSequence'), undefined);
  assert.equal(typeOf(COMPREHENSIVE_SR, 'ContentDate'), '1');
});

test('attribute types inside sequences, functional groups and content items at any depth', () => {
  assert.equal(typeOf(CT_IMAGE, 'ReferencedImageSequence', 'ReferencedSOPInstanceUID'), '1');
  assert.equal(
    typeOf(ENHANCED_MR_IMAGE, 'PerFrameFunctionalGroupsSequence', 'FrameContentSequence', 'FrameAcquisitionDateTime'),
    '1C',
  );
  assert.equal(typeOf(COMPREHENSIVE_SR, 'VerifyingObserverSequence', 'VerifyingObserverName'), '1');
  const nested = Array.from({ length: 20 }, () => 'ContentSequence');
  assert.equal(typeOf(COMPREHENSIVE_SR, ...nested, 'PersonName'), '1C');
  assert.equal(typeOf(CT_IMAGE, 'PatientName', 'PatientID'), undefined);
});

test('an unknown SOP class and an unknown attribute have no type', () => {
  assert.equal(attributeType('1.2.3', [tag('PatientName')]), undefined);
  assert.equal(attributeType('constructor', [tag('PatientName')]), undefined);
  assert.equal(attributeType(CT_IMAGE, [0x00091001]), undefined);
  assert.equal(attributeType(CT_IMAGE, []), undefined);
  assert.ok(hasAttributeTypes(CT_IMAGE) && !hasAttributeTypes('1.2.3'));
});

test('the IODs of all current storage classes of 2024b are known', () => {
  const missing = storageSopClasses()
    .filter(
      ({ retired, uid, name }) => !retired && !hasAttributeTypes(uid) && !/DICOS|Eddy Current|Thermography/.test(name),
    )
    .map(({ name }) => name);
  assert.deepEqual(missing, []);
});

interface ProfileRow {
  tag: string;
  keyword: string;
  name: string;
  vr: string;
  basic: string;
  [option: string]: unknown;
}

test('Table E.1-1: 621 rows, actions and options in the numbers of the published table', () => {
  const file = new URL('../../src/dicom/standard/e1-1-2024b.json', import.meta.url);
  const { rows, actions } = JSON.parse(readFileSync(file, 'utf8')) as { rows: ProfileRow[]; actions: object };
  assert.equal(rows.length, 621);
  assert.equal(new Set(rows.map((row) => row.tag)).size, 621);
  assert.deepEqual(count(rows.map((row) => row.basic)), {
    X: 384,
    D: 92,
    U: 54,
    Z: 42,
    'X/D': 22,
    'X/Z': 11,
    'X/Z/D': 8,
    'Z/D': 6,
    'X/Z/U*': 2,
  });
  for (const row of rows) assert.ok(row.basic in actions, row.basic);
  const options = { retainUIDs: 59, retainDeviceIdentity: 57, retainLongitudinalFullDates: 165, cleanDescriptors: 125 };
  for (const [option, expected] of Object.entries(options)) {
    assert.equal(rows.filter((row) => row[option] !== undefined).length, expected, option);
  }
  const patterns = rows.filter((row) => !/^[0-9A-F]{8}$/.test(row.tag)).map((row) => row.tag);
  assert.deepEqual(patterns.sort(), ['50xxxxxx', '60xx3000', '60xx4000', 'private']);
  for (const row of rows) {
    if (row.keyword === '') continue;
    assert.equal(lookUp(Number.parseInt(row.tag.replaceAll('x', '0'), 16))?.keyword, row.keyword, row.tag);
  }
});

function count(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}
