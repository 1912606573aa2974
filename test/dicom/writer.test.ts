/** The splicing writer: what is copied is the very bytes or the very values, and nothing that the reader has not seen. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { findElement, valueBytes, type DataSet, type Encoding } from '../../src/dicom/data-set.ts';
import { readDataSet } from '../../src/dicom/reader.ts';
import {
  beginItem,
  beginSequence,
  copyElement,
  copyElements,
  endItem,
  endSequence,
  openSink,
  sinkBytes,
  swapWords,
  writeElement,
  writeNumbers,
  writeText,
} from '../../src/dicom/writer.ts';
import { delimiter, encode, explicit, header, madeDataSet, type MadeElement } from './made.ts';

const LE = 'explicit-le';

function read(bytes: Buffer, encoding: Encoding = LE): DataSet {
  return readDataSet(bytes, 0, bytes.length, encoding, { complete: true }).dataSet;
}

function copied(bytes: Buffer, encoding: Encoding = LE): Buffer {
  const sink = openSink(16);
  copyElements(sink, read(bytes, encoding));
  return sinkBytes(sink);
}

const item = (...content: Buffer[]): Buffer => {
  const bytes = Buffer.concat(content);
  return Buffer.concat([delimiter(0xe000, bytes.length, LE), bytes]);
};

describe('copies', () => {
  it('of Explicit VR LE are the very bytes', () => {
    fc.assert(
      fc.property(madeDataSet, (made) => {
        const bytes = encode(made, LE);
        assert.deepEqual(copied(bytes), bytes);
      }),
      { numRuns: 300 },
    );
  });

  for (const encoding of ['implicit-le', 'explicit-be'] as const) {
    it(`of ${encoding} are what Explicit VR LE with defined lengths would be`, () => {
      const defined = (elements: readonly MadeElement[]): MadeElement[] =>
        elements.map((element) => ({
          ...element,
          undefinedLength: false,
          ...(element.items === undefined ? {} : { items: element.items.map(defined) }),
        }));
      fc.assert(
        fc.property(madeDataSet, (made) => {
          assert.deepEqual(copied(encode(made, encoding), encoding), encode(defined(made), LE));
        }),
        { numRuns: 300 },
      );
    });
  }

  it('leave out group lengths at every depth', () => {
    const length = explicit(0x00080000, 'UL', Buffer.from([4, 0, 0, 0]));
    const modality = explicit(0x00080060, 'CS', 'MR');
    const bytes = Buffer.concat([length, explicit(0x00081140, 'SQ', item(length, modality))]);
    assert.deepEqual(copied(bytes), explicit(0x00081140, 'SQ', item(modality)));
  });

  it('bring nested elements into order', () => {
    const [first, second] = [explicit(0x00080060, 'CS', 'MR'), explicit(0x00100020, 'LO', 'P1')];
    assert.deepEqual(
      copied(explicit(0x00081140, 'SQ', item(second, first))),
      explicit(0x00081140, 'SQ', item(first, second)),
    );
  });

  it('make odd lengths even, nested ones too', () => {
    assert.deepEqual(copied(explicit(0x00081030, 'LO', 'odd')), explicit(0x00081030, 'LO', 'odd '));
    assert.deepEqual(
      copied(explicit(0x00081140, 'SQ', item(explicit(0x00081155, 'UI', '1.2')))),
      explicit(0x00081140, 'SQ', item(explicit(0x00081155, 'UI', '1.2\0'))),
    );
  });

  it('give an element that came as UN, or under an unknown VR, the VR in force', () => {
    assert.deepEqual(copied(explicit(0x00100010, 'UN', 'A^B ')), explicit(0x00100010, 'PN', 'A^B '));
    assert.deepEqual(copied(explicit(0x00091001, 'ZZ', 'abcd')), explicit(0x00091001, 'UN', 'abcd'));
  });

  it('carry nothing in the length of a delimitation, and none that is one too many', () => {
    const modality = explicit(0x00080060, 'CS', 'MR');
    const clean = explicit(0x00081140, 'SQ', item(modality));
    const secret = Buffer.from('DOEJ').readUInt32LE();
    const open = (itemEnd: number, sequenceEnd: number): Buffer =>
      Buffer.concat([
        header(0x00081140, 'SQ', 0xffffffff, LE),
        delimiter(0xe000, 0xffffffff, LE),
        modality,
        delimiter(0xe00d, itemEnd, LE),
        delimiter(0xe0dd, sequenceEnd, LE),
      ]);
    assert.deepEqual(copied(open(secret, 0)), clean);
    assert.deepEqual(copied(open(0, secret)), clean);
    assert.deepEqual(copied(explicit(0x00081140, 'SQ', item(modality, delimiter(0xe00d, secret, LE)))), clean);
    const tail = Buffer.concat([item(modality), delimiter(0xe0dd, secret, LE)]);
    assert.deepEqual(copied(explicit(0x00081140, 'SQ', tail)), clean);
  });

  it('keep the fragments of an icon, in either form', () => {
    const fragments = Buffer.concat([delimiter(0xe000, 0, LE), delimiter(0xe000, 2, LE), Buffer.from([0xff, 0xd8])]);
    const end = delimiter(0xe0dd, 0, LE);
    const icon = Buffer.concat([header(0x7fe00010, 'OB', 0xffffffff, LE), fragments, end]);
    const bytes = explicit(0x00880200, 'SQ', item(icon));
    assert.deepEqual(copied(bytes), bytes);
    const implicit = Buffer.concat([header(0x7fe00010, 'OB', 0xffffffff, 'implicit-le'), fragments, end]);
    const sequence = item(implicit);
    assert.deepEqual(
      copied(Buffer.concat([header(0x00880200, 'SQ', sequence.length, 'implicit-le'), sequence]), 'implicit-le'),
      bytes,
    );
  });

  it('of one element leave the others out', () => {
    const dataSet = read(Buffer.concat([explicit(0x00080060, 'CS', 'MR'), explicit(0x00100020, 'LO', 'P1')]));
    const sink = openSink();
    const element = findElement(dataSet, 0x00100020);
    assert.ok(element !== undefined);
    copyElement(sink, dataSet, element);
    assert.deepEqual(sinkBytes(sink), explicit(0x00100020, 'LO', 'P1'));
  });
});

describe('what is written anew', () => {
  it('is read as it was written', () => {
    const sink = openSink(8);
    writeText(sink, 0x00080060, 'CS', 'MRI');
    const sequence = beginSequence(sink, 0x00081140);
    for (const uid of ['1.2', '1.2.3']) {
      const mark = beginItem(sink);
      writeText(sink, 0x00081155, 'UI', uid);
      endItem(sink, mark);
    }
    endSequence(sink, sequence);
    writeNumbers(sink, 0x00280010, 'US', [512]);
    const dataSet = read(sinkBytes(sink));
    assert.deepEqual(
      dataSet.elements.map(({ tag, vr, valueStart, valueEnd }) => [tag, vr, valueEnd - valueStart]),
      [
        [0x00080060, 'CS', 4],
        [0x00081140, 'SQ', 42],
        [0x00280010, 'US', 2],
      ],
    );
    assert.equal(dataSet.elements[1]?.items?.length, 2);
  });

  it('too long for 16 bits of length is written as UN and read under its VR again (PS3.5 6.2.2)', () => {
    const sink = openSink();
    writeElement(sink, 0x00081030, 'LO', Buffer.alloc(70_000, 0x41));
    const bytes = sinkBytes(sink);
    assert.equal(bytes.toString('latin1', 4, 6), 'UN');
    const dataSet = read(bytes);
    const [element] = dataSet.elements;
    assert.ok(element !== undefined);
    assert.equal(element.vr, 'LO');
    assert.equal(valueBytes(dataSet, element).length, 70_000);
  });

  it('turned round by words, only whole ones', () => {
    const bytes = Buffer.from([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual([...swapWords(Buffer.from(bytes), 1)], [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual([...swapWords(Buffer.from(bytes), 2)], [2, 1, 4, 3, 6, 5, 8, 7, 9]);
    assert.deepEqual([...swapWords(Buffer.from(bytes), 4)], [4, 3, 2, 1, 8, 7, 6, 5, 9]);
    assert.deepEqual([...swapWords(Buffer.from(bytes), 8)], [8, 7, 6, 5, 4, 3, 2, 1, 9]);
  });
});
