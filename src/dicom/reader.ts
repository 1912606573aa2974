/**
 * Walks the elements of a data set over a Buffer (PS3.5 section 7) without decoding or copying values.
 * Reads from a prefix: when bytes are still to come it says so instead of failing. Every read is bounded by what is there,
 * nesting by MAX_DEPTH; what contradicts itself is refused by tag and offset.
 */
import { vrOf } from './dictionary.ts';
import { formatTag, type DataElement, type DataSet, type Encoding, type Extent } from './data-set.ts';
import { Refusal } from './refusal.ts';
import { isLongForm, VR_TRAITS, vrFromBytes, type Vr } from './vr.ts';

/** Sequences inside sequences; real objects stay below ten. */
export const MAX_DEPTH = 64;
/** Elements and items of one data set: the largest real ones (a frame group for each of 100 000 tiles) stay below a million. */
const MAX_ELEMENTS = 2_000_000;
const UNDEFINED_LENGTH = 0xffffffff;
const PIXEL_REPRESENTATION = 0x00280103;
const ITEM = 0xfffee000;
const ITEM_DELIMITATION = 0xfffee00d;
const SEQUENCE_DELIMITATION = 0xfffee0dd;

/** Thrown, without a stack, when a prefix ends inside an element. */
export const MORE_BYTES = Object.freeze({ moreBytes: true });

export interface ReadOptions {
  /** False while bytes may still come: then MORE_BYTES is thrown at the end of a prefix, not a Refusal. */
  readonly complete: boolean;
  /** Return from the top level before the first element for which this holds. */
  readonly stopBefore?: (tag: number) => boolean;
  /** End before the first element for which this holds, unread: it may be in another encoding (what follows group 0002). */
  readonly endBefore?: (tag: number) => boolean;
  /** An element that claims to end further than this behind the start is refused before its bytes are waited for. */
  readonly maxBytes?: number;
}

export interface ElementHeader {
  readonly tag: number;
  readonly vr: Vr;
  readonly retyped: boolean;
  readonly valueStart: number;
  /** UNDEFINED_LENGTH (0xFFFFFFFF) when undefined. */
  readonly lengthBytes: number;
}

export interface TopLevel {
  readonly dataSet: DataSet;
  /** The element before which the walk stopped, if `stopBefore` stopped it. */
  readonly stoppedAt: ElementHeader | undefined;
}

interface Walk {
  readonly bytes: Buffer;
  readonly complete: boolean;
  /** No element may claim to go beyond. */
  readonly limit: number;
  readonly state: WalkState;
}

/** What is shared by a data set and everything nested in it. */
interface WalkState {
  /** Settles `US or SS` where no VR is written: Pixel Representation, met before any attribute that depends on it. */
  pixelRepresentation: number | undefined;
  /** Elements and items that may still come. */
  left: number;
}

/** Reads elements from `start` to `end` of `bytes`. @throws Refusal CannotUnderstand; MORE_BYTES when not complete */
export function readDataSet(
  bytes: Buffer,
  start: number,
  end: number,
  encoding: Encoding,
  options: ReadOptions,
): TopLevel {
  const walk: Walk = {
    bytes,
    complete: options.complete,
    limit: start + (options.maxBytes ?? Infinity),
    state: { pixelRepresentation: undefined, left: MAX_ELEMENTS },
  };
  const { stopBefore, endBefore } = options;
  const big = encoding === 'explicit-be';
  const elements: DataElement[] = [];
  let at = start;
  let last = -1;
  let ordered = true;
  let ended = false;
  let stoppedAt: ElementHeader | undefined;
  while (at < end) {
    if (endBefore !== undefined && at + 4 <= end && endBefore(readTag(bytes, at, big))) {
      ended = true;
      break;
    }
    const header = readHeader(walk, at, end, encoding);
    if (stopBefore?.(header.tag) === true) {
      stoppedAt = header;
      break;
    }
    if (header.tag >= ITEM && header.tag <= SEQUENCE_DELIMITATION) {
      throw new Refusal('CannotUnderstand', `${formatTag(header.tag)} at byte ${at} stands outside a sequence`);
    }
    const element = readElement(walk, at, header, end, encoding, 0);
    if (element.tag <= last) ordered = false;
    last = element.tag;
    elements.push(element);
    at = element.end;
  }
  // A prefix that ends with an element is no end: what follows may be another element.
  if (!options.complete && stoppedAt === undefined && !ended) throw MORE_BYTES;
  return { dataSet: { bytes, encoding, start, end: at, elements: ordered ? elements : sorted(elements) }, stoppedAt };
}

