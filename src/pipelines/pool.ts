/**
 * Pipelines off the main thread: jobs wait for memory and a free worker, run within their time and memory, and a worker that dies or
 * overruns is replaced. A worker is a process of its own, so that a native crash costs a job and not the gateway; onnxruntime is never
 * loaded on the main thread.
 */
import { existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Refusal } from '../dicom/refusal.ts';
import type { Volume } from '../dicom/volume.ts';
import { denoiseMemoryMb } from './correction.ts';
import { GatesRefusal } from './gates.ts';
import { loadModel, refuseModel } from './manifest.ts';
import type { ModelCard } from './manifest.ts';
import { registrationMemoryMb, settingsWithin } from './registration-settings.ts';
import { MODEL_OF } from './requests.ts';
import type { Provider } from './session.ts';
import { startProcess, startThread, type Runner } from './runner.ts';
import { openParcels } from './parcels.ts';
import { textMemoryMb } from './text-detection.ts';
import type { BuiltIn, JobMessage, PipelineName, Probe, Requests, Results, WorkerMessage } from './requests.ts';
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
  /** Resident memory of an idle worker process beyond which it is replaced (default 1500). */
  readonly idleMemoryMb?: number;
  /**
   * process (default): the voxels go through files in the temporary folder. thread: nothing leaves the process; for pixels that still
   * name somebody, and small jobs.
   */
  readonly isolation?: 'process' | 'thread';
  /** Where graphs run (default: the CPU); with `fallback`, on the CPU where the provider is not offered. */
  readonly provider?: (Provider & { readonly fallback?: 'cpu' | undefined }) | undefined;
}

export interface RunOptions {
  /** Time of the run itself; waiting for a worker does not count. At most the card's, which is the default. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (step: string, share: number) => void;
}

export interface Pool {
  /** Cards of the models that are there, by pipeline: what derived objects say about the algorithm comes from them. */
  readonly cards: ReadonlyMap<BuiltIn, ModelCard>;
  /** Models with a manifest, by id. */
  readonly zoo: ReadonlyMap<string, ManifestModel>;
  /** What the memory probe found of the site's own models, by id. */
  readonly probes: Map<string, Probe>;
  readonly options: PoolOptions;
  readonly workers: Set<PoolWorker>;
  readonly waiting: Job[];
  readonly workerLimit: number;
  /** Folder for what goes to worker processes; undefined with threads. */
  readonly parcels: string | undefined;
  /** Undefined: the CPU. */
  provider: Provider | undefined;
  nextJob: number;
  closed: boolean;
}

interface PoolWorker {
  readonly runner: Runner;
  job: Job | undefined;
  jobsDone: number;
  /** Told to end; takes no more jobs. */
  ending: boolean;
}

interface Job {
  readonly message: JobMessage;
  readonly memoryMb: number;
  readonly budgetMb: number;
  readonly timeoutMs: number;
  readonly onProgress: (step: string, share: number) => void;
  readonly succeed: (result: Results[PipelineName]) => void;
  readonly fail: (error: unknown) => void;
  timer: NodeJS.Timeout | undefined;
  /** Looks at the worker's memory. */
  watch: NodeJS.Timeout | undefined;
}

const JOBS_PER_WORKER = 20;
const IDLE_MEMORY_MB = 1500;
/** What Node and onnxruntime take in a worker process before any job. */
const BASE_MB = 300;
const WATCH_MS = 250;
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
  const parcels = options.isolation === 'thread' ? undefined : openParcels();
  const pool: Pool = {
    cards,
    zoo,
    probes: new Map(),
    options,
    workers: new Set(),
    waiting: [],
    workerLimit,
    parcels,
    provider: undefined,
    nextJob: 1,
    closed: false,
  };
  if (options.provider !== undefined && options.provider.name !== 'cpu') await chooseProvider(pool, options.provider);
  if (site !== undefined) await probeSite(pool, site);
  return pool;
}

/** Asked of a worker, since onnxruntime is not for this thread. @throws Refusal BadConfiguration naming what there is */
async function chooseProvider(
  pool: Pool,
  { name, deviceId, fallback }: NonNullable<PoolOptions['provider']>,
): Promise<void> {
  const ask = { pipeline: 'provider', folder: '', request: { ask: true }, memoryMb: 1, budgetMb: 1000 } as const;
  try {
    const { offered } = await submit(pool, { ...ask, timeoutMs: PROVIDER_MS }, {});
    if (offered.includes(name)) {
      pool.provider = { name, deviceId };
      // The worker that was asked has been opened for the CPU.
      await Promise.all([...pool.workers].map(end));
    } else if (fallback === undefined)
      throw new Refusal(
        'BadConfiguration',
        `pipelines.provider is ${name}; onnxruntime offers ${offered.join(', ')} on this machine (pipelines.fallback: cpu would run on the CPU)`,
      );
  } catch (error) {
    await closePool(pool);
    throw error;
  }
}

const PROVIDER_MS = 60_000;

