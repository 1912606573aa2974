/**
 * The matcher without parameters: MIND-SSC descriptors (Heinrich et al., MICCAI 2013), a discrete search over integer
 * shifts with coupled convex regularisation (Heinrich et al., MICCAI 2014).
 */
import {
  add,
  averagePool,
  box,
  collect,
  concat,
  div,
  enlarge,
  floats,
  integers,
  ints,
  lattice,
  num,
  op,
  padEdge,
  scale,
  shifted,
  sizeOf,
  square,
  sub,
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
