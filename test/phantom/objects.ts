/** De-identified objects as the archive receives them, built element by element; the brand is put on by a cast, in tests only. */
import type { Deidentified } from '../../src/dicom/object.ts';
import type { SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID } from '../../src/dicom/uid.ts';
import { uidFrom } from '../../src/dicom/uid.ts';
import {
  beginItem,
  beginSequence,
  endItem,
  endSequence,
  openSink,
  sinkBytes,
  writeBytes,
  writeElement,
  writeHeader,
  writeNumbers,
  writeText,
  type Sink,
} from '../../src/dicom/writer.ts';
import type { Vr } from '../../src/dicom/vr.ts';

const EXPLICIT_LE = '1.2.840.10008.1.2.1';
export const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2';
export const MR_IMAGE = '1.2.840.10008.5.1.4.1.1.4';
export const MULTI_FRAME_BYTE = '1.2.840.10008.5.1.4.1.1.7.2';
export const MULTI_FRAME_BIT = '1.2.840.10008.5.1.4.1.1.7.1';

export interface ObjectOptions {
  readonly studyInstanceUID?: string;
  readonly seriesInstanceUID?: string;
  readonly sopInstanceUID?: string;
  readonly sopClassUID?: string;
  readonly transferSyntaxUID?: string;
  readonly project?: string;
  readonly modality?: string;
  readonly patientID?: string;
  readonly patientName?: string;
  readonly studyDate?: string;
  readonly studyTime?: string;
  readonly accessionNumber?: string;
  readonly studyDescription?: string;
  readonly seriesDescription?: string;
  readonly bodyPart?: string;
  readonly seriesNumber?: number;
  readonly instanceNumber?: number;
  readonly scheduledProcedureStepID?: string;
  /** Items of the Request Attributes Sequence: step and procedure. */
  readonly requests?: readonly (readonly [step: string, procedure: string])[];
  readonly timezone?: string;
  readonly referringPhysician?: string;
  /** Several with backslashes between. */
  readonly readingPhysicians?: string;
  readonly acquisitionDateTime?: string;
  readonly otherPatientIDs?: readonly string[];
  readonly rows?: number;
  readonly columns?: number;
  readonly bitsAllocated?: 1 | 8 | 16 | 32;
  readonly samplesPerPixel?: number;
  readonly photometricInterpretation?: string;
  readonly numberOfFrames?: number;
  /** Native value; zeros when neither it nor `fragments` is given; null: no pixel data element at all. */
  readonly pixels?: Buffer | null;
  /** Encapsulated: one fragment each, after the offset table. */
  readonly fragments?: readonly Buffer[];
  /** Basic offset table; empty when absent. */
  readonly basicOffsets?: readonly number[];
  readonly extendedOffsets?: readonly number[];
  /** Further elements of group 0009 and above, written between the patient and the pixels: (tag, VR, text). */
  readonly privateText?: string;
}

/** What an object is made of, so that a test can compare the stored bytes with it. */
export interface MadeObject {
  readonly object: Deidentified;
  readonly bytes: Buffer;
  /** The pixel data's value. */
  readonly body: Buffer;
}

export function makeObject(options: ObjectOptions = {}): MadeObject {
  const uids = uidsOf(options);
  const { rows = 64, columns = 64, bitsAllocated = 16, samplesPerPixel = 1, numberOfFrames } = options;
  const frames = numberOfFrames ?? 1;
  const native = Math.ceil((rows * columns * samplesPerPixel * bitsAllocated * frames) / 8);
  const body =
    options.pixels === null
      ? Buffer.alloc(0)
      : options.fragments === undefined
        ? padded(options.pixels ?? Buffer.alloc(native))
        : encapsulate(options.fragments, options.basicOffsets ?? []);
  const head = makeHead(options, uids, body.length);
  return { object: deidentified(options, uids, head, [body], body.length), bytes: Buffer.concat([head, body]), body };
}

/** A native multi-frame object whose pixel data is made while it is read, so that it never lies in memory. */
export function makeLargeObject(options: ObjectOptions, chunk: Buffer, chunks: number): Deidentified {
  const uids = uidsOf(options);
  const lengthBytes = chunk.length * chunks;
  const head = makeHead(options, uids, lengthBytes);
  return deidentified(options, uids, head, Array<Buffer>(chunks).fill(chunk), lengthBytes);
}

