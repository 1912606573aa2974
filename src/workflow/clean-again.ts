/**
 * What is stored is cleaned again when more is known of its patient: before a study is verified, and when a later one tells a name or a
 * place that an earlier one may hold in a text. The better form takes the place of the other in one transaction, or not at all.
 */
import { readInstanceBody, storeInstance, type InstanceRow } from '../archive/instances.ts';
import { dropReplaced } from '../archive/reclaim.ts';
import { studiesOfPatient } from '../archive/studies.ts';
import { recordAudit } from '../audit.ts';
import { openSecondCleaning, withHead } from '../deidentify/again.ts';
import { findStudy } from '../deidentify/crosswalk.ts';
import { refuseLeaving } from '../deidentify/patients.ts';
import { recordsOf } from '../deidentify/merge.ts';
import type { Gateway } from '../gateway.ts';
import { scheduleVerification, type CleaningAgain } from './verification.ts';

/** Undefined where nothing is known of the study any more. */
export function openCleaningAgain(
  gateway: Gateway,
  project: string,
  studyInstanceUID: string,
): CleaningAgain | undefined {
  const { archive, wall } = gateway;
  const profiles = [...gateway.profiles.values()];
  const cleaning = openSecondCleaning(wall, { project, studyInstanceUID, profiles });
  if (cleaning === undefined) return undefined;
  let changed = 0;
  return {
    async clean(instance, head) {
      const better = cleaning.clean(head, instance.sopClassUID);
      if (better === undefined || !(await replaceHead(gateway, project, instance, better))) return false;
      changed++;
      return true;
    },
    async end() {
      // Also what was replaced by a better form that was sent again.
      await dropReplaced(archive, studyInstanceUID);
      if (changed === 0) return false;
      gateway.log.info('cleaned again', { study: studyInstanceUID, instances: changed });
      recordAudit(gateway.audit, 'Application Activity', 'isthmus', {
        action: 'clean again',
        study: studyInstanceUID,
        instances: changed,
      });
      return true;
    },
  };
}

async function replaceHead(gateway: Gateway, project: string, instance: InstanceRow, head: Buffer): Promise<boolean> {
  const { archive, wall } = gateway;
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID, sopClassUID, transferSyntaxUID, source } = instance;
  const better = withHead(
    {
      body: readInstanceBody(archive, instance),
      bodyLengthBytes: instance.lengthBytes - instance.headLengthBytes,
      studyInstanceUID,
      seriesInstanceUID,
      sopInstanceUID,
      sopClassUID,
      transferSyntaxUID,
      project,
    },
    head,
  );
  const { outcome } = await storeInstance(archive, better, {
    derived: instance.derived,
    inPlaceOf: instance.version,
    source: source === undefined ? undefined : () => ({ digest: source, coversPixels: false }),
    alongside: () => {
      const patient = findStudy(wall, project, studyInstanceUID)?.patient;
      if (patient !== undefined) refuseLeaving(wall, project, patient);
    },
  });
  return outcome === 'replaced';
}

/** Every other study of the patient is looked at once more. Part of the transaction that stores what tells more. */
export function lookAgain(gateway: Gateway, project: string, study: string): void {
  const { archive, wall } = gateway;
  const patient = findStudy(wall, project, study)?.patient;
  if (patient === undefined) return;
  for (const record of recordsOf(wall, project, patient)) {
    for (const { studyInstanceUID } of studiesOfPatient(archive, project, record)) {
      if (studyInstanceUID !== study) scheduleVerification(gateway, studyInstanceUID);
    }
  }
}
