/** What stands before the pixel data's value: tag, VR and length (PS3.5 A.2, A.4), and an extended offset table that is still true. */
import { findElement, valueBytes, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { PixelDataHeader } from '../dicom/object.ts';
import type { Vr } from '../dicom/vr.ts';
import { writeElement, writeHeader, type Sink } from '../dicom/writer.ts';
import { isOffsetTable, type BodyPlan } from './body.ts';

const UNDEFINED_LENGTH = 0xffffffff;

const PIXEL_VRS: ReadonlySet<Vr> = new Set(['OB', 'OW', 'OF', 'OD']);

const EXTENDED_OFFSET_TABLE = tag('ExtendedOffsetTable');

const EXTENDED_OFFSET_TABLE_LENGTHS = tag('ExtendedOffsetTableLengths');

export function writePixelDataHeader(
  sink: Sink,
  dataSet: DataSet,
  pixelData: PixelDataHeader | undefined,
  plan: BodyPlan & { readonly framesChanged: boolean },
): void {
  if (pixelData === undefined) return;
  if (plan.lengthBytes === undefined) {
    // Frames that were written anew have other lengths; the table may be left out.
    if (!plan.framesChanged) writeExtendedOffsetTable(sink, dataSet);
    writeHeader(sink, pixelData.tag, 'OB', UNDEFINED_LENGTH);
  } else {
    const vr = PIXEL_VRS.has(pixelData.vr) ? pixelData.vr : 'OW';
    writeHeader(sink, pixelData.tag, vr, plan.lengthBytes + (plan.lengthBytes & 1));
  }
}

/** Where frames are as they came, a table that was true still is; what is no table at all goes. */
function writeExtendedOffsetTable(sink: Sink, dataSet: DataSet): void {
  const offsets = findElement(dataSet, EXTENDED_OFFSET_TABLE);
  const lengths = findElement(dataSet, EXTENDED_OFFSET_TABLE_LENGTHS);
  if (offsets === undefined || lengths === undefined) return;
  const offsetBytes = valueBytes(dataSet, offsets);
  const lengthBytes = valueBytes(dataSet, lengths);
  if (offsetBytes.length !== lengthBytes.length || !isOffsetTable(offsetBytes, 8)) return;
  // Each frame lies between its offset and the next one, after an item header of 8 bytes.
  for (let at = 0; at < lengthBytes.length; at += 8) {
    const end = offsetBytes.readBigUInt64LE(at) + 8n + lengthBytes.readBigUInt64LE(at);
    const next = at + 8 < offsetBytes.length ? offsetBytes.readBigUInt64LE(at + 8) : undefined;
    if (next !== undefined && end > next) return;
    if (lengthBytes.readBigUInt64LE(at) > 0xffffffffn) return;
  }
  writeElement(sink, EXTENDED_OFFSET_TABLE, 'OV', offsetBytes);
  writeElement(sink, EXTENDED_OFFSET_TABLE_LENGTHS, 'OV', lengthBytes);
}
