/** The files of a folder shared out among threads: each takes the next ones from one counter until there are none. */
import { setImmediate } from 'node:timers/promises';
import { openJob, type FileOutcome, type JobSettings } from './deidentify-job.ts';

/** Can be given to a thread. */
export interface Share {
  readonly settings: JobSettings;
  readonly files: readonly string[];
  /** Files taken at a time: what the crosswalk has to remember of them is written at once. */
  readonly batch: number;
  /** In memory that all threads share: the position of the first file that nobody has taken. */
  readonly next: Int32Array;
}

/** Outcomes of files that follow one another, and the position of the first. */
export interface BatchDone {
  readonly from: number;
  readonly outcomes: readonly FileOutcome[];
}

export async function runShare(
  { settings, files, batch, next }: Share,
  done: (batch: BatchDone) => void,
): Promise<void> {
  const job = await openJob(settings);
  try {
    for (;;) {
      const from = Atomics.add(next, 0, batch);
      if (from >= files.length) return;
      done({ from, outcomes: await job.run(files.slice(from, from + batch)) });
      // What other threads have sent is taken in between.
      await setImmediate();
    }
  } finally {
    await job.close();
  }
}

/** Nothing more is taken: each thread ends what it has begun. */
export function endShare({ files, next }: Share): void {
  Atomics.store(next, 0, files.length);
}
