/** Evaluation of gibbs on slices with known ringing. */
import { mean, openOurs, print, runOurs, volumeOf } from '../../cases.ts';
import { makeRinging, rmse, SEEDS, SIDE } from './rings.ts';

const set = `simulated slices, ${SIDE} x ${SIDE}`;
const metric = 'RMSE to the truth (object 600)';
const seeds = process.argv[2] === undefined ? SEEDS : process.argv[2].split(',').map(Number);
const opened = await openOurs('gibbs');
const [before, after, seconds]: [number[], number[], number[]] = [[], [], []];
let peakMb = 0;
for (const seed of seeds) {
  const { ringing, truth } = makeRinging(seed);
  before.push(rmse(ringing, truth));
  const result = await runOurs(opened, volumeOf(ringing, [SIDE, SIDE, 1], [1, 1, 3], 'MR'));
  after.push(rmse(result.voxels, truth));
  seconds.push(result.seconds);
  peakMb = result.peakMb;
}
print({ set, method: 'not corrected', metric, better: 'lower', values: before });
print({ set, method: 'ours', metric, better: 'lower', values: after, secondsPerCase: mean(seconds), peakMb });
