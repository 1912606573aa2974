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
import { counting, stepsTaken } from '../peers/kill-at-step.ts';

const [mode = '', recordFile = '', last = '0'] = process.argv.slice(2);
const record = JSON.parse(fs.readFileSync(recordFile, 'utf8')) as { issuer: string; id: string };
const gateway = await openGateway(readConfig(), openLog('silent'));
if (mode === 'erase') {
  counting(gateway.database, ['run', 'transaction', 'truncateLog'], Number(last));
  counting(fs.promises, ['unlink', 'rm', 'rename', 'truncate'], Number(last));
  counting(fs, ['unlinkSync', 'rmSync', 'renameSync', 'ftruncateSync'], Number(last));
  syncBuiltinESMExports();
}
if (mode === 'erase' || listErasures(gateway).length === 0)
  beginErasure(gateway, { record }, { actor: 'officer', reason: 'data-subject-request', reference: 'DSR 9' });
await continueErasures(gateway);
const states = listErasures(gateway).map(({ state }) => state);
process.stdout.write(JSON.stringify({ steps: stepsTaken(), states }));
await closeGateway(gateway);
