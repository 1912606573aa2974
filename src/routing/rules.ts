/** The rules of config/rules.yaml: what they may say, and their revision. Pure: no files, no clock. */
import { createHash } from 'node:crypto';
import { compileExpression, type Expression } from './expression.ts';

/** One text pattern (`*`, `?`, letter case ignored) or several, of which one must match. */
export type Pattern = string | readonly string[];

export interface AdmissionWhen {
  readonly callingAE?: Pattern;
  readonly calledAE?: Pattern;
  readonly door?: 'dimse' | 'stow';
  readonly modality?: Pattern;
  readonly bodyPart?: Pattern;
  readonly studyDescription?: Pattern;
  readonly seriesDescription?: Pattern;
  readonly sopClass?: Pattern;
  readonly expr?: string;
}

export interface AdmissionRule {
  readonly name: string;
  readonly when: AdmissionWhen;
  readonly project: string;
  readonly profile: string;
  readonly expression: Expression | undefined;
}

export interface ProcessingWhen {
  readonly project?: Pattern;
  readonly modality?: Pattern;
  readonly bodyPart?: Pattern;
  readonly studyDescription?: Pattern;
  readonly seriesDescription?: Pattern;
  readonly minInstances?: number;
  readonly hasPrior?: boolean;
  readonly expr?: string;
}

/** `register`, `ct-denoise`, or the id of a model that has a manifest. */
export type PipelineName = string;

/**
 * What a run writes: the derived images (with register: the registration object too), the report of its figures, a key image with its
 * presentation state, parametric maps (register: Jacobian determinant, inverse consistency residual), and a series of differences.
 */
export const OUTPUTS = ['image', 'report', 'key-image', 'map', 'difference'] as const;
export type Output = (typeof OUTPUTS)[number];
export const DEFAULT_OUTPUTS: readonly Output[] = ['image', 'report', 'key-image'];

export type FixedChoice =
  | 'newest-prior'
  | {
      readonly seriesDescription?: Pattern;
      readonly modality?: Pattern;
      /** Of two CTs for one PET. */
      readonly prefer?: 'diagnostic' | 'attenuation-correction';
    };

/** Where a prior comes from that is not here, and how long a study waits for it. */
export interface FetchChoice {
  /** A node of nodes.yaml. */
  readonly from: string;
  /** Default 15. */
  readonly waitMinutes?: number;
  /** Images of the prior series at most; default 3000. */
  readonly mostImages?: number;
}

export interface ProcessingRule {
  readonly name: string;
  readonly when: ProcessingWhen;
  readonly run: PipelineName;
  readonly with: {
    readonly fixed?: FixedChoice;
    readonly fetch?: FetchChoice;
    readonly transform?: 'rigid' | 'affine' | 'deformable';
    readonly alpha?: number;
  };
  readonly outputs: readonly Output[];
  readonly deliver: readonly string[];
  readonly expression: Expression | undefined;
}

export interface Rules {
  readonly admission: readonly AdmissionRule[];
  readonly processing: readonly ProcessingRule[];
  /** First 12 hexadecimal digits of the SHA-256 of the rules; stands in every work item. */
  readonly revision: string;
}

export interface RuleSurroundings {
  readonly nodes: ReadonlySet<string>;
  readonly profiles: ReadonlySet<string>;
  /** Settings (keys of `with`) of each pipeline that there is. */
  readonly pipelines: ReadonlyMap<string, ReadonlySet<string>>;
  /** Ends the check: `path` leads to the fault in the file. */
  readonly fail: (path: readonly (string | number)[], sentence: string) => never;
}

interface RulesFile {
  readonly admission: readonly Omit<AdmissionRule, 'expression'>[];
  readonly processing: readonly (Omit<ProcessingRule, 'expression' | 'with' | 'outputs' | 'deliver'> &
    Partial<Pick<ProcessingRule, 'with' | 'outputs' | 'deliver'>>)[];
}

