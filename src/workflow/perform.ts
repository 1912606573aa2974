/** Takes due work items one after another and does them: derivations one at a time (they want the whole machine), deliveries side by side. */
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { claimWork, failWork, finishWork, renewLease, type WorkItem, type WorkKind } from '../workitems.ts';
import { deliver } from './deliver.ts';
import { derive } from './derive.ts';

const LEASE_MS = 60_000;
const DELIVERIES_AT_ONCE = 3;

export interface Performer {
  /** Look for due work now. */
  kick(): void;
  /** Claims nothing more and waits for what is running; running derivations are cancelled. */
  stop(): Promise<void>;
}

export function startPerformer(gateway: Gateway): Performer {
  const cancel = new AbortController();
  const running = new Map<WorkKind, number>();
  const atWork = new Set<Promise<void>>();
  const kick = (): void => {
    for (const kind of ['derive', 'deliver'] as const) {
      const most = kind === 'derive' ? 1 : DELIVERIES_AT_ONCE;
      while (!cancel.signal.aborted && (running.get(kind) ?? 0) < most) {
        const item = claimWork(gateway.workItems, kind, LEASE_MS);
        if (item === undefined) break;
        running.set(kind, (running.get(kind) ?? 0) + 1);
        const work = perform(gateway, item, cancel.signal).finally(() => {
          running.set(kind, (running.get(kind) ?? 1) - 1);
          atWork.delete(work);
          // What ended may have scheduled something.
          if (!cancel.signal.aborted) kick();
        });
        atWork.add(work);
      }
    }
  };
  return {
    kick,
    async stop() {
      cancel.abort();
      await Promise.all(atWork);
    },
  };
}

/** Refusals that another attempt may turn round. */
const WORTH_ANOTHER_ATTEMPT: ReadonlySet<string> = new Set(['DeliveryFailed', 'OutOfResources', 'ProcessingFailure']);

async function perform(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<void> {
  const renewal = setInterval(() => renewLease(gateway.workItems, item, LEASE_MS), LEASE_MS / 3);
  const facts = { item: item.uid, kind: item.kind, study: item.studyInstanceUID, attempt: item.attempts };
  gateway.log.info('work begins', facts);
  try {
    if (item.kind === 'derive') await derive(gateway, item, signal);
    else finishWork(gateway.workItems, item, { ...(await deliver(gateway, item)) });
    gateway.log.info('work done', facts);
  } catch (error) {
    if (signal.aborted) return;
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
  } finally {
    clearInterval(renewal);
  }
}
