/** us-speckle from a rule: a B-mode picture comes in, a quieter copy goes home; letters beside the tissue stay as they are. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { Item } from '../../src/derived/attributes.ts';
import { asciiValue, asciiValues, textValue } from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { uidFrom } from '../../src/dicom/uid.ts';
import { type WorkItem } from '../../src/workitems.ts';
import { part10 } from '../derived/phantom.ts';
import { iodErrors, NO_DCIODVFY, scratch, writeObjects } from '../derived/tools.ts';
import { startStandIn } from '../delivery/node.ts';
import { seeded } from '../phantom/random.ts';
import { pacsAt, workOff, openInFolder, PROJECT, takeStudy } from './opened.ts';

const [COLUMNS, ROWS] = [192, 160];
/** Of grey tissue; left of it a scale. */
const REGION = { left: 32, top: 16, right: 175, bottom: 143 };

function inRegion(n: number): boolean {
  const [x, y] = [n % COLUMNS, Math.floor(n / COLUMNS)];
  return x >= REGION.left && x <= REGION.right && y >= REGION.top && y <= REGION.bottom;
}

/** Tissue at -20 dB, a cyst, and fully developed speckle over 60 dB; a scale of white ticks outside. */
function tissue(): Buffer {
  const random = seeded(11);
  return Buffer.from(
    Uint8Array.from({ length: COLUMNS * ROWS }, (_, n) => {
      const [x, y] = [n % COLUMNS, Math.floor(n / COLUMNS)];
      if (!inRegion(n)) return x < 8 && y % 16 === 0 ? 255 : 0;
      const db = Math.hypot(x - 100, y - 80) < 25 ? -45 : -20;
      const power = (random.gaussian() ** 2 + random.gaussian() ** 2) / 2;
      return Math.max(0, Math.min(255, Math.round(((db + 10 * Math.log10(power + 1e-6) + 60) / 60) * 255)));
    }),
  );
}

function region(dataType: number): Item {
  return {
    RegionSpatialFormat: dataType === 1 ? 1 : 3,
    RegionDataType: dataType,
    RegionFlags: 0,
    RegionLocationMinX0: REGION.left,
    RegionLocationMinY0: REGION.top,
    RegionLocationMaxX1: REGION.right,
    RegionLocationMaxY1: REGION.bottom,
    PhysicalUnitsXDirection: 3,
    PhysicalUnitsYDirection: 3,
    PhysicalDeltaX: 0.03,
    PhysicalDeltaY: 0.03,
  };
}

function ultrasound(dataType: number): Buffer {
  return part10(
    {
      SOPClassUID: '1.2.840.10008.5.1.4.1.1.6.1',
      SOPInstanceUID: uidFrom('ultrasound', String(dataType)),
      StudyInstanceUID: uidFrom('ultrasound', 'study'),
      SeriesInstanceUID: uidFrom('ultrasound', 'series'),
      ImageType: ['ORIGINAL', 'PRIMARY', ''],
      StudyDate: '20240917',
      StudyTime: '101500',
      ContentDate: '20240917',
      ContentTime: '101500',
      AccessionNumber: 'A1U',
      Modality: 'US',
      Manufacturer: 'Phantom',
      SeriesDescription: 'Abdomen',
      PatientName: 'Muster^Erika',
      PatientID: 'KH-15',
      PatientBirthDate: '19631112',
      PatientSex: 'F',
      BodyPartExamined: 'ABDOMEN',
      SeriesNumber: '1',
      InstanceNumber: '1',
      PatientOrientation: '',
      BurnedInAnnotation: 'NO',
      SequenceOfUltrasoundRegions: [region(dataType)],
      SamplesPerPixel: 1,
      PhotometricInterpretation: 'MONOCHROME2',
      Rows: ROWS,
      Columns: COLUMNS,
      BitsAllocated: 8,
      BitsStored: 8,
      HighBit: 7,
      PixelRepresentation: 0,
    },
    tissue(),
  );
}

async function run(t: TestContext, object: Buffer): Promise<{ item: WorkItem; arrived: Buffer[] }> {
  const node = await startStandIn(t);
  const opened = await openInFolder(t, {
    models: true,
    nodes: pacsAt(node.url),
    rules: `admission:\n  - { name: all, when: { modality: US }, project: ${PROJECT}, profile: basic }\nprocessing:\n  - { name: quiet, when: { modality: US }, run: us-speckle, outputs: [image, report, key-image], deliver: [pacs] }\n`,
  });
  const study = await takeStudy(opened, [object]);
  const item = (await workOff(opened, study)).find(({ kind }) => kind === 'derive');
  assert.ok(item);
  return { item, arrived: [...node.kept.values()].map(({ bytes }) => bytes) };
}

test('a B-mode picture comes home quieter in its tissue and untouched beside it', async (t) => {
  const { item, arrived } = await run(t, ultrasound(1));
  assert.equal(item.state, 'COMPLETED', item.lastError ?? '');
  const images = arrived.filter((bytes) => asciiValue(readHead(bytes).head.dataSet, tag('Modality')) === 'US');
  const modalities = arrived.map((bytes) => asciiValue(readHead(bytes).head.dataSet, tag('Modality')) ?? '');
  assert.deepEqual(modalities.sort(), ['OT', 'SR', 'US']);
  const { head, bodyStart } = readHead(images[0]!);
  assert.equal(textValue(head.dataSet, tag('PatientName')), 'Muster^Erika');
  assert.ok(asciiValues(head.dataSet, tag('ImageType')).includes('DENOISED'));
  const [before, after] = [tissue(), images[0]!.subarray(bodyStart)];
  const flat: number[] = [];
  before.forEach((value, n) => {
    const [x, y] = [n % COLUMNS, Math.floor(n / COLUMNS)];
    if (!inRegion(n)) assert.equal(after[n], value, `${x}, ${y}`);
    else if (x > 140 && x < 170 && y > 24 && y < 136) flat.push(n);
  });
  const spread = (of: Buffer): number => {
    const mean = flat.reduce((sum, n) => sum + of[n]!, 0) / flat.length;
    return flat.reduce((sum, n) => sum + (of[n]! - mean) ** 2, 0) / flat.length;
  };
  assert.ok(spread(before) / spread(after) > 3, `${spread(before)} to ${spread(after)}`);
  for (const bytes of arrived) {
    const [path] = writeObjects(scratch(), [bytes]);
    if (NO_DCIODVFY === false) assert.deepEqual(iodErrors(path ?? ''), []);
  }
});

test('a picture whose regions show no grey tissue (a spectrum) is refused', async (t) => {
  const { item } = await run(t, ultrasound(3));
  assert.equal(item.state, 'CANCELED');
  assert.match(item.lastError ?? '', /none of the Ultrasound Regions .* shows grey tissue/);
});
