/**
 * Values that their VR (PS3.5 6.2) or their attribute's multiplicity (PS3.6) does not allow: nothing that keeps an object from being stored,
 * but what its sender should hear of. Attributes of the top level, private ones left out; says what is wrong, never what was found.
 */
import { asciiOf, asciiValue, type DataElement, type DataSet } from './data-set.ts';
import { isPrivate, lookUp } from './dictionary.ts';
import { differing, outlineOf, type Outline } from './likeness.ts';
import { isUid } from './uid.ts';
import { VR_TRAITS, type Vr } from './vr.ts';

export interface ValueFault {
  readonly tag: number;
  /** Short, in words of the standard. */
  readonly what: string;
}

const SERIES_INSTANCE_UID = 0x0020000e;
/** More than these are not told. */
const MOST_FAULTS = 50;
/** Values of one attribute that are looked at. */
const MOST_VALUES = 1000;

/** By Series Instance UID, an instance without faults: of the next one only what differs is looked at. */
export type Faultless = Map<string, Outline>;

const MOST_SERIES = 16;
const MOST_BYTES = 32 * 1024;

export function valueFaults(dataSet: DataSet, faultless: Faultless = new Map()): ValueFault[] {
  const series = asciiValue(dataSet, SERIES_INSTANCE_UID) ?? '';
  const before = faultless.get(series);
  const differ = before && differing(before, dataSet, () => true);
  if (differ !== undefined) return faultsIn(dataSet, differ);
  const faults = faultsIn(dataSet, dataSet.elements.keys());
  if (faults.length === 0 && dataSet.end - dataSet.start <= MOST_BYTES) {
    if (faultless.size >= MOST_SERIES) faultless.clear();
    faultless.set(series, outlineOf(dataSet));
  }
  return faults;
}

function faultsIn(dataSet: DataSet, places: Iterable<number>): ValueFault[] {
  const faults: ValueFault[] = [];
  for (const place of places) {
    const element = dataSet.elements[place];
    if (element === undefined) break;
    const { tag } = element;
    if (isPrivate(tag) || (tag & 0xffff) === 0 || element.items !== undefined) continue;
    if (element.valueStart === element.valueEnd) continue;
    const what = faultOf(dataSet, element);
    if (what !== undefined) faults.push({ tag, what });
    if (faults.length >= MOST_FAULTS) break;
  }
  return faults;
}

/** Of an element that is neither empty nor a sequence; undefined where nothing is wrong, or nothing known of it. */
export function faultOf(dataSet: DataSet, element: DataElement): string | undefined {
  const rule = ruleOf(element.tag);
  if (rule === undefined) return undefined;
  const { vr } = element;
  if (!rule.vrs.includes(vr)) return `has VR ${vr}`;
  const { text, wordBytes, multiValued } = VR_TRAITS[vr];
  if (text === false) {
    if (!multiValued) return undefined;
    const lengthBytes = element.valueEnd - element.valueStart;
    if (lengthBytes % wordBytes !== 0) return `is no multiple of ${wordBytes} bytes`;
    return multiplicityFault(rule, vr === 'AT' ? lengthBytes / 4 : lengthBytes / wordBytes);
  }
  // Bytes beyond ASCII may be half a character: counting and splitting would need the character set.
  if (text === 'charset' && goesBeyondAscii(dataSet, element)) return undefined;
  const value = asciiOf(dataSet, element);
  if (!multiValued || !value.includes('\\')) return multiplicityFault(rule, 1) ?? textFault(vr, value);
  const values = value.split('\\', MOST_VALUES);
  let what = multiplicityFault(rule, values.length);
  for (let at = 0; what === undefined && at < values.length; at++) what = textFault(vr, (values[at] ?? '').trim());
  return what;
}

/** Escape sequences too. */
function goesBeyondAscii({ bytes }: DataSet, { valueStart, valueEnd }: DataElement): boolean {
  for (let at = valueStart; at < valueEnd; at++) {
    const byte = bytes[at] ?? 0;
    if (byte > 0x7f || byte === 0x1b) return true;
  }
  return false;
}

interface Rule {
  readonly vrs: readonly Vr[];
  readonly least: number;
  readonly most: number;
  readonly step: number;
}

const RULES = new Map<number, Rule>();

/** Undefined for what the dictionary does not know. */
function ruleOf(tag: number): Rule | undefined {
  const known = RULES.get(tag);
  if (known !== undefined) return known;
  const entry = lookUp(tag);
  if (entry === undefined) return undefined;
  const rule = { vrs: entry.vrs, ...multiplicity(entry.vm) };
  RULES.set(tag, rule);
  return rule;
}

/** `1`, `1-3`, `2-n`, `3-3n`; of alternatives the widest. */
function multiplicity(vm: string): Omit<Rule, 'vrs'> {
  const [, first = '1', to] = /^(\d+)(?:-(\d*n?))?/.exec(vm.split(' or ').at(-1) ?? '') ?? [];
  const least = Number(first);
  if (to === undefined) return { least, most: least, step: 1 };
  if (!to.endsWith('n')) return { least, most: Number(to), step: 1 };
  return { least, most: Infinity, step: Number(to.slice(0, -1) || '1') };
}

function multiplicityFault({ least, most, step }: Rule, count: number): string | undefined {
  if (count < least) return `has fewer values than ${least}`;
  if (count > most) return `has more values than ${most}`;
  return count % step === 0 ? undefined : `has values that are no multiple of ${step}`;
}

const LONGEST: Partial<Record<Vr, number>> = { AE: 16, CS: 16, DS: 16, IS: 12, LO: 64, SH: 16, LT: 10_240, ST: 1024 };

const FORMS: Partial<Record<Vr, RegExp>> = {
  AS: /^\d{3}[DWMY]$/,
  CS: /^[A-Z0-9 _]*$/,
  DA: /^\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$/,
  DS: /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/,
  DT: /^\d{4}((0[1-9]|1[0-2])((0[1-9]|[12]\d|3[01])(([01]\d|2[0-3])([0-5]\d([0-5]\d|60)?(\.\d{1,6})?)?)?)?)?([+-]\d{4})?$/,
  IS: /^[+-]?\d+$/,
  TM: /^([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?$/,
};

/** Undefined when the value, which may be empty among others, is one of its VR. */
function textFault(vr: Vr, value: string): string | undefined {
  if (value === '') return undefined;
  if (vr === 'UI') return isUid(value) ? undefined : 'is no UID';
  if (vr === 'PN') return value.split('=').some((group) => group.length > 64) ? 'is longer than PN allows' : undefined;
  const longest = LONGEST[vr];
  if (longest !== undefined && value.length > longest) return `is longer than ${vr} allows`;
  return FORMS[vr]?.test(value) === false ? `is no value of ${vr}` : undefined;
}
