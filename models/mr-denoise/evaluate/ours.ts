/** Evaluation of mr-denoise, blind, on slices with known Rician noise; and of its noise estimate. */
import { ricianSigma } from '../../../src/pipelines/rician.ts';
import { mean, openOurs, print, runOurs, volumeOf } from '../../cases.ts';
import { makeNoisy, psnr, SEEDS, SIDE, SIGMAS } from './slices.ts';

const opened = await openOurs('mr-denoise');
for (const kind of ['even', 'uneven'] as const)
  for (const sigma of SIGMAS) {
    const set = `${SIDE} x ${SIDE}, object 600, ${kind} noise of ${sigma}`;
    const metric = 'PSNR in the object, dB';
    const all = SEEDS.map((seed) => makeNoisy(seed, sigma, kind === 'uneven'));
    print({
      set,
      method: 'not corrected',
      metric,
      better: 'higher',
      values: all.map(({ noisy, truth }) => psnr(noisy, truth)),
    });
    for (const [method, settings] of [
      ['ours, blind (as shipped)', {}],
      ['ours, blind, alpha 1', { alpha: 1 }],
    ] as const) {
      const [after, seconds]: [number[], number[]] = [[], []];
      let peakMb = 0;
      for (const { noisy, truth } of all) {
        const result = await runOurs(opened, volumeOf(noisy.slice(), [SIDE, SIDE, 1], [1, 1, 3], 'MR'), settings);
        after.push(psnr(result.voxels, truth));
        seconds.push(result.seconds);
        peakMb = result.peakMb;
      }
      print({ set, method, metric, better: 'higher', values: after, secondsPerCase: mean(seconds), peakMb });
    }
    if (kind === 'uneven') continue;
    const found = all.map(
      ({ noisy }) => ricianSigma({ values: noisy, size: [SIDE, SIDE, 1], spacingMm: [1, 1, 1] }) / sigma,
    );
    print({ set, method: 'ours', metric: 'sigma found / true', better: 'neither', values: found });
  }

// One series of 16 slices of 256 x 256, again and again; the first run is not counted.
const [side, slices] = [256, 16];
const { noisy } = makeNoisy(200, 30);
const volume = Float32Array.from({ length: side * side * slices }, (_, i) => {
  const [x, y] = [
    Math.floor(((i % side) * SIDE) / side),
    Math.floor((Math.floor((i % (side * side)) / side) * SIDE) / side),
  ];
  return noisy[y * SIDE + x]!;
});
const perSlice: number[] = [];
for (let turn = 0; turn < 4; turn++) {
  const { seconds } = await runOurs(opened, volumeOf(volume.slice(), [side, side, slices], [1, 1, 3], 'MR'));
  if (turn > 0) perSlice.push(seconds / slices);
}
const set = 'a slice of 256 x 256 of a series of 16, 2 threads';
print({ set, method: 'ours, the whole pipeline', metric: 'seconds', better: 'lower', values: perSlice });
