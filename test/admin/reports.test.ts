/** Reports on a study at the administration door: what the intake check found. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { takeInAndComplete } from '../../src/workflow/complete.ts';
import { phantomSeries } from '../derived/phantom.ts';
import { takeStudy } from '../workflow/opened.ts';
import { openAdminDoor } from './door.ts';

interface Looked {
  readonly checked: boolean;
  readonly kind?: string;
  readonly instances: number;
  readonly findings?: readonly string[];
  readonly skipped: string;
}

test('INTAKE-shown: each received series with what was found; before the study is complete, that nothing is known', async (t) => {
  const door = await openAdminDoor(t, { models: true });
  const common = { spacingMm: [1, 1, 4] as const, study: 'shown' };
  const study = await takeStudy(door, [
    ...phantomSeries({
      ...common,
      name: 'gap',
      over: (k) => ({ ImagePositionPatient: [0, 0, k < 3 ? 4 * k : 4 * k + 4] }),
    }),
    ...phantomSeries({
      ...common,
      name: 'scout',
      slices: 1,
      over: () => ({ ImageType: ['ORIGINAL', 'PRIMARY', 'SCOUT'] }),
    }),
  ]);
  const shown = async (): Promise<Looked[]> =>
    (await door.ask('GET', `/api/studies/${study}/intake`, 'radiology-it')).json<Looked[]>();
  const before = await shown();
  assert.deepEqual(before.map(({ checked, kind, instances }) => [checked, kind, instances]).sort(), [
    [false, undefined, 1],
    [false, undefined, 6],
  ]);
  door.clock.now += 60_000;
  await takeInAndComplete(door.gateway);
  const after = (await shown()).toSorted((a, b) => a.instances - b.instances);
  assert.deepEqual(
    after.map(({ checked, kind }) => [checked, kind]),
    [
      [true, 'localizer'],
      [true, 'image'],
    ],
  );
  assert.deepEqual(after[1]?.findings, ['gaps: 1, slices missing: about 1']);
  assert.match(after[0]?.skipped ?? '', /rule "quiet": the series is a localizer/);
  assert.equal((await door.ask('GET', `/api/studies/2.25.1/intake`, 'radiology-it')).status, 404);
  assert.equal((await door.ask('GET', `/api/studies/${study}/intake`, 'viewer')).status, 403);
});

test('the console has the page that shows it', async (t) => {
  const door = await openAdminDoor(t);
  const page = await door.ask('GET', '/', 'viewer');
  for (const [, script] of page.text.matchAll(/src="([^"]+\.js)"/g))
    assert.equal((await door.ask('GET', `/${script}`, 'viewer')).status, 200);
  assert.equal((await door.ask('GET', '/intake.js', 'viewer')).status, 200);
  assert.match(page.text, /<dialog id="intake"/);
});
