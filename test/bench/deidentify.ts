/**
 * De-identification by itself: time of one CT in memory, a folder by the command in threads, memory over many objects and over ones of a
 * gigabyte, native and encapsulated, by the engine and through a gateway that looks for text in every frame (large-cine.ts); beside
 * `dcmodify` (one process, a handful of attributes) and Orthanc's anonymize on the same files.
 *   npm run bench -- --only deidentify [--count N] [--many N] [--rounds N] [--cine MEGABYTES]
 * or node test/bench/deidentify.ts. Run it on an otherwise idle machine.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, readdirSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parse } from 'yaml';
import { openDatabase } from '../../src/database.ts';
import { openWall, type Wall } from '../../src/deidentify/wall.ts';
import { deidentify } from '../../src/deidentify/deidentify.ts';
import {
  compileProfile,
  type CompiledProfile,
  type PrivateCreators,
  type ProfileFile,
} from '../../src/deidentify/profile.ts';
import { readObject, receiveObject } from '../../src/dicom/part10.ts';
import { writeHeader, openSink, sinkBytes } from '../../src/dicom/writer.ts';
import { orthancMissing, startOrthanc } from '../peers/orthanc.ts';
import { bytesOf, EXPLICIT_LE, openCtMaker } from './ct.ts';
import { measure } from './process-tree.ts';

const PROJECT = join(import.meta.dirname, '..', '..');

/** Every option but pixels and faces; of the objects' institution an issuer's name is a part, which may not stay. */
function allOptions(): CompiledProfile {
  const read = (name: string): unknown => parse(readFileSync(join(PROJECT, 'config', name), 'utf8'));
  const { creators } = read('safe-private.yaml') as { creators: PrivateCreators };
  const file = read('profiles/research-longitudinal.yaml') as ProfileFile;
  return compileProfile({
    ...file,
    private: { mode: 'safe-list', list: 'safe-private.yaml', creators },
  });
}

/** What the crosswalk is to remember is written for as many objects at once as by a thread of the command. */
const BATCH = 32;

interface Batch {
  readonly wall: Wall;
  readonly profile: CompiledProfile;
  waiting: (() => boolean)[];
}

async function pass(batch: Batch, bytes: Buffer): Promise<void> {
  const { wall, profile } = batch;
  const result = await deidentify(wall, await readObject(bytes), { project: 'bench', profile });
  for await (const _chunk of result.object.body);
  batch.waiting.push(result.remember);
  if (batch.waiting.length === BATCH) write(batch);
}

function write(batch: Batch): void {
  const { waiting } = batch;
  batch.waiting = [];
  batch.wall.database.transaction(() => waiting.forEach((remember) => remember()));
}

function say(name: string, text: string): void {
  process.stdout.write(`${name.padEnd(34)} ${text}\n`);
}

