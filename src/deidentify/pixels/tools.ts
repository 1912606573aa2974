/** What cleaning pixels needs from other rooms of the house; the gateway hands it in. */
import type { ImageLayout } from '../../dicom/image-layout.ts';
import type { DeviceRule } from './devices.ts';

/** Pixels from left and top up to, not including, right and bottom. */
export interface Box {
  readonly left: number;
  readonly top: number;
  readonly right: number;
  readonly bottom: number;
}

/** Finds burned-in text. The pixels (0 to 255, row by row) are the detector's from then on. */
export type TextDetector = (grey: Uint8Array, rows: number, columns: number) => Promise<readonly Box[]>;

export interface DecodedFrame {
  readonly bytes: Buffer;
  readonly layout: ImageLayout;
}

export interface PixelTools {
  readonly findText: TextDetector;
  /** A native frame, pixel after pixel in little endian, and what it is then. @throws Refusal NotAcceptable */
  readonly decode: (frame: Buffer, layout: ImageLayout, transferSyntaxUID: string) => Promise<DecodedFrame>;
  /** Without loss. @throws Refusal NotAcceptable where the syntax has no lossless form or none for this image */
  readonly encode: (frame: DecodedFrame, transferSyntaxUID: string) => Promise<Buffer>;
  /** A JPEG frame with every MCU blanked that a box touches, the others as they were. @throws Refusal NotAcceptable */
  readonly blankJpeg: (frame: Buffer, layout: ImageLayout, boxes: readonly Box[]) => Promise<Buffer>;
  /** By the file name that profiles use. */
  readonly deviceRules: ReadonlyMap<string, readonly DeviceRule[]>;
  /** For what does not fit into memory; encrypted. */
  readonly spoolFolder: string;
}

/** The part of the box that lies in the image; undefined when there is none. */
export function clipped(box: Box, { rows, columns }: Pick<ImageLayout, 'rows' | 'columns'>): Box | undefined {
  const inside = {
    left: Math.max(0, Math.floor(box.left)),
    top: Math.max(0, Math.floor(box.top)),
    right: Math.min(columns, Math.ceil(box.right)),
    bottom: Math.min(rows, Math.ceil(box.bottom)),
  };
  return inside.left < inside.right && inside.top < inside.bottom ? inside : undefined;
}

/** Everything outside of the boxes, as boxes: bands of rows between their upper and lower edges. */
export function outsideOf(boxes: readonly Box[], { rows, columns }: Pick<ImageLayout, 'rows' | 'columns'>): Box[] {
  const edges = [...new Set([0, rows, ...boxes.flatMap(({ top, bottom }) => [top, bottom])])].sort((a, b) => a - b);
  const outside: Box[] = [];
  for (const [index, top] of edges.entries()) {
    const bottom = edges[index + 1];
    if (bottom === undefined) break;
    let from = 0;
    const across = boxes.filter((box) => box.top <= top && box.bottom >= bottom).sort((a, b) => a.left - b.left);
    for (const { left, right } of across) {
      if (left > from) outside.push({ left: from, top, right: left, bottom });
      from = Math.max(from, right);
    }
    if (from < columns) outside.push({ left: from, top, right: columns, bottom });
  }
  return outside;
}
