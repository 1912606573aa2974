/** One association over one socket: runs the state table of PS3.8 9.2 with its timers, reads PDUs and writes each in one piece. */
import type { Socket } from 'node:net';
import type { AssociateAccept, AssociateRequest } from './association-items.ts';
import { ByteQueue } from './byte-queue.ts';
import { readPdu, writeDataPdu, writePdu } from './pdu.ts';
import type { Abort, AssociateReject, Pdu, PresentationDataValue } from './pdu.ts';
import { ACTIONS, EVENTS, STATES, actionFor } from './state-table.ts';
import type { Choice, Effect, State, StateEvent, Step } from './state-table.ts';
import { AbortReason, ProtocolViolation } from './violation.ts';

/** How an association ended; called 'aborted' unless both sides agreed to part. */
export interface Ending {
  readonly how: 'released' | 'rejected' | 'aborted';
  /** For logs and errors: what happened, without content. */
  readonly sentence: string;
  readonly reject?: AssociateReject;
  readonly abort?: Abort;
}

/** What the machine tells the one who uses it; all calls come from the socket's events or from the machine's own methods. */
export interface ServiceUser {
  /** AE-6: why the provider cannot take this request, or undefined. */
  judge(request: AssociateRequest): AssociateReject | undefined;
  /** Answer with `accept` or `reject`. */
  requested(request: AssociateRequest): void;
  accepted(accept: AssociateAccept): void;
  /** May this value be delivered now? After a no the socket rests until `resume`. */
  ready(value: PresentationDataValue): boolean;
  /** @throws ProtocolViolation */
  received(value: PresentationDataValue): void;
  /** Answer with `respondRelease`. */
  releaseRequested(): void;
  /** Is it the peer's turn? Only then does the idle timer count. */
  waitingForPeer(): boolean;
  /** Once, when the association no longer exists (Sta13 or Sta1). */
  ended(ending: Ending): void;
}

export interface AssociationLimits {
  /** The longest P-DATA-TF that this side offers to take. */
  readonly maxPduLength: number;
  readonly artimMs: number;
  readonly idleMs: number;
  /** From the connection request to the open connection; requestor only. */
  readonly connectTimeoutMs?: number;
}

interface Cause {
  readonly request?: AssociateRequest;
  readonly accept?: AssociateAccept;
  readonly reject?: AssociateReject;
  readonly abort?: Abort;
  readonly values?: readonly PresentationDataValue[];
  readonly sentence?: string;
}

const EVENT_OF = {
  'A-ASSOCIATE-AC': 'Evt3',
  'A-ASSOCIATE-RJ': 'Evt4',
  'A-ASSOCIATE-RQ': 'Evt6',
  'P-DATA-TF': 'Evt10',
  'A-RELEASE-RQ': 'Evt12',
  'A-RELEASE-RP': 'Evt13',
  'A-ABORT': 'Evt16',
} as const satisfies Record<Pdu['type'], StateEvent>;

export class AssociationMachine {
  readonly #socket: Socket;
  readonly #user: ServiceUser;
  readonly #limits: AssociationLimits;
  readonly #queue = new ByteQueue();
  #state: State = 'Sta1';
  #isRequestor = false;
  /** Values of the last P-DATA-TF that the user has not been able to take yet. */
  #values: readonly PresentationDataValue[] = [];
  #nextValue = 0;
  #processing = false;
  /** Set once the byte stream makes no sense any more: what follows is thrown away unread. */
  #deaf = false;
  /** The transport connection stands, with TLS the handshake too. */
  #isOpen = false;
  #rejection: AssociateReject | undefined;
  #ending: Ending | undefined;
  #artim: NodeJS.Timeout | undefined;
  #patience: NodeJS.Timeout | undefined;
  #socketError: string | undefined;

