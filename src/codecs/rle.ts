/** RLE Lossless, PS3.5 annex G: one segment for each byte of each sample, the most significant byte first. */
import { frameBytes, unusable, type ImageLayout } from './image.ts';

const HEADER_BYTES = 64;
const MOST_SEGMENTS = 15;

/** Native little-endian, pixel after pixel. @throws Refusal NotAcceptable when a segment is missing, short or reaches outside */
export function decodeRle(bytes: Buffer, layout: ImageLayout): Buffer {
  const { samplesPerPixel, bitsAllocated } = layout;
  if (bitsAllocated % 8 !== 0) throw unusable('RLE Lossless has no form for single bits (PS3.5 G.2)');
  const bytesPerSample = bitsAllocated / 8;
  const segments = segmentsOf(bytes, samplesPerPixel * bytesPerSample);
  const frame = Buffer.alloc(frameBytes(layout));
  const pixelBytes = samplesPerPixel * bytesPerSample;
  for (const [index, segment] of segments.entries()) {
    const sample = Math.floor(index / bytesPerSample);
    const byte = bytesPerSample - 1 - (index % bytesPerSample);
    decodeSegment(segment, frame, sample * bytesPerSample + byte, pixelBytes);
  }
  return frame;
}

function segmentsOf(bytes: Buffer, count: number): Buffer[] {
  if (bytes.length < HEADER_BYTES) throw unusable(`the RLE header has ${bytes.length} bytes; it needs ${HEADER_BYTES}`);
  const found = bytes.readUInt32LE(0);
  if (found !== count) throw unusable(`the RLE frame has ${found} segments; this image needs ${count}`);
  const offsets = Array.from({ length: count }, (_, index) => bytes.readUInt32LE(4 + 4 * index));
  return offsets.map((start, index) => {
    const end = offsets[index + 1] ?? bytes.length;
    if (start < HEADER_BYTES || start >= end || end > bytes.length)
      throw unusable(`RLE segment ${index + 1} lies outside the ${bytes.length} bytes of the frame`);
    return bytes.subarray(start, end);
  });
}

/** Writes every `step`th byte from `start`, PackBits as PS3.5 G.3 has it; what is behind the last pixel is padding. */
function decodeSegment(segment: Buffer, frame: Buffer, start: number, step: number): void {
  let to = start;
  let at = 0;
  while (to < frame.length) {
    const control = segment[at++];
    if (control === undefined) throw unusable('an RLE segment ends before the last pixel');
    if (control === 128) continue;
    if (control < 128) {
      const end = at + control + 1;
      if (end > segment.length) throw unusable('an RLE segment ends inside a run');
      for (; at < end && to < frame.length; at++, to += step) frame[to] = segment[at] ?? 0;
    } else {
      const value = segment[at++];
      if (value === undefined) throw unusable('an RLE segment ends inside a run');
      for (let left = 257 - control; left > 0 && to < frame.length; left--, to += step) frame[to] = value;
    }
  }
}

/** @param frame native little-endian, pixel after pixel */
export function encodeRle(frame: Buffer, layout: ImageLayout): Buffer {
  const { rows, columns, samplesPerPixel, bitsAllocated } = layout;
  const bytesPerSample = bitsAllocated / 8;
  const count = samplesPerPixel * bytesPerSample;
  if (bitsAllocated % 8 !== 0 || count > MOST_SEGMENTS) throw unusable('RLE Lossless has no form for this image');
  const plane = Buffer.allocUnsafe(rows * columns);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(count, 0);
  const parts: Buffer[] = [header];
  let offset = HEADER_BYTES;
  for (let index = 0; index < count; index++) {
    const sample = Math.floor(index / bytesPerSample);
    const byte = bytesPerSample - 1 - (index % bytesPerSample);
    for (let pixel = 0, from = sample * bytesPerSample + byte; pixel < plane.length; pixel++, from += count)
      plane[pixel] = frame[from] ?? 0;
    header.writeUInt32LE(offset, 4 + 4 * index);
    const segment = encodeSegment(plane, columns);
    parts.push(segment);
    offset += segment.length;
  }
  return Buffer.concat(parts);
}

/** PS3.5 G.3.1: each row by itself; segments of even length. */
function encodeSegment(plane: Buffer, columns: number): Buffer {
  const packed = Buffer.allocUnsafe(
    plane.length + Math.ceil(plane.length / columns) * (Math.ceil(columns / 128) + 1) + 1,
  );
  let to = 0;
  for (let row = 0; row < plane.length; row += columns) {
    const end = row + columns;
    let at = row;
    while (at < end) {
      const run = runAt(plane, at, Math.min(end, at + 128));
      if (run >= 2) {
        packed[to++] = 257 - run;
        packed[to++] = plane[at] ?? 0;
        at += run;
        continue;
      }
      const start = at;
      const most = Math.min(end, start + 128);
      // A run of two inside literals costs as much as it saves.
      while (at < most && runAt(plane, at, Math.min(end, at + 3)) < 3) at++;
      packed[to++] = at - start - 1;
      to += plane.copy(packed, to, start, at);
    }
  }
  if (to % 2 === 1) packed[to++] = 0;
  return Buffer.from(packed.subarray(0, to));
}

function runAt(plane: Buffer, start: number, end: number): number {
  let at = start + 1;
  while (at < end && plane[at] === plane[start]) at++;
  return at - start;
}
