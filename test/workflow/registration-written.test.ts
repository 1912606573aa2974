/** What a whole registration writes, applied by a reader that is not ours (test/derived/apply_registration.py), and what may be aligned to. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { DerivedObject } from '../../src/derived/provenance.ts';
import type { Vector3 } from '../../src/dicom/volume.ts';
import { closePool, openPool, type Pool } from '../../src/pipelines/pool.ts';
import { loadedFrom } from '../../src/workflow/each-volume.ts';
import type { Produced } from '../../src/workflow/model-run.ts';
import { produceRegistration } from '../../src/workflow/produce.ts';
import { instanceOf, phantomSeries } from '../derived/phantom.ts';
import { NO_PYTHON, python, scratch, writeObjects } from '../derived/tools.ts';

const SAMPLES = process.env['ISTHMUS_SAMPLES'];
const MODELS = join(import.meta.dirname, '..', '..', 'models');
const REGISTRATIONS = ['1.2.840.10008.5.1.4.1.1.66.1', '1.2.840.10008.5.1.4.1.1.66.3'];

/** A body of organs that no turn or mirror brings onto itself, in HU. */
function body([x, y, z]: Vector3): number {
  const ball = (a: number, b: number, c: number, radius: number) =>
    Math.max(0, Math.min(1, radius - Math.hypot(x - a, y - b, z - c)));
  if ((x / 52) ** 2 + (y / 44) ** 2 + (z / 46) ** 2 > 1) return -1000;
  const organs = 260 * ball(20, 8, 12, 12) - 90 * ball(-18, 14, -10, 15) + 600 * ball(-6, -24, 20, 8);
  return 40 + organs + 300 * ball(8, -12, -22, 11) + 25 * Math.sin(x / 5) * Math.cos(y / 6 + z / 7);
}

/** Waves along their own axes: what bends to and fro holds no turn that a rigid alignment would take for its own. */
const bent = ([x, y, z]: Vector3): Vector3 => [
  x + 2 * Math.sin(x / 9) + 4,
  y + 1.8 * Math.sin(y / 8) - 3,
  z - 2 * Math.sin(z / 10) + 2,
];

/** Slices of 5 mm turned by 20 degrees about x; and isotropic ones turned by 15 degrees about z. */
const thick = {
  name: 'thick',
  columns: 60,
  rows: 56,
  slices: 22,
  spacingMm: [2, 2, 5] as Vector3,
  row: [1, 0, 0] as Vector3,
  column: [0, Math.cos(0.35), Math.sin(0.35)] as Vector3,
  originMm: [-59, -35, -70] as Vector3,
};
const even = {
  name: 'even',
  columns: 52,
  rows: 50,
  slices: 44,
  spacingMm: [2.4, 2.4, 2.4] as Vector3,
  row: [Math.cos(0.26), Math.sin(0.26), 0] as Vector3,
  column: [-Math.sin(0.26), Math.cos(0.26), 0] as Vector3,
  originMm: [-45, -75, -52] as Vector3,
};

let pool: Pool;
before(async () => {
  pool = await openPool({ threads: 2, maxMemoryMb: 4000, modelsFolder: MODELS });
});
after(() => closePool(pool));

const loaded = (files: readonly Buffer[]) => loadedFrom(files.map(instanceOf));

async function registered(
  fixed: readonly Buffer[],
  moving: readonly Buffer[],
  settings = {},
): Promise<DerivedObject[]> {
  const series = { fixed: await loaded(fixed), moving: await loaded(moving), settings };
  const produced: Produced = await produceRegistration(pool, series, { outputs: ['image'] });
  return [...produced.objects];
}

function applied(objects: readonly DerivedObject[], moving: readonly Buffer[]): Record<string, number> {
  const folder = scratch();
  writeObjects(join(folder, 'moving'), moving);
  const written = objects.filter(({ sopClassUID }) => REGISTRATIONS.includes(sopClassUID));
  const [path] = writeObjects(join(folder, 'object'), written);
  const [one] = objects;
  writeObjects(
    join(folder, 'resampled'),
    objects.filter(({ sopClassUID }) => sopClassUID === one?.sopClassUID),
  );
  const script = join(import.meta.dirname, '..', 'derived', 'apply_registration.py');
  return JSON.parse(python([script, path ?? '', join(folder, 'moving'), join(folder, 'resampled')])) as Record<
    string,
    number
  >;
}

describe('DERIVE-REG-2: the written registration, applied by a foreign reader, makes our resampled series within 0.1 voxel', () => {
  const straight = { value: body };
  const moved = { value: (place: Vector3) => body(bent(place)), frameOfReference: 'other' };
  for (const [what, onto, of] of [
    ['even slices onto oblique ones of 5 mm', thick, even],
    ['oblique slices of 5 mm onto even ones', even, thick],
  ] as const)
    it(what, { skip: NO_PYTHON }, async () => {
      const moving = phantomSeries({ ...of, ...moved });
      const found = applied(await registered(phantomSeries({ ...onto, ...straight }), moving), moving);
      assert.ok((found['unmoved'] ?? 0) > 20 && (found['inside'] ?? 0) > 0.3, JSON.stringify(found));
      assert.ok((found['voxelsP99'] ?? 99) < 0.1, JSON.stringify(found));
    });

  const folder = join(SAMPLES ?? '', 'dicom', 'mr_pair_t1_t2');
  const read = (name: string) => readdirSync(join(folder, name)).map((file) => readFileSync(join(folder, name, file)));
  const skip = SAMPLES === undefined ? 'ISTHMUS_SAMPLES is not set' : NO_PYTHON;
  it('a T2 EPI onto the T1 of the same head, oblique', { skip }, async () => {
    const moving = read('t2_epi_moving');
    const found = applied(await registered(read('t1_flash_fixed'), moving), moving);
    assert.ok((found['unmoved'] ?? 0) > 20 && (found['voxelsP99'] ?? 99) < 0.1, JSON.stringify(found));
  });
});

describe('DERIVE-REG-3: what others are aligned to is one volume', () => {
  it('a fixed series of several time points is refused by their names', async () => {
    const points = [1, 2].flatMap((point) =>
      phantomSeries({
        ...even,
        value: body,
        over: (k) => ({
          TemporalPositionIdentifier: point,
          NumberOfTemporalPositions: 2,
          SOPInstanceUID: `1.2.826.0.1.3680043.8.498.7.${point}.${k + 1}`,
          InstanceNumber: point * 100 + k,
        }),
      }),
    );
    await assert.rejects(registered(points, phantomSeries({ ...thick, value: body })), {
      reason: 'PipelineRefused',
      message:
        'the fixed series holds 2 volumes (time point 1 of 2, time point 2 of 2); a series of one volume is expected',
    });
  });
});
