/** Alignment without graphs: the derivative it climbs by, rigid and affine maps on a body that is known everywhere, coil shading. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Vector3, Volume, VolumeGeometry } from '../../src/dicom/volume.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { align, flattened } from '../../src/pipelines/align.ts';
import { benchFor, inform, samplesOf, slopeOf, targetOf } from '../../src/pipelines/mutual-information.ts';
import type { Prepared } from '../../src/pipelines/prepared.ts';
import { refuseStretch, rotationDegrees } from '../../src/pipelines/rigid.ts';
import { rotationAbout } from '../../src/pipelines/rotation.ts';
import { percentileWindow } from '../../src/pipelines/similarity.ts';
import { IDENTITY, invert, multiply, transformPoint, translation, type Matrix4 } from '../../src/pipelines/space.ts';
import { gridAbout, makeBody, rigidMove, sampleBody } from './solid-phantom.ts';

const body = makeBody(5);
const plain = gridAbout([44, 48, 40], [3.2, 3.2, 3.2]);
const thick = gridAbout([60, 64, 30], [2.5, 2.5, 4.5]);

function seen(geometry: VolumeGeometry, move: Matrix4, contrast: 0 | 1, modality = 'CT'): Volume {
  const back = invert(move);
  const toBody = (point: Vector3) => transformPoint(back, point);
  return sampleBody(body, geometry, { contrast, seed: geometry.slices + contrast, toBody, modality });
}

const prepared = (volume: Volume): Prepared => ({ volume, window: percentileWindow(volume.voxels) });

function worst(truth: Matrix4, found: Matrix4): number {
  const probes: Vector3[] = [
    [40, 0, 0],
    [-40, 0, 0],
    [0, 40, 0],
    [0, -40, 0],
    [0, 0, 40],
    [0, 0, -40],
  ];
  return Math.max(
    ...probes.map((probe) => {
      const [a, b] = [transformPoint(truth, probe), transformPoint(found, probe)];
      return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
    }),
  );
}

test('the derivative of the information is what differences say, for all twelve parameters', () => {
  const move = rigidMove([4, -3, 5], [2, -1, 3]);
  const [fixed, moving] = [prepared(seen(plain, IDENTITY, 0)), prepared(seen(thick, move, 1))];
  const samples = samplesOf(fixed.volume, fixed.window, 20_000);
  const target = targetOf(moving.volume, moving.window);
  const bench = benchFor(samples);
  const measured = inform(samples, target, IDENTITY, bench);
  const slope = slopeOf(samples, target, IDENTITY, { bench, count: measured.count, affine: true });
  const step = 0.02;
  const { centre, radiusMm } = samples;
  for (let p = 0; p < 12; p++) {
    const nudged = (by: number): number => {
      const m = [...IDENTITY];
      if (p < 9) m[4 * Math.floor(p / 3) + (p % 3)] = (m[4 * Math.floor(p / 3) + (p % 3)] ?? 0) + by / radiusMm;
      else m[4 * (p - 9) + 3] = by;
      const about = multiply(translation(centre), multiply(m, translation([-centre[0], -centre[1], -centre[2]])));
      return inform(samples, target, about, bench).information;
    };
    const difference = (nudged(step) - nudged(-step)) / (2 * step);
    const found = slope[p] ?? Number.NaN;
    assert.ok(Math.abs(found - difference) < 0.003 + 0.1 * Math.abs(difference), `${p}: ${found}, ${difference}`);
  }
});

test('a turn of 30 degrees and a shift of 30 mm between two contrasts are found within 0.5 mm', () => {
  const axis = 30 / Math.sqrt(3);
  const turn = rotationAbout([axis, -axis, axis].map((d) => (d * Math.PI) / 180) as [number, number, number]);
  const move = multiply(translation([17, -17, 17]), turn);
  const found = align(prepared(seen(plain, IDENTITY, 0)), prepared(seen(thick, move, 1)), {
    start: undefined,
    affine: false,
  });
  assert.ok(worst(move, found) < 0.5, `${worst(move, found)} mm`);
  assert.ok(Math.abs(rotationDegrees(found) - 30) < 0.5);
});

test('a stretched and sheared body is found within 0.6 mm, and a stretch that no person has is refused', () => {
  const shape: Matrix4 = [1.06, 0.03, 0, 0, 0, 0.95, -0.02, 0, 0.02, 0, 1.04, 0, 0, 0, 0, 1];
  const move = multiply(rigidMove([8, -6, 10], [6, 9, -5]), shape);
  const found = align(prepared(seen(plain, IDENTITY, 0)), prepared(seen(thick, move, 0)), {
    start: undefined,
    affine: true,
  });
  assert.ok(worst(move, found) < 0.6, `${worst(move, found)} mm`);
  refuseStretch(found);
  assert.throws(
    () => refuseStretch([1.4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]),
    (error) => error instanceof Refusal && /stretches by 0\.40/.test(error.message),
  );
});

test('shading of a coil is taken out of an MR and leaves a CT alone', () => {
  const even = seen(plain, IDENTITY, 0, 'MR');
  const { columns, rows } = plain;
  const shaded = { ...even, voxels: even.voxels.map((value, n) => value * (0.6 + (0.8 * (n % columns)) / columns)) };
  const sides = ({ voxels }: Volume): number => {
    let [left, right] = [0, 0];
    voxels.forEach((value, n) => {
      if (Math.floor(n / columns) % rows < 12 || Math.floor(n / columns) % rows > 36) return;
      if (n % columns < columns / 2) left += value;
      else right += value;
    });
    return right / left;
  };
  const [before, after, truth] = [sides(shaded), sides(flattened(prepared(shaded)).volume), sides(even)];
  assert.ok(Math.abs(after - truth) < 0.4 * Math.abs(before - truth), `${before} ${after} ${truth}`);
  const ct = prepared({ ...shaded, modality: 'CT' });
  assert.equal(flattened(ct), ct);
});
