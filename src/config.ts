/**
 * The only reader of the configuration folder and of the environment. Checks every file against its schema, and what no schema can say,
 * before anything opens; a fault is refused with file, line and reason.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, isAbsolute, join, resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { isLoopback, type AccessToken } from './access.ts';
import { readLocatedYaml, readText, readYamlFile, type LocatedYaml } from './config/yaml-file.ts';
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

export interface DimseAddress {
  readonly aeTitle: string;
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly authorities: string | undefined;
  /** C-STORE side by side, at most. */
  readonly associations: number;
}

/** Takes objects as they lie in the archive, by C-MOVE. No `Node`, so that neither can be taken for the other. */
export interface Receiver {
  readonly name: string;
  readonly dimse: DimseAddress;
}

/** Takes results, re-identified. */
export interface Node {
  readonly name: string;
  readonly dimse: DimseAddress | undefined;
  readonly dicomweb:
    { readonly url: string; readonly authorization: string | undefined; readonly timeoutMs: number } | undefined;
  readonly deliverBy: 'dimse' | 'dicomweb';
  readonly proof: Proof;
  /** How priors come from it. */
  readonly retrieveBy: 'dimse' | 'dicomweb';
}

export type Proof = 'read-back' | 'status' | 'storage-commitment';

export interface Config {
  readonly folder: string;
  readonly dataFolder: string;
  readonly modelsFolder: string;
  /** The site's own models, beside those that come with the gateway. */
  readonly siteModelsFolder: string | undefined;
  /** Every pipeline a rule may name, with the settings it may give. */
  readonly runnable: Runnable;
  readonly http: HttpConfig;
  readonly dimse: DimseConfig;
  readonly tokens: readonly AccessToken[];
  readonly archive: {
    readonly duplicates: 'reject' | 'overwrite' | 'keep-first';
    readonly packBytes: number;
    readonly reserveBytes: number;
  };
  readonly quietSeconds: number;
  readonly intake: { readonly sampledImages: number; readonly limits: Readonly<Record<string, IntakeLimits>> };
  readonly pipelines: {
    readonly threads: number;
    readonly maxMemoryMb: number;
    readonly timeoutMs: number;
    /** An execution provider of onnxruntime; undefined: the CPU. */
    readonly provider:
      { readonly name: string; readonly deviceId: number; readonly fallback: 'cpu' | undefined } | undefined;
  };
  readonly retention: {
    readonly studyDays: number | undefined;
    readonly quarantineDays: number | undefined;
    readonly workItemDays: number;
    /** How long backups of the data folder are kept, for the certificate of an erasure; undefined: nobody has said. */
    readonly backupDays: number | undefined;
  };
  /** How long entries of the change feed are kept; undefined: for ever. */
  readonly changeDays: number | undefined;
  readonly worklist: {
    /** Event reports that wait for one subscriber at most; the oldest go first. */
    readonly eventsPerSubscriber: number;
    /** Days after which an event report that nobody fetched is given up. */
    readonly eventDays: number;
  };
  readonly logLevel: LogLevel;
  /** Where the key is that the crosswalk's secrets are wrapped under. */
  readonly crosswalkKey: {
    readonly keyFile: string;
    /** 64 hexadecimal digits; takes the place of the file. */
    readonly keyHex: string | undefined;
    /** Program and arguments; takes the place of both. */
    readonly command: readonly string[] | undefined;
  };
  readonly disclosure: {
    /** How long an approved look behind a pseudonym stays open. */
    readonly minutes: number;
  };
  readonly nodes: ReadonlyMap<string, Node>;
  /** By AE title. */
  readonly receivers: ReadonlyMap<string, Receiver>;
  readonly rules: Rules;
  /** Parsed profile files by name; their meaning is deidentify's. */
  readonly profiles: ReadonlyMap<string, ProfileSource>;
  /** Parsed files of device rules that profiles name, by file name; their meaning is deidentify's. */
  readonly deviceRules: ReadonlyMap<string, unknown>;
}

/** Distances in mm and values after rescale, each from and to, of one modality. */
export interface IntakeLimits {
  readonly pixelMm?: readonly [number, number];
  readonly spacingMm?: readonly [number, number];
  readonly thicknessMm?: readonly [number, number];
  readonly range?: readonly [number, number];
}

