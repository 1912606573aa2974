/**
 * Append-only trail of what was done with whose data, each row holding the hash of the one before: a changed, inserted or missing row
 * shows. Rows cut off at the end, or a trail written anew, show only against a copy of the last hash that is kept elsewhere.
 * Event names after PS3.15 A.5.3. Rows hold pseudonyms, ids and counts, never a patient's value.
 */
import { createHash } from 'node:crypto';
import type { Database } from './database.ts';

export type AuditEvent =
  | 'Application Activity'
  | 'DICOM Instances Transferred'
  | 'Begin Transferring DICOM Instances'
  | 'DICOM Study Deleted'
  | 'Export'
  | 'Query'
  | 'Security Alert';

export interface Audit {
  readonly database: Database;
  readonly now: () => number;
}

export const MIGRATE_AUDIT = {
  room: 'audit',
  steps: [
    `CREATE TABLE audit (
       number INTEGER PRIMARY KEY,
       at INTEGER NOT NULL,
       event TEXT NOT NULL,
       actor TEXT NOT NULL,
       facts TEXT NOT NULL,
       hash TEXT NOT NULL
     )`,
  ],
} as const;

export function recordAudit(
  audit: Audit,
  event: AuditEvent,
  actor: string,
  facts: Readonly<Record<string, string | number>>,
): void {
  audit.database.transaction(() => {
    const last = audit.database.get('SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1');
    const number = Number(last?.['number'] ?? 0) + 1;
    const at = audit.now();
    const text = JSON.stringify(facts);
    const hash = link(String(last?.['hash'] ?? ''), number, at, event, actor, text);
    audit.database.run(
      'INSERT INTO audit (number, at, event, actor, facts, hash) VALUES (?, ?, ?, ?, ?, ?)',
      number,
      at,
      event,
      actor,
      text,
      hash,
    );
  });
}

/** The number of the first row that does not follow from the one before, or undefined when the chain holds. */
export function firstBrokenRow(audit: Audit): number | undefined {
  let hash = '';
  let expected = 1;
  for (const row of audit.database.iterate('SELECT * FROM audit ORDER BY number')) {
    const number = Number(row['number']);
    if (number !== expected++) return number;
    hash = link(hash, number, Number(row['at']), String(row['event']), String(row['actor']), String(row['facts']));
    if (hash !== row['hash']) return number;
  }
  return undefined;
}

function link(previous: string, number: number, at: number, event: string, actor: string, facts: string): string {
  return createHash('sha256')
    .update(JSON.stringify([previous, number, at, event, actor, facts]))
    .digest('hex');
}
