/** The hospital says that two records are one person, or that they are not; and that somebody did say so goes into the trail. */
import { recordAudit } from '../audit.ts';
import { mergePatients, partPatients, type Merged, type PatientRecord } from '../deidentify/merge.ts';
import type { Gateway } from '../gateway.ts';

/** @throws Refusal BadRequest, Busy */
export function mergeRecords(
  gateway: Gateway,
  project: string,
  from: PatientRecord,
  into: PatientRecord,
  actor: string,
): Merged {
  return gateway.database.transaction(() => {
    const merged = mergePatients(gateway.wall, project, from, into);
    const { pseudonym, survivor } = merged;
    recordAudit(gateway.audit, 'Application Activity', actor, { action: 'merge', project, pseudonym, survivor });
    return merged;
  });
}

/** @throws Refusal NotFound */
export function partRecords(
  gateway: Gateway,
  project: string,
  from: PatientRecord,
  actor: string,
): { readonly pseudonym: string } {
  return gateway.database.transaction(() => {
    const parted = partPatients(gateway.wall, project, from);
    recordAudit(gateway.audit, 'Application Activity', actor, { action: 'part', project, ...parted });
    return parted;
  });
}
