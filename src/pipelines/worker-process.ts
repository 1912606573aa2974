/** A process that runs pipelines; it ends with the gateway, and before it where memory is short. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pack, unpack } from './parcels.ts';
import type { JobMessage } from './requests.ts';
import type { RunnerOptions } from './runner.ts';
import { serveJobs } from './worker.ts';

const [settings = '{}', parcels = ''] = process.argv.slice(2);
try {
  // When memory runs out, the kernel is to end this process and not the gateway.
  writeFileSync('/proc/self/oom_score_adj', '800');
} catch {
  // Another system than Linux.
}
// One answer after another: a result is not to pass a progress that is still being packed.
let sending: Promise<unknown> = Promise.resolve();
let sent = 0;
const serve = serveJobs({ ...(JSON.parse(settings) as RunnerOptions), brake: undefined }, (message) => {
  sending = sending.then(async () => {
    process.send?.(await pack(message, join(parcels, `${process.pid}.out.${++sent}`)));
  });
});
process.on('message', (message) => serve(unpack(message) as JobMessage));
process.on('disconnect', () => process.exit(0));
