/** Evaluation of rigid and affine registration on pairs with a known map: the whole pipeline as a rule runs it, gates off. */
import { print } from '../../cases.ts';
import { Refusal } from '../../../src/dicom/refusal.ts';
import { register } from '../../../src/pipelines/registration.ts';
import type { RegistrationModel } from '../../../src/pipelines/registration.ts';
import { DEFAULT_SETTINGS } from '../../../src/pipelines/registration-settings.ts';
import type { Session } from '../../../src/pipelines/session.ts';
import { errorMm, HELD_OUT, LARGE, LARGE_SIZE, makePair, type Pair } from './pairs.ts';

/** Without a deformation no graph is run. */
const none: Session = {
  inputs: [],
  outputs: [],
  shapes: [],
  run: () => Promise.reject(new Error('a rigid registration runs no graph')),
  release: () => Promise.resolve(),
};
const applies = { modalities: ['CT', 'MR', 'PT'], minSlices: 8 };
const model = {
  sessions: new Proxy({}, { get: () => none }),
  gates: {},
  applies,
  threads: 2,
} as unknown as RegistrationModel;

/** Worse than any start, for a pair that is refused. */
const REFUSED_MM = 99;

async function measure(pair: Pair): Promise<{ errorMm: number; seconds: number }> {
  // Of this process alone: the alignment is one thread, and the machine may have other work.
  const begun = process.cpuUsage();
  const settings = { ...DEFAULT_SETTINGS, transform: pair.affine ? 'affine' : 'rigid' } as const;
  let error = REFUSED_MM;
  try {
    const { rigid } = await register(model, { fixed: pair.fixed, moving: pair.moving, settings });
    error = errorMm(pair, rigid);
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    process.stderr.write(`pair ${pair.seed} is refused: ${refusal.message}\n`);
  }
  const { user, system } = process.cpuUsage(begun);
  return { errorMm: error, seconds: (user + system) / 1e6 };
}

const asked = process.argv[2]?.split(',').map(Number);
const found = new Map<string, { errors: number[]; seconds: number[] }>();
for (const seed of asked ?? HELD_OUT) {
  const pair = makePair(seed);
  const result = await measure(pair);
  process.stderr.write(`${seed} ${pair.kind}: ${result.errorMm.toFixed(2)} mm, ${result.seconds.toFixed(1)} s\n`);
  for (const set of ['all pairs', pair.kind]) {
    const row = found.get(set) ?? { errors: [], seconds: [] };
    found.set(set, row);
    row.errors.push(result.errorMm);
    row.seconds.push(result.seconds);
  }
}
const peakMb = process.resourceUsage().maxRSS / 1024;
for (const [set, { errors, seconds }] of [...found].sort(([a], [b]) => (a < b ? -1 : 1))) {
  print({
    set,
    method: 'ours',
    metric: 'TRE, mm',
    better: 'lower',
    values: errors,
    peakMb,
  });
  print({ set, method: 'ours', metric: 'CPU seconds', better: 'lower', values: seconds });
  const within = errors.map((error) => (error < 1 ? 100 : 0));
  print({ set, method: 'ours', metric: 'pairs with TRE < 1 mm, %', better: 'higher', values: within });
}
if (asked === undefined) {
  const large: { errorMm: number; seconds: number }[] = [];
  for (const seed of LARGE) large.push(await measure(makePair(seed, { size: LARGE_SIZE })));
  const set = `${LARGE_SIZE} x ${LARGE_SIZE} x ${LARGE_SIZE}`;
  const [errors, seconds] = [large.map((one) => one.errorMm), large.map((one) => one.seconds)];
  const peak = process.resourceUsage().maxRSS / 1024;
  print({ set, method: 'ours', metric: 'TRE, mm', better: 'lower', values: errors, peakMb: peak });
  print({ set, method: 'ours', metric: 'CPU seconds', better: 'lower', values: seconds });
}
