/**
 * When a study is complete, and what then happens to it. Complete: no association or request that brought something is still open, and
 * nothing has arrived for the quiet time. A late instance opens the study again; work already done on the same content is not repeated.
 */
import { makeTextsReady } from '../archive/metadata.ts';
import { seriesShape } from '../archive/series-shape.ts';
import { studyFacts } from '../archive/studies.ts';
import type { Row } from '../database.ts';
import type { Gateway } from '../gateway.ts';
import { matchProcessing, type Decision, type ProcessingOptions, type StudyFacts } from '../routing/match.ts';
import type { ShapeOf } from '../routing/pairs.ts';
import type { ProcessingRule } from '../routing/rules.ts';
import { scheduleWork } from '../workitems.ts';
import { priorsOf } from './chronology.ts';
import { shownSeries } from './deliver.ts';
import { contentKey, type DeriveParameters } from './derive.ts';
import { fetchedFor, noteArrival } from './fetched.ts';
import { inapplicable, intakeFacts, intakeReport, recordSkipped, takeIn } from './intake.ts';
import { scheduleVerification } from './verification.ts';

/** Studies looked at in one tick; the next tick takes the next ones. */
const STUDIES_A_TICK = 100;
const DERIVE_ATTEMPTS = 3;

/** Somebody begins to send something of this study. */
export function beginArrival(gateway: Gateway, studyInstanceUID: string): void {
  gateway.arrivals.set(studyInstanceUID, (gateway.arrivals.get(studyInstanceUID) ?? 0) + 1);
}

export function endArrival(gateway: Gateway, studyInstanceUID: string): void {
  const left = (gateway.arrivals.get(studyInstanceUID) ?? 0) - 1;
  if (left > 0) gateway.arrivals.set(studyInstanceUID, left);
  else gateway.arrivals.delete(studyInstanceUID);
}

/** The clock of a study that is open goes in steps: three pages of the database less for each instance of a burst. */
const CLOCK_STEP_MS = 100;

/** Called in the transaction that stores an instance: the study is open until it has been quiet again. */
export function touchStudy(gateway: Gateway, project: string, studyInstanceUID: string): void {
  gateway.database.run(
    `INSERT INTO study_clock (study_uid, project, last_arrival, state) VALUES (?, ?, ?, 'open')
     ON CONFLICT (study_uid) DO UPDATE SET last_arrival = excluded.last_arrival, state = 'open'
       WHERE state <> 'open' OR abs(excluded.last_arrival - last_arrival) >= ?`,
    studyInstanceUID,
    project,
    gateway.now(),
    CLOCK_STEP_MS,
  );
  noteArrival(gateway, studyInstanceUID);
}

/** Looks at the series of every study that is due, then completes it and makes ready what its viewers will ask for. */
export async function takeInAndComplete(gateway: Gateway): Promise<number> {
  const ready = new Set<string>();
  for (const row of dueStudies(gateway)) {
    const studyInstanceUID = String(row['study_uid']);
    try {
      await takeIn(gateway, studyInstanceUID);
    } catch (error) {
      // Rules see its series as not checked; the other studies do not wait for it.
      gateway.log.error('study not looked at', {
        study: studyInstanceUID,
        error: error instanceof Error ? error.name : 'unknown',
      });
    }
    ready.add(studyInstanceUID);
  }
  const completed = completeDue(gateway, ready);
  for (const studyInstanceUID of completed) await makeTextsReady(gateway.archive, studyInstanceUID);
  return completed.length;
}

/** Completes every study that is due; answers how many. */
export function completeStudies(gateway: Gateway): number {
  return completeDue(gateway).length;
}

function completeDue(gateway: Gateway, ready?: ReadonlySet<string>): string[] {
  const completed: string[] = [];
  for (const row of dueStudies(gateway)) {
    const studyInstanceUID = String(row['study_uid']);
    if (ready !== undefined && !ready.has(studyInstanceUID)) continue;
    try {
      completeStudy(gateway, studyInstanceUID, String(row['project']), Number(row['last_arrival']));
      completed.push(studyInstanceUID);
    } catch (error) {
      // It stays open and is tried again; the others do not wait for it.
      gateway.log.error('study not completed', {
        study: studyInstanceUID,
        error: error instanceof Error ? error.name : 'unknown',
      });
    }
  }
  return completed;
}

