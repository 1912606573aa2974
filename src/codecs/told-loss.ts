/** What a lossy transfer syntax says by itself, said in the header, so that it is not forgotten once the pixels are native. */
import { findElement, type DataSet } from '../dicom/data-set.ts';
import { imageLayout } from '../dicom/image-layout.ts';
import { isLossy } from '../dicom/loss.ts';
import type { Head } from '../dicom/object.ts';
import { readDataSet } from '../dicom/reader.ts';
import { transferSyntax } from '../dicom/transfer-syntax.ts';
import { copyElement, openSink, sinkBytes, writeText } from '../dicom/writer.ts';
import { lossyMethod } from './recognise.ts';

const [LOSSY, RATIO, METHOD] = [0x00282110, 0x00282112, 0x00282114];

/**
 * PS3.3 C.7.6.1.1.5: a header that tells the ratio keeps what it tells; one that does not is given what was measured, by the bits that
 * are stored. @param encodedBytes of all frames as they are compressed
 */
export function withLossTold(head: Head, { frames, encodedBytes }: { frames: number; encodedBytes: number }): DataSet {
  const { dataSet, transferSyntaxUID } = head;
  const compression = transferSyntax(transferSyntaxUID)?.compression;
  const lost = compression === 'lossy' || (compression === 'either' && isLossy(head));
  if (!lost || (isLossy(head) && findElement(dataSet, RATIO) !== undefined) || encodedBytes === 0) return dataSet;
  const { rows, columns, samplesPerPixel, bitsStored } = imageLayout(dataSet);
  const ratio = (rows * columns * samplesPerPixel * bitsStored * frames) / 8 / encodedBytes;
  const method = lossyMethod(transferSyntaxUID);
  const told = new Map([
    [LOSSY, '01'],
    [RATIO, ratio.toFixed(2)],
    ...(method === undefined ? [] : ([[METHOD, method]] as const)),
  ]);
  const sink = openSink(dataSet.end - dataSet.start + 64);
  const write = (below: number): void => {
    for (const [tag, value] of told)
      if (tag < below) {
        writeText(sink, tag, tag === RATIO ? 'DS' : 'CS', value);
        told.delete(tag);
      }
  };
  for (const element of dataSet.elements) {
    if ((element.tag & 0xffff) === 0) continue;
    write(element.tag);
    if (!told.has(element.tag)) copyElement(sink, dataSet, element);
  }
  write(Infinity);
  const bytes = sinkBytes(sink);
  return readDataSet(bytes, 0, bytes.length, 'explicit-le', { complete: true }).dataSet;
}
