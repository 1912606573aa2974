/** PET on the grid of a CT: the images are of the PET class, valid, and hold the activity without an offset. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { deriveImageSeries } from '../../src/derived/image-series.ts';
import { DEFORMABLE_MODELS, type Provenance } from '../../src/derived/provenance.ts';
import { asciiValue, numberValue } from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { readVolume } from '../../src/dicom/volume.ts';
import { IDENTITY, resampled } from '../../src/pipelines/space.ts';
import { instanceOf, phantomSeries } from './phantom.ts';
import { iodErrors, NO_DCIODVFY, scratch, writeObjects } from './tools.ts';

const PET_IMAGE = '1.2.840.10008.5.1.4.1.1.128';

/** Activity of a body in Bq/ml; every slice has a slope of its own, as PET slices do. */
const pet = phantomSeries({
  name: 'pet',
  modality: 'MR',
  slices: 9,
  slope: 0.5,
  value: ([x, y, z]) => Math.max(0, 900 - x * x - y * y - z * z),
  over: (k) => ({
    SOPClassUID: PET_IMAGE,
    Modality: 'PT',
    ImageType: ['ORIGINAL', 'PRIMARY'],
    RescaleSlope: 0.5 + 0.01 * k,
    RescaleIntercept: 0,
    Units: 'BQML',
    CountsSource: 'EMISSION',
    SeriesType: ['WHOLE BODY', 'IMAGE'],
    SeriesDate: '20240601',
    SeriesTime: '101500',
    AcquisitionDate: '20240601',
    AcquisitionTime: `1015${10 + k}`,
    NumberOfSlices: 9,
    CorrectedImage: ['DECY', 'ATTN'],
    DecayCorrection: 'NONE',
    CollimatorType: 'NONE',
    FrameReferenceTime: 1000 * k,
    ActualFrameDuration: 60000,
    ImageIndex: k + 1,
  }),
});
const ct = phantomSeries({ slices: 12 });

const provenance: Provenance = {
  algorithm: {
    name: 'isthmus-reg-rigid',
    version: '1.0.0',
    family: DEFORMABLE_MODELS,
    parameters: 'transform rigid',
    sha256: 'cd'.repeat(32),
  },
  softwareVersion: '0.1.0',
  description: 'Moving series resampled on the fixed one',
  figures: [],
  seriesNumber: 9200,
  seriesSuffix: '[REGISTERED]',
};

test('PET on the grid of a CT is a valid PET series without an offset', async () => {
  const [sources, fixed] = [pet.map(instanceOf), ct.map(instanceOf)];
  const [moving, onto] = [await readVolume(sources), await readVolume(fixed)];
  const volume = { ...moving, geometry: onto.geometry, voxels: resampled(moving, onto.geometry, IDENTITY) };
  const objects = [
    ...deriveImageSeries({
      kind: 'registered',
      sources: sources.map(({ head }) => head),
      reference: fixed.map(({ head }) => head),
      volume,
      provenance,
      padding: 0,
    }),
  ];
  assert.equal(objects.length, ct.length);
  const paths = writeObjects(join(scratch(), 'pet'), objects);
  for (const [k, object] of objects.entries()) {
    assert.equal(object.sopClassUID, PET_IMAGE);
    const { dataSet } = readHead(object.head).head;
    const number = (keyword: string) => numberValue(dataSet, tag(keyword));
    assert.deepEqual(['RescaleIntercept', 'ImageIndex', 'NumberOfSlices'].map(number), [0, k + 1, ct.length]);
    assert.deepEqual([asciiValue(dataSet, tag('Units')), number('FrameReferenceTime')], ['BQML', 4000]);
    const slope = number('RescaleSlope') ?? Number.NaN;
    const size = onto.geometry.columns * onto.geometry.rows;
    for (let n = 0; n < size; n += 7) {
      const stored = (object.body as Buffer).readUInt16LE(2 * n);
      assert.ok(Math.abs(stored * slope - (volume.voxels[k * size + n] ?? 0)) <= slope, `slice ${k} pixel ${n}`);
    }
    if (NO_DCIODVFY === false) assert.deepEqual(iodErrors(paths[k] ?? ''), []);
  }
});