/** Quiet for long enough and not being sent: those that are being sent take nobody's turn. */
function dueStudies(gateway: Gateway): Row[] {
  const due: Row[] = [];
  const quiet = gateway.database.iterate(
    // What waits for its face to be taken out belongs to the study: nothing is made of a part of it.
    `SELECT study_uid, project, last_arrival FROM study_clock WHERE state = 'open' AND last_arrival <= ?
       AND NOT EXISTS (SELECT 1 FROM face_series WHERE face_series.study_uid = study_clock.study_uid AND face_series.state = 'waiting')
     ORDER BY last_arrival`,
    gateway.now() - gateway.config.quietSeconds * 1000,
  );
  for (const row of quiet) {
    if (gateway.arrivals.has(String(row['study_uid']))) continue;
    due.push(row);
    if (due.length === STUDIES_A_TICK) break;
  }
  return due;
}

/** The verdict and the work that follows from it are one transaction. */
function completeStudy(gateway: Gateway, studyInstanceUID: string, project: string, lastArrival: number): void {
  // A prior is there for the study that wanted it.
  const { decisions, missing } =
    fetchedFor(gateway, studyInstanceUID) === undefined
      ? decide(gateway, studyInstanceUID)
      : { decisions: [], missing: [] };
  let scheduled = 0;
  gateway.database.transaction(() => {
    gateway.database.run(
      "UPDATE study_clock SET state = 'complete' WHERE study_uid = ? AND last_arrival = ?",
      studyInstanceUID,
      lastArrival,
    );
    scheduleVerification(gateway, studyInstanceUID);
    for (const decision of decisions) {
      if (passedOver(gateway, studyInstanceUID, decision)) continue;
      if (scheduleDerivation(gateway, studyInstanceUID, project, decision)) scheduled++;
    }
    if (missing.length > 0 && scheduleFetch(gateway, studyInstanceUID, project, missing)) scheduled++;
  });
  gateway.log.info('study complete', {
    study: studyInstanceUID,
    rulesMatched: decisions.length,
    workScheduled: scheduled,
  });
}

/** What a study looks like to the rules; undefined when there is no such study. */
export function factsOf(gateway: Gateway, studyInstanceUID: string): StudyFacts | undefined {
  const study = studyFacts(gateway.archive, studyInstanceUID);
  return study === undefined ? undefined : { ...study, priors: priorsOf(gateway, studyInstanceUID) };
}

/** Each series is looked at once. */
export function shapesIn(gateway: Gateway): ShapeOf {
  const known = new Map<string, ReturnType<ShapeOf>>();
  return (studyInstanceUID, seriesInstanceUID) => {
    const key = `${studyInstanceUID} ${seriesInstanceUID}`;
    if (!known.has(key)) known.set(key, seriesShape(gateway.archive, { studyInstanceUID, seriesInstanceUID }));
    return known.get(key);
  };
}

/** What the intake check found of the series of a study. */
export function intakeIn(gateway: Gateway, studyInstanceUID: string): NonNullable<ProcessingOptions['intake']> {
  return ({ SeriesInstanceUID: seriesInstanceUID }) =>
    intakeFacts(intakeReport(gateway, { studyInstanceUID, seriesInstanceUID }));
}

interface Decided {
  readonly decisions: readonly Decision[];
  /** Series that wait for a prior to be fetched. */
  readonly missing: readonly Missing[];
}

interface Missing {
  readonly rule: ProcessingRule;
  readonly seriesInstanceUID: string;
}

function decide(gateway: Gateway, studyInstanceUID: string, more: ProcessingOptions = {}): Decided {
  const study = factsOf(gateway, studyInstanceUID);
  const missing: Missing[] = [];
  if (study === undefined) return { decisions: [], missing };
  const decisions = matchProcessing(gateway.rules, study, {
    ...more,
    shapeOf: shapesIn(gateway),
    intake: intakeIn(gateway, studyInstanceUID),
    onMissingPrior: (rule, series) => missing.push({ rule, seriesInstanceUID: series.SeriesInstanceUID }),
    onFault: (rule, series) =>
      gateway.log.error('rule cannot be evaluated', { rule: rule.name, series: series.SeriesInstanceUID }),
  });
  return { decisions, missing };
}

