/** Many senders at once: the same patient and the same UIDs from several associations and requests, in one domain and in two; a merge in between. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { instancesOf, readInstanceHead } from '../../src/archive/instances.ts';
import { studyOf } from '../../src/archive/studies.ts';
import { findStudy } from '../../src/deidentify/crosswalk.ts';
import { asciiValue } from '../../src/dicom/data-set.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { openAssociation, release, store } from '../../src/dimse/scu.ts';
import { mergeRecords } from '../../src/workflow/records.ts';
import { startGateway, type GatewayProcess } from '../peers/gateway.ts';
import { ctStudy } from '../phantom/studies.ts';
import { searchAll, stow, type DicomJson } from './clients.ts';
import { openInFolder, take } from './opened.ts';

const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2';
const EXPLICIT_LE = '1.2.840.10008.1.2.1';
const PATIENT = { name: 'Gleich^Zeitig', id: 'KH-ATONCE', birthDate: '19631112', sex: 'F' } as const;

test('DEID-AT-ONCE: the same objects from many senders at once are stored once in each domain, and the two share no pseudonym', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-at-once-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const gateway = await startGateway({
    folder,
    log: 'file',
    gateway: 'completion: { quietSeconds: 60 }\nlog: info\n',
    nodes: 'nodes: {}\n',
    rules: `admission:
  - { name: other, when: { callingAE: 'B*' }, project: other, profile: gdpr-pseudonymise }
  - { name: all, when: { callingAE: '*' }, project: research, profile: gdpr-pseudonymise }
processing: []
`,
  });
  t.after(() => gateway.stop());
  const { objects, studyInstanceUID } = ctStudy({ patient: PATIENT, slices: 5, size: 16 });
  const backwards = objects.toReversed();
  const answers = await Promise.all([
    ...['A1', 'B1', 'A2'].map((ae) => sendAll(gateway, ae, objects)),
    ...['B2', 'A3'].map((ae) => sendAll(gateway, ae, backwards)),
    stow(gateway.base, objects).then(({ status }) => [status]),
    stow(gateway.base, backwards).then(({ status }) => [status]),
  ]);
  assert.deepEqual(answers, [...Array.from({ length: 5 }, () => objects.map(() => 0)), [200], [200]]);

  const found = await searchAll(gateway.base, 'instances?includefield=all');
  assert.equal(found.length, 2 * objects.length);
  const byStudy = Map.groupBy(found, (instance) => value(instance, '0020000D'));
  assert.equal(byStudy.size, 2);
  const [one = [], other = []] = byStudy.values();
  for (const domain of [one, other]) {
    assert.equal(domain.length, objects.length);
    assert.equal(new Set(domain.map((instance) => value(instance, '00080018'))).size, objects.length);
    for (const tag of ['0020000E', '00100020', '00080020'])
      assert.equal(new Set(domain.map((instance) => value(instance, tag))).size, 1, `${tag} is one inside a domain`);
  }
  const pseudonyms = (domain: readonly DicomJson[]): Set<string> =>
    new Set(
      domain.flatMap((instance) =>
        ['0020000D', '0020000E', '00080018', '00100020', '00200052'].map((tag) => value(instance, tag)),
      ),
    );
  const [here, there] = [pseudonyms(one), pseudonyms(other)];
  assert.deepEqual(
    [...here].filter((pseudonym) => pseudonym !== '' && there.has(pseudonym)),
    [],
  );
  for (const original of [PATIENT.id, studyInstanceUID]) assert.ok(!here.has(original) && !there.has(original));
});

test('DEID-AT-ONCE: a study whose patient is merged while its objects arrive has one patient and one distance of dates', async (t) => {
  const opened = await openInFolder(t, {
    rules: `admission:
  - { name: all, when: { callingAE: '*' }, project: research, profile: gdpr-pseudonymise }
processing: []
`,
  });
  const { gateway } = opened;
  const kept = ctStudy({ patient: { ...PATIENT, id: 'KH-KEPT' }, slices: 1, size: 8 });
  await take(opened, kept.objects[0] ?? Buffer.alloc(0));
  const { objects } = ctStudy({ patient: PATIENT, slices: 12, size: 8, studyDate: '20250303' });
  const [first = Buffer.alloc(0), ...rest] = objects;
  const { stored } = await take(opened, first);
  assert.ok(stored);
  const arriving = rest.map((object) => take(opened, object));
  mergeRecords(gateway, 'research', { issuer: '', id: PATIENT.id }, { issuer: '', id: 'KH-KEPT' }, 'officer');
  for (const [index, object] of rest.entries()) {
    // Told that the patient was merged in between, the sender tries again.
    const { refusal } = (await arriving[index]) ?? {};
    if (refusal !== undefined) {
      assert.equal(refusal instanceof Refusal && refusal.reason, 'Busy');
      assert.ok((await take(opened, object)).stored);
    }
  }
  const { studyInstanceUID } = stored;
  const dates = new Set<string>();
  const patients = new Set<string>();
  for (const instance of instancesOf(gateway.archive, { studyInstanceUID })) {
    const { dataSet } = readHead(await readInstanceHead(gateway.archive, instance)).head;
    dates.add(asciiValue(dataSet, 0x00080020) ?? '');
    patients.add(asciiValue(dataSet, 0x00100020) ?? '');
  }
  assert.deepEqual([dates.size, patients.size], [1, 1]);
  assert.equal(studyOf(gateway.archive, studyInstanceUID)?.patientID, [...patients][0]);
  assert.equal(findStudy(gateway.wall, 'research', studyInstanceUID)?.patient, [...patients][0]);
  // What begins after the merge is the surviving record's.
  const later = ctStudy({ patient: PATIENT, slices: 1, size: 8, studyDate: '20250909' });
  const after = await take(opened, later.objects[0] ?? Buffer.alloc(0));
  const survivor = studyOf(gateway.archive, after.stored?.studyInstanceUID ?? '')?.patientID;
  assert.notEqual(survivor, [...patients][0]);
});

async function sendAll(gateway: GatewayProcess, callingAE: string, objects: readonly Buffer[]): Promise<number[]> {
  const association = await openAssociation({
    host: '127.0.0.1',
    port: gateway.dimsePort,
    callingAE,
    calledAE: 'ISTHMUS',
    contexts: [{ sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] }],
  });
  const statuses: number[] = [];
  for (const object of objects) {
    const { dataSet } = readHead(object).head;
    const sopInstanceUID = asciiValue(dataSet, 0x00080018) ?? '';
    const sent = { sopClassUID: CT_IMAGE, sopInstanceUID, transferSyntaxUID: EXPLICIT_LE };
    statuses.push(await store(association, { ...sent, dataSet: object.subarray(dataSet.start) }));
  }
  await release(association);
  return statuses;
}

function value(instance: DicomJson, tag: string): string {
  return String(instance[tag]?.Value?.[0] ?? '');
}
