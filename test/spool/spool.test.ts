/** Bytes kept to be read again: in memory, then in a file that tells nothing. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSpool, type Spool } from '../../src/spool.ts';

async function all(spool: Spool): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of spool.read()) parts.push(chunk);
  return Buffer.concat(parts);
}

for (const [name, memoryBytes] of [
  ['memory', 10_000_000],
  ['a file', 100],
  ['memory, then a file', 500_000],
] as const) {
  test(`what was written to ${name} is read again, twice`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'isthmus-spool-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const spool = openSpool({ folder, memoryBytes });
    const chunks = Array.from({ length: 30 }, (_, index) => Buffer.alloc(70_001 + index, index));
    for (const chunk of chunks) await spool.write(chunk);
    const expected = Buffer.concat(chunks);
    assert.equal(spool.lengthBytes, expected.length);
    assert.ok((await all(spool)).equals(expected));
    assert.ok((await all(spool)).equals(expected));
    assert.deepEqual(readdirSync(folder), [], 'the file has no name');
    spool.discard();
    spool.discard();
  });
}

test(
  'the file holds nothing in the clear',
  { skip: process.platform === 'linux' ? false : 'needs /proc' },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'isthmus-spool-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const spool = openSpool({ folder, memoryBytes: 0 });
    t.after(() => spool.discard());
    await spool.write(Buffer.from('LINDQVIST^MAJA '.repeat(100)));
    const open = readdirSync('/proc/self/fd')
      .map((fd) => `/proc/self/fd/${fd}`)
      .filter((path) => {
        try {
          const found = statSync(path);
          return found.isFile() && found.size === 1500;
        } catch {
          return false;
        }
      });
    assert.equal(open.length, 1);
    assert.ok(!readFileSync(open[0] ?? '').includes('LINDQVIST'));
  },
);
