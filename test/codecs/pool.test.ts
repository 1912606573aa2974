/** Codecs in worker threads: what fails there fails one frame. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { closeCodecs, convertFrame, openCodecs } from '../../src/codecs/pool.ts';
import { greyLayout } from '../phantom/layout.ts';

const NATIVE = '1.2.840.10008.1.2.1';
const RLE = '1.2.840.10008.1.2.5';
const JPEG_2000 = '1.2.840.10008.1.2.4.90';
const layout = greyLayout(16, 16, 8);
const frame = (value: number): Buffer => Buffer.alloc(256, Buffer.from([value, value + 1, 7]));

const pool = openCodecs({ threads: 2, maxWaiting: 40 });
after(() => closeCodecs(pool));

test('CODEC-9: frames are converted side by side, each answer to its own question', async () => {
  const frames = Array.from({ length: 30 }, (_, index) => frame(index));
  const encoded = await Promise.all(
    frames.map((one) => convertFrame(pool, Buffer.from(one), layout, { from: NATIVE, to: JPEG_2000 })),
  );
  const decoded = await Promise.all(
    encoded.map((one) => convertFrame(pool, one, layout, { from: JPEG_2000, to: NATIVE })),
  );
  assert.ok(decoded.every((one, index) => one.equals(frames[index] ?? Buffer.alloc(0))));
  assert.ok(pool.workers.size <= 2);
});

test('CODEC-9: a thread that a codec spoilt is replaced, and those that wait are served', async () => {
  const good = await convertFrame(pool, frame(1), layout, { from: NATIVE, to: JPEG_2000 });
  // Whole by its structure, senseless inside.
  const bad = Buffer.from(good);
  bad.fill(0xa5, bad.indexOf(Buffer.from([0xff, 0x93])) - 40, bad.length - 2);
  const answers = await Promise.allSettled([
    convertFrame(pool, bad, layout, { from: JPEG_2000, to: NATIVE }),
    ...Array.from({ length: 8 }, () => convertFrame(pool, Buffer.from(good), layout, { from: JPEG_2000, to: NATIVE })),
  ]);
  for (const answer of answers.slice(1)) {
    assert.equal(answer.status, 'fulfilled');
    assert.ok(answer.status === 'fulfilled' && answer.value.equals(frame(1)));
  }
});

test('CODEC-9: a thread that dies or hangs fails its frame only', async () => {
  const small = openCodecs({ threads: 1, timeoutMs: 1 });
  await assert.rejects(convertFrame(small, frame(1), layout, { from: NATIVE, to: JPEG_2000 }), {
    reason: 'NotAcceptable',
    message: /did not end within 1 ms/,
  });
  await closeCodecs(small);
  // Large enough to be under way when the thread ends.
  const large = { ...layout, rows: 2048, columns: 2048 };
  const dying = convertFrame(pool, Buffer.alloc(2 ** 22, frame(2)), large, { from: NATIVE, to: JPEG_2000 });
  const gone = [...pool.workers].map(({ thread }) => once(thread, 'exit'));
  for (const { thread } of pool.workers) void thread.terminate();
  await assert.rejects(dying, { reason: 'NotAcceptable' });
  await Promise.all(gone);
  assert.equal((await convertFrame(pool, frame(3), layout, { from: NATIVE, to: NATIVE })).length, 256);
});

test('CODEC-9: more frames than may wait are told to come again; closing fails what is left', async () => {
  const small = openCodecs({ threads: 1, maxWaiting: 1 });
  const asked = Array.from({ length: 4 }, () => convertFrame(small, frame(1), layout, { from: NATIVE, to: RLE }));
  const answers = Promise.allSettled(asked);
  await closeCodecs(small);
  for (const answer of await answers)
    assert.equal(answer.status === 'rejected' && answer.reason.reason, 'OutOfResources');
  await assert.rejects(convertFrame(small, frame(1), layout, { from: NATIVE, to: RLE }), { reason: 'OutOfResources' });
});
