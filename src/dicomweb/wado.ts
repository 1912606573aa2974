/**
 * WADO-RS (PS3.18 10.4): stored bytes, ready-made metadata, frames by stored extents and bulk data. No object is parsed to answer
 * but what is asked for in another transfer syntax than the stored one.
 */
import { readBulkData } from '../archive/frames.ts';
import { instanceOf, instancesOf, readInstance, type InstanceRow } from '../archive/instances.ts';
import { wasDeleted } from '../archive/studies.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../dicom/transfer-syntax.ts';
import { frameIn, objectIn, type ServedFrame } from '../workflow/transcode.ts';
import { fingerprintOf, isUnchanged, rangeOf, versionOfScope, type ByteRange, type Scope } from './conditional.ts';
import { negotiate, uidParameter, type Exchange } from './exchange.ts';
import { syntaxFor, type Choice, type Syntax } from './media-type.ts';
import { chunksOf, multipartType, writeMultipart, type OutgoingPart } from './multipart.ts';
import { sendPieces } from './sink.ts';
import { frameOffers, objectSyntaxes } from './transcode.ts';

export function retrieveStudy(exchange: Exchange): Promise<void> {
  return sendInstances(exchange, instancesIn(exchange));
}

export function retrieveSeries(exchange: Exchange): Promise<void> {
  return sendInstances(exchange, instancesIn(exchange));
}

export async function retrieveInstance(exchange: Exchange): Promise<void> {
  const instance = theInstance(exchange);
  const syntaxes = objectSyntaxes(instance);
  const choice = negotiate(exchange, [
    { multipart: true, type: 'application/dicom', syntaxes },
    { multipart: false, type: 'application/dicom', syntaxes },
  ]);
  if (choice.offer.multipart) return sendParts(exchange, choice, [instance], 200);
  return sendObject(exchange, choice, instance);
}

/** One object by itself, in the syntax chosen. @param sopInstanceUID under which it goes out, when not under its own */
export async function sendObject(
  exchange: Exchange,
  choice: Choice,
  instance: InstanceRow,
  sopInstanceUID?: string,
): Promise<void> {
  const form = `single ${targetOf(choice, instance)} ${sopInstanceUID ?? ''}`;
  if (isUnchanged(exchange, fingerprintOf([instance], form))) return;
  await sendRange(exchange, await instancePart(exchange, choice, instance, sopInstanceUID));
}

const MAX_FRAMES = 10_000;

/** Frames in the order asked for (PS3.18 10.4.1.1.6). */
export async function retrieveFrames(exchange: Exchange): Promise<void> {
  const { instance, numbers } = theFrames(exchange);
  const choice = negotiate(exchange, frameOffers(instance, numbers.length === 1));
  const form = `frames ${numbers.join()} ${representation(choice)} ${choice.transferSyntaxes.join()}`;
  await sendFrames(exchange, choice, instance, numbers, fingerprintOf([instance], form));
}

/** The first frame is made before anything is sent, so that what cannot be is told by the status. */
async function sendFrames(
  exchange: Exchange,
  asked: Choice,
  instance: InstanceRow,
  numbers: readonly number[],
  tag: string,
): Promise<void> {
  const { gateway } = exchange;
  let choice = asked;
  let to = syntaxFor(choice, choice.offer.syntaxes ?? [])?.uid ?? instance.transferSyntaxUID;
  const [firstNumber = 1] = numbers;
  let first: ServedFrame;
  try {
    first = await frameIn(gateway, instance, firstNumber, to);
  } catch (error) {
    if (!(error instanceof Refusal) || error.reason !== 'NotAcceptable' || !choice.byWildcard)
      throw told(error, instance);
    // Who names no type takes the frame as it is.
    to = instance.transferSyntaxUID;
    choice = { ...choice, offer: { ...choice.offer, type: transferSyntax(to)?.mediaType || choice.offer.type } };
    first = await frameIn(gateway, instance, firstNumber, to);
  }
  if (isUnchanged(exchange, tag)) return;
  const partOf = ({ body, lengthBytes }: ServedFrame, number: number): OutgoingPart => ({
    contentType: `${choice.offer.type}; transfer-syntax=${to}`,
    contentLocation: `${instanceUrl(exchange, instance)}/frames/${number}`,
    lengthBytes,
    body,
  });
  if (!choice.offer.multipart) return sendRange(exchange, partOf(first, firstNumber));
  if (numbers.length === 1) return sendMultipart(exchange, choice.offer.type, tag, [partOf(first, firstNumber)]);
  const parts = async function* (): AsyncGenerator<OutgoingPart, void, undefined> {
    for (const [index, number] of numbers.entries())
      yield partOf(index === 0 ? first : await frameIn(gateway, instance, number, to), number);
  };
  await sendMultipart(exchange, choice.offer.type, tag, parts());
}

