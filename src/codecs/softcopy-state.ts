/**
 * A softcopy presentation state as plain data for one frame of one image (PS3.3 A.33, PS3.4 annex N): what of it is about this frame,
 * its grey and its spatial transformations, shutters, overlays and graphics. Coordinates are those of the standard.
 */
import {
  asciiValue,
  findElement,
  itemsOf,
  numberValue,
  numberValues,
  textValue,
  valueBytes,
  characterSetOf,
  type DataSet,
} from '../dicom/data-set.ts';
import { unusable, type ImageLayout } from './image.ts';
import { lookupTable, presentationOf, windowOf, type Presentation } from './presentation.ts';
import type { Colour } from './lettering.ts';

export const GRAYSCALE_STATE = '1.2.840.10008.5.1.4.1.1.11.1';
export const COLOUR_STATE = '1.2.840.10008.5.1.4.1.1.11.2';
/** All of them, drawn or not: pseudo-colour, blending, XA/XRF, planar and volumetric ones. */
export function isPresentationState(sopClassUID: string): boolean {
  return sopClassUID.startsWith('1.2.840.10008.5.1.4.1.1.11.');
}

/** @throws Refusal NotAcceptable for a kind of presentation state that is not drawn */
export function refuseUndrawn(sopClassUID: string): void {
  if (sopClassUID !== GRAYSCALE_STATE && sopClassUID !== COLOUR_STATE)
    throw unusable('of presentation states Grayscale and Color Softcopy ones are drawn; this is another kind');
}

export interface ImageReference {
  readonly sopInstanceUID: string;
  /** Undefined: all of them. */
  readonly frames: readonly number[] | undefined;
}

/** Which images the state is for (PS3.3 C.11.11). */
export function referencedImages(state: DataSet): ImageReference[] {
  return itemsOf(state, 0x00081115).flatMap((series) =>
    itemsOf(series, 0x00081140).map((image) => ({
      sopInstanceUID: asciiValue(image, 0x00081155) ?? '',
      frames: framesOf(image),
    })),
  );
}

