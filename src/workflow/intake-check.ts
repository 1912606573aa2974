/**
 * What is odd about a series as it came in: missing attributes, mixed sizes and depths, gaps and duplicates, geometry beyond the limits
 * of its modality, values of its pixels, and figures unlike the site's own earlier ones. Pure: heads and samples in, a report out.
 */
import type { IntakeLimits } from '../config.ts';
import { asciiValue, asciiValues, findElement, numberValue } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { partsOf } from '../dicom/parts.ts';
import { Refusal } from '../dicom/refusal.ts';
import { planesOf, type Plane } from '../dicom/slices.ts';

/** What a series is: `image` is what pipelines are for. */
export type SeriesKind = 'image' | 'localizer' | 'screen-save' | 'projection';

/** One sampled frame: its real values, and what its stored bits can hold. */
export interface Sample {
  readonly values: Float32Array;
  readonly lowest: number;
  readonly highest: number;
}

/** Figures that are compared with the site's own history; NaN where not known. */
export const FIGURES = [
  'instances',
  'pixelMm',
  'spacingMm',
  'thicknessMm',
  'lowest',
  'highest',
  'mean',
  'deviation',
] as const;
export type Figures = Readonly<Record<(typeof FIGURES)[number], number>>;

export interface IntakeReport {
  readonly kind: SeriesKind;
  readonly figures: Figures;
  readonly gaps: number;
  readonly missingSlices: number;
  readonly duplicates: number;
  readonly volumes: number;
  /** Keywords that at least one instance lacks. */
  readonly missingAttributes: readonly string[];
  readonly mixedSizes: boolean;
  readonly mixedBits: boolean;
  /** Names of figures beyond the limits of the modality. */
  readonly beyondLimits: readonly string[];
  /** Percent of sampled voxels at the upper end of the stored bits. */
  readonly saturatedPercent: number;
  /** Sampled images in which every pixel has one value. */
  readonly constantImages: number;
  readonly sampledImages: number;
  /** Names of figures unlike the site's own history. */
  readonly outliers: readonly string[];
  /** A sentence for each finding. */
  readonly findings: readonly string[];
}

const KEY = ['SOPClassUID', 'Modality', 'Rows', 'Columns', 'BitsStored'];
const PLACED = ['FrameOfReferenceUID'];
/** Of single-frame images; multi-frame ones have them in functional groups, which `planesOf` reads. */
const PLANE = ['ImagePositionPatient', 'ImageOrientationPatient', 'PixelSpacing', 'SliceThickness'];
const CT_KEY = ['RescaleSlope', 'RescaleIntercept'];

/** Modalities whose series are volumes. */
export const VOLUMES: ReadonlySet<string> = new Set(['CT', 'MR', 'PT']);

const PROJECTED = ['MIP', 'MIN_IP', 'MAX_IP', 'MINIP', 'PROJECTION IMAGE', 'VOLUME_RENDER', 'VOLUME RENDERING', 'VRT'];

/** Secondary Capture and its multi-frame classes (PS3.4 table B.5-1). */
const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7';

/** By what the heads say, then by their planes: three directions in few images are a scout. */
export function kindOf(heads: readonly Head[]): SeriesKind {
  const [first] = heads;
  if (first === undefined) return 'image';
  const types = heads.map(({ dataSet }) => asciiValues(dataSet, tag('ImageType')).map((value) => value.toUpperCase()));
  const says = (words: readonly string[]): boolean =>
    types.some((values) => values.slice(2).some((value) => words.includes(value)));
  if (says(['LOCALIZER', 'SCOUT', 'TOPOGRAM'])) return 'localizer';
  const colour = (numberValue(first.dataSet, tag('SamplesPerPixel')) ?? 1) > 1;
  if (
    (asciiValue(first.dataSet, tag('SOPClassUID')) ?? '').startsWith(SECONDARY_CAPTURE) ||
    says(['SCREEN SAVE', 'SCREENSAVE', 'CSAPARALLEL']) ||
    (colour && VOLUMES.has(asciiValue(first.dataSet, tag('Modality')) ?? ''))
  )
    return 'screen-save';
  if (says(PROJECTED)) return 'projection';
  return 'image';
}

