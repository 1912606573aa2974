/**
 * Finds text that is burned into a picture: a small network looks at it upright and upside down, at large ones also at half and quarter
 * size, and what it takes for text becomes boxes. The threshold is set for finding, not for sparing: a box too many costs a few pixels,
 * one too few a name.
 */
import type { Session } from './session.ts';

export interface TextRequest {
  /** 0 to 255, row by row. */
  readonly grey: Uint8Array;
  readonly rows: number;
  readonly columns: number;
}

/** Pixels from left and top up to, not including, right and bottom. */
export interface TextBox {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

export interface TextResult {
  readonly boxes: readonly TextBox[];
}

export interface TextModel {
  /** The opened graph of models/text-detect: input grey, output text, a probability per cell of 4 x 4 pixels. */
  readonly session: Session;
  /** Probability from which a cell belongs to a text. */
  readonly belongs: number;
  /** Probability that one cell of a text must reach, were it a few letters; larger ones have to be surer. */
  readonly certain: number;
}

type Thresholds = Pick<TextModel, 'belongs' | 'certain'>;

/** What a wrong find costs is its area: up to so many cells `certain` is enough, from so many on only this is. */
const SMALL_FIND = 40;
const LARGE_FIND = 600;
const SUREST = 0.98;

/** In a smaller copy every texture is finer and looks more like writing: of what is found there only large letters count, and surer ones. */
const LARGE = { belongs: 0.1, certain: 0.985 } as const;
/** Pixels of the copy. */
const LARGE_FROM = 20;

const CELL = 4;
/** A line grows at its ends by this part of its height, which counts up to so many pixels. */
const GROWTH = 0.45;
const MOST_GROWTH = 40;
/** The graph takes sides that are multiples of this. */
const STEP = 16;
/** Pixels around suspicious cells that the second look sees too. */
const SURROUNDINGS = 96;
/** Pictures are looked at in tiles of at most this side, which overlap by more than the network sees around a cell. */
const TILE = 1536;
const OVERLAP = 128;
/** Text of up to about 60 pixels is known to the network. A picture of this side may have larger text: a smaller copy is looked at too. */
const HALF_FROM = 640;

interface Picture {
  readonly values: Uint8Array;
  readonly rows: number;
  readonly columns: number;
}

export async function findText(model: TextModel, request: TextRequest): Promise<TextResult> {
  const { rows, columns } = request;
  const boxes: TextBox[] = [];
  let picture: Picture = { values: request.grey, rows, columns };
  for (let scale = 1; scale <= 4; scale *= 2) {
    if (scale > 1) {
      if (Math.max(picture.rows, picture.columns) < HALF_FROM) break;
      picture = halved(picture);
    }
    for (const box of await boxesOf(model, picture, scale > 1)) {
      const grown = grow({
        left: box.left * scale,
        top: box.top * scale,
        right: box.right * scale,
        bottom: box.bottom * scale,
      });
      boxes.push(within(grown, request));
    }
  }
  return { boxes: withoutContained(boxes) };
}

/** Letters reach a little over the cells that were found, the more so the larger they are; most of all the first and last of a line. */
function grow({ left, top, right, bottom }: TextBox): TextBox {
  const [width, height] = [right - left, bottom - top];
  const margin = 2 + Math.round(Math.min(width, height) / 8);
  const along = Math.round(Math.min(width, height, MOST_GROWTH) * GROWTH);
  const [across, down] = width >= height ? [margin + along, margin] : [margin, margin + along];
  return { left: left - across, top: top - down, right: right + across, bottom: bottom + down };
}

function within({ left, top, right, bottom }: TextBox, { rows, columns }: TextRequest): TextBox {
  return {
    left: Math.max(0, left),
    top: Math.max(0, top),
    right: Math.min(columns, right),
    bottom: Math.min(rows, bottom),
  };
}

function withoutContained(boxes: readonly TextBox[]): TextBox[] {
  const area = (box: TextBox): number => (box.right - box.left) * (box.bottom - box.top);
  const kept: TextBox[] = [];
  for (const box of [...boxes].sort((a, b) => area(b) - area(a))) {
    const inside = kept.some(
      (other) =>
        other.left <= box.left && other.top <= box.top && other.right >= box.right && other.bottom >= box.bottom,
    );
    if (!inside && area(box) > 0) kept.push(box);
  }
  return kept;
}

async function boxesOf(model: TextModel, picture: Picture, isSmaller: boolean): Promise<TextBox[]> {
  if (!isSmaller) return textBoxes(await probabilities(model.session, picture, model), model);
  return textBoxes(await probabilities(model.session, picture, LARGE), LARGE).filter(
    ({ left, top, right, bottom }) => Math.min(right - left, bottom - top) >= LARGE_FROM,
  );
}

interface CellMap {
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

/** The probability of every cell, tile by tile; where tiles overlap the higher one holds. */
async function probabilities(session: Session, picture: Picture, thresholds: Thresholds): Promise<CellMap> {
  const rows = Math.ceil(picture.rows / CELL);
  const columns = Math.ceil(picture.columns / CELL);
  const values = new Float32Array(rows * columns);
  for (const top of tileStarts(picture.rows)) {
    for (const left of tileStarts(picture.columns)) {
      const tile = await runTile(session, picture, { top, left, thresholds });
      for (let row = 0; row < tile.rows && top / CELL + row < rows; row++) {
        for (let column = 0; column < tile.columns && left / CELL + column < columns; column++) {
          const to = (top / CELL + row) * columns + left / CELL + column;
          values[to] = Math.max(values[to] ?? 0, tile.values[row * tile.columns + column] ?? 0);
        }
      }
    }
  }
  return { values, rows, columns };
}

function tileStarts(side: number): number[] {
  const starts = [0];
  for (let start = TILE - OVERLAP; start + OVERLAP < side; start += TILE - OVERLAP) starts.push(start);
  return starts;
}

interface Tile {
  readonly top: number;
  readonly left: number;
  readonly thresholds: Thresholds;
}

async function runTile(session: Session, picture: Picture, { top, left, thresholds }: Tile): Promise<CellMap> {
  const height = Math.min(TILE, picture.rows - top);
  const width = Math.min(TILE, picture.columns - left);
  const padded = {
    rows: Math.ceil(height / STEP) * STEP,
    columns: Math.ceil(width / STEP) * STEP,
    values: new Float32Array(Math.ceil(height / STEP) * Math.ceil(width / STEP) * STEP ** 2),
  };
  let [lowest, highest] = [255, 0];
  for (let row = 0; row < padded.rows; row++) {
    const from = (top + mirrored(row, height)) * picture.columns + left;
    const to = row * padded.columns;
    for (let column = 0; column < padded.columns; column++) {
      const value = picture.values[from + mirrored(column, width)] ?? 0;
      padded.values[to + column] = value;
      if (value < lowest) lowest = value;
      if (value > highest) highest = value;
    }
  }
  // Nothing can be read in a picture of one shade.
  if (lowest === highest) return emptyMap(padded);
  const upright = await cellsOf(session, padded);
  const part = suspiciousPart(upright, padded, thresholds);
  if (part !== undefined) meanInto(upright, part, await cellsOf(session, upsideDown(padded, part)));
  return upright;
}

interface Padded {
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
}

function emptyMap({ rows, columns }: Padded): CellMap {
  return { values: new Float32Array((rows * columns) / CELL ** 2), rows: rows / CELL, columns: columns / CELL };
}

/** Around what may be a text; undefined where a second look would hardly make one certain, or could not. */
function suspiciousPart(
  { values, rows, columns }: CellMap,
  padded: Padded,
  { belongs, certain }: Thresholds,
): TextBox | undefined {
  let [left, top, right, bottom, most] = [Infinity, Infinity, 0, 0, 0];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const probability = values[row * columns + column] ?? 0;
      if (probability < belongs) continue;
      if (probability > most) most = probability;
      if (column < left) left = column;
      if (column >= right) right = column + 1;
      if (row < top) top = row;
      bottom = row + 1;
    }
  }
  if (most < Math.max(certain / 2, 2 * certain - 1)) return undefined;
  const before = (cell: number): number => Math.max(0, Math.floor((cell * CELL - SURROUNDINGS) / STEP) * STEP);
  const after = (cell: number): number => Math.ceil((cell * CELL + SURROUNDINGS) / STEP) * STEP;
  return {
    left: before(left),
    top: before(top),
    right: Math.min(padded.columns, after(right)),
    bottom: Math.min(padded.rows, after(bottom)),
  };
}

