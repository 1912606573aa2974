/**
 * npm run evaluate [-- MODEL ...]: repeats the evaluation of every model (or of those named), prints its table, and writes it with a plot
 * into models/<id>/evaluation/; at the end one table says which targets are met (`targets.ts`), and what was missing.
 * npm run evaluate -- --summary: that last table alone, of what was measured before. An evaluation is any program models/<id>/evaluate/*.ts or *.py: it prints one JSON object per line
 * (a `Row`, or `{ "absent": "..." }` for an anchor or data that it did not find), makes its own data from fixed seeds, and reads real samples only where ISTHMUS_SAMPLES names them. A Python program says in a
 * line `# requires: name==version ...` what it needs from PyPI; that goes into an environment under node_modules/.cache. Where it
 * cannot be installed, the rows of that program are missing and the table says why.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { readTable, summaryOf, type Measured } from './targets.ts';

/** One line of an evaluation's standard output: what one method reached on the cases of one set. */
export interface Row {
  /** What was measured on: rows of one set are compared with each other. */
  readonly set: string;
  /** `ours`, or the anchor's name with its version. */
  readonly method: string;
  readonly metric: string;
  readonly better: 'higher' | 'lower' | 'neither';
  /** One value per case, in the order of the cases. */
  readonly values: readonly number[];
  readonly secondsPerCase?: number;
  readonly peakMb?: number;
}

const MODELS = import.meta.dirname;
const CACHE = join(MODELS, '..', 'node_modules', '.cache', 'evaluate');
const RESAMPLINGS = 2000;
const BEGIN = '<!-- npm run evaluate: begin -->';
const END = '<!-- npm run evaluate: end -->';

interface Evaluation {
  readonly model: string;
  readonly rows: readonly Row[];
  /** Programs that could not run, anchors and data that were not there, and why. */
  readonly missing: readonly string[];
}

