/** Evaluation of what takes ghosts away: two methods without a network and, where its folder has a card, the model, on simulated motion.
 *
 *   node ours.ts [FOLDER]     the folder of a candidate instead of this model's
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Refusal } from '../../../src/dicom/refusal.ts';
import { floatsOf } from '../../../src/pipelines/graph-session.ts';
import { loadManifest } from '../../../src/pipelines/zoo-manifest.ts';
import { openModel, runModel, type OpenedModel } from '../../../src/pipelines/zoo.ts';
import { print, runOurs, volumeOf } from '../../cases.ts';
import { bodyOf, gain, SIDE, ssim } from './figures.ts';

/** The simulation's phase runs down. */
const ATTRIBUTES = { InPlanePhaseEncodingDirection: ['COL'] };
const folder = process.argv[2] ?? join(import.meta.dirname, '..');
const opened = existsSync(join(folder, 'card.yaml')) ? await openModel(loadManifest(folder), 2) : undefined;
const files = mkdtempSync(join(tmpdir(), 'isthmus-ghost-'));
const python = process.env['PYTHON'] ?? '/usr/bin/python3';
const read = (name: string): Float32Array => floatsOf(readFileSync(join(files, name)));

interface Method {
  readonly name: string;
  readonly apply: (picture: string) => Promise<Float32Array>;
}

function sliceOf(picture: string): ReturnType<typeof volumeOf> {
  return volumeOf(read(picture), [SIDE, SIDE, 1], [1.2, 1.2, 5], 'MR');
}

/** Of one slice alone, stored as whole numbers; what the gates say is left out here. */
function corrects(model: OpenedModel): Method {
  const apply = async (picture: string): Promise<Float32Array> => {
    const { voxels } = await runOurs(model, sliceOf(picture), {}, ATTRIBUTES);
    return voxels.map((value) => Math.max(0, Math.round(value)));
  };
  return { name: 'ours', apply };
}

/** 100 where the gates refuse it. */
async function refused(model: OpenedModel, picture: string): Promise<number> {
  const source = { volume: sliceOf(picture), stored: { lowest: 0, highest: 65535 }, settings: {} };
  const asked = { ...source, imageType: [], rescaleType: undefined, attributes: ATTRIBUTES };
  return runModel({ ...model, familiarity: undefined }, asked).then(
    () => 0,
    (error: unknown) => {
      if (error instanceof Refusal) return 100;
      throw error;
    },
  );
}

/** @param set of slices of one kind and degree of motion */
async function measure(set: string, names: readonly string[], part: string, methods: readonly Method[]): Promise<void> {
  for (const { name: method, apply } of methods) {
    const [everywhere, inside, alike]: [number[], number[], number[]] = [[], [], []];
    for (const name of names) {
      const [rest, before, after] = [read(`${name}.rest`), read(`${name}.${part}`), await apply(`${name}.${part}`)];
      everywhere.push(gain(before, after, rest));
      inside.push(gain(before, after, rest, bodyOf(rest)));
      alike.push(ssim(after, rest) - ssim(before, rest));
    }
    print({ set, method, metric: 'PSNR gained, dB', better: 'higher', values: everywhere });
    print({ set, method, metric: 'PSNR gained in the body, dB', better: 'higher', values: inside });
    print({ set, method, metric: 'SSIM gained', better: 'higher', values: alike });
  }
}

async function measureAtRest(set: string, names: readonly string[], methods: readonly Method[]): Promise<void> {
  for (const { name: method, apply } of methods) {
    const values: number[] = [];
    for (const name of names) {
      const [rest, after] = [read(`${name}.rest`), await apply(`${name}.rest`)];
      values.push(after.reduce((most, value, n) => Math.max(most, Math.abs(value - rest[n]!)), 0));
    }
    print({ set, method, metric: 'largest change, of 1000', better: 'lower', values });
  }
}

try {
  const run = (program: string): string[] =>
    execFileSync(python, [join(import.meta.dirname, program), files], { encoding: 'utf8' })
      .trim()
      .split('\n');
  const cases = Map.groupBy(
    run('cases.py').map((line) => line.split(' ')),
    ([set]) => set ?? '',
  );
  if (!cases.has('real'))
    process.stdout.write(`${JSON.stringify({ absent: 'real slices; ISTHMUS_SAMPLES is not set' })}\n`);
  const classical = run('classical.py').map((name): Method => {
    return { name, apply: (picture) => Promise.resolve(read(`${picture}.${name.split(' ')[0]}`)) };
  });
  const methods = [...(opened === undefined ? [] : [corrects(opened)]), ...classical];
  for (const [from, found] of cases) {
    const names = found.map(([, name]) => name ?? '');
    for (const kind of ['breathing', 'sudden'])
      for (const degree of ['light', 'medium', 'severe']) {
        const [set, part] = [`${names.length} ${from} slices, ${kind}, ${degree}`, `${kind}.${degree}.moved`];
        await measure(set, names, part, methods);
        if (opened === undefined) continue;
        const values: number[] = [];
        for (const name of names) values.push(await refused(opened, `${name}.${part}`));
        const better = degree === 'severe' ? 'higher' : 'lower';
        print({ set, method: 'ours', metric: 'refused, %', better, values });
      }
    await measureAtRest(`${names.length} ${from} slices, not moved`, names, methods);
  }
} finally {
  rmSync(files, { recursive: true });
}
