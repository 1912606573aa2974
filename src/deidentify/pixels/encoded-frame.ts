/**
 * A compressed frame while it is cleaned: JPEG baseline and extended are blanked in their coefficients, everything else is decoded,
 * blanked, written again without loss and read back. A frame that nothing was found in is passed on as it came; one that has no form in
 * its transfer syntax once it is blanked can still be had native.
 */
import { deflateRawSync } from 'node:zlib';
import type { ImageLayout } from '../../dicom/image-layout.ts';
import { Refusal } from '../../dicom/refusal.ts';
import { blackOf, blankNative, clearUnusedBits, type FramePlace } from './blank.ts';
import type { Palette } from './palette.ts';
import type { WorkingFrame } from './search.ts';
import type { Box, DecodedFrame, PixelTools } from './tools.ts';
import { viewsOf } from './views.ts';

export interface EncodedWork extends WorkingFrame {
  /**
   * The frame as it is passed on now; undefined when it is passed on as it came.
   * @throws Unwritable when it has no form in the object's transfer syntax
   */
  result(): Promise<Buffer | undefined>;
  /** As it is now, decoded. */
  native(): Promise<DecodedFrame>;
}

/** Blanked, and without a lossless form in the transfer syntax. */
export class Unwritable extends Refusal {
  constructor(sentence: string) {
    super('Quarantined', sentence);
  }
}

export interface Coding {
  readonly tools: PixelTools;
  readonly transferSyntaxUID: string;
  readonly layout: ImageLayout;
  readonly palette: Palette | undefined;
  readonly darkest: number | undefined;
  /** Overlays stand in bits that are not stored. */
  readonly overlays: boolean;
}

const SYNTAX = '1.2.840.10008.1.2.';
/** Huffman-coded DCT: nothing is gained by decoding it, and everything else would lose. */
const BY_COEFFICIENTS: ReadonlySet<string> = new Set([`${SYNTAX}4.50`, `${SYNTAX}4.51`]);
const JPEG_LOSSLESS: ReadonlySet<string> = new Set([`${SYNTAX}4.57`, `${SYNTAX}4.70`]);
export const DEFLATED_FRAME = `${SYNTAX}8.1`;
/** What is written where the syntax came; each is a codestream that the syntax allows, lossless in those that allow loss too. */
export const WRITTEN_AS: ReadonlyMap<string, string> = new Map([
  [`${SYNTAX}5`, `${SYNTAX}5`],
  [`${SYNTAX}1.98`, `${SYNTAX}1`],
  [DEFLATED_FRAME, `${SYNTAX}1`],
  [`${SYNTAX}4.57`, `${SYNTAX}4.70`],
  [`${SYNTAX}4.70`, `${SYNTAX}4.70`],
  [`${SYNTAX}4.80`, `${SYNTAX}4.80`],
  [`${SYNTAX}4.81`, `${SYNTAX}4.80`],
  [`${SYNTAX}4.90`, `${SYNTAX}4.90`],
  [`${SYNTAX}4.91`, `${SYNTAX}4.90`],
  [`${SYNTAX}4.201`, `${SYNTAX}4.201`],
  [`${SYNTAX}4.202`, `${SYNTAX}4.201`],
  [`${SYNTAX}4.203`, `${SYNTAX}4.201`],
]);

/** @throws Refusal NotAcceptable when the syntax is not one that can be read */
export function openEncodedFrame(encoded: Buffer, coding: Coding): Promise<EncodedWork> {
  if (BY_COEFFICIENTS.has(coding.transferSyntaxUID)) return Promise.resolve(jpegFrame(encoded, coding));
  return recodedFrame(encoded, coding);
}

function jpegFrame(encoded: Buffer, coding: Coding): EncodedWork {
  const { tools, layout, transferSyntaxUID } = coding;
  const boxes: Box[] = [];
  let present = encoded;
  /** What cannot be blanked in its coefficients is blanked as samples, which loses nothing but the compression. */
  let samples: DecodedFrame | undefined;
  const asSamples = async (): Promise<DecodedFrame> => {
    const decoded = await tools.decode(encoded, layout, transferSyntaxUID);
    const frame = { bytes: Buffer.from(decoded.bytes), layout: decoded.layout };
    blankNative({ ...frame, firstBit: 0, halfChrominance: false }, boxes, blackOf(frame.layout, undefined));
    return frame;
  };
  const native = async (): Promise<DecodedFrame> => samples ?? tools.decode(present, layout, transferSyntaxUID);
  return {
    async views() {
      return grey(await native(), undefined);
    },
    async blank(more) {
      boxes.push(...more);
      const blanked = samples === undefined ? await inCoefficients(encoded, boxes, coding) : undefined;
      if (blanked === undefined) samples = await asSamples();
      else present = blanked;
    },
    result() {
      if (samples !== undefined)
        return Promise.reject(new Unwritable('the coefficients of a JPEG frame with text cannot be blanked'));
      return Promise.resolve(present === encoded ? undefined : present);
    },
    native,
  };
}

