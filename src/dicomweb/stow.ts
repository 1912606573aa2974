/**
 * STOW-RS (PS3.18 10.5): objects in, one part after another, each with its own result. What happens to an object is
 * workflow/receive's; here are the request, the number of objects in flight and the order of the results.
 */
import { refuseWithoutRoom } from '../archive/room.ts';
import { Refusal } from '../dicom/refusal.ts';
import { keepBusy, receiveInstance, releaseStudies, type Received, type Sender } from '../workflow/receive.ts';
import { negotiate, uidParameter, type Exchange } from './exchange.ts';
import { parseMediaType, type MediaType } from './media-type.ts';
import { readMultipart, type Part } from './multipart.ts';
import { bodyOf } from './request-body.ts';
import { answerStore, refused, STORE_ANSWERS } from './stow-answer.ts';
import { objectsOf, type MetadataForm } from './stow-metadata.ts';

/** Objects whose bytes have been read and that are not yet durable, together: they share one synchronisation of the disk. */
const MAX_UNFINISHED = 32;
const MAX_UNFINISHED_BYTES = 16 * 2 ** 20;

/** Media types of a request (PS3.18 table 10.5.4-1): of the parts, or of the whole body, and what is in them. */
const FORMS: ReadonlyMap<string, 'dicom' | MetadataForm> = new Map([
  ['application/dicom', 'dicom'],
  ['application/dicom+json', 'json'],
  ['application/dicom+xml', 'xml'],
]);

/** What Capabilities and the conformance statement say. */
export const STORE_TYPES: readonly string[] = [...FORMS.keys()].flatMap((type) => [
  `multipart/related; type="${type}"`,
  type,
]);

/** Whether the resource says itself when it wants the body of a request that expects 100 (RFC 9110 10.1.1). */
export function decidesToContinue(url = ''): boolean {
  return /^\/dicom-web\/studies(?:\/[^/?]*)?(?:\?|$)/.test(url);
}

export async function storeInstances(exchange: Exchange): Promise<void> {
  const { request, gateway } = exchange;
  const studyInstanceUID = request.params['study'] === undefined ? undefined : uidParameter(exchange, 'study');
  const { offer } = negotiate(exchange, STORE_ANSWERS);
  const { form, boundary } = formOf(parseMediaType(request.headers['content-type'] ?? ''));
  const { maxRequestBytes } = gateway.config.http;
  const tooLarge = (): Refusal => new Refusal('TooLarge', `the request is longer than ${maxRequestBytes} bytes`);
  const body = bodyOf(exchange, tooLarge, maxRequestBytes);
  const announcedBytes = Number(request.headers['content-length'] ?? 0);
  if (announcedBytes > maxRequestBytes) throw tooLarge();
  // Bulk data is kept aside before it becomes part of an object.
  await refuseWithoutRoom(gateway.archive, form === 'dicom' ? announcedBytes : 2 * announcedBytes);
  const from: Sender = {
    door: 'stow',
    callingAE: exchange.caller.name,
    calledAE: gateway.config.dimse.aeTitle,
    remoteAddress: request.socket.remoteAddress ?? '',
    ...(studyInstanceUID === undefined ? {} : { expectedStudyInstanceUID: studyInstanceUID }),
  };
  if (request.headers.expect?.toLowerCase() === '100-continue') exchange.response.writeContinue();
  const intake: Intake = { exchange, from, results: [], studies: new Set(), unfinished: new Set(), unfinishedBytes: 0 };
  let failure: Refusal | undefined;
  try {
    if (form === 'dicom') await takeObjects(intake, body, boundary);
    else await takeMetadata(intake, form, body, boundary);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    failure = error;
  } finally {
    await body.return();
    await Promise.all(intake.unfinished);
    releaseStudies(gateway, intake.studies);
  }
  // Nobody is left to answer: the connection broke off.
  if (request.socket.destroyed) return;
  answerStore(exchange, offer, { received: intake.results.filter((result) => result !== undefined), failure });
}

interface Intake {
  readonly exchange: Exchange;
  readonly from: Sender;
  /** In the order of the parts; undefined while the object is under way. */
  readonly results: (Received | undefined)[];
  /** Held as being received until the request has ended. */
  readonly studies: Set<string>;
  readonly unfinished: Set<Promise<void>>;
  unfinishedBytes: number;
}

interface Form {
  readonly form: 'dicom' | MetadataForm;
  /** Undefined: the body is one part by itself. */
  readonly boundary: string | undefined;
}

