/**
 * What is odd about a series as it came in: missing attributes, mixed sizes and depths, gaps and duplicates, geometry beyond the limits
 * of its modality, values of its pixels, and figures unlike the site's own earlier ones. Heads and samples in, a report out.
 */
import type { IntakeLimits } from '../config/gateway-file.ts';
import { asciiValue, findElement, numberValue } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { partsOf } from '../dicom/parts.ts';
import { Refusal } from '../dicom/refusal.ts';
import { planesOf, type Plane } from '../dicom/slices.ts';
import { unlikeHistory, type FigureName, type Figures } from './intake-history.ts';
import { pixelFigures, type Sample } from './intake-sample.ts';
import { kindNoted, kindSaid, oddOnes, VOLUMES, type KindNotes, type SeriesKind } from './series-kind.ts';

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
  /** Percent of sampled voxels at the upper end of the stored bits, or cut off at one value below it. */
  readonly saturatedPercent: number;
  /** Sampled images in which every pixel has one value. */
  readonly constantImages: number;
  readonly sampledImages: number;
  /** Names of figures outside the fences of the site's own history, and `isolation` where all together are unlike it. */
  readonly outliers: readonly string[];
  /** Score of an isolation forest grown on the site's own history, 0 to 1; NaN while there is too little of it. */
  readonly isolation: number;
  /** A sentence for each finding. */
  readonly findings: readonly string[];
}

/** Of every image with stored pixels (PS3.3 C.7.6.3). */
const KEY = ['SOPClassUID', 'Modality', 'SamplesPerPixel', 'PhotometricInterpretation', 'Rows', 'Columns'];
const STORED = ['BitsAllocated', 'BitsStored', 'PixelRepresentation'];
const PLACED = ['FrameOfReferenceUID'];
/** Of single-frame images; multi-frame ones have them in functional groups, which `planesOf` reads. */
const PLANE = ['ImagePositionPatient', 'ImageOrientationPatient', 'PixelSpacing', 'SliceThickness'];
const SINGLE_FRAME: Readonly<Record<string, readonly string[]>> = {
  CT: [...PLANE, 'RescaleSlope', 'RescaleIntercept'],
  MR: PLANE,
  PT: [...PLANE, 'RescaleSlope', 'RescaleIntercept', 'Units'],
  DX: ['ImagerPixelSpacing'],
  MG: ['ImagerPixelSpacing'],
};

/** What is noted of the heads of a series; the heads themselves are let go: a long series has thousands. */
interface Notes extends KindNotes {
  heads: number;
  /** Of the first head, as the modality: empty and NaN before it. */
  modality: string;
  thicknessMm: number;
  readonly said: Map<SeriesKind, number>;
  readonly planes: Plane[];
  /** At least one image has no place in the patient. */
  unplaced: boolean;
  /** Keywords that an image of the modality has, and those of them that at least one head lacks. */
  wanted: readonly string[];
  readonly lacking: Set<string>;
  readonly sizes: Set<string>;
  readonly depths: Set<string>;
  readonly thicknesses: Set<number>;
}

export interface IntakeCheck {
  take(head: Head): void;
  /** After the last head. */
  end(samples: readonly Sample[], limits: IntakeLimits | undefined, history: readonly Figures[]): IntakeReport;
}

export function openIntakeCheck(): IntakeCheck {
  const notes = noNotes();
  return {
    take: (head) => note(notes, head),
    end: (samples, limits, history) => reportOf(notes, samples, limits, history),
  };
}

/** What a series is, by its heads alone. */
export function kindOf(heads: readonly Head[]): SeriesKind {
  const notes = noNotes();
  for (const head of heads) note(notes, head);
  return kindNoted(notes);
}

function noNotes(): Notes {
  return {
    heads: 0,
    modality: '',
    thicknessMm: NaN,
    said: new Map(),
    planes: [],
    unplaced: false,
    wanted: [],
    lacking: new Set(),
    sizes: new Set(),
    depths: new Set(),
    thicknesses: new Set(),
  };
}

function note(notes: Notes, head: Head): void {
  const { dataSet } = head;
  const values = (keywords: readonly string[]): string =>
    keywords.map((keyword) => numberValue(dataSet, tag(keyword))).join();
  const thicknessMm = numberValue(dataSet, tag('SliceThickness'));
  if (notes.heads === 0) {
    notes.modality = asciiValue(dataSet, tag('Modality')) ?? '';
    notes.thicknessMm = thicknessMm ?? NaN;
    notes.wanted = wantedOf(notes.modality);
  }
  const said = kindSaid(head);
  notes.said.set(said, (notes.said.get(said) ?? 0) + 1);
  try {
    notes.planes.push(...planesOf(head, notes.heads));
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    notes.unplaced = true;
  }
  for (const keyword of notes.wanted) if (lacks(head, keyword, notes.modality)) notes.lacking.add(keyword);
  notes.sizes.add(values(['Rows', 'Columns']));
  notes.depths.add(values(['BitsAllocated', 'BitsStored', 'PixelRepresentation']));
  if (thicknessMm !== undefined) notes.thicknesses.add(thicknessMm);
  notes.heads++;
}

