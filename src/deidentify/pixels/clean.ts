/**
 * Clean Pixel Data (PS3.15 E.3.1): text that is burned into the frames is blanked, in the transfer syntax they came in. Frames without any
 * keep their bytes; of the others nothing changes outside of the boxes. When a blanked frame has no form in that syntax, all frames come
 * out native. Frames go by in runs of bounded size; what is written waits in a spool, because the header has to say how it ended.
 */
import type { DataSet } from '../../dicom/data-set.ts';
import { frameBytes, imageLayout, type ImageLayout } from '../../dicom/image-layout.ts';
import { evenItem } from '../../dicom/items.ts';
import { Refusal } from '../../dicom/refusal.ts';
import { openSpool, type Spool } from '../../spool.ts';
import type { BodyPlan } from '../body.ts';
import { blackOf, blankNative, clearUnusedBits, interleavedFrame, type FramePlace } from './blank.ts';
import { decodeWritten, openEncodedFrame, Unwritable, type Coding, type EncodedWork } from './encoded-frame.ts';
import { encapsulatedFrames, frameCount, MOST_RUN_FRAMES, nativeRuns, type EncodedFrame } from './frames.ts';
import { darkestIndex, readPalette, type Palette } from './palette.ts';
import { boxesOfHeader, hasOverlaysInPixels, type PixelPlan } from './policy.ts';
import { cleanRun, type Search, type WorkingFrame } from './search.ts';
import type { DecodedFrame, PixelTools } from './tools.ts';
import { drained, encapsulated, evenly, offsetTableOf } from './spooled.ts';
import { viewsOf } from './views.ts';

export interface PixelSource {
  readonly dataSet: DataSet;
  /** Of the element whose value the body is. */
  readonly tag: number;
  readonly plan: BodyPlan;
  /** As it will be passed on: little endian, compressed frames without comments. */
  readonly body: AsyncIterable<Buffer>;
}

export interface CleanedPixels {
  readonly body: AsyncIterable<Buffer>;
  /** Any bit of the pixels is another than it was. */
  readonly changed: boolean;
  /** Boxes blanked for text that was found, over all frames. */
  readonly boxes: number;
  /** Of frames that came compressed and leave as samples. */
  readonly native?: NativePixels;
}

export interface NativePixels {
  readonly layout: ImageLayout;
  /** Of all frames, without a byte of padding. */
  readonly lengthBytes: number;
}

const SPOOL_MEMORY_BYTES = 16 * 2 ** 20;
const PIXEL_DATA = 0x7fe00010;

/** @throws Refusal Quarantined when the pixels cannot be read, cannot be written again or still hold text in the end */
export async function cleanPixels(
  source: PixelSource,
  policy: Extract<PixelPlan, { kind: 'clean' }>,
  tools: PixelTools,
): Promise<CleanedPixels> {
  const spool = spoolOf(tools);
  try {
    const work = openWork(source, policy, tools, spool);
    return source.plan.kind === 'native' ? await cleanNative(work) : await cleanEncapsulated(work);
  } catch (error) {
    spool.discard();
    // What no codec can read cannot be looked at.
    if (error instanceof Refusal && error.reason === 'NotAcceptable') throw new Refusal('Quarantined', error.message);
    throw error;
  }
}

function spoolOf(tools: PixelTools): Spool {
  return openSpool({ folder: tools.spoolFolder, memoryBytes: SPOOL_MEMORY_BYTES });
}

interface Work {
  readonly source: PixelSource;
  readonly tools: PixelTools;
  readonly spool: Spool;
  readonly layout: ImageLayout;
  readonly frames: number;
  readonly palette: Palette | undefined;
  /** Index of the palette's darkest colour. */
  readonly darkest: number | undefined;
  readonly search: Search;
  readonly overlays: boolean;
  /** Frames that cannot be written as they came may leave as samples. */
  readonly mayTurnNative: boolean;
}

