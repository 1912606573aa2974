/** The bits of an entropy-coded segment (ITU-T T.81 F.1.2.3, B.1.1.5): read up to a marker, written with stuffed bytes. */
import type { DecodingTable } from './huffman.ts';
import { unusable } from './image.ts';

export interface BitReader {
  readonly bytes: Buffer;
  at: number;
  held: number;
  bits: number;
}

export function openReader(bytes: Buffer, at: number): BitReader {
  return { bytes, at, held: 0, bits: 0 };
}

/** Up to 16 bits that follow, zeros where a marker comes first. */
function peek16(reader: BitReader): number {
  while (reader.bits < 16) {
    const byte = reader.bytes[reader.at] ?? 0;
    if (byte === 0xff) {
      if (reader.bytes[reader.at + 1] === 0) reader.at += 2;
      else {
        // Before a marker the last byte is filled with ones; a decoder that asks for more finds nothing.
        return ((reader.held << (16 - reader.bits)) | (0xffff >>> reader.bits)) & 0xffff;
      }
    } else reader.at += 1;
    reader.held = ((reader.held << 8) | byte) & 0xffffff;
    reader.bits += 8;
  }
  return (reader.held >>> (reader.bits - 16)) & 0xffff;
}

function skip(reader: BitReader, count: number): void {
  if (count > reader.bits) throw unusable('the entropy-coded data of the JPEG ends early');
  reader.bits -= count;
  reader.held &= (1 << reader.bits) - 1;
}

export function readBits(reader: BitReader, count: number): number {
  if (count === 0) return 0;
  const value = peek16(reader) >>> (16 - count);
  skip(reader, count);
  return value;
}

export function readSymbol(reader: BitReader, table: DecodingTable): number {
  const entry = table[peek16(reader)] ?? 0;
  if (entry === 0) throw unusable('the entropy-coded data of the JPEG has a code that no table has');
  skip(reader, entry & 0xff);
  return entry >> 8;
}

export function readRestart(reader: BitReader): void {
  reader.bits = 0;
  reader.held = 0;
  while (reader.bytes[reader.at] === 0xff && reader.bytes[reader.at + 1] === 0xff) reader.at++;
  const code = reader.bytes[reader.at + 1] ?? 0;
  if (reader.bytes[reader.at] !== 0xff || code < 0xd0 || code > 0xd7)
    throw unusable('a restart marker of the JPEG is missing');
  reader.at += 2;
}

interface BitWriter {
  /** @param entry of an EncodingTable, then `size` additional bits */
  code(entry: number, bits: number, size: number): void;
  /** Fills the last byte with ones (T.81 F.1.2.3). */
  flush(): void;
  marker(code: number): void;
  bytes(): Buffer;
}

export function openWriter(capacity: number): BitWriter {
  let bytes = Buffer.allocUnsafe(capacity);
  let [at, held, bits] = [0, 0, 0];
  const put = (value: number, count: number): void => {
    held = (held << count) | value;
    bits += count;
    if (at + 8 > bytes.length) bytes = Buffer.concat([bytes, Buffer.allocUnsafe(bytes.length)]);
    while (bits >= 8) {
      const byte = (held >>> (bits - 8)) & 0xff;
      bytes[at++] = byte;
      if (byte === 0xff) bytes[at++] = 0;
      bits -= 8;
    }
    held &= (1 << bits) - 1;
  };
  return {
    code(entry, additional, size) {
      if (entry === 0) throw new Error('a symbol of the scan has no code');
      put(entry >>> 5, entry & 31);
      if (size > 0) put(additional, size);
    },
    flush() {
      if (bits > 0) put((1 << (8 - bits)) - 1, 8 - bits);
    },
    marker(code) {
      if (at + 2 > bytes.length) bytes = Buffer.concat([bytes, Buffer.allocUnsafe(16)]);
      bytes[at++] = 0xff;
      bytes[at++] = code;
    },
    bytes: () => bytes.subarray(0, at),
  };
}
