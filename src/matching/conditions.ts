/**
 * Matching of one value, PS3.4 C.2.2.2 as PS3.18 8.3.4.1 applies it: a key becomes an SQL condition on a column that holds comparable
 * values. Names compare without case and accents, each component group by itself; all other text as it is written.
 */
import { formatTag } from '../dicom/data-set.ts';
import { keywordOf, lookUp } from '../dicom/dictionary.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid } from '../dicom/uid.ts';
import { dateTimeBounds, isDay, timeBounds } from './moments.ts';
import { globOf } from './names.ts';
import type { ValueKind } from './values.ts';

export interface Match {
  /** Tags, outermost first. */
  readonly path: readonly number[];
  readonly vr: string;
  /** As given in the request, percent-decoded. */
  readonly value: string;
  /** Of a private attribute: who reserved its block. */
  readonly creator?: string | undefined;
}

export interface ValueOptions {
  readonly fuzzyMatching: boolean;
  /** `""` matches what is absent or empty (PS3.4 C.2.2.2.7). */
  readonly emptyValueMatching?: boolean | undefined;
  /** Values parted by backslashes are all to be there (PS3.4 C.2.2.2.8). */
  readonly multipleValueMatching?: boolean | undefined;
}

export interface Condition {
  readonly sql: string;
  readonly values: readonly (string | number)[];
}

/** How columns are searched: by an index of their pieces, or one value after the other. */
export interface Lookups {
  readonly textCondition?: (column: string, value: string) => Condition;
  /** Of folded names. */
  readonly nameCondition: (column: string, value: string, fuzzy: boolean) => Condition;
}

export function nameOfKey({ path }: Match): string {
  return path.map((tag) => keywordOf(tag) || formatTag(tag)).join('.');
}

export function bad(match: Match, expected: string): Refusal {
  return new Refusal('BadRequest', `the value of ${nameOfKey(match)} is not ${expected}`);
}

const MOST_PATTERN_CHARACTERS = 1024;
const MOST_STARS = 10;

/** Each `*` multiplies the ways to fit a pattern to a text; several in a row mean one. */
export function bounded(match: Match): Match {
  if (isUniversal(match.value)) return match;
  const value = match.value.replace(/\*{2,}/g, '*');
  if (match.vr !== 'UI' && (value.length > MOST_PATTERN_CHARACTERS || value.split('*').length > MOST_STARS + 1))
    throw bad(match, `of at most ${MOST_PATTERN_CHARACTERS} characters and ${MOST_STARS} wild cards *`);
  return { ...match, value };
}

export function isUniversal(value: string): boolean {
  return value === '' || /^\*+$/.test(value);
}

export function isEmptyValue(match: Match, options: ValueOptions): boolean {
  return options.emptyValueMatching === true && match.value === '""';
}

export function all(parts: readonly Condition[]): Condition {
  return { sql: parts.map(({ sql }) => sql).join(' AND '), values: parts.flatMap(({ values }) => values) };
}

/** Value representations whose multiple values can be asked for (PS3.4 C.2.2.2.8). */
const MULTIPLE_VRS = new Set(['AE', 'AS', 'AT', 'CS', 'LO', 'PN', 'SH', 'UC']);

/** The values of which each is to be there, one by one; none when the match has one value only. @throws Refusal BadRequest */
export function separateValues(match: Match, options: ValueOptions): Match[] {
  if (options.multipleValueMatching !== true || !match.value.includes('\\') || !MULTIPLE_VRS.has(match.vr)) return [];
  if (lookUp(match.path.at(-1) ?? 0)?.vm === '1') return [];
  const values = match.value.split('\\').map((one) => one.trim());
  if (values.some((one) => one === '' || /[*?]/.test(one)))
    throw bad(match, 'a list of values without wild cards (PS3.4 C.2.2.2.8)');
  return values.map((value) => ({ ...match, value }));
}

