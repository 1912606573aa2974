/** Rules of a site over those of the table: by attribute, by path through sequences, under a condition on the object. */
import { asciiValue, numberValue, textValue, type DataSet } from '../dicom/data-set.ts';
import { isPrivate, lookUp, tag, tagOf } from '../dicom/dictionary.ts';
import { compileAttributeExpression, type AttributeExpression } from '../routing/expression.ts';
import type { Rule } from './rule.ts';

/** One entry of a profile's `overrides`, checked against the schema: `tag` or `path`. */
export interface OverrideFile {
  /** Keyword, `(gggg,eeee)`, or `(gggg,xxee)` with `creator` for a private attribute. */
  readonly tag?: string;
  /** Keywords or tags joined by `/`; `*` is any one sequence, `**` any number of them. */
  readonly path?: string;
  readonly creator?: string;
  /** CEL over the keywords of the object's top level. */
  readonly when?: string;
  readonly action: OverrideAction;
  /** Of `action: replace`. */
  readonly value?: string;
  /** VR of a private attribute that is kept. */
  readonly vr?: string;
}

export type OverrideAction = 'K' | 'C' | 'X' | 'Z' | 'D' | 'U' | 'keep' | 'clean' | 'remove' | 'replace';

export interface Override {
  /** Place in the file, from 0. */
  readonly index: number;
  readonly rule: Rule;
  /** Steps before the attribute; undefined: wherever it stands. */
  readonly path: readonly Step[] | undefined;
  readonly when: AttributeExpression | undefined;
}

type Step = number | '*' | '**';
type Fault = (path: readonly (string | number)[], sentence: string) => never;

/** What the engine itself writes and stands by. */
const OWN = new Set(
  (
    'SpecificCharacterSet SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID PatientName PatientID PatientIdentityRemoved ' +
    'DeidentificationMethod DeidentificationMethodCodeSequence LongitudinalTemporalInformationModified'
  )
    .split(' ')
    .map(tag),
);

export function compileOverrides(files: readonly OverrideFile[], fault: Fault): Map<number, Override[]> {
  const overrides = new Map<number, Override[]>();
  for (const [index, file] of files.entries()) {
    const at = (key: string): (string | number)[] => ['overrides', index, key];
    const key = file.tag === undefined ? 'path' : 'tag';
    if ((file.tag === undefined) === (file.path === undefined))
      fault(['overrides', index], `overrides.${index} needs either tag or path`);
    if (file.creator !== undefined) continue;
    const words = (file.tag ?? file.path ?? '').split('/');
    const steps = words.map((word) => stepOf(word, file.path !== undefined, (sentence) => fault(at(key), sentence)));
    const last = steps.pop();
    if (typeof last !== 'number') return fault(at(key), `overrides.${index}.path must end in an attribute`);
    refuseTag(last, (sentence) => fault(at(key), `overrides.${index}.${key} ${sentence}`));
    const override: Override = {
      index,
      rule: ruleOf(file, last, (name, sentence) => fault(at(name), `overrides.${index}.${name} ${sentence}`)),
      path: file.path === undefined ? undefined : steps,
      when: file.when === undefined ? undefined : conditionOf(file.when, (sentence) => fault(at('when'), sentence)),
    };
    overrides.set(last, [...(overrides.get(last) ?? []), override]);
  }
  return overrides;
}

function stepOf(word: string, inPath: boolean, refuse: (sentence: string) => never): Step {
  if (inPath && (word === '*' || word === '**')) return word;
  const attribute = tagOf(word);
  if (attribute === undefined)
    return refuse(`"${word}" is no keyword and no tag; expected one of PS3.6, as SeriesDescription or (0008,103E)`);
  return attribute;
}

function refuseTag(attribute: number, refuse: (sentence: string) => never): void {
  if (OWN.has(attribute)) refuse('names an attribute that de-identification itself writes');
  if (isPrivate(attribute)) refuse('names a private attribute: expected (gggg,xxee) with its creator');
  const group = attribute >>> 16;
  if (group < 8 || group >= 0x7fe0 || (group & 0xff00) === 0x5000 || (group & 0xff00) === 0x6000)
    refuse('names a group that is never kept');
}

function ruleOf(file: OverrideFile, attribute: number, refuse: (key: string, sentence: string) => never): Rule {
  if ((file.action === 'replace') !== (file.value !== undefined))
    return refuse('value', 'goes with action: replace, and with it alone');
  switch (file.action) {
    case 'K':
    case 'keep':
      return { action: 'keep', otherwise: 'X/Z/D' };
    case 'C':
    case 'clean':
      return { action: 'clean', otherwise: 'X/Z/D' };
    case 'X':
    case 'remove':
      return { action: 'remove' };
    case 'Z':
    case 'D':
      return { action: file.action };
    case 'U':
      if (lookUp(attribute)?.vrs[0] !== 'UI') return refuse('action', 'U is for attributes of VR UI');
      return { action: 'U' };
    case 'replace':
      if (!TEXT_VRS.has(lookUp(attribute)?.vrs[0] ?? ''))
        return refuse('action', 'replace is for attributes of VR AE, CS, LO, LT, SH, ST, UC or UT');
      return { action: 'replace', value: file.value ?? '' };
  }
}

const TEXT_VRS: ReadonlySet<string> = new Set(['AE', 'CS', 'LO', 'LT', 'SH', 'ST', 'UC', 'UT']);
const NUMBER_VRS: ReadonlySet<string> = new Set(['DS', 'IS', 'FL', 'FD', 'SL', 'SS', 'UL', 'US']);

function conditionOf(source: string, refuse: (sentence: string) => never): AttributeExpression {
  try {
    return compileAttributeExpression(source, (name) => {
      const vr = lookUp(tagOf(name) ?? 0)?.vrs[0];
      return vr === undefined ? undefined : NUMBER_VRS.has(vr) ? 'double' : 'string';
    });
  } catch (error) {
    return refuse(`when: ${(error instanceof Error ? error.message : 'no expression').split('\n')[0] ?? ''}`);
  }
}

/** The rule of the first override that fits the attribute here; `holds` answers conditions. */
export function findOverride(
  candidates: readonly Override[],
  path: readonly number[],
  holds: (override: Override) => boolean,
): Override | undefined {
  return candidates.find(
    (override) => (override.path === undefined || fits(override.path, path, 0, 0)) && holds(override),
  );
}

function fits(steps: readonly Step[], path: readonly number[], step: number, at: number): boolean {
  const wanted = steps[step];
  if (wanted === undefined) return at === path.length;
  if (wanted === '**') {
    for (let next = at; next <= path.length; next++) if (fits(steps, path, step + 1, next)) return true;
    return false;
  }
  return at < path.length && (wanted === '*' || wanted === path[at]) && fits(steps, path, step + 1, at + 1);
}

/** Whether the condition of an override holds for the object. */
export function conditionHolds(override: Override, dataSet: DataSet): boolean {
  const { when } = override;
  if (when === undefined) return true;
  const values: Record<string, string | number> = {};
  for (const name of when.names) {
    const attribute = tag(name);
    const vr = lookUp(attribute)?.vrs[0] ?? 'LO';
    if (NUMBER_VRS.has(vr)) values[name] = numberValue(dataSet, attribute) ?? NaN;
    else values[name] = (textValue(dataSet, attribute) ?? asciiValue(dataSet, attribute) ?? '').trim();
  }
  return when.test(values);
}
