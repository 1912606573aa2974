/**
 * The frames of an object as numbers, one after another, and numbers as its frames again: in the transfer syntax they came in where that
 * has a lossless form. Frames that nothing is changed in keep their bytes.
 */
import { deflateRawSync } from 'node:zlib';
import { numberValue } from '../../dicom/data-set.ts';
import { tag } from '../../dicom/dictionary.ts';
import { frameBytes, imageLayout, type ImageLayout } from '../../dicom/image-layout.ts';
import { evenItem } from '../../dicom/items.ts';
import type { Identified, PixelDataHeader } from '../../dicom/object.ts';
import { Refusal } from '../../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN } from '../../dicom/transfer-syntax.ts';
import { swapWords } from '../../dicom/writer.ts';
import { openSpool, type Spool } from '../../spool.ts';
import { cleanBody, planBody } from '../body.ts';
import { DEFLATED_FRAME, WRITTEN_AS } from '../pixels/encoded-frame.ts';
import { encapsulatedFrames, frameCount, nativeRuns } from '../pixels/frames.ts';
import { encapsulated, evenly, offsetTableOf } from '../pixels/spooled.ts';
import type { PixelTools } from '../pixels/tools.ts';
import type { DefacedFrame } from './frame.ts';
import { sealed } from './stack.ts';

/** Codecs and a place for what does not fit into memory, handed in by the gateway. */
export type FaceTools = Pick<PixelTools, 'decode' | 'encode' | 'spoolFolder'>;

export interface NativeFrame {
  /** Counted from 1. */
  readonly frame: number;
  /** Little endian, in memory of its own. */
  readonly bytes: Buffer;
}

interface StoredFrame extends NativeFrame {
  /** As it is encapsulated; undefined when it is native. */
  readonly fragments: readonly Buffer[] | undefined;
}

/** In the order of the object, those that are wanted. @throws Refusal Quarantined for what cannot be read */
export async function* framesOf(
  { head, body }: Identified,
  tools: FaceTools,
  isWanted: (frame: number) => boolean = () => true,
): AsyncGenerator<StoredFrame> {
  const plan = planBody(head, numberValue(head.dataSet, tag('BitsAllocated')));
  const layout = layoutOf({ head });
  const frames = frameCount(head.dataSet);
  const clean = cleanBody(body, plan);
  let frame = 0;
  if (plan.kind === 'native') {
    const length = frameBytes(layout);
    for await (const run of nativeRuns(clean, 8 * length, frames)) {
      if ('rest' in run) return;
      for (let at = 0; at < run.bytes.length; at += length)
        if (isWanted(++frame))
          yield { frame, bytes: Buffer.from(run.bytes.subarray(at, at + length)), fragments: undefined };
    }
    return;
  }
  for await (const part of encapsulatedFrames(clean, frames, plan.kind !== 'opaque')) {
    if ('offsetTable' in part || !isWanted(++frame)) continue;
    const { fragments } = part;
    const decoded = await decodedFrame(Buffer.concat(fragments), layout, head.transferSyntaxUID, tools);
    yield { frame, bytes: Buffer.from(decoded.subarray(0, frameBytes(layout))), fragments };
  }
}

function layoutOf({ head }: Pick<Identified, 'head'>): ImageLayout {
  try {
    return imageLayout(head.dataSet);
  } catch (error) {
    throw told(error);
  }
}

async function decodedFrame(encoded: Buffer, layout: ImageLayout, from: string, tools: FaceTools): Promise<Buffer> {
  let bytes: Buffer;
  try {
    ({ bytes } = await tools.decode(encoded, layout, from));
  } catch (error) {
    throw told(error);
  }
  if (bytes.length < frameBytes(layout))
    throw sealed(`a frame has ${bytes.length} bytes when it is decoded; ${frameBytes(layout)} are needed`);
  return bytes;
}

/** What no codec can read or write is no passing trouble. */
function told(error: unknown): unknown {
  return error instanceof Refusal && error.reason === 'NotAcceptable' ? sealed(error.message) : error;
}

/** Takes the native bytes of a frame, counted from 1, and gives what they become. */
export type ChangeFrame = (frame: number, bytes: Buffer) => Promise<Pick<DefacedFrame, 'bytes' | 'changed'>>;

const SPOOL_MEMORY_BYTES = 16 * 2 ** 20;
/** Explicit VR tells lengths in 32 bits, of which the highest means none. */
const MOST_NATIVE_BYTES = 0xfffffffe;

