/** Query parameters of rendered resources and thumbnails, PS3.18 8.3.5. */
import type { IccProfile } from '../codecs/picture.ts';
import type { Window, WindowFunction } from '../codecs/presentation.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { QueryPair } from './exchange.ts';

/** The part of the picture that is shown, in pixels of the picture; undefined: up to its edge. */
export interface ViewportRequest {
  readonly width: number;
  readonly height: number;
  readonly left: number;
  readonly top: number;
  readonly sourceWidth: number | undefined;
  readonly sourceHeight: number | undefined;
  readonly flipHorizontal: boolean;
  readonly flipVertical: boolean;
}

/** Whole pixels of the image, counted from 0. */
export interface Region {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

export interface RenderingRequest {
  readonly viewport: ViewportRequest | undefined;
  /** The part of what a presentation state displays (PS3.18 9.5.2); without a state it is the viewport's. */
  readonly region?: Region;
  readonly window: Window | undefined;
  readonly quality: number;
  readonly iccProfile: IccProfile;
  readonly annotations: readonly Annotation[];
  /** Keywords of `annotation` that say nothing here, in lower case. */
  readonly unsupportedAnnotations: readonly string[];
}

/** PS3.18 8.3.5.1.1. */
export const ANNOTATIONS = ['patient', 'technique'] as const;
export type Annotation = (typeof ANNOTATIONS)[number];

export const ICC_PROFILES: readonly IccProfile[] = ['no', 'yes', 'srgb', 'adobergb', 'rommrgb'];

export const DEFAULT_QUALITY = 90;
export const MOST_PIXELS_A_SIDE = 8192;
const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/;

/** @throws Refusal BadRequest naming the parameter, never its value */
export function readRenderingRequest(query: readonly QueryPair[]): RenderingRequest {
  const quality = single(query, 'quality');
  return {
    viewport: viewportOf(single(query, 'viewport'), false),
    window: windowOf(single(query, 'window')),
    quality: quality === undefined ? DEFAULT_QUALITY : whole(quality, 'quality', 100),
    iccProfile: iccProfileOf(single(query, 'iccprofile')),
    ...annotationsOf(single(query, 'annotation'), 'annotation'),
  };
}

/** A thumbnail knows only the size it is to have (PS3.18 8.3.5.1.3). @throws Refusal BadRequest */
export function readThumbnailViewport(query: readonly QueryPair[]): ViewportRequest | undefined {
  return viewportOf(single(query, 'viewport'), true);
}

export function single(query: readonly QueryPair[], name: string): string | undefined {
  const values = query.filter(([key]) => key === name);
  if (values.length > 1) throw bad(name, 'stands once');
  return values[0]?.[1];
}

function bad(name: string, rule: string): Refusal {
  return new Refusal('BadRequest', `the query parameter ${name} ${rule} (PS3.18 8.3.5.1)`);
}

export function whole(text: string, name: string, most: number): number {
  const number = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (number < 1 || number > most) throw bad(name, `is a whole number from 1 to ${most}`);
  return number;
}

/** `vw,vh[,sx,sy,sw,sh]`; of the source each may be left empty, and what is left empty at the end be left out with its comma. */
function viewportOf(text: string | undefined, sizeOnly: boolean): ViewportRequest | undefined {
  if (text === undefined) return undefined;
  const parts = text.split(',').map((part) => part.trim());
  if (sizeOnly && parts.length !== 2) throw bad('viewport', 'of a thumbnail is width and height');
  if (parts.length < 2 || parts.length > 6) throw bad('viewport', 'is vw,vh or vw,vh,sx,sy,sw,sh');
  const [width = '', height = '', ...source] = parts;
  const [left, top, sourceWidth, sourceHeight] = source.map((part) =>
    part === '' ? undefined : decimal(part, 'viewport'),
  );
  if ((left ?? 0) < 0 || (top ?? 0) < 0 || sourceWidth === 0 || sourceHeight === 0)
    throw bad('viewport', 'begins inside the picture and shows some of it');
  return {
    width: whole(width, 'viewport', MOST_PIXELS_A_SIDE),
    height: whole(height, 'viewport', MOST_PIXELS_A_SIDE),
    left: left ?? 0,
    top: top ?? 0,
    sourceWidth: sourceWidth === undefined ? undefined : Math.abs(sourceWidth),
    sourceHeight: sourceHeight === undefined ? undefined : Math.abs(sourceHeight),
    flipHorizontal: (sourceWidth ?? 0) < 0,
    flipVertical: (sourceHeight ?? 0) < 0,
  };
}

export function decimal(text: string, name: string): number {
  if (!NUMBER.test(text) || !Number.isFinite(Number(text))) throw bad(name, 'is made of decimal numbers');
  return Number(text);
}

const SHAPES: ReadonlySet<string> = new Set<WindowFunction>(['linear', 'linear-exact', 'sigmoid']);

/** `center,width,function`, all three. */
function windowOf(text: string | undefined): Window | undefined {
  if (text === undefined) return undefined;
  const parts = text.split(',').map((part) => part.trim());
  const [center = '', width = '', shape = ''] = parts;
  if (parts.length !== 3 || !SHAPES.has(shape))
    throw bad('window', 'is center,width and linear, linear-exact or sigmoid');
  const window = {
    center: decimal(center, 'window'),
    width: decimal(width, 'window'),
    shape: shape as WindowFunction,
  };
  // PS3.3 C.11.2.1.2: at least 1 for LINEAR, more than 0 for the others.
  if (window.width <= 0 || (shape === 'linear' && window.width < 1))
    throw bad('window', 'has a width of at least 1, for linear-exact and sigmoid more than 0');
  return window;
}

/** PS3.18 8.3.5.1.5. */
function iccProfileOf(text: string | undefined): IccProfile {
  const asked = text ?? 'no';
  const known = ICC_PROFILES.find((name) => name === asked);
  if (known === undefined) throw bad('iccprofile', `is ${ICC_PROFILES.join(', ')}`);
  return known;
}

export function annotationsOf(
  text: string | undefined,
  name: string,
): Pick<RenderingRequest, 'annotations' | 'unsupportedAnnotations'> {
  if (text === undefined) return { annotations: [], unsupportedAnnotations: [] };
  const keywords = text.split(',').map((keyword) => keyword.trim().toLowerCase());
  if (!keywords.every((keyword) => /^[a-z][a-z0-9-]{0,63}$/.test(keyword))) throw bad(name, 'is a list of keywords');
  return {
    annotations: ANNOTATIONS.filter((known) => keywords.includes(known)),
    unsupportedAnnotations: keywords.filter((keyword) => !ANNOTATIONS.some((known) => known === keyword)),
  };
}
