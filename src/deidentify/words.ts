/** Words of a text and what they are compared by: case, accents, scripts and spellings aside. */

export interface Word {
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Runs of letters and digits of any script. */
export function wordsOf(text: string): Word[] {
  return [...text.matchAll(/[\p{L}\p{M}\p{N}]+/gu)].map((match) => ({
    text: match[0],
    start: match.index,
    end: match.index + match[0].length,
  }));
}

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
