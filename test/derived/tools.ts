/** Foreign judges of what is written: dciodvfy, dcmdump, pydicom. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DerivedObject } from '../../src/derived/provenance.ts';

/** A reason to skip, or false when the program is there. */
export function absent(program: string, args: readonly string[] = []): string | false {
  const { error, status } = spawnSync(program, args, { stdio: 'ignore' });
  return error !== undefined || (args.length > 0 && status !== 0)
    ? `${program} ${args.join(' ')} is not installed`
    : false;
}

export const NO_DCIODVFY = absent('dciodvfy');
export const NO_DCMDUMP = absent('dcmdump', ['--version']);
export const PYTHON = '/usr/bin/python3';
export const NO_PYTHON = absent(PYTHON, ['-c', 'import pydicom, numpy, scipy']);

/** A Python with highdicom (PyPI), which no distribution packages. */
export const HIGHDICOM_PYTHON = process.env['ISTHMUS_HIGHDICOM_PYTHON'] ?? 'python3';
export const NO_HIGHDICOM =
  absent(HIGHDICOM_PYTHON, ['-c', 'import highdicom']) === false
    ? false
    : 'ISTHMUS_HIGHDICOM_PYTHON names no Python with highdicom';

const folders: string[] = [];

/** A new empty folder, gone when the process ends. */
export function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-derived-'));
  if (folders.push(folder) === 1)
    process.once('exit', () => {
      for (const path of folders) rmSync(path, { recursive: true, force: true });
    });
  return folder;
}

export function writeObjects(folder: string, objects: readonly (DerivedObject | Buffer)[]): string[] {
  mkdirSync(folder, { recursive: true });
  return objects.map((object, index) => {
    const path = join(folder, `${String(index).padStart(4, '0')}.dcm`);
    writeFileSync(path, Buffer.isBuffer(object) ? object : Buffer.concat([object.head, object.body]));
    return path;
  });
}

/** The lines in which dciodvfy reports an error. */
export function iodErrors(path: string): string[] {
  const { stdout, stderr } = spawnSync('dciodvfy', [path], { encoding: 'utf8' });
  return `${stdout}\n${stderr}`.split('\n').filter((line) => line.startsWith('Error'));
}

export function dump(path: string): string {
  return execFileSync('dcmdump', ['--print-all', path], { encoding: 'utf8', maxBuffer: 64 * 2 ** 20 });
}

export function python(args: readonly string[], program = PYTHON): string {
  return execFileSync(program, [...args], { encoding: 'utf8', maxBuffer: 64 * 2 ** 20 });
}