export async function evaluateModel(model: string): Promise<Evaluation> {
  const rows: Row[] = [];
  const missing: string[] = [];
  for (const program of globSync('*.{ts,py}', { cwd: join(MODELS, model, 'evaluate') }).sort()) {
    const file = join(MODELS, model, 'evaluate', program);
    if (!isProgram(file)) continue;
    try {
      const printed = await runProgram(file);
      for (const line of printed)
        if ('absent' in line) missing.push(`${program}: ${line.absent}`);
        else rows.push(line);
    } catch (error) {
      missing.push(`${program}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { model, rows, missing };
}

/** Other files of the folder are parts that programs import: a program says so in its first line. */
function isProgram(file: string): boolean {
  return /^(#!|\/\/ evaluation|# evaluation|\/\*\* evaluation)/i.test(readFileSync(file, 'utf8').slice(0, 40));
}

interface Absent {
  readonly absent: string;
}

async function runProgram(file: string): Promise<(Row | Absent)[]> {
  const [command, args] = file.endsWith('.py') ? [pythonFor(file), [file]] : [process.execPath, [file]];
  const child = spawn(command, args, { cwd: dirname(file), stdio: ['ignore', 'pipe', 'inherit'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) => child.on('close', resolve).on('error', reject));
  if (code !== 0) throw new Error(`ended with ${code ?? 'a signal'}`);
  const lines = Buffer.concat(chunks).toString('utf8').split('\n');
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as Row | Absent);
}

/** The Python that has what the program requires. @throws Error when it cannot be installed */
function pythonFor(file: string): string {
  const [, list] = /^# requires: (.+)$/m.exec(readFileSync(file, 'utf8')) ?? [];
  const system = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';
  if (list === undefined) return system;
  const wanted = list.trim().split(/\s+/);
  const folder = join(CACHE, createHash('sha256').update(wanted.join(' ')).digest('hex').slice(0, 12));
  const python = join(folder, 'bin', 'python');
  if (existsSync(join(folder, 'complete'))) return python;
  mkdirSync(CACHE, { recursive: true });
  for (const [command, args] of [
    [system, ['-m', 'venv', folder]],
    [python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...wanted]],
  ] as const) {
    if (spawnSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] }).status !== 0)
      throw new Error(`${wanted.join(', ')} cannot be installed here`);
  }
  writeFileSync(join(folder, 'complete'), '');
  return python;
}

interface Summary {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** Mean and 95 % percentile bootstrap interval over the cases, from a fixed seed. */
export function summarise(values: readonly number[]): Summary {
  const mean = average(values);
  if (values.length < 2) return { mean, low: Number.NaN, high: Number.NaN };
  const next = randomFrom(20261121);
  const means = Array.from({ length: RESAMPLINGS }, () =>
    average(values.map(() => values[Math.floor(next() * values.length)] ?? 0)),
  ).sort((a, b) => a - b);
  return {
    mean,
    low: means[Math.floor(0.025 * RESAMPLINGS)] ?? mean,
    high: means[Math.ceil(0.975 * RESAMPLINGS) - 1] ?? mean,
  };
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32, public domain). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export function tableOf({ rows, missing }: Evaluation): string {
  const lines = [
    '| set | metric | method | mean | 95 % interval | cases | s/case | peak MB |',
    '|---|---|---|---|---|---|---|---|',
    ...rows.map((row) => {
      const { mean, low, high } = summarise(row.values);
      const interval = Number.isNaN(low) ? '' : `${short(low)} to ${short(high)}`;
      const arrow = row.better === 'higher' ? ' ↑' : row.better === 'lower' ? ' ↓' : '';
      const [seconds, peak] = [row.secondsPerCase, row.peakMb].map((one) => (one === undefined ? '' : short(one)));
      return `| ${row.set} | ${row.metric}${arrow} | ${row.method} | ${short(mean)} | ${interval} | ${row.values.length} | ${seconds} | ${peak} |`;
    }),
    ...missing.map((why) => `\nNot run: ${why}.`),
  ];
  return lines.join('\n');
}

function short(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : 'none';
}

/** Bars with their intervals, one group per set and metric. */
export function plotOf({ model, rows }: Evaluation): string {
  const groups = Map.groupBy(rows, ({ set, metric }) => `${set}: ${metric}`);
  const marks: string[] = [];
  let y = 30;
  for (const [name, group] of groups) {
    marks.push(`<text x="10" y="${y}" font-weight="bold">${escaped(name)}</text>`);
    const most = Math.max(...group.map(({ values }) => Math.abs(summarise(values).mean)), 1e-12);
    for (const row of group) {
      y += 18;
      const { mean, low, high } = summarise(row.values);
      const at = (value: number): string => (200 + (300 * Math.max(0, value)) / (1.3 * most)).toFixed(1);
      const colour = row.method.startsWith('ours') ? '#1f6feb' : '#9aa4b2';
      marks.push(
        `<text x="20" y="${y}">${escaped(row.method)}</text>`,
        `<rect x="200" y="${y - 10}" width="${(Number(at(mean)) - 200).toFixed(1)}" height="11" fill="${colour}"/>`,
        ...(Number.isNaN(low) ? [] : [`<path d="M${at(low)} ${y - 4}H${at(high)}" stroke="#111" stroke-width="2"/>`]),
        `<text x="510" y="${y}">${short(mean)}</text>`,
      );
    }
    y += 28;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="600" height="${y}" font-family="sans-serif" font-size="11"><title>${escaped(model)}</title><rect width="600" height="${y}" fill="#fff"/>${marks.join('')}</svg>\n`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function readEvaluation(model: string): string {
  const file = join(MODELS, model, 'evaluation', 'README.md');
  if (!existsSync(file)) return '';
  const text = readFileSync(file, 'utf8');
  return text.slice(Math.max(0, text.indexOf(BEGIN)), Math.max(0, text.indexOf(END)));
}

/** Puts the table between its marks in the model's evaluation/README.md; what people wrote around it stays. */
export function writeEvaluation(evaluation: Evaluation): void {
  const folder = join(MODELS, evaluation.model, 'evaluation');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, 'README.md');
  const before = existsSync(file) ? readFileSync(file, 'utf8') : `# What ${evaluation.model} was measured on\n`;
  const block = `${BEGIN}\n\n\`npm run evaluate -- ${evaluation.model}\`\n\n${tableOf(evaluation)}\n\n![plot](results.svg)\n\n${END}`;
  const [start, end] = [before.indexOf(BEGIN), before.indexOf(END)];
  const text =
    start < 0 || end < 0
      ? `${before.trimEnd()}\n\n${block}\n`
      : before.slice(0, start) + block + before.slice(end + END.length);
  writeFileSync(file, text);
  writeFileSync(join(folder, 'results.svg'), plotOf(evaluation));
}

if (import.meta.main) {
  const there = globSync('*/evaluate', { cwd: MODELS })
    .map((path) => basename(dirname(path)))
    .sort();
  const asked = process.argv.slice(2);
  if (asked[0] === '--summary') {
    const kept = there.map((model) => [model, readTable(readEvaluation(model))] as const);
    process.stdout.write(`${summaryOf(new Map(kept), true)}\n`);
    process.exit(0);
  }
  const unknown = asked.filter((model) => !there.includes(model));
  if (unknown.length > 0) {
    process.stderr.write(`no evaluation of ${unknown.join(', ')}; there are: ${there.join(', ')}\n`);
    process.exit(2);
  }
  const measured = new Map<string, Measured[]>();
  const missing: string[] = [];
  for (const model of asked.length > 0 ? asked : there) {
    const evaluation = await evaluateModel(model);
    if (evaluation.rows.length > 0) writeEvaluation(evaluation);
    missing.push(...evaluation.missing.map((why) => `${model}/${why}`));
    measured.set(
      model,
      evaluation.rows.map(({ values, ...row }) => ({ ...row, mean: average(values) })),
    );
    process.stdout.write(`\n## ${model}\n\n${tableOf(evaluation)}\n`);
  }
  process.stdout.write(`\n## Targets\n\n${summaryOf(measured, asked.length === 0)}\n`);
  if (missing.length > 0) {
    process.stdout.write(`\n## NOT RUN: what stands above is not the whole comparison\n\n- ${missing.join('\n- ')}\n`);
    process.exitCode = 1;
  }
}
