/** The crosswalk's key changed, or its rows sealed anew, by a process that is killed half-way: nothing is lost, and the second try ends it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openDatabase } from '../../src/database.ts';
import { openWall } from '../../src/deidentify/wall.ts';
import { originalUid } from '../../src/deidentify/crosswalk.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { fileWall, makeFile, pass, UIDS } from './support.ts';

const CHILD = fileURLToPath(new URL('./vault-child.ts', import.meta.url));
/** ISTHMUS_DRILL=all: every step. */
const EVERY_STEP = process.env['ISTHMUS_DRILL'] === 'all';
const FEW = 6;

interface Filled {
  readonly folder: string;
  /** The pseudonym that UIDS.study leads to. */
  readonly study: string;
  /** Everything that was wrapped or sealed in the beginning. */
  readonly old: readonly Buffer[];
}

async function filled(t: TestContext, table: 'vault_secret' | 'crosswalk_uid'): Promise<Filled> {
  const { wall, database, folder } = fileWall();
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  let study = '';
  for (let n = 0; n < 4; n++)
    study = (await pass(makeFile({ '00080018': `1.2.3.4.9.${n}` }), { wall })).result.object.studyInstanceUID;
  const column = table === 'vault_secret' ? 'wrapped' : 'sealed';
  const old = database.all(`SELECT ${column} AS bytes FROM ${table}`).map(({ bytes }) => bytes as Buffer);
  database.close();
  return { folder, study, old };
}

function child(mode: string, folder: string, step: number): { signal: string | null; out: string } {
  const { signal, stdout } = spawnSync(process.execPath, [CHILD, mode, folder, String(step)], { encoding: 'utf8' });
  return { signal, out: stdout };
}

function stepsOf(mode: string, { folder }: Filled): number[] {
  const whole = `${folder}-whole`;
  cpSync(folder, whole, { recursive: true });
  const { signal, out } = child(mode, whole, 0);
  rmSync(whole, { recursive: true, force: true });
  assert.equal(signal, null);
  const count = Number(out);
  assert.ok(count > 4);
  if (EVERY_STEP) return Array.from({ length: count }, (_, at) => at + 1);
  return Array.from({ length: FEW }, (_, at) => 1 + Math.round((at * (count - 1)) / (FEW - 1)));
}

/** Whether the key opens the vault; what it opens leads back to where it did. */
function opens(folder: string, name: string, study: string): boolean {
  const keyFile = join(folder, 'keys', name);
  if (!existsSync(keyFile)) return false;
  const database = openDatabase(join(folder, 'isthmus.sqlite'));
  try {
    assert.equal(originalUid(openWall(database, { keyFile }), 'trial', study), UIDS.study);
    return true;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    assert.equal(error.reason, 'BadConfiguration');
    return false;
  } finally {
    database.close();
  }
}

function holdsAny(folder: string, old: readonly Buffer[]): boolean {
  return readdirSync(folder)
    .filter((name) => name.startsWith('isthmus'))
    .map((name) => readFileSync(join(folder, name)))
    .some((bytes) => old.some((piece) => bytes.includes(piece)));
}

test('DEID-VAULT-KILL: killed at any step of a change of key, one of the two keys opens all, and said again it is done', async (t) => {
  const vault = await filled(t, 'vault_secret');
  for (const step of stepsOf('rotate', vault)) {
    const folder = `${vault.folder}-rotate-${step}`;
    cpSync(vault.folder, folder, { recursive: true });
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    assert.equal(child('rotate', folder, step).signal, 'SIGKILL', `step ${step}`);
    const [first, next] = ['crosswalk.key', 'next.key'].map((name) => opens(folder, name, vault.study));
    assert.notEqual(first, next, `step ${step}: one of them, not both`);
    if (first === true) {
      assert.equal(child('rotate', folder, 0).signal, null);
      assert.equal(opens(folder, 'next.key', vault.study), true, `step ${step}, said again`);
      assert.equal(opens(folder, 'crosswalk.key', vault.study), false);
      assert.equal(holdsAny(folder, vault.old), false, 'what the old key opens is in no file');
    }
  }
});

test('DEID-VAULT-KILL: killed at any step of sealing anew, every row opens, and said again nothing of the old seal is left', async (t) => {
  const vault = await filled(t, 'crosswalk_uid');
  for (const step of stepsOf('reseal', vault)) {
    const folder = `${vault.folder}-reseal-${step}`;
    cpSync(vault.folder, folder, { recursive: true });
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    assert.equal(child('reseal', folder, step).signal, 'SIGKILL', `step ${step}`);
    assert.equal(opens(folder, 'crosswalk.key', vault.study), true, `step ${step}`);
    assert.equal(child('reseal', folder, 0).signal, null);
    assert.equal(opens(folder, 'crosswalk.key', vault.study), true, `step ${step}, said again`);
    assert.equal(holdsAny(folder, vault.old), false, `step ${step}`);
  }
});
