/** The promise of a commit: FULL is what holds, left only for the length of a transaction that is synchronised by itself. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase } from '../src/database.ts';

const FULL = 2;
const NORMAL = 1;

test('a transaction without synchronisation leaves FULL behind, whether it succeeds or throws', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-database-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const database = openDatabase(join(folder, 'test.sqlite'));
  t.after(() => database.close());
  const mode = (): unknown => database.get('PRAGMA synchronous')?.['synchronous'];
  database.run('CREATE TABLE word (text TEXT)');
  assert.equal(mode(), FULL);
  database.transactionUnsynced(() => {
    assert.equal(mode(), NORMAL);
    database.run("INSERT INTO word VALUES ('kept')");
  });
  assert.equal(mode(), FULL);
  assert.throws(() =>
    database.transactionUnsynced(() => {
      database.run("INSERT INTO word VALUES ('lost')");
      throw new Error('on purpose');
    }),
  );
  assert.equal(mode(), FULL);
  await database.synchronise();
  assert.deepEqual(
    database.all('SELECT text FROM word').map((row) => row['text']),
    ['kept'],
  );
});

test('a transaction without synchronisation is none inside another', () => {
  const database = openDatabase(':memory:');
  assert.throws(() => database.transaction(() => database.transactionUnsynced(() => 1)), /inside another/);
  database.close();
});
