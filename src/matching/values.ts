/** Values as they are compared: of which kind an attribute is, and what of it is kept to be looked up (PS3.4 C.2.2.2). */
import { tagKey } from '../dicom/data-set.ts';
import type { DicomJson, PersonName } from '../dicom/json.ts';
import { dateTimeBounds, timeBounds } from './moments.ts';
import { foldName } from './names.ts';

/** How values compare. */
export type ValueKind = 'text' | 'name' | 'uid' | 'number' | 'date' | 'time' | 'datetime';

export function kindOfVr(vr: string): ValueKind | undefined {
  switch (vr) {
    case 'AE':
    case 'AS':
    case 'CS':
    case 'LO':
    case 'LT':
    case 'SH':
    case 'ST':
    case 'UC':
    case 'UR':
    case 'UT':
      return 'text';
    case 'PN':
      return 'name';
    case 'UI':
      return 'uid';
    case 'DA':
      return 'date';
    case 'TM':
      return 'time';
    case 'DT':
      return 'datetime';
    case 'DS':
    case 'IS':
    case 'FD':
    case 'FL':
    case 'SL':
    case 'SS':
    case 'UL':
    case 'US':
      return 'number';
    default:
      return undefined;
  }
}

/** `00101002.00100020` */
export function pathName(path: readonly number[]): string {
  return path.map(tagKey).join('.');
}

export function valuesAt(object: DicomJson, path: readonly number[], kind: ValueKind): string[] {
  const [first = 0, ...below] = path;
  const element = object[tagKey(first)];
  if (element === undefined || !('Value' in element) || element.Value === undefined) return [];
  if (below.length > 0) return element.vr === 'SQ' ? element.Value.flatMap((item) => valuesAt(item, below, kind)) : [];
  return element.Value.map((value: unknown) => comparable(value, kind)).filter((value) => value !== '');
}

/** '' for what is no value of its kind. */
export function comparable(value: unknown, kind: ValueKind): string {
  if (kind === 'name') return foldPerson(value);
  const text = typeof value === 'string' ? value.trim() : typeof value === 'number' ? String(value) : '';
  switch (kind) {
    case 'date':
      return /^\d{8}$/.test(text) ? text : '';
    case 'time':
      return timeBounds(text)?.[0] ?? '';
    case 'datetime':
      return dateTimeBounds(text)?.[0] ?? '';
    case 'number':
      return text !== '' && Number.isFinite(Number(text)) ? String(Number(text)) : '';
    case 'text':
    case 'uid':
      return text;
    default:
      return kind satisfies never;
  }
}

/** Of a value of VR PN in the DICOM JSON model; '' for what is none. */
export function foldPerson(value: unknown): string {
  if (typeof value !== 'object' || value === null) return '';
  const { Alphabetic = '', Ideographic = '', Phonetic = '' } = value as PersonName;
  return foldName([Alphabetic, Ideographic, Phonetic].join('='));
}
