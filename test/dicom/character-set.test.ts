import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { characterSet, decodeText, encodeText, splitValues, UTF_8 } from '../../src/dicom/character-set.ts';
import { itemsOf, textValue, characterSetOf } from '../../src/dicom/data-set.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { VR_TRAITS, type Vr } from '../../src/dicom/vr.ts';
import { askPydicom, samplesFolder, skipWithoutPydicom, skipWithoutSamples } from './oracle/pydicom.ts';

const decode = (terms: string[], bytes: string, vr: Vr = 'PN'): string =>
  decodeText(characterSet(terms), Buffer.from(bytes, 'latin1'), vr);

test('the examples of PS3.5 annexes H, I, J and K', () => {
  // H.3.1: ASCII, then Kanji and Hiragana of JIS X 0208, back in ASCII before each delimiter.
  assert.equal(
    decode(
      ['', 'ISO 2022 IR 87'],
      'Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B',
    ),
    'Yamada^Tarou=山田^太郎=やまだ^たろう',
  );
  // H.3.2: half-width Katakana by default, JIS X 0201 Romaji before each delimiter.
  assert.equal(
    decode(
      ['ISO 2022 IR 13', 'ISO 2022 IR 87'],
      '\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J',
    ),
    'ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう',
  );
  // I.2: KS X 1001 in G1, designated anew after each delimiter.
  assert.equal(
    decode(
      ['', 'ISO 2022 IR 149'],
      'Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf',
    ),
    'Hong^Gildong=洪^吉洞=홍^길동',
  );
  // J.3: GB18030, whose second bytes may be 0x5C or 0x5E; J.1: UTF-8.
  assert.equal(decode(['GB18030'], 'Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab='), 'Wang^XiaoDong=王^小东=');
  assert.equal(
    decode(['ISO_IR 192'], 'Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1='),
    'Wang^XiaoDong=王^小東=',
  );
  // K.2: GB 2312 in G1.
  assert.equal(
    decode(['', 'ISO 2022 IR 58'], 'Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab='),
    'Zhang^XiaoDong=张^小东=',
  );
});

test('a second byte that looks like a delimiter is part of its character', () => {
  // GBK 0x84 0x5C, 0x84 0x5E; JIS X 0208 0x25 0x5C and 0x3D 0x3D in G0.
  assert.deepEqual(splitValues(decode(['GBK'], 'A\x84\x5c\\B\x84\x5e', 'LO'), 'LO'), ['A刓', 'B刕']);
  assert.equal(decode(['', 'ISO 2022 IR 87'], '\x1b$B%\\==\x1b(B=x'), 'ボ十=x');
});

test('each delimiter brings back the first set; a backslash in long text does not', () => {
  const terms = ['', 'ISO 2022 IR 144'];
  assert.equal(decode(terms, '\x1b-L\xb8\xd2\xd0\xdd^\xb8', 'PN'), 'Иван^\uFFFD');
  assert.equal(decode(terms, '\x1b-L\xb8\xd2\\\xb8', 'LO'), 'Ив\\\uFFFD');
  assert.equal(decode(terms, '\x1b-L\xb8\xd2^\xb8', 'LO'), 'Ив^И', '^ delimits in PN alone');
  assert.equal(decode(terms, '\x1b-L\xb8\xd2\\\xb8', 'LT'), 'Ив\\И');
  for (const control of ['\r', '\n', '\t', '\f']) {
    assert.equal(decode(terms, `\x1b-L\xb8${control}\xb8`, 'LT'), `И${control}\uFFFD`);
  }
});

test('JIS X 0201 shows 0x5C as a yen sign, but in values that it separates', () => {
  assert.equal(decode(['ISO_IR 13'], 'a\\b~', 'LT'), 'a¥b‾');
  assert.deepEqual(splitValues(decode(['ISO_IR 13'], '\xb1\\\xb2', 'LO'), 'LO'), ['ｱ', 'ｲ']);
});

test('damage becomes U+FFFD and the rest stays readable', () => {
  assert.equal(decode(['', 'ISO 2022 IR 87'], '\x1b$B;3E'), '山\uFFFD', 'half a character');
  assert.equal(decode(['', 'ISO 2022 IR 149'], 'x\xfb\xf3y'), 'x\uFFFD\uFFFDy', 'no escape sequence');
  assert.equal(decode(['', 'ISO 2022 IR 149'], '\x1b$)C\xfby'), '\uFFFDy', 'half a character');
  assert.equal(decode(['ISO_IR 100'], 'a\x1bZb'), 'a\uFFFDZb', 'unknown escape sequence');
  assert.equal(decode(['ISO_IR 192'], 'a\xe7\x8e'), 'a\uFFFD');
  assert.equal(decode(['NO SUCH SET'], 'M\xfcller'), 'M\uFFFDller');
  assert.equal(decode(['ISO_IR 138'], '\xff'), '\uFFFD', 'a place that ISO 8859-8 leaves empty');
});

test('terms are recognised in the spellings that senders use', () => {
  for (const term of ['ISO_IR 100', 'ISO-IR 100', 'ISO IR 100', 'iso_ir_100', ' ISO_IR 100 ', 'ISO 2022 IR 100']) {
    assert.equal(decode([term], 'M\xfcller'), 'Müller', term);
  }
});

test('8-bit text without a declared set is read as UTF-8 where it is valid UTF-8, else as Latin-1', () => {
  assert.equal(decode([], 'M\xc3\xbcller'), 'Müller');
  assert.equal(decode([], 'M\xfcller'), 'Müller');
  assert.equal(decode([''], 'M\xfcller'), 'Müller');
});

