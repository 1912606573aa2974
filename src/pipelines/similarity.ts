/** How alike two images on one grid are, and which part of an image is body rather than background. */
import { at } from './space.ts';

const BINS = 32;

/** Linear map that brings the 0.5th and 99.5th percentile to 0 and 1; what lies beyond is cut. */
export interface Window {
  readonly low: number;
  readonly high: number;
}

export function percentileWindow(voxels: Float32Array): Window {
  const values = voxels.slice();
  const rank = (share: number) => ranked(values, Math.min(values.length - 1, Math.floor(share * values.length)));
  return { low: rank(0.005), high: rank(0.995) };
}

/** The value that sorting would put at `place`; parts the values in place, in linear time. */
function ranked(values: Float32Array, place: number): number {
  let [from, to] = [0, values.length - 1];
  while (from < to) {
    const [a, b, c] = [values[from]!, values[(from + to) >> 1]!, values[to]!];
    const pivot = Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
    // Smaller ones to the left, larger ones to the right, the many equal ones (air) between.
    let [left, here, right] = [from, from, to];
    while (here <= right) {
      const value = values[here]!;
      if (value < pivot) {
        values[here++] = values[left]!;
        values[left++] = value;
      } else if (value > pivot) {
        values[here] = values[right]!;
        values[right--] = value;
      } else here++;
    }
    if (place < left) to = left - 1;
    else if (place > right) from = right + 1;
    else return pivot;
  }
  return at(values, place);
}

export function normalised(voxels: Float32Array, { low, high }: Window): Float32Array {
  const range = high - low;
  return voxels.map((value) => Math.min(1, Math.max(0, (value - low) / range)));
}

/** 1 where a normalised image is above 60 % of Otsu's threshold: body, table and skin, not air. */
export function bodyMask(image: Float32Array): Uint8Array {
  const threshold = 0.6 * otsu(image);
  const mask = new Uint8Array(image.length);
  for (let n = 0; n < image.length; n++) if ((image[n] as number) > threshold) mask[n] = 1;
  return mask;
}

/** Correlation coefficient over the voxels of the mask: 1 = the same up to gain and offset. */
export function ncc(a: Float32Array, b: Float32Array, mask: Uint8Array): number {
  let [n, sa, sb, saa, sbb, sab] = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    if (at(mask, i) === 0) continue;
    const [x, y] = [at(a, i), at(b, i)];
    n += 1;
    sa += x;
    sb += y;
    saa += x * x;
    sbb += y * y;
    sab += x * y;
  }
  const spread = (saa - (sa * sa) / n) * (sbb - (sb * sb) / n);
  return spread > 0 ? (sab - (sa * sb) / n) / Math.sqrt(spread) : 0;
}

/** Normalised mutual information (H(a) + H(b)) / H(a, b) over the mask: 1 = independent, 2 = one determines the other. */
export function nmi(a: Float32Array, b: Float32Array, mask: Uint8Array): number {
  const joint = new Float64Array(BINS * BINS);
  const bin = (value: number) => Math.min(BINS - 1, Math.floor(value * BINS));
  let n = 0;
  for (let i = 0; i < a.length; i++) {
    if (at(mask, i) === 0) continue;
    const cell = bin(at(a, i)) * BINS + bin(at(b, i));
    joint[cell] = at(joint, cell) + 1;
    n += 1;
  }
  const [rows, columns] = [new Float64Array(BINS), new Float64Array(BINS)];
  joint.forEach((count, cell) => {
    const [row, column] = [Math.floor(cell / BINS), cell % BINS];
    rows[row] = at(rows, row) + count;
    columns[column] = at(columns, column) + count;
  });
  const entropy = (counts: Float64Array) =>
    counts.reduce((sum, count) => (count > 0 ? sum - (count / n) * Math.log(count / n) : sum), 0);
  const together = entropy(joint);
  return together > 0 ? (entropy(rows) + entropy(columns)) / together : 1;
}

/** Threshold that best parts a normalised image into two classes (Otsu 1979). */
function otsu(image: Float32Array): number {
  const bins = 256;
  const counts = new Float64Array(bins);
  for (const value of image) {
    const bin = Math.min(bins - 1, Math.floor(value * bins));
    counts[bin] = at(counts, bin) + 1;
  }
  const total = counts.reduce((sum, count, bin) => sum + count * bin, 0);
  let [best, threshold, below, sumBelow] = [-1, 0, 0, 0];
  for (let bin = 0; bin < bins - 1; bin++) {
    below += at(counts, bin);
    sumBelow += at(counts, bin) * bin;
    const above = image.length - below;
    if (below === 0 || above === 0) continue;
    const between = below * above * (sumBelow / below - (total - sumBelow) / above) ** 2;
    if (between > best) [best, threshold] = [between, (bin + 1) / bins];
  }
  return threshold;
}
