/** What the threads of a deformation do with slices of one level, step after step. */
import type { Slices } from './box-mean.ts';
import { invertSlices } from './field-inverse.ts';
import {
  benchOf,
  correlate,
  correlationCost,
  fixedLevel,
  imageThrough,
  judgeWindows,
  pull,
  sampledThrough,
  sloped,
  type Bench,
  type FixedLevel,
  type Sloped,
  type Terms,
} from './local-correlation.ts';
import {
  described,
  descriptionOf,
  descriptorBenchOf,
  descriptorCost,
  differ,
  pullTogether,
  spreadOut,
  weigh,
  type Description,
  type DescriptorBench,
} from './self-similarity.ts';
import { shared, sharedDoubles } from './shared-memory.ts';
import {
  expand,
  gatherPlanes,
  samplingOf,
  volumeOf,
  type Counts,
  type Lattice,
  type Sampling,
} from './spline-lattice.ts';

/** Two images of one level. */
export interface Seen {
  readonly fixed: Float32Array;
  readonly moving: Float32Array;
  /** 0 where an image has no voxels of its own. */
  readonly fixedSeen?: Uint8Array | undefined;
  readonly movingSeen?: Uint8Array | undefined;
}

/** What pulls: correlation of windows, or the distance of descriptors. */
type Pull =
  | { readonly by: 'correlation'; readonly fixed: FixedLevel; readonly source: Sloped; readonly bench: Bench }
  | {
      readonly by: 'descriptors';
      readonly fixed: Float32Array;
      readonly seen: Uint8Array | undefined;
      readonly source: Float32Array;
      readonly moved: Float32Array;
      readonly moving: Description;
      readonly bench: DescriptorBench;
    };

/** All that threads share about a level. */
export interface Level {
  readonly counts: Counts;
  readonly lattice: Lattice;
  /** At every voxel, and at the middle of every block of 2 x 2 x 2. */
  readonly dense: Sampling;
  readonly blocks: Sampling;
  /** The spline that is laid over the voxels, and the one that the solver asks about. */
  readonly spline: Float64Array;
  readonly direction: Float64Array;
  /** The field at every voxel, and what the solver's spline is at the blocks. */
  readonly field: Float32Array;
  readonly atBlocks: Float32Array;
  /** The field's inverse, where it is asked for. */
  readonly inverse: Float32Array;
  /** How much each block is held, whatever the direction. */
  readonly held: Float32Array;
  /** Sums within layers of blocks, as `gatherPlanes` leaves them. */
  readonly sums: Float64Array;
  readonly pull: Pull;
}

export function levelOf(
  images: Seen,
  counts: Counts,
  lattice: Lattice,
  { radius, inverse }: { readonly radius: number; readonly inverse: boolean },
): Level {
  const half: Counts = [counts[0] / 2, counts[1] / 2, counts[2] / 2];
  const [cx, cy, cz] = lattice.counts;
  const points = 3 * cx * cy * cz;
  return {
    counts,
    lattice,
    dense: samplingOf(lattice, counts, 1, 0),
    blocks: samplingOf(lattice, half, 2, 0.5),
    spline: sharedDoubles(points),
    direction: sharedDoubles(points),
    field: shared(3 * volumeOf(counts)),
    inverse: shared(inverse ? 3 * volumeOf(counts) : 0),
    atBlocks: shared(3 * volumeOf(half)),
    held: shared(volumeOf(half)),
    sums: sharedDoubles(3 * cx * cy * half[2]),
    pull: radius > 0 ? byCorrelation(images, counts, radius) : byDescriptors(images, counts),
  };
}

function byCorrelation({ fixed, moving, fixedSeen, movingSeen }: Seen, counts: Counts, radius: number): Pull {
  const source = sloped(moving, counts, movingSeen);
  return { by: 'correlation', fixed: fixedLevel(fixed, counts, radius, fixedSeen), source, bench: benchOf(counts) };
}

/** Described anew at every step, as the image lies then: the descriptor turns with nothing. */
function byDescriptors({ fixed, moving, movingSeen }: Seen, counts: Counts): Pull {
  return {
    by: 'descriptors',
    fixed: described(fixed, counts),
    seen: movingSeen,
    source: shared(moving),
    moved: shared(volumeOf(counts)),
    moving: descriptionOf(counts),
    bench: descriptorBenchOf(counts),
  };
}

/** What pulls at a level, of one kind. */
function pulledBy<By extends Pull['by']>({ pull }: Level, by: By): Extract<Pull, { by: By }> {
  if (pull.by !== by) throw new Error(`a level of ${pull.by} is not one of ${by}`);
  return pull as Extract<Pull, { by: By }>;
}

