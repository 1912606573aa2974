/** The pixel data's value on its way out, in bounded memory: byte order turned round, compressed frames cleaned of their comments. */
import { Refusal } from '../dicom/refusal.ts';
import type { Head } from '../dicom/object.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../dicom/transfer-syntax.ts';
import { VR_TRAITS } from '../dicom/vr.ts';
import { swapWords } from '../dicom/writer.ts';
import { codestreamCleaner, codestreamKind, type CodestreamCleaner, type CodestreamKind } from './codestream.ts';

export interface BodyPlan {
  /** Of the output. */
  readonly transferSyntaxUID: string;
  /** undefined: encapsulated. */
  readonly lengthBytes: number | undefined;
  readonly kind: CodestreamKind | 'native';
  /** Bytes of one number to turn round; 1: as it is. */
  readonly wordBytes: 1 | 2 | 4 | 8;
}

/** @throws Refusal Quarantined when the compressed form cannot be cleaned */
export function planBody(head: Head, bitsAllocated: number | undefined): BodyPlan {
  const { pixelData, transferSyntaxUID } = head;
  const syntax = transferSyntax(transferSyntaxUID);
  if (syntax?.referenced === true)
    throw new Refusal('Quarantined', 'the pixel data lies elsewhere (PS3.5 A.6) and cannot be cleaned');
  const native = nativePlan(pixelData?.lengthBytes ?? 0);
  if (pixelData === undefined) return native;
  if (syntax?.encapsulated === true) {
    const kind = codestreamKind(transferSyntaxUID);
    if (kind === undefined)
      throw new Refusal('Quarantined', 'frames of this transfer syntax may hold text and cannot be cleaned');
    if (pixelData.lengthBytes !== undefined)
      throw new Refusal(
        'Quarantined',
        'Pixel Data (7FE0,0010) has a defined length in an encapsulated transfer syntax (PS3.5 A.4)',
      );
    return { transferSyntaxUID, lengthBytes: undefined, kind, wordBytes: 1 };
  }
  if (head.dataSet.encoding !== 'explicit-be') return native;
  const { wordBytes } = VR_TRAITS[pixelData.vr];
  // Samples of 32 bits in OW are written by all known writers in big endian as a whole, not as two words.
  const sampleBytes = pixelData.vr === 'OW' && bitsAllocated === 32 ? 4 : wordBytes;
  return { ...native, wordBytes: sampleBytes };
}

export function nativePlan(lengthBytes: number): BodyPlan {
  return { transferSyntaxUID: EXPLICIT_VR_LITTLE_ENDIAN, lengthBytes, kind: 'native', wordBytes: 1 };
}

export function cleanBody(body: AsyncIterable<Buffer>, plan: BodyPlan): AsyncIterable<Buffer> {
  if (plan.kind !== 'native') return cleanFragments(body, codestreamCleaner(plan.kind));
  if (plan.wordBytes === 1 && (plan.lengthBytes ?? 0) % 2 === 0) return body;
  return turnedRound(body, plan.wordBytes);
}

/** Little endian and of even length. */
async function* turnedRound(body: AsyncIterable<Buffer>, wordBytes: 1 | 2 | 4 | 8): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    // The bytes are the sender's, perhaps still wanted elsewhere: never changed in place.
    const bytes = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    const whole = bytes.length - (bytes.length % wordBytes);
    rest = bytes.subarray(whole);
    if (whole > 0) yield swapWords(bytes.subarray(0, whole), wordBytes);
  }
  if (rest.length > 0) yield rest;
  if (length % 2 === 1) yield Buffer.alloc(1);
}

const MAX_OFFSET_TABLE_BYTES = 64 * 2 ** 20;
const EMPTY_OFFSET_TABLE = Buffer.from([0xfe, 0xff, 0x00, 0xe0, 0, 0, 0, 0]);

/** Items of encapsulated pixel data (PS3.5 A.4): the offset table when it is one, then fragments, then the delimitation. */
async function* cleanFragments(body: AsyncIterable<Buffer>, cleaner: CodestreamCleaner): AsyncGenerator<Buffer> {
  const header = Buffer.alloc(8);
  let headerBytes = 0;
  let left = 0;
  let items = 0;
  let table: Buffer[] | undefined;
  for await (const chunk of body) {
    let at = 0;
    while (at < chunk.length) {
      if (left > 0) {
        const piece = chunk.subarray(at, at + Math.min(left, chunk.length - at));
        at += piece.length;
        left -= piece.length;
        if (table === undefined) yield cleaner.clean(piece);
        else {
          table.push(piece);
          if (left === 0) {
            yield* offsetTable(header, Buffer.concat(table));
            table = undefined;
          }
        }
        continue;
      }
      const step = Math.min(8 - headerBytes, chunk.length - at);
      chunk.copy(header, headerBytes, at, at + step);
      headerBytes += step;
      at += step;
      if (headerBytes < 8) continue;
      headerBytes = 0;
      left = header.readUInt32LE(0) === 0xe000fffe ? header.readUInt32LE(4) : 0;
      items++;
      if (items === 1 && left > 0) {
        if (left > MAX_OFFSET_TABLE_BYTES)
          throw new Refusal('TooLarge', `the basic offset table is longer than ${MAX_OFFSET_TABLE_BYTES} bytes`);
        table = [];
        continue;
      }
      yield Buffer.from(header);
      if (items > 1) cleaner.beginFragment();
    }
  }
}

/** An offset table is ascending numbers from 0; what is none may be text, and an empty table is always allowed. */
function* offsetTable(header: Buffer, table: Buffer): Generator<Buffer> {
  if (isOffsetTable(table, 4)) {
    yield Buffer.from(header);
    yield table;
    return;
  }
  // Some writers leave the table out: what would be dropped in its place is a frame.
  if (beginsFrame(table))
    throw new Refusal(
      'Quarantined',
      'the first item of Pixel Data (7FE0,0010) is a frame, no offset table (PS3.5 A.4)',
    );
  yield EMPTY_OFFSET_TABLE;
}

/** A marker of JPEG, JPEG-LS or JPEG 2000, or the header of an RLE frame with its first segment at byte 64 (PS3.5 G.5). */
function beginsFrame(item: Buffer): boolean {
  if (item[0] === 0xff && (item[1] === 0xd8 || item[1] === 0x4f)) return true;
  return item.length >= 64 && item.readUInt32LE(0) >= 1 && item.readUInt32LE(0) <= 15 && item.readUInt32LE(4) === 64;
}

export function isOffsetTable(table: Buffer, bytesPerOffset: 4 | 8): boolean {
  if (table.length % bytesPerOffset !== 0) return false;
  let last = -1;
  for (let at = 0; at < table.length; at += bytesPerOffset) {
    const offset = bytesPerOffset === 4 ? table.readUInt32LE(at) : Number(table.readBigUInt64LE(at));
    if (offset <= last || (at === 0 && offset !== 0)) return false;
    last = offset;
  }
  return true;
}
