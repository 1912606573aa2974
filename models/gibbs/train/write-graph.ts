/**
 * Writes the graph that takes Gibbs ringing out of a slice by local sub-voxel shifts (Kellner et al., Magn Reson Med 2016;76:1574): no
 * weights, no training data, any size.
 *
 *   node models/gibbs/train/write-graph.ts      # writes model.onnx and the self-test beside the card, the same bytes every time
 *
 * The slice is split in the Fourier domain into a part that rings along x and one that rings along y. Each is shifted by fractions of a
 * pixel along its axis; a pixel takes, of all shifts, the one whose neighbourhood varies least, interpolated back to its place.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSession } from '../../../src/pipelines/session.ts';
import {
  add,
  concat,
  div,
  floats,
  ints,
  mul,
  newDraft,
  num,
  op,
  scale,
  sub,
  type Draft,
  type Value,
} from '../../register/train/graph.ts';
import { FLOAT, encodeGraph, encodeModel, encodeNode, encodeValue } from '../../register/train/onnx.ts';

const OPSET = 17;
/** Shifts to each side, evenly up to half a pixel. */
const SHIFTS = 12;
/** Neighbours on each side, 1 to this one, whose variation is looked at. */
const REACH = 4;

const FLOAT32 = { to: FLOAT };

function writeUnringing(): Uint8Array {
  const g = newDraft();
  const size = op(g, 'Shape', ['x']);
  const [rows, columns] = [2, 3].map((axis) => op(g, 'Slice', [size, ints(g, axis), ints(g, axis + 1)]));
  const image = op(g, 'Reshape', ['x', concat(g, [ints(g, 1), rows!, columns!, ints(g, 1)], 0)]);
  const alongY = fourier(g, fourier(g, image, 1, false), 2, false);
  // Saddle filters: 1 + cos of the other axis over the sum of both; where both vanish, one half each.
  const cosines = { x: frequencies(g, columns!, [1, 1, -1, 1]), y: frequencies(g, rows!, [1, -1, 1, 1]) };
  const [ax, ay] = [cosines.x, cosines.y].map((angle) => add(g, op(g, 'Cos', [angle]), num(g, 1 + 1e-7)));
  const total = add(g, ax!, ay!);
  // The part that rings along x keeps what is smooth in y, and the other way round.
  const partX = ringing(g, mul(g, alongY, div(g, ay!, total)), 2, columns!);
  const partY = ringing(g, mul(g, alongY, div(g, ax!, total)), 1, rows!);
  const sum = op(g, 'Reshape', [add(g, partX, partY), size]);
  const graph = encodeGraph({
    name: 'unringing',
    nodes: [...g.nodes, encodeNode('Identity', [sum], ['y'], {})],
    constants: g.constants,
    inputs: [encodeValue('x', FLOAT, [1, 1, 'h', 'w'])],
    outputs: [encodeValue('y', FLOAT, [1, 1, 'h', 'w'])],
  });
  return encodeModel(graph, OPSET, 'isthmus');
}

function fourier(g: Draft, x: Value, axis: number, inverse: boolean): Value {
  return op(g, 'DFT', [x], { axis, inverse: inverse ? 1 : 0 });
}

/** 2 pi k / n for k as the transform orders them, negative ones above the half. */
function frequencies(g: Draft, length: Value, shape: readonly number[]): Value {
  const n = op(g, 'Squeeze', [length]);
  const k = op(
    g,
    'Cast',
    [op(g, 'Range', [op(g, 'Squeeze', [ints(g, 0)]), n, op(g, 'Squeeze', [ints(g, 1)])])],
    FLOAT32,
  );
  const nf = op(g, 'Cast', [n], FLOAT32);
  const above = op(g, 'Cast', [op(g, 'Greater', [scale(g, k, 2), nf])], FLOAT32);
  const signed = sub(g, k, mul(g, above, nf));
  return op(g, 'Reshape', [div(g, scale(g, signed, 2 * Math.PI), nf), ints(g, ...shape)]);
}

