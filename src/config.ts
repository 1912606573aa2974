/**
 * The only reader of the configuration folder and of the environment. Checks every file against its schema, and what no schema can say,
 * before anything opens; a fault is refused with file, line and reason.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { LineCounter, parseDocument, type Document } from 'yaml';
import type { AccessToken } from './access.ts';
import { Refusal } from './dicom/refusal.ts';
import type { LogLevel } from './log.ts';
import { checkRules, type Rules } from './routing/rules.ts';

export interface TlsFiles {
  /** PEM texts. */
  readonly key: string;
  readonly certificate: string;
  readonly authorities: string | undefined;
}

export interface HttpConfig {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsFiles | undefined;
  readonly publicBaseUrl: string | undefined;
  readonly trustedProxies: readonly string[];
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
  readonly maxAssociations: number;
  readonly idleMs: number;
  readonly tls: TlsFiles | undefined;
}

export interface Node {
  readonly name: string;
  readonly dimse:
    | {
        readonly aeTitle: string;
        readonly host: string;
        readonly port: number;
        readonly tls: boolean;
        readonly authorities: string | undefined;
      }
    | undefined;
  readonly dicomweb:
    { readonly url: string; readonly authorization: string | undefined; readonly timeoutMs: number } | undefined;
  readonly deliverBy: 'dimse' | 'dicomweb';
  readonly proof: 'read-back' | 'status';
}

export interface Config {
  readonly folder: string;
  readonly dataFolder: string;
  readonly modelsFolder: string;
  readonly http: HttpConfig;
  readonly dimse: DimseConfig;
  readonly tokens: readonly AccessToken[];
  readonly archive: {
    readonly duplicates: 'reject' | 'overwrite' | 'keep-first';
    readonly packBytes: number;
    readonly reserveBytes: number;
  };
  readonly quietSeconds: number;
  readonly pipelines: { readonly threads: number; readonly maxMemoryMb: number; readonly timeoutMs: number };
  readonly retention: {
    readonly studyDays: number | undefined;
    readonly quarantineDays: number | undefined;
    readonly workItemDays: number;
  };
  readonly logLevel: LogLevel;
  /** 64 hexadecimal digits; undefined: the key is in a file of the data folder. */
  readonly crosswalkKeyHex: string | undefined;
  readonly nodes: ReadonlyMap<string, Node>;
  readonly rules: Rules;
  /** Parsed profile files by name; their meaning is deidentify's. */
  readonly profiles: ReadonlyMap<string, unknown>;
}

export type Environment = Readonly<Record<string, string | undefined>>;

const PROJECT_FOLDER = fileURLToPath(new URL('..', import.meta.url));
const MB = 2 ** 20;

/** @throws Refusal BadConfiguration */
export function readConfig(environment: Environment = process.env): Config {
  const folder = resolve(environment['ISTHMUS_CONFIG'] ?? join(PROJECT_FOLDER, 'config'));
  const gateway = readYamlFile(join(folder, 'gateway.yaml'), 'gateway') as GatewayFile;
  const base = resolve(folder, '..');
  const http = httpConfig(gateway, environment, folder);
  const dimse = dimseConfig(gateway, environment, folder, http.host);
  const tokens = gateway.access?.tokens ?? [];
  refuseOpenDoors(http, dimse, tokens);
  const nodes = nodesOf(readYamlFile(join(folder, 'nodes.yaml'), 'nodes') as NodesFile, folder);
  const profiles = readProfiles(folder);
  const crosswalkKeyHex = environment['ISTHMUS_CROSSWALK_KEY'];
  if (crosswalkKeyHex !== undefined && !/^[0-9a-fA-F]{64}$/.test(crosswalkKeyHex)) {
    throw new Refusal(
      'BadConfiguration',
      `ISTHMUS_CROSSWALK_KEY has ${crosswalkKeyHex.length} characters; 64 hexadecimal digits are needed`,
    );
  }
  return {
    folder,
    dataFolder: absolute(environment['ISTHMUS_DATA'] ?? gateway.data ?? 'data', base),
    modelsFolder: join(PROJECT_FOLDER, 'models'),
    http,
    dimse,
    tokens,
    archive: {
      duplicates: gateway.archive?.duplicates ?? 'reject',
      packBytes: (gateway.archive?.packMb ?? 1024) * MB,
      reserveBytes: (gateway.archive?.reserveMb ?? 512) * MB,
    },
    quietSeconds: gateway.completion?.quietSeconds ?? 30,
    pipelines: {
      threads: gateway.pipelines?.threads ?? availableParallelism(),
      maxMemoryMb: gateway.pipelines?.maxMemoryMb ?? 4096,
      timeoutMs: (gateway.pipelines?.timeoutSeconds ?? 1800) * 1000,
    },
    retention: {
      studyDays: gateway.retention?.studyDays,
      quarantineDays: gateway.retention?.quarantineDays,
      workItemDays: gateway.retention?.workItemDays ?? 90,
    },
    logLevel: gateway.log ?? 'info',
    crosswalkKeyHex,
    nodes,
    rules: readRules(folder, nodes, profiles),
    profiles,
  };
}

