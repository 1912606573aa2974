/** Letters of 5 by 7 points, as consoles have drawn them since there are consoles. */

const GLYPHS: Readonly<Record<string, readonly string[]>> = {
  M: ['1...1', '11.11', '1.1.1', '1.1.1', '1...1', '1...1', '1...1'],
  A: ['.111.', '1...1', '1...1', '11111', '1...1', '1...1', '1...1'],
  R: ['1111.', '1...1', '1...1', '1111.', '1.1..', '1..1.', '1...1'],
  I: ['.111.', '..1..', '..1..', '..1..', '..1..', '..1..', '.111.'],
  L: ['1....', '1....', '1....', '1....', '1....', '1....', '11111'],
  N: ['1...1', '11..1', '1.1.1', '1.1.1', '1..11', '1...1', '1...1'],
  D: ['1111.', '1...1', '1...1', '1...1', '1...1', '1...1', '1111.'],
  '5': ['11111', '1....', '1111.', '....1', '....1', '1...1', '.111.'],
  '0': ['.111.', '1...1', '1..11', '1.1.1', '11..1', '1...1', '.111.'],
};

export interface LetterPlace {
  readonly left: number;
  readonly top: number;
  /** Pixels of a point. */
  readonly size: number;
  readonly shade: number;
}

/** Writes over the picture; answers where the letters stand. */
export function writeLetters(
  { values, columns }: { readonly values: Uint8Array; readonly columns: number },
  text: string,
  { left, top, size, shade }: LetterPlace,
): { left: number; top: number; right: number; bottom: number } {
  for (const [index, letter] of [...text].entries()) {
    for (let y = 0; y < 7 * size; y++)
      for (let x = 0; x < 5 * size; x++)
        if (GLYPHS[letter]?.[Math.floor(y / size)]?.[Math.floor(x / size)] === '1')
          values[(top + y) * columns + left + index * 6 * size + x] = shade;
  }
  return { left, top, right: left + (6 * text.length - 1) * size, bottom: top + 7 * size };
}
