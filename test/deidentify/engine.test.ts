import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  asciiValue,
  asciiValues,
  findElement,
  formatTag,
  itemsOf,
  textValue,
  type DataSet,
} from '../../src/dicom/data-set.ts';
import { readHead, readObject } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { isUid } from '../../src/dicom/uid.ts';
import { deidentify } from '../../src/deidentify/deidentify.ts';
import { compileProfile } from '../../src/deidentify/profile.ts';
import {
  BASIC,
  encode,
  encodeImplicit,
  EXPLICIT_BE,
  EXPLICIT_LE,
  fileOf,
  gather,
  holds,
  IMPLICIT_LE,
  item,
  JPEG,
  makeFile,
  memoryWall,
  pass,
  PIXELS,
  SAFE_HARBOR,
  UIDS,
  type Attributes,
} from './support.ts';

const SECRET = 'QZSECRET4X';

function assertGone(file: Buffer, ...words: readonly string[]): void {
  for (const word of words) assert.equal(holds(file, word), false, `${word} came through`);
}

/** Every data set, nested ones included. */
function* everywhere(dataSet: DataSet): Generator<DataSet> {
  yield dataSet;
  for (const element of dataSet.elements) for (const inner of element.items ?? []) yield* everywhere(inner);
}

describe('structure', () => {
  it('PS3.15-E.1.1-depth: acts at any depth, in defined and undefined lengths', async () => {
    for (const undefinedLengths of [false, true]) {
      let tree: Attributes = { '00081155': '1.2.77.8', '00100010': `${SECRET}^DEEP`, '00080080': SECRET };
      for (let depth = 0; depth < 30; depth++) tree = { '00089215': [tree], '00081070': `${SECRET}^${depth}` };
      const { file, dataSet } = await pass(makeFile({ '00089215': [tree] }, { undefinedLengths }));
      assertGone(file, SECRET, '1.2.77.8');
      assert.equal(
        [...everywhere(dataSet)].length,
        1 + 31 + 2,
        'the tree keeps its shape; two items are the method codes',
      );
    }
  });

  it('re-types standard elements that come as UN before acting', async () => {
    const { file, dataSet } = await pass(
      makeFile({
        '00102180': Buffer.from(`UN${SECRET}`).subarray(2),
        '001021B0': `UN:${SECRET}`,
        '00280030': 'UN:0.5\\0.5',
        '00180050': 'UN:2.5 ',
      }),
    );
    assertGone(file, SECRET);
    assert.equal(asciiValue(dataSet, 0x00280030), '0.5\\0.5');
    assert.equal(findElement(dataSet, 0x00180050)?.vr, 'DS');
  });

  it('reads sequences inside UN, of defined and of undefined length, as Implicit VR', async () => {
    const inner = encodeImplicit({
      '00080080': SECRET,
      '00081150': '1.2.840.10008.5.1.4.1.1.2',
      '00081155': '1.2.77.9',
    });
    const defined = Buffer.concat([
      Buffer.from([0x08, 0, 0x15, 0x92, 0x55, 0x4e, 0, 0]),
      length(item(inner)),
      item(inner),
    ]);
    const undefinedLength = Buffer.concat([
      Buffer.from([0x08, 0, 0x15, 0x92, 0x55, 0x4e, 0, 0, 0xff, 0xff, 0xff, 0xff]),
      item(inner),
      Buffer.from('feffdde000000000', 'hex'),
    ]);
    for (const sequence of [defined, undefinedLength]) {
      const file = makeFile({}, { pixels: null });
      const at = file.indexOf(Buffer.from([0x10, 0, 0x10, 0, 0x50, 0x4e]));
      const { file: out, dataSet } = await pass(Buffer.concat([file.subarray(0, at), sequence, file.subarray(at)]));
      assertGone(out, SECRET, '1.2.77.9');
      const [first] = itemsOf(dataSet, 0x00089215);
      assert.ok(first !== undefined && isUid(asciiValue(first, 0x00081155) ?? ''));
    }
  });

  it('removes curves and overlays, every element of every even group of them', async () => {
    const attributes: Record<string, string | Buffer> = {};
    for (let group = 0x5000; group <= 0x501e; group += 2) attributes[`${group.toString(16)}0022`] = `LO:${SECRET}`;
    for (let group = 0x6000; group <= 0x601e; group += 2) {
      attributes[`${group.toString(16)}0022`] = `LO:${SECRET}`;
      attributes[`${group.toString(16)}1500`] = `LO:${SECRET}`;
      attributes[`${group.toString(16)}3000`] = Buffer.from(SECRET);
    }
    const { file, dataSet } = await pass(makeFile(attributes));
    assertGone(file, SECRET);
    assert.equal(
      dataSet.elements.some(({ tag }) => tag >>> 16 >= 0x5000 && tag >>> 16 <= 0x60ff),
      false,
    );
  });

  it('PS3.15-E.1.1-private: removes every odd group, creators and all, and private sequences without a crash', async () => {
    const { file, dataSet, result } = await pass(
      makeFile({
        '00090010': 'LO:ACME PRIVATE',
        '00091001': `LO:${SECRET}`,
        '00091002': [{ '00100010': SECRET, '00091003': `LO:${SECRET}` }],
        '000D1001': `LO:${SECRET}`,
        '70530010': 'LO:Philips PET Private Group',
        '70531000': 'DS:1.234567',
        '00089215': [{ '20050010': 'LO:NESTED', '20051001': `LO:${SECRET}` }],
      }),
    );
    assertGone(file, SECRET, 'ACME PRIVATE', 'Philips PET', '1.234567');
    for (const set of everywhere(dataSet))
      assert.equal(
        set.elements.some(({ tag }) => (tag & 0x10000) !== 0),
        false,
      );
    assert.equal(result.counts.privateRemoved, 8);
  });

  it('PS3.15-E.1.1-meta: makes preamble and file meta from nothing; the meta names the same instance as the data set', async () => {
    const { head, file, dataSet } = await pass(
      makeFile(
        {},
        {
          preamble: Buffer.from(SECRET.padEnd(128, 'x')),
          meta: {
            '00020016': `AE:${SECRET}`,
            '00020017': `AE:${SECRET}`,
            '00020100': 'UI:1.2.3',
            '00020102': Buffer.from(SECRET),
          },
        },
      ),
    );
    assertGone(file, SECRET);
    assert.equal(
      head.subarray(0, 128).every((byte) => byte === 0),
      true,
    );
    const meta = readHead(head).head.fileMeta as DataSet;
    assert.equal(asciiValue(meta, 0x00020003), asciiValue(dataSet, 0x00080018));
    assert.deepEqual(
      meta.elements.map(({ tag }) => formatTag(tag)),
      ['(0002,0000)', '(0002,0001)', '(0002,0002)', '(0002,0003)', '(0002,0010)', '(0002,0012)', '(0002,0013)'],
    );
  });

  it('drops signatures, padding and whatever follows the data set', async () => {
    const { file } = await pass(
      makeFile({}, { trailing: Buffer.concat([encode({ FFFCFFFC: Buffer.from(SECRET) }), Buffer.from(`${SECRET}!`)]) }),
    );
    assertGone(file, SECRET);
    const { file: signed } = await pass(
      makeFile({ '4FFE0001': [{ '04000005': Buffer.from([1, 0]), '00100010': SECRET }] }),
    );
    assertGone(signed, SECRET);
  });

  it('writes elements ascending, each once, in Explicit VR Little Endian and UTF-8', async () => {
    const { dataSet, result } = await pass(makeFile({ '00080005': 'ISO_IR 100' }));
    const tags = dataSet.elements.map(({ tag }) => tag);
    assert.deepEqual(
      tags,
      [...new Set(tags)].sort((a, b) => a - b),
    );
    assert.equal(asciiValue(dataSet, 0x00080005), 'ISO_IR 192');
    assert.equal(result.object.transferSyntaxUID, EXPLICIT_LE);
  });
});

