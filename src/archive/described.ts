/** What the index wants to know of an object, read from its head. */
import { tagKey, type DataSet } from '../dicom/data-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import { formatDicomJson } from '../dicom/json.ts';
import { differing, outlineOf, type Outline } from '../dicom/likeness.ts';
import type { Deidentified, PixelDataHeader } from '../dicom/object.ts';
import { readHead } from '../dicom/part10.ts';
import { pixelLayout, type FrameExtents, type PixelLayout } from '../dicom/pixel-data.ts';
import { ATTRIBUTE_KEYS } from './attribute-keys.ts';
import { BASE, INSTANCE_COLUMNS, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES, type Level } from './attributes.ts';

/** All that the index says of an instance but where it lies. */
export interface Described {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
  readonly sopInstanceUID: string;
  readonly sopClassUID: string;
  readonly transferSyntaxUID: string;
  readonly project: string;
  /** The data set as DICOM JSON, UTF-8, URLs beginning with BASE. Bytes: many wait for a commit, and text is longer in memory. */
  readonly metadata: Buffer;
  /** What the index keeps of it, the attributes of each level as a text of their own: nobody has to parse the whole. */
  readonly levels: Readonly<Record<Level, string>>;
  extents: FrameExtents;
}

export interface ReadDescription {
  readonly described: Described;
  readonly layout: PixelLayout;
  readonly pixelData: PixelDataHeader | undefined;
}

const tagsOf = (keys: readonly string[]): readonly number[] => keys.map((key) => Number.parseInt(key, 16));
const KEPT: Readonly<Record<Level, ReadonlySet<number>>> = {
  study: new Set(tagsOf(STUDY_ATTRIBUTES.keys)),
  series: new Set(tagsOf(SERIES_ATTRIBUTES.keys)),
  // And every private one.
  instance: new Set([...INSTANCE_COLUMNS.map(tag), ...ATTRIBUTE_KEYS.instance.flatMap(([root]) => root ?? [])]),
};

/** By Series Instance UID: attributes of an instance as DICOM JSON, undefined where the text names the instance. */
export type AlikeTexts = Map<string, { readonly outline: Outline; readonly members: readonly (string | undefined)[] }>;

const MOST_SERIES = 16;
const MOST_HEAD_BYTES = 32 * 1024;

/**
 * Reads what the index wants to know from an object's head. `alike`: most attributes of a series have the same text in each instance.
 * @throws Refusal, as readHead does
 */
export function describe(
  object: Pick<
    Deidentified,
    | 'head'
    | 'studyInstanceUID'
    | 'seriesInstanceUID'
    | 'sopInstanceUID'
    | 'sopClassUID'
    | 'transferSyntaxUID'
    | 'project'
  >,
  alike: AlikeTexts = new Map(),
): ReadDescription {
  const { dataSet, pixelData } = readHead(object.head).head;
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID, sopClassUID, transferSyntaxUID, project } = object;
  const url = `${BASE}/studies/${studyInstanceUID}/series/${seriesInstanceUID}/instances/${sopInstanceUID}/bulkdata/`;
  const levels: Record<Level, string[]> = { study: [], series: [], instance: [] };
  const known = membersAlike(alike, seriesInstanceUID, dataSet);
  const members: (string | undefined)[] = [];
  let isOwn = false;
  const metadata = formatDicomJson(dataSet, {
    ...(known === undefined ? {} : { known }),
    onMember: (attribute, member, place) => {
      members[place] = isOwn ? undefined : member;
      isOwn = false;
      if (KEPT.study.has(attribute)) levels.study.push(member);
      if (KEPT.series.has(attribute)) levels.series.push(member);
      if (KEPT.instance.has(attribute) || isPrivate(attribute)) levels.instance.push(member);
    },
    bulkDataUri: (path) => {
      isOwn = true;
      return url + path;
    },
    ...(pixelData === undefined
      ? {}
      : { pixelData: { tag: pixelData.tag, vr: pixelData.vr, bulkDataUri: url + tagKey(pixelData.tag) } }),
  });
  if (known === undefined && object.head.length <= MOST_HEAD_BYTES) {
    if (alike.size >= MOST_SERIES) alike.clear();
    alike.set(seriesInstanceUID, { outline: outlineOf(dataSet), members });
  }
  const described: Described = {
    studyInstanceUID,
    seriesInstanceUID,
    sopInstanceUID,
    sopClassUID,
    transferSyntaxUID,
    project,
    metadata: Buffer.from(metadata),
    levels: {
      study: `{${levels.study.join()}}`,
      series: `{${levels.series.join()}}`,
      instance: `{${levels.instance.join()}}`,
    },
    extents: { kind: 'none' },
  };
  return { described, layout: pixelLayout(dataSet, transferSyntaxUID), pixelData };
}

/** Undefined where nothing is remembered of the series, or its instances have other attributes. */
function membersAlike(
  alike: AlikeTexts,
  series: string,
  dataSet: DataSet,
): ((place: number) => string | undefined) | undefined {
  const before = alike.get(series);
  const differ = before && differing(before.outline, dataSet, () => true);
  if (before === undefined || differ === undefined) return undefined;
  const anew = new Set(differ);
  return (place) => (anew.has(place) ? undefined : before.members[place]);
}
