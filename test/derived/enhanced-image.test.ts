/** Multi-frame CT and MR in and out: several stacks and time points, functional groups, foreign readers. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Item } from '../../src/derived/attributes.ts';
import { deriveDeformableRegistration } from '../../src/derived/deformable-registration.ts';
import { deriveImageSeries } from '../../src/derived/image-series.ts';
import { ARTIFICIAL_INTELLIGENCE, type DerivedObject, type Provenance } from '../../src/derived/provenance.ts';
import { deriveSpatialRegistration } from '../../src/derived/spatial-registration.ts';
import { asciiValue, itemsOf, numberValues, type DataSet } from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { planVolumes, readVolumes, type SeriesVolume, type Vector3 } from '../../src/dicom/volume.ts';
import { body, instanceOf, phantomMultiFrame, phantomSeries, type PhantomOptions } from './phantom.ts';
import { iodErrors, NO_DCIODVFY, NO_PYTHON, python, scratch, writeObjects } from './tools.ts';

const SAMPLES = process.env['ISTHMUS_SAMPLES'];

const provenance: Provenance = {
  algorithm: {
    name: 'quiet',
    version: '1.0.0',
    family: ARTIFICIAL_INTELLIGENCE,
    parameters: '{}',
    sha256: 'ab'.repeat(32),
  },
  softwareVersion: '0.1.0',
  description: 'Noise reduction',
  figures: [],
  seriesNumber: 9100,
  seriesSuffix: '[AI-DENOISED]',
};

const whole = ({ head, body: pixels }: DerivedObject): Buffer => Buffer.concat([head, pixels]);
const dataSetOf = (object: DerivedObject): DataSet => readHead(object.head).head.dataSet;

const ANATOMY = {
  FrameAnatomySequence: [
    {
      FrameLaterality: 'U',
      AnatomicRegionSequence: [{ CodeValue: '12738006', CodingSchemeDesignator: 'SCT', CodeMeaning: 'Brain' }],
    },
  ],
};
const TOP: Item = {
  PixelPresentation: 'MONOCHROME',
  VolumetricProperties: 'VOLUME',
  VolumeBasedCalculationTechnique: 'NONE',
  ComplexImageComponent: 'MAGNITUDE',
  AcquisitionContrast: 'T1',
  ContentQualification: 'PRODUCT',
  ApplicableSafetyStandardAgency: 'IEC',
};

/** Frames numbered by slice, time and stack; rescale of its own for each frame. */
function several(options: PhantomOptions, times: number, slices: number): Buffer {
  const order = Array.from({ length: times * slices }, (_, n) => n % slices).reverse();
  let frame = 0;
  return phantomMultiFrame(
    { value: (place: Vector3) => Math.max(0, body(place)), slices, ...options },
    order,
    (k) => {
      const time = times - Math.floor(frame++ / slices);
      return {
        ...ANATOMY,
        ...(options.modality === 'CT'
          ? { IrradiationEventIdentificationSequence: [{ IrradiationEventUID: '1.2.3.4' }] }
          : {}),
        FrameContentSequence: [
          {
            StackID: '1',
            InStackPositionNumber: k + 1,
            TemporalPositionIndex: time,
            DimensionIndexValues: [1, time, k + 1],
          },
        ],
        PixelValueTransformationSequence: [
          {
            RescaleIntercept: options.modality === 'CT' ? -1024 : 10 * time,
            RescaleSlope: 1 + k / 4,
            RescaleType: options.modality === 'CT' ? 'HU' : 'US',
          },
        ],
        ...(options.modality === 'MR' ? { MREchoSequence: [{ EffectiveEchoTime: 3.5 }] } : {}),
      };
    },
    TOP,
  );
}

const derived = (files: readonly Buffer[], volumes: readonly SeriesVolume[]): DerivedObject[] => {
  const [volume, ...others] = volumes;
  assert.ok(volume);
  return [
    ...deriveImageSeries({
      kind: 'denoised',
      sources: files.map((file) => instanceOf(file).head),
      volume,
      others,
      provenance,
    }),
  ];
};

