/** Metadata texts of a series are kept deflated against its first one, and inflated many at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { deflateMetadata, inflateManyMetadata, inflateMetadata } from '../../src/archive/metadata-text.ts';

const texts = fc.array(fc.json(), { minLength: 1, maxLength: 12 });

test('texts inflated at once are those that were deflated, in their order', () => {
  fc.assert(
    fc.property(fc.json(), texts, (first, given) => {
      const dictionary = Buffer.from(first);
      const deflated = given.map((text) => deflateMetadata(Buffer.from(text), dictionary));
      assert.deepEqual(inflateManyMetadata(deflated, dictionary).map(String), given);
      assert.deepEqual(
        deflated.map((one) => inflateMetadata(one, dictionary)),
        given,
      );
    }),
  );
});

test('texts of an index from before, each a stream that is ended, are read beside new ones', () => {
  const dictionary = Buffer.from('{"00080018":{"vr":"UI","Value":["2.25.1"]}}');
  const given = ['2.25.2', '2.25.3', '2.25.4'].map((uid) => `{"00080018":{"vr":"UI","Value":["${uid}"]}}`);
  const deflated = given.map((text, at) =>
    at === 1 ? deflateRawSync(text, { dictionary, level: 3 }) : deflateMetadata(Buffer.from(text), dictionary),
  );
  assert.deepEqual(inflateManyMetadata(deflated, dictionary).map(String), given);
});

test('a first text longer than the window of DEFLATE is a dictionary like any other', () => {
  const dictionary = Buffer.from(JSON.stringify(Array.from({ length: 30_000 }, (_, at) => at)));
  const given = ['[1,2,3]', JSON.stringify(Array.from({ length: 20_000 }, (_, at) => at + 9_000)), '[]'];
  const deflated = given.map((text) => deflateMetadata(Buffer.from(text), dictionary));
  assert.deepEqual(inflateManyMetadata(deflated, dictionary).map(String), given);
  const shorter = dictionary.subarray(0, 50_000);
  const again = given.map((text) => deflateMetadata(Buffer.from(text), shorter));
  assert.deepEqual(inflateManyMetadata(again, shorter).map(String), given);
});