test('values are split and their padding removed as the VR has it', () => {
  assert.deepEqual(splitValues(' a \\b\0', 'LO'), ['a', 'b']);
  assert.deepEqual(splitValues(' a\\b ', 'PN'), [' a', 'b']);
  assert.deepEqual(splitValues(' a\\b ', 'LT'), [' a\\b']);
  assert.deepEqual(splitValues('\\', 'SH'), ['', '']);
  assert.deepEqual(splitValues('', 'SH'), ['']);
});

const TERMS = [
  ...['', 'ISO_IR 6', 'ISO_IR 100', 'ISO_IR 101', 'ISO_IR 109', 'ISO_IR 110', 'ISO_IR 144', 'ISO_IR 127', 'ISO_IR 126'],
  ...['ISO_IR 138', 'ISO_IR 148', 'ISO_IR 203', 'ISO_IR 166', 'ISO_IR 13', 'ISO_IR 192', 'GB18030', 'GBK'],
  ...['ISO 2022 IR 6', 'ISO 2022 IR 13', 'ISO 2022 IR 87', 'ISO 2022 IR 159', 'ISO 2022 IR 149', 'ISO 2022 IR 58'],
  ...['ISO 2022 IR 100', 'ISO 2022 IR 203', 'nonsense', '\\', 'ISO_IR 99999'],
];
const CHARSET_VRS: Vr[] = ['SH', 'LO', 'ST', 'LT', 'UC', 'UT', 'PN'];

test('no bytes under no declaration throw, and what comes out can be written as UTF-8', () => {
  const escapes = ['(B', '(J', ')I', '-A', '-L', '$B', '$(D', '$)C', '$)A', '', '$', '('].map((rest) => `\x1b${rest}`);
  const bytes = fc
    .array(
      fc.oneof(
        fc.string({ unit: fc.nat({ max: 255 }).map((code) => String.fromCharCode(code)) }),
        fc.constantFrom(...escapes),
      ),
    )
    .map((parts) => Buffer.from(parts.join(''), 'latin1'));
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...TERMS), { maxLength: 4 }),
      bytes,
      fc.constantFrom(...CHARSET_VRS),
      (terms, value, vr) => {
        const text = decodeText(characterSet(terms), value, vr);
        assert.ok(text.isWellFormed());
        assert.equal(decodeText(UTF_8, encodeText(text), vr), text);
        for (const one of splitValues(text, vr)) assert.equal(VR_TRAITS[vr].multiValued && one.includes('\\'), false);
      },
    ),
    { numRuns: 1000 },
  );
});

test('ASCII text is the same under every declaration but JIS X 0201', () => {
  const ascii = fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)) });
  fc.assert(
    fc.property(fc.constantFrom(...TERMS), ascii, (term, text) => {
      if (/ 13$/.test(term) && /[\\~]/.test(text)) return;
      assert.equal(decode([term], text, 'LT'), text);
    }),
  );
});

/** Where JIS, GB and Unicode tables are known to disagree about one sign; either side is in wide use. */
const VARIANTS = new Map(
  Object.entries({ '〜': '～', '‖': '∥', '−': '－', '¢': '￠', '£': '￡', '¬': '￢', '・': '·', '―': '—', '~': '～' }),
);

test('every character of every code element is what Python makes of it', { skip: skipWithoutPydicom }, () => {
  const [line = '{}'] = askPydicom('codes', []);
  const codes = JSON.parse(line) as Record<string, (string | null)[]>;
  const escapes: Record<string, string> = { 87: '\x1b$B', 159: '\x1b$(D', 149: '\x1b$)C', 58: '\x1b$)A' };
  let compared = 0;
  for (const [number, characters] of Object.entries(codes)) {
    const escape = escapes[number];
    for (const [index, expected] of characters.entries()) {
      if (expected === null) continue;
      const high = number === '149' || number === '58' ? 0x80 : 0;
      const code = String.fromCharCode((0x21 + Math.floor(index / 94)) | high, (0x21 + (index % 94)) | high);
      // The euro and registered signs that KS X 1001 got in 1998 are not in every table.
      if (number === '149' && /[€®]/.test(expected)) continue;
      const text =
        escape === undefined
          ? decode([`ISO_IR ${number}`], String.fromCharCode(0xa1 + index), 'LT')
          : decode(['', `ISO 2022 IR ${number}`], escape + code, 'LT');
      if (text !== expected) assert.equal(text, VARIANTS.get(expected), `${number} ${index}`);
      compared++;
    }
  }
  assert.ok(compared > 28_000, `${compared}`);
});

test(
  'names of the sample files, at top level and nested, are what they are known to be',
  { skip: skipWithoutSamples },
  () => {
    const lines = readFileSync(join(samplesFolder ?? '', 'phi/phi.jsonl'), 'utf8')
      .trim()
      .split('\n');
    let compared = 0;
    for (const line of lines) {
      const { path, elsewhere } = JSON.parse(line) as { path: string; elsewhere?: Record<string, string> };
      if (!path.startsWith('charsets_made/') || elsewhere === undefined) continue;
      const { dataSet } = readHead(readFileSync(join(samplesFolder ?? '', 'oddities', path))).head;
      assert.equal(textValue(dataSet, 0x00100010), elsewhere['PatientName'], path);
      const names = dataSet.elements.flatMap((element) =>
        itemsOf(dataSet, element.tag).flatMap((item) =>
          item.elements
            .filter(({ vr }) => vr === 'PN')
            .map(({ tag }) => textValue(item, tag, characterSetOf(item, characterSetOf(dataSet)))),
        ),
      );
      assert.ok(names.includes(elsewhere['nested PersonName']), path);
      compared++;
    }
    assert.equal(compared, 14);
  },
);
