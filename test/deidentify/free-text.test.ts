import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import fc from 'fast-check';
import { openCleaner } from '../../src/deidentify/free-text.ts';
import type { Identity } from '../../src/deidentify/identity.ts';
import { PATTERNS } from '../../src/deidentify/patterns.ts';
import { REPORTS } from './report-corpus.ts';
import { fold, skeleton } from '../../src/deidentify/words.ts';

const identity: Identity = {
  names: new Set([
    'Müller-Lüdenscheidt^Hans Peter^Dr.',
    'Yamada^Tarou=山田^太郎=やまだ^たろう',
    'Иванова^Анна',
    'Li^Wei',
    'Papadopoulos^Nikos',
  ]),
  ids: new Set(['PID-004711', 'ACC-77-123', '19570302']),
  numbers: new Set(['AB12']),
  places: new Set(['Sankt Marien Hospital, Chest Clinic', '123 Maple Street, Springfield IL 62704']),
};
const scrub = openCleaner(identity, 'scrub');
const words = openCleaner(identity, 'words');

/** Text, what must be gone of it in any case, what must stay. */
const CASES: readonly (readonly [text: string, gone: readonly string[], kept: readonly string[]])[] = [
  ['CHEST CT of Hans Müller, contrast 120 kV', ['Hans', 'Müller'], ['CHEST', 'CT', 'contrast', '120', 'kV']],
  ['knee of Mueller-Luedenscheidt', ['Mueller', 'Luedenscheidt'], ['knee']],
  ['ax_t1_MULLER_gad', ['MULLER'], ['ax', 't1', 'gad']],
  ["Müller's liver, MuellerHans01", ['Müller', 'Mueller', 'Hans'], ['liver']],
  ['Yamada Tarō 山田太郎 liver biopsy', ['Yamada', 'Tarō', '山田', '太郎'], ['liver', 'biopsy']],
  ['Ivanova A., follow up', ['Ivanova', 'A.'], ['follow', 'up']],
  ['Nikos Παπαδόπουλος: brain', ['Nikos', 'Παπαδόπουλος'], ['brain']],
  ['Wei Li brain T2 FLAIR', ['Wei', 'Li'], ['brain', 'T2', 'FLAIR']],
  ['lungs of PID 4711, PID004711, acc77123, ACC 77 123', ['4711', '77123', '77 123'], ['lungs']],
  ['call (617) 555-1234 or +49 228 28715871 or 555-867-5309: knee', ['555', '28715871', '5309'], ['knee']],
  ['a.b@web.de http://x.org/y www.z.com 10.1.2.3 spine', ['web', 'x.org', 'z.com', '10.1.2.3'], ['spine']],
  ['seen 2024-04-05, 4/5/24, 05.04.2024, 20240405, chest', ['2024', '4/5', '05.04'], ['seen', 'chest']],
  ['March 3rd, 2021; 3 Mar 2020; 5. April 2019; June 2018 hip', ['March', 'Mar', 'April', 'June', '20'], ['hip']],
  ['92 year old man with stroke', ['92'], ['man', 'stroke']],
  ['read by Dr. John Smith', ['John', 'Smith'], ['read']],
  ['lives at 17 Elm Street, Boston MA 02115; pelvis', ['17', 'Elm', '02115'], ['pelvis']],
  ['Musterstraße 12, 53127 Bonn: pelvis', ['Muster', '53127', 'Bonn'], ['pelvis']],
  ['MRN: A1234567, case no 778899, SSN 123-45-6789, pelvis', ['A1234567', '778899', '6789'], ['pelvis']],
  ['Outside CT from Sankt Marien Hospital', ['Sankt', 'Marien'], ['Outside', 'CT']],
  ['Smith^John^^^ abdomen', ['Smith', 'John'], ['abdomen']],
  ['workstation 10.92.60.166, spine', ['10.92'], ['workstation', 'spine']],
  ['Befund vom 17.10. Leber', ['17.10'], ['vom', 'Leber']],
  ['lives at 8262 Leawood Blvd, Springfield, AR 17650; knee', ['Leawood', 'Springfield', '17650'], ['lives', 'knee']],
  ['ref Dr. M. Kowalczyk, liver', ['Kowalczyk'], ['ref', 'liver']],
  ['DICTATED BY PROF. DR. VILLENEUVE-TREMBLAY, HEART', ['VILLENEUVE', 'TREMBLAY'], ['HEART']],
  ['MRS. OKAFOR REVIEWED THE IMAGES', ['OKAFOR'], ['REVIEWED', 'IMAGES']],
  ['2023년 4월 5일 김철수 선생님 판독, liver', ['2023', '김철수'], ['liver']],
  ['улица Ленина, д. 12, кв. 5; liver', ['Ленина', '12'], ['liver']],
  ['スズキさん 95歳 〒160-0023 二〇二三年四月五日 liver', ['スズキ', '95', '160', '二〇二三'], ['liver']],
  ['Telefon 0484/252883, Knie', ['252883'], ['Telefon', 'Knie']],
];

