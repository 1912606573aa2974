/** One association that a peer has opened: its messages are served one after another, C-ECHO and C-STORE here (PS3.7 9.1, PS3.4 A and B). */
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import type { DataSet } from '../dicom/data-set.ts';
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from '../dicom/implementation.ts';
import { Refusal } from '../dicom/refusal.ts';
import { AssociationMachine } from './association.ts';
import type { AssociationLimits, Ending, ServiceUser } from './association.ts';
import type { AnsweredContext, AssociateRequest, RoleSelection } from './association-items.ts';
import { CommandField, DATA_SET_FOLLOWS, NO_DATA_SET, RESPONSE_BIT, Status, isStored } from './command.ts';
import type { Command } from './command.ts';
import type { AssociationInfo, ScpHandlers, StoreRequest } from './handlers.ts';
import { writeIdentifier } from './identifier.ts';
import { MessageReader, sendCommand, sendMessage } from './message.ts';
import type { DataSetSource, DataSetStream, Message, SendOptions } from './message.ts';
import { APPLICATION_CONTEXT, PROTOCOL_VERSION, answerContext, answerRoles, isAeTitle } from './negotiation.ts';
import type { Offer } from './negotiation.ts';
import type { Operation, OutwardContext, Response } from './operation.ts';
import type { AssociateReject, PresentationDataValue } from './pdu.ts';
import { serveCommitment, serveReport } from './served-commitment.ts';
import { serveFind, serveRetrieve } from './served-query.ts';
import { AbortReason, ProtocolViolation } from './violation.ts';

/** What all associations of one SCP share. */
export interface Service {
  readonly titles: { readonly called: ReadonlySet<string>; readonly calling: ReadonlySet<string> };
  readonly handlers: ScpHandlers;
  readonly limits: AssociationLimits;
  readonly offer: Offer;
  readonly maxAssociations: number;
  /** Established ones; connections that are still talking about it are not counted. */
  readonly established: Set<ServedAssociation>;
}

/** Requests during which the peer may still say something: cancel, or answer a request of ours. */
const LISTENING: ReadonlySet<number> = new Set([
  CommandField['C-FIND-RQ'],
  CommandField['C-MOVE-RQ'],
  CommandField['C-GET-RQ'],
  CommandField['N-ACTION-RQ'],
  CommandField['N-EVENT-REPORT-RQ'],
]);

export class ServedAssociation implements ServiceUser {
  readonly #service: Service;
  readonly #machine: AssociationMachine;
  readonly #reader: MessageReader;
  readonly #remoteAddress: string;
  readonly #isTls: boolean;
  #info: AssociationInfo | undefined;
  #contexts = new Map<number, { readonly abstractSyntax: string; readonly transferSyntaxUID: string }>();
  /** Contexts of which the peer is SCP. */
  #outward: OutwardContext[] = [];
  #peerMaxPduLength = 0;
  /** The message being served; messages of one association are served one after another (no asynchronous operations). */
  #serving: Promise<void> = Promise.resolve();
  /** Of the message being served; undefined between messages. */
  #cancel: AbortController | undefined;
  #servedMessageId: number | undefined;
  /** Came while an operation is going on that listens to its peer. */
  #next: Message | undefined;
  /** A request of ours that the peer has not answered yet. */
  #pending: { messageId: number; resolve: (response: Command) => void; reject: (error: Error) => void } | undefined;
  #messageId = 0;
  /** How many things of ours wait for the peer: for its response, or for it to take bytes. */
  #peerTurns = 0;
  #releaseRequested = false;
  #finishing = false;
  /** What the peer called itself and us; empty while it has not, or where it is no AE title and so nothing for a log. */
  #titles = { callingAE: '', calledAE: '' };
  /** Answers so far: objects stored, and not. */
  #stored = 0;
  #notStored = 0;

