/**
 * Person names made searchable (PS3.4 C.2.2.2.1.1, C.2.2.2.4): every distinct folded name once, with an index of its pieces, so that
 * wild cards and fuzzy matching look up names and never walk the studies.
 */
import type { Database } from '../database.ts';
import { globOf, foldName, runTogether, soundOf, wordsOf } from '../matching/names.ts';

/** Makes a folded name findable. Must run inside a transaction. */
export function enterName(database: Database, folded: string): void {
  if (folded === '') return;
  const { changes, lastId } = database.run('INSERT OR IGNORE INTO name (folded) VALUES (?)', folded);
  if (changes === 0) return;
  database.run('INSERT INTO name_token (rowid, tokens) VALUES (?, ?)', lastId, tokensOf(folded).join(' '));
}

/** Condition on a column that holds folded names; undefined when any name fits. */
export interface NameCondition {
  readonly sql: string;
  readonly values: readonly string[];
}

/**
 * A value without `=` is matched against each component group; with it, group by group, those left empty matching all. Fuzzy matching
 * adds the names in which every word of the value begins a word or sounds like one, whatever the order and the component.
 */
export function nameCondition(column: string, value: string, fuzzy: boolean): NameCondition {
  const name = foldName(value);
  if (name === '') return { sql: `${column} <> ''`, values: [] };
  const literal = literalCondition(name);
  const words = fuzzy ? fuzzyQuery(name) : undefined;
  const sound = words === undefined ? [] : [words];
  const or = sound.map(() => ' OR name.id IN (SELECT rowid FROM name_token WHERE name_token MATCH ?)').join('');
  return {
    sql: `${column} IN (SELECT name.folded FROM name WHERE (${literal.sql})${or})`,
    values: [...literal.values, ...sound],
  };
}

function literalCondition(name: string): NameCondition {
  const tokens = tokensFor(name);
  const found = 'name.id IN (SELECT rowid FROM name_token WHERE name_token MATCH ?) AND ';
  const prefix = tokens.length === 0 ? '' : found;
  const values = tokens.length === 0 ? [] : [tokens.join(' ')];
  // Of a bare `?` behind GLOB SQLite wants to know the value, and plans the statement anew for each.
  const glob = 'name.folded GLOB (SELECT ?)';
  if (name.includes('=')) {
    const pattern = name
      .split('=')
      .map((group) => (group === '' ? '*' : globOf(group)))
      .join('=');
    return { sql: `${prefix}(${glob} OR ${glob})`, values: [...values, pattern, `${pattern}=*`] };
  }
  const group = globOf(name);
  const sql = [glob, glob, glob, glob].join(' OR ');
  return { sql: `${prefix}(${sql})`, values: [...values, group, `${group}=*`, `*=${group}`, `*=${group}=*`] };
}

const FEW_CHARACTERS = 3;

/** What every name that fits has among its tokens. */
function tokensFor(name: string): string[] {
  if (!name.includes('=')) {
    // A whole component group is one token, and its first words are some; the pieces of three are shared by many names.
    const [beginning = ''] = name.split(/[*?]/, 1);
    const whole = wordsOf(name).join('');
    if (beginning === name && whole !== '') return [wordToken(whole)];
    const words = wordsOf(beginning);
    if (words.join('').length >= FEW_CHARACTERS)
      return words.map((word, at) => (at < words.length - 1 ? wordToken(word) : `${wordToken(word)}*`));
  }
  return [...new Set(literalRuns(name).flatMap(gramsOf))];
}

/** What stands between wild cards and component group delimiters. */
function literalRuns(pattern: string): string[] {
  return pattern.split(/[*?=]+/).filter((run) => run !== '');
}

/** The pieces of three characters, or the whole of what is shorter. */
function gramsOf(run: string): string[] {
  const characters = [...run];
  if (characters.length <= 3) return [gramToken(characters)];
  return characters.slice(2).map((_, at) => gramToken(characters.slice(at, at + 3)));
}

function tokensOf(folded: string): string[] {
  const tokens = new Set<string>();
  for (const group of folded.split('=')) {
    const characters = [...group];
    for (const [at] of characters.entries())
      for (let length = 1; length <= 3 && at + length <= characters.length; length++)
        tokens.add(gramToken(characters.slice(at, at + length)));
    for (const word of [...wordsOf(group), ...runTogether(group)]) {
      tokens.add(wordToken(word));
      const sound = soundOf(word);
      if (sound !== undefined) tokens.add(`s${sound}`);
    }
  }
  return [...tokens];
}

/** Undefined when nothing is left to look for. */
function fuzzyQuery(name: string): string | undefined {
  const words = wordsOf(name);
  if (words.length === 0) return undefined;
  const each = words.map((word) => {
    const sound = soundOf(word);
    return sound === undefined ? `${wordToken(word)}*` : `(${wordToken(word)}* OR s${sound})`;
  });
  return `(${each.join(' AND ')}) OR ${wordToken(words.join(''))}*`;
}

/** Words in hexadecimal, so that no tokenizer has an opinion on them and a prefix is a prefix of characters. */
function hex(text: string): string {
  return [...text].map((character) => (character.codePointAt(0) ?? 0).toString(16).padStart(6, '0')).join('');
}

const gramToken = (characters: readonly string[]): string => `g${hex(characters.join(''))}`;
const wordToken = (word: string): string => `w${hex(word)}`;