/** Checks what the schema cannot: names that must exist, expressions that must compile, settings that belong to another pipeline. */
export function checkRules(file: unknown, surroundings: RuleSurroundings): Rules {
  const { admission, processing } = file as RulesFile;
  refuseEqualNames(admission, 'admission', surroundings);
  refuseEqualNames(processing, 'processing', surroundings);
  return {
    admission: admission.map((rule, index) => {
      const path = ['admission', index];
      if (!surroundings.profiles.has(rule.profile)) {
        surroundings.fail(
          [...path, 'profile'],
          `profile "${rule.profile}" is no file of config/profiles (there are: ${[...surroundings.profiles].join(', ')})`,
        );
      }
      return { ...rule, expression: compile(rule.when.expr, [...path, 'when', 'expr'], 'admission', surroundings) };
    }),
    processing: processing.map((rule, index) => {
      const path = ['processing', index];
      for (const [position, node] of (rule.deliver ?? []).entries()) {
        if (!surroundings.nodes.has(node)) {
          surroundings.fail(
            [...path, 'deliver', position],
            `node "${node}" is not in nodes.yaml (there are: ${[...surroundings.nodes].join(', ')})`,
          );
        }
      }
      checkSettings(rule, path, surroundings);
      return {
        ...rule,
        with: rule.with ?? {},
        outputs: rule.outputs ?? DEFAULT_OUTPUTS,
        deliver: rule.deliver ?? [],
        expression: compile(rule.when.expr, [...path, 'when', 'expr'], 'processing', surroundings),
      };
    }),
    revision: createHash('sha256').update(JSON.stringify(file)).digest('hex').slice(0, 12),
  };
}

function refuseEqualNames(
  rules: readonly { readonly name: string }[],
  list: string,
  surroundings: RuleSurroundings,
): void {
  const seen = new Set<string>();
  for (const [index, { name }] of rules.entries()) {
    if (seen.has(name)) surroundings.fail([list, index, 'name'], `two ${list} rules are called "${name}"`);
    seen.add(name);
  }
}

function checkSettings(
  rule: RulesFile['processing'][number],
  path: readonly (string | number)[],
  surroundings: RuleSurroundings,
): void {
  const settings = rule.with ?? {};
  const allowed = surroundings.pipelines.get(rule.run);
  if (allowed === undefined) {
    return surroundings.fail(
      [...path, 'run'],
      `there is no pipeline "${rule.run}" (there are: ${[...surroundings.pipelines.keys()].join(', ')})`,
    );
  }
  if (rule.run === 'register' && settings.fixed === undefined) {
    surroundings.fail(
      [...path, 'run'],
      'register needs with.fixed: newest-prior, or a pattern for a series of the same study',
    );
  }
  if (settings.fetch !== undefined) {
    if (settings.fixed !== 'newest-prior')
      surroundings.fail([...path, 'with', 'fetch'], 'with.fetch brings a prior: it needs with.fixed newest-prior');
    if (!surroundings.nodes.has(settings.fetch.from))
      surroundings.fail(
        [...path, 'with', 'fetch', 'from'],
        `node "${settings.fetch.from}" is not in nodes.yaml (there are: ${[...surroundings.nodes].join(', ')})`,
      );
    if (rule.when.hasPrior === false)
      surroundings.fail([...path, 'when', 'hasPrior'], 'hasPrior false and with.fetch exclude each other');
  }
  if (rule.run !== 'register' && rule.outputs?.includes('map') === true)
    surroundings.fail([...path, 'outputs'], `${rule.run} has no maps; they are of a registration`);
  for (const key of Object.keys(settings)) {
    if (!allowed.has(key)) surroundings.fail([...path, 'with', key], `${rule.run} has no setting "${key}"`);
  }
}

function compile(
  expr: string | undefined,
  path: readonly (string | number)[],
  kind: 'admission' | 'processing',
  surroundings: RuleSurroundings,
): Expression | undefined {
  if (expr === undefined) return undefined;
  try {
    return compileExpression(expr, kind);
  } catch (error) {
    return surroundings.fail(
      path,
      `the expression cannot be used: ${error instanceof Error ? (error.message.split('\n')[0] ?? '') : 'not CEL'}`,
    );
  }
}
