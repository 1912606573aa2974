/** Objects from bytes: what stands before the data set, prefixes, deflation, the pixel data's value and its end. */
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, it } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { asciiValue } from '../../src/dicom/data-set.ts';
import type { Identified } from '../../src/dicom/object.ts';
import { readHead, readObject, receiveObject, type ReceiveOptions } from '../../src/dicom/part10.ts';
import { Refusal, type RefusalReason } from '../../src/dicom/refusal.ts';
import { openSink, copyElements, sinkBytes } from '../../src/dicom/writer.ts';
import { delimiter, encode, explicit, fileMeta, header, inPieces, madeDataSet } from './made.ts';

const IMPLICIT = '1.2.840.10008.1.2';
const EXPLICIT = '1.2.840.10008.1.2.1';
const DEFLATED = '1.2.840.10008.1.2.1.99';
const BIG = '1.2.840.10008.1.2.2';
const JPEG = '1.2.840.10008.1.2.4.50';

const pixels = explicit(0x7fe00010, 'OW', Buffer.from([1, 2, 3, 4]));
const modality = explicit(0x00080060, 'CS', 'MR');
const object = Buffer.concat([modality, explicit(0x00100020, 'LO', 'P1'), pixels]);

async function gather({ body }: Identified): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function refuses(bytes: Buffer, reason: RefusalReason, options: ReceiveOptions = {}): Promise<void> {
  return assert.rejects(
    async () => gather(await readObject(bytes, options)),
    (error) => error instanceof Refusal && error.reason === reason,
  );
}

async function summary(source: AsyncIterable<Uint8Array>): Promise<string> {
  try {
    const read = await receiveObject(source);
    const { head } = read;
    const sink = openSink();
    copyElements(sink, head.dataSet);
    const body = await gather(read);
    return JSON.stringify([
      head.transferSyntaxUID,
      head.pixelData,
      sinkBytes(sink).toString('hex'),
      body.toString('hex'),
    ]);
  } catch (error) {
    assert.ok(error instanceof Refusal, String(error));
    return error.message;
  }
}

describe('what stands before the data set', () => {
  const modalityOf = async (bytes: Buffer): Promise<(string | undefined)[]> => {
    const read = await readObject(bytes);
    assert.equal((await gather(read)).length, 4);
    return [asciiValue(read.head.dataSet, 0x00080060), read.head.transferSyntaxUID];
  };
  const meta = fileMeta(EXPLICIT);

  it('preamble, prefix and file meta, or as much of them as there is', async () => {
    for (const start of [meta, meta.subarray(128), meta.subarray(132), Buffer.alloc(0)])
      assert.deepEqual(await modalityOf(Buffer.concat([start, object])), ['MR', EXPLICIT]);
  });

  it('a group length that lies is not believed', async () => {
    for (const length of [0, 4, 0xfffffff0]) {
      const lying = Buffer.from(meta);
      lying.writeUInt32LE(length, 140);
      assert.deepEqual(await modalityOf(Buffer.concat([lying, object])), ['MR', EXPLICIT]);
    }
  });

  it('file meta in Implicit VR is read', async () => {
    const uid = Buffer.from(`${EXPLICIT}\0`);
    const implicit = Buffer.concat([meta.subarray(0, 132), header(0x00020010, 'UI', uid.length, 'implicit-le'), uid]);
    assert.deepEqual(await modalityOf(Buffer.concat([implicit, object])), ['MR', EXPLICIT]);
  });

  it('without a transfer syntax the data set says what it is', async () => {
    const nameless = Buffer.concat([meta.subarray(0, 132), explicit(0x00020001, 'OB', Buffer.from([0, 1]))]);
    assert.deepEqual(await modalityOf(Buffer.concat([nameless, object])), ['MR', EXPLICIT]);
    const big = encode(
      [{ tag: 0x00080060, vr: 'CS', value: Buffer.from('MR'), undefinedLength: false }],
      'explicit-be',
    );
    const bigPixels = Buffer.concat([header(0x7fe00010, 'OW', 4, 'explicit-be'), Buffer.alloc(4)]);
    assert.deepEqual(await modalityOf(Buffer.concat([big, bigPixels])), ['MR', BIG]);
  });

  it('a data set that is plainly not what its transfer syntax names is read as what it is', async () => {
    for (const uid of [IMPLICIT, BIG])
      assert.deepEqual(await modalityOf(Buffer.concat([fileMeta(uid), object])), ['MR', EXPLICIT]);
  });

  it('the letters of the prefix inside a value are no prefix', async () => {
    const device = explicit(0x00080070, 'LO', `${'A'.repeat(110)}DICM${'B'.repeat(20)}`);
    const bytes = Buffer.concat([modality, device, pixels]);
    assert.equal(bytes.toString('latin1', 128, 132), 'DICM');
    assert.deepEqual(await modalityOf(bytes), ['MR', EXPLICIT]);
  });

  it('what is no object is refused', async () => {
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.alloc(132),
      Buffer.from('%PDF-1.4\n%hello\n'),
      Buffer.alloc(5000, 0x41),
    ])
      await refuses(bytes, 'CannotUnderstand');
    await refuses(Buffer.concat([fileMeta('1.2.3.4.5'), object]), 'TransferSyntaxNotSupported');
  });
});

