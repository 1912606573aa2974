/**
 * A native frame as 8-bit samples for eyes: modality, VOI and presentation transformations of grey (PS3.3 C.11, PS3.4 N.2), palette,
 * RGB and YBR. Grey of up to 16 bits goes through one table of all stored values.
 */
import { unusable, type ImageLayout } from './image.ts';
import type { NativeFrame } from './frames.ts';
import type { Picture } from './picture.ts';
import type { LookupTable, Presentation, Window } from './presentation.ts';

/** @throws Refusal NotAcceptable for colours that are not drawn */
export function drawFrame({ bytes, layout }: NativeFrame, presentation: Presentation): Picture {
  const { rows, columns, photometricInterpretation } = layout;
  const size = { rows, columns };
  switch (photometricInterpretation) {
    case 'PALETTE COLOR':
      if (presentation.palette === undefined) throw unusable('the palette is missing');
      return { ...size, channels: 3, bytes: throughPalette(bytes, layout, presentation.palette) };
    case 'RGB':
      return { ...size, channels: 3, bytes: eightBits(bytes, layout) };
    case 'YBR_FULL':
    case 'YBR_FULL_422':
      return { ...size, channels: 3, bytes: toRgb(eightBits(bytes, layout)) };
    default:
      if (layout.samplesPerPixel !== 1)
        throw unusable(`${layout.samplesPerPixel} samples a pixel are drawn as RGB, YBR_FULL or YBR_FULL_422 only`);
      return { ...size, channels: 1, bytes: grey(bytes, layout, presentation) };
  }
}

function grey(bytes: Buffer, layout: ImageLayout, presentation: Presentation): Buffer {
  const count = layout.rows * layout.columns;
  if (presentation.float || layout.bitsAllocated > 16)
    return greyOf(readValues(bytes, layout, presentation.float), presentation);
  const stored = storedValues(bytes, layout);
  const table = greyTable(layout, presentation, () => rangeOf(stored, layout, presentation));
  const picture = Buffer.allocUnsafe(count);
  fillThrough(picture, stored, table);
  return picture;
}

/** Each pixel with what lies above and below its stored bits. */
interface Stored {
  readonly words: Uint16Array | Uint8Array;
  /** How far the stored bits lie above the lowest. */
  readonly down: number;
  readonly mask: number;
}

function storedValues(bytes: Buffer, { rows, columns, bitsAllocated, bitsStored, highBit }: ImageLayout): Stored {
  const count = rows * columns;
  if (bitsAllocated === 1) {
    const bits = new Uint8Array(count);
    for (let at = 0; at < count; at++) bits[at] = ((bytes[at >> 3] ?? 0) >> (at & 7)) & 1;
    return { words: bits, down: 0, mask: 1 };
  }
  const place = { down: highBit + 1 - bitsStored, mask: 2 ** bitsStored - 1 };
  if (bitsAllocated === 8) return { words: bytes.subarray(0, count), ...place };
  const aligned = bytes.byteOffset % 2 === 0 ? bytes : Buffer.from(new Uint8Array(bytes).buffer);
  return { words: new Uint16Array(aligned.buffer, aligned.byteOffset, count), ...place };
}

/** Every `step`th byte from `first` on becomes what the table has for the next pixel. */
function fillThrough(picture: Buffer, { words, down, mask }: Stored, table: Uint8Array, first = 0, step = 1): void {
  const count = words.length;
  for (let at = 0, to = first; at < count; at++, to += step)
    picture[to] = table[((words[at] ?? 0) >> down) & mask] ?? 0;
}

function valueOf(index: number, { signed, bitsStored }: ImageLayout): number {
  return signed && index >= 2 ** (bitsStored - 1) ? index - 2 ** bitsStored : index;
}

/** Stored value to grey, for every stored value there can be. */
function greyTable(
  layout: ImageLayout,
  presentation: Presentation,
  range: () => readonly [number, number],
): Uint8Array {
  const toGrey = greyFunction(presentation, range);
  const toReal = modalityFunction(presentation);
  const table = new Uint8Array(2 ** layout.bitsStored);
  for (let index = 0; index < table.length; index++) table[index] = toGrey(toReal(valueOf(index, layout)));
  return table;
}

function modalityFunction({ modalityTable, slope, intercept }: Presentation): (stored: number) => number {
  if (modalityTable !== undefined) return (stored) => lookUp(modalityTable, stored);
  return (stored) => stored * slope + intercept;
}

function lookUp({ first, entries }: LookupTable, value: number): number {
  const index = Math.round(value) - first;
  return entries[Math.min(entries.length - 1, Math.max(0, index))] ?? 0;
}

/** Real value to 0..255: window or table of the object, else from the frame's darkest to its brightest. */
function greyFunction(presentation: Presentation, range: () => readonly [number, number]): (value: number) => number {
  const { voiTable, window, inverse, presentationTable } = presentation;
  const scaled =
    window !== undefined
      ? windowFunction(window)
      : voiTable !== undefined
        ? tableFunction(voiTable)
        : rangeFunction(range());
  if (presentationTable !== undefined) {
    const { entries, first } = presentationTable;
    const shown = tableFunction(presentationTable);
    return (value) => Math.round(255 * shown(first + scaled(value) * (entries.length - 1)));
  }
  return inverse ? (value) => 255 - Math.round(255 * scaled(value)) : (value) => Math.round(255 * scaled(value));
}

function tableFunction(table: LookupTable): (value: number) => number {
  const white = 2 ** table.bits - 1;
  return (value) => Math.min(1, lookUp(table, value) / white);
}

