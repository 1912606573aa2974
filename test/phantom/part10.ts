/**
 * Part 10 objects written element by element, in every way the standard allows: transfer syntax, character set, defined and undefined
 * lengths, VR UN. Written for tests on its own, from PS3.5 7.1 and 7.5, so that it shares no mistake with the writer of src/dicom.
 */
import { deflateRawSync } from 'node:zlib';
import { VR_TRAITS, type Vr } from '../../src/dicom/vr.ts';

export type Item = readonly Planted[];

export interface Planted {
  readonly tag: number;
  readonly vr: Vr;
  /** Text, bytes in little endian, or the items of a sequence. */
  readonly value: string | Buffer | readonly Item[];
  /** Encoded as UN (PS3.5 6.2.2): in Explicit VR only. */
  readonly unknown?: boolean;
}

export const SYNTAXES = {
  'explicit-le': '1.2.840.10008.1.2.1',
  'implicit-le': '1.2.840.10008.1.2',
  deflated: '1.2.840.10008.1.2.1.99',
  'explicit-be': '1.2.840.10008.1.2.2',
  jpeg: '1.2.840.10008.1.2.4.50',
  rle: '1.2.840.10008.1.2.5',
} as const;
export type Syntax = keyof typeof SYNTAXES;

/** Terms of Specific Character Set (0008,0005) by a short name. */
export const CHARACTER_SETS = {
  'utf-8': 'ISO_IR 192',
  'latin-1': 'ISO_IR 100',
  cyrillic: 'ISO_IR 144',
  greek: 'ISO_IR 126',
  japanese: '\\ISO 2022 IR 87',
  korean: '\\ISO 2022 IR 149',
  chinese: 'GB18030',
} as const;
export type CharacterSetName = keyof typeof CHARACTER_SETS;

export interface Layout {
  readonly syntax: Syntax;
  readonly characterSet: CharacterSetName;
  /** Asked for every sequence and every item. */
  readonly undefinedLength: () => boolean;
}

export interface Part10 {
  readonly sopClassUID: string;
  readonly sopInstanceUID: string;
  /** Top level without group 2 and pixel data; sorted here, equal tags stay in their order. */
  readonly elements: Item;
  /** A native value, or the fragments behind an empty offset table. */
  readonly pixels?: Buffer | readonly Buffer[] | undefined;
  readonly preamble?: Buffer | undefined;
  /** More elements of group 2. */
  readonly meta?: Item | undefined;
  /** Behind the pixel data: elements, or any bytes. */
  readonly trailing?: Buffer | undefined;
}

const NEVER: Layout = { syntax: 'explicit-le', characterSet: 'utf-8', undefinedLength: () => false };
const UNDEFINED = 0xffffffff;

export function writePart10(object: Part10, layout: Layout): Buffer {
  const meta = encodeItem(
    [
      { tag: 0x00020001, vr: 'OB', value: Buffer.from([0, 1]) },
      { tag: 0x00020002, vr: 'UI', value: object.sopClassUID },
      { tag: 0x00020003, vr: 'UI', value: object.sopInstanceUID },
      { tag: 0x00020010, vr: 'UI', value: SYNTAXES[layout.syntax] },
      { tag: 0x00020012, vr: 'UI', value: '2.25.99' },
      ...(object.meta ?? []),
    ],
    NEVER,
  );
  const length = encodeElement({ tag: 0x00020000, vr: 'UL', value: words(4, meta.length) }, NEVER);
  const body = [encodeItem(object.elements, layout), pixelData(object, layout), object.trailing ?? Buffer.alloc(0)];
  const dataSet = Buffer.concat(body);
  return Buffer.concat([
    object.preamble ?? Buffer.alloc(128),
    Buffer.from('DICM'),
    length,
    meta,
    layout.syntax === 'deflated' ? deflateRawSync(dataSet) : dataSet,
  ]);
}

