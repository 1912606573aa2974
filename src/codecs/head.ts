/** The head of an object whose pixels go into another transfer syntax: what has to follow them follows, all else stays as it lies. */
import type { DataElement } from '../dicom/data-set.ts';
import type { HeadAndBody } from '../dicom/part10.ts';
import {
  copyElement,
  openSink,
  sinkBytes,
  writeBytes,
  writeHeader,
  writeNumbers,
  writeText,
  type Sink,
} from '../dicom/writer.ts';

export interface Transcoded {
  readonly transferSyntaxUID: string;
  readonly photometricInterpretation: string;
  readonly bitsAllocated: number;
  /** Of native pixel data; undefined: encapsulated. */
  readonly valueBytes: number | undefined;
  /** Undefined: it keeps its own. */
  readonly sopInstanceUID?: string | undefined;
}

const TRANSFER_SYNTAX_UID = 0x00020010;
const MEDIA_STORAGE_SOP_INSTANCE_UID = 0x00020003;
const SOP_INSTANCE_UID = 0x00080018;
const PHOTOMETRIC_INTERPRETATION = 0x00280004;
const PLANAR_CONFIGURATION = 0x00280006;
/** Extended Offset Table and its lengths tell of the fragments that were. */
const OFFSET_TABLES: readonly number[] = [0x7fe00001, 0x7fe00002];

/**
 * Preamble, file meta, data set and the header of the pixel data. UIDs, Lossy Image Compression (0028,2110) and its ratio and method
 * stay: nothing is lost here, and what was lost before stays told (PS3.3 C.7.6.1.1.5).
 */
export function transcodedHead({ head }: HeadAndBody, to: Transcoded): Buffer {
  const sink = openSink(16_384);
  writeFileMeta(sink, head, { ...to });
  for (const element of head.dataSet.elements) {
    if (!writeChanged(sink, element, to)) copyElement(sink, head.dataSet, element);
  }
  const encapsulated = to.valueBytes === undefined;
  // PS3.5 A.2, A.4: OW for more than 8 bits, OB for fragments.
  const vr = encapsulated || to.bitsAllocated <= 8 ? 'OB' : 'OW';
  writeHeader(sink, head.pixelData?.tag ?? 0x7fe00010, vr, to.valueBytes ?? 0xffffffff);
  return Buffer.from(sinkBytes(sink));
}

/** The head of the same object under another SOP Instance UID; the header of its pixel data as it lies. */
export function renamedHead({ head, bodyStart }: HeadAndBody, sopInstanceUID: string): Buffer {
  const { dataSet } = head;
  const sink = openSink(bodyStart + 256);
  writeFileMeta(sink, head, { sopInstanceUID });
  for (const element of dataSet.elements) {
    if (element.tag === SOP_INSTANCE_UID) writeText(sink, SOP_INSTANCE_UID, 'UI', sopInstanceUID);
    else copyElement(sink, dataSet, element);
  }
  writeBytes(sink, dataSet.bytes.subarray(dataSet.end, bodyStart));
  return Buffer.from(sinkBytes(sink));
}

/** Preamble and group 0002, with other UIDs where they are given. */
function writeFileMeta(
  sink: Sink,
  { fileMeta }: HeadAndBody['head'],
  to: Pick<Partial<Transcoded>, 'transferSyntaxUID' | 'sopInstanceUID'>,
): void {
  writeBytes(sink, Buffer.alloc(128));
  writeBytes(sink, Buffer.from('DICM'));
  const changes = new Map([
    [TRANSFER_SYNTAX_UID, to.transferSyntaxUID],
    [MEDIA_STORAGE_SOP_INSTANCE_UID, to.sopInstanceUID],
  ]);
  const meta = openSink(512);
  for (const element of fileMeta?.elements ?? []) {
    if (fileMeta === undefined || element.tag === 0x00020000) continue;
    const changed = changes.get(element.tag);
    if (changed === undefined) copyElement(meta, fileMeta, element);
    else writeText(meta, element.tag, 'UI', changed);
  }
  writeNumbers(sink, 0x00020000, 'UL', [sinkBytes(meta).length]);
  writeBytes(sink, sinkBytes(meta));
}

/** True when the element has been written anew or has no place any more. */
function writeChanged(sink: Sink, { tag }: DataElement, to: Transcoded): boolean {
  if ((tag & 0xffff) === 0 || OFFSET_TABLES.includes(tag)) return true;
  if (tag === PHOTOMETRIC_INTERPRETATION) writeText(sink, tag, 'CS', to.photometricInterpretation);
  else if (tag === PLANAR_CONFIGURATION) writeNumbers(sink, tag, 'US', [0]);
  else if (tag === SOP_INSTANCE_UID && to.sopInstanceUID !== undefined) writeText(sink, tag, 'UI', to.sopInstanceUID);
  else return false;
  return true;
}