/** What scanners of the modality make; HU of a CT from what a reconstruction fills up around its circle to metal in an extended scale. */
const INTAKE_LIMITS: Readonly<Record<string, IntakeLimits>> = {
  CT: { pixelMm: [0.1, 2], spacingMm: [0.1, 10], thicknessMm: [0.1, 10], range: [-3072, 31743] },
  MR: { pixelMm: [0.1, 5], spacingMm: [0.1, 20], thicknessMm: [0.1, 20] },
  PT: { pixelMm: [0.5, 8], spacingMm: [0.5, 10], thicknessMm: [0.5, 10] },
};

/** Settings (keys of a rule's `with`) by the name of the pipeline. */
export type Runnable = ReadonlyMap<string, ReadonlySet<string>>;

export type Environment = Readonly<Record<string, string | undefined>>;

const PROJECT_FOLDER = fileURLToPath(new URL('..', import.meta.url));
const MODELS_FOLDER = join(PROJECT_FOLDER, 'models');
const MB = 2 ** 20;

/** @throws Refusal BadConfiguration */
export function readConfig(given: Environment = process.env): Config {
  const { environment, folder, dataFolder, located } = readGatewayFile(given);
  const gateway = located.value as GatewayFile;
  const http = httpConfig(gateway, environment, folder);
  const dimse = dimseConfig(gateway, environment, folder, http.host);
  const tokens = gateway.access?.tokens ?? [];
  refuseEqualTokens(tokens, located);
  refuseOpenDoors(http, dimse, tokens);
  const { nodes, receivers } = nodesOf(readLocatedYaml(join(folder, 'nodes.yaml'), 'nodes'), folder);
  const profiles = readProfiles(folder);
  const site = gateway.pipelines?.modelsFolder;
  const siteModelsFolder = site === undefined ? undefined : absolute(site, folder);
  const runnable = runnableModels(MODELS_FOLDER, siteModelsFolder);
  return {
    folder,
    dataFolder,
    modelsFolder: MODELS_FOLDER,
    siteModelsFolder,
    runnable,
    http,
    dimse,
    tokens,
    archive: {
      duplicates: gateway.archive?.duplicates ?? 'reject',
      packBytes: (gateway.archive?.packMb ?? 1024) * MB,
      reserveBytes: (gateway.archive?.reserveMb ?? 512) * MB,
    },
    quietSeconds: gateway.completion?.quietSeconds ?? 30,
    intake: {
      sampledImages: gateway.intake?.sampledImages ?? 8,
      limits: { ...INTAKE_LIMITS, ...gateway.intake?.limits },
    },
    pipelines: pipelinesOf(gateway),
    retention: {
      studyDays: gateway.retention?.studyDays,
      quarantineDays: gateway.retention?.quarantineDays,
      workItemDays: gateway.retention?.workItemDays ?? 90,
      backupDays: gateway.retention?.backupDays,
    },
    changeDays: gateway.retention?.changeDays,
    worklist: {
      eventsPerSubscriber: gateway.worklist?.eventsPerSubscriber ?? 1000,
      eventDays: gateway.worklist?.eventDays ?? 7,
    },
    logLevel: gateway.log ?? 'info',
    crosswalkKey: crosswalkKey(gateway, environment, { folder, dataFolder }),
    disclosure: { minutes: gateway.crosswalk?.disclosureMinutes ?? 60 },
    nodes,
    receivers,
    rules: readRules(folder, { nodes, profiles, runnable }),
    profiles,
    deviceRules: readDeviceRules(folder, profiles.values()),
  };
}

/** What de-identifying needs by itself: plain data, which another thread can be given. */
export type WallConfig = Pick<Config, 'dataFolder' | 'crosswalkKey' | 'pipelines' | 'modelsFolder' | 'deviceRules'>;

/**
 * What a command needs that de-identifies with one profile and has no doors, nodes or rules.
 * @throws Refusal BadConfiguration; BadRequest when there is no such profile
 */
export function readWallConfig(
  profileName: string,
  given: Environment = process.env,
): { readonly config: WallConfig; readonly profile: ProfileSource } {
  const { environment, folder, dataFolder, located } = readGatewayFile(given);
  const gateway = located.value as GatewayFile;
  const names = profileNames(folder);
  if (!names.includes(profileName))
    throw new Refusal('BadRequest', `there is no such profile; there are: ${names.join(', ')}`);
  const profile = readProfile(folder, profileName);
  const config = {
    dataFolder,
    crosswalkKey: crosswalkKey(gateway, environment, { folder, dataFolder }),
    pipelines: pipelinesOf(gateway),
    modelsFolder: MODELS_FOLDER,
    deviceRules: readDeviceRules(folder, [profile]),
  };
  return { config, profile };
}

