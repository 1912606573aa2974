/**
 * Notification connections (PS3.18 8.10): a WebSocket over which an application entity gets its event reports, one text frame each, in
 * order. What was not handed over waits in the database for the next connection.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WebSocketServer, type WebSocket } from 'ws';
import { authenticate, credentialsOf } from '../access.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { enterOwner, forgetEvent, nextEvent, reportServerStatus } from '../workitems/events.ts';
import { checkSubscriber } from '../workflow/worklist.ts';
import { sendReport, type Exchange } from './exchange.ts';
import { isAeTitle, subscriberOf } from './ups-subscriptions.ts';

/** The resource without the request for a WebSocket. */
export function awaitUpgrade(exchange: Exchange): Promise<void> {
  const { request, response } = exchange;
  subscriberOf(exchange);
  response.setHeader('Upgrade', 'websocket');
  const message = 'this resource opens a WebSocket (PS3.18 8.10.4)';
  sendReport(request, response, 426, { reason: 'UpgradeRequired', message });
  return Promise.resolve();
}

export interface Notifications {
  /** False: no such resource, the socket is the caller's to end. */
  open(request: IncomingMessage, socket: Duplex, head: Buffer): boolean;
  /** Tells who is connected that the server goes down, then ends the connections. */
  close(): Promise<void>;
}

const PATH = /^\/(?:dicom-web\/)?(?:ws\/)?subscribers\/([^/?#]+)$/;
/** What a client sends is not read; a frame longer than this ends the connection. */
const MOST_CLIENT_BYTES = 4096;
const PING_MS = 30_000;
const MOST_CONNECTIONS = 256;
const HANDED_OVER_MS = 1000;

export function openNotifications(gateway: Gateway): Notifications {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: MOST_CLIENT_BYTES,
    perMessageDeflate: false,
    // A client may name the subprotocol; there is none but the data sets themselves.
    handleProtocols: (protocols) => (protocols.has('dicom') ? 'dicom' : false),
  });
  const connections = new Map<string, Connection>();
  const pumpAll = (): void => {
    for (const connection of connections.values()) void pump(gateway, connection);
  };
  // After the transaction that wrote the reports has ended, one way or the other.
  const listener = (): void => void setImmediate(pumpAll);
  gateway.workItems.live?.listeners.add(listener);
  const pings = setInterval(() => {
    for (const connection of connections.values()) checkAlive(connection);
  }, PING_MS);
  pings.unref();
  return {
    open(request, socket, head) {
      const aet = subscriberIn(request.url ?? '');
      if (aet === undefined) return false;
      const fault = faultOf(gateway, request, aet, connections);
      if (fault !== undefined) {
        socket.end(`HTTP/1.1 ${fault}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
        return true;
      }
      server.handleUpgrade(request, socket, head, (client) => {
        // Who connects again takes over: the earlier connection may be one that has broken unnoticed.
        connections.get(aet)?.client.close(4000, 'another connection of this AE title');
        const connection: Connection = { aet, client, alive: true, pumping: false, again: false, handedOver: 0 };
        connections.set(aet, connection);
        client.on('pong', () => (connection.alive = true));
        client.on('error', () => client.terminate());
        client.on('close', () => {
          if (connections.get(aet) === connection) connections.delete(aet);
        });
        void pump(gateway, connection);
      });
      return true;
    },
    async close() {
      clearInterval(pings);
      reportServerStatus(gateway.workItems, 'GOING DOWN');
      for (const connection of connections.values()) await pump(gateway, connection);
      gateway.workItems.live?.listeners.delete(listener);
      const closed = [...connections.values()].map(({ client }) => ended(client));
      for (const { client } of connections.values()) client.close(1001, 'the server goes down');
      await Promise.race([Promise.all(closed), new Promise((resolve) => setTimeout(resolve, HANDED_OVER_MS).unref())]);
      for (const { client } of connections.values()) client.terminate();
      connections.clear();
    },
  };
}

interface Connection {
  readonly aet: string;
  readonly client: WebSocket;
  /** Has answered since the last ping. */
  alive: boolean;
  pumping: boolean;
  /** Something may have come while the last report was on its way. */
  again: boolean;
  /** The last report that went out on this connection. */
  handedOver: number;
}

/** One report after another: the next is read when the one before has gone. */
async function pump(gateway: Gateway, connection: Connection): Promise<void> {
  const { aet, client } = connection;
  connection.again = true;
  if (connection.pumping) return;
  connection.pumping = true;
  try {
    while (connection.again && client.readyState === client.OPEN) {
      connection.again = false;
      let report = nextEvent(gateway.workItems, aet, connection.handedOver);
      while (report !== undefined && client.readyState === client.OPEN) {
        await send(client, report.json);
        connection.handedOver = report.number;
        forgetEvent(gateway.workItems, report.number);
        report = nextEvent(gateway.workItems, aet, connection.handedOver);
      }
    }
  } catch {
    // It waits for the next connection.
    client.terminate();
  } finally {
    connection.pumping = false;
  }
}

function send(client: WebSocket, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    client.send(text, (error) => (error === undefined || error === null ? resolve() : reject(error)));
  });
}

function ended(client: WebSocket): Promise<void> {
  return new Promise((resolve) => {
    if (client.readyState === client.CLOSED) resolve();
    else client.once('close', () => resolve());
  });
}

function checkAlive(connection: Connection): void {
  if (!connection.alive) return connection.client.terminate();
  connection.alive = false;
  connection.client.ping();
}

function subscriberIn(url: string): string | undefined {
  const [, encoded] = PATH.exec(url.split('?', 1)[0] ?? '') ?? [];
  if (encoded === undefined) return undefined;
  try {
    return decodeURIComponent(encoded);
  } catch {
    return '';
  }
}

/** Status and reason for which there is no connection. */
function faultOf(
  gateway: Gateway,
  request: IncomingMessage,
  aet: string,
  connections: ReadonlyMap<string, unknown>,
): string | undefined {
  if (request.method !== 'GET' || !isAeTitle(aet)) return '400 Bad Request';
  const { tokens, http } = gateway.config;
  const caller = authenticate(tokens, credentialsOf(request));
  if (caller === undefined) return '401 Unauthorized\r\nWWW-Authenticate: Bearer';
  if (!caller.roles.has('viewer') || !isOwnOrigin(request, http.allowedOrigins)) return '403 Forbidden';
  if (connections.size >= MOST_CONNECTIONS && !connections.has(aet))
    return '503 Service Unavailable\r\nRetry-After: 60';
  try {
    checkSubscriber(gateway, aet, caller.name, caller.roles.has('radiology-it'));
    enterOwner(gateway.workItems, aet, caller.name);
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return '403 Forbidden';
    throw error;
  }
}

/** Browsers let a page of any site open a WebSocket to anywhere: what is asked is where the page is from. */
function isOwnOrigin({ headers }: IncomingMessage, allowed: readonly string[]): boolean {
  const { origin, host } = headers;
  if (origin === undefined) return true;
  return allowed.includes(origin) || origin === `http://${host ?? ''}` || origin === `https://${host ?? ''}`;
}
