/**
 * A stored series as a volume, native or compressed without loss. What was compressed with loss is not processed: its artefacts would
 * pass for what the pipeline found.
 */
import { readFrame } from '../archive/frames.ts';
import { instancesOf, readInstanceBody, readInstanceHead, type InstanceRow } from '../archive/instances.ts';
import { frameBytes, imageLayout, type ImageLayout } from '../codecs/image.ts';
import { convertFrame } from '../codecs/pool.ts';
import { codingOf } from '../codecs/syntaxes.ts';
import type { Head } from '../dicom/object.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../dicom/transfer-syntax.ts';
import { readVolume, type SeriesInstance } from '../dicom/volume.ts';
import type { Gateway } from '../gateway.ts';
import type { LoadedSeries } from './produce.ts';

const SIDE_BY_SIDE = 4;

export interface SeriesName {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
}

/** @throws Refusal PipelineRefused for what makes no volume and for frames that cannot be decoded */
export async function loadSeries(gateway: Gateway, name: SeriesName): Promise<LoadedSeries> {
  const heads: Head[] = [];
  const series: SeriesInstance[] = [];
  for (const instance of instancesOf(gateway.archive, name)) {
    const { head } = readHead(await readInstanceHead(gateway.archive, instance));
    heads.push(head);
    series.push(
      isDecoded(instance) ? decodedInstance(gateway, instance, head) : storedInstance(gateway, instance, head),
    );
  }
  return { heads, volume: await readVolume(series) };
}

function isDecoded({ transferSyntaxUID }: InstanceRow): boolean {
  const syntax = transferSyntax(transferSyntaxUID);
  return syntax?.encapsulated === true && syntax.compression !== 'lossy' && codingOf(transferSyntaxUID) !== undefined;
}

function storedInstance(gateway: Gateway, instance: InstanceRow, head: Head): SeriesInstance {
  return { head, pixels: () => collected(readInstanceBody(gateway.archive, instance)) };
}

/** The head as it would be if the pixels were stored native, and the pixels, decoded when they are asked for. */
function decodedInstance(gateway: Gateway, instance: InstanceRow, head: Head): SeriesInstance {
  const { frameCount, numberOfFrames = 1 } = instance;
  if (head.pixelData === undefined || frameCount !== Math.max(1, numberOfFrames))
    throw new Refusal('PipelineRefused', `${frameCount} of ${numberOfFrames} frames of an instance are there`);
  try {
    const layout = imageLayout(head.dataSet);
    const lengthBytes = frameBytes(layout) * frameCount;
    return {
      head: { ...head, pixelData: { tag: 0x7fe00010, vr: 'OW', lengthBytes } },
      async pixels() {
        const decoded: Buffer[] = [];
        // A few at a time, so that viewers get their turn at the codecs.
        for (let first = 1; first <= frameCount; first += SIDE_BY_SIDE) {
          const numbers = Array.from({ length: Math.min(SIDE_BY_SIDE, frameCount - first + 1) }, (_, at) => first + at);
          const settled = await Promise.allSettled(
            numbers.map((number) => decodedFrame(gateway, instance, layout, number)),
          );
          for (const frame of settled) {
            if (frame.status === 'rejected') throw asPipelineRefusal(frame.reason);
            decoded.push(frame.value);
          }
        }
        return Buffer.concat(decoded);
      },
    };
  } catch (error) {
    throw asPipelineRefusal(error);
  }
}

async function decodedFrame(
  gateway: Gateway,
  instance: InstanceRow,
  layout: ImageLayout,
  number: number,
): Promise<Buffer> {
  const { bytes } = await readFrame(gateway.archive, instance, number);
  const stored = Buffer.isBuffer(bytes) ? bytes : await collected(bytes);
  const syntaxes = { from: instance.transferSyntaxUID, to: EXPLICIT_VR_LITTLE_ENDIAN };
  return convertFrame(gateway.codecs, stored, layout, syntaxes);
}

/** What a viewer would be told with 406 is no fault that another attempt would mend. */
function asPipelineRefusal(error: unknown): unknown {
  if (!(error instanceof Refusal) || error.reason !== 'NotAcceptable') return error;
  return new Refusal('PipelineRefused', error.message);
}

async function collected(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}
