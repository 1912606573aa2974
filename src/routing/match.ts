/** Facts + rules -> decisions. Pure: the same facts and rules always decide the same. */
import { Refusal } from '../dicom/refusal.ts';
import type { Expression } from './expression.ts';
import { pairWithin, pairWithPrior, type Pairing, type ShapeOf } from './pairs.ts';
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
  /** Score of an isolation forest on the site's own history, 0 to 1. */
  readonly isolation: number;
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
  /** How series lie; without it pairs are found by their names and numbers alone. */
  readonly shapeOf?: ShapeOf;
  /** Hears of a series whose rule fits but whose prior is not here and may be fetched. */
  readonly onMissingPrior?: (rule: ProcessingRule, series: SeriesFacts) => void;
  /** Hears what was thought of each rule and series: what speaks against the match, and which pairs were looked at. */
  readonly onJudged?: (rule: ProcessingRule, series: SeriesFacts, judgement: Judgement) => void;
  /** What the intake check found; absent: no series was looked at. */
  readonly intake?: (series: SeriesFacts) => IntakeFacts;
}

export interface Judgement {
  /** Conditions of the rule that do not hold; empty: it matches. */
  readonly against: readonly string[];
  /** register: how the other half of the pair was looked for. */
  readonly pairing: Pairing | undefined;
}

/** Every rule that matches a series of a complete study. Derived series start nothing, so that results never feed themselves. */
export function matchProcessing(rules: Rules, study: StudyFacts, options: ProcessingOptions = {}): Decision[] {
  const decisions: Decision[] = [];
  for (const rule of rules.processing) {
    for (const series of study.series) {
      const judgement = judge(rule, study, series, options);
      options.onJudged?.(rule, series, judgement);
      const { against, pairing } = judgement;
      if (against.length > 0) continue;
      if (pairing === undefined) decisions.push({ rule, series, fixed: undefined });
      else if (pairing.fixed !== undefined) decisions.push({ rule, series, fixed: pairing.fixed });
      else if (wantsFetching(rule)) options.onMissingPrior?.(rule, series);
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
  isolation: -1,
  saturatedPercent: 0,
  pixelMm: -1,
  spacingMm: -1,
  thicknessMm: -1,
  lowest: 0,
  highest: 0,
};

function judge(rule: ProcessingRule, study: StudyFacts, series: SeriesFacts, options: ProcessingOptions): Judgement {
  if (series.derived) return { against: ['the series was made by a pipeline'], pairing: undefined };
  let against: string[];
  try {
    against = misfits(rule, study, series, options.intake?.(series) ?? NOT_CHECKED);
  } catch {
    options.onFault?.(rule, series);
    return { against: ['the expression cannot be evaluated on this series'], pairing: undefined };
  }
  if (against.length > 0 || rule.run !== 'register') return { against, pairing: undefined };
  return { against, pairing: pairFor(rule, study, series, options.shapeOf ?? (() => undefined)) };
}

/** A prior that is not here may still come: the rule is judged as if it were. */
function wantsFetching({ with: { fixed, fetch } }: ProcessingRule): boolean {
  return fixed === 'newest-prior' && fetch !== undefined;
}

/** What of the rule does not hold for this series, in words. */
function misfits(rule: ProcessingRule, study: StudyFacts, series: SeriesFacts, intake: IntakeFacts): string[] {
  const { when, expression } = rule;
  const hasPrior =
    wantsFetching(rule) ||
    study.priors.some((prior) => prior.series.some((other) => !other.derived && other.Modality === series.Modality));
  const against: string[] = [];
  const require = (holds: boolean, words: string): void => {
    if (!holds) against.push(words);
  };
  require(fits(when.project, study.project), `when.project: the study is of ${study.project}`);
  require(fits(when.modality, series.Modality), `when.modality: the series is ${series.Modality}`);
  require(fits(
    when.bodyPart,
    series.BodyPartExamined,
  ), `when.bodyPart: the series has ${series.BodyPartExamined || 'none'}`);
  require(fits(when.studyDescription, study.StudyDescription), 'when.studyDescription');
  require(fits(when.seriesDescription, series.SeriesDescription), 'when.seriesDescription');
  require(series.instances >= (when.minInstances ?? 0), `when.minInstances: the series has ${series.instances}`);
  require(when.hasPrior === undefined ||
    when.hasPrior === hasPrior, `when.hasPrior: there is ${hasPrior ? 'an' : 'no'} earlier study with this modality`);
  // An expression is asked last: what the other keys exclude it need not understand.
  if (against.length > 0 || expression === undefined) return against;
  const holds = expression({
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
  });
  require(holds, 'when.expr');
  return against;
}

function pairFor(rule: ProcessingRule, study: StudyFacts, moving: SeriesFacts, shapeOf: ShapeOf): Pairing {
  const choice = rule.with.fixed;
  if (choice === undefined) return { fixed: undefined, considered: [] };
  if (choice === 'newest-prior') return pairWithPrior(moving, study, shapeOf);
  const wish = {
    fits: (series: SeriesFacts) =>
      fits(choice.seriesDescription, series.SeriesDescription) && fits(choice.modality, series.Modality),
    prefer: choice.prefer,
  };
  return pairWithin(moving, study, wish, shapeOf);
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
