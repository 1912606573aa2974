/** DIMSE messages out of and into presentation data values: PS3.8 Annex E, PS3.7 6.3.1. Data sets are streams, never held whole. */
import type { AssociationMachine } from './association.ts';
import { hasDataSet, readCommand, writeCommand } from './command.ts';
import type { Command } from './command.ts';
import { PDV_HEADER_BYTES } from './pdu.ts';
import type { PresentationDataValue } from './pdu.ts';
import { AbortReason, ProtocolViolation } from './violation.ts';

/** A C-STORE command has about 300 bytes. */
const MAX_COMMAND_BYTES = 16 * 1024;
/** How much of a data set waits for a slow reader before the socket rests. */
const MAX_BUFFERED_BYTES = 1024 * 1024;
/** What a slice costs at least: a peer that sends single bytes must not fill us with objects. */
const MIN_SLICE_COST_BYTES = 512;
/** What is gathered for one write when sending. */
const WRITE_BYTES = 256 * 1024;
/** A peer may offer any length; longer PDUs than this gain nothing and cost it memory. */
const MAX_SENT_PDU_BYTES = 128 * 1024;

export interface Message {
  readonly contextId: number;
  readonly command: Command;
  readonly dataSet: DataSetStream | undefined;
}

/** The data set of one message while it arrives: bounded, for one reader, and it throws rather than end early. */
export class DataSetStream implements AsyncIterable<Buffer> {
  readonly #drained: () => void;
  readonly #slices: Buffer[] = [];
  #bufferedBytes = 0;
  #receivedBytes = 0;
  #complete = false;
  #discarding = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #settled: (() => void)[] = [];

  constructor(drained: () => void) {
    this.#drained = drained;
  }

  get isFull(): boolean {
    return this.#bufferedBytes >= MAX_BUFFERED_BYTES;
  }

