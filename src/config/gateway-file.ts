/** gateway.yaml: what its keys are, and what stands in for those that are left out. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { AccessToken } from '../access.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { LogLevel } from '../log.ts';
import { absolute } from './paths.ts';
import type { TlsNames } from './tls-files.ts';

/** Distances in mm and values after rescale, each from and to, of one modality. */
export interface IntakeLimits {
  readonly pixelMm?: readonly [number, number];
  readonly spacingMm?: readonly [number, number];
  readonly thicknessMm?: readonly [number, number];
  readonly range?: readonly [number, number];
}

export type Environment = Readonly<Record<string, string | undefined>>;

export interface GatewayFile {
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

/** What gateway.yaml says besides doors, folders and keys. */
export interface GatewaySettings {
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
    /** Undefined: as each model's card says. */
    readonly timeoutMs: number | undefined;
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
  readonly disclosure: {
    /** How long an approved look behind a pseudonym stays open. */
    readonly minutes: number;
  };
}

/** Where the key is that the crosswalk's secrets are wrapped under. */
export interface CrosswalkKey {
  readonly keyFile: string;
  /** 64 hexadecimal digits; takes the place of the file. */
  readonly keyHex: string | undefined;
  /** Program and arguments; takes the place of both. */
  readonly command: readonly string[] | undefined;
}

export function settingsOf(gateway: GatewayFile): GatewaySettings {
  return {
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
    disclosure: { minutes: gateway.crosswalk?.disclosureMinutes ?? 60 },
  };
}

export const MB = 2 ** 20;

export function pipelinesOf({ pipelines = {} }: GatewayFile): GatewaySettings['pipelines'] {
  const { provider: name = 'cpu', deviceId = 0, fallback } = pipelines;
  return {
    threads: pipelines.threads ?? availableParallelism(),
    maxMemoryMb: pipelines.maxMemoryMb ?? 4096,
    timeoutMs: pipelines.timeoutSeconds === undefined ? undefined : pipelines.timeoutSeconds * 1000,
    provider: name === 'cpu' ? undefined : { name, deviceId, fallback },
  };
}

/** What scanners of the modality make; HU of a CT from what a reconstruction fills up around its circle to metal in an extended scale. */
const INTAKE_LIMITS: Readonly<Record<string, IntakeLimits>> = {
  CT: { pixelMm: [0.1, 2], spacingMm: [0.1, 10], thicknessMm: [0.1, 10], range: [-3072, 31743] },
  MR: { pixelMm: [0.1, 5], spacingMm: [0.1, 20], thicknessMm: [0.1, 20] },
  PT: { pixelMm: [0.5, 8], spacingMm: [0.5, 10], thicknessMm: [0.5, 10] },
};

/** @throws Refusal BadConfiguration where it is given twice, or is no key */
export function crosswalkKey(
  { crosswalk = {} }: GatewayFile,
  environment: Environment,
  folders: { readonly folder: string; readonly dataFolder: string },
): CrosswalkKey {
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
