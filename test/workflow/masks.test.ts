/** A hospital's own model that makes masks, run by a rule: DICOM in, a Segmentation with report and key image in the PACS. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { seriesOf } from '../../src/archive/studies.ts';
import { SEGMENTATION } from '../../src/derived/segmentation.ts';
import {
  asciiValue,
  asciiValues,
  itemsOf,
  numberValue,
  numberValues,
  textValue,
  type DataSet,
} from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { loadSeries } from '../../src/workflow/load-series.ts';
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
import { ctStudy } from '../phantom/studies.ts';
import { AIR_AND_BONE, segment, writeSiteMasks, type SiteMasks } from '../pipelines/site-masks.ts';
import { pacsAt, workOff, openInFolder, PROJECT, takeStudy, type Opened } from './opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-9', birthDate: '19631112', sex: 'F' } as const;

function temporary(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-masks-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

interface Done {
  readonly opened: Opened;
  readonly study: string;
  readonly item: WorkItem;
  readonly originalStudy: string;
  readonly arrived: readonly Buffer[];
}

async function run(t: TestContext, model: SiteMasks, rule = ''): Promise<Done> {
  const site = temporary(t);
  writeSiteMasks(site, 'tissues', model);
  const node = await startStandIn(t);
  const opened = await openInFolder(t, {
    gateway: `pipelines: { threads: 1, modelsFolder: '${site}' }\n`,
    nodes: pacsAt(node.url),
    rules: `admission:\n  - { name: all, when: { modality: [CT, MR] }, project: ${PROJECT}, profile: hipaa-safe-harbor }\nprocessing:\n  - { name: own, when: { modality: CT }, run: tissues${rule}, deliver: [pacs] }\n`,
  });
  const phantom = ctStudy({ patient: PATIENT, slices: 5, size: 48 });
  const study = await takeStudy(opened, phantom.objects);
  const item = (await workOff(opened, study, 60_000)).find(({ kind }) => kind === 'derive');
  assert.ok(item);
  const arrived = [...node.kept.values()].map(({ bytes }) => bytes);
  return { opened, study, item, originalStudy: phantom.studyInstanceUID, arrived };
}

function dataSetOf(bytes: Buffer): DataSet {
  return readHead(bytes).head.dataSet;
}

function oneOf({ arrived }: Done, modality: string): { dataSet: DataSet; bytes: Buffer } {
  const found = [];
  for (const bytes of arrived) {
    const dataSet = dataSetOf(bytes);
    if (asciiValue(dataSet, tag('Modality')) === modality) found.push({ dataSet, bytes });
  }
  assert.equal(found.length, 1, modality);
  return found[0]!;
}

const MASKS_OF = `
import sys, json, pydicom, numpy as np
d = pydicom.dcmread(sys.argv[1])
print(json.dumps([int(x) for x in d.pixel_array.reshape(-1)]))
`;

/** HU of the source, in the order of the volume. */
async function sourceVoxels({ opened, study }: Done): Promise<Float32Array> {
  const original = seriesOf(opened.gateway.archive, study).find(({ derived }) => !derived);
  const name = { studyInstanceUID: study, seriesInstanceUID: original?.SeriesInstanceUID ?? '' };
  return (await loadSeries(opened.gateway, name)).volume.voxels;
}

test('ZOO-masks: a rule runs a mask model; Segmentation, report and key image come home under the patient, each valid', async (t) => {
  const done = await run(t, AIR_AND_BONE);
  assert.equal(done.item.state, 'COMPLETED', done.item.lastError ?? '');
  const modalities = [];
  const paths = writeObjects(scratch(), done.arrived);
  for (const [index, bytes] of done.arrived.entries()) {
    const dataSet = dataSetOf(bytes);
    modalities.push(asciiValue(dataSet, tag('Modality')));
    assert.equal(textValue(dataSet, tag('PatientName')), PATIENT.name);
    assert.equal(asciiValue(dataSet, tag('StudyInstanceUID')), done.originalStudy);
    if (NO_DCIODVFY === false) assert.deepEqual(iodErrors(paths[index] ?? ''), []);
  }
  assert.deepEqual(modalities.sort(), ['OT', 'SEG', 'SR']);

  const { dataSet } = oneOf(done, 'SEG');
  const [air, bone] = itemsOf(dataSet, tag('SegmentSequence'));
  assert.ok(air && bone);
  assert.deepEqual(
    [air, bone].map((one) => textValue(one, tag('SegmentLabel'))),
    ['air', 'bone'],
  );
  assert.equal(numberValues(air, tag('RecommendedDisplayCIELabValue')).length, 3);
  assert.equal(asciiValue(itemsOf(air, tag('SegmentedPropertyTypeCodeSequence'))[0]!, tag('CodeValue')), '39607008');
  const frames = itemsOf(dataSet, tag('PerFrameFunctionalGroupsSequence'));
  const voxels = await sourceVoxels(done);
  const expected = [
    voxels.reduce((sum, hu) => sum + (hu < -500 ? 1 : 0), 0),
    voxels.reduce((sum, hu) => sum + (hu > 250 ? 1 : 0), 0),
  ];
  assert.ok(expected[0]! > 1000 && expected[1]! > 20);
  const [image] = itemsOf(frames[0]!, tag('DerivationImageSequence')).flatMap((one) =>
    itemsOf(one, tag('SourceImageSequence')),
  );
  // The pseudonym of the source has become its own UID again.
  assert.match(asciiValue(image!, tag('ReferencedSOPInstanceUID')) ?? '', /^[0-9.]+$/);
  const { volumes, referenced } = volumesOf(done);
  const voxelMl = ((320 / 48) ** 2 * 3) / 1000;
  assert.deepEqual(
    volumes.map((value) => Math.round(value / voxelMl)),
    expected,
  );
  assert.deepEqual(referenced, [
    asciiValue(dataSet, tag('SOPInstanceUID')),
    asciiValue(dataSet, tag('SOPInstanceUID')),
  ]);
});

