/** Words of a text and what they are compared by: case, accents, scripts and spellings aside. */

export interface Word {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Runs of letters and digits of any script; those of scripts without blanks end where another script or a number begins. */
export function wordsOf(text: string): Word[] {
  return [...text.matchAll(isUnspaced(text) ? MIXED : RUNS)].map((match) => ({
    text: match[0],
    start: match.index,
    end: match.index + match[0].length,
  }));
}

const RUNS = /[\p{L}\p{M}\p{N}]+/gu;
const UNSPACED = '\\p{sc=Han}\\p{sc=Hiragana}\\p{sc=Katakana}ー々ｦ-ﾟ';
const MIXED = new RegExp(`[${UNSPACED}]+|(?:(?![${UNSPACED}])[\\p{L}\\p{M}\\p{N}])+`, 'gu');

/** Lower case, without accents, in Latin letters where the script is Greek or Cyrillic. */
export function fold(text: string): string {
  if (/^[a-z0-9]*$/.test(text)) return text;
  const plain = text.normalize('NFKD').toLowerCase().replaceAll(/\p{M}/gu, '');
  if (/^[a-z0-9]*$/.test(plain)) return plain;
  return plain.replaceAll('ου', 'ou').replaceAll(/[^\u0000-\u007f]/gu, (letter) => LETTERS.get(letter) ?? letter);
}

const LETTERS = new Map(
  (
    'ß:ss æ:ae œ:oe ø:o ł:l đ:d ð:d þ:th ı:i ħ:h ŋ:n ' +
    'а:a б:b в:v г:g ґ:g д:d е:e ё:e є:ie ж:zh з:z и:i і:i ї:i й:i к:k л:l м:m н:n о:o п:p р:r с:s т:t у:u ў:u ф:f х:kh ц:ts ч:ch ш:sh ' +
    'щ:shch ъ: ы:y ь: э:e ю:iu я:ia ђ:d ј:j љ:lj њ:nj ћ:c џ:dz ' +
    'α:a β:v γ:g δ:d ε:e ζ:z η:i θ:th ι:i κ:k λ:l μ:m ν:n ξ:x ο:o π:p ρ:r σ:s ς:s τ:t υ:y φ:f χ:ch ψ:ps ω:o'
  )
    .split(' ')
    .map((pair) => pair.split(':') as [string, string]),
);

/** Spellings of one name fall together: Müller, Mueller and Muller, Meyer and Meier, Sophie and Sofie, Schtscherbakow and Shcherbakov. */
export function skeleton(folded: string): string {
  return folded
    .replaceAll('shch', 'sh')
    .replaceAll('schtsch', 'sh')
    .replaceAll('sch', 'sh')
    .replaceAll('tch', 'ch')
    .replaceAll('kh', 'h')
    .replaceAll('ph', 'f')
    .replaceAll('th', 't')
    .replaceAll('ck', 'k')
    .replaceAll('ts', 'c')
    .replaceAll('tz', 'c')
    .replaceAll('z', 'c')
    .replaceAll(/ae/g, 'a')
    .replaceAll(/oe/g, 'o')
    .replaceAll(/ue/g, 'u')
    .replaceAll(/ou/g, 'o')
    .replaceAll(/[yj]/g, 'i')
    .replaceAll('w', 'v')
    .replaceAll(/(?<=.)ev$/g, 'ov')
    .replaceAll(/(.)\1+/g, '$1');
}

/** Scripts that put no blanks between words. */
export function isUnspaced(text: string): boolean {
  return /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}]/u.test(text);
}

/** Hiragana for every kana, of full or half width; `from`: where each character, and the end, was in the text. */
export function foldKana(text: string): { readonly text: string; readonly from: readonly number[] } {
  let folded = '';
  const from: number[] = [];
  for (let at = 0; at < text.length;) {
    const length = /^[ｦ-ﾝ][ﾞﾟ]/u.test(text.slice(at, at + 2)) ? 2 : 1;
    const letter = text.slice(at, at + length);
    const wide = /[ｦ-ﾟ]/u.test(letter) ? letter.normalize('NFKC') : letter;
    for (const one of wide) {
      const code = one.codePointAt(0) ?? 0;
      folded += code >= 0x30a1 && code <= 0x30f6 ? String.fromCodePoint(code - 0x60) : one;
      from.push(at);
    }
    at += length;
  }
  from.push(text.length);
  return { text: folded, from };
}

/** Russian, Ukrainian ... names end otherwise in each case: Жуковская, Жуковской. What all cases share; undefined: no such name. */
export function stemOf(name: string): string | undefined {
  const lower = name.toLowerCase().replaceAll('ё', 'е');
  if (!/^[а-яіїєґўђјљњћџ]{4,}$/u.test(lower)) return undefined;
  const stem = lower.replace(/(?:ая|яя|ой|ый|ий|ия|ья|[аяоьей])$/u, '');
  return stem.length >= 3 ? stem : undefined;
}

const CASES =
  /^(?:|[аеиоуыьюя]|ой|ою|ом|ому|ого|ым|ыми|им|ими|ем|ему|его|ей|ею|ую|юю|ая|яя|ых|их|ии|ию|ией|ия|ьи|ью|ам|ям|ами|ах|ях|ов|ев)$/u;

/** Whether a word is a name in one of its cases. */
export function declines(written: string, stems: ReadonlySet<string>): boolean {
  if (!/[а-я]/iu.test(written)) return false;
  const lower = written.toLowerCase().replaceAll('ё', 'е');
  for (let length = Math.max(3, lower.length - 3); length <= lower.length; length++) {
    if (stems.has(lower.slice(0, length)) && CASES.test(lower.slice(length))) return true;
  }
  return false;
}

/** Titles, particles and placeholders that stand in values of PN and are no name. `word` as `fold` gives it. */
export function isNoName(word: string): boolean {
  return NO_NAMES.has(word);
}

const NO_NAMES = new Set(
  (
    'none unknown anonymous anonymized anonymised removed and the und dr mr mrs ms miss prof professor med md mba mph phd dds msc bsc jr sr ii iii iv ' +
    'esq rn rt frcr von van vom zu zur der den de la le las los del della di da dal do dos das herr frau fraulein mme mlle madame monsieur sra srta'
  ).split(' '),
);
