/**
 * The detector over the frames of a run: text that stands still is found in all frames at once, then every frame is looked at by itself
 * after blanking, until nothing is found in it any more.
 */
import { Refusal } from '../../dicom/refusal.ts';
import { clipped, type Box, type TextDetector } from './tools.ts';
import { overTime } from './views.ts';

/** A frame that can be looked at and blanked in turn. */
export interface WorkingFrame {
  /** Of the frame as it would be passed on now. */
  views(): Promise<readonly Uint8Array[]>;
  /** These boxes too. */
  blank(boxes: readonly Box[]): Promise<void>;
}

export interface Search {
  readonly findText: TextDetector;
  readonly rows: number;
  readonly columns: number;
  /** Blanked whatever is found. */
  readonly always: readonly Box[];
}

/** How often what was found after blanking is blanked too, before the object is given up. */
const ROUNDS = 4;
/** A find of which this much is blanked already is the edge of a blanked box. */
const SPENT = 0.85;

/** @returns how many boxes were blanked for what was found. @throws Refusal Quarantined when text is still found in the end */
export async function cleanRun(frames: readonly WorkingFrame[], search: Search): Promise<number> {
  const { always } = search;
  if (always.length > 0) for (const frame of frames) await frame.blank(always);
  const views = [];
  for (const frame of frames) views.push(await frame.views());
  const alone = frames.length === 1;
  const found = await look(search, alone ? (views[0] ?? []) : overTime(views));
  let boxes = found.length * frames.length;
  for (const [index, frame] of frames.entries()) {
    if (found.length > 0) await frame.blank(found);
    else if (alone) continue;
    boxes += await cleanRest(frame, found.length > 0 ? undefined : views[index], search, found);
  }
  return boxes;
}

/** The second pass, and as many more as it takes. */
async function cleanRest(
  frame: WorkingFrame,
  seen: readonly Uint8Array[] | undefined,
  search: Search,
  found: readonly Box[],
): Promise<number> {
  const blanked = blankedMask(search, [...search.always, ...found]);
  let views = seen ?? (await frame.views());
  let boxes = 0;
  for (let round = 1; ; round++) {
    const residue = (await look(search, views)).filter((box) => blankedShare(blanked, box, search) < SPENT);
    if (residue.length === 0) return boxes;
    if (round > ROUNDS) throw new Refusal('Quarantined', 'text is still found in the pixels after they were cleaned');
    await frame.blank(residue);
    mark(blanked, residue, search);
    boxes += residue.length;
    views = await frame.views();
  }
}

async function look({ findText, rows, columns }: Search, views: readonly Uint8Array[]): Promise<Box[]> {
  const boxes: Box[] = [];
  // The detector takes the pixels with it.
  for (const view of views) boxes.push(...(await findText(Uint8Array.from(view), rows, columns)));
  return boxes.flatMap((box) => clipped(box, { rows, columns }) ?? []);
}

function blankedMask(search: Search, boxes: readonly Box[]): Uint8Array {
  const mask = new Uint8Array(search.rows * search.columns);
  mark(mask, boxes, search);
  return mask;
}

function mark(mask: Uint8Array, boxes: readonly Box[], { columns }: Search): void {
  for (const { left, top, right, bottom } of boxes)
    for (let row = top; row < bottom; row++) mask.fill(1, row * columns + left, row * columns + right);
}

function blankedShare(mask: Uint8Array, { left, top, right, bottom }: Box, { columns }: Search): number {
  let blanked = 0;
  for (let row = top; row < bottom; row++)
    for (let column = left; column < right; column++) blanked += mask[row * columns + column] ?? 0;
  return blanked / ((right - left) * (bottom - top));
}
