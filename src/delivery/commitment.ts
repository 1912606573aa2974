/**
 * Storage commitment as proof of arrival (PS3.4 Annex J): what a node was asked to commit itself to, and what it said. A transaction is
 * written before it is asked for and outlives a restart, since the report may come much later; it holds pseudonyms only.
 */
import type { Node } from '../config/nodes.ts';
import type { TlsFiles } from '../config/tls-files.ts';
import type { Database } from '../database.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { CommitmentReport, ReferencedInstance } from '../dimse/commitment.ts';
import { Status } from '../dimse/command.ts';
import { abort, openAssociation, release } from '../dimse/scu.ts';
import {
  commitmentContext,
  reportCommitment,
  requestCommitment,
  serveCommitmentReport,
} from '../dimse/scu-commitment.ts';
import { peerOf } from './destination.ts';

export interface CommitmentTransaction {
  readonly transactionUID: string;
  readonly node: string;
  readonly project: string;
  /** Pseudonyms. */
  readonly studyInstanceUID: string;
  readonly sopInstanceUIDs: readonly string[];
  readonly askedAt: number;
  readonly reportedAt: number | undefined;
}

export const MIGRATE_COMMITMENT = {
  room: 'commitment',
  steps: [
    `CREATE TABLE commitment (
       transaction_uid TEXT PRIMARY KEY,
       node TEXT NOT NULL,
       project TEXT NOT NULL,
       study_uid TEXT NOT NULL,
       asked_at INTEGER NOT NULL,
       waited_for INTEGER NOT NULL DEFAULT 1,
       reported_at INTEGER
     ) WITHOUT ROWID;
     CREATE INDEX commitment_age ON commitment (asked_at);
     CREATE TABLE commitment_object (
       transaction_uid TEXT NOT NULL,
       sop_uid TEXT NOT NULL,
       PRIMARY KEY (sop_uid, transaction_uid)
     ) WITHOUT ROWID;
     CREATE INDEX commitment_transaction ON commitment_object (transaction_uid)`,
  ],
} as const;

export function openTransaction(database: Database, transaction: Omit<CommitmentTransaction, 'reportedAt'>): void {
  const { transactionUID, node, project, studyInstanceUID, sopInstanceUIDs, askedAt } = transaction;
  database.transaction(() => {
    database.run(
      'INSERT INTO commitment (transaction_uid, node, project, study_uid, asked_at) VALUES (?, ?, ?, ?, ?)',
      transactionUID,
      node,
      project,
      studyInstanceUID,
      askedAt,
    );
    for (const uid of sopInstanceUIDs)
      database.run('INSERT INTO commitment_object (transaction_uid, sop_uid) VALUES (?, ?)', transactionUID, uid);
  });
}

export function transactionOf(database: Database, transactionUID: string): CommitmentTransaction | undefined {
  const row = database.get('SELECT * FROM commitment WHERE transaction_uid = ?', transactionUID);
  if (row === undefined) return undefined;
  return {
    transactionUID,
    node: String(row['node']),
    project: String(row['project']),
    studyInstanceUID: String(row['study_uid']),
    sopInstanceUIDs: database
      .all('SELECT sop_uid FROM commitment_object WHERE transaction_uid = ?', transactionUID)
      .map((object) => String(object['sop_uid'])),
    askedAt: Number(row['asked_at']),
    reportedAt: row['reported_at'] === null ? undefined : Number(row['reported_at']),
  };
}

/** When an object was last asked for in a transaction that has no report yet; undefined where there is none. */
export function waitingSince(database: Database, node: string, sopInstanceUID: string): number | undefined {
  const row = database.get(
    `SELECT max(asked_at) AS at FROM commitment_object JOIN commitment USING (transaction_uid)
     WHERE sop_uid = ? AND node = ? AND reported_at IS NULL AND waited_for = 1`,
    sopInstanceUID,
    node,
  );
  return typeof row?.['at'] === 'number' ? row['at'] : undefined;
}

export function closeTransaction(database: Database, transactionUID: string, at: number): void {
  database.run('UPDATE commitment SET reported_at = ? WHERE transaction_uid = ?', at, transactionUID);
}

/** Of a request that may not have arrived: a report would still be taken, but the objects are asked for anew. */
export function abandonTransaction(database: Database, transactionUID: string): void {
  database.run('UPDATE commitment SET waited_for = 0 WHERE transaction_uid = ?', transactionUID);
}

/** Transactions older than `before`, reported or not: an object that still waits is asked for again. */
export function deleteTransactions(database: Database, before: number): void {
  database.transaction(() => {
    database.run(
      'DELETE FROM commitment_object WHERE transaction_uid IN (SELECT transaction_uid FROM commitment WHERE asked_at < ?)',
      before,
    );
    database.run('DELETE FROM commitment WHERE asked_at < ?', before);
  });
}

export interface AskOptions {
  readonly callingAE: string;
  readonly tls: TlsFiles | undefined;
  /** A report that comes on this association; resolves with the status to answer. */
  readonly onReport: (report: CommitmentReport) => Promise<number>;
  /** Whether the report has come, on whichever association. */
  readonly isReported: () => boolean;
}

/** A node may report on the association that asked (PS3.4 J.3.3) or on one of its own, which our SCP takes: so long the first is kept. */
const PATIENCE_MS = 3000;
const LOOK_MS = 50;

/** Asks a node for its commitment, under the identity the objects were sent with. @throws Refusal DeliveryFailed */
export async function askForCommitment(
  node: Node,
  transactionUID: string,
  instances: readonly ReferencedInstance[],
  options: AskOptions,
): Promise<void> {
  if (node.dimse === undefined) throw new Refusal('BadConfiguration', `node ${node.name} has no dimse section`);
  const association = await openAssociation({
    ...peerOf(node.dimse, options.tls),
    callingAE: options.callingAE,
    contexts: [commitmentContext(false)],
    serve: serveCommitmentReport(options.onReport),
  });
  try {
    const status = await requestCommitment(association, transactionUID, instances);
    if (status !== Status.success) {
      const hex = `0x${status.toString(16).toUpperCase().padStart(4, '0')}`;
      throw new Refusal('DeliveryFailed', `the node refused to commit itself, with status ${hex}`);
    }
    const end = performance.now() + PATIENCE_MS;
    while (!options.isReported() && !association.isEnded && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  } catch (error) {
    abort(association);
    throw error;
  }
  // The request has been taken; how the association ends changes nothing about it.
  await release(association).catch(() => undefined);
}

/** Tells a node what has become of the commitment that it asked for. @throws Refusal DeliveryFailed */
export async function tellCommitment(
  node: Node,
  report: CommitmentReport,
  options: Pick<AskOptions, 'callingAE' | 'tls'>,
): Promise<number> {
  if (node.dimse === undefined) throw new Refusal('BadConfiguration', `node ${node.name} has no dimse section`);
  const association = await openAssociation({
    ...peerOf(node.dimse, options.tls),
    callingAE: options.callingAE,
    contexts: [commitmentContext(true)],
  });
  try {
    const status = await reportCommitment(association, report);
    await release(association);
    return status;
  } catch (error) {
    abort(association);
    throw error;
  }
}

/** Forgets what was asked about the study's results; a report that still comes is about nothing known. */
export function forgetTransactionsOf(database: Database, studyInstanceUID: string): void {
  database.transaction(() => {
    database.run(
      'DELETE FROM commitment_object WHERE transaction_uid IN (SELECT transaction_uid FROM commitment WHERE study_uid = ?)',
      studyInstanceUID,
    );
    database.run('DELETE FROM commitment WHERE study_uid = ?', studyInstanceUID);
  });
}
