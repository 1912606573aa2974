/**
 * A stored series as a volume, native or compressed. What was compressed with loss says so in its head, by which a model that would take
 * artefacts for what it looks for refuses it.
 */
import { readFrame } from '../archive/frames.ts';
import { instancesOf, readInstanceBody, readInstanceHeads, type InstanceRow } from '../archive/instances.ts';
import { frameBytes, imageLayout } from '../codecs/image.ts';
import { convertFrame, type CodecPool } from '../codecs/pool.ts';
import { codingOf } from '../codecs/syntaxes.ts';
import { withLossTold } from '../codecs/told-loss.ts';
import { numberValue } from '../dicom/data-set.ts';
import type { Head } from '../dicom/object.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../dicom/transfer-syntax.ts';
import type { SeriesInstance } from '../dicom/volume.ts';
import type { Gateway } from '../gateway.ts';
import type { LoadedSeries } from './beside.ts';
import { loadedFrom } from './each-volume.ts';

const SIDE_BY_SIDE = 4;

export interface SeriesName {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
}

/** @throws Refusal PipelineRefused for what makes no volume and for frames that cannot be decoded */
export async function loadSeries(gateway: Gateway, name: SeriesName): Promise<LoadedSeries> {
  return loadedFrom(await loadInstances(gateway, name));
}

/** The instances of a series, their pixels decoded when they are asked for. */
export async function loadInstances(gateway: Gateway, name: SeriesName): Promise<SeriesInstance[]> {
  const series: SeriesInstance[] = [];
  for await (const [instance, bytes] of readInstanceHeads(gateway.archive, instancesOf(gateway.archive, name))) {
    const { head } = readHead(bytes);
    series.push(
      isDecoded(head)
        ? decodedInstance(gateway.codecs, head, encodedOf(gateway, instance))
        : { head, pixels: () => collected(readInstanceBody(gateway.archive, instance)) },
    );
  }
  return series;
}

/** What the instances of a series say, without their pixels. */
export async function loadHeads({ archive }: Gateway, name: SeriesName): Promise<Head[]> {
  const heads: Head[] = [];
  for await (const [, bytes] of readInstanceHeads(archive, instancesOf(archive, name)))
    heads.push(readHead(bytes).head);
  return heads;
}

/** Whether its pixels are compressed, in a way that there is a codec for. */
export function isDecoded({ transferSyntaxUID }: Head): boolean {
  return transferSyntax(transferSyntaxUID)?.encapsulated === true && codingOf(transferSyntaxUID) !== undefined;
}

/** The compressed pixels of an instance. */
export interface Encoded {
  readonly encodedBytes: number;
  /** Each reads one frame as it is stored. */
  readonly frames: readonly (() => Promise<Buffer>)[];
}

function encodedOf({ archive }: Gateway, instance: InstanceRow): Encoded {
  const frames = Array.from({ length: instance.frameCount }, (_, index) => async () => {
    const { bytes } = await readFrame(archive, instance, index + 1);
    return Buffer.isBuffer(bytes) ? bytes : collected(bytes);
  });
  return { encodedBytes: instance.lengthBytes - instance.headLengthBytes, frames };
}

/**
 * The head as it would be if the pixels were stored native, and the pixels, decoded when they are asked for.
 * @throws Refusal PipelineRefused when frames are missing, and, from the pixels, when one cannot be decoded
 */
export function decodedInstance(codecs: CodecPool, head: Head, { encodedBytes, frames }: Encoded): SeriesInstance {
  const said = Math.max(1, numberValue(head.dataSet, 0x00280008) ?? 1);
  if (head.pixelData === undefined || frames.length !== said)
    throw new Refusal('PipelineRefused', `${frames.length} of ${said} frames of an instance are there`);
  const layout = told(() => imageLayout(head.dataSet));
  const syntaxes = { from: head.transferSyntaxUID, to: EXPLICIT_VR_LITTLE_ENDIAN };
  return {
    head: {
      ...head,
      dataSet: withLossTold(head, { frames: said, encodedBytes }),
      pixelData: { tag: 0x7fe00010, vr: 'OW', lengthBytes: frameBytes(layout) * said },
    },
    async pixels() {
      const decoded: Buffer[] = [];
      // A few at a time, so that viewers get their turn at the codecs.
      for (let first = 0; first < frames.length; first += SIDE_BY_SIDE) {
        const converting = frames
          .slice(first, first + SIDE_BY_SIDE)
          .map(async (read) => convertFrame(codecs, await read(), layout, syntaxes));
        for (const frame of await Promise.allSettled(converting))
          decoded.push(
            told(() => {
              if (frame.status === 'rejected') throw frame.reason;
              return frame.value;
            }),
          );
      }
      return Buffer.concat(decoded);
    },
  };
}

/** What a viewer would be told with 406 is no fault that another attempt would mend. */
function told<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Refusal) || error.reason !== 'NotAcceptable') throw error;
    throw new Refusal('PipelineRefused', error.message);
  }
}

async function collected(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}
