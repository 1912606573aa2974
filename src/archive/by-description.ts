/** Studies of a few descriptions: those of each stand in the order of results, so a page is a look at the first ones of each. */
import type { Database } from '../database.ts';
import type { Condition } from './matching.ts';

export interface DescribedStudies {
  /** Date, time and UID of the page's studies, in the order of results. */
  readonly studies: readonly (readonly [string, string, string])[];
  /** Of all there are. */
  readonly total: number;
}

/** Beyond these all studies are put in order at once. */
const MOST_DESCRIPTIONS = 64;
const MOST_LOOKED_AT = 10_000;

/** `asked`: a condition on `description`. Undefined where it leads to more descriptions than are worth looking at one by one. */
export function studiesByDescription(
  database: Database,
  asked: Condition,
  { limit, offset }: { readonly limit: number; readonly offset: number },
): DescribedStudies | undefined {
  const found = database.all(
    `SELECT text, studies FROM description WHERE ${asked.sql} LIMIT ${MOST_DESCRIPTIONS + 1}`,
    ...asked.values,
  );
  const lookedAt = found.reduce((sum, { studies }) => sum + Math.min(Number(studies), offset + limit), 0);
  if (found.length > MOST_DESCRIPTIONS || lookedAt > MOST_LOOKED_AT) return undefined;
  const first = found.flatMap(({ text = null }) =>
    database.all(
      `SELECT study_date, study_time, study_uid FROM study INDEXED BY study_description WHERE description = ?
       ORDER BY study_date DESC, study_time DESC, study_uid LIMIT ?`,
      text,
      offset + limit,
    ),
  );
  const studies = first.map(
    ({ study_date: date, study_time: time, study_uid: uid }) => [String(date), String(time), String(uid)] as const,
  );
  studies.sort(
    ([date, time, uid], [otherDate, otherTime, otherUid]) =>
      before(otherDate, date) || before(otherTime, time) || before(uid, otherUid),
  );
  return {
    studies: studies.slice(offset, offset + limit),
    total: found.reduce((sum, { studies }) => sum + Number(studies), 0),
  };
}

const before = (a: string, b: string): number => (a < b ? -1 : a === b ? 0 : 1);