function lay({ lattice, spline, dense, field }: Level, slices: Slices): void {
  expand(lattice, spline, dense, field, slices);
}

/** Each writes the slices that it is given, reads what others wrote before, and is told of slices of the level or of layers of its blocks. */
export const KERNELS = {
  lay,
  invert: ({ counts, field, inverse }, slices) => invertSlices(field, counts, inverse, slices),
  move: (level, slices) => {
    const { fixed, source, bench } = pulledBy(level, 'correlation');
    lay(level, slices);
    sampledThrough(source, level.counts, level.field, bench.moved, slices);
    correlate(fixed, bench, slices);
  },
  judge: (level, slices) => {
    const { fixed, bench } = pulledBy(level, 'correlation');
    judgeWindows(fixed, bench, slices);
  },
  pull: (level, layers) => {
    const { fixed, bench } = pulledBy(level, 'correlation');
    pull(fixed, bench, layers);
  },
  moveImage: (level, slices) => {
    const { source, moved } = pulledBy(level, 'descriptors');
    lay(level, slices);
    imageThrough(source, level.counts, level.field, moved, slices);
  },
  differ: (level, slices) => {
    const { moving, moved } = pulledBy(level, 'descriptors');
    differ(moving, moved, slices);
  },
  spread: (level, slices) => spreadOut(pulledBy(level, 'descriptors').moving, slices),
  weigh: (level, slices) => weigh(pulledBy(level, 'descriptors').moving, slices),
  pullTogether: (level, layers) => {
    const { fixed, moving, seen, bench } = pulledBy(level, 'descriptors');
    pullTogether(fixed, moving, seen, bench, layers);
  },
  sumForce: ({ lattice, blocks, sums, pull: { bench } }, layers) =>
    gatherPlanes(lattice, bench.force, blocks, sums, { channels: 3, slices: layers }),
  sumHeld: (level, layers) => {
    const { lattice, blocks, sums, held, pull } = level;
    trace(pull.bench, held, rangeOf(level, layers));
    gatherPlanes(lattice, held, blocks, sums, { channels: 1, slices: layers });
  },
  answer: (level, layers) => {
    const { lattice, direction, blocks, atBlocks, sums, pull } = level;
    expand(lattice, direction, blocks, atBlocks, layers);
    stiffen(pull.bench, atBlocks, rangeOf(level, layers));
    gatherPlanes(lattice, atBlocks, blocks, sums, { channels: 3, slices: layers });
  },
} as const satisfies Readonly<Record<string, (level: Level, slices: Slices) => void>>;

export type KernelName = keyof typeof KERNELS;

/** What leads from a spline to the force and stiffness of its field, one after another; the last goes over layers of blocks. */
export const LOOKS: Readonly<
  Record<Pull['by'], { readonly slices: readonly KernelName[]; readonly layers: KernelName }>
> = {
  correlation: { slices: ['move', 'judge'], layers: 'pull' },
  descriptors: { slices: ['moveImage', 'differ', 'spread', 'weigh'], layers: 'pullTogether' },
};

/** How far the images are from each other, after the looks. */
export function costOf({ counts, pull }: Level): number {
  return pull.by === 'correlation' ? correlationCost(pull.bench) : descriptorCost(pull.bench, counts);
}

/** Numbers of the blocks of some layers. */
function rangeOf({ blocks: { counts } }: Level, [from, to]: Slices): readonly [number, number] {
  const layer = counts[0] * counts[1];
  return [from * layer, to * layer];
}

/** A third of the trace of the stiffness of every block. */
function trace({ stiffness }: Terms, result: Float32Array, [from, to]: readonly [number, number]): void {
  const count = result.length;
  for (let n = from; n < to; n++)
    result[n] = (stiffness[n]! + stiffness[3 * count + n]! + stiffness[5 * count + n]!) / 3;
}

/** v = stiffness v. */
function stiffen({ stiffness }: Terms, v: Float32Array, [from, to]: readonly [number, number]): void {
  const count = v.length / 3;
  for (let n = from; n < to; n++) {
    const z = v[n]!;
    const y = v[count + n]!;
    const x = v[2 * count + n]!;
    const zy = stiffness[count + n]!;
    const zx = stiffness[2 * count + n]!;
    const yx = stiffness[4 * count + n]!;
    v[n] = stiffness[n]! * z + zy * y + zx * x;
    v[count + n] = zy * z + stiffness[3 * count + n]! * y + yx * x;
    v[2 * count + n] = zx * z + yx * y + stiffness[5 * count + n]! * x;
  }
}
