/**
 * The durable queue, in the words of the Unified Procedure Step (PS3.4 CC.1.1): SCHEDULED -> IN PROGRESS -> COMPLETED or CANCELED.
 * A claim is a lease: work whose worker died is claimed again. UPS has no way back from IN PROGRESS, so an item that waits for its next
 * attempt stays IN PROGRESS without a lease.
 */
import type { Database, MigrationStep, Row } from './database.ts';
import { newUid } from './dicom/uid.ts';
import type { Live } from './workitems/events.ts';
import {
  showAttempt,
  showCanceled,
  showCompleted,
  showFailure,
  showScheduled,
  type Shown,
  type SeriesReference,
} from './workitems/shown.ts';
import { STEP_TABLES, deleteEndedSteps, forgetStepsNaming } from './workitems/steps.ts';

export type { SeriesReference } from './workitems/shown.ts';

export type WorkItemState = 'SCHEDULED' | 'IN PROGRESS' | 'COMPLETED' | 'CANCELED';
export type WorkKind = 'derive' | 'deliver' | 'fetch';

export interface WorkItem {
  readonly uid: string;
  readonly kind: WorkKind;
  readonly state: WorkItemState;
  /** Pseudonym. */
  readonly studyInstanceUID: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  /** How often it has been claimed. */
  readonly attempts: number;
  readonly maxAttempts: number;
  /** Milliseconds since 1970: not claimed before. */
  readonly nextAttemptAt: number;
  readonly leaseUntil: number;
  readonly lastError: string | undefined;
  readonly result: Readonly<Record<string, unknown>> | undefined;
  readonly createdAt: number;
  readonly updatedAt: number;
}

export interface WorkItems {
  readonly database: Database;
  readonly now: () => number;
  /** Who is told of changes, and what runs in this process. */
  readonly live?: Live | undefined;
}

const MIGRATIONS: readonly MigrationStep[] = [
  `CREATE TABLE work_item (
     uid TEXT PRIMARY KEY,
     kind TEXT NOT NULL,
     key TEXT NOT NULL UNIQUE,
     state TEXT NOT NULL,
     study_uid TEXT NOT NULL,
     parameters TEXT NOT NULL,
     attempts INTEGER NOT NULL DEFAULT 0,
     max_attempts INTEGER NOT NULL,
     next_attempt_at INTEGER NOT NULL,
     lease_until INTEGER NOT NULL DEFAULT 0,
     last_error TEXT,
     result TEXT,
     created_at INTEGER NOT NULL,
     updated_at INTEGER NOT NULL
   ) WITHOUT ROWID;
   CREATE INDEX work_item_due ON work_item (kind, next_attempt_at) WHERE state IN ('SCHEDULED', 'IN PROGRESS');
   CREATE INDEX work_item_study ON work_item (study_uid);
   CREATE INDEX work_item_ended ON work_item (updated_at) WHERE state IN ('COMPLETED', 'CANCELED')`,
  STEP_TABLES,
  showAll,
];

export const MIGRATE_WORK_ITEMS: { readonly room: string; readonly steps: readonly MigrationStep[] } = {
  room: 'workitems',
  steps: MIGRATIONS,
};

export interface NewWorkItem {
  readonly kind: WorkKind;
  /** Same key, same work: scheduled once, ever. */
  readonly key: string;
  readonly studyInstanceUID: string;
  readonly parameters: Readonly<Record<string, unknown>>;
  readonly maxAttempts: number;
  /** What its step says of it. */
  readonly shown?: Shown;
}

/** True when it is new, false when this work was scheduled before. */
export function scheduleWork(items: WorkItems, item: NewWorkItem): boolean {
  const now = items.now();
  const uid = newUid();
  return items.database.transaction(() => {
    const { changes } = items.database.run(
      `INSERT INTO work_item (uid, kind, key, state, study_uid, parameters, max_attempts, next_attempt_at, created_at, updated_at)
     VALUES (?, ?, ?, 'SCHEDULED', ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING`,
      uid,
      item.kind,
      item.key,
      item.studyInstanceUID,
      JSON.stringify(item.parameters),
      item.maxAttempts,
      now,
      now,
      now,
    );
    if (changes === 0) return false;
    showScheduled(items, { ...item, uid }, item.shown ?? {});
    return true;
  });
}

/**
 * Takes the item that has waited longest, for `leaseMs`; undefined when nothing is due. An item whose last attempt ended without a word
 * (its process died) is CANCELED, so that work which kills its process cannot do so for ever. What concerns a node of `busy` waits; '' is
 * work that concerns none.
 */
