/**
 * Many small jobs of real pipelines that pass, one after another, and what the process tree holds after each: `node test/bench/soak.ts [JOBS]`.
 * Flat is: the mean of the last quarter is within 10 % of that of the second.
 */
import { join } from 'node:path';
import { closePool, openPool, runZoo, type Pool } from '../../src/pipelines/pool.ts';
import { residentMb } from '../../src/pipelines/resident.ts';
import { sampleOf } from '../../models/familiar-samples.ts';
import type { Volume } from '../../src/dicom/volume.ts';

const MODELS = join(import.meta.dirname, '..', '..', 'models');
/** Models with a manifest that take this volume. */
const MIX = ['gibbs', 'mr-denoise', 'mr-bias'] as const;

export interface Soak {
  /** MB after each job. */
  readonly gatewayMb: readonly number[];
  readonly treeMb: readonly number[];
  readonly refused: number;
}

/** A series that the models know: the recipe's own sample, another one for each job, so that no job is another's copy. */
function series(seed: number): Volume {
  return sampleOf('MR', 20_000 + seed).volume;
}

export async function soak(jobs: number, each: (done: number) => void = () => undefined): Promise<Soak> {
  const pool = await openPool({ threads: 1, maxMemoryMb: 2000, modelsFolder: MODELS });
  const [gatewayMb, treeMb]: [number[], number[]] = [[], []];
  let refused = 0;
  try {
    for (let n = 0; n - refused < jobs; n++) {
      if (refused > jobs) throw new Error(`${refused} of ${n} jobs were refused`);
      const request = {
        volume: series(n),
        stored: { lowest: 0, highest: 65535 },
        imageType: ['ORIGINAL', 'PRIMARY', 'M'],
        rescaleType: undefined,
        settings: {},
      };
      await runZoo(pool, MIX[n % MIX.length] ?? 'gibbs', request).catch((error: unknown) => {
        // A refusal is a job done, too, but not one of those that are counted.
        if (!(error instanceof Error) || error.name !== 'Refusal') throw error;
        refused++;
      });
      const own = residentMb(process.pid) ?? NaN;
      gatewayMb.push(own);
      treeMb.push(own + workersMb(pool));
      each(n + 1);
    }
  } finally {
    await closePool(pool);
  }
  return { gatewayMb, treeMb, refused };
}

function workersMb({ workers }: Pool): number {
  return [...workers].reduce((sum, { runner }) => sum + (runner.residentMb() ?? 0), 0);
}

/** The mean of the last quarter over that of the second. */
export function growth(values: readonly number[]): number {
  const quarter = Math.max(1, Math.floor(values.length / 4));
  const mean = (part: readonly number[]): number => part.reduce((sum, value) => sum + value, 0) / part.length;
  return mean(values.slice(-quarter)) / mean(values.slice(quarter, 2 * quarter));
}

if (process.argv[1] === import.meta.filename) {
  const jobs = Number(process.argv[2] ?? 200);
  const { gatewayMb, treeMb, refused } = await soak(jobs);
  const shown = (values: readonly number[]): string =>
    values
      .filter((_, n) => n % 10 === 9 || n === 0)
      .map(Math.round)
      .join(' ');
  process.stdout.write(
    `${jobs} jobs passed, ${refused} more refused\ngateway MB: ${shown(gatewayMb)}\ntree MB: ${shown(treeMb)}\ngrowth: gateway ${growth(gatewayMb).toFixed(3)}, tree ${growth(treeMb).toFixed(3)}\n`,
  );
  process.exitCode = Math.max(growth(gatewayMb), growth(treeMb)) <= 1.1 ? 0 : 1;
}
