import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { deriveDeformableRegistration } from '../../src/derived/deformable-registration.ts';
import { deriveImageSeries, type ImageSeriesRequest } from '../../src/derived/image-series.ts';
import {
  ARTIFICIAL_INTELLIGENCE,
  DEFORMABLE_MODELS,
  type DerivedObject,
  type Provenance,
} from '../../src/derived/provenance.ts';
import { matrixType } from '../../src/derived/registration-object.ts';
import { deriveSpatialRegistration } from '../../src/derived/spatial-registration.ts';
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
import { isUid } from '../../src/dicom/uid.ts';
import { readVolume, type SeriesVolume, type Vector3 } from '../../src/dicom/volume.ts';
import { instanceOf, phantomSeries, type PhantomOptions } from './phantom.ts';
import { fieldOn, resample, rigidMove, smoothWarp } from './registration-cases.ts';
import { dump, iodErrors, NO_DCIODVFY, NO_DCMDUMP, NO_PYTHON, python, scratch, writeObjects } from './tools.ts';

const SAMPLES = process.env['ISTHMUS_SAMPLES'];

const denoising: Provenance = {
  algorithm: {
    name: 'ct-denoise',
    version: '1.0.0',
    family: ARTIFICIAL_INTELLIGENCE,
    parameters: 'alpha 0.6',
    sha256: 'ab'.repeat(32),
  },
  softwareVersion: '0.1.0',
  description: 'Noise reduced by a residual network',
  figures: [{ name: 'noise before', value: 24.31234, unit: 'HU' }],
  seriesNumber: 901,
  seriesSuffix: '[AI-DENOISED]',
};
const registering: Provenance = {
  ...denoising,
  algorithm: {
    ...denoising.algorithm,
    name: 'register',
    family: DEFORMABLE_MODELS,
    parameters: 'transform deformable',
  },
  description: 'Moving series resampled on the fixed one',
  figures: [{ name: 'NCC after', value: 0.91 }],
  seriesNumber: 902,
  seriesSuffix: '[REGISTERED]',
};

interface Series {
  readonly files: Buffer[];
  readonly volume: SeriesVolume;
  readonly heads: ImageSeriesRequest['sources'];
}

async function open(files: Buffer[]): Promise<Series> {
  const instances = files.map(instanceOf);
  return { files, volume: await readVolume(instances), heads: instances.map((instance) => instance.head) };
}

function whole(object: DerivedObject): Buffer {
  return Buffer.concat([object.head, object.body]);
}

function dataSetOf(object: DerivedObject): DataSet {
  return readHead(whole(object)).head.dataSet;
}

function value(dataSet: DataSet, keyword: string): string | undefined {
  return asciiValue(dataSet, tag(keyword));
}

/** Smooth noise-free values, so that interpolation differs little between readers. */
function hills([x, y, z]: Vector3): number {
  return 800 + 300 * Math.sin(x / 11) + 250 * Math.cos(y / 9 + x / 30) + 200 * Math.sin(z / 10 + 0.3);
}

