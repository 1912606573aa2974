/** QIDO-RS against the index: one statement for a page, answers from columns and fragments made at arrival (PS3.18 10.6). */
import type { Row, SqlValue } from '../database.ts';
import { tagKey } from '../dicom/data-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Archive } from './handle.ts';
import { studiesByDescription } from './by-description.ts';
import { withheldStudies } from './withheld.ts';
import {
  asksForNumber,
  classesAsked,
  conditions,
  daysAsked,
  descriptionsAsked,
  leadsToManyOnly,
  leadsToSeries,
  listedModality,
  matchesClassOnly,
  matchesDaysOnly,
  matchesSeriesOnly,
  matchesStudiesOnly,
  numberAlone,
  timezoneOf,
  type Condition,
  type Level,
  type Match,
} from './matching.ts';
import type { Shape } from './plain-results.ts';
import { isListed, listedResults } from './listed-results.ts';
import { resultsOf } from './results.ts';
import { countInDays, findPage, startCondition, type PageStart } from './page-start.ts';

export { matchingKeys, matchingTable, type Level, type Match, type MatchingKey } from './matching.ts';

export interface Query {
  readonly level: Level;
  /** The study or series in the path. Without them higher levels' attributes are returned too ("All Series", "All Instances"). */
  readonly scope: { readonly studyInstanceUID?: string | undefined; readonly seriesInstanceUID?: string | undefined };
  readonly matches: readonly Match[];
  readonly fuzzyMatching: boolean;
  readonly emptyValueMatching?: boolean;
  readonly multipleValueMatching?: boolean;
  /** Tag paths; those of a lower level than the query's are passed over. A private one is looked for under its creator. */
  readonly includeFields: readonly (readonly number[])[] | 'all';
  /** Creators of private attributes in `includeFields`, by their tag. */
  readonly creators?: ReadonlyMap<number, string>;
  /** An answer longer than this is refused. */
  readonly mostCharacters?: number;
  readonly limit: number;
  readonly offset: number;
}

export interface SearchResult {
  /** DICOM JSON objects, URLs in them beginning with BASE until `withBase` is applied. */
  readonly results: string[];
  /** How many more there are behind the last one. */
  readonly remaining: number;
}

/** Studies that are withheld are left out as if they were not there. @throws Refusal BadRequest for a key that cannot be matched or a value that is none, naming the key; TooLarge */
export function search(archive: Pick<Archive, 'database'>, query: Query): SearchResult {
  const { database } = archive;
  const zoned = timezoneOf(query.matches) !== undefined;
  const timezones = zoned ? timezonesIn(database) : undefined;
  // Of nearly every archive none; while there are some, the shortcuts that count them too are not taken.
  const hidden = withheldStudies(archive).size > 0;
  const start = hidden ? undefined : startOf(archive, query);
  if (start === 'behind the end') return { results: [], remaining: 0 };
  const classes = classesIn(archive, query);
  if (classes?.instances === 0) return { results: [], remaining: 0 };
  const shape = shapeOf(query);
  const { rows, total, listed } =
    (hidden ? undefined : pageByDescription(archive, query, isListed(shape))) ??
    (goesBySeries(query, classes)
      ? pageBySeries(archive, query, { timezones, hidden })
      : pageOf(archive, query, { timezones, hidden, start, classes, listed: !hidden && showsListed(query, shape) }));
  const make = listed && query.level === 'study' ? listedResults(shape) : resultsOf(archive, query.level, shape);
  const whole = query.level === 'instance' ? withSeries(archive) : (row: Row): Row => row;
  const results: string[] = [];
  let characters = 0;
  for (const row of rows) {
    const result = make(whole(row));
    characters += result.length;
    if (characters > (query.mostCharacters ?? Infinity))
      throw new Refusal('TooLarge', `the answer is too long: ask with a limit below ${results.length + 1}`);
    results.push(result);
  }
  // Fewer than asked for: these were the last.
  if (rows.length < query.limit && (rows.length > 0 || query.offset === 0)) return { results, remaining: 0 };
  return { results, remaining: Math.max(0, total() - query.offset - rows.length) };
}

interface Page {
  readonly rows: readonly Row[];
  /** Whether the rows tell of studies what `study_listed` has of them, in place of all. */
  readonly listed: boolean;
  /** Of all there are. */
  total(): number;
}

interface Known {
  readonly timezones?: readonly string[] | undefined;
  /** Whether some studies are withheld. */
  readonly hidden?: boolean;
}

interface Ways extends Known {
  readonly start?: PageStart | undefined;
  readonly classes?: Classes | undefined;
  readonly listed?: boolean;
}

