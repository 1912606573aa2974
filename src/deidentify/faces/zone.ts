/**
 * Which places of a head are its face: everything in front of and beside a smooth surface that follows from the size of the cranium alone,
 * so that what remains has no shape of its own to be recognised by. Eyes, nose, mouth, cheeks and chin lie in front of it, the outer ears
 * beside it; the brain, down to the poles of the temporal lobes and the brain stem, behind it.
 */
import type { Vector3 } from '../../dicom/slices.ts';

/** All lengths as parts of the half axes, heights from the middle of the cranium. */
const BROW = 0.18;
const BELOW_CHIN = -1.8;
const EARS_FROM = 0.1;
const EARS_TO = -1.15;
const EARS_BACK = 0.5;
/** How far the surface lies under the skin of an average head: little at the forehead, where the brain is near, more at the eyes. */
const UNDER_BROW = 0.026;
const UNDER_EYES = 0.088;
const EYES = -0.25;
/** How far in front of the middle the cut ends below: in front of brain stem and spine. */
const BACK_BELOW = -0.27;
const BACK_FROM = -0.7;
/** How deep it goes: less in the middle, where the nose is, than beside it, where the poles of the temporal lobes are. */
const BASE = 1.02;
const BASE_BESIDE = 0.45;
const BESIDE = 0.62;
const EARS_UNDER = 0.05;

/** Of places in the ellipsoid's own axes, mm to the left, to the back, up; and to the back and up in the level ones. */
export type Zone = (x: number, y: number, z: number, back: number, up: number) => boolean;

export function zoneOf([a, b, c]: Vector3): Zone {
  const earA = a * (1 - EARS_UNDER);
  const earB = b * (1 - EARS_UNDER);
  return (x, y, z, back, up) => {
    const height = up / c;
    if (height > BROW || height < BELOW_CHIN) return false;
    if (back < backOf(height) * b) {
      const under = underOf(height);
      const beside = Math.min(1, (x / (BESIDE * a)) ** 2);
      const down = z < 0 ? z / c / (BASE + BASE_BESIDE * beside) : z / c;
      const across = x / (a * (1 - Math.min(under, EARS_UNDER)));
      if (across ** 2 + (y / (b * (1 - under))) ** 2 + down ** 2 > 1) return true;
    }
    if (height > EARS_FROM || height < EARS_TO || back > EARS_BACK * b) return false;
    return (x / earA) ** 2 + (back / earB) ** 2 > 1;
  };
}

function underOf(height: number): number {
  const part = Math.max(0, Math.min(1, (BROW - height) / (BROW - EYES)));
  return UNDER_BROW + part * (UNDER_EYES - UNDER_BROW);
}

function backOf(height: number): number {
  return BACK_BELOW * Math.max(0, Math.min(1, height / BACK_FROM));
}

/** Seen from the front, where a face is: from the eyes to the mouth, and between the outer corners of the eyes. */
export const FACE_WINDOW = { acrossOfWidth: 0.6, fromHeight: -0.2, toHeight: -1.15 } as const;
