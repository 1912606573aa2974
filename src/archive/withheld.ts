/** Studies that are stored and not shown: verification has found something in them, and nobody has decided yet. */
import type { Database } from '../database.ts';

type Indexed = { readonly database: Database };

/** Kept when the index is made anew from packs, which cannot tell. */
export const WITHHELD_TABLE = 'CREATE TABLE withheld (study_uid TEXT PRIMARY KEY) WITHOUT ROWID';

export function withholdStudy({ database }: Indexed, studyInstanceUID: string): void {
  database.run('INSERT OR IGNORE INTO withheld (study_uid) VALUES (?)', studyInstanceUID);
}

export function showStudy({ database }: Indexed, studyInstanceUID: string): void {
  database.run('DELETE FROM withheld WHERE study_uid = ?', studyInstanceUID);
}

export function isWithheld({ database }: Indexed, studyInstanceUID: string): boolean {
  return database.get('SELECT 1 FROM withheld WHERE study_uid = ?', studyInstanceUID) !== undefined;
}

/** Of nearly every archive none. */
export function withheldStudies({ database }: Indexed): ReadonlySet<string> {
  return new Set(database.all('SELECT study_uid FROM withheld').map((row) => String(row['study_uid'])));
}
