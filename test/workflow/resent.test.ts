/**
 * What a study's later objects tell of its patient changes what would be made of an earlier one. Who sends that one again is told of
 * success all the same, and what is stored names nobody any more.
 */
import assert from 'node:assert/strict';
import { describe, it, test, type TestContext } from 'node:test';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { listPacks } from '../../src/archive/archive.ts';
import { instancesOf, readInstance } from '../../src/archive/instances.ts';
import { reindex } from '../../src/archive/reindex.ts';
import { findElement, itemsOf, textValue, type DataSet } from '../../src/dicom/data-set.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { openCleaningAgain } from '../../src/workflow/clean-again.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { beginErasure, continueErasures } from '../../src/workflow/erase.ts';
import { verifyStudy } from '../../src/workflow/verification.ts';
import { releaseStudy, verifyCompleted, withheldBecause } from '../../src/workflow/withhold.ts';
import { IMPLICIT_LE, holds, makeFile, PIXELS, type Value } from '../deidentify/support.ts';
import { bytesOf } from '../archive/support.ts';
import { openInFolder, take, type Opened } from './opened.ts';

const RULES = `admission:
  - { name: all, when: { callingAE: '*' }, project: research, profile: research-longitudinal }
processing: []
`;
const NAME = 'Zwanzigerova';
/** Says nothing of its patient; a person wrote the name into the description. */
const FIRST = { '00080018': '1.2.3.4.77', '00100010': '', '0008103E': `LO:Liver of ${NAME}` };
const SIBLING = { '00080018': '1.2.3.4.78', '00100010': `${NAME}^Ludmila` };

type Attributes = Readonly<Record<string, Value | undefined>>;

const send = (opened: Opened, attributes: Attributes) => take(opened, makeFile(attributes));

async function stored(opened: Opened): Promise<{ uid: string; version: number; bytes: Buffer }[]> {
  const { archive } = opened.gateway;
  const [study] = archive.database.all('SELECT study_uid FROM study');
  const found = [];
  for (const instance of instancesOf(archive, { studyInstanceUID: String(study?.['study_uid']) })) {
    const bytes = await bytesOf(readInstance(archive, instance));
    found.push({ uid: instance.sopInstanceUID, version: instance.version, bytes });
  }
  return found;
}

const open = (t: TestContext, duplicates = 'reject'): Promise<Opened> =>
  openInFolder(t, { rules: RULES, gateway: '' }).then((opened) => ({
    ...opened,
    gateway: {
      ...opened.gateway,
      archive: {
        ...opened.gateway.archive,
        options: { ...opened.gateway.archive.options, duplicates: duplicates as 'reject' },
      },
    },
  }));

describe('an object that is sent again after a sibling named its patient', () => {
  test('DEID-AGAIN: is a success, and its better cleaned form takes the place of the first', async (t) => {
    const opened = await open(t);
    const first = await send(opened, FIRST);
    assert.equal(first.refusal, undefined);
    assert.equal((await stored(opened)).filter(({ bytes }) => holds(bytes, NAME)).length, 1);
    await send(opened, SIBLING);
    const again = await send(opened, FIRST);
    assert.equal(again.refusal, undefined);
    assert.equal(again.quarantined, undefined);
    assert.deepEqual(again.stored, first.stored);
    const left = await stored(opened);
    assert.equal(left.length, 2);
    assert.equal(left.filter(({ bytes }) => holds(bytes, NAME)).length, 0);
    for (const { bytes } of left) assert.ok(bytes.subarray(-PIXELS.length).equals(PIXELS));
    // Once more: nothing is written any more.
    assert.equal((await send(opened, FIRST)).refusal, undefined);
    assert.deepEqual(await stored(opened), left);
  });

  it('is the same object in another encoding', async (t) => {
    const opened = await open(t);
    await send(opened, FIRST);
    await send(opened, SIBLING);
    assert.equal((await take(opened, asImplicit(FIRST))).refusal, undefined);
    assert.equal((await stored(opened)).filter(({ bytes }) => holds(bytes, NAME)).length, 0);
  });

  it('is refused with other pixels or another value, and nothing of it is stored', async (t) => {
    const opened = await open(t);
    await send(opened, FIRST);
    await send(opened, SIBLING);
    const before = await stored(opened);
    const otherPixels = makeFile(FIRST, { pixels: Buffer.from(PIXELS.map((value) => value + 1)) });
    assert.equal((await take(opened, otherPixels)).refusal?.reason, 'Duplicate');
    assert.equal((await send(opened, { ...FIRST, '00200013': '8' })).refusal?.reason, 'Duplicate');
    assert.deepEqual(await stored(opened), before);
  });

  it('stays as it is where the first is to be kept', async (t) => {
    const opened = await open(t, 'keep-first');
    await send(opened, FIRST);
    await send(opened, SIBLING);
    const before = await stored(opened);
    assert.equal((await send(opened, FIRST)).refusal, undefined);
    assert.deepEqual(await stored(opened), before);
  });

  it('is known again after the index was made anew from the packs', async (t) => {
    const opened = await open(t);
    await send(opened, FIRST);
    await send(opened, SIBLING);
    const { database, folder } = opened.gateway.archive;
    const report = await reindex(database, folder);
    assert.equal(report.instances, 2);
    assert.equal((await send(opened, FIRST)).refusal, undefined);
    assert.equal((await stored(opened)).filter(({ bytes }) => holds(bytes, NAME)).length, 0);
  });
});

