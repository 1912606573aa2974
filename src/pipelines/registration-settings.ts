/** How a registration may be asked for, and what it costs. */
import { Refusal } from '../dicom/refusal.ts';
import type { Volume } from '../dicom/volume.ts';
import { voxelCount } from './space.ts';

/** rigid: rotation and translation only. affine: stretched and sheared besides. deformable: rigid, then a field. */
export const TRANSFORMS = ['rigid', 'affine', 'deformable'] as const;
export type Transform = (typeof TRANSFORMS)[number];

export interface RegistrationSettings {
  readonly transform: Transform;
  /** Size of the working grid; time and memory grow with it. */
  readonly maxWorkingVoxels: number;
}

export interface RegistrationPair {
  readonly fixed: Volume;
  readonly moving: Volume;
  readonly settings: RegistrationSettings;
}

export const DEFAULT_SETTINGS: RegistrationSettings = { transform: 'deformable', maxWorkingVoxels: 1_100_000 };

/** The pipeline that a registration is: deformable where nothing else was asked for. */
export function registrationOf({ transform }: { readonly transform?: Transform }): 'register' | 'align' {
  return transform === undefined || transform === 'deformable' ? 'register' : 'align';
}

/** Below this a grid shows too little of any body; above it hours pass. */
const WORKING_VOXELS: readonly [number, number] = [100_000, 7_000_000];
const BYTES_PER_WORKING_VOXEL = 800;
const FIXED_MB = 150;

/** Settings as a rule gives them; an unknown key or a value out of bounds is refused. */
export function parseRegistrationSettings(given: Readonly<Record<string, unknown>>): RegistrationSettings {
  const settings = { ...DEFAULT_SETTINGS, ...given };
  for (const key of Object.keys(given)) {
    if (!(key in DEFAULT_SETTINGS)) {
      throw new Refusal(
        'BadConfiguration',
        `register has no setting ${key}; expected ${Object.keys(DEFAULT_SETTINGS).join(', ')}`,
      );
    }
  }
  if (!TRANSFORMS.includes(settings.transform))
    throw new Refusal('BadConfiguration', `register: transform must be one of ${TRANSFORMS.join(', ')}`);
  const [least, most] = WORKING_VOXELS;
  if (
    !Number.isInteger(settings.maxWorkingVoxels) ||
    settings.maxWorkingVoxels < least ||
    settings.maxWorkingVoxels > most
  ) {
    throw new Refusal('BadConfiguration', `register: maxWorkingVoxels must be an integer from ${least} to ${most}`);
  }
  return settings;
}

/** Peak of a registration with its input and result, MB: fitted to measured runs and rounded up (models/register/evaluation). */
export function registrationMemoryMb(pair: RegistrationPair): number {
  return Math.ceil(ownMb(pair) + (BYTES_PER_WORKING_VOXEL * pair.settings.maxWorkingVoxels) / 1e6);
}

/** The settings with the working grid made as small as the memory asks. @throws Refusal PipelineRefused when nothing fits */
export function settingsWithin(pair: RegistrationPair, limitMb: number): RegistrationSettings {
  const affordable = Math.floor(((limitMb - ownMb(pair)) * 1e6) / BYTES_PER_WORKING_VOXEL);
  if (affordable < WORKING_VOXELS[0]) {
    const least = Math.ceil(ownMb(pair) + (BYTES_PER_WORKING_VOXEL * WORKING_VOXELS[0]) / 1e6);
    throw new Refusal('PipelineRefused', `registration needs at least ${least} MB; ${limitMb} MB are allowed`);
  }
  return { ...pair.settings, maxWorkingVoxels: Math.min(pair.settings.maxWorkingVoxels, affordable) };
}

/** Both series at native resolution, or the moving one and the result, which lies on the fixed grid; and what is there before any work. */
function ownMb({ fixed, moving }: RegistrationPair): number {
  return FIXED_MB + (4 * (voxelCount(fixed.geometry) + voxelCount(moving.geometry))) / 1e6;
}
