/** Compressed bulk data in STOW-RS (PS3.18 10.5.2, table 10.5.2-1), and encapsulated documents. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { crc32, deflateSync } from 'node:zlib';
import { encodeFrame, decodeFrame } from '../../src/codecs/frames.ts';
import type { ImageLayout } from '../../src/codecs/image.ts';
import { encodePictures, type PictureForm } from '../../src/codecs/picture.ts';
import { asciiValue, findElement, numberValue, valueBytes } from '../../src/dicom/data-set.ts';
import { readObject } from '../../src/dicom/part10.ts';
import type { Identified } from '../../src/dicom/object.ts';
import { listHeld, unseal } from '../../src/quarantine.ts';
import { greyLayout } from '../phantom/layout.ts';
import { openDoor, type Door, type JsonDataSet } from './door.ts';
import {
  bodyOf,
  bulkPart,
  copyUrl,
  itemsIn,
  JSON_FORM,
  jsonPart,
  partsAt,
  reasonsIn,
  stow,
  type Answer,
  type BodyPart,
} from './stow-bodies.ts';

let door: Door;
before(async () => {
  door = await openDoor();
});
after(() => door.close());

let made = 0;
/** Metadata without a word on the pixels but where they are. */
function metadata(more: Record<string, unknown> = {}): JsonDataSet {
  const ui = (value: string): { vr: string; Value: unknown[] } => ({ vr: 'UI', Value: [value] });
  return {
    '00080016': ui('1.2.840.10008.5.1.4.1.1.2'),
    '00080018': ui(`2.25.99.${++made}`),
    '00080060': { vr: 'CS', Value: ['CT'] },
    '00100010': { vr: 'PN', Value: [{ Alphabetic: 'Zauberberg^Castorp' }] },
    '00100020': { vr: 'LO', Value: ['MRN-1'] },
    '0020000D': ui('2.25.9'),
    '0020000E': ui('2.25.9.1'),
    '7FE00010': { vr: 'OB', BulkDataURI: 'pixels' },
    ...more,
  } as JsonDataSet;
}
const us = (...values: readonly number[]): { vr: string; Value: unknown[] } => ({ vr: 'US', Value: [...values] });
const send = (json: JsonDataSet, ...parts: readonly BodyPart[]): Promise<Answer> =>
  stow(door, JSON_FORM, bodyOf([jsonPart(json), ...parts]));

/** The copy, as it is stored. */
async function copyOf(answer: Answer): Promise<Identified> {
  assert.equal(answer.status, 200, answer.text);
  const response = await fetch(copyUrl(answer), { headers: { accept: 'application/dicom; transfer-syntax=*' } });
  assert.equal(response.status, 200);
  return readObject(Buffer.from(await response.arrayBuffer()));
}
async function frameOf(answer: Answer, number = 1): Promise<Buffer> {
  const accept = 'multipart/related; type="application/octet-stream"; transfer-syntax=*';
  const [part] = await partsAt(`${copyUrl(answer)}/frames/${number}`, accept);
  assert.ok(part !== undefined);
  return part.body;
}

const GREY = greyLayout(12, 10, 12);
const COLOUR: ImageLayout = {
  ...GREY,
  samplesPerPixel: 3,
  bitsAllocated: 8,
  bitsStored: 8,
  highBit: 7,
  photometricInterpretation: 'RGB',
};
const grey = Buffer.alloc(240);
for (let at = 0; at < 120; at++) grey.writeUInt16LE((at * 31) % 4096, 2 * at);
const colour = Buffer.from(Array.from({ length: 360 }, (_, at) => (at * 7) % 256));
const JPEG_FORM: PictureForm = { type: 'image/jpeg', quality: 90, iccProfile: 'no', pixelAspect: 1 };

