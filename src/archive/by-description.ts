/** Studies of a few descriptions: those of each stand in the order of results, so a page is a look at the first ones of each. */
import type { Database } from '../database.ts';
import type { Condition } from './matching.ts';

export interface DescribedStudies {
  /** Keys of the page's studies, in the order of results. */
  readonly studies: readonly number[];
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
  // A study without a date is behind all others, whatever its time: the blank is before every digit.
  const first = found.flatMap(({ text = null }) =>
    database.all(
      `SELECT id, study_date || ' ' || study_time AS moment, study_uid FROM study INDEXED BY study_description WHERE description = ?
       ORDER BY study_date DESC, study_time DESC, study_uid LIMIT ?`,
      text,
      offset + limit,
    ),
  );
  const rows = first.map(({ id, moment, study_uid: uid }) => ({
    id: Number(id),
    moment: String(moment),
    uid: String(uid),
  }));
  rows.sort((a, b) => (a.moment === b.moment ? (a.uid < b.uid ? -1 : 1) : a.moment > b.moment ? -1 : 1));
  return {
    studies: rows.slice(offset, offset + limit).map(({ id }) => id),
    total: found.reduce((sum, { studies }) => sum + Number(studies), 0),
  };
}
