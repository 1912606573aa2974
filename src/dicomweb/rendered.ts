/** Rendered resources (PS3.18 10.4.1.1.3): pictures for browsers, drawn once and kept while there is room. */
import { readFrame } from '../archive/frames.ts';
import { readInstanceHead, type InstanceRow } from '../archive/instances.ts';
import { frameBytes, imageLayout, unusable, type ImageLayout } from '../codecs/image.ts';
import { cachedPicture } from '../codecs/picture-cache.ts';
import type { PictureForm, PictureType, Viewport } from '../codecs/picture.ts';
import { drawFrames } from '../codecs/pool.ts';
import { presentationOf } from '../codecs/presentation.ts';
import { numberValue } from '../dicom/data-set.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { negotiate, warn, type Exchange } from './exchange.ts';
import type { Choice, Offer } from './media-type.ts';
import type { OutgoingPart } from './multipart.ts';
import { readRenderingRequest, type RenderingRequest, type ViewportRequest } from './rendering-request.ts';
import {
  fingerprintOf,
  frameNumbers,
  instancesIn,
  instanceUrl,
  isUnchanged,
  sendMultipart,
  sendSingle,
  theInstance,
  versionOfInstance,
} from './wado.ts';

const TYPES: readonly PictureType[] = ['image/jpeg', 'image/png', 'image/gif'];
const one: readonly Offer[] = TYPES.map((type) => ({ multipart: false, type }));
const many: readonly Offer[] = TYPES.map((type) => ({ multipart: true, type }));

/** Every image of a study or a series; as parts only (PS3.18 10.4.4). What is no image, or cannot be drawn, is passed over. */
export async function renderAll(exchange: Exchange): Promise<void> {
  const instances = instancesIn(exchange).filter(({ frameCount }) => frameCount > 0);
  const request = askedFor(exchange);
  const choice = negotiate(exchange, many);
  refuseProfile(choice, request);
  if (instances.length === 0) throw new Refusal('NotAcceptable', 'there is no image that could be rendered');
  const tag = fingerprintOf(instances, formKey(choice, request));
  if (isUnchanged(exchange, tag)) return;
  const pictures = drawnParts(exchange, choice, request, instances);
  // Before anything is sent, so that a study without a single picture is told by the status.
  const first = await pictures.next();
  if (first.done === true) throw new Refusal('NotAcceptable', 'none of the images can be rendered');
  const parts = async function* (): AsyncGenerator<OutgoingPart, void, undefined> {
    yield first.value;
    yield* pictures;
  };
  await sendMultipart(exchange, choice.offer.type, tag, parts());
}

async function* drawnParts(
  exchange: Exchange,
  choice: Choice,
  request: RenderingRequest,
  instances: readonly InstanceRow[],
): AsyncGenerator<OutgoingPart, void, undefined> {
  for (const instance of instances) {
    for (const frames of shownIn(choice, instance)) {
      try {
        yield await part(exchange, choice, { instance, frames, request });
      } catch (error) {
        if (!(error instanceof Refusal) || error.reason !== 'NotAcceptable') throw error;
        exchange.gateway.log.warn('not rendered', { instance: instance.sopInstanceUID, reason: error.message });
      }
    }
  }
}

/** A GIF holds all frames of an instance, any other type one. */
function shownIn({ offer }: Choice, { frameCount }: InstanceRow): number[][] {
  const all = Array.from({ length: frameCount }, (_, index) => index + 1);
  return offer.type === 'image/gif' ? [all] : all.map((number) => [number]);
}

/**
 * An instance: of several frames the middle one, all of them as a GIF that moves or as parts.
 * @throws Refusal NotAcceptable when it is no image or cannot be drawn
 */
export async function renderInstance(exchange: Exchange): Promise<void> {
  const instance = theInstance(exchange);
  const request = askedFor(exchange);
  const choice = negotiate(exchange, [...one, ...many]);
  refuseProfile(choice, request);
  if (instance.frameCount === 0) throw new Refusal('NotAcceptable', 'the instance has no image that could be rendered');
  const moving = choice.offer.type === 'image/gif' || choice.offer.multipart;
  const shown = moving ? shownIn(choice, instance) : [[middleFrame(instance)]];
  await sendPictures(exchange, choice, { instance, shown, request });
}

export function middleFrame({ frameCount }: InstanceRow): number {
  return Math.ceil(frameCount / 2);
}

/** Frames, in the order asked for. */
export async function renderFrames(exchange: Exchange): Promise<void> {
  const numbers = frameNumbers(String(exchange.request.params['frames']));
  const instance = theInstance(exchange);
  if (numbers.some((number) => number > Math.max(instance.frameCount, 1)))
    throw new Refusal('NotFound', `there is no such frame; the instance has ${instance.frameCount}`);
  const request = askedFor(exchange);
  const choice = negotiate(exchange, numbers.length === 1 ? [...one, ...many] : many);
  refuseProfile(choice, request);
  await sendPictures(exchange, choice, { instance, shown: numbers.map((number) => [number]), request });
}

interface Shown {
  readonly instance: InstanceRow;
  readonly shown: readonly (readonly number[])[];
  readonly request: RenderingRequest;
}

