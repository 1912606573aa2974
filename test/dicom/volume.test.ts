import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Refusal } from '../../src/dicom/refusal.ts';
import {
  indexToPatient,
  patientToIndex,
  planVolume,
  readVolume,
  transformPoint,
  type Vector3,
} from '../../src/dicom/volume.ts';
import {
  body,
  instanceOf,
  normalOf,
  part10,
  phantomMultiFrame,
  phantomSeries,
  phantomSlice,
  type PhantomOptions,
} from '../derived/phantom.ts';

const SAMPLES = process.env['ISTHMUS_SAMPLES'];

/** A rotation that mixes all three axes, as row and column cosines. */
function oblique(a: number, b: number, c: number): { row: Vector3; column: Vector3 } {
  const [ca, sa, cb, sb, cc, sc] = [a, b, c].flatMap((angle) => [Math.cos(angle), Math.sin(angle)]) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return {
    row: [cb * cc, cb * sc, -sb],
    column: [sa * sb * cc - ca * sc, sa * sb * sc + ca * cc, sa * cb],
  };
}

function shuffled<T>(list: readonly T[], seed = 7): T[] {
  let state = seed;
  return list
    .map((item) => ({ item, key: (state = (state * 1103515245 + 12345) % 2147483648) }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

async function refusal(instances: Buffer[]): Promise<Refusal> {
  try {
    await readVolume(instances.map(instanceOf));
  } catch (error) {
    assert.ok(error instanceof Refusal, String(error));
    return error;
  }
  return assert.fail('was read, should have been refused');
}

async function refusedFor(pattern: RegExp, options: PhantomOptions): Promise<void> {
  const error = await refusal(phantomSeries(options));
  assert.equal(error.reason, 'PipelineRefused');
  assert.match(error.message, pattern);
}

describe('readVolume', () => {
  it('puts slices in order along the normal, whatever order they come in, and applies rescale', async () => {
    const volume = await readVolume(shuffled(phantomSeries()).map(instanceOf));
    const { geometry, voxels } = volume;
    assert.deepEqual([geometry.columns, geometry.rows, geometry.slices], [20, 16, 6]);
    assert.deepEqual(geometry.spacingMm, [2, 3, 4]);
    assert.deepEqual(geometry.originMm, [-20, -22, -12]);
    assert.deepEqual(geometry.axes, [
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ]);
    assert.equal(volume.modality, 'CT');
    const matrix = indexToPatient(geometry);
    for (let k = 0; k < 6; k++)
      for (let j = 0; j < 16; j++)
        for (let i = 0; i < 20; i++)
          assert.equal(voxels[(k * 16 + j) * 20 + i], body(transformPoint(matrix, [i, j, k])), `${i} ${j} ${k}`);
  });

  it('says which instance each slice came from', async () => {
    const files = phantomSeries().reverse();
    const volume = await readVolume(files.map(instanceOf));
    assert.deepEqual(
      volume.sources.map((source) => source.instance),
      [5, 4, 3, 2, 1, 0],
    );
  });

  it('asks for one instance at a time, each once', async () => {
    const asked: number[] = [];
    let open = 0;
    const instances = phantomSeries()
      .map(instanceOf)
      .map((instance, index) => ({
        head: instance.head,
        pixels: async () => {
          assert.equal(open, 0);
          open++;
          asked.push(index);
          const pixels = await instance.pixels();
          await new Promise((resolve) => setImmediate(resolve));
          open--;
          return pixels;
        },
      }));
    await readVolume(instances);
    assert.deepEqual(asked, [0, 1, 2, 3, 4, 5]);
  });

  it('reads any oblique plane so that voxel and place agree', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.double({ min: -3, max: 3, noNaN: true }),
        fc.double({ min: -1.5, max: 1.5, noNaN: true }),
        fc.double({ min: -3, max: 3, noNaN: true }),
        async (a, b, c) => {
          // A linear function of the place, so that any exchange or mirror of axes changes it.
          const value = ([x, y, z]: Vector3): number => Math.round(1000 + 7 * x + 3 * y + 11 * z);
          const { row, column } = oblique(a, b, c);
          const options = { modality: 'MR', row, column, value, slices: 4, columns: 5, rows: 6 } as const;
          const volume = await readVolume(shuffled(phantomSeries(options)).map(instanceOf));
          const matrix = indexToPatient(volume.geometry);
          const normal = normalOf(row, column);
          volume.geometry.axes[2].forEach((cosine, axis) => assert.ok(Math.abs(cosine - (normal[axis] ?? 0)) < 1e-6));
          for (let k = 0; k < 4; k++)
            for (let j = 0; j < 6; j++)
              for (let i = 0; i < 5; i++) {
                const found = volume.voxels[(k * 6 + j) * 5 + i] ?? NaN;
                assert.ok(Math.abs(found - Math.max(0, value(transformPoint(matrix, [i, j, k])))) <= 1);
              }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('drops bits above Bits Stored and extends the sign', async () => {
    const { attributes } = phantomSlice({ columns: 4, rows: 1, slices: 1 }, 0);
    const pixels = Buffer.from(new Uint16Array([0xf001, 0xafff, 0x0800, 0x17ff]).buffer);
    const read = async (signed: number): Promise<number[]> => {
      const over = { ...attributes, BitsStored: 12, HighBit: 11, PixelRepresentation: signed };
      return [...(await readVolume([instanceOf(part10(over, pixels))])).voxels];
    };
    assert.deepEqual(await read(1), [1 - 1024, -1 - 1024, -2048 - 1024, 2047 - 1024]);
    assert.deepEqual(await read(0), [1 - 1024, 4095 - 1024, 2048 - 1024, 2047 - 1024]);
  });

  it('reads 8 and 32 bit values, and pixels at an odd address', async () => {
    const { attributes } = phantomSlice({ modality: 'MR', columns: 2, rows: 2, slices: 1 }, 0);
    const eight = { ...attributes, BitsAllocated: 8, BitsStored: 8, HighBit: 7 };
    assert.deepEqual(
      [...(await readVolume([instanceOf(part10(eight, Buffer.from([1, 2, 3, 255])))])).voxels],
      [1, 2, 3, 255],
    );
    const wide = { ...attributes, BitsAllocated: 32, BitsStored: 32, HighBit: 31, PixelRepresentation: 1 };
    const { head } = instanceOf(part10(wide, Buffer.alloc(16)));
    const odd = Buffer.alloc(17);
    [-5, 6, -70000, 70000].forEach((number, index) => odd.writeInt32LE(number, 1 + index * 4));
    const volume = await readVolume([{ head, pixels: () => Promise.resolve(odd.subarray(1)) }]);
    assert.deepEqual([...volume.voxels], [-5, 6, -70000, 70000]);
  });

  it('applies the rescale of each slice by itself', async () => {
    const files = phantomSeries({
      modality: 'MR',
      slices: 3,
      value: () => 100,
      over: (k) => ({ RescaleSlope: k + 1, RescaleIntercept: -k, RescaleType: 'US' }),
    });
    const volume = await readVolume(files.map(instanceOf));
    const size = 20 * 16;
    assert.deepEqual([volume.voxels[0], volume.voxels[size], volume.voxels[2 * size]], [100, 199, 298]);
  });

  it('reports Pixel Padding Value in real values', async () => {
    const files = phantomSeries({ signed: true, intercept: 0, over: () => ({ PixelPaddingValue: -2000 }) });
    const volume = await readVolume(files.map(instanceOf));
    assert.deepEqual(volume.sources[0]?.padding, [-2000, -2000]);
  });

  it('reads an enhanced CT and MR through its functional groups, frames in any order', async () => {
    for (const modality of ['CT', 'MR'] as const) {
      const options = { modality, slices: 6, value: (place: Vector3) => Math.max(0, body(place)) };
      const single = await readVolume(phantomSeries(options).map(instanceOf));
      const multi = await readVolume([instanceOf(phantomMultiFrame(options, [3, 0, 5, 1, 4, 2]))]);
      assert.deepEqual(multi.geometry, single.geometry);
      assert.deepEqual(multi.voxels, single.voxels);
      assert.deepEqual(
        multi.sources.map((source) => source.frame),
        [2, 4, 6, 1, 5, 3],
      );
    }
  });

  it('prefers what a frame says over what all frames share', async () => {
    const perFrame = (k: number) => ({
      PixelValueTransformationSequence: [{ RescaleIntercept: k * 1000, RescaleSlope: 1, RescaleType: 'HU' }],
    });
    const file = phantomMultiFrame({ slices: 3, value: () => 0, intercept: 0 }, [0, 1, 2], perFrame);
    const volume = await readVolume([instanceOf(file)]);
    assert.deepEqual([volume.voxels[0], volume.voxels[320], volume.voxels[640]], [0, 1000, 2000]);
  });

  it('refuses by name what is no single regular grid', async () => {
    await refusedFor(/slices are missing: 1 gap .* about 1 of 6 slices/, {
      slices: 5,
      over: (k) => ({ ImagePositionPatient: [-20, -22, -12 + 4 * (k < 3 ? k : k + 1)] }),
    });
    await refusedFor(/spacing is uneven: slice 3 is/, {
      over: (k) => ({ ImagePositionPatient: [-20, -22, -12 + 4 * k + (k === 2 ? 0.9 : 0)] }),
    });
    await refusedFor(/share a position.*acquisitions/, {
      over: (k) => ({ ImagePositionPatient: [-20, -22, 4 * (k >> 1)], AcquisitionNumber: String(k % 2) }),
    });
    await refusedFor(/share a position.*echoes/, {
      modality: 'MR',
      over: (k) => ({ ImagePositionPatient: [-20, -22, 4 * (k >> 1)], EchoTime: 3 + (k % 2) }),
    });
    await refusedFor(/gantry tilt\): 10\.\d\d degrees/, {
      over: (k) => ({ ImagePositionPatient: [-20, -22 + 4 * k * Math.tan((10.3 * Math.PI) / 180), -12 + 4 * k] }),
    });
    await refusedFor(/sizes are mixed: 20 x 16 and 16 x 20/, {
      over: (k) => (k === 3 ? { Rows: 20, Columns: 16 } : {}),
    });
    await refusedFor(/orientations are mixed: two planes are 90\.0 degrees/, {
      over: (k) => (k === 3 ? { ImageOrientationPatient: [0, 1, 0, 0, 0, -1] } : {}),
    });
    await refusedFor(/Pixel Spacing \(0028,0030\) is mixed/, {
      over: (k) => (k === 3 ? { PixelSpacing: [3, 2.1] } : {}),
    });
    await refusedFor(/Frame of Reference UID \(0020,0052\) has 2 different values/, {
      over: (k) => (k === 3 ? { FrameOfReferenceUID: '1.2.3' } : {}),
    });
    await refusedFor(/2 time points/, {
      modality: 'MR',
      over: (k) => ({ TemporalPositionIdentifier: String(k % 2) }),
    });
    await refusedFor(/2 b-values/, { modality: 'MR', over: (k) => ({ DiffusionBValue: 1000 * (k % 2) }) });
    await refusedFor(/LOCALIZER/, { over: () => ({ ImageType: ['ORIGINAL', 'PRIMARY', 'LOCALIZER'] }) });
    await refusedFor(/Samples per Pixel \(0028,0002\) is 3 .* RGB/, {
      over: () => ({ SamplesPerPixel: 3, PhotometricInterpretation: 'RGB' }),
    });
    await refusedFor(/Image Position \(Patient\).*0 numbers found, 3 needed/, {
      over: (k) => (k === 1 ? { ImagePositionPatient: '' } : {}),
    });
    await refusedFor(/two orthogonal unit vectors/, { over: () => ({ ImageOrientationPatient: [1, 0, 0, 1, 0, 0] }) });
    await refusedFor(/Rescale Slope \(0028,1053\).*is 0/, { over: () => ({ RescaleSlope: 0 }) });
    await refusedFor(/without them a CT is not in HU/, { over: () => ({ RescaleSlope: '' }) });
    await refusedFor(/Columns \(0028,0011\) 0/, { over: () => ({ Columns: 0 }) });
    await refusedFor(/Bits Allocated \(0028,0100\) is 12/, { over: () => ({ BitsAllocated: 12 }) });
    await refusedFor(/Number of Frames \(0028,0008\) is 3 without Per-Frame/, {
      over: () => ({ NumberOfFrames: '3' }),
    });
  });

  it('refuses several time points and b-values of a multi-frame object', async () => {
    const options = { modality: 'MR', slices: 4 } as const;
    const times = phantomMultiFrame(options, [0, 1, 0, 1], (k) => ({
      FrameContentSequence: [{ TemporalPositionIndex: k + 1 }],
    }));
    assert.match((await refusal([times])).message, /2 time points/);
    const weights = phantomMultiFrame(options, [0, 1], (k) => ({
      MRDiffusionSequence: [{ DiffusionBValue: k * 800 }],
    }));
    assert.match((await refusal([weights])).message, /2 b-values/);
    const short = phantomMultiFrame(options, [0, 1], undefined, { NumberOfFrames: '3' });
    assert.match((await refusal([short])).message, /has 2 items, Number of Frames \(0028,0008\) is 3/);
  });

  it('refuses compressed pixels, no pixels and no instances', async () => {
    const { attributes } = phantomSlice({}, 0);
    assert.match((await refusal([part10(attributes, undefined)])).message, /no Pixel Data/);
    assert.match((await refusal([])).message, /no instance/);
    const { head } = instanceOf(part10(attributes, Buffer.alloc(640)));
    const compressed = {
      ...head,
      transferSyntaxUID: '1.2.840.10008.1.2.4.70',
      pixelData: { tag: 0x7fe00010, vr: 'OB', lengthBytes: undefined },
    } as const;
    assert.throws(() => planVolume([compressed]), /1\.2\.840\.10008\.1\.2\.4\.70 is compressed; there is no codec/);
  });

  it('refuses pixel data that end early', async () => {
    const { attributes } = phantomSlice({}, 0);
    const error = await refusal([part10(attributes, Buffer.alloc(100))]);
    assert.equal(error.reason, 'CannotUnderstand');
    assert.match(error.message, /100 bytes; 1 frames of 20 x 16 pixels are 640/);
    const { head } = instanceOf(part10(attributes, Buffer.alloc(640)));
    await assert.rejects(
      readVolume([{ head, pixels: () => Promise.resolve(Buffer.alloc(99)) }]),
      /has 99 bytes; frame 1/,
    );
  });

  it('refuses a header that claims more pixels than there are, before it makes room for them', async () => {
    const { attributes } = phantomSlice({}, 0);
    const error = await refusal([part10({ ...attributes, Rows: 65535, Columns: 65535 }, Buffer.alloc(640))]);
    assert.match(error.message, /has 640 bytes; 1 frames of 65535 x 65535/);
    const many = instanceOf(part10({ ...attributes, Rows: 65535, Columns: 65535 }, Buffer.alloc(2))).head;
    const claimed = { ...many, pixelData: { tag: 0x7fe00010, vr: 'OW', lengthBytes: 2 ** 33 } } as const;
    assert.throws(() => planVolume([claimed]), /4294836225 voxels; up to 536870912/);
  });

  it('takes stored bits from where High Bit says', async () => {
    const { attributes } = phantomSlice({ columns: 2, rows: 1, slices: 1, modality: 'MR' }, 0);
    const over = { ...attributes, BitsStored: 12, HighBit: 15 };
    const pixels = Buffer.from(new Uint16Array([0x123f, 0xfff0]).buffer);
    assert.deepEqual([...(await readVolume([instanceOf(part10(over, pixels))])).voxels], [0x123, 0xfff]);
  });

  it('reads or refuses damaged heads, and never fails otherwise', async () => {
    const files = [phantomSeries({ slices: 3 }), [phantomMultiFrame({ slices: 3 }, [0, 1, 2])]] as const;
    let [read, refused] = [0, 0];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(0, 1),
        fc.array(fc.tuple(fc.nat({ max: 2500 }), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 }),
        async (which, changes) => {
          const [first, ...others] = (files[which] ?? []).map((file) => Buffer.from(file));
          if (first === undefined) return;
          for (const [at, byte] of changes) first[132 + (at % (first.length - 132))] = byte;
          try {
            const volume = await readVolume([first, ...others].map(instanceOf));
            assert.equal(volume.voxels.length, volume.geometry.slices * volume.geometry.rows * volume.geometry.columns);
            read++;
          } catch (error) {
            if (!(error instanceof Refusal)) throw error;
            refused++;
          }
        },
      ),
      { numRuns: 1500 },
    );
    assert.ok(read > 0 && refused > 0, `${read} read, ${refused} refused`);
  });

  it('never repeats a value that could name a person', async () => {
    const files = phantomSeries({
      over: (k) => ({ ImageType: ['ORIGINAL', 'SMITH^JOHN', 'LOCALIZER'], PatientID: `X${k}` }),
    });
    assert.doesNotMatch((await refusal(files)).message, /SMITH/);
  });

  it('tolerates positions written with few digits', async () => {
    const files = phantomSeries({
      spacingMm: [1, 1, 1.25],
      slices: 9,
      over: (k) => ({ ImagePositionPatient: [-20, -22, Math.round(12.5 * k) / 10] }),
    });
    const { geometry } = await readVolume(files.map(instanceOf));
    assert.ok(Math.abs(geometry.spacingMm[2] - 1.25) < 1e-9);
  });
});

describe('index and patient transforms', () => {
  it('are each other’s inverse', () => {
    const { row, column } = oblique(0.3, -0.7, 1.1);
    const { geometry } = planVolume(
      phantomSeries({ modality: 'MR', row, column }).map((file) => instanceOf(file).head),
    );
    const point: Vector3 = [3.5, -2, 11];
    const back = transformPoint(patientToIndex(geometry), transformPoint(indexToPatient(geometry), point));
    back.forEach((value, axis) => assert.ok(Math.abs(value - (point[axis] ?? 0)) < 1e-9));
  });
});

describe('real series', { skip: SAMPLES === undefined ? 'ISTHMUS_SAMPLES is not set' : false }, () => {
  const series = (folder: string) => {
    const path = join(SAMPLES ?? '', 'dicom', folder);
    assert.ok(existsSync(path), `${folder} is not among the samples`);
    return shuffled(readdirSync(path)).map((name) => instanceOf(readFileSync(join(path, name))));
  };

  for (const [folder, columns, rows, slices, spacing] of [
    ['mr_known_warp/fixed', 80, 96, 112, 2],
    ['mr_pair_t1_t2/t1_flash_fixed', 88, 116, 128, undefined],
    ['mr_fruit_ge_196slices', 256, 256, 196, 1.2],
  ] as const) {
    it(`${folder} is read as one volume`, async () => {
      const { geometry, voxels } = await readVolume(series(folder));
      if (spacing !== undefined) assert.ok(Math.abs(geometry.spacingMm[2] - spacing) < 1e-3);
      assert.equal(geometry.slices, slices);
      assert.deepEqual([geometry.columns, geometry.rows], [columns, rows]);
      assert.ok(voxels.some((voxel) => voxel > 0) && voxels.every(Number.isFinite));
    });
  }
});
