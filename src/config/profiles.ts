/** The files of profiles, with the lists and device rules that they name; what they mean is for deidentify to say. */
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { namesIn, PROJECT_FOLDER } from './paths.ts';
import { readLocatedYaml, readYamlFile } from './yaml-file.ts';

/** A profile as its file says, and where in the file what stands. */
export interface ProfileSource {
  readonly value: unknown;
  /** The line, from 1, of what lies at this path. */
  readonly lineOf: (path: readonly (string | number)[]) => number;
}

export function readProfiles(folder: string): Map<string, ProfileSource> {
  return new Map(profileNames(folder).map((name) => [name, readProfile(folder, name)]));
}

export function profileNames(folder: string): string[] {
  return namesIn(join(folder, 'profiles'))
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => basename(name, '.yaml'));
}

/** With the list of private attributes that it names, so that it stands by itself. */
export function readProfile(folder: string, name: string): ProfileSource {
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

/** Those that the profiles name, by file name. @throws Refusal BadConfiguration */
export function readDeviceRules(folder: string, profiles: Iterable<ProfileSource>): Map<string, unknown> {
  const rules = new Map<string, unknown>();
  for (const { value } of profiles) {
    const { pixels } = value as { readonly pixels?: string | { readonly rules?: string } };
    const name = typeof pixels === 'object' ? pixels.rules : undefined;
    if (name !== undefined && !rules.has(name)) rules.set(name, readYamlFile(ownOrShipped(folder, name), 'devices'));
  }
  return rules;
}