/** Of each segment's group in the report: the volume, and the Segmentation it refers to. */
function volumesOf(done: Done): { volumes: number[]; referenced: (string | undefined)[] } {
  const { dataSet } = oneOf(done, 'SR');
  const measurements = itemsOf(dataSet, tag('ContentSequence')).at(-1);
  const groups = itemsOf(measurements!, tag('ContentSequence')).slice(1);
  const volumes: number[] = [];
  const referenced: (string | undefined)[] = [];
  for (const group of groups) {
    const [template] = itemsOf(group, tag('ContentTemplateSequence'));
    assert.equal(asciiValue(template!, tag('TemplateIdentifier')), '1411');
    for (const item of itemsOf(group, tag('ContentSequence'))) {
      const [concept] = itemsOf(item, tag('ConceptNameCodeSequence'));
      const [value] = itemsOf(item, tag('MeasuredValueSequence'));
      if (asciiValue(concept!, tag('CodeValue')) === '118565006')
        volumes.push(numberValue(value!, tag('NumericValue'))!);
      if (asciiValue(concept!, tag('CodeValue')) === '121191')
        referenced.push(asciiValue(itemsOf(item, tag('ReferencedSOPSequence'))[0]!, tag('ReferencedSOPInstanceUID')));
    }
  }
  return { volumes, referenced };
}

const HIGHDICOM = `
import sys, json, highdicom as hd, numpy as np
s = hd.seg.segread(sys.argv[1])
v = s.get_volume(combine_segments=False, rescale_fractional=False)
from pydicom import dcmread
sr = hd.sr.srread(sys.argv[2])
groups = sr.content.get_volumetric_roi_measurement_groups()
print(json.dumps({
  'type': s.segmentation_type.value, 'sums': [int((v.array[..., n] > 0).sum()) for n in range(v.array.shape[-1])],
  'algorithm': [s.segment_algorithm_name if hasattr(s, 'segment_algorithm_name') else s.get_segment_description(1).algorithm_identification.name,
                s.get_segment_description(1).algorithm_identification.version],
  'categories': [s.get_segment_description(n).segmented_property_category.meaning for n in s.segment_numbers],
  'sources': len(s.get_source_image_uids()), 'groups': len(groups),
  'volumes': [float(m.value) for g in groups for m in g.get_measurements() if m.name.value == '118565006'],
  'finding': [g.finding_type.meaning for g in groups]}))
`;

test(
  'highdicom reads segmentation and report: segments, algorithm, sources, volumes',
  { skip: NO_HIGHDICOM },
  async (t) => {
    const done = await run(t, AIR_AND_BONE);
    const [seg, sr] = [oneOf(done, 'SEG'), oneOf(done, 'SR')];
    const paths = writeObjects(scratch(), [seg.bytes, sr.bytes]);
    const found = JSON.parse(python(['-c', HIGHDICOM, ...paths], HIGHDICOM_PYTHON)) as Record<string, unknown>;
    assert.equal(found['type'], 'BINARY');
    assert.deepEqual(found['algorithm'], ['tissues', '1.2.0']);
    assert.equal(found['sources'], 5);
    assert.deepEqual(found['finding'], ['Lung', 'Lung']);
    const voxelMl = ((320 / 48) ** 2 * 3) / 1000;
    assert.deepEqual(
      (found['volumes'] as number[]).map((value) => Math.round(value / voxelMl)),
      found['sums'],
    );
  },
);