/** @throws Refusal BadRequest, NotFound, Gone */
export function theFrames(exchange: Exchange): { instance: InstanceRow; numbers: readonly number[] } {
  const numbers = frameNumbers(String(exchange.request.params['frames'] ?? ''));
  const instance = theInstance(exchange);
  if (numbers.some((number) => number > Math.max(instance.frameCount, 1)))
    throw new Refusal('NotFound', `there is no such frame; the instance has ${instance.frameCount}`);
  return { instance, numbers };
}

/** @throws Refusal BadRequest for anything that is no list of numbers from 1 */
function frameNumbers(list: string): number[] {
  const numbers = list.split(',').map((number) => (/^[1-9]\d*$/.test(number) ? Number(number) : NaN));
  if (numbers.some(Number.isNaN))
    throw new Refusal('BadRequest', 'the frame list has to be numbers from 1, with commas between (PS3.18 10.4.1.1.6)');
  if (numbers.length > MAX_FRAMES)
    throw new Refusal('BadRequest', `the frame list has more than ${MAX_FRAMES} numbers`);
  return numbers;
}

/** A value of the metadata by its BulkDataURI; encapsulated pixel data comes frame by frame (PS3.18 8.7.3.3.2). */
export async function retrieveBulkData(exchange: Exchange): Promise<void> {
  const { gateway, request } = exchange;
  const instance = theInstance(exchange);
  const steps = request.params['path'];
  const path = Array.isArray(steps) ? steps.join('/') : String(steps);
  const data = await readBulkData(gateway.archive, instance, path);
  if (data.kind === 'frames') {
    await sendFramesOfValue(exchange, instance, data.frameCount, path);
    return;
  }
  const syntaxes = [{ uid: EXPLICIT_VR_LITTLE_ENDIAN, answers: ['default'] }];
  const choice = negotiate(exchange, [
    { multipart: true, type: 'application/octet-stream', syntaxes },
    { multipart: false, type: 'application/octet-stream', syntaxes },
  ]);
  const tag = fingerprintOf([instance], `bulk ${path} ${representation(choice)}`);
  if (isUnchanged(exchange, tag)) return;
  const part: OutgoingPart = {
    contentType: `application/octet-stream; transfer-syntax=${EXPLICIT_VR_LITTLE_ENDIAN}`,
    contentLocation: `${instanceUrl(exchange, instance)}/bulkdata/${path}`,
    lengthBytes: data.lengthBytes,
    body: data.bytes,
  };
  if (choice.offer.multipart) {
    // A range would count the markers between the parts (PS3.18 8.6.1.2); it may be passed over (RFC 9110 14.2).
    await sendMultipart(exchange, choice.offer.type, tag, [part]);
    return;
  }
  await sendRange(exchange, part, async (range) => {
    const slice = await readBulkData(gateway.archive, instance, path, range);
    if (slice.kind !== 'value') throw new Refusal('NotFound', 'the instance has no such bulk data');
    return slice.bytes;
  });
}

type Body = OutgoingPart['body'];

/**
 * By itself, or the bytes of it that Range names (RFC 9110 14.2); of what has no length yet everything.
 * @param read the bytes of a range, where they can be had without those before
 */
