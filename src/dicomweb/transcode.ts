/**
 * Frames and whole objects in a transfer syntax of the caller's choice (PS3.18 8.7.3). Nothing is ever lost on the way: a lossless
 * object goes out native or under a lossless syntax, an object that was compressed with loss as it is, and labelled so.
 */
import { readFrame } from '../archive/frames.ts';
import { readInstance, readInstanceBody, readInstanceHead, type InstanceRow } from '../archive/instances.ts';
import { decodedPhotometric, encodedPhotometric } from '../codecs/photometric.ts';
import { renamedHead, transcodedHead } from '../codecs/head.ts';
import { frameBytes, imageLayout, unusable, type ImageLayout } from '../codecs/image.ts';
import { convertFrame } from '../codecs/pool.ts';
import { codingOf, JPEG_BASELINE, LOSSLESS_TARGETS } from '../codecs/syntaxes.ts';
import { readHead, type HeadAndBody } from '../dicom/part10.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../dicom/transfer-syntax.ts';
import type { Gateway } from '../gateway.ts';
import type { Offer, Syntax } from './media-type.ts';

/**
 * The syntaxes that a whole object can be had in, the stored one first. Where none is named Explicit VR Little Endian is meant; of an
 * object that there is only lossily compressed, that (PS3.18 8.7.3.4).
 */
export function objectSyntaxes({ transferSyntaxUID: uid, frameCount }: InstanceRow): Syntax[] {
  const native = uid === EXPLICIT_VR_LITTLE_ENDIAN;
  const { compression } = transferSyntax(uid) ?? {};
  if (compression === 'lossy') return [{ uid, answers: ['default', EXPLICIT_VR_LITTLE_ENDIAN] }];
  const stored: Syntax = { uid, answers: native ? ['default'] : [] };
  if (frameCount === 0 || codingOf(uid) === undefined) return [stored];
  const others = LOSSLESS_TARGETS.filter((target) => target !== uid).map(converted);
  return native
    ? [stored, ...others]
    : [stored, { ...converted(EXPLICIT_VR_LITTLE_ENDIAN), answers: ['default'] }, ...others];
}

const converted = (uid: string): Syntax => ({ uid, answers: [], converted: true });

/** The syntax that a type of image means by itself, PS3.18 table 8.7.3-5. */
const DEFAULT_SYNTAXES: Readonly<Record<string, string>> = {
  'image/jpeg': '1.2.840.10008.1.2.4.70',
  'image/dicom-rle': '1.2.840.10008.1.2.5',
  'image/jls': '1.2.840.10008.1.2.4.80',
  'image/jp2': '1.2.840.10008.1.2.4.90',
  'image/jpx': '1.2.840.10008.1.2.4.92',
  'image/jphc': '1.2.840.10008.1.2.4.201',
};

/**
 * The forms of a frame: native where it can be decoded, in the image type of its compression, which may also be had as mere bytes by
 * who names the syntax, and in others. A frame by itself has no UID to keep, so JPEG baseline is made for who names it.
 */
export function frameOffers({ transferSyntaxUID: uid }: InstanceRow, single: boolean): Offer[] {
  const encapsulated = transferSyntax(uid)?.encapsulated === true;
  const decodable = codingOf(uid) !== undefined;
  const images = new Map<string, Syntax[]>();
  const offerImage = (syntax: Syntax): void => {
    const type = transferSyntax(syntax.uid)?.mediaType;
    if (type === undefined || type === '' || type === 'application/octet-stream') return;
    const answers = DEFAULT_SYNTAXES[type] === syntax.uid ? ['default'] : [];
    images.set(type, [...(images.get(type) ?? []), { ...syntax, answers }]);
  };
  if (encapsulated) offerImage({ uid, answers: [] });
  if (decodable && transferSyntax(uid)?.compression !== 'lossy')
    for (const target of [...LOSSLESS_TARGETS, JPEG_BASELINE]) if (target !== uid) offerImage(converted(target));
  const octets = (syntax: Syntax): Omit<Offer, 'multipart'> => ({
    type: 'application/octet-stream',
    syntaxes: [syntax],
  });
  const forms: Omit<Offer, 'multipart'>[] = [...images].map(([type, syntaxes]) => ({ type, syntaxes }));
  if (!encapsulated) forms.unshift(octets({ uid, answers: ['default'] }));
  else {
    if (decodable) forms.unshift(octets({ ...converted(EXPLICIT_VR_LITTLE_ENDIAN), answers: ['default'] }));
    forms.push(octets({ uid, answers: [] }));
  }
  return [true, ...(single ? [false] : [])].flatMap((multipart) => forms.map((form) => ({ multipart, ...form })));
}

export interface Served {
  readonly transferSyntaxUID: string;
  readonly lengthBytes: number | undefined;
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
}

