/**
 * One gzip member (RFC 1952) out of texts that were deflated before: their streams follow each other, the checksum is worked out from
 * theirs. One member and not several, since browsers stop reading after the first.
 */
import { deflateText, type DeflatedText } from '../archive/metadata.ts';

const HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
/** An empty last block. */
const LAST_BLOCK = Buffer.from([3, 0]);

export const deflated = (text: string): DeflatedText => deflateText(text);

export function* gzipPieces(pieces: Iterable<DeflatedText>): Generator<Buffer, void, undefined> {
  let crc = 0;
  let lengthBytes = 0;
  // With the first piece, so that one packet carries something to read.
  let before: readonly Buffer[] = [HEADER];
  for (const piece of pieces) {
    crc = combineCrc(crc, piece.crc, piece.lengthBytes);
    lengthBytes += piece.lengthBytes;
    yield before.length === 0 ? piece.deflated : Buffer.concat([...before, piece.deflated]);
    before = [];
  }
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(crc, 0);
  trailer.writeUInt32LE(lengthBytes % 2 ** 32, 4);
  yield Buffer.concat([...before, LAST_BLOCK, trailer]);
}

/** CRC-32 of two texts in a row from that of each: the first one's register is moved over the zeros that the second one stands for. */
export function combineCrc(first: number, second: number, secondBytes: number): number {
  let moved = first;
  let matrix = square(square(square(ONE_BIT)));
  for (let left = secondBytes; left > 0; left = Math.floor(left / 2)) {
    if (left % 2 === 1) moved = times(matrix, moved);
    matrix = square(matrix);
  }
  return (moved ^ second) >>> 0;
}

/** What one zero bit does to each bit of the register: a matrix over GF(2), a word for each column. */
const ONE_BIT: readonly number[] = [0xedb88320, ...Array.from({ length: 31 }, (_, bit) => 2 ** bit)];

function times(matrix: readonly number[], vector: number): number {
  let sum = 0;
  for (let bit = 0; bit < 32; bit++) if (((vector >>> bit) & 1) === 1) sum ^= matrix[bit] ?? 0;
  return sum >>> 0;
}

function square(matrix: readonly number[]): number[] {
  return matrix.map((column) => times(matrix, column));
}
