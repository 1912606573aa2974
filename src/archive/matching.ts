/**
 * Attribute matching, PS3.4 C.2.2.2 as PS3.18 8.3.4.1 applies it: each key becomes one SQL condition on a key column or on the rows of
 * attribute-keys. Names compare without case and accents, each component group by itself; all other text as it is written.
 */
import { isPrivate, vrOf } from '../dicom/dictionary.ts';
import { Refusal } from '../dicom/refusal.ts';
import {
  all,
  bad,
  bounded,
  dateRange,
  isEmptyValue,
  isUniversal,
  nameOfKey,
  rangeCondition,
  separateValues,
  textCondition,
  timeRange,
  valueCondition,
  type Condition,
  type Match,
  type Lookups,
  type ValueOptions,
} from '../matching/conditions.ts';
import { dayAfter, offsetMinutes, shiftedColumns } from '../matching/moments.ts';
import { foldName } from '../matching/names.ts';
import { kindOfVr, pathName, type ValueKind } from '../matching/values.ts';
import { ATTRIBUTE_KEYS, MORE_PRIVATE_VALUES, ownRowWhere, ownersWhere, privatePath } from './attribute-keys.ts';
import type { Level } from './attributes.ts';
import { nameCondition } from './names.ts';

export type { Condition, Match } from '../matching/conditions.ts';
export type { Level } from './attributes.ts';

export interface MatchOptions extends ValueOptions {
  /** Offsets from UTC that studies of the archive declare, '' among them; needed only when the query names one. */
  readonly timezones?: readonly string[] | undefined;
  /** The conditions are for instances that are gone through, not for an index to find them. */
  readonly oneByOne?: boolean;
}

type Options = MatchOptions & Lookups;

type Kind = ValueKind | 'integer' | 'modalities' | 'classes' | 'request' | 'timezone';

interface Key {
  readonly level: Level;
  readonly kind: Kind;
  readonly column: string;
  /** Rows of attribute_key, `column` being their path, not a column. */
  readonly rows?: true;
}

const COLUMN_KEYS: Readonly<Record<string, Key>> = {
  '00080201': { level: 'study', kind: 'timezone', column: 'study.timezone' },
  '00080020': { level: 'study', kind: 'date', column: 'study.study_date' },
  '00080030': { level: 'study', kind: 'time', column: 'study.study_time' },
  '00080050': { level: 'study', kind: 'text', column: 'study.accession_number' },
  '00080061': { level: 'study', kind: 'modalities', column: 'modality' },
  '00080062': { level: 'study', kind: 'classes', column: 'class_in_series.sop_class' },
  '00080090': { level: 'study', kind: 'name', column: 'study.referring_physician' },
  '00081030': { level: 'study', kind: 'text', column: 'study.description' },
  '00100010': { level: 'study', kind: 'name', column: 'study.patient_name' },
  '00100020': { level: 'study', kind: 'text', column: 'study.patient_id' },
  '00100030': { level: 'study', kind: 'date', column: 'study.birth_date' },
  '00100040': { level: 'study', kind: 'text', column: 'study.sex' },
  '0020000D': { level: 'study', kind: 'uid', column: 'study.study_uid' },
  '00200010': { level: 'study', kind: 'text', column: 'study.study_id' },
  '00201206': { level: 'study', kind: 'integer', column: 'study.series_count' },
  '00201208': { level: 'study', kind: 'integer', column: 'study.instance_count' },
  '00080060': { level: 'series', kind: 'text', column: 'series.modality' },
  '0008103E': { level: 'series', kind: 'text', column: 'series.description' },
  '00180015': { level: 'series', kind: 'text', column: 'series.body_part' },
  '0020000E': { level: 'series', kind: 'uid', column: 'series.series_uid' },
  '00200011': { level: 'series', kind: 'integer', column: 'series.number' },
  '00201209': { level: 'series', kind: 'integer', column: 'series.instance_count' },
  '00400244': { level: 'series', kind: 'date', column: 'series.step_start_date' },
  '00400245': { level: 'series', kind: 'time', column: 'series.step_start_time' },
  '00400275.00400009': { level: 'series', kind: 'request', column: 'scheduled_step_id' },
  '00400275.00401001': { level: 'series', kind: 'request', column: 'requested_procedure_id' },
  '00080016': { level: 'instance', kind: 'uid', column: 'instance.sop_class' },
  '00080018': { level: 'instance', kind: 'uid', column: 'instance.sop_uid' },
  '00200013': { level: 'instance', kind: 'integer', column: 'instance.number' },
};

