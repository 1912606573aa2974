/**
 * De-identification by itself: time of one CT in memory, a folder by the command in threads, memory over many objects and over one of a
 * gigabyte; beside `dcmodify` (one process, a handful of attributes) and Orthanc's anonymize on the same files.
 *   npm run bench -- --only deidentify [--count N] [--many N]
 * or node test/bench/deidentify.ts. Run it on an otherwise idle machine.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync, readdirSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parse } from 'yaml';
import { openDatabase } from '../../src/database.ts';
import { openWall, type Wall } from '../../src/deidentify/crosswalk.ts';
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
import { bytesOf, openCtMaker } from './ct.ts';

const PROJECT = join(import.meta.dirname, '..', '..');

/** Every option but pixels and faces. */
function allOptions(): CompiledProfile {
  const read = (name: string): unknown => parse(readFileSync(join(PROJECT, 'config', name), 'utf8'));
  const { creators } = read('safe-private.yaml') as { creators: PrivateCreators };
  const file = read('profiles/research-longitudinal.yaml') as ProfileFile;
  return compileProfile({
    ...file,
    options: [...(file.options ?? []), 'retain-institution-identity'],
    private: { mode: 'safe-list', list: 'safe-private.yaml', creators },
  });
}

async function pass(wall: Wall, bytes: Buffer, profile: CompiledProfile): Promise<number> {
  const result = await deidentify(wall, await readObject(bytes), { project: 'bench', profile });
  let length = result.object.head.length;
  for await (const chunk of result.object.body) length += chunk.length;
  result.remember();
  return length;
}

function say(name: string, text: string): void {
  process.stdout.write(`${name.padEnd(34)} ${text}\n`);
}

