/** A thread beside the command's own: takes its share of the files and, when that has ended, of the verification. */
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import type { Seen } from '../deidentify/verify.ts';
import type { BatchDone, Share } from './deidentify-share.ts';
import type { WorkerNews } from './deidentify-worker.ts';
import type { VerifyShare } from './verify-share.ts';

export interface FurtherThread {
  /** Resolves when nothing is left of the share it was started with. */
  readonly shared: Promise<void>;
  /** Tells what it saw of a piece; resolves when there is none left. */
  verify(share: VerifyShare, done: (piece: number, seen: Seen) => void): Promise<void>;
  end(): Promise<void>;
}

const YOUNG_MB = 8;

export function startThread(share: Share, takeAll: (done: BatchDone) => void): FurtherThread {
  // `main` keeps the heaps of threads small; one that makes objects all the time needs room for what dies young.
  setFlagsFromString(`--max-semi-space-size=${YOUNG_MB}`);
  setFlagsFromString(`--min-semi-space-size=${YOUNG_MB}`);
  const worker = new Worker(new URL('deidentify-worker.ts', import.meta.url), { workerData: share });
  let turn = Promise.withResolvers<void>();
  let take: (piece: number, seen: Seen) => void = () => undefined;
  let lost: Error | undefined;
  const lose = (error: Error): void => {
    lost ??= error;
    turn.reject(lost);
  };
  worker.on('error', lose);
  worker.on('exit', (code) => lose(new Error(`a thread ended with ${code}`)));
  worker.on('message', (news: WorkerNews) => {
    if (news.kind === 'batch') takeAll(news.batch);
    else if (news.kind === 'piece') take(news.piece, news.seen);
    else turn.resolve();
  });
  return {
    shared: turn.promise,
    verify(verification, done) {
      if (lost !== undefined) return Promise.reject(lost);
      take = done;
      turn = Promise.withResolvers<void>();
      worker.postMessage(verification);
      return turn.promise;
    },
    async end() {
      await worker.terminate();
    },
  };
}
