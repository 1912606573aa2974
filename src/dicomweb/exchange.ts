/** One request and its answer, as every transaction of this door sees them, and the ways an answer is sent. */
import { constants, gzip } from 'node:zlib';
import { promisify } from 'node:util';
import type { Request, Response } from 'express';
import type { Caller } from '../access.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid } from '../dicom/uid.ts';
import type { Gateway } from '../gateway.ts';
import { chooseMediaType, type Choice, type Offer } from './media-type.ts';

export interface Exchange {
  readonly gateway: Gateway;
  readonly caller: Caller;
  readonly request: Request;
  readonly response: Response;
  /** Of the service as the caller reaches it, without a trailing slash. */
  readonly baseUrl: string;
  /** Every name and value of the query, decoded once, repeats and order kept. */
  readonly query: readonly QueryPair[];
}

export type QueryPair = readonly [name: string, value: string];

/** The values of the path that match a `:name`; each one is a UID. */
export function uidParameter(exchange: Exchange, name: string): string {
  const value = exchange.request.params[name];
  if (typeof value !== 'string' || !isUid(value)) throw new Refusal('BadRequest', `the ${name} in the path is no UID`);
  return value;
}

/**
 * Splits a raw query string (without `?`), then decodes each name and value once; `+` is a blank.
 * @throws Refusal BadRequest for what does not decode to UTF-8
 */
export function parseQuery(raw: string): QueryPair[] {
  return raw
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const at = pair.indexOf('=');
      const [name, value] = at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
      return [decode(name), decode(value)];
    });
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    throw new Refusal('BadRequest', 'the query is not percent-encoded UTF-8 (RFC 3986 2.1)');
  }
}

/** Which of the offers this request takes. @throws Refusal NotAcceptable */
export function negotiate({ gateway, request, response, query }: Exchange, offers: readonly Offer[]): Choice {
  response.vary('Accept');
  const header = request.headers.accept;
  const strict = gateway.config.http.strictAccept;
  const parameter = query.filter(([name]) => name === 'accept').map(([, value]) => value);
  if (parameter.length > 0) return chooseMediaType({ header, parameter, strict }, offers);
  const key = `${strict}${header}`;
  const choices = CHOICES.get(offers) ?? new Map<string, Choice>();
  const known = choices.get(key);
  if (known !== undefined) return known;
  const choice = chooseMediaType({ header, strict }, offers);
  if (key.length <= LONGEST_KNOWN) {
    if (choices.size >= MOST_KNOWN) choices.clear();
    CHOICES.set(offers, choices.set(key, choice));
  }
  return choice;
}

/** Of resources whose offers are always the same: clients say what they take in few ways. */
const CHOICES = new WeakMap<readonly Offer[], Map<string, Choice>>();
const MOST_KNOWN = 32;
const LONGEST_KNOWN = 512;

export const DICOM_JSON: Offer = { multipart: false, type: 'application/dicom+json' };

/** The Native DICOM Model, a part for each result or instance. */
export const DICOM_XML: Offer = { multipart: true, type: 'application/dicom+xml' };

/** `Warning: 299 <base-uri>: text` (PS3.18 8.3.4). */
export function warn({ response, baseUrl }: Exchange, text: string): void {
  response.append('Warning', `299 ${baseUrl}: ${text}`);
}

const compress = promisify(gzip);
const SMALLEST_GZIP_BYTES = 1024;

/**
 * A whole body. The type gets no charset parameter, which clients that compare it for equality would stumble over; hence neither
 * `json` nor `send` of the framework.
 */
export async function sendBytes(exchange: Exchange, status: number, contentType: string, body: Buffer): Promise<void> {
  const { request, response } = exchange;
  let bytes = body;
  if (body.length >= SMALLEST_GZIP_BYTES && takesGzip(exchange)) {
    bytes = await compress(body, { level: constants.Z_BEST_SPEED });
    response.setHeader('Content-Encoding', 'gzip');
  }
  response.vary('Accept-Encoding');
  response.statusCode = status;
  response.setHeader('Content-Type', contentType);
  response.setHeader('Content-Length', bytes.length);
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

export function takesGzip({ request }: Exchange): boolean {
  const header = request.headers['accept-encoding'];
  if (header === undefined) return false;
  return String(header)
    .split(',')
    .some((coding) => /^\s*(?:x-)?gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*$)[01.]\S*\s*)?$/i.test(coding));
}

/** Why there is no answer: a code, the reason's name and a sentence, none of which holds anything of the request or of a patient. */
export function sendReport(
  request: Request,
  response: Response,
  status: number,
  report: { reason: string; message: string },
): void {
  for (const name of ['ETag', 'Last-Modified', 'Content-Encoding', 'Content-Location']) response.removeHeader(name);
  const body = Buffer.from(JSON.stringify({ status, ...report }));
  response.statusCode = status;
  response.setHeader('Content-Type', 'application/json');
  response.setHeader('Content-Length', body.length);
  response.setHeader('Cache-Control', 'no-store');
  endAfterUpload(request, response, body);
}

const LINGER_BYTES = 64 * 2 ** 20;
const LINGER_MS = 10_000;

/**
 * Ends the answer. When the caller is still sending, what comes is passed over for a while: closing at once would take the answer
 * away from under a caller that reads only after it has written.
 */
export function endAfterUpload(request: Request, response: Response, body: Buffer): void {
  const content = request.method === 'HEAD' ? Buffer.alloc(0) : body;
  if (request.complete || !hasBody(request)) {
    response.end(content);
    return;
  }
  response.setHeader('Connection', 'close');
  response.write(content);
  let left = LINGER_BYTES;
  const end = (): void => {
    clearTimeout(timer);
    response.end();
  };
  const timer = setTimeout(() => request.destroy(), LINGER_MS);
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.destroy();
  });
  request.once('end', end).once('error', end).once('close', end).resume();
}

function hasBody(request: Request): boolean {
  return request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0;
}
