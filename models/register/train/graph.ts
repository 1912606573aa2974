/**
 * A graph being drawn: every function appends operators and returns the name of their result.
 * Volumes are [1, channels, depth, height, width]; a field has the channels (z, y, x) in voxels of its own grid.
 */
import { BOOL, FLOAT, INT64, encodeGraph, encodeNode, encodeTensor, encodeValue } from './onnx.ts';
import type { Attribute, Message } from './onnx.ts';

/** The name of a tensor in the graph. */
export type Value = string;

export interface Draft {
  readonly prefix: string;
  readonly nodes: Message[];
  readonly constants: Message[];
  readonly known: Map<string, Value>;
  count: number;
}

/** A grid of voxels inside the graph, for sampling: made once per resolution. */
export interface Lattice {
  /** int64 [3]: depth, height, width. */
  readonly size: Value;
  /** float32 [1, depth, height, width, 3]: the identity for GridSample. */
  readonly identity: Value;
  /** float32 [1, 3, 1, 1, 1]: voxels to GridSample's units, (z, y, x). */
  readonly unit: Value;
}

const TO_END = Number.MAX_SAFE_INTEGER;

export function newDraft(prefix = ''): Draft {
  return { prefix, nodes: [], constants: [], known: new Map(), count: 0 };
}

export function op(g: Draft, operator: string, inputs: readonly Value[], attributes: Record<string, Attribute> = {}) {
  const result = newName(g);
  g.nodes.push(encodeNode(operator, inputs, [result], attributes));
  return result;
}

export function floats(g: Draft, dims: readonly number[], values: readonly number[]): Value {
  const bytes = new Uint8Array(Float32Array.from(values).buffer);
  return constant(g, FLOAT, dims, bytes);
}

export function num(g: Draft, value: number): Value {
  return floats(g, [], [value]);
}

export function ints(g: Draft, ...values: number[]): Value {
  return integers(g, [values.length], values);
}

export function integers(g: Draft, dims: readonly number[], values: readonly number[]): Value {
  return constant(g, INT64, dims, new Uint8Array(BigInt64Array.from(values.map(BigInt)).buffer));
}

export const add = (g: Draft, a: Value, b: Value) => op(g, 'Add', [a, b]);
export const sub = (g: Draft, a: Value, b: Value) => op(g, 'Sub', [a, b]);
export const mul = (g: Draft, a: Value, b: Value) => op(g, 'Mul', [a, b]);
export const div = (g: Draft, a: Value, b: Value) => op(g, 'Div', [a, b]);
export const square = (g: Draft, a: Value) => mul(g, a, a);
export const scale = (g: Draft, a: Value, factor: number) => mul(g, a, num(g, factor));
export const concat = (g: Draft, parts: readonly Value[], axis: number) => op(g, 'Concat', parts, { axis });

/** Runs `body` so many times and stacks what it gives in a new first axis: ONNX Loop. The body sees the names of the graph around it. */
export function collect(g: Draft, times: number | Value, body: (g: Draft, step: Value) => Value): Value {
  const name = newName(g);
  const inner = newDraft(`${name}_`);
  const [step, go] = [`${name}_step`, `${name}_go`];
  const row = body(inner, step);
  const on = op(inner, 'Identity', [go]);
  const graph = encodeGraph({
    name,
    nodes: inner.nodes,
    constants: inner.constants,
    inputs: [encodeValue(step, INT64, []), encodeValue(go, BOOL, [])],
    outputs: [encodeValue(on, BOOL, []), encodeValue(row, FLOAT, new Array<undefined>(3).fill(undefined))],
  });
  const count = typeof times === 'number' ? integers(g, [], [times]) : times;
  const yes = constant(g, BOOL, [], Uint8Array.of(1));
  return op(g, 'Loop', [count, yes], { body: { graph } });
}

export function sizeOf(g: Draft, x: Value): Value {
  return op(g, 'Slice', [op(g, 'Shape', [x]), ints(g, 2), ints(g, 5), ints(g, 0)]);
}

export function padEdge(g: Draft, x: Value, margins: readonly [number, number, number]): Value {
  return op(g, 'Pad', [x, ints(g, 0, 0, ...margins, 0, 0, ...margins)], { mode: 'edge' });
}

