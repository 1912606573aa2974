/** Service class user: opens associations, C-ECHO and C-STORE (PS3.7 9.1); `scu-query` and `scu-commitment` build on it. Every failure of the far side is a Refusal DeliveryFailed. */
import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from '../dicom/implementation.ts';
import { Refusal } from '../dicom/refusal.ts';
import { AssociationMachine } from './association.ts';
import type { Ending, ServiceUser } from './association.ts';
import type { AssociateAccept } from './association-items.ts';
import {
  CommandField,
  DATA_SET_FOLLOWS,
  NO_DATA_SET,
  PRIORITY_MEDIUM,
  RESPONSE_BIT,
  Status,
  isPending,
} from './command.ts';
import type { Command } from './command.ts';
import { MessageReader, sendCommand, sendMessage } from './message.ts';
import type { DataSetSource, DataSetStream, Message } from './message.ts';
import { APPLICATION_CONTEXT, PROTOCOL_VERSION, VERIFICATION, isAeTitle } from './negotiation.ts';
import type { PresentationDataValue } from './pdu.ts';
import { AbortReason, ProtocolViolation } from './violation.ts';

export interface ProposedClass {
  readonly sopClassUID: string;
  readonly transferSyntaxUIDs: readonly string[];
  /** We would be the SCP of this class on our own association (PS3.7 D.3.3.4): C-GET brings objects, or we report a commitment. */
  readonly asScp?: boolean;
}

/** What the peer asks of us on our own association: C-STORE during C-GET, N-EVENT-REPORT. Resolves with the status to answer. */
export type Serve = (request: {
  readonly command: Command;
  readonly context: AcceptedContext;
  readonly dataSet: DataSetStream;
}) => Promise<number>;

export interface ScuOptions {
  readonly host: string;
  readonly port: number;
  readonly callingAE: string;
  readonly calledAE: string;
  /** One presentation context each, at most 128. */
  readonly contexts: readonly ProposedClass[];
  readonly tls?: ScuTls;
  /** Absent: every request of the peer is answered with "unrecognized operation". */
  readonly serve?: Serve;
  /** Default 10 000. */
  readonly connectTimeoutMs?: number;
  /** How long the peer may take to answer, or to take bytes; default 60 000. */
  readonly idleMs?: number;
  /** How long the peer may keep the connection open after an abort; default 5 000. */
  readonly artimMs?: number;
  /** The longest P-DATA-TF that we offer to take; default 131072. */
  readonly maxPduLength?: number;
}

export interface ScuTls {
  /** Whom to believe; absent = the well-known authorities. */
  readonly ca?: string | Buffer;
  /** Our own certificate, for peers that ask. */
  readonly key?: string | Buffer;
  readonly cert?: string | Buffer;
  /** The name that the peer's certificate bears, where it is not `host`. */
  readonly servername?: string;
}

export interface AcceptedContext {
  readonly id: number;
  readonly sopClassUID: string;
  readonly transferSyntaxUID: string;
}

export interface StoreObject {
  readonly sopClassUID: string;
  readonly sopInstanceUID: string;
  /** Of `dataSet`; it is sent as it is, so a context with exactly this syntax must have been accepted. */
  readonly transferSyntaxUID: string;
  /** Without file meta information. */
  readonly dataSet: DataSetSource;
  /** Whose C-MOVE led to it (PS3.7 9.1.1.1). */
  readonly moveOriginator?: { readonly aeTitle: string; readonly messageId: number };
}

const DEFAULTS = { connectTimeoutMs: 10_000, idleMs: 60_000, artimMs: 5_000, maxPduLength: 131_072 };
const MAX_CONTEXTS = 128;

/** @throws Refusal DeliveryFailed where the peer cannot be reached or turns us down, BadRequest where the request makes no sense. */
export async function openAssociation(options: ScuOptions): Promise<Association> {
  if (options.contexts.length === 0 || options.contexts.length > MAX_CONTEXTS) {
    throw new Refusal(
      'BadRequest',
      `${options.contexts.length} presentation contexts; 1 to ${MAX_CONTEXTS} fit into one association`,
    );
  }
  for (const title of [options.callingAE, options.calledAE]) {
    if (!isAeTitle(title)) throw new Refusal('BadRequest', `"${title}" is not an AE title (PS3.5 6.2)`);
  }
  const association = new Association(options);
  await association.opened;
  return association;
}

