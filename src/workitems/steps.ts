/**
 * Unified Procedure Steps (PS3.4 annex CC): what others schedule, claim, report on and end here, and what the gateway's own work shows of
 * itself. A step in progress is locked by the Transaction UID of who claimed it, which is never given out.
 */
import type { Database, Row } from '../database.ts';
import { formatDicomJsonObject, type DicomJson } from '../dicom/json.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid, newUid } from '../dicom/uid.ts';
import { dateTimeBounds } from '../matching/moments.ts';
import {
  codeItem,
  elementOf,
  formatDateTime,
  itemsOf,
  missingForFinalState,
  put,
  textOf,
  UPS_PUSH,
  valuesOf,
} from './attributes.ts';
import {
  hasSubscribers,
  reportAssignment,
  reportCancelRequest,
  reportProgress,
  reportState,
  welcomeStep,
  type Notices,
} from './events.ts';
import { enterStepKeys } from './step-search.ts';

export type StepState = 'SCHEDULED' | 'IN PROGRESS' | 'COMPLETED' | 'CANCELED';
const STEP_STATES: readonly StepState[] = ['SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED'];

export interface Step {
  readonly id: number;
  readonly uid: string;
  readonly state: StepState;
  readonly transactionUID: string | undefined;
  /** The work item that shows as this step: the gateway performs it, nobody else. */
  readonly work: string | undefined;
  readonly object: DicomJson;
}

/** The texts that PS3.18 11.6.3.2, 11.7.3.2 and 11.8.3.2 prescribe. */
export const STEP_WARNINGS = {
  created: 'The Workitem was created with modifications.',
  updated: 'The Workitem was updated with modifications.',
  optional: 'Requested optional Attributes are not supported.',
  unclaimed: 'The target URI did not reference a claimed Workitem.',
  inconsistentWorkitem: 'The submitted request is inconsistent with the current state of the Workitem.',
  missingTransaction: 'The Transaction UID is missing.',
  wrongTransaction: 'The Transaction UID is incorrect.',
  inconsistent: 'The submitted request is inconsistent with the state of the UPS Instance.',
  alreadyCanceled: 'The UPS is already in the requested state of CANCELED.',
  alreadyCompleted: 'The UPS is already in the requested state of COMPLETED.',
  completed: 'The UPS is already COMPLETED.',
  unreachable: 'The performer cannot be contacted.',
} as const;

export const STEP_TABLES = `CREATE TABLE step (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     uid TEXT NOT NULL UNIQUE,
     state TEXT NOT NULL,
     transaction_uid TEXT,
     work TEXT,
     start TEXT NOT NULL,
     json TEXT NOT NULL,
     updated_at INTEGER NOT NULL
   );
   CREATE INDEX step_order ON step (start, uid);
   CREATE INDEX step_work ON step (work) WHERE work IS NOT NULL;
   CREATE INDEX step_ended ON step (updated_at) WHERE state IN ('COMPLETED', 'CANCELED');
   CREATE TABLE step_key (
     step INTEGER NOT NULL REFERENCES step (id),
     path TEXT NOT NULL,
     top INTEGER NOT NULL,
     item TEXT NOT NULL,
     value TEXT NOT NULL
   );
   CREATE INDEX step_key_value ON step_key (path, value, step);
   CREATE INDEX step_key_step ON step_key (step, path);
   CREATE TABLE step_tombstone (uid TEXT PRIMARY KEY) WITHOUT ROWID;
   CREATE TABLE worklist_subscription (aet TEXT NOT NULL, filter TEXT, deletion_lock INTEGER NOT NULL);
   CREATE INDEX worklist_subscriber ON worklist_subscription (aet);
   CREATE TABLE step_subscription (
     step INTEGER NOT NULL REFERENCES step (id),
     aet TEXT NOT NULL,
     deletion_lock INTEGER NOT NULL,
     PRIMARY KEY (step, aet)
   ) WITHOUT ROWID;
   CREATE INDEX step_subscriber ON step_subscription (aet);
   CREATE TABLE subscriber (aet TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
   CREATE TABLE step_event (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     aet TEXT NOT NULL,
     type INTEGER NOT NULL,
     created_at INTEGER NOT NULL,
     json TEXT NOT NULL
   );
   CREATE INDEX step_event_of ON step_event (aet, id);
   CREATE INDEX step_event_age ON step_event (created_at)`;

