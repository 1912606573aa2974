/**
 * Structured events. An event is a fixed name and facts that are ids, counts, codes and durations: the type leaves no way to hand over
 * a data set, and no caller may hand over a patient's value.
 */
import pino from 'pino';

export type Fact = string | number | boolean | undefined;

export interface Log {
  info(event: string, facts?: Readonly<Record<string, Fact>>): void;
  warn(event: string, facts?: Readonly<Record<string, Fact>>): void;
  error(event: string, facts?: Readonly<Record<string, Fact>>): void;
}

export type LogLevel = 'info' | 'warn' | 'error' | 'silent';

/** One JSON line per event to `destination` (a file descriptor; default: standard error). */
export function openLog(level: LogLevel, destination: number | string = 2): Log {
  const logger = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: destination, sync: true }),
  );
  return {
    info: (event, facts = {}) => logger.info(facts, event),
    warn: (event, facts = {}) => logger.warn(facts, event),
    error: (event, facts = {}) => logger.error(facts, event),
  };
}
