/**
 * Whole objects full of identifying values, by the generator and the checker beside the samples (ISTHMUS_SHARED, or two folders above
 * ISTHMUS_SAMPLES); both are programs of their own that know nothing of this engine.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { openDatabase } from '../../src/database.ts';
import { openWall } from '../../src/deidentify/wall.ts';
import { compileProfile, type CompiledProfile } from '../../src/deidentify/profile.ts';
import { assertNoLeak, leakedCanaries } from '../peers/canary-check.ts';
import { BASIC, fileOf, pass, TABLE_ONLY } from './support.ts';

const found = [process.env['ISTHMUS_SHARED'], process.env['ISTHMUS_SAMPLES']]
  .flatMap((folder) =>
    folder === undefined ? [] : [join(folder, 'data', 'tools'), join(folder, '..', 'tools'), join(folder, 'tools')],
  )
  .find((folder) => existsSync(join(folder, 'canary_make.py')));
const tools = found ?? '';
const skip = found === undefined ? 'ISTHMUS_SHARED does not lead to canary_make.py' : false;

const harbor = compileProfile({ ...fileOf('hipaa-safe-harbor'), faces: 'allow', pixels: 'allow' });
const anonymise = compileProfile({ ...fileOf('gdpr-anonymise'), faces: 'allow', pixels: 'allow' });

const CASES: readonly (readonly [name: string, profile: CompiledProfile, syntaxes: string])[] = [
  ['basic', BASIC, 'explicit-le,implicit-le,deflated,jpeg,explicit-be'],
  ['the table alone', TABLE_ONLY, 'explicit-le,implicit-le'],
  ['safe harbor', harbor, 'jpeg,explicit-be,deflated'],
  ['anonymised, only clinical words of text', anonymise, 'explicit-le,implicit-le'],
];

for (const [name, profile, syntaxes] of CASES) {
  it(`no canary comes through: ${name}`, { skip }, async () => {
    await assertNoLeak(async () => leaksOf(profile, syntaxes));
  });
}

/** One set of generated objects through a wall with a key of its own; what of them is found in the output and the database. */
async function leaksOf(profile: CompiledProfile, syntaxes: string): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-canary-'));
  const out = join(folder, 'out');
  mkdirSync(out);
  try {
    const generator = [join(tools, 'canary_make.py'), '--out', folder, '--count', '30', '--seed', '77', '--trailing'];
    execFileSync('/usr/bin/python3', [...generator, '--ts', syntaxes]);
    const database = openDatabase(join(out, 'isthmus.sqlite'));
    const wall = openWall(database, { keyFile: join(folder, 'key') });
    for (const file of readdirSync(join(folder, 'in'))) {
      const passed = await pass(readFileSync(join(folder, 'in', file)), { wall, profile });
      writeFileSync(join(out, file), passed.file);
    }
    const leaks = leakedCanaries(tools, join(folder, 'canaries.json'), out);
    database.close();
    return leaks;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
