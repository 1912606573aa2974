/**
 * The attributes of a Unified Procedure Step (PS3.4 table CC.2.5-3, as data): what a creation has to bring, what an update may change,
 * what has to be there before a step ends, and what a search can match and gives back.
 */
import { readFileSync } from 'node:fs';
import { tagKey } from '../dicom/data-set.ts';
import { isPrivate, keywordOf, tag, vrOf } from '../dicom/dictionary.ts';
import type { DicomJson, DicomJsonElement } from '../dicom/json.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid } from '../dicom/uid.ts';
import { dateTimeBounds } from '../matching/moments.ts';

export const UPS_PUSH = '1.2.840.10008.5.1.4.34.6.1';

export type FinalState = 'COMPLETED' | 'CANCELED';

export interface StepAttribute {
  /** Tags, outermost first. */
  readonly path: readonly number[];
  readonly create: string;
  readonly set: string;
  readonly final: string;
  readonly match: string;
  readonly returned: string;
}

export const STEP_ATTRIBUTES: readonly StepAttribute[] = readTable();

function readTable(): StepAttribute[] {
  const file = new URL('../dicom/standard/ups-attributes-2026c.json', import.meta.url);
  const { rows } = JSON.parse(readFileSync(file, 'utf8')) as {
    rows: [path: string, create: string, set: string, final: string, match: string, returned: string][];
  };
  return rows.map(([path, create, set, final, match, returned]) => ({
    path: path.split('.').map(tag),
    create,
    set,
    final,
    match,
    returned,
  }));
}

const TOP: ReadonlyMap<number, StepAttribute> = new Map(
  STEP_ATTRIBUTES.filter(({ path }) => path.length === 1).map((row) => [row.path[0] ?? 0, row]),
);

/** Sets an attribute of a DICOM JSON object by its keyword; without values it is present and empty. */
export function put(object: DicomJson, keyword: string, ...values: readonly unknown[]): void {
  const at = tag(keyword);
  // The VR is the dictionary's and the values are this program's own.
  object[tagKey(at)] = { vr: vrOf(at), ...(values.length === 0 ? {} : { Value: values }) } as DicomJsonElement;
}

export function elementOf(object: DicomJson, keyword: string): DicomJsonElement | undefined {
  return object[tagKey(tag(keyword))];
}

export function valuesOf(element: DicomJsonElement | undefined): readonly unknown[] {
  return element !== undefined && 'Value' in element && element.Value !== undefined ? element.Value : [];
}

/** The first value, when it is text. */
export function textOf(object: DicomJson, keyword: string): string | undefined {
  const [value] = valuesOf(elementOf(object, keyword));
  return typeof value === 'string' ? value : undefined;
}

export function itemsOf(object: DicomJson, keyword: string): DicomJson[] {
  const element = elementOf(object, keyword);
  return element?.vr === 'SQ' ? (element.Value ?? []) : [];
}

/** `YYYYMMDDHHMMSS.FFF+0000` */
export function formatDateTime(ms: number): string {
  return `${new Date(ms).toISOString().replace(/[-:TZ]/g, '')}+0000`;
}

export function codeItem(value: string, scheme: string, meaning: string): DicomJson {
  const item: DicomJson = {};
  put(item, 'CodeValue', value);
  put(item, 'CodingSchemeDesignator', scheme);
  put(item, 'CodeMeaning', meaning);
  return item;
}

export interface Checked {
  readonly object: DicomJson;
  /** Something of what was asked for was filled in. */
  readonly modified: boolean;
  /** Something that this server does not keep was passed over. */
  readonly passedOver: boolean;
}

const DEFAULT_WORKLIST = 'WORKLIST';

/**
 * What a new step holds. Attributes of type 2 that were left out are filled in empty, the Worklist Label with a default; attributes that
 * are none of a step are passed over. @throws Refusal BadRequest for what the N-CREATE column does not allow
 */
