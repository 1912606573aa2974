/**
 * Heads with a known shading: ellipsoids of skin, skull, fluid, grey and white matter with folds, Rician noise, times a smooth field that
 * is no B-spline (a sum of wide Gaussians, as near coils make). Fixed seeds; 0 to 9 were used to choose settings, 100 to 104 are measured.
 *
 *   node heads.ts FOLDER        # writes each case as raw float32 for other programs
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { random } from '../../cases.ts';

export const SIZE = [160, 176, 128] as const;
export const SPACING = [1.2, 1.2, 1.4] as const;
export const SEEDS = [100, 101, 102, 103, 104];

export interface Head {
  readonly shaded: Float32Array;
  /** The logarithm of the field. */
  readonly logField: Float32Array;
  /** 1 inside the head. */
  readonly body: Uint8Array;
  readonly white: Uint8Array;
}

const TISSUES = { skin: 0.8, skull: 0.12, fluid: 0.25, grey: 0.6, white: 1 };

export function makeHead(seed: number): Head {
  const next = random(seed);
  const [nx, ny, nz] = SIZE;
  const count = nx * ny * nz;
  const [shaded, logField] = [new Float32Array(count), new Float32Array(count)];
  const [body, white] = [new Uint8Array(count), new Uint8Array(count)];
  const lumps = Array.from({ length: 4 }, () => ({
    at: [next.uniform(-0.9, 0.9), next.uniform(-0.9, 0.9), next.uniform(-0.9, 0.9)],
    width: next.uniform(0.7, 1.4),
    height: next.uniform(-0.5, 0.5),
  }));
  const folds = Array.from({ length: 6 }, () => [
    next.uniform(8, 20),
    next.uniform(8, 20),
    next.uniform(8, 20),
    next.uniform(0, 6),
  ]);
  const axes = [next.uniform(0.82, 0.92), next.uniform(0.86, 0.94), next.uniform(0.8, 0.92)];
  const noise = next.uniform(0.01, 0.04);
  for (let k = 0, i = 0; k < nz; k++)
    for (let j = 0; j < ny; j++)
      for (let c = 0; c < nx; c++, i++) {
        const [x, y, z] = [(2 * c) / (nx - 1) - 1, (2 * j) / (ny - 1) - 1, (2 * k) / (nz - 1) - 1];
        const r = Math.hypot(x / axes[0]!, y / axes[1]!, z / axes[2]!);
        const fold = folds.reduce((sum, f) => sum + Math.sin(f[0]! * x + f[1]! * y + f[2]! * z + f[3]!), 0) / 6;
        const tissue =
          r > 1
            ? 0
            : r > 0.94
              ? TISSUES.skin
              : r > 0.88
                ? TISSUES.skull
                : r > 0.84
                  ? TISSUES.fluid
                  : Math.hypot(x * 5, (y - 0.1) * 3, z * 4) < 0.6
                    ? TISSUES.fluid
                    : r > 0.7 + 0.25 * fold
                      ? TISSUES.grey
                      : TISSUES.white;
        for (const { at, width, height } of lumps)
          logField[i]! +=
            height * Math.exp(-((x - at[0]!) ** 2 + (y - at[1]!) ** 2 + (z - at[2]!) ** 2) / (2 * width * width));
        const signal = 1000 * tissue * Math.exp(logField[i]!);
        shaded[i] = Math.hypot(signal + 1000 * noise * next.normal(), 1000 * noise * next.normal());
        body[i] = r <= 0.84 ? 1 : 0;
        white[i] = tissue === TISSUES.white && r <= 0.8 ? 1 : 0;
      }
  return { shaded, logField, body, white };
}

/** Standard deviation over the body of the difference of two log fields, per cent: a constant factor does not count. */
export function fieldErrorPercent({ shaded, logField, body }: Head, corrected: Float32Array): number {
  let [sum, squares, count] = [0, 0, 0];
  for (let i = 0; i < body.length; i++) {
    if (body[i] === 0 || !(corrected[i]! > 0) || !(shaded[i]! > 0)) continue;
    const difference = Math.log(shaded[i]! / corrected[i]!) - logField[i]!;
    sum += difference;
    squares += difference * difference;
    count++;
  }
  return 100 * Math.sqrt(squares / count - (sum / count) ** 2);
}

export function variationPercent({ white }: Head, values: Float32Array): number {
  let [sum, squares, count] = [0, 0, 0];
  for (let i = 0; i < white.length; i++) {
    if (white[i] === 0) continue;
    sum += values[i]!;
    squares += values[i]! ** 2;
    count++;
  }
  return (100 * Math.sqrt(squares / count - (sum / count) ** 2)) / (sum / count);
}

if (import.meta.main) {
  const folder = process.argv[2] ?? '.';
  mkdirSync(folder, { recursive: true });
  for (const seed of SEEDS) {
    const head = makeHead(seed);
    for (const [name, values] of Object.entries(head) as [string, Float32Array | Uint8Array][])
      writeFileSync(join(folder, `${seed}.${name}`), Buffer.from(values.buffer));
  }
}
