/** An answer's bytes on their way out: as fast as the far side reads, from buffers that go round. */
import type { ServerResponse } from 'node:http';

export interface Sink {
  /** Resolves when there is room for more, which is before the far side has it. What is given together leaves together. */
  write(...pieces: Uint8Array[]): Promise<void>;
  end(): Promise<void>;
  /**
   * A buffer to read into, to be handed to `write` in one piece and then not touched: it is lent again when its bytes have left. Waits
   * while all are under way.
   */
  lend(): Promise<Buffer>;
}

/** So much is under way at a time. */
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

function openSink(response: ServerResponse): Sink {
  let underWay = 0;
  let failure: Error | undefined;
  let waiting: (() => void)[] = [];
  const wake = (): void => {
    const all = waiting;
    waiting = [];
    for (const one of all) one();
  };
  const fail = (error?: Error): void => {
    failure ??= error ?? Object.assign(new Error('the far side went away'), { code: 'ERR_STREAM_PREMATURE_CLOSE' });
    wake();
  };
  response.once('close', fail).once('error', fail);
  const until = async (enough: () => boolean): Promise<void> => {
    while (failure === undefined && !enough()) await new Promise<void>((resolve) => waiting.push(resolve));
    if (failure !== undefined) throw failure;
  };
  const lent = new Map<ArrayBufferLike, Buffer>();
  // Not after a failure: who knows what is still being sent or read into.
  const takeBack = ({ buffer }: Uint8Array): void => {
    const whole = lent.get(buffer);
    if (whole === undefined || !lent.delete(buffer)) return;
    if (failure === undefined && SPARE.length < MOST_SPARE) SPARE.push(whole);
  };
  const send = (bytes: Uint8Array): void => {
    underWay += bytes.length;
    response.write(bytes, (error) => {
      underWay -= bytes.length;
      if (error) fail(error);
      else {
        takeBack(bytes);
        wake();
      }
    });
  };
  return {
    async write(...pieces) {
      if (failure !== undefined) throw failure;
      for (const bytes of pieces) send(bytes);
      await until(() => underWay < MOST_UNDER_WAY_BYTES);
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
      await until(() => lent.size < MOST_LENT);
      const buffer = SPARE.pop() ?? Buffer.allocUnsafeSlow(LENT_BYTES);
      lent.set(buffer.buffer, buffer);
      return buffer;
    },
  };
}

/** Sends pieces that belong together, the next being made while one goes out. When one fails the connection is cut. */
export async function sendPieces(
  response: ServerResponse,
  piecesFor: (sink: Sink) => AsyncGenerator<readonly Uint8Array[], void, undefined>,
): Promise<void> {
  const sink = openSink(response);
  const pieces = piecesFor(sink);
  const next = (): ReturnType<typeof pieces.next> => {
    const made = pieces.next();
    // A failure is met when its turn comes.
    made.catch(() => undefined);
    return made;
  };
  try {
    for (let coming = next(); ;) {
      const { done, value } = await coming;
      if (done === true) break;
      coming = next();
      await sink.write(...value);
    }
    await sink.end();
  } catch (error) {
    response.destroy();
    await pieces.return().catch(() => undefined);
    throw error;
  }
}
