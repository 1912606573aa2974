import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findElement, valueBytes } from '../../src/dicom/data-set.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { cleanBody } from '../../src/deidentify/body.ts';
import { codestreamCleaner, codestreamKind } from '../../src/deidentify/codestream.ts';
import { deidentify } from '../../src/deidentify/deidentify.ts';
import { BASIC, EXPLICIT_LE, gather, holds, item, JPEG, JPEG_2000, makeFile, memoryWall, pass } from './support.ts';

const SECRET = 'QZSECRET4X';

function segment(code: number, content: Buffer): Buffer {
  const header = Buffer.from([0xff, code, 0, 0]);
  header.writeUInt16BE(content.length + 2, 2);
  return Buffer.concat([header, content]);
}

const SCAN = Buffer.from('3fff00a1ffd07fff00', 'hex');
const NEEDED = [
  segment(0xdb, Buffer.alloc(65, 7)),
  segment(0xc4, Buffer.alloc(20, 1)),
  segment(0xc0, Buffer.alloc(9, 8)),
];

/** A JPEG frame with comments in every place where one may stand. */
function jpeg(comments: boolean): Buffer {
  const comment = comments ? [segment(0xfe, Buffer.from(SECRET))] : [segment(0xfe, Buffer.alloc(SECRET.length))];
  const exif = Buffer.from(`Exif\0\0${SECRET}`);
  const application = segment(0xe1, comments ? exif : Buffer.alloc(exif.length));
  const frame = Buffer.concat([
    Buffer.from('ffd8', 'hex'),
    segment(0xe0, Buffer.from('4a46494600010100000100010000', 'hex')),
    application,
    ...comment,
    ...NEEDED,
    segment(0xee, Buffer.from('41646f62650064000000000001'.slice(0, 24), 'hex')),
    segment(0xda, Buffer.from('01010000003f00', 'hex')),
    SCAN,
    ...comment,
    segment(0xda, Buffer.from('01010000003f00', 'hex')),
    SCAN,
    Buffer.from('ffd9', 'hex'),
    comments ? Buffer.from(SECRET) : Buffer.alloc(SECRET.length),
  ]);
  return frame.length % 2 === 0 ? frame : Buffer.concat([frame, Buffer.alloc(1)]);
}

function jpeg2000(comments: boolean): Buffer {
  const text = (length: number): Buffer => (comments ? Buffer.from(SECRET.padEnd(length, '!')) : Buffer.alloc(length));
  const frame = Buffer.concat([
    Buffer.from('ff4f', 'hex'),
    segment(0x51, Buffer.alloc(38, 3)),
    segment(0x52, Buffer.alloc(10, 1)),
    segment(0x64, text(14)),
    segment(0x90, Buffer.from('0000000000000001', 'hex')),
    segment(0x64, text(12)),
    Buffer.from('ff93', 'hex'),
    Buffer.from('12ff4faaff64bbff8f', 'hex'),
    segment(0x91, Buffer.from('ff90', 'hex')),
    Buffer.from('55ff92', 'hex'),
    Buffer.from('77ffd9', 'hex'),
    text(11),
  ]);
  return frame.length % 2 === 0 ? frame : Buffer.concat([frame, Buffer.alloc(1)]);
}

async function* inPieces(bytes: Buffer, size: number): AsyncIterable<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

