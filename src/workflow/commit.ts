/**
 * Storage commitment both ways. A node reports what we asked it to commit itself to: proof of arrival, written into the ledger. And a
 * sender asks us: answered from the archive, where its objects lie under other UIDs, found by the crosswalk's keyed function.
 */
import { setImmediate } from 'node:timers/promises';
import { instanceOf } from '../archive/instances.ts';
import { recordAudit } from '../audit.ts';
import type { Node } from '../config/nodes.ts';
import { domainOf } from '../deidentify/wall.ts';
import { pseudonymOfUid } from '../deidentify/pseudonyms.ts';
import { resolveUid } from '../deidentify/crosswalk.ts';
import { closeTransaction, tellCommitment, transactionOf } from '../delivery/commitment.ts';
import { settleLedger } from '../delivery/ledger.ts';
import { Refusal } from '../dicom/refusal.ts';
import { Status } from '../dimse/command.ts';
import {
  FailureReason,
  type CommitmentReport,
  type FailedInstance,
  type ReferencedInstance,
} from '../dimse/commitment.ts';
import type { CommitmentRequest } from '../dimse/handlers.ts';
import type { AssociationInfo, ScpHandlers } from '../dimse/scp.ts';
import type { Gateway } from '../gateway.ts';
import { admissionProjects } from '../routing/match.ts';
import { hastenWork } from '../workitems.ts';

export function commitmentHandlers(gateway: Gateway): Required<Pick<ScpHandlers, 'commit' | 'committed'>> {
  return {
    commit: (request) => commit(gateway, request),
    committed: (association, report) => Promise.resolve(takeReport(gateway, association.callingAE, report)),
  };
}

/** `reporter`: the AE title of who reports. Resolves with the status to answer; a report that comes twice changes nothing. */
export function takeReport(gateway: Gateway, reporter: string, report: CommitmentReport): number {
  const { database, log } = gateway;
  const transaction = transactionOf(database, report.transactionUID);
  if (transaction === undefined) {
    log.warn('commitment reported', { callingAE: reporter, outcome: 'unknown transaction' });
    return Status.invalidArgument;
  }
  // Whoever knows the transaction could otherwise prove what never arrived.
  if (gateway.config.nodes.get(transaction.node)?.dimse?.aeTitle !== reporter) {
    recordAudit(gateway.audit, 'Security Alert', reporter, { action: 'commitment report', node: transaction.node });
    return Status.notAuthorized;
  }
  if (transaction.reportedAt !== undefined) return Status.success;
  const committed = new Set(report.committed.map(({ sopInstanceUID }) => sopInstanceUID));
  const failed = new Map(report.failed.map(({ sopInstanceUID, reason }) => [sopInstanceUID, reason]));
  const { node, project, sopInstanceUIDs, studyInstanceUID } = transaction;
  let proven = 0;
  let refused = 0;
  database.transaction(() => {
    const at = gateway.now();
    for (const sopInstanceUID of sopInstanceUIDs) {
      const outward = resolveUid(gateway.wall, project, sopInstanceUID) ?? '';
      const reason = failed.get(outward);
      // Named on both lists it is not safe; on neither, nothing is known and it is asked for again.
      if (reason !== undefined) {
        settleLedger(database, { node, sopInstanceUID, state: 'refused', proof: undefined, status: reason, at });
        refused++;
      } else if (committed.has(outward)) {
        settleLedger(database, { node, sopInstanceUID, state: 'proven', proof: 'storage-commitment', status: 0, at });
        proven++;
      }
    }
    closeTransaction(database, report.transactionUID, at);
    hastenWork(gateway.workItems, 'deliver', studyInstanceUID, { afterFailure: proven < sopInstanceUIDs.length });
  });
  log.info('commitment reported', { node, study: studyInstanceUID, proven, refused, asked: sopInstanceUIDs.length });
  return Status.success;
}

/** In memory only, since it names originals: a sender that hears nothing asks again (PS3.4 J.3.2). */
const TELL_ATTEMPTS = 3;
const TELL_AGAIN_MS = 5000;
/** Objects looked for before others have their turn. */
const LOOKS_A_TURN = 200;

/** @throws Refusal NotAuthorized */
async function commit(gateway: Gateway, request: CommitmentRequest): Promise<CommitmentReport | undefined> {
  const { association, transactionUID, instances } = request;
  const { callingAE } = association;
  if (!gateway.config.dimse.commitTo.has(callingAE)) {
    recordAudit(gateway.audit, 'Security Alert', callingAE, { action: 'storage commitment', outcome: 'refused' });
    throw new Refusal('NotAuthorized', 'this AE title is not in dimse.commitTo');
  }
  const committed: ReferencedInstance[] = [];
  const failed: FailedInstance[] = [];
  const projects = admissionProjects(gateway.rules, { ...association, door: 'dimse' });
  for (const [index, instance] of instances.entries()) {
    if (index % LOOKS_A_TURN === LOOKS_A_TURN - 1) await setImmediate();
    const reason = whyNot(gateway, projects, instance);
    if (reason === undefined) committed.push(instance);
    else failed.push({ ...instance, reason });
  }
  const facts = { committed: committed.length, failed: failed.length };
  recordAudit(gateway.audit, 'Application Activity', callingAE, { action: 'storage commitment', ...facts });
  const report = { transactionUID, committed, failed };
  const node = [...gateway.config.nodes.values()].find(({ dimse }) => dimse?.aeTitle === callingAE);
  // Of a sender that nodes.yaml does not know the address is not known either.
  if (node === undefined) return report;
  void tell(gateway, node, association, report);
  return undefined;
}

/**
 * Undefined when the object lies in the archive, as an original of a project that this sender's objects can go to: the same UID in another
 * project may have come from somebody else, and would say nothing of what became of the sender's own.
 */
function whyNot(
  gateway: Gateway,
  projects: readonly string[],
  { sopClassUID, sopInstanceUID }: ReferencedInstance,
): number | undefined {
  let reason: number = FailureReason.noSuchInstance;
  for (const project of projects) {
    // A profile may retain UIDs.
    for (const uid of [pseudonymOfUid(domainOf(gateway.wall, project), sopInstanceUID), sopInstanceUID]) {
      const stored = instanceOf(gateway.archive, uid);
      if (stored === undefined || stored.derived) continue;
      if (stored.sopClassUID === sopClassUID) return undefined;
      reason = FailureReason.classInstanceConflict;
    }
  }
  return reason;
}

async function tell(
  gateway: Gateway,
  node: Node,
  association: AssociationInfo,
  report: CommitmentReport,
): Promise<void> {
  const facts = { node: node.name, committed: report.committed.length, failed: report.failed.length };
  for (let attempt = 1; attempt <= TELL_ATTEMPTS; attempt++) {
    try {
      const options = { callingAE: association.calledAE, tls: gateway.config.dimse.tls };
      const status = await tellCommitment(node, report, options);
      gateway.log.info('commitment told', { ...facts, status });
      return;
    } catch (error) {
      const reason = error instanceof Refusal ? error.reason : error instanceof Error ? error.name : 'unknown';
      gateway.log.warn('commitment not told', { ...facts, attempt, reason });
    }
    // A gateway that is closing does not wait for it.
    await new Promise((resolve) => setTimeout(resolve, TELL_AGAIN_MS).unref());
  }
}
