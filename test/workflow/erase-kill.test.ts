/** The erasure drill: killed at any step and gone on with, it leaves nothing in any file that links a pseudonym and a person. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { instancesOf } from '../../src/archive/instances.ts';
import { studyOf } from '../../src/archive/studies.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { deleteFromArchive } from '../../src/workflow/delete.ts';
import { ctStudy } from '../phantom/studies.ts';
import { deriveSeries, openInFolder, take, takeStudy } from './opened.ts';

const CHILD = fileURLToPath(new URL('./erase-child.ts', import.meta.url));
const LEAVES = { name: 'Leaving^Lea', id: 'KH-LEAVES', birthDate: '19631112', sex: 'F' } as const;
/** ISTHMUS_DRILL=all: every step. */
const EVERY_STEP = process.env['ISTHMUS_DRILL'] === 'all';
const FEW = 5;

test('ERASE-KILL: killed at any step and gone on with, an erasure leaves no trace in any file', async (t) => {
  const opened = await openInFolder(t);
  const { gateway, folder } = opened;
  const leaving = await takeStudy(opened, ctStudy({ patient: LEAVES, slices: 3, size: 16 }).objects);
  const second = await takeStudy(
    opened,
    ctStudy({ patient: LEAVES, slices: 2, size: 16, studyDate: '20250102' }).objects,
  );
  const derived = await deriveSeries(opened, leaving);
  const headless = Buffer.from(
    ctStudy({ patient: LEAVES, slices: 1, size: 16, studyDate: '20250303' }).objects[0] ?? '',
  );
  const modality = headless.indexOf(Buffer.from('08006000435302004354', 'hex'));
  headless.write('XA', modality + 8, 'latin1');
  assert.equal((await take(opened, headless)).quarantined, true);
  const uids = [leaving, second].flatMap((study) =>
    instancesOf(gateway.archive, { studyInstanceUID: study }).map(({ sopInstanceUID }) => sopInstanceUID),
  );
  await deleteFromArchive(gateway, { studyInstanceUID: second }, 'somebody');
  opened.clock.now += 60_000;
  completeStudies(gateway);
  const pseudonym = studyOf(gateway.archive, leaving)?.patientID ?? '';
  await opened.close();
  const secrets = [leaving, second, derived, pseudonym, ...uids, LEAVES.id, 'Leaving'];
  const record = join(folder, 'record.json');
  writeFileSync(record, JSON.stringify({ issuer: '', id: LEAVES.id }));
  const original = join(folder, 'data');
  assert.notDeepEqual(mentions(original, secrets), [], 'the search finds what is there');

  const child = (data: string, ...args: string[]): { signal: string | null; out: string; error: string } => {
    const { signal, stdout, stderr } = spawnSync(process.execPath, [CHILD, ...args], {
      env: { ...process.env, ISTHMUS_CONFIG: join(folder, 'config'), ISTHMUS_DATA: data },
      encoding: 'utf8',
    });
    return { signal, out: stdout, error: stderr };
  };
  const fresh = (name: string): string => {
    const data = join(folder, name);
    cpSync(original, data, { recursive: true });
    return data;
  };
  const whole = fresh('whole');
  const { out, error } = child(whole, 'erase', record);
  const { steps, states } = JSON.parse(out === '' ? error : out) as { steps: number; states: string[] };
  assert.deepEqual(states, ['DONE']);
  assert.deepEqual(mentions(whole, secrets), []);
  assert.ok(steps > 40, `${steps} steps`);

  const chosen = Array.from({ length: steps }, (_, n) => n + 1).filter(
    (n) => EVERY_STEP || n > steps - 3 || n % Math.ceil(steps / FEW) === 0,
  );
  for (const at of chosen) {
    const data = fresh(`killed-${at}`);
    assert.equal(child(data, 'erase', record, String(at)).signal, 'SIGKILL', `step ${at}`);
    const resumed = child(data, 'resume', record);
    assert.deepEqual(
      (JSON.parse(resumed.out === '' ? resumed.error : resumed.out) as { states: string[] }).states,
      ['DONE'],
      `step ${at}`,
    );
    assert.deepEqual(mentions(data, secrets), [], `killed at step ${at} of ${steps}`);
    rmSync(data, { recursive: true });
  }
});

function mentions(data: string, words: readonly string[]): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(data, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const name = join(entry.parentPath, entry.name);
    const bytes = readFileSync(name);
    for (const [n, word] of words.entries())
      if (bytes.includes(word) || entry.name.includes(word)) found.push(`word ${n} in ${name.slice(data.length)}`);
  }
  return found;
}
