/**
 * What the correction models are meant for, in shapes and numbers drawn at random: series of CT, MR and radiographs of no person, with
 * the spread of contrast, noise, sharpness, field of view and spacing that scanners have. The out-of-distribution check is fitted on them
 * (familiar.ts). Nothing here was fitted to a real series.
 */
import type { Volume } from '../src/dicom/volume.ts';
import { random, volumeOf, type Random } from './cases.ts';

export type Kind = 'CT' | 'MR' | 'XR';

const SIDE = 96;
const SLICES = 2;

/** Value of a point; x and y from -1 to 1 over the field of view, z from -1 to 1 over the slices. */
type Anatomy = (x: number, y: number, z: number) => number;

/** Drawn coarsely; `matrix` is the number of pixels a side that its spacing goes with. */
export interface Sample {
  readonly volume: Volume;
  readonly matrix: number;
}

export function sampleOf(kind: Kind, seed: number): Sample {
  const next = random(seed);
  switch (kind) {
    case 'CT':
      return ctOf(next);
    case 'MR':
      return mrOf(next);
    case 'XR':
      return radiographOf(next);
    default:
      return kind satisfies never;
  }
}

interface Blob {
  readonly x: number;
  readonly y: number;
  readonly a: number;
  readonly b: number;
  /** Cosine and sine of its turn. */
  readonly turned: readonly [number, number];
  readonly value: number;
}

function turnedBy(angle: number): readonly [number, number] {
  return [Math.cos(angle), Math.sin(angle)];
}

function blobs(
  next: Random,
  count: number,
  reach: number,
  size: readonly [number, number],
  value: () => number,
): Blob[] {
  return Array.from({ length: count }, () => ({
    x: next.uniform(-reach, reach),
    y: next.uniform(-reach, reach),
    a: logUniform(next, ...size),
    b: logUniform(next, ...size),
    turned: turnedBy(next.uniform(0, Math.PI)),
    value: value(),
  }));
}

/** Below 1 inside. */
function reachOf({ x, y, a, b, turned }: Omit<Blob, 'value'>, px: number, py: number): number {
  const dx = px - x;
  const dy = py - y;
  const u = (dx * turned[0] + dy * turned[1]) / a;
  const v = (dy * turned[0] - dx * turned[1]) / b;
  return Math.sqrt(u * u + v * v);
}

function logUniform(next: Random, low: number, high: number): number {
  return low * (high / low) ** next.uniform(0, 1);
}

function chance(next: Random, share: number): boolean {
  return next.uniform(0, 1) < share;
}

function textured(next: Random, count: number, low: number, high: number): (x: number, y: number) => number {
  const waves = Array.from({ length: count }, () => {
    const [turn, frequency] = [next.uniform(0, Math.PI), logUniform(next, low, high)];
    return [frequency * Math.cos(turn), frequency * Math.sin(turn), next.uniform(0, 6.3)] as const;
  });
  return (x, y) => waves.reduce((sum, [u, v, phase]) => sum + Math.sin(u * x + v * y + phase), 0) / Math.sqrt(count);
}

/** Draws at the sampled places with noise; blur in pixels, then the noise of that blur's colour. */
function drawn(
  next: Random,
  anatomy: Anatomy,
  { blur, sigma, slices, rician }: { blur: number; sigma: number; slices: number; rician: boolean },
): Float32Array {
  const [columns, rows] = [SIDE, SIDE];
  const out = new Float32Array(columns * rows * slices);
  const weight = Math.min(0.3, blur ** 2 / 2);
  const smooth = (values: Float32Array): Float32Array => {
    const along = (from: Float32Array, stride: number): Float32Array =>
      from.map((v, i) => (1 - 2 * weight) * v + weight * ((from[i - stride] ?? v) + (from[i + stride] ?? v)));
    return along(along(values, 1), columns);
  };
  const coloured = chance(next, 0.6);
  const field = (): Float32Array => {
    const white = Float32Array.from({ length: columns * rows }, () => next.normal());
    if (!coloured) return white;
    const made = smooth(white);
    const power = Math.sqrt(made.reduce((sum, v) => sum + v * v, 0) / made.length);
    return made.map((v) => v / power);
  };
  for (let k = 0; k < slices; k++) {
    const z = slices === 1 ? 0 : (2 * k) / (slices - 1) - 1;
    const picture = smooth(
      Float32Array.from({ length: columns * rows }, (_, i) =>
        anatomy(((i % columns) * 2) / columns - 1, (Math.floor(i / columns) * 2) / rows - 1, z),
      ),
    );
    const [real, imaginary] = [field(), rician ? field() : undefined];
    for (let i = 0; i < picture.length; i++) {
      const value = picture[i]! + sigma * real[i]!;
      out[k * picture.length + i] = imaginary === undefined ? value : Math.hypot(value, sigma * imaginary[i]!);
    }
  }
  return out;
}

