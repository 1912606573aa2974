/** QIDO-RS against the index: one statement for a page, answers from columns and fragments made at arrival (PS3.18 10.6). */
import type { Row, SqlValue } from '../database.ts';
import { tagKey } from '../dicom/data-set.ts';
import { isPrivate, isPrivateCreator, privateCreatorTag, tag, vrOf } from '../dicom/dictionary.ts';
import { formatDicomJsonObject, type DicomJson, type DicomJsonElement } from '../dicom/json.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Archive } from './handle.ts';
import { withheldStudies } from './withheld.ts';
import { BASE, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES, type LevelAttributes } from './attributes.ts';
import { inflateDictionary, inflateMetadata } from './metadata-text.ts';
import { elementsIn } from './json-elements.ts';
import {
  asksForNumber,
  classesAsked,
  conditions,
  leadsToManyOnly,
  listedModality,
  matchesClassOnly,
  matchesDaysOnly,
  matchesStudiesOnly,
  numberAlone,
  timezoneOf,
  type Condition,
  type Level,
  type Match,
} from './matching.ts';
import { readyResult } from './ready-results.ts';
import { findPage, startCondition, type PageStart } from './page-start.ts';

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
  const statement = searchStatement(query, timezones, start, classes, hidden);
  const rows = database.all(statement.page, ...statement.pageValues, query.limit, query.offset - (start?.skipped ?? 0));
  const shape = shapeOf(query);
  const ready = query.level === 'study' && shape.private.size === 0 ? formOf(shape) : undefined;
  const results: string[] = [];
  const known: Known = new Map();
  let characters = 0;
  for (const row of rows) {
    const result =
      ready === undefined
        ? formatRow(archive, row, query.level, shape, known)
        : readyResult(database, { uid: String(row['study_uid']), version: Number(row['study_version']) }, ready, () =>
            formatRow(archive, row, query.level, shape, known),
          );
    characters += result.length;
    if (characters > (query.mostCharacters ?? Infinity))
      throw new Refusal('TooLarge', `the answer is too long: ask with a limit below ${results.length + 1}`);
    results.push(result);
  }
  // Fewer than asked for: these were the last.
  if (rows.length < query.limit && (rows.length > 0 || query.offset === 0)) return { results, remaining: 0 };
  const counted = hidden ? undefined : countedAlready(archive, query, classes);
  const total = counted ?? Number(database.get(statement.count, ...statement.values)?.['total'] ?? 0);
  return { results, remaining: Math.max(0, total - query.offset - rows.length) };
}