describe('a denoised CT series', () => {
  const options: PhantomOptions = { over: () => ({ PixelPaddingValue: 0 }) };
  let source: Series;
  let derived: DerivedObject[];
  const request = (over: Partial<ImageSeriesRequest> = {}): ImageSeriesRequest => ({
    kind: 'denoised',
    sources: source.heads,
    volume: source.volume,
    provenance: denoising,
    ...over,
  });

  before(async () => {
    source = await open(phantomSeries(options).reverse());
    derived = [...deriveImageSeries(request())];
  });

  it('has one image per slice, in a new series of the same study', () => {
    assert.equal(derived.length, 6);
    const uids = new Set(derived.map((object) => object.sopInstanceUID));
    assert.equal(uids.size, 6);
    const [first] = source.heads;
    for (const [k, object] of derived.entries()) {
      const dataSet = dataSetOf(object);
      assert.ok(isUid(object.sopInstanceUID) && isUid(object.seriesInstanceUID));
      assert.equal(value(dataSet, 'SOPInstanceUID'), object.sopInstanceUID);
      assert.equal(value(dataSet, 'SeriesInstanceUID'), derived[0]?.seriesInstanceUID);
      assert.notEqual(value(dataSet, 'SeriesInstanceUID'), first && asciiValue(first.dataSet, 0x0020000e));
      assert.equal(value(dataSet, 'StudyInstanceUID'), first && asciiValue(first.dataSet, 0x0020000d));
      assert.equal(value(dataSet, 'FrameOfReferenceUID'), first && asciiValue(first.dataSet, 0x00200052));
      assert.equal(value(dataSet, 'InstanceNumber'), String(k + 1));
      assert.equal(value(dataSet, 'PatientID'), 'P1');
      assert.equal(value(dataSet, 'PatientIdentityRemoved'), 'YES');
      assert.equal(itemsOf(dataSet, tag('DeidentificationMethodCodeSequence')).length, 1);
    }
  });

  it('says what it is, what it was made from, and by what', () => {
    const dataSet = dataSetOf(derived[2] as DerivedObject);
    assert.deepEqual(asciiValues(dataSet, tag('ImageType')), ['DERIVED', 'SECONDARY', 'AXIAL', 'DENOISED']);
    assert.equal(textValue(dataSet, tag('SeriesDescription')), 'phantom a [AI-DENOISED]');
    const text = textValue(dataSet, tag('DerivationDescription')) ?? '';
    assert.match(
      text,
      /^Noise reduced by a residual network; ct-denoise 1\.0\.0; .*abab.*alpha 0\.6; noise before 24\.31 HU$/,
    );
    const sources = itemsOf(dataSet, tag('SourceImageSequence'));
    assert.equal(sources.length, 1);
    // The files were given in reverse: slice 2 of 6 is instance 3.
    const expected = source.heads[3];
    assert.equal(
      sources[0] && value(sources[0], 'ReferencedSOPInstanceUID'),
      expected && value(expected.dataSet, 'SOPInstanceUID'),
    );
    const equipment = itemsOf(dataSet, tag('ContributingEquipmentSequence'));
    assert.deepEqual(
      equipment.map((item) => textValue(item, tag('Manufacturer'))),
      ['Phantom works', 'Isthmus'],
    );
    assert.equal(textValue(dataSet, tag('Manufacturer')), 'Isthmus');
  });

  it('stores the very same real values when nothing was changed, pixels padding included', async () => {
    const again = await readVolume(derived.map((object) => instanceOf(whole(object))));
    assert.deepEqual(again.voxels, source.volume.voxels);
    assert.deepEqual(again.geometry, source.volume.geometry);
    assert.deepEqual(again.sources[0]?.padding, [-1024, -1024]);
    const dataSet = dataSetOf(derived[3] as DerivedObject);
    assert.equal(numberValue(dataSet, tag('RescaleIntercept')), -1024);
    const stored = new Uint16Array(new Uint8Array((derived[3] as DerivedObject).body).buffer);
    assert.equal(numberValue(dataSet, tag('SmallestImagePixelValue')), Math.min(...stored));
    assert.equal(numberValue(dataSet, tag('LargestImagePixelValue')), Math.max(...stored));
    assert.equal(numberValue(dataSet, tag('WindowWidth')), 400);
  });

  it('keeps a padding range as a range', async () => {
    const over = () => ({ PixelPaddingValue: -2000, PixelPaddingRangeLimit: -1500 });
    const { heads, volume } = await open(phantomSeries({ signed: true, intercept: 0, over }));
    const objects = [...deriveImageSeries(request({ sources: heads, volume }))];
    const again = await readVolume(objects.map((object) => instanceOf(whole(object))));
    assert.deepEqual(again.sources[2]?.padding, [-2000, -1500]);
  });

  it('becomes signed when values leave an unsigned range, and takes a slope when 16 bits are too few', async () => {
    const voxels = Float32Array.from(source.volume.voxels, (voxel) => voxel - 500);
    const low = [...deriveImageSeries(request({ volume: { ...source.volume, voxels } }))];
    assert.equal(numberValue(dataSetOf(low[0] as DerivedObject), tag('PixelRepresentation')), 1);
    assert.deepEqual((await readVolume(low.map((object) => instanceOf(whole(object))))).voxels, voxels);
    const large = Float32Array.from(source.volume.voxels, (voxel) => voxel * 100);
    const scaled = [...deriveImageSeries(request({ volume: { ...source.volume, voxels: large } }))];
    const back = await readVolume(scaled.map((object) => instanceOf(whole(object))));
    const step = numberValue(dataSetOf(scaled[0] as DerivedObject), tag('RescaleSlope')) ?? NaN;
    assert.ok(step > 1 && step < 3);
    back.voxels.forEach((voxel, index) => assert.ok(Math.abs(voxel - (large[index] ?? 0)) <= step / 2 + 0.01));
  });

  it('has the same UIDs for the same run and others for another model, setting or source', async () => {
    const uids = (over: Partial<ImageSeriesRequest>) =>
      [...deriveImageSeries(request(over))].map((object) => object.sopInstanceUID).join();
    const first = derived.map((object) => object.sopInstanceUID).join();
    assert.equal(uids({}), first);
    const algorithm = denoising.algorithm;
    assert.notEqual(
      uids({ provenance: { ...denoising, algorithm: { ...algorithm, sha256: 'cd'.repeat(32) } } }),
      first,
    );
    assert.notEqual(
      uids({ provenance: { ...denoising, algorithm: { ...algorithm, parameters: 'alpha 0.5' } } }),
      first,
    );
    const other = await open(phantomSeries({ ...options, name: 'b' }));
    assert.notEqual(uids({ sources: other.heads, volume: other.volume }), first);
  });

  it('refuses voxels that are no numbers and a grid that is not the source’s', () => {
    const voxels = source.volume.voxels.slice();
    voxels[77] = NaN;
    assert.throws(() => [...deriveImageSeries(request({ volume: { ...source.volume, voxels } }))], Refusal);
    const geometry = { ...source.volume.geometry, originMm: [0, 0, 0] as const };
    assert.throws(() => [...deriveImageSeries(request({ volume: { ...source.volume, geometry } }))], /lies elsewhere/);
  });

  it('keeps no private, overlay or icon data and no reference to an object that is not its source', async () => {
    const over = () => ({
      IconImageSequence: [{ Rows: 1 }],
      ReferencedImageSequence: [{ ReferencedSOPClassUID: '1.2.3', ReferencedSOPInstanceUID: '1.2.3.4' }],
      IrradiationEventUID: '1.2.3.5',
    });
    const { heads, volume } = await open(phantomSeries({ over }));
    const dataSet = dataSetOf([...deriveImageSeries(request({ sources: heads, volume }))][0] as DerivedObject);
    for (const keyword of ['IconImageSequence', 'ReferencedImageSequence', 'IrradiationEventUID'])
      assert.ok(!dataSet.elements.some((element) => element.tag === tag(keyword)), keyword);
  });

  it('is lossy once its source was, and says so of text in the pixels', async () => {
    const over = (k: number) =>
      k === 1 ? { LossyImageCompression: '01', LossyImageCompressionRatio: 12, BurnedInAnnotation: 'YES' } : {};
    const { heads, volume } = await open(phantomSeries({ over }));
    const slices = (kind: 'denoised' | 'registered') =>
      [...deriveImageSeries(request({ kind, sources: heads, reference: heads, volume }))].map(dataSetOf);
    const lossy = (dataSet: DataSet | undefined) =>
      dataSet && [value(dataSet, 'LossyImageCompression'), value(dataSet, 'BurnedInAnnotation')];
    assert.deepEqual(slices('denoised').slice(0, 2).map(lossy), [
      [undefined, 'NO'],
      ['01', 'YES'],
    ]);
    assert.deepEqual(lossy(slices('registered')[4]), ['01', 'YES']);
  });

  it('writes text in UTF-8 whatever the source had', async () => {
    const over = () => ({ SpecificCharacterSet: 'ISO_IR 100', StudyDescription: Buffer.from('Sch\xe4del', 'latin1') });
    const { heads, volume } = await open(phantomSeries({ over }));
    const dataSet = dataSetOf([...deriveImageSeries(request({ sources: heads, volume }))][0] as DerivedObject);
    assert.equal(value(dataSet, 'SpecificCharacterSet'), 'ISO_IR 192');
    assert.equal(textValue(dataSet, tag('StudyDescription')), 'Schädel');
  });

  it('is clean for dciodvfy', { skip: NO_DCIODVFY }, () => {
    for (const path of writeObjects(scratch(), derived)) assert.deepEqual(iodErrors(path), []);
  });

  it(
    'of images that do not say how the patient lay says that nothing is known of it',
    { skip: NO_DCIODVFY },
    async () => {
      const files = phantomSeries(options).map((file) => {
        const { head, bodyStart } = readHead(file);
        const [position] = head.dataSet.elements.filter((element) => element.tag === tag('PatientPosition'));
        assert.ok(position);
        const [start, end] = [file.indexOf('HFS ') - 8, file.indexOf('HFS ') + 4];
        assert.ok(start > 0 && end < bodyStart);
        return Buffer.concat([file.subarray(0, start), file.subarray(end)]);
      });
      const without = await open(files);
      const made = [...deriveImageSeries(request({ sources: without.heads, volume: without.volume }))];
      assert.equal(value(dataSetOf(made[0] as DerivedObject), 'PatientPosition') ?? '', '');
      for (const path of writeObjects(scratch(), made)) assert.deepEqual(iodErrors(path), []);
    },
  );
});

