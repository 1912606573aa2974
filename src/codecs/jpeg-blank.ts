/**
 * Blanks parts of a JPEG frame without decoding it to pixels (ITU-T T.81, baseline and extended sequential, Huffman): whole MCUs get a
 * flat shade, every coefficient of every other block stays as it is. Only the entropy coding is written anew.
 */
import { readJpegStream } from './codestream.ts';
import { unusable } from './image.ts';
import { openReader } from './jpeg-bits.ts';
import {
  frameOf,
  readHuffmanTables,
  readQuantisers,
  scanOf,
  type Component,
  type Frame,
  type Scan,
  type Tables,
} from './jpeg-frame.ts';
import { eachBlock, readScan, writeScan, type Blocks } from './jpeg-scan.ts';

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

const SEQUENTIAL: ReadonlySet<number> = new Set([0xc0, 0xc1]);

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