function framesOf(image: DataSet): number[] | undefined {
  const frames = numberValues(image, 0x00081160);
  return frames.length === 0 ? undefined : frames;
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** `pixel`: 0\0 is the upper left corner of the first pixel; `display`: parts of the displayed area (PS3.3 C.10.5.1). */
export type Units = 'pixel' | 'display';

export interface Drawing {
  readonly kind: 'points' | 'line';
  readonly units: Units;
  readonly points: readonly Point[];
  readonly filled: boolean;
  readonly colour: Colour;
}

export interface Lettering {
  readonly lines: readonly string[];
  readonly colour: Colour;
  readonly box: { readonly units: Units; readonly from: Point; readonly to: Point } | undefined;
  readonly justification: 'LEFT' | 'CENTER' | 'RIGHT';
  readonly anchor: { readonly units: Units; readonly point: Point; readonly visible: boolean } | undefined;
}

export type Shutter =
  | {
      readonly kind: 'rectangle';
      readonly left: number;
      readonly right: number;
      readonly upper: number;
      readonly lower: number;
    }
  | { readonly kind: 'circle'; readonly row: number; readonly column: number; readonly radius: number }
  | { readonly kind: 'polygon'; readonly points: readonly Point[] }
  /** Set bits are covered. */
  | { readonly kind: 'bitmap'; readonly plane: Plane };

/** A plane of bits; `left` and `top` from 0 in pixels of the image. */
export interface Plane {
  readonly rows: number;
  readonly columns: number;
  readonly left: number;
  readonly top: number;
  readonly bits: Uint8Array;
}

export interface DisplayedArea {
  /** First and last pixel, counted from 1; they may lie outside the image. */
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
  /** Pixels of the screen a column: undefined to fit. */
  readonly magnification: number | undefined;
  /** Height of a pixel as a part of its width. */
  readonly pixelAspect: number;
}

export interface SoftcopyState {
  /** Clockwise, before the flip (PS3.3 C.10.6). */
  readonly rotation: 0 | 90 | 180 | 270;
  readonly flipped: boolean;
  readonly area: DisplayedArea;
  readonly shutters: readonly Shutter[];
  readonly shutterColour: Colour;
  readonly overlays: readonly { readonly plane: Plane; readonly colour: Colour }[];
  /** In the order of their layers. */
  readonly drawings: readonly Drawing[];
  readonly letterings: readonly Lettering[];
}

/** The image a state is put on. */
export interface Subject {
  readonly dataSet: DataSet;
  readonly layout: ImageLayout;
  readonly sopInstanceUID: string;
  /** Counted from 1. */
  readonly frame: number;
}

/** @throws Refusal NotAcceptable for what cannot be drawn as the state says */
export function readState(state: DataSet, subject: Subject): SoftcopyState {
  if (itemsOf(state, 0x00286100).length > 0 || asciiValue(state, 0x00281090) === 'SUB')
    throw unusable('presentation states that subtract a mask are not drawn');
  const layers = layersOf(state);
  const annotations = itemsOf(state, 0x00700001)
    .filter((item) => isAbout(item, subject))
    .map((item) => ({ item, layer: layers.get(asciiValue(item, 0x00700002) ?? '') }))
    .sort((a, b) => (a.layer?.order ?? 0) - (b.layer?.order ?? 0));
  const rotation = numberValue(state, 0x00700042) ?? 0;
  if (rotation !== 0 && rotation !== 90 && rotation !== 180 && rotation !== 270)
    throw unusable(`Image Rotation (0070,0042) is ${rotation}; 0, 90, 180 or 270 are defined`);
  const overlays = overlaysOf(state, subject, layers);
  return {
    rotation,
    flipped: asciiValue(state, 0x00700041) === 'Y',
    area: areaOf(state, subject),
    ...shuttersOf(state, subject),
    overlays,
    drawings: annotations.flatMap(({ item, layer }) =>
      itemsOf(item, 0x00700009).flatMap((graphic) => drawingOf(graphic, layer?.colour ?? DEFAULT_COLOUR)),
    ),
    letterings: annotations.flatMap(({ item, layer }) =>
      itemsOf(item, 0x00700008).map((text) => letteringOf(state, text, layer?.colour ?? DEFAULT_COLOUR)),
    ),
  };
}

function isAbout(item: DataSet, { sopInstanceUID, frame }: Subject): boolean {
  const images = itemsOf(item, 0x00081140);
  return (
    images.length === 0 ||
    images.some(
      (image) => asciiValue(image, 0x00081155) === sopInstanceUID && framesOf(image)?.includes(frame) !== false,
    )
  );
}

/**
 * The grey pipeline: the state alone speaks, what it leaves out is the identity, whatever the image says (PS3.4 N.2.1). Of a colour
 * image nothing changes.
 */
export function presentationUnder(state: DataSet, subject: Subject, pixelDataTag: number | undefined): Presentation {
  const { dataSet, layout, frame } = subject;
  const own = presentationOf(dataSet, frame, pixelDataTag);
  if (layout.samplesPerPixel > 1 || own.palette !== undefined) return own;
  const [modalityItem] = itemsOf(state, 0x00283000);
  const modalityTable = modalityItem && lookupTable(modalityItem, 0x00283002, 0x00283006, layout.signed);
  const slope = numberValue(state, 0x00281053) || 1;
  const intercept = numberValue(state, 0x00281052) ?? 0;
  const voi = itemsOf(state, 0x00283110).find((item) => isAbout(item, subject));
  const [voiItem] = voi === undefined ? [] : itemsOf(voi, 0x00283010);
  const voiTable = voiItem && lookupTable(voiItem, 0x00283002, 0x00283006, true);
  const [shaping] = itemsOf(state, 0x20500010);
  const presentationTable = shaping && lookupTable(shaping, 0x00283002, 0x00283006, false);
  const range = modalityTable === undefined ? storedRange(layout) : ([0, 2 ** modalityTable.bits - 1] as const);
  const [low, high] =
    modalityTable === undefined ? range.map((value) => value * slope + intercept).sort((a, b) => a - b) : range;
  const whole = {
    center: ((low ?? 0) + (high ?? 0)) / 2,
    width: Math.max(1, (high ?? 0) - (low ?? 0)),
    shape: 'linear-exact',
  } as const;
  return {
    ...own,
    slope,
    intercept,
    modalityTable,
    voiTable,
    window: (voi && windowOf(voi)) ?? (voiTable === undefined ? whole : undefined),
    inverse: asciiValue(state, 0x20500020) === 'INVERSE',
    ...(presentationTable === undefined ? {} : { presentationTable }),
  };
}

function storedRange({ signed, bitsStored }: ImageLayout): readonly [number, number] {
  return signed ? [-(2 ** (bitsStored - 1)), 2 ** (bitsStored - 1) - 1] : [0, 2 ** bitsStored - 1];
}

const WHOLE_PIXEL_MM = 25.4 / 96;

function areaOf(state: DataSet, subject: Subject): DisplayedArea {
  const { rows, columns } = subject.layout;
  const item = itemsOf(state, 0x0070005a).find((one) => isAbout(one, subject));
  const own = presentationOf(subject.dataSet, subject.frame).pixelAspect;
  if (item === undefined)
    return { left: 1, top: 1, right: columns, bottom: rows, magnification: undefined, pixelAspect: own };
  const [x0 = 1, y0 = 1] = numberValues(item, 0x00700052);
  const [x1 = columns, y1 = rows] = numberValues(item, 0x00700053);
  const spacing = numberValues(item, 0x00700101);
  const ratio = numberValues(item, 0x00700102);
  const [vertical = 1, horizontal = 1] =
    [spacing, ratio].find((pair) => pair.length === 2 && pair.every((size) => size > 0)) ?? [];
  const mode = asciiValue(item, 0x00700100) ?? 'SCALE TO FIT';
  if (mode === 'TRUE SIZE' && spacing.length !== 2)
    throw unusable('the presentation state asks for true size and does not say how large a pixel is');
  // The corners are those of the turned picture.
  return {
    left: Math.min(x0, x1),
    right: Math.max(x0, x1),
    top: Math.min(y0, y1),
    bottom: Math.max(y0, y1),
    magnification:
      mode === 'MAGNIFY'
        ? (numberValue(item, 0x00700103) ?? 1)
        : mode === 'TRUE SIZE'
          ? horizontal / WHOLE_PIXEL_MM
          : undefined,
    pixelAspect: vertical / horizontal,
  };
}

function shuttersOf(state: DataSet, subject: Subject): Pick<SoftcopyState, 'shutters' | 'shutterColour'> {
  const shapes = (asciiValue(state, 0x00181600) ?? '').split('\\').map((shape) => shape.trim());
  const edge = (tag: number): number => numberValue(state, tag) ?? NaN;
  const shutters: Shutter[] = [];
  for (const shape of shapes) {
    if (shape === 'RECTANGULAR')
      shutters.push({
        kind: 'rectangle',
        left: edge(0x00181602),
        right: edge(0x00181604),
        upper: edge(0x00181606),
        lower: edge(0x00181608),
      });
    else if (shape === 'CIRCULAR') {
      const [row = NaN, column = NaN] = numberValues(state, 0x00181610);
      shutters.push({ kind: 'circle', row, column, radius: edge(0x00181612) });
    } else if (shape === 'POLYGONAL')
      shutters.push({ kind: 'polygon', points: pairs(numberValues(state, 0x00181620)).map(([y, x]) => ({ x, y })) });
    else if (shape === 'BITMAP') {
      const plane = planeOf(state, subject, numberValue(state, 0x00181623) ?? 0x6000);
      if (plane === undefined) throw unusable('the overlay that is the shutter is missing');
      shutters.push({ kind: 'bitmap', plane });
    }
  }
  const lab = numberValues(state, 0x00181624);
  const grey = Math.round((numberValue(state, 0x00181622) ?? 0) / 257);
  return { shutters, shutterColour: lab.length === 3 ? fromLab(lab) : [grey, grey, grey] };
}

interface Layer {
  readonly order: number;
  readonly colour: Colour;
}

const DEFAULT_COLOUR: Colour = [255, 255, 255];

function layersOf(state: DataSet): Map<string, Layer> {
  return new Map(
    itemsOf(state, 0x00700060).map((item) => {
      const lab = numberValues(item, 0x00700401);
      const grey = numberValue(item, 0x00700066);
      const value = grey === undefined ? 255 : Math.round(grey / 257);
      const colour: Colour = lab.length === 3 ? fromLab(lab) : [value, value, value];
      return [asciiValue(item, 0x00700002) ?? '', { order: numberValue(item, 0x00700062) ?? 0, colour }];
    }),
  );
}

/** Overlays that the state activates, its own or the image's (PS3.3 C.11.7). */
function overlaysOf(state: DataSet, subject: Subject, layers: ReadonlyMap<string, Layer>): SoftcopyState['overlays'] {
  const overlays: { plane: Plane; colour: Colour }[] = [];
  for (let group = 0x6000; group <= 0x601e; group += 2) {
    const layer = asciiValue(state, ((group << 16) | 0x1001) >>> 0);
    if (layer === undefined) continue;
    const plane = planeOf(state, subject, group);
    if (plane !== undefined) overlays.push({ plane, colour: layers.get(layer)?.colour ?? DEFAULT_COLOUR });
  }
  return overlays;
}

function planeOf(state: DataSet, { dataSet: image, frame }: Subject, group: number): Plane | undefined {
  const at = (element: number): number => ((group << 16) | element) >>> 0;
  const source = findElement(state, at(0x3000)) === undefined ? image : state;
  const data = findElement(source, at(0x3000));
  const rows = numberValue(source, at(0x0010)) ?? 0;
  const columns = numberValue(source, at(0x0011)) ?? 0;
  if (data === undefined || rows < 1 || columns < 1) return undefined;
  const frames = numberValue(source, at(0x0015)) ?? 1;
  const first = numberValue(source, at(0x0051)) ?? 1;
  const index = frames > 1 ? frame - first : 0;
  if (index < 0 || index >= frames) return undefined;
  const bytes = valueBytes(source, data);
  const count = rows * columns;
  const start = index * count;
  // Before memory is taken for what the numbers say.
  if (bytes.length * 8 < start + count) return undefined;
  const bits = new Uint8Array(count);
  for (let bit = 0; bit < count; bit++) bits[bit] = ((bytes[(start + bit) >> 3] ?? 0) >> ((start + bit) & 7)) & 1;
  const [top = 1, left = 1] = numberValues(source, at(0x0050));
  return { rows, columns, left: left - 1, top: top - 1, bits };
}

function unitsOf(value: string | undefined): Units {
  if (value === 'MATRIX') throw unusable('graphics in the coordinates of a whole slide are not drawn');
  return value === 'DISPLAY' ? 'display' : 'pixel';
}

/** Steps of a round outline. */
const STEPS = 72;

function drawingOf(graphic: DataSet, layerColour: Colour): Drawing[] {
  const units = unitsOf(asciiValue(graphic, 0x00700005));
  const points = pairs(numberValues(graphic, 0x00700022)).map(([x, y]) => ({ x, y }));
  const [style] = itemsOf(graphic, 0x00700232);
  const lab = style === undefined ? [] : numberValues(style, 0x00700251);
  const own = { units, colour: lab.length === 3 ? fromLab(lab) : layerColour };
  const filled = asciiValue(graphic, 0x00700024) === 'Y';
  switch (asciiValue(graphic, 0x00700023)) {
    case 'POINT':
      return [{ ...own, kind: 'points', points, filled: true }];
    case 'POLYLINE':
      return [{ ...own, kind: 'line', points, filled }];
    case 'INTERPOLATED':
      return [{ ...own, kind: 'line', points: interpolated(points), filled }];
    case 'CIRCLE': {
      const [centre, edge] = points;
      if (centre === undefined || edge === undefined) return [];
      const radius = Math.hypot(edge.x - centre.x, edge.y - centre.y);
      return [{ ...own, kind: 'line', filled, points: outline(centre, { x: radius, y: 0 }, { x: 0, y: radius }) }];
    }
    case 'ELLIPSE': {
      const [a, b, c, d] = points;
      if (a === undefined || b === undefined || c === undefined || d === undefined) return [];
      const centre = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
      const half = (from: Point, to: Point): Point => ({ x: (to.x - from.x) / 2, y: (to.y - from.y) / 2 });
      return [{ ...own, kind: 'line', filled, points: outline(centre, half(a, b), half(c, d)) }];
    }
    default:
      throw unusable('the presentation state has a graphic of a kind that PS3.3 C.10.5 does not define');
  }
}

function outline(centre: Point, major: Point, minor: Point): Point[] {
  return Array.from({ length: STEPS + 1 }, (_, step) => {
    const angle = (2 * Math.PI * (step % STEPS)) / STEPS;
    const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
    return { x: centre.x + major.x * cosine + minor.x * sine, y: centre.y + major.y * cosine + minor.y * sine };
  });
}

/** A smooth line through all points (Catmull-Rom); closed when it ends where it begins. */
function interpolated(points: readonly Point[]): Point[] {
  const [first] = points;
  const last = points.at(-1);
  if (first === undefined || last === undefined || points.length < 3) return [...points];
  const closed = first.x === last.x && first.y === last.y;
  const at = (index: number): Point => {
    const count = points.length - 1;
    const wrapped = closed ? (index + count) % count : Math.min(count, Math.max(0, index));
    return points[wrapped] ?? first;
  };
  const smooth: Point[] = [];
  for (let index = 0; index + 1 < points.length; index++) {
    const [p0, p1, p2, p3] = [at(index - 1), points[index] ?? first, points[index + 1] ?? last, at(index + 2)];
    for (let step = 0; step < 12; step++) {
      const t = step / 12;
      const blend = (a: number, b: number, c: number, d: number): number =>
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t * t + (3 * b - a - 3 * c + d) * t * t * t);
      smooth.push({ x: blend(p0.x, p1.x, p2.x, p3.x), y: blend(p0.y, p1.y, p2.y, p3.y) });
    }
  }
  return [...smooth, last];
}

