/**
 * The pieces of texts and names (FTS5) that are looked for by. What is deleted there is only marked, and leaves the file when the segment
 * that holds it is merged with others: FTS5's secure-delete has no effect on tables without content (SQLite 3.54, tried).
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Database } from '../database.ts';

const TABLES = ['name_token', 'study_gram', 'series_gram'] as const;
/** Of 4 KB, written in one go: some milliseconds. */
const PAGES_A_STEP = 256;

/** Takes what has been deleted out of the file, by merging all segments; others get their turn between the steps. */
export async function forgetPieces({ database }: { readonly database: Database }): Promise<void> {
  for (const table of TABLES) {
    // A negative number begins the merge, positive ones go on with it (sqlite.org/fts5.html#the_merge_command).
    for (let pages = -PAGES_A_STEP; merge(database, table, pages); pages = PAGES_A_STEP) await nextTurn();
  }
}

/** @returns whether anything was left to do: what changes less than two rows has done nothing */
function merge(database: Database, table: (typeof TABLES)[number], pages: number): boolean {
  const total = (): number => Number(database.get('SELECT total_changes() AS total')?.['total']);
  const before = total();
  database.run(`INSERT INTO ${table} (${table}, rank) VALUES ('merge', ?)`, pages);
  return total() - before >= 2;
}
