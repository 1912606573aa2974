/**
 * The matcher without parameters: MIND-SSC descriptors (Heinrich et al., MICCAI 2013), a discrete search over integer
 * shifts with coupled convex regularisation (Heinrich et al., MICCAI 2014), then demons steps on the descriptors or on
 * locally normalised intensity.
 */
import {
  add,
  averagePool,
  box,
  collect,
  compose,
  concat,
  div,
  enlarge,
  floats,
  gradient,
  integers,
  ints,
  lattice,
  mul,
  num,
  op,
  padEdge,
  repeat,
  scale,
  shifted,
  sizeOf,
  square,
  sub,
  sumChannels,
  warp,
} from './graph.ts';
import type { Draft, Lattice, Value } from './graph.ts';

const NEIGHBOURS = [
  [-1, 0, 0],
  [1, 0, 0],
  [0, -1, 0],
  [0, 1, 0],
  [0, 0, -1],
  [0, 0, 1],
];

/** The 12 pairs of neighbours that do not face each other. */
const PAIRS = NEIGHBOURS.flatMap((_, i) => NEIGHBOURS.map((__, j): [number, number] => [i, j])).filter(
  ([i, j]) => j > i && Math.floor(i / 2) !== Math.floor(j / 2),
);

export const CHANNELS = PAIRS.length;

/** One discrete search: on descriptors averaged over `pool` voxels, shifts of up to `reach` pooled voxels per axis. */
export interface Level {
  readonly pool: number;
  readonly reach: number;
  readonly couplings: readonly number[];
  readonly smooth: number;
}

/** Demons steps on a grid `pool` times coarser than the graph's. */
export interface Refinement {
  readonly measure: 'mind' | 'intensity';
  readonly pool: number;
  readonly steps: number;
  /** Box radius on the update, applied twice. */
  readonly updateRadius: number;
  /** Box radius on the whole field after each step; 0 = none. */
  readonly fieldRadius: number;
}

/** Radius of the window of local normalisation, in voxels. */
const NORMALISE_RADIUS = 4;

/** Descriptor of 12 channels in [0, 1]: what the neighbourhood of a voxel looks like, whatever the contrast. */
export function mindSsc(g: Draft, image: Value): Value {
  const padded = padEdge(g, image, [1, 1, 1]);
  const around = NEIGHBOURS.map((offset) => shifted(g, padded, 1, offset));
  const differences = PAIRS.map(([i, j]) => sub(g, around[i] as Value, around[j] as Value));
  const distance = box(g, square(g, concat(g, differences, 1)), 1, CHANNELS);
  const above = sub(g, distance, op(g, 'ReduceMin', [distance, ints(g, 1)], { keepdims: 1 }));
  const variance = op(g, 'ReduceMean', [above, ints(g, 1)], { keepdims: 1 });
  const overall = op(g, 'ReduceMean', [variance, ints(g, 2, 3, 4)], { keepdims: 1 });
  const bounded = op(g, 'Max', [op(g, 'Min', [variance, scale(g, overall, 1000)]), scale(g, overall, 0.001)]);
  return op(g, 'Exp', [op(g, 'Neg', [div(g, above, add(g, bounded, num(g, 1e-8)))])]);
}

/** One discrete level on descriptors of the grid `grid`; the field comes in voxels of that grid. */
export function match(g: Draft, fixed: Value, moving: Value, level: Level, grid: Lattice): Value {
  const [f, m] = [averagePool(g, fixed, level.pool), averagePool(g, moving, level.pool)];
  const coarse = level.pool === 1 ? grid : lattice(g, f);
  let u = coupledConvex(g, costVolume(g, f, m, level.reach), level, coarse);
  if (level.pool > 1) {
    // Both directions are drawn towards each other's inverse: what matches one way only is taken back.
    let v = coupledConvex(g, costVolume(g, m, f, level.reach), level, coarse);
    for (let round = 0; round < 4; round++) {
      const [nextU, nextV] = [sub(g, u, warp(g, v, u, coarse)), sub(g, v, warp(g, u, v, coarse))];
      [u, v] = [scale(g, nextU, 0.5), scale(g, nextV, 0.5)];
    }
  }
  return enlarge(g, u, grid, level.pool);
}

/** Demons steps from `u`: forces smoothed twice, each step composed into the field. */
export function refine(g: Draft, fixed: Value, moving: Value, start: Value, stage: Refinement, grid: Lattice): Value {
  const [f, m] = [averagePool(g, fixed, stage.pool), averagePool(g, moving, stage.pool)];
  const coarse = stage.pool === 1 ? grid : lattice(g, f);
  const mind = stage.measure === 'mind';
  const a = mind ? mindSsc(g, f) : localNormalise(g, f);
  const b = mind ? mindSsc(g, m) : localNormalise(g, m);
  const total = (h: Draft, x: Value) => (mind ? sumChannels(h, x) : x);
  const [damping, floor] = mind ? [0.25, 1e-3] : [0.5, 1e-2];
  const u = stage.pool === 1 ? start : scale(g, averagePool(g, start, stage.pool), 1 / stage.pool);
  const end = repeat(g, stage.steps, u, (h, current) => {
    const warped = warp(h, b, current, coarse);
    const [residual, slopes] = [sub(h, a, warped), gradient(h, warped)];
    const force = concat(
      h,
      slopes.map((slope) => total(h, mul(h, residual, slope))),
      1,
    );
    const norm = op(h, 'Sum', [
      ...slopes.map((slope) => total(h, square(h, slope))),
      scale(h, total(h, square(h, residual)), damping),
      num(h, floor),
    ]);
    const once = box(h, div(h, force, norm), stage.updateRadius, 3);
    const next = compose(h, current, box(h, once, stage.updateRadius, 3), coarse);
    return stage.fieldRadius > 0 ? box(h, next, stage.fieldRadius, 3) : next;
  });
  return enlarge(g, end, grid, stage.pool);
}

