/**
 * Whether a series is like those that a site had before: each figure against its fences (Tukey 1977), all together against an isolation
 * forest grown on the same history, which sees what no figure shows alone: a series a little odd in most of them.
 */
import { growForest, isolationOf } from '../pipelines/isolation-forest.ts';

/** Figures that are compared with the site's own history; NaN where not known. */
const FIGURES = ['instances', 'pixelMm', 'spacingMm', 'thicknessMm', 'lowest', 'highest', 'mean', 'deviation'] as const;
export type FigureName = (typeof FIGURES)[number];
export type Figures = Readonly<Record<FigureName, number>>;

/** Series of the same kind that must be there before anything is called unlike them. */
export const LEAST_HISTORY = 20;
/** A forest of fewer calls every corner of what is usual odd. */
export const LEAST_FOREST = 50;

export interface Likeness {
  /** Figures outside their fences, and `isolation`. */
  readonly outliers: readonly (FigureName | 'isolation')[];
  /** NaN where there is too little history. */
  readonly isolation: number;
  /** The score up to which a series is as usual. */
  readonly usual: number;
}

export function unlikeHistory(figures: Figures, history: readonly Figures[]): Likeness {
  const fenced = FIGURES.filter((name) => isOutside(figures[name], knownOf(history, name)));
  const { isolation, usual } = isolationIn(figures, history);
  return { outliers: isolation > usual ? [...fenced, 'isolation'] : fenced, isolation, usual };
}

/** Beyond the fences Q1 - 1.5 IQR, Q3 + 1.5 IQR; where the middle half is one value, beyond 1 % of it. */
function isOutside(value: number, known: readonly number[]): boolean {
  if (known.length < LEAST_HISTORY || !Number.isFinite(value)) return false;
  const [low, high] = fences(known, 0.01 * Math.max(Math.abs(quantile(known, 0.25)), Math.abs(quantile(known, 0.75))));
  return value < low || value > high;
}

function isolationIn(figures: Figures, history: readonly Figures[]): Pick<Likeness, 'isolation' | 'usual'> {
  // What this series has no figure for, or the history has none for, cannot tell it apart.
  const known = FIGURES.filter(
    (name) => Number.isFinite(figures[name]) && knownOf(history, name).length >= LEAST_FOREST,
  );
  const vectors = history
    .map((one) => known.map((name) => one[name]))
    .filter((vector) => vector.every((value) => Number.isFinite(value)));
  if (known.length === 0 || vectors.length < LEAST_FOREST) return { isolation: NaN, usual: NaN };
  const forest = growForest(vectors, { trees: TREES, samples: SUBSAMPLE, uniform: chance() });
  const scores = vectors.map((vector) => isolationOf(forest, vector)).sort((a, b) => a - b);
  return {
    isolation: isolationOf(
      forest,
      known.map((name) => figures[name]),
    ),
    usual: Math.max(ISOLATED, fences(scores, 0)[1]),
  };
}

const TREES = 60;
const SUBSAMPLE = 64;
/** Liu 2008: what scores clearly above one half is isolated. */
const ISOLATED = 0.55;

function knownOf(history: readonly Figures[], name: FigureName): number[] {
  return history
    .map((one) => one[name])
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
}

function fences(sorted: readonly number[], leastReach: number): [number, number] {
  const [q1, q3] = [quantile(sorted, 0.25), quantile(sorted, 0.75)];
  const reach = Math.max(1.5 * (q3 - q1), leastReach, 1e-6);
  return [q1 - reach, q3 + reach];
}

function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? NaN;
  return low + (at % 1) * ((sorted[Math.ceil(at)] ?? low) - low);
}

/** The same history grows the same forest (mulberry32, public domain). */
function chance(): (low: number, high: number) => number {
  let state = 20261121;
  return (low, high) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return low + ((high - low) * ((mixed ^ (mixed >>> 14)) >>> 0)) / 4294967296;
  };
}
