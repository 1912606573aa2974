/** A graph over a grid piece by piece: sides padded to what the graph takes, pieces that overlap blended into each other. */
import type { Vector3 } from '../dicom/volume.ts';
import type { Grid } from './zoo-steps.ts';

export interface Tiling {
  /** Largest side of a piece; undefined: the grid at once (in 2-D: a slice at once). */
  readonly size: number | undefined;
  readonly overlap: number;
  readonly multipleOf: number;
  readonly pad: 'edge' | 'zero' | 'reflect';
  /** Sides that the graph itself fixes (x, y, z), 0 where it does not. */
  readonly fixed: Vector3;
  /** 1 in the third axis for slice by slice. */
  readonly flat: boolean;
  /** The grid's values are not needed afterwards. */
  readonly spend?: boolean;
}

export interface Piece {
  readonly size: Vector3;
  readonly values: Float32Array;
  /** Slice number of a flat piece. */
  readonly slice: number;
}

interface Span {
  readonly start: number;
  readonly length: number;
  /** With padding. */
  readonly padded: number;
  readonly first: boolean;
  readonly last: boolean;
}

/** The pieces' sides along one axis. */
function spansOf(length: number, { size, overlap, multipleOf }: Tiling, fixed: number): Span[] {
  const side = fixed > 0 ? fixed : size === undefined ? Infinity : Math.ceil(size / multipleOf) * multipleOf;
  if (length <= side) {
    const padded = fixed > 0 ? fixed : Math.ceil(length / multipleOf) * multipleOf;
    return [{ start: 0, length, padded, first: true, last: true }];
  }
  const step = Math.max(1, side - Math.min(overlap, side - 1));
  const count = Math.ceil((length - side) / step) + 1;
  return Array.from({ length: count }, (_, n) => ({
    // The last piece moves back to end with the grid.
    start: Math.min(n * step, length - side),
    length: side,
    padded: side,
    first: n === 0,
    last: n === count - 1,
  }));
}

/** Slices that no further piece touches. */
export interface Slab {
  readonly first: number;
  readonly slices: number;
  /** Of each channel its voxels in these slices; they are written over as soon as the taker returns. */
  readonly channels: readonly Float32Array[];
}

/**
 * Runs `run` on every piece in order and puts the results together: as many channels, one after the other, as the first result has. What
 * no further piece needs is written over in the grid itself where `tiling.spend` allows it, so that a long series is there once.
 */
export async function byPieces(
  grid: Grid,
  tiling: Tiling,
  run: (piece: Piece) => Promise<Float32Array>,
  progress: (share: number) => void,
): Promise<Float32Array> {
  const voxels = grid.values.length;
  const plane = grid.size[0] * grid.size[1];
  let out: Float32Array | undefined;
  const take = ({ first, channels }: Slab): void => {
    out ??= tiling.spend === true && channels.length === 1 ? grid.values : new Float32Array(voxels * channels.length);
    for (const [c, values] of channels.entries()) out.set(values, c * voxels + first * plane);
  };
  await eachSlab(grid, tiling, { run, take, progress });
  if (out === undefined) throw new Error('a grid without a piece');
  return out;
}

export interface Slabs {
  readonly run: (piece: Piece) => Promise<Float32Array>;
  readonly take: (slab: Slab) => void;
  readonly progress: (share: number) => void;
}

