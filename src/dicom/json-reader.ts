/** Data sets from the DICOM JSON Model, PS3.18 Annex F: what STOW-RS may bring; every fault is a refusal naming the tag, never a value. */
import { formatTag, type DataSet } from './data-set.ts';
import { formatNumber, isWritten, NAME_GROUPS, SPECIFIC_CHARACTER_SET } from './json.ts';
import { MAX_DEPTH, readDataSet } from './reader.ts';
import { Refusal } from './refusal.ts';
import { VR_TRAITS, type Vr } from './vr.ts';
import { openSink, sinkBytes, writeElement, type Sink, writeSequence } from './writer.ts';

export interface FromJsonOptions {
  /** The value that a BulkDataURI points to, little endian. Without it, or when it is undefined, the object is refused. */
  readonly bulkData?: (uri: string) => Uint8Array | undefined;
}

/**
 * A data set from parsed JSON, in Explicit VR Little Endian and UTF-8; group lengths and group 0002 in it are passed over.
 * @throws Refusal CannotUnderstand for what is no DICOM JSON Model object
 */
export function fromDicomJson(json: unknown, options: FromJsonOptions = {}): DataSet {
  const plain = openSink();
  const reader: JsonReader = { sink: plain, bulkData: options.bulkData, beyondAscii: false };
  writeObject(reader, json, 0, false);
  // Text beyond ASCII has to be declared even where the JSON, which is UTF-8 by nature, does not say so.
  if (reader.beyondAscii) {
    reader.sink = openSink(plain.length + 64);
    writeObject(reader, json, 0, true);
  }
  const bytes = Buffer.from(sinkBytes(reader.sink));
  return readDataSet(bytes, 0, bytes.length, 'explicit-le', { complete: true }).dataSet;
}

interface JsonReader {
  sink: Sink;
  readonly bulkData: FromJsonOptions['bulkData'];
  /** Whether a character beyond ASCII has been written. */
  beyondAscii: boolean;
}