/** @throws Refusal BadConfiguration for a model of the site that does not open, does not pass its self-test, or takes too much memory */
async function probeSite(pool: Pool, site: string): Promise<void> {
  try {
    for (const { card, folder } of pool.zoo.values()) {
      if (dirname(folder) !== site) continue;
      const { maxMemoryMB, timeoutMs } = card.runtime;
      const probe = await submit(
        pool,
        {
          pipeline: 'probe',
          folder,
          request: { probe: true },
          memoryMb: maxMemoryMB,
          budgetMb: maxMemoryMB,
          timeoutMs,
        },
        {},
      ).catch((error: unknown) => {
        // Time and memory that ran out, or a worker that died of it: which model it was the worker did not say.
        if (error instanceof Refusal && error.reason === 'OutOfResources') refuseModel(folder, error.message);
        throw error;
      });
      pool.probes.set(card.id, probe);
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
  if (pool.parcels !== undefined) rmSync(pool.parcels, { recursive: true, force: true });
}

/** Registers moving to fixed. The voxels of both volumes move to the worker: the caller's arrays are empty afterwards. */
export function runRegistration(pool: Pool, request: Requests['register'], options: RunOptions = {}) {
  return request.settings.transform === 'deformable'
    ? run(pool, 'register', request, options)
    : run(pool, 'align', request, options);
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
  const memoryMb = zooMemoryMb(card, request.volume, pool.probes.get(id));
  const limitMb = Math.min(pool.options.maxMemoryMb, card.runtime.maxMemoryMB);
  if (memoryMb > limitMb) throw new Refusal('PipelineRefused', `${id} needs ${memoryMb} MB; ${limitMb} MB are allowed`);
  const timeoutMs = timeAllowed(card.runtime, request.volume, options);
  return submit(pool, { pipeline, folder, request, memoryMb, budgetMb: limitMb, timeoutMs }, options);
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
  const timeoutMs = timeAllowed(card.runtime, 'volume' in request ? request.volume : undefined, options);
  // What was fitted is a request of the same pipeline.
  return submit(
    pool,
    { pipeline, folder, request: fitted as Requests[P], memoryMb, budgetMb: limitMb, timeoutMs },
    options,
  );
}

/** What the card allows for so many slices, or less where the caller says so. */
function timeAllowed(
  { timeoutMs, timeoutMsPerSlice = 0 }: { readonly timeoutMs: number; readonly timeoutMsPerSlice?: number },
  volume: Volume | undefined,
  options: RunOptions,
): number {
  const allowed = timeoutMs + timeoutMsPerSlice * (volume?.geometry.slices ?? 0);
  return Math.min(options.timeoutMs ?? Infinity, allowed);
}

interface Submission<P extends PipelineName> {
  readonly pipeline: P;
  readonly folder: string;
  readonly request: Requests[P];
  /** By estimate: what a job waits for. */
  readonly memoryMb: number;
  /** What the model may take: beyond it the job is stopped. */
  readonly budgetMb: number;
  readonly timeoutMs: number;
}

/** Waits for memory and a worker, then for the result. */
async function submit<P extends PipelineName>(
  pool: Pool,
  { pipeline, folder, request, memoryMb, budgetMb, timeoutMs }: Submission<P>,
  options: RunOptions,
): Promise<Results[P]> {
  if (pool.closed) throw new Refusal('OutOfResources', 'the pipelines are shutting down');
  options.signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Results[PipelineName]>();
  const job: Job = {
    message: { job: pool.nextJob++, pipeline, folder, request: withOwnBuffers(request) },
    memoryMb,
    budgetMb,
    timeoutMs,
    onProgress: options.onProgress ?? (() => undefined),
    succeed: resolve,
    fail: reject,
    timer: undefined,
    watch: undefined,
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
    case 'register':
    case 'align': {
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
  const { pipeline } = job.message;
  const stop = (sentence: string): void => {
    failJob(worker, new Refusal('OutOfResources', sentence));
    void end(worker);
  };
  job.timer = setTimeout(() => stop(`${pipeline} did not end within ${job.timeoutMs} ms`), job.timeoutMs);
  const most = job.budgetMb + BASE_MB;
  const look = (): void => {
    const taken = worker.runner.residentMb();
    if (taken !== undefined && taken > most)
      stop(`${pipeline} took ${Math.round(taken)} MB of memory where ${most} MB are allowed`);
  };
  job.watch = setInterval(look, WATCH_MS);
  worker.runner.hold(true);
  worker.runner.send(job.message);
}

function newWorker(pool: Pool): PoolWorker {
  const threads = Math.max(1, Math.floor(pool.options.threads / pool.workerLimit));
  const events = {
    message: (message: WorkerMessage) => receive(pool, worker, message),
    error: (sentence: string) => {
      worker.ending = true;
      failJob(worker, new Refusal('OutOfResources', `the pipeline's worker died: ${sentence}`));
    },
    exit: (how: string) => {
      pool.workers.delete(worker);
      failJob(worker, new Refusal('OutOfResources', `the pipeline's worker ended with ${how}`));
      startWaiting(pool);
    },
  };
  const settings = { threads, provider: pool.provider };
  const runner =
    pool.parcels === undefined ? startThread(settings, events) : startProcess(settings, pool.parcels, events);
  const worker: PoolWorker = { runner, job: undefined, jobsDone: 0, ending: false };
  pool.workers.add(worker);
  return worker;
}

function receive(pool: Pool, worker: PoolWorker, message: WorkerMessage): void {
  const { job } = worker;
  if (job === undefined || job.message.job !== message.job) return;
  if (message.kind === 'progress') return job.onProgress(message.step, message.share);
  clearTimeout(job.timer);
  clearInterval(job.watch);
  worker.job = undefined;
  worker.jobsDone += 1;
  // An idle worker does not keep the process alive.
  worker.runner.hold(false);
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
  const grown = (worker.runner.residentMb() ?? 0) > (pool.options.idleMemoryMb ?? IDLE_MEMORY_MB);
  if (grown || worker.jobsDone >= (pool.options.jobsPerWorker ?? JOBS_PER_WORKER)) void end(worker);
  startWaiting(pool);
}

function failJob(worker: PoolWorker, error: unknown): void {
  const { job } = worker;
  if (job === undefined) return;
  clearTimeout(job.timer);
  clearInterval(job.watch);
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

async function end(worker: PoolWorker): Promise<void> {
  worker.ending = true;
  await worker.runner.end();
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