function rangeFunction([low, high]: readonly [number, number]): (value: number) => number {
  return (value) => (high > low ? clamp((value - low) / (high - low)) : 0);
}

/** PS3.3 C.11.2.1.2 and C.11.2.1.3. */
function windowFunction({ center, width, shape }: Window): (value: number) => number {
  switch (shape) {
    case 'linear':
      if (width <= 1) return (value) => (value > center - 0.5 ? 1 : 0);
      return (value) => clamp((value - (center - 0.5)) / (width - 1) + 0.5);
    case 'linear-exact':
      return (value) => clamp((value - center) / width + 0.5);
    case 'sigmoid':
      return (value) => 1 / (1 + Math.exp((-4 * (value - center)) / width));
    default:
      return shape satisfies never;
  }
}

function clamp(value: number): number {
  return value < 0 ? 0 : value > 1 ? 1 : value;
}

function rangeOf(
  { words, down, mask }: Stored,
  layout: ImageLayout,
  presentation: Presentation,
): readonly [number, number] {
  if (layout.bitsAllocated === 1) return [0, 1];
  const { padding } = presentation;
  const toReal = modalityFunction(presentation);
  const seen = new Uint8Array(2 ** layout.bitsStored);
  for (const word of words) seen[(word >> down) & mask] = 1;
  let [low, high] = [Infinity, -Infinity];
  for (let index = seen.indexOf(1); index >= 0; index = seen.indexOf(1, index + 1)) {
    const value = valueOf(index, layout);
    if (padding !== undefined && value >= padding[0] && value <= padding[1]) continue;
    low = Math.min(low, toReal(value));
    high = Math.max(high, toReal(value));
  }
  return low > high ? [0, 1] : [low, high];
}

/** Values of 32 and 64 bits, whole or float, which have no table. */
function readValues(bytes: Buffer, layout: ImageLayout, float: boolean): Float64Array {
  const { rows, columns, bitsAllocated, bitsStored, highBit, signed } = layout;
  const values = new Float64Array(rows * columns);
  const step = bitsAllocated / 8;
  if (bitsAllocated === 64 && !float) throw unusable('whole numbers of 64 bits are not drawn');
  const up = 31 - highBit;
  const down = 32 - bitsStored;
  for (let at = 0; at < values.length; at++) {
    const from = at * step;
    if (float) values[at] = bitsAllocated === 64 ? bytes.readDoubleLE(from) : bytes.readFloatLE(from);
    else {
      const word = bytes.readInt32LE(from) << up;
      values[at] = signed ? word >> down : word >>> down;
    }
  }
  return values;
}

function greyOf(values: Float64Array, presentation: Presentation): Buffer {
  const { padding } = presentation;
  const toReal = modalityFunction(presentation);
  const toGrey = greyFunction(presentation, () => {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      if (!Number.isFinite(value) || (padding !== undefined && value >= padding[0] && value <= padding[1])) continue;
      const real = toReal(value);
      if (real < low) low = real;
      if (real > high) high = real;
    }
    return low > high ? [0, 1] : [low, high];
  });
  return Buffer.from(values.map((value) => (Number.isNaN(value) ? 0 : toGrey(toReal(value)))));
}

function throughPalette(
  bytes: Buffer,
  layout: ImageLayout,
  palette: readonly [LookupTable, LookupTable, LookupTable],
): Buffer {
  if (layout.bitsAllocated > 16) throw unusable('a palette takes up to 16 bits');
  const stored = storedValues(bytes, layout);
  const tables = palette.map((table) => {
    const colours = new Uint8Array(2 ** layout.bitsStored);
    for (let index = 0; index < colours.length; index++) {
      const entry = lookUp(table, valueOf(index, layout));
      colours[index] = table.bits > 8 ? entry >> (table.bits - 8) : entry;
    }
    return colours;
  });
  const count = layout.rows * layout.columns;
  const picture = Buffer.allocUnsafe(count * 3);
  for (const [channel, table] of tables.entries()) fillThrough(picture, stored, table, channel, 3);
  return picture;
}

/** Colour of 16 bits is drawn by its upper 8. */
function eightBits(bytes: Buffer, { bitsAllocated, bitsStored, highBit }: ImageLayout): Buffer {
  if (bitsAllocated === 8) return bytes;
  if (bitsAllocated !== 16) throw unusable(`colour of ${bitsAllocated} bits a sample is not drawn`);
  const samples = Buffer.allocUnsafe(bytes.length / 2);
  const mask = 2 ** bitsStored - 1;
  for (let at = 0; at < samples.length; at++) {
    const value = (bytes.readUInt16LE(2 * at) >> (highBit + 1 - bitsStored)) & mask;
    samples[at] = bitsStored > 8 ? value >> (bitsStored - 8) : value;
  }
  return samples;
}

/** Full-range Rec. 601, PS3.3 C.7.6.3.1.2. */
function toRgb(ybr: Buffer): Buffer {
  const rgb = Buffer.allocUnsafe(ybr.length);
  for (let at = 0; at + 2 < ybr.length; at += 3) {
    const [y = 0, blue = 0, red = 0] = [ybr[at], ybr[at + 1], ybr[at + 2]];
    rgb[at] = byte(y + 1.402 * (red - 128));
    rgb[at + 1] = byte(y - 0.344_136 * (blue - 128) - 0.714_136 * (red - 128));
    rgb[at + 2] = byte(y + 1.772 * (blue - 128));
  }
  return rgb;
}

function byte(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : Math.round(value);
}