describe('compressed frames', () => {
  const cases = [
    ['JPEG', JPEG, jpeg],
    ['JPEG 2000', JPEG_2000, jpeg2000],
  ] as const;
  for (const [name, transferSyntaxUID, make] of cases) {
    it(`${name}: comments, application data and what follows the image become zeros, every other byte stays`, () => {
      for (const size of [1, 2, 3, 7, 1000]) {
        const cleaner = codestreamCleaner(codestreamKind(transferSyntaxUID) ?? 'opaque');
        const out: Buffer[] = [];
        for (let frame = 0; frame < 2; frame++) {
          cleaner.beginFragment();
          const bytes = make(true);
          for (let at = 0; at < bytes.length; at += size) out.push(cleaner.clean(bytes.subarray(at, at + size)));
        }
        assert.deepEqual(Buffer.concat(out), Buffer.concat([make(false), make(false)]), `pieces of ${size}`);
      }
    });

    it(`${name}: a frame in several fragments, the cut anywhere`, () => {
      const bytes = make(true);
      for (let cut = 2; cut < bytes.length - SECRET.length - 2; cut += 1) {
        const cleaner = codestreamCleaner(codestreamKind(transferSyntaxUID) ?? 'opaque');
        cleaner.beginFragment();
        const first = Buffer.from(cleaner.clean(bytes.subarray(0, cut)));
        cleaner.beginFragment();
        assert.deepEqual(Buffer.concat([first, cleaner.clean(bytes.subarray(cut))]), make(false), `cut at ${cut}`);
      }
    });

    it(`${name}: an image that begins where the one before has not ended is cleaned too`, () => {
      const cleaner = codestreamCleaner(codestreamKind(transferSyntaxUID) ?? 'opaque');
      const endless = make(false).subarray(0, make(false).lastIndexOf(Buffer.from('ffd9', 'hex')));
      cleaner.beginFragment();
      cleaner.clean(endless);
      cleaner.beginFragment();
      assert.deepEqual(cleaner.clean(make(true)), make(false));
    });

    it(`${name}: the sender's bytes are not changed in place`, () => {
      const bytes = make(true);
      const before = Buffer.from(bytes);
      const cleaner = codestreamCleaner(codestreamKind(transferSyntaxUID) ?? 'opaque');
      cleaner.beginFragment();
      cleaner.clean(bytes);
      assert.deepEqual(bytes, before);
    });
  }

  it('leaves no identifying byte in the object, in pieces of any size, and keeps the offset table', async () => {
    const frames = [jpeg(true), jpeg(true)];
    const table = Buffer.alloc(8);
    table.writeUInt32LE((frames[0]?.length ?? 0) + 8, 4);
    const file = makeFile({}, { transferSyntaxUID: JPEG, pixels: [table, ...frames] });
    const { file: out, body, result } = await pass(file);
    assert.equal(holds(out, SECRET), false);
    assert.deepEqual(body.subarray(8, 16), table);
    assert.equal(result.object.bodyLengthBytes, undefined);
    for (const size of [1, 5, 64]) {
      const object = await readObject(file);
      const again = await deidentify(memoryWall(), object, { project: 'trial', profile: BASIC });
      const piecewise = await gather(
        cleanBody(inPieces(await gather(object.body), size), {
          transferSyntaxUID: JPEG,
          lengthBytes: undefined,
          kind: 'jpeg',
          wordBytes: 1,
        }),
      );
      assert.deepEqual(piecewise, body);
      assert.equal(again.object.transferSyntaxUID, JPEG);
    }
  });

  it('empties an offset table that is none', async () => {
    const { file, body } = await pass(
      makeFile({}, { transferSyntaxUID: JPEG, pixels: [Buffer.from(`${SECRET}  `), jpeg(false)] }),
    );
    assert.equal(holds(file, SECRET), false);
    assert.deepEqual(body.subarray(0, 8), item(Buffer.alloc(0)));
  });

  it('keeps an extended offset table that can be true and drops one that cannot', async () => {
    const frames = [jpeg(false), jpeg(false)];
    const [first = Buffer.alloc(0)] = frames;
    const numbers = (...values: number[]): Buffer => {
      const bytes = Buffer.alloc(values.length * 8);
      values.forEach((value, index) => bytes.writeBigUInt64LE(BigInt(value), index * 8));
      return bytes;
    };
    const offsets = numbers(0, first.length + 8);
    const lengths = numbers(first.length, first.length);
    const pixels = [Buffer.alloc(0), ...frames];
    const kept = await pass(
      makeFile({ '7FE00001': offsets, '7FE00002': lengths }, { transferSyntaxUID: JPEG, pixels }),
    );
    const element = findElement(kept.dataSet, 0x7fe00001);
    assert.ok(element !== undefined);
    assert.deepEqual(valueBytes(kept.dataSet, element), offsets);
    const wrong = { '7FE00001': Buffer.from(SECRET.padEnd(16, ' ')), '7FE00002': lengths };
    const dropped = await pass(makeFile(wrong, { transferSyntaxUID: JPEG, pixels }));
    assert.equal(findElement(dropped.dataSet, 0x7fe00001), undefined);
    const native = await pass(makeFile({ '7FE00001': offsets, '7FE00002': lengths }));
    assert.equal(findElement(native.dataSet, 0x7fe00001), undefined);
  });

  it('refuses frames that are not what their transfer syntax says, and syntaxes whose frames cannot be searched', async () => {
    const refused = (error: unknown): boolean => error instanceof Refusal && error.reason === 'Quarantined';
    await assert.rejects(
      pass(makeFile({}, { transferSyntaxUID: JPEG, pixels: [Buffer.alloc(0), Buffer.from('not JPEG')] })),
      refused,
    );
    const video = '1.2.840.10008.1.2.4.102';
    await assert.rejects(
      pass(makeFile({}, { transferSyntaxUID: video, pixels: [Buffer.alloc(0), Buffer.alloc(4)] })),
      refused,
    );
    const container = Buffer.from('0000000c4a584c20', 'hex');
    const jpegXl = '1.2.840.10008.1.2.4.110';
    await assert.rejects(
      pass(makeFile({}, { transferSyntaxUID: jpegXl, pixels: [Buffer.alloc(0), container] })),
      refused,
    );
  });
});

describe('native pixels', () => {
  it('pass as they are, of any length, in bounded memory', async () => {
    const chunk = Buffer.alloc(1 << 20, 5);
    const count = 300;
    const head = makeFile({}, { pixels: Buffer.alloc(0) });
    head.writeUInt32LE(count * chunk.length, head.length - 4);
    async function* source(): AsyncGenerator<Buffer> {
      yield head;
      for (let index = 0; index < count; index++) yield chunk;
    }
    const { receiveObject } = await import('../../src/dicom/part10.ts');
    const { object } = await deidentify(memoryWall(), await receiveObject(source()), {
      project: 'trial',
      profile: BASIC,
    });
    assert.equal(object.bodyLengthBytes, count * chunk.length);
    assert.equal(object.transferSyntaxUID, EXPLICIT_LE);
    let length = 0;
    let held = 0;
    for await (const piece of object.body) {
      length += piece.length;
      held = Math.max(held, piece.length);
    }
    assert.equal(length, count * chunk.length);
    assert.ok(held <= chunk.length, 'a piece is never larger than what came in');
  });
});
