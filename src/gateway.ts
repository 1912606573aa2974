/** Every open handle of a running gateway in one record; opened in order, closed in reverse. */
import { createHmac } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { closeArchive, openArchive, type Archive } from './archive/archive.ts';
import { MIGRATE_AUDIT, type Audit } from './audit.ts';
import type { Config } from './config.ts';
import { migrate, openDatabase, type Database } from './database.ts';
import { openWall, type Wall } from './deidentify/crosswalk.ts';
import { compileProfile, type CompiledProfile, type ProfileFile } from './deidentify/profile.ts';
import { MIGRATE_LEDGER } from './delivery/ledger.ts';
import { Refusal } from './dicom/refusal.ts';
import type { Log } from './log.ts';
import { closePool, openPool, type Pool } from './pipelines/pool.ts';
import { MIGRATE_QUARANTINE, type Quarantine } from './quarantine.ts';
import { MIGRATE_WORK_ITEMS, releaseLeases, type WorkItems } from './workitems.ts';

export interface Gateway {
  readonly config: Config;
  readonly log: Log;
  readonly database: Database;
  readonly archive: Archive;
  readonly wall: Wall;
  readonly profiles: ReadonlyMap<string, CompiledProfile>;
  readonly quarantine: Quarantine;
  readonly audit: Audit;
  readonly workItems: WorkItems;
  readonly pool: Pool;
  readonly arrivals: Arrivals;
  readonly now: () => number;
}

/** Studies that somebody is sending right now: how many objects or associations are open per study (pseudonym). */
export type Arrivals = Map<string, number>;

const MIGRATE_CLOCK = {
  room: 'workflow',
  steps: [
    `CREATE TABLE study_clock (
       study_uid TEXT PRIMARY KEY,
       project TEXT NOT NULL,
       last_arrival INTEGER NOT NULL,
       state TEXT NOT NULL
     ) WITHOUT ROWID;
     CREATE INDEX study_clock_open ON study_clock (last_arrival) WHERE state = 'open';
     CREATE INDEX study_clock_age ON study_clock (last_arrival)`,
  ],
} as const;

/** @throws Refusal BadConfiguration when a profile, key or model cannot be used */
export async function openGateway(config: Config, log: Log, now: () => number = Date.now): Promise<Gateway> {
  mkdirSync(config.dataFolder, { recursive: true, mode: 0o700 });
  const profiles = compileProfiles(config);
  const database = openDatabase(join(config.dataFolder, 'isthmus.sqlite'));
  try {
    const wall = openWall(database, {
      keyFile: join(config.dataFolder, 'keys', 'crosswalk.key'),
      ...(config.crosswalkKeyHex === undefined ? {} : { keyHex: config.crosswalkKeyHex }),
    });
    for (const { room, steps } of [
      MIGRATE_AUDIT,
      MIGRATE_LEDGER,
      MIGRATE_QUARANTINE,
      MIGRATE_WORK_ITEMS,
      MIGRATE_CLOCK,
    ]) {
      migrate(database, room, steps);
    }
    const workItems = { database, now };
    releaseLeases(workItems);
    const archive = await openArchive(database, join(config.dataFolder, 'packs'), {
      duplicates: config.archive.duplicates,
      packBytes: config.archive.packBytes,
      reserveBytes: config.archive.reserveBytes,
      now: () => new Date(now()),
    });
    const pool = await openPool({
      threads: config.pipelines.threads,
      maxMemoryMb: config.pipelines.maxMemoryMb,
      modelsFolder: config.modelsFolder,
    });
    const quarantine = { database, folder: join(config.dataFolder, 'quarantine'), key: quarantineKey(wall), now };
    return {
      config,
      log,
      database,
      archive,
      wall,
      profiles,
      quarantine,
      audit: { database, now },
      workItems,
      pool,
      arrivals: new Map(),
      now,
    };
  } catch (error) {
    database.close();
    throw error;
  }
}

/** Lets running writes end, then closes everything. */
export async function closeGateway(gateway: Gateway): Promise<void> {
  await closePool(gateway.pool);
  await closeArchive(gateway.archive);
  gateway.database.close();
}

function compileProfiles(config: Config): Map<string, CompiledProfile> {
  const compiled = new Map<string, CompiledProfile>();
  for (const [name, file] of config.profiles) compiled.set(name, compileProfile(file as ProfileFile));
  return compiled;
}

/** The seal of quarantine hangs on the same master key as the crosswalk: losing one means losing both, keeping one keeps both. */
function quarantineKey(wall: Wall): Buffer {
  return createHmac('sha256', wall.master).update('isthmus quarantine').digest();
}

/** @throws Refusal BadConfiguration: rules are checked to name only profiles that exist */
export function profileOf(gateway: Gateway, name: string): CompiledProfile {
  const profile = gateway.profiles.get(name);
  if (profile === undefined) throw new Refusal('BadConfiguration', `profile ${name} does not exist`);
  return profile;
}
