/** How much there is of years and days: where a page far into the archive begins, and how much a range of dates has. */
import type { Database } from '../database.ts';
import type { Condition } from './matching.ts';

export interface PageStart {
  readonly date: string;
  readonly time: string;
  readonly studyInstanceUID: string;
  /** Results that lie before the study. */
  readonly skipped: number;
}

export type Unit = 'studies' | 'series' | 'instances';

const NUMBER_IN_STUDY: Readonly<Record<Unit, string>> = {
  studies: '1',
  series: 'series_count',
  instances: 'instance_count',
};

/** Of the days from the first to the last, both included, or of all there is: whole years by their own numbers. */
export function countInDays(
  database: Database,
  unit: Unit,
  days: { readonly from: string | undefined; readonly to: string | undefined } | undefined,
): number {
  const sum = (table: 'year' | 'day', where: string, ...values: string[]): number =>
    Number(
      database.get(`SELECT coalesce(sum(${unit}), 0) AS total FROM ${table} WHERE ${where}`, ...values)?.['total'],
    );
  if (days === undefined) return sum('year', '1');
  const { from = '00000000', to = '99999999' } = days;
  if (from > to) return 0;
  const [first, last] = [from.slice(0, 4), to.slice(0, 4)];
  const between = 'study_date >= ? AND study_date <= ?';
  if (first === last) return sum('day', between, from, to);
  return (
    sum('day', between, from, `${first}9999`) +
    sum('year', 'year > ? AND year < ?', first, last) +
    sum('day', between, last, to)
  );
}

/** `dates`: conditions on study.study_date alone. */
export function findPage(
  database: Database,
  unit: Unit,
  dates: readonly Condition[],
  offset: number,
): PageStart | 'behind the end' {
  const year = dates.length === 0 ? findYear(database, unit, offset) : { skipped: 0, dates };
  if (year === undefined) return 'behind the end';
  const where = year.dates.map(({ sql }) => `AND ${sql.replaceAll('study.study_date', 'day.study_date')}`).join(' ');
  const day = database.get(
    `SELECT study_date, until - number AS skipped FROM (
       SELECT study_date, ${unit} AS number, sum(${unit}) OVER (ORDER BY study_date DESC) AS until FROM day WHERE 1 ${where}
     ) WHERE until > ? LIMIT 1`,
    ...year.dates.flatMap(({ values }) => values),
    offset - year.skipped,
  );
  if (day === undefined) return 'behind the end';
  const date = String(day['study_date']);
  const before = year.skipped + Number(day['skipped']);
  const number = NUMBER_IN_STUDY[unit];
  const study = database.get(
    `SELECT study_time, study_uid, until - number AS skipped FROM (
       SELECT study_time, study_uid, ${number} AS number, sum(${number}) OVER (ORDER BY study_time DESC, study_uid) AS until
       FROM study WHERE study_date = ?
     ) WHERE until > ? LIMIT 1`,
    date,
    offset - before,
  );
  if (study === undefined) return 'behind the end';
  return {
    date,
    time: String(study['study_time']),
    studyInstanceUID: String(study['study_uid']),
    skipped: before + Number(study['skipped']),
  };
}

/** Some twenty years before some thousands of days. */
function findYear(
  database: Database,
  unit: Unit,
  offset: number,
): { readonly skipped: number; readonly dates: readonly Condition[] } | undefined {
  const found = database.get(
    `SELECT year, until - number AS skipped FROM (
       SELECT year, ${unit} AS number, sum(${unit}) OVER (ORDER BY year DESC) AS until FROM year
     ) WHERE until > ? LIMIT 1`,
    offset,
  );
  if (found === undefined) return undefined;
  const year = String(found['year']);
  // A date is eight digits, or empty: the colon stands behind the 9.
  const dates = [
    { sql: 'study.study_date >= ? AND study.study_date < ?', values: [year, year === '' ? '0' : `${year}:`] },
  ];
  return { skipped: Number(found['skipped']), dates };
}

export function startCondition({ date, time, studyInstanceUID }: PageStart): Condition {
  return {
    sql: 'study.study_date <= ? AND (study.study_date < ? OR study.study_time < ? OR (study.study_time = ? AND study.study_uid >= ?))',
    values: [date, date, time, time, studyInstanceUID],
  };
}
