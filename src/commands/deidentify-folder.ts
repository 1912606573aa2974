/** `isthmus deidentify`: every object of a folder, in threads; or a dry run that shows what would become of each attribute. */
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { readConfig, type Config } from '../config.ts';
import { assertInForce } from '../deidentify/deidentify.ts';
import { changeLine } from '../deidentify/dry-run.ts';
import { oneTimeRoot } from '../deidentify/one-time.ts';
import type { CompiledProfile } from '../deidentify/profile.ts';
import { formatVerification } from '../deidentify/verification-text.ts';
import type { Verification } from '../deidentify/verify.ts';
import { Refusal } from '../dicom/refusal.ts';
import { compileSource, type WallConfig } from '../gateway.ts';
import { openJob, type FileOutcome, type JobSettings } from './deidentify-job.ts';
import type { Ask } from './deidentify-worker.ts';
import { sumCounts, verifyFiles, withholdFiles } from './verify-folder.ts';

export interface FolderRequest {
  readonly files: readonly string[];
  readonly profile: string;
  readonly project: string;
  readonly recipient: string | undefined;
  /** undefined: dry run. */
  readonly to: string | undefined;
  readonly threads: number | undefined;
  /** Dry run as one JSON document a line. */
  readonly json: boolean;
}

interface FileReport extends FileOutcome {
  /** Position of the file in the sorted folder, from 1: its name could name a person. */
  readonly file: number;
}

/** Files that make a further thread worth its start. */
const FILES_PER_THREAD = 100;
/** Files handed to a thread at a time. */
const BATCH = 32;

/** @returns the exit status. @throws Refusal */
export async function deidentifyFiles(request: FolderRequest): Promise<number> {
  const { profile, project, to } = request;
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(project))
    throw new Refusal('BadRequest', 'a project is named by a letter, then letters, digits and hyphens, all lower case');
  const config = readConfig();
  const compiled = compiledProfile(config, profile);
  // Before a single file is read.
  assertInForce(compiled, request.recipient ?? project, Date.now());
  const settings: JobSettings = {
    config: wallConfig(config),
    profile: compiled.file,
    project,
    recipient: request.recipient,
    to,
    oneTimeRoot: oneTimeRoot(),
    startedAtMs: to === undefined ? Date.now() : timeOf(to),
  };
  const threads =
    request.threads ?? Math.min(availableParallelism(), Math.ceil(request.files.length / FILES_PER_THREAD));
  const reports: FileReport[] = [];
  const waiting = new Map<string, number[]>();
  const take = (index: number, outcome: FileOutcome): void => {
    const { waitsFor } = outcome;
    if (waitsFor !== undefined) {
      waiting.set(waitsFor, [...(waiting.get(waitsFor) ?? []), index]);
      return;
    }
    if (to === undefined) showDryRun(index + 1, outcome, request.json);
    const { changes: _changes, ...rest } = outcome;
    reports.push({ file: index + 1, ...rest });
  };
  // A dry run is read from the top.
  if (threads <= 1 || to === undefined) await runHere(settings, request.files, take);
  else await runThreads(settings, request.files, threads, take);
  if (waiting.size > 0) await runSeries(settings, request.files, [...waiting.values()], take);
  reports.sort((a, b) => a.file - b.file);
  return to === undefined
    ? endDryRun(reports)
    : await writeReport(to, { name: profile, profile: compiled, project, config: settings.config }, reports);
}

