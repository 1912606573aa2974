/** The log's way into the database, beside those who write. */
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { startCheckpoints, stopCheckpoints } from '../../src/checkpoints/checkpoints.ts';
import { openDatabase, type Database } from '../../src/database.ts';
import type { Log } from '../../src/log.ts';
import { until } from '../peers/ports.ts';

interface Opened {
  readonly file: string;
  readonly database: Database;
  readonly errors: string[];
  close(): Promise<void>;
}

/** `copied`: the file that the thread is told to work on, where it is not the database's. */
function openChecked(t: TestContext, copied?: string): Opened {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-checkpoints-'));
  const file = join(folder, 'test.sqlite');
  const database = openDatabase(file);
  database.run('CREATE TABLE word (text TEXT NOT NULL)');
  const errors: string[] = [];
  const log: Log = { info: () => undefined, warn: () => undefined, error: (event) => errors.push(event) };
  const checkpoints = startCheckpoints(database, copied ?? file, log);
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= stopCheckpoints(checkpoints).then(() => database.close()));
  t.after(async () => {
    await close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { file, database, errors, close };
}

function write(database: Database, lengthBytes: number): void {
  database.transactionUnsynced(() => void database.run('INSERT INTO word VALUES (?)', 'x'.repeat(lengthBytes)));
}

/** What is in the database file alone, without its log. */
function copiedRows(file: string): number {
  const alone = `${file}-alone`;
  copyFileSync(file, alone);
  const database = openDatabase(alone);
  try {
    const made = database.get("SELECT 1 FROM sqlite_schema WHERE name = 'word'") !== undefined;
    return made ? Number(database.get('SELECT count(*) AS words FROM word')?.['words']) : 0;
  } finally {
    database.close();
  }
}

test('what is committed is copied without anybody asking, and all of it when it is closed', async (t) => {
  const { database, file, close } = openChecked(t);
  for (let written = 0; written < 128; written++) write(database, 3000);
  await until('the first rows to be copied', () => statSync(file).size > 64 * 3000, 30_000);
  await close();
  assert.equal(existsSync(`${file}-wal`), false);
  assert.equal(copiedRows(file), 128);
});

test('without its thread SQLite does it by itself', async (t) => {
  const { database, errors } = openChecked(t, tmpdir());
  const limit = (): unknown => Object.values(database.get('PRAGMA wal_autocheckpoint') ?? {})[0];
  assert.equal(limit(), 16_384);
  for (let commit = 0; commit < 64; commit++) write(database, 1);
  await until('the thread to fail', () => limit() === 1000, 30_000);
  assert.deepEqual(errors, ['checkpoints']);
});

test('a log in which nothing has been written for a second is emptied, its rows being in the database', async (t) => {
  const { database, file } = openChecked(t);
  for (let written = 0; written < 20; written++) write(database, 3000);
  assert.ok(statSync(`${file}-wal`).size > 60_000);
  await until('the log to be empty', () => statSync(`${file}-wal`).size === 0, 30_000);
  assert.equal(copiedRows(file), 20);
  write(database, 3000);
  assert.equal(database.get('SELECT count(*) AS words FROM word')?.['words'], 21);
});

test('a thread that cannot open the database keeps nobody from closing', async (t) => {
  const { database, errors, close } = openChecked(t, join(tmpdir(), 'isthmus-no-such-folder', 'test.sqlite'));
  for (let written = 0; written < 64; written++) write(database, 30);
  await close();
  assert.deepEqual(errors, ['checkpoints']);
});