/** How many instances of the whole archive a class or a number by itself leads to. */
function countedAlready(
  { database }: Pick<Archive, 'database'>,
  { level, scope, matches }: Query,
  classes: Classes | undefined,
): number | undefined {
  if (classes !== undefined) return matchesClassOnly(matches) ? classes.instances : undefined;
  if (level !== 'instance' || scope.studyInstanceUID !== undefined) return undefined;
  const number = numberAlone(matches);
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

const STUDY_COLUMNS = `study.study_uid AS study_uid, study.modalities AS modalities, study.series_count AS series_count,
  study.instance_count AS study_instances, study.version AS study_version, study.json AS study_json`;
const SERIES_COLUMNS = `series.id AS series, series.series_uid AS series_uid, series.instance_count AS series_instances,
  series.json AS series_json`;
const INSTANCE_COLUMNS = `instance.id AS id, instance.sop_uid AS sop_uid, instance.sop_class AS sop_class, instance.number AS number,
  instance.rows AS rows, instance.columns AS columns, instance.bits_allocated AS bits_allocated, instance.frames AS frames,
  instance.transfer_syntax AS transfer_syntax`;

const FROM: Readonly<Record<Level, string>> = {
  study: 'study',
  series: 'series JOIN study ON study.id = series.study',
  instance: 'instance JOIN series ON series.id = instance.series JOIN study ON study.id = series.study',
};
/** The same from studies downwards, in this order and no other: the order of results comes from indexes, level by level. */
const FROM_STUDIES: Readonly<Record<Level, string>> = {
  study: 'study',
  series: 'study CROSS JOIN series ON series.study = study.id',
  instance: 'study CROSS JOIN series ON series.study = study.id CROSS JOIN instance ON instance.series = series.id',
};
/** The same by the index of each series: SQLite would rather make one of all instances for the one search. */
const FROM_STUDIES_BY_SERIES = `study CROSS JOIN series INDEXED BY series_order ON series.study = study.id
  CROSS JOIN instance INDEXED BY instance_order ON instance.series = series.id`;
const FROM_FEW_SERIES = `series CROSS JOIN instance INDEXED BY instance_order ON instance.series = series.id
  CROSS JOIN study ON study.id = series.study`;
const COLUMNS: Readonly<Record<Level, string>> = {
  study: STUDY_COLUMNS,
  series: `${STUDY_COLUMNS}, ${SERIES_COLUMNS}`,
  instance: `${STUDY_COLUMNS}, ${SERIES_COLUMNS}, ${INSTANCE_COLUMNS}`,
};
const STUDY_ORDER = 'study.study_date DESC, study.study_time DESC, study.study_uid';
const SERIES_ORDER = 'series.number, series.series_uid';
const ORDER: Readonly<Record<Level, string>> = {
  study: STUDY_ORDER,
  series: `${STUDY_ORDER}, ${SERIES_ORDER}`,
  instance: `${STUDY_ORDER}, ${SERIES_ORDER}, instance.number, instance.sop_uid`,
};

/** Exported so that a test can look at its query plan. */
export function searchStatement(
  query: Query,
  timezones?: readonly string[],
  start?: PageStart,
  classes?: Classes,
  hidden = false,
): SearchStatement {
  const { level, scope, matches } = query;
  const all: Condition[] = [];
  if (hidden) all.push({ sql: 'study.study_uid NOT IN (SELECT study_uid FROM withheld)', values: [] });
  const { studyInstanceUID, seriesInstanceUID } = scope;
  if (studyInstanceUID !== undefined) all.push({ sql: 'study.study_uid = ?', values: [studyInstanceUID] });
  if (seriesInstanceUID !== undefined) all.push({ sql: 'series.series_uid = ?', values: [seriesInstanceUID] });
  const listed = studyInstanceUID === undefined && !hidden ? listedModality(matches, query) : undefined;
  if (listed !== undefined) return listedStatement(query, listed);
  all.push(...conditions(level, matches, { ...query, timezones }));
  if (classes !== undefined)
    all.push({
      sql: `series.id IN (SELECT series FROM class_in_series WHERE ${classes.asked.sql})`,
      values: classes.asked.values,
    });
  const where = whereOf(all);
  const values = all.flatMap((one) => one.values);
  // In one study (or series) the order of the levels above is no question, which leaves the index to give the rest.
  const order =
    studyInstanceUID === undefined
      ? ORDER[level]
      : level === 'instance'
        ? `${SERIES_ORDER}, instance.number, instance.sop_uid`
        : level === 'series'
          ? SERIES_ORDER
          : STUDY_ORDER;
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
    page: `SELECT ${COLUMNS[level]} FROM ${from} ${whereOf(paged)} ORDER BY ${order} LIMIT ? OFFSET ?`,
    pageValues: paged.flatMap((one) => one.values),
    count,
    values,
  };
}

function fromOf({ level, scope, matches, ...options }: Query, classes: Classes | undefined): string {
  if (scope.seriesInstanceUID !== undefined) return FROM[level];
  if (matchesStudiesOnly(matches)) return FROM_STUDIES[level];
  if (level !== 'instance' || scope.studyInstanceUID !== undefined || !leadsToManyOnly(matches)) return FROM[level];
  if (classes !== undefined) return classes.instances > FEW ? FROM_STUDIES_BY_SERIES : FROM_FEW_SERIES;
  return asksForNumber(matches, options) ? FROM_STUDIES_BY_SERIES : FROM[level];
}

function whereOf(all: readonly Condition[]): string {
  return all.length === 0 ? '' : `WHERE ${all.map(({ sql }) => sql).join(' AND ')}`;
}

