/** The Express application, built without listening so that tests drive the same one, and the HTTP server it runs in. */
import { createServer as createHttpServer, type IncomingMessage, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import express, { type Express, type NextFunction, type Request, type Response, type Router } from 'express';
import helmet from 'helmet';
import { authenticate, credentialsOf } from './access.ts';
import type { HttpConfig } from './config/doors.ts';
import { refuseWithoutRoom } from './archive/room.ts';
import { openNotifications, type Notifications } from './dicomweb/notifications.ts';
import { dicomwebRouter } from './dicomweb/router.ts';
import { decidesToContinue } from './dicomweb/stow.ts';
import { Refusal } from './dicom/refusal.ts';
import type { Gateway } from './gateway.ts';
import { openMetrics } from './metrics.ts';

export interface Doors {
  /** Administration, at `/api`. */
  readonly api?: Router;
  /** The console's files and whatever else is asked for, at `/`. */
  readonly console?: Router;
}

/** Times within which a request has to make progress; a whole STOW of many gigabytes may take its time. */
const HEADERS_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 6 * 3_600_000;
const IDLE_TIMEOUT_MS = 120_000;
const KEEP_ALIVE_MS = 65_000;
const MAX_HEADER_BYTES = 65_536;
const MAX_CONNECTIONS = 2048;

/** What an application does with connections that want to become WebSockets. */
const NOTIFICATIONS = new WeakMap<Express, Notifications>();
const NO_UPGRADE = 'HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';

/** Resolves when those who are connected for good have been told that the server goes down, and let go. */
export async function announceClosing(app: Express): Promise<void> {
  await NOTIFICATIONS.get(app)?.close();
}

export function buildApp(gateway: Gateway, doors: Doors = {}): Express {
  const app = express();
  app.disable('x-powered-by');
  // Queries are read by those who know their grammar; forwarding headers by base-url alone.
  app.set('query parser', false);
  app.set('etag', false);
  app.set('case sensitive routing', true);
  const { tls, publicBaseUrl } = gateway.config.http;
  const encrypted = tls !== undefined || publicBaseUrl?.startsWith('https:') === true;
  app.use(
    helmet({
      // Where there is no encryption nothing may be told to use it.
      strictTransportSecurity: encrypted,
      contentSecurityPolicy: { directives: { upgradeInsecureRequests: encrypted ? [] : null } },
    }),
  );
  const metrics = openMetrics(gateway);
  app.use((request, response, next) => {
    metrics.observe(request, response);
    request.url = withoutEmptySegments(request.url);
    next();
  });
  app.get('/healthz', (_request, response) => sendText(response, 200, 'ok\n'));
  app.get('/readyz', async (_request, response) => {
    const obstacle = await obstacleOf(gateway);
    sendText(
      response,
      obstacle === undefined ? 200 : 503,
      obstacle === undefined ? 'ready\n' : `not ready: ${obstacle}\n`,
    );
  });
  app.get('/metrics', async (request, response) => {
    const caller = authenticate(gateway.config.tokens, credentialsOf(request));
    if (caller === undefined) response.setHeader('WWW-Authenticate', 'Bearer realm="isthmus"');
    if (caller?.roles.has('radiology-it') !== true) {
      sendText(response, caller === undefined ? 401 : 403, 'the role radiology-it is needed\n');
      return;
    }
    sendText(response, 200, await metrics.text((await obstacleOf(gateway)) === undefined), metrics.contentType);
  });
  app.use('/dicom-web', dicomwebRouter(gateway));
  NOTIFICATIONS.set(app, openNotifications(gateway));
  if (doors.api !== undefined) app.use('/api', doors.api);
  if (doors.console !== undefined) app.use('/', doors.console);
  app.use((_request: Request, response: Response) => sendText(response, 404, 'not found\n'));
  app.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => {
    gateway.log.error('request-failed', { error: error instanceof Error ? error.name : typeof error });
    if (response.headersSent) response.destroy();
    else sendText(response, error instanceof URIError ? 400 : 500, 'the request failed\n');
  });
  return app;
}

/**
 * A base address that ends in a slash, and a path put after it that begins with one, mean the same resource: viewers put them together
 * so. The door for people takes paths as they are written, as the rules of a proxy before it do.
 */
function withoutEmptySegments(url: string): string {
  const end = url.indexOf('?');
  const path = end < 0 ? url : url.slice(0, end);
  if (!path.includes('//')) return url;
  const joined = path.replace(/\/{2,}/g, '/');
  return joined.startsWith('/dicom-web/') ? joined + url.slice(path.length) : url;
}