export function claimWork(
  items: WorkItems,
  kind: WorkKind,
  leaseMs: number,
  busy: readonly string[] = [],
): WorkItem | undefined {
  const now = items.now();
  const isFree =
    busy.length === 0
      ? ''
      : "AND ifnull(json_extract(parameters, '$.node'), '') NOT IN (SELECT value FROM json_each(?))";
  return items.database.transaction(() => {
    const lost = items.database.all(
      `UPDATE work_item SET state = 'CANCELED', lease_until = 0, last_error = 'ProcessingFailure: the process ended during the last attempt', updated_at = ?
       WHERE kind = ? AND state = 'IN PROGRESS' AND next_attempt_at <= ? AND lease_until <= ? AND attempts >= max_attempts RETURNING *`,
      now,
      kind,
      now,
      now,
    );
    for (const row of lost) showCanceled(items, workItem(row));
    const row = items.database.get(
      `UPDATE work_item SET state = 'IN PROGRESS', attempts = attempts + 1, lease_until = ?, updated_at = ?
       WHERE uid = (
         SELECT uid FROM work_item
         WHERE kind = ? AND state IN ('SCHEDULED', 'IN PROGRESS') AND next_attempt_at <= ? AND lease_until <= ? ${isFree}
         ORDER BY next_attempt_at LIMIT 1
       ) RETURNING *`,
      now + leaseMs,
      now,
      kind,
      now,
      now,
      ...(busy.length === 0 ? [] : [JSON.stringify(busy)]),
    );
    if (row === undefined) return undefined;
    const item = workItem(row);
    showAttempt(items, item);
    return item;
  });
}

/** Keeps a claim alive while the work takes long. False: the item is no longer ours to work on. */
export function renewLease(items: WorkItems, item: WorkItem, leaseMs: number): boolean {
  const now = items.now();
  const { changes } = items.database.run(
    "UPDATE work_item SET lease_until = ?, updated_at = ? WHERE uid = ? AND state = 'IN PROGRESS' AND attempts = ?",
    now + leaseMs,
    now,
    item.uid,
    item.attempts,
  );
  return changes > 0;
}

/** False: the lease ran out and somebody else has the item now, or it was canceled; nothing has been changed. */
export function finishWork(
  items: WorkItems,
  item: WorkItem,
  result: Readonly<Record<string, unknown>>,
  outputs: readonly SeriesReference[] = [],
): boolean {
  return items.database.transaction(() => {
    const { changes } = items.database.run(
      "UPDATE work_item SET state = 'COMPLETED', lease_until = 0, last_error = NULL, result = ?, updated_at = ? WHERE uid = ? AND state = 'IN PROGRESS' AND attempts = ?",
      JSON.stringify(result),
      items.now(),
      item.uid,
      item.attempts,
    );
    if (changes === 0) return false;
    showCompleted(items, item, outputs);
    return true;
  });
}

/** Gives an item back that was interrupted through no fault of its own: it can be claimed at once, and the attempt does not count. */
export function handBackWork(items: WorkItems, item: WorkItem): void {
  items.database.run(
    "UPDATE work_item SET lease_until = 0, attempts = attempts - 1, updated_at = ? WHERE uid = ? AND state = 'IN PROGRESS' AND attempts = ?",
    items.now(),
    item.uid,
    item.attempts,
  );
}

/**
 * Lets an item rest until `at`: what it waits for is somebody else's answer. Only a wait that `counts` uses up an attempt. False: somebody
 * else has the item now.
 */
export function postponeWork(
  items: WorkItems,
  item: WorkItem,
  options: { readonly at: number; readonly counts: boolean },
): boolean {
  const { changes } = items.database.run(
    `UPDATE work_item SET lease_until = 0, attempts = ?, next_attempt_at = ?, last_error = NULL, updated_at = ?
     WHERE uid = ? AND state = 'IN PROGRESS' AND attempts = ?`,
    options.counts ? item.attempts : item.attempts - 1,
    options.at,
    items.now(),
    item.uid,
    item.attempts,
  );
  return changes > 0;
}

/** The answer is there: the study's items of this kind that rest are due now, or after a failure when their back-off is over. */
export function hastenWork(
  items: WorkItems,
  kind: WorkKind,
  studyInstanceUID: string,
  options: { readonly afterFailure: boolean },
): void {
  const now = items.now();
  for (const item of workItemsOf(items, studyInstanceUID)) {
    if (item.kind !== kind || item.state !== 'IN PROGRESS' || item.leaseUntil > now) continue;
    const at = options.afterFailure ? now + backOffMs(item.attempts) : now;
    if (at < item.nextAttemptAt)
      items.database.run('UPDATE work_item SET next_attempt_at = ?, updated_at = ? WHERE uid = ?', at, now, item.uid);
  }
}

