/** Data sets in the making: attributes by tag, copied from where they lie or given a value, written in Explicit VR LE and UTF-8. */
import { decodeText, type CharacterSet } from '../dicom/character-set.ts';
import {
  characterSetOf,
  findElement,
  valueBytes,
  withoutTrailingPadding,
  type DataElement,
  type DataSet,
} from '../dicom/data-set.ts';
import { isPrivate, tag, vrOf, type VrContext } from '../dicom/dictionary.ts';
import { faultOf } from '../dicom/value-faults.ts';
import { VR_TRAITS, type Vr } from '../dicom/vr.ts';
import {
  copyElement,
  openSink,
  sinkBytes,
  writeElement,
  writeNumbers,
  writeText,
  type Sink,
  writeSequence,
} from '../dicom/writer.ts';

export type Value =
  string | number | Buffer | readonly string[] | readonly number[] | readonly Item[] | readonly Attributes[];
/** Attributes of a sequence item, by keyword. */
export interface Item {
  readonly [keyword: string]: Value;
}

interface Copied {
  readonly dataSet: DataSet;
  readonly element: DataElement;
  readonly characterSet: CharacterSet;
}

/** A data set in the making. */
export interface Attributes {
  readonly entries: Map<number, Value | Copied>;
  readonly context: VrContext;
}

export function openAttributes(context: VrContext = {}): Attributes {
  return { entries: new Map(), context };
}

/** Sets attributes by keyword, over what was there. An empty string or list is a value of zero length (type 2). */
export function put(attributes: Attributes, values: Item): void {
  for (const [keyword, value] of Object.entries(values)) attributes.entries.set(tag(keyword), value);
}

/** Type 2: an attribute that must be present, empty where nothing is known (PS3.5 7.4.3). */
export function putEmptyUnlessPresent(attributes: Attributes, keywords: readonly string[]): void {
  for (const keyword of keywords) if (!attributes.entries.has(tag(keyword))) attributes.entries.set(tag(keyword), '');
}

export function drop(attributes: Attributes, keywords: readonly string[]): void {
  for (const keyword of keywords) attributes.entries.delete(tag(keyword));
}

/**
 * Copies every element that `wanted` takes and whose value is one of its VR: a source's fault is not handed on. Text, of the set that an
 * item inherits, is turned into UTF-8 when it is written.
 */
export function copyFrom(
  attributes: Attributes,
  dataSet: DataSet,
  wanted: (element: DataElement) => boolean,
  inherited?: CharacterSet,
): void {
  copyAsIs(attributes, dataSet, (element) => wanted(element) && isSound(dataSet, element), inherited);
}

/** As above, wrong values too: what names patient and study must be the same in all objects of the study. */
export function copyAsIs(
  attributes: Attributes,
  dataSet: DataSet,
  wanted: (element: DataElement) => boolean,
  inherited?: CharacterSet,
): void {
  const characterSet = characterSetOf(dataSet, inherited);
  for (const element of dataSet.elements)
    if (wanted(element)) attributes.entries.set(element.tag, { dataSet, element, characterSet });
}

/** What cannot be judged (empty, private, a VR that says nothing) is sound. */
function isSound(dataSet: DataSet, element: DataElement): boolean {
  const { items, valueStart, valueEnd, vr } = element;
  if (items !== undefined) return items.length === 0 || items.some(isSoundItem);
  if (valueStart === valueEnd || vr === 'UN' || isPrivate(element.tag)) return true;
  return faultOf(dataSet, element) === undefined;
}

/** A code without its scheme or value is none. */
function isSoundItem(item: DataSet): boolean {
  return findElement(item, CODE_VALUE) === undefined || item.elements.every((child) => isSound(item, child));
}

const CODE_VALUE = tag('CodeValue');

/** True when the attribute is there and has a value. */
export function hasValue({ entries }: Attributes, keyword: string): boolean {
  const value = entries.get(tag(keyword));
  if (value === undefined || value === '') return false;
  if (typeof value !== 'object' || !('element' in value)) return true;
  const { items, valueStart, valueEnd } = (value as Copied).element;
  return items === undefined ? valueEnd > valueStart : items.some(isSoundItem);
}

