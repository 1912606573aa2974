/**
 * Pairs with a known rigid or affine map: turns of up to 30 degrees about any axis and shifts of up to 30 mm, other grids, fields of view,
 * contrasts and noise. Seeds 0 to 59 chose the method's numbers; 1000 to 1059 are measured (`HELD_OUT`).
 *
 *   node pairs.ts FOLDER SEED      # writes fixed and moving as raw float32 with MetaImage headers, and truth.json
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { random, type Random } from '../../cases.ts';
import { axialGrid, type Vector3, type Volume, type VolumeGeometry } from '../../../src/dicom/volume.ts';
import { rotationAbout } from '../../../src/pipelines/rotation.ts';
import {
  at,
  indexToPatient,
  invert,
  multiply,
  patientToIndex,
  transformPoint,
  translation,
  type Matrix4,
} from '../../../src/pipelines/space.ts';
import { makeTrunk, realSources, type Source } from './sources.ts';

export const HELD_OUT: readonly number[] = Array.from({ length: 60 }, (_, n) => 1000 + n);
/** Pairs of 192 x 192 x 192 voxels, for the time they take. */
export const LARGE: readonly number[] = [2001, 2006];
export const LARGE_SIZE = 192;

export interface Pair {
  readonly seed: number;
  /** What it belongs to in the table. */
  readonly kind: string;
  readonly affine: boolean;
  readonly fixed: Volume;
  readonly moving: Volume;
  /** Fixed point -> moving point, LPS mm. */
  readonly truth: Matrix4;
  /** Points of the body that both series show, fixed space, mm. */
  readonly points: readonly Vector3[];
}

let known: readonly Source[] | undefined;

/** Every third pair is of a phantom where real volumes are at hand, else every one. */
export function makePair(seed: number, options: { readonly size?: number } = {}): Pair {
  const next = random(seed);
  known ??= realSources();
  const real = known.length > 0 && seed % 3 !== 0 ? known[Math.floor(seed / 3) % known.length] : undefined;
  const source = real ?? makeTrunk(next);
  const different = seed % 2 === 1;
  const affine = Math.floor(seed / 6) % 3 === 2;
  const [a, b] = contrastsOf(source, different, next);
  const truth = someMap(next, affine);
  const grids = gridsFor(source, b.modality, next, options.size);
  const fixed = sampled(grids.fixed, (p) => a.see(p), a.modality, next);
  const back = invert(truth);
  const moving = sampled(grids.moving, (p) => b.see(transformPoint(back, p)), b.modality, next);
  return {
    seed,
    kind: `${affine ? 'affine' : 'rigid'}, ${different ? 'different' : 'same'} contrast`,
    affine,
    fixed,
    moving: b.modality === 'PT' ? blurred(moving) : moving,
    truth,
    points: pointsIn(source, grids.fixed, grids.moving, truth),
  };
}

interface Contrast {
  readonly see: (point: Vector3) => number;
  readonly modality: string;
}

/** Two contrasts of a source: two that it has, or one and another that is made of it. */
function contrastsOf(source: Source, different: boolean, next: Random): [Contrast, Contrast] {
  const { contrasts, modalities } = source;
  const first = Math.floor(next.uniform(0, contrasts.length - 1e-9));
  const plain = (n: number): Contrast => {
    const [gamma, [u, v, w]] = [next.uniform(0.8, 1.25), biasOf(next)];
    return {
      modality: modalities[n]!,
      see: ([x, y, z]) => {
        const value = contrasts[n]!(x, y, z);
        return Number.isNaN(value)
          ? 0
          : value ** gamma * (modalities[n] === 'MR' ? Math.exp(u * x + v * y + w * z) : 1);
      },
    };
  };
  if (!different) return [plain(first), plain(first)];
  if (contrasts.length > 1)
    return [
      plain(first),
      plain((first + 1 + Math.floor(next.uniform(0, contrasts.length - 1.001))) % contrasts.length),
    ];
  const [base, curve] = [plain(first), curveOf(next)];
  return [base, { modality: base.modality, see: (p) => curve(base.see(p)) }];
}

