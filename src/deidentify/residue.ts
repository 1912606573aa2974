/**
 * The second look: whether something that names the patient, another person, a place or a number still stands in the bytes that are about
 * to leave. It searches bytes, not attributes, so that it shares no mistake with the rules that wrote them. What it finds is not passed.
 */
import { asciiValue, formatTag, type DataElement, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { readHead } from '../dicom/part10.ts';
import type { Vr } from '../dicom/vr.ts';
import type { AlikeSeries } from './alike.ts';
import { isPublicScheme } from './codes.ts';
import type { Cleaner } from './free-text.ts';
import type { Identity, RawIdentity } from './identity.ts';
import type { CompiledProfile } from './profile.ts';
import { STAMP_TAGS } from './stamps.ts';
import { conditionHolds, findOverride } from './overrides.ts';
import { isClinicalWord } from './vocabulary.ts';
import { fold, isNoName, isUnspaced, wordsOf } from './words.ts';

/** What is searched for: bytes as Latin-1 text in lower case, in every encoding that a value could have come through in. */
export interface Needles {
  readonly texts: readonly string[];
  /** Those of them that name nothing but a place. */
  readonly places: ReadonlySet<string>;
}

/** What is known of the people in an object: how texts are cleaned of them, and what is searched for when all is done. */
export interface Known {
  readonly cleaner: Cleaner;
  readonly needles: Needles;
  /** What became of the last instances. */
  readonly alike: AlikeSeries;
}

/** Shorter parts of a name stand everywhere by chance. */
const SHORTEST_NAME = 3;
const SHORTEST_ID = 4;
const SHORTEST_PLACE = 5;
/** Three letters are met by chance in a table of bytes that is not short, four in a long one; five hardly in any. */
const LONGEST_BINARY: Readonly<Record<number, number>> = { 3: 256, 4: 4096 };

/** @param makers of the machine: a station that is named after its maker tells nothing */
export function needlesOf(identity: Identity, { pieces }: RawIdentity, makers: readonly string[]): Needles {
  const known = new Set(makers.map((maker) => maker.trim().toLowerCase()));
  const texts = new Set<string>();
  const places = new Set<string>();
  let kind: keyof Identity = 'names';
  const add = (bytes: Buffer): void => {
    const text = lower(bytes);
    if (kind === 'places' && !texts.has(text)) places.add(text);
    texts.add(text);
  };
  const addText = (text: string): void => {
    for (const form of new Set([text, text.normalize('NFC'), text.normalize('NFD')])) {
      add(Buffer.from(form, 'utf8'));
      if (/[^\u0000-\u007f]/.test(form) && !/[^\u0000-\u00ff]/.test(form)) add(Buffer.from(form, 'latin1'));
      // Both orders: the odd byte before or after belongs to the neighbour.
      add(Buffer.from(form, 'utf16le').subarray(0, -1));
    }
  };
  for (const name of identity.names) {
    // A number in the place of a name: its letters are the name of a study, not of a person.
    if (/\d/.test(name)) {
      if (name.length >= SHORTEST_ID) addText(name);
      continue;
    }
    for (const { text } of wordsOf(name)) {
      if (isUnspaced(text) ? text.length >= 2 : text.length >= SHORTEST_NAME && !isNoName(fold(text))) addText(text);
    }
  }
  for (const [its, shortest] of [
    ['ids', SHORTEST_ID],
    ['numbers', SHORTEST_ID],
    ['places', SHORTEST_PLACE],
  ] as const) {
    kind = its;
    for (const value of identity[its]) {
      if (value.length >= shortest && !/^0*$/.test(value) && !isNoName(fold(value)) && !known.has(value.toLowerCase()))
        addText(value);
    }
  }
  // As they came: ISO 2022, GB18030, Shift JIS and whatever else the object declares.
  for (const { bytes } of pieces) {
    if (bytes.every((byte) => byte < 0x80 && byte !== 0x1b)) continue;
    for (const group of lower(bytes).split('=')) {
      const whole = group.trim();
      if (whole.length >= 6) texts.add(whole);
    }
  }
  return { texts: [...texts], places };
}

function lower(bytes: Buffer): string {
  return bytes.toString('latin1').toLowerCase();
}

/** What a profile may say of values that stay. */
export type Exceptions = Pick<CompiledProfile, 'rules' | 'overrides'>;

/**
 * Where something was found: the attribute's path. `head` is the object as it leaves, up to its pixel data.
 * @param uids originals that were mapped: none may stand anywhere
 */
export function findResidue(
  head: Buffer,
  needles: Needles,
  options: { readonly uids: Iterable<string>; readonly profile: Exceptions },
): string | undefined {
  const text = lower(head);
  const hits: Hit[] = [];
  for (const needle of needles.texts) {
    for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + 1)) {
      hits.push({ at, text: needle, isUid: false });
    }
  }
  for (const uid of options.uids) {
    const at = text.indexOf(uid);
    if (at >= 0) hits.push({ at, text: uid, isUid: true });
  }
  if (hits.length === 0) return undefined;
  const { dataSet } = readHead(head).head;
  for (const hit of hits) {
    const found = placeOf(dataSet, hit, []);
    // Bytes between values are lengths and tags: no value stands there.
    if (found === undefined || !standsAlone(text, hit, found.element)) continue;
    if (!isExpected(dataSet, found, { ...hit, isPlace: needles.places.has(hit.text) }, options.profile)) {
      return [...found.path, found.element.tag].map(formatTag).join(' > ');
    }
  }
  return undefined;
}

