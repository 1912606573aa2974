/** Heads under `faces: deface`: held sealed until their series is whole, defaced as a volume, then stored and told of like anything else. */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { instancesOf, readInstanceBody, readInstanceHead } from '../../src/archive/instances.ts';
import { seriesOf, studyOf } from '../../src/archive/studies.ts';
import { closeCodecs, openCodecs } from '../../src/codecs/pool.ts';
import { readConfig } from '../../src/config.ts';
import { faceSource, followPlan, planSeries, type FaceSource } from '../../src/deidentify/faces/defacer.ts';
import { framesOf, type FaceTools } from '../../src/deidentify/faces/pixels.ts';
import { asciiValue, asciiValues, itemsOf, numberValue, numberValues, type DataSet } from '../../src/dicom/data-set.ts';
import { imageLayout } from '../../src/dicom/image-layout.ts';
import { END_OF_ITEMS, evenItem, itemHeader } from '../../src/dicom/items.ts';
import type { Identified } from '../../src/dicom/object.ts';
import { readHead, readObject } from '../../src/dicom/part10.ts';
import { newUid } from '../../src/dicom/uid.ts';
import { closeGateway, openGateway, type Gateway } from '../../src/gateway.ts';
import { openFaceTools } from '../../src/gateway/wall.ts';
import type { Log } from '../../src/log.ts';
import { countHeld, listHeld } from '../../src/quarantine.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { defaceDueSeries } from '../../src/workflow/deface.ts';
import { beginErasure, continueErasures } from '../../src/workflow/erase.ts';
import { releaseHeld } from '../../src/workflow/review.ts';
import { verifyStudy } from '../../src/workflow/verification.ts';
import { verifyCompleted, withheldBecause } from '../../src/workflow/withhold.ts';
import { enhancedHead } from '../phantom/enhanced-head.ts';
import { headObjects, scanHead, type HeadObjects, type Scan } from '../phantom/head.ts';
import { openInFolder, PROJECT, take, type Opened } from './opened.ts';

const RULES = `admission:
  - { name: all, when: { modality: [CT, MR] }, project: ${PROJECT}, profile: research-longitudinal }
processing: []
`;
const CT: Scan = { contrast: 'CT', pixelMm: 4, sliceMm: 4 };
const SILENT: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };
const heads = new Map<string, ReturnType<typeof scanHead>>();

function head(scan: Scan): ReturnType<typeof scanHead> {
  const key = JSON.stringify(scan);
  const known = heads.get(key) ?? scanHead(scan);
  heads.set(key, known);
  return known;
}

function series(scan: Scan, facts: HeadObjects = {}): Buffer[] {
  return headObjects(head(scan), facts).map(({ bytes }) => bytes);
}

async function sendAll(opened: Opened, objects: readonly Buffer[]): Promise<string> {
  let study = '';
  for (const object of objects) {
    const { refusal, quarantined, waitsIn } = await take(opened, object);
    assert.deepEqual({ refusal, quarantined }, { refusal: undefined, quarantined: undefined });
    study = waitsIn ?? study;
  }
  return study;
}

async function quiet(opened: Opened): Promise<number> {
  opened.clock.now += 120_000;
  return defaceDueSeries(opened.gateway);
}