/** What only studies decide is counted by their own numbers, what only their dates decide by the days', all there is by the years'. */
function countOf({ level, scope, matches }: Query, from: string, where: string): string {
  if (scope.studyInstanceUID === undefined && where === '')
    return `SELECT coalesce(sum(${DAY_UNITS[level]}), 0) AS total FROM year`;
  if (scope.studyInstanceUID === undefined && matchesDaysOnly(matches))
    return `SELECT coalesce(sum(${DAY_UNITS[level]}), 0) AS total FROM day ${where.replaceAll('study.study_date', 'day.study_date')}`;
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
function listedStatement(query: Query, modality: string): SearchStatement {
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
  const listed = (sql: string): string =>
    sql.replace(/\bstudy\.(study_date|study_time|study_uid)\b/g, 'study_modality.$1');
  const where = listed(whereOf(all));
  const from = `study_modality CROSS JOIN ${FROM_STUDIES[level].replace(/^study\b/, 'study ON study.id = study_modality.study')}`;
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
    page: `SELECT ${COLUMNS[level]} FROM ${from} ${where} ORDER BY ${listed(ORDER[level])} LIMIT ? OFFSET ?`,
    pageValues: values,
    count,
    values,
  };
}

const FROM_MODALITY = 'study_modality CROSS JOIN study ON study.id = study_modality.study';

/** Pages far into the archive begin at the study that they begin with, not at the first. */
function startOf(archive: Pick<Archive, 'database'>, query: Query): PageStart | 'behind the end' | undefined {
  const { level, scope, matches, offset } = query;
  if (offset < FAR || scope.studyInstanceUID !== undefined || !matchesDaysOnly(matches)) return undefined;
  const dates = conditions(level, matches, query);
  return findPage(archive.database, DAY_UNITS[level], dates, offset);
}

const FAR = 500;

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

/** What a result shows. */
interface Shape {
  readonly study: boolean;
  readonly series: boolean;
  /** Attributes asked for besides, top-level keys; the paths below them that are wanted, or all. */
  readonly included: ReadonlyMap<string, readonly (readonly string[])[] | 'all'> | 'all';
  /** Private attributes, each with who reserved its block. */
  readonly private: ReadonlyMap<number, string>;
}

