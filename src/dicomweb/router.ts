/**
 * DICOMweb Studies Service and Worklist Service (PS3.18 sections 10 and 11): every path on one page. The table is what routes; whoever describes the service walks
 * the same rows.
 */
import { randomUUID } from 'node:crypto';
import { Router, type NextFunction, type Request, type Response } from 'express';
import { noteBase } from '../archive/metadata.ts';
import { isWithheld } from '../archive/withheld.ts';
import { authenticate, credentialsOf, requireRole, type Role } from '../access.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { baseUrlOf } from './base-url.ts';
import { retrieveAllBulkData, retrievePixelData } from './bulk-resources.ts';
import { retrieveCapabilities } from './capabilities.ts';
import { readChangeFeed, readLatestChange } from './changefeed.ts';
import { checkCharacterSets } from './charset.ts';
import { answerPreflight, isPreflight, shareWithOrigin } from './cors.ts';
import { deleteResource } from './delete.ts';
import { DOCUMENT_TYPES } from './document.ts';
import { parseQuery, sendReport, type Exchange } from './exchange.ts';
import { retrieveMetadata } from './metadata.ts';
import { searchInstances, searchSeries, searchStudies } from './qido.ts';
import { renderAll, renderFrames, renderInstance } from './rendered.ts';
import { storeInstances, STORE_TYPES } from './stow.ts';
import { RETRIED, RETRY_AFTER_SECONDS, STORE_ANSWERS } from './stow-answer.ts';
import { thumbnailOfFrames, thumbnailOfInstance, thumbnailOfMany } from './thumbnail.ts';
import { retrieveByUri, URI_PARAMETERS } from './wado-uri.ts';
import { retrieveBulkData, retrieveFrames, retrieveInstance, retrieveSeries, retrieveStudy } from './wado.ts';
import { awaitUpgrade } from './notifications.ts';
import {
  changeState,
  createWorkitemResource,
  requestCancellation,
  retrieveWorkitem,
  updateWorkitemResource,
} from './ups.ts';
import { WORKITEM_TYPES } from './ups-payload.ts';
import { searchWorkitems } from './ups-search.ts';
import { subscribe, suspendSubscription, unsubscribe } from './ups-subscriptions.ts';
import { orZip } from './zip.ts';

/** Names of PS3.18 tables 10.1-1, 11.3-1 and 8.10.3-1; where two services share one, with what it is about. */
export type Transaction =
  | 'Search'
  | 'Retrieve'
  | 'Store'
  | 'Delete'
  | 'Create Workitem'
  | 'Retrieve Workitem'
  | 'Update Workitem'
  | 'Change Workitem State'
  | 'Request Cancellation'
  | 'Find Workitems'
  | 'Subscribe'
  | 'Unsubscribe'
  | 'Suspend Global Subscription'
  | 'Open Notification Connection'
  | 'Read Change Feed';

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** `:name` is one UID or number, `*name` the rest of the path. */
  readonly path: string;
  readonly transaction: Transaction;
  /** Any one of these. */
  readonly roles: readonly Role[];
  /** Media types that an answer can have, the default first. */
  readonly representations: readonly string[];
  /** Media types that a request can have. */
  readonly accepts: readonly string[];
  /** Query parameters of its own, besides those that every row of its transaction has. */
  readonly query?: readonly string[];
  readonly handle: (exchange: Exchange) => Promise<void>;
}

const DATA_SETS = ['application/dicom+json', 'multipart/related; type="application/dicom+xml"'];
const OBJECTS = ['multipart/related; type="application/dicom"'];
const PICTURES = ['image/jpeg', 'image/png', 'image/gif'];
const PICTURE_PARTS = PICTURES.map((type) => `multipart/related; type="${type}"`);
const RENDERING = ['annotation', 'quality', 'viewport', 'window', 'iccprofile'];
const DOCUMENTS = DOCUMENT_TYPES;
const DOCUMENT_PARTS = DOCUMENTS.map((type) => `multipart/related; type="${type}"`);
const OCTETS = ['multipart/related; type="application/octet-stream"'];

const search = (path: string, handle: Route['handle']): Route => ({
  method: 'GET',
  path,
  transaction: 'Search',
  roles: ['viewer'],
  representations: DATA_SETS,
  accepts: [],
  handle,
});
const retrieve = (
  path: string,
  handle: Route['handle'],
  representations: readonly string[],
  query: readonly string[] = [],
): Route => ({
  method: 'GET',
  path,
  transaction: 'Retrieve',
  roles: ['viewer'],
  representations,
  accepts: [],
  query,
  handle,
});
const store = (path: string, handle: Route['handle']): Route => ({
  method: 'POST',
  path,
  transaction: 'Store',
  roles: ['sender'],
  representations: STORE_ANSWERS.map(({ type }) => type),
  accepts: STORE_TYPES,
  handle,
});

