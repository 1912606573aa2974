/**
 * Every shipped pipeline on real samples, with everything it can write: dciodvfy finds no error in any object, pydicom reads each, and
 * highdicom those that it knows.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { readObject } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import type { SeriesInstance } from '../../src/dicom/volume.ts';
import { closePool, openPool, type Pool } from '../../src/pipelines/pool.ts';
import { OUTPUTS, type Output } from '../../src/routing/rules.ts';
import { loadedFrom } from '../../src/workflow/each-volume.ts';
import type { Produced } from '../../src/workflow/model-run.ts';
import { produceByManifest, produceDenoised, produceRefused, produceRegistration } from '../../src/workflow/produce.ts';
import {
  HIGHDICOM_PYTHON,
  iodErrors,
  NO_DCIODVFY,
  NO_HIGHDICOM,
  NO_PYTHON,
  python,
  scratch,
  writeObjects,
} from '../derived/tools.ts';
import { samples, withoutSamples } from './sample-files.ts';

/** Files of one series, all or a run of them. */
interface Part {
  readonly folder: string;
  readonly file?: RegExp;
  readonly from?: number;
  readonly count?: number;
}

interface Case {
  readonly pipeline: string;
  readonly of: Part;
  readonly fixed?: Part;
  readonly transform?: 'rigid' | 'affine' | 'deformable';
}

const KNEE: Part = { folder: 'dicom/mr_knee_like_16slices' };
const ENHANCED_MR: Part = { folder: 'dicom/mr_bruker_enhanced' };
const CINE: Part = { folder: 'dicom/dcmjs', file: /^cine-test/ };
const DX: Part = { folder: 'dicom/dx_chest_two_views' };
const US: Part = { folder: 'phi/made', file: /^us_burned_top_gray/ };
const PRIOR: Part = { folder: 'dicom/mr_known_warp/fixed', from: 40, count: 24 };
const LATER: Part = { folder: 'dicom/mr_known_warp/moving', from: 40, count: 24 };

const CASES: readonly Case[] = [
  { pipeline: 'ct-denoise', of: { folder: 'dicom/ct_rt_breast', file: /^ct/ } },
  ...['mr-denoise', 'mr-bias', 'gibbs'].flatMap((pipeline) => [
    { pipeline, of: KNEE },
    { pipeline, of: ENHANCED_MR },
    { pipeline, of: CINE },
  ]),
  { pipeline: 'us-speckle', of: US },
  { pipeline: 'xr-exposure', of: DX },
  { pipeline: 'cxr-lung-seg', of: DX },
  { pipeline: 'register', of: LATER, fixed: PRIOR, transform: 'rigid' },
  { pipeline: 'register', of: LATER, fixed: PRIOR, transform: 'deformable' },
];

/** A UID that names two things in the source names them in what was made of it. */
const SOURCES_OWN = /StudyInstanceUID has same value as FrameOfReferenceUID/;

describe('what every shipped pipeline writes of real samples', { skip: withoutSamples }, () => {
  let pool: Pool;
  const folder = scratch();
  const written: string[] = [];

  before(async () => {
    pool = await openPool({ threads: 2, maxMemoryMb: 3000, modelsFolder: join(import.meta.dirname, '../../models') });
  });
  after(async () => {
    await closePool(pool);
  });

  for (const [number, one] of CASES.entries()) {
    const name = `${one.pipeline} ${one.transform ?? ''} of ${one.of.folder}`;
    it(`${name}: is without errors to dciodvfy`, { skip: NO_DCIODVFY }, async (t) => {
      const { produced, refusal } = await made(pool, one);
      const objects = [...produced.objects];
      assert.ok(objects.length > 0);
      const files = writeObjects(join(folder, String(number)), objects);
      written.push(...files);
      const classes = Object.entries(Object.groupBy(objects, ({ sopClassUID }) => sopClassUID)).map(
        ([uid, all]) => `${uid} x${all?.length}`,
      );
      t.diagnostic(`${produced.verdict}${refusal === undefined ? '' : `: ${refusal}`}; ${classes.join(', ')}`);
      const errors = files.flatMap(iodErrors).filter((line) => !SOURCES_OWN.test(line));
      assert.deepEqual([...new Set(errors)], []);
    });
  }

  it('is read by pydicom, pixels included', { skip: NO_PYTHON }, () => {
    assert.match(python(['-c', READ_BY_PYDICOM, ...written]), new RegExp(`^${written.length} objects`));
  });

  it('is read by highdicom where it knows the class', { skip: NO_HIGHDICOM }, () => {
    const told = python(['-c', READ_BY_HIGHDICOM, ...written], HIGHDICOM_PYTHON);
    assert.match(told, /"reports": [1-9]/);
  });
});

