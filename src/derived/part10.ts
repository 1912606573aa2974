/** A derived object as Part 10 bytes (PS3.10 section 7). */
import { IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME } from '../dicom/implementation.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN } from '../dicom/transfer-syntax.ts';
import { openSink, sinkBytes, writeBytes, writeHeader, type Sink } from '../dicom/writer.ts';
import { encodeAttributes, openAttributes, put, type Attributes } from './attributes.ts';

/** Preamble, file meta (PS3.10 7.1) and data set, then the pixel data's header when there are pixels. */
export function writePart10(
  attributes: Attributes,
  sopClassUID: string,
  sopInstanceUID: string,
  bodyBytes: number,
  pixelData: { readonly tag: number; readonly vr: 'OB' | 'OW' | 'OF' } = { tag: 0x7fe00010, vr: 'OW' },
): Buffer {
  const sink = openSink(16384);
  writeFileMeta(sink, sopClassUID, sopInstanceUID);
  writeBytes(sink, encodeAttributes(attributes));
  if (bodyBytes > 0) writeHeader(sink, pixelData.tag, pixelData.vr, bodyBytes);
  return sinkBytes(sink);
}

function writeFileMeta(sink: Sink, sopClassUID: string, sopInstanceUID: string): void {
  const meta = openAttributes();
  put(meta, {
    FileMetaInformationVersion: Buffer.from([0, 1]),
    MediaStorageSOPClassUID: sopClassUID,
    MediaStorageSOPInstanceUID: sopInstanceUID,
    TransferSyntaxUID: EXPLICIT_VR_LITTLE_ENDIAN,
    ImplementationClassUID: IMPLEMENTATION_CLASS_UID,
    ImplementationVersionName: IMPLEMENTATION_VERSION_NAME,
  });
  const bytes = encodeAttributes(meta);
  const length = openAttributes();
  put(length, { FileMetaInformationGroupLength: bytes.length });
  writeBytes(sink, Buffer.alloc(128));
  writeBytes(sink, Buffer.from('DICM'));
  writeBytes(sink, encodeAttributes(length));
  writeBytes(sink, bytes);
}
