/** Search among work items (PS3.18 11.9), by the rules and with the parser of QIDO-RS; matched by workitems/step-search. */
import { randomBytes } from 'node:crypto';
import { tagKey } from '../dicom/data-set.ts';
import { isPrivate, vrOf } from '../dicom/dictionary.ts';
import { formatDicomJsonObject, type DicomJson, type DicomJsonElement } from '../dicom/json.ts';
import { returnedAttributes } from '../workitems/attributes.ts';
import { searchSteps } from '../workitems/step-search.ts';
import { stepOf } from '../workitems/steps.ts';
import { DICOM_JSON, DICOM_XML, negotiate, sendBytes, type Exchange } from './exchange.ts';
import type { Offer } from './media-type.ts';
import type { OutgoingPart } from './multipart.ts';
import { formatNativeModel } from './native-model.ts';
import { beginResults, matchingOf } from './search-answer.ts';
import { readSearchRequest, type SearchRequest } from './search-request.ts';
import { sendMultipart } from './wado.ts';

const RETURNED = returnedAttributes();

export async function searchWorkitems(exchange: Exchange): Promise<void> {
  const { gateway, query } = exchange;
  const { offer } = negotiate(exchange, [DICOM_JSON, DICOM_XML]);
  const asked = readSearchRequest(query);
  const { rows, remaining } = searchSteps(gateway.database, matchingOf(asked));
  if (beginResults(exchange, rows.length, remaining)) return;
  const found = rows
    .map(stepOf)
    .map(({ uid, object }) => ({ uid, text: formatDicomJsonObject(returned(object, asked)) }));
  await sendDataSets(exchange, offer, found);
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
