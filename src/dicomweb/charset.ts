/** Character sets of answers (PS3.18 8.8): text goes out as UTF-8, and nothing else can be had. */
import { Refusal } from '../dicom/refusal.ts';
import type { QueryPair } from './exchange.ts';

/** What Capabilities and the conformance statement say. */
export const CHARACTER_SETS: readonly string[] = ['utf-8'];

/** Its names: IANA's, and DICOM's defined term (PS3.18 annex D). */
const NAMES: ReadonlySet<string> = new Set([...CHARACTER_SETS, 'iso_ir 192']);

/**
 * Values that are not supported are passed over, beside one that is (PS3.18 8.8.1).
 * @throws Refusal BadRequest where the parameter names none that is (8.3.3.2)
 */
export function refuseOtherCharacterSets(query: readonly QueryPair[]): void {
  for (const [name, value] of query)
    if (name === 'charset' && !value.split(',').some(isSupported))
      throw new Refusal('BadRequest', 'the query parameter charset names no character set but utf-8 (PS3.18 8.3.3.2)');
}

function isSupported(entry: string): boolean {
  const [name = '', ...parameters] = entry.split(';').map((piece) => piece.trim().toLowerCase());
  return NAMES.has(name.replace(/^"(.*)"$/, '$1')) && !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
}
