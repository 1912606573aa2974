/**
 * What every de-identifier owes, one test an obligation, and what users of other engines have complained of, one test a thread
 * (owner/repository#number). Inputs are made from one seed; each is a whole object that goes through the wall.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, test } from 'node:test';
import { openWall } from '../../src/deidentify/wall.ts';
import { compileProfile } from '../../src/deidentify/profile.ts';
import {
  asciiValue,
  asciiValues,
  findElement,
  itemsOf,
  textValue,
  valueBytes,
  type DataSet,
} from '../../src/dicom/data-set.ts';
import { lookUp, tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { VR_TRAITS, type Vr } from '../../src/dicom/vr.ts';
import { shiftDate, shiftDateTime, dummyValue } from '../../src/deidentify/actions.ts';
import { tableRows } from '../../src/deidentify/profile.ts';
import {
  BASIC,
  CT,
  encodeImplicit,
  EXPLICIT_LE,
  fileOf,
  fileWall,
  holds,
  IMPLICIT_LE,
  item,
  JPEG,
  makeFile,
  memoryWall,
  pass,
  PIXELS,
  PROFILES,
  UIDS,
  type Attributes,
  type Made,
  type Passed,
  type PassOptions,
  type Value,
} from './support.ts';

const SECRET = 'QZSECRET4X';
const CLASS = '1.2.840.10008.5.1.4.1.1';
const SAFE = compileProfile({ ...fileOf('research-longitudinal') });
const PET = 'Philips PET Private Group';

function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

type Input = Readonly<Record<string, Value | undefined>>;
const go = (attributes: Input, made: Made = {}, options: PassOptions = {}): Promise<Passed> =>
  pass(makeFile(attributes, made), options);

async function gone(
  attributes: Input,
  words: readonly string[],
  options: PassOptions = {},
  made: Made = {},
): Promise<Passed> {
  const passed = await go(attributes, made, options);
  for (const word of words) assert.equal(holds(passed.file, word), false, `${word} came through`);
  return passed;
}

const held = (error: unknown): boolean => error instanceof Refusal && error.reason === 'Quarantined';

const tagsOf = (dataSet: DataSet): number[] => dataSet.elements.map((element) => element.tag);
const undefinedSequence = (group: string, vr: string, content: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from(`${group}${Buffer.from(vr).toString('hex')}0000ffffffff`, 'hex'),
    content,
    Buffer.from('feffdde000000000', 'hex'),
  ]);

/** A file without pixels with an element put before Patient's Name. */
function spliced(element: Buffer): Buffer {
  const file = makeFile({}, { pixels: null });
  const at = file.indexOf(Buffer.from([0x10, 0, 0x10, 0, 0x50, 0x4e]));
  return Buffer.concat([file.subarray(0, at), element, file.subarray(at)]);
}

const SEQUENCES = ['00089215', '00081115', '00082112', '0040A730', '52009229', '00400275', '00081140'];

/** Names, UIDs and text at random depths of random sequences. */
function tree(next: () => number, depth: number): Attributes {
  const inner = depth === 0 ? [] : Array.from({ length: 1 + Math.floor(next() * 2) }, () => tree(next, depth - 1));
  return {
    '00100010': `${SECRET}^${depth}`,
    '00080080': `LO:${SECRET}`,
    '00081155': '1.2.77.8.1',
    '00102180': `SH:${SECRET}`,
    '00091001': `LO:${SECRET}`,
    ...(inner.length === 0 ? {} : { [SEQUENCES[Math.floor(next() * SEQUENCES.length)] ?? '']: inner }),
  };
}

