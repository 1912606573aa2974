import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { seriesOf, studyOf } from '../../src/archive/studies.ts';
import { firstBrokenRow } from '../../src/audit.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { openGateway } from '../../src/gateway.ts';
import { countHeld, listHeld } from '../../src/quarantine.ts';
import { claimWork, failWork, finishWork, listWork, workItemsOf } from '../../src/workitems.ts';
import { priorsOf } from '../../src/workflow/chronology.ts';
import { beginArrival, completeStudies, endArrival } from '../../src/workflow/complete.ts';
import { retain } from '../../src/workflow/retain.ts';
import { isReturning, rememberOutgoing } from '../../src/workflow/returning.ts';
import { discardHeld, releaseHeld, retryFailed } from '../../src/workflow/review.ts';
import { followRules } from '../../src/workflow/rulebook.ts';
import { readStatus } from '../../src/workflow/status.ts';
import { ctStudy } from '../phantom/studies.ts';
import { DENOISE_RULES, deriveSeries, openInFolder, take, takeStudy, type Opened } from './opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-1', birthDate: '19631112', sex: 'F' } as const;
const DAY_MS = 86_400_000;
const ct = (slices = 3): readonly Buffer[] => ctStudy({ patient: PATIENT, slices, size: 8 }).objects;

/** Long enough for a study to be quiet. */
function wait({ clock }: Opened, ms = 31_000): void {
  clock.now += ms;
}

function audits({ gateway }: Opened): string[] {
  return gateway.database
    .all('SELECT actor, facts FROM audit ORDER BY number')
    .map((row) => `${row['actor']} ${row['facts']}`);
}

test('a study is complete after the quiet time, not before, and one work item follows for each rule', async (t) => {
  const opened = await openInFolder(t);
  const study = await takeStudy(opened, ct());
  wait(opened, 29_999);
  assert.equal(completeStudies(opened.gateway), 0);
  wait(opened, 1);
  assert.equal(completeStudies(opened.gateway), 1);
  assert.equal(completeStudies(opened.gateway), 0, 'a second tick finds nothing');
  const [item, ...more] = workItemsOf(opened.gateway.workItems, study);
  assert.equal(more.length, 0);
  assert.equal(item?.parameters['rule'], 'quiet');
  assert.equal(item.parameters['ruleRevision'], opened.gateway.rules.revision);
});

test('while somebody still sends, a study is not complete however quiet it is, and keeps no other waiting', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const study = await takeStudy(opened, ct());
  for (let other = 0; other < 150; other++) {
    gateway.database.run(
      "INSERT INTO study_clock (study_uid, project, last_arrival, state) VALUES (?, 'research', ?, 'open')",
      `1.2.${other}`,
      other,
    );
    beginArrival(gateway, `1.2.${other}`);
  }
  wait(opened);
  assert.equal(completeStudies(gateway), 1, 'the one that nobody sends');
  assert.equal(workItemsOf(gateway.workItems, study).length, 1);
  endArrival(gateway, '1.2.7');
  assert.equal(completeStudies(gateway), 1);
});

test('a late instance opens the study again and its work is new; the same instances again are no new work', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const objects = ct(4);
  const study = await takeStudy(opened, objects.slice(0, 3));
  wait(opened);
  completeStudies(gateway);
  await takeStudy(opened, objects.slice(0, 3));
  wait(opened);
  assert.equal(completeStudies(gateway), 0, 'the same bytes do not open a study');
  await takeStudy(opened, objects.slice(3));
  assert.equal(completeStudies(gateway), 0, 'open again, not yet quiet');
  wait(opened);
  assert.equal(completeStudies(gateway), 1);
  assert.equal(workItemsOf(gateway.workItems, study).length, 2);
});

test('other bytes under the same UIDs are new work', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const study = await takeStudy(opened, ct());
  wait(opened);
  completeStudies(gateway);
  // As `duplicates: overwrite` leaves it.
  gateway.database.run('UPDATE instance SET crc = crc + 1 WHERE number = 1');
  gateway.database.run("UPDATE study_clock SET state = 'open'");
  completeStudies(gateway);
  assert.equal(workItemsOf(gateway.workItems, study).length, 2);
});

test('a derived series neither opens its study nor starts work', async (t) => {
  const opened = await openInFolder(t);
  const study = await takeStudy(opened, ct());
  wait(opened);
  completeStudies(opened.gateway);
  await deriveSeries(opened, study);
  wait(opened);
  assert.equal(completeStudies(opened.gateway), 0);
  opened.gateway.database.run("UPDATE study_clock SET state = 'open'");
  completeStudies(opened.gateway);
  assert.equal(workItemsOf(opened.gateway.workItems, study).length, 1);
  assert.equal(seriesOf(opened.gateway.archive, study).length, 2);
});