const READ_BY_PYDICOM = `
import sys, pydicom, numpy
for path in sys.argv[1:]:
    data = pydicom.dcmread(path)
    data.decode()
    str(data)
    if 'PixelData' in data:
        assert data.pixel_array.size > 0
print(len(sys.argv) - 1, 'objects')
`;

const READ_BY_HIGHDICOM = `
import sys, json, highdicom as hd
counts = dict(segmentations=0, reports=0, maps=0, images=0)
for path in sys.argv[1:]:
    data = hd.imread(path) if False else __import__('pydicom').dcmread(path)
    uid = data.SOPClassUID
    if uid.startswith('1.2.840.10008.5.1.4.1.1.66.4'):
        seg = hd.seg.segread(path); assert seg.number_of_segments > 0; counts['segmentations'] += 1
    elif uid.startswith('1.2.840.10008.5.1.4.1.1.88'):
        sr = hd.sr.srread(path); assert len(sr.content.get_image_measurement_groups()) + len(sr.content.get_planar_roi_measurement_groups()) >= 0; counts['reports'] += 1
    elif uid.startswith('1.2.840.10008.5.1.4.1.1.30'):
        counts['maps'] += hd.imread(path).get_frames().shape[0] > 0
    elif 'PixelData' in data and data.get('SamplesPerPixel') == 1:
        assert hd.imread(path).get_frames().size > 0; counts['images'] += 1
print(json.dumps({k: int(v) for k, v in counts.items()}))
`;

async function made(
  pool: Pool,
  { pipeline, of, fixed, transform }: Case,
): Promise<{ produced: Produced; refusal?: string }> {
  const options = { outputs: OUTPUTS as readonly Output[] };
  const instances = await load(of);
  const onto = fixed === undefined ? undefined : await load(fixed);
  try {
    if (onto !== undefined)
      return {
        produced: await produceRegistration(
          pool,
          {
            moving: await loadedFrom(instances),
            fixed: await loadedFrom(onto),
            settings: transform === undefined ? {} : { transform },
          },
          options,
        ),
      };
    if (pipeline === 'ct-denoise')
      return { produced: await produceDenoised(pool, { source: await loadedFrom(instances), settings: {} }, options) };
    return { produced: await produceByManifest(pool, { id: pipeline, instances, settings: {} }, options) };
  } catch (error) {
    if (!(error instanceof Refusal) || error.reason !== 'PipelineRefused') throw error;
    const heads = (of_: readonly SeriesInstance[]) => of_.map(({ head }) => head);
    const run = { pipeline, source: heads(instances), fixed: onto && heads(onto), settings: {}, refusal: error };
    return { produced: produceRefused(pool, run), refusal: error.message };
  }
}

/** Native instances of a folder, their pixels read when they are asked for. */
async function load({ folder, file = /./, from = 0, count = Infinity }: Part): Promise<SeriesInstance[]> {
  const at = join(samples, folder);
  const names = readdirSync(at)
    .filter((name) => file.test(name) && statSync(join(at, name)).isFile())
    .sort()
    .slice(from, from + count);
  const loaded: SeriesInstance[] = [];
  for (const name of names) {
    const { head, body } = await readObject(readFileSync(join(at, name)));
    const chunks: Buffer[] = [];
    for await (const chunk of body) chunks.push(chunk);
    const pixels = Buffer.concat(chunks);
    loaded.push({ head, pixels: () => Promise.resolve(pixels) });
  }
  return loaded;
}
