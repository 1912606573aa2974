/** The thread of checkpoints.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { openDatabase } from '../database.ts';

/** From here on the log is begun anew, 16 MiB, and not only copied. */
const RESTART_PAGES = 4096;
/** Nobody may wait long for a lock of this thread, nor it for theirs: it comes again. */
const BUSY_MS = 100;
/** After so long without work the log gives its space back. */
const IDLE_MS = 5000;

const database = openDatabase(String(workerData));
database.get(`PRAGMA busy_timeout = ${BUSY_MS}`);
let idle: NodeJS.Timeout | undefined;

parentPort?.on('message', (wish: 'copy' | 'close') => {
  clearTimeout(idle);
  if (wish === 'close') {
    database.close();
    parentPort?.close();
    return;
  }
  // Beside those who write; what they add meanwhile is left for the next time.
  const pages = checkpoint('PASSIVE');
  if (pages >= RESTART_PAGES) {
    // RESTART keeps writers out while it copies: little is left for it.
    checkpoint('PASSIVE');
    checkpoint('RESTART');
  }
  parentPort?.postMessage('copied');
  idle = setTimeout(() => checkpoint('TRUNCATE'), IDLE_MS);
});

/** @returns how many pages the log holds; where somebody is in the way less is done, and that is no error */
function checkpoint(mode: 'PASSIVE' | 'RESTART' | 'TRUNCATE'): number {
  return Number(database.get(`PRAGMA wal_checkpoint(${mode})`)?.['log']);
}
