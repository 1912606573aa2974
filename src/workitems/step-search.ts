/**
 * Search among steps (PS3.4 CC.2.8, PS3.18 11.9): one row for each comparable value, with the item it stands in, so that the keys of one
 * sequence are matched in the same item (PS3.4 C.2.2.2.6).
 */
import type { Database, Row } from '../database.ts';
import { tagKey } from '../dicom/data-set.ts';
import { vrOf } from '../dicom/dictionary.ts';
import type { DicomJson } from '../dicom/json.ts';
import { Refusal } from '../dicom/refusal.ts';
import {
  all,
  bounded,
  isEmptyValue,
  isUniversal,
  nameOfKey,
  separateValues,
  valueCondition,
  type Condition,
  type Match,
  type ValueOptions,
} from '../matching/conditions.ts';
import { foldName, globOf, runTogether, soundOf, wordsOf } from '../matching/names.ts';
import { comparable, kindOfVr, pathName } from '../matching/values.ts';
import { STEP_KEYS } from './attributes.ts';

const KEYS: ReadonlyMap<string, readonly number[]> = new Map(STEP_KEYS.map((path) => [pathName(path), path]));

/** Rows of one step; what refers to thousands of objects is found by the first of them. */
const MOST_ROWS = 5000;

/**
 * The rows of a step, in place of those it had: of all its attributes, or of these, by their keys. Must run inside a transaction.
 */
export function enterStepKeys(database: Database, step: number, object: DicomJson, only?: ReadonlySet<string>): void {
  if (only === undefined) database.run('DELETE FROM step_key WHERE step = ?', step);
  let left = MOST_ROWS;
  for (const [path, tags] of KEYS) {
    if (only !== undefined) {
      if (!only.has(tagKey(tags[0] ?? 0))) continue;
      database.run('DELETE FROM step_key WHERE step = ? AND path IN (?, ?)', step, path, `${path} ~`);
    }
    for (const { item, value } of valuesIn(object, tags)) {
      if (left-- <= 0) return;
      const top = item === '' ? -1 : Number(item.split('.', 1)[0]);
      const insert = 'INSERT INTO step_key (step, path, top, item, value) VALUES (?, ?, ?, ?, ?)';
      database.run(insert, step, path, top, item, value);
      if (vrOf(tags.at(-1) ?? 0) !== 'PN') continue;
      for (const token of tokensOf(value)) database.run(insert, step, `${path} ~`, top, item, token);
    }
  }
}

interface Found {
  /** Numbers of the items that it stands in, from the outside. */
  readonly item: string;
  readonly value: string;
}

function valuesIn(object: DicomJson, [first = 0, ...below]: readonly number[], item: readonly number[] = []): Found[] {
  const element = object[tagKey(first)];
  if (element === undefined || !('Value' in element) || element.Value === undefined) return [];
  if (below.length > 0)
    return element.vr === 'SQ' ? element.Value.flatMap((one, index) => valuesIn(one, below, [...item, index])) : [];
  const kind = kindOfVr(element.vr);
  if (kind === undefined) return [];
  return element.Value.map((value: unknown) => ({ item: item.join('.'), value: comparable(value, kind) })).filter(
    ({ value }) => value !== '',
  );
}

/** The words of a name and how they sound, each told from the other by its first letter. */
function tokensOf(folded: string): Set<string> {
  const words = folded.split('=').flatMap((group) => [...wordsOf(group), ...runTogether(group)]);
  return new Set(words.flatMap((word) => [`w${word}`, ...(soundOf(word) === undefined ? [] : [`s${soundOf(word)}`])]));
}

export interface StepQuery extends ValueOptions {
  readonly matches: readonly Match[];
  readonly limit: number;
  readonly offset: number;
}

export interface StepSearch {
  readonly rows: Row[];
  /** How many more there are behind the last one. */
  readonly remaining: number;
}

/** By start, then UID. @throws Refusal BadRequest for a key that cannot be matched or a value that is none, naming the key */
export function searchSteps(database: Database, query: StepQuery): StepSearch {
  const condition = stepCondition(query.matches, query);
  const from = `FROM step WHERE ${condition.sql}`;
  const rows = database.all(
    `SELECT * ${from} ORDER BY step.start, step.uid LIMIT ? OFFSET ?`,
    ...condition.values,
    query.limit,
    query.offset,
  );
  if (rows.length < query.limit && (rows.length > 0 || query.offset === 0)) return { rows, remaining: 0 };
  const total = Number(database.get(`SELECT count(*) AS total ${from}`, ...condition.values)?.['total'] ?? 0);
  return { rows, remaining: Math.max(0, total - query.offset - rows.length) };
}

