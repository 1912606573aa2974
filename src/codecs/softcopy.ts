/** A drawn frame as a presentation state wants it seen: shutter, overlays, displayed area, rotation, flip, size, then graphics and text. */
import { LINE_HEIGHT, textWidth } from './bitmap-font.ts';
import { unusable } from './image.ts';
import { letterScale, writeLabel, type Colour } from './lettering.ts';
import { paintOver, resized, type Picture, type Viewport } from './picture.ts';
import type { DisplayedArea, Lettering, Plane, Point, Shutter, SoftcopyState, Units } from './softcopy-state.ts';

const MOST_SIDE = 8192;
const MOST_PIXELS = 2 ** 26;

/** @throws Refusal NotAcceptable for an area that no picture can be made of */
export async function drawSoftcopy(
  frame: Picture,
  state: SoftcopyState,
  viewport: Pick<Viewport, 'width' | 'height'> | undefined,
): Promise<Picture> {
  const whole = coloured(frame, state);
  for (const { plane, colour } of state.overlays) coverPlane(whole, plane, colour);
  if (state.shutters.length > 0) closeShutters(whole, state.shutters, state.shutterColour);
  const { width, height } = sizeOf(state, viewport);
  const shown = await resized(turned(displayed(whole, state.area), state), width, height);
  const drawn = await withGraphics(shown, state);
  return state.area.magnification === undefined || viewport === undefined ? drawn : middleOf(drawn, viewport);
}

/** A copy, of three channels where something has a colour. */
function coloured({ bytes, rows, columns, channels }: Picture, state: SoftcopyState): Picture {
  const colours = [
    ...state.overlays.map(({ colour }) => colour),
    ...state.drawings.map(({ colour }) => colour),
    ...state.letterings.map(({ colour }) => colour),
    state.shutterColour,
  ];
  const isGrey = colours.every(([red, green, blue]) => red === green && green === blue);
  if (channels === 3 || isGrey) return { bytes: Buffer.from(bytes), rows, columns, channels };
  const rgb = Buffer.allocUnsafe(bytes.length * 3);
  for (let at = 0; at < bytes.length; at++) rgb.fill(bytes[at] ?? 0, 3 * at, 3 * at + 3);
  return { bytes: rgb, rows, columns, channels: 3 };
}

function put({ bytes, columns, channels }: Picture, row: number, column: number, colour: Colour): void {
  const at = (row * columns + column) * channels;
  for (let channel = 0; channel < channels; channel++) bytes[at + channel] = colour[channel] ?? 0;
}

function coverPlane(picture: Picture, { rows, columns, left, top, bits }: Plane, colour: Colour): void {
  for (let row = Math.max(0, -top); row < Math.min(rows, picture.rows - top); row++)
    for (let column = Math.max(0, -left); column < Math.min(columns, picture.columns - left); column++)
      if (bits[row * columns + column] === 1) put(picture, row + top, column + left, colour);
}

/** What any of the shutters covers is covered (PS3.3 C.7.6.11); rows and columns are counted from 1, edges belong to the picture. */
function closeShutters(picture: Picture, shutters: readonly Shutter[], colour: Colour): void {
  const isOpen = shutters.map(openingOf);
  for (let row = 0; row < picture.rows; row++)
    for (let column = 0; column < picture.columns; column++)
      if (!isOpen.every((opening) => opening(row + 1, column + 1))) put(picture, row, column, colour);
}

function openingOf(shutter: Shutter): (row: number, column: number) => boolean {
  switch (shutter.kind) {
    case 'rectangle': {
      const { left, right, upper, lower } = shutter;
      return (row, column) => column >= left && column <= right && row >= upper && row <= lower;
    }
    case 'circle': {
      const { row: middle, column: centre, radius } = shutter;
      return (row, column) => (row - middle) ** 2 + (column - centre) ** 2 <= radius ** 2;
    }
    case 'polygon':
      return (row, column) => isInside(shutter.points, column, row);
    case 'bitmap': {
      const { rows, columns, left, top, bits } = shutter.plane;
      return (row, column) => {
        const [y, x] = [row - 1 - top, column - 1 - left];
        return !(y >= 0 && y < rows && x >= 0 && x < columns && bits[y * columns + x] === 1);
      };
    }
    default:
      return shutter satisfies never;
  }
}