/** @throws Refusal UnsupportedMediaType, BadRequest */
function formOf(contentType: MediaType | undefined): Form {
  const single = FORMS.get(contentType?.name ?? '');
  if (single !== undefined) return { form: single, boundary: undefined };
  const type = contentType?.parameters.get('type')?.toLowerCase() ?? 'application/dicom';
  const form = FORMS.get(type);
  if (contentType?.name !== 'multipart/related' || form === undefined)
    throw new Refusal(
      'UnsupportedMediaType',
      `the body has to be one of ${STORE_TYPES.join(', ')} (PS3.18 table 10.5.4-1)`,
    );
  const boundary = contentType.parameters.get('boundary');
  // RFC 2046 5.1.1 allows 70 characters; Orthanc 1.10 sends 73.
  if (boundary === undefined || !/^[ -~]{0,199}[!-~]$/.test(boundary))
    throw new Refusal('BadRequest', 'Content-Type has no boundary of 1 to 200 characters (RFC 2046 5.1.1)');
  return { form, boundary };
}

async function takeObjects(intake: Intake, body: AsyncIterable<Buffer>, boundary: string | undefined): Promise<void> {
  for await (const part of partsIn(body, boundary)) {
    // A part without a type is of the type that the whole names (RFC 2387 3.1).
    const partType = part.headers.get('content-type');
    if (partType === undefined || parseMediaType(partType)?.name === 'application/dicom') {
      await takeInstance(intake, part.body);
    } else {
      intake.results.push(refused('UnsupportedMediaType', 'a part has to be application/dicom'));
    }
  }
  refuseNothing(intake);
}

async function takeMetadata(
  intake: Intake,
  form: MetadataForm,
  body: AsyncIterable<Buffer>,
  boundary: string | undefined,
): Promise<void> {
  const { gateway, baseUrl } = intake.exchange;
  const request = {
    archive: gateway.archive,
    codecs: gateway.codecs,
    form,
    base: `${baseUrl}/studies`,
    maxBytes: gateway.config.http.maxRequestBytes,
  };
  for await (const arriving of objectsOf(request, partsIn(body, boundary))) {
    if (arriving.kind === 'object') await takeInstance(intake, arriving.bytes);
    else {
      gateway.log.warn('object refused', {
        reason: arriving.refusal.reason,
        found: arriving.refusal.message,
        door: intake.from.door,
        callingAE: intake.from.callingAE,
      });
      intake.results.push({ ...arriving.names, refusal: arriving.refusal });
    }
  }
  refuseNothing(intake);
}

function partsIn(body: AsyncIterable<Buffer>, boundary: string | undefined): AsyncIterable<Part> {
  return boundary === undefined ? onlyPart(body) : readMultipart(body, boundary);
}

async function* onlyPart(body: AsyncIterable<Buffer>): AsyncGenerator<Part, void, undefined> {
  yield { headers: new Map(), body };
}

function refuseNothing({ results }: Intake): void {
  if (results.length === 0) throw new Refusal('BadRequest', 'the body holds no instance');
}

/** Returns when the object's bytes have been read, so that the next part may follow. */
async function takeInstance(intake: Intake, bytes: AsyncIterable<Buffer>): Promise<void> {
  const { exchange, results, unfinished } = intake;
  const index = results.push(undefined) - 1;
  let lengthBytes = 0;
  const counted = async function* (): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of bytes) {
      lengthBytes += chunk.length;
      intake.unfinishedBytes += chunk.length;
      yield chunk;
    }
  };
  const { taken, done } = receiveInstance(exchange.gateway, { bytes: counted() }, intake.from);
  const settled: Promise<void> = done
    .then(
      (received) => {
        results[index] = received;
        const study = received.stored?.studyInstanceUID ?? received.waitsIn;
        if (study !== undefined) keepBusy(exchange.gateway, intake.studies, study);
      },
      (error: unknown) => {
        exchange.gateway.log.error('store-failed', { error: error instanceof Error ? error.name : 'unknown' });
        results[index] = refused('BadRequest', 'the object could not be processed');
      },
    )
    .finally(() => {
      unfinished.delete(settled);
      intake.unfinishedBytes -= lengthBytes;
    });
  unfinished.add(settled);
  // Why the bytes could not be taken is told by `done`.
  await taken.catch(() => undefined);
  while (unfinished.size >= MAX_UNFINISHED || (unfinished.size > 0 && intake.unfinishedBytes > MAX_UNFINISHED_BYTES))
    await Promise.race(unfinished);
}
