/**
 * A body of ellipsoids that is known at every point of patient space, so that it can be sampled on any grid, through any
 * map, in several contrasts: truth for registration.
 */
import type { Vector3, Volume, VolumeGeometry } from '../../src/dicom/volume.ts';
import { indexToPatient, transformPoint, voxelCount } from '../../src/pipelines/space.ts';
import type { Matrix4 } from '../../src/pipelines/space.ts';

interface Ellipsoid {
  readonly centreMm: Vector3;
  readonly radiiMm: Vector3;
  /** Brightness in the contrasts 0 and 1. */
  readonly levels: readonly [number, number];
}

export interface SampleOptions {
  readonly contrast: 0 | 1;
  readonly seed: number;
  readonly modality?: string;
  /** Patient space of this volume -> the space the body is defined in. */
  readonly toBody: (point: Vector3) => Vector3;
}

const BODY: Ellipsoid = { centreMm: [0, 0, 0], radiiMm: [52, 60, 50], levels: [300, 700] };

/** Parts of a body that has a left and a right side, about the origin, within 60 mm. */
export function makeBody(seed: number, parts = 36): Ellipsoid[] {
  const random = randomNumbers(seed);
  const between = (low: number, high: number) => low + (high - low) * random();
  const inner = Array.from({ length: parts }, (): Ellipsoid => ({
    centreMm: [between(-38, 38), between(-44, 44), between(-36, 36)],
    radiiMm: [between(5, 16), between(5, 16), between(5, 16)],
    levels: [between(350, 1000), between(100, 1000)],
  }));
  return [BODY, ...inner];
}

/** The body seen on a grid, with a little noise. */
export function sampleBody(body: readonly Ellipsoid[], geometry: VolumeGeometry, options: SampleOptions): Volume {
  const random = randomNumbers(options.seed);
  const place = indexToPatient(geometry);
  const voxels = new Float32Array(voxelCount(geometry));
  let n = 0;
  for (let k = 0; k < geometry.slices; k++) {
    for (let j = 0; j < geometry.rows; j++) {
      for (let i = 0; i < geometry.columns; i++, n++) {
        const point = options.toBody(transformPoint(place, [i, j, k]));
        voxels[n] = brightness(body, point, options.contrast) + 12 * (random() + random() - 1);
      }
    }
  }
  return { geometry, voxels, modality: options.modality ?? 'MR' };
}

/** A grid about the origin. */
export function gridAbout(
  counts: Vector3,
  spacingMm: Vector3,
  axes: VolumeGeometry['axes'] = [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  frameOfReferenceUID: string | undefined = undefined,
): VolumeGeometry {
  const back = (r: 0 | 1 | 2) =>
    -axes.reduce((sum, axis, a) => sum + (axis[r] * (spacingMm[a] ?? 0) * ((counts[a] ?? 0) - 1)) / 2, 0);
  const [columns, rows, slices] = counts;
  return { columns, rows, slices, spacingMm, originMm: [back(0), back(1), back(2)], axes, frameOfReferenceUID };
}

/** Rotation about x, then y, then z, in degrees, and a shift in mm. */
export function rigidMove(degrees: Vector3, shiftMm: Vector3): Matrix4 {
  const [a, b, c] = degrees.map((d) => (d * Math.PI) / 180) as [number, number, number];
  const [ca, sa, cb, sb, cc, sc] = [a, b, c].flatMap((angle) => [Math.cos(angle), Math.sin(angle)]) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return [
    cb * cc,
    sa * sb * cc - ca * sc,
    ca * sb * cc + sa * sc,
    shiftMm[0],
    cb * sc,
    sa * sb * sc + ca * cc,
    ca * sb * sc - sa * cc,
    shiftMm[1],
    -sb,
    sa * cb,
    ca * cb,
    shiftMm[2],
    0,
    0,
    0,
    1,
  ];
}

/** Later parts lie over earlier ones; edges are 2 mm soft. */
function brightness(body: readonly Ellipsoid[], [x, y, z]: Vector3, contrast: 0 | 1): number {
  let value = 0;
  for (const { centreMm, radiiMm, levels } of body) {
    const [dx, dy, dz] = [
      (x - centreMm[0]) / radiiMm[0],
      (y - centreMm[1]) / radiiMm[1],
      (z - centreMm[2]) / radiiMm[2],
    ];
    const depthMm = (1 - Math.hypot(dx, dy, dz)) * Math.min(...radiiMm);
    const share = Math.min(1, Math.max(0, 0.5 + depthMm / 2));
    value += share * (levels[contrast] - value);
  }
  return value;
}

/** Mulberry32: the same numbers for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
