/** Storage Commitment Push Model over an association of ours: N-ACTION asks, N-EVENT-REPORT reports (PS3.4 J.3, PS3.7 10.1). */
import { Refusal } from '../dicom/refusal.ts';
import { CommandField, DATA_SET_FOLLOWS, Status } from './command.ts';
import {
  REQUEST_COMMITMENT,
  commitmentReportDataSet,
  commitmentRequestDataSet,
  readCommitmentReport,
  type CommitmentReport,
  type ReferencedInstance,
} from './commitment.ts';
import { readIdentifier, writeIdentifier } from './identifier.ts';
import { EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN } from './negotiation.ts';
import { eventReportCommand } from './served-commitment.ts';
import type { AcceptedContext, Association, ProposedClass, Serve } from './scu.ts';
import { STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE } from './sop-classes.ts';

/** What an association for either direction proposes. */
export function commitmentContext(asScp: boolean): ProposedClass {
  return {
    sopClassUID: STORAGE_COMMITMENT,
    transferSyntaxUIDs: [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN],
    ...(asScp ? { asScp } : {}),
  };
}

/** Asks the peer to commit itself; the status says whether it will report. */
export async function requestCommitment(
  association: Association,
  transactionUID: string,
  instances: readonly ReferencedInstance[],
): Promise<number> {
  const context = contextOf(association);
  const response = await association.perform(
    context.id,
    {
      CommandField: CommandField['N-ACTION-RQ'],
      RequestedSOPClassUID: STORAGE_COMMITMENT,
      RequestedSOPInstanceUID: STORAGE_COMMITMENT_INSTANCE,
      ActionTypeID: REQUEST_COMMITMENT,
      CommandDataSetType: DATA_SET_FOLLOWS,
    },
    writeIdentifier(commitmentRequestDataSet(transactionUID, instances), context.transferSyntaxUID),
  );
  return response.Status ?? Status.processingFailure;
}

/** Reports a commitment that the peer has asked for; its status. */
export async function reportCommitment(association: Association, report: CommitmentReport): Promise<number> {
  const context = contextOf(association);
  const response = await association.perform(
    context.id,
    eventReportCommand(report),
    writeIdentifier(commitmentReportDataSet(report), context.transferSyntaxUID),
  );
  return response.Status ?? Status.processingFailure;
}

/** For the `serve` of an association that asks: a peer may report on it instead of opening its own. */
export function serveCommitmentReport(take: (report: CommitmentReport) => Promise<number>): Serve {
  return async ({ command, context, dataSet }) => {
    if (command.CommandField !== CommandField['N-EVENT-REPORT-RQ']) return Status.unrecognizedOperation;
    if (context.sopClassUID !== STORAGE_COMMITMENT) return Status.sopClassNotSupported;
    return take(readCommitmentReport(await readIdentifier(dataSet, context.transferSyntaxUID)));
  };
}

function contextOf(association: Association): AcceptedContext {
  const context = association.contexts.find(({ sopClassUID }) => sopClassUID === STORAGE_COMMITMENT);
  if (context !== undefined) return context;
  throw new Refusal('DeliveryFailed', `${association.peer} has not accepted the Storage Commitment Push Model`);
}
