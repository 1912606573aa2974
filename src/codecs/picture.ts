/** Pictures for eyes: JPEG, PNG and GIF of 8-bit samples, cut and scaled; by libvips. Only ever fed with raw samples of known length. */
import sharp, { type Sharp } from 'sharp';
import {
  fromSrgb,
  isRgbProfile,
  makeProfile,
  profileIntoJpeg,
  profileIntoPng,
  type ColourSpace,
} from './icc-profile.ts';
import { unusable, type ImageLayout } from './image.ts';
import { writeCorners, type Corners } from './lettering.ts';

// One picture a thread: the pool decides how many threads there are; what is read once is not kept.
sharp.concurrency(1);
sharp.cache(false);

/** 8-bit samples, pixel after pixel: 1 grey, 3 RGB. */
export interface Picture {
  readonly bytes: Buffer;
  readonly columns: number;
  readonly rows: number;
  readonly channels: 1 | 3;
}

export type PictureType = 'image/jpeg' | 'image/png' | 'image/gif';

/** `width` x `height`: the box that is filled, keeping the shape of the pixels (PS3.18 8.3.5.1.3); a negative source extent flips. */
export interface Viewport {
  readonly width: number;
  readonly height: number;
  readonly source?: { readonly left: number; readonly top: number; readonly width: number; readonly height: number };
  readonly flipHorizontal?: boolean;
  readonly flipVertical?: boolean;
}

/** `no`: none is put in; `yes`: the object's own, or sRGB; a colour space: the colours are made so and it is put in (PS3.18 8.3.5.1.5). */
export type IccProfile = 'no' | 'yes' | ColourSpace;

export interface PictureForm {
  readonly type: PictureType;
  /** 1 to 100, of JPEG. */
  readonly quality: number;
  readonly iccProfile: IccProfile;
  /** The profile that the object itself names for its colours. */
  readonly ownProfile?: Uint8Array;
  /** Written into the picture when it has its size. */
  readonly corners?: Corners;
  readonly viewport?: Viewport;
  /** Height of a pixel as a part of its width. */
  readonly pixelAspect: number;
  /** GIF: time of each picture; of the first alone: of all. */
  readonly frameTimesMs?: readonly number[];
}

/** Process 1 of PS3.5 A.4.1, for frames of 8 bits: grey, or RGB made to YBR_FULL. */
export async function encodeBaseline(frame: Buffer, layout: ImageLayout): Promise<Buffer> {
  const { bitsAllocated, samplesPerPixel: channels, columns, rows, photometricInterpretation } = layout;
  const colours = channels === 1 || photometricInterpretation === 'RGB';
  if (bitsAllocated !== 8 || layout.signed || (channels !== 1 && channels !== 3) || !colours)
    throw unusable('JPEG Baseline takes unsigned 8 bits a sample, grey or RGB');
  return await raw({ bytes: frame, columns, rows, channels })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .jpeg({ quality: 90, chromaSubsampling: '4:4:4' })
    .toBuffer();
}

/** Several pictures of one size make a GIF that moves; of any other type there is one. */
export async function encodePictures(pictures: readonly Picture[], form: PictureForm): Promise<Buffer> {
  const [first] = pictures;
  if (first === undefined) throw new Error('no picture');
  if (pictures.length === 1) return encodePicture(first, form);
  const shaped: Buffer[] = [];
  let size = { width: 0, height: 0 };
  for (const picture of pictures) {
    const made = await pixelsOf(shape(picture, form), 3);
    if (form.corners !== undefined) writeCorners(made, form.corners);
    size = { width: made.columns, height: made.rows };
    shaped.push(made.bytes);
  }
  const { width, height } = size;
  const times = form.frameTimesMs ?? [];
  return await sharp(Buffer.concat(shaped), {
    raw: { width, height: height * shaped.length, channels: 3, pageHeight: height },
  })
    .gif({ loop: 0, delay: pictures.map((_, index) => Math.max(20, Math.round(times[index] ?? times[0] ?? 100))) })
    .toBuffer();
}

/** A PNG or GIF as native samples, little endian, one picture of a moving GIF after another. */
export interface PictureLayout {
  readonly rows: number;
  readonly columns: number;
  readonly samplesPerPixel: 1 | 3;
  readonly bitsAllocated: 8 | 16;
}

/** Bytes that a picture may become. */
const MOST_PICTURE_BYTES = 256 * 2 ** 20;

/**
 * Palettes become colours, transparency is left out (PS3.18 table 10.5.2-1, notes 1 and 5); the samples stay what they are, whatever
 * profile stands beside them. @throws Refusal NotAcceptable for what is broken or another image than the layout
 */
export async function decodePicture(bytes: Buffer, layout: PictureLayout): Promise<Buffer> {
  const { rows, columns, samplesPerPixel, bitsAllocated } = layout;
  const frameBytes = (rows * columns * samplesPerPixel * bitsAllocated) / 8;
  const wide = bitsAllocated === 16;
  const space = samplesPerPixel === 1 ? (wide ? 'grey16' : 'b-w') : wide ? 'rgb16' : 'srgb';
  const decoded = await sharp(bytes, {
    pages: -1,
    failOn: 'warning',
    ignoreIcc: true,
    limitInputPixels: Math.floor(MOST_PICTURE_BYTES / ((samplesPerPixel * bitsAllocated) / 8)),
  })
    .removeAlpha()
    .toColourspace(space)
    .raw({ depth: wide ? 'ushort' : 'uchar' })
    .toBuffer({ resolveWithObject: true })
    .catch(() => {
      throw unusable('the picture is broken or larger than what is decoded');
    });
  const { data, info } = decoded;
  if (
    info.width !== columns ||
    info.channels !== samplesPerPixel ||
    data.length === 0 ||
    data.length % frameBytes !== 0
  )
    throw unusable('the picture is another than its header says');
  return data;
}

