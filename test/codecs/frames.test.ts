/** Every codec through the one checked way: what is written is read back bit for bit, what breaks off is refused by name. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { decodeFrame, encodeFrame } from '../../src/codecs/frames.ts';
import { deinterleave, frameBytes, interleave, type ImageLayout } from '../../src/codecs/image.ts';
import { JPEG_BASELINE, LOSSLESS_TARGETS } from '../../src/codecs/syntaxes.ts';
import { Refusal } from '../../src/dicom/refusal.ts';

const NATIVE = '1.2.840.10008.1.2.1';
const DEFLATED_FRAME = '1.2.840.10008.1.2.8.1';

function layoutOf(options: Partial<ImageLayout> = {}): ImageLayout {
  const bitsAllocated = options.bitsAllocated ?? 16;
  const bitsStored = options.bitsStored ?? bitsAllocated;
  const samplesPerPixel = options.samplesPerPixel ?? 1;
  return {
    rows: 24,
    columns: 40,
    samplesPerPixel,
    bitsAllocated,
    bitsStored,
    highBit: bitsStored - 1,
    signed: false,
    planar: false,
    photometricInterpretation: samplesPerPixel === 3 ? 'RGB' : 'MONOCHROME2',
    ...options,
  };
}

/** Smooth with a little noise, so that every codec has something to predict and something to code. */
function phantom(layout: ImageLayout): Buffer {
  const bytes = Buffer.alloc(frameBytes(layout));
  const most = 2 ** layout.bitsStored;
  for (let at = 0, index = 0; at < bytes.length; at += layout.bitsAllocated / 8, index++) {
    const value = (index * 7 + ((index * 2654435761) % 23)) % most;
    if (layout.bitsAllocated === 8) bytes[at] = layout.signed ? (value - most / 2) & 0xff : value;
    else if (layout.signed) bytes.writeInt16LE(value - most / 2, at);
    else bytes.writeUInt16LE(value, at);
  }
  return bytes;
}

const LAYOUTS: readonly (readonly [string, ImageLayout])[] = [
  ['8 bits', layoutOf({ bitsAllocated: 8 })],
  ['12 in 16 bits', layoutOf({ bitsStored: 12 })],
  ['16 bits', layoutOf()],
  ['signed 12 in 16 bits', layoutOf({ bitsStored: 12, signed: true })],
  ['signed 16 bits', layoutOf({ signed: true })],
  ['signed 8 bits', layoutOf({ bitsAllocated: 8, signed: true })],
  ['7 in 16 bits', layoutOf({ bitsStored: 7 })],
  ['10 in 16 bits, RGB', layoutOf({ bitsStored: 10, samplesPerPixel: 3 })],
  ['RGB', layoutOf({ bitsAllocated: 8, samplesPerPixel: 3 })],
  ['one pixel wide', layoutOf({ columns: 1, rows: 9 })],
  ['odd size', layoutOf({ columns: 7, rows: 5, bitsAllocated: 8 })],
];

/** What the codecs at hand get wrong is refused. */
const LACKING: ReadonlySet<string> = new Set([
  '1.2.840.10008.1.2.4.90 signed 8 bits',
  '1.2.840.10008.1.2.4.90 10 in 16 bits, RGB',
  '1.2.840.10008.1.2.4.201 10 in 16 bits, RGB',
]);

for (const target of LOSSLESS_TARGETS) {
  test(`CODEC-1: ${target} gives back every bit`, async (t) => {
    for (const [name, layout] of LAYOUTS)
      await t.test(name, async () => {
        const frame = phantom(layout);
        if (LACKING.has(`${target} ${name}`)) {
          await assert.rejects(encodeFrame({ bytes: frame, layout }, target), { reason: 'NotAcceptable' });
          return;
        }
        const encoded = await encodeFrame({ bytes: frame, layout }, target);
        const decoded = await decodeFrame(encoded, layout, target);
        assert.ok(decoded.bytes.equals(frame));
      });
  });

  test(`CODEC-2: ${target} cut off anywhere is refused`, async () => {
    const layout = layoutOf({ rows: 64, columns: 64, bitsStored: 12 });
    const encoded = await encodeFrame({ bytes: phantom(layout), layout }, target);
    // What is behind the last run of RLE is padding; of a marked stream the last byte is part of its end.
    const whole = target === '1.2.840.10008.1.2.5' ? encoded.length - 2 : encoded.length;
    for (let step = 0; step < 60; step++) {
      const end = step < 20 ? step : step < 40 ? whole - 1 - (step - 20) : Math.floor((whole * (step - 40)) / 20);
      await assert.rejects(
        decodeFrame(encoded.subarray(0, end), layout, target),
        (error) => error instanceof Refusal && error.reason === 'NotAcceptable',
        `${end} of ${encoded.length} bytes`,
      );
    }
  });

  test(`CODEC-3: ${target} of another size than the object says is refused`, async () => {
    const layout = layoutOf({ rows: 16, columns: 16 });
    const encoded = await encodeFrame({ bytes: phantom(layout), layout }, target);
    for (const other of [{ rows: 17 }, { columns: 32 }, { samplesPerPixel: 3 }, { rows: 8, columns: 32 }]) {
      // RLE says nothing of the size: only the number of pixels is held to.
      if (target === '1.2.840.10008.1.2.5' && other.rows === 8) continue;
      await assert.rejects(decodeFrame(encoded, { ...layout, ...other }, target), Refusal);
    }
  });

  test(`CODEC-4: ${target} with bytes turned gives a whole frame or fails, and the next frame is good`, async () => {
    const layout = layoutOf({ rows: 16, columns: 16, bitsStored: 12 });
    const frame = phantom(layout);
    const encoded = await encodeFrame({ bytes: frame, layout }, target);
    await fc.assert(
      fc.asyncProperty(fc.nat(encoded.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const turned = Buffer.from(encoded);
        turned[at] = (turned[at] ?? 0) ^ change;
        const decoded = await decodeFrame(turned, layout, target).catch(() => undefined);
        if (decoded !== undefined) assert.equal(decoded.bytes.length, frame.length);
      }),
      { numRuns: 60, seed: 20_261_121 },
    );
  });
}

