/** `isthmus deidentify`: every object of a folder, in threads; or a dry run that shows what would become of each attribute. */
import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readWallConfig, type WallConfig } from '../config.ts';
import { assertInForce } from '../deidentify/admit.ts';
import { changeLine } from '../deidentify/dry-run.ts';
import { oneTimeRoot } from '../deidentify/one-time.ts';
import type { CompiledProfile } from '../deidentify/profile.ts';
import { formatVerification } from '../deidentify/verification-text.ts';
import type { Verification } from '../deidentify/verify.ts';
import { Refusal } from '../dicom/refusal.ts';
import { compileSource } from '../gateway/wall.ts';
import { startThread, type FurtherThread } from './further-thread.ts';
import { openJob, type FileOutcome, type JobSettings } from './deidentify-job.ts';
import { endShare, runShare, type BatchDone, type Share } from './deidentify-share.ts';
import { filesOf } from './folder.ts';
import { sumCounts, verifyFiles, withholdFiles } from './verify-folder.ts';

interface FolderRequest {
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

/** @returns the exit status; undefined when it was called wrongly. @throws Refusal */
export async function deidentifyCommand(args: string[]): Promise<number | undefined> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      profile: { type: 'string' },
      project: { type: 'string', default: 'files' },
      recipient: { type: 'string' },
      threads: { type: 'string' },
      'dry-run': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const [from, to] = positionals;
  const { profile, project, recipient, threads } = values;
  const dryRun = values['dry-run'];
  const wrong =
    from === undefined ||
    profile === undefined ||
    (to === undefined && !dryRun) ||
    (values.json && !dryRun) ||
    (threads !== undefined && !/^[1-9]\d?$/.test(threads));
  if (wrong) return undefined;
  return await deidentifyFiles({
    files: await filesOf(from),
    profile,
    project,
    recipient,
    to: dryRun ? undefined : to,
    threads: threads === undefined ? undefined : Number(threads),
    json: values.json,
  });
}

async function deidentifyFiles(request: FolderRequest): Promise<number> {
  const { profile, project, to } = request;
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(project))
    throw new Refusal('BadRequest', 'a project is named by a letter, then letters, digits and hyphens, all lower case');
  const { config, profile: source } = readWallConfig(profile);
  const compiled = compileSource(profile, source);
  // Before a single file is read.
  assertInForce(compiled, request.recipient ?? project, Date.now());
  const settings: JobSettings = {
    config,
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
  const run = startRun(settings, request.files, threads, take);
  try {
    await run.whole;
    if (waiting.size > 0) await runSeries(settings, request.files, [...waiting.values()], take);
    reports.sort((a, b) => a.file - b.file);
    if (to === undefined) return endDryRun(reports);
    return await writeReport(to, { name: profile, profile: compiled, project, config, further: run.further }, reports);
  } finally {
    for (const thread of run.further) await thread.end();
  }
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

type Take = (index: number, outcome: FileOutcome) => void;

interface Run {
  /** Of all files, but for series that wait. */
  readonly whole: Promise<void>;
  readonly further: readonly FurtherThread[];
}

/** This thread does as the others do; a dry run, which is read from the top, is its own. */
function startRun(settings: JobSettings, files: readonly string[], threads: number, take: Take): Run {
  const share: Share = {
    settings,
    files,
    batch: settings.to === undefined ? 1 : BATCH,
    next: new Int32Array(new SharedArrayBuffer(4)),
  };
  const takeAll = ({ from, outcomes }: BatchDone): void => {
    for (const [at, outcome] of outcomes.entries()) take(from + at, outcome);
  };
  const others = settings.to === undefined ? 0 : threads - 1;
  const further = Array.from({ length: others }, () => startThread(share, takeAll));
  return { whole: all(share, takeAll, further), further };
}

async function all(share: Share, takeAll: (done: BatchDone) => void, further: readonly FurtherThread[]): Promise<void> {
  const own = runShare(share, takeAll);
  try {
    await Promise.all([own, ...further.map(({ shared }) => shared)]);
  } finally {
    endShare(share);
    await own.catch(() => undefined);
  }
}

const BATCH = 32;

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
    readonly further: readonly FurtherThread[];
  },
  files: readonly FileReport[],
): Promise<number> {
  const written = files.flatMap(({ written: path, counts, lost = [], pixels }) =>
    path === undefined || counts === undefined ? [] : [{ written: path, counts, lost, pixels }],
  );
  const studies = await verifyFiles(to, written, asked, asked.further);
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
