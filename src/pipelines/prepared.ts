/** A series made ready to be aligned, and two of them on one grid. */
import { Refusal } from '../dicom/refusal.ts';
import type { Volume, VolumeGeometry } from '../dicom/volume.ts';
import type { GridPair } from './deformation.ts';
import { normalised, percentileWindow, type Window } from './similarity.ts';
import { IDENTITY, at, averaged, fieldOfView, resampled, type Matrix4 } from './space.ts';

/** A series with its intensity window. */
export interface Prepared {
  readonly volume: Volume;
  readonly window: Window;
}

export function prepare(role: 'fixed' | 'moving', volume: Volume, spacingMm: number): Prepared {
  const coarse = averaged(volume, spacingMm);
  const window = percentileWindow(coarse.voxels);
  if (!(window.high > window.low)) {
    throw new Refusal('PipelineRefused', `${role} shows nothing: 99 % of its voxels are equal`);
  }
  return { volume: coarse, window };
}

/** Both series on one grid of fixed space, about [0, 1]. */
export function pairOn(grid: VolumeGeometry, fixed: Prepared, moving: Prepared, move: Matrix4): GridPair {
  const spacing = at(grid.spacingMm, 0);
  const see = ({ volume, window }: Prepared, map: Matrix4) =>
    normalised(resampled(averaged(volume, spacing), grid, map), window);
  const seen = fieldOfView(moving.volume.geometry, grid, move);
  return { grid, fixed: see(fixed, IDENTITY), moving: see(moving, move), seen };
}