describe('prefixes', () => {
  it('in pieces of any size the result is the same, refusals too', async () => {
    await fc.assert(
      fc.asyncProperty(
        madeDataSet,
        fc.constantFrom('explicit-le', 'implicit-le', 'explicit-be', 'deflated'),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 }),
        fc.nat(60),
        async (made, form, sizes, cut) => {
          const encoding = form === 'deflated' ? 'explicit-le' : form;
          const set = Buffer.concat([
            encode(made, encoding),
            header(0x7fe00010, 'OW', 6, encoding),
            Buffer.from([1, 2, 3, 4, 5, 6]),
            header(0xfffcfffc, 'OB', 0, encoding),
          ]);
          const uid = { 'explicit-le': EXPLICIT, 'implicit-le': IMPLICIT, 'explicit-be': BIG, deflated: DEFLATED }[
            form
          ];
          const all = Buffer.concat([fileMeta(uid), form === 'deflated' ? deflateRawSync(set) : set]);
          const bytes = all.subarray(0, Math.max(0, all.length - Math.max(0, cut - 30)));
          assert.equal(await summary(inPieces(bytes, sizes)), await summary(inPieces(bytes, [bytes.length + 1])));
        },
      ),
      { numRuns: 150 },
    );
  });

  it('a head longer than the first attempt is read to its end', async () => {
    const long = explicit(0x00204000, 'UT', 'x'.repeat(100_000));
    const bytes = Buffer.concat([fileMeta(EXPLICIT), modality, long, pixels]);
    for (const sizes of [[1], [8192], [8191, 2], [100_000]])
      assert.equal(await summary(inPieces(bytes, sizes)), await summary(inPieces(bytes, [bytes.length])));
  });

  it('a head beyond its bound is refused, and not read on', async () => {
    let asked = 0;
    async function* endless(): AsyncGenerator<Buffer> {
      yield Buffer.concat([fileMeta(EXPLICIT), modality]);
      for (;;) {
        asked++;
        yield explicit(0x00204000 + asked * 2, 'UT', 'x'.repeat(4096));
        await turn();
      }
    }
    await assert.rejects(receiveObject(endless(), { maxHeadBytes: 100_000 }), Refusal);
    assert.ok(asked < 100, `${asked} more chunks`);
  });
});

describe('the pixel data', () => {
  const encapsulated = (...items: Buffer[]): Buffer =>
    Buffer.concat([fileMeta(JPEG), modality, header(0x7fe00010, 'OB', 0xffffffff, 'explicit-le'), ...items]);
  const fragment = (bytes: Buffer): Buffer => Buffer.concat([delimiter(0xe000, bytes.length, 'explicit-le'), bytes]);
  const end = delimiter(0xe0dd, 0, 'explicit-le');

  it('ends where its length says, whatever follows', async () => {
    const read = await readObject(Buffer.concat([fileMeta(EXPLICIT), object, Buffer.alloc(1000)]));
    assert.deepEqual(await gather(read), Buffer.from([1, 2, 3, 4]));
  });

  it('of encapsulated objects ends with the delimitation', async () => {
    const value = Buffer.concat([fragment(Buffer.alloc(0)), fragment(Buffer.from([0xff, 0xd8])), end]);
    const read = await readObject(Buffer.concat([encapsulated(value), Buffer.alloc(100)]));
    assert.deepEqual(await gather(read), value);
    assert.equal(read.head.pixelData?.lengthBytes, undefined);
  });

  it('that ends early is refused, and so are fragments that are none', async () => {
    const file = Buffer.concat([fileMeta(EXPLICIT), object]);
    for (let missing = 1; missing <= 4; missing++)
      await refuses(file.subarray(0, file.length - missing), 'CannotUnderstand');
    await refuses(encapsulated(fragment(Buffer.alloc(4))), 'CannotUnderstand');
    await refuses(encapsulated(delimiter(0xe000, 0xfffffffe, 'explicit-le'), Buffer.alloc(4)), 'CannotUnderstand');
    await refuses(encapsulated(delimiter(0xe000, 0xffffffff, 'explicit-le'), end), 'CannotUnderstand');
    await refuses(encapsulated(Buffer.alloc(16, 1)), 'CannotUnderstand');
  });

  it('of undefined length needs a syntax that is encapsulated', async () => {
    const bytes = Buffer.concat([
      fileMeta(EXPLICIT),
      modality,
      header(0x7fe00010, 'OW', 0xffffffff, 'explicit-le'),
      end,
    ]);
    await refuses(bytes, 'CannotUnderstand');
  });

  it('more than 64 MiB behind it are no object', async () => {
    async function* long(): AsyncGenerator<Buffer> {
      yield Buffer.concat([fileMeta(EXPLICIT), object]);
      for (let i = 0; i < 65; i++) yield Buffer.alloc(2 ** 20);
    }
    await assert.rejects(async () => gather(await receiveObject(long())), Refusal);
  });
});