function upsideDown({ values, columns }: Padded, { left, top, right, bottom }: TextBox): Padded {
  const turned = new Float32Array((right - left) * (bottom - top));
  for (let row = bottom - 1, to = 0; row >= top; row--)
    for (let column = right - 1; column >= left; column--) turned[to++] = values[row * columns + column] ?? 0;
  return { values: turned, rows: bottom - top, columns: right - left };
}

/** What is no text looks like it from one side only more often than what is: the mean of both looks counts. */
function meanInto(upright: CellMap, { left, top, right, bottom }: TextBox, turned: CellMap): void {
  for (let row = bottom / CELL - 1, from = 0; row >= top / CELL; row--) {
    for (let column = right / CELL - 1; column >= left / CELL; column--) {
      const at = row * upright.columns + column;
      upright.values[at] = ((upright.values[at] ?? 0) + (turned.values[from++] ?? 0)) / 2;
    }
  }
}

async function cellsOf(session: Session, { values, rows, columns }: Padded): Promise<CellMap> {
  const { text } = await session.run({ grey: { dims: [1, 1, rows, columns], data: values } });
  if (text?.data.length !== (rows * columns) / CELL ** 2)
    throw new Error('the text graph gives another number of cells');
  return { values: text.data, rows: rows / CELL, columns: columns / CELL };
}