test('STOW-25: lossless frames go into fragments unchanged; syntax and Image Pixel attributes are told by the stream', async () => {
  for (const [uid, mediaType, layout, bytes, photometric] of [
    ['1.2.840.10008.1.2.4.70', 'image/jpeg', GREY, grey, 'MONOCHROME2'],
    ['1.2.840.10008.1.2.4.80', 'image/jls', GREY, grey, 'MONOCHROME2'],
    ['1.2.840.10008.1.2.4.90', 'image/jp2', GREY, grey, 'MONOCHROME2'],
    ['1.2.840.10008.1.2.4.90', 'image/jpx', COLOUR, colour, 'YBR_RCT'],
    ['1.2.840.10008.1.2.4.201', 'image/jphc', GREY, grey, 'MONOCHROME2'],
    ['1.2.840.10008.1.2.4.201', 'image/jph', COLOUR, colour, 'YBR_RCT'],
    ['1.2.840.10008.1.2.4.80', 'image/jls', COLOUR, colour, 'RGB'],
  ] as const) {
    const frame = await encodeFrame({ bytes, layout }, uid);
    const answer = await send(metadata(), bulkPart('pixels', frame, mediaType));
    const { head } = await copyOf(answer);
    const { dataSet } = head;
    assert.equal(head.transferSyntaxUID, uid, mediaType);
    assert.equal(head.pixelData?.lengthBytes, undefined);
    assert.equal(asciiValue(dataSet, 0x00280004), photometric, `${uid} ${mediaType}`);
    assert.deepEqual(
      [0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103].map((tag) =>
        numberValue(dataSet, tag),
      ),
      [layout.samplesPerPixel, 12, 10, layout.bitsAllocated, layout.bitsStored, layout.highBit, 0],
    );
    assert.equal(findElement(dataSet, 0x00282110), undefined);
    const back = await decodeFrame(await frameOf(answer), { ...layout, photometricInterpretation: photometric }, uid);
    assert.deepEqual(back.bytes, bytes, mediaType);
  }
});

test('STOW-26: baseline JPEG stays as it is, and what was lost is told', async () => {
  const picture = { bytes: colour, columns: 10, rows: 12, channels: 3 } as const;
  const frame = await encodePictures([picture], JPEG_FORM);
  const answer = await send(metadata(), bulkPart('pixels', frame, 'image/jpeg'));
  const { head } = await copyOf(answer);
  assert.equal(head.transferSyntaxUID, '1.2.840.10008.1.2.4.50');
  assert.match(asciiValue(head.dataSet, 0x00280004) ?? '', /^YBR_FULL(_422)?$/);
  assert.equal(asciiValue(head.dataSet, 0x00282110), '01');
  assert.equal(asciiValue(head.dataSet, 0x00282114), 'ISO_10918_1');
  assert.ok((numberValue(head.dataSet, 0x00282112) ?? 0) > 0);
  assert.deepEqual((await frameOf(answer)).subarray(0, frame.length), frame);
});

test('STOW-27: several parts are the frames, under one location or under numbered ones, with Number of Frames', async () => {
  const frames = await Promise.all(
    [
      grey,
      Buffer.from(grey)
        .reverse()
        .map((byte, at) => (at % 2 === 1 ? byte & 0x0f : byte)),
      grey,
    ].map((bytes) => encodeFrame({ bytes: Buffer.from(bytes), layout: GREY }, '1.2.840.10008.1.2.4.80')),
  );
  for (const location of [() => 'pixels', (at: number) => `pixels/frames/${at}`]) {
    const answer = await send(metadata(), ...frames.map((frame, at) => bulkPart(location(at + 1), frame, 'image/jls')));
    const { head } = await copyOf(answer);
    assert.equal(numberValue(head.dataSet, 0x00280008), 3);
    for (const [at, frame] of frames.entries())
      assert.deepEqual((await frameOf(answer, at + 1)).subarray(0, frame.length), frame);
  }
  const short = await send(
    metadata({ '00280008': { vr: 'IS', Value: ['4'] } }),
    ...frames.map((frame) => bulkPart('pixels', frame, 'image/jls')),
  );
  assert.deepEqual([short.status, ...reasonsIn(short.dataSet, '00081198')], [409, 0xa900]);
});

