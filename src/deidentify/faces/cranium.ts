/**
 * The upper part of a head as an ellipsoid: where it lies, how large it is and how it is turned, fitted to points of the skin above the
 * brow. From it follows where the face is, whatever the contrast and whatever the scan cuts off below.
 */
import type { Vector3 } from '../../dicom/slices.ts';

export interface Cranium {
  readonly centreMm: Vector3;
  /** Unit vectors in the patient: to the left, to the back, to the top of the head. */
  readonly axes: readonly [Vector3, Vector3, Vector3];
  /**
   * The same without the pitch. How an ellipsoid lies tells how a skull is built (most are higher at the back) rather than how the head
   * is held, so what is above and what below the eyes goes by these.
   */
  readonly level: readonly [Vector3, Vector3, Vector3];
  /** Half of the width, length and height. */
  readonly semiMm: Vector3;
}

export interface Fit {
  readonly cranium: Cranium;
  /** Of the points that belong to the ellipsoid. */
  readonly rmsMm: number;
  /** Part of the points that lie within `NEAR_MM` of it. */
  readonly near: number;
}

const NEAR_MM = 8;
const ROUNDS = 40;
const DEGREE = Math.PI / 180;

/** centre x, y, z, half axes, yaw, pitch, roll (radians). */
type Parameters = [number, number, number, number, number, number, number, number, number];

/**
 * Heads as they are: half axes (mm) and how far one is turned in a head rest, with standard deviations. They weigh as much as some points, so
 * that what the points do not tell (how high a head is whose ears are covered) does not run away.
 */
const HEIGHT_RATIO = 0.93;

/** Gauss-Newton with Tukey's weights. `start` is the middle of the head as it was guessed. */
export function fitCranium(points: readonly Vector3[], start: Vector3, semi: Vector3): Fit {
  let parameters: Parameters = [...start, ...semi, 0, 0, 0];
  const weightOfPoint = 80 / Math.max(1, points.length) / 2.5 ** 2;
  for (let round = 0; round < ROUNDS; round++) {
    // Wide at first, so that a poor start finds its way; then ears and hair count for nothing.
    const cutMm = round < 10 ? 30 : round < 20 ? 18 : 10;
    const normal = Array.from({ length: 9 }, () => new Float64Array(10));
    const present = craniumOf(parameters);
    const near = neighboursOf(parameters);
    for (const point of points) {
      const distance = distanceTo(present, point);
      if (Math.abs(distance) >= cutMm) continue;
      const weight = weightOfPoint * (1 - (distance / cutMm) ** 2) ** 2;
      addRow(normal, slopesAt(near, point), distance, weight);
    }
    for (const [residual, sigma] of BELIEFS)
      addRow(normal, gradientOf(parameters, residual), residual(parameters), 1 / sigma ** 2);
    const step = solve(normal);
    let largest = 0;
    parameters = parameters.map((value, index) => {
      const limit = index < 6 ? 8 : 5 * DEGREE;
      const change = Math.max(-limit, Math.min(limit, step[index] ?? 0));
      largest = Math.max(largest, Math.abs(change) / (index < 6 ? 1 : 50 * DEGREE));
      return value - change;
    }) as Parameters;
    if (round > 22 && largest < 1e-3) break;
  }
  const cranium = craniumOf(parameters);
  const distances = points.map((point) => Math.abs(distanceTo(cranium, point)));
  const inside = distances.filter((distance) => distance < NEAR_MM);
  return {
    cranium,
    rmsMm: Math.sqrt(inside.reduce((sum, distance) => sum + distance ** 2, 0) / Math.max(1, inside.length)),
    near: inside.length / Math.max(1, points.length),
  };
}

const BELIEFS: readonly (readonly [(parameters: Parameters) => number, number])[] = [
  [(p) => p[5] - HEIGHT_RATIO * Math.sqrt(Math.abs(p[3] * p[4])), 3],
  [(p) => p[3] / p[4] - 0.8, 0.05],
  [(p) => p[6], 20 * DEGREE],
  [(p) => p[7], 8 * DEGREE],
  [(p) => p[8], 6 * DEGREE],
];

