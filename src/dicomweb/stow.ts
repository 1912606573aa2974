/**
 * STOW-RS (PS3.18 10.5): objects in, one part after another, each with its own result. What happens to an object is
 * workflow/receive's; here are the request, the number of objects in flight and the answer of annex I.
 */
import type { Request } from 'express';
import { Refusal, type RefusalReason } from '../dicom/refusal.ts';
import { receiveInstance, type Received, type Sender } from '../workflow/receive.ts';
import { DICOM_JSON, endAfterUpload, negotiate, uidParameter, type Exchange } from './exchange.ts';
import { parseMediaType, type MediaType } from './media-type.ts';
import { readMultipart } from './multipart.ts';

/** Objects whose bytes have been read and that are not yet durable, together: they share one synchronisation of the disk. */
const MAX_UNFINISHED = 32;
const MAX_UNFINISHED_BYTES = 64 * 2 ** 20;
const ACCEPTED = 'multipart/related; type="application/dicom" or application/dicom';

export async function storeInstances(exchange: Exchange): Promise<void> {
  const { request, gateway } = exchange;
  const studyInstanceUID = request.params['study'] === undefined ? undefined : uidParameter(exchange, 'study');
  negotiate(exchange, [DICOM_JSON]);
  const { boundary } = formOf(parseMediaType(request.headers['content-type'] ?? ''));
  const coding = request.headers['content-encoding'] ?? 'identity';
  if (coding !== 'identity') throw new Refusal('UnsupportedMediaType', 'the body has to come without a content coding');
  const { maxRequestBytes } = gateway.config.http;
  if (Number(request.headers['content-length'] ?? 0) > maxRequestBytes) throw tooLarge(maxRequestBytes);
  const from: Sender = {
    door: 'stow',
    callingAE: exchange.caller.name,
    calledAE: gateway.config.dimse.aeTitle,
    remoteAddress: request.socket.remoteAddress ?? '',
    ...(studyInstanceUID === undefined ? {} : { expectedStudyInstanceUID: studyInstanceUID }),
  };
  const intake: Intake = { exchange, from, results: [], unfinished: new Set(), unfinishedBytes: 0 };
  const body = bounded(request, maxRequestBytes);
  let failure: Refusal | undefined;
  try {
    if (boundary === undefined) await takeInstance(intake, body);
    else await takeParts(intake, body, boundary);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    failure = error;
  } finally {
    await body.return();
    await Promise.all(intake.unfinished);
  }
  // Nobody is left to answer: the connection broke off.
  if (request.socket.destroyed) return;
  answer(intake, failure);
}

interface Intake {
  readonly exchange: Exchange;
  readonly from: Sender;
  /** In the order of the parts; undefined while the object is under way. */
  readonly results: (Received | undefined)[];
  readonly unfinished: Set<Promise<void>>;
  unfinishedBytes: number;
}

/** How the body is divided: by a boundary, or not at all. @throws Refusal UnsupportedMediaType, BadRequest */
function formOf(contentType: MediaType | undefined): { boundary: string | undefined } {
  if (contentType?.name === 'application/dicom') return { boundary: undefined };
  const type = contentType?.parameters.get('type')?.toLowerCase() ?? 'application/dicom';
  if (contentType?.name !== 'multipart/related' || type !== 'application/dicom')
    throw new Refusal('UnsupportedMediaType', `the body has to be ${ACCEPTED} (PS3.18 table 10.5.4-1)`);
  const boundary = contentType.parameters.get('boundary');
  // RFC 2046 5.1.1 allows 70 characters; Orthanc 1.10 sends 73.
  if (boundary === undefined || !/^[ -~]{0,199}[!-~]$/.test(boundary))
    throw new Refusal('BadRequest', 'Content-Type has no boundary of 1 to 200 characters (RFC 2046 5.1.1)');
  return { boundary };
}

