/** A thread of `isthmus deidentify`: asks for files until there are none. */
import { parentPort, workerData } from 'node:worker_threads';
import { openJob, type JobSettings } from './deidentify-job.ts';

/** A file by its position in the sorted folder. */
export interface Ask {
  readonly index: number;
  readonly file: string;
}

if (parentPort !== null) {
  const port = parentPort;
  const job = await openJob(workerData as JobSettings);
  port.on('message', (asks: readonly Ask[] | 'end') => {
    if (asks === 'end') {
      void job.close().finally(() => port.close());
      return;
    }
    void (async () => {
      const outcomes = await job.run(asks.map(({ file }) => file));
      port.postMessage(asks.map(({ index }, at) => ({ index, outcome: outcomes[at] })));
    })();
  });
  port.postMessage([]);
}
