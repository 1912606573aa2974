/**
 * A work item becomes derived series: load the series as volumes, run the pipeline, write its result as DICOM objects, store them (viewers
 * have them at once), and schedule their way back to the PACS. Same input, model and settings make the same objects, so a second attempt
 * doubles nothing.
 */
import { createHash } from 'node:crypto';
import { instancesOf, storeInstance } from '../archive/instances.ts';
import { deleteInstances } from '../archive/reclaim.ts';
import { recordAudit } from '../audit.ts';
import { certifyDerived } from '../deidentify/certify.ts';
import type { DerivedObject } from '../derived/provenance.ts';
import { asciiValue } from '../dicom/data-set.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import type { Output, PipelineName } from '../routing/rules.ts';
import { finishWork, workItemNamed, type SeriesReference, type WorkItem } from '../workitems.ts';
import { showProgress } from '../workitems/shown.ts';
import { scheduleDelivery } from './deliver.ts';
import { inapplicable, intakeNotes, intakeReport, recordSkipped } from './intake.ts';
import { kindOf } from './intake-check.ts';
import { loadHeads, loadInstances, loadSeries, type SeriesName } from './load-series.ts';
import { registrationOf } from '../pipelines/registration-settings.ts';
import type { PipelineSettings, ProduceOptions, Produced } from './model-run.ts';

/** Loaded by the first work item: a gateway that has none is 15 MB smaller without what writes objects. */
const producing = async () => await import('./produce.ts');

/** Objects being stored at the same time. */
const PORTION = 32;

export interface DeriveParameters {
  readonly rule: string;
  readonly ruleRevision: string;
  readonly project: string;
  readonly pipeline: PipelineName;
  readonly settings: PipelineSettings;
  readonly outputs: readonly Output[];
  readonly seriesInstanceUID: string;
  /** register: the series aligned to. */
  readonly fixed?: SeriesName;
  /** Names of nodes. */
  readonly deliver: readonly string[];
}

/** As `complete` wrote them: nobody else schedules items of this kind. */
function parametersOf({ parameters }: WorkItem): DeriveParameters {
  return parameters as unknown as DeriveParameters;
}

export interface DeriveResult {
  readonly pipeline: PipelineName;
  readonly seriesInstanceUIDs: readonly string[];
  readonly objects: number;
  readonly quality: Readonly<Record<string, number | string>>;
  readonly verdict: 'pass' | 'warn' | 'refuse';
}

/** Names the work by its content: the same instances, model and settings are one and the same work. */
export function contentKey(gateway: Gateway, studyInstanceUID: string, parameters: DeriveParameters): string {
  const hash = createHash('sha256');
  const series = [
    { studyInstanceUID, seriesInstanceUID: parameters.seriesInstanceUID },
    ...(parameters.fixed === undefined ? [] : [parameters.fixed]),
  ];
  for (const name of series) {
    for (const { sopInstanceUID, lengthBytes, crc } of instancesOf(gateway.archive, name))
      hash.update(`${sopInstanceUID} ${lengthBytes} ${crc}\n`);
    hash.update('--\n');
  }
  const { pipeline, settings, outputs, deliver, project } = parameters;
  hash.update(JSON.stringify([pipeline, settings, outputs, deliver, project, modelKey(gateway, parameters)]));
  return `${parameters.pipeline} ${hash.digest('hex')}`;
}

/** Everything of a model that decides what it makes. */
function modelKey({ pool }: Gateway, { pipeline, settings }: Pick<DeriveParameters, 'pipeline' | 'settings'>): unknown {
  if (pipeline !== 'register' && pipeline !== 'ct-denoise') return pool.zoo.get(pipeline)?.card;
  const card = pool.cards.get(pipeline === 'register' ? registrationOf(settings) : 'denoise');
  return card === undefined ? undefined : [card.version, ...Object.values(card.graphs).map(({ sha256 }) => sha256)];
}

/**
 * Does the work and, in one transaction, ends the item and schedules what follows; false when somebody else has the item by now.
 * @throws Refusal PipelineRefused and others
 */
