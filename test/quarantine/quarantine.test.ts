import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import fc from 'fast-check';
import { migrate, openDatabase } from '../../src/database.ts';
import { Refusal, type RefusalReason } from '../../src/dicom/refusal.ts';
import {
  MIGRATE_QUARANTINE,
  countHeld,
  discard,
  discardHeldBefore,
  heldById,
  hold,
  listHeld,
  sweepQuarantine,
  unseal,
  type Quarantine,
} from '../../src/quarantine.ts';

const FACTS = { reason: 'Quarantined', sentence: 'x', door: 'stow', callingAE: 'A', transferSyntaxUID: '' };

function openRoom(t: TestContext): Quarantine & { clock: { now: number } } {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-quarantine-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const database = openDatabase(':memory:');
  migrate(database, MIGRATE_QUARANTINE.room, MIGRATE_QUARANTINE.steps);
  const clock = { now: 1000 };
  return {
    database,
    folder: join(folder, 'sealed'),
    key: randomBytes(32),
    reserveBytes: 0,
    now: () => clock.now,
    clock,
  };
}

async function* chunks(...parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  await Promise.resolve();
  yield* parts;
}

async function opened(quarantine: Quarantine, id: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of await unseal(quarantine, id)) parts.push(part);
  return Buffer.concat(parts);
}

const refusedAs = (reason: RefusalReason) => (error: unknown) => error instanceof Refusal && error.reason === reason;

test('what is unsealed is what was held, byte for byte, however it came in', async (t) => {
  const quarantine = openRoom(t);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 5000 }), { maxLength: 6 }), async (parts) => {
      const { id, bytes } = await hold(quarantine, chunks(...parts), FACTS);
      assert.equal(bytes, Buffer.concat(parts).length);
      assert.deepEqual(await opened(quarantine, id), Buffer.concat(parts));
    }),
    { numRuns: 25 },
  );
});

test('on disk nothing of the content can be read, the file is 0600 and the folder 0700', async (t) => {
  const quarantine = openRoom(t);
  const { id } = await hold(quarantine, chunks(Buffer.from('MUSTERMANN^ERIKA '.repeat(50))), FACTS);
  const path = join(quarantine.folder, `${id}.sealed`);
  assert.equal(readFileSync(path).includes('MUSTERMANN'), false);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(statSync(quarantine.folder).mode & 0o777, 0o700);
  assert.equal(JSON.stringify(listHeld(quarantine, 10)).includes('MUSTERMANN'), false);
});

test('the same bytes again are the same row, counted, and no second file', async (t) => {
  const quarantine = openRoom(t);
  const first = await hold(quarantine, chunks(Buffer.from('abc')), FACTS);
  const again = await hold(quarantine, chunks(Buffer.from('a'), Buffer.from('bc')), {
    ...FACTS,
    reason: 'CannotUnderstand',
  });
  assert.deepEqual([again.id, again.arrivals, again.reason], [first.id, 2, 'CannotUnderstand']);
  await hold(quarantine, chunks(Buffer.from('abd')), FACTS);
  assert.equal(countHeld(quarantine), 2);
  assert.equal(readdirSync(quarantine.folder).length, 2);
});

test('any changed byte, a cut or exchanged file is found, and not one byte comes out', async (t) => {
  const quarantine = openRoom(t);
  const one = await hold(quarantine, chunks(randomBytes(300_000)), FACTS);
  const other = await hold(quarantine, chunks(randomBytes(300_000)), FACTS);
  const path = join(quarantine.folder, `${one.id}.sealed`);
  const whole = readFileSync(path);
  for (const at of [0, 11, 12, 200_000, whole.length - 16, whole.length - 1]) {
    const changed = Buffer.from(whole);
    changed[at] = (changed[at] ?? 0) ^ 1;
    writeFileSync(path, changed);
    await assert.rejects(unseal(quarantine, one.id), refusedAs('CannotUnderstand'), `byte ${at}`);
  }
  for (const bytes of [whole.subarray(0, -1), whole.subarray(0, 20), Buffer.alloc(0)]) {
    writeFileSync(path, bytes);
    await assert.rejects(unseal(quarantine, one.id), refusedAs('CannotUnderstand'));
  }
  writeFileSync(path, readFileSync(join(quarantine.folder, `${other.id}.sealed`)));
  await assert.rejects(unseal(quarantine, one.id), refusedAs('CannotUnderstand'), 'sealed under another id');
  rmSync(path);
  await assert.rejects(unseal(quarantine, one.id), refusedAs('CannotUnderstand'));
  await assert.rejects(unseal({ ...quarantine, key: randomBytes(32) }, other.id), refusedAs('CannotUnderstand'));
  await assert.rejects(unseal(quarantine, 'nobody'), refusedAs('NotFound'));
});

test('a source that breaks off and a disk that is short leave nothing behind', async (t) => {
  const quarantine = openRoom(t);
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('begun');
    await Promise.resolve();
    throw new Error('gone');
  }
  await assert.rejects(hold(quarantine, broken(), FACTS), /gone/);
  await assert.rejects(
    hold({ ...quarantine, reserveBytes: Number.MAX_SAFE_INTEGER }, chunks(Buffer.from('abc')), FACTS),
    refusedAs('DiskFull'),
  );
  assert.equal(countHeld(quarantine), 0);
  assert.deepEqual(readdirSync(quarantine.folder), []);
});

test('discarding deletes row and file, and an id that is a path touches nothing', async (t) => {
  const quarantine = openRoom(t);
  const { id } = await hold(quarantine, chunks(Buffer.from('abc')), FACTS);
  const outside = join(quarantine.folder, '..', 'precious.sealed');
  writeFileSync(outside, 'kept');
  assert.equal(await discard(quarantine, '../precious'), false);
  assert.equal(readFileSync(outside, 'utf8'), 'kept');
  assert.equal(await discard(quarantine, id), true);
  assert.equal(await discard(quarantine, id), false);
  assert.equal(heldById(quarantine, id), undefined);
  assert.deepEqual(readdirSync(quarantine.folder), []);
});

test('what is older than asked goes, the rest stays', async (t) => {
  const quarantine = openRoom(t);
  await hold(quarantine, chunks(Buffer.from('old')), FACTS);
  quarantine.clock.now = 2000;
  const young = await hold(quarantine, chunks(Buffer.from('young')), FACTS);
  assert.equal(await discardHeldBefore(quarantine, 2000), 1);
  assert.deepEqual(
    listHeld(quarantine, 10).map(({ id }) => id),
    [young.id],
  );
});

test('files that a crash left without a row are swept, what is held and what is not ours stays', async (t) => {
  const quarantine = openRoom(t);
  const { id } = await hold(quarantine, chunks(Buffer.from('abc')), FACTS);
  const orphan = '00000000-0000-4000-8000-000000000000.sealed';
  for (const name of [orphan, `${orphan}.part`, 'README']) writeFileSync(join(quarantine.folder, name), 'x');
  assert.equal(await sweepQuarantine(quarantine), 2);
  assert.deepEqual(readdirSync(quarantine.folder).sort(), [`${id}.sealed`, 'README'].sort());
  assert.equal(await sweepQuarantine({ ...quarantine, folder: join(quarantine.folder, 'absent') }), 0);
});
