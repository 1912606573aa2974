import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { openDatabase, type Database } from '../../src/database.ts';
import { findStudy, originalUid } from '../../src/deidentify/crosswalk.ts';
import { openWall } from '../../src/deidentify/wall.ts';
import { resealRows } from '../../src/deidentify/reseal.ts';
import { addSealSecret, hkdf, rewrapSecrets } from '../../src/deidentify/vault.ts';
import type { Refusal } from '../../src/dicom/refusal.ts';
import { fileWall, holds, KEY, makeFile, pass, UIDS } from './support.ts';

const OTHER_KEY = KEY.replaceAll('0', '9');
const refused = (error: Refusal): boolean => error.reason === 'BadConfiguration' && !error.message.includes(KEY);

/** A key service of a kind: XOR with a pad of its own, which is enough to see what is asked of it. */
function keyService(folder: string): { command: string[]; log: string } {
  const script = join(folder, 'key-service.mjs');
  const log = join(folder, 'asked');
  writeFileSync(
    script,
    `import { appendFileSync, readFileSync } from 'node:fs';
     const verb = process.argv.at(-1);
     appendFileSync(${JSON.stringify(log)}, verb + '\\n');
     const given = Buffer.from(readFileSync(0, 'utf8').trim(), 'base64');
     process.stdout.write(given.map((byte, at) => byte ^ (at * 7 + 31)).toString('base64') + '\\n');`,
  );
  return { command: [process.execPath, script], log };
}

function bytesOf(folder: string): Buffer[] {
  return readdirSync(folder)
    .filter((name) => name.startsWith('isthmus'))
    .map((name) => readFileSync(join(folder, name)));
}

async function readsBack(database: Database, source: Parameters<typeof openWall>[1], study: string): Promise<void> {
  const wall = openWall(database, source);
  assert.equal(originalUid(wall, 'trial', study), UIDS.study);
  assert.equal(findStudy(wall, 'trial', study)?.attributes['00100020'], 'PID-4711');
  const { result } = await pass(makeFile(), { wall });
  assert.equal(result.object.studyInstanceUID, study);
}

describe('the key-encryption key', () => {
  it('can be changed without touching a pseudonym; the one before opens nothing any more', async () => {
    const { wall, database, folder } = fileWall();
    const keyFile = join(folder, 'keys', 'crosswalk.key');
    const { result } = await pass(makeFile(), { wall });
    assert.equal(rewrapSecrets(database, { keyFile }, { keyFile: '', keyHex: KEY }), 1);
    await readsBack(database, { keyFile: '', keyHex: KEY }, result.object.studyInstanceUID);
    assert.throws(() => openWall(database, { keyFile }), refused);
    const newFile = join(folder, 'elsewhere', 'second.key');
    rewrapSecrets(database, { keyFile: '', keyHex: KEY }, { keyFile: newFile });
    await readsBack(database, { keyFile: newFile }, result.object.studyInstanceUID);
    assert.throws(() => openWall(database, { keyFile: '', keyHex: KEY }), refused);
  });

  it('stays as it is when the change is refused half-way', async () => {
    const { wall, database, folder } = fileWall();
    const keyFile = join(folder, 'keys', 'crosswalk.key');
    const { result } = await pass(makeFile(), { wall });
    assert.throws(
      () => rewrapSecrets(database, { keyFile: '', keyHex: KEY }, { keyFile: '', keyHex: OTHER_KEY }),
      refused,
    );
    assert.throws(() => rewrapSecrets(database, { keyFile }, { keyFile: '', keyHex: 'short' }), refused);
    assert.throws(() => rewrapSecrets(database, { keyFile }, { keyFile: '', command: ['/bin/false'] }), refused);
    assert.throws(() => rewrapSecrets(database, { keyFile }, { keyFile: '', command: ['/bin/cat'] }), refused);
    await readsBack(database, { keyFile }, result.object.studyInstanceUID);
  });

  it('can lie with a service that a command speaks to', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'isthmus-vault-'));
    const { command, log } = keyService(folder);
    const database = openDatabase(join(folder, 'isthmus.sqlite'));
    const source = { keyFile: join(folder, 'unused'), command };
    const { result } = await pass(makeFile(), { wall: openWall(database, source) });
    assert.equal(existsSync(source.keyFile), false);
    assert.equal(readFileSync(log, 'utf8'), 'wrap\nunwrap\n');
    await readsBack(database, source, result.object.studyInstanceUID);
    assert.throws(
      () => openWall(database, { keyFile: '', command: [join(folder, 'no-such-program')] }),
      (error: Refusal) => refused(error) && /unwrap/.test(error.message),
    );
  });

  it('of a database from before the vault goes on leading to the same pseudonyms', async () => {
    const { wall, database } = fileWall();
    const { result } = await pass(makeFile(), { wall });
    const study = result.object.studyInstanceUID;
    // As such a database stood: the key was the master secret, and its mark the only row.
    database.run('DELETE FROM vault_secret');
    database.run('INSERT INTO crosswalk_key (one, mark) VALUES (1, ?)', hkdf(wall.master, 'mark'));
    const oldKey = wall.master.toString('hex');
    assert.throws(() => openWall(database, { keyFile: '', keyHex: KEY }), refused);
    await readsBack(database, { keyFile: '', keyHex: oldKey }, study);
    assert.equal(database.get('SELECT count(*) AS n FROM crosswalk_key')?.['n'], 0);
    rewrapSecrets(database, { keyFile: '', keyHex: oldKey }, { keyFile: '', keyHex: KEY });
    await readsBack(database, { keyFile: '', keyHex: KEY }, study);
  });
});