const ENGINE: readonly (readonly [what: string, test: () => Promise<void> | void])[] = [
  [
    '1: recursion to any depth, in kept and private sequences, lengths defined and undefined',
    async () => {
      const next = random(1);
      for (let round = 0; round < 24; round++) {
        const made = { undefinedLengths: round % 2 === 1 };
        const profile = round % 3 === 0 ? SAFE : BASIC;
        const attributes = {
          '00089215': [tree(next, 1 + (round % 9))],
          '00E10010': 'LO:ELSCINT1',
          '00E11042': [tree(next, 3)],
          '7E010010': 'LO:HOLOGIC, Inc.',
          '7E011010': [tree(next, 4)],
        };
        await gone(attributes, [SECRET, '1.2.77.8.1'], { profile }, made);
      }
    },
  ],
  [
    '2: standard elements and sequences in UN are read for what they are',
    async () => {
      const inner = item(encodeImplicit({ '00080080': SECRET, '00081155': '1.2.77.9', '00280030': '0.5\\0.5' }));
      const defined = Buffer.concat([
        Buffer.from('08001592554e0000', 'hex'),
        Buffer.from([inner.length, 0, 0, 0]),
        inner,
      ]);
      for (const sequence of [defined, undefinedSequence('08001592', 'UN', inner)]) {
        const { file, dataSet } = await pass(spliced(sequence));
        for (const word of [SECRET, '1.2.77.9']) assert.equal(holds(file, word), false);
        assert.ok(file.length < 2000, 'no more than it was');
        assert.equal(asciiValue(itemsOf(dataSet, 0x00089215)[0] as DataSet, 0x00280030), '0.5\\0.5');
      }
      const { dataSet } = await gone({ '001021B0': `UN:${SECRET}`, '00180050': 'UN:2.5 ' }, [SECRET]);
      assert.equal(findElement(dataSet, 0x00180050)?.vr, 'DS');
    },
  ],
  [
    '3: curves and overlays of every even group, every element',
    async () => {
      const attributes: Record<string, Value> = {};
      for (let group = 0; group <= 0x1e; group += 2) {
        for (const base of [0x5000, 0x6000]) {
          for (const element of ['0010', '0022', '1500', '2500', '3000', '4000'])
            attributes[`${(base + group).toString(16)}${element}`] = `LO:${SECRET}`;
        }
      }
      for (const profile of [BASIC, SAFE]) {
        const { dataSet } = await gone(attributes, [SECRET], { profile });
        assert.deepEqual(
          tagsOf(dataSet).filter((one) => one >>> 16 >= 0x5000 && one >>> 16 < 0x6100),
          [],
        );
      }
    },
  ],
  [
    '4: private attributes only by creator, group and element; blocks counted anew; a creator only where it is used',
    async () => {
      const { dataSet } = await gone(
        {
          '70530043': `LO:${PET}`,
          '70534300': 'DS:1.25',
          '70534305': `LO:${SECRET}`,
          '70530050': 'LO:OTHER',
          '70535000': 'DS:9.875',
          '70550010': `LO:${PET}`,
          '70551000': 'DS:7.625',
        },
        [SECRET, '9.875', '7.625', 'OTHER'],
        { profile: SAFE },
      );
      assert.deepEqual(
        tagsOf(dataSet).filter((one) => (one & 0x10000) !== 0),
        [0x70530010, 0x70531000],
      );
      await gone({ '70530010': `LO:${PET}`, '70531001': 'LO:x' }, [PET], { profile: SAFE });
    },
  ],
  [
    '5: what an object says of its own private blocks can take away and never add',
    async () => {
      const says = (creator: string, status: string): Attributes => ({
        '00080303': status,
        '00080301': Buffer.from([0x53, 0x70]),
        '00080302': `LO:${creator}`,
      });
      const block = { '70530010': `LO:${PET}`, '70531000': 'DS:1.25' };
      await gone({ ...block, '00080300': [says(PET, 'UNSAFE')] }, ['1.25\u0020\u0020', PET], { profile: SAFE });
      const own = { '70530010': 'LO:OWN', '70531000': `LO:${SECRET}`, '00080300': [says('OWN', 'SAFE')] };
      await gone(own, [SECRET, 'OWN'], { profile: SAFE });
    },
  ],
  [
    '6: preamble, file meta and what follows come from nothing; the meta names the instance',
    async () => {
      const { head, dataSet } = await gone(
        {},
        [SECRET, UIDS.instance],
        {},
        {
          preamble: Buffer.from(SECRET.padEnd(128, '!')),
          meta: {
            '00020016': `AE:${SECRET}`,
            '00020018': `AE:${SECRET}`,
            '00020100': 'UI:1.2.3',
            '00020102': Buffer.from(SECRET),
          },
          trailing: Buffer.concat([
            Buffer.from('fcfffcff4f420000', 'hex'),
            Buffer.from([12, 0, 0, 0]),
            Buffer.from(`${SECRET}!!`),
            Buffer.from(SECRET),
          ]),
        },
      );
      assert.ok(head.subarray(0, 128).every((byte) => byte === 0));
      assert.equal(asciiValue(readHead(head).head.fileMeta as DataSet, 0x00020003), asciiValue(dataSet, 0x00080018));
    },
  ],
  [
    '7: signatures and MAC parameters',
    async () => {
      const { dataSet } = await gone(
        {
          '4FFE0001': [{ '04000005': Buffer.from([1, 0]), '04000010': 'UI:1.2.77.3', '00100010': SECRET }],
          '04000015': 'CS:SECRETMAC',
        },
        [SECRET, '1.2.77.3'],
      );
      assert.equal(findElement(dataSet, 0x4ffe0001), undefined);
      const signed = spliced(
        Buffer.concat([undefinedSequence('fafffaff', 'SQ', item(encodeImplicit({ '04000110': SECRET })))]),
      );
      const out = await pass(signed).catch((error: unknown) => error);
      if (!(out instanceof Refusal)) assert.equal(holds((out as Passed).file, SECRET), false);
    },
  ],
  [
    '8: every value of several by itself, as many as there were',
    async () => {
      const { dataSet } = await gone(
        { '00080058': '1.2.77.1\\1.2.77.2\\1.2.77.1', '00081032': undefined, '00081030': 'LO:Liver\\Meier' },
        ['1.2.77.1', '1.2.77.2', 'Meier'],
        { profile: SAFE },
      );
      const [first, second, third, ...more] = asciiValues(dataSet, 0x00080058);
      assert.ok(first !== second && first === third && more.length === 0);
    },
  ],
  [
    '9: well-known UIDs by the registry of PS3.6, not by their prefix',
    async () => {
      const { dataSet } = await gone({ '00200052': '1.2.840.10008.1.4.1.2', '00200200': '1.2.840.10008.1.4.1.999' }, [
        '1.4.1.999',
      ]);
      assert.equal(asciiValue(dataSet, 0x00200052), '1.2.840.10008.1.4.1.2');
      assert.equal(asciiValue(dataSet, 0x00080016), CT);
    },
  ],
  [
    '10: comments and application data inside compressed frames',
    async () => {
      const segment = (code: number): Buffer =>
        Buffer.concat([Buffer.from([0xff, code, 0, SECRET.length + 2]), Buffer.from(SECRET)]);
      for (const code of [0xfe, 0xe1, 0xed]) {
        const frame = Buffer.concat([
          Buffer.from('ffd8', 'hex'),
          segment(code),
          Buffer.from('ffda0003013f3fffd9', 'hex'),
        ]);
        const even = frame.length % 2 === 0 ? frame : Buffer.concat([frame, Buffer.alloc(1)]);
        await gone({}, [SECRET], {}, { transferSyntaxUID: JPEG, pixels: [Buffer.alloc(0), even] });
      }
    },
  ],
  [
    '11: the text of a report is cleaned or gone',
    async () => {
      const report = {
        '00080016': `${CLASS}.88.33`,
        '0040A730': [
          { '0040A040': 'TEXT', '0040A010': 'CONTAINS', '0040A160': 'UT:Liver of Hans Meier without lesion' },
        ],
      };
      const words = await gone(report, ['Meier', 'Hans'], { profile: SAFE }, { pixels: null });
      assert.match(
        textValue(itemsOf(words.dataSet, 0x0040a730)[0] as DataSet, 0x0040a160) ?? '',
        /Liver.*without lesion/,
      );
      await gone(report, ['Meier', 'lesion'], {}, { pixels: null });
    },
  ],
  [
    '12: icons go',
    async () => {
      const icon = { '00280010': Buffer.from([1, 0]), '7FE00010': Buffer.from(SECRET) };
      const { dataSet } = await gone({ '00880200': [icon], '00089215': [{ '00880200': [icon] }] }, [SECRET]);
      assert.equal(findElement(dataSet, 0x00880200), undefined);
    },
  ],
  [
    '13: Explicit VR Little Endian in UTF-8; compressed pixels keep their transfer syntax',
    async () => {
      const plain = await go({ '00080005': 'ISO_IR 100', '00080070': Buffer.from('R\xf6ntgen ', 'latin1') });
      assert.equal(plain.result.object.transferSyntaxUID, EXPLICIT_LE);
      assert.equal(asciiValue(plain.dataSet, 0x00080005), 'ISO_IR 192');
      assert.equal(textValue(plain.dataSet, 0x00080070), 'Röntgen');
      assert.deepEqual(plain.body.subarray(-PIXELS.length), PIXELS);
      const frame = Buffer.from('ffd8ffda000301' + '3f3f' + 'ffd900', 'hex');
      const { result } = await go({}, { transferSyntaxUID: JPEG, pixels: [Buffer.alloc(0), frame] });
      assert.equal(result.object.transferSyntaxUID, JPEG);
    },
  ],
  [
    '14: what neither the table nor the dictionary knows goes, and is counted',
    async () => {
      const next = random(14);
      const unknown: Record<string, Value> = {};
      for (let n = 0; n < 60; n++) {
        const group = 0x0010 + 2 * Math.floor(next() * 0x1000);
        const key = `${group.toString(16).padStart(4, '0')}${(0xe000 + Math.floor(next() * 0x1000)).toString(16)}`;
        if (group < 0x5000 && lookUp(Number.parseInt(key, 16)) === undefined)
          unknown[key] = n % 2 ? `LO:${SECRET}` : Buffer.from(SECRET);
      }
      const { result } = await gone(unknown, [SECRET]);
      assert.equal(result.counts.unknownRemoved, Object.keys(unknown).length);
    },
  ],
  [
    '15: retired classes by the same rules; no storage class, no way through',
    async () => {
      for (const suffix of ['5', '6', '3', '12.3'])
        await gone({ '00080016': `${CLASS}.${suffix}`, '00080080': SECRET }, [SECRET, 'Meier']);
      for (const unknown of ['1.2.826.0.1.99', `${CLASS}.999999`, '1.2.840.10008.1.1'])
        await assert.rejects(go({ '00080016': unknown }), held, unknown);
    },
  ],
  [
    '16: dummies are valid for every VR, and even',
    () => {
      for (const vr of Object.keys(VR_TRAITS) as Vr[]) {
        if (vr === 'SQ' || vr === 'UI') continue;
        const dummy = dummyValue(vr);
        assert.ok(dummy.length > 0 && dummy.length % 2 === 0, vr);
        const unit = {
          FD: 8,
          OD: 8,
          OV: 8,
          SV: 8,
          UV: 8,
          FL: 4,
          OF: 4,
          OL: 4,
          SL: 4,
          UL: 4,
          AT: 4,
          OW: 2,
          SS: 2,
          US: 2,
        }[vr as 'FD'];
        if (unit !== undefined) assert.equal(dummy.length % unit, 0, vr);
        if (vr === 'DA') assert.notEqual(shiftDate(dummy.toString(), 1), undefined);
        if (vr === 'DT') assert.notEqual(shiftDateTime(dummy.toString(), 1, true), undefined);
      }
    },
  ],
  [
    '17: what is no date goes; padded and half-filled date-times keep their precision',
    async () => {
      const next = random(17);
      for (let n = 0; n < 40; n++) {
        const bad = `20${10 + Math.floor(next() * 80)}${13 + Math.floor(next() * 80)}${32 + Math.floor(next() * 60)}`;
        const { dataSet } = await gone({ '00080022': bad, '0008002A': `${bad}10` }, [bad]);
        assert.equal(findElement(dataSet, 0x00080022), undefined);
      }
      for (const [text, form] of [
        ['2024', /^\d{4}$/],
        ['202404', /^\d{6}$/],
        ['20240405', /^\d{8}$/],
        ['2024040510', /^\d{8}10$/],
        ['20240405101112.5  ', /^\d{8}101112\.5$/],
      ] as const) {
        const { dataSet } = await go({ '0008002A': `DT:${text}` }, {}, { profile: SAFE });
        assert.match((asciiValue(dataSet, 0x0008002a) ?? '').trim(), form, text);
      }
    },
  ],
  [
    '18: references hold in any order and across processes; two domains share nothing',
    async () => {
      const { database, folder } = fileWall();
      const keyFile = join(folder, 'keys', 'crosswalk.key');
      const seen = new Map<string, Set<string>>();
      for (const order of [
        [0, 1, 2],
        [2, 0, 1],
        [1, 2, 0],
      ]) {
        // Another process, same vault.
        const wall = openWall(database, { keyFile });
        for (const n of order) {
          const { dataSet } = await go(
            { '00080018': `1.2.3.9.${n}`, '00081140': [{ '00081155': `1.2.3.9.${(n + 1) % 3}` }] },
            {},
            { wall },
          );
          const note = (name: string, value: string | undefined): unknown =>
            seen.set(name, (seen.get(name) ?? new Set()).add(value ?? ''));
          note(`${n}`, asciiValue(dataSet, 0x00080018));
          note(`${(n + 1) % 3}`, asciiValue(itemsOf(dataSet, 0x00081140)[0] as DataSet, 0x00081155));
        }
      }
      database.close();
      rmSync(folder, { recursive: true });
      for (const [name, values] of seen) assert.equal(values.size, 1, name);
      const wall = memoryWall();
      const [one, two] = [await go({}, {}, { wall, project: 'one' }), await go({}, {}, { wall, project: 'two' })];
      for (const uid of [0x0020000d, 0x0020000e, 0x00080018, 0x00200052, 0x00100020])
        assert.notEqual(asciiValue(one.dataSet, uid), asciiValue(two.dataSet, uid));
    },
  ],
  [
    '19: refusals name no value',
    async () => {
      const quarantine = compileProfile({ ...fileOf('basic'), unknown: 'quarantine' });
      const cases: readonly (readonly [Input, PassOptions])[] = [
        [{ '00080018': `${SECRET}.1` }, {}],
        [{ '0020000D': SECRET }, {}],
        [{ '00080016': SECRET }, {}],
        [{ '00181250': `SH:${SECRET}` }, { profile: quarantine }],
        [
          { '00280301': SECRET, '00080008': `ORIGINAL\\PRIMARY\\SCREEN ${SECRET}` },
          { profile: compileProfile({ ...fileOf('hipaa-safe-harbor') }) },
        ],
      ];
      for (const [attributes, options] of cases)
        await assert.rejects(
          go(attributes, {}, options),
          (error: Refusal) => held(error) && !error.message.includes(SECRET),
        );
    },
  ],
];