describe('a multi-frame image', () => {
  it('is read as one volume for each time point, each with its own rescale', async () => {
    const volumes = await readVolumes([instanceOf(several({ modality: 'MR' }, 3, 4))]);
    assert.deepEqual(
      volumes.map(({ label, geometry }) => [label, geometry.slices]),
      [
        ['time point 1 of 3', 4],
        ['time point 2 of 3', 4],
        ['time point 3 of 3', 4],
      ],
    );
    assert.deepEqual(
      volumes.map(({ sources }) => sources.map(({ frame, slope, intercept }) => [frame, slope, intercept])[1]),
      [
        [11, 1.25, 10],
        [7, 1.25, 20],
        [3, 1.25, 30],
      ],
    );
  });

  it('with two stacks of different orientation is two volumes', async () => {
    const file = phantomMultiFrame({ modality: 'MR' }, [0, 1, 2, 0, 1, 2], undefined, {});
    let frame = 0;
    const stacks = phantomMultiFrame({ modality: 'MR' }, [0, 1, 2, 0, 1, 2], (k) => {
      const second = frame++ >= 3;
      return {
        FrameContentSequence: [{ StackID: second ? 'B' : 'A', InStackPositionNumber: k + 1 }],
        PlaneOrientationSequence: [{ ImageOrientationPatient: second ? [0, 1, 0, 0, 0, -1] : [1, 0, 0, 0, 1, 0] }],
        PlanePositionSequence: [{ ImagePositionPatient: second ? [-4 * k, 0, 0] : [0, 0, 4 * k] }],
      };
    });
    assert.throws(() => planVolumes([instanceOf(file).head]), Refusal);
    const volumes = await readVolumes([instanceOf(stacks)]);
    assert.deepEqual(
      volumes.map(({ label, geometry }) => [
        label,
        geometry.slices,
        geometry.axes[2].map(Math.round).map((c) => c + 0),
      ]),
      [
        ['stack 1 of 2', 3, [0, 0, 1]],
        ['stack 2 of 2', 3, [-1, 0, 0]],
      ],
    );
    assert.equal(derived([stacks], volumes).length, 1);
  });

  for (const modality of ['CT', 'MR'] as const)
    it(`MF-OUT: a derived ${modality} stays multi-frame: its frames, groups and dimensions are the source's`, async () => {
      const file = several({ modality }, 2, 5);
      const volumes = await readVolumes([instanceOf(file)]);
      const [object, ...rest] = derived([file], volumes);
      assert.ok(object !== undefined && rest.length === 0);
      const dataSet = dataSetOf(object);
      const source = instanceOf(file).head.dataSet;
      assert.equal(asciiValue(dataSet, tag('SOPClassUID')), asciiValue(source, tag('SOPClassUID')));
      assert.equal(asciiValue(dataSet, tag('NumberOfFrames')), '10');
      const again = await readVolumes([instanceOf(whole(object))]);
      again.forEach((volume, index) => {
        assert.deepEqual(volume.geometry, volumes[index]?.geometry);
        assert.deepEqual(volume.voxels, volumes[index]?.voxels);
        assert.deepEqual(volume.sources, volumes[index]?.sources);
      });
      const frames = itemsOf(dataSet, tag('PerFrameFunctionalGroupsSequence'));
      frames.forEach((frame, index) => {
        const [derivation] = itemsOf(frame, tag('DerivationImageSequence'));
        const [image] = derivation === undefined ? [] : itemsOf(derivation, tag('SourceImageSequence'));
        assert.ok(image);
        assert.equal(asciiValue(image, tag('ReferencedFrameNumber')), String(index + 1));
        assert.equal(asciiValue(image, tag('ReferencedSOPInstanceUID')), asciiValue(source, tag('SOPInstanceUID')));
        if (modality === 'MR') assert.equal(itemsOf(frame, tag('MREchoSequence')).length, 1);
        const [content] = itemsOf(frame, tag('FrameContentSequence'));
        assert.ok(content);
        const time = numberValues(content, tag('TemporalPositionIndex'));
        const position = numberValues(content, tag('InStackPositionNumber'));
        assert.deepEqual([time[0], position[0]], [index < 5 ? 2 : 1, 5 - (index % 5)]);
        assert.deepEqual(numberValues(content, tag('DimensionIndexValues')), [1, ...time, ...position]);
      });
      if (NO_DCIODVFY === false)
        for (const path of writeObjects(scratch(), [object])) assert.deepEqual(iodErrors(path), []);
    });

  it('is decoded by pydicom and gdcm', { skip: NO_PYTHON }, async () => {
    const file = several({ modality: 'MR' }, 2, 3);
    const [path = ''] = writeObjects(scratch(), derived([file], await readVolumes([instanceOf(file)])));
    const script = `
import sys, pydicom, gdcm
d = pydicom.dcmread(sys.argv[1])
r = gdcm.ImageReader(); r.SetFileName(sys.argv[1])
print(d.pixel_array.shape, r.Read(), r.GetImage().GetNumberOfDimensions(), list(d.ImageType))`;
    assert.equal(python(['-c', script, path]).trim(), `(6, 16, 20) True 3 ['DERIVED', 'PRIMARY', 'M', 'DENOISED']`);
  });

  it('resampled onto another grid has that grid, and its registration names the frames of each time point', async () => {
    const file = several({ modality: 'MR', frameOfReference: 'moving' }, 2, 5);
    const fixed = phantomSeries({ modality: 'MR', slices: 3, spacingMm: [2, 2, 5] });
    const [target] = planVolumes(fixed.map((one) => instanceOf(one).head));
    assert.ok(target);
    const { geometry } = target;
    const voxels = new Float32Array(geometry.columns * geometry.rows * geometry.slices).fill(7);
    const volume = { geometry, modality: 'MR', voxels };
    const heads = { moving: [instanceOf(file).head], fixed: fixed.map((one) => instanceOf(one).head) };
    const objects = [
      ...deriveImageSeries({
        kind: 'registered',
        sources: heads.moving,
        reference: heads.fixed,
        volume,
        others: [volume],
        provenance,
        padding: -1,
      }),
    ];
    assert.equal(objects.length, 1);
    const again = await readVolumes(objects.map((object) => instanceOf(whole(object))));
    assert.deepEqual(
      again.map(({ label, geometry: { originMm, spacingMm } }) => [label, originMm, spacingMm]),
      [
        ['time point 1 of 2', geometry.originMm, geometry.spacingMm],
        ['time point 2 of 2', geometry.originMm, geometry.spacingMm],
      ],
    );
    const rigid = [1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
    const request = { ...heads, movingVolume: 1, rigid, provenance };
    const field = { geometry, vectorsMm: new Float32Array(3 * voxels.length) };
    for (const object of [deriveSpatialRegistration(request), deriveDeformableRegistration({ ...request, field })]) {
      const found = JSON.stringify(framesNamed(dataSetOf(object)));
      // Time point 2 is the first five frames of the object.
      assert.equal(found, '["1\\\\2\\\\3\\\\4\\\\5"]');
      if (NO_DCIODVFY === false)
        for (const path of writeObjects(scratch(), [object, ...objects])) assert.deepEqual(iodErrors(path), []);
    }
  });

  it('of single images keeps the time point of each in a classic series', async () => {
    const files = [0, 1].flatMap((time) =>
      phantomSeries({
        modality: 'MR',
        slices: 3,
        name: `time ${time}`,
        value: () => 100 + time,
        over: () => ({ SeriesInstanceUID: '1.2.3', TemporalPositionIdentifier: String(time + 1) }),
      }),
    );
    const volumes = await readVolumes(files.map(instanceOf));
    assert.deepEqual([...volumes.map(({ voxels }) => voxels[0])], [100, 101]);
    const objects = derived(files, volumes);
    assert.deepEqual(
      objects.map((object) => asciiValue(dataSetOf(object), tag('TemporalPositionIdentifier'))),
      ['1', '1', '1', '2', '2', '2'],
    );
    assert.equal(new Set(objects.map(({ sopInstanceUID }) => sopInstanceUID)).size, 6);
  });

  it('refuses by name a time point that has lost slices', () => {
    const lost = [0, 1, 2, 0, 1, 0, 1, 2].map((k, index) => {
      return { k, time: index < 3 ? 1 : index < 5 ? 2 : 3 };
    });
    const files = lost.map(({ k, time }, index) => {
      const made = phantomSeries({
        modality: 'MR',
        slices: 1,
        name: `lost ${index}`,
        over: () => ({
          SeriesInstanceUID: '1.2.3',
          ImagePositionPatient: [0, 0, 4 * k],
          TemporalPositionIdentifier: String(time),
        }),
      })[0];
      assert.ok(made);
      return instanceOf(made).head;
    });
    assert.throws(
      () => planVolumes(files),
      /time point 2 of 3: slices are missing: it has 2 where time point 1 of 3 has 3/,
    );
  });

  it('tells heart phases apart by trigger times that differ from slice to slice', async () => {
    const files = [0, 1, 2].flatMap((k) =>
      [0, 1].map((phase) => {
        const [file] = phantomSeries({
          modality: 'MR',
          slices: 1,
          name: `cine ${k} ${phase}`,
          over: () => ({
            SeriesInstanceUID: '1.2.3',
            ImagePositionPatient: [0, 0, 4 * k],
            TriggerTime: String(phase * 33 + k * 0.7),
          }),
        });
        assert.ok(file);
        return instanceOf(file);
      }),
    );
    const volumes = await readVolumes(files);
    assert.deepEqual(
      volumes.map(({ label, sources }) => [label, sources.map(({ instance }) => instance)]),
      [
        ['phase 1 of 2', [0, 2, 4]],
        ['phase 2 of 2', [1, 3, 5]],
      ],
    );
  });
});

function framesNamed(dataSet: DataSet): string[] {
  const found: string[] = [];
  const walk = (one: DataSet): void => {
    for (const element of one.elements) {
      if (element.tag === tag('ReferencedFrameNumber')) found.push(asciiValues(one));
      element.items?.forEach(walk);
    }
  };
  const asciiValues = (one: DataSet): string => numberValues(one, tag('ReferencedFrameNumber')).join('\\');
  walk(dataSet);
  return found;
}

describe('a multi-frame sample', () => {
  for (const path of ['dicom/mr_bruker_enhanced/mr_brucker.dcm'])
    it(
      `${path} is derived without an error that its source did not have`,
      {
        skip: SAMPLES === undefined || !existsSync(join(SAMPLES, path)) ? 'ISTHMUS_SAMPLES is not set' : NO_DCIODVFY,
      },
      async () => {
        const file = readFileSync(join(SAMPLES ?? '', path));
        const volumes = await readVolumes([instanceOf(file)]);
        const [object] = derived([file], volumes);
        assert.ok(object);
        const [source = '', result = ''] = writeObjects(scratch(), [file, whole(object)]);
        const before = new Set(iodErrors(source));
        assert.deepEqual(
          iodErrors(result).filter((line) => !before.has(line)),
          [],
        );
      },
    );
});