describe('values', () => {
  it('PS3.15-E.1.1-uids: maps every value of a multi-valued UID by itself and keeps the multiplicity', async () => {
    const { dataSet, file } = await pass(makeFile({ '00080058': '1.2.77.1\\1.2.77.2\\1.2.77.1' }));
    const values = asciiValues(dataSet, 0x00080058);
    assert.equal(values.length, 3);
    assert.equal(values[0], values[2]);
    assert.notEqual(values[0], values[1]);
    assert.ok(values.every((uid) => isUid(uid) && uid.startsWith('2.25.') && uid.length <= 44));
    assertGone(file, '1.2.77.1');
  });

  it('keeps UIDs that PS3.6 registers and maps one that only has their prefix', async () => {
    const { dataSet, file } = await pass(
      makeFile({ '00200052': '1.2.840.10008.1.4.1.2', '00081167': undefined, '00200200': '1.2.840.10008.77.1' }),
    );
    assert.equal(asciiValue(dataSet, 0x00200052), '1.2.840.10008.1.4.1.2');
    assert.equal(asciiValue(dataSet, 0x00080016), '1.2.840.10008.5.1.4.1.1.2');
    assertGone(file, '1.2.840.10008.77.1');
  });

  it('maps UIDs of attributes that the table does not name', async () => {
    const { file, dataSet } = await pass(makeFile({ '00209161': '1.2.77.4', '00083010': '1.2.77.5' }));
    assertGone(file, '1.2.77.4', '1.2.77.5');
    assert.ok(isUid(asciiValue(dataSet, 0x00083010) ?? ''));
  });

  it('PS3.15-E.1-unknown: removes attributes that neither the table nor the standard knows, and retired ones', async () => {
    const { file, result } = await pass(
      makeFile({
        '00109999': `LO:${SECRET}`,
        '00109998': Buffer.from(SECRET),
        '0018FFF1': 'UI:1.2.77.6',
        '00200070': `LO:${SECRET}`,
      }),
    );
    assertGone(file, SECRET, '1.2.77.6');
    assert.ok(result.counts.unknownRemoved >= 4);
  });

  it('removes free text that the table does not name', async () => {
    const { file } = await pass(
      makeFile({
        '00181250': `SH:${SECRET}`,
        '00283003': `LO:${SECRET}`,
        '00189005': `SH:${SECRET}`,
        '0040A160': `UT:${SECRET}`,
      }),
    );
    assertGone(file, SECRET);
  });

  it('removes what hides in a number, a code string or a date', async () => {
    const { file, dataSet, result } = await pass(
      makeFile({
        '00180060': 'DS:Hans Meier',
        '00201002': 'IS:meier 4711',
        '00185100': `CS:Hans Meier, born 1957`,
        '00180088': 'DS:1.5\\Hans Meier',
        '00187050': 'CS:MEIER',
      }),
    );
    assertGone(file, 'MEIER', 'Hans');
    assert.equal(result.counts.invalidRemoved, 5);
    assert.equal(findElement(dataSet, 0x00180088), undefined);
  });

  it('replaces one odd value among the values of a code string and keeps the others in their places', async () => {
    const { dataSet, file } = await pass(makeFile({ '00080008': 'ORIGINAL\\primary\\Hans, 1957\\MPR' }));
    assert.equal(asciiValue(dataSet, 0x00080008), 'ORIGINAL\\PRIMARY\\REMOVED\\MPR');
    assertGone(file, 'Hans');
  });

  it('removes kept text that holds a word of the patient’s names or ids', async () => {
    const { file, dataSet } = await pass(
      makeFile({ '00080070': 'Meier & Sons', '00081090': 'PID-4711 scanner', '00181020': 'VB10' }),
    );
    assertGone(file, 'Meier', 'PID-4711');
    assert.equal(textValue(dataSet, 0x00181020), 'VB10');
  });

  it('PS3.15-E.1.1-codes: keeps codes of published schemes and empties the others of meaning', async () => {
    const { file, dataSet } = await pass(
      makeFile({
        '00082218': [
          { '00080100': '51185008', '00080102': 'SCT', '00080104': 'Thorax' },
          { '00080100': SECRET, '00080102': '99HOSPITAL', '00080104': SECRET },
          { '00080104': SECRET },
        ],
      }),
    );
    assertGone(file, SECRET, '99HOSPITAL');
    const [known, local] = itemsOf(dataSet, 0x00082218);
    assert.ok(known !== undefined && local !== undefined);
    assert.equal(textValue(known, 0x00080104), 'Thorax');
    assert.equal(textValue(local, 0x00080104), 'REMOVED');
  });

  it('decodes kept text by its own character set and writes it in UTF-8', async () => {
    const { dataSet } = await pass(
      makeFile({
        '00080005': 'ISO_IR 100',
        '00080070': Buffer.from('Röntgen ', 'latin1'),
        '00081090': Buffer.from('Größe\\2', 'latin1'),
      }),
    );
    assert.equal(textValue(dataSet, 0x00080070), 'Röntgen');
    assert.equal(textValue(dataSet, 0x00081090), 'Größe\\2');
  });

  it('writes dummies that are valid for their VR', async () => {
    const sop = { '00080016': '1.2.840.10008.5.1.4.1.1.88.33', '00080060': 'SR' };
    const { dataSet, file } = await pass(
      makeFile(
        {
          ...sop,
          '0040A730': [
            { '0040A040': 'TEXT', '0040A160': `UT:${SECRET} was seen`, '0040A010': 'CONTAINS' },
            { '0040A040': 'PNAME', '0040A123': `${SECRET}^A` },
            { '0040A040': 'UIDREF', '0040A124': '1.2.77.7' },
            { '0040A040': 'TIME', '0040A122': '101112.123' },
          ],
        },
        { pixels: null },
      ),
    );
    assertGone(file, SECRET, '1.2.77.7', '101112.123');
    const [text, name, uid, time] = itemsOf(dataSet, 0x0040a730);
    assert.ok(text !== undefined && name !== undefined && uid !== undefined && time !== undefined);
    assert.equal(textValue(text, 0x0040a160), 'REMOVED');
    assert.equal(textValue(name, 0x0040a123), 'REMOVED');
    assert.ok(isUid(asciiValue(uid, 0x0040a124) ?? ''));
    assert.match(asciiValue(time, 0x0040a122) ?? '', /^\d{6}$/);
  });

  it('PS3.15-E.1.1-references: keeps the study, series and image references of one patient consistent between objects that come in any order', async () => {
    const wall = memoryWall();
    const reference = makeFile({
      '00080018': '1.2.3.4.99',
      '00081115': [{ '0020000E': UIDS.series, '00081199': [{ '00081155': UIDS.instance }] }],
    });
    const first = await pass(reference, { wall });
    const second = await pass(makeFile(), { wall });
    const [series] = itemsOf(first.dataSet, 0x00081115);
    assert.ok(series !== undefined);
    const [instance] = itemsOf(series, 0x00081199);
    assert.ok(instance !== undefined);
    assert.equal(asciiValue(series, 0x0020000e), asciiValue(second.dataSet, 0x0020000e));
    assert.equal(asciiValue(instance, 0x00081155), asciiValue(second.dataSet, 0x00080018));
    assert.equal(asciiValue(first.dataSet, 0x0020000d), asciiValue(second.dataSet, 0x0020000d));
  });
});

