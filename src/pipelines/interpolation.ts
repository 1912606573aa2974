/**
 * Whether a magnitude image was enlarged after it was measured: the noise of a scan reaches to the edge of its spectrum, and what zero
 * filling or interpolation adds beyond what was measured is empty.
 */
import type { Grid } from './zoo-steps.ts';

/** Frequencies that are looked at, as shares of the highest one; below, anatomy falls steeply by itself. */
const FROM = 0.3;
const BANDS = 24;
/** Bands whose weaker one is held against the strongest of all that follow the next. */
const BEFORE = 2;
const MOST_LINES = 64;
const MOST_SLICES = 5;

/** dB by which the spectrum falls at its steepest step, the larger of both axes of the plane; 0 where there is nothing. */
export function spectrumDropDb(grid: Grid): number {
  return Math.max(dropAlong(grid, 0), dropAlong(grid, 1));
}

function dropAlong({ values, size: [columns, rows, slices] }: Grid, axis: 0 | 1): number {
  const [length, lines] = axis === 0 ? [columns, rows] : [rows, columns];
  const [along, across] = axis === 0 ? [1, columns] : [columns, 1];
  const half = length >> 1;
  if (half < 2 * BANDS) return 0;
  const power = new Float64Array(half + 1);
  const cosines = Float64Array.from({ length }, (_, n) => Math.cos((2 * Math.PI * n) / length));
  const sines = Float64Array.from({ length }, (_, n) => Math.sin((2 * Math.PI * n) / length));
  const [lineStep, sliceStep] = [Math.ceil(lines / MOST_LINES), Math.ceil(slices / MOST_SLICES)];
  const first = Math.ceil(FROM * half);
  for (let k = sliceStep >> 1; k < slices; k += sliceStep)
    for (let line = lineStep >> 1; line < lines; line += lineStep) {
      const start = k * columns * rows + line * across;
      for (let frequency = first; frequency <= half; frequency++) {
        let [re, im] = [0, 0];
        for (let n = 0, turn = 0; n < length; n++) {
          const value = values[start + n * along]!;
          re += value * cosines[turn]!;
          im += value * sines[turn]!;
          turn += frequency;
          if (turn >= length) turn -= length;
        }
        power[frequency]! += re * re + im * im;
      }
    }
  return largestDrop(bandsOf(power, first));
}

/** Means of the power, dB, over equal bands from `first` on. */
function bandsOf(power: Float64Array, first: number): number[] {
  const width = (power.length - first) / BANDS;
  return Array.from({ length: BANDS }, (_, band) => {
    const part = power.subarray(Math.floor(first + band * width), Math.floor(first + (band + 1) * width));
    return 10 * Math.log10(part.reduce((sum, value) => sum + value, 0) / part.length);
  });
}

function largestDrop(bands: readonly number[]): number {
  const floor = Math.max(...bands) - 200;
  const levels = bands.map((level) => Math.max(level, floor));
  let largest = 0;
  for (let band = BEFORE; band < levels.length - 1; band++)
    largest = Math.max(largest, Math.min(...levels.slice(band - BEFORE, band)) - Math.max(...levels.slice(band + 1)));
  return Number.isFinite(largest) ? largest : 0;
}
