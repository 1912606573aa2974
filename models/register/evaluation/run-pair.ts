/**
 * Registers a pair of raw volumes for evaluate.py: reads FOLDER/fixed.{json,f32} and moving.{json,f32}, writes
 * FOLDER/field.f32 (mm) and result.json.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Volume, VolumeGeometry } from '../../../src/dicom/volume.ts';
import { closePool, openPool, runRegistration } from '../../../src/pipelines/pool.ts';
import { DEFAULT_SETTINGS } from '../../../src/pipelines/registration-settings.ts';

const folder = process.argv[2] ?? '.';
const threads = 2;

function readVolume(role: string): Volume {
  const { modality, ...geometry } = JSON.parse(
    readFileSync(join(folder, `${role}.json`), 'utf8'),
  ) as VolumeGeometry & { modality: string };
  const bytes = readFileSync(join(folder, `${role}.f32`));
  const voxels = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  return { geometry, modality, voxels };
}

const modelsFolder = join(import.meta.dirname, '..', '..');
const pool = await openPool({ threads, maxMemoryMb: 4000, modelsFolder });
try {
  const start = performance.now();
  const pair = { fixed: readVolume('fixed'), moving: readVolume('moving'), settings: DEFAULT_SETTINGS };
  const { field, rigid, quality, verdict } = await runRegistration(pool, pair);
  const seconds = (performance.now() - start) / 1000;
  const peakMb = Math.round(process.resourceUsage().maxRSS / 1000);
  writeFileSync(join(folder, 'field.f32'), new Uint8Array(field.vectorsMm.buffer));
  const result = { geometry: field.geometry, rigid, quality, verdict, seconds, peakMb };
  writeFileSync(join(folder, 'result.json'), JSON.stringify(result));
} finally {
  await closePool(pool);
}
