import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  isPrivate,
  isPrivateCreator,
  keywordOf,
  lookUp,
  privateCreatorTag,
  tag,
  tagOf,
  vrOf,
} from '../../src/dicom/dictionary.ts';
import { VR_TRAITS } from '../../src/dicom/vr.ts';

const table = JSON.parse(
  readFileSync(new URL('../../src/dicom/standard/dictionary-2024d.json', import.meta.url), 'utf8'),
) as { rows: [string, string, string, string, number, string][] };

test('every row of PS3.6 is found by its tag and by its keyword', () => {
  assert.ok(table.rows.length > 5200);
  for (const [pattern, keyword, vr, vm, retired, name] of table.rows) {
    const number = Number.parseInt(pattern.replaceAll('x', '0'), 16);
    const entry = lookUp(number);
    // (0028,04x0) with x = 0 is (0028,0400), which has a row of its own.
    if (entry?.pattern !== pattern) {
      assert.ok(pattern.includes('x') && entry?.pattern.includes('x') === false, pattern);
      continue;
    }
    assert.deepEqual(entry, { tag: number, pattern, keyword, name, vrs: vr.split(' or '), vm, retired: retired === 1 });
    assert.equal(tagOf(keyword), number);
    for (const one of entry.vrs) assert.ok(one in VR_TRAITS, one);
  }
});

test('a keyword names one attribute', () => {
  const keywords = table.rows.map((row) => row[1]);
  assert.deepEqual(
    keywords.filter((keyword, index) => keywords.indexOf(keyword) !== index),
    [],
  );
});

test('repeating groups are found by their pattern, in even groups alone', () => {
  assert.equal(keywordOf(0x60003000), 'OverlayData');
  assert.equal(keywordOf(0x601e3000), 'OverlayData');
  assert.equal(keywordOf(0x60013000), '');
  assert.equal(keywordOf(0x50023000), 'CurveData');
  assert.equal(keywordOf(0x002031ab), 'SourceImageIDs');
  assert.equal(keywordOf(0x10001234), 'ShiftTableSize');
  assert.equal(keywordOf(0x7fe00010), 'PixelData', 'an exact row goes before (7Fxx,0010)');
  assert.equal(tagOf('OverlayData'), 0x60003000);
});

test('VRs of what no row names: group lengths, private creators, private and unknown attributes', () => {
  assert.equal(vrOf(0x00100000), 'UL');
  assert.equal(vrOf(0x00090000), 'UL');
  assert.equal(vrOf(0x00090010), 'LO');
  assert.equal(vrOf(0x000900ff), 'LO');
  assert.equal(vrOf(0x00090001), undefined);
  assert.equal(vrOf(0x00091001), undefined);
  assert.equal(vrOf(0x00100011), undefined);
  assert.equal(privateCreatorTag(0x00091001), 0x00090010);
  assert.equal(privateCreatorTag(0x0009ffee), 0x000900ff);
  assert.equal(privateCreatorTag(0x00090010), undefined);
  assert.equal(privateCreatorTag(0x00101001), undefined);
});

test('ambiguous VRs follow Pixel Representation, Bits Allocated and encapsulation', () => {
  const padding = tag('PixelPaddingValue');
  assert.equal(vrOf(padding), 'US');
  assert.equal(vrOf(padding, { pixelRepresentation: 0 }), 'US');
  assert.equal(vrOf(padding, { pixelRepresentation: 1 }), 'SS');
  assert.equal(vrOf(tag('Rows'), { pixelRepresentation: 1 }), 'US', 'Rows is never signed');
  assert.equal(vrOf(0x7fe00010), 'OW');
  assert.equal(vrOf(0x7fe00010, { bitsAllocated: 8 }), 'OB');
  assert.equal(vrOf(0x7fe00010, { bitsAllocated: 16 }), 'OW');
  assert.equal(vrOf(0x7fe00010, { bitsAllocated: 16, encapsulated: true }), 'OB');
  assert.equal(vrOf(tag('LUTData'), { pixelRepresentation: 1 }), 'OW');
});

test('a tag is understood as keyword and in three ways of writing its digits', () => {
  for (const text of ['PatientID', '00100020', '0010,0020', '(0010,0020)']) assert.equal(tagOf(text), 0x00100020);
  assert.equal(tagOf('7fe00010'), 0x7fe00010);
  for (const text of ['', 'patientid', '0010002', '001000200', 'constructor', '__proto__', '0x100020']) {
    assert.equal(tagOf(text), undefined, text);
  }
  assert.throws(() => tag('NoSuchAttribute'), /NoSuchAttribute/);
});

test('any 32-bit number has an answer', () => {
  fc.assert(
    fc.property(fc.nat({ max: 0xffffffff }), (number) => {
      const vr = vrOf(number, { pixelRepresentation: 1 });
      assert.ok(vr === undefined || vr in VR_TRAITS);
      if (lookUp(number) !== undefined) assert.ok(vr !== undefined && !isPrivate(number));
      if (isPrivateCreator(number)) assert.equal(vr, 'LO');
    }),
  );
});
