/** One file after another through the wall: what a thread of `isthmus deidentify` does, and the command itself where one thread is enough. */
import {
  closeSync,
  createReadStream,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
  writevSync,
  type ReadStream,
} from 'node:fs';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';
import { closeCodecs, openCodecs } from '../codecs/pool.ts';
import type { WallConfig } from '../config.ts';
import type { Wall } from '../deidentify/wall.ts';
import { awaitsDefacing } from '../deidentify/admit.ts';
import { deidentify, type DeidentifySettings } from '../deidentify/deidentify.ts';
import { describeChange, type Change } from '../deidentify/dry-run.ts';
import {
  faceSource,
  followPlan,
  planSeries,
  type Defaced,
  type FaceSource,
  type Follower,
} from '../deidentify/faces/defacer.ts';
import type { FaceTools } from '../deidentify/faces/pixels.ts';
import { openOneTimeKeys } from '../deidentify/one-time.ts';
import { compileProfile, type CompiledProfile, type ProfileFile } from '../deidentify/profile.ts';
import { lostRequired, type Lost } from '../deidentify/required.ts';
import type { Counts } from '../deidentify/rewriting.ts';
import { openShadow } from '../deidentify/shadow.ts';
import { asciiValue } from '../dicom/data-set.ts';
import type { Head, Identified } from '../dicom/object.ts';
import { readHead, readObject, receiveObject } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { openCrosswalk, openDetector, openFaceTools, openPixelTools } from '../gateway/wall.ts';
import { closePool } from '../pipelines/pool.ts';

/** What every thread of a batch is told. */
export interface JobSettings {
  /** Read once, by the command: schemas and files cost a thread more than a hundred objects do. */
  readonly config: WallConfig;
  readonly profile: ProfileFile;
  readonly project: string;
  readonly recipient: string | undefined;
  /** undefined: dry run. */
  readonly to: string | undefined;
  /** Of a profile with `keys: once`: one for all threads, forgotten with the process. */
  readonly oneTimeRoot: Uint8Array;
  /** When the run began, by the clock of the file system it writes to. */
  readonly startedAtMs: number;
}

export interface FileOutcome {
  /** Path in the output folder. */
  readonly written?: string;
  readonly reason?: string;
  readonly found?: string;
  readonly counts?: Counts;
  /** Of pixels that were looked at: boxes blanked for text, and whether anything changed. */
  readonly pixels?: { readonly boxes: number; readonly changed: boolean };
  /** Required attributes that it cost the first instance of a series. */
  readonly lost?: readonly Lost[];
  /** Of a dry run. */
  readonly changes?: readonly Change[];
  /** The series, as its files name it, that has to be there as a whole before its face can be taken out. Stands in no report. */
  readonly waitsFor?: string;
}

export interface Job {
  /** Each file by itself; what the crosswalk has to remember of all of them is written at once. */
  run(files: readonly string[]): Promise<FileOutcome[]>;
  /** All files of a series that waits for its face to be taken out. */
  runSeries(files: readonly string[]): Promise<FileOutcome[]>;
  close(): Promise<void>;
}

/** @throws Refusal BadConfiguration */
export async function openJob(job: JobSettings): Promise<Job> {
  const { config } = job;
  const profile = compileProfile(job.profile);
  const { database, wall } = openCrosswalk(config);
  const { pixels, faceTools, close } = await openPixels(config, profile);
  const settings: DeidentifySettings = {
    project: job.project,
    profile,
    pixels,
    oneTimeKeys: openOneTimeKeys(Buffer.from(job.oneTimeRoot)),
    ...(job.recipient === undefined ? {} : { recipient: job.recipient }),
  };
  const { to } = job;
  if (to !== undefined) {
    const { startedAtMs } = job;
    const output = { wall, to, settings, startedAtMs, folders: new Set<string>(), buffers: [], parts: 0 };
    return {
      run: (files) => writeAll(output, files, (file, index) => writePart(output, file, index)),
      runSeries: (files) =>
        withFacesOut(files, faceTools, (work) => writeAll(output, files, (file) => writeDefaced(output, file, work))),
      close: () => close().finally(() => database.close()),
    };
  }
  const shadow = openShadow(wall, job.project);
  database.close();
  return {
    run: async (files) => await inTurn(files, (file) => tryOut(shadow.wall, file, settings)),
    runSeries: (files) =>
      withFacesOut(files, faceTools, (work) => inTurn(files, (file) => tryOut(shadow.wall, file, settings, work))),
    close: () => close().finally(() => shadow.database.close()),
  };
}

