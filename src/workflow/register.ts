/** Registration of one series to another: what is resampled, the registration object, and what shows how good it is. */
import { figureUnit, NO_UNIT, SCHEME } from '../derived/coded-figures.ts';
import { deriveDeformableRegistration } from '../derived/deformable-registration.ts';
import { deriveImageSeries } from '../derived/image-series.ts';
import { deriveParametricMap } from '../derived/parametric-map.ts';
import type { Code, DerivedObject, Provenance, QualityFigure } from '../derived/provenance.ts';
import { deriveSpatialRegistration } from '../derived/spatial-registration.ts';
import { runRegistration, type Pool } from '../pipelines/pool.ts';
import { layAligned, type RegistrationQuality } from '../pipelines/registration-quality.ts';
import { parseRegistrationSettings, registrationOf } from '../pipelines/registration-settings.ts';
import { fieldOfView } from '../pipelines/space.ts';
import { DEFAULT_OUTPUTS } from '../routing/rules.ts';
import { beside, differing, SERIES_NUMBER, withPresentation, type LoadedSeries, type Made } from './beside.ts';
import { eachVolume, meanOf, refuseSeveral, volumesOf, worstOf } from './each-volume.ts';
import {
  cardOf,
  figuresOf,
  plain,
  provenanceOf,
  quality,
  several,
  type PipelineSettings,
  type Produced,
  type ProduceOptions,
} from './model-run.ts';
import {
  checkerboardPanel,
  differencePanel,
  middleOf,
  panelOf,
  planeOf,
  planeThrough,
  scaledTo,
  subtracted,
} from './panels.ts';

const JACOBIAN: Code = { value: 'JACOBIAN', scheme: SCHEME, meaning: 'Jacobian determinant of the displacement' };
const INVERSE_CONSISTENCY: Code = { value: 'IC-RESIDUAL', scheme: SCHEME, meaning: 'Inverse consistency residual' };

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

/** Similarity goes by the name of its measure. */
function registrationFigures(measured: RegistrationQuality): QualityFigure[] {
  const measure = measured.similarityMeasure.toLowerCase();
  return figuresOf(measured).map(({ name, value }) => ({
    name: name.startsWith('similarity') ? measure + name.slice('similarity'.length) : name,
    value,
  }));
}
