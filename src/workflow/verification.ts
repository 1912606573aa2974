/** The verification report of a study: what is stored of it, looked at once more, beside what the door wrote down. */
import { instanceOf, instancesOf, readInstanceHead } from '../archive/instances.ts';
import { studyOf, uidsOfStudy, versionOf } from '../archive/studies.ts';
import { findStudy, studyMark } from '../deidentify/crosswalk.ts';
import { formatVerification } from '../deidentify/verification-text.ts';
import { openVerification, type DoorFacts, type Verification } from '../deidentify/verify.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { countHeldOfStudy } from '../quarantine.ts';
import { talliesOf } from './tally.ts';

/** @throws Refusal NotFound when nothing of the study is stored; Busy when it changed while it was being looked at */
export async function verifyStudy(gateway: Gateway, studyInstanceUID: string): Promise<Verification> {
  const { archive, wall } = gateway;
  const study = studyOf(archive, studyInstanceUID);
  if (study === undefined) throw new Refusal('NotFound', 'nothing of this study is stored');
  const { project } = study;
  const version = versionOf(archive, studyInstanceUID);
  const verifier = await openVerification(wall, {
    project,
    studyInstanceUID,
    profiles: [...gateway.profiles.values()],
    ofStudy: new Set(uidsOfStudy(archive, studyInstanceUID)),
    isStored: (uid) => isStored(gateway, uid),
    now: new Date(gateway.now()),
  });
  for (const instance of instancesOf(archive, { studyInstanceUID })) {
    const { sopInstanceUID, derived, frameCount } = instance;
    verifier.take(await readInstanceHead(archive, instance), { sopInstanceUID, derived, image: frameCount > 0 });
  }
  const report = verifier.end(doorFacts(gateway, project, studyInstanceUID));
  if (versionOf(archive, studyInstanceUID) !== version)
    throw new Refusal('Busy', 'the study changed while it was being verified');
  return report;
}

/** The report for the doors; kept values are the privacy officer's to read, others see how many there are. */
export function shownTo(report: Verification, reader: { readonly mayReadText: boolean }): Verification {
  if (reader.mayReadText) return report;
  return { ...report, textKept: report.textKept.map((kept) => ({ ...kept, values: [] })) };
}

export { formatVerification };

function isStored({ database, archive }: Gateway, uid: string): boolean {
  return (
    instanceOf(archive, uid) !== undefined ||
    studyOf(archive, uid) !== undefined ||
    database.get('SELECT 1 FROM series WHERE series_uid = ?', uid) !== undefined
  );
}

function doorFacts(gateway: Gateway, project: string, studyInstanceUID: string): DoorFacts {
  const row = findStudy(gateway.wall, project, studyInstanceUID);
  const sealed =
    row === undefined ? 0 : countHeldOfStudy(gateway.quarantine, studyMark(gateway.wall, row.originalStudyInstanceUID));
  return { ...talliesOf(gateway, studyInstanceUID), sealed };
}