function readGatewayFile(given: Environment): {
  readonly environment: Environment;
  readonly folder: string;
  readonly dataFolder: string;
  readonly located: LocatedYaml;
} {
  // A variable that is set to nothing is one that is not set.
  const environment: Environment = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ''));
  const folder = resolve(environment['ISTHMUS_CONFIG'] ?? join(PROJECT_FOLDER, 'config'));
  const located = readLocatedYaml(join(folder, 'gateway.yaml'), 'gateway');
  const { data = 'data' } = located.value as GatewayFile;
  const dataFolder = absolute(environment['ISTHMUS_DATA'] ?? data, resolve(folder, '..'));
  return { environment, folder, dataFolder, located };
}

function pipelinesOf({ pipelines = {} }: GatewayFile): Config['pipelines'] {
  const { provider: name = 'cpu', deviceId = 0, fallback } = pipelines;
  return {
    threads: pipelines.threads ?? availableParallelism(),
    maxMemoryMb: pipelines.maxMemoryMb ?? 4096,
    timeoutMs: (pipelines.timeoutSeconds ?? 1800) * 1000,
    provider: name === 'cpu' ? undefined : { name, deviceId, fallback },
  };
}

/** What runs without a manifest. */
const BUILT_IN: readonly (readonly [string, readonly string[]])[] = [
  ['register', ['fixed', 'fetch', 'transform']],
  ['ct-denoise', ['alpha']],
];

/** The pipelines of the program, and one for each folder of models that has a manifest. @throws Refusal BadConfiguration */
function runnableModels(modelsFolder: string, siteModelsFolder: string | undefined): Runnable {
  const found = new Map(BUILT_IN.map(([id, settings]) => [id, new Set(settings)]));
  for (const folder of [modelsFolder, ...(siteModelsFolder === undefined ? [] : [siteModelsFolder])]) {
    for (const id of namesIn(folder)) {
      if (!isManifest(join(folder, id))) continue;
      if (found.has(id)) throw new Refusal('BadConfiguration', `${join(folder, id)}: a model ${id} is there already`);
      const { post = [] } = readYamlFile(join(folder, id, 'card.yaml'), 'model-manifest') as {
        readonly post?: readonly { readonly op: string }[];
      };
      found.set(id, new Set(post.some(({ op }) => op === 'blend') ? ['alpha'] : []));
    }
  }
  return found;
}

