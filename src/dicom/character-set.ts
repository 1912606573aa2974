/**
 * Specific Character Set (0008,0005): the bytes of SH, LO, ST, LT, UC, UT and PN to text; PS3.3 C.12.1.1.2, PS3.5 6.1 and annexes
 * H, I, J, K. Nothing here throws: what a set does not define becomes U+FFFD. Written text is always UTF-8 (ISO_IR 192).
 */
import { TextDecoder } from 'node:util';
import type { Vr } from './vr.ts';

export interface CharacterSet {
  /** The defined terms as declared, e.g. ['', 'ISO 2022 IR 87']. */
  readonly declared: readonly string[];
  /**
   * default: no term, ASCII; whole: one multi-byte code for all of the value (UTF-8, GB18030, GBK);
   * coded: single-byte sets, and ISO 2022 with escape sequences.
   */
  readonly kind: 'default' | 'whole' | 'coded';
  readonly decoder: TextDecoder | undefined;
  /** What is in force at the start of a value and after each delimiter (PS3.5 6.1.2.5.3). */
  readonly initial: CodeElements;
}

interface CodeElements {
  /** Bytes 0x21 to 0x7E. */
  readonly g0: CodeElement;
  /** Bytes 0xA0 to 0xFF; undefined where the set defines none. */
  readonly g1: CodeElement | undefined;
}

interface CodeElement {
  readonly bytesPerCharacter: 1 | 2;
  /** Decodes whole characters, which lie in 0xA1 to 0xFE whichever half they came from. */
  readonly decode: (bytes: Buffer) => string;
}

const REPLACEMENT = '\uFFFD';
const ESC = 0x1b;

/** Sets whose right half a TextDecoder knows under this label; 0xA0 to 0xFF agree with ISO 8859 in each. */
const RIGHT_HALVES = new Map([
  ['101', 'iso-8859-2'],
  ['109', 'iso-8859-3'],
  ['110', 'iso-8859-4'],
  ['144', 'iso-8859-5'],
  ['127', 'iso-8859-6'],
  ['126', 'iso-8859-7'],
  ['138', 'iso-8859-8'],
  ['148', 'windows-1254'],
  ['203', 'iso-8859-15'],
  ['166', 'windows-874'],
]);

/** Escape sequences of PS3.3 tables C.12-3 and C.12-4: characters after ESC -> half and ISO-IR number. */
const ESCAPES = new Map<string, readonly ['g0' | 'g1', string]>([
  ['(B', ['g0', '6']],
  ['(J', ['g0', '14']],
  [')I', ['g1', '13']],
  ['-A', ['g1', '100']],
  ['-B', ['g1', '101']],
  ['-C', ['g1', '109']],
  ['-D', ['g1', '110']],
  ['-L', ['g1', '144']],
  ['-G', ['g1', '127']],
  ['-F', ['g1', '126']],
  ['-H', ['g1', '138']],
  ['-M', ['g1', '148']],
  ['-b', ['g1', '203']],
  ['-T', ['g1', '166']],
  ['$B', ['g0', '87']],
  // JIS C 6226-1978, no defined term of its own but written by older systems for the same characters.
  ['$@', ['g0', '87']],
  ['$(D', ['g0', '159']],
  ['$)C', ['g1', '149']],
  ['$)A', ['g1', '58']],
]);

const ASCII: CodeElement = { bytesPerCharacter: 1, decode: (bytes) => fromRightHalf(bytes).toString('latin1') };
/** JIS X 0201 Romaji: ASCII but for two characters. */
const ROMAJI: CodeElement = {
  bytesPerCharacter: 1,
  decode: (bytes) => fromRightHalf(bytes).toString('latin1').replaceAll('\\', '¥').replaceAll('~', '‾'),
};
const ELEMENTS = new Map<string, CodeElement>([
  ['6', ASCII],
  ['14', ROMAJI],
]);

/** The code element with an ISO-IR number; built when first met. */
function codeElement(number: string): CodeElement | undefined {
  const known = ELEMENTS.get(number);
  if (known !== undefined) return known;
  const made = makeCodeElement(number);
  if (made !== undefined) ELEMENTS.set(number, made);
  return made;
}

function makeCodeElement(number: string): CodeElement | undefined {
  switch (number) {
    case '100':
      return { bytesPerCharacter: 1, decode: (bytes) => bytes.toString('latin1') };
    case '13':
      return { bytesPerCharacter: 1, decode: katakana };
    case '87':
      return decodedBy('euc-jp', 2);
    case '159':
      return { bytesPerCharacter: 2, decode: supplementaryKanji };
    case '149':
      return decodedBy('euc-kr', 2);
    case '58':
      return decodedBy('gbk', 2);
    default: {
      const label = RIGHT_HALVES.get(number);
      return label === undefined ? undefined : decodedBy(label, 1);
    }
  }
}

