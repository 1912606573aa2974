/** What siblings of an object say of its patient: looked for in its texts too, and gone from memory and vault with the patient. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { describe, it, test } from 'node:test';
import { inspect } from 'node:util';
import { textValue } from '../../src/dicom/data-set.ts';
import { forgetPatient } from '../../src/deidentify/patients.ts';
import { openWall, type Wall } from '../../src/deidentify/wall.ts';
import { deidentify } from '../../src/deidentify/deidentify.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { mergePatients } from '../../src/deidentify/merge.ts';
import { compileProfile } from '../../src/deidentify/profile.ts';
import { resealRows } from '../../src/deidentify/reseal.ts';
import { fileOf, fileWall, holds, makeFile, memoryWall, pass, KEY, type Passed, type Value } from './support.ts';

const SCRUB = compileProfile({ ...fileOf('research-longitudinal') });
/** Another name, no name; the description knows better. */
const NAMELESS = {
  '00080018': '1.2.3.4.77',
  '00100010': '',
  '0008103E': 'LO:Liver of Zwanzigerova, ward Abendroth, 01 77 55 43',
};
const NAMED = {
  '00100010': 'Zwanzigerova^Ludmila',
  '00080080': 'LO:Klinik Abendroth',
  '00102154': 'SH:017 75543',
  '00081048': 'Oesterlund^Pia',
};

const description = ({ dataSet }: Passed): string => textValue(dataSet, 0x0008103e) ?? '';
const through = (wall: Wall, attributes: Readonly<Record<string, Value | undefined>>): Promise<Passed> =>
  pass(makeFile(attributes), { wall, profile: SCRUB });

describe('the patient’s other objects', () => {
  test('DEID-KIN: lend their names, places and numbers to an object that names nobody', async () => {
    const wall = memoryWall();
    await through(wall, NAMED);
    const passed = await through(wall, NAMELESS);
    for (const word of ['Zwanzigerova', 'Abendroth', '77 55 43']) assert.equal(holds(passed.file, word), false, word);
    assert.match(description(passed), /^Liver/);
  });

  it('whatever name the object itself bears, in another study of the patient', async () => {
    const wall = memoryWall();
    await through(wall, NAMED);
    const passed = await through(wall, { ...NAMELESS, '00100010': 'Test^Patient', '0020000D': '1.2.3.4.5.6' });
    assert.equal(holds(passed.file, 'Zwanzigerova'), false);
  });

  it('of the same study, when the object has no Patient ID', async () => {
    const wall = memoryWall();
    await through(wall, NAMED);
    assert.equal(holds((await through(wall, { ...NAMELESS, '00100020': undefined })).file, 'Zwanzigerova'), false);
  });

  it('of a record merged with it', async () => {
    const wall = memoryWall();
    await through(wall, { ...NAMED, '00100020': 'OLD-1', '0020000D': '1.2.3.4.5.7' });
    mergePatients(wall, 'trial', { issuer: '', id: 'OLD-1' }, { issuer: '', id: 'PID-4711' });
    assert.equal(holds((await through(wall, NAMELESS)).file, 'Zwanzigerova'), false);
  });

  it('also in code strings and kept text', async () => {
    const wall = memoryWall();
    await through(wall, NAMED);
    const passed = await through(wall, {
      '00100010': '',
      '00185100': 'CS:ZWANZIGEROVA',
      '00080070': 'Zwanzigerova & Co',
    });
    assert.equal(holds(passed.file, 'Zwanzigerova'), false);
  });

  it('of nobody else: another patient’s name is no name here', async () => {
    const wall = memoryWall();
    await through(wall, { ...NAMED, '00100020': 'SOMEBODY-ELSE', '0020000D': '1.2.3.4.5.8' });
    assert.match(description(await through(wall, NAMELESS)), /Zwanzigerova/);
  });

  it('are known after a restart, sealed in the vault, also under a new secret', async (t) => {
    const { wall, database, folder } = fileWall();
    t.after(() => {
      database.close();
      rmSync(folder, { recursive: true });
    });
    await through(wall, NAMED);
    const rows = database.all('SELECT sealed FROM crosswalk_kin');
    assert.equal(rows.length, 1);
    assert.equal(
      rows.some(({ sealed }) => (sealed as Buffer).includes('Zwanzigerova')),
      false,
    );
    const source = { keyFile: `${folder}/keys/crosswalk.key` };
    resealRows(wall, source);
    const again = openWall(database, source);
    assert.equal(holds((await through(again, NAMELESS)).file, 'Zwanzigerova'), false);
  });

  it('are written once, and again after a transaction that was rolled back', async () => {
    const wall = memoryWall();
    const count = (): number => wall.database.all('SELECT 1 FROM crosswalk_kin').length;
    const first = await deidentify(wall, await readObject(makeFile(NAMED)), { project: 'trial', profile: SCRUB });
    assert.throws(() =>
      wall.database.transaction(() => {
        first.remember();
        throw new Error('disk full');
      }),
    );
    assert.equal(count(), 0);
    for (let instance = 10; instance < 14; instance++)
      await through(wall, { ...NAMED, '00080018': `1.2.3.4.${instance}` });
    assert.equal(count(), 1);
  });

  it('are nowhere in the process once a patient is forgotten', async () => {
    const wall = memoryWall();
    const { dataSet } = await through(wall, { ...NAMED, '0008103E': 'LO:Liver' });
    const inMemory = (): string => inspect([wall.kin, wall.known], { depth: 9, maxArrayLength: null });
    assert.match(inMemory(), /Zwanzigerova/);
    assert.equal(wall.known.size, 1);
    forgetPatient(wall, 'trial', textValue(dataSet, 0x00100020) ?? '');
    assert.doesNotMatch(inMemory(), /Zwanzigerova/);
    assert.equal(wall.known.size, 0);
    assert.equal(wall.database.all('SELECT 1 FROM crosswalk_kin').length, 0);
    assert.match(description(await through(wall, NAMELESS)), /Zwanzigerova/, 'nobody knows the name any more');
  });

  it('lead nowhere where keys are made once: nothing is written', async () => {
    const wall = openWall(memoryWall().database, { keyFile: '', keyHex: KEY });
    const profile = compileProfile({ ...fileOf('gdpr-anonymise'), freeText: 'scrub', faces: 'allow', pixels: 'allow' });
    await pass(makeFile(NAMED), { wall, profile });
    assert.equal(wall.database.all('SELECT 1 FROM crosswalk_kin').length, 0);
    assert.equal(holds((await pass(makeFile(NAMELESS), { wall, profile })).file, 'Zwanzigerova'), false);
  });
});
