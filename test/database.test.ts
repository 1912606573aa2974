/** The promise of a commit: whatever is not declared to be synchronised by its caller is on the disk when it returns. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase } from '../src/database.ts';

const FULL = 2;
const NORMAL = 1;

test('only a transaction without synchronisation commits without it, whatever came before', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-database-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const database = openDatabase(join(folder, 'test.sqlite'));
  t.after(() => database.close());
  const mode = (): unknown => database.get('PRAGMA synchronous')?.['synchronous'];
  const unsynced = (): void =>
    database.transactionUnsynced(() => {
      assert.equal(mode(), NORMAL);
      database.run("INSERT INTO word VALUES ('kept')");
    });
  database.run('CREATE TABLE word (text TEXT)');
  assert.equal(mode(), FULL);

  unsynced();
  database.transaction(() => assert.equal(mode(), FULL));
  unsynced();
  database.run("INSERT INTO word VALUES ('by itself')");
  assert.equal(mode(), FULL);
  for (const read of [database.get, database.all]) {
    unsynced();
    read("INSERT INTO word VALUES ('told') RETURNING text");
    assert.equal(mode(), FULL);
  }
  assert.throws(() =>
    database.transactionUnsynced(() => {
      database.run("INSERT INTO word VALUES ('lost')");
      throw new Error('on purpose');
    }),
  );
  database.transaction(() => assert.equal(mode(), FULL));
  await database.synchronise();
  assert.deepEqual(
    database.all('SELECT DISTINCT text FROM word ORDER BY text').map((row) => row['text']),
    ['by itself', 'kept', 'told'],
  );
});

test('a transaction without synchronisation is none inside another', () => {
  const database = openDatabase(':memory:');
  assert.throws(() => database.transaction(() => database.transactionUnsynced(() => 1)), /inside another/);
  database.close();
});