/** The same object with another body, e.g. one that breaks off. */
export function withBody(object: Deidentified, body: AsyncIterable<Buffer>): Deidentified {
  return { ...object, body } as Deidentified;
}

interface Uids {
  readonly study: string;
  readonly series: string;
  readonly sop: string;
}

function uidsOf(options: ObjectOptions): Uids {
  const study = options.studyInstanceUID ?? uidFrom('phantom study');
  const series = options.seriesInstanceUID ?? uidFrom('phantom series', study, `${options.seriesNumber ?? 1}`);
  const sop = options.sopInstanceUID ?? uidFrom('phantom instance', series, `${options.instanceNumber ?? 1}`);
  return { study, series, sop };
}

function deidentified(
  options: ObjectOptions,
  uids: Uids,
  head: Buffer,
  body: readonly Buffer[],
  bodyLengthBytes: number,
): Deidentified {
  return {
    head,
    body: chunksOf(body),
    bodyLengthBytes,
    studyInstanceUID: uids.study as StudyInstanceUID,
    seriesInstanceUID: uids.series as SeriesInstanceUID,
    sopInstanceUID: uids.sop as SOPInstanceUID,
    sopClassUID: options.sopClassUID ?? CT_IMAGE,
    transferSyntaxUID: options.transferSyntaxUID ?? EXPLICIT_LE,
    project: options.project ?? 'research',
  } as unknown as Deidentified;
}

async function* chunksOf(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) {
    // As from a socket: one chunk a turn of the loop.
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (chunk.length > 0) yield chunk;
  }
}

function makeHead(options: ObjectOptions, uids: Uids, bodyBytes: number): Buffer {
  const sink = openSink(8192);
  writeBytes(sink, Buffer.alloc(128));
  writeBytes(sink, Buffer.from('DICM'));
  const meta = openSink(512);
  writeElement(meta, 0x00020001, 'OB', Buffer.from([0, 1]));
  writeText(meta, 0x00020002, 'UI', options.sopClassUID ?? CT_IMAGE);
  writeText(meta, 0x00020003, 'UI', uids.sop);
  writeText(meta, 0x00020010, 'UI', options.transferSyntaxUID ?? EXPLICIT_LE);
  writeText(meta, 0x00020012, 'UI', '2.25.1');
  writeNumbers(sink, 0x00020000, 'UL', [sinkBytes(meta).length]);
  writeBytes(sink, sinkBytes(meta));
  writeDataSet(sink, options, uids);
  if (options.pixels !== null) {
    const encapsulated = options.fragments !== undefined;
    writeHeader(sink, 0x7fe00010, encapsulated ? 'OB' : 'OW', encapsulated ? 0xffffffff : bodyBytes);
  }
  return Buffer.from(sinkBytes(sink));
}

