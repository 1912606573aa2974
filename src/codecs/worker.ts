/** A worker thread that decodes, encodes and draws, one job after another. */
import { parentPort } from 'node:worker_threads';
import { Refusal } from '../dicom/refusal.ts';
import { release } from '../release.ts';
import { drawFrame } from './draw.ts';
import { blankFrame, CodecFault, decodeFrame, encodeFrame } from './frames.ts';
import { decodePicture, encodePictures, type Picture } from './picture.ts';
import { drawSoftcopy } from './softcopy.ts';
import type { CodecRequest, JobMessage, WorkerMessage } from './requests.ts';

parentPort?.on('message', (message: JobMessage) => void answer(message));

async function answer({ job, request }: JobMessage): Promise<void> {
  try {
    const bytes = await perform(request);
    // What a codec allocated may share its memory, or belong to native code, and cannot move to another thread.
    const own = Uint8Array.from(bytes);
    send({ job, kind: 'result', bytes: own }, [own.buffer]);
  } catch (error) {
    if (error instanceof Refusal) {
      const spoilt = error instanceof CodecFault;
      send({ job, kind: 'refusal', reason: error.reason, sentence: error.message, spoilt });
    } else {
      send({ job, kind: 'fault', message: error instanceof Error ? (error.stack ?? error.message) : 'unknown' });
    }
  } finally {
    for (const frame of framesOf(request)) release(frame);
  }
}

/** They have moved to this thread, and nobody else has them. */
function framesOf(request: CodecRequest): Uint8Array[] {
  return request.kind === 'draw' ? request.frames.map(({ frame }) => frame) : [request.frame];
}

async function perform(request: CodecRequest): Promise<Buffer> {
  switch (request.kind) {
    case 'convert': {
      const native = await decodeFrame(bufferOf(request.frame), request.layout, request.from);
      return encodeFrame(native, request.to);
    }
    case 'draw': {
      const { frames, layout, from, form } = request;
      const pictures: Picture[] = [];
      for (const { frame, presentation, state } of frames) {
        const picture = drawFrame(await decodeFrame(bufferOf(frame), layout, from), presentation);
        pictures.push(state === undefined ? picture : await drawSoftcopy(picture, state, form.viewport));
      }
      // What a state has shaped has its size.
      const shaped = frames.some(({ state }) => state !== undefined);
      const { viewport: _viewport, ...others } = form;
      const encoded = await encodePictures(pictures, shaped ? { ...others, pixelAspect: 1 } : form);
      for (const { bytes } of pictures) release(bytes);
      return encoded;
    }
    case 'picture':
      return decodePicture(bufferOf(request.frame), request.layout);
    case 'blank':
      return blankFrame(bufferOf(request.frame), request.layout, request.boxes);
    default:
      return request satisfies never;
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function send(message: WorkerMessage, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}