describe('what was stored before anybody named the patient', () => {
  const texts = async (opened: Opened): Promise<string[]> =>
    (await stored(opened)).map(({ bytes }) => textValue(readHead(bytes).head.dataSet, 0x0008103e) ?? '').sort();

  test('DEID-LATER: is cleaned again when the study is complete, and shown', async (t) => {
    const opened = await open(t);
    const { stored: names } = await send(opened, FIRST);
    await send(opened, { ...SIBLING, '0008103E': 'LO:Liver, arterial phase' });
    const study = names?.studyInstanceUID ?? '';
    await complete(opened);
    assert.equal(withheldBecause(opened.gateway, study), undefined);
    assert.deepEqual(await texts(opened), ['Liver of', 'Liver, arterial phase']);
    for (const { bytes } of await stored(opened)) {
      assert.equal(holds(bytes, NAME), false);
      assert.ok(bytes.subarray(-PIXELS.length).equals(PIXELS));
    }
    // The packs hold it no more, nor does the index.
    const { database, folder } = opened.gateway.archive;
    for (const path of await listPacks(folder)) assert.equal(holds(readFileSync(join(folder, path)), NAME), false);
    assert.equal(JSON.stringify(database.all('SELECT json FROM series')).includes(NAME), false);
    assert.equal(opened.events.filter(({ name }) => name === 'cleaned again').length, 1);
    // A second look finds nothing to do.
    const before = await stored(opened);
    await complete(opened, 2 * 60_000);
    assert.deepEqual(await stored(opened), before);
    assert.equal((await send(opened, FIRST)).refusal, undefined);
  });

  it('also in a study that was complete long before', async (t) => {
    const opened = await open(t);
    await send(opened, FIRST);
    await complete(opened);
    assert.equal((await stored(opened)).filter(({ bytes }) => holds(bytes, NAME)).length, 1);
    await send(opened, { ...SIBLING, '0020000D': '1.2.3.4.99' });
    await verifyCompleted(opened.gateway);
    const { archive } = opened.gateway;
    const all = archive.database.all('SELECT study_uid FROM study');
    assert.equal(all.length, 2);
    for (const row of all)
      for (const instance of instancesOf(archive, { studyInstanceUID: String(row['study_uid']) }))
        assert.equal(holds(await bytesOf(readInstance(archive, instance)), NAME), false);
  });

  it('in code strings, kept text and items; what the profile retains and what the standard says stays', async (t) => {
    const opened = await open(t);
    await send(opened, {
      ...FIRST,
      '0008103E': 'LO:Liver',
      '00080070': `LO:${NAME} & Co`,
      '00185100': 'HFS',
      '00400275': [{ '00400007': `LO:Liver for ${NAME}`, '00400009': 'SH:77' }],
      '00181000': 'LO:SERIAL-88',
      '00280004': 'MONOCHROME2',
    });
    const before = (await stored(opened))[0]?.bytes ?? Buffer.alloc(0);
    await send(opened, { ...SIBLING, '00181000': 'LO:SERIAL-88', '00081010': 'SH:MONOCHROME2' });
    await complete(opened);
    // Their order is that of their pseudonyms.
    const first = (await stored(opened)).find(({ bytes }) => findElement(readHead(bytes).head.dataSet, 0x00400275));
    const { dataSet } = readHead(first?.bytes ?? Buffer.alloc(0)).head;
    assert.equal(holds(first?.bytes ?? Buffer.alloc(0), NAME), false);
    assert.equal(textValue(dataSet, 0x00181000), 'SERIAL-88');
    assert.equal(textValue(dataSet, 0x00280004), 'MONOCHROME2');
    const [step] = itemsOf(dataSet, 0x00400275);
    assert.equal(step && textValue(step, 0x00400007), 'Liver for');
    // Everything else is what it was.
    const was = readHead(before).head.dataSet;
    const changed = [0x00080070, 0x00400275];
    const others = (of: DataSet): string[] =>
      of.elements
        .filter(({ tag }) => !changed.includes(tag))
        .map(({ tag, valueStart, valueEnd }) => `${tag} ${of.bytes.toString('hex', valueStart, valueEnd)}`);
    assert.deepEqual(others(dataSet), others(was));
  });

  it('is not put back when its patient is being erased or the study is gone', async (t) => {
    const opened = await open(t);
    const { stored: names } = await send(opened, FIRST);
    await send(opened, SIBLING);
    const { gateway } = opened;
    const study = names?.studyInstanceUID ?? '';
    const request = { actor: 'officer', reason: 'data-subject-request', reference: 'DSR 7' };
    beginErasure(gateway, { record: { issuer: '', id: 'PID-4711' } }, request);
    const cleanAgain = () => verifyStudy(gateway, study, openCleaningAgain(gateway, 'research', study));
    await assert.rejects(cleanAgain(), { reason: 'Busy' });
    await Promise.all([continueErasures(gateway), cleanAgain().catch(() => undefined)]);
    assert.equal(gateway.archive.database.all('SELECT 1 FROM instance').length, 0);
    assert.deepEqual(await listPacks(gateway.archive.folder), []);
  });

  it('waits for a person where cleaning again does not reach it, who releases it with one action', async (t) => {
    const opened = await open(t);
    // A table of bytes, which no rule looks into.
    const table = Buffer.from(`xx ${NAME} xx`);
    const { stored: names } = await send(opened, { ...FIRST, '0008103E': 'LO:Liver', '00281201': table });
    await send(opened, SIBLING);
    await complete(opened);
    const study = names?.studyInstanceUID ?? '';
    assert.match(withheldBecause(opened.gateway, study)?.join() ?? '', /identifies stands in 1 of 2 objects/);
    releaseStudy(opened.gateway, study, 'officer');
    assert.equal(withheldBecause(opened.gateway, study), undefined);
  });
});

async function complete(opened: Opened, ms = 60_000): Promise<void> {
  opened.clock.now += ms;
  completeStudies(opened.gateway);
  await verifyCompleted(opened.gateway);
}

/** The same values without VRs. */
function asImplicit(attributes: Attributes): Buffer {
  const explicit = makeFile(attributes, { pixels: null });
  const meta = makeFile({}, { transferSyntaxUID: IMPLICIT_LE, pixels: null });
  const metaEnd = meta.indexOf(Buffer.from([8, 0, 8, 0]));
  const elements: Buffer[] = [meta.subarray(0, metaEnd)];
  for (let at = explicit.indexOf(Buffer.from([8, 0, 8, 0])); at < explicit.length;) {
    const length = explicit.readUInt16LE(at + 6);
    const header = Buffer.alloc(8);
    explicit.copy(header, 0, at, at + 4);
    header.writeUInt32LE(length, 4);
    elements.push(header, explicit.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  const pixels = Buffer.alloc(8);
  pixels.writeUInt16LE(0x7fe0, 0);
  pixels.writeUInt16LE(0x10, 2);
  pixels.writeUInt32LE(PIXELS.length, 4);
  return Buffer.concat([...elements, pixels, PIXELS]);
}