describe('deflated objects', () => {
  const deflated = (set: Buffer): Buffer => Buffer.concat([fileMeta(DEFLATED), deflateRawSync(set)]);

  it('are read as they inflate', async () => {
    const read = await readObject(deflated(object));
    assert.equal(asciiValue(read.head.dataSet, 0x00100020), 'P1');
    assert.deepEqual(await gather(read), Buffer.from([1, 2, 3, 4]));
  });

  it('damaged or cut ones are refused', async () => {
    const good = deflated(Buffer.concat([modality, explicit(0x00204000, 'UT', 'abcdefgh'.repeat(50)), pixels]));
    for (let end = fileMeta(DEFLATED).length; end < good.length; end++)
      await refuses(good.subarray(0, end), 'CannotUnderstand');
    const damaged = Buffer.concat([good.subarray(0, -20), Buffer.alloc(40, 0xff)]);
    await refuses(damaged, 'CannotUnderstand');
  });

  it('are bounded in length, and in what they make of how little', async () => {
    const set = Buffer.concat([modality, header(0x7fe00010, 'OW', 2 ** 28, 'explicit-le'), Buffer.alloc(2 ** 28)]);
    await refuses(deflated(set), 'TooLarge');
    await refuses(deflated(object), 'TooLarge', { maxInflatedBytes: 20 });
  });

  it('an error of the source is told as it is', async () => {
    const failure = new Error('connection reset');
    async function* failing(): AsyncGenerator<Buffer> {
      yield deflated(object).subarray(0, -10);
      await turn();
      throw failure;
    }
    await assert.rejects(
      async () => gather(await receiveObject(failing())),
      (error) => error === failure,
    );
  });
});

describe('the source', () => {
  function watched(bytes: Buffer): { source: AsyncIterable<Buffer>; released: () => boolean } {
    let released = false;
    async function* source(): AsyncGenerator<Buffer> {
      try {
        for await (const piece of inPieces(bytes, [1000])) yield piece;
        for (;;) yield Buffer.alloc(1000);
      } finally {
        released = true;
      }
    }
    return { source: source(), released: () => released };
  }
  const large = Buffer.concat([modality, header(0x7fe00010, 'OW', 2 ** 20, 'explicit-le'), Buffer.alloc(2 ** 19)]);

  it('is released when the head is refused', async () => {
    const { source, released } = watched(Buffer.alloc(20_000, 0x41));
    await assert.rejects(receiveObject(source), Refusal);
    assert.ok(released());
  });

  for (const [name, bytes] of [
    ['plain', Buffer.concat([fileMeta(EXPLICIT), large])],
    ['deflated', Buffer.concat([fileMeta(DEFLATED), deflateRawSync(large, { level: 0 })])],
  ] as const) {
    it(`is released when who reads a ${name} object stops early`, async () => {
      const { source, released } = watched(bytes);
      const { body } = await receiveObject(source);
      for await (const chunk of body) if (chunk.length > 0) break;
      assert.ok(released());
    });
  }
});

it('readHead reads what is wholly there, and no deflated object', () => {
  const bytes = Buffer.concat([fileMeta(EXPLICIT), object]);
  const { head, bodyStart } = readHead(bytes);
  assert.equal(asciiValue(head.dataSet, 0x00080060), 'MR');
  assert.deepEqual(bytes.subarray(bodyStart), Buffer.from([1, 2, 3, 4]));
  assert.throws(() => readHead(Buffer.concat([fileMeta(DEFLATED), deflateRawSync(object)])), Refusal);
});
