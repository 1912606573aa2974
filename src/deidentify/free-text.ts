/**
 * Clean Descriptors and Clean Structured Content, PS3.15 E.3.4 and E.3.5: from a text everything is taken that names the study's people,
 * places and numbers, in any spelling and script, and what has the form of an identifier; what describes the examination stays.
 */
import type { Identity } from './identity.ts';
import { patternSpans, type Span } from './patterns.ts';
import { isClinicalWord, isHarmlessWord } from './vocabulary.ts';
import { fold, isUnspaced, skeleton, wordsOf, type Word } from './words.ts';

export interface Cleaner {
  /** What may stay of a text; empty when nothing with a letter or digit does. */
  clean(text: string): string;
  /** Only the names and identifiers of its people are taken out. */
  scrub(text: string): string;
}

/** Texts longer than this are documents: nothing of them stays. */
const MAX_TEXT = 200_000;

interface Tokens {
  /** Folded parts of names, and their skeletons. */
  readonly names: ReadonlySet<string>;
  readonly skeletons: ReadonlySet<string>;
  /** Two letters, as they are written. */
  readonly shortNames: ReadonlySet<string>;
  /** Names in scripts without blanks, found anywhere. */
  readonly unspaced: readonly string[];
  /** Whole identifiers without their separators, and their telling parts. */
  readonly ids: ReadonlySet<string>;
  readonly idParts: ReadonlySet<string>;
  readonly places: readonly (readonly string[])[];
  readonly placeWords: ReadonlySet<string>;
}

export function openCleaner(identity: Identity, mode: 'words' | 'scrub'): Cleaner {
  const tokens = tokensOf(identity);
  const people = tokensOf({ ...identity, numbers: new Set(), places: new Set() });
  const remembered = new Map<string, string>();
  const scrub = (text: string): string => (text.length > MAX_TEXT ? '' : cut(text, identitySpans(text, people)));
  const clean = (text: string): string => {
    if (text.length > MAX_TEXT) return '';
    const left = cut(text, [...identitySpans(text, tokens), ...patternSpans(text)]);
    const kept = mode === 'scrub' ? left : cut(left, foreignSpans(left));
    return /[\p{L}\p{N}]/u.test(kept) ? kept : '';
  };
  return {
    scrub,
    clean(text) {
      if (text.length > MAX_REMEMBERED_TEXT) return clean(text);
      let cleaned = remembered.get(text);
      if (cleaned === undefined && remembered.size < MAX_REMEMBERED) remembered.set(text, (cleaned = clean(text)));
      return cleaned ?? clean(text);
    },
  };
}

/** Descriptions, the same in every instance of a series. */
const MAX_REMEMBERED_TEXT = 256;
const MAX_REMEMBERED = 500;

/** What a name component may hold and no name is. */
const NO_NAMES = new Set(
  'none unknown anonymous anonymized anonymised removed dr mr mrs ms miss prof med md phd jr sr ii iii iv von van der de la le di da del dos do rn rt bsc msc dds'.split(
    ' ',
  ),
);

function tokensOf({ names, ids, numbers, places }: Identity): Tokens {
  const nameParts = new Set<string>();
  const skeletons = new Set<string>();
  const shortNames = new Set<string>();
  const unspaced = new Set<string>();
  for (const name of names) {
    for (const group of name.split('=')) if (isUnspaced(group)) addUnspaced(group, unspaced);
    for (const { text } of wordsOf(name)) addName(text, { nameParts, skeletons, shortNames });
  }
  const wholeIds = new Set<string>();
  const idParts = new Set<string>();
  for (const id of [...ids, ...numbers]) addId(id, wholeIds, idParts);
  const lists: string[][] = [];
  const placeWords = new Set<string>();
  for (const place of places) {
    if (isUnspaced(place)) addUnspaced(place, unspaced);
    const words = wordsOf(place).map(({ text }) => fold(text));
    lists.push(words);
    for (const word of words) if (word.length >= 3 && !/^\d{1,3}$/.test(word)) placeWords.add(word);
  }
  return {
    names: nameParts,
    skeletons,
    shortNames,
    unspaced: [...unspaced],
    ids: wholeIds,
    idParts,
    places: lists,
    placeWords,
  };
}