function pageOf(archive: Pick<Archive, 'database'>, query: Query, ways: Ways): Page {
  const { database } = archive;
  const { hidden, start, classes, listed = false } = ways;
  const statement = searchStatement(query, ways);
  const offset = query.offset - (start?.skipped ?? 0);
  return {
    listed,
    rows: database.all(statement.page, ...statement.pageValues, query.limit, offset),
    total: () =>
      (hidden === true ? undefined : countedAlready(archive, query, classes)) ??
      Number(database.get(statement.count, ...statement.values)?.['total'] ?? 0),
  };
}

function pageByDescription({ database }: Pick<Archive, 'database'>, query: Query, listed: boolean): Page | undefined {
  const { level, scope, matches } = query;
  if (level !== 'study' || scope.studyInstanceUID !== undefined) return undefined;
  const asked = descriptionsAsked(matches, query);
  const found = asked === undefined ? undefined : studiesByDescription(database, asked, query);
  if (found === undefined) return undefined;
  const page = `SELECT ${columnsOf('study', listed)} FROM json_each(?) AS page CROSS JOIN ${listed ? LISTED : 'study'}
    ON study.study_date = page.value ->> 0 AND study.study_time = page.value ->> 1 AND study.study_uid = page.value ->> 2
    ORDER BY page.key`;
  return { rows: database.all(page, JSON.stringify(found.studies)), total: () => found.total, listed };
}

/** Whether the order of studies leads to the page, and it shows no more of them than is listed in that order. */
function showsListed({ level, scope, matches, ...options }: Query, shape: Shape): boolean {
  if (scope.studyInstanceUID !== undefined || !isListed(shape)) return false;
  if (listedModality(matches, options) !== undefined) return true;
  return matchesDaysOnly(matches) && (level === 'study' || matchesStudiesOnly(matches));
}

/** Whether it is worth knowing which series have any before the instances are looked at. */
function goesBySeries(query: Query, classes: Classes | undefined): boolean {
  const { level, scope, matches } = query;
  return (
    level === 'instance' && scope.studyInstanceUID === undefined && classes === undefined && leadsToSeries(matches)
  );
}

/** Series and how many instances each has that match; then only the instances of the page are read, however many there are. */
function pageBySeries({ database }: Pick<Archive, 'database'>, query: Query, { timezones, hidden }: Known): Page {
  const { lead, values, page, pageValues } = seriesStatements(query, timezones, hidden);
  const series = database.all(lead, ...values);
  const rows: Row[] = [];
  let skipped = query.offset;
  for (const { series: id, instances } of series) {
    if (rows.length >= query.limit) break;
    if (skipped >= Number(instances)) {
      skipped -= Number(instances);
      continue;
    }
    rows.push(...database.all(page, Number(id), ...pageValues, query.limit - rows.length, skipped));
    skipped = 0;
  }
  return { rows, listed: false, total: () => series.reduce((sum, { instances }) => sum + Number(instances), 0) };
}

interface SeriesStatements {
  /** Which series have instances that match, in the order of results, and how many. */
  readonly lead: string;
  readonly values: readonly SqlValue[];
  /** Those of one series, its key before `pageValues`, LIMIT ? OFFSET ? behind. */
  readonly page: string;
  readonly pageValues: readonly SqlValue[];
}

/** Exported so that a test can look at its query plans. */
export function seriesStatements(query: Query, timezones?: readonly string[], hidden = false): SeriesStatements {
  const { matches } = query;
  const shown = hidden ? [SHOWN] : [];
  const all = [...shown, ...conditions('instance', matches, { ...query, timezones })];
  const wholeSeries = matchesSeriesOnly(matches);
  const found = wholeSeries
    ? `SELECT series.id AS series, series.instance_count AS instances FROM ${FROM.series} ${whereOf(all)}`
    : `SELECT instance.series AS series, count(*) AS instances FROM ${FROM.instance} ${whereOf(all)} GROUP BY instance.series`;
  const each = wholeSeries ? [] : conditions('instance', matches, { ...query, timezones, oneByOne: true });
  const ofSeries = { sql: 'series.id = ?', values: [] };
  return {
    lead: `SELECT found.series AS series, found.instances AS instances FROM (${found}) AS found
      CROSS JOIN series ON series.id = found.series CROSS JOIN study ON study.id = series.study ORDER BY ${ORDER.series}`,
    values: all.flatMap((one) => one.values),
    page: `SELECT ${INSTANCE_COLUMNS} FROM ${FROM_FEW_SERIES} ${whereOf([ofSeries, ...each])} ORDER BY ${INSTANCE_ORDER} LIMIT ? OFFSET ?`,
    pageValues: each.flatMap((one) => one.values),
  };
}

