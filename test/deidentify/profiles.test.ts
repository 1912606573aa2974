/** What the profiles of config/profiles promise beyond the table. */
import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import { asciiValue, findElement, itemsOf, textValue } from '../../src/dicom/data-set.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { deidentify } from '../../src/deidentify/deidentify.ts';
import { oneTimeDomain, oneTimeRoot, openOneTimeKeys } from '../../src/deidentify/one-time.ts';
import { compileProfile, ProfileFault, type ProfileFile } from '../../src/deidentify/profile.ts';
import { fileOf, holds, makeFile, memoryWall, pass, UIDS } from './support.ts';

const quarantined = (sentence: RegExp) => (error: unknown) =>
  error instanceof Refusal && error.reason === 'Quarantined' && sentence.test(error.message);

describe('hipaa-expert', () => {
  const file: ProfileFile = {
    ...fileOf('hipaa-expert'),
    determination: { id: 'ED-2026-7', expires: '2026-06-30', recipients: ['trial', 'registry'] },
  };
  const profile = compileProfile(file);
  const at = (day: string, recipient?: string): Promise<unknown> =>
    readObject(makeFile()).then((object) =>
      deidentify(memoryWall(), object, {
        project: 'trial',
        profile,
        now: () => Date.parse(day),
        ...(recipient === undefined ? {} : { recipient }),
      }),
    );

  it('refuses as it is shipped: nobody has determined anything yet', async () => {
    await assert.rejects(pass(makeFile(), { profile: compileProfile(fileOf('hipaa-expert')) }), quarantined(/expired/));
  });

  test('DEID-EXPERT: refuses after the last day, and not on it', async () => {
    await at('2026-06-30T23:59:00Z');
    await assert.rejects(at('2026-07-02T00:00:00Z'), quarantined(/ED|expired on 2026-06-30/));
  });

  it('refuses whoever the determination was not made for', async () => {
    await at('2026-06-01T00:00:00Z', 'registry');
    await assert.rejects(at('2026-06-01T00:00:00Z', 'stranger'), quarantined(/allowed: trial, registry/));
  });

  it('names the determination in the object', async () => {
    const object = await readObject(makeFile());
    const result = await deidentify(memoryWall(), object, {
      project: 'trial',
      profile,
      now: () => Date.parse('2026-06-01'),
    });
    assert.ok(result.object.head.includes('Expert determination ED-2026-7'));
  });

  it('is refused when its last day is none', () => {
    const determination = { id: 'x', expires: '2026-02-31', recipients: [] };
    assert.throws(
      () => compileProfile({ ...file, determination }),
      (error: unknown) => error instanceof ProfileFault && error.path.join('.') === 'determination.expires',
    );
  });
});

describe('gdpr-anonymise', () => {
  const profile = compileProfile(fileOf('gdpr-anonymise'));

  it('writes nothing to the crosswalk', async () => {
    const wall = memoryWall();
    await pass(makeFile(), { wall, profile });
    for (const table of ['crosswalk_patient', 'crosswalk_study', 'crosswalk_uid', 'crosswalk_kin'])
      assert.equal(wall.database.all(`SELECT 1 FROM ${table}`).length, 0, table);
  });

  it('is consistent inside a batch, in workers that share its root, and never again', async () => {
    const object = async () => await readObject(makeFile());
    const run = async (root: Buffer) => {
      const oneTimeKeys = openOneTimeKeys(root);
      const { head } = (await deidentify(memoryWall(), await object(), { project: 'trial', profile, oneTimeKeys }))
        .object;
      return head;
    };
    const root = oneTimeRoot();
    assert.deepEqual(await run(root), await run(root));
    assert.notDeepEqual(await run(root), await run(oneTimeRoot()));
  });

  it('in the gateway has a key for a day', () => {
    const keys = openOneTimeKeys();
    const first = oneTimeDomain(keys, 'trial', 0);
    assert.equal(oneTimeDomain(keys, 'trial', 23 * 3_600_000), first);
    assert.notEqual(oneTimeDomain(keys, 'other', 0), first);
    assert.notEqual(oneTimeDomain(keys, 'trial', 24 * 3_600_000), first);
  });

  it('leaves years and clinical words, nothing else of dates and text', async () => {
    const { dataSet, file } = await pass(makeFile({ '0008103E': 'Thorax Meier QZSTRANGE 2024-04-05' }), { profile });
    assert.equal(textValue(dataSet, 0x0008103e), 'Thorax');
    assert.equal(asciiValue(dataSet, 0x00080020), '20240101');
    assert.equal(holds(file, '20240405') || holds(file, 'STRANGE'), false);
  });

  it('contradicts retained UIDs', () => {
    assert.throws(() => compileProfile({ ...fileOf('gdpr-anonymise'), options: ['retain-uids'] }), ProfileFault);
  });
});

