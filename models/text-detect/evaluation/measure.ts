/**
 * Finds the text of a held-out set (make_set.py) with the code that the gateway runs, and says what was found.
 *
 *   node models/text-detect/evaluation/measure.ts SET [threads] [worst] [passes] [every]
 *
 * A line of text is found when 95 % of its ink lies inside boxes. `worst` lists the lines that were not (`-` does not). With several
 * passes what was found is made black and the picture looked at again, as the gateway does; the time is that of the first. `every` 5
 * takes every fifth picture.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openGraph } from '../../../src/pipelines/graph-session.ts';
import { loadModel } from '../../../src/pipelines/manifest.ts';
import { findText, type TextBox } from '../../../src/pipelines/text-detection.ts';

const FOUND = 0.95;

interface Picture {
  readonly rows: number;
  readonly columns: number;
  readonly values: Uint8Array;
}

function readPgm(file: string): Picture {
  const bytes = readFileSync(file);
  const header = /^P5\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString('latin1', 0, 40));
  if (header === null) throw new Error(`${file} is no PGM of 8 bits`);
  return {
    columns: Number(header[1]),
    rows: Number(header[2]),
    values: Uint8Array.from(bytes.subarray(header[0].length)),
  };
}

/** The gateway leaves a find alone of which 85 % is blanked already: it is the edge of a blanked box. */
function unspent({ columns }: Picture, mask: Uint8Array, { left, top, right, bottom }: TextBox): boolean {
  let blanked = 0;
  for (let row = top; row < bottom; row++)
    for (let column = left; column < right; column++) blanked += mask[row * columns + column] ?? 0;
  return blanked < 0.85 * (right - left) * (bottom - top);
}

const print = (...parts: (string | number)[]): void => void process.stdout.write(`${parts.join(' ')}\n`);

function covered({ rows, columns }: Picture, boxes: readonly TextBox[]): Uint8Array {
  const mask = new Uint8Array(rows * columns);
  for (const { left, top, right, bottom } of boxes)
    for (let row = top; row < bottom; row++) mask.fill(1, row * columns + left, row * columns + right);
  return mask;
}

const [folder = '', threads = '2', list = '', passes = '1', every = '1'] = process.argv.slice(2);
const model = loadModel(join(dirname(fileURLToPath(import.meta.url)), '..'));
const opened = {
  session: await openGraph(model, 'text', Number(threads)),
  belongs: Number(process.env['BELONGS'] ?? model.card.settings?.['belongs']),
  certain: Number(process.env['CERTAIN'] ?? model.card.settings?.['certain']),
};
const times: number[] = [];
/** Of the processors, all threads together: what a machine that does other work too still tells. */
const busy: number[] = [];
let [lines, found, inkPixels, inkLeft, pictures] = [0, 0, 0, 0, 0];
let [emptyPixels, emptyBlanked, empty, textPixels, textBlanked] = [0, 0, 0, 0, 0];
const files = readdirSync(folder).filter((file) => /^\d+\.pgm$/.test(file));
for (const name of files.filter((_, index) => index % Number(every) === 0)) {
  const picture = readPgm(join(folder, name));
  const ink = readPgm(join(folder, name.replace('.pgm', '.ink.pgm'))).values;
  const [start, cpu] = [performance.now(), process.cpuUsage()];
  const boxes = [...(await findText(opened, { ...picture, grey: picture.values })).boxes];
  times.push(performance.now() - start);
  const { user, system } = process.cpuUsage(cpu);
  busy.push((user + system) / 1000);
  let mask = covered(picture, boxes);
  for (let pass = 2; pass <= Number(passes) && boxes.length > 0; pass++) {
    const grey = picture.values.map((value, at) => (mask[at] === 0 ? value : 0));
    const seen = mask;
    const more = (await findText(opened, { ...picture, grey })).boxes.filter((box) => unspent(picture, seen, box));
    if (more.length === 0) break;
    boxes.push(...more);
    mask = covered(picture, boxes);
  }
  const blanked = mask.reduce((sum, one) => sum + one, 0);
  const all = new Map<number, [ink: number, left: number]>();
  ink.forEach((line, at) => {
    if (line === 0) return;
    const one = all.get(line) ?? [0, 0];
    one[0] += 1;
    if (mask[at] === 0) one[1] += 1;
    all.set(line, one);
  });
  if (all.size === 0) {
    empty += 1;
    emptyPixels += mask.length;
    emptyBlanked += blanked;
    if (list === 'worst' && blanked > 0) print(name, 'blanked', ((100 * blanked) / mask.length).toFixed(2), '%');
    continue;
  }
  pictures += 1;
  textPixels += mask.length;
  textBlanked += blanked;
  for (const [line, [pixels, left]] of all) {
    lines += 1;
    inkPixels += pixels;
    inkLeft += left;
    if (left <= (1 - FOUND) * pixels) found += 1;
    else if (list === 'worst') print(name, 'line', line, `${((100 * left) / pixels).toFixed(0)} % of ink left`);
  }
}
const at = (all: number[], share: number): string =>
  (all.toSorted((a, b) => a - b)[Math.floor(share * (all.length - 1))] ?? 0).toFixed(1);
print(`${pictures} pictures with ${lines} lines of text, ${empty} without`);
print(`recall ${(found / lines).toFixed(4)}, ink left ${((100 * inkLeft) / inkPixels).toFixed(3)} %`);
print(
  `blanked ${((100 * emptyBlanked) / emptyPixels).toFixed(3)} % where there is no text, ${((100 * textBlanked) / textPixels).toFixed(1)} % where there is`,
);
print(
  `ms per picture: median ${at(times, 0.5)}, p95 ${at(times, 0.95)}, with ${threads} threads; of processor time ${at(busy, 0.5)}`,
);
await opened.session.release();
