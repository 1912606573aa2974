/**
 * The Native DICOM Model (PS3.19 A.1) read into the DICOM JSON model. Of XML 1.0 no more than such a document needs: there is no document
 * type, hence no entity but the five and character references; depth, values and gaps are bounded.
 */
import { tagKey } from '../dicom/data-set.ts';
import { isPrivate } from '../dicom/dictionary.ts';
import { MAX_DEPTH } from '../dicom/reader.ts';
import { Refusal } from '../dicom/refusal.ts';

/** A data set, not checked any further: what reads DICOM JSON checks it. */
export type JsonObject = Record<string, Record<string, unknown>>;

interface Element {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: Element[];
  text: string;
}

/** A sequence is an attribute in an item: two elements; names and values add three below. */
const MAX_XML_DEPTH = 2 * MAX_DEPTH + 6;
const MAX_XML_ELEMENTS = 1_000_000;
/** Values that a document leaves out between those it has, of all attributes together. */
const MAX_GAPS = 100_000;

/** @throws Refusal CannotUnderstand for what is no such document, TooLarge for what is out of bounds */
export function parseNativeModel(bytes: Buffer): JsonObject {
  const root = parseXml(decode(bytes));
  if (root.name !== 'NativeDicomModel') throw broken('the root element is another than NativeDicomModel');
  return dataSetOf(root, { gaps: 0 });
}

function broken(what: string): Refusal {
  return new Refusal('CannotUnderstand', `Native DICOM Model: ${what} (PS3.19 A.1)`);
}

function decode(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw broken('the text is not UTF-8');
  }
}

const NAME = /[A-Za-z_][A-Za-z0-9_.-]*(?::[A-Za-z_][A-Za-z0-9_.-]*)?/y;
const ATTRIBUTE = /\s+([A-Za-z_][A-Za-z0-9_.:-]*)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/y;
const TAG_END = /\s*(\/?)>/y;

function match(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function parseXml(text: string): Element {
  const open: Element[] = [];
  let root: Element | undefined;
  let count = 0;
  for (let at = 0; at < text.length;) {
    const tag = text.indexOf('<', at);
    const before = text.slice(at, tag < 0 ? text.length : tag);
    const parent = open.at(-1);
    if (parent === undefined) {
      if (/[^\s]/.test(before)) throw broken('text stands outside of the root element');
    } else parent.text += unescape(before);
    if (tag < 0) break;
    const passed = passOver(text, tag);
    if (passed !== undefined) {
      if (parent !== undefined) parent.text += passed.text;
      at = passed.end;
      continue;
    }
    if (text[tag + 1] === '/') {
      const end = text.indexOf('>', tag);
      if (end < 0 || localName(text.slice(tag + 2, end).trim()) !== open.pop()?.name)
        throw broken('an element is not closed where it should be');
      at = end + 1;
      continue;
    }
    const { element, closed, end } = startTag(text, tag);
    if (++count > MAX_XML_ELEMENTS) throw new Refusal('TooLarge', `more than ${MAX_XML_ELEMENTS} XML elements`);
    if (parent !== undefined) parent.children.push(element);
    else if (root === undefined) root = element;
    else throw broken('there are two root elements');
    if (!closed) open.push(element);
    if (open.length > MAX_XML_DEPTH) throw broken(`elements are nested deeper than ${MAX_XML_DEPTH}`);
    at = end;
  }
  if (root === undefined || open.length > 0) throw broken('the document breaks off');
  return root;
}

/** Comments, processing instructions and CDATA sections; undefined for anything else. */
function passOver(text: string, at: number): { text: string; end: number } | undefined {
  for (const [begin, finish] of [
    ['<!--', '-->'],
    ['<?', '?>'],
    ['<![CDATA[', ']]>'],
  ] as const) {
    if (!text.startsWith(begin, at)) continue;
    const end = text.indexOf(finish, at + begin.length);
    if (end < 0) throw broken('the document breaks off');
    const inner = text.slice(at + begin.length, end);
    if (begin === '<?' && /^xml\s/.test(inner)) refuseOtherEncoding(inner);
    return { text: begin === '<![CDATA[' ? inner : '', end: end + finish.length };
  }
  if (text.startsWith('<!', at)) throw broken('it has a document type, which is not read');
  return undefined;
}

function refuseOtherEncoding(declaration: string): void {
  const encoding = /encoding\s*=\s*["']([^"']*)["']/.exec(declaration)?.[1]?.toLowerCase() ?? 'utf-8';
  if (!['utf-8', 'utf8', 'us-ascii', 'ascii'].includes(encoding)) throw broken('its encoding is another than UTF-8');
}

function startTag(text: string, at: number): { element: Element; closed: boolean; end: number } {
  const name = match(NAME, text, at + 1)?.[0];
  if (name === undefined) throw broken('a tag has no name');
  const attributes = new Map<string, string>();
  let end = at + 1 + name.length;
  for (let found = match(ATTRIBUTE, text, end); found !== null; found = match(ATTRIBUTE, text, end)) {
    const [whole, key = '', double, single] = found;
    if (attributes.has(key)) throw broken('an XML attribute stands twice');
    attributes.set(key, unescape(double ?? single ?? ''));
    end += whole.length;
  }
  const finish = match(TAG_END, text, end);
  if (finish === null) throw broken('a tag is not closed');
  return {
    element: { name: localName(name), attributes, children: [], text: '' },
    closed: finish[1] === '/',
    end: end + finish[0].length,
  };
}

function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}

