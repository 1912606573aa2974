/**
 * Blanks parts of a JPEG frame without decoding it to pixels (ITU-T T.81, baseline and extended sequential, Huffman): whole MCUs get a
 * flat shade, every coefficient of every other block stays as it is. Only the entropy coding is written anew.
 */
import { readJpegStream, type StreamHeader } from './codestream.ts';
import {
  decodingTable,
  encodingTable,
  huffmanTable,
  type DecodingTable,
  type EncodingTable,
  type HuffmanTable,
} from './huffman.ts';
import { unusable } from './image.ts';

/** Pixels from left and top up to, not including, right and bottom. */
export interface PixelBox {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export interface JpegBlanking {
  readonly boxes: readonly PixelBox[];
  /** Of the first component, or of all that are no colour difference. */
  readonly shade: 'lowest' | 'highest';
  /** The second and third component are colour differences. */
  readonly ycbcr: boolean;
}

interface Component {
  readonly id: number;
  readonly horizontal: number;
  readonly vertical: number;
  readonly quantisation: number;
  /** Blocks in a row and rows of blocks of a scan of this component alone. */
  readonly columns: number;
  readonly rows: number;
  readonly chroma: boolean;
}

interface Frame {
  readonly precision: number;
  readonly columns: number;
  readonly rows: number;
  readonly mcuWidth: number;
  readonly mcuHeight: number;
  readonly mostHorizontal: number;
  readonly mostVertical: number;
  readonly components: readonly Component[];
}

interface Tables {
  readonly dc: (DecodingTable | undefined)[];
  readonly ac: (DecodingTable | undefined)[];
  /** The quantiser of the DC coefficient, by table. */
  readonly quantisers: number[];
  restartInterval: number;
}

const SEQUENTIAL: ReadonlySet<number> = new Set([0xc0, 0xc1]);
/** Two of them may differ by what still has a category (T.81 table F.1). */
const LARGEST_DC = 2 ** 14 - 1;
const MOST_BLOCKS = 16 * 2 ** 20;

/** @throws Refusal NotAcceptable for other processes and for what breaks off */
export function blankJpeg(bytes: Buffer, blanking: JpegBlanking): Buffer {
  const header = readJpegStream(bytes);
  if (!SEQUENTIAL.has(header.process))
    throw unusable(`JPEG process SOF${header.process - 0xc0} is not blanked without loss`);
  const frame = frameOf(header, blanking.ycbcr);
  const boxes = blanking.boxes.map((box) => mcuBox(frame, box));
  const stream = header.bytes;
  const tables: Tables = { dc: [], ac: [], quantisers: [], restartInterval: 0 };
  const parts: Buffer[] = [stream.subarray(0, 2)];
  let at = 2;
  for (;;) {
    while (stream[at + 1] === 0xff) at++;
    const marker = stream[at + 1] ?? 0;
    if (marker === 0xd9) break;
    const end = at + 2 + stream.readUInt16BE(at + 2);
    const segment = stream.subarray(at + 4, end);
    const whole = stream.subarray(at, end);
    at = end;
    if (marker === 0xc4) {
      readHuffmanTables(segment, tables);
      continue;
    }
    if (marker === 0xcc) throw unusable('arithmetic coding is not blanked');
    if (marker === 0xdb) readQuantisers(segment, tables);
    if (marker === 0xdd) tables.restartInterval = segment.readUInt16BE(0);
    if (marker !== 0xda) {
      parts.push(whole);
      continue;
    }
    const scan = scanOf(segment, frame, tables);
    const reader = openReader(stream, at);
    const blocks = readScan(reader, scan, frame);
    at = markerAfter(stream, reader.at);
    blankBlocks(blocks, scan, frame, { boxes, shade: blanking.shade, tables });
    parts.push(...writeScan(blocks, scan, whole));
  }
  parts.push(Buffer.from([0xff, 0xd9]));
  const written = Buffer.concat(parts);
  return written.length % 2 === 0 ? written : Buffer.concat([written, Buffer.alloc(1)]);
}

/** Bytes that no decoder asks for may stand before the marker that ends a scan, a few of them. */
const MOST_LEFT_OVER = 64;

function markerAfter(stream: Buffer, from: number): number {
  for (let at = from; at < Math.min(stream.length - 1, from + MOST_LEFT_OVER); at++) {
    const next = stream[at + 1] ?? 0;
    if (stream[at] === 0xff && next !== 0 && !(next >= 0xd0 && next <= 0xd7)) return at;
  }
  throw unusable('the entropy-coded data of the JPEG does not end where its last block does');
}

/** What is blanked when this box is asked for: every MCU that it touches. */
export function blankedByMcu(bytes: Buffer, box: PixelBox): PixelBox {
  return mcuBox(frameOf(readJpegStream(bytes), false), box);
}

function mcuBox({ mcuWidth, mcuHeight, columns, rows }: Frame, box: PixelBox): PixelBox {
  return {
    left: Math.floor(box.left / mcuWidth) * mcuWidth,
    top: Math.floor(box.top / mcuHeight) * mcuHeight,
    right: Math.min(columns, Math.ceil(box.right / mcuWidth) * mcuWidth),
    bottom: Math.min(rows, Math.ceil(box.bottom / mcuHeight) * mcuHeight),
  };
}

function frameOf(header: StreamHeader, ycbcr: boolean): Frame {
  const { sampling, componentIds, columns, rows, precision, quantisers } = header;
  const factors = sampling.map((byte) => ({ horizontal: byte >> 4, vertical: byte & 15 }));
  if (factors.length === 0 || factors.some(({ horizontal, vertical }) => horizontal < 1 || vertical < 1))
    throw unusable('the sampling factors of the JPEG are impossible');
  // One component alone is never interleaved: its MCU is one block whatever its factors are (T.81 A.2.2).
  const alone = factors.length === 1;
  const mostHorizontal = Math.max(...factors.map(({ horizontal }) => horizontal));
  const mostVertical = Math.max(...factors.map(({ vertical }) => vertical));
  const components = factors.map(({ horizontal, vertical }, index) => ({
    id: componentIds[index] ?? 0,
    horizontal,
    vertical,
    quantisation: quantisers[index] ?? 0,
    columns: Math.ceil(Math.ceil((columns * horizontal) / mostHorizontal) / 8),
    rows: Math.ceil(Math.ceil((rows * vertical) / mostVertical) / 8),
    chroma: ycbcr && index > 0,
  }));
  return {
    precision,
    columns,
    rows,
    mcuWidth: alone ? 8 : 8 * mostHorizontal,
    mcuHeight: alone ? 8 : 8 * mostVertical,
    mostHorizontal,
    mostVertical,
    components,
  };
}

function readHuffmanTables(segment: Buffer, tables: Tables): void {
  for (let at = 0; at + 17 <= segment.length;) {
    const place = segment[at] ?? 0;
    const counts = [...segment.subarray(at + 1, at + 17)];
    const length = counts.reduce((sum, count) => sum + count, 0);
    if (at + 17 + length > segment.length) throw unusable('a Huffman table of the JPEG is short');
    const table: HuffmanTable = { counts, symbols: Uint8Array.from(segment.subarray(at + 17, at + 17 + length)) };
    (place >> 4 === 0 ? tables.dc : tables.ac)[place & 15] = decodingTable(table);
    at += 17 + length;
  }
}

function readQuantisers(segment: Buffer, tables: Tables): void {
  for (let at = 0; at < segment.length;) {
    const place = segment[at] ?? 0;
    const wide = place >> 4 !== 0;
    if (at + (wide ? 129 : 65) > segment.length) throw unusable('a quantisation table of the JPEG is short');
    tables.quantisers[place & 15] = wide ? segment.readUInt16BE(at + 1) : (segment[at + 1] ?? 0);
    at += wide ? 129 : 65;
  }
}

interface ScanComponent {
  readonly component: Component;
  readonly dcPlace: number;
  readonly acPlace: number;
  readonly dc: DecodingTable;
  readonly ac: DecodingTable;
}

interface Scan {
  readonly parts: readonly ScanComponent[];
  readonly mcuColumns: number;
  readonly mcuRows: number;
  readonly restartInterval: number;
}

function scanOf(segment: Buffer, frame: Frame, tables: Tables): Scan {
  const count = segment[0] ?? 0;
  if (count < 1 || segment.length < 4 + 2 * count) throw unusable('the scan header of the JPEG is short');
  const parts = Array.from({ length: count }, (_, index) => {
    const component = frame.components.find(({ id }) => id === segment[1 + 2 * index]);
    const places = segment[2 + 2 * index] ?? 0;
    const [dc, ac] = [tables.dc[places >> 4], tables.ac[places & 15]];
    if (component === undefined || dc === undefined || ac === undefined)
      throw unusable('a scan of the JPEG names a component or table that is not there');
    return { component, dcPlace: places >> 4, acPlace: places & 15, dc, ac };
  });
  const only = count === 1 ? parts[0]?.component : undefined;
  return {
    parts,
    mcuColumns: only?.columns ?? Math.ceil(frame.columns / frame.mcuWidth),
    mcuRows: only?.rows ?? Math.ceil(frame.rows / frame.mcuHeight),
    restartInterval: tables.restartInterval,
  };
}

interface BitReader {
  readonly bytes: Buffer;
  at: number;
  held: number;
  bits: number;
}

function openReader(bytes: Buffer, at: number): BitReader {
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

function readBits(reader: BitReader, count: number): number {
  if (count === 0) return 0;
  const value = peek16(reader) >>> (16 - count);
  skip(reader, count);
  return value;
}

function readSymbol(reader: BitReader, table: DecodingTable): number {
  const entry = table[peek16(reader)] ?? 0;
  if (entry === 0) throw unusable('the entropy-coded data of the JPEG has a code that no table has');
  skip(reader, entry & 0xff);
  return entry >> 8;
}

/** The blocks of a scan in the order of their coding. */
interface Blocks {
  readonly count: number;
  readonly dc: Int32Array;
  /** Place in `tokens` where the AC coefficients of a block begin; one more than there are blocks. */
  readonly starts: Uint32Array;
  /** `symbol << 16 | additional bits`. */
  tokens: Uint32Array;
}

function blocksPerMcu({ parts }: Scan): number {
  if (parts.length === 1) return 1;
  return parts.reduce((sum, { component }) => sum + component.horizontal * component.vertical, 0);
}

/** Every block of the scan: which component's, and where in that component. */
function eachBlock(scan: Scan, visit: (part: ScanComponent, row: number, column: number, mcu: number) => void): void {
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

function readScan(reader: BitReader, scan: Scan, frame: Frame): Blocks {
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

function readRestart(reader: BitReader): void {
  reader.bits = 0;
  reader.held = 0;
  while (reader.bytes[reader.at] === 0xff && reader.bytes[reader.at + 1] === 0xff) reader.at++;
  const code = reader.bytes[reader.at + 1] ?? 0;
  if (reader.bytes[reader.at] !== 0xff || code < 0xd0 || code > 0xd7)
    throw unusable('a restart marker of the JPEG is missing');
  reader.at += 2;
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

interface Shading {
  readonly boxes: readonly PixelBox[];
  readonly shade: 'lowest' | 'highest';
  readonly tables: Tables;
}

/** Marks blanked blocks by an empty run of tokens: the end-of-block code is written for it. */
function blankBlocks(blocks: Blocks, scan: Scan, frame: Frame, { boxes, shade, tables }: Shading): void {
  const kept = new Uint32Array(blocks.tokens.length);
  let [block, to] = [0, 0];
  eachBlock(scan, ({ component }, row, column) => {
    const from = blocks.starts[block] ?? 0;
    const end = blocks.starts[block + 1] ?? 0;
    blocks.starts[block] = to;
    if (isCovered(frame, component, row, column, boxes)) {
      const quantiser = tables.quantisers[component.quantisation] ?? 0;
      if (quantiser < 1) throw unusable('a quantisation table of the JPEG is missing');
      // The mean of the block, eightfold, from the middle of the range down to its end or beyond, where decoders clip.
      const depth = Math.ceil((2 ** (frame.precision - 1) * 8) / quantiser);
      blocks.dc[block] = component.chroma ? 0 : shade === 'lowest' ? -depth : depth - 1;
      kept[to++] = 0;
    } else {
      kept.set(blocks.tokens.subarray(from, end), to);
      to += end - from;
    }
    block++;
  });
  blocks.starts[block] = to;
  blocks.tokens = kept;
}

function isCovered(
  frame: Frame,
  { horizontal, vertical }: Component,
  row: number,
  column: number,
  boxes: readonly PixelBox[],
): boolean {
  const alone = frame.components.length === 1;
  const width = alone ? 8 : (8 * frame.mostHorizontal) / horizontal;
  const height = alone ? 8 : (8 * frame.mostVertical) / vertical;
  const [left, top] = [column * width, row * height];
  return boxes.some((box) => left < box.right && left + width > box.left && top < box.bottom && top + height > box.top);
}

/** Magnitude category and additional bits of a DC difference (T.81 F.1.2.1). */
function magnitude(value: number): { size: number; bits: number } {
  const size = 32 - Math.clz32(Math.abs(value));
  return { size, bits: value < 0 ? value + (1 << size) - 1 : value };
}

/** New tables in front of the scan, its header, its data. */
function writeScan(blocks: Blocks, scan: Scan, header: Buffer): Buffer[] {
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

interface BitWriter {
  /** @param entry of an EncodingTable, then `size` additional bits */
  code(entry: number, bits: number, size: number): void;
  /** Fills the last byte with ones (T.81 F.1.2.3). */
  flush(): void;
  marker(code: number): void;
  bytes(): Buffer;
}

function openWriter(capacity: number): BitWriter {
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