/** Reads rules.yaml and checks that the nodes and profiles it names exist. @throws Refusal BadConfiguration */
export function readRules(
  folder: string,
  nodes: ReadonlyMap<string, Node>,
  profiles: ReadonlyMap<string, unknown>,
): Rules {
  const file = join(folder, 'rules.yaml');
  const located = readLocatedYaml(file, 'rules');
  return checkRules(located.value, {
    nodes: new Set(nodes.keys()),
    profiles: new Set(profiles.keys()),
    fail: (path, sentence) => {
      throw new Refusal('BadConfiguration', `rules.yaml line ${located.lineOf(path)}: ${sentence}`);
    },
  });
}

interface GatewayFile {
  readonly data?: string;
  readonly http?: {
    readonly host?: string;
    readonly port?: number;
    readonly tls?: TlsNames;
    readonly publicBaseUrl?: string;
    readonly trustedProxies?: readonly string[];
    readonly maxRequestMb?: number;
    readonly emptySearch?: 200 | 204;
    readonly strictAccept?: boolean;
  };
  readonly dimse?: {
    readonly host?: string;
    readonly port?: number;
    readonly aeTitle?: string;
    readonly calledAEs?: readonly string[];
    readonly callingAEs?: readonly string[];
    readonly maxAssociations?: number;
    readonly idleSeconds?: number;
    readonly tls?: TlsNames;
  };
  readonly access?: { readonly tokens?: readonly AccessToken[] };
  readonly archive?: {
    readonly duplicates?: 'reject' | 'overwrite' | 'keep-first';
    readonly packMb?: number;
    readonly reserveMb?: number;
  };
  readonly completion?: { readonly quietSeconds?: number };
  readonly pipelines?: { readonly threads?: number; readonly maxMemoryMb?: number; readonly timeoutSeconds?: number };
  readonly retention?: {
    readonly studyDays?: number;
    readonly quarantineDays?: number;
    readonly workItemDays?: number;
  };
  readonly log?: LogLevel;
}

interface TlsNames {
  readonly key: string;
  readonly certificate: string;
  readonly authorities?: string;
}

interface NodesFile {
  readonly nodes: Readonly<
    Record<
      string,
      {
        readonly dimse?: {
          readonly aeTitle: string;
          readonly host: string;
          readonly port: number;
          readonly tls?: boolean;
          readonly authorities?: string;
        };
        readonly dicomweb?: { readonly url: string; readonly authorization?: string; readonly timeoutSeconds?: number };
        readonly deliverBy: 'dimse' | 'dicomweb';
        readonly proof: 'read-back' | 'status';
      }
    >
  >;
}

function httpConfig(gateway: GatewayFile, environment: Environment, folder: string): HttpConfig {
  const { http = {} } = gateway;
  return {
    host: environment['ISTHMUS_HOST'] ?? http.host ?? '127.0.0.1',
    port: portFrom(environment, 'ISTHMUS_HTTP_PORT') ?? http.port ?? 8080,
    tls: http.tls === undefined ? undefined : readTls(http.tls, folder),
    publicBaseUrl: http.publicBaseUrl?.replace(/\/$/, ''),
    trustedProxies: http.trustedProxies ?? [],
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
    maxAssociations: dimse.maxAssociations ?? 32,
    idleMs: (dimse.idleSeconds ?? 60) * 1000,
    tls: dimse.tls === undefined ? undefined : readTls(dimse.tls, folder),
  };
}

function portFrom(environment: Environment, name: string): number | undefined {
  const text = environment[name];
  if (text === undefined || text === '') return undefined;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new Refusal('BadConfiguration', `${name} is no port: 0 to 65535 is needed`);
  return port;
}

