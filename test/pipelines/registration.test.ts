/** Registration on a body that is known everywhere: the map must be found, what cannot be registered must be refused. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Refusal } from '../../src/dicom/refusal.ts';
import type { Vector3, Volume, VolumeGeometry } from '../../src/dicom/volume.ts';
import { openGraph } from '../../src/pipelines/graph-session.ts';
import { loadModel } from '../../src/pipelines/manifest.ts';
import { register } from '../../src/pipelines/registration.ts';
import { layAligned } from '../../src/pipelines/registration-quality.ts';
import type { RegistrationModel, RegistrationResult } from '../../src/pipelines/registration.ts';
import { DEFAULT_SETTINGS, parseRegistrationSettings } from '../../src/pipelines/registration-settings.ts';
import { IDENTITY, indexToPatient, invert, transformPoint, translation } from '../../src/pipelines/space.ts';
import type { Matrix4 } from '../../src/pipelines/space.ts';
import { gridAbout, makeBody, rigidMove, sampleBody } from './solid-phantom.ts';

const body = makeBody(1);
const plain = gridAbout([44, 48, 40], [3.2, 3.2, 3.2]);
const tilted: VolumeGeometry['axes'] = [
  [0.96, 0.28, 0],
  [-0.28 * 0.8, 0.96 * 0.8, 0.6],
  [0.28 * 0.6, -0.96 * 0.6, 0.8],
];
const thick = gridAbout([60, 64, 30], [2.5, 2.5, 5], tilted);
const probes: Vector3[] = [
  [40, 0, 0],
  [-40, 0, 0],
  [0, 40, 0],
  [0, -40, 0],
  [0, 0, 40],
  [0, 0, -40],
];

let model: RegistrationModel;
let release: () => Promise<unknown>;

before(async () => {
  const loaded = loadModel(join(import.meta.dirname, '..', '..', 'models', 'register'));
  const open = (name: string) => openGraph(loaded, name, 2);
  const sessions = {
    search: await open('deform-search'),
  };
  model = { sessions, gates: loaded.card.gates, applies: loaded.card.applies, threads: 2 };
  release = () => Promise.all(Object.values(sessions).map((session) => session.release()));
});

after(() => release());

const unmoved = (point: Vector3) => point;

function sampled(geometry: VolumeGeometry, toBody = unmoved, contrast: 0 | 1 = 0): Volume {
  return sampleBody(body, geometry, { contrast, seed: geometry.slices + contrast, toBody });
}

function throughInverse(move: Matrix4) {
  const back = invert(move);
  return (point: Vector3) => transformPoint(back, point);
}

function distance(a: Vector3, b: Vector3): number {
  return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

function refuses(sentence: RegExp) {
  return (error: unknown) =>
    error instanceof Refusal && error.reason === 'PipelineRefused' && sentence.test(error.message);
}

/** Where the field sends the centre of a voxel of its own grid. */
function fieldAt({ field }: RegistrationResult, i: number, j: number, k: number): { from: Vector3; to: Vector3 } {
  const { geometry, vectorsMm } = field;
  const from = transformPoint(indexToPatient(geometry), [i, j, k]);
  const n = 3 * ((k * geometry.rows + j) * geometry.columns + i);
  const v = [0, 1, 2].map((c) => vectorsMm[n + c] ?? Number.NaN) as [number, number, number];
  return { from, to: [from[0] + v[0], from[1] + v[1], from[2] + v[2]] };
}

test('a rigid move between two contrasts on oblique grids of other spacing is found within 2 mm', async () => {
  const move = rigidMove([12, -9, 14], [9, -6, 7]);
  const moving = sampled(thick, throughInverse(move), 1);
  const settings = { ...DEFAULT_SETTINGS, transform: 'rigid' } as const;
  const result = await register(model, { fixed: sampled(plain), moving, settings });
  const errors = probes.map((probe) => distance(transformPoint(move, probe), transformPoint(result.rigid, probe)));
  assert.ok(Math.max(...errors) < 2, `errors in mm: ${errors.map((error) => error.toFixed(2)).join(' ')}`);
  assert.equal(result.quality.similarityMeasure, 'NMI');
  assert.ok(result.quality.similarityAfter > result.quality.similarityBefore);
  const { from, to } = fieldAt(result, 3, 5, 7);
  assert.ok(distance(transformPoint(result.rigid, from), to) < 1e-3, 'a rigid field is the rigid map');
});