  get isComplete(): boolean {
    return this.#complete;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void, undefined> {
    try {
      for (;;) {
        const slice = this.#take();
        if (slice !== undefined) yield slice;
        else if (this.#error !== undefined) throw this.#error;
        else if (this.#complete || this.#discarding) return;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.discard();
    }
  }

  push(slice: Buffer): void {
    this.#receivedBytes += slice.length;
    if (this.#discarding || slice.length === 0) return;
    this.#slices.push(slice);
    this.#bufferedBytes += costOf(slice);
    this.#wakeUp();
  }

  complete(): void {
    this.#complete = true;
    this.#settle();
  }

  /** The rest will not come. */
  fail(error: Error): void {
    if (this.#complete || this.#error !== undefined) return;
    this.#error = error;
    this.#settle();
  }

  /** Nobody reads on: what still comes is thrown away. */
  discard(): void {
    if (this.#discarding) return;
    this.#discarding = true;
    this.#slices.length = 0;
    this.#bufferedBytes = 0;
    this.#wakeUp();
    this.#drained();
  }

  /** Resolves when the last byte has come or will not come any more. */
  settled(): Promise<void> {
    if (this.#complete || this.#error !== undefined) return Promise.resolve();
    return new Promise((resolve) => this.#settled.push(resolve));
  }

  #take(): Buffer | undefined {
    const slice = this.#slices.shift();
    if (slice === undefined) return undefined;
    const wasFull = this.isFull;
    this.#bufferedBytes -= costOf(slice);
    if (wasFull && !this.isFull) this.#drained();
    return slice;
  }

  #settle(): void {
    for (const resolve of this.#settled) resolve();
    this.#settled = [];
    this.#wakeUp();
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

function costOf(slice: Buffer): number {
  return Math.max(slice.length, MIN_SLICE_COST_BYTES);
}

/** Puts messages together. `isBusy`: the taker has not finished the last one, so the next one has to wait. */
export class MessageReader {
  readonly #take: (message: Message) => void;
  readonly #drained: () => void;
  isBusy = false;
  #contextId: number | undefined;
  #command: Buffer[] = [];
  #commandBytes = 0;
  #dataSet: DataSetStream | undefined;

  /** `drained`: a data set that was full takes more. */
  constructor(take: (message: Message) => void, drained: () => void) {
    this.#take = take;
    this.#drained = drained;
  }

  /** A message has begun to arrive and is not whole yet. */
  get isReading(): boolean {
    return this.#contextId !== undefined;
  }

  ready(): boolean {
    return this.#dataSet === undefined ? !this.isBusy : !this.#dataSet.isFull;
  }

  /** @throws ProtocolViolation */
  received(value: PresentationDataValue): void {
    if (this.#contextId !== undefined && this.#contextId !== value.contextId) {
      throw unexpected('a message changes its presentation context (PS3.8 E.2)');
    }
    this.#contextId = value.contextId;
    if (value.isCommand) this.#receivedCommand(value);
    else this.#receivedData(value);
  }

  fail(error: Error): void {
    this.#dataSet?.fail(error);
    this.#dataSet = undefined;
    this.#command = [];
  }

  #receivedCommand(value: PresentationDataValue): void {
    if (this.#dataSet !== undefined) throw unexpected('a command inside a data set (PS3.8 E.2)');
    for (const slice of value.slices) {
      this.#command.push(slice);
      this.#commandBytes += slice.length;
    }
    if (this.#commandBytes > MAX_COMMAND_BYTES)
      throw unexpected(`a command set of more than ${MAX_COMMAND_BYTES} bytes`);
    if (!value.isLast) return;
    const command = readCommand(Buffer.concat(this.#command));
    const contextId = value.contextId;
    this.#command = [];
    this.#commandBytes = 0;
    if (hasDataSet(command)) this.#dataSet = new DataSetStream(this.#drained);
    else this.#contextId = undefined;
    this.#take({ contextId, command, dataSet: this.#dataSet });
  }

  #receivedData(value: PresentationDataValue): void {
    const dataSet = this.#dataSet;
    if (dataSet === undefined) throw unexpected('a data set without its command (PS3.8 E.2)');
    for (const slice of value.slices) dataSet.push(slice);
    if (!value.isLast) return;
    this.#dataSet = undefined;
    this.#contextId = undefined;
    dataSet.complete();
  }
}

export type DataSetSource = Buffer | Iterable<Buffer> | AsyncIterable<Buffer>;

/** How the sender of a message talks about its own waiting, so that an idle timer counts the peer's time only. */
export interface SendOptions {
  /** The longest P-DATA-TF variable field that the peer takes; 0 = no limit. */
  readonly maxPduLength: number;
  readonly waiting?: (forPeer: boolean) => void;
}

/** A message without a data set, in one write. */
export function sendCommand(
  machine: AssociationMachine,
  contextId: number,
  command: Command,
  options: SendOptions,
): void {
  machine.send(commandValues(contextId, command, options));
}

/**
 * A message with its data set; command and the first part of the data set share a write, and no more than a few PDUs are held.
 * Ends early, without an error, when the association does; an error of `dataSet` passes through with the message half sent.
 */
export async function sendMessage(
  machine: AssociationMachine,
  message: { readonly contextId: number; readonly command: Command; readonly dataSet: DataSetSource },
  options: SendOptions,
): Promise<void> {
  const { contextId, dataSet } = message;
  const fragmentBytes = maxFragmentBytes(options.maxPduLength);
  let batch = commandValues(contextId, message.command, options);
  let batchBytes = 0;
  let slices: Buffer[] = [];
  let slicesBytes = 0;
  const addFragment = (isLast: boolean): void => {
    batch.push({ contextId, isCommand: false, isLast, slices });
    batchBytes += slicesBytes;
    slices = [];
    slicesBytes = 0;
  };
  for await (const chunk of Buffer.isBuffer(dataSet) ? [dataSet] : dataSet) {
    let offset = 0;
    while (offset < chunk.length) {
      // Only now is it certain that a full fragment is not the last.
      if (slicesBytes === fragmentBytes) addFragment(false);
      if (batchBytes >= WRITE_BYTES) {
        await sendBatch(machine, batch, options);
        if (machine.ending !== undefined) return;
        batch = [];
        batchBytes = 0;
      }
      const slice = chunk.subarray(offset, offset + fragmentBytes - slicesBytes);
      slices.push(slice);
      slicesBytes += slice.length;
      offset += slice.length;
    }
  }
  addFragment(true);
  await sendBatch(machine, batch, options);
}

async function sendBatch(
  machine: AssociationMachine,
  batch: PresentationDataValue[],
  options: SendOptions,
): Promise<void> {
  if (machine.send(batch)) return;
  options.waiting?.(true);
  await machine.drained();
  options.waiting?.(false);
}

function commandValues(contextId: number, command: Command, options: SendOptions): PresentationDataValue[] {
  const bytes = writeCommand(command);
  const fragmentBytes = maxFragmentBytes(options.maxPduLength);
  const values: PresentationDataValue[] = [];
  for (let offset = 0; offset < bytes.length; offset += fragmentBytes) {
    const isLast = offset + fragmentBytes >= bytes.length;
    values.push({ contextId, isCommand: true, isLast, slices: [bytes.subarray(offset, offset + fragmentBytes)] });
  }
  return values;
}

/** Even, so that no element is cut between its bytes by a peer that reads 16 bits at a time. */
function maxFragmentBytes(maxPduLength: number): number {
  const limit = maxPduLength === 0 ? MAX_SENT_PDU_BYTES : Math.min(maxPduLength, MAX_SENT_PDU_BYTES);
  return Math.max(2, (limit - PDV_HEADER_BYTES) & ~1);
}

function unexpected(sentence: string): ProtocolViolation {
  return new ProtocolViolation(AbortReason.unexpectedPduParameter, sentence);
}
