/**
 * Writes the graph that fits a B-spline field to scattered residuals (Lee, Wolberg, Shin 1997): no weights, no training data, any size.
 *
 *   node models/mr-bias/train/write-graph.ts      # writes model.onnx and the self-test beside the card, the same bytes every time
 *
 * residual, weight: float32 [D,H,W]; bz, by, bx: the cubic B-splines of each axis, [control points, length]; field: [D,H,W].
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSession } from '../../../src/pipelines/session.ts';
import {
  div,
  floats,
  ints,
  mul,
  newDraft,
  op,
  square,
  add,
  type Draft,
  type Value,
} from '../../register/train/graph.ts';
import { FLOAT, encodeGraph, encodeModel, encodeNode, encodeValue } from '../../register/train/onnx.ts';

const OPSET = 17;

export function writeFit(): Uint8Array {
  const g = newDraft();
  const axes = ['bz', 'by', 'bx'] as const;
  const squares = axes.map((name) => square(g, name));
  const cubes = axes.map((name, i) => mul(g, name, squares[i]!));
  // Sum of the squared splines at a voxel: a product over the axes.
  const totals = squares.map((b) => op(g, 'ReduceSum', [b, ints(g, 0)], { keepdims: 0 }));
  const shapes = [
    [-1, 1, 1],
    [1, -1, 1],
    [1, 1, -1],
  ];
  const [sz, sy, sx] = totals.map((total, i) => op(g, 'Reshape', [total, ints(g, ...shapes[i]!)]));
  const scaled = div(g, mul(g, 'residual', 'weight'), mul(g, mul(g, sz!, sy!), sx!));
  const numerator = gathered(g, scaled, cubes);
  const denominator = gathered(g, 'weight', squares);
  const points = div(g, numerator, add(g, denominator, floats(g, [], [1e-6])));
  const field = gathered(
    g,
    points,
    axes.map((name) => op(g, 'Transpose', [name], { perm: [1, 0] })),
  );
  const nodes = [...g.nodes, encodeNode('Identity', [field], ['field'], {})];
  const volume = ['D', 'H', 'W'];
  const graph = encodeGraph({
    name: 'bspline-fit',
    nodes,
    constants: g.constants,
    inputs: [
      encodeValue('residual', FLOAT, volume),
      encodeValue('weight', FLOAT, volume),
      encodeValue('bz', FLOAT, ['P', 'D']),
      encodeValue('by', FLOAT, ['Q', 'H']),
      encodeValue('bx', FLOAT, ['R', 'W']),
    ],
    outputs: [encodeValue('field', FLOAT, volume)],
  });
  return encodeModel(graph, OPSET, 'isthmus');
}

/** sum over z, y, x of m0[a,z] m1[b,y] m2[c,x] volume[z,y,x], one axis after the other. */
function gathered(g: Draft, volume: Value, [mz, my, mx]: readonly Value[]): Value {
  const alongX = op(g, 'MatMul', [volume, op(g, 'Transpose', [mx!], { perm: [1, 0] })]);
  const alongY = op(g, 'MatMul', [my!, alongX]);
  const zLast = op(g, 'Transpose', [alongY], { perm: [1, 2, 0] });
  const alongZ = op(g, 'MatMul', [zLast, op(g, 'Transpose', [mz!], { perm: [1, 0] })]);
  return op(g, 'Transpose', [alongZ], { perm: [2, 0, 1] });
}

if (import.meta.main) {
  const folder = join(import.meta.dirname, '..');
  writeFileSync(join(folder, 'model.onnx'), writeFit());
  const [d, h, w, p] = [5, 6, 7, 4];
  const wave = (length: number, seed: number): Float32Array =>
    Float32Array.from({ length }, (_, i) => Math.abs(Math.sin(seed + 0.7 * i)));
  const inputs = {
    residual: { dims: [d, h, w], data: wave(d * h * w, 1) },
    weight: { dims: [d, h, w], data: wave(d * h * w, 2) },
    bz: { dims: [p, d], data: wave(p * d, 3) },
    by: { dims: [p, h], data: wave(p * h, 4) },
    bx: { dims: [p, w], data: wave(p * w, 5) },
  };
  const session = await openSession(join(folder, 'model.onnx'), { threads: 1, arena: false });
  const { field } = await session.run(inputs);
  const bytes = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  writeFileSync(join(folder, 'selftest.in.f32'), Buffer.concat(Object.values(inputs).map(({ data }) => bytes(data))));
  writeFileSync(join(folder, 'selftest.out.f32'), bytes(field!.data));
}
