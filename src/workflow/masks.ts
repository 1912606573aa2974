/**
 * What a model that makes masks leaves: a Segmentation on its source, a report with the size of each segment, and a key image with the
 * outlines. A series is one volume, or, where images have no place in the patient, image by image.
 */
import { colourOf } from '../derived/display-colour.ts';
import { figureUnit } from '../derived/coded-figures.ts';
import type { Line, Panel } from '../derived/key-image.ts';
import { deriveMeasurementReport, type MeasuredSegment, type ReportRequest } from '../derived/measurement-report.ts';
import type { DerivedObject, Provenance, QualityFigure } from '../derived/provenance.ts';
import { deriveSegmentation, type Segment } from '../derived/segmentation.ts';
import { asciiValue, numberValues } from '../dicom/data-set.ts';
import { areProjections, readProjection } from '../dicom/projections.ts';
import { Refusal } from '../dicom/refusal.ts';
import { readVolume, type SeriesInstance, type VolumeGeometry } from '../dicom/volume.ts';
import { GatesRefusal } from '../pipelines/gates.ts';
import { segmentsOf } from '../pipelines/mask-sizes.ts';
import { runMasks, type Pool } from '../pipelines/pool.ts';
import { parseZooSettings } from '../pipelines/zoo.ts';
import type { ManifestCard, ManifestSegment } from '../pipelines/zoo-manifest.ts';
import type { MaskResult } from '../pipelines/zoo-masks.ts';
import { DEFAULT_OUTPUTS, type Output } from '../routing/rules.ts';
import { keyImageOf, notHeld, reporting, type LoadedSeries } from './beside.ts';
import { eachImage } from './each-volume.ts';
import {
  codeOf,
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
import { middleOf, panelOf, planeOf, windowIn, windowOver, type Window } from './panels.ts';

export interface ManifestWork {
  readonly id: string;
  readonly instances: readonly SeriesInstance[];
  readonly settings: PipelineSettings;
}

/** @throws Refusal PipelineRefused when no image of the series has a mask */
export async function produceMasks(
  pool: Pool,
  { id, instances, settings }: ManifestWork,
  options: ProduceOptions,
): Promise<Produced> {
  const heads = instances.map(({ head }) => head);
  const card = manifestOf(pool, id);
  if (!areProjections(heads)) {
    refuseUnlessGated(card, heads);
    const source = { heads, volume: await readVolume(instances) };
    return maskOne(pool, { id, source, planar: false, settings }, options);
  }
  let refused: Refusal | undefined;
  const made = await eachImage(instances, options, async (instance, one) => {
    try {
      refuseUnlessGated(card, [instance.head]);
      const source = { heads: [instance.head], volume: await readProjection(instance) };
      return await maskOne(pool, { id, source, planar: true, settings }, one);
    } catch (error) {
      // The lateral view beside the frontal one: its refusal is told, and the other one's mask is still wanted.
      if (!(error instanceof Refusal) || error.reason !== 'PipelineRefused') throw error;
      refused ??= error;
      return refusedImage(pool, { id, instance, settings }, error, options.outputs ?? DEFAULT_OUTPUTS);
    }
  });
  const delivered = made.filter(({ verdict }) => verdict !== 'refuse');
  if (refused !== undefined && delivered.length === 0) throw refused;
  return {
    objects: made.flatMap(({ objects }) => [...objects]),
    quality: delivered[0]?.quality ?? {},
    verdict: made.every(({ verdict }) => verdict === 'pass') ? 'pass' : 'warn',
  };
}

function refusedImage(
  pool: Pool,
  { id, instance, settings }: { id: string; instance: SeriesInstance; settings: PipelineSettings },
  refusal: Refusal,
  outputs: readonly Output[],
): Produced {
  const findings = refusal instanceof GatesRefusal ? refusal.findings : [];
  const figures = findings.flatMap(({ name, value }) => (Number.isFinite(value) ? [{ name, value }] : []));
  const provenance = zooProvenance(manifestOf(pool, id), settings, figures);
  const report = (): DerivedObject =>
    deriveMeasurementReport({
      source: [instance.head],
      outcome: 'refuse',
      reasons: findings.length === 0 ? [refusal.message] : notHeld(findings),
      provenance: reporting(provenance),
    });
  return { objects: outputs.includes('report') ? [report()] : [], quality: {}, verdict: 'refuse' };
}

interface OneRun {
  readonly id: string;
  readonly source: LoadedSeries;
  /** One image without a place in the patient. */
  readonly planar: boolean;
  readonly settings: PipelineSettings;
}

async function maskOne(pool: Pool, run: OneRun, options: ProduceOptions): Promise<Produced> {
  const { id, source, planar } = run;
  const card = manifestOf(pool, id);
  const outputs = options.outputs ?? DEFAULT_OUTPUTS;
  const settings = parseZooSettings(card, { ...run.settings });
  const { geometry } = source.volume;
  const grey = outputs.includes('key-image') ? greyOf(source) : undefined;
  const result = await runMasks(pool, id, zooInput(card, source, settings), options);
  const sizes = sizesOf(card, source, result, planar);
  const figures: QualityFigure[] = [
    ...sizes.flatMap(({ segment, size }) => (size === undefined ? [] : [{ name: sizeName(segment, size), ...size }])),
    ...figuresOf(result.quality),
  ];
  const provenance = zooProvenance(card, settings, figures);
  function* objects(): Generator<DerivedObject> {
    const mask = outputs.includes('image') ? segmentationOf(card, source, result, provenance) : undefined;
    if (mask !== undefined) yield mask;
    const regions = mask === undefined ? undefined : regionsOf(mask, result, sizes, planar);
    const { outcome, findings } = result.verdict;
    if (outputs.includes('report'))
      yield deriveMeasurementReport({
        source: source.heads,
        outcome,
        reasons: notHeld(findings),
        provenance: reporting(provenance),
        ...(regions === undefined ? {} : { regions }),
      });
    if (grey !== undefined)
      yield keyImageOf(
        {
          source,
          outputs,
          verdict: result.verdict,
          provenance,
          panels: panelsOf(card, geometry, grey, result),
          shown: [],
        },
        legend(sizes),
      );
  }
  return {
    objects: objects(),
    quality: Object.fromEntries(Object.entries(quality(result.quality)).filter(([, value]) => Number.isFinite(value))),
    verdict: result.verdict.outcome,
  };
}

function segmentationOf(
  card: ManifestCard,
  { heads: sources, volume: { geometry } }: LoadedSeries,
  { labels, probabilities }: MaskResult,
  provenance: Provenance,
): DerivedObject {
  const segments: Segment[] = segmentsOf(card).map((segment, index) => ({
    label: segment.label,
    category: needed(segment.category),
    type: needed(segment.type),
    typeModifier: codeOf(segment.typeModifier),
    region: codeOf(segment.region),
    regionModifier: codeOf(segment.regionModifier),
    colour: colourOf(index, segment.colour),
  }));
  const common = { sources, geometry, segments, provenance };
  return probabilities === undefined
    ? deriveSegmentation({ ...common, kind: 'binary', mask: labels })
    : deriveSegmentation({ ...common, kind: 'fractional', mask: probabilities });
}

function needed(code: ManifestSegment['type']): Segment['type'] {
  return { value: code.code, scheme: code.scheme, meaning: code.meaning };
}

interface Sized {
  readonly segment: ManifestSegment;
  /** Segment Number. */
  readonly number: number;
  /** Absent where nothing of it was found. */
  readonly size: MeasuredSegment['size'] | undefined;
  readonly certainty: number;
}

function sizesOf(card: ManifestCard, source: LoadedSeries, result: MaskResult, planar: boolean): Sized[] {
  const { spacingMm } = source.volume.geometry;
  const [first] = source.heads;
  const scaled =
    !planar ||
    [0x00280030, 0x00181164].some((key) => first !== undefined && numberValues(first.dataSet, key).length === 2);
  const mm2 = spacingMm[0] * spacingMm[1];
  return segmentsOf(card).map((segment, index) => {
    const voxels = result.voxels[index] ?? 0;
    const size = !planar
      ? ({ value: (voxels * mm2 * spacingMm[2]) / 1000, unit: 'mL' } as const)
      : scaled
        ? ({ value: (voxels * mm2) / 100, unit: 'cm2' } as const)
        : ({ value: voxels, unit: '{pixels}' } as const);
    const certainty = result.quality[`${segment.name}Certainty`] ?? 0;
    return { segment, number: index + 1, size: voxels === 0 ? undefined : size, certainty };
  });
}

function sizeName({ name }: ManifestSegment, { unit }: MeasuredSegment['size']): string {
  return name + (unit === 'mL' ? 'Volume' : 'Area');
}

/** Where each segment lies in the segmentation; frames stand by segment, those without a pixel are left out. */
function regionsOf(
  mask: DerivedObject,
  { labels, probabilities }: MaskResult,
  sizes: readonly Sized[],
  planar: boolean,
): ReportRequest['regions'] {
  let frame = 0;
  const measured = sizes.flatMap(({ segment, number, size, certainty }): MeasuredSegment[] => {
    const drawn =
      probabilities === undefined
        ? size !== undefined
        : probabilities.subarray((number - 1) * labels.length, number * labels.length).some((value) => value > 0);
    if (drawn) frame++;
    if (size === undefined) return [];
    const { label, type, typeModifier, region, regionModifier } = segment;
    const laterality = codeOf(regionModifier ?? typeModifier);
    return [{ number, frame, label, type: needed(type), region: codeOf(region), laterality, size, certainty }];
  });
  return { segmentation: mask, planar, measured };
}

/** The series as it is seen, a byte a voxel: which slice will be shown is known when the masks are. */
function greyOf({ heads, volume }: LoadedSeries): Uint8Array {
  const k = middleOf(volume.geometry);
  const image = heads[volume.sources[k]?.instance ?? 0];
  const { center, width }: Window = windowIn(image) ?? windowOver(planeOf(volume, k));
  const turned = image !== undefined && asciiValue(image.dataSet, 0x00280004) === 'MONOCHROME1';
  // A loop of its own: `from` would first list every voxel.
  const grey = new Uint8Array(volume.voxels.length);
  for (let n = 0; n < grey.length; n++) {
    const share = Math.max(0, Math.min(1, (volume.voxels[n]! - center) / width + 0.5));
    grey[n] = Math.round(255 * (turned ? 1 - share : share));
  }
  return grey;
}

/** The slice with most of the masks, without and with their outlines. */
function panelsOf(card: ManifestCard, geometry: VolumeGeometry, grey: Uint8Array, { labels }: MaskResult): Panel[] {
  const { columns, rows, slices, spacingMm } = geometry;
  const size = columns * rows;
  const areas = Array.from({ length: slices }, (_, k) =>
    labels.subarray(k * size, (k + 1) * size).reduce((sum, label) => sum + (label > 0 ? 1 : 0), 0),
  );
  const most = Math.max(...areas);
  const k = most === 0 ? middleOf(geometry) : areas.indexOf(most);
  const [from, to] = [k * size, (k + 1) * size];
  const values = Float32Array.from(grey.subarray(from, to));
  const plane = { values, columns, rows, pixelMm: [spacingMm[0], spacingMm[1]] as const };
  const panel = panelOf('source', plane, { center: 127.5, width: 255 });
  const colours = segmentsOf(card).map(({ colour }, index) => colourOf(index, colour));
  return [panel, { ...panel, title: 'outlines', outlines: { labels: labels.slice(from, to), colours } }];
}

function legend(sizes: readonly Sized[]): Line[] {
  return sizes.map(({ segment: { label, colour }, size }, index) => ({
    text:
      size === undefined
        ? `${label}: not found`
        : `${label}: ${Number(size.value.toPrecision(3))} ${size.unit === '{pixels}' ? 'pixels' : figureUnit('', size.unit).value}`,
    colour: colourOf(index, colour),
  }));
}
