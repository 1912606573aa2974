/** Bytes that a peer may send, well formed unless asked otherwise. */
import type { AssociateAccept, AssociateRequest } from '../../src/dimse/association-items.ts';
import { CommandField, NO_DATA_SET, writeCommand } from '../../src/dimse/command.ts';
import type { Command } from '../../src/dimse/command.ts';
import { writeDataPdu, writePdu } from '../../src/dimse/pdu.ts';
import { CT_IMAGE, EXPLICIT_LE, IMPLICIT_LE } from './peers.ts';

export const VERIFICATION_CONTEXT = 1;
export const CT_CONTEXT = 3;

export const REQUEST: AssociateRequest = {
  protocolVersion: 1,
  calledAE: 'ISTHMUS',
  callingAE: 'RAW',
  applicationContext: '1.2.840.10008.3.1.1.1',
  contexts: [
    { id: VERIFICATION_CONTEXT, abstractSyntax: '1.2.840.10008.1.1', transferSyntaxUIDs: [IMPLICIT_LE] },
    { id: CT_CONTEXT, abstractSyntax: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] },
  ],
  user: {
    maxPduLength: 16_384,
    implementationClassUID: '2.25.9',
    implementationVersionName: undefined,
    asyncOperations: undefined,
    roles: [],
    userIdentityType: undefined,
  },
};

export function associate(changes: Partial<AssociateRequest> = {}): Buffer {
  return writePdu({ type: 'A-ASSOCIATE-RQ', request: { ...REQUEST, ...changes } });
}

/** What an acceptor says that takes every context of `request`. */
export function acceptAll(request: AssociateRequest, changes: Partial<AssociateAccept> = {}): Buffer {
  const contexts = request.contexts.map(({ id, transferSyntaxUIDs }) => ({
    id,
    result: 0,
    transferSyntaxUID: transferSyntaxUIDs[0] ?? IMPLICIT_LE,
  }));
  return writePdu({ type: 'A-ASSOCIATE-AC', accept: { ...request, contexts, ...changes } });
}

export function command(contextId: number, fields: Command): Buffer {
  return fragment(contextId, writeCommand(fields), { isCommand: true, isLast: true });
}

export function fragment(
  contextId: number,
  bytes: Buffer,
  flags: { isCommand?: boolean; isLast?: boolean } = {},
): Buffer {
  const { isCommand = false, isLast = false } = flags;
  return Buffer.concat(writeDataPdu({ contextId, isCommand, isLast, slices: [bytes] }));
}

export function echoRequest(messageId: number): Buffer {
  return command(VERIFICATION_CONTEXT, {
    CommandField: CommandField['C-ECHO-RQ'],
    AffectedSOPClassUID: '1.2.840.10008.1.1',
    MessageID: messageId,
    CommandDataSetType: NO_DATA_SET,
  });
}

export function storeRequest(messageId: number, changes: Partial<Command> = {}): Buffer {
  return command(CT_CONTEXT, {
    CommandField: CommandField['C-STORE-RQ'],
    AffectedSOPClassUID: CT_IMAGE,
    AffectedSOPInstanceUID: `2.25.${messageId}`,
    MessageID: messageId,
    Priority: 0,
    CommandDataSetType: 0,
    ...changes,
  });
}

export const RELEASE = writePdu({ type: 'A-RELEASE-RQ' });
export const RELEASE_RESPONSE = writePdu({ type: 'A-RELEASE-RP' });
export const ABORT = writePdu({ type: 'A-ABORT', abort: { source: 0, reason: 0 } });
