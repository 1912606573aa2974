/**
 * What a study's later objects tell of its patient changes what would be made of an earlier one. Who sends that one again is told of
 * success all the same, and what is stored names nobody any more.
 */
import assert from 'node:assert/strict';
import { describe, it, test, type TestContext } from 'node:test';
import { instancesOf, readInstance } from '../../src/archive/instances.ts';
import { reindex } from '../../src/archive/reindex.ts';
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
