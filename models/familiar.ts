/**
 * Fits the out-of-distribution check of the correction models on the samples of familiar-samples.ts and writes models/<id>/familiar.json,
 * the same bytes every time; prints the hash for the card and what is passed, warned of and refused of samples not fitted on.
 *
 *   node models/familiar.ts [ID ...]
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { featureValues, figuresOf, type Familiarity, type FeatureName } from '../src/pipelines/familiarity.ts';
import { growForest } from '../src/pipelines/isolation-forest.ts';
import { random } from './cases.ts';
import { sampleOf, type Kind, type Sample } from './familiar-samples.ts';

const SHAPE: readonly FeatureName[] = [
  'entropy',
  'noise',
  'noiseColour',
  'gradient',
  'gradientKurtosis',
  'matrix',
  'pixelMm',
  'pixelAspect',
];
const SHARES: readonly FeatureName[] = [
  'lowerShare',
  'middleShare',
  'upperShare',
  'darkShare',
  'brightShare',
  'borderShare',
];

const FEATURES_OF: Readonly<Record<Kind, readonly FeatureName[]>> = {
  CT: ['lowHU', 'middleHU', 'highHU', 'borderHU', 'gasShare', 'denseShare', ...SHAPE, 'sliceMm'],
  MR: [...SHARES, ...SHAPE, 'sliceMm'],
  XR: [...SHARES, ...SHAPE],
};

const KIND_OF: Readonly<Record<string, Kind>> = {
  'ct-denoise': 'CT',
  'mr-denoise': 'MR',
  'mr-bias': 'MR',
  gibbs: 'MR',
  'xr-exposure': 'XR',
};

const FITTED = 400;
const HELD_BACK = 100;
const TREES = 60;
const SUBSAMPLE = 128;
/** What a refused series lies beyond the farthest sample of the fit. */
const BEYOND = { unfamiliarFeatures: 1, farthestFeature: 0.5, isolation: 0.01 };

function fit(kind: Kind): { json: string; told: string } {
  const names = FEATURES_OF[kind];
  const vectors = Array.from({ length: FITTED }, (_, seed) => valuesOf(sampleOf(kind, seed), names));
  const features = names.map((name, i) => ({ name, fence: fenceOf(vectors.map((vector) => vector[i]!)) }));
  const forest = growForest(vectors, { trees: TREES, samples: SUBSAMPLE, ...random(20261121) });
  const figures = vectors.map((vector) => figuresOf({ features, ...forest }, vector));
  const limits = Object.fromEntries(
    (['unfamiliarFeatures', 'farthestFeature', 'isolation'] as const).map((name) => {
      const sorted = figures.map((one) => one[name]).sort((a, b) => a - b);
      const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))]!;
      // Passed: as far out as 99 of 100 samples. Refused: clearly beyond all of them.
      return [name, { max: rounded(at(0.99)), hard: rounded(at(1) + BEYOND[name]) }];
    }),
  ) as Familiarity['limits'];
  const beyond = (level: 'max' | 'hard', samples: readonly Sample[]): number =>
    samples.filter((sample) => {
      const found = figuresOf({ features, ...forest }, valuesOf(sample, names));
      return Object.entries(limits).some(([name, gate]) => found[name as keyof typeof found] > gate[level]!);
    }).length;
  const fresh = (of: Kind): Sample[] => Array.from({ length: HELD_BACK }, (_, n) => sampleOf(of, 10_000 + n));
  const own = fresh(kind);
  const foreign: Record<string, Sample[]> = {
    inverted: own.map(inverted),
    ...Object.fromEntries((['CT', 'MR', 'XR'] as const).filter((other) => other !== kind).map((of) => [of, fresh(of)])),
  };
  const refused = Object.entries(foreign).map(([name, samples]) => `${name} ${beyond('hard', samples)}`);
  const told =
    `of ${HELD_BACK} not fitted on, ${beyond('max', own) - beyond('hard', own)} warned of, ${beyond('hard', own)} refused; ` +
    `of ${HELD_BACK} foreign ones refused: ${refused.join(', ')}; ${JSON.stringify(limits)}`;
  return { json: `${JSON.stringify({ features, samples: forest.samples, limits, trees: forest.trees })}\n`, told };
}

function valuesOf({ volume, matrix }: Sample, names: readonly FeatureName[]): number[] {
  const values = featureValues(volume, names);
  return values.map((value, i) => (names[i] === 'matrix' ? Math.log2(matrix) : value));
}

function inverted({ volume, matrix }: Sample): Sample {
  return { matrix, volume: { ...volume, voxels: volume.voxels.map((value) => -value) } };
}

function fenceOf(values: readonly number[]): [number, number] {
  const sorted = values.toSorted((a, b) => a - b);
  const [first, third] = [sorted[Math.floor(0.25 * sorted.length)]!, sorted[Math.floor(0.75 * sorted.length)]!];
  // A feature that is nearly always the same (square pixels) still gets a fence of some width.
  const reach = 1.5 * Math.max(third - first, 0.1 * (sorted.at(-1)! - sorted[0]!), 1e-3);
  return [rounded(first - reach), rounded(third + reach)];
}

function rounded(value: number): number {
  return Number(value.toPrecision(5));
}

if (import.meta.main) {
  const asked = process.argv.slice(2);
  const made = new Map<Kind, ReturnType<typeof fit>>();
  for (const [id, kind] of Object.entries(KIND_OF)) {
    if (asked.length > 0 && !asked.includes(id)) continue;
    const { json, told } = made.get(kind) ?? fit(kind);
    made.set(kind, { json, told });
    writeFileSync(join(import.meta.dirname, id, 'familiar.json'), json);
    process.stdout.write(`${id}: sha256 ${createHash('sha256').update(json).digest('hex')}, ${told}\n`);
  }
}
