/** Deletes what has been kept long enough: pseudonymous studies nobody works on, and sealed objects nobody released. */
import { deleteStudy } from '../archive/studies.ts';
import { recordAudit } from '../audit.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { discardHeldBefore } from '../quarantine.ts';
import { workItemsOf } from '../workitems.ts';
import { forgetFetchesOf } from './fetched.ts';
import { forgetFacesOf } from './deface.ts';
import { forgetTalliesOf } from './tally.ts';
import { forgetVerificationOf } from './withhold.ts';

const DAY_MS = 86_400_000;
const STUDIES_A_TURN = 500;

/** Answers how many studies and sealed objects went. */
export async function retain(gateway: Gateway): Promise<{ studies: number; sealed: number }> {
  const { studyDays, quarantineDays } = gateway.config.retention;
  const studies = studyDays === undefined ? 0 : await deleteOldStudies(gateway, gateway.now() - studyDays * DAY_MS);
  const sealed =
    quarantineDays === undefined
      ? 0
      : await discardHeldBefore(gateway.quarantine, gateway.now() - quarantineDays * DAY_MS);
  if (sealed > 0)
    recordAudit(gateway.audit, 'Application Activity', 'timetable', { action: 'discard expired', sealed });
  if (studies + sealed > 0) gateway.log.info('retention', { studies, sealed });
  return { studies, sealed };
}

async function deleteOldStudies(gateway: Gateway, before: number): Promise<number> {
  const rows = gateway.database.all(
    "SELECT study_uid FROM study_clock WHERE last_arrival < ? AND state = 'complete' ORDER BY last_arrival LIMIT ?",
    before,
    STUDIES_A_TURN,
  );
  let deleted = 0;
  for (const row of rows) {
    const study = String(row['study_uid']);
    // A result that has not been delivered keeps its study.
    if (
      gateway.arrivals.has(study) ||
      workItemsOf(gateway.workItems, study).some(({ state }) => state === 'SCHEDULED' || state === 'IN PROGRESS')
    )
      continue;
    const expired = (): void => {
      const { changes } = gateway.database.run(
        "DELETE FROM study_clock WHERE study_uid = ? AND last_arrival < ? AND state = 'complete'",
        study,
        before,
      );
      // Something arrived while the deletion waited for its turn: what was acknowledged stays, and with it the study.
      if (changes === 0) throw new Refusal('NotFound', 'the study is in use again');
      forgetTalliesOf(gateway, study);
      forgetFetchesOf(gateway, study);
      forgetFacesOf(gateway, study);
      forgetVerificationOf(gateway, study);
      recordAudit(gateway.audit, 'DICOM Study Deleted', 'timetable', { study });
    };
    try {
      await deleteStudy(gateway.archive, study, { alongside: expired });
      deleted++;
    } catch (error) {
      if (!(error instanceof Refusal && error.reason === 'NotFound')) throw error;
    }
  }
  return deleted;
}
