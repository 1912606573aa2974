/** cxr-lung-seg from a rule: a chest radiograph comes in, lung masks go home; what is no chest is refused. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { encodeFrame } from '../../src/codecs/frames.ts';
import { imageLayout } from '../../src/codecs/image.ts';
import { JPEG_BASELINE } from '../../src/codecs/syntaxes.ts';
import { asciiValue, itemsOf, numberValue, numberValues, textValue, type DataSet } from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { type WorkItem } from '../../src/workitems.ts';
import {
  HIGHDICOM_PYTHON,
  iodErrors,
  NO_DCIODVFY,
  NO_HIGHDICOM,
  python,
  scratch,
  writeObjects,
} from '../derived/tools.ts';
import { startStandIn } from '../delivery/node.ts';
import { lungAt, radiograph, type Radiograph } from '../phantom/radiographs.ts';
import { pacsAt, workOff, openInFolder, PROJECT, takeStudy } from './opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-12', birthDate: '19631112', sex: 'F' } as const;

interface Done {
  readonly item: WorkItem;
  readonly arrived: readonly Buffer[];
}

async function run(t: TestContext, objects: readonly Buffer[]): Promise<Done> {
  const node = await startStandIn(t);
  const opened = await openInFolder(t, {
    models: true,
    nodes: pacsAt(node.url),
    rules: `admission:\n  - { name: all, when: { modality: [CR, DX] }, project: ${PROJECT}, profile: basic }\nprocessing:\n  - { name: lungs, when: { modality: [CR, DX] }, run: cxr-lung-seg, deliver: [pacs] }\n`,
  });
  const study = await takeStudy(opened, objects);
  const item = (await workOff(opened, study)).find(({ kind }) => kind === 'derive');
  assert.ok(item);
  return { item, arrived: [...node.kept.values()].map(({ bytes }) => bytes) };
}

function dataSetOf(bytes: Buffer): DataSet {
  return readHead(bytes).head.dataSet;
}

function ofModality({ arrived }: Done, modality: string): Buffer[] {
  return arrived.filter((bytes) => asciiValue(dataSetOf(bytes), tag('Modality')) === modality);
}

/** Dice of each segment with what the phantom is made of. */
function diceOf(bytes: Buffer, mirrored: boolean): number[] {
  const { head, bodyStart } = readHead(bytes);
  const { dataSet } = head;
  const [columns, rows] = [numberValue(dataSet, tag('Columns'))!, numberValue(dataSet, tag('Rows'))!];
  const pixels = bytes.subarray(bodyStart);
  return itemsOf(dataSet, tag('PerFrameFunctionalGroupsSequence')).map((frame, index) => {
    const [identified] = itemsOf(frame, tag('SegmentIdentificationSequence'));
    const segment = numberValue(identified!, tag('ReferencedSegmentNumber'))!;
    let [both, sum] = [0, 0];
    for (let n = 0; n < columns * rows; n++) {
      const bit = index * columns * rows + n;
      const found = ((pixels[bit >> 3]! >> (bit & 7)) & 1) === 1;
      const column = mirrored ? columns - 1 - (n % columns) : n % columns;
      const truth = lungAt(column, Math.floor(n / columns), columns, rows) === segment;
      if (found && truth) both += 2;
      sum += (found ? 1 : 0) + (truth ? 1 : 0);
    }
    return both / sum;
  });
}

const SHOWN: readonly (readonly [string, Omit<Radiograph, 'patient'>])[] = [
  ['as it hangs', {}],
  ['stored as MONOCHROME1', { inverted: true }],
  ['mirrored, as Patient Orientation says', { mirrored: true }],
];

