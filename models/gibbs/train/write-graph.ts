/**
 * Writes the graph that takes Gibbs ringing out of a slice by local sub-voxel shifts (Kellner et al., Magn Reson Med 2016;76:1574): no
 * weights, no training data, any size.
 *
 *   node models/gibbs/train/write-graph.ts      # writes model.onnx and the self-test beside the card, the same bytes every time
 *
 * The slice is split by its frequencies into a part that rings along x and one that rings along y. Each is shifted by fractions of a
 * pixel along its axis; a pixel takes, of all shifts, the one whose neighbourhood varies least, interpolated back to its place.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSession } from '../../../src/pipelines/session.ts';
import {
  add,
  collect,
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
/** Lines looked at together. */
const BLOCK = 16;
const TO_END = Number.MAX_SAFE_INTEGER;

const FLOAT32 = { to: FLOAT };

function writeUnringing(): Uint8Array {
  const g = newDraft();
  const size = op(g, 'Shape', ['x']);
  const [rows, columns] = [2, 3].map((axis) => op(g, 'Slice', [size, ints(g, axis), ints(g, axis + 1)]));
  const [alongX, alongY] = [cas(g, columns!), cas(g, rows!)];
  const apart = (image: Value): Value => op(g, 'MatMul', [op(g, 'MatMul', [alongY, image]), alongX]);
  // Saddle filter: 1 + cos of y over the sum of both; where both vanish, one half. What it keeps is smooth in y and rings along x, the rest
  // the other way round.
  const [ax, ay] = [turns(g, columns!, [1, -1]), turns(g, rows!, [-1, 1])].map((angle) =>
    add(g, op(g, 'Cos', [angle]), num(g, 1 + 1e-7)),
  );
  const ringsAlongX = apart(mul(g, apart('x'), div(g, ay!, add(g, ax!, ay!))));
  const ringsAlongY = sub(g, 'x', ringsAlongX);
  const sum = add(g, unrung(g, ringsAlongX, columns!), turned(g, unrung(g, turned(g, ringsAlongY), rows!)));
  const graph = encodeGraph({
    name: 'unringing',
    nodes: [...g.nodes, encodeNode('Identity', [sum], ['y'], {})],
    constants: g.constants,
    inputs: [encodeValue('x', FLOAT, [1, 1, 'h', 'w'])],
    outputs: [encodeValue('y', FLOAT, [1, 1, 'h', 'w'])],
  });
  return encodeModel(graph, OPSET, 'isthmus');
}

/**
 * Hartley's transform as a matrix [n,n], its own inverse: cos + sin of 2 pi j k / n, over the root of n. A filter that is even along both axes
 * acts on it as on Fourier's, and a product of matrices takes as long for every n.
 */
function cas(g: Draft, length: Value): Value {
  const places = counted(g, length);
  const [down, across] = [
    [-1, 1],
    [1, -1],
  ].map((shape) => op(g, 'Reshape', [places, ints(g, ...shape)]));
  const angles = turns(g, length, [-1]);
  const root = op(g, 'Sqrt', [op(g, 'Cast', [length], FLOAT32)]);
  const table = div(g, add(g, op(g, 'Cos', [angles]), op(g, 'Sin', [angles])), root);
  return op(g, 'Gather', [table, op(g, 'Mod', [mul(g, down!, across!), length])]);
}

/** 2 pi k / n. */
function turns(g: Draft, length: Value, shape: readonly number[]): Value {
  const k = op(g, 'Cast', [counted(g, length)], FLOAT32);
  const angles = div(g, scale(g, k, 2 * Math.PI), op(g, 'Cast', [length], FLOAT32));
  return op(g, 'Reshape', [angles, ints(g, ...shape)]);
}

/** 0 to n - 1. */
function counted(g: Draft, length: Value): Value {
  const [zero, n, one] = [ints(g, 0), length, ints(g, 1)].map((value) => op(g, 'Squeeze', [value]));
  return op(g, 'Range', [zero!, n!, one!]);
}

function turned(g: Draft, x: Value): Value {
  return op(g, 'Transpose', [x], { perm: [0, 1, 3, 2] });
}

/** An image [1,1,L,n] without the ringing along its lines. Blocks of lines, so that the 25 copies of each stay in the processor's cache. */
function unrung(g: Draft, image: Value, length: Value): Value {
  const count = 2 * SHIFTS + 1;
  const shifts = Array.from({ length: count }, (_, n) => (n - SHIFTS) / (2 * SHIFTS));
  const lines = op(g, 'Reshape', [image, concat(g, [ints(g, -1), length], 0)]);
  const moved = op(g, 'MatMul', [lines, shiftMatrix(g, shifts, length)]);
  const all = op(g, 'Reshape', [moved, concat(g, [ints(g, -1), length, ints(g, count)], 0)]);
  const rows = op(g, 'Slice', [op(g, 'Shape', [lines]), ints(g, 0), ints(g, 1)]);
  const blocks = op(g, 'Div', [add(g, rows, ints(g, BLOCK - 1)), ints(g, BLOCK)]);
  const ends = [ints(g, 0), mul(g, blocks, ints(g, BLOCK)), ints(g, 1)].map((one) => op(g, 'Squeeze', [one]));
  // The last block is filled up with the last line.
  const places = op(g, 'Min', [op(g, 'Range', ends), sub(g, rows, ints(g, 1))]);
  const chosen = op(g, 'Reshape', [places, ints(g, -1, BLOCK)]);
  const table = floats(g, [count], shifts);
  const made = collect(g, op(g, 'Squeeze', [blocks]), (body, step) => {
    const block = op(body, 'Gather', [all, op(body, 'Gather', [chosen, step], { axis: 0 })], { axis: 0 });
    return leastVaried(body, block, table);
  });
  const whole = op(g, 'Slice', [
    op(g, 'Reshape', [made, concat(g, [ints(g, -1), length], 0)]),
    ints(g, 0),
    rows,
    ints(g, 0),
  ]);
  return op(g, 'Reshape', [whole, op(g, 'Shape', [image])]);
}