export function checkIntake(
  heads: readonly Head[],
  samples: readonly Sample[],
  limits: IntakeLimits | undefined,
  history: readonly Figures[],
): IntakeReport {
  const [first] = heads;
  const modality = first === undefined ? '' : (asciiValue(first.dataSet, tag('Modality')) ?? '');
  const volumetric = VOLUMES.has(modality);
  const { planes, unplaced } = placed(heads);
  const said = kindOf(heads);
  const directions = new Set(planes.map(({ row, column }) => [...row, ...column].map((c) => c.toFixed(1)).join())).size;
  const kind = said === 'image' && directions > 1 && planes.length <= MOST_SCOUTS ? 'localizer' : said;
  const missingAttributes = lacking(heads, modality, kind);
  const order = kind === 'image' && volumetric ? stepsOf(planes) : NO_STEPS;
  const pixels = pixelFigures(samples);
  const [plane] = planes;
  const figures: Figures = {
    instances: heads.length,
    pixelMm: plane?.spacingMm[0] ?? NaN,
    spacingMm: order.usualMm,
    thicknessMm:
      first === undefined ? NaN : (numberValue(first.dataSet, tag('SliceThickness')) ?? plane?.thicknessMm ?? NaN),
    ...pixels.figures,
  };
  const beyondLimits = kind === 'image' ? beyond(figures, limits) : [];
  const outliers = kind === 'image' ? outliersOf(figures, history) : [];
  const mixedSizes = several(heads, ['Rows', 'Columns']);
  const mixedBits = several(heads, ['BitsAllocated', 'BitsStored', 'PixelRepresentation']);
  const findings = [
    ...missingAttributes.map((keyword) => `${keyword} is absent in at least one image`),
    ...(unplaced && kind === 'image' && volumetric ? ['at least one image has no place in the patient'] : []),
    ...(mixedSizes ? ['sizes are mixed'] : []),
    ...(mixedBits ? ['bit depths are mixed'] : []),
    ...(order.gaps > 0 ? [`${order.gaps} gaps, about ${order.missing} slices missing`] : []),
    ...(order.duplicates > 0 ? [`${order.duplicates} slices at a place that another has`] : []),
    ...beyondLimits.map((name) => sentence(name, figures, limits)),
    ...(pixels.constant > 0
      ? [`${pixels.constant} of ${samples.length} sampled images have one value throughout`]
      : []),
    ...(pixels.saturated > MOST_SATURATED_PERCENT
      ? [`${pixels.saturated.toFixed(1)} % of the voxels are saturated`]
      : []),
    ...outliers.map((name) => `${name} is ${figures[name].toPrecision(4)}, unlike ${history.length} earlier series`),
  ];
  return {
    kind,
    figures,
    gaps: order.gaps,
    missingSlices: order.missing,
    duplicates: order.duplicates,
    volumes: order.volumes,
    missingAttributes,
    mixedSizes,
    mixedBits,
    beyondLimits,
    saturatedPercent: pixels.saturated,
    constantImages: pixels.constant,
    sampledImages: samples.length,
    outliers,
    findings,
  };
}

/** A scout has a handful of images in two or three directions. */
const MOST_SCOUTS = 60;
const MOST_SATURATED_PERCENT = 1;

function placed(heads: readonly Head[]): { planes: Plane[]; unplaced: boolean } {
  let unplaced = false;
  const planes = heads.flatMap((head, index) => {
    try {
      return planesOf(head, index);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      unplaced = true;
      return [];
    }
  });
  return { planes, unplaced };
}

function lacking(heads: readonly Head[], modality: string, kind: SeriesKind): string[] {
  const wanted = [...KEY, ...(kind !== 'image' || !VOLUMES.has(modality) ? [] : PLACED)];
  const single = [
    ...(kind !== 'image' || !VOLUMES.has(modality) ? [] : PLANE),
    ...(modality === 'CT' && kind === 'image' ? CT_KEY : []),
  ];
  return [...wanted, ...single].filter((keyword) =>
    heads.some(({ dataSet }) => {
      if (single.includes(keyword) && findElement(dataSet, tag('PerFrameFunctionalGroupsSequence')) !== undefined)
        return false;
      const element = findElement(dataSet, tag(keyword));
      return element === undefined || element.valueEnd === element.valueStart;
    }),
  );
}

function several(heads: readonly Head[], keywords: readonly string[]): boolean {
  return (
    new Set(heads.map(({ dataSet }) => keywords.map((keyword) => numberValue(dataSet, tag(keyword))).join())).size > 1
  );
}

interface Steps {
  readonly gaps: number;
  readonly missing: number;
  readonly duplicates: number;
  readonly volumes: number;
  readonly usualMm: number;
}

const NO_STEPS: Steps = { gaps: 0, missing: 0, duplicates: 0, volumes: 0, usualMm: NaN };

/** Gaps and duplicates of each volume along its normal. */
function stepsOf(planes: readonly Plane[]): Steps {
  if (planes.length === 0) return NO_STEPS;
  const parts = partsOf(planes);
  const all = parts.map(({ planes: own }) => stepsAlong(own));
  const sum = (key: 'gaps' | 'missing' | 'duplicates'): number => all.reduce((total, one) => total + one[key], 0);
  const longest = Math.max(...parts.map(({ planes: own }) => own.length));
  // A time point that ends early has lost slices too, unless it is another stack.
  const stacks = new Set(planes.map(({ variant }) => variant.stack)).size;
  const short = stacks > 1 ? 0 : parts.reduce((total, { planes: own }) => total + (longest - own.length), 0);
  const inside = sum('missing');
  return {
    gaps: sum('gaps'),
    missing: Math.max(inside, short),
    duplicates: sum('duplicates'),
    volumes: parts.length,
    usualMm: all[0]?.usualMm ?? NaN,
  };
}

