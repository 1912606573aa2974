/** The Gauss-Newton update of a spline, and what keeps it smooth. */
import type { Crew } from './crew.ts';
import type { Level } from './deformation-kernels.ts';
import { gatherAcross, volumeOf, type Counts, type Lattice } from './spline-lattice.ts';

const SOLVER_STEPS = 12;

/** (sum over blocks of B^T S B + smoothness) update = force - smoothness spline, by conjugate gradients, after the looks. */
export function solved(crew: Crew, level: Level, spline: Float64Array, smoothness: number): Float64Array {
  const { lattice, blocks, sums } = level;
  const layers = blocks.counts[2];
  const points = volumeOf(lattice.counts);
  const weight = smoothnessWeight(lattice, smoothness);
  const apply = (x: Float64Array): Float64Array => {
    level.direction.set(x);
    crew.run('answer', layers);
    const result = gatherAcross(lattice, sums, blocks);
    addRoughness(lattice, x, weight, result);
    return result;
  };
  crew.run('sumForce', layers);
  const r = gatherAcross(lattice, sums, blocks);
  addRoughness(lattice, spline, -weight, r);
  // The diagonal of the stiffness, roughly: how much each control point is held.
  crew.run('sumHeld', layers);
  const held = gatherAcross(lattice, sums, blocks, 1);
  const damping = 0.02 * (held.reduce((sum, one) => sum + one, 0) / points) + 1e-9;
  const scale = Float64Array.from(r, (_, n) => 1 / (0.35 * held[n % points]! + ROUGHNESS_DIAGONAL * weight + damping));
  const x = new Float64Array(r.length);
  let z = r.map((value, n) => value * scale[n]!);
  let direction = z.slice();
  let rz = dot(r, z);
  const enough = 1e-4 * rz;
  for (let step = 0; step < SOLVER_STEPS && rz > enough; step++) {
    const image = apply(direction);
    for (let n = 0; n < image.length; n++) image[n]! += damping * direction[n]!;
    const a = rz / dot(direction, image);
    for (let n = 0; n < x.length; n++) {
      x[n]! += a * direction[n]!;
      r[n]! -= a * image[n]!;
    }
    z = r.map((value, n) => value * scale[n]!);
    const next = dot(r, z);
    const b = next / rz;
    direction = direction.map((value, n) => z[n]! + b * value);
    rz = next;
  }
  return x;
}

/** Per control point: the squared slope of the Laplacian stands for the roughness of the volume around it. */
function smoothnessWeight({ distance }: Lattice, smoothness: number): number {
  return smoothness / distance;
}

/** What a spline costs for being rough. */
export function roughness(lattice: Lattice, spline: Float64Array): number {
  const rough = new Float64Array(spline.length);
  addRoughness(lattice, spline, smoothnessWeight(lattice, 1), rough);
  return dot(spline, rough) / (volumeOf(lattice.counts) * lattice.distance ** 3);
}

/** Of -L L L, L the sum of second differences along the axes, away from the ends. */
const ROUGHNESS_DIAGONAL = 324;

/** result -= weight L L L x: waves are held by the sixth power of their frequency, so that what is smooth costs hardly anything. */
function addRoughness({ counts }: Lattice, x: Float64Array, weight: number, result: Float64Array): void {
  const third = secondDifferences(secondDifferences(secondDifferences(x, counts), counts), counts);
  for (let n = 0; n < third.length; n++) result[n]! -= weight * third[n]!;
}

/** Sum of second differences; beyond an end the end goes on, so that the operator is its own adjoint. */
export function secondDifferences(x: Float64Array, [nx, ny, nz]: Counts): Float64Array {
  const result = new Float64Array(x.length);
  const [count, plane] = [nx * ny * nz, nx * ny];
  for (let channel = 0; channel < 3; channel++) {
    let n = channel * count;
    for (let k = 0; k < nz; k++)
      for (let j = 0; j < ny; j++)
        for (let i = 0; i < nx; i++, n++) {
          const here = x[n]!;
          let sum = 0;
          if (i > 0) sum += x[n - 1]! - here;
          if (i < nx - 1) sum += x[n + 1]! - here;
          if (j > 0) sum += x[n - nx]! - here;
          if (j < ny - 1) sum += x[n + nx]! - here;
          if (k > 0) sum += x[n - plane]! - here;
          if (k < nz - 1) sum += x[n + plane]! - here;
          result[n] = sum;
        }
  }
  return result;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let n = 0; n < a.length; n++) sum += a[n]! * b[n]!;
  return sum;
}

export function rootMeanSquare(x: Float64Array): number {
  return Math.sqrt(dot(x, x) / x.length);
}
