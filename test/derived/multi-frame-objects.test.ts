/** Segmentations and parametric maps, as foreign readers see them. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { deriveParametricMap, type ParametricMapRequest } from '../../src/derived/parametric-map.ts';
import { ARTIFICIAL_INTELLIGENCE, type Code, type Provenance } from '../../src/derived/provenance.ts';
import { deriveSegmentation, type Segment } from '../../src/derived/segmentation.ts';
import { asciiValue, itemsOf, numberValue } from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { axialGrid, planVolume } from '../../src/dicom/volume.ts';
import { instanceOf, part10, phantomSeries } from './phantom.ts';
import {
  HIGHDICOM_PYTHON,
  iodErrors,
  NO_DCIODVFY,
  NO_HIGHDICOM,
  NO_PYTHON,
  python,
  scratch,
  writeObjects,
} from './tools.ts';

const provenance: Provenance = {
  algorithm: {
    name: 'lungs',
    version: '1.0.0',
    family: ARTIFICIAL_INTELLIGENCE,
    parameters: '{}',
    sha256: 'ab'.repeat(32),
  },
  softwareVersion: '0.1.0',
  description: 'Lungs found',
  figures: [],
  seriesNumber: 9400,
  seriesSuffix: '[SEG]',
};
const sct = (value: string, meaning: string): Code => ({ value, scheme: 'SCT', meaning });
const LUNGS: readonly Segment[] = [
  { label: 'right lung', category: sct('123037004', 'Anatomical Structure'), type: sct('3341006', 'Right lung') },
  { label: 'left lung', category: sct('123037004', 'Anatomical Structure'), type: sct('44029006', 'Left lung') },
];

// 21 x 17 pixels: a frame ends within a byte.
const sources = phantomSeries({ columns: 21, rows: 17, row: [0.96, 0.28, 0], column: [-0.28, 0.96, 0] }).map(
  (file) => instanceOf(file).head,
);
const { geometry } = planVolume(sources);
const SIZE = 21 * 17;

/** Segment 1 in slices 1 and 2, segment 2 in slices 2 to 4. */
function mask(): Uint8Array {
  return Uint8Array.from({ length: SIZE * geometry.slices }, (_, n) => {
    const k = Math.floor(n / SIZE);
    const i = (n % SIZE) % 21;
    if (k >= 1 && k <= 2 && i >= 3 && i < 8) return 1;
    return k >= 2 && k <= 4 && i >= 11 && i < 16 + (k - 2) ? 2 : 0;
  });
}

const binary = () =>
  deriveSegmentation({ kind: 'binary', sources, geometry, mask: mask(), segments: LUNGS, provenance });
const fractional = () =>
  deriveSegmentation({
    kind: 'fractional',
    sources,
    geometry,
    mask: Float32Array.from({ length: 2 * SIZE * geometry.slices }, (_, n) => (n % SIZE < 100 ? (n % 100) / 100 : 0)),
    segments: LUNGS,
    provenance,
  });

const PYDICOM_SEG = `
import sys, numpy as np, pydicom
d = pydicom.dcmread(sys.argv[1])
a = d.pixel_array
for n, f in enumerate(d.PerFrameFunctionalGroupsSequence):
    print(f.SegmentIdentificationSequence[0].ReferencedSegmentNumber, f.FrameContentSequence[0].DimensionIndexValues,
          int(a[n].astype(int).sum()), [round(float(v), 3) for v in f.PlanePositionSequence[0].ImagePositionPatient])
`;

const HIGHDICOM_SEG = `
import sys, json, numpy as np, highdicom as hd
s = hd.seg.segread(sys.argv[1])
v = s.get_volume(combine_segments=False, rescale_fractional=False) if hasattr(s, 'get_volume') else None
print(json.dumps({
  'type': str(s.segmentation_type.value), 'segments': [s.get_segment_description(n).segment_label for n in s.segment_numbers],
  'algorithm': s.get_segment_description(1).algorithm_identification.name, 'shape': list(v.array.shape), 'sum': int(v.array.astype(int).sum()),
  'sources': len(s.get_source_image_uids()), 'affine': v.affine.round(4).tolist()}))
`;

