/**
 * Who is told what about steps (PS3.4 CC.2.3, CC.2.4): subscriptions of application entities, and for each entity its event reports in
 * order until they have been handed over. Both are rows: they outlive a restart.
 */
import type { Database, Row } from '../database.ts';
import type { DicomJson } from '../dicom/json.ts';
import type { Match } from '../matching/conditions.ts';
import { itemsOf, put, textOf, UPS_PUSH, valuesOf, elementOf } from './attributes.ts';
import { matchesStep } from './step-search.ts';

/** Well-known UIDs that stand for the whole worklist (PS3.4 CC.2.3.2). */
export const WORKLIST = '1.2.840.10008.5.1.4.34.5';
export const FILTERED_WORKLIST = '1.2.840.10008.5.1.4.34.5.1';

const EVENT_TYPES = { state: 1, cancelRequested: 2, progress: 3, scpStatus: 4, assigned: 5 } as const;
type EventType = keyof typeof EVENT_TYPES;

export interface Notices {
  readonly database: Database;
  readonly now: () => number;
  readonly live?: Live | undefined;
}

/** What lives only as long as the process. */
export interface Live {
  /** Called when there may be new event reports; the transaction that made them may still be open. */
  readonly listeners: Set<() => void>;
  /** Ends the work that shows as a step and is being done in this process, by the work item's UID. */
  readonly running: Map<string, AbortController>;
  /** Most event reports that wait for one application entity; the oldest go first. */
  readonly eventsPerSubscriber: number;
}

export interface EventReport {
  readonly number: number;
  readonly json: string;
}

/** The step, by its row, as far as its events need it. */
export interface Reported {
  readonly id: number;
  readonly uid: string;
  readonly object: DicomJson;
}

/** The current state, to everybody who follows the step or to one of them. */
export function reportState(notices: Notices, step: Reported, only?: string): void {
  const information: DicomJson = {};
  for (const keyword of ['ProcedureStepState', 'InputReadinessState']) copy(step.object, information, keyword);
  const [progress] = itemsOf(step.object, 'ProcedureStepProgressInformationSequence');
  if (progress !== undefined && textOf(step.object, 'ProcedureStepState') === 'CANCELED')
    for (const keyword of CANCELLATION) copy(progress, information, keyword);
  publish(notices, step, 'state', information, only);
}

const CANCELLATION = ['ReasonForCancellation', 'ProcedureStepDiscontinuationReasonCodeSequence'] as const;

export function reportProgress(notices: Notices, step: Reported): void {
  const information: DicomJson = {};
  copy(step.object, information, 'ProcedureStepProgressInformationSequence');
  publish(notices, step, 'progress', information);
}

/** Says nothing when the step is assigned to nobody. */
export function reportAssignment(notices: Notices, step: Reported): void {
  const information: DicomJson = {};
  if (valuesOf(elementOf(step.object, 'ScheduledStationNameCodeSequence')).length > 0)
    copy(step.object, information, 'ScheduledStationNameCodeSequence');
  const [performer] = itemsOf(step.object, 'ScheduledHumanPerformersSequence');
  if (performer !== undefined)
    for (const keyword of ['HumanPerformerCodeSequence', 'HumanPerformerOrganization'])
      copy(performer, information, keyword);
  if (Object.keys(information).length > 0) publish(notices, step, 'assigned', information);
}

export function reportCancelRequest(notices: Notices, step: Reported, requestingAE: string, request: DicomJson): void {
  const information: DicomJson = {};
  put(information, 'RequestingAE', requestingAE);
  for (const keyword of [...CANCELLATION, 'ContactURI', 'ContactDisplayName']) copy(request, information, keyword);
  publish(notices, step, 'cancelRequested', information);
}

