/** conformance/requirements.json and the tests speak of the same requirements. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

interface Requirement {
  readonly id: string;
  readonly section: string;
  readonly requirement: string;
  /** The file whose test bears the id. */
  readonly test: string;
}

const root = new URL('../../', import.meta.url);
const rows = JSON.parse(readFileSync(new URL('conformance/requirements.json', root), 'utf8')) as Requirement[];
const titles = (file: string): string[] =>
  [
    ...readFileSync(new URL(file, root), 'utf8').matchAll(
      /\b(?:test|it|describe)\(\s*(['"`])((?:(?!\1)[^\\]|\\.)*)\1/g,
    ),
  ].map(([, , title = '']) => title);

test('every requirement is complete, has an id of its own and a test whose title begins with it', () => {
  assert.equal(new Set(rows.map(({ id }) => id)).size, rows.length);
  for (const row of rows) {
    assert.ok(row.section !== '' && row.requirement !== '', row.id);
    assert.ok(
      titles(row.test).some((title) => title.startsWith(`${row.id}:`)),
      `${row.id} in ${row.test}`,
    );
  }
});

test('every numbered test of this door has its row', () => {
  const known = new Set(rows.map(({ id }) => id));
  for (const file of new Set(rows.map((row) => row.test)))
    for (const title of titles(file)) {
      const [, id] = /^([A-Z][A-Za-z0-9.]*-[A-Za-z0-9.-]+):/.exec(title) ?? [];
      if (id !== undefined) assert.ok(known.has(id), `${id} in ${file}`);
    }
});

test('each of the 18 traps that other servers fell into, and each of the six properties, has its test', () => {
  const known = new Set(rows.map(({ id }) => id));
  const wanted = [
    ...Array.from({ length: 18 }, (_, at) => `TRAP-${at + 1}`),
    ...['a', 'b', 'c', 'd', 'e', 'f'].map((letter) => `PROP-${letter}`),
  ];
  assert.deepEqual(
    wanted.filter((id) => !known.has(id)),
    [],
  );
});
