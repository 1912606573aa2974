/** What all searches do alike (PS3.18 8.3.4): what the parameters ask for, and how an answer begins. */
import { vrOf } from '../dicom/dictionary.ts';
import type { Match } from '../matching/conditions.ts';
import { warn, type Exchange } from './exchange.ts';
import type { MatchKey, SearchRequest } from './search-request.ts';

/** Most results of one answer (PS3.18 10.6.5); the Warning tells how many are left. */
export const MAX_RESULTS = 5000;

interface Matching {
  readonly matches: Match[];
  readonly fuzzyMatching: boolean;
  readonly emptyValueMatching: boolean;
  readonly multipleValueMatching: boolean;
  readonly limit: number;
  readonly offset: number;
}

export function matchingOf({ matches, options, limit, offset }: SearchRequest): Matching {
  return {
    matches: matchesOf(matches),
    fuzzyMatching: options.has('fuzzymatching'),
    emptyValueMatching: options.has('emptyvaluematching'),
    multipleValueMatching: options.has('multiplevaluematching'),
    limit: Math.min(limit ?? MAX_RESULTS, MAX_RESULTS),
    offset,
  };
}

export function matchesOf(keys: readonly MatchKey[]): Match[] {
  return keys.map((match) => ({ ...match, vr: vrOf(match.path.at(-1) ?? 0) ?? 'UN' }));
}

/** Headers of an answer with so many results; true when it ends here, since there are none and 204 says so. */
export function beginResults(exchange: Exchange, results: number, remaining: number): boolean {
  const { gateway, response } = exchange;
  if (remaining > 0) warn(exchange, `There are ${remaining} additional results that can be requested`);
  response.setHeader('Cache-Control', 'no-cache');
  if (results > 0 || gateway.config.http.emptySearch !== 204) return false;
  response.statusCode = 204;
  response.end();
  return true;
}