const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MB`;

/** Objects made at a time: what has been through is not held, so that memory is what de-identification takes. */
const PIECE = 100;

async function oneByOne(folder: string, count: number, profile: CompiledProfile): Promise<void> {
  const database = openDatabase(join(folder, 'one.sqlite'));
  const wall = openWall(database, { keyFile: join(folder, 'one.key') });
  const maker = openCtMaker();
  const batch: Batch = { wall, profile, waiting: [] };
  for (const object of maker.study(2 * PIECE)) await pass(batch, bytesOf(object));
  const times: number[] = [];
  let cpuMs = 0;
  for (let done = 0; done < count; done += PIECE) {
    const objects = maker.study(Math.min(PIECE, count - done)).map(bytesOf);
    const cpu = process.cpuUsage();
    for (const bytes of objects) {
      const begin = performance.now();
      await pass(batch, bytes);
      times.push(performance.now() - begin);
    }
    const used = process.cpuUsage(cpu);
    cpuMs += (used.user + used.system) / 1000;
  }
  write(batch);
  times.sort((a, b) => a - b);
  const at = (share: number): string => (times[Math.floor(times.length * share)] ?? 0).toFixed(3);
  say(
    'one CT in memory, all options',
    `median ${at(0.5)} ms, p95 ${at(0.95)} ms, CPU ${(cpuMs / count).toFixed(3)} ms each`,
  );
  database.close();
}

/** Resident memory after each tenth of the way. */
async function many(folder: string, count: number, profile: CompiledProfile): Promise<void> {
  const database = openDatabase(join(folder, 'many.sqlite'));
  const wall = openWall(database, { keyFile: join(folder, 'many.key') });
  const maker = openCtMaker();
  const resident: number[] = [];
  const batch: Batch = { wall, profile, waiting: [] };
  for (let part = 0; part < 10; part++) {
    for (let done = 0; done < count / 10; done += PIECE)
      for (const object of maker.study(PIECE)) await pass(batch, bytesOf(object));
    globalThis.gc?.();
    resident.push(process.memoryUsage().rss);
  }
  write(batch);
  say(`memory over ${count} objects`, resident.map(megabytes).join(', '));
  database.close();
}

/** A multi-frame object with this much pixel data, made as it is asked for; encapsulated it has the segments of a lossless JPEG and nothing to decode. */
async function* gigabyte(bytes: number, form: 'native' | 'encapsulated'): AsyncGenerator<Buffer> {
  const native = form === 'native';
  const [object] = openCtMaker(512, 1, native ? EXPLICIT_LE : JPEG_LOSSLESS).study(1);
  if (object === undefined) return;
  const sink = openSink();
  writeHeader(sink, 0x7fe00010, native ? 'OW' : 'OB', native ? bytes : UNDEFINED_LENGTH);
  yield Buffer.concat([object.head.subarray(0, object.head.length - 12), Buffer.from(sinkBytes(sink))]);
  const frame = Buffer.alloc(2 ** 20, 7);
  if (native) {
    for (let sent = 0; sent < bytes; sent += frame.length) yield frame;
    return;
  }
  JPEG_BEGIN.copy(frame);
  JPEG_END.copy(frame, frame.length - JPEG_END.length);
  yield item(0);
  for (let sent = 0; sent < bytes; sent += frame.length) {
    yield item(frame.length);
    yield frame;
  }
  yield Buffer.from('feffdde000000000', 'hex');
}

const JPEG_LOSSLESS = '1.2.840.10008.1.2.4.70';
/** Start of image, start of scan. */
const JPEG_BEGIN = Buffer.from('ffd8ffda0002', 'hex');
const JPEG_END = Buffer.from('ffd9', 'hex');
const UNDEFINED_LENGTH = 0xffffffff;

function item(length: number): Buffer {
  const header = Buffer.from('feff00e000000000', 'hex');
  header.writeUInt32LE(length, 4);
  return header;
}

async function oneLarge(folder: string, form: 'native' | 'encapsulated', profile: CompiledProfile): Promise<void> {
  const database = openDatabase(join(folder, `${form}.sqlite`));
  const wall = openWall(database, { keyFile: join(folder, `${form}.key`) });
  const before = process.memoryUsage().rss;
  let peak = before;
  let length = 0;
  const begin = performance.now();
  const source = await receiveObject(gigabyte(2 ** 30, form));
  const { object } = await deidentify(wall, source, { project: 'bench', profile });
  for await (const chunk of object.body) {
    length += chunk.length;
    peak = Math.max(peak, process.memoryUsage().rss);
  }
  say(
    `one object of 1 GB, ${form}`,
    `${((performance.now() - begin) / 1000).toFixed(1)} s, ${megabytes(length)} out, resident +${megabytes(peak - before)}`,
  );
  database.close();
}

/** A cine of this size through the door of a gateway of its own, text looked for in every frame. */
function largeCine(size: string, form: 'native' | 'encapsulated'): void {
  const args = ['test/bench/large-cine.ts', '--megabytes', size, ...(form === 'native' ? [] : ['--encapsulated'])];
  const run = spawnSync(process.execPath, args, { cwd: PROJECT, encoding: 'utf8' });
  if (run.status !== 0) throw new Error(run.stderr.slice(-1000));
  say(`a cine of ${size} MB by STOW, ${form}`, run.stdout.trim().split('\n').slice(-2).join('; '));
}

/** One way of doing a folder: what it cost. */
interface Cost {
  readonly name: string;
  readonly instances: number;
  readonly wallMs: number;
  /** User and system time of all its processes. */
  readonly cpuMs: number;
}

function sayCost({ name, instances, wallMs, cpuMs }: Cost, ours?: Cost): void {
  const perItem = cpuMs / instances;
  const ratio = ours === undefined ? '' : `, ${(perItem / (ours.cpuMs / ours.instances)).toFixed(2)}x our CPU`;
  const rate = `${((instances * 1000) / wallMs).toFixed(0)} instances/s`;
  say(name, `${rate} (${(wallMs / 1000).toFixed(1)} s), CPU ${perItem.toFixed(2)} ms each${ratio}`);
}

/** @throws when the command fails; its CPU as the shell counts it, children included */
function timed(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): [number, number] {
  const begin = performance.now();
  const run = spawnSync('bash', ['-c', `TIMEFORMAT='cpu %U %S'; time "$0" "$@"`, command, ...args], {
    cwd: PROJECT,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  const used = /^cpu ([\d.]+) ([\d.]+)$/m.exec(run.stderr);
  if (run.status !== 0 || used === null) throw new Error(run.stderr.slice(-1000) || run.stdout.slice(-1000));
  return [performance.now() - begin, (Number(used[1]) + Number(used[2])) * 1000];
}

/** As `npm run isthmus` starts it. */
const NPM_RUN_ISTHMUS = ((): string[] => {
  const { scripts } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8')) as {
    scripts: { isthmus: string };
  };
  return scripts.isthmus.split(' ').filter((word) => word.startsWith('--'));
})();

function byCommand(folder: string, input: string, count: number): Cost {
  const out = join(folder, 'ours');
  rmSync(out, { recursive: true, force: true });
  const [wallMs, cpu] = timed(
    process.execPath,
    [...NPM_RUN_ISTHMUS, 'src/main.ts', 'deidentify', input, out, '--profile', 'research-longitudinal'],
    { ISTHMUS_DATA: join(folder, 'data') },
  );
  return {
    name: `isthmus deidentify, ${availableParallelism()} threads, start, crosswalk and verification included`,
    instances: count,
    wallMs,
    cpuMs: cpu,
  };
}

/** A fraction of the work: eight attributes and a new instance UID, no nesting, nothing private, in place. */
function byDcmodify(folder: string, input: string, count: number): Cost | undefined {
  if (spawnSync('dcmodify', ['--version']).error !== undefined) return undefined;
  const copy = join(folder, 'dcmodify');
  rmSync(copy, { recursive: true, force: true });
  cpSync(input, copy, { recursive: true });
  const files = readdirSync(copy).map((name) => join(copy, name));
  const edits = [
    '0010,0010',
    '0010,0020',
    '0010,0030',
    '0008,0050',
    '0008,0090',
    '0008,0020',
    '0008,0030',
    '0020,0010',
  ];
  const [wallMs, cpu] = timed('dcmodify', [
    ...['-nb', '-gin', '-ie', '-imt'],
    ...edits.flatMap((tag) => ['-m', `${tag}=X`]),
    ...files,
  ]);
  return { name: 'dcmodify, one process, 8 attributes', instances: count, wallMs, cpuMs: cpu };
}

/** As many requests at a time as there are cores; what was uploaded first is not counted. */
async function byOrthanc(folder: string, input: string): Promise<Cost | undefined> {
  const missing = orthancMissing();
  if (missing !== undefined) {
    say('Orthanc', missing);
    return undefined;
  }
  const orthanc = await startOrthanc(join(folder, `orthanc-${Date.now()}`));
  try {
    const ids: string[] = [];
    for (const name of readdirSync(input)) {
      const answer = await fetch(`${orthanc.base}/instances`, {
        method: 'POST',
        body: readFileSync(join(input, name)),
      });
      ids.push(((await answer.json()) as { ID: string }).ID);
    }
    const queue = [...ids];
    const { wallMs, cpuMs } = await measure(orthanc.pid, async () => {
      await Promise.all(
        Array.from({ length: availableParallelism() }, async () => {
          for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
            const answer = await fetch(`${orthanc.base}/instances/${id}/anonymize`, { method: 'POST', body: '{}' });
            await answer.arrayBuffer();
          }
        }),
      );
    });
    return { name: 'Orthanc /instances/{id}/anonymize', instances: ids.length, wallMs, cpuMs };
  } finally {
    await orthanc.stop();
  }
}

/** Round by round, so that what else the machine does falls on all of them. */
async function byFolder(folder: string, count: number, rounds: number): Promise<void> {
  const input = join(folder, 'in');
  mkdirSync(input);
  for (const [index, object] of openCtMaker().study(count).entries())
    writeFileSync(join(input, `${String(index).padStart(6, '0')}.dcm`), bytesOf(object));
  for (let round = 0; round < rounds; round++) {
    const ours = byCommand(folder, input, count);
    sayCost(ours);
    const dcmodify = byDcmodify(folder, input, count);
    if (dcmodify === undefined) say('dcmodify', 'not installed (Debian package dcmtk)');
    else sayCost(dcmodify, ours);
    const orthanc = await byOrthanc(folder, input);
    if (orthanc !== undefined) sayCost(orthanc, ours);
  }
}

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000' },
    many: { type: 'string', default: '10000' },
    rounds: { type: 'string', default: '2' },
    cine: { type: 'string', default: '1024' },
    only: { type: 'string' },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'isthmus-bench-deidentify-'));
try {
  const count = Number(values.count);
  const profile = allOptions();
  say('machine', `${cpus()[0]?.model ?? ''}, ${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(1) ?? ''}`);
  await oneByOne(folder, count, profile);
  await many(folder, Number(values.many), profile);
  for (const form of ['native', 'encapsulated'] as const) await oneLarge(folder, form, profile);
  for (const form of ['native', 'encapsulated'] as const) if (Number(values.cine) > 0) largeCine(values.cine, form);
  await byFolder(folder, count, Number(values.rounds));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
