/** The steps a manifest may name before its graph, each with the way back: values come back by `invert`, the grid always. */
import { Refusal } from '../dicom/refusal.ts';
import type { Vector3, VolumeGeometry } from '../dicom/volume.ts';
import { spectrumDropDb } from './interpolation.ts';
import { stabilise } from './rician.ts';
import { percentiles } from './zoo-figures.ts';
import type { Step } from './zoo-manifest.ts';

/** Voxels on a grid without a place: index = (k * size[1] + j) * size[0] + i. */
export interface Grid {
  readonly values: Float32Array;
  readonly size: Vector3;
  readonly spacingMm: Vector3;
}

export interface Prepared {
  readonly grid: Grid;
  /** Undo the value steps, the last one first. */
  readonly valuesBack: ((values: Float32Array) => void)[];
  /** Undo the grid steps, the last one first. */
  readonly gridBack: ((grid: Grid) => Grid)[];
}

export interface Surroundings {
  readonly geometry: VolumeGeometry;
  readonly modality: string;
  readonly rescaleType: string | undefined;
  /** Values of the source by keyword. */
  readonly attributes: Readonly<Record<string, readonly string[]>>;
  /** The source's voxels, which are asked for again afterwards; what a step made of them may be written over. */
  readonly voxels: Float32Array;
}

/** Applies one step of `pre`; `tile` is the runner's own. @throws Refusal PipelineRefused */
export function prepare(before: Prepared, step: Step, around: Surroundings): Prepared {
  switch (step.op) {
    case 'rescaleHU':
      if (around.modality !== 'CT') throw unfit(`Modality (0008,0060) is ${around.modality.slice(0, 16)}; HU need CT`);
      if (around.rescaleType !== undefined && around.rescaleType !== 'HU')
        throw unfit('Rescale Type (0028,1054) is not HU');
      return before;
    case 'rescale':
    case 'tile':
      return before;
    case 'orient':
      return reordered(before, orderTo(step.axes, around.geometry));
    case 'resample':
      return resampled(before, typeof step.spacingMm === 'number' ? same(step.spacingMm) : step.spacingMm);
    case 'display': {
      // PS3.3 C.7.6.3.1.2: MONOCHROME1 shows its lowest value white.
      if (around.attributes['PhotometricInterpretation']?.[0] !== 'MONOCHROME1') return before;
      const turned = (value: number): number => -value;
      return mapped(before, around, turned, turned);
    }
    case 'stand':
      return reordered(before, standing(around.attributes['PatientOrientation'] ?? []));
    case 'phaseDown': {
      // PS3.3 C.8.3.1: ROW or COL; of an image that was not made by lines, OTHER.
      const [along] = around.attributes['InPlanePhaseEncodingDirection'] ?? [];
      if (along !== 'ROW' && along !== 'COL')
        throw unfit(
          `In-plane Phase Encoding Direction (0018,1312) is ${along === undefined ? 'absent' : 'neither ROW nor COL'}; ghosts run along it`,
        );
      return along === 'COL' ? before : reordered(before, { axes: [1, 0, 2], flipped: [false, false, false] });
    }
    case 'fit':
      return fitted(before, step.pixels);
    case 'window':
      return windowed(before, step.range[0], step.range[1]);
    case 'linear':
      return affine(before, around, step.from, step.to);
    case 'normalise': {
      const [low, high] = percentiles(before.grid.values, [step.low, step.high]);
      if (!(high! > low!)) throw unfit('the series shows nothing: its percentiles do not differ');
      return affine(before, around, [low!, high!], [0, 1]);
    }
    case 'log':
      return mapped(
        before,
        around,
        (value) => Math.log(Math.max(0, value) + step.offset),
        (value) => Math.exp(value) - step.offset,
      );
    case 'asMeasured':
      refuseInterpolated(before.grid, step.dropDb, around.attributes['AcquisitionMatrix'] ?? []);
      return before;
    case 'rician': {
      const { values, back } = stabilise(before.grid);
      return { ...before, grid: { ...before.grid, values }, valuesBack: [back, ...before.valuesBack] };
    }
    default:
      throw new Error(`${step.op} is no step of pre`);
  }
}

