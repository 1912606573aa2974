/** The table that `npm run evaluate` ends with: what each model has to reach, beside what was measured. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readTable, summaryOf, type Measured } from '../../models/targets.ts';

const SET = '5 simulated heads, 160 x 176 x 128';
const bias = (ours: number, n4?: number): Measured[] => [
  { set: SET, metric: 'error of the field, %', method: 'not corrected', mean: 0.1 },
  { set: SET, metric: 'error of the field, %', method: 'ours', mean: ours },
  ...(n4 === undefined ? [] : [{ set: SET, metric: 'error of the field, %', method: 'N4', mean: n4 }]),
];
const fieldRow = (rows: readonly Measured[]): string =>
  summaryOf(new Map([['mr-bias', rows]]))
    .split('\n')
    .find((line) => line.includes('error of the field')) ?? '';

test('a target is met when ours is ahead of the best other method; doing nothing is no method', () => {
  assert.match(fieldRow(bias(0.65, 3.2)), /\| 0\.65 \(5 simulated heads.*\| 3\.2 \(N4\) \| met \|$/);
  assert.match(fieldRow(bias(3.3, 3.2)), /\*\*not met\*\*/);
});

test('without the other method nothing is called met', () => {
  assert.match(fieldRow(bias(0.65)), /\| none was run \| not comparable \|$/);
  assert.match(fieldRow([]), /not measured/);
});

test('of several sets the worst counts, and one that could not be compared is the worst', () => {
  const dice = (set: string, ours: number, other?: number): Measured[] => [
    { set, metric: 'Dice', method: 'ours', mean: ours },
    ...(other === undefined ? [] : [{ set, metric: 'Dice', method: 'elastix 5.0.1 B-spline MI', mean: other }]),
  ];
  const row = (...rows: Measured[][]): string =>
    summaryOf(new Map([['register', rows.flat()]]))
      .split('\n')
      .find((line) => line.includes('Dice above elastix and SyN')) ?? '';
  assert.match(row(dice('T1/T2', 0.92, 0.7), dice('CT/MR', 0.7, 0.8)), /0\.7 \(CT\/MR\).*\*\*not met/);
  assert.match(row(dice('T1/T2', 0.92), dice('CT/MR', 0.9, 0.8)), /\(T1\/T2\).*not comparable/);
});

test('a model that was not measured is named where all are asked for, and left out where it is not', () => {
  assert.match(summaryOf(new Map(), true), /\| mr-ghost \| .*\| not measured: not shipped/);
  assert.equal(summaryOf(new Map()).split('\n').length, 2);
});

test('the table of an evaluation is read as it is written', () => {
  const text = `| set | metric | method | mean | 95 % interval | cases | s/case | peak MB |
|---|---|---|---|---|---|---|---|
| ${SET} | CV of white matter, % ↓ | ours | 3.11 | 2.9 to 3.4 | 5 |  |  |
Not run: n4.py: SimpleITK cannot be installed here.`;
  assert.deepEqual(readTable(text), [{ set: SET, metric: 'CV of white matter, %', method: 'ours', mean: 3.11 }]);
});
