/** One association that a peer has opened: C-ECHO and C-STORE, PS3.7 9.1, PS3.4 Annexes A and B. */
import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:net';
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from '../dicom/implementation.ts';
import { Refusal } from '../dicom/refusal.ts';
import { AssociationMachine } from './association.ts';
import type { AssociationLimits, Ending, ServiceUser } from './association.ts';
import type { AnsweredContext, AssociateRequest } from './association-items.ts';
import { CommandField, NO_DATA_SET, RESPONSE_BIT, Status, isStored } from './command.ts';
import type { Command } from './command.ts';
import { MessageReader, sendCommand } from './message.ts';
import type { DataSetStream, Message } from './message.ts';
import { APPLICATION_CONTEXT, PROTOCOL_VERSION, answerContext, answerRoles, isAeTitle } from './negotiation.ts';
import type { AssociateReject, PresentationDataValue } from './pdu.ts';
import { AbortReason, ProtocolViolation } from './violation.ts';

export interface AssociationInfo {
  /** Ours, random; ties the events of one association together. */
  readonly id: string;
  readonly callingAE: string;
  readonly calledAE: string;
  readonly remoteAddress: string;
  readonly tls: boolean;
}

export interface StoreRequest {
  readonly association: AssociationInfo;
  readonly sopClassUID: string;
  readonly sopInstanceUID: string;
  readonly transferSyntaxUID: string;
  /** The data set as it arrives, without file meta information; throws when the peer goes away before its end. */
  readonly dataSet: AsyncIterable<Buffer>;
  /** The AE whose C-MOVE led to this object. */
  readonly moveOriginatorAE: string | undefined;
}

export interface ScpHandlers {
  /**
   * Resolves with the DIMSE status to answer, after the object is durable. A Refusal answers with its own status, any other
   * error with 0x0110; the association lives on in both cases. Bytes not read are thrown away.
   */
  store(request: StoreRequest): Promise<number>;
  /** The association is over, in an orderly way or not, and the last `store` has come to its end. */
  closed?(association: AssociationInfo, how: 'released' | 'aborted'): void;
  /** Structured events for the log: names, ids and numbers only. */
  event?(name: string, facts: Record<string, string | number>): void;
}

/** What all associations of one SCP share. */
export interface Service {
  readonly titles: { readonly called: ReadonlySet<string>; readonly calling: ReadonlySet<string> };
  readonly handlers: ScpHandlers;
  readonly limits: AssociationLimits;
  readonly moreSopClasses: ReadonlySet<string>;
  readonly maxAssociations: number;
  /** Established ones; connections that are still talking about it are not counted. */
  readonly established: Set<ServedAssociation>;
}

export class ServedAssociation implements ServiceUser {
  readonly #service: Service;
  readonly #machine: AssociationMachine;
  readonly #reader: MessageReader;
  readonly #remoteAddress: string;
  readonly #isTls: boolean;
  #info: AssociationInfo | undefined;
  #contexts = new Map<number, { readonly abstractSyntax: string; readonly transferSyntaxUID: string }>();
  #peerMaxPduLength = 0;
  /** The message being served; messages of one association are served one after another (no asynchronous operations). */
  #serving: Promise<void> = Promise.resolve();
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
    if (!this.#reader.isBusy) this.#machine.abort('this side is closing');
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
        roles: answerRoles(request.user.roles),
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
    if (!this.#reader.isBusy) this.#machine.respondRelease();
  }

  waitingForPeer(): boolean {
    return this.#reader.isReading ? this.#reader.ready() : !this.#reader.isBusy;
  }

  ended(ending: Ending): void {
    this.#reader.fail(new Error('the association ended before the data set was complete'));
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
    const answers = request.contexts.map((proposed) => answerContext(proposed, this.#service.moreSopClasses));
    for (const [index, { id, result, transferSyntaxUID }] of answers.entries()) {
      const abstractSyntax = request.contexts[index]?.abstractSyntax;
      if (result === 0 && abstractSyntax !== undefined) this.#contexts.set(id, { abstractSyntax, transferSyntaxUID });
    }
    return answers;
  }

  #take(message: Message): void {
    this.#reader.isBusy = true;
    this.#serving = this.#serve(message).then(() => {
      this.#reader.isBusy = false;
      if (this.#finishing) this.#machine.abort('this side is closing');
      else if (this.#releaseRequested) this.#machine.respondRelease();
      else this.#machine.resume();
    });
  }

  async #serve(message: Message): Promise<void> {
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
