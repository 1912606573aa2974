/** A model folder as a hospital would bring it: y = factor * x as ONNX bytes, its card and its self-test. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  FLOAT,
  INT64,
  encodeGraph,
  encodeModel,
  encodeNode,
  encodeTensor,
  encodeValue,
} from '../../models/register/train/onnx.ts';

export interface SiteModel {
  readonly factor: number;
  readonly selfTestFactor?: number;
  readonly sha256?: string;
  readonly input?: string;
  readonly dims?: string;
  readonly axes?: readonly (string | number)[];
  readonly inputKeys?: string;
  readonly applies?: string;
  readonly pre?: string;
  readonly post?: string;
  readonly gates?: string;
  readonly role?: string;
  readonly task?: string;
  /** The graph holds its input so many times at once. */
  readonly copies?: number;
  readonly maxMemoryMB?: number;
  readonly opset?: number;
  /** The graph gives the mean of its input too, under this name. */
  readonly figure?: string;
  /** Lines at the end of the card. */
  readonly more?: string;
}

function floats(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => bytes.writeFloatLE(value, i * 4));
  return bytes;
}

function longs(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 8);
  values.forEach((value, i) => bytes.writeBigInt64LE(BigInt(value), i * 8));
  return bytes;
}

export function writeSiteModel(folder: string, id: string, model: SiteModel): void {
  const at = join(folder, id);
  mkdirSync(at, { recursive: true });
  const axes = model.axes ?? ['n', 1, 'h', 'w'];
  const { figure } = model;
  const graph = encodeGraph({
    name: id,
    nodes: [
      ...(model.copies === undefined
        ? [encodeNode('Mul', ['x', 'factor'], ['y'], {})]
        : [
            encodeNode('Tile', ['x', 'repeats'], ['many'], {}),
            encodeNode('ReduceMean', ['many'], ['mean'], { axes: [0] }),
            encodeNode('Mul', ['mean', 'factor'], ['y'], {}),
          ]),
      ...(figure === undefined ? [] : [encodeNode('ReduceMean', ['x'], [figure], { axes: [0, 1, 2, 3] })]),
    ],
    constants: [
      encodeTensor('factor', FLOAT, [], floats([model.factor])),
      encodeTensor('repeats', INT64, [4], longs([model.copies ?? 1, 1, 1, 1])),
    ],
    inputs: [encodeValue('x', FLOAT, axes)],
    outputs: [
      encodeValue('y', FLOAT, axes),
      ...(figure === undefined ? [] : [encodeValue(figure, FLOAT, [1, 1, 1, 1])]),
    ],
  });
  const onnx = encodeModel(graph, 17, 'a hospital');
  writeFileSync(join(at, 'model.onnx'), onnx);
  const dims = axes.map((side) => (typeof side === 'number' ? side : side === 'n' ? 1 : 3));
  const values = Array.from({ length: dims.reduce((product, side) => product * side, 1) }, (_, i) => i);
  writeFileSync(join(at, 'in.f32'), floats(values));
  writeFileSync(join(at, 'out.f32'), floats(values.map((value) => value * (model.selfTestFactor ?? model.factor))));
  writeFileSync(
    join(at, 'card.yaml'),
    `schema: 1
id: ${id}
version: 1.0.0
task: ${model.task ?? 'enhance'}
file: model.onnx
sha256: '${model.sha256 ?? createHash('sha256').update(onnx).digest('hex')}'
opset: ${model.opset ?? 17}
applies: ${model.applies ?? '{ Modality: [CT] }'}
io:
  dims: ${model.dims ?? '2d-slice'}
  inputs: [{ name: ${model.input ?? 'x'}, role: image${model.inputKeys ?? ''} }]
  outputs: [{ name: y, role: ${model.role ?? 'image'} }${figure === undefined ? '' : `, { name: ${figure}, role: figure }`}]
pre: ${model.pre ?? '[{ op: rescaleHU }]'}
post: ${model.post ?? '[{ op: blend, alpha: 1 }, { op: clampToStored }]'}
runtime: { timeoutMs: 20000, maxMemoryMB: ${model.maxMemoryMB ?? 500} }
gates: ${model.gates ?? '{}'}
emit:
  kind: derived-image
  imageType: [DERIVED, SECONDARY, HALVED]
  seriesSuffix: '[HALF]'
  algorithm: { name: ${id}, family: { code: '123110', scheme: DCM, meaning: Artificial Intelligence } }
selfTest: { input: in.f32, output: out.f32, inputDims: [[${dims.join(', ')}]], tolerance: 0.001 }
${model.more ?? ''}
`,
  );
}