/** A spectrum [1,H,W,2] with its ringing along `axis` (1 rows, 2 columns) taken out, as [1,H,W]. */
function ringing(g: Draft, spectrum: Value, axis: 1 | 2, length: Value): Value {
  const image = fourier(g, fourier(g, spectrum, 1, true), 2, true);
  const real = op(g, 'Gather', [image, op(g, 'Squeeze', [ints(g, 0)])], { axis: 3 });
  const count = 2 * SHIFTS + 1;
  const shifts = Array.from({ length: count }, (_, n) => (n - SHIFTS) / (2 * SHIFTS));
  const moves = shiftMatrices(g, shifts, length);
  const all =
    axis === 1
      ? op(g, 'MatMul', [moves, real])
      : op(g, 'MatMul', [real, op(g, 'Transpose', [moves], { perm: [0, 2, 1] })]);
  const variation = op(g, 'Min', [sided(g, all, axis, -1), sided(g, all, axis, 1)]);
  const best = op(g, 'ArgMin', [variation], { axis: 0, keepdims: 1 });
  const taken = op(g, 'GatherElements', [all, best], { axis: 0 });
  // Values before and behind, of the same shift, to come back to the pixel's own place.
  const [before, behind] = [-1, 1].map((step) =>
    op(g, 'GatherElements', [rolled(g, all, axis, step), best], { axis: 0 }),
  );
  const shift = op(g, 'Gather', [floats(g, [count], shifts), best]);
  const back = op(g, 'Relu', [shift]);
  const ahead = op(g, 'Relu', [scale(g, shift, -1)]);
  return add(
    g,
    add(g, mul(g, taken, sub(g, num(g, 1), add(g, back, ahead))), mul(g, before!, back)),
    mul(g, behind!, ahead),
  );
}

/**
 * [shifts, n, n]: row m gives the band-limited, periodic value at m + shift, D(x) = sin(pi x) / (n tan(pi x / n)) for even n and with sin in
 * place of tan for odd n, at x = m + shift - column.
 */
function shiftMatrices(g: Draft, shifts: readonly number[], length: Value): Value {
  const n = op(g, 'Squeeze', [length]);
  const [zero, one, two] = [0, 1, 2].map((value) => op(g, 'Squeeze', [ints(g, value)]));
  const places = op(g, 'Cast', [op(g, 'Range', [zero!, n, one!])], FLOAT32);
  const nf = op(g, 'Cast', [n], FLOAT32);
  const whole = sub(g, op(g, 'Reshape', [places, ints(g, 1, -1, 1)]), op(g, 'Reshape', [places, ints(g, 1, 1, -1)]));
  const shift = floats(g, [shifts.length, 1, 1], shifts);
  const sign = op(g, 'Cos', [scale(g, whole, Math.PI)]);
  const top = mul(
    g,
    sign,
    floats(
      g,
      [shifts.length, 1, 1],
      shifts.map((value) => Math.sin(Math.PI * value)),
    ),
  );
  const turn = div(g, scale(g, add(g, whole, shift), Math.PI), nf);
  const sine = op(g, 'Sin', [turn]);
  const odd = op(g, 'Equal', [op(g, 'Mod', [n, two!]), one!]);
  const cosine = op(g, 'Where', [odd, num(g, 1), op(g, 'Cos', [turn])]);
  // Shift 0 is the image itself; elsewhere the sine is never 0.
  const still = op(g, 'Less', [op(g, 'Abs', [add(g, whole, shift)]), num(g, 1e-6)]);
  const quotient = div(g, mul(g, top, cosine), mul(g, nf, op(g, 'Where', [still, num(g, 1), sine])));
  return op(g, 'Where', [still, num(g, 1), quotient]);
}

/** Value at the place + step along the axis, around the edges. */
function rolled(g: Draft, x: Value, axis: number, step: number): Value {
  const first = op(g, 'Slice', [x, ints(g, step), ints(g, Number.MAX_SAFE_INTEGER), ints(g, axis)]);
  const rest = op(g, 'Slice', [x, ints(g, 0), ints(g, step), ints(g, axis)]);
  return concat(g, [first, rest], axis);
}

/** Sum of absolute differences of the neighbours 1 to REACH on one side. */
function sided(g: Draft, x: Value, axis: number, side: 1 | -1): Value {
  let sum: Value | undefined;
  let last = rolled(g, x, axis, side);
  for (let n = 1; n < REACH; n++) {
    const next = rolled(g, x, axis, side * (n + 1));
    const difference = op(g, 'Abs', [sub(g, next, last)]);
    sum = sum === undefined ? difference : add(g, sum, difference);
    last = next;
  }
  return sum ?? last;
}

if (import.meta.main) {
  const folder = join(import.meta.dirname, '..');
  writeFileSync(join(folder, 'model.onnx'), writeUnringing());
  const [h, w] = [20, 24];
  const data = Float32Array.from(
    { length: h * w },
    (_, i) =>
      (i % w > 8 && i % w < 17 ? 100 : 10) + 5 * Math.sin(1.9 * (i % w)) + 3 * Math.sin(0.8 * Math.floor(i / w)),
  );
  const session = await openSession(join(folder, 'model.onnx'), { threads: 1, arena: false });
  const { y } = await session.run({ x: { dims: [1, 1, h, w], data } });
  const bytes = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  writeFileSync(join(folder, 'selftest.in.f32'), bytes(data));
  writeFileSync(join(folder, 'selftest.out.f32'), bytes(y!.data));
}
