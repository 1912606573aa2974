/** The graphs of a model, opened and held against its card: tensors as declared, the self-test repeated. */
import { join } from 'node:path';
import type { Brake } from './brake.ts';
import { readInside, refuseModel } from './manifest.ts';
import type { Model } from './manifest.ts';
import { openSession } from './session.ts';
import type { Provider, Session, Tensor } from './session.ts';
import { at } from './space.ts';

/** Opens one graph of the model and checks that it takes and gives what the card says. @throws Refusal BadConfiguration */
export async function openGraph(
  model: Model,
  name: string,
  threads: number,
  brake?: Brake,
  provider?: Provider,
): Promise<Session> {
  const graph = model.card.graphs[name];
  if (graph === undefined) return refuseModel(model.folder, `there is no graph ${name}`);
  const file = join(model.folder, graph.file);
  const session = await openSession(file, { threads, arena: model.card.runtime.arena, brake, provider }).catch(
    (error: unknown) =>
      refuseModel(model.folder, `graph ${name}: onnxruntime does not load ${graph.file}: ${String(error)}`),
  );
  for (const tensor of [...graph.inputs, ...graph.outputs]) {
    const found = session.shapes.find((shape) => shape.name === tensor.name);
    const says = `float32 [${tensor.dims.join(',')}]`;
    const has = found === undefined ? 'no such tensor' : `${found.type} [${found.dims.join(',')}]`;
    if (has !== says) refuseModel(model.folder, `graph ${name}: ${tensor.name} is ${has}; the card says ${says}`);
  }
  const undeclared = session.inputs.filter((input) => !graph.inputs.some((tensor) => tensor.name === input));
  if (undeclared.length > 0)
    refuseModel(model.folder, `graph ${name}: the card lacks the inputs ${undeclared.join(', ')}`);
  if (model.card.selfTest?.graph === name) await runSelfTest(model, session);
  return session;
}

/** A runtime or processor that computes something else than the model's maker saw must not run it. */
async function runSelfTest({ folder, card }: Model, session: Session): Promise<void> {
  const { selfTest } = card;
  if (selfTest === undefined) return;
  const graph = card.graphs[selfTest.graph];
  const values = floatsOf(readInside(folder, join(folder, selfTest.input)));
  const feeds: Record<string, Tensor> = {};
  let from = 0;
  graph?.inputs.forEach(({ name }, i) => {
    const dims = selfTest.inputDims[i] ?? [];
    const length = dims.reduce((product, one) => product * one, 1);
    feeds[name] = { dims, data: values.slice(from, from + length) };
    from += length;
  });
  if (from !== values.length)
    refuseModel(folder, `self-test: ${selfTest.input} has ${values.length} values, expected ${from}`);
  const expected = floatsOf(readInside(folder, join(folder, selfTest.output)));
  const found = (await session.run(feeds))[graph?.outputs[0]?.name ?? '']?.data ?? new Float32Array(0);
  if (found.length !== expected.length) {
    refuseModel(folder, `self-test: the graph gives ${found.length} values, expected ${expected.length}`);
  }
  const worst = found.reduce((most, value, i) => Math.max(most, Math.abs(value - at(expected, i))), 0);
  if (!(worst <= selfTest.tolerance)) {
    refuseModel(folder, `self-test: the result differs by ${worst}; at most ${selfTest.tolerance} is allowed`);
  }
}

/** Little-endian float32 values of a file. */
export function floatsOf(bytes: Buffer): Float32Array {
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length - (bytes.length % 4)));
}
