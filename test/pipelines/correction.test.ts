/** Denoising of a CT phantom whose truth is known, with the model as it is shipped. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Refusal } from '../../src/dicom/refusal.ts';
import { boxMean } from '../../src/pipelines/body.ts';
import { denoise, parseDenoiseSettings } from '../../src/pipelines/correction.ts';
import type { DenoiseInput, DenoiseModel } from '../../src/pipelines/correction.ts';
import { openGraph } from '../../src/pipelines/graph-session.ts';
import { loadModel } from '../../src/pipelines/manifest.ts';
import type { Tensor } from '../../src/pipelines/session.ts';
import { makePhantom, METAL_HU, PADDING_HU, volumeOf, type Phantom, type PhantomOptions } from './ct-phantom.ts';

const folder = fileURLToPath(new URL('../../models/ct-denoise', import.meta.url));
const STORED = { lowestHU: -2048, highestHU: 4095, paddingHU: [PADDING_HU, PADDING_HU] } as const;
let model: DenoiseModel;

before(async () => {
  const loaded = loadModel(folder);
  model = { session: await openGraph(loaded, 'denoise', 1), gates: loaded.card.gates };
});

after(() => model.session.release());

function phantom(options: Partial<PhantomOptions> = {}): Phantom {
  return makePhantom({ columns: 256, rows: 256, slices: 1, sigmaHU: 28, colour: 'coloured', seed: 5, ...options });
}

function statistics(values: Float32Array, mask: Uint8Array): { mean: number; deviation: number } {
  const inside = values.subarray(0, mask.length).filter((_, i) => mask[i] === 1);
  const mean = inside.reduce((sum, value) => sum + value, 0) / inside.length;
  return { mean, deviation: Math.sqrt(inside.reduce((sum, value) => sum + (value - mean) ** 2, 0) / inside.length) };
}

/** What is asked of a refused input: reason and a part of the sentence. */
function refusedWith(sentence: RegExp, reason = 'PipelineRefused') {
  return (error: unknown) => error instanceof Refusal && error.reason === reason && sentence.test(error.message);
}

