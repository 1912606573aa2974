/**
 * What `/metrics` tells (Prometheus text format): requests as they end; archive, queue, quarantine and disk as they are when it is asked.
 * No label names anything that a sender names.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Gateway } from './gateway.ts';
import { readFigures } from './workflow/status.ts';

export interface Metrics {
  readonly contentType: string;
  text(isReady: boolean): Promise<string>;
  observe(request: { readonly method: string }, response: Answer): void;
}

/** What is asked of the framework's answer. */
interface Answer {
  readonly statusCode: number;
  /** `route`: the row of the routing table. */
  readonly locals: Readonly<Record<string, unknown>>;
  once(event: 'close', listener: () => void): unknown;
}

const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS']);

export function openMetrics(gateway: Gateway): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const durations = new Histogram({
    name: 'isthmus_http_request_seconds',
    help: 'HTTP requests from the first byte read to the answer sent, by row of the routing table',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60],
    registers: [registry],
  });
  const show = showFigures(gateway, registry);
  return {
    contentType: registry.contentType,
    async text(isReady) {
      await show(isReady);
      return registry.metrics();
    },
    observe(request, response) {
      const end = durations.startTimer();
      response.once('close', () => {
        const route: unknown = response.locals['route'];
        end({
          method: METHODS.has(request.method) ? request.method : 'other',
          route: typeof route === 'string' ? route : 'other',
          status: response.statusCode,
        });
      });
    },
  };
}

/** Reads them and puts them into the registry, what is not there any more out of it. */
function showFigures(gateway: Gateway, registry: Registry): (isReady: boolean) => Promise<void> {
  const gauge = (name: string, help: string, labelNames: readonly string[] = []): Gauge =>
    new Gauge({ name: `isthmus_${name}`, help, labelNames: [...labelNames], registers: [registry] });
  const ready = gauge('ready', '1 when objects are taken in, as /readyz says');
  const archived = gauge('archive_entities', 'What the archive holds', ['level']);
  const open = gauge('studies_open', 'Studies that are not complete yet');
  const withheld = gauge('studies_withheld', 'Studies that verification withholds until somebody decides');
  const work = gauge('work_items', 'Work that has not ended', ['kind', 'stage']);
  const overdue = gauge('work_overdue_seconds', 'How long ago the first item that waits was due', ['kind']);
  const ended = gauge('work_items_ended_24h', 'Work that ended in the last 24 hours; CANCELED: given up', [
    'kind',
    'state',
  ]);
  const failing = gauge('deliveries_failing', 'Deliveries to a node that failed and are tried again', ['node']);
  const held = gauge('quarantine_objects', 'Sealed objects that wait for a person', ['reason']);
  const heldBytes = gauge('quarantine_bytes', 'Their size', ['reason']);
  const refused = gauge(
    'rules_refused',
    '1 while rules.yaml as it stands cannot be used and an earlier revision is in force',
  );
  const free = gauge('disk_free_bytes', "Free on the archive's disk");
  const reserve = gauge('disk_reserve_bytes', 'With less than this free nothing is taken in (archive.reserveMb)');
  const received = new Counter({
    name: 'isthmus_objects_received_total',
    help: 'Objects that a door was handed since the start, by what became of them',
    labelNames: ['door', 'outcome'],
    registers: [registry],
  });
  return async (isReady) => {
    const figures = await readFigures(gateway);
    for (const one of [work, overdue, ended, held, heldBytes, received]) one.reset();
    ready.set(isReady ? 1 : 0);
    for (const [level, entities] of Object.entries(figures.archive)) archived.set({ level }, Number(entities));
    open.set(figures.openStudies);
    withheld.set(figures.withheldStudies);
    for (const { kind, stage, items, overdueMs } of figures.work) {
      work.set({ kind, stage }, items);
      if (stage === 'waiting') overdue.set({ kind }, Math.max(overdueMs, 0) / 1000);
    }
    for (const { kind, state, items } of figures.ended) ended.set({ kind, state }, items);
    for (const [node, items] of figures.unreachable) failing.set({ node }, items);
    for (const { reason, objects, bytes } of figures.held) {
      held.set({ reason }, objects);
      heldBytes.set({ reason }, bytes);
    }
    refused.set(figures.areRulesRefused ? 1 : 0);
    free.set(figures.diskFreeBytes);
    reserve.set(figures.diskReserveBytes);
    for (const [key, objects] of gateway.receipts) {
      const [door = '', outcome = ''] = key.split(/ (.*)/, 2);
      received.inc({ door, outcome }, objects);
    }
  };
}