const LEVELS: readonly Level[] = ['study', 'series', 'instance'];

const KEYS: Readonly<Record<string, Key>> = {
  ...Object.fromEntries(
    LEVELS.flatMap((level) =>
      ATTRIBUTE_KEYS[level].map((path): [string, Key] => [
        pathName(path),
        { level, kind: kindOfVr(vrOf(path.at(-1) ?? 0) ?? 'UN') ?? 'text', column: pathName(path), rows: true },
      ]),
    ),
  ),
  ...COLUMN_KEYS,
};

/** Date and time that form one interval when both are ranges (PS3.4 C.2.2.2.5). */
const MOMENTS = [
  ['00080020', '00080030'],
  ['00400244', '00400245'],
] as const;
const TIMEZONE = '00080201';

export interface MatchingKey {
  readonly path: readonly number[];
  readonly level: Level;
  readonly matching: string;
}

const MATCHING: Readonly<Record<Kind, string>> = {
  text: 'single value, wildcard, empty value',
  name: 'single value, wildcard, fuzzy, empty value',
  uid: 'list of UIDs',
  number: 'single value, empty value',
  integer: 'single value, empty value',
  date: 'single value, range, empty value',
  time: 'single value, range, empty value',
  datetime: 'single value, range, empty value',
  modalities: 'single value, wildcard, multiple values, empty value',
  classes: 'list of UIDs',
  request: 'sequence: single value, wildcard, empty value',
  timezone: 'tells how dates and times of the query are meant',
};

/** The keys that a search at this level can match, private ones apart, as tag paths. */
export function matchingKeys(level: Level): (readonly number[])[] {
  return matchingTable(level).map(({ path }) => path);
}

/** The same with what can be asked of each; those of the levels above first. */
export function matchingTable(level: Level): MatchingKey[] {
  const reach = LEVELS.indexOf(level);
  return Object.entries(KEYS)
    .map(([path, key]) => ({
      path: path.split('.').map((tag) => Number.parseInt(tag, 16)),
      level: key.level,
      matching: MATCHING[key.kind] + (path.includes('.') && key.kind !== 'request' ? ', in a sequence' : ''),
    }))
    .filter((key) => LEVELS.indexOf(key.level) <= reach)
    .sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
}

/** Whether every key is one of studies, so that a search can go from studies downwards. */
export function matchesStudiesOnly(matches: readonly Match[]): boolean {
  return matches.every((match) => KEYS[pathName(match.path)]?.level === 'study');
}

/**
 * The modality that a search can go by: one that studies or series must have, the rest of the keys being dates and times of studies.
 * Studies of a modality stand in the order of results.
 */
export function listedModality(matches: readonly Match[], options: MatchOptions): string | undefined {
  const others = matches.filter(({ value }) => !isUniversal(value));
  const found = others.filter(({ path }) => ['00080061', '00080060'].includes(pathName(path)));
  const [match] = found;
  if (match === undefined || found.length > 1 || isEmptyValue(match, options) || !/^[^*?\\]{1,64}$/.test(match.value))
    return undefined;
  const moments = others.every((one) => one === match || ['00080020', '00080030'].includes(pathName(one.path)));
  return moments ? match.value.trim() : undefined;
}

const CLASS = '00080016';
const NUMBER = '00200013';

