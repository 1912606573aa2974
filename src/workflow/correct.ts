/**
 * Correction of a series, whatever the model: the corrected images, what was taken away, and what shows both. Voxels go to the pipeline,
 * so what is shown of the source is kept before.
 */
import { deriveImageSeries, type ImageSeriesRequest } from '../derived/image-series.ts';
import type { DerivedObject } from '../derived/provenance.ts';
import type { Head } from '../dicom/object.ts';
import type { SeriesVolume, Volume } from '../dicom/volume.ts';
import type { Verdict } from '../pipelines/gates.ts';
import { DEFAULT_OUTPUTS, type Output } from '../routing/rules.ts';
import { beside, differing, SERIES_NUMBER, withPresentation, type LoadedSeries, type Made } from './beside.ts';
import { volumesOf } from './each-volume.ts';
import { quality, several, type Produced, type ProduceOptions } from './model-run.ts';
import { differencePanel, middleOf, panelOf, planeOf, type Plane, type Window } from './panels.ts';

/** What is kept of a series whose voxels go to the pipeline. */
export interface Kept {
  readonly volumes: readonly Pick<SeriesVolume, 'geometry' | 'modality'>[];
  /** The volume, its slice and the picture of it that the key image shows. */
  readonly shown: number;
  readonly k: number;
  readonly before: Plane;
  /** For the difference, where one is wanted. */
  readonly voxels: readonly Float32Array[] | undefined;
}

export function keptOf(source: LoadedSeries, outputs: readonly Output[]): Kept {
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

export interface Voxels {
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

/** Result minus source, in the room of what was kept of the source: the last thing that is made of it. */
function residuals(kept: Kept, results: readonly Voxels[]): Volume[] {
  return resultVolumes(kept, results).flatMap((volume, index) => {
    const voxels = kept.voxels?.[index];
    if (voxels === undefined) return [];
    for (let n = 0; n < voxels.length; n++) voxels[n] = volume.voxels[n]! - voxels[n]!;
    return [{ ...volume, voxels }];
  });
}

export interface Correction {
  readonly source: LoadedSeries;
  readonly kept: Kept;
  /** Of each volume. */
  readonly results: readonly Voxels[];
  readonly verdict: Verdict;
  readonly measured: object;
  readonly provenance: Made['provenance'];
  /** Names of the figures that stand under the panels. */
  readonly shown: readonly string[];
  /** Of the slice that is shown, and the image that it comes from: scanners window every image by itself. */
  readonly windowOf: (before: Plane, image: Head | undefined) => Window;
  /** What the corrected series says of itself. */
  readonly image: Pick<ImageSeriesRequest, 'kind' | 'done' | 'provenance'>;
}

export function producedOf(correction: Correction, options: ProduceOptions): Produced {
  const { source, kept, results, verdict, measured, provenance, image } = correction;
  const outputs = options.outputs ?? DEFAULT_OUTPUTS;
  const { before, after } = shownPlanes(kept, results);
  const place = volumesOf(source)[kept.shown]?.sources[kept.k];
  const window = correction.windowOf(before, place === undefined ? undefined : source.heads[place.instance]);
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
    shown: correction.shown,
    window,
  };
  function* objects(): Generator<DerivedObject> {
    const corrected = (): Iterable<DerivedObject> =>
      deriveImageSeries({ ...image, sources: source.heads, ...several(resultVolumes(kept, results)) });
    if (outputs.includes('image')) yield* withPresentation(made, corrected());
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