/** The peer's status; 0 = success. */
export async function echo(association: Association): Promise<number> {
  const context = association.contexts.find(({ sopClassUID }) => sopClassUID === VERIFICATION);
  if (context === undefined) {
    throw new Refusal('DeliveryFailed', `${association.peer} has not accepted the Verification SOP Class`);
  }
  const command = {
    CommandField: CommandField['C-ECHO-RQ'],
    AffectedSOPClassUID: VERIFICATION,
    CommandDataSetType: NO_DATA_SET,
  };
  return statusOf(await association.perform(context.id, command));
}

/** The peer's status: `isStored` of command.ts says whether it means that the object arrived. */
export async function store(association: Association, object: StoreObject): Promise<number> {
  const { sopClassUID, transferSyntaxUID } = object;
  const context = association.contexts.find(
    (accepted) => accepted.sopClassUID === sopClassUID && accepted.transferSyntaxUID === transferSyntaxUID,
  );
  if (context === undefined) {
    const sentence = `${association.peer} has not accepted SOP Class ${sopClassUID} in transfer syntax ${transferSyntaxUID}`;
    throw new Refusal('DeliveryFailed', sentence);
  }
  const command = {
    CommandField: CommandField['C-STORE-RQ'],
    AffectedSOPClassUID: sopClassUID,
    AffectedSOPInstanceUID: object.sopInstanceUID,
    Priority: PRIORITY_MEDIUM,
    CommandDataSetType: DATA_SET_FOLLOWS,
    ...(object.moveOriginator === undefined
      ? {}
      : {
          MoveOriginatorApplicationEntityTitle: object.moveOriginator.aeTitle,
          MoveOriginatorMessageID: object.moveOriginator.messageId,
        }),
  };
  return statusOf(await association.perform(context.id, command, object.dataSet));
}

/** Waits for running operations, then parts in order. */
export function release(association: Association): Promise<void> {
  return association.release();
}

/** Ends the association now; running operations fail. */
export function abort(association: Association): void {
  association.abort();
}

export function acceptedContexts(association: Association): readonly AcceptedContext[] {
  return association.contexts;
}

function statusOf(response: Command): number {
  return response.Status ?? Status.processingFailure;
}

/** Takes a pending response; the next one is read when it has resolved. */
export type TakePending = (response: Command, dataSet: DataSetStream | undefined) => Promise<void>;

interface Pending {
  readonly messageId: number;
  readonly contextId: number;
  readonly takePending: TakePending | undefined;
  readonly resolve: (response: Command) => void;
  readonly reject: (error: Error) => void;
}

/** An association that we have opened; handled through the functions above. */
export class Association implements ServiceUser {
  /** Who is at the other end, for sentences. */
  readonly peer: string;
  readonly opened: Promise<void>;
  contexts: readonly AcceptedContext[] = [];
  readonly #options: ScuOptions;
  readonly #machine: AssociationMachine;
  readonly #reader: MessageReader;
  #peerMaxPduLength = 0;
  #messageId = 0;
  #pending: Pending | undefined;
  #waiting = false;
  /** Operations go one after another: the end of the last one. */
  #last: Promise<unknown> = Promise.resolve();
  /** What the peer has sent is being taken: its end. */
  #held: Promise<void> = Promise.resolve();
  #open: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #parted: (() => void) | undefined;

