/**
 * A loaded ONNX graph; the only importer of onnxruntime-node. `run` blocks the thread it is called on
 * (microsoft/onnxruntime#19611), so sessions are opened in worker threads and in tests, never on the main thread.
 */
import type { InferenceSession, Tensor as OrtTensor, TensorConstructor } from 'onnxruntime-node';
import { callInside, type Brake } from './brake.ts';

/** Row-major values, last dimension fastest. */
export interface Tensor {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** What the graph declares of one input or output: a fixed length or the name of a free dimension per axis. */
export interface TensorShape {
  readonly name: string;
  readonly type: string;
  readonly dims: readonly (number | string)[];
}

export interface Session {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly shapes: readonly TensorShape[];
  /** Runs the graph; `wanted` limits the outputs that are copied out (default: all of them). */
  run(feeds: Readonly<Record<string, Tensor>>, wanted?: readonly string[]): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

export interface SessionOptions {
  /** Threads inside one operator; operators run one after another. */
  readonly threads: number;
  /** Keep freed memory for the next run: on for many equal slices, off for volumes of changing shape. */
  readonly arena: boolean;
  /** Of the thread that opens it, when that thread may be ended in the middle. */
  readonly brake?: Brake | undefined;
  /** Where operators run; what the provider does not have runs on the CPU. Default: the CPU. */
  readonly provider?: Provider | undefined;
}

/** An execution provider of onnxruntime and, where there are several, the number of its device. */
export interface Provider {
  readonly name: string;
  readonly deviceId: number;
}

/** What this installation of onnxruntime offers. */
export async function offeredProviders(): Promise<string[]> {
  const { listSupportedBackends } = await import('onnxruntime-node');
  return listSupportedBackends().map(({ name }) => name);
}

/** Opens a graph file. Errors of the file come as onnxruntime's own Error; its warnings are silenced. */
export async function openSession(file: string, options: SessionOptions): Promise<Session> {
  // Loaded with the first graph: the threads that read manifests and never run one do without it.
  const { InferenceSession, Tensor: OrtTensor, env } = await import('onnxruntime-node');
  env.logLevel = 'error';
  const { brake } = options;
  const session = await callInside(brake, () =>
    InferenceSession.create(file, {
      executionProviders: providersOf(options.provider),
      intraOpNumThreads: options.threads,
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: 'all',
      enableCpuMemArena: options.arena,
      enableMemPattern: options.arena,
      logSeverityLevel: 3,
    }),
  );
  return {
    inputs: session.inputNames,
    outputs: session.outputNames,
    shapes: [...session.inputMetadata, ...session.outputMetadata].map(shapeOf),
    run: (feeds, wanted) => callInside(brake, () => run(session, feeds, wanted ?? session.outputNames, OrtTensor)),
    release: () => callInside(brake, () => session.release()),
  };
}

async function run(
  session: InferenceSession,
  feeds: Readonly<Record<string, Tensor>>,
  wanted: readonly string[],
  OrtTensor: TensorConstructor,
): Promise<Record<string, Tensor>> {
  const inputs: Record<string, OrtTensor> = {};
  for (const [name, { data, dims }] of Object.entries(feeds)) inputs[name] = new OrtTensor('float32', data, dims);
  const results = await session.run(inputs, [...wanted]);
  const outputs: Record<string, Tensor> = {};
  for (const name of wanted) {
    const result = results[name];
    if (!(result instanceof OrtTensor) || !(result.data instanceof Float32Array)) {
      throw new Error(`output ${name} is not a float32 tensor`);
    }
    // Copied, so that native memory is given back now and the caller may transfer the buffer to another thread.
    outputs[name] = { dims: [...result.dims], data: result.data.slice() };
    result.dispose();
  }
  return outputs;
}

function providersOf(provider: Provider | undefined): InferenceSession.ExecutionProviderConfig[] {
  if (provider === undefined || provider.name === 'cpu') return ['cpu'];
  const { name, deviceId } = provider;
  const chosen: InferenceSession.ExecutionProviderOption & { readonly deviceId: number } = { name, deviceId };
  return [chosen, 'cpu'];
}

function shapeOf(value: InferenceSession.ValueMetadata): TensorShape {
  return value.isTensor
    ? { name: value.name, type: value.type, dims: value.shape }
    : { name: value.name, type: 'not a tensor', dims: [] };
}
