/** Facts + rules -> decisions. Pure: the same facts and rules always decide the same. */
import { Refusal } from '../dicom/refusal.ts';
import type { Expression } from './expression.ts';
import type { AdmissionRule, Pattern, ProcessingRule, Rules } from './rules.ts';

/** What the door knows of an arriving object; identified, so it never leaves workflow/receive. */
export interface AdmissionFacts {
  readonly callingAE: string;
  readonly calledAE: string;
  readonly door: 'dimse' | 'stow';
  readonly modality: string;
  readonly bodyPart: string;
  readonly studyDescription: string;
  readonly seriesDescription: string;
  readonly sopClass: string;
}

/** A series as rules see it: pseudonymous, keywords of the standard. */
export interface SeriesFacts {
  readonly SeriesInstanceUID: string;
  readonly Modality: string;
  readonly SeriesDescription: string;
  readonly BodyPartExamined: string;
  readonly FrameOfReferenceUID: string;
  readonly SOPClassUID: string;
  readonly instances: number;
  /** Written by our own pipelines; never an input of another run. */
  readonly derived: boolean;
}

/** What the intake check found of a series; numbers that are not known are -1. */
export interface IntakeFacts {
  /** False until the series was looked at: nothing is known then. */
  readonly checked: boolean;
  readonly kind: string;
  readonly findings: number;
  readonly gaps: number;
  readonly missingSlices: number;
  readonly duplicates: number;
  readonly volumes: number;
  readonly missingAttributes: number;
  readonly mixedSizes: boolean;
  readonly mixedBits: boolean;
  readonly beyondLimits: number;
  readonly constantImages: number;
  readonly outliers: number;
  readonly saturatedPercent: number;
  readonly pixelMm: number;
  readonly spacingMm: number;
  readonly thicknessMm: number;
  readonly lowest: number;
  readonly highest: number;
}

export interface StudyFacts {
  readonly StudyInstanceUID: string;
  readonly StudyDescription: string;
  readonly project: string;
  readonly series: readonly SeriesFacts[];
  /** Earlier studies of the same patient in the same project, newest first. */
  readonly priors: readonly PriorFacts[];
}

export interface PriorFacts {
  readonly StudyInstanceUID: string;
  readonly series: readonly SeriesFacts[];
}

export interface Decision {
  readonly rule: ProcessingRule;
  readonly series: SeriesFacts;
  /** register: the series aligned to. */
  readonly fixed: { readonly StudyInstanceUID: string; readonly series: SeriesFacts } | undefined;
}

/**
 * The first admission rule that matches, or undefined: quarantine.
 * @throws Refusal Quarantined when an expression ends in an error on these facts: what a later rule says would be a guess
 */
export function matchAdmission(rules: Rules, facts: AdmissionFacts): AdmissionRule | undefined {
  return rules.admission.find(
    ({ name, when, expression }) =>
      fits(when.callingAE, facts.callingAE) &&
      fits(when.calledAE, facts.calledAE) &&
      (when.door === undefined || when.door === facts.door) &&
      fits(when.modality, facts.modality) &&
      fits(when.bodyPart, facts.bodyPart) &&
      fits(when.studyDescription, facts.studyDescription) &&
      fits(when.seriesDescription, facts.seriesDescription) &&
      fits(when.sopClass, facts.sopClass) &&
      (expression === undefined || admissionVerdict(name, expression, facts)),
  );
}

/** The projects that objects of this sender can be admitted to, as far as titles and door decide it. */
export function admissionProjects(
  rules: Rules,
  sender: Pick<AdmissionFacts, 'callingAE' | 'calledAE' | 'door'>,
): string[] {
  const open = rules.admission.filter(
    ({ when }) =>
      fits(when.callingAE, sender.callingAE) &&
      fits(when.calledAE, sender.calledAE) &&
      (when.door === undefined || when.door === sender.door),
  );
  return [...new Set(open.map(({ project }) => project))];
}

function admissionVerdict(rule: string, expression: Expression, facts: AdmissionFacts): boolean {
  try {
    return expression({
      callingAE: facts.callingAE,
      calledAE: facts.calledAE,
      door: facts.door,
      object: {
        Modality: facts.modality,
        BodyPartExamined: facts.bodyPart,
        StudyDescription: facts.studyDescription,
        SeriesDescription: facts.seriesDescription,
        SOPClassUID: facts.sopClass,
      },
    });
  } catch {
    // CEL's own message may quote a value.
    throw new Refusal('Quarantined', `the expression of admission rule "${rule}" cannot be evaluated on this object`);
  }
}

export interface ProcessingOptions {
  /** Hears of an expression that ended in an error on these facts: its rule does not match, the others go on. */
  readonly onFault?: (rule: ProcessingRule, series: SeriesFacts) => void;
  /** What the intake check found; absent: no series was looked at. */
  readonly intake?: (series: SeriesFacts) => IntakeFacts;
}