/** A frame, counted from 1. @throws Refusal NotAcceptable when its pixels have no form in that syntax */
export async function frameIn(gateway: Gateway, instance: InstanceRow, number: number, to: string): Promise<Served> {
  const { bytes, lengthBytes } = await readFrame(gateway.archive, instance, number);
  if (to === instance.transferSyntaxUID) return { transferSyntaxUID: to, lengthBytes, body: bytes };
  const layout = imageLayout((await headOf(gateway, instance)).head.dataSet);
  const frame = await convertFrame(gateway.codecs, await whole(bytes), layout, {
    from: instance.transferSyntaxUID,
    to,
  });
  return { transferSyntaxUID: to, lengthBytes: frame.length, body: frame };
}

async function headOf({ archive }: Gateway, instance: InstanceRow): Promise<HeadAndBody> {
  return readHead(await readInstanceHead(archive, instance));
}

async function whole(bytes: Buffer | AsyncIterable<Buffer>): Promise<Buffer> {
  if (Buffer.isBuffer(bytes)) return bytes;
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/**
 * A whole object. Its first frame is made before this returns, so that what cannot be is told by the status.
 * @param sopInstanceUID another one than its own
 * @throws Refusal NotAcceptable
 */
export async function objectIn(
  gateway: Gateway,
  instance: InstanceRow,
  to: string,
  sopInstanceUID?: string,
): Promise<Served> {
  const { transferSyntaxUID: from, lengthBytes, frameCount } = instance;
  if (to === from && sopInstanceUID !== undefined) return renamedObject(gateway, instance, sopInstanceUID);
  if (to === from) return { transferSyntaxUID: to, lengthBytes, body: readInstance(gateway.archive, instance) };
  const object = await headOf(gateway, instance);
  const layout = imageLayout(object.head.dataSet);
  refuseUnevenFrames(instance, layout);
  const frame = async (number: number): Promise<Buffer> => {
    const { bytes } = await readFrame(gateway.archive, instance, number);
    return convertFrame(gateway.codecs, await whole(bytes), layout, { from, to });
  };
  const first = await frame(1);
  const native = to === EXPLICIT_VR_LITTLE_ENDIAN;
  const pixelBytes = frameBytes(layout) * frameCount;
  const head = transcodedHead(object, {
    transferSyntaxUID: to,
    photometricInterpretation: photometricIn(layout, from, to),
    bitsAllocated: layout.bitsAllocated,
    valueBytes: native ? pixelBytes + (pixelBytes % 2) : undefined,
    sopInstanceUID,
  });
  const body = objectBytes(head, first, native, frameCount, frame);
  if (native) return { transferSyntaxUID: to, lengthBytes: head.length + pixelBytes + (pixelBytes % 2), body };
  if (frameCount > 1) return { transferSyntaxUID: to, lengthBytes: undefined, body };
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  return { transferSyntaxUID: to, lengthBytes: bytes.length, body: bytes };
}

async function renamedObject(gateway: Gateway, instance: InstanceRow, sopInstanceUID: string): Promise<Served> {
  const { transferSyntaxUID, lengthBytes, headLengthBytes } = instance;
  const head = renamedHead(await headOf(gateway, instance), sopInstanceUID);
  const body = async function* (): AsyncGenerator<Buffer, void, undefined> {
    yield head;
    yield* readInstanceBody(gateway.archive, instance);
  };
  return { transferSyntaxUID, lengthBytes: lengthBytes - headLengthBytes + head.length, body: body() };
}

function photometricIn(layout: ImageLayout, from: string, to: string): string {
  const photometricInterpretation = decodedPhotometric(layout, codingOf(from) ?? 'native');
  return encodedPhotometric({ ...layout, photometricInterpretation }, codingOf(to) ?? 'native');
}

/** Frames that begin inside a byte, or that are not all there, cannot be put one after another. */
function refuseUnevenFrames({ numberOfFrames = 1, frameCount }: InstanceRow, layout: ImageLayout): void {
  if (frameCount !== Math.max(1, numberOfFrames))
    throw unusable(`${frameCount} of ${numberOfFrames} frames are there; the object is sent as it is stored`);
  if (frameCount > 1 && (layout.rows * layout.columns * layout.samplesPerPixel * layout.bitsAllocated) % 8 !== 0)
    throw unusable('frames that do not end on a byte are sent as they are stored');
}

const ITEM = Buffer.from([0xfe, 0xff, 0x00, 0xe0]);
const NO_OFFSETS = Buffer.from([0xfe, 0xff, 0x00, 0xe0, 0, 0, 0, 0]);
const END_OF_ITEMS = Buffer.from([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);

/** One fragment a frame after an empty offset table (PS3.5 A.4), or one native frame after another; padded to even length. */
async function* objectBytes(
  head: Buffer,
  first: Buffer,
  native: boolean,
  frameCount: number,
  frame: (number: number) => Promise<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  yield native ? head : Buffer.concat([head, NO_OFFSETS]);
  let total = 0;
  for (let number = 1; number <= frameCount; number++) {
    const bytes = number === 1 ? first : await frame(number);
    total += bytes.length;
    yield native ? bytes : fragment(bytes);
  }
  if (!native) yield END_OF_ITEMS;
  else if (total % 2 === 1) yield Buffer.alloc(1);
}

function fragment(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length + (bytes.length % 2));
  return Buffer.concat([ITEM, length, bytes, Buffer.alloc(bytes.length % 2)]);
}
