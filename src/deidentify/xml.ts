/**
 * XML 1.0 as far as documents inside objects need it: elements, attributes and text. No document type, hence no entities but the five that
 * every parser knows; comments and processing instructions are read over. What is not well-formed is refused.
 */
export interface XmlElement {
  readonly name: string;
  readonly attributes: Map<string, string>;
  /** Texts and elements in their order. */
  readonly children: (XmlElement | string)[];
}

/** Says what was found and at which character, never the text. */
export class XmlFault extends Error {
  constructor(what: string, at: number) {
    super(`${what} at character ${at}`);
    this.name = 'XmlFault';
  }
}

const MOST_DEPTH = 200;
const MOST_ELEMENTS = 500_000;
const NAME = /[\p{L}_][\p{L}\p{N}\p{M}._-]*(?::[\p{L}_][\p{L}\p{N}\p{M}._-]*)?/uy;
// XML 1.0 section 2.2: what a document may not hold.
const NO_CHARACTER =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

/** Bytes as text by their mark or declaration. @throws XmlFault */
export function decodeXml(bytes: Buffer): string {
  let end = bytes.length;
  // Even length: a value of VR OB may be padded.
  while (end > 0 && bytes[end - 1] === 0) end--;
  const whole = bytes.subarray(0, end);
  const wide =
    whole[0] === 0xff && whole[1] === 0xfe
      ? 'utf-16le'
      : whole[0] === 0xfe && whole[1] === 0xff
        ? 'utf-16be'
        : undefined;
  const declared = /^(?:\ufeff|\u00ef\u00bb\u00bf)?<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']/
    .exec(whole.toString('latin1', 0, 200))?.[1]
    ?.toLowerCase();
  const encoding = wide ?? (declared === undefined || declared === 'us-ascii' ? 'utf-8' : declared);
  if (!['utf-8', 'utf-16le', 'utf-16be', 'iso-8859-1', 'windows-1252'].includes(encoding))
    throw new XmlFault('an encoding that is not read', 0);
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(
      wide === undefined ? whole : bytes.subarray(0, bytes.length & ~1),
    );
  } catch {
    throw new XmlFault('bytes that are not of the encoding', 0);
  }
}

/** The root element. @throws XmlFault */
export function parseXml(text: string): XmlElement {
  if (NO_CHARACTER.test(text)) throw new XmlFault('a character that XML does not allow', text.search(NO_CHARACTER));
  const reader = { text, at: 0, elements: 0 };
  const document: XmlElement = { name: '', attributes: new Map(), children: [] };
  const open: XmlElement[] = [document];
  while (reader.at < text.length) {
    const parent = open.at(-1);
    if (parent === undefined) throw new XmlFault('an end without a beginning', reader.at);
    readPiece(reader, parent, open);
  }
  if (open.length !== 1) throw new XmlFault('an element without its end', reader.at);
  const roots = document.children.filter((child) => typeof child !== 'string');
  const [root] = roots;
  if (root === undefined || roots.length > 1) throw new XmlFault('not one root', 0);
  if (document.children.some((child) => typeof child === 'string' && child.trim() !== ''))
    throw new XmlFault('text outside of the root', 0);
  return root;
}

interface Reader {
  readonly text: string;
  at: number;
  elements: number;
}

function readPiece(reader: Reader, parent: XmlElement, open: XmlElement[]): void {
  const { text, at } = reader;
  if (text[at] !== '<') {
    const end = text.indexOf('<', at);
    const piece = text.slice(at, end < 0 ? text.length : end);
    if (piece.includes(']]>')) throw new XmlFault('"]]>" in text', at);
    parent.children.push(unescape(piece, at));
    reader.at = at + piece.length;
  } else if (text.startsWith('<!--', at)) reader.at = after(text, '-->', at + 4);
  else if (text.startsWith('<![CDATA[', at)) {
    reader.at = after(text, ']]>', at);
    parent.children.push(text.slice(at + 9, reader.at - 3));
  } else if (text.startsWith('<?', at)) reader.at = after(text, '?>', at);
  else if (text.startsWith('<!', at)) throw new XmlFault('a document type', at);
  else if (text.startsWith('</', at)) {
    const name = nameAt(text, at + 2);
    const end = skipBlanks(text, at + 2 + name.length);
    if (text[end] !== '>' || open.length < 2 || parent.name !== name)
      throw new XmlFault('an end of something else', at);
    open.pop();
    reader.at = end + 1;
  } else readStart(reader, parent, open);
}