export function checkCreation(given: DicomJson): Checked {
  const { object, passedOver } = known(given);
  let modified = false;
  checkLevel(object, [], 'create');
  const state = textOf(object, 'ProcedureStepState');
  if (state !== 'SCHEDULED') throw bad([tag('ProcedureStepState')], 'has to be SCHEDULED when a work item is created');
  for (const { path, create } of TOP.values()) {
    const [at = 0] = path;
    if (!/^2\//.test(create) || at === TRANSACTION_UID) continue;
    const key = tagKey(at);
    if (object[key] === undefined) {
      object[key] = { vr: vrOf(at) ?? 'UN' } as DicomJsonElement;
      modified = true;
    }
  }
  if (!isValued(elementOf(object, 'WorklistLabel'))) {
    put(object, 'WorklistLabel', DEFAULT_WORKLIST);
    modified = true;
  }
  delete object[tagKey(TRANSACTION_UID)];
  return { object, modified, passedOver };
}

const TRANSACTION_UID = tag('TransactionUID');

/** What an update changes. @throws Refusal BadRequest for what the N-SET column does not allow */
export function checkUpdate(given: DicomJson): Checked {
  const { object, passedOver } = known(given);
  checkLevel(object, [], 'set');
  delete object[tagKey(tag('ScheduledProcedureStepModificationDateTime'))];
  return { object, modified: false, passedOver };
}

/** Only what a step has: other modules' attributes and private ones are not kept. */
function known(given: DicomJson): { object: DicomJson; passedOver: boolean } {
  const object: DicomJson = {};
  let passedOver = false;
  for (const [key, element] of Object.entries(given)) {
    const at = Number.parseInt(key, 16);
    if (at === CHARACTER_SET) continue;
    if (TOP.has(at)) object[key] = element;
    else passedOver = true;
  }
  return { object, passedOver };
}

const CHARACTER_SET = tag('SpecificCharacterSet');

const ENUMERATED: ReadonlyMap<number, readonly string[]> = new Map([
  [tag('ScheduledProcedureStepPriority'), ['HIGH', 'MEDIUM', 'LOW']],
  [tag('InputReadinessState'), ['INCOMPLETE', 'UNAVAILABLE', 'READY']],
]);

/** The rows of the table at one level, then every item of every sequence. */
function checkLevel(object: DicomJson, above: readonly number[], operation: 'create' | 'set'): void {
  for (const row of STEP_ATTRIBUTES) {
    if (row.path.length !== above.length + 1 || !above.every((at, index) => row.path[index] === at)) continue;
    const element = object[tagKey(row.path.at(-1) ?? 0)];
    checkPresence(row, element, row[operation], operation === 'create' || above.length > 0);
  }
  for (const [key, element] of Object.entries(object)) {
    const path = [...above, Number.parseInt(key, 16)];
    checkValues(path, element);
    if (element.vr === 'SQ') for (const item of element.Value ?? []) checkLevel(item, path, operation);
  }
}

function checkPresence(row: StepAttribute, element: DicomJsonElement | undefined, code: string, whole: boolean): void {
  if (element === undefined) {
    if (code.startsWith('1/') && whole) throw bad(row.path, 'is missing');
    return;
  }
  if (code === 'no') throw bad(row.path, 'may not be given here');
  if (code === 'state') throw bad(row.path, 'changes by the state resource alone');
  if (code.startsWith('1/') && !isValued(element)) throw bad(row.path, 'has no value');
  if (code === '3/1' && !isValued(element)) throw bad(row.path, 'may not be emptied');
  if (code.endsWith('empty') && isValued(element)) throw bad(row.path, 'has to be empty');
}

/** Most characters of a value of these (PS3.5 table 6.2-1). */
const MOST_CHARACTERS: Readonly<Record<string, number>> = { AE: 16, CS: 16, SH: 16, LO: 64, ST: 1024, LT: 10240 };

function checkValues(path: readonly number[], element: DicomJsonElement): void {
  const at = path.at(-1) ?? 0;
  const expected = vrOf(at);
  if (!isPrivate(at) && expected !== undefined && element.vr !== expected)
    throw bad(path, `has the VR ${element.vr}; ${expected} is its VR`);
  if ('BulkDataURI' in element || 'InlineBinary' in element) throw bad(path, 'has its value elsewhere or in binary');
  const allowed = path.length === 1 ? ENUMERATED.get(at) : undefined;
  for (const value of valuesOf(element)) {
    if (typeof value !== 'string') continue;
    if (element.vr === 'UI' && value !== '' && !isUid(value)) throw bad(path, 'is no UID');
    if (element.vr === 'DT' && value !== '' && dateTimeBounds(value) === undefined) throw bad(path, 'is no date-time');
    if (element.vr === 'CS' && !/^[A-Z0-9 _]*$/.test(value)) throw bad(path, 'is no code string');
    if ([...value].length > (MOST_CHARACTERS[element.vr] ?? Infinity)) throw bad(path, 'is too long');
    if (allowed !== undefined && !allowed.includes(value)) throw bad(path, `has to be one of ${allowed.join(', ')}`);
  }
}

function bad(path: readonly number[], what: string): Refusal {
  return new Refusal('BadRequest', `${nameOf(path)} ${what} (PS3.4 table CC.2.5-3)`);
}

function nameOf(path: readonly number[]): string {
  return path.map((at) => keywordOf(at) || tagKey(at)).join('.');
}

function isValued(element: DicomJsonElement | undefined): boolean {
  return valuesOf(element).some((value) => value !== null && value !== '');
}

/** The first attribute, by its keywords, without which the step may not end in this state (PS3.4 CC.2.5.1.1). */
export function missingForFinalState(object: DicomJson, state: FinalState): string | undefined {
  for (const { path, final } of STEP_ATTRIBUTES) {
    const needed = final === 'R' || (final === 'P' && state === 'COMPLETED') || (final === 'X' && state === 'CANCELED');
    if (!needed) continue;
    let holders = [object];
    for (const at of path.slice(0, -1)) {
      holders = holders.flatMap((holder) => {
        const element = holder[tagKey(at)];
        return element?.vr === 'SQ' ? (element.Value ?? []) : [];
      });
    }
    const last = path.at(-1) ?? 0;
    const met = holders.every((holder) => {
      const element = holder[tagKey(last)];
      // A step without output says so by a sequence without items.
      return last === OUTPUT_INFORMATION ? element?.vr === 'SQ' : isValued(element);
    });
    if (!met) return nameOf(path);
  }
  return undefined;
}

const OUTPUT_INFORMATION = tag('OutputInformationSequence');

/** What a search gives back besides what it was asked for: with type 2 even when empty. */
export function returnedAttributes(): { readonly at: number; readonly evenEmpty: boolean }[] {
  return [...TOP.values()]
    .filter(({ returned }) => returned !== '-' && returned !== '3')
    .map(({ path, returned }) => ({ at: path[0] ?? 0, evenEmpty: returned === '2' }));
}

const CODE = ['CodeValue', 'CodingSchemeDesignator', 'CodeMeaning'];
const ISSUER = ['LocalNamespaceEntityID', 'UniversalEntityID', 'UniversalEntityIDType'];
const INFORMATION = [
  'TypeOfInstances',
  'StudyInstanceUID',
  'SeriesInstanceUID',
  'ReferencedSOPSequence.ReferencedSOPClassUID',
  'ReferencedSOPSequence.ReferencedSOPInstanceUID',
];
const REFERENCE = ['ReferencedSOPClassUID', 'ReferencedSOPInstanceUID'];

/** Tag paths that can be matched; sequences by what their macros hold. */
export const STEP_KEYS: readonly (readonly number[])[] = STEP_ATTRIBUTES.filter(({ match }) => match !== '-').flatMap(
  ({ path }) => {
    const last = path.at(-1) ?? 0;
    if (vrOf(last) !== 'SQ') return [path];
    const below = STEP_ATTRIBUTES.some((row) => row.path.length > path.length && startsWith(row.path, path))
      ? []
      : keysBelow(keywordOf(last));
    return below.map((keywords) => [...path, ...keywords.split('.').map(tag)]);
  },
);

function startsWith(path: readonly number[], above: readonly number[]): boolean {
  return above.every((at, index) => path[index] === at);
}

function keysBelow(keyword: string): readonly string[] {
  if (keyword === 'InputInformationSequence') return INFORMATION;
  if (keyword === 'ReplacedProcedureStepSequence') return REFERENCE;
  if (/(Issuer|Identifier).*Sequence$/.test(keyword)) return ISSUER;
  return /Code(Sequence)$/.test(keyword) ? CODE : [];
}
