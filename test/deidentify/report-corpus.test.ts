/** Reports in seven languages through whole objects: structured reports, presentation states, descriptions. */
import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import { findElement, itemsOf, textValue, type DataSet } from '../../src/dicom/data-set.ts';
import { compileProfile } from '../../src/deidentify/profile.ts';
import { REPORTS, type Report } from './report-corpus.ts';
import { fileOf, makeFile, memoryWall, pass, type Attributes } from './support.ts';

const COMPREHENSIVE_SR = '1.2.840.10008.5.1.4.1.1.88.33';
const PRESENTATION_STATE = '1.2.840.10008.5.1.4.1.1.11.1';

const SCRUB = compileProfile({ ...fileOf('research-longitudinal'), faces: 'allow' });
const WORDS = compileProfile({ ...fileOf('gdpr-anonymise'), faces: 'allow', pixels: 'allow' });

const plainOf = ({ text }: Report): string => text.replaceAll(/\[\[|\]\]|\{\{|\}\}/g, '');

function headerOf({ header }: Report): Attributes {
  return {
    '00100010': header.patient,
    '00100020': header.patientID,
    '00100030': header.birthDate,
    '00080050': header.accession,
    '00080090': header.referring,
    '00080080': header.institution,
    ...(header.address === undefined ? {} : { '00101040': header.address }),
    ...(header.phone === undefined ? {} : { '00102154': header.phone }),
    ...(header.station === undefined ? {} : { '00081010': header.station }),
  };
}

const concept = (value: string, meaning: string): readonly Attributes[] => [
  { '00080100': value, '00080102': 'DCM', '00080104': meaning },
];

/** The text at depth one, three, and beside it an item of every other value type, all of them about the patient. */
function reportObject(report: Report): Buffer {
  const text = plainOf(report);
  const finding: Attributes = {
    '0040A010': 'CONTAINS',
    '0040A040': 'TEXT',
    '0040A043': concept('121071', 'Finding'),
    '0040A160': text,
  };
  const container = (...items: readonly Attributes[]): Attributes => ({
    '0040A010': 'CONTAINS',
    '0040A040': 'CONTAINER',
    '0040A043': concept('121070', 'Findings'),
    '0040A050': 'SEPARATE',
    '0040A730': items,
  });
  const others: readonly Attributes[] = [
    {
      '0040A010': 'HAS OBS CONTEXT',
      '0040A040': 'PNAME',
      '0040A043': concept('121008', 'Person Observer Name'),
      '0040A123': report.header.referring,
    },
    {
      '0040A010': 'CONTAINS',
      '0040A040': 'DATE',
      '0040A043': concept('121031', 'Subject Birth Date'),
      '0040A121': report.header.birthDate,
    },
    {
      '0040A010': 'CONTAINS',
      '0040A040': 'UIDREF',
      '0040A043': concept('121018', 'Procedure Study Instance UID'),
      '0040A124': '1.2.3.4.5.6.7.8',
    },
    {
      '0040A010': 'CONTAINS',
      '0040A040': 'CODE',
      '0040A043': concept('121071', 'Finding'),
      '0040A168': [{ '00080100': 'L1', '00080102': '99HOUSE', '00080104': `seen in ${report.header.patient}` }],
    },
    {
      '0040A010': 'CONTAINS',
      '0040A040': 'TEXT',
      '0040A043': concept('121029', 'Subject Name'),
      '0040A160': `alias of ${report.header.patientID}`,
    },
  ];
  return makeFile(
    {
      ...headerOf(report),
      '00080005': 'ISO_IR 192',
      '00080016': COMPREHENSIVE_SR,
      '0040A040': 'CONTAINER',
      '0040A730': [finding, container(container(finding), ...others)],
    },
    { pixels: null },
  );
}

/** Characters of scripts without blanks, words of all others, numbers. */
const TOKEN =
  /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}ｦ-ﾟー]|[^\P{L}\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}]+|\p{N}+/gu;
const tokens = (text: string): string[] => [...text.matchAll(TOKEN)].map(([token]) => token);

type Fate = 'go' | 'stay' | 'either';
interface Marked {
  readonly word: string;
  readonly fate: Fate;
}

function markedWords({ text }: Report): Marked[] {
  return text.split(/(\[\[[^\]]*\]\]|\{\{[^}]*\}\})/).flatMap((part) => {
    const fate: Fate = part.startsWith('[[') ? 'go' : part.startsWith('{{') ? 'either' : 'stay';
    return tokens(part).map((word) => ({ word, fate }));
  });
}

