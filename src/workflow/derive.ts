/**
 * A work item becomes derived series: load the series as volumes, run the pipeline, write its result as DICOM objects, store them (viewers
 * have them at once), and schedule their way back to the PACS. Same input, model and settings make the same objects, so a second attempt
 * doubles nothing.
 */
import { createHash } from 'node:crypto';
import { instancesOf, storeInstance } from '../archive/instances.ts';
import { recordAudit } from '../audit.ts';
import { certifyDerived } from '../deidentify/certify.ts';
import type { DerivedObject } from '../derived/provenance.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import type { PipelineName } from '../routing/rules.ts';
import { finishWork, type WorkItem } from '../workitems.ts';
import { scheduleDelivery } from './deliver.ts';
import { loadSeries, type SeriesName } from './load-series.ts';
import { produceDenoised, produceRegistration, type PipelineSettings, type Produced } from './produce.ts';

/** Objects being stored at the same time. */
const PORTION = 32;

export interface DeriveParameters {
  readonly rule: string;
  readonly ruleRevision: string;
  readonly project: string;
  readonly pipeline: PipelineName;
  readonly settings: PipelineSettings;
  readonly seriesInstanceUID: string;
  /** register: the series aligned to. */
  readonly fixed?: SeriesName;
  /** Names of nodes. */
  readonly deliver: readonly string[];
}

export interface DeriveResult {
  readonly pipeline: PipelineName;
  readonly seriesInstanceUIDs: readonly string[];
  readonly objects: number;
  readonly quality: Readonly<Record<string, number | string>>;
  readonly verdict: 'pass' | 'warn';
}

/** Names the work by its content: the same instances, model and settings are one and the same work. */
export function contentKey(gateway: Gateway, studyInstanceUID: string, parameters: DeriveParameters): string {
  const hash = createHash('sha256');
  const series = [
    { studyInstanceUID, seriesInstanceUID: parameters.seriesInstanceUID },
    ...(parameters.fixed === undefined ? [] : [parameters.fixed]),
  ];
  for (const name of series) {
    for (const { sopInstanceUID } of instancesOf(gateway.archive, name)) hash.update(`${sopInstanceUID}\n`);
    hash.update('--\n');
  }
  const graphs = Object.values(gateway.pool.cards.get(poolName(parameters.pipeline))?.graphs ?? {}).map(
    ({ sha256 }) => sha256,
  );
  hash.update(
    JSON.stringify([parameters.pipeline, parameters.settings, parameters.deliver, parameters.project, graphs]),
  );
  return `${parameters.pipeline} ${hash.digest('hex')}`;
}

function poolName(pipeline: PipelineName): 'register' | 'denoise' {
  return pipeline === 'register' ? 'register' : 'denoise';
}

/**
 * Does the work and, in one transaction, ends the item and schedules what follows; false when somebody else has the item by now.
 * @throws Refusal PipelineRefused and others
 */
export async function derive(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<boolean> {
  const parameters = item.parameters as unknown as DeriveParameters;
  const made =
    parameters.pipeline === 'register'
      ? await registered(gateway, item, signal)
      : await denoised(gateway, item, signal);
  const stored = await storeAll(gateway, parameters.project, item.studyInstanceUID, made.objects);
  const result: DeriveResult = {
    pipeline: parameters.pipeline,
    seriesInstanceUIDs: stored.series,
    objects: stored.objects,
    quality: made.quality,
    verdict: made.verdict,
  };
  const finished = gateway.database.transaction(() => {
    if (!finishWork(gateway.workItems, item, { ...result })) return false;
    for (const node of parameters.deliver) {
      scheduleDelivery(gateway, item.studyInstanceUID, item.uid, {
        project: parameters.project,
        node,
        seriesInstanceUIDs: stored.series,
      });
    }
    recordAudit(gateway.audit, 'Application Activity', 'isthmus', {
      study: item.studyInstanceUID,
      pipeline: parameters.pipeline,
      rule: parameters.rule,
      revision: parameters.ruleRevision,
      objects: stored.objects,
    });
    return true;
  });
  gateway.log.info('series derived', {
    study: item.studyInstanceUID,
    pipeline: parameters.pipeline,
    series: stored.series.length,
    objects: stored.objects,
    verdict: made.verdict,
  });
  return finished;
}

async function registered(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<Produced> {
  const { fixed: fixedName, seriesInstanceUID, settings } = item.parameters as unknown as DeriveParameters;
  if (fixedName === undefined) throw new Refusal('PipelineRefused', 'register needs a fixed series');
  const fixed = await loadSeries(gateway, fixedName);
  const moving = await loadSeries(gateway, { studyInstanceUID: item.studyInstanceUID, seriesInstanceUID });
  return produceRegistration(
    gateway.pool,
    { fixed, moving, settings },
    { signal, timeoutMs: gateway.config.pipelines.timeoutMs },
  );
}

async function denoised(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<Produced> {
  const { seriesInstanceUID, settings } = item.parameters as unknown as DeriveParameters;
  const source = await loadSeries(gateway, { studyInstanceUID: item.studyInstanceUID, seriesInstanceUID });
  return produceDenoised(gateway.pool, { source, settings }, { signal, timeoutMs: gateway.config.pipelines.timeoutMs });
}

async function storeAll(
  gateway: Gateway,
  project: string,
  studyInstanceUID: string,
  objects: Iterable<DerivedObject>,
): Promise<{ series: string[]; objects: number }> {
  const series = new Set<string>();
  let stored = 0;
  let storing: Promise<unknown>[] = [];
  try {
    for (const object of objects) {
      if (object.studyInstanceUID !== studyInstanceUID)
        throw new Refusal('DataSetMismatch', 'a derived object names another study than its source');
      series.add(object.seriesInstanceUID);
      const { object: certified, remember } = certifyDerived(gateway.wall, {
        head: object.head,
        body: object.body,
        project,
      });
      storing.push(storeInstance(gateway.archive, certified, { derived: true, alongside: remember }));
      stored++;
      // A portion at a time: the archive groups what waits, and memory stays bounded.
      if (storing.length < PORTION) continue;
      await Promise.all(storing);
      storing = [];
    }
    await Promise.all(storing);
  } finally {
    // What a refused object leaves under way comes to its end before the item does.
    await Promise.allSettled(storing);
  }
  return { series: [...series], objects: stored };
}
