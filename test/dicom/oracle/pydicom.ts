/** Debian's pydicom as a second opinion; tests that need it say so and are skipped where it is missing. */
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PYTHON = '/usr/bin/python3';
const script = fileURLToPath(new URL('./pydicom_oracle.py', import.meta.url));

export const samplesFolder = process.env['ISTHMUS_SAMPLES'];
const hasPydicom = spawnSync(PYTHON, ['-c', 'import pydicom']).status === 0;

/** False to run, or the reason not to. */
export const skipWithoutPydicom: string | false = hasPydicom ? false : 'needs /usr/bin/python3 with pydicom';
export const skipWithoutSamples: string | false =
  samplesFolder === undefined ? 'needs ISTHMUS_SAMPLES, the folder of sample files' : false;

export function askPydicom(what: 'codes' | 'json', lines: readonly string[]): string[] {
  const { status, stdout, stderr } = spawnSync(PYTHON, [script, what], {
    input: lines.join('\n'),
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  });
  if (status !== 0) throw new Error(`pydicom failed: ${stderr.slice(-500)}`);
  return stdout.trimEnd().split('\n');
}

/** Sample files below these folders, at most so many of each folder. */
export function sampleFiles(folders: readonly string[], perFolder: number): string[] {
  return folders.flatMap((folder) => below(join(samplesFolder ?? '', folder), perFolder));
}

function below(folder: string, perFolder: number): string[] {
  const entries = readdirSync(folder)
    .sort()
    .map((name) => join(folder, name));
  const files = entries.filter(
    (path) => statSync(path).isFile() && !/\.(tsv|zip|jsonl|json|txt|md|png|jpg)$/.test(path),
  );
  const folders = entries.filter((path) => statSync(path).isDirectory());
  return [...files.slice(0, perFolder), ...folders.flatMap((inner) => below(inner, perFolder))];
}
