/**
 * Rendered resources (PS3.18 10.4.1.1.3): pictures and readable documents for browsers. Of an image its frames, of a presentation state
 * the images it is for, of a report or an encapsulated document its text.
 */
import { isWithheld } from '../archive/withheld.ts';
import { instanceOf, type InstanceRow } from '../archive/instances.ts';
import type { PictureType } from '../codecs/picture.ts';
import { isPresentationState, referencedImages } from '../codecs/softcopy-state.ts';
import { Refusal } from '../dicom/refusal.ts';
import { fingerprintOf, isUnchanged } from './conditional.ts';
import { documentOffers, drawDocument, isDocument, policyOf } from './document.ts';
import { drawPicture, headOf } from './drawing.ts';
import { negotiate, warn, type Exchange } from './exchange.ts';
import type { Choice, Offer } from './media-type.ts';
import type { OutgoingPart } from './multipart.ts';
import { readRenderingRequest, type RenderingRequest } from './rendering-request.ts';
import { instancesIn, instanceUrl, sendMultipart, sendSingle, theFrames, theInstance } from './wado.ts';

const TYPES: readonly PictureType[] = ['image/jpeg', 'image/png', 'image/gif'];
export const PICTURES: readonly Offer[] = TYPES.map((type) => ({ multipart: false, type }));
const PICTURE_PARTS: readonly Offer[] = TYPES.map((type) => ({ multipart: true, type }));

type Kind = 'image' | 'state' | 'document' | 'none';

export function kindOf({ sopClassUID, frameCount }: InstanceRow): Kind {
  if (isPresentationState(sopClassUID)) return 'state';
  if (isDocument(sopClassUID)) return 'document';
  return frameCount > 0 ? 'image' : 'none';
}

/** One picture, or one document. */
interface Shot {
  readonly instance: InstanceRow;
  /** Counted from 1; several for a picture that moves; none of a document. */
  readonly frames: readonly number[];
  readonly state?: InstanceRow;
}

/** Everything in a study or a series that can be seen; as parts only (PS3.18 10.4.4). What cannot be drawn is passed over. */
export async function renderAll(exchange: Exchange): Promise<void> {
  const instances = instancesIn(exchange);
  const request = askedFor(exchange);
  const documents = instances.filter((one) => kindOf(one) === 'document');
  const images = instances.filter((one) => ['image', 'state'].includes(kindOf(one)));
  const offers = [
    ...(images.length > 0 || documents.length === 0 ? PICTURE_PARTS : []),
    ...documentOffers(documents).map((offer) => ({ ...offer, multipart: true })),
  ];
  const choice = negotiate(exchange, offers);
  refuseProfile(choice, request);
  const wanted = isPicture(choice) ? images : documents;
  const tag = fingerprintOf(instances, formKey(choice, request));
  if (isUnchanged(exchange, tag)) return;
  const parts = drawnParts(exchange, choice, request, wanted);
  // Before anything is sent, so that a study without a single picture is told by the status.
  const first = await parts.next();
  if (first.done === true) throw new Refusal('NotAcceptable', 'there is nothing that could be rendered');
  await sendMultipart(exchange, choice.offer.type, tag, resumed(first.value, parts));
}

async function* resumed(
  first: OutgoingPart,
  rest: AsyncIterable<OutgoingPart>,
): AsyncGenerator<OutgoingPart, void, undefined> {
  yield first;
  yield* rest;
}

async function* drawnParts(
  exchange: Exchange,
  choice: Choice,
  request: RenderingRequest,
  instances: readonly InstanceRow[],
): AsyncGenerator<OutgoingPart, void, undefined> {
  for (const instance of instances) {
    try {
      for (const shot of await shotsOf(exchange, choice, instance)) {
        // A picture that was left out would have moved the others' places: it is told by its absence alone.
        const made = await part(exchange, choice, shot, request).catch((error: unknown) =>
          passOver(exchange, shot, error),
        );
        if (made !== undefined) yield made;
      }
    } catch (error) {
      passOver(exchange, { instance, frames: [] }, error);
    }
  }
}

function passOver({ gateway }: Exchange, { instance }: Shot, error: unknown): undefined {
  if (!(error instanceof Refusal) || error.reason !== 'NotAcceptable') throw error;
  gateway.log.warn('not rendered', { instance: instance.sopInstanceUID, reason: error.message });
}

function isPicture({ offer }: Choice): boolean {
  return offer.type.startsWith('image/');
}