/** A new step in state SCHEDULED, of which its subscribers hear. @throws Refusal Duplicate when the UID is or was in use */
export function createStep(notices: Notices, uid: string, given: DicomJson, work?: string): void {
  const { database } = notices;
  database.transaction(() => {
    const taken =
      database.get('SELECT 1 AS one FROM step WHERE uid = ?', uid) ??
      database.get('SELECT 1 AS one FROM step_tombstone WHERE uid = ?', uid);
    if (taken !== undefined) throw new Refusal('Duplicate', 'a work item of this UID exists already, or did');
    const object = { ...given };
    put(object, 'SOPClassUID', UPS_PUSH);
    put(object, 'SOPInstanceUID', uid);
    put(object, 'ProcedureStepState', 'SCHEDULED');
    stampChange(notices, object);
    const { lastId } = database.run(
      'INSERT INTO step (uid, state, work, start, json, updated_at) VALUES (?, ?, ?, ?, ?, ?)',
      uid,
      'SCHEDULED',
      work ?? null,
      startOf(object),
      formatDicomJsonObject(object),
      notices.now(),
    );
    enterStepKeys(database, lastId, object);
    welcomeStep(notices, { id: lastId, uid, object });
  });
}

/** Steps are kept, and go out, in UTF-8, in whatever character set the data set that brought them says it was (PS3.18 F.2). */
function stampChange({ now }: Notices, object: DicomJson): void {
  put(object, 'SpecificCharacterSet', 'ISO_IR 192');
  put(object, 'ScheduledProcedureStepModificationDateTime', formatDateTime(now()));
}

function startOf(object: DicomJson): string {
  return dateTimeBounds(textOf(object, 'ScheduledProcedureStepStartDateTime') ?? '')?.[0] ?? '';
}

/** @throws Refusal NotFound, Gone */
export function stepNamed({ database }: Notices, uid: string): Step {
  const row = database.get('SELECT * FROM step WHERE uid = ?', uid);
  if (row !== undefined) return stepOf(row);
  if (database.get('SELECT 1 AS one FROM step_tombstone WHERE uid = ?', uid) !== undefined)
    throw new Refusal('Gone', 'the work item has been deleted');
  throw new Refusal('NotFound', 'there is no such work item');
}

export function stepOf(row: Row): Step {
  const { transaction_uid: transactionUID, work } = row;
  return {
    id: Number(row['id']),
    uid: String(row['uid']),
    state: String(row['state']) as StepState,
    transactionUID: typeof transactionUID === 'string' ? transactionUID : undefined,
    work: typeof work === 'string' ? work : undefined,
    object: JSON.parse(String(row['json'])) as DicomJson,
  };
}

/** The step that a work item shows as now: of several, which stand for attempts anew, the last. */
export function stepOfWork({ database }: Notices, work: string): Step | undefined {
  const row = database.get('SELECT * FROM step WHERE work = ? ORDER BY id DESC LIMIT 1', work);
  return row === undefined ? undefined : stepOf(row);
}

export interface StepChange {
  readonly changes?: DicomJson;
  readonly state?: StepState;
  readonly transactionUID?: string;
}

/** Writes a step down as it is now and tells its subscribers what is new. */
export function changeStep(notices: Notices, step: Step, { changes = {}, state, transactionUID }: StepChange): Step {
  const { database } = notices;
  return database.transaction(() => {
    const object = { ...step.object, ...changes };
    stampChange(notices, object);
    if (state !== undefined) put(object, 'ProcedureStepState', state);
    const changed: Step = {
      ...step,
      object,
      state: state ?? step.state,
      transactionUID: transactionUID ?? step.transactionUID,
    };
    database.run(
      'UPDATE step SET state = ?, transaction_uid = ?, start = ?, json = ?, updated_at = ? WHERE id = ?',
      changed.state,
      changed.transactionUID ?? null,
      startOf(object),
      formatDicomJsonObject(object),
      notices.now(),
      step.id,
    );
    const touched = Object.keys(object).filter((key) => object[key] !== step.object[key]);
    enterStepKeys(database, step.id, object, new Set(touched));
    tell(notices, step, changed);
    return changed;
  });
}

