import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { listPacks } from '../../src/archive/archive.ts';
import { instanceOf, instancesOf, readInstance, readInstanceHead, storeInstance } from '../../src/archive/instances.ts';
import { studyOf } from '../../src/archive/studies.ts';
import { verify } from '../../src/archive/reindex.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { uidFrom } from '../../src/dicom/uid.ts';
import { makeLargeObject, makeObject, withBody } from '../phantom/objects.ts';
import { bytesOf, close, newFolder, openIn, opened, tarNames } from './support.ts';

const refusal = (reason: string) => (error: unknown) => error instanceof Refusal && error.reason === reason;

describe('storing an instance', () => {
  test('gives back the very bytes that were stored, head apart and whole', async (t) => {
    const { archive } = await opened(t);
    const { object, bytes } = makeObject({ pixels: Buffer.alloc(8192, 7) });
    const result = await storeInstance(archive, object);
    assert.equal(result.outcome, 'stored');
    const instance = instanceOf(archive, object.sopInstanceUID, object.studyInstanceUID, object.seriesInstanceUID);
    assert.ok(instance);
    assert.equal(instance.studyKey, result.studyKey);
    assert.deepEqual(await bytesOf(readInstance(archive, instance)), bytes);
    assert.deepEqual(await readInstanceHead(archive, instance), object.head);
    assert.equal(instanceOf(archive, object.sopInstanceUID, '2.25.9'), undefined);
  });

  test('writes a pack that tar lists and extracts to Part 10 files', async (t) => {
    const { archive, folder } = await opened(t);
    const made = [1, 2, 3].map((instanceNumber) => makeObject({ instanceNumber }));
    for (const { object } of made) await storeInstance(archive, object);
    const expected = made.map(
      ({ object }) => `${object.studyInstanceUID}/${object.seriesInstanceUID}/${object.sopInstanceUID}.dcm`,
    );
    assert.deepEqual((await tarNames(folder)).sort(), [...expected].sort());
    const [pack] = await listPacks(archive.folder);
    execFileSync('tar', ['xf', join(archive.folder, pack ?? ''), '-C', folder]);
    for (const [index, path] of expected.entries()) {
      assert.deepEqual(await readFile(join(folder, path)), made[index]?.bytes);
    }
  });

  test('takes UIDs of 64 characters into the names of a pack', async (t) => {
    const { archive, folder } = await opened(t);
    const uid = (digit: string): string => `1.${digit.repeat(62)}`;
    const uids = { studyInstanceUID: uid('2'), seriesInstanceUID: uid('3'), sopInstanceUID: uid('4') };
    await storeInstance(archive, makeObject(uids).object);
    assert.deepEqual(await tarNames(folder), [`${uid('2')}/${uid('3')}/${uid('4')}.dcm`]);
  });

  test('many at once share groups and are all there once', async (t) => {
    const { archive, folder } = await opened(t);
    const numbers = Array.from({ length: 120 }, (_, index) => index + 1);
    const results = await Promise.all(
      numbers.map((instanceNumber) =>
        storeInstance(archive, makeObject({ instanceNumber, studyInstanceUID: `2.25.${instanceNumber % 3}` }).object),
      ),
    );
    assert.ok(results.every(({ outcome }) => outcome === 'stored'));
    assert.equal((await tarNames(folder)).length, 120);
    assert.equal(instancesOf(archive, { studyInstanceUID: '2.25.1' }).length, 40);
    assert.deepEqual((await verify(archive)).damaged, []);
  });

  test('the same object twice at once is stored once', async (t) => {
    const { archive, folder } = await opened(t);
    const results = await Promise.all([1, 2, 3, 4].map(() => storeInstance(archive, makeObject().object)));
    assert.deepEqual(results.map(({ outcome }) => outcome).sort(), [
      'already-there',
      'already-there',
      'already-there',
      'stored',
    ]);
    assert.equal((await tarNames(folder)).length, 1);
  });

  test('a body that breaks off leaves nothing and nobody else is harmed', async (t) => {
    const { archive, folder } = await opened(t);
    const { object } = makeObject({ instanceNumber: 1 });
    async function* broken(): AsyncGenerator<Buffer> {
      yield Buffer.alloc(100);
      throw new Refusal('CannotUnderstand', 'the sender went away');
    }
    const [failed, stored] = await Promise.allSettled([
      storeInstance(archive, withBody(object, broken())),
      storeInstance(archive, makeObject({ instanceNumber: 2 }).object),
    ]);
    assert.equal(failed?.status, 'rejected');
    assert.equal(stored?.status, 'fulfilled');
    assert.equal(instanceOf(archive, object.sopInstanceUID), undefined);
    assert.equal((await tarNames(folder)).length, 1);
    assert.equal(archive.intake.heldBytes, 0);
  });

  test('a body shorter or longer than its header says is refused', async (t) => {
    const { archive } = await opened(t);
    async function* short(): AsyncGenerator<Buffer> {
      yield Buffer.alloc(8190);
    }
    await assert.rejects(storeInstance(archive, withBody(makeObject().object, short())), refusal('CannotUnderstand'));
  });

  test('too little free space is refused before anything is written', async (t) => {
    const { archive, folder } = await opened(t, { reserveBytes: Number.MAX_SAFE_INTEGER });
    await assert.rejects(storeInstance(archive, makeObject().object), refusal('DiskFull'));
    assert.deepEqual(await tarNames(folder), []);
  });
});

