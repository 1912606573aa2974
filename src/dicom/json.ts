/**
 * The DICOM JSON Model, PS3.18 Annex F. Written as text straight from the bytes: keys of eight decimal digits, like "60003000", would
 * come first in a JavaScript object whatever the order of insertion, and F.2.2 wants them ascending. Text is always UTF-8.
 */
import { decodeText, splitValues, type CharacterSet } from './character-set.ts';
import {
  asciiOf,
  characterSetOf,
  findElement,
  numbersOf,
  tagKey,
  valueBytes,
  withoutPadding,
  withoutTrailingPadding,
  type DataElement,
  type DataSet,
} from './data-set.ts';
import type { Vr } from './vr.ts';
import { littleEndianValue } from './writer.ts';

/** Attributes by tag, eight upper-case hex digits. */
export interface DicomJson {
  [tag: string]: DicomJsonElement;
}

export type TextVr =
  'AE' | 'AS' | 'AT' | 'CS' | 'DA' | 'DT' | 'LO' | 'LT' | 'SH' | 'ST' | 'TM' | 'UC' | 'UI' | 'UR' | 'UT';
export type NumberVr = 'SL' | 'SS' | 'UL' | 'US';
/** A string where a number would lose digits, or is none (NaN, Infinity, -Infinity). */
export type NumberOrTextVr = 'DS' | 'FD' | 'FL' | 'IS' | 'SV' | 'UV';
export type BinaryVr = 'OB' | 'OD' | 'OF' | 'OL' | 'OV' | 'OW' | 'UN';

interface Valued<VR extends Vr, Value> {
  vr: VR;
  /** Never empty; null stands for an empty value among others. */
  Value?: Value[];
}

/** The non-empty component groups of a name (F.2.2). */
export interface PersonName {
  Alphabetic?: string;
  Ideographic?: string;
  Phonetic?: string;
}

export type DicomJsonElement =
  | Valued<TextVr, string | null>
  | Valued<NumberVr, number | null>
  | Valued<NumberOrTextVr, number | string | null>
  | Valued<'PN', PersonName | null>
  | Valued<'SQ', DicomJson>
  | { vr: BinaryVr; InlineBinary?: string }
  | { vr: Exclude<Vr, 'SQ'>; BulkDataURI: string };

export interface JsonOptions {
  /**
   * Where a value can be fetched instead; undefined writes it inline. Asked for the VRs of F.2.6 (but DS and IS, which viewers
   * calculate with) above the threshold, and for FL and FD values that JSON has no number for.
   * `path`: tags and item numbers from 0, e.g. `00400275/0/00091010`.
   */
  readonly bulkDataUri?: (path: string, element: DataElement, dataSet: DataSet) => string | undefined;
  /** Default 1024. */
  readonly bulkDataThresholdBytes?: number;
  /** The pixel data that the data set was cut off before: written last, as a BulkDataURI. */
  readonly pixelData?: { readonly tag: number; readonly vr: Vr; readonly bulkDataUri: string };
  /** Told each attribute of the data set itself, not those inside sequences, as it is written: `"00100020":{...}`, and its place. */
  readonly onMember?: (tag: number, member: string, place: number) => void;
  /** What `onMember` was told of the same bytes before; undefined: to be written anew. */
  readonly known?: (place: number) => string | undefined;
}

const DEFAULT_BULK_DATA_THRESHOLD_BYTES = 1024;
export const SPECIFIC_CHARACTER_SET = 0x00080005;
const UTF_8_DECLARATION = '"00080005":{"vr":"CS","Value":["ISO_IR 192"]}';

interface Writer {
  readonly options: JsonOptions;
  readonly thresholdBytes: number;
}

/** A data set as the text of a DICOM JSON object; without group lengths and group 0002. Deterministic: same bytes, same text. */
export function formatDicomJson(dataSet: DataSet, options: JsonOptions = {}): string {
  const writer: Writer = {
    options,
    thresholdBytes: options.bulkDataThresholdBytes ?? DEFAULT_BULK_DATA_THRESHOLD_BYTES,
  };
  const { pixelData } = options;
  const body = formatElements(writer, dataSet, dataSet.elements, characterSetOf(dataSet), '');
  if (pixelData === undefined) return declareUtf8(dataSet, body);
  const { tag, vr, bulkDataUri } = pixelData;
  const last = `"${tagKey(tag)}":{"vr":"${vr}","BulkDataURI":${JSON.stringify(bulkDataUri)}}`;
  return declareUtf8(dataSet, body === '' ? last : `${body},${last}`);
}

