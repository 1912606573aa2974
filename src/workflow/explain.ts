/**
 * Why the rules did what they did with a study, or what they would do now: every rule against every series, every series that was looked
 * at as the other half of a pair, and what became of the search for a prior. A dry run: nothing is scheduled.
 */
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { matchProcessing, type SeriesFacts } from '../routing/match.ts';
import type { Considered } from '../routing/pairs.ts';
import { workItemsOf, type WorkItemState } from '../workitems.ts';
import { factsOf, intakeIn, shapesIn } from './complete.ts';
import { fetchedFor } from './fetched.ts';

export interface ExplainedSeries {
  readonly SeriesInstanceUID: string;
  readonly Modality: string;
  readonly instances: number;
  readonly matches: boolean;
  /** Conditions of the rule that do not hold. */
  readonly against: readonly string[];
  /** register: the series it is aligned to. */
  readonly fixed?: { readonly StudyInstanceUID: string; readonly SeriesInstanceUID: string };
  /** register: what was looked at, the newest study first. */
  readonly considered?: readonly Considered[];
  /** In one sentence. */
  readonly told: string;
}

export interface Explanation {
  readonly studyInstanceUID: string;
  readonly ruleRevision: string;
  /** Not complete: rules are asked when it has been quiet for long enough. */
  readonly complete: boolean;
  /** The study that this one was fetched for as a prior: no rule runs on it. */
  readonly fetchedFor: string | undefined;
  readonly priors: readonly string[];
  readonly rules: readonly {
    readonly name: string;
    readonly run: string;
    readonly series: readonly ExplainedSeries[];
  }[];
  /** How the search for a prior went, where there was one. */
  readonly fetch:
    | { readonly state: WorkItemState; readonly node: string; readonly attempts: number; readonly told: string }
    | undefined;
}

/** @throws Refusal NotFound */
export function explainStudy(gateway: Gateway, studyInstanceUID: string): Explanation {
  const study = factsOf(gateway, studyInstanceUID);
  if (study === undefined) throw new Refusal('NotFound', 'there is no such study');
  const rules = new Map(
    gateway.rules.processing.map(({ name, run }) => [name, { name, run, series: [] as ExplainedSeries[] }]),
  );
  const missing = new Set<SeriesFacts>();
  matchProcessing(gateway.rules, study, {
    shapeOf: shapesIn(gateway),
    intake: intakeIn(gateway, studyInstanceUID),
    onMissingPrior: (_, series) => missing.add(series),
    onJudged: (rule, series, { against, pairing }) => {
      const { SeriesInstanceUID, Modality, instances } = series;
      const { fixed, considered } = pairing ?? {};
      rules.get(rule.name)?.series.push({
        SeriesInstanceUID,
        Modality,
        instances,
        matches: against.length === 0 && (pairing === undefined || fixed !== undefined),
        against,
        ...(fixed === undefined
          ? {}
          : { fixed: { StudyInstanceUID: fixed.StudyInstanceUID, SeriesInstanceUID: fixed.series.SeriesInstanceUID } }),
        ...(considered === undefined ? {} : { considered }),
        told: tell(against, pairing !== undefined, fixed !== undefined, considered ?? []),
      });
    },
  });
  const clock = gateway.database.get('SELECT state FROM study_clock WHERE study_uid = ?', studyInstanceUID);
  return {
    studyInstanceUID,
    ruleRevision: gateway.rules.revision,
    complete: clock?.['state'] === 'complete',
    fetchedFor: fetchedFor(gateway, studyInstanceUID),
    priors: study.priors.map(({ StudyInstanceUID }) => StudyInstanceUID),
    rules: [...rules.values()],
    fetch: fetchOf(gateway, studyInstanceUID),
  };
}

function tell(
  against: readonly string[],
  isPair: boolean,
  isFound: boolean,
  considered: readonly Considered[],
): string {
  if (against.length > 0) return `the rule does not match: ${against.join('; ')}`;
  if (!isPair) return 'the rule matches';
  if (isFound)
    return `the rule matches; the pair was found: ${considered.find(({ outcome }) => outcome === 'chosen')?.because.join(', ') ?? ''}`;
  if (considered.length === 0) return 'the rule matches, but there is no other series to pair it with';
  const reasons = [...new Set(considered.flatMap(({ because }) => because))].slice(0, 5);
  return `the rule matches, but none of ${considered.length} series can be its pair: ${reasons.join('; ')}`;
}

function fetchOf(gateway: Gateway, study: string): Explanation['fetch'] {
  const item = workItemsOf(gateway.workItems, study).find(({ kind }) => kind === 'fetch');
  if (item === undefined) return undefined;
  const found = item.result?.['found'];
  return {
    state: item.state,
    node: String(item.parameters['node']),
    attempts: item.attempts,
    told: typeof found === 'string' ? found : (item.lastError ?? 'the node is being asked'),
  };
}

/** For people at a terminal. */
export function formatExplanation(explanation: Explanation): string {
  const { studyInstanceUID, complete, fetchedFor: wanted, priors, rules, fetch, ruleRevision } = explanation;
  const lines = [
    `study ${studyInstanceUID}, rules ${ruleRevision}`,
    complete ? 'complete' : 'not complete yet: rules are asked when it has been quiet for long enough',
    ...(wanted === undefined ? [] : [`fetched as a prior for study ${wanted}: no rule runs on it`]),
    `earlier studies of this patient here: ${priors.length}`,
    ...(fetch === undefined
      ? []
      : [`prior asked of ${fetch.node}: ${fetch.state}, attempt ${fetch.attempts}: ${fetch.told}`]),
  ];
  for (const { name, run, series } of rules) {
    lines.push('', `rule "${name}" (${run})`);
    for (const one of series) {
      lines.push(`  series ${one.SeriesInstanceUID} (${one.Modality}, ${one.instances} images): ${one.told}`);
      for (const { SeriesInstanceUID, outcome, because } of one.considered ?? [])
        lines.push(`    ${outcome}: ${SeriesInstanceUID}: ${because.join('; ')}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
