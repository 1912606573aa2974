/** The data sets of the Storage Commitment Push Model, PS3.4 J.3: who asks and who reports read and write them alike. */
import { asciiValue, itemsOf, numberValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { readDataSet } from '../dicom/reader.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid } from '../dicom/uid.ts';
import { openSink, sinkBytes, writeNumbers, writeText, type Sink, writeSequence } from '../dicom/writer.ts';

export interface ReferencedInstance {
  readonly sopClassUID: string;
  readonly sopInstanceUID: string;
}

export interface FailedInstance extends ReferencedInstance {
  /** Failure Reason (0008,1197), PS3.3 C.14.1.1. */
  readonly reason: number;
}

export interface CommitmentReport {
  readonly transactionUID: string;
  readonly committed: readonly ReferencedInstance[];
  readonly failed: readonly FailedInstance[];
}

/** PS3.3 C.14.1.1, 2024b. */
export const FailureReason = {
  processingFailure: 0x0110,
  noSuchInstance: 0x0112,
  classInstanceConflict: 0x0119,
} as const;

/** Action Type ID of "request storage commitment" (PS3.4 Table J.3-1). */
export const REQUEST_COMMITMENT = 1;
/** Event Type IDs (PS3.4 Table J.3-2): all committed, and some not. */
export const COMMITTED = 1;
export const FAILURES_EXIST = 2;

const TRANSACTION_UID = tag('TransactionUID');
const REFERENCED_SOP_SEQUENCE = tag('ReferencedSOPSequence');
const FAILED_SOP_SEQUENCE = tag('FailedSOPSequence');
const REFERENCED_SOP_CLASS_UID = tag('ReferencedSOPClassUID');
const REFERENCED_SOP_INSTANCE_UID = tag('ReferencedSOPInstanceUID');
const FAILURE_REASON = tag('FailureReason');

export function commitmentRequestDataSet(transactionUID: string, instances: readonly ReferencedInstance[]): DataSet {
  return written((sink) => {
    writeText(sink, TRANSACTION_UID, 'UI', transactionUID);
    writeReferences(sink, REFERENCED_SOP_SEQUENCE, instances);
  });
}

export function commitmentReportDataSet({ transactionUID, committed, failed }: CommitmentReport): DataSet {
  return written((sink) => {
    writeText(sink, TRANSACTION_UID, 'UI', transactionUID);
    // (0008,1198) comes before (0008,1199).
    if (failed.length > 0) writeReferences(sink, FAILED_SOP_SEQUENCE, failed);
    if (committed.length > 0) writeReferences(sink, REFERENCED_SOP_SEQUENCE, committed);
  });
}

/** @throws Refusal DataSetMismatch */
export function readCommitmentRequest(dataSet: DataSet): {
  readonly transactionUID: string;
  readonly instances: readonly ReferencedInstance[];
} {
  const instances = readReferences(dataSet, REFERENCED_SOP_SEQUENCE);
  if (instances.length === 0) throw mismatch('no item in Referenced SOP Sequence (0008,1199)');
  return { transactionUID: uidIn(dataSet, TRANSACTION_UID, 'Transaction UID (0008,1195)'), instances };
}

/** @throws Refusal DataSetMismatch */
export function readCommitmentReport(dataSet: DataSet): CommitmentReport {
  const reasons = itemsOf(dataSet, FAILED_SOP_SEQUENCE).map(
    (item) => numberValue(item, FAILURE_REASON) ?? FailureReason.processingFailure,
  );
  return {
    transactionUID: uidIn(dataSet, TRANSACTION_UID, 'Transaction UID (0008,1195)'),
    committed: readReferences(dataSet, REFERENCED_SOP_SEQUENCE),
    failed: readReferences(dataSet, FAILED_SOP_SEQUENCE).map((instance, index) => ({
      ...instance,
      reason: reasons[index] ?? FailureReason.processingFailure,
    })),
  };
}

function written(write: (sink: Sink) => void): DataSet {
  const sink = openSink();
  write(sink);
  const bytes = sinkBytes(sink);
  return readDataSet(bytes, 0, bytes.length, 'explicit-le', { complete: true }).dataSet;
}

function writeReferences(
  sink: Sink,
  sequenceTag: number,
  instances: readonly (ReferencedInstance & { readonly reason?: number })[],
): void {
  writeSequence(sink, sequenceTag, instances, ({ sopClassUID, sopInstanceUID, reason }) => {
    writeText(sink, REFERENCED_SOP_CLASS_UID, 'UI', sopClassUID);
    writeText(sink, REFERENCED_SOP_INSTANCE_UID, 'UI', sopInstanceUID);
    if (reason !== undefined) writeNumbers(sink, FAILURE_REASON, 'US', [reason]);
  });
}

function readReferences(dataSet: DataSet, sequenceTag: number): ReferencedInstance[] {
  return itemsOf(dataSet, sequenceTag).map((item) => ({
    sopClassUID: uidIn(item, REFERENCED_SOP_CLASS_UID, 'Referenced SOP Class UID (0008,1150)'),
    sopInstanceUID: uidIn(item, REFERENCED_SOP_INSTANCE_UID, 'Referenced SOP Instance UID (0008,1155)'),
  }));
}

function uidIn(dataSet: DataSet, uidTag: number, name: string): string {
  const uid = asciiValue(dataSet, uidTag) ?? '';
  if (!isUid(uid)) throw mismatch(`${name} is no UID`);
  return uid;
}

function mismatch(sentence: string): Refusal {
  return new Refusal('DataSetMismatch', sentence);
}
