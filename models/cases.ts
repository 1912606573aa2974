/** What evaluations of all models share: cases from fixed seeds, a run of ours with its time and memory, rows as the command reads them. */
import { loadManifest } from '../src/pipelines/zoo-manifest.ts';
import { openModel, runModel, type OpenedModel } from '../src/pipelines/zoo.ts';
import { axialGrid, type Volume } from '../src/dicom/volume.ts';
import { join } from 'node:path';
import type { Row } from './evaluate.ts';

export interface Random {
  uniform(low: number, high: number): number;
  normal(): number;
}

/** The same numbers for the same seed (mulberry32, public domain; Box-Muller). */
export function random(seed: number): Random {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return {
    uniform: (low, high) => low + (high - low) * next(),
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  };
}

export function volumeOf(
  voxels: Float32Array,
  size: readonly [number, number, number],
  spacingMm: readonly [number, number, number],
  modality: string,
): Volume {
  return {
    voxels,
    modality,
    geometry: axialGrid(size, spacingMm),
  };
}

/** Opened as the pipeline's worker opens it, with two threads. */
export function openOurs(id: string): Promise<OpenedModel> {
  return openModel(loadManifest(join(import.meta.dirname, id)), 2);
}

export interface OurRun {
  readonly voxels: Float32Array;
  readonly seconds: number;
  /** Of the processor, all threads: what load on the machine changes little. */
  readonly processorSeconds: number;
  readonly peakMb: number;
}

/**
 * The shipped pipeline on one volume, gates and the check of what is foreign off: an evaluation shows what they would refuse. `attributes`:
 * what the steps ask of the source's header.
 */
export async function runOurs(
  opened: OpenedModel,
  volume: Volume,
  settings: { alpha?: number } = {},
  attributes: Readonly<Record<string, readonly string[]>> = {},
): Promise<OurRun> {
  const { card, folder } = opened.model;
  const without: OpenedModel = { ...opened, familiarity: undefined, model: { folder, card: { ...card, gates: {} } } };
  const [begun, used] = [performance.now(), process.cpuUsage()];
  const stored = { lowest: -1e9, highest: 1e9 };
  const source = { volume, stored, imageType: [], rescaleType: undefined, settings, attributes };
  const { voxels } = await runModel(without, source);
  const { user, system } = process.cpuUsage(used);
  return {
    voxels,
    seconds: (performance.now() - begun) / 1000,
    processorSeconds: (user + system) / 1e6,
    peakMb: process.resourceUsage().maxRSS / 1024,
  };
}

export function print(row: Row): void {
  process.stdout.write(`${JSON.stringify(row)}\n`);
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
