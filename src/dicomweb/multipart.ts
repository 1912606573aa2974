/**
 * multipart/related (RFC 2046 section 5.1, RFC 2387, PS3.18 8.6.1.2), read and written as a stream: a part's bytes pass through,
 * nothing large is held, and where a boundary falls across two reads makes no difference.
 */
import type { ServerResponse } from 'node:http';
import type { Lend } from '../archive/pack-files.ts';
import { Refusal } from '../dicom/refusal.ts';
import { sendPieces } from './sink.ts';

export interface Part {
  /** Names in lower case; of a repeated header the last. */
  readonly headers: ReadonlyMap<string, string>;
  /** Can be read once, before the next part is asked for; what is left of it then is passed over. */
  readonly body: AsyncIterable<Buffer>;
}

export interface MultipartLimits {
  readonly maxHeaderBytes: number;
  readonly maxParts: number;
}

const DEFAULT_LIMITS: MultipartLimits = { maxHeaderBytes: 16_384, maxParts: 100_000 };
const MAX_PREAMBLE_BYTES = 65_536;
/** White space that may follow a boundary (RFC 2046 transport-padding). */
const MAX_PADDING_BYTES = 256;
const CRLF = Buffer.from('\r\n');
/** What a delimiter begins with. */
const CR = 0x0d;
const END_OF_HEADERS = Buffer.from('\r\n\r\n');

/**
 * The parts, one after another.
 * @throws Refusal CannotUnderstand when a boundary is missing, from the part's body when that is where the text breaks off;
 *   TooLarge when a part's headers or the number of parts pass the limit
 */
export async function* readMultipart(
  source: AsyncIterable<Uint8Array>,
  boundary: string,
  limits: Partial<MultipartLimits> = {},
): AsyncGenerator<Part, void, undefined> {
  const { maxHeaderBytes, maxParts } = { ...DEFAULT_LIMITS, ...limits };
  // The CRLF before a boundary belongs to it (RFC 2046 5.1.1); the first boundary may do without.
  const scanner = openScanner(source, boundary, CRLF);
  let preambleBytes = 0;
  for await (const chunk of untilBoundary(scanner)) {
    preambleBytes += chunk.length;
    if (preambleBytes > MAX_PREAMBLE_BYTES) throw broken(`no boundary in the first ${MAX_PREAMBLE_BYTES} bytes`);
  }
  for (let count = 1; !scanner.closed; count++) {
    if (count > maxParts) throw new Refusal('TooLarge', `more than ${maxParts} parts`);
    const headers = await readHeaders(scanner, maxHeaderBytes);
    scanner.atBoundary = false;
    const body = untilBoundary(scanner);
    yield { headers, body };
    for await (const _rest of restOf(body, scanner));
  }
}

interface Scanner {
  readonly chunks: AsyncIterator<Uint8Array>;
  readonly delimiter: Buffer;
  buffer: Buffer;
  ended: boolean;
  /** True from the moment a boundary has been passed until the next part's body is over. */
  atBoundary: boolean;
  /** The closing boundary has been passed. */
  closed: boolean;
  /** Set when the text broke off or could not be read: whoever asks again is told again. */
  failure: Error | undefined;
}

function openScanner(source: AsyncIterable<Uint8Array>, boundary: string, first: Buffer): Scanner {
  return {
    chunks: source[Symbol.asyncIterator](),
    delimiter: Buffer.from(`\r\n--${boundary}`, 'latin1'),
    buffer: first,
    ended: false,
    atBoundary: false,
    closed: false,
    failure: undefined,
  };
}

function broken(what: string): Refusal {
  return new Refusal('CannotUnderstand', `multipart body: ${what} (RFC 2046 5.1.1)`);
}

/** What the consumer left of a part's body: nothing when it ran to the boundary. */
async function* restOf(body: AsyncIterable<Buffer>, scanner: Scanner): AsyncGenerator<Buffer, void, undefined> {
  if (scanner.failure !== undefined) throw scanner.failure;
  if (scanner.atBoundary) return;
  yield* body;
  // A body that was closed half-way yields no more: go on where it stopped.
  if (!scanner.atBoundary) yield* untilBoundary(scanner);
}

