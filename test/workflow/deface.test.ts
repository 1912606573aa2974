/** Heads under `faces: deface`: held sealed until their series is whole, defaced as a volume, then stored and told of like anything else. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { instancesOf, readInstanceBody, readInstanceHead } from '../../src/archive/instances.ts';
import { seriesOf, studyOf } from '../../src/archive/studies.ts';
import { asciiValue, asciiValues, itemsOf, numberValue } from '../../src/dicom/data-set.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { countHeld, listHeld } from '../../src/quarantine.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { defaceDueSeries } from '../../src/workflow/deface.ts';
import { headObjects, scanHead, type HeadObjects, type Scan } from '../phantom/head.ts';
import { openInFolder, PROJECT, take, type Opened } from './opened.ts';

const RULES = `admission:
  - { name: all, when: { modality: [CT, MR] }, project: ${PROJECT}, profile: research-longitudinal }
processing: []
`;
const CT: Scan = { contrast: 'CT', pixelMm: 3, sliceMm: 3 };
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

describe('a head under faces: deface', () => {
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
  });
});
void readFileSync;
void writeFileSync;
void join;