const ENTITIES: ReadonlyMap<string, string> = new Map([
  ['amp', '&'],
  ['lt', '<'],
  ['gt', '>'],
  ['quot', '"'],
  ['apos', "'"],
]);

function unescape(text: string): string {
  if (!text.includes('&')) return text;
  return text.replace(/&([^&;]{0,12});?/g, (whole, name: string) => {
    const named = ENTITIES.get(name);
    if (named !== undefined && whole.endsWith(';')) return named;
    const [, hex, decimal] = /^#(?:x([0-9a-f]{1,6})|([0-9]{1,7}))$/i.exec(name) ?? [];
    const code = hex !== undefined ? Number.parseInt(hex, 16) : Number.parseInt(decimal ?? '', 10);
    if (!whole.endsWith(';') || !(code > 0 && code <= 0x10ffff) || (code >= 0xd800 && code <= 0xdfff))
      throw broken('an entity is not known');
    return String.fromCodePoint(code);
  });
}

interface Budget {
  gaps: number;
}

function dataSetOf(parent: Element, budget: Budget): JsonObject {
  const attributes = parent.children.map((element) => {
    if (element.name !== 'DicomAttribute') throw broken('a data set has another element than DicomAttribute');
    const tag = element.attributes.get('tag') ?? '';
    if (!/^[0-9A-F]{8}$/i.test(tag)) throw broken('an attribute has no tag of eight hex digits');
    return { tag: Number.parseInt(tag, 16), element };
  });
  const own = attributes.filter(({ tag, element }) => !lacksBlock(tag, element));
  const dataSet: JsonObject = {};
  for (const { tag, element } of own) put(dataSet, tag, jsonOf(element, budget));
  // Some writers leave out where the private block lies and who reserved it, since privateCreator tells.
  for (const { tag, element } of attributes.filter((one) => lacksBlock(one.tag, one.element))) {
    const block = reserveBlock(dataSet, tag >>> 16, element.attributes.get('privateCreator') ?? '');
    put(dataSet, (((tag & 0xffff0000) >>> 0) | (block << 8) | (tag & 0xff)) >>> 0, jsonOf(element, budget));
  }
  return dataSet;
}

