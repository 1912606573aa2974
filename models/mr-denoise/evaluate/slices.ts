/**
 * Magnitude slices with known Rician noise: the truth of models/gibbs/evaluate/rings.ts with a smooth texture. Fixed seeds 200 to 207,
 * three levels each; nothing was tuned on them.
 *
 *   node slices.ts FOLDER        # writes each case as raw float32 for other programs
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ricianSigma } from '../../../src/pipelines/rician.ts';
import { random } from '../../cases.ts';
import { makeRinging, SIDE } from '../../gibbs/evaluate/rings.ts';

export { SIDE };
export const SEEDS = Array.from({ length: 8 }, (_, i) => 200 + i);
/** Of the real and the imaginary part; the object is about 600. */
export const SIGMAS = [12, 30, 60];

/** `uneven`: the noise grows threefold from one corner to the other, as parallel imaging leaves it; `sigma` is that of the middle. */
export function makeNoisy(seed: number, sigma: number, uneven = false): { noisy: Float32Array; truth: Float32Array } {
  const next = random(seed * 1000 + sigma);
  const waves = Array.from(
    { length: 5 },
    () => [next.uniform(0.05, 0.5), next.uniform(0.05, 0.5), next.uniform(0, 6)] as const,
  );
  const truth = makeRinging(seed).truth.map((value, i) => {
    const [x, y] = [i % SIDE, Math.floor(i / SIDE)];
    const texture = waves.reduce((sum, [u, v, phase]) => sum + Math.sin(u * x + v * y + phase), 0) / 5;
    return value * (1 + 0.06 * texture);
  });
  const noisy = truth.map((value, i) => {
    const [x, y] = [(2 * (i % SIDE)) / SIDE - 1, (2 * Math.floor(i / SIDE)) / SIDE - 1];
    const here = uneven ? sigma * 3 ** ((x + (seed % 2 === 0 ? y : -y)) / 4 + 0.25 * (x * x - 0.3)) : sigma;
    return Math.hypot(value + here * next.normal(), here * next.normal());
  });
  return { noisy, truth };
}

/** dB to 600, over what is not air. */
export function psnr(values: Float32Array, truth: Float32Array): number {
  let [sum, count] = [0, 0];
  for (let i = 0; i < truth.length; i++) {
    if (truth[i]! < 30) continue;
    sum += (values[i]! - truth[i]!) ** 2;
    count++;
  }
  return 10 * Math.log10(600 ** 2 / (sum / count));
}

if (import.meta.main) {
  const folder = process.argv[2] ?? '.';
  mkdirSync(folder, { recursive: true });
  for (const seed of SEEDS)
    for (const sigma of SIGMAS)
      for (const [kind, uneven] of [
        ['even', false],
        ['uneven', true],
      ] as const) {
        const made = makeNoisy(seed, sigma, uneven);
        for (const [name, values] of Object.entries(made))
          writeFileSync(join(folder, `${seed}.${sigma}.${kind}.${name}`), Buffer.from(values.buffer));
        // What ours finds, blind; the anchors are told the same.
        const found = ricianSigma({ values: made.noisy, size: [SIDE, SIDE, 1], spacingMm: [1, 1, 1] });
        writeFileSync(join(folder, `${seed}.${sigma}.${kind}.found`), String(found));
      }
}
