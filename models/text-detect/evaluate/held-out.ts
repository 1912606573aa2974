/** The held-out set as it lies in files, and what boxes are worth on it. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TextBox } from '../../../src/pipelines/text-detection.ts';

/** tesseract takes seconds for a picture: it has every so many-th of them. */
export const ANCHOR_EVERY = 8;

export interface Picture {
  readonly rows: number;
  readonly columns: number;
  readonly values: Uint8Array;
}

export interface HeldOut {
  readonly folder: string;
  readonly files: readonly string[];
  readonly name: string;
}

/** The set of held_out.py, which is made where it is not there yet, or another of the same form. */
export function heldOutSet(given?: string): HeldOut {
  const folder = given ?? madeSet();
  const files = readdirSync(folder)
    .filter((file) => /^\d+\.pgm$/.test(file))
    .sort();
  const about = join(folder, 'complete');
  const made = existsSync(about) ? `; ${readFileSync(about, 'utf8').trim()}` : '';
  return { folder, files, name: `${files.length} held-out pictures, 1024 x 768${made}` };
}

function madeSet(): string {
  const python = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';
  const made = spawnSync(python, [join(import.meta.dirname, 'held_out.py')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (made.status !== 0) throw new Error(`held_out.py: ${made.stderr.trim().split('\n').at(-1) ?? ''}`);
  return made.stdout.trim().split('\n').at(-1) ?? '';
}

export function readPicture(folder: string, file: string): Picture {
  const bytes = readFileSync(join(folder, file));
  const header = /^P5\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString('latin1', 0, 40));
  if (header === null) throw new Error(`${file} is no PGM of 8 bits`);
  const values = Uint8Array.from(bytes.subarray(header[0].length));
  return { columns: Number(header[1]), rows: Number(header[2]), values };
}

/** Per pixel the number of the line of text it is ink of; 0: of none. */
export function readInk(folder: string, file: string): Uint8Array {
  return readPicture(folder, file.replace('.pgm', '.ink.pgm')).values;
}

export function blankedMask({ rows, columns }: Picture, boxes: readonly TextBox[]): Uint8Array {
  const mask = new Uint8Array(rows * columns);
  for (const { left, top, right, bottom } of boxes)
    for (let row = top; row < bottom; row++) mask.fill(1, row * columns + left, row * columns + right);
  return mask;
}

export interface Score {
  /** Of each line the share of its ink that no box covers. */
  readonly lines: readonly { readonly line: number; readonly left: number }[];
  /** Share of the picture. */
  readonly blanked: number;
}

export function scoreOf(picture: Picture, ink: Uint8Array, boxes: readonly TextBox[]): Score {
  const mask = blankedMask(picture, boxes);
  const all = new Uint32Array(256);
  const left = new Uint32Array(256);
  ink.forEach((line, at) => {
    if (line === 0) return;
    all[line] = (all[line] ?? 0) + 1;
    if (mask[at] === 0) left[line] = (left[line] ?? 0) + 1;
  });
  const lines = [...all.entries()].filter(([, pixels]) => pixels > 0);
  return {
    lines: lines.map(([line, pixels]) => ({ line, left: (left[line] ?? 0) / pixels })),
    blanked: mask.reduce((sum, one) => sum + one, 0) / mask.length,
  };
}