describe('dates and ages', () => {
  it('PS3.15-E.3.6-dates: moves every date of a patient by the same whole days, so that intervals hold', async () => {
    const wall = memoryWall();
    const prior = await pass(makeFile(), { wall });
    const current = await pass(makeFile({ '00080020': '20240920', '00080022': '20240921', '0020000D': '1.2.3.4.50' }), {
      wall,
    });
    const day = (dataSet: DataSet, tag: number): number => {
      const text = asciiValue(dataSet, tag) ?? '';
      return Date.UTC(Number(text.slice(0, 4)), Number(text.slice(4, 6)) - 1, Number(text.slice(6))) / 86_400_000;
    };
    assert.equal(day(current.dataSet, 0x00080020) - day(prior.dataSet, 0x00080020), 168);
    assert.equal(day(current.dataSet, 0x00080022) - day(current.dataSet, 0x00080020), 1);
    assert.notEqual(asciiValue(prior.dataSet, 0x00080020), '20240405');
    assertGone(prior.file, '20240405');
  });

  it('removes times of day unless the profile keeps them', async () => {
    const keeping = compileProfile({
      ...fileOf('basic'),
      dates: { mode: 'shift', windowDays: [-30, -1], times: 'keep' },
    });
    const planted = { '00080031': '174839.123457', '0008002A': '20240405174839.12+0100' };
    const removed = await pass(makeFile(planted));
    assertGone(removed.file, '174839');
    assert.match(asciiValue(removed.dataSet, 0x0008002a) ?? '', /^\d{8}$/);
    const kept = await pass(makeFile(planted), { profile: keeping });
    assert.equal(asciiValue(kept.dataSet, 0x00080031), '174839.123457');
    assert.match(asciiValue(kept.dataSet, 0x0008002a) ?? '', /^\d{8}174839\.12$/);
  });

  it('removes a date that is none, and never lets it through', async () => {
    const { file, dataSet } = await pass(makeFile({ '00080022': '20241399', '0008002A': 'yesterday at nine' }));
    assertGone(file, '20241399', 'yesterday');
    assert.equal(findElement(dataSet, 0x00080022), undefined);
  });

  it('safe harbor: keeps the year of a date, no time, and no age above 89', async () => {
    const old = await pass(makeFile({ '00101010': '093Y', '00100030': '19300506', '00080031': '174839.12' }), {
      profile: SAFE_HARBOR,
    });
    assert.equal(asciiValue(old.dataSet, 0x00080020), '20240101');
    assert.equal(asciiValue(old.dataSet, 0x00101010), '090Y');
    assert.equal(asciiValue(old.dataSet, 0x00100030), undefined);
    assertGone(old.file, '174839', '093Y', '19300506');
    const young = await pass(makeFile(), { profile: SAFE_HARBOR });
    assert.equal(asciiValue(young.dataSet, 0x00101010), '067Y');
    assert.equal(asciiValue(young.dataSet, 0x00100030), '19570101');
  });

  it('safe harbor: no birth year without a study date to know the age by', async () => {
    const { dataSet } = await pass(makeFile({ '00080020': '' }), { profile: SAFE_HARBOR });
    assert.equal(asciiValue(dataSet, 0x00100030), undefined);
  });

  it('safe harbor: no device serial, station, institution or address', async () => {
    const planted = {
      '00181000': SECRET,
      '00081010': SECRET,
      '00080080': SECRET,
      '00080081': SECRET,
      '00102152': SECRET,
      '00101040': SECRET,
    };
    const { file } = await pass(makeFile(planted), { profile: SAFE_HARBOR });
    assertGone(file, SECRET);
  });
});