/** By the parity of edges crossed; a point on an edge is inside. */
function isInside(points: readonly Point[], x: number, y: number): boolean {
  let inside = false;
  for (const [index, to] of points.entries()) {
    const from = points.at(index - 1) ?? to;
    const cross = (to.x - from.x) * (y - from.y) - (to.y - from.y) * (x - from.x);
    const between =
      Math.min(from.x, to.x) <= x &&
      x <= Math.max(from.x, to.x) &&
      Math.min(from.y, to.y) <= y &&
      y <= Math.max(from.y, to.y);
    if (cross === 0 && between) return true;
    if (from.y > y !== to.y > y && x < ((from.x - to.x) * (y - to.y)) / (from.y - to.y) + to.x) inside = !inside;
  }
  return inside;
}

/** The area cut out; black where it reaches outside the image. */
function displayed(picture: Picture, { left, top, right, bottom }: DisplayedArea): Picture {
  const columns = right - left + 1;
  const rows = bottom - top + 1;
  if (!(columns >= 1 && rows >= 1 && columns * rows <= MOST_PIXELS))
    throw unusable('the displayed area of the presentation state is larger than can be drawn');
  if (left === 1 && top === 1 && columns === picture.columns && rows === picture.rows) return picture;
  const { channels } = picture;
  const bytes = Buffer.alloc(rows * columns * channels);
  const first = Math.max(1, left);
  const last = Math.min(right, picture.columns);
  for (let row = Math.max(1, top); row <= Math.min(bottom, picture.rows) && first <= last; row++) {
    const from = ((row - 1) * picture.columns + first - 1) * channels;
    picture.bytes.copy(
      bytes,
      ((row - top) * columns + first - left) * channels,
      from,
      from + (last - first + 1) * channels,
    );
  }
  return { bytes, rows, columns, channels };
}

function turned(picture: Picture, { rotation, flipped }: SoftcopyState): Picture {
  if (rotation === 0 && !flipped) return picture;
  const { rows, columns, channels } = picture;
  const across = rotation === 90 || rotation === 270;
  const [toRows, toColumns] = across ? [columns, rows] : [rows, columns];
  const bytes = Buffer.allocUnsafe(picture.bytes.length);
  for (let row = 0; row < toRows; row++)
    for (let column = 0; column < toColumns; column++) {
      const x = flipped ? toColumns - 1 - column : column;
      const [fromRow, fromColumn] =
        rotation === 0
          ? [row, x]
          : rotation === 90
            ? [rows - 1 - x, row]
            : rotation === 180
              ? [rows - 1 - row, columns - 1 - x]
              : [x, columns - 1 - row];
      const from = (fromRow * columns + fromColumn) * channels;
      picture.bytes.copy(bytes, (row * toColumns + column) * channels, from, from + channels);
    }
  return { bytes, rows: toRows, columns: toColumns, channels };
}

function sizeOf(
  { area, rotation }: SoftcopyState,
  viewport: Pick<Viewport, 'width' | 'height'> | undefined,
): { width: number; height: number } {
  const straight = { width: area.right - area.left + 1, height: (area.bottom - area.top + 1) * area.pixelAspect };
  const across = rotation === 90 || rotation === 270;
  const { width, height } = across ? { width: straight.height, height: straight.width } : straight;
  const scale =
    area.magnification ??
    (viewport === undefined
      ? Math.max(1, 1 / area.pixelAspect)
      : Math.min(viewport.width / width, viewport.height / height));
  const size = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
  if (!(size.width <= MOST_SIDE && size.height <= MOST_SIDE && size.width * size.height <= MOST_PIXELS))
    throw unusable('the presentation state asks for a larger picture than can be drawn');
  return size;
}

function middleOf(picture: Picture, { width, height }: Pick<Viewport, 'width' | 'height'>): Picture {
  const columns = Math.min(width, picture.columns);
  const rows = Math.min(height, picture.rows);
  const left = 1 + Math.floor((picture.columns - columns) / 2);
  const top = 1 + Math.floor((picture.rows - rows) / 2);
  return displayed(picture, {
    left,
    top,
    right: left + columns - 1,
    bottom: top + rows - 1,
    magnification: undefined,
    pixelAspect: 1,
  });
}

