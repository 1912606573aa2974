/**
 * Attribute matching, PS3.4 C.2.2.2 as PS3.18 8.3.4.1 applies it: each key becomes one SQL condition on a key column.
 * Names compare without case and accents, each component group by itself; all other text as it is written.
 */
import { formatTag } from '../dicom/data-set.ts';
import { keywordOf } from '../dicom/dictionary.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid } from '../dicom/uid.ts';
import { foldName, timeBounds } from './attributes.ts';

export type Level = 'study' | 'series' | 'instance';

export interface Match {
  /** Tags, outermost first. */
  readonly path: readonly number[];
  readonly vr: string;
  /** As given in the request, percent-decoded. */
  readonly value: string;
}

export interface Condition {
  readonly sql: string;
  readonly values: readonly (string | number)[];
}

type Kind = 'text' | 'name' | 'uid' | 'integer' | 'date' | 'time' | 'modalities' | 'request';

interface Key {
  readonly level: Level;
  readonly kind: Kind;
  readonly column: string;
}

const KEYS: Readonly<Record<string, Key>> = {
  '00080020': { level: 'study', kind: 'date', column: 'study.study_date' },
  '00080030': { level: 'study', kind: 'time', column: 'study.study_time' },
  '00080050': { level: 'study', kind: 'text', column: 'study.accession_number' },
  '00080061': { level: 'study', kind: 'modalities', column: 'modality' },
  '00080090': { level: 'study', kind: 'name', column: 'study.referring_physician' },
  '00081030': { level: 'study', kind: 'text', column: 'study.description' },
  '00100010': { level: 'study', kind: 'name', column: 'study.patient_name' },
  '00100020': { level: 'study', kind: 'text', column: 'study.patient_id' },
  '00100030': { level: 'study', kind: 'date', column: 'study.birth_date' },
  '00100040': { level: 'study', kind: 'text', column: 'study.sex' },
  '0020000d': { level: 'study', kind: 'uid', column: 'study.study_uid' },
  '00200010': { level: 'study', kind: 'text', column: 'study.study_id' },
  '00080060': { level: 'series', kind: 'text', column: 'series.modality' },
  '0008103e': { level: 'series', kind: 'text', column: 'series.description' },
  '00180015': { level: 'series', kind: 'text', column: 'series.body_part' },
  '0020000e': { level: 'series', kind: 'uid', column: 'series.series_uid' },
  '00200011': { level: 'series', kind: 'integer', column: 'series.number' },
  '00400244': { level: 'series', kind: 'date', column: 'series.step_start_date' },
  '00400245': { level: 'series', kind: 'time', column: 'series.step_start_time' },
  '00400275.00400009': { level: 'series', kind: 'request', column: 'scheduled_step_id' },
  '00400275.00401001': { level: 'series', kind: 'request', column: 'requested_procedure_id' },
  '00080016': { level: 'instance', kind: 'uid', column: 'instance.sop_class' },
  '00080018': { level: 'instance', kind: 'uid', column: 'instance.sop_uid' },
  '00200013': { level: 'instance', kind: 'integer', column: 'instance.number' },
};

/** Date and time that form one interval when both are ranges or one is a day (PS3.4 C.2.2.2.5.2). */
const MOMENTS = [
  ['00080020', '00080030'],
  ['00400244', '00400245'],
] as const;

const LEVELS: readonly Level[] = ['study', 'series', 'instance'];

/** The keys that a search at this level can match, as tag paths. */
export function matchingKeys(level: Level): number[][] {
  const reach = LEVELS.indexOf(level);
  return Object.entries(KEYS)
    .filter(([, key]) => LEVELS.indexOf(key.level) <= reach)
    .map(([path]) => path.split('.').map((tag) => Number.parseInt(tag, 16)));
}

/** Whether every key is one of studies, so that a search can go from studies downwards. */
export function matchesStudiesOnly(matches: readonly Match[]): boolean {
  return matches.every((match) => KEYS[pathOf(match)]?.level === 'study');
}

function pathOf({ path }: Match): string {
  return path.map((tag) => tag.toString(16).padStart(8, '0')).join('.');
}

/** @throws Refusal BadRequest, naming the key and never the value */
export function conditions(level: Level, matches: readonly Match[], fuzzyMatching: boolean): Condition[] {
  const byPath = new Map<string, Match>();
  for (const match of matches) {
    const path = pathOf(match);
    const key = KEYS[path];
    if (key === undefined || LEVELS.indexOf(key.level) > LEVELS.indexOf(level)) {
      throw new Refusal('BadRequest', `${nameOfKey(match)} cannot be matched at ${level} level`);
    }
    if (byPath.has(path)) throw new Refusal('BadRequest', `${nameOfKey(match)} is given more than once`);
    byPath.set(path, match);
  }
  const found: Condition[] = [];
  for (const [date, time] of MOMENTS) {
    const moment = momentCondition(KEYS[date], byPath.get(date), KEYS[time], byPath.get(time));
    if (moment === undefined) continue;
    found.push(moment);
    byPath.delete(date);
    byPath.delete(time);
  }
  for (const [path, match] of byPath) {
    const key = KEYS[path];
    const condition = key === undefined ? undefined : conditionOf(key, match, fuzzyMatching);
    if (condition !== undefined) found.push(condition);
  }
  return found;
}

function nameOfKey({ path }: Match): string {
  return path.map((tag) => keywordOf(tag) || formatTag(tag)).join('.');
}

function bad(match: Match, expected: string): Refusal {
  return new Refusal('BadRequest', `the value of ${nameOfKey(match)} is not ${expected}`);
}

