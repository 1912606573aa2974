import assert from 'node:assert/strict';
import { access, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { listPacks } from '../../src/archive/archive.ts';
import { instanceOf, readInstance, storeInstance } from '../../src/archive/instances.ts';
import { reindex, verify } from '../../src/archive/reindex.ts';
import {
  deleteStudy,
  priorsOf,
  studiesOf,
  studiesOfPatient,
  studyFacts,
  studyOf,
  versionOf,
  wasDeleted,
} from '../../src/archive/studies.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { MR_IMAGE, makeObject } from '../phantom/objects.ts';
import { bytesOf, close, newFolder, openIn, opened } from './support.ts';

test('facts for rules: series with their modality, class, frame of reference and count, derived ones marked', async (t) => {
  const { archive } = await opened(t);
  const study = { studyInstanceUID: '2.25.1', studyDescription: 'CT Thorax' };
  for (const instanceNumber of [1, 2])
    await storeInstance(archive, makeObject({ ...study, instanceNumber, bodyPart: 'CHEST' }).object);
  await storeInstance(
    archive,
    makeObject({ ...study, seriesNumber: 900, modality: 'MR', sopClassUID: MR_IMAGE }).object,
    { derived: true },
  );
  const facts = studyFacts(archive, '2.25.1');
  assert.equal(facts?.StudyDescription, 'CT Thorax');
  assert.equal(facts.project, 'research');
  assert.deepEqual(
    facts.series.map(({ Modality, BodyPartExamined, SOPClassUID, instances, derived }) => [
      Modality,
      BodyPartExamined,
      SOPClassUID,
      instances,
      derived,
    ]),
    [
      ['CT', 'CHEST', '1.2.840.10008.5.1.4.1.1.2', 2, false],
      ['MR', '', MR_IMAGE, 1, true],
    ],
  );
  assert.notEqual(facts.series[0]?.FrameOfReferenceUID, '');
  assert.equal(studyFacts(archive, '2.25.9'), undefined);
});

test('priors are earlier studies of the same patient in the same project, newest first', async (t) => {
  const { archive } = await opened(t);
  const store = (studyInstanceUID: string, studyDate: string, more = {}): Promise<unknown> =>
    storeInstance(archive, makeObject({ studyInstanceUID, studyDate, ...more }).object);
  await store('2.25.1', '20220101');
  await store('2.25.2', '20230101');
  await store('2.25.3', '20240101');
  await store('2.25.4', '20250101');
  await store('2.25.5', '20210101', { patientID: 'P2' });
  await store('2.25.6', '20210101', { project: 'teaching' });
  await store('2.25.7', '');
  assert.deepEqual(
    priorsOf(archive, '2.25.3').map(({ StudyInstanceUID }) => StudyInstanceUID),
    ['2.25.2', '2.25.1'],
  );
  assert.deepEqual(priorsOf(archive, '2.25.1'), []);
  assert.equal(studiesOfPatient(archive, 'research', 'P1').length, 5);
  assert.equal(studiesOf(archive, { limit: 3, offset: 2 }).length, 3);
});

test('deleting a study unlinks its packs, leaves tombstones and everybody else alone', async (t) => {
  const { archive, database } = await opened(t);
  const gone = makeObject({ studyInstanceUID: '2.25.1' });
  const kept = makeObject({ studyInstanceUID: '2.25.2' });
  await storeInstance(archive, gone.object);
  await storeInstance(archive, kept.object);
  const row = instanceOf(archive, gone.object.sopInstanceUID);
  assert.ok(row);
  await bytesOf(readInstance(archive, row));
  database.run('CREATE TABLE erased (uid TEXT)');
  assert.equal(
    await deleteStudy(archive, '2.25.1', {
      alongside: () => void database.run("INSERT INTO erased VALUES ('2.25.1')"),
    }),
    1,
  );
  assert.equal(studyOf(archive, '2.25.1'), undefined);
  assert.ok(
    wasDeleted(archive, '2.25.1') &&
      wasDeleted(archive, gone.object.seriesInstanceUID) &&
      wasDeleted(archive, gone.object.sopInstanceUID),
  );
  assert.ok(!wasDeleted(archive, '2.25.2'));
  await assert.rejects(access(join(archive.folder, row.pack)));
  await assert.rejects(
    bytesOf(readInstance(archive, row)),
    (error: unknown) => error instanceof Refusal && error.reason === 'Gone',
  );
  assert.equal((await verify(archive)).instances, 1);
  assert.equal(await deleteStudy(archive, '2.25.1'), 0);
  // What is sent again is there again.
  await storeInstance(archive, makeObject({ studyInstanceUID: '2.25.1' }).object);
  assert.ok(!wasDeleted(archive, '2.25.1'));
  assert.deepEqual((await verify(archive)).damaged, []);
});

test('a deletion that fails alongside deletes nothing', async (t) => {
  const { archive } = await opened(t);
  await storeInstance(archive, makeObject({ studyInstanceUID: '2.25.1' }).object);
  await assert.rejects(
    deleteStudy(archive, '2.25.1', {
      alongside: () => {
        throw new Error('no');
      },
    }),
    /no/,
  );
  assert.equal((await verify(archive)).instances, 1);
  await storeInstance(archive, makeObject({ studyInstanceUID: '2.25.1', instanceNumber: 2 }).object);
});

test('deleting while the study is still being sent to neither loses nor doubles an acknowledged instance', async (t) => {
  const { archive } = await opened(t);
  const store = (instanceNumber: number): Promise<unknown> =>
    storeInstance(archive, makeObject({ studyInstanceUID: '2.25.1', instanceNumber }).object);
  for (let round = 0; round < 5; round++) {
    const numbers = Array.from({ length: 20 }, (_, index) => round * 100 + index);
    const stores = numbers.slice(0, 10).map(store);
    const deletion = deleteStudy(archive, '2.25.1');
    await Promise.all([deletion, ...stores, ...numbers.slice(10).map(store)]);
    const { damaged, instances } = await verify(archive);
    assert.deepEqual(damaged, []);
    assert.equal(instances, studyOf(archive, '2.25.1')?.instanceCount ?? 0);
  }
});

test('packs that a crash kept from being unlinked go when the archive is opened', async (t) => {
  const folder = await newFolder(t);
  const first = await openIn(folder);
  await storeInstance(first.archive, makeObject({ studyInstanceUID: '2.25.1' }).object);
  const [pack = ''] = await listPacks(first.archive.folder);
  const bytes = await readFile(join(first.archive.folder, pack));
  const row = first.database.get('SELECT * FROM pack');
  await deleteStudy(first.archive, '2.25.1');
  await writeFile(join(first.archive.folder, pack), bytes);
  first.database.run(
    'INSERT INTO pack (study_uid, number, path, length, dead_bytes, whole, dying) VALUES (?, 1, ?, ?, 0, 0, 1)',
    '2.25.1',
    pack,
    row?.['length'] ?? 0,
  );
  await close(first);
  const second = await openIn(folder);
  t.after(() => close(second));
  assert.deepEqual(await listPacks(second.archive.folder), []);
  assert.equal(second.database.get('SELECT count(*) AS n FROM pack')?.['n'], 0);
});

test('versions of study and series are others after every change inside', async (t) => {
  const { archive } = await opened(t);
  const { object } = makeObject({ studyInstanceUID: '2.25.1' });
  await storeInstance(archive, object);
  const before = [versionOf(archive, '2.25.1'), versionOf(archive, '2.25.1', object.seriesInstanceUID)];
  await storeInstance(archive, makeObject({ studyInstanceUID: '2.25.1', seriesNumber: 2 }).object);
  const after = [versionOf(archive, '2.25.1'), versionOf(archive, '2.25.1', object.seriesInstanceUID)];
  assert.notEqual(after[0], before[0]);
  assert.equal(after[1], before[1]);
  assert.equal(versionOf(archive, '2.25.9'), undefined);
});

test('verify and reindex report a record whose bytes were changed, and reindex keeps the others', async (t) => {
  const { archive, database } = await opened(t);
  for (const instanceNumber of [1, 2, 3]) await storeInstance(archive, makeObject({ instanceNumber }).object);
  const victim = instanceOf(archive, makeObject({ instanceNumber: 2 }).object.sopInstanceUID);
  assert.ok(victim);
  const path = join(archive.folder, victim.pack);
  const bytes = await readFile(path);
  bytes[victim.offset + victim.lengthBytes - 1] = 0xee;
  await writeFile(path, bytes);
  assert.deepEqual(
    (await verify(archive)).damaged.map(({ at }) => at),
    [victim.offset - 512],
  );
  const report = await reindex(database, archive.folder);
  assert.equal(report.instances, 2);
  assert.deepEqual(
    report.damaged.map(({ at }) => at),
    [victim.offset - 512],
  );
});

test('reindex feels its way over a destroyed header to the records behind it', async (t) => {
  const { archive, database } = await opened(t);
  for (const instanceNumber of [1, 2, 3]) await storeInstance(archive, makeObject({ instanceNumber }).object);
  const victim = instanceOf(archive, makeObject({ instanceNumber: 2 }).object.sopInstanceUID);
  assert.ok(victim);
  const path = join(archive.folder, victim.pack);
  const bytes = await readFile(path);
  bytes.fill(0xaa, victim.offset - 512, victim.offset);
  await writeFile(path, bytes);
  const report = await reindex(database, archive.folder);
  assert.equal(report.instances, 2);
  assert.equal(report.damaged.length, 1);
});

test('an empty index beside packs is rebuilt by reindex and opened then', async (t) => {
  const folder = await newFolder(t);
  const first = await openIn(folder);
  const { object } = makeObject();
  await storeInstance(first.archive, object, { derived: true });
  first.database.run('DELETE FROM metadata');
  first.database.run('DELETE FROM instance');
  first.database.run('DELETE FROM request');
  first.database.run('DELETE FROM series');
  first.database.run('DELETE FROM study');
  first.database.run('DELETE FROM pack');
  await close(first);
  await assert.rejects(openIn(folder), (error: unknown) => error instanceof Refusal && /reindex/.test(error.message));
  const { openDatabase } = await import('../../src/database.ts');
  const database = openDatabase(join(folder, 'index.db'));
  assert.equal((await reindex(database, join(folder, 'packs'))).instances, 1);
  database.close();
  const second = await openIn(folder);
  t.after(() => close(second));
  assert.equal(instanceOf(second.archive, object.sopInstanceUID)?.derived, true);
  assert.equal(studyOf(second.archive, object.studyInstanceUID)?.project, 'research');
  await storeInstance(second.archive, makeObject({ instanceNumber: 2 }).object);
  assert.deepEqual((await verify(second.archive)).damaged, []);
});
