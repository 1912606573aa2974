/** PNG read by hand: independent of what wrote it. */
import { inflateSync } from 'node:zlib';

export interface Png {
  readonly width: number;
  readonly height: number;
  /** 8 bits, pixel after pixel. */
  readonly samples: Buffer;
}

/** A PNG of 8 bits a sample, every filter undone by hand. */
export function readPng(bytes: Buffer): Png {
  const [width, height, colour] = [bytes.readUInt32BE(16), bytes.readUInt32BE(20), bytes[25]];
  const channels = colour === 0 ? 1 : colour === 2 ? 3 : 4;
  const data: Buffer[] = [];
  for (let at = 8; at < bytes.length; at += 12 + bytes.readUInt32BE(at))
    if (bytes.toString('latin1', at + 4, at + 8) === 'IDAT')
      data.push(bytes.subarray(at + 8, at + 8 + bytes.readUInt32BE(at)));
  const raw = inflateSync(Buffer.concat(data));
  const line = width * channels;
  const samples = Buffer.alloc(line * height);
  for (let row = 0; row < height; row++) {
    const filter = raw[row * (line + 1)] ?? 0;
    for (let x = 0; x < line; x++) {
      const left = x >= channels ? (samples[row * line + x - channels] ?? 0) : 0;
      const up = row > 0 ? (samples[(row - 1) * line + x] ?? 0) : 0;
      const corner = row > 0 && x >= channels ? (samples[(row - 1) * line + x - channels] ?? 0) : 0;
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter] ?? 0;
      samples[row * line + x] = (raw[row * (line + 1) + 1 + x] ?? 0) + guess;
    }
  }
  return { width, height, samples };
}

function paeth(left: number, up: number, corner: number): number {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}
