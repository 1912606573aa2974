/**
 * Studies that were fetched as priors. They start no work and no fetch of their own, so that no chain of priors is pulled through the
 * archive: as long as their fetch is under way, and for a day after it, since a slow node may still be sending.
 */
import type { Gateway } from '../gateway.ts';

const LATE_ARRIVALS_MS = 86_400_000;

/** Before anything of it is asked for. */
export function markFetched({ database }: Gateway, study: string, forStudy: string): void {
  database.run(
    `INSERT INTO fetched_study (study_uid, for_study, until) VALUES (?, ?, NULL)
     ON CONFLICT (study_uid) DO UPDATE SET until = NULL`,
    study,
    forStudy,
  );
}

/** The fetch for this study has come to its end, whatever that was. */
export function endFetching({ database, now }: Gateway, forStudy: string): void {
  database.run(
    'UPDATE fetched_study SET until = ? WHERE for_study = ? AND until IS NULL',
    now() + LATE_ARRIVALS_MS,
    forStudy,
  );
}

/** In the transaction that stores an instance: what comes later than a fetch can send was sent for its own sake. */
export function noteArrival({ database, now }: Gateway, study: string): void {
  database.run('DELETE FROM fetched_study WHERE study_uid = ? AND until < ?', study, now());
}

/** For which study it was fetched; undefined when it came for its own sake. */
export function fetchedFor({ database }: Gateway, study: string): string | undefined {
  const row = database.get('SELECT for_study FROM fetched_study WHERE study_uid = ?', study);
  return row === undefined ? undefined : String(row['for_study']);
}

export function forgetFetchesOf({ database }: Gateway, study: string): void {
  database.run('DELETE FROM fetched_study WHERE study_uid = ? OR for_study = ?', study, study);
}