  constructor(options: ScuOptions) {
    this.#options = options;
    this.peer = `${options.calledAE} at ${options.host}:${options.port}`;
    const maxPduLength = options.maxPduLength ?? DEFAULTS.maxPduLength;
    this.#machine = new AssociationMachine(connectTo(options), this, {
      maxPduLength,
      artimMs: options.artimMs ?? DEFAULTS.artimMs,
      idleMs: options.idleMs ?? DEFAULTS.idleMs,
      connectTimeoutMs: options.connectTimeoutMs ?? DEFAULTS.connectTimeoutMs,
    });
    this.#reader = new MessageReader(
      (message) => this.#take(message),
      () => this.#machine.resume(),
    );
    this.opened = new Promise((resolve, reject) => (this.#open = { resolve, reject }));
    this.#machine.request(
      {
        protocolVersion: PROTOCOL_VERSION,
        calledAE: options.calledAE,
        callingAE: options.callingAE,
        applicationContext: APPLICATION_CONTEXT,
        contexts: options.contexts.map(({ sopClassUID, transferSyntaxUIDs }, index) => ({
          id: contextId(index),
          abstractSyntax: sopClassUID,
          transferSyntaxUIDs,
        })),
        user: {
          maxPduLength,
          implementationClassUID: IMPLEMENTATION_CLASS_UID,
          implementationVersionName: IMPLEMENTATION_VERSION_NAME,
          asyncOperations: undefined,
          roles: options.contexts
            .filter(({ asScp }) => asScp === true)
            .map(({ sopClassUID }) => ({ sopClassUID, scu: false, scp: true })),
          userIdentityType: undefined,
        },
      },
      options.tls === undefined ? 'connect' : 'secureConnect',
    );
  }

  /** Sends a request and resolves with its response; the message id is given here. */
  perform(contextId: number, command: Command, dataSet?: DataSetSource, takePending?: TakePending): Promise<Command> {
    const turn = this.#last.then(() => this.#perform(contextId, command, dataSet, takePending));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** C-CANCEL of the operation that is going on; its final response still comes (PS3.7 9.3.2.3). */
  cancel(): void {
    const pending = this.#pending;
    if (pending === undefined || this.#machine.state !== 'Sta6') return;
    const command = {
      CommandField: CommandField['C-CANCEL-RQ'],
      MessageIDBeingRespondedTo: pending.messageId,
      CommandDataSetType: NO_DATA_SET,
    };
    sendCommand(this.#machine, pending.contextId, command, { maxPduLength: this.#peerMaxPduLength });
  }

  get isEnded(): boolean {
    return this.#machine.ending !== undefined;
  }

  async release(): Promise<void> {
    await this.#last;
    // What the peer has asked of us gets its answer first.
    await this.#held;
    const parted = new Promise<void>((resolve) => (this.#parted = resolve));
    if (this.#machine.release()) await parted;
    if (this.#machine.ending?.how !== 'released') throw this.#failure();
  }

  abort(): void {
    this.#machine.abort('aborted by this side');
  }

  judge(): undefined {
    return undefined;
  }

  requested(): void {
    throw new Error('a requestor accepts no association');
  }

  accepted(accept: AssociateAccept): void {
    this.#peerMaxPduLength = accept.user.maxPduLength;
    this.contexts = accept.contexts.flatMap(({ id, result, transferSyntaxUID }) => {
      const proposed = this.#options.contexts[(id - 1) / 2];
      // An answer to what was not proposed is none.
      if (result !== 0 || proposed?.transferSyntaxUIDs.includes(transferSyntaxUID) !== true) return [];
      return [{ id, sopClassUID: proposed.sopClassUID, transferSyntaxUID }];
    });
    if (this.#peerMaxPduLength !== 0 && this.#peerMaxPduLength < 8) {
      this.#machine.abort(`the peer takes PDUs of ${this.#peerMaxPduLength} bytes only`);
      return;
    }
    this.#open?.resolve();
  }

  ready(): boolean {
    return this.#reader.ready();
  }

  received(value: PresentationDataValue): void {
    if (!this.contexts.some(({ id }) => id === value.contextId)) {
      const sentence = `presentation context ${value.contextId} was not accepted`;
      throw new ProtocolViolation(AbortReason.invalidPduParameter, sentence);
    }
    this.#reader.received(value);
  }

  releaseRequested(): void {
    this.#machine.respondRelease();
  }

  waitingForPeer(): boolean {
    return this.#waiting;
  }

  ended(): void {
    const failure = this.#failure();
    this.#reader.fail(failure);
    this.#open?.reject(failure);
    this.#pending?.reject(failure);
    this.#pending = undefined;
    this.#parted?.();
  }

  async #perform(
    contextId: number,
    command: Command,
    dataSet: DataSetSource | undefined,
    takePending: TakePending | undefined,
  ): Promise<Command> {
    if (this.#machine.state !== 'Sta6') throw this.#failure();
    this.#messageId = (this.#messageId % 0xffff) + 1;
    const messageId = this.#messageId;
    const response = new Promise<Command>((resolve, reject) => {
      this.#pending = { messageId, contextId, takePending, resolve, reject };
    });
    // Read below; until then a rejection has somewhere to go.
    response.catch(() => undefined);
    const request = { ...command, MessageID: messageId };
    const options = {
      maxPduLength: this.#peerMaxPduLength,
      waiting: (isWaiting: boolean) => (this.#waiting = isWaiting),
    };
    try {
      if (dataSet === undefined) sendCommand(this.#machine, contextId, request, options);
      else await sendMessage(this.#machine, { contextId, command: request, dataSet }, options);
    } catch (error) {
      // Half a data set cannot be taken back (PS3.7 9.3.1): the association is of no more use.
      this.#machine.abort('the object could not be read to its end');
      throw error;
    }
    this.#waiting = true;
    return response.finally(() => (this.#waiting = false));
  }

  #take(message: Message): void {
    const { command, dataSet } = message;
    const pending = this.#pending;
    if ((command.CommandField & RESPONSE_BIT) === 0) this.#hold(this.#answer(message));
    else if (pending === undefined || command.MessageIDBeingRespondedTo !== pending.messageId) {
      throw new ProtocolViolation(AbortReason.unexpectedPduParameter, 'a response to a message that was not sent');
    } else if (isPending(command.Status) && pending.takePending !== undefined) {
      this.#hold(pending.takePending(command, dataSet).finally(() => dataSet?.discard()));
    } else {
      // The list of what failed, with the last response, is of no use: each object has told its status.
      dataSet?.discard();
      this.#pending = undefined;
      pending.resolve(command);
    }
  }

  /** Nothing more is read until `work` is done: what the peer sends meanwhile waits in its socket. */
  #hold(work: Promise<void>): void {
    const wasWaiting = this.#waiting;
    this.#waiting = false;
    this.#reader.isBusy = true;
    this.#held = work.then(
      () => {
        this.#waiting = wasWaiting;
        this.#reader.isBusy = false;
        this.#machine.resume();
      },
      (error: unknown) => {
        this.#pending?.reject(error instanceof Error ? error : new Error('a response could not be taken'));
        this.#pending = undefined;
        this.#machine.abort('a response could not be taken');
      },
    );
  }

  async #answer({ contextId, command, dataSet }: Message): Promise<void> {
    const { CommandField: field, MessageID = 0, AffectedSOPClassUID, AffectedSOPInstanceUID } = command;
    const context = this.contexts.find(({ id }) => id === contextId);
    let status: number = Status.unrecognizedOperation;
    if (this.#options.serve !== undefined && context !== undefined && dataSet !== undefined) {
      try {
        status = await this.#options.serve({ command, context, dataSet });
      } catch (error) {
        status = error instanceof Refusal ? error.answer.dimseStatus : Status.processingFailure;
      }
    }
    dataSet?.discard();
    await dataSet?.settled();
    const answer = {
      CommandField: field | RESPONSE_BIT,
      MessageIDBeingRespondedTo: MessageID,
      CommandDataSetType: NO_DATA_SET,
      Status: status,
      ...(AffectedSOPClassUID === undefined ? {} : { AffectedSOPClassUID }),
      ...(AffectedSOPInstanceUID === undefined ? {} : { AffectedSOPInstanceUID }),
      ...(command.EventTypeID === undefined ? {} : { EventTypeID: command.EventTypeID }),
    };
    sendCommand(this.#machine, contextId, answer, { maxPduLength: this.#peerMaxPduLength });
  }

  #failure(): Refusal {
    const ending = this.#machine.ending;
    return new Refusal(
      'DeliveryFailed',
      `association with ${this.peer} ${ending === undefined ? 'is not open' : describe(ending)}`,
    );
  }
}

function describe({ how, sentence }: Ending): string {
  return `${how}: ${sentence}`;
}

/** Odd, 1 to 255 (PS3.8 9.3.2.2). */
function contextId(index: number): number {
  return 2 * index + 1;
}

function connectTo({ host, port, tls }: ScuOptions): ReturnType<typeof connect> {
  const options = { host, port, noDelay: true };
  return tls === undefined ? connect(options) : connectTls({ ...options, ...tls, minVersion: 'TLSv1.2' });
}