test('a fractional model writes its probabilities in 255 steps', async (t) => {
  const done = await run(t, {
    ...AIR_AND_BONE,
    segmentation: 'fractional',
    post: '[{ op: softmax }, { op: threshold, at: 0.5 }]',
  });
  const { dataSet, bytes } = oneOf(done, 'SEG');
  assert.equal(asciiValue(dataSet, tag('SegmentationType')), 'FRACTIONAL');
  assert.equal(numberValue(dataSet, tag('MaximumFractionalValue')), 255);
  const voxels = await sourceVoxels(done);
  const [path] = writeObjects(scratch(), [bytes]);
  const pixels = JSON.parse(python(['-c', MASKS_OF, path ?? ''])) as number[];
  const e = voxels.map((hu) => Math.exp(-0.05 * hu - 25));
  const b = voxels.map((hu) => Math.exp(0.05 * hu - 12.5));
  // The first frames are air's, slice by slice.
  for (let n = 0; n < voxels.length; n += 37) {
    const share = e[n]! / (1 + e[n]! + b[n]!);
    const expected = Number.isFinite(e[n]!) ? share * 255 : 255;
    assert.ok(Math.abs(pixels[n]! - expected) <= 1, `voxel ${n}: ${pixels[n]} for ${expected}`);
  }
  if (NO_DCIODVFY === false) assert.deepEqual(iodErrors(path ?? ''), []);
});

test('a 3-D model on another grid: resampled, tiled, its masks back on the grid of the source', async (t) => {
  const done = await run(
    t,
    {
      ...AIR_AND_BONE,
      dims: '3d-volume',
      pre: '[{ op: rescaleHU }, { op: orient, axes: RAS }, { op: resample, spacingMm: 4 }, { op: tile, size: 40, overlap: 8 }]',
      post: '[{ op: softmax }, { op: argmax }, { op: largest, parts: 3 }, { op: fillHoles }]',
    },
    ', outputs: [image]',
  );
  const { dataSet, bytes } = oneOf(done, 'SEG');
  assert.deepEqual([numberValue(dataSet, tag('Columns')), numberValue(dataSet, tag('Rows'))], [48, 48]);
  const voxels = await sourceVoxels(done);
  const [path] = writeObjects(scratch(), [bytes]);
  const pixels = JSON.parse(python(['-c', MASKS_OF, path ?? ''])) as number[];
  let [both, either] = [0, 0];
  voxels.forEach((hu, n) => {
    const [found, truth] = [pixels[n] === 1, hu < -500];
    if (found && truth) both++;
    if (found || truth) either++;
  });
  assert.ok(both / either > 0.93, `IoU of air ${both / either}`);
  const frames = itemsOf(dataSet, tag('PerFrameFunctionalGroupsSequence'));
  const [position] = itemsOf(frames[0]!, tag('PlanePositionSequence'));
  assert.equal(asciiValues(position!, tag('ImagePositionPatient')).length, 3);
});

test('masks that are nonsense by the gates make no Segmentation: the report alone says why', async (t) => {
  const done = await run(t, {
    ...AIR_AND_BONE,
    gates: '{ balance: { min: 0.8, hard: 0.5 }, airShare: { min: 1, hard: 0.5 } }',
  });
  assert.equal(done.item.state, 'CANCELED');
  assert.match(done.item.lastError ?? '', /balance is 0\.[0-9]+, expected at least 0.8 \(hard limit 0.5\)/);
  assert.equal(done.arrived.length, 1);
  const { dataSet } = oneOf(done, 'SR');
  assert.notEqual(asciiValue(dataSet, tag('SOPClassUID')), SEGMENTATION);
});

const FAULTY: readonly (readonly [string, Partial<SiteMasks>, RegExp])[] = [
  ['a task that makes images', { task: 'enhance' }, /task enhance does not go with emit.kind segmentation/],
  ['an output that is an image', { outputRole: 'image' }, /role is image; emit.kind segmentation needs mask/],
  ['no decision', { post: '[{ op: softmax }]' }, /post has 0 of argmax and threshold; one is needed/],
  [
    'a step of images',
    { post: '[{ op: argmax }, { op: blend, alpha: 1 }]' },
    /blend is for images; this model makes masks/,
  ],
  [
    'a channel the graph lacks',
    { segments: segment('air', 4) },
    /y is \[n,3,h,w\]; one image of at least 5 channels is needed/,
  ],
  [
    'two segments of one channel',
    { segments: segment('air', 1) + segment('bone', 1) },
    /two segments have one channel/,
  ],
  ['a gate of no segment', { gates: '{ liverShare: { min: 1, hard: 1 } }' }, /gate liverShare is no figure .*airShare/],
  [
    'a keyword that is none',
    { applies: '{ Modality: [CT], attributes: { BodyPart: [CHEST] } }' },
    /BodyPart is no keyword/,
  ],
];

for (const [name, change, sentence] of FAULTY) {
  test(`the gateway does not start with a mask model that has ${name}`, async (t) => {
    await assert.rejects(
      run(t, { ...AIR_AND_BONE, ...change }),
      (error) => error instanceof Refusal && error.reason === 'BadConfiguration' && sentence.test(error.message),
    );
  });
}

test('a graph that gives logits where its card says probabilities is refused', async (t) => {
  const done = await run(t, { ...AIR_AND_BONE, post: '[{ op: argmax }]' });
  assert.match(done.item.lastError ?? '', /where probabilities are expected; post lacks softmax or sigmoid/);
});