test('STOW-28: attributes that are there have to agree with the stream, and so has the transfer syntax of the part', async () => {
  const frame = await encodeFrame({ bytes: grey, layout: GREY }, '1.2.840.10008.1.2.4.80');
  const agreeing = metadata({
    '00280010': us(12),
    '00280011': us(10),
    '00280002': us(1),
    '00280100': us(16),
    '00280101': us(12),
    '00280102': us(11),
    '00280004': { vr: 'CS', Value: ['MONOCHROME1'] },
  });
  assert.equal(
    (await send(agreeing, bulkPart('pixels', frame, 'image/jls; transfer-syntax=1.2.840.10008.1.2.4.81'))).status,
    200,
  );
  for (const other of [
    { '00280010': us(11) },
    { '00280011': us(12) },
    { '00280002': us(3) },
    { '00280100': us(8) },
    { '00280101': us(16) },
    { '00280102': us(3) },
    { '00280004': { vr: 'CS', Value: ['RGB'] } },
    { '00280010': { vr: 'US', Value: ['twelve'] } },
  ]) {
    const answer = await send(metadata(other), bulkPart('pixels', frame, 'image/jls'));
    assert.deepEqual([answer.status, ...reasonsIn(answer.dataSet, '00081198')], [409, 0xa900], JSON.stringify(other));
  }
  const syntax = await send(metadata(), bulkPart('pixels', frame, 'image/jls; transfer-syntax=1.2.840.10008.1.2.4.50'));
  assert.deepEqual(reasonsIn(syntax.dataSet, '00081198'), [0xa900]);
  for (const [body, type] of [
    [frame.subarray(0, -30), 'image/jls'],
    [frame, 'image/jpeg'],
    [Buffer.from('no picture'), 'image/jp2'],
    [Buffer.alloc(0), 'image/jpeg'],
  ] as const) {
    const answer = await send(metadata(), bulkPart('pixels', body, type));
    assert.deepEqual([answer.status, ...reasonsIn(answer.dataSet, '00081198')], [409, 0xc000], type);
  }
  const unknown = await send(metadata(), bulkPart('pixels', frame, 'image/tiff'));
  assert.deepEqual(reasonsIn(unknown.dataSet, '00081198'), [0x0110]);
});

test('STOW-29: RLE frames and bytes in a compressed transfer syntax need their attributes and go in unchanged', async () => {
  const frame = await encodeFrame({ bytes: grey, layout: GREY }, '1.2.840.10008.1.2.5');
  const described = {
    '00280002': us(1),
    '00280004': { vr: 'CS', Value: ['MONOCHROME2'] },
    '00280010': us(12),
    '00280011': us(10),
    '00280100': us(16),
    '00280101': us(12),
    '00280102': us(11),
    '00280103': us(0),
  };
  for (const type of [
    'image/dicom-rle',
    'image/x-dicom-rle',
    'application/octet-stream; transfer-syntax=1.2.840.10008.1.2.5',
  ]) {
    const answer = await send(metadata(described), bulkPart('pixels', frame, type));
    assert.equal((await copyOf(answer)).head.transferSyntaxUID, '1.2.840.10008.1.2.5');
    assert.deepEqual((await decodeFrame(await frameOf(answer), GREY, '1.2.840.10008.1.2.5')).bytes, grey);
  }
  const bare = await send(metadata(), bulkPart('pixels', frame, 'image/dicom-rle'));
  assert.deepEqual([bare.status, ...reasonsIn(bare.dataSet, '00081198')], [409, 0xa900]);
});