/**
 * What a Gauss-Newton step of a rigid or affine map needs of every voxel, 10 channels: sum r^2; sum r g (z, y, x); sum g g^T
 * (zz, zy, zx, yy, yx, xx); r = fixed - moving and g = gradient of moving, summed over the descriptor's channels.
 */
export function stepTerms(g: Draft, fixed: Value, moving: Value): Value {
  const [f, m] = [mindSsc(g, fixed), mindSsc(g, moving)];
  const residual = sub(g, f, m);
  const slopes = gradient(g, m);
  const product = (a: Value, b: Value) => sumChannels(g, mul(g, a, b));
  const forces = slopes.map((slope) => product(residual, slope));
  const tensor = slopes.flatMap((a, i) => slopes.slice(i).map((b) => product(a, b)));
  return concat(g, [product(residual, residual), ...forces, ...tensor], 1);
}

/** (x - local mean) / sqrt(local variance + a tenth of its mean): bias and gain leave, edges stay. */
function localNormalise(g: Draft, image: Value): Value {
  const mean = box(g, image, NORMALISE_RADIUS, 1);
  const spread = sub(g, box(g, square(g, image), NORMALISE_RADIUS, 1), square(g, mean));
  const variance = op(g, 'Max', [spread, num(g, 0)]);
  const floor = scale(g, op(g, 'ReduceMean', [variance, ints(g, 1, 2, 3, 4)], { keepdims: 1 }), 0.1);
  return div(g, sub(g, image, mean), op(g, 'Sqrt', [add(g, variance, add(g, floor, num(g, 1e-12)))]));
}

/** [shifts, depth, height, width]: sum over channels of (f(x) - m(x + d))^2. A Loop keeps the file small. */
function costVolume(g: Draft, f: Value, m: Value, reach: number): Value {
  const padded = padEdge(g, m, [reach, reach, reach]);
  const table = shifts(reach).map((d) => d.map((o) => o + reach));
  const starts = integers(g, [table.length, 3], table.flat());
  const size = sizeOf(g, f);
  return collect(g, table.length, (h, step) => {
    const start = op(h, 'Gather', [starts, step], { axis: 0 });
    const window = op(h, 'Slice', [padded, start, add(h, start, size), ints(h, 2, 3, 4)]);
    return op(h, 'ReduceSum', [square(h, sub(h, f, window)), ints(h, 0, 1)], { keepdims: 0 });
  });
}

/** Alternates d(x) = argmin cost + c |d - u|^2, a table search, and u = box(d), with rising coupling c. */
function coupledConvex(g: Draft, cost: Value, level: Level, grid: Lattice): Value {
  const table = shifts(level.reach);
  const steps = floats(g, [table.length, 3], table.flat());
  // [voxels, shifts]: ArgMin over the last axis is five times faster than over the first.
  const flat = op(g, 'Transpose', [op(g, 'Reshape', [cost, ints(g, table.length, -1)])], { perm: [1, 0] });
  const shape = concat(g, [ints(g, 1, 3), grid.size], 0);
  const best = (costs: Value) => {
    const chosen = op(g, 'Gather', [steps, op(g, 'ArgMin', [costs], { axis: 1, keepdims: 0 })], { axis: 0 });
    return box(g, op(g, 'Reshape', [op(g, 'Transpose', [chosen], { perm: [1, 0] }), shape]), level.smooth, 3);
  };
  let u = best(flat);
  for (const c of level.couplings) {
    // c |d - u|^2 = c |d|^2 - 2 c d.u + what does not depend on d
    const rows = op(g, 'Transpose', [op(g, 'Reshape', [u, ints(g, 3, -1)])], { perm: [1, 0] });
    const pull = [0, 1, 2].flatMap((axis) => table.map((d) => -2 * c * (d[axis] as number)));
    const own = table.map((d) => c * d.reduce((sum, o) => sum + o * o, 0));
    const bracket = op(g, 'Gemm', [rows, floats(g, [3, table.length], pull), floats(g, [1, table.length], own)]);
    u = best(add(g, flat, bracket));
  }
  return u;
}

/** All integer shifts of a (2 reach + 1)^3 window, z slowest. */
function shifts(reach: number): number[][] {
  const range = Array.from({ length: 2 * reach + 1 }, (_, i) => i - reach);
  return range.flatMap((z) => range.flatMap((y) => range.map((x) => [z, y, x])));
}
