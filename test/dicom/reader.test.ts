/** The element reader: encodings, undefined lengths, UN, damage, bounds. Byte fixtures are built element by element. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { findElement, numberValue, valueBytes, type DataSet, type Encoding } from '../../src/dicom/data-set.ts';
import { MAX_DEPTH, MORE_BYTES, readDataSet } from '../../src/dicom/reader.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { littleEndianValue } from '../../src/dicom/writer.ts';
import { delimiter, encode, explicit, header, madeDataSet, type MadeElement } from './made.ts';

const ENCODINGS: readonly Encoding[] = ['explicit-le', 'implicit-le', 'explicit-be'];
const LE = 'explicit-le';
const item = (...content: Buffer[]): Buffer => {
  const bytes = Buffer.concat(content);
  return Buffer.concat([delimiter(0xe000, bytes.length, LE), bytes]);
};
const openItem = (...content: Buffer[]): Buffer =>
  Buffer.concat([delimiter(0xe000, 0xffffffff, LE), ...content, delimiter(0xe00d, 0, LE)]);
const SEQUENCE_END = delimiter(0xe0dd, 0, LE);

function read(bytes: Buffer, encoding: Encoding = LE): DataSet {
  return readDataSet(bytes, 0, bytes.length, encoding, { complete: true }).dataSet;
}

function assertSame(dataSet: DataSet, elements: readonly MadeElement[]): void {
  assert.deepEqual(
    dataSet.elements.map(({ tag, vr }) => [tag, vr]),
    elements.map(({ tag, vr }) => [tag, vr]),
  );
  elements.forEach(({ items, value }, index) => {
    const found = dataSet.elements[index];
    assert.ok(found !== undefined);
    if (items === undefined) assert.deepEqual(littleEndianValue(dataSet, found), value);
    else {
      assert.equal(found.items?.length, items.length);
      items.forEach((inner, at) => assertSame(found.items?.[at] as DataSet, inner));
    }
  });
}

function refuses(bytes: Buffer, encoding: Encoding = LE, reason = 'CannotUnderstand'): void {
  assert.throws(
    () => read(bytes, encoding),
    (error) => error instanceof Refusal && error.reason === reason,
  );
}

describe('encodings', () => {
  for (const encoding of ENCODINGS) {
    it(`any data set in ${encoding} is read as it was made`, () => {
      fc.assert(
        fc.property(madeDataSet, (made) => assertSame(read(encode(made, encoding), encoding), made)),
        {
          numRuns: 300,
        },
      );
    });
  }

  it('a prefix says that it wants more, until it holds what is asked for', () => {
    fc.assert(
      fc.property(madeDataSet, fc.constantFrom(...ENCODINGS), (made, encoding) => {
        const bytes = Buffer.concat([encode(made, encoding), header(0x7fe00010, 'OW', 4, encoding)]);
        const stopBefore = (tag: number): boolean => tag === 0x7fe00010;
        for (let end = 0; end < bytes.length; end++) {
          assert.throws(
            () => readDataSet(bytes.subarray(0, end), 0, end, encoding, { complete: false, stopBefore }),
            (error) => error === MORE_BYTES,
          );
        }
        const whole = readDataSet(bytes, 0, bytes.length, encoding, { complete: false, stopBefore });
        assertSame(whole.dataSet, made);
        assert.equal(whole.stoppedAt?.lengthBytes, 4);
      }),
      { numRuns: 60 },
    );
  });
});

describe('UN', () => {
  it('of a known attribute has the VR of the dictionary', () => {
    const dataSet = read(explicit(0x00100010, 'UN', 'A^B '));
    assert.equal(dataSet.elements[0]?.vr, 'PN');
    assert.equal(dataSet.elements[0].retyped, true);
  });

  it('of undefined length is a sequence in Implicit VR LE, to any depth, in either byte order', () => {
    const inner = Buffer.concat([header(0x00080060, 'CS', 2, 'implicit-le'), Buffer.from('MR')]);
    const nested = Buffer.concat([header(0x00091002, 'SQ', 0xffffffff, 'implicit-le'), openItem(inner), SEQUENCE_END]);
    for (const encoding of [LE, 'explicit-be'] as const) {
      const dataSet = read(
        Buffer.concat([header(0x00091001, 'UN', 0xffffffff, encoding), openItem(nested), SEQUENCE_END]),
        encoding,
      );
      const deepest = dataSet.elements[0]?.items?.[0]?.elements[0]?.items?.[0];
      assert.ok(deepest !== undefined);
      assert.equal(deepest.encoding, 'implicit-le');
      assert.equal(valueBytes(deepest, deepest.elements[0] as never).toString(), 'MR');
    }
  });

  it('with Explicit VR inside is read as what it is', () => {
    const dataSet = read(
      Buffer.concat([
        header(0x00091001, 'UN', 0xffffffff, LE),
        openItem(explicit(0x00080060, 'CS', 'MR')),
        SEQUENCE_END,
      ]),
    );
    assert.equal(dataSet.elements[0]?.items?.[0]?.encoding, LE);
  });

  it('of words in a big endian data set stays UN, since its own words are little endian (PS3.5 6.2.2)', () => {
    const bytes = Buffer.concat([header(0x00280010, 'UN', 2, 'explicit-be'), Buffer.from([0, 2])]);
    assert.equal(read(bytes, 'explicit-be').elements[0]?.vr, 'UN');
  });

  it('an unknown VR of two capitals has the long form and becomes UN', () => {
    const dataSet = read(explicit(0x00091001, 'ZZ', 'abcd'));
    assert.deepEqual([dataSet.elements[0]?.vr, dataSet.elements[0]?.retyped], ['UN', true]);
  });
});

describe('order', () => {
  it('is mended', () => {
    const dataSet = read(Buffer.concat([explicit(0x00200011, 'IS', '1 '), explicit(0x00080060, 'CS', 'MR')]));
    assert.deepEqual(
      dataSet.elements.map(({ tag }) => tag),
      [0x00080060, 0x00200011],
    );
    assert.equal(numberValue(dataSet, 0x00200011), 1);
  });

  it('a tag that stands twice is refused, nested ones too', () => {
    const twice = Buffer.concat([explicit(0x00080060, 'CS', 'MR'), explicit(0x00080060, 'CS', 'CT')]);
    refuses(twice);
    refuses(explicit(0x00081140, 'SQ', item(twice)));
  });
});

describe('delimitations', () => {
  it('one too many at the end of a defined length is seen', () => {
    const inner = Buffer.concat([explicit(0x00080060, 'CS', 'MR'), delimiter(0xe00d, 0, LE)]);
    const dataSet = read(explicit(0x00081140, 'SQ', Buffer.concat([item(inner), SEQUENCE_END])));
    assert.equal(findElement(dataSet.elements[0]?.items?.[0] as DataSet, 0x00080060)?.vr, 'CS');
  });

  it('nothing may hide behind one', () => {
    const hidden = Buffer.from('Doe^John');
    refuses(explicit(0x00081140, 'SQ', item(explicit(0x00080060, 'CS', 'MR'), delimiter(0xe00d, 0, LE), hidden)));
    refuses(explicit(0x00081140, 'SQ', Buffer.concat([item(), SEQUENCE_END, hidden])));
  });

  it('outside a sequence they are damage', () => {
    refuses(Buffer.concat([explicit(0x00080060, 'CS', 'MR'), delimiter(0xe00d, 0, LE)]));
    refuses(Buffer.concat([header(0x00081140, 'SQ', 0xffffffff, LE), delimiter(0xe000, 0xffffffff, LE), SEQUENCE_END]));
  });
});

describe('damage and bounds', () => {
  it('every cut of a data set is refused or leaves whole elements', () => {
    const bytes = Buffer.concat([
      explicit(0x00080060, 'CS', 'MR'),
      header(0x00081140, 'SQ', 0xffffffff, LE),
      openItem(explicit(0x00081155, 'UI', '1.2\0')),
      SEQUENCE_END,
      explicit(0x00100010, 'PN', 'A^B '),
    ]);
    const whole = new Set([0, 10, bytes.length - 12, bytes.length]);
    for (let end = 0; end <= bytes.length; end++) {
      if (whole.has(end)) read(bytes.subarray(0, end));
      else refuses(bytes.subarray(0, end));
    }
  });

  it('a length inside an item of defined length that leaves it is refused at once, however much is still to come', () => {
    const bytes = Buffer.concat([
      explicit(0x00081140, 'SQ', item(explicit(0x00080060, 'CS', 'MR', 200))),
      explicit(0x00100010, 'PN', 'A^B '),
    ]);
    assert.throws(() => readDataSet(bytes, 0, bytes.length, LE, { complete: false }), Refusal);
    const item200 = explicit(0x00081140, 'SQ', delimiter(0xe000, 200, LE));
    assert.throws(() => readDataSet(item200, 0, item200.length, LE, { complete: false }), Refusal);
  });

  it('an element that claims more than a head may have is refused before its bytes are waited for', () => {
    const bytes = header(0x00091010, 'OB', 0xfffffffe, LE);
    assert.throws(() => readDataSet(bytes, 0, bytes.length, LE, { complete: false, maxBytes: 2 ** 28 }), Refusal);
  });

  it('nesting is bounded', () => {
    const nest = (depth: number): Buffer => {
      let bytes: Buffer = Buffer.alloc(0);
      for (let i = 0; i < depth; i++) bytes = explicit(0x00081140, 'SQ', item(bytes));
      return bytes;
    };
    assert.equal(read(nest(MAX_DEPTH)).elements.length, 1);
    refuses(nest(MAX_DEPTH + 1));
    refuses(nest(2000));
  });

  it('the number of elements is bounded, so that small bytes make no large memory', () => {
    const items = Buffer.alloc(8 * 2_000_001);
    for (let at = 0; at < items.length; at += 8) items.writeUInt32LE(0xe000fffe, at);
    refuses(explicit(0x00081140, 'SQ', items), LE, 'TooLarge');
  });

  it('undefined length is for sequences and fragments alone', () => {
    refuses(Buffer.concat([header(0x00420011, 'UT', 0xffffffff, LE), SEQUENCE_END]));
  });

  it('what has no VR where one must be is refused', () => {
    refuses(Buffer.concat([explicit(0x00080060, 'CS', 'MR'), Buffer.from([8, 0, 0x30, 0x10, 0, 0, 4, 0, 1, 2, 3, 4])]));
  });
});
