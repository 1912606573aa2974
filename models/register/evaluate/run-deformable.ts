/** The deformable step as the pipeline runs it, on FOLDER/{fixed,moving}.f32 and pair.json; writes field.f32, prints seconds, CPU, memory. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEFORMATION, deform } from '../../../src/pipelines/deformation.ts';
import { displacementField, vectorsOn } from '../../../src/pipelines/displacement.ts';
import { openGraph } from '../../../src/pipelines/graph-session.ts';
import { loadModel } from '../../../src/pipelines/manifest.ts';
import { DEFAULT_SETTINGS } from '../../../src/pipelines/registration-settings.ts';
import { pairOn, prepare } from '../../../src/pipelines/prepared.ts';
import { IDENTITY, cubicGrid } from '../../../src/pipelines/space.ts';
import { volumeOf } from '../../cases.ts';

interface PairFile {
  readonly shape: readonly [number, number, number];
  readonly spacing: number;
  readonly modalities: readonly [string, string];
}

/** As many as the anchors have. */
const THREADS = 2;

const folder = process.argv[2] ?? '.';
const { shape, spacing, modalities } = JSON.parse(readFileSync(join(folder, 'pair.json'), 'utf8')) as PairFile;
const [nz, ny, nx] = shape;

function read(role: string, modality: string) {
  const bytes = readFileSync(join(folder, `${role}.f32`));
  const voxels = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  return volumeOf(voxels, [nx, ny, nz], [spacing, spacing, spacing], modality);
}

const plan = process.argv[3] === undefined ? DEFORMATION : (JSON.parse(process.argv[3]) as typeof DEFORMATION);
const [fixed, moving] = [read('fixed', modalities[0]), read('moving', modalities[1])];
const session = await openGraph(loadModel(join(import.meta.dirname, '..')), 'deform-search', THREADS);
const [begun, used] = [performance.now(), process.cpuUsage()];
const grid = cubicGrid(fixed.geometry, spacing, DEFAULT_SETTINGS.maxWorkingVoxels);
const working = grid.spacingMm[0];
const images = pairOn(grid, prepare('fixed', fixed, working), prepare('moving', moving, working), IDENTITY);
const field = displacementField(await deform(session, images, { plan, threads: THREADS }), IDENTITY);
const seconds = (performance.now() - begun) / 1000;
const { user, system } = process.cpuUsage(used);
await session.release();

const vectors = vectorsOn(field, fixed.geometry);
const count = nx * ny * nz;
const voxels = new Float32Array(3 * count);
for (let n = 0; n < count; n++)
  for (let c = 0; c < 3; c++) voxels[c * count + n] = (vectors[3 * n + 2 - c] ?? Number.NaN) / spacing;
writeFileSync(join(folder, 'field.f32'), new Uint8Array(voxels.buffer));
const peakMb = process.resourceUsage().maxRSS / 1024;
process.stdout.write(`${JSON.stringify({ seconds, cpu: (user + system) / 1e6, peakMb })}\n`);
