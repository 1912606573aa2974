/** DIMSE command sets, PS3.7 6.3 and Annex E: group 0000 in Implicit VR Little Endian; the fields that we speak. */
import { AbortReason, ProtocolViolation } from './violation.ts';

/** PS3.7 Table E.1-1; only what is read or written here. `uid` pads with a NUL, `text` with a space (PS3.5 6.2). */
const FIELDS = {
  AffectedSOPClassUID: { element: 0x0002, kind: 'uid' },
  RequestedSOPClassUID: { element: 0x0003, kind: 'uid' },
  CommandField: { element: 0x0100, kind: 'number' },
  MessageID: { element: 0x0110, kind: 'number' },
  MessageIDBeingRespondedTo: { element: 0x0120, kind: 'number' },
  MoveDestination: { element: 0x0600, kind: 'text' },
  Priority: { element: 0x0700, kind: 'number' },
  CommandDataSetType: { element: 0x0800, kind: 'number' },
  Status: { element: 0x0900, kind: 'number' },
  ErrorComment: { element: 0x0902, kind: 'text' },
  AffectedSOPInstanceUID: { element: 0x1000, kind: 'uid' },
  RequestedSOPInstanceUID: { element: 0x1001, kind: 'uid' },
  EventTypeID: { element: 0x1002, kind: 'number' },
  ActionTypeID: { element: 0x1008, kind: 'number' },
  NumberOfRemainingSuboperations: { element: 0x1020, kind: 'number' },
  NumberOfCompletedSuboperations: { element: 0x1021, kind: 'number' },
  NumberOfFailedSuboperations: { element: 0x1022, kind: 'number' },
  NumberOfWarningSuboperations: { element: 0x1023, kind: 'number' },
  MoveOriginatorApplicationEntityTitle: { element: 0x1030, kind: 'text' },
  MoveOriginatorMessageID: { element: 0x1031, kind: 'number' },
} as const satisfies Record<string, { element: number; kind: 'uid' | 'text' | 'number' }>;
type Fields = typeof FIELDS;
type FieldName = keyof Fields;

export type Command = {
  readonly [Name in FieldName]?: Fields[Name]['kind'] extends 'number' ? number : string;
} & { readonly CommandField: number; readonly CommandDataSetType: number };

/** PS3.7 Table E.1-1, Command Field (0000,0100). */
export const CommandField = {
  'C-STORE-RQ': 0x0001,
  'C-STORE-RSP': 0x8001,
  'C-GET-RQ': 0x0010,
  'C-FIND-RQ': 0x0020,
  'C-MOVE-RQ': 0x0021,
  'C-ECHO-RQ': 0x0030,
  'C-ECHO-RSP': 0x8030,
  'N-EVENT-REPORT-RQ': 0x0100,
  'N-ACTION-RQ': 0x0130,
  'C-CANCEL-RQ': 0x0fff,
} as const;
/** Set in the command field of every response. */
export const RESPONSE_BIT = 0x8000;
/** Command Data Set Type (0000,0800): this value means none, any other means a data set follows. */
export const NO_DATA_SET = 0x0101;
export const DATA_SET_FOLLOWS = 0x0000;
/** Priority (0000,0700): 0 medium, 1 high, 2 low. */
export const PRIORITY_MEDIUM = 0;

/** PS3.7 Annex C and PS3.4 Tables B.2-1, C.4-1 to C.4-3. */
export const Status = {
  success: 0x0000,
  pending: 0xff00,
  /** Matches are supplied, but one or more optional keys were not matched on. */
  pendingKeysUnsupported: 0xff01,
  canceled: 0xfe00,
  someFailed: 0xb000,
  cannotCountMatches: 0xa701,
  noneStored: 0xa702,
  destinationUnknown: 0xa801,
  identifierMismatch: 0xa900,
  noSuchInstance: 0x0112,
  noSuchEventType: 0x0113,
  invalidArgument: 0x0115,
  noSuchAction: 0x0123,
  notAuthorized: 0x0124,
  missingAttribute: 0x0120,
  invalidAttributeValue: 0x0106,
  processingFailure: 0x0110,
  sopClassNotSupported: 0x0122,
  unrecognizedOperation: 0x0211,
  cannotUnderstand: 0xc000,
} as const;

