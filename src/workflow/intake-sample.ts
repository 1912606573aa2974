/** Frames of a series that the intake check looks into: figures of their values, never the values. */
import type { Figures } from './intake-history.ts';

/** What is kept of one sampled frame: figures of its real values, those that are padded left out. */
export interface Sample {
  readonly count: number;
  readonly sum: number;
  readonly squares: number;
  readonly lowest: number;
  readonly highest: number;
  /** How many have the highest value, and how many are at or beyond what the stored bits can hold. */
  readonly atHighest: number;
  readonly atEnd: number;
  /** Different values, up to `GRADED`. */
  readonly different: ReadonlySet<number>;
}

/**
 * @param values real ones that are not padded, each with how often it occurs
 * @param end the highest that the stored bits can hold
 */
export function sampleOf(values: Iterable<readonly [value: number, times: number]>, end: number): Sample {
  let [lowest, highest, sum, squares, count, atHighest, atEnd] = [Infinity, -Infinity, 0, 0, 0, 0, 0];
  const different = new Set<number>();
  for (const [value, times] of values) {
    if (value < lowest) lowest = value;
    if (value > highest) {
      highest = value;
      atHighest = times;
    } else if (value === highest) atHighest += times;
    if (value >= end) atEnd += times;
    if (different.size < GRADED) different.add(value);
    sum += value * times;
    squares += value * value * times;
    count += times;
  }
  return { count, sum, squares, lowest, highest, atHighest, atEnd, different };
}

/** Enough different values for a picture: of a drawing or a mask the highest value is no end that was cut off. */
const GRADED = 64;

/** What all samples of a series say together. */
export function pixelFigures(samples: readonly Sample[]): {
  figures: Pick<Figures, 'lowest' | 'highest' | 'mean' | 'deviation'>;
  saturated: number;
  constant: number;
} {
  const total = (figure: 'count' | 'sum' | 'squares' | 'atEnd'): number =>
    samples.reduce((sum, sample) => sum + sample[figure], 0);
  const constant = samples.filter((sample) => sample.lowest >= sample.highest || sample.count === 0).length;
  const count = total('count');
  if (count === 0) return { figures: { lowest: NaN, highest: NaN, mean: NaN, deviation: NaN }, saturated: 0, constant };
  const mean = total('sum') / count;
  const lowest = Math.min(...samples.map((sample) => sample.lowest));
  const highest = Math.max(...samples.map((sample) => sample.highest));
  // What was cut off before it was stored ends at a value below the bits' own end.
  const different = new Set(samples.flatMap((sample) => [...sample.different]));
  const cut =
    different.size < GRADED
      ? 0
      : samples.reduce((sum, sample) => sum + (sample.highest === highest ? sample.atHighest : 0), 0);
  return {
    figures: { lowest, highest, mean, deviation: Math.sqrt(Math.max(0, total('squares') / count - mean * mean)) },
    saturated: (100 * Math.max(total('atEnd'), cut)) / count,
    constant,
  };
}
