/** The identifier of a query or retrieval: its level, its keys, and what the hierarchy of the model asks of them (PS3.4 C.4, C.6). */
import { asciiOf, asciiValue, characterSetOf, itemsOf, type DataElement, type DataSet } from '../dicom/data-set.ts';
import { decodeText } from '../dicom/character-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid } from '../dicom/uid.ts';
import type { QueryRoot } from '../dimse/sop-classes.ts';

export type QueryLevel = 'PATIENT' | 'STUDY' | 'SERIES' | 'IMAGE';

export interface QueryKey {
  /** Tags, outermost first. */
  readonly path: readonly number[];
  readonly vr: string;
  /** Decoded; empty for universal matching. */
  readonly value: string;
}

export interface AskedQuery {
  readonly level: QueryLevel;
  /** Without level, character set and other attributes that are about the query. */
  readonly keys: readonly QueryKey[];
  readonly patientID: string | undefined;
  /** Of the levels above, and of the level itself where it is a single value. */
  readonly studyInstanceUID: string | undefined;
  readonly seriesInstanceUID: string | undefined;
}

/** The unique key of each level (PS3.4 C.6.1.1, C.6.2.1). */
export const UNIQUE_KEY: Readonly<Record<QueryLevel, number>> = {
  PATIENT: tag('PatientID'),
  STUDY: tag('StudyInstanceUID'),
  SERIES: tag('SeriesInstanceUID'),
  IMAGE: tag('SOPInstanceUID'),
};
const LEVELS: readonly QueryLevel[] = ['PATIENT', 'STUDY', 'SERIES', 'IMAGE'];
const QUERY_RETRIEVE_LEVEL = tag('QueryRetrieveLevel');
/** About the query, not of what is searched. */
const NO_KEYS = new Set([
  QUERY_RETRIEVE_LEVEL,
  tag('SpecificCharacterSet'),
  tag('RetrieveAETitle'),
  tag('InstanceAvailability'),
  // Of DICOMweb; here objects are retrieved from an AE.
  tag('RetrieveURL'),
  tag('TimezoneOffsetFromUTC'),
]);
/** UIDs of one retrieval, and keys of one query. */
const MAX_LISTED = 1000;

/** @throws Refusal DataSetMismatch where level and unique keys do not fit the model; nothing relational is negotiated */
export function readQuery(identifier: DataSet, root: QueryRoot): AskedQuery {
  const level = levelOf(identifier, root);
  const above = levelsAbove(level, root).map((one) => [one, singleValue(identifier, one)] as const);
  for (const [one, value] of above) {
    if (value === undefined) throw mismatch(`a query at ${level} level needs one ${one} (PS3.4 C.4.1.2.1)`);
  }
  const keys = identifier.elements.flatMap((element) => keysOf(identifier, element));
  if (keys.length > MAX_LISTED) throw mismatch(`${keys.length} keys; at most ${MAX_LISTED} are possible`);
  const unique = new Map<QueryLevel, string | undefined>(above);
  return {
    level,
    keys,
    patientID: unique.get('PATIENT'),
    studyInstanceUID: unique.get('STUDY'),
    seriesInstanceUID: unique.get('SERIES'),
  };
}

export interface AskedRetrieval extends Omit<AskedQuery, 'keys'> {
  /** Values of the level's unique key. */
  readonly wanted: readonly string[];
}

/** @throws Refusal DataSetMismatch */
export function readRetrieval(identifier: DataSet, root: QueryRoot): AskedRetrieval {
  const { keys, ...query } = readQuery(identifier, root);
  const unique = keys.find(({ path }) => path.length === 1 && path[0] === UNIQUE_KEY[query.level])?.value ?? '';
  const wanted = unique.split('\\').filter((one) => one !== '');
  const isList = query.level !== 'PATIENT';
  const fits = isList ? wanted.every(isUid) : wanted.length === 1 && !/[*?]/.test(unique);
  if (wanted.length === 0 || wanted.length > MAX_LISTED || !fits) {
    throw mismatch(
      `a retrieval at ${query.level} level names ${isList ? `1 to ${MAX_LISTED} UIDs` : 'one Patient ID'}`,
    );
  }
  return { ...query, wanted };
}

/** The levels whose unique key has to be given. */
export function levelsAbove(level: QueryLevel, root: QueryRoot): QueryLevel[] {
  return LEVELS.slice(root === 'patient' ? 0 : 1, LEVELS.indexOf(level));
}

function levelOf(identifier: DataSet, root: QueryRoot): QueryLevel {
  const text = asciiValue(identifier, QUERY_RETRIEVE_LEVEL);
  const level = LEVELS.find((one) => one === text);
  if (level === undefined || (level === 'PATIENT' && root === 'study')) {
    throw mismatch(`Query/Retrieve Level (0008,0052) is none of the ${root} root (PS3.4 C.6)`);
  }
  return level;
}

function singleValue(identifier: DataSet, level: QueryLevel): string | undefined {
  const element = identifier.elements.find((one) => one.tag === UNIQUE_KEY[level]);
  const value = element === undefined ? '' : textOf(identifier, element);
  if (value === '' || value.includes('\\')) return undefined;
  return (level === 'PATIENT' ? !/[*?]/.test(value) : isUid(value)) ? value : undefined;
}

function keysOf(identifier: DataSet, element: DataElement): QueryKey[] {
  if (NO_KEYS.has(element.tag) || isPrivate(element.tag) || (element.tag & 0xffff) === 0) return [];
  if (element.items === undefined) return [{ path: [element.tag], vr: element.vr, value: textOf(identifier, element) }];
  // PS3.4 C.2.2.2.6: one item of keys, or none, which asks for all of the sequence.
  const [item] = itemsOf(identifier, element.tag);
  const inside = (item?.elements ?? []).filter(({ items }) => items === undefined);
  if (item === undefined || inside.length === 0) return [{ path: [element.tag], vr: 'SQ', value: '' }];
  return inside.map((one) => ({ path: [element.tag, one.tag], vr: one.vr, value: textOf(item, one, identifier) }));
}

function textOf(dataSet: DataSet, element: DataElement, parent: DataSet = dataSet): string {
  const bytes = dataSet.bytes.subarray(element.valueStart, element.valueEnd);
  switch (element.vr) {
    case 'LO':
    case 'LT':
    case 'PN':
    case 'SH':
    case 'ST':
    case 'UC':
    case 'UT':
      return decodeText(characterSetOf(dataSet, characterSetOf(parent)), bytes, element.vr).replaceAll(
        /^[ \0]+|[ \0]+$/g,
        '',
      );
    default:
      return asciiOf(dataSet, element);
  }
}

function mismatch(sentence: string): Refusal {
  return new Refusal('DataSetMismatch', sentence);
}
