/**
 * An instance comes home: read the head, choose the admission rule, de-identify, store, and only then let the door answer.
 * The only place that sees identified objects, for as long as they stream by. What cannot be let in is sealed in quarantine.
 */
import { randomUUID } from 'node:crypto';
import { studyMark, subjectMark } from '../deidentify/pseudonyms.ts';
import { awaitsDefacing } from '../deidentify/admit.ts';
import { recordOf } from '../deidentify/patient-facts.ts';
import type { PatientRecord } from '../deidentify/merge.ts';
import { outOfSpace } from '../archive/room.ts';
import { characterSetOf, asciiValue, textValue, type DataSet } from '../dicom/data-set.ts';
import type { Identified } from '../dicom/object.ts';
import { receiveObject } from '../dicom/part10.ts';
import { valueFaults, type ValueFault } from '../dicom/value-faults.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { AssociationInfo, ScpHandlers } from '../dimse/scp.ts';
import { profileOf, type Gateway } from '../gateway.ts';
import { spoolFolder } from '../gateway/wall.ts';
import { hold } from '../quarantine.ts';
import { matchAdmission, type AdmissionFacts } from '../routing/match.ts';
import { openSpool, type Spool, type SpoolOptions } from '../spool.ts';
import { beginArrival, endArrival } from './complete.ts';
import { holdForDefacing } from './deface.ts';
import { letIn } from './let-in.ts';
import { bearsOurName, isReturning } from './returning.ts';

export interface Sender {
  readonly door: 'stow' | 'dimse';
  readonly callingAE: string;
  readonly calledAE: string;
  readonly remoteAddress: string;
  /** STOW to `/studies/{s}`: every object must belong to this study, as the sender names it. */
  readonly expectedStudyInstanceUID?: string;
}

/** What became of one object. UIDs at the top are the sender's own. */
export interface Received {
  readonly sopClassUID: string | undefined;
  readonly sopInstanceUID: string | undefined;
  readonly studyInstanceUID: string | undefined;
  readonly refusal?: Refusal;
  /** Sealed and durable, waiting for a person. */
  readonly quarantined?: boolean;
  /** Values that their VR does not allow; stored all the same. */
  readonly faults?: readonly ValueFault[];
  /** Sealed and durable until its series is whole and the face taken out; the pseudonym of its study. */
  readonly waitsIn?: string;
  /** Pseudonyms of what was stored (or was there already); absent without refusal for a result of ours that was sent back to us. */
  readonly stored?: {
    readonly studyInstanceUID: string;
    readonly seriesInstanceUID: string;
    readonly sopInstanceUID: string;
  };
}

export interface ReceiveSource {
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Of a data set without file meta (DIMSE). */
  readonly transferSyntaxUID?: string;
}

/**
 * While its head is being judged everything of an object is kept, so that it can be sealed; once it is admitted only as much as this,
 * since then it fails only by damage, of which the sender hears.
 */
const KEEP_ADMITTED_BYTES = 8 * 2 ** 20;
/** Of what has to be kept until an object is admitted: beyond this in an encrypted file. */
const KEEP_IN_MEMORY_BYTES = 32 * 2 ** 20;

/**
 * Takes one object in. `taken` resolves when its bytes have been read (the next may follow), `done` when it is durable or refused.
 * Neither rejects: what is no Refusal is logged and becomes one (status 0110 / 500 with an id in the log).
 */
export function receiveInstance(
  gateway: Gateway,
  source: ReceiveSource,
  from: Sender,
): { taken: Promise<void>; done: Promise<Received> } {
  const tee = keepBytes(source.bytes, { folder: spoolFolder(gateway.config), memoryBytes: KEEP_IN_MEMORY_BYTES });
  const done = receive(gateway, source, tee, from)
    .then((received) => {
      countReceipt(gateway, from, received);
      return received;
    })
    .finally(() => tee.drain());
  return { taken: Promise.race([tee.ended, done.then(() => tee.ended)]), done };
}

