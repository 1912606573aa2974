import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { readBulkData, readFrame } from '../../src/archive/frames.ts';
import { instanceOf, readInstanceBody, storeInstance, type InstanceRow } from '../../src/archive/instances.ts';
import type { Archive } from '../../src/archive/archive.ts';
import { packExtents, scanFragments, unpackExtents, type FrameExtents } from '../../src/dicom/pixel-data.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import {
  MULTI_FRAME_BIT,
  MULTI_FRAME_BYTE,
  encapsulate,
  makeLargeObject,
  makeObject,
  type ObjectOptions,
} from '../phantom/objects.ts';
import { bytesOf, opened } from './support.ts';

const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
const JPEG_2000 = '1.2.840.10008.1.2.4.90';
const MPEG_4 = '1.2.840.10008.1.2.4.102';
const refusal = (reason: string) => (error: unknown) => error instanceof Refusal && error.reason === reason;

async function stored(t: TestContext, options: ObjectOptions): Promise<{ archive: Archive; instance: InstanceRow }> {
  const { archive } = await opened(t);
  const { object } = makeObject(options);
  await storeInstance(archive, object);
  const instance = instanceOf(archive, object.sopInstanceUID);
  assert.ok(instance);
  return { archive, instance };
}

async function frame(from: { archive: Archive; instance: InstanceRow }, number: number): Promise<Buffer> {
  const { bytes, lengthBytes } = await readFrame(from.archive, from.instance, number);
  const whole = await bytesOf(bytes);
  assert.equal(whole.length, lengthBytes);
  return whole;
}

/** A fragment that begins like a JPEG image, or goes on with one. */
const image = (fill: number, length = 20): Buffer =>
  Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xe0]), Buffer.alloc(length, fill)]);
const rest = (fill: number): Buffer => Buffer.alloc(10, fill);

describe('native frames', () => {
  test('are ranges of the value; frames 0, beyond the last and fractional are not found', async (t) => {
    const pixels = Buffer.from(Array.from({ length: 3 * 16 }, (_, index) => index));
    const from = await stored(t, {
      rows: 4,
      columns: 4,
      bitsAllocated: 8,
      numberOfFrames: 3,
      pixels,
      sopClassUID: MULTI_FRAME_BYTE,
    });
    assert.equal(from.instance.frameCount, 3);
    for (const number of [1, 2, 3])
      assert.deepEqual(await frame(from, number), pixels.subarray(16 * (number - 1), 16 * number));
    for (const number of [0, 4, 1.5, -1, NaN]) {
      await assert.rejects(readFrame(from.archive, from.instance, number), refusal('NotFound'));
    }
  });

  test('of one bit a pixel that do not begin on a byte are moved to begin on one', async (t) => {
    // 3 x 3 pixels = 9 bits a frame: frame 2 begins at bit 9.
    const bits = [
      1, 0, 1, 0, 0, 0, 0, 0, 1, /* frame 2 */ 0, 1, 1, 1, 0, 0, 0, 0, 1, /* frame 3 */ 1, 1, 1, 1, 1, 1, 1, 1, 0,
    ];
    const pixels = Buffer.alloc(4);
    bits.forEach((bit, index) => (pixels[index >> 3] = (pixels[index >> 3] ?? 0) | (bit << (index & 7))));
    const from = await stored(t, {
      rows: 3,
      columns: 3,
      bitsAllocated: 1,
      numberOfFrames: 3,
      pixels,
      sopClassUID: MULTI_FRAME_BIT,
    });
    assert.deepEqual(await frame(from, 1), Buffer.from([0b00000101, 0b1]));
    assert.deepEqual(await frame(from, 2), Buffer.from([0b00001110, 0b1]));
    assert.deepEqual(await frame(from, 3), Buffer.from([0b11111111, 0b0]));
  });

  test('that the value is too short for are not found', async (t) => {
    const from = await stored(t, {
      rows: 4,
      columns: 4,
      bitsAllocated: 8,
      numberOfFrames: 9,
      pixels: Buffer.alloc(40, 5),
    });
    assert.equal(from.instance.frameCount, 2);
    await assert.rejects(readFrame(from.archive, from.instance, 3), refusal('NotFound'));
  });

  test('of YBR_FULL_422 have two samples a pixel', async (t) => {
    const from = await stored(t, {
      rows: 4,
      columns: 4,
      bitsAllocated: 8,
      samplesPerPixel: 3,
      photometricInterpretation: 'YBR_FULL_422',
      numberOfFrames: 2,
      pixels: Buffer.concat([Buffer.alloc(32, 1), Buffer.alloc(32, 2)]),
    });
    assert.deepEqual(await frame(from, 2), Buffer.alloc(32, 2));
  });

  test('above a mebibyte come as a stream', async (t) => {
    const { archive } = await opened(t);
    const object = makeLargeObject({ rows: 1024, columns: 1024, numberOfFrames: 5 }, Buffer.alloc(2 ** 20, 6), 10);
    await storeInstance(archive, object);
    const instance = instanceOf(archive, object.sopInstanceUID);
    assert.ok(instance);
    const { bytes, lengthBytes } = await readFrame(archive, instance, 5);
    assert.ok(!Buffer.isBuffer(bytes));
    assert.equal((await bytesOf(bytes)).length, lengthBytes);
    assert.equal(lengthBytes, 2 * 2 ** 20);
  });

  test('an object without pixel data has none', async (t) => {
    const from = await stored(t, { pixels: null });
    await assert.rejects(readFrame(from.archive, from.instance, 1), refusal('NotFound'));
  });
});