test('a known deformation is found, the moving series lands on the fixed voxels, and its field does not fold', async () => {
  // The body point seen at p by the moving series; fixed sees its own points, so this is moving -> fixed.
  const bend = ([x, y, z]: Vector3): Vector3 => [
    x + 5 * Math.sin(y / 25) - 4,
    y + 4 * Math.sin(z / 25),
    z + 4 * Math.sin(x / 30),
  ];
  const [fixed, moving] = [sampled(plain), sampled(plain, bend)];
  const result = await register(model, { fixed, moving, settings: DEFAULT_SETTINGS });
  assert.deepEqual(result.resampled.geometry, plain);
  assert.equal(result.quality.foldingFraction, 0);
  assert.equal(result.quality.similarityMeasure, 'NCC');
  const errors: number[] = [];
  const { columns, rows, slices } = result.field.geometry;
  for (let k = 0; k < slices; k += 2) {
    for (let j = 0; j < rows; j += 2) {
      for (let i = 0; i < columns; i += 2) {
        const { from, to } = fieldAt(result, i, j, k);
        if (Math.hypot(from[0] / 48, from[1] / 56, from[2] / 46) < 1) errors.push(distance(bend(to), from));
      }
    }
  }
  errors.sort((a, b) => a - b);
  const [median, p95] = [0.5, 0.95].map((share) => errors[Math.floor(share * errors.length)] ?? Number.NaN);
  assert.ok((median ?? 9) < 1 && (p95 ?? 9) < 3, `median ${median} p95 ${p95} mm`);
  const difference = (volume: Volume) =>
    volume.voxels.reduce((sum, value, n) => sum + Math.abs(value - (fixed.voxels[n] ?? 0)), 0);
  assert.ok(difference(result.resampled) < 0.5 * difference(moving));
});

test('outside the moving field of view the result is its smallest value', async () => {
  const shared = '2.25.1';
  const fixed = sampled({ ...plain, frameOfReferenceUID: shared });
  const half = gridAbout([44, 48, 22], [3.2, 3.2, 3.2], plain.axes, shared);
  const moving = sampled(half, ([x, y, z]) => [x + 3, y, z]);
  const settings = { ...DEFAULT_SETTINGS, transform: 'rigid' } as const;
  const { resampled, paddingValue } = await register(model, { fixed, moving, settings });
  const least = moving.voxels.reduce((least, value) => Math.min(least, value), Infinity);
  assert.equal(paddingValue, least);
  assert.equal(resampled.voxels[0], least);
  assert.ok(resampled.voxels.every((value) => value >= least));
});

/** How far the map found leads from where `truth` leads, at its worst probe. */
function worstMm({ rigid }: RegistrationResult, truth: Matrix4): number {
  return Math.max(...probes.map((p) => distance(transformPoint(rigid, p), transformPoint(truth, p))));
}

const rigidly = { ...DEFAULT_SETTINGS, transform: 'rigid' } as const;

for (const [what, contrast] of [
  ['one contrast', 0],
  ['two contrasts', 1],
] as const)
  for (const settings of [rigidly, DEFAULT_SETTINGS])
    test(`a pair of ${what} that lies aligned passes ${settings.transform}, and is judged by its place and not by a gain`, async () => {
      const shared = { ...plain, frameOfReferenceUID: '2.25.1' };
      const [fixed, moving] = [
        sampled(shared),
        sampled({ ...thick, frameOfReferenceUID: '2.25.1' }, unmoved, contrast),
      ];
      const result = await register(model, { fixed, moving, settings });
      assert.equal(result.verdict.outcome, 'pass');
      assert.ok(worstMm(result, IDENTITY) < 1.5 && result.quality.movedMm < 2, `${result.quality.movedMm} mm`);
      const names = result.verdict.findings.map(({ name }) => name);
      const measure = contrast === 0 ? 'ncc' : 'nmi';
      assert.ok(names.includes(`${measure}Peak`) && !names.includes(`${measure}Gain`), names.join(' '));
      assert.ok(layAligned(result.quality));
    });