describe('research-longitudinal', () => {
  const profile = compileProfile(fileOf('research-longitudinal'));

  it('keeps distances of dates, times, device and patient characteristics, and scrubs text', async () => {
    const { dataSet, file } = await pass(
      makeFile({
        '0008103E': 'Thorax of Hans Meier at ACME',
        '00081010': 'SCANNER3',
        '00101030': '71.5',
        '00080021': '20240407',
        '00080031': '174839',
      }),
      { profile },
    );
    assert.equal(textValue(dataSet, 0x0008103e), 'Thorax of at ACME');
    assert.equal(textValue(dataSet, 0x00081010), 'SCANNER3');
    assert.equal(asciiValue(dataSet, 0x00101030), '71.5');
    assert.equal(asciiValue(dataSet, 0x00100040), 'M');
    assert.equal(asciiValue(dataSet, 0x00080031), '174839');
    const day = (tag: number): number =>
      Date.parse((asciiValue(dataSet, tag) ?? '').replace(/(....)(..)(..)/, '$1-$2-$3'));
    assert.equal(day(0x00080021) - day(0x00080020), 2 * 86_400_000);
    assert.equal(holds(file, 'Meier') || holds(file, '20240405'), false);
  });

  it('caps the age all the same', async () => {
    const { dataSet } = await pass(makeFile({ '00101010': '093Y' }), { profile });
    assert.equal(asciiValue(dataSet, 0x00101010), '090Y');
  });

  it('cleans what a report says and leaves out whom it names', async () => {
    const text = (code: string, meaning: string, value: string) => ({
      '0040A040': 'TEXT',
      '0040A043': [{ '00080100': code, '00080102': 'DCM', '00080104': meaning }],
      '0040A160': value,
    });
    const { dataSet, file } = await pass(
      makeFile(
        {
          '00080016': '1.2.840.10008.5.1.4.1.1.88.33',
          '0040A730': [
            text('121071', 'Finding', 'Nodule in the lung of Mr. Meier, tel. 0228 287 15871'),
            text('121008', 'Person Observer Name', 'QZOBSERVER'),
            { '0040A040': 'PNAME', '0040A123': 'Observer^Olga' },
          ],
        },
        { pixels: null },
      ),
      { profile },
    );
    const [finding, observer] = itemsOf(dataSet, 0x0040a730);
    assert.match(textValue(finding ?? dataSet, 0x0040a160) ?? '', /^Nodule in the lung of/);
    assert.equal(textValue(observer ?? dataSet, 0x0040a160), 'REMOVED');
    for (const word of ['Meier', '15871', 'QZOBSERVER', 'Olga']) assert.equal(holds(file, word), false, word);
  });

  it('keeps the empty owner that an animal must have, and no owner of a person', async () => {
    const animal = {
      '00102201': 'LO:Canis',
      '00102202': [{ '00080100': '448771007', '00080102': 'SCT', '00080104': 'Dog' }],
    };
    const owner = { '00102297': 'Owner^Otto' };
    const dog = await pass(makeFile({ ...animal, ...owner }), { profile });
    assert.equal(findElement(dog.dataSet, 0x00102297)?.valueEnd, findElement(dog.dataSet, 0x00102297)?.valueStart);
    assert.equal(findElement((await pass(makeFile(owner), { profile })).dataSet, 0x00102297), undefined);
  });
});

describe('unknown: quarantine', () => {
  it('holds an object whose free text nobody foresaw, and names the attribute, not the value', async () => {
    const profile = compileProfile({ ...fileOf('basic'), unknown: 'quarantine' });
    await pass(makeFile(), { profile });
    await assert.rejects(
      pass(makeFile({ '00181251': 'QZCOIL' }), { profile }),
      quarantined(/^\(0018,1251\) is free text/),
    );
  });
});

describe('retained UIDs', () => {
  it('stay at the top, nested and in the file meta, and resolve to themselves', async () => {
    const profile = compileProfile({ ...fileOf('basic'), options: ['retain-uids'] });
    const { dataSet, result } = await pass(makeFile({ '00081140': [{ '00081155': '1.2.77.8' }] }), { profile });
    assert.equal(asciiValue(dataSet, 0x00080018), UIDS.instance);
    assert.equal(result.object.studyInstanceUID, UIDS.study);
    const [image] = itemsOf(dataSet, 0x00081140);
    assert.equal(image && asciiValue(image, 0x00081155), '1.2.77.8');
  });
});
