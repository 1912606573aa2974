/** References to other instances (PS3.3 10.3, C.12.2). */
import { asciiValue } from '../dicom/data-set.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { parseUid, type SeriesInstanceUID, type SOPInstanceUID, type StudyInstanceUID } from '../dicom/uid.ts';
import type { Item } from './attributes.ts';

/** SOP Class and Instance of a head, which every reference needs. */
export interface Reference {
  readonly sopClassUID: string;
  readonly sopInstanceUID: SOPInstanceUID;
  readonly seriesInstanceUID: SeriesInstanceUID;
  readonly studyInstanceUID: StudyInstanceUID;
}

/** @throws Refusal CannotUnderstand when the head lacks one of its UIDs */
export function referenceTo(head: Head): Reference {
  const { dataSet } = head;
  const uid = (key: number, name: string): string => asciiValue(dataSet, key) ?? missing(name);
  return {
    sopClassUID: uid(0x00080016, 'SOP Class UID (0008,0016)'),
    sopInstanceUID: parseUid(uid(0x00080018, 'SOP Instance UID (0008,0018)'), 'SOP Instance UID (0008,0018)'),
    seriesInstanceUID: parseUid(uid(0x0020000e, 'Series Instance UID (0020,000E)'), 'Series Instance UID (0020,000E)'),
    studyInstanceUID: parseUid(uid(0x0020000d, 'Study Instance UID (0020,000D)'), 'Study Instance UID (0020,000D)'),
  };
}

function missing(name: string): never {
  throw new Refusal('CannotUnderstand', `${name} of a source is absent; a derived object must refer to it`);
}

/** Frames count from 1; absent: the whole instance. */
export function referenceItem(reference: Reference, frames?: number | readonly number[]): Item {
  return {
    ReferencedSOPClassUID: reference.sopClassUID,
    ReferencedSOPInstanceUID: reference.sopInstanceUID,
    ...(frames === undefined ? {} : { ReferencedFrameNumber: [frames].flat().map(String) }),
  };
}

/**
 * Common Instance Reference (PS3.3 C.12.2): everything that is referred to, by series; what lies in other studies by study.
 */
export function commonInstanceReferences(study: StudyInstanceUID, references: readonly Reference[]): Item {
  const here = references.filter((reference) => reference.studyInstanceUID === study);
  const elsewhere = Map.groupBy(
    references.filter((reference) => reference.studyInstanceUID !== study),
    (reference) => reference.studyInstanceUID,
  );
  return {
    ...(here.length === 0 ? {} : { ReferencedSeriesSequence: seriesItems(here) }),
    ...(elsewhere.size === 0
      ? {}
      : {
          StudiesContainingOtherReferencedInstancesSequence: [...elsewhere].map(([uid, list]) => ({
            StudyInstanceUID: uid,
            ReferencedSeriesSequence: seriesItems(list),
          })),
        }),
  };
}

function seriesItems(references: readonly Reference[]): Item[] {
  const bySeries = Map.groupBy(references, (reference) => reference.seriesInstanceUID);
  return [...bySeries].map(([uid, list]) => ({
    SeriesInstanceUID: uid,
    ReferencedInstanceSequence: list.map((reference) => referenceItem(reference)),
  }));
}

/** Hierarchical SOP Instance References (PS3.3 table 10-4): every instance, by study and series. */
export function evidenceItems(references: readonly Reference[]): Item[] {
  return [...Map.groupBy(references, (reference) => reference.studyInstanceUID)].map(([uid, list]) => ({
    StudyInstanceUID: uid,
    ReferencedSeriesSequence: [...Map.groupBy(list, (reference) => reference.seriesInstanceUID)].map(
      ([seriesUID, instances]) => ({
        SeriesInstanceUID: seriesUID,
        ReferencedSOPSequence: instances.map((reference) => referenceItem(reference)),
      }),
    ),
  }));
}
