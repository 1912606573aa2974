/**
 * Writes the graph that takes speckle out of a grey ultrasound image: non-local means over the image's own (log-compressed) values (Buades
 * 2005; Coupe 2009 for speckle), every place of an 11 x 11 window weighed by how alike 5 x 5 patches are. No weights, any size.
 *
 *   node models/us-speckle/train/write-graph.ts      # writes model.onnx and the self-test beside the card, the same bytes every time
 *
 * x: float32 [1,1,H,W]; sigma: [1,1,1,1], the noise in the same unit; y: like x.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSession } from '../../../src/pipelines/session.ts';
import {
  add,
  div,
  floats,
  ints,
  mul,
  newDraft,
  num,
  op,
  scale,
  square,
  sub,
  type Draft,
  type Value,
} from '../../register/train/graph.ts';
import { FLOAT, encodeGraph, encodeModel, encodeNode, encodeValue } from '../../register/train/onnx.ts';

const OPSET = 17;
const WINDOW = 5;
const PATCH = 2;
/** Width of the weight, in sigma: speckle is correlated, so that patches are alike by chance more often than in white noise. */
const WIDTH = 1.1;

export function writeSpeckle(): Uint8Array {
  const g = newDraft();
  const margin = WINDOW;
  const padded = op(g, 'Pad', ['x', ints(g, 0, 0, margin, margin, 0, 0, margin, margin)], { mode: 'edge' });
  const width = scale(g, square(g, 'sigma'), WIDTH * WIDTH);
  const least = op(g, 'Max', [width, num(g, 1e-6)]);
  let sum: Value | undefined;
  let total: Value | undefined;
  for (let dy = -WINDOW; dy <= WINDOW; dy++)
    for (let dx = -WINDOW; dx <= WINDOW; dx++) {
      if (dx === 0 && dy === 0) continue;
      const other = shifted(g, padded, margin, dy, dx);
      const distance = boxMean(g, square(g, sub(g, other, 'x')));
      // What noise alone makes of the distance does not count (twice its variance).
      const beyond = op(g, 'Relu', [sub(g, distance, scale(g, square(g, 'sigma'), 2))]);
      const weight = op(g, 'Exp', [op(g, 'Neg', [div(g, beyond, least)])]);
      sum = sum === undefined ? mul(g, weight, other) : add(g, sum, mul(g, weight, other));
      total = total === undefined ? weight : add(g, total, weight);
    }
  const result = div(g, add(g, sum!, 'x'), add(g, total!, num(g, 1)));
  const graph = encodeGraph({
    name: 'speckle',
    nodes: [...g.nodes, encodeNode('Identity', [result], ['y'], {})],
    constants: g.constants,
    inputs: [encodeValue('x', FLOAT, [1, 1, 'h', 'w']), encodeValue('sigma', FLOAT, [1, 1, 1, 1])],
    outputs: [encodeValue('y', FLOAT, [1, 1, 'h', 'w'])],
  });
  return encodeModel(graph, OPSET, 'isthmus');
}

function shifted(g: Draft, padded: Value, margin: number, dy: number, dx: number): Value {
  const from = [margin + dy, margin + dx];
  const to = [dy, dx].map((d) => (d < margin ? d - margin : Number.MAX_SAFE_INTEGER));
  return op(g, 'Slice', [padded, ints(g, ...from), ints(g, ...to), ints(g, 2, 3)]);
}

/** Mean over the patch, edges repeated: two one-dimensional convolutions. */
function boxMean(g: Draft, x: Value): Value {
  const taps = 2 * PATCH + 1;
  const weights = new Array<number>(taps).fill(1 / taps);
  const wide = op(g, 'Pad', [x, ints(g, 0, 0, PATCH, PATCH, 0, 0, PATCH, PATCH)], { mode: 'edge' });
  const down = op(g, 'Conv', [wide, floats(g, [1, 1, taps, 1], weights)], { kernel_shape: [taps, 1] });
  return op(g, 'Conv', [down, floats(g, [1, 1, 1, taps], weights)], { kernel_shape: [1, taps] });
}

if (import.meta.main) {
  const folder = join(import.meta.dirname, '..');
  writeFileSync(join(folder, 'model.onnx'), writeSpeckle());
  const [h, w] = [24, 20];
  const data = Float32Array.from({ length: h * w }, (_, i) => (i % w > 8 ? 120 : 60) + 15 * Math.sin(12.9898 * i));
  const sigma = Float32Array.of(10);
  const session = await openSession(join(folder, 'model.onnx'), { threads: 1, arena: false });
  const { y } = await session.run({ x: { dims: [1, 1, h, w], data }, sigma: { dims: [1, 1, 1, 1], data: sigma } });
  const bytes = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  writeFileSync(join(folder, 'selftest.in.f32'), Buffer.concat([bytes(data), bytes(sigma)]));
  writeFileSync(join(folder, 'selftest.out.f32'), bytes(y!.data));
}