/** The classes of instances that are asked for, as a condition on `class_in_series`. @throws Refusal BadRequest */
export function classesAsked(matches: readonly Match[], options: MatchOptions): Condition | undefined {
  const match = matches.find(({ path }) => pathName(path) === CLASS);
  if (match === undefined || isEmptyValue(match, options)) return undefined;
  return valueCondition('uid', 'sop_class', match, { ...options, nameCondition });
}

/** Whether nothing else is asked for. */
export function matchesClassOnly(matches: readonly Match[]): boolean {
  return matches.every(({ path, value }) => isUniversal(value) || pathName(path) === CLASS);
}

/** Whether an instance's number is asked for: an index of each series has them in order. */
export function asksForNumber(matches: readonly Match[], options: MatchOptions): boolean {
  return matches.some(
    (match) => pathName(match.path) === NUMBER && !isUniversal(match.value) && !isEmptyValue(match, options),
  );
}

/** The instance's number, where nothing else is asked for. */
export function numberAlone(matches: readonly Match[]): number | undefined {
  const [match, ...others] = matches.filter(({ value }) => !isUniversal(value));
  if (match === undefined || others.length > 0 || pathName(match.path) !== NUMBER) return undefined;
  return /^(?:0|[1-9]\d{0,8})$/.test(match.value) ? Number(match.value) : undefined;
}

/** Whether nothing is asked for that leads to few series or instances: then the way is from studies downwards. */
export function leadsToManyOnly(matches: readonly Match[]): boolean {
  return matches.every(({ path, value }) => {
    const name = pathName(path);
    return isUniversal(value) || name === CLASS || name === NUMBER || KEYS[name]?.level === 'study';
  });
}

/** Whether instances are asked for by what they or their series are, though not by name. */
export function leadsToSeries(matches: readonly Match[]): boolean {
  return !leadsToManyOnly(matches) && !matches.some(({ path }) => pathName(path) === '00080018');
}

/** Whether nothing is asked for that tells instances of a series apart. */
export function matchesSeriesOnly(matches: readonly Match[]): boolean {
  return matches.every(({ path, value }) => {
    const key = KEYS[pathName(path)];
    return isUniversal(value) || (key !== undefined && key.level !== 'instance');
  });
}

/** Which descriptions are asked for, as a condition on `description`, where nothing else is. */
export function descriptionsAsked(matches: readonly Match[], options: MatchOptions): Condition | undefined {
  const [match, ...others] = matches.filter(({ value }) => !isUniversal(value)).map(bounded);
  if (match === undefined || others.length > 0 || pathName(match.path) !== '00081030') return undefined;
  if (isEmptyValue(match, options) || fitsEmpty(match.value.trim())) return undefined;
  return indexedTextCondition('description.text', match.value);
}

/** Blanks, or a wild card with blanks around it: what has no value is not among what is kept once. */
const fitsEmpty = (value: string): boolean => /^\**$/.test(value);

/** Whether dates of studies alone decide. */
export function matchesDaysOnly(matches: readonly Match[]): boolean {
  return matches.every(({ path, value }) => isUniversal(value) || pathName(path) === '00080020');
}

/** First and last of the days that are asked for; undefined for all there is, or those of studies without a date. @throws Refusal BadRequest */
export function daysAsked(matches: readonly Match[], options: MatchOptions): ReturnType<typeof dateRange> | undefined {
  const match = matches.find(({ path, value }) => pathName(path) === '00080020' && !isUniversal(value));
  if (match === undefined) return undefined;
  return isEmptyValue(match, options) ? { from: '', to: '' } : dateRange(match);
}

/** The offset that the query's times are in, when it names one. @throws Refusal BadRequest for what is none */
export function timezoneOf(matches: readonly Match[]): number | undefined {
  const match = matches.find(({ path }) => pathName(path) === TIMEZONE);
  if (match === undefined || isUniversal(match.value)) return undefined;
  const minutes = offsetMinutes(match.value);
  if (minutes === undefined) throw bad(match, 'an offset like +0100');
  return minutes;
}

