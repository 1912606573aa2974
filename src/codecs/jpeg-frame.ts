/** The frame of a sequential JPEG, its components, tables and scans (ITU-T T.81 A.2, B.2). */
import type { StreamHeader } from './codestream.ts';
import { decodingTable, type DecodingTable, type HuffmanTable } from './huffman.ts';
import { unusable } from './image.ts';

export interface Component {
  readonly id: number;
  readonly horizontal: number;
  readonly vertical: number;
  readonly quantisation: number;
  /** Blocks in a row and rows of blocks of a scan of this component alone. */
  readonly columns: number;
  readonly rows: number;
  readonly chroma: boolean;
}

export interface Frame {
  readonly precision: number;
  readonly columns: number;
  readonly rows: number;
  readonly mcuWidth: number;
  readonly mcuHeight: number;
  readonly mostHorizontal: number;
  readonly mostVertical: number;
  readonly components: readonly Component[];
}

export interface Tables {
  readonly dc: (DecodingTable | undefined)[];
  readonly ac: (DecodingTable | undefined)[];
  /** The quantiser of the DC coefficient, by table. */
  readonly quantisers: number[];
  restartInterval: number;
}

export function frameOf(header: StreamHeader, ycbcr: boolean): Frame {
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

export function readHuffmanTables(segment: Buffer, tables: Tables): void {
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

export function readQuantisers(segment: Buffer, tables: Tables): void {
  for (let at = 0; at < segment.length;) {
    const place = segment[at] ?? 0;
    const wide = place >> 4 !== 0;
    if (at + (wide ? 129 : 65) > segment.length) throw unusable('a quantisation table of the JPEG is short');
    tables.quantisers[place & 15] = wide ? segment.readUInt16BE(at + 1) : (segment[at + 1] ?? 0);
    at += wide ? 129 : 65;
  }
}

export interface ScanComponent {
  readonly component: Component;
  readonly dcPlace: number;
  readonly acPlace: number;
  readonly dc: DecodingTable;
  readonly ac: DecodingTable;
}

export interface Scan {
  readonly parts: readonly ScanComponent[];
  readonly mcuColumns: number;
  readonly mcuRows: number;
  readonly restartInterval: number;
}

export function scanOf(segment: Buffer, frame: Frame, tables: Tables): Scan {
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
