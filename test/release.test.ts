/** Memory that is given back by hand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { release } from '../src/release.ts';

test('what a buffer held is given back at once, for all who look at the same memory', () => {
  const bytes = Buffer.allocUnsafeSlow(2 ** 24);
  const part = bytes.subarray(100, 200);
  const before = process.memoryUsage().arrayBuffers;
  release(part);
  assert.ok(before - process.memoryUsage().arrayBuffers >= 2 ** 24);
  assert.deepEqual([bytes.length, part.length], [0, 0]);
  release(bytes);
});

test('bytes that lie beside others in a pool stay, and so do the others', () => {
  const bytes = Buffer.from('in a pool');
  const other = Buffer.from('beside it');
  assert.equal(bytes.buffer.byteLength, Buffer.poolSize);
  release(bytes);
  assert.equal(`${bytes.toString()}, ${other.toString()}`, 'in a pool, beside it');
});
