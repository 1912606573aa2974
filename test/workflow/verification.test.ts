/** The verification report of a study: made of stored bytes, of the vault and of what the door wrote down; it fails closed. */
import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { instancesOf } from '../../src/archive/instances.ts';
import { deleteStudy } from '../../src/archive/studies.ts';
import { findStudy, rewriteStudy } from '../../src/deidentify/crosswalk.ts';
import { formatVerification } from '../../src/deidentify/verification-text.ts';
import { deleteFromArchive } from '../../src/workflow/delete.ts';
import { scheduleVerification, verifyStudy } from '../../src/workflow/verification.ts';
import { verifyCompleted } from '../../src/workflow/withhold.ts';
import { ctStudy } from '../phantom/studies.ts';
import { deriveSeries, openInFolder, PROJECT, take, takeStudy, type Opened } from './opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-4711', birthDate: '19631112', sex: 'F' } as const;
const CT = { patient: PATIENT, slices: 3, size: 8 } as const;

test('DEID-REPORT: a study that is clean is released, with counts of the door and the rule set in force', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const study = await takeStudy(opened, ctStudy(CT).objects);
  await deriveSeries(opened, study);
  const report = await verifyStudy(gateway, study);
  assert.deepEqual(report.reasons, []);
  assert.equal(report.verdict, 'RELEASE');
  assert.deepEqual([report.instances, report.derived], [6, 3]);
  const [rules] = report.ruleSets;
  assert.deepEqual(
    [report.ruleSets.length, rules?.profile, rules?.hash, rules?.edition, rules?.instances],
    [1, 'hipaa-safe-harbor', gateway.profiles.get('hipaa-safe-harbor')?.hash, 'PS3.15-2024b', 3],
  );
  assert.ok(report.counts.kept > 30 && report.counts.uidsMapped > 9 && report.counts.removed > 0);
  assert.ok(report.residue.searched && report.residue.forms > 4 && report.residue.originalUids >= 5);
  assert.deepEqual([report.residue.foundIn, report.uids.unknown], [0, 0]);
  assert.ok(report.uids.inStudy >= 8);
  assert.deepEqual([report.pixels.images, report.sealed], [6, 0]);
  const text = formatVerification(report);
  assert.match(text, /^VERDICT: RELEASE$/m);
  for (const word of ['Muster', 'Erika', 'KH-4711'])
    assert.doesNotMatch(JSON.stringify(report) + text, new RegExp(word, 'i'));
});

test('DEID-REPORT: the same instance again is not counted again', async (t) => {
  const opened = await openInFolder(t);
  const { objects } = ctStudy(CT);
  const study = await takeStudy(opened, [...objects, ...objects]);
  assert.equal((await verifyStudy(opened.gateway, study)).ruleSets[0]?.instances, 3);
});

/** Overwrites bytes of the stored object, as a fault of ours or of a disk would. */
async function tamper({ gateway }: Opened, study: string, was: string, is: string): Promise<void> {
  assert.equal(was.length, is.length);
  const [instance] = instancesOf(gateway.archive, { studyInstanceUID: study });
  assert.ok(instance);
  const file = await open(join(gateway.archive.folder, instance.pack), 'r+');
  try {
    const head = Buffer.alloc(instance.headLengthBytes);
    await file.read(head, 0, head.length, instance.offset);
    const at = head.indexOf(was);
    assert.ok(at > 0, 'the value is there');
    await file.write(Buffer.from(is), 0, is.length, instance.offset + at);
  } finally {
    await file.close();
  }
}

test('DEID-REPORT: what stands in the stored bytes is found by what the vault knows, and told by its place', async (t) => {
  const opened = await openInFolder(t);
  const study = await takeStudy(opened, ctStudy(CT).objects);
  await tamper(opened, study, 'Isthmus 0', 'xx ERIKA ');
  const report = await verifyStudy(opened.gateway, study);
  assert.equal(report.verdict, 'QUARANTINE');
  assert.match(report.reasons.join(), /does not say which rule set/);
  // Our own stamps are passed over by the search; everything else is not.
  const patient = findStudy(opened.gateway.wall, PROJECT, study)?.patient ?? '';
  await tamper(opened, study, patient, 'MUSTER^E  ');
  const again = await verifyStudy(opened.gateway, study);
  assert.deepEqual([again.residue.foundIn, again.residue.found[0]?.path], [1, '(0010,0010)']);
  assert.match(again.reasons.join(), /stands in 1 of 3 objects/);
  assert.doesNotMatch(JSON.stringify(again.reasons), /muster/i);
});

