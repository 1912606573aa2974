/**
 * The records of a pack: POSIX ustar (IEEE Std 1003.1-2017, pax utility), one regular file per instance.
 * What an index needs to be rebuilt stands where every tar carries it along unread: the owner's name says whether the object is derived
 * and which record it is, the group's name its CRC-32, the name of a link that it is not the digest of what it was made of. A pack ends after its last record; the two empty blocks
 * that a finished tar has are left out, since a pack may grow.
 */
import { Refusal } from '../dicom/refusal.ts';

export const BLOCK_BYTES = 512;

export interface TarRecord {
  /** `<study>/<series>/<sop>.dcm`. */
  readonly path: string;
  readonly lengthBytes: number;
  /** Of the file's bytes, as zlib's crc32. */
  readonly crc: number;
  /** Ascending with every record that an archive writes: of two with one SOP Instance UID the higher is in force. */
  readonly sequence: number;
  readonly derived: boolean;
  /** A keyed digest of what it was made of (`Source`), where that is known. */
  readonly source: string | undefined;
  readonly storedAt: Date;
}

/** Padding that follows a file's bytes. */
export function paddingBytes(lengthBytes: number): number {
  return (BLOCK_BYTES - (lengthBytes % BLOCK_BYTES)) % BLOCK_BYTES;
}

/** Header, file and padding together. */
export function recordBytes(lengthBytes: number): number {
  return BLOCK_BYTES + lengthBytes + paddingBytes(lengthBytes);
}

export function formatRecordHeader(record: TarRecord): Buffer {
  const header = emptyHeader();
  const slash = record.path.lastIndexOf('/');
  // Three UIDs of 64 characters just fit: prefix 155, name 100.
  header.write(record.path.slice(slash + 1), 0, 100, 'latin1');
  header.write(record.path.slice(0, Math.max(slash, 0)), 345, 155, 'latin1');
  header.write(formatNumber(record.lengthBytes, 12), 124, 12, 'latin1');
  header.write(formatNumber(Math.floor(record.storedAt.getTime() / 1000), 12), 136, 12, 'latin1');
  header.write('0', 156, 1, 'latin1');
  if (record.source !== undefined) header.write(`source-${record.source}`, 157, 99, 'latin1');
  header.write(`${record.derived ? 'derived' : 'stored'}-${record.sequence}`, 265, 31, 'latin1');
  header.write(`crc32-${record.crc.toString(16).padStart(8, '0')}`, 297, 31, 'latin1');
  return sealed(header);
}

/** A pack's first record: a comment in a pax global header, which every tar steps over. */
export function formatComment(comment: string): Buffer {
  const entry = paxEntry('comment', comment);
  const header = emptyHeader();
  header.write('pax_global_header', 0, 100, 'latin1');
  header.write(formatNumber(entry.length, 12), 124, 12, 'latin1');
  header.write(formatNumber(0, 12), 136, 12, 'latin1');
  header.write('g', 156, 1, 'latin1');
  return Buffer.concat([sealed(header), entry, Buffer.alloc(paddingBytes(entry.length))]);
}

export type Entry =
  { readonly kind: 'record'; readonly record: TarRecord } | { readonly kind: 'comment'; readonly lengthBytes: number };

/** Undefined for a block that is no header, or whose checksum is wrong. */
export function parseHeader(block: Buffer): Entry | undefined {
  if (block.length < BLOCK_BYTES || block.toString('latin1', 257, 262) !== 'ustar') return undefined;
  if (parseNumber(block, 148, 8) !== checksum(block)) return undefined;
  const lengthBytes = parseNumber(block, 124, 12);
  const type = block.toString('latin1', 156, 157);
  if (lengthBytes === undefined) return undefined;
  if (type === 'g') return { kind: 'comment', lengthBytes };
  const owner = /^(stored|derived)-(\d{1,15})$/.exec(textAt(block, 265, 32));
  const crc = /^crc32-([0-9a-f]{8})$/.exec(textAt(block, 297, 32));
  if (type !== '0' || owner === null || crc === null) return undefined;
  return {
    kind: 'record',
    record: {
      path: `${textAt(block, 345, 155)}/${textAt(block, 0, 100)}`,
      lengthBytes,
      crc: Number.parseInt(crc[1] ?? '', 16),
      sequence: Number(owner[2]),
      derived: owner[1] === 'derived',
      source: /^source-([0-9a-f]{32})$/.exec(textAt(block, 157, 100))?.[1],
      storedAt: new Date((parseNumber(block, 136, 12) ?? 0) * 1000),
    },
  };
}

/** The comment of a pack, from the bytes behind its header. */
export function parseComment(bytes: Buffer): string | undefined {
  return /^\d+ comment=([^\n]*)\n/.exec(bytes.toString('utf8'))?.[1];
}

function emptyHeader(): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES);
  header.write('0000640\0', 100, 8, 'latin1');
  header.write('0000000\0', 108, 8, 'latin1');
  header.write('0000000\0', 116, 8, 'latin1');
  header.write('ustar\x0000', 257, 8, 'latin1');
  header.write('0000000\0', 329, 8, 'latin1');
  header.write('0000000\0', 337, 8, 'latin1');
  return header;
}

function sealed(header: Buffer): Buffer {
  header.write(`${checksum(header).toString(8).padStart(6, '0')}\0 `, 148, 8, 'latin1');
  return header;
}

/** The sum of all bytes, those of the checksum itself counted as blanks. */
function checksum(header: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < BLOCK_BYTES; at++) if (at < 148 || at >= 156) sum += header[at] ?? 0;
  return sum;
}

function formatNumber(value: number, width: number): string {
  const digits = value.toString(8).padStart(width - 1, '0');
  if (digits.length > width - 1) throw new Refusal('TooLarge', `${value} bytes are more than a tar record may have`);
  return `${digits}\0`;
}

function parseNumber(block: Buffer, start: number, width: number): number | undefined {
  const digits = /^[ 0]*([0-7]*)[ \0]*$/.exec(block.toString('latin1', start, start + width));
  return digits === null ? undefined : Number.parseInt(digits[1] || '0', 8);
}

function textAt(block: Buffer, start: number, width: number): string {
  const text = block.toString('latin1', start, start + width);
  const end = text.indexOf('\0');
  return end === -1 ? text : text.slice(0, end);
}

/** `<length> <key>=<value>\n`, the length counting its own digits. */
function paxEntry(key: string, value: string): Buffer {
  const rest = Buffer.from(` ${key}=${value.replaceAll('\n', ' ')}\n`, 'utf8');
  let length = rest.length + 1;
  while (`${length}`.length + rest.length !== length) length = `${length}`.length + rest.length;
  return Buffer.concat([Buffer.from(`${length}`, 'latin1'), rest]);
}
