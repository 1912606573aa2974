/** What a person decides: a sealed object is let in under a profile of their choice or discarded, failed work is tried anew. */
import { recordAudit } from '../audit.ts';
import { receiveObject } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { profileOf, type Gateway } from '../gateway.ts';
import { discard, heldById, unseal } from '../quarantine.ts';
import { retryWork } from '../workitems.ts';
import { letIn } from './let-in.ts';

export interface Release {
  readonly project: string;
  readonly profile: string;
}

/** De-identifies and stores a held object, then breaks its seal for good. @throws Refusal when it still cannot be let in */
export async function releaseHeld(
  gateway: Gateway,
  id: string,
  { project, profile }: Release,
  actor: string,
): Promise<{ studyInstanceUID: string }> {
  const held = heldById(gateway.quarantine, id);
  if (held === undefined) throw new Refusal('NotFound', 'nothing is held under this id');
  const object = await receiveObject(
    await unseal(gateway.quarantine, id),
    held.transferSyntaxUID === '' ? {} : { transferSyntaxUID: held.transferSyntaxUID },
  );
  const { studyInstanceUID } = await letIn(gateway, object, { project, profile: profileOf(gateway, profile) });
  // Also when the archive had it already: what is written down is that the seal was broken, by whom and for what.
  await discard(gateway.quarantine, id, {
    alongside: () =>
      recordAudit(gateway.audit, 'Application Activity', actor, {
        action: 'release',
        held: id,
        study: studyInstanceUID,
        profile,
      }),
  });
  return { studyInstanceUID };
}

/** @throws Refusal NotFound */
export async function discardHeld(gateway: Gateway, id: string, actor: string): Promise<void> {
  const discarded = await discard(gateway.quarantine, id, {
    alongside: () => recordAudit(gateway.audit, 'Application Activity', actor, { action: 'discard', held: id }),
  });
  if (!discarded) throw new Refusal('NotFound', 'nothing is held under this id');
}

/** Starts work anew after somebody has mended what made it fail. @throws Refusal NotFound */
export function retryCanceled(gateway: Gateway, uid: string, actor: string): void {
  gateway.database.transaction(() => {
    if (!retryWork(gateway.workItems, uid)) throw new Refusal('NotFound', 'no canceled work item has this uid');
    recordAudit(gateway.audit, 'Application Activity', actor, { action: 'retry', item: uid });
  });
}
