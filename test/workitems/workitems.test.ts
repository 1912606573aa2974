import assert from 'node:assert/strict';
import { test } from 'node:test';
import { migrate, openDatabase } from '../../src/database.ts';
import {
  MIGRATE_WORK_ITEMS,
  backOffMs,
  claimWork,
  countWork,
  deleteEndedWork,
  failWork,
  finishWork,
  handBackWork,
  hastenItem,
  hastenNode,
  hastenWork,
  listWork,
  postponeWork,
  releaseLeases,
  renewLease,
  retryWork,
  scheduleWork,
  workItemsOf,
  type WorkItem,
  type WorkItems,
} from '../../src/workitems.ts';

const LEASE_MS = 60_000;

function openQueue(): { items: WorkItems; clock: { now: number } } {
  const clock = { now: 1_000_000 };
  const database = openDatabase(':memory:');
  migrate(database, MIGRATE_WORK_ITEMS.room, MIGRATE_WORK_ITEMS.steps);
  return { items: { database, now: () => clock.now }, clock };
}

function schedule(items: WorkItems, key: string, maxAttempts = 3): boolean {
  return scheduleWork(items, {
    kind: 'derive',
    key,
    studyInstanceUID: '1.2.3',
    parameters: { rule: key },
    maxAttempts,
  });
}

function claim(items: WorkItems): WorkItem {
  const item = claimWork(items, 'derive', LEASE_MS);
  assert.ok(item, 'something is due');
  return item;
}

test('the same key is scheduled once, ever', () => {
  const { items } = openQueue();
  assert.equal(schedule(items, 'a'), true);
  assert.equal(schedule(items, 'a'), false);
  finishWork(items, claim(items), {});
  assert.equal(schedule(items, 'a'), false);
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined);
});

test('items are claimed in the order in which they became due, each by one claim, of the asked kind only', () => {
  const { items, clock } = openQueue();
  schedule(items, 'first');
  clock.now += 5;
  schedule(items, 'second');
  assert.equal(claimWork(items, 'deliver', LEASE_MS), undefined);
  assert.equal(claim(items).parameters['rule'], 'first');
  assert.equal(claim(items).parameters['rule'], 'second');
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined);
});

test('a lease that runs out lets the item be claimed again, a renewed one does not', () => {
  const { items, clock } = openQueue();
  schedule(items, 'a');
  const first = claim(items);
  clock.now += LEASE_MS - 1;
  assert.equal(renewLease(items, first, LEASE_MS), true);
  clock.now += LEASE_MS - 1;
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined);
  clock.now += 1;
  const second = claim(items);
  assert.equal(second.uid, first.uid);
  assert.equal(second.attempts, 2);
});

test('who has lost the lease can neither finish, fail, renew nor hand back what another works on', () => {
  const { items, clock } = openQueue();
  schedule(items, 'a');
  const late = claim(items);
  clock.now += LEASE_MS;
  const current = claim(items);
  assert.equal(renewLease(items, late, LEASE_MS), false);
  assert.equal(finishWork(items, late, { by: 'late' }), false);
  assert.equal(failWork(items, late, 'late', { final: true }), undefined);
  handBackWork(items, late);
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined, 'still leased');
  assert.equal(finishWork(items, current, { by: 'current' }), true);
  assert.deepEqual(workItemsOf(items, '1.2.3')[0]?.result, { by: 'current' });
});

test('an item that is handed back is due at once and the attempt does not count', () => {
  const { items } = openQueue();
  schedule(items, 'a', 1);
  for (let interruption = 0; interruption < 5; interruption++) handBackWork(items, claim(items));
  const item = claim(items);
  assert.equal(item.attempts, 1);
  assert.equal(failWork(items, item, 'x', { final: false }), 'CANCELED');
});

test('work that kills its process is canceled after its last attempt instead of being claimed for ever', () => {
  const { items } = openQueue();
  schedule(items, 'poison', 3);
  for (let death = 0; death < 3; death++) {
    claim(items);
    releaseLeases(items);
  }
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined);
  const [item] = listWork(items, { state: 'CANCELED', limit: 10 });
  assert.match(item?.lastError ?? '', /the process ended during the last attempt/);
});

test('a failed attempt waits for its back-off in IN PROGRESS, then is claimed; the last one cancels', () => {
  const { items, clock } = openQueue();
  schedule(items, 'a', 2);
  assert.equal(failWork(items, claim(items), 'DeliveryFailed: gone', { final: false }), 'IN PROGRESS');
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined);
  const [waiting] = workItemsOf(items, '1.2.3');
  assert.equal(waiting?.lastError, 'DeliveryFailed: gone');
  assert.ok(waiting.nextAttemptAt - clock.now >= 5000 && waiting.nextAttemptAt - clock.now <= 10_000);
  clock.now = waiting.nextAttemptAt;
  assert.equal(failWork(items, claim(items), 'DeliveryFailed: gone', { final: false }), 'CANCELED');
  clock.now += 1e9;
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined);
});

