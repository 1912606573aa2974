/** The palette of an image, PALETTE COLOR (PS3.3 C.7.6.3.1.5). */
import { findElement, numberValues, type DataSet } from '../../dicom/data-set.ts';
import type { ImageLayout } from '../../dicom/image-layout.ts';
import { Refusal } from '../../dicom/refusal.ts';
import { littleEndianValue } from '../../dicom/writer.ts';

export interface Palette {
  readonly red: Uint16Array;
  readonly green: Uint16Array;
  readonly blue: Uint16Array;
  /** The pixel value of the first colour, which lower ones have too. */
  readonly first: number;
  readonly bits: number;
}

const TABLES = [0x00281201, 0x00281202, 0x00281203];

/** @throws Refusal Quarantined for a palette in segments or of other lengths, whose colours are not known */
export function readPalette(dataSet: DataSet, { signed }: Pick<ImageLayout, 'signed'>): Palette {
  const [count = 0, firstWord = 0, bits = 16] = numberValues(dataSet, 0x00281101);
  const [red, green, blue] = TABLES.map((tag) => {
    const element = findElement(dataSet, tag);
    return element === undefined ? undefined : entriesOf(littleEndianValue(dataSet, element), count || 65_536);
  });
  if (red === undefined || green?.length !== red.length || blue?.length !== red.length || red.length === 0)
    throw new Refusal('Quarantined', 'the palette cannot be read, so that nobody can tell what the pixels show');
  const isWide = [red, green, blue].some((entries) => entries.some((entry) => entry > 0xff));
  return {
    red,
    green,
    blue,
    first: signed && firstWord > 0x7fff ? firstWord - 0x10000 : firstWord,
    // Some writers say 16 bits and write 8.
    bits: isWide ? bits : 8,
  };
}

function entriesOf(bytes: Buffer, count: number): Uint16Array {
  if (bytes.length < count * 2) return Uint16Array.from(bytes.subarray(0, count));
  return Uint16Array.from({ length: count }, (_, index) => bytes.readUInt16LE(2 * index));
}

/** The pixel value that shows the darkest colour. */
export function darkestIndex({ red, green, blue, first }: Palette): number {
  let [darkest, least] = [0, Infinity];
  for (let index = 0; index < red.length; index++) {
    const light = (red[index] ?? 0) + (green[index] ?? 0) + (blue[index] ?? 0);
    if (light < least) [darkest, least] = [index, light];
  }
  return first + darkest;
}