async function sendRange(
  exchange: Exchange,
  part: OutgoingPart,
  read: (range: ByteRange) => Promise<Body> = (range) => Promise.resolve(slices(chunksOf(part.body), range)),
): Promise<void> {
  const { response } = exchange;
  const { lengthBytes } = part;
  if (lengthBytes === undefined) return sendSingle(exchange, part);
  response.setHeader('Accept-Ranges', 'bytes');
  const range = rangeOf(exchange, lengthBytes);
  if (range === undefined) return sendSingle(exchange, part);
  if (range === 'unsatisfiable') {
    response.setHeader('Content-Range', `bytes */${lengthBytes}`);
    response.statusCode = 416;
    response.end();
    return;
  }
  response.setHeader('Content-Range', `bytes ${range.start}-${range.end - 1}/${lengthBytes}`);
  await sendSingle(exchange, { ...part, lengthBytes: range.end - range.start, body: await read(range) }, 206);
}

async function* slices(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { start, end }: ByteRange,
): AsyncGenerator<Uint8Array, void, undefined> {
  let at = 0;
  for await (const chunk of chunks) {
    const slice = chunk.subarray(Math.max(0, start - at), Math.max(0, end - at));
    at += chunk.length;
    if (slice.length > 0) yield slice;
    if (at >= end) return;
  }
}

async function sendFramesOfValue(
  exchange: Exchange,
  instance: InstanceRow,
  count: number,
  path: string,
): Promise<void> {
  const choice = negotiate(exchange, frameOffers(instance, count === 1));
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  const form = `bulk ${path} ${representation(choice)} ${choice.transferSyntaxes.join()}`;
  await sendFrames(exchange, choice, instance, numbers, fingerprintOf([instance], form));
}

export function scopeOf(exchange: Exchange): Scope {
  const { params } = exchange.request;
  return {
    studyInstanceUID: uidParameter(exchange, 'study'),
    ...(params['series'] === undefined ? {} : { seriesInstanceUID: uidParameter(exchange, 'series') }),
    ...(params['instance'] === undefined ? {} : { sopInstanceUID: uidParameter(exchange, 'instance') }),
  };
}

/** @throws Refusal NotFound, Gone when there is none */
export function instancesIn(exchange: Exchange): InstanceRow[] {
  const scope = scopeOf(exchange);
  const instances = instancesOf(exchange.gateway.archive, scope);
  if (instances.length === 0) throw missing(exchange, scope);
  return instances;
}

/** What changes with everything inside a study, series or instance. @throws Refusal NotFound, Gone when there is none */
export function versionIn(exchange: Exchange, scope: Scope): string {
  const version = versionOfScope(exchange.gateway.archive, scope);
  if (version === undefined) throw missing(exchange, scope);
  return version;
}

/** 410 for what was here and has been deleted (PS3.18 8.5), 404 for what never was. */
export function missing(
  { gateway }: Exchange,
  { studyInstanceUID, seriesInstanceUID, sopInstanceUID }: Scope,
): Refusal {
  const [what, uid] =
    sopInstanceUID !== undefined
      ? ['instance in this series of this study', sopInstanceUID]
      : seriesInstanceUID !== undefined
        ? ['series in this study', seriesInstanceUID]
        : ['study', studyInstanceUID];
  return wasDeleted(gateway.archive, uid) || wasDeleted(gateway.archive, studyInstanceUID)
    ? new Refusal('Gone', `this ${what} has been deleted`)
    : new Refusal('NotFound', `there is no such ${what}`);
}

export function theInstance(exchange: Exchange): InstanceRow {
  const scope = scopeOf(exchange);
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID = '' } = scope;
  const instance = instanceOf(exchange.gateway.archive, sopInstanceUID, studyInstanceUID, seriesInstanceUID);
  if (instance === undefined) throw missing(exchange, scope);
  return instance;
}

