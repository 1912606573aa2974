import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { listPacks } from '../../src/archive/archive.ts';
import { instanceOf, storeInstance } from '../../src/archive/instances.ts';
import { verify } from '../../src/archive/reindex.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { makeObject } from '../phantom/objects.ts';
import { close, newFolder, openIn, tarNames } from './support.ts';

const CHILD = fileURLToPath(new URL('./ingest-child.ts', import.meta.url));
const KILLS = 10;

/** Lets the child run until it has acknowledged a few, then a random moment longer, and kills it. */
async function ingestAndKill(folder: string, from: number): Promise<number[]> {
  const child = spawn(process.execPath, [CHILD, folder, String(from)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  const few = 1 + Math.floor(Math.random() * 60);
  child.stdout.setEncoding('utf8');
  child.stdout.on('data', (text: string) => {
    output += text;
    if (output.split('\n').length > few) setTimeout(() => child.kill('SIGKILL'), Math.random() * 40);
  });
  const [[, signal]] = await Promise.all([once(child, 'exit'), once(child.stdout, 'end')]);
  assert.equal(signal, 'SIGKILL');
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

test(
  'kill -9 at ten random moments of ingest: every acknowledged instance is there exactly once',
  { timeout: 120_000 },
  async (t) => {
    const folder = await newFolder(t);
    const acknowledged: number[] = [];
    for (let kill = 0; kill < KILLS; kill++) {
      acknowledged.push(...(await ingestAndKill(folder, kill * 10_000 + 1)));
      const one = await openIn(folder);
      const names = await tarNames(folder);
      assert.equal(new Set(names).size, names.length, 'a record stands twice');
      for (const number of acknowledged) {
        const instance = instanceOf(one.archive, `2.25.1${number}`);
        assert.ok(instance, `instance ${number} was acknowledged and is gone`);
        assert.ok(names.includes(`${instance.studyInstanceUID}/${instance.seriesInstanceUID}/2.25.1${number}.dcm`));
      }
      const report = await verify(one.archive);
      assert.deepEqual(report.damaged, []);
      assert.equal(report.instances, names.length);
      assert.deepEqual(
        (await readdir(join(folder, 'packs'))).filter((name) => name.endsWith('.part')),
        [],
      );
      await close(one);
    }
    assert.ok(acknowledged.length >= KILLS);
  },
);

test('a torn record at the end of a pack is cut off and written over', async (t) => {
  const folder = await newFolder(t);
  const first = await openIn(folder);
  await storeInstance(first.archive, makeObject({ instanceNumber: 1 }).object);
  await close(first);
  const [pack = ''] = await listPacks(join(folder, 'packs'));
  const path = join(folder, 'packs', pack);
  const whole = await readFile(path);
  await appendFile(path, whole.subarray(1024, 4000));
  const second = await openIn(folder);
  t.after(() => close(second));
  assert.deepEqual(await readFile(path), whole);
  await storeInstance(second.archive, makeObject({ instanceNumber: 2 }).object);
  assert.equal((await tarNames(folder)).length, 2);
  assert.deepEqual((await verify(second.archive)).damaged, []);
});

test('packs that the index does not know are never deleted: opening is refused', async (t) => {
  const folder = await newFolder(t);
  const first = await openIn(folder);
  await storeInstance(first.archive, makeObject().object);
  await close(first);
  await writeFile(
    join(folder, 'packs', (await listPacks(join(folder, 'packs')))[0]?.replace('-1.tar', '-2.tar') ?? ''),
    'x',
  );
  await assert.rejects(
    openIn(folder),
    (error: unknown) => error instanceof Refusal && error.reason === 'BadConfiguration',
  );
});

test('a pack that lost its end does not keep the others from being served', async (t) => {
  const folder = await newFolder(t);
  const first = await openIn(folder);
  await storeInstance(first.archive, makeObject({ studyInstanceUID: '2.25.1' }).object);
  await storeInstance(first.archive, makeObject({ studyInstanceUID: '2.25.2' }).object);
  await close(first);
  const lost = (await listPacks(join(folder, 'packs'))).find((path) => path.includes('2.25.1-')) ?? '';
  await truncate(join(folder, 'packs', lost), 3000);
  const second = await openIn(folder);
  t.after(() => close(second));
  const { instances, damaged } = await verify(second.archive);
  assert.equal(instances, 2);
  assert.deepEqual(
    damaged.map(({ pack }) => pack),
    [lost],
  );
  // What comes now goes to a pack that is whole.
  await storeInstance(second.archive, makeObject({ studyInstanceUID: '2.25.1', instanceNumber: 2 }).object);
  assert.equal((await verify(second.archive)).damaged.length, 1);
});