describe('stamps', () => {
  it('PS3.15-E.1.1-stamps: says what was done, by which rule set, in words and codes', async () => {
    const { dataSet } = await pass(makeFile());
    assert.equal(asciiValue(dataSet, 0x00120062), 'YES');
    assert.equal(asciiValue(dataSet, 0x00280303), 'MODIFIED');
    assert.match(textValue(dataSet, 0x00120063) ?? '', new RegExp(`^Isthmus \\S+ basic@${BASIC.hash.slice(0, 8)}$`));
    const codes = itemsOf(dataSet, 0x00120064).map((code) => textValue(code, 0x00080100));
    assert.deepEqual(codes, ['113100', '113107']);
  });

  it('PS3.15-E.1.1-earlier: follows earlier stamps instead of replacing them, and does not repeat its own', async () => {
    const earlier = {
      '00120063': 'Other tool 1.0',
      '00120064': [{ '00080100': '113111', '00080102': 'DCM', '00080104': 'Retain Safe Private Option' }],
    };
    const once = await pass(makeFile(earlier));
    assert.match(textValue(once.dataSet, 0x00120063) ?? '', /^Other tool 1\.0\\Isthmus /);
    assert.deepEqual(
      itemsOf(once.dataSet, 0x00120064).map((code) => textValue(code, 0x00080100)),
      ['113111', '113100', '113107'],
    );
    const twice = await pass(once.file);
    assert.deepEqual(textValue(twice.dataSet, 0x00120063), textValue(once.dataSet, 0x00120063));
    assert.equal(itemsOf(twice.dataSet, 0x00120064).length, 3);
  });

  it('PS3.15-E.1.1-claim: does not claim that identity is removed where text in the pixels was let through', async () => {
    const { dataSet } = await pass(makeFile({ '00080016': '1.2.840.10008.5.1.4.1.1.7', '00280301': 'YES' }));
    assert.equal(asciiValue(dataSet, 0x00120062), 'NO');
    assert.equal(asciiValue(dataSet, 0x00280301), 'YES');
  });

  it('PS3.15-E.1.1-original: removes Original Attributes and Encrypted Attributes', async () => {
    const { file } = await pass(
      makeFile({
        '04000561': [{ '04000550': [{ '00100010': SECRET }] }],
        '04000500': [{ '04000520': Buffer.from(SECRET) }],
      }),
    );
    assertGone(file, SECRET);
  });
});