/** Of lines [L,n,shifts] those values whose neighbourhood varies least, brought back to their places, as [L,n,1]. */
function leastVaried(g: Draft, all: Value, table: Value): Value {
  const around = concat(g, [part(g, all, -REACH, TO_END), all, part(g, all, 0, REACH)], 1);
  const steps = op(g, 'Abs', [sub(g, part(g, around, 1, TO_END), part(g, around, 0, -1))]);
  // sum[i] is what varies from place i - REACH to the third after it.
  const sum = add(g, add(g, part(g, steps, 0, -2), part(g, steps, 1, -1)), part(g, steps, 2, TO_END));
  const variation = op(g, 'Min', [part(g, sum, 0, -(REACH + 1)), part(g, sum, REACH + 1, TO_END)]);
  const best = op(g, 'ArgMin', [variation], { axis: 2, keepdims: 1 });
  const taken = op(g, 'GatherElements', [all, best], { axis: 2 });
  // Values before and behind, of the same shift, to come back to the pixel's own place.
  const [before, behind] = [-1, 1].map((step) =>
    op(g, 'GatherElements', [part(g, around, REACH + step, -REACH + step), best], { axis: 2 }),
  );
  const shift = op(g, 'Gather', [table, best]);
  const back = op(g, 'Relu', [shift]);
  const ahead = op(g, 'Relu', [scale(g, shift, -1)]);
  return add(
    g,
    add(g, mul(g, taken, sub(g, num(g, 1), add(g, back, ahead))), mul(g, before!, back)),
    mul(g, behind!, ahead),
  );
}

/** Of lines [L,n,shifts] a stretch of each. */
function part(g: Draft, x: Value, from: number, to: number): Value {
  return op(g, 'Slice', [x, ints(g, from), ints(g, to), ints(g, 1)]);
}

/**
 * [n, n * shifts]: a line times this gives, for each place m and shift, the band-limited, periodic value at m + shift: the sum over columns of
 * D(m + shift - column), D(x) = sin(pi x) / (n tan(pi x / n)) for even n and with sin in place of tan for odd n. D has the period n, so it
 * is worked out once for each whole distance.
 */
function shiftMatrix(g: Draft, shifts: readonly number[], length: Value): Value {
  const places = counted(g, length);
  const nf = op(g, 'Cast', [length], FLOAT32);
  const distance = op(g, 'Cast', [places], FLOAT32);
  const far = op(g, 'Cast', [op(g, 'Greater', [scale(g, distance, 2), nf])], FLOAT32);
  const whole = op(g, 'Reshape', [sub(g, distance, mul(g, far, nf)), ints(g, -1, 1)]);
  const row = [1, shifts.length] as const;
  const apart = add(g, whole, floats(g, row, shifts));
  const top = mul(
    g,
    op(g, 'Cos', [scale(g, whole, Math.PI)]),
    floats(
      g,
      row,
      shifts.map((value) => Math.sin(Math.PI * value)),
    ),
  );
  const turn = div(g, scale(g, apart, Math.PI), nf);
  const odd = op(g, 'Equal', [op(g, 'Mod', [length, ints(g, 2)]), ints(g, 1)]);
  const cosine = op(g, 'Where', [odd, num(g, 1), op(g, 'Cos', [turn])]);
  // Shift 0 is the image itself; elsewhere the sine is never 0.
  const still = op(g, 'Less', [op(g, 'Abs', [apart]), num(g, 1e-6)]);
  const sine = mul(g, nf, op(g, 'Where', [still, num(g, 1), op(g, 'Sin', [turn])]));
  const kernel = op(g, 'Where', [still, num(g, 1), div(g, mul(g, top, cosine), sine)]);
  const [column, place] = [op(g, 'Reshape', [places, ints(g, -1, 1)]), op(g, 'Reshape', [places, ints(g, 1, -1)])];
  const matrix = op(g, 'Gather', [kernel, op(g, 'Mod', [sub(g, place, column), length])], { axis: 0 });
  return op(g, 'Reshape', [matrix, concat(g, [length, ints(g, -1)], 0)]);
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
  const session = await openSession(join(folder, 'model.onnx'), {
    threads: 1,
    arena: false,
  });
  const { y } = await session.run({ x: { dims: [1, 1, h, w], data } });
  const bytes = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  writeFileSync(join(folder, 'selftest.in.f32'), bytes(data));
  writeFileSync(join(folder, 'selftest.out.f32'), bytes(y!.data));
}
