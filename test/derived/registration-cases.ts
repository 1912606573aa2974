/** A registration with a known answer: a moving phantom, a fixed grid, a rigid move and a smooth field, resampled once by definition. */
import type { DisplacementField } from '../../src/derived/deformable-registration.ts';
import {
  indexToPatient,
  patientToIndex,
  transformPoint,
  type Vector3,
  type Volume,
  type VolumeGeometry,
} from '../../src/dicom/volume.ts';

/** Rotation about z, then x, then a shift: fixed point to moving point. */
export function rigidMove(degreesZ: number, degreesX: number, shift: Vector3): number[] {
  const [z, x] = [degreesZ, degreesX].map((degrees) => (degrees * Math.PI) / 180) as [number, number];
  const [cz, sz, cx, sx] = [Math.cos(z), Math.sin(z), Math.cos(x), Math.sin(x)];
  return [cz, -sz, 0, shift[0], cx * sz, cx * cz, -sx, shift[1], sx * sz, sx * cz, cx, shift[2], 0, 0, 0, 1];
}

export function smoothWarp([x, y, z]: Vector3): Vector3 {
  return [2.5 * Math.sin(y / 18), -2 * Math.sin(z / 16 + 0.5), 2 * Math.cos(x / 20)];
}

/** p_moving = rigid (p + warp(p)) on a grid, as displacement. */
export function fieldOn(
  geometry: VolumeGeometry,
  rigid: readonly number[],
  warp: (p: Vector3) => Vector3,
): DisplacementField {
  const vectorsMm = new Float32Array(3 * geometry.columns * geometry.rows * geometry.slices);
  const matrix = indexToPatient(geometry);
  let at = 0;
  for (let k = 0; k < geometry.slices; k++)
    for (let j = 0; j < geometry.rows; j++)
      for (let i = 0; i < geometry.columns; i++) {
        const p = transformPoint(matrix, [i, j, k]);
        const moved = move(rigid, warp, p);
        for (const axis of [0, 1, 2] as const) vectorsMm[at++] = moved[axis] - p[axis];
      }
  return { geometry, vectorsMm };
}

function move(rigid: readonly number[], warp: (p: Vector3) => Vector3, p: Vector3): Vector3 {
  const d = warp(p);
  return transformPoint(rigid, [p[0] + d[0], p[1] + d[1], p[2] + d[2]]);
}

/** The moving volume at rigid (p + warp(p)) for every voxel p of the target, linear; `padding` outside. */
export function resample(
  moving: Volume,
  target: VolumeGeometry,
  rigid: readonly number[],
  warp: (p: Vector3) => Vector3,
  padding: number,
): Volume {
  const { columns, rows, slices } = moving.geometry;
  const toMoving = patientToIndex(moving.geometry);
  const toPatient = indexToPatient(target);
  const voxels = new Float32Array(target.columns * target.rows * target.slices);
  const value = (i: number, j: number, k: number): number => moving.voxels[(k * rows + j) * columns + i] ?? NaN;
  let at = 0;
  for (let k = 0; k < target.slices; k++)
    for (let j = 0; j < target.rows; j++)
      for (let i = 0; i < target.columns; i++, at++) {
        const [x, y, z] = transformPoint(toMoving, move(rigid, warp, transformPoint(toPatient, [i, j, k])));
        if (!(x >= 0 && y >= 0 && z >= 0 && x <= columns - 1 && y <= rows - 1 && z <= slices - 1)) {
          voxels[at] = padding;
          continue;
        }
        const [a, b, c] = [
          Math.min(Math.floor(x), columns - 2),
          Math.min(Math.floor(y), rows - 2),
          Math.min(Math.floor(z), slices - 2),
        ];
        let sum = 0;
        for (let corner = 0; corner < 8; corner++) {
          const [da, db, dc] = [corner & 1, (corner >> 1) & 1, corner >> 2];
          const weight = (da ? x - a : 1 - x + a) * (db ? y - b : 1 - y + b) * (dc ? z - c : 1 - z + c);
          sum += weight * value(a + da, b + db, c + dc);
        }
        voxels[at] = sum;
      }
  return { geometry: target, voxels, modality: moving.modality };
}
