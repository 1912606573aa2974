/** The doors of gateway.yaml: where they listen, whom they know, and which of that cannot be together. */
import type { AccessToken } from '../access.ts';
import { Refusal } from '../dicom/refusal.ts';
import { MB, type Environment, type GatewayFile } from './gateway-file.ts';
import { isLocal } from './nodes.ts';
import { readTls, type TlsFiles } from './tls-files.ts';
import type { LocatedYaml } from './yaml-file.ts';

export interface HttpConfig {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsFiles | undefined;
  readonly publicBaseUrl: string | undefined;
  readonly trustedProxies: readonly string[];
  /** Origins of web pages that may read answers. */
  readonly allowedOrigins: readonly string[];
  readonly maxRequestBytes: number;
  readonly emptySearch: 200 | 204;
  readonly strictAccept: boolean;
}

export interface DimseConfig {
  readonly host: string;
  readonly port: number;
  readonly aeTitle: string;
  readonly calledAEs: readonly string[];
  readonly callingAEs: readonly string[];
  /** Who may search and retrieve. */
  readonly viewers: ReadonlySet<string>;
  /** Whose requests for storage commitment are answered. */
  readonly commitTo: ReadonlySet<string>;
  readonly maxAssociations: number;
  readonly idleMs: number;
  readonly tls: TlsFiles | undefined;
}

export interface Doors {
  readonly http: HttpConfig;
  readonly dimse: DimseConfig;
  readonly tokens: readonly AccessToken[];
}

/** @throws Refusal BadConfiguration */
export function doorsOf(located: LocatedYaml, environment: Environment, folder: string): Doors {
  const gateway = located.value as GatewayFile;
  const http = httpConfig(gateway, environment, folder);
  const dimse = dimseConfig(gateway, environment, folder, http.host);
  const tokens = gateway.access?.tokens ?? [];
  refuseEqualTokens(tokens, located);
  refuseOpenDoors(http, dimse, tokens);
  return { http, dimse, tokens };
}

function httpConfig(gateway: GatewayFile, environment: Environment, folder: string): HttpConfig {
  const { http = {} } = gateway;
  return {
    host: environment['ISTHMUS_HOST'] ?? http.host ?? '127.0.0.1',
    port: portFrom(environment, 'ISTHMUS_HTTP_PORT') ?? http.port ?? 8080,
    tls: http.tls === undefined ? undefined : readTls(http.tls, folder),
    publicBaseUrl: http.publicBaseUrl?.replace(/\/$/, ''),
    trustedProxies: http.trustedProxies ?? [],
    allowedOrigins: http.allowedOrigins ?? [],
    maxRequestBytes: (http.maxRequestMb ?? 16384) * MB,
    emptySearch: http.emptySearch ?? 204,
    strictAccept: http.strictAccept ?? false,
  };
}

function dimseConfig(gateway: GatewayFile, environment: Environment, folder: string, httpHost: string): DimseConfig {
  const { dimse = {} } = gateway;
  return {
    host: environment['ISTHMUS_HOST'] ?? dimse.host ?? httpHost,
    port: portFrom(environment, 'ISTHMUS_DIMSE_PORT') ?? dimse.port ?? 11112,
    aeTitle: dimse.aeTitle ?? 'ISTHMUS',
    calledAEs: dimse.calledAEs ?? [],
    callingAEs: dimse.callingAEs ?? [],
    viewers: new Set(dimse.viewers),
    commitTo: new Set(dimse.commitTo),
    maxAssociations: dimse.maxAssociations ?? 32,
    idleMs: (dimse.idleSeconds ?? 60) * 1000,
    tls: dimse.tls === undefined ? undefined : readTls(dimse.tls, folder),
  };
}

function portFrom(environment: Environment, name: string): number | undefined {
  const text = environment[name];
  if (text === undefined) return undefined;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new Refusal('BadConfiguration', `${name} is no port: 0 to 65535 is needed`);
  return port;
}

/** A name tells one holder from another in the audit trail, and a token leads to one name. */
function refuseEqualTokens(tokens: readonly AccessToken[], { lineOf }: LocatedYaml): void {
  for (const key of ['name', 'sha256'] as const) {
    const seen = new Set<string>();
    for (const [index, token] of tokens.entries()) {
      if (seen.has(token[key])) {
        const line = lineOf(['access', 'tokens', index, key]);
        throw new Refusal('BadConfiguration', `gateway.yaml line ${line}: access.tokens.${index}.${key} stands twice`);
      }
      seen.add(token[key]);
    }
  }
}

/** Secure by default: what can be reached from elsewhere is encrypted and knows its callers. */
function refuseOpenDoors(http: HttpConfig, dimse: DimseConfig, tokens: readonly AccessToken[]): void {
  if (!isLocal(http.host)) {
    if (http.tls === undefined)
      throw new Refusal('BadConfiguration', `http.host ${http.host} is not loopback: http.tls is needed`);
    if (tokens.length === 0)
      throw new Refusal('BadConfiguration', `http.host ${http.host} is not loopback: access.tokens is needed`);
  }
  if (!isLocal(dimse.host)) {
    if (dimse.tls?.authorities === undefined) {
      throw new Refusal(
        'BadConfiguration',
        `dimse.host ${dimse.host} is not loopback: dimse.tls with authorities is needed`,
      );
    }
    if (dimse.callingAEs.length === 0)
      throw new Refusal('BadConfiguration', `dimse.host ${dimse.host} is not loopback: dimse.callingAEs is needed`);
  }
}