describe('transfer syntaxes', () => {
  it('gives the same head for the same object in implicit and in explicit encoding', async () => {
    const wall = memoryWall();
    const explicit = await pass(makeFile(), { wall });
    const { dataSet } = readHead(makeFile()).head;
    const bare = implicitOf(dataSet);
    const implicit = await pass(bare, { wall, transferSyntaxUID: IMPLICIT_LE });
    assert.deepEqual(implicit.file, explicit.file);
  });

  it('turns big endian round, numbers and pixels', async () => {
    const { body, dataSet, result } = await pass(bigEndianOf(), { transferSyntaxUID: EXPLICIT_BE });
    assert.deepEqual(body, PIXELS);
    assert.equal(dataSet.bytes.readUInt16LE(findElement(dataSet, 0x00280010)?.valueStart ?? 0), 2);
    assert.equal(result.object.transferSyntaxUID, EXPLICIT_LE);
    assertGone(result.object.head, 'Meier');
  });

  it('keeps the transfer syntax of compressed pixels', async () => {
    const frame = Buffer.from('ffd8ffda000301' + '3f3f' + 'ffd900', 'hex');
    const { result, dataSet } = await pass(makeFile({}, { transferSyntaxUID: JPEG, pixels: [Buffer.alloc(0), frame] }));
    assert.equal(result.object.transferSyntaxUID, JPEG);
    assert.equal(readHead(result.object.head).head.transferSyntaxUID, JPEG);
    assert.ok(dataSet.elements.length > 10);
  });
});