describe('other bytes under the same SOP Instance UID', () => {
  const first = { sopInstanceUID: '2.25.77', pixels: Buffer.alloc(8192, 1), studyDescription: 'first' };
  const second = { sopInstanceUID: '2.25.77', pixels: Buffer.alloc(8192, 2), studyDescription: 'second' };

  test('are refused by policy reject', async (t) => {
    const { archive } = await opened(t, { duplicates: 'reject' });
    await storeInstance(archive, makeObject(first).object);
    await assert.rejects(storeInstance(archive, makeObject(second).object), refusal('Duplicate'));
  });

  test('are passed over by policy keep-first', async (t) => {
    const { archive } = await opened(t, { duplicates: 'keep-first' });
    const kept = makeObject(first);
    await storeInstance(archive, kept.object);
    assert.equal((await storeInstance(archive, makeObject(second).object)).outcome, 'already-there');
    const instance = instanceOf(archive, '2.25.77');
    assert.ok(instance);
    assert.deepEqual(await bytesOf(readInstance(archive, instance)), kept.bytes);
  });

  test('replace the first by policy overwrite, in counts and descriptions too', async (t) => {
    const { archive } = await opened(t, { duplicates: 'overwrite' });
    await storeInstance(archive, makeObject(first).object);
    const made = makeObject(second);
    assert.equal((await storeInstance(archive, made.object)).outcome, 'replaced');
    const instance = instanceOf(archive, '2.25.77');
    assert.ok(instance);
    assert.deepEqual(await bytesOf(readInstance(archive, instance)), made.bytes);
    const study = studyOf(archive, instance.studyInstanceUID);
    assert.equal(study?.instanceCount, 1);
    assert.equal(study.seriesCount, 1);
    assert.equal(study.studyDescription, 'second');
  });

  test('that belong to another study move there', async (t) => {
    const { archive } = await opened(t, { duplicates: 'overwrite' });
    await storeInstance(archive, makeObject({ ...first, studyInstanceUID: '2.25.1' }).object);
    await storeInstance(archive, makeObject({ ...second, studyInstanceUID: '2.25.2' }).object);
    assert.equal(studyOf(archive, '2.25.1'), undefined);
    assert.equal(studyOf(archive, '2.25.2')?.instanceCount, 1);
  });

  test('three versions at once end in one instance', async (t) => {
    const { archive } = await opened(t, { duplicates: 'overwrite' });
    const versions = [1, 2, 3].map((fill) =>
      makeObject({ sopInstanceUID: '2.25.77', pixels: Buffer.alloc(8192, fill) }),
    );
    const results = await Promise.all(versions.map(({ object }) => storeInstance(archive, object)));
    assert.deepEqual(results.map(({ outcome }) => outcome).sort(), ['replaced', 'replaced', 'stored']);
    const instance = instanceOf(archive, '2.25.77');
    assert.ok(instance);
    const bytes = await bytesOf(readInstance(archive, instance));
    assert.ok(versions.some((version) => version.bytes.equals(bytes)));
    assert.equal(studyOf(archive, instance.studyInstanceUID)?.instanceCount, 1);
  });
});

describe('what runs alongside', () => {
  test('commits with the instance, and not for one that is already there', async (t) => {
    const { archive, database } = await opened(t);
    database.run('CREATE TABLE clock (at INTEGER)');
    const alongside = (): unknown => database.run('INSERT INTO clock VALUES (1)');
    await storeInstance(archive, makeObject().object, { alongside });
    await storeInstance(archive, makeObject().object, { alongside });
    assert.equal(database.get('SELECT count(*) AS n FROM clock')?.['n'], 1);
  });

  test('when it throws, its instance is not stored and the others of the group are', async (t) => {
    const { archive, folder, database } = await opened(t);
    database.run('CREATE TABLE clock (at INTEGER)');
    const numbers = [1, 2, 3, 4, 5];
    const results = await Promise.allSettled(
      numbers.map((instanceNumber) =>
        storeInstance(archive, makeObject({ instanceNumber }).object, {
          alongside: () => {
            database.run('INSERT INTO clock VALUES (?)', instanceNumber);
            if (instanceNumber === 3) throw new Refusal('Unresolved', 'no crosswalk');
          },
        }),
      ),
    );
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    );
    assert.deepEqual(
      database.all('SELECT at FROM clock ORDER BY at').map(({ at }) => at),
      [1, 2, 4, 5],
    );
    assert.equal((await tarNames(folder)).length, 4);
    const before = (await verify(archive)).instances;
    assert.equal(before, 4);
    // The next one is written where the refused one stood.
    await storeInstance(archive, makeObject({ instanceNumber: 3 }).object);
    assert.equal((await tarNames(folder)).length, 5);
    assert.deepEqual((await verify(archive)).damaged, []);
  });
});