/** A coil's shading: up to 25 % over 80 mm. */
function biasOf(next: Random): [number, number, number] {
  return [next.uniform(-0.003, 0.003), next.uniform(-0.003, 0.003), next.uniform(-0.003, 0.003)];
}

/** Another contrast: air stays dark, what is between becomes anything. */
function curveOf(next: Random): (value: number) => number {
  const knots = [
    0,
    next.uniform(0.3, 1),
    next.uniform(0, 1),
    next.uniform(0, 1),
    next.uniform(0, 1),
    next.uniform(0, 0.6),
  ];
  return (value) => {
    const place = Math.min(4.999, Math.max(0, value * 5));
    const n = Math.floor(place);
    return knots[n]! + (place - n) * (knots[n + 1]! - knots[n]!);
  };
}

function someMap(next: Random, affine: boolean): Matrix4 {
  const direction = (): Vector3 => {
    const [x, y, z] = [next.normal(), next.normal(), next.normal()];
    const length = Math.hypot(x, y, z);
    return [x / length, y / length, z / length];
  };
  const [axis, angle] = [direction(), (next.uniform(0, 30) * Math.PI) / 180];
  const [way, far] = [direction(), next.uniform(0, 30)];
  const turn = rotationAbout([axis[0] * angle, axis[1] * angle, axis[2] * angle]);
  const stretch = [0, 1, 2].flatMap((r) =>
    [0, 1, 2].map((c) => (r === c ? next.uniform(0.93, 1.07) : next.uniform(-0.04, 0.04))),
  );
  const [s0, s1, s2, s3, s4, s5, s6, s7, s8] = stretch as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const shape = [s0, s1, s2, 0, s3, s4, s5, 0, s6, s7, s8, 0, 0, 0, 0, 1];
  return multiply(translation([way[0] * far, way[1] * far, way[2] * far]), affine ? multiply(turn, shape) : turn);
}

/** The fixed grid over most of the body; the moving one of another spacing, sometimes thick slices, sometimes a part of the length. */
function gridsFor(
  { radiusMm }: Source,
  modality: string,
  next: Random,
  size?: number,
): { fixed: VolumeGeometry; moving: VolumeGeometry } {
  const [rx, ry, rz] = radiusMm.map((radius) => Math.min(radius, 95) + 8) as [number, number, number];
  const along = Math.floor(next.uniform(0, 4));
  const spacing = (thick: boolean): Vector3 => {
    if (size !== undefined) return [(2 * rx) / size, (2 * ry) / size, (2 * rz) / size];
    const plane = next.uniform(1.3, 2.2);
    return [plane, plane, thick ? 4 : next.uniform(1.5, 2.5)];
  };
  const pet = modality === 'PT' && size === undefined;
  const fixedSpacing = spacing(along === 1);
  const movingSpacing = pet ? ([4, 4, 4] as const) : spacing(along === 2 || along === 3);
  const short = along === 3 ? next.uniform(0.65, 0.8) : 1;
  const off = along === 3 ? next.uniform(-0.2, 0.2) * rz : 0;
  return {
    fixed: grid([rx, ry, rz], fixedSpacing, [next.uniform(-4, 4), next.uniform(-4, 4), 0]),
    moving: grid([rx, ry, rz * short], movingSpacing, [next.uniform(-6, 6), next.uniform(-6, 6), off]),
  };
}

function grid(radii: Vector3, spacingMm: Vector3, centre: Vector3): VolumeGeometry {
  const counts = radii.map((radius, axis) => Math.round((2 * radius) / spacingMm[axis]!)) as [number, number, number];
  const origin = counts.map((count, axis) => centre[axis]! - (spacingMm[axis]! * (count - 1)) / 2) as [
    number,
    number,
    number,
  ];
  return axialGrid(counts, spacingMm, origin);
}