function readStart(reader: Reader, parent: XmlElement, open: XmlElement[]): void {
  const { text, at: start } = reader;
  const name = nameAt(text, start + 1);
  const element: XmlElement = { name, attributes: new Map(), children: [] };
  let at = start + 1 + name.length;
  for (;;) {
    const next = skipBlanks(text, at);
    if (text[next] === '>' || text.startsWith('/>', next)) {
      parent.children.push(element);
      const isEmpty = text[next] === '/';
      if (!isEmpty) open.push(element);
      reader.at = next + (isEmpty ? 2 : 1);
      break;
    }
    if (next === at) throw new XmlFault('something else than an attribute', at);
    at = readAttribute(text, next, element);
  }
  if (open.length > MOST_DEPTH) throw new XmlFault('elements nested too deep', start);
  if (++reader.elements > MOST_ELEMENTS) throw new XmlFault('too many elements', start);
}

function readAttribute(text: string, start: number, { attributes }: XmlElement): number {
  const name = nameAt(text, start);
  let at = skipBlanks(text, start + name.length);
  if (text[at] !== '=') throw new XmlFault('an attribute without a value', at);
  at = skipBlanks(text, at + 1);
  const quote = text[at];
  const end = quote === '"' || quote === "'" ? text.indexOf(quote, at + 1) : -1;
  if (end < 0) throw new XmlFault('an attribute without a value', at);
  const value = text.slice(at + 1, end);
  if (value.includes('<') || attributes.has(name)) throw new XmlFault('an attribute that cannot be', at);
  attributes.set(name, unescape(value, at).replaceAll(/[\t\n\r]/g, ' '));
  return end + 1;
}

function nameAt(text: string, at: number): string {
  NAME.lastIndex = at;
  const name = NAME.exec(text)?.[0];
  if (name === undefined) throw new XmlFault('no name', at);
  return name;
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++;
  return at;
}

function after(text: string, mark: string, from: number): number {
  const at = text.indexOf(mark, from);
  if (at < 0) throw new XmlFault('something that does not end', from);
  return at + mark.length;
}

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };

function unescape(text: string, at: number): string {
  if (!text.includes('&')) return text;
  return text.replaceAll(/&([^;&\s]{0,12};?)/g, (_whole, reference: string) => {
    const body = reference.slice(0, -1);
    const number = /^#(?:x([0-9a-fA-F]{1,6})|(\d{1,7}))$/.exec(body);
    const letter = number
      ? letterOf(Number.parseInt(number[1] ?? number[2] ?? '', number[1] === undefined ? 10 : 16))
      : ENTITIES[body];
    if (!reference.endsWith(';') || letter === undefined) throw new XmlFault('an entity that is not defined', at);
    return letter;
  });
}

function letterOf(code: number): string | undefined {
  if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return undefined;
  const letter = String.fromCodePoint(code);
  return NO_CHARACTER.test(letter) ? undefined : letter;
}

/** A document in UTF-8. */
export function formatXml(root: XmlElement): string {
  const parts: string[] = ['<?xml version="1.0" encoding="UTF-8"?>\n'];
  const write = ({ name, attributes, children }: XmlElement): void => {
    parts.push('<', name);
    for (const [key, value] of attributes) parts.push(' ', key, '="', escape(value).replaceAll('"', '&quot;'), '"');
    if (children.length === 0) return void parts.push('/>');
    parts.push('>');
    for (const child of children) {
      if (typeof child === 'string') parts.push(escape(child));
      else write(child);
    }
    parts.push('</', name, '>');
  };
  write(root);
  return parts.join('');
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('\r', '&#13;');
}