describe('obligations of the engine', () => {
  for (const [what, test] of ENGINE) it(`obligation ${what}`, test);
  it('DEID-DOCUMENT: documents and speech are held under every profile (obligation 11)', async () => {
    for (const name of PROFILES) {
      const profile = compileProfile({ ...fileOf(name), faces: 'allow', pixels: 'allow' });
      for (const suffix of ['104.1', '104.2', '104.3', '104.4', '104.5', '9.4.1', '9.4.2'])
        await assert.rejects(
          go({ '00080016': `${CLASS}.${suffix}`, '00420011': Buffer.from('%PDF') }, {}, { profile }),
          held,
          suffix,
        );
    }
  });
});

const THREADS: readonly (readonly [threads: string, what: string, test: () => Promise<void> | void])[] = [
  [
    'dcmjs-org/dcmjs#345, #510',
    'every name of a rule resolves in the dictionary',
    () => {
      for (const row of tableRows()) {
        if (!/^[0-9A-F]{8}$/.test(row.tag) || row.keyword === undefined || row.keyword === '') continue;
        assert.equal(tag(row.keyword), Number.parseInt(row.tag, 16), row.keyword);
      }
    },
  ],
  [
    'fo-dicom/fo-dicom#1202, pymedphys/pymedphys#922, pydicom/deid#259, mmiv/DICOMAnonymizer#20, dicom-anonymizer#88',
    'nested data are acted upon, nested UIDs mapped, the file meta too',
    async () => {
      const nested = {
        '00081140': [{ '00081155': '1.2.77.1', '0040A170': [{ '0008010D': '1.2.77.2', '00100010': SECRET }] }],
      };
      const { head, dataSet } = await gone({ '00089215': [{ '00081115': [nested] }] }, [
        SECRET,
        '1.2.77.1',
        '1.2.77.2',
      ]);
      assert.equal(asciiValue(readHead(head).head.fileMeta as DataSet, 0x00020003), asciiValue(dataSet, 0x00080018));
    },
  ],
  [
    'fo-dicom/fo-dicom#771, bebbi/dicom-curate#129, #195, #196',
    'private sequences with the safe list neither crash nor leak, at any depth',
    async () => {
      const block = {
        '7E010010': 'LO:HOLOGIC, Inc.',
        '7E011010': [{ '00100010': SECRET, '00091010': `LO:${SECRET}` }],
      };
      for (const undefinedLengths of [false, true])
        await gone(
          { ...block, '00089215': [{ '00081115': [block] }] },
          [SECRET],
          { profile: SAFE },
          { undefinedLengths },
        );
    },
  ],
  [
    'KitwareMedical/dicom-anonymizer#41',
    'a directory is no object of a patient and is held',
    () => assert.rejects(go({ '00080016': '1.2.840.10008.1.3.10', '00041220': [{ '00100010': SECRET }] }), held),
  ],
  [
    'KitwareMedical/dicom-anonymizer#37, #32',
    'every VR can be emptied, replaced and removed; several UIDs stay several',
    async () => {
      const { dataSet } = await gone(
        { '00080058': '1.2.77.1\\1.2.77.2', '04000115': Buffer.from(SECRET), '0072006D': Buffer.from(SECRET) },
        [SECRET],
      );
      assert.equal(asciiValues(dataSet, 0x00080058).length, 2);
    },
  ],
  [
    'pydicom/deid#153, idiscore#145, mmiv/DICOMAnonymizer#9',
    'study, series and instance get new UIDs also where a Related Series Sequence is present, and the study stays one',
    async () => {
      const wall = memoryWall();
      const related = { '00081250': [{ '0020000D': '1.2.77.1', '0020000E': '1.2.77.2', '0040A170': [] }] };
      const one = await pass(makeFile(related), { wall });
      const two = await pass(makeFile({ '00080018': '1.2.3.4.9' }), { wall });
      for (const word of [UIDS.study, UIDS.series, '1.2.77.1']) assert.equal(holds(one.file, `${word}\0`), false);
      assert.equal(asciiValue(one.dataSet, 0x0020000d), asciiValue(two.dataSet, 0x0020000d));
      assert.notEqual(asciiValue(one.dataSet, 0x0020000d), UIDS.study);
    },
  ],
  [
    'pydicom/deid#284, #222, OsiriX-Foundation/karnak#231, johnperry/CTP#16',
    'pixels that nobody cleaned are never stamped clean; a device that is not known is held',
    async () => {
      for (const suffix of ['7', '6.1', '12.1', '77.1.4', '3.1']) {
        const attributes = { '00080016': `${CLASS}.${suffix}`, '00281090': undefined, '00081090': 'LO:Unheard of' };
        const { dataSet } = await go(attributes);
        assert.equal(asciiValue(dataSet, 0x00120062), 'NO', suffix);
        assert.notEqual(asciiValue(dataSet, 0x00280301), 'NO', suffix);
        await assert.rejects(
          go(attributes, {}, { profile: compileProfile(fileOf('hipaa-safe-harbor')) }),
          held,
          suffix,
        );
      }
    },
  ],
  [
    'pydicom/deid#228',
    'every byte of a multi-frame ultrasound that is let through is where it was',
    async () => {
      const frames = Buffer.from(Array.from({ length: 6 * 16 }, (_, index) => (index * 7) & 0xff));
      const { body } = await go({ '00080016': `${CLASS}.3.1`, '00280008': 'IS:6' }, { pixels: frames });
      assert.deepEqual(body, frames);
    },
  ],
  [
    'bebbi/dicom-curate#189',
    'a compressed transfer syntax stays in file meta and pixels',
    async () => {
      const frame = Buffer.from('ffd8ffda000301' + '3f3f' + 'ffd900', 'hex');
      const { head, body } = await go({}, { transferSyntaxUID: JPEG, pixels: [Buffer.alloc(0), frame] });
      assert.equal(readHead(head).head.transferSyntaxUID, JPEG);
      assert.ok(body.includes(frame));
    },
  ],
  [
    'OsiriX-Foundation/karnak#138',
    'retired SOP classes are de-identified',
    async () => {
      await gone({ '00080016': `${CLASS}.6`, '00080080': SECRET }, [SECRET, 'Meier']);
    },
  ],
  [
    'microsoft/presidio#1731',
    'angiographies pass the engine',
    async () => {
      await gone({ '00080016': `${CLASS}.12.1`, '00080080': SECRET }, [SECRET, 'Meier']);
    },
  ],
  [
    'mmiv/DICOMAnonymizer#4, OHIF/Viewers#1782',
    'presentation states, segmentations and structure sets still point to their images',
    async () => {
      const wall = memoryWall();
      const image = await pass(makeFile(), { wall });
      const references: readonly (readonly [string, Input, readonly string[]])[] = [
        [
          '11.1',
          { '00081115': [{ '0020000E': UIDS.series, '00081140': [{ '00081155': UIDS.instance }] }] },
          ['00081115', '00081140'],
        ],
        [
          '66.4',
          { '00081115': [{ '0020000E': UIDS.series, '0008114A': [{ '00081155': UIDS.instance }] }] },
          ['00081115', '0008114A'],
        ],
        [
          '481.3',
          {
            '30060010': [
              {
                '30060012': [
                  {
                    '00081155': UIDS.study,
                    '30060014': [{ '0020000E': UIDS.series, '30060016': [{ '00081155': UIDS.instance }] }],
                  },
                ],
              },
            ],
          },
          ['30060010', '30060012', '30060014', '30060016'],
        ],
      ];
      for (const [suffix, attributes, path] of references) {
        const made = makeFile(
          { '00080018': `1.2.5.${suffix}`, '00080016': `${CLASS}.${suffix}`, ...attributes },
          { pixels: null },
        );
        let at = (await pass(made, { wall })).dataSet;
        for (const step of path) at = itemsOf(at, Number.parseInt(step, 16))[0] as DataSet;
        assert.equal(asciiValue(at, 0x00081155), asciiValue(image.dataSet, 0x00080018), suffix);
      }
    },
  ],
  [
    'dcm4che/dcm4che#1313',
    'a code sequence of the institution is gone',
    async () => {
      const code = [{ '00080100': SECRET, '00080102': '99LOCAL1', '00080104': SECRET }];
      await gone({ '00080082': code, '00401101': code, '00081052': code }, [SECRET]);
    },
  ],
  [
    'johnperry/CTP#2',
    'private attributes in Implicit VR come with the VR of the list, else not at all',
    async () => {
      const { dataSet } = await pass(
        encodeImplicit({
          '00080016': CT,
          '00080018': '1.2.3.4.33',
          '0020000D': UIDS.study,
          '0020000E': UIDS.series,
          '70530010': PET,
          '70531000': '1.25',
          '70531001': SECRET,
        }),
        { transferSyntaxUID: IMPLICIT_LE, profile: SAFE },
      );
      assert.equal(findElement(dataSet, 0x70531000)?.vr, 'DS');
      assert.equal(findElement(dataSet, 0x70531001), undefined);
    },
  ],
  [
    'dicompixelanon#19',
    'overlays of many frames go, all of them',
    async () => {
      const overlay = {
        '60000010': Buffer.from([2, 0]),
        '60000015': 'IS:6',
        '60003000': Buffer.from(SECRET.repeat(6)),
      };
      await gone(overlay, [SECRET], { profile: SAFE });
    },
  ],
];

