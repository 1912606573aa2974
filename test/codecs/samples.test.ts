/** Real objects, one image in many transfer syntaxes written by other software: what the codecs make of them against the native one. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodeFrame } from '../../src/codecs/frames.ts';
import { imageLayout } from '../../src/codecs/image.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { encapsulatedExtents, pixelLayout, scanFragments } from '../../src/dicom/pixel-data.ts';

const samples = process.env['ISTHMUS_SAMPLES'];
const folder = samples === undefined ? undefined : join(samples, 'oddities', 'ts_ct');
const skip = folder === undefined || !existsSync(folder) ? 'ISTHMUS_SAMPLES is not set' : false;

async function firstFrame(name: string, cut?: number): Promise<Buffer> {
  const bytes = readFileSync(join(folder ?? '', name));
  const { head, bodyStart } = readHead(bytes);
  const layout = imageLayout(head.dataSet);
  const body = bytes.subarray(bodyStart);
  if (head.pixelData?.lengthBytes !== undefined) return body.subarray(0, head.pixelData.lengthBytes);
  const scan = scanFragments();
  scan.take(body);
  const extents = encapsulatedExtents(pixelLayout(head.dataSet, head.transferSyntaxUID), scan);
  assert.ok(extents.kind === 'encapsulated');
  const frame = Buffer.concat((extents.frames[0] ?? []).map(({ start, end }) => body.subarray(start, end)));
  const part = cut === undefined ? frame : frame.subarray(0, Math.floor(frame.length * cut));
  return (await decodeFrame(part, layout, head.transferSyntaxUID)).bytes;
}

const NATIVE = 'CTImage.dcm_LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1.dcm';
const NAMES = {
  RLE: 'CTImage.dcm_RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm',
  'JPEG Lossless': 'CTImage.dcm_JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm',
  'JPEG Lossless SV1': 'CTImage.dcm_JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm',
  'JPEG-LS': 'CTImage.dcm_JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm',
  'JPEG 2000': 'CTImage.dcm_JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90.dcm',
};

for (const [name, file] of Object.entries(NAMES)) {
  test(`a CT in ${name} is the native one, bit for bit, and cut short it is refused`, { skip }, async () => {
    assert.ok((await firstFrame(file)).equals(await firstFrame(NATIVE)));
    for (const cut of [0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.999])
      await assert.rejects(firstFrame(file, cut), { reason: 'NotAcceptable' });
  });
}

test('lossy ones differ by as much as their writer left out', { skip }, async () => {
  const native = await firstFrame(NATIVE);
  for (const [file, most] of [
    ['CTImage.dcm_JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91.dcm', 5],
    ['CTImage.dcm_JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81.dcm', 1],
  ] as const) {
    const decoded = await firstFrame(file);
    assert.equal(decoded.length, native.length);
    let worst = 0;
    for (let at = 0; at < native.length; at += 2)
      worst = Math.max(worst, Math.abs(native.readInt16LE(at) - decoded.readInt16LE(at)));
    assert.ok(worst <= most, `${worst}`);
  }
});

test('retired JPEG processes are refused, 12-bit and subsampled ones are read', { skip }, async () => {
  for (const file of [
    'CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm',
    'CTImage.dcm_JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm',
  ])
    await assert.rejects(firstFrame(file), { reason: 'NotAcceptable' });
  const native = await firstFrame(NATIVE);
  assert.equal(
    (await firstFrame('CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm')).length,
    native.length,
  );
  const [plain, halved] = [
    await firstFrame('TestPattern_RGB.dcm'),
    await firstFrame('TestPattern_JPEG-Baseline_YBR422.dcm'),
  ];
  let sum = 0;
  for (let at = 0; at < plain.length; at++) sum += Math.abs((plain[at] ?? 0) - (halved[at] ?? 0));
  assert.ok(sum / plain.length < 6, `mean difference ${sum / plain.length}`);
});
