/** JPEG blanked in its coefficients: against the IJG decoder, on streams made here with every kind of sampling. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { blankedByMcu, blankJpeg, type PixelBox } from '../../src/codecs/jpeg-blank.ts';
import { decodeFrame, encodeFrame } from '../../src/codecs/frames.ts';
import { decodingTable, encodingTable, huffmanTable } from '../../src/codecs/huffman.ts';
import type { ImageLayout } from '../../src/codecs/image.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { encapsulatedExtents, pixelLayout, scanFragments } from '../../src/dicom/pixel-data.ts';
import { imageLayout } from '../../src/dicom/image-layout.ts';
import { greyLayout } from '../phantom/layout.ts';

const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
const samples = process.env['ISTHMUS_SAMPLES'];

const GREY = greyLayout(61, 83, 8);

function texture({ rows, columns, samplesPerPixel }: ImageLayout): Buffer {
  const pixels = Buffer.alloc(rows * columns * samplesPerPixel);
  let state = 7;
  for (let at = 0; at < pixels.length; at++) {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    pixels[at] = 60 + Math.round(70 * Math.sin(at / 11)) + (state >> 26);
  }
  return pixels;
}

const decode = async (jpeg: Buffer, layout: ImageLayout): Promise<Buffer> =>
  (await decodeFrame(jpeg, layout, JPEG_BASELINE)).bytes;

function differences(a: Buffer, b: Buffer, layout: ImageLayout, box: PixelBox): { inside: number[]; outside: number } {
  const { columns, samplesPerPixel } = layout;
  const inside: number[] = [];
  let outside = 0;
  for (let at = 0; at < a.length; at++) {
    const pixel = Math.floor(at / samplesPerPixel);
    const [row, column] = [Math.floor(pixel / columns), pixel % columns];
    if (row >= box.top && row < box.bottom && column >= box.left && column < box.right) inside.push(b[at] ?? -1);
    else if (a[at] !== b[at]) outside++;
  }
  return { inside, outside };
}

for (const [name, layout, shade] of [
  ['grey', GREY, 'lowest'],
  ['MONOCHROME1', { ...GREY, photometricInterpretation: 'MONOCHROME1' }, 'highest'],
] as const) {
  test(`${name}: every MCU that the box touches is black, every other pixel is the same`, async () => {
    const jpeg = await encodeFrame({ bytes: texture(layout), layout }, JPEG_BASELINE);
    const box = { left: 21, top: 9, right: 44, bottom: 30 };
    const blanked = blankJpeg(jpeg, { boxes: [box], shade, ycbcr: false });
    const whole = blankedByMcu(jpeg, box);
    assert.deepEqual(whole, { left: 16, top: 8, right: 48, bottom: 32 });
    const { inside, outside } = differences(await decode(jpeg, layout), await decode(blanked, layout), layout, whole);
    assert.equal(outside, 0);
    assert.deepEqual(new Set(inside), new Set([shade === 'lowest' ? 0 : 255]));
  });
}

test('without a box the image is the same', async () => {
  const jpeg = await encodeFrame({ bytes: texture(GREY), layout: GREY }, JPEG_BASELINE);
  const same = blankJpeg(jpeg, { boxes: [], shade: 'lowest', ycbcr: false });
  assert.deepEqual(await decode(same, GREY), await decode(jpeg, GREY));
});

test('a stream that breaks off or is progressive is refused', async () => {
  const jpeg = await encodeFrame({ bytes: texture(GREY), layout: GREY }, JPEG_BASELINE);
  for (const at of [3, 60, 200, jpeg.length - 40])
    assert.throws(() => blankJpeg(jpeg.subarray(0, at), { boxes: [], shade: 'lowest', ycbcr: false }), {
      reason: 'NotAcceptable',
    });
  const progressive = Buffer.from(jpeg);
  progressive[progressive.indexOf(Buffer.from([0xff, 0xc0])) + 1] = 0xc2;
  assert.throws(() => blankJpeg(progressive, { boxes: [], shade: 'lowest', ycbcr: false }), {
    reason: 'NotAcceptable',
    message: /SOF2/,
  });
});

test('damage inside the entropy-coded data ends in a refusal or a stream, never in another error', async () => {
  const jpeg = await encodeFrame({ bytes: texture(GREY), layout: GREY }, JPEG_BASELINE);
  let state = 99;
  for (let round = 0; round < 300; round++) {
    const bent = Buffer.from(jpeg);
    for (let flips = 0; flips < 3; flips++) {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      bent[state % bent.length] = (state >> 8) & 0xff;
    }
    try {
      blankJpeg(bent, { boxes: [{ left: 0, top: 0, right: 9, bottom: 9 }], shade: 'lowest', ycbcr: false });
    } catch (error) {
      assert.equal((error as { reason?: string }).reason, 'NotAcceptable', String(error));
    }
  }
});

test('codes are at most 16 bits long and none is all ones, however uneven the frequencies', () => {
  const frequencies = new Uint32Array(256);
  for (let symbol = 0; symbol < 40; symbol++) frequencies[symbol] = Math.round(1.6 ** symbol);
  const table = huffmanTable(frequencies);
  assert.equal(
    table.counts.reduce((sum, count) => sum + count, 0),
    40,
  );
  const codes = encodingTable(table);
  const decoding = decodingTable(table);
  for (let symbol = 0; symbol < 40; symbol++) {
    const [code, length] = [(codes[symbol] ?? 0) >>> 5, (codes[symbol] ?? 0) & 31];
    assert.ok(length >= 1 && length <= 16);
    assert.notEqual(code, 2 ** length - 1);
    assert.equal(decoding[code << (16 - length)], (symbol << 8) | length);
  }
});

const colour = [
  ['4:4:4', 'oddities/pydicom_test_files/SC_rgb_dcmtk_+eb+cr.dcm', 0],
  ['4:2:2', 'oddities/ts_ct/TestPattern_JPEG-Baseline_YBR422.dcm', 2],
  ['4:2:0', 'oddities/pydicom_test_files/SC_rgb_dcmtk_+eb+cy+np.dcm', 2],
  ['12 bits', 'oddities/pydicom_test_files/JPGExtended.dcm', 0],
  ['restart intervals or none, ultrasound', 'oddities/pydicom_test_files/examples_ybr_color.dcm', 2],
] as const;

for (const [name, file, reach] of colour) {
  test(
    `${name}: pixels further than what smoothing decoders mix are the same`,
    { skip: samples === undefined ? 'needs ISTHMUS_SAMPLES, the folder of sample files' : false },
    async () => {
      const object = await readObject(readFileSync(join(samples ?? '', file)));
      const chunks: Buffer[] = [];
      for await (const chunk of object.body) chunks.push(chunk);
      const body = Buffer.concat(chunks);
      const scan = scanFragments();
      scan.take(body);
      const { transferSyntaxUID, dataSet } = object.head;
      const extents = encapsulatedExtents(pixelLayout(dataSet, transferSyntaxUID), scan);
      assert.ok(extents.kind === 'encapsulated');
      const jpeg = Buffer.concat((extents.frames[0] ?? []).map(({ start, end }) => body.subarray(start, end)));
      const layout = imageLayout(dataSet);
      const box = { left: 10, top: 10, right: 40, bottom: 30 };
      const whole = blankedByMcu(jpeg, box);
      const ycbcr = layout.samplesPerPixel === 3 && !file.includes('+cr');
      const blanked = blankJpeg(jpeg, { boxes: [box], shade: 'lowest', ycbcr });
      const [before, after] = [
        (await decodeFrame(jpeg, layout, transferSyntaxUID)).bytes,
        (await decodeFrame(blanked, layout, transferSyntaxUID)).bytes,
      ];
      const wide = layout.bitsAllocated === 16 ? { ...layout, samplesPerPixel: 2 } : layout;
      const reached = {
        left: whole.left - reach,
        top: whole.top - reach,
        right: whole.right + reach,
        bottom: whole.bottom + reach,
      };
      assert.equal(differences(before, after, wide, reached).outside, 0);
      const core = { left: whole.left + 2, top: whole.top + 2, right: whole.right - 2, bottom: whole.bottom - 2 };
      assert.deepEqual(new Set(differences(before, after, wide, core).inside), new Set([0]));
    },
  );
}

test(
  'another decoder reads what was blanked as ours does',
  {
    skip:
      spawnSync('/usr/bin/python3', ['-c', 'import PIL']).status === 0
        ? false
        : 'needs /usr/bin/python3 with PIL as another decoder',
  },
  async () => {
    const jpeg = await encodeFrame({ bytes: texture(GREY), layout: GREY }, JPEG_BASELINE);
    const blanked = blankJpeg(jpeg, {
      boxes: [{ left: 30, top: 20, right: 50, bottom: 40 }],
      shade: 'lowest',
      ycbcr: false,
    });
    const { stdout } = spawnSync(
      '/usr/bin/python3',
      ['-c', 'import sys,io;from PIL import Image;sys.stdout.buffer.write(Image.open(sys.stdin.buffer).tobytes())'],
      { input: blanked },
    );
    assert.deepEqual(stdout, await decode(blanked, GREY));
  },
);
