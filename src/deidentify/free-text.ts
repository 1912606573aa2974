/**
 * Clean Descriptors and Clean Structured Content, PS3.15 E.3.4 and E.3.5: from a text everything is taken that names the study's people,
 * places and numbers, in any spelling and script, and what has the form of an identifier; what describes the examination stays.
 */
import type { Identity } from './identity.ts';
import { patternSpans, type Span } from './patterns.ts';
import { isClinicalWord, isHarmlessWord } from './vocabulary.ts';
import { declines, fold, foldKana, isNoName, isUnspaced, skeleton, stemOf, wordsOf, type Word } from './words.ts';

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
  /** Of names that are declined: what stays the same in every case. */
  readonly stems: ReadonlySet<string>;
  /** Names in scripts without blanks, found anywhere. */
  readonly unspaced: readonly string[];
  /** Whole identifiers without their separators, and their telling parts. */
  readonly ids: ReadonlySet<string>;
  readonly idParts: ReadonlySet<string>;
  readonly places: readonly (readonly string[])[];
  readonly placeWords: ReadonlySet<string>;
  /** The short words and numbers of places, which mean nothing alone. */
  readonly placeJoints: ReadonlySet<string>;
}

export function openCleaner(identity: Identity, mode: 'words' | 'scrub'): Cleaner {
  const tokens = tokensOf(identity);
  const people = tokensOf({ ...identity, numbers: new Set(), places: new Set() });
  const scrub = (text: string): string => (text.length > MAX_TEXT ? '' : cut(text, identitySpans(text, people)));
  const clean = (text: string): string => {
    if (text.length > MAX_TEXT) return '';
    const left = cut(text, [...identitySpans(text, tokens), ...patternSpans(text)]);
    const kept = mode === 'scrub' ? left : cut(left, foreignSpans(left));
    return /[\p{L}\p{N}]/u.test(kept) ? kept : '';
  };
  return { scrub: remembering(scrub), clean: remembering(clean) };
}

function remembering(work: (text: string) => string): (text: string) => string {
  const remembered = new Map<string, string>();
  return (text) => {
    if (text.length > MAX_REMEMBERED_TEXT) return work(text);
    const known = remembered.get(text);
    if (known !== undefined) return known;
    const left = work(text);
    if (remembered.size < MAX_REMEMBERED) remembered.set(text, left);
    return left;
  };
}

/** Descriptions, the same in every instance of a series. */
const MAX_REMEMBERED_TEXT = 256;
const MAX_REMEMBERED = 500;

/** Small words that places hold and every text does. */
const JOINTS = new Set(
  'the and for und der die das den dem des von vom zum zur bei les des aux sur sous dans del las los una con por della dei degli'.split(
    ' ',
  ),
);

function tokensOf({ names, ids, numbers, places }: Identity): Tokens {
  const nameParts = new Set<string>();
  const skeletons = new Set<string>();
  const shortNames = new Set<string>();
  const stems = new Set<string>();
  const unspaced = new Set<string>();
  for (const name of names) {
    for (const group of name.split('=')) if (isUnspaced(group)) addUnspaced(group, unspaced);
    for (const { text } of wordsOf(name)) addName(text, { nameParts, skeletons, shortNames, stems });
  }
  const wholeIds = new Set<string>();
  const idParts = new Set<string>();
  for (const id of [...ids, ...numbers]) addId(id, wholeIds, idParts);
  const lists: string[][] = [];
  const placeWords = new Set<string>();
  const placeJoints = new Set<string>();
  for (const place of places) {
    if (isUnspaced(place)) addUnspaced(place, unspaced);
    const words = wordsOf(place).map(({ text }) => fold(text));
    lists.push(words);
    for (const word of words)
      (word.length >= 3 && !/^\d{1,3}$/.test(word) && !JOINTS.has(word) ? placeWords : placeJoints).add(word);
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
    placeJoints,
    stems,
  };
}

function addName(
  text: string,
  to: {
    readonly nameParts: Set<string>;
    readonly skeletons: Set<string>;
    readonly shortNames: Set<string>;
    readonly stems: Set<string>;
  },
): void {
  const part = fold(text);
  const stem = stemOf(text);
  if (stem !== undefined) to.stems.add(stem);
  if (isUnspaced(text) || isNoName(part)) return;
  if (part.length === 2) to.shortNames.add(text.toUpperCase());
  if (part.length < 3) return;
  to.nameParts.add(part);
  if (part.length >= 4) to.skeletons.add(skeleton(part));
}