describe('encapsulated frames', () => {
  const jpeg = { transferSyntaxUID: JPEG_BASELINE, bitsAllocated: 8 as const };

  test('with an empty table and one fragment a frame', async (t) => {
    const fragments = [image(1), image(2), image(3)];
    const from = await stored(t, { ...jpeg, numberOfFrames: 3, fragments });
    for (const number of [1, 2, 3]) assert.deepEqual(await frame(from, number), fragments[number - 1]);
  });

  test('of a single frame in several fragments are joined without item tags', async (t) => {
    const from = await stored(t, { ...jpeg, fragments: [image(1), rest(1), rest(2)] });
    assert.deepEqual(await frame(from, 1), Buffer.concat([image(1), rest(1), rest(2)]));
  });

  test('with a basic offset table', async (t) => {
    const fragments = [image(1), rest(1), image(2), image(3), rest(3)];
    const basicOffsets = [0, 24 + 8 + 10 + 8, 24 + 8 + 10 + 8 + 24 + 8];
    const from = await stored(t, { ...jpeg, numberOfFrames: 3, fragments, basicOffsets });
    assert.deepEqual(await frame(from, 1), Buffer.concat([image(1), rest(1)]));
    assert.deepEqual(await frame(from, 2), image(2));
    assert.deepEqual(await frame(from, 3), Buffer.concat([image(3), rest(3)]));
  });

  test('with an extended offset table', async (t) => {
    const fragments = [rest(1), rest(2), rest(3)];
    const from = await stored(t, { ...jpeg, numberOfFrames: 2, fragments, extendedOffsets: [0, 36] });
    assert.deepEqual(await frame(from, 1), Buffer.concat([rest(1), rest(2)]));
    assert.deepEqual(await frame(from, 2), rest(3));
  });

  for (const [what, basicOffsets] of [
    ['empty', []],
    ['wrong', [0, 33]],
    ['too short', [0]],
    ['not ascending', [32, 0]],
  ] as const) {
    test(`with a table that is ${what} begin where an image begins`, async (t) => {
      const from = await stored(t, {
        ...jpeg,
        numberOfFrames: 2,
        fragments: [image(1), rest(1), image(2), rest(2)],
        basicOffsets,
      });
      assert.deepEqual(await frame(from, 1), Buffer.concat([image(1), rest(1)]));
      assert.deepEqual(await frame(from, 2), Buffer.concat([image(2), rest(2)]));
    });
  }

  test('of JPEG 2000 begin with SOC and SIZ', async (t) => {
    const begin = Buffer.from([0xff, 0x4f, 0xff, 0x51, 1, 1]);
    const fragments = [begin, rest(1), rest(2), begin];
    const from = await stored(t, { transferSyntaxUID: JPEG_2000, numberOfFrames: 2, fragments });
    assert.deepEqual(await frame(from, 1), Buffer.concat([begin, rest(1), rest(2)]));
    assert.deepEqual(await frame(from, 2), begin);
  });

  test('that cannot be told apart, and video, are not acceptable', async (t) => {
    const unclear = await stored(t, { ...jpeg, numberOfFrames: 2, fragments: [rest(1), rest(2), rest(3)] });
    await assert.rejects(readFrame(unclear.archive, unclear.instance, 1), refusal('NotAcceptable'));
    const video = await stored(t, { transferSyntaxUID: MPEG_4, numberOfFrames: 30, fragments: [rest(1), rest(2)] });
    await assert.rejects(readFrame(video.archive, video.instance, 1), refusal('NotAcceptable'));
  });

  test('are found however the value was cut into chunks', () => {
    const fragments = [image(1), rest(2), image(3, 40)];
    const value = encapsulate(fragments, [0, 50]);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (sizes) => {
        const scan = scanFragments();
        for (let at = 0, turn = 0; at < value.length; turn++) {
          const size = sizes[turn % sizes.length] ?? 1;
          scan.take(value.subarray(at, at + size));
          at += size;
        }
        assert.deepEqual(scan.basicOffsets, [0, 50]);
        assert.deepEqual(
          scan.fragments.map(({ start, end }) => value.subarray(start, end)),
          fragments,
        );
        assert.deepEqual(
          scan.fragments.map(({ mark }) => mark >>> 16 === 0xffd8),
          [true, false, true],
        );
      }),
    );
  });

  test('extents come back from their packed form', () => {
    const number = fc.integer({ min: 0, max: 2 ** 40 });
    fc.assert(
      fc.property(fc.array(fc.array(fc.tuple(number, number), { maxLength: 4 }), { minLength: 1 }), (shape) => {
        let position = 0;
        const frames = shape.map((fragments) =>
          fragments.map(([gap, length]) => {
            const start = position + gap;
            position = start + length;
            return { start, end: position };
          }),
        );
        const extents: FrameExtents = { kind: 'encapsulated', frames };
        assert.deepEqual(unpackExtents(packExtents(extents) ?? null), extents);
      }),
    );
    const native: FrameExtents = { kind: 'native', count: 300, frameBits: 2 ** 36 + 1 };
    assert.deepEqual(unpackExtents(packExtents(native) ?? null), native);
    assert.deepEqual(unpackExtents(null), { kind: 'none' });
  });
});

