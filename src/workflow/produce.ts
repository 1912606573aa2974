/** Loaded series in, derived objects out: runs a pipeline and writes its result as DICOM, wherever the series came from. */
import { deriveDeformableRegistration } from '../derived/deformable-registration.ts';
import { figureUnit, NO_UNIT, SCHEME } from '../derived/coded-figures.ts';
import { deriveParametricMap } from '../derived/parametric-map.ts';
import { deriveMeasurementReport } from '../derived/measurement-report.ts';
import { deriveImageSeries } from '../derived/image-series.ts';
import type { Code, DerivedObject, Provenance, QualityFigure } from '../derived/provenance.ts';
import { deriveProjection } from '../derived/projection-image.ts';
import { deriveSpatialRegistration } from '../derived/spatial-registration.ts';
import { asciiValue, asciiValues } from '../dicom/data-set.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { PROJECTIONS, readProjection } from '../dicom/projections.ts';
import { type SeriesInstance, type SeriesVolume, type Volume } from '../dicom/volume.ts';
import { parseDenoiseSettings } from '../pipelines/correction.ts';
import { GatesRefusal } from '../pipelines/gates.ts';
import type { ModelCard } from '../pipelines/manifest.ts';
import { runDenoising, runRegistration, runZoo, type Pool } from '../pipelines/pool.ts';
import { layAligned, type RegistrationQuality } from '../pipelines/registration-quality.ts';
import { parseRegistrationSettings, registrationOf } from '../pipelines/registration-settings.ts';
import { fieldOfView } from '../pipelines/space.ts';
import { parseZooSettings, type ZooResult } from '../pipelines/zoo.ts';
import type { ManifestCard } from '../pipelines/zoo-manifest.ts';
import { DEFAULT_OUTPUTS, type Output, type PipelineName } from '../routing/rules.ts';
import { SOFTWARE_VERSION } from '../dicom/implementation.ts';
import {
  checkerboardPanel,
  differencePanel,
  middleOf,
  panelOf,
  planeOf,
  planeThrough,
  scaledTo,
  subtracted,
  windowIn,
  windowOver,
  type Plane,
  type Window,
} from './panels.ts';
import {
  beside,
  differing,
  notHeld,
  reporting,
  SERIES_NUMBER,
  withIntake,
  withPresentation,
  type IntakeNotes,
  type LoadedSeries,
  type Made,
} from './beside.ts';
import {
  codeOf,
  doneBy,
  figuresOf,
  plain,
  quality,
  storedRange,
  zooInput,
  zooProvenance,
  type PipelineSettings,
  type Produced,
  type ProduceOptions,
} from './model-run.ts';
import { eachVolume, loadedFrom, meanOf, refuseSeveral, volumesOf, worstOf } from './each-volume.ts';
import { produceMasks } from './masks.ts';
export type { LoadedSeries } from './beside.ts';
export type { PipelineSettings, Produced, ProduceOptions } from './model-run.ts';

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
  refuseSeveral(fixed);
  const outputs = options.outputs ?? DEFAULT_OUTPUTS;
  const k = middleOf(fixed.volume.geometry);
  const volumes = volumesOf(moving);
  const shown = volumes.length >> 1;
  const alike = fixed.volume.modality === moving.volume.modality;
  const keepFixed = outputs.includes('difference') && alike;
  const [fixedPlane, before] = [
    planeOf(fixed.volume, k),
    planeThrough(volumes[shown] ?? moving.volume, fixed.volume.geometry, k),
  ];
  const results = await eachVolume(moving, options, (volume, one, index) => {
    const last = index === volumes.length - 1 && !keepFixed;
    const onto = last ? fixed.volume : { ...fixed.volume, voxels: fixed.volume.voxels.slice() };
    return runRegistration(pool, { fixed: plain(onto), moving: plain(volume), settings }, one);
  });
  const result = results[shown] ?? results[0];
  if (result === undefined) throw new Error('a series without a volume');
  const measured = meanOf(results.map(({ quality: found }) => found));
  const verdict = worstOf(results.map((one) => one.verdict));
  const fixedVoxels = keepFixed ? fixed.volume.voxels : undefined;
  const provenance = provenanceOf(
    cardOf(pool, registrationOf(settings)),
    `${settings.transform} registration of this series to another one of the same patient${layAligned(measured) ? ', to which it lay aligned to begin with' : ''}`,
    JSON.stringify(settings),
    registrationFigures(measured),
  );
  const after = planeOf(result.resampled, k);
  const same = result.quality.contrast === 'same';
  const made: Made = {
    source: moving,
    fixed,
    outputs,
    intake: options.intake,
    verdict,
    provenance,
    panels: [
      panelOf('fixed series', fixedPlane),
      panelOf('before', before),
      panelOf('registered', after),
      same
        ? differencePanel('difference', scaledTo(after, fixedPlane, result.resampled.modality), fixedPlane)
        : checkerboardPanel('fixed and registered', fixedPlane, after),
    ],
    shown: [
      'nccBefore',
      'nccAfter',
      'nmiBefore',
      'nmiAfter',
      'movedMm',
      'inverseConsistencyP95Mm',
      'jacobianP1',
      'jacobianP99',
    ],
  };
  function* objects(): Generator<DerivedObject> {
    if (outputs.includes('image')) yield* withPresentation(made, images());
    yield* beside(made);
    if (outputs.includes('map') && settings.transform === 'deformable') yield* maps();
    if (fixedVoxels !== undefined)
      yield* deriveImageSeries({
        kind: 'subtracted',
        sources: moving.heads,
        reference: fixed.heads,
        ...several(
          results.map((one, part) =>
            subtracted(
              one.resampled,
              fixedVoxels,
              // Of a deformation the rigid part tells where the moving series ends, to within what it bends there.
              fieldOfView((volumes[part] ?? moving.volume).geometry, fixed.volume.geometry, one.rigid),
            ),
          ),
        ),
        provenance: differing(provenance, SERIES_NUMBER.subtracted),
      });
  }
  function* maps(): Generator<DerivedObject> {
    for (const [part, one] of results.entries()) {
      const common = { source: moving.heads, reference: fixed.heads, geometry: one.field.geometry };
      const among = volumes[part]?.label ?? '';
      yield deriveParametricMap({
        ...common,
        values: one.maps.jacobian,
        quantity: JACOBIAN,
        unit: NO_UNIT,
        label: 'JACOBIAN',
        provenance: ofVolume(provenance, SERIES_NUMBER.jacobian, '[JACOBIAN]', among),
      });
      yield deriveParametricMap({
        ...common,
        values: one.maps.inverseConsistencyMm,
        quantity: INVERSE_CONSISTENCY,
        unit: figureUnit('', 'mm'),
        label: 'UNCERTAINTY',
        provenance: ofVolume(provenance, SERIES_NUMBER.inverseConsistency, '[UNCERTAINTY]', among),
      });
    }
  }
  function* images(): Generator<DerivedObject> {
    yield* deriveImageSeries({
      kind: 'registered',
      sources: moving.heads,
      reference: fixed.heads,
      ...several(results.map((one) => one.resampled)),
      provenance: { ...provenance, seriesNumber: SERIES_NUMBER.registered },
      padding: Math.min(...results.map((one) => one.paddingValue)),
    });
    for (const [part, one] of results.entries()) {
      const request = {
        fixed: fixed.heads,
        moving: moving.heads,
        movingVolume: part,
        rigid: one.rigid,
        provenance: ofVolume(provenance, SERIES_NUMBER.transform, provenance.seriesSuffix, volumes[part]?.label ?? ''),
      };
      yield settings.transform === 'deformable'
        ? deriveDeformableRegistration({ ...request, field: one.field })
        : deriveSpatialRegistration(request);
    }
  }
  return { objects: objects(), quality: quality(measured), verdict: verdict.outcome };
}