/** A failed item that rests is due now: somebody has mended the cause. False: it does not rest, or has not failed. */
export function hastenItem(items: WorkItems, uid: string): boolean {
  const now = items.now();
  return (
    items.database.run(
      `UPDATE work_item SET next_attempt_at = ? WHERE uid = ? AND state = 'IN PROGRESS' AND lease_until <= ?
         AND next_attempt_at > ? AND last_error IS NOT NULL`,
      now,
      uid,
      now,
      now,
    ).changes > 0
  );
}

/** The node answers again: what has failed on it is due once it has rested for `restMs`. */
export function hastenNode(items: WorkItems, kind: WorkKind, node: string, restMs: number): number {
  const now = items.now();
  return items.database.run(
    `UPDATE work_item SET next_attempt_at = max(?, updated_at + ?) WHERE kind = ? AND state = 'IN PROGRESS' AND lease_until <= ?
       AND next_attempt_at > max(?, updated_at + ?) AND last_error IS NOT NULL AND json_extract(parameters, '$.node') = ?`,
    now,
    restMs,
    kind,
    now,
    now,
    restMs,
    node,
  ).changes;
}

/** Full jitter between half and the whole of 2^attempts * 5 s, at most an hour. */
export function backOffMs(attempts: number, random: () => number = Math.random): number {
  const whole = Math.min(3_600_000, 5000 * 2 ** Math.min(attempts, 12));
  return Math.round(whole * (0.5 + random() / 2));
}

/**
 * Ends an attempt that failed: later again, or CANCELED when it was the last or `final`. `error` holds no patient's value. Changes nothing
 * and answers undefined when somebody else has the item now.
 */
export function failWork(
  items: WorkItems,
  item: WorkItem,
  error: string,
  options: { readonly final: boolean },
): WorkItemState | undefined {
  const over = options.final || item.attempts >= item.maxAttempts;
  const now = items.now();
  return items.database.transaction(() => {
    const { changes } = items.database.run(
      `UPDATE work_item SET state = ?, lease_until = 0, last_error = ?, next_attempt_at = ?, updated_at = ?
     WHERE uid = ? AND state = 'IN PROGRESS' AND attempts = ?`,
      over ? 'CANCELED' : 'IN PROGRESS',
      error,
      over ? now : now + backOffMs(item.attempts),
      now,
      item.uid,
      item.attempts,
    );
    if (changes === 0) return undefined;
    if (over) showCanceled(items, { ...item, lastError: error });
    else showFailure(items, item, error);
    return over ? 'CANCELED' : 'IN PROGRESS';
  });
}

/** What somebody has canceled while it waited or ran; whoever works on it finds that it is not theirs any more. */
export function cancelWork(items: WorkItems, uid: string): boolean {
  const { changes } = items.database.run(
    `UPDATE work_item SET state = 'CANCELED', lease_until = 0, last_error = 'Canceled: on request', updated_at = ?
     WHERE uid = ? AND state IN ('SCHEDULED', 'IN PROGRESS')`,
    items.now(),
    uid,
  );
  return changes > 0;
}

export function workItemNamed(items: WorkItems, uid: string): WorkItem | undefined {
  const row = items.database.get('SELECT * FROM work_item WHERE uid = ?', uid);
  return row === undefined ? undefined : workItem(row);
}

/** Starts a canceled item anew, as a person asks for after mending its cause; a new step replaces the one that has ended. */
export function retryWork(items: WorkItems, uid: string): boolean {
  const now = items.now();
  return items.database.transaction(() => {
    const row = items.database.get(
      "UPDATE work_item SET state = 'SCHEDULED', attempts = 0, lease_until = 0, next_attempt_at = ?, updated_at = ? WHERE uid = ? AND state = 'CANCELED' RETURNING *",
      now,
      now,
      uid,
    );
    if (row === undefined) return false;
    showScheduled(items, workItem(row), {});
    return true;
  });
}

/** Leases of a process that is gone: at start nobody works on anything. */
export function releaseLeases(items: WorkItems): number {
  return items.database.run("UPDATE work_item SET lease_until = 0 WHERE state = 'IN PROGRESS' AND lease_until > 0")
    .changes;
}

export function workItemsOf(items: WorkItems, studyInstanceUID: string): WorkItem[] {
  return items.database
    .all('SELECT * FROM work_item WHERE study_uid = ? ORDER BY created_at, uid', studyInstanceUID)
    .map(workItem);
}

/** Newest first. */
export function listWork(
  items: WorkItems,
  { state, limit, offset = 0 }: { readonly state?: WorkItemState; readonly limit: number; readonly offset?: number },
): WorkItem[] {
  return items.database
    .all(
      `SELECT * FROM work_item ${state === undefined ? '' : 'WHERE state = ?'} ORDER BY created_at DESC, uid LIMIT ? OFFSET ?`,
      ...(state === undefined ? [] : [state]),
      limit,
      offset,
    )
    .map(workItem);
}

