/**
 * CT slices with known truth: bodies drawn at twice the resolution by a generator of this file's own (no part of the training), and
 * public slices, binned by two where they are at hand (ISTHMUS_SAMPLES) so that little of their own noise is left. Noise is added white,
 * or as a scanner makes it: white noise in the projections, filtered (three kernels) and projected back. Fixed seeds; nothing was tuned on
 * them. And the figures every method is held against.
 *
 *   node slices.ts write FOLDER                 # the cases as raw float32, with what our estimator finds of the noise
 *   node slices.ts score FOLDER METHOD LABEL    # prints the rows of the results FOLDER/<case>.<METHOD>, seconds from FOLDER/<METHOD>.json
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { readObject } from '../../../src/dicom/part10.ts';
import { readVolume } from '../../../src/dicom/volume.ts';
import { correctionWeights, makeScratch } from '../../../src/pipelines/body.ts';
import { estimateNoise } from '../../../src/pipelines/noise-level.ts';
import { mean, print, random, type Random } from '../../cases.ts';

export const SIDE = 256;
const PIXELS = SIDE * SIDE;
export const SIGMAS = [12, 28, 60];
export const COLOURS = ['white', 'scanner-like'] as const;
const SEEDS = [300, 301, 302, 303, 304, 305];

export type Colour = (typeof COLOURS)[number];

export interface Case {
  readonly name: string;
  readonly set: string;
  readonly sigma: number;
  readonly truth: Float32Array;
  readonly noisy: Float32Array;
  /** Absent for real slices. */
  readonly body: Body | undefined;
}

interface Disc {
  readonly x: number;
  readonly y: number;
  readonly radius: number;
  readonly contrastHU: number;
}

interface Body {
  readonly truth: Float32Array;
  readonly inserts: readonly Disc[];
  /** A disc of 400 HU more, whose border is measured. */
  readonly rod: Disc;
  readonly flat: { readonly x: number; readonly y: number; readonly radius: number };
}

export function* cases(): Generator<Case> {
  for (const colour of COLOURS)
    for (const sigma of SIGMAS) {
      for (const seed of SEEDS) {
        const body = makeBody(seed);
        const noisy = withNoise(body.truth, colour, sigma, seed);
        const set = `${SEEDS.length} bodies, ${colour} noise of ${sigma} HU`;
        yield { name: `${colour}.${sigma}.${seed}`, set, sigma, truth: body.truth, noisy, body };
      }
    }
}

function withNoise(truth: Float32Array, colour: Colour, sigma: number, seed: number): Float32Array {
  const next = random(seed * 1000 + sigma + (colour === 'white' ? 0 : 500));
  const noise = colour === 'white' ? Float32Array.from(truth, () => next.normal()) : scannerNoise(next, seed % 3);
  // Whole HU, as stored integers are.
  return truth.map((value, i) => Math.round(value + sigma * noise[i]!));
}

/** Of the kernels smooth, standard and sharp: the Gaussian, in pixels, that the ramp is taken with. */
const KERNELS = [0.9, 0.6, 0.35];
const VIEWS = 400;
const REACH = 48;

/** Unit variance; white noise in parallel projections, the ramp with a kernel, back-projection between detector pixels linearly. */
export function scannerNoise(next: Random, kernel: number, side = SIDE): Float32Array {
  const bins = Math.ceil(side * Math.SQRT2) + 4;
  const taps = rampTaps(KERNELS[kernel]!);
  const out = new Float32Array(side * side);
  for (let view = 0; view < VIEWS; view++) {
    const raw = Float32Array.from({ length: bins + 2 * REACH }, () => next.normal());
    const line = Float32Array.from({ length: bins }, (_, i) =>
      taps.reduce((sum, tap, k) => sum + tap * raw[i + k]!, 0),
    );
    const angle = (Math.PI * view) / VIEWS;
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    for (let y = 0, i = 0; y < side; y++) {
      let at = bins / 2 - (side / 2) * cos + (y - side / 2) * sin;
      for (let x = 0; x < side; x++, i++, at += cos) {
        const bin = at | 0;
        out[i]! += line[bin]! + (at - bin) * (line[bin + 1]! - line[bin]!);
      }
    }
  }
  const power = Math.sqrt(out.reduce((sum, value) => sum + value * value, 0) / out.length);
  return out.map((value) => value / power);
}

