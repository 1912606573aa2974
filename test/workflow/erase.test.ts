/** A person is erased: what they left in every file of the data folder is gone, what is another's stays. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { instancesOf } from '../../src/archive/instances.ts';
import { studyOf, wasDeleted } from '../../src/archive/studies.ts';
import { firstBrokenRow } from '../../src/audit.ts';
import { domainOf } from '../../src/deidentify/wall.ts';
import { findStudy } from '../../src/deidentify/crosswalk.ts';
import { pseudonymOfUid } from '../../src/deidentify/pseudonyms.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { listHeld } from '../../src/quarantine.ts';
import { claimWork, finishWork, workItemsOf } from '../../src/workitems.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { deleteFromArchive } from '../../src/workflow/delete.ts';
import { askDisclosure, listDisclosures } from '../../src/workflow/disclose.ts';
import { beginErasure, continueErasures, listErasures, readErasure } from '../../src/workflow/erase.ts';
import { mergeRecords } from '../../src/workflow/records.ts';
import { ctStudy, type Patient } from '../phantom/studies.ts';
import { deriveSeries, openInFolder, PROJECT, take, takeStudy, type Opened } from './opened.ts';

const LEAVES = { name: 'Leaving^Lea', id: 'KH-LEAVES', birthDate: '19631112', sex: 'F' } as const;
const STAYS = { name: 'Staying^Stan', id: 'KH-STAYS', birthDate: '19500101', sex: 'M' } as const;
const ASKED = { actor: 'officer', reason: 'data-subject-request', reference: 'DSR 2026/17' } as const;

function filesOf(folder: string): { name: string; bytes: Buffer }[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((name) => ({ name, bytes: readFileSync(name) }));
}

function mentions(opened: Opened, words: readonly (string | Buffer)[]): string[] {
  return filesOf(join(opened.folder, 'data')).flatMap(({ name, bytes }) =>
    words.flatMap((word, n) => (bytes.includes(word) ? [`word ${n} in ${name.slice(opened.folder.length)}`] : [])),
  );
}

function angiography(patient: Patient): Buffer {
  const [object] = ctStudy({ patient, slices: 1, size: 16, studyDate: '20250303' }).objects;
  const bytes = Buffer.from(object ?? '');
  const modality = bytes.indexOf(Buffer.from('08006000435302004354', 'hex'));
  assert.ok(modality > 0);
  bytes.write('XA', modality + 8, 'latin1');
  return bytes;
}

function patientOf({ gateway }: Opened, study: string): string {
  return studyOf(gateway.archive, study)?.patientID ?? '';
}

function saltRow({ gateway }: Opened, pseudonym: string): Buffer {
  return gateway.database.get('SELECT sealed FROM crosswalk_patient WHERE pseudonym = ?', pseudonym)?.[
    'sealed'
  ] as Buffer;
}

test('studies, derived series, held objects, work, salt and rows of a person go; the other person stays', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const phantom = ctStudy({ patient: LEAVES, slices: 3, size: 16 });
  const leaving = await takeStudy(opened, phantom.objects);
  const second = await takeStudy(
    opened,
    ctStudy({ patient: LEAVES, slices: 2, size: 16, studyDate: '20250102' }).objects,
  );
  const staying = await takeStudy(opened, ctStudy({ patient: STAYS, slices: 2, size: 16 }).objects);
  const derived = await deriveSeries(opened, leaving);
  // One study was deleted long ago: its tombstones are UIDs of the person, too.
  await deleteFromArchive(gateway, { studyInstanceUID: second }, 'somebody');
  assert.ok(wasDeleted(gateway.archive, second));
  // No rule takes an angiography: it is sealed in quarantine, with the person's name in it.
  for (const patient of [LEAVES, STAYS]) assert.equal((await take(opened, angiography(patient))).quarantined, true);
  opened.clock.now += 60_000;
  completeStudies(gateway);
  const pseudonym = patientOf(opened, leaving);
  const other = patientOf(opened, staying);
  askDisclosure(gateway, { project: PROJECT, subject: pseudonym, reason: 'Ms Leaving asks what is kept' }, 'asker');
  const uids = instancesOf(gateway.archive, { studyInstanceUID: leaving }).map(({ sopInstanceUID }) => sopInstanceUID);
  const secrets = [leaving, second, derived, pseudonym, saltRow(opened, pseudonym), ...uids];
  assert.equal(mentions(opened, secrets).length >= secrets.length, true, 'the search finds what is there');

  const id = beginErasure(gateway, { record: { issuer: '', id: LEAVES.id } }, ASKED);
  assert.equal(await continueErasures(gateway), 1);

  assert.deepEqual(mentions(opened, secrets), []);
  assert.equal(firstBrokenRow(gateway.audit), undefined);
  const { state, certificate, beyond } = readErasure(gateway, id);
  assert.equal(state, 'DONE');
  assert.deepEqual(
    { ...certificate, crosswalkRows: 0 },
    {
      projects: 1,
      studies: 1,
      instances: 6,
      derived: 3,
      workItems: 1,
      held: 1,
      auditRows: 1,
      crosswalkRows: 0,
      delivered: {},
      heldWithoutName: 0,
    },
  );
  assert.ok(certificate.crosswalkRows > 6);
  assert.match(beyond.join(' '), /Backups/);
  assert.equal(wasDeleted(gateway.archive, second), false);
  assert.deepEqual(listDisclosures(gateway, 10), []);
  assert.equal(findStudy(gateway.wall, PROJECT, leaving), undefined);
  assert.equal(listHeld(gateway.quarantine, 10).length, 1);
  assert.equal(patientOf(opened, staying), other);
  assert.equal(instancesOf(gateway.archive, { studyInstanceUID: staying }).length, 2);
  assert.equal(findStudy(gateway.wall, PROJECT, staying)?.attributes['00100020'], STAYS.id);

  // Sent again, the person is somebody new: neither pseudonym nor dates can be matched with what somebody may have kept.
  const again = await takeStudy(opened, phantom.objects);
  assert.notEqual(patientOf(opened, again), pseudonym);
});

test('the pieces of the pseudonym that searches look for are in no file any more', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const leaving = await takeStudy(opened, ctStudy({ patient: LEAVES, slices: 1, size: 16 }).objects);
  const staying = await takeStudy(opened, ctStudy({ patient: STAYS, slices: 1, size: 16 }).objects);
  const nameOf = (study: string): string =>
    String(gateway.database.get('SELECT patient_name FROM study WHERE study_uid = ?', study)?.['patient_name']);
  // Words are indexed in hexadecimal; the beginning of one may be shared with the word before it.
  const piece = (name: string): string =>
    [...name.replaceAll(/[^\p{L}\p{N}]/gu, '')]
      .slice(-6)
      .map((character) => (character.codePointAt(0) ?? 0).toString(16).padStart(6, '0'))
      .join('');
  const [gone, kept] = [piece(nameOf(leaving)), piece(nameOf(staying))];
  assert.notEqual(gone, kept);
  gateway.database.truncateLog();
  assert.equal(mentions(opened, [gone]).length, 1, 'the search finds what is there');

  beginErasure(gateway, { record: { issuer: '', id: LEAVES.id } }, ASKED);
  assert.equal(await continueErasures(gateway), 1);

  assert.deepEqual(mentions(opened, [gone]), []);
  assert.equal(mentions(opened, [kept]).length, 1);
});

test('while it runs the person is refused at the door, and their results do not go out', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const phantom = ctStudy({ patient: LEAVES, slices: 3, size: 16 });
  const [first, second, third] = phantom.objects;
  assert.ok(first && second && third);
  const study = await takeStudy(opened, [first, second]);
  opened.clock.now += 60_000;
  completeStudies(gateway);
  const item = claimWork(gateway.workItems, 'derive', 60_000);
  assert.ok(item);
  const id = beginErasure(gateway, { project: PROJECT, pseudonym: patientOf(opened, study) }, ASKED);
  assert.equal(await continueErasures(gateway), 0, 'somebody is at work');
  assert.equal(readErasure(gateway, id).state, 'RUNNING');
  const refused = await take(opened, third);
  assert.equal(refused.refusal?.reason, 'Busy');
  assert.equal(refused.stored, undefined);
  await assert.rejects(
    deriveSeries(opened, study),
    (error: unknown) => error instanceof Refusal && error.reason === 'Busy',
  );
  finishWork(gateway.workItems, item, {});
  assert.equal(await continueErasures(gateway), 1);
  assert.equal(studyOf(gateway.archive, study), undefined);
  assert.deepEqual(workItemsOf(gateway.workItems, study), []);
  assert.equal((await take(opened, third)).refusal, undefined, 'who is erased may come anew');
});

test('an erasure that was cut off goes on after the next start', async (t) => {
  const opened = await openInFolder(t);
  const study = await takeStudy(opened, ctStudy({ patient: LEAVES, slices: 3, size: 16 }).objects);
  const id = beginErasure(opened.gateway, { record: { issuer: '', id: LEAVES.id } }, ASKED);
  // Cut off after the study's packs, before the crosswalk.
  await deleteFromArchive(opened.gateway, { studyInstanceUID: study }, 'isthmus');
  assert.equal(readErasure(opened.gateway, id).state, 'RUNNING');
  assert.equal(await continueErasures(opened.gateway), 1);
  assert.equal(await continueErasures(opened.gateway), 0);
  assert.equal(wasDeleted(opened.gateway.archive, study), false);
  assert.equal(listErasures(opened.gateway).length, 1);
});

test('merged records are one person: asking for either erases both', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const one = await takeStudy(opened, ctStudy({ patient: LEAVES, slices: 2, size: 16 }).objects);
  const two = await takeStudy(opened, ctStudy({ patient: { ...LEAVES, id: 'KH-OLD' }, slices: 2, size: 16 }).objects);
  assert.notEqual(patientOf(opened, one), patientOf(opened, two));
  const merged = mergeRecords(gateway, PROJECT, { issuer: '', id: 'KH-OLD' }, { issuer: '', id: LEAVES.id }, 'officer');
  assert.deepEqual(merged.earlierStudies, [two]);
  const id = beginErasure(gateway, { record: { issuer: '', id: 'KH-OLD' } }, ASKED);
  await continueErasures(gateway);
  assert.equal(readErasure(gateway, id).certificate.studies, 2);
  assert.equal(studyOf(gateway.archive, one), undefined);
  assert.equal(studyOf(gateway.archive, two), undefined);
});

test('nobody is erased for a reason that could name them, and nobody who is not known', async (t) => {
  const { gateway } = await openInFolder(t);
  const subject = { record: { issuer: '', id: 'KH-NOBODY' } };
  const refusedAs =
    (reason: string) =>
    (error: unknown): boolean =>
      error instanceof Refusal && error.reason === reason && !error.message.includes('KH-NOBODY');
  assert.throws(() => beginErasure(gateway, subject, ASKED), refusedAs('NotFound'));
  assert.throws(
    () => beginErasure(gateway, subject, { ...ASKED, reason: 'Ms Leaving wants it' }),
    refusedAs('BadRequest'),
  );
  assert.throws(() => beginErasure(gateway, subject, { ...ASKED, reference: 'Lea^Leaving' }), refusedAs('BadRequest'));
  assert.deepEqual(listErasures(gateway), []);
  assert.ok(pseudonymOfUid(domainOf(gateway.wall, PROJECT), '1.2.3'));
});
