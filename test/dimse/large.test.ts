/** A multi-frame object of 250 MB in both directions: byte for byte, and with flat memory. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { closeSync, createReadStream, openSync, readdirSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openAssociation, release, store } from '../../src/dimse/scu.ts';
import {
  EXPLICIT_LE,
  MULTIFRAME_GRAYSCALE,
  element,
  fileMeta,
  number,
  runPeer,
  scratch,
  startHashingScp,
  startStorescp,
  text,
  withoutDcmtk,
} from './peers.ts';

const skip = withoutDcmtk();
const FRAMES = 480;
const FRAME_BYTES = 512 * 512 * 2;
/** Far below the object, far above the noise of a garbage collector. */
const MAX_GROWTH_BYTES = 120 * 1024 * 1024;

interface LargeFile {
  readonly file: string;
  readonly dataSetStart: number;
  readonly sopInstanceUID: string;
  /** Of the data set. */
  readonly sha256: string;
  readonly lengthBytes: number;
}

function writeLargeFile(folder: string): LargeFile {
  const sopInstanceUID = '2.25.4711';
  const meta = fileMeta({ sopClassUID: MULTIFRAME_GRAYSCALE, sopInstanceUID, transferSyntaxUID: EXPLICIT_LE });
  const header = Buffer.concat([
    element(0x0008, 0x0016, 'UI', text(MULTIFRAME_GRAYSCALE, '\0')),
    element(0x0008, 0x0018, 'UI', text(sopInstanceUID, '\0')),
    element(0x0020, 0x000d, 'UI', text('2.25.1', '\0')),
    element(0x0020, 0x000e, 'UI', text('2.25.2', '\0')),
    element(0x0028, 0x0002, 'US', number(1)),
    element(0x0028, 0x0004, 'CS', text('MONOCHROME2', ' ')),
    element(0x0028, 0x0008, 'IS', text(String(FRAMES), ' ')),
    element(0x0028, 0x0010, 'US', number(512)),
    element(0x0028, 0x0011, 'US', number(512)),
    element(0x0028, 0x0100, 'US', number(16)),
    element(0x0028, 0x0101, 'US', number(16)),
    element(0x0028, 0x0102, 'US', number(15)),
    element(0x0028, 0x0103, 'US', number(0)),
  ]);
  const pixelData = element(0x7fe0, 0x0010, 'OW', Buffer.alloc(0));
  pixelData.writeUInt32LE(FRAMES * FRAME_BYTES, 8);
  const file = join(folder, 'large.dcm');
  const handle = openSync(file, 'w');
  const hash = createHash('sha256');
  writeSync(handle, meta);
  const frame = Buffer.alloc(FRAME_BYTES);
  for (const part of [header, pixelData]) writeSync(handle, part, 0, hash.update(part) && part.length);
  for (let index = 0; index < FRAMES; index++) {
    for (let offset = 0; offset < FRAME_BYTES; offset += 2)
      frame.writeUInt16LE((offset * 31 + index * 977) & 0xffff, offset);
    writeSync(handle, frame);
    hash.update(frame);
  }
  closeSync(handle);
  const lengthBytes = statSync(file).size - meta.length;
  return { file, dataSetStart: meta.length, sopInstanceUID, sha256: hash.digest('hex'), lengthBytes };
}

/** How far resident memory rises above where it is now, while `work` runs. */
async function growthDuring(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage.rss();
  let peak = before;
  const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 5);
  try {
    await work();
  } finally {
    clearInterval(watch);
  }
  return peak - before;
}

async function hashOfDataSet(file: string): Promise<string> {
  const head = createHash('sha256');
  // dcmtk writes its own file meta information: the group length says where the data set begins.
  let start = 0;
  for await (const chunk of createReadStream(file, { end: 143 })) start = 144 + (chunk as Buffer).readUInt32LE(140);
  for await (const chunk of createReadStream(file, { start })) head.update(chunk as Buffer);
  return head.digest('hex');
}

test('250 MB from storescu to us, and from us to storescp, arrive whole with flat memory', { skip }, async (t) => {
  const folder = scratch(t);
  const large = writeLargeFile(folder);

  const { port, received } = await startHashingScp(t);
  const growthIn = await growthDuring(async () => {
    const { code, output } = await runPeer('storescu', [
      '-R',
      '-aec',
      'ISTHMUS',
      '127.0.0.1',
      String(port),
      large.file,
    ]);
    assert.equal(code, 0, output);
  });
  assert.equal(received[0]?.lengthBytes, large.lengthBytes);
  assert.equal(received[0]?.sha256, large.sha256);
  t.diagnostic(`receiving: resident memory rose by ${Math.round(growthIn / 1e6)} MB`);
  assert.ok(growthIn < MAX_GROWTH_BYTES, `receiving grew by ${growthIn} bytes`);

  const target = scratch(t);
  const storescp = await startStorescp(t, target);
  const growthOut = await growthDuring(async () => {
    const association = await openAssociation({
      host: '127.0.0.1',
      port: storescp,
      callingAE: 'ISTHMUS',
      calledAE: 'STORESCP',
      contexts: [{ sopClassUID: MULTIFRAME_GRAYSCALE, transferSyntaxUIDs: [EXPLICIT_LE] }],
    });
    const dataSet = createReadStream(large.file, { start: large.dataSetStart, highWaterMark: 1 << 18 });
    const object = {
      sopClassUID: MULTIFRAME_GRAYSCALE,
      sopInstanceUID: large.sopInstanceUID,
      transferSyntaxUID: EXPLICIT_LE,
    };
    assert.equal(await store(association, { ...object, dataSet }), 0);
    await release(association);
  });
  const [name] = readdirSync(target);
  assert.ok(name);
  assert.equal(await hashOfDataSet(join(target, name)), large.sha256);
  t.diagnostic(`sending: resident memory rose by ${Math.round(growthOut / 1e6)} MB`);
  assert.ok(growthOut < MAX_GROWTH_BYTES, `sending grew by ${growthOut} bytes`);
});
