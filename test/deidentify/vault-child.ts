/**
 * A change of the crosswalk's key, or the sealing anew of its rows, in a process of its own that ends itself at the given step, as by
 * kill -9; without one it goes through and tells how many there were.
 *   node vault-child.ts rotate|reseal FOLDER [STEP]
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { openDatabase } from '../../src/database.ts';
import { openWall } from '../../src/deidentify/wall.ts';
import { resealRows } from '../../src/deidentify/reseal.ts';
import { rewrapSecrets } from '../../src/deidentify/vault.ts';
import { counting, stepsTaken } from '../peers/kill-at-step.ts';

const [mode = '', folder = '', last = '0'] = process.argv.slice(2);
const source = { keyFile: join(folder, 'keys', 'crosswalk.key') };
const database = openDatabase(join(folder, 'isthmus.sqlite'));
const wall = openWall(database, source);
counting(database, ['run', 'transaction', 'truncateLog'], Number(last));
counting(fs, ['openSync', 'writeSync', 'fsyncSync'], Number(last));
syncBuiltinESMExports();
if (mode === 'rotate') rewrapSecrets(database, source, { keyFile: join(folder, 'keys', 'next.key') });
else resealRows(wall, source);
process.stdout.write(String(stepsTaken()));
database.close();
