/** The bodies of A-ASSOCIATE-RQ and -AC: PS3.8 9.3.2, 9.3.3 with the user information of PS3.8 D.1 and PS3.7 D.3.3. */
import { AbortReason, ProtocolViolation } from './violation.ts';

/** Length of the longest text that is read out of an item; UIDs have 64 characters, names 16. */
const MAX_TEXT_BYTES = 128;
const MAX_CONTEXTS = 128;
/** No registry knows more; a context with more is a way to make us work. */
const MAX_TRANSFER_SYNTAXES = 256;

export interface ProposedContext {
  readonly id: number;
  readonly abstractSyntax: string;
  readonly transferSyntaxUIDs: readonly string[];
}

/** Result 0 acceptance, 1 user rejection, 2 no reason, 3 abstract syntax not supported, 4 transfer syntaxes not supported (Table 9-18). */
export interface AnsweredContext {
  readonly id: number;
  readonly result: number;
  readonly transferSyntaxUID: string;
}

/** PS3.7 D.3.3.4. */
export interface RoleSelection {
  readonly sopClassUID: string;
  readonly scu: boolean;
  readonly scp: boolean;
}

export interface UserInformation {
  /** The longest P-DATA-TF variable field that the sender of this item takes; 0 = no limit. */
  readonly maxPduLength: number;
  readonly implementationClassUID: string;
  readonly implementationVersionName: string | undefined;
  /** PS3.7 D.3.3.3; undefined = one operation at a time. */
  readonly asyncOperations: { readonly invoked: number; readonly performed: number } | undefined;
  readonly roles: readonly RoleSelection[];
  /** PS3.7 D.3.3.7: the type only. The identity itself is a secret that nobody here can check, so it is not kept. */
  readonly userIdentityType: number | undefined;
}

interface AssociateHeader {
  readonly protocolVersion: number;
  readonly calledAE: string;
  readonly callingAE: string;
  readonly applicationContext: string;
  readonly user: UserInformation;
}

export interface AssociateRequest extends AssociateHeader {
  readonly contexts: readonly ProposedContext[];
}

export interface AssociateAccept extends AssociateHeader {
  readonly contexts: readonly AnsweredContext[];
}

const Item = {
  applicationContext: 0x10,
  proposedContext: 0x20,
  answeredContext: 0x21,
  abstractSyntax: 0x30,
  transferSyntax: 0x40,
  userInformation: 0x50,
  maxLength: 0x51,
  implementationClassUID: 0x52,
  asyncOperations: 0x53,
  roleSelection: 0x54,
  implementationVersionName: 0x55,
  userIdentity: 0x58,
} as const;

/** Protocol version, reserved, two AE titles, 32 reserved bytes (Table 9-11). */
const FIXED_BYTES = 68;

/** @throws ProtocolViolation */
export function readAssociateRequest(body: Buffer): AssociateRequest {
  const contexts: ProposedContext[] = [];
  const header = readAssociate(body, (type, value) => {
    if (type !== Item.proposedContext) return;
    contexts.push(readProposedContext(value));
    if (contexts.length > MAX_CONTEXTS) throw invalid(`more than ${MAX_CONTEXTS} presentation contexts`);
  });
  const ids = new Set(contexts.map((context) => context.id));
  if (ids.size !== contexts.length) throw invalid('two presentation contexts with one id (PS3.8 9.3.2.2)');
  if (contexts.length === 0) throw invalid('A-ASSOCIATE-RQ without a presentation context (PS3.8 9.3.2)');
  return { ...header, contexts };
}

/** @throws ProtocolViolation */
export function readAssociateAccept(body: Buffer): AssociateAccept {
  const contexts: AnsweredContext[] = [];
  const header = readAssociate(body, (type, value) => {
    if (type !== Item.answeredContext) return;
    contexts.push(readAnsweredContext(value));
    if (contexts.length > MAX_CONTEXTS) throw invalid(`more than ${MAX_CONTEXTS} presentation contexts`);
  });
  return { ...header, contexts };
}

