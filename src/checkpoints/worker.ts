/** The thread of checkpoints.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { openDatabase } from '../database.ts';

/** From here on, 4 MiB, the log is begun anew and not only copied; its file keeps its size, since growing again would cost more. */
const RESTART_PAGES = 1024;
/** Nobody may wait long for a lock of this thread, nor it for theirs: it comes again. */
const BUSY_MS = 100;

const database = openDatabase(String(workerData));
database.get(`PRAGMA busy_timeout = ${BUSY_MS}`);

parentPort?.on('message', (wish: 'copy' | 'empty' | 'close') => {
  if (wish === 'close') {
    database.close();
    parentPort?.close();
    return;
  }
  // Beside those who write. RESTART and TRUNCATE keep them out, but what they have added meanwhile is little.
  const pages = checkpoint('PASSIVE');
  if (wish === 'empty') checkpoint('TRUNCATE');
  else if (pages >= RESTART_PAGES) checkpoint('RESTART');
  parentPort?.postMessage('copied');
});

/** @returns how many pages the log holds; where somebody is in the way less is done, and that is no error */
function checkpoint(mode: 'PASSIVE' | 'RESTART' | 'TRUNCATE'): number {
  return Number(database.get(`PRAGMA wal_checkpoint(${mode})`)?.['log']);
}
