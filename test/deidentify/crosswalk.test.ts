import assert from 'node:assert/strict';
import { chmodSync, existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { openDatabase } from '../../src/database.ts';
import { asciiValue } from '../../src/dicom/data-set.ts';
import { readObject } from '../../src/dicom/part10.ts';
import type { Refusal } from '../../src/dicom/refusal.ts';
import { dateOffsetDays, pseudonymOfUid } from '../../src/deidentify/pseudonyms.ts';
import { domainOf, openWall } from '../../src/deidentify/wall.ts';
import {
  UIDS_OF_PATIENT,
  findStudy,
  originalUid,
  originalsOf,
  studiesOfPatient,
} from '../../src/deidentify/crosswalk.ts';
import { forgetPatient } from '../../src/deidentify/patients.ts';
import { deidentify } from '../../src/deidentify/deidentify.ts';
import { BASIC, fileWall, gather, holds, KEY, makeFile, memoryWall, pass, UIDS } from './support.ts';

describe('the key', () => {
  it('is made on first start in a file that only its owner may read, and used again', () => {
    const { folder, database, wall } = fileWall();
    const keyFile = join(folder, 'keys', 'crosswalk.key');
    assert.equal(statSync(keyFile).mode & 0o777, 0o600);
    const before = readFileSync(keyFile, 'utf8');
    const again = openWall(database, { keyFile });
    assert.deepEqual(again.master, wall.master);
    assert.equal(readFileSync(keyFile, 'utf8'), before);
    assert.notEqual(`${again.master.toString('hex')}\n`, before);
  });

  it('is refused when others may read it, or when it is no key', () => {
    const { folder, database } = fileWall();
    const keyFile = join(folder, 'keys', 'crosswalk.key');
    chmodSync(keyFile, 0o640);
    const refused = (error: Refusal): boolean => error.reason === 'BadConfiguration' && !error.message.includes(KEY);
    assert.throws(() => openWall(database, { keyFile }), refused);
    chmodSync(keyFile, 0o600);
    writeFileSync(keyFile, 'short');
    assert.throws(() => openWall(database, { keyFile }), refused);
    assert.throws(() => openWall(database, { keyFile, keyHex: `${KEY}0` }), refused);
  });

  it('is made where a first start was killed before it wrote one, and never for a database that was begun', () => {
    const { folder, database } = fileWall();
    const keyFile = join(folder, 'keys', 'crosswalk.key');
    writeFileSync(keyFile, '');
    assert.throws(
      () => openWall(database, { keyFile }),
      (error: Refusal) => error.reason === 'BadConfiguration',
    );
    assert.equal(readFileSync(keyFile, 'utf8'), '');
    const fresh = openDatabase(join(folder, 'fresh.sqlite'));
    openWall(fresh, { keyFile });
    assert.match(readFileSync(keyFile, 'utf8'), /^[0-9a-f]{64}\n$/);
    fresh.close();
  });

  it('is refused when the database was begun with another, and not made anew when it is gone', () => {
    const { folder, database } = fileWall();
    const keyFile = join(folder, 'keys', 'crosswalk.key');
    const key = readFileSync(keyFile, 'utf8').trim();
    openWall(database, { keyFile, keyHex: key });
    const refused = (error: Refusal): boolean => error.reason === 'BadConfiguration' && !error.message.includes(key);
    assert.throws(() => openWall(database, { keyFile, keyHex: KEY }), refused);
    rmSync(keyFile);
    assert.throws(() => openWall(database, { keyFile }), refused);
    assert.equal(existsSync(keyFile), false);
  });

  it('another key gives other pseudonyms and opens no row', async () => {
    const database = openDatabase(':memory:');
    const wall = openWall(database, { keyFile: '', keyHex: KEY });
    const { dataSet } = await pass(makeFile(), { wall });
    const other = {
      database,
      master: Buffer.from(KEY.replaceAll('0', '9'), 'hex'),
      seals: new Map(),
      domains: new Map(),
      kin: new Map(),
      known: new Map(),
      faultless: new Map(),
    };
    const study = asciiValue(dataSet, 0x0020000d) ?? '';
    assert.notEqual(pseudonymOfUid(domainOf(other, 'trial'), UIDS.study), study);
    assert.throws(
      () => findStudy(other, 'trial', study),
      (error: Refusal) => error.reason === 'Unresolved',
    );
  });
});

describe('rows', () => {
  it('lead from every pseudonym UID, at any depth, back to its original', async () => {
    const wall = memoryWall();
    const { result } = await pass(makeFile({ '00089215': [{ '00089215': [{ '00081155': '1.2.77.1' }] }] }), { wall });
    assert.equal(originalUid(wall, 'trial', result.object.studyInstanceUID), UIDS.study);
    assert.equal(originalUid(wall, 'trial', result.object.sopInstanceUID), UIDS.instance);
    assert.equal(originalUid(wall, 'trial', pseudonymOfUid(domainOf(wall, 'trial'), '1.2.77.1')), '1.2.77.1');
    assert.equal(findStudy(wall, 'trial', result.object.studyInstanceUID)?.attributes['00100010'], 'Meier^Hans');
    assert.equal(findStudy(wall, 'other', result.object.studyInstanceUID), undefined);
  });

  it('leave no original in clear in any file of the database', async () => {
    const { wall, database, folder } = fileWall();
    for (let slice = 0; slice < 20; slice++) await pass(makeFile({ '00080018': `1.2.3.4.77.${slice}` }), { wall });
    for (const close of [false, true]) {
      if (close) database.close();
      for (const name of readdirSync(folder).filter((file) => file.startsWith('isthmus'))) {
        const bytes = readFileSync(join(folder, name));
        for (const word of ['Meier', 'PID-4711', 'ACC-77', 'Refer^Rita', '1.2.3.4', '20240405', '19570302'])
          assert.equal(holds(bytes, word), false, `${word} stands in ${name}`);
      }
    }
  });

  it('are written once for what many instances share', async () => {
    const wall = memoryWall();
    for (let slice = 0; slice < 10; slice++) await pass(makeFile({ '00080018': `1.2.3.4.77.${slice}` }), { wall });
    const rows = (table: string): unknown => wall.database.get(`SELECT count(*) AS n FROM ${table}`)?.['n'];
    assert.equal(rows('crosswalk_study'), 1);
    assert.equal(rows('crosswalk_patient'), 1);
    assert.equal(rows('crosswalk_uid'), 13);
    const changes = wall.database.get('SELECT total_changes() AS n')?.['n'];
    await pass(makeFile({ '00080018': '1.2.3.4.77.9' }), { wall });
    assert.equal(wall.database.get('SELECT total_changes() AS n')?.['n'], changes);
  });

  it('are written again when the transaction they were in was rolled back', async () => {
    const wall = memoryWall();
    const object = await readObject(makeFile());
    const { remember, object: clean } = await deidentify(wall, object, { project: 'trial', profile: BASIC });
    await gather(clean.body);
    assert.throws(() =>
      wall.database.transaction(() => {
        remember();
        throw new Error('disk full');
      }),
    );
    assert.equal(findStudy(wall, 'trial', clean.studyInstanceUID), undefined);
    await pass(makeFile(), { wall });
    assert.equal(originalUid(wall, 'trial', clean.sopInstanceUID), UIDS.instance);
    assert.notEqual(findStudy(wall, 'trial', clean.studyInstanceUID), undefined);
  });

  it('that were changed or moved to another pseudonym do not open', async () => {
    const wall = memoryWall();
    const { result } = await pass(makeFile(), { wall });
    const [a, b] = [result.object.sopInstanceUID, result.object.seriesInstanceUID];
    wall.database.run(
      'UPDATE crosswalk_uid SET sealed = (SELECT sealed FROM crosswalk_uid WHERE pseudonym = ?) WHERE pseudonym = ?',
      a,
      b,
    );
    assert.throws(
      () => originalUid(wall, 'trial', b),
      (error: Refusal) => error.reason === 'Unresolved',
    );
  });

  it('survive a restart: another process gives the same patient the same pseudonym and dates', async () => {
    const { wall, folder } = fileWall();
    const first = await pass(makeFile(), { wall });
    const second = openWall(openDatabase(join(folder, 'isthmus.sqlite')), {
      keyFile: join(folder, 'keys', 'crosswalk.key'),
    });
    const again = await pass(makeFile(), { wall: second });
    assert.deepEqual(again.file, first.file);
    second.database.close();
  });
});

describe('patients', () => {
  it('are told apart by issuer, and studies without an ID are nobody’s', async () => {
    const wall = memoryWall();
    const id = async (attributes: Record<string, string>): Promise<string> =>
      asciiValue((await pass(makeFile(attributes), { wall })).dataSet, 0x00100020) ?? '';
    const plain = await id({});
    assert.match(plain, /^[A-Z2-7]{10}$/);
    assert.equal(await id({ '0020000D': '1.2.3.4.60' }), plain);
    assert.notEqual(await id({ '00100021': 'HOSPITAL B' }), plain);
    const nobody = await id({ '00100020': '' });
    assert.equal(await id({ '00100020': '', '00080018': '1.2.3.4.61' }), nobody);
    assert.notEqual(await id({ '00100020': '', '0020000D': '1.2.3.4.62' }), nobody);
  });

  it('are moved in time by whole days inside the window, never by none', () => {
    const domain = domainOf(memoryWall(), 'trial');
    const seen = new Set<number>();
    for (let n = 0; n < 500; n++) seen.add(dateOffsetDays(domain, Buffer.from(String(n)), [-2, 2]));
    assert.deepEqual(
      [...seen].sort((a, b) => a - b),
      [-2, -1, 1, 2],
    );
    assert.equal(dateOffsetDays(domain, Buffer.from('x'), [-1, -1]), -1);
  });

  it('can be forgotten: no row and no salt is left, and the pseudonym does not come back', async () => {
    const wall = memoryWall();
    const { dataSet, result } = await pass(makeFile(), { wall });
    const patient = asciiValue(dataSet, 0x00100020) ?? '';
    assert.deepEqual(studiesOfPatient(wall, 'trial', patient), [result.object.studyInstanceUID]);
    assert.ok(forgetPatient(wall, 'trial', patient) >= 6);
    for (const table of ['crosswalk_patient', 'crosswalk_study', 'crosswalk_uid', 'crosswalk_kin'])
      assert.equal(wall.database.get(`SELECT count(*) AS n FROM ${table}`)?.['n'], 0);
    const again = await pass(makeFile(), { wall });
    assert.notEqual(asciiValue(again.dataSet, 0x00100020), patient);
  });

  it('of one patient are found without looking at those of all others', async () => {
    const wall = memoryWall();
    const { dataSet, result } = await pass(makeFile(), { wall });
    await pass(makeFile({ '00100020': 'ANOTHER', '0020000D': '1.2.3.4.70', '00080018': '1.2.3.4.71' }), { wall });
    const found = new Map<string, string>();
    for await (const [pseudonym, original] of originalsOf(wall, 'trial', asciiValue(dataSet, 0x00100020) ?? ''))
      found.set(pseudonym, original);
    assert.ok(found.has(result.object.sopInstanceUID));
    assert.ok(![...found.values()].includes('1.2.3.4.71'));
    const plan = wall.database.all(`EXPLAIN QUERY PLAN ${UIDS_OF_PATIENT}`, 'trial', 'x', '', 500);
    assert.match(
      plan.map(({ detail }) => String(detail)).join(),
      /^SEARCH .* \(project=\? AND patient=\? AND pseudonym>\?\)$/,
    );
  });
});