describe('DEID-FACE-SEALED: a head under faces: deface', () => {
  it('waits sealed, is defaced when its series is quiet, and is then there with every stamp', async (t) => {
    const opened = await openInFolder(t, { rules: RULES });
    const { gateway } = opened;
    const objects = series(CT);
    const study = await sendAll(opened, objects);
    assert.equal(countHeld(gateway.quarantine), objects.length);
    assert.equal(studyOf(gateway.archive, study), undefined);
    assert.equal(await defaceDueSeries(gateway), 0);
    assert.equal(await quiet(opened), 1);
    assert.deepEqual(
      listHeld(gateway.quarantine, 3).map(({ sentence }) => sentence),
      [],
    );
    assert.equal(studyOf(gateway.archive, study)?.instanceCount, objects.length);
    const [stored] = seriesOf(gateway.archive, study);
    const name = { studyInstanceUID: study, seriesInstanceUID: stored?.SeriesInstanceUID ?? '' };
    for (const instance of instancesOf(gateway.archive, name)) {
      const { dataSet } = readHead(await readInstanceHead(gateway.archive, instance)).head;
      assert.equal(asciiValue(dataSet, 0x00280302), 'NO');
      assert.ok(itemsOf(dataSet, 0x00120064).some((item) => asciiValue(item, 0x00080100) === '113102'));
      assert.deepEqual(asciiValues(dataSet, 0x00080008), ['DERIVED', 'PRIMARY', 'AXIAL']);
      const pixels: Buffer[] = [];
      for await (const chunk of readInstanceBody(gateway.archive, instance)) pixels.push(chunk);
      const bytes = Buffer.concat(pixels);
      let [low, high] = [65_535, 0];
      for (let at = 0; at < bytes.length; at += 2) {
        low = Math.min(low, bytes.readUInt16LE(at));
        high = Math.max(high, bytes.readUInt16LE(at));
      }
      assert.equal(numberValue(dataSet, 0x00280106), low);
      assert.equal(numberValue(dataSet, 0x00280107), high);
    }
    opened.clock.now += 120_000;
    assert.equal(completeStudies(gateway), 1);
    await verifyCompleted(gateway);
    assert.equal(withheldBecause(gateway, study), undefined);
    assert.equal((await verifyStudy(gateway, study)).pixels.facesCleaned, objects.length);
  });

  it('is defaced in an enhanced object with two time points as well, and keeps its functional groups', async (t) => {
    const opened = await openInFolder(t, { rules: RULES });
    const { gateway } = opened;
    const [one, two] = [head(CT), head({ ...CT, seed: 2 })];
    const volumes = [
      { head: one, time: 1 },
      { head: two, time: 2 },
    ];
    const { bytes, frames } = enhancedHead(volumes);
    const study = await sendAll(opened, [bytes]);
    assert.equal(countHeld(gateway.quarantine), 1);
    assert.equal(await quiet(opened), 1);
    assert.equal(countHeld(gateway.quarantine), 0);
    const [stored] = seriesOf(gateway.archive, study);
    const name = { studyInstanceUID: study, seriesInstanceUID: stored?.SeriesInstanceUID ?? '' };
    const [instance] = instancesOf(gateway.archive, name);
    assert.ok(instance !== undefined);
    const { dataSet } = readHead(await readInstanceHead(gateway.archive, instance)).head;
    const before = readHead(bytes).head.dataSet;
    assert.equal(asciiValue(dataSet, 0x00080016), '1.2.840.10008.5.1.4.1.1.2.1');
    assert.deepEqual([asciiValue(dataSet, 0x00280302), numberValue(dataSet, 0x00280008)], ['NO', frames.length]);
    assert.ok(itemsOf(dataSet, 0x00120064).some((item) => asciiValue(item, 0x00080100) === '113102'));
    // Image Type and the Frame Type of all frames agree.
    const [shared] = itemsOf(dataSet, 0x52009229);
    const [frameType] = shared === undefined ? [] : itemsOf(shared, 0x00189329);
    assert.deepEqual(asciiValues(dataSet, 0x00080008), ['DERIVED', 'PRIMARY', 'VOLUME', 'NONE']);
    assert.deepEqual(frameType && asciiValues(frameType, 0x00089007), ['DERIVED', 'PRIMARY', 'VOLUME', 'NONE']);
    const placesOf = (all: DataSet): unknown[] =>
      itemsOf(all, 0x52009230).map((frame) =>
        [
          [0x00209113, 0x00200032],
          [0x00209116, 0x00200037],
          [0x00289110, 0x00280030],
          [0x00209111, 0x00209128],
        ].map(([group = 0, attribute = 0]) => itemsOf(frame, group).map((item) => numberValues(item, attribute))),
      );
    assert.deepEqual(placesOf(dataSet), placesOf(before));
    const pixels: Buffer[] = [];
    for await (const chunk of readInstanceBody(gateway.archive, instance)) pixels.push(chunk);
    const all = Buffer.concat(pixels);
    assert.equal(all.length, frames.length * (frames[0]?.length ?? 0));
    const same = frames.filter((frame) => all.includes(frame));
    assert.ok(same.length > 10 && same.length < frames.length - 40, `${same.length} of ${frames.length} as they were`);
    opened.clock.now += 120_000;
    assert.equal(completeStudies(gateway), 1);
    await verifyCompleted(gateway);
    assert.equal(withheldBecause(gateway, study), undefined);
    assert.equal((await verifyStudy(gateway, study)).pixels.facesCleaned, 1);
    // The same object again is known as what it was made into.
    await sendAll(opened, [bytes]);
    await quiet(opened);
    assert.deepEqual([studyOf(gateway.archive, study)?.instanceCount, countHeld(gateway.quarantine)], [1, 0]);
  });

  it('leaves no plan of a head behind when its patient is erased before an image was stored', async (t) => {
    const opened = await openInFolder(t, { rules: RULES });
    const { gateway } = opened;
    const study = await sendAll(opened, series(CT));
    opened.clock.now += 120_000;
    const cut = new AbortController();
    const planned = (): boolean =>
      gateway.database.get('SELECT 1 FROM face_series WHERE plan IS NOT NULL') !== undefined;
    const interval = setInterval(() => {
      if (planned()) cut.abort();
    }, 1);
    await defaceDueSeries(gateway, cut.signal);
    clearInterval(interval);
    assert.deepEqual([planned(), studyOf(gateway.archive, study)], [true, undefined]);
    const record = { issuer: '', id: 'HEAD-0815' };
    beginErasure(gateway, { record }, { actor: 'officer', reason: 'data-subject-request', reference: 'DSR 1' });
    assert.equal(await continueErasures(gateway), 1);
    assert.deepEqual(
      [countHeld(gateway.quarantine), gateway.database.get('SELECT 1 FROM face_series')],
      [0, undefined],
    );
  });

  it('leaves no sealed file open behind it', async (t) => {
    const opened = await openInFolder(t, { rules: RULES });
    const objects = series({ contrast: 'CT', pixelMm: 1, sliceMm: 20 });
    await sendAll(opened, objects);
    await quiet(opened);
    const open = readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).endsWith('.sealed');
      } catch {
        return false;
      }
    });
    assert.deepEqual([countHeld(opened.gateway.quarantine), open.length], [objects.length, 0]);
  });

  it('takes an image that comes late or again as the others were taken, once', async (t) => {
    const opened = await openInFolder(t, { rules: RULES });
    const { gateway } = opened;
    const objects = series(CT);
    const [last] = objects.splice(-1);
    assert.ok(last !== undefined);
    const study = await sendAll(opened, objects);
    await quiet(opened);
    const before = studyOf(gateway.archive, study);
    assert.equal(before?.instanceCount, objects.length);
    await sendAll(opened, [last, ...objects.slice(0, 2)]);
    await quiet(opened);
    assert.equal(studyOf(gateway.archive, study)?.instanceCount, objects.length + 1);
    assert.equal(countHeld(gateway.quarantine), 0);
  });

  it('stays sealed while an image is missing, and is defaced when it has come', async (t) => {
    const opened = await openInFolder(t, { rules: RULES });
    const { gateway } = opened;
    const objects = series(CT);
    const missing = objects.splice(30, 1);
    const study = await sendAll(opened, objects);
    await quiet(opened);
    assert.equal(studyOf(gateway.archive, study), undefined);
    const reasons = new Set(listHeld(gateway.quarantine, 1000).map(({ sentence }) => sentence));
    assert.deepEqual([...reasons].length, 1);
    assert.match([...reasons][0] ?? '', /images are missing: a gap of 8\.0 mm/);
    await sendAll(opened, missing);
    await quiet(opened);
    assert.equal(studyOf(gateway.archive, study)?.instanceCount, objects.length + 1);
    assert.equal(countHeld(gateway.quarantine), 0);
  });

  it('goes on after a restart, before it was looked at and in the middle of being stored', async (t) => {
    const opened = await openInFolder(t, { rules: RULES });
    const objects = series(CT);
    const study = await sendAll(opened, objects);
    await opened.close();
    const again = async (): Promise<Gateway> =>
      openGateway(
        readConfig({ ISTHMUS_CONFIG: join(opened.folder, 'config'), ISTHMUS_DATA: join(opened.folder, 'data') }),
        SILENT,
        () => opened.clock.now,
      );
    opened.clock.now += 120_000;
    const second = await again();
    const cut = new AbortController();
    let stored = 0;
    // Cut off after some images were stored, at a place where a crash could be.
    const interval = setInterval(() => {
      stored = studyOf(second.archive, study)?.instanceCount ?? 0;
      if (stored >= 3) cut.abort();
    }, 1);
    await defaceDueSeries(second, cut.signal);
    clearInterval(interval);
    const partly = studyOf(second.archive, study)?.instanceCount ?? 0;
    assert.ok(partly >= 3 && partly < objects.length, `${partly}`);
    await closeGateway(second);
    const third = await again();
    try {
      await defaceDueSeries(third);
      assert.equal(studyOf(third.archive, study)?.instanceCount, objects.length);
      assert.equal(countHeld(third.quarantine), 0);
    } finally {
      await closeGateway(third);
    }
  });

  it('keeps apart what has the same name and other content, and what is no slice of a volume', async (t) => {
    const opened = await openInFolder(t, { rules: RULES });
    const { gateway } = opened;
    const objects = series(CT);
    const twin = Buffer.from(objects[5] ?? Buffer.alloc(0));
    twin.writeUInt16LE(7, twin.length - 2);
    const projection = series(CT, { imageType: 'DERIVED\\SECONDARY\\PROJECTION IMAGE' })[0] ?? twin;
    assert.equal((await take(opened, projection)).quarantined, true);
    const study = await sendAll(opened, [...objects, twin]);
    await quiet(opened);
    assert.equal(studyOf(gateway.archive, study)?.instanceCount, objects.length);
    assert.deepEqual(
      listHeld(gateway.quarantine, 9)
        .map(({ reason }) => reason)
        .sort(),
      ['Duplicate', 'Quarantined'],
    );
  });

  it('holds the completion of its study back until its face is out', async (t) => {
    const opened = await openInFolder(t, { rules: RULES });
    const { gateway } = opened;
    const ids = { studyInstanceUID: newUid() };
    const chest = headObjects(head(CT), { ...ids, description: 'Thorax' })[0]?.bytes ?? Buffer.alloc(0);
    const bodyPart = chest.indexOf(Buffer.from([0x18, 0, 0x15, 0, 0x43, 0x53, 4, 0]));
    chest.write('HAND', bodyPart + 8, 'latin1');
    const { stored } = await take(opened, chest);
    assert.ok(stored !== undefined);
    await sendAll(opened, series(CT, ids));
    opened.clock.now += 120_000;
    assert.equal(completeStudies(gateway), 0);
    await defaceDueSeries(gateway);
    opened.clock.now += 120_000;
    assert.equal(completeStudies(gateway), 1);
  });

  it('is released by a person only as a whole', async (t) => {
    const opened = await openInFolder(t, { rules: RULES.replace('research-longitudinal', 'hipaa-safe-harbor') });
    const { gateway } = opened;
    const objects = series(CT);
    for (const object of objects) assert.equal((await take(opened, object)).quarantined, true);
    const treatment = { project: PROJECT, profile: 'research-longitudinal' };
    let study = '';
    for (const { id } of listHeld(gateway.quarantine, 1000))
      ({ studyInstanceUID: study } = await releaseHeld(gateway, id, treatment, 'officer'));
    assert.equal(studyOf(gateway.archive, study), undefined);
    await quiet(opened);
    assert.equal(studyOf(gateway.archive, study)?.instanceCount, objects.length);
    assert.equal(countHeld(gateway.quarantine), 0);
  });
});

