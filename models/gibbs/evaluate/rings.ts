/**
 * Slices that ring: ellipses and bars on a finer grid of 640 x 640, cut to the low frequencies of an acquisition of 160 rows and 160 or
 * 128 columns, with Rician noise. The truth is the mean over each pixel. Fixed seeds; 0 to 9 were used to choose settings, 100 to 123 are
 * measured.
 *
 *   node rings.ts FOLDER        # writes each case as raw float32 for other programs
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { random } from '../../cases.ts';

export const SIDE = 160;
/** Of the acquisition whose pixels are wider than high. */
export const NARROW = 128;
const FINE_SIDE = 640;
export const SEEDS = Array.from({ length: 24 }, (_, i) => 100 + i);

export interface Ringing {
  readonly ringing: Float32Array;
  readonly truth: Float32Array;
}

export function makeRinging(seed: number, columns = SIDE): Ringing {
  const next = random(seed);
  const fine = finePicture(seed);
  const truth = bothAxes(fine, columns, (side) => (m, n) => boxTap(n - (FINE_SIDE / side) * m, FINE_SIDE / side));
  const clean = bothAxes(
    fine,
    columns,
    (side) => (m, n) => (dirichlet(m - (n * side) / FINE_SIDE, side) * side) / FINE_SIDE,
  );
  const noise = next.uniform(2, 15);
  const ringing = clean.map((value) => Math.hypot(value + noise * next.normal(), noise * next.normal()));
  return { ringing, truth };
}

/** Enlarged along its columns after it was measured: with zeros beyond the measured frequencies, or linearly. */
export function enlarged(values: Float32Array, to: number, how: 'zero-filled' | 'linear'): Float32Array {
  const rows = values.length / SIDE;
  const tap = (distance: number): number =>
    how === 'linear' ? Math.max(0, 1 - Math.abs(distance)) : dirichlet(distance, SIDE);
  const out = new Float32Array(rows * to);
  for (let m = 0; m < to; m++)
    for (let n = 0; n < SIDE; n++) {
      const weight = tap((m * SIDE) / to - n);
      if (weight !== 0) for (let j = 0; j < rows; j++) out[j * to + m]! += weight * values[j * SIDE + n]!;
    }
  return out.map((value) => Math.round(Math.max(0, value)));
}

function finePicture(seed: number): Float32Array {
  const next = random(seed + 5000);
  const side = FINE_SIDE;
  const out = new Float32Array(side * side);
  const shapes = Array.from({ length: 9 }, (_, n) => ({
    x: n === 0 ? 0.5 : next.uniform(0.3, 0.7),
    y: n === 0 ? 0.5 : next.uniform(0.3, 0.7),
    a: n === 0 ? next.uniform(0.3, 0.42) : next.uniform(0.02, 0.16),
    b: n === 0 ? next.uniform(0.3, 0.42) : next.uniform(0.02, 0.16),
    turn: next.uniform(0, Math.PI),
    box: n > 5,
    value: n === 0 ? 600 : next.uniform(-400, 400),
  }));
  for (let j = 0; j < side; j++)
    for (let i = 0; i < side; i++) {
      let value = 0;
      for (const { x, y, a, b, turn, box, value: height } of shapes) {
        const [dx, dy] = [i / side - x, j / side - y];
        const u = (dx * Math.cos(turn) + dy * Math.sin(turn)) / a;
        const v = (dy * Math.cos(turn) - dx * Math.sin(turn)) / b;
        if (box ? Math.max(Math.abs(u), Math.abs(v)) < 1 : u * u + v * v < 1) value += height;
      }
      out[j * side + i] = Math.max(0, value);
    }
  return out;
}

function boxTap(distance: number, wide: number): number {
  const away = Math.abs(distance);
  const share = Math.min(1, Math.max(0, wide / 2 + 0.5 - away));
  return share / wide;
}

/** Sampling at x of what holds the frequencies of `side` points alone. */
function dirichlet(x: number, side: number): number {
  const turn = (Math.PI * x) / side;
  if (Math.abs(Math.sin(turn)) < 1e-9) return (side - 1) / side;
  return Math.sin((side - 1) * turn) / (side * Math.sin(turn));
}

type Tap = (m: number, n: number) => number;

/** From the fine grid to SIDE rows of so many columns, by the taps that each axis' number of points asks for. */
function bothAxes(fine: Float32Array, columns: number, tapOf: (side: number) => Tap): Float32Array {
  const side = FINE_SIDE;
  const tapsOf = (count: number): Float64Array => {
    const tap = tapOf(count);
    return Float64Array.from({ length: count * side }, (_, at) => tap(Math.floor(at / side), at % side));
  };
  const [across, down] = [tapsOf(columns), tapsOf(SIDE)];
  const rows = new Float64Array(side * columns);
  for (let j = 0; j < side; j++)
    for (let m = 0; m < columns; m++) {
      let sum = 0;
      for (let n = 0; n < side; n++) sum += across[m * side + n]! * fine[j * side + n]!;
      rows[j * columns + m] = sum;
    }
  const out = new Float32Array(SIDE * columns);
  for (let k = 0; k < SIDE; k++)
    for (let j = 0; j < side; j++) {
      const weight = down[k * side + j]!;
      if (weight !== 0) for (let m = 0; m < columns; m++) out[k * columns + m]! += weight * rows[j * columns + m]!;
    }
  return out;
}

export function rmse(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0) / a.length);
}

if (import.meta.main) {
  const folder = process.argv[2] ?? '.';
  mkdirSync(folder, { recursive: true });
  for (const seed of SEEDS) {
    for (const columns of [SIDE, NARROW]) {
      const { ringing, truth } = makeRinging(seed, columns);
      writeFileSync(join(folder, `${seed}.${columns}.ringing`), Buffer.from(ringing.buffer));
      writeFileSync(join(folder, `${seed}.${columns}.truth`), Buffer.from(truth.buffer));
    }
  }
}