export function writeAssociateRequest(request: AssociateRequest): Buffer {
  return writeAssociate(
    request,
    request.contexts.map((context) =>
      writeItem(
        Item.proposedContext,
        Buffer.concat([
          Buffer.from([context.id, 0, 0, 0]),
          writeText(Item.abstractSyntax, context.abstractSyntax),
          ...context.transferSyntaxUIDs.map((uid) => writeText(Item.transferSyntax, uid)),
        ]),
      ),
    ),
  );
}

export function writeAssociateAccept(accept: AssociateAccept): Buffer {
  return writeAssociate(
    accept,
    accept.contexts.map((context) =>
      writeItem(
        Item.answeredContext,
        Buffer.concat([
          Buffer.from([context.id, 0, context.result, 0]),
          writeText(Item.transferSyntax, context.transferSyntaxUID),
        ]),
      ),
    ),
  );
}

function readAssociate(body: Buffer, otherItem: (type: number, value: Buffer) => void): AssociateHeader {
  if (body.length < FIXED_BYTES) throw invalid(`A-ASSOCIATE of ${body.length} bytes; ${FIXED_BYTES} are fixed`);
  let applicationContext = '';
  let user = readUserInformation(Buffer.alloc(0));
  // PS3.8 9.3.1: items of a type that the receiver does not know are skipped.
  readItems(body.subarray(FIXED_BYTES), (type, value) => {
    if (type === Item.applicationContext) applicationContext = readText(value);
    else if (type === Item.userInformation) user = readUserInformation(value);
    else otherItem(type, value);
  });
  return {
    protocolVersion: body.readUInt16BE(0),
    calledAE: readAeTitle(body.subarray(4, 20)),
    callingAE: readAeTitle(body.subarray(20, 36)),
    applicationContext,
    user,
  };
}

function readProposedContext(value: Buffer): ProposedContext {
  const id = readContextId(value);
  let abstractSyntax = '';
  const transferSyntaxUIDs: string[] = [];
  readItems(value.subarray(4), (type, text) => {
    if (type === Item.abstractSyntax) abstractSyntax = readText(text);
    if (type === Item.transferSyntax) transferSyntaxUIDs.push(readText(text));
    if (transferSyntaxUIDs.length > MAX_TRANSFER_SYNTAXES) throw invalid(`more than ${MAX_TRANSFER_SYNTAXES} syntaxes`);
  });
  return { id, abstractSyntax, transferSyntaxUIDs };
}

function readAnsweredContext(value: Buffer): AnsweredContext {
  const id = readContextId(value);
  const result = value[2] ?? 2;
  // PS3.8 9.3.3.2: the transfer syntax is significant only where the result is acceptance, and some peers leave it out otherwise.
  if (result !== 0) return { id, result, transferSyntaxUID: '' };
  let transferSyntaxUID = '';
  readItems(value.subarray(4), (type, text) => {
    if (type === Item.transferSyntax) transferSyntaxUID = readText(text);
  });
  return { id, result, transferSyntaxUID };
}

function readContextId(value: Buffer): number {
  if (value.length < 4) throw invalid(`a presentation context of ${value.length} bytes`);
  const id = value[0] ?? 0;
  if (id % 2 === 0) throw invalid(`presentation context id ${id}; it must be odd (PS3.8 9.3.2.2)`);
  return id;
}

function readUserInformation(bytes: Buffer): UserInformation {
  let maxPduLength = 0;
  let implementationClassUID = '';
  let implementationVersionName: string | undefined;
  let asyncOperations: UserInformation['asyncOperations'];
  let userIdentityType: number | undefined;
  const roles: RoleSelection[] = [];
  readItems(bytes, (type, value) => {
    if (type === Item.maxLength) maxPduLength = atLeast(value, 4).readUInt32BE(0);
    else if (type === Item.implementationClassUID) implementationClassUID = readText(value);
    else if (type === Item.implementationVersionName) implementationVersionName = readText(value);
    else if (type === Item.asyncOperations) {
      asyncOperations = { invoked: atLeast(value, 4).readUInt16BE(0), performed: value.readUInt16BE(2) };
    } else if (type === Item.roleSelection) roles.push(readRole(value));
    else if (type === Item.userIdentity) userIdentityType = atLeast(value, 1)[0];
  });
  return { maxPduLength, implementationClassUID, implementationVersionName, asyncOperations, roles, userIdentityType };
}

