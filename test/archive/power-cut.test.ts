/** What a power cut may leave: rows whose bytes did not reach the disk. Made here by damaging a pack behind an archive that was not closed. */
import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { closeArchive, openArchive } from '../../src/archive/archive.ts';
import { instanceOf, readInstance, storeInstance } from '../../src/archive/instances.ts';
import { closePacks } from '../../src/archive/pack-files.ts';
import { verify } from '../../src/archive/reindex.ts';
import { seriesOf, studyOf } from '../../src/archive/studies.ts';
import { openDatabase } from '../../src/database.ts';
import { makeObject } from '../phantom/objects.ts';
import { bytesOf, close, newFolder, openIn } from './support.ts';

const UIDS = { studyInstanceUID: '2.25.11', seriesInstanceUID: '2.25.12', pixels: Buffer.alloc(8192, 7) };

/** Two instances stored in two groups; then the process is gone without a word, and the disk lost the end of the second. */
async function cutWhileStoring(context: TestContext, damage: 'cut short' | 'zeros'): Promise<string> {
  const folder = await newFolder(context);
  const one = await openIn(folder);
  await storeInstance(one.archive, makeObject({ ...UIDS, sopInstanceUID: '2.25.1', instanceNumber: 1 }).object);
  await storeInstance(one.archive, makeObject({ ...UIDS, sopInstanceUID: '2.25.2', instanceNumber: 2 }).object);
  const row = instanceOf(one.archive, '2.25.2');
  assert.ok(row !== undefined);
  const handle = await open(join(folder, 'packs', row.pack), 'r+');
  const end = row.offset + row.lengthBytes;
  if (damage === 'cut short') await handle.truncate(end - 100);
  else await handle.write(Buffer.alloc(100), 0, 100, end - 100);
  await handle.close();
  await closePacks(one.archive.packs);
  one.database.close();
  return folder;
}

for (const damage of ['cut short', 'zeros'] as const) {
  test(`a row whose bytes did not reach the disk (${damage}) is gone after the start, the one before it stays`, async (context) => {
    const folder = await cutWhileStoring(context, damage);
    const two = await openIn(folder);
    context.after(() => close(two));
    assert.equal(instanceOf(two.archive, '2.25.2'), undefined);
    assert.ok(instanceOf(two.archive, '2.25.1') !== undefined);
    assert.deepEqual((await verify(two.archive)).damaged, []);
    assert.equal(seriesOf(two.archive, UIDS.studyInstanceUID)[0]?.instances, 1);

    // The sender was never answered and sends again: into another pack, since the torn one is not appended to.
    const again = makeObject({ ...UIDS, sopInstanceUID: '2.25.2', instanceNumber: 2 });
    assert.equal((await storeInstance(two.archive, again.object)).outcome, 'stored');
    const stored = instanceOf(two.archive, '2.25.2');
    assert.ok(stored !== undefined);
    assert.notEqual(stored.pack, instanceOf(two.archive, '2.25.1')?.pack);
    assert.deepEqual(await bytesOf(readInstance(two.archive, stored)), again.bytes);
    assert.deepEqual((await verify(two.archive)).damaged, []);
  });
}

test('the only instance of a study that did not reach the disk takes its study with it', async (context) => {
  const folder = await newFolder(context);
  const one = await openIn(folder);
  await storeInstance(one.archive, makeObject({ ...UIDS, sopInstanceUID: '2.25.1' }).object);
  const row = instanceOf(one.archive, '2.25.1');
  assert.ok(row !== undefined);
  const handle = await open(join(folder, 'packs', row.pack), 'r+');
  await handle.truncate(1024);
  await handle.close();
  await closePacks(one.archive.packs);
  one.database.close();
  const two = await openIn(folder);
  context.after(() => close(two));
  assert.equal(studyOf(two.archive, UIDS.studyInstanceUID), undefined);
});

test('after an orderly end nothing is read again: damage of later days is for verify to find, never silently dropped', async (context) => {
  const folder = await newFolder(context);
  const one = await openIn(folder);
  await storeInstance(one.archive, makeObject({ ...UIDS, sopInstanceUID: '2.25.1' }).object);
  const row = instanceOf(one.archive, '2.25.1');
  assert.ok(row !== undefined);
  await close(one);
  const handle = await open(join(folder, 'packs', row.pack), 'r+');
  await handle.write(Buffer.alloc(10), 0, 10, row.offset + row.lengthBytes - 10);
  await handle.close();
  const database = openDatabase(join(folder, 'index.db'));
  const archive = await openArchive(database, join(folder, 'packs'), { duplicates: 'reject', reserveBytes: 0 });
  context.after(async () => {
    await closeArchive(archive);
    database.close();
  });
  assert.ok(instanceOf(archive, '2.25.1') !== undefined);
  assert.equal((await verify(archive)).damaged.length, 1);
});