/** The detector for profiles that clean pixels alone: its models' cards cost a thread more than fifty objects. Its own threads start with the first image that is looked at. */
async function openPixels(
  config: WallConfig,
  { file }: CompiledProfile,
): Promise<Pick<DeidentifySettings, 'pixels'> & { faceTools: FaceTools; close: () => Promise<void> }> {
  const codecs = openCodecs();
  const detector = typeof file.pixels === 'object' ? await openDetector(config) : undefined;
  return {
    pixels: detector && openPixelTools(config, codecs, detector),
    faceTools: openFaceTools(config, codecs),
    close: async () => {
      await closeCodecs(codecs);
      if (detector !== undefined) await closePool(detector);
    },
  };
}

const READ_CHUNK_BYTES = 2 ** 20;

async function inTurn<Result>(
  files: readonly string[],
  work: (file: string, index: number) => Promise<Result>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (const [index, file] of files.entries()) results.push(await work(file, index));
  return results;
}

/** A file is there under its name only when it is complete and the crosswalk leads back from it. */
async function writeAll(
  output: Output,
  files: readonly string[],
  write: (file: string, index: number) => Promise<Part>,
): Promise<FileOutcome[]> {
  const parts = await inTurn(files, write);
  const outcomes = output.wall.database.transaction(() => parts.map(remembered));
  return outcomes.map((outcome, index) => {
    const part = parts[index]?.part;
    if (part === undefined) return outcome;
    try {
      const { written } = outcome;
      if (written === undefined || putInPlace(part, join(output.to, written), output.startedAtMs)) return outcome;
      return {
        reason: 'Duplicate',
        found: 'another file of this run has the SOP Instance UID (0008,0018) with other content; the first is kept',
      };
    } finally {
      rmSync(part, { force: true });
    }
  });
}

/**
 * What an earlier run left under the name is replaced; what this run wrote is not.
 * @returns whether the part's content is there
 */
function putInPlace(part: string, path: string, startedAtMs: number): boolean {
  for (;;) {
    try {
      linkSync(part, path);
      return true;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EEXIST' && !NO_LINKS.has(code ?? '')) throw error;
      const there = statSync(path, { throwIfNoEntry: false });
      if (there !== undefined && there.mtimeMs >= startedAtMs) return readFileSync(path).equals(readFileSync(part));
      if (code === 'EEXIST') rmSync(path, { force: true });
      else {
        renameSync(part, path);
        return true;
      }
    }
  }
}

/** Of file systems without hard links. */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EXDEV']);

/** Somebody whose erasure began meanwhile is not written; the others of the batch are. */
function remembered({ outcome, remember }: Part): FileOutcome {
  try {
    remember?.();
    return outcome;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { reason: error.reason, found: error.message };
  }
}

interface Output {
  readonly wall: Wall;
  readonly to: string;
  readonly settings: DeidentifySettings;
  readonly startedAtMs: number;
  readonly folders: Set<string>;
  /** Memory for small files, one for each place of a batch: what the crosswalk is to remember is read from it at the batch's end. */
  readonly buffers: Buffer[];
  parts: number;
}

interface Part {
  readonly outcome: FileOutcome;
  readonly remember?: () => void;
  readonly part?: string;
}

async function writePart(output: Output, name: string, place: number): Promise<Part> {
  const source = openSource(output, name, place);
  try {
    const original = await source.object();
    if (awaitsDefacing(original, output.settings.profile)) return { outcome: { waitsFor: seriesNamed(original) } };
    return await writeClean(output, original, output.settings);
  } catch (error) {
    return refusedPart(error);
  } finally {
    source.close();
  }
}

async function writeDefaced(output: Output, name: string, deface: Deface): Promise<Part> {
  try {
    const { object, pixels } = await deface(name);
    return await writeClean(output, object, { ...output.settings, defaced: pixels });
  } catch (error) {
    return refusedPart(error);
  }
}

function refusedPart(error: unknown): Part {
  if (!(error instanceof Refusal)) throw error;
  return { outcome: { reason: error.reason, found: error.message } };
}

function seriesNamed({ head }: Identified): string {
  return asciiValue(head.dataSet, 0x0020000e) ?? '';
}

type Deface = (file: string) => Promise<Defaced>;

/** Finds the face in all files of a series together; where that fails each of them is told why. */
async function withFacesOut(
  files: readonly string[],
  tools: FaceTools,
  work: (deface: Deface) => Promise<FileOutcome[]>,
): Promise<FileOutcome[]> {
  let follower: Follower;
  let sources: Map<string, SeriesFile>;
  try {
    sources = await faceSources(files);
    const { plan } = await planSeries(distinct(sources), tools);
    follower = await followPlan(plan, tools);
  } catch (error) {
    const { outcome } = refusedPart(error);
    return files.map(() => outcome);
  }
  try {
    return await work((file) => {
      const source = sources.get(file);
      if (source === undefined) throw new Error('a file of another series');
      return follower.deface(source);
    });
  } finally {
    await follower.end();
  }
}

