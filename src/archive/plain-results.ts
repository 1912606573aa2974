/**
 * Results put together from texts of the index as they stand there: what nearly every search asks for is shown without being read and
 * written again. The rest, parts of sequences, private attributes and all there is, is for results.ts.
 */
import type { Database, Row } from '../database.ts';
import { tagKey } from '../dicom/data-set.ts';
import { tag, vrOf } from '../dicom/dictionary.ts';
import { SERIES_ATTRIBUTES, STUDY_ATTRIBUTES, type Level } from './attributes.ts';
import { inflateDictionary, inflateMetadata } from './metadata-text.ts';
import { elementsIn } from './json-elements.ts';
import { listedElements } from './listed.ts';

const key = (keyword: string): string => tagKey(tag(keyword));
export const KEY = {
  availability: key('InstanceAvailability'),
  classes: key('SOPClassesInStudy'),
  instancesInSeries: key('NumberOfSeriesRelatedInstances'),
  instancesInStudy: key('NumberOfStudyRelatedInstances'),
  modalities: key('ModalitiesInStudy'),
  requests: key('RequestAttributesSequence'),
  retrieveUrl: key('RetrieveURL'),
  seriesInStudy: key('NumberOfStudyRelatedSeries'),
  seriesInstanceUid: key('SeriesInstanceUID'),
  specificCharacterSet: key('SpecificCharacterSet'),
  studyInstanceUid: key('StudyInstanceUID'),
  timezone: key('TimezoneOffsetFromUTC'),
} as const;

/** What a result shows. */
export interface Shape {
  readonly study: boolean;
  readonly series: boolean;
  /** Attributes asked for besides, top-level keys; the paths below them that are wanted, or all. */
  readonly included: ReadonlyMap<string, readonly (readonly string[])[] | 'all'> | 'all';
  /** Private attributes, each with who reserved its block. */
  readonly private: ReadonlyMap<number, string>;
}

