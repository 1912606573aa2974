/** What happens by the clock (node-cron): rules, completion, due work, retention, clean-up. */
import { schedule, type ScheduledTask } from 'node-cron';
import { deleteOldChanges } from '../archive/changes.ts';
import { reclaim } from '../archive/reclaim.ts';
import { deleteTransactions } from '../delivery/commitment.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { deleteEndedWork } from '../workitems.ts';
import { deleteIdleSubscribers, deleteOldEvents } from '../workitems/events.ts';
import { takeInAndComplete } from './complete.ts';
import { defaceDueSeries } from './deface.ts';
import { continueErasures } from './erase.ts';
import { startPerformer } from './perform.ts';
import { retain } from './retain.ts';
import { followRules } from './rulebook.ts';
import { verifyCompleted } from './withhold.ts';

const DAY_MS = 86_400_000;
/** A node that reports later than this is told that nobody knows what about. */
const COMMITMENT_DAYS = 30;

export interface Timetable {
  /** No tick begins any more; resolves when running work has ended. */
  stop(): Promise<void>;
}

export function startTimetable(gateway: Gateway): Timetable {
  const performer = startPerformer(gateway);
  const ticking = new Set<Promise<void>>();
  let stopped = false;
  const closing = new AbortController();
  const perform = async (name: string, work: () => unknown): Promise<void> => {
    try {
      if (!stopped) await work();
    } catch (error) {
      gateway.log.error('timetable', {
        entry: name,
        reason: error instanceof Refusal ? error.reason : 'unexpected',
        found: error instanceof Refusal ? error.message : error instanceof Error ? error.name : 'error',
      });
    }
  };
  const tick = (name: string, expression: string, work: () => unknown): ScheduledTask =>
    schedule(
      expression,
      async () => {
        const turn = perform(name, work);
        ticking.add(turn);
        await turn;
        ticking.delete(turn);
      },
      // A tick that comes late is made up by the next one.
      { name, noOverlap: true, suppressMissedWarning: true },
    );
  const tasks = [
    tick('complete studies', '* * * * * *', () => {
      followRules(gateway);
      return takeInAndComplete(gateway);
    }),
    tick('take faces out', '* * * * * *', () => defaceDueSeries(gateway, closing.signal)),
    tick('verify completed studies', '*/2 * * * * *', () => verifyCompleted(gateway)),
    // Apart from completion: a study that cannot be completed keeps nobody else's work waiting.
    tick('do due work', '* * * * * *', () => performer.kick()),
    tick('go on with erasures', '*/5 * * * * *', () => continueErasures(gateway)),
    tick('retention', '17 * * * *', () => retain(gateway)),
    tick('reclaim replaced bytes', '47 2 * * *', () => reclaim(gateway.archive)),
    tick('clean up commitments', '27 3 * * *', () =>
      deleteTransactions(gateway.database, gateway.now() - COMMITMENT_DAYS * DAY_MS),
    ),
    tick('clean up work items', '37 3 * * *', () =>
      deleteEndedWork(gateway.workItems, gateway.now() - gateway.config.retention.workItemDays * DAY_MS),
    ),
    tick('clean up the change feed', '7 4 * * *', () => {
      const { changeDays } = gateway.config;
      if (changeDays !== undefined) deleteOldChanges(gateway.archive, gateway.now() - changeDays * DAY_MS);
    }),
    tick('clean up event reports', '57 * * * *', () => {
      deleteOldEvents(gateway.workItems, gateway.now() - gateway.config.worklist.eventDays * DAY_MS);
      deleteIdleSubscribers(gateway.workItems);
    }),
  ];
  return {
    async stop() {
      stopped = true;
      closing.abort();
      for (const task of tasks) await task.destroy();
      await Promise.all([...ticking, performer.stop()]);
    },
  };
}
