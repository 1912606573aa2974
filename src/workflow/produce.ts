/** Loaded series in, derived objects out: runs a pipeline and writes its result as DICOM, wherever the series came from. */
import { deriveDeformableRegistration } from '../derived/deformable-registration.ts';
import { deriveImageSeries } from '../derived/image-series.ts';
import type { Code, DerivedObject, Provenance, QualityFigure } from '../derived/provenance.ts';
import { deriveProjection } from '../derived/projection-image.ts';
import { deriveSpatialRegistration } from '../derived/spatial-registration.ts';
import { asciiValue, asciiValues, numberValue } from '../dicom/data-set.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { PROJECTIONS, readProjection } from '../dicom/projections.ts';
import { readVolume, type SeriesInstance, type SeriesVolume } from '../dicom/volume.ts';
import { parseDenoiseSettings } from '../pipelines/correction.ts';
import type { ModelCard } from '../pipelines/manifest.ts';
import { runDenoising, runRegistration, runZoo, type Pool } from '../pipelines/pool.ts';
import { parseRegistrationSettings } from '../pipelines/registration-settings.ts';
import { parseZooSettings, type ZooResult } from '../pipelines/zoo.ts';
import type { Code as CardCode, ManifestCard } from '../pipelines/zoo-manifest.ts';
import { SOFTWARE_VERSION } from '../dicom/implementation.ts';

export interface LoadedSeries {
  readonly heads: readonly Head[];
  /** Its voxels are handed to the pipeline: empty afterwards. */
  readonly volume: SeriesVolume;
}

export interface PipelineSettings {
  readonly transform?: 'rigid' | 'deformable';
  readonly alpha?: number;
}

export interface ProduceOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (step: string, share: number) => void;
}

export interface Produced {
  /** Made one by one as they are asked for. */
  readonly objects: Iterable<DerivedObject>;
  readonly quality: Readonly<Record<string, number | string>>;
  readonly verdict: 'pass' | 'warn';
}

/** Series numbers of derived series: far above what modalities use, apart from each other. */
const SERIES_NUMBER = { denoised: 9100, registered: 9200, transform: 9201, zoo: 9300 };

/** Aligns `moving` to `fixed`: the resampled series, and the registration object. @throws Refusal PipelineRefused */
export async function produceRegistration(
  pool: Pool,
  {
    fixed,
    moving,
    settings: given,
  }: { readonly fixed: LoadedSeries; readonly moving: LoadedSeries; readonly settings: PipelineSettings },
  options: ProduceOptions,
): Promise<Produced> {
  const { alpha: _alpha, ...rest } = given;
  const settings = parseRegistrationSettings(rest);
  const result = await runRegistration(
    pool,
    { fixed: plain(fixed.volume), moving: plain(moving.volume), settings },
    options,
  );
  const provenance = provenanceOf(
    cardOf(pool, 'register'),
    `${settings.transform} registration of this series to another one of the same patient`,
    JSON.stringify(settings),
    figuresOf(result.quality),
  );
  function* objects(): Generator<DerivedObject> {
    yield* deriveImageSeries({
      kind: 'registered',
      sources: moving.heads,
      reference: fixed.heads,
      volume: result.resampled,
      provenance: { ...provenance, seriesNumber: SERIES_NUMBER.registered },
      padding: result.paddingValue,
    });
    const request = {
      fixed: fixed.heads,
      moving: moving.heads,
      rigid: result.rigid,
      provenance: { ...provenance, seriesNumber: SERIES_NUMBER.transform },
    };
    yield settings.transform === 'rigid'
      ? deriveSpatialRegistration(request)
      : deriveDeformableRegistration({ ...request, field: result.field });
  }
  return { objects: objects(), quality: quality(result.quality), verdict: result.verdict.outcome };
}

