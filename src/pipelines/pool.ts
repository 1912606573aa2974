/**
 * Pipelines off the main thread: jobs wait for memory and a free worker thread, run within their time, and a worker that
 * dies or overruns is replaced. onnxruntime is never loaded on the main thread.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { Refusal } from '../dicom/refusal.ts';
import { closeWayIn, newBrake, type Brake } from './brake.ts';
import { denoiseMemoryMb } from './correction.ts';
import { GatesRefusal } from './gates.ts';
import { loadModel } from './manifest.ts';
import type { ModelCard } from './manifest.ts';
import { registrationMemoryMb, settingsWithin } from './registration-settings.ts';
import { MODEL_OF, buffersOf } from './requests.ts';
import { textMemoryMb } from './text-detection.ts';
import type {
  BuiltIn,
  JobMessage,
  PipelineName,
  Requests,
  Results,
  WorkerMessage,
  WorkerSettings,
} from './requests.ts';
import { zooMemoryMb } from './zoo.ts';
import { loadManifests, type ManifestModel } from './zoo-manifest.ts';

export interface PoolOptions {
  /** Processor threads for all pipelines together. */
  readonly threads: number;
  /** All running jobs together, by estimate. */
  readonly maxMemoryMb: number;
  readonly modelsFolder: string;
  /** The site's own models; every one is opened and tested before the first job. */
  readonly siteModelsFolder?: string | undefined;
  /** Jobs after which a worker is replaced, because onnxruntime does not give all memory back (default 20). */
  readonly jobsPerWorker?: number;
}

export interface RunOptions {
  /** Time of the run itself; waiting for a worker does not count. Default: the card's. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (step: string, share: number) => void;
}

export interface Pool {
  /** Cards of the models that are there, by pipeline: what derived objects say about the algorithm comes from them. */
  readonly cards: ReadonlyMap<BuiltIn, ModelCard>;
  /** Models with a manifest, by id. */
  readonly zoo: ReadonlyMap<string, ManifestModel>;
  readonly options: PoolOptions;
  readonly workers: Set<PoolWorker>;
  readonly waiting: Job[];
  readonly workerLimit: number;
  nextJob: number;
  closed: boolean;
}

interface PoolWorker {
  readonly thread: Worker;
  readonly brake: Brake;
  job: Job | undefined;
  jobsDone: number;
  /** Told to end; takes no more jobs. */
  ending: boolean;
}

interface Job {
  readonly message: JobMessage;
  readonly memoryMb: number;
  readonly timeoutMs: number;
  readonly onProgress: (step: string, share: number) => void;
  readonly succeed: (result: Results[PipelineName]) => void;
  readonly fail: (error: unknown) => void;
  timer: NodeJS.Timeout | undefined;
}

const JOBS_PER_WORKER = 20;
/** onnxruntime uses a second thread well, a fourth hardly: more cores are better spent on a second job. */
const THREADS_PER_WORKER = 4;

/** Checks every model that is there; workers start with the first job. @throws Refusal BadConfiguration */
export async function openPool(options: PoolOptions): Promise<Pool> {
  const cards = new Map<BuiltIn, ModelCard>();
  for (const [pipeline, folder] of Object.entries(MODEL_OF) as [BuiltIn, string][]) {
    const path = join(options.modelsFolder, folder);
    if (existsSync(join(path, 'card.yaml'))) cards.set(pipeline, loadModel(path).card);
  }
  const workerLimit = Math.max(1, Math.floor(options.threads / THREADS_PER_WORKER));
  const site = options.siteModelsFolder;
  const zoo = loadManifests([options.modelsFolder, ...(site === undefined ? [] : [site])]);
  const pool: Pool = { cards, zoo, options, workers: new Set(), waiting: [], workerLimit, nextJob: 1, closed: false };
  if (site !== undefined) await probeSite(pool, site);
  return pool;
}

/** @throws Refusal BadConfiguration for a model of the site that does not open, does not pass its self-test, or takes too much memory */
async function probeSite(pool: Pool, site: string): Promise<void> {
  try {
    for (const { card, folder } of pool.zoo.values()) {
      if (dirname(folder) !== site) continue;
      const { maxMemoryMB, timeoutMs } = card.runtime;
      await submit(pool, { pipeline: 'probe', folder, request: { probe: true }, memoryMb: maxMemoryMB, timeoutMs }, {});
    }
  } catch (error) {
    await closePool(pool);
    throw error;
  }
}

/** Fails what waits and runs, ends the threads. */
export async function closePool(pool: Pool): Promise<void> {
  pool.closed = true;
  const closing = new Refusal('OutOfResources', 'the pipelines are shutting down');
  for (const job of pool.waiting.splice(0)) job.fail(closing);
  await Promise.all(
    [...pool.workers].map(async (worker) => {
      failJob(worker, closing);
      await end(worker);
    }),
  );
}

/** Registers moving to fixed. The voxels of both volumes move to the worker: the caller's arrays are empty afterwards. */
export function runRegistration(pool: Pool, request: Requests['register'], options: RunOptions = {}) {
  return run(pool, 'register', request, options);
}

