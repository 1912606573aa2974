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
 * padding values, and every pixel whose eight neighbours all have its own value (constant areas carry no noise to take away).
 */
export function correctionWeights(
  slice: Slice,
  paddingHU: readonly [number, number] | undefined,
  weights: Float32Array,
  scratch: Scratch,
): void {
  const { values, columns, rows } = slice;
  const { a, b } = scratch;
  const [from, to] = paddingHU ?? [Infinity, -Infinity];
  const isPadding = (value: number): boolean => (value >= from && value <= to) || value < WINDOW_HU[0];
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

/** Mean over (2 radius + 1)^2 pixels, fewer at the border; `out` may be `input`. */
export function boxMean(
  input: Float32Array | Float64Array,
  columns: number,
  rows: number,
  radius: number,
  out: Float64Array,
): void {
  // The last rows' horizontal means, from which the vertical running sum takes away again.
  const height = 2 * radius + 2;
  const kept = new Float64Array(height * columns);
  const sums = new Float64Array(columns);
  for (let y = -radius; y < rows; y++) {
    const next = y + radius;
    if (next < rows) {
      const line = kept.subarray((next % height) * columns, (next % height) * columns + columns);
      meanAlongRow(input, next * columns, radius, line);
      for (let x = 0; x < columns; x++) sums[x]! += line[x]!;
    }
    if (y < 0) continue;
    const last = y - radius - 1;
    if (last >= 0) {
      const from = (last % height) * columns;
      for (let x = 0; x < columns; x++) sums[x]! -= kept[from + x]!;
    }
    const scale = 1 / (Math.min(rows - 1, next) - Math.max(0, y - radius) + 1);
    for (let x = 0; x < columns; x++) out[y * columns + x] = sums[x]! * scale;
  }
}

function meanAlongRow(input: Float32Array | Float64Array, start: number, radius: number, line: Float64Array): void {
  const length = line.length;
  let sum = 0;
  for (let i = 0; i < Math.min(radius, length); i++) sum += input[start + i]!;
  for (let i = 0; i < length; i++) {
    if (i + radius < length) sum += input[start + i + radius]!;
    if (i > radius) sum -= input[start + i - radius - 1]!;
    line[i] = sum / (Math.min(length - 1, i + radius) - Math.max(0, i - radius) + 1);
  }
}