/** From the coordinates of a graphic to pixels of the picture. */
function placing(
  { area, rotation, flipped }: SoftcopyState,
  { columns, rows }: Picture,
): (units: Units, point: Point) => Point {
  const width = area.right - area.left + 1;
  const height = area.bottom - area.top + 1;
  const [across, down] = rotation === 90 || rotation === 270 ? [height, width] : [width, height];
  return (units, point) => {
    if (units === 'display') return { x: point.x * columns, y: point.y * rows };
    const x = point.x - (area.left - 1);
    const y = point.y - (area.top - 1);
    const [u, v] =
      rotation === 0
        ? [x, y]
        : rotation === 90
          ? [height - y, x]
          : rotation === 180
            ? [width - x, height - y]
            : [y, width - x];
    return { x: ((flipped ? across - u : u) * columns) / across, y: (v * rows) / down };
  };
}

async function withGraphics(picture: Picture, state: SoftcopyState): Promise<Picture> {
  const { drawings, letterings } = state;
  if (drawings.length === 0 && letterings.length === 0) return picture;
  const place = placing(state, picture);
  const thickness = letterScale(picture);
  const shapes = drawings.flatMap(({ kind, units, points, filled, colour }) => {
    const placed = points.map((point) => place(units, point));
    return kind === 'points'
      ? placed.map((point) => dot(point, thickness, colour))
      : [line(placed, { thickness, colour, filled })];
  });
  const anchors = letterings.flatMap(({ anchor, box, colour }) =>
    anchor?.visible === true && box !== undefined
      ? [line([middleOfBox(box, place), place(anchor.units, anchor.point)], { thickness, colour, filled: false })]
      : [],
  );
  const painted =
    shapes.length + anchors.length === 0
      ? { ...picture, bytes: Buffer.from(picture.bytes) }
      : await paintOver(picture, svgOf(picture, [...shapes, ...anchors]));
  for (const lettering of letterings) write(painted, lettering, place);
  return painted;
}

type Place = (units: Units, point: Point) => Point;

function middleOfBox({ units, from, to }: NonNullable<Lettering['box']>, place: Place): Point {
  return place(units, { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 });
}

/** Numbers alone come in here, so nothing has to be escaped. */
function svgOf({ columns, rows }: Picture, shapes: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${columns}" height="${rows}">${shapes.join('')}</svg>`;
}

function line(
  points: readonly Point[],
  { thickness, colour, filled }: { thickness: number; colour: Colour; filled: boolean },
): string {
  if (points.length === 0) return '';
  const path = points.map(({ x, y }, index) => `${index === 0 ? 'M' : 'L'}${x.toFixed(2)} ${y.toFixed(2)}`).join('');
  const ink = `rgb(${colour.join()})`;
  const fill = filled ? ink : 'none';
  const rim = `<path d="${path}" fill="none" stroke="#000" stroke-opacity="0.6" stroke-width="${thickness + 2}"/>`;
  return `${rim}<path d="${path}" fill="${fill}" stroke="${ink}" stroke-width="${thickness}"/>`;
}

function dot({ x, y }: Point, thickness: number, colour: Colour): string {
  const radius = 1.5 * thickness;
  return `<circle cx="${x.toFixed(2)}" cy="${y.toFixed(2)}" r="${radius}" fill="rgb(${colour.join()})" stroke="#000" stroke-opacity="0.6"/>`;
}

/** Into its box from the top down, else to the right of its anchor. */
function write(picture: Picture, { lines, colour, box, justification, anchor }: Lettering, place: Place): void {
  const scale = letterScale(picture);
  const [a, b] =
    box === undefined
      ? [anchor === undefined ? { x: 0, y: 0 } : place(anchor.units, anchor.point), undefined]
      : [place(box.units, box.from), place(box.units, box.to)];
  const left = b === undefined ? a.x + 4 * scale : Math.min(a.x, b.x);
  const right = b === undefined ? left : Math.max(a.x, b.x);
  const top = (b === undefined ? a.y : Math.min(a.y, b.y)) + 3 * scale;
  for (const [index, text] of lines.entries()) {
    const width = textWidth(text) * scale;
    const x =
      b === undefined || justification === 'LEFT'
        ? left
        : justification === 'RIGHT'
          ? right - width
          : (left + right - width) / 2;
    writeLabel(picture, { text, left: x, top: top + index * LINE_HEIGHT * scale, scale, colour });
  }
}
