/** A displacement in patient space, and the moving series seen through it. */
import { Refusal } from '../dicom/refusal.ts';
import type { Volume, VolumeGeometry } from '../dicom/volume.ts';
import type { GridField } from './field-quality.ts';
import {
  at,
  indexToPatient,
  isInside,
  multiply,
  patientToIndex,
  sampleLinear,
  transformPoint,
  voxelCount,
  walk,
} from './space.ts';
import type { Matrix4 } from './space.ts';

/** A displacement per voxel of a grid in fixed space: p_moving = p_fixed + v, the rigid part included. */
export interface DisplacementField {
  readonly geometry: VolumeGeometry;
  /** x, y, z in mm for each voxel, voxels in the order of Volume. */
  readonly vectorsMm: Float32Array;
}

/** First the deformation within fixed space, then the rigid move: v(p) = move(p + d(p)) - p. */
export function displacementField({ grid, voxels }: GridField, move: Matrix4): DisplacementField {
  const count = voxelCount(grid);
  const vectorsMm = new Float32Array(3 * count);
  const place = indexToPatient(grid);
  const whole = multiply(move, place);
  let n = 0;
  for (let k = 0; k < grid.slices; k++) {
    for (let j = 0; j < grid.rows; j++) {
      for (let i = 0; i < grid.columns; i++, n++) {
        const from = transformPoint(place, [i, j, k]);
        const to = transformPoint(whole, [i + at(voxels, 2 * count + n), j + at(voxels, count + n), k + at(voxels, n)]);
        vectorsMm[3 * n] = to[0] - from[0];
        vectorsMm[3 * n + 1] = to[1] - from[1];
        vectorsMm[3 * n + 2] = to[2] - from[2];
      }
    }
  }
  return { geometry: grid, vectorsMm };
}

/**
 * The moving series on `target`, slice after slice, linear, from its own voxels: interpolated once. Outside the moving
 * field of view it is `padding`. The field's grid covers all voxel centres of `target`.
 */
export function resampleThrough(
  moving: Volume,
  target: VolumeGeometry,
  field: DisplacementField,
  padding: number,
): Volume {
  const voxels = new Float32Array(voxelCount(target));
  const toGrid = multiply(patientToIndex(field.geometry), indexToPatient(target));
  const toMoving = patientToIndex(moving.geometry);
  // Moving index = toMoving (p + v): linear in the target index plus linear in v.
  const direct = multiply(toMoving, indexToPatient(target));
  const vector = new Float64Array(3);
  let [n, inside] = [0, 0];
  for (let k = 0; k < target.slices; k++) {
    for (let j = 0; j < target.rows; j++) {
      for (let i = 0; i < target.columns; i++, n++) {
        sampleVector(field, along(toGrid, 0, i, j, k), along(toGrid, 4, i, j, k), along(toGrid, 8, i, j, k), vector);
        const x = along(direct, 0, i, j, k) + turned(toMoving, 0, vector);
        const y = along(direct, 4, i, j, k) + turned(toMoving, 4, vector);
        const z = along(direct, 8, i, j, k) + turned(toMoving, 8, vector);
        const seen = isInside(moving.geometry, x, y, z);
        voxels[n] = seen ? sampleLinear(moving.voxels, moving.geometry, x, y, z) : padding;
        if (seen) inside += 1;
      }
    }
  }
  if (inside === 0) throw new Refusal('PipelineRefused', 'no voxel of fixed lies in the moving field of view');
  return { geometry: target, voxels, modality: moving.modality };
}

/** The field at the voxel centres of a grid in fixed space: x, y, z in mm for each voxel. */
export function vectorsOn(field: DisplacementField, target: VolumeGeometry): Float32Array {
  const vectors = new Float32Array(3 * voxelCount(target));
  const vector = new Float64Array(3);
  walk(target, multiply(patientToIndex(field.geometry), indexToPatient(target)), (n, x, y, z) => {
    sampleVector(field, x, y, z, vector);
    vectors.set(vector, 3 * n);
  });
  return vectors;
}

function along(m: Matrix4, r: 0 | 4 | 8, i: number, j: number, k: number): number {
  return at(m, r) * i + at(m, r + 1) * j + at(m, r + 2) * k + at(m, r + 3);
}

function turned(m: Matrix4, r: 0 | 4 | 8, vector: Float64Array): number {
  return at(m, r) * at(vector, 0) + at(m, r + 1) * at(vector, 1) + at(m, r + 2) * at(vector, 2);
}

/** Linear interpolation of the three components at once, into `result`; beyond the edge the edge goes on. */
function sampleVector(field: DisplacementField, x: number, y: number, z: number, result: Float64Array): void {
  const { columns, rows, slices } = field.geometry;
  const vectors = field.vectorsMm;
  const cx = x < 0 ? 0 : x > columns - 1 ? columns - 1 : x;
  const cy = y < 0 ? 0 : y > rows - 1 ? rows - 1 : y;
  const cz = z < 0 ? 0 : z > slices - 1 ? slices - 1 : z;
  const i = Math.floor(cx);
  const j = Math.floor(cy);
  const k = Math.floor(cz);
  const fx = cx - i;
  const fy = cy - j;
  const fz = cz - k;
  const dx = fx > 0 ? 3 : 0;
  const dy = fy > 0 ? 3 * columns : 0;
  const dz = fz > 0 ? 3 * columns * rows : 0;
  const n = 3 * ((k * rows + j) * columns + i);
  const gx = 1 - fx;
  const gy = 1 - fy;
  const gz = 1 - fz;
  for (let c = 0; c < 3; c++) {
    const p = n + c;
    result[c] =
      gz *
        (gy * (gx * at(vectors, p) + fx * at(vectors, p + dx)) +
          fy * (gx * at(vectors, p + dy) + fx * at(vectors, p + dy + dx))) +
      fz *
        (gy * (gx * at(vectors, p + dz) + fx * at(vectors, p + dz + dx)) +
          fy * (gx * at(vectors, p + dz + dy) + fx * at(vectors, p + dz + dy + dx)));
  }
}