function readHeader(walk: Walk, at: number, end: number, encoding: Encoding): ElementHeader {
  const { bytes } = walk;
  if (at + 8 > end) throw short(walk, at, 8, end);
  const big = encoding === 'explicit-be';
  const tag = readTag(bytes, at, big);
  if (encoding === 'implicit-le' || tag >>> 16 === 0xfffe) {
    const lengthBytes = big ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4);
    const known = vrOf(tag, walk.state);
    const vr = known ?? (lengthBytes === UNDEFINED_LENGTH ? 'SQ' : 'UN');
    return { tag, vr, retyped: true, valueStart: at + 8, lengthBytes };
  }
  const first = bytes[at + 4] ?? 0;
  const second = bytes[at + 5] ?? 0;
  const encoded = vrFromBytes(first, second);
  // PS3.5 6.2: a VR not known here has the 32-bit form. What is no pair of capital letters is damage.
  if (encoded === undefined && !(isCapital(first) && isCapital(second))) {
    throw new Refusal(
      'CannotUnderstand',
      `${formatTag(tag)} at byte ${at} has no VR where Explicit VR needs two letters (PS3.5 7.1.2)`,
    );
  }
  if (encoded !== undefined && !isLongForm(encoded)) {
    const lengthBytes = big ? bytes.readUInt16BE(at + 6) : bytes.readUInt16LE(at + 6);
    return { tag, vr: encoded, retyped: false, valueStart: at + 8, lengthBytes };
  }
  if (at + 12 > end) throw short(walk, at, 12, end);
  const lengthBytes = big ? bytes.readUInt32BE(at + 8) : bytes.readUInt32LE(at + 8);
  if (encoded !== undefined && encoded !== 'UN')
    return { tag, vr: encoded, retyped: false, valueStart: at + 12, lengthBytes };
  const vr = vrOfUnknown(walk, tag, lengthBytes, big);
  return { tag, vr, retyped: encoded === undefined || vr !== 'UN', valueStart: at + 12, lengthBytes };
}

/** UN: the dictionary knows better (PS3.5 6.2.2 note 2); of undefined length it is a sequence in Implicit VR LE. */
function vrOfUnknown(walk: Walk, tag: number, lengthBytes: number, big: boolean): Vr {
  const known = vrOf(tag, walk.state);
  if (lengthBytes === UNDEFINED_LENGTH) return known === 'OB' || known === 'OW' ? known : 'SQ';
  // The words of a UN value are in little endian order whatever surrounds them (PS3.5 6.2.2), which no VR of words would say here.
  if (known === undefined || (big && VR_TRAITS[known].wordBytes > 1)) return 'UN';
  return known;
}

function isCapital(code: number): boolean {
  return code >= 0x41 && code <= 0x5a;
}

function readElement(
  walk: Walk,
  at: number,
  header: ElementHeader,
  end: number,
  encoding: Encoding,
  depth: number,
): DataElement {
  const { tag, vr, retyped, valueStart, lengthBytes } = header;
  count(walk);
  if (lengthBytes === UNDEFINED_LENGTH) return readUndefinedLength(walk, at, header, end, encoding, depth);
  const valueEnd = valueStart + lengthBytes;
  if (valueEnd > end) throw short(walk, at, valueEnd - at, end);
  if (tag === PIXEL_REPRESENTATION && lengthBytes >= 2) {
    walk.state.pixelRepresentation =
      encoding === 'explicit-be' ? walk.bytes.readUInt16BE(valueStart) : walk.bytes.readUInt16LE(valueStart);
  }
  const items =
    vr === 'SQ'
      ? readItems(whole(walk), tag, valueStart, valueEnd, itemEncoding(header, encoding), depth, false).items
      : undefined;
  return {
    tag,
    vr,
    retyped,
    start: at,
    valueStart,
    valueEnd,
    end: valueEnd,
    undefinedLength: false,
    items,
    fragments: undefined,
  };
}

/** What has a defined length is all here: a length that leaves it is damage, not a prefix. */
function whole(walk: Walk): Walk {
  return walk.complete ? walk : { ...walk, complete: true };
}

function count(walk: Walk): void {
  if (--walk.state.left < 0)
    throw new Refusal('TooLarge', `the data set has more than ${MAX_ELEMENTS} elements and items`);
}