/** The volumes of a result, for the series that is written of them. */
function several(volumes: readonly Volume[]): { readonly volume: Volume; readonly others: readonly Volume[] } {
  const [volume, ...others] = volumes;
  if (volume === undefined) throw new Error('a result without a volume');
  return { volume, others };
}

/** Of one volume among several: its name stands in the description, and its objects have UIDs of their own. */
function ofVolume(
  provenance: Omit<Provenance, 'seriesNumber'>,
  seriesNumber: number,
  seriesSuffix: string,
  label: string,
): Provenance {
  if (label === '') return { ...provenance, seriesNumber, seriesSuffix };
  const { algorithm } = provenance;
  return {
    ...provenance,
    algorithm: { ...algorithm, parameters: `${algorithm.parameters} ${label}` },
    description: `${label}: ${provenance.description}`,
    seriesNumber,
    seriesSuffix: `${seriesSuffix} ${label}`,
  };
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
  const outputs = options.outputs ?? DEFAULT_OUTPUTS;
  const kept = keptOf(source, outputs);
  const results = await eachVolume(source, options, (volume, one) =>
    runDenoising(
      pool,
      {
        volume: plain(volume),
        storedRange: storedRange({ heads: source.heads, volume }),
        imageType: asciiValues(first.dataSet, 0x00080008),
        rescaleType: asciiValue(first.dataSet, 0x00281054),
        settings,
      },
      one,
    ),
  );
  const measured = meanOf(results.map(({ quality: found }) => found));
  const verdict = worstOf(results.map((one) => one.verdict));
  const provenance = provenanceOf(
    cardOf(pool, 'denoise'),
    `Noise reduction; ${Math.round(measured.alpha * 100)} percent of the noise found was taken away`,
    JSON.stringify({ alpha: Number(measured.alpha.toFixed(3)) }),
    figuresOf(measured),
  );
  const { before, after } = shownPlanes(kept, results);
  const window = windowIn(first) ?? SOFT_TISSUE;
  const made: Made = {
    source,
    outputs,
    intake: options.intake,
    verdict,
    provenance,
    panels: [
      panelOf('before', before, window),
      panelOf('after', after, window),
      differencePanel('difference', after, before),
    ],
    shown: ['sigmaBeforeHU', 'sigmaAfterHU', 'meanShiftSoftTissueHU', 'edgeWidthChange', 'ssimToSource'],
    window,
  };
  function* objects(): Generator<DerivedObject> {
    if (outputs.includes('image'))
      yield* withPresentation(
        made,
        deriveImageSeries({
          kind: 'denoised',
          sources: source.heads,
          ...several(resultVolumes(kept, results)),
          provenance: { ...provenance, seriesNumber: SERIES_NUMBER.denoised },
        }),
      );
    yield* beside(made);
    if (kept.voxels !== undefined)
      yield* deriveImageSeries({
        kind: 'residual',
        sources: source.heads,
        ...several(residuals(kept, results)),
        provenance: differing(provenance, SERIES_NUMBER.residual),
      });
  }
  return { objects: objects(), quality: quality(measured), verdict: verdict.outcome };
}