/** As `byPieces`, giving away what is done slab by slab: of what the pieces make no more is there than the slices that one of them covers. */
export async function eachSlab(grid: Grid, tiling: Tiling, { run, take, progress }: Slabs): Promise<void> {
  const [nx, ny, nz] = grid.size;
  const plane = nx * ny;
  const spans = [spansOf(nx, tiling, tiling.fixed[0]), spansOf(ny, tiling, tiling.fixed[1])] as const;
  const depth = tiling.flat
    ? Array.from({ length: nz }, (_, start) => ({ start, length: 1, padded: 1, first: true, last: true }))
    : spansOf(nz, tiling, tiling.fixed[2]);
  const perLayer = spans[0].length * spans[1].length;
  const single = perLayer === 1 && (tiling.flat || depth.length === 1);
  const held = (depth[0]?.length ?? 0) * plane;
  const weights = single ? undefined : new Float32Array(held);
  let sums: Float32Array[] = [];
  for (const [layer, z] of depth.entries()) {
    for (const [row, y] of spans[1].entries())
      for (const [column, x] of spans[0].entries()) {
        const size: Vector3 = [x.padded, y.padded, z.padded];
        const values = await run({ size, values: cut(grid, [x, y, z], size, tiling.pad), slice: z.start });
        const piece = size[0] * size[1] * size[2];
        if (sums.length === 0) sums = Array.from({ length: values.length / piece }, () => new Float32Array(held));
        for (const [c, sum] of sums.entries())
          lay(sum, c === 0 ? weights : undefined, {
            grid: grid.size,
            place: [x, y, { ...z, start: 0 }],
            size,
            values: values.subarray(c * piece, (c + 1) * piece),
            overlap: tiling.overlap,
            single,
          });
        progress((layer * perLayer + row * spans[0].length + column + 1) / (perLayer * depth.length));
      }
    const slices = Math.min(z.length, (depth[layer + 1]?.start ?? nz) - z.start);
    const done = slices * plane;
    const channels = sums.map((sum) => sum.subarray(0, done));
    if (weights !== undefined) for (const sum of channels) for (let i = 0; i < done; i++) sum[i]! /= weights[i]!;
    take({ first: z.start, slices, channels });
    for (const sum of weights === undefined ? sums : [...sums, weights]) sum.copyWithin(0, done).fill(0, held - done);
  }
}

type Place = readonly [Span, Span, Span];

function cut({ values, size: [nx, ny, nz] }: Grid, [x, y, z]: Place, size: Vector3, pad: Tiling['pad']): Float32Array {
  const out = new Float32Array(size[0] * size[1] * size[2]);
  const [xs, ys, zs] = [sourcesOf(x, size[0], nx, pad), sourcesOf(y, size[1], ny, pad), sourcesOf(z, size[2], nz, pad)];
  let at = 0;
  for (const k of zs)
    for (const j of ys)
      for (const i of xs) {
        out[at++] = k < 0 || j < 0 || i < 0 ? 0 : values[(k * ny + j) * nx + i]!;
      }
  return out;
}

/** Where each place of a padded side comes from; -1 for zero. */
function sourcesOf({ start, length }: Span, padded: number, whole: number, pad: Tiling['pad']): number[] {
  return Array.from({ length: padded }, (_, n) => {
    if (n < length) return start + n;
    if (pad === 'zero') return -1;
    if (pad === 'edge') return Math.min(whole - 1, start + length - 1);
    const period = Math.max(1, 2 * (length - 1));
    const m = n % period;
    return start + (m < length ? m : period - m);
  });
}

interface Laid {
  readonly grid: Vector3;
  readonly place: Place;
  /** Of the piece, with padding. */
  readonly size: Vector3;
  readonly values: Float32Array;
  readonly overlap: number;
  /** One piece is the whole grid: nothing is blended. */
  readonly single: boolean;
}

/** Adds one channel of a piece, weighted; the weights are summed up where they are given. */
function lay(
  out: Float32Array,
  weights: Float32Array | undefined,
  { grid: [nx, ny], place: [x, y, z], size, values, overlap, single }: Laid,
): void {
  const [wx, wy, wz] = [rampOf(x, overlap), rampOf(y, overlap), rampOf(z, overlap)];
  for (let k = 0; k < z.length; k++) {
    for (let j = 0; j < y.length; j++) {
      const to = ((z.start + k) * ny + y.start + j) * nx + x.start;
      const from = (k * size[1] + j) * size[0];
      for (let i = 0; i < x.length; i++) {
        if (single) {
          out[to + i] = values[from + i]!;
          continue;
        }
        const weight = wx[i]! * wy[j]! * wz[k]!;
        out[to + i]! += weight * values[from + i]!;
        if (weights !== undefined) weights[to + i]! += weight;
      }
    }
  }
}

/** 1 in the middle, falling towards a side where another piece takes over. */
function rampOf({ length, first, last }: Span, overlap: number): Float32Array {
  return Float32Array.from({ length }, (_, n) => {
    const left = first ? 1 : (n + 1) / (overlap + 1);
    const right = last ? 1 : (length - n) / (overlap + 1);
    return Math.min(1, left, right);
  });
}
