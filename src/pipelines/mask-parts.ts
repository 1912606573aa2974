/** Connected parts of masks (faces touch: 4 neighbours in one slice, 6 in a volume), and what tidies masks by them. */
import type { Vector3 } from '../dicom/volume.ts';

export interface Parts {
  /** Number of the part of each voxel, 0 where the mask is not. */
  readonly numbers: Uint32Array;
  /** Voxels of part 1, 2, ... */
  readonly sizes: readonly number[];
  /** Whether a part reaches the edge of the grid (of its slices, and in a volume its first and last slice). */
  readonly atEdge: readonly boolean[];
}

/** The parts of those voxels that have this label. */
export function partsOf(labels: Uint8Array, [nx, ny, nz]: Vector3, wanted: number): Parts {
  const numbers = new Uint32Array(labels.length);
  const sizes: number[] = [];
  const atEdge: boolean[] = [];
  const slice = nx * ny;
  let stack = new Uint32Array(1024);
  for (let start = 0; start < labels.length; start++) {
    if (labels[start] !== wanted || numbers[start] !== 0) continue;
    const part = sizes.length + 1;
    let [count, edge, top] = [0, false, 0];
    numbers[start] = part;
    stack[top++] = start;
    while (top > 0) {
      const at = stack[--top]!;
      count++;
      const [i, j, k] = [at % nx, Math.floor((at % slice) / nx), Math.floor(at / slice)];
      edge ||= i === 0 || j === 0 || i === nx - 1 || j === ny - 1 || (nz > 1 && (k === 0 || k === nz - 1));
      if (top + 6 > stack.length) {
        const wider = new Uint32Array(stack.length * 2);
        wider.set(stack);
        stack = wider;
      }
      for (const next of [
        i > 0 ? at - 1 : at,
        i < nx - 1 ? at + 1 : at,
        j > 0 ? at - nx : at,
        j < ny - 1 ? at + nx : at,
        k > 0 ? at - slice : at,
        k < nz - 1 ? at + slice : at,
      ]) {
        if (labels[next] !== wanted || numbers[next] !== 0) continue;
        numbers[next] = part;
        stack[top++] = next;
      }
    }
    sizes.push(count);
    atEdge.push(edge);
  }
  return { numbers, sizes, atEdge };
}

/** Leaves the largest parts of a segment, the rest becomes background. */
export function keepLargest(labels: Uint8Array, size: Vector3, segment: number, most: number): void {
  const { numbers, sizes } = partsOf(labels, size, segment);
  const kept = new Set(
    sizes
      .map((voxels, n) => ({ voxels, part: n + 1 }))
      .sort((a, b) => b.voxels - a.voxels || a.part - b.part)
      .slice(0, most)
      .map(({ part }) => part),
  );
  for (let n = 0; n < labels.length; n++) if (numbers[n] !== 0 && !kept.has(numbers[n]!)) labels[n] = 0;
}

/** Background that one segment alone encloses becomes that segment. */
export function fillHoles(labels: Uint8Array, size: Vector3): void {
  const [nx, ny, nz] = size;
  const { numbers, sizes, atEdge } = partsOf(labels, size, 0);
  // The one segment around each part of the background; 0: several.
  const around = new Int16Array(sizes.length + 1).fill(-1);
  const slice = nx * ny;
  const look = (part: number, neighbour: number): void => {
    const label = labels[neighbour]!;
    if (label === 0) return;
    around[part] = around[part] === -1 || around[part] === label ? label : 0;
  };
  for (let n = 0; n < labels.length; n++) {
    const part = numbers[n]!;
    if (part === 0 || atEdge[part - 1] === true) continue;
    look(part, n - 1);
    look(part, n + 1);
    look(part, n - nx);
    look(part, n + nx);
    if (nz > 1) {
      look(part, n - slice);
      look(part, n + slice);
    }
  }
  for (let n = 0; n < labels.length; n++) {
    const part = numbers[n]!;
    if (part !== 0 && atEdge[part - 1] !== true && around[part]! > 0) labels[n] = around[part]!;
  }
}
