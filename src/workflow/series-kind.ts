/** What a series is: images that pipelines are for, a scout, a screen save, a projection, or no images at all. */
import { asciiValue, asciiValues, findElement, numberValue } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import type { Plane, Vector3 } from '../dicom/slices.ts';

/** What a series is: `image` is what pipelines are for; `no-image` has no pixels: reports, contours, presentation states. */
export type SeriesKind = 'image' | 'localizer' | 'screen-save' | 'projection' | 'no-image';

/** Modalities whose series are volumes. */
export const VOLUMES: ReadonlySet<string> = new Set(['CT', 'MR', 'PT']);

const LOCALIZERS = ['LOCALIZER', 'SCOUT', 'TOPOGRAM', 'SURVEY'];
const SCREENS = ['SCREEN SAVE', 'SCREENSAVE', 'SCREENSHOT', 'CSAPARALLEL', 'DOSE_INFO', 'DOSE INFO'];
const PROJECTED = ['MIP', 'MIN_IP', 'MAX_IP', 'MINIP', 'PROJECTION IMAGE', 'VOLUME_RENDER', 'VOLUME RENDERING', 'VRT'];

/** Secondary Capture and its multi-frame classes (PS3.4 table B.5-1). */
const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7';

/** What the kind of a series is told by. */
export interface KindNotes {
  readonly heads: number;
  /** Of the first head. */
  readonly modality: string;
  /** How many heads say what of themselves. */
  readonly said: ReadonlyMap<SeriesKind, number>;
  readonly planes: readonly Plane[];
}

/** By what the heads say, then by their planes. A scout or a screen save among the images of a series makes it no scout. */
export function kindNoted({ said, heads, planes, modality }: KindNotes): SeriesKind {
  const odd = oddOnes(said);
  const mostly = odd !== undefined && odd.count * 2 >= heads ? odd.kind : 'image';
  return mostly === 'image' && VOLUMES.has(modality) && isScout(planes) ? 'localizer' : mostly;
}

/** What most of the heads say that are no images; undefined where all are. */
export function oddOnes(said: ReadonlyMap<SeriesKind, number>): { kind: SeriesKind; count: number } | undefined {
  return (['localizer', 'screen-save', 'projection', 'no-image'] as const)
    .map((kind) => ({ kind, count: said.get(kind) ?? 0 }))
    .filter(({ count }) => count > 0)
    .toSorted((a, b) => b.count - a.count)[0];
}

/** What one head says of itself. */
export function kindSaid({ dataSet, pixelData }: Head): SeriesKind {
  if (pixelData === undefined && findElement(dataSet, tag('Rows')) === undefined) return 'no-image';
  const type = asciiValues(dataSet, tag('ImageType')).map((value) => value.toUpperCase());
  const says = (words: readonly string[]): boolean => type.slice(2).some((value) => words.includes(value));
  if (says(LOCALIZERS)) return 'localizer';
  const colour = (numberValue(dataSet, tag('SamplesPerPixel')) ?? 1) > 1;
  if (
    (asciiValue(dataSet, tag('SOPClassUID')) ?? '').startsWith(SECONDARY_CAPTURE) ||
    says(SCREENS) ||
    (colour && VOLUMES.has(asciiValue(dataSet, tag('Modality')) ?? ''))
  )
    return 'screen-save';
  return says(PROJECTED) ? 'projection' : 'image';
}

/** A scout has a handful of images in two or three directions that stand across each other; a radial series has many. */
function isScout(planes: readonly Plane[]): boolean {
  if (planes.length > MOST_SCOUTS) return false;
  const directions: Vector3[] = [];
  for (const { row: r, column: c } of planes) {
    const normal = [r[1] * c[2] - r[2] * c[1], r[2] * c[0] - r[0] * c[2], r[0] * c[1] - r[1] * c[0]] as const;
    if (directions.every((known) => Math.abs(dot(known, normal)) < ALIKE)) directions.push(normal);
  }
  const across = directions.every((one, n) =>
    directions.slice(n + 1).every((other) => Math.abs(dot(one, other)) < ACROSS),
  );
  return across && (directions.length === 2 || directions.length === 3);
}

const MOST_SCOUTS = 60;
/** Cosines of 20 and 45 degrees. */
const [ALIKE, ACROSS] = [0.94, 0.7071];

function dot(a: Vector3, b: Vector3): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}
