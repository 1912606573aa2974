/**
 * Was the face taken out? The head is looked at from the front and from both sides before and after, as a renderer would: how far it is to
 * the first body. Knows nothing of how the voxels were chosen, but for where a head's face is.
 */
import type { Vector3 } from '../../dicom/slices.ts';
import { inPatient, type Cranium } from './cranium.ts';
import { cellAt, type Grid } from './grid.ts';
import { sealed } from './stack.ts';
import { FACE_WINDOW } from './zone.ts';

export interface FaceFigures {
  /** Places of 2 mm in which there was a face to be seen from the front. */
  readonly places: number;
  /** How far behind the former skin the first body is now, mm. */
  readonly medianMm: number;
  /** Part of the places in which it is at least 4 mm. */
  readonly moved: number;
  /** How alike the relief is to what it was, without what a quadric explains: correlation. */
  readonly alike: number;
  /** Part of the outer ears (body beside the head) that is left. */
  readonly earsLeft: number;
}

/** Of a volume in which there is no face to be seen. */
export const NO_FACE: FaceFigures = { places: 0, medianMm: 0, moved: 0, alike: 0, earsLeft: 0 };

const RASTER_MM = 2;
/** Seen for as long as this: a speckle of noise is no skin. */
const SOLID_MM = 5;
const FEWEST_PLACES = 150;
const LEAST_MOVED = 0.85;
const LEAST_MEDIAN_MM = 8;
const MOST_ALIKE = 0.8;

/** @throws Refusal Quarantined when a face can still be seen */
export function checkFace(before: Grid, after: Grid, cranium: Cranium, bodyAbove: number): FaceFigures {
  const figures = lookAtFace(before, after, cranium, bodyAbove);
  const { places, medianMm, moved, alike } = figures;
  // The scan ends above the eyes: there is no face in it.
  if (places < FEWEST_PLACES) return figures;
  if (moved < LEAST_MOVED || medianMm < LEAST_MEDIAN_MM)
    throw sealed(
      `seen from the front the surface moved by ${medianMm.toFixed(1)} mm, in ${(100 * moved).toFixed(0)} % of the places by 4 mm; ${LEAST_MEDIAN_MM} mm and ${100 * LEAST_MOVED} % are needed`,
    );
  if (alike > MOST_ALIKE) throw sealed(`the relief is still that of the face: correlation ${alike.toFixed(2)}`);
  return figures;
}

export function lookAtFace(before: Grid, after: Grid, cranium: Cranium, bodyAbove: number): FaceFigures {
  const [a, b, c] = cranium.semiMm;
  const was: [number, number, number][] = [];
  const is: number[] = [];
  for (let z = FACE_WINDOW.fromHeight * c; z > FACE_WINDOW.toHeight * c; z -= RASTER_MM) {
    for (let x = -FACE_WINDOW.acrossOfWidth * a; x <= FACE_WINDOW.acrossOfWidth * a; x += RASTER_MM) {
      const skin = depth(before, cranium, bodyAbove, x, z, -1.6 * b, 0);
      if (skin === undefined) continue;
      was.push([x, z, skin]);
      is.push(depth(after, cranium, bodyAbove, x, z, -1.6 * b, 0.6 * b) ?? 0.6 * b);
    }
  }
  const moves = was.map(([, , skin], index) => (is[index] ?? 0) - skin).sort((p, q) => p - q);
  return {
    places: was.length,
    medianMm: moves[moves.length >> 1] ?? 0,
    moved: moves.filter((mm) => mm >= 4).length / Math.max(1, moves.length),
    alike: alikeness(was, is),
    earsLeft: ears(before, after, cranium, bodyAbove),
  };
}

/** From in front to the first body, in the head's axes; undefined: none until `to`, or the scan begins inside of it. */
function depth(
  grid: Grid,
  cranium: Cranium,
  bodyAbove: number,
  x: number,
  z: number,
  from: number,
  to: number,
): number | undefined {
  const step = grid.cellMm / 2;
  let [solid, air] = [0, false];
  for (let y = from; y <= to; y += step) {
    const cell = cellAt(grid, ...inPatient(cranium, [x, y, z]));
    const value = cell < 0 ? NaN : (grid.mean[cell] ?? NaN);
    if (Number.isNaN(value)) [solid, air] = [0, false];
    else if (value <= bodyAbove) [solid, air] = [0, true];
    else if ((solid += step) >= SOLID_MM) return air ? y - solid + step : undefined;
  }
  return undefined;
}

/** Correlation of what a quadric does not explain. */
function alikeness(was: readonly (readonly [number, number, number])[], is: readonly number[]): number {
  if (was.length < FEWEST_PLACES) return 0;
  const a = relief(was);
  const b = relief(was.map(([x, z], index) => [x, z, is[index] ?? 0]));
  let [aa, bb, ab] = [0, 0, 0];
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? 0;
    aa += value * value;
    bb += other * other;
    ab += value * other;
  }
  return aa === 0 || bb === 0 ? 0 : ab / Math.sqrt(aa * bb);
}

function relief(places: readonly (readonly [number, number, number])[]): number[] {
  const terms = ([x, z]: readonly [number, number, number]): number[] => [
    1,
    x / 50,
    z / 50,
    (x / 50) ** 2,
    (x * z) / 2500,
    (z / 50) ** 2,
  ];
  const rows = Array.from({ length: 6 }, () => new Float64Array(7));
  for (const place of places) {
    const term = terms(place);
    for (let r = 0; r < 6; r++) {
      const row = rows[r];
      if (row === undefined) continue;
      for (let col = 0; col < 6; col++) row[col] = (row[col] ?? 0) + (term[r] ?? 0) * (term[col] ?? 0);
      row[6] = (row[6] ?? 0) + (term[r] ?? 0) * place[2];
    }
  }
  for (let pivot = 0; pivot < 6; pivot++) {
    const row = rows[pivot];
    if (row === undefined || Math.abs(row[pivot] ?? 0) < 1e-9) continue;
    for (let other = 0; other < 6; other++) {
      const target = rows[other];
      if (other === pivot || target === undefined) continue;
      const factor = (target[pivot] ?? 0) / (row[pivot] ?? 1);
      for (let col = pivot; col < 7; col++) target[col] = (target[col] ?? 0) - factor * (row[col] ?? 0);
    }
  }
  const solution = rows.map((row, index) => (Math.abs(row[index] ?? 0) < 1e-9 ? 0 : (row[6] ?? 0) / (row[index] ?? 1)));
  return places.map(
    (place) => place[2] - terms(place).reduce((sum, term, index) => sum + term * (solution[index] ?? 0), 0),
  );
}

/** Body beside the widest line of the head, at the height of the ears. */
function ears(before: Grid, after: Grid, cranium: Cranium, bodyAbove: number): number {
  const [a, b, c] = cranium.semiMm;
  let [had, has] = [0, 0];
  const isBody = (grid: Grid, place: Vector3): boolean => {
    const cell = cellAt(grid, ...inPatient(cranium, place));
    return cell >= 0 && (grid.mean[cell] ?? NaN) > bodyAbove;
  };
  for (let z = 0; z > -1.1 * c; z -= RASTER_MM) {
    for (let y = -0.3 * b; y < 0.45 * b; y += RASTER_MM) {
      const edge = a * Math.sqrt(1 - (y / b) ** 2) + 2;
      for (const side of [-1, 1]) {
        for (let x = edge; x < a + 35; x += RASTER_MM) {
          if (isBody(before, [side * x, y, z])) had++;
          if (isBody(after, [side * x, y, z])) has++;
        }
      }
    }
  }
  return had === 0 ? 0 : has / had;
}