/**
 * The same object with other frames. What is written waits in a spool, since the header before it says what it holds.
 * @throws Refusal Quarantined
 */
export async function withFrames(
  open: () => Promise<Identified>,
  change: ChangeFrame,
  tools: FaceTools,
): Promise<Identified> {
  const object = await open();
  if (object.head.pixelData?.lengthBytes === undefined) {
    const written = await withEncoded(object, change, tools);
    if (written !== undefined) return written;
    // A frame has no lossless form in its syntax: all of them are written native, from the first on.
    return withNative(await open(), change, tools);
  }
  return withNative(object, change, tools);
}

/** undefined: a frame that changed cannot be written in the object's syntax. */
async function withEncoded(object: Identified, change: ChangeFrame, tools: FaceTools): Promise<Identified | undefined> {
  const { transferSyntaxUID } = object.head;
  const layout = layoutOf(object);
  const spool = spoolOf(tools);
  const starts: number[] = [];
  try {
    for await (const { frame, bytes, fragments = [] } of framesOf(object, tools)) {
      const made = await change(frame, bytes);
      const written = made.changed === 0 ? fragments : await encodedAgain(made.bytes, layout, transferSyntaxUID, tools);
      if (written === undefined) {
        spool.discard();
        return undefined;
      }
      starts.push(spool.lengthBytes);
      for (const fragment of written) for (const piece of evenItem(fragment)) await spool.write(piece);
    }
  } catch (error) {
    spool.discard();
    throw error;
  }
  return { ...object, body: encapsulated(offsetTableOf(starts), spool) };
}

async function withNative(object: Identified, change: ChangeFrame, tools: FaceTools): Promise<Identified> {
  const { head } = object;
  const { pixelData, dataSet } = head;
  if (pixelData === undefined) throw sealed('an image has no Pixel Data (7FE0,0010)');
  const layout = layoutOf(object);
  const isWide = layout.bitsAllocated === 16;
  if (frameBytes(layout) * frameCount(dataSet) > MOST_NATIVE_BYTES)
    throw sealed('the frames cannot be written as they came and are too long to be native');
  const wasNative = pixelData.lengthBytes !== undefined;
  // As the source wrote them, since what follows reads the source's header: words turned round, bytes as bytes.
  const isTurned = wasNative && dataSet.encoding === 'explicit-be';
  const spool = spoolOf(tools);
  try {
    for await (const { frame, bytes } of framesOf(object, tools)) {
      const made = bufferOf((await change(frame, bytes)).bytes);
      await spool.write(isTurned && isWide ? swapWords(made, 2) : made);
    }
  } catch (error) {
    spool.discard();
    throw error;
  }
  const lengthBytes = spool.lengthBytes + (spool.lengthBytes % 2);
  const vr = wasNative && !isTurned ? pixelData.vr : isWide ? 'OW' : 'OB';
  const written: PixelDataHeader = { tag: pixelData.tag, vr, lengthBytes };
  const transferSyntaxUID = wasNative ? head.transferSyntaxUID : EXPLICIT_VR_LITTLE_ENDIAN;
  return { ...object, head: { ...head, transferSyntaxUID, pixelData: written }, body: evenly(spool) };
}

function spoolOf({ spoolFolder }: FaceTools): Spool {
  return openSpool({ folder: spoolFolder, memoryBytes: SPOOL_MEMORY_BYTES });
}

/** One fragment; undefined: the syntax has no lossless form, or not for this image. */
async function encodedAgain(
  changed: Uint8Array,
  layout: ImageLayout,
  transferSyntaxUID: string,
  tools: FaceTools,
): Promise<readonly Buffer[] | undefined> {
  const target = WRITTEN_AS.get(transferSyntaxUID);
  if (target === undefined) return undefined;
  const bytes = bufferOf(changed);
  try {
    const written = await tools.encode({ bytes, layout }, target);
    const encoded = transferSyntaxUID === DEFLATED_FRAME ? deflateRawSync(written) : written;
    const read = await tools.decode(encoded, layout, transferSyntaxUID);
    return read.bytes.equals(bytes) ? [encoded] : undefined;
  } catch (error) {
    if (error instanceof Refusal && error.reason === 'NotAcceptable') return undefined;
    throw error;
  }
}

/** What comes from a thread is no Buffer any more. */
function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}
