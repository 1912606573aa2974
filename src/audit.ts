/**
 * Append-only trail of what was done with whose data, each row holding the hash of the one before: a changed, inserted or missing row
 * shows. Rows cut off at the end, or a trail written anew, show only against a copy of the last hash that is kept elsewhere.
 * Event names after PS3.15 A.5.3. Rows hold pseudonyms, ids and counts, never a patient's value.
 *
 * What is chained is not a row's facts but a digest of them with a random number: when a person is erased the facts that name their
 * pseudonyms are blacked out together with that number, and the chain still holds over what nobody can guess any more.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Database } from './database.ts';

export type AuditEvent =
  | 'Application Activity'
  | 'Audit Log Used'
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
    `ALTER TABLE audit ADD COLUMN nonce BLOB;
     ALTER TABLE audit ADD COLUMN digest TEXT`,
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
    const nonce = randomBytes(16);
    const digest = digestOf(nonce, text);
    const hash = link(String(last?.['hash'] ?? ''), number, at, event, actor, digest);
    audit.database.run(
      'INSERT INTO audit (number, at, event, actor, facts, nonce, digest, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      number,
      at,
      event,
      actor,
      text,
      nonce,
      digest,
      hash,
    );
  });
}

export interface AuditRow {
  readonly number: number;
  readonly at: number;
  readonly event: string;
  readonly actor: string;
  /** Undefined when they have been blacked out. */
  readonly facts: Readonly<Record<string, string | number>> | undefined;
}

/** Newest first. */
export function listAudit({ database }: Audit, { limit, offset }: { limit: number; offset: number }): AuditRow[] {
  return database
    .all('SELECT number, at, event, actor, facts FROM audit ORDER BY number DESC LIMIT ? OFFSET ?', limit, offset)
    .map((row) => ({
      number: Number(row['number']),
      at: Number(row['at']),
      event: String(row['event']),
      actor: String(row['actor']),
      facts: row['facts'] === '' ? undefined : (JSON.parse(String(row['facts'])) as Record<string, string | number>),
    }));
}

/** How many rows there are; their numbers begin at 1 and none is left out. */
export function countAudit({ database }: Audit): number {
  return Number(database.get('SELECT max(number) AS last FROM audit')?.['last'] ?? 0);
}

/** Blacks out the facts of every row that holds one of these words as a value; answers how many rows. */
export function blackOut(audit: Audit, words: ReadonlySet<string>): number {
  const doomed: number[] = [];
  for (const row of audit.database.iterate('SELECT number, facts FROM audit WHERE nonce IS NOT NULL')) {
    const facts = JSON.parse(String(row['facts'])) as Record<string, unknown>;
    if (Object.values(facts).some((value) => typeof value === 'string' && words.has(value)))
      doomed.push(Number(row['number']));
  }
  for (const number of doomed) {
    audit.database.run("UPDATE audit SET facts = '', nonce = NULL WHERE number = ?", number);
  }
  return doomed.length;
}

/** The number of the first row that does not follow from the one before, or undefined when the chain holds. */
export function firstBrokenRow(audit: Audit): number | undefined {
  let hash = '';
  let expected = 1;
  for (const row of audit.database.iterate('SELECT * FROM audit ORDER BY number')) {
    const number = Number(row['number']);
    if (number !== expected++) return number;
    const facts = String(row['facts']);
    const { nonce, digest } = row;
    if (Buffer.isBuffer(nonce) ? digestOf(nonce, facts) !== digest : digest !== null && facts !== '') return number;
    // Rows from before there were digests chain their facts as they are.
    const chained = typeof digest === 'string' ? digest : facts;
    hash = link(hash, number, Number(row['at']), String(row['event']), String(row['actor']), chained);
    if (hash !== row['hash']) return number;
  }
  return undefined;
}

function digestOf(nonce: Buffer, facts: string): string {
  return createHash('sha256').update(nonce).update(facts).digest('hex');
}

function link(previous: string, number: number, at: number, event: string, actor: string, facts: string): string {
  return createHash('sha256')
    .update(JSON.stringify([previous, number, at, event, actor, facts]))
    .digest('hex');
}