/** Every rule that matches a series of a complete study. Derived series start nothing, so that results never feed themselves. */
export function matchProcessing(rules: Rules, study: StudyFacts, options: ProcessingOptions = {}): Decision[] {
  const decisions: Decision[] = [];
  for (const rule of rules.processing) {
    for (const series of study.series) {
      if (series.derived) continue;
      try {
        if (!seriesFits(rule, study, series, options.intake?.(series) ?? NOT_CHECKED)) continue;
      } catch {
        options.onFault?.(rule, series);
        continue;
      }
      if (rule.run !== 'register') {
        decisions.push({ rule, series, fixed: undefined });
        continue;
      }
      const fixed = chooseFixed(rule, study, series);
      if (fixed !== undefined) decisions.push({ rule, series, fixed });
    }
  }
  return decisions;
}

const NOT_CHECKED: IntakeFacts = {
  checked: false,
  kind: 'image',
  findings: 0,
  gaps: 0,
  missingSlices: 0,
  duplicates: 0,
  volumes: 0,
  missingAttributes: 0,
  mixedSizes: false,
  mixedBits: false,
  beyondLimits: 0,
  constantImages: 0,
  outliers: 0,
  saturatedPercent: 0,
  pixelMm: -1,
  spacingMm: -1,
  thicknessMm: -1,
  lowest: 0,
  highest: 0,
};

function seriesFits(rule: ProcessingRule, study: StudyFacts, series: SeriesFacts, intake: IntakeFacts): boolean {
  const { when, expression } = rule;
  const hasPrior = study.priors.some((prior) =>
    prior.series.some((other) => !other.derived && other.Modality === series.Modality),
  );
  return (
    fits(when.project, study.project) &&
    fits(when.modality, series.Modality) &&
    fits(when.bodyPart, series.BodyPartExamined) &&
    fits(when.studyDescription, study.StudyDescription) &&
    fits(when.seriesDescription, series.SeriesDescription) &&
    series.instances >= (when.minInstances ?? 0) &&
    (when.hasPrior === undefined || when.hasPrior === hasPrior) &&
    (expression === undefined ||
      expression({
        series: {
          Modality: series.Modality,
          SeriesDescription: series.SeriesDescription,
          BodyPartExamined: series.BodyPartExamined,
          SOPClassUID: series.SOPClassUID,
          instances: series.instances,
        },
        study: {
          StudyDescription: study.StudyDescription,
          project: study.project,
          hasPrior,
          series: study.series.length,
        },
        intake: { ...intake },
      }))
  );
}

function chooseFixed(rule: ProcessingRule, study: StudyFacts, moving: SeriesFacts): Decision['fixed'] {
  const choice = rule.with.fixed;
  if (choice === undefined) return undefined;
  if (choice === 'newest-prior') {
    for (const prior of study.priors) {
      const series = mostComparable(prior.series, moving);
      if (series !== undefined) return { StudyInstanceUID: prior.StudyInstanceUID, series };
    }
    return undefined;
  }
  const candidates = study.series.filter(
    (series) =>
      !series.derived &&
      series.SeriesInstanceUID !== moving.SeriesInstanceUID &&
      fits(choice.seriesDescription, series.SeriesDescription) &&
      fits(choice.modality, series.Modality),
  );
  const series = largest(candidates);
  return series === undefined ? undefined : { StudyInstanceUID: study.StudyInstanceUID, series };
}

/** Same modality; then the same description, then the same body part, then most images. */
function mostComparable(candidates: readonly SeriesFacts[], moving: SeriesFacts): SeriesFacts | undefined {
  const same = candidates.filter((series) => !series.derived && series.Modality === moving.Modality);
  const described = same.filter(
    (series) => series.SeriesDescription.toLowerCase() === moving.SeriesDescription.toLowerCase(),
  );
  const located = same.filter((series) => series.BodyPartExamined === moving.BodyPartExamined);
  return largest(described) ?? largest(located) ?? largest(same);
}

function largest(series: readonly SeriesFacts[]): SeriesFacts | undefined {
  return [...series].sort(
    (a, b) => b.instances - a.instances || (a.SeriesInstanceUID < b.SeriesInstanceUID ? -1 : 1),
  )[0];
}

function fits(pattern: Pattern | undefined, text: string): boolean {
  if (pattern === undefined) return true;
  if (typeof pattern !== 'string') return pattern.some((one) => fits(one, text));
  return wildcardFits(pattern.toLowerCase(), text.toLowerCase());
}

/** `*` any run of characters, `?` one; linear in the text, so that no pattern can hang the door. */
function wildcardFits(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (p < pattern.length && (pattern[p] === '?' || (pattern[p] !== '*' && pattern[p] === text[t]))) {
      p++;
      t++;
    } else if (pattern[p] === '*') {
      star = p++;
      resume = t;
    } else if (star >= 0) {
      p = star + 1;
      t = ++resume;
    } else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