/** Cancels the study's items that nobody is at. What is being worked on stays: its worker ends it. */
export function cancelWorkOf(items: WorkItems, studyInstanceUID: string, error: string): number {
  const now = items.now();
  return items.database.transaction(() => {
    const canceled = items.database.all(
      `UPDATE work_item SET state = 'CANCELED', lease_until = 0, last_error = ?, updated_at = ?
       WHERE study_uid = ? AND (state = 'SCHEDULED' OR (state = 'IN PROGRESS' AND lease_until <= ?)) RETURNING *`,
      error,
      now,
      studyInstanceUID,
      now,
    );
    for (const row of canceled) showCanceled(items, workItem(row));
    return canceled.length;
  });
}

/** Deletes the study's items, whatever their state, and every step that names the study, others' too; answers how many items. */
export function forgetWorkOf(items: WorkItems, studyInstanceUID: string): number {
  return items.database.transaction(() => {
    forgetStepsNaming(items, studyInstanceUID);
    return items.database.run('DELETE FROM work_item WHERE study_uid = ?', studyInstanceUID).changes;
  });
}

export function countWork(items: WorkItems): Record<WorkItemState, number> {
  const counts = { SCHEDULED: 0, 'IN PROGRESS': 0, COMPLETED: 0, CANCELED: 0 };
  for (const row of items.database.all('SELECT state, count(*) AS items FROM work_item GROUP BY state')) {
    counts[String(row['state']) as WorkItemState] = Number(row['items']);
  }
  return counts;
}

export interface LiveWork {
  readonly kind: WorkKind;
  readonly stage: 'waiting' | 'running' | 'retrying';
  readonly items: number;
  /** How long ago the first of them was due; 0 or less: none is. */
  readonly overdueMs: number;
}

/** What has not ended: before its first attempt, at work, or between attempts. */
export function liveWork({ database, now }: WorkItems): LiveWork[] {
  const at = now();
  return database
    .all(
      `SELECT kind, CASE WHEN lease_until > ? THEN 'running' WHEN attempts > 0 THEN 'retrying' ELSE 'waiting' END AS stage,
         count(*) AS items, min(next_attempt_at) AS due
       FROM work_item WHERE state IN ('SCHEDULED', 'IN PROGRESS') GROUP BY kind, stage`,
      at,
    )
    .map((row) => ({
      kind: String(row['kind']) as WorkKind,
      stage: String(row['stage']) as LiveWork['stage'],
      items: Number(row['items']),
      overdueMs: at - Number(row['due']),
    }));
}

/** How many items of a kind ended in which way since then. */
export function endedWork(
  { database }: WorkItems,
  since: number,
): { readonly kind: string; readonly state: string; readonly items: number }[] {
  return database
    .all(
      `SELECT kind, state, count(*) AS items FROM work_item
       WHERE state IN ('COMPLETED', 'CANCELED') AND updated_at >= ? GROUP BY kind, state`,
      since,
    )
    .map((row) => ({ kind: String(row['kind']), state: String(row['state']), items: Number(row['items']) }));
}

/** What ended before then, with its steps, those of others too; a step under a deletion lock stays. */
export function deleteEndedWork(items: WorkItems, before: number): number {
  return items.database.transaction(() => {
    deleteEndedSteps(items, before);
    return items.database.run(
      "DELETE FROM work_item WHERE state IN ('COMPLETED', 'CANCELED') AND updated_at < ?",
      before,
    ).changes;
  });
}

/** A migration: the steps of work that was scheduled before there were any. */
function showAll(database: Database): void {
  for (const row of database.all('SELECT * FROM work_item ORDER BY created_at, uid')) {
    const item = workItem(row);
    const items = { database, now: () => item.updatedAt };
    showScheduled(items, item, {});
    if (item.state !== 'SCHEDULED') showAttempt(items, item);
    if (item.state === 'COMPLETED') showCompleted(items, item, []);
    if (item.state === 'CANCELED') showCanceled(items, item);
  }
}

function workItem(row: Row): WorkItem {
  const result = row['result'];
  return {
    uid: String(row['uid']),
    kind: String(row['kind']) as WorkKind,
    state: String(row['state']) as WorkItemState,
    studyInstanceUID: String(row['study_uid']),
    parameters: JSON.parse(String(row['parameters'])) as Record<string, unknown>,
    attempts: Number(row['attempts']),
    maxAttempts: Number(row['max_attempts']),
    nextAttemptAt: Number(row['next_attempt_at']),
    leaseUntil: Number(row['lease_until']),
    lastError: row['last_error'] === null ? undefined : String(row['last_error']),
    result: typeof result === 'string' ? (JSON.parse(result) as Record<string, unknown>) : undefined,
    createdAt: Number(row['created_at']),
    updatedAt: Number(row['updated_at']),
  };
}
