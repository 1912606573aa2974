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
import { readVolume, type SeriesInstance, type SeriesVolume } from '../dicom/volume.ts';
import { parseDenoiseSettings } from '../pipelines/correction.ts';
import { GatesRefusal } from '../pipelines/gates.ts';
import type { ModelCard } from '../pipelines/manifest.ts';
import { runDenoising, runRegistration, runZoo, type Pool } from '../pipelines/pool.ts';
import type { RegistrationQuality } from '../pipelines/registration.ts';
import { parseRegistrationSettings } from '../pipelines/registration-settings.ts';
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
  type Window,
} from './panels.ts';
import {
  beside,
  differing,
  notHeld,
  reporting,
  SERIES_NUMBER,
  withPresentation,
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
  const outputs = options.outputs ?? DEFAULT_OUTPUTS;
  const k = middleOf(fixed.volume.geometry);
  const [fixedPlane, before] = [planeOf(fixed.volume, k), planeThrough(moving.volume, fixed.volume.geometry, k)];
  const alike = fixed.volume.modality === moving.volume.modality;
  const fixedVoxels = outputs.includes('difference') && alike ? fixed.volume.voxels.slice() : undefined;
  const result = await runRegistration(
    pool,
    { fixed: plain(fixed.volume), moving: plain(moving.volume), settings },
    options,
  );
  const provenance = provenanceOf(
    cardOf(pool, 'register'),
    `${settings.transform} registration of this series to another one of the same patient`,
    JSON.stringify(settings),
    registrationFigures(result.quality),
  );
  const after = planeOf(result.resampled, k);
  const same = result.quality.contrast === 'same';
  const made: Made = {
    source: moving,
    fixed,
    outputs,
    verdict: result.verdict,
    provenance,
    panels: [
      panelOf('fixed series', fixedPlane),
      panelOf('before', before),
      panelOf('registered', after),
      same
        ? differencePanel('difference', scaledTo(after, fixedPlane, result.resampled.modality), fixedPlane)
        : checkerboardPanel('fixed and registered', fixedPlane, after),
    ],
    shown: ['nccBefore', 'nccAfter', 'nmiBefore', 'nmiAfter', 'inverseConsistencyP95Mm', 'jacobianP1', 'jacobianP99'],
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
        volume: subtracted(
          result.resampled,
          fixedVoxels,
          // Of a deformation the rigid part tells where the moving series ends, to within what it bends there.
          fieldOfView(moving.volume.geometry, fixed.volume.geometry, result.rigid),
        ),
        provenance: differing(provenance, SERIES_NUMBER.subtracted),
      });
  }
  function* maps(): Generator<DerivedObject> {
    const common = { source: moving.heads, reference: fixed.heads, geometry: result.field.geometry };
    yield deriveParametricMap({
      ...common,
      values: result.maps.jacobian,
      quantity: JACOBIAN,
      unit: NO_UNIT,
      label: 'JACOBIAN',
      provenance: { ...provenance, seriesNumber: SERIES_NUMBER.jacobian, seriesSuffix: '[JACOBIAN]' },
    });
    yield deriveParametricMap({
      ...common,
      values: result.maps.inverseConsistencyMm,
      quantity: INVERSE_CONSISTENCY,
      unit: figureUnit('', 'mm'),
      label: 'UNCERTAINTY',
      provenance: { ...provenance, seriesNumber: SERIES_NUMBER.inverseConsistency, seriesSuffix: '[UNCERTAINTY]' },
    });
  }
  function* images(): Generator<DerivedObject> {
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
    yield settings.transform === 'deformable'
      ? deriveDeformableRegistration({ ...request, field: result.field })
      : deriveSpatialRegistration(request);
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
  const outputs = options.outputs ?? DEFAULT_OUTPUTS;
  const k = middleOf(geometry);
  const before = planeOf(source.volume, k);
  const sourceVoxels = outputs.includes('difference') ? source.volume.voxels.slice() : undefined;
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
  const after = planeOf({ geometry, voxels: result.voxels }, k);
  const window = windowIn(first) ?? SOFT_TISSUE;
  const made: Made = {
    source,
    outputs,
    verdict: result.verdict,
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
          volume: { geometry, modality, voxels: result.voxels },
          provenance: { ...provenance, seriesNumber: SERIES_NUMBER.denoised },
        }),
      );
    yield* beside(made);
    if (sourceVoxels !== undefined)
      yield* deriveImageSeries({
        kind: 'residual',
        sources: source.heads,
        volume: { geometry, modality, voxels: sourceVoxels.map((value, n) => (result.voxels[n] ?? value) - value) },
        provenance: differing(provenance, SERIES_NUMBER.residual),
      });
  }
  return {
    objects: objects(),
    quality: quality(result.quality),
    verdict: result.verdict.outcome,
  };
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
          cardOf(pool, pipeline === 'register' ? 'register' : 'denoise'),
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
        outcome: 'refuse',
        reasons: findings.length === 0 ? [refusal.message] : notHeld(findings),
        provenance: reporting(provenance),
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
    return produceZoo(pool, { id, source: { heads, volume: await readVolume(instances) }, settings }, options);
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
          outcome: result.verdict.outcome,
          reasons: notHeld(result.verdict.findings),
          provenance: reporting(provenance),
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
  const { source } = request;
  const outputs = options.outputs ?? DEFAULT_OUTPUTS;
  const k = middleOf(source.volume.geometry);
  const before = planeOf(source.volume, k);
  const sourceVoxels = outputs.includes('difference') ? source.volume.voxels.slice() : undefined;
  const { card, result, geometry, modality, provenance } = await runManifest(pool, request, options);
  const after = planeOf({ geometry, voxels: result.voxels }, k);
  const [first] = source.heads;
  const window = (first === undefined ? undefined : windowIn(first)) ?? windowOver(before);
  const made: Made = {
    source,
    outputs,
    verdict: result.verdict,
    provenance,
    panels: [
      panelOf('before', before, window),
      panelOf('after', after, window),
      differencePanel('difference', after, before),
    ],
    shown: Object.keys(result.quality).slice(0, MOST_SHOWN),
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
          volume: { geometry, modality, voxels: result.voxels },
          provenance,
        }),
      );
    yield* beside(made);
    if (sourceVoxels !== undefined)
      yield* deriveImageSeries({
        kind: 'residual',
        sources: source.heads,
        volume: { geometry, modality, voxels: sourceVoxels.map((value, n) => (result.voxels[n] ?? value) - value) },
        provenance: differing(provenance, SERIES_NUMBER.residual),
      });
  }
  return { objects: objects(), quality: quality(result.quality), verdict: result.verdict.outcome };
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