/** What is kept of a series whose voxels go to the pipeline. */
interface Kept {
  readonly volumes: readonly Pick<SeriesVolume, 'geometry' | 'modality'>[];
  /** The volume, its slice and the picture of it that the key image shows. */
  readonly shown: number;
  readonly k: number;
  readonly before: Plane;
  /** For the difference, where one is wanted. */
  readonly voxels: readonly Float32Array[] | undefined;
}

function keptOf(source: LoadedSeries, outputs: readonly Output[]): Kept {
  const volumes = volumesOf(source);
  const shown = volumes.length >> 1;
  const volume = volumes[shown] ?? source.volume;
  const k = middleOf(volume.geometry);
  return {
    volumes: volumes.map(({ geometry, modality }) => ({ geometry, modality })),
    shown,
    k,
    before: planeOf(volume, k),
    voxels: outputs.includes('difference') ? volumes.map(({ voxels }) => voxels.slice()) : undefined,
  };
}

interface Voxels {
  readonly voxels: Float32Array;
}

function resultVolumes({ volumes }: Kept, results: readonly Voxels[]): Volume[] {
  return volumes.flatMap((volume, index) => {
    const result = results[index];
    return result === undefined ? [] : [{ ...volume, voxels: result.voxels }];
  });
}

function shownPlanes(kept: Kept, results: readonly Voxels[]): { before: Plane; after: Plane } {
  const after = resultVolumes(kept, results)[kept.shown];
  if (after === undefined) throw new Error('a run without a result');
  return { before: kept.before, after: planeOf(after, kept.k) };
}

function residuals(kept: Kept, results: readonly Voxels[]): Volume[] {
  return resultVolumes(kept, results).map((volume, index) => {
    const source = kept.voxels?.[index];
    return { ...volume, voxels: volume.voxels.map((value, n) => value - (source?.[n] ?? value)) };
  });
}

const SOFT_TISSUE: Window = { center: 40, width: 400 };
const JACOBIAN: Code = { value: 'JACOBIAN', scheme: SCHEME, meaning: 'Jacobian determinant of the displacement' };
const INVERSE_CONSISTENCY: Code = { value: 'IC-RESIDUAL', scheme: SCHEME, meaning: 'Inverse consistency residual' };

export interface RefusedRun {
  readonly pipeline: PipelineName;
  /** Heads of the series that was to be changed. */
  readonly source: readonly Head[];
  readonly fixed?: readonly Head[] | undefined;
  readonly settings: PipelineSettings;
  readonly refusal: Refusal;
  readonly outputs?: readonly Output[] | undefined;
  readonly intake?: IntakeNotes | undefined;
}

