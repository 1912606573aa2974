/** Evaluation of cxr-lung-seg: Dice and IoU of the shipped pipeline on held-out pictures, and what its gates let pass. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GatesRefusal } from '../../../src/pipelines/gates.ts';
import { runMasks, type MaskResult } from '../../../src/pipelines/zoo-masks.ts';
import type { OpenedModel } from '../../../src/pipelines/zoo.ts';
import { mean, openOurs, print, volumeOf } from '../../cases.ts';

interface Case {
  readonly name: string;
  readonly columns: number;
  readonly rows: number;
  readonly kind: 'chest' | 'other' | 'real';
}

const SETS = { chest: 'made chests', other: 'made pictures of other things', real: 'real masks' } as const;

const opened = await openOurs('cxr-lung-seg');
const { card, folder } = opened.model;
const open: OpenedModel = { ...opened, model: { folder, card: { ...card, gates: {} } } };
const files = mkdtempSync(join(tmpdir(), 'isthmus-lungs-'));
try {
  const args = [join(import.meta.dirname, 'cases.py'), files, ...process.argv.slice(2)];
  const python = process.env['PYTHON'] ?? '/usr/bin/python3';
  const cases = JSON.parse(execFileSync(python, args, { encoding: 'utf8', maxBuffer: 2 ** 26 })) as Case[];
  for (const [kind, list] of Map.groupBy(cases, (one) => one.kind)) await evaluate(kind, list);
} finally {
  rmSync(files, { recursive: true });
}

async function evaluate(kind: Case['kind'], list: readonly Case[]): Promise<void> {
  const [dice, iou, delivered, seconds]: [number[], number[], number[], number[]] = [[], [], [], []];
  for (const { name, columns, rows } of list) {
    const image = readFileSync(join(files, `${name}.image`));
    const truth = readFileSync(join(files, `${name}.label`));
    const ask = (model: OpenedModel): Promise<MaskResult> => {
      const voxels = Float32Array.from({ length: columns * rows }, (_, n) => image.readFloatLE(4 * n));
      const volume = volumeOf(voxels, [columns, rows, 1], [1.5, 1.5, 1], 'DX');
      return runMasks(model, {
        volume,
        stored: { lowest: 0, highest: 4095 },
        imageType: [],
        rescaleType: undefined,
        settings: {},
      });
    };
    const begun = performance.now();
    const { labels } = await ask(open);
    seconds.push((performance.now() - begun) / 1000);
    let [both, either] = [0, 0];
    truth.forEach((label, n) => {
      // The right lung in place of the left one is no hit.
      if (label > 0 && labels[n] === label) both++;
      if (label > 0 || labels[n]! > 0) either++;
    });
    iou.push(either === 0 ? 1 : both / either);
    dice.push(either === 0 ? 1 : (2 * both) / (both + either));
    delivered.push(
      await ask(opened).then(
        () => 1,
        (error: unknown) => {
          if (error instanceof GatesRefusal) return 0;
          throw error;
        },
      ),
    );
  }
  const peakMb = process.resourceUsage().maxRSS / 1024;
  const set = SETS[kind];
  if (kind === 'other') {
    const values = delivered.map((one) => 1 - one);
    return print({
      set,
      method: 'ours',
      metric: 'refused by the gates',
      better: 'higher',
      values,
      secondsPerCase: mean(seconds),
      peakMb,
    });
  }
  print({ set, method: 'ours', metric: 'Dice', better: 'higher', values: dice, secondsPerCase: mean(seconds), peakMb });
  print({ set, method: 'ours', metric: 'IoU', better: 'higher', values: iou });
  print({ set, method: 'ours', metric: 'delivered by the gates', better: 'neither', values: delivered });
  const passed = dice.filter((_, n) => delivered[n] === 1);
  if (passed.length > 0)
    print({ set, method: 'ours, of what is delivered', metric: 'Dice', better: 'higher', values: passed });
}