describe('a registration', () => {
  const angle = 0.35;
  const row: Vector3 = [Math.cos(angle), 0, -Math.sin(angle)];
  const column: Vector3 = [0, 1, 0];
  let fixed: Series;
  let moving: Series;
  let resampled: DerivedObject[];
  let rigidOnly: DerivedObject[];
  let deformable: DerivedObject;
  let spatial: DerivedObject;
  const rigid = rigidMove(9, -6, [3, -4, 2.5]);
  const still = (): Vector3 => [0, 0, 0];

  before(async () => {
    fixed = await open(
      phantomSeries({
        name: 'fixed',
        modality: 'MR',
        row,
        column,
        columns: 26,
        rows: 18,
        slices: 12,
        value: hills,
        frameOfReference: 'f',
        study: 'old',
      }),
    );
    moving = await open(
      phantomSeries({
        name: 'moving',
        modality: 'MR',
        columns: 60,
        rows: 50,
        slices: 40,
        spacingMm: [2, 2, 2],
        originMm: [-50, -50, -40],
        value: hills,
        frameOfReference: 'm',
        study: 'new',
      }),
    );
    const target = fixed.volume.geometry;
    const request = {
      kind: 'registered',
      sources: moving.heads,
      reference: fixed.heads,
      provenance: registering,
      padding: 0,
    } as const;
    resampled = [...deriveImageSeries({ ...request, volume: resample(moving.volume, target, rigid, smoothWarp, 0) })];
    const algorithm = { ...registering.algorithm, parameters: 'transform rigid' };
    rigidOnly = [
      ...deriveImageSeries({
        ...request,
        provenance: { ...registering, algorithm },
        volume: resample(moving.volume, target, rigid, still, 0),
      }),
    ];
    const sides = { fixed: fixed.heads, moving: moving.heads, rigid, provenance: registering };
    deformable = deriveDeformableRegistration({ ...sides, field: fieldOn(target, rigid, smoothWarp) });
    spatial = deriveSpatialRegistration(sides);
  });

  it('puts the resampled series into the study of the moving one and the frame of reference of the fixed one', () => {
    assert.equal(resampled.length, 12);
    const dataSet = dataSetOf(resampled[4] as DerivedObject);
    const [f] = fixed.heads;
    const [m] = moving.heads;
    assert.equal(value(dataSet, 'StudyInstanceUID'), m && value(m.dataSet, 'StudyInstanceUID'));
    assert.equal(value(dataSet, 'FrameOfReferenceUID'), f && value(f.dataSet, 'FrameOfReferenceUID'));
    assert.deepEqual(asciiValues(dataSet, tag('ImageType')), ['DERIVED', 'SECONDARY', 'M', 'REGISTERED']);
    assert.equal(itemsOf(dataSet, tag('SourceImageSequence')).length, 40);
    const [reference] = itemsOf(dataSet, tag('ReferencedImageSequence'));
    assert.equal(
      reference && value(reference, 'ReferencedSOPInstanceUID'),
      fixed.heads[4] && value(fixed.heads[4].dataSet, 'SOPInstanceUID'),
    );
    assert.equal(numberValue(dataSet, tag('PixelPaddingValue')), 0);
  });

  it('lies exactly on the fixed grid', async () => {
    const again = await readVolume(resampled.map((object) => instanceOf(whole(object))));
    const { geometry } = fixed.volume;
    assert.deepEqual(
      [again.geometry.columns, again.geometry.rows, again.geometry.slices],
      [geometry.columns, geometry.rows, geometry.slices],
    );
    again.geometry.originMm.forEach((mm, axis) => assert.ok(Math.abs(mm - (geometry.originMm[axis] ?? 0)) < 1e-5));
    again.geometry.spacingMm.forEach((mm, axis) => assert.ok(Math.abs(mm - (geometry.spacingMm[axis] ?? 0)) < 1e-5));
  });

  it('writes grids of at least 4 mm that name both series and studies', () => {
    const dataSet = dataSetOf(deformable);
    assert.equal(value(dataSet, 'SOPClassUID'), '1.2.840.10008.5.1.4.1.1.66.3');
    const [item] = itemsOf(dataSet, tag('DeformableRegistrationSequence'));
    assert.ok(item !== undefined);
    assert.equal(itemsOf(item, tag('ReferencedImageSequence')).length, 40);
    const [grid] = itemsOf(item, tag('DeformableRegistrationGridSequence'));
    assert.ok(grid !== undefined);
    const size = numberValues(grid, tag('GridDimensions'));
    assert.ok(numberValues(grid, tag('GridResolution')).every((mm) => mm >= 4));
    const vectors = numberValues(grid, tag('VectorGridData'));
    assert.equal(vectors.length, 3 * size.reduce((a, b) => a * b, 1));
    assert.equal(itemsOf(dataSet, tag('ReferencedSeriesSequence')).length, 1);
    const [other] = itemsOf(dataSet, tag('StudiesContainingOtherReferencedInstancesSequence'));
    assert.equal(
      other && value(other, 'StudyInstanceUID'),
      fixed.heads[0] && value(fixed.heads[0].dataSet, 'StudyInstanceUID'),
    );
  });

  it('says RIGID only of a rigid matrix', () => {
    assert.equal(matrixType(rigid), 'RIGID');
    assert.equal(matrixType([2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]), 'RIGID_SCALE');
    assert.equal(matrixType([1, 0.1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]), 'AFFINE');
    assert.equal(matrixType([-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]), 'AFFINE');
  });

  it('refuses a matrix without inverse and series without a frame of reference', () => {
    const flat = rigid.map((cell, index) => (index < 4 ? 0 : cell));
    const sides = { fixed: fixed.heads, moving: moving.heads, provenance: registering };
    assert.throws(() => deriveSpatialRegistration({ ...sides, rigid: flat }), /no invertible/);
    assert.throws(() => deriveSpatialRegistration({ ...sides, fixed: [], rigid }), /0 instances/);
  });

  it('is read by pydicom and dcmdump', { skip: NO_DCMDUMP || NO_PYTHON }, () => {
    for (const path of writeObjects(scratch(), [deformable, spatial])) {
      assert.match(dump(path), /IMAGE|DEFORMABLE_REG|REGISTRATION/);
      const script = `import pydicom; d=pydicom.dcmread(${JSON.stringify(path)}); print(d.Modality, len(str(d)) > 0)`;
      assert.equal(python(['-c', script]).trim(), 'REG True');
    }
  });

  it('is clean for dciodvfy: resampled series, spatial and deformable registration', { skip: NO_DCIODVFY }, () => {
    for (const path of writeObjects(scratch(), [...resampled, spatial, deformable]))
      assert.deepEqual(iodErrors(path), []);
  });

  it(
    'of two CT series gives CT images in HU that dciodvfy and pydicom accept',
    { skip: NO_DCIODVFY || NO_PYTHON },
    async () => {
      const target = await open(
        phantomSeries({ name: 'ct fixed', frameOfReference: 'f', slices: 8, over: () => ({ GantryDetectorTilt: 0 }) }),
      );
      const source = await open(
        phantomSeries({ name: 'ct moving', frameOfReference: 'm', slices: 8, signed: true, intercept: 0 }),
      );
      const volume = resample(source.volume, target.volume.geometry, rigidMove(2, 1, [1, 0, 1]), still, -2000);
      const objects = [
        ...deriveImageSeries({
          kind: 'registered',
          sources: source.heads,
          reference: target.heads,
          volume,
          provenance: registering,
          padding: -2000,
        }),
      ];
      const paths = writeObjects(scratch(), objects);
      for (const path of paths) assert.deepEqual(iodErrors(path), []);
      const script = `import pydicom, json; d=pydicom.dcmread(${JSON.stringify(paths[3])}); print(json.dumps([int(d.pixel_array.min()), d.PixelPaddingValue, float(d.RescaleIntercept), d.RescaleType, list(d.ImageType)]))`;
      const [lowest, padding, intercept, type, imageType] = JSON.parse(python(['-c', script])) as unknown[];
      assert.deepEqual([padding, intercept, type], [-2000, 0, 'HU']);
      assert.ok((lowest as number) >= -2000);
      assert.deepEqual(imageType, ['DERIVED', 'SECONDARY', 'AXIAL', 'REGISTERED']);
      const again = await readVolume(objects.map((object) => instanceOf(whole(object))));
      again.voxels.forEach((voxel, index) => assert.ok(Math.abs(voxel - (volume.voxels[index] ?? 0)) <= 0.5));
    },
  );

  it('says what a foreign reader needs to make the same resampled series', { skip: NO_PYTHON }, () => {
    const folder = scratch();
    writeObjects(join(folder, 'moving'), moving.files);
    for (const [name, object, series] of [
      ['deformable', deformable, resampled],
      ['rigid', spatial, rigidOnly],
    ] as const) {
      const [path] = writeObjects(join(folder, `${name}-object`), [object]);
      writeObjects(join(folder, name), series);
      const script = join(import.meta.dirname, 'apply_registration.py');
      const found = JSON.parse(python([script, path ?? '', join(folder, 'moving'), join(folder, name)])) as Record<
        string,
        number
      >;
      assert.ok((found['inside'] ?? 0) > 0.9, JSON.stringify(found));
      assert.ok((found['unmoved'] ?? 0) > 50, JSON.stringify(found));
      // Rounding to whole stored values is 0.5; a grid of 4 mm holds the smooth field to some hundredths of a mm.
      assert.ok((found['max'] ?? 99) < (name === 'rigid' ? 1 : 8), JSON.stringify(found));
      assert.ok((found['mean'] ?? 99) < (name === 'rigid' ? 0.5 : 1.5), JSON.stringify(found));
      assert.ok((found['voxelsP99'] ?? 99) < 0.1, JSON.stringify(found));
    }
  });
});

