/** A model of a hospital that makes masks: one convolution of one voxel as ONNX bytes, logits[c] = weight[c] * x + bias[c]. */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  FLOAT,
  encodeGraph,
  encodeModel,
  encodeNode,
  encodeTensor,
  encodeValue,
} from '../../models/register/train/onnx.ts';

export interface SiteMasks {
  readonly dims?: '2d-slice' | '3d-volume';
  /** Weight and bias of each channel. */
  readonly channels: readonly (readonly [weight: number, bias: number])[];
  readonly applies?: string;
  readonly pre?: string;
  readonly post?: string;
  readonly gates?: string;
  readonly segmentation?: 'binary' | 'fractional';
  readonly segments: string;
  readonly task?: string;
  readonly outputRole?: string;
  readonly kind?: string;
}

const CODES = `category: { code: '123037004', scheme: SCT, meaning: Anatomical Structure }, type: { code: '39607008', scheme: SCT, meaning: Lung }`;

/** A segment of a card, in YAML. */
export function segment(name: string, channel: number, more = ''): string {
  return `    - { name: ${name}, label: ${name}, channel: ${channel}, ${CODES}${more} }\n`;
}

function floats(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => bytes.writeFloatLE(value, i * 4));
  return bytes;
}

export function writeSiteMasks(folder: string, id: string, model: SiteMasks): void {
  const at = join(folder, id);
  mkdirSync(at, { recursive: true });
  const flat = (model.dims ?? '2d-slice') === '2d-slice';
  const free = flat ? ['h', 'w'] : ['d', 'h', 'w'];
  const ones = free.map(() => 1);
  const { channels } = model;
  const graph = encodeGraph({
    name: id,
    nodes: [encodeNode('Conv', ['x', 'weight', 'bias'], ['y'], {})],
    constants: [
      encodeTensor('weight', FLOAT, [channels.length, 1, ...ones], floats(channels.map(([weight]) => weight))),
      encodeTensor('bias', FLOAT, [channels.length], floats(channels.map(([, bias]) => bias))),
    ],
    inputs: [encodeValue('x', FLOAT, ['n', 1, ...free])],
    outputs: [encodeValue('y', FLOAT, ['n', channels.length, ...free])],
  });
  const onnx = encodeModel(graph, 17, 'a hospital');
  writeFileSync(join(at, 'model.onnx'), onnx);
  const given = [1, 2, 3, 4, 5, 6, 7, 8];
  const inputDims = flat ? [1, 1, 2, 4] : [1, 1, 2, 2, 2];
  writeFileSync(join(at, 'in.f32'), floats(given));
  writeFileSync(
    join(at, 'out.f32'),
    floats(channels.flatMap(([weight, bias]) => given.map((value) => weight * value + bias))),
  );
  writeFileSync(
    join(at, 'card.yaml'),
    `schema: 1
id: ${id}
version: 1.2.0
task: ${model.task ?? 'segment'}
file: model.onnx
sha256: '${createHash('sha256').update(onnx).digest('hex')}'
opset: 17
applies: ${model.applies ?? '{ Modality: [CT] }'}
io:
  dims: ${model.dims ?? '2d-slice'}
  inputs: [{ name: x, role: image }]
  outputs: [{ name: y, role: ${model.outputRole ?? 'mask'} }]
pre: ${model.pre ?? '[{ op: rescaleHU }]'}
post: ${model.post ?? '[{ op: softmax }, { op: argmax }]'}
runtime: { timeoutMs: 20000, maxMemoryMB: 500 }
gates: ${model.gates ?? '{}'}
emit:
  kind: ${model.kind ?? 'segmentation'}
  segmentation: ${model.segmentation ?? 'binary'}
  segments:
${model.segments}  seriesSuffix: '[SEG]'
  algorithm: { name: ${id}, family: { code: '123110', scheme: DCM, meaning: Artificial Intelligence } }
selfTest: { input: in.f32, output: out.f32, inputDims: [[${inputDims.join(', ')}]], tolerance: 0.001 }
`,
  );
}

/** Background beside air (below -500 HU) and bone (above 250 HU). */
export const AIR_AND_BONE: SiteMasks = {
  channels: [
    [0, 0],
    [-0.05, -25],
    [0.05, -12.5],
  ],
  segments: segment('air', 1, ', colour: [0, 120, 255]') + segment('bone', 2),
};