test('priors stand in the order of the true dates, where a profile leaves only the year, whatever came first', async (t) => {
  const opened = await openInFolder(t);
  const dated = (date: string): Buffer[] =>
    ctStudy({ patient: PATIENT, slices: 1, size: 8 }).objects.map((object) => {
      const text = object.toString('latin1').replaceAll('20240917', date);
      // Another day is another study, of the same length.
      return Buffer.from(
        text.replaceAll(/2\.25\.\d+/g, (uid) => `${uid.slice(0, -2)}${date.slice(6)}`),
        'latin1',
      );
    });
  const march = await takeStudy(opened, dated('20240315'));
  const december = await takeStudy(opened, dated('20241216'));
  const january = await takeStudy(opened, dated('20240117'));
  assert.equal(new Set([march, december, january]).size, 3);
  assert.equal(studyOf(opened.gateway.archive, march)?.studyDate, studyOf(opened.gateway.archive, january)?.studyDate);
  const priors = (study: string): string[] =>
    priorsOf(opened.gateway, study).map(({ StudyInstanceUID }) => StudyInstanceUID);
  assert.deepEqual(priors(december), [march, january]);
  assert.deepEqual(priors(march), [january]);
  assert.deepEqual(priors(january), []);
});

test('an edited rules file is in force at the next look; a bad one leaves the last good one in force, loudly', async (t) => {
  const opened = await openInFolder(t);
  const { gateway, folder, events } = opened;
  const file = join(folder, 'config', 'rules.yaml');
  followRules(gateway);
  const before = gateway.rules.revision;
  writeFileSync(
    file,
    `${DENOISE_RULES}  - { name: second, when: { modality: CT, minInstances: 2 }, run: ct-denoise, with: { alpha: 0.3 } }\n`,
  );
  followRules(gateway);
  const good = gateway.rules.revision;
  assert.notEqual(good, before);
  writeFileSync(file, 'admission: nothing of the kind\n');
  followRules(gateway);
  followRules(gateway);
  assert.equal(gateway.rules.revision, good);
  const refusals = events.filter(({ name }) => name === 'rules refused');
  assert.equal(refusals.length, 1, 'said once for each edit');
  assert.match(String(refusals[0]?.facts['found']), /rules.yaml line 1/);
  assert.match(readStatus(gateway).rulesRefused ?? '', /rules.yaml line 1/, 'and shown until it is mended');
  const study = await takeStudy(opened, ct());
  wait(opened);
  completeStudies(gateway);
  assert.equal(workItemsOf(gateway.workItems, study).length, 2);
  writeFileSync(file, DENOISE_RULES);
  followRules(gateway);
  assert.equal(readStatus(gateway).rulesRefused, undefined);
});

test('a result of ours that the PACS sends back is a success, and nothing is stored or held', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const [made] = ct(1);
  assert.ok(made);
  // As our own results do, it names us as its maker: Manufacturer (0008,0070), of equal length.
  const object = Buffer.from(made.toString('latin1').replace('Phantom Works', 'Isthmus      '), 'latin1');
  const uid = /2\.25\.\d+/.exec(object.toString('latin1'))?.[0] ?? '';
  assert.equal(isReturning(gateway, uid), false);
  rememberOutgoing(gateway, [uid]);
  rememberOutgoing(gateway, [uid]);
  const received = await take(opened, object);
  assert.deepEqual([received.refusal, received.stored, received.quarantined], [undefined, undefined, undefined]);
  assert.equal(received.sopInstanceUID, uid);
  assert.equal(countHeld(gateway.quarantine), 0);
  assert.equal(gateway.database.get('SELECT count(*) AS n FROM study')?.['n'], 0);
  assert.equal(JSON.stringify(gateway.database.all('SELECT hex(fingerprint) FROM sent_out')).includes(uid), false);
});