function letteringOf(state: DataSet, text: DataSet, layerColour: Colour): Lettering {
  const [style] = itemsOf(text, 0x00700231);
  const lab = style === undefined ? [] : numberValues(style, 0x00700241);
  const point = (tag: number): Point | undefined => {
    const [x, y] = numberValues(text, tag);
    return x === undefined || y === undefined ? undefined : { x, y };
  };
  const [from, to, anchor] = [point(0x00700010), point(0x00700011), point(0x00700014)];
  const justification = asciiValue(text, 0x00700012);
  return {
    lines: (textValue(text, 0x00700006, characterSetOf(text, characterSetOf(state))) ?? '').split(/\r\n|\r|\n/),
    colour: lab.length === 3 ? fromLab(lab) : layerColour,
    box: from && to && { units: unitsOf(asciiValue(text, 0x00700003)), from, to },
    justification: justification === 'CENTER' || justification === 'RIGHT' ? justification : 'LEFT',
    anchor: anchor && {
      units: unitsOf(asciiValue(text, 0x00700004)),
      point: anchor,
      visible: asciiValue(text, 0x00700015) === 'Y',
    },
  };
}

function pairs(values: readonly number[]): (readonly [number, number])[] {
  const found: (readonly [number, number])[] = [];
  for (let at = 0; at + 1 < values.length; at += 2) found.push([values[at] ?? 0, values[at + 1] ?? 0]);
  return found;
}

/** PS3.3 C.10.7.1.1: L* from 0 to 100, a* and b* from -128 to 127, each in 16 bits; D50 to sRGB. */
function fromLab(encoded: readonly number[]): Colour {
  const [lightness, a, b] = [
    ((encoded[0] ?? 0) / 65_535) * 100,
    ((encoded[1] ?? 0) / 65_535) * 255 - 128,
    ((encoded[2] ?? 0) / 65_535) * 255 - 128,
  ];
  const fy = (lightness + 16) / 116;
  const root = (f: number): number => (f > 6 / 29 ? f ** 3 : 3 * (6 / 29) ** 2 * (f - 4 / 29));
  const [x, y, z] = [0.964_2 * root(fy + a / 500), root(fy), 0.824_9 * root(fy - b / 200)];
  const byte = (linear: number): number => {
    const part = linear <= 0.003_130_8 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
    return Math.round(255 * Math.min(1, Math.max(0, part)));
  };
  return [
    byte(3.134_05 * x - 1.617_03 * y - 0.490_75 * z),
    byte(-0.978_76 * x + 1.916_05 * y + 0.033_44 * z),
    byte(0.071_95 * x - 0.228_97 * y + 1.405_38 * z),
  ];
}
