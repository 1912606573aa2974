/** What a person decides about a sealed object: let it in under a profile of their choice, or discard it. */
import { storeInstance } from '../archive/instances.ts';
import { recordAudit } from '../audit.ts';
import { deidentify } from '../deidentify/deidentify.ts';
import { readObject } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { profileOf, type Gateway } from '../gateway.ts';
import { discard, heldById, unseal } from '../quarantine.ts';
import { touchStudy } from './complete.ts';

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
  const bytes = await unseal(gateway.quarantine, id);
  const object = await readObject(
    bytes,
    held.transferSyntaxUID === '' ? {} : { transferSyntaxUID: held.transferSyntaxUID },
  );
  const { object: clean, remember } = await deidentify(gateway.wall, object, {
    project,
    profile: profileOf(gateway, profile),
  });
  const { studyInstanceUID } = clean;
  await storeInstance(gateway.archive, clean, {
    alongside: () => {
      remember();
      touchStudy(gateway, project, studyInstanceUID);
      recordAudit(gateway.audit, 'Application Activity', actor, {
        action: 'release',
        held: id,
        study: studyInstanceUID,
        profile,
      });
    },
  });
  await discard(gateway.quarantine, id);
  return { studyInstanceUID };
}

/** @throws Refusal NotFound */
export async function discardHeld(gateway: Gateway, id: string, actor: string): Promise<void> {
  if (!(await discard(gateway.quarantine, id))) throw new Refusal('NotFound', 'nothing is held under this id');
  recordAudit(gateway.audit, 'Application Activity', actor, { action: 'discard', held: id });
}