/** undefined where the codestream is one whose coefficients are not read. */
async function inCoefficients(
  encoded: Buffer,
  boxes: readonly Box[],
  { tools, layout }: Coding,
): Promise<Buffer | undefined> {
  try {
    return await tools.blankJpeg(encoded, layout, boxes);
  } catch (error) {
    if (error instanceof Refusal && error.reason === 'NotAcceptable') return undefined;
    throw error;
  }
}

async function recodedFrame(encoded: Buffer, coding: Coding): Promise<EncodedWork> {
  const { tools, layout, transferSyntaxUID, palette, darkest, overlays } = coding;
  const stored = storedColours(layout, transferSyntaxUID);
  const decoded = await tools.decode(encoded, stored, transferSyntaxUID);
  const bytes = Buffer.from(decoded.bytes);
  const place: FramePlace = { bytes, firstBit: 0, layout: decoded.layout, halfChrominance: false };
  const black = blackOf(decoded.layout, darkest);
  let changed = overlays && clearUnusedBits(place);
  return {
    views: () => Promise.resolve(grey({ bytes, layout: decoded.layout }, palette)),
    blank(boxes) {
      blankNative(place, boxes, black);
      changed = true;
      return Promise.resolve();
    },
    async result() {
      if (!changed) return undefined;
      const written = await write({ bytes, layout: decoded.layout }, coding);
      const read = await tools.decode(written, stored, transferSyntaxUID);
      if (!read.bytes.equals(bytes))
        throw new Unwritable('the pixels do not come out of this transfer syntax as they went in');
      return written;
    },
    native: () => Promise.resolve({ bytes, layout: nativeColours(decoded.layout, layout, transferSyntaxUID) }),
  };
}

/** Lossless JPEG holds samples as they are, whatever they mean: taken for RGB, no decoder converts them. */
function storedColours(layout: ImageLayout, transferSyntaxUID: string): ImageLayout {
  if (layout.samplesPerPixel !== 3 || !JPEG_LOSSLESS.has(transferSyntaxUID)) return layout;
  return { ...layout, photometricInterpretation: 'RGB' };
}

/** And are, native, what the object says of them. */
function nativeColours(decoded: ImageLayout, layout: ImageLayout, transferSyntaxUID: string): ImageLayout {
  if (layout.samplesPerPixel !== 3 || !JPEG_LOSSLESS.has(transferSyntaxUID)) return decoded;
  const { photometricInterpretation } = layout;
  return {
    ...decoded,
    photometricInterpretation: photometricInterpretation === 'YBR_FULL_422' ? 'YBR_FULL' : photometricInterpretation,
  };
}

/** @throws Unwritable */
async function write(frame: DecodedFrame, { tools, layout, transferSyntaxUID }: Coding): Promise<Buffer> {
  const target = WRITTEN_AS.get(transferSyntaxUID);
  if (target === undefined) throw new Unwritable('frames are not written in this transfer syntax');
  // Without the colour transformation of JPEG 2000 where the object does not speak of it: its other frames have none.
  const transformed = layout.photometricInterpretation.startsWith('YBR_');
  const photometricInterpretation =
    target.startsWith(`${SYNTAX}4.`) && frame.layout.photometricInterpretation === 'RGB' && !transformed
      ? 'YBR_FULL'
      : frame.layout.photometricInterpretation;
  const planes = layout.planar && target === `${SYNTAX}1`;
  if (planes && layout.samplesPerPixel > 1)
    throw new Unwritable('frames in planes of colour are not written in this transfer syntax');
  try {
    const written = await tools.encode(
      { bytes: frame.bytes, layout: { ...frame.layout, photometricInterpretation } },
      target,
    );
    return transferSyntaxUID === DEFLATED_FRAME ? deflateRawSync(written) : written;
  } catch (error) {
    if (error instanceof Refusal && error.reason === 'NotAcceptable') throw new Unwritable(error.message);
    throw error;
  }
}

/** A frame as it is written, once more as samples. @throws Refusal NotAcceptable */
export async function decodeWritten(encoded: Buffer, coding: Coding): Promise<DecodedFrame> {
  const { tools, layout, transferSyntaxUID } = coding;
  const decoded = await tools.decode(encoded, storedColours(layout, transferSyntaxUID), transferSyntaxUID);
  return { bytes: decoded.bytes, layout: nativeColours(decoded.layout, layout, transferSyntaxUID) };
}

function grey({ bytes, layout }: DecodedFrame, palette: Palette | undefined): Uint8Array[] {
  return viewsOf({ bytes, layout, firstBit: 0, palette });
}
