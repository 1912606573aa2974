/** Every open handle of a running gateway in one record; opened in order, closed in reverse. */
import { createHmac } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { closeArchive, openArchive, type Archive } from './archive/archive.ts';
import { MIGRATE_AUDIT, type Audit } from './audit.ts';
import { startCheckpoints, stopCheckpoints, type Checkpoints } from './checkpoints/checkpoints.ts';
import { openPictureCache, type PictureCache } from './codecs/picture-cache.ts';
import { closeCodecs, openCodecs, type CodecPool } from './codecs/pool.ts';
import type { Config } from './config.ts';
import { lockFile, migrate, type Database, type FolderLock } from './database.ts';
import type { Wall } from './deidentify/wall.ts';
import type { FaceTools } from './deidentify/faces/pixels.ts';
import type { PixelTools } from './deidentify/pixels/tools.ts';
import type { CompiledProfile } from './deidentify/profile.ts';
import { MIGRATE_COMMITMENT } from './delivery/commitment.ts';
import { MIGRATE_LEDGER } from './delivery/ledger.ts';
import { Refusal } from './dicom/refusal.ts';
import {
  compileSource,
  databaseFile,
  openCrosswalk,
  openDetector,
  openFaceTools,
  openPixelTools,
} from './gateway/wall.ts';
import { openModels } from './gateway/models.ts';
import type { Log } from './log.ts';
import { closePool, type Pool } from './pipelines/pool.ts';
import { MIGRATE_QUARANTINE, sweepQuarantine, type Quarantine } from './quarantine.ts';
import type { Rules } from './routing/rules.ts';
import { MIGRATE_WORK_ITEMS, releaseLeases, type WorkItems } from './workitems.ts';
import { reportServerStatus } from './workitems/events.ts';

export interface Gateway {
  readonly config: Config;
  readonly log: Log;
  readonly database: Database;
  readonly checkpoints: Checkpoints;
  readonly archive: Archive;
  readonly wall: Wall;
  readonly profiles: ReadonlyMap<string, CompiledProfile>;
  readonly quarantine: Quarantine;
  readonly audit: Audit;
  readonly workItems: WorkItems;
  readonly pool: Pool;
  readonly codecs: CodecPool;
  /** Text detection: apart from the pool, so that no arrival waits for a registration. */
  readonly detector: Pool;
  /** What the profiles need that clean pixels; undefined without the model that finds text. */
  readonly pixelTools: PixelTools | undefined;
  /** Codecs for images whose face is taken out. */
  readonly faceTools: FaceTools;
  readonly pictures: PictureCache;
  readonly arrivals: Arrivals;
  readonly receipts: Receipts;
  /** By study: series that the index has, so that not every instance has to ask. Forgotten with the study. */
  readonly seriesKnown: Map<string, Set<string>>;
  /** The look at erasures that is under way: one at a time. */
  readonly erasing: { turn: Promise<unknown> };
  /** In force; another revision takes their place when the file is edited (workflow/rulebook). */
  rules: Rules;
  /** What the rules file looked like at the last look, and why it is not in force. */
  readonly rulebook: { seen: string; refused: string | undefined };
  readonly lock: FolderLock;
  readonly now: () => number;
}

/** Studies that somebody is sending right now: how many objects or associations are open per study (pseudonym). */
export type Arrivals = Map<string, number>;

/** How many objects each door has been handed since the start, by what became of them. */
export type Receipts = Map<`${'stow' | 'dimse'} ${string}`, number>;

