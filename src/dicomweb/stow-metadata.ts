/**
 * STOW-RS with metadata and bulk data apart (PS3.18 10.5.2, 10.5.4): the parts are kept aside, then each instance is put together to a Part 10
 * object, which goes the way of all objects.
 */
import type { CodecPool } from '../codecs/pool.ts';
import { tagKey } from '../dicom/data-set.ts';
import { writeFileMeta } from '../dicom/file-meta.ts';
import { fromDicomJson } from '../dicom/json-reader.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN } from '../dicom/transfer-syntax.ts';
import { openSink, sinkBytes, writeBytes, writeHeader } from '../dicom/writer.ts';
import type { Archive } from '../archive/archive.ts';
import { MAX_ITEM_BYTES, readJsonItems } from './json-items.ts';
import type { Part } from './multipart.ts';
import { textIn, type JsonElement, type JsonObject } from './json-object.ts';
import { parseNativeModel } from './native-model-reader.ts';
import { describeDocument } from './stow-document.ts';
import { PIXEL_TAGS, pixelDataOf, type PixelData } from './stow-pixels.ts';
import { keepBulkPart, openBulkParts, partsOf, theOne, typeOfPart, unusedParts, type BulkParts } from './stow-parts.ts';
import { closeSpool, keep, openSpool, readKept, readWhole, type Kept, type Spool } from './spool.ts';

export type MetadataForm = 'json' | 'xml';

/** What the request turned out to hold, one after another. */
export type Arriving =
  | { readonly kind: 'object'; readonly bytes: AsyncIterable<Buffer> }
  | { readonly kind: 'refused'; readonly refusal: Refusal; readonly names: InstanceNames };

export interface InstanceNames {
  readonly sopClassUID: string | undefined;
  readonly sopInstanceUID: string | undefined;
  readonly studyInstanceUID: string | undefined;
}

export interface MetadataRequest {
  readonly archive: Archive;
  readonly codecs: CodecPool;
  readonly form: MetadataForm;
  /** What relative URIs are relative to. */
  readonly base: string;
  /** Most bytes of all instances together: a part that many of them name must not become more than a request may be. */
  readonly maxBytes: number;
}

const FORM_TYPES: Readonly<Record<MetadataForm, readonly string[]>> = {
  json: ['application/dicom+json', 'application/json'],
  xml: ['application/dicom+xml', 'application/xml', 'text/xml'],
};
/** Values other than pixel data of one instance, which go into the head of the object. */
const MOST_VALUE_BYTES = 192 * 2 ** 20;

interface Collected {
  readonly request: MetadataRequest;
  readonly spool: Spool;
  readonly metadata: Kept[];
  readonly bulk: BulkParts;
  /** What the instances put together so far take. */
  bytes: number;
}

/** @throws Refusal CannotUnderstand when the body breaks off: then nothing of it is stored, and what it named has been told of */
export async function* objectsOf(
  request: MetadataRequest,
  parts: AsyncIterable<Part>,
): AsyncGenerator<Arriving, void, undefined> {
  const spool = openSpool(request.archive);
  const collected: Collected = { request, spool, metadata: [], bulk: openBulkParts(request.base), bytes: 0 };
  try {
    try {
      for await (const part of parts) yield* collect(collected, part);
    } catch (error) {
      if (error instanceof Refusal) yield* refuseAll(collected, error);
      throw error;
    }
    if (collected.metadata.length === 0 && collected.bulk.all.length === 0) return;
    for (const kept of collected.metadata) yield* instancesOf(collected, kept);
    for (let left = unusedParts(collected.bulk); left > 0; left--) {
      const refusal = new Refusal(
        'CannotUnderstand',
        'no BulkDataURI of the metadata names the Content-Location of a part',
      );
      yield { kind: 'refused', refusal, names: NOBODY };
    }
  } finally {
    await closeSpool(spool);
  }
}

const NOBODY: InstanceNames = { sopClassUID: undefined, sopInstanceUID: undefined, studyInstanceUID: undefined };

/** The first part is metadata whatever it does not say (RFC 2387 3.2); a part that only says where it belongs is bytes. */
async function* collect(collected: Collected, part: Part): AsyncGenerator<Arriving, void, undefined> {
  const { request, spool, metadata, bulk } = collected;
  const type = typeOfPart(part);
  if (type === undefined || FORM_TYPES[request.form].includes(type.name)) {
    // Plain XML or JSON may also be the bulk data of an instance, a document: then it says where it belongs.
    const plain = type !== undefined && !type.name.startsWith('application/dicom+');
    if (!plain || metadata.length === 0 || !part.headers.has('content-location')) {
      metadata.push(await keep(spool, part.body));
      return;
    }
  }
  if (type.name === 'application/dicom' || type.name === '' || type.name.startsWith('multipart/')) {
    const refusal = new Refusal('UnsupportedMediaType', 'a part has to be metadata or bulk data');
    yield { kind: 'refused', refusal, names: NOBODY };
    return;
  }
  if (!part.headers.has('content-location') && !part.headers.has('content-id')) {
    yield {
      kind: 'refused',
      refusal: new Refusal('CannotUnderstand', 'bulk data has no Content-Location'),
      names: NOBODY,
    };
    return;
  }
  await keepBulkPart(bulk, spool, part, type);
}