/** More bytes behind those at hand; false at the end of the source. */
async function readMore(scanner: Scanner): Promise<boolean> {
  if (scanner.ended) return false;
  const read = await scanner.chunks.next().catch((error: unknown) => {
    scanner.ended = true;
    scanner.failure = error instanceof Error ? error : new Error('the source failed');
    throw scanner.failure;
  });
  if (read.done === true) {
    scanner.ended = true;
    return false;
  }
  const { value } = read;
  const chunk = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  scanner.buffer = scanner.buffer.length === 0 ? chunk : Buffer.concat([scanner.buffer, chunk]);
  return true;
}

/** Everything up to the next boundary, which is passed. */
async function* untilBoundary(scanner: Scanner): AsyncGenerator<Buffer, void, undefined> {
  scanner.atBoundary = false;
  for (;;) {
    const at = scanner.buffer.indexOf(scanner.delimiter);
    if (at >= 0) {
      const length = await boundaryLength(scanner, at);
      const end = length === undefined ? at + scanner.delimiter.length : at;
      const content = scanner.buffer.subarray(0, end);
      scanner.buffer = scanner.buffer.subarray(at + (length ?? scanner.delimiter.length));
      scanner.atBoundary = length !== undefined;
      if (content.length > 0) yield content;
      if (length !== undefined) return;
      continue;
    }
    const keep = partialDelimiter(scanner.buffer, scanner.delimiter);
    const content = scanner.buffer.subarray(0, scanner.buffer.length - keep);
    scanner.buffer = scanner.buffer.subarray(scanner.buffer.length - keep);
    if (content.length > 0) yield content;
    if (!(await readMore(scanner))) {
      scanner.failure = broken('it ends before the closing boundary');
      throw scanner.failure;
    }
  }
}

/**
 * Bytes of the boundary that begins at `at`, with what follows up to the end of its line; undefined when the text merely begins
 * like it.
 */
async function boundaryLength(scanner: Scanner, at: number): Promise<number | undefined> {
  const tail = at + scanner.delimiter.length;
  for (let look = tail; ;) {
    if (look >= scanner.buffer.length - 1) {
      if (await readMore(scanner)) continue;
      return undefined;
    }
    const byte = scanner.buffer[look];
    const next = scanner.buffer[look + 1];
    if (look === tail && byte === 0x2d && next === 0x2d) {
      scanner.closed = true;
      return tail + 2 - at;
    }
    if (byte === 0x0d && next === 0x0a) return look + 2 - at;
    if ((byte !== 0x20 && byte !== 0x09) || look - tail >= MAX_PADDING_BYTES) return undefined;
    look++;
  }
}

/** How many bytes at the end could be the beginning of the delimiter. */
function partialDelimiter(buffer: Buffer, delimiter: Buffer): number {
  const longest = Math.min(buffer.length, delimiter.length - 1);
  let at = buffer.indexOf(CR, buffer.length - longest);
  for (; at >= 0; at = buffer.indexOf(CR, at + 1)) {
    const keep = buffer.length - at;
    if (buffer.compare(delimiter, 0, keep, at) === 0) return keep;
  }
  return 0;
}

async function readHeaders(scanner: Scanner, maxBytes: number): Promise<Map<string, string>> {
  for (;;) {
    const empty = scanner.buffer.length >= 2 && scanner.buffer[0] === 0x0d && scanner.buffer[1] === 0x0a;
    const at = empty ? -2 : scanner.buffer.indexOf(END_OF_HEADERS);
    if (empty || (at >= 0 && at <= maxBytes)) {
      const text = empty ? '' : scanner.buffer.toString('latin1', 0, at);
      scanner.buffer = scanner.buffer.subarray(at + 4);
      return parseHeaders(text);
    }
    if (at > maxBytes || scanner.buffer.length > maxBytes + END_OF_HEADERS.length)
      throw new Refusal('TooLarge', `the headers of a part are longer than ${maxBytes} bytes`);
    if (!(await readMore(scanner))) throw broken('it ends within the headers of a part');
  }
}

function parseHeaders(text: string): Map<string, string> {
  const headers = new Map<string, string>();
  // A line that begins with white space continues the one before (RFC 5322 2.2.3).
  for (const line of text.replace(/\r\n[ \t]+/g, ' ').split('\r\n')) {
    if (line === '') continue;
    const at = line.indexOf(':');
    if (at <= 0) throw broken('a header of a part has no name');
    headers.set(line.slice(0, at).trim().toLowerCase(), line.slice(at + 1).trim());
  }
  return headers;
}