/** All that an instance shows, a GIF holding all frames of an image, any other type one. @throws Refusal NotAcceptable */
async function shotsOf(exchange: Exchange, choice: Choice, instance: InstanceRow): Promise<Shot[]> {
  if (!isPicture(choice)) return [{ instance, frames: [] }];
  if (kindOf(instance) === 'state') return shotsUnder(exchange, choice, instance);
  const all = Array.from({ length: instance.frameCount }, (_, index) => index + 1);
  return inType(choice, instance, all);
}

function inType({ offer }: Choice, instance: InstanceRow, frames: readonly number[], state?: InstanceRow): Shot[] {
  const under = state === undefined ? {} : { state };
  return offer.type === 'image/gif'
    ? [{ instance, frames, ...under }]
    : frames.map((number) => ({ instance, frames: [number], ...under }));
}

/** The images of a presentation state that are here. @throws Refusal NotAcceptable when none is */
async function shotsUnder(exchange: Exchange, choice: Choice, state: InstanceRow): Promise<Shot[]> {
  const { head } = await headOf(exchange, state);
  const shots = referencedImages(head.dataSet).flatMap(({ sopInstanceUID, frames }) => {
    // Some writers name another series or study than the image's.
    const image = instanceOf(exchange.gateway.archive, sopInstanceUID);
    if (image === undefined || kindOf(image) !== 'image') return [];
    if (isWithheld(exchange.gateway.archive, image.studyInstanceUID)) return [];
    const all = frames ?? Array.from({ length: image.frameCount }, (_, index) => index + 1);
    return inType(
      choice,
      image,
      all.filter((number) => number >= 1 && number <= image.frameCount),
      state,
    );
  });
  const shown = shots.filter(({ frames }) => frames.length > 0);
  if (shown.length === 0)
    throw new Refusal('NotAcceptable', 'none of the images that the presentation state is for is here');
  return shown;
}

/**
 * An instance: of several frames the middle one, all of them as a GIF that moves or as parts.
 * @throws Refusal NotAcceptable when there is nothing to see
 */
export async function renderInstance(exchange: Exchange): Promise<void> {
  const instance = theInstance(exchange);
  const request = askedFor(exchange);
  const kind = kindOf(instance);
  const single = kind === 'document' ? documentOffers([instance]) : PICTURES;
  const choice = negotiate(exchange, [...single, ...single.map((offer) => ({ ...offer, multipart: true }))]);
  await renderOne(exchange, choice, instance, request);
}

export async function renderOne(
  exchange: Exchange,
  choice: Choice,
  instance: InstanceRow,
  request: RenderingRequest,
): Promise<void> {
  const kind = kindOf(instance);
  refuseProfile(choice, request);
  if (kind === 'none') throw new Refusal('NotAcceptable', 'the instance has no image that could be rendered');
  if (kind === 'state') refuseForState(request);
  const shots = await shotsOf(exchange, choice, instance);
  if (choice.offer.multipart || choice.offer.type === 'image/gif' || kind !== 'image')
    return sendShots(exchange, choice, choice.offer.multipart ? shots : shots.slice(0, 1), request);
  await sendShots(exchange, choice, [{ instance, frames: [middleFrame(instance)] }], request);
}

/** PS3.18 8.3.5.1.3, 8.3.5.1.4: a presentation state says itself how grey and which part. @throws Refusal BadRequest */
function refuseForState({ window, viewport }: RenderingRequest): void {
  if (window !== undefined)
    throw new Refusal('BadRequest', 'the query parameter window does not go with a presentation state');
  if (viewport === undefined) return;
  const { left, top, sourceWidth, sourceHeight } = viewport;
  if (left !== 0 || top !== 0 || sourceWidth !== undefined || sourceHeight !== undefined)
    throw new Refusal('BadRequest', 'the query parameter viewport of a presentation state is vw,vh');
}

export function middleFrame({ frameCount }: InstanceRow): number {
  return Math.ceil(frameCount / 2);
}

/** Frames, in the order asked for. */
export async function renderFrames(exchange: Exchange): Promise<void> {
  const { instance, numbers } = theFrames(exchange);
  const request = askedFor(exchange);
  // A GIF may hold all of them, so it is one picture whatever the list.
  const gif = PICTURES.filter(({ type }) => type === 'image/gif');
  const choice = negotiate(
    exchange,
    [...(numbers.length === 1 ? PICTURES : gif), ...PICTURE_PARTS].sort(partsFirst(numbers.length)),
  );
  refuseProfile(choice, request);
  const moving = choice.offer.type === 'image/gif' && !choice.offer.multipart;
  const shots = moving ? [numbers] : numbers.map((number) => [number]);
  await sendShots(
    exchange,
    choice,
    shots.map((frames) => ({ instance, frames })),
    request,
  );
}

