/** Evaluation of gibbs on slices with known ringing, and of what it refuses. */
import { Refusal } from '../../../src/dicom/refusal.ts';
import { mean, openOurs, print, runOurs, volumeOf } from '../../cases.ts';
import { enlarged, makeRinging, NARROW, rmse, SEEDS, SIDE } from './rings.ts';

const metric = 'RMSE to the truth (object 600)';
const seeds = process.argv[2] === undefined ? SEEDS : process.argv[2].split(',').map(Number);
const opened = await openOurs('gibbs');
for (const columns of [SIDE, NARROW]) {
  const set = `simulated slices, ${SIDE} x ${columns}`;
  const [before, after, seconds]: [number[], number[], number[]] = [[], [], []];
  let peakMb = 0;
  for (const seed of seeds) {
    const { ringing, truth } = makeRinging(seed, columns);
    before.push(rmse(ringing, truth));
    const result = await runOurs(opened, volumeOf(ringing, [columns, SIDE, 1], [SIDE / columns, 1, 3], 'MR'));
    after.push(rmse(result.voxels, truth));
    seconds.push(result.seconds);
    peakMb = result.peakMb;
  }
  print({ set, method: 'not corrected', metric, better: 'lower', values: before });
  print({ set, method: 'ours', metric, better: 'lower', values: after, secondsPerCase: mean(seconds), peakMb });
}

/** 100 where the series is refused. */
async function refused(values: Float32Array, columns: number): Promise<number> {
  const run = runOurs(opened, volumeOf(values, [columns, SIDE, 1], [SIDE / columns, 1, 3], 'MR'));
  return run.then(
    () => 0,
    (error: unknown) => {
      if (error instanceof Refusal) return 100;
      throw error;
    },
  );
}

for (const [what, make] of [
  ['as measured', (slice: Float32Array) => [slice, SIDE]],
  ['zero-filled to 176 columns', (slice: Float32Array) => [enlarged(slice, 176, 'zero-filled'), 176]],
  ['zero-filled to 320 columns', (slice: Float32Array) => [enlarged(slice, 320, 'zero-filled'), 320]],
  ['interpolated linearly to 320 columns', (slice: Float32Array) => [enlarged(slice, 320, 'linear'), 320]],
] as const) {
  const values: number[] = [];
  for (const seed of seeds) values.push(await refused(...(make(makeRinging(seed).ringing) as [Float32Array, number])));
  const better = what === 'as measured' ? 'lower' : 'higher';
  print({ set: `simulated slices, ${what}`, method: 'ours', metric: 'refused, %', better, values });
}