/** A card that says what goes in and out (`io`) is a manifest: it needs no program of its own. */
export function isManifest(folder: string): boolean {
  try {
    return /^["']?io["']?\s*:/m.test(readFileSync(join(folder, 'card.yaml'), 'utf8'));
  } catch {
    return false;
  }
}

/** Reads rules.yaml and checks that nodes, profiles and pipelines it names exist. @throws Refusal BadConfiguration */
export function readRules(
  folder: string,
  {
    nodes,
    profiles,
    runnable,
  }: {
    readonly nodes: ReadonlyMap<string, Node>;
    readonly profiles: ReadonlyMap<string, ProfileSource>;
    readonly runnable: Runnable;
  },
): Rules {
  const file = join(folder, 'rules.yaml');
  const located = readLocatedYaml(file, 'rules');
  return checkRules(located.value, {
    nodes: new Set(nodes.keys()),
    profiles: new Set(profiles.keys()),
    pipelines: runnable,
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
    readonly allowedOrigins?: readonly string[];
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
    readonly viewers?: readonly string[];
    readonly commitTo?: readonly string[];
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
  readonly intake?: { readonly sampledImages?: number; readonly limits?: Readonly<Record<string, IntakeLimits>> };
  readonly pipelines?: {
    readonly threads?: number;
    readonly maxMemoryMb?: number;
    readonly timeoutSeconds?: number;
    readonly provider?: string;
    readonly deviceId?: number;
    readonly fallback?: 'cpu';
    readonly modelsFolder?: string;
  };
  readonly retention?: {
    readonly studyDays?: number;
    readonly quarantineDays?: number;
    readonly workItemDays?: number;
    readonly backupDays?: number;
    readonly changeDays?: number;
  };
  readonly crosswalk?: {
    readonly keyFile?: string;
    readonly keyCommand?: readonly string[];
    readonly disclosureMinutes?: number;
  };
  readonly worklist?: { readonly eventsPerSubscriber?: number; readonly eventDays?: number };
  readonly log?: LogLevel;
}

interface TlsNames {
  readonly key: string;
  readonly certificate: string;
  readonly authorities?: string;
}

interface NodesFile {
  readonly nodes: Readonly<Record<string, ResultNodeFile | ReceiverFile>>;
}

interface DimseAddressFile {
  readonly aeTitle: string;
  readonly host: string;
  readonly port: number;
  readonly tls?: boolean;
  readonly authorities?: string;
  readonly associations?: number;
}

interface ResultNodeFile {
  readonly receives?: 'results';
  readonly dimse?: DimseAddressFile;
  readonly dicomweb?: { readonly url: string; readonly authorization?: string; readonly timeoutSeconds?: number };
  readonly deliverBy: 'dimse' | 'dicomweb';
  readonly proof: Proof;
  readonly retrieveBy?: 'dimse' | 'dicomweb';
}

interface ReceiverFile {
  readonly receives: 'pseudonyms';
  readonly dimse: DimseAddressFile;
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

function crosswalkKey(
  { crosswalk = {} }: GatewayFile,
  environment: Environment,
  folders: { readonly folder: string; readonly dataFolder: string },
): Config['crosswalkKey'] {
  const keyHex = environment['ISTHMUS_CROSSWALK_KEY'];
  if (keyHex !== undefined && !/^[0-9a-fA-F]{64}$/.test(keyHex)) {
    throw new Refusal(
      'BadConfiguration',
      `ISTHMUS_CROSSWALK_KEY has ${keyHex.length} characters; 64 hexadecimal digits are needed`,
    );
  }
  const { keyFile, keyCommand } = crosswalk;
  if ([keyHex, keyFile, keyCommand].filter((one) => one !== undefined).length > 1) {
    throw new Refusal(
      'BadConfiguration',
      'the crosswalk key is given more than once: one of ISTHMUS_CROSSWALK_KEY, crosswalk.keyFile and crosswalk.keyCommand is needed',
    );
  }
  return {
    keyFile:
      keyFile === undefined ? join(folders.dataFolder, 'keys', 'crosswalk.key') : absolute(keyFile, folders.folder),
    keyHex,
    command: keyCommand,
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

function isLocal(host: string): boolean {
  return host === 'localhost' || isLoopback(host);
}

interface Nodes {
  readonly nodes: Map<string, Node>;
  readonly receivers: Map<string, Receiver>;
}

function nodesOf({ value, lineOf }: LocatedYaml, folder: string): Nodes {
  const nodes = new Map<string, Node>();
  const receivers = new Map<string, Receiver>();
  for (const [name, node] of Object.entries((value as NodesFile).nodes)) {
    const refuse = (key: string, sentence: string): never => {
      throw new Refusal(
        'BadConfiguration',
        `nodes.yaml line ${lineOf(['nodes', name, key])}: node ${name} ${sentence}`,
      );
    };
    const dimse = node.dimse && addressOf(node.dimse, folder);
    if (node.receives === 'pseudonyms') {
      const address = dimse ?? refuse('dimse', 'receives pseudonyms but has no dimse section');
      const { aeTitle } = address;
      if (receivers.has(aeTitle)) refuse('dimse', 'has the AE title of another receiver of pseudonyms');
      receivers.set(aeTitle, { name, dimse: address });
      continue;
    }
    if (node[node.deliverBy] === undefined)
      refuse('deliverBy', `delivers by ${node.deliverBy} but has no ${node.deliverBy} section`);
    if (node.proof === 'read-back' && node.dicomweb === undefined)
      refuse('proof', 'has proof read-back, which needs a dicomweb section');
    if (node.proof === 'storage-commitment' && dimse === undefined)
      refuse('proof', 'has proof storage-commitment, which needs a dimse section');
    const retrieveBy = node.retrieveBy ?? (dimse === undefined ? 'dicomweb' : 'dimse');
    if (node[retrieveBy] === undefined)
      refuse('retrieveBy', `is searched by ${retrieveBy} but has no ${retrieveBy} section`);
    nodes.set(name, {
      name,
      dimse,
      dicomweb: node.dicomweb && {
        url: node.dicomweb.url.replace(/\/$/, ''),
        authorization: node.dicomweb.authorization,
        timeoutMs: (node.dicomweb.timeoutSeconds ?? 60) * 1000,
      },
      deliverBy: node.deliverBy,
      proof: node.proof,
      retrieveBy,
    });
  }
  refuseTwoFaces(nodes, receivers, (name) => lineOf(['nodes', name]));
  return { nodes, receivers };
}

/** One place cannot take both the true identity and the pseudonyms of patients: one of the two entries is a mistake. */
function refuseTwoFaces(
  nodes: ReadonlyMap<string, Node>,
  receivers: ReadonlyMap<string, Receiver>,
  lineOf: (name: string) => number,
): void {
  for (const receiver of receivers.values()) {
    for (const { name, dimse, dicomweb } of nodes.values()) {
      const { aeTitle, host, port } = receiver.dimse;
      const same =
        dimse !== undefined &&
        (dimse.aeTitle === aeTitle || (hostKey(dimse.host) === hostKey(host) && dimse.port === port));
      if (!same && (dicomweb === undefined || !isAt(dicomweb.url, host, port))) continue;
      throw new Refusal(
        'BadConfiguration',
        `nodes.yaml line ${lineOf(receiver.name)}: node ${receiver.name} receives pseudonyms but has the AE title or address of ${name}, which receives results`,
      );
    }
  }
}

/** Names of this machine are one. */
function hostKey(host: string): string {
  const lower = host.toLowerCase().replace(/\.$/, '');
  return isLocal(lower) ? 'localhost' : lower;
}

function isAt(url: string, host: string, port: number): boolean {
  const at = new URL(url);
  return hostKey(at.hostname) === hostKey(host) && Number(at.port) === port;
}

function addressOf(dimse: DimseAddressFile, folder: string): DimseAddress {
  return {
    aeTitle: dimse.aeTitle,
    host: dimse.host,
    port: dimse.port,
    tls: dimse.tls ?? false,
    authorities: dimse.authorities === undefined ? undefined : readPem(dimse.authorities, folder),
    associations: dimse.associations ?? 4,
  };
}

/** A profile as its file says, and where in the file what stands. */
export interface ProfileSource {
  readonly value: unknown;
  /** The line, from 1, of what lies at this path. */
  readonly lineOf: (path: readonly (string | number)[]) => number;
}

function readProfiles(folder: string): Map<string, ProfileSource> {
  return new Map(profileNames(folder).map((name) => [name, readProfile(folder, name)]));
}

function profileNames(folder: string): string[] {
  return namesIn(join(folder, 'profiles'))
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => basename(name, '.yaml'));
}

/** With the list of private attributes that it names, so that it stands by itself. */
function readProfile(folder: string, name: string): ProfileSource {
  const { value, lineOf } = readLocatedYaml(join(folder, 'profiles', `${name}.yaml`), 'profile');
  const { private: kept } = value as { private?: { list?: string } };
  if (kept?.list === undefined) return { value, lineOf };
  const { creators } = readYamlFile(ownOrShipped(folder, kept.list), 'safe-private') as { creators: unknown };
  return { value: { ...(value as object), private: { ...kept, creators } }, lineOf };
}

/** A folder of one's own need not repeat the standard's list of private attributes or the device rules. */
function ownOrShipped(folder: string, name: string): string {
  const found = [folder, join(PROJECT_FOLDER, 'config')].map((base) => join(base, name)).find(existsSync);
  return found ?? join(folder, name);
}

function readDeviceRules(folder: string, profiles: Iterable<ProfileSource>): Map<string, unknown> {
  const rules = new Map<string, unknown>();
  for (const { value } of profiles) {
    const { pixels } = value as { readonly pixels?: string | { readonly rules?: string } };
    const name = typeof pixels === 'object' ? pixels.rules : undefined;
    if (name !== undefined && !rules.has(name)) rules.set(name, readYamlFile(ownOrShipped(folder, name), 'devices'));
  }
  return rules;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    throw new Refusal('BadConfiguration', `${folder} is no folder that can be read`);
  }
}

function readTls(names: TlsNames, folder: string): TlsFiles {
  const files = {
    key: readPem(names.key, folder),
    certificate: readPem(names.certificate, folder),
    authorities: names.authorities === undefined ? undefined : readPem(names.authorities, folder),
  };
  try {
    createSecureContext({ key: files.key, cert: files.certificate, ca: files.authorities });
  } catch {
    throw new Refusal(
      'BadConfiguration',
      `${names.key}, ${names.certificate}${names.authorities === undefined ? '' : ` and ${names.authorities}`} are no PEM files that belong together`,
    );
  }
  return files;
}

function readPem(name: string, folder: string): string {
  return readText(absolute(name, folder));
}

function absolute(path: string, base: string): string {
  return isAbsolute(path) ? path : resolve(base, path);
}