/** What is missing to whole steps is mirrored: an edge drawn out into streaks would look like writing. */
function mirrored(index: number, length: number): number {
  return index < length ? index : Math.max(0, 2 * length - 1 - index);
}

/** The mean of every four pixels. */
function halved({ values, rows, columns }: Picture): Picture {
  const halfRows = rows >> 1;
  const halfColumns = columns >> 1;
  const half = new Uint8Array(halfRows * halfColumns);
  for (let row = 0; row < halfRows; row++) {
    for (let column = 0; column < halfColumns; column++) {
      const at = 2 * row * columns + 2 * column;
      const sum =
        (values[at] ?? 0) + (values[at + 1] ?? 0) + (values[at + columns] ?? 0) + (values[at + columns + 1] ?? 0);
      half[row * halfColumns + column] = (sum + 2) >> 2;
    }
  }
  return { values: half, rows: halfRows, columns: halfColumns };
}

/** A slanted or branching patch is taken apart until what is blanked is mostly what was found. */
const MOSTLY = 0.45;
const SMALLEST_SPLIT = 8;

/** Connected cells that belong to a text, of which one is certain, as boxes of pixels. */
export function textBoxes(map: CellMap, { belongs, certain }: Thresholds): TextBox[] {
  const { values, rows, columns } = map;
  const seen = new Uint8Array(values.length);
  const boxes: TextBox[] = [];
  for (let start = 0; start < values.length; start++) {
    if (seen[start] !== 0 || (values[start] ?? 0) < certain) continue;
    const cells = [start];
    seen[start] = 1;
    let most = 0;
    for (let next = 0; next < cells.length; next++) {
      const cell = cells[next] ?? 0;
      most = Math.max(most, values[cell] ?? 0);
      const row = Math.floor(cell / columns);
      const column = cell % columns;
      for (let y = Math.max(0, row - 1); y <= Math.min(rows - 1, row + 1); y++) {
        for (let x = Math.max(0, column - 1); x <= Math.min(columns - 1, column + 1); x++) {
          const at = y * columns + x;
          if (seen[at] !== 0 || (values[at] ?? 0) < belongs) continue;
          seen[at] = 1;
          cells.push(at);
        }
      }
    }
    if (most >= neededFor(cells.length, certain)) pushBoxes(boxes, cells, columns);
  }
  return boxes;
}

function neededFor(cells: number, certain: number): number {
  const share = Math.log(cells / SMALL_FIND) / Math.log(LARGE_FIND / SMALL_FIND);
  return Math.max(certain, certain + (SUREST - certain) * Math.min(1, share));
}

function pushBoxes(boxes: TextBox[], cells: readonly number[], columns: number): void {
  let [left, top, right, bottom] = [Infinity, Infinity, 0, 0];
  for (const cell of cells) {
    const row = Math.floor(cell / columns);
    const column = cell % columns;
    left = Math.min(left, column);
    right = Math.max(right, column + 1);
    top = Math.min(top, row);
    bottom = Math.max(bottom, row + 1);
  }
  const [width, height] = [right - left, bottom - top];
  if (cells.length < MOSTLY * width * height && Math.max(width, height) >= SMALLEST_SPLIT) {
    const across = width >= height;
    const middle = across ? (left + right) / 2 : (top + bottom) / 2;
    const isFirst = (cell: number): boolean => (across ? cell % columns : Math.floor(cell / columns)) < middle;
    pushBoxes(boxes, cells.filter(isFirst), columns);
    pushBoxes(
      boxes,
      cells.filter((cell) => !isFirst(cell)),
      columns,
    );
    return;
  }
  boxes.push({ left: left * CELL, top: top * CELL, right: right * CELL, bottom: bottom * CELL });
}

/** Memory of one job, with what the runtime keeps: about 60 values of 4 bytes for every 16 pixels of a tile. */
export function textMemoryMb({ rows, columns }: TextRequest): number {
  const pixels = Math.min(rows, TILE) * Math.min(columns, TILE);
  return Math.ceil(120 + (pixels * 40 + rows * columns * 4) / 2 ** 20);
}