describe('large objects', () => {
  const megabyte = Buffer.alloc(2 ** 20, 9);
  const large = { rows: 512, columns: 512, numberOfFrames: 160 };

  test('stream to a pack of their own without being held in memory', async (t) => {
    const { archive, folder } = await opened(t);
    let most = 0;
    const object = makeLargeObject(large, megabyte, 80);
    async function* watched(): AsyncGenerator<Buffer> {
      for await (const chunk of object.body) {
        most = Math.max(most, archive.intake.heldBytes);
        yield chunk;
      }
    }
    await storeInstance(archive, withBody(object, watched()));
    assert.ok(most < 12 * 2 ** 20, `${most} bytes were held`);
    assert.equal(archive.intake.heldBytes, 0);
    const [pack] = await listPacks(archive.folder);
    const { size } = await stat(join(archive.folder, pack ?? ''));
    assert.ok(size > 80 * 2 ** 20);
    assert.equal((await tarNames(folder)).length, 1);
    assert.deepEqual((await verify(archive)).damaged, []);
    assert.deepEqual(
      (await listPacks(archive.folder)).filter((path) => path.endsWith('.part')),
      [],
    );
  });

  test('sent again are recognised, and small ones go to another pack', async (t) => {
    const { archive, folder } = await opened(t);
    await storeInstance(archive, makeLargeObject(large, megabyte, 80));
    assert.equal((await storeInstance(archive, makeLargeObject(large, megabyte, 80))).outcome, 'already-there');
    await storeInstance(archive, makeObject({ instanceNumber: 2 }).object);
    assert.equal((await listPacks(archive.folder)).length, 2);
    assert.equal((await tarNames(folder)).length, 2);
  });

  test('refused alongside leave no file', async (t) => {
    const { archive, folder } = await opened(t);
    const store = storeInstance(archive, makeLargeObject(large, megabyte, 80), {
      alongside: () => {
        throw new Refusal('Unresolved', 'no crosswalk');
      },
    });
    await assert.rejects(store, refusal('Unresolved'));
    assert.deepEqual(await tarNames(folder), []);
  });
});

describe('packs', () => {
  test('that have grown beyond their size are followed by another', async (t) => {
    const { archive } = await opened(t, { packBytes: 20_000 });
    for (let instanceNumber = 1; instanceNumber <= 6; instanceNumber++) {
      await storeInstance(archive, makeObject({ instanceNumber }).object);
    }
    assert.ok((await listPacks(archive.folder)).length >= 2);
    assert.deepEqual((await verify(archive)).damaged, []);
  });

  test('are continued after closing and opening', async (t) => {
    const folder = await newFolder(t);
    for (let instanceNumber = 1; instanceNumber <= 3; instanceNumber++) {
      const one = await openIn(folder);
      await storeInstance(one.archive, makeObject({ instanceNumber }).object);
      await close(one);
    }
    const one = await openIn(folder);
    t.after(() => close(one));
    assert.equal((await listPacks(one.archive.folder)).length, 1);
    assert.equal((await verify(one.archive)).instances, 3);
  });
});

test('instances of a study come by series number, series UID, instance number, SOP Instance UID', async (t) => {
  const { archive } = await opened(t);
  const order = [
    { seriesNumber: 2, instanceNumber: 2 },
    { seriesNumber: 2, instanceNumber: 10 },
    { seriesNumber: 10, instanceNumber: 1 },
  ];
  for (const options of [...order].reverse()) await storeInstance(archive, makeObject(options).object);
  const uid = makeObject().object.studyInstanceUID;
  assert.deepEqual(
    instancesOf(archive, { studyInstanceUID: uid }).map(({ sopInstanceUID }) => sopInstanceUID),
    order.map((options) => makeObject(options).object.sopInstanceUID),
  );
  assert.deepEqual(instancesOf(archive, { studyInstanceUID: uidFrom('nobody') }), []);
});
