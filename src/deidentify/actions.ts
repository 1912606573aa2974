/** Dummies, dates, ages and the check that a kept value is what its VR says (PS3.5 6.2). */
import type { AttributeType } from '../dicom/iod.ts';
import type { Vr } from '../dicom/vr.ts';
import type { BasicAction } from './rule.ts';

/** Z and D written out, X, U and keeping the items. */
export type PlainAction = 'D' | 'Z' | 'X' | 'U' | 'walk';

/**
 * A conditional code by the attribute's type in the IOD (PS3.15 E.1, Table E.1-1a). An attribute that the IOD does not have counts as
 * type 3; where the SOP Class is not known the last letter holds, which satisfies any type.
 */
export function resolveAction(code: BasicAction, type: AttributeType | undefined, classKnown: boolean): PlainAction {
  const required = type === '1' || type === '1C';
  const mayBeEmpty = type === '2' || type === '2C';
  switch (code) {
    case 'D':
    case 'X':
    case 'U':
      return code;
    case 'X/Z/U*':
      return 'walk';
    case 'Z':
      return required ? 'D' : 'Z';
    case 'Z/D':
      return required || !classKnown ? 'D' : 'Z';
    case 'X/Z':
      return required ? 'D' : mayBeEmpty || !classKnown ? 'Z' : 'X';
    case 'X/D':
      return required || mayBeEmpty || !classKnown ? 'D' : 'X';
    case 'X/Z/D':
      return required || !classKnown ? 'D' : mayBeEmpty ? 'Z' : 'X';
  }
}

const DUMMIES: Readonly<Record<Exclude<Vr, 'SQ' | 'UI'>, Buffer>> = {
  AE: Buffer.from('REMOVED '),
  AS: Buffer.from('000D'),
  AT: Buffer.alloc(4),
  CS: Buffer.from('REMOVED '),
  DA: Buffer.from('19000101'),
  DS: Buffer.from('0 '),
  DT: Buffer.from('19000101000000'),
  FL: Buffer.alloc(4),
  FD: Buffer.alloc(8),
  IS: Buffer.from('0 '),
  LO: Buffer.from('REMOVED '),
  LT: Buffer.from('REMOVED '),
  OB: Buffer.alloc(2),
  OD: Buffer.alloc(8),
  OF: Buffer.alloc(4),
  OL: Buffer.alloc(4),
  OV: Buffer.alloc(8),
  OW: Buffer.alloc(2),
  PN: Buffer.from('REMOVED '),
  SH: Buffer.from('REMOVED '),
  SL: Buffer.alloc(4),
  SS: Buffer.alloc(2),
  ST: Buffer.from('REMOVED '),
  SV: Buffer.alloc(8),
  TM: Buffer.from('000000'),
  UC: Buffer.from('REMOVED '),
  UL: Buffer.alloc(4),
  UN: Buffer.alloc(2),
  UR: Buffer.from('urn:removed '),
  US: Buffer.alloc(2),
  UT: Buffer.from('REMOVED '),
  UV: Buffer.alloc(8),
};

/** One value that is valid for the VR and the same for everybody. Sequences and UIDs have no dummy: their contents are mapped. */
export function dummyValue(vr: Exclude<Vr, 'SQ' | 'UI'>): Buffer {
  return DUMMIES[vr];
}

const DAY_MS = 86_400_000;

/** Days since 1970 of YYYYMMDD; undefined when it is no date of the calendar. */
function dayNumber(text: string): number | undefined {
  const year = Number(text.slice(0, 4));
  const month = Number(text.slice(4, 6));
  const day = Number(text.slice(6, 8));
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCFullYear() !== year || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  return Math.round(date.getTime() / DAY_MS);
}

function formatDay(days: number): string {
  const date = new Date(days * DAY_MS);
  const number = date.getUTCFullYear() * 10_000 + (date.getUTCMonth() + 1) * 100 + date.getUTCDate();
  return String(number).padStart(8, '0');
}

/** A DA value moved by whole days; undefined when it is no date, or would lie before 1900. */
export function shiftDate(date: string, offsetDays: number): string | undefined {
  const plain = normalDate(date);
  const day = plain === undefined ? undefined : dayNumber(plain);
  if (day === undefined) return undefined;
  const shifted = formatDay(day + offsetDays);
  return shifted >= '19000101' && shifted.length === 8 ? shifted : undefined;
}

