/** The key image of a run: nothing of what is said under the panels is cut off. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deriveKeyImage, type Lettering } from '../../src/derived/key-image.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { asciiValue, numberValue } from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { instanceOf, phantomSeries } from './phantom.ts';

const SENTENCE =
  'ct-denoise 1.3.0: look with care: noiseLeft is 0.81, expected at most 0.7 (hard limit 0.95); and so on';

function drawn(
  lines: readonly string[],
  burned = 'NO',
): { readonly written: Lettering[]; readonly rows: number; readonly burned: string | undefined } {
  const written: Lettering[] = [];
  const panel = { title: 'before', grey: new Uint8Array(16), columns: 4, rows: 4, pixelMm: [1, 1] as const };
  const object = deriveKeyImage({
    source: phantomSeries({ slices: 1, over: () => ({ BurnedInAnnotation: burned }) }).map(
      (file) => instanceOf(file).head,
    ),
    panels: [panel],
    lines,
    outcome: 'warn',
    write: (_, lettering) => written.push(lettering),
    advance: 6,
    provenance: {
      algorithm: {
        name: 'ct-denoise',
        version: '1.3.0',
        family: { value: '123110', scheme: 'DCM', meaning: 'Artificial Intelligence' },
        parameters: '{}',
        sha256: 'a'.repeat(64),
      },
      softwareVersion: '1.0.0',
      description: 'Noise reduction',
      figures: [],
      seriesNumber: 9310,
      seriesSuffix: '[KEY]',
    },
  });
  const { head } = readHead(Buffer.concat([object.head, object.body]));
  const rows = numberValue(head.dataSet, tag('Rows')) ?? 0;
  return { written, rows, burned: asciiValue(head.dataSet, tag('BurnedInAnnotation')) };
}

test('a line that is wider than the picture goes on below, word for word, in its own colour; the picture grows by it', () => {
  const [short, long] = [drawn(['all is well']), drawn([SENTENCE])];
  const [title, ...lines] = long.written;
  assert.equal(title?.text, 'before');
  assert.ok(lines.length > 1);
  assert.equal(lines.map(({ text }) => text).join(' '), SENTENCE);
  for (const { text, colour } of lines) {
    assert.ok(text.length * 12 <= 400, text);
    assert.deepEqual(colour, lines[0]?.colour);
  }
  const tops = lines.map(({ top }) => top);
  assert.deepEqual(tops, [...new Set(tops)]);
  assert.ok(long.rows - short.rows >= (tops.at(-1) ?? 0) - (tops[0] ?? 0));
});

test('a word that is wider than the picture is broken', () => {
  const { written } = drawn(['x'.repeat(80)]);
  assert.equal(
    written
      .slice(1)
      .map(({ text }) => text)
      .join(''),
    'x'.repeat(80),
  );
});

test('of a picture with text burned in the key image says so too', () => {
  assert.equal(drawn(['']).burned, 'NO');
  assert.equal(drawn([''], 'YES').burned, 'YES');
});