/** Thick slices are averaged over their thickness. */
function sampled(geometry: VolumeGeometry, see: (p: Vector3) => number, modality: string, next: Random): Volume {
  const { columns, rows, slices, spacingMm } = geometry;
  const voxels = new Float32Array(columns * rows * slices);
  const place = indexToPatient(geometry);
  const parts = spacingMm[2] > 3 ? [-0.33, 0, 0.33] : [0];
  const noise = next.uniform(0.01, 0.04);
  let n = 0;
  for (let k = 0; k < slices; k++)
    for (let j = 0; j < rows; j++)
      for (let i = 0; i < columns; i++, n++) {
        let sum = 0;
        for (const part of parts) sum += see(transformPoint(place, [i, j, k + part]));
        voxels[n] = 1000 * (sum / parts.length + noise * next.normal());
      }
  return { geometry, voxels, modality };
}

/** A PET's resolution: about 6 mm, twice the neighbours of 4 mm. */
function blurred(volume: Volume): Volume {
  const { columns, rows, slices } = volume.geometry;
  let from = volume.voxels;
  for (const [step, length] of [
    [1, columns],
    [columns, rows],
    [columns * rows, slices],
  ] as const) {
    const to = new Float32Array(from.length);
    for (let n = 0; n < to.length; n++) {
      const place = Math.floor(n / step) % length;
      to[n] =
        0.25 * at(from, place === 0 ? n : n - step) +
        0.5 * at(from, n) +
        0.25 * at(from, place === length - 1 ? n : n + step);
    }
    from = to;
  }
  return { ...volume, voxels: from };
}

function pointsIn(source: Source, fixed: VolumeGeometry, moving: VolumeGeometry, truth: Matrix4): Vector3[] {
  const [toFixed, toMoving] = [patientToIndex(fixed), patientToIndex(moving)];
  const within = ([x, y, z]: Vector3, { columns, rows, slices }: VolumeGeometry) =>
    x >= 0 && y >= 0 && z >= 0 && x <= columns - 1 && y <= rows - 1 && z <= slices - 1;
  const found: Vector3[] = [];
  const reach = source.radiusMm.map((radius) => Math.min(radius, 95));
  for (let z = -reach[2]!; z <= reach[2]!; z += 11)
    for (let y = -reach[1]!; y <= reach[1]!; y += 11)
      for (let x = -reach[0]!; x <= reach[0]!; x += 11) {
        const value = source.contrasts[0]!(x, y, z);
        if (!(value > 0.1)) continue;
        const point: Vector3 = [x, y, z];
        if (
          within(transformPoint(toFixed, point), fixed) &&
          within(transformPoint(toMoving, transformPoint(truth, point)), moving)
        )
          found.push(point);
      }
  return found;
}

/** Mean distance between where the map found and the true one lead the points, mm. */
export function errorMm({ points, truth }: Pick<Pair, 'points' | 'truth'>, found: Matrix4): number {
  const errors = points.map((point) => {
    const [a, b] = [transformPoint(truth, point), transformPoint(found, point)];
    return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
  });
  return errors.reduce((sum, one) => sum + one, 0) / errors.length;
}

function writePair(folder: string, pair: Pair): void {
  mkdirSync(folder, { recursive: true });
  for (const role of ['fixed', 'moving'] as const) {
    const { geometry, voxels } = pair[role];
    const { columns, rows, slices, spacingMm, originMm } = geometry;
    writeFileSync(join(folder, `${role}.raw`), new Uint8Array(voxels.buffer));
    const header = `ObjectType = Image\nNDims = 3\nDimSize = ${columns} ${rows} ${slices}\nElementSpacing = ${spacingMm.join(' ')}\nOffset = ${originMm.join(' ')}\nElementType = MET_FLOAT\nElementByteOrderMSB = False\nElementDataFile = ${role}.raw\n`;
    writeFileSync(join(folder, `${role}.mhd`), header);
  }
  const { kind, affine, truth, points } = pair;
  writeFileSync(join(folder, 'truth.json'), JSON.stringify({ kind, affine, truth, points }));
}

if (import.meta.main) {
  const [folder, seed, size] = process.argv.slice(2);
  if (folder === undefined || seed === undefined) throw new Error('node pairs.ts FOLDER SEED [SIZE]');
  writePair(folder, makePair(Number(seed), size === undefined ? {} : { size: Number(size) }));
}