function stepsAlong(planes: readonly Plane[]): Omit<Steps, 'volumes'> {
  const [first] = planes;
  if (first === undefined || planes.length < 2) return NO_STEPS;
  const { row: r, column: c } = first;
  const normal = [r[1] * c[2] - r[2] * c[1], r[2] * c[0] - r[0] * c[2], r[0] * c[1] - r[1] * c[0]];
  const places = planes
    .map(({ positionMm }) => positionMm.reduce((sum, value, axis) => sum + value * (normal[axis] ?? 0), 0))
    .sort((a, b) => a - b);
  const steps = places.slice(1).map((place, index) => place - (places[index] ?? 0));
  const real = steps.filter((step) => step > 1e-3).sort((a, b) => a - b);
  const usualMm = real[real.length >> 1] ?? NaN;
  const wide = steps.filter((step) => step > 1.5 * usualMm);
  return {
    gaps: wide.length,
    missing: wide.reduce((sum, step) => sum + Math.round(step / usualMm) - 1, 0),
    duplicates: steps.filter((step) => step < Math.max(1e-3, 0.05 * usualMm)).length,
    usualMm,
  };
}

function pixelFigures(samples: readonly Sample[]): {
  figures: Pick<Figures, 'lowest' | 'highest' | 'mean' | 'deviation'>;
  saturated: number;
  constant: number;
} {
  let [lowest, highest, sum, squares, count, top, constant] = [Infinity, -Infinity, 0, 0, 0, 0, 0];
  for (const sample of samples) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of sample.values) {
      if (value < low) low = value;
      if (value > high) high = value;
      if (value >= sample.highest) top++;
      sum += value;
      squares += value * value;
    }
    count += sample.values.length;
    if (low === high) constant++;
    lowest = Math.min(lowest, low);
    highest = Math.max(highest, high);
  }
  if (count === 0)
    return { figures: { lowest: NaN, highest: NaN, mean: NaN, deviation: NaN }, saturated: 0, constant: 0 };
  const mean = sum / count;
  const deviation = Math.sqrt(Math.max(0, squares / count - mean * mean));
  return { figures: { lowest, highest, mean, deviation }, saturated: (100 * top) / count, constant };
}

type FigureName = keyof Figures;

function beyond(figures: Figures, limits: IntakeLimits | undefined): FigureName[] {
  const within = (name: FigureName, limit: readonly [number, number] | undefined): boolean =>
    limit === undefined || Number.isNaN(figures[name]) || (figures[name] >= limit[0] && figures[name] <= limit[1]);
  const names: FigureName[] = (['pixelMm', 'spacingMm', 'thicknessMm'] as const).filter(
    (name) => !within(name, limits?.[name]),
  );
  return [...names, ...(['lowest', 'highest'] as const).filter((name) => !within(name, limits?.range))];
}

function sentence(name: string, figures: Figures, limits: IntakeLimits | undefined): string {
  const isRange = name === 'lowest' || name === 'highest';
  const limit = isRange ? limits?.range : limits?.[name as 'pixelMm' | 'spacingMm' | 'thicknessMm'];
  return `${name} is ${figures[name as FigureName].toPrecision(4)}; ${limit?.join(' to ') ?? 'another value'} is expected`;
}

/** Series of the same kind that must be there before anything is called unlike them. */
export const LEAST_HISTORY = 20;

/** Beyond the fences Q1 - 1.5 IQR, Q3 + 1.5 IQR; where the middle half is one value, beyond 1 % of it. */
export function outliersOf(figures: Figures, history: readonly Figures[]): FigureName[] {
  if (history.length < LEAST_HISTORY) return [];
  return FIGURES.filter((name) => {
    const known = history
      .map((one) => one[name])
      .filter(Number.isFinite)
      .sort((a, b) => a - b);
    const value = figures[name];
    if (known.length < LEAST_HISTORY || !Number.isFinite(value)) return false;
    const [q1, q3] = [quantile(known, 0.25), quantile(known, 0.75)];
    const reach = Math.max(1.5 * (q3 - q1), 0.01 * Math.max(Math.abs(q1), Math.abs(q3)), 1e-6);
    return value < q1 - reach || value > q3 + reach;
  });
}

function quantile(sorted: readonly number[], share: number): number {
  const at = share * (sorted.length - 1);
  const low = sorted[Math.floor(at)] ?? NaN;
  return low + (at % 1) * ((sorted[Math.ceil(at)] ?? low) - low);
}