export async function derive(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<boolean> {
  const parameters = parametersOf(item);
  const { made, refusal } = await madeOrRefused(gateway, item, signal);
  signal.throwIfAborted();
  const stored = await storeAll(gateway, parameters.project, item.studyInstanceUID, made.objects);
  const result: DeriveResult = {
    pipeline: parameters.pipeline,
    seriesInstanceUIDs: stored.series.map(({ seriesInstanceUID }) => seriesInstanceUID),
    objects: stored.objects,
    quality: made.quality,
    verdict: made.verdict,
  };
  const finished = gateway.database.transaction(() => {
    if (refusal === undefined && !finishWork(gateway.workItems, item, { ...result }, stored.series)) return false;
    for (const node of stored.objects === 0 ? [] : parameters.deliver) {
      // A later attempt at what was refused may have another result to deliver.
      const key = refusal === undefined ? item.uid : `${item.uid} refused ${result.seriesInstanceUIDs.join(' ')}`;
      scheduleDelivery(gateway, item.studyInstanceUID, key, {
        project: parameters.project,
        node,
        seriesInstanceUIDs: result.seriesInstanceUIDs,
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
  if (refusal !== undefined) throw refusal;
  if (!finished) await takeBack(gateway, item, stored.fresh);
  gateway.log.info('series derived', {
    study: item.studyInstanceUID,
    pipeline: parameters.pipeline,
    series: stored.series.length,
    objects: stored.objects,
    verdict: made.verdict,
  });
  return finished;
}

/** A refusal of the pipeline is a result too: its report. */
async function madeOrRefused(
  gateway: Gateway,
  item: WorkItem,
  signal: AbortSignal,
): Promise<{ made: Produced; refusal?: Refusal }> {
  const { pipeline, seriesInstanceUID, fixed, settings, outputs } = parametersOf(item);
  try {
    const made = await produced(gateway, item, signal);
    return { made };
  } catch (refusal) {
    const ofPipeline = refusal instanceof Refusal && refusal.reason === 'PipelineRefused';
    if (!ofPipeline || modelKey(gateway, { pipeline, settings }) === undefined) throw refusal;
    const source = await loadHeads(gateway, { studyInstanceUID: item.studyInstanceUID, seriesInstanceUID });
    const [first] = source;
    const why =
      first === undefined ? undefined : inapplicable(asciiValue(first.dataSet, 0x00080060) ?? '', kindOf(source));
    if (why !== undefined) {
      recordSkipped(gateway, { studyInstanceUID: item.studyInstanceUID, seriesInstanceUID }, why);
      throw refusal;
    }
    // Deleted meanwhile: there is nothing left that a report could be of.
    if (source.length === 0) throw refusal;
    const { produceRefused } = await producing();
    const made = produceRefused(gateway.pool, {
      pipeline,
      source,
      fixed: fixed === undefined ? undefined : await loadHeads(gateway, fixed),
      settings,
      refusal,
      outputs,
      intake: notesOf(gateway, item),
    });
    return { made, refusal };
  }
}

function produced(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<Produced> {
  const { pipeline } = parametersOf(item);
  if (pipeline === 'register') return registered(gateway, item, signal);
  if (pipeline === 'ct-denoise') return denoised(gateway, item, signal);
  return byManifest(gateway, item, signal);
}

async function registered(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<Produced> {
  const { fixed: fixedName, seriesInstanceUID, settings, outputs } = parametersOf(item);
  if (fixedName === undefined) throw new Refusal('PipelineRefused', 'register needs a fixed series');
  const fixed = await loadSeries(gateway, fixedName);
  const moving = await loadSeries(gateway, { studyInstanceUID: item.studyInstanceUID, seriesInstanceUID });
  const { produceRegistration } = await producing();
  return produceRegistration(
    gateway.pool,
    { fixed, moving, settings },
    { outputs, intake: notesOf(gateway, item), ...runOptions(gateway, item, signal) },
  );
}

async function denoised(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<Produced> {
  const { seriesInstanceUID, settings, outputs } = parametersOf(item);
  const source = await loadSeries(gateway, { studyInstanceUID: item.studyInstanceUID, seriesInstanceUID });
  const { produceDenoised } = await producing();
  return produceDenoised(
    gateway.pool,
    { source, settings },
    { outputs, intake: notesOf(gateway, item), ...runOptions(gateway, item, signal) },
  );
}

async function byManifest(gateway: Gateway, item: WorkItem, signal: AbortSignal): Promise<Produced> {
  const { pipeline, seriesInstanceUID, settings, outputs } = parametersOf(item);
  const instances = await loadInstances(gateway, { studyInstanceUID: item.studyInstanceUID, seriesInstanceUID });
  const { produceByManifest } = await producing();
  return produceByManifest(
    gateway.pool,
    { id: pipeline, instances, settings },
    { outputs, intake: notesOf(gateway, item), ...runOptions(gateway, item, signal) },
  );
}

function runOptions(gateway: Gateway, item: WorkItem, signal: AbortSignal): ProduceOptions {
  const { timeoutMs } = gateway.config.pipelines;
  return { signal, ...(timeoutMs === undefined ? {} : { timeoutMs }), onProgress: progressOf(gateway, item) };
}

function notesOf(gateway: Gateway, item: WorkItem): ReturnType<typeof intakeNotes> {
  const { seriesInstanceUID } = parametersOf(item);
  return intakeNotes(intakeReport(gateway, { studyInstanceUID: item.studyInstanceUID, seriesInstanceUID }));
}

/** Tells each step of the pipeline, and each tenth of the way. */
function progressOf(gateway: Gateway, item: WorkItem): (step: string, share: number) => void {
  let last = '';
  return (step, share) => {
    const told = `${step} ${Math.floor(share * 10)}`;
    if (told === last) return;
    last = told;
    showProgress(gateway.workItems, item.uid, step, share);
  };
}

/** What was stored for work that was canceled meanwhile is nobody's result. */
async function takeBack(gateway: Gateway, item: WorkItem, fresh: readonly SeriesReference[]): Promise<void> {
  if (workItemNamed(gateway.workItems, item.uid)?.state !== 'CANCELED') return;
  for (const { studyInstanceUID, seriesInstanceUID, instances } of fresh) {
    const sopInstanceUIDs = instances.map(({ sopInstanceUID }) => sopInstanceUID);
    await deleteInstances(gateway.archive, { studyInstanceUID, seriesInstanceUID, sopInstanceUIDs });
  }
}

interface Stored {
  readonly series: readonly SeriesReference[];
  /** Of these, what was not there before. */
  readonly fresh: readonly SeriesReference[];
  readonly objects: number;
}

async function storeAll(
  gateway: Gateway,
  project: string,
  studyInstanceUID: string,
  objects: Iterable<DerivedObject>,
): Promise<Stored> {
  const all: BySeries = new Map();
  const fresh: BySeries = new Map();
  let stored = 0;
  let storing: Promise<unknown>[] = [];
  const store = async (object: DerivedObject): Promise<void> => {
    const { object: certified, remember } = certifyDerived(gateway.wall, {
      head: object.head,
      body: object.body,
      project,
    });
    const { outcome } = await storeInstance(gateway.archive, certified, { derived: true, alongside: remember });
    if (outcome === 'stored') enter(fresh, object);
  };
  try {
    for (const object of objects) {
      if (object.studyInstanceUID !== studyInstanceUID)
        throw new Refusal('DataSetMismatch', 'a derived object names another study than its source');
      enter(all, object);
      storing.push(store(object));
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
  return { series: referencesTo(all), fresh: referencesTo(fresh), objects: stored };
}

type BySeries = Map<
  string,
  { readonly studyInstanceUID: string; readonly sopClassUID: string; readonly sopInstanceUID: string }[]
>;

function enter(
  series: BySeries,
  { studyInstanceUID, seriesInstanceUID, sopClassUID, sopInstanceUID }: DerivedObject,
): void {
  const known = series.get(seriesInstanceUID) ?? [];
  known.push({ studyInstanceUID, sopClassUID, sopInstanceUID });
  series.set(seriesInstanceUID, known);
}

function referencesTo(series: BySeries): SeriesReference[] {
  return [...series].map(([seriesInstanceUID, instances]) => ({
    studyInstanceUID: instances[0]?.studyInstanceUID ?? '',
    seriesInstanceUID,
    instances,
  }));
}
