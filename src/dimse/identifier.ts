/** Identifiers and other small data sets of messages: read whole within bounds, written in the negotiated transfer syntax. */
import type { DataSet } from '../dicom/data-set.ts';
import { implicitDataSet } from '../dicom/implicit-vr.ts';
import { readDataSet } from '../dicom/reader.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { DataSetStream } from './message.ts';
import { EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN } from './negotiation.ts';

/** A list of ten thousand UIDs has 650 000 bytes. */
const MAX_IDENTIFIER_BYTES = 2 * 1024 * 1024;

/** @throws Refusal DataSetMismatch where it is absent, too long or cannot be read; the stream's error when the peer goes away */
export async function readIdentifier(stream: DataSetStream | undefined, transferSyntaxUID: string): Promise<DataSet> {
  if (stream === undefined) throw new Refusal('DataSetMismatch', 'the request has no data set');
  const slices: Buffer[] = [];
  let lengthBytes = 0;
  for await (const slice of stream) {
    lengthBytes += slice.length;
    if (lengthBytes > MAX_IDENTIFIER_BYTES) throw new Refusal('DataSetMismatch', 'the data set is too long');
    slices.push(slice);
  }
  const bytes = Buffer.concat(slices);
  const encoding = transferSyntaxUID === IMPLICIT_LITTLE_ENDIAN ? 'implicit-le' : 'explicit-le';
  try {
    return readDataSet(bytes, 0, bytes.length, encoding, { complete: true }).dataSet;
  } catch (error) {
    if (error instanceof Refusal) throw new Refusal('DataSetMismatch', 'the data set cannot be read');
    throw error;
  }
}

/** `dataSet` is in Explicit VR Little Endian. */
export function writeIdentifier(dataSet: DataSet, transferSyntaxUID: string): Buffer {
  if (transferSyntaxUID === EXPLICIT_LITTLE_ENDIAN) return dataSet.bytes.subarray(dataSet.start, dataSet.end);
  return implicitDataSet(dataSet);
}
