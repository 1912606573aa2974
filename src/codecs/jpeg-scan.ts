/** The coefficients of a scan, read from its codes and coded anew with tables of its own (ITU-T T.81 annex F). */
import { encodingTable, huffmanTable, type EncodingTable, type HuffmanTable } from './huffman.ts';
import { unusable } from './image.ts';
import { openWriter, readBits, readRestart, readSymbol, type BitReader } from './jpeg-bits.ts';
import type { Component, Frame, Scan, ScanComponent } from './jpeg-frame.ts';

/** The blocks of a scan in the order of their coding. */
export interface Blocks {
  readonly count: number;
  readonly dc: Int32Array;
  /** Place in `tokens` where the AC coefficients of a block begin; one more than there are blocks. */
  readonly starts: Uint32Array;
  /** `symbol << 16 | additional bits`. */
  tokens: Uint32Array;
}

/** Two of them may differ by what still has a category (T.81 table F.1). */
const LARGEST_DC = 2 ** 14 - 1;
/** 16 Mi blocks are a Gi samples. */
const MOST_BLOCKS = 16 * 2 ** 20;

function blocksPerMcu({ parts }: Scan): number {
  if (parts.length === 1) return 1;
  return parts.reduce((sum, { component }) => sum + component.horizontal * component.vertical, 0);
}

/** Every block of the scan: which component's, and where in that component. */
export function eachBlock(
  scan: Scan,
  visit: (part: ScanComponent, row: number, column: number, mcu: number) => void,
): void {
  const alone = scan.parts.length === 1;
  for (let mcuRow = 0, mcu = 0; mcuRow < scan.mcuRows; mcuRow++) {
    for (let mcuColumn = 0; mcuColumn < scan.mcuColumns; mcuColumn++, mcu++) {
      for (const part of scan.parts) {
        const [down, across] = alone ? [1, 1] : [part.component.vertical, part.component.horizontal];
        for (let y = 0; y < down; y++)
          for (let x = 0; x < across; x++) visit(part, mcuRow * down + y, mcuColumn * across + x, mcu);
      }
    }
  }
}

export function readScan(reader: BitReader, scan: Scan, frame: Frame): Blocks {
  const count = blocksPerMcu(scan) * scan.mcuColumns * scan.mcuRows;
  if (count > MOST_BLOCKS) throw unusable('the JPEG is too large to be blanked');
  const blocks: Blocks = {
    count,
    dc: new Int32Array(count),
    starts: new Uint32Array(count + 1),
    tokens: new Uint32Array(count * 8 + 64),
  };
  const mostDc = frame.precision > 8 ? 15 : 11;
  const predictions = new Map<Component, number>();
  let [block, token, lastMcu] = [0, 0, -1];
  eachBlock(scan, ({ component, dc, ac }, _row, _column, mcu) => {
    if (mcu !== lastMcu && isRestart(scan, mcu)) {
      readRestart(reader);
      predictions.clear();
    }
    lastMcu = mcu;
    const size = readSymbol(reader, dc);
    if (size > mostDc) throw unusable('a DC coefficient of the JPEG is too large');
    const value = (predictions.get(component) ?? 0) + extended(readBits(reader, size), size);
    if (Math.abs(value) > LARGEST_DC) throw unusable('a DC coefficient of the JPEG is too large');
    predictions.set(component, value);
    blocks.dc[block] = value;
    blocks.starts[block++] = token;
    if (token + 64 > blocks.tokens.length) blocks.tokens = grown(blocks.tokens);
    for (let k = 1; k < 64; k++) {
      const symbol = readSymbol(reader, ac);
      blocks.tokens[token++] = (symbol << 16) | readBits(reader, symbol & 15);
      if ((symbol & 15) === 0) {
        if (symbol !== 0xf0) break;
        k += 15;
      } else k += symbol >> 4;
    }
  });
  blocks.starts[count] = token;
  // Bits that are left over fill the last byte.
  reader.bits = 0;
  return blocks;
}