test('DEID-REPORT: a name that only another study of the patient told is searched for as well', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const study = await takeStudy(opened, ctStudy(CT).objects);
  const other = await takeStudy(opened, ctStudy({ ...CT, studyDate: '20230101' }).objects);
  const row = findStudy(gateway.wall, PROJECT, other);
  const kept = (await verifyStudy(gateway, study)).textKept.find(({ path }) => !path.startsWith('(0010'));
  const word = /[A-Za-z]{4,}/.exec(kept?.values[0] ?? '')?.[0];
  assert.ok(row && word !== undefined && other !== study);
  const attributes = { ...row.attributes, '00100010': `${word}^X` };
  rewriteStudy(gateway.wall, PROJECT, other, { ...row, attributes });
  const report = await verifyStudy(gateway, study);
  assert.deepEqual([report.verdict, report.residue.foundIn], ['QUARANTINE', 3]);
  assert.equal(report.residue.found[0]?.path, kept?.path);
});

test('DEID-REPORT: a UID that nobody knows holds the study back', async (t) => {
  const opened = await openInFolder(t);
  const study = await takeStudy(opened, ctStudy(CT).objects);
  const { gateway } = opened;
  const before = (await verifyStudy(gateway, study)).uids;
  gateway.database.run(
    `DELETE FROM crosswalk_uid WHERE pseudonym NOT IN (SELECT sop_uid FROM instance UNION SELECT series_uid FROM series UNION SELECT study_uid FROM study)`,
  );
  const report = await verifyStudy(gateway, study);
  assert.equal(report.verdict, 'QUARANTINE');
  assert.equal(report.uids.unknown, before.external);
  assert.ok(report.uids.unknown > 0);
  assert.doesNotMatch(JSON.stringify(report.uids.unknownAt), /1\.2\.3/);
});

test('DEID-REPORT: without the crosswalk, or without a record of the door, nothing is released', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const study = await takeStudy(opened, ctStudy(CT).objects);
  gateway.database.run('DELETE FROM study_tally');
  const unrecorded = await verifyStudy(gateway, study);
  assert.equal(unrecorded.verdict, 'QUARANTINE');
  assert.match(unrecorded.reasons.join(), /no record/);
  gateway.database.run('DELETE FROM crosswalk_study');
  const unknown = await verifyStudy(gateway, study);
  assert.equal(unknown.residue.searched, false);
  assert.match(unknown.reasons.join(), /nothing to search for/);
  await assert.rejects(verifyStudy(gateway, '2.25.1'), { reason: 'NotFound' });
});

test('DEID-REPORT: objects of the study that wait in quarantine are counted, those of other studies are not', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const { objects } = ctStudy(CT);
  const study = await takeStudy(opened, objects.slice(0, 1));
  gateway.rules = { ...gateway.rules, admission: [] };
  for (const object of [...objects.slice(1), ...ctStudy({ ...CT, studyDate: '20230101' }).objects])
    await take(opened, object);
  const report = await verifyStudy(gateway, study);
  assert.equal(report.sealed, 2);
  assert.match(report.remarks.join(), /2 objects of the study wait/);
});

test('DEID-REPORT: who asks for a look while one is being taken is given another', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const study = await takeStudy(opened, ctStudy(CT).objects);
  scheduleVerification(gateway, study);
  const looking = verifyCompleted(gateway);
  scheduleVerification(gateway, study);
  assert.deepEqual([await looking, await verifyCompleted(gateway), await verifyCompleted(gateway)], [1, 1, 0]);
});

test('DEID-REPORT: what was counted goes with the study', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const study = await takeStudy(opened, ctStudy(CT).objects);
  await deleteFromArchive(gateway, { studyInstanceUID: study }, 'somebody');
  assert.equal(gateway.database.get('SELECT 1 FROM study_tally'), undefined);
  await assert.rejects(
    deleteStudy(gateway.archive, study).then(() => verifyStudy(gateway, study)),
    { reason: 'NotFound' },
  );
});
