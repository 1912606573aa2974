/** What is withheld is not there: pages stay whole, counts are of what is shown, patients vanish with their last study. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countsOfPatient, searchPatients, studyUIDsOfPatient } from '../../src/archive/patients.ts';
import { storeInstance } from '../../src/archive/instances.ts';
import { search, type Query } from '../../src/archive/search.ts';
import { showStudy, withholdStudy } from '../../src/archive/withheld.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import type { DicomJson } from '../../src/dicom/json.ts';
import { makeObject } from '../phantom/objects.ts';
import { opened } from './support.ts';

const WITHHELD = ['2.25.3', '2.25.4'];

test('withheld studies leave no hole in a page and are in no count, on any level and by any key', async (t) => {
  const { archive } = await opened(t);
  for (let study = 1; study <= 8; study++)
    for (const instanceNumber of [1, 2])
      await storeInstance(
        archive,
        makeObject({
          rows: 8,
          columns: 8,
          studyInstanceUID: `2.25.${study}`,
          patientID: `P${Math.ceil(study / 2)}`,
          studyDate: `2024010${study}`,
          instanceNumber,
        }).object,
      );
  const CASES: readonly Partial<Query>[] = [
    {},
    { matches: [{ path: [tag('StudyDate')], vr: 'DA', value: '20240101-20240108' }] },
    { matches: [{ path: [tag('ModalitiesInStudy')], vr: 'CS', value: 'CT' }] },
    { matches: [{ path: [tag('PatientID')], vr: 'LO', value: 'P*' }] },
  ];
  const inPages = (level: Query['level'], asked: Partial<Query>): { studies: string[]; pages: number[] } => {
    const studies: string[] = [];
    const pages: number[] = [];
    const query = { level, scope: {}, matches: [], fuzzyMatching: false, includeFields: [], limit: 3, ...asked };
    for (let offset = 0; ; offset += query.limit) {
      const { results, remaining } = search(archive, { ...query, offset });
      pages.push(results.length);
      for (const text of results) {
        const uid = (JSON.parse(text) as DicomJson)['0020000D'];
        studies.push(String(uid !== undefined && 'Value' in uid ? uid.Value?.[0] : undefined));
      }
      assert.ok(results.length === query.limit || remaining === 0, 'a page that is not full is the last');
      if (remaining === 0) return { studies, pages };
    }
  };
  const shown = (level: Query['level'], asked: Partial<Query>): string[] =>
    [...new Set(inPages(level, asked).studies)].sort();
  for (const uid of WITHHELD) withholdStudy(archive, uid);
  const left = ['2.25.1', '2.25.2', '2.25.5', '2.25.6', '2.25.7', '2.25.8'];
  for (const asked of CASES) {
    assert.deepEqual(inPages('study', asked).pages, [3, 3]);
    for (const level of ['study', 'series', 'instance'] as const) assert.deepEqual(shown(level, asked), left);
    assert.equal(inPages('instance', asked).studies.length, 12);
  }
  const patients = searchPatients(archive, [], { limit: 10, offset: 0 }).map(({ patientID }) => patientID);
  assert.deepEqual(patients, ['P1', 'P3', 'P4']);
  assert.deepEqual(countsOfPatient(archive, 'P2'), { studies: 0, series: 0, instances: 0 });
  assert.deepEqual(studyUIDsOfPatient(archive, 'P2'), []);
  showStudy(archive, '2.25.4');
  assert.deepEqual(studyUIDsOfPatient(archive, 'P2'), ['2.25.4']);
  assert.deepEqual(shown('study', {}), [...left, '2.25.4'].sort());
});
