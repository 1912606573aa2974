/** The privacy officer at the machine: another key, other seals, a person erased; each by a process of its own. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ctStudy } from '../phantom/studies.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PATIENT = { name: 'Muster^Erika', id: 'KH-1', birthDate: '19631112', sex: 'F' } as const;
const RULES =
  "admission:\n  - { name: all, when: { callingAE: '*' }, project: research, profile: basic }\nprocessing: []\n";

test('the key is changed, rows are sealed anew, and a person is erased: pseudonyms stay until then', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-officer-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const config = join(folder, 'config');
  mkdirSync(config);
  cpSync(join(ROOT, 'config', 'profiles'), join(config, 'profiles'), { recursive: true });
  writeFileSync(join(config, 'gateway.yaml'), 'archive: { reserveMb: 1 }\nretention: { backupDays: 30 }\n');
  writeFileSync(join(config, 'nodes.yaml'), 'nodes: {}\n');
  writeFileSync(join(config, 'rules.yaml'), RULES);
  const data = join(folder, 'data');
  const isthmus = (...args: string[]): { status: number | null; out: string; error: string } => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'src', 'main.ts'), ...args], {
      env: { ...process.env, ISTHMUS_CONFIG: config, ISTHMUS_DATA: data },
      encoding: 'utf8',
    });
    return { status, out: stdout, error: stderr };
  };
  const from = join(folder, 'in');
  mkdirSync(from);
  for (const [n, object] of ctStudy({ patient: PATIENT, slices: 2, size: 8 }).objects.entries())
    writeFileSync(join(from, `${n}.dcm`), object);
  const pseudonyms = (): string[] => {
    const to = mkdtempSync(join(folder, 'out-'));
    const { status, error } = isthmus('deidentify', from, to, '--profile', 'basic', '--project', 'research');
    assert.equal(status, 0, error);
    return readdirSync(to).filter((name) => !name.startsWith('report.'));
  };
  const before = pseudonyms();

  for (const args of [['vault'], ['vault', 'open'], ['erase'], ['erase', '--reason', 'x']]) {
    assert.equal(isthmus(...args).status, 2, args.join(' '));
  }
  const file = join(folder, 'elsewhere', 'second.key');
  assert.match(isthmus('vault', 'rotate').error, /^BadRequest: one of --to-file/);
  assert.match(isthmus('vault', 'rotate', '--to-command', '/bin/false').error, /^BadConfiguration: .*asked to wrap/);
  assert.deepEqual(pseudonyms(), before, 'a change that was refused changed nothing');
  assert.equal(isthmus('vault', 'rotate', '--to-file', file).status, 0);
  const refused = isthmus('vault', 'status');
  assert.deepEqual([refused.status, /another|not the one/.test(refused.error)], [1, true]);
  writeFileSync(
    join(config, 'gateway.yaml'),
    `archive: { reserveMb: 1 }\nretention: { backupDays: 30 }\ncrosswalk: { keyFile: ../elsewhere/second.key }\n`,
  );
  rmSync(join(data, 'keys'), { recursive: true });
  assert.deepEqual(pseudonyms(), before);
  assert.equal(isthmus('vault', 'reseal').status, 0);
  assert.deepEqual(pseudonyms(), before);
  const status = JSON.parse(isthmus('vault', 'status').out) as Record<string, number>;
  assert.deepEqual([status['generation'], status['patients'], status['studies']], [1, 1, 1]);

  const record = join(folder, 'record.json');
  writeFileSync(record, JSON.stringify({ issuer: '', id: PATIENT.id }));
  const asked = ['--record', record, '--reason', 'data-subject-request', '--reference', 'DSR 17'];
  const erased = isthmus('erase', ...asked);
  assert.equal(erased.status, 0, erased.error);
  const { state, beyond } = JSON.parse(erased.out) as { state: string; beyond: string[] };
  assert.equal(state, 'DONE');
  assert.match(beyond.join(' '), /until \d{4}-\d\d-\d\d/);
  assert.doesNotMatch(erased.out, /KH-1|Muster/);
  const again = isthmus('erase', ...asked);
  assert.deepEqual([again.status, /^NotFound/.test(again.error)], [1, true]);
  for (const pseudonym of before) {
    for (const name of readdirSync(data).filter((one) => one.startsWith('isthmus.sqlite')))
      assert.equal(readFileSync(join(data, name)).includes(pseudonym), false);
  }
  assert.equal(isthmus('verify').status, 0);
});
