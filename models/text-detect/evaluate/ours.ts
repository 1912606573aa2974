/** Evaluation of text-detect on the held-out set (held_out.py), with the code that the gateway runs: `ours.ts [SET [worst]]`. */
import { join } from 'node:path';
import { openGraph } from '../../../src/pipelines/graph-session.ts';
import { loadModel } from '../../../src/pipelines/manifest.ts';
import { findText, type TextBox } from '../../../src/pipelines/text-detection.ts';
import type { Session } from '../../../src/pipelines/session.ts';
import { mean, print } from '../../cases.ts';
import { ANCHOR_EVERY, heldOutSet, readInk, readPicture, scoreOf, type Picture } from './held-out.ts';

/** A line of text is found when of its ink no more than this is outside of boxes: half a name is no find. */
const MOST_LEFT = 0.05;
/** Of how many pictures one is looked at by one thread too: what that thread works is told even by a machine that is busy. */
const ALONE_EVERY = 16;

const [given, list] = process.argv.slice(2);
const { folder, files, name } = heldOutSet(given);
const model = loadModel(join(import.meta.dirname, '..'));
const thresholds = {
  belongs: Number(model.card.settings?.['belongs']),
  certain: Number(model.card.settings?.['certain']),
};
const two = await openGraph(model, 'text', 2);
const one = await openGraph(model, 'text', 1);
const look = async (session: Session, { values, rows, columns }: Picture): Promise<readonly TextBox[]> =>
  (await findText({ session, ...thresholds }, { grey: values, rows, columns })).boxes;

const first = readPicture(folder, files[0] ?? '');
await look(two, first);
await look(one, first);
const seconds: number[] = [];
const processor: number[] = [];
const missed: Record<'all' | 'whole' | 'anchor', number[]> = { all: [], whole: [], anchor: [] };
const blanked: Record<'text' | 'empty' | 'anchor', number[]> = { text: [], empty: [], anchor: [] };
const percent = (share: number): number => 100 * share;
for (const [index, file] of files.entries()) {
  const picture = readPicture(folder, file);
  const start = performance.now();
  const boxes = await look(two, picture);
  seconds.push((performance.now() - start) / 1000);
  if (index % ALONE_EVERY === 0) {
    const before = process.cpuUsage();
    await look(one, picture);
    const { user, system } = process.cpuUsage(before);
    processor.push((user + system) / 1000);
  }
  const once = scoreOf(picture, readInk(folder, file), boxes);
  const anchor = index % ANCHOR_EVERY === 0;
  if (once.lines.length === 0) {
    blanked.empty.push(percent(once.blanked));
    if (anchor) blanked.anchor.push(percent(once.blanked));
    if (list === 'worst' && once.blanked > 0) process.stderr.write(`${file} ${percent(once.blanked).toFixed(2)} %\n`);
    continue;
  }
  blanked.text.push(percent(once.blanked));
  for (const { line, left } of once.lines) {
    missed.all.push(left > MOST_LEFT ? 100 : 0);
    missed.whole.push(left > 0.95 ? 100 : 0);
    if (anchor) missed.anchor.push(left > MOST_LEFT ? 100 : 0);
    if (list === 'worst' && left > MOST_LEFT) process.stderr.write(`${file} line ${line}: ${left.toFixed(2)} left\n`);
  }
}
await two.release();
await one.release();

const peakMb = process.resourceUsage().maxRSS / 1024;
const ours = { set: name, method: 'ours', better: 'lower' } as const;
const lines = 'lines missed, %';
const empty = 'blanked where there is no text, %';
const ofAnchor = { ...ours, set: `every ${ANCHOR_EVERY}th of them` };
print({ ...ours, metric: lines, values: missed.all, secondsPerCase: mean(seconds), peakMb });
print({ ...ours, metric: 'lines missed whole, %', values: missed.whole });
print({ ...ours, metric: empty, values: blanked.empty });
print({ ...ours, better: 'neither', metric: 'blanked where there is text, %', values: blanked.text });
print({ ...ofAnchor, metric: lines, values: missed.anchor });
print({ ...ofAnchor, metric: empty, values: blanked.anchor });
print({ ...ofAnchor, metric: 'processor time of a picture, ms', values: processor });