  constructor(socket: Socket, user: ServiceUser, limits: AssociationLimits) {
    this.#socket = socket;
    this.#user = user;
    this.#limits = limits;
    // Nagle's algorithm together with a delayed acknowledgement costs 40 ms a message.
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#chunk(chunk));
    socket.on('drain', () => this.#patience?.refresh());
    socket.on('error', (error: NodeJS.ErrnoException) => (this.#socketError = error.code ?? error.name));
    socket.on('close', () => this.#closed());
  }

  get state(): State {
    return this.#state;
  }

  get ending(): Ending | undefined {
    return this.#ending;
  }

  /** The transport connection was opened by the peer. */
  serve(): void {
    this.#isOpen = true;
    this.#fire('Evt5', {});
  }

  /** Opens an association over a socket that is still connecting; `connectEvent` is 'connect' or, with TLS, 'secureConnect'. */
  request(request: AssociateRequest, connectEvent: string): void {
    this.#isRequestor = true;
    this.#fire('Evt1', {});
    this.#setPatience(this.#limits.connectTimeoutMs ?? this.#limits.artimMs);
    this.#socket.once(connectEvent, () => {
      if (this.#state !== 'Sta4') return;
      this.#isOpen = true;
      this.#setPatience(this.#limits.idleMs);
      this.#fire('Evt2', { request });
    });
  }

  accept(accept: AssociateAccept): void {
    this.#fire('Evt7', { accept });
    this.#setPatience(this.#limits.idleMs);
  }

  reject(reject: AssociateReject): void {
    this.#fire('Evt8', { reject });
  }

  /** Sends values in one write. False: wait for `drained` before the next. Does nothing once the association has ended. */
  send(values: readonly PresentationDataValue[]): boolean {
    if (actionFor(this.#state, 'Evt9') === undefined) return true;
    this.#fire('Evt9', { values });
    this.#patience?.refresh();
    return !this.#socket.writableNeedDrain;
  }

  /** Resolves when the socket takes more, or has closed. */
  drained(): Promise<void> {
    const socket = this.#socket;
    if (!socket.writableNeedDrain || socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => {
      const settle = (): void => {
        socket.off('drain', settle);
        socket.off('close', settle);
        resolve();
      };
      socket.on('drain', settle);
      socket.on('close', settle);
    });
  }

  /** Asks for an orderly end; false where the association is not in a state to be released. */
  release(): boolean {
    if (this.#state !== 'Sta6') return false;
    this.#fire('Evt11', {});
    return true;
  }

  respondRelease(): void {
    if (actionFor(this.#state, 'Evt14') !== undefined) this.#fire('Evt14', {});
  }

  /** Ends the association now. Before one exists, and after, the connection is simply closed. */
  abort(sentence: string): void {
    if (actionFor(this.#state, 'Evt15') !== undefined) this.#fire('Evt15', { sentence });
    else this.#socket.destroy();
  }

  /** Delivers what `ready` held back. */
  resume(): void {
    this.#process();
  }

  #chunk(chunk: Buffer): void {
    if (this.#deaf) return;
    this.#queue.push(chunk);
    this.#process();
  }

  #process(): void {
    if (this.#processing) return;
    this.#processing = true;
    try {
      this.#deliver();
    } catch (error) {
      this.#stumble(error);
    } finally {
      this.#processing = false;
    }
  }

  #deliver(): void {
    while (!this.#deaf && this.#state !== 'Sta1') {
      const value = this.#values[this.#nextValue];
      if (value !== undefined) {
        if (!this.#user.ready(value)) {
          this.#socket.pause();
          return;
        }
        this.#nextValue++;
        this.#user.received(value);
        continue;
      }
      const pdu = readPdu(this.#queue, this.#limits.maxPduLength);
      if (pdu === undefined) break;
      // Counted by whole PDUs: a peer that trickles bytes must still finish one in time.
      this.#patience?.refresh();
      this.#fire(EVENT_OF[pdu.type], causeOf(pdu));
    }
    if (this.#socket.isPaused()) this.#socket.resume();
  }

  #stumble(error: unknown): void {
    this.#silence();
    if (error instanceof ProtocolViolation) {
      const abort = { source: 2, reason: error.abortReason };
      if (actionFor(this.#state, 'Evt19') !== undefined) this.#fire('Evt19', { abort, sentence: error.message });
    } else {
      this.abort(`an error of our own: ${error instanceof Error ? error.name : typeof error}`);
    }
    this.#socket.resume();
  }

  #silence(): void {
    this.#deaf = true;
    this.#queue.clear();
    this.#values = [];
  }

  #closed(): void {
    clearTimeout(this.#artim);
    this.#stopPatience();
    if (this.#state === 'Sta1') return;
    const sentence = this.#socketError === undefined ? 'the peer closed the connection' : this.#socketError;
    this.#fire('Evt17', { sentence: `connection lost: ${sentence}` });
    this.#silence();
  }

  #fire(event: StateEvent, cause: Cause): void {
    const from = this.#state;
    const action = actionFor(from, event);
    if (action === undefined) throw new Error(`${EVENTS[event]} cannot happen in state "${STATES[from]}"`);
    const entry: Step | Choice = ACTIONS[action];
    const step = 'when' in entry ? (this.#holds(entry.when, cause) ? entry.yes : entry.no) : entry;
    const unexpected = {
      abort: { source: 2, reason: AbortReason.unexpectedPdu },
      sentence: `${EVENTS[event]} unexpectedly`,
    };
    const isOurs = action === 'AA-7' || action === 'AA-8';
    const known = isOurs && cause.sentence === undefined ? unexpected : cause;
    this.#state = step.next;
    for (const effect of step.effects) this.#perform(effect, known);
    if (step.next === 'Sta13' || step.next === 'Sta1') this.#end(step, { sentence: EVENTS[event], ...known });
  }

  #holds(condition: Choice['when'], cause: Cause): boolean {
    if (condition === 'this side requested the association') return this.#isRequestor;
    this.#rejection = cause.request === undefined ? undefined : this.#user.judge(cause.request);
    return this.#rejection === undefined;
  }

  #perform(effect: Effect, cause: Cause): void {
    switch (effect) {
      case 'send A-ASSOCIATE-RQ':
        if (cause.request !== undefined) this.#write([writePdu({ type: 'A-ASSOCIATE-RQ', request: cause.request })]);
        return;
      case 'send A-ASSOCIATE-AC':
        if (cause.accept !== undefined) this.#write([writePdu({ type: 'A-ASSOCIATE-AC', accept: cause.accept })]);
        return;
      case 'send A-ASSOCIATE-RJ': {
        const reject = cause.reject ?? this.#rejection;
        if (reject !== undefined) this.#write([writePdu({ type: 'A-ASSOCIATE-RJ', reject })]);
        return;
      }
      case 'send P-DATA-TF':
        this.#write((cause.values ?? []).flatMap(writeDataPdu));
        return;
      case 'send A-RELEASE-RQ':
        this.#write([writePdu({ type: 'A-RELEASE-RQ' })]);
        return;
      case 'send A-RELEASE-RP':
        this.#write([writePdu({ type: 'A-RELEASE-RP' })]);
        return;
      case 'send A-ABORT (service user)':
        // PS3.8 9.3.8: with source 0 the reason is not significant and is sent as 0.
        this.#write([writePdu({ type: 'A-ABORT', abort: { source: 0, reason: AbortReason.notSpecified } })]);
        return;
      case 'send A-ABORT (service provider)':
        this.#write([
          writePdu({ type: 'A-ABORT', abort: cause.abort ?? { source: 2, reason: AbortReason.notSpecified } }),
        ]);
        return;
      case 'indicate A-ASSOCIATE':
        if (cause.request !== undefined) this.#user.requested(cause.request);
        return;
      case 'confirm A-ASSOCIATE (accept)':
        if (cause.accept !== undefined) this.#user.accepted(cause.accept);
        return;
      case 'indicate P-DATA':
        // The next PDU is read only when the values of the last one are gone.
        this.#values = cause.values ?? [];
        this.#nextValue = 0;
        return;
      case 'indicate A-RELEASE':
        this.#user.releaseRequested();
        return;
      case 'start ARTIM':
        this.#startArtim();
        return;
      case 'stop ARTIM':
        clearTimeout(this.#artim);
        return;
      case 'close transport connection':
        this.#closeTransport();
        return;
      // The caller of `request` has begun to connect already; the four below reach the user as the one call of `ended`.
      case 'open transport connection':
      case 'confirm A-ASSOCIATE (reject)':
      case 'confirm A-RELEASE':
      case 'indicate A-ABORT':
      case 'indicate A-P-ABORT':
        return;
      default:
        effect satisfies never;
    }
  }

  #end(step: Step, cause: Cause): void {
    this.#stopPatience();
    this.#values = [];
    if (this.#ending !== undefined) return;
    const did = (...effects: Effect[]): boolean => effects.some((effect) => step.effects.includes(effect));
    const sentence = cause.abort === undefined ? (cause.sentence ?? '') : describeAbort(cause.abort, cause.sentence);
    const reject = cause.reject ?? this.#rejection;
    if (did('confirm A-RELEASE', 'send A-RELEASE-RP')) {
      this.#ending = { how: 'released', sentence: 'both sides agreed' };
    } else if (reject !== undefined && did('send A-ASSOCIATE-RJ', 'confirm A-ASSOCIATE (reject)')) {
      const { result, source, reason } = reject;
      this.#ending = { how: 'rejected', reject, sentence: `result ${result}, source ${source}, reason ${reason}` };
    } else {
      this.#ending = { how: 'aborted', sentence, ...(cause.abort === undefined ? {} : { abort: cause.abort }) };
    }
    this.#user.ended(this.#ending);
  }

  /** One call of the kernel for whatever is in the list: header and body never travel in two segments. */
  #write(buffers: readonly Buffer[]): void {
    if (!this.#socket.writable) return;
    this.#socket.cork();
    for (const buffer of buffers) this.#socket.write(buffer);
    this.#socket.uncork();
  }

  #closeTransport(): void {
    // Neither a connection that does not come about nor bytes that the peer does not read are waited for.
    if (!this.#isOpen || this.#socket.writableLength > 0) this.#socket.destroy();
    else this.#socket.destroySoon();
    this.#socket.resume();
  }

  #startArtim(): void {
    clearTimeout(this.#artim);
    this.#artim = setTimeout(() => {
      if (actionFor(this.#state, 'Evt18') !== undefined) this.#fire('Evt18', { sentence: 'ARTIM timer expired' });
      this.#socket.destroy();
    }, this.#limits.artimMs);
    // A paused socket would not see the peer close.
    this.#socket.resume();
  }

  #isOurTurn(): boolean {
    if (this.#state === 'Sta6') return !this.#user.waitingForPeer();
    return this.#state === 'Sta8' || this.#state === 'Sta9' || this.#state === 'Sta12';
  }

  #stopPatience(): void {
    clearTimeout(this.#patience);
    // A timer that was cleared must not be refreshed.
    this.#patience = undefined;
  }

  #setPatience(timeMs: number): void {
    this.#stopPatience();
    this.#patience = setTimeout(() => {
      if (this.#isOurTurn()) this.#patience?.refresh();
      else this.abort(`nothing from the peer for ${timeMs} ms`);
    }, timeMs);
  }
}

function causeOf(pdu: Pdu): Cause {
  switch (pdu.type) {
    case 'A-ASSOCIATE-RQ':
      return { request: pdu.request };
    case 'A-ASSOCIATE-AC':
      return { accept: pdu.accept };
    case 'A-ASSOCIATE-RJ':
      return { reject: pdu.reject };
    case 'P-DATA-TF':
      return { values: pdu.values };
    case 'A-ABORT':
      return { abort: pdu.abort };
    case 'A-RELEASE-RQ':
    case 'A-RELEASE-RP':
      return {};
    default:
      return pdu satisfies never;
  }
}

function describeAbort(abort: Abort, sentence: string | undefined): string {
  const text = `A-ABORT, source ${abort.source}, reason ${abort.reason}`;
  return sentence === undefined ? text : `${sentence} (${text})`;
}
