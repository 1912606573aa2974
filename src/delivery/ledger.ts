/** What has gone where, and how it is known to have arrived. One row per object and node; holds pseudonyms only. */
import type { Database } from '../database.ts';

export type LedgerState = 'pushed' | 'proven' | 'refused';

export interface LedgerRow {
  readonly node: string;
  /** Pseudonyms. */
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
  readonly sopInstanceUID: string;
  readonly state: LedgerState;
  /** read-back, status or storage-commitment; undefined until proven. */
  readonly proof: string | undefined;
  /** DIMSE status or STOW failure reason. */
  readonly status: number;
  readonly at: number;
}

export const MIGRATE_LEDGER = {
  room: 'delivery',
  steps: [
    `CREATE TABLE ledger (
       node TEXT NOT NULL,
       sop_uid TEXT NOT NULL,
       series_uid TEXT NOT NULL,
       study_uid TEXT NOT NULL,
       state TEXT NOT NULL,
       proof TEXT,
       status INTEGER NOT NULL,
       at INTEGER NOT NULL,
       PRIMARY KEY (node, sop_uid)
     ) WITHOUT ROWID;
     CREATE INDEX ledger_study ON ledger (study_uid)`,
  ],
} as const;

export function writeLedger(database: Database, rows: readonly LedgerRow[]): void {
  database.transaction(() => {
    for (const row of rows) {
      database.run(
        `INSERT INTO ledger (node, sop_uid, series_uid, study_uid, state, proof, status, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (node, sop_uid) DO UPDATE SET state = excluded.state, proof = excluded.proof, status = excluded.status, at = excluded.at`,
        row.node,
        row.sopInstanceUID,
        row.seriesInstanceUID,
        row.studyInstanceUID,
        row.state,
        row.proof ?? null,
        row.status,
        row.at,
      );
    }
  });
}

/** What a node says later of an object that it was sent; what is proven stays so. */
export function settleLedger(
  database: Database,
  row: Pick<LedgerRow, 'node' | 'sopInstanceUID' | 'state' | 'proof' | 'status' | 'at'>,
): void {
  database.run(
    "UPDATE ledger SET state = ?, proof = ?, status = ?, at = ? WHERE node = ? AND sop_uid = ? AND state <> 'proven'",
    row.state,
    row.proof ?? null,
    row.status,
    row.at,
    row.node,
    row.sopInstanceUID,
  );
}

/** Undefined: never sent there. */
export function ledgerState(database: Database, node: string, sopInstanceUID: string): LedgerState | undefined {
  const row = database.get('SELECT state FROM ledger WHERE node = ? AND sop_uid = ?', node, sopInstanceUID);
  return row === undefined ? undefined : (String(row['state']) as LedgerState);
}

export function readLedger(database: Database, studyInstanceUID: string): LedgerRow[] {
  return database
    .all('SELECT * FROM ledger WHERE study_uid = ? ORDER BY node, series_uid, sop_uid', studyInstanceUID)
    .map((row) => ({
      node: String(row['node']),
      studyInstanceUID: String(row['study_uid']),
      seriesInstanceUID: String(row['series_uid']),
      sopInstanceUID: String(row['sop_uid']),
      state: String(row['state']) as LedgerState,
      proof: row['proof'] === null ? undefined : String(row['proof']),
      status: Number(row['status']),
      at: Number(row['at']),
    }));
}

/** Forgets where the study's results went. */
export function forgetLedgerOf(database: Database, studyInstanceUID: string): void {
  database.run('DELETE FROM ledger WHERE study_uid = ?', studyInstanceUID);
}