describe('the whole', () => {
  it('is deterministic: the same input, key and profile give the same bytes', async () => {
    const wall = memoryWall();
    const first = await pass(makeFile(), { wall });
    const second = await pass(makeFile(), { wall });
    assert.deepEqual(second.file, first.file);
  });

  it('two projects share no pseudonym', async () => {
    const wall = memoryWall();
    const a = await pass(makeFile(), { wall, project: 'one' });
    const b = await pass(makeFile(), { wall, project: 'two' });
    for (const tag of [0x0020000d, 0x0020000e, 0x00080018, 0x00200052, 0x00100010, 0x00100020])
      assert.notEqual(asciiValue(a.dataSet, tag), asciiValue(b.dataSet, tag), formatTag(tag));
  });

  it('refuses an object without its UIDs, and one whose class is no storage class', async () => {
    for (const missing of ['00080016', '00080018', '0020000D', '0020000E'])
      await assert.rejects(pass(makeFile({ [missing]: undefined })), isQuarantined, missing);
    await assert.rejects(pass(makeFile({ '00080016': '1.2.826.0.1.99' })), isQuarantined);
  });

  it('de-identifies a retired SOP class by the same rules', async () => {
    const { file, dataSet } = await pass(makeFile({ '00080016': '1.2.840.10008.5.1.4.1.1.5', '00080080': SECRET }));
    assertGone(file, SECRET, 'Meier');
    assert.equal(asciiValue(dataSet, 0x00120062), 'NO', 'its pixels are not known to be free of text');
  });

  it('refuses documents and speech whatever the profile', async () => {
    for (const sopClass of [
      '1.2.840.10008.5.1.4.1.1.104.1',
      '1.2.840.10008.5.1.4.1.1.104.2',
      '1.2.840.10008.5.1.4.1.1.9.4.1',
    ])
      await assert.rejects(pass(makeFile({ '00080016': sopClass })), isQuarantined);
  });

  it('refuses a body that ends early', async () => {
    const whole = makeFile();
    const object = await readObject(whole.subarray(0, whole.length - 4));
    const { object: clean } = await deidentify(memoryWall(), object, { project: 'trial', profile: BASIC });
    await assert.rejects(gather(clean.body), (error: Refusal) => error.reason === 'CannotUnderstand');
  });

  it('names no value in a refusal', async () => {
    await assert.rejects(
      pass(makeFile({ '00080018': 'Meier^Hans' })),
      (error: Refusal) => !error.message.includes('Meier'),
    );
  });
});

