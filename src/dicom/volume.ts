/** A series as one volume of voxels with its place in the patient: LPS millimetres (PS3.3 C.7.6.2.1.1). */

export type Vector3 = readonly [number, number, number];

/**
 * Where a regular grid of voxels lies. Voxel (i, j, k) = (column, row, slice), counted from 0, has its centre at
 * `origin + i * spacing[0] * axes[0] + j * spacing[1] * axes[1] + k * spacing[2] * axes[2]`.
 * axes[0] runs along a row (increasing column), axes[1] down a column, axes[2] from slice to slice; unit vectors, orthogonal.
 */
export interface VolumeGeometry {
  readonly columns: number;
  readonly rows: number;
  readonly slices: number;
  readonly spacingMm: Vector3;
  readonly originMm: Vector3;
  readonly axes: readonly [Vector3, Vector3, Vector3];
  readonly frameOfReferenceUID: string | undefined;
}

/** Voxels in real world values (HU after rescale; arbitrary units in MR), index = (k * rows + j) * columns + i. */
export interface Volume {
  readonly geometry: VolumeGeometry;
  readonly voxels: Float32Array;
  readonly modality: string;
}
