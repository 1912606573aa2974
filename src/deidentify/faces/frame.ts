/** The face taken out of one image: its stored values replaced where the plan says so, by what the series' air looks like. */
import type { Plane } from '../../dicom/slices.ts';
import { readFrame } from '../../dicom/voxels.ts';
import { GHOST, INSIDE, type OpenPlan } from './plan.ts';
import { dot } from './stack.ts';
import { zoneOf } from './zone.ts';

export interface DefacedFrame {
  /** The same buffer as it was given. */
  readonly bytes: Buffer;
  readonly changed: number;
  /** Voxels inside the skull whose value is another than before: none, or the image must not leave. */
  readonly insideChanged: number;
  /** Of stored values, as Smallest and Largest Image Pixel Value tell them. */
  readonly smallest: number;
  readonly largest: number;
}

/** @param bytes native and little endian; changed in place */
export function defaceFrame({ plan, fates }: OpenPlan, plane: Plane, bytes: Buffer): DefacedFrame {
  const { format, positionMm, row, column, spacingMm } = plane;
  const { cranium, grid, air } = plan;
  const { axes, level, centreMm, semiMm } = cranium;
  const { cellMm, originMm, size } = grid;
  const [nx, ny, nz] = size;
  const zone = zoneOf(semiMm);
  const stored = storedAir(air, plane);
  const width = spacingMm[0];
  // Steps along a row, in the head and in cells of the grid.
  const headStep = axes.map((axis) => width * dot(axis, row)) as [number, number, number];
  const backStep = width * dot(level[1], row);
  const upStep = width * dot(level[2], row);
  const cellStep = row.map((part) => (width * part) / cellMm) as [number, number, number];
  const seed = seedOf(plane);
  const wide = format.bytesPerPixel === 2;
  let changed = 0;
  let insideChanged = 0;
  for (let j = 0; j < format.rows; j++) {
    const down = j * spacingMm[1];
    const start = ([0, 1, 2] as const).map((axis) => positionMm[axis] + down * column[axis]) as [
      number,
      number,
      number,
    ];
    const from = ([0, 1, 2] as const).map((axis) => start[axis] - centreMm[axis]) as [number, number, number];
    let [x, y, z] = axes.map((axis) => dot(axis, from)) as [number, number, number];
    let [i0, j0, k0] = ([0, 1, 2] as const).map((axis) => (start[axis] - originMm[axis]) / cellMm + 0.5) as [
      number,
      number,
      number,
    ];
    let back = dot(level[1], from);
    let up = dot(level[2], from);
    let at = j * format.columns;
    for (let i = 0; i < format.columns; i++, at++) {
      let fate = 0;
      if (i0 >= 0 && j0 >= 0 && k0 >= 0 && i0 < nx && j0 < ny && k0 < nz)
        fate = fates[((k0 | 0) * ny + (j0 | 0)) * nx + (i0 | 0)] ?? 0;
      if (fate === GHOST || (fate !== INSIDE && zone(x, y, z, back, up))) {
        const value = stored[randomAt(seed, at) % stored.length] ?? 0;
        if (wide) bytes.writeUInt16LE(value, 2 * at);
        else bytes[at] = value;
        changed++;
        if (fate === INSIDE) insideChanged++;
      }
      x += headStep[0];
      y += headStep[1];
      z += headStep[2];
      back += backStep;
      up += upStep;
      i0 += cellStep[0];
      j0 += cellStep[1];
      k0 += cellStep[2];
    }
  }
  return { bytes, changed, insideChanged, ...rangeOf(plane, bytes) };
}

/** The air's real values as this image stores them, bit for bit. */
function storedAir(air: readonly number[], { format, slope, intercept }: Plane): number[] {
  const { bitsStored, highBit, signed, bytesPerPixel } = format;
  const low = signed ? -(2 ** (bitsStored - 1)) : 0;
  const high = signed ? 2 ** (bitsStored - 1) - 1 : 2 ** bitsStored - 1;
  const mask = 2 ** (8 * bytesPerPixel) - 1;
  return air.map((real) => {
    const value = Math.max(low, Math.min(high, Math.round((real - intercept) / slope)));
    // Above the stored bits the sign goes on, as scanners write it.
    return ((value << (highBit + 1 - bitsStored)) & mask) >>> 0;
  });
}

function rangeOf(plane: Plane, bytes: Buffer): { smallest: number; largest: number } {
  const { format } = plane;
  const values = new Float32Array(format.columns * format.rows);
  readFrame(bytes, { ...format, bigEndian: false }, 1, { slope: 1, intercept: 0 }, values, 0);
  let [smallest, largest] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < smallest) smallest = value;
    if (value > largest) largest = value;
  }
  return { smallest, largest };
}

/** The same image gives the same noise whenever it is made; another gives another. */
function seedOf({ positionMm }: Plane): number {
  return positionMm.reduce((seed, mm) => mixed(seed ^ (Math.round(mm * 1000) | 0)), 0x9e3779b9);
}

function randomAt(seed: number, index: number): number {
  return mixed(seed + Math.imul(index, 0x9e3779b1));
}

/** The finaliser of MurmurHash3. */
function mixed(value: number): number {
  let hash = value | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