/** A model that answers each slice by a function instead of the network. */
function instead(answer: (x: Float32Array, columns: number, rows: number) => Float32Array): DenoiseModel {
  const run = (feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>> => {
    const { dims, data } = feeds['x']!;
    return Promise.resolve({ y: { dims, data: answer(data, dims[3]!, dims[2]!) } });
  };
  return { session: { ...model.session, run }, gates: model.gates };
}

function blurred(x: Float32Array, columns: number, rows: number, radius: number): Float32Array {
  const out = new Float64Array(x.length);
  boxMean(x, columns, rows, radius, out);
  return Float32Array.from(out);
}

for (const colour of ['white', 'coloured'] as const) {
  test(`28 HU of ${colour} noise fall to at most 10 HU, and CT numbers stay`, async () => {
    const { volume, truth, flat, inserts } = phantom({ colour });
    const { voxels, quality, verdict } = await denoise(model, { volume, storedRange: STORED });
    const [source, result] = [statistics(volume.voxels, flat), statistics(voxels, flat)];
    assert.ok(source.deviation > 26 && result.deviation < 10, `${result.deviation} HU left`);
    assert.ok(Math.abs(result.mean - source.mean) < 1, `bias ${result.mean - source.mean} HU`);
    for (const { core, contrastHU } of inserts) {
      const error = statistics(voxels, core).mean - statistics(truth, core).mean;
      assert.ok(Math.abs(error) < 5, `insert of ${contrastHU} HU is wrong by ${error} HU`);
    }
    assert.ok(Math.abs(quality.sigmaBeforeHU - 28) < 28 / 3 && quality.sigmaAfterHU < quality.sigmaBeforeHU / 2);
    assert.equal(quality.colour, colour);
    assert.equal(verdict.outcome, 'pass', JSON.stringify(verdict));
  });
}

test('an offset and a scale of the slice pass through the graph unchanged', async () => {
  const { volume } = phantom({ columns: 64, rows: 64 });
  const run = async (data: Float32Array, sigma: number): Promise<Float32Array> =>
    (
      await model.session.run({
        x: { dims: [1, 1, 64, 64], data },
        sigma: { dims: [1, 1, 1, 1], data: Float32Array.of(sigma) },
      })
    )['y']!.data;
  const plain = await run(volume.voxels, 28);
  const moved = await run(
    volume.voxels.map((value) => 3 * value + 700),
    84,
  );
  plain.forEach((value, i) => assert.ok(Math.abs(3 * value + 700 - moved[i]!) < 0.1));
});

test('the result is closer to the truth than the source', async () => {
  const { volume, truth } = phantom();
  const { voxels } = await denoise(model, { volume, storedRange: STORED });
  const error = (values: Float32Array): number =>
    Math.sqrt(values.reduce((sum, value, i) => sum + (truth[i]! > -950 ? (value - truth[i]!) ** 2 : 0), 0));
  assert.ok(error(voxels) < 0.5 * error(volume.voxels), `${error(voxels) / error(volume.voxels)} of the error left`);
});

test('air outside the body, padding and metal stay bit for bit', async () => {
  const { volume, truth } = phantom();
  const { voxels, quality } = await denoise(model, { volume, storedRange: STORED });
  const centre = 127.5;
  let checked = 0;
  for (let i = 0; i < truth.length; i++) {
    const [x, y] = [(i % 256) - centre, Math.floor(i / 256) - centre];
    // Twelve pixels and more outside the skin of the ellipse of 0.74 x 0.62.
    const outside = (x / (0.74 * 128 + 12)) ** 2 + (y / (0.62 * 128 + 12)) ** 2 > 1;
    if (!outside && truth[i] !== METAL_HU) continue;
    assert.equal(voxels[i], volume.voxels[i]);
    checked++;
  }
  assert.ok(checked > 20000 && quality.correctedVoxelShare > 0.3 && quality.correctedVoxelShare < 0.6);
});

test('padding of a value that tissue may have stays where it is padding', async () => {
  const { volume, truth } = phantom();
  const voxels = volume.voxels.map((value, i) => (truth[i] === PADDING_HU ? 0 : value));
  const result = await denoise(model, {
    volume: { ...volume, voxels },
    storedRange: { ...STORED, paddingHU: [-10, 0] },
  });
  truth.forEach((value, i) => value === PADDING_HU && assert.equal(result.voxels[i], 0));
});

test('the source is not changed, and the same input gives the same bytes', async () => {
  const { volume } = phantom({ columns: 128, rows: 128 });
  const copy = volume.voxels.slice();
  const first = await denoise(model, { volume, storedRange: STORED });
  const second = await denoise(model, { volume, storedRange: STORED });
  assert.deepEqual(volume.voxels, copy);
  assert.ok(Buffer.from(first.voxels.buffer).equals(Buffer.from(second.voxels.buffer)));
  assert.deepEqual(first.quality, second.quality);
});

test('odd numbers of rows and columns come back as they were', async () => {
  const { volume, flat } = phantom({ columns: 201, rows: 175 });
  const { voxels } = await denoise(model, { volume, storedRange: STORED });
  assert.equal(voxels.length, 201 * 175);
  assert.ok(statistics(voxels, flat).deviation < 15);
});

test('a smaller alpha takes less noise away', async () => {
  const { volume, flat } = phantom({ columns: 160, rows: 160 });
  const left = async (alpha: number): Promise<number> =>
    statistics((await denoise(model, { volume, settings: { alpha } })).voxels, flat).deviation;
  const [weak, strong] = [await left(0.3), await left(0.7)];
  assert.ok(weak > 17 && strong < 12, `${weak} and ${strong} HU left`);
});

test('without a setting 85 % of coloured noise is taken away and 95 % of white', async () => {
  for (const [colour, alpha] of [
    ['coloured', 0.85],
    ['white', 0.95],
  ] as const) {
    const { volume } = phantom({ columns: 160, rows: 160, colour });
    const { quality } = await denoise(model, { volume });
    assert.deepEqual({ colour: quality.colour, alpha: quality.alpha }, { colour, alpha });
  }
});

test('slices are corrected by their own noise; constant ones and progress among them', async () => {
  const loud = phantom({ columns: 128, rows: 128, slices: 3, sigmaHU: 40 });
  const quiet = phantom({ columns: 128, rows: 128, slices: 3, sigmaHU: 10 });
  const pixels = 128 * 128;
  const voxels = new Float32Array(7 * pixels).fill(-1000);
  voxels.set(loud.volume.voxels, 0);
  voxels.set(quiet.volume.voxels, 4 * pixels);
  const shares: number[] = [];
  const result = await denoise(model, { volume: volumeOf(128, 128, 7, voxels), storedRange: STORED }, (_, share) =>
    shares.push(share),
  );
  assert.deepEqual(result.voxels.subarray(3 * pixels, 4 * pixels), voxels.subarray(3 * pixels, 4 * pixels));
  assert.equal(result.quality.correctedSlices, 6);
  assert.ok(statistics(result.voxels, loud.flat).deviation < 20);
  assert.ok(statistics(result.voxels.subarray(6 * pixels), quiet.flat).deviation < 6);
  assert.deepEqual(shares.length, 7);
  assert.equal(shares.at(-1), 1);
});

test('nothing is clipped that was not, however narrow the stored range', async () => {
  const { volume } = phantom();
  const voxels = volume.voxels.map((value) => Math.min(60, Math.max(-1024, value)));
  const storedRange = { lowestHU: -1024, highestHU: 60 };
  const result = await denoise(model, { volume: { ...volume, voxels }, storedRange });
  assert.ok(result.quality.clippedBefore > 1000);
  assert.ok(result.quality.clippedAfter <= result.quality.clippedBefore);
  assert.ok(result.voxels.every((value) => value >= -1024 && value <= 60));
});

const refusals: [string, (input: DenoiseInput) => DenoiseInput, RegExp][] = [
  ['MR', ({ volume }) => ({ volume: { ...volume, modality: 'MR' } }), /Modality \(0008,0060\) is MR, expected CT/],
  ['a localizer', (input) => ({ ...input, imageType: ['ORIGINAL', 'PRIMARY', 'LOCALIZER'] }), /LOCALIZER/],
  ['its own result', (input) => ({ ...input, imageType: ['DERIVED', 'SECONDARY', 'DENOISED'] }), /DENOISED/],
  ['values that are not HU', (input) => ({ ...input, rescaleType: 'US' }), /Rescale Type \(0028,1054\) is not HU/],
  [
    'stored values without rescale',
    ({ volume }) => ({ volume: { ...volume, voxels: volume.voxels.map((value) => Math.max(0, value + 1024)) } }),
    /lowest value is 0, expected Hounsfield units/,
  ],
  [
    'a constant volume',
    () => ({ volume: volumeOf(64, 64, 2, new Float32Array(8192).fill(-40)) }),
    /nothing to correct/,
  ],
  ['a volume without slices', () => ({ volume: volumeOf(64, 64, 0, new Float32Array(0)) }), /at least 1/],
  [
    'voxels that do not fill the geometry',
    ({ volume }) => ({ volume: { ...volume, voxels: volume.voxels.subarray(1) } }),
    /16383 voxels, expected 128 x 128 x 1/,
  ],
  [
    'a voxel that is not a number',
    ({ volume }) => ({
      volume: { ...volume, voxels: volume.voxels.map((value, i) => (i === 99 ? Number.NaN : value)) },
    }),
    /not a finite number/,
  ],
  [
    'pixels of 5 mm',
    ({ volume }) => ({ volume: { ...volume, geometry: { ...volume.geometry, spacingMm: [5, 5, 5] } } }),
    /pixel spacing is 5 mm/,
  ],
  ['noise of 400 HU', () => ({ volume: phantom({ sigmaHU: 400 }).volume }), /HU of noise found, expected 2 to/],
  [
    'an empty stored range',
    (input) => ({ ...input, storedRange: { lowestHU: 5, highestHU: 5 } }),
    /lowest below highest/,
  ],
];
for (const [what, change, sentence] of refusals) {
  test(`${what} is refused, with what was found`, async () => {
    const { volume } = phantom({ columns: 128, rows: 128, colour: 'white' });
    await assert.rejects(denoise(model, change({ volume })), refusedWith(sentence));
  });
}

test('settings out of bounds and unknown ones are refused', () => {
  for (const alpha of [1, 1.5, 0.96, 0, -1, Number.NaN, '0.6']) {
    assert.throws(() => parseDenoiseSettings({ alpha }), refusedWith(/alpha must be a number/, 'BadConfiguration'));
  }
  assert.throws(() => parseDenoiseSettings({ strength: 0.5 }), refusedWith(/no setting strength/, 'BadConfiguration'));
  assert.deepEqual(parseDenoiseSettings({}), {});
  assert.deepEqual(parseDenoiseSettings({ alpha: 0.5 }), { alpha: 0.5 });
});

test('a network that does nothing is refused: no noise went', async () => {
  const { volume } = phantom();
  await assert.rejects(
    denoise(
      instead((x) => x.slice()),
      { volume },
    ),
    refusedWith(/noiseLeft is 1/),
  );
});

for (const sigmaHU of [6, 12, 28]) {
  test(`a network that merely blurs is refused at ${sigmaHU} HU of noise`, async () => {
    const { volume } = phantom({ sigmaHU });
    const bad = instead((x, columns, rows) => blurred(x, columns, rows, 2));
    await assert.rejects(denoise(bad, { volume }), refusedWith(/residualShare is/));
  });
}

test('a network that shifts CT numbers is refused, and one that gives no numbers is an error', async () => {
  const { volume } = phantom();
  const { session } = model;
  const shifting: DenoiseModel = {
    gates: model.gates,
    session: {
      ...session,
      run: async (feeds) => {
        const { y } = await session.run(feeds);
        return { y: { dims: y!.dims, data: y!.data.map((value) => value + 8) } };
      },
    },
  };
  await assert.rejects(
    denoise(shifting, { volume }),
    refusedWith(/meanShiftSoftTissueHU is [67]\.\d+, expected at most 1/),
  );
  await assert.rejects(
    denoise(
      instead((x) => x.map(() => Number.NaN)),
      { volume },
    ),
    /not a number/,
  );
  await assert.rejects(
    denoise(
      instead((x) => x.subarray(1)),
      { volume },
    ),
    /no slice of equal size/,
  );
});

test('what the network takes away has no low frequencies: means over 24 x 24 pixels stay, whatever lies there', async () => {
  const { volume, truth } = phantom({ sigmaHU: 40, colour: 'white' });
  const sigma = { dims: [1, 1, 1, 1], data: Float32Array.of(40) };
  const { y } = await model.session.run({ x: { dims: [1, 1, 256, 256], data: volume.voxels }, sigma });
  const [means, changes]: [number[], number[]] = [[], []];
  for (let top = 64; top + 24 <= 192; top += 8) {
    for (let left = 64; left + 24 <= 192; left += 8) {
      let [change, power] = [0, 0];
      for (let i = 0; i < 24 * 24; i++) {
        const at = (top + Math.floor(i / 24)) * 256 + left + (i % 24);
        if (truth[at] === METAL_HU) power = Infinity;
        change += (y!.data[at]! - volume.voxels[at]!) / (24 * 24);
        power += (y!.data[at]! - volume.voxels[at]!) ** 2 / (24 * 24);
      }
      if (!Number.isFinite(power)) continue;
      means.push(Math.abs(change));
      changes.push(Math.sqrt(power));
    }
  }
  assert.ok(means.length > 100 && changes.every((value) => value > 20), 'noise is taken away everywhere');
  assert.ok(Math.max(...means) < 3, `${Math.max(...means)} HU of a mean went away`);
});
