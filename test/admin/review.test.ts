/** Quarantine is reviewed by a person, and verification reports are read by the roles they are for: over HTTP, against a real gateway. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { instancesOf, readInstanceHead } from '../../src/archive/instances.ts';
import type { Verification } from '../../src/deidentify/verify.ts';
import { textValue } from '../../src/dicom/data-set.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { countHeld, listHeld, type Held } from '../../src/quarantine.ts';
import { discardHeld, releaseHeld, type Bulk } from '../../src/workflow/review.ts';
import type { SealedView } from '../../src/workflow/sealed.ts';
import { claimWork, failWork, listWork } from '../../src/workitems.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { ctStudy } from '../phantom/studies.ts';
import { take, takeStudy } from '../workflow/opened.ts';
import { openAdminDoor, type AdminDoor } from './door.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-4711', birthDate: '19631112', sex: 'F' } as const;
const CT = { patient: PATIENT, slices: 3, size: 8 } as const;
const OFFICER = 'privacy-officer';
const TREATMENT = { project: 'research', profile: 'hipaa-safe-harbor' };
const GROUNDS = { reason: 'review', reference: 'PR 12' };

/** Holds what is sent, since no admission rule is left. */
async function hold(door: AdminDoor, objects: readonly Buffer[]): Promise<readonly Held[]> {
  const { gateway } = door;
  const rules = gateway.rules;
  gateway.rules = { ...rules, admission: [] };
  for (const object of objects) assert.equal((await take(door, object)).quarantined, true);
  gateway.rules = rules;
  return listHeld(gateway.quarantine, 100);
}

test('DEID-REVIEW: under the seal looks only the privacy officer, who says why, and every look stands in the trail', async (t) => {
  const door = await openAdminDoor(t);
  const [held] = await hold(door, ctStudy(CT).objects.slice(0, 1));
  const path = `/api/quarantine/${held?.id}/view`;
  for (const role of ['viewer', 'sender', 'radiology-it'])
    assert.equal((await door.ask('POST', path, role, { ...GROUNDS, ...TREATMENT })).status, 403);
  for (const reason of [undefined, '', 'because', 'Muster'])
    assert.equal((await door.ask('POST', path, OFFICER, { ...TREATMENT, reason })).status, 400);
  // Who may not and tried stands there too.
  const looks = "FROM audit WHERE event <> 'Security Alert'";
  assert.equal(door.gateway.database.all("SELECT 1 FROM audit WHERE event = 'Security Alert'").length, 3);
  assert.equal(door.gateway.database.get(`SELECT 1 ${looks}`), undefined);
  const answer = await door.ask('POST', path, OFFICER, { ...GROUNDS, ...TREATMENT });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers.get('cache-control'), 'no-store');
  const view = answer.json<SealedView>();
  assert.deepEqual([view.would, view.frames], [{ release: true }, 1]);
  const name = view.attributes.find(({ keyword }) => keyword === 'PatientName');
  assert.equal(name?.before, PATIENT.name);
  assert.match(name?.after ?? '', /^[A-Z2-7]{10}$/);
  assert.equal(view.attributes.find(({ keyword }) => keyword === 'AccessionNumber')?.after ?? '', '');
  const trail = door.gateway.database.all(`SELECT actor, facts ${looks}`);
  assert.equal(trail.length, 1);
  assert.match(
    `${String(trail[0]?.['actor'])} ${String(trail[0]?.['facts'])}`,
    /the privacy-officer .*view sealed.*review.*PR 12/,
  );
  assert.doesNotMatch(JSON.stringify(trail), /Muster|KH-4711/);
  // A look makes nobody known and lets nothing in.
  for (const table of ['crosswalk_patient', 'crosswalk_uid', 'crosswalk_study', 'study'])
    assert.equal(door.gateway.database.get(`SELECT 1 FROM ${table}`), undefined, table);
});

test('DEID-REVIEW: the look shows the pseudonym that release gives', async (t) => {
  const door = await openAdminDoor(t);
  const { objects } = ctStudy(CT);
  await takeStudy(door, objects.slice(0, 1));
  const [held] = await hold(door, objects.slice(1, 2));
  const view = (
    await door.ask('POST', `/api/quarantine/${held?.id}/view`, OFFICER, { ...GROUNDS, ...TREATMENT })
  ).json<SealedView>();
  const promised = view.attributes.find(({ keyword }) => keyword === 'PatientID')?.after;
  const released = await door.ask('POST', `/api/quarantine/${held?.id}/release`, OFFICER, TREATMENT);
  const { studyInstanceUID } = released.json<{ studyInstanceUID: string }>();
  const rows = door.gateway.database.all('SELECT patient_id FROM study WHERE study_uid = ?', studyInstanceUID);
  assert.deepEqual(
    rows.map((row) => row['patient_id']),
    [promised],
  );
});

