/**
 * DICOMweb Studies Service (PS3.18 section 10): every path on one page. The table is what routes; whoever describes the service walks
 * the same rows.
 */
import { randomUUID } from 'node:crypto';
import { Router, type NextFunction, type Request, type Response } from 'express';
import { authenticate, credentialsOf, requireRole, type Role } from '../access.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { baseUrlOf } from './base-url.ts';
import { parseQuery, sendReport, type Exchange } from './exchange.ts';
import { searchInstances, searchSeries, searchStudies } from './qido.ts';
import { renderAll, renderFrames, renderInstance } from './rendered.ts';
import { storeInstances } from './stow.ts';
import { thumbnailOfFrames, thumbnailOfInstance, thumbnailOfMany } from './thumbnail.ts';
import {
  retrieveBulkData,
  retrieveFrames,
  retrieveInstance,
  retrieveMetadata,
  retrieveSeries,
  retrieveStudy,
} from './wado.ts';

export interface Route {
  readonly method: 'GET' | 'POST';
  /** `:name` is one UID or number, `*name` the rest of the path. */
  readonly path: string;
  /** The transaction's name in PS3.18 table 10.1-1. */
  readonly transaction: 'Search' | 'Retrieve' | 'Store';
  readonly role: Role;
  readonly handle: (exchange: Exchange) => Promise<void>;
}

const search = (path: string, handle: Route['handle']): Route => ({
  method: 'GET',
  path,
  transaction: 'Search',
  role: 'viewer',
  handle,
});
const retrieve = (path: string, handle: Route['handle']): Route => ({
  method: 'GET',
  path,
  transaction: 'Retrieve',
  role: 'viewer',
  handle,
});
const store = (path: string, handle: Route['handle']): Route => ({
  method: 'POST',
  path,
  transaction: 'Store',
  role: 'sender',
  handle,
});

export const ROUTES: readonly Route[] = [
  search('/studies', searchStudies),
  search('/series', searchSeries),
  search('/instances', searchInstances),
  search('/studies/:study/series', searchSeries),
  search('/studies/:study/instances', searchInstances),
  search('/studies/:study/series/:series/instances', searchInstances),

  store('/studies', storeInstances),
  store('/studies/:study', storeInstances),

  retrieve('/studies/:study', retrieveStudy),
  retrieve('/studies/:study/metadata', retrieveMetadata),
  retrieve('/studies/:study/rendered', renderAll),
  retrieve('/studies/:study/thumbnail', thumbnailOfMany),
  retrieve('/studies/:study/series/:series', retrieveSeries),
  retrieve('/studies/:study/series/:series/metadata', retrieveMetadata),
  retrieve('/studies/:study/series/:series/rendered', renderAll),
  retrieve('/studies/:study/series/:series/thumbnail', thumbnailOfMany),
  retrieve('/studies/:study/series/:series/instances/:instance', retrieveInstance),
  retrieve('/studies/:study/series/:series/instances/:instance/metadata', retrieveMetadata),
  retrieve('/studies/:study/series/:series/instances/:instance/rendered', renderInstance),
  retrieve('/studies/:study/series/:series/instances/:instance/thumbnail', thumbnailOfInstance),
  retrieve('/studies/:study/series/:series/instances/:instance/frames/:frames', retrieveFrames),
  retrieve('/studies/:study/series/:series/instances/:instance/frames/:frames/rendered', renderFrames),
  retrieve('/studies/:study/series/:series/instances/:instance/frames/:frames/thumbnail', thumbnailOfFrames),
  retrieve('/studies/:study/series/:series/instances/:instance/bulkdata/*path', retrieveBulkData),
];

/** The door, to be mounted at `/dicom-web`. */
export function dicomwebRouter(gateway: Gateway): Router {
  const router = Router({ caseSensitive: true });
  for (const path of new Set(ROUTES.map((route) => route.path))) {
    const rows = ROUTES.filter((route) => route.path === path);
    router.all(path, (request, response) => answerRequest(gateway, rows, request, response));
  }
  router.use((request, response) => {
    sendReport(request, response, 404, { reason: 'NotFound', message: 'no such resource in this service' });
  });
  router.use((error: unknown, request: Request, response: Response, _next: NextFunction) => {
    refuse(gateway, error, request, response);
  });
  return router;
}

async function answerRequest(
  gateway: Gateway,
  rows: readonly Route[],
  request: Request,
  response: Response,
): Promise<void> {
  try {
    // HEAD is answered wherever GET is (RFC 9110 9.3.2).
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const route = rows.find((row) => row.method === method);
    if (route === undefined) {
      const allowed = rows.flatMap((row) => (row.method === 'GET' ? ['GET', 'HEAD'] : [row.method]));
      response.setHeader('Allow', allowed.join(', '));
      sendReport(request, response, 405, { reason: 'MethodNotAllowed', message: 'the resource has no such method' });
      return;
    }
    response.locals['route'] = route.path;
    const { config } = gateway;
    const caller = authenticate(config.tokens, credentialsOf(request));
    if (caller === undefined) {
      response.setHeader('WWW-Authenticate', 'Bearer');
      sendReport(request, response, 401, { reason: 'NotAuthenticated', message: 'a bearer token is needed' });
      return;
    }
    requireRole(caller, route.role);
    const at = request.originalUrl.indexOf('?');
    await route.handle({
      gateway,
      caller,
      request,
      response,
      baseUrl: baseUrlOf(request, request.baseUrl, config.http),
      query: parseQuery(at < 0 ? '' : request.originalUrl.slice(at + 1)),
    });
  } catch (error) {
    refuse(gateway, error, request, response);
  }
}

/** A refusal becomes its status and sentence; anything else is a bug: 500 with an id that the log has too. */
function refuse(gateway: Gateway, error: unknown, request: Request, response: Response): void {
  if (response.headersSent || response.destroyed) {
    // What has begun cannot be taken back: cut, so that it does not look whole.
    response.destroy();
    if (!isDisconnect(error)) gateway.log.warn('answer-cut', { error: nameOf(error) });
    return;
  }
  if (error instanceof Refusal) {
    const status = error.answer.httpStatus;
    if (status === 503) response.setHeader('Retry-After', '60');
    sendReport(request, response, status, { reason: error.reason, message: error.message });
    return;
  }
  if (error instanceof URIError) {
    sendReport(request, response, 400, { reason: 'BadRequest', message: 'the path is not percent-encoded UTF-8' });
    return;
  }
  const id = randomUUID();
  gateway.log.error('request-failed', { id, error: nameOf(error), at: placeOf(error) });
  sendReport(request, response, 500, { reason: 'Internal', message: `internal error ${id}` });
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : typeof error;
}

/** File and line, never the message, which could hold what was read. */
function placeOf(error: unknown): string | undefined {
  const line = error instanceof Error ? error.stack?.split('\n').find((text) => text.startsWith('    at ')) : undefined;
  return line === undefined ? undefined : /[^/\\]+:\d+:\d+\)?$/.exec(line)?.[0];
}

function isDisconnect(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ERR_STREAM_PREMATURE_CLOSE' || code === 'ECONNRESET' || code === 'EPIPE';
}