function readUndefinedLength(
  walk: Walk,
  at: number,
  header: ElementHeader,
  end: number,
  encoding: Encoding,
  depth: number,
): DataElement {
  const { tag, vr, retyped, valueStart } = header;
  const common = { tag, retyped, start: at, valueStart, undefinedLength: true };
  if (vr === 'SQ') {
    const read = readItems(walk, tag, valueStart, end, itemEncoding(header, encoding), depth, true);
    return { ...common, vr, valueEnd: read.end, end: read.end + 8, items: read.items, fragments: undefined };
  }
  if (vr === 'OB' || vr === 'OW') {
    const read = readFragments(walk, tag, valueStart, end);
    return { ...common, vr, valueEnd: read.end, end: read.end + 8, items: undefined, fragments: read.fragments };
  }
  throw new Refusal(
    'CannotUnderstand',
    `${formatTag(tag)} at byte ${at} has VR ${vr} and undefined length, which only SQ, UN, OB and OW may have (PS3.5 7.1.2)`,
  );
}

/** A UN element holds its items in Implicit VR LE whatever surrounds it (PS3.5 6.2.2 note 2). */
function itemEncoding(header: ElementHeader, encoding: Encoding): Encoding {
  return header.retyped && encoding !== 'implicit-le' ? 'implicit-le' : encoding;
}

function readItems(
  walk: Walk,
  tag: number,
  start: number,
  end: number,
  encoding: Encoding,
  depth: number,
  delimited: boolean,
): { items: DataSet[]; end: number } {
  if (depth >= MAX_DEPTH) {
    throw new Refusal(
      'CannotUnderstand',
      `${formatTag(tag)} at byte ${start}: sequences are nested deeper than ${MAX_DEPTH}`,
    );
  }
  const { bytes, state } = walk;
  const { pixelRepresentation } = state;
  const big = encoding === 'explicit-be';
  const items: DataSet[] = [];
  let at = start;
  while (at < end) {
    if (at + 8 > end) throw short(walk, at, 8, end);
    const itemTag = readTag(bytes, at, big);
    const lengthBytes = big ? bytes.readUInt32BE(at + 4) : bytes.readUInt32LE(at + 4);
    if (itemTag === SEQUENCE_DELIMITATION && delimited) return { items, end: at };
    // A delimitation too many at the end of a sequence of defined length is seen; whatever followed it would be hidden.
    if (itemTag === SEQUENCE_DELIMITATION && at + 8 === end) return { items, end: at };
    if (itemTag !== ITEM) {
      throw new Refusal(
        'CannotUnderstand',
        `${formatTag(tag)}: ${formatTag(itemTag)} at byte ${at} where an item should begin`,
      );
    }
    count(walk);
    const contentStart = at + 8;
    if (lengthBytes === UNDEFINED_LENGTH) {
      const item = readDelimitedItem(walk, contentStart, end, settleEncoding(walk, contentStart, end, encoding), depth);
      items.push(item);
      at = item.end + 8;
    } else {
      const contentEnd = contentStart + lengthBytes;
      if (contentEnd > end) throw short(walk, at, contentEnd - at, end);
      const inside = whole(walk);
      const settled = settleEncoding(inside, contentStart, contentEnd, encoding);
      items.push(readItemOfLength(inside, contentStart, contentEnd, settled, depth));
      at = contentEnd;
    }
    // An item (an icon, say) may have its own, which holds for itself alone.
    state.pixelRepresentation = pixelRepresentation;
  }
  if (delimited) throw short(walk, at, 8, end);
  return { items, end: at };
}

/** Some writers put Explicit VR inside a UN sequence: a VR after the first tag betrays it. Settled by eight bytes alone. */
function settleEncoding(walk: Walk, start: number, end: number, encoding: Encoding): Encoding {
  if (encoding !== 'implicit-le') return encoding;
  if (start + 8 > end) {
    if (walk.complete) return encoding;
    throw MORE_BYTES;
  }
  const { bytes } = walk;
  const tag = readTag(bytes, start, false);
  if (tag >>> 16 === 0xfffe) return encoding;
  const first = bytes[start + 4] ?? 0;
  const vr = vrFromBytes(first, bytes[start + 5] ?? 0);
  if (vr === undefined) return encoding;
  // As an implicit length the two letters would be its low half: an odd one is none (PS3.5 7.1.1), an even one is asked for more.
  return (first & 1) === 1 || vrOf(tag, walk.state) === vr ? 'explicit-le' : encoding;
}

