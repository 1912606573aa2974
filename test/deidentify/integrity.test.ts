/**
 * Referential integrity: CT, SEG, RTSTRUCT, RTPLAN, RTDOSE, SR, PR, KO, REG and the rest of two patients, shuffled, dealt to four processes
 * that share one crosswalk, which end midway and start again.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { isWellKnownUid } from '../../src/dicom/sop-class.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { seeded } from '../phantom/random.ts';
import { makeAnswerKey } from './answer-key/make.ts';
import type { KeyObject, KeyRow } from './answer-key/key.ts';
import { valuesOf } from './answer-key/score.ts';
import { gather, makeFile } from './support.ts';

const MAIN = new URL('../../src/main.ts', import.meta.url).pathname;
interface Output {
  readonly bytes: Buffer;
  readonly values: ReadonlyMap<string, string>;
  readonly pixelHash: string;
}

/** One process of the command on one folder; its exit status is 0 or, where something was held back, 1. */
async function run(folder: string, input: string, output: string, project: string): Promise<void> {
  const child = spawn(
    process.execPath,
    [MAIN, 'deidentify', input, output, '--profile', 'research-longitudinal', '--project', project],
    { env: { ...process.env, ISTHMUS_DATA: join(folder, 'data') }, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const errors: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
  const status = await new Promise((resolve) => child.once('exit', resolve));
  assert.ok(status === 0 || status === 1, `${String(status)}: ${Buffer.concat(errors).toString().slice(-2000)}`);
}

interface Hands {
  readonly processes: number;
  /** 2: all end after half of the files, and as many new ones take the other half. */
  readonly rounds: number;
}

/** Deals the shuffled files to processes that run at once. */
async function deal(
  folder: string,
  name: string,
  files: readonly Buffer[],
  project: string,
  { processes, rounds }: Hands,
): Promise<Map<string, Output>> {
  const random = seeded(processes * 10 + rounds);
  const shuffled = files.map((bytes) => ({ bytes, at: random.next() })).sort((a, b) => a.at - b.at);
  for (let half = 0; half < rounds; half++) {
    const running = Array.from({ length: processes }, (_, worker) => {
      const input = join(folder, name, `in-${half}-${worker}`);
      mkdirSync(input, { recursive: true });
      shuffled.forEach(({ bytes }, index) => {
        if (index % (rounds * processes) === half * processes + worker)
          writeFileSync(join(input, String(index)), bytes);
      });
      return run(folder, input, join(folder, name, `out-${half}-${worker}`), project);
    });
    await Promise.all(running);
  }
  const outputs = new Map<string, Output>();
  for (const entry of readdirSync(join(folder, name), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !entry.parentPath.includes('/out-') || !entry.name.endsWith('.dcm')) continue;
    const bytes = readFileSync(join(entry.parentPath, entry.name));
    const { head, body } = await readObject(bytes);
    const pixels = await gather(body);
    const values = valuesOf(head.dataSet);
    outputs.set(values.get('<(0008,0018)>') ?? '', {
      bytes,
      values,
      pixelHash: createHash('md5').update(pixels).digest('hex'),
    });
  }
  return outputs;
}

const key = makeAnswerKey(5150, 2);
/** Of somebody older than 89, in each way that an object tells an age. */
const OLD = makeFile({
  '00080018': '1.2.3.4.95',
  '0020000D': '1.2.3.4.951',
  '0020000E': '1.2.3.4.952',
  '00100020': 'OLD-95',
  '00100030': '19250101',
  '00101010': '095Y',
  '00081030': 'Chest of a 95 year old',
});

it(
  'four processes, a restart, any order: no dangling reference, the same bytes again, every interval of dates kept',
  { timeout: 600_000 },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'isthmus-integrity-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const files = [...key.objects.map(({ bytes }) => bytes), OLD];
    const first = await deal(folder, 'first', files, 'trial', { processes: 4, rounds: 2 });
    const again = await deal(folder, 'again', files, 'trial', { processes: 3, rounds: 1 });
    const other = await deal(folder, 'other', files.slice(0, 27), 'registry', { processes: 1, rounds: 1 });

    // A document and a photograph, which may show the face, are held back of each patient.
    assert.equal(first.size, files.length - 4);
    assert.deepEqual(danglingReferences(first), []);
    assert.deepEqual([...again.keys()].sort(), [...first.keys()].sort());
    for (const [uid, { bytes }] of first)
      assert.ok(again.get(uid)?.bytes.equals(bytes), 'the same bytes in another order');

    const intervals = shiftedBy(first);
    assert.equal(intervals.length, 2);
    for (const { offsets, dates } of intervals) {
      assert.equal(offsets.size, 1, 'every date of a patient moves by the same days');
      assert.ok(dates > 100, `${dates} dates`);
    }
    assert.notDeepEqual([...(intervals[0]?.offsets ?? [])], [...(intervals[1]?.offsets ?? [])]);

    const mine = pseudonyms(first);
    const shared = [...pseudonyms(other)].filter((pseudonym) => mine.has(pseudonym));
    assert.deepEqual(shared, [], 'two projects share no pseudonym');
    assert.ok(pseudonyms(other).size > 50);

    const old = [...first.values()].find(({ values }) => values.get('<(0010,1010)>') === '090Y');
    assert.ok(old !== undefined, 'an age above 89 is 090Y');
    assert.equal(old.values.get('<(0010,0030)>') ?? '', '');
    for (const { values } of first.values()) {
      for (const value of values.values()) assert.doesNotMatch(value, /(?<!\d)(09[1-9]|1[0-4]\d)Y|95 year/);
    }
  },
);

const REFERENCES = ['(0008,1155)', '(0020,000e)', '(0020,0052)', '(0020,000d)'];

/** UIDs that nothing in the set defines. */
function danglingReferences(outputs: ReadonlyMap<string, Output>): string[] {
  const defined = new Set<string>();
  for (const { values } of outputs.values())
    for (const tag of ['(0008,0018)', '(0020,000d)', '(0020,000e)', '(0020,0052)'])
      defined.add(values.get(`<${tag}>`) ?? '');
  const dangling: string[] = [];
  for (const [uid, { values }] of outputs)
    for (const [path, value] of values) {
      if (REFERENCES.some((tag) => path.endsWith(`<${tag}>`)) && !isWellKnownUid(value) && !defined.has(value))
        dangling.push(`${uid} ${path}`);
    }
  return dangling;
}

function pseudonyms(outputs: ReadonlyMap<string, Output>): Set<string> {
  const found = new Set<string>();
  for (const { values } of outputs.values()) {
    found.add(values.get('<(0010,0020)>') ?? '');
    for (const value of values.values()) if (/^2\.25\.\d+$/.test(value)) found.add(value);
  }
  return found;
}

/** For each patient, by how many days dates moved; objects are found again by their pixels, and by patient and class. */
function shiftedBy(outputs: ReadonlyMap<string, Output>): { offsets: Set<number>; dates: number }[] {
  const byHash = new Map([...outputs.values()].map((output) => [output.pixelHash, output]));
  const rows = Map.groupBy(key.rows, ({ object }) => object.patientID);
  return [...rows.values()].map((ofPatient) => {
    const hash = ofPatient.find(({ action }) => action === 'pixels_retained')?.text ?? '';
    const pseudonym = byHash.get(hash)?.values.get('<(0010,0020)>');
    assert.ok(pseudonym !== undefined);
    const mine = new Map(
      [...outputs.values()]
        .filter(({ values }) => values.get('<(0010,0020)>') === pseudonym)
        .map((output) => [output.values.get('<(0008,0016)>') ?? '', output]),
    );
    const offsets = new Set<number>();
    let dates = 0;
    for (const row of ofPatient) {
      const days = movedDays(row, row.object, mine);
      if (days === undefined) continue;
      offsets.add(days);
      dates++;
    }
    return { offsets, dates };
  });
}

function movedDays(
  { action, path, text }: KeyRow,
  object: KeyObject,
  mine: ReadonlyMap<string, Output>,
): number | undefined {
  const found = mine.get(object.sopClassUID)?.values.get(path);
  if (action !== 'date_shifted' || found === undefined || found === '') return undefined;
  return (dayOf(found) - dayOf(text)) / 86_400_000;
}

function dayOf(date: string): number {
  return Date.UTC(Number(date.slice(0, 4)), Number(date.slice(4, 6)) - 1, Number(date.slice(6, 8)));
}