/** What is sealed because its head cannot be read is counted as sealed: its bytes are safe, whatever the sender is told. */
function countReceipt({ receipts }: Gateway, { door }: Sender, received: Received): void {
  const { stored, quarantined, waitsIn, refusal } = received;
  const kept = stored
    ? 'stored'
    : quarantined
      ? 'quarantined'
      : waitsIn === undefined
        ? 'own result'
        : 'waits for its series';
  const key = `${door} ${quarantined || refusal === undefined ? kept : refusal.reason}` as const;
  receipts.set(key, (receipts.get(key) ?? 0) + 1);
}

type Names = Pick<Received, 'sopClassUID' | 'sopInstanceUID' | 'studyInstanceUID' | 'faults'>;

async function receive(gateway: Gateway, source: ReceiveSource, tee: Tee, from: Sender): Promise<Received> {
  let names: Names = { sopClassUID: undefined, sopInstanceUID: undefined, studyInstanceUID: undefined };
  let record: PatientRecord | undefined;
  try {
    const object = await receiveObject(tee.bytes(), {
      ...(source.transferSyntaxUID === undefined ? {} : { transferSyntaxUID: source.transferSyntaxUID }),
      onFileMeta: (meta) => {
        names = {
          sopClassUID: asciiValue(meta, 0x00020002),
          sopInstanceUID: asciiValue(meta, 0x00020003),
          studyInstanceUID: undefined,
        };
      },
    });
    names = namesOf(object);
    record = recordOf(object.head.dataSet);
    // A C-STORE has no words for them.
    const faults = from.door === 'stow' ? valueFaults(object.head.dataSet, gateway.wall.faultless) : [];
    if (faults.length > 0) names = { ...names, faults };
    return await admit(gateway, object, names, { tee, transferSyntaxUID: source.transferSyntaxUID ?? '' }, from);
  } catch (error) {
    const refusal = refusalOf(gateway, error);
    return { ...names, ...(await refuse(gateway, refusal, { ...source, record, names }, tee, from)) };
  }
}

async function admit(
  gateway: Gateway,
  object: Identified,
  names: Names,
  { tee, transferSyntaxUID }: { readonly tee: Tee; readonly transferSyntaxUID: string },
  from: Sender,
): Promise<Received> {
  const { expectedStudyInstanceUID } = from;
  if (expectedStudyInstanceUID !== undefined && names.studyInstanceUID !== expectedStudyInstanceUID) {
    throw new Refusal('OtherStudy', 'the instance belongs to another study than the request names (PS3.18 10.5.1)');
  }
  const { dataSet } = object.head;
  if (names.sopInstanceUID !== undefined && bearsOurName(dataSet) && isReturning(gateway, names.sopInstanceUID)) {
    gateway.log.info('own result came back', { door: from.door, callingAE: from.callingAE });
    return names;
  }
  const rule = matchAdmission(gateway.rules, admissionFacts(dataSet, from));
  if (rule === undefined) throw new Refusal('Quarantined', 'no admission rule matches');
  const { project } = rule;
  const profile = profileOf(gateway, rule.profile);
  if (awaitsDefacing(object, profile)) {
    // To its end: what is damaged is refused now, not when the sender has forgotten it.
    for await (const _chunk of object.body);
    const bytes = tee.fromStart();
    if (bytes === undefined) throw new Error('the beginning of an object was not kept');
    const { door, callingAE } = from;
    const waitsIn = await holdForDefacing(gateway, object, bytes, {
      project,
      profile,
      transferSyntaxUID,
      door,
      callingAE,
    });
    return { ...names, waitsIn };
  }
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID } = await letIn(gateway, object, {
    project,
    profile,
    admitted: () => tee.keepAtMost(KEEP_ADMITTED_BYTES),
  });
  return { ...names, stored: { studyInstanceUID, seriesInstanceUID, sopInstanceUID } };
}