function decodedBy(label: string, bytesPerCharacter: 1 | 2): CodeElement {
  const decoder = new TextDecoder(label);
  return { bytesPerCharacter, decode: (bytes) => decoder.decode(bytes) };
}

function fromRightHalf(bytes: Buffer): Buffer {
  return Buffer.from(bytes.map((byte) => byte & 0x7f));
}

/** JIS X 0201 Katakana: 0xA1 to 0xDF are the half-width forms from U+FF61. */
function katakana(bytes: Buffer): string {
  let text = '';
  for (const byte of bytes)
    text += byte >= 0xa1 && byte <= 0xdf ? String.fromCharCode(0xff61 + byte - 0xa1) : REPLACEMENT;
  return text;
}

/** JIS X 0212 is code set 3 of EUC-JP, each character announced by 0x8F. */
function supplementaryKanji(bytes: Buffer): string {
  const announced = Buffer.alloc((bytes.length / 2) * 3);
  for (let from = 0, to = 0; from < bytes.length; from += 2, to += 3) {
    announced[to] = 0x8f;
    bytes.copy(announced, to + 1, from, from + 2);
  }
  return (codeElement('87') ?? ASCII).decode(announced);
}

const WHOLE_CODES = new Map([
  ['ISO IR 192', 'utf-8'],
  ['GB18030', 'gb18030'],
  ['GBK', 'gbk'],
]);

const CACHE = new Map<string, CharacterSet>();
const CACHED_SETS = 64;

/** The character set that the values of (0008,0005) declare; no value, or only an empty one, is the default repertoire. */
export function characterSet(values: readonly string[]): CharacterSet {
  const key = values.join('\\');
  const known = CACHE.get(key);
  if (known !== undefined) return known;
  const made = makeCharacterSet(values);
  if (CACHE.size < CACHED_SETS) CACHE.set(key, made);
  return made;
}

function makeCharacterSet(values: readonly string[]): CharacterSet {
  const initial: CodeElements = { g0: ASCII, g1: undefined };
  const [first = '', ...others] = values.map(normalizeTerm);
  const whole = WHOLE_CODES.get(first);
  if (whole !== undefined) {
    return { declared: values, kind: 'whole', decoder: new TextDecoder(whole, { ignoreBOM: true }), initial };
  }
  if ((first === '' || first === 'ISO IR 6') && others.length === 0)
    return { declared: values, kind: 'default', decoder: undefined, initial };
  const number = /^(?:ISO IR|ISO 2022 IR) (\d+)$/.exec(first)?.[1] ?? '6';
  return { declared: values, kind: 'coded', decoder: undefined, initial: initialElements(number) };
}

/** What everything is written in. */
export const UTF_8 = characterSet(['ISO_IR 192']);

/** Senders write `ISO-IR 100`, `iso_ir_100`, `ISO2022 IR 87`; no two terms differ only in that. */
function normalizeTerm(value: string): string {
  return value
    .trim()
    .toUpperCase()
    .replaceAll(/[\s_-]+/g, ' ')
    .replace(/^ISO ?2022 ?IR ?/, 'ISO 2022 IR ')
    .replace(/^ISO ?IR ?/, 'ISO IR ');
}

/** The first value's set; a Kanji set there still begins in ASCII, since it takes G0 only by escape. */
function initialElements(number: string): CodeElements {
  if (number === '13') return { g0: ROMAJI, g1: codeElement('13') };
  if (number === '6' || number === '14' || number === '87' || number === '159') return { g0: ASCII, g1: undefined };
  return { g0: ASCII, g1: codeElement(number) };
}

/** The text of a value as it lies in its bytes, delimiters and padding included. */
export function decodeText(set: CharacterSet, bytes: Buffer, vr: Vr): string {
  if (isPlainAscii(bytes) && set.initial.g0 === ASCII) return bytes.toString('latin1');
  switch (set.kind) {
    case 'default':
      return bytes.includes(ESC) ? decodeCoded(set, bytes, vr) : decodeUndeclared(bytes);
    case 'whole':
      return (set.decoder as TextDecoder).decode(bytes);
    case 'coded':
      return decodeCoded(set, bytes, vr);
  }
}

/** No byte above 0x7E and no escape sequence. */
function isPlainAscii(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    if (byte > 0x7e || byte === ESC) return false;
  }
  return true;
}