/** Who was named in what came before the body broke off. */
async function* refuseAll(collected: Collected, refusal: Refusal): AsyncGenerator<Arriving, void, undefined> {
  for (const kept of collected.metadata) {
    try {
      for await (const json of dataSetsOf(collected, kept)) yield { kind: 'refused', refusal, names: namesOf(json) };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }
}

async function* dataSetsOf({ request, spool }: Collected, kept: Kept): AsyncGenerator<JsonObject, void, undefined> {
  if (request.form === 'json') {
    for await (const item of readJsonItems(readKept(spool, kept))) yield upperCased(item as JsonObject);
    return;
  }
  if (kept.lengthBytes > MAX_ITEM_BYTES)
    throw new Refusal('TooLarge', `the metadata of an instance is longer than ${MAX_ITEM_BYTES} bytes`);
  yield parseNativeModel(await readWhole(spool, kept));
}

function upperCased(json: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(json).map(([key, element]) => [key.toUpperCase(), element]));
}

async function* instancesOf(collected: Collected, kept: Kept): AsyncGenerator<Arriving, void, undefined> {
  try {
    for await (const json of dataSetsOf(collected, kept)) {
      try {
        yield { kind: 'object', bytes: await putTogether(collected, json) };
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        yield { kind: 'refused', refusal: error, names: namesOf(json) };
      }
    }
  } catch (error) {
    // What follows the fault in this part cannot be read; the instances before it stand.
    if (!(error instanceof Refusal)) throw error;
    yield { kind: 'refused', refusal: error, names: NOBODY };
  }
}

/** The bytes of a Part 10 object; pixel data is read from where it was kept, while the object is sent on. */
async function putTogether(collected: Collected, json: JsonObject): Promise<AsyncIterable<Buffer>> {
  const { request, spool, bulk } = collected;
  const { sopClassUID = '', sopInstanceUID = '' } = namesOf(json);
  const pixels = await pixelDataOf({ spool, bulk, codecs: request.codecs }, json);
  const described = { ...withoutPixelData(json), ...pixels?.attributes };
  const document = describeDocument(bulk, described, sopClassUID);
  const values = await valuesOf(spool, bulk, document);
  const dataSet = fromDicomJson(document, { bulkData: (uri) => values.get(uri) });
  collected.bytes += dataSet.bytes.length + (pixels?.costBytes ?? 0);
  if (collected.bytes > request.maxBytes)
    throw new Refusal('TooLarge', `the instances together are longer than ${request.maxBytes} bytes`);
  const sink = openSink(dataSet.bytes.length + 1024);
  writeFileMeta(sink, {
    sopClassUID,
    sopInstanceUID,
    transferSyntaxUID: pixels?.transferSyntaxUID ?? EXPLICIT_VR_LITTLE_ENDIAN,
  });
  writeBytes(sink, dataSet.bytes.subarray(dataSet.start, dataSet.end));
  if (pixels !== undefined) writeHeader(sink, pixels.tag, pixels.vr, pixels.lengthBytes ?? 0xffffffff);
  return object(sinkBytes(sink), pixels);
}

async function* object(head: Buffer, pixels: PixelData | undefined): AsyncGenerator<Buffer, void, undefined> {
  yield head;
  if (pixels !== undefined) yield* pixels.body();
}

/** Pixel data ends the object: what would follow it (signatures, padding) is not kept anyhow. */
function withoutPixelData(json: JsonObject): JsonObject {
  if (PIXEL_TAGS.every((tag) => json[tagKey(tag)] === undefined)) return json;
  return Object.fromEntries(Object.entries(json).filter(([key]) => !/^[0-9A-F]{8}$/.test(key) || key < '7FE00000'));
}

/** Of every BulkDataURI in the data set, those in sequences too. */
async function valuesOf(spool: Spool, bulk: BulkParts, json: JsonObject): Promise<Map<string, Buffer>> {
  const values = new Map<string, Buffer>();
  let bytes = 0;
  for (const uri of urisOf(json)) {
    if (values.has(uri)) continue;
    const part = theOne(partsOf(bulk, uri));
    bytes += part.kept.lengthBytes;
    if (bytes > MOST_VALUE_BYTES)
      throw new Refusal(
        'TooLarge',
        `the values of an instance but its pixel data are longer than ${MOST_VALUE_BYTES} bytes`,
      );
    values.set(uri, await readWhole(spool, part.kept));
  }
  return values;
}

/** Depth has been bounded by whoever read the text. */
function* urisOf(json: unknown): Generator<string> {
  if (typeof json !== 'object' || json === null) return;
  for (const element of Object.values(json) as (JsonElement | null)[]) {
    if (typeof element !== 'object' || element === null) continue;
    if (typeof element.BulkDataURI === 'string') yield element.BulkDataURI;
    if (element.vr === 'SQ' && Array.isArray(element.Value))
      for (const item of element.Value as unknown[]) yield* urisOf(item);
  }
}

function namesOf(json: JsonObject): InstanceNames {
  return {
    sopClassUID: textIn(json, '00080016'),
    sopInstanceUID: textIn(json, '00080018'),
    studyInstanceUID: textIn(json, '0020000D'),
  };
}
