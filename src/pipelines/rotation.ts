/** Rotations from a vector. */
import type { Vector3 } from '../dicom/volume.ts';
import { IDENTITY } from './space.ts';
import type { Matrix4 } from './space.ts';

/** Rotation by the vector's length about its direction (Rodrigues). */
export function rotationAbout([x, y, z]: Vector3): Matrix4 {
  const angle = Math.hypot(x, y, z);
  if (angle === 0) return IDENTITY;
  const half = Math.sin(angle / 2) / angle;
  return rotationOf([Math.cos(angle / 2), half * x, half * y, half * z]);
}

/** Of a unit quaternion. */
function rotationOf([w, x, y, z]: readonly [number, number, number, number]): Matrix4 {
  return [
    w * w + x * x - y * y - z * z,
    2 * (x * y - w * z),
    2 * (x * z + w * y),
    0,
    2 * (x * y + w * z),
    w * w - x * x + y * y - z * z,
    2 * (y * z - w * x),
    0,
    2 * (x * z - w * y),
    2 * (y * z + w * x),
    w * w - x * x - y * y + z * z,
    0,
    0,
    0,
    0,
    1,
  ];
}