function addName(
  text: string,
  to: { readonly nameParts: Set<string>; readonly skeletons: Set<string>; readonly shortNames: Set<string> },
): void {
  const part = fold(text);
  if (isUnspaced(text) || NO_NAMES.has(part)) return;
  if (part.length === 2) to.shortNames.add(text.toUpperCase());
  if (part.length < 3) return;
  to.nameParts.add(part);
  if (part.length >= 4) to.skeletons.add(skeleton(part));
}

function addUnspaced(group: string, to: Set<string>): void {
  const parts = group
    .normalize('NFKC')
    .split(/[\s^=・]+/u)
    .filter((part) => isUnspaced(part));
  for (const part of [...parts, parts.join('')]) if (part.length >= 2) to.add(part);
  for (const part of parts) if (part.length === 1) to.add(part);
}

function addId(id: string, whole: Set<string>, parts: Set<string>): void {
  const words = wordsOf(id).map(({ text }) => fold(text));
  const joined = words.join('');
  if (joined.length >= 4 || (joined.length === 3 && /\d/.test(joined) && /[a-z]/.test(joined))) whole.add(joined);
  const bare = joined.replace(/^0+/, '');
  if (bare.length >= 4) whole.add(bare);
  for (const word of words) {
    const telling = /^\d+$/.test(word) ? word.length >= 4 : word.length >= 3 && !isClinicalWord(word);
    if (telling) parts.add(word);
  }
}

function identitySpans(text: string, tokens: Tokens): Span[] {
  const spans: Span[] = [];
  const words = wordsOf(text);
  const folded = words.map((word) => fold(word.text));
  const named = folded.map((word, index) => isNameOrId(word, words[index]?.text ?? '', tokens));
  const gone = named.map((is, index) => is || isPartOfName(words, named, index, tokens));
  gone.forEach((is, index) => {
    const word = words[index];
    if (is && word !== undefined) spans.push(withItsDot(text, word));
  });
  spans.push(...idSpans(text, words, folded, tokens), ...placeSpans(text, words, folded, tokens));
  for (const name of tokens.unspaced) spans.push(...spansOf(text, name));
  return spans;
}

function isNameOrId(word: string, written: string, tokens: Tokens): boolean {
  if (tokens.names.has(word) || tokens.idParts.has(word) || tokens.ids.has(word)) return true;
  if (isClinicalWord(word)) return false;
  if (word.length >= 4 && tokens.skeletons.has(skeleton(word))) return true;
  if (word.length < 4) return false;
  for (const name of tokens.names) {
    // MeierHans, scan2Meier: a short name only at an end that case or a digit marks. A name that is a word of the trade (Stone, Rose)
    // stands in others (gallstones, Arthrose): there only beside an initial or two, as in the names of accounts.
    if (name.length >= 4 && word.includes(name) && (word.length <= name.length + 3 || !isClinicalWord(name)))
      return true;
    if (isAffix(written, name)) return true;
  }
  for (const id of tokens.ids) if (id.length >= 4 && word.includes(id)) return true;
  for (const id of tokens.idParts) if (id.length >= 5 && word.includes(id)) return true;
  return false;
}

function isAffix(written: string, name: string): boolean {
  return written.split(/(?<=\p{Ll})(?=\p{Lu})|(?<=\p{L})(?=\d)|(?<=\d)(?=\p{L})/u).some((part) => fold(part) === name);
}

/** Initials and names of two letters beside a name: "Meier H.", "Wei Li". */
function isPartOfName(words: readonly Word[], named: readonly boolean[], index: number, tokens: Tokens): boolean {
  const word = words[index];
  if (word === undefined || (named[index - 1] !== true && named[index + 1] !== true)) return false;
  if (/^\p{Lu}$/u.test(word.text)) return true;
  return word.text.length === 2 && tokens.shortNames.has(word.text.toUpperCase());
}

