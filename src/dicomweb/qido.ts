/** QIDO-RS (PS3.18 10.6): the query is read by search-request, matched by archive/search; here are the resources and the answer. */
import { withBase } from '../archive/metadata.ts';
import { search, type Level } from '../archive/search.ts';
import { vrOf } from '../dicom/dictionary.ts';
import { DICOM_JSON, negotiate, sendBytes, uidParameter, warn, type Exchange } from './exchange.ts';
import { readSearchRequest, type BooleanParameter } from './search-request.ts';

/** Most results of one answer (PS3.18 10.6.5); the Warning tells how many are left. */
export const MAX_RESULTS = 5000;

/** Matching beyond the literal that is done; for the others literal matching is, with a Warning (PS3.18 8.3.4.2, .5, .6). */
const SUPPORTED: ReadonlySet<BooleanParameter> = new Set(['fuzzymatching']);

export function searchStudies(exchange: Exchange): Promise<void> {
  return sendResults(exchange, 'study');
}

export function searchSeries(exchange: Exchange): Promise<void> {
  return sendResults(exchange, 'series');
}

export function searchInstances(exchange: Exchange): Promise<void> {
  return sendResults(exchange, 'instance');
}

async function sendResults(exchange: Exchange, level: Level): Promise<void> {
  const { gateway, request, response, baseUrl, query } = exchange;
  const { params } = request;
  negotiate(exchange, [DICOM_JSON]);
  const asked = readSearchRequest(query);
  const { results, remaining } = search(gateway.archive, {
    level,
    scope: {
      studyInstanceUID: params['study'] === undefined ? undefined : uidParameter(exchange, 'study'),
      seriesInstanceUID: params['series'] === undefined ? undefined : uidParameter(exchange, 'series'),
    },
    matches: asked.matches.map(({ path, value }) => ({ path, value, vr: vrOf(path.at(-1) ?? 0) ?? 'UN' })),
    fuzzyMatching: asked.options.has('fuzzymatching'),
    includeFields: asked.include,
    limit: Math.min(asked.limit ?? MAX_RESULTS, MAX_RESULTS),
    offset: asked.offset,
  });
  for (const name of asked.options) {
    if (!SUPPORTED.has(name))
      warn(exchange, `The ${name} parameter is not supported. Only literal matching has been performed.`);
  }
  if (remaining > 0) warn(exchange, `There are ${remaining} additional results that can be requested`);
  response.setHeader('Cache-Control', 'no-cache');
  if (results.length === 0 && gateway.config.http.emptySearch === 204) {
    response.statusCode = 204;
    response.end();
    return;
  }
  const body = Buffer.from(withBase(`[${results.join(',')}]`, baseUrl));
  await sendBytes(exchange, 200, DICOM_JSON.type, body);
}
