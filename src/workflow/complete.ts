/**
 * When a study is complete, and what then happens to it. Complete: no association or request that brought something is still open, and
 * nothing has arrived for the quiet time. A late instance opens the study again; work already done on the same content is not repeated.
 */
import { studyFacts } from '../archive/studies.ts';
import type { Row } from '../database.ts';
import type { Gateway } from '../gateway.ts';
import { matchProcessing, type Decision } from '../routing/match.ts';
import type { ProcessingRule } from '../routing/rules.ts';
import { scheduleWork } from '../workitems.ts';
import { priorsOf } from './chronology.ts';
import { shownSeries } from './deliver.ts';
import { contentKey, type DeriveParameters } from './derive.ts';
import { inapplicable, intakeFacts, intakeReport, recordSkipped, takeIn } from './intake.ts';
import { scheduleVerification } from './withhold.ts';

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

/** Called in the transaction that stores an instance: the study is open until it has been quiet again. */
export function touchStudy(gateway: Gateway, project: string, studyInstanceUID: string): void {
  gateway.database.run(
    `INSERT INTO study_clock (study_uid, project, last_arrival, state) VALUES (?, ?, ?, 'open')
     ON CONFLICT (study_uid) DO UPDATE SET last_arrival = excluded.last_arrival, state = 'open'`,
    studyInstanceUID,
    project,
    gateway.now(),
  );
}

/** Looks at the series of every study that is due, then completes it. */
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
  return completeStudies(gateway, ready);
}

/** Completes every study that is due, or of these those that are `ready`; answers how many. */
export function completeStudies(gateway: Gateway, ready?: ReadonlySet<string>): number {
  let completed = 0;
  for (const row of dueStudies(gateway)) {
    const studyInstanceUID = String(row['study_uid']);
    if (ready !== undefined && !ready.has(studyInstanceUID)) continue;
    try {
      completeStudy(gateway, studyInstanceUID, String(row['project']), Number(row['last_arrival']));
      completed++;
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
    "SELECT study_uid, project, last_arrival FROM study_clock WHERE state = 'open' AND last_arrival <= ? ORDER BY last_arrival",
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
  const study = studyFacts(gateway.archive, studyInstanceUID);
  const decisions =
    study === undefined
      ? []
      : matchProcessing(
          gateway.rules,
          { ...study, priors: priorsOf(gateway, studyInstanceUID) },
          {
            intake: (series) =>
              intakeFacts(intakeReport(gateway, { studyInstanceUID, seriesInstanceUID: series.SeriesInstanceUID })),
            onFault: (rule, series) =>
              gateway.log.error('rule cannot be evaluated', { rule: rule.name, series: series.SeriesInstanceUID }),
          },
        );
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
  });
  gateway.log.info('study complete', {
    study: studyInstanceUID,
    rulesMatched: decisions.length,
    workScheduled: scheduled,
  });
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
