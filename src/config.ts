/**
 * The only reader of the configuration folder and of the environment. Checks every file against its schema, and what no schema can say,
 * before anything opens; a fault is refused with file, line and reason.
 */
import { join, resolve } from 'node:path';
import { doorsOf, type Doors } from './config/doors.ts';
import {
  crosswalkKey,
  pipelinesOf,
  settingsOf,
  type CrosswalkKey,
  type Environment,
  type GatewayFile,
  type GatewaySettings,
} from './config/gateway-file.ts';
import { nodesOf, type Node, type Receiver } from './config/nodes.ts';
import { absolute, PROJECT_FOLDER } from './config/paths.ts';
import { profileNames, readDeviceRules, readProfile, readProfiles, type ProfileSource } from './config/profiles.ts';
import { runnableModels, type Runnable } from './config/runnable.ts';
import { readLocatedYaml, type LocatedYaml } from './config/yaml-file.ts';
import { Refusal } from './dicom/refusal.ts';
import { checkRules, type Rules } from './routing/rules.ts';

export interface Config extends Doors, GatewaySettings {
  readonly folder: string;
  readonly dataFolder: string;
  readonly crosswalkKey: CrosswalkKey;
  readonly modelsFolder: string;
  /** The site's own models, beside those that come with the gateway. */
  readonly siteModelsFolder: string | undefined;
  /** Every pipeline a rule may name, with the settings it may give. */
  readonly runnable: Runnable;
  readonly nodes: ReadonlyMap<string, Node>;
  /** By AE title. */
  readonly receivers: ReadonlyMap<string, Receiver>;
  readonly rules: Rules;
  /** Parsed profile files by name; their meaning is deidentify's. */
  readonly profiles: ReadonlyMap<string, ProfileSource>;
  /** Parsed files of device rules that profiles name, by file name; their meaning is deidentify's. */
  readonly deviceRules: ReadonlyMap<string, unknown>;
}

const MODELS_FOLDER = join(PROJECT_FOLDER, 'models');

/** @throws Refusal BadConfiguration */
export function readConfig(given: Environment = process.env): Config {
  const { environment, folder, dataFolder, located } = readGatewayFile(given);
  const gateway = located.value as GatewayFile;
  const doors = doorsOf(located, environment, folder);
  const { nodes, receivers } = nodesOf(readLocatedYaml(join(folder, 'nodes.yaml'), 'nodes'), folder);
  const profiles = readProfiles(folder);
  const site = gateway.pipelines?.modelsFolder;
  const siteModelsFolder = site === undefined ? undefined : absolute(site, folder);
  const runnable = runnableModels(MODELS_FOLDER, siteModelsFolder);
  return {
    ...doors,
    ...settingsOf(gateway),
    folder,
    dataFolder,
    crosswalkKey: crosswalkKey(gateway, environment, { folder, dataFolder }),
    modelsFolder: MODELS_FOLDER,
    siteModelsFolder,
    runnable,
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
