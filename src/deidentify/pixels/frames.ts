/** The frames of a pixel data value as it streams by: native ones in runs that end on a byte, encapsulated ones by their fragments. */
import { numberValue, type DataSet } from '../../dicom/data-set.ts';
import { Refusal } from '../../dicom/refusal.ts';

/** One frame as it is encoded: the fragments, without their item headers. */
export interface EncodedFrame {
  readonly fragments: readonly Buffer[];
}

/** Consecutive native frames in one piece of memory, beginning and (but for the last run) ending on a byte. */
export interface FrameRun {
  readonly bytes: Buffer;
  readonly count: number;
}

const MOST_RUN_BYTES = 32 * 2 ** 20;
export const MOST_RUN_FRAMES = 32;
/** A frame is handled whole: encoded ones up to this. */
const MOST_FRAME_BYTES = 512 * 2 ** 20;

export function frameCount(dataSet: DataSet): number {
  const frames = numberValue(dataSet, 0x00280008) ?? 1;
  if (!Number.isInteger(frames) || frames < 1)
    throw new Refusal('Quarantined', 'Number of Frames (0028,0008) is no positive number');
  return frames;
}

/** How many native frames are looked at together. Frames of single bits may begin inside a byte, eight of them never do. */
function runLength(frameBits: number, frames: number): number {
  const most = Math.min(MOST_RUN_FRAMES, Math.max(1, Math.floor((MOST_RUN_BYTES * 8) / frameBits)));
  if (frameBits % 8 === 0) return Math.min(frames, most);
  return Math.min(frames, Math.max(8, most - (most % 8)));
}

/**
 * Runs of native frames, then what follows the last one (padding, or bytes that belong to no frame).
 * @throws Refusal Quarantined when the value is too short for its frames
 */
export async function* nativeRuns(
  body: AsyncIterable<Buffer>,
  frameBits: number,
  frames: number,
): AsyncGenerator<FrameRun | { readonly rest: Buffer }> {
  const perRun = runLength(frameBits, frames);
  let held: Buffer[] = [];
  let heldBytes = 0;
  let done = 0;
  const wanted = (): number => Math.ceil((frameBits * Math.min(perRun, frames - done)) / 8);
  for await (const chunk of body) {
    held.push(chunk);
    heldBytes += chunk.length;
    while (done < frames && heldBytes >= wanted()) {
      const length = wanted();
      const all = held.length === 1 && held[0] !== undefined ? held[0] : Buffer.concat(held);
      const count = Math.min(perRun, frames - done);
      done += count;
      // The bytes are the sender's, perhaps still wanted elsewhere.
      yield { bytes: Buffer.from(all.subarray(0, length)), count };
      held = [all.subarray(length)];
      heldBytes = all.length - length;
    }
    if (done === frames && heldBytes > MOST_RUN_BYTES)
      throw new Refusal('Quarantined', 'Pixel Data (7FE0,0010) is much longer than its frames');
  }
  if (done < frames) throw new Refusal('Quarantined', 'Pixel Data (7FE0,0010) is too short for its frames');
  yield { rest: Buffer.concat(held) };
}

const ITEM = 0xe000fffe;

/**
 * Frames of encapsulated pixel data (PS3.5 A.4). The offset table, when there is one, tells where frames begin; without one each
 * fragment that begins like an image begins a frame, or each one where images have no mark (RLE, uncompressed).
 * @param marked frames begin with a marker of JPEG or JPEG 2000
 * @throws Refusal Quarantined when the number of frames is not the one that the header says
 */
export async function* encapsulatedFrames(
  body: AsyncIterable<Buffer>,
  frames: number,
  marked: boolean,
): AsyncGenerator<EncodedFrame | { readonly offsetTable: Buffer }> {
  let fragments: Buffer[] = [];
  let frameBytes = 0;
  let table: readonly number[] = [];
  let [items, position, begun] = [0, 0, 0];
  for await (const item of itemsIn(body)) {
    if (items++ === 0) {
      table = offsetsOf(item, frames);
      yield { offsetTable: item };
      continue;
    }
    const begins = beginsFrame(item, { position, table, begun, frames, marked });
    if (begins && fragments.length > 0) {
      yield { fragments };
      fragments = [];
      frameBytes = 0;
    }
    if (begins) begun++;
    fragments.push(item);
    frameBytes += item.length;
    if (frameBytes > MOST_FRAME_BYTES) throw new Refusal('Quarantined', 'a frame is too long to be cleaned');
    position += item.length + 8;
  }
  if (fragments.length > 0) yield { fragments };
  if (begun !== frames)
    throw new Refusal('Quarantined', `Pixel Data (7FE0,0010) has ${begun} frames; the header says ${frames}`);
}

function offsetsOf(table: Buffer, frames: number): number[] {
  if (table.length !== frames * 4) return [];
  const offsets = Array.from({ length: frames }, (_, index) => table.readUInt32LE(4 * index));
  return offsets.every((offset, index) => offset > (offsets[index - 1] ?? -1)) && offsets[0] === 0 ? offsets : [];
}

interface FragmentPlace {
  readonly position: number;
  readonly table: readonly number[];
  readonly begun: number;
  readonly frames: number;
  readonly marked: boolean;
}

function beginsFrame(fragment: Buffer, { position, table, begun, frames, marked }: FragmentPlace): boolean {
  if (begun === 0) return true;
  if (frames === 1) return false;
  if (table.length > 0) return table[begun] === position;
  return !marked || isMarked(fragment);
}

/** SOI of JPEG and JPEG-LS, SOC of JPEG 2000: neither can stand at the beginning of a later fragment of the same image. */
function isMarked(fragment: Buffer): boolean {
  const two = fragment.length >= 2 ? fragment.readUInt16BE(0) : 0;
  return two === 0xffd8 || two === 0xff4f;
}

/** Values of the items, the first being the offset table. */
async function* itemsIn(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let held = Buffer.alloc(0);
  let parts: Buffer[] = [];
  let left = -1;
  for await (const chunk of body) {
    let bytes = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    held = Buffer.alloc(0);
    for (;;) {
      if (left < 0) {
        if (bytes.length < 8) {
          held = Buffer.from(bytes);
          break;
        }
        if (bytes.readUInt32LE(0) !== ITEM) return;
        left = bytes.readUInt32LE(4);
        if (left > MOST_FRAME_BYTES) throw new Refusal('Quarantined', 'a fragment is too long to be cleaned');
        bytes = bytes.subarray(8);
      }
      const part = bytes.subarray(0, left);
      if (part.length > 0) parts.push(part);
      left -= part.length;
      bytes = bytes.subarray(part.length);
      if (left > 0) break;
      yield Buffer.concat(parts);
      parts = [];
      left = -1;
    }
  }
}