/** Present where known, at every level (PS3.18 tables 10.6.3-3 to 10.6.3-5); a study has one. `element`: what it says of it. */
export function timezoneElement(element: string | undefined): string | undefined {
  const known = /"00080201":\{"vr":"SH","Value":\["([+-]\d{4})"/.exec(element ?? '')?.[1];
  return known === undefined ? undefined : member(KEY.timezone, 'SH', `"${known}"`);
}

/** At instance level every attribute may be asked for; above it those that describe a series or study. */
export function belongsTo(level: Level, at: string): boolean {
  const levels = level === 'study' ? [STUDY_ATTRIBUTES] : [STUDY_ATTRIBUTES, SERIES_ATTRIBUTES];
  return level === 'instance' || levels.some(({ returned, further }) => at in returned || further.includes(at));
}

/** What may be shown at one key. */
interface Slot {
  readonly at: string;
  readonly asked: boolean;
  /** What is shown without being asked for. */
  readonly shown: (levels: Levels) => string | undefined;
}

interface Form {
  readonly level: Level;
  /** Keys ascending. */
  readonly slots: readonly Slot[];
}

/** Makes the results of one answer; undefined where they show what texts alone do not tell. */
export function plainResults(database: Database, level: Level, shape: Shape): ((row: Row) => string) | undefined {
  const form = formOf(level, shape);
  if (form === undefined) return undefined;
  if (level === 'instance') return instanceResults(database, form);
  let before: Levels | undefined;
  return (row) => {
    const levels = levelsOf(row, level, before);
    before = levels;
    let text = '';
    for (const slot of form.slots) {
      const element = textOf(level, slot, levels);
      if (element !== undefined) text += `${element},`;
    }
    return closed(text.slice(0, -1));
  };
}

function formOf(level: Level, shape: Shape): Form | undefined {
  const { study, series, included } = shape;
  if (shape.private.size > 0 || included === 'all') return undefined;
  // Neither stands in the texts.
  if (included.has(KEY.specificCharacterSet) || included.has(KEY.classes)) return undefined;
  if ([...included.values()].some((below) => below !== 'all')) return undefined;
  const always = new Set([
    ...FIXED,
    ...(level === 'study' ? [] : [KEY.seriesInstanceUid]),
    ...(study ? [...Object.keys(STUDY_ATTRIBUTES.returned), ...Object.keys(STUDY_COUNTS)] : []),
    ...(series ? [...Object.keys(SERIES_ATTRIBUTES.returned), KEY.instancesInSeries] : []),
    ...(level === 'instance' ? Object.keys(INSTANCE_TEXTS) : []),
  ]);
  const asked = new Set([...included.keys()].filter((at) => !FIXED.has(at)));
  const keys = [...new Set([...always, ...asked, KEY.timezone])].sort();
  return { level, slots: keys.map((at) => ({ at, asked: asked.has(at), shown: shownAt(level, always, at) })) };
}

/** What every result says of itself, whatever stands in the texts. */
const FIXED: ReadonlySet<string> = new Set([KEY.availability, KEY.retrieveUrl, KEY.studyInstanceUid]);

interface Levels {
  readonly row: Row;
  readonly study: ReadonlyMap<string, string>;
  /** Without any for a study. */
  readonly series: ReadonlyMap<string, string>;
  /** Its element, where it is known. */
  readonly timezone: string | undefined;
}

/** `before`: the row before this one; the series of a study come one after another. */
function levelsOf(row: Row, level: Level, before?: Levels): Levels {
  const series = level === 'study' ? NOTHING : elementsIn(String(row['series_json']));
  if (before !== undefined && before.row['study_uid'] === row['study_uid']) return { ...before, row, series };
  const listed = row['study_elements'];
  const study = listed === undefined ? elementsIn(String(row['study_json'])) : listedElements(String(listed));
  return { row, study, series, timezone: timezoneElement(study.get(KEY.timezone)) };
}
const NOTHING: ReadonlyMap<string, string> = new Map();

/** A UID, a code or a number: nothing in them needs escaping. */
const member = (at: string, vr: string, value: string): string => `"${at}":{"vr":"${vr}","Value":[${value}]}`;
const uid = (at: string, value: unknown): string => member(at, 'UI', `"${String(value)}"`);
const empty = (at: string, vr: string): string => `"${at}":{"vr":"${vr}"}`;

/** Undefined where it is left out. */
export type FromRow = (row: Row, at: string) => string | undefined;
const count =
  (column: string): FromRow =>
  (row, at) =>
    member(at, 'IS', String(Number(row[column])));

export const STUDY_COUNTS: Readonly<Record<string, FromRow>> = {
  [KEY.modalities]: ({ modalities }, at) =>
    modalities === ''
      ? empty(at, 'CS')
      : member(
          at,
          'CS',
          String(modalities)
            .split('\\')
            .map((one) => JSON.stringify(one))
            .join(','),
        ),
  [KEY.seriesInStudy]: count('series_count'),
  [KEY.instancesInStudy]: count('study_instances'),
};
export const SERIES_COUNTS: Readonly<Record<string, FromRow>> = { [KEY.instancesInSeries]: count('series_instances') };

const whole =
  (column: string, vr: string): FromRow =>
  (row, at) =>
    typeof row[column] === 'number' ? member(at, vr, String(row[column])) : empty(at, vr);
const ofImage =
  (column: string): FromRow =>
  (row, at) =>
    row['rows'] === null ? undefined : whole(column, 'US')(row, at);
const INSTANCE_TEXTS: Readonly<Record<string, FromRow>> = {
  [key('SOPClassUID')]: (row, at) => uid(at, row['sop_class']),
  [key('SOPInstanceUID')]: (row, at) => uid(at, row['sop_uid']),
  [key('AvailableTransferSyntaxUID')]: (row, at) => uid(at, row['transfer_syntax']),
  [key('InstanceNumber')]: whole('number', 'IS'),
  [key('NumberOfFrames')]: (row, at) => (row['frames'] === null ? undefined : whole('frames', 'IS')(row, at)),
  [key('Rows')]: ofImage('rows'),
  [key('Columns')]: ofImage('columns'),
  [key('BitsAllocated')]: ofImage('bits_allocated'),
};

/** Undefined where it is left out. */
function textOf(
  level: Level,
  { at, asked, shown: shownBy }: Slot,
  levels: Levels,
  metadata?: () => ReadonlyMap<string, string>,
): string | undefined {
  const shown = shownBy(levels);
  if (!asked || (shown !== undefined && !isEmpty(shown))) return shown;
  const { row, study, series } = levels;
  return (
    metadata?.().get(at) ??
    (level === 'study' ? undefined : SERIES_COUNTS[at]?.(row, at)) ??
    series.get(at) ??
    STUDY_COUNTS[at]?.(row, at) ??
    study.get(at) ??
    shown ??
    (belongsTo(level, at) ? emptyOf(at) : undefined)
  );
}

/** `"GGGGEEEE":{"vr":"XX"}` */
const isEmpty = (text: string): boolean => text.length === 22;

export function emptyOf(at: string): string | undefined {
  const vr = vrOf(Number.parseInt(at, 16));
  return vr === undefined ? undefined : empty(at, vr);
}

function shownAt(level: Level, always: ReadonlySet<string>, at: string): Slot['shown'] {
  if (at === KEY.timezone) return ({ timezone }) => timezone;
  if (!always.has(at)) return () => undefined;
  const fixed = FIXED_TEXTS[at];
  if (fixed !== undefined) return ({ row }) => fixed(row, level);
  const computed = STUDY_COUNTS[at] ?? SERIES_COUNTS[at] ?? INSTANCE_TEXTS[at];
  if (computed !== undefined) return ({ row }) => computed(row, at);
  const [ofStudy, ofSeries = ''] = [STUDY_ATTRIBUTES.returned[at], SERIES_ATTRIBUTES.returned[at]];
  const none = at === KEY.requests ? undefined : empty(at, ofStudy ?? ofSeries);
  return ofStudy === undefined ? ({ series }) => series.get(at) ?? none : ({ study }) => study.get(at) ?? none;
}

const ONLINE = member(KEY.availability, 'CS', '"ONLINE"');
export const FIXED_TEXTS: Readonly<Record<string, (row: Row, level: Level) => string>> = {
  [KEY.availability]: () => ONLINE,
  [KEY.retrieveUrl]: (row, level) => member(KEY.retrieveUrl, 'UR', `"${urlOf(row, level)}"`),
  [KEY.studyInstanceUid]: (row) => uid(KEY.studyInstanceUid, row['study_uid']),
  [KEY.seriesInstanceUid]: (row) => uid(KEY.seriesInstanceUid, row['series_uid']),
};

/** BASE as JSON has it before it. */
function urlOf(row: Row, level: Level): string {
  const study = `\\u0001/studies/${String(row['study_uid'])}`;
  if (level === 'study') return study;
  const series = `${study}/series/${String(row['series_uid'])}`;
  return level === 'series' ? series : `${series}/instances/${String(row['sop_uid'])}`;
}

/** What the instances of a series have in common, between what is each one's own. */
interface Shared {
  readonly levels: Levels;
  readonly pieces: readonly { readonly before: string; readonly own: Slot }[];
  readonly last: string;
  readonly wide: boolean;
}

/** Instances of a series come one after another, and share all but a few of their attributes. */
function instanceResults(database: Database, form: Form): (row: Row) => string {
  const asked = form.slots.some((slot) => slot.asked);
  let before: Shared | undefined;
  return (row) => {
    const shared = before !== undefined && before.levels.row['series'] === row['series'] ? before : sharedOf(form, row);
    before = shared;
    const levels = { ...shared.levels, row };
    let known: ReadonlyMap<string, string> | undefined;
    const metadata = (): ReadonlyMap<string, string> => (known ??= elementsIn(attributesOf(database, row) ?? '{}'));
    let text = '';
    for (const { before, own } of shared.pieces) {
      const element = textOf(form.level, own, levels, metadata);
      text += element === undefined ? before : `${before}${element},`;
    }
    text = (text + shared.last).slice(0, -1);
    // What is asked for comes out of the instance.
    return closed(text, shared.wide || (asked && isWide(text)));
  };
}

function sharedOf(form: Form, row: Row): Shared {
  const levels = levelsOf(row, form.level);
  const pieces: { before: string; own: Slot }[] = [];
  let before = '';
  let wide = false;
  for (const slot of form.slots) {
    if (slot.at === KEY.retrieveUrl || slot.at in INSTANCE_TEXTS || slot.asked) {
      pieces.push({ before, own: slot });
      before = '';
      continue;
    }
    const text = slot.shown(levels);
    if (text === undefined) continue;
    wide ||= isWide(text);
    before += `${text},`;
  }
  return { levels, pieces, last: before, wide };
}

/** The attributes of an instance as DICOM JSON. */
export function attributesOf(database: Database, row: Row): string | undefined {
  const stored = database.get(
    `SELECT metadata.json AS json, series.dictionary AS dictionary FROM metadata, series
     WHERE metadata.instance = (SELECT ?) AND series.id = (SELECT ?)`,
    Number(row['id']),
    Number(row['series']),
  );
  if (stored === undefined) return undefined;
  return inflateMetadata(stored['json'] as Buffer, inflateDictionary(stored['dictionary'] as Buffer));
}

/** Whether it has more than ASCII. */
const isWide = (text: string): boolean => Buffer.byteLength(text) !== text.length;

/** Who shows more than ASCII says that it is UTF-8. */
export function closed(text: string, wide = isWide(text)): string {
  return wide ? `{${member(KEY.specificCharacterSet, 'CS', '"ISO_IR 192"')},${text}}` : `{${text}}`;
}