/** PNG (section 5) with one IDAT; samples of more than 8 bits are big endian there. */
function png(
  columns: number,
  rows: number,
  depth: 8 | 16,
  colourType: 0 | 2 | 3 | 4 | 6,
  samples: Buffer,
  palette?: Buffer,
): Buffer {
  const chunk = (type: string, content: Buffer): Buffer => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), content]);
    const edges = Buffer.alloc(8);
    edges.writeUInt32BE(content.length, 0);
    edges.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([edges.subarray(0, 4), body, edges.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(columns, 0);
  header.writeUInt32BE(rows, 4);
  header.set([depth, colourType], 8);
  const line = samples.length / rows;
  const lines = Array.from({ length: rows }, (_, row) =>
    Buffer.concat([Buffer.alloc(1), samples.subarray(row * line, (row + 1) * line)]),
  );
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    ...(palette === undefined ? [] : [chunk('PLTE', palette)]),
    chunk('IDAT', deflateSync(Buffer.concat(lines))),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

test('STOW-30: PNG of 8 and 16 bits, grey, colour, with palette and alpha, becomes its samples in Explicit VR Little Endian', async () => {
  const alpha = Buffer.concat(
    Array.from({ length: 120 }, (_, at) => Buffer.concat([colour.subarray(3 * at, 3 * at + 3), Buffer.from([at])])),
  );
  const palette = Buffer.from([0, 0, 0, 10, 20, 30, 250, 240, 230]);
  const indices = Buffer.from(Array.from({ length: 120 }, (_, at) => at % 3));
  const looked = Buffer.concat([...indices].map((index) => palette.subarray(3 * index, 3 * index + 3)));
  for (const [name, picture, bits, samples, expected] of [
    ['16 bits grey', png(10, 12, 16, 0, Buffer.from(grey).swap16()), 16, 1, grey],
    ['8 bits grey', png(10, 12, 8, 0, colour.subarray(0, 120)), 8, 1, colour.subarray(0, 120)],
    ['8 bits colour', png(10, 12, 8, 2, colour), 8, 3, colour],
    ['alpha', png(10, 12, 8, 6, alpha), 8, 3, colour],
    ['palette', png(10, 12, 8, 3, indices, palette), 8, 3, looked],
  ] as const) {
    const answer = await send(metadata(), bulkPart('pixels', picture, 'image/png'));
    const { head } = await copyOf(answer);
    assert.equal(head.transferSyntaxUID, '1.2.840.10008.1.2.1', name);
    assert.deepEqual(
      [0x00280002, 0x00280010, 0x00280011, 0x00280100].map((tag) => numberValue(head.dataSet, tag)),
      [samples, 12, 10, bits],
      name,
    );
    assert.equal(asciiValue(head.dataSet, 0x00280004), samples === 1 ? 'MONOCHROME2' : 'RGB');
    assert.deepEqual(await frameOf(answer), Buffer.from(expected), name);
  }
  const other = await send(
    metadata({ '00280010': us(13) }),
    bulkPart('pixels', png(10, 12, 8, 2, colour), 'image/png'),
  );
  assert.deepEqual([other.status, ...reasonsIn(other.dataSet, '00081198')], [409, 0xa900]);
  const broken = await send(metadata(), bulkPart('pixels', png(10, 12, 8, 2, colour).subarray(0, -60), 'image/png'));
  assert.deepEqual([broken.status, ...reasonsIn(broken.dataSet, '00081198')], [409, 0xc000]);
  // A header that promises what nobody has the memory for.
  const bomb = await send(
    metadata(),
    bulkPart(
      'pixels',
      png(60_000, 1, 8, 2, Buffer.alloc(180_000)).map((byte, at) => (at === 22 ? 0xea : byte)) as Buffer,
      'image/png',
    ),
  );
  assert.equal(bomb.status, 409);
});

test('STOW-31: a moving GIF becomes a multi-frame image', async () => {
  const pictures = [colour, Buffer.from(colour).fill(40, 0, 90)].map(
    (bytes) => ({ bytes, columns: 10, rows: 12, channels: 3 }) as const,
  );
  const gif = await encodePictures(pictures, { ...JPEG_FORM, type: 'image/gif' });
  const answer = await send(metadata(), bulkPart('pixels', gif, 'image/gif'));
  const { head } = await copyOf(answer);
  assert.equal(numberValue(head.dataSet, 0x00280008), 2);
  assert.equal(head.pixelData?.lengthBytes, 720);
  const [first, second] = [await frameOf(answer, 1), await frameOf(answer, 2)];
  assert.ok(first.length === 360 && second.length === 360 && !first.equals(second));
});

test('STOW-32: uncompressed bulk data has the length that the attributes make, and cannot do without them', async () => {
  const described = {
    '00280002': us(1),
    '00280010': us(12),
    '00280011': us(10),
    '00280100': us(16),
    '00280101': us(12),
    '00280102': us(11),
    '00280103': us(0),
  };
  assert.equal((await send(metadata(described), bulkPart('pixels', grey))).status, 200);
  assert.equal(
    (
      await send(
        metadata(described),
        bulkPart('pixels', grey, 'application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1'),
      )
    ).status,
    200,
  );
  for (const [json, bytes] of [
    [metadata(described), grey.subarray(2)],
    [metadata(described), Buffer.concat([grey, grey])],
    [metadata(), grey],
  ] as const) {
    const answer = await send(json, bulkPart('pixels', bytes));
    assert.deepEqual([answer.status, ...reasonsIn(answer.dataSet, '00081198')], [409, 0xa900]);
  }
  const bigEndian = await send(
    metadata(described),
    bulkPart('pixels', grey, 'application/octet-stream; transfer-syntax=1.2.840.10008.1.2.2'),
  );
  assert.deepEqual(reasonsIn(bigEndian.dataSet, '00081198'), [0xc122]);
});

/** The object that was sealed last. */
async function held(answer: Answer): Promise<Identified> {
  assert.equal(answer.status, 202, answer.text);
  assert.deepEqual(itemsIn(answer.dataSet, '00081199')[0]?.['00081196'], { vr: 'US', Value: [0xb000] });
  const uid = String(itemsIn(answer.dataSet, '00081199')[0]?.['00081155']?.Value?.[0]);
  for (const { id } of listHeld(door.gateway.quarantine, 100)) {
    const chunks: Buffer[] = [];
    for await (const chunk of await unseal(door.gateway.quarantine, id)) chunks.push(chunk);
    const object = await readObject(Buffer.concat(chunks));
    if (asciiValue(object.head.dataSet, 0x00080018) === uid) return object;
  }
  throw new Error('nothing is held under this UID');
}

test('STOW-33: a document becomes an encapsulated one with its MIME type and length, and waits for a person', async () => {
  const pdf = Buffer.from('%PDF-1.4\n1 0 obj\n%%EOF');
  const encapsulated = (more: Record<string, unknown> = {}): JsonDataSet => {
    const { '7FE00010': _pixels, ...json } = metadata({
      '00080016': { vr: 'UI', Value: ['1.2.840.10008.5.1.4.1.1.104.1'] },
      '00420011': { vr: 'OB', BulkDataURI: 'document' },
      ...more,
    });
    return json;
  };
  const { head } = await held(await send(encapsulated(), bulkPart('document', pdf, 'application/pdf')));
  const document = findElement(head.dataSet, 0x00420011);
  assert.ok(document !== undefined);
  assert.deepEqual(valueBytes(head.dataSet, document).subarray(0, pdf.length), pdf);
  assert.equal(asciiValue(head.dataSet, 0x00420012), 'application/pdf');
  assert.equal(numberValue(head.dataSet, 0x00420015), pdf.length);
  const cda = await send(
    encapsulated({ '00080016': { vr: 'UI', Value: ['1.2.840.10008.5.1.4.1.1.104.2'] } }),
    bulkPart('document', Buffer.from('<ClinicalDocument/>'), 'text/xml'),
  );
  assert.equal(asciiValue((await held(cda)).head.dataSet, 0x00420012), 'text/XML');
  for (const [json, type] of [
    [encapsulated(), 'model/stl'],
    [encapsulated({ '00420012': { vr: 'LO', Value: ['text/plain'] } }), 'application/pdf'],
    [encapsulated({ '00420015': { vr: 'UL', Value: [7] } }), 'application/pdf'],
  ] as const) {
    const answer = await send(json, bulkPart('document', pdf, type));
    assert.deepEqual([answer.status, ...reasonsIn(answer.dataSet, '00081198')], [409, 0xa900], type);
  }
});

/** Boxes of ISO/IEC 14496-12. */
const box = (type: string, ...content: readonly Buffer[]): Buffer => {
  const body = Buffer.concat(content);
  const header = Buffer.alloc(8);
  header.writeUInt32BE(8 + body.length);
  header.write(type, 4, 'latin1');
  return Buffer.concat([header, body]);
};
function mp4(entry: string, configuration: Buffer, frames: number): Buffer {
  const visual = Buffer.alloc(78);
  visual.writeUInt16BE(1280, 24);
  visual.writeUInt16BE(720, 26);
  const sizes = Buffer.alloc(12);
  sizes.writeUInt32BE(frames, 8);
  const handler = Buffer.alloc(24);
  handler.write('vide', 8, 'latin1');
  const table = box(
    'stbl',
    box('stsd', Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]), box(entry, visual, configuration)),
    box('stsz', sizes),
  );
  return Buffer.concat([
    box('ftyp', Buffer.from('isom')),
    box('mdat', Buffer.alloc(5000, 1)),
    box('moov', box('trak', box('mdia', box('hdlr', handler), box('minf', table)))),
  ]);
}