function put(dataSet: JsonObject, tag: number, value: Record<string, unknown>): void {
  const key = tagKey(tag);
  if (Object.hasOwn(dataSet, key)) throw broken('an attribute stands twice');
  dataSet[key] = value;
}

function lacksBlock(tag: number, element: Element): boolean {
  return isPrivate(tag) && (tag & 0xff00) === 0 && (element.attributes.get('privateCreator') ?? '') !== '';
}

function reserveBlock(dataSet: JsonObject, group: number, creator: string): number {
  for (let block = 0x10; block <= 0xff; block++) {
    const key = tagKey(((group << 16) | block) >>> 0);
    const known = dataSet[key];
    if (known === undefined) {
      dataSet[key] = { vr: 'LO', Value: [creator] };
      return block;
    }
    const [name] = Array.isArray(known['Value']) ? (known['Value'] as unknown[]) : [];
    if (typeof name === 'string' && name.trim() === creator.trim()) return block;
  }
  throw broken('a private group has no room for another block');
}

function jsonOf({ attributes, children }: Element, budget: Budget): Record<string, unknown> {
  const vr = attributes.get('vr') ?? 'UN';
  const [first] = children;
  if (first === undefined) return { vr };
  if (children.some(({ name }) => name !== first.name)) throw broken('an attribute mixes values of two kinds');
  switch (first.name) {
    case 'BulkData':
      return { vr, BulkDataURI: first.attributes.get('uri') ?? first.attributes.get('uuid') ?? '' };
    case 'InlineBinary':
      return { vr, InlineBinary: first.text.replace(/\s+/g, '') };
    case 'Item':
      return { vr, Value: numbered(children, budget, {}, (item) => dataSetOf(item, budget)) };
    case 'PersonName':
      return { vr, Value: numbered(children, budget, null, nameOf) };
    case 'Value':
      return { vr, Value: numbered(children, budget, null, ({ text }) => valueOf(vr, text)) };
    default:
      throw broken('an attribute has content of no known kind');
  }
}

/** Each in the place that its number says; `number` may be left out. */
function numbered<T>(
  elements: readonly Element[],
  budget: Budget,
  gap: T | null,
  read: (element: Element) => T,
): (T | null)[] {
  const values: (T | null)[] = [];
  for (const element of elements) {
    const text = element.attributes.get('number') ?? String(values.length + 1);
    const number = /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
    if (number <= values.length) throw broken('the numbers of values do not ascend');
    for (; values.length < number - 1; values.push(gap))
      if (++budget.gaps > MAX_GAPS) throw new Refusal('TooLarge', `more than ${MAX_GAPS} values are left out`);
    values.push(read(element));
  }
  return values;
}

const NUMBERS = new Set(['US', 'SS', 'UL', 'SL', 'FL', 'FD']);
const NOT_FINITE: ReadonlyMap<string, string> = new Map([
  ['NaN', 'NaN'],
  ['INF', 'Infinity'],
  ['-INF', '-Infinity'],
  ['Infinity', 'Infinity'],
  ['-Infinity', '-Infinity'],
]);

function valueOf(vr: string, text: string): string | number | null {
  if (!NUMBERS.has(vr)) return text === '' ? null : text;
  const trimmed = text.trim();
  const special = NOT_FINITE.get(trimmed);
  if (special !== undefined) return special;
  // What is no number is left as it is: the reader of the model says so, with the tag.
  return /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(trimmed) ? Number(trimmed) : trimmed;
}

/** In the order of PS3.5 6.2.1. */
const COMPONENTS = ['FamilyName', 'GivenName', 'MiddleName', 'NamePrefix', 'NameSuffix'];

function nameOf({ children }: Element): Record<string, string> {
  return Object.fromEntries(
    children.map((group) => {
      const parts = COMPONENTS.map((component) => group.children.find(({ name }) => name === component)?.text ?? '');
      return [group.name, parts.join('^').replace(/\^+$/, '')];
    }),
  );
}
