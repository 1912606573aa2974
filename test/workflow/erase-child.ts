/**
 * An erasure in a process of its own that ends itself, as by kill -9, at the given step: before a statement of the database, a commit, a
 * file that is deleted or the log that is emptied. Without a step it goes through and tells how many there were.
 *   node erase-child.ts erase|resume RECORD.json [STEP]
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { readConfig } from '../../src/config.ts';
import { closeGateway, openGateway } from '../../src/gateway.ts';
import { openLog } from '../../src/log.ts';
import { beginErasure, continueErasures, listErasures } from '../../src/workflow/erase.ts';

const [mode = '', recordFile = '', last = '0'] = process.argv.slice(2);
let steps = 0;

function step(): void {
  steps++;
  if (steps === Number(last)) process.kill(process.pid, 'SIGKILL');
}

/** Each call of these is a step, and what comes after it another. */
function counting<T extends object>(owner: T, names: readonly (keyof T)[]): void {
  for (const name of names) {
    const original = owner[name] as (...values: unknown[]) => unknown;
    const counted = (...values: unknown[]): unknown => {
      step();
      const result = original.apply(owner, values);
      step();
      return result;
    };
    Object.assign(owner, { [name]: counted });
  }
}

const record = JSON.parse(fs.readFileSync(recordFile, 'utf8')) as { issuer: string; id: string };
const gateway = await openGateway(readConfig(), openLog('silent'));
if (mode === 'erase') {
  counting(gateway.database, ['run', 'transaction', 'truncateLog']);
  counting(fs.promises, ['unlink', 'rm', 'rename', 'truncate']);
  counting(fs, ['unlinkSync', 'rmSync', 'renameSync', 'ftruncateSync']);
  syncBuiltinESMExports();
}
if (mode === 'erase' || listErasures(gateway).length === 0)
  beginErasure(gateway, { record }, { actor: 'officer', reason: 'data-subject-request', reference: 'DSR 9' });
await continueErasures(gateway);
const states = listErasures(gateway).map(({ state }) => state);
process.stdout.write(JSON.stringify({ steps, states }));
await closeGateway(gateway);