function tell(notices: Notices, before: Step, after: Step): void {
  const differs = (keyword: string): boolean =>
    JSON.stringify(elementOf(before.object, keyword)) !== JSON.stringify(elementOf(after.object, keyword));
  if (differs('ProcedureStepProgressInformationSequence') && after.state !== 'CANCELED') reportProgress(notices, after);
  if (differs('ScheduledStationNameCodeSequence') || differs('ScheduledHumanPerformersSequence'))
    reportAssignment(notices, after);
  if (differs('ProcedureStepState') || differs('InputReadinessState')) reportState(notices, after);
}

/** @throws Refusal BadRequest, WrongTransaction, InconsistentState, NotFound, Gone */
export function updateStep(
  notices: Notices,
  uid: string,
  changes: DicomJson,
  transactionUID: string | undefined,
): void {
  notices.database.transaction(() => {
    const step = stepNamed(notices, uid);
    const refuse = (reason: 'BadRequest' | 'WrongTransaction', sentence: string, warning: string): never => {
      throw new Refusal(reason, sentence, warning);
    };
    if (step.state === 'COMPLETED' || step.state === 'CANCELED')
      refuse('BadRequest', `the work item is ${step.state}`, STEP_WARNINGS.inconsistentWorkitem);
    if (step.state === 'SCHEDULED' && transactionUID !== undefined)
      refuse('WrongTransaction', 'nobody has claimed the work item', STEP_WARNINGS.unclaimed);
    if (step.state === 'IN PROGRESS' && transactionUID !== step.transactionUID)
      refuse('WrongTransaction', 'this is not the Transaction UID of who claimed it', STEP_WARNINGS.unclaimed);
    refuseOwn(step, STEP_WARNINGS.inconsistentWorkitem);
    changeStep(notices, step, { changes });
  });
}

/** What the gateway does itself is nobody else's to claim or to change. */
function refuseOwn({ work }: Step, warning: string): void {
  if (work !== undefined)
    throw new Refusal('InconsistentState', 'the gateway itself performs this work item; it can be canceled', warning);
}

export interface StateRequest {
  readonly state: string | undefined;
  readonly transactionUID: string | undefined;
}

/**
 * Claims a step, completes it or cancels it (PS3.4 table CC.1.1-2). `already` when it is in that state, which ends it.
 * @throws Refusal BadRequest, WrongTransaction, InconsistentState, NotFound, Gone
 */
export function changeStepState(notices: Notices, uid: string, request: StateRequest): 'changed' | 'already' {
  return notices.database.transaction(() => {
    const step = stepNamed(notices, uid);
    const target = STEP_STATES.find((state) => state === request.state);
    if (target === undefined)
      throw new Refusal(
        'BadRequest',
        'ProcedureStepState is missing or no state of a work item',
        STEP_WARNINGS.inconsistent,
      );
    const { transactionUID } = request;
    if (transactionUID === undefined || transactionUID === '')
      throw new Refusal('WrongTransaction', 'TransactionUID is missing', STEP_WARNINGS.missingTransaction);
    if (!isUid(transactionUID) || (step.transactionUID !== undefined && step.transactionUID !== transactionUID))
      throw new Refusal(
        'WrongTransaction',
        'TransactionUID is not that of who claimed it',
        STEP_WARNINGS.wrongTransaction,
      );
    const inconsistent = (sentence: string): Refusal =>
      new Refusal('InconsistentState', sentence, STEP_WARNINGS.inconsistent);
    if (target === 'SCHEDULED') throw inconsistent('a work item is SCHEDULED only when it is created');
    switch (step.state) {
      case 'SCHEDULED':
        if (target !== 'IN PROGRESS') throw inconsistent('the work item is not yet IN PROGRESS');
        refuseOwn(step, STEP_WARNINGS.inconsistent);
        changeStep(notices, step, { state: target, transactionUID });
        return 'changed';
      case 'IN PROGRESS': {
        if (target === 'IN PROGRESS') throw inconsistent('the work item is already IN PROGRESS');
        const changes = target === 'CANCELED' ? withCancellationTime(notices, step.object) : {};
        const missing = missingForFinalState({ ...step.object, ...changes }, target);
        if (missing !== undefined)
          throw inconsistent(`${missing} has to have a value before the work item is ${target}`);
        changeStep(notices, step, { changes, state: target });
        return 'changed';
      }
      case 'COMPLETED':
      case 'CANCELED':
        if (target !== step.state) throw inconsistent(`the work item is already ${step.state}`);
        return 'already';
      default:
        return step.state satisfies never;
    }
  });
}

