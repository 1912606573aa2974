/** Rigid maps by least squares: over matched points, and one Gauss-Newton step over an image. */
import type { Vector3 } from '../dicom/volume.ts';
import { IDENTITY, at, multiply, transformPoint, translation } from './space.ts';
import type { Matrix4 } from './space.ts';

const REFITS = 8;
const KEPT_SHARE = 0.6;

/** The rigid map x -> y of least squares over the best share of the points, refitted until it settles. */
export function fitTrimmed(x: Float64Array, y: Float64Array): Matrix4 {
  const count = x.length / 3;
  if (count < 20) return IDENTITY;
  let map = fitRigid(
    x,
    y,
    Array.from({ length: count }, (_, p) => p),
  );
  for (let refit = 1; refit < REFITS; refit++) {
    const errors = new Float64Array(count);
    for (let p = 0; p < count; p++) {
      const q = transformPoint(map, [at(x, 3 * p), at(x, 3 * p + 1), at(x, 3 * p + 2)]);
      errors[p] = (q[0] - at(y, 3 * p)) ** 2 + (q[1] - at(y, 3 * p + 1)) ** 2 + (q[2] - at(y, 3 * p + 2)) ** 2;
    }
    const limit = at(errors.slice().sort(), Math.floor(KEPT_SHARE * (count - 1)));
    map = fitRigid(x, y, indicesBelow(errors, limit));
  }
  return map;
}

function indicesBelow(errors: Float64Array, limit: number): number[] {
  const found: number[] = [];
  errors.forEach((error, p) => {
    if (error <= limit) found.push(p);
  });
  return found;
}

/** Horn's closed form (J. Opt. Soc. Am. A 4, 1987): the rotation is the largest eigenvector of a 4x4 matrix, never a mirror. */
function fitRigid(x: Float64Array, y: Float64Array, points: readonly number[]): Matrix4 {
  const mean = (values: Float64Array, r: number) =>
    points.reduce((sum, p) => sum + at(values, 3 * p + r), 0) / points.length;
  const from: Vector3 = [mean(x, 0), mean(x, 1), mean(x, 2)];
  const to: Vector3 = [mean(y, 0), mean(y, 1), mean(y, 2)];
  const s = new Float64Array(9);
  for (const p of points) {
    for (let r = 0; r < 3; r++) {
      const a = at(x, 3 * p + r) - at(from, r);
      for (let c = 0; c < 3; c++) s[3 * r + c] = at(s, 3 * r + c) + a * (at(y, 3 * p + c) - at(to, c));
    }
  }
  const rotation = rotationOf(largestEigenvector(hornMatrix(s)));
  const back = transformPoint(rotation, from);
  return multiply(translation([to[0] - back[0], to[1] - back[1], to[2] - back[2]]), rotation);
}

function hornMatrix(s: Float64Array): Float64Array {
  const [xx, xy, xz, yx, yy, yz, zx, zy, zz] = s as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return Float64Array.of(
    xx + yy + zz,
    yz - zy,
    zx - xz,
    xy - yx,
    yz - zy,
    xx - yy - zz,
    xy + yx,
    zx + xz,
    zx - xz,
    xy + yx,
    yy - xx - zz,
    yz + zy,
    xy - yx,
    zx + xz,
    yz + zy,
    zz - xx - yy,
  );
}

/** Of a symmetric 4x4 matrix, by Jacobi rotations. */
function largestEigenvector(matrix: Float64Array): [number, number, number, number] {
  const m = matrix.slice();
  const v = Float64Array.from(IDENTITY);
  for (let sweep = 0; sweep < 30; sweep++) {
    for (let p = 0; p < 3; p++) {
      for (let q = p + 1; q < 4; q++) {
        const off = at(m, 4 * p + q);
        if (off === 0) continue;
        const angle = 0.5 * Math.atan2(2 * off, at(m, 4 * p + p) - at(m, 4 * q + q));
        const [c, s] = [Math.cos(angle), Math.sin(angle)];
        rotateColumns(m, p, q, c, s);
        rotateRows(m, p, q, c, s);
        rotateColumns(v, p, q, c, s);
      }
    }
  }
  const diagonal = [0, 5, 10, 15].map((n) => at(m, n));
  const column = diagonal.indexOf(Math.max(...diagonal));
  return [at(v, column), at(v, 4 + column), at(v, 8 + column), at(v, 12 + column)];
}

function rotateColumns(m: Float64Array, p: number, q: number, c: number, s: number): void {
  for (let row = 0; row < 4; row++) {
    const [a, b] = [at(m, 4 * row + p), at(m, 4 * row + q)];
    m[4 * row + p] = c * a + s * b;
    m[4 * row + q] = c * b - s * a;
  }
}

function rotateRows(m: Float64Array, p: number, q: number, c: number, s: number): void {
  for (let column = 0; column < 4; column++) {
    const [a, b] = [at(m, 4 * p + column), at(m, 4 * q + column)];
    m[4 * p + column] = c * a + s * b;
    m[4 * q + column] = c * b - s * a;
  }
}

function rotationOf([w, x, y, z]: readonly [number, number, number, number]): Matrix4 {
  return [
    w * w + x * x - y * y - z * z,
    2 * (x * y - w * z),
    2 * (x * z + w * y),
    0,
    2 * (x * y + w * z),
    w * w - x * x + y * y - z * z,
    2 * (y * z - w * x),
    0,
    2 * (x * z - w * y),
    2 * (y * z + w * x),
    w * w - x * x - y * y + z * z,
    0,
    0,
    0,
    0,
    1,
  ];
}

/** Sums of a Gauss-Newton step about six parameters: rotation (x, y, z), then translation. */
export interface NormalEquations {
  /** 6 x 6, row-major. */
  readonly matrix: Float64Array;
  readonly vector: Float64Array;
  /** Mean of the squared residual. */
  readonly cost: number;
}

/** Solves (H + a thousandth of its diagonal) p = b by Gauss-Jordan; undefined where the images determine nothing. */
export function solveStep({ matrix, vector }: NormalEquations): number[] | undefined {
  const n = vector.length;
  const rows = Array.from({ length: n }, (_, r) => {
    const row = [...matrix.subarray(n * r, n * (r + 1)), at(vector, r)];
    row[r] = at(row, r) * 1.001;
    return row;
  });
  for (let pivot = 0; pivot < n; pivot++) {
    const best = rows.reduce((most, row, r) => {
      const larger = Math.abs(at(row, pivot)) > Math.abs(at(rows[most] ?? [], pivot));
      return r > pivot && larger ? r : most;
    }, pivot);
    const [a, b] = [rows[pivot] ?? [], rows[best] ?? []];
    [rows[pivot], rows[best]] = [b, a];
    const lead = at(b, pivot);
    if (!(Math.abs(lead) > 1e-12)) return undefined;
    for (let c = pivot; c <= n; c++) b[c] = at(b, c) / lead;
    rows.forEach((row, r) => {
      const factor = at(row, pivot);
      if (r === pivot || factor === 0) return;
      for (let c = pivot; c <= n; c++) row[c] = at(row, c) - factor * at(b, c);
    });
  }
  return rows.map((row) => at(row, n));
}

/** Rotation by the vector's length about its direction (Rodrigues). */
export function rotationAbout([x, y, z]: Vector3): Matrix4 {
  const angle = Math.hypot(x, y, z);
  if (angle === 0) return IDENTITY;
  const half = Math.sin(angle / 2) / angle;
  return rotationOf([Math.cos(angle / 2), half * x, half * y, half * z]);
}
