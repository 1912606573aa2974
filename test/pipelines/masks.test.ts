/** What surrounds a graph that makes masks: connected parts, holes, pictures fitted and put back, channels put together from pieces. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { axialGrid } from '../../src/dicom/volume.ts';
import { maskFigures } from '../../src/pipelines/mask-figures.ts';
import { fillHoles, keepLargest, partsOf } from '../../src/pipelines/mask-parts.ts';
import { prepare, standing, type Grid, type Prepared } from '../../src/pipelines/zoo-steps.ts';
import { byPieces } from '../../src/pipelines/zoo-tiles.ts';
import { Refusal } from '../../src/dicom/refusal.ts';

function labelsOf(...rows: string[]): Uint8Array {
  return Uint8Array.from([...rows.join('')].map((sign) => (sign === '.' ? 0 : Number(sign))));
}

function drawn(labels: Uint8Array, columns: number): string[] {
  const text = [...labels].map((label) => (label === 0 ? '.' : String(label))).join('');
  return text.match(new RegExp(`.{${columns}}`, 'g')) ?? [];
}

test('parts touch by their sides, not by their corners; the largest are kept', () => {
  const labels = labelsOf('11..1', '1..1.', '..11.');
  const { sizes, atEdge } = partsOf(labels, [5, 3, 1], 1);
  assert.deepEqual([...sizes].sort(), [1, 3, 3]);
  assert.ok(atEdge.every(Boolean));
  keepLargest(labels, [5, 3, 1], 1, 2);
  assert.deepEqual(drawn(labels, 5), ['11...', '1..1.', '..11.']);
});

test('parts go on from slice to slice', () => {
  const labels = labelsOf('1..', '...', '1..', '..1');
  assert.deepEqual(partsOf(labels, [3, 2, 2], 1).sizes, [2, 1]);
});

test('a hole that one segment encloses is filled; one between two segments or open to the edge is not', () => {
  const labels = labelsOf('111.222.1', '1.1.2.1.1', '111.222.1', '1111.....');
  fillHoles(labels, [9, 4, 1]);
  assert.deepEqual(drawn(labels, 9), ['111.222.1', '111.2.1.1', '111.222.1', '1111.....']);
});

test('whatever the mask: parts cover it exactly, and keeping all of them changes nothing', () =>
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 324, maxLength: 324 }),
      (nx, ny, nz, values) => {
        const labels = Uint8Array.from(values.slice(0, nx * ny * nz));
        const { starts, ends, numbers, sizes } = partsOf(labels, [nx, ny, nz], 1);
        const covered = new Uint32Array(labels.length);
        starts.forEach((start, n) => covered.fill(numbers[n]!, start, ends[n]));
        labels.forEach((label, n) => assert.equal(covered[n]! > 0, label === 1));
        // Neighbours are in one part, and so many voxels are in it as it says.
        for (const [step, inside] of [
          [1, (n: number) => (n + 1) % nx > 0],
          [nx, (n: number) => Math.floor(n / nx) % ny < ny - 1],
          [nx * ny, (n: number) => n + nx * ny < labels.length],
        ] as const)
          labels.forEach((label, n) => {
            if (label === 1 && inside(n) && labels[n + step] === 1) assert.equal(covered[n], covered[n + step]);
          });
        sizes.forEach((voxels, part) => assert.equal(covered.filter((one) => one === part + 1).length, voxels));
        assert.equal(
          sizes.reduce((sum, one) => sum + one, 0),
          labels.filter((label) => label === 1).length,
        );
        const kept = labels.slice();
        keepLargest(kept, [nx, ny, nz], 1, 255);
        assert.deepEqual(kept, labels);
      },
    ),
  ));

test('figures of a mask: shares, centres as the patient stands, balance, edge', () => {
  const labels = labelsOf('1..2', '1..2', '1...', '....');
  const certainty = Float32Array.from(labels, (label) => label * 0.4);
  const figures = maskFigures({ labels, certainty, size: [4, 4, 1] }, ['a', 'b'], [1, 1], [false, false]);
  assert.equal(figures['segmentsFound'], 2);
  assert.ok(Math.abs(figures['balance']! - 2 / 3) < 1e-9);
  assert.equal(figures['aShare'], (100 * 3) / 16);
  assert.equal(figures['aCentreX'], 12.5);
  assert.equal(figures['bCentreY'], 25);
  assert.equal(figures['borderPercent'], 100);
  assert.ok(Math.abs(figures['bCertainty']! - 0.8) < 1e-6);
  const turned = maskFigures({ labels, certainty, size: [4, 4, 1] }, ['a', 'b'], [1, 1], [true, false]);
  assert.equal(turned['aCentreX'], 87.5);
});

test('of a segment that was not found the figures that need one are no numbers, which gates refuse', () => {
  const labels = new Uint8Array(4);
  const figures = maskFigures({ labels, certainty: new Float32Array(4), size: [2, 2, 1] }, ['a'], [0], [false, false]);
  assert.deepEqual([figures['segmentsFound'], figures['balance'], figures['aShare']], [0, 0, 0]);
  assert.ok(
    Number.isNaN(figures['aCentreX']) && Number.isNaN(figures['aCertainty']) && Number.isNaN(figures['certainty']),
  );
});

const around = {
  modality: 'DX',
  rescaleType: undefined,
  geometry: axialGrid([1, 1, 1], [1, 1, 1]),
};

test('fit keeps proportions in millimetres, fills the rest with the lowest value, and comes back to every size', () =>
  fc.assert(
    fc.property(
      fc.integer({ min: 8, max: 90 }),
      fc.integer({ min: 8, max: 90 }),
      fc.constantFrom(0.5, 1, 2),
      (nx, ny, across) => {
        // A smooth slope survives any change of grid.
        const values = Float32Array.from({ length: nx * ny }, (_, n) => 10 + (n % nx) / nx + Math.floor(n / nx) / ny);
        const grid: Grid = { values, size: [nx, ny, 1], spacingMm: [across, 1, 1] };
        const before: Prepared = { grid, valuesBack: [], gridBack: [] };
        const { grid: made, gridBack } = prepare(
          before,
          { op: 'fit', pixels: [64, 48] },
          { ...around, attributes: {}, voxels: values },
        );
        assert.deepEqual(made.size, [64, 48, 1]);
        assert.ok(made.values.every((value) => value >= 10 - 1e-4 && value < 12));
        const back = gridBack[0]!(made);
        assert.deepEqual(back.size, [nx, ny, 1]);
        const coarse = 2 / Math.min(nx, ny, (64 * Math.min(nx * across, ny)) / Math.max(nx * across, ny)) + 0.05;
        back.values.forEach((value, n) => assert.ok(Math.abs(value - values[n]!) < coarse + 0.1, `${n}`));
      },
    ),
    { numRuns: 50 },
  ));

test('display turns MONOCHROME1 round and stand turns the picture; both come back', () => {
  const grid: Grid = { values: Float32Array.of(1, 2, 3, 4), size: [2, 2, 1], spacingMm: [1, 1, 1] };
  const attributes = { PhotometricInterpretation: ['MONOCHROME1'], PatientOrientation: ['R', 'F'] };
  let prepared: Prepared = { grid, valuesBack: [], gridBack: [] };
  for (const op of ['display', 'stand'] as const)
    prepared = prepare(prepared, { op }, { ...around, attributes, voxels: grid.values });
  assert.deepEqual([...prepared.grid.values], [-2, -1, -4, -3]);
  let back: Grid = prepared.grid;
  for (const undo of prepared.valuesBack) undo(back.values);
  for (const undo of prepared.gridBack) back = undo(back);
  assert.deepEqual([...back.values], [1, 2, 3, 4]);
  assert.throws(() => standing(['A', 'F']), Refusal);
  assert.deepEqual(standing([]).flipped, [false, false, false]);
});

test('phaseDown turns a series whose phase runs along rows, leaves one whose phase runs down, refuses one that does not say', () => {
  const grid: Grid = { values: Float32Array.of(1, 2, 3, 4, 5, 6), size: [3, 2, 1], spacingMm: [1, 2, 3] };
  const before: Prepared = { grid, valuesBack: [], gridBack: [] };
  const asked = (value: readonly string[]): Prepared =>
    prepare(
      before,
      { op: 'phaseDown' },
      {
        ...around,
        attributes: { InPlanePhaseEncodingDirection: value },
        voxels: grid.values,
      },
    );
  const { grid: made, gridBack } = asked(['ROW']);
  assert.deepEqual([...made.values], [1, 4, 2, 5, 3, 6]);
  assert.deepEqual(
    [made.size, made.spacingMm],
    [
      [2, 3, 1],
      [2, 1, 3],
    ],
  );
  assert.deepEqual([...gridBack[0]!(made).values], [1, 2, 3, 4, 5, 6]);
  assert.equal(asked(['COL']).grid, grid);
  for (const value of [[], ['OTHER']])
    assert.throws(() => asked(value), /Phase Encoding Direction .*; ghosts run along it/);
});

test('channels are put together from overlapping pieces as single images are', async () => {
  const grid: Grid = {
    values: Float32Array.from({ length: 30 * 22 }, (_, n) => (n * 7919) % 101),
    size: [30, 22, 1],
    spacingMm: [1, 1, 1],
  };
  const tiling = { size: 12, overlap: 5, multipleOf: 4, pad: 'edge', fixed: [0, 0, 0], flat: true } as const;
  const made = await byPieces(
    grid,
    tiling,
    ({ values }) =>
      Promise.resolve(Float32Array.from([...values, ...values.map((v) => 2 * v), ...values.map(() => 1)])),
    () => undefined,
  );
  assert.equal(made.length, 3 * 660);
  grid.values.forEach((value, n) => {
    assert.ok(Math.abs(made[n]! - value) < 1e-3);
    assert.ok(Math.abs(made[660 + n]! - 2 * value) < 1e-3);
    assert.ok(Math.abs(made[1320 + n]! - 1) < 1e-5);
  });
});
