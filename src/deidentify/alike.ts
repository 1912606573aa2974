/**
 * The instances of a series differ in a few attributes. What became of the others is remembered from the one before, and copied as long as
 * their bytes are the same; what differs is rewritten by the rules. Only attributes that nothing else is decided by may differ: where
 * another one does, the whole data set is rewritten.
 */
import { characterSetOf, type DataSet } from '../dicom/data-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import { differing, outlineOf, type Outline } from '../dicom/likeness.ts';
import { writeBytes } from '../dicom/writer.ts';
import { noCounts, type Counts, type Insert, type Place, type Rewriting } from './rewriting.ts';
import { rewriteAt, rewriteDataSet, walkDataSet } from './rewrite.ts';

/** One instance of a series: its bytes, and what rewriting made of each element. */
interface Alike {
  readonly source: Outline;
  readonly decidedBy: DecidedBy;
  readonly written: Buffer;
  /** By the place of its first element; absent for what an insert stands for. */
  readonly parts: ReadonlyMap<number, Part>;
  /** How many instances in a row were not alike. */
  misses: number;
}

/** All that decides what becomes of an attribute besides the object's own attributes, and besides what is known of its people. */
interface DecidedBy extends Pick<Rewriting, 'profile' | 'domain' | 'patient' | 'offsetDays' | 'encapsulated'> {
  readonly words: string;
}

/** What became of an element, or of all elements of a private group. */
interface Part {
  /** Place of its last element. */
  readonly last: number;
  /** Of `written`. */
  readonly start: number;
  readonly end: number;
  readonly counts: readonly (readonly [keyof Counts, number])[];
  readonly uids: readonly (readonly [pseudonym: string, original: string])[];
}

/** By Series Instance UID. */
export type AlikeSeries = Map<string, Alike>;

const MOST_SERIES = 8;
const MOST_HEAD_BYTES = 32 * 1024;
/** Whose instances differ all the time is not remembered anew each time. */
const MOST_MISSES = 3;

/** Numbers, times and UIDs of one image among many. Nothing asks for them to decide about another attribute (PS3.15 E.3, IODs of PS3.3). */
const MAY_DIFFER: ReadonlySet<number> = new Set(
  [
    'InstanceCreationDate',
    'InstanceCreationTime',
    'SOPInstanceUID',
    'AcquisitionDate',
    'ContentDate',
    'AcquisitionDateTime',
    'AcquisitionTime',
    'ContentTime',
    'ReferencedPerformedProcedureStepSequence',
    'ReferencedImageSequence',
    'SourceImageSequence',
    'SliceThickness',
    'KVP',
    'RepetitionTime',
    'EchoTime',
    'InversionTime',
    'NumberOfAverages',
    'EchoNumbers',
    'SpacingBetweenSlices',
    'TriggerTime',
    'DataCollectionDiameter',
    'ReconstructionDiameter',
    'GantryDetectorTilt',
    'TableHeight',
    'ExposureTime',
    'XRayTubeCurrent',
    'Exposure',
    'ExposureInuAs',
    'FlipAngle',
    'SAR',
    'CTDIvol',
    'TableSpeed',
    'TablePosition',
    'DiffusionBValue',
    'DiffusionGradientOrientation',
    'AcquisitionNumber',
    'InstanceNumber',
    'ImagePositionPatient',
    'ImageOrientationPatient',
    'TemporalPositionIdentifier',
    'SliceLocation',
    'InStackPositionNumber',
    'SmallestImagePixelValue',
    'LargestImagePixelValue',
    'WindowCenter',
    'WindowWidth',
    'RescaleIntercept',
    'RescaleSlope',
    'FrameReferenceTime',
    'ActualFrameDuration',
    'DecayFactor',
    'DoseCalibrationFactor',
    'ScatterFractionFactor',
    'ImageIndex',
  ].map(tag),
);

const mayDiffer = (attribute: number): boolean => MAY_DIFFER.has(attribute) || isPrivate(attribute);

