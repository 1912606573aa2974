/**
 * Writes a data set in Explicit VR Little Endian by splicing: what stays is copied as it lies, what changes is written anew.
 * Sequences and items get defined lengths, filled in when they end (PS3.5 section 7.5).
 */
import { valueBytes, type DataElement, type DataSet } from './data-set.ts';
import { VR_TRAITS, type Vr } from './vr.ts';

/** Bytes written so far; grows as needed. */
export interface Sink {
  buffer: Buffer;
  length: number;
}

export function openSink(capacityBytes = 4096): Sink {
  return { buffer: Buffer.allocUnsafe(capacityBytes), length: 0 };
}

/** What has been written; shares memory with the sink, which must not be written any more. */
export function sinkBytes(sink: Sink): Buffer {
  return sink.buffer.subarray(0, sink.length);
}

function reserve(sink: Sink, bytes: number): void {
  const needed = sink.length + bytes;
  if (needed <= sink.buffer.length) return;
  const grown = Buffer.allocUnsafe(Math.max(needed, sink.buffer.length * 2));
  sink.buffer.copy(grown, 0, 0, sink.length);
  sink.buffer = grown;
}

export function writeBytes(sink: Sink, bytes: Uint8Array): void {
  reserve(sink, bytes.length);
  sink.buffer.set(bytes, sink.length);
  sink.length += bytes.length;
}

/** The element's header; `lengthBytes` may be 0xFFFFFFFF for the long forms. */
export function writeHeader(sink: Sink, tag: number, vr: Vr, lengthBytes: number): void {
  reserve(sink, 12);
  const { buffer } = sink;
  let at = sink.length;
  buffer[at++] = (tag >>> 16) & 0xff;
  buffer[at++] = tag >>> 24;
  buffer[at++] = tag & 0xff;
  buffer[at++] = (tag >>> 8) & 0xff;
  // PS3.5 6.2.2 note 1: a value too long for a 16-bit length is written as UN.
  const form: Vr = !VR_TRAITS[vr].longForm && lengthBytes > 0xfffe ? 'UN' : vr;
  buffer[at++] = form.charCodeAt(0);
  buffer[at++] = form.charCodeAt(1);
  if (VR_TRAITS[form].longForm) {
    buffer[at++] = 0;
    buffer[at++] = 0;
    at = buffer.writeUInt32LE(lengthBytes, at);
  } else {
    at = buffer.writeUInt16LE(lengthBytes, at);
  }
  sink.length = at;
}

/** An element with this value; padded to even length as its VR wants (PS3.5 6.2). */
export function writeElement(sink: Sink, tag: number, vr: Vr, value: Uint8Array): void {
  const odd = value.length & 1;
  writeHeader(sink, tag, vr, value.length + odd);
  writeBytes(sink, value);
  if (odd === 1) {
    reserve(sink, 1);
    sink.buffer[sink.length++] = VR_TRAITS[vr].padding;
  }
}

/** Text as UTF-8 (the output's Specific Character Set is ISO_IR 192). */
export function writeText(sink: Sink, tag: number, vr: Vr, text: string): void {
  writeElement(sink, tag, vr, Buffer.from(text, 'utf8'));
}

/** Numbers of a binary VR. */
export function writeNumbers(
  sink: Sink,
  tag: number,
  vr: 'US' | 'SS' | 'UL' | 'SL' | 'FL' | 'FD',
  numbers: readonly number[],
): void {
  const size = VR_TRAITS[vr].wordBytes;
  const value = Buffer.alloc(numbers.length * size);
  numbers.forEach((number, index) => {
    const at = index * size;
    if (vr === 'US') value.writeUInt16LE(number, at);
    else if (vr === 'SS') value.writeInt16LE(number, at);
    else if (vr === 'UL') value.writeUInt32LE(number, at);
    else if (vr === 'SL') value.writeInt32LE(number, at);
    else if (vr === 'FL') value.writeFloatLE(number, at);
    else value.writeDoubleLE(number, at);
  });
  writeElement(sink, tag, vr, value);
}

/** Begins a sequence; hand what it returns to endSequence. */
export function beginSequence(sink: Sink, tag: number): number {
  writeHeader(sink, tag, 'SQ', 0);
  return sink.length;
}