function isQuarantined(error: unknown): boolean {
  return error instanceof Refusal && error.reason === 'Quarantined';
}

function length(bytes: Buffer): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(bytes.length);
  return out;
}

function implicitOf(dataSet: DataSet): Buffer {
  const parts = dataSet.elements.map((element) => {
    const header = Buffer.alloc(8);
    header.writeUInt16LE(element.tag >>> 16, 0);
    header.writeUInt16LE(element.tag & 0xffff, 2);
    header.writeUInt32LE(element.valueEnd - element.valueStart, 4);
    return Buffer.concat([header, dataSet.bytes.subarray(element.valueStart, element.valueEnd)]);
  });
  const header = Buffer.from('e07f100000000000', 'hex');
  header.writeUInt32LE(PIXELS.length, 4);
  return Buffer.concat([...parts, header, PIXELS]);
}

function bigEndianOf(): Buffer {
  const { dataSet } = readHead(makeFile()).head;
  const parts = dataSet.elements.map((element) => {
    const value = Buffer.from(dataSet.bytes.subarray(element.valueStart, element.valueEnd));
    const header = Buffer.alloc(8);
    header.writeUInt16BE(element.tag >>> 16, 0);
    header.writeUInt16BE(element.tag & 0xffff, 2);
    header.write(element.vr, 4, 'latin1');
    header.writeUInt16BE(value.length, 6);
    return Buffer.concat([header, element.vr === 'US' ? value.swap16() : value]);
  });
  const header = Buffer.from('7fe000104f57000000000000', 'hex');
  header.writeUInt32BE(PIXELS.length, 8);
  return Buffer.concat([...parts, header, Buffer.from(PIXELS).swap16()]);
}