/** Body, head or limb in air, or a field of view within the body. */
function ctOf(next: Random): Sample {
  const part = next.uniform(0, 1);
  const fill = part < 0.25 ? next.uniform(1.1, 2) : part < 0.45 ? next.uniform(0.3, 0.6) : next.uniform(0.6, 1.05);
  const outline = {
    x: next.uniform(-0.1, 0.1),
    y: next.uniform(-0.15, 0.15),
    a: fill,
    b: fill * next.uniform(0.6, 1),
    turned: turnedBy(0),
  };
  const [fat, muscle, shell] = [next.uniform(0.6, 0.98), next.uniform(20, 70), chance(next, 0.25)];
  const organs = blobs(next, 10, 0.7 * fill, [0.05, 0.35], () => next.uniform(-40, 160));
  const lungs = chance(next, 0.45) ? blobs(next, 2, 0.5 * fill, [0.2, 0.45], () => next.uniform(-920, -650)) : [];
  const bones = blobs(next, 1 + Math.floor(next.uniform(0, 9)), 0.8 * fill, [0.02, 0.16], () =>
    next.uniform(250, 1300),
  );
  const vessels = blobs(next, 25, 0.7 * fill, [0.008, 0.05], () => next.uniform(40, 400));
  const gas = chance(next, 0.5) ? blobs(next, 3, 0.5 * fill, [0.02, 0.12], () => -950) : [];
  const table = chance(next, 0.6) ? next.uniform(0.72, 0.95) : 2;
  const grain = textured(next, 8, 20, 90);
  const coarse = next.uniform(0, 12);
  const circle = chance(next, 0.3);
  const anatomy: Anatomy = (x, y) => {
    if (circle && Math.hypot(x, y) > 1) return -1024;
    const inside = reachOf(outline, x, y);
    if (inside > 1) return y > table && y < table + 0.04 ? -300 : -1000;
    if (shell && inside > 0.88 && inside < 0.96) return 1000;
    if (inside > fat) return -100 + coarse * grain(x, y);
    let value = shell ? 32 : muscle;
    for (const set of [lungs, organs, gas, vessels, bones])
      for (const one of set) if (reachOf(one, x, y) < 1) value = one.value;
    return value + coarse * grain(x, y);
  };
  const slices = chance(next, 0.2) ? 1 : SLICES;
  const sigma = logUniform(next, 2, 90);
  const voxels = drawn(next, anatomy, { blur: next.uniform(0, 0.8), sigma, slices, rician: false });
  const matrix = chance(next, 0.6) ? 512 : Math.round(logUniform(next, 256, 1024));
  const pixel = logUniform(next, 110, 520) / matrix;
  return {
    matrix,
    volume: volumeOf(voxels.map(Math.round), [SIDE, SIDE, slices], [pixel, pixel, logUniform(next, 0.4, 10)], 'CT'),
  };
}

