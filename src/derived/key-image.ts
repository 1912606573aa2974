/**
 * Key image: pictures side by side with what was measured, as a Secondary Capture in colour (PS3.3 A.8), so that a person sees at a
 * glance what a run did. Letters come from outside: whoever asks brings the hand that writes them.
 */
import { createHash } from 'node:crypto';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { put } from './attributes.ts';
import { beginObject, finishObject } from './single-object.ts';
import {
  codeItem,
  contentTime,
  derivationText,
  putBodyPart,
  runKey,
  SOURCE_IMAGE,
  type DerivedObject,
  type Provenance,
} from './provenance.ts';
import { commonInstanceReferences, referenceItem, referenceTo } from './references.ts';
import { inheritedLoss, inheritedText } from './inherited.ts';

const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7';

/** A slice in 8 bits, as it is to be seen. */
export interface Panel {
  readonly title: string;
  readonly grey: Uint8Array;
  readonly columns: number;
  readonly rows: number;
  /** Of a pixel, across and down. */
  readonly pixelMm: readonly [number, number];
  /** Outlines over the slice: the number of the region of each pixel, 0 for none, and the regions' colours. */
  readonly outlines?: { readonly labels: Uint8Array; readonly colours: readonly Colour[] };
}

/** Red, green and blue from 0 to 255. */
export type Colour = readonly [number, number, number];

/** A line of text, white unless it says otherwise. */
export interface Line {
  readonly text: string;
  readonly colour: Colour;
}

export interface Canvas {
  readonly bytes: Buffer;
  readonly columns: number;
  readonly rows: number;
  readonly channels: 3;
}

export interface Lettering {
  readonly text: string;
  readonly left: number;
  readonly top: number;
  readonly scale: number;
  readonly colour: Colour;
}

export interface KeyImageRequest {
  readonly source: readonly Head[];
  readonly fixed?: readonly Head[];
  /** From left to right. */
  readonly panels: readonly Panel[];
  /** Under the panels. */
  readonly lines: readonly (string | Line)[];
  /** The first line's colour: green, yellow. */
  readonly outcome: 'pass' | 'warn';
  readonly write: (canvas: Canvas, lettering: Lettering) => void;
  /** From one letter to the next at scale 1, pixels. */
  readonly advance: number;
  readonly provenance: Provenance;
}

/** @throws Refusal PipelineRefused when there is no source */
export function deriveKeyImage(request: KeyImageRequest): DerivedObject {
  const { source, fixed = [], provenance } = request;
  const [first] = source;
  if (first === undefined) throw new Refusal('PipelineRefused', 'the series has no instances');
  const canvas = drawn(request);
  const references = [...source, ...fixed].map(referenceTo);
  const key = runKey('key image', references, provenance);
  const content = createHash('sha256').update(canvas.bytes).digest('hex');
  const { studyInstanceUID } = referenceTo(first);
  const begun = beginObject(first.dataSet, {
    sopClassUID: SECONDARY_CAPTURE,
    modality: 'OT',
    studyInstanceUID,
    key,
    content,
    provenance,
  });
  const { attributes } = begun;
  putBodyPart(attributes, first.dataSet);
  put(attributes, {
    ...contentTime(first.dataSet),
    ConversionType: 'WSD',
    PatientOrientation: '',
    ImageType: ['DERIVED', 'SECONDARY'],
    DerivationDescription: derivationText(provenance),
    SourceImageSequence: source.map((head) => ({
      ...referenceItem(referenceTo(head)),
      PurposeOfReferenceCodeSequence: [codeItem(SOURCE_IMAGE)],
    })),
    // Its own text names nobody (PS3.3 C.7.6.1); what its sources show in their pixels is shown here too.
    BurnedInAnnotation: inheritedText([...source, ...fixed]),
    ...inheritedLoss([...source, ...fixed]),
    ...commonInstanceReferences(studyInstanceUID, references),
    SamplesPerPixel: 3,
    PhotometricInterpretation: 'RGB',
    PlanarConfiguration: 0,
    Rows: canvas.rows,
    Columns: canvas.columns,
    BitsAllocated: 8,
    BitsStored: 8,
    HighBit: 7,
    PixelRepresentation: 0,
  });
  return finishObject(begun, canvas.bytes, { tag: 0x7fe00010, vr: 'OB' });
}

const PANEL_SIDE = 400;
const GAP = 8;
const STRIP = 36;
const LINE = 26;
const SCALE = 2;
const WHITE = [255, 255, 255] as const;
const COLOURS = { pass: [120, 230, 120], warn: [255, 210, 80] } as const;