describe('a registration of the real pair mr_known_warp', () => {
  const skip = SAMPLES === undefined ? 'ISTHMUS_SAMPLES is not set' : NO_PYTHON;
  it('is repeated by a foreign reader from the deformable registration alone', { skip }, async () => {
    const read = (folder: string): Promise<Series> => {
      const path = join(SAMPLES ?? '', 'dicom', 'mr_known_warp', folder);
      return open(readdirSync(path).map((name) => readFileSync(join(path, name))));
    };
    const [fixed, moving] = [await read('fixed'), await read('moving')];
    const target = fixed.volume.geometry;
    const rigid = rigidMove(3, 2, [1, 2, 3]);
    const sides = { fixed: fixed.heads, moving: moving.heads, rigid, provenance: registering };
    const object = deriveDeformableRegistration({ ...sides, field: fieldOn(target, rigid, smoothWarp) });
    const series = [
      ...deriveImageSeries({
        kind: 'registered',
        sources: moving.heads,
        reference: fixed.heads,
        volume: resample(moving.volume, target, rigid, smoothWarp, 0),
        provenance: registering,
        padding: 0,
      }),
    ];
    const folder = scratch();
    writeObjects(join(folder, 'moving'), moving.files);
    writeObjects(join(folder, 'resampled'), series);
    const [path] = writeObjects(join(folder, 'object'), [object]);
    const script = join(import.meta.dirname, 'apply_registration.py');
    const found = JSON.parse(python([script, path ?? '', join(folder, 'moving'), join(folder, 'resampled')])) as Record<
      string,
      number
    >;
    // Values reach 1800; stored values are whole numbers.
    assert.ok((found['mean'] ?? 99) < 1 && (found['p99'] ?? 99) < 10, JSON.stringify(found));
    assert.ok((found['unmoved'] ?? 0) > 50, JSON.stringify(found));
  });
});