test('a series registered to itself comes back as it was', async () => {
  const fixed = sampled(plain);
  const moving = { ...fixed, voxels: fixed.voxels.slice() };
  const { rigid, verdict, resampled } = await register(model, { fixed, moving, settings: DEFAULT_SETTINGS });
  assert.equal(verdict.outcome, 'pass');
  assert.ok(rigid.every((one, n) => Math.abs(one - (IDENTITY[n] ?? 9)) < 0.02));
  const off = resampled.voxels.reduce((sum, value, n) => sum + Math.abs(value - (fixed.voxels[n] ?? 0)), 0);
  assert.ok(off / fixed.voxels.length < 3, 'brightness of 1000, noise of 5');
});

test('a pair that only has to be centred passes, from thin slices to thick ones and back', async () => {
  const shift = translation([70, -45, 30]);
  const near = sampled(plain);
  const far = (geometry: VolumeGeometry) => ({ ...geometry, originMm: transformPoint(shift, geometry.originMm) });
  for (const [fixed, moving] of [
    [near, sampled(far(thick), throughInverse(shift))],
    [sampled(thick), sampled(far(plain), throughInverse(shift))],
  ] as const) {
    const result = await register(model, { fixed, moving, settings: rigidly });
    assert.equal(result.verdict.outcome, 'pass');
    assert.ok(worstMm(result, shift) < 1.5, `${worstMm(result, shift)} mm`);
  }
});

test('a pair that has nothing to do with each other is refused, though the search ends where it began', async () => {
  const random = makeBody(99, 60);
  const noise = { contrast: 1, seed: 5, toBody: unmoved } as const;
  const alien = sampleBody(random.slice(1), { ...plain, frameOfReferenceUID: '2.25.1' }, noise);
  const fixed = sampled({ ...plain, frameOfReferenceUID: '2.25.1' });
  await assert.rejects(register(model, { fixed, moving: alien, settings: rigidly }), refuses(/nmi|ncc|bodyOverlap/));
});

test('a series with left and right exchanged is refused', async () => {
  const moving = sampled(plain, ([x, y, z]) => [-x + 2, y - 1, z]);
  await assert.rejects(
    register(model, { fixed: sampled(plain), moving, settings: DEFAULT_SETTINGS }),
    refuses(/left and right are exchanged/),
  );
});

test('series that do not overlap in one frame of reference are refused', async () => {
  const frameOfReferenceUID = '2.25.1';
  const fixed = sampled({ ...plain, frameOfReferenceUID });
  const moving = { ...fixed, geometry: { ...fixed.geometry, originMm: [900, 0, 0] as const } };
  await assert.rejects(
    register(model, { fixed, moving, settings: DEFAULT_SETTINGS }),
    refuses(/0\.0 % of the fixed volume lies in the moving field of view; at least 10 % is expected/),
  );
});

test('too few slices, another modality, an empty series and voxels that are no numbers are refused', async () => {
  const fixed = sampled(plain);
  const attempt = (moving: Volume) => register(model, { fixed, moving, settings: DEFAULT_SETTINGS });
  await assert.rejects(
    attempt(sampled(gridAbout([44, 48, 7], [3, 3, 8]))),
    refuses(/44 x 48 x 7 voxels; at least 8 slices/),
  );
  await assert.rejects(attempt({ ...fixed, modality: 'US' }), refuses(/moving is of another modality than CT, MR/));
  await assert.rejects(attempt({ ...fixed, voxels: new Float32Array(fixed.voxels.length) }), refuses(/shows nothing/));
  const broken = fixed.voxels.slice();
  broken[77] = Number.NaN;
  await assert.rejects(attempt({ ...fixed, voxels: broken }), refuses(/not finite/));
  await assert.rejects(attempt({ ...fixed, voxels: broken.subarray(1) }), refuses(/its geometry asks for 84480/));
});

test('settings that are unknown or out of bounds are refused', () => {
  const refusesSetting = (sentence: RegExp) => (error: unknown) =>
    error instanceof Refusal && error.reason === 'BadConfiguration' && sentence.test(error.message);
  assert.deepEqual(parseRegistrationSettings({}), DEFAULT_SETTINGS);
  assert.throws(() => parseRegistrationSettings({ tranform: 'rigid' }), refusesSetting(/no setting tranform/));
  assert.throws(
    () => parseRegistrationSettings({ transform: 'elastic' }),
    refusesSetting(/one of rigid, affine, deformable/),
  );
  assert.throws(() => parseRegistrationSettings({ maxWorkingVoxels: 5 }), refusesSetting(/from 100000/));
});
