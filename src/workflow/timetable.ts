/** What happens by the clock (node-cron): completion, due work, retention, clean-up. */
import { schedule, type ScheduledTask } from 'node-cron';
import { reclaim } from '../archive/reclaim.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { deleteEndedWork } from '../workitems.ts';
import { completeStudies } from './complete.ts';
import { startPerformer } from './perform.ts';
import { retain } from './retain.ts';

const DAY_MS = 86_400_000;

export interface Timetable {
  /** No tick begins any more; resolves when running work has ended. */
  stop(): Promise<void>;
}

export function startTimetable(gateway: Gateway): Timetable {
  const performer = startPerformer(gateway);
  const tick = (name: string, expression: string, work: () => unknown): ScheduledTask =>
    schedule(
      expression,
      async () => {
        try {
          await work();
        } catch (error) {
          gateway.log.error('timetable', {
            entry: name,
            reason: error instanceof Refusal ? error.reason : 'unexpected',
            found: error instanceof Refusal ? error.message : error instanceof Error ? error.name : 'error',
          });
        }
      },
      // A tick that comes late is made up by the next one.
      { name, noOverlap: true, suppressMissedWarning: true },
    );
  const tasks = [
    tick('complete studies and do due work', '* * * * * *', () => {
      completeStudies(gateway);
      performer.kick();
    }),
    tick('retention', '17 * * * *', () => retain(gateway)),
    tick('reclaim replaced bytes', '47 2 * * *', () => reclaim(gateway.archive)),
    tick('clean up work items', '37 3 * * *', () =>
      deleteEndedWork(gateway.workItems, gateway.now() - gateway.config.retention.workItemDays * DAY_MS),
    ),
  ];
  return {
    async stop() {
      for (const task of tasks) await task.destroy();
      await performer.stop();
    },
  };
}