/** Of whatever level the path names. @throws Refusal NotFound, Gone when there is none */
export function scopedInstances(exchange: Exchange): InstanceRow[] {
  return exchange.request.params['instance'] === undefined ? instancesIn(exchange) : [theInstance(exchange)];
}

export function instanceUrl({ baseUrl }: Exchange, instance: InstanceRow): string {
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID } = instance;
  return `${baseUrl}/studies/${studyInstanceUID}/series/${seriesInstanceUID}/instances/${sopInstanceUID}`;
}

async function sendInstances(exchange: Exchange, instances: readonly InstanceRow[]): Promise<void> {
  const choice = negotiate(exchange, [
    { multipart: true, type: 'application/dicom', syntaxes: allSyntaxes(instances) },
  ]);
  const kinds = new Map(instances.map((instance) => [kindOf(instance), instance]));
  for (const [kind, one] of kinds) if (syntaxFor(choice, objectSyntaxes(one)) === undefined) kinds.delete(kind);
  const served = instances.filter((instance) => kinds.has(kindOf(instance)));
  // 206: the rest is there, but not in a syntax that was asked for (PS3.18 table 10.4.3-1).
  return sendParts(exchange, choice, served, served.length === instances.length ? 200 : 206);
}

/** What each of the instances is sent in; those of one kind are the same. */
function targetsOf(choice: Choice, instances: readonly InstanceRow[]): string[] {
  const targets = new Map<string, string>();
  return instances.map((instance) => {
    const kind = kindOf(instance);
    let target = targets.get(kind);
    if (target === undefined) targets.set(kind, (target = targetOf(choice, instance)));
    return target;
  });
}

/** Decides together with the request what an instance can be had in. */
function kindOf({ transferSyntaxUID, frameCount }: InstanceRow): string {
  return `${transferSyntaxUID} ${frameCount === 0}`;
}

/** What any of the instances can be had in; what is stored of one goes before what has to be made of another. */
function allSyntaxes(instances: readonly InstanceRow[]): Syntax[] {
  const kinds = new Map(instances.map((instance) => [kindOf(instance), instance]));
  const all = [...kinds.values()].flatMap(objectSyntaxes);
  return [...all.filter(({ converted }) => converted !== true), ...all.filter(({ converted }) => converted === true)];
}

async function sendParts(
  exchange: Exchange,
  choice: Choice,
  instances: readonly InstanceRow[],
  status: number,
): Promise<void> {
  const targets = targetsOf(choice, instances);
  const tag = fingerprintOf(instances, `multipart ${[...new Set(targets)].join()} ${choice.transferSyntaxes.join()}`);
  if (status === 200 && isUnchanged(exchange, tag)) return;
  const [only] = instances;
  // Of one instance what cannot be made is told by the status; of several it goes out as it is stored, and says so.
  const asStored = targets.every((target, index) => target === instances[index]?.transferSyntaxUID);
  const parts =
    instances.length === 1 && only !== undefined
      ? [await instancePart(exchange, choice, only)]
      : asStored
        ? storedParts(exchange, instances)
        : instanceParts(exchange, choice, instances);
  await sendMultipart(exchange, choice.offer.type, tag, parts, status);
}

function targetOf(choice: Choice, instance: InstanceRow): string {
  return syntaxFor(choice, objectSyntaxes(instance))?.uid ?? instance.transferSyntaxUID;
}

/** While one is sent the next is made. */
async function* instanceParts(
  exchange: Exchange,
  choice: Choice,
  instances: readonly InstanceRow[],
): AsyncGenerator<OutgoingPart, void, undefined> {
  const made = (instance: InstanceRow): Promise<OutgoingPart> => {
    const part = instancePart(exchange, choice, instance).catch((error: unknown) => {
      if (!(error instanceof Refusal) || error.reason !== 'NotAcceptable') throw error;
      exchange.gateway.log.warn('sent as stored', { instance: instance.sopInstanceUID, reason: error.message });
      return storedPart(exchange, instance);
    });
    // Its failure is met when its turn comes.
    part.catch(() => undefined);
    return part;
  };
  let next: Promise<OutgoingPart> | undefined;
  for (const [index, instance] of instances.entries()) {
    const part = await (next ?? made(instance));
    const following = instances[index + 1];
    // What is stored costs nothing to begin, and holds a file open.
    const convert = following !== undefined && targetOf(choice, following) !== following.transferSyntaxUID;
    next = convert ? made(following) : undefined;
    yield part;
  }
}

