/**
 * The objects of a JSON array, one after another, cut out of the bytes as they pass by and only then parsed: however many there are, one is
 * in memory. Length, depth and number of parts of each are bounded before the parser sees it.
 */
import { MAX_DEPTH } from '../dicom/reader.ts';
import { Refusal } from '../dicom/refusal.ts';

/** Text of one object: what is longer belongs into bulk data. */
export const MAX_ITEM_BYTES = 32 * 2 ** 20;
/** Braces, brackets and commas of one object: what it costs in memory. */
const MAX_ITEM_TOKENS = 2_000_000;
/** A sequence nests an object for its element, an array and an object for each item. */
const MAX_ITEM_DEPTH = 3 * MAX_DEPTH + 4;

const [QUOTE, BACKSLASH, COMMA, OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT] = [...'"\\,[]{}'].map((character) =>
  character.charCodeAt(0),
);

/** An array of objects, or one object by itself. @throws Refusal CannotUnderstand, TooLarge */
export async function* readJsonItems(source: AsyncIterable<Buffer>): AsyncGenerator<unknown, void, undefined> {
  let state = 'start' as 'start' | 'first' | 'item' | 'after' | 'next' | 'end';
  let alone = false;
  let pieces: Buffer[] = [];
  let lengthBytes = 0;
  let depth = 0;
  let tokens = 0;
  let quoted = false;
  let escaped = false;
  let position = 0;
  const take = (bytes: Buffer): void => {
    pieces.push(bytes);
    lengthBytes += bytes.length;
    if (lengthBytes > MAX_ITEM_BYTES)
      throw new Refusal('TooLarge', `the metadata of an instance is longer than ${MAX_ITEM_BYTES} bytes`);
  };
  for await (const chunk of source) {
    let itemStart = 0;
    for (let at = 0; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      if (state !== 'item') {
        // A byte order mark may stand before the text.
        if (isBlank(byte) || (position + at < 3 && (byte === 0xef || byte === 0xbb || byte === 0xbf))) continue;
        if (byte === OPEN_OBJECT && (state === 'start' || state === 'first' || state === 'next')) {
          alone = state === 'start';
          state = 'item';
          itemStart = at;
          depth = 1;
          tokens = 1;
        } else if (byte === OPEN_ARRAY && state === 'start') state = 'first';
        else if (byte === COMMA && state === 'after') state = 'next';
        else if (byte === CLOSE_ARRAY && (state === 'first' || state === 'after')) state = 'end';
        else throw malformed('it is no array of objects');
        continue;
      }
      if (quoted) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) quoted = false;
        continue;
      }
      if (byte === QUOTE) quoted = true;
      else if (byte === COMMA) tokens++;
      else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
        tokens++;
        if (++depth > MAX_ITEM_DEPTH) throw malformed(`it is nested deeper than ${MAX_ITEM_DEPTH}`);
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) depth--;
      if (tokens > MAX_ITEM_TOKENS) throw new Refusal('TooLarge', 'the metadata of an instance has too many values');
      if (depth > 0) continue;
      take(chunk.subarray(itemStart, at + 1));
      yield parse(Buffer.concat(pieces, lengthBytes));
      pieces = [];
      lengthBytes = 0;
      state = alone ? 'end' : 'after';
    }
    if (state === 'item') take(chunk.subarray(itemStart));
    position += chunk.length;
  }
  if (state !== 'end') throw malformed('it breaks off');
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** The parser's own message would quote what it read. */
function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown;
  } catch {
    throw malformed('it is no JSON in UTF-8');
  }
}

function malformed(what: string): Refusal {
  return new Refusal('CannotUnderstand', `DICOM JSON: ${what} (PS3.18 F.2)`);
}
