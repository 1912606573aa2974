/** The verification report of a study: what is stored of it, looked at once more, beside what the door wrote down. */
import { instanceOf, instancesOf, readInstanceHeads, type InstanceRow } from '../archive/instances.ts';
import { studyOf, uidsOfStudy, versionOf } from '../archive/studies.ts';
import { findStudy } from '../deidentify/crosswalk.ts';
import { studyMark } from '../deidentify/pseudonyms.ts';
import { formatVerification } from '../deidentify/verification-text.ts';
import { openVerification, type DoorFacts, type Verification } from '../deidentify/verify.ts';
import { readHead, type HeadAndBody } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { countHeldOfStudy } from '../quarantine.ts';
import { talliesOf } from './tally.ts';

/** In a transaction that completes the study, or that tells what may stand in it. */
export function scheduleVerification({ database }: Gateway, studyInstanceUID: string): void {
  database.run(
    'INSERT INTO study_unverified (study_uid) VALUES (?) ON CONFLICT (study_uid) DO UPDATE SET asked = asked + 1',
    studyInstanceUID,
  );
}

/** Takes what is known by now out of one study (clean-again.ts); its instances are given one after the other. */
export interface CleaningAgain {
  /** @returns whether a better form has taken its place. @throws Refusal Busy while the patient is being erased, DiskFull, OutOfResources */
  clean(instance: InstanceRow, head: HeadAndBody): Promise<boolean>;
  /** After the last one. @returns whether something was changed */
  end(): Promise<boolean>;
}

/**
 * With `cleaning` everything is cleaned of what is known by now before it is looked at: one reading of the heads serves both, unless
 * something had to be changed.
 * @throws Refusal NotFound when nothing of the study is stored; Busy when it changed while it was being looked at
 */
export async function verifyStudy(
  gateway: Gateway,
  studyInstanceUID: string,
  cleaning?: CleaningAgain,
): Promise<Verification> {
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
  for await (const [instance, bytes] of readInstanceHeads(archive, instancesOf(archive, { studyInstanceUID }))) {
    const { sopInstanceUID, derived, frameCount } = instance;
    const head = readable(bytes);
    if (head !== undefined && (await cleaning?.clean(instance, head)) === true) continue;
    // What is no readable object any more is found out once more, and is a reason.
    verifier.take(head ?? bytes, { sopInstanceUID, derived, image: frameCount > 0 });
  }
  if ((await cleaning?.end()) === true) return verifyStudy(gateway, studyInstanceUID);
  const report = verifier.end(doorFacts(gateway, project, studyInstanceUID));
  if (versionOf(archive, studyInstanceUID) !== version)
    throw new Refusal('Busy', 'the study changed while it was being verified');
  return report;
}

function readable(bytes: Buffer): HeadAndBody | undefined {
  try {
    return readHead(bytes);
  } catch (error) {
    if (error instanceof Refusal) return undefined;
    throw error;
  }
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