/** @throws Refusal BadRequest, naming the key and never the value */
export function conditions(level: Level, matches: readonly Match[], given: MatchOptions): Condition[] {
  const options: Options = { ...given, nameCondition, textCondition: indexedTextCondition };
  const byPath = new Map<string, Match>();
  const found: Condition[] = [];
  for (const asked of matches) {
    const match = bounded(asked);
    const path = pathName(match.path);
    const key = KEYS[path];
    if (byPath.has(path)) throw new Refusal('BadRequest', `${nameOfKey(match)} is given more than once`);
    byPath.set(path, match);
    if (key === undefined && match.path.length === 1 && isPrivate(match.path[0] ?? 0)) {
      const condition = privateCondition(level, match, options);
      if (condition !== undefined) found.push(condition);
      byPath.set(path, { ...match, value: '' });
    } else if (key === undefined || LEVELS.indexOf(key.level) > LEVELS.indexOf(level)) {
      throw new Refusal('BadRequest', `${nameOfKey(match)} cannot be matched at ${level} level`);
    }
  }
  found.push(...momentConditions(byPath, options));
  const requests: Condition[] = [];
  let anyRequest = true;
  for (const [path, match] of byPath) {
    const key = KEYS[path];
    if (key === undefined || path === TIMEZONE || isUniversal(match.value)) continue;
    if (key.kind === 'request') {
      // Both keys of one item (PS3.4 C.2.2.2.6).
      const condition = valueCondition('text', `request.${key.column}`, match, options);
      if (condition !== undefined) requests.push(condition);
      if (!isEmptyValue(match, options)) anyRequest = false;
      continue;
    }
    const condition = conditionOf(level, key, match, options);
    if (condition !== undefined) found.push(condition);
  }
  if (requests.length > 0) {
    const item = all(requests);
    const none = anyRequest ? ' OR series.id NOT IN (SELECT request.series FROM request)' : '';
    const sql = `(series.id IN (SELECT request.series FROM request WHERE ${item.sql})${none})`;
    found.push({ sql, values: item.values });
  }
  return found;
}

/** Undefined for universal matching. */
function conditionOf(level: Level, key: Key, match: Match, options: Options): Condition | undefined {
  const [first, ...others] = separateValues(match, options);
  if (first === undefined) return singleCondition(level, key, match, options);
  return all(
    [first, ...others].map((one) => singleCondition(level, key, one, options)).filter((one) => one !== undefined),
  );
}

function singleCondition(level: Level, key: Key, match: Match, options: Options): Condition | undefined {
  if (key.kind === 'modalities') {
    if (isEmptyValue(match, options)) return { sql: `study.modalities = ''`, values: [] };
    // Any one series decides; several modalities are a list of alternatives unless multiple value matching is asked for.
    const any = match.value.split('\\').map((one) => textCondition('other.modality', one));
    return {
      sql: `EXISTS (SELECT 1 FROM series AS other WHERE other.study = study.id AND (${any.map(({ sql }) => sql).join(' OR ')}))`,
      values: any.flatMap(({ values }) => values),
    };
  }
  if (key.kind === 'classes') {
    const inner = valueCondition('uid', key.column, match, options);
    if (inner === undefined) return undefined;
    const studies = `SELECT holder.study FROM class_in_series CROSS JOIN series AS holder ON holder.id = class_in_series.series`;
    return { sql: `study.id IN (${studies} WHERE ${inner.sql})`, values: inner.values };
  }
  if (key.kind === 'request' || key.kind === 'timezone') return undefined;
  if (key.rows !== true) return valueCondition(key.kind, key.column, match, options);
  return rowsCondition(level, key.level, key.kind, key.column, match, options);
}

