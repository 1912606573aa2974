/** Models that have a manifest: run on a series as volumes, or image by image where images have no place in the patient. */
import { deriveMeasurementReport } from '../derived/measurement-report.ts';
import { deriveProjection } from '../derived/projection-image.ts';
import type { DerivedObject, Provenance } from '../derived/provenance.ts';
import { areProjections, readProjection } from '../dicom/projections.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { SeriesVolume } from '../dicom/volume.ts';
import { runZoo, type Pool } from '../pipelines/pool.ts';
import { parseZooSettings, type ZooResult } from '../pipelines/zoo.ts';
import type { ManifestCard } from '../pipelines/zoo-manifest.ts';
import { DEFAULT_OUTPUTS } from '../routing/rules.ts';
import { notHeld, reporting, withIntake, type LoadedSeries } from './beside.ts';
import { keptOf, producedOf } from './correct.ts';
import { eachImage, eachVolume, loadedFrom, meanOf, worstOf } from './each-volume.ts';
import { produceMasks, type ManifestWork } from './masks.ts';
import {
  codeOf,
  doneBy,
  figuresOf,
  quality,
  zooInput,
  zooProvenance,
  type PipelineSettings,
  type Produced,
  type ProduceOptions,
} from './model-run.ts';
import { windowIn, windowOver } from './panels.ts';

/**
 * Runs a model that has a manifest: on the series as one volume, or image by image where images have no place in the patient.
 * @throws Refusal PipelineRefused
 */
export async function produceByManifest(pool: Pool, work: ManifestWork, options: ProduceOptions): Promise<Produced> {
  const { id, instances, settings } = work;
  if (pool.zoo.get(id)?.card.emit.kind === 'segmentation') return produceMasks(pool, work, options);
  if (areProjections(instances.map(({ head }) => head))) return produceImages(pool, work, options);
  return produceZoo(pool, { id, source: await loadedFrom(instances), settings }, options);
}

async function produceImages(
  pool: Pool,
  { id, instances, settings }: ManifestWork,
  options: ProduceOptions,
): Promise<Produced> {
  const heads = instances.map(({ head }) => head);
  const outputs = options.outputs ?? DEFAULT_OUTPUTS;
  const objects: DerivedObject[] = [];
  const verdicts = await eachImage(instances, options, async (instance, one, index) => {
    const source = { heads: [instance.head], volume: await readProjection(instance) };
    const { card, result, geometry, modality, provenance } = await runManifest(pool, { id, source, settings }, one);
    if (outputs.includes('report'))
      objects.push(
        deriveMeasurementReport({
          source: [instance.head],
          ...withIntake(
            options.intake,
            { outcome: result.verdict.outcome, reasons: notHeld(result.verdict.findings) },
            reporting(provenance),
          ),
        }),
      );
    if (outputs.includes('image'))
      objects.push(
        deriveProjection({
          source: instance.head,
          volume: { geometry, modality, voxels: result.voxels },
          // The figures of one image are no part of what the series was made with.
          provenance,
          imageType: doneBy(card),
          code: codeOf(card.emit.derivation),
          number: index + 1,
          series: heads,
        }),
      );
    return { figures: quality(result.quality), outcome: result.verdict.outcome };
  });
  return {
    objects,
    quality: meanOf(verdicts.map(({ figures }) => figures)),
    verdict: verdicts.some(({ outcome }) => outcome === 'warn') ? 'warn' : 'pass',
  };
}

/** Runs a model that has a manifest on one volume. @throws Refusal PipelineRefused */
async function produceZoo(pool: Pool, request: ZooRequest, options: ProduceOptions): Promise<Produced> {
  const { source } = request;
  const kept = keptOf(source, options.outputs ?? DEFAULT_OUTPUTS);
  const runs = await eachVolume(source, options, (volume, one) => {
    const { others: _, ...rest } = source;
    return runManifest(pool, { ...request, source: { ...rest, volume } }, one);
  });
  const [run] = runs;
  if (run === undefined) throw new Error('a series without a volume');
  const { card } = run;
  const measured = meanOf(runs.map(({ result }) => result.quality));
  const provenance = { ...run.provenance, figures: figuresOf(measured) };
  return producedOf(
    {
      source,
      kept,
      results: runs.map(({ result }) => result),
      verdict: worstOf(runs.map(({ result }) => result.verdict)),
      measured,
      provenance,
      shown: Object.keys(measured).slice(0, MOST_SHOWN),
      windowOf: (before, image) => windowIn(image) ?? windowOver(before),
      image: { kind: 'corrected', done: { imageType: doneBy(card), code: codeOf(card.emit.derivation) }, provenance },
    },
    options,
  );
}

/** Figures that stand under the panels of a key image. */
const MOST_SHOWN = 5;

interface ZooRequest {
  readonly id: string;
  readonly source: LoadedSeries;
  readonly settings: PipelineSettings;
}

interface ZooRun {
  readonly card: ManifestCard;
  readonly result: ZooResult;
  readonly geometry: SeriesVolume['geometry'];
  readonly modality: string;
  readonly provenance: Provenance;
}

async function runManifest(
  pool: Pool,
  { id, source, settings: given }: ZooRequest,
  options: ProduceOptions,
): Promise<ZooRun> {
  const model = pool.zoo.get(id);
  if (model === undefined) throw new Refusal('BadConfiguration', `the model ${id} is not installed`);
  const { card } = model;
  const settings = parseZooSettings(card, { ...given });
  const { geometry, modality } = source.volume;
  const result = await runZoo(pool, id, zooInput(card, source, settings), options);
  return { card, result, geometry, modality, provenance: zooProvenance(card, settings, figuresOf(result.quality)) };
}