describe('sealing anew', () => {
  it('leaves no row under an earlier secret, none of its bytes on disk, and every pseudonym as it was', async () => {
    const { wall, database, folder } = fileWall();
    const source = { keyFile: join(folder, 'keys', 'crosswalk.key') };
    let study = '';
    for (let n = 0; n < 40; n++) {
      const { result } = await pass(makeFile({ '00080018': `1.2.3.4.9.${n}` }), { wall });
      study = result.object.studyInstanceUID;
    }
    const old = database.all('SELECT sealed FROM crosswalk_uid').map((row) => row['sealed'] as Buffer);
    const first = resealRows(wall, source);
    assert.equal(first.generation, 1);
    // UIDs, the patient, the study, and what it says of people.
    assert.equal(first.rows, old.length + 3);
    const second = resealRows(openWall(database, source), source);
    assert.deepEqual(second, { generation: 2, rows: first.rows });
    assert.deepEqual(
      database.all('SELECT name FROM vault_secret ORDER BY name').map((row) => row['name']),
      ['master', 'seal:2'],
    );
    await readsBack(database, source, study);
    for (const bytes of bytesOf(folder)) for (const sealed of old) assert.equal(bytes.includes(sealed), false);
    for (const bytes of bytesOf(folder)) assert.equal(holds(bytes, 'PID-4711'), false);
  });

  it('goes on where it was cut off', async () => {
    const { wall, database, folder } = fileWall();
    const source = { keyFile: join(folder, 'keys', 'crosswalk.key') };
    const { result } = await pass(makeFile(), { wall });
    addSealSecret(database, source, wall);
    await pass(makeFile({ '00080018': '1.2.3.4.9.1', '0020000D': '1.2.3.4.99' }), { wall });
    const { generation, rows } = resealRows(openWall(database, source), source);
    assert.equal(generation, 1);
    assert.ok(rows > 0);
    await readsBack(database, source, result.object.studyInstanceUID);
  });

  it('destroys nothing when a row cannot be opened', async () => {
    const { wall, database, folder } = fileWall();
    const source = { keyFile: join(folder, 'keys', 'crosswalk.key') };
    resealRows(wall, source);
    const { result } = await pass(makeFile(), { wall });
    database.run('UPDATE crosswalk_uid SET sealed = zeroblob(60) WHERE pseudonym = ?', result.object.sopInstanceUID);
    assert.throws(
      () => resealRows(wall, source),
      (error: Refusal) => error.reason === 'Unresolved',
    );
    const again = openWall(database, source);
    assert.equal(originalUid(again, 'trial', result.object.studyInstanceUID), UIDS.study);
    assert.deepEqual([...again.seals.keys()].sort(), [1, 2]);
  });
});

describe('two projects', () => {
  it('share no pseudonym and no sealed row, under one key', async () => {
    const { wall } = fileWall();
    const one = await pass(makeFile(), { wall, project: 'one' });
    const two = await pass(makeFile(), { wall, project: 'two' });
    assert.notEqual(one.result.object.studyInstanceUID, two.result.object.studyInstanceUID);
    const pseudonyms = (project: string): unknown[] =>
      wall.database
        .all(
          'SELECT pseudonym FROM crosswalk_uid WHERE project = ? UNION SELECT pseudonym FROM crosswalk_patient WHERE project = ?',
          project,
          project,
        )
        .map((row) => row['pseudonym']);
    assert.ok(pseudonyms('one').length > 3);
    assert.deepEqual(
      pseudonyms('one').filter((uid) => pseudonyms('two').includes(uid)),
      [],
    );
    assert.equal(originalUid(wall, 'two', one.result.object.studyInstanceUID), undefined);
  });
});