function reportOf(
  notes: Notes,
  samples: readonly Sample[],
  limits: IntakeLimits | undefined,
  history: readonly Figures[],
): IntakeReport {
  const { modality, planes } = notes;
  const volumetric = VOLUMES.has(modality);
  const kind = kindNoted(notes);
  const missingAttributes = missingIn(notes, kind);
  const order = kind === 'image' && volumetric ? stepsOf(planes) : NO_STEPS;
  const pixels = pixelFigures(samples);
  const [plane] = planes;
  const figures: Figures = {
    instances: notes.heads,
    pixelMm: plane?.spacingMm[0] ?? NaN,
    spacingMm: order.usualMm,
    thicknessMm: Number.isNaN(notes.thicknessMm) ? (plane?.thicknessMm ?? NaN) : notes.thicknessMm,
    ...pixels.figures,
  };
  const beyondLimits = kind === 'image' ? beyond(figures, limits) : [];
  const airless = kind === 'image' && modality === 'CT' && figures.lowest > AIR_HU;
  const { outliers, isolation, usual } =
    kind === 'image' ? unlikeHistory(figures, history) : { outliers: [], isolation: NaN, usual: NaN };
  const mixedSizes = notes.sizes.size > 1;
  const mixedBits = notes.depths.size > 1;
  // Masks have nothing between their ends, and a screen save is often flat.
  const pictures = kind === 'image' && modality !== 'SEG';
  const thicknesses = volumetric ? notes.thicknesses.size : 1;
  const odd = oddOnes(notes.said);
  const findings = [
    ...missingAttributes.map((keyword) => `${keyword} is absent in at least one image`),
    ...(kind === 'image' && odd !== undefined ? [`images that are a ${odd.kind}: ${odd.count} of ${notes.heads}`] : []),
    ...(notes.unplaced && kind === 'image' && volumetric ? ['at least one image has no place in the patient'] : []),
    ...(mixedSizes ? ['sizes are mixed'] : []),
    ...(mixedBits ? ['bit depths are mixed'] : []),
    ...(order.gaps > 0 ? [`gaps: ${order.gaps}, slices missing: about ${order.missing}`] : []),
    ...(order.duplicates > 0 ? [`slices at a place that another has: ${order.duplicates}`] : []),
    ...beyondLimits.map((name) => sentence(name, figures, limits)),
    ...(airless ? [`lowest is ${figures.lowest.toPrecision(4)}: a CT in HU has air below ${AIR_HU}`] : []),
    ...(thicknesses > 1 && kind === 'image' ? [`${thicknesses} slice thicknesses are mixed`] : []),
    ...(pixels.constant > 0 && pictures
      ? [`sampled images with one value throughout: ${pixels.constant} of ${samples.length}`]
      : []),
    ...(pixels.saturated > MOST_SATURATED_PERCENT && pictures
      ? [`${pixels.saturated.toFixed(1)} % of the voxels are saturated`]
      : []),
    ...outliers.map((name) =>
      name === 'isolation'
        ? `all figures together are unlike ${history.length} earlier series: isolation ${isolation.toFixed(3)}, usual up to ${usual.toFixed(3)}`
        : `${name} is ${figures[name].toPrecision(4)}, unlike ${history.length} earlier series`,
    ),
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
    beyondLimits: airless && !beyondLimits.includes('lowest') ? [...beyondLimits, 'lowest'] : beyondLimits,
    saturatedPercent: pixels.saturated,
    constantImages: pixels.constant,
    sampledImages: samples.length,
    outliers,
    isolation,
    findings,
  };
}

/** No series of a person is without air around or inside, unless it is not in HU. */
const AIR_HU = -200;
const MOST_SATURATED_PERCENT = 1;

/** In the order of reports: first those that every image has, last those of one image of its modality. */
function wantedOf(modality: string): readonly string[] {
  return [...KEY, ...STORED, ...(VOLUMES.has(modality) ? PLACED : []), ...(SINGLE_FRAME[modality] ?? [])];
}

function lacks({ dataSet, pixelData }: Head, keyword: string, modality: string): boolean {
  // Pixels as floating point numbers have no stored bits (PS3.3 C.7.6.24).
  if (STORED.includes(keyword) && pixelData !== undefined && pixelData.tag !== 0x7fe00010) return false;
  const single = SINGLE_FRAME[modality]?.includes(keyword) === true;
  if (single && findElement(dataSet, tag('PerFrameFunctionalGroupsSequence')) !== undefined) return false;
  const element = findElement(dataSet, tag(keyword));
  return element === undefined || element.valueEnd === element.valueStart;
}

/** What has no pixels needs none of them; what is no image has no place that it must tell. */
function missingIn({ wanted, lacking }: Notes, kind: SeriesKind): string[] {
  if (kind === 'no-image') return [];
  return (kind === 'image' ? wanted : [...KEY, ...STORED]).filter((keyword) => lacking.has(keyword));
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
