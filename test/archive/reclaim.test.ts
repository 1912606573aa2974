import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { listPacks } from '../../src/archive/archive.ts';
import { instanceOf, readInstance, storeInstance } from '../../src/archive/instances.ts';
import { deleteInstances, reclaim } from '../../src/archive/reclaim.ts';
import { reindex, verify } from '../../src/archive/reindex.ts';
import { studyOf, wasDeleted } from '../../src/archive/studies.ts';
import { makeObject } from '../phantom/objects.ts';
import { bytesOf, close, newFolder, openIn, opened, tarNames } from './support.ts';

const version = (instanceNumber: number, fill: number) =>
  makeObject({ instanceNumber, pixels: Buffer.alloc(8192, fill), project: 'research' });

test('bytes that were replaced leave the disk, and what is in force stays', async (t) => {
  const { archive, folder, database } = await opened(t, { duplicates: 'overwrite' });
  for (const fill of [1, 2, 3]) {
    for (const instanceNumber of [1, 2]) await storeInstance(archive, version(instanceNumber, fill).object);
  }
  await storeInstance(archive, version(3, 1).object);
  assert.equal((await tarNames(folder)).length, 7);
  const freed = await reclaim(archive);
  assert.ok(freed > 4 * 8192);
  assert.equal((await tarNames(folder)).length, 3);
  assert.deepEqual((await verify(archive)).damaged, []);
  for (const [instanceNumber, fill] of [
    [1, 3],
    [2, 3],
    [3, 1],
  ] as const) {
    const { object, bytes } = version(instanceNumber, fill);
    const instance = instanceOf(archive, object.sopInstanceUID);
    assert.ok(instance);
    assert.deepEqual(await bytesOf(readInstance(archive, instance)), bytes);
  }
  assert.equal(await reclaim(archive), 0);
  // The new pack is continued, and the packs alone still tell everything.
  await storeInstance(archive, version(4, 1).object);
  assert.equal((await listPacks(archive.folder)).length, 1);
  assert.equal((await reindex(database, archive.folder)).instances, 4);
  assert.equal(studyOf(archive, version(1, 1).object.studyInstanceUID)?.project, 'research');
});

test('a deleted instance is gone from index and pack; its siblings stay; the last one takes series and study along', async (t) => {
  const { archive, folder } = await opened(t);
  const [first, second] = [version(1, 0x5a), version(2, 0x33)];
  await storeInstance(archive, first.object);
  await storeInstance(archive, second.object);
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID } = first.object;
  const scope = { studyInstanceUID, seriesInstanceUID };
  assert.equal(await deleteInstances(archive, { ...scope, sopInstanceUIDs: [sopInstanceUID] }), 1);
  assert.equal(instanceOf(archive, sopInstanceUID), undefined);
  assert.ok(wasDeleted(archive, sopInstanceUID) && !wasDeleted(archive, seriesInstanceUID));
  assert.equal(studyOf(archive, studyInstanceUID)?.instanceCount, 1);
  const [pack = ''] = await listPacks(archive.folder);
  assert.ok(!(await readFile(join(archive.folder, pack))).includes(Buffer.alloc(512, 0x5a)));
  assert.deepEqual((await verify(archive)).damaged, []);

  assert.equal(await deleteInstances(archive, scope), 1);
  assert.equal(studyOf(archive, studyInstanceUID), undefined);
  assert.ok(wasDeleted(archive, seriesInstanceUID) && wasDeleted(archive, studyInstanceUID));
  assert.deepEqual(await tarNames(folder), []);
});

test('a pack half rewritten when the power went is forgotten, the old one serves on', async (t) => {
  const folder = await newFolder(t);
  const one = await openIn(folder);
  const { object, bytes } = version(1, 1);
  await storeInstance(one.archive, object);
  const row = one.database.get('SELECT * FROM pack');
  const path = String(row?.['path']).replace('-1.tar', '-2.tar');
  one.database.run(
    'INSERT INTO pack (study_uid, number, path, length, dead_bytes, whole) VALUES (?, 2, ?, 0, 0, 1)',
    object.studyInstanceUID,
    path,
  );
  await close(one);
  const { writeFile } = await import('node:fs/promises');
  await writeFile(join(folder, 'packs', path), bytes.subarray(0, 3000));
  const two = await openIn(folder);
  t.after(() => close(two));
  assert.equal((await listPacks(two.archive.folder)).length, 1);
  const instance = instanceOf(two.archive, object.sopInstanceUID);
  assert.ok(instance);
  assert.deepEqual(await bytesOf(readInstance(two.archive, instance)), bytes);
});