function openWork(
  source: PixelSource,
  policy: Extract<PixelPlan, { kind: 'clean' }>,
  tools: PixelTools,
  spool: Spool,
): Work {
  const { dataSet, tag } = source;
  if (tag !== PIXEL_DATA) throw new Refusal('Quarantined', 'pixels of floating point numbers cannot be looked at');
  const layout = imageLayout(dataSet);
  if (layout.bitsAllocated > 32 || layout.samplesPerPixel === 4)
    throw new Refusal('Quarantined', 'pixels of this layout cannot be looked at');
  const palette = layout.photometricInterpretation === 'PALETTE COLOR' ? readPalette(dataSet, layout) : undefined;
  const { rows, columns } = layout;
  return {
    source,
    tools,
    spool,
    layout,
    frames: frameCount(dataSet),
    palette,
    darkest: palette === undefined ? undefined : darkestIndex(palette),
    search: { findText: tools.findText, rows, columns, always: boxesOfHeader(dataSet, layout, policy) },
    overlays: hasOverlaysInPixels(dataSet),
    mayTurnNative: policy.onUnwritable === 'native',
  };
}

async function cleanNative(work: Work): Promise<CleanedPixels> {
  const { source, layout, frames, spool } = work;
  const { lengthBytes = 0 } = source.plan;
  const halfChrominance = isHalfChrominance(layout, lengthBytes, frames);
  const frameBits = halfChrominance ? layout.rows * layout.columns * 16 : frameBitsOf(layout);
  let boxes = 0;
  let changed = false;
  for await (const run of nativeRuns(source.body, frameBits, frames)) {
    if ('rest' in run) {
      // At most the padding byte; anything else belongs to no frame and is made nothing of.
      changed ||= run.rest.some((byte) => byte !== 0);
      await spool.write(Buffer.alloc(run.rest.length));
      continue;
    }
    const places = Array.from({ length: run.count }, (_, index): FramePlace => ({
      bytes: run.bytes,
      firstBit: index * frameBits,
      layout,
      halfChrominance,
    }));
    if (work.overlays) for (const place of places) if (clearUnusedBits(place)) changed = true;
    const working = places.map((place) => nativeFrame(work, place, () => (changed = true)));
    boxes += await cleanRun(working, work.search);
    await spool.write(run.bytes);
  }
  return { body: drained(spool), changed, boxes };
}

function frameBitsOf({ rows, columns, samplesPerPixel, bitsAllocated }: ImageLayout): number {
  return rows * columns * samplesPerPixel * bitsAllocated;
}

/** YBR_FULL_422 halves both chrominances (PS3.3 C.7.6.3.1.2), unless the value is as long as if it did not. */
function isHalfChrominance(layout: ImageLayout, lengthBytes: number, frames: number): boolean {
  return (
    layout.photometricInterpretation === 'YBR_FULL_422' &&
    layout.bitsAllocated === 8 &&
    lengthBytes < frameBytes(layout) * frames
  );
}

function nativeFrame({ palette, darkest, layout }: Work, place: FramePlace, onChange: () => void): WorkingFrame {
  const black = blackOf(layout, darkest);
  return {
    views: () =>
      Promise.resolve(
        viewsOf({
          bytes: interleavedFrame(place),
          layout: place.layout,
          firstBit: place.layout.bitsAllocated === 1 ? place.firstBit : 0,
          palette,
        }),
      ),
    blank(boxes) {
      blankNative(place, boxes, black);
      onChange();
      return Promise.resolve();
    },
  };
}

/** Frames looked at together take at most this when they are decoded. */
const MOST_DECODED_BYTES = 64 * 2 ** 20;