/** One at least for each pattern that the cases leave out. */
const FORMS = [
  '二〇二三年四月五日',
  '2023년 4월 5일',
  '4월 5일',
  '95歳 女性',
  '93 года, мужчина',
  '〒160-0023',
  'улица Ленина, д. 12, кв. 5',
  'スズキさん 来院',
  '김철수 선생님 판독',
  'sftp://host/a hl7:abc tel:0228 TEL:0228 https://x.y/zzz ﬁle:///abc',
  'srv-01.lan/pacs 00:1A:2b:3C:4d:5E fe80:1:2:3:4:a0ff 1.2.840.113619.2.5 1999.01.02',
  '20240405123456.123 3-FÉV-99 5 août 2001 1st of MÄRZ Dezember 12th, 2020 2021-08 08/2021 2020年 1月 2日 am 3.4.',
  'born in 1911, née 1925 * 1901 12:34:56.7 9:15 pm 23:59',
  '101-jährige Frau, 95 y/o, 090Y AGE: 99, 120Y',
  '+49 (0)228/287 15871 0049-228-1234 555 123 4567 555-4567 0484-252883 ph. 555 0100 FAX: 0228/28-1 ext # 12 34',
  'Patient ID: A12-3 Fallnr.=77a #4711 ABC-123456x a1b2345 12AB345',
  '17b, N. Elm Tree Close Lane, Apt. 4 221 Baker St. 5 High Sq 12 Rosen Court Am Alten Damm 7a Hauptstr. 5 Ring 5',
  '5 bis, rue de la Paix 12 Piazza Navona P.O. Box 1234 po box 99 Boston MA 02115-1234 MA, 02115 SW1A 1AA EC1 1BB 53127 Bonn',
  'Meier^Hans^^Dr Herr Dr. med. von Bülow Sr García Mme Curie Nurse Joy by: Smith, J. Doe PT Brown c/o Jones TECH=Lee',
];

/** What describes an examination and looks a little like something else. */
const CLINICAL = [
  'No acute intracranial hemorrhage. Stable 5 mm nodule in the right upper lobe (series 3, image 45).',
  'AX 3D T1 MPRAGE post GAD',
  'b1000 DWI TE80 TR4500 SENSE 2.5',
  'Head^Routine (Adult)',
  'L4/5 disc, C5-C6, T1/T2, 3/4 lobes, grade 2/3',
  'T2_TSE_SAG_FS 512x512',
  'Portal venous phase 70s delay',
  'CHEST PA AND LATERAL 2 views',
  '45 year old female, 3 x 4 x 5 cm mass',
  'THYROID UPTAKE 24H',
  'CAROTID STENOSIS LEFT, SIGMOID COLON, PAROTID GLAND',
];

