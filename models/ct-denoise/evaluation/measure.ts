/**
 * Measures the pipeline as it is shipped (blind noise level, alpha by the noise's colour): CT numbers on a phantom, the noise estimate, time per
 * slice, peak memory of a long series.
 *
 *   node models/ct-denoise/evaluation/measure.ts numbers
 *   node models/ct-denoise/evaluation/measure.ts estimate FOLDER      (what add_noise.py wrote)
 *   node models/ct-denoise/evaluation/measure.ts gates
 *   node models/ct-denoise/evaluation/measure.ts time [threads]
 *   node models/ct-denoise/evaluation/measure.ts memory [slices]
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Refusal } from '../../../src/dicom/refusal.ts';
import { boxMean } from '../../../src/pipelines/body.ts';
import { denoise, type DenoiseModel } from '../../../src/pipelines/correction.ts';
import { openGraph } from '../../../src/pipelines/graph-session.ts';
import { loadModel } from '../../../src/pipelines/manifest.ts';
import { estimateNoise } from '../../../src/pipelines/noise-level.ts';
import type { Tensor } from '../../../src/pipelines/session.ts';
import { makePhantom, PADDING_HU, volumeOf, type Phantom } from '../../../test/pipelines/ct-phantom.ts';

const STORED = { lowestHU: -2048, highestHU: 4095, paddingHU: [PADDING_HU, PADDING_HU] } as const;

const [what, argument] = process.argv.slice(2);
switch (what) {
  case 'numbers':
    await measureNumbers(await openModel(1));
    break;
  case 'estimate':
    measureEstimate(argument ?? '.');
    break;
  case 'gates':
    await measureGates(await openModel(1));
    break;
  case 'time':
    await measureTime(Number(argument ?? 2));
    break;
  case 'memory':
    await measureMemory(Number(argument ?? 300));
    break;
  default:
    throw new Error('expected numbers, estimate, gates, time or memory');
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function openModel(threads: number): Promise<DenoiseModel> {
  const model = loadModel(fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, ''));
  return { session: await openGraph(model, 'denoise', threads), gates: model.card.gates };
}

async function measureNumbers(model: DenoiseModel): Promise<void> {
  print('| noise | σ HU | estimated | flat deviation HU | flat bias HU | inserts 10 / 20 / 50 / −100 HU | verdict |');
  print('|---|---|---|---|---|---|---|');
  for (const colour of ['white', 'coloured'] as const) {
    for (const sigmaHU of [4, 12, 28, 60, 100]) {
      // Twelve slices, so that the mean of an insert says what the network does and not what chance did.
      const phantom = makePhantom({ columns: 256, rows: 256, slices: 12, sigmaHU, colour, seed: 17 });
      const { voxels, quality, verdict } = await denoise(model, { volume: phantom.volume, storedRange: STORED });
      const [before, after] = [overSlices(phantom, phantom.volume.voxels), overSlices(phantom, voxels)];
      const inserts = after.inserts.map((mean) => (mean - after.flat.mean).toFixed(1)).join(' / ');
      const bias = (after.flat.mean - before.flat.mean).toFixed(2);
      const deviation = `${before.flat.deviation.toFixed(1)} → ${after.flat.deviation.toFixed(1)}`;
      const warned = verdict.findings.filter(({ outcome }) => outcome !== 'pass').map(({ name }) => name);
      const say = warned.length === 0 ? 'pass' : `warning: ${warned.join(', ')}`;
      const estimated = quality.sigmaBeforeHU.toFixed(1);
      print(`| ${colour} | ${sigmaHU} | ${estimated} | ${deviation} | ${bias} | ${inserts} | ${say} |`);
    }
  }
}

interface Numbers {
  readonly flat: { readonly mean: number; readonly deviation: number };
  readonly inserts: readonly number[];
}

function overSlices({ volume, flat, inserts }: Phantom, voxels: Float32Array): Numbers {
  const masked = (mask: Uint8Array): Float32Array => voxels.filter((_, i) => mask[i % mask.length] === 1);
  const meanOf = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const values = masked(flat);
  const mean = meanOf(values);
  const deviation = Math.sqrt(meanOf(values.map((value) => (value - mean) ** 2)));
  if (volume.voxels.length !== voxels.length) throw new Error('the result has another length than the source');
  return { flat: { mean, deviation }, inserts: inserts.map(({ core }) => meanOf(masked(core))) };
}

/** Found / expected sigma, where the noise a slice had of its own counts by its own estimate. */
function measureEstimate(folder: string): void {
  const estimate = (file: string): number => {
    const bytes = readFileSync(join(folder, file));
    const values = Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i));
    return estimateNoise({ values: values.slice(2), columns: values[0]!, rows: values[1]! }).sigma;
  };
  for (const colour of ['white', 'coloured']) {
    const ratios: number[] = [];
    for (const file of readdirSync(folder).sort()) {
      const [slice, kind, sigma] = file.replace(/\.f32$/, '').split('_');
      if (slice === undefined || kind?.startsWith(colour) !== true || sigma === '0') continue;
      const expected = Math.hypot(Number(sigma), estimate(`${slice}_${kind}_0.f32`));
      ratios.push(estimate(file) / expected);
    }
    ratios.sort((a, b) => a - b);
    const say = (at: number): string => (ratios[Math.min(ratios.length - 1, Math.floor(at * ratios.length))] ?? 0).toFixed(2);
    print(`${colour}: ${ratios.length} cases, found / expected ${say(0)} to ${say(1)}, median ${say(0.5)}`);
  }
}