/** What a refused run leaves: the report of what was found, and no image. */
export function produceRefused(pool: Pool, run: RefusedRun): Produced {
  const { pipeline, source, fixed, settings, refusal } = run;
  const findings = refusal instanceof GatesRefusal ? refusal.findings : [];
  const figures = findings.flatMap(({ name, value }) => (Number.isFinite(value) ? [{ name, value }] : []));
  const model = pool.zoo.get(pipeline);
  const provenance =
    model !== undefined
      ? zooProvenance(model.card, settings, figures)
      : provenanceOf(
          cardOf(pool, pipeline === 'register' ? registrationOf(settings) : 'denoise'),
          pipeline === 'register'
            ? 'Registration of this series to another one was refused'
            : 'Noise reduction was refused',
          JSON.stringify(settings),
          figures,
        );
  function* objects(): Generator<DerivedObject> {
    if ((run.outputs ?? DEFAULT_OUTPUTS).includes('report'))
      yield deriveMeasurementReport({
        source,
        ...(fixed === undefined ? {} : { fixed }),
        ...withIntake(
          run.intake,
          { outcome: 'refuse', reasons: findings.length === 0 ? [refusal.message] : notHeld(findings) },
          reporting(provenance),
        ),
      });
  }
  return { objects: objects(), quality: {}, verdict: 'refuse' };
}

/** Similarity goes by the name of its measure. */
function registrationFigures(measured: RegistrationQuality): QualityFigure[] {
  const measure = measured.similarityMeasure.toLowerCase();
  return figuresOf(measured).map(({ name, value }) => ({
    name: name.startsWith('similarity') ? measure + name.slice('similarity'.length) : name,
    value,
  }));
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
  if (pool.zoo.get(id)?.card.emit.kind === 'segmentation')
    return produceMasks(pool, { id, instances, settings }, options);
  if (first === undefined || !PROJECTIONS.has(asciiValue(first.head.dataSet, 0x00080060) ?? ''))
    return produceZoo(pool, { id, source: await loadedFrom(instances), settings }, options);
  const outputs = options.outputs ?? DEFAULT_OUTPUTS;
  const objects: DerivedObject[] = [];
  const figures: Record<string, number | string>[] = [];
  let verdict: Produced['verdict'] = 'pass';
  for (const [index, instance] of instances.entries()) {
    const { card, result, geometry, modality, provenance } = await runManifest(
      pool,
      { id, source: { heads: [instance.head], volume: await readProjection(instance) }, settings },
      { ...options, onProgress: (step, share) => options.onProgress?.(step, (index + share) / instances.length) },
    );
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
    figures.push(quality(result.quality));
    if (result.verdict.outcome === 'warn') verdict = 'warn';
  }
  return { objects, quality: meanOf(figures), verdict };
}

/** Runs a model that has a manifest on one volume. @throws Refusal PipelineRefused */
async function produceZoo(pool: Pool, request: ZooRequest, options: ProduceOptions): Promise<Produced> {
  const { source } = request;
  const outputs = options.outputs ?? DEFAULT_OUTPUTS;
  const kept = keptOf(source, outputs);
  const results = await eachVolume(source, options, (volume, one) => {
    const { others: _, ...rest } = source;
    return runManifest(pool, { ...request, source: { ...rest, volume } }, one);
  });
  const [run] = results;
  if (run === undefined) throw new Error('a series without a volume');
  const { card } = run;
  const measured = meanOf(results.map(({ result }) => result.quality));
  const verdict = worstOf(results.map(({ result }) => result.verdict));
  const voxels = results.map(({ result }) => result);
  const provenance = { ...run.provenance, figures: figuresOf(measured) };
  const { before, after } = shownPlanes(kept, voxels);
  const [first] = source.heads;
  const window = (first === undefined ? undefined : windowIn(first)) ?? windowOver(before);
  const made: Made = {
    source,
    outputs,
    intake: options.intake,
    verdict,
    provenance,
    panels: [
      panelOf('before', before, window),
      panelOf('after', after, window),
      differencePanel('difference', after, before),
    ],
    shown: Object.keys(measured).slice(0, MOST_SHOWN),
    window,
  };
  function* objects(): Generator<DerivedObject> {
    if (outputs.includes('image'))
      yield* withPresentation(
        made,
        deriveImageSeries({
          kind: 'corrected',
          done: { imageType: doneBy(card), code: codeOf(card.emit.derivation) },
          sources: source.heads,
          ...several(resultVolumes(kept, voxels)),
          provenance,
        }),
      );
    yield* beside(made);
    if (kept.voxels !== undefined)
      yield* deriveImageSeries({
        kind: 'residual',
        sources: source.heads,
        ...several(residuals(kept, voxels)),
        provenance: differing(provenance, SERIES_NUMBER.residual),
      });
  }
  return { objects: objects(), quality: quality(measured), verdict: verdict.outcome };
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

function cardOf(pool: Pool, pipeline: 'register' | 'align' | 'denoise'): ModelCard {
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
