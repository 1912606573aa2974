/**
 * Thumbnails (PS3.18 10.4.1.1.4) of a study, a series, an instance or a frame. They never show who somebody is (10.4.3.3.4): where
 * letters may be burnt into the pixels, and where there is no picture, a neutral icon stands for it.
 */
import { readInstanceHead, type InstanceRow } from '../archive/instances.ts';
import { cachedPicture } from '../codecs/picture-cache.ts';
import type { PictureType } from '../codecs/picture.ts';
import { drawFrames } from '../codecs/pool.ts';
import { asciiValue } from '../dicom/data-set.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN } from '../dicom/transfer-syntax.ts';
import { fingerprintOf, isUnchanged } from './conditional.ts';
import { negotiate, type Exchange } from './exchange.ts';
import { drawPicture } from './drawing.ts';
import { middleFrame } from './rendered.ts';
import { readThumbnailViewport, type RenderingRequest } from './rendering-request.ts';
import { instancesIn, sendSingle, theFrames, theInstance } from './wado.ts';

const TYPES: readonly PictureType[] = ['image/jpeg', 'image/png', 'image/gif'];
export const THUMBNAIL_SIDE = 128;
/** How many of a series are looked at for one that may be shown. */
const MOST_CANDIDATES = 3;

/** Of a study or a series: the middle one of the images of its first series that has some. */
export async function thumbnailOfMany(exchange: Exchange): Promise<void> {
  const instances = instancesIn(exchange);
  const images = instances.filter(({ frameCount, derived }) => frameCount > 0 && !derived);
  const series = images.filter(({ seriesKey }) => seriesKey === images[0]?.seriesKey);
  const middle = Math.floor(series.length / 2);
  const candidates = series.slice(middle, middle + MOST_CANDIDATES);
  await sendThumbnail(
    exchange,
    instances,
    candidates.map((instance) => ({ instance, frame: middleFrame(instance) })),
  );
}

export async function thumbnailOfInstance(exchange: Exchange): Promise<void> {
  const instance = theInstance(exchange);
  await sendThumbnail(
    exchange,
    [instance],
    instance.frameCount === 0 ? [] : [{ instance, frame: middleFrame(instance) }],
  );
}

/** Of a list of frames the first. */
export async function thumbnailOfFrames(exchange: Exchange): Promise<void> {
  const { instance, numbers } = theFrames(exchange);
  await sendThumbnail(exchange, [instance], instance.frameCount === 0 ? [] : [{ instance, frame: numbers[0] ?? 1 }]);
}

interface Candidate {
  readonly instance: InstanceRow;
  readonly frame: number;
}

async function sendThumbnail(
  exchange: Exchange,
  all: readonly InstanceRow[],
  candidates: readonly Candidate[],
): Promise<void> {
  const { width = THUMBNAIL_SIDE, height = THUMBNAIL_SIDE } = readThumbnailViewport(exchange.query) ?? {};
  const choice = negotiate(
    exchange,
    TYPES.map((type) => ({ multipart: false, type })),
  );
  const type = choice.offer.type as PictureType;
  const shown = candidates.map(({ frame }) => frame).join();
  if (isUnchanged(exchange, fingerprintOf(all, `thumbnail ${type} ${width}x${height} ${shown}`))) return;
  const body =
    (await firstPicture(exchange, type, { width, height }, candidates)) ??
    (await icon(exchange, type, { width, height }));
  const contentLocation = `${exchange.baseUrl}${exchange.request.path}`;
  await sendSingle(exchange, { contentType: type, contentLocation, lengthBytes: body.length, body });
}

interface Size {
  readonly width: number;
  readonly height: number;
}

async function firstPicture(
  exchange: Exchange,
  type: PictureType,
  size: Size,
  candidates: readonly Candidate[],
): Promise<Buffer | undefined> {
  const viewport = {
    ...size,
    left: 0,
    top: 0,
    sourceWidth: undefined,
    sourceHeight: undefined,
    flipHorizontal: false,
    flipVertical: false,
  };
  const request: RenderingRequest = {
    viewport,
    window: undefined,
    quality: 80,
    iccProfile: 'no',
    annotations: [],
    unsupportedAnnotations: [],
  };
  for (const { instance, frame } of candidates) {
    if (!(await mayBeShown(exchange, instance))) continue;
    try {
      return await drawPicture(exchange, type, { instance, frames: [frame], request });
    } catch (error) {
      if (!(error instanceof Refusal) || error.reason !== 'NotAcceptable') throw error;
    }
  }
  return undefined;
}

/** What commonly has letters in its pixels: ultrasound, secondary captures, angiography, endoscopy, photographs, documents. */
const RISKY_MODALITIES: ReadonlySet<string> = new Set([
  'US',
  'IVUS',
  'XA',
  'RF',
  'ES',
  'XC',
  'GM',
  'OT',
  'DOC',
  'ECG',
  'SC',
  'VL',
]);
const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7';

/** Only where the object itself says that nothing is burnt in, or where its kind makes it unlikely. */
async function mayBeShown({ gateway }: Exchange, instance: InstanceRow): Promise<boolean> {
  const { head } = readHead(await readInstanceHead(gateway.archive, instance));
  const burntIn = asciiValue(head.dataSet, 0x00280301);
  if (burntIn !== undefined) return burntIn === 'NO';
  return !RISKY_MODALITIES.has(instance.modality) && !instance.sopClassUID.startsWith(SECONDARY_CAPTURE);
}

/** A grey frame on a dark ground. */
function icon({ gateway }: Exchange, type: PictureType, { width, height }: Size): Promise<Buffer> {
  return cachedPicture(gateway.pictures, `icon ${type} ${width}x${height}`, () => {
    const frame = Buffer.alloc(THUMBNAIL_SIDE * THUMBNAIL_SIDE, 0x30);
    for (let row = 28; row < 100; row++)
      for (let column = 20; column < 108; column++) {
        const edge = row < 32 || row >= 96 || column < 24 || column >= 104;
        if (edge) frame[row * THUMBNAIL_SIDE + column] = 0x80;
      }
    return drawFrames(gateway.codecs, {
      frames: [{ frame, presentation: AS_IT_IS }],
      layout: {
        rows: THUMBNAIL_SIDE,
        columns: THUMBNAIL_SIDE,
        samplesPerPixel: 1,
        bitsAllocated: 8,
        bitsStored: 8,
        highBit: 7,
        signed: false,
        planar: false,
        photometricInterpretation: 'MONOCHROME2',
      },
      from: EXPLICIT_VR_LITTLE_ENDIAN,
      form: { type, quality: 80, iccProfile: 'no', pixelAspect: 1, viewport: { width, height } },
    });
  });
}

const AS_IT_IS = {
  slope: 1,
  intercept: 0,
  modalityTable: undefined,
  window: { center: 128, width: 256, shape: 'linear' },
  voiTable: undefined,
  inverse: false,
  palette: undefined,
  padding: undefined,
  float: false,
  pixelAspect: 1,
} as const;