/** Which words came through: the longest common sequence, what may stay before what has to go. */
function compare(marked: readonly Marked[], out: string): { left: string[]; lost: string[] } {
  const found = tokens(out);
  const weight = (one: Marked): number => (one.fate === 'stay' ? 100 : 99);
  const best = Array.from({ length: marked.length + 1 }, () => new Int32Array(found.length + 1));
  const at = (row: number, column: number): number => best[row]?.[column] ?? 0;
  for (let row = marked.length - 1; row >= 0; row--) {
    for (let column = found.length - 1; column >= 0; column--) {
      const one = marked[row];
      const same = one !== undefined && one.word === found[column] ? at(row + 1, column + 1) + weight(one) : 0;
      const line = best[row];
      if (line !== undefined) line[column] = Math.max(same, at(row + 1, column), at(row, column + 1));
    }
  }
  const left: string[] = [];
  const lost: string[] = [];
  let column = 0;
  for (const [row, one] of marked.entries()) {
    while (column < found.length && at(row, column) === at(row, column + 1) && at(row, column) > 0) column++;
    const kept = one.word === found[column] && at(row, column) === at(row + 1, column + 1) + weight(one);
    if (kept) column++;
    if (kept && one.fate === 'go') left.push(one.word);
    if (!kept && one.fate === 'stay') lost.push(one.word);
  }
  return { left, lost };
}

function textsOf(dataSet: DataSet): string[] {
  const own = textValue(dataSet, 0x0040a160);
  return [...(own === undefined ? [] : [own]), ...itemsOf(dataSet, 0x0040a730).flatMap(textsOf)];
}

function leaves(dataSet: DataSet): DataSet[] {
  return [dataSet, ...itemsOf(dataSet, 0x0040a730).flatMap(leaves)];
}

describe('reports as they are dictated', () => {
  for (const report of REPORTS) {
    it(`${report.language}: of ${report.header.patient} everything that names somebody goes, everything else stays`, async () => {
      const { dataSet } = await pass(reportObject(report), { profile: SCRUB, wall: memoryWall() });
      const [first, deep] = textsOf(dataSet);
      assert.ok(first !== undefined && first === deep, 'at every depth the same');
      assert.deepEqual(compare(markedWords(report), first), { left: [], lost: [] });
    });
  }

  test('DEID-REPORTS: a profile that keeps only clinical words leaves no name in any language, and most of the report in five', async () => {
    const wall = memoryWall();
    let stay = 0;
    let lostWords = 0;
    for (const report of REPORTS) {
      const { dataSet } = await pass(reportObject(report), { profile: WORDS, wall });
      const [first = ''] = textsOf(dataSet);
      const marked = markedWords(report);
      const { left, lost } = compare(marked, first);
      assert.deepEqual(left, [], report.header.patient);
      if (report.language === 'ja' || report.language === 'zh') continue;
      stay += marked.filter(({ fate }) => fate === 'stay').length;
      lostWords += lost.length;
    }
    assert.ok(lostWords / stay < 0.15, `${lostWords} of ${stay} clinical words went`);
  });

  it('have items of other value types, acted upon by what they are', async () => {
    const [report] = REPORTS;
    assert.ok(report !== undefined);
    const { dataSet } = await pass(reportObject(report), { profile: SCRUB, wall: memoryWall() });
    const byType = (type: string): DataSet[] => leaves(dataSet).filter((item) => textValue(item, 0x0040a040) === type);
    const [name] = byType('PNAME');
    const [date] = byType('DATE');
    const [uid] = byType('UIDREF');
    const [code] = byType('CODE');
    assert.ok(name !== undefined && date !== undefined && uid !== undefined && code !== undefined);
    assert.ok(!(textValue(name, 0x0040a123) ?? '').includes('Oduya'));
    assert.notEqual(textValue(date, 0x0040a121), report.header.birthDate);
    assert.match(textValue(uid, 0x0040a124) ?? '', /^2\.25\./);
    assert.ok(!(textValue(itemsOf(code, 0x0040a168)[0] ?? code, 0x00080104) ?? '').includes('Hargreaves'));
    assert.ok(textsOf(dataSet).every((text) => !text.includes('0048213')));
  });

  it('say as little in the text of a presentation state and in descriptions', async () => {
    for (const report of REPORTS.slice(0, 6)) {
      const text = plainOf(report);
      const object = makeFile(
        {
          ...headerOf(report),
          '00080005': 'ISO_IR 192',
          '00080016': PRESENTATION_STATE,
          '00204000': text,
          '00104000': text,
          '00700001': [{ '00700002': 'LAYER1', '00700008': [{ '00700006': text }] }],
        },
        { pixels: null },
      );
      const { dataSet } = await pass(object, { profile: SCRUB, wall: memoryWall() });
      const annotation = itemsOf(dataSet, 0x00700001)[0];
      const graphic = annotation && itemsOf(annotation, 0x00700008)[0];
      const found = [
        textValue(dataSet, 0x00204000),
        textValue(dataSet, 0x00104000),
        graphic && textValue(graphic, 0x00700006),
      ];
      for (const one of found) assert.deepEqual(compare(markedWords(report), one ?? ''), { left: [], lost: [] });
      assert.ok(findElement(dataSet, 0x00700001) !== undefined);
    }
  });
});
