/** The pixels of one image as numbers, and numbers as its pixels again: in the transfer syntax they came in where that has a lossless form. */
import { deflateRawSync } from 'node:zlib';
import { numberValue } from '../../dicom/data-set.ts';
import { tag } from '../../dicom/dictionary.ts';
import { frameBytes, imageLayout, type ImageLayout } from '../../dicom/image-layout.ts';
import { END_OF_ITEMS, evenItem, itemHeader } from '../../dicom/items.ts';
import type { Identified } from '../../dicom/object.ts';
import { Refusal } from '../../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN } from '../../dicom/transfer-syntax.ts';
import { swapWords } from '../../dicom/writer.ts';
import { cleanBody, planBody } from '../body.ts';
import { DEFLATED_FRAME, WRITTEN_AS } from '../pixels/encoded-frame.ts';
import { encapsulatedFrames } from '../pixels/frames.ts';
import type { PixelTools } from '../pixels/tools.ts';
import type { DefacedFrame } from './frame.ts';
import { sealed } from './stack.ts';

/** Codecs, handed in by the gateway. */
export type FaceTools = Pick<PixelTools, 'decode' | 'encode'>;

/** Native and little endian. @throws Refusal Quarantined for what cannot be read, CannotUnderstand for pixels that end early */
export async function nativePixels({ head, body }: Identified, tools: FaceTools): Promise<Buffer> {
  const plan = planBody(head, numberValue(head.dataSet, tag('BitsAllocated')));
  const layout = layoutOf({ head });
  const bytes =
    plan.kind === 'native'
      ? await collected(cleanBody(body, plan))
      : (
          await decoded(
            await onlyFrame(cleanBody(body, plan), plan.kind !== 'opaque'),
            layout,
            head.transferSyntaxUID,
            tools,
          )
        ).bytes;
  const needed = frameBytes(layout);
  if (bytes.length < needed)
    throw new Refusal('CannotUnderstand', `Pixel Data (7FE0,0010) has ${bytes.length} bytes; ${needed} are needed`);
  return Buffer.from(bytes.subarray(0, needed));
}

function layoutOf({ head }: Pick<Identified, 'head'>): ImageLayout {
  try {
    return imageLayout(head.dataSet);
  } catch (error) {
    throw told(error);
  }
}

async function decoded(
  frame: Buffer,
  layout: ImageLayout,
  from: string,
  { decode }: FaceTools,
): ReturnType<FaceTools['decode']> {
  try {
    return await decode(frame, layout, from);
  } catch (error) {
    throw told(error);
  }
}

/** What no codec can read or write is no passing trouble. */
function told(error: unknown): unknown {
  return error instanceof Refusal && error.reason === 'NotAcceptable' ? sealed(error.message) : error;
}

async function onlyFrame(body: AsyncIterable<Buffer>, marked: boolean): Promise<Buffer> {
  const fragments: Buffer[] = [];
  for await (const part of encapsulatedFrames(body, 1, marked))
    if ('fragments' in part) fragments.push(...part.fragments);
  return Buffer.concat(fragments);
}

async function collected(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/**
 * The same object with other pixels. @param before native, as `nativePixels` gave them. Nothing changed: they are written as they came or,
 * since that stream was read, without loss again.
 */
export async function withPixels(
  object: Identified,
  before: Buffer,
  frame: Pick<DefacedFrame, 'bytes'>,
  tools: FaceTools,
): Promise<Identified> {
  const { head } = object;
  const { pixelData, transferSyntaxUID, dataSet } = head;
  const bytes = Buffer.from(frame.bytes.buffer, frame.bytes.byteOffset, frame.bytes.byteLength);
  if (bytes.length !== before.length) throw new Error('a defaced frame has another length');
  if (pixelData === undefined) throw sealed('an image has no Pixel Data (7FE0,0010)');
  const layout = layoutOf(object);
  if (pixelData.lengthBytes !== undefined) {
    // As the source wrote it, since what follows reads the source's header.
    const native =
      dataSet.encoding === 'explicit-be' ? swapWords(Buffer.from(bytes), layout.bitsAllocated === 16 ? 2 : 1) : bytes;
    const even = native.length % 2 === 0 ? native : Buffer.concat([native, Buffer.alloc(1)]);
    return { ...object, head: { ...head, pixelData: { ...pixelData, lengthBytes: even.length } }, body: once(even) };
  }
  const encoded = await encodedAgain(bytes, layout, transferSyntaxUID, tools);
  if (encoded !== undefined)
    return { ...object, body: once(Buffer.concat([itemHeader(0), ...evenItem(encoded), END_OF_ITEMS])) };
  const vr = layout.bitsAllocated === 16 ? 'OW' : 'OB';
  const even = bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(1)]);
  return {
    ...object,
    head: {
      ...head,
      transferSyntaxUID: EXPLICIT_VR_LITTLE_ENDIAN,
      pixelData: { tag: pixelData.tag, vr, lengthBytes: even.length },
    },
    body: once(even),
  };
}

/** undefined: the syntax has no lossless form, or not for this image; it is written native. */
async function encodedAgain(
  bytes: Buffer,
  layout: ImageLayout,
  transferSyntaxUID: string,
  tools: FaceTools,
): Promise<Buffer | undefined> {
  const target = WRITTEN_AS.get(transferSyntaxUID);
  if (target === undefined) return undefined;
  try {
    const written = await tools.encode({ bytes, layout }, target);
    const encoded = transferSyntaxUID === DEFLATED_FRAME ? deflateRawSync(written) : written;
    const read = await tools.decode(encoded, layout, transferSyntaxUID);
    return read.bytes.equals(bytes) ? encoded : undefined;
  } catch (error) {
    if (error instanceof Refusal && error.reason === 'NotAcceptable') return undefined;
    throw error;
  }
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  await Promise.resolve();
  yield bytes;
}