describe('complaints about other engines', () => {
  for (const [threads, what, test] of THREADS) it(`${threads}: ${what}`, test);
});

describe('Clean Graphics', () => {
  const state = (text: string): Input => ({
    '00080016': `${CLASS}.11.1`,
    '00700001': [
      {
        '00700002': 'CS:LAYER1',
        '00700008': [{ '00700006': `ST:${text}`, '00700014': Buffer.alloc(8), '00700004': 'CS:PIXEL' }],
        '00700009': [{ '00700023': 'CS:POLYLINE', '00700022': Buffer.alloc(16) }],
        '00700209': [
          {
            '00700226': Buffer.from([1, 0, 0, 0]),
            '00700294': 'CS:RULER',
            '00700006': `ST:${text}`,
            '00700295': `UT:${text}`,
          },
        ],
      },
    ],
  });

  test('DEID-GRAPHICS: takes names out of text objects and compound graphics and leaves the rest', async () => {
    const { dataSet } = await gone(state('Liver lesion of Meier 4 mm'), ['Meier'], { profile: SAFE }, { pixels: null });
    const [annotation] = itemsOf(dataSet, 0x00700001);
    assert.ok(annotation !== undefined);
    for (const sequence of [0x00700008, 0x00700209])
      assert.match(
        textValue(itemsOf(annotation, sequence)[0] as DataSet, 0x00700006) ?? '',
        /Liver lesion.* 4 mm/,
        sequence.toString(16),
      );
    assert.equal(
      valueBytes(
        itemsOf(annotation, 0x00700009)[0] as DataSet,
        findElement(itemsOf(annotation, 0x00700009)[0] as DataSet, 0x00700022) as never,
      ).length,
      16,
    );
  });

  it('without the option no word of a text object stays', async () => {
    await gone(state('Liver lesion of Meier'), ['Meier', 'lesion'], {}, { pixels: null });
  });
});