function readRole(value: Buffer): RoleSelection {
  const uidBytes = atLeast(value, 4).readUInt16BE(0);
  const roles = atLeast(value, 4 + uidBytes);
  return {
    sopClassUID: readText(value.subarray(2, 2 + uidBytes)),
    scu: roles[2 + uidBytes] === 1,
    scp: roles[3 + uidBytes] === 1,
  };
}

/** Items and sub-items have one shape: type, reserved byte, two length bytes, value. */
function readItems(bytes: Buffer, take: (type: number, value: Buffer) => void): void {
  let offset = 0;
  while (offset < bytes.length) {
    const header = atLeast(bytes.subarray(offset), 4);
    const end = offset + 4 + header.readUInt16BE(2);
    if (end > bytes.length) throw invalid(`item ${header[0]} reaches ${end - bytes.length} bytes beyond its parent`);
    take(header[0] ?? 0, bytes.subarray(offset + 4, end));
    offset = end;
  }
}

/** UIDs and names: some peers pad with a NUL or a space although nothing here is padded. */
function readText(value: Buffer): string {
  if (value.length > MAX_TEXT_BYTES) throw invalid(`a name of ${value.length} bytes; at most ${MAX_TEXT_BYTES}`);
  return trimPadding(value.toString('latin1'));
}

function readAeTitle(bytes: Buffer): string {
  return trimPadding(bytes.toString('latin1'));
}

function trimPadding(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && text[start] === ' ') start++;
  while (end > start && (text[end - 1] === ' ' || text[end - 1] === '\0')) end--;
  return text.slice(start, end);
}

function atLeast(bytes: Buffer, lengthBytes: number): Buffer {
  if (bytes.length < lengthBytes) throw invalid(`an item of ${bytes.length} bytes where ${lengthBytes} are needed`);
  return bytes;
}

function writeAssociate(header: AssociateHeader, contexts: readonly Buffer[]): Buffer {
  const fixed = Buffer.alloc(FIXED_BYTES);
  fixed.writeUInt16BE(header.protocolVersion, 0);
  fixed.write(header.calledAE.slice(0, 16).padEnd(16), 4, 'latin1');
  fixed.write(header.callingAE.slice(0, 16).padEnd(16), 20, 'latin1');
  return Buffer.concat([
    fixed,
    writeText(Item.applicationContext, header.applicationContext),
    ...contexts,
    writeItem(Item.userInformation, writeUserInformation(header.user)),
  ]);
}

function writeUserInformation(user: UserInformation): Buffer {
  const maxLength = Buffer.alloc(4);
  maxLength.writeUInt32BE(user.maxPduLength);
  const items = [
    writeItem(Item.maxLength, maxLength),
    writeText(Item.implementationClassUID, user.implementationClassUID),
  ];
  if (user.asyncOperations !== undefined) {
    const window = Buffer.alloc(4);
    window.writeUInt16BE(user.asyncOperations.invoked, 0);
    window.writeUInt16BE(user.asyncOperations.performed, 2);
    items.push(writeItem(Item.asyncOperations, window));
  }
  for (const role of user.roles) {
    const uid = Buffer.from(role.sopClassUID, 'latin1');
    const value = Buffer.concat([Buffer.alloc(2), uid, Buffer.from([role.scu ? 1 : 0, role.scp ? 1 : 0])]);
    value.writeUInt16BE(uid.length, 0);
    items.push(writeItem(Item.roleSelection, value));
  }
  if (user.implementationVersionName !== undefined) {
    items.push(writeText(Item.implementationVersionName, user.implementationVersionName));
  }
  return Buffer.concat(items);
}

function writeText(type: number, text: string): Buffer {
  return writeItem(type, Buffer.from(text, 'latin1'));
}

function writeItem(type: number, value: Buffer): Buffer {
  const header = Buffer.from([type, 0, 0, 0]);
  header.writeUInt16BE(value.length, 2);
  return Buffer.concat([header, value]);
}

function invalid(sentence: string): ProtocolViolation {
  return new ProtocolViolation(AbortReason.invalidPduParameter, sentence);
}