/** A fetch: which series of the study wait, by the names of their rules. */
export interface FetchParameters {
  readonly project: string;
  readonly node: string;
  readonly waitMs: number;
  readonly mostImages: number;
  readonly waiting: readonly { readonly rule: string; readonly seriesInstanceUID: string }[];
}

/** So often it may be tried to reach the node within the time there is. */
const FETCH_ATTEMPTS = 1000;

/** One for each study, ever: where rules disagree, the first one that waits says from where and how long. */
function scheduleFetch(gateway: Gateway, study: string, project: string, missing: readonly Missing[]): boolean {
  const fetch = missing[0]?.rule.with.fetch;
  if (fetch === undefined) return false;
  const parameters: FetchParameters = {
    project,
    node: fetch.from,
    waitMs: (fetch.waitMinutes ?? 15) * 60_000,
    mostImages: fetch.mostImages ?? 3000,
    waiting: missing.map(({ rule, seriesInstanceUID }) => ({ rule: rule.name, seriesInstanceUID })),
  };
  return scheduleWork(gateway.workItems, {
    kind: 'fetch',
    key: `fetch ${study}`,
    studyInstanceUID: study,
    parameters: { ...parameters },
    maxAttempts: FETCH_ATTEMPTS,
    shown: shownSeries(
      gateway,
      study,
      parameters.waiting.map(({ seriesInstanceUID }) => ({ studyInstanceUID: study, seriesInstanceUID })),
    ),
  });
}

/** In the transaction that ends a fetch: what waited for it is scheduled. Answers how many work items there are now. */
export function goOnAfterFetch(gateway: Gateway, study: string, project: string): number {
  const { decisions } = decide(gateway, study);
  const waited = decisions.filter(
    (decision) => decision.rule.with.fetch !== undefined && !passedOver(gateway, study, decision),
  );
  return waited.filter((decision) => scheduleDerivation(gateway, study, project, decision)).length;
}

/** A scout or a screen save that a rule happens to match is no work, and nobody's refusal: one line beside the series says so. */
function passedOver(gateway: Gateway, studyInstanceUID: string, { rule, series }: Decision): boolean {
  const name = { studyInstanceUID, seriesInstanceUID: series.SeriesInstanceUID };
  const report = intakeReport(gateway, name);
  const why = report === undefined ? undefined : inapplicable(series.Modality, report.kind);
  if (why === undefined) return false;
  recordSkipped(gateway, name, `rule "${rule.name}": ${why}`);
  return true;
}

function scheduleDerivation(
  gateway: Gateway,
  studyInstanceUID: string,
  project: string,
  { rule, series, fixed }: Decision,
): boolean {
  const parameters: DeriveParameters = {
    rule: rule.name,
    ruleRevision: gateway.rules.revision,
    project,
    pipeline: rule.run,
    settings: settingsOf(rule),
    outputs: rule.outputs,
    seriesInstanceUID: series.SeriesInstanceUID,
    ...(fixed === undefined
      ? {}
      : { fixed: { studyInstanceUID: fixed.StudyInstanceUID, seriesInstanceUID: fixed.series.SeriesInstanceUID } }),
    deliver: rule.deliver,
  };
  return scheduleWork(gateway.workItems, {
    kind: 'derive',
    key: contentKey(gateway, studyInstanceUID, parameters),
    studyInstanceUID,
    parameters: { ...parameters },
    maxAttempts: DERIVE_ATTEMPTS,
    shown: shownSeries(gateway, studyInstanceUID, [
      { studyInstanceUID, seriesInstanceUID: parameters.seriesInstanceUID },
      ...(parameters.fixed === undefined ? [] : [parameters.fixed]),
    ]),
  });
}

/** What the rule sets; the pipelines have their own defaults. */
function settingsOf({ with: { transform, alpha } }: ProcessingRule): DeriveParameters['settings'] {
  return { ...(transform === undefined ? {} : { transform }), ...(alpha === undefined ? {} : { alpha }) };
}