/** One or more unsigned numbers in little endian. */
export function words(bytesEach: 2 | 4, ...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(bytesEach * values.length);
  values.forEach((value, index) => bytes.writeUIntLE(value, index * bytesEach, bytesEach));
  return bytes;
}

/** Whether the set has every letter of the text. */
export function fitsIn(set: CharacterSetName, text: string): boolean {
  if (set === 'utf-8') return true;
  const label = LABELS[set];
  const codes = label === undefined ? undefined : codesOf(label, set === 'cyrillic' || set === 'greek' ? 1 : 2);
  return [...text].every((letter) => letter < '\x80' || (codes === undefined ? letter < '\u0100' : codes.has(letter)));
}

const LABELS: Readonly<Partial<Record<CharacterSetName, string>>> = {
  cyrillic: 'iso-8859-5',
  greek: 'iso-8859-7',
  japanese: 'euc-jp',
  korean: 'euc-kr',
  chinese: 'gb18030',
};

/** Text in the bytes of a character set; what the set does not have becomes a question mark. */
export function encodeIn(set: CharacterSetName, text: string): Buffer {
  switch (set) {
    case 'utf-8':
      return Buffer.from(text, 'utf8');
    case 'latin-1':
      return Buffer.from([...text].map((letter) => (letter.charCodeAt(0) < 256 ? letter.charCodeAt(0) : 63)));
    case 'cyrillic':
      return singleBytes('iso-8859-5', text);
    case 'greek':
      return singleBytes('iso-8859-7', text);
    case 'chinese':
      return doubleBytes('gb18030', text, (bytes) => bytes);
    case 'japanese': {
      const escaped = (bytes: Buffer): Buffer =>
        Buffer.concat([Buffer.from('\x1b$B'), bytes.map((byte) => byte & 0x7f), Buffer.from('\x1b(B')]);
      return doubleBytes('euc-jp', text, escaped);
    }
    case 'korean':
      return doubleBytes('euc-kr', text, (bytes) => Buffer.concat([Buffer.from('\x1b$)C'), bytes]));
  }
}

function singleBytes(label: string, text: string): Buffer {
  const codes = codesOf(label, 1);
  return Buffer.concat(
    [...text].map((letter) => (letter < '\x80' ? Buffer.from(letter) : (codes.get(letter) ?? Buffer.from('?')))),
  );
}

/** Runs of letters of two bytes, each handed to `wrap`. */
function doubleBytes(label: string, text: string, wrap: (bytes: Buffer) => Buffer): Buffer {
  const codes = codesOf(label, 2);
  const parts: Buffer[] = [];
  for (const [run] of text.matchAll(/[\u0000-\u007f]+|[^\u0000-\u007f]+/gu)) {
    if (run < '\x80') parts.push(Buffer.from(run));
    else parts.push(wrap(Buffer.concat([...run].map((letter) => codes.get(letter) ?? Buffer.from([0xa3, 0xbf])))));
  }
  return Buffer.concat(parts);
}

const CODES = new Map<string, Map<string, Buffer>>();

/** Letter -> bytes, by asking the decoder for every code. */
function codesOf(label: string, bytesEach: 1 | 2): Map<string, Buffer> {
  const known = CODES.get(label);
  if (known !== undefined) return known;
  const decoder = new TextDecoder(label);
  const codes = new Map<string, Buffer>();
  for (let first = 0xa1; first <= 0xfe; first++) {
    for (let second = 0xa1; second <= (bytesEach === 1 ? 0xa1 : 0xfe); second++) {
      const bytes = Buffer.from(bytesEach === 1 ? [first] : [first, second]);
      const letter = decoder.decode(bytes);
      if ([...letter].length === 1 && letter !== '\ufffd' && !codes.has(letter)) codes.set(letter, bytes);
    }
  }
  CODES.set(label, codes);
  return codes;
}

/** The elements ascending; equal tags in the order given. */
export function encodeItem(elements: Item, layout: Layout): Buffer {
  return Buffer.concat([...elements].sort((a, b) => a.tag - b.tag).map((element) => encodeElement(element, layout)));
}