function unfit(sentence: string): Refusal {
  return new Refusal('PipelineRefused', sentence);
}

/** Up to a fiftieth is a border that was cut or added. */
const MEASURED = 0.98;

/**
 * PS3.3 C.8.3.1: the matrix is frequency rows, frequency columns, phase rows, phase columns, 0 where it does not apply. Some scanners name
 * the sides of the picture before it was turned, so a matrix is taken that fits in either order.
 */
function refuseInterpolated(grid: Grid, mostDb: number, matrix: readonly string[]): void {
  const [frequencyRows = 0, frequencyColumns = 0, phaseRows = 0, phaseColumns = 0] = matrix.map(Number);
  const [columns, rows] = grid.size;
  const measured = [frequencyColumns || phaseColumns || columns, frequencyRows || phaseRows || rows] as const;
  const fits = (across: number, down: number): boolean => across >= MEASURED * columns && down >= MEASURED * rows;
  if (!fits(measured[0], measured[1]) && !fits(measured[1], measured[0]))
    throw unfit(
      `Acquisition Matrix (0018,1310) is ${measured.join(' x ')} of ${columns} x ${rows} pixels; an image that was not interpolated is expected`,
    );
  const drop = spectrumDropDb(grid);
  if (drop > mostDb)
    throw unfit(
      `the spectrum falls by ${drop.toFixed(1)} dB before its edge, expected at most ${mostDb}: the image was interpolated or zero-filled`,
    );
}

function same(value: number): Vector3 {
  return [value, value, value];
}

function mapped(
  before: Prepared,
  { voxels }: Surroundings,
  forward: (value: number) => number,
  back: (value: number) => number,
): Prepared {
  // A loop of its own: the array's map would box every value.
  const apply = (change: (value: number) => number, from: Float32Array, to: Float32Array): Float32Array => {
    for (let i = 0; i < from.length; i++) to[i] = change(from[i]!);
    return to;
  };
  const { values } = before.grid;
  const room = values === voxels ? new Float32Array(values.length) : values;
  return {
    ...before,
    grid: { ...before.grid, values: apply(forward, values, room) },
    valuesBack: [(all) => void apply(back, all, all), ...before.valuesBack],
  };
}

function affine(
  before: Prepared,
  around: Surroundings,
  from: readonly [number, number],
  to: readonly [number, number],
): Prepared {
  const slope = (to[1] - to[0]) / (from[1] - from[0]);
  return mapped(
    before,
    around,
    (value) => (value - from[0]) * slope + to[0],
    (value) => (value - to[0]) / slope + from[0],
  );
}

/** What lies outside the window comes back as it was: the model never saw it. */
function windowed(before: Prepared, low: number, high: number): Prepared {
  const source = before.grid.values;
  const undo = (all: Float32Array): void => {
    for (let i = 0; i < all.length; i++) {
      const value = source[i]!;
      if (value < low || value > high) all[i] = value;
    }
  };
  const values = source.map((value) => Math.min(high, Math.max(low, value)));
  return { ...before, grid: { ...before.grid, values }, valuesBack: [undo, ...before.valuesBack] };
}

export interface Order {
  /** Axis of the source that each new axis runs along, and whether against it. */
  readonly axes: readonly [number, number, number];
  readonly flipped: readonly [boolean, boolean, boolean];
}

const DIRECTIONS: Readonly<Record<string, readonly [number, number]>> = {
  L: [0, 1],
  R: [0, -1],
  P: [1, 1],
  A: [1, -1],
  S: [2, 1],
  I: [2, -1],
};

/** The axes of the grid that lie nearest to those asked for. */
export function orderTo(axes: string, { axes: cosines }: VolumeGeometry): Order {
  const free = new Set([0, 1, 2]);
  const chosen = [...axes].map((letter) => {
    const [patientAxis, sign] = DIRECTIONS[letter] ?? [0, 1];
    const best = [...free].reduce((a, b) =>
      Math.abs(cosines[b as 0]![patientAxis]!) > Math.abs(cosines[a as 0]![patientAxis]!) ? b : a,
    );
    free.delete(best);
    return { axis: best, flipped: cosines[best as 0]![patientAxis]! * sign < 0 };
  });
  const pick = <T>(of: (one: { axis: number; flipped: boolean }) => T) =>
    chosen.map(of) as unknown as readonly [T, T, T];
  return { axes: pick(({ axis }) => axis), flipped: pick(({ flipped }) => flipped) };
}

