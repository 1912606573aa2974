import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it, test } from 'node:test';
import { parse } from 'yaml';
import { asciiValue, findElement, itemsOf, textValue, type DataSet } from '../../src/dicom/data-set.ts';
import { compileProfile, type PrivateCreators } from '../../src/deidentify/profile.ts';
import {
  encode,
  encodeImplicit,
  fileOf,
  holds,
  IMPLICIT_LE,
  item,
  makeFile,
  pass,
  type Attributes,
} from './support.ts';

const { creators } = parse(readFileSync(new URL('../../config/safe-private.yaml', import.meta.url), 'utf8')) as {
  creators: PrivateCreators;
};
const SAFE = compileProfile({
  ...fileOf('basic'),
  private: { mode: 'safe-list', list: 'safe-private.yaml', creators },
});
const SECRET = 'QZSECRET4X';
const PET = 'LO:Philips PET Private Group';

const privateTags = ({ elements }: DataSet): string[] =>
  elements.filter(({ tag }) => (tag & 0x10000) !== 0).map(({ tag }) => tag.toString(16).padStart(8, '0'));

describe('the safe private list', () => {
  it('has every row of Table E.3.10-1 of 2026a but six of pixels, surfaces and files', () => {
    const rows = Object.entries(creators).flatMap(([creator, entries]) =>
      entries.map(({ tag }) => `${creator} ${tag}`),
    );
    assert.equal(new Set(rows).size, 479 - 6);
    assert.equal(rows.length, 479 - 6);
    assert.equal(Object.keys(creators).length, 19);
  });

  it('keeps each of its attributes, whose value is what its VR says', async () => {
    const values: Readonly<Record<string, string | Buffer>> = {
      DS: 'DS:1.25',
      IS: 'IS:12',
      CS: 'CS:AXIAL',
      LO: 'LO:liver',
      SH: 'SH:liver',
      LT: 'LT:liver',
      ST: 'ST:liver',
      UI: 'UI:1.2.3.4.5',
      OB: Buffer.from([1, 2, 3, 4]),
    };
    const bytes = { FD: 8, FL: 4, SL: 4, SS: 2, UL: 4, US: 2, AT: 4, '': 4 } as const;
    for (const [creator, rows] of Object.entries(creators)) {
      for (const { tag, vr } of rows) {
        const group = tag.slice(0, 4);
        const key = `${group}10${tag.slice(7)}`;
        const numbers = `${vr === '' ? 'FL' : vr}:${'\u0001'.repeat(bytes[vr as 'FD'] ?? 0)}`;
        const value = vr === 'SQ' ? [{ '00280010': Buffer.from([1, 0]) }] : (values[vr] ?? numbers);
        const encoded = vr === 'OB' ? `OB:${'\u0002'.repeat(4)}` : value;
        const { dataSet } = await pass(makeFile({ [`${group}0010`]: `LO:${creator}`, [key]: encoded }), {
          profile: SAFE,
        });
        assert.deepEqual(
          privateTags(dataSet),
          [`${group}0010`, key].map((text) => text.toLowerCase()),
          `${creator} ${tag}`,
        );
      }
    }
  });

  test('DEID-PRIVATE: counts blocks anew, and a creator stays only where it is used', async () => {
    const { dataSet, file, result } = await pass(
      makeFile({
        '70530010': 'LO:SOMEBODY ELSE',
        '70530042': PET,
        '705300FE': PET,
        '70531000': 'DS:9.75',
        '70534200': 'DS:1.25',
        '70534201': `LO:${SECRET}`,
        '7053FE09': 'DS:2.5',
      }),
      { profile: SAFE },
    );
    assert.deepEqual(privateTags(dataSet), ['70530010', '70530011', '70531000', '70531109']);
    assert.equal(textValue(dataSet, 0x70530010), 'Philips PET Private Group');
    assert.equal(asciiValue(dataSet, 0x70531000), '1.25');
    assert.equal(asciiValue(dataSet, 0x70531109), '2.5');
    assert.equal(holds(file, SECRET) || holds(file, 'SOMEBODY') || holds(file, '9.75'), false);
    assert.deepEqual([result.counts.privateKept, result.counts.privateRemoved], [2, 3]);
  });

  it('holds for a creator in its own group only', async () => {
    const { dataSet } = await pass(makeFile({ '70550010': PET, '70551000': 'DS:1.25' }), { profile: SAFE });
    assert.deepEqual(privateTags(dataSet), []);
  });

  it('does not hold for a value that is no value of the VR, nor for another VR', async () => {
    for (const value of [`DS:${SECRET}`, `LO:${SECRET}`, 'DS:1\\Meier']) {
      const { dataSet, file } = await pass(makeFile({ '70530010': PET, '70531000': value }), { profile: SAFE });
      assert.equal(holds(file, SECRET), false);
      assert.equal(findElement(dataSet, 0x70531000), undefined, value);
    }
  });

  it('takes the VR from the list where the bytes have none: UN and Implicit VR', async () => {
    const un = await pass(makeFile({ '70530010': PET, '70531000': 'UN:1.25' }), { profile: SAFE });
    assert.equal(findElement(un.dataSet, 0x70531000)?.vr, 'DS');
    const data = encodeImplicit({
      '00080016': '1.2.840.10008.5.1.4.1.1.2',
      '00080018': '1.2.3.4',
      '00180015': 'CHEST',
      '0020000D': '1.2.3.1',
      '0020000E': '1.2.3.2',
      '70530010': 'Philips PET Private Group',
      '70531000': '1.25',
    });
    const implicit = await pass(data, { profile: SAFE, transferSyntaxUID: IMPLICIT_LE });
    assert.equal(findElement(implicit.dataSet, 0x70531000)?.vr, 'DS');
  });

  it('looks into its sequences, and into private groups inside other sequences', async () => {
    const hologic: Attributes = { '7E010010': 'LO:HOLOGIC, Inc.', '7E011001': 'LO:liver', '7E011003': `LO:${SECRET}` };
    const { dataSet, file } = await pass(
      makeFile({
        '00089215': [{ '70530010': PET, '70531000': 'DS:1.25', '00091001': `LO:${SECRET}` }],
        '7E010010': 'LO:HOLOGIC, Inc.',
        '7E011010': [{ ...hologic, '00100010': `${SECRET}^A` }],
      }),
      { profile: SAFE },
    );
    assert.equal(holds(file, SECRET), false);
    const [nested] = itemsOf(dataSet, 0x00089215);
    assert.equal(nested && asciiValue(nested, 0x70531000), '1.25');
    const [inside] = itemsOf(dataSet, 0x7e011010);
    assert.equal(inside && textValue(inside, 0x7e011001), 'liver');
  });

  it('yields to what the object says of its own blocks, which can only take away', async () => {
    const us = (...numbers: number[]): Buffer => Buffer.from(numbers.flatMap((n) => [n & 0xff, n >>> 8]));
    const say = (more: Attributes): Attributes => ({
      '00080300': [{ '00080301': us(0x7053), '00080302': 'Philips PET Private Group', ...more }],
      '70530010': PET,
      '70531000': 'DS:1.25',
      '70531009': 'DS:2.5',
      '70531077': `LO:${SECRET}`,
    });
    const kept = async (more: Attributes): Promise<string[]> => {
      const { dataSet, file } = await pass(makeFile(say(more)), { profile: SAFE });
      assert.equal(holds(file, SECRET), false);
      assert.equal(findElement(dataSet, 0x00080300), undefined, 'what it says is no longer true');
      return privateTags(dataSet);
    };
    assert.deepEqual(await kept({ '00080303': 'SAFE' }), ['70530010', '70531000', '70531009']);
    assert.deepEqual(await kept({ '00080303': 'UNSAFE' }), []);
    assert.deepEqual(await kept({ '00080303': 'MIXED', '00080304': us(0x09, 0x77) }), ['70530010', '70531009']);
    assert.deepEqual(await kept({ '00080303': 'SAFE', '00080306': us(0x09) }), ['70530010', '70531000']);
  });

  it('can be added to and taken from by overrides with a creator', async () => {
    const file = {
      ...SAFE.file,
      overrides: [
        { tag: '7053,xx00', creator: 'Philips PET Private Group', action: 'X' as const },
        { tag: '(7053,xx77)', creator: 'Philips PET Private Group', action: 'K' as const, vr: 'DS' },
      ],
    };
    const { dataSet } = await pass(makeFile({ '70530010': PET, '70531000': 'DS:1.25', '70531077': 'DS:7.5' }), {
      profile: compileProfile(file),
    });
    assert.deepEqual(privateTags(dataSet), ['70530010', '70531077']);
  });

  it('stamps 113111', async () => {
    const { dataSet } = await pass(makeFile(), { profile: SAFE });
    assert.ok(itemsOf(dataSet, 0x00120064).some((code) => textValue(code, 0x00080100) === '113111'));
  });

  it('does not crash on private sequences of undefined length, nor on one that cannot be looked into', async () => {
    for (const undefinedLengths of [true, false]) {
      const { dataSet } = await pass(
        makeFile(
          { '7E010010': 'LO:HOLOGIC, Inc.', '7E011010': [{ '00280010': Buffer.from([1, 0]) }] },
          { undefinedLengths },
        ),
        { profile: SAFE },
      );
      assert.equal(itemsOf(dataSet, 0x7e011010).length, 1);
    }
    const un = Buffer.concat([Buffer.from('017e1010554e0000', 'hex'), sized(item(encode({ '00280010': 'x' })))]);
    const file = makeFile({ '7E010010': 'LO:HOLOGIC, Inc.' }, { pixels: null });
    await pass(Buffer.concat([file, un]), { profile: SAFE });
  });
});

function sized(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
}