/** Copies these attributes where the source has them. */
export function copyNamed(attributes: Attributes, dataSet: DataSet, keywords: readonly string[]): void {
  const characterSet = characterSetOf(dataSet);
  for (const keyword of keywords) {
    const element = findElement(dataSet, tag(keyword));
    if (element !== undefined) attributes.entries.set(element.tag, { dataSet, element, characterSet });
  }
}

/** The data set's bytes, ascending by tag (PS3.5 7.1). */
export function encodeAttributes(attributes: Attributes): Buffer {
  const sink = openSink();
  for (const key of [...attributes.entries.keys()].sort((a, b) => a - b)) {
    const value = attributes.entries.get(key);
    if (value !== undefined) writeEntry(sink, key, value, attributes.context);
  }
  return sinkBytes(sink);
}

function writeEntry(sink: Sink, key: number, value: Value | Copied, context: VrContext): void {
  if (typeof value === 'object' && 'element' in value && 'dataSet' in value) {
    writeCopied(sink, value as Copied);
    return;
  }
  writeValue(sink, key, value as Value, context);
}

/** An element as it is, its text decoded under the character set it came with, items included. */
function writeCopied(sink: Sink, { dataSet, element, characterSet }: Copied): void {
  if (element.items !== undefined) {
    writeSequence(sink, element.tag, element.items.filter(isSoundItem), (item) => {
      const inner = characterSetOf(item, characterSet);
      for (const child of item.elements)
        if ((child.tag & 0xffff) !== 0 && child.tag !== 0x00080005 && isSound(item, child))
          writeCopied(sink, { dataSet: item, element: child, characterSet: inner });
    });
  } else if (VR_TRAITS[element.vr].text === 'charset') {
    writeText(
      sink,
      element.tag,
      element.vr,
      withoutTrailingPadding(decodeText(characterSet, valueBytes(dataSet, element), element.vr)),
    );
  } else {
    copyElement(sink, dataSet, element);
  }
}

function writeValue(sink: Sink, key: number, value: Value, context: VrContext): void {
  const vr = vrOf(key, context);
  if (vr === undefined) throw new Error(`no VR is known for tag ${key.toString(16)}`);
  if (Buffer.isBuffer(value)) writeElement(sink, key, vr, value);
  else if (vr === 'SQ') writeItems(sink, key, value, context);
  else if (isBinary(vr)) writeNumbers(sink, key, vr, numbersIn(value));
  else writeText(sink, key, vr, textOf(vr, value));
}

function writeItems(sink: Sink, key: number, value: Value, context: VrContext): void {
  const items = (Array.isArray(value) ? value : []) as readonly (Item | Attributes)[];
  writeSequence(sink, key, items, (item) => {
    const inner = isAttributes(item) ? item : openAttributes(context);
    if (!isAttributes(item)) put(inner, item);
    for (const tagOfChild of [...inner.entries.keys()].sort((a, b) => a - b))
      writeEntry(sink, tagOfChild, inner.entries.get(tagOfChild) ?? '', context);
  });
}

function isAttributes(item: Item | Attributes): item is Attributes {
  return item['entries'] instanceof Map;
}

function isBinary(vr: Vr): vr is 'US' | 'SS' | 'UL' | 'SL' | 'FL' | 'FD' {
  return vr === 'US' || vr === 'SS' || vr === 'UL' || vr === 'SL' || vr === 'FL' || vr === 'FD';
}

function numbersIn(value: Value): number[] {
  if (value === '') return [];
  return (Array.isArray(value) ? value : [value]).map(Number);
}

function textOf(vr: Vr, value: Value): string {
  const values = (Array.isArray(value) ? value : [value]) as readonly (string | number)[];
  return values.map((one) => (vr === 'DS' && typeof one === 'number' ? formatDecimal(one) : String(one))).join('\\');
}

/** A Decimal String of at most 16 characters (PS3.5 6.2), as exact as these allow. */
export function formatDecimal(value: number): string {
  if (!Number.isFinite(value)) throw new Error('a Decimal String holds finite numbers only');
  const plain = String(Object.is(value, -0) ? 0 : value);
  if (plain.length <= 16) return plain;
  for (let digits = 15; digits > 0; digits--) {
    const text = Number(value.toPrecision(digits)).toString();
    if (text.length <= 16) return text;
  }
  return '0';
}
