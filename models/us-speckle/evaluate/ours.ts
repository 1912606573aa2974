/** Evaluation of us-speckle, blind, beside Lee, SRAD and NLM (classical.py), on simulated B-mode pictures. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { floatsOf } from '../../../src/pipelines/graph-session.ts';
import { mean, openOurs, print, runOurs, volumeOf } from '../../cases.ts';
import { edges, looks, psnr, SEEDS, SIDE } from './figures.ts';

const METRICS = [
  ['PSNR, dB', psnr],
  ['edges kept (correlation)', edges],
] as const;
const opened = await openOurs('us-speckle');
const files = mkdtempSync(join(tmpdir(), 'isthmus-speckle-'));
const python = process.env['PYTHON'] ?? '/usr/bin/python3';
const read = (name: string): Float32Array => floatsOf(readFileSync(join(files, name)));
try {
  execFileSync(python, [join(import.meta.dirname, 'cases.py'), files]);
  const others = execFileSync(python, [join(import.meta.dirname, 'classical.py'), files], { encoding: 'utf8' }).trim();
  const methods = ['not corrected', 'ours (as shipped)', 'ours, alpha 1', ...others.split('\n')];
  for (const set of ['fine', 'coarse'])
    for (const method of methods) {
      const results: Float32Array[] = [];
      const seconds: number[] = [];
      let peakMb = 0;
      for (const seed of SEEDS) {
        const noisy = read(`${seed}.${set}.noisy`);
        if (method.startsWith('ours')) {
          const settings = method.endsWith('alpha 1') ? { alpha: 1 } : {};
          const made = await runOurs(opened, volumeOf(noisy.slice(), [SIDE, SIDE, 1], [0.3, 0.3, 1], 'US'), settings);
          results.push(made.voxels.map((value) => Math.min(255, Math.max(0, Math.round(value)))));
          seconds.push(made.seconds);
          peakMb = made.peakMb;
        } else if (method === 'not corrected') results.push(noisy);
        else {
          results.push(read(`${seed}.${set}.${method.split(' ')[0]}`));
          const took = join(files, `${seed}.${set}.${method.split(' ')[0]}.seconds`);
          if (existsSync(took)) seconds.push(Number(readFileSync(took, 'utf8')));
        }
      }
      const cost = {
        ...(seconds.length === 0 ? {} : { secondsPerCase: mean(seconds) }),
        ...(peakMb === 0 ? {} : { peakMb }),
      };
      const clean = SEEDS.map((seed) => read(`${seed}.${set}.clean`));
      for (const [metric, figure] of METRICS)
        print({
          set: `${set} speckle`,
          method,
          metric,
          better: 'higher',
          values: results.map((one, n) => figure(one, clean[n]!)),
          ...cost,
        });
      const gained = results.map((one, n) => looks(read(`${SEEDS[n]}.${set}.noisy`), one, clean[n]!));
      print({ set: `${set} speckle`, method, metric: 'looks gained in flat tissue', better: 'higher', values: gained });
    }
} finally {
  rmSync(files, { recursive: true });
}
