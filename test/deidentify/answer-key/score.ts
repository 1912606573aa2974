/** Compares what came out with the answer key, by the rules of CBIIT/MIDI_validation_script. */
import { createHash } from 'node:crypto';
import { characterSetOf, numbersOf, valueBytes, withoutPadding, type DataSet } from '../../../src/dicom/data-set.ts';
import { decodeText, type CharacterSet } from '../../../src/dicom/character-set.ts';
import { isPrivate, isPrivateCreator, privateCreatorTag } from '../../../src/dicom/dictionary.ts';
import { VR_TRAITS } from '../../../src/dicom/vr.ts';
import { insideOf, pathOf, tokensOf, type Action, type AnswerKey, type KeyObject, type KeyRow } from './key.ts';

/** What came out of one object. */
export interface Output {
  readonly dataSet: DataSet;
  readonly pixels: Buffer;
}

export interface Tally {
  passed: number;
  total: number;
}

export interface Score {
  readonly overall: Tally;
  readonly byAction: ReadonlyMap<string, Tally>;
  readonly byCategory: ReadonlyMap<string, Tally>;
  readonly failed: readonly { readonly row: KeyRow; readonly found: string | undefined }[];
}

/** Original UIDs and patient ids -> pseudonyms, as the output shows them at the top level. */
export interface Mappings {
  readonly uids: ReadonlyMap<string, string>;
  readonly patients: ReadonlyMap<string, string>;
}

const TOP_UIDS = ['<(0020,000d)>', '<(0020,000e)>', '<(0008,0018)>', '<(0020,0052)>'];

/** `outputs`: by object name; one that was held back has none. */
export function score(key: AnswerKey, outputs: ReadonlyMap<string, Output>): Score & { readonly mappings: Mappings } {
  const values = new Map([...outputs].map(([name, { dataSet }]) => [name, valuesOf(dataSet)]));
  const mappings = mappingsOf(key, values);
  const overall: Tally = { passed: 0, total: 0 };
  const byAction = new Map<string, Tally>();
  const byCategory = new Map<string, Tally>();
  const failed: { row: KeyRow; found: string | undefined }[] = [];
  for (const row of key.rows) {
    const output = outputs.get(row.object.name);
    const found = values.get(row.object.name)?.get(row.path);
    const passed = output === undefined ? passesMissing(row.action) : passes(row, found, output, mappings);
    if (!passed) failed.push({ row, found });
    for (const tally of [overall, tallyOf(byAction, row.action), tallyOf(byCategory, row.category)]) {
      tally.total++;
      if (passed) tally.passed++;
    }
  }
  return { overall, byAction, byCategory, failed, mappings };
}

function tallyOf(tallies: Map<string, Tally>, name: string): Tally {
  const known = tallies.get(name) ?? { passed: 0, total: 0 };
  tallies.set(name, known);
  return known;
}

/** An object that did not come out shows nothing, and keeps nothing. */
function passesMissing(action: Action): boolean {
  return (
    action === 'text_removed' || action === 'date_shifted' || action === 'uid_changed' || action === 'pixels_hidden'
  );
}

function passes(row: KeyRow, found: string | undefined, output: Output, mappings: Mappings): boolean {
  switch (row.action) {
    case 'tag_retained':
      return found !== undefined;
    case 'text_notnull':
      return found !== undefined && found !== '';
    case 'text_retained':
      return found !== undefined && keeps(found, row.text);
    case 'text_removed':
      return found === undefined || removes(found, row.text);
    case 'date_shifted':
    case 'uid_changed':
      return found === undefined || !found.includes(row.text);
    case 'uid_consistent':
      return found === undefined || found === mappings.uids.get(row.value);
    case 'patid_consistent':
      return found === undefined || found === mappings.patients.get(row.value);
    case 'pixels_hidden':
      return false;
    case 'pixels_retained':
      return createHash('md5').update(output.pixels).digest('hex') === row.text;
  }
}

const NUMBER = /^\d+(\.\d*)?$/;

function keeps(found: string, text: string): boolean {
  if (NUMBER.test(found) && NUMBER.test(text)) return Number(found) === Number(text);
  const lower = found.toLowerCase();
  return tokensOf(text).every((token) => lower.includes(token));
}

function removes(found: string, text: string): boolean {
  const lower = found.toLowerCase();
  if (lower.includes(text.toLowerCase())) return false;
  return !tokensOf(text).some((token) => lower.includes(token));
}

/** Every attribute's value as text by the script's path. */
export function valuesOf(
  dataSet: DataSet,
  prefix = '',
  inherited?: CharacterSet,
  into = new Map<string, string>(),
): Map<string, string> {
  const set = characterSetOf(dataSet, inherited);
  const creators = new Map<number, string>();
  for (const element of dataSet.elements) {
    const { tag, vr, items } = element;
    const text = VR_TRAITS[vr].text === false ? undefined : decodeText(set, valueBytes(dataSet, element), vr);
    if (isPrivateCreator(tag)) creators.set(tag, withoutPadding(text ?? ''));
    const creator = isPrivate(tag) ? creators.get(privateCreatorTag(tag) ?? 0) : undefined;
    const path = pathOf(prefix, tag, creator);
    if (text !== undefined) into.set(path, withoutPadding(text));
    else if (vr === 'SQ' || items !== undefined) into.set(path, '');
    else
      into.set(
        path,
        vr === 'OB' || vr === 'OW' || vr === 'UN'
          ? valueBytes(dataSet, element).toString('latin1')
          : numbersOf(dataSet, element).join('\\'),
      );
    items?.forEach((item, index) => valuesOf(item, insideOf(path, index), set, into));
  }
  return into;
}

function mappingsOf(key: AnswerKey, values: ReadonlyMap<string, ReadonlyMap<string, string>>): Mappings {
  const uids = new Map<string, string>();
  const patients = new Map<string, string>();
  const planted = new Map<KeyObject, KeyRow[]>();
  for (const row of key.rows) {
    if (row.action !== 'uid_consistent' || !TOP_UIDS.includes(row.path)) continue;
    planted.set(row.object, [...(planted.get(row.object) ?? []), row]);
  }
  for (const object of key.objects) {
    const found = values.get(object.name);
    const patient = found?.get('<(0010,0020)>');
    if (patient !== undefined && !patients.has(object.patientID)) patients.set(object.patientID, patient);
    for (const { path, value } of planted.get(object) ?? []) {
      const uid = found?.get(path);
      if (uid !== undefined && !uids.has(value)) uids.set(value, uid);
    }
  }
  return { uids, patients };
}
