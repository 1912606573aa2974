/** Service class provider: the listening port, with or without TLS, and its limits. What becomes of an object is the handlers' affair. */
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { Refusal } from '../dicom/refusal.ts';
import type { AssociationInfo, ScpHandlers, StoreRequest } from './handlers.ts';
import { isAeTitle, type Offer } from './negotiation.ts';
import { ServedAssociation } from './served-association.ts';
import type { Service } from './served-association.ts';
import type { QueryOperation } from './sop-classes.ts';

export type { AssociationInfo, ScpHandlers, StoreRequest };

export interface ScpOptions {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  readonly aeTitle: string;
  /** Other titles answered to; '*' any. */
  readonly calledAEs?: readonly string[];
  /** Who may open an association; empty or absent = anyone. */
  readonly callingAEs?: readonly string[];
  /** SOP Classes taken beside the Storage classes of the standard, above all private ones; '*' any. */
  readonly moreSopClasses?: readonly string[];
  /** Default 32. */
  readonly maxAssociations?: number;
  /** The longest P-DATA-TF that we offer to take, 64 to 16777216; default 131072. */
  readonly maxPduLength?: number;
  /** How long a connection may wait for its association, and for its end; default 30 000. */
  readonly artimMs?: number;
  /** How long an association may rest while it is the peer's turn; default 60 000. */
  readonly idleMs?: number;
  /** How long `close` lets running stores go on; default 10 000. */
  readonly closeMs?: number;
  readonly tls?: ScpTls;
}

export interface ScpTls {
  readonly key: string | Buffer;
  readonly cert: string | Buffer;
  readonly ca?: string | Buffer;
  /** Peers must show a certificate that `ca` vouches for. */
  readonly requestCert?: boolean;
}

export interface Scp {
  readonly port: number;
  /** Takes no more associations, lets running stores finish, then aborts what is left; resolves when every socket is closed. */
  close(): Promise<void>;
}

const DEFAULTS = { maxAssociations: 32, maxPduLength: 131_072, artimMs: 30_000, idleMs: 60_000, closeMs: 10_000 };
/** A PDU is held whole before it is read, for each association. */
const MAX_PDU_BYTES = 16 * 1024 * 1024;
const MIN_PDU_BYTES = 64;
/** Connections beyond the associations: they are answered with a rejection, or are still before it. */
const SPARE_CONNECTIONS = 64;

/** @throws Refusal BadConfiguration; an error of the operating system where the port cannot be had. */
export async function startScp(options: ScpOptions, handlers: ScpHandlers): Promise<Scp> {
  checkOptions(options);
  const service: Service = {
    titles: {
      called: new Set([options.aeTitle, ...(options.calledAEs ?? [])]),
      calling: new Set(options.callingAEs),
    },
    handlers,
    limits: {
      maxPduLength: options.maxPduLength ?? DEFAULTS.maxPduLength,
      artimMs: options.artimMs ?? DEFAULTS.artimMs,
      idleMs: options.idleMs ?? DEFAULTS.idleMs,
    },
    offer: offerOf(options, handlers),
    maxAssociations: options.maxAssociations ?? DEFAULTS.maxAssociations,
    established: new Set(),
  };
  const connections = new Map<Socket, ServedAssociation | undefined>();
  const server = createServerFor(service, options.tls, (socket, isTls) => {
    const association = new ServedAssociation(service, socket, isTls);
    connections.set(socket, association);
    socket.on('close', () => connections.delete(socket));
  });
  server.on('connection', (socket: Socket) => {
    // With TLS this is the socket below the encrypted one: known from here on, so that `close` ends unfinished handshakes too.
    if (!connections.has(socket)) connections.set(socket, undefined);
    socket.on('close', () => connections.delete(socket));
  });
  server.on('drop', () => handlers.event?.('connection-dropped', { connections: connections.size }));
  server.maxConnections = service.maxAssociations + SPARE_CONNECTIONS;
  await listen(server, options);
  const closeMs = options.closeMs ?? DEFAULTS.closeMs;
  return { port: (server.address() as AddressInfo).port, close: () => closeAll(server, connections, closeMs) };
}

/** What is handed in is offered. */
function offerOf({ moreSopClasses }: ScpOptions, { find, retrieve, commit, committed }: ScpHandlers): Offer {
  const query: QueryOperation[] = [
    ...(find === undefined ? [] : (['find'] as const)),
    ...(retrieve === undefined ? [] : (['move', 'get'] as const)),
  ];
  return {
    moreClasses: new Set(moreSopClasses),
    query: new Set(query),
    commitment: { scp: commit !== undefined, scu: committed !== undefined },
  };
}

function checkOptions({
  aeTitle,
  calledAEs = [],
  callingAEs = [],
  maxPduLength = DEFAULTS.maxPduLength,
}: ScpOptions): void {
  for (const title of [aeTitle, ...calledAEs, ...callingAEs]) {
    if (!isAeTitle(title)) throw new Refusal('BadConfiguration', `"${title}" is not an AE title (PS3.5 6.2)`);
  }
  if (maxPduLength < MIN_PDU_BYTES || maxPduLength > MAX_PDU_BYTES) {
    const sentence = `maxPduLength ${maxPduLength}; ${MIN_PDU_BYTES} to ${MAX_PDU_BYTES} are possible`;
    throw new Refusal('BadConfiguration', sentence);
  }
}

function createServerFor(
  service: Service,
  tls: ScpTls | undefined,
  connected: (socket: Socket, isTls: boolean) => void,
): Server {
  // Keep-alive finds peers that vanished without a word while it was our turn.
  const socketOptions = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 };
  if (tls === undefined) return createServer(socketOptions, (socket) => connected(socket, false));
  const server = createTlsServer(
    {
      ...socketOptions,
      ...tls,
      rejectUnauthorized: tls.requestCert === true,
      minVersion: 'TLSv1.2',
      handshakeTimeout: service.limits.artimMs,
    },
    (socket) => connected(socket, true),
  );
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    service.handlers.event?.('tls-refused', { code: error.code ?? error.name });
    socket.destroy();
  });
  return server;
}

function listen(server: Server, options: ScpOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: options.host, port: options.port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

async function closeAll(
  server: Server,
  connections: ReadonlyMap<Socket, ServedAssociation | undefined>,
  closeMs: number,
): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  const timer = setTimeout(() => {
    for (const socket of connections.keys()) socket.destroy();
  }, closeMs);
  for (const association of connections.values()) {
    association?.finish();
  }
  await closed;
  clearTimeout(timer);
}