/** Takes noise out of a CT series. @throws Refusal PipelineRefused */
export async function produceDenoised(
  pool: Pool,
  { source, settings: given }: { readonly source: LoadedSeries; readonly settings: PipelineSettings },
  options: ProduceOptions,
): Promise<Produced> {
  const { transform: _transform, ...rest } = given;
  const settings = parseDenoiseSettings(rest);
  const [first] = source.heads;
  if (first === undefined) throw new Refusal('PipelineRefused', 'the series has no instances');
  const { geometry, modality } = source.volume;
  const result = await runDenoising(
    pool,
    {
      volume: plain(source.volume),
      storedRange: storedRange(source),
      imageType: asciiValues(first.dataSet, 0x00080008),
      rescaleType: asciiValue(first.dataSet, 0x00281054),
      settings,
    },
    options,
  );
  const provenance = provenanceOf(
    cardOf(pool, 'denoise'),
    `Noise reduction; ${Math.round(settings.alpha * 100)} percent of the noise found was taken away`,
    JSON.stringify(settings),
    figuresOf(result.quality),
  );
  return {
    objects: deriveImageSeries({
      kind: 'denoised',
      sources: source.heads,
      volume: { geometry, modality, voxels: result.voxels },
      provenance: { ...provenance, seriesNumber: SERIES_NUMBER.denoised },
    }),
    quality: quality(result.quality),
    verdict: result.verdict.outcome,
  };
}

/**
 * Runs a model that has a manifest: on the series as one volume, or image by image where images have no place in the patient.
 * @throws Refusal PipelineRefused
 */
export async function produceByManifest(
  pool: Pool,
  {
    id,
    instances,
    settings,
  }: { readonly id: string; readonly instances: readonly SeriesInstance[]; readonly settings: PipelineSettings },
  options: ProduceOptions,
): Promise<Produced> {
  const [first] = instances;
  const heads = instances.map(({ head }) => head);
  if (first === undefined || !PROJECTIONS.has(asciiValue(first.head.dataSet, 0x00080060) ?? ''))
    return produceZoo(pool, { id, source: { heads, volume: await readVolume(instances) }, settings }, options);
  const objects: DerivedObject[] = [];
  const figures: Record<string, number | string>[] = [];
  let verdict: Produced['verdict'] = 'pass';
  for (const [index, instance] of instances.entries()) {
    const { card, result, geometry, modality, provenance } = await runManifest(
      pool,
      { id, source: { heads: [instance.head], volume: await readProjection(instance) }, settings },
      { ...options, onProgress: (step, share) => options.onProgress?.(step, (index + share) / instances.length) },
    );
    objects.push(
      deriveProjection({
        source: instance.head,
        volume: { geometry, modality, voxels: result.voxels },
        // The figures of one image are no part of what the series was made with.
        provenance,
        imageType: card.emit.imageType[2] ?? 'CORRECTED',
        code: codeOf(card.emit.derivation),
        number: index + 1,
        series: heads,
      }),
    );
    figures.push(quality(result.quality));
    if (result.verdict.outcome === 'warn') verdict = 'warn';
  }
  return { objects, quality: meanOf(figures), verdict };
}

function meanOf(all: readonly Record<string, number | string>[]): Record<string, number | string> {
  const [first = {}] = all;
  return Object.fromEntries(
    Object.entries(first).map(([name, value]) => [
      name,
      typeof value === 'number' ? all.reduce((sum, one) => sum + Number(one[name]), 0) / all.length : value,
    ]),
  );
}

/** Runs a model that has a manifest on one volume. @throws Refusal PipelineRefused */
async function produceZoo(pool: Pool, request: ZooRequest, options: ProduceOptions): Promise<Produced> {
  const { card, result, geometry, modality, provenance } = await runManifest(pool, request, options);
  return {
    objects: deriveImageSeries({
      kind: 'corrected',
      done: { imageType: card.emit.imageType[2] ?? 'CORRECTED', code: codeOf(card.emit.derivation) },
      sources: request.source.heads,
      volume: { geometry, modality, voxels: result.voxels },
      provenance,
    }),
    quality: quality(result.quality),
    verdict: result.verdict.outcome,
  };
}

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
  const [first] = source.heads;
  if (first === undefined) throw new Refusal('PipelineRefused', 'the series has no instances');
  const { geometry, modality } = source.volume;
  const { lowestHU: lowest, highestHU: highest } = storedRange(source);
  const result = await runZoo(
    pool,
    id,
    {
      volume: plain(source.volume),
      stored: { lowest, highest },
      imageType: asciiValues(first.dataSet, 0x00080008),
      rescaleType: asciiValue(first.dataSet, 0x00281054),
      settings,
    },
    options,
  );
  return { card, result, geometry, modality, provenance: zooProvenance(card, settings, figuresOf(result.quality)) };
}

