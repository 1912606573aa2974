/** The moving series through one matrix: rigid and affine registrations need no field for it. */
import { Refusal } from '../dicom/refusal.ts';
import type { Volume, VolumeGeometry } from '../dicom/volume.ts';
import { indexToPatient, isInside, multiply, patientToIndex, sampleLinear, voxelCount, walk } from './space.ts';
import type { Matrix4 } from './space.ts';

/**
 * On `target`, linear, from its own voxels: interpolated once. Outside the moving field of view it is `padding`.
 * @throws Refusal PipelineRefused when nothing of the target is in view
 */
export function resampleAlong(
  moving: Volume,
  target: VolumeGeometry,
  { move, padding }: { readonly move: Matrix4; readonly padding: number },
): Volume {
  const { geometry, voxels: from, modality } = moving;
  const voxels = new Float32Array(voxelCount(target)).fill(padding);
  let inside = 0;
  walk(target, multiply(patientToIndex(geometry), multiply(move, indexToPatient(target))), (n, x, y, z) => {
    if (!isInside(geometry, x, y, z)) return;
    voxels[n] = sampleLinear(from, geometry, x, y, z);
    inside += 1;
  });
  if (inside === 0) throw new Refusal('PipelineRefused', 'no voxel of fixed lies in the moving field of view');
  return { geometry: target, voxels, modality };
}