/** What the gates say of the network, and of others that are worse than it on purpose, on 40 phantoms each. */
async function measureGates(model: DenoiseModel): Promise<void> {
  const { session } = model;
  const boxed = (radius: number) => async ({ x }: Feeds): Promise<Feeds> => {
    const out = new Float64Array(x!.data.length);
    boxMean(x!.data, x!.dims[3]!, x!.dims[2]!, radius, out);
    return { y: { dims: x!.dims, data: Float32Array.from(out) } };
  };
  const told = (factor: number) => ({ x, sigma }: Feeds): Promise<Feeds> =>
    session.run({ x: x!, sigma: { dims: sigma!.dims, data: sigma!.data.map((value) => factor * value) } });
  const shifted = async (feeds: Feeds): Promise<Feeds> => {
    const { y } = await session.run(feeds);
    return { y: { dims: y!.dims, data: y!.data.map((value) => value + 8) } };
  };
  const networks: Record<string, (feeds: Feeds) => Promise<Feeds>> = {
    'as shipped': (feeds) => session.run(feeds),
    'told half of the noise': told(0.5),
    'told twice the noise': told(2),
    'told four times the noise': told(4),
    'adds 8 HU': shifted,
    'mean of 3x3': boxed(1),
    'mean of 5x5': boxed(2),
    'gives its input': async ({ x }) => ({ y: x! }),
  };
  print('| network | pass | warning | refused |');
  print('|---|---|---|---|');
  for (const [name, run] of Object.entries(networks)) {
    const outcomes = { pass: 0, warn: 0, refused: 0 };
    for (let seed = 0; seed < 40; seed++) {
      const colour = seed % 2 === 0 ? 'white' : 'coloured';
      const sigmaHU = [4, 12, 28, 60][(seed >> 1) % 4]!;
      const { volume } = makePhantom({ columns: 192, rows: 192, slices: 1, sigmaHU, colour, seed: 100 + seed });
      try {
        const { verdict } = await denoise({ ...model, session: { ...session, run } }, { volume, storedRange: STORED });
        outcomes[verdict.outcome]++;
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        outcomes.refused++;
      }
    }
    print(`| ${name} | ${outcomes.pass} | ${outcomes.warn} | ${outcomes.refused} |`);
  }
}

type Feeds = Readonly<Record<string, Tensor>>;

async function measureTime(threads: number): Promise<void> {
  const model = await openModel(threads);
  const { volume } = makePhantom({ columns: 512, rows: 512, slices: 1, sigmaHU: 20, colour: 'coloured', seed: 1 });
  const x = { dims: [1, 1, 512, 512], data: volume.voxels };
  const sigma = { dims: [1, 1, 1, 1], data: Float32Array.of(20) };
  const timed = async (label: string, work: () => unknown): Promise<void> => {
    const times: number[] = [];
    for (let i = 0; i < 9; i++) {
      const start = performance.now();
      await work();
      if (i >= 2) times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    print(`${label}: best ${times[0]!.toFixed(0)} ms, median ${times[3]!.toFixed(0)} ms per slice of 512x512`);
  };
  await timed(`network, ${threads} threads`, () => model.session.run({ x, sigma }));
  await timed('noise estimate', () => estimateNoise({ values: volume.voxels, columns: 512, rows: 512 }));
  await timed(`whole pipeline, ${threads} threads`, () => denoise(model, { volume, storedRange: STORED }));
}

async function measureMemory(slices: number): Promise<void> {
  const model = await openModel(2);
  const { volume } = makePhantom({ columns: 512, rows: 512, slices: 1, sigmaHU: 20, colour: 'coloured', seed: 1 });
  const voxels = new Float32Array(512 * 512 * slices);
  for (let k = 0; k < slices; k++) voxels.set(volume.voxels, k * 512 * 512);
  const before = process.memoryUsage.rss();
  const start = performance.now();
  const { quality } = await denoise(model, { volume: volumeOf(512, 512, slices, voxels), storedRange: STORED });
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);
  print(
    `512x512x${slices}: ${((performance.now() - start) / 1000).toFixed(1)} s with 2 threads, peak ` +
      `${megabytes(process.resourceUsage().maxRSS * 1024)} MB (${megabytes(before)} MB before, source of ` +
      `${megabytes(voxels.byteLength)} MB among them), ${quality.correctedSlices} slices corrected`,
  );
}
