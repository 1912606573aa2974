/**
 * Connection, transactions and migrations of the gateway's one database: index, work items, crosswalk and ledger commit together.
 * SQLite in WAL mode with synchronous=FULL: a transaction that returned survives a power cut.
 */
import { closeSync, openSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import Sqlite from 'better-sqlite3';

export type SqlValue = string | number | bigint | Buffer | null;
export type Row = Readonly<Record<string, SqlValue>>;

export interface Database {
  /**
   * Changes rows. Here and below: in a join a value is compared with `(SELECT ?)`, since a bare `?` that the planner looks at makes
   * SQLite plan the statement anew for every value (sqlite.org/c3ref/prepare.html), which costs thirty times what the search does.
   */
  run(sql: string, ...values: SqlValue[]): { changes: number; lastId: number };
  get(sql: string, ...values: SqlValue[]): Row | undefined;
  all(sql: string, ...values: SqlValue[]): Row[];
  iterate(sql: string, ...values: SqlValue[]): IterableIterator<Row>;
  /** Runs `work` as one transaction: all of it or nothing. Inside another transaction it becomes part of that one. */
  transaction<T>(work: () => T): T;
  /** The same without waiting for the disk: it survives a power cut only when `synchronise` has resolved. */
  transactionUnsynced<T>(work: () => T): T;
  /** Resolves when everything committed so far is durable; the thread is free while the disk works. */
  synchronise(): Promise<void>;
  /** Empties the write-ahead log: what was deleted before is in no file any more. */
  truncateLog(): void;
  /** Called after each transaction; there is one listener. */
  afterCommit(listener: () => void): void;
  close(): void;
}

const MOST_LOG_BYTES = 64 * 2 ** 20;

/** Opens or creates the database. `file` may be ':memory:' for a throw-away one. */
export function openDatabase(file: string): Database {
  // SQLite gives its WAL the mode of the database: made here, for this user alone.
  if (file !== ':memory:') closeSync(openSync(file, 'a', 0o600));
  const connection = new Sqlite(file);
  connection.pragma('journal_mode = WAL');
  connection.pragma('synchronous = FULL');
  connection.pragma('foreign_keys = ON');
  connection.pragma('busy_timeout = 5000');
  // What is deleted is overwritten in the file: an erased person must not be found in a page's slack. Costs nothing that can be measured.
  connection.pragma('secure_delete = ON');
  // What one large transaction made of the log is given back; the database itself reuses what deletions leave free. No statistics are
  // collected: how a query runs follows from the tables alone, and does not change with what is stored.
  connection.pragma(`journal_size_limit = ${MOST_LOG_BYTES}`);
  const statements = new Map<string, Sqlite.Statement>();
  const prepare = (sql: string): Sqlite.Statement => {
    const known = statements.get(sql);
    if (known !== undefined) return known;
    const statement = connection.prepare(sql);
    if (statements.size > 500) statements.clear();
    statements.set(sql, statement);
    return statement;
  };
  // Every change of this makes SQLite compile all statements anew, so it stays as the last commit wanted it.
  let synced = true;
  const syncCommits = (wanted: boolean): void => {
    if (synced === wanted) return;
    // NORMAL leaves out just the synchronisation of the WAL at commit (sqlite.org/pragma.html#pragma_synchronous).
    connection.pragma(`synchronous = ${wanted ? 'FULL' : 'NORMAL'}`);
    synced = wanted;
  };
  const statement = (sql: string): Sqlite.Statement => {
    const prepared = prepare(sql);
    // By itself it is a transaction of its own.
    if (!prepared.readonly && !connection.inTransaction) syncCommits(true);
    return prepared;
  };
  let committed = (): void => undefined;
  // Made once: what the package makes for each function costs more than an empty transaction.
  const inTransaction = connection.transaction((work: () => unknown) => work()).immediate;
  const begin = <T>(work: () => T): T => {
    const result = inTransaction(work) as T;
    committed();
    return result;
  };
  // Read-only is enough for fdatasync; the WAL file lives as long as its connection.
  let wal: Promise<FileHandle> | undefined;
  return {
    run(sql, ...values) {
      const { changes, lastInsertRowid } = statement(sql).run(...values);
      return { changes, lastId: Number(lastInsertRowid) };
    },
    get: (sql, ...values) => statement(sql).get(...values) as Row | undefined,
    all: (sql, ...values) => statement(sql).all(...values) as Row[],
    iterate: (sql, ...values) => statement(sql).iterate(...values) as IterableIterator<Row>,
    transaction(work) {
      if (connection.inTransaction) return work();
      syncCommits(true);
      return begin(work);
    },
    transactionUnsynced(work) {
      if (connection.inTransaction) throw new Error('a transaction inside another is synchronised with that one');
      syncCommits(false);
      return begin(work);
    },
    async synchronise() {
      if (connection.memory) return;
      wal ??= open(`${file}-wal`, 'r');
      await (await wal).datasync();
    },
    truncateLog: () => void connection.pragma('wal_checkpoint(TRUNCATE)'),
    afterCommit(listener) {
      committed = listener;
    },
    close() {
      connection.close();
      void wal?.then((handle) => handle.close());
    },
  };
}

export interface FolderLock {
  release(): void;
}

/** Holds a file for this process alone until it is released or the process ends, however it ends; undefined when another one holds it. */
export function lockFile(file: string): FolderLock | undefined {
  const connection = new Sqlite(file, { timeout: 0 });
  try {
    connection.pragma('locking_mode = EXCLUSIVE');
    connection.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    connection.close();
    if (error instanceof Sqlite.SqliteError && error.code.startsWith('SQLITE_BUSY')) return undefined;
    throw error;
  }
  return { release: () => void connection.close() };
}

/** SQL, statements parted by a semicolon at the end of a line (of a trigger: after its END); or what has to be worked out from the rows that are there. */
export type MigrationStep = string | ((database: Database) => void);

function statementsOf(step: string): string[] {
  const statements: string[] = [];
  for (const part of step.split(/;\s*\n/)) {
    const before = statements.at(-1);
    if (before !== undefined && /^\s*CREATE TRIGGER/.test(before) && !/\bEND\s*$/.test(before))
      statements[statements.length - 1] = `${before};\n${part}`;
    else if (part.trim() !== '') statements.push(part);
  }
  return statements;
}

/** Brings the tables of one room up to date: each step runs once, in order, ever. */
export function migrate(database: Database, room: string, steps: readonly MigrationStep[]): void {
  database.transaction(() => {
    database.run(
      'CREATE TABLE IF NOT EXISTS migration (room TEXT NOT NULL, step INTEGER NOT NULL, PRIMARY KEY (room, step)) WITHOUT ROWID',
    );
    const done = Number(database.get('SELECT count(*) AS steps FROM migration WHERE room = ?', room)?.['steps'] ?? 0);
    for (const [index, step] of steps.entries()) {
      if (index < done) continue;
      if (typeof step === 'function') step(database);
      else for (const statement of statementsOf(step)) database.run(statement);
      database.run('INSERT INTO migration (room, step) VALUES (?, ?)', room, index);
    }
  });
}
