/**
 * What a video says of itself: MPEG-2 by its sequence header (ITU-T H.262 6.2.2.1), H.264 and H.265 by the boxes of the MP4 file around
 * them (ISO/IEC 14496-12, -15). The transfer syntax follows from profile and level (PS3.5 8.2.5 to 8.2.8).
 */
import type { StreamImage } from '../codecs/recognise.ts';
import { Refusal } from '../dicom/refusal.ts';

export interface Video {
  /** The one it is, then others of its profile. */
  readonly transferSyntaxUIDs: readonly string[];
  readonly image: StreamImage;
  /** Undefined where only the whole stream would tell. */
  readonly frames: number | undefined;
}

const MPEG = '1.2.840.10008.1.2.4.';
const FIRST_BYTES = 2 ** 20;
const MOST_MOOV_BYTES = 64 * 2 ** 20;
const SEQUENCE_HEADER = Buffer.from([0, 0, 1, 0xb3]);
const PICTURE_START = Buffer.from([0, 0, 1, 0]);

/** @throws Refusal CannotUnderstand when the video does not say what it is */
export async function readVideo(
  mediaType: string,
  lengthBytes: number,
  range: (from: number, to: number) => Promise<Buffer>,
  all: () => AsyncIterable<Buffer>,
): Promise<Video> {
  const start = await range(0, FIRST_BYTES);
  if (mediaType === 'video/mpeg' || mediaType === 'video/mpeg2') return mpeg2(start, await countPictures(all()));
  if (['video/mp4', 'video/h264', 'video/h265'].includes(mediaType.toLowerCase()))
    return mp4(await movieBox(lengthBytes, range));
  throw new Refusal('UnsupportedMediaType', 'a video comes as video/mpeg, video/mp4, video/H264 or video/H265');
}

function imageOf(columns: number, rows: number, precision = 8): StreamImage {
  if (rows === 0 || columns === 0) throw unreadable('it has no size');
  return { rows, columns, samplesPerPixel: 3, precision, signed: false, photometricInterpretation: 'YBR_PARTIAL_420' };
}

function unreadable(what: string): Refusal {
  return new Refusal('CannotUnderstand', `bulk data: a video that does not tell what it is: ${what}`);
}

function mpeg2(start: Buffer, frames: number): Video {
  const at = start.indexOf(SEQUENCE_HEADER);
  if (at < 0 || at + 8 > start.length) throw unreadable('no sequence header');
  const columns = ((start[at + 4] ?? 0) << 4) | ((start[at + 5] ?? 0) >> 4);
  const rows = (((start[at + 5] ?? 0) & 0x0f) << 8) | (start[at + 6] ?? 0);
  // Main Level reaches to 720 x 576 (H.262 table 8-11).
  const numbers = columns <= 720 && rows <= 576 ? [100, 101] : [101];
  return {
    transferSyntaxUIDs: numbers.map((number) => `${MPEG}${number}`),
    image: imageOf(columns, rows),
    frames: frames === 0 ? undefined : frames,
  };
}

async function countPictures(source: AsyncIterable<Buffer>): Promise<number> {
  let count = 0;
  let rest = Buffer.alloc(0);
  for await (const chunk of source) {
    const bytes = Buffer.concat([rest, chunk]);
    for (let at = bytes.indexOf(PICTURE_START); at >= 0; at = bytes.indexOf(PICTURE_START, at + 4)) count++;
    rest = bytes.subarray(Math.max(0, bytes.length - 3));
  }
  return count;
}

interface Box {
  readonly type: string;
  readonly content: Buffer;
}

function* boxesIn(bytes: Buffer): Generator<Box> {
  for (let at = 0; at + 8 <= bytes.length;) {
    const length = bytes.readUInt32BE(at);
    const end = length === 0 ? bytes.length : at + length;
    if (length !== 0 && (length < 8 || end > bytes.length)) throw unreadable('a box is longer than what holds it');
    yield { type: bytes.toString('latin1', at + 4, at + 8), content: bytes.subarray(at + 8, end) };
    at = end;
  }
}

function boxIn(bytes: Buffer, ...path: readonly string[]): Buffer | undefined {
  let found: Buffer | undefined = bytes;
  for (const type of path) {
    if (found === undefined) return undefined;
    found = [...boxesIn(found)].find((box) => box.type === type)?.content;
  }
  return found;
}

/** `moov`, before the samples or behind them. */
async function movieBox(lengthBytes: number, range: (from: number, to: number) => Promise<Buffer>): Promise<Buffer> {
  for (let at = 0, boxes = 0; at + 8 <= lengthBytes && boxes < 10_000; boxes++) {
    const header = await range(at, at + 16);
    const short = header.readUInt32BE(0);
    const headerBytes = short === 1 ? 16 : 8;
    if (header.length < headerBytes) break;
    const length = short === 1 ? Number(header.readBigUInt64BE(8)) : short === 0 ? lengthBytes - at : short;
    if (length < headerBytes) break;
    if (header.toString('latin1', 4, 8) === 'moov') {
      if (length > MOST_MOOV_BYTES || at + length > lengthBytes) throw unreadable('its movie box is too long');
      return range(at + headerBytes, at + length);
    }
    at += length;
  }
  throw unreadable('no movie box');
}

function mp4(moov: Buffer): Video {
  for (const { type, content } of boxesIn(moov)) {
    if (type !== 'trak') continue;
    const media = boxIn(content, 'mdia');
    const handler = media === undefined ? undefined : boxIn(media, 'hdlr');
    if (media === undefined || handler?.toString('latin1', 8, 12) !== 'vide') continue;
    const table = boxIn(media, 'minf', 'stbl');
    const entries = table === undefined ? undefined : boxIn(table, 'stsd');
    if (table === undefined || entries === undefined) continue;
    const sizes = boxIn(table, 'stsz');
    const frames = sizes !== undefined && sizes.length >= 12 ? sizes.readUInt32BE(8) : 0;
    return { ...sampleEntry(entries.subarray(8)), frames: frames === 0 ? undefined : frames };
  }
  throw unreadable('no video track');
}

/** The first visual sample entry: 78 bytes, width and height at 24, then boxes (ISO/IEC 14496-12 12.1.3). */
function sampleEntry(entries: Buffer): Omit<Video, 'frames'> {
  const [entry] = boxesIn(entries);
  if (entry === undefined || entry.content.length < 78) throw unreadable('no sample entry');
  const columns = entry.content.readUInt16BE(24);
  const rows = entry.content.readUInt16BE(26);
  const inner = entry.content.subarray(78);
  const avc = boxIn(inner, 'avcC');
  if (avc !== undefined && avc.length >= 4) {
    // High Profile at level 4.1, or 4.2 for 2D and 3D; the BD-compatible form is a restriction that only the sender knows of.
    const numbers = (avc[3] ?? 0) <= 41 ? [102, 103, 104, 105, 106] : [104, 105, 106];
    return { transferSyntaxUIDs: numbers.map((number) => `${MPEG}${number}`), image: imageOf(columns, rows) };
  }
  const hevc = boxIn(inner, 'hvcC');
  if (hevc !== undefined && hevc.length >= 13) {
    const main10 = ((hevc[1] ?? 0) & 0x1f) === 2;
    return { transferSyntaxUIDs: [`${MPEG}${main10 ? 108 : 107}`], image: imageOf(columns, rows, main10 ? 10 : 8) };
  }
  throw unreadable('neither H.264 nor H.265');
}
