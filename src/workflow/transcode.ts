/** Frames and whole objects of the archive in another transfer syntax than the stored one, made in the codecs' threads. */
import { frameStream, readFrame } from '../archive/frames.ts';
import { readInstance, readInstanceBody, readInstanceHead, type InstanceRow } from '../archive/instances.ts';
import type { Lend } from '../archive/pack-files.ts';
import { renamedHead, transcodedHead } from '../codecs/head.ts';
import { frameBytes, imageLayout, unusable, type ImageLayout } from '../codecs/image.ts';
import { decodedPhotometric, encodedPhotometric } from '../codecs/photometric.ts';
import { convertFrame } from '../codecs/pool.ts';
import { codingOf } from '../codecs/syntaxes.ts';
import { END_OF_ITEMS, evenItem, itemHeader } from '../dicom/items.ts';
import { readHead, type HeadAndBody } from '../dicom/part10.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN } from '../dicom/transfer-syntax.ts';
import type { Gateway } from '../gateway.ts';

export interface Served {
  readonly transferSyntaxUID: string;
  readonly lengthBytes: number | undefined;
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
}

export interface ServedFrame extends Omit<Served, 'body'> {
  readonly body: Served['body'] | ((lend?: Lend) => AsyncIterable<Uint8Array>);
}

/** A frame, counted from 1. @throws Refusal NotAcceptable when its pixels have no form in that syntax */
export async function frameIn(
  gateway: Gateway,
  instance: InstanceRow,
  number: number,
  to: string,
): Promise<ServedFrame> {
  const streamed = to === instance.transferSyntaxUID ? frameStream(gateway.archive, instance, number) : undefined;
  if (streamed !== undefined) return { transferSyntaxUID: to, ...streamed };
  const { bytes, lengthBytes } = await readFrame(gateway.archive, instance, number);
  if (to === instance.transferSyntaxUID) return { transferSyntaxUID: to, lengthBytes, body: bytes };
  const layout = imageLayout((await headOf(gateway, instance)).head.dataSet);
  const frame = await convertFrame(gateway.codecs, await gathered(bytes), layout, {
    from: instance.transferSyntaxUID,
    to,
  });
  return { transferSyntaxUID: to, lengthBytes: frame.length, body: frame };
}

async function headOf({ archive }: Gateway, instance: InstanceRow): Promise<HeadAndBody> {
  return readHead(await readInstanceHead(archive, instance));
}

async function gathered(bytes: Buffer | AsyncIterable<Buffer>): Promise<Buffer> {
  if (Buffer.isBuffer(bytes)) return bytes;
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The head of an object in another form, and the value of its pixel data, which is made while it is read. */
export interface Transcoding {
  readonly head: Buffer;
  /** Of the value; undefined while fragments are still to be made. */
  readonly bodyLengthBytes: number | undefined;
  readonly body: AsyncIterable<Buffer>;
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
  const { transferSyntaxUID, lengthBytes, headLengthBytes, frameCount } = instance;
  if (to === transferSyntaxUID) {
    if (sopInstanceUID === undefined)
      return { transferSyntaxUID, lengthBytes, body: readInstance(gateway.archive, instance) };
    const head = renamedHead(await headOf(gateway, instance), sopInstanceUID);
    const body = joined(head, readInstanceBody(gateway.archive, instance));
    return { transferSyntaxUID, lengthBytes: lengthBytes - headLengthBytes + head.length, body };
  }
  const { head, bodyLengthBytes, body } = await transcodedIn(gateway, instance, to, sopInstanceUID);
  const bytes = joined(head, body);
  if (bodyLengthBytes !== undefined)
    return { transferSyntaxUID: to, lengthBytes: head.length + bodyLengthBytes, body: bytes };
  if (frameCount > 1) return { transferSyntaxUID: to, lengthBytes: undefined, body: bytes };
  const whole = await gathered(bytes);
  return { transferSyntaxUID: to, lengthBytes: whole.length, body: whole };
}

/** @throws Refusal NotAcceptable */
export async function transcodedIn(
  gateway: Gateway,
  instance: InstanceRow,
  to: string,
  sopInstanceUID?: string,
): Promise<Transcoding> {
  const { transferSyntaxUID: from, frameCount } = instance;
  const object = await headOf(gateway, instance);
  const layout = imageLayout(object.head.dataSet);
  refuseUnevenFrames(instance, layout);
  const frame = async (number: number): Promise<Buffer> => {
    const { bytes } = await readFrame(gateway.archive, instance, number);
    return convertFrame(gateway.codecs, await gathered(bytes), layout, { from, to });
  };
  const first = await frame(1);
  const native = to === EXPLICIT_VR_LITTLE_ENDIAN;
  const pixelBytes = frameBytes(layout) * frameCount;
  const valueBytes = native ? pixelBytes + (pixelBytes % 2) : undefined;
  const head = transcodedHead(object, {
    transferSyntaxUID: to,
    photometricInterpretation: photometricIn(layout, from, to),
    bitsAllocated: layout.bitsAllocated,
    valueBytes,
    sopInstanceUID,
  });
  return { head, bodyLengthBytes: valueBytes, body: valueOf(first, native, frameCount, frame) };
}

async function* joined(head: Buffer, body: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  yield head;
  yield* body;
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

/** One fragment a frame after an empty offset table (PS3.5 A.4), or one native frame after another; padded to even length. */
async function* valueOf(
  first: Buffer,
  native: boolean,
  frameCount: number,
  frame: (number: number) => Promise<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  if (!native) yield itemHeader(0);
  let total = 0;
  for (let number = 1; number <= frameCount; number++) {
    const bytes = number === 1 ? first : await frame(number);
    total += bytes.length;
    if (native) yield bytes;
    else yield* evenItem(bytes);
  }
  if (!native) yield END_OF_ITEMS;
  else if (total % 2 === 1) yield Buffer.alloc(1);
}
