/**
 * The bulkdata and pixeldata resources of a study, series or instance (PS3.18 10.4.1.1.5, 10.4.1.1.6; CP-2040): every value that the
 * metadata tells a URI of, a part each, under that URI; encapsulated pixel data frame by frame, without item tags.
 */
import { readBulkData, readFrame } from '../archive/frames.ts';
import { instanceOf, type InstanceRow } from '../archive/instances.ts';
import { metadataOf } from '../archive/metadata.ts';
import { tag } from '../dicom/dictionary.ts';
import { tagKey } from '../dicom/data-set.ts';
import type { DicomJson } from '../dicom/json.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../dicom/transfer-syntax.ts';
import { negotiate, type Exchange } from './exchange.ts';
import { syntaxFor, type Choice, type Offer, type Syntax } from './media-type.ts';
import type { OutgoingPart } from './multipart.ts';
import { fingerprintOf, instanceUrl, isUnchanged, scopedInstances, sendMultipart } from './wado.ts';

const OCTETS = 'application/octet-stream';
const PIXEL_DATA = ['PixelData', 'FloatPixelData', 'DoubleFloatPixelData'].map((keyword) => tagKey(tag(keyword)));

export function retrieveAllBulkData(exchange: Exchange): Promise<void> {
  return sendValues(exchange, 'bulkdata');
}

export function retrievePixelData(exchange: Exchange): Promise<void> {
  return sendValues(exchange, 'pixeldata');
}

async function sendValues(exchange: Exchange, resource: 'bulkdata' | 'pixeldata'): Promise<void> {
  const inScope = scopedInstances(exchange);
  const wanted = resource === 'bulkdata' ? inScope : inScope.filter(hasPixelData);
  if (wanted.length === 0) throw none(resource);
  const choice = negotiate(exchange, offersOf(wanted, resource));
  // Of a compressed instance nothing but its pixel data is missing when its syntax is not taken.
  const left = wanted.filter((one) => hasPixelData(one) && !takesPixels(choice, one));
  const form = `${resource} ${choice.offer.type} ${left.map((one) => one.sopInstanceUID).join()}`;
  const entityTag = fingerprintOf(wanted, form);
  const parts = partsOf(exchange, wanted, resource, choice);
  const first = await parts.next();
  if (first.done === true) throw none(resource);
  const status = left.length === 0 ? 200 : 206;
  if (status === 200 && isUnchanged(exchange, entityTag)) return;
  await sendMultipart(exchange, choice.offer.type, entityTag, resumed(first.value, parts), status);
}

function none(resource: string): Refusal {
  return new Refusal(
    'NotFound',
    `there is no ${resource === 'bulkdata' ? 'bulk' : 'pixel'} data in what was asked for`,
  );
}

function hasPixelData({ headLengthBytes, lengthBytes }: InstanceRow): boolean {
  return lengthBytes > headLengthBytes;
}

/** How pixel data lies there: native as bytes, compressed in its own syntax; where there is only lossy, that (PS3.18 8.7.3.3). */
function syntaxOf({ transferSyntaxUID }: InstanceRow): Syntax {
  const syntax = transferSyntax(transferSyntaxUID);
  if (syntax?.encapsulated !== true) return { uid: EXPLICIT_VR_LITTLE_ENDIAN, answers: ['default'] };
  return { uid: transferSyntaxUID, answers: syntax.compression === 'lossy' ? ['default'] : [] };
}

function takesPixels(choice: Choice, instance: InstanceRow): boolean {
  const syntax = transferSyntax(instance.transferSyntaxUID);
  const type = syntax?.encapsulated === true ? syntax.mediaType : undefined;
  return (
    (choice.offer.type === OCTETS || choice.offer.type === type) &&
    syntaxFor(choice, [syntaxOf(instance)]) !== undefined
  );
}