async function sendPictures(exchange: Exchange, choice: Choice, { instance, shown, request }: Shown): Promise<void> {
  const tag = fingerprintOf(
    [instance],
    `${shown.map((frames) => frames.join()).join(';')} ${formKey(choice, request)}`,
  );
  if (isUnchanged(exchange, tag)) return;
  const [firstFrames = [1]] = shown;
  const first = await part(exchange, choice, { instance, frames: firstFrames, request });
  if (!choice.offer.multipart) return sendSingle(exchange, first);
  const parts = async function* (): AsyncGenerator<OutgoingPart, void, undefined> {
    yield first;
    for (const frames of shown.slice(1)) yield await part(exchange, choice, { instance, frames, request });
  };
  await sendMultipart(exchange, choice.offer.type, tag, parts());
}

function askedFor(exchange: Exchange): RenderingRequest {
  const request = readRenderingRequest(exchange.query);
  if (request.annotations.length > 0)
    warn(exchange, `The following annotation values are not supported: ${request.annotations.join(', ')}`);
  return request;
}

/** PS3.18 8.3.5.1.5: a GIF has no place for a profile. */
function refuseProfile({ offer }: Choice, { iccProfile }: RenderingRequest): void {
  if (iccProfile && offer.type === 'image/gif')
    throw new Refusal(
      'BadRequest',
      'the query parameter iccprofile asks for what image/gif cannot hold (PS3.18 8.3.5.1.5)',
    );
}

function formKey({ offer }: Choice, request: RenderingRequest): string {
  return `${offer.multipart ? 'parts' : 'picture'} ${offer.type} ${JSON.stringify(request)}`;
}

interface Wanted {
  readonly instance: InstanceRow;
  /** Counted from 1; several for a picture that moves. */
  readonly frames: readonly number[];
  readonly request: RenderingRequest;
}

async function part(exchange: Exchange, choice: Choice, wanted: Wanted): Promise<OutgoingPart> {
  const type = choice.offer.type as PictureType;
  const body = await drawPicture(exchange, type, wanted);
  const { instance, frames } = wanted;
  const [number] = frames;
  const place = frames.length === 1 && instance.frameCount > 1 ? `/frames/${number}/rendered` : '/rendered';
  return {
    contentType: type,
    contentLocation: `${instanceUrl(exchange, instance)}${place}`,
    lengthBytes: body.length,
    body,
  };
}

/** Of an animated picture before it is compressed. */
const MOST_MOVING_BYTES = 256 * 2 ** 20;

/** @throws Refusal NotAcceptable for what cannot be drawn, BadRequest for a viewport outside the picture */
export function drawPicture(
  exchange: Exchange,
  type: PictureType,
  { instance, frames, request }: Wanted,
): Promise<Buffer> {
  const { gateway } = exchange;
  const key = `${versionOfInstance(instance)} ${frames.join()} ${type} ${JSON.stringify(request)}`;
  return cachedPicture(gateway.pictures, key, async () => {
    const { head } = readHead(await readInstanceHead(gateway.archive, instance));
    const layout = imageLayout(head.dataSet);
    if (frames.length > 1 && frames.length * frameBytes(layout) > MOST_MOVING_BYTES)
      throw unusable(`${frames.length} frames are too much for one picture; they can be had by frame`);
    const presentations = frames.map((number) => presentationOf(head.dataSet, number, head.pixelData?.tag));
    const stored: Buffer[] = [];
    for (const number of frames) stored.push(await wholeFrame(exchange, instance, number));
    const pixelAspect = presentations[0]?.pixelAspect ?? 1;
    const frameTimeMs = numberValue(head.dataSet, 0x00181063);
    const form: PictureForm = {
      type,
      quality: request.quality,
      iccProfile: request.iccProfile,
      pixelAspect,
      ...(request.viewport === undefined ? {} : { viewport: viewportIn(request.viewport, layout) }),
      ...(frameTimeMs === undefined ? {} : { frameTimeMs }),
    };
    return drawFrames(gateway.codecs, {
      frames: presentations.map((presentation, index) => ({
        frame: stored[index] ?? Buffer.alloc(0),
        presentation: request.window === undefined ? presentation : { ...presentation, window: request.window },
      })),
      layout,
      from: instance.transferSyntaxUID,
      form,
    });
  });
}

async function wholeFrame({ gateway }: Exchange, instance: InstanceRow, number: number): Promise<Buffer> {
  const { bytes } = await readFrame(gateway.archive, instance, number);
  if (Buffer.isBuffer(bytes)) return bytes;
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The region in whole pixels, inside the picture. @throws Refusal BadRequest for one that lies outside */
function viewportIn(asked: ViewportRequest, { rows, columns }: ImageLayout): Viewport {
  const { width, height, flipHorizontal, flipVertical } = asked;
  const left = Math.floor(asked.left);
  const top = Math.floor(asked.top);
  const right = asked.sourceWidth === undefined ? columns : Math.ceil(asked.left + asked.sourceWidth);
  const bottom = asked.sourceHeight === undefined ? rows : Math.ceil(asked.top + asked.sourceHeight);
  if (left >= columns || top >= rows || right > columns || bottom > rows)
    throw new Refusal('BadRequest', `the viewport reaches outside the ${columns} x ${rows} pixels of the image`);
  const source = { left, top, width: right - left, height: bottom - top };
  return { width, height, source, flipHorizontal, flipVertical };
}
