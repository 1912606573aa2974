/** One frame out of an object that streams by, as it is stored, for a look at what is not in the archive. */
import type { DataSet } from '../dicom/data-set.ts';
import type { Identified } from '../dicom/object.ts';
import { encapsulatedExtents, nativeFrameBits, pixelLayout, scanFragments } from '../dicom/pixel-data.ts';
import { transferSyntax } from '../dicom/transfer-syntax.ts';
import { unusable } from './image.ts';

export interface StoredFrame {
  readonly frame: Buffer;
  /** What the frame itself is in: native samples are little endian here, whatever the object's syntax. */
  readonly transferSyntaxUID: string;
}

const EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
const EXPLICIT_VR_BIG_ENDIAN = '1.2.840.10008.1.2.2';
/** Fragments can be told apart only when all are there. */
const MOST_ENCAPSULATED_BYTES = 512 * 2 ** 20;

/** Reads the body as far as needed. @param number counted from 1. @throws Refusal NotAcceptable when there is no such frame */
export async function storedFrame({ head, body }: Identified, number: number): Promise<StoredFrame> {
  const { dataSet, transferSyntaxUID, pixelData } = head;
  if (pixelData === undefined) throw unusable('the object has no pixel data');
  if (transferSyntax(transferSyntaxUID)?.encapsulated === true)
    return { frame: await encapsulated(dataSet, transferSyntaxUID, body, number), transferSyntaxUID };
  const frame = await native(dataSet, transferSyntaxUID, body, number);
  if (transferSyntaxUID === EXPLICIT_VR_BIG_ENDIAN && pixelData.vr === 'OW' && frame.length % 2 === 0) frame.swap16();
  return { frame, transferSyntaxUID: EXPLICIT_VR_LITTLE_ENDIAN };
}

async function encapsulated(
  dataSet: DataSet,
  transferSyntaxUID: string,
  body: AsyncIterable<Buffer>,
  number: number,
): Promise<Buffer> {
  const scan = scanFragments();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    scan.take(chunk);
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > MOST_ENCAPSULATED_BYTES)
      throw unusable(`the pixel data has more than ${MOST_ENCAPSULATED_BYTES} bytes`);
  }
  const extents = encapsulatedExtents(pixelLayout(dataSet, transferSyntaxUID), scan);
  const pieces = extents.kind === 'encapsulated' ? extents.frames[number - 1] : undefined;
  if (pieces === undefined) throw unusable('there is no such frame, or none that can be told apart');
  const whole = Buffer.concat(chunks);
  return Buffer.concat(pieces.map(({ start, end }) => whole.subarray(start, end)));
}

async function native(
  dataSet: DataSet,
  transferSyntaxUID: string,
  body: AsyncIterable<Buffer>,
  number: number,
): Promise<Buffer> {
  const frameBits = nativeFrameBits(pixelLayout(dataSet, transferSyntaxUID));
  const startBit = frameBits * (number - 1);
  if (startBit % 8 !== 0) throw unusable('the frame does not begin on a byte');
  const [start, end] = [startBit / 8, Math.ceil((startBit + frameBits) / 8)];
  const pieces: Buffer[] = [];
  let at = 0;
  for await (const chunk of body) {
    if (at + chunk.length > start) pieces.push(chunk.subarray(Math.max(0, start - at), Math.max(0, end - at)));
    at += chunk.length;
    if (at >= end) break;
  }
  const frame = Buffer.concat(pieces);
  if (frame.length < end - start || frame.length === 0) throw unusable('there is no such frame');
  // Its own memory: what is swapped must not be somebody else's bytes.
  return Buffer.from(frame);
}