function rowsCondition(
  level: Level,
  rowLevel: Level,
  kind: Exclude<Kind, 'modalities' | 'classes' | 'request' | 'timezone'>,
  path: string,
  match: Match,
  options: Options,
): Condition | undefined {
  const rows = (at: Level, where: string): string =>
    options.oneByOne === true && rowLevel === 'instance' ? ownRowWhere(where) : ownersWhere(at, rowLevel, where);
  if (isEmptyValue(match, options)) return { sql: `NOT ${rows(rowLevel, '')}`, values: [path] };
  const inner = valueCondition(kind, 'attribute_key.value', match, options);
  if (inner === undefined) return undefined;
  return { sql: rows(level, ` AND ${inner.sql}`), values: [path, ...inner.values] };
}

/**
 * A study or series matches when one of its instances does, and is empty when none of them has a value. The query does not say of which VR the attribute is, so what is a number
 * or a name is looked for as such too.
 */
function privateCondition(level: Level, match: Match, options: Options): Condition | undefined {
  const value = match.value.trim();
  if (isUniversal(value)) return undefined;
  if (match.creator === undefined)
    throw new Refusal('BadRequest', `${nameOfKey(match)} is private and needs its creator as a key (PS3.18 8.3.4.1)`);
  const path = privatePath(match.path[0] ?? 0, match.creator);
  if (isEmptyValue(match, options)) {
    // What the index has no room for could be this one, and is not taken to be empty.
    const bearers = ownersWhere(level, 'instance', '');
    return { sql: `NOT ${bearers} AND NOT ${bearers}`, values: [path, MORE_PRIVATE_VALUES] };
  }
  const number = Number.isFinite(Number(value)) ? String(Number(value)) : value;
  const inner = /[*?]/.test(value)
    ? textCondition('attribute_key.value', value)
    : { sql: 'attribute_key.value IN (?, ?, ?)', values: [value, number, foldName(value)] };
  return { sql: ownersWhere(level, 'instance', ` AND ${inner.sql}`), values: [path, ...inner.values] };
}

/**
 * With an index of pieces where there is one: what has all pieces may still lack the whole, so the text decides. Of descriptions each is
 * looked at once, however many studies bear it.
 */
function indexedTextCondition(column: string, given: string): Condition {
  const value = given.trim();
  if (column === DESCRIPTION && /[*?]/.test(value) && !fitsEmpty(value)) {
    const { sql, values } = indexedTextCondition('description.text', value);
    return { sql: `study.description IN (SELECT description.text FROM description WHERE ${sql})`, values };
  }
  const [prefix = ''] = value.split(/[*?]/, 1);
  const text = textCondition(column, value);
  const grams = prefix !== '' && INDEXED.has(column) ? undefined : gramsCondition(column, value);
  return grams === undefined ? text : all([grams, text]);
}

/** Columns that an index finds by their beginning. */
const INDEXED: ReadonlySet<string> = new Set([
  'study.patient_id',
  'study.accession_number',
  'series.modality',
  'description.text',
]);
const DESCRIPTION = 'study.description';

/** Columns whose pieces of three characters are indexed. */
const GRAMS: Readonly<Record<string, { readonly table: string; readonly column: string; readonly owner: string }>> = {
  'study.patient_id': { table: 'study_gram', column: 'patient_id', owner: 'study.id' },
  'study.accession_number': { table: 'study_gram', column: 'accession_number', owner: 'study.id' },
  'study.study_id': { table: 'study_gram', column: 'study_id', owner: 'study.id' },
  'description.text': { table: 'description_gram', column: 'text', owner: 'description.id' },
  'series.description': { table: 'series_gram', column: 'description', owner: 'series.id' },
  'series.body_part': { table: 'series_gram', column: 'body_part', owner: 'series.id' },
};
const MOST_GRAMS = 16;

