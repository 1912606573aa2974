/** The seven protocol data units of the DICOM Upper Layer, PS3.8 9.3, read and written; every length is checked before it is believed. */
import {
  readAssociateAccept,
  readAssociateRequest,
  writeAssociateAccept,
  writeAssociateRequest,
} from './association-items.ts';
import type { AssociateAccept, AssociateRequest } from './association-items.ts';
import type { ByteQueue } from './byte-queue.ts';
import { AbortReason, ProtocolViolation } from './violation.ts';

/** A-ASSOCIATE-RJ, Table 9-21. Result 1 = permanent, 2 = transient; source 1 = service user, 2 = provider (ACSE), 3 = provider (presentation). */
export interface AssociateReject {
  readonly result: number;
  readonly source: number;
  readonly reason: number;
}

/** A-ABORT, Table 9-26. Source 0 = service user, 2 = service provider. */
export interface Abort {
  readonly source: number;
  readonly reason: number;
}

/** One fragment of a command set or data set, PS3.8 9.3.5.1 and Annex E.2. */
export interface PresentationDataValue {
  readonly contextId: number;
  readonly isCommand: boolean;
  readonly isLast: boolean;
  /** The fragment, as slices of the chunks that came off the socket. */
  readonly slices: readonly Buffer[];
}

export type Pdu =
  | { readonly type: 'A-ASSOCIATE-RQ'; readonly request: AssociateRequest }
  | { readonly type: 'A-ASSOCIATE-AC'; readonly accept: AssociateAccept }
  | { readonly type: 'A-ASSOCIATE-RJ'; readonly reject: AssociateReject }
  | { readonly type: 'P-DATA-TF'; readonly values: readonly PresentationDataValue[] }
  | { readonly type: 'A-RELEASE-RQ' }
  | { readonly type: 'A-RELEASE-RP' }
  | { readonly type: 'A-ABORT'; readonly abort: Abort };

const PDU_TYPES = {
  'A-ASSOCIATE-RQ': 0x01,
  'A-ASSOCIATE-AC': 0x02,
  'A-ASSOCIATE-RJ': 0x03,
  'P-DATA-TF': 0x04,
  'A-RELEASE-RQ': 0x05,
  'A-RELEASE-RP': 0x06,
  'A-ABORT': 0x07,
} as const satisfies Record<Pdu['type'], number>;

const HEADER_BYTES = 6;
/** Four length bytes, the context id and the message control header: what a fragment costs inside a P-DATA-TF. */
export const PDV_HEADER_BYTES = 6;
/** 128 contexts of 60 transfer syntaxes and an identity token fit into half of this; a peer that sends more means harm. */
export const MAX_ASSOCIATE_BYTES = 512 * 1024;

/**
 * The next whole PDU, or undefined while bytes are missing. `maxDataBytes` is the maximum length that this side has offered.
 * @throws ProtocolViolation as soon as the first six bytes show a type or length that cannot be.
 */
export function readPdu(queue: ByteQueue, maxDataBytes: number): Pdu | undefined {
  if (queue.lengthBytes === 0) return undefined;
  const type = readType(queue.peek(1)[0] ?? 0);
  if (queue.lengthBytes < HEADER_BYTES) return undefined;
  const lengthBytes = queue.peek(HEADER_BYTES).readUInt32BE(2);
  checkLength(type, lengthBytes, maxDataBytes);
  if (queue.lengthBytes < HEADER_BYTES + lengthBytes) return undefined;
  queue.take(HEADER_BYTES);
  if (type === 'P-DATA-TF') return { type, values: readValues(queue, lengthBytes) };
  return readControl(type, queue.take(lengthBytes));
}

/** Any PDU but P-DATA-TF as bytes. */
export function writePdu(pdu: Exclude<Pdu, { type: 'P-DATA-TF' }>): Buffer {
  switch (pdu.type) {
    case 'A-ASSOCIATE-RQ':
      return frame(pdu.type, writeAssociateRequest(pdu.request));
    case 'A-ASSOCIATE-AC':
      return frame(pdu.type, writeAssociateAccept(pdu.accept));
    case 'A-ASSOCIATE-RJ':
      return frame(pdu.type, Buffer.from([0, pdu.reject.result, pdu.reject.source, pdu.reject.reason]));
    case 'A-RELEASE-RQ':
    case 'A-RELEASE-RP':
      return frame(pdu.type, Buffer.alloc(4));
    case 'A-ABORT':
      return frame(pdu.type, Buffer.from([0, 0, pdu.abort.source, pdu.abort.reason]));
    default:
      return pdu satisfies never;
  }
}

