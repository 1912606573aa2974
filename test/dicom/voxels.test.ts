/** Stored values of one frame: the same ones whether they are read where they lie or counted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Refusal } from '../../src/dicom/refusal.ts';
import { countedValues, readFrame, type PixelFormat } from '../../src/dicom/voxels.ts';

const formats = fc
  .record({
    bytesPerPixel: fc.constantFrom<1 | 2 | 4>(1, 2, 4),
    signed: fc.boolean(),
    bigEndian: fc.boolean(),
    stored: fc.integer({ min: 1, max: 24 }),
    above: fc.integer({ min: 0, max: 8 }),
  })
  .map(({ bytesPerPixel, signed, bigEndian, stored, above }): PixelFormat => {
    const bitsStored = Math.min(stored, 8 * bytesPerPixel);
    const highBit = Math.min(bitsStored - 1 + above, 8 * bytesPerPixel - 1);
    return { columns: 3, rows: 5, frames: 2, bytesPerPixel, bitsStored, highBit, signed, bigEndian };
  });

test('counting the values of a frame gives those that reading it gives', () => {
  fc.assert(
    fc.property(formats, fc.uint8Array({ minLength: 120, maxLength: 120 }), (format, bytes) => {
      const pixels = Buffer.from(bytes);
      const read = new Float32Array(15);
      readFrame(pixels, format, 2, { slope: 1, intercept: 0 }, read, 0);
      const counted = Array.from(countedValues(pixels, format, 2), ([value, times]) =>
        new Array<number>(times).fill(value),
      ).flat();
      assert.deepEqual(
        counted.sort((a, b) => a - b),
        [...read].sort((a, b) => a - b),
      );
    }),
  );
});

test('a frame that is not all there is neither read nor counted', () => {
  const format: PixelFormat = {
    columns: 4,
    rows: 4,
    frames: 1,
    bytesPerPixel: 2,
    bitsStored: 12,
    highBit: 11,
    signed: false,
    bigEndian: false,
  };
  assert.throws(() => [...countedValues(Buffer.alloc(31), format, 1)], Refusal);
});