function grey(data: Buffer): Buffer {
  const colour = Buffer.allocUnsafe(data.length * 3);
  for (let at = 0; at < data.length; at++) colour.fill(data[at] ?? 0, 3 * at, 3 * at + 3);
  return colour;
}

async function encodePicture(picture: Picture, form: PictureForm): Promise<Buffer> {
  let shaped = shape(picture, form);
  const { channels } = picture;
  const own = form.ownProfile === undefined ? undefined : Buffer.from(form.ownProfile);
  const profile = channels === 3 && own !== undefined && isRgbProfile(own) ? own : undefined;
  if (form.corners !== undefined) {
    const made = await pixelsOf(shaped, channels);
    writeCorners(made, form.corners);
    shaped = raw(made);
  }
  switch (form.iccProfile) {
    case 'no':
      // Without this a grey picture would be written in three colours.
      return await written(channels === 1 ? shaped.toColourspace('b-w') : shaped, form);
    case 'yes':
      if (profile !== undefined) return withProfile(await written(shaped, form), form, profile);
      return await written(shaped.withIccProfile('srgb'), form);
    case 'srgb':
      return await written((await inSrgb(shaped, profile)).withIccProfile('srgb'), form);
    case 'adobergb':
    case 'rommrgb': {
      const colours = await pixelsOf(await inSrgb(shaped, profile), 3);
      fromSrgb(colours.bytes, form.iccProfile);
      return withProfile(await written(raw(colours), form), form, makeProfile(form.iccProfile));
    }
    default:
      return form.iccProfile satisfies never;
  }
}

async function written(image: Sharp, { type, quality }: PictureForm): Promise<Buffer> {
  switch (type) {
    case 'image/jpeg':
      // Huffman tables made for each picture cost half of its encoding, and save a fiftieth of its bytes.
      return await image.jpeg({ quality, optimiseCoding: false }).toBuffer();
    case 'image/png':
      return await image.png({ compressionLevel: 3 }).toBuffer();
    case 'image/gif':
      return await image.gif().toBuffer();
    default:
      return type satisfies never;
  }
}

function withProfile(bytes: Buffer, { type }: PictureForm, profile: Buffer): Buffer {
  return type === 'image/jpeg' ? profileIntoJpeg(bytes, profile) : profileIntoPng(bytes, profile);
}

/** libvips converts by a profile that lies in the image: a PNG that is not compressed carries it there. */
async function inSrgb(image: Sharp, profile: Buffer | undefined): Promise<Sharp> {
  if (profile === undefined) return image;
  const png = await image.png({ compressionLevel: 0 }).toBuffer();
  return sharp(profileIntoPng(png, profile)).toColourspace('srgb');
}

async function pixelsOf(image: Sharp, channels: 1 | 3): Promise<Picture> {
  const space = channels === 1 ? 'b-w' : 'srgb';
  const { data, info } = await image.toColourspace(space).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  const bytes = channels === 3 && info.channels === 1 ? grey(data) : data;
  return { bytes, columns: info.width, rows: info.height, channels };
}

/** Exactly that wide and high. */
export async function resized(picture: Picture, width: number, height: number): Promise<Picture> {
  if (width === picture.columns && height === picture.rows) return picture;
  return pixelsOf(raw(picture).resize({ width, height, fit: 'fill' }), picture.channels);
}

/** With a drawing of the same size on top. */
export async function paintOver(picture: Picture, svg: string): Promise<Picture> {
  const { data } = await raw(picture)
    .toColourspace('srgb')
    .composite([{ input: Buffer.from(svg) }])
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const channels = data.length / (picture.rows * picture.columns);
  const bytes = picture.channels === 1 && channels === 3 ? firstOf(data) : data;
  return { ...picture, bytes };
}

/** One channel of a picture whose three are the same. */
function firstOf(rgb: Buffer): Buffer {
  return Buffer.from(Uint8Array.from({ length: rgb.length / 3 }, (_, at) => rgb[3 * at] ?? 0).buffer);
}

function raw({ bytes, columns, rows, channels }: Picture): Sharp {
  return sharp(bytes, { raw: { width: columns, height: rows, channels } });
}

function shape(picture: Picture, form: PictureForm): Sharp {
  const { viewport, pixelAspect } = form;
  let image = raw(picture);
  const region = viewport?.source ?? { left: 0, top: 0, width: picture.columns, height: picture.rows };
  if (viewport?.source !== undefined) image = image.extract(viewport.source);
  if (viewport?.flipHorizontal === true) image = image.flop();
  if (viewport?.flipVertical === true) image = image.flip();
  const wide = { width: region.width, height: region.height * pixelAspect };
  const scale =
    viewport === undefined
      ? Math.max(1, 1 / pixelAspect)
      : Math.min(viewport.width / wide.width, viewport.height / wide.height);
  const width = Math.max(1, Math.round(wide.width * scale));
  const height = Math.max(1, Math.round(wide.height * scale));
  if (width === region.width && height === region.height) return image;
  return image.resize({ width, height, fit: 'fill' });
}
