/** What comes with a request of the worklist service (PS3.18 11): one data set in DICOM JSON or in XML, and UIDs in the query. */
import { Readable } from 'node:stream';
import type { DicomJson } from '../dicom/json.ts';
import { toDicomJson } from '../dicom/json.ts';
import { fromDicomJson } from '../dicom/json-reader.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid } from '../dicom/uid.ts';
import type { Exchange } from './exchange.ts';
import { parseMediaType, type MediaType } from './media-type.ts';
import { readMultipart } from './multipart.ts';
import { parseNativeModel } from './native-model-reader.ts';
import { bodyOf } from './request-body.ts';

const MOST_BYTES = 4 * 2 ** 20;
const JSON_TYPES = new Set(['application/dicom+json', 'application/json']);
const XML_TYPE = 'application/dicom+xml';
/** PS3.18 table 11.1.3-1. */
export const WORKITEM_TYPES = ['application/dicom+json', `multipart/related; type="${XML_TYPE}"`, XML_TYPE];

/** Undefined for an empty body. @throws Refusal UnsupportedMediaType, TooLarge, BadRequest */
export async function readDataSet(exchange: Exchange): Promise<DicomJson | undefined> {
  const { request } = exchange;
  const bytes = await readBody(exchange);
  if (bytes.length === 0) return undefined;
  const type = parseMediaType(request.headers['content-type'] ?? '');
  try {
    return toDicomJson(fromDicomJson(await oneObject(bytes, type)), { bulkDataThresholdBytes: Infinity });
  } catch (error) {
    // Why is told; the status is that of a request that cannot be understood.
    if (error instanceof Refusal && error.reason !== 'UnsupportedMediaType')
      throw new Refusal('BadRequest', error.message);
    throw error;
  }
}

async function oneObject(bytes: Buffer, type: MediaType | undefined): Promise<unknown> {
  if (type !== undefined && JSON_TYPES.has(type.name)) {
    const json = parse(bytes);
    const objects: unknown[] = Array.isArray(json) ? json : [json];
    if (objects.length !== 1)
      throw new Refusal('BadRequest', `the body holds ${objects.length} data sets instead of one`);
    return objects[0];
  }
  if (type?.name === XML_TYPE) return parseNativeModel(bytes);
  if (type?.name === 'multipart/related' && type.parameters.get('type')?.toLowerCase() === XML_TYPE)
    return parseNativeModel(await onlyPart(bytes, type.parameters.get('boundary') ?? ''));
  throw new Refusal('UnsupportedMediaType', `the body has to be one of ${WORKITEM_TYPES.join(', ')}`);
}

/** A work item has a single part (PS3.18 11.4.1.4). */
async function onlyPart(bytes: Buffer, boundary: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of readMultipart(Readable.from([bytes]), boundary)) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of part.body) chunks.push(chunk);
    parts.push(Buffer.concat(chunks));
  }
  const [only] = parts;
  if (only === undefined || parts.length > 1)
    throw new Refusal('BadRequest', `the body holds ${parts.length} data sets instead of one`);
  return only;
}

async function readBody(exchange: Exchange): Promise<Buffer> {
  const tooLarge = (): Refusal => new Refusal('TooLarge', `a work item has at most ${MOST_BYTES} bytes`);
  const chunks: Buffer[] = [];
  for await (const chunk of bodyOf(exchange, tooLarge, MOST_BYTES)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new Refusal('BadRequest', 'the body is no JSON in UTF-8');
  }
}

/**
 * A UID in the query, which PS3.18 writes as `?{uid}` and clients also as the value of one of these names. Undefined when there is none.
 * @throws Refusal BadRequest for other names and for what is no UID
 */
export function uidInQuery({ query }: Exchange, names: readonly string[]): string | undefined {
  let found: string | undefined;
  for (const [name, value] of query) {
    if (name === 'accept' || name === 'charset') continue;
    const bare = value === '' && /^[0-9.]+$/.test(name);
    const uid = bare ? name : names.includes(name.toLowerCase()) ? value : undefined;
    if (uid === undefined || !isUid(uid) || found !== undefined)
      throw new Refusal('BadRequest', `the query may hold one UID: ?{uid} or ${names[0] ?? ''}={uid}`);
    found = uid;
  }
  return found;
}

/** @throws Refusal BadRequest for any parameter but those of every request */
export function refuseParameters({ query }: Exchange): void {
  if (query.some(([name]) => name !== 'accept' && name !== 'charset'))
    throw new Refusal('BadRequest', 'this resource has no such query parameter');
}
