/** A stored series as a volume, in whatever lossless syntax it is stored. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { encodeFrame } from '../../src/codecs/frames.ts';
import { JPEG_BASELINE, LOSSLESS_TARGETS } from '../../src/codecs/syntaxes.ts';
import { isLossy, lossyRatio } from '../../src/dicom/loss.ts';
import { loadSeries } from '../../src/workflow/load-series.ts';
import { fill, openDoor, type Door } from '../dicomweb/door.ts';
import { greyLayout } from '../phantom/layout.ts';

const SIZE = { rows: 12, columns: 16 };
const LAYOUT = greyLayout(SIZE.rows, SIZE.columns);
const SLICES = [1, 2, 3].map((slice) => {
  const pixels = Buffer.alloc(384);
  for (let at = 0; at < 192; at++) pixels.writeUInt16LE((at * slice * 13) % 4096, 2 * at);
  return pixels;
});

let door: Door;
before(async () => {
  door = await openDoor();
});
after(() => door.close());

async function store(
  study: string,
  transferSyntaxUID: string,
  fragments: readonly Buffer[] | undefined,
  bitsAllocated: 8 | 16 = 16,
): Promise<void> {
  for (const [index, pixels] of SLICES.entries()) {
    const fragment = fragments?.[index];
    await fill(door, {
      ...SIZE,
      studyInstanceUID: study,
      seriesInstanceUID: `${study}.1`,
      sopInstanceUID: `${study}.1.${index + 1}`,
      instanceNumber: index + 1,
      transferSyntaxUID,
      bitsAllocated,
      ...(fragment === undefined ? { pixels } : { fragments: [fragment] }),
    });
  }
}

const load = (study: string): ReturnType<typeof loadSeries> =>
  loadSeries(door.gateway, { studyInstanceUID: study, seriesInstanceUID: `${study}.1` });

test('DERIVE-CODEC-1: a series in any lossless syntax makes the volume that the native one makes', async () => {
  await store('2.25.10', '1.2.840.10008.1.2.1', undefined);
  const native = await load('2.25.10');
  assert.equal(native.volume.voxels[5], 65 - 1024);
  for (const [index, target] of LOSSLESS_TARGETS.entries()) {
    const study = `2.25.2${index}`;
    const fragments = await Promise.all(SLICES.map((bytes) => encodeFrame({ bytes, layout: LAYOUT }, target)));
    await store(study, target, fragments);
    const { volume, heads } = await load(study);
    assert.deepEqual(volume.voxels, native.volume.voxels, target);
    // As if they were native, so that what is derived from them is built as from native ones.
    assert.ok(heads.every(({ pixelData }) => pixelData?.lengthBytes === 384));
  }
});

test('DERIVE-CODEC-2: what breaks off is refused by name', async () => {
  const [target = ''] = LOSSLESS_TARGETS;
  const whole = await Promise.all(SLICES.map((bytes) => encodeFrame({ bytes, layout: LAYOUT }, target)));
  await store(
    '2.25.30',
    target,
    whole.map((bytes) => bytes.subarray(0, bytes.length - 40)),
  );
  await assert.rejects(load('2.25.30'), { reason: 'PipelineRefused', message: /RLE segment/ });
  await store('2.25.31', JPEG_BASELINE, whole);
  await assert.rejects(load('2.25.31'), { reason: 'PipelineRefused', message: /JPEG/ });
});

test('DERIVE-CODEC-3: the head of what was compressed with loss says so, and how strongly (PS3.3 C.7.6.1.1.5)', async () => {
  const layout = { ...LAYOUT, bitsAllocated: 8, bitsStored: 8, highBit: 7 };
  const frames = await Promise.all(
    SLICES.map((bytes) => encodeFrame({ bytes: bytes.subarray(0, 192), layout }, JPEG_BASELINE)),
  );
  await store('2.25.32', JPEG_BASELINE, frames, 8);
  const { heads } = await load('2.25.32');
  for (const [index, head] of heads.entries()) {
    assert.ok(isLossy(head));
    // Item tags and the end of the sequence are counted too.
    const [told, most] = [lossyRatio(head), 192 / (frames[index]?.length ?? NaN)];
    assert.ok(told <= most + 0.01 && told > 0.9 * most, `${told} of ${most}`);
  }
});
