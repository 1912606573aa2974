/** What runs of all models share: what they are asked, what they leave, and who says it was them. */
import type { Transform } from '../pipelines/registration-settings.ts';
import type { Code, DerivedObject, Provenance, QualityFigure } from '../derived/provenance.ts';
import { asciiValue, asciiValues, itemsOf, numberValue, numberValues, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { SOFTWARE_VERSION } from '../dicom/implementation.ts';
import { isLossy, lossyRatio } from '../dicom/loss.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { SeriesVolume, Volume } from '../dicom/volume.ts';
import type { ModelCard } from '../pipelines/manifest.ts';
import type { Pool } from '../pipelines/pool.ts';
import type { Box, ZooInput, ZooSettings } from '../pipelines/zoo.ts';
import type { Code as CardCode, ManifestCard } from '../pipelines/zoo-manifest.ts';
import type { Output } from '../routing/rules.ts';
import { SERIES_NUMBER, type IntakeNotes, type LoadedSeries } from './beside.ts';

export interface PipelineSettings {
  readonly transform?: Transform;
  readonly alpha?: number;
}

export interface ProduceOptions {
  /** What is to be written. Default: that of the rules. */
  readonly outputs?: readonly Output[];
  /** What the intake check found of the source, for the report. */
  readonly intake?: IntakeNotes | undefined;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (step: string, share: number) => void;
}

export interface Produced {
  /** Made one by one as they are asked for. */
  readonly objects: Iterable<DerivedObject>;
  readonly quality: Readonly<Record<string, number | string>>;
  readonly verdict: 'pass' | 'warn' | 'refuse';
}

/** @throws Refusal BadConfiguration where it is not installed */
export function manifestOf(pool: Pool, id: string): ManifestCard {
  const model = pool.zoo.get(id);
  if (model === undefined) throw new Refusal('BadConfiguration', `the model ${id} is not installed`);
  return model.card;
}

/** Artefacts of compression look like what many models are to find or to take away. @throws Refusal PipelineRefused */
export function refuseLost(name: string, heads: readonly Head[]): void {
  if (heads.some(isLossy))
    throw new Refusal(
      'PipelineRefused',
      `${name}: Lossy Image Compression (0028,2110) is 01, expected pixels that lost nothing`,
    );
}

/** A model whose card has a gate for it takes what was compressed with loss. @throws Refusal PipelineRefused */
export function refuseUnlessGated({ id, gates }: ManifestCard, heads: readonly Head[]): void {
  if (gates?.['lossyRatio'] === undefined) refuseLost(id, heads);
}

/** A loaded series as a model with a manifest takes it. @throws Refusal PipelineRefused for a series without instances */
export function zooInput(card: ManifestCard, source: LoadedSeries, settings: ZooSettings): ZooInput {
  const [first] = source.heads;
  if (first === undefined) throw new Refusal('PipelineRefused', 'the series has no instances');
  const { lowestHU: lowest, highestHU: highest } = storedRange(source);
  const keywords = [...ALWAYS, ...Object.keys(card.applies.attributes ?? {})];
  return {
    volume: plain(source.volume),
    stored: { lowest, highest },
    imageType: asciiValues(first.dataSet, 0x00080008),
    rescaleType: asciiValue(first.dataSet, 0x00281054),
    settings,
    lossyRatio: Math.max(...source.heads.map(lossyRatio)),
    attributes: {
      ...Object.fromEntries(keywords.map((keyword) => [keyword, asciiValues(first.dataSet, tag(keyword))])),
      AcquisitionMatrix: numberValues(first.dataSet, tag('AcquisitionMatrix')).map(String),
    },
    tissue: tissueOf(first),
  };
}

/** What steps ask for. */
const ALWAYS = ['PhotometricInterpretation', 'PatientOrientation', 'InPlanePhaseEncodingDirection'];

/** Regions of 2-D tissue in grey (PS3.3 C.8.5.5: Region Spatial Format 1, Region Data Type 1). */
function tissueOf({ dataSet }: Head): Box[] | undefined {
  const regions = itemsOf(dataSet, tag('SequenceOfUltrasoundRegions'));
  if (regions.length === 0) return undefined;
  const number = (region: DataSet, keyword: string): number => numberValue(region, tag(keyword)) ?? 0;
  return regions
    .filter((one) => number(one, 'RegionSpatialFormat') === 1 && number(one, 'RegionDataType') === 1)
    .map((region) => ({
      left: number(region, 'RegionLocationMinX0'),
      top: number(region, 'RegionLocationMinY0'),
      right: number(region, 'RegionLocationMaxX1'),
      bottom: number(region, 'RegionLocationMaxY1'),
    }));
}

/** The value of Image Type that says what was done. */
export function doneBy({ emit }: ManifestCard): string {
  return (emit.kind === 'derived-image' ? emit.imageType[2] : undefined) ?? 'CORRECTED';
}

export function codeOf(code: CardCode | undefined): Code | undefined {
  return code === undefined ? undefined : { value: code.code, scheme: code.scheme, meaning: code.meaning };
}

export function zooProvenance(card: ManifestCard, settings: object, figures: readonly QualityFigure[]): Provenance {
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
export function plain({ geometry, voxels, modality }: SeriesVolume): {
  geometry: SeriesVolume['geometry'];
  voxels: Float32Array;
  modality: string;
} {
  return { geometry, voxels, modality };
}

/** What the stored bits of the series can hold after rescale, the narrowest of its slices. */
export function storedRange({ heads, volume }: LoadedSeries): {
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

export function figuresOf(measured: object): QualityFigure[] {
  return Object.entries(measured).flatMap(([name, value]) =>
    typeof value === 'number' && Number.isFinite(value) ? [{ name, value }] : [],
  );
}

export function quality(measured: object): Record<string, number | string> {
  return Object.fromEntries(
    Object.entries(measured).filter(
      (entry): entry is [string, number | string] => typeof entry[1] === 'number' || typeof entry[1] === 'string',
    ),
  );
}

/** The volumes of a result, for the series that is written of them. */
export function several(volumes: readonly Volume[]): { readonly volume: Volume; readonly others: readonly Volume[] } {
  const [volume, ...others] = volumes;
  if (volume === undefined) throw new Error('a result without a volume');
  return { volume, others };
}

export function cardOf(pool: Pool, pipeline: 'register' | 'align' | 'denoise'): ModelCard {
  const card = pool.cards.get(pipeline);
  if (card === undefined) throw new Refusal('BadConfiguration', `the model of ${pipeline} is not installed`);
  return card;
}

export function provenanceOf(
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
      sha256:
        Object.values(card.graphs)
          .map(({ sha256 }) => sha256)
          .join(' ') || 'none (no graph)',
    },
    softwareVersion: SOFTWARE_VERSION,
    description,
    figures,
    seriesSuffix: card.emit.seriesSuffix,
  };
}