/** To everybody with any subscription; an earlier word of this kind that is still waiting is replaced. */
export function reportServerStatus(notices: Notices, status: 'RESTARTED' | 'GOING DOWN'): void {
  const information: DicomJson = {};
  put(information, 'SCPStatus', status);
  put(information, 'SubscriptionListStatus', 'WARM START');
  put(information, 'UnifiedProcedureStepListStatus', 'WARM START');
  const { database } = notices;
  database.transaction(() => {
    database.run('DELETE FROM step_event WHERE type = ?', EVENT_TYPES.scpStatus);
    const aes = database.all('SELECT aet FROM worklist_subscription UNION SELECT aet FROM step_subscription');
    for (const row of aes) enqueue(notices, String(row['aet']), WORKLIST, 'scpStatus', information);
  });
}

function copy(from: DicomJson, to: DicomJson, keyword: string): void {
  const element = elementOf(from, keyword);
  if (valuesOf(element).length > 0) put(to, keyword, ...valuesOf(element));
}

function publish(notices: Notices, step: Reported, type: EventType, information: DicomJson, only?: string): void {
  const aes =
    only === undefined
      ? notices.database.all('SELECT aet FROM step_subscription WHERE step = ? ORDER BY aet', step.id)
      : [{ aet: only }];
  for (const row of aes) enqueue(notices, String(row['aet']), step.uid, type, information);
}

const DEFAULT_EVENTS_PER_SUBSCRIBER = 1000;

function enqueue(notices: Notices, aet: string, uid: string, type: EventType, information: DicomJson): void {
  const { database, live } = notices;
  const { lastId } = database.run(
    'INSERT INTO step_event (aet, type, created_at, json) VALUES (?, ?, ?, ?)',
    aet,
    EVENT_TYPES[type],
    notices.now(),
    '',
  );
  // Elements of the command group (PS3.7 annex E): class, Message ID, instance, Event Type ID. The Message ID is a US; what is told apart
  // by it are reports that are under way together.
  const command: DicomJson = {
    '00000002': { vr: 'UI', Value: [UPS_PUSH] },
    '00000110': { vr: 'US', Value: [lastId % 65536] },
    '00001000': { vr: 'UI', Value: [uid] },
    '00001002': { vr: 'US', Value: [EVENT_TYPES[type]] },
  };
  database.run('UPDATE step_event SET json = ? WHERE id = ?', JSON.stringify({ ...command, ...information }), lastId);
  database.run(
    'DELETE FROM step_event WHERE id <= (SELECT id FROM step_event WHERE aet = ? ORDER BY id DESC LIMIT 1 OFFSET ?) AND aet = ?',
    aet,
    live?.eventsPerSubscriber ?? DEFAULT_EVENTS_PER_SUBSCRIBER,
    aet,
  );
  for (const listener of live?.listeners ?? []) listener();
}

/** The next event report for an application entity after this one. */
export function nextEvent({ database }: Notices, aet: string, after: number): EventReport | undefined {
  const row = database.get('SELECT id, json FROM step_event WHERE aet = ? AND id > ? ORDER BY id LIMIT 1', aet, after);
  return row === undefined ? undefined : { number: Number(row['id']), json: String(row['json']) };
}

/** It has been handed over. */
export function forgetEvent({ database }: Notices, number: number): void {
  database.run('DELETE FROM step_event WHERE id = ?', number);
}

export function deleteOldEvents({ database }: Notices, before: number): number {
  return database.run('DELETE FROM step_event WHERE created_at < ?', before).changes;
}

/** A new step: everybody who follows the worklist follows it and hears of it. Its rows for matching have been entered. */
export function welcomeStep(notices: Notices, step: Reported): void {
  const { database } = notices;
  const subscribers = database.all('SELECT * FROM worklist_subscription ORDER BY aet, filter IS NULL');
  const locks = new Map<string, boolean>();
  for (const row of subscribers) {
    if (!follows(database, row, step.id)) continue;
    const aet = String(row['aet']);
    locks.set(aet, locks.get(aet) === true || row['deletion_lock'] === 1);
  }
  for (const [aet, lock] of locks) enterSubscription(database, step.id, aet, lock);
  reportState(notices, step);
  reportAssignment(notices, step);
}

function follows(database: Database, row: Row, step: number): boolean {
  const filter = row['filter'];
  return typeof filter !== 'string' || matchesStep(database, step, JSON.parse(filter) as Match[]);
}

