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

/**
 * Runs `run` on every piece in order and puts the results together: as many channels, one after the other, as the first result has. What
 * was seen slice by slice is written over the grid itself where `tiling.spend` allows it, so that a long series is there once.
 */
export async function byPieces(
  grid: Grid,
  tiling: Tiling,
  run: (piece: Piece) => Promise<Float32Array>,
  progress: (share: number) => void,
): Promise<Float32Array> {
  const [nx, ny, nz] = grid.size;
  const spans = [spansOf(nx, tiling, tiling.fixed[0]), spansOf(ny, tiling, tiling.fixed[1])] as const;
  const depth = spansOf(nz, tiling, tiling.fixed[2]);
  const layers: Layer[] = tiling.flat
    ? Array.from({ length: nz }, (_, start) => ({
        start,
        slices: 1,
        depth: [{ start: 0, length: 1, padded: 1, first: true, last: true }],
      }))
    : [{ start: 0, slices: nz, depth }];
  const perLayer = spans[0].length * spans[1].length * (layers[0]?.depth.length ?? 0);
  const single = perLayer === 1;
  const voxels = grid.values.length;
  const plane = nx * ny;
  const weights = single ? undefined : new Float32Array(plane * (layers[0]?.slices ?? 0));
  let out: Float32Array | undefined;
  let part: Float32Array | undefined;
  let done = 0;
  for (const layer of layers) {
    const length = plane * layer.slices;
    const source: Grid = {
      ...grid,
      size: [nx, ny, layer.slices],
      values: grid.values.subarray(layer.start * plane, layer.start * plane + length),
    };
    part?.fill(0);
    weights?.fill(0);
    for (const z of layer.depth)
      for (const y of spans[1])
        for (const x of spans[0]) {
          const place = [x, y, z] as const;
          const size: Vector3 = [x.padded, y.padded, z.padded];
          const values = await run({ size, values: cut(source, place, size, tiling.pad), slice: layer.start });
          const piece = size[0] * size[1] * size[2];
          const channels = values.length / piece;
          part ??= new Float32Array(length * channels);
          for (let c = 0; c < channels; c++)
            lay(part.subarray(c * length, (c + 1) * length), c === 0 ? weights : undefined, {
              grid: source.size,
              place,
              size,
              values: values.subarray(c * piece, (c + 1) * piece),
              overlap: tiling.overlap,
              single,
            });
          progress(++done / (perLayer * layers.length));
        }
    if (part === undefined) break;
    if (weights !== undefined) for (let i = 0; i < part.length; i++) part[i]! /= weights[i % length]!;
    if (layers.length === 1) return part;
    const channels = part.length / length;
    out ??= tiling.spend === true && channels === 1 ? grid.values : new Float32Array(voxels * channels);
    for (let c = 0; c < channels; c++)
      out.set(part.subarray(c * length, (c + 1) * length), c * voxels + layer.start * plane);
  }
  if (out === undefined) throw new Error('a grid without a piece');
  return out;
}

/** What is blended at once: the whole grid, or one slice of it. */
interface Layer {
  readonly start: number;
  readonly slices: number;
  readonly depth: readonly Span[];
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