function isRestart({ restartInterval }: Scan, mcu: number): boolean {
  return restartInterval > 0 && mcu > 0 && mcu % restartInterval === 0;
}

function grown(tokens: Uint32Array): Uint32Array {
  const larger = new Uint32Array(tokens.length * 2);
  larger.set(tokens);
  return larger;
}

/** T.81 F.2.2.1, EXTEND. */
function extended(bits: number, size: number): number {
  return size > 0 && bits < 1 << (size - 1) ? bits - (1 << size) + 1 : bits;
}

/** Magnitude category and additional bits of a DC difference (T.81 F.1.2.1). */
function magnitude(value: number): { size: number; bits: number } {
  const size = 32 - Math.clz32(Math.abs(value));
  return { size, bits: value < 0 ? value + (1 << size) - 1 : value };
}

/** New tables in front of the scan, its header, its data. */
export function writeScan(blocks: Blocks, scan: Scan, header: Buffer): Buffer[] {
  const dc = new Map<number, Uint32Array>();
  const ac = new Map<number, Uint32Array>();
  const count = (all: Map<number, Uint32Array>, place: number, symbol: number): void => {
    let frequencies = all.get(place);
    if (frequencies === undefined) all.set(place, (frequencies = new Uint32Array(256)));
    frequencies[symbol] = (frequencies[symbol] ?? 0) + 1;
  };
  eachCode(blocks, scan, {
    restart: () => undefined,
    dc: ({ dcPlace }, size) => count(dc, dcPlace, size),
    ac: ({ acPlace }, symbol) => count(ac, acPlace, symbol),
  });
  const segments: Buffer[] = [];
  const encoders = [dc, ac].map((all, kind) => {
    const own = new Map<number, EncodingTable>();
    for (const [place, frequencies] of all) {
      const table = huffmanTable(frequencies);
      segments.push(tableSegment((kind << 4) | place, table));
      own.set(place, encodingTable(table));
    }
    return own;
  });
  const writer = openWriter(blocks.tokens.length * 3 + blocks.count * 4 + 1024);
  let restarts = 0;
  eachCode(blocks, scan, {
    restart: () => {
      writer.flush();
      writer.marker(0xd0 + (restarts++ & 7));
    },
    dc: ({ dcPlace }, size, bits) => writer.code(encoders[0]?.get(dcPlace)?.[size] ?? 0, bits, size),
    ac: ({ acPlace }, symbol, bits) => writer.code(encoders[1]?.get(acPlace)?.[symbol] ?? 0, bits, symbol & 15),
  });
  writer.flush();
  return [...segments, header, writer.bytes()];
}

interface Codes {
  restart(): void;
  dc(part: ScanComponent, size: number, bits: number): void;
  ac(part: ScanComponent, symbol: number, bits: number): void;
}

function eachCode(blocks: Blocks, scan: Scan, codes: Codes): void {
  const predictions = new Map<Component, number>();
  let [block, lastMcu] = [0, -1];
  eachBlock(scan, (part, _row, _column, mcu) => {
    if (mcu !== lastMcu && isRestart(scan, mcu)) {
      codes.restart();
      predictions.clear();
    }
    lastMcu = mcu;
    const value = blocks.dc[block] ?? 0;
    const { size, bits } = magnitude(value - (predictions.get(part.component) ?? 0));
    predictions.set(part.component, value);
    codes.dc(part, size, bits);
    const end = blocks.starts[block + 1] ?? 0;
    for (let at = blocks.starts[block] ?? 0; at < end; at++) {
      const token = blocks.tokens[at] ?? 0;
      codes.ac(part, token >>> 16, token & 0xffff);
    }
    block++;
  });
}

function tableSegment(place: number, { counts, symbols }: HuffmanTable): Buffer {
  const segment = Buffer.alloc(21 + symbols.length);
  segment.writeUInt16BE(0xffc4, 0);
  segment.writeUInt16BE(19 + symbols.length, 2);
  segment[4] = place;
  segment.set(counts, 5);
  segment.set(symbols, 21);
  return segment;
}
