/**
 * The bulkdata and pixeldata resources of a study, series or instance (PS3.18 10.4.1.1.5, 10.4.1.1.6; CP-2040): every value that the
 * metadata tells a URI of, a part each, under that URI; encapsulated pixel data frame by frame, without item tags.
 */
import { readBulkData } from '../archive/frames.ts';
import { instanceOf, type InstanceRow } from '../archive/instances.ts';
import { metadataOf } from '../archive/metadata.ts';
import { tag } from '../dicom/dictionary.ts';
import { tagKey } from '../dicom/data-set.ts';
import type { DicomJson } from '../dicom/json.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../dicom/transfer-syntax.ts';
import { frameIn, type ServedFrame } from '../workflow/transcode.ts';
import { fingerprintOf, isUnchanged } from './conditional.ts';
import { negotiate, type Exchange } from './exchange.ts';
import { syntaxFor, type Choice, type Offer, type Syntax } from './media-type.ts';
import type { OutgoingPart } from './multipart.ts';
import { frameOffers } from './transcode.ts';
import { instanceUrl, scopedInstances, sendMultipart } from './wado.ts';

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
  const left = wanted.filter((one) => hasPixelData(one) && pixelForm(choice, one) === undefined);
  const forms = new Set(wanted.map((one) => pixelForm(choice, one)));
  const form = `${resource} ${choice.offer.type} ${[...forms].join()} ${left.map((one) => one.sopInstanceUID).join()}`;
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

/** The forms of an instance's pixel data: native it is bytes, compressed it goes out frame by frame (PS3.18 8.7.3.3). */
function pixelOffers(instance: InstanceRow): Offer[] {
  const native = { uid: EXPLICIT_VR_LITTLE_ENDIAN, answers: ['default'] };
  const { encapsulated, compression } = transferSyntax(instance.transferSyntaxUID) ?? {};
  // What is no image, and what cannot be decoded, is there as it lies.
  const offers = instance.frameCount === 0 ? [] : frameOffers(instance, false);
  if (encapsulated !== true)
    return offers.length > 0 ? offers : [{ multipart: true, type: OCTETS, syntaxes: [native] }];
  if (offers.length > 0 && compression !== 'lossy') return offers;
  // Where there is only lossy, that is what is meant without a syntax.
  return [
    {
      multipart: true,
      type: OCTETS,
      syntaxes: [{ uid: instance.transferSyntaxUID, answers: ['default'] }],
    },
    ...offers,
  ];
}

/** The type and syntax in which the instance's pixels go out; undefined: in none that was asked for. */
function pixelForm(choice: Choice, instance: InstanceRow): string | undefined {
  for (const { type, syntaxes = [] } of pixelOffers(instance)) {
    if (type !== choice.offer.type) continue;
    const found = syntaxFor(choice, syntaxes);
    if (found !== undefined) return found.uid;
  }
  return undefined;
}

function offersOf(instances: readonly InstanceRow[], resource: string): Offer[] {
  const kinds = new Map(
    instances.filter(hasPixelData).map((one) => [`${one.transferSyntaxUID} ${one.frameCount === 0}`, one]),
  );
  const byType = new Map<string, Syntax[]>();
  // Values that are no pixels are plain bytes whatever the syntax.
  if (resource === 'bulkdata') byType.set(OCTETS, [{ uid: EXPLICIT_VR_LITTLE_ENDIAN, answers: ['default'] }]);
  for (const { type, syntaxes = [] } of [...kinds.values()].flatMap(pixelOffers))
    byType.set(type, [...(byType.get(type) ?? []), ...syntaxes]);
  // Plain bytes are the default.
  const types = [...byType].sort(([x], [y]) => Number(y === OCTETS) - Number(x === OCTETS));
  return types.map(([type, syntaxes]) => ({ multipart: true, type, syntaxes: distinct(syntaxes) }));
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
      if (pixels && pixelForm(choice, instance) === undefined) continue;
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
  const { gateway } = exchange;
  const url = instanceUrl(exchange, instance);
  const { transferSyntaxUID } = instance;
  const to = PIXEL_DATA.includes(path) ? (pixelForm(choice, instance) ?? transferSyntaxUID) : EXPLICIT_VR_LITTLE_ENDIAN;
  const isStored = to === transferSyntaxUID || to === EXPLICIT_VR_LITTLE_ENDIAN;
  const data = await readBulkData(gateway.archive, instance, path);
  if (data.kind === 'value' && isStored) {
    const contentType = `${OCTETS}; transfer-syntax=${EXPLICIT_VR_LITTLE_ENDIAN}`;
    yield { contentType, contentLocation: `${url}/bulkdata/${path}`, lengthBytes: data.lengthBytes, body: data.bytes };
    return;
  }
  for (let number = 1; number <= instance.frameCount; number++) {
    const { transferSyntaxUID: made, lengthBytes, body } = await frameOrStored(exchange, instance, number, to);
    const type = made === to ? choice.offer.type : (transferSyntax(made)?.mediaType ?? OCTETS);
    const contentType = `${type}; transfer-syntax=${made}`;
    yield { contentType, contentLocation: `${url}/frames/${number}`, lengthBytes, body };
  }
}

/** What cannot be made goes out as it is stored, and says so: the parts before it are on their way. */
async function frameOrStored(
  { gateway }: Exchange,
  instance: InstanceRow,
  number: number,
  to: string,
): Promise<ServedFrame> {
  try {
    return await frameIn(gateway, instance, number, to);
  } catch (error) {
    if (!(error instanceof Refusal) || error.reason !== 'NotAcceptable') throw error;
    gateway.log.warn('sent as stored', { instance: instance.sopInstanceUID, reason: error.message });
    return frameIn(gateway, instance, number, instance.transferSyntaxUID);
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