describe('free text', () => {
  for (const [text, gone, kept] of CASES) {
    it(`loses who it is about and keeps what it is about: ${text}`, () => {
      for (const cleaner of [scrub, words]) {
        const cleaned = cleaner.clean(text);
        for (const word of gone) assert.ok(!cleaned.includes(word), `${word} in "${cleaned}"`);
        for (const word of kept) assert.ok(cleaned.includes(word), `${word} not in "${cleaned}"`);
      }
    });
  }

  for (const text of CLINICAL) {
    it(`stays whole when it names nobody: ${text}`, () => {
      assert.equal(scrub.clean(text), text);
      assert.equal(words.clean(text), text);
    });
  }

  it('keeps words it does not know only when asked to', () => {
    assert.equal(scrub.clean('QZWORD chest'), 'QZWORD chest');
    assert.equal(words.clean('QZWORD chest'), 'chest');
    assert.equal(words.clean('QZWORD 4711123'), '');
  });

  it('is empty when nothing but separators is left', () => {
    assert.equal(scrub.clean('Hans Müller / PID-004711'), '');
  });

  test('DEID-TEXT: finds a name in any case, form of accents and separator', () => {
    const name = 'Müller';
    const forms = fc.constantFrom(
      name,
      name.toUpperCase(),
      name.toLowerCase(),
      name.normalize('NFD'),
      'Muller',
      'MUELLER',
      'ＭＵＬＬＥＲ',
    );
    const separators = fc.constantFrom(' ', '_', '-', ', ', '^', '/', '.', '(', '\n', '\t');
    fc.assert(
      fc.property(forms, separators, separators, (form, before, after) => {
        const cleaned = scrub.clean(`liver${before}${form}${after}spleen`);
        assert.ok(!skeleton(fold(cleaned)).includes('muler'), cleaned);
        assert.ok(cleaned.includes('liver') && cleaned.includes('spleen'), cleaned);
      }),
    );
  });

  it('never makes a text longer and ends in time whatever the text is', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 400, unit: 'grapheme' }), (text) => scrub.clean(text).length <= text.length),
    );
    for (const piece of ['1', 'a1-', 'A', '1 2 ', 'a.', ':1', 'Dr. ', '^', '(', 'Aa ', '12/', '@a.'])
      assert.ok(scrub.clean(piece.repeat(50_000)).length <= 50_000 * piece.length);
  });

  it('overlooks no identifier for want of its sign', () => {
    const met = new Set<RegExp>();
    const assertSigned = (text: string): void => {
      for (const { sign, expression } of PATTERNS) {
        const [match] = text.matchAll(expression);
        if (match === undefined) continue;
        met.add(expression);
        assert.ok(sign.test(text), `${expression.source} finds "${match[0]}", its sign ${sign.source} does not`);
      }
    };
    const texts = [
      ...CASES.map(([text]) => text),
      ...FORMS,
      ...REPORTS.flatMap(({ text }) => text.split(/\[\[|\]\]|\n/)),
    ];
    texts.push(...REPORTS.map(({ text }) => text.replaceAll(/\[\[|\]\]|\{\{|\}\}/g, '')));
    for (const text of texts) for (const form of [text, text.toUpperCase(), text.toLowerCase()]) assertSigned(form);
    const pieces = texts.flatMap((text) => text.split(/(?<=[^\p{L}])|(?=[^\p{L}])/u));
    const signs = ['9', '1', '20', 'K', 'ſ', 'İ', 'ẞ', 'É', ' ', '-', '.', '/', ':', '年'];
    const spliced = fc.array(fc.constantFrom(...pieces, ...signs), { minLength: 2, maxLength: 14 });
    fc.assert(
      fc.property(spliced, (parts) => assertSigned(parts.join(''))),
      { numRuns: 2000 },
    );
    const unmet = PATTERNS.filter(({ expression }) => !met.has(expression)).map(({ expression }) => expression.source);
    assert.deepEqual(unmet, []);
  });

  it('of the length of a document goes as a whole', () => {
    assert.equal(scrub.clean('liver '.repeat(40_000)), '');
  });
});