function enterSubscription(database: Database, step: number, aet: string, lock: boolean): void {
  database.run(
    `INSERT INTO step_subscription (step, aet, deletion_lock) VALUES (?, ?, ?)
     ON CONFLICT (step, aet) DO UPDATE SET deletion_lock = excluded.deletion_lock`,
    step,
    aet,
    lock ? 1 : 0,
  );
}

/** To one step: the current state is reported. */
export function subscribeToStep(notices: Notices, step: Reported, aet: string, lock: boolean): void {
  enterSubscription(notices.database, step.id, aet, lock);
  reportState(notices, step, aet);
}

/**
 * To the worklist, or what of it matches: steps that the entity does not follow yet are followed from now on, new ones when they are made.
 * With a deletion lock the state of each such step is reported (table CC.2.3-2).
 */
export function subscribeToWorklist(
  notices: Notices,
  aet: string,
  options: { readonly lock: boolean; readonly matches?: readonly Match[] | undefined },
  readStep: (row: Row) => Reported,
): void {
  const { database } = notices;
  const filter = options.matches === undefined ? null : JSON.stringify(options.matches);
  database.transaction(() => {
    database.run(
      'DELETE FROM worklist_subscription WHERE aet = ? AND (filter IS NULL) = ?',
      aet,
      filter === null ? 1 : 0,
    );
    const values = [aet, filter, options.lock ? 1 : 0] as const;
    database.run('INSERT INTO worklist_subscription (aet, filter, deletion_lock) VALUES (?, ?, ?)', ...values);
    const others = database.all(
      'SELECT * FROM step WHERE id NOT IN (SELECT step FROM step_subscription WHERE aet = ?) ORDER BY start, uid',
      aet,
    );
    for (const row of others) {
      if (!follows(database, { filter }, Number(row['id']))) continue;
      enterSubscription(database, Number(row['id']), aet, options.lock);
      if (options.lock) reportState(notices, readStep(row), aet);
    }
  });
}

/** False: it did not follow the step. */
export function unsubscribeFromStep({ database }: Notices, step: number, aet: string): boolean {
  return database.run('DELETE FROM step_subscription WHERE step = ? AND aet = ?', step, aet).changes > 0;
}

/** Ends the subscription to the worklist and, unless it is only suspended, those to its steps. False: there was none. */
export function unsubscribeFromWorklist(
  { database }: Notices,
  aet: string,
  options: { readonly filtered: boolean; readonly keepSteps: boolean },
): boolean {
  return database.transaction(() => {
    const { changes } = database.run(
      'DELETE FROM worklist_subscription WHERE aet = ? AND (filter IS NULL) = ?',
      aet,
      options.filtered ? 0 : 1,
    );
    const steps = options.keepSteps ? 0 : database.run('DELETE FROM step_subscription WHERE aet = ?', aet).changes;
    return changes + steps > 0;
  });
}

export function hasSubscribers({ database }: Notices, step: number): boolean {
  return database.get('SELECT 1 AS one FROM step_subscription WHERE step = ?', step) !== undefined;
}

/** Whose the AE title is: of who used it first, for as long as it follows anything or has reports waiting. */
export function ownerOf({ database }: Notices, aet: string): string | undefined {
  const owner = database.get('SELECT owner FROM subscriber WHERE aet = ?', aet)?.['owner'];
  return typeof owner === 'string' ? owner : undefined;
}

export function enterOwner({ database }: Notices, aet: string, owner: string): void {
  database.run('INSERT INTO subscriber (aet, owner) VALUES (?, ?) ON CONFLICT (aet) DO NOTHING', aet, owner);
}

/** Forgets owners of titles that are in no use any more. */
export function deleteIdleSubscribers({ database }: Notices): number {
  return database.run(
    `DELETE FROM subscriber WHERE aet NOT IN (SELECT aet FROM worklist_subscription UNION SELECT aet FROM step_subscription
       UNION SELECT aet FROM step_event)`,
  ).changes;
}
