/**
 * A profile file compiled into rules: what happens to which attribute. PS3.15 Annex E, Table E.1-1 (edition in the table's name),
 * with the decisions a profile takes where the table leaves a choice.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { tag as tagOfKeyword } from '../dicom/dictionary.ts';

/** A file of config/profiles, checked against config/schema/profile.schema.json. */
export interface ProfileFile {
  readonly profile: string;
  readonly description?: string;
  readonly edition: 'PS3.15-2024b';
  readonly base: 'basic';
  /** What neither the table nor the standard's image descriptions know. */
  readonly unknown: 'remove';
  readonly dates:
    | { readonly mode: 'shift'; readonly windowDays: readonly [number, number]; readonly times: 'keep' | 'remove' }
    | { readonly mode: 'year-only' }
    | { readonly mode: 'remove' };
  /** `cap-89`: kept up to 89 years, above that 090Y and no birth year. */
  readonly ages: 'remove' | 'cap-89';
  readonly faces: 'quarantine' | 'allow';
  readonly pixels: 'quarantine' | 'allow';
}

/** A cell of the table's Basic Profile column. */
export type BasicAction = 'D' | 'Z' | 'X' | 'U' | 'Z/D' | 'X/Z' | 'X/D' | 'X/Z/D' | 'X/Z/U*';

/** What is done to one attribute. `walk`: keep the sequence, act inside. `code`: one dummy code. The others are the table's letters. */
export type Rule =
  | { readonly action: BasicAction }
  | { readonly action: 'walk' }
  | { readonly action: 'code' }
  | { readonly action: 'date'; readonly otherwise: BasicAction }
  | { readonly action: 'age' }
  | { readonly action: 'birth-date' }
  | { readonly action: 'patient-name' }
  | { readonly action: 'patient-id' }
  | { readonly action: 'word' };

export interface CompiledProfile {
  readonly name: string;
  readonly file: ProfileFile;
  readonly rules: ReadonlyMap<number, Rule>;
  /** SHA-256 over the rules and the choices: what (0012,0063) names. */
  readonly hash: string;
  readonly keepTimes: boolean;
}

interface TableRow {
  readonly tag: string;
  readonly keyword: string;
  readonly vr: string;
  readonly basic: BasicAction;
  readonly retainLongitudinalModifiedDates?: string;
}

const TABLE = readTable();

function readTable(): TableRow[] {
  const file = new URL('../dicom/standard/e1-1-2024b.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { rows: TableRow[] }).rows;
}

/**
 * Changes the rules of every edition when it rises: attributes that the table does not name are handled by code, not by data.
 * Part of the hash, so that a stamp tells two engines apart.
 */
const RULES_VERSION = 1;

export function compileProfile(file: ProfileFile): CompiledProfile {
  const rules = new Map<number, Rule>();
  for (const row of TABLE) {
    // Private, curve and overlay groups are removed whole, whatever the element; see rewrite.ts.
    if (/^[0-9A-F]{8}$/.test(row.tag)) rules.set(Number.parseInt(row.tag, 16), ruleOf(row, file));
  }
  for (const [keyword, rule] of OWN_RULES) rules.set(tagOfKeyword(keyword), rule);
  if (file.ages === 'cap-89') {
    rules.set(tagOfKeyword('PatientAge'), { action: 'age' });
    if (file.dates.mode === 'year-only') rules.set(tagOfKeyword('PatientBirthDate'), { action: 'birth-date' });
  }
  const { profile, description: _description, ...choices } = file;
  const hash = createHash('sha256')
    .update(JSON.stringify([RULES_VERSION, profile, choices, [...rules]]))
    .digest('hex');
  const keepTimes = file.dates.mode === 'shift' && file.dates.times === 'keep';
  return { name: profile, file, rules, hash, keepTimes };
}

function ruleOf(row: TableRow, file: ProfileFile): Rule {
  const { basic, vr } = row;
  if (vr === 'SQ' && basic.endsWith('D')) {
    // A dummy for a sequence is the sequence with everything inside acted upon; where its items are codes, one dummy code.
    if (basic === 'D') return { action: row.keyword.includes('CodeSequence') ? 'code' : 'walk' };
  }
  const isDate = (vr === 'DA' || vr === 'DT' || vr === 'TM') && row.retainLongitudinalModifiedDates === 'C';
  if (isDate && file.dates.mode !== 'remove') return { action: 'date', otherwise: basic };
  return { action: basic };
}

/** Where the table leaves the value open or is silent and something better than nothing can be said. */
const OWN_RULES: readonly (readonly [keyword: string, rule: Rule])[] = [
  // Z allows a dummy: viewers and people tell patients apart by these two.
  ['PatientName', { action: 'patient-name' }],
  ['PatientID', { action: 'patient-id' }],
  // Text that people wrote into reports and onto images, not in the table since options speak of it.
  ['TextValue', { action: 'D' }],
  ['UnformattedTextValue', { action: 'D' }],
  // Words that other attributes of the object refer to: equal stays equal.
  ['StackID', { action: 'word' }],
  ['TrackingID', { action: 'word' }],
  ['OpticalPathIdentifier', { action: 'word' }],
  ['ReferencedOpticalPathIdentifier', { action: 'word' }],
  // Encrypted originals and signatures over what has changed lead back or no longer hold.
  ['EncryptedContent', { action: 'X' }],
  ['Signature', { action: 'X' }],
  ['RecordKey', { action: 'X' }],
  ['PriorRecordKey', { action: 'X' }],
];

/** (gggg,eeee) rows with the keyword and the Basic Profile's letter, for reports and tests. */
export function tableRows(): readonly TableRow[] {
  return TABLE;
}
