/** Retrieve Metadata (PS3.18 10.4.1.1.2): what the archive keeps ready is sent as it is; JSON for a scope, or XML an instance a part. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  inflateText,
  metadataOf,
  seriesIn,
  seriesText,
  withBase,
  type DeflatedText,
  type SeriesVersion,
} from '../archive/metadata.ts';
import type { DicomJson } from '../dicom/json.ts';
import { fingerprint, isUnchanged } from './conditional.ts';
import { DICOM_JSON, DICOM_XML, negotiate, sendBytes, takesGzip, type Exchange } from './exchange.ts';
import { deflated, gzipPieces } from './gzip-pieces.ts';
import type { OutgoingPart } from './multipart.ts';
import { formatNativeModel } from './native-model.ts';
import { sendPieces, type Sink } from './sink.ts';
import { scopeOf, sendMultipart, versionIn } from './wado.ts';

export async function retrieveMetadata(exchange: Exchange): Promise<void> {
  const { gateway, request, response, baseUrl } = exchange;
  const { offer } = negotiate(exchange, [DICOM_JSON, DICOM_XML]);
  const scope = scopeOf(exchange);
  const zipped = offer === DICOM_JSON && takesGzip(exchange);
  const form = `metadata ${offer.type}${zipped ? ' gzip' : ''}`;
  const tag = fingerprint([versionIn(exchange, scope)], form);
  response.vary('Accept-Encoding');
  if (isUnchanged(exchange, tag)) return;
  if (offer === DICOM_XML) {
    await sendMultipart(exchange, offer.type, tag, xmlParts(metadataOf(gateway.archive, scope), baseUrl));
    return;
  }
  if (scope.sopInstanceUID !== undefined) {
    const objects = [...metadataOf(gateway.archive, scope)].map((text) => withBase(text, baseUrl));
    await sendBytes(exchange, 200, offer.type, Buffer.from(`[${objects.join(',')}]`));
    return;
  }
  const series = seriesIn(gateway.archive, scope);
  response.statusCode = 200;
  response.setHeader('Content-Type', offer.type);
  if (zipped) response.setHeader('Content-Encoding', 'gzip');
  if (request.method === 'HEAD') {
    response.end();
    return;
  }
  const texts = arrayOf(exchange, series, zipped ? 'deflated' : 'text');
  await sendPieces(response, (sink) => inTurns(zipped ? gzipPieces(texts) : inflated(texts, sink)));
}

const OPEN = deflated('[');
const COMMA = deflated(',');
const CLOSE = deflated(']');

function* arrayOf(
  { gateway, baseUrl }: Exchange,
  series: readonly SeriesVersion[],
  wanted: 'text' | 'deflated',
): Generator<DeflatedText> {
  yield OPEN;
  let first = true;
  for (const one of series) {
    let empty = true;
    for (const text of seriesText(gateway.archive, one, baseUrl, wanted)) {
      if (!first && empty) yield COMMA;
      empty = false;
      yield text;
    }
    if (!empty) first = false;
  }
  yield CLOSE;
}

function* inflated(texts: Iterable<DeflatedText>, { give }: Sink): Generator<Buffer> {
  for (const text of texts) yield text.lengthBytes < ENOUGH_BYTES ? inflateText(text) : give(inflateText(text));
}

const ENOUGH_BYTES = 16_384;

/** Small pieces together, but the first object at once; between large ones others get their turn. */
async function* inTurns(pieces: Iterable<Buffer>): AsyncGenerator<Buffer[], void, undefined> {
  let waiting: Buffer[] = [];
  let bytes = 0;
  let isFirst = true;
  for (const piece of pieces) {
    bytes += piece.length;
    waiting.push(piece);
    // The opening bracket waits for the first object.
    if (bytes < ENOUGH_BYTES && (!isFirst || waiting.length < 2)) continue;
    yield together(waiting, piece);
    isFirst = false;
    waiting = [];
    bytes = 0;
    await nextTurn();
  }
  if (waiting.length > 0) yield [Buffer.concat(waiting)];
}

/** What is small in one piece. */
function together(pieces: readonly Buffer[], last: Buffer): Buffer[] {
  if (last.length < ENOUGH_BYTES) return [Buffer.concat(pieces)];
  return pieces.length === 1 ? [last] : [Buffer.concat(pieces.slice(0, -1)), last];
}

function* xmlParts(objects: Iterable<string>, baseUrl: string): Generator<OutgoingPart> {
  for (const text of objects) {
    const object = JSON.parse(withBase(text, baseUrl)) as DicomJson;
    const body = Buffer.from(formatNativeModel(object));
    const uid = (key: string): string => {
      const element = object[key];
      const [value] = element !== undefined && 'Value' in element ? (element.Value ?? []) : [];
      return String(value);
    };
    const location = `${baseUrl}/studies/${uid('0020000D')}/series/${uid('0020000E')}/instances/${uid('00080018')}/metadata`;
    yield { contentType: DICOM_XML.type, contentLocation: location, lengthBytes: body.length, body };
  }
}
