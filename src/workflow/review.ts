/** What a person decides: a sealed object is let in under a profile of their choice or discarded, failed work is tried anew. */
import { recordAudit } from '../audit.ts';
import { awaitsDefacing } from '../deidentify/admit.ts';
import { studyPseudonym } from '../deidentify/subject.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { deleteSealed, discard, heldById, listHeld, takeOut, type HeldGroup } from '../quarantine.ts';
import { hastenItem, retryWork, type WorkItem } from '../workitems.ts';
import { releaseForDefacing } from './deface.ts';
import { letIn } from './let-in.ts';
import { openSealed, treatmentProfile, type Treatment } from './sealed.ts';

/** De-identifies and stores a held object, then breaks its seal for good. @throws Refusal when it still cannot be let in */
export async function releaseHeld(
  gateway: Gateway,
  id: string,
  treatment: Treatment,
  actor: string,
): Promise<{ studyInstanceUID: string }> {
  const held = heldById(gateway.quarantine, id);
  if (held === undefined) throw new Refusal('NotFound', 'nothing is held under this id');
  const profile = treatmentProfile(gateway, treatment);
  const object = await openSealed(gateway, held);
  if (awaitsDefacing(object, profile)) {
    const studyInstanceUID = releaseForDefacing(gateway, id, object, { project: treatment.project, profile });
    recordAudit(gateway.audit, 'Application Activity', actor, {
      action: 'release when its face is taken out',
      held: id,
      study: studyInstanceUID,
      profile: treatment.profile,
      rules: profile.hash,
    });
    return { studyInstanceUID };
  }
  const way = { project: treatment.project, profile };
  const study = studyPseudonym(gateway.wall, object, way);
  // Stored, no longer held and written down in one transaction: of two people one decides.
  const alongside = (): void => {
    if (!takeOut(gateway.quarantine, id)) throw new Refusal('Gone', 'it was discarded meanwhile');
    recordAudit(gateway.audit, 'Application Activity', actor, {
      action: 'release',
      held: id,
      study,
      profile: treatment.profile,
      rules: profile.hash,
    });
  };
  const { studyInstanceUID } = await letIn(gateway, object, { ...way, alongside });
  // The archive had it already: what is written down is that the seal was broken, by whom and for what.
  if (heldById(gateway.quarantine, id) !== undefined) gateway.database.transaction(alongside);
  await deleteSealed(gateway.quarantine, held);
  return { studyInstanceUID };
}

/** @throws Refusal NotFound */
export async function discardHeld(gateway: Gateway, id: string, actor: string): Promise<void> {
  const discarded = await discard(gateway.quarantine, id, {
    alongside: () => recordAudit(gateway.audit, 'Application Activity', actor, { action: 'discard', held: id }),
  });
  if (!discarded) throw new Refusal('NotFound', 'nothing is held under this id');
}

export interface Bulk {
  readonly done: number;
  /** What stays as it was, and why. */
  readonly refused: readonly { readonly id: string; readonly reason: string; readonly found: string }[];
  /** Of the group, beyond what one request does. */
  readonly left: number;
}

/** Objects of one request. */
const MOST_AT_ONCE = 200;

/** Every object of a group by itself: one that is refused keeps no other. @throws Refusal BadRequest */
export async function releaseGroup(
  gateway: Gateway,
  group: HeldGroup,
  treatment: Treatment,
  actor: string,
): Promise<Bulk> {
  treatmentProfile(gateway, treatment);
  return eachOf(gateway, group, async (id) => void (await releaseHeld(gateway, id, treatment, actor)));
}

export function discardGroup(gateway: Gateway, group: HeldGroup, actor: string): Promise<Bulk> {
  return eachOf(gateway, group, (id) => discardHeld(gateway, id, actor));
}

async function eachOf(gateway: Gateway, group: HeldGroup, work: (id: string) => Promise<void>): Promise<Bulk> {
  const { reason, sentence } = group;
  const all = listHeld(gateway.quarantine, Number.MAX_SAFE_INTEGER, { reason, sentence });
  const refused: Bulk['refused'][number][] = [];
  let done = 0;
  for (const { id } of all) {
    if (done === MOST_AT_ONCE || refused.length === MOST_AT_ONCE) break;
    try {
      await work(id);
      done++;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refused.push({ id, reason: error.reason, found: error.message });
    }
  }
  return { done, refused, left: all.length - done - refused.length };
}

/** Refusals whose cause a person can mend; every other one would be refused again on the same objects. */
const MENDABLE = ['DeliveryFailed', 'OutOfResources', 'DiskFull', 'ProcessingFailure', 'BadConfiguration'];

export function isWorthRetrying({ state, lastError, leaseUntil, nextAttemptAt }: WorkItem, now: number): boolean {
  const mendable = MENDABLE.some((reason) => lastError?.startsWith(`${reason}:`) === true);
  const rests = state === 'IN PROGRESS' && leaseUntil <= now && nextAttemptAt > now;
  return mendable && (rests || state === 'CANCELED');
}

/** Starts work anew, or sooner, after somebody has mended what made it fail. @throws Refusal NotFound */
export function retryFailed(gateway: Gateway, uid: string, actor: string): void {
  gateway.database.transaction(() => {
    if (!retryWork(gateway.workItems, uid) && !hastenItem(gateway.workItems, uid))
      throw new Refusal('NotFound', 'no work item that failed and rests has this uid');
    recordAudit(gateway.audit, 'Application Activity', actor, { action: 'retry', item: uid });
  });
}
