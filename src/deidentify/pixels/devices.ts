/** Device rules: what is known to stand where on the images of a device (config/devices.yaml). */
import { asciiValue, findElement, itemsOf, numberValues, textValue, type DataSet } from '../../dicom/data-set.ts';
import { tag } from '../../dicom/dictionary.ts';
import { Refusal } from '../../dicom/refusal.ts';
import type { Box } from './tools.ts';

/** A file like config/devices.yaml, checked against config/schema/devices.schema.json. */
export interface DeviceFile {
  readonly devices: readonly DeviceEntry[];
}

export interface DeviceEntry {
  readonly name: string;
  /** Where the regions were published; for people. */
  readonly source?: string;
  readonly when: Condition;
  /** Blanked; first and last row and column, counted from 0. */
  readonly blank?: readonly Rectangle[];
  /** Everything else is blanked. */
  readonly keep?: readonly Rectangle[];
}

export interface Rectangle {
  readonly rows: readonly [number, number];
  readonly columns: readonly [number, number];
}

/** A test of one attribute (a keyword, or several from sequence to attribute), or several put together. */
export type Condition =
  | { readonly all: readonly Condition[] }
  | { readonly any: readonly Condition[] }
  | { readonly not: Condition }
  | AttributeTest;

export interface AttributeTest {
  readonly attribute: string;
  readonly equals?: string | number;
  readonly contains?: string;
  readonly startsWith?: string;
  readonly endsWith?: string;
  /** Regular expression that the whole value must match. */
  readonly matches?: string;
  readonly lessThan?: number;
  readonly greaterThan?: number;
  readonly exists?: boolean;
  readonly ignoreCase?: boolean;
}

export interface DeviceRule {
  readonly name: string;
  readonly applies: (dataSet: DataSet) => boolean;
  readonly blank: readonly Box[];
  /** undefined: nothing is said of what must be kept. */
  readonly keep: readonly Box[] | undefined;
}

/** @throws Refusal BadConfiguration for an attribute that is none and for an expression that is none */
export function compileDevices(file: DeviceFile): DeviceRule[] {
  return file.devices.map(({ name, when, blank, keep }) => ({
    name,
    applies: compileCondition(name, when),
    blank: (blank ?? []).map((rectangle) => boxOf(name, rectangle)),
    keep: keep?.map((rectangle) => boxOf(name, rectangle)),
  }));
}

function boxOf(name: string, { rows, columns }: Rectangle): Box {
  if (rows[0] > rows[1] || columns[0] > columns[1])
    throw new Refusal('BadConfiguration', `device rule ${name}: a rectangle ends before it begins`);
  return { left: columns[0], top: rows[0], right: columns[1] + 1, bottom: rows[1] + 1 };
}

function compileCondition(name: string, condition: Condition): (dataSet: DataSet) => boolean {
  if ('all' in condition) {
    const parts = condition.all.map((part) => compileCondition(name, part));
    return (dataSet) => parts.every((part) => part(dataSet));
  }
  if ('any' in condition) {
    const parts = condition.any.map((part) => compileCondition(name, part));
    return (dataSet) => parts.some((part) => part(dataSet));
  }
  if ('not' in condition) {
    const part = compileCondition(name, condition.not);
    return (dataSet) => !part(dataSet);
  }
  return compileTest(name, condition);
}

function compileTest(name: string, test: AttributeTest): (dataSet: DataSet) => boolean {
  const path = test.attribute.split('.').map((keyword) => tagNamed(name, keyword));
  const fold = (text: string): string => (test.ignoreCase === true ? text.toLowerCase() : text);
  const pattern = test.matches === undefined ? undefined : expression(name, test.matches, test.ignoreCase === true);
  const { equals, contains, startsWith, endsWith, lessThan, greaterThan, exists } = test;
  return (dataSet) => {
    const found = valueAt(dataSet, path);
    if (exists !== undefined && (found !== undefined) !== exists) return false;
    const value = fold(found ?? '');
    // An empty value is no number: Number('') would be 0.
    const number = value.trim() === '' ? NaN : Number(value);
    if (equals !== undefined && value !== fold(String(equals))) return false;
    if (contains !== undefined && !value.includes(fold(contains))) return false;
    if (startsWith !== undefined && !value.startsWith(fold(startsWith))) return false;
    if (endsWith !== undefined && !value.endsWith(fold(endsWith))) return false;
    if (pattern !== undefined && !pattern.test(found ?? '')) return false;
    if (lessThan !== undefined && !(number < lessThan)) return false;
    return greaterThan === undefined || number > greaterThan;
  };
}

function tagNamed(name: string, keyword: string): number {
  const numbered = /^([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})$/.exec(keyword);
  if (numbered !== null) return Number.parseInt(`${numbered[1]}${numbered[2]}`, 16);
  try {
    return tag(keyword);
  } catch {
    throw new Refusal('BadConfiguration', `device rule ${name}: ${keyword} is no attribute of PS3.6`);
  }
}

function expression(name: string, source: string, ignoreCase: boolean): RegExp {
  try {
    return new RegExp(`^(?:${source})$`, ignoreCase ? 'su' : 's');
  } catch {
    throw new Refusal('BadConfiguration', `device rule ${name}: matches is no regular expression`);
  }
}

/** The text of an attribute, or of one in the first item of the sequences before it. */
function valueAt(dataSet: DataSet, path: readonly number[]): string | undefined {
  let place = dataSet;
  for (const sequence of path.slice(0, -1)) {
    const [item] = itemsOf(place, sequence);
    if (item === undefined) return undefined;
    place = item;
  }
  const last = path.at(-1) ?? 0;
  const element = findElement(place, last);
  if (element === undefined) return undefined;
  if (element.vr === 'US' || element.vr === 'UL' || element.vr === 'SS' || element.vr === 'SL')
    return numberValues(place, last).join('\\');
  return (textValue(place, last) ?? asciiValue(place, last) ?? '').trim();
}
