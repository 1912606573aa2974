/** A series of several volumes (time points, stacks) goes through a pipeline volume by volume; it has one verdict and one set of figures. */
import { Refusal } from '../dicom/refusal.ts';
import { readVolumes, type SeriesInstance, type SeriesVolume } from '../dicom/volume.ts';
import { GatesRefusal, type Verdict } from '../pipelines/gates.ts';
import type { LoadedSeries } from './beside.ts';

interface Progressing {
  readonly onProgress?: (step: string, share: number) => void;
}

/** All volumes of these instances. @throws Refusal PipelineRefused */
export async function loadedFrom(instances: readonly SeriesInstance[]): Promise<LoadedSeries> {
  const [volume, ...others] = await readVolumes(instances);
  if (volume === undefined) throw new Refusal('PipelineRefused', 'the series has no instance');
  return { heads: instances.map(({ head }) => head), volume, others };
}

export function volumesOf({ volume, others = [] }: LoadedSeries): readonly SeriesVolume[] {
  return [volume, ...others];
}

/** What others are aligned to is one volume: which one of several was meant nobody has said. @throws Refusal PipelineRefused naming them */
export function refuseSeveral(fixed: LoadedSeries): void {
  const labels = volumesOf(fixed).map(({ label }) => label);
  if (labels.length === 1) return;
  const named = labels.length > 3 ? `${labels.slice(0, 2).join(', ')} ... ${labels.at(-1)}` : labels.join(', ');
  throw new Refusal(
    'PipelineRefused',
    `the fixed series holds ${labels.length} volumes (${named}); a series of one volume is expected`,
  );
}

/** Runs one after another; what one is refused for refuses the series. @throws Refusal naming the volume */
export async function eachVolume<R, O extends Progressing>(
  source: LoadedSeries,
  options: O,
  run: (volume: SeriesVolume, options: O, index: number) => Promise<R>,
): Promise<R[]> {
  const volumes = volumesOf(source);
  const results: R[] = [];
  for (const [index, volume] of volumes.entries()) {
    try {
      results.push(await run(volume, { ...options, onProgress: partOf(options, index, volumes.length) }, index));
    } catch (error) {
      if (!(error instanceof Refusal) || volume.label === '') throw error;
      const sentence = `${volume.label}: ${error.message}`;
      throw error instanceof GatesRefusal
        ? new GatesRefusal(sentence, error.findings)
        : new Refusal(error.reason, sentence);
    }
  }
  return results;
}

/** Images one after another, each by itself; the progress is that of the series. */
export async function eachImage<R, O extends Progressing>(
  instances: readonly SeriesInstance[],
  options: O,
  run: (instance: SeriesInstance, options: O, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  for (const [index, instance] of instances.entries())
    results.push(await run(instance, { ...options, onProgress: partOf(options, index, instances.length) }, index));
  return results;
}

function partOf({ onProgress }: Progressing, index: number, count: number): (step: string, share: number) => void {
  return (step, share) => onProgress?.(step, (index + share) / count);
}

/** The first verdict of the worst outcome. */
export function worstOf(verdicts: readonly Verdict[]): Verdict {
  return verdicts.find(({ outcome }) => outcome === 'warn') ?? verdicts[0] ?? { outcome: 'pass', findings: [] };
}

/** The mean of each figure; what is no number is that of the first. */
export function meanOf<F extends object>(all: readonly F[]): F {
  const [first] = all;
  if (first === undefined) throw new Error('no figures');
  if (all.length === 1) return first;
  const means = Object.entries(first).map(([name, value]: [string, unknown]) => [
    name,
    typeof value === 'number'
      ? all.reduce((sum, one) => sum + Number((one as Record<string, unknown>)[name]), 0) / all.length
      : value,
  ]);
  // Each entry has the type that the first one's has.
  return Object.fromEntries(means) as F;
}