describe('a segmentation', () => {
  it('packs bits across frames and leaves frames without a pixel out', { skip: NO_PYTHON }, () => {
    const [path] = writeObjects(scratch(), [binary()]);
    const lines = python(['-c', PYDICOM_SEG, path ?? ''])
      .trim()
      .split('\n');
    assert.equal(lines.length, 5);
    const row = 17;
    assert.deepEqual(
      lines.map((line) => line.replace(/ \[[^[]*\]$/, '')),
      [
        `1 [1, 1] ${5 * row}`,
        `1 [1, 2] ${5 * row}`,
        `2 [2, 2] ${5 * row}`,
        `2 [2, 3] ${6 * row}`,
        `2 [2, 4] ${7 * row}`,
      ],
    );
  });

  it('is a Segmentation without errors to dciodvfy, binary and fractional', { skip: NO_DCIODVFY }, () => {
    for (const object of [binary(), fractional()]) {
      const [path] = writeObjects(scratch(), [object]);
      assert.deepEqual(iodErrors(path ?? ''), []);
    }
  });

  it('DERIVE-SEG-1: is read by highdicom with its segments, sources and place', { skip: NO_HIGHDICOM }, () => {
    const [first, second] = writeObjects(scratch(), [binary(), fractional()]);
    const found = JSON.parse(python(['-c', HIGHDICOM_SEG, first ?? ''], HIGHDICOM_PYTHON)) as Record<string, unknown>;
    assert.deepEqual(
      [found['type'], found['segments'], found['algorithm'], found['sum']],
      ['BINARY', ['right lung', 'left lung'], 'lungs', 28 * 17],
    );
    const other = JSON.parse(python(['-c', HIGHDICOM_SEG, second ?? ''], HIGHDICOM_PYTHON)) as Record<string, unknown>;
    assert.equal(other['type'], 'FRACTIONAL');
  });

  it('is the same instance for the same mask, and another for another', () => {
    assert.deepEqual(binary().head, binary().head);
    const changed = mask();
    changed[0] = 1;
    const other = deriveSegmentation({
      kind: 'binary',
      sources,
      geometry,
      mask: changed,
      segments: LUNGS,
      provenance,
    });
    assert.notEqual(other.sopInstanceUID, binary().sopInstanceUID);
  });

  it('where nothing was found has one empty frame', () => {
    const nothing = new Uint8Array(SIZE * geometry.slices);
    const object = deriveSegmentation({
      kind: 'binary',
      sources,
      geometry,
      mask: nothing,
      segments: LUNGS,
      provenance,
    });
    assert.equal(numberValue(readHead(object.head).head.dataSet, tag('NumberOfFrames')), 1);
    assert.ok(object.body.every((byte) => byte === 0));
  });

  it('of a radiograph lies on its pixels, without a place in the patient', { skip: NO_DCIODVFY }, () => {
    const image = part10(
      {
        SOPClassUID: '1.2.840.10008.5.1.4.1.1.1',
        SOPInstanceUID: '2.25.5',
        StudyInstanceUID: '2.25.6',
        SeriesInstanceUID: '2.25.7',
        Modality: 'CR',
        PatientID: 'P1',
        PatientName: 'P1',
        Rows: 4,
        Columns: 4,
      },
      Buffer.alloc(32),
    );
    const flat = axialGrid([4, 4, 1], [1, 1, 1]);
    const object = deriveSegmentation({
      kind: 'binary',
      sources: [instanceOf(image).head],
      geometry: flat,
      mask: Uint8Array.from({ length: 16 }, (_, n) => n % 3),
      segments: LUNGS,
      provenance,
    });
    const { dataSet } = readHead(object.head).head;
    assert.equal(asciiValue(dataSet, tag('FrameOfReferenceUID')), undefined);
    assert.equal(itemsOf(dataSet, tag('PerFrameFunctionalGroupsSequence')).length, 2);
    const [path] = writeObjects(scratch(), [object]);
    assert.deepEqual(iodErrors(path ?? ''), []);
  });

  it('of another grid, of segments that are not named, or with no probabilities is refused', () => {
    const request = { kind: 'binary', sources, geometry, mask: mask(), segments: LUNGS, provenance } as const;
    assert.throws(() => deriveSegmentation({ ...request, segments: LUNGS.slice(1) }), Refusal);
    assert.throws(() => deriveSegmentation({ ...request, mask: mask().subarray(1) }), Refusal);
    assert.throws(() => deriveSegmentation({ ...request, geometry: { ...geometry, originMm: [0, 0, 0] } }), Refusal);
    const values = new Float32Array(2 * SIZE * geometry.slices).fill(NaN, 0, 1);
    assert.throws(() => deriveSegmentation({ ...request, kind: 'fractional', mask: values }), Refusal);
  });
});

describe('a parametric map', () => {
  const values = Float32Array.from({ length: SIZE * geometry.slices }, (_, n) => 0.5 + Math.sin(n / 7) / 3);
  const request: ParametricMapRequest = {
    source: sources,
    geometry,
    values,
    quantity: { value: 'JACOBIAN', scheme: '99ISTHMUS', meaning: 'Jacobian determinant' },
    unit: { value: '1', scheme: 'UCUM', meaning: 'no units' },
    label: 'JACOBIAN',
    provenance: { ...provenance, figures: [{ name: 'jacobianMin', value: 0.3 }] },
  };

  it('is a Parametric Map without errors to dciodvfy', { skip: NO_DCIODVFY }, () => {
    const [path] = writeObjects(scratch(), [deriveParametricMap(request)]);
    assert.deepEqual(iodErrors(path ?? ''), []);
  });

  it('DERIVE-PM-1: holds the very same numbers at the very same places', { skip: NO_PYTHON }, () => {
    const [path] = writeObjects(scratch(), [deriveParametricMap(request)]);
    const program = `
import sys, json, numpy as np, pydicom
d = pydicom.dcmread(sys.argv[1])
a = np.frombuffer(d.FloatPixelData, '<f4').reshape(int(d.NumberOfFrames), d.Rows, d.Columns)
places = [[float(v) for v in f.PlanePositionSequence[0].ImagePositionPatient] for f in d.PerFrameFunctionalGroupsSequence]
print(json.dumps({'shape': a.shape, 'values': [float(v) for v in a.ravel()[[0, 50, 2000]]], 'first': places[0], 'last': places[-1]}))
`;
    const read = JSON.parse(python(['-c', program, path ?? ''])) as Record<string, number[]>;
    assert.deepEqual(read['shape'], [geometry.slices, 17, 21]);
    assert.deepEqual(read['values'], [values[0], values[50], values[2000]]);
    assert.deepEqual(read['first'], [...geometry.originMm]);
    const depth = (geometry.slices - 1) * geometry.spacingMm[2];
    assert.deepEqual(
      read['last'],
      geometry.originMm.map((value, axis) => value + depth * (geometry.axes[2][axis] ?? 0)),
    );
  });

  it('with values that are no numbers, or too few, is refused', () => {
    assert.throws(() => deriveParametricMap({ ...request, values: values.slice(1) }), Refusal);
    assert.throws(() => deriveParametricMap({ ...request, values: values.map(() => Infinity) }), Refusal);
  });
});
