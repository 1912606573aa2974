/** What a person meets whose disk or backup went wrong: one sentence each, exit status 1, nothing made anew in silence. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

function serve(data: string): { status: number | null; stderr: string } {
  return spawnSync(process.execPath, [join(root, 'src', 'main.ts'), 'serve'], {
    encoding: 'utf8',
    timeout: 60_000,
    env: {
      ...process.env,
      ISTHMUS_CONFIG: join(root, 'config'),
      ISTHMUS_DATA: data,
      ISTHMUS_HTTP_PORT: '0',
      ISTHMUS_DIMSE_PORT: '0',
    },
  });
}

test('a damaged database and a data folder that is a file are named in a sentence', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-damage-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const damaged = join(folder, 'damaged');
  mkdirSync(damaged);
  writeFileSync(join(damaged, 'isthmus.sqlite'), Buffer.alloc(8192, 0x5a));
  const first = serve(damaged);
  assert.equal(first.status, 1);
  assert.match(first.stderr, /^BadConfiguration: the database cannot be read \(SQLITE_NOTADB\)[^\n]*\n$/);

  const file = join(folder, 'file');
  writeFileSync(file, '');
  const second = serve(file);
  assert.equal(second.status, 1);
  assert.match(second.stderr, /^BadConfiguration: [^\n]*file cannot be used: EEXIST\n$/);
});
