/** Models that have a manifest: run on a series as volumes, or image by image where images have no place in the patient. */
import type { Panel } from '../derived/key-image.ts';
import { deriveMeasurementReport } from '../derived/measurement-report.ts';
import { deriveProjection } from '../derived/projection-image.ts';
import type { DerivedObject, Provenance } from '../derived/provenance.ts';
import { asciiValue } from '../dicom/data-set.ts';
import { areProjections, readProjection } from '../dicom/projections.ts';
import type { SeriesVolume } from '../dicom/volume.ts';
import { runZoo, type Pool } from '../pipelines/pool.ts';
import { parseZooSettings, type ZooResult } from '../pipelines/zoo.ts';
import type { ManifestCard } from '../pipelines/zoo-manifest.ts';
import { DEFAULT_OUTPUTS } from '../routing/rules.ts';
import { keyImageOf, notHeld, reporting, withIntake, type LoadedSeries, type Made } from './beside.ts';
import { keptOf, producedOf } from './correct.ts';
import { eachImage, eachVolume, loadedFrom, meanOf, worstOf } from './each-volume.ts';
import { produceMasks, type ManifestWork } from './masks.ts';
import {
  codeOf,
  doneBy,
  figuresOf,
  manifestOf,
  quality,
  refuseUnlessGated,
  zooInput,
  zooProvenance,
  type PipelineSettings,
  type Produced,
  type ProduceOptions,
} from './model-run.ts';
import { differencePanel, middleOf, panelOf, planeOf, windowIn, windowOver, type Plane } from './panels.ts';

/**
 * Runs a model that has a manifest: on the series as one volume, or image by image where images have no place in the patient.
 * @throws Refusal PipelineRefused
 */
export async function produceByManifest(pool: Pool, work: ManifestWork, options: ProduceOptions): Promise<Produced> {
  const { id, instances, settings } = work;
  const card = manifestOf(pool, id);
  if (card.emit.kind === 'segmentation') return produceMasks(pool, work, options);
  refuseUnlessGated(
    card,
    instances.map(({ head }) => head),
  );
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
    const source: LoadedSeries = { heads: [instance.head], volume: await readProjection(instance) };
    // One picture stands for the series.
    const before = index === instances.length >> 1 && outputs.includes('key-image') ? middlePlane(source) : undefined;
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
    if (before !== undefined)
      objects.push(keyImageOf(shownBeside({ source, outputs, result, provenance, intake: options.intake }, before)));
    return { figures: quality(result.quality), outcome: result.verdict.outcome };
  });
  return {
    objects,
    quality: meanOf(verdicts.map(({ figures }) => figures)),
    verdict: verdicts.some(({ outcome }) => outcome === 'warn') ? 'warn' : 'pass',
  };
}

/** Of a cine its middle frame. */
function middlePlane({ volume }: LoadedSeries): Plane {
  return planeOf(volume, middleOf(volume.geometry));
}

/** Before, after and what differs, as the image is windowed. */
function shownBeside(
  { result, ...made }: Pick<Made, 'source' | 'outputs' | 'provenance' | 'intake'> & { readonly result: ZooResult },
  before: Plane,
): Made {
  const { volume, heads } = made.source;
  const after = middlePlane({ heads, volume: { ...volume, voxels: result.voxels } });
  const window = windowIn(heads[0]) ?? windowOver(before);
  const turned = heads.some(({ dataSet }) => asciiValue(dataSet, 0x00280004) === 'MONOCHROME1');
  const shown = (title: string, plane: Plane): Panel => {
    const panel = panelOf(title, plane, window);
    return turned ? { ...panel, grey: panel.grey.map((value) => 255 - value) } : panel;
  };
  return {
    ...made,
    verdict: result.verdict,
    panels: [shown('before', before), shown('after', after), differencePanel('difference', after, before)],
    shown: Object.keys(result.quality).slice(0, MOST_SHOWN),
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
  const card = manifestOf(pool, id);
  const settings = parseZooSettings(card, { ...given });
  const { geometry, modality } = source.volume;
  const result = await runZoo(pool, id, zooInput(card, source, settings), options);
  return { card, result, geometry, modality, provenance: zooProvenance(card, settings, figuresOf(result.quality)) };
}