function drawn({ panels, lines: given, outcome, write, advance }: KeyImageRequest): Canvas {
  const columns = panels.length * (PANEL_SIDE + GAP) + GAP;
  const letters = Math.floor((columns - 2 * GAP) / (advance * SCALE));
  const lines = given.flatMap((line, index) => {
    const own = typeof line === 'string' ? { text: line, colour: index === 0 ? COLOURS[outcome] : WHITE } : line;
    return broken(own.text, letters).map((text) => ({ ...own, text }));
  });
  const rows = STRIP + PANEL_SIDE + GAP + lines.length * LINE + GAP;
  const canvas: Canvas = { bytes: Buffer.alloc(columns * rows * 3, 16), columns, rows, channels: 3 };
  for (const [index, panel] of panels.entries()) {
    const left = GAP + index * (PANEL_SIDE + GAP);
    drawPanel(canvas, panel, left);
    write(canvas, { text: panel.title, left, top: 10, scale: SCALE, colour: WHITE });
  }
  for (const [index, line] of lines.entries()) {
    const top = STRIP + PANEL_SIDE + GAP + index * LINE + 6;
    write(canvas, { ...line, left: GAP, top, scale: SCALE });
  }
  return canvas;
}

/** Lines of at most so many letters, broken between words; a word that is longer is broken where it has to be. */
function broken(text: string, letters: number): string[] {
  const lines: string[] = [];
  let rest = text;
  while (rest.length > letters) {
    const space = rest.lastIndexOf(' ', letters);
    const end = space > 0 ? space : letters;
    lines.push(rest.slice(0, end));
    rest = rest.slice(end).trimStart();
  }
  return [...lines, rest];
}

/** In true proportion, as large as its square allows, between pixels linear. */
function drawPanel(canvas: Canvas, { grey, columns, rows, pixelMm, outlines }: Panel, left: number): void {
  const [wide, high] = [columns * pixelMm[0], rows * pixelMm[1]];
  const scale = PANEL_SIDE / Math.max(wide, high);
  const [width, height] = [Math.max(1, Math.round(wide * scale)), Math.max(1, Math.round(high * scale))];
  const [offsetX, offsetY] = [left + ((PANEL_SIDE - width) >> 1), STRIP + ((PANEL_SIDE - height) >> 1)];
  for (let y = 0; y < height; y++) {
    const v = Math.min(rows - 1, Math.max(0, ((y + 0.5) * rows) / height - 0.5));
    for (let x = 0; x < width; x++) {
      const u = Math.min(columns - 1, Math.max(0, ((x + 0.5) * columns) / width - 0.5));
      const at = 3 * ((offsetY + y) * canvas.columns + offsetX + x);
      canvas.bytes.fill(linear(grey, columns, rows, u, v), at, at + 3);
    }
  }
  if (outlines === undefined) return;
  const label = (x: number, y: number): number => {
    if (x < 0 || y < 0 || x >= width || y >= height) return 0;
    const [i, j] = [Math.floor(((x + 0.5) * columns) / width), Math.floor(((y + 0.5) * rows) / height)];
    return outlines.labels[j * columns + i] ?? 0;
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = label(x, y);
      const colour = outlines.colours[here - 1];
      if (colour === undefined) continue;
      // Two pixels of the canvas wide.
      const within = OUTLINE.every(([across, down]) => label(x + across, y + down) === here);
      if (!within) canvas.bytes.set(colour, 3 * ((offsetY + y) * canvas.columns + offsetX + x));
    }
  }
}

const OUTLINE = [
  [-2, 0],
  [2, 0],
  [0, -2],
  [0, 2],
  [-1, 0],
  [1, 0],
  [0, -1],
  [0, 1],
] as const;

function linear(grey: Uint8Array, columns: number, rows: number, u: number, v: number): number {
  const [i, j] = [Math.floor(u), Math.floor(v)];
  const [nextI, nextJ] = [Math.min(i + 1, columns - 1), Math.min(j + 1, rows - 1)];
  const [a, b] = [u - i, v - j];
  const at = (x: number, y: number): number => grey[y * columns + x] ?? 0;
  return Math.round(
    (1 - b) * ((1 - a) * at(i, j) + a * at(nextI, j)) + b * ((1 - a) * at(i, nextJ) + a * at(nextI, nextJ)),
  );
}