/** Whether one step, whose rows have been entered, is among what is searched for. */
export function matchesStep(database: Database, step: number, matches: readonly Match[]): boolean {
  const { sql, values } = stepCondition(matches, { fuzzyMatching: false });
  return database.get(`SELECT 1 AS one FROM step WHERE step.id = ? AND ${sql}`, step, ...values) !== undefined;
}

/** On the table step. @throws Refusal BadRequest */
export function stepCondition(matches: readonly Match[], options: ValueOptions): Condition {
  const conditions: Condition[] = [];
  const together = new Map<string, Keyed[]>();
  for (const asked of matches) {
    if (!KEYS.has(pathName(asked.path)))
      throw new Refusal('BadRequest', `${nameOfKey(asked)} cannot be matched among work items`);
    const match = bounded(asked);
    if (isUniversal(match.value)) continue;
    if (isEmptyValue(match, options)) {
      const sql = 'step.id NOT IN (SELECT step_key.step FROM step_key WHERE step_key.path = ?)';
      conditions.push({ sql, values: [pathName(match.path)] });
      continue;
    }
    const separate = separateValues(match, options);
    for (const one of separate.length === 0 ? [match] : separate) {
      const kind = kindOfVr(vrOf(one.path.at(-1) ?? 0) ?? 'UN');
      if (kind === undefined) throw new Refusal('BadRequest', `${nameOfKey(one)} cannot be matched among work items`);
      // Several values of one attribute may stand in several items.
      const alone = one.path.length === 1 || separate.length > 0;
      const group = alone ? `${pathName(one.path)} ${one.value}` : tagKey(one.path[0] ?? 0);
      together.set(group, [...(together.get(group) ?? []), { match: one, kind }]);
    }
  }
  for (const keys of together.values()) conditions.push(sameItem(keys, options));
  return conditions.length === 0 ? { sql: '1', values: [] } : all(conditions);
}

interface Keyed {
  readonly match: Match;
  readonly kind: NonNullable<ReturnType<typeof kindOfVr>>;
}

/** One row of step_key for each key, all of the same item of the outermost sequence, and of one item where their sequence is one. */
function sameItem(keys: readonly Keyed[], options: ValueOptions): Condition {
  const tables: string[] = [];
  const parts: Condition[] = [];
  for (const [index, { match, kind }] of keys.entries()) {
    const row = `key${index}`;
    tables.push(`step_key AS ${row}`);
    const inner = valueCondition(kind, `${row}.value`, match, { ...options, nameCondition: nameCondition(row, match) });
    parts.push({ sql: `${row}.path = ?`, values: [pathName(match.path)] });
    if (inner !== undefined) parts.push(inner);
    if (index === 0) continue;
    parts.push({ sql: `${row}.step = key0.step AND ${row}.top = key0.top`, values: [] });
    const above = pathName(match.path.slice(0, -1));
    const sibling = keys.findIndex((other) => pathName(other.match.path.slice(0, -1)) === above);
    if (sibling < index) parts.push({ sql: `${row}.item = key${sibling}.item`, values: [] });
  }
  const { sql, values } = all(parts);
  return { sql: `step.id IN (SELECT key0.step FROM ${tables.join(', ')} WHERE ${sql})`, values };
}

/** As in the archive: literally by component group, fuzzily by words that begin or sound like those asked for. */
function nameCondition(row: string, match: Match) {
  return (column: string, value: string, fuzzy: boolean): Condition => {
    const name = foldName(value);
    if (name === '') return { sql: `${column} <> ''`, values: [] };
    const group = globOf(name);
    const patterns = name.includes('=') ? [group, `${group}=*`] : [group, `${group}=*`, `*=${group}`, `*=${group}=*`];
    const literal = patterns.map(() => `${column} GLOB ?`).join(' OR ');
    const words = fuzzy ? wordsOf(name) : [];
    if (words.length === 0) return { sql: `(${literal})`, values: patterns };
    const each = words.map((word) => {
      const sound = soundOf(word);
      return {
        sql: `EXISTS (SELECT 1 FROM step_key AS sound WHERE sound.step = ${row}.step AND sound.path = ? AND sound.item = ${row}.item
          AND (sound.value GLOB ?${sound === undefined ? '' : ' OR sound.value = ?'}))`,
        values: [`${pathName(match.path)} ~`, `w${globOf(word)}*`, ...(sound === undefined ? [] : [`s${sound}`])],
      };
    });
    const fuzzily = all(each);
    return { sql: `(${literal} OR (${fuzzily.sql}))`, values: [...patterns, ...fuzzily.values] };
  };
}
