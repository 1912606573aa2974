/** Pages of other origins (the Fetch standard): which may read our answers, and the preflight that a browser sends before it asks. */
import type { Request, Response } from 'express';

/** What a page may read of an answer besides the headers that it always may. */
export const EXPOSED_HEADERS = 'Warning, ETag, Content-Location, Location, Content-Range, Retry-After, Allow';
const REQUEST_HEADERS =
  'Accept, Authorization, Cache-Control, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Pragma, Range, X-Requested-With';
const PREFLIGHT_SECONDS = 600;

/** OPTIONS that asks for leave rather than for Capabilities. */
export function isPreflight({ method, headers }: Request): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
}

/** Lets a page of an allowed origin read what is sent. */
export function shareWithOrigin(request: Request, response: Response, origins: readonly string[]): void {
  if (origins.length === 0) return;
  response.vary('Origin');
  const { origin } = request.headers;
  if (origin === undefined || !origins.includes(origin)) return;
  response.setHeader('Access-Control-Allow-Origin', origin);
  response.setHeader('Access-Control-Expose-Headers', EXPOSED_HEADERS);
  // A cross-origin isolated viewer loads nothing that does not say so.
  response.setHeader('Cross-Origin-Resource-Policy', 'cross-origin');
}

/** Needs nobody to be known: it tells only what methods there are. An origin that is not allowed gets no leave. */
export function answerPreflight(response: Response, methods: readonly string[]): void {
  response.statusCode = 204;
  if (response.hasHeader('Access-Control-Allow-Origin')) {
    response.setHeader('Access-Control-Allow-Methods', methods.join(', '));
    response.setHeader('Access-Control-Allow-Headers', REQUEST_HEADERS);
    response.setHeader('Access-Control-Max-Age', PREFLIGHT_SECONDS);
  }
  response.end();
}
