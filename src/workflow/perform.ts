/**
 * Takes due work items one after another and does them: derivations one at a time (they want the whole machine), deliveries and fetches of
 * priors side by side, each node's by themselves, so that one that does not answer keeps none of the others waiting.
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import {
  claimWork,
  failWork,
  finishWork,
  handBackWork,
  hastenNode,
  postponeWork,
  renewLease,
  type WorkItem,
  type WorkKind,
} from '../workitems.ts';
import { deliver, type DeliverResult, type DeliverWait } from './deliver.ts';
import { derive } from './derive.ts';
import { fetchPrior } from './fetch.ts';

const LEASE_MS = 60_000;
/** For each node that work concerns; derivations concern none. */
const AT_ONCE = { derive: 1, deliver: 3, fetch: 2 } as const;
/** What a node that is there turns down over and over is not tried more often than this, however much else goes through. */
const REST_MS = 5 * 60_000;

export interface Performer {
  /** Look for due work now. */
  kick(): void;
  /** Claims nothing more; running work is cancelled, given back to the queue and waited for. */
  stop(): Promise<void>;
}

export function startPerformer(gateway: Gateway): Performer {
  const cancel = new AbortController();
  const running = new Map<WorkItem, Promise<void>>();
  const renew = (): void => {
    for (const item of running.keys()) renewLease(gateway.workItems, item, LEASE_MS);
  };
  const guarded = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      gateway.log.error('work queue', { error: error instanceof Error ? error.name : 'unknown' });
    }
  };
  const renewal = setInterval(() => guarded(renew), LEASE_MS / 3);
  const claim = (): void => {
    // A long pause of this very thread may have let leases run out: own work is never claimed a second time.
    renew();
    for (const kind of ['derive', 'deliver', 'fetch'] as const) {
      while (!cancel.signal.aborted) {
        const item = claimWork(gateway.workItems, kind, LEASE_MS, busyNodes(running.keys(), kind));
        if (item === undefined) break;
        const own = new AbortController();
        gateway.workItems.live?.running.set(item.uid, own);
        const work = perform(gateway, item, { closing: cancel.signal, canceled: own.signal })
          .catch((error: unknown) => {
            // Not even its failure could be written down: the lease runs out and the item is claimed again.
            gateway.log.error('work lost', { item: item.uid, error: error instanceof Error ? error.name : 'unknown' });
          })
          .then(() => {
            running.delete(item);
            if (gateway.workItems.live?.running.get(item.uid) === own) gateway.workItems.live.running.delete(item.uid);
            // What ended may have scheduled something.
            kick();
          });
        running.set(item, work);
      }
    }
  };
  const kick = (): void => {
    if (!cancel.signal.aborted) guarded(claim);
  };
  return {
    kick,
    async stop() {
      cancel.abort();
      await Promise.all(running.values());
      clearInterval(renewal);
    },
  };
}

/** Nodes that as much work of this kind concerns as may at once; '' stands for work that concerns none. */
function busyNodes(running: Iterable<WorkItem>, kind: WorkKind): string[] {
  const counts = new Map<string, number>();
  for (const item of running) {
    if (item.kind === kind) counts.set(nodeOf(item), (counts.get(nodeOf(item)) ?? 0) + 1);
  }
  return [...counts].filter(([, count]) => count >= AT_ONCE[kind]).map(([node]) => node);
}

function nodeOf({ parameters }: WorkItem): string {
  return typeof parameters['node'] === 'string' ? parameters['node'] : '';
}

/** A node that had failed answers again: nothing that waited for it waits for the end of its back-off. */
function hastenOthers({ log, workItems }: Gateway, item: WorkItem): void {
  const node = nodeOf(item);
  if (item.attempts < 2 || node === '') return;
  const hastened = hastenNode(workItems, item.kind, node, REST_MS);
  if (hastened > 0) log.info('node answers again', { node, hastened });
}

/** A delivery is done, or waits for the node's word. */
function settle(gateway: Gateway, item: WorkItem, outcome: DeliverResult | DeliverWait): boolean {
  if (!('waitUntil' in outcome)) return finishWork(gateway.workItems, item, { ...outcome });
  return postponeWork(gateway.workItems, item, { at: outcome.waitUntil, counts: outcome.counts });
}

/** Refusals that another attempt may turn round. */
const WORTH_ANOTHER_ATTEMPT: ReadonlySet<string> = new Set([
  'DeliveryFailed',
  'OutOfResources',
  'DiskFull',
  'ProcessingFailure',
]);

async function performed(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<boolean> {
  switch (item.kind) {
    case 'derive':
      return derive(gateway, item, signal);
    case 'deliver':
      return settle(gateway, item, await deliver(gateway, item, signal));
    case 'fetch':
      return fetchPrior(gateway, item, signal);
    default:
      return item.kind satisfies never;
  }
}

interface Ends {
  /** The gateway is closing: what is under way goes back to the queue. */
  readonly closing: AbortSignal;
  /** Somebody wants this item not to be done. */
  readonly canceled: AbortSignal;
}

async function perform(gateway: Gateway, item: WorkItem, { closing, canceled }: Ends): Promise<void> {
  const signal = AbortSignal.any([closing, canceled]);
  const facts = { item: item.uid, kind: item.kind, study: item.studyInstanceUID, attempt: item.attempts };
  gateway.log.info('work begins', facts);
  try {
    const finished = await performed(gateway, item, signal);
    gateway.log.info(finished ? 'work done' : 'work done by another', facts);
    hastenOthers(gateway, item);
  } catch (error) {
    if (canceled.aborted) {
      gateway.log.info('work canceled', facts);
      return;
    }
    if (closing.aborted) {
      handBackWork(gateway.workItems, item);
      gateway.log.info('work handed back', facts);
      return;
    }
    const refusal = error instanceof Refusal ? error : undefined;
    const sentence = refusal?.message ?? `unexpected ${error instanceof Error ? error.name : 'error'}`;
    const at =
      refusal === undefined && error instanceof Error
        ? (error.stack?.split('\n').find((line) => line.includes(' at ')) ?? '').trim()
        : undefined;
    const state = failWork(gateway.workItems, item, `${refusal?.reason ?? 'ProcessingFailure'}: ${sentence}`, {
      final: refusal !== undefined && !WORTH_ANOTHER_ATTEMPT.has(refusal.reason),
    });
    gateway.log.warn('work failed', {
      ...facts,
      reason: refusal?.reason ?? 'ProcessingFailure',
      found: sentence,
      at,
      state,
    });
  }
}