test('retention deletes what is old and done with, keeps what is undelivered, busy or young', async (t) => {
  const opened = await openInFolder(t, { gateway: 'retention: { studyDays: 10, quarantineDays: 5 }\n' });
  const { gateway, clock } = opened;
  const study = await takeStudy(opened, ct());
  await take(opened, Buffer.from('no DICOM at all'));
  assert.equal(countHeld(gateway.quarantine), 1);
  wait(opened);
  completeStudies(gateway);
  clock.now += 6 * DAY_MS;
  assert.deepEqual(await retain(gateway), { studies: 0, sealed: 1 });
  clock.now += 5 * DAY_MS;
  assert.deepEqual(await retain(gateway), { studies: 0, sealed: 0 }, 'its work is not done');
  const item = claimWork(gateway.workItems, 'derive', 60_000);
  assert.ok(item);
  finishWork(gateway.workItems, item, {});
  beginArrival(gateway, study);
  assert.equal((await retain(gateway)).studies, 0, 'somebody is sending');
  endArrival(gateway, study);
  assert.equal((await retain(gateway)).studies, 1);
  assert.equal(studyOf(gateway.archive, study), undefined);
  assert.equal(gateway.database.get('SELECT count(*) AS n FROM study_clock')?.['n'], 0);
  assert.ok(audits(opened).some((row) => row.includes(study)));
  assert.equal(firstBrokenRow(gateway.audit), undefined);
});

test('without retention keys nothing is ever deleted', async (t) => {
  const opened = await openInFolder(t);
  await takeStudy(opened, ct(1));
  await take(opened, Buffer.from('no DICOM at all'));
  opened.clock.now += 10_000 * DAY_MS;
  assert.deepEqual(await retain(opened.gateway), { studies: 0, sealed: 0 });
});

test('what no rule admits is sealed; released it is stored under its pseudonym, and the seal is gone', async (t) => {
  const opened = await openInFolder(t, { rules: DENOISE_RULES.replace('[CT, MR]', 'US') });
  const { gateway } = opened;
  const [object] = ct(1);
  assert.ok(object);
  assert.equal((await take(opened, object)).quarantined, true);
  const [held] = listHeld(gateway.quarantine, 10);
  assert.ok(held);
  const release = { project: 'research', profile: 'hipaa-safe-harbor' };
  const { studyInstanceUID } = await releaseHeld(gateway, held.id, release, 'Dr. Datenschutz');
  assert.equal(studyOf(gateway.archive, studyInstanceUID)?.instanceCount, 1);
  assert.equal(countHeld(gateway.quarantine), 0);
  await assert.rejects(
    releaseHeld(gateway, held.id, release, 'x'),
    (error) => error instanceof Refusal && error.reason === 'NotFound',
  );
  // The same object held and released again: the archive has it, the seal is broken and written down all the same.
  await take(opened, object);
  const [again] = listHeld(gateway.quarantine, 10);
  assert.ok(again);
  await releaseHeld(gateway, again.id, release, 'Dr. Datenschutz');
  assert.equal(
    audits(opened).filter((row) => row.startsWith('Dr. Datenschutz') && row.includes('"release"')).length,
    2,
  );
  wait(opened);
  assert.equal(completeStudies(gateway), 1, 'a released object opens its study');
});

test('what cannot be let in stays sealed after the attempt; discarding is written down once', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  await take(opened, Buffer.from('no DICOM at all'));
  const [held] = listHeld(gateway.quarantine, 10);
  assert.ok(held);
  await assert.rejects(
    releaseHeld(gateway, held.id, { project: 'research', profile: 'basic' }, 'x'),
    (error) => error instanceof Refusal && error.reason === 'CannotUnderstand',
  );
  assert.equal(countHeld(gateway.quarantine), 1);
  await discardHeld(gateway, held.id, 'officer');
  await assert.rejects(discardHeld(gateway, held.id, 'officer'), /nothing is held/);
  assert.equal(audits(opened).filter((row) => row.startsWith('officer')).length, 1);
});

test('starting canceled work anew is written down, starting anything else is refused', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  await takeStudy(opened, ct());
  wait(opened);
  completeStudies(gateway);
  const item = claimWork(gateway.workItems, 'derive', 60_000);
  assert.ok(item);
  assert.throws(() => retryFailed(gateway, item.uid, 'it'), /no work item that failed and rests/);
  failWork(gateway.workItems, item, 'PipelineRefused: x', { final: true });
  retryFailed(gateway, item.uid, 'it');
  assert.equal(listWork(gateway.workItems, { state: 'SCHEDULED', limit: 5 }).length, 1);
  assert.deepEqual(audits(opened), [`it {"action":"retry","item":"${item.uid}"}`]);
});

test('a second process on the same data folder is refused, and the first goes on', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  await assert.rejects(
    openGateway(gateway.config, gateway.log),
    (error) =>
      error instanceof Refusal && error.reason === 'BadConfiguration' && error.message.includes('another process'),
  );
  await takeStudy(opened, ct(1));
});
