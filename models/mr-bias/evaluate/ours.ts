/** Evaluation of mr-bias on heads with a known field. The first head runs twice, and the first time, which compiles the program, is not counted. */
import { openOurs, print, runOurs, volumeOf, mean, type OurRun } from '../../cases.ts';
import { fieldErrorPercent, makeHead, SEEDS, SIZE, SPACING, variationPercent } from './heads.ts';

const set = `${SEEDS.length} simulated heads, ${SIZE.join(' x ')}`;
const seeds = process.argv[2] === undefined ? SEEDS : process.argv[2].split(',').map(Number);
const opened = await openOurs('mr-bias');
const [before, errors, variations, seconds, processor]: number[][] = [[], [], [], [], []];
const [beforeVariation]: number[][] = [[]];
let peakMb = 0;
for (const seed of seeds) {
  const head = makeHead(seed);
  before!.push(fieldErrorPercent(head, head.shaded));
  beforeVariation!.push(variationPercent(head, head.shaded));
  const run = (): Promise<OurRun> => runOurs(opened, volumeOf(head.shaded.slice(), SIZE, SPACING, 'MR'));
  if (seed === seeds[0]) await run();
  const result = await run();
  errors!.push(fieldErrorPercent(head, result.voxels));
  variations!.push(variationPercent(head, result.voxels));
  seconds!.push(result.seconds);
  processor!.push(result.processorSeconds);
  peakMb = Math.max(peakMb, result.peakMb);
}
const [field, cv] = ['error of the field, %', 'CV of white matter, %'];
print({ set, method: 'not corrected', metric: field, better: 'lower', values: before! });
print({ set, method: 'ours', metric: field, better: 'lower', values: errors!, secondsPerCase: mean(seconds!), peakMb });
print({ set, method: 'not corrected', metric: cv, better: 'lower', values: beforeVariation! });
print({ set, method: 'ours', metric: cv, better: 'lower', values: variations! });
print({ set, method: 'ours', metric: 'processor time, s', better: 'lower', values: processor! });