/** As `rewriteDataSet` at the top level. `alike`: of the patient's last series. */
export function rewriteInstance(
  run: Rewriting,
  dataSet: DataSet,
  inserts: readonly Insert[],
  { alike, series }: { readonly alike: AlikeSeries; readonly series: string },
): void {
  if (run.trace !== undefined || run.itemInserts !== undefined) return rewriteDataSet(run, dataSet, inserts);
  const decidedBy = decidedByOf(run);
  const before = alike.get(series);
  if (before !== undefined && isSame(before.decidedBy, decidedBy)) {
    const places = differing(before.source, dataSet, mayDiffer);
    if (places !== undefined) {
      before.misses = 0;
      return copyParts(run, dataSet, inserts, before, places);
    }
  }
  const misses = before === undefined ? 0 : ++before.misses;
  if (misses > MOST_MISSES || dataSet.end - dataSet.start > MOST_HEAD_BYTES || hasConditions(run))
    return rewriteDataSet(run, dataSet, inserts);
  if (before === undefined && alike.size >= MOST_SERIES) alike.clear();
  alike.set(series, { ...rewriteInParts(run, dataSet, inserts), source: outlineOf(dataSet), decidedBy, misses });
}

/** A condition of a site's own rules may ask for whatever attribute it likes. */
function hasConditions({ profile }: Rewriting): boolean {
  return [...profile.overrides.values()].flat().some(({ when }) => when !== undefined);
}

function decidedByOf({ profile, domain, patient, offsetDays, encapsulated, identifyingWords }: Rewriting): DecidedBy {
  return { profile, domain, patient, offsetDays, encapsulated, words: [...identifyingWords].join('\n') };
}

function isSame(one: DecidedBy, other: DecidedBy): boolean {
  return (
    one.profile === other.profile &&
    one.domain === other.domain &&
    one.patient === other.patient &&
    one.offsetDays === other.offsetDays &&
    one.encapsulated === other.encapsulated &&
    one.words === other.words
  );
}

function rewriteInParts(
  run: Rewriting,
  dataSet: DataSet,
  inserts: readonly Insert[],
): Pick<Alike, 'written' | 'parts'> {
  const { sink } = run;
  const own = { ...run, counts: noCounts(), uids: new Map<string, string>() };
  const parts = new Map<number, Part>();
  const begin = sink.length;
  const at = topLevel(dataSet);
  walkDataSet(run, at, inserts, (place) => {
    const start = sink.length;
    const last = rewriteAt(own, at, place);
    const part = { last, start: start - begin, end: sink.length - begin, ...takeOut(own) };
    addUp(part, run.counts, run.uids);
    parts.set(place, part);
    return last;
  });
  return { written: Buffer.from(sink.buffer.subarray(begin, sink.length)), parts };
}

/** What one part counted and mapped, which are empty again then. */
function takeOut({ counts, uids }: Pick<Rewriting, 'counts' | 'uids'>): Pick<Part, 'counts' | 'uids'> {
  const counted: [keyof Counts, number][] = [];
  for (const name of COUNTED) {
    if (counts[name] === 0) continue;
    counted.push([name, counts[name]]);
    counts[name] = 0;
  }
  const mapped = [...uids];
  uids.clear();
  return { counts: counted, uids: mapped };
}

const COUNTED = Object.keys(noCounts()) as (keyof Counts)[];

function copyParts(
  run: Rewriting,
  dataSet: DataSet,
  inserts: readonly Insert[],
  { written, parts }: Alike,
  differ: readonly number[],
): void {
  const at = topLevel(dataSet);
  let next = 0;
  walkDataSet(run, at, inserts, (place, before) => {
    let end: number | undefined;
    let start = 0;
    let last = place;
    // What lies together is copied together: up to an element that differs, or that something is inserted before.
    for (let from = place; ; from = last + 1) {
      while ((differ[next] ?? Infinity) < from) next++;
      const part = parts.get(from);
      const isCopied =
        part !== undefined &&
        (differ[next] ?? Infinity) > part.last &&
        (end === undefined || (part.start === end && (dataSet.elements[from]?.tag ?? Infinity) < before));
      if (!isCopied) break;
      if (end === undefined) start = part.start;
      ({ end, last } = part);
      addUp(part, run.counts, run.uids);
    }
    if (end === undefined) return rewriteAt(run, at, place);
    writeBytes(run.sink, written.subarray(start, end));
    return last;
  });
}

function topLevel(dataSet: DataSet): Place {
  return { dataSet, set: characterSetOf(dataSet), path: [] };
}

function addUp(part: Part, counts: Counts, uids: Map<string, string>): void {
  for (const [name, number] of part.counts) counts[name] += number;
  for (const [pseudonym, original] of part.uids) uids.set(pseudonym, original);
}
