/** Evaluation of mr-denoise, blind, on slices with known Rician noise; and of its noise estimate. */
import { ricianSigma } from '../../../src/pipelines/rician.ts';
import { mean, openOurs, print, runOurs, volumeOf } from '../../cases.ts';
import { makeNoisy, psnr, SEEDS, SIDE, SIGMAS } from './slices.ts';

const opened = await openOurs('mr-denoise');
for (const sigma of SIGMAS) {
  const set = `${SIDE} x ${SIDE}, object 600, sigma ${sigma}`;
  const [before, found]: [number[], number[]] = [[], []];
  for (const seed of SEEDS) {
    const { noisy, truth } = makeNoisy(seed, sigma);
    before.push(psnr(noisy, truth));
    found.push(ricianSigma({ values: noisy, size: [SIDE, SIDE, 1], spacingMm: [1, 1, 1] }) / sigma);
  }
  print({ set, method: 'not corrected', metric: 'PSNR in the object, dB', better: 'higher', values: before });
  for (const [method, settings] of [
    ['ours, alpha 0.7 (as shipped)', {}],
    ['ours, alpha 1', { alpha: 1 }],
  ] as const) {
    const [after, seconds]: [number[], number[]] = [[], []];
    let peakMb = 0;
    for (const seed of SEEDS) {
      const { noisy, truth } = makeNoisy(seed, sigma);
      const result = await runOurs(opened, volumeOf(noisy, [SIDE, SIDE, 1], [1, 1, 3], 'MR'), settings);
      after.push(psnr(result.voxels, truth));
      seconds.push(result.seconds);
      peakMb = result.peakMb;
    }
    print({
      set,
      method,
      metric: 'PSNR in the object, dB',
      better: 'higher',
      values: after,
      secondsPerCase: mean(seconds),
      peakMb,
    });
  }
  print({ set, method: 'ours', metric: 'sigma found / true', better: 'neither', values: found });
}