/** Ram-Lak in space, blurred. */
function rampTaps(blur: number): number[] {
  const ramp = (n: number): number => (n === 0 ? 0.25 : n % 2 === 0 ? 0 : -1 / (Math.PI * n) ** 2);
  const weights = Array.from({ length: 9 }, (_, k) => Math.exp(-((k - 4) ** 2) / (2 * blur * blur)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return Array.from({ length: 2 * REACH + 1 }, (_, i) =>
    weights.reduce((sum, weight, k) => sum + (weight / total) * ramp(i - REACH + k - 4), 0),
  );
}

interface Ellipse {
  readonly x: number;
  readonly y: number;
  readonly a: number;
  readonly b: number;
  readonly turn: number;
  readonly HU: number;
}

/** Air, fat, muscle, two lungs or none, organs, vessels, a spine with trabeculae, ribs; places in pixels of SIDE. */
export function makeBody(seed: number): Body {
  const next = random(seed);
  const half = SIDE / 2;
  const [a, b] = [next.uniform(108, 120), next.uniform(84, 98)];
  const organs: Ellipse[] = Array.from({ length: 7 }, () => ({
    x: half + next.uniform(-60, 60),
    y: half + next.uniform(-55, 10),
    a: next.uniform(8, 30),
    b: next.uniform(8, 30),
    turn: next.uniform(0, Math.PI),
    HU: next.uniform(-20, 140),
  }));
  const lungs = seed % 2 === 0;
  const vessels = Array.from({ length: 40 }, (_, n) => ({
    x: half + (n % 2 === 0 ? -1 : 1) * next.uniform(18, 80),
    y: half + next.uniform(-60, 0),
    radius: next.uniform(0.8, 4.5),
    HU: lungs ? next.uniform(-300, 60) : next.uniform(80, 320),
  }));
  const waves = Array.from({ length: 6 }, () => [next.uniform(0.1, 0.9), next.uniform(0.1, 0.9), next.uniform(0, 6)]);
  const bony = Array.from({ length: 5 }, () => [next.uniform(-1.6, 1.6), next.uniform(-1.6, 1.6), next.uniform(0, 6)]);
  const inserts = [10, 20, 50, -100].map((contrastHU, n) => ({ x: 62 + 44 * n, y: half + 40, radius: 11, contrastHU }));
  const flat = { x: half - 4, y: half + 61, radius: 9 };
  const rod = { x: half + 60, y: half + 8, radius: 12, contrastHU: 400 };
  const texture = (list: number[][], x: number, y: number): number =>
    list.reduce((sum, [u, v, phase]) => sum + Math.sin(u! * x + v! * y + phase!), 0);
  const within = ({ x, y, a: long, b: short, turn }: Omit<Ellipse, 'HU'>, px: number, py: number): boolean => {
    const [dx, dy] = [px - x, py - y];
    const u = (dx * Math.cos(turn) + dy * Math.sin(turn)) / long;
    const v = (dy * Math.cos(turn) - dx * Math.sin(turn)) / short;
    return u * u + v * v < 1;
  };
  const around = { x: half, y: half, turn: 0 };
  const at = (x: number, y: number): number => {
    const wave = 1 + 0.02 * Math.sin(5 * Math.atan2(y - half, x - half) + seed);
    if (!within({ ...around, a: a * wave, b: b * wave }, x, y)) return -1000;
    if (!within({ ...around, a: a * wave - 10, b: b * wave - 9 }, x, y)) return -100 + 2 * texture(waves, x, y);
    for (const disc of [...inserts, rod])
      if (Math.hypot(x - disc.x, y - disc.y) < disc.radius) return 60 + disc.contrastHU;
    // Homogeneous liver around the inserts, so that their contrast is defined.
    if (y > half + 24) return 60;
    const spine = Math.hypot(x - half, y - half - 4);
    if (spine < 15) return spine > 12.5 ? 900 : 250 + 60 * texture(bony, x, y);
    const inLung = lungs && [-46, 46].some((dx) => within({ x: half + dx, y: half - 24, a: 30, b: 36, turn: 0 }, x, y));
    for (const one of vessels) if (Math.hypot(x - one.x, y - one.y) < one.radius) return one.HU;
    if (inLung) return -860 + 12 * texture(waves, 2 * x, 2 * y);
    for (const organ of organs) if (within(organ, x, y)) return organ.HU + 3 * texture(waves, x, y);
    return 55 + 5 * texture(waves, x, y);
  };
  const truth = new Float32Array(PIXELS);
  for (let y = 0; y < SIDE; y++)
    for (let x = 0; x < SIDE; x++)
      for (const [dx, dy] of [
        [-0.25, -0.25],
        [0.25, -0.25],
        [-0.25, 0.25],
        [0.25, 0.25],
      ])
        truth[y * SIDE + x]! += at(x + dx!, y + dy!) / 4;
  return { truth: blurred(truth), inserts, rod, flat };
}

/** A Gaussian of 0.6 pixels: no scanner shows a step from one pixel to the next. */
function blurred(values: Float32Array): Float32Array {
  const side = 0.2;
  const along = (from: Float32Array, stride: number): Float32Array =>
    from.map((value, i) => (1 - 2 * side) * value + side * ((from[i - stride] ?? value) + (from[i + stride] ?? value)));
  return along(along(values, 1), SIDE);
}

/** Public slices of CT, binned by two: file below ISTHMUS_SAMPLES. */
const REAL = ['dicom/ct_rt_breast/ct.0.dcm', 'oddities/pydicom_data/693_UNCR.dcm', 'oddities/ts_ct/CTImage.dcm'];

export async function realCases(): Promise<Case[]> {
  const samples = process.env['ISTHMUS_SAMPLES'];
  if (samples === undefined) return [];
  const files = REAL.map((file) => join(samples, file)).filter((file) => existsSync(file));
  const truths = await Promise.all(files.map(binnedSlice));
  return COLOURS.flatMap((colour) =>
    SIGMAS.flatMap((sigma) =>
      truths.map((truth, n) => ({
        name: `real.${colour}.${sigma}.${n}`,
        set: `${truths.length} public CT slices, binned by two, ${colour} noise of ${sigma} HU`,
        sigma,
        truth,
        noisy: withNoise(truth, colour, sigma, 400 + n),
        body: undefined,
      })),
    ),
  );
}

async function binnedSlice(file: string): Promise<Float32Array> {
  const object = await readObject(readFileSync(file));
  const body = await buffer(object.body);
  const { voxels, geometry } = await readVolume([{ head: object.head, pixels: () => Promise.resolve(body) }]);
  const out = new Float32Array(PIXELS);
  for (let y = 0; y < SIDE; y++)
    for (let x = 0; x < SIDE; x++) {
      const at = 2 * y * geometry.columns + 2 * x;
      const sum = voxels[at]! + voxels[at + 1]! + voxels[at + geometry.columns]! + voxels[at + geometry.columns + 1]!;
      out[y * SIDE + x] = Math.max(-1024, sum / 4);
    }
  return out;
}

/** One number per figure; those after the first only of bodies. */
export type Score = Readonly<Record<string, number>>;

const FIGURES: Readonly<Record<string, 'higher' | 'lower' | 'neither'>> = {
  'PSNR, dB to 2000 HU': 'higher',
  'flat deviation, HU': 'lower',
  'flat bias, HU': 'neither',
  'contrast kept of 10 HU, %': 'neither',
  'contrast kept of 20 HU, %': 'neither',
  'contrast kept of 50 HU, %': 'neither',
  'contrast kept of -100 HU, %': 'neither',
  'edge width, % wider': 'lower',
};

/** PSNR over the body with its gas, table and air around it left out; bias and contrast against the noisy slice, so that chance has no part in them. */
export function scoreOf({ truth, noisy, body }: Case, result: Float32Array): Score {
  let [sum, count] = [0, 0];
  const within = bodyOf(truth);
  for (let i = 0; i < PIXELS; i++) {
    if (within[i] !== 1) continue;
    sum += (result[i]! - truth[i]!) ** 2;
    count++;
  }
  const psnr = 10 * Math.log10(2000 ** 2 / (sum / count));
  if (body === undefined) return { 'PSNR, dB to 2000 HU': psnr };
  const { flat, inserts, rod } = body;
  const change = result.map((value, i) => value - noisy[i]!);
  const quiet = inside(result, flat, flat.radius);
  const level = mean(quiet);
  const bias = mean(inside(change, flat, flat.radius));
  const kept = inserts.map((one) => [
    `contrast kept of ${one.contrastHU} HU, %`,
    100 * (1 + (mean(inside(change, one, 0.6 * one.radius)) - bias) / one.contrastHU),
  ]);
  return {
    'PSNR, dB to 2000 HU': psnr,
    'flat deviation, HU': Math.sqrt(mean(quiet.map((value) => (value - level) ** 2))),
    'flat bias, HU': bias,
    ...Object.fromEntries(kept),
    'edge width, % wider': 100 * (edgeWidth(result, rod) / edgeWidth(truth, rod) - 1),
  };
}

const bodies = new WeakMap<Float32Array, Float32Array>();

/** 1 in the body of the noise-free slice: outside it ours leaves every value as it is, on purpose. */
function bodyOf(truth: Float32Array): Float32Array {
  const known = bodies.get(truth);
  if (known !== undefined) return known;
  const weights = new Float32Array(PIXELS);
  correctionWeights({ values: truth, columns: SIDE, rows: SIDE }, undefined, weights, makeScratch(PIXELS));
  bodies.set(truth, weights);
  return weights;
}

function inside(values: Float32Array, { x, y }: { x: number; y: number }, radius: number): number[] {
  return [...values].filter((_, i) => Math.hypot((i % SIDE) - x, Math.floor(i / SIDE) - y) < radius);
}

/** From 10 to 90 per cent of the step at a disc's border, pixels, over the whole circumference. */
function edgeWidth(values: Float32Array, { x, y, radius }: Disc): number {
  const bin = 0.25;
  const sums = new Float64Array(Math.ceil(10 / bin));
  const counts = new Float64Array(sums.length);
  for (let i = 0; i < PIXELS; i++) {
    const at = Math.floor((Math.hypot((i % SIDE) - x, Math.floor(i / SIDE) - y) - radius + 5) / bin);
    if (at < 0 || at >= sums.length) continue;
    sums[at]! += values[i]!;
    counts[at]!++;
  }
  const profile = [...sums].map((sum, i) => sum / counts[i]!);
  const [high, low] = [mean(profile.slice(0, 10)), mean(profile.slice(-10))];
  const crossing = (share: number): number => {
    const level = low + share * (high - low);
    const after = profile.findIndex((value, i) => i > 4 && value < level);
    const [above, below] = [profile[after - 1]!, profile[after]!];
    return after - 1 + (above - level) / (above - below);
  };
  return bin * (crossing(0.1) - crossing(0.9));
}

/** The rows of one method: its scores by set, in the order of the cases. */
export function printScores(
  method: string,
  scored: readonly { readonly one: Case; readonly score: Score; readonly seconds: number }[],
  peakMb?: number,
): void {
  for (const [set, group] of Map.groupBy(scored, ({ one }) => one.set))
    for (const [metric, better] of Object.entries(FIGURES)) {
      const values = group.map(({ score }) => score[metric]).filter((value) => value !== undefined);
      if (values.length === 0) continue;
      const cost = metric.startsWith('PSNR') ? { secondsPerCase: mean(group.map(({ seconds }) => seconds)) } : {};
      print({ set, method, metric, better, values, ...cost, ...(peakMb === undefined ? {} : { peakMb }) });
    }
}

const floatsIn = (file: string): Float32Array => {
  const bytes = readFileSync(file);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
};

async function write(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const lines: string[] = [];
  for (const { name, sigma, noisy } of [...cases(), ...(await realCases())]) {
    writeFileSync(join(folder, `${name}.noisy`), Buffer.from(noisy.buffer));
    const found = estimateNoise({ values: noisy, columns: SIDE, rows: SIDE }).sigma;
    lines.push(JSON.stringify({ name, sigma, found }));
  }
  writeFileSync(join(folder, 'cases.jsonl'), lines.join('\n'));
}

async function score(folder: string, method: string, label: string): Promise<void> {
  const seconds = JSON.parse(readFileSync(join(folder, `${method}.json`), 'utf8')) as Record<string, number>;
  const all = [...cases(), ...(await realCases())];
  const scored = all.map((one) => ({
    one,
    score: scoreOf(one, floatsIn(join(folder, `${one.name}.${method}`))),
    seconds: seconds[one.name] ?? Number.NaN,
  }));
  printScores(label, scored);
}

if (import.meta.main) {
  const [what, folder = '.', method = '', label = ''] = process.argv.slice(2);
  await (what === 'write' ? write(folder) : score(folder, method, label));
}
