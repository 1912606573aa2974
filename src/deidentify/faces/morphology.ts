/** Sets of cells of a grid: grown, shrunk, connected. Bytes, 1 for a cell that belongs to the set. */
import type { Vector3 } from '../../dicom/slices.ts';

/** Squared distance in cells to the nearest cell of the set, up to `most` (then Infinity): three passes of lower envelopes, exact. */
export function squaredDistance(set: Uint8Array, [nx, ny, nz]: Vector3, of: 0 | 1): Float32Array {
  const distance = new Float32Array(set.length);
  for (let cell = 0; cell < set.length; cell++) distance[cell] = set[cell] === of ? 0 : 1e9;
  const line = new Float32Array(Math.max(nx, ny, nz));
  const work = {
    at: new Int32Array(line.length),
    from: new Float32Array(line.length + 1),
    out: new Float32Array(line.length),
  };
  const along = (start: number, step: number, length: number): void => {
    for (let index = 0; index < length; index++) line[index] = distance[start + index * step] ?? 0;
    envelope(line, length, work);
    for (let index = 0; index < length; index++) distance[start + index * step] = work.out[index] ?? 0;
  };
  for (let z = 0; z < nz; z++) for (let y = 0; y < ny; y++) along((z * ny + y) * nx, 1, nx);
  for (let z = 0; z < nz; z++) for (let x = 0; x < nx; x++) along(z * ny * nx + x, nx, ny);
  for (let y = 0; y < ny; y++) for (let x = 0; x < nx; x++) along(y * nx + x, nx * ny, nz);
  return distance;
}

/** Felzenszwalb and Huttenlocher: the lower envelope of parabolas. */
function envelope(
  line: Float32Array,
  length: number,
  { at, from, out }: { at: Int32Array; from: Float32Array; out: Float32Array },
): void {
  let last = 0;
  at[0] = 0;
  from[0] = -Infinity;
  from[1] = Infinity;
  for (let index = 1; index < length; index++) {
    let meet: number;
    for (;;) {
      const other = at[last] ?? 0;
      meet = ((line[index] ?? 0) + index * index - ((line[other] ?? 0) + other * other)) / (2 * (index - other));
      if (meet > (from[last] ?? 0) || last === 0) break;
      last--;
    }
    if (meet <= (from[last] ?? 0)) meet = from[last] ?? 0;
    last++;
    at[last] = index;
    from[last] = meet;
    from[last + 1] = Infinity;
  }
  let present = 0;
  for (let index = 0; index < length; index++) {
    while ((from[present + 1] ?? Infinity) < index) present++;
    const other = at[present] ?? 0;
    out[index] = (index - other) ** 2 + (line[other] ?? 0);
  }
}

export function dilated(set: Uint8Array, size: Vector3, cells: number): Uint8Array {
  const distance = squaredDistance(set, size, 1);
  return Uint8Array.from(distance, (squared) => (squared <= cells * cells ? 1 : 0));
}

/** Beyond the grid everything counts as belonging to the set: a body that is cut off is not eaten from there. */
export function eroded(set: Uint8Array, size: Vector3, cells: number): Uint8Array {
  const distance = squaredDistance(set, size, 0);
  return Uint8Array.from(distance, (squared) => (squared > cells * cells ? 1 : 0));
}

/** The cells that share a face with one, within the grid. */
function visitNeighbours(cell: number, [nx, ny, nz]: Vector3, visit: (next: number) => void): void {
  const x = cell % nx;
  const y = Math.floor(cell / nx) % ny;
  const z = Math.floor(cell / (nx * ny));
  if (x > 0) visit(cell - 1);
  if (x < nx - 1) visit(cell + 1);
  if (y > 0) visit(cell - nx);
  if (y < ny - 1) visit(cell + nx);
  if (z > 0) visit(cell - nx * ny);
  if (z < nz - 1) visit(cell + nx * ny);
}

/** Labels of 6-connected parts from 1, and how many cells each has (index 0 unused). */
export function partsOf(set: Uint8Array, size: Vector3): { labels: Int32Array; sizes: number[] } {
  const labels = new Int32Array(set.length);
  const sizes = [0];
  const stack: number[] = [];
  for (let seed = 0; seed < set.length; seed++) {
    if (set[seed] !== 1 || labels[seed] !== 0) continue;
    const label = sizes.length;
    let count = 0;
    labels[seed] = label;
    stack.push(seed);
    for (let cell = stack.pop(); cell !== undefined; cell = stack.pop()) {
      count++;
      visitNeighbours(cell, size, (next) => {
        if (set[next] !== 1 || labels[next] !== 0) return;
        labels[next] = label;
        stack.push(next);
      });
    }
    sizes.push(count);
  }
  return { labels, sizes };
}

/** The largest part, or the largest that has a cell in `near`. */
export function largestPart(set: Uint8Array, size: Vector3, near?: (cell: number) => boolean): Uint8Array {
  const { labels, sizes } = partsOf(set, size);
  const eligible = near === undefined ? undefined : new Set<number>();
  if (near !== undefined && eligible !== undefined)
    for (let cell = 0; cell < labels.length; cell++)
      if (labels[cell] !== 0 && near(cell)) eligible.add(labels[cell] ?? 0);
  let best = 0;
  for (let label = 1; label < sizes.length; label++)
    if ((eligible === undefined || eligible.has(label)) && (best === 0 || (sizes[label] ?? 0) > (sizes[best] ?? 0)))
      best = label;
  return Uint8Array.from(labels, (label) => (label === best && best !== 0 ? 1 : 0));
}

/** What cannot be reached through cells outside of the set from any face of the grid but the lowest, where a neck is cut off. */
export function filled(set: Uint8Array, size: Vector3): Uint8Array {
  const [nx, ny, nz] = size;
  const reached = new Uint8Array(set.length);
  const stack: number[] = [];
  const visit = (cell: number): void => {
    if (set[cell] === 1 || reached[cell] === 1) return;
    reached[cell] = 1;
    stack.push(cell);
  };
  for (let z = 0; z < nz; z++) {
    for (let y = 0; y < ny; y++) {
      visit((z * ny + y) * nx);
      visit((z * ny + y) * nx + nx - 1);
    }
    for (let x = 0; x < nx; x++) {
      visit(z * ny * nx + x);
      visit((z * ny + ny - 1) * nx + x);
    }
  }
  for (let rest = 0; rest < nx * ny; rest++) visit((nz - 1) * nx * ny + rest);
  for (let cell = stack.pop(); cell !== undefined; cell = stack.pop()) visitNeighbours(cell, size, visit);
  return Uint8Array.from(reached, (outside) => 1 - outside);
}