/**
 * Java's client offers h2c with every request to http://. A server that does not change to what is offered answers as if nothing had
 * been (RFC 9110 7.8); Node would hand the request over as soon as somebody waits for WebSockets.
 */
function offersWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.split(',').some((protocol) => protocol.trim().toLowerCase() === 'websocket') === true;
}

/** Listens where the configuration says; resolves when connections are taken. */
export function listen(app: Express, config: HttpConfig): Promise<Server> {
  const { tls } = config;
  const options = { maxHeaderSize: MAX_HEADER_BYTES, shouldUpgradeCallback: offersWebSocket };
  const server: Server =
    tls === undefined
      ? createHttpServer(options, app)
      : createHttpsServer(
          {
            ...options,
            minVersion: 'TLSv1.2',
            key: tls.key,
            cert: tls.certificate,
            ...(tls.authorities === undefined ? {} : { ca: tls.authorities }),
          },
          app,
        );
  // Who asks first whether to send (RFC 9110 10.1.1) hears of a refusal instead of sending gigabytes for nothing.
  server.on('checkContinue', (request, response) => {
    if (!decidesToContinue(request.url)) response.writeContinue();
    app(request, response);
  });
  server.on('clientError', refuseUnreadable);
  const upgraded = new Set<Duplex>();
  server.on('upgrade', (request, socket, head) => {
    upgraded.add(socket);
    socket.once('close', () => upgraded.delete(socket));
    socket.on('error', () => socket.destroy());
    if (NOTIFICATIONS.get(app)?.open(request, socket, head) !== true) socket.end(NO_UPGRADE);
  });
  // Node's own server forgets connections that have changed their protocol.
  const closeAll = server.closeAllConnections.bind(server);
  server.closeAllConnections = () => {
    closeAll();
    for (const socket of upgraded) socket.destroy();
  };
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.timeout = IDLE_TIMEOUT_MS;
  server.maxConnections = MAX_CONNECTIONS;
  expectNothingOfNothing(server);
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.port, config.host, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

/** What Node's parser refuses never becomes a request: the answer is written by hand, and says what may be wrong. */
function refuseUnreadable(error: Error & { code?: string }, socket: Duplex): void {
  // As Node's own listener does: nothing is written into the middle of an answer.
  const { _httpMessage: answer } = socket as Duplex & { _httpMessage?: { readonly headersSent: boolean } };
  if (!socket.writable || error.code === 'ECONNRESET' || answer?.headersSent === true) {
    socket.destroy();
    return;
  }
  const [status, message] = UNREADABLE[error.code ?? ''] ?? NO_HTTP;
  const body = JSON.stringify({ status: Number(status.slice(0, 3)), reason: 'BadRequest', message });
  const head = ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`, 'Connection: close'];
  socket.end(`HTTP/1.1 ${[status, ...head].join('\r\n')}\r\n\r\n${body}`);
}

const NO_HTTP: readonly [status: string, message: string] = [
  '400 Bad Request',
  'this is no HTTP/1.1 request; what is not ASCII in an address has to be percent-encoded (RFC 3986 2.1)',
];
const UNREADABLE: Readonly<Record<string, typeof NO_HTTP>> = {
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', `the headers are longer than ${MAX_HEADER_BYTES} bytes`],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the request did not come to its end in time'],
};

/** What keeps the gateway from taking objects in; undefined: nothing. */
async function obstacleOf(gateway: Gateway): Promise<string | undefined> {
  try {
    if (gateway.database.get('SELECT 1 AS one') === undefined) return 'the database does not answer';
    await refuseWithoutRoom(gateway.archive);
    return undefined;
  } catch (error) {
    return error instanceof Refusal ? error.message : 'the database or the disk does not answer';
  }
}

function sendText(response: Response, status: number, text: string, contentType = 'text/plain; charset=utf-8'): void {
  response.statusCode = status;
  response.setHeader('Content-Type', contentType);
  response.setHeader('Cache-Control', 'no-store');
  response.end(text);
}

/** Some clients send an empty Expect to keep theirs from asking for 100: it names no expectation (RFC 9110 10.1.1), yet Node answers 417. */
export function expectNothingOfNothing(server: Server): void {
  server.on('checkExpectation', (request, response) => {
    if (request.headers.expect?.trim() === '') server.emit('request', request, response);
    else response.writeHead(417, { Connection: 'close' }).end();
  });
}