test('DEID-REVIEW: a preview is a picture of the frame asked for, never kept', async (t) => {
  const door = await openAdminDoor(t);
  const [held] = await hold(door, ctStudy({ ...CT, size: 64 }).objects.slice(0, 1));
  const path = `/api/quarantine/${held?.id}/preview`;
  assert.equal((await door.ask('POST', path, 'radiology-it', GROUNDS)).status, 403);
  const { status, headers, bytes } = await door.ask('POST', path, OFFICER, GROUNDS);
  assert.deepEqual([status, headers.get('content-type'), headers.get('cache-control')], [200, 'image/png', 'no-store']);
  assert.equal(bytes.subarray(1, 4).toString(), 'PNG');
  assert.deepEqual([bytes.readUInt32BE(16), bytes.readUInt32BE(20)], [64, 64]);
  assert.equal((await door.ask('POST', path, OFFICER, { ...GROUNDS, frame: 2 })).status, 406);
  assert.equal((await door.ask('POST', path, OFFICER, { ...GROUNDS, frame: 0 })).status, 400);
  assert.equal((await door.ask('POST', path, OFFICER, {})).status, 400);
});

test('DEID-REVIEW: what cannot be read is shown as that', async (t) => {
  const door = await openAdminDoor(t);
  await take(door, Buffer.from('this is no DICOM object at all'.repeat(20)));
  const [held] = listHeld(door.gateway.quarantine, 1);
  const answer = await door.ask('POST', `/api/quarantine/${held?.id}/view`, OFFICER, { ...GROUNDS, ...TREATMENT });
  const view = answer.json<SealedView>();
  assert.deepEqual([answer.status, view.attributes.length, view.would.release], [200, 0, false]);
});

test('DEID-REVIEW: an object is released with rules for this once, which stand over those of the profile', async (t) => {
  const door = await openAdminDoor(t);
  const [held] = await hold(door, ctStudy(CT).objects.slice(0, 1));
  const path = `/api/quarantine/${held?.id}`;
  const overrides = [{ tag: 'SeriesDescription', action: 'replace', value: 'reviewed' }];
  const view = (
    await door.ask('POST', `${path}/view`, OFFICER, { ...GROUNDS, ...TREATMENT, overrides })
  ).json<SealedView>();
  assert.equal(view.attributes.find(({ keyword }) => keyword === 'SeriesDescription')?.after, 'reviewed');
  for (const wrong of [
    [{ tag: 'NoSuchThing', action: 'remove' }],
    [{ tag: 'PatientName', action: 'keep' }],
    [{ tag: 'Modality', action: 'pass' }],
    'x',
  ])
    assert.equal(
      (await door.ask('POST', `${path}/release`, OFFICER, { ...TREATMENT, overrides: wrong })).status,
      400,
      JSON.stringify(wrong),
    );
  const released = await door.ask('POST', `${path}/release`, OFFICER, { ...TREATMENT, overrides });
  assert.equal(released.status, 200);
  const { studyInstanceUID } = released.json<{ studyInstanceUID: string }>();
  const [instance] = instancesOf(door.gateway.archive, { studyInstanceUID });
  assert.ok(instance);
  const { dataSet } = readHead(await readInstanceHead(door.gateway.archive, instance)).head;
  assert.equal(textValue(dataSet, 0x0008103e), 'reviewed');
});

test('DEID-REVIEW: a group is listed by its reason and released or discarded whole; one that is refused keeps no other', async (t) => {
  const door = await openAdminDoor(t);
  const { objects } = ctStudy(CT);
  await hold(door, objects);
  await take(door, Buffer.from('this is no DICOM object at all'.repeat(20)));
  const groups = (await door.ask('GET', '/api/quarantine/groups', 'radiology-it')).json<
    { sentence: string; reason: string; objects: number }[]
  >();
  assert.deepEqual(
    groups.map(({ objects: count }) => count),
    [3, 1],
  );
  const [group, broken] = groups;
  const { sentence = '', reason = '' } = group ?? {};
  const query = new URLSearchParams({ sentence, reason }).toString();
  assert.equal((await door.ask('GET', `/api/quarantine?${query}`, 'radiology-it')).json<Held[]>().length, 3);
  assert.equal((await door.ask('GET', `/api/quarantine?callingAE=NOBODY`, 'radiology-it')).json<Held[]>().length, 0);
  // The second of them is in the archive already, with other bytes: it stays.
  const other = Buffer.from(objects[1] ?? '');
  other.writeUInt8((other.at(-1) ?? 0) ^ 1, other.length - 1);
  await take(door, other);
  for (const role of ['viewer', 'radiology-it'])
    assert.equal(
      (await door.ask('POST', '/api/quarantine/release', role, { sentence, reason, ...TREATMENT })).status,
      403,
    );
  const bulk = (
    await door.ask('POST', '/api/quarantine/release', OFFICER, { sentence, reason, ...TREATMENT })
  ).json<Bulk>();
  assert.deepEqual([bulk.done, bulk.refused.map((one) => one.reason), bulk.left], [2, ['Duplicate'], 0]);
  const gone = await door.ask('POST', '/api/quarantine/discard', OFFICER, {
    sentence: broken?.sentence,
    reason: broken?.reason,
  });
  assert.equal(gone.json<Bulk>().done, 1);
  assert.equal(listHeld(door.gateway.quarantine, 10).length, 1);
});