function writeObject(reader: JsonReader, json: unknown, depth: number, declare: boolean): void {
  if (depth > MAX_DEPTH) throw new Refusal('CannotUnderstand', `DICOM JSON is nested deeper than ${MAX_DEPTH}`);
  if (!isObject(json)) throw new Refusal('CannotUnderstand', 'a data set in DICOM JSON is an object (PS3.18 F.2)');
  const attributes = new Map<number, unknown>();
  for (const [key, element] of Object.entries(json)) {
    if (!/^[0-9A-F]{8}$/i.test(key)) {
      throw new Refusal(
        'CannotUnderstand',
        `a key of ${key.length} characters is no tag of eight hex digits (PS3.18 F.2.2)`,
      );
    }
    const tag = Number.parseInt(key, 16);
    if (tag >>> 16 === 0x0000 || tag >>> 16 === 0xfffe) {
      throw new Refusal('CannotUnderstand', `${formatTag(tag)} has no place in a data set`);
    }
    if (attributes.has(tag)) throw new Refusal('CannotUnderstand', `${formatTag(tag)} stands twice in DICOM JSON`);
    if (isWritten(tag)) attributes.set(tag, element);
  }
  if (declare) attributes.set(SPECIFIC_CHARACTER_SET, undefined);
  for (const [tag, element] of [...attributes].sort(([a], [b]) => a - b)) {
    if (tag === SPECIFIC_CHARACTER_SET) writeElement(reader.sink, tag, 'CS', Buffer.from('ISO_IR 192'));
    else writeJsonElement(reader, tag, element, depth);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function writeJsonElement(reader: JsonReader, tag: number, element: unknown, depth: number): void {
  const { sink } = reader;
  if (!isObject(element)) throw malformed(tag, 'is no object');
  const { vr, Value, InlineBinary, BulkDataURI } = element as Partial<
    Record<'vr' | 'Value' | 'InlineBinary' | 'BulkDataURI', unknown>
  >;
  if (typeof vr !== 'string' || !Object.hasOwn(VR_TRAITS, vr)) throw malformed(tag, 'has no vr of PS3.5 6.2');
  if ([Value, InlineBinary, BulkDataURI].filter((part) => part !== undefined).length > 1) {
    throw malformed(tag, 'has more than one of Value, InlineBinary and BulkDataURI');
  }
  if (vr === 'SQ') return writeJsonItems(reader, tag, Value, depth);
  if (InlineBinary !== undefined) {
    if (typeof InlineBinary !== 'string') throw malformed(tag, 'has an InlineBinary that is no string');
    return writeElement(sink, tag, vr as Vr, Buffer.from(InlineBinary, 'base64'));
  }
  if (BulkDataURI !== undefined) {
    const bytes = typeof BulkDataURI === 'string' ? reader.bulkData?.(BulkDataURI) : undefined;
    if (bytes === undefined) throw malformed(tag, 'has a BulkDataURI that leads nowhere');
    return writeElement(sink, tag, vr as Vr, bytes);
  }
  if (Value === undefined || (Array.isArray(Value) && Value.length === 0)) {
    return writeElement(sink, tag, vr as Vr, Buffer.alloc(0));
  }
  if (!Array.isArray(Value)) throw malformed(tag, 'has a Value that is no array');
  const bytes = encodeValues(tag, vr as Vr, Value as readonly unknown[]);
  if (VR_TRAITS[vr as Vr].text !== false && bytes.some((byte) => byte > 0x7f)) reader.beyondAscii = true;
  writeElement(sink, tag, vr as Vr, bytes);
}

function malformed(tag: number, what: string): Refusal {
  return new Refusal('CannotUnderstand', `${formatTag(tag)} in DICOM JSON ${what} (PS3.18 F.2)`);
}

function writeJsonItems(reader: JsonReader, tag: number, value: unknown, depth: number): void {
  const { sink } = reader;
  const items = value === undefined ? [] : value;
  if (!Array.isArray(items)) throw malformed(tag, 'has a Value that is no array');
  writeSequence(sink, tag, items as readonly unknown[], (item) => {
    // Some writers give null for an empty item.
    if (item !== null) writeObject(reader, item, depth + 1, false);
  });
}

function encodeValues(tag: number, vr: Vr, values: readonly unknown[]): Buffer {
  const { text, multiValued, wordBytes } = VR_TRAITS[vr];
  if (text !== false) {
    if (values.length > 1 && !multiValued) throw malformed(tag, `has ${values.length} values, ${vr} holds one`);
    return Buffer.from(values.map((value) => encodeTextValue(tag, vr, value)).join('\\'), 'utf8');
  }
  if (vr === 'AT') return Buffer.concat(values.map((value) => encodeTag(tag, value)));
  if (!(vr in NUMBER_RANGES)) throw malformed(tag, `has a Value, ${vr} has InlineBinary or BulkDataURI`);
  const bytes = Buffer.alloc(values.length * wordBytes);
  for (const [index, value] of values.entries()) {
    encodeNumber(bytes, index * wordBytes, tag, vr as keyof typeof NUMBER_RANGES, value);
  }
  return bytes;
}

function encodeTextValue(tag: number, vr: Vr, value: unknown): string {
  if (value === null) return '';
  if (vr === 'PN') return encodeName(tag, value);
  if (typeof value === 'number' && (vr === 'DS' || vr === 'IS')) return formatDecimalString(value);
  if (typeof value !== 'string') throw malformed(tag, `has a value that is no string`);
  if (VR_TRAITS[vr].multiValued && value.includes('\\')) {
    throw malformed(tag, 'has a backslash inside a value, where it would separate two (PS3.18 F.2.4)');
  }
  return value;
}

function encodeName(tag: number, value: unknown): string {
  if (!isObject(value)) throw malformed(tag, 'has a name that is no object');
  const groups = NAME_GROUPS.map((group) => {
    const text = value[group] ?? '';
    if (typeof text !== 'string' || /[=\\]/.test(text)) throw malformed(tag, `has a component group that is no name`);
    return text;
  });
  return groups.join('=').replace(/=+$/, '');
}

/** DS holds 16 characters (PS3.5 6.2): exact if that is possible, else with the most digits that fit. */
function formatDecimalString(value: number): string {
  const text = formatNumber(value).replaceAll('"', '');
  if (text.length <= 16) return text;
  for (let digits: number | undefined; digits !== 1; digits = (digits ?? 17) - 1) {
    const rounded = digits === undefined ? value : Number(value.toPrecision(digits));
    // The largest doubles would round to infinity.
    if (!Number.isFinite(rounded)) continue;
    for (const shorter of [String(rounded), rounded.toExponential().replace('e+', 'e')]) {
      if (shorter.length <= 16) return shorter;
    }
  }
  return text;
}

function encodeTag(tag: number, value: unknown): Buffer {
  if (typeof value !== 'string' || !/^[0-9A-F]{8}$/i.test(value)) throw malformed(tag, 'has a value that is no tag');
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16LE(Number.parseInt(value.slice(0, 4), 16), 0);
  bytes.writeUInt16LE(Number.parseInt(value.slice(4), 16), 2);
  return bytes;
}

/** Bits of the integer, signed or not; undefined for floating point. */
const NUMBER_RANGES = {
  US: { bits: 16, signed: false },
  SS: { bits: 16, signed: true },
  UL: { bits: 32, signed: false },
  SL: { bits: 32, signed: true },
  UV: { bits: 64, signed: false },
  SV: { bits: 64, signed: true },
  FL: undefined,
  FD: undefined,
} as const;

function encodeNumber(bytes: Buffer, at: number, tag: number, vr: keyof typeof NUMBER_RANGES, value: unknown): void {
  const range = NUMBER_RANGES[vr];
  if (range === undefined) {
    const number = value === null ? NaN : typeof value === 'string' ? NON_FINITE.get(value) : value;
    if (typeof number !== 'number') throw malformed(tag, 'has a value that is no number');
    if (vr === 'FL') bytes.writeFloatLE(number, at);
    else bytes.writeDoubleLE(number, at);
    return;
  }
  const isInteger = typeof value === 'string' ? /^-?\d{1,20}$/.test(value) : Number.isSafeInteger(value);
  if (!isInteger) throw malformed(tag, 'has a value that is no integer');
  const integer = BigInt(value as number | string);
  const wrapped = range.signed ? BigInt.asIntN(range.bits, integer) : BigInt.asUintN(range.bits, integer);
  if (wrapped !== integer) throw malformed(tag, `has a value outside the range of ${vr}`);
  const word = BigInt.asUintN(range.bits, integer);
  if (range.bits === 64) bytes.writeBigUInt64LE(word, at);
  else bytes.writeUIntLE(Number(word), at, range.bits === 16 ? 2 : 4);
}

const NON_FINITE = new Map([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
]);
