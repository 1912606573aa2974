/** A person deletes a study, a series or an instance from the archive. What was sent to the PACS stays there. */
import { deleteInstances } from '../archive/reclaim.ts';
import { outOfSpace } from '../archive/room.ts';
import { deleteStudy, studyOf, type Alongside } from '../archive/studies.ts';
import { recordAudit } from '../audit.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { workItemsOf } from '../workitems.ts';
import { forgetFetchesOf } from './fetched.ts';
import { forgetFacesOf } from './deface.ts';
import { forgetTalliesOf } from './tally.ts';
import { forgetVerificationOf } from './withhold.ts';

export interface DeleteScope {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID?: string | undefined;
  readonly sopInstanceUID?: string | undefined;
}

/**
 * Rows, tombstones and the line in the audit trail go in one transaction. Returns how many instances were deleted.
 * @param before runs in it first: what it throws leaves everything as it is
 * @throws Refusal Busy while the study is being sent or worked on: a result that has not been delivered would be lost; DiskFull
 */
export async function deleteFromArchive(
  gateway: Gateway,
  scope: DeleteScope,
  actor: string,
  before?: () => void,
): Promise<number> {
  const { archive } = gateway;
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID } = scope;
  const alongside = (): void => {
    checkIdle(gateway, studyInstanceUID);
    if (studyOf(archive, studyInstanceUID) === undefined) {
      gateway.database.run('DELETE FROM study_clock WHERE study_uid = ?', studyInstanceUID);
      forgetTalliesOf(gateway, studyInstanceUID);
      forgetFetchesOf(gateway, studyInstanceUID);
      forgetFacesOf(gateway, studyInstanceUID);
      forgetVerificationOf(gateway, studyInstanceUID);
    }
    recordAudit(gateway.audit, 'DICOM Study Deleted', actor, {
      study: studyInstanceUID,
      ...(seriesInstanceUID === undefined ? {} : { series: seriesInstanceUID }),
      ...(sopInstanceUID === undefined ? {} : { instance: sopInstanceUID }),
    });
  };
  try {
    return await remove(gateway, scope, { alongside, ...(before === undefined ? {} : { before }) });
  } catch (error) {
    throw outOfSpace(error);
  }
}

function remove({ archive }: Gateway, scope: DeleteScope, within: Alongside): Promise<number> {
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID } = scope;
  if (seriesInstanceUID === undefined) return deleteStudy(archive, studyInstanceUID, within);
  const some = sopInstanceUID === undefined ? {} : { sopInstanceUIDs: [sopInstanceUID] };
  return deleteInstances(archive, { studyInstanceUID, seriesInstanceUID, ...some }, within);
}

function checkIdle(gateway: Gateway, studyInstanceUID: string): void {
  if (gateway.arrivals.has(studyInstanceUID)) throw new Refusal('Busy', 'the study is being received');
  const open = workItemsOf(gateway.workItems, studyInstanceUID).filter(
    ({ state }) => state === 'SCHEDULED' || state === 'IN PROGRESS',
  );
  if (open.length > 0) throw new Refusal('Busy', `${open.length} work items of the study are not finished`);
}