async function cleanEncapsulated(work: Work): Promise<CleanedPixels> {
  const { source, frames, layout, spool } = work;
  const coding = { ...work, transferSyntaxUID: source.plan.transferSyntaxUID };
  const perRun = Math.max(1, Math.min(MOST_RUN_FRAMES, Math.floor(MOST_DECODED_BYTES / frameBytes(layout))));
  const starts: number[] = [];
  let offsetTable: Buffer = Buffer.alloc(0);
  let run: EncodedFrame[] = [];
  let samples: SampleFrames | undefined;
  let boxes = 0;
  let changed = false;
  const finish = async (): Promise<void> => {
    const working: EncodedWork[] = [];
    for (const { fragments } of run) working.push(await openEncodedFrame(Buffer.concat(fragments), coding));
    boxes += await cleanRun(working, work.search);
    for (const [index, frame] of working.entries()) {
      const written = samples === undefined ? await writtenOr(frame, work) : UNWRITABLE;
      if (written === UNWRITABLE) {
        samples ??= await turnNative(starts, work, coding);
        await samples.put(await frame.native());
        continue;
      }
      changed ||= written !== undefined;
      starts.push(spool.lengthBytes);
      for (const fragment of written === undefined ? (run[index]?.fragments ?? []) : [written])
        for (const piece of evenItem(fragment)) await spool.write(piece);
    }
    run = [];
  };
  try {
    for await (const frame of encapsulatedFrames(source.body, frames, source.plan.kind !== 'opaque')) {
      if ('offsetTable' in frame) offsetTable = frame.offsetTable;
      else if (run.push(frame) === perRun) await finish();
    }
    if (run.length > 0) await finish();
  } catch (error) {
    // A closure set it: the compiler thinks that nothing did.
    (samples as SampleFrames | undefined)?.discard();
    throw error;
  }
  const native = samples as SampleFrames | undefined;
  if (native !== undefined) return { body: native.body(), changed: true, boxes, native: native.pixels() };
  // The table of the frames as they came tells no truth of others.
  const table = changed && offsetTable.length > 0 ? offsetTableOf(starts) : offsetTable;
  return { body: encapsulated(table, spool), changed, boxes };
}

const UNWRITABLE = Symbol('unwritable');

async function writtenOr(frame: EncodedWork, { mayTurnNative }: Work): Promise<Buffer | undefined | typeof UNWRITABLE> {
  try {
    return await frame.result();
  } catch (error) {
    if (mayTurnNative && error instanceof Unwritable) return UNWRITABLE;
    throw error;
  }
}

/** Frames that leave as samples, one behind the other (PS3.5 8.2). */
interface SampleFrames {
  put(frame: DecodedFrame): Promise<void>;
  pixels(): NativePixels;
  body(): AsyncIterable<Buffer>;
  discard(): void;
}

/** Explicit VR Little Endian tells lengths in 32 bits, of which the highest means none. */
const MOST_NATIVE_BYTES = 0xfffffffe;

/** Begins with the frames that were written before, decoded again. @throws Refusal Quarantined */
async function turnNative(starts: readonly number[], work: Work, coding: Coding): Promise<SampleFrames> {
  const { layout, frames, spool, tools } = work;
  if (layout.bitsAllocated < 8 && frames > 1)
    throw new Refusal('Quarantined', 'frames of single bits that cannot be written as they came are not put together');
  if (frameBytes(layout) * frames > MOST_NATIVE_BYTES)
    throw new Refusal('Quarantined', 'the frames cannot be written as they came and are too long to be native');
  const native = spoolOf(tools);
  let last = layout;
  const put = async (frame: DecodedFrame): Promise<void> => {
    last = frame.layout;
    await native.write(frame.bytes);
  };
  try {
    if (starts.length > 0)
      for await (const frame of encapsulatedFrames(encapsulated(offsetTableOf(starts), spool), starts.length, false))
        if ('fragments' in frame) await put(await decodeWritten(Buffer.concat(frame.fragments), coding));
  } catch (error) {
    native.discard();
    throw error;
  }
  spool.discard();
  return {
    put,
    pixels: () => ({ layout: last, lengthBytes: native.lengthBytes }),
    body: () => evenly(native),
    discard: () => native.discard(),
  };
}