function withCancellationTime({ now }: Notices, object: DicomJson): DicomJson {
  const progress = { ...itemsOf(object, 'ProcedureStepProgressInformationSequence')[0] };
  if (textOf(progress, 'ProcedureStepCancellationDateTime') === undefined)
    put(progress, 'ProcedureStepCancellationDateTime', formatDateTime(now()));
  const changes: DicomJson = {};
  put(changes, 'ProcedureStepProgressInformationSequence', progress);
  return changes;
}

/**
 * Somebody who does not perform the step wants it canceled (PS3.4 CC.2.2). What nobody has begun is canceled at once, and so is the
 * gateway's own work; who else performs it hears of the wish. Answers the work item to be given up, if it is one.
 * @throws Refusal InconsistentState, NotFound, Gone
 */
export function requestStepCancel(notices: Notices, uid: string, request: DicomJson, requestingAE: string): Step {
  return notices.database.transaction(() => {
    const step = stepNamed(notices, uid);
    if (step.state === 'COMPLETED')
      throw new Refusal('InconsistentState', 'the work item is COMPLETED', STEP_WARNINGS.completed);
    if (step.state === 'CANCELED')
      throw new Refusal('InconsistentState', 'the work item is CANCELED', STEP_WARNINGS.alreadyCanceled);
    if (step.state === 'IN PROGRESS' && step.work === undefined && !hasSubscribers(notices, step.id))
      throw new Refusal('InconsistentState', 'nobody has subscribed to the work item', STEP_WARNINGS.unreachable);
    reportCancelRequest(notices, step, requestingAE, request);
    if (step.state === 'IN PROGRESS' && step.work === undefined) return step;
    return cancelStep(notices, step, request);
  });
}

/** By way of IN PROGRESS, as the state machine has it. `reason`: attributes of a cancel request. */
export function cancelStep(notices: Notices, step: Step, reason: DicomJson): Step {
  const begun =
    step.state === 'SCHEDULED' ? changeStep(notices, step, { state: 'IN PROGRESS', transactionUID: newUid() }) : step;
  const progress = { ...itemsOf(begun.object, 'ProcedureStepProgressInformationSequence')[0] };
  put(progress, 'ProcedureStepCancellationDateTime', formatDateTime(notices.now()));
  const text = textOf(reason, 'ReasonForCancellation');
  if (text !== undefined) put(progress, 'ReasonForCancellation', text);
  const codes = valuesOf(elementOf(reason, 'ProcedureStepDiscontinuationReasonCodeSequence'));
  put(
    progress,
    'ProcedureStepDiscontinuationReasonCodeSequence',
    ...(codes.length > 0 ? codes : [codeItem('110513', 'DCM', 'Discontinued for unspecified reason')]),
  );
  const changes: DicomJson = {};
  put(changes, 'ProcedureStepProgressInformationSequence', progress);
  return changeStep(notices, begun, { changes, state: 'CANCELED' });
}

/** Steps that ended before then and that nobody keeps by a deletion lock; from then on they are gone, not unknown. */
export function deleteEndedSteps({ database }: Notices, before: number): number {
  return database.transaction(() => {
    const ended = database.all(
      `SELECT id, uid FROM step WHERE state IN ('COMPLETED', 'CANCELED') AND updated_at < ?
         AND id NOT IN (SELECT step FROM step_subscription WHERE deletion_lock = 1)`,
      before,
    );
    for (const { id, uid } of ended) deleteStep(database, Number(id), String(uid));
    return ended.length;
  });
}

/** Steps in which this UID stands, whatever their state and whoever keeps them, with the reports of them that still wait. */
export function forgetStepsNaming({ database }: Notices, uid: string): void {
  for (const step of database.all('SELECT id, uid FROM step WHERE instr(json, ?) > 0', `"${uid}"`)) {
    database.run('DELETE FROM step_event WHERE instr(json, ?) > 0', `"${String(step['uid'])}"`);
    deleteStep(database, Number(step['id']), String(step['uid']));
  }
}

function deleteStep(database: Database, id: number, uid: string): void {
  database.run('DELETE FROM step_key WHERE step = ?', id);
  database.run('DELETE FROM step_subscription WHERE step = ?', id);
  database.run('DELETE FROM step WHERE id = ?', id);
  database.run('INSERT INTO step_tombstone (uid) VALUES (?)', uid);
}
