/** conformance/statement.md is what the tables say. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { STATEMENT, formatStatement } from './statement.ts';

test('the conformance statement is up to date (node test/conformance/statement.ts writes it)', () => {
  assert.equal(readFileSync(STATEMENT, 'utf8'), formatStatement());
});