const MIGRATE_WORKFLOW = {
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
    // Keyed fingerprints of what has gone out, see workflow/returning.
    'CREATE TABLE sent_out (fingerprint BLOB PRIMARY KEY) WITHOUT ROWID',
    // Looks behind a pseudonym (workflow/disclose) and people who are erased (workflow/erase).
    `CREATE TABLE disclosure (
       id TEXT PRIMARY KEY,
       project TEXT NOT NULL,
       patient TEXT NOT NULL,
       subject TEXT NOT NULL,
       asked_by TEXT NOT NULL,
       asked_at INTEGER NOT NULL,
       state TEXT NOT NULL,
       decided_by TEXT,
       decided_at INTEGER,
       ends_at INTEGER NOT NULL,
       readings INTEGER NOT NULL DEFAULT 0
     ) WITHOUT ROWID;
     CREATE INDEX disclosure_patient ON disclosure (project, patient);
     CREATE TABLE erasure (
       id TEXT PRIMARY KEY,
       state TEXT NOT NULL,
       actor TEXT NOT NULL,
       reason TEXT NOT NULL,
       begun_at INTEGER NOT NULL,
       ended_at INTEGER,
       certificate TEXT NOT NULL
     ) WITHOUT ROWID;
     CREATE TABLE erasure_subject (
       erasure TEXT NOT NULL,
       project TEXT NOT NULL,
       pseudonym TEXT NOT NULL,
       PRIMARY KEY (erasure, project, pseudonym)
     ) WITHOUT ROWID;
     CREATE TABLE erasure_mark (
       erasure TEXT NOT NULL,
       mark BLOB NOT NULL,
       PRIMARY KEY (erasure, mark)
     ) WITHOUT ROWID`,
    // What the door did to a study, by rule set (workflow/tally).
    `CREATE TABLE study_tally (
       study_uid TEXT NOT NULL,
       rules TEXT NOT NULL,
       profile TEXT NOT NULL,
       edition TEXT NOT NULL,
       instances INTEGER NOT NULL,
       kept INTEGER NOT NULL,
       removed INTEGER NOT NULL,
       emptied INTEGER NOT NULL,
       dummies INTEGER NOT NULL,
       uids_mapped INTEGER NOT NULL,
       dates_changed INTEGER NOT NULL,
       cleaned INTEGER NOT NULL,
       private_kept INTEGER NOT NULL,
       private_removed INTEGER NOT NULL,
       unknown_removed INTEGER NOT NULL,
       invalid_removed INTEGER NOT NULL,
       looked INTEGER NOT NULL,
       boxes INTEGER NOT NULL,
       PRIMARY KEY (study_uid, rules)
     ) WITHOUT ROWID;
     CREATE TABLE study_lost (
       study_uid TEXT NOT NULL,
       sop_class TEXT NOT NULL,
       path TEXT NOT NULL,
       type TEXT NOT NULL,
       PRIMARY KEY (study_uid, sop_class, path)
     ) WITHOUT ROWID;
     CREATE TABLE study_unverified (study_uid TEXT PRIMARY KEY) WITHOUT ROWID;
     CREATE TABLE study_withheld (
       study_uid TEXT PRIMARY KEY,
       reasons TEXT NOT NULL,
       since INTEGER NOT NULL,
       accepted TEXT
     ) WITHOUT ROWID`,
    // Priors that came because a study asked for them (workflow/fetched).
    `CREATE TABLE fetched_study (
       study_uid TEXT PRIMARY KEY,
       for_study TEXT NOT NULL,
       until INTEGER
     ) WITHOUT ROWID;
     CREATE INDEX fetched_for ON fetched_study (for_study)`,
    // Series whose face is to be taken out, see workflow/deface: `batch` is what their images are held under.
    `CREATE TABLE face_series (
       batch BLOB PRIMARY KEY,
       project TEXT NOT NULL,
       profile TEXT NOT NULL,
       study_uid TEXT NOT NULL,
       last_arrival INTEGER NOT NULL,
       state TEXT NOT NULL,
       plan TEXT,
       figures TEXT
     ) WITHOUT ROWID;
     CREATE INDEX face_series_due ON face_series (last_arrival) WHERE state = 'waiting';
     CREATE INDEX face_series_study ON face_series (study_uid)`,
    // What was odd about a series when its study was complete (workflow/intake); it goes with its study.
    `CREATE TABLE series_intake (
       study_uid TEXT NOT NULL,
       series_uid TEXT NOT NULL,
       version INTEGER NOT NULL,
       modality TEXT NOT NULL,
       body_part TEXT NOT NULL,
       kind TEXT NOT NULL,
       report TEXT NOT NULL,
       skipped TEXT NOT NULL DEFAULT '',
       UNIQUE (study_uid, series_uid)
     );
     CREATE INDEX series_intake_like ON series_intake (modality, body_part, kind);
     CREATE TRIGGER series_intake_gone AFTER DELETE ON study_clock BEGIN
       DELETE FROM series_intake WHERE study_uid = OLD.study_uid;
     END`,
    // What is asked while the study is being looked at is not answered by that look.
    'ALTER TABLE study_unverified ADD COLUMN asked INTEGER NOT NULL DEFAULT 1',
  ],
} as const;

