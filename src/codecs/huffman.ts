/** Huffman tables of JPEG (ITU-T T.81): read from DHT (annex C), made for the symbols of a scan (annex K.2). */
import { unusable } from './image.ts';

/** BITS and HUFFVAL of T.81 B.2.4.2. */
export interface HuffmanTable {
  /** Codes of each length from 1 to 16. */
  readonly counts: readonly number[];
  readonly symbols: Uint8Array;
}

/** Symbol and length for every 16 bits that may follow: `symbol << 8 | length`, 0 where there is no code. */
export type DecodingTable = Uint16Array;

/** @throws Refusal NotAcceptable when the codes do not fit into 16 bits */
export function decodingTable({ counts, symbols }: HuffmanTable): DecodingTable {
  const table = new Uint16Array(65_536);
  let code = 0;
  let next = 0;
  for (let length = 1; length <= 16; length++) {
    for (let left = counts[length - 1] ?? 0; left > 0; left--) {
      const from = code << (16 - length);
      const to = (code + 1) << (16 - length);
      const symbol = symbols[next++];
      if (to > 65_536 || symbol === undefined) throw unusable('a Huffman table of the JPEG is impossible');
      table.fill((symbol << 8) | length, from, to);
      code++;
    }
    code <<= 1;
  }
  return table;
}

/** Code and length of each symbol: `code << 5 | length`, 0 where the symbol has none. */
export type EncodingTable = Uint32Array;

export function encodingTable({ counts, symbols }: HuffmanTable): EncodingTable {
  const table = new Uint32Array(256);
  let code = 0;
  let next = 0;
  for (let length = 1; length <= 16; length++) {
    for (let left = counts[length - 1] ?? 0; left > 0; left--) table[symbols[next++] ?? 0] = (code++ << 5) | length;
    code <<= 1;
  }
  return table;
}

const RESERVED = 256;

/** The shortest codes of at most 16 bits for these frequencies; no code is all ones (T.81 K.2, figures K.1 to K.4). */
export function huffmanTable(frequencies: Uint32Array): HuffmanTable {
  const frequency = new Float64Array(257);
  frequency.set(frequencies.subarray(0, 256));
  frequency[RESERVED] = 1;
  const sizes = codeSizes(frequency);
  const bits = new Array<number>(257).fill(0);
  for (const size of sizes) if (size > 0) bits[size] = (bits[size] ?? 0) + 1;
  limitTo16(bits);
  const used = [...sizes.keys()].filter((symbol) => symbol !== RESERVED && (sizes[symbol] ?? 0) > 0);
  const symbols = used.sort((a, b) => (sizes[a] ?? 0) - (sizes[b] ?? 0) || a - b);
  return { counts: bits.slice(1, 17), symbols: Uint8Array.from(symbols) };
}

/** The depth of each symbol in the tree: the two rarest are joined until one is left. */
function codeSizes(frequency: Float64Array): number[] {
  const sizes = new Array<number>(257).fill(0);
  const others = new Array<number>(257).fill(-1);
  for (;;) {
    const first = rarest(frequency, -1);
    const second = rarest(frequency, first);
    if (second < 0) return sizes;
    frequency[first] = (frequency[first] ?? 0) + (frequency[second] ?? 0);
    frequency[second] = 0;
    let last = first;
    for (;;) {
      sizes[last] = (sizes[last] ?? 0) + 1;
      const next = others[last] ?? -1;
      if (next < 0) break;
      last = next;
    }
    others[last] = second;
    for (let at = second; at >= 0; at = others[at] ?? -1) sizes[at] = (sizes[at] ?? 0) + 1;
  }
}

/** The highest symbol of the lowest frequency, so that the reserved one gets the longest code. */
function rarest(frequency: Float64Array, without: number): number {
  let found = -1;
  for (let symbol = 0; symbol <= RESERVED; symbol++) {
    const own = frequency[symbol] ?? 0;
    if (own > 0 && symbol !== without && (found < 0 || own <= (frequency[found] ?? 0))) found = symbol;
  }
  return found;
}

/** Figure K.3, then the reserved code is taken out. */
function limitTo16(bits: number[]): void {
  const count = (length: number): number => bits[length] ?? 0;
  for (let length = 256; length > 16; length--) {
    while (count(length) > 0) {
      let shorter = length - 2;
      while (count(shorter) === 0) shorter--;
      bits[length] = count(length) - 2;
      bits[length - 1] = count(length - 1) + 1;
      bits[shorter + 1] = count(shorter + 1) + 2;
      bits[shorter] = count(shorter) - 1;
    }
  }
  let longest = 16;
  while (count(longest) === 0) longest--;
  bits[longest] = count(longest) - 1;
}
