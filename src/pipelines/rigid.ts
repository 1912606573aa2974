/** Where a registration begins, and what is asked of the rigid or affine map that `align` has found. */
import { Refusal } from '../dicom/refusal.ts';
import type { Vector3 } from '../dicom/volume.ts';
import { alignFrom, centreOfMass } from './align.ts';
import type { Prepared } from './prepared.ts';
import { bodyMask, ncc, nmi, normalised } from './similarity.ts';
import {
  IDENTITY,
  at,
  centreOf,
  cubicGrid,
  fieldOfView,
  invert,
  multiply,
  resampled,
  transformPoint,
  translation,
} from './space.ts';
import type { Matrix4 } from './space.ts';

/** Mirrored mutual information must exceed the plain one by this factor before a pair is refused. */
const MIRROR_MARGIN = 1.25;
/** Norm of an affine map's stretch less one: 20 % along one axis and 10 % along another are within it. */
const MOST_STRETCH = 0.25;

/** In one frame of reference what the scanner says. */
export function sharedFrame(fixed: Prepared, moving: Prepared): Matrix4 | undefined {
  const [a, b] = [fixed.volume.geometry, moving.volume.geometry];
  return a.frameOfReferenceUID !== undefined && a.frameOfReferenceUID === b.frameOfReferenceUID ? IDENTITY : undefined;
}

/** Where to begin: in one frame of reference as the scanner says; else the best of three by similarity. */
export function initialAlignment(fixed: Prepared, moving: Prepared): Matrix4 {
  const shared = sharedFrame(fixed, moving);
  if (shared !== undefined) return shared;
  const [a, b] = [fixed.volume.geometry, moving.volume.geometry];
  const between = (from: Vector3, to: Vector3) => translation([to[0] - from[0], to[1] - from[1], to[2] - from[2]]);
  const candidates = [between(centreOf(a), centreOf(b)), between(centreOfMass(fixed), centreOfMass(moving)), IDENTITY];
  const grid = cubicGrid(a, 4, 60_000);
  const image = normalised(resampled(fixed.volume, grid, IDENTITY), fixed.window);
  const scores = candidates.map((move) => {
    const view = fieldOfView(b, grid, move);
    const seen = view.reduce((sum, one) => sum + one, 0) / view.length;
    const other = normalised(resampled(moving.volume, grid, move), moving.window);
    // A sliver of overlap can look alike by chance: similarity counts by how much of the grid it speaks for.
    return seen * (nmi(image, other, view) - 1);
  });
  return candidates[scores.indexOf(Math.max(...scores))] ?? IDENTITY;
}

/**
 * Whether the moving series, mirrored left to right about its middle and aligned in the same way, is clearly more like the
 * fixed one: then one of the two has its sides exchanged. A symmetric head stays undecided and passes.
 */
export function mirrorLooksBetter(fixed: Prepared, moving: Prepared, move: Matrix4): boolean {
  const [middle] = transformPoint(move, centreOfMass(fixed));
  const mirror: Matrix4 = [-1, 0, 0, 2 * middle, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  const mirrored = alignFrom(fixed, moving, multiply(mirror, move));
  const [as, exchanged] = [move, mirrored].map((map) => similarityThrough(fixed, moving, map).nmi - 1);
  return (exchanged ?? 0) > MIRROR_MARGIN * (as ?? 0);
}

/** Angle of the rotation in a map, degrees; of an affine one that of the rotation nearest to it. */
export function rotationDegrees(m: Matrix4): number {
  const r = nearestRotation(m);
  const cosine = (at(r, 0) + at(r, 5) + at(r, 10) - 1) / 2;
  return (Math.acos(Math.min(1, Math.max(-1, cosine))) * 180) / Math.PI;
}

/** One person does not grow so much between two examinations. @throws Refusal PipelineRefused */
export function refuseStretch(m: Matrix4): void {
  const stretch = multiply(invert(nearestRotation(m)), m);
  const norm = Math.sqrt(
    [0, 1, 2, 4, 5, 6, 8, 9, 10].reduce((sum, n) => sum + (at(stretch, n) - (n % 5 === 0 ? 1 : 0)) ** 2, 0),
  );
  if (norm <= MOST_STRETCH) return;
  throw new Refusal(
    'PipelineRefused',
    `the affine map stretches by ${norm.toFixed(2)} (norm of what it adds to a rotation); at most ${MOST_STRETCH} is expected`,
  );
}

/** By Newton's iteration for the polar decomposition (Higham 1986); of a rotation, that rotation. */
function nearestRotation(m: Matrix4): Matrix4 {
  let r: Matrix4 = [
    at(m, 0),
    at(m, 1),
    at(m, 2),
    0,
    at(m, 4),
    at(m, 5),
    at(m, 6),
    0,
    at(m, 8),
    at(m, 9),
    at(m, 10),
    0,
    0,
    0,
    0,
    1,
  ];
  for (let round = 0; round < 12; round++) {
    const back = invert(r);
    r = r.map((one, n) => (one + at(back, 4 * (n % 4) + Math.floor(n / 4))) / 2);
  }
  return r;
}

/** Similarity of the two images through `move`, on a coarse grid: correlation and mutual information. */
export function similarityThrough(fixed: Prepared, moving: Prepared, move: Matrix4): { ncc: number; nmi: number } {
  const grid = cubicGrid(fixed.volume.geometry, 2, 200_000);
  const a = normalised(resampled(fixed.volume, grid, IDENTITY), fixed.window);
  const b = normalised(resampled(moving.volume, grid, move), moving.window);
  const view = fieldOfView(moving.volume.geometry, grid, move);
  const body = bodyMask(a);
  const mask = view.map((inView, n) => inView & at(body, n));
  return { ncc: ncc(a, b, mask), nmi: nmi(a, b, mask) };
}