/**
 * How a projection image is turned so that its columns run to the patient's left and its rows to the feet, as a frontal radiograph hangs
 * (PS3.3 C.7.6.1.1.1); without Patient Orientation it is taken as it is. @throws Refusal PipelineRefused for other projections
 */
export function standing([across, down]: readonly string[]): Order {
  const upright: Order = { axes: [0, 1, 2], flipped: [false, false, false] };
  if (across === undefined || across === '' || down === undefined) return upright;
  const [x, y] = [across.slice(0, 1), down.slice(0, 1)];
  if (!'LR'.includes(x) || !'FH'.includes(y))
    throw unfit(
      'Patient Orientation (0020,0020) is not left or right across and head or foot down: a frontal image is expected',
    );
  return { ...upright, flipped: [x === 'R', y === 'H', false] };
}

/** Each slice scaled into so many columns and rows, its proportions kept; the rest is the lowest value. */
function fitted(before: Prepared, [columns, rows]: readonly [number, number]): Prepared {
  const { grid } = before;
  const [nx, ny, nz] = grid.size;
  const [wide, high] = [nx * grid.spacingMm[0], ny * grid.spacingMm[1]];
  const scale = Math.min(columns / wide, rows / high);
  const inner: Vector3 = [Math.max(1, Math.round(wide * scale)), Math.max(1, Math.round(high * scale)), nz];
  const spacingMm: Vector3 = [wide / inner[0], high / inner[1], grid.spacingMm[2]];
  const [left, top] = [(columns - inner[0]) >> 1, (rows - inner[1]) >> 1];
  const small = toGrid(grid, inner, spacingMm);
  const lowest = small.values.reduce((least, value) => Math.min(least, value), Infinity);
  const values = new Float32Array(columns * rows * nz).fill(lowest);
  const rowsOf = (work: (outside: number, inside: number) => void): void => {
    for (let k = 0; k < nz; k++)
      for (let j = 0; j < inner[1]; j++) work((k * rows + top + j) * columns + left, (k * inner[1] + j) * inner[0]);
  };
  rowsOf((outside, inside) => values.set(small.values.subarray(inside, inside + inner[0]), outside));
  const back = (result: Grid): Grid => {
    const cut = new Float32Array(inner[0] * inner[1] * nz);
    rowsOf((outside, inside) => cut.set(result.values.subarray(outside, outside + inner[0]), inside));
    return toGrid({ values: cut, size: inner, spacingMm }, grid.size, grid.spacingMm);
  };
  return { ...before, grid: { values, size: [columns, rows, nz], spacingMm }, gridBack: [back, ...before.gridBack] };
}

/** Whether anything comes to lie elsewhere. */
export function turns({ axes, flipped }: Order): boolean {
  return flipped.includes(true) || axes.some((axis, n) => axis !== n);
}

function reordered(before: Prepared, order: Order): Prepared {
  if (!turns(order)) return before;
  const back = (grid: Grid): Grid => permute(grid, inverseOf(order));
  return { ...before, grid: permute(before.grid, order), gridBack: [back, ...before.gridBack] };
}

function inverseOf({ axes, flipped }: Order): Order {
  const at = [0, 1, 2].map((axis) => axes.indexOf(axis)) as unknown as readonly [number, number, number];
  return { axes: at, flipped: at.map((axis) => flipped[axis]!) as unknown as readonly [boolean, boolean, boolean] };
}

