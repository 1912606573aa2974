/**
 * X-ray exposure: a percentile window, then contrast-limited adaptive histogram equalisation (Pizer 1987, Zuiderveld 1994), slice by
 * slice, within the range of the source's own values.
 */
import { Refusal } from '../dicom/refusal.ts';
import { percentiles } from './zoo-figures.ts';
import type { Grid } from './zoo-steps.ts';

const BINS = 1024;

/** Settings of the card: tiles (per side), clipLimit (times the mean count of a bin), lowPercent, highPercent. */
export function enhanceExposure(
  { values, size: [columns, rows, slices] }: Grid,
  settings: Readonly<Record<string, number | string | boolean>>,
): Float32Array {
  const tiles = Math.max(2, numberOf(settings['tiles'], 8));
  const clipLimit = Math.max(1, numberOf(settings['clipLimit'], 3));
  const low = numberOf(settings['lowPercent'], 0.5);
  const high = numberOf(settings['highPercent'], 99.5);
  const out = new Float32Array(values.length);
  const pixels = columns * rows;
  for (let k = 0; k < slices; k++) {
    const slice = values.subarray(k * pixels, (k + 1) * pixels);
    const [from, to] = percentiles(slice, [low, high]);
    if (!(to! > from!)) throw new Refusal('PipelineRefused', 'the image shows nothing: its percentiles do not differ');
    equalise(
      { values: slice, columns, rows, from: from!, to: to! },
      { tiles, clipLimit },
      out.subarray(k * pixels, (k + 1) * pixels),
    );
  }
  return out;
}

function numberOf(value: number | string | boolean | undefined, otherwise: number): number {
  return typeof value === 'number' ? value : otherwise;
}

interface Picture {
  readonly values: Float32Array;
  readonly columns: number;
  readonly rows: number;
  readonly from: number;
  readonly to: number;
}

function equalise(
  picture: Picture,
  { tiles, clipLimit }: { tiles: number; clipLimit: number },
  out: Float32Array,
): void {
  const { values, columns, rows, from, to } = picture;
  const bin = (value: number): number =>
    Math.min(BINS - 1, Math.max(0, Math.floor(((value - from) / (to - from)) * BINS)));
  const across = Math.min(tiles, columns);
  const down = Math.min(tiles, rows);
  const curves: Float32Array[] = [];
  for (let ty = 0; ty < down; ty++) {
    for (let tx = 0; tx < across; tx++) {
      const counts = new Float64Array(BINS);
      const [y0, y1] = [Math.floor((ty * rows) / down), Math.floor(((ty + 1) * rows) / down)];
      const [x0, x1] = [Math.floor((tx * columns) / across), Math.floor(((tx + 1) * columns) / across)];
      for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) counts[bin(values[y * columns + x]!)]!++;
      curves.push(curveOf(counts, (y1 - y0) * (x1 - x0), clipLimit));
    }
  }
  const bins = Uint16Array.from(values, bin);
  for (let y = 0; y < rows; y++) {
    const v = Math.min(down - 1, Math.max(0, ((y + 0.5) * down) / rows - 0.5));
    const top = Math.floor(v);
    const bottom = Math.min(down - 1, top + 1);
    for (let x = 0; x < columns; x++) {
      const u = Math.min(across - 1, Math.max(0, ((x + 0.5) * across) / columns - 0.5));
      const left = Math.floor(u);
      const right = Math.min(across - 1, left + 1);
      const b = bins[y * columns + x]!;
      const upperLeft = curves[top * across + left]![b]!;
      const lowerLeft = curves[bottom * across + left]![b]!;
      const upper = upperLeft + (u - left) * (curves[top * across + right]![b]! - upperLeft);
      const lower = lowerLeft + (u - left) * (curves[bottom * across + right]![b]! - lowerLeft);
      out[y * columns + x] = from + (to - from) * (upper + (v - top) * (lower - upper));
    }
  }
}

/** The equalising curve of a tile: no bin counts more than the limit, what is above is shared out evenly. */
function curveOf(counts: Float64Array, total: number, clipLimit: number): Float32Array {
  const limit = (clipLimit * total) / BINS;
  let excess = 0;
  for (let i = 0; i < BINS; i++) {
    excess += Math.max(0, counts[i]! - limit);
    counts[i] = Math.min(limit, counts[i]!);
  }
  const share = excess / BINS;
  let sum = 0;
  return Float32Array.from(counts, (count) => {
    const before = sum;
    sum += count + share;
    return (before + sum) / 2 / total;
  });
}
