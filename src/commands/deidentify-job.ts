/** One file after another through the wall: what a thread of `isthmus deidentify` does, and the command itself where one thread is enough. */
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { readConfig } from '../config.ts';
import { openDatabase, type Database } from '../database.ts';
import { openWall, type Wall } from '../deidentify/crosswalk.ts';
import { deidentify, type DeidentifySettings } from '../deidentify/deidentify.ts';
import { describeChange, type Change } from '../deidentify/dry-run.ts';
import { openOneTimeKeys } from '../deidentify/one-time.ts';
import type { Counts } from '../deidentify/rewrite.ts';
import { receiveObject } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { compileSource, openCrosswalk } from '../gateway.ts';

/** What every thread of a batch is told. */
export interface JobSettings {
  readonly profile: string;
  readonly project: string;
  readonly recipient: string | undefined;
  /** undefined: dry run. */
  readonly to: string | undefined;
  /** Of a profile with `keys: once`: one for all threads, forgotten with the process. */
  readonly oneTimeRoot: Uint8Array;
}

export interface FileOutcome {
  /** Path in the output folder. */
  readonly written?: string;
  readonly reason?: string;
  readonly found?: string;
  readonly counts?: Counts;
  /** Of a dry run. */
  readonly changes?: readonly Change[];
}

export interface Job {
  /** Each file by itself; what the crosswalk has to remember of all of them is written at once. */
  run(files: readonly string[]): Promise<FileOutcome[]>;
  close(): void;
}

/** @throws Refusal BadConfiguration */
export function openJob(job: JobSettings): Job {
  const config = readConfig();
  const source = config.profiles.get(job.profile);
  if (source === undefined)
    throw new Refusal('BadRequest', `there is no such profile; there are: ${[...config.profiles.keys()].join(', ')}`);
  const profile = compileSource(job.profile, source);
  const { database, wall } = openCrosswalk(config);
  const settings: DeidentifySettings = {
    project: job.project,
    profile,
    oneTimeKeys: openOneTimeKeys(Buffer.from(job.oneTimeRoot)),
    ...(job.recipient === undefined ? {} : { recipient: job.recipient }),
  };
  const { to } = job;
  if (to !== undefined) return { run: (files) => writeAll(wall, files, to, settings), close: () => database.close() };
  const shadow = shadowOf(wall, job.project);
  database.close();
  return {
    run: async (files) => await inTurn(files, (file) => tryOut(shadow.wall, file, settings)),
    close: () => shadow.database.close(),
  };
}

/** The same key and the patients known so far, in memory: a dry run leaves no trace in the crosswalk. */
function shadowOf(wall: Wall, project: string): { wall: Wall; database: Database } {
  const database = openDatabase(':memory:');
  const shadow = openWall(database, { keyFile: '', keyHex: wall.master.toString('hex') });
  const patients = wall.database.all(
    'SELECT project, lookup, pseudonym, sealed FROM crosswalk_patient WHERE project = ?',
    project,
  );
  for (const row of patients) {
    database.run(
      'INSERT INTO crosswalk_patient (project, lookup, pseudonym, sealed) VALUES (?, ?, ?, ?)',
      project,
      row['lookup'] as Buffer,
      row['pseudonym'] as string,
      row['sealed'] as Buffer,
    );
  }
  return { wall: shadow, database };
}

const READ_CHUNK_BYTES = 2 ** 20;

async function inTurn<Result>(files: readonly string[], work: (file: string) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = [];
  for (const file of files) results.push(await work(file));
  return results;
}

/** A file is there under its name only when it is complete and the crosswalk leads back from it. */
async function writeAll(
  wall: Wall,
  files: readonly string[],
  to: string,
  settings: DeidentifySettings,
): Promise<FileOutcome[]> {
  const results = await inTurn(files, (file) => writePartial(wall, file, to, settings));
  wall.database.transaction(() => {
    for (const { remember } of results) remember?.();
  });
  for (const { outcome, partial } of results) {
    if (partial !== undefined && outcome.written !== undefined) await rename(partial, join(to, outcome.written));
  }
  return results.map(({ outcome }) => outcome);
}

interface Part {
  readonly outcome: FileOutcome;
  readonly remember?: () => void;
  readonly partial?: string;
}

let parts = 0;

/** Streams: no object is in memory as a whole. */
async function writePartial(wall: Wall, name: string, to: string, settings: DeidentifySettings): Promise<Part> {
  const source = createReadStream(name, { highWaterMark: READ_CHUNK_BYTES });
  let partial: string | undefined;
  try {
    const { object, remember, counts } = await deidentify(wall, await receiveObject(source), settings);
    const folder = join(object.studyInstanceUID, object.seriesInstanceUID);
    const written = join(folder, `${object.sopInstanceUID}.dcm`);
    await mkdir(join(to, folder), { recursive: true });
    // Two files of one folder may hold one and the same instance.
    partial = join(to, `${written}.${threadId}-${++parts}.part`);
    await writeObject(partial, object.head, object.body);
    return { outcome: { written, counts }, remember, partial };
  } catch (error) {
    if (partial !== undefined) await rm(partial, { force: true });
    if (!(error instanceof Refusal)) throw error;
    return { outcome: { reason: error.reason, found: error.message } };
  } finally {
    source.destroy();
  }
}

async function writeObject(path: string, head: Buffer, body: AsyncIterable<Buffer>): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    // The first piece goes with the head: most objects are written by one call.
    let pending: Buffer[] = [head];
    for await (const chunk of body) {
      pending.push(chunk);
      if (pending.length < 2) continue;
      await file.writev(pending);
      pending = [];
    }
    if (pending.length > 0) await file.writev(pending);
  } finally {
    await file.close();
  }
}

async function tryOut(wall: Wall, name: string, settings: DeidentifySettings): Promise<FileOutcome> {
  const source = createReadStream(name, { highWaterMark: READ_CHUNK_BYTES });
  const changes: Change[] = [];
  try {
    const { object, counts } = await deidentify(wall, await receiveObject(source), {
      ...settings,
      trace: (traced) => {
        const change = describeChange(traced);
        if (change !== undefined) changes.push(change);
      },
    });
    // The pixel data, too, may be refused.
    for await (const _chunk of object.body);
    return { counts, changes };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { reason: error.reason, found: error.message, changes };
  } finally {
    source.destroy();
  }
}