const SHOWN: Condition = { sql: 'study.study_uid NOT IN (SELECT study_uid FROM withheld)', values: [] };

/** Instances of a series come one after another: what is above them is read once for all, and never sorted with them. */
function withSeries({ database }: Pick<Archive, 'database'>): (row: Row) => Row {
  let above: Row | undefined;
  return (row) => {
    if (above?.['series'] !== row['series'])
      above = database.get(
        `SELECT ${STUDY_COLUMNS}, ${SERIES_COLUMNS} FROM series CROSS JOIN study ON study.id = series.study WHERE series.id = ?`,
        row['series'] ?? null,
      );
    return { ...above, ...row };
  };
}

/** How many there are of what days, a class or a number by itself lead to. */
function countedAlready(
  { database }: Pick<Archive, 'database'>,
  query: Query,
  classes: Classes | undefined,
): number | undefined {
  const { level, scope, matches } = query;
  if (classes !== undefined) return matchesClassOnly(matches) ? classes.instances : undefined;
  if (scope.studyInstanceUID !== undefined) return undefined;
  if (matchesDaysOnly(matches)) return countInDays(database, DAY_UNITS[level], daysAsked(matches, query));
  const number = level === 'instance' ? numberAlone(matches) : undefined;
  if (number === undefined) return undefined;
  return Number(database.get('SELECT instances FROM number_total WHERE number = ?', number)?.['instances'] ?? 0);
}

export interface SearchStatement {
  /** Ends in LIMIT ? OFFSET ?, which come behind `pageValues`. */
  readonly page: string;
  readonly pageValues: readonly SqlValue[];
  readonly count: string;
  readonly values: readonly SqlValue[];
}

const STUDY_NUMBERS = `study.study_uid AS study_uid, study.modalities AS modalities, study.series_count AS series_count,
  study.instance_count AS study_instances, study.version AS study_version`;
const STUDY_COLUMNS = `${STUDY_NUMBERS}, study.json AS study_json`;
const LISTED_COLUMNS = `${STUDY_NUMBERS}, study.elements AS study_elements`;
const SERIES_COLUMNS = `series.id AS series, series.series_uid AS series_uid, series.instance_count AS series_instances,
  series.json AS series_json`;
const INSTANCE_COLUMNS = `instance.id AS id, instance.series AS series, instance.sop_uid AS sop_uid, instance.sop_class AS sop_class, instance.number AS number,
  instance.rows AS rows, instance.columns AS columns, instance.bits_allocated AS bits_allocated, instance.frames AS frames,
  instance.transfer_syntax AS transfer_syntax`;

const FROM: Readonly<Record<Level, string>> = {
  study: 'study',
  series: 'series JOIN study ON study.id = series.study',
  instance: 'instance JOIN series ON series.id = instance.series JOIN study ON study.id = series.study',
};
/**
 * The same from studies downwards, in this order and no other: the order of results comes from indexes, level by level. By itself SQLite
 * takes other ones, and sorts whole studies with all their texts for one page.
 */
const FROM_STUDIES: Readonly<Record<Level, string>> = {
  study: 'study',
  series: 'study CROSS JOIN series INDEXED BY series_order ON series.study = study.id',
  instance: `study CROSS JOIN series INDEXED BY series_order ON series.study = study.id
    CROSS JOIN instance INDEXED BY instance_order ON instance.series = series.id`,
};
const FROM_FEW_SERIES = `series CROSS JOIN instance INDEXED BY instance_order ON instance.series = series.id
  CROSS JOIN study ON study.id = series.study`;
function columnsOf(level: Level, listed: boolean): string {
  if (level === 'instance') return INSTANCE_COLUMNS;
  const study = listed ? LISTED_COLUMNS : STUDY_COLUMNS;
  return level === 'study' ? study : `${study}, ${SERIES_COLUMNS}`;
}
/** Studies as they are listed, under the name of the others: what is asked for and shown has the same columns there. */
const LISTED = 'study_listed AS study';
// The key behind each UID tells SQLite that no two rows are alike there: without it what is below a level is sorted, texts and all.
const STUDY_ORDER = 'study.study_date DESC, study.study_time DESC, study.study_uid, study.id';
const SERIES_ORDER = 'series.number, series.series_uid, series.id';
const INSTANCE_ORDER = 'instance.number, instance.sop_uid';
const ORDER: Readonly<Record<Level, string>> = {
  study: STUDY_ORDER,
  series: `${STUDY_ORDER}, ${SERIES_ORDER}`,
  instance: `${STUDY_ORDER}, ${SERIES_ORDER}, ${INSTANCE_ORDER}`,
};
/** In one study the order of the level above is no question. */
const ORDER_IN_STUDY: Readonly<Record<Level, string>> = {
  study: STUDY_ORDER,
  series: SERIES_ORDER,
  instance: `${SERIES_ORDER}, ${INSTANCE_ORDER}`,
};

