/**
 * Codecs off the main thread: a frame that hangs or breaks a codec costs its own answer and a thread, nothing else. Threads start with
 * the first frames and do not keep the process alive.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { Refusal } from '../dicom/refusal.ts';
import type { ImageLayout } from './image.ts';
import type { PictureLayout } from './picture.ts';
import type { PixelBox } from './jpeg-blank.ts';
import type { CodecRequest, DrawRequest, JobMessage, WorkerMessage } from './requests.ts';

export interface CodecPool {
  readonly options: Required<CodecPoolOptions>;
  readonly workers: Set<CodecWorker>;
  readonly waiting: Job[];
  nextJob: number;
  closed: boolean;
}

export interface CodecPoolOptions {
  /** Default: one a processor, up to 4. */
  readonly threads?: number;
  /** For one frame. Default 30 s. */
  readonly timeoutMs?: number;
  /** Frames that may wait for a thread; more are told to come again. Default 256. */
  readonly maxWaiting?: number;
  /** Frames after which a thread is replaced: codecs in WebAssembly never give memory back. Default 5000. */
  readonly jobsPerWorker?: number;
}

interface CodecWorker {
  readonly thread: Worker;
  job: Job | undefined;
  jobsDone: number;
  ending: boolean;
}

interface Job {
  readonly message: JobMessage;
  readonly succeed: (bytes: Buffer) => void;
  readonly fail: (error: Error) => void;
  timer: NodeJS.Timeout | undefined;
}

export function openCodecs(options: CodecPoolOptions = {}): CodecPool {
  return {
    options: {
      threads: Math.min(4, availableParallelism()),
      timeoutMs: 30_000,
      maxWaiting: 256,
      jobsPerWorker: 5000,
      ...options,
    },
    workers: new Set(),
    waiting: [],
    nextJob: 1,
    closed: false,
  };
}

/** Fails what waits and runs, ends the threads. */
export async function closeCodecs(pool: CodecPool): Promise<void> {
  pool.closed = true;
  const closing = new Refusal('OutOfResources', 'the codecs are shutting down');
  for (const job of pool.waiting.splice(0)) job.fail(closing);
  await Promise.all(
    [...pool.workers].map(async (worker) => {
      failJob(worker, closing);
      await end(worker);
    }),
  );
}

/**
 * One frame from a transfer syntax into another. @param frame not used by others: it moves to the thread when it fills its memory
 * @throws Refusal NotAcceptable when the frame cannot be read or has no form there, OutOfResources when time or the thread is lost
 */
export function convertFrame(
  pool: CodecPool,
  frame: Buffer,
  layout: ImageLayout,
  syntaxes: { readonly from: string; readonly to: string },
): Promise<Buffer> {
  return run(pool, { kind: 'convert', frame: owned(frame), layout, ...syntaxes });
}

/** Frames as a picture. @throws Refusal, as convertFrame does */
export function drawFrames(pool: CodecPool, request: Omit<DrawRequest, 'kind'>): Promise<Buffer> {
  const frames = request.frames.map((one) => ({ ...one, frame: owned(one.frame) }));
  return run(pool, { ...request, kind: 'draw', frames });
}

/** A PNG or GIF as native samples. @throws Refusal, as convertFrame does */
export function readPicture(pool: CodecPool, picture: Buffer, layout: PictureLayout): Promise<Buffer> {
  return run(pool, { kind: 'picture', frame: owned(picture), layout });
}

/** A JPEG frame, baseline or extended, with all MCUs blanked that the boxes touch. @throws Refusal, as convertFrame does */
export function blankFrame(
  pool: CodecPool,
  frame: Buffer,
  layout: ImageLayout,
  boxes: readonly PixelBox[],
): Promise<Buffer> {
  return run(pool, { kind: 'blank', frame: owned(frame), layout, boxes });
}

function owned(bytes: Uint8Array): Uint8Array {
  return bytes.byteLength === bytes.buffer.byteLength ? bytes : Uint8Array.from(bytes);
}

async function run(pool: CodecPool, request: CodecRequest): Promise<Buffer> {
  if (pool.closed) throw new Refusal('OutOfResources', 'the codecs are shutting down');
  if (pool.waiting.length >= pool.options.maxWaiting)
    throw new Refusal('OutOfResources', `${pool.waiting.length} frames already wait for a codec`);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const message: JobMessage = { job: pool.nextJob++, request };
  pool.waiting.push({ message, succeed: resolve, fail: reject, timer: undefined });
  startWaiting(pool);
  return promise;
}

function startWaiting(pool: CodecPool): void {
  while (pool.waiting.length > 0 && !pool.closed) {
    const idle = [...pool.workers].find((worker) => worker.job === undefined && !worker.ending);
    if (idle === undefined && pool.workers.size >= pool.options.threads) return;
    const job = pool.waiting.shift();
    if (job !== undefined) start(pool, idle ?? newWorker(pool), job);
  }
}

function start(pool: CodecPool, worker: CodecWorker, job: Job): void {
  worker.job = job;
  job.timer = setTimeout(() => {
    failJob(worker, new Refusal('NotAcceptable', `the codec did not end within ${pool.options.timeoutMs} ms`));
    void end(worker);
  }, pool.options.timeoutMs);
  worker.thread.ref();
  worker.thread.postMessage(job.message, transferOf(job.message.request));
}

function transferOf(request: CodecRequest): ArrayBuffer[] {
  const frames = request.kind === 'draw' ? request.frames.map(({ frame }) => frame) : [request.frame];
  return frames.map(({ buffer }) => buffer as ArrayBuffer);
}

function newWorker(pool: CodecPool): CodecWorker {
  const thread = new Worker(new URL('./worker.ts', import.meta.url), { name: 'codec' });
  const worker: CodecWorker = { thread, job: undefined, jobsDone: 0, ending: false };
  pool.workers.add(worker);
  thread.on('message', (message: WorkerMessage) => receive(pool, worker, message));
  // Always followed by exit.
  thread.on('error', () => failJob(worker, new Refusal('NotAcceptable', 'the codec died on the frame')));
  thread.on('exit', () => {
    pool.workers.delete(worker);
    failJob(worker, new Refusal('NotAcceptable', 'the codec died on the frame'));
    startWaiting(pool);
  });
  return worker;
}

function receive(pool: CodecPool, worker: CodecWorker, message: WorkerMessage): void {
  const { job } = worker;
  if (job?.message.job !== message.job) return;
  clearTimeout(job.timer);
  worker.job = undefined;
  worker.jobsDone += 1;
  worker.thread.unref();
  let spoilt = worker.jobsDone >= pool.options.jobsPerWorker;
  switch (message.kind) {
    case 'result': {
      const { bytes } = message;
      job.succeed(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
      break;
    }
    case 'refusal':
      spoilt ||= message.spoilt;
      job.fail(new Refusal(message.reason, message.sentence));
      break;
    case 'fault':
      spoilt = true;
      job.fail(new Error(`codec: ${message.message}`));
      break;
    default:
      message satisfies never;
  }
  if (spoilt) void end(worker);
  startWaiting(pool);
}

function failJob(worker: CodecWorker, error: Error): void {
  const { job } = worker;
  if (job === undefined) return;
  clearTimeout(job.timer);
  worker.job = undefined;
  job.fail(error);
}

async function end(worker: CodecWorker): Promise<void> {
  worker.ending = true;
  worker.thread.ref();
  await worker.thread.terminate();
}
