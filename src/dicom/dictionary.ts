/**
 * The data dictionary: PS3.6 sections 6 to 8 (edition in the table's name), with the repeating groups of PS3.5 7.6,
 * group lengths (PS3.5 7.2) and private creators (PS3.5 7.8.1).
 */
import { readFileSync } from 'node:fs';
import type { Vr } from './vr.ts';

export interface DictionaryEntry {
  /** For a repeating group its first tag: (60xx,3000) stands as 0x60003000. */
  readonly tag: number;
  /** Eight digits, hex upper case, `x` where any digit may stand. */
  readonly pattern: string;
  readonly keyword: string;
  readonly name: string;
  /** More than one where the standard lets other attributes decide, e.g. `US or SS`; `vrOf` does. */
  readonly vrs: readonly Vr[];
  readonly vm: string;
  readonly retired: boolean;
}

/** What decides between the VRs of an ambiguous attribute. */
export interface VrContext {
  /** (0028,0103): 1 makes `US or SS` SS. */
  readonly pixelRepresentation?: number | undefined;
  /** (0028,0100), or Waveform Bits Allocated (5400,1004): 8 makes `OB or OW` OB in Explicit VR. */
  readonly bitsAllocated?: number | undefined;
  /** Encapsulated pixel data is always OB (PS3.5 A.4). */
  readonly encapsulated?: boolean | undefined;
}

type Row = readonly [pattern: string, keyword: string, vr: string, vm: string, retired: 0 | 1, name: string];

interface Dictionary {
  readonly rows: Map<number, Row>;
  /** The VR without context, so that the reader's question for each element is one look-up. */
  readonly vrs: Map<number, Vr>;
  readonly masks: readonly Mask[];
  readonly tags: Map<string, number>;
}

/** Patterns with the same digits open, e.g. all of group 60xx. */
interface Mask {
  readonly mask: number;
  readonly rows: Map<number, Row>;
}

const DICTIONARY = readDictionary();

function readDictionary(): Dictionary {
  const file = new URL('./standard/dictionary-2024d.json', import.meta.url);
  const table = JSON.parse(readFileSync(file, 'utf8')) as { rows: Row[] };
  const rows = new Map<number, Row>();
  const vrs = new Map<number, Vr>();
  const tags = new Map<string, number>();
  const masks = new Map<number, Map<number, Row>>();
  for (const row of table.rows) {
    const [pattern, keyword, vr] = row;
    const open = pattern.includes('x');
    const tag = Number.parseInt(open ? pattern.replaceAll('x', '0') : pattern, 16);
    if (keyword !== '') tags.set(keyword, tag);
    if (open) {
      const mask = Number.parseInt(pattern.replaceAll(/[^x]/g, 'F').replaceAll('x', '0'), 16);
      const group = masks.get(mask) ?? new Map<number, Row>();
      masks.set(mask, group.set(tag, row));
    } else {
      rows.set(tag, row);
      vrs.set(tag, vr.length === 2 ? (vr as Vr) : settleVr(vr, {}));
    }
  }
  // The pattern with the fewest open digits is the closest match.
  const ordered = [...masks].sort(([a], [b]) => closedBits(b) - closedBits(a));
  return { rows, vrs, tags, masks: ordered.map(([mask, group]) => ({ mask, rows: group })) };
}

function closedBits(mask: number): number {
  return mask.toString(2).replaceAll('0', '').length;
}

/** The entry of a standard attribute; undefined for what the edition does not know, group lengths and private attributes. */
export function lookUp(tag: number): DictionaryEntry | undefined {
  const row = rowOf(tag);
  if (row === undefined) return undefined;
  const [pattern, keyword, vr, vm, retired, name] = row;
  return {
    tag: Number.parseInt(pattern.replaceAll('x', '0'), 16),
    pattern,
    keyword,
    name,
    vrs: vr.split(' or ') as Vr[],
    vm,
    retired: retired === 1,
  };
}

