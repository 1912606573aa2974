/**
 * Has the head moved between two volumes in the same places? A plan that was made of one cuts the other only where the head lies as it lay.
 * Asked of the face and of the cranium by themselves; what a head that turned shows of its face the check sees.
 */
import type { Vector3 } from '../../dicom/slices.ts';
import type { Cranium } from './cranium.ts';
import type { Grid } from './grid.ts';
import { dot, sealed } from './stack.ts';

/** Cells by which the volumes are shifted against each other, in both directions. */
const FARTHEST = 4;
/** From here on a head has moved: 5 mm. */
const MOVED = 2;
/** One cell of so many along each axis is compared. */
const SKIP = 2;
const FEWEST_CELLS = 300;

/** @throws Refusal Quarantined when the volume is more like the first one somewhere else */
export function refuseMoved(reference: Grid, grid: Grid, cranium: Cranium): void {
  for (const [what, isMeant] of Object.entries(REGIONS)) {
    const cells = cellsOf(grid, cranium, isMeant);
    const shifts = ([0, 1, 2] as const).map((axis) =>
      bestShift(reference.mean, grid.mean, cells, strideOf(grid, axis)),
    );
    const most = Math.max(...shifts.map(Math.abs));
    if (most >= MOVED)
      throw sealed(
        `the ${what} lies ${(most * grid.cellMm).toFixed(0)} mm or more from where it was when it was found`,
      );
  }
}

/** In parts of the half axes, to the back and up from the middle of the cranium. */
const REGIONS: Readonly<Record<string, (back: number, up: number) => boolean>> = {
  face: (back, up) => back < 0 && back > -1.5 && up < 0.1 && up > -1.3,
  cranium: (back, up) => Math.abs(back) < 1.3 && up > 0.1 && up < 1.3,
};

function cellsOf(
  { size, originMm, cellMm }: Grid,
  { centreMm, level, semiMm }: Cranium,
  isMeant: (back: number, up: number) => boolean,
): number[] {
  const cells: number[] = [];
  for (let z = FARTHEST; z < size[2] - FARTHEST; z += SKIP) {
    for (let y = FARTHEST; y < size[1] - FARTHEST; y += SKIP) {
      for (let x = FARTHEST; x < size[0] - FARTHEST; x += SKIP) {
        const place: Vector3 = [
          originMm[0] + x * cellMm - centreMm[0],
          originMm[1] + y * cellMm - centreMm[1],
          originMm[2] + z * cellMm - centreMm[2],
        ];
        if (Math.abs(dot(level[0], place)) > 1.3 * semiMm[0]) continue;
        if (isMeant(dot(level[1], place) / semiMm[1], dot(level[2], place) / semiMm[2]))
          cells.push((z * size[1] + y) * size[0] + x);
      }
    }
  }
  return cells;
}

function strideOf({ size }: Grid, axis: 0 | 1 | 2): number {
  return axis === 0 ? 1 : axis === 1 ? size[0] : size[0] * size[1];
}

/** In cells: where the correlation is highest; none where nothing is to be compared. */
function bestShift(a: Float32Array, b: Float32Array, region: readonly number[], stride: number): number {
  // The same cells for every shift, though the volume may end among them.
  const cells = region.filter((cell) => {
    let all = a[cell] ?? NaN;
    for (let shift = -FARTHEST; shift <= FARTHEST; shift++) all += b[cell + shift * stride] ?? NaN;
    return !Number.isNaN(all);
  });
  if (cells.length < FEWEST_CELLS) return 0;
  let [best, highest] = [0, correlation(a, b, cells, 0)];
  for (let shift = 1; shift <= FARTHEST; shift++) {
    for (const signed of [shift, -shift]) {
      const found = correlation(a, b, cells, signed * stride);
      if (found > highest) [best, highest] = [signed, found];
    }
  }
  return best;
}

function correlation(a: Float32Array, b: Float32Array, cells: readonly number[], offset: number): number {
  let [sumA, sumB, aa, bb, ab] = [0, 0, 0, 0, 0];
  for (const cell of cells) {
    const one = a[cell] ?? 0;
    const other = b[cell + offset] ?? 0;
    sumA += one;
    sumB += other;
    aa += one * one;
    bb += other * other;
    ab += one * other;
  }
  const count = cells.length;
  const spread = (aa - (sumA * sumA) / count) * (bb - (sumB * sumB) / count);
  return spread > 0 ? (ab - (sumA * sumB) / count) / Math.sqrt(spread) : 0;
}