export function encodeElement(element: Planted, layout: Layout): Buffer {
  const { vr, value } = element;
  if (typeof value === 'string' || Buffer.isBuffer(value)) {
    const bytes = evenBytes(vr, typeof value === 'string' ? textBytes(vr, value, layout) : value);
    const turned = layout.syntax === 'explicit-be' && element.unknown !== true ? reversed(bytes, vr) : bytes;
    return Buffer.concat([header(element, turned.length, layout), turned]);
  }
  // PS3.5 6.2.2: inside UN everything is Implicit VR Little Endian.
  const inside: Layout =
    element.unknown === true && layout.syntax !== 'implicit-le' ? { ...layout, syntax: 'implicit-le' } : layout;
  const items = (value as readonly Item[]).map((item) => wholeItem(item, inside));
  const isOpen = layout.undefinedLength();
  const content = Buffer.concat([...items, isOpen ? mark(0xe0dd, 0, inside) : Buffer.alloc(0)]);
  return Buffer.concat([header(element, isOpen ? UNDEFINED : content.length, layout), content]);
}

function wholeItem(item: Item, layout: Layout): Buffer {
  const content = encodeItem(item, layout);
  const isOpen = layout.undefinedLength();
  return Buffer.concat([
    mark(0xe000, isOpen ? UNDEFINED : content.length, layout),
    content,
    isOpen ? mark(0xe00d, 0, layout) : Buffer.alloc(0),
  ]);
}

function textBytes(vr: Vr, value: string, layout: Layout): Buffer {
  return VR_TRAITS[vr].text === 'charset' ? encodeIn(layout.characterSet, value) : Buffer.from(value, 'latin1');
}

function evenBytes(vr: Vr, bytes: Buffer): Buffer {
  return bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.from([VR_TRAITS[vr].padding])]);
}

function reversed(bytes: Buffer, vr: Vr): Buffer {
  const size = VR_TRAITS[vr].wordBytes;
  const copy = Buffer.from(bytes);
  if (size === 2) copy.swap16();
  if (size === 4) copy.swap32();
  if (size === 8) copy.swap64();
  return copy;
}

function header({ tag, vr, unknown }: Planted, length: number, { syntax }: Layout): Buffer {
  const isBig = syntax === 'explicit-be';
  const number = (bytes: 2 | 4, value: number): Buffer => (isBig ? words(bytes, value).reverse() : words(bytes, value));
  const name = [number(2, tag >>> 16), number(2, tag & 0xffff)];
  if (syntax === 'implicit-le') return Buffer.concat([...name, number(4, length)]);
  const written = unknown === true ? 'UN' : vr;
  const long = VR_TRAITS[written].longForm;
  return Buffer.concat([
    ...name,
    Buffer.from(written),
    ...(long ? [Buffer.alloc(2), number(4, length)] : [number(2, length)]),
  ]);
}

function mark(element: number, length: number, { syntax }: Layout): Buffer {
  const parts = [words(2, 0xfffe), words(2, element), words(4, length)];
  return Buffer.concat(syntax === 'explicit-be' ? parts.map((part) => part.reverse()) : parts);
}

function pixelData({ pixels }: Part10, layout: Layout): Buffer {
  if (pixels === undefined) return Buffer.alloc(0);
  const element: Planted = { tag: 0x7fe00010, vr: Array.isArray(pixels) ? 'OB' : 'OW', value: Buffer.alloc(0) };
  if (Buffer.isBuffer(pixels)) return encodeElement({ ...element, value: pixels }, layout);
  const fragments = [Buffer.alloc(0), ...(pixels as readonly Buffer[])].map((fragment) => evenBytes('OB', fragment));
  const items = fragments.flatMap((fragment) => [mark(0xe000, fragment.length, layout), fragment]);
  return Buffer.concat([header(element, UNDEFINED, layout), ...items, mark(0xe0dd, 0, layout)]);
}
