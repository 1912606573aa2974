/**
 * Keys for anonymising (`keys: once`): random, in memory, for one batch. Nothing is written that leads back, and when the process ends
 * or the epoch is over nobody can say again which pseudonym was whose. A batch is one run of `isthmus deidentify`; in the gateway it is
 * an epoch of a project: objects of one study that come in different epochs are different studies.
 */
import { randomBytes } from 'node:crypto';
import { openDomain, type Domain } from './wall.ts';

/** Long enough for a study to come whole and be sent again, short enough that few studies of a patient fall together. */
const EPOCH_MS = 24 * 3_600_000;

/** By project; one record a process or worker. */
export interface OneTimeKeys {
  readonly domains: Map<string, { readonly domain: Domain; readonly until: number }>;
  /** Given by whoever shares a batch among workers: then the batch is the epoch. */
  readonly root: Buffer | undefined;
}

export function openOneTimeKeys(root?: Buffer): OneTimeKeys {
  return { domains: new Map(), root };
}

export function oneTimeRoot(): Buffer {
  return randomBytes(32);
}

export function oneTimeDomain(keys: OneTimeKeys, project: string, now: number): Domain {
  const known = keys.domains.get(project);
  if (known !== undefined && (keys.root !== undefined || now < known.until)) return known.domain;
  const domain = openDomain(project, keys.root ?? oneTimeRoot(), false);
  keys.domains.set(project, { domain, until: now + EPOCH_MS });
  return domain;
}
