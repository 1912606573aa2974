/** A disk that is full where the crosswalk writes, before the archive has been asked for room. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openDoor } from '../dicomweb/door.ts';
import { bytesOf, openCtMaker } from '../bench/ct.ts';
import { stow } from './clients.ts';

const OUT_OF_RESOURCES = 0xa700;

test('a patient who is new while the database cannot grow is refused as out of resources, and taken after relief', async (t) => {
  const door = await openDoor();
  t.after(() => door.close());
  const { database } = door.gateway;
  const base = `http://127.0.0.1:${door.port}`;
  const objects = openCtMaker(32).study(1).map(bytesOf);
  const pages = Number(database.get('PRAGMA page_count')?.['page_count']);
  database.get(`PRAGMA max_page_count = ${pages}`);
  // What is left in the table's own pages goes too.
  assert.throws(() => {
    for (let row = 0; ; row++) {
      database.run("INSERT INTO crosswalk_patient VALUES ('filler', ?, ?, zeroblob(20), 0)", `${row}`, `${row}`);
    }
  }, /full/);

  const refused = await stow(base, objects);
  assert.equal(refused.status, 507);
  const [failure] = (refused.json['00081198']?.Value ?? []) as Record<string, { Value?: unknown[] }>[];
  assert.deepEqual(failure?.['00081197']?.Value, [OUT_OF_RESOURCES]);

  database.get(`PRAGMA max_page_count = ${pages + 10_000}`);
  assert.equal((await stow(base, objects)).status, 200);
});
