/** The door for people (`/api`): what waits, what failed, what is sealed, what has arrived; and the console's files at `/`. */
import { fileURLToPath } from 'node:url';
import express, { Router, type NextFunction, type Request, type Response } from 'express';
import { authenticate, credentialsOf, requireRole, type Caller } from '../access.ts';
import { recordAudit } from '../audit.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid } from '../dicom/uid.ts';
import type { Gateway } from '../gateway.ts';
import { isWorthRetrying, retryFailed } from '../workflow/review.ts';
import { readStatus, studyLedger } from '../workflow/status.ts';
import { countWork, listWork, type WorkItemState } from '../workitems.ts';
import { addAuditRoutes } from './audit.ts';
import { addQuarantineRoutes } from './quarantine.ts';
import { addReportRoutes } from './reports.ts';
import { Page, parameter, queryOf, Shown, stretchOf, type AddRoute } from './routes.ts';
import { addVaultRoutes } from './vault.ts';

const STATES: readonly WorkItemState[] = ['SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED'];
const WEB_FOLDER = fileURLToPath(new URL('../../web', import.meta.url));

export function adminRouter(gateway: Gateway): Router {
  const router = Router({ caseSensitive: true });
  const route: AddRoute = (method, path, roles, answer) => {
    router[method](path, async (request: Request, response: Response, next: NextFunction) => {
      let caller: Caller | undefined;
      try {
        caller = callerOf(gateway, request, response);
        if (caller === undefined) return;
        requireRole(caller, ...roles);
        refuseOtherSites(request);
        const content = (await answer(request, caller)) ?? {};
        if (content instanceof Shown) sendShown(response, content);
        else if (content instanceof Page) sendPage(response, content);
        else sendJson(response, 200, content);
      } catch (error) {
        if (caller !== undefined && error instanceof Refusal && FORBIDDEN.has(error.reason))
          recordRefusal(gateway, `${method.toUpperCase()} ${path}`, parameter(request, 'id'), caller);
        next(error);
      }
    });
  };
  route('get', '/status', ['radiology-it', 'privacy-officer'], () => readStatus(gateway));
  route('get', '/work-items', ['radiology-it'], (request) => {
    const query = queryOf(request);
    const state = stateOf(query);
    const rows = listWork(gateway.workItems, { ...stretchOf(query), ...(state === undefined ? {} : { state }) });
    const counts = countWork(gateway.workItems);
    return new Page(
      rows.map((item) => ({ ...item, worthRetrying: isWorthRetrying(item, gateway.now()) })),
      state === undefined ? Object.values(counts).reduce((sum, count) => sum + count, 0) : counts[state],
    );
  });
  route('post', '/work-items/:uid/retry', ['radiology-it'], (request, caller) => {
    retryFailed(gateway, parameter(request, 'uid'), caller.name);
    return undefined;
  });
  route('get', '/ledger/:study', ['radiology-it', 'privacy-officer'], (request) => {
    const study = parameter(request, 'study');
    if (!isUid(study)) throw new Refusal('BadRequest', 'the study in the path is no UID');
    return studyLedger(gateway, study);
  });
  addQuarantineRoutes(route, gateway, readJson);
  addReportRoutes(route, gateway);
  addAuditRoutes(route, gateway);
  addVaultRoutes(route, gateway, { json: readJson, id: (request) => parameter(request, 'id') });
  router.use((error: unknown, _request: Request, response: Response, next: NextFunction) => {
    if (response.headersSent || !(error instanceof Refusal)) return next(error);
    sendJson(response, error.answer.httpStatus, { reason: error.reason, message: error.message });
  });
  return router;
}

/** What somebody tried who may not, or not any more (PS3.15 A.5.3: Use of Restricted Function). */
const FORBIDDEN: ReadonlySet<Refusal['reason']> = new Set(['NotAuthorized', 'Conflict']);

/** Ids are ours; whatever else stands in a path may name somebody. */
function recordRefusal({ audit }: Gateway, action: string, id: string, caller: Caller): void {
  const about = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id) ? { id } : {};
  recordAudit(audit, 'Security Alert', caller.name, { action, ...about, outcome: 'refused' });
}

/** The console: static files, nothing of the gateway's data in them. */
export function consoleRouter(): Router {
  const router = Router();
  router.use(express.static(WEB_FOLDER, { index: 'index.html', fallthrough: true, dotfiles: 'ignore' }));
  return router;
}

function callerOf(gateway: Gateway, request: Request, response: Response): Caller | undefined {
  const caller = authenticate(gateway.config.tokens, credentialsOf(request));
  if (caller === undefined) {
    response.setHeader('WWW-Authenticate', 'Bearer realm="isthmus"');
    sendJson(response, 401, { reason: 'NotAuthenticated', message: 'a bearer token is needed' });
  }
  return caller;
}

/** Without tokens a page of any site could let the browser of somebody at this machine press our buttons. */
function refuseOtherSites({ method, headers }: Request): void {
  const site = headers['sec-fetch-site'];
  if (method !== 'GET' && site !== undefined && site !== 'same-origin' && site !== 'none')
    throw new Refusal('NotAuthorized', 'a page of another site may change nothing here');
}

function stateOf(query: URLSearchParams): WorkItemState | undefined {
  const given = query.get('state');
  const state = STATES.find((one) => one === given);
  if (given !== null && state === undefined)
    throw new Refusal('BadRequest', `state must be one of ${STATES.join(', ')}`);
  return state;
}

async function readJson(request: Request): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > 65_536) throw new Refusal('TooLarge', 'the body is longer than 65536 bytes');
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Refusal('BadRequest', 'the body is no JSON');
  }
}

function sendPage(response: Response, { rows, total }: Page): void {
  response.setHeader('X-Total-Count', total);
  sendJson(response, 200, rows);
}

function sendShown(response: Response, { contentType, content }: Shown): void {
  response.statusCode = 200;
  response.setHeader('Content-Type', contentType);
  response.setHeader('Cache-Control', 'no-store');
  response.end(content);
}

function sendJson(response: Response, status: number, body: unknown): void {
  response.statusCode = status;
  response.setHeader('Content-Type', 'application/json');
  response.setHeader('Cache-Control', 'no-store');
  response.end(JSON.stringify(body));
}
