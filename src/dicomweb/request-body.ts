/** The body of a request without its content coding (RFC 9110 8.4), up to a limit, piece by piece. */
import { pipeline } from 'node:stream/promises';
import { createGunzip, createInflate } from 'node:zlib';
import { Refusal } from '../dicom/refusal.ts';
import type { Exchange } from './exchange.ts';

const DECODERS: ReadonlyMap<string, typeof createGunzip | typeof createInflate> = new Map([
  ['gzip', createGunzip],
  ['x-gzip', createGunzip],
  ['deflate', createInflate],
]);

/**
 * To be closed by who reads it, also before its end. A connection that breaks off is a refusal, so that what it was sending is not kept.
 * @throws Refusal UnsupportedMediaType for another coding; while reading TooLarge, CannotUnderstand
 */
export function bodyOf(
  { request, response }: Exchange,
  tooLarge: () => Refusal,
  maxBytes: number,
): AsyncGenerator<Buffer, void, undefined> {
  const coding = (request.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  const chunks = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  if (coding === 'identity' || coding === '') return bounded(chunks, tooLarge, maxBytes);
  const decoder = DECODERS.get(coding);
  if (decoder === undefined) {
    response.setHeader('Accept-Encoding', 'gzip, deflate');
    throw new Refusal('UnsupportedMediaType', 'the content coding of a body has to be gzip or deflate, or none');
  }
  return bounded(decoded(chunks, decoder()), tooLarge, maxBytes);
}

async function* bounded(
  chunks: AsyncIterable<Buffer>,
  tooLarge: () => Refusal,
  maxBytes: number,
): AsyncGenerator<Buffer, void, undefined> {
  let left = maxBytes;
  try {
    for await (const chunk of chunks) {
      left -= chunk.length;
      if (left < 0) throw tooLarge();
      yield chunk;
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal('CannotUnderstand', 'the request broke off before its end, or its content coding is damaged');
  }
}

/** As fast as it is read: what waits is the decoder's own buffers. */
async function* decoded(
  chunks: AsyncIterable<Buffer>,
  decoder: ReturnType<typeof createGunzip | typeof createInflate>,
): AsyncGenerator<Buffer, void, undefined> {
  // Its failure is that of the decoder, which who reads is told.
  void pipeline(chunks, decoder).catch(() => undefined);
  try {
    for await (const chunk of decoder as AsyncIterable<Buffer>) yield chunk;
  } finally {
    decoder.destroy();
  }
}