describe('the known truth of mr_known_warp', () => {
  const skip = SAMPLES === undefined ? 'ISTHMUS_SAMPLES is not set' : NO_PYTHON;
  it('written on a 4 mm grid takes labels to where they belong', { skip }, async () => {
    const read = (folder: string): Promise<Series> => {
      const path = join(SAMPLES ?? '', 'dicom', 'mr_known_warp', folder);
      return open(readdirSync(path).map((name) => readFileSync(join(path, name))));
    };
    // The truth samples the series named fixed at places of the one named moving: here that one is the registered side.
    const [registered, source] = [await read('moving'), await read('fixed')];
    const folder = scratch();
    const script = join(import.meta.dirname, 'known_warp.py');
    const truth = join(SAMPLES ?? '', 'volumes', 'mr_known_warp_truth.npz');
    const fieldPath = join(folder, 'field.f32');
    const rigid = JSON.parse(python([script, 'field', truth, fieldPath])) as number[];
    const object = deriveDeformableRegistration({
      fixed: registered.heads,
      moving: source.heads,
      rigid,
      provenance: registering,
      field: {
        geometry: registered.volume.geometry,
        vectorsMm: new Float32Array(new Uint8Array(readFileSync(fieldPath)).buffer),
      },
    });
    const [path] = writeObjects(folder, [object]);
    const found = JSON.parse(python([script, 'dice', truth, path ?? ''])) as { before: number; after: number };
    assert.ok(found.before < 0.3 && found.after > 0.98, JSON.stringify(found));
  });
});

