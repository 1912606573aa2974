/**
 * A data set as it lies in its bytes (PS3.5 section 7): where each element begins and ends, nothing decoded, nothing copied.
 * What a rule needs is decoded on demand by the functions below.
 */
import { characterSet, decodeText, type CharacterSet } from './character-set.ts';
import { VR_TRAITS, type Vr } from './vr.ts';

export type Encoding = 'explicit-le' | 'implicit-le' | 'explicit-be';

export interface DataSet {
  readonly bytes: Buffer;
  readonly encoding: Encoding;
  /** First byte of the first element. */
  readonly start: number;
  /** First byte after the last element (before an item delimitation). */
  readonly end: number;
  /** Ascending by tag, each tag once. */
  readonly elements: readonly DataElement[];
}

export interface DataElement {
  /** (group << 16 | element) as an unsigned number. */
  readonly tag: number;
  /** The VR in force: the encoded one, or the dictionary's where the encoding is implicit or UN (PS3.5 6.2.2). */
  readonly vr: Vr;
  /** True when `vr` is not what the bytes say, so that they cannot be copied as they lie. */
  readonly retyped: boolean;
  /** First byte of the element's tag. */
  readonly start: number;
  readonly valueStart: number;
  /** First byte after the value, before a sequence delimitation item. */
  readonly valueEnd: number;
  /** First byte after the element. */
  readonly end: number;
  readonly undefinedLength: boolean;
  /** The items of a sequence; undefined for every other VR. */
  readonly items: readonly DataSet[] | undefined;
  /** Fragments of encapsulated pixel data inside a sequence item (an icon), the first being the offset table. */
  readonly fragments: readonly Extent[] | undefined;
}

/** Bytes from `start` up to, not including, `end`. */
export interface Extent {
  readonly start: number;
  readonly end: number;
}

/** `(gggg,eeee)`, how messages name an attribute. */
export function formatTag(tag: number): string {
  const hex = tagKey(tag);
  return `(${hex.slice(0, 4)},${hex.slice(4)})`;
}

/** Eight upper-case hex digits, the key of the DICOM JSON model. */
export function tagKey(tag: number): string {
  const known = TAG_KEYS.get(tag);
  if (known !== undefined) return known;
  const key = tag.toString(16).toUpperCase().padStart(8, '0');
  if (TAG_KEYS.size < MOST_TAG_KEYS) TAG_KEYS.set(tag, key);
  return key;
}

/** Every element of every object is asked for its key several times, and most have the same few hundred. */
const TAG_KEYS = new Map<number, string>();
const MOST_TAG_KEYS = 4096;

/** Binary search: elements are ascending. */
export function findElement(dataSet: DataSet, tag: number): DataElement | undefined {
  const { elements } = dataSet;
  let low = 0;
  let high = elements.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const element = elements[middle];
    if (element === undefined) return undefined;
    if (element.tag === tag) return element;
    if (element.tag < tag) low = middle + 1;
    else high = middle - 1;
  }
  return undefined;
}

/** The element's value as it lies in the bytes, not copied, padding included. */
export function valueBytes(dataSet: DataSet, element: DataElement): Buffer {
  return dataSet.bytes.subarray(element.valueStart, element.valueEnd);
}

/** ASCII text of UI, CS, DA, TM, DS, IS, AE, AS, DT, UR ... without padding; undefined when absent or empty. */
export function asciiValue(dataSet: DataSet, tag: number): string | undefined {
  const element = findElement(dataSet, tag);
  return element === undefined ? undefined : asciiOf(dataSet, element) || undefined;
}

/** The value as Latin-1 text without leading and trailing blanks and NULs (PS3.5 6.2). */
export function asciiOf(dataSet: DataSet, element: DataElement): string {
  const { bytes } = dataSet;
  let start = element.valueStart;
  let end = element.valueEnd;
  while (end > start && isPadding(bytes[end - 1])) end--;
  while (start < end && isPadding(bytes[start])) start++;
  return bytes.toString('latin1', start, end);
}

function isPadding(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x00;
}

/** Every value of a multi-valued ASCII element, each trimmed; empty list when absent or empty. */
export function asciiValues(dataSet: DataSet, tag: number): string[] {
  const text = asciiValue(dataSet, tag);
  return text === undefined ? [] : text.split('\\').map(withoutPadding);
}