/** Secure by default (DESIGN decision 13): what can be reached from elsewhere is encrypted and knows its callers. */
function refuseOpenDoors(http: HttpConfig, dimse: DimseConfig, tokens: readonly AccessToken[]): void {
  if (!isLoopback(http.host)) {
    if (http.tls === undefined)
      throw new Refusal('BadConfiguration', `http.host ${http.host} is not loopback: http.tls is needed`);
    if (tokens.length === 0)
      throw new Refusal('BadConfiguration', `http.host ${http.host} is not loopback: access.tokens is needed`);
  }
  if (!isLoopback(dimse.host)) {
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

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function nodesOf(file: NodesFile, folder: string): Map<string, Node> {
  const nodes = new Map<string, Node>();
  for (const [name, node] of Object.entries(file.nodes)) {
    if (node[node.deliverBy] === undefined) {
      throw new Refusal(
        'BadConfiguration',
        `nodes.yaml: node ${name} delivers by ${node.deliverBy} but has no ${node.deliverBy} section`,
      );
    }
    if (node.proof === 'read-back' && node.dicomweb === undefined) {
      throw new Refusal(
        'BadConfiguration',
        `nodes.yaml: node ${name} has proof read-back, which needs a dicomweb section`,
      );
    }
    nodes.set(name, {
      name,
      dimse: node.dimse && {
        aeTitle: node.dimse.aeTitle,
        host: node.dimse.host,
        port: node.dimse.port,
        tls: node.dimse.tls ?? false,
        authorities: node.dimse.authorities === undefined ? undefined : readPem(node.dimse.authorities, folder),
      },
      dicomweb: node.dicomweb && {
        url: node.dicomweb.url.replace(/\/$/, ''),
        authorization: node.dicomweb.authorization,
        timeoutMs: (node.dicomweb.timeoutSeconds ?? 60) * 1000,
      },
      deliverBy: node.deliverBy,
      proof: node.proof,
    });
  }
  return nodes;
}

function readProfiles(folder: string): Map<string, unknown> {
  const profiles = new Map<string, unknown>();
  const profileFolder = join(folder, 'profiles');
  for (const name of readdirSync(profileFolder).sort()) {
    if (name.endsWith('.yaml'))
      profiles.set(basename(name, '.yaml'), readYamlFile(join(profileFolder, name), 'profile'));
  }
  return profiles;
}

function readTls(names: TlsNames, folder: string): TlsFiles {
  return {
    key: readPem(names.key, folder),
    certificate: readPem(names.certificate, folder),
    authorities: names.authorities === undefined ? undefined : readPem(names.authorities, folder),
  };
}

function readPem(name: string, folder: string): string {
  return readText(absolute(name, folder));
}

function absolute(path: string, base: string): string {
  return isAbsolute(path) ? path : resolve(base, path);
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    throw new Refusal('BadConfiguration', `${file} cannot be read`);
  }
}

interface LocatedYaml {
  readonly value: unknown;
  /** The line, from 1, of what lies at this path. */
  lineOf(path: readonly (string | number)[]): number;
}

/**
 * A YAML file checked against `config/schema/<schema>.schema.json`.
 * @throws Refusal BadConfiguration with file, line and reason
 */
export function readYamlFile(file: string, schema: string): unknown {
  return readLocatedYaml(file, schema).value;
}

function readLocatedYaml(file: string, schema: string): LocatedYaml {
  const lines = new LineCounter();
  const document = parseDocument(readText(file), { lineCounter: lines, uniqueKeys: true });
  const lineOf = (path: readonly (string | number)[]): number => lineAt(document, lines, path);
  const [syntaxError] = document.errors;
  if (syntaxError !== undefined) {
    const { line } = lines.linePos(syntaxError.pos[0]);
    throw new Refusal(
      'BadConfiguration',
      `${basename(file)} line ${line}: ${syntaxError.message.split('\n')[0] ?? 'not YAML'}`,
    );
  }
  const value: unknown = document.toJS({ maxAliasCount: 100 }) ?? {};
  const validate = validator(schema);
  if (!validate(value)) {
    const { path, sentence } = describe(validate.errors ?? []);
    throw new Refusal('BadConfiguration', `${basename(file)} line ${lineOf(path)}: ${sentence}`);
  }
  return { value, lineOf };
}

/** The line of the node at `path`, or of the nearest one above it. */
function lineAt(document: Document, lines: LineCounter, path: readonly (string | number)[]): number {
  for (let length = path.length; length >= 0; length--) {
    const node: unknown = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)) {
      return lines.linePos(Number(node.range[0])).line;
    }
  }
  return 1;
}

/** Compiling a schema costs milliseconds and the files never change while running. */
function validator(schema: string): ValidateFunction {
  const file = join(PROJECT_FOLDER, 'config', 'schema', `${schema}.schema.json`);
  return new Ajv({ allErrors: true, allowUnionTypes: true }).compile(JSON.parse(readText(file)) as object);
}

/** One sentence for the deepest fault: of alternatives the nearest is what the writer meant. */
function describe(errors: readonly ErrorObject[]): { path: (string | number)[]; sentence: string } {
  const deepest = [...errors].sort((a, b) => b.instancePath.length - a.instancePath.length)[0];
  if (deepest === undefined) return { path: [], sentence: 'does not fit the schema' };
  const path = deepest.instancePath
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
  const where = path.length === 0 ? 'the file' : path.join('.');
  const params = deepest.params as Record<string, unknown>;
  if (deepest.keyword === 'additionalProperties') {
    const key = String(params['additionalProperty']);
    return { path: [...path, key], sentence: `${where}: unknown key "${key}"` };
  }
  if (deepest.keyword === 'enum')
    return { path, sentence: `${where} must be one of ${JSON.stringify(params['allowedValues'])}` };
  return { path, sentence: `${where} ${deepest.message ?? 'does not fit the schema'}` };
}