/** Text beyond ASCII has to be declared even where the sender did not (F.2). */
function declareUtf8(dataSet: DataSet, body: string): string {
  const declared = findElement(dataSet, SPECIFIC_CHARACTER_SET) !== undefined;
  if (declared || !/[^\0-\x7f]/.test(body)) return `{${body}}`;
  const before = dataSet.elements.filter(({ tag }) => tag < SPECIFIC_CHARACTER_SET && isWritten(tag));
  if (before.length === 0) return `{${UTF_8_DECLARATION},${body}}`;
  const set = characterSetOf(dataSet);
  const head = formatElements({ options: {}, thresholdBytes: 0 }, dataSet, before, set, '');
  return `{${head},${UTF_8_DECLARATION}${body.slice(head.length)}}`;
}

/** The same as an object; keys that are all digits are not in place. */
export function toDicomJson(dataSet: DataSet, options: JsonOptions = {}): DicomJson {
  return JSON.parse(formatDicomJson(dataSet, options)) as DicomJson;
}

/** Group lengths and file meta have no place in the model. */
export function isWritten(tag: number): boolean {
  return (tag & 0xffff) !== 0 && tag >>> 16 !== 0x0002;
}

function formatElements(
  writer: Writer,
  dataSet: DataSet,
  elements: readonly DataElement[],
  set: CharacterSet,
  path: string,
): string {
  let text = '';
  const { known, onMember } = path === '' ? writer.options : NO_OPTIONS;
  for (let place = 0; place < elements.length; place++) {
    const element = elements[place];
    if (element === undefined || !isWritten(element.tag)) continue;
    if (text !== '') text += ',';
    const member = known?.(place) ?? formatMember(writer, dataSet, element, set, path);
    onMember?.(element.tag, member, place);
    text += member;
  }
  return text;
}

const NO_OPTIONS: JsonOptions = {};

function formatMember(writer: Writer, dataSet: DataSet, element: DataElement, set: CharacterSet, path: string): string {
  if (element.tag === SPECIFIC_CHARACTER_SET) return UTF_8_DECLARATION;
  return `"${tagKey(element.tag)}":{"vr":"${element.vr}"${formatContent(writer, dataSet, element, set, path)}}`;
}

/** What follows the VR: nothing, or a comma and one of Value, InlineBinary and BulkDataURI. */
function formatContent(
  writer: Writer,
  dataSet: DataSet,
  element: DataElement,
  set: CharacterSet,
  path: string,
): string {
  const { vr, tag } = element;
  const lengthBytes = element.valueEnd - element.valueStart;
  if (vr === 'SQ') return formatItems(writer, element, set, path);
  if (lengthBytes === 0) return '';
  if (lengthBytes > writer.thresholdBytes && BULK_VRS.has(vr)) {
    const uri = writer.options.bulkDataUri?.(path + tagKey(tag), element, dataSet);
    if (uri !== undefined) return `,"BulkDataURI":${JSON.stringify(uri)}`;
  }
  switch (vr) {
    case 'OB':
    case 'OD':
    case 'OF':
    case 'OL':
    case 'OV':
    case 'OW':
    case 'UN':
      return `,"InlineBinary":"${littleEndianValue(dataSet, element).toString('base64')}"`;
    case 'PN': {
      const names = splitValues(decodeText(set, valueBytes(dataSet, element), vr), vr);
      return valueList(
        names.map((name) => (/^[= ]+$/.test(name) ? '' : name)),
        formatName,
      );
    }
    case 'LO':
    case 'LT':
    case 'SH':
    case 'ST':
    case 'UC':
    case 'UT':
      return valueList(splitValues(decodeText(set, valueBytes(dataSet, element), vr), vr), formatText);
    case 'UR':
      return valueList([asciiOf(dataSet, element)], formatText);
    case 'AE':
    case 'AS':
    case 'CS':
    case 'DA':
    case 'DT':
    case 'TM':
    case 'UI':
      return valueList(asciiList(dataSet, element), formatText);
    case 'DS':
    case 'IS':
      return valueList(asciiList(dataSet, element), formatDecimal);
    case 'AT':
      return numberList(attributeTags(dataSet, element), (value) => `"${tagKey(value)}"`);
    case 'FD':
    case 'FL': {
      const numbers = numbersOf(dataSet, element);
      if (!numbers.every(Number.isFinite)) {
        const uri = writer.options.bulkDataUri?.(path + tagKey(tag), element, dataSet);
        if (uri !== undefined) return `,"BulkDataURI":${JSON.stringify(uri)}`;
      }
      return numberList(numbers, formatNumber);
    }
    case 'SL':
    case 'SS':
    case 'UL':
    case 'US':
      return numberList(numbersOf(dataSet, element), formatNumber);
    case 'SV':
    case 'UV':
      return numberList(bigIntegers(dataSet, element), formatBigInteger);
    default:
      return vr satisfies never;
  }
}

