/** A study in which verification finds something is not shown to viewers, at any door, until a privacy officer lets them have it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instancesOf } from '../../src/archive/instances.ts';
import { search } from '../../src/archive/search.ts';
import { isWithheld } from '../../src/archive/withheld.ts';
import { deleteFromArchive } from '../../src/workflow/delete.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { verifyCompleted } from '../../src/workflow/withhold.ts';
import { ctStudy } from '../phantom/studies.ts';
import { takeStudy } from '../workflow/opened.ts';
import { openAdminDoor, type AdminDoor } from './door.ts';

const CT = {
  patient: { name: 'Muster^Erika', id: 'KH-4711', birthDate: '19631112', sex: 'F' },
  slices: 2,
  size: 8,
} as const;

async function completed(door: AdminDoor): Promise<number> {
  door.clock.now += 60_000;
  completeStudies(door.gateway);
  return verifyCompleted(door.gateway);
}

/** As if the crosswalk had lost what it knew of the references. */
function forgetReferences({ gateway }: AdminDoor): void {
  gateway.database.run(
    'DELETE FROM crosswalk_uid WHERE pseudonym NOT IN (SELECT sop_uid FROM instance UNION SELECT series_uid FROM series UNION SELECT study_uid FROM study)',
  );
}

test('DEID-WITHHELD: a clean study stays where it is, each study is verified once it is complete', async (t) => {
  const door = await openAdminDoor(t);
  const study = await takeStudy(door, ctStudy(CT).objects);
  assert.equal(await verifyCompleted(door.gateway), 0, 'not complete yet');
  assert.equal(await completed(door), 1);
  assert.equal(await verifyCompleted(door.gateway), 0);
  assert.equal((await door.ask('GET', `/dicom-web/studies/${study}/metadata`, 'viewer')).status, 200);
  assert.equal((await door.ask('POST', `/api/studies/${study}/release`, 'privacy-officer')).status, 409);
});

test('DEID-WITHHELD: a study that does not pass is not found by viewers, and is shown when an officer says so', async (t) => {
  const door = await openAdminDoor(t);
  const { gateway } = door;
  const study = await takeStudy(door, ctStudy(CT).objects);
  const other = await takeStudy(door, ctStudy({ ...CT, studyDate: '20230101' }).objects);
  forgetReferences(door);
  gateway.database.run('UPDATE study_clock SET state = ? WHERE study_uid = ?', 'complete', other);
  assert.equal(await completed(door), 1);
  const [instance] = instancesOf(gateway.archive, { studyInstanceUID: study });
  assert.ok(instance);
  const { seriesInstanceUID: series, sopInstanceUID: sop } = instance;
  const paths = [
    `/studies/${study}`,
    `/studies/${study}/metadata`,
    `/studies/${study}/series`,
    `/studies/${study}/series/${series}/instances/${sop}/frames/1`,
    `/studies/${study}/rendered`,
  ];
  const statuses = async (): Promise<number[]> =>
    Promise.all(paths.map(async (path) => (await door.ask('GET', `/dicom-web${path}`, 'viewer')).status));
  const found = async (level: string): Promise<number> => {
    const answer = await door.ask('GET', `/dicom-web/${level}`, 'viewer');
    return answer.status === 204 ? 0 : answer.json<unknown[]>().length;
  };
  assert.deepEqual(await statuses(), [404, 404, 404, 404, 404]);
  assert.deepEqual([await found('studies'), await found('series'), await found('instances')], [1, 1, 2]);
  const listed = (await door.ask('GET', '/api/studies', 'radiology-it')).json<
    { studyInstanceUID: string; withheldBecause?: string[] }[]
  >();
  assert.match(
    listed.find((one) => one.studyInstanceUID === study)?.withheldBecause?.join() ?? '',
    /UIDs are neither ours/,
  );
  assert.equal(listed.find((one) => one.studyInstanceUID === other)?.withheldBecause, undefined);
  assert.equal((await door.ask('POST', `/api/studies/${study}/release`, 'radiology-it')).status, 403);
  assert.equal((await door.ask('POST', `/api/studies/${study}/release`, 'privacy-officer')).status, 200);
  assert.deepEqual(await statuses(), [200, 200, 200, 200, 200]);
  assert.equal(await found('studies'), 2);
  // The same again is what the officer has seen.
  gateway.database.run("UPDATE study_clock SET state = 'open'");
  await completed(door);
  assert.equal(isWithheld(gateway.archive, study), false);
  const trail = gateway.database
    .all('SELECT actor, event, facts FROM audit')
    .map((row) => Object.values(row).join(' '));
  assert.equal(
    trail.filter((line) => /isthmus Security Alert .*withhold/.test(line)).length,
    2,
    'this one and the other',
  );
  assert.equal(trail.filter((line) => /the privacy-officer .*release study/.test(line)).length, 1);
});

test('DEID-WITHHELD: a study that cannot be verified is withheld; when it is deleted nothing of it is left', async (t) => {
  const door = await openAdminDoor(t);
  const { gateway } = door;
  const study = await takeStudy(door, ctStudy(CT).objects);
  door.clock.now += 60_000;
  completeStudies(gateway);
  gateway.database.run("UPDATE crosswalk_study SET sealed = x'00'");
  assert.equal(await verifyCompleted(gateway), 1);
  assert.equal(isWithheld(gateway.archive, study), true);
  assert.equal(
    search(gateway.archive, {
      level: 'study',
      scope: {},
      matches: [],
      fuzzyMatching: false,
      includeFields: [],
      limit: 9,
      offset: 0,
    }).results.length,
    0,
  );
  gateway.database.run('DELETE FROM work_item');
  await deleteFromArchive(gateway, { studyInstanceUID: study }, 'somebody');
  for (const table of ['withheld', 'study_withheld', 'study_unverified'])
    assert.equal(gateway.database.get(`SELECT 1 FROM ${table}`), undefined, table);
});
