/**
 * Instances as a zip archive of Part 10 files, for people: an extension to PS3.18. Nothing is compressed or computed: lengths and
 * checksums are those that the archive keeps, so that the whole length is known before the first byte (APPNOTE.TXT 6.3, with zip64).
 */
import { readInstance, type InstanceRow } from '../archive/instances.ts';
import { Refusal } from '../dicom/refusal.ts';
import { transferSyntaxes } from '../dicom/transfer-syntax.ts';
import { fingerprintOf, isUnchanged } from './conditional.ts';
import { negotiate, type Exchange } from './exchange.ts';
import type { Offer } from './media-type.ts';
import { sendPieces } from './sink.ts';
import { scopedInstances } from './wado.ts';

/** Objects as they are stored, whether that is asked for or not. */
const ZIP: Offer = { multipart: false, type: 'application/zip', syntaxes: [{ uid: '*', answers: ['default'] }] };
const ANY_SYNTAX = [{ uid: '*', answers: ['default', ...[...transferSyntaxes()].map(({ uid }) => uid)] }];
const OBJECTS: readonly Offer[] = [true, false].map((multipart) => ({
  multipart,
  type: 'application/dicom',
  syntaxes: ANY_SYNTAX,
}));

/** The same resource as a zip archive where that is what the caller likes best. */
export function orZip(otherwise: (exchange: Exchange) => Promise<void>): (exchange: Exchange) => Promise<void> {
  return async (exchange) => {
    if (!prefersZip(exchange)) return otherwise(exchange);
    await sendZip(exchange, scopedInstances(exchange));
  };
}

function prefersZip(exchange: Exchange): boolean {
  try {
    return negotiate(exchange, [...OBJECTS, ZIP]).offer === ZIP;
  } catch (error) {
    // Neither: the resource itself says what there is.
    if (error instanceof Refusal) return false;
    throw error;
  }
}

async function sendZip(exchange: Exchange, instances: readonly InstanceRow[]): Promise<void> {
  const { request, response, gateway } = exchange;
  if (isUnchanged(exchange, fingerprintOf(instances, 'zip'))) return;
  const entries = layOut(instances);
  const directory = Buffer.concat(entries.map(directoryEntry));
  const start = entries.reduce((sum, entry) => sum + entry.header.length + entry.instance.lengthBytes, 0);
  const end = endRecords(entries.length, start, directory.length);
  response.statusCode = 200;
  response.setHeader('Content-Type', ZIP.type);
  response.setHeader('Content-Disposition', 'attachment; filename="dicom.zip"');
  response.setHeader('Content-Length', start + directory.length + end.length);
  if (request.method === 'HEAD') {
    response.end();
    return;
  }
  await sendPieces(response, async function* ({ lend }) {
    for (const { header, instance } of entries) {
      yield [header];
      for await (const chunk of readInstance(gateway.archive, instance, lend)) yield [chunk];
    }
    yield [directory, end];
  });
}

interface Entry {
  readonly instance: InstanceRow;
  readonly name: Buffer;
  readonly offset: number;
  readonly header: Buffer;
}

const MOST_32 = 0xffffffff;
const MOST_16 = 0xffff;
/** 1980-01-01, the first day that a zip archive knows: files bear no time. */
const NO_DATE = 0x21;

function layOut(instances: readonly InstanceRow[]): Entry[] {
  let offset = 0;
  return instances.map((instance) => {
    const { studyInstanceUID, seriesInstanceUID, sopInstanceUID } = instance;
    const name = Buffer.from(`${studyInstanceUID}/${seriesInstanceUID}/${sopInstanceUID}.dcm`);
    const header = localHeader(instance, name);
    const entry = { instance, name, offset, header };
    offset += header.length + instance.lengthBytes;
    return entry;
  });
}

function localHeader({ lengthBytes, crc }: InstanceRow, name: Buffer): Buffer {
  const large = lengthBytes >= MOST_32;
  const extra = large ? zip64Extra([lengthBytes, lengthBytes]) : Buffer.alloc(0);
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  writeCommon(header, 4, { crc, lengthBytes, large });
  header.writeUInt16LE(name.length, 26);
  header.writeUInt16LE(extra.length, 28);
  return Buffer.concat([header, name, extra]);
}

/** What local header and directory have alike: version needed, flags, method, time, checksum, lengths. */
function writeCommon(
  header: Buffer,
  at: number,
  { crc, lengthBytes, large }: { crc: number; lengthBytes: number; large: boolean },
): void {
  header.writeUInt16LE(large ? 45 : 20, at);
  // Names are UTF-8.
  header.writeUInt16LE(0x0800, at + 2);
  header.writeUInt16LE(NO_DATE, at + 8);
  header.writeUInt32LE(crc, at + 10);
  header.writeUInt32LE(large ? MOST_32 : lengthBytes, at + 14);
  header.writeUInt32LE(large ? MOST_32 : lengthBytes, at + 18);
}

function directoryEntry({ instance, name, offset }: Entry): Buffer {
  const { lengthBytes, crc } = instance;
  const large = lengthBytes >= MOST_32;
  const far = offset >= MOST_32;
  const numbers = [...(large ? [lengthBytes, lengthBytes] : []), ...(far ? [offset] : [])];
  const extra = numbers.length === 0 ? Buffer.alloc(0) : zip64Extra(numbers);
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50, 0);
  entry.writeUInt16LE(45, 4);
  writeCommon(entry, 6, { crc, lengthBytes, large });
  if (far) entry.writeUInt16LE(45, 6);
  entry.writeUInt16LE(name.length, 28);
  entry.writeUInt16LE(extra.length, 30);
  entry.writeUInt32LE(far ? MOST_32 : offset, 42);
  return Buffer.concat([entry, name, extra]);
}

function zip64Extra(numbers: readonly number[]): Buffer {
  const extra = Buffer.alloc(4 + numbers.length * 8);
  extra.writeUInt16LE(1, 0);
  extra.writeUInt16LE(numbers.length * 8, 2);
  numbers.forEach((number, index) => extra.writeBigUInt64LE(BigInt(number), 4 + index * 8));
  return extra;
}

export function endRecords(entries: number, directoryStart: number, directoryBytes: number): Buffer {
  const large = entries >= MOST_16 || directoryStart >= MOST_32 || directoryBytes >= MOST_32;
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Math.min(entries, MOST_16), 8);
  end.writeUInt16LE(Math.min(entries, MOST_16), 10);
  end.writeUInt32LE(Math.min(directoryBytes, MOST_32), 12);
  end.writeUInt32LE(Math.min(directoryStart, MOST_32), 16);
  if (!large) return end;
  const record = Buffer.alloc(56 + 20);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(44n, 4);
  record.writeUInt16LE(45, 12);
  record.writeUInt16LE(45, 14);
  for (const at of [24, 32]) record.writeBigUInt64LE(BigInt(entries), at);
  record.writeBigUInt64LE(BigInt(directoryBytes), 40);
  record.writeBigUInt64LE(BigInt(directoryStart), 48);
  record.writeUInt32LE(0x07064b50, 56);
  record.writeBigUInt64LE(BigInt(directoryStart + directoryBytes), 64);
  record.writeUInt32LE(1, 72);
  return Buffer.concat([record, end]);
}
