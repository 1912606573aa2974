/** QIDO-RS (PS3.18 10.6): the query is read by search-request, matched by archive/search; here are the resources and the answer. */
import { randomBytes } from 'node:crypto';
import { withBase } from '../archive/metadata.ts';
import { search, type Level } from '../archive/search.ts';
import type { DicomJson } from '../dicom/json.ts';
import { DICOM_JSON, DICOM_XML, negotiate, sendBytes, uidParameter, type Exchange } from './exchange.ts';
import type { OutgoingPart } from './multipart.ts';
import { formatNativeModel } from './native-model.ts';
import { sendMultipart } from './wado.ts';
import { beginResults, matchingOf } from './search-answer.ts';
import { readSearchRequest } from './search-request.ts';

/** Characters of one answer: more is refused as too broad (413), since pages of it are as good. */
const MOST_CHARACTERS = 64 * 2 ** 20;

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
  const { gateway, request, baseUrl, query } = exchange;
  const { params } = request;
  const { offer } = negotiate(exchange, [DICOM_JSON, DICOM_XML]);
  const asked = readSearchRequest(query);
  const { results, remaining } = search(gateway.archive, {
    level,
    scope: {
      studyInstanceUID: params['study'] === undefined ? undefined : uidParameter(exchange, 'study'),
      seriesInstanceUID: params['series'] === undefined ? undefined : uidParameter(exchange, 'series'),
    },
    ...matchingOf(asked),
    includeFields: asked.include,
    creators: asked.creators,
    mostCharacters: MOST_CHARACTERS,
  });
  if (beginResults(exchange, results.length, remaining)) return;
  if (offer === DICOM_XML) {
    await sendMultipart(exchange, offer.type, randomBytes(16).toString('hex'), xmlParts(results, baseUrl));
    return;
  }
  const body = Buffer.from(withBase(`[${results.join(',')}]`, baseUrl));
  await sendBytes(exchange, 200, DICOM_JSON.type, body);
}

/** A part for each result; what it describes is told by its Retrieve URL. */
function* xmlParts(results: readonly string[], baseUrl: string): Generator<OutgoingPart> {
  for (const text of results) {
    const object = JSON.parse(withBase(text, baseUrl)) as DicomJson;
    const element = object['00081190'];
    const [url] = element !== undefined && 'Value' in element ? (element.Value ?? []) : [];
    const body = Buffer.from(formatNativeModel(object));
    yield { contentType: DICOM_XML.type, contentLocation: String(url), lengthBytes: body.length, body };
  }
}