const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MB`;

async function oneByOne(folder: string, count: number, profile: CompiledProfile): Promise<void> {
  const database = openDatabase(join(folder, 'one.sqlite'));
  const wall = openWall(database, { keyFile: join(folder, 'one.key') });
  const objects = openCtMaker().study(count).map(bytesOf);
  for (const bytes of objects.slice(0, 200)) await pass(wall, bytes, profile);
  const times: number[] = [];
  const cpu = process.cpuUsage();
  for (const bytes of objects) {
    const begin = performance.now();
    await pass(wall, bytes, profile);
    times.push(performance.now() - begin);
  }
  const used = process.cpuUsage(cpu);
  times.sort((a, b) => a - b);
  const at = (share: number): string => (times[Math.floor(times.length * share)] ?? 0).toFixed(3);
  say(
    'one CT in memory, all options',
    `median ${at(0.5)} ms, p95 ${at(0.95)} ms, CPU ${((used.user + used.system) / 1000 / count).toFixed(3)} ms each`,
  );
  database.close();
}

/** Resident memory after each tenth of the way. */
async function many(folder: string, count: number, profile: CompiledProfile): Promise<void> {
  const database = openDatabase(join(folder, 'many.sqlite'));
  const wall = openWall(database, { keyFile: join(folder, 'many.key') });
  const maker = openCtMaker();
  const resident: number[] = [];
  for (let part = 0; part < 10; part++) {
    for (let done = 0; done < count / 10; done += 100)
      for (const object of maker.study(100)) await pass(wall, bytesOf(object), profile);
    globalThis.gc?.();
    resident.push(process.memoryUsage().rss);
  }
  say(`memory over ${count} objects`, resident.map(megabytes).join(', '));
  database.close();
}

/** Frames of a multi-frame object of this many bytes, made as they are asked for. */
async function* gigabyte(bytes: number): AsyncGenerator<Buffer> {
  const [object] = openCtMaker().study(1);
  if (object === undefined) return;
  const sink = openSink();
  writeHeader(sink, 0x7fe00010, 'OW', bytes);
  yield Buffer.concat([object.head.subarray(0, object.head.length - 12), Buffer.from(sinkBytes(sink))]);
  const piece = Buffer.alloc(2 ** 20, 7);
  for (let sent = 0; sent < bytes; sent += piece.length) yield piece;
}

async function oneLarge(folder: string, profile: CompiledProfile): Promise<void> {
  const database = openDatabase(join(folder, 'large.sqlite'));
  const wall = openWall(database, { keyFile: join(folder, 'large.key') });
  const before = process.memoryUsage().rss;
  let peak = before;
  let length = 0;
  const begin = performance.now();
  const { object } = await deidentify(wall, await receiveObject(gigabyte(2 ** 30)), { project: 'bench', profile });
  for await (const chunk of object.body) {
    length += chunk.length;
    peak = Math.max(peak, process.memoryUsage().rss);
  }
  say(
    'one object of 1 GB, streamed',
    `${((performance.now() - begin) / 1000).toFixed(1)} s, ${megabytes(length)} out, resident +${megabytes(peak - before)}`,
  );
  database.close();
}

function rate(count: number, begin: number): string {
  const seconds = (performance.now() - begin) / 1000;
  return `${(count / seconds).toFixed(0)} instances/s (${seconds.toFixed(1)} s)`;
}

function byCommand(folder: string, input: string, count: number): void {
  const begin = performance.now();
  const run = spawnSync(
    process.execPath,
    ['src/main.ts', 'deidentify', input, join(folder, 'ours'), '--profile', 'research-longitudinal'],
    { cwd: PROJECT, env: { ...process.env, ISTHMUS_DATA: join(folder, 'data') }, encoding: 'utf8' },
  );
  if (run.status !== 0) throw new Error(run.stderr || run.stdout);
  say(`isthmus deidentify, ${availableParallelism()} threads`, `${rate(count, begin)}, start and crosswalk included`);
}

/** A fraction of the work: eleven attributes, no nesting, nothing private, in place. */
function byDcmodify(folder: string, input: string, count: number): void {
  const copy = join(folder, 'dcmodify');
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
  const begin = performance.now();
  const run = spawnSync(
    'dcmodify',
    ['-nb', '-gin', '-ie', '-imt', ...edits.flatMap((tag) => ['-m', `${tag}=X`]), ...files],
    { encoding: 'utf8', maxBuffer: 2 ** 28 },
  );
  if (run.error !== undefined) say('dcmodify', 'not installed (Debian package dcmtk)');
  else say('dcmodify, one process', `${rate(count, begin)}, 8 attributes and a new instance UID`);
}

async function byOrthanc(folder: string, input: string): Promise<void> {
  const missing = orthancMissing();
  if (missing !== undefined) return say('Orthanc', missing);
  const orthanc = await startOrthanc(join(folder, 'orthanc'));
  try {
    const ids: string[] = [];
    for (const name of readdirSync(input)) {
      const answer = await fetch(`${orthanc.base}/instances`, {
        method: 'POST',
        body: readFileSync(join(input, name)),
      });
      ids.push(((await answer.json()) as { ID: string }).ID);
    }
    const begin = performance.now();
    const queue = [...ids];
    // As many requests at a time as there are cores.
    await Promise.all(
      Array.from({ length: availableParallelism() }, async () => {
        for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
          const answer = await fetch(`${orthanc.base}/instances/${id}/anonymize`, { method: 'POST', body: '{}' });
          await answer.arrayBuffer();
        }
      }),
    );
    say('Orthanc /instances/{id}/anonymize', rate(ids.length, begin));
  } finally {
    await orthanc.stop();
  }
}

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '1000' },
    many: { type: 'string', default: '10000' },
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
  await oneLarge(folder, profile);
  const input = join(folder, 'in');
  mkdirSync(input);
  for (const [index, object] of openCtMaker().study(count).entries())
    writeFileSync(join(input, `${String(index).padStart(6, '0')}.dcm`), bytesOf(object));
  byCommand(folder, input, count);
  byDcmodify(folder, input, count);
  await byOrthanc(folder, input);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