type SeriesFile = FaceSource & { readonly sopInstanceUID: string };

async function faceSources(files: readonly string[]): Promise<Map<string, SeriesFile>> {
  const sources = new Map<string, SeriesFile>();
  for (const file of files) {
    const head = await headOf(file);
    const sopInstanceUID = asciiValue(head.dataSet, 0x00080018) ?? '';
    sources.set(file, { ...faceSource(head, () => receiveObject(readStream(file))), sopInstanceUID });
  }
  return sources;
}

/** One file of each instance: several may hold one and the same. */
function distinct(sources: ReadonlyMap<string, SeriesFile>): SeriesFile[] {
  return [...Map.groupBy(sources.values(), ({ sopInstanceUID }) => sopInstanceUID).values()].flatMap(
    (same) => same[0] ?? [],
  );
}

async function headOf(file: string): Promise<Head> {
  const stream = readStream(file);
  try {
    return (await receiveObject(stream)).head;
  } finally {
    stream.destroy();
  }
}

function readStream(file: string): ReadStream {
  return createReadStream(file, { highWaterMark: READ_CHUNK_BYTES });
}

async function writeClean(output: Output, original: Identified, settings: DeidentifySettings): Promise<Part> {
  const { wall, to } = output;
  let part: string | undefined;
  try {
    const { object, remember, counts, pixels } = await deidentify(wall, original, settings);
    const folder = join(object.studyInstanceUID, object.seriesInstanceUID);
    const written = join(folder, `${object.sopInstanceUID}.dcm`);
    const isFirst = !output.folders.has(folder);
    if (isFirst) mkdirSync(join(to, folder), { recursive: true });
    output.folders.add(folder);
    const lost = isFirst
      ? lostRequired(object.sopClassUID, original.head.dataSet, readHead(object.head).head.dataSet)
      : [];
    // Two files of one folder may hold one and the same instance.
    part = join(to, `${written}.${threadId}-${++output.parts}.part`);
    await writeObject(part, object.head, object.body);
    const told = { ...(pixels === undefined ? {} : { pixels }), ...(lost.length === 0 ? {} : { lost }) };
    return { outcome: { written, counts, ...told }, remember, part };
  } catch (error) {
    if (part !== undefined) rmSync(part, { force: true });
    throw error;
  }
}

interface Source {
  object(): Promise<Identified>;
  close(): void;
}

/** Small files whole and at once, large ones as a stream: no large object is ever in memory as a whole. */
function openSource(output: Output, name: string, place: number): Source {
  const { size } = statSync(name);
  if (size > SMALL_FILE_BYTES) {
    const stream = readStream(name);
    return { object: () => receiveObject(stream), close: () => stream.destroy() };
  }
  let buffer = output.buffers[place];
  if (buffer === undefined || buffer.length < size)
    output.buffers[place] = buffer = Buffer.allocUnsafeSlow(Math.max(size, LEAST_BUFFER_BYTES));
  const file = openSync(name, 'r');
  try {
    let length = 0;
    for (let read = -1; read !== 0 && length < size; length += read)
      read = readSync(file, buffer, length, size - length, null);
    const bytes = buffer.subarray(0, length);
    return { object: () => readObject(bytes), close: () => undefined };
  } finally {
    closeSync(file);
  }
}

const SMALL_FILE_BYTES = 2 ** 20;
const LEAST_BUFFER_BYTES = 640 * 1024;

async function writeObject(path: string, head: Buffer, body: AsyncIterable<Buffer>): Promise<void> {
  const file = openSync(path, 'w', 0o600);
  try {
    // The first piece goes with the head: most objects are written by one call.
    let pending: Buffer[] = [head];
    for await (const chunk of body) {
      pending.push(chunk);
      if (pending.length === 2) pending = writeWhole(file, pending);
    }
    if (pending.length > 0) writeWhole(file, pending);
  } finally {
    closeSync(file);
  }
}

/** What the system takes in pieces is written in pieces. */
function writeWhole(file: number, pieces: readonly Buffer[]): Buffer[] {
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  let written = writevSync(file, pieces);
  if (written === length) return [];
  const rest = Buffer.concat(pieces);
  while (written < length) written += writeSync(file, rest, written);
  return [];
}

async function tryOut(wall: Wall, name: string, settings: DeidentifySettings, deface?: Deface): Promise<FileOutcome> {
  const source = readStream(name);
  const changes: Change[] = [];
  try {
    const made = deface === undefined ? undefined : await deface(name);
    const original = made?.object ?? (await receiveObject(source));
    if (made === undefined && awaitsDefacing(original, settings.profile)) return { waitsFor: seriesNamed(original) };
    const { object, counts } = await deidentify(wall, original, {
      ...settings,
      defaced: made?.pixels,
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