test('a final failure cancels at once; a person can start it anew with all its attempts, once', () => {
  const { items } = openQueue();
  schedule(items, 'a', 2);
  const { uid } = claim(items);
  const [open] = workItemsOf(items, '1.2.3');
  assert.equal(retryWork(items, uid), false, 'only what is canceled is started anew');
  assert.equal(failWork(items, open as WorkItem, 'PipelineRefused: x', { final: true }), 'CANCELED');
  assert.equal(retryWork(items, uid), true);
  assert.equal(retryWork(items, uid), false);
  const again = claim(items);
  assert.deepEqual([again.uid, again.attempts], [uid, 1]);
});

test('the back-off doubles from 5 s to an hour with half of it jitter', () => {
  for (let attempts = 1; attempts < 60; attempts++) {
    const whole = Math.min(3_600_000, 5000 * 2 ** attempts);
    assert.equal(
      backOffMs(attempts, () => 0),
      Math.round(whole / 2),
    );
    assert.ok(backOffMs(attempts, () => 0.999999) <= whole);
  }
});

test('leases of a process that is gone are released at start', () => {
  const { items } = openQueue();
  schedule(items, 'a');
  claim(items);
  assert.equal(releaseLeases(items), 1);
  assert.equal(claim(items).attempts, 2);
});

test('counts and clean-up: only what ended before goes', () => {
  const { items, clock } = openQueue();
  for (const key of ['done', 'failed', 'running', 'waiting']) {
    schedule(items, key);
    clock.now++;
  }
  finishWork(items, claim(items), {});
  failWork(items, claim(items), 'x', { final: true });
  claim(items);
  assert.deepEqual(countWork(items), { SCHEDULED: 1, 'IN PROGRESS': 1, COMPLETED: 1, CANCELED: 1 });
  assert.equal(deleteEndedWork(items, clock.now), 0);
  clock.now += 10;
  assert.equal(deleteEndedWork(items, clock.now), 2);
  assert.deepEqual(countWork(items), { SCHEDULED: 1, 'IN PROGRESS': 1, COMPLETED: 0, CANCELED: 0 });
});

test('an item that waits for an answer rests without losing an attempt, unless the wait counts, and is woken by the answer', () => {
  const { items, clock } = openQueue();
  schedule(items, 'a');
  const first = claimWork(items, 'derive', LEASE_MS);
  assert.ok(first !== undefined);
  assert.equal(postponeWork(items, first, { at: clock.now + 10_000_000, counts: false }), true);
  assert.equal(postponeWork(items, first, { at: clock.now, counts: false }), false, 'it is not ours any more');
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined);
  hastenWork(items, 'deliver', '1.2.3', { afterFailure: false });
  hastenWork(items, 'derive', '1.2.4', { afterFailure: false });
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined, 'another kind, another study');
  hastenWork(items, 'derive', '1.2.3', { afterFailure: false });
  const second = claimWork(items, 'derive', LEASE_MS);
  assert.equal(second?.attempts, 1);
  // Under a lease it is at work, not at rest.
  hastenWork(items, 'derive', '1.2.3', { afterFailure: false });
  assert.equal(workItemsOf(items, '1.2.3')[0]?.leaseUntil, clock.now + LEASE_MS);
  assert.equal(postponeWork(items, second, { at: clock.now + 10_000_000, counts: true }), true);
  hastenWork(items, 'derive', '1.2.3', { afterFailure: true });
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined, 'after a failure not at once');
  clock.now += 3_600_000;
  assert.equal(claimWork(items, 'derive', LEASE_MS)?.attempts, 2);
});

test("when a node answers again, what failed on it rests five minutes at most, another node's as long as before", () => {
  const { items, clock } = openQueue();
  for (const node of ['here', 'there'])
    scheduleWork(items, {
      kind: 'deliver',
      key: node,
      studyInstanceUID: '1.2.3',
      parameters: { node },
      maxAttempts: 30,
    });
  for (const at of [clock.now, clock.now + 1]) {
    clock.now = at;
    const item = claimWork(items, 'deliver', LEASE_MS);
    assert.ok(item !== undefined);
    failWork(items, item, 'DeliveryFailed: x', { final: false });
  }
  const failedAt = clock.now;
  items.database.run('UPDATE work_item SET next_attempt_at = ?', failedAt + 3_600_000);
  clock.now += 60_000;
  assert.equal(hastenNode(items, 'deliver', 'here', 300_000), 1);
  clock.now = failedAt + 299_000;
  assert.equal(claimWork(items, 'deliver', LEASE_MS), undefined);
  clock.now = failedAt + 300_000;
  assert.equal(claimWork(items, 'deliver', LEASE_MS)?.parameters['node'], 'here');
  assert.equal(claimWork(items, 'deliver', LEASE_MS), undefined);
});

test('a failed item that rests can be made due at once; one that waits, is at work or has not failed cannot', () => {
  const { items } = openQueue();
  schedule(items, 'a');
  const uid = workItemsOf(items, '1.2.3')[0]?.uid ?? '';
  assert.equal(hastenItem(items, uid), false, 'not begun');
  const item = claimWork(items, 'derive', LEASE_MS);
  assert.ok(item !== undefined);
  assert.equal(hastenItem(items, uid), false, 'at work');
  failWork(items, item, 'DeliveryFailed: x', { final: false });
  assert.equal(claimWork(items, 'derive', LEASE_MS), undefined);
  assert.equal(hastenItem(items, uid), true);
  assert.equal(claimWork(items, 'derive', LEASE_MS)?.attempts, 2);
});
