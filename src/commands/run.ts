/** `isthmus run`: a pipeline on a folder of images; writes what it derives. */
import { createReadStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { closeCodecs, openCodecs, type CodecPool } from '../codecs/pool.ts';
import { readConfig } from '../config.ts';
import { asciiValue } from '../dicom/data-set.ts';
import type { Head } from '../dicom/object.ts';
import { readObject, receiveObject } from '../dicom/part10.ts';
import { encapsulatedExtents, pixelLayout, scanFragments } from '../dicom/pixel-data.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { SeriesInstance } from '../dicom/volume.ts';
import { swapWords } from '../dicom/writer.ts';
import { openModels } from '../gateway/models.ts';
import { closePool } from '../pipelines/pool.ts';
import { TRANSFORMS } from '../pipelines/registration-settings.ts';
import { loadedFrom } from '../workflow/each-volume.ts';
import { decodedInstance, isDecoded, type Encoded } from '../workflow/load-series.ts';
import type { Produced } from '../workflow/model-run.ts';
import { produceByManifest, produceDenoised, produceRefused, produceRegistration } from '../workflow/produce.ts';
import { filesOf } from './folder.ts';

/** @returns the exit status; undefined when it was called wrongly */
export async function runPipeline(args: string[]): Promise<number | undefined> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      input: { type: 'string' },
      fixed: { type: 'string' },
      output: { type: 'string' },
      transform: { type: 'string' },
    },
  });
  const [pipeline] = positionals;
  const { input, fixed, output } = values;
  const transform = TRANSFORMS.find((one) => one === values.transform);
  const known =
    pipeline !== undefined &&
    (pipeline === 'register') === (fixed !== undefined) &&
    (values.transform === undefined || (pipeline === 'register' && transform !== undefined));
  if (!known || input === undefined || output === undefined) return undefined;
  const config = readConfig();
  if (!config.runnable.has(pipeline)) {
    process.stderr.write(`there is no pipeline ${pipeline} (there are: ${[...config.runnable.keys()].join(', ')})\n`);
    return 2;
  }
  const pool = await openModels(config);
  const codecs = openCodecs();
  try {
    const options = {
      ...(config.pipelines.timeoutMs === undefined ? {} : { timeoutMs: config.pipelines.timeoutMs }),
      onProgress: (step: string, share: number) => process.stderr.write(`${Math.round(share * 100)} % ${step}\n`),
    };
    const instances = await loadFolder(input, codecs);
    const onto = fixed === undefined ? undefined : await loadFolder(fixed, codecs);
    let refusal: Refusal | undefined;
    const run = async (): Promise<Produced> => {
      if (onto !== undefined) {
        const series = { moving: await loadedFrom(instances), fixed: await loadedFrom(onto) };
        return produceRegistration(
          pool,
          { ...series, settings: transform === undefined ? {} : { transform } },
          options,
        );
      }
      if (pipeline === 'ct-denoise')
        return produceDenoised(pool, { source: await loadedFrom(instances), settings: {} }, options);
      return produceByManifest(pool, { id: pipeline, instances, settings: {} }, options);
    };
    const produced = await run().catch((error: unknown) => {
      if (!(error instanceof Refusal) || error.reason !== 'PipelineRefused') throw error;
      refusal = error;
      return produceRefused(pool, {
        pipeline,
        source: instances.map(({ head }) => head),
        fixed: onto?.map(({ head }) => head),
        settings: {},
        refusal: error,
      });
    });
    await mkdir(output, { recursive: true });
    let objects = 0;
    for (const object of produced.objects) {
      await writeFile(join(output, `${object.sopInstanceUID}.dcm`), [object.head, object.body]);
      objects++;
    }
    process.stdout.write(
      `${JSON.stringify({ pipeline, objects, verdict: produced.verdict, quality: produced.quality }, null, 2)}\n`,
    );
    if (refusal !== undefined) throw refusal;
    return 0;
  } finally {
    await closeCodecs(codecs);
    await closePool(pool);
  }
}

/** The objects of a folder as one series; they are read as they are, identified or not. */
async function loadFolder(folder: string, codecs: CodecPool): Promise<SeriesInstance[]> {
  const series: SeriesInstance[] = [];
  for (const name of await filesOf(folder)) {
    const stream = createReadStream(name);
    const { head } = await receiveObject(stream);
    stream.destroy();
    if (asciiValue(head.dataSet, 0x00080016) === undefined) continue;
    // What is compressed stays in memory; the rest is read again when it is asked for, one file at a time.
    if (isDecoded(head)) {
      series.push(decodedInstance(codecs, head, encodedIn(head, await pixelsIn(name))));
      continue;
    }
    const swapped = head.dataSet.encoding === 'explicit-be' && head.pixelData?.vr === 'OW';
    series.push({
      head,
      pixels: async () => (swapped ? swapWords(await pixelsIn(name), 2) : pixelsIn(name)),
    });
  }
  return series;
}

async function pixelsIn(name: string): Promise<Buffer> {
  const { body } = await readObject(await readFile(name));
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

function encodedIn(head: Head, pixels: Buffer): Encoded {
  const scan = scanFragments();
  scan.take(pixels);
  const extents = encapsulatedExtents(pixelLayout(head.dataSet, head.transferSyntaxUID), scan);
  const frames = (extents.kind === 'encapsulated' ? extents.frames : []).map(
    (parts) => () => Promise.resolve(Buffer.concat(parts.map(({ start, end }) => pixels.subarray(start, end)))),
  );
  return { encodedBytes: pixels.length, frames };
}