/** Takes noise out of a CT volume. Its voxels move to the worker: the caller's array is empty afterwards. */
export function runDenoising(pool: Pool, request: Requests['denoise'], options: RunOptions = {}) {
  return run(pool, 'denoise', request, options);
}

/** Finds burned-in text. The pixels move to the worker: the caller's array is empty afterwards. */
export function runTextDetection(pool: Pool, request: Requests['text'], options: RunOptions = {}) {
  return run(pool, 'text', request, options);
}

/** Runs a model that has a manifest and makes an image. The voxels move to the worker: the caller's array is empty afterwards. */
export function runZoo(pool: Pool, id: string, request: Requests['zoo'], options: RunOptions = {}) {
  return runByManifest(pool, 'zoo', { id, request }, options);
}

/** Runs a model that has a manifest and makes masks. The voxels move to the worker: the caller's array is empty afterwards. */
export function runMasks(pool: Pool, id: string, request: Requests['masks'], options: RunOptions = {}) {
  return runByManifest(pool, 'masks', { id, request }, options);
}

async function runByManifest<P extends 'zoo' | 'masks'>(
  pool: Pool,
  pipeline: P,
  { id, request }: { readonly id: string; readonly request: Requests[P] },
  options: RunOptions,
): Promise<Results[P]> {
  const model = pool.zoo.get(id);
  if (model === undefined) throw new Refusal('BadConfiguration', `there is no model ${id}`);
  const { card, folder } = model;
  const memoryMb = zooMemoryMb(card, request.volume);
  const limitMb = Math.min(pool.options.maxMemoryMb, card.runtime.maxMemoryMB);
  if (memoryMb > limitMb) throw new Refusal('PipelineRefused', `${id} needs ${memoryMb} MB; ${limitMb} MB are allowed`);
  const timeoutMs = Math.min(options.timeoutMs ?? Infinity, card.runtime.timeoutMs);
  return submit(pool, { pipeline, folder, request, memoryMb, timeoutMs }, options);
}

/** @throws Refusal of the pipeline, or OutOfResources when time or worker is lost; Error when the pipeline has a fault */
async function run<P extends BuiltIn>(
  pool: Pool,
  pipeline: P,
  request: Requests[P],
  options: RunOptions,
): Promise<Results[P]> {
  const card = pool.cards.get(pipeline);
  if (card === undefined) throw new Refusal('BadConfiguration', `there is no model ${MODEL_OF[pipeline]}`);
  const limitMb = Math.min(pool.options.maxMemoryMb, card.runtime.maxMemoryMb);
  const { fitted, memoryMb } = admitted({ pipeline, request } as Asked, limitMb);
  const folder = join(pool.options.modelsFolder, MODEL_OF[pipeline]);
  const timeoutMs = options.timeoutMs ?? card.runtime.timeoutMs;
  // What was fitted is a request of the same pipeline.
  return submit(pool, { pipeline, folder, request: fitted as Requests[P], memoryMb, timeoutMs }, options);
}

interface Submission<P extends PipelineName> {
  readonly pipeline: P;
  readonly folder: string;
  readonly request: Requests[P];
  readonly memoryMb: number;
  readonly timeoutMs: number;
}

/** Waits for memory and a worker, then for the result. */
async function submit<P extends PipelineName>(
  pool: Pool,
  { pipeline, folder, request, memoryMb, timeoutMs }: Submission<P>,
  options: RunOptions,
): Promise<Results[P]> {
  if (pool.closed) throw new Refusal('OutOfResources', 'the pipelines are shutting down');
  options.signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Results[PipelineName]>();
  const job: Job = {
    message: { job: pool.nextJob++, pipeline, folder, request: withOwnBuffers(request) },
    memoryMb,
    timeoutMs,
    onProgress: options.onProgress ?? (() => undefined),
    succeed: resolve,
    fail: reject,
    timer: undefined,
  };
  const abort = () => cancel(pool, job, options.signal?.reason);
  options.signal?.addEventListener('abort', abort, { once: true });
  pool.waiting.push(job);
  startWaiting(pool);
  try {
    // A worker answers a job with the result of that job's pipeline.
    return (await promise) as Results[P];
  } finally {
    options.signal?.removeEventListener('abort', abort);
  }
}

type Asked = { [P in BuiltIn]: { readonly pipeline: P; readonly request: Requests[P] } }[BuiltIn];

/** The request as it can run within the memory, and what it needs. @throws Refusal PipelineRefused when nothing fits */
function admitted(asked: Asked, limitMb: number): { fitted: Requests[BuiltIn]; memoryMb: number } {
  switch (asked.pipeline) {
    case 'register': {
      const fitted = { ...asked.request, settings: settingsWithin(asked.request, limitMb) };
      return { fitted, memoryMb: registrationMemoryMb(fitted) };
    }
    case 'denoise': {
      const memoryMb = denoiseMemoryMb(asked.request.volume);
      if (memoryMb > limitMb) {
        throw new Refusal('PipelineRefused', `denoising needs ${memoryMb} MB; ${limitMb} MB are allowed`);
      }
      return { fitted: asked.request, memoryMb };
    }
    case 'text':
      return { fitted: asked.request, memoryMb: textMemoryMb(asked.request) };
    default:
      return asked satisfies never;
  }
}

