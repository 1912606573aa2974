/** Text in pictures: light letters with a dark rim, to be read on any ground. */
import { ADVANCE, glyphsOf, LINE_HEIGHT, textWidth } from './bitmap-font.ts';
import type { Picture } from './picture.ts';

export type Corner = 'topLeft' | 'topRight' | 'bottomLeft' | 'bottomRight';

/** Lines from the top down, in each corner. */
export type Corners = Readonly<Record<Corner, readonly string[]>>;

export interface Label {
  readonly text: string;
  /** Of the first letter's left edge and of its capitals' upper edge, in pixels. */
  readonly left: number;
  readonly top: number;
  /** Pixels a point of the font. */
  readonly scale: number;
  readonly colour: Colour;
}

export type Colour = readonly [red: number, green: number, blue: number];

const WHITE: Colour = [255, 255, 255];
const BLACK: Colour = [0, 0, 0];

/** Large enough to be read on a picture of this size: a point for every 256 pixels. */
export function letterScale({ columns, rows }: Pick<Picture, 'columns' | 'rows'>): number {
  return Math.max(1, Math.round(Math.min(columns, rows) / 300));
}

/** Writes into the picture's own bytes; what does not fit is cut off at the picture's edge. */
export function writeCorners(picture: Picture, corners: Corners): void {
  const scale = letterScale(picture);
  const margin = 2 * scale;
  const right = picture.columns - margin;
  for (const [corner, lines] of Object.entries(corners) as [Corner, readonly string[]][]) {
    const height = lines.length * LINE_HEIGHT * scale;
    const first = corner.startsWith('top') ? margin + 3 * scale : picture.rows - margin - height + 3 * scale;
    for (const [index, text] of lines.entries()) {
      const left = corner.endsWith('Left') ? margin : right - textWidth(text) * scale;
      writeLabel(picture, { text, left, top: first + index * LINE_HEIGHT * scale, scale, colour: WHITE });
    }
  }
}

/** Letters with a rim of one point. */
export function writeLabel(picture: Picture, { text, left, top, scale, colour }: Label): void {
  const points = glyphsOf(text).flatMap((glyph, index) =>
    glyph.map(([row, column]) => [row, column + index * ADVANCE] as const),
  );
  const rim = Math.max(1, Math.round(scale / 2));
  const place = ([row, column]: readonly [number, number]): readonly [number, number] => [
    Math.round(left) + column * scale,
    Math.round(top) + row * scale,
  ];
  for (const point of points) {
    const [x, y] = place(point);
    fill(picture, { x: x - rim, y: y - rim, side: scale + 2 * rim }, rimOf(colour));
  }
  for (const point of points) {
    const [x, y] = place(point);
    fill(picture, { x, y, side: scale }, colour);
  }
}

function rimOf([red, green, blue]: Colour): Colour {
  return 0.299 * red + 0.587 * green + 0.114 * blue < 96 ? WHITE : BLACK;
}

interface Square {
  readonly x: number;
  readonly y: number;
  readonly side: number;
}

function fill({ bytes, rows, columns, channels }: Picture, { x, y, side }: Square, colour: Colour): void {
  const [fromX, toX] = [Math.max(0, x), Math.min(columns, x + side)];
  for (let row = Math.max(0, y); row < Math.min(rows, y + side); row++)
    for (let column = fromX; column < toX; column++) {
      const at = (row * columns + column) * channels;
      for (let channel = 0; channel < channels; channel++) bytes[at + channel] = colour[channel] ?? 0;
    }
}