/** Of many originals those that could stand in these bytes: runs of digits and dots, without the digit that a next tag may begin with. */
export function candidatesIn(head: Buffer, originals: ReadonlySet<string>): string[] {
  if (originals.size === 0) return [];
  const candidates = new Set<string>();
  for (const [run] of head.toString('latin1').matchAll(/[0-9](?:[0-9]*\.[0-9]+)+/g)) {
    for (const uid of [run, run.slice(0, -1)]) if (originals.has(uid)) candidates.add(uid);
  }
  return [...candidates];
}

interface Hit {
  readonly at: number;
  readonly text: string;
  readonly isUid: boolean;
}

/** Not a part of a longer word or number of the same value. */
function standsAlone(head: string, { at, text }: Hit, { valueStart, valueEnd }: DataElement): boolean {
  const joins = /^[\d.]+$/.test(text) ? /[\d.]/ : /[a-z0-9\u00c0-\u00ff]/;
  // Scripts of many bytes put no blanks between words.
  const joined = (edge: string, neighbour: number): boolean =>
    edge < '\u0080' && neighbour >= valueStart && neighbour < valueEnd && joins.test(head[neighbour] ?? ' ');
  return !joined(text[0] ?? '', at - 1) && !joined(text.at(-1) ?? '', at + text.length);
}

interface Place {
  readonly dataSet: DataSet;
  readonly element: DataElement;
  readonly path: readonly number[];
}

function placeOf(dataSet: DataSet, hit: Hit, path: readonly number[]): Place | undefined {
  for (const element of dataSet.elements) {
    if (hit.at < element.valueStart || hit.at >= element.valueEnd) continue;
    for (const item of element.items ?? []) {
      const inner = placeOf(item, hit, [...path, element.tag]);
      if (inner !== undefined) return inner;
    }
    return element.items === undefined ? { dataSet, element, path } : undefined;
  }
  return undefined;
}

/** Values that are no words of a person: numbers, times, and UIDs (which are looked for as a whole). */
const NO_TEXT: ReadonlySet<Vr> = new Set([
  ...(['AT', 'DA', 'DS', 'DT', 'FD', 'FL', 'IS', 'SL', 'SS', 'SV', 'TM', 'UL', 'US', 'UV'] as const),
]);
const BINARY: ReadonlySet<Vr> = new Set(['OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'UN']);
const CODE_TAGS: ReadonlySet<number> = new Set(['CodeValue', 'CodeMeaning', 'CodingSchemeDesignator'].map(tag));
const CODING_SCHEME_DESIGNATOR = tag('CodingSchemeDesignator');
/** A patient may be called Head: these attributes hold words of a list all the same. */
const TERMS: ReadonlySet<number> = new Set(
  [
    'BodyPartExamined',
    'Modality',
    'ImageType',
    'PatientPosition',
    'Laterality',
    'ImageLaterality',
    'ViewPosition',
    'ScanOptions',
  ].map(tag),
);
const STAMPS: ReadonlySet<number> = new Set(STAMP_TAGS);

/** What stands there by right: our own stamps, published codes, terms of the standard, and what the profile says to keep. */
function isExpected(
  root: DataSet,
  { dataSet, element, path }: Place,
  hit: Hit & { readonly isPlace: boolean },
  profile: Exceptions,
): boolean {
  // An institution that stays may be called as its town is, or as who numbers its patients.
  if (hit.isPlace && profile.rules.get(element.tag)?.action === 'keep') return true;
  if (STAMPS.has(path[0] ?? element.tag)) return true;
  if (hit.isUid) return profile.rules.get(element.tag)?.action === 'keep' || isKept(root, element, path, profile);
  if (NO_TEXT.has(element.vr) || element.vr === 'UI') return true;
  const lengthBytes = element.valueEnd - element.valueStart;
  if (BINARY.has(element.vr) && lengthBytes > (LONGEST_BINARY[hit.text.length] ?? Infinity)) return true;
  if (CODE_TAGS.has(element.tag) && isPublicScheme(asciiValue(dataSet, CODING_SCHEME_DESIGNATOR) ?? '')) return true;
  if (TERMS.has(element.tag)) return true;
  if (element.vr === 'CS' && (hit.text.length <= SHORTEST_NAME || isClinicalWord(fold(hit.text)))) return true;
  return isKept(root, element, path, profile);
}

function isKept(root: DataSet, element: DataElement, path: readonly number[], profile: Exceptions): boolean {
  const override = findOverride(profile.overrides.get(element.tag) ?? [], path, (one) => conditionHolds(one, root));
  return override?.rule.action === 'keep';
}