/** Magnitude images: head, trunk, limb, phantom or fruit; any contrast, coil and field of view; air with its noise or set to zero. */
function mrOf(next: Random): Sample {
  const fill = next.uniform(0.35, 1.5);
  const outline = {
    x: next.uniform(-0.15, 0.15),
    y: next.uniform(-0.15, 0.15),
    a: fill,
    b: fill * next.uniform(0.55, 1.2),
    turned: turnedBy(0),
  };
  const tissues = Array.from({ length: 6 }, () => next.uniform(0.04, 1));
  const rim = chance(next, 0.6) ? next.uniform(0.8, 0.97) : 2;
  const organs = blobs(next, 14, 0.8 * fill, [0.03, 0.5], () => tissues[Math.floor(next.uniform(0, 6))]!);
  const details = blobs(next, 25, 0.8 * fill, [0.008, 0.06], () => next.uniform(0, 1.3));
  const folds = textured(next, 6, 6, 40);
  const folded = chance(next, 0.5) ? next.uniform(-0.6, 0.6) : 9;
  const grain = textured(next, 8, 20, 90);
  const roughness = next.uniform(0, 0.06);
  const coil = blobs(next, 2, 1.2, [0.8, 3], () => next.uniform(-0.7, 0.7));
  const background = next.uniform(0, 0.03);
  const anatomy: Anatomy = (x, y, z) => {
    const inside = reachOf(outline, x, y) + 0.1 * z * z;
    if (inside > 1) return background;
    let value = inside > rim ? tissues[0]! : inside > rim - 0.08 ? tissues[1]! : tissues[2]!;
    if (inside < 0.8 && folds(x + 0.1 * z, y) > folded) value = tissues[3]!;
    for (const set of [organs, details])
      for (const one of set) if (inside < rim && reachOf(one, x, y) < 1) value = one.value;
    const shading = coil.reduce((sum, one) => sum + one.value * Math.exp(-(reachOf(one, x, y) ** 2) / 2), 0);
    return value * (1 + roughness * grain(x, y)) * Math.exp(shading);
  };
  const slices = chance(next, 0.15) ? 1 : SLICES;
  const sigma = logUniform(next, 0.003, 0.15);
  const voxels = drawn(next, anatomy, { blur: next.uniform(0, 0.8), sigma, slices, rician: true });
  const scale = logUniform(next, 60, 4000);
  const masked = chance(next, 0.3) ? 3.5 * sigma : 0;
  const matrix = Math.round(logUniform(next, 72, 640));
  const pixel = logUniform(next, 60, 480) / matrix;
  const aspect = chance(next, 0.1) ? next.uniform(0.8, 1.25) : 1;
  return {
    matrix,
    volume: volumeOf(
      voxels.map((value) => (value < masked ? 0 : Math.round(value * scale))),
      [SIDE, SIDE, slices],
      [pixel, pixel * aspect, logUniform(next, 0.4, 10)],
      'MR',
    ),
  };
}

/** A chest, a limb or a skull, bright or dark where rays pass, collimated or not. */
function radiographOf(next: Random): Sample {
  const chest = chance(next, 0.55);
  const body = {
    x: 0,
    y: next.uniform(-0.1, 0.4),
    a: chest ? next.uniform(0.8, 1.5) : next.uniform(0.2, 0.9),
    b: next.uniform(0.9, 2),
    turned: turnedBy(next.uniform(-0.2, 0.2)),
  };
  const lungs = chest
    ? [-1, 1].map((side) => ({
        x: side * next.uniform(0.35, 0.5),
        y: next.uniform(-0.15, 0.1),
        a: next.uniform(0.22, 0.36),
        b: next.uniform(0.45, 0.75),
        turned: turnedBy(0),
        value: 0,
      }))
    : [];
  const bones = blobs(next, chest ? 4 : 8, 0.6, [0.04, 0.5], () => next.uniform(0.1, 0.5));
  const [ribs, tilt] = [next.uniform(8, 14), next.uniform(0.5, 1.5)];
  const [air, tissue] = [next.uniform(0, 0.15), next.uniform(0.5, 0.9)];
  const edge = chance(next, 0.4) ? next.uniform(0.8, 0.97) : 2;
  const grain = textured(next, 10, 15, 90);
  const anatomy: Anatomy = (x, y) => {
    if (Math.max(Math.abs(x), Math.abs(y)) > edge) return 1.1;
    const inside = reachOf(body, x, y);
    if (inside > 1) return air;
    // The path through a rounded body; air in the lungs, bone on top.
    let value = air + tissue * Math.sqrt(1 - inside * inside) * 0.6 + tissue * 0.4;
    for (const lung of lungs) if (reachOf(lung, x, y) < 1) value -= 0.55 * tissue * (1 - reachOf(lung, x, y) ** 4);
    if (chest) value += 0.05 * Math.max(0, Math.sin(ribs * (y + tilt * x * x))) + (Math.abs(x) < 0.08 ? 0.2 : 0);
    for (const bone of bones) if (reachOf(bone, x, y) < 1) value += bone.value * 0.5;
    return value + 0.01 * grain(x, y);
  };
  const voxels = drawn(next, anatomy, {
    blur: next.uniform(0, 0.8),
    sigma: logUniform(next, 0.001, 0.04),
    slices: 1,
    rician: false,
  });
  const top = 2 ** Math.floor(next.uniform(8, 16)) - 1;
  const inverted = chance(next, 0.5);
  const gamma = next.uniform(0.6, 1.6);
  const matrix = Math.round(logUniform(next, 900, 4000));
  const pixel = logUniform(next, 150, 430) / matrix;
  const stored = voxels.map((value) => {
    const share = Math.min(1, Math.max(0, value / 1.4)) ** gamma;
    return Math.round(top * (inverted ? 1 - share : share));
  });
  return { matrix, volume: volumeOf(stored, [SIDE, SIDE, 1], [pixel, pixel, 1], 'DX') };
}
