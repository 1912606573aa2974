/** Results that texts alone do not tell: all there is, private attributes, parts of sequences. The others come from plain-results.ts. */
import type { Row } from '../database.ts';
import { tagKey } from '../dicom/data-set.ts';
import { isPrivateCreator, privateCreatorTag, vrOf } from '../dicom/dictionary.ts';
import { formatDicomJsonObject, type DicomJson, type DicomJsonElement } from '../dicom/json.ts';
import type { Level } from './attributes.ts';
import type { Archive } from './handle.ts';
import { inflateDictionary, inflateMetadata } from './metadata-text.ts';
import {
  KEY,
  SERIES_COUNTS,
  STUDY_COUNTS,
  belongsTo,
  attributesOf,
  plainResults,
  type FromRow,
  type Shape,
} from './plain-results.ts';

/** Makes the results of one answer. */
export function resultsOf(archive: Pick<Archive, 'database'>, level: Level, shape: Shape): (row: Row) => string {
  const plain = plainResults(archive.database, level, shape);
  if (plain !== undefined) return plain;
  const always = plainResults(archive.database, level, { ...shape, included: new Map(), private: new Map() });
  return (row) => {
    const shown = JSON.parse(always?.(row) ?? '{}') as DicomJson;
    const from = available(archive, row, level, shape.included);
    include(shown, level, from, shape.included);
    if (shape.private.size > 0)
      includePrivate(shown, level === 'instance' ? from() : privateOf(archive, row, level), shape);
    const text = formatDicomJsonObject(shown);
    if (!/[^\0-\x7f]/.test(text)) return text;
    return formatDicomJsonObject({ ...shown, [KEY.specificCharacterSet]: { vr: 'CS', Value: ['ISO_IR 192'] } });
  };
}

/** Everything that includefield can ask for at this level. */
function available(
  archive: Pick<Archive, 'database'>,
  row: Row,
  level: Level,
  included: Shape['included'],
): () => DicomJson {
  return () => {
    const study = { ...parsed(row['study_json']), ...counts(STUDY_COUNTS, row) };
    if (included === 'all' ? level === 'study' : included.has(KEY.classes))
      study[KEY.classes] = classesOf(archive, row);
    if (level === 'study') return study;
    const series = { ...study, ...parsed(row['series_json']), ...counts(SERIES_COUNTS, row) };
    return level === 'series' ? series : { ...series, ...parsed(attributesOf(archive.database, row) ?? '{}') };
  };
}

const parsed = (text: unknown): DicomJson => JSON.parse(String(text)) as DicomJson;

function counts(texts: Readonly<Record<string, FromRow>>, row: Row): DicomJson {
  return parsed(
    `{${Object.entries(texts)
      .map(([at, text]) => text(row, at))
      .join(',')}}`,
  );
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
