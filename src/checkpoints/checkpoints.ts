/**
 * Copies what has been committed from SQLite's write-ahead log into the database, in a thread with a connection of its own. Left to
 * itself SQLite does it within the commit that fills the log, and everybody waits for the disk.
 */
import { Worker } from 'node:worker_threads';
import type { Database } from '../database.ts';
import type { Log } from '../log.ts';

export interface Checkpoints {
  /** Begun when there is something to copy. */
  thread: Worker | undefined;
  /** Undefined when nothing is to be begun any more. */
  quiet: NodeJS.Timeout | undefined;
}

/** Of some 25 pages each when instances arrive. */
const COMMITS_A_COPY = 64;
/** What SQLite itself does when the thread does not keep up, or one transaction writes this much: 64 MiB. */
const MOST_LOG_PAGES = 16_384;
const USUAL_LOG_PAGES = 1000;
/** When hardly anything has been committed for so long the log is emptied: what it held is in the database, and its space is given back. */
const QUIET_MS = 1000;
/** The clock commits too. */
const QUIET_COMMITS = 4;

export function startCheckpoints(database: Database, file: string, log: Log): Checkpoints {
  const checkpoints: Checkpoints = { thread: undefined, quiet: undefined };
  let commits = 0;
  let commitsLately = 0;
  let worthEmptying = false;
  let copying = false;
  database.get(`PRAGMA wal_autocheckpoint = ${MOST_LOG_PAGES}`);
  database.afterCommit(() => {
    commitsLately++;
    if (++commits < COMMITS_A_COPY || copying || checkpoints.quiet === undefined) return;
    commits = 0;
    copying = true;
    checkpoints.thread ??= startThread();
    checkpoints.thread.postMessage('copy');
  });
  const startThread = (): Worker => {
    const thread = new Worker(new URL('./worker.ts', import.meta.url), {
      workerData: file,
      name: 'checkpoints',
      resourceLimits: { maxYoungGenerationSizeMb: 1, maxOldGenerationSizeMb: 64 },
    });
    thread.unref();
    thread.on('message', () => (copying = false));
    thread.on('error', (error) => {
      // `copying` stays: nobody asks a thread that has ended, and SQLite does it as it is used to.
      log.error('checkpoints', { error: error instanceof Error ? error.name : 'unknown' });
      database.get(`PRAGMA wal_autocheckpoint = ${USUAL_LOG_PAGES}`);
    });
    return thread;
  };
  checkpoints.quiet = setInterval(() => {
    const quiet = commitsLately <= QUIET_COMMITS;
    commitsLately = 0;
    if (!quiet) worthEmptying = true;
    if (!quiet || !worthEmptying || copying) return;
    worthEmptying = false;
    copying = true;
    checkpoints.thread ??= startThread();
    checkpoints.thread.postMessage('empty');
  }, QUIET_MS).unref();
  return checkpoints;
}

/** To be called before the database is closed: the last connection takes the log away. */
export async function stopCheckpoints(checkpoints: Checkpoints): Promise<void> {
  clearInterval(checkpoints.quiet);
  checkpoints.quiet = undefined;
  const { thread } = checkpoints;
  if (thread === undefined || thread.threadId === -1) return;
  // Not events.once: a thread that fails as it starts ends too, and what failed has been told.
  const ended = new Promise<void>((resolve) => thread.once('exit', () => resolve()));
  thread.ref();
  thread.postMessage('close');
  await ended;
}