/** YYYYMMDD, also from the old YYYY.MM.DD (PS3.5 6.2 note); undefined for anything else. */
function normalDate(date: string): string | undefined {
  const match = /^(\d{4})(?:\.(\d{2})\.(\d{2})|(\d{2})(\d{2}))$/.exec(date);
  if (match === null) return undefined;
  const [, year = '', monthA, dayA, monthB, dayB] = match;
  return `${year}${monthA ?? monthB}${dayA ?? dayB}`;
}

export function yearOfDate(date: string): string | undefined {
  const plain = normalDate(date);
  return plain === undefined || dayNumber(plain) === undefined ? undefined : plain.slice(0, 4);
}

const DATE_TIME = /^(\d{4})(\d{2})?(\d{2})?((?:\d{2}){0,3})?(\.\d{1,6})?([+-]\d{4})?$/;

/**
 * A DT value moved by whole days, as precise as it was: a year alone stays a year, a month stays a month. The offset from UTC goes,
 * the time of day too unless times are kept. Undefined when it is no date and time.
 */
export function shiftDateTime(dateTime: string, offsetDays: number, keepTime: boolean): string | undefined {
  const match = DATE_TIME.exec(dateTime);
  if (match === null) return undefined;
  const [, year = '', month, day, time = '', fraction = ''] = match;
  const shifted = shiftDate(`${year}${month ?? '07'}${day ?? (month === undefined ? '01' : '15')}`, offsetDays);
  if (shifted === undefined) return undefined;
  if (month === undefined) return shifted.slice(0, 4);
  if (day === undefined) return shifted.slice(0, 6);
  if (!keepTime || !isTime(time)) return shifted;
  return shifted + time + (time.length === 6 ? fraction : '');
}

export function yearOfDateTime(dateTime: string): string | undefined {
  const match = DATE_TIME.exec(dateTime);
  if (match === null) return undefined;
  return yearOfDate(`${match[1]}${match[2] ?? '01'}${match[3] ?? '01'}`);
}

/** HH, HHMM, HHMMSS, with a fraction of a second (PS3.5 6.2). */
export function isTime(text: string): boolean {
  return text === '' || /^([01]\d|2[0-3])([0-5]\d([0-5]\d|60)?)?$/.test(text.replace(/(?<=^\d{6})\.\d{1,6}$/, ''));
}

/** nnnD, nnnW, nnnM or nnnY in years; undefined when it is none. */
export function ageInYears(age: string): number | undefined {
  const match = /^(\d{3})([DWMY])$/.exec(age);
  if (match === null) return undefined;
  const perYear = { D: 365.25, W: 52.18, M: 12, Y: 1 }[match[2] as 'D' | 'W' | 'M' | 'Y'];
  return Number(match[1]) / perYear;
}

/** Above 89 years everybody is 090Y (45 CFR 164.514(b)(2)(i)(C)); undefined when it is no age. */
export function capAge(age: string): string | undefined {
  const years = ageInYears(age);
  if (years === undefined) return undefined;
  return years >= 90 ? '090Y' : age;
}

/** Whole years between two dates; undefined when one is no date. */
export function yearsBetween(from: string, to: string): number | undefined {
  const a = normalDate(from);
  const b = normalDate(to);
  if (a === undefined || b === undefined || dayNumber(a) === undefined || dayNumber(b) === undefined) return undefined;
  const years = Number(b.slice(0, 4)) - Number(a.slice(0, 4)) - (b.slice(4) < a.slice(4) ? 1 : 0);
  return years < 0 ? undefined : years;
}

const DECIMAL = /^ *[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)? *$/;
const INTEGER = /^ *[+-]?\d{1,12} *$/;
const CODE = /^[A-Z0-9_ ]{0,16}$/;

/** DS and IS hold numbers and nothing else, every value of them. */
export function areNumbers(text: string, vr: 'DS' | 'IS'): boolean {
  const pattern = vr === 'DS' ? DECIMAL : INTEGER;
  // Senders write more than 16 characters; never as much as a sentence.
  return text.split('\\').every((value) => value.trim() === '' || (value.length <= 32 && pattern.test(value)));
}

/** CS in capital letters; undefined where a value is no Code String, whatever its case. */
export function asCodeString(text: string): string | undefined {
  const upper = text.toUpperCase();
  return upper.split('\\').every((value) => CODE.test(value.trim())) ? upper : undefined;
}
