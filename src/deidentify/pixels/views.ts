/**
 * A frame as the detector sees it: one or more grey pictures, 0 to 255. Text may stand at the end of a range of 16 bits that anatomy
 * uses a small part of, or in a colour as bright as what is behind it: then one picture is not enough.
 */
import type { ImageLayout } from '../../dicom/image-layout.ts';
import type { Palette } from './palette.ts';

export interface NativeFrame {
  /** Little endian, pixel after pixel; single bits from `firstBit` on. */
  readonly bytes: Buffer;
  readonly layout: ImageLayout;
  readonly firstBit: number;
  readonly palette: Palette | undefined;
}

/** Shares of the pixels that a stretched picture leaves black and white. */
const DARKEST = 0.005;
const BRIGHTEST = 0.995;
/** Differences between colours below this are noise of a compression. */
const COLOURLESS = 12;
/** Noise of a few grey levels, drawn over the whole range, would look like writing. */
const MOST_GAIN = 4;
/** A picture whose contents use less than this part of its range is stretched. */
const FULL_ENOUGH = 0.6;

export function viewsOf(frame: NativeFrame): Uint8Array[] {
  const { layout, palette } = frame;
  if (layout.samplesPerPixel === 3) return colourViews(frame.bytes, layout);
  const stored = storedValues(frame);
  if (palette !== undefined) return paletteViews(stored, palette);
  return greyViews(stored, layout);
}

/** Stored values of one sample, sign extended, without what lies above and below the stored bits. */
function storedValues({ bytes, layout, firstBit }: NativeFrame): Int32Array {
  const { rows, columns, bitsAllocated, bitsStored, highBit, signed } = layout;
  const values = new Int32Array(rows * columns);
  const down = highBit + 1 - bitsStored;
  const up = 32 - bitsStored;
  for (let at = 0; at < values.length; at++) {
    let word: number;
    if (bitsAllocated === 1) word = ((bytes[(firstBit + at) >> 3] ?? 0) >> ((firstBit + at) & 7)) & 1;
    else if (bitsAllocated === 8) word = bytes[at] ?? 0;
    else if (bitsAllocated === 16) word = bytes.readUInt16LE(2 * at);
    else word = bytes.readInt32LE(4 * at);
    const low = (word >> down) << up;
    values[at] = signed ? low >> up : low >>> up;
  }
  return values;
}

function greyViews(stored: Int32Array, { bitsStored, signed }: ImageLayout): Uint8Array[] {
  const [lowest, highest] = range(stored);
  if (lowest === highest) return [];
  if (bitsStored <= 8 && !signed) {
    const whole = scaled(stored, 0, 2 ** bitsStored - 1);
    const [low, high] = percentiles(stored, lowest, highest);
    const most = 2 ** bitsStored - 1;
    if (high <= low || high - low >= FULL_ENOUGH * most) return [whole];
    return [whole, scaled(stored, low, Math.max(high, low + most / MOST_GAIN))];
  }
  const whole = scaled(stored, lowest, highest);
  const [low, high] = percentiles(stored, lowest, highest);
  return high > low && high - low < 0.9 * (highest - lowest) ? [whole, scaled(stored, low, high)] : [whole];
}

function range(values: Int32Array): [number, number] {
  let [lowest, highest] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < lowest) lowest = value;
    if (value > highest) highest = value;
  }
  return [lowest, highest];
}

const BINS = 4096;

/** The values between which nearly all pixels lie; those at the very lowest value (outside of the body) do not count. */
function percentiles(values: Int32Array, lowest: number, highest: number): [number, number] {
  const step = Math.max(1, (highest - lowest + 1) / BINS);
  const bins = new Uint32Array(BINS + 1);
  let counted = 0;
  for (const value of values) {
    if (value === lowest) continue;
    const bin = Math.floor((value - lowest) / step);
    bins[bin] = (bins[bin] ?? 0) + 1;
    counted++;
  }
  const valueAt = (share: number): number => {
    let seen = 0;
    for (let bin = 0; bin < bins.length; bin++) {
      seen += bins[bin] ?? 0;
      if (seen >= share * counted) return lowest + bin * step;
    }
    return highest;
  };
  return [Math.floor(valueAt(DARKEST)), Math.ceil(valueAt(BRIGHTEST))];
}