function writeDataSet(sink: Sink, options: ObjectOptions, uids: Uids): void {
  const text = (tag: number, vr: Vr, value: string | number | undefined): void => {
    if (value !== undefined) writeText(sink, tag, vr, String(value));
  };
  text(0x00080005, 'CS', 'ISO_IR 192');
  text(0x00080008, 'CS', 'ORIGINAL\\PRIMARY\\AXIAL');
  text(0x00080016, 'UI', options.sopClassUID ?? CT_IMAGE);
  text(0x00080018, 'UI', uids.sop);
  text(0x00080020, 'DA', options.studyDate ?? '20240917');
  text(0x0008002a, 'DT', options.acquisitionDateTime);
  text(0x00080030, 'TM', options.studyTime ?? '101500');
  text(0x00080050, 'SH', options.accessionNumber ?? '');
  text(0x00080060, 'CS', options.modality ?? 'CT');
  text(0x00080070, 'LO', 'Phantom Makers');
  text(0x00080090, 'PN', options.referringPhysician ?? '');
  text(0x00080201, 'SH', options.timezone);
  text(0x00081030, 'LO', options.studyDescription);
  text(0x0008103e, 'LO', options.seriesDescription);
  text(0x00081060, 'PN', options.readingPhysicians);
  if (options.privateText !== undefined) {
    text(0x00090010, 'LO', 'PHANTOM');
    text(0x00091010, 'UT', options.privateText);
  }
  text(0x00100010, 'PN', options.patientName ?? 'Pseudonym^One');
  text(0x00100020, 'LO', options.patientID ?? 'P1');
  text(0x00100030, 'DA', '');
  text(0x00100040, 'CS', 'O');
  if (options.otherPatientIDs !== undefined) {
    const sequence = beginSequence(sink, 0x00101002);
    for (const id of options.otherPatientIDs) {
      const item = beginItem(sink);
      text(0x00100020, 'LO', id);
      endItem(sink, item);
    }
    endSequence(sink, sequence);
  }
  text(0x00180015, 'CS', options.bodyPart);
  text(0x00180050, 'DS', '1.5');
  text(0x0020000d, 'UI', uids.study);
  text(0x0020000e, 'UI', uids.series);
  text(0x00200010, 'SH', '1');
  text(0x00200011, 'IS', options.seriesNumber ?? 1);
  text(0x00200013, 'IS', options.instanceNumber ?? 1);
  text(0x00200032, 'DS', `0\\0\\${options.instanceNumber ?? 1}`);
  text(0x00200037, 'DS', '1\\0\\0\\0\\1\\0');
  text(0x00200052, 'UI', uidFrom('phantom frame of reference', uids.study));
  if (options.pixels !== null) writeImagePixel(sink, options);
  const { scheduledProcedureStepID: step } = options;
  const requests = options.requests ?? (step === undefined ? undefined : [[step, 'RP1'] as const]);
  if (requests !== undefined) {
    const sequence = beginSequence(sink, 0x00400275);
    for (const [scheduled, procedure] of requests) {
      const item = beginItem(sink);
      text(0x00400009, 'SH', scheduled);
      text(0x00401001, 'SH', procedure);
      endItem(sink, item);
    }
    endSequence(sink, sequence);
  }
  if (options.extendedOffsets !== undefined) {
    writeElement(sink, 0x7fe00001, 'OV', words64(options.extendedOffsets));
    writeElement(sink, 0x7fe00002, 'OV', words64(options.extendedOffsets.map(() => 0)));
  }
}

function writeImagePixel(sink: Sink, options: ObjectOptions): void {
  const { bitsAllocated = 16 } = options;
  writeNumbers(sink, 0x00280002, 'US', [options.samplesPerPixel ?? 1]);
  writeText(sink, 0x00280004, 'CS', options.photometricInterpretation ?? 'MONOCHROME2');
  if (options.numberOfFrames !== undefined) writeText(sink, 0x00280008, 'IS', String(options.numberOfFrames));
  writeNumbers(sink, 0x00280010, 'US', [options.rows ?? 64]);
  writeNumbers(sink, 0x00280011, 'US', [options.columns ?? 64]);
  writeText(sink, 0x00280030, 'DS', '0.7\\0.7');
  writeNumbers(sink, 0x00280100, 'US', [bitsAllocated]);
  writeNumbers(sink, 0x00280101, 'US', [bitsAllocated]);
  writeNumbers(sink, 0x00280102, 'US', [bitsAllocated - 1]);
  writeNumbers(sink, 0x00280103, 'US', [0]);
  writeText(sink, 0x00281052, 'DS', '-1024');
  writeText(sink, 0x00281053, 'DS', '1');
}

function words64(numbers: readonly number[]): Buffer {
  const bytes = Buffer.alloc(numbers.length * 8);
  numbers.forEach((number, index) => bytes.writeBigUInt64LE(BigInt(number), index * 8));
  return bytes;
}

function padded(bytes: Buffer): Buffer {
  return bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(1)]);
}

/** Items of PS3.5 A.4: the offset table, the fragments, the delimitation. */
export function encapsulate(fragments: readonly Buffer[], basicOffsets: readonly number[]): Buffer {
  const table = Buffer.alloc(basicOffsets.length * 4);
  basicOffsets.forEach((offset, index) => table.writeUInt32LE(offset, index * 4));
  return Buffer.concat([
    ...[table, ...fragments.map(padded)].flatMap((content) => [itemHeader(0xe000, content.length), content]),
    itemHeader(0xe0dd, 0),
  ]);
}

function itemHeader(element: number, lengthBytes: number): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16LE(0xfffe, 0);
  header.writeUInt16LE(element, 2);
  header.writeUInt32LE(lengthBytes, 4);
  return header;
}
