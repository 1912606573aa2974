/**
 * Every study is cleaned of what is known by now and verified when it is complete. What does not pass is withheld from viewers until a privacy officer has looked at it. A
 * result that goes back to the PACS goes back to its patient, so deliveries are not held up.
 */
import { isWithheld, showStudy, withholdStudy } from '../archive/withheld.ts';
import { studyOf } from '../archive/studies.ts';
import { recordAudit } from '../audit.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { openCleaningAgain } from './clean-again.ts';
import { verifyStudy } from './verification.ts';

const STUDIES_A_TURN = 20;

/** Answers how many studies were verified. */
export async function verifyCompleted(gateway: Gateway): Promise<number> {
  const due = gateway.database.all('SELECT study_uid, asked FROM study_unverified LIMIT ?', STUDIES_A_TURN);
  let verified = 0;
  for (const row of due) {
    const study = String(row['study_uid']);
    const reasons = await reasonsAgainst(gateway, study);
    // It is being received or worked on: completed again, it comes again.
    if (reasons === 'later') continue;
    judge(gateway, study, reasons, Number(row['asked']));
    verified++;
  }
  return verified;
}

async function reasonsAgainst(gateway: Gateway, study: string): Promise<readonly string[] | 'later'> {
  try {
    const stored = studyOf(gateway.archive, study);
    const cleaning = stored && openCleaningAgain(gateway, stored.project, study);
    return (await verifyStudy(gateway, study, cleaning)).reasons;
  } catch (error) {
    if (error instanceof Refusal && error.reason === 'Busy') return 'later';
    if (error instanceof Refusal && error.reason === 'NotFound') return [];
    gateway.log.error('study not verified', { study, error: error instanceof Error ? error.name : 'unknown' });
    return [`it could not be verified: ${error instanceof Refusal ? error.message : 'see the log'}`];
  }
}

/** @param asked how often when the look began: who asked since is given another one */
function judge(gateway: Gateway, study: string, reasons: readonly string[], asked: number): void {
  const { archive, database } = gateway;
  database.transaction(() => {
    database.run('DELETE FROM study_unverified WHERE study_uid = ? AND asked = ?', study, asked);
    const accepted = acceptedFor(gateway, study);
    if (reasons.every((reason) => accepted.has(reason))) {
      showStudy(archive, study);
      return;
    }
    database.run(
      `INSERT INTO study_withheld (study_uid, reasons, since) VALUES (?, ?, ?)
       ON CONFLICT (study_uid) DO UPDATE SET reasons = excluded.reasons, since = excluded.since`,
      study,
      JSON.stringify(reasons),
      gateway.now(),
    );
    if (isWithheld(archive, study)) return;
    withholdStudy(archive, study);
    recordAudit(gateway.audit, 'Security Alert', 'isthmus', { action: 'withhold', study });
    gateway.log.warn('study withheld', { study, reasons: reasons.join('; ') });
  });
}

function acceptedFor({ database }: Gateway, study: string): ReadonlySet<string> {
  const row = database.get('SELECT accepted FROM study_withheld WHERE study_uid = ?', study);
  return new Set(typeof row?.['accepted'] === 'string' ? (JSON.parse(row['accepted']) as string[]) : []);
}

/** Why a study is withheld; undefined when it is shown. */
export function withheldBecause(gateway: Gateway, study: string): readonly string[] | undefined {
  if (!isWithheld(gateway.archive, study)) return undefined;
  const row = gateway.database.get('SELECT reasons FROM study_withheld WHERE study_uid = ?', study);
  return typeof row?.['reasons'] === 'string' ? (JSON.parse(row['reasons']) as string[]) : [];
}

/** A person has looked and lets viewers have it; what is found later withholds it again. @throws Refusal NotFound, Conflict */
export function releaseStudy(gateway: Gateway, study: string, actor: string): { readonly accepted: readonly string[] } {
  return gateway.database.transaction(() => {
    const reasons = withheldBecause(gateway, study);
    if (reasons === undefined) throw new Refusal('Conflict', 'the study is not withheld');
    gateway.database.run(
      'UPDATE study_withheld SET accepted = ? WHERE study_uid = ?',
      JSON.stringify([...new Set([...acceptedFor(gateway, study), ...reasons])]),
      study,
    );
    showStudy(gateway.archive, study);
    recordAudit(gateway.audit, 'Application Activity', actor, { action: 'release study', study });
    return { accepted: reasons };
  });
}

/** When the study is deleted, in the same transaction. */
export function forgetVerificationOf({ database, archive }: Gateway, study: string): void {
  showStudy(archive, study);
  database.run('DELETE FROM study_unverified WHERE study_uid = ?', study);
  database.run('DELETE FROM study_withheld WHERE study_uid = ?', study);
}
