/** Stores instances as fast as it can and says each number once it is acknowledged; killed by its parent at some moment. */
import { join } from 'node:path';
import { openDatabase } from '../../src/database.ts';
import { openArchive } from '../../src/archive/archive.ts';
import { storeInstance } from '../../src/archive/instances.ts';
import { makeLargeObject, makeObject } from '../phantom/objects.ts';

const [folder = '', from = '1'] = process.argv.slice(2);
const database = openDatabase(join(folder, 'index.db'));
const archive = await openArchive(database, join(folder, 'packs'), { duplicates: 'reject', reserveBytes: 0 });
const chunk = Buffer.alloc(2 ** 20, 3);
let next = Number(from);

async function work(): Promise<void> {
  for (;;) {
    const number = next++;
    const uids = { sopInstanceUID: `2.25.1${number}`, studyInstanceUID: `2.25.${number % 4}` };
    const object =
      number % 40 === 0
        ? makeLargeObject({ ...uids, rows: 512, columns: 512, numberOfFrames: 20 }, chunk, 10)
        : makeObject({ ...uids, instanceNumber: number }).object;
    await storeInstance(archive, object);
    // One write of a line is one write to the pipe: half a number is never seen.
    process.stdout.write(`${number}\n`);
  }
}

await Promise.all([work(), work(), work(), work(), work(), work()]);
