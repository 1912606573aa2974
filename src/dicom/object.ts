/**
 * A DICOM object on its way through: a head (file meta and data set up to the pixel data) and a body (the pixel data's value) that
 * may still be streaming. Two brands keep those that name a person from those that do not: only deidentify/ makes a Deidentified.
 */
import type { DataSet } from './data-set.ts';
import type { SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID } from './uid.ts';
import type { Vr } from './vr.ts';

/** The pixel data element whose value is the body: (7FE0,0010), (7FE0,0008) or (7FE0,0009). */
export interface PixelDataHeader {
  readonly tag: number;
  readonly vr: Vr;
  /** undefined: encapsulated (PS3.5 A.4), the body being items up to and including the sequence delimitation. */
  readonly lengthBytes: number | undefined;
}

/** Everything before the pixel data's value. */
export interface Head {
  /** Group 0002 as it came; undefined for a data set that arrived by DIMSE or without meta information. */
  readonly fileMeta: DataSet | undefined;
  readonly transferSyntaxUID: string;
  /** Without the pixel data element. */
  readonly dataSet: DataSet;
  readonly pixelData: PixelDataHeader | undefined;
}

declare const identity: unique symbol;

/** As a sender gave it: names a person. Must not reach the archive, a log or a message. */
export interface Identified {
  readonly [identity]: 'names a person';
  readonly head: Head;
  /**
   * The pixel data's value as encoded by the sender; ends after it, whatever follows. Can be read once.
   * Throws Refusal CannotUnderstand when the value ends early.
   */
  readonly body: AsyncIterable<Buffer>;
}

/** De-identified: Part 10 bytes in Explicit VR LE (or the encapsulated syntax), UIDs and patient being pseudonyms. */
export interface Deidentified {
  readonly [identity]: 'pseudonyms only';
  /** Preamble, file meta, data set up to and including the pixel data element's header. */
  readonly head: Buffer;
  /** The pixel data's value, with item tags and the sequence delimitation when encapsulated. Empty when there is none. */
  readonly body: AsyncIterable<Buffer>;
  /** When it is known before the body has been read. */
  readonly bodyLengthBytes: number | undefined;
  readonly studyInstanceUID: StudyInstanceUID;
  readonly seriesInstanceUID: SeriesInstanceUID;
  readonly sopInstanceUID: SOPInstanceUID;
  readonly sopClassUID: string;
  readonly transferSyntaxUID: string;
  /** The project (pseudonymisation domain) it belongs to. */
  readonly project: string;
}

export function identified(head: Head, body: AsyncIterable<Buffer>): Identified {
  return { head, body } as Identified;
}