function rowOf(tag: number): Row | undefined {
  return DICTIONARY.rows.get(tag) ?? (isPrivate(tag) ? undefined : maskedRow(tag));
}

function maskedRow(tag: number): Row | undefined {
  for (const { mask, rows } of DICTIONARY.masks) {
    const row = rows.get((tag & mask) >>> 0);
    if (row !== undefined) return row;
  }
  return undefined;
}

/**
 * The VR of an attribute: group lengths are UL, private creators LO, ambiguous attributes by `settleVr`.
 * Undefined for what this edition does not know and for private attributes.
 */
export function vrOf(tag: number, context?: VrContext): Vr | undefined {
  const settled = DICTIONARY.vrs.get(tag);
  // Only what is US or OW without context can be something else with one.
  if (settled !== undefined && (context === undefined || (settled !== 'US' && settled !== 'OW'))) return settled;
  if ((tag & 0xffff) === 0) return 'UL';
  if (isPrivate(tag)) return isPrivateCreator(tag) ? 'LO' : undefined;
  const row = rowOf(tag);
  return row === undefined ? undefined : settleVr(row[2], context ?? {});
}

/**
 * One VR out of several, by PS3.5 annex A: OB when encapsulated or known to have 8 bits, else OW, which is also what Implicit VR
 * implies; LUT Data (`US or OW`) is OW; `US or SS` follows Pixel Representation, US when that is not known.
 */
function settleVr(vr: string, context: VrContext): Vr {
  if (!vr.includes(' ')) return vr as Vr;
  if (vr === 'OB or OW') return context.encapsulated === true || context.bitsAllocated === 8 ? 'OB' : 'OW';
  if (vr.includes('OW')) return 'OW';
  return context.pixelRepresentation === 1 ? 'SS' : 'US';
}

/** Odd groups are private (PS3.5 7.8); 1 to 7 and FFFF are not allowed at all (PS3.5 7.1) and treated alike. */
export function isPrivate(tag: number): boolean {
  return (tag & 0x00010000) !== 0;
}

/** (gggg,0010) to (gggg,00FF) of an odd group reserve a block of elements for their owner (PS3.5 7.8.1). */
export function isPrivateCreator(tag: number): boolean {
  return isPrivate(tag) && (tag & 0xff00) === 0 && (tag & 0xffff) >= 0x10;
}

/** The tag of the private creator that owns a private element: (0009,0010) for (0009,10xx); undefined for any other element. */
export function privateCreatorTag(tag: number): number | undefined {
  const block = (tag >>> 8) & 0xff;
  return isPrivate(tag) && block >= 0x10 ? ((tag & 0xffff0000) | block) >>> 0 : undefined;
}

/** The keyword, '' for attributes that have none. */
export function keywordOf(tag: number): string {
  return rowOf(tag)?.[1] ?? '';
}

/** A tag from a keyword or from hex digits as `00100010`, `0010,0010` or `(0010,0010)`; undefined for anything else. */
export function tagOf(keywordOrHex: string): number | undefined {
  const known = DICTIONARY.tags.get(keywordOrHex);
  if (known !== undefined) return known;
  const hex = /^\(?([0-9a-f]{4}),?([0-9a-f]{4})\)?$/i.exec(keywordOrHex);
  return hex === null ? undefined : Number.parseInt(`${hex[1]}${hex[2]}`, 16);
}

/** Whether PS3.6 knows an attribute by this keyword. */
export function isKeyword(keyword: string): boolean {
  return DICTIONARY.tags.has(keyword);
}

/** The tag of a keyword that the program itself names. @throws Error, a bug, when the dictionary does not have it */
export function tag(keyword: string): number {
  const known = DICTIONARY.tags.get(keyword);
  if (known === undefined) throw new Error(`no attribute has the keyword ${keyword} in PS3.6 2024d`);
  return known;
}
