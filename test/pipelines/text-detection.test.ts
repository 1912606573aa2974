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

test('a second look is taken around what the first one suspects, where it may become certain', async () => {
  const [rows, columns] = [320, 480];
  const lookAt = async (probability: number): Promise<{ boxes: readonly TextBox[]; sides: number[][] }> => {
    const sides: number[][] = [];
    const stub: Session = {
      ...session,
      run: ({ grey }) => {
        const [, , height = 0, width = 0] = grey?.dims ?? [];
        const data = new Float32Array((height * width) / 16);
        // Eight cells from row 160 and column 400 of the picture on, which the second look sees upside down.
        if (sides.length === 0) data.fill(probability, 40 * 120 + 100, 40 * 120 + 108);
        else data.fill(1, 27 * 44 + 12, 27 * 44 + 20);
        sides.push([height, width]);
        return Promise.resolve({ text: { dims: [1, 1, height / 4, width / 4], data } });
      },
    };
    const { boxes } = await findText(
      { session: stub, belongs, certain },
      { grey: picture(rows, columns), rows, columns },
    );
    return { boxes, sides };
  };
  const doubtful = await lookAt(Math.max(certain / 2, 2 * certain - 1) - 0.01);
  assert.deepEqual(doubtful, { boxes: [], sides: [[rows, columns]] });
  const suspicious = await lookAt(Math.max(certain / 2, 2 * certain - 1) + 0.01);
  assert.deepEqual(suspicious.sides, [
    [rows, columns],
    [208, 176],
  ]);
  assert.equal(suspicious.boxes.length, 1);
  assert.ok(covers(suspicious.boxes, { left: 400, top: 160, right: 432, bottom: 164 }));
});

test('a large find has to be surer than a small one', () => {
  const square = (side: number, probability: number) => ({
    values: new Float32Array(side * side).fill(probability),
    rows: side,
    columns: side,
  });
  const thresholds = { belongs: 0.05, certain: 0.25 };
  assert.equal(textBoxes(square(4, 0.3), thresholds).length, 1);
  assert.equal(textBoxes(square(10, 0.3), thresholds).length, 0);
  assert.equal(textBoxes(square(10, 0.7), thresholds).length, 1);
  assert.equal(textBoxes(square(40, 0.97), thresholds).length, 0);
  assert.equal(textBoxes(square(40, 0.99), thresholds).length, 1);
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
