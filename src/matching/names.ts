/** Person names as text (PS3.4 C.2.2.2.1.1): how they compare, the words in them and how those sound. */

/** Letters that have no decomposition but that people write without their stroke. */
const LETTERS: Readonly<Record<string, string>> = {
  ß: 'ss',
  ø: 'o',
  ł: 'l',
  đ: 'd',
  ð: 'd',
  þ: 'th',
  æ: 'ae',
  œ: 'oe',
  ı: 'i',
};

/** Names compare without case, accents, width and empty trailing components or groups. */
export function foldName(name: string): string {
  const folded = name
    .normalize('NFKD')
    .replace(/\p{Mn}/gu, '')
    .toLowerCase()
    .replace(/[ßøłđðþæœı]/g, (letter) => LETTERS[letter] ?? letter)
    .split('=')
    .map((group) => withoutTrailing(group, '^ ').trim())
    .join('=');
  return withoutTrailing(folded, '=');
}

function withoutTrailing(text: string, characters: string): string {
  let end = text.length;
  while (end > 0 && characters.includes(text.charAt(end - 1))) end--;
  return text.slice(0, end);
}

/** DICOM's wild cards are those of GLOB, which has brackets besides. */
export function globOf(pattern: string): string {
  return pattern.replaceAll('[', '[[]');
}

export function wordsOf(text: string): string[] {
  return text
    .replace(/['’.]/g, '')
    .split(/[\s^=,*?\-‐-―・]+/u)
    .filter((word) => word !== '');
}

/** A component, and the whole group, written without blanks and hyphens: Van den Berg, 山田太郎. */
export function runTogether(group: string): string[] {
  return [group, ...group.split('^')].map((part) => wordsOf(part).join('')).filter((part) => part !== '');
}

const CYRILLIC: Readonly<Record<string, string>> = Object.fromEntries(
  [...'абвгдежзиклмнопрстуфхцчшщыэюя'].map((letter, at) => [
    letter,
    'a b v g d e j z i k l m n o p r s t u f h ts ch sh sh y e yu ya'.split(' ')[at] ?? '',
  ]),
);
const SOUNDS: Readonly<Record<string, string>> = Object.fromEntries(
  ['bfpvw', 'cgjkqsxz', 'dt', 'l', 'mn', 'r'].flatMap((letters, at) =>
    [...letters].map((letter) => [letter, String(at + 1)]),
  ),
);
const MOST_SOUNDS = 6;

/**
 * How a word of Latin or Cyrillic letters sounds: the classes of its consonants as Soundex has them, the first letter among them;
 * undefined for what is too short to tell, or of another script.
 */
export function soundOf(word: string): string | undefined {
  const latin = [...word].map((letter) => CYRILLIC[letter] ?? letter).join('');
  if (!/^[a-zьъ]{3,}$/.test(latin)) return undefined;
  const plain = latin
    .replace(/[ьъ]/g, '')
    .replace(/ph/g, 'f')
    .replace(/tz|ts/g, 'z')
    .replace(/^(k|g|p)n/, 'n');
  let code = /^[aeiouy]/.test(plain) ? '0' : '';
  let last = '';
  for (const letter of plain) {
    const sound = SOUNDS[letter] ?? '';
    if (sound !== '' && sound !== last) code += sound;
    // H and W between two consonants do not part them, vowels do.
    if (letter !== 'h') last = sound;
  }
  return code.length < 2 ? undefined : code.slice(0, MOST_SOUNDS);
}