function addUnspaced(group: string, to: Set<string>): void {
  const parts = group
    .normalize('NFKC')
    .split(/[\s^=・]+/u)
    .filter((part) => isUnspaced(part))
    .map((part) => foldKana(part).text);
  const whole = [parts.join(''), parts.join(' '), parts.join('\u3000'), parts.join('・')];
  for (const part of [...parts, ...whole]) if (part.length >= 2) to.add(part);
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
  markSplitNames(text, words, folded, tokens, named);
  const gone = named.map((is, index) => is || isPartOfName(words, named, index, tokens));
  // Who has the same family name and is nobody's of the header: "Declan O'Sullivan".
  for (let index = gone.length - 2; index >= 0; index--) {
    const [word, next] = [words[index], words[index + 1]];
    if (word === undefined || next === undefined || gone[index + 1] !== true || gone[index] === true) continue;
    const isBeside = text.slice(word.end, next.start) === ' ' && !/[.:!?\n]\s*$/.test(text.slice(0, word.start));
    const isFamily = named[index + 1] === true && /^\p{Lu}/u.test(next.text);
    if (isBeside && /^\p{Lu}\p{Ll}{2,}$/u.test(word.text) && !isKnownWord(folded[index] ?? ''))
      gone[index] = isFamily || /^\p{Lu}$/u.test(next.text);
  }
  gone.forEach((is, index) => {
    const word = words[index];
    if (is && word !== undefined) spans.push(withItsDot(text, word));
  });
  spans.push(...idSpans(text, words, folded, tokens), ...placeSpans(text, words, folded, tokens));
  if (tokens.unspaced.length > 0 && isUnspaced(text)) spans.push(...unspacedSpans(text, tokens.unspaced));
  return spans;
}

/** One name in several words: Xiaodong as Xiao Dong, Annemarie as Anne-Marie. */
function markSplitNames(
  text: string,
  words: readonly Word[],
  folded: readonly string[],
  tokens: Tokens,
  named: boolean[],
): void {
  for (const [from, word] of words.entries()) {
    let joined = folded[from] ?? '';
    for (let to = from + 1; to < Math.min(words.length, from + 3); to++) {
      const next = words[to];
      if (next === undefined || !/^[ \u3000-]$/.test(text.slice(words[to - 1]?.end, next.start))) break;
      joined += folded[to] ?? '';
      if (joined.length >= 5 && word.text.length > 1 && next.text.length > 1 && tokens.names.has(joined))
        named.fill(true, from, to + 1);
    }
  }
}

function isNameOrId(word: string, written: string, tokens: Tokens): boolean {
  if (tokens.names.has(word) || tokens.idParts.has(word) || tokens.ids.has(word)) return true;
  if (tokens.stems.size > 0 && declines(written, tokens.stems)) return true;
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
    const joins = (at: number): boolean => !/[;:\n]/.test(text.slice(words[at - 1]?.end, words[at]?.start));
    let to = from;
    for (let next = from + 1; next < words.length && joins(next) && next <= to + 4; next++) {
      const word = folded[next] ?? '';
      if (tokens.placeWords.has(word)) to = next;
      else if (!tokens.placeJoints.has(word)) break;
    }
    const run = folded.slice(from, to + 1);
    const telling = run.some((word) => !isKnownWord(word) && !/^\d{1,4}$/.test(word));
    const whole = run.length > 1 && tokens.places.some((place) => place.join(' ').includes(run.join(' ')));
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

function isKnownWord(word: string): boolean {
  return isClinicalWord(word) || COMMON_PLACES.has(word);
}

const COMMON_PLACES = new Set(
  'hospital saint sankt sainte san santa klinikum spital clinic clinics clinique hopital universite centro universidad universitat university center centre medical imaging radiology department institute health healthcare street road avenue room ward floor unit north south east west main outpatient inpatient emergency praxis klinik krankenhaus'.split(
    ' ',
  ),
);

function unspacedSpans(text: string, needles: readonly string[]): Span[] {
  const spans: Span[] = [];
  const kana = foldKana(text);
  for (const needle of needles) {
    // A name of one character only where it stands alone: as a part of words it is a word's.
    if (needle.length === 1) spans.push(...wordsOf(text).filter((word) => word.text === needle));
    else
      for (let at = kana.text.indexOf(needle); at >= 0; at = kana.text.indexOf(needle, at + needle.length))
        spans.push({ start: kana.from[at] ?? 0, end: kana.from[at + needle.length] ?? text.length });
  }
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
