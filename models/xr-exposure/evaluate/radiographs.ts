/**
 * Chests seen by a linear detector of 12 bits at a third, once and three times the right dose, with the noise of the photons, and faint discs
 * at known places in lung, mediastinum and abdomen. Fixed seeds; nothing was tuned on them.
 *
 *   node radiographs.ts write FOLDER                # the cases as raw float32
 *   node radiographs.ts score FOLDER METHOD LABEL   # prints the rows of FOLDER/<case>.<METHOD>, seconds from FOLDER/<METHOD>.json
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { percentiles } from '../../../src/pipelines/zoo-figures.ts';
import { mean, print, random } from '../../cases.ts';

export const SIDE = 512;
const SEEDS = [500, 501, 502, 503];
export const DOSES = { 'a third of the dose': 1 / 3, 'the right dose': 1, 'three times the dose': 3 } as const;
const TOP = 4095;
const RADIUS = 7;

export interface Case {
  readonly name: string;
  readonly set: string;
  readonly picture: Float32Array;
  readonly discs: readonly { readonly x: number; readonly y: number }[];
}

export function* cases(): Generator<Case> {
  for (const [label, dose] of Object.entries(DOSES))
    for (const seed of SEEDS)
      yield makeChest(seed, dose, `${seed}.${label.replaceAll(' ', '-')}`, `${SEEDS.length} chests, ${label}`);
}

function makeChest(seed: number, dose: number, name: string, set: string): Case {
  const next = random(seed);
  const lungs = [-1, 1].map((side) => ({
    x: side * next.uniform(0.38, 0.46),
    y: next.uniform(-0.2, -0.05),
    a: next.uniform(0.24, 0.32),
    b: next.uniform(0.5, 0.62),
  }));
  const [ribs, width] = [next.uniform(14, 19), next.uniform(0.86, 0.95)];
  const places = [
    ...[-0.45, -0.38, 0.38, 0.45].map((x) => ({ x, y: next.uniform(-0.4, 0.2) })),
    ...[-0.2, 0.05, 0.3].map((y) => ({ x: next.uniform(-0.05, 0.05), y })),
    ...[-0.5, 0, 0.5].map((x) => ({ x, y: next.uniform(0.7, 0.85) })),
  ];
  const discs = places.map(({ x, y }) => ({
    x: Math.round(((x + 1) / 2) * SIDE),
    y: Math.round(((y + 1) / 2) * SIDE),
  }));
  const picture = new Float32Array(SIDE * SIDE);
  for (let i = 0; i < picture.length; i++) {
    const [px, py] = [i % SIDE, Math.floor(i / SIDE)];
    const [x, y] = [(2 * px) / SIDE - 1, (2 * py) / SIDE - 1];
    const inside = Math.hypot(x / width, (y - 0.5) / 1.7);
    // Path through tissue, in units of 1 / attenuation.
    let path = inside > 1 ? 0 : 2.6 * Math.sqrt(1 - inside * inside) + 0.6;
    for (const lung of lungs) {
      const reach = Math.hypot((x - lung.x) / lung.a, (y - lung.y) / lung.b);
      if (reach < 1) path -= 1.7 * (1 - reach ** 4) + 0.06 * Math.sin(40 * x + 25 * y + 3 * Math.sin(9 * y));
    }
    if (inside < 1) path += 0.18 * Math.max(0, Math.sin(ribs * (y + 0.7 * x * x))) + (Math.abs(x) < 0.09 ? 0.9 : 0);
    for (const disc of discs) if (Math.hypot(px - disc.x, py - disc.y) < RADIUS) path += 0.08;
    const counts = 6000 * dose * Math.exp(-Math.max(0, path));
    const seen = counts + Math.sqrt(counts) * next.normal();
    picture[i] = Math.min(TOP, Math.max(0, Math.round((seen / 6000) * 1.4 * TOP * 0.7)));
  }
  return { name, set, picture, discs };
}

const FIGURES: Readonly<Record<string, 'higher' | 'lower'>> = {
  'contrast of faint discs, % of what is displayed': 'higher',
  'contrast / noise of faint discs': 'higher',
  'least contrast of a disc, %': 'higher',
  'order kept (rank correlation within 32 pixels)': 'higher',
};

/** As displayed: from the 0.5th to the 99.5th percentile. A disc against the ring around it. */
export function scoreOf({ picture, discs }: Case, result: Float32Array): Record<string, number> {
  const [low, high] = percentiles(result, [0.5, 99.5]);
  const found = discs.map(({ x, y }) => {
    const [inner, ring]: [number[], number[]] = [[], []];
    for (let v = -2 * RADIUS; v <= 2 * RADIUS; v++)
      for (let u = -2 * RADIUS; u <= 2 * RADIUS; u++) {
        const away = Math.hypot(u, v);
        const value = result[(y + v) * SIDE + x + u];
        if (value === undefined) continue;
        if (away < RADIUS - 1.5) inner.push(value);
        else if (away > RADIUS + 1.5 && away < 2 * RADIUS) ring.push(value);
      }
    const level = mean(inner);
    const noise = Math.sqrt(mean(inner.map((value) => (value - level) ** 2)));
    const contrast = Math.abs(level - mean(ring));
    return { share: (100 * contrast) / (high! - low!), clear: contrast / Math.max(noise, 1e-6) };
  });
  return {
    'contrast of faint discs, % of what is displayed': mean(found.map(({ share }) => share)),
    'contrast / noise of faint discs': mean(found.map(({ clear }) => clear)),
    'least contrast of a disc, %': Math.min(...found.map(({ share }) => share)),
    'order kept (rank correlation within 32 pixels)': orderKept(picture, result),
  };
}