/** @throws Refusal NotAcceptable when its pixels have no form in the syntax; who names no type takes what is stored */
async function instancePart(
  exchange: Exchange,
  choice: Choice,
  instance: InstanceRow,
  sopInstanceUID?: string,
): Promise<OutgoingPart> {
  const { gateway } = exchange;
  try {
    const target = targetOf(choice, instance);
    if (target === instance.transferSyntaxUID && sopInstanceUID === undefined) return storedPart(exchange, instance);
    const { transferSyntaxUID, lengthBytes, body } = await objectIn(gateway, instance, target, sopInstanceUID);
    return {
      contentType: dicomType(transferSyntaxUID),
      contentLocation: instanceUrl(exchange, instance),
      lengthBytes,
      body,
    };
  } catch (error) {
    const stored = choice.byWildcard && sopInstanceUID === undefined;
    if (stored && error instanceof Refusal && error.reason === 'NotAcceptable') return storedPart(exchange, instance);
    throw told(error, instance);
  }
}

/** Each made when its turn comes, and for the sum of their lengths: a list for each of many slow readers would be megabytes. */
function storedParts(exchange: Exchange, instances: readonly InstanceRow[]): Iterable<OutgoingPart> {
  return {
    *[Symbol.iterator]() {
      for (const instance of instances) yield storedPart(exchange, instance);
    },
  };
}

function storedPart(exchange: Exchange, instance: InstanceRow): OutgoingPart {
  return {
    contentType: dicomType(instance.transferSyntaxUID),
    contentLocation: instanceUrl(exchange, instance),
    lengthBytes: instance.lengthBytes,
    body: (lend) => readInstance(exchange.gateway.archive, instance, lend),
  };
}

function dicomType(transferSyntaxUID: string): string {
  return `application/dicom; transfer-syntax=${transferSyntaxUID}`;
}

/** With what there is instead. */
function told(error: unknown, { transferSyntaxUID }: InstanceRow): unknown {
  if (!(error instanceof Refusal) || error.reason !== 'NotAcceptable') return error;
  return new Refusal('NotAcceptable', `${error.message}; available: as stored, transfer-syntax=${transferSyntaxUID}`);
}

export async function sendMultipart(
  { request, response }: Exchange,
  type: string,
  tag: string,
  parts: AsyncIterable<OutgoingPart> | Iterable<OutgoingPart>,
  status = 200,
): Promise<void> {
  // Made of the content, so that the same request gives the same bytes again.
  const boundary = `isthmus-${tag}`;
  response.statusCode = status;
  response.setHeader('Content-Type', multipartType(type, boundary));
  if (request.method === 'HEAD') response.end();
  else await writeMultipart(response, boundary, parts);
}

export async function sendSingle({ request, response }: Exchange, part: OutgoingPart, status = 200): Promise<void> {
  response.statusCode = status;
  response.setHeader('Content-Type', part.contentType);
  response.setHeader('Content-Location', part.contentLocation);
  if (part.lengthBytes !== undefined) response.setHeader('Content-Length', part.lengthBytes);
  if (request.method === 'HEAD') response.end();
  else if (part.body instanceof Uint8Array) response.end(part.body);
  else {
    const { body } = part;
    await sendPieces(response, async function* ({ lend }) {
      for await (const chunk of chunksOf(body, lend)) yield [chunk];
    });
  }
}

function representation({ offer }: Choice): string {
  return `${offer.multipart ? 'multipart' : 'single'} ${offer.type}`;
}
