/** What an object says about how its pixels are shown: modality and VOI transformations (PS3.3 C.11), palette (C.7.9), shape of a pixel. */
import {
  asciiValue,
  findElement,
  itemsOf,
  numberValue,
  numberValues,
  valueBytes,
  type DataSet,
} from '../dicom/data-set.ts';

export type WindowFunction = 'linear' | 'linear-exact' | 'sigmoid';

export interface Window {
  readonly center: number;
  readonly width: number;
  readonly shape: WindowFunction;
}

/** A table from `first` on; below it the first entry holds, behind its end the last. */
export interface LookupTable {
  readonly first: number;
  readonly entries: Uint16Array;
  /** Of an entry: what 2^bits - 1 is white. */
  readonly bits: number;
}

/** Plain data of one frame. */
export interface Presentation {
  readonly slope: number;
  readonly intercept: number;
  readonly modalityTable: LookupTable | undefined;
  /** Undefined: a table, or the frame's own range. */
  readonly window: Window | undefined;
  readonly voiTable: LookupTable | undefined;
  readonly inverse: boolean;
  /** Of a presentation state: from what the window or the VOI table gives to what is shown. */
  readonly presentationTable?: LookupTable;
  readonly palette: readonly [LookupTable, LookupTable, LookupTable] | undefined;
  /** Stored values from the lower to the upper stand for no picture; they do not count for the frame's range. */
  readonly padding: readonly [number, number] | undefined;
  /** Float or Double Float Pixel Data. */
  readonly float: boolean;
  /** Height of a pixel as a part of its width. */
  readonly pixelAspect: number;
}

/** @param frame counted from 1, for what a multi-frame object says frame by frame (PS3.3 C.7.6.16) */
export function presentationOf(dataSet: DataSet, frame: number, pixelDataTag = 0x7fe00010): Presentation {
  const transformation = frameMacro(dataSet, frame, 0x00289145) ?? dataSet;
  const voi = frameMacro(dataSet, frame, 0x00289132) ?? dataSet;
  const signed = numberValue(dataSet, 0x00280103) === 1;
  const [modalityItem] = itemsOf(dataSet, 0x00283000);
  const [voiItem] = itemsOf(voi, 0x00283010);
  const photometric = asciiValue(dataSet, 0x00280004);
  return {
    slope: numberValue(transformation, 0x00281053) || 1,
    intercept: numberValue(transformation, 0x00281052) ?? 0,
    modalityTable: modalityItem && lookupTable(modalityItem, 0x00283002, 0x00283006, signed),
    window: windowOf(voi),
    voiTable: voiItem && lookupTable(voiItem, 0x00283002, 0x00283006, true),
    // PS3.3 C.7.6.3.1.2: MONOCHROME1 shows its lowest value white; C.11.6: so does a shape of INVERSE.
    inverse: photometric === 'MONOCHROME1' || asciiValue(dataSet, 0x20500020) === 'INVERSE',
    palette: photometric === 'PALETTE COLOR' ? paletteOf(dataSet, signed) : undefined,
    padding: paddingOf(dataSet),
    float: pixelDataTag !== 0x7fe00010,
    pixelAspect: pixelAspect(dataSet, frameMacro(dataSet, frame, 0x00289110)),
  };
}

/** The item of a functional group of this frame, or the one that all frames share. */
function frameMacro(dataSet: DataSet, frame: number, tag: number): DataSet | undefined {
  const own = itemsOf(dataSet, 0x52009230)[frame - 1];
  const [shared] = itemsOf(dataSet, 0x52009229);
  return (own && itemsOf(own, tag)[0]) ?? (shared && itemsOf(shared, tag)[0]);
}

/** The first window that makes sense: LINEAR wants a width of at least 1, the others more than 0 (PS3.3 C.11.2.1.2). */
export function windowOf(dataSet: DataSet): Window | undefined {
  const centers = numberValues(dataSet, 0x00281050);
  const widths = numberValues(dataSet, 0x00281051);
  const shape = shapeOf(asciiValue(dataSet, 0x00281056));
  for (const [index, center] of centers.entries()) {
    const width = widths[index] ?? NaN;
    if (Number.isFinite(center) && Number.isFinite(width) && (shape === 'linear' ? width >= 1 : width > 0))
      return { center, width, shape };
  }
  return undefined;
}

function shapeOf(value: string | undefined): WindowFunction {
  return value === 'SIGMOID' ? 'sigmoid' : value === 'LINEAR_EXACT' ? 'linear-exact' : 'linear';
}

/** Descriptor: entries (0 is 65536), first value, bits of an entry (PS3.3 C.11.1.1, C.7.6.3.1.5). */
export function lookupTable(
  dataSet: DataSet,
  descriptorTag: number,
  dataTag: number,
  signed: boolean,
): LookupTable | undefined {
  const [count = 0, firstWord = 0, bits = 16] = numberValues(dataSet, descriptorTag);
  const element = findElement(dataSet, dataTag);
  if (element === undefined) return undefined;
  const entries = tableEntries(valueBytes(dataSet, element), count & 0xffff || 65_536, bits);
  if (entries.length === 0) return undefined;
  return { first: firstValue(firstWord, signed), entries, bits: bits >= 8 && bits <= 16 ? bits : 16 };
}