/** Undefined where nothing between wild cards is long enough. What has all pieces may still lack the whole: the text decides. */
function gramsCondition(column: string, value: string): Condition | undefined {
  const indexed = GRAMS[column];
  if (indexed === undefined) return undefined;
  const pieces = value.split(/[*?]/).flatMap((run) => {
    const characters = [...run];
    return characters.slice(2).map((_, at) => characters.slice(at, at + 3).join(''));
  });
  if (pieces.length === 0) return undefined;
  const quoted = [...new Set(pieces)].slice(0, MOST_GRAMS).map((piece) => `"${piece.replaceAll('"', '""')}"`);
  return {
    sql: `${indexed.owner} IN (SELECT rowid FROM ${indexed.table} WHERE ${indexed.table} MATCH ?)`,
    values: [`{${indexed.column}} : (${quoted.join(' AND ')})`],
  };
}

/**
 * Dates with the times that belong to them, taken out of `byPath`. When the query names a time zone, what a study says is brought there
 * first; a study that declares none is taken to be in the zone of the query.
 */
function momentConditions(byPath: Map<string, Match>, options: Options): Condition[] {
  const asked = timezoneOf([...byPath.values()]);
  const found: Condition[] = [];
  for (const [dateAt, timeAt] of MOMENTS) {
    const [date, time] = [byPath.get(dateAt), byPath.get(timeAt)];
    const columns = { date: KEYS[dateAt]?.column ?? '', time: KEYS[timeAt]?.column ?? '' };
    byPath.delete(dateAt);
    byPath.delete(timeAt);
    if (asked === undefined) {
      const plain = momentCondition(columns, date, time, options);
      if (plain !== undefined) found.push(plain);
      continue;
    }
    const zones = (options.timezones ?? ['']).map((zone): Condition | undefined => {
      const shift = zone === '' ? 0 : asked - (offsetMinutes(zone) ?? 0);
      const inZone = momentCondition(shiftedColumns(columns.date, columns.time, shift), date, time, options);
      if (inZone === undefined) return undefined;
      // The day cannot move by more than one or two: keeps the index of dates of use.
      const near = shift === 0 || date === undefined ? [] : [nearCondition(columns.date, date)];
      return all([{ sql: 'study.timezone = ?', values: [zone] }, ...near, inZone]);
    });
    const some = zones.filter((zone) => zone !== undefined);
    if (some.length > 0)
      found.push({
        sql: `(${some.map(({ sql }) => `(${sql})`).join(' OR ')})`,
        values: some.flatMap(({ values }) => values),
      });
  }
  return found;
}

const MOST_DAYS_MOVED = 2;

function nearCondition(column: string, date: Match): Condition {
  if (!/\d/.test(date.value)) return { sql: '1', values: [] };
  const { from, to } = dateRange(date);
  return rangeCondition(column, {
    from: from === undefined ? undefined : dayAfter(from, -MOST_DAYS_MOVED),
    to: to === undefined ? undefined : dayAfter(to, MOST_DAYS_MOVED),
  });
}

/** Date range and time range together are one interval from first date and time to last date and time. */
function momentCondition(
  columns: { date: string; time: string },
  date: Match | undefined,
  time: Match | undefined,
  options: Options,
): Condition | undefined {
  if (date?.value.includes('-') === true && time?.value.includes('-') === true) {
    const days = dateRange(date);
    const times = timeRange(time);
    const moment = `(${columns.date}, ${columns.time})`;
    const ends: Condition[] = [{ sql: `${columns.date} > ''`, values: [] }];
    if (days.from !== undefined) ends.push({ sql: `${moment} >= (?, ?)`, values: [days.from, times.from ?? ''] });
    if (days.to !== undefined) ends.push({ sql: `${moment} <= (?, ?)`, values: [days.to, times.to ?? '24'] });
    return all(ends);
  }
  const parts = [
    date === undefined ? undefined : valueCondition('date', columns.date, date, options),
    time === undefined ? undefined : valueCondition('time', columns.time, time, options),
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? undefined : all(parts);
}