const remove = (path: string, handle: Route['handle']): Route => ({
  method: 'DELETE',
  path,
  transaction: 'Delete',
  roles: ['radiology-it', 'privacy-officer'],
  representations: [],
  accepts: [],
  handle,
});

const worklist = (
  method: Route['method'],
  path: string,
  transaction: Transaction,
  handle: Route['handle'],
  more: Partial<Route> = {},
): Route => ({
  method,
  path,
  transaction,
  roles: ['sender', 'radiology-it'],
  representations: [],
  accepts: [],
  handle,
  ...more,
});

const changes = (path: string, handle: Route['handle']): Route => ({
  method: 'GET',
  path,
  transaction: 'Read Change Feed',
  roles: ['viewer'],
  representations: ['application/json'],
  accepts: [],
  handle,
});

const WORKITEM = '/workitems/:workitem';
const SUBSCRIBER = `${WORKITEM}/subscribers/:aet`;
const DATA_SET_IN = { accepts: WORKITEM_TYPES };
const DATA_SETS_OUT = { roles: ['viewer'], representations: DATA_SETS } as const;
const FOLLOWERS = { roles: ['viewer'] } as const;

const STUDY = '/studies/:study';
const SERIES = `${STUDY}/series/:series`;
const INSTANCE = `${SERIES}/instances/:instance`;

export const ROUTES: readonly Route[] = [
  search('/studies', searchStudies),
  search('/series', searchSeries),
  search('/instances', searchInstances),
  search(`${STUDY}/series`, searchSeries),
  search(`${STUDY}/instances`, searchInstances),
  search(`${SERIES}/instances`, searchInstances),

  store('/studies', storeInstances),
  store(STUDY, storeInstances),

  retrieve(STUDY, orZip(retrieveStudy), [...OBJECTS, 'application/zip']),
  retrieve(`${STUDY}/metadata`, retrieveMetadata, DATA_SETS),
  retrieve(SERIES, orZip(retrieveSeries), [...OBJECTS, 'application/zip']),
  retrieve(`${SERIES}/metadata`, retrieveMetadata, DATA_SETS),
  retrieve(INSTANCE, orZip(retrieveInstance), [...OBJECTS, 'application/dicom', 'application/zip']),
  retrieve(`${INSTANCE}/metadata`, retrieveMetadata, DATA_SETS),
  retrieve(`${INSTANCE}/frames/:frames`, retrieveFrames, [...OCTETS, 'application/octet-stream']),
  retrieve(`${INSTANCE}/frames/:frames/rendered`, renderFrames, PICTURES, RENDERING),
  retrieve(`${INSTANCE}/frames/:frames/thumbnail`, thumbnailOfFrames, PICTURES, ['viewport']),
  retrieve(`${INSTANCE}/bulkdata/*path`, retrieveBulkData, [...OCTETS, 'application/octet-stream']),

  retrieve(`${STUDY}/rendered`, renderAll, [...PICTURE_PARTS, ...DOCUMENT_PARTS], RENDERING),
  retrieve(`${SERIES}/rendered`, renderAll, [...PICTURE_PARTS, ...DOCUMENT_PARTS], RENDERING),
  retrieve(`${INSTANCE}/rendered`, renderInstance, [...PICTURES, ...DOCUMENTS], RENDERING),
  retrieve(`${STUDY}/thumbnail`, thumbnailOfMany, PICTURES, ['viewport']),
  retrieve(`${SERIES}/thumbnail`, thumbnailOfMany, PICTURES, ['viewport']),
  retrieve(`${INSTANCE}/thumbnail`, thumbnailOfInstance, PICTURES, ['viewport']),

  ...[STUDY, SERIES, INSTANCE].flatMap((scope) => [
    retrieve(`${scope}/bulkdata`, retrieveAllBulkData, OCTETS),
    retrieve(`${scope}/pixeldata`, retrievePixelData, OCTETS),
    remove(scope, deleteResource),
  ]),

  // PS3.18 section 9: the query names the object.
  retrieve('/wado', retrieveByUri, [...PICTURES, ...DOCUMENTS, 'application/dicom'], URI_PARAMETERS),
  worklist('GET', '/workitems', 'Find Workitems', searchWorkitems, DATA_SETS_OUT),
  worklist('POST', '/workitems', 'Create Workitem', createWorkitemResource, DATA_SET_IN),
  worklist('GET', WORKITEM, 'Retrieve Workitem', retrieveWorkitem, DATA_SETS_OUT),
  worklist('POST', WORKITEM, 'Update Workitem', updateWorkitemResource, DATA_SET_IN),
  worklist('PUT', `${WORKITEM}/state`, 'Change Workitem State', changeState, DATA_SET_IN),
  worklist('POST', `${WORKITEM}/cancelrequest`, 'Request Cancellation', requestCancellation, DATA_SET_IN),
  worklist('POST', SUBSCRIBER, 'Subscribe', subscribe, FOLLOWERS),
  worklist('DELETE', SUBSCRIBER, 'Unsubscribe', unsubscribe, FOLLOWERS),
  worklist('POST', `${SUBSCRIBER}/suspend`, 'Suspend Global Subscription', suspendSubscription, FOLLOWERS),
  worklist('GET', '/ws/subscribers/:aet', 'Open Notification Connection', awaitUpgrade, FOLLOWERS),

  changes('/changefeed', readChangeFeed),
  changes('/changefeed/latest', readLatestChange),
];

