/** A request being served that talks with its peer meanwhile: pending responses, sub-operations, cancellation (PS3.7 9.1.2 to 9.1.4). */
import type { DataSet } from '../dicom/data-set.ts';
import { Refusal } from '../dicom/refusal.ts';
import { Status, errorComment, type Command } from './command.ts';
import type { AssociationInfo } from './handlers.ts';
import type { DataSetSource, Message } from './message.ts';

export interface Operation {
  readonly association: AssociationInfo;
  readonly message: Message;
  /** Of the presentation context. */
  readonly sopClassUID: string;
  readonly transferSyntaxUID: string;
  /** The peer has canceled, wants to part, or is gone. */
  readonly signal: AbortSignal;
  /** Contexts over which objects may go to the peer. */
  readonly outward: readonly OutwardContext[];
  /** Resolves when the peer has taken it, so that the next is made no faster than it is wanted. */
  respond(fields: Response, dataSet?: DataSet): Promise<void>;
  /** A request of ours on the peer's association; the message id is given here. Rejects when the association ends. */
  perform(contextId: number, command: Command, dataSet: DataSetSource): Promise<Command>;
  event(name: string, facts: Record<string, string | number>): void;
}

export interface OutwardContext {
  readonly id: number;
  readonly sopClassUID: string;
  readonly transferSyntaxUID: string;
}

export type Response = { readonly Status: number } & Partial<Command>;

/** How a failed request is answered: by the reason's status where its service has it, else as one that cannot be processed. */
export function failureOf(operation: Operation, name: string, error: unknown, otherwise: number): Response {
  const reason = error instanceof Refusal ? error.reason : error instanceof Error ? error.name : typeof error;
  const status = error instanceof Refusal ? (STATUS_OF[error.reason] ?? otherwise) : otherwise;
  operation.event(name, { messageId: operation.message.command.MessageID ?? 0, status, reason });
  // A sentence of a Refusal names no value; any other error's could.
  return { Status: status, ...(error instanceof Refusal ? { ErrorComment: errorComment(error.message) } : {}) };
}

const STATUS_OF: Readonly<Partial<Record<Refusal['reason'], number>>> = {
  DataSetMismatch: Status.identifierMismatch,
  NotAuthorized: Status.notAuthorized,
  SopClassNotSupported: Status.sopClassNotSupported,
  OutOfResources: 0xa700,
  DiskFull: 0xa700,
  TooLarge: 0xa700,
};
