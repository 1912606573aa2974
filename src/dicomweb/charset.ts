/** Character sets of answers (PS3.18 8.8): text goes out as UTF-8, and nothing else can be had. */
import { Refusal } from '../dicom/refusal.ts';
import type { QueryPair } from './exchange.ts';

/** What Capabilities and the conformance statement say. */
export const CHARACTER_SETS: readonly string[] = ['utf-8'];

/** A token, or a defined term of PS3.3 C.12.1.1.2, which may hold a blank and be quoted; a wildcard is neither. */
const CHARACTER_SET = /^(?:[\w.:+-]+|"?[A-Z0-9_]+(?: [A-Z0-9_]+)*"?)$/i;

/**
 * Character sets that are not supported are passed over, and what is left without one goes out in UTF-8 (PS3.18 8.3.3.2, 8.8.5).
 * @throws Refusal BadRequest where the parameter is no list of character sets
 */
export function checkCharacterSets(query: readonly QueryPair[]): void {
  for (const [name, value] of query)
    if (name === 'charset' && !value.split(',').every((entry) => CHARACTER_SET.test(nameOf(entry))))
      throw new Refusal('BadRequest', 'the query parameter charset is no list of character sets (PS3.18 8.3.3.2)');
}

/** Without its weight. */
function nameOf(entry: string): string {
  return entry.replace(/;.*$/s, '').trim();
}