/** Now, as the folder's file system tells it: its files are compared with it. */
function timeOf(folder: string): number {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${randomUUID()}.part`);
  writeFileSync(path, '');
  try {
    return statSync(path).mtimeMs;
  } finally {
    rmSync(path, { force: true });
  }
}

/** @throws Refusal BadRequest when there is no such profile, BadConfiguration when it makes no sense */
function compiledProfile({ profiles }: Config, name: string): CompiledProfile {
  const source = profiles.get(name);
  if (source === undefined)
    throw new Refusal('BadRequest', `there is no such profile; there are: ${[...profiles.keys()].join(', ')}`);
  return compileSource(name, source);
}

function wallConfig({ dataFolder, crosswalkKey, pipelines, modelsFolder, deviceRules }: Config): WallConfig {
  return { dataFolder, crosswalkKey, pipelines, modelsFolder, deviceRules };
}

type Take = (index: number, outcome: FileOutcome) => void;

async function runHere(settings: JobSettings, files: readonly string[], take: Take): Promise<void> {
  const job = await openJob(settings);
  try {
    const batch = settings.to === undefined ? 1 : BATCH;
    for (let from = 0; from < files.length; from += batch) {
      const outcomes = await job.run(files.slice(from, from + batch));
      for (const [at, outcome] of outcomes.entries()) take(from + at, outcome);
    }
  } finally {
    await job.close();
  }
}

/** Series whose face is taken out: each as a whole, after everything else. */
async function runSeries(
  settings: JobSettings,
  files: readonly string[],
  series: readonly (readonly number[])[],
  take: Take,
): Promise<void> {
  const job = await openJob(settings);
  try {
    for (const unsorted of series) {
      const indexes = [...unsorted].sort((a, b) => a - b);
      const outcomes = await job.runSeries(indexes.map((index) => files[index] ?? ''));
      for (const [at, outcome] of outcomes.entries()) take(indexes[at] ?? 0, outcome);
    }
  } finally {
    await job.close();
  }
}

async function runThreads(settings: JobSettings, files: readonly string[], threads: number, take: Take): Promise<void> {
  const asks: Ask[] = files.map((file, index) => ({ index, file }));
  let next = 0;
  const workers: Worker[] = [];
  const runOne = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL('deidentify-worker.ts', import.meta.url), { workerData: settings });
      workers.push(worker);
      worker.on('error', reject);
      worker.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`a thread ended with ${code}`))));
      worker.on('message', (outcomes: readonly { index: number; outcome: FileOutcome }[]) => {
        for (const { index, outcome } of outcomes) take(index, outcome);
        const batch = asks.slice(next, next + BATCH);
        next += batch.length;
        worker.postMessage(batch.length === 0 ? 'end' : batch);
      });
    });
  try {
    await Promise.all(Array.from({ length: threads }, runOne));
  } finally {
    for (const worker of workers) await worker.terminate();
  }
}

function showDryRun(file: number, { changes = [], reason, found }: FileOutcome, json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify({ file, reason, found, changes })}\n`);
    return;
  }
  process.stdout.write(`file ${file}${reason === undefined ? '' : `: ${reason}, ${found ?? ''}`}\n`);
  for (const change of changes) process.stdout.write(`${changeLine(change)}\n`);
}

function endDryRun(reports: readonly FileReport[]): number {
  const refused = reports.filter(({ reason }) => reason !== undefined).length;
  process.stderr.write(
    `dry run: ${reports.length - refused} of ${reports.length} objects would be de-identified; nothing was written\n`,
  );
  return refused === 0 ? 0 : 1;
}

async function writeReport(
  to: string,
  asked: {
    readonly name: string;
    readonly profile: CompiledProfile;
    readonly project: string;
    readonly config: WallConfig;
  },
  files: readonly FileReport[],
): Promise<number> {
  const written = files.flatMap(({ written: path, counts, lost = [], pixels }) =>
    path === undefined || counts === undefined ? [] : [{ written: path, counts, lost, pixels }],
  );
  const studies = await verifyFiles(to, written, asked);
  const withheld = studies.filter(({ verdict }) => verdict === 'QUARANTINE');
  for (const study of withheld) withholdFiles(to, study);
  const report = {
    profile: asked.name,
    project: asked.project,
    objects: files.length,
    written: written.length,
    refused: files.length - written.length,
    withheld: withheld.map(({ studyInstanceUID }) => studyInstanceUID),
    totals: sumCounts(written.map(({ counts }) => counts)),
    studies,
    // What was lost stands with the studies: which file of a series told of it is a matter of threads.
    files: files.map(({ lost: _lost, ...file }) => file),
  };
  await mkdir(to, { recursive: true });
  await writeFile(join(to, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  await writeFile(join(to, 'report.txt'), readable(report, files));
  const held = withheld.length === 0 ? '' : `; ${withheld.length} of ${studies.length} studies withheld`;
  process.stdout.write(
    `${written.length} of ${files.length} objects de-identified${held}; report.json and report.txt tell of each\n`,
  );
  return written.length === files.length && withheld.length === 0 ? 0 : 1;
}

interface Summary {
  readonly profile: string;
  readonly project: string;
  readonly objects: number;
  readonly written: number;
  readonly studies: readonly Verification[];
}

function readable({ profile, project, objects, written, studies }: Summary, files: readonly FileReport[]): string {
  const refused = files.filter(({ reason }) => reason !== undefined);
  return [
    `${written} of ${objects} objects de-identified by ${profile} for ${project}\n`,
    ...refused.map(({ file, reason, found }) => `file ${file}: ${reason ?? ''}, ${found ?? ''}\n`),
    ...studies.map((study) => `\n${formatVerification(study)}`),
  ].join('');
}