/** Exported so that a test can look at its query plan. */
export function searchStatement(
  query: Query,
  { timezones, start, classes, hidden = false, listed = false }: Ways = {},
): SearchStatement {
  const { level, scope, matches } = query;
  const all: Condition[] = [];
  if (hidden) all.push(SHOWN);
  const { studyInstanceUID, seriesInstanceUID } = scope;
  if (studyInstanceUID !== undefined) all.push({ sql: 'study.study_uid = ?', values: [studyInstanceUID] });
  if (seriesInstanceUID !== undefined) all.push({ sql: 'series.series_uid = ?', values: [seriesInstanceUID] });
  const modality = studyInstanceUID === undefined && !hidden ? listedModality(matches, query) : undefined;
  if (modality !== undefined) return modalityStatement(query, modality, listed);
  all.push(...conditions(level, matches, { ...query, timezones }));
  if (classes !== undefined)
    all.push({
      sql: `series.id IN (SELECT series FROM class_in_series WHERE ${classes.asked.sql})`,
      values: classes.asked.values,
    });
  const where = whereOf(all);
  const values = all.flatMap((one) => one.values);
  const order = (studyInstanceUID === undefined ? ORDER : ORDER_IN_STUDY)[level];
  const from = fromOf(query, classes);
  const count = hidden ? `SELECT count(*) AS total FROM ${from} ${where}` : countOf(query, from, where);
  // What a list of keys gives has to be sorted: keys alone first, the rows of the page then.
  if (level === 'study' && where.includes('IN (SELECT'))
    return {
      page: `SELECT ${STUDY_COLUMNS} FROM study WHERE study.id IN
        (SELECT study.id FROM study ${where} ORDER BY ${order} LIMIT ? OFFSET ?) ORDER BY ${order}`,
      pageValues: values,
      count,
      values,
    };
  const paged = start === undefined ? all : [...all, startCondition(start)];
  return {
    page: `SELECT ${columnsOf(level, listed)} FROM ${listed ? from.replace(/^study\b/, LISTED) : from} ${whereOf(paged)} ORDER BY ${order} LIMIT ? OFFSET ?`,
    pageValues: paged.flatMap((one) => one.values),
    count,
    values,
  };
}

function fromOf({ level, scope, matches, ...options }: Query, classes: Classes | undefined): string {
  if (scope.seriesInstanceUID !== undefined) return FROM[level];
  if (matchesStudiesOnly(matches)) return FROM_STUDIES[level];
  if (level !== 'instance' || scope.studyInstanceUID !== undefined || !leadsToManyOnly(matches)) return FROM[level];
  if (classes !== undefined) return classes.instances > FEW ? FROM_STUDIES[level] : FROM_FEW_SERIES;
  return asksForNumber(matches, options) ? FROM_STUDIES[level] : FROM[level];
}

function whereOf(all: readonly Condition[]): string {
  return all.length === 0 ? '' : `WHERE ${all.map(({ sql }) => sql).join(' AND ')}`;
}

/** What only studies decide is counted by their own numbers. */
function countOf({ level, scope, matches }: Query, from: string, where: string): string {
  if (level === 'study' || scope.seriesInstanceUID !== undefined || !matchesStudiesOnly(matches))
    return `SELECT count(*) AS total FROM ${from} ${where}`;
  const number = level === 'series' ? 'study.series_count' : 'study.instance_count';
  return `SELECT coalesce(sum(${number}), 0) AS total FROM study ${where}`;
}

const DAY_UNITS = { study: 'studies', series: 'series', instance: 'instances' } as const satisfies Record<
  Level,
  string
>;