/** Who names no type gets parts when there are several frames. */
function partsFirst(count: number): (a: Offer, b: Offer) => number {
  return (a, b) =>
    count === 1 ? Number(a.multipart) - Number(b.multipart) : Number(b.multipart) - Number(a.multipart);
}

/** One frame of an image. */
export async function renderFrame(
  exchange: Exchange,
  choice: Choice,
  { instance, frame }: { instance: InstanceRow; frame: number },
  request: RenderingRequest,
): Promise<void> {
  await sendShots(exchange, choice, [{ instance, frames: [frame] }], request);
}

/** One image under a presentation state, chosen by the caller. @throws Refusal BadRequest when the state is not for it */
export async function renderUnder(
  exchange: Exchange,
  choice: Choice,
  { instance, state, frame }: { instance: InstanceRow; state: InstanceRow; frame: number | undefined },
  request: RenderingRequest,
): Promise<void> {
  const shots = (await shotsUnder(exchange, choice, state)).filter(
    (shot) =>
      shot.instance.sopInstanceUID === instance.sopInstanceUID && (frame === undefined || shot.frames.includes(frame)),
  );
  const [shot] = shots;
  if (shot === undefined) throw new Refusal('BadRequest', 'the presentation state is not for this image');
  await sendShots(exchange, choice, [frame === undefined ? shot : { ...shot, frames: [frame] }], request);
}

async function sendShots(
  exchange: Exchange,
  choice: Choice,
  shots: readonly Shot[],
  request: RenderingRequest,
): Promise<void> {
  const instances = shots.flatMap(({ instance, state }) => (state === undefined ? [instance] : [instance, state]));
  const frames = shots.map((shot) => shot.frames.join()).join(';');
  const tag = fingerprintOf(instances, `${frames} ${formKey(choice, request)}`);
  if (isUnchanged(exchange, tag)) return;
  const [firstShot] = shots;
  if (firstShot === undefined) throw new Refusal('NotAcceptable', 'there is nothing that could be rendered');
  const first = await part(exchange, choice, firstShot, request);
  if (!choice.offer.multipart) {
    if (!isPicture(choice)) exchange.response.setHeader('Content-Security-Policy', policyOf(choice.offer.type));
    return sendSingle(exchange, first);
  }
  const rest = async function* (): AsyncGenerator<OutgoingPart, void, undefined> {
    for (const shot of shots.slice(1)) yield await part(exchange, choice, shot, request);
  };
  await sendMultipart(exchange, choice.offer.type, tag, resumed(first, rest()));
}

function askedFor(exchange: Exchange): RenderingRequest {
  const request = readRenderingRequest(exchange.query);
  tellUnsupported(exchange, request);
  return request;
}

/** PS3.18 8.3.5.1.1. */
export function tellUnsupported(exchange: Exchange, { unsupportedAnnotations }: RenderingRequest): void {
  if (unsupportedAnnotations.length > 0)
    warn(exchange, `The following annotation values are not supported: ${unsupportedAnnotations.join(', ')}`);
}

/** PS3.18 8.3.5.1.5: a GIF has no place for a profile, nor has text. */
function refuseProfile({ offer }: Choice, { iccProfile }: RenderingRequest): void {
  if (iccProfile !== 'no' && offer.type !== 'image/jpeg' && offer.type !== 'image/png')
    throw new Refusal(
      'BadRequest',
      `the query parameter iccprofile asks for what ${offer.type} cannot hold (PS3.18 8.3.5.1.5)`,
    );
}

function formKey({ offer }: Choice, request: RenderingRequest): string {
  return `${offer.multipart ? 'parts' : 'picture'} ${offer.type} ${JSON.stringify(request)}`;
}

async function part(
  exchange: Exchange,
  { offer: { type } }: Choice,
  { instance, frames, state }: Shot,
  request: RenderingRequest,
): Promise<OutgoingPart> {
  if (frames.length === 0) return drawDocument(exchange, type, instance);
  const body = await drawPicture(exchange, type as PictureType, { instance, frames, request, state });
  const place = frames.length < instance.frameCount ? `/frames/${frames.join()}/rendered` : '/rendered';
  return {
    contentType: type,
    // A picture under a state is the state's.
    contentLocation:
      state === undefined ? `${instanceUrl(exchange, instance)}${place}` : `${instanceUrl(exchange, state)}/rendered`,
    lengthBytes: body.length,
    body,
  };
}