/** Of pairs 32 pixels apart whose source values differ by 2 per cent of the range: the share that did not change order, minus the rest. */
function orderKept(source: Float32Array, result: Float32Array): number {
  const [low, high] = percentiles(source, [0.5, 99.5]);
  const least = 0.02 * (high! - low!);
  let [kept, lost] = [0, 0];
  for (let i = 0; i + 32 * SIDE + 32 < source.length; i += 7)
    for (const step of [32, 32 * SIDE]) {
      const before = source[i + step]! - source[i]!;
      if (Math.abs(before) < least) continue;
      const after = result[i + step]! - result[i]!;
      if (before * after > 0) kept++;
      else lost++;
    }
  return (kept - lost) / Math.max(1, kept + lost);
}

export function printScores(
  method: string,
  scored: readonly { readonly one: Case; readonly result: Float32Array; readonly seconds: number }[],
): void {
  for (const [set, group] of Map.groupBy(scored, ({ one }) => one.set)) {
    const scores = group.map(({ one, result }) => scoreOf(one, result));
    for (const [metric, better] of Object.entries(FIGURES)) {
      const cost = metric.startsWith('contrast of')
        ? { secondsPerCase: mean(group.map(({ seconds }) => seconds)) }
        : {};
      print({ set, method, metric, better, values: scores.map((score) => score[metric] ?? Number.NaN), ...cost });
    }
  }
}

if (import.meta.main) {
  const [what, folder = '.', method = '', label = ''] = process.argv.slice(2);
  mkdirSync(folder, { recursive: true });
  if (what === 'write')
    for (const { name, picture } of cases())
      writeFileSync(join(folder, `${name}.picture`), Buffer.from(picture.buffer));
  else {
    const seconds = JSON.parse(readFileSync(join(folder, `${method}.json`), 'utf8')) as Record<string, number>;
    const scored = [...cases()].map((one) => {
      const bytes = readFileSync(join(folder, `${one.name}.${method}`));
      const result = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
      return { one, result, seconds: seconds[one.name] ?? Number.NaN };
    });
    printScores(label, scored);
  }
}
