/** Pages while studies come and go: each is what a plain list of what is there, put in order, would give. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { storeInstance } from '../../src/archive/instances.ts';
import { search, type Query } from '../../src/archive/search.ts';
import { deleteStudy } from '../../src/archive/studies.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { makeObject } from '../phantom/objects.ts';
import { opened } from './support.ts';

interface Study {
  readonly uid: string;
  readonly date: string;
  readonly time: string;
}

/** Latest first, without a date last; then by time, the latest first, and by UID. */
function inOrder(studies: Iterable<Study>): Study[] {
  const order = (a: string, b: string): number => (a < b ? -1 : a === b ? 0 : 1);
  return [...studies].sort((a, b) => order(b.date, a.date) || order(b.time, a.time) || order(a.uid, b.uid));
}

const asked = (overrides: Partial<Query>): Query => ({
  level: 'study',
  scope: {},
  matches: [],
  fuzzyMatching: false,
  includeFields: [],
  limit: 25,
  offset: 0,
  ...overrides,
});

const uidsOf = (results: readonly string[]): string[] =>
  results.map((text) => String((JSON.parse(text) as Record<string, { Value: string[] }>)['0020000D']?.Value[0]));

test('a page of studies is that of a plain list while studies arrive, are filled in and deleted', async (t) => {
  const { archive } = await opened(t);
  const present = new Map<string, Study>();
  const date = fc.constantFrom('', '19991231', '20240101', '20240102', '20241399', '20240000', '20260615');
  const time = fc.constantFrom('', '101500', '235959');
  const steps = fc.sample(
    fc.record({
      at: fc.nat(299),
      date,
      time,
      remove: fc.nat(9),
      offset: fc.nat(280),
      limit: fc.integer({ min: 1, max: 30 }),
    }),
    { numRuns: 600, seed: 11 },
  );
  let far = 0;
  for (const [number, step] of steps.entries()) {
    const uid = `2.25.${step.at + 1}`;
    const known = present.get(uid);
    if (known !== undefined && step.remove === 0) {
      await deleteStudy(archive, uid);
      present.delete(uid);
    } else {
      const sopInstanceUID = `${uid}.1.${number + 1}`;
      const { date: studyDate, time: studyTime } = step;
      const object = makeObject({
        rows: 2,
        columns: 2,
        studyInstanceUID: uid,
        seriesInstanceUID: `${uid}.1`,
        sopInstanceUID,
        studyDate,
        studyTime,
      });
      await storeInstance(archive, object.object);
      // What stands stays; what was empty is filled.
      const full = studyTime === '' ? '' : `${studyTime}.000000`;
      present.set(uid, { uid, date: known?.date || studyDate, time: known?.time || full });
    }
    const all = inOrder(present.values());
    const since = all.filter((study) => study.date >= '20240101');
    for (const [matches, expected] of [
      [[], all],
      [[{ path: [tag('StudyDate')], vr: 'DA', value: '20240101-' }], since],
    ] as const) {
      const { limit, offset } = step;
      const { results, remaining } = search(archive, asked({ matches, limit, offset }));
      assert.deepEqual(
        uidsOf(results),
        expected.slice(offset, offset + limit).map((study) => study.uid),
        `step ${number}`,
      );
      assert.equal(remaining, Math.max(0, expected.length - offset - results.length), `step ${number}`);
      if (offset >= 150 && results.length > 0) far++;
    }
  }
  // Those that begin at a day in place of the first study.
  assert.ok(far > 20, String(far));
});