/** A list of frames without a number is a list that is wrong, not a resource that is not there. */
const NO_FRAMES = retrieve(`${INSTANCE}/frames`, retrieveFrames, []);

/** The door, to be mounted at `/dicom-web`. */
export function dicomwebRouter(gateway: Gateway): Router {
  const router = Router({ caseSensitive: true });
  router.use((request, response, next) => {
    shareWithOrigin(request, response, gateway.config.http.allowedOrigins);
    next();
  });
  for (const path of new Set(['/', ...ROUTES.map((route) => route.path), NO_FRAMES.path])) {
    const rows = [...ROUTES, NO_FRAMES].filter((route) => route.path === path);
    const resource = { rows, allowed: allowedOf(rows) };
    router.all(path, (request, response) => answerRequest(gateway, resource, request, response));
  }
  router.use((request, response) => {
    sendReport(request, response, 404, { reason: 'NotFound', message: 'no such resource in this service' });
  });
  router.use((error: unknown, request: Request, response: Response, _next: NextFunction) => {
    refuse(gateway, error, request, response);
  });
  return router;
}

interface Resource {
  readonly rows: readonly Route[];
  /** Its methods. */
  readonly allowed: readonly string[];
}

function allowedOf(rows: readonly Route[]): string[] {
  return [...rows.flatMap((row) => (row.method === 'GET' ? ['GET', 'HEAD'] : [row.method])), 'OPTIONS'];
}

async function answerRequest(
  gateway: Gateway,
  { rows, allowed }: Resource,
  request: Request,
  response: Response,
): Promise<void> {
  try {
    if (isPreflight(request)) {
      answerPreflight(response, allowed);
      return;
    }
    // HEAD is answered wherever GET is (RFC 9110 9.3.2).
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const route = rows.find((row) => row.method === method);
    if (route === undefined && method !== 'OPTIONS') {
      response.setHeader('Allow', allowed.join(', '));
      sendReport(request, response, 405, { reason: 'MethodNotAllowed', message: 'the resource has no such method' });
      return;
    }
    const path = rows[0]?.path ?? '/';
    response.locals['route'] = path;
    const { config } = gateway;
    const caller = authenticate(config.tokens, credentialsOf(request));
    if (caller === undefined) {
      response.setHeader('WWW-Authenticate', 'Bearer realm="isthmus"');
      sendReport(request, response, 401, { reason: 'NotAuthenticated', message: 'a bearer token is needed' });
      return;
    }
    if (route !== undefined) {
      requireRole(caller, ...route.roles);
      if (route.method === 'GET') refuseWithheld(gateway, request.params['study']);
      if (route.method !== 'GET') refuseOtherSites(request, config.http.allowedOrigins);
    }
    const at = request.originalUrl.indexOf('?');
    const exchange: Exchange = {
      gateway,
      caller,
      request,
      response,
      baseUrl: baseUrlOf(request, request.baseUrl, config.http),
      query: parseQuery(at < 0 ? '' : request.originalUrl.slice(at + 1)),
    };
    checkCharacterSets(exchange.query);
    if (route?.transaction === 'Search' || route?.transaction === 'Retrieve')
      noteBase(gateway.archive, exchange.baseUrl);
    if (route === undefined) await retrieveCapabilities(exchange, ROUTES, path, allowed);
    else await route.handle(exchange);
  } catch (error) {
    refuse(gateway, error, request, response);
  }
}

/** What verification holds back is not there for viewers. @throws Refusal NotFound */
function refuseWithheld({ archive }: Gateway, study: unknown): void {
  if (typeof study === 'string' && isWithheld(archive, study))
    throw new Refusal('NotFound', 'there is no such study here');
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
    if (error.warning !== undefined) response.setHeader('Warning', `299 ${baseOf(gateway, request)}: ${error.warning}`);
    const status = error.answer.httpStatus;
    if (RETRIED.has(status)) response.setHeader('Retry-After', RETRY_AFTER_SECONDS);
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

function baseOf({ config }: Gateway, request: Request): string {
  try {
    return baseUrlOf(request, request.baseUrl, config.http);
  } catch {
    return '-';
  }
}

/** What a browser sends without asking first: a page of another site may change nothing here. */
function refuseOtherSites({ headers }: Request, allowedOrigins: readonly string[]): void {
  const site = headers['sec-fetch-site'];
  const known = site === undefined || site === 'same-origin' || site === 'none';
  if (!known && !allowedOrigins.includes(headers.origin ?? ''))
    throw new Refusal('NotAuthorized', 'a page of this origin may change nothing here');
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