function permute({ values, size, spacingMm }: Grid, { axes, flipped }: Order): Grid {
  const stride = [1, size[0], size[0] * size[1]];
  const to = axes.map((axis) => size[axis as 0]) as unknown as Vector3;
  const out = new Float32Array(values.length);
  const steps = axes.map((axis, i) => (flipped[i] ? -stride[axis]! : stride[axis]!));
  const start = axes.reduce((sum, axis, i) => sum + (flipped[i] ? (size[axis as 0] - 1) * stride[axis]! : 0), 0);
  let at = 0;
  for (let k = 0; k < to[2]; k++)
    for (let j = 0; j < to[1]; j++)
      for (let i = 0, from = start + k * steps[2]! + j * steps[1]!; i < to[0]; i++, from += steps[0]!)
        out[at++] = values[from]!;
  return { values: out, size: to, spacingMm: axes.map((axis) => spacingMm[axis as 0]) as unknown as Vector3 };
}

function resampled(before: Prepared, spacingMm: Vector3): Prepared {
  const { grid } = before;
  const size = grid.size.map((n, a) =>
    Math.max(1, Math.round((n * grid.spacingMm[a as 0]) / spacingMm[a as 0])),
  ) as unknown as Vector3;
  const back = (result: Grid): Grid => toGrid(result, grid.size, grid.spacingMm);
  return { ...before, grid: toGrid(grid, size, spacingMm), gridBack: [back, ...before.gridBack] };
}

/** Another number of voxels over the same box, one axis after the other; coarser ones take the mean of what they cover. */
export function toGrid(grid: Grid, size: Vector3, spacingMm: Vector3): Grid {
  let { values } = grid;
  const now = [...grid.size] as [number, number, number];
  for (const axis of [2, 1, 0] as const) {
    if (now[axis] === size[axis]) continue;
    values = alongAxis(values, now, axis, size[axis]);
    now[axis] = size[axis];
  }
  return { values, size, spacingMm };
}

function alongAxis(values: Float32Array, size: Vector3, axis: 0 | 1 | 2, length: number): Float32Array {
  const inner = axis === 0 ? 1 : axis === 1 ? size[0] : size[0] * size[1];
  const from = size[axis];
  const outer = values.length / (inner * from);
  const out = new Float32Array(outer * length * inner);
  const all = Array.from({ length }, (_, n) => tapsOf(n, length, from));
  if (inner === 1) {
    const [starts, taps, weights] = packed(all);
    for (let o = 0; o < outer; o++)
      for (let n = 0; n < length; n++) {
        let sum = 0;
        for (let t = starts[n]!; t < starts[n + 1]!; t++) sum += weights[t]! * values[o * from + taps[t]!]!;
        out[o * length + n] = sum;
      }
    return out;
  }
  for (let o = 0; o < outer; o++) {
    for (let n = 0; n < length; n++) {
      const target = (o * length + n) * inner;
      for (const [tap, weight] of all[n]!) {
        const source = (o * from + tap) * inner;
        for (let i = 0; i < inner; i++) out[target + i]! += weight * values[source + i]!;
      }
    }
  }
  return out;
}

/** Taps one after the other, those of n from starts[n] to starts[n + 1] - 1. */
function packed(all: readonly (readonly (readonly [number, number])[])[]): [Int32Array, Int32Array, Float64Array] {
  const starts = new Int32Array(all.length + 1);
  all.forEach((taps, n) => (starts[n + 1] = starts[n]! + taps.length));
  const flat = all.flat();
  return [starts, Int32Array.from(flat, ([tap]) => tap), Float64Array.from(flat, ([, weight]) => weight)];
}

/** Linear between two centres when the grid gets finer; a triangle over what is covered when it gets coarser. */
function tapsOf(n: number, length: number, from: number): (readonly [number, number])[] {
  const ratio = from / length;
  const centre = (n + 0.5) * ratio - 0.5;
  const reach = Math.max(1, ratio);
  const taps: [number, number][] = [];
  let sum = 0;
  for (let tap = Math.ceil(centre - reach); tap <= Math.floor(centre + reach); tap++) {
    const weight = 1 - Math.abs(tap - centre) / reach;
    if (weight <= 0) continue;
    taps.push([Math.min(from - 1, Math.max(0, tap)), weight]);
    sum += weight;
  }
  return taps.map(([tap, weight]) => [tap, weight / sum]);
}
