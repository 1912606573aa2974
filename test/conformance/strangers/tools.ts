/**
 * The strangers' own packages: pinned, brought when first needed, kept beside our packages under node_modules/.cache, which no commit holds.
 * A package that cannot be brought (no network, say) is a reason not to run, told in the table at the end.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const CACHE = join(here, '..', '..', '..', 'node_modules', '.cache', 'isthmus-conformance');

/** Built as it is published: its dependencies are for building it, hence the archive alone is fetched and held to its digest. */
const OHIF = {
  spec: '@ohif/app@3.13.2',
  file: 'ohif-app-3.13.2.tgz',
  integrity: 'WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==',
};

export interface Tools {
  /** Why a Debian programme is not here, or undefined. */
  programme(name: string, debianPackage: string): string | undefined;
  /** `require` among the strangers' npm packages, or why there are none. */
  npm(): { readonly require: NodeJS.Require } | { readonly missing: string };
  /** A Python with the strangers' packages, or why there is none. */
  python(): { readonly python: string } | { readonly missing: string };
  /** Folder of OHIF as published, or why there is none. */
  ohif(): { readonly folder: string } | { readonly missing: string };
}

export function openTools(): Tools {
  const once = <T>(make: () => T): (() => T) => {
    let made: { value: T } | undefined;
    return () => (made ??= { value: make() }).value;
  };
  return { programme, npm: once(bringNpm), python: once(bringPython), ohif: once(bringOhif) };
}

function programme(name: string, debianPackage: string): string | undefined {
  const found = spawnSync(name, ['--version'], { stdio: 'ignore', timeout: 20_000 }).error;
  return found === undefined ? undefined : `${name} is not installed (Debian package ${debianPackage})`;
}

function bringNpm(): ReturnType<Tools['npm']> {
  const folder = join(CACHE, 'npm');
  const files = ['package.json', 'package-lock.json'];
  const state = digest(files.map((name) => readFileSync(join(here, name))));
  if (!isBrought(folder, state)) {
    console.log("bringing the strangers' npm packages (once) ...");
    mkdirSync(folder, { recursive: true });
    for (const name of files) copyFileSync(join(here, name), join(folder, name));
    const failure = command('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], folder);
    if (failure !== undefined) return { missing: `npm could not bring the strangers' packages: ${failure}` };
    writeFileSync(join(folder, '.state'), state);
  }
  return { require: createRequire(join(folder, 'package.json')) };
}

function bringPython(): ReturnType<Tools['python']> {
  const folder = join(CACHE, 'python');
  const python = join(folder, 'bin', 'python');
  const requirements = join(here, 'requirements.txt');
  const state = digest([readFileSync(requirements)]);
  if (!isBrought(folder, state)) {
    console.log("bringing the strangers' Python packages (once) ...");
    rmSync(folder, { recursive: true, force: true });
    const base = ['/usr/bin/python3', 'python3'].find(
      (name) => spawnSync(name, ['-c', 'import ensurepip, venv'], { stdio: 'ignore' }).status === 0,
    );
    if (base === undefined) return { missing: 'no Python with venv is installed (Debian package python3-venv)' };
    const failure =
      command(base, ['-m', 'venv', folder]) ??
      command(python, ['-m', 'pip', 'install', '--quiet', '--no-input', '--only-binary', ':all:', '-r', requirements]);
    if (failure !== undefined) return { missing: `pip could not bring the strangers' packages: ${failure}` };
    writeFileSync(join(folder, '.state'), state);
  }
  return { python };
}

function bringOhif(): ReturnType<Tools['ohif']> {
  const folder = join(CACHE, 'ohif');
  const dist = join(folder, 'package', 'dist');
  if (!isBrought(folder, OHIF.integrity)) {
    console.log('bringing OHIF (once, 50 MB) ...');
    mkdirSync(folder, { recursive: true });
    const archive = join(folder, OHIF.file);
    const failure = command('npm', ['pack', OHIF.spec, '--loglevel=error'], folder);
    if (failure !== undefined) return { missing: `npm could not bring ${OHIF.spec}: ${failure}` };
    const found = createHash('sha512').update(readFileSync(archive)).digest('base64');
    if (found !== OHIF.integrity) return { missing: `${OHIF.spec} is not what was pinned: its SHA-512 is ${found}` };
    const unpacked = command('tar', ['-xzf', archive], folder);
    rmSync(archive);
    if (unpacked !== undefined) return { missing: `${OHIF.spec} could not be unpacked: ${unpacked}` };
    writeFileSync(join(folder, '.state'), OHIF.integrity);
  }
  return { folder: dist };
}

function isBrought(folder: string, state: string): boolean {
  const file = join(folder, '.state');
  return existsSync(file) && readFileSync(file, 'utf8') === state;
}

function digest(parts: readonly Buffer[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
}

/** The last line of what it said when it failed. */
function command(name: string, args: readonly string[], cwd?: string): string | undefined {
  const ended = spawnSync(name, args, { cwd, encoding: 'utf8', timeout: 600_000 });
  if (ended.status === 0) return undefined;
  return ended.error?.message ?? ended.stderr.trim().split('\n').at(-1) ?? `it ended with ${ended.status}`;
}