/** What a reason asks of the bytes: sealed for review, or left with the sender who is told to keep them. */
async function refuse(
  gateway: Gateway,
  refusal: Refusal,
  source: ReceiveSource & { readonly record: PatientRecord | undefined; readonly names: Names },
  tee: Tee,
  from: Sender,
): Promise<Pick<Received, 'refusal' | 'quarantined'>> {
  const policy = refusal.reason === 'Quarantined';
  const unreadable = refusal.reason === 'CannotUnderstand' || refusal.reason === 'TransferSyntaxNotSupported';
  gateway.log.warn('object refused', {
    reason: refusal.reason,
    found: refusal.message,
    door: from.door,
    callingAE: from.callingAE,
  });
  if (!policy && !unreadable) return { refusal };
  const rest = tee.fromStart();
  // A large object that turned out damaged near its end has passed by: the sender keeps it, since it is told so.
  if (rest === undefined) return { refusal };
  try {
    await hold(gateway.quarantine, rest, {
      reason: refusal.reason,
      sentence: refusal.message,
      door: from.door,
      callingAE: from.callingAE,
      transferSyntaxUID: source.transferSyntaxUID ?? '',
      subject: source.record && subjectMark(gateway.wall, source.record.issuer, source.record.id),
      study:
        source.names.studyInstanceUID === undefined
          ? undefined
          : studyMark(gateway.wall, source.names.studyInstanceUID),
    });
  } catch (error) {
    // The sender went away in the middle, or the disk is full: nothing was promised.
    return { refusal: error instanceof Refusal ? error : policy ? refusalOf(gateway, error) : refusal };
  }
  // Sealed and durable: the object is in safe hands, so the sender need not send it again. Damage it must still hear of.
  return policy ? { quarantined: true } : { refusal, quarantined: true };
}

/** A full disk is told by name wherever it shows: the crosswalk writes before the archive does. */
function refusalOf(gateway: Gateway, error: unknown): Refusal {
  const named = outOfSpace(error);
  return named instanceof Refusal ? named : unexpected(gateway, error);
}

function unexpected(gateway: Gateway, error: unknown): Refusal {
  const id = randomUUID();
  gateway.log.error('unexpected', {
    id,
    error: error instanceof Error ? error.name : 'unknown',
    code: String((error as NodeJS.ErrnoException).code ?? ''),
    at: stackLine(error),
  });
  return new Refusal('ProcessingFailure', `processing failed; see the log under ${id}`);
}

/** Where, never what: a message could hold a value. */
function stackLine(error: unknown): string {
  const line =
    error instanceof Error ? error.stack?.split('\n').find((text) => text.trimStart().startsWith('at ')) : undefined;
  return line?.trim() ?? '';
}

function namesOf(object: Identified): Names {
  const { dataSet } = object.head;
  return {
    sopClassUID: asciiValue(dataSet, 0x00080016),
    sopInstanceUID: asciiValue(dataSet, 0x00080018),
    studyInstanceUID: asciiValue(dataSet, 0x0020000d),
  };
}

function admissionFacts(dataSet: DataSet, from: Sender): AdmissionFacts {
  const set = characterSetOf(dataSet);
  return {
    callingAE: from.callingAE,
    calledAE: from.calledAE,
    door: from.door,
    modality: asciiValue(dataSet, 0x00080060) ?? '',
    bodyPart: asciiValue(dataSet, 0x00180015) ?? '',
    studyDescription: textValue(dataSet, 0x00081030, set) ?? '',
    seriesDescription: textValue(dataSet, 0x0008103e, set) ?? '',
    sopClass: asciiValue(dataSet, 0x00080016) ?? '',
  };
}

interface Tee {
  /** The source, kept on the way from its first byte on. */
  bytes(): AsyncIterable<Buffer>;
  /** Keeps nothing of a source that is longer than this. */
  keepAtMost(bytes: number): void;
  /** Everything from the first byte on, what is still to come included; undefined when part of it has passed by. */
  fromStart(): AsyncIterable<Buffer> | undefined;
  /** Reads what nobody wants. */
  drain(): Promise<void>;
  readonly ended: Promise<void>;
}

