/** What masks are judged by: plain geometry, so that any model's card can say what nonsense looks like. */
import type { Vector3 } from '../dicom/volume.ts';
import { partsOf } from './mask-parts.ts';

/** Of all segments together. */
export const MASK_FIGURES = {
  /** Segments with at least one voxel. */
  segmentsFound: 'higher',
  /** Voxels of the smallest segment / of the largest. */
  balance: 'higher',
  /** Mean probability of the chosen segment over all masked voxels. */
  certainty: 'higher',
  /** Masked voxels at the picture's edge, in per cent of those at any edge of a mask. */
  borderPercent: 'lower',
} as const;

/** Of each segment, behind its name. */
export const SEGMENT_FIGURES = {
  /** Per cent of all voxels. */
  Share: 'neither',
  /** Centre of gravity in per cent of the picture's columns and rows, as the patient stands where `stand` says so. */
  CentreX: 'neither',
  CentreY: 'neither',
  /** Mean probability within the mask. */
  Certainty: 'higher',
  /** Connected parts of at least a hundredth of the segment, before anything was tidied. */
  Parts: 'lower',
} as const;

export interface Labelled {
  /** Number of the segment that each voxel belongs to, 0 for none. */
  readonly labels: Uint8Array;
  /** Probability of that segment. */
  readonly certainty: Float32Array;
  readonly size: Vector3;
}

/** Least share of a segment that counts as a part of its own. */
const PART = 0.01;

/** Connected parts of each segment, the crumbs left out. */
export function countParts({ labels, size }: Omit<Labelled, 'certainty'>, segments: number): number[] {
  return Array.from({ length: segments }, (_, n) => {
    const { sizes } = partsOf(labels, size, n + 1);
    const all = sizes.reduce((sum, one) => sum + one, 0);
    return sizes.filter((one) => one >= PART * all).length;
  });
}

/** A figure of an empty segment that only a full one can have is no number: a gate refuses it. */
export function maskFigures(
  { labels, certainty, size }: Labelled,
  names: readonly string[],
  parts: readonly number[],
  flipped: readonly [boolean, boolean],
): Record<string, number> {
  const [nx, ny] = size;
  const sums = names.map(() => ({ voxels: 0, x: 0, y: 0, certainty: 0 }));
  const edge = { all: 0, picture: 0 };
  const slice = nx * ny;
  for (let n = 0; n < labels.length; n++) {
    const label = labels[n]!;
    const sum = sums[label - 1];
    if (sum === undefined) continue;
    const [i, j] = [n % nx, Math.floor((n % slice) / nx)];
    sum.voxels++;
    sum.x += i;
    sum.y += j;
    sum.certainty += certainty[n]!;
    const outermost = i === 0 || j === 0 || i === nx - 1 || j === ny - 1;
    if (outermost) edge.picture++;
    if (
      outermost ||
      labels[n - 1] !== label ||
      labels[n + 1] !== label ||
      labels[n - nx] !== label ||
      labels[n + nx] !== label
    )
      edge.all++;
  }
  const counts = sums.map(({ voxels }) => voxels);
  const whole = counts.reduce((sum, one) => sum + one, 0);
  const percent = (sum: number, voxels: number, side: number, turned: boolean): number => {
    const share = (100 * (sum / voxels + 0.5)) / side;
    return turned ? 100 - share : share;
  };
  return {
    segmentsFound: counts.filter((voxels) => voxels > 0).length,
    balance: whole === 0 ? 0 : Math.min(...counts) / Math.max(...counts),
    certainty: sums.reduce((sum, one) => sum + one.certainty, 0) / whole,
    borderPercent: edge.all === 0 ? 0 : (100 * edge.picture) / edge.all,
    ...Object.fromEntries(
      sums.flatMap(({ voxels, x, y, certainty: sum }, n) => [
        [`${names[n]}Share`, (100 * voxels) / labels.length],
        [`${names[n]}CentreX`, percent(x, voxels, nx, flipped[0])],
        [`${names[n]}CentreY`, percent(y, voxels, ny, flipped[1])],
        [`${names[n]}Certainty`, sum / voxels],
        [`${names[n]}Parts`, parts[n] ?? 0],
      ]),
    ),
  };
}