/** The genitive of a name goes with it, and the dot of an initial. */
function withItsDot(text: string, { start, end }: Word): Span {
  if (/^['’]s(?!\p{L})/u.test(text.slice(end, end + 3))) return { start, end: end + 2 };
  return { start, end: end - start === 1 && text[end] === '.' ? end + 1 : end };
}

/** An identifier written with other separators, or with a blank in it. */
function idSpans(text: string, words: readonly Word[], folded: readonly string[], tokens: Tokens): Span[] {
  const spans: Span[] = [];
  for (const [from, word] of words.entries()) {
    let joined = folded[from] ?? '';
    for (let to = from + 1; to < Math.min(words.length, from + 7); to++) {
      const next = words[to];
      if (
        next === undefined ||
        next.start - (words[to - 1]?.end ?? 0) > 2 ||
        text.slice(words[to - 1]?.end, next.start).includes('\n')
      )
        break;
      joined += folded[to] ?? '';
      if (tokens.ids.has(joined)) spans.push({ start: word.start, end: next.end });
    }
  }
  return spans;
}

/** Words of a place: those that mean nothing else, and the common ones beside them. */
function placeSpans(text: string, words: readonly Word[], folded: readonly string[], tokens: Tokens): Span[] {
  const spans: Span[] = [];
  for (let from = 0; from < words.length; from++) {
    if (!tokens.placeWords.has(folded[from] ?? '')) continue;
    let to = from;
    while (
      tokens.placeWords.has(folded[to + 1] ?? '') &&
      !/[;:\n]/.test(text.slice(words[to]?.end, words[to + 1]?.start))
    )
      to++;
    const run = folded.slice(from, to + 1);
    const telling = run.some((word) => !isClinicalWord(word) && !COMMON_PLACES.has(word));
    const whole = tokens.places.some((place) => place.length > 0 && place.join(' ') === run.join(' '));
    if (telling || whole) {
      // Its short words beside it, which mean nothing alone: "St.", the number of the house.
      const isShort = (at: number): boolean => {
        const word = folded[at] ?? '';
        return (
          word !== '' &&
          word.length <= 3 &&
          tokens.places.some((place) => place.includes(word) && place.includes(run[0] ?? ''))
        );
      };
      const first = isShort(from - 1) ? from - 1 : from;
      const last = isShort(to + 1) ? to + 1 : to;
      spans.push({ start: words[first]?.start ?? 0, end: words[last]?.end ?? 0 });
    }
    from = to;
  }
  return spans;
}

const COMMON_PLACES = new Set(
  'hospital clinic clinics university center centre medical imaging radiology department institute health healthcare street road avenue room ward floor unit north south east west main outpatient inpatient emergency praxis klinik krankenhaus'.split(
    ' ',
  ),
);

function spansOf(text: string, needle: string): Span[] {
  const spans: Span[] = [];
  // A name of one character only where it stands alone: as a part of words it is a word's.
  if (needle.length === 1) {
    return wordsOf(text).filter((word) => word.text === needle);
  }
  for (let at = text.indexOf(needle); at >= 0; at = text.indexOf(needle, at + needle.length))
    spans.push({ start: at, end: at + needle.length });
  return spans;
}

/** Words that no clinical vocabulary knows. */
function foreignSpans(text: string): Span[] {
  return wordsOf(text).filter((word) => !isHarmlessWord(fold(word.text)));
}

/** The text without the spans, blanks and separators that would be left alone taken up. */
function cut(text: string, spans: readonly Span[]): string {
  if (spans.length === 0) return text;
  let left = '';
  let at = 0;
  for (const { start, end } of [...spans].sort((a, b) => a.start - b.start)) {
    if (start > at) left += text.slice(at, start);
    at = Math.max(at, end);
  }
  left += text.slice(at);
  return left
    .replaceAll(/\(\s*\)|\[\s*\]|"\s*"/g, '')
    .replaceAll(/[ \t]{2,}/g, ' ')
    .replaceAll(/([,;:^_/|-])(?:[ \t]*\1){1,20}/g, '$1')
    .replaceAll(/[ \t]+(?=[\r\n])/g, '')
    .replaceAll(/^[ \t,;:^_/|-]+|[ \t,;:^_/|-]+$/g, '')
    .trim();
}
