/**
 * Slices that ring: ellipses and bars on a grid four times finer, cut to the low frequencies of a 160 x 160 acquisition, with Rician
 * noise. The truth is the mean over each pixel. Fixed seeds; 0 to 9 were used to choose settings, 100 to 123 are measured.
 *
 *   node rings.ts FOLDER        # writes each case as raw float32 for other programs
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { random } from '../../cases.ts';

export const SIDE = 160;
const FINE = 4;
export const SEEDS = Array.from({ length: 24 }, (_, i) => 100 + i);

export interface Ringing {
  readonly ringing: Float32Array;
  readonly truth: Float32Array;
}

export function makeRinging(seed: number): Ringing {
  const next = random(seed);
  const fine = finePicture(seed);
  const truth = bothAxes(fine, (m, n) => boxTap(n - FINE * m));
  const clean = bothAxes(fine, (m, n) => dirichlet(m - n / FINE) / FINE);
  const noise = next.uniform(2, 15);
  const ringing = clean.map((value) => Math.hypot(value + noise * next.normal(), noise * next.normal()));
  return { ringing, truth };
}

function finePicture(seed: number): Float32Array {
  const next = random(seed + 5000);
  const side = SIDE * FINE;
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

function boxTap(distance: number): number {
  const away = Math.abs(distance);
  return away < FINE / 2 ? 1 / FINE : away === FINE / 2 ? 0.5 / FINE : 0;
}

/** Sampling at x of what holds the frequencies of SIDE points alone. */
function dirichlet(x: number): number {
  const turn = (Math.PI * x) / SIDE;
  if (Math.abs(Math.sin(turn)) < 1e-9) return (SIDE - 1) / SIDE;
  return Math.sin((SIDE - 1) * turn) / (SIDE * Math.sin(turn));
}

function bothAxes(fine: Float32Array, tap: (m: number, n: number) => number): Float32Array {
  const side = SIDE * FINE;
  const taps = Float64Array.from({ length: SIDE * side }, (_, at) => tap(Math.floor(at / side), at % side));
  const rows = new Float64Array(side * SIDE);
  for (let j = 0; j < side; j++)
    for (let m = 0; m < SIDE; m++) {
      let sum = 0;
      for (let n = 0; n < side; n++) sum += taps[m * side + n]! * fine[j * side + n]!;
      rows[j * SIDE + m] = sum;
    }
  const out = new Float32Array(SIDE * SIDE);
  for (let k = 0; k < SIDE; k++)
    for (let j = 0; j < side; j++) {
      const weight = taps[k * side + j]!;
      if (weight !== 0) for (let m = 0; m < SIDE; m++) out[k * SIDE + m]! += weight * rows[j * SIDE + m]!;
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
    const { ringing, truth } = makeRinging(seed);
    writeFileSync(join(folder, `${seed}.ringing`), Buffer.from(ringing.buffer));
    writeFileSync(join(folder, `${seed}.truth`), Buffer.from(truth.buffer));
  }
}
