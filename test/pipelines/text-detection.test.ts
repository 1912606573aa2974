/** The text detector as it ships: letters are found wherever they stand, in tiles and at other sizes; a plain picture has none. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { openGraph } from '../../src/pipelines/graph-session.ts';
import { loadModel } from '../../src/pipelines/manifest.ts';
import { closePool, openPool, runTextDetection } from '../../src/pipelines/pool.ts';
import type { Session } from '../../src/pipelines/session.ts';
import { findText, textBoxes, type TextBox } from '../../src/pipelines/text-detection.ts';
import { writeLetters } from './letters.ts';

const modelsFolder = join(import.meta.dirname, '..', '..', 'models');
const model = loadModel(join(modelsFolder, 'text-detect'));
const { belongs, certain } = model.card.settings as { belongs: number; certain: number };
const session = await openGraph(model, 'text', 1);
after(() => session.release());

function picture(rows: number, columns: number): Uint8Array {
  let state = 11;
  return Uint8Array.from({ length: rows * columns }, (_, at) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return 60 + Math.round(25 * Math.sin(at / 3000)) + (state >> 27);
  });
}

function covers(boxes: readonly TextBox[], place: TextBox): boolean {
  for (let row = place.top; row < place.bottom; row++)
    for (let column = place.left; column < place.right; column++)
      if (!boxes.some((box) => row >= box.top && row < box.bottom && column >= box.left && column < box.right))
        return false;
  return true;
}

function areaOf(boxes: readonly TextBox[], rows: number, columns: number): number {
  const mask = new Uint8Array(rows * columns);
  for (const { left, top, right, bottom } of boxes)
    for (let row = top; row < bottom; row++) mask.fill(1, row * columns + left, row * columns + right);
  return mask.reduce((sum, one) => sum + one, 0);
}

const find = (grey: Uint8Array, rows: number, columns: number) =>
  findText({ session, belongs, certain }, { grey, rows, columns });

for (const [name, rows, columns, left, top, size] of [
  ['in a corner', 240, 320, 1, 1, 2],
  ['in the middle of a picture of odd sides', 331, 517, 200, 150, 2],
  ['where two tiles meet', 1700, 1700, 1400, 1450, 3],
  ['as high as 90 pixels', 1400, 1600, 60, 700, 13],
  ['as high as 100 pixels in a picture of usual size', 768, 1024, 40, 300, 14],
] as const) {
  test(`letters ${name} are found, and little else`, async () => {
    const grey = picture(rows, columns);
    const place = writeLetters({ values: grey, columns }, 'MARIA LIND', { left, top, size, shade: 230 });
    const { boxes } = await find(grey, rows, columns);
    assert.ok(covers(boxes, place), JSON.stringify({ place, boxes }));
    assert.ok(areaOf(boxes, rows, columns) < 6 * areaOf([place], rows, columns), JSON.stringify(boxes));
    for (const box of boxes)
      assert.ok(box.left >= 0 && box.top >= 0 && box.right <= columns && box.bottom <= rows, JSON.stringify(box));
  });
}

test('a picture without letters, one of one shade and one of a few pixels have none', async () => {
  assert.deepEqual((await find(picture(400, 600), 400, 600)).boxes, []);
  assert.deepEqual((await find(new Uint8Array(90_000).fill(255), 300, 300)).boxes, []);
  assert.deepEqual((await find(Uint8Array.of(1, 200, 3), 1, 3)).boxes, []);
});

test('a second look is taken where it could make the first one certain, and nowhere else', async () => {
  for (const [probability, looks] of [
    [2 * certain - 1.01, 1],
    [2 * certain - 0.99, 2],
  ] as const) {
    let runs = 0;
    const first: Session = {
      ...session,
      run: ({ grey }) => {
        const cells = new Float32Array((grey?.data.length ?? 0) / 16).fill(runs === 0 ? probability : 1);
        runs++;
        return Promise.resolve({ text: { dims: [cells.length], data: cells } });
      },
    };
    const { boxes } = await findText(
      { session: first, belongs, certain },
      { grey: picture(64, 64), rows: 64, columns: 64 },
    );
    assert.equal(runs, looks);
    assert.equal(boxes.length, looks - 1);
  }
});

test('cells that touch are one text when one of them is certain, and a slanted one is taken apart', () => {
  const cells = (lines: readonly string[]): { values: Float32Array; rows: number; columns: number } => ({
    values: Float32Array.from(lines.join(''), (cell) => (cell === '#' ? 0.9 : cell === '+' ? 0.4 : 0)),
    rows: lines.length,
    columns: lines[0]?.length ?? 0,
  });
  const thresholds = { belongs: 0.3, certain: 0.6 };
  assert.deepEqual(textBoxes(cells(['.....', '.+#+.', '.....', '++...']), thresholds), [
    { left: 4, top: 4, right: 16, bottom: 8 },
  ]);
  const slanted = textBoxes(
    cells(Array.from({ length: 16 }, (_, row) => '.'.repeat(row) + '#' + '.'.repeat(15 - row))),
    thresholds,
  );
  assert.ok(slanted.length > 2);
  const area = slanted.reduce((sum, box) => sum + (box.right - box.left) * (box.bottom - box.top), 0);
  assert.ok(area < (64 * 64) / 2);
});

test('it runs in a worker and takes the pixels along', async (t) => {
  const pool = await openPool({ threads: 1, maxMemoryMb: 2000, modelsFolder });
  t.after(() => closePool(pool));
  const grey = picture(160, 240);
  const place = writeLetters({ values: grey, columns: 240 }, 'MARIA LIND', { left: 20, top: 30, size: 2, shade: 240 });
  const { boxes } = await runTextDetection(pool, { grey, rows: 160, columns: 240 });
  assert.ok(covers(boxes, place));
  assert.equal(grey.length, 0);
});