  constructor(service: Service, socket: Socket, isTls: boolean) {
    this.#service = service;
    // A closed socket no longer knows it.
    this.#remoteAddress = socket.remoteAddress ?? '';
    this.#isTls = isTls;
    this.#machine = new AssociationMachine(socket, this, service.limits);
    this.#reader = new MessageReader(
      (message) => this.#take(message),
      () => this.#machine.resume(),
    );
    this.#machine.serve();
  }

  /** Ends the association when the message being served has its answer. */
  finish(): void {
    this.#finishing = true;
    // What is told to the peer bit by bit ends early; a store has its answer.
    this.#cancel?.abort();
    if (this.#cancel === undefined) this.#machine.abort('this side is closing');
  }

  judge(request: AssociateRequest): AssociateReject | undefined {
    const { callingAE, calledAE } = request;
    this.#titles = { callingAE: isAeTitle(callingAE) ? callingAE : '', calledAE: isAeTitle(calledAE) ? calledAE : '' };
    const { established, maxAssociations } = this.#service;
    // Table 9-21. Version bits of the future do not hurt as long as ours is among them.
    if ((request.protocolVersion & PROTOCOL_VERSION) === 0) return { result: 1, source: 2, reason: 2 };
    if (established.size >= maxAssociations) return { result: 2, source: 3, reason: 2 };
    return undefined;
  }

  requested(request: AssociateRequest): void {
    const reject = refuseRequest(request, this.#service.titles);
    if (reject !== undefined) {
      this.#machine.reject(reject);
      return;
    }
    const remoteAddress = this.#remoteAddress;
    this.#info = {
      id: randomUUID(),
      callingAE: request.callingAE,
      calledAE: request.calledAE,
      remoteAddress,
      tls: this.#isTls,
    };
    this.#service.established.add(this);
    this.#peerMaxPduLength = request.user.maxPduLength;
    const answers = this.#answerContexts(request);
    const roles = answerRoles(request.user.roles, this.#service.offer);
    this.#outward = this.#outwardContexts(roles);
    this.#machine.accept({
      // PS3.8 9.3.3: titles come back as they were sent; they are not tested by the requestor.
      ...request,
      protocolVersion: PROTOCOL_VERSION,
      contexts: answers,
      user: {
        maxPduLength: this.#service.limits.maxPduLength,
        implementationClassUID: IMPLEMENTATION_CLASS_UID,
        implementationVersionName: IMPLEMENTATION_VERSION_NAME,
        // No window in the answer = one operation at a time (PS3.7 D.3.3.3).
        asyncOperations: undefined,
        roles,
        // No server response: it would say that an identity was checked (PS3.7 D.3.3.7.2).
        userIdentityType: undefined,
      },
    });
    this.#event('association-accepted', {
      callingAE: request.callingAE,
      calledAE: request.calledAE,
      remoteAddress,
      contexts: this.#contexts.size,
      contextsRefused: answers.length - this.#contexts.size,
    });
  }

  accepted(): void {
    throw new Error('an acceptor requests no association');
  }

  ready(): boolean {
    return this.#reader.ready();
  }

  received(value: PresentationDataValue): void {
    if (!this.#contexts.has(value.contextId)) {
      const sentence = `presentation context ${value.contextId} was not accepted`;
      throw new ProtocolViolation(AbortReason.invalidPduParameter, sentence);
    }
    this.#reader.received(value);
  }

  releaseRequested(): void {
    this.#releaseRequested = true;
    // A release in the middle of a message leaves the rest of it unsent.
    if (this.#reader.isReading) this.#reader.fail(new Error('the association was released inside a data set'));
    this.#cancel?.abort();
    // Who parts answers no more.
    this.#pending?.reject(new Error('the peer parts without an answer'));
    this.#pending = undefined;
    if (this.#cancel === undefined) this.#machine.respondRelease();
  }

  waitingForPeer(): boolean {
    if (this.#reader.isReading) return this.#reader.ready();
    return this.#cancel === undefined || this.#peerTurns > 0;
  }

  ended(ending: Ending): void {
    const gone = new Error('the association ended before the data set was complete');
    this.#reader.fail(gone);
    this.#cancel?.abort();
    this.#pending?.reject(gone);
    this.#pending = undefined;
    this.#service.established.delete(this);
    const { how, sentence } = ending;
    const association = this.#info;
    if (association === undefined || how === 'rejected') {
      const name = how === 'rejected' ? 'association-rejected' : 'connection-ended';
      this.#event(name, { remoteAddress: this.#remoteAddress, ...this.#titles, sentence });
      return;
    }
    void this.#serving.then(() => {
      this.#event(`association-${how}`, { stored: this.#stored, notStored: this.#notStored, sentence });
      try {
        this.#service.handlers.closed?.(association, how);
      } catch (error) {
        this.#event('closed-failed', { reason: error instanceof Error ? error.name : typeof error });
      }
    });
  }

  #answerContexts(request: AssociateRequest): AnsweredContext[] {
    const sends = new Set(request.user.roles.filter(({ scp }) => scp).map(({ sopClassUID }) => sopClassUID));
    const answers = request.contexts.map((proposed) =>
      answerContext(proposed, this.#service.offer, sends.has(proposed.abstractSyntax)),
    );
    for (const [index, { id, result, transferSyntaxUID }] of answers.entries()) {
      const abstractSyntax = request.contexts[index]?.abstractSyntax;
      if (result === 0 && abstractSyntax !== undefined) this.#contexts.set(id, { abstractSyntax, transferSyntaxUID });
    }
    return answers;
  }

  #outwardContexts(roles: readonly RoleSelection[]): OutwardContext[] {
    const takes = new Set(roles.filter(({ scp }) => scp).map(({ sopClassUID }) => sopClassUID));
    return [...this.#contexts]
      .filter(([, { abstractSyntax }]) => takes.has(abstractSyntax))
      .map(([id, { abstractSyntax, transferSyntaxUID }]) => ({ id, sopClassUID: abstractSyntax, transferSyntaxUID }));
  }

  #take(message: Message): void {
    if (this.#cancel === undefined) this.#begin(message);
    else if (!this.#interrupts(message)) {
      // Asynchronous operations are not negotiated: it has to wait.
      this.#next = message;
      this.#reader.isBusy = true;
    }
  }

  #begin(message: Message): void {
    const { command } = message;
    this.#cancel = new AbortController();
    this.#servedMessageId = command.MessageID;
    this.#reader.isBusy = !LISTENING.has(command.CommandField);
    const served = this.#serve(message, this.#cancel.signal).catch((error: unknown) => {
      this.#event('serving-failed', { reason: error instanceof Error ? error.name : typeof error });
      this.#machine.abort('an error of our own');
    });
    this.#serving = served.then(() => {
      this.#cancel = undefined;
      this.#reader.isBusy = false;
      const next = this.#next;
      this.#next = undefined;
      if (this.#finishing) this.#machine.abort('this side is closing');
      else {
        if (next !== undefined) this.#begin(next);
        else if (this.#releaseRequested) this.#machine.respondRelease();
        this.#machine.resume();
      }
    });
  }

  /** What belongs to the operation that is going on: its cancellation (PS3.7 9.3.2.3), and the answer to a request of ours. */
  #interrupts({ command, dataSet }: Message): boolean {
    const { CommandField: field, MessageIDBeingRespondedTo: about } = command;
    if (field === CommandField['C-CANCEL-RQ']) {
      dataSet?.discard();
      if (about === this.#servedMessageId) this.#cancel?.abort();
      return true;
    }
    if ((field & RESPONSE_BIT) === 0 || about === undefined || about !== this.#pending?.messageId) return false;
    dataSet?.discard();
    this.#pending.resolve(command);
    this.#pending = undefined;
    return true;
  }

  async #serve(message: Message, signal: AbortSignal): Promise<void> {
    const { dataSet } = message;
    if (!(await this.#operate(message, signal))) await this.#answer(message);
    dataSet?.discard();
    await dataSet?.settled();
  }

  /** True for what an operation has answered itself. */
  async #operate(message: Message, signal: AbortSignal): Promise<boolean> {
    const operation = this.#operation(message, signal);
    const { find, retrieve, commit, committed } = this.#service.handlers;
    if (operation === undefined) return false;
    switch (message.command.CommandField) {
      case CommandField['C-FIND-RQ']:
        if (find === undefined) return false;
        await serveFind(operation, find);
        return true;
      case CommandField['C-MOVE-RQ']:
      case CommandField['C-GET-RQ']:
        if (retrieve === undefined) return false;
        await serveRetrieve(
          operation,
          message.command.CommandField === CommandField['C-GET-RQ'] ? 'get' : 'move',
          retrieve,
        );
        return true;
      case CommandField['N-ACTION-RQ']:
        if (commit === undefined) return false;
        await serveCommitment(operation, commit);
        return true;
      case CommandField['N-EVENT-REPORT-RQ']:
        if (committed === undefined) return false;
        await serveReport(operation, committed);
        return true;
      default:
        return false;
    }
  }

  #operation(message: Message, signal: AbortSignal): Operation | undefined {
    const context = this.#contexts.get(message.contextId);
    const association = this.#info;
    if (context === undefined || association === undefined) return undefined;
    return {
      association,
      message,
      sopClassUID: context.abstractSyntax,
      transferSyntaxUID: context.transferSyntaxUID,
      signal,
      outward: this.#outward,
      respond: (fields, dataSet) => this.#respondWith(message, context.transferSyntaxUID, fields, dataSet),
      perform: (contextId, command, dataSet) => this.#perform(contextId, command, dataSet),
      event: (name, facts) => this.#event(name, facts),
    };
  }

  /** C-STORE, C-ECHO, and what nobody here understands. */
  async #answer(message: Message): Promise<void> {
    const { command, dataSet } = message;
    // There is nothing to cancel: a C-STORE is atomic (PS3.7 9.3.2.3); responses to us answer no question of ours.
    const isRequest =
      (command.CommandField & RESPONSE_BIT) === 0 && command.CommandField !== CommandField['C-CANCEL-RQ'];
    let status: number = Status.unrecognizedOperation;
    if (command.CommandField === CommandField['C-STORE-RQ']) status = await this.#store(message);
    else if (command.CommandField === CommandField['C-ECHO-RQ']) status = Status.success;
    dataSet?.discard();
    await dataSet?.settled();
    const isWhole = dataSet === undefined || dataSet.isComplete;
    if (command.CommandField === CommandField['C-STORE-RQ']) {
      if (isWhole && isStored(status)) this.#stored++;
      else this.#notStored++;
    }
    if (isRequest && isWhole) this.#respond(message, status);
  }

  async #store({ command, contextId, dataSet }: Message): Promise<number> {
    const context = this.#contexts.get(contextId);
    const association = this.#info;
    const wrong = refuseStore(command, dataSet, context?.abstractSyntax);
    if (wrong !== undefined || dataSet === undefined || context === undefined || association === undefined) {
      const status = wrong ?? Status.cannotUnderstand;
      this.#event('store-refused', { messageId: command.MessageID ?? 0, status });
      return status;
    }
    const originator = command.MoveOriginatorApplicationEntityTitle ?? '';
    const request: StoreRequest = {
      association,
      sopClassUID: command.AffectedSOPClassUID ?? '',
      sopInstanceUID: command.AffectedSOPInstanceUID ?? '',
      transferSyntaxUID: context.transferSyntaxUID,
      dataSet,
      moveOriginatorAE: isAeTitle(originator) ? originator : undefined,
    };
    const facts = { messageId: command.MessageID ?? 0 };
    try {
      const status = await this.#service.handlers.store(request);
      this.#event('stored', { ...facts, status, lengthBytes: dataSet.receivedBytes });
      return status;
    } catch (error) {
      const status = error instanceof Refusal ? error.answer.dimseStatus : Status.processingFailure;
      const reason = error instanceof Refusal ? error.reason : error instanceof Error ? error.name : typeof error;
      this.#event('store-failed', { ...facts, status, reason });
      return status;
    }
  }

  #respond({ contextId, command }: Message, status: number): void {
    const { AffectedSOPClassUID, AffectedSOPInstanceUID } = command;
    const response: Command = {
      CommandField: command.CommandField | RESPONSE_BIT,
      MessageIDBeingRespondedTo: command.MessageID ?? 0,
      CommandDataSetType: NO_DATA_SET,
      Status: status,
      ...(AffectedSOPClassUID === undefined ? {} : { AffectedSOPClassUID }),
      ...(AffectedSOPInstanceUID === undefined ? {} : { AffectedSOPInstanceUID }),
    };
    sendCommand(this.#machine, contextId, response, { maxPduLength: this.#peerMaxPduLength });
  }

  async #respondWith(
    { contextId, command }: Message,
    transferSyntaxUID: string,
    fields: Response,
    dataSet: DataSet | undefined,
  ): Promise<void> {
    const response: Command = {
      ...(command.AffectedSOPClassUID === undefined ? {} : { AffectedSOPClassUID: command.AffectedSOPClassUID }),
      ...fields,
      CommandField: command.CommandField | RESPONSE_BIT,
      MessageIDBeingRespondedTo: command.MessageID ?? 0,
      CommandDataSetType: dataSet === undefined ? NO_DATA_SET : DATA_SET_FOLLOWS,
    };
    const options = this.#sendOptions();
    if (dataSet === undefined) {
      sendCommand(this.#machine, contextId, response, options);
      this.#peerTurns++;
      await this.#machine.drained();
      this.#peerTurns--;
    } else {
      const bytes = writeIdentifier(dataSet, transferSyntaxUID);
      await sendMessage(this.#machine, { contextId, command: response, dataSet: bytes }, options);
    }
  }

  async #perform(contextId: number, command: Command, dataSet: DataSetSource): Promise<Command> {
    if (this.#machine.state !== 'Sta6') throw new Error('the association is not open for requests');
    this.#messageId = (this.#messageId % 0xffff) + 1;
    const messageId = this.#messageId;
    const response = new Promise<Command>((resolve, reject) => (this.#pending = { messageId, resolve, reject }));
    // Awaited below; until then a rejection has somewhere to go.
    response.catch(() => undefined);
    try {
      const request = { ...command, MessageID: messageId };
      await sendMessage(this.#machine, { contextId, command: request, dataSet }, this.#sendOptions());
    } catch (error) {
      // Half a data set cannot be taken back (PS3.7 9.3.1).
      this.#machine.abort('the object could not be read to its end');
      throw error;
    }
    this.#peerTurns++;
    return response.finally(() => this.#peerTurns--);
  }

  #sendOptions(): SendOptions {
    return {
      maxPduLength: this.#peerMaxPduLength,
      waiting: (isWaiting) => (this.#peerTurns += isWaiting ? 1 : -1),
    };
  }

  #event(name: string, facts: Record<string, string | number>): void {
    this.#service.handlers.event?.(name, {
      ...(this.#info === undefined ? {} : { association: this.#info.id }),
      ...facts,
    });
  }
}

/** PS3.8 Table 9-21: result 1 = for good, source 1 = service user; reasons 2 application context, 3 calling and 7 called AE title. */
function refuseRequest(request: AssociateRequest, titles: Service['titles']): AssociateReject | undefined {
  const refused = (reason: number): AssociateReject => ({ result: 1, source: 1, reason });
  if (request.applicationContext !== APPLICATION_CONTEXT) return refused(2);
  const isCalled = titles.called.has('*') || titles.called.has(request.calledAE);
  if (!isAeTitle(request.calledAE) || !isCalled) return refused(7);
  const mayCall = titles.calling.size === 0 || titles.calling.has(request.callingAE);
  if (!isAeTitle(request.callingAE) || !mayCall) return refused(3);
  // Less than a fragment of two bytes with its headers: no response would fit.
  if (request.user.maxPduLength !== 0 && request.user.maxPduLength < 8) return refused(1);
  return undefined;
}

/** The status that refuses a C-STORE-RQ which cannot be served, PS3.7 9.1.1.1. */
function refuseStore(
  command: Command,
  dataSet: DataSetStream | undefined,
  abstractSyntax: string | undefined,
): number | undefined {
  const { AffectedSOPClassUID: sopClassUID, AffectedSOPInstanceUID: sopInstanceUID } = command;
  if (sopClassUID === undefined || sopInstanceUID === undefined || command.MessageID === undefined) {
    return Status.missingAttribute;
  }
  // Not the strict grammar of PS3.5 9.1: components with leading zeros exist in the field and harm nobody here.
  if (sopInstanceUID.length > 64 || !/^\d+(\.\d+)*$/.test(sopInstanceUID)) return Status.invalidAttributeValue;
  if (sopClassUID !== abstractSyntax) return Status.sopClassNotSupported;
  return dataSet === undefined ? Status.cannotUnderstand : undefined;
}