function firstValue(word: number, signed: boolean): number {
  return signed && word > 0x7fff ? word - 0x10000 : word;
}

/** Entries of 8 bits stand two in a word, or, in some objects, one in a word each. */
function tableEntries(bytes: Buffer, count: number, bits: number): Uint16Array {
  if (bits <= 8 && bytes.length < count * 2) return Uint16Array.from(bytes.subarray(0, count));
  const length = Math.min(count, Math.floor(bytes.length / 2));
  return Uint16Array.from({ length }, (_, index) => bytes.readUInt16LE(2 * index));
}

function paletteOf(dataSet: DataSet, signed: boolean): readonly [LookupTable, LookupTable, LookupTable] | undefined {
  const [red, green, blue] = [0, 1, 2].map(
    (colour) =>
      lookupTable(dataSet, 0x00281101 + colour, 0x00281201 + colour, signed) ??
      segmentedTable(dataSet, 0x00281101 + colour, 0x00281221 + colour, signed),
  );
  if (red === undefined || green === undefined || blue === undefined) return undefined;
  return [asWritten(red), asWritten(green), asWritten(blue)];
}

/** Some writers say 16 bits and write 8. */
function asWritten(table: LookupTable): LookupTable {
  return table.bits > 8 && table.entries.every((entry) => entry < 256) ? { ...table, bits: 8 } : table;
}

/** Discrete, linear and indirect segments, PS3.3 C.7.9.2. */
function segmentedTable(
  dataSet: DataSet,
  descriptorTag: number,
  dataTag: number,
  signed: boolean,
): LookupTable | undefined {
  const [count = 0, firstWord = 0, bits = 16] = numberValues(dataSet, descriptorTag);
  const element = findElement(dataSet, dataTag);
  if (element === undefined) return undefined;
  const bytes = valueBytes(dataSet, element);
  const words =
    bits <= 8
      ? Uint16Array.from(bytes)
      : Uint16Array.from({ length: bytes.length >> 1 }, (_, index) => bytes.readUInt16LE(2 * index));
  const most = count & 0xffff || 65_536;
  const entries: number[] = [];
  expandSegments(words, 0, words.length, { entries, most, wide: bits > 8 }, true);
  return entries.length === 0
    ? undefined
    : { first: firstValue(firstWord, signed), entries: Uint16Array.from(entries), bits };
}

interface Expansion {
  readonly entries: number[];
  readonly most: number;
  readonly wide: boolean;
}

/** An indirect segment repeats others, which may not be indirect themselves. */
function expandSegments(words: Uint16Array, start: number, limit: number, into: Expansion, indirect: boolean): void {
  const { entries, most, wide } = into;
  let left = limit;
  for (let at = start; at + 1 < words.length && left > 0 && entries.length < most; left--) {
    const [opcode = 0, length = 0] = [words[at], words[at + 1]];
    at += 2;
    if (opcode === 0) {
      for (let index = 0; index < length && entries.length < most; index++) entries.push(words[at + index] ?? 0);
      at += length;
    } else if (opcode === 1) {
      const from = entries.at(-1) ?? 0;
      const to = words[at++] ?? 0;
      for (let index = 1; index <= length && entries.length < most; index++)
        entries.push(Math.round(from + ((to - from) * index) / length));
    } else if (opcode === 2 && indirect) {
      // The place in bytes, least significant word first.
      const parts = wide ? 2 : 4;
      let place = 0;
      for (let part = 0; part < parts; part++) place += (words[at + part] ?? 0) * (wide ? 65_536 : 256) ** part;
      at += parts;
      expandSegments(words, wide ? place >> 1 : place, length, into, false);
    } else return;
  }
}

function paddingOf(dataSet: DataSet): readonly [number, number] | undefined {
  const padding = numberValue(dataSet, 0x00280120);
  if (padding === undefined) return undefined;
  const limit = numberValue(dataSet, 0x00280121) ?? padding;
  return [Math.min(padding, limit), Math.max(padding, limit)];
}

/** Row spacing by column spacing: Pixel Aspect Ratio, Pixel Spacing or Imager Pixel Spacing (PS3.3 C.7.6.3.1.7). */
function pixelAspect(dataSet: DataSet, measures: DataSet | undefined): number {
  const pairs = [
    measures && numberValues(measures, 0x00280030),
    numberValues(dataSet, 0x00280030),
    numberValues(dataSet, 0x00181164),
    numberValues(dataSet, 0x00280034),
  ];
  const [vertical = 1, horizontal = 1] =
    pairs.find((pair) => pair?.length === 2 && pair.every((size) => size > 0)) ?? [];
  const aspect = vertical / horizontal;
  // Nothing real is drawn thinner; nearly square is square.
  return aspect < 0.1 || aspect > 10 || Math.abs(aspect - 1) < 0.01 ? 1 : aspect;
}
