/** Where a page far into all series or all instances begins: the days' numbers lead to the day, the studies' of that day to the study. */
import type { Database } from '../database.ts';
import type { Condition } from './matching.ts';

export interface PageStart {
  readonly date: string;
  readonly time: string;
  readonly studyInstanceUID: string;
  /** Results that lie before the study. */
  readonly skipped: number;
}

/** `dates`: conditions on study.study_date alone. */
export function findPage(
  database: Database,
  unit: 'series' | 'instances',
  dates: readonly Condition[],
  offset: number,
): PageStart | 'behind the end' {
  const where = dates.map(({ sql }) => `AND ${sql.replaceAll('study.study_date', 'day.study_date')}`).join(' ');
  const day = database.get(
    `SELECT study_date, until - number AS skipped FROM (
       SELECT study_date, ${unit} AS number, sum(${unit}) OVER (ORDER BY study_date DESC) AS until FROM day WHERE 1 ${where}
     ) WHERE until > ? LIMIT 1`,
    ...dates.flatMap(({ values }) => values),
    offset,
  );
  if (day === undefined) return 'behind the end';
  const date = String(day['study_date']);
  const before = Number(day['skipped']);
  const number = unit === 'series' ? 'series_count' : 'instance_count';
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

export function startCondition({ date, time, studyInstanceUID }: PageStart): Condition {
  return {
    sql: 'study.study_date <= ? AND (study.study_date < ? OR study.study_time < ? OR (study.study_time = ? AND study.study_uid >= ?))',
    values: [date, date, time, time, studyInstanceUID],
  };
}