const STRICT_UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Not allowed, but common: 8-bit text without a declaration. Bytes that are valid UTF-8 hardly ever are anything else. */
function decodeUndeclared(bytes: Buffer): string {
  try {
    return STRICT_UTF_8.decode(bytes);
  } catch {
    return bytes.toString('latin1');
  }
}

/** Where a delimiter is data in a two-byte set it is no delimiter; elsewhere it brings back the initial code elements. */
function isDelimiter(byte: number, vr: Vr): boolean {
  if (byte === 0x09 || byte === 0x0a || byte === 0x0c || byte === 0x0d) return true;
  if (vr === 'LT' || vr === 'ST' || vr === 'UT') return false;
  return byte === 0x5c || (vr === 'PN' && (byte === 0x5e || byte === 0x3d));
}

/** ISO 2022 as PS3.5 6.1.2.5 narrows it: G0 in the left half, G1 in the right, changed by escape sequences. */
function decodeCoded(set: CharacterSet, bytes: Buffer, vr: Vr): string {
  let { g0, g1 } = set.initial;
  let text = '';
  let at = 0;
  while (at < bytes.length) {
    const byte = bytes[at] as number;
    if (byte === ESC) {
      const escape = readEscape(bytes, at + 1);
      if (escape === undefined) text += REPLACEMENT;
      else if (escape.half === 'g0') g0 = escape.element;
      else g1 = escape.element;
      at += 1 + (escape?.lengthBytes ?? 0);
    } else if (byte <= 0x20 || byte === 0x7f || (g0.bytesPerCharacter === 1 && isDelimiter(byte, vr))) {
      if (isDelimiter(byte, vr)) ({ g0, g1 } = set.initial);
      text += String.fromCharCode(byte);
      at++;
    } else if (byte >= 0x80 && byte < 0xa0) {
      text += String.fromCharCode(byte);
      at++;
    } else {
      const right = byte >= 0xa0;
      const end = runEnd(bytes, at, right, g0, vr);
      text += decodeRun(bytes.subarray(at, end), right ? g1 : g0);
      at = end;
    }
  }
  return text;
}

interface Escape {
  readonly half: 'g0' | 'g1';
  readonly element: CodeElement;
  readonly lengthBytes: number;
}

function readEscape(bytes: Buffer, at: number): Escape | undefined {
  for (const lengthBytes of [2, 3]) {
    const found = ESCAPES.get(bytes.toString('latin1', at, at + lengthBytes));
    const element = found === undefined ? undefined : codeElement(found[1]);
    if (found !== undefined && element !== undefined) return { half: found[0], element, lengthBytes };
  }
  return undefined;
}

/** First byte after `at` that is not decoded together with it. */
function runEnd(bytes: Buffer, at: number, right: boolean, g0: CodeElement, vr: Vr): number {
  let end = at + 1;
  for (; end < bytes.length; end++) {
    const byte = bytes[end] as number;
    if (right ? byte < 0xa0 : byte <= 0x20 || byte >= 0x7f) break;
    if (!right && g0.bytesPerCharacter === 1 && isDelimiter(byte, vr)) break;
  }
  return end;
}

function decodeRun(run: Buffer, element: CodeElement | undefined): string {
  if (element === undefined) return REPLACEMENT.repeat(run.length);
  const whole = run.length - (run.length % element.bytesPerCharacter);
  const raised = Buffer.from(run.subarray(0, whole).map((byte) => byte | 0x80));
  return element.decode(raised) + (whole < run.length ? REPLACEMENT : '');
}

/** The values of a decoded text: split at backslashes where the VR allows several, padding removed (PS3.5 6.2). */
export function splitValues(text: string, vr: Vr): string[] {
  if (vr === 'LT' || vr === 'ST' || vr === 'UT' || vr === 'UR') return [trimEnd(text)];
  return text.includes('\\') ? text.split('\\').map((value) => trimValue(value, vr)) : [trimValue(text, vr)];
}

/** Leading blanks are insignificant as well, but in PN, UC and UI (where there are none). */
function trimValue(text: string, vr: Vr): string {
  const end = trimEnd(text);
  if (vr === 'PN' || vr === 'UC' || end.charCodeAt(0) !== 0x20) return end;
  let start = 0;
  while (end.charCodeAt(start) === 0x20) start++;
  return end.slice(start);
}

function trimEnd(text: string): string {
  let end = text.length;
  while (end > 0 && (text.charCodeAt(end - 1) === 0x20 || text.charCodeAt(end - 1) === 0)) end--;
  return end === text.length ? text : text.slice(0, end);
}

/** Text as it is written: UTF-8, without padding. A lone surrogate becomes U+FFFD. */
export function encodeText(text: string): Buffer {
  return Buffer.from(text, 'utf8');
}