for (const [name, how] of SHOWN) {
  test(`ZOO-lungs: a chest radiograph ${name} gets two lungs, right and left, on its own pixels`, async (t) => {
    const done = await run(t, [radiograph({ patient: PATIENT, ...how })]);
    assert.equal(done.item.state, 'COMPLETED', done.item.lastError ?? '');
    assert.equal(done.arrived.length, 3);
    const [mask] = ofModality(done, 'SEG');
    assert.ok(mask);
    const dice = diceOf(mask, how.mirrored === true);
    assert.equal(dice.length, 2);
    for (const one of dice) assert.ok(one > 0.9, `Dice ${dice.join(' ')}`);
    for (const bytes of done.arrived) {
      assert.equal(textValue(dataSetOf(bytes), tag('PatientName')), PATIENT.name);
      const [path] = writeObjects(scratch(), [bytes]);
      if (NO_DCIODVFY === false) assert.deepEqual(iodErrors(path ?? ''), []);
    }
    assert.match(textValue(dataSetOf(mask), tag('SeriesDescription')) ?? '', /\[LUNGS\] EXPERIMENTAL$/);
  });
}

test('the report says how large each lung is, on a frame of the segmentation (TID 1410)', async (t) => {
  const done = await run(t, [radiograph({ patient: PATIENT })]);
  const [report] = ofModality(done, 'SR');
  const [mask] = ofModality(done, 'SEG');
  assert.ok(report && mask);
  const measurements = itemsOf(dataSetOf(report), tag('ContentSequence')).at(-1);
  const groups = itemsOf(measurements!, tag('ContentSequence')).slice(1);
  const areas = groups.map((group) => {
    const content = itemsOf(group, tag('ContentSequence'));
    const named = (code: string): DataSet | undefined =>
      content.find((item) => asciiValue(itemsOf(item, tag('ConceptNameCodeSequence'))[0]!, tag('CodeValue')) === code);
    const [frame] = itemsOf(named('121214')!, tag('ReferencedSOPSequence'));
    assert.equal(
      asciiValue(frame!, tag('ReferencedSOPInstanceUID')),
      asciiValue(dataSetOf(mask), tag('SOPInstanceUID')),
    );
    const [value] = itemsOf(named('42798000')!, tag('MeasuredValueSequence'));
    return numberValue(value!, tag('NumericValue'))!;
  });
  assert.equal(areas.length, 2);
  // 300 x 320 pixels of 1.4 mm are 1882 cm2; each phantom lung covers about a tenth.
  for (const area of areas) assert.ok(area > 100 && area < 400, String(area));
});

const HIGHDICOM = `
import sys, json, highdicom as hd
groups = hd.sr.srread(sys.argv[1]).content.get_planar_roi_measurement_groups()
s = hd.seg.segread(sys.argv[2])
print(json.dumps({
  'areas': [float(m.value) for g in groups for m in g.get_measurements() if m.name.value == '42798000'],
  'units': [m.unit.value for g in groups for m in g.get_measurements() if m.name.value == '42798000'],
  'sites': [[f.value.meaning for f in g.finding_sites] for g in groups],
  'pixels': [int((s.pixel_array[n] > 0).sum()) for n in range(s.NumberOfFrames)],
  'labels': [s.get_segment_description(n).segment_label for n in s.segment_numbers]}))
`;

test('highdicom reads both: areas of the report are those of the masks', { skip: NO_HIGHDICOM }, async (t) => {
  const done = await run(t, [radiograph({ patient: PATIENT })]);
  const paths = writeObjects(scratch(), [...ofModality(done, 'SR'), ...ofModality(done, 'SEG')]);
  const found = JSON.parse(python(['-c', HIGHDICOM, ...paths], HIGHDICOM_PYTHON)) as Record<string, unknown>;
  assert.deepEqual(found['labels'], ['Right lung', 'Left lung']);
  assert.deepEqual(found['units'], ['cm2', 'cm2']);
  assert.deepEqual(found['sites'], [['Lung'], ['Lung']]);
  assert.deepEqual(
    (found['areas'] as number[]).map((cm2) => Math.round((cm2 * 100) / 1.4 ** 2)),
    found['pixels'],
  );
});

test('a hand is refused: said to be one, by its body part; said to be a chest, by what the picture shows', async (t) => {
  const told = await run(t, [radiograph({ patient: PATIENT, shows: 'hand', bodyPart: 'HAND' })]);
  assert.match(told.item.lastError ?? '', /BodyPartExamined is HAND, expected CHEST/);
  const untold = await run(t, [radiograph({ patient: PATIENT, shows: 'hand' })]);
  assert.match(untold.item.lastError ?? '', /segmentsFound is [01], expected at least 2/);
  for (const done of [told, untold]) {
    assert.equal(done.item.state, 'CANCELED');
    assert.deepEqual(
      done.arrived.map((bytes) => asciiValue(dataSetOf(bytes), tag('Modality'))),
      ['SR'],
    );
  }
});

