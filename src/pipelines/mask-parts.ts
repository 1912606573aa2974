/** Connected parts of masks (faces touch: 4 neighbours in one slice, 6 in a volume), and what tidies masks by them. */
import type { Vector3 } from '../dicom/volume.ts';

/** Voxels of one label, row by row: a volume has far fewer stretches than voxels. */
export interface Parts {
  /** First voxel of each stretch, and the one behind its last, in the order of the voxels. */
  readonly starts: Uint32Array;
  readonly ends: Uint32Array;
  /** Number of the part that each stretch belongs to, from 1 on in the order of their first voxels. */
  readonly numbers: Uint32Array;
  /** Voxels of part 1, 2, ... */
  readonly sizes: readonly number[];
  /** Whether a part reaches the edge of the grid (of its slices, and in a volume its first and last slice). */
  readonly atEdge: readonly boolean[];
}

/** The parts of those voxels that have this label. */
export function partsOf(labels: Uint8Array, size: Vector3, wanted: number): Parts {
  const [nx, ny, nz] = size;
  const { starts, ends, rows } = stretchesOf(labels, size, wanted);
  // Each stretch leads to an earlier one that it touches, the first of a part to itself.
  const leads = new Uint32Array(starts.length);
  for (let n = 0; n < leads.length; n++) leads[n] = n;
  const first = (n: number): number => {
    let at = n;
    while (leads[at] !== at) at = leads[at] = leads[leads[at]!]!;
    return at;
  };
  for (let row = 0; row < ny * nz; row++) {
    if (row % ny > 0) join(row, row - 1);
    if (row >= ny) join(row, row - ny);
  }
  /** Two rows that lie beside each other, whose stretches both rise. */
  function join(row: number, other: number): void {
    const apart = (row - other) * nx;
    let [a, b] = [rows[row]!, rows[other]!];
    const [lastA, lastB] = [rows[row + 1]!, rows[other + 1]!];
    while (a < lastA && b < lastB) {
      const touch = starts[a]! < ends[b]! + apart && starts[b]! + apart < ends[a]!;
      if (touch) {
        const [x, y] = [first(a), first(b)];
        leads[Math.max(x, y)] = Math.min(x, y);
      }
      if (ends[a]! < ends[b]! + apart) a++;
      else b++;
    }
  }
  const numbers = new Uint32Array(starts.length);
  const [sizes, atEdge]: [number[], boolean[]] = [[], []];
  for (let n = 0; n < starts.length; n++) {
    const head = first(n);
    const part = head === n ? sizes.push(0) : numbers[head]!;
    numbers[n] = part;
    const [start, end] = [starts[n]!, ends[n]!];
    const row = Math.floor(start / nx);
    const [i, j, k] = [start - row * nx, row % ny, Math.floor(row / ny)];
    sizes[part - 1]! += end - start;
    const outermost =
      i === 0 || i + end - start === nx || j === 0 || j === ny - 1 || (nz > 1 && (k === 0 || k === nz - 1));
    atEdge[part - 1] = outermost || atEdge[part - 1] === true;
  }
  return { starts, ends, numbers, sizes, atEdge };
}

/** Where the label goes on from voxel to voxel, and the number of the first stretch of each row. */
function stretchesOf(
  labels: Uint8Array,
  [nx, ny, nz]: Vector3,
  wanted: number,
): { starts: Uint32Array; ends: Uint32Array; rows: Uint32Array } {
  let [starts, ends] = [new Uint32Array(1024), new Uint32Array(1024)];
  const rows = new Uint32Array(ny * nz + 1);
  let count = 0;
  for (let row = 0; row < ny * nz; row++) {
    rows[row] = count;
    const behind = (row + 1) * nx;
    for (let at = row * nx; at < behind; at++) {
      if (labels[at] !== wanted) continue;
      if (count === starts.length) [starts, ends] = [twice(starts), twice(ends)];
      starts[count] = at;
      while (at < behind && labels[at] === wanted) at++;
      ends[count++] = at;
    }
  }
  rows[ny * nz] = count;
  return { starts: starts.slice(0, count), ends: ends.slice(0, count), rows };
}

function twice(values: Uint32Array): Uint32Array<ArrayBuffer> {
  const wider = new Uint32Array(values.length * 2);
  wider.set(values);
  return wider;
}

/** Leaves the largest parts of a segment, the rest becomes background. */
export function keepLargest(labels: Uint8Array, size: Vector3, segment: number, most: number): void {
  const { starts, ends, numbers, sizes } = partsOf(labels, size, segment);
  const kept = new Set(
    sizes
      .map((voxels, n) => ({ voxels, part: n + 1 }))
      .sort((a, b) => b.voxels - a.voxels || a.part - b.part)
      .slice(0, most)
      .map(({ part }) => part),
  );
  for (let n = 0; n < starts.length; n++) if (!kept.has(numbers[n]!)) labels.fill(0, starts[n], ends[n]);
}

/** Background that one segment alone encloses becomes that segment. */
export function fillHoles(labels: Uint8Array, size: Vector3): void {
  const [nx, ny, nz] = size;
  const { starts, ends, numbers, sizes, atEdge } = partsOf(labels, size, 0);
  // The one segment around each part of the background; 0: several.
  const around = new Int16Array(sizes.length + 1).fill(-1);
  const slice = nx * ny;
  const look = (part: number, neighbour: number): void => {
    const label = labels[neighbour]!;
    if (label === 0) return;
    around[part] = around[part] === -1 || around[part] === label ? label : 0;
  };
  for (let n = 0; n < starts.length; n++) {
    const part = numbers[n]!;
    if (atEdge[part - 1] === true) continue;
    const [start, end] = [starts[n]!, ends[n]!];
    look(part, start - 1);
    look(part, end);
    for (let at = start; at < end; at++) {
      look(part, at - nx);
      look(part, at + nx);
      if (nz > 1) {
        look(part, at - slice);
        look(part, at + slice);
      }
    }
  }
  for (let n = 0; n < starts.length; n++) {
    const part = numbers[n]!;
    if (atEdge[part - 1] !== true && around[part]! > 0) labels.fill(around[part]!, starts[n], ends[n]);
  }
}