/** A status that says the object was stored: success, or one of the warnings of PS3.4 Table B.2-1 (coercion, elements discarded, mismatch). */
export function isStored(status: number): boolean {
  return status === Status.success || (status & 0xf000) === 0xb000;
}

export function isPending(status: number | undefined): boolean {
  return status === Status.pending || status === Status.pendingKeysUnsupported;
}

export function hasDataSet(command: Command): boolean {
  return command.CommandDataSetType !== NO_DATA_SET;
}

/** @throws ProtocolViolation where the bytes are no command set. */
export function readCommand(bytes: Buffer): Command {
  const values: Partial<Record<FieldName, number | string>> = {};
  let offset = 0;
  while (offset < bytes.length) {
    if (bytes.length - offset < 8) throw invalid(`${bytes.length - offset} bytes after the last command element`);
    const group = bytes.readUInt16LE(offset);
    const element = bytes.readUInt16LE(offset + 2);
    const lengthBytes = bytes.readUInt32LE(offset + 4);
    if (group !== 0) throw invalid(`an element of group ${group} in a command set (PS3.7 6.3.1)`);
    if (lengthBytes > bytes.length - offset - 8) throw invalid(`command element ${element} reaches beyond its set`);
    const name = FIELD_OF.get(element);
    if (name !== undefined) values[name] = readValue(name, bytes.subarray(offset + 8, offset + 8 + lengthBytes));
    offset += 8 + lengthBytes;
  }
  if (values.CommandField === undefined) throw invalid('a command set without Command Field (0000,0100)');
  if (values.CommandDataSetType === undefined) throw invalid('a command set without Command Data Set Type (0000,0800)');
  return values as Command;
}

export function writeCommand(command: Command): Buffer {
  const elements: Buffer[] = [];
  for (const [name, { element, kind }] of Object.entries(FIELDS)) {
    const value = command[name as FieldName];
    if (value !== undefined) elements.push(writeElement(element, writeValue(kind, value)));
  }
  const body = Buffer.concat(elements);
  const groupLength = Buffer.alloc(4);
  groupLength.writeUInt32LE(body.length);
  return Buffer.concat([writeElement(0x0000, groupLength), body]);
}

const FIELD_OF: ReadonlyMap<number, FieldName> = new Map(
  Object.entries(FIELDS).map(([name, { element }]) => [element, name as FieldName]),
);

/** A sentence of ours as (0000,0902) carries it: LO, 64 characters. */
export function errorComment(sentence: string): string {
  return sentence.replaceAll(/[^ -[\]-~]/g, ' ').slice(0, 64);
}

function readValue(name: FieldName, value: Buffer): number | string {
  if (FIELDS[name].kind !== 'number') {
    if (value.length > 128) throw invalid(`${name} of ${value.length} bytes`);
    return trimPadding(value.toString('latin1'));
  }
  if (value.length !== 2) throw invalid(`${name} of ${value.length} bytes instead of 2`);
  return value.readUInt16LE(0);
}

function writeValue(kind: 'uid' | 'text' | 'number', value: number | string): Buffer {
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(2);
    bytes.writeUInt16LE(value);
    return bytes;
  }
  const padding = kind === 'uid' ? '\0' : ' ';
  return Buffer.from(value.length % 2 === 0 ? value : value + padding, 'latin1');
}

function writeElement(element: number, value: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16LE(element, 2);
  header.writeUInt32LE(value.length, 4);
  return Buffer.concat([header, value]);
}

function trimPadding(text: string): string {
  let end = text.length;
  while (end > 0 && (text[end - 1] === ' ' || text[end - 1] === '\0')) end--;
  return text.slice(0, end).trimStart();
}

function invalid(sentence: string): ProtocolViolation {
  return new ProtocolViolation(AbortReason.invalidPduParameter, sentence);
}