test('CODEC-1: RLE gives back any bytes, runs and no runs', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.tuple(fc.nat(255), fc.integer({ min: 1, max: 400 })), { minLength: 1, maxLength: 40 }),
      async (columns, rows, runs) => {
        const layout = layoutOf({ columns, rows, bitsAllocated: 8 });
        const pattern = Buffer.concat(runs.map(([value, length]) => Buffer.alloc(length, value)));
        const frame = Buffer.alloc(frameBytes(layout), pattern);
        const encoded = await encodeFrame({ bytes: frame, layout }, '1.2.840.10008.1.2.5');
        assert.ok(encoded.length % 2 === 0);
        assert.ok((await decodeFrame(encoded, layout, '1.2.840.10008.1.2.5')).bytes.equals(frame));
      },
    ),
    { numRuns: 200, seed: 7 },
  );
});

test('CODEC-1: a deflated frame, of single bits too, is read; cut off or too long it is refused', async () => {
  for (const layout of [layoutOf(), layoutOf({ bitsAllocated: 1, rows: 3, columns: 3 })]) {
    const frame = Buffer.alloc(frameBytes(layout), 0x5a);
    const deflated = deflateRawSync(frame);
    assert.ok((await decodeFrame(deflated, layout, DEFLATED_FRAME)).bytes.equals(frame));
    await assert.rejects(decodeFrame(deflated.subarray(0, 3), layout, DEFLATED_FRAME), Refusal);
    const bomb = deflateRawSync(Buffer.alloc(50 * 2 ** 20));
    await assert.rejects(decodeFrame(bomb, layout, DEFLATED_FRAME), Refusal);
  }
});

test('CODEC-5: planes become pixels, and halved chrominance is given to both pixels', async () => {
  const planes = Buffer.from([1, 2, 3, 4, 5, 6]);
  const rgb = layoutOf({ rows: 1, columns: 2, bitsAllocated: 8, samplesPerPixel: 3, planar: true });
  assert.deepEqual([...(await decodeFrame(planes, rgb, NATIVE)).bytes], [1, 3, 5, 2, 4, 6]);
  assert.deepEqual([...deinterleave(interleave(planes, 3, 1), 3, 1)], [...planes]);
  assert.deepEqual([...interleave(Buffer.from([1, 0, 2, 0, 3, 0, 4, 0]), 2, 2)], [1, 0, 3, 0, 2, 0, 4, 0]);
  const halved = { ...rgb, planar: false, photometricInterpretation: 'YBR_FULL_422' };
  const decoded = await decodeFrame(Buffer.from([10, 20, 100, 200]), halved, NATIVE);
  assert.deepEqual([...decoded.bytes], [10, 100, 200, 20, 100, 200]);
  assert.equal(decoded.layout.photometricInterpretation, 'YBR_FULL');
});

test('CODEC-6: JPEG baseline is written from 8 bits only, and is read back as nearly the same picture', async () => {
  const layout = layoutOf({ bitsAllocated: 8, rows: 32, columns: 32 });
  const frame = Buffer.from(Array.from({ length: 1024 }, (_, at) => (at % 32) * 4 + Math.floor(at / 32) * 3));
  const encoded = await encodeFrame({ bytes: frame, layout }, JPEG_BASELINE);
  const decoded = await decodeFrame(encoded, layout, JPEG_BASELINE);
  assert.ok(frame.every((value, at) => Math.abs(value - (decoded.bytes[at] ?? 0)) <= 4));
  for (let end = 0; end < encoded.length; end += 7)
    await assert.rejects(decodeFrame(encoded.subarray(0, end), layout, JPEG_BASELINE), Refusal);
  await assert.rejects(encodeFrame({ bytes: phantom(layoutOf()), layout: layoutOf() }, JPEG_BASELINE), Refusal);
});

test('CODEC-8: an overlay in the bits above is never lost: what masks it away is refused, RLE keeps it', async () => {
  const layout = layoutOf({ bitsStored: 12 });
  const frame = phantom(layout);
  frame.writeUInt16LE(0x8123, 10);
  for (const target of LOSSLESS_TARGETS) {
    const encoding = encodeFrame({ bytes: frame, layout }, target);
    if (target !== '1.2.840.10008.1.2.5') await assert.rejects(encoding, { reason: 'NotAcceptable' });
    else assert.ok((await decodeFrame(await encoding, layout, target)).bytes.equals(frame));
  }
});

test('CODEC-7: a syntax without a codec is refused by name, native pixels that are short too', async () => {
  await assert.rejects(decodeFrame(Buffer.alloc(4), layoutOf(), '1.2.840.10008.1.2.4.102'), {
    reason: 'NotAcceptable',
    message: /not decoded/,
  });
  await assert.rejects(decodeFrame(Buffer.alloc(4), layoutOf(), NATIVE), { reason: 'NotAcceptable' });
});