async function takeParts(intake: Intake, body: AsyncIterable<Buffer>, boundary: string): Promise<void> {
  for await (const part of readMultipart(body, boundary)) {
    // A part without a type is of the type that the whole names (RFC 2387 3.1).
    const partType = part.headers.get('content-type');
    if (partType === undefined || parseMediaType(partType)?.name === 'application/dicom') {
      await takeInstance(intake, part.body);
    } else {
      intake.results.push(refused('UnsupportedMediaType', 'a part has to be application/dicom'));
    }
  }
  if (intake.results.length === 0) throw new Refusal('BadRequest', 'the body has no parts');
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

function refused(reason: RefusalReason, sentence: string): Received {
  return {
    sopClassUID: undefined,
    sopInstanceUID: undefined,
    studyInstanceUID: undefined,
    refusal: new Refusal(reason, sentence),
  };
}

function tooLarge(maxBytes: number): Refusal {
  return new Refusal('TooLarge', `the request is longer than ${maxBytes} bytes`);
}

/** The request's bytes up to a limit; a connection that breaks off is a refusal, so that what it was sending is not kept. */
async function* bounded(request: Request, maxBytes: number): AsyncGenerator<Buffer, void, undefined> {
  let left = maxBytes;
  try {
    for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      left -= chunk.length;
      if (left < 0) throw tooLarge(maxBytes);
      yield chunk;
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal('CannotUnderstand', 'the connection broke off before the end of the request');
  }
}

interface JsonElement {
  readonly vr: string;
  readonly Value?: readonly (string | number | Json)[];
}
type Json = Record<string, JsonElement>;

/** The Store Instances Response Module (PS3.18 annex I.2), in the names the sender gave; sequences are absent when empty. */
function answer({ exchange, results }: Intake, failure: Refusal | undefined): void {
  const { request, response, caller, baseUrl } = exchange;
  const received = results.filter((result) => result !== undefined);
  const stored = received.filter(({ refusal }) => refusal === undefined);
  const failed = received.filter(({ refusal }) => refusal !== undefined);
  // The URLs name pseudonyms, which one who only sends need not know.
  const root = caller.roles.has('viewer') ? `${baseUrl}/studies` : undefined;
  const nameless = failed.filter(({ sopInstanceUID }) => sopInstanceUID === undefined).map(failureReason);
  if (failure !== undefined && failed.length === 0) nameless.push(failure.answer.failureReason);
  const body = Buffer.from(
    JSON.stringify({
      ...(stored.length === 0 ? {} : { '00081190': url(root, studyPath(stored)) }),
      ...sequence(
        '00081198',
        failed
          .filter(({ sopInstanceUID }) => sopInstanceUID !== undefined)
          .map((result) => ({ ...reference(result), '00081197': { vr: 'US', Value: [failureReason(result)] } })),
      ),
      ...sequence(
        '00081199',
        stored.map((result) => ({
          ...reference(result),
          '00081190': url(root, instancePath(result)),
          ...(isHeld(result) ? { '00081196': { vr: 'US', Value: [HELD] } } : {}),
        })),
      ),
      ...sequence(
        '0008119A',
        nameless.map((reason) => ({ '00081197': { vr: 'US', Value: [reason] } })),
      ),
    }),
  );
  response.statusCode = statusOf(stored, failed, failure);
  if (response.statusCode === 503) response.setHeader('Retry-After', '60');
  response.setHeader('Content-Type', DICOM_JSON.type);
  response.setHeader('Content-Length', body.length);
  response.setHeader('Cache-Control', 'no-store');
  endAfterUpload(request, response, body);
}

/** PS3.18 table 10.5.3-1. */
function statusOf(stored: readonly Received[], failed: readonly Received[], failure: Refusal | undefined): number {
  if (failure !== undefined) return failure.answer.httpStatus;
  if (stored.length > 0) return failed.length > 0 || stored.some(isHeld) ? 202 : 200;
  return failed.every(({ refusal }) => refusal?.reason === 'OutOfResources') ? 503 : 409;
}

/** Warning Reason (0008,1196): kept, though not as it came; a person decides what becomes of it (PS3.18 table I.2-2). */
const HELD = 0xb000;

/** Sealed in quarantine: the sender need not keep it, but it cannot be retrieved. */
function isHeld({ quarantined }: Received): boolean {
  return quarantined === true;
}

function sequence(key: string, items: readonly Json[]): Json {
  return items.length === 0 ? {} : { [key]: { vr: 'SQ', Value: items } };
}

/** SOP Instance Reference Macro (PS3.3 table 10-11). */
function reference({ sopClassUID, sopInstanceUID }: Received): Json {
  return { '00081150': uid(sopClassUID), '00081155': uid(sopInstanceUID) };
}

function uid(value: string | undefined): JsonElement {
  return value === undefined ? { vr: 'UI' } : { vr: 'UI', Value: [value] };
}

function url(root: string | undefined, path: string | undefined): JsonElement {
  return root === undefined || path === undefined ? { vr: 'UR' } : { vr: 'UR', Value: [`${root}/${path}`] };
}

/** Undefined when the objects came to lie in several studies. */
function studyPath(results: readonly Received[]): string | undefined {
  const studies = new Set(results.flatMap(({ stored }) => stored?.studyInstanceUID ?? []));
  return studies.size === 1 ? [...studies][0] : undefined;
}

function instancePath({ stored }: Received): string | undefined {
  if (stored === undefined) return undefined;
  return `${stored.studyInstanceUID}/series/${stored.seriesInstanceUID}/instances/${stored.sopInstanceUID}`;
}

function failureReason({ refusal }: Received): number {
  return (refusal ?? new Refusal('BadRequest', 'no result')).answer.failureReason;
}
