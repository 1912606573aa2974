/** Search among work items (PS3.18 11.9), by the rules and with the parser of QIDO-RS; matched by workitems/step-search. */
import { randomBytes } from 'node:crypto';
import { tagKey } from '../dicom/data-set.ts';
import { isPrivate, vrOf } from '../dicom/dictionary.ts';
import { formatDicomJsonObject, type DicomJson, type DicomJsonElement } from '../dicom/json.ts';
import type { Match } from '../matching/conditions.ts';
import { returnedAttributes } from '../workitems/attributes.ts';
import { searchSteps } from '../workitems/step-search.ts';
import { stepOf } from '../workitems/steps.ts';
import { DICOM_JSON, DICOM_XML, negotiate, sendBytes, warn, type Exchange } from './exchange.ts';
import type { Offer } from './media-type.ts';
import type { OutgoingPart } from './multipart.ts';
import { formatNativeModel } from './native-model.ts';
import { MAX_RESULTS } from './qido.ts';
import { readSearchRequest, type MatchKey, type SearchRequest } from './search-request.ts';
import { sendMultipart } from './wado.ts';

const RETURNED = returnedAttributes();

export async function searchWorkitems(exchange: Exchange): Promise<void> {
  const { gateway, response, query } = exchange;
  const { offer } = negotiate(exchange, [DICOM_JSON, DICOM_XML]);
  const asked = readSearchRequest(query);
  const { rows, remaining } = searchSteps(gateway.database, {
    matches: matchesOf(asked.matches),
    fuzzyMatching: asked.options.has('fuzzymatching'),
    emptyValueMatching: asked.options.has('emptyvaluematching'),
    multipleValueMatching: asked.options.has('multiplevaluematching'),
    limit: Math.min(asked.limit ?? MAX_RESULTS, MAX_RESULTS),
    offset: asked.offset,
  });
  if (remaining > 0) warn(exchange, `There are ${remaining} additional results that can be requested`);
  response.setHeader('Cache-Control', 'no-cache');
  if (rows.length === 0 && gateway.config.http.emptySearch === 204) {
    response.statusCode = 204;
    response.end();
    return;
  }
  const found = rows
    .map(stepOf)
    .map(({ uid, object }) => ({ uid, text: formatDicomJsonObject(returned(object, asked)) }));
  await sendDataSets(exchange, offer, found);
}

export function matchesOf(keys: readonly MatchKey[]): Match[] {
  return keys.map((match) => ({ ...match, vr: vrOf(match.path.at(-1) ?? 0) ?? 'UN' }));
}

function returned(object: DicomJson, asked: SearchRequest): DicomJson {
  if (asked.include === 'all') return object;
  const result: DicomJson = {};
  for (const { at, evenEmpty } of RETURNED) {
    const key = tagKey(at);
    const element = object[key] ?? (evenEmpty ? ({ vr: vrOf(at) ?? 'UN' } as DicomJsonElement) : undefined);
    if (element !== undefined) result[key] = element;
  }
  for (const [at = 0] of [...asked.matches.map(({ path }) => path), ...asked.include]) {
    const element = object[tagKey(at)];
    if (element !== undefined && !isPrivate(at)) result[tagKey(at)] = element;
  }
  return result;
}

/** Work items as JSON, or a part of XML for each. */
export async function sendDataSets(
  exchange: Exchange,
  offer: Offer,
  found: readonly { readonly uid: string; readonly text: string }[],
): Promise<void> {
  const { baseUrl } = exchange;
  if (offer !== DICOM_XML) {
    await sendBytes(exchange, 200, DICOM_JSON.type, Buffer.from(`[${found.map(({ text }) => text).join(',')}]`));
    return;
  }
  function* parts(): Generator<OutgoingPart> {
    for (const { uid, text } of found) {
      const body = Buffer.from(formatNativeModel(JSON.parse(text) as DicomJson));
      const contentLocation = `${baseUrl}/workitems/${uid}`;
      yield { contentType: DICOM_XML.type, contentLocation, lengthBytes: body.length, body };
    }
  }
  await sendMultipart(exchange, offer.type, randomBytes(16).toString('hex'), parts());
}