test('of a chest and a lateral view in one series the chest gets its masks and the other one a report', async (t) => {
  const done = await run(t, [
    radiograph({ patient: PATIENT }),
    radiograph({ patient: PATIENT, number: 2, over: { ViewPosition: 'LL' } }),
  ]);
  assert.equal(done.item.state, 'COMPLETED', done.item.lastError ?? '');
  assert.deepEqual([ofModality(done, 'SEG').length, ofModality(done, 'SR').length], [1, 2]);
});

const SAMPLE = join(process.env['ISTHMUS_SAMPLES'] ?? '', 'dicom', 'cr_chest');
const NO_SAMPLE =
  process.env['ISTHMUS_SAMPLES'] === undefined || !existsSync(SAMPLE) ? 'ISTHMUS_SAMPLES names no samples' : false;

/** The chest as JPEG Baseline; the header says nothing of it but the transfer syntax. */
async function asJpeg(over: Radiograph['over'] = {}): Promise<Buffer> {
  const eight = { patient: PATIENT, eightBits: true, over: { LossyImageCompression: '01', ...over } };
  const { head, bodyStart } = readHead(radiograph(eight));
  const frame = { bytes: radiograph(eight).subarray(bodyStart), layout: imageLayout(head.dataSet) };
  return radiograph({ ...eight, jpeg: await encodeFrame(frame, JPEG_BASELINE) });
}

test('ZOO-lossy: a radiograph that was compressed with loss gets its masks, and they say so', async (t) => {
  const done = await run(t, [await asJpeg()]);
  assert.equal(done.item.state, 'COMPLETED', done.item.lastError ?? '');
  const [mask] = ofModality(done, 'SEG');
  assert.ok(mask);
  for (const one of diceOf(mask, false)) assert.ok(one > 0.9);
  const dataSet = dataSetOf(mask);
  assert.equal(asciiValue(dataSet, tag('LossyImageCompression')), '01');
  assert.equal(asciiValue(dataSet, tag('LossyImageCompressionMethod')), 'ISO_10918_1');
  const [ratio] = numberValues(dataSet, tag('LossyImageCompressionRatio'));
  assert.ok(ratio !== undefined && ratio > 1 && ratio < 10, String(ratio));
  const [path] = writeObjects(scratch(), [mask]);
  if (NO_DCIODVFY === false) assert.deepEqual(iodErrors(path ?? ''), []);
});

test('ZOO-lossy: stronger compression is told, still stronger refused, as the gate of the card says', async (t) => {
  const warned = await run(t, [await asJpeg({ LossyImageCompressionRatio: ['15'] })]);
  assert.equal(warned.item.state, 'COMPLETED', warned.item.lastError ?? '');
  assert.equal((warned.item.result as { verdict: string }).verdict, 'warn');
  const refused = await run(t, [await asJpeg({ LossyImageCompressionRatio: ['10', '40'] })]);
  assert.match(refused.item.lastError ?? '', /lossyRatio is 40, expected at most 10 \(hard limit 30\)/);
  assert.equal(ofModality(refused, 'SEG').length, 0);
});

test('ZOO-lossy: what was compressed with loss before and nobody says how strongly is refused', async (t) => {
  const done = await run(t, [radiograph({ patient: PATIENT, over: { LossyImageCompression: '01' } })]);
  assert.match(done.item.lastError ?? '', /lossyRatio is not known, expected at most 10/);
});

test('real radiographs, compressed with loss, get their masks or are told why not', { skip: NO_SAMPLE }, async (t) => {
  const done = await run(t, [readFileSync(join(SAMPLE, 'Fake_MONOHR1.dcm'))]);
  assert.ok(
    done.item.state === 'COMPLETED' || /expected at/.test(done.item.lastError ?? ''),
    done.item.lastError ?? '',
  );
});