export function endSequence(sink: Sink, mark: number): void {
  sink.buffer.writeUInt32LE(sink.length - mark, mark - 4);
}

export function beginItem(sink: Sink): number {
  reserve(sink, 8);
  sink.buffer.writeUInt32LE(0xe000fffe, sink.length);
  sink.length += 8;
  return sink.length;
}

export function endItem(sink: Sink, mark: number): void {
  sink.buffer.writeUInt32LE(sink.length - mark, mark - 4);
}

/** A sequence of these items; `writeItem` writes what each holds. */
export function writeSequence<T>(sink: Sink, tag: number, items: readonly T[], writeItem: (item: T) => void): void {
  const sequence = beginSequence(sink, tag);
  for (const item of items) {
    const mark = beginItem(sink);
    writeItem(item);
    endItem(sink, mark);
  }
  endSequence(sink, sequence);
}

/**
 * Copies an element as it is: the very bytes where they already are Explicit VR LE, otherwise written anew with the same value.
 * Text is not re-encoded: that is for the caller who knows the character set.
 */
export function copyElement(sink: Sink, dataSet: DataSet, element: DataElement): void {
  if (isVerbatim(dataSet, element)) {
    writeBytes(sink, dataSet.bytes.subarray(element.start, element.end));
    return;
  }
  if (element.items !== undefined) {
    writeSequence(sink, element.tag, element.items, (item) => copyElements(sink, item));
    return;
  }
  if (element.fragments !== undefined) {
    writeHeader(sink, element.tag, 'OB', UNDEFINED_LENGTH);
    writeBytes(sink, dataSet.bytes.subarray(element.valueStart, element.valueEnd));
    writeBytes(sink, SEQUENCE_DELIMITER);
    return;
  }
  writeElement(sink, element.tag, element.vr, littleEndianValue(dataSet, element));
}

const UNDEFINED_LENGTH = 0xffffffff;
const SEQUENCE_DELIMITER = Buffer.from([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);

export function copyElements(sink: Sink, dataSet: DataSet): void {
  for (const element of dataSet.elements) {
    // Group lengths (gggg,0000) would no longer be true; they are retired (PS3.5 7.2).
    if ((element.tag & 0xffff) !== 0) copyElement(sink, dataSet, element);
  }
}

/** The value with its numbers in little endian order; not copied when it already is. */
export function littleEndianValue(dataSet: DataSet, element: DataElement): Buffer {
  const value = valueBytes(dataSet, element);
  if (dataSet.encoding !== 'explicit-be') return value;
  return swapWords(Buffer.from(value), VR_TRAITS[element.vr].wordBytes);
}

/** Turns the byte order of every whole word round, in place. */
export function swapWords(bytes: Buffer, wordBytes: 1 | 2 | 4 | 8): Buffer {
  const whole = bytes.subarray(0, bytes.length - (bytes.length % wordBytes));
  if (wordBytes === 2) whole.swap16();
  else if (wordBytes === 4) whole.swap32();
  else if (wordBytes === 8) whole.swap64();
  return bytes;
}

/**
 * True when the bytes of the element, nested ones included, may stand as they lie in an Explicit VR LE data set: even, in order, without
 * group lengths, and nothing in them but what the reader has seen, since what it has not seen nobody has judged.
 */
function isVerbatim({ bytes, encoding }: DataSet, element: DataElement): boolean {
  const { valueStart, valueEnd, items, undefinedLength } = element;
  if (encoding !== 'explicit-le' || element.retyped || ((valueEnd - valueStart) & 1) === 1) return false;
  if (undefinedLength && bytes.readUInt32LE(valueEnd + 4) !== 0) return false;
  if (items === undefined) return true;
  let at = valueStart;
  for (const item of items) {
    if (item.start !== at + 8 || item.encoding !== 'explicit-le' || !isGapless(item)) return false;
    at = item.end;
    if (bytes.readUInt32LE(item.start - 4) !== UNDEFINED_LENGTH) continue;
    if (bytes.readUInt32LE(at + 4) !== 0) return false;
    at += 8;
  }
  return at === valueEnd;
}

function isGapless(item: DataSet): boolean {
  let at = item.start;
  for (const element of item.elements) {
    if (element.start !== at || (element.tag & 0xffff) === 0 || !isVerbatim(item, element)) return false;
    at = element.end;
  }
  return at === item.end;
}