function offersOf(instances: readonly InstanceRow[], resource: string): Offer[] {
  const compressed = instances.filter(
    ({ transferSyntaxUID }) => transferSyntax(transferSyntaxUID)?.encapsulated === true,
  );
  const syntaxes = distinct(instances.filter(hasPixelData).map(syntaxOf));
  // Values that are no pixels are plain bytes whatever the syntax.
  const plain: Syntax[] = resource === 'bulkdata' ? [{ uid: EXPLICIT_VR_LITTLE_ENDIAN, answers: ['default'] }] : [];
  const types = new Set(compressed.map(({ transferSyntaxUID }) => transferSyntax(transferSyntaxUID)?.mediaType));
  return [
    { multipart: true, type: OCTETS, syntaxes: distinct([...syntaxes, ...plain]) },
    ...[...types]
      .filter((type) => type !== undefined && type !== OCTETS)
      .map((type) => ({
        multipart: true,
        type: type ?? OCTETS,
        syntaxes: syntaxes
          .filter(({ uid }) => transferSyntax(uid)?.mediaType === type)
          .map(({ uid }) => ({ uid, answers: ['default'] })),
      })),
  ];
}

function distinct(syntaxes: readonly Syntax[]): Syntax[] {
  return [...new Map(syntaxes.map((syntax) => [syntax.uid, syntax])).values()];
}

async function* resumed(
  first: OutgoingPart,
  rest: AsyncIterable<OutgoingPart>,
): AsyncGenerator<OutgoingPart, void, undefined> {
  yield first;
  yield* rest;
}

async function* partsOf(
  exchange: Exchange,
  instances: readonly InstanceRow[],
  resource: string,
  choice: Choice,
): AsyncGenerator<OutgoingPart, void, undefined> {
  const { archive } = exchange.gateway;
  for (const { sopInstanceUID, studyInstanceUID, seriesInstanceUID } of instances) {
    const instance = instanceOf(archive, sopInstanceUID, studyInstanceUID, seriesInstanceUID);
    // Deleted since the list was made.
    if (instance === undefined) continue;
    const [text = '{}'] = metadataOf(archive, instance);
    for (const path of bulkPaths(JSON.parse(text) as DicomJson)) {
      const pixels = PIXEL_DATA.includes(path);
      if (resource === 'pixeldata' && !pixels) continue;
      if (pixels && !takesPixels(choice, instance)) continue;
      if (!pixels && choice.offer.type !== OCTETS) continue;
      yield* valueParts(exchange, instance, path, choice);
    }
  }
}

async function* valueParts(
  exchange: Exchange,
  instance: InstanceRow,
  path: string,
  choice: Choice,
): AsyncGenerator<OutgoingPart, void, undefined> {
  const { archive } = exchange.gateway;
  const data = await readBulkData(archive, instance, path);
  const url = instanceUrl(exchange, instance);
  if (data.kind === 'value') {
    const contentType = `${OCTETS}; transfer-syntax=${EXPLICIT_VR_LITTLE_ENDIAN}`;
    yield { contentType, contentLocation: `${url}/bulkdata/${path}`, lengthBytes: data.lengthBytes, body: data.bytes };
    return;
  }
  const contentType = `${choice.offer.type}; transfer-syntax=${instance.transferSyntaxUID}`;
  for (let number = 1; number <= data.frameCount; number++) {
    const { bytes, lengthBytes } = await readFrame(archive, instance, number);
    yield { contentType, contentLocation: `${url}/frames/${number}`, lengthBytes, body: bytes };
  }
}

/** Of every value that the metadata gives a URI instead of, as it stands in that URI. */
function bulkPaths(object: DicomJson): string[] {
  return Object.values(object).flatMap((element) => {
    if ('BulkDataURI' in element && element.BulkDataURI !== undefined)
      return [element.BulkDataURI.slice(element.BulkDataURI.indexOf('/bulkdata/') + '/bulkdata/'.length)];
    return element.vr === 'SQ' && 'Value' in element ? (element.Value ?? []).flatMap(bulkPaths) : [];
  });
}
