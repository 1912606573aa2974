/** C-FIND, C-MOVE and C-GET as SCP: PS3.4 C.4, PS3.7 9.1.2 to 9.1.4. Which objects match is the handlers' affair. */
import { setImmediate } from 'node:timers/promises';
import type { DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { readDataSet } from '../dicom/reader.ts';
import { Refusal } from '../dicom/refusal.ts';
import { openSink, sinkBytes, writeText } from '../dicom/writer.ts';
import { CommandField, DATA_SET_FOLLOWS, PRIORITY_MEDIUM, Status, isStored, type Command } from './command.ts';
import type { RetrievedObject, Retrieval, ScpHandlers } from './handlers.ts';
import { readIdentifier } from './identifier.ts';
import { failureOf, type Operation, type Response } from './operation.ts';
import { openAssociation, release, abort, store, type Association, type ProposedClass } from './scu.ts';
import { QUERY_CLASSES, type QueryClass } from './sop-classes.ts';

/** How many answers are made before other associations have their turn. */
const MATCHES_A_TURN = 50;
/** What fits into one association (PS3.8 9.3.2.2). */
const MAX_CONTEXTS = 128;
const FAILED_SOP_INSTANCE_UID_LIST = tag('FailedSOPInstanceUIDList');

export async function serveFind(operation: Operation, find: NonNullable<ScpHandlers['find']>): Promise<void> {
  const { association, message, signal } = operation;
  let matches = 0;
  let last: Response = { Status: Status.success };
  try {
    const { root } = queryClass(operation, 'find');
    const identifier = await readIdentifier(message.dataSet, operation.transferSyntaxUID);
    for await (const match of find({ association, root, identifier })) {
      if (signal.aborted) break;
      await operation.respond(
        { Status: match.keysUnsupported ? Status.pendingKeysUnsupported : Status.pending },
        match.identifier,
      );
      matches++;
      if (matches % MATCHES_A_TURN === 0) await setImmediate();
    }
    if (signal.aborted) last = { Status: Status.canceled };
  } catch (error) {
    last = failureOf(operation, 'find-failed', error, Status.cannotUnderstand);
  }
  await operation.respond(last);
  operation.event('found', { messageId: message.command.MessageID ?? 0, status: last.Status, matches });
}

export async function serveRetrieve(
  operation: Operation,
  kind: 'move' | 'get',
  retrieve: NonNullable<ScpHandlers['retrieve']>,
): Promise<void> {
  const { association, message } = operation;
  const tally = new Tally();
  let last: Response;
  try {
    const { root } = queryClass(operation, kind);
    const destinationAE = kind === 'move' ? (message.command.MoveDestination ?? '') : undefined;
    const identifier = await readIdentifier(message.dataSet, operation.transferSyntaxUID);
    const retrieval = await retrieve({ association, root, identifier, destinationAE });
    tally.remaining = retrieval.objects.length;
    if (kind === 'get') await sendHere(operation, retrieval.objects, tally);
    else if (retrieval.destination === undefined) {
      throw new MoveRefusal(Status.destinationUnknown, 'the move destination is not known here as a receiver');
    } else await sendThere(operation, { ...retrieval, destination: retrieval.destination }, tally);
    last = tally.final(operation.signal.aborted);
  } catch (error) {
    last = {
      ...failureOf(operation, 'retrieve-failed', error, Status.cannotUnderstand),
      ...(error instanceof MoveRefusal ? { Status: error.status } : {}),
    };
  }
  // PS3.4 Tables C.4-2, C.4-3: the list comes with whatever is not a success.
  const failed = tally.failedUIDs.length === 0 ? undefined : failedList(tally.failedUIDs);
  await operation.respond(last, failed);
  const { completed, warnings, failedUIDs, remaining } = tally;
  const facts = { completed, warnings, failed: failedUIDs.length, remaining };
  operation.event('retrieved', { messageId: message.command.MessageID ?? 0, status: last.Status, ...facts });
}

class MoveRefusal extends Refusal {
  readonly status: number;

  constructor(status: number, sentence: string) {
    super('BadRequest', sentence);
    this.status = status;
  }
}

/** @throws Refusal SopClassNotSupported where the command names another class than its context, or one of another operation */
function queryClass({ message, sopClassUID }: Operation, kind: QueryClass['operation']): QueryClass {
  const found = QUERY_CLASSES.get(sopClassUID);
  if (found?.operation !== kind || message.command.AffectedSOPClassUID !== sopClassUID) {
    throw new Refusal('SopClassNotSupported', 'the request does not fit the SOP Class of its presentation context');
  }
  return found;
}

/** The four counts of PS3.7 9.1.3.1 and 9.1.4.1. */
class Tally {
  remaining = 0;
  completed = 0;
  warnings = 0;
  readonly failedUIDs: string[] = [];

  add(object: RetrievedObject, status: number): void {
    this.remaining--;
    if (!isStored(status)) this.failedUIDs.push(object.sopInstanceUID);
    else if (status === Status.success) this.completed++;
    else this.warnings++;
  }

  get pending(): Response {
    return { Status: Status.pending, NumberOfRemainingSuboperations: this.remaining, ...this.#counts };
  }

  final(isCanceled: boolean): Response {
    if (isCanceled && this.remaining > 0) {
      return { Status: Status.canceled, NumberOfRemainingSuboperations: this.remaining, ...this.#counts };
    }
    const stored = this.completed + this.warnings;
    const isWhole = this.failedUIDs.length === 0 && this.warnings === 0;
    const status = isWhole ? Status.success : stored === 0 ? Status.noneStored : Status.someFailed;
    return { Status: status, ...this.#counts };
  }

  get #counts(): Partial<Command> {
    return {
      NumberOfCompletedSuboperations: this.completed,
      NumberOfFailedSuboperations: this.failedUIDs.length,
      NumberOfWarningSuboperations: this.warnings,
    };
  }
}

/** C-GET: over the association that asked, where it has taken the SCP role (PS3.7 D.3.3.4). */
async function sendHere(operation: Operation, objects: readonly RetrievedObject[], tally: Tally): Promise<void> {
  for (const object of objects) {
    if (operation.signal.aborted) return;
    tally.add(object, await storeHere(operation, object));
    if (tally.remaining > 0) await operation.respond(tally.pending);
  }
}

async function storeHere(operation: Operation, object: RetrievedObject): Promise<number> {
  const { outward, signal } = operation;
  const context = object.transferSyntaxUIDs
    .map((uid) => outward.find((one) => one.sopClassUID === object.sopClassUID && one.transferSyntaxUID === uid))
    .find((one) => one !== undefined);
  if (context === undefined) return Status.sopClassNotSupported;
  let dataSet;
  try {
    dataSet = await object.dataSet(context.transferSyntaxUID);
  } catch {
    return Status.processingFailure;
  }
  try {
    const response = await operation.perform(
      context.id,
      {
        CommandField: CommandField['C-STORE-RQ'],
        AffectedSOPClassUID: object.sopClassUID,
        AffectedSOPInstanceUID: object.sopInstanceUID,
        Priority: PRIORITY_MEDIUM,
        CommandDataSetType: DATA_SET_FOLLOWS,
      },
      dataSet,
    );
    return response.Status ?? Status.processingFailure;
  } catch (error) {
    // Without its association the operation is over; the count is for the log.
    if (signal.aborted) return Status.processingFailure;
    throw error;
  }
}

/** C-MOVE: over associations of our own, as many as the presentation contexts need. */
async function sendThere(
  operation: Operation,
  { objects, destination }: Retrieval & { readonly destination: NonNullable<Retrieval['destination']> },
  tally: Tally,
): Promise<void> {
  const { association, message, signal } = operation;
  for (const group of groupsByContexts(objects)) {
    if (signal.aborted) return;
    let outward: Association | undefined;
    try {
      outward = await openAssociation({
        host: destination.host,
        port: destination.port,
        calledAE: destination.aeTitle,
        callingAE: association.calledAE,
        contexts: group.contexts,
        ...(destination.tls === undefined ? {} : { tls: destination.tls }),
      });
    } catch (error) {
      operation.event('move-destination-failed', { reason: error instanceof Refusal ? error.reason : 'unexpected' });
    }
    for (const object of group.objects) {
      if (signal.aborted) break;
      tally.add(object, await storeThere(outward, object, association.callingAE, message.command.MessageID ?? 0));
      if (tally.remaining > 0) await operation.respond(tally.pending);
    }
    if (outward === undefined) continue;
    if (signal.aborted) abort(outward);
    else await release(outward).catch(() => undefined);
  }
}

async function storeThere(
  outward: Association | undefined,
  object: RetrievedObject,
  aeTitle: string,
  messageId: number,
): Promise<number> {
  const { sopClassUID, sopInstanceUID } = object;
  const transferSyntaxUID = object.transferSyntaxUIDs.find((uid) =>
    outward?.contexts.some((context) => context.sopClassUID === sopClassUID && context.transferSyntaxUID === uid),
  );
  if (outward === undefined || transferSyntaxUID === undefined) return Status.sopClassNotSupported;
  try {
    const dataSet = await object.dataSet(transferSyntaxUID);
    const moveOriginator = { aeTitle, messageId };
    return await store(outward, { sopClassUID, sopInstanceUID, transferSyntaxUID, dataSet, moveOriginator });
  } catch {
    return Status.processingFailure;
  }
}

interface Group {
  readonly objects: RetrievedObject[];
  readonly contexts: ProposedClass[];
}

/**
 * In order, cut where an association would have more contexts than fit. Of each class and own transfer syntax one context for that
 * syntax, and one for what the object can be made into: a peer that takes both gets it as it is.
 */
function groupsByContexts(objects: readonly RetrievedObject[]): Group[] {
  const groups: Group[] = [];
  let known = new Set<string>();
  for (const object of objects) {
    const { sopClassUID, transferSyntaxUIDs } = object;
    const wanted = contextsOf(object).filter((context) => !known.has(keyOf(context)));
    let group = groups.at(-1);
    if (group === undefined || known.size + wanted.length > MAX_CONTEXTS) {
      group = { objects: [], contexts: [] };
      groups.push(group);
      known = new Set();
    }
    group.objects.push(object);
    for (const context of contextsOf({ sopClassUID, transferSyntaxUIDs })) {
      if (known.has(keyOf(context))) continue;
      known.add(keyOf(context));
      group.contexts.push(context);
    }
  }
  return groups;
}

function keyOf({ sopClassUID, transferSyntaxUIDs }: ProposedClass): string {
  return `${sopClassUID} ${transferSyntaxUIDs.join()}`;
}

function contextsOf({
  sopClassUID,
  transferSyntaxUIDs: [own = '', ...made],
}: Pick<RetrievedObject, 'sopClassUID' | 'transferSyntaxUIDs'>): ProposedClass[] {
  return [[own], made]
    .filter((uids) => uids.length > 0)
    .map((transferSyntaxUIDs) => ({ sopClassUID, transferSyntaxUIDs }));
}

function failedList(uids: readonly string[]): DataSet {
  const sink = openSink();
  writeText(sink, FAILED_SOP_INSTANCE_UID_LIST, 'UI', uids.join('\\'));
  // UI pads with a NUL, which the sink knows.
  const bytes = sinkBytes(sink);
  return readDataSet(bytes, 0, bytes.length, 'explicit-le', { complete: true }).dataSet;
}
