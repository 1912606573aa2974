/** An answer's bytes on their way out: as fast as the far side reads, from buffers that go round. */
import type { ServerResponse } from 'node:http';
import { release } from '../release.ts';

export interface Sink {
  /** Resolves when there is room for more, which is before the far side has it. What is given together leaves together. */
  write(...pieces: Uint8Array[]): Promise<void>;
  end(): Promise<void>;
  /**
   * A buffer to read into, to be handed to `write` in one piece and then not touched: it is lent again when its bytes have left. Waits
   * while all are under way.
   */
  lend(): Promise<Buffer>;
  /** Bytes that nobody else has: their memory is given back as soon as they have left. */
  give(bytes: Buffer): Buffer;
}

/** So much of one answer is under way at a time. */
const MOST_UNDER_WAY_BYTES = 2 ** 21;
/**
 * A CT image with its header in one read and one write, and still in the processor's cache when it is sent. One is read, one waits and one
 * leaves.
 */
const LENT_BYTES = 576 * 1024;
const MOST_LENT = 3;
/** Kept from one answer to the next: memory that V8 has to collect costs more than sending what was in it. */
const SPARE: Buffer[] = [];
const MOST_SPARE = 8;

/**
 * With so much of all answers under way each goes on in small buffers, one at a time: a thousand readers that stand still hold
 * megabytes, not gigabytes.
 */
const CROWDED_BYTES = 24 * 2 ** 20;
const SMALL_BYTES = 2 ** 15;
let heldByAll = 0;
const isCrowded = (): boolean => heldByAll >= CROWDED_BYTES;

function openSink(response: ServerResponse, isLong: boolean): Sink {
  /** Lent, or written and not yet gone. */
  let held = 0;
  let underWay = 0;
  /** Of a long answer the first bytes need not wait for a whole image. */
  let isHurried = isLong;
  let failure: Error | undefined;
  let waiting: (() => void)[] = [];
  const hold = (bytes: number): void => {
    held += bytes;
    heldByAll += bytes;
  };
  const wake = (): void => {
    const all = waiting;
    waiting = [];
    for (const one of all) one();
  };
  const fail = (error?: Error): void => {
    failure ??= error ?? Object.assign(new Error('the far side went away'), { code: 'ERR_STREAM_PREMATURE_CLOSE' });
    hold(-held);
    wake();
  };
  response.once('close', fail).once('error', fail);
  const until = async (enough: () => boolean): Promise<void> => {
    while (failure === undefined && !enough()) await new Promise<void>((resolve) => waiting.push(resolve));
    if (failure !== undefined) throw failure;
  };
  const lent = new Map<ArrayBufferLike, Buffer>();
  const given = new Set<ArrayBufferLike>();
  const hasLeft = (bytes: Uint8Array): void => {
    underWay -= bytes.length;
    const { buffer } = bytes;
    const whole = lent.get(buffer);
    hold(-(whole ?? bytes).length);
    if (whole === undefined) {
      if (given.delete(buffer)) release(bytes);
    } else {
      lent.delete(buffer);
      if (whole.length === LENT_BYTES && SPARE.length < MOST_SPARE) SPARE.push(whole);
      else release(whole);
    }
    wake();
  };
  const send = (bytes: Uint8Array): void => {
    underWay += bytes.length;
    if (!lent.has(bytes.buffer)) hold(bytes.length);
    response.write(bytes, (error) => {
      // After a failure nothing is taken back: who knows what is still being sent or read into.
      if (error) fail(error);
      else if (failure === undefined) hasLeft(bytes);
    });
  };
  return {
    async write(...pieces) {
      if (failure !== undefined) throw failure;
      for (const bytes of pieces) send(bytes);
      await until(() => underWay < (isCrowded() ? 1 : MOST_UNDER_WAY_BYTES));
    },
    async end() {
      let ended = false;
      response.end(() => {
        ended = true;
        wake();
      });
      await until(() => ended);
    },
    async lend() {
      await until(() => lent.size < (isCrowded() ? 1 : MOST_LENT));
      const isSmall = isHurried || isCrowded();
      isHurried = false;
      const buffer = isSmall
        ? Buffer.allocUnsafeSlow(SMALL_BYTES)
        : (SPARE.pop() ?? Buffer.allocUnsafeSlow(LENT_BYTES));
      lent.set(buffer.buffer, buffer);
      hold(buffer.length);
      return buffer;
    },
    give(bytes) {
      given.add(bytes.buffer);
      return bytes;
    },
  };
}

/** Sends pieces that belong together, the next being made while one goes out, where there is room. When one fails the connection is cut. */
export async function sendPieces(
  response: ServerResponse,
  piecesFor: (sink: Sink) => AsyncGenerator<readonly Uint8Array[], void, undefined>,
  isLong = false,
): Promise<void> {
  const sink = openSink(response, isLong);
  const pieces = piecesFor(sink);
  const next = (): ReturnType<typeof pieces.next> => {
    const made = pieces.next();
    // A failure is met when its turn comes.
    made.catch(() => undefined);
    return made;
  };
  try {
    for (let coming: ReturnType<typeof next> | undefined; ;) {
      const { done, value } = await (coming ?? next());
      if (done === true) break;
      coming = isCrowded() ? undefined : next();
      await sink.write(...value);
    }
    await sink.end();
  } catch (error) {
    response.destroy();
    await pieces.return().catch(() => undefined);
    throw error;
  }
}