test('STOW-34: video goes in unchanged, described by its own headers, and waits for a person', async () => {
  const photograph = { '00080016': { vr: 'UI', Value: ['1.2.840.10008.5.1.4.1.1.77.1.4.1'] } };
  const mpeg = Buffer.concat([
    Buffer.from([0, 0, 1, 0xb3, 0x2d, 0x02, 0x40, 0x33, 0, 0, 0, 0]),
    ...Array.from({ length: 4 }, () => Buffer.from([0, 0, 1, 0, 0, 0x0f, 9, 9])),
  ]);
  for (const [type, video, uid, expected] of [
    [
      'video/mp4',
      mp4('avc1', box('avcC', Buffer.from([1, 100, 0, 41, 0xff])), 25),
      '1.2.840.10008.1.2.4.102',
      [720, 1280, 25, 8],
    ],
    [
      'video/H265',
      mp4('hvc1', box('hvcC', Buffer.from([1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 153, 0])), 7),
      '1.2.840.10008.1.2.4.108',
      [720, 1280, 7, 10],
    ],
    ['video/mpeg', mpeg, '1.2.840.10008.1.2.4.100', [576, 720, 4, 8]],
  ] as const) {
    const { head, body } = await held(await send(metadata(photograph), bulkPart('pixels', video, type)));
    assert.equal(head.transferSyntaxUID, uid);
    assert.deepEqual(
      [0x00280010, 0x00280011, 0x00280008, 0x00280101].map((tag) => numberValue(head.dataSet, tag)),
      expected,
      type,
    );
    assert.equal(asciiValue(head.dataSet, 0x00280004), 'YBR_PARTIAL_420');
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(chunk);
    assert.deepEqual(Buffer.concat(chunks).subarray(16, 16 + video.length), video);
  }
  const none = await send(metadata(photograph), bulkPart('pixels', Buffer.alloc(100, 5), 'video/mp4'));
  assert.deepEqual([none.status, ...reasonsIn(none.dataSet, '00081198')], [409, 0xc000]);
});