/** A P-DATA-TF with one presentation data value, as a header and the caller's own slices: nothing is copied. */
export function writeDataPdu(value: PresentationDataValue): Buffer[] {
  const fragmentBytes = value.slices.reduce((sum, slice) => sum + slice.length, 0);
  const header = Buffer.allocUnsafe(HEADER_BYTES + PDV_HEADER_BYTES);
  header[0] = PDU_TYPES['P-DATA-TF'];
  header[1] = 0;
  header.writeUInt32BE(PDV_HEADER_BYTES + fragmentBytes, 2);
  header.writeUInt32BE(2 + fragmentBytes, 6);
  header[10] = value.contextId;
  header[11] = (value.isCommand ? 1 : 0) | (value.isLast ? 2 : 0);
  return [header, ...value.slices];
}

function readType(code: number): Pdu['type'] {
  for (const [type, typeCode] of Object.entries(PDU_TYPES)) if (typeCode === code) return type as Pdu['type'];
  throw new ProtocolViolation(AbortReason.unrecognizedPdu, `PDU type ${code} does not exist (PS3.8 9.3.1)`);
}

function checkLength(type: Pdu['type'], lengthBytes: number, maxDataBytes: number): void {
  if (type === 'P-DATA-TF') {
    // PS3.8 D.1: the offered maximum counts the variable field, that is, all but the six bytes of the PDU header.
    if (lengthBytes > maxDataBytes) throw invalid(`P-DATA-TF of ${lengthBytes} bytes; ${maxDataBytes} were offered`);
    if (lengthBytes < PDV_HEADER_BYTES) throw invalid(`P-DATA-TF of ${lengthBytes} bytes holds no value (PS3.8 9.3.5)`);
  } else if (type === 'A-ASSOCIATE-RQ' || type === 'A-ASSOCIATE-AC') {
    if (lengthBytes > MAX_ASSOCIATE_BYTES)
      throw invalid(`${type} of ${lengthBytes} bytes; at most ${MAX_ASSOCIATE_BYTES}`);
  } else if (lengthBytes !== 4) {
    throw invalid(`${type} of ${lengthBytes} bytes instead of 4`);
  }
}

function readControl(type: Exclude<Pdu['type'], 'P-DATA-TF'>, body: Buffer): Pdu {
  switch (type) {
    case 'A-ASSOCIATE-RQ':
      return { type, request: readAssociateRequest(body) };
    case 'A-ASSOCIATE-AC':
      return { type, accept: readAssociateAccept(body) };
    case 'A-ASSOCIATE-RJ':
      return { type, reject: { result: body[1] ?? 0, source: body[2] ?? 0, reason: body[3] ?? 0 } };
    case 'A-RELEASE-RQ':
    case 'A-RELEASE-RP':
      return { type };
    case 'A-ABORT':
      return { type, abort: { source: body[2] ?? 0, reason: body[3] ?? 0 } };
    default:
      return type satisfies never;
  }
}

function readValues(queue: ByteQueue, lengthBytes: number): PresentationDataValue[] {
  const values: PresentationDataValue[] = [];
  let left = lengthBytes;
  while (left > 0) {
    if (left < PDV_HEADER_BYTES) throw invalid(`${left} bytes after the last value of a P-DATA-TF`);
    const header = queue.take(PDV_HEADER_BYTES);
    const itemBytes = header.readUInt32BE(0);
    left -= PDV_HEADER_BYTES;
    if (itemBytes < 2 || itemBytes - 2 > left) {
      throw invalid(`a presentation data value of ${itemBytes} bytes where ${left + 2} are left (PS3.8 9.3.5.1)`);
    }
    left -= itemBytes - 2;
    const control = header[5] ?? 0;
    values.push({
      contextId: header[4] ?? 0,
      isCommand: (control & 1) !== 0,
      isLast: (control & 2) !== 0,
      slices: queue.takeSlices(itemBytes - 2),
    });
  }
  return values;
}

function frame(type: Pdu['type'], body: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header[0] = PDU_TYPES[type];
  header.writeUInt32BE(body.length, 2);
  return Buffer.concat([header, body]);
}

function invalid(sentence: string): ProtocolViolation {
  return new ProtocolViolation(AbortReason.invalidPduParameter, sentence);
}