/** The character set that a data set declares; an item without one inherits its parent's (PS3.5 7.5.3). */
export function characterSetOf(dataSet: DataSet, inherited?: CharacterSet): CharacterSet {
  const declared = findElement(dataSet, 0x00080005);
  if (declared === undefined) return inherited ?? characterSet([]);
  return characterSet(asciiValues(dataSet, 0x00080005));
}

/** Decoded text of any text VR, trailing padding removed; undefined when absent or empty. */
export function textValue(
  dataSet: DataSet,
  tag: number,
  set: CharacterSet = characterSetOf(dataSet),
): string | undefined {
  const element = findElement(dataSet, tag);
  if (element === undefined || element.valueEnd === element.valueStart) return undefined;
  return withoutTrailingPadding(decodeText(set, valueBytes(dataSet, element), element.vr)) || undefined;
}

/** Text without the blanks and NULs at its end (PS3.5 6.2); one pass, however many there are in the middle. */
export function withoutTrailingPadding(text: string): string {
  let end = text.length;
  while (end > 0 && isPadding(text.charCodeAt(end - 1))) end--;
  return text.slice(0, end);
}

/** Text without the blanks and NULs at both ends. */
export function withoutPadding(text: string): string {
  let start = 0;
  while (start < text.length && isPadding(text.charCodeAt(start))) start++;
  return withoutTrailingPadding(text.slice(start));
}

/** Every number of a binary (US, SS, UL, SL, FL, FD, OF, OW ...) or decimal-text (DS, IS) element; NaN where text is no number. */
export function numbersOf(dataSet: DataSet, element: DataElement): number[] {
  if (element.vr === 'DS' || element.vr === 'IS') {
    const text = asciiOf(dataSet, element);
    return text === '' ? [] : text.split('\\').map(decimal);
  }
  const { bytes, encoding } = dataSet;
  const size = VR_TRAITS[element.vr].wordBytes;
  const big = encoding === 'explicit-be';
  const numbers: number[] = [];
  for (let at = element.valueStart; at + size <= element.valueEnd; at += size)
    numbers.push(numberAt(bytes, at, element.vr, big));
  return numbers;
}

/** PS3.5 6.2, DS and IS: no other notation that a programming language may know. */
function decimal(text: string): number {
  return /^ *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)? *$/.test(text) ? Number(text) : NaN;
}

export function numberValues(dataSet: DataSet, tag: number): number[] {
  const element = findElement(dataSet, tag);
  return element === undefined ? [] : numbersOf(dataSet, element);
}

/** The first number, or undefined when absent, empty or no number. */
export function numberValue(dataSet: DataSet, tag: number): number | undefined {
  const [first] = numberValues(dataSet, tag);
  return first === undefined || Number.isNaN(first) ? undefined : first;
}

function numberAt(bytes: Buffer, at: number, vr: Vr, big: boolean): number {
  switch (vr) {
    case 'US':
    case 'AT':
    case 'OW':
      return big ? bytes.readUInt16BE(at) : bytes.readUInt16LE(at);
    case 'SS':
      return big ? bytes.readInt16BE(at) : bytes.readInt16LE(at);
    case 'UL':
    case 'OL':
      return big ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
    case 'SL':
      return big ? bytes.readInt32BE(at) : bytes.readInt32LE(at);
    case 'FL':
    case 'OF':
      return big ? bytes.readFloatBE(at) : bytes.readFloatLE(at);
    case 'FD':
    case 'OD':
      return big ? bytes.readDoubleBE(at) : bytes.readDoubleLE(at);
    case 'SV':
      return Number(big ? bytes.readBigInt64BE(at) : bytes.readBigInt64LE(at));
    case 'UV':
    case 'OV':
      return Number(big ? bytes.readBigUInt64BE(at) : bytes.readBigUInt64LE(at));
    default:
      return bytes[at] ?? 0;
  }
}

/** The items of a sequence, none when it is absent. */
export function itemsOf(dataSet: DataSet, tag: number): readonly DataSet[] {
  return findElement(dataSet, tag)?.items ?? [];
}
