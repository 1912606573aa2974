/**
 * Which pixels of a CT slice a correction may touch, and how much: nothing outside the body, in padding or in metal. And the
 * box mean that this and the quality figures stand on.
 */
import type { Slice } from './noise-level.ts';

/** HU that a correction looks at; outside lie padding (no tissue or gas is below -1024, its noise is) and metal. */
export const WINDOW_HU: readonly [number, number] = [-1500, 3071];

const GAS_BELOW_HU = -500;
/** The weight falls from 1 at the skin to 0 six pixels outside it, counted along rows and columns. */
const MARGIN = 3;

export interface Scratch {
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly queue: Int32Array;
}

export function makeScratch(pixels: number): Scratch {
  return { a: new Float64Array(pixels), b: new Float64Array(pixels), queue: new Int32Array(pixels) };
}

/**
 * Weights 0 to 1 of a correction, into `weights`. Exactly 0: more than six pixels outside the body, outside WINDOW_HU, the
 * padding value, and every pixel whose eight neighbours all have its own value (constant areas carry no noise to take away).
 */
export function correctionWeights(
  slice: Slice,
  paddingHU: number | undefined,
  weights: Float32Array,
  scratch: Scratch,
): void {
  const { values, columns, rows } = slice;
  const { a, b } = scratch;
  const isPadding = (value: number): boolean => value === paddingHU || value < WINDOW_HU[0];
  for (let i = 0; i < values.length; i++) b[i] = isPadding(values[i]!) ? -1000 : values[i]!;
  boxMean(b, columns, rows, 2, a);
  for (let i = 0; i < values.length; i++) a[i] = a[i]! < GAS_BELOW_HU || isPadding(values[i]!) ? 1 : 0;
  markOutside(a, columns, rows, scratch.queue);
  for (let i = 0; i < values.length; i++) a[i] = a[i] === 2 ? 0 : 1;
  boxMean(a, columns, rows, MARGIN, b);
  // Half of the smallest mean that one body pixel makes: running sums leave rounding errors where there is none.
  for (let i = 0; i < values.length; i++) b[i] = b[i]! > 0.01 ? 1 : 0;
  boxMean(b, columns, rows, MARGIN, a);
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const exact = a[i]! < 0.01 || value > WINDOW_HU[1] || isPadding(value) || isConstant(slice, i);
    weights[i] = exact ? 0 : Math.min(1, a[i]!);
  }
}

/** Turns the 1s (gas, padding) that reach the border of the slice over other 1s into 2s. */
function markOutside(gas: Float64Array, columns: number, rows: number, queue: Int32Array): void {
  let length = 0;
  const visit = (at: number): void => {
    if (gas[at] !== 1) return;
    gas[at] = 2;
    queue[length++] = at;
  };
  for (let x = 0; x < columns; x++) {
    visit(x);
    visit((rows - 1) * columns + x);
  }
  for (let y = 0; y < rows; y++) {
    visit(y * columns);
    visit(y * columns + columns - 1);
  }
  for (let next = 0; next < length; next++) {
    const at = queue[next]!;
    const x = at % columns;
    if (x > 0) visit(at - 1);
    if (x < columns - 1) visit(at + 1);
    if (at >= columns) visit(at - columns);
    if (at < gas.length - columns) visit(at + columns);
  }
}

function isConstant({ values, columns, rows }: Slice, at: number): boolean {
  const value = values[at]!;
  const x = at % columns;
  const y = (at - x) / columns;
  for (let v = Math.max(0, y - 1); v <= Math.min(rows - 1, y + 1); v++) {
    for (let u = Math.max(0, x - 1); u <= Math.min(columns - 1, x + 1); u++) {
      if (values[v * columns + u] !== value) return false;
    }
  }
  return true;
}

/** Mean over (2 radius + 1)^2 pixels, fewer at the border; `out` may not be `input`. */
export function boxMean(
  input: Float32Array | Float64Array,
  columns: number,
  rows: number,
  radius: number,
  out: Float64Array,
): void {
  const line = new Float64Array(Math.max(columns, rows));
  for (let y = 0; y < rows; y++) meanAlong(input, y * columns, 1, columns, radius, out, line);
  for (let x = 0; x < columns; x++) meanAlong(out, x, columns, rows, radius, out, line);
}

function meanAlong(
  input: Float32Array | Float64Array,
  start: number,
  stride: number,
  length: number,
  radius: number,
  out: Float64Array,
  line: Float64Array,
): void {
  let sum = 0;
  for (let i = 0; i < length; i++) line[i] = input[start + i * stride]!;
  for (let i = 0; i < Math.min(radius, length); i++) sum += line[i]!;
  for (let i = 0; i < length; i++) {
    if (i + radius < length) sum += line[i + radius]!;
    if (i > radius) sum -= line[i - radius - 1]!;
    out[start + i * stride] = sum / (Math.min(length - 1, i + radius) - Math.max(0, i - radius) + 1);
  }
}