const COMPRESSED = [
  ['RLE Lossless', '1.2.840.10008.1.2.5'],
  ['JPEG-LS Lossless', '1.2.840.10008.1.2.4.80'],
  ['JPEG 2000 Lossless', '1.2.840.10008.1.2.4.90'],
] as const;

/** The same object compressed. */
async function compressed(bytes: Buffer, transferSyntaxUID: string, tools: FaceTools): Promise<FaceSource> {
  const native = await readObject(bytes);
  const layout = imageLayout(native.head.dataSet);
  const encoded: Buffer[] = [];
  for await (const frame of framesOf(native, tools))
    encoded.push(await tools.encode({ bytes: frame.bytes, layout }, transferSyntaxUID));
  const value = Buffer.concat([itemHeader(0), ...encoded.flatMap(evenItem), END_OF_ITEMS]);
  const pixelData = { tag: 0x7fe00010, vr: 'OB', lengthBytes: undefined } as const;
  const head = { ...native.head, transferSyntaxUID, pixelData };
  async function* body(): AsyncGenerator<Buffer> {
    await Promise.resolve();
    yield value;
  }
  return faceSource(head, () => Promise.resolve({ ...native, head, body: body() }));
}

async function framesIn(object: Identified, tools: FaceTools): Promise<Buffer[]> {
  const frames: Buffer[] = [];
  for await (const { bytes } of framesOf(object, tools)) frames.push(bytes);
  return frames;
}