/** F.2.6, without DS and IS. */
const BULK_VRS: ReadonlySet<Vr> = new Set<Vr>([
  ...(['FL', 'FD', 'LT', 'OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'SL', 'SS'] as const),
  ...(['ST', 'SV', 'UC', 'UL', 'UN', 'US', 'UT', 'UV'] as const),
]);

function formatItems(writer: Writer, element: DataElement, inherited: CharacterSet, path: string): string {
  const items = element.items ?? [];
  if (items.length === 0) return '';
  let text = '';
  for (const [index, item] of items.entries()) {
    const set = characterSetOf(item, inherited);
    const inner = formatElements(writer, item, item.elements, set, `${path}${tagKey(element.tag)}/${index}/`);
    text += index === 0 ? `{${inner}}` : `,{${inner}}`;
  }
  return `,"Value":[${text}]`;
}

/** An attribute whose only value is empty has no Value; an empty value among others is null (F.2.5). */
function valueList(values: readonly string[], format: (value: string) => string): string {
  if (values.length === 1) return values[0] === '' ? '' : `,"Value":[${format(values[0] as string)}]`;
  return `,"Value":[${values.map((value) => (value === '' ? 'null' : format(value))).join(',')}]`;
}

/** A value too short for one number is written as empty. */
function numberList<T>(values: readonly T[], format: (value: T) => string): string {
  return values.length === 0 ? '' : `,"Value":[${values.map(format).join(',')}]`;
}

const formatText = (value: string): string => JSON.stringify(value);

/** In the order of the value (PS3.5 6.2.1.1). */
export const NAME_GROUPS = ['Alphabetic', 'Ideographic', 'Phonetic'] as const;

function formatName(value: string): string {
  const groups = value.split('=', NAME_GROUPS.length).map(withoutTrailingPadding);
  const members = groups.flatMap((group, index) =>
    group === '' ? [] : [`"${NAME_GROUPS[index]}":${JSON.stringify(group)}`],
  );
  return `{${members.join(',')}}`;
}

function asciiList(dataSet: DataSet, element: DataElement): string[] {
  const text = asciiOf(dataSet, element);
  if (!text.includes('\\')) return [text];
  return text.split('\\').map(withoutPadding);
}

const DECIMAL = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?$/i;
const PLAIN_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?$/;
const JSON_NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?(e[+-]?\d+)?$/i;
/** Any decimal of so many digits survives a double. */
const EXACT_DIGITS = 15;

/** A number where its value is kept exactly, as written where JSON allows that form (`1.50`); otherwise the string (F.2.3 note). */
function formatDecimal(value: string): string {
  if (value.length <= EXACT_DIGITS && PLAIN_NUMBER.test(value)) return value;
  if (!DECIMAL.test(value)) return JSON.stringify(value);
  const number = Number(value);
  const [mantissa = ''] = value.split(/e/i);
  const digits = mantissa.replaceAll(/\D/g, '').replace(/^0+/, '').length;
  // Beyond the range of normal doubles digits are lost whatever their number.
  const exact = digits <= EXACT_DIGITS && (digits === 0 || (Math.abs(number) >= 1e-290 && Math.abs(number) <= 1e290));
  if (!exact && String(number) !== value) return JSON.stringify(value);
  return JSON_NUMBER.test(value) ? value : formatNumber(number);
}

/** Negative zero keeps its sign. */
export function formatNumber(value: number): string {
  if (Number.isFinite(value)) return Object.is(value, -0) ? '-0' : String(value);
  return `"${value}"`;
}

/** Beyond 2^53 a JSON number would be rounded by most readers. */
function formatBigInteger(value: bigint): string {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
    ? `${value}`
    : `"${value}"`;
}

function bigIntegers(dataSet: DataSet, element: DataElement): bigint[] {
  const value = littleEndianValue(dataSet, element);
  const integers: bigint[] = [];
  for (let at = 0; at + 8 <= value.length; at += 8) {
    integers.push(element.vr === 'SV' ? value.readBigInt64LE(at) : value.readBigUInt64LE(at));
  }
  return integers;
}

function attributeTags(dataSet: DataSet, element: DataElement): number[] {
  const halves = numbersOf(dataSet, element);
  const tags: number[] = [];
  for (let i = 0; i + 1 < halves.length; i += 2) {
    tags.push((((halves[i] as number) << 16) | (halves[i + 1] as number)) >>> 0);
  }
  return tags;
}

/** An object as text with its keys ascending, nested ones too. */
export function formatDicomJsonObject(json: DicomJson): string {
  const members = Object.keys(json)
    .sort()
    .map((tag) => {
      const element = json[tag] as DicomJsonElement;
      if (element.vr !== 'SQ' || element.Value === undefined) return `"${tag}":${JSON.stringify(element)}`;
      return `"${tag}":{"vr":"SQ","Value":[${element.Value.map(formatDicomJsonObject).join(',')}]}`;
    });
  return `{${members.join(',')}}`;
}
