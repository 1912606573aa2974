/** Heads under `faces: deface`: held sealed until their series is whole, defaced as a volume, then stored and told of like anything else. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { instancesOf, readInstanceBody, readInstanceHead } from '../../src/archive/instances.ts';
import { seriesOf, studyOf } from '../../src/archive/studies.ts';
import { closeCodecs, openCodecs } from '../../src/codecs/pool.ts';
import { readConfig } from '../../src/config.ts';
import { followPlan, planSeries, type FaceSource } from '../../src/deidentify/faces/defacer.ts';
import { nativePixels, withPixels } from '../../src/deidentify/faces/pixels.ts';
import { asciiValue, asciiValues, itemsOf, numberValue } from '../../src/dicom/data-set.ts';
import type { Identified } from '../../src/dicom/object.ts';
import { readHead, readObject } from '../../src/dicom/part10.ts';
import { newUid } from '../../src/dicom/uid.ts';
import { closeGateway, openGateway, type Gateway } from '../../src/gateway.ts';
import { openFaceTools } from '../../src/gateway/wall.ts';
import type { Log } from '../../src/log.ts';
import { countHeld, listHeld } from '../../src/quarantine.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { defaceDueSeries } from '../../src/workflow/deface.ts';
import { releaseHeld } from '../../src/workflow/review.ts';
import { verifyStudy } from '../../src/workflow/verification.ts';
import { verifyCompleted, withheldBecause } from '../../src/workflow/withhold.ts';
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

describe('the transfer syntax of a head', () => {
  for (const [name, uid] of [
    ['RLE Lossless', '1.2.840.10008.1.2.5'],
    ['JPEG-LS Lossless', '1.2.840.10008.1.2.4.80'],
    ['JPEG 2000 Lossless', '1.2.840.10008.1.2.4.90'],
  ] as const)
    it(`stays ${name}`, async () => {
      const codecs = openCodecs();
      try {
        const tools = openFaceTools(codecs);
        const sources: FaceSource[] = [];
        for (const { bytes } of headObjects(head(CT))) {
          const native = await readObject(bytes);
          const pixels = await nativePixels(native, tools);
          const compressed: Identified = {
            ...native,
            head: {
              ...native.head,
              transferSyntaxUID: uid,
              pixelData: { tag: 0x7fe00010, vr: 'OB', lengthBytes: undefined },
            },
          };
          const open = (): Promise<Identified> => withPixels(compressed, pixels, { bytes: pixels }, tools);
          sources.push({ head: compressed.head, open });
        }
        const { plan } = await planSeries(sources, tools);
        const follower = await followPlan(plan, tools);
        const source = sources[28];
        assert.ok(source !== undefined);
        const { object } = await follower.deface(await source.open());
        await follower.end();
        assert.equal(object.head.transferSyntaxUID, uid);
        assert.equal(object.head.pixelData?.lengthBytes, undefined);
        const written = await nativePixels(object, tools);
        const original = head(CT).slices[28]?.pixels ?? Buffer.alloc(0);
        assert.equal(written.length, original.length);
        assert.ok(!written.equals(original));
      } finally {
        await closeCodecs(codecs);
      }
    });
});