function craniumOf([x, y, z, a, b, c, yaw, pitch, roll]: Parameters): Cranium {
  const [cy, sy, cp, sp, cr, sr] = [
    Math.cos(yaw),
    Math.sin(yaw),
    Math.cos(pitch),
    Math.sin(pitch),
    Math.cos(roll),
    Math.sin(roll),
  ];
  // Rz(yaw) * Rx(pitch) * Ry(roll), by columns.
  return {
    level: [
      [cy * cr, sy * cr, -sr],
      [-sy, cy, 0],
      [cy * sr, sy * sr, cr],
    ],
    centreMm: [x, y, z],
    semiMm: [a, b, c],
    axes: [
      [cy * cr - sy * sp * sr, sy * cr + cy * sp * sr, -cp * sr],
      [-sy * cp, cy * cp, sp],
      [cy * sr + sy * sp * cr, sy * sr - cy * sp * cr, cp * cr],
    ],
  };
}

/** Along the line to the centre, positive outside. Asked for every cell and point: nothing is allocated. */
export function distanceTo({ centreMm, axes: [left, back, up], semiMm }: Cranium, point: Vector3): number {
  const dx = point[0] - centreMm[0];
  const dy = point[1] - centreMm[1];
  const dz = point[2] - centreMm[2];
  const x = left[0] * dx + left[1] * dy + left[2] * dz;
  const y = back[0] * dx + back[1] * dy + back[2] * dz;
  const z = up[0] * dx + up[1] * dy + up[2] * dz;
  const [a, b, c] = semiMm;
  const scaled = Math.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2);
  const radius = Math.sqrt(x * x + y * y + z * z);
  return scaled === 0 ? -Math.min(a, b, c) : radius - radius / scaled;
}

/** The place that lies so many mm to the left, to the back and up from the centre, in the level axes. */
export function inPatient({ centreMm, level }: Cranium, [a, b, c]: Vector3): Vector3 {
  return ([0, 1, 2] as const).map(
    (axis) => centreMm[axis] + a * level[0][axis] + b * level[1][axis] + c * level[2][axis],
  ) as unknown as Vector3;
}

const TINY = [0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 1e-3, 1e-3, 1e-3];

/** Each parameter a little larger and a little smaller. */
function neighboursOf(parameters: Parameters): (readonly [Cranium, Cranium])[] {
  return TINY.map((tiny, index) => {
    const [up, down]: [Parameters, Parameters] = [[...parameters], [...parameters]];
    up[index] = (up[index] ?? 0) + tiny;
    down[index] = (down[index] ?? 0) - tiny;
    return [craniumOf(up), craniumOf(down)];
  });
}

function slopesAt(near: readonly (readonly [Cranium, Cranium])[], point: Vector3): number[] {
  return near.map(([up, down], index) => (distanceTo(up, point) - distanceTo(down, point)) / (2 * (TINY[index] ?? 1)));
}

function gradientOf(parameters: Parameters, of: (parameters: Parameters) => number): number[] {
  return TINY.map((tiny, index) => {
    const [up, down]: [Parameters, Parameters] = [[...parameters], [...parameters]];
    up[index] = (up[index] ?? 0) + tiny;
    down[index] = (down[index] ?? 0) - tiny;
    return (of(up) - of(down)) / (2 * tiny);
  });
}

function addRow(normal: readonly Float64Array[], slope: readonly number[], residual: number, weight: number): void {
  for (let row = 0; row < 9; row++) {
    const target = normal[row];
    if (target === undefined) continue;
    const left = weight * (slope[row] ?? 0);
    for (let column = 0; column < 9; column++) target[column] = (target[column] ?? 0) + left * (slope[column] ?? 0);
    target[9] = (target[9] ?? 0) + left * residual;
  }
}

/** Nine equations by elimination with pivots; a direction that nothing tells of stays as it is. */
function solve(rows: readonly Float64Array[]): number[] {
  const matrix = rows.map((row, index) => {
    const copy = Float64Array.from(row);
    copy[index] = (copy[index] ?? 0) * 1.001 + 1e-9;
    return copy;
  });
  for (let column = 0; column < 9; column++) {
    let pivot = column;
    for (let row = column + 1; row < 9; row++)
      if (Math.abs(matrix[row]?.[column] ?? 0) > Math.abs(matrix[pivot]?.[column] ?? 0)) pivot = row;
    const [a, b] = [matrix[column], matrix[pivot]];
    if (a === undefined || b === undefined) continue;
    matrix[column] = b;
    matrix[pivot] = a;
    for (let row = 0; row < 9; row++) {
      const other = matrix[row];
      if (row === column || other === undefined) continue;
      const factor = (other[column] ?? 0) / (b[column] ?? 1);
      for (let at = column; at < 10; at++) other[at] = (other[at] ?? 0) - factor * (b[at] ?? 0);
    }
  }
  return matrix.map((row, index) => (row[9] ?? 0) / (row[index] ?? 1));
}