describe('dcmjs', () => {
  it('prints no value of what passes through it', () => {
    const script = `
      import { encodeNatural } from ${JSON.stringify(join(import.meta.dirname, '../../src/derived/dcmjs.ts'))};
      encodeNatural({ NotAKeyword: 'CANARY2', PatientName: 'CANARY3', StudyDate: '19000101', VectorGridData: 'CANARY4' });`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    assert.doesNotMatch(stdout + stderr, /CANARY/);
  });

  it('never sees what is copied from a source, so that a wrong value there is kept and not repeated', async () => {
    const over = () => ({ PatientAge: 'CANARYAGETOOLONG', StudyTime: 'CANARYTIMETOOLONG' });
    const series = await open(phantomSeries({ over, slices: 2 }));
    const object = deriveSpatialRegistration({
      fixed: series.heads,
      moving: series.heads,
      rigid: rigidMove(1, 1, [0, 0, 0]),
      provenance: registering,
    });
    assert.equal(value(dataSetOf(object), 'PatientAge'), 'CANARYAGETOOLONG');
  });
});

describe('real series', { skip: SAMPLES === undefined ? 'ISTHMUS_SAMPLES is not set' : NO_DCIODVFY }, () => {
  const read = (folder: string): Promise<Series> => {
    const path = join(SAMPLES ?? '', 'dicom', folder);
    assert.ok(existsSync(path), `${folder} is not among the samples`);
    return open(readdirSync(path).map((name) => readFileSync(join(path, name))));
  };

  for (const folder of ['mr_known_warp/moving', 'mr_pair_t1_t2/t2_epi_moving', 'mr_fruit_ge_196slices']) {
    it(`${folder} is derived without an error that its source did not have`, async () => {
      const { files, heads, volume } = await read(folder);
      const objects = [...deriveImageSeries({ kind: 'denoised', sources: heads, volume, provenance: denoising })];
      const again = await readVolume(objects.map((object) => instanceOf(whole(object))));
      assert.deepEqual(again.voxels, volume.voxels);
      const chosen = [0, 20, 40];
      const sources = chosen.map((k) => files[volume.sources[k]?.instance ?? -1] as Buffer);
      const known = new Set(writeObjects(scratch(), sources).flatMap(iodErrors));
      for (const path of writeObjects(
        scratch(),
        chosen.map((k) => objects[k] as DerivedObject),
      ))
        assert.deepEqual(
          iodErrors(path).filter((error) => !known.has(error)),
          [],
        );
    });
  }

  it('mr_known_warp and mr_pair_t1_t2 give clean registrations between their two series', async () => {
    for (const [f, m] of [
      ['mr_known_warp/fixed', 'mr_known_warp/moving'],
      ['mr_pair_t1_t2/t1_flash_fixed', 'mr_pair_t1_t2/t2_epi_moving'],
    ] as const) {
      const fixed = await read(f);
      const moving = await read(m);
      const rigid = rigidMove(3, 2, [1, 2, 3]);
      const sides = { fixed: fixed.heads, moving: moving.heads, rigid, provenance: registering };
      const field = fieldOn(fixed.volume.geometry, rigid, smoothWarp);
      const objects = [deriveSpatialRegistration(sides), deriveDeformableRegistration({ ...sides, field })];
      const volume = { ...fixed.volume, voxels: fixed.volume.voxels.slice() };
      const series = [
        ...deriveImageSeries({
          kind: 'registered',
          sources: moving.heads,
          reference: fixed.heads,
          volume,
          provenance: registering,
          padding: 0,
        }),
      ];
      for (const path of writeObjects(scratch(), [...objects, ...series.slice(0, 2)]))
        assert.deepEqual(iodErrors(path), []);
    }
  });
});
