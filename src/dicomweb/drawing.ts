/** A picture of stored frames: read by their extents, drawn in the codecs' threads, kept while there is room. */
import { readFrame } from '../archive/frames.ts';
import { readInstanceHead, type InstanceRow } from '../archive/instances.ts';
import { frameBytes, imageLayout, unusable, type ImageLayout } from '../codecs/image.ts';
import { cachedPicture } from '../codecs/picture-cache.ts';
import type { PictureForm, PictureType, Viewport } from '../codecs/picture.ts';
import { drawFrames } from '../codecs/pool.ts';
import { presentationOf, type Presentation } from '../codecs/presentation.ts';
import type { FrameToDraw } from '../codecs/requests.ts';
import { presentationUnder, readState, refuseUndrawn, type SoftcopyState } from '../codecs/softcopy-state.ts';
import { findElement, itemsOf, numberValue, numberValues, valueBytes, type DataSet } from '../dicom/data-set.ts';
import { readHead, type HeadAndBody } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { cornersOf } from './annotation.ts';
import { versionOfInstance } from './conditional.ts';
import type { Exchange } from './exchange.ts';
import type { Region, RenderingRequest, ViewportRequest } from './rendering-request.ts';

export interface Wanted {
  readonly instance: InstanceRow;
  /** Counted from 1; several for a picture that moves. */
  readonly frames: readonly number[];
  readonly request: RenderingRequest;
  /** The presentation state under which the image is seen. */
  readonly state?: InstanceRow | undefined;
}

/** Of an animated picture before it is compressed. */
const MOST_MOVING_BYTES = 256 * 2 ** 20;

/** @throws Refusal NotAcceptable for what cannot be drawn, BadRequest for a viewport outside the picture */
export function drawPicture(exchange: Exchange, type: PictureType, wanted: Wanted): Promise<Buffer> {
  const { pictures } = exchange.gateway;
  const { instance, frames, request, state } = wanted;
  const { unsupportedAnnotations: _told, ...shown } = request;
  const under = state === undefined ? '' : ` ${versionOfInstance(state)}`;
  const key = `${versionOfInstance(instance)}${under} ${frames.join()} ${type} ${JSON.stringify(shown)}`;
  return cachedPicture(pictures, key, () => draw(exchange, type, wanted));
}

async function draw(exchange: Exchange, type: PictureType, wanted: Wanted): Promise<Buffer> {
  const { gateway } = exchange;
  const { instance, frames, request } = wanted;
  const object = await headOf(exchange, instance);
  const { dataSet } = object.head;
  const layout = imageLayout(dataSet);
  if (frames.length > 1 && frames.length * frameBytes(layout) > MOST_MOVING_BYTES)
    throw unusable(`${frames.length} frames are too much for one picture; they can be had by frame`);
  const toDraw: FrameToDraw[] = [];
  const lookOf = await looks(exchange, wanted, object, layout);
  for (const number of frames) toDraw.push({ frame: await wholeFrame(exchange, instance, number), ...lookOf(number) });
  const [first] = toDraw;
  const corners = cornersOf(
    dataSet,
    request.annotations,
    first && { frame: frames[0] ?? 1, frameCount: instance.frameCount, presentation: first.presentation },
  );
  const ownProfile = request.iccProfile === 'no' ? undefined : profileOf(dataSet);
  const frameTimesMs = frames.length > 1 ? timesOf(dataSet, frames) : undefined;
  const form: PictureForm = {
    type,
    quality: request.quality,
    iccProfile: request.iccProfile,
    pixelAspect: first?.presentation.pixelAspect ?? 1,
    ...(request.viewport === undefined ? {} : { viewport: viewportIn(request.viewport, layout) }),
    ...(frameTimesMs === undefined ? {} : { frameTimesMs }),
    ...(corners === undefined ? {} : { corners }),
    ...(ownProfile === undefined ? {} : { ownProfile }),
  };
  return drawFrames(gateway.codecs, { frames: toDraw, layout, from: instance.transferSyntaxUID, form });
}

/** How each frame is to look: as the image says, with the window asked for, or as a presentation state says. */
async function looks(
  exchange: Exchange,
  { instance, request, state }: Wanted,
  { head }: HeadAndBody,
  layout: ImageLayout,
): Promise<(frame: number) => Omit<FrameToDraw, 'frame'>> {
  const { dataSet, pixelData } = head;
  if (state === undefined)
    return (frame) => {
      const presentation: Presentation = presentationOf(dataSet, frame, pixelData?.tag);
      return {
        presentation: request.window === undefined ? presentation : { ...presentation, window: request.window },
      };
    };
  refuseUndrawn(state.sopClassUID);
  const { dataSet: stateSet } = (await headOf(exchange, state)).head;
  return (frame) => {
    const subject = { dataSet, layout, sopInstanceUID: instance.sopInstanceUID, frame };
    return {
      presentation: presentationUnder(stateSet, subject, pixelData?.tag),
      state: within(readState(stateSet, subject), request.region),
    };
  };
}

/** What is drawn in parts of the displayed area is drawn in parts of the region. @throws Refusal BadRequest for one that is not displayed */
function within(state: SoftcopyState, region: Region | undefined): SoftcopyState {
  if (region === undefined) return state;
  const area = {
    ...state.area,
    left: Math.max(state.area.left, region.left + 1),
    top: Math.max(state.area.top, region.top + 1),
    right: Math.min(state.area.right, region.left + region.width),
    bottom: Math.min(state.area.bottom, region.top + region.height),
  };
  if (area.left > area.right || area.top > area.bottom)
    throw new Refusal('BadRequest', 'the presentation state displays nothing of the region');
  return { ...state, area };
}

export async function headOf({ gateway }: Exchange, instance: InstanceRow): Promise<HeadAndBody> {
  return readHead(await readInstanceHead(gateway.archive, instance));
}

async function wholeFrame({ gateway }: Exchange, instance: InstanceRow, number: number): Promise<Buffer> {
  const { bytes } = await readFrame(gateway.archive, instance, number);
  if (Buffer.isBuffer(bytes)) return bytes;
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** ICC Profile (0028,2000), of the image or of its first optical path (PS3.3 C.11.15). */
function profileOf(dataSet: DataSet): Uint8Array | undefined {
  for (const place of [dataSet, itemsOf(dataSet, 0x00480105)[0]]) {
    const element = place && findElement(place, 0x00282000);
    if (place !== undefined && element !== undefined) return Uint8Array.from(valueBytes(place, element));
  }
  return undefined;
}

/** Frame Time Vector, Frame Time, Recommended Display Frame Rate, Cine Rate (PS3.3 C.7.6.5). */
function timesOf(dataSet: DataSet, frames: readonly number[]): number[] | undefined {
  const vector = numberValues(dataSet, 0x00181065);
  // The time before each frame: how long one is seen is told by the next.
  if (vector.length >= frames.length && frames.length > 1)
    return frames.map((_, index) => vector[index + 1] ?? vector[index] ?? 100);
  const frameTime = numberValue(dataSet, 0x00181063);
  const rate = numberValue(dataSet, 0x00082144) ?? numberValue(dataSet, 0x00180040);
  const each = frameTime ?? (rate === undefined || rate <= 0 ? undefined : 1000 / rate);
  return each === undefined ? undefined : [each];
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
