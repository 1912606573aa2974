/**
 * The way back, in memory only: every UID at any depth mapped through the crosswalk, patient and study attributes restored, dates moved
 * back. A UID that does not resolve refuses the whole object: a result never reaches the wrong patient.
 */
import { asciiOf, asciiValue, formatTag, textValue, type DataElement, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { PixelDataHeader } from '../dicom/object.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { parseUid, type SeriesInstanceUID, type SOPInstanceUID, type StudyInstanceUID } from '../dicom/uid.ts';
import {
  copyElement,
  openSink,
  sinkBytes,
  writeElement,
  writeHeader,
  writeText,
  type Sink,
  writeSequence,
} from '../dicom/writer.ts';
import type { Vr } from '../dicom/vr.ts';
import { shiftDate, shiftDateTime } from './actions.ts';
import { findStudy, resolveUid, type StudyRow } from './crosswalk.ts';
import { refuseLeaving } from './patients.ts';
import type { Wall } from './wall.ts';
import { writeFileMeta } from '../dicom/file-meta.ts';
import { STAMP_TAGS } from './stamps.ts';

export interface PseudonymousHead {
  /** Of an object of ours: preamble to the pixel data element's header. */
  readonly head: Buffer;
  readonly project: string;
  /** When a derived object was made: its dates and times, which no source has. */
  readonly producedAt: Date;
}

export interface Reidentified {
  /** Names a person: for the wire only, never for a disk. */
  readonly head: Buffer;
  readonly originalStudyInstanceUID: StudyInstanceUID;
  readonly seriesInstanceUID: SeriesInstanceUID;
  readonly sopInstanceUID: SOPInstanceUID;
  readonly sopClassUID: string;
  readonly transferSyntaxUID: string;
}

interface WayBack {
  readonly wall: Wall;
  readonly project: string;
  readonly row: StudyRow;
  readonly sink: Sink;
  readonly producedAt: ProducedAt;
  /** UIDs resolved so far, since most stand many times. */
  readonly resolved: Map<string, string>;
}

interface ProducedAt {
  readonly date: string;
  readonly time: string;
}

/** @throws Refusal Unresolved, naming the attribute's place; Busy while the patient is being erased */
export function reidentify(wall: Wall, source: PseudonymousHead): Reidentified {
  const { project } = source;
  const { dataSet, pixelData, transferSyntaxUID } = readHead(source.head).head;
  const study = asciiValue(dataSet, 0x0020000d) ?? '';
  const row = findStudy(wall, project, study);
  if (row === undefined) {
    throw new Refusal('Unresolved', 'Study Instance UID (0020,000D) is no study of the crosswalk');
  }
  if (textValue(dataSet, PATIENT_ID) !== row.patient) {
    throw new Refusal('Unresolved', 'Patient ID (0010,0020) is not the pseudonym of the study’s patient');
  }
  refuseLeaving(wall, project, row.patient);
  const sopClassUID = asciiValue(dataSet, 0x00080016) ?? '';
  const sink = openSink(source.head.length + 2048);
  const back: WayBack = {
    wall,
    project,
    row,
    sink,
    producedAt: formatLocal(source.producedAt),
    resolved: new Map([[study, row.originalStudyInstanceUID]]),
  };
  const sopInstanceUID = resolve(back, asciiValue(dataSet, 0x00080018) ?? '', [0x00080018]);
  const seriesInstanceUID = resolve(back, asciiValue(dataSet, 0x0020000e) ?? '', [0x0020000e]);
  writeFileMeta(sink, { sopClassUID, sopInstanceUID, transferSyntaxUID });
  restoreDataSet(back, dataSet, restored(back), []);
  writePixelDataHeader(sink, pixelData);
  return {
    head: sinkBytes(sink),
    originalStudyInstanceUID: parseUid(row.originalStudyInstanceUID, 'Study Instance UID (0020,000D)'),
    seriesInstanceUID: parseUid(seriesInstanceUID, 'Series Instance UID (0020,000E)'),
    sopInstanceUID: parseUid(sopInstanceUID, 'SOP Instance UID (0008,0018)'),
    sopClassUID,
    transferSyntaxUID,
  };
}

const PATIENT_ID = tag('PatientID');
const PATIENT_NAME = tag('PatientName');
const CONTRIBUTION_DATE_TIME = tag('ContributionDateTime');
const PRESENTATION_DATE = tag('PresentationCreationDate');
const PRESENTATION_TIME = tag('PresentationCreationTime');

/** Hospital time, as the machine's clock is set. */
function formatLocal(at: Date): ProducedAt {
  const two = (value: number): string => String(value).padStart(2, '0');
  return {
    date: `${String(at.getFullYear()).padStart(4, '0')}${two(at.getMonth() + 1)}${two(at.getDate())}`,
    time: `${two(at.getHours())}${two(at.getMinutes())}${two(at.getSeconds())}`,
  };
}

/** Attributes of the patient and study modules that stand even when empty (type 2), with their VRs. */
const ALWAYS: readonly (readonly [keyword: string, vr: Vr])[] = [
  ['StudyDate', 'DA'],
  ['StudyTime', 'TM'],
  ['AccessionNumber', 'SH'],
  ['ReferringPhysicianName', 'PN'],
  ['PatientName', 'PN'],
  ['PatientID', 'LO'],
  ['PatientBirthDate', 'DA'],
  ['PatientSex', 'CS'],
  ['StudyID', 'SH'],
];
const WHEN_KNOWN: readonly (readonly [keyword: string, vr: Vr])[] = [
  ['StudyDescription', 'LO'],
  ['IssuerOfPatientID', 'LO'],
  ['TypeOfPatientID', 'CS'],
  ['PatientBirthTime', 'TM'],
  ['OtherPatientNames', 'PN'],
  ['PatientAge', 'AS'],
  ['PatientSize', 'DS'],
  ['PatientWeight', 'DS'],
  ['EthnicGroup', 'SH'],
  ['PatientComments', 'LT'],
];
const PRODUCED: readonly (readonly [keyword: string, vr: 'DA' | 'TM'])[] = [
  ['InstanceCreationDate', 'DA'],
  ['InstanceCreationTime', 'TM'],
  ['SeriesDate', 'DA'],
  ['SeriesTime', 'TM'],
  ['ContentDate', 'DA'],
  ['ContentTime', 'TM'],
];

/** What replaces the pseudonymous patient and study, and what goes; ascending by tag. */
function restored(back: WayBack): Map<number, (() => void) | undefined> {
  const { row, sink, producedAt } = back;
  const entries = new Map<number, (() => void) | undefined>();
  const original = (attribute: number): string | undefined => row.attributes[attribute.toString(16).padStart(8, '0')];
  entries.set(0x00080005, () => writeText(sink, 0x00080005, 'CS', 'ISO_IR 192'));
  for (const [keyword, vr] of ALWAYS)
    entries.set(tag(keyword), () => writeText(sink, tag(keyword), vr, original(tag(keyword)) ?? ''));
  for (const [keyword, vr] of WHEN_KNOWN) {
    const text = original(tag(keyword));
    entries.set(tag(keyword), text === undefined ? undefined : () => writeText(sink, tag(keyword), vr, text));
  }
  for (const [keyword, vr] of PRODUCED)
    entries.set(tag(keyword), () => writeText(sink, tag(keyword), vr, vr === 'DA' ? producedAt.date : producedAt.time));
  for (const attribute of STAMP_TAGS) entries.set(attribute, undefined);
  return new Map([...entries].sort(([a], [b]) => a - b));
}

function restoreDataSet(
  back: WayBack,
  dataSet: DataSet,
  replaced: ReadonlyMap<number, (() => void) | undefined>,
  path: number[],
): void {
  const waiting = [...replaced];
  let next = 0;
  for (const element of dataSet.elements) {
    for (let entry = waiting[next]; entry !== undefined && entry[0] <= element.tag; entry = waiting[++next])
      entry[1]?.();
    if ((element.tag & 0xffff) !== 0 && !replaced.has(element.tag)) restoreElement(back, dataSet, element, path);
  }
  for (; next < waiting.length; next++) waiting[next]?.[1]?.();
}

const NOTHING: ReadonlyMap<number, undefined> = new Map();

function restoreElement(back: WayBack, dataSet: DataSet, element: DataElement, path: number[]): void {
  const { sink, row } = back;
  if (element.items !== undefined) {
    path.push(element.tag);
    writeSequence(sink, element.tag, element.items, (item) => restoreDataSet(back, item, NOTHING, path));
    path.pop();
    return;
  }
  if (element.vr === 'UI') {
    const uids = asciiOf(dataSet, element)
      .split('\\')
      .map((uid) => (uid === '' ? '' : resolve(back, uid.trim(), [...path, element.tag])));
    writeText(sink, element.tag, 'UI', uids.join('\\'));
    return;
  }
  // Type 1 of a presentation state, and ours alone: no source has them.
  if (element.tag === PRESENTATION_DATE || element.tag === PRESENTATION_TIME) {
    const { date, time } = back.producedAt;
    writeText(sink, element.tag, element.vr, element.tag === PRESENTATION_DATE ? date : time);
    return;
  }
  if (element.vr === 'DA' || element.vr === 'DT') return restoreDate(back, dataSet, element, element.vr);
  if ((element.tag === PATIENT_ID || element.tag === PATIENT_NAME) && asciiOf(dataSet, element) === row.patient) {
    writeText(sink, element.tag, element.vr, row.attributes[element.tag.toString(16).padStart(8, '0')] ?? '');
    return;
  }
  copyElement(sink, dataSet, element);
}

/** Moved back by what it was moved; a date of which only a year or a dummy is left says nothing true and goes. */
function restoreDate(back: WayBack, dataSet: DataSet, element: DataElement, vr: 'DA' | 'DT'): void {
  const { row, sink, producedAt } = back;
  if (element.tag === CONTRIBUTION_DATE_TIME) {
    writeText(sink, element.tag, vr, producedAt.date + producedAt.time);
    return;
  }
  const text = asciiOf(dataSet, element);
  if (text === '') {
    writeElement(sink, element.tag, vr, Buffer.alloc(0));
    return;
  }
  if (row.dateMode !== 'shift') return;
  const values = text.split('\\').map((value) => {
    if (value.startsWith('19000101')) return undefined;
    return vr === 'DA' ? shiftDate(value, -row.offsetDays) : shiftDateTime(value, -row.offsetDays, true);
  });
  if (values.every((value) => value !== undefined)) writeText(sink, element.tag, vr, values.join('\\'));
}

function resolve(back: WayBack, uid: string, path: readonly number[]): string {
  const known = back.resolved.get(uid);
  if (known !== undefined) return known;
  const outward = resolveUid(back.wall, back.project, uid);
  if (outward === undefined) {
    throw new Refusal(
      'Unresolved',
      `the UID at ${path.map(formatTag).join(' > ')} is neither in the crosswalk nor one that this gateway made`,
    );
  }
  back.resolved.set(uid, outward);
  return outward;
}

function writePixelDataHeader(sink: Sink, pixelData: PixelDataHeader | undefined): void {
  if (pixelData !== undefined) writeHeader(sink, pixelData.tag, pixelData.vr, pixelData.lengthBytes ?? 0xffffffff);
}