/** Down from the studies of one modality, which stand in the order of results. */
function modalityStatement(query: Query, modality: string, listed: boolean): SearchStatement {
  const { level, matches } = query;
  const ofSeries = matches.some(({ path }) => path[0] === tag('Modality'));
  const all: Condition[] = [
    { sql: 'study_modality.modality = ?', values: [modality] },
    ...conditions(
      level,
      matches.filter(({ path }) => path[0] !== tag('ModalitiesInStudy')),
      query,
    ),
  ];
  const fromList = (sql: string): string =>
    sql.replace(/\bstudy\.(study_date|study_time|study_uid)\b/g, 'study_modality.$1');
  const where = fromList(whereOf(all));
  const downFrom = (study: string): string =>
    `study_modality CROSS JOIN ${FROM_STUDIES[level].replace(/^study\b/, study)}`;
  const from = downFrom('study ON study.id = study_modality.study');
  const number = level === 'series' ? 'study.series_count' : 'study.instance_count';
  const alone = all.length === 2;
  const count =
    level === 'study' && all.length === 1
      ? 'SELECT coalesce(max(studies), 0) AS total FROM modality_total WHERE modality = ?'
      : level === 'study'
        ? `SELECT count(*) AS total FROM study_modality ${where}`
        : ofSeries && level === 'series' && alone
          ? 'SELECT count(*) AS total FROM series WHERE series.modality = ? AND series.modality = ?'
          : ofSeries
            ? `SELECT count(*) AS total FROM ${from} ${where}`
            : `SELECT coalesce(sum(${number}), 0) AS total FROM ${FROM_MODALITY} ${where}`;
  const values = all.flatMap((one) => one.values);
  return {
    page: `SELECT ${columnsOf(level, listed)} FROM ${listed ? downFrom(LISTED_OF_MODALITY) : from} ${where}
      ORDER BY ${fromList(ORDER[level]).replace('study.id', 'study_modality.study')} LIMIT ? OFFSET ?`,
    pageValues: values,
    count,
    values,
  };
}

const LISTED_OF_MODALITY = `${LISTED} ON study.study_date = study_modality.study_date AND study.study_time = study_modality.study_time
  AND study.study_uid = study_modality.study_uid`;
const FROM_MODALITY = 'study_modality CROSS JOIN study ON study.id = study_modality.study';

/** Pages far into the archive begin at the study that they begin with, not at the first. */
function startOf(archive: Pick<Archive, 'database'>, query: Query): PageStart | 'behind the end' | undefined {
  const { level, scope, matches, offset } = query;
  if (offset < FAR || scope.studyInstanceUID !== undefined || !matchesDaysOnly(matches)) return undefined;
  const dates = conditions(level, matches, query);
  return findPage(archive.database, DAY_UNITS[level], dates, offset);
}

const FAR = 150;

interface Classes {
  readonly asked: Condition;
  readonly instances: number;
}

/** So many are sorted faster than they are met on a walk from studies downwards. */
const FEW = 2000;

/** Which classes are asked for in the whole archive, and how many instances there are of them. */
function classesIn({ database }: Pick<Archive, 'database'>, query: Query): Classes | undefined {
  const { level, scope, matches } = query;
  if (level !== 'instance' || scope.studyInstanceUID !== undefined) return undefined;
  const asked = classesAsked(matches, query);
  if (asked === undefined) return undefined;
  const row = database.get(
    `SELECT coalesce(sum(instances), 0) AS instances FROM class_in_series WHERE ${asked.sql}`,
    ...asked.values,
  );
  return { asked, instances: Number(row?.['instances']) };
}

/** Each offset that a study declares, one look into the index for each. */
function timezonesIn(database: Archive['database']): string[] {
  return database
    .all(
      `WITH RECURSIVE zone (offset) AS (
         SELECT min(timezone) FROM study
         UNION ALL SELECT (SELECT min(timezone) FROM study WHERE timezone > zone.offset) FROM zone WHERE zone.offset IS NOT NULL
       ) SELECT offset FROM zone WHERE offset IS NOT NULL`,
    )
    .map(({ offset }) => String(offset));
}

function shapeOf({ level, scope, matches, includeFields, creators }: Query): Shape {
  const study = level === 'study' || scope.studyInstanceUID === undefined;
  const series = level === 'series' || (level === 'instance' && scope.seriesInstanceUID === undefined);
  const secret = new Map(creators);
  for (const { path, creator } of matches) if (creator !== undefined) secret.set(path[0] ?? 0, creator);
  if (includeFields === 'all') return { study, series, included: 'all', private: secret };
  const included = new Map<string, readonly (readonly string[])[] | 'all'>();
  // Every key that was matched is returned (PS3.18 10.6.3.3).
  const paths = [...matches.map(({ path }) => path), ...includeFields].map((path) => path.map(tagKey));
  for (const [first, ...below] of paths) {
    if (first === undefined || isPrivate(Number.parseInt(first, 16))) continue;
    const known = included.get(first) ?? [];
    included.set(first, below.length === 0 || known === 'all' ? 'all' : [...known, below]);
  }
  return { study, series, included, private: secret };
}
