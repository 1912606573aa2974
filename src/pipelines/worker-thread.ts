/** A worker thread that runs pipelines. */
import { parentPort, workerData } from 'node:worker_threads';
import { leave } from './brake.ts';
import { buffersOf, type JobMessage, type WorkerSettings } from './requests.ts';
import { serveJobs } from './worker.ts';

const settings = workerData as WorkerSettings;
if (settings.brake !== undefined) leave(settings.brake);
const serve = serveJobs(settings, (message) => parentPort?.postMessage(message, [...buffersOf(message)]));
parentPort?.on('message', (message: JobMessage) => {
  // A message that is no job is no message of ours: it ends the thread.
  if (typeof message !== 'object' || message === null) throw new Error('no job');
  serve(message);
});