test('DEID-REPORT: officer and radiology IT read the report, as JSON and as text; the kept text is the officer’s alone', async (t) => {
  const door = await openAdminDoor(t);
  const study = await takeStudy(door, ctStudy(CT).objects);
  const path = `/api/studies/${study}/verification`;
  for (const role of ['viewer', 'sender']) assert.equal((await door.ask('GET', path, role)).status, 403);
  const report = (await door.ask('GET', path, OFFICER)).json<Verification>();
  assert.equal(report.verdict, 'RELEASE');
  assert.ok(report.textKept.some(({ values }) => values.length > 0));
  const counted = (await door.ask('GET', path, 'radiology-it')).json<Verification>();
  assert.ok(counted.textKept.some(({ distinct }) => distinct > 0));
  assert.ok(counted.textKept.every(({ values }) => values.length === 0));
  const asked = await door.ask('GET', `${path}?format=text`, OFFICER);
  assert.match(asked.headers.get('content-type') ?? '', /^text\/plain/);
  assert.match(asked.text, /^VERDICT: RELEASE$/m);
  const accepted = await door.ask('GET', path, OFFICER, undefined, { accept: 'text/plain' });
  assert.match(accepted.text, /^VERDICT: RELEASE$/m);
  assert.equal((await door.ask('GET', `${path}?format=pdf`, OFFICER)).status, 400);
  assert.equal((await door.ask('GET', '/api/studies/2.25.1/verification', OFFICER)).status, 404);
  assert.equal((await door.ask('GET', '/api/studies/x/verification', OFFICER)).status, 400);
});

test('failed work says whether trying again can help', async (t) => {
  const door = await openAdminDoor(t);
  const { gateway } = door;
  for (const error of ['PipelineRefused: too few slices', 'DeliveryFailed: nobody answers']) {
    await takeStudy(door, ctStudy({ ...CT, patient: { ...PATIENT, id: error.slice(0, 4) } }).objects);
    door.clock.now += 60_000;
    completeStudies(gateway);
    const item = claimWork(gateway.workItems, 'derive', 60_000);
    assert.ok(item);
    failWork(gateway.workItems, item, error, { final: true });
  }
  const listed = (await door.ask('GET', '/api/work-items?state=CANCELED', 'radiology-it')).json<
    { lastError: string; worthRetrying: boolean }[]
  >();
  assert.equal(listed.length, listWork(gateway.workItems, { state: 'CANCELED', limit: 9 }).length);
  assert.deepEqual(listed.map(({ lastError, worthRetrying }) => [lastError.split(':')[0], worthRetrying]).sort(), [
    ['DeliveryFailed', true],
    ['PipelineRefused', false],
  ]);
});

test('DEID-REVIEW: of two people who decide at once one does, and the trail tells which', async (t) => {
  const door = await openAdminDoor(t);
  const { gateway } = door;
  const objects = await hold(door, ctStudy({ ...CT, slices: 30 }).objects);
  for (const [n, { id }] of objects.entries()) {
    const release = releaseHeld(gateway, id, TREATMENT, 'officer').then(
      () => true,
      () => false,
    );
    // At a moment of the release that differs from turn to turn.
    for (let turn = 0; turn < n; turn++) await new Promise((resolve) => setImmediate(resolve));
    const discard = discardHeld(gateway, id, 'another').then(
      () => true,
      () => false,
    );
    const [wasReleased, wasDiscarded] = await Promise.all([release, discard]);
    assert.equal(wasReleased, !wasDiscarded);
    const decisions = gateway.database
      .all('SELECT facts FROM audit')
      .map(({ facts }) => JSON.parse(String(facts)) as { action?: string; held?: string })
      .filter(({ held }) => held === id)
      .map(({ action }) => action);
    assert.deepEqual(decisions, [wasReleased ? 'release' : 'discard']);
  }
  const stored = gateway.database.get('SELECT count(*) AS stored FROM instance')?.['stored'];
  const releases = gateway.database
    .all('SELECT facts FROM audit')
    .filter(({ facts }) => String(facts).includes('"release"')).length;
  assert.equal(stored, releases);
  assert.equal(countHeld(gateway.quarantine), 0);
});
