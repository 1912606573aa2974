/** Storage Commitment Push Model on an association that a peer has opened: N-ACTION as SCP, N-EVENT-REPORT as SCU (PS3.4 J.3, PS3.7 10.1). */
import { DATA_SET_FOLLOWS, CommandField, Status, type Command } from './command.ts';
import {
  COMMITTED,
  FAILURES_EXIST,
  REQUEST_COMMITMENT,
  commitmentReportDataSet,
  readCommitmentReport,
  readCommitmentRequest,
  type CommitmentReport,
} from './commitment.ts';
import type { ScpHandlers } from './handlers.ts';
import { readIdentifier, writeIdentifier } from './identifier.ts';
import { failureOf, type Operation, type Response } from './operation.ts';
import { STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE } from './sop-classes.ts';

export async function serveCommitment(operation: Operation, commit: NonNullable<ScpHandlers['commit']>): Promise<void> {
  const { command, dataSet } = operation.message;
  const { RequestedSOPClassUID, RequestedSOPInstanceUID, ActionTypeID } = command;
  const about: Partial<Command> = {
    AffectedSOPClassUID: STORAGE_COMMITMENT,
    AffectedSOPInstanceUID: STORAGE_COMMITMENT_INSTANCE,
    ...(ActionTypeID === undefined ? {} : { ActionTypeID }),
  };
  const wrong = refuse(operation, RequestedSOPClassUID, RequestedSOPInstanceUID);
  if (wrong !== undefined || ActionTypeID !== REQUEST_COMMITMENT) {
    await operation.respond({ ...about, Status: wrong ?? Status.noSuchAction });
    return;
  }
  let report: CommitmentReport | undefined;
  let answer: Response = { Status: Status.success };
  try {
    const request = readCommitmentRequest(await readIdentifier(dataSet, operation.transferSyntaxUID));
    report = await commit({ association: operation.association, ...request });
  } catch (error) {
    answer = argumentFailure(failureOf(operation, 'commitment-failed', error, Status.processingFailure));
  }
  await operation.respond({ ...about, ...answer });
  if (report !== undefined) await reportHere(operation, report);
}

async function reportHere(operation: Operation, report: CommitmentReport): Promise<void> {
  const { message, transferSyntaxUID } = operation;
  const facts = { committed: report.committed.length, failed: report.failed.length };
  try {
    const response = await operation.perform(
      message.contextId,
      eventReportCommand(report),
      writeIdentifier(commitmentReportDataSet(report), transferSyntaxUID),
    );
    operation.event('commitment-reported', { ...facts, status: response.Status ?? 0 });
  } catch {
    operation.event('commitment-not-reported', facts);
  }
}

/** The answer to the commitment that we asked for. */
export async function serveReport(
  operation: Operation,
  committed: NonNullable<ScpHandlers['committed']>,
): Promise<void> {
  const { command, dataSet } = operation.message;
  const { AffectedSOPClassUID, AffectedSOPInstanceUID, EventTypeID } = command;
  const about: Partial<Command> = {
    AffectedSOPClassUID: STORAGE_COMMITMENT,
    AffectedSOPInstanceUID: STORAGE_COMMITMENT_INSTANCE,
    ...(EventTypeID === undefined ? {} : { EventTypeID }),
  };
  const wrong = refuse(operation, AffectedSOPClassUID, AffectedSOPInstanceUID);
  const isKnown = EventTypeID === COMMITTED || EventTypeID === FAILURES_EXIST;
  if (wrong !== undefined || !isKnown) {
    await operation.respond({ ...about, Status: wrong ?? Status.noSuchEventType });
    return;
  }
  let answer: Response;
  try {
    const report = readCommitmentReport(await readIdentifier(dataSet, operation.transferSyntaxUID));
    answer = { Status: await committed(operation.association, report) };
  } catch (error) {
    answer = argumentFailure(failureOf(operation, 'report-failed', error, Status.processingFailure));
  }
  await operation.respond({ ...about, ...answer });
}

/** The status that refuses a request for another class or instance than the one there is (PS3.7 10.1.1, 10.1.4). */
function refuse(
  operation: Operation,
  classUID: string | undefined,
  instanceUID: string | undefined,
): number | undefined {
  if (operation.message.command.MessageID === undefined) return Status.missingAttribute;
  if (operation.sopClassUID !== STORAGE_COMMITMENT || classUID !== STORAGE_COMMITMENT) {
    return Status.sopClassNotSupported;
  }
  return instanceUID === STORAGE_COMMITMENT_INSTANCE ? undefined : Status.noSuchInstance;
}

/** A data set that does not fit is an invalid argument in the words of DIMSE-N (PS3.7 C.5.13). */
function argumentFailure(response: Response): Response {
  return response.Status === Status.identifierMismatch ? { ...response, Status: Status.invalidArgument } : response;
}

export function eventReportCommand({ failed }: CommitmentReport): Command {
  return {
    CommandField: CommandField['N-EVENT-REPORT-RQ'],
    AffectedSOPClassUID: STORAGE_COMMITMENT,
    AffectedSOPInstanceUID: STORAGE_COMMITMENT_INSTANCE,
    EventTypeID: failed.length === 0 ? COMMITTED : FAILURES_EXIST,
    CommandDataSetType: DATA_SET_FOLLOWS,
  };
}