/** Value at x + offset, of a tensor that was padded by `margin` on every side. */
export function shifted(g: Draft, padded: Value, margin: number, offset: readonly number[]): Value {
  const from = offset.map((o) => margin + o);
  const to = offset.map((o) => (o < margin ? o - margin : TO_END));
  return op(g, 'Slice', [padded, ints(g, ...from), ints(g, ...to), ints(g, 2, 3, 4)]);
}

export function averagePool(g: Draft, x: Value, factor: number): Value {
  if (factor === 1) return x;
  const three = [factor, factor, factor];
  return op(g, 'AveragePool', [x], { kernel_shape: three, strides: three });
}

/** Mean over a cube of 2r+1 voxels: three depthwise convolutions, because AveragePool with stride 1 is five times slower. */
export function box(g: Draft, x: Value, radius: number, channels: number): Value {
  const length = 2 * radius + 1;
  if (radius === 1) return depthwise(g, padEdge(g, x, [1, 1, 1]), [3, 3, 3], channels);
  let result = x;
  for (const axis of [0, 1, 2]) {
    const along = (value: number, other: number) => [0, 1, 2].map((a) => (a === axis ? value : other));
    const margins = along(radius, 0) as [number, number, number];
    result = depthwise(g, padEdge(g, result, margins), along(length, 1), channels);
  }
  return result;
}

function depthwise(g: Draft, padded: Value, kernel: readonly number[], channels: number): Value {
  const taps = kernel.reduce((a, b) => a * b, 1);
  const weights = floats(g, [channels, 1, ...kernel], new Array<number>(channels * taps).fill(1 / taps));
  return op(g, 'Conv', [padded, weights], { kernel_shape: kernel, group: channels });
}

export function lattice(g: Draft, like: Value): Lattice {
  const size = sizeOf(g, like);
  const matrix = floats(g, [1, 3, 4], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]);
  const identity = op(g, 'AffineGrid', [matrix, concat(g, [ints(g, 1, 1), size], 0)], { align_corners: 1 });
  const last = sub(g, op(g, 'Cast', [size], { to: FLOAT }), num(g, 1));
  return { size, identity, unit: op(g, 'Reshape', [div(g, num(g, 2), last), ints(g, 1, 3, 1, 1, 1)]) };
}

/** image(x + u(x)), linear, the border repeated; image and field on the same grid. */
export function warp(g: Draft, image: Value, u: Value, grid: Lattice): Value {
  const last = op(g, 'Transpose', [mul(g, u, grid.unit)], { perm: [0, 2, 3, 4, 1] });
  const xyz = op(g, 'Gather', [last, ints(g, 2, 1, 0)], { axis: 4 }); // GridSample wants (x, y, z)
  const at = add(g, grid.identity, xyz);
  return op(g, 'GridSample', [image, at], { mode: 'linear', padding_mode: 'border', align_corners: 1 });
}

/** The field that applies first `du`, then `u`: fields are composed, never added. */
export function compose(g: Draft, u: Value, du: Value, grid: Lattice): Value {
  return add(g, du, warp(g, u, du, grid));
}

/** Field to a finer grid. half_pixel, because pooled voxel i is centred at factor * i + (factor - 1) / 2. */
export function enlarge(g: Draft, u: Value, to: Lattice, factor: number): Value {
  if (factor === 1) return u;
  const sizes = concat(g, [ints(g, 1, 3), to.size], 0);
  const mode = { mode: 'linear', coordinate_transformation_mode: 'half_pixel' };
  return scale(g, op(g, 'Resize', [u, '', '', sizes], mode), factor);
}

function newName(g: Draft): Value {
  g.count += 1;
  return `${g.prefix}v${g.count}`;
}

function constant(g: Draft, type: number, dims: readonly number[], bytes: Uint8Array): Value {
  const key = `${type} ${dims.join('x')} ${Buffer.from(bytes).toString('base64')}`;
  const found = g.known.get(key);
  if (found !== undefined) return found;
  const name = newName(g);
  g.constants.push(encodeTensor(name, type, dims, bytes));
  g.known.set(key, name);
  return name;
}
