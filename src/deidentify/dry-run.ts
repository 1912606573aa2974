/** What de-identification would do to each attribute, before and after, for the operator's eyes alone: it shows what is to be hidden. */
import { formatTag, valueBytes, withoutTrailingPadding, type DataElement, type DataSet } from '../dicom/data-set.ts';
import { decodeText, UTF_8, type CharacterSet } from '../dicom/character-set.ts';
import { keywordOf } from '../dicom/dictionary.ts';
import { readDataSet } from '../dicom/reader.ts';
import { numbersOf } from '../dicom/data-set.ts';
import { VR_TRAITS } from '../dicom/vr.ts';
import type { Traced } from './rewriting.ts';

export interface Change {
  /** Tags of the sequences around it, then its own. */
  readonly path: string;
  readonly keyword: string;
  readonly vr: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
  readonly action: 'kept' | 'changed' | 'emptied' | 'removed' | 'added';
  readonly rule: string;
}

export function describeChange({ path, before, after, rule }: Traced): Change | undefined {
  const written =
    after.length === 0 ? undefined : readDataSet(after, 0, after.length, 'explicit-le', { complete: true });
  const [out] = written?.dataSet.elements ?? [];
  const element = before?.element ?? out;
  if (element === undefined) return undefined;
  const was = before && shown(before.dataSet, before.element, before.set);
  const is = out === undefined || written === undefined ? undefined : shown(written.dataSet, out, UTF_8);
  return {
    path: [...path, out?.tag ?? element.tag].map(formatTag).join(' > '),
    keyword: keywordOf(element.tag),
    vr: out?.vr ?? element.vr,
    before: was,
    after: is,
    action: actionOf(was, is),
    rule,
  };
}

function actionOf(was: string | undefined, is: string | undefined): Change['action'] {
  if (is === undefined) return 'removed';
  if (was === undefined) return 'added';
  if (was === is) return 'kept';
  return is === '' ? 'emptied' : 'changed';
}

const MOST_CHARACTERS = 120;

function shown(dataSet: DataSet, element: DataElement, set: CharacterSet): string {
  if (element.items !== undefined) return `${element.items.length} item${element.items.length === 1 ? '' : 's'}`;
  const lengthBytes = element.valueEnd - element.valueStart;
  if (VR_TRAITS[element.vr].text !== false)
    return shortened(withoutTrailingPadding(decodeText(set, valueBytes(dataSet, element), element.vr)).trim());
  if (BULK.has(element.vr) || lengthBytes > 64) return `${lengthBytes} bytes`;
  return numbersOf(dataSet, element).join('\\');
}

const BULK: ReadonlySet<string> = new Set(['OB', 'OD', 'OF', 'OL', 'OV', 'OW', 'UN']);

function shortened(text: string): string {
  return text.length <= MOST_CHARACTERS ? text : `${text.slice(0, MOST_CHARACTERS)}… (${text.length} characters)`;
}

const MARKS: Readonly<Record<Change['action'], string>> = {
  kept: '=',
  changed: '~',
  emptied: '0',
  removed: '-',
  added: '+',
};

/** One line an attribute. */
export function changeLine({ path, keyword, before, after, action, rule }: Change): string {
  const values = action === 'kept' ? quoted(before) : `${quoted(before)} -> ${quoted(after)}`;
  return `  ${MARKS[action]} ${path} ${keyword}: ${values}   [${rule}]`;
}

function quoted(value: string | undefined): string {
  // Control characters of a hostile value would act on the operator's terminal.
  return value === undefined ? 'none' : JSON.stringify(value).replaceAll(/[\u007f-\u009f]/g, '?');
}