function scaled(values: Int32Array, low: number, high: number): Uint8Array {
  const grey = new Uint8Array(values.length);
  const factor = 255 / Math.max(1, high - low);
  for (let at = 0; at < values.length; at++) {
    const shade = ((values[at] ?? 0) - low) * factor;
    grey[at] = shade <= 0 ? 0 : shade >= 255 ? 255 : Math.round(shade);
  }
  return grey;
}

function paletteViews(stored: Int32Array, { red, green, blue, first, bits }: Palette): Uint8Array[] {
  const bytes = Buffer.allocUnsafe(stored.length * 3);
  const down = Math.max(0, bits - 8);
  const last = red.length - 1;
  for (let at = 0; at < stored.length; at++) {
    const index = Math.min(last, Math.max(0, (stored[at] ?? 0) - first));
    bytes[3 * at] = (red[index] ?? 0) >> down;
    bytes[3 * at + 1] = (green[index] ?? 0) >> down;
    bytes[3 * at + 2] = (blue[index] ?? 0) >> down;
  }
  return brightAndDark(bytes);
}

function colourViews(bytes: Buffer, layout: ImageLayout): Uint8Array[] {
  const eight = layout.bitsAllocated === 8 ? bytes : upperBytes(bytes, layout);
  return brightAndDark(layout.photometricInterpretation.startsWith('YBR_FULL') ? rgbOf(eight) : eight);
}

function upperBytes(bytes: Buffer, { bitsStored, highBit }: ImageLayout): Buffer {
  const upper = Buffer.allocUnsafe(bytes.length >> 1);
  const down = Math.max(0, highBit - 7);
  const up = Math.max(0, 8 - bitsStored);
  for (let at = 0; at < upper.length; at++) upper[at] = ((bytes.readUInt16LE(2 * at) >> down) << up) & 0xff;
  return upper;
}

/** PS3.3 C.7.6.3.1.2. */
function rgbOf(ybr: Buffer): Buffer {
  const rgb = Buffer.allocUnsafe(ybr.length);
  const byte = (value: number): number => (value < 0 ? 0 : value > 255 ? 255 : Math.round(value));
  for (let at = 0; at + 2 < ybr.length; at += 3) {
    const luma = ybr[at] ?? 0;
    const blue = (ybr[at + 1] ?? 0) - 128;
    const red = (ybr[at + 2] ?? 0) - 128;
    rgb[at] = byte(luma + 1.402 * red);
    rgb[at + 1] = byte(luma - 0.344136 * blue - 0.714136 * red);
    rgb[at + 2] = byte(luma + 1.772 * blue);
  }
  return rgb;
}

/** The brightest and the darkest of the three colours of each pixel; once, where there is no colour. */
function brightAndDark(rgb: Buffer): Uint8Array[] {
  const count = Math.floor(rgb.length / 3);
  const bright = new Uint8Array(count);
  const dark = new Uint8Array(count);
  let coloured = false;
  for (let at = 0; at < count; at++) {
    const [r, g, b] = [rgb[3 * at] ?? 0, rgb[3 * at + 1] ?? 0, rgb[3 * at + 2] ?? 0];
    const most = r > g ? (r > b ? r : b) : g > b ? g : b;
    const least = r < g ? (r < b ? r : b) : g < b ? g : b;
    bright[at] = most;
    dark[at] = least;
    coloured ||= most - least > COLOURLESS;
  }
  return coloured ? [bright, dark] : [bright];
}

/**
 * Pictures of several frames in one: the mean, in which what moves blurs and what stands stays sharp, and the brightest of each pixel.
 * @param frames views of consecutive frames, in the same order for each
 */
export function overTime(frames: readonly (readonly Uint8Array[])[]): Uint8Array[] {
  const first = frames.find((views) => views.length > 0)?.[0];
  if (first === undefined) return [];
  const sum = new Uint32Array(first.length);
  const most = new Uint8Array(first.length);
  let counted = 0;
  for (const [view] of frames) {
    if (view === undefined) continue;
    counted++;
    for (let at = 0; at < view.length; at++) {
      const value = view[at] ?? 0;
      sum[at] = (sum[at] ?? 0) + value;
      if (value > (most[at] ?? 0)) most[at] = value;
    }
  }
  if (counted < 2) return [];
  return [Uint8Array.from(sum, (value) => Math.round(value / counted)), most];
}