function codeOf(code: CardCode | undefined): Code | undefined {
  return code === undefined ? undefined : { value: code.code, scheme: code.scheme, meaning: code.meaning };
}

function zooProvenance(card: ManifestCard, settings: object, figures: readonly QualityFigure[]): Provenance {
  const { algorithm, seriesSuffix } = card.emit;
  const { code: value, scheme, meaning } = algorithm.family;
  return {
    algorithm: {
      name: algorithm.name,
      version: card.version,
      family: { value, scheme, meaning },
      parameters: JSON.stringify({ ...card.settings, ...settings, pre: card.pre, post: card.post }),
      sha256: card.sha256 ?? 'none (no graph)',
    },
    softwareVersion: SOFTWARE_VERSION,
    description: card.experimental === true ? `${card.id} (experimental)` : card.id,
    figures,
    seriesNumber: SERIES_NUMBER.zoo,
    seriesSuffix: card.experimental === true ? `${seriesSuffix} EXPERIMENTAL` : seriesSuffix,
  };
}

/** A volume without what only reading it needed: this goes to another thread. */
function plain({ geometry, voxels, modality }: SeriesVolume): {
  geometry: SeriesVolume['geometry'];
  voxels: Float32Array;
  modality: string;
} {
  return { geometry, voxels, modality };
}

/** What the stored bits of the series can hold after rescale, the narrowest of its slices. */
function storedRange({ heads, volume }: LoadedSeries): {
  lowestHU: number;
  highestHU: number;
  paddingHU: readonly [number, number] | undefined;
} {
  let lowestHU = -Infinity;
  let highestHU = Infinity;
  for (const { instance, slope, intercept } of volume.sources) {
    const head = heads[instance];
    if (head === undefined) continue;
    const bits = numberValue(head.dataSet, 0x00280101) ?? 16;
    const signed = numberValue(head.dataSet, 0x00280103) === 1;
    const least = signed ? -(2 ** (bits - 1)) : 0;
    const most = signed ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
    lowestHU = Math.max(lowestHU, least * slope + intercept);
    highestHU = Math.min(highestHU, most * slope + intercept);
  }
  const padding = volume.sources.find((source) => source.padding !== undefined)?.padding;
  return { lowestHU, highestHU, paddingHU: padding };
}

function cardOf(pool: Pool, pipeline: 'register' | 'denoise'): ModelCard {
  const card = pool.cards.get(pipeline);
  if (card === undefined) throw new Refusal('BadConfiguration', `the model of ${pipeline} is not installed`);
  return card;
}

function provenanceOf(
  card: ModelCard,
  description: string,
  parameters: string,
  figures: readonly QualityFigure[],
): Omit<Provenance, 'seriesNumber'> {
  return {
    algorithm: {
      name: card.emit.algorithmName,
      version: card.version,
      family: { value: card.emit.family.code, scheme: card.emit.family.scheme, meaning: card.emit.family.meaning },
      parameters,
      sha256: Object.values(card.graphs)
        .map(({ sha256 }) => sha256)
        .join(' '),
    },
    softwareVersion: SOFTWARE_VERSION,
    description,
    figures,
    seriesSuffix: card.emit.seriesSuffix,
  };
}

function figuresOf(measured: object): QualityFigure[] {
  return Object.entries(measured).flatMap(([name, value]) =>
    typeof value === 'number' && Number.isFinite(value) ? [{ name, value }] : [],
  );
}

function quality(measured: object): Record<string, number | string> {
  return Object.fromEntries(
    Object.entries(measured).filter(
      (entry): entry is [string, number | string] => typeof entry[1] === 'number' || typeof entry[1] === 'string',
    ),
  );
}