/** Of a study's result. */
function formOf({ included }: Shape): string {
  return included === 'all'
    ? included
    : JSON.stringify([...included].filter(([at]) => !(at in STUDY_ATTRIBUTES.returned)));
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

/** What a study or series shows, by the text it is made of: many results of one answer share it. */
type Known = Map<string, DicomJson>;

function formatRow(archive: Pick<Archive, 'database'>, row: Row, level: Level, shape: Shape, known: Known): string {
  if (
    level === 'instance' &&
    !shape.study &&
    !shape.series &&
    shape.included !== 'all' &&
    shape.included.size === 0 &&
    shape.private.size === 0
  ) {
    return plainInstance(row);
  }
  const plain = level === 'study' ? keysOfPlainStudy(shape) : undefined;
  if (plain !== undefined) return plainStudy(row, plain, shape);
  const shown: DicomJson = {};
  const base = `${BASE}/studies/${String(row['study_uid'])}`;
  if (level === 'study' || shape.study)
    Object.assign(shown, returned(row, 'study_json', STUDY_ATTRIBUTES, known), studyCounts(row));
  if (level === 'series' || (level === 'instance' && shape.series)) {
    Object.assign(shown, returned(row, 'series_json', SERIES_ATTRIBUTES, known), seriesCounts(row));
  }
  if (level === 'instance') Object.assign(shown, JSON.parse(plainInstance(row)) as DicomJson);
  const timezone = knownTimezone(row['study_json']);
  if (timezone !== undefined) shown[KEY.timezone] = { vr: 'SH', Value: [timezone] };
  const from = available(archive, row, level, shape.included);
  include(shown, level, from, shape.included);
  if (shape.private.size > 0)
    includePrivate(shown, level === 'instance' ? from() : privateOf(archive, row, level), shape);
  shown['0020000D'] = { vr: 'UI', Value: [String(row['study_uid'])] };
  const series = level === 'study' ? '' : `/series/${String(row['series_uid'])}`;
  if (level !== 'study') shown['0020000E'] = { vr: 'UI', Value: [String(row['series_uid'])] };
  const instance = level === 'instance' ? `/instances/${String(row['sop_uid'])}` : '';
  shown[KEY.retrieveUrl] = { vr: 'UR', Value: [base + series + instance] };
  shown[KEY.availability] = { vr: 'CS', Value: ['ONLINE'] };
  const text = formatDicomJsonObject(shown);
  if (!/[^\0-\x7f]/.test(text)) return text;
  return formatDicomJsonObject({ ...shown, [KEY.specificCharacterSet]: { vr: 'CS', Value: ['ISO_IR 192'] } });
}

const key = (keyword: string): string => tagKey(tag(keyword));
const KEY = {
  availability: key('InstanceAvailability'),
  classes: key('SOPClassesInStudy'),
  modalities: key('ModalitiesInStudy'),
  retrieveUrl: key('RetrieveURL'),
  seriesInStudy: key('NumberOfStudyRelatedSeries'),
  instancesInStudy: key('NumberOfStudyRelatedInstances'),
  instancesInSeries: key('NumberOfSeriesRelatedInstances'),
  specificCharacterSet: key('SpecificCharacterSet'),
  studyInstanceUid: key('StudyInstanceUID'),
  timezone: key('TimezoneOffsetFromUTC'),
} as const;

/** The attributes that a level always returns, empty ones too. */
function returned(row: Row, column: string, level: LevelAttributes, known: Known): DicomJson {
  const text = String(row[column]);
  const before = known.get(`${column} ${text}`);
  if (before !== undefined) return before;
  const json = JSON.parse(text) as DicomJson;
  const shown: DicomJson = {};
  for (const [at, vr] of Object.entries(level.returned)) {
    const element = json[at];
    if (element !== undefined) shown[at] = element;
    else if (at !== '00400275') shown[at] = { vr } as DicomJsonElement;
  }
  known.set(`${column} ${text}`, shown);
  return shown;
}

/** Present where known, at every level (PS3.18 tables 10.6.3-3 to 10.6.3-5); a study has one. */
function knownTimezone(studyText: unknown): string | undefined {
  return /"00080201":\{"vr":"SH","Value":\["([+-]\d{4})"/.exec(String(studyText))?.[1];
}

function modalitiesOf(row: Row): DicomJsonElement {
  const modalities = String(row['modalities']);
  return modalities === '' ? { vr: 'CS' } : { vr: 'CS', Value: modalities.split('\\') };
}

function studyCounts(row: Row): DicomJson {
  return {
    [KEY.modalities]: modalitiesOf(row),
    [KEY.seriesInStudy]: { vr: 'IS', Value: [Number(row['series_count'])] },
    [KEY.instancesInStudy]: { vr: 'IS', Value: [Number(row['study_instances'])] },
  };
}

function seriesCounts(row: Row): DicomJson {
  return { [KEY.instancesInSeries]: { vr: 'IS', Value: [Number(row['series_instances'])] } };
}

/** Looked up only for who asks: no other result costs a look into the series. */
function classesOf({ database }: Pick<Archive, 'database'>, row: Row): DicomJsonElement {
  const rows = database.all(
    `SELECT DISTINCT instance.sop_class AS sop_class FROM study JOIN series ON series.study = study.id
       JOIN instance ON instance.series = series.id WHERE study.study_uid = ? ORDER BY instance.sop_class`,
    String(row['study_uid']),
  );
  return { vr: 'UI', Value: rows.map(({ sop_class: uid }) => String(uid)) };
}

/** Everything that includefield can ask for at this level. */
function available(
  archive: Pick<Archive, 'database'>,
  row: Row,
  level: Level,
  included: Shape['included'],
): () => DicomJson {
  return () => {
    const study = { ...(JSON.parse(String(row['study_json'])) as DicomJson), ...studyCounts(row) };
    if (included === 'all' ? level === 'study' : included.has(KEY.classes))
      study[KEY.classes] = classesOf(archive, row);
    if (level === 'study') return study;
    const series = { ...study, ...(JSON.parse(String(row['series_json'])) as DicomJson), ...seriesCounts(row) };
    if (level === 'series') return series;
    const stored = archive.database.get(
      'SELECT metadata.json AS json, series.dictionary AS dictionary FROM metadata, series WHERE metadata.instance = ? AND series.id = ?',
      Number(row['id']),
      Number(row['series']),
    );
    if (stored === undefined) return series;
    const text = inflateMetadata(stored['json'] as Buffer, inflateDictionary(stored['dictionary'] as Buffer));
    return { ...series, ...(JSON.parse(text) as DicomJson) };
  };
}

function include(shown: DicomJson, level: Level, from: () => DicomJson, included: Shape['included']): void {
  if (included === 'all') {
    for (const [at, element] of Object.entries(from())) shown[at] ??= element;
    return;
  }
  let all: DicomJson | undefined;
  for (const [at, below] of included) {
    if (shown[at] !== undefined && Object.keys(shown[at]).length > 1) continue;
    const element = (all ??= from())[at];
    if (element !== undefined) shown[at] = below === 'all' ? element : narrowed(element, below);
    else if (shown[at] === undefined && belongsTo(level, at)) addEmpty(shown, at);
  }
}

/** Private attributes in the blocks that the query names, with who reserved them; absent ones are left out. */
function includePrivate(shown: DicomJson, from: DicomJson, shape: Shape): void {
  for (const [asked, creator] of shape.private) {
    const group = tagKey(asked).slice(0, 4);
    const reserved = Object.entries(from).find(
      ([at, element]) =>
        at.startsWith(`${group}00`) && isPrivateCreator(Number.parseInt(at, 16)) && firstText(element) === creator,
    );
    if (reserved === undefined) continue;
    const block = reserved[0].slice(6);
    const element = isPrivateCreator(asked) ? undefined : from[`${group}${block}${tagKey(asked).slice(6)}`];
    const creatorTag = isPrivateCreator(asked) ? asked : (privateCreatorTag(asked) ?? 0);
    shown[tagKey(creatorTag)] = { vr: 'LO', Value: [creator] };
    if (element !== undefined) shown[tagKey(asked)] = element;
  }
}

function firstText(element: DicomJsonElement): string {
  const [first] = 'Value' in element ? (element.Value ?? []) : [];
  return typeof first === 'string' ? first.trim() : '';
}

/** What the first instance of a study or series holds. */
function privateOf(archive: Pick<Archive, 'database'>, row: Row, level: Level): DicomJson {
  const [where, value] =
    level === 'study' ? ['study.study_uid = ?', row['study_uid']] : ['series.id = ?', row['series']];
  const stored = archive.database.get(
    `SELECT metadata.json AS json, series.dictionary AS dictionary FROM study JOIN series ON series.study = study.id
       JOIN instance ON instance.series = series.id JOIN metadata ON metadata.instance = instance.id
     WHERE ${where} LIMIT 1`,
    value ?? null,
  );
  if (stored === undefined) return {};
  return JSON.parse(
    inflateMetadata(stored['json'] as Buffer, inflateDictionary(stored['dictionary'] as Buffer)),
  ) as DicomJson;
}

/** At instance level every attribute may be asked for; above it those that describe a series or study. */
function belongsTo(level: Level, at: string): boolean {
  const levels = level === 'study' ? [STUDY_ATTRIBUTES] : [STUDY_ATTRIBUTES, SERIES_ATTRIBUTES];
  return level === 'instance' || levels.some(({ returned, further }) => at in returned || further.includes(at));
}

/** A match key or included attribute that has no value is returned empty. */
function addEmpty(shown: DicomJson, at: string): void {
  const vr = vrOf(Number.parseInt(at, 16));
  if (vr !== undefined) shown[at] = { vr } as DicomJsonElement;
}

/** Of a sequence only what was asked for inside it. */
function narrowed(element: DicomJsonElement, paths: readonly (readonly string[])[]): DicomJsonElement {
  if (element.vr !== 'SQ' || element.Value === undefined) return element;
  return { vr: 'SQ', Value: element.Value.map((item) => narrowedItem(item, paths)) };
}

function narrowedItem(item: DicomJson, paths: readonly (readonly string[])[]): DicomJson {
  const kept: DicomJson = {};
  for (const [first, ...below] of paths) {
    const element = first === undefined ? undefined : item[first];
    if (first === undefined || element === undefined) continue;
    kept[first] = below.length === 0 ? element : narrowed(element, [below]);
  }
  return kept;
}

const COMPUTED: ReadonlySet<string> = new Set([
  KEY.availability,
  KEY.modalities,
  KEY.retrieveUrl,
  KEY.seriesInStudy,
  KEY.instancesInStudy,
  KEY.timezone,
  KEY.studyInstanceUid,
]);
const ALWAYS_OF_STUDY: readonly string[] = [
  ...new Set([...Object.keys(STUDY_ATTRIBUTES.returned), ...COMPUTED]),
].sort();

/** Keys of a result of a study, ascending; undefined where it shows private attributes, parts of sequences or all there is. */
function keysOfPlainStudy({ included, private: secret }: Shape): readonly string[] | undefined {
  if (secret.size > 0 || included === 'all') return undefined;
  // Neither stands in the text.
  if (included.has(KEY.specificCharacterSet) || included.has(KEY.classes)) return undefined;
  const more: string[] = [];
  for (const [at, below] of included) {
    if (below !== 'all') return undefined;
    if (!(at in STUDY_ATTRIBUTES.returned) && !COMPUTED.has(at) && belongsTo('study', at)) more.push(at);
  }
  return more.length === 0 ? ALWAYS_OF_STUDY : [...ALWAYS_OF_STUDY, ...more].sort();
}

/** A study as worklists ask for it: what stands in its text goes out as it stands there. */
function plainStudy(row: Row, keys: readonly string[], { included }: Shape): string {
  // UIDs are digits and dots: nothing in them needs escaping.
  const uid = String(row['study_uid']);
  const elements = elementsIn(String(row['study_json']));
  const timezone = knownTimezone(elements.get(KEY.timezone));
  const zoned = timezone !== undefined || (included !== 'all' && included.has(KEY.timezone));
  const members: string[] = [];
  for (const at of keys) {
    switch (at) {
      case KEY.availability:
        members.push(`"${at}":{"vr":"CS","Value":["ONLINE"]}`);
        break;
      case KEY.modalities:
        members.push(`"${at}":${JSON.stringify(modalitiesOf(row))}`);
        break;
      case KEY.retrieveUrl:
        members.push(`"${at}":{"vr":"UR","Value":["\\u0001/studies/${uid}"]}`);
        break;
      case KEY.seriesInStudy:
        members.push(`"${at}":{"vr":"IS","Value":[${Number(row['series_count'])}]}`);
        break;
      case KEY.instancesInStudy:
        members.push(`"${at}":{"vr":"IS","Value":[${Number(row['study_instances'])}]}`);
        break;
      case KEY.studyInstanceUid:
        members.push(`"${at}":{"vr":"UI","Value":["${uid}"]}`);
        break;
      case KEY.timezone:
        if (timezone !== undefined) members.push(`"${at}":{"vr":"SH","Value":["${timezone}"]}`);
        else if (zoned) members.push(elements.get(at) ?? `"${at}":{"vr":"SH"}`);
        break;
      default:
        members.push(elements.get(at) ?? `"${at}":{"vr":"${String(vrOf(Number.parseInt(at, 16)))}"}`);
    }
  }
  const text = members.join(',');
  return /[^\0-\x7f]/.test(text)
    ? `{"${KEY.specificCharacterSet}":{"vr":"CS","Value":["ISO_IR 192"]},${text}}`
    : `{${text}}`;
}

/** An instance in its series, by far the most frequent result: straight from columns, keys ascending. */
function plainInstance(row: Row): string {
  const timezone = knownTimezone(row['study_json']);
  const study = String(row['study_uid']);
  const series = String(row['series_uid']);
  const sop = String(row['sop_uid']);
  const number = (at: string, vr: string, column: string): string =>
    typeof row[column] === 'number' ? `"${at}":{"vr":"${vr}","Value":[${row[column]}]}` : `"${at}":{"vr":"${vr}"}`;
  // UIDs are digits and dots: nothing in them needs escaping.
  const text = (at: string, vr: string, value: string): string => `"${at}":{"vr":"${vr}","Value":["${value}"]}`;
  const image = row['rows'] !== null;
  return `{${[
    text('00080016', 'UI', String(row['sop_class'])),
    text('00080018', 'UI', sop),
    text('00080056', 'CS', 'ONLINE'),
    ...(timezone === undefined ? [] : [text(KEY.timezone, 'SH', timezone)]),
    text('00081190', 'UR', `\\u0001/studies/${study}/series/${series}/instances/${sop}`),
    text('00083002', 'UI', String(row['transfer_syntax'])),
    text('0020000D', 'UI', study),
    text('0020000E', 'UI', series),
    number('00200013', 'IS', 'number'),
    ...(row['frames'] === null ? [] : [number('00280008', 'IS', 'frames')]),
    ...(image
      ? [
          number('00280010', 'US', 'rows'),
          number('00280011', 'US', 'columns'),
          number('00280100', 'US', 'bits_allocated'),
        ]
      : []),
  ].join(',')}}`;
}