describe('bulk data', () => {
  const text = 'x'.repeat(3000);

  test('is read by path, also inside sequences, whole or in part', async (t) => {
    const { archive, instance } = await stored(t, { privateText: text, scheduledProcedureStepID: 'SPS1' });
    const whole = await readBulkData(archive, instance, '00091010');
    assert.ok(whole.kind === 'value');
    assert.equal((await bytesOf(whole.bytes)).toString(), text);
    const part = await readBulkData(archive, instance, '00091010', { start: 10, end: 30 });
    assert.ok(part.kind === 'value' && part.lengthBytes === 20);
    const nested = await readBulkData(archive, instance, '00400275/0/00400009');
    assert.ok(nested.kind === 'value');
    assert.equal((await bytesOf(nested.bytes)).toString(), 'SPS1');
  });

  test('of native pixel data is its value, of encapsulated pixel data its frames', async (t) => {
    const pixels = Buffer.alloc(8192, 4);
    const native = await stored(t, { pixels });
    const value = await readBulkData(native.archive, native.instance, '7FE00010');
    assert.ok(value.kind === 'value' && value.vr === 'OW');
    assert.deepEqual(await bytesOf(value.bytes), pixels);
    assert.deepEqual(await bytesOf(readInstanceBody(native.archive, native.instance)), pixels);
    const jpeg = await stored(t, {
      transferSyntaxUID: JPEG_BASELINE,
      numberOfFrames: 2,
      fragments: [image(1), image(2)],
    });
    assert.deepEqual(await readBulkData(jpeg.archive, jpeg.instance, '7fe00010'), { kind: 'frames', frameCount: 2 });
  });

  test('that is not there is not found; what is no path or range is a bad request', async (t) => {
    const { archive, instance } = await stored(t, { privateText: text });
    for (const path of ['00091011', '00400275/0/00400009', '00400275/7/00400009', '00080005/0/00080005']) {
      await assert.rejects(readBulkData(archive, instance, path), refusal('NotFound'));
    }
    for (const path of ['', '../../etc', '0009101', '00400275/0', '00091010/x/00091010']) {
      await assert.rejects(readBulkData(archive, instance, path), refusal('BadRequest'));
    }
    await assert.rejects(readBulkData(archive, instance, '00091010', { start: 0, end: 3001 }), refusal('BadRequest'));
  });
});