/** Starts waiting jobs in order of arrival, as long as memory and workers allow. */
function startWaiting(pool: Pool): void {
  for (;;) {
    const job = pool.waiting[0];
    if (job === undefined || pool.closed) return;
    const used = [...pool.workers].reduce((sum, worker) => sum + (worker.job?.memoryMb ?? 0), 0);
    if (used > 0 && used + job.memoryMb > pool.options.maxMemoryMb) return;
    const idle = [...pool.workers].find((worker) => worker.job === undefined && !worker.ending);
    // A thread that was told to end still holds its memory until it is gone, so it still counts.
    if (idle === undefined && pool.workers.size >= pool.workerLimit) return;
    pool.waiting.shift();
    start(idle ?? newWorker(pool), job);
  }
}

function start(worker: PoolWorker, job: Job): void {
  worker.job = job;
  job.timer = setTimeout(() => {
    const sentence = `${job.message.pipeline} did not end within ${job.timeoutMs} ms`;
    failJob(worker, new Refusal('OutOfResources', sentence));
    void end(worker);
  }, job.timeoutMs);
  worker.thread.ref();
  worker.thread.postMessage(job.message, [...buffersOf(job.message)]);
}

function newWorker(pool: Pool): PoolWorker {
  const { threads } = pool.options;
  const brake = newBrake();
  const workerData: WorkerSettings = {
    threads: Math.max(1, Math.floor(threads / pool.workerLimit)),
    brake,
  };
  const thread = new Worker(new URL('./worker.ts', import.meta.url), { workerData, name: 'pipeline' });
  const worker: PoolWorker = { thread, brake, job: undefined, jobsDone: 0, ending: false };
  pool.workers.add(worker);
  thread.on('message', (message: WorkerMessage) => receive(pool, worker, message));
  // An error event is always followed by exit; it carries no patient's value, only what broke in our code.
  thread.on('error', (error) => {
    worker.ending = true;
    failJob(
      worker,
      new Refusal(
        'OutOfResources',
        `the pipeline's worker died: ${error instanceof Error ? error.message : 'unknown'}`,
      ),
    );
  });
  thread.on('exit', (code) => {
    pool.workers.delete(worker);
    failJob(worker, new Refusal('OutOfResources', `the pipeline's worker ended with code ${code}`));
    startWaiting(pool);
  });
  return worker;
}

function receive(pool: Pool, worker: PoolWorker, message: WorkerMessage): void {
  const { job } = worker;
  if (job === undefined || job.message.job !== message.job) return;
  if (message.kind === 'progress') return job.onProgress(message.step, message.share);
  clearTimeout(job.timer);
  worker.job = undefined;
  worker.jobsDone += 1;
  // An idle worker does not keep the process alive.
  worker.thread.unref();
  switch (message.kind) {
    case 'result':
      job.succeed(message.result);
      break;
    case 'refusal':
      job.fail(
        message.findings === undefined
          ? new Refusal(message.reason, message.sentence)
          : new GatesRefusal(message.sentence, message.findings),
      );
      break;
    case 'fault':
      job.fail(new Error(`${job.message.pipeline}: ${message.message}`, { cause: message.stack }));
      break;
    default:
      message satisfies never;
  }
  if (worker.jobsDone >= (pool.options.jobsPerWorker ?? JOBS_PER_WORKER)) void end(worker);
  startWaiting(pool);
}

function failJob(worker: PoolWorker, error: unknown): void {
  const { job } = worker;
  if (job === undefined) return;
  clearTimeout(job.timer);
  worker.job = undefined;
  job.fail(error);
}

function cancel(pool: Pool, job: Job, reason: unknown): void {
  const place = pool.waiting.indexOf(job);
  if (place >= 0) {
    pool.waiting.splice(place, 1);
    job.fail(reason);
    return;
  }
  const worker = [...pool.workers].find((one) => one.job === job);
  if (worker === undefined) return;
  failJob(worker, reason);
  void end(worker);
}

/** A thread inside onnxruntime is ended when that call has returned. */
async function end(worker: PoolWorker): Promise<void> {
  worker.ending = true;
  // An unreferenced thread would let the process end before the thread has.
  worker.thread.ref();
  const gone = new Promise<void>((resolve) => worker.thread.once('exit', () => resolve()));
  await Promise.race([closeWayIn(worker.brake), gone]);
  await worker.thread.terminate();
}

/** Arrays that are part of a larger buffer, or shared between two places of the request, are copied before they move. */
function withOwnBuffers<T>(value: T, seen: Set<ArrayBufferLike> = new Set()): T {
  if (value instanceof Float32Array || value instanceof Uint8Array) {
    const own = value.byteLength === value.buffer.byteLength && !seen.has(value.buffer);
    const array = own && value.buffer instanceof ArrayBuffer ? value : value.slice();
    seen.add(array.buffer);
    return array as T;
  }
  if (Array.isArray(value)) return value.map((part) => withOwnBuffers<unknown>(part, seen)) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, withOwnBuffers(part, seen)])) as T;
}
