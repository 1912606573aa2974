/** Evaluation of xr-exposure on chests with faint discs, and of its time on 2048 x 2048 pixels. */
import { openOurs, print, runOurs, volumeOf } from '../../cases.ts';
import { cases, printScores, SIDE } from './radiographs.ts';

const opened = await openOurs('xr-exposure');
const all = [...cases()];
printScores(
  'as it was exposed',
  all.map((one) => ({ one, result: one.picture, seconds: 0 })),
);
for (const [label, settings] of [
  ['ours, alpha 0.7 (as shipped)', {}],
  ['ours, alpha 1', { alpha: 1 }],
] as const) {
  const scored = [];
  for (const one of all) {
    const { voxels, seconds } = await runOurs(
      opened,
      volumeOf(one.picture.slice(), [SIDE, SIDE, 1], [0.7, 0.7, 1], 'DX'),
      settings,
    );
    scored.push({ one, result: voxels, seconds });
  }
  printScores(label, scored);
}

const side = 2048;
const [{ picture }] = all as [(typeof all)[number]];
const large = Float32Array.from({ length: side * side }, (_, i) => {
  const [x, y] = [(i % side) >> 2, Math.floor(i / side) >> 2];
  return picture[y * SIDE + x]! + ((i * 7919) % 13);
});
const seconds: number[] = [];
let peakMb = 0;
for (let turn = 0; turn < 5; turn++) {
  const made = await runOurs(opened, volumeOf(large.slice(), [side, side, 1], [0.17, 0.17, 1], 'DX'));
  if (turn > 0) seconds.push(made.seconds);
  peakMb = made.peakMb;
}
print({
  set: '2048 x 2048 pixels',
  method: 'ours, with its quality figures',
  metric: 'seconds',
  better: 'lower',
  values: seconds,
  peakMb,
});