export interface OutgoingPart {
  readonly contentType: string;
  readonly contentLocation: string;
  /** Undefined for what is made while it is sent: then the part has no Content-Length (PS3.18 8.6.1.2.1). */
  readonly lengthBytes: number | undefined;
  readonly body: Body;
}

/** In memory, made while it is sent, or read into buffers that are lent for it. */
export type Body = Uint8Array | AsyncIterable<Uint8Array> | ((lend?: Lend) => AsyncIterable<Uint8Array>);

/** No `;` and no blank: clients look for the boundary by plain search and do not unquote. */
export function multipartType(type: string, boundary: string): string {
  return `multipart/related; type="${type}"; boundary=${boundary}`;
}

/**
 * Sends the parts, as fast as the far side reads; the response's status and headers are set by the caller. Parts that can be gone through
 * twice and whose lengths are all known get a Content-Length and go out without chunk markers. When a part fails, the connection is cut,
 * so that a truncated answer cannot be taken for a whole one.
 */
export async function writeMultipart(
  response: ServerResponse,
  boundary: string,
  parts: AsyncIterable<OutgoingPart> | Iterable<OutgoingPart>,
): Promise<void> {
  const lengthBytes = isRepeatable(parts) ? multipartLength(boundary, parts) : undefined;
  if (lengthBytes !== undefined) response.setHeader('Content-Length', lengthBytes);
  const isLong = lengthBytes !== undefined && lengthBytes >= LONG_BYTES;
  await sendPieces(response, (sink) => multipartPieces(boundary, parts, sink.lend), isLong);
}

/** Beside it one read more costs nothing. */
const LONG_BYTES = 2 ** 23;

/** A list, or what makes its parts anew each time; an iterator gives them once. */
function isRepeatable(parts: AsyncIterable<OutgoingPart> | Iterable<OutgoingPart>): parts is Iterable<OutgoingPart> {
  return Symbol.iterator in parts && !('next' in parts);
}

/** Undefined when a part is made while it is sent. */
function multipartLength(boundary: string, parts: Iterable<OutgoingPart>): number | undefined {
  let sum = 0;
  for (const part of parts) {
    if (part.lengthBytes === undefined) return undefined;
    // Latin-1: a byte a character.
    sum += opening(boundary, part, sum === 0).length + part.lengthBytes;
  }
  return sum + closing(boundary, sum === 0).length;
}

function opening(
  boundary: string,
  { lengthBytes, contentType, contentLocation }: OutgoingPart,
  first: boolean,
): string {
  const length = lengthBytes === undefined ? '' : `Content-Length: ${lengthBytes}\r\n`;
  return `${first ? '' : '\r\n'}--${boundary}\r\nContent-Type: ${contentType}\r\nContent-Location: ${contentLocation}\r\n${length}\r\n`;
}

function closing(boundary: string, empty: boolean): string {
  return `${empty ? '' : '\r\n'}--${boundary}--`;
}

/** A part's headers together with the first bytes of its body; no preamble and no epilogue: clients take either for a part. */
export async function* multipartPieces(
  boundary: string,
  parts: AsyncIterable<OutgoingPart> | Iterable<OutgoingPart>,
  lend?: Lend,
): AsyncGenerator<readonly Uint8Array[], void, undefined> {
  let first = true;
  for await (const part of parts) {
    const headers = Buffer.from(opening(boundary, part, first), 'latin1');
    let sent = 0;
    for await (const chunk of chunksOf(part.body, lend)) {
      yield sent === 0 ? [headers, chunk] : [chunk];
      sent += chunk.length;
    }
    if (sent === 0) yield [headers];
    if (part.lengthBytes !== undefined && sent !== part.lengthBytes)
      throw new Error(`a part of ${part.lengthBytes} bytes came as ${sent}`);
    first = false;
  }
  yield [Buffer.from(closing(boundary, first), 'latin1')];
}

export function chunksOf(body: Body, lend?: Lend): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  return body instanceof Uint8Array ? [body] : typeof body === 'function' ? body(lend) : body;
}