/** @throws Refusal BadConfiguration when a profile, key or model cannot be used */
export async function openGateway(config: Config, log: Log, now: () => number = Date.now): Promise<Gateway> {
  const profiles = compileProfiles(config);
  const lock = lockDataFolder(config.dataFolder);
  const { database, wall } = openCrosswalk(config);
  try {
    for (const { room, steps } of [
      MIGRATE_AUDIT,
      MIGRATE_LEDGER,
      MIGRATE_COMMITMENT,
      MIGRATE_QUARANTINE,
      MIGRATE_WORK_ITEMS,
      MIGRATE_WORKFLOW,
    ]) {
      migrate(database, room, steps);
    }
    const workItems: WorkItems = {
      database,
      now,
      live: {
        listeners: new Set(),
        running: new Map(),
        eventsPerSubscriber: config.worklist.eventsPerSubscriber,
      },
    };
    releaseLeases(workItems);
    reportServerStatus(workItems, 'RESTARTED');
    const archive = await openArchive(database, join(config.dataFolder, 'packs'), {
      duplicates: config.archive.duplicates,
      packBytes: config.archive.packBytes,
      reserveBytes: config.archive.reserveBytes,
      now: () => new Date(now()),
    });
    const pool = await openModels(config);
    for (const [model, { tookMb = 0, bytesPerVoxel = 0 }] of pool.probes)
      log.info('model probed', { model, tookMb: Math.ceil(tookMb), bytesPerVoxel: Math.ceil(bytesPerVoxel) });
    const codecs = openCodecs();
    const detector = await openDetector(config);
    const quarantine = {
      database,
      folder: join(config.dataFolder, 'quarantine'),
      key: quarantineKey(wall),
      reserveBytes: config.archive.reserveBytes,
      now,
    };
    await sweepQuarantine(quarantine);
    return {
      config,
      log,
      database,
      checkpoints: startCheckpoints(database, databaseFile(config), log),
      archive,
      wall,
      profiles,
      quarantine,
      audit: { database, now },
      workItems,
      pool,
      codecs,
      detector,
      pixelTools: openPixelTools(config, codecs, detector),
      faceTools: openFaceTools(config, codecs),
      pictures: openPictureCache(),
      arrivals: new Map(),
      receipts: new Map(),
      seriesKnown: new Map(),
      erasing: { turn: Promise.resolve() },
      rules: config.rules,
      rulebook: { seen: '', refused: undefined },
      lock,
      now,
    };
  } catch (error) {
    database.close();
    lock.release();
    throw error;
  }
}

/**
 * One process at a time works on packs and queue: what the next one would take for the leavings of a crash is what the first one is
 * writing. @throws Refusal BadConfiguration when another one does
 */
export function lockDataFolder(dataFolder: string): FolderLock {
  mkdirSync(dataFolder, { recursive: true, mode: 0o700 });
  const lock = lockFile(join(dataFolder, 'isthmus.lock'));
  if (lock === undefined)
    throw new Refusal('BadConfiguration', `another process of Isthmus works on ${dataFolder}: end it first`);
  return lock;
}

/** Lets running writes end, then closes everything. */
export async function closeGateway(gateway: Gateway): Promise<void> {
  await closePool(gateway.pool);
  await closePool(gateway.detector);
  await closeCodecs(gateway.codecs);
  await closeArchive(gateway.archive);
  await stopCheckpoints(gateway.checkpoints);
  gateway.database.close();
  gateway.lock.release();
}

function compileProfiles(config: Config): Map<string, CompiledProfile> {
  const compiled = new Map<string, CompiledProfile>();
  for (const [name, source] of config.profiles) compiled.set(name, compileSource(name, source));
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
