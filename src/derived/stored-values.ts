/** Real values to stored 16-bit values (PS3.3 C.11.1), by the source's own rescale as long as that holds them. */
import { Refusal } from '../dicom/refusal.ts';
import type { Plane } from '../dicom/slices.ts';
import type { SliceSource } from '../dicom/volume.ts';
import type { Rescale } from '../dicom/voxels.ts';

/** How a whole series is stored. */
export interface Storage {
  readonly signed: boolean;
  rescale(k: number): Rescale;
  /** Stored values, from the lower to the upper, that mean "no data" in slice k; undefined when there are none. */
  padding(k: number): Range | undefined;
}

type Range = readonly [low: number, high: number];

export interface StoredSlice {
  readonly body: Buffer;
  readonly smallest: number;
  readonly largest: number;
}

/** What is to be stored, and where it comes from. */
export interface Stored {
  /** The values of each slice. */
  readonly slices: readonly Float32Array[];
  readonly planes: readonly Plane[];
  readonly sources: readonly SliceSource[];
  /** Real value of voxels that hold no data. */
  readonly padding: number | undefined;
  /** True when slice k of the result is made of slice k of the source alone. */
  readonly sameSlices: boolean;
  /** True where stored 0 has to mean 0. */
  readonly throughZero: boolean;
}

/**
 * The source's slope and intercept are kept (HU stay exact): each slice's own when slices correspond, else the one that all share.
 * Where values would not fit into 16 bits, or the source's slices differ, a slope is chosen that uses the range.
 * @throws Refusal PipelineRefused when a voxel is no finite number
 */
export function chooseStorage(stored: Stored): Storage {
  const { slices, planes, sources, padding, sameSlices, throughZero } = stored;
  const first = planes[0];
  if (first === undefined) throw new Error('a series without planes cannot be stored');
  const alike = planes.every((plane) => plane.slope === first.slope && plane.intercept === first.intercept);
  if (sameSlices || alike) {
    const rescale = (k: number): Rescale => (sameSlices ? planes[k] : first) ?? first;
    const paddingOf = (k: number): Range | undefined => {
      const real =
        padding === undefined ? (sameSlices ? sources[k]?.padding : undefined) : ([padding, padding] as const);
      return real === undefined ? undefined : storedPadding(real, rescale(k));
    };
    const range = storedRange(slices, rescale, paddingOf);
    const signed = range.low < 0 ? true : range.high > 32767 ? false : first.format.signed;
    if (range.low >= (signed ? -32768 : 0) && range.high <= (signed ? 32767 : 65535))
      return { signed, rescale, padding: paddingOf };
  }
  return spread(slices, padding, throughZero);
}

/** Values as they are where they are wide enough to be rounded to whole numbers; else a slope that spreads them over 65 536 steps. */
function spread(slices: readonly Float32Array[], padding: number | undefined, throughZero: boolean): Storage {
  const { low, high } = realRange(slices, padding);
  const whole = low >= -32768 && high <= 32767 && high - low >= WIDE_ENOUGH;
  const signed = low < 0 && (whole || throughZero);
  const slope = !throughZero ? (high - low) / 65535 : signed ? Math.max(-low, high) / 32767 : high / 65535;
  // Nine digits fit into a Decimal String: what is written is what is used.
  const rescale: Rescale = whole
    ? { slope: 1, intercept: 0 }
    : { slope: Number((slope || 1 / 65535).toPrecision(9)), intercept: throughZero ? 0 : Number(low.toPrecision(9)) };
  const stored = padding === undefined ? undefined : storedPadding([padding, padding], rescale);
  return { signed, rescale: () => rescale, padding: () => stored };
}

/** Steps that 12-bit sources have. */
const WIDE_ENOUGH = 4096;

function storedPadding(real: Range, { slope, intercept }: Rescale): Range {
  const [a, b] = real.map((value) => Math.round((value - intercept) / slope)) as [number, number];
  return [Math.min(a, b), Math.max(a, b)];
}

function storedRange(
  slices: readonly Float32Array[],
  rescale: (k: number) => Rescale,
  paddingOf: (k: number) => Range | undefined,
): { low: number; high: number } {
  let low = Infinity;
  let high = -Infinity;
  for (const [k, slice] of slices.entries()) {
    const real = extremes(slice);
    const { slope, intercept } = rescale(k);
    for (const stored of [
      Math.round((real.low - intercept) / slope),
      Math.round((real.high - intercept) / slope),
      ...(paddingOf(k) ?? []),
    ]) {
      low = Math.min(low, stored);
      high = Math.max(high, stored);
    }
  }
  return { low, high };
}

function realRange(slices: readonly Float32Array[], padding: number | undefined): { low: number; high: number } {
  let [low, high] = [padding ?? Infinity, padding ?? -Infinity];
  for (const slice of slices) {
    const real = extremes(slice);
    low = Math.min(low, real.low);
    high = Math.max(high, real.high);
  }
  return { low, high };
}

function extremes(voxels: Float32Array): { low: number; high: number } {
  let low = Infinity;
  let high = -Infinity;
  let finite = true;
  for (const value of voxels) {
    if (value < low) low = value;
    if (value > high) high = value;
    // NaN compares with nothing and infinity only hides in the extremes.
    if (value - value !== 0) finite = false;
  }
  if (!finite) throw new Refusal('PipelineRefused', 'the result has voxels that are no finite numbers');
  return { low, high };
}

export function storeSlice(values: Float32Array, k: number, storage: Storage): StoredSlice {
  const size = values.length;
  const body = Buffer.alloc(size * 2);
  const stored = storage.signed
    ? new Int16Array(body.buffer, body.byteOffset, size)
    : new Uint16Array(body.buffer, body.byteOffset, size);
  const { slope, intercept } = storage.rescale(k);
  const low = storage.signed ? -32768 : 0;
  const high = storage.signed ? 32767 : 65535;
  let smallest = Infinity;
  let largest = -Infinity;
  for (let i = 0; i < size; i++) {
    const exact = Math.round(((values[i] ?? 0) - intercept) / slope);
    const value = exact < low ? low : exact > high ? high : exact;
    stored[i] = value;
    if (value < smallest) smallest = value;
    if (value > largest) largest = value;
  }
  return { body, smallest, largest };
}
