/**
 * A compressed frame while it is cleaned: JPEG baseline and extended are blanked in their coefficients, everything else is decoded,
 * blanked, written again without loss and read back. A frame that nothing was found in is passed on as it came.
 */
import { deflateRawSync } from 'node:zlib';
import type { ImageLayout } from '../../dicom/image-layout.ts';
import { Refusal } from '../../dicom/refusal.ts';
import { blackOf, blankNative, clearUnusedBits, type FramePlace } from './blank.ts';
import type { WorkingFrame } from './search.ts';
import type { Box, DecodedFrame, PixelTools } from './tools.ts';
import { viewsOf, type Palette } from './views.ts';

export interface EncodedWork extends WorkingFrame {
  /** The frame as it is passed on now; undefined when it is passed on as it came. */
  result(): Promise<Buffer | undefined>;
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

/** @throws Refusal NotAcceptable, Quarantined when the syntax is not one that can be read and written */
export function openEncodedFrame(encoded: Buffer, coding: Coding): Promise<EncodedWork> {
  if (BY_COEFFICIENTS.has(coding.transferSyntaxUID)) return Promise.resolve(jpegFrame(encoded, coding));
  return recodedFrame(encoded, coding);
}

function jpegFrame(encoded: Buffer, { tools, layout, transferSyntaxUID }: Coding): EncodedWork {
  const boxes: Box[] = [];
  let present = encoded;
  return {
    async views() {
      return grey(await tools.decode(present, layout, transferSyntaxUID), undefined);
    },
    async blank(more) {
      boxes.push(...more);
      present = await tools.blankJpeg(encoded, layout, boxes);
    },
    result: () => Promise.resolve(present === encoded ? undefined : present),
  };
}

async function recodedFrame(encoded: Buffer, coding: Coding): Promise<EncodedWork> {
  const { tools, layout, transferSyntaxUID, palette, darkest, overlays } = coding;
  const target = WRITTEN_AS.get(transferSyntaxUID);
  if (target === undefined)
    throw new Refusal('Quarantined', 'pixels of this transfer syntax may hold text and cannot be cleaned');
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
      const written = await write({ bytes, layout: decoded.layout }, target, coding);
      const read = await tools.decode(written, stored, transferSyntaxUID);
      if (!read.bytes.equals(bytes))
        throw new Refusal('Quarantined', 'the pixels do not come out of this transfer syntax as they went in');
      return written;
    },
  };
}

/** Lossless JPEG holds samples as they are, whatever they mean: taken for RGB, no decoder converts them. */
function storedColours(layout: ImageLayout, transferSyntaxUID: string): ImageLayout {
  if (layout.samplesPerPixel !== 3 || !JPEG_LOSSLESS.has(transferSyntaxUID)) return layout;
  return { ...layout, photometricInterpretation: 'RGB' };
}

async function write(
  frame: DecodedFrame,
  target: string,
  { tools, layout, transferSyntaxUID }: Coding,
): Promise<Buffer> {
  // Without the colour transformation of JPEG 2000 where the object does not speak of it: its other frames have none.
  const transformed = layout.photometricInterpretation.startsWith('YBR_');
  const photometricInterpretation =
    target.startsWith(`${SYNTAX}4.`) && frame.layout.photometricInterpretation === 'RGB' && !transformed
      ? 'YBR_FULL'
      : frame.layout.photometricInterpretation;
  const planes = layout.planar && target === `${SYNTAX}1`;
  if (planes && layout.samplesPerPixel > 1)
    throw new Refusal('Quarantined', 'frames in planes of colour are not written in this transfer syntax');
  const written = await tools.encode(
    { bytes: frame.bytes, layout: { ...frame.layout, photometricInterpretation } },
    target,
  );
  return transferSyntaxUID === DEFLATED_FRAME ? deflateRawSync(written) : written;
}

function grey({ bytes, layout }: DecodedFrame, palette: Palette | undefined): Uint8Array[] {
  return viewsOf({ bytes, layout, firstBit: 0, palette });
}
