/** C-FIND, C-MOVE and C-GET as SCU (PS3.4 C.4, PS3.7 9.1.2 to 9.1.4) over an open association. */
import type { DataSet } from '../dicom/data-set.ts';
import { Refusal } from '../dicom/refusal.ts';
import { CommandField, DATA_SET_FOLLOWS, PRIORITY_MEDIUM, Status, type Command } from './command.ts';
import { readIdentifier, writeIdentifier } from './identifier.ts';
import type { AcceptedContext, Association } from './scu.ts';
import { queryClassUID, type QueryOperation, type QueryRoot } from './sop-classes.ts';

export interface Query {
  readonly root: QueryRoot;
  /** In Explicit VR Little Endian; sent in the negotiated syntax. */
  readonly identifier: DataSet;
}

/**
 * Matches one by one, as fast as they are taken; `onMatch` answering false cancels the rest. Resolves with the last status: 0 = all,
 * FE00 = canceled.
 */
export async function find(
  association: Association,
  query: Query,
  onMatch: (identifier: DataSet) => boolean | Promise<boolean>,
): Promise<number> {
  const context = contextFor(association, query.root, 'find');
  let isCanceled = false;
  const response = await association.perform(
    context.id,
    request(context, 'C-FIND-RQ'),
    writeIdentifier(query.identifier, context.transferSyntaxUID),
    async (_pending, dataSet) => {
      const match = await readIdentifier(dataSet, context.transferSyntaxUID);
      if (isCanceled || (await onMatch(match))) return;
      isCanceled = true;
      association.cancel();
    },
  );
  return response.Status ?? Status.processingFailure;
}

/** What has become of the sub-operations of a C-MOVE or C-GET. */
export interface RetrieveOutcome {
  readonly status: number;
  readonly completed: number;
  readonly failed: number;
  readonly warnings: number;
}

/** The peer sends the objects to `destinationAE`. */
export function move(association: Association, query: Query, destinationAE: string): Promise<RetrieveOutcome> {
  return retrieve(association, query, 'move', { MoveDestination: destinationAE });
}

/** The objects come over this association, to the `serve` that it was opened with. */
export function get(association: Association, query: Query): Promise<RetrieveOutcome> {
  return retrieve(association, query, 'get', {});
}

async function retrieve(
  association: Association,
  query: Query,
  operation: 'move' | 'get',
  fields: Partial<Command>,
): Promise<RetrieveOutcome> {
  const context = contextFor(association, query.root, operation);
  const response = await association.perform(
    context.id,
    { ...request(context, operation === 'move' ? 'C-MOVE-RQ' : 'C-GET-RQ'), ...fields },
    writeIdentifier(query.identifier, context.transferSyntaxUID),
    () => Promise.resolve(),
  );
  return {
    status: response.Status ?? Status.processingFailure,
    completed: response.NumberOfCompletedSuboperations ?? 0,
    failed: response.NumberOfFailedSuboperations ?? 0,
    warnings: response.NumberOfWarningSuboperations ?? 0,
  };
}

function request(context: AcceptedContext, field: 'C-FIND-RQ' | 'C-MOVE-RQ' | 'C-GET-RQ'): Command {
  return {
    CommandField: CommandField[field],
    AffectedSOPClassUID: context.sopClassUID,
    Priority: PRIORITY_MEDIUM,
    CommandDataSetType: DATA_SET_FOLLOWS,
  };
}

function contextFor(association: Association, root: QueryRoot, operation: QueryOperation): AcceptedContext {
  const uid = queryClassUID(root, operation);
  const context = association.contexts.find(({ sopClassUID }) => sopClassUID === uid);
  if (context !== undefined) return context;
  throw new Refusal('DeliveryFailed', `${association.peer} has not accepted SOP Class ${uid}`);
}
