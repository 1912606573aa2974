/** Evaluation of ct-denoise, blind, on slices with known truth: as shipped, and the network's whole correction (alpha 1) beside it. */
import { dirname } from 'node:path';
import { denoise, type DenoiseModel } from '../../../src/pipelines/correction.ts';
import { openGraph } from '../../../src/pipelines/graph-session.ts';
import { loadModel } from '../../../src/pipelines/manifest.ts';
import { estimateNoise } from '../../../src/pipelines/noise-level.ts';
import { mean, print, volumeOf } from '../../cases.ts';
import {
  cases,
  makeBody,
  printScores,
  realCases,
  scannerNoise,
  scoreOf,
  SIDE,
  type Case,
  type Score,
} from './slices.ts';
import { random } from '../../cases.ts';

const loaded = loadModel(dirname(import.meta.dirname));
const model: DenoiseModel = { session: await openGraph(loaded, 'denoise', 2), gates: {} };
const all: Case[] = [...cases(), ...(await realCases())];

interface Scored {
  readonly one: Case;
  readonly score: Score;
  readonly seconds: number;
}

const [before, shipped, whole]: [Scored[], Scored[], Scored[]] = [[], [], []];
const found = new Map<string, number[]>();
for (const one of all) {
  const volume = volumeOf(one.noisy, [SIDE, SIDE, 1], [0.7, 0.7, 2], 'CT');
  const begun = performance.now();
  const { voxels, quality } = await denoise(model, { volume });
  const seconds = (performance.now() - begun) / 1000;
  const full = voxels.map((value, i) => one.noisy[i]! + (value - one.noisy[i]!) / quality.alpha);
  before.push({ one, score: scoreOf(one, one.noisy), seconds: 0 });
  shipped.push({ one, score: scoreOf(one, voxels), seconds });
  whole.push({ one, score: scoreOf(one, full), seconds });
  if (one.body === undefined) continue;
  const { sigma } = estimateNoise({ values: one.noisy, columns: SIDE, rows: SIDE });
  found.set(one.set, [...(found.get(one.set) ?? []), sigma / one.sigma]);
}
const peakMb = process.resourceUsage().maxRSS / 1024;
printScores('not corrected', before);
printScores('ours, blind, as shipped', shipped, peakMb);
printScores('ours, blind, alpha 1 (the network alone)', whole, peakMb);
for (const [set, values] of found)
  print({ set, method: 'ours', metric: 'noise found / true', better: 'neither', values });
await time();

/** One slice of 512 x 512 again and again, the first two runs not counted. */
async function time(): Promise<void> {
  const side = 512;
  const [{ truth }, noise] = [makeBody(300), scannerNoise(random(1), 1, side)];
  const noisy = noise.map((value, i) => {
    const [x, y] = [i % side, Math.floor(i / side)];
    return Math.round(truth[(y >> 1) * SIDE + (x >> 1)]! + 28 * value);
  });
  const seconds: number[] = [];
  for (let turn = 0; turn < 9; turn++) {
    const volume = volumeOf(noisy.slice(), [side, side, 1], [0.7, 0.7, 2], 'CT');
    const begun = performance.now();
    await denoise(model, { volume });
    if (turn >= 2) seconds.push((performance.now() - begun) / 1000);
  }
  const set = 'one slice of 512 x 512, 2 threads';
  print({ set, method: 'ours, the whole pipeline', metric: 'seconds', better: 'lower', values: seconds });
  print({ set, method: 'ours, best of 7', metric: 'seconds', better: 'lower', values: [Math.min(...seconds)] });
  if (!(mean(seconds) > 0)) throw new Error('no time was measured');
}
