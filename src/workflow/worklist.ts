/**
 * What others do with work items: schedule, change, claim and end them, ask for their end, follow them. What is written down of theirs
 * is freed of what names a person first; each change that a person could be asked about stands in the audit trail.
 */
import { isPatientPseudonym } from '../archive/patients.ts';
import { recordAudit } from '../audit.ts';
import type { DicomJson } from '../dicom/json.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import type { Match } from '../matching/conditions.ts';
import { foldPerson } from '../matching/values.ts';
import { cancelWork } from '../workitems.ts';
import { checkCreation, checkUpdate } from '../workitems/attributes.ts';
import {
  enterOwner,
  FILTERED_WORKLIST,
  ownerOf,
  subscribeToStep,
  subscribeToWorklist,
  unsubscribeFromStep,
  unsubscribeFromWorklist,
  WORKLIST,
} from '../workitems/events.ts';
import { withoutIdentity } from '../workitems/privacy.ts';
import { stepCondition } from '../workitems/step-search.ts';
import {
  changeStepState,
  createStep,
  requestStepCancel,
  stepNamed,
  stepOf,
  updateStep,
  type StateRequest,
} from '../workitems/steps.ts';

export interface Accepted {
  /** Values were filled in or, because they name a person, emptied. */
  readonly modified: boolean;
  /** Attributes that no work item has were passed over. */
  readonly passedOver: boolean;
}

/** @throws Refusal BadRequest, Duplicate */
export function createWorkitem(gateway: Gateway, uid: string, given: DicomJson, actor: string): Accepted {
  if (uid === WORKLIST || uid === FILTERED_WORKLIST)
    throw new Refusal('BadRequest', 'this UID stands for the worklist itself (PS3.4 CC.2.3.2)');
  const checked = checkCreation(given);
  const { object, taken } = withoutIdentity(checked.object, pseudonymsOf(gateway));
  gateway.database.transaction(() => {
    createStep(gateway.workItems, uid, object);
    recordAudit(gateway.audit, 'Application Activity', actor, { action: 'create work item', item: uid });
  });
  return { modified: checked.modified || checked.passedOver || taken, passedOver: checked.passedOver };
}

/** @throws Refusal BadRequest, WrongTransaction, InconsistentState, NotFound, Gone */
export function updateWorkitem(
  gateway: Gateway,
  uid: string,
  given: DicomJson,
  transactionUID: string | undefined,
): Accepted {
  stepNamed(gateway.workItems, uid);
  const checked = checkUpdate(given);
  const { object, taken } = withoutIdentity(checked.object, pseudonymsOf(gateway));
  updateStep(gateway.workItems, uid, object, transactionUID);
  return { modified: taken, passedOver: checked.passedOver };
}

/** @throws Refusal BadRequest, WrongTransaction, InconsistentState, NotFound, Gone */
export function changeWorkitemState(
  gateway: Gateway,
  uid: string,
  request: StateRequest,
  actor: string,
): 'changed' | 'already' {
  return gateway.database.transaction(() => {
    const outcome = changeStepState(gateway.workItems, uid, request);
    if (outcome === 'changed')
      recordAudit(gateway.audit, 'Application Activity', actor, {
        action: 'change work item',
        item: uid,
        state: request.state ?? '',
      });
    return outcome;
  });
}

/** Work of the gateway's own ends at once, also when it is being done. @throws Refusal InconsistentState, NotFound, Gone */
export function cancelWorkitem(gateway: Gateway, uid: string, request: DicomJson, actor: string): void {
  const { workItems } = gateway;
  const { object } = withoutIdentity(request, pseudonymsOf(gateway));
  const step = gateway.database.transaction(() => {
    // An AE has no more than 16 characters.
    const asked = requestStepCancel(workItems, uid, object, actor.slice(0, 16));
    if (asked.work !== undefined) cancelWork(workItems, asked.work);
    recordAudit(gateway.audit, 'Application Activity', actor, { action: 'cancel work item', item: uid });
    return asked;
  });
  if (step.work === undefined) return;
  workItems.live?.running.get(step.work)?.abort(new Refusal('InconsistentState', 'the work was canceled on request'));
}

function pseudonymsOf({ archive }: Gateway): (key: string, value: unknown) => boolean {
  return (key, value) => {
    if (key === '00100020') return typeof value === 'string' && isPatientPseudonym(archive, 'patient_id', value);
    return key === '00100010' && isPatientPseudonym(archive, 'patient_name', foldPerson(value));
  };
}

/** An AE title belongs to who used it first. @throws Refusal NotAuthorized */
export function checkSubscriber({ workItems }: Gateway, aet: string, caller: string, anyTitle: boolean): void {
  const owner = ownerOf(workItems, aet);
  if (owner !== undefined && owner !== caller && !anyTitle)
    throw new Refusal('NotAuthorized', 'the AE title is in use by another caller');
}

export interface Subscription {
  readonly aet: string;
  readonly lock: boolean;
  readonly owner: string;
}

/** @throws Refusal NotFound, Gone */
export function followWorkitem({ workItems }: Gateway, uid: string, { aet, lock, owner }: Subscription): void {
  workItems.database.transaction(() => {
    const step = stepNamed(workItems, uid);
    enterOwner(workItems, aet, owner);
    subscribeToStep(workItems, step, aet, lock);
  });
}

/** All of it, or what matches. @throws Refusal BadRequest for a filter that cannot be matched */
export function followWorklist(
  { workItems }: Gateway,
  { aet, lock, owner }: Subscription,
  matches?: readonly Match[],
): void {
  workItems.database.transaction(() => {
    if (matches !== undefined) stepCondition(matches, { fuzzyMatching: false });
    enterOwner(workItems, aet, owner);
    subscribeToWorklist(workItems, aet, { lock, matches }, stepOf);
  });
}

/** @throws Refusal NotFound when there is no such subscription; Gone */
export function unfollowWorkitem({ workItems }: Gateway, uid: string, aet: string): void {
  const step = stepNamed(workItems, uid);
  if (!unsubscribeFromStep(workItems, step.id, aet)) throw new Refusal('NotFound', 'there is no such subscription');
}

/** @throws Refusal NotFound when there is no such subscription */
export function unfollowWorklist(
  { workItems }: Gateway,
  aet: string,
  options: { readonly filtered: boolean; readonly keepSteps: boolean },
): void {
  if (!unsubscribeFromWorklist(workItems, aet, options)) throw new Refusal('NotFound', 'there is no such subscription');
}