function keepBytes(source: AsyncIterable<Uint8Array>, where: SpoolOptions): Tee {
  const chunks = source[Symbol.asyncIterator]();
  let kept: Spool | undefined = openSpool(where);
  let mostBytes = Infinity;
  let passed = false;
  let over = false;
  let failure: unknown;
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const next = async (): Promise<Buffer | undefined> => {
    if (over) {
      if (failure !== undefined) throw failure as Error;
      return undefined;
    }
    let read: IteratorResult<Uint8Array>;
    try {
      read = await chunks.next();
    } catch (error) {
      over = true;
      failure = error;
      end();
      throw error;
    }
    if (read.done === true) {
      over = true;
      end();
      return undefined;
    }
    const { value } = read;
    return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  };
  const letGo = (): void => {
    kept?.discard();
    kept = undefined;
    passed = true;
  };
  return {
    ended,
    async *bytes() {
      for (let chunk = await next(); chunk !== undefined; chunk = await next()) {
        if (!passed && kept !== undefined) {
          await kept.write(chunk);
          if (kept.lengthBytes > mostBytes) letGo();
        }
        yield chunk;
      }
    },
    keepAtMost(bytes) {
      mostBytes = bytes;
      if (kept !== undefined && kept.lengthBytes > mostBytes) letGo();
    },
    fromStart() {
      if (passed) return undefined;
      const start = kept;
      kept = undefined;
      passed = true;
      return (async function* all() {
        try {
          if (start !== undefined) yield* start.read();
          for (let chunk = await next(); chunk !== undefined; chunk = await next()) yield chunk;
        } finally {
          start?.discard();
        }
      })();
    },
    async drain() {
      letGo();
      try {
        while ((await next()) !== undefined);
      } catch {
        // The sender broke off; whoever read first has been told.
      }
    },
  };
}

/** What the DIMSE service does with associations: objects go the way above; a study is busy until its associations have ended. */
export function storeHandlers(gateway: Gateway): ScpHandlers {
  const touched = new Map<string, Set<string>>();
  return {
    async store({ association, transferSyntaxUID, dataSet }) {
      if (!touched.has(association.id)) touched.set(association.id, new Set());
      const received = receiveInstance(gateway, { bytes: dataSet, transferSyntaxUID }, senderOf(association));
      const { refusal, quarantined, stored, waitsIn } = await received.done;
      const study = stored?.studyInstanceUID ?? waitsIn;
      if (study !== undefined) keepBusy(gateway, touched.get(association.id), study);
      if (refusal !== undefined) return refusal.answer.dimseStatus;
      // PS3.4 B.2.3: a warning; the object is kept, though not as it came.
      return quarantined === true ? 0xb000 : 0x0000;
    },
    closed(association, how) {
      releaseStudies(gateway, touched.get(association.id) ?? new Set());
      touched.delete(association.id);
      gateway.log.info('association closed', { association: association.id, callingAE: association.callingAE, how });
    },
    event(name, facts) {
      // What went well is counted where the association ends: no line for each object.
      if (name !== 'stored' || facts['status'] !== 0) gateway.log.info(name, facts);
    },
  };
}

/** What came belongs to a study of which more may come while `studies` are held; undefined: nothing can come any more. */
export function keepBusy(gateway: Gateway, studies: Set<string> | undefined, study: string): void {
  if (studies === undefined || studies.has(study)) return;
  studies.add(study);
  beginArrival(gateway, study);
}

/** The association or request that held them has ended. */
export function releaseStudies(gateway: Gateway, studies: Set<string>): void {
  for (const study of studies) endArrival(gateway, study);
  studies.clear();
}

function senderOf(association: AssociationInfo): Sender {
  return {
    door: 'dimse',
    callingAE: association.callingAE,
    calledAE: association.calledAE,
    remoteAddress: association.remoteAddress,
  };
}
