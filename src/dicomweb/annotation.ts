/**
 * What `annotation` writes into the corners of a picture (PS3.18 8.3.5.1.1), as a viewer shows it: who it is top left, the study top
 * right, how it was made bottom left, where one is bottom right. The archive knows pseudonyms alone, so no more is shown.
 */
import type { Corners } from '../codecs/lettering.ts';
import type { Presentation, Window } from '../codecs/presentation.ts';
import { asciiValue, asciiValues, numberValue, textValue, type DataSet } from '../dicom/data-set.ts';
import type { Annotation } from './rendering-request.ts';

export interface Shown {
  /** Counted from 1. */
  readonly frame: number;
  readonly frameCount: number;
  readonly presentation: Presentation;
}

const MOST_LETTERS = 40;

/** Undefined when nothing is asked for. */
export function cornersOf(
  dataSet: DataSet,
  annotations: readonly Annotation[],
  shown: Shown | undefined,
): Corners | undefined {
  if (annotations.length === 0) return undefined;
  const technique = annotations.includes('technique');
  return {
    topLeft: annotations.includes('patient') ? lines(patientOf(dataSet)) : [],
    topRight: technique ? lines(studyOf(dataSet)) : [],
    bottomLeft: technique ? lines(settingsOf(dataSet)) : [],
    bottomRight: technique ? lines(placeOf(dataSet, shown)) : [],
  };
}

function lines(values: readonly (string | undefined)[]): string[] {
  return values
    .filter((value) => value !== undefined && value.trim() !== '')
    .map((value = '') => (value.length > MOST_LETTERS ? `${value.slice(0, MOST_LETTERS - 1)}…` : value));
}

function patientOf(dataSet: DataSet): (string | undefined)[] {
  const name = textValue(dataSet, 0x00100010)?.split('=')[0];
  const parts = name?.split('^').map((part) => part.trim());
  const [family = '', ...given] = parts ?? [];
  const rest = given.filter((part) => part !== '').join(' ');
  const born = dateOf(asciiValue(dataSet, 0x00100030));
  const sex = asciiValue(dataSet, 0x00100040);
  return [
    [family, rest].filter((part) => part !== '').join(', '),
    textValue(dataSet, 0x00100020),
    [born, sex, asciiValue(dataSet, 0x00101010)].filter((part) => part !== undefined).join('  '),
  ];
}

function studyOf(dataSet: DataSet): (string | undefined)[] {
  const date = dateOf(asciiValue(dataSet, 0x00080022) ?? asciiValue(dataSet, 0x00080020));
  const time = timeOf(asciiValue(dataSet, 0x00080032) ?? asciiValue(dataSet, 0x00080030));
  return [
    textValue(dataSet, 0x00081030),
    textValue(dataSet, 0x0008103e),
    [date, time].filter((part) => part !== undefined).join(' '),
    asciiValue(dataSet, 0x00080050),
  ];
}

/** (tag, name before it, unit after it). */
const SETTINGS: readonly (readonly [number, string, string])[] = [
  [0x00180060, '', 'kV'],
  [0x00181152, '', 'mAs'],
  [0x00181151, '', 'mA'],
  [0x00180080, 'TR', 'ms'],
  [0x00180081, 'TE', 'ms'],
  [0x00180082, 'TI', 'ms'],
  [0x00181314, 'FA', '°'],
  [0x00180087, '', 'T'],
  [0x00180050, 'T', 'mm'],
  [0x00201041, 'L', 'mm'],
];

function settingsOf(dataSet: DataSet): (string | undefined)[] {
  const settings = SETTINGS.map(([tag, name, unit]) => {
    const value = numberValue(dataSet, tag);
    return value === undefined ? undefined : `${name} ${rounded(value)} ${unit}`.trim();
  });
  const head = [asciiValue(dataSet, 0x00080060), asciiValues(dataSet, 0x00080008).slice(2).join(' ')];
  return [head.filter((part) => part !== undefined && part !== '').join('  '), ...settings];
}

function placeOf(dataSet: DataSet, shown: Shown | undefined): (string | undefined)[] {
  const series = numberValue(dataSet, 0x00200011);
  const image = numberValue(dataSet, 0x00200013);
  const { frame = 1, frameCount = 1, presentation } = shown ?? {};
  return [
    series === undefined ? undefined : `Se ${series}`,
    image === undefined ? undefined : `Im ${image}`,
    frameCount > 1 ? `Fr ${frame}/${frameCount}` : undefined,
    windowLine(presentation?.window),
    asciiValue(dataSet, 0x00282110) === '01' ? 'lossy' : undefined,
  ];
}

function windowLine(window: Window | undefined): string | undefined {
  return window === undefined ? undefined : `W ${rounded(window.width)} C ${rounded(window.center)}`;
}

function rounded(value: number): string {
  return String(Math.round(value * 100) / 100);
}

function dateOf(value: string | undefined): string | undefined {
  return value?.replace(/^(\d{4})(\d{2})(\d{2})$/, '$1-$2-$3');
}

function timeOf(value: string | undefined): string | undefined {
  return value?.replace(/^(\d{2})(\d{2})(\d{2}).*$/, '$1:$2:$3');
}