/** Undefined for universal matching. */
export function valueCondition(
  kind: ValueKind | 'integer',
  column: string,
  match: Match,
  options: ValueOptions & Lookups,
): Condition | undefined {
  const { value } = match;
  if (isUniversal(value)) return undefined;
  if (isEmptyValue(match, options)) {
    return { sql: kind === 'integer' ? `${column} IS NULL` : `${column} = ''`, values: [] };
  }
  switch (kind) {
    case 'text':
      return (options.textCondition ?? textCondition)(column, value);
    case 'name':
      return options.nameCondition(column, value, options.fuzzyMatching);
    case 'uid':
      return uidCondition(column, match);
    case 'integer': {
      if (!/^[+-]?\d{1,12}$/.test(value.trim())) throw bad(match, 'a whole number');
      return { sql: `${column} = ?`, values: [Number(value)] };
    }
    case 'number': {
      if (!/^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?$/.test(value.trim())) throw bad(match, 'a number');
      return { sql: `${column} = ?`, values: [String(Number(value))] };
    }
    case 'date':
      return rangeCondition(column, dateRange(match));
    case 'time':
      return rangeCondition(column, timeRange(match));
    case 'datetime':
      return rangeCondition(column, dateTimeRange(match));
    default:
      return kind satisfies never;
  }
}

/** Leading and trailing blanks do not count (PS3.5 6.2); `*` any characters, `?` one. What stands before the first is looked up. */
export function textCondition(column: string, given: string): Condition {
  const value = given.trim();
  if (!/[*?]/.test(value)) return { sql: `${column} = ?`, values: [value] };
  const [prefix = ''] = value.split(/[*?]/, 1);
  const glob: Condition = { sql: `${column} GLOB ?`, values: [globOf(value)] };
  if (prefix === '') return glob;
  return all([{ sql: `${column} >= ? AND ${column} < ?`, values: [prefix, `${prefix}\u{10ffff}`] }, glob]);
}

/** Lists come with commas (PS3.18 8.3.4.1) or backslashes (PS3.4 C.2.2.2.2). */
function uidCondition(column: string, match: Match): Condition {
  const uids = match.value.split(/[,\\]/).map((uid) => uid.replace(/^[ \0]+|[ \0]+$/g, ''));
  if (!uids.every(isUid)) throw bad(match, 'a UID or a list of them');
  return { sql: `${column} IN (${uids.map(() => '?').join(', ')})`, values: uids };
}

/** Both ends inclusive; undefined: open. */
interface Range {
  readonly from: string | undefined;
  readonly to: string | undefined;
}

export function rangeCondition(column: string, { from, to }: Range): Condition {
  if (from !== undefined && from === to) return { sql: `${column} = ?`, values: [from] };
  // Text sorts as moments do; an empty value is before all of them and in no range.
  const lower = from === undefined ? { sql: `${column} > ''`, values: [] } : { sql: `${column} >= ?`, values: [from] };
  if (to === undefined) return lower;
  return { sql: `${lower.sql} AND ${column} <= ?`, values: [...lower.values, to] };
}

export function dateRange(match: Match): Range {
  const parts = /^(\d{8})?(-)?(\d{8})?$/.exec(match.value.trim());
  const [, from, dash, to] = parts ?? [];
  const valid = [from, to].every((day) => day === undefined || isDay(day));
  if (
    parts === null ||
    !valid ||
    (from === undefined && to === undefined) ||
    (dash === undefined && to !== undefined)
  ) {
    throw bad(match, 'a date YYYYMMDD or a range of dates');
  }
  return dash === undefined ? { from, to: from } : { from, to };
}

export function timeRange(match: Match): Range {
  const given = match.value.trim();
  const dash = given.indexOf('-');
  const [first, last] = dash === -1 ? [given, given] : [given.slice(0, dash), given.slice(dash + 1)];
  const from = first === '' ? undefined : timeBounds(first);
  const to = last === '' ? undefined : timeBounds(last);
  if ((first !== '' && from === undefined) || (last !== '' && to === undefined) || (first === '' && last === '')) {
    throw bad(match, 'a time HHMMSS.FFFFFF or a range of times');
  }
  return { from: from?.[0], to: to?.[1] };
}

/** The hyphen of a range is told from that of an offset by which halves are date-times. */
function dateTimeRange(match: Match): Range {
  const given = match.value.trim();
  const whole = dateTimeBounds(given);
  if (whole !== undefined) return { from: whole[0], to: whole[1] };
  for (let dash = given.indexOf('-'); dash >= 0; dash = given.indexOf('-', dash + 1)) {
    const [first, last] = [given.slice(0, dash), given.slice(dash + 1)];
    const from = first === '' ? undefined : dateTimeBounds(first);
    const to = last === '' ? undefined : dateTimeBounds(last);
    if ((first !== '' && from === undefined) || (last !== '' && to === undefined) || (first === '' && last === ''))
      continue;
    return { from: from?.[0], to: to?.[1] };
  }
  throw bad(match, 'a date-time YYYYMMDDHHMMSS.FFFFFF&ZZXX or a range of them');
}