describe('the transfer syntax of a head', () => {
  for (const [name, uid] of COMPRESSED)
    it(`stays ${name}, image by image and in one object, whose frames without a face keep their bytes`, async () => {
      const codecs = openCodecs();
      try {
        const tools = openFaceTools({ dataFolder: tmpdir() }, codecs);
        const images = await Promise.all(headObjects(head(CT)).map(({ bytes }) => compressed(bytes, uid, tools)));
        const whole = await compressed(enhancedHead([{ head: head(CT) }]).bytes, uid, tools);
        const { plan } = await planSeries(images, tools);
        const follower = await followPlan(plan, tools);
        const single: Buffer[] = [];
        for (const source of images) {
          const { object } = await follower.deface(source);
          assert.equal(object.head.transferSyntaxUID, uid);
          assert.equal(object.head.pixelData?.lengthBytes, undefined);
          single.push(...(await framesIn(object, tools)));
        }
        const { object } = await follower.deface(whole);
        await follower.end();
        assert.equal(object.head.transferSyntaxUID, uid);
        const value: Buffer[] = [];
        for await (const chunk of object.body) value.push(chunk);
        const bytes = Buffer.concat(value);
        async function* again(): AsyncGenerator<Buffer> {
          await Promise.resolve();
          yield bytes;
        }
        // Defaced in the same way, whether the frames are in one object or each in its own.
        assert.deepEqual(await framesIn({ ...object, body: again() }, tools), single);
        const slices = head(CT).slices;
        const same = single.map((frame, index) => frame.equals(slices[index]?.pixels ?? Buffer.alloc(0)));
        assert.ok(same.some(Boolean) && !same.every(Boolean));
        // Without their comments, which never leave.
        for await (const { frame, fragments = [] } of framesOf(await whole.open(), tools))
          assert.equal(bytes.includes(Buffer.concat(fragments)), same[frame - 1], `frame ${frame}`);
      } finally {
        await closeCodecs(codecs);
      }
    });
});
