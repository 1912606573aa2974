/** How much there is of years and days: where a page far into the archive begins, and how much a range of dates has. */
import type { Database } from '../database.ts';
import type { Condition } from './matching.ts';

export interface PageStart {
  readonly date: string;
  /** Of this day; left out where its first study is as good a start. */
  readonly study?: { readonly time: string; readonly studyInstanceUID: string };
  /** Results that lie before the day, or the study. */
  readonly skipped: number;
}

/** So many are passed over sooner than the study is found that a page begins in. */
const NEAR = 50;

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

/** Of a year, a day or a study. */
interface Part {
  readonly key: string;
  readonly number: number;
}

/** A part with how much lies before it. */
interface Reached extends Part {
  readonly skipped: number;
}

/** Dates from the first on, up to the second: one is eight digits, or empty. */
type Period = readonly [string, string];

/** `dates`: conditions on study.study_date alone. */
export function findPage(
  database: Database,
  unit: Unit,
  dates: readonly Condition[],
  offset: number,
): PageStart | 'behind the end' {
  const asked = dates.map(({ sql }) => ` AND ${sql.replaceAll('study.study_date', 'day.study_date')}`).join('');
  const given = dates.flatMap(({ values }) => values);
  const within = `FROM day WHERE study_date >= ? AND study_date < ?${asked}`;
  const sum = (period: Period): number =>
    Number(database.get(`SELECT coalesce(sum(${unit}), 0) AS total ${within}`, ...period, ...given)?.['total']);

  const years = partsOf(database, `SELECT year AS key, ${unit} AS number FROM year ORDER BY year DESC`);
  const year = reach(dates.length === 0 ? years : summed(years, sum), offset, 0);
  if (year === undefined) return 'behind the end';
  const month = monthOf(year, offset, sum);
  if (month === undefined) return 'behind the end';
  const listed = `SELECT study_date AS key, ${unit} AS number ${within} ORDER BY study_date DESC`;
  const day = reach(partsOf(database, listed, ...month.period, ...given), offset, month.skipped);
  if (day === undefined) return 'behind the end';
  if (offset - day.skipped <= NEAR) return { date: day.key, skipped: day.skipped };
  const studies = database.all(
    `SELECT study_time, study_uid, ${NUMBER_IN_STUDY[unit]} AS number FROM study_listed WHERE study_date = ?
     ORDER BY study_time DESC, study_uid`,
    day.key,
  );
  const study = reach(
    studies.map((row, at) => ({ key: String(at), number: Number(row['number']) })),
    offset,
    day.skipped,
  );
  const row = study === undefined ? undefined : studies[Number(study.key)];
  if (study === undefined || row === undefined) return 'behind the end';
  return {
    date: day.key,
    study: { time: String(row['study_time']), studyInstanceUID: String(row['study_uid']) },
    skipped: study.skipped,
  };
}

/** The part that holds what stands at `offset`, `skipped` being before them all. */
function reach(parts: Iterable<Part>, offset: number, skipped: number): Reached | undefined {
  let before = skipped;
  for (const { key, number } of parts) {
    if (before + number > offset) return { key, number, skipped: before };
    before += number;
  }
  return undefined;
}

function partsOf(database: Database, sql: string, ...values: readonly (string | number)[]): Part[] {
  return database.all(sql, ...values).map(({ key, number }) => ({ key: String(key), number: Number(number) }));
}

/** One after the other, as far as is looked: the last ones are mostly not needed. */
function* summed(years: Iterable<Part>, sum: (period: Period) => number): Iterable<Part> {
  for (const { key } of years) yield { key, number: sum(yearPeriod(key)) };
}

// The colon stands behind the 9.
const yearPeriod = (year: string): Period => [year, year === '' ? '0' : `${year}:`];

/** The month that holds what stands at `offset`, from the end of the year that is nearer. What no month has counts to the first or last. */
function monthOf(
  year: Reached,
  offset: number,
  sum: (period: Period) => number,
): { readonly period: Period; readonly skipped: number } | undefined {
  if (year.key === '') return { period: yearPeriod(''), skipped: year.skipped };
  const starts = Array.from({ length: 11 }, (_, at) => `${year.key}${String(at + 2).padStart(2, '0')}`);
  const months = [year.key, ...starts].map((start, at): Period => [start, starts[at] ?? `${year.key}:`]);
  const later = offset - year.skipped < year.number / 2;
  let [from, until] = [year.skipped, year.skipped + year.number];
  for (const period of later ? months.reverse() : months) {
    const number = sum(period);
    if (later ? from + number > offset : until - number <= offset)
      return { period, skipped: later ? from : until - number };
    from += number;
    until -= number;
  }
  return undefined;
}

export function startCondition({ date, study }: PageStart): Condition {
  if (study === undefined) return { sql: 'study.study_date <= ?', values: [date] };
  const { time, studyInstanceUID } = study;
  return {
    sql: 'study.study_date <= ? AND (study.study_date < ? OR study.study_time < ? OR (study.study_time = ? AND study.study_uid >= ?))',
    values: [date, date, time, time, studyInstanceUID],
  };
}