/** The item's content ends with its last element: a delimitation too many stands outside, and must be the last thing in it. */
function readItemOfLength(walk: Walk, start: number, end: number, encoding: Encoding, depth: number): DataSet {
  const elements: DataElement[] = [];
  let at = start;
  let last = -1;
  let ordered = true;
  while (at < end) {
    const header = readHeader(walk, at, end, encoding);
    if (header.tag === ITEM_DELIMITATION && header.valueStart === end) break;
    refuseItemTag(header.tag, at);
    const element = readElement(walk, at, header, end, encoding, depth + 1);
    if (element.tag <= last) ordered = false;
    last = element.tag;
    elements.push(element);
    at = element.end;
  }
  return { bytes: walk.bytes, encoding, start, end: at, elements: ordered ? elements : sorted(elements) };
}

function refuseItemTag(tag: number, at: number): void {
  if (tag === ITEM || tag === ITEM_DELIMITATION || tag === SEQUENCE_DELIMITATION)
    throw new Refusal('CannotUnderstand', `${formatTag(tag)} at byte ${at} inside an item that has not ended`);
}

function readDelimitedItem(walk: Walk, start: number, end: number, encoding: Encoding, depth: number): DataSet {
  const elements: DataElement[] = [];
  let at = start;
  let last = -1;
  let ordered = true;
  for (;;) {
    const header = readHeader(walk, at, end, encoding);
    if (header.tag === ITEM_DELIMITATION) break;
    refuseItemTag(header.tag, at);
    const element = readElement(walk, at, header, end, encoding, depth + 1);
    if (element.tag <= last) ordered = false;
    last = element.tag;
    elements.push(element);
    at = element.end;
  }
  return { bytes: walk.bytes, encoding, start, end: at, elements: ordered ? elements : sorted(elements) };
}

function readFragments(walk: Walk, tag: number, start: number, end: number): { fragments: Extent[]; end: number } {
  const { bytes } = walk;
  const fragments: Extent[] = [];
  let at = start;
  for (;;) {
    if (at + 8 > end) throw short(walk, at, 8, end);
    const itemTag = readTag(bytes, at, false);
    const lengthBytes = bytes.readUInt32LE(at + 4);
    if (itemTag === SEQUENCE_DELIMITATION) return { fragments, end: at };
    if (itemTag !== ITEM || lengthBytes === UNDEFINED_LENGTH) {
      throw new Refusal(
        'CannotUnderstand',
        `${formatTag(tag)}: ${formatTag(itemTag)} at byte ${at} where a fragment should begin (PS3.5 A.4)`,
      );
    }
    if (at + 8 + lengthBytes > end) throw short(walk, at, 8 + lengthBytes, end);
    count(walk);
    fragments.push({ start: at + 8, end: at + 8 + lengthBytes });
    at += 8 + lengthBytes;
  }
}

function readTag(bytes: Buffer, at: number, big: boolean): number {
  return big
    ? ((bytes.readUInt16BE(at) << 16) | bytes.readUInt16BE(at + 2)) >>> 0
    : ((bytes.readUInt16LE(at) << 16) | bytes.readUInt16LE(at + 2)) >>> 0;
}

function short(walk: Walk, at: number, neededBytes: number, end: number): Refusal | typeof MORE_BYTES {
  if (at + neededBytes > walk.limit)
    return new Refusal(
      'CannotUnderstand',
      `an element of ${neededBytes} bytes at byte ${at}, more than a head may have`,
    );
  if (!walk.complete) return MORE_BYTES;
  return new Refusal(
    'CannotUnderstand',
    `the data set ends early: ${neededBytes} bytes needed at byte ${at}, ${end - at} are there`,
  );
}

/** PS3.5 7.1: ascending, each once. Order is mended; a tag that stands twice is refused, since readers would disagree which counts. */
function sorted(elements: readonly DataElement[]): DataElement[] {
  const result = [...elements].sort((a, b) => a.tag - b.tag);
  for (let i = 1; i < result.length; i++) {
    if (result[i]?.tag === result[i - 1]?.tag) {
      throw new Refusal(
        'CannotUnderstand',
        `${formatTag(result[i]?.tag ?? 0)} stands twice in one data set (PS3.5 7.1)`,
      );
    }
  }
  return result;
}
