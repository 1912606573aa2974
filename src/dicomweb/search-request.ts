/**
 * The query of a search (PS3.18 8.3.4): what is a parameter, what is a match key, which attributes to return. Whatever cannot be
 * understood is 400 and named by its key, never by its value: a filter passed over would return every patient.
 */
import { formatTag } from '../dicom/data-set.ts';
import { isPrivate, isPrivateCreator, privateCreatorTag, tagOf, vrOf } from '../dicom/dictionary.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { QueryPair } from './exchange.ts';

export interface SearchRequest {
  readonly matches: readonly MatchKey[];
  /** Tag paths of attributes asked for beside those always returned. */
  readonly include: readonly (readonly number[])[] | 'all';
  /** Creators of the private attributes in `include`. */
  readonly creators: ReadonlyMap<number, string>;
  readonly limit: number | undefined;
  readonly offset: number;
  /** Boolean parameters that were asked for, in the order of the query. */
  readonly options: ReadonlySet<BooleanParameter>;
}

export interface MatchKey {
  /** Sequences from the outside, the attribute last. */
  readonly path: readonly number[];
  readonly value: string;
  /** Of a private attribute: the value of its Private Creator, which the query has to give (PS3.18 8.3.4.1). */
  readonly creator?: string;
}

export const BOOLEAN_PARAMETERS = ['fuzzymatching', 'emptyvaluematching', 'multiplevaluematching'] as const;
export type BooleanParameter = (typeof BOOLEAN_PARAMETERS)[number];

/** Parameters of every request (PS3.18 8.3.3); they match nothing. */
const GENERAL = new Set(['accept', 'charset']);
const MAX_KEYS = 1000;
const MOST_RESULTS = 2 ** 40;

/** @throws Refusal BadRequest naming the key */
export function readSearchRequest(query: readonly QueryPair[]): SearchRequest {
  if (query.length > MAX_KEYS) throw new Refusal('BadRequest', `the query has more than ${MAX_KEYS} keys`);
  const seen = new Set<string>();
  const matches: MatchKey[] = [];
  const options = new Set<BooleanParameter>();
  const include: string[] = [];
  let limit: number | undefined;
  let offset = 0;
  const once = (identity: string, key: string): void => {
    if (seen.has(identity)) throw new Refusal('BadRequest', `${key} is given more than once (PS3.18 8.3.4.1)`);
    seen.add(identity);
  };
  for (const [name, value] of query) {
    if (GENERAL.has(name)) continue;
    if (name === 'includefield') {
      include.push(...value.split(','));
    } else if (name === 'limit') {
      once(name, name);
      limit = wholeNumber(name, value);
    } else if (name === 'offset') {
      once(name, name);
      offset = wholeNumber(name, value);
    } else if (isBooleanParameter(name)) {
      once(name, name);
      if (booleanValue(name, value)) options.add(name);
    } else {
      const path = pathOf(name);
      if (path === undefined || vrOf(path.at(-1) ?? 0) === 'SQ')
        throw new Refusal('BadRequest', `${printable(name)} is no attribute to search by (PS3.18 8.3.1)`);
      once(path.join('.'), printable(name));
      if (value.includes('\0')) throw new Refusal('BadRequest', `${printable(name)} holds a NULL (PS3.18 8.3.1)`);
      matches.push({ path, value });
    }
  }
  const wanted = includeOf(include);
  const creators = new Map<number, string>();
  for (const [tag = 0, ...below] of wanted === 'all' ? [] : wanted)
    if (isPrivate(tag)) creators.set(tag, creatorOf([tag, ...below], matches));
  return { matches: withCreators(matches), include: wanted, creators, limit, offset, options };
}

/** A private attribute means nothing without its creator; a creator that is there for one is no key of its own. */
function withCreators(matches: readonly MatchKey[]): MatchKey[] {
  const used = new Set<number>();
  const found = matches.map((match): MatchKey => {
    if (!match.path.some(isPrivate)) return match;
    const creator = creatorOf(match.path, matches);
    const creatorTag = privateCreatorTag(match.path[0] ?? 0);
    if (creatorTag !== undefined) used.add(creatorTag);
    return { ...match, creator };
  });
  return found.filter(({ path }) => path.length !== 1 || !used.has(path[0] ?? 0));
}

function creatorOf(path: readonly number[], matches: readonly MatchKey[]): string {
  const [tag = 0] = path;
  const creatorTag = isPrivateCreator(tag) ? tag : privateCreatorTag(tag);
  const creator = matches.find((match) => match.path.length === 1 && match.path[0] === creatorTag)?.value.trim();
  if (path.length > 1 || creatorTag === undefined || creator === undefined || creator === '' || /[*?]/.test(creator))
    throw new Refusal('BadRequest', `${formatTag(tag)} is private and needs its creator as a key (PS3.18 8.3.4.1)`);
  return creator;
}

function isBooleanParameter(name: string): name is BooleanParameter {
  return (BOOLEAN_PARAMETERS as readonly string[]).includes(name);
}

/** A keyword or eight hex digits, or several joined by dots, all but the last being sequences; else undefined. */
function pathOf(name: string): number[] | undefined {
  const path: number[] = [];
  for (const step of name.split('.')) {
    const tag = /^[0-9A-Za-z]{1,64}$/.test(step) ? tagOf(step) : undefined;
    if (tag === undefined) return undefined;
    path.push(tag);
  }
  return path.slice(0, -1).every(isSequence) ? path : undefined;
}

/** Of a private attribute nobody can tell. */
function isSequence(tag = 0): boolean {
  return vrOf(tag) === 'SQ' || isPrivate(tag);
}

/** A key as a message may show it. Anything else than a name's letters could be a value in the wrong place. */
function printable(name: string): string {
  return /^[0-9A-Za-z.]{1,128}$/.test(name) && (name.includes('.') || /^([0-9A-Fa-f]{8}|[A-Za-z]+)$/.test(name))
    ? name
    : 'a key of the query';
}

function wholeNumber(name: string, value: string): number {
  if (!/^\d+$/.test(value)) throw new Refusal('BadRequest', `${name} has to be a whole number from 0 (PS3.18 8.3.4.4)`);
  // More than any archive holds is as good as all of it.
  return Math.min(Number(value), MOST_RESULTS);
}

function booleanValue(name: string, value: string): boolean {
  if (value !== 'true' && value !== 'false') throw new Refusal('BadRequest', `${name} has to be true or false`);
  return value === 'true';
}

function includeOf(fields: readonly string[]): readonly (readonly number[])[] | 'all' {
  if (fields.includes('all')) {
    if (fields.length > 1) throw new Refusal('BadRequest', 'includefield=all stands alone (PS3.18 8.3.4.3)');
    return 'all';
  }
  return fields.map((field) => {
    const path = pathOf(field);
    if (path === undefined) throw new Refusal('BadRequest', 'includefield names what is no attribute');
    return path;
  });
}
