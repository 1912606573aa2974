/**
 * Deformable Spatial Registration (PS3.3 A.39.2, C.20.3): how to sample the moving series on the fixed one. Opposite to Spatial
 * Registration it goes from the registered (fixed) to the source (moving) frame of reference, PS3.3 C.20.3.1.1:
 * `moving = M_post (M_pre fixed + d(fixed))`, with d on a grid in fixed space.
 */
import { createHash } from 'node:crypto';
import { Refusal } from '../dicom/refusal.ts';
import { indexToPatient, patientToIndex, transformPoint, type Vector3, type VolumeGeometry } from '../dicom/volume.ts';
import {
  imageReferences,
  inverse,
  matrixItem,
  registrationType,
  sidesOf,
  writeRegistration,
  type RegistrationRequest,
} from './registration-object.ts';
import type { DerivedObject } from './provenance.ts';

export const DEFORMABLE_SPATIAL_REGISTRATION = '1.2.840.10008.5.1.4.1.1.66.3';
const IDENTITY = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
const DEFAULT_GRID_MM = 4;

/** Displacements on a grid in fixed space: moving point = fixed point + vector, the rigid part included. LPS mm. */
export interface DisplacementField {
  readonly geometry: VolumeGeometry;
  /** x, y, z for each voxel, voxels in the order of Volume. */
  readonly vectorsMm: Float32Array;
}

export interface DeformableRegistrationRequest extends RegistrationRequest {
  readonly field: DisplacementField;
  /** Least distance of grid points. Default 4 mm: finer says nothing that a smooth field holds, and viewers load it whole. */
  readonly gridMm?: number;
}

/** @throws Refusal PipelineRefused for a matrix without inverse, vectors that are no numbers, or series without one frame of reference */
export function deriveDeformableRegistration(request: DeformableRegistrationRequest): DerivedObject {
  const sides = sidesOf(request);
  const grid = coarseGrid(request.field.geometry, request.gridMm ?? DEFAULT_GRID_MM);
  const vectors = deformation(request.field, request.rigid, grid);
  const bytes = new Uint8Array(vectors.buffer);
  return writeRegistration(sides, request.provenance, {
    sopClassUID: DEFORMABLE_SPATIAL_REGISTRATION,
    label: 'DEFORMABLE_REG',
    fingerprint: createHash('sha256').update(bytes).update(request.rigid.join(' ')).digest('hex'),
    content: {
      DeformableRegistrationSequence: [
        {
          SourceFrameOfReferenceUID: sides.moving.frameOfReferenceUID,
          ReferencedImageSequence: imageReferences(sides.moving),
          ...registrationType(request.provenance),
          PreDeformationMatrixRegistrationSequence: [matrixItem(IDENTITY)],
          DeformableRegistrationGridSequence: [
            {
              ImagePositionPatient: decimals(grid.originMm, 6),
              ImageOrientationPatient: decimals([...grid.axes[0], ...grid.axes[1]], 12),
              GridDimensions: [grid.columns, grid.rows, grid.slices],
              GridResolution: [...grid.spacingMm],
              VectorGridData: vectors.buffer as ArrayBuffer,
            },
          ],
          PostDeformationMatrixRegistrationSequence: [matrixItem(request.rigid)],
        },
      ],
    },
  });
}

function decimals(values: readonly number[], digits: number): string[] {
  return values.map((value) => String(Number(value.toFixed(digits))));
}

/** A grid over the same extent with at least `leastMm` between points; its third axis is the product of the first two, as C.20.3 has it. */
function coarseGrid(fine: VolumeGeometry, leastMm: number): VolumeGeometry {
  const [row, column, depth] = fine.axes;
  const product: Vector3 = [
    row[1] * column[2] - row[2] * column[1],
    row[2] * column[0] - row[0] * column[2],
    row[0] * column[1] - row[1] * column[0],
  ];
  const mirrored = product.reduce((sum, value, axis) => sum + value * (depth[axis] ?? 0), 0) < 0;
  const originMm = mirrored ? transformPoint(indexToPatient(fine), [0, 0, fine.slices - 1]) : fine.originMm;
  const steps = [fine.columns, fine.rows, fine.slices].map((count, axis) => {
    const extent = (count - 1) * (fine.spacingMm[axis] ?? 1);
    const points = Math.max(1, Math.floor(extent / leastMm + 1e-6) + 1);
    return points === 1 ? { points, spacing: Math.max(leastMm, extent) } : { points, spacing: extent / (points - 1) };
  });
  const [x, y, z] = steps as [Step, Step, Step];
  return {
    columns: x.points,
    rows: y.points,
    slices: z.points,
    spacingMm: [x.spacing, y.spacing, z.spacing],
    originMm,
    axes: [row, column, product],
    frameOfReferenceUID: fine.frameOfReferenceUID,
  };
}

interface Step {
  readonly points: number;
  readonly spacing: number;
}

/** d = rigid⁻¹(p + v) − p at each point of the grid: what is left to deform before the rigid move. */
function deformation(field: DisplacementField, rigid: readonly number[], grid: VolumeGeometry): Float32Array {
  const toIndex = patientToIndex(field.geometry);
  const toFixed = inverse(rigid);
  const toPatient = indexToPatient(grid);
  const vectors = new Float32Array(3 * grid.columns * grid.rows * grid.slices);
  let at = 0;
  for (let k = 0; k < grid.slices; k++)
    for (let j = 0; j < grid.rows; j++)
      for (let i = 0; i < grid.columns; i++) {
        const place = transformPoint(toPatient, [i, j, k]);
        const vector = sample(field, transformPoint(toIndex, place));
        const before = transformPoint(toFixed, [place[0] + vector[0], place[1] + vector[1], place[2] + vector[2]]);
        for (const axis of [0, 1, 2] as const) vectors[at++] = before[axis] - place[axis];
      }
  if (!vectors.every(Number.isFinite))
    throw new Refusal('PipelineRefused', 'the displacement field has vectors that are no finite numbers');
  return vectors;
}

/** Linear interpolation; beyond the edge the edge's own vector. */
function sample(field: DisplacementField, index: Vector3): Vector3 {
  const { geometry, vectorsMm } = field;
  const size = [geometry.columns, geometry.rows, geometry.slices];
  const low = index.map((value, axis) => Math.min(Math.max(value, 0), (size[axis] ?? 1) - 1));
  const base = low.map((value, axis) => Math.min(Math.floor(value), Math.max(0, (size[axis] ?? 1) - 2)));
  const result = [0, 0, 0];
  for (let corner = 0; corner < 8; corner++) {
    let weight = 1;
    const place = base.map((value, axis) => {
      const upper = (corner >> axis) & 1;
      const share = (low[axis] ?? 0) - value;
      weight *= upper === 1 ? share : 1 - share;
      return value + upper;
    });
    if (weight === 0) continue;
    const at = 3 * (((place[2] ?? 0) * geometry.rows + (place[1] ?? 0)) * geometry.columns + (place[0] ?? 0));
    for (const axis of [0, 1, 2]) result[axis] = (result[axis] ?? 0) + weight * (vectorsMm[at + axis] ?? NaN);
  }
  return [result[0] ?? 0, result[1] ?? 0, result[2] ?? 0];
}
