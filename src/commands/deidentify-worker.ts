/** A thread of `isthmus deidentify`: takes files until there are none, and tells what became of them. */
import { parentPort, workerData } from 'node:worker_threads';
import { runShare, type Share } from './deidentify-share.ts';

if (parentPort !== null) {
  const port = parentPort;
  await runShare(workerData as Share, (done) => port.postMessage(done));
}