/** Undefined for universal matching. */
function conditionOf(key: Key, match: Match, fuzzyMatching: boolean): Condition | undefined {
  const { value } = match;
  if (value === '' || /^\*+$/.test(value)) return undefined;
  switch (key.kind) {
    case 'text':
      return textCondition(key.column, value);
    case 'name':
      return fuzzyMatching ? fuzzyNameCondition(key.column, value) : nameCondition(key.column, value);
    case 'uid':
      return uidCondition(key.column, match);
    case 'integer': {
      if (!/^[+-]?\d{1,12}$/.test(value.trim())) throw bad(match, 'a whole number');
      return { sql: `${key.column} = ?`, values: [Number(value)] };
    }
    case 'date':
      return rangeCondition(key.column, dateRange(match));
    case 'time':
      return rangeCondition(key.column, timeRange(match));
    case 'modalities': {
      // Any one series decides; several modalities are a list of alternatives.
      const any = value.split('\\').map((one) => textCondition('other.modality', one));
      return {
        sql: `study.id IN (SELECT other.study FROM series AS other WHERE ${any.map(({ sql }) => sql).join(' OR ')})`,
        values: any.flatMap(({ values }) => values),
      };
    }
    case 'request': {
      const one = textCondition(`request.${key.column}`, value);
      return { sql: `series.id IN (SELECT request.series FROM request WHERE ${one.sql})`, values: one.values };
    }
    default:
      return key.kind satisfies never;
  }
}

/** Leading and trailing blanks do not count (PS3.5 6.2); `*` any characters, `?` one. */
function textCondition(column: string, given: string): Condition {
  const value = given.trim();
  return /[*?]/.test(value)
    ? { sql: `${column} GLOB ?`, values: [globOf(value)] }
    : { sql: `${column} = ?`, values: [value] };
}

/** DICOM's wild cards are those of GLOB, which has brackets besides. */
function globOf(pattern: string): string {
  return pattern.replaceAll('[', '[[]');
}

/** A value without `=` is matched against each component group; with it, group by group, those left empty matching all. */
function nameCondition(column: string, value: string): Condition {
  const name = foldName(value);
  if (name === '') return { sql: `${column} <> ''`, values: [] };
  if (name.includes('=')) {
    const pattern = name.split('=').map((group) => (group === '' ? '*' : globOf(group)));
    return { sql: `(${column} GLOB ? OR ${column} GLOB ?)`, values: [pattern.join('='), `${pattern.join('=')}=*`] };
  }
  const group = globOf(name);
  const first = /[*?]/.test(name) ? { sql: `${column} GLOB ?`, value: group } : { sql: `${column} = ?`, value: name };
  return {
    sql: `(${first.sql} OR ${column} GLOB ? OR ${column} GLOB ? OR ${column} GLOB ?)`,
    values: [first.value, `${group}=*`, `*=${group}`, `*=${group}=*`],
  };
}

/**
 * Fuzzy matching only adds (PS3.4 C.2.2.2.1.1): every word of the value begins a word of the name, in any order and component.
 */
function fuzzyNameCondition(column: string, value: string): Condition {
  const literal = nameCondition(column, value);
  const words = foldName(value)
    .split(/[\s^=,*?-]+/)
    .filter((word) => word !== '');
  if (words.length === 0) return literal;
  const starts = words.map(() => `' ' || replace(replace(replace(${column}, '^', ' '), '=', ' '), '-', ' ') GLOB ?`);
  return {
    sql: `(${literal.sql} OR (${starts.join(' AND ')}))`,
    values: [...literal.values, ...words.map((word) => `* ${globOf(word)}*`)],
  };
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

function rangeCondition(column: string, { from, to }: Range): Condition {
  if (from !== undefined && from === to) return { sql: `${column} = ?`, values: [from] };
  // Text sorts as moments do; an empty value is before all of them and in no range.
  const lower = from === undefined ? { sql: `${column} > ''`, values: [] } : { sql: `${column} >= ?`, values: [from] };
  if (to === undefined) return lower;
  return { sql: `${lower.sql} AND ${column} <= ?`, values: [...lower.values, to] };
}

function dateRange(match: Match): Range {
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

function isDay(text: string): boolean {
  const [year, month, day] = [Number(text.slice(0, 4)), Number(text.slice(4, 6)), Number(text.slice(6))];
  const date = new Date(Date.UTC(2000, month - 1, day));
  date.setUTCFullYear(year, month - 1, day);
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
}

function timeRange(match: Match): Range {
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

/** Date range and time range together are one interval from first date and time to last date and time. */
function momentCondition(
  dateKey: Key | undefined,
  date: Match | undefined,
  timeKey: Key | undefined,
  time: Match | undefined,
): Condition | undefined {
  if (dateKey === undefined || timeKey === undefined || date === undefined || time === undefined) return undefined;
  if (!date.value.includes('-') || !time.value.includes('-')) return undefined;
  const days = dateRange(date);
  const times = timeRange(time);
  const moment = `(${dateKey.column}, ${timeKey.column})`;
  const ends: Condition[] = [{ sql: `${dateKey.column} > ''`, values: [] }];
  if (days.from !== undefined) ends.push({ sql: `${moment} >= (?, ?)`, values: [days.from, times.from ?? ''] });
  if (days.to !== undefined) ends.push({ sql: `${moment} <= (?, ?)`, values: [days.to, times.to ?? '24'] });
  return { sql: ends.map(({ sql }) => sql).join(' AND '), values: ends.flatMap(({ values }) => values) };
}
