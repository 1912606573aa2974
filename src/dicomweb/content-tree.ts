/** The content tree of a structured report (PS3.3 C.17.3), read for people: names, values with units, what refers to what. */
import {
  asciiValue,
  asciiValues,
  characterSetOf,
  itemsOf,
  numberValues,
  textValue,
  type DataSet,
} from '../dicom/data-set.ts';
import type { CharacterSet } from '../dicom/character-set.ts';

export interface Reference {
  readonly sopInstanceUID: string;
  readonly frames: readonly number[];
}

export interface ContentItem {
  readonly valueType: string;
  /** Meaning of the concept name. */
  readonly name: string | undefined;
  /** Undefined for a container, and for what only refers. */
  readonly value: string | undefined;
  readonly references: readonly Reference[];
  readonly children: readonly ContentItem[];
}

export interface Report {
  readonly title: string;
  /** Name and value, in the order they are shown. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly content: readonly ContentItem[];
}

export function readReport(dataSet: DataSet, fallbackTitle: string): Report {
  const set = characterSetOf(dataSet);
  return {
    title: meaningOf(dataSet, 0x0040a043, set) ?? fallbackTitle,
    facts: factsOf(dataSet, set),
    content: itemsOf(dataSet, 0x0040a730).map((item) => readItem(item, set)),
  };
}

/** What stands above any document. */
export function factsOf(dataSet: DataSet, set: CharacterSet): (readonly [string, string])[] {
  const observers = itemsOf(dataSet, 0x0040a073).map((item) => textValue(item, 0x0040a075, characterSetOf(item, set)));
  const facts: (readonly [string, string | undefined])[] = [
    ['Patient', nameText(textValue(dataSet, 0x00100010, set))],
    ['Patient ID', textValue(dataSet, 0x00100020, set)],
    ['Study', textValue(dataSet, 0x00081030, set)],
    ['Date', momentText(asciiValue(dataSet, 0x00080023), asciiValue(dataSet, 0x00080033))],
    ['Completion', asciiValue(dataSet, 0x0040a491)],
    ['Verification', asciiValue(dataSet, 0x0040a493)],
    ...observers.map((observer): readonly [string, string | undefined] => ['Verified by', nameText(observer)]),
  ];
  return facts.flatMap(([name, value]) => (value === undefined || value === '' ? [] : [[name, value] as const]));
}

function readItem(item: DataSet, inherited: CharacterSet): ContentItem {
  const set = characterSetOf(item, inherited);
  const valueType = asciiValue(item, 0x0040a040) ?? '';
  return {
    valueType,
    name: meaningOf(item, 0x0040a043, set),
    value: valueOf(item, valueType, set),
    references: itemsOf(item, 0x00081199).flatMap((reference) => {
      const sopInstanceUID = asciiValue(reference, 0x00081155);
      return sopInstanceUID === undefined ? [] : [{ sopInstanceUID, frames: numberValues(reference, 0x00081160) }];
    }),
    children: itemsOf(item, 0x0040a730).map((child) => readItem(child, set)),
  };
}

/** Code Meaning, else Code Value, of the first code. */
function meaningOf(item: DataSet, tag: number, inherited: CharacterSet): string | undefined {
  const [code] = itemsOf(item, tag);
  if (code === undefined) return undefined;
  const set = characterSetOf(code, inherited);
  return textValue(code, 0x00080104, set) ?? textValue(code, 0x00080100, set) ?? textValue(code, 0x00080119, set);
}

function valueOf(item: DataSet, valueType: string, set: CharacterSet): string | undefined {
  switch (valueType) {
    case 'TEXT':
      return textValue(item, 0x0040a160, set);
    case 'CODE':
      return meaningOf(item, 0x0040a168, set);
    case 'NUM':
      return measurementOf(item, set);
    case 'PNAME':
      return nameText(textValue(item, 0x0040a123, set));
    case 'DATE':
      return momentText(asciiValue(item, 0x0040a121), undefined);
    case 'TIME':
      return momentText(undefined, asciiValue(item, 0x0040a122));
    case 'DATETIME': {
      const moment = asciiValue(item, 0x0040a120);
      return moment === undefined ? undefined : momentText(moment.slice(0, 8), moment.slice(8));
    }
    case 'UIDREF':
      return asciiValue(item, 0x0040a124);
    case 'SCOORD':
    case 'SCOORD3D': {
      const count = numberValues(item, 0x00700022).length / (valueType === 'SCOORD' ? 2 : 3);
      return `${asciiValue(item, 0x00700023) ?? 'shape'} of ${count} points`;
    }
    case 'TCOORD':
      return asciiValue(item, 0x0040a130);
    default:
      return undefined;
  }
}

/** Value and unit; without a value, why there is none (PS3.3 C.18.1). */
function measurementOf(item: DataSet, set: CharacterSet): string | undefined {
  const [measured] = itemsOf(item, 0x0040a300);
  if (measured === undefined) return meaningOf(item, 0x0040a301, set);
  const value = asciiValues(measured, 0x0040a30a).join(', ');
  const [code] = itemsOf(measured, 0x004008ea);
  const short = code === undefined ? undefined : textValue(code, 0x00080100, set);
  // UCUM code 1 and annotations in braces are no unit that is written (PS3.16 CID 7181 ff.).
  const unit = short === '1' ? '' : /^\{.*\}$/.test(short ?? '') ? meaningOf(measured, 0x004008ea, set) : short;
  return `${value} ${unit ?? ''}`.trim();
}

/** Family, given: the components of a person name's first group. */
function nameText(name: string | undefined): string | undefined {
  const [family = '', ...rest] = (name?.split('=')[0] ?? '').split('^').map((part) => part.trim());
  const given = rest.filter((part) => part !== '').join(' ');
  return [family, given].filter((part) => part !== '').join(', ') || undefined;
}

function momentText(date: string | undefined, time: string | undefined): string | undefined {
  const day = date?.replace(/^(\d{4})(\d{2})(\d{2})$/, '$1-$2-$3');
  const clock = time?.replace(/^(\d{2})(\d{2})?(\d{2})?.*$/, (_all, hour: string, minute = '00', second = '00') =>
    [hour, minute, second].join(':'),
  );
  return [day, clock].filter((part) => part !== undefined && part !== '').join(' ') || undefined;
}
