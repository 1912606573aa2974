/**
 * A digest by which the same object is known when it is sent again. What comes out of the wall may differ by then: the rules may have
 * changed, or more be known of the patient. Keyed by the project: whoever has no key learns nothing from it.
 */
import { createHash, createHmac } from 'node:crypto';
import type { DataSet } from '../dicom/data-set.ts';
import { littleEndianValue, openSink, sinkBytes, writeBytes, type Sink } from '../dicom/writer.ts';
import type { Domain } from './wall.ts';

/** Of everything but the pixel data, or with it where it does not pass as it came. */
export interface SourceMark {
  readonly digest: string;
  readonly coversPixels: boolean;
}

const PREFIX = Buffer.alloc(8);

/** @param pixels the digest of the pixel data, where that is changed on its way */
export function sourceMark(domain: Domain, dataSet: DataSet, pixels: Buffer | undefined): SourceMark {
  const sink = openSink(dataSet.end - dataSet.start + 256);
  gather(dataSet, sink);
  const hash = createHmac('sha256', domain.keys.text).update('source').update(sinkBytes(sink));
  if (pixels !== undefined) hash.update(pixels);
  return { digest: hash.digest('hex').slice(0, 32), coversPixels: pixels !== undefined };
}

/** Tags and values, however they were encoded on the way. */
function gather(dataSet: DataSet, sink: Sink): void {
  for (const element of dataSet.elements) {
    if ((element.tag & 0xffff) === 0) continue;
    if (element.items === undefined) {
      const value = littleEndianValue(dataSet, element);
      begin(sink, element.tag, value.length);
      writeBytes(sink, value);
      continue;
    }
    begin(sink, element.tag, element.items.length);
    for (const item of element.items) {
      begin(sink, ITEM, item.elements.length);
      gather(item, sink);
    }
  }
}

const ITEM = 0xfffee000;

function begin(sink: Sink, tag: number, count: number): void {
  PREFIX.writeUInt32LE(tag >>> 0, 0);
  PREFIX.writeUInt32LE(count, 4);
  writeBytes(sink, PREFIX);
}

/** The same chunks, counted into a digest that is complete when they have been read. */
export function digested(body: AsyncIterable<Buffer>): { body: AsyncIterable<Buffer>; digest: () => Buffer } {
  const hash = createHash('sha256');
  return {
    body: (async function* all() {
      for await (const chunk of body) {
        hash.update(chunk);
        yield chunk;
      }
    })(),
    digest: () => hash.digest(),
  };
}
