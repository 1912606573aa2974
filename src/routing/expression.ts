/** CEL expressions of rules, typed: an unknown name or a wrong type is refused when the file is read, not at 3 a.m. */
import { Environment } from '@marcbachmann/cel-js';

/** Facts in, verdict out. Whole numbers are handed over as they are; CEL's int is a bigint inside. */
export type Expression = (facts: Readonly<Record<string, FactValue>>) => boolean;
export type FactValue = string | number | boolean | { readonly [key: string]: FactValue };

const LIMITS = { maxAstNodes: 500, maxDepth: 50, maxListElements: 100, maxMapEntries: 50, maxCallArguments: 16 };

const admission = new Environment({ limits: LIMITS })
  .registerVariable('callingAE', 'string')
  .registerVariable('calledAE', 'string')
  .registerVariable('door', 'string')
  .registerVariable({
    name: 'object',
    schema: {
      Modality: 'string',
      BodyPartExamined: 'string',
      StudyDescription: 'string',
      SeriesDescription: 'string',
      SOPClassUID: 'string',
    },
  });

const processing = new Environment({ limits: LIMITS })
  .registerVariable({
    name: 'series',
    schema: {
      Modality: 'string',
      SeriesDescription: 'string',
      BodyPartExamined: 'string',
      SOPClassUID: 'string',
      instances: 'int',
    },
  })
  .registerVariable({
    name: 'study',
    schema: { StudyDescription: 'string', project: 'string', hasPrior: 'bool', series: 'int' },
  })
  .registerVariable({
    name: 'intake',
    schema: {
      checked: 'bool',
      kind: 'string',
      findings: 'int',
      gaps: 'int',
      missingSlices: 'int',
      duplicates: 'int',
      volumes: 'int',
      missingAttributes: 'int',
      mixedSizes: 'bool',
      mixedBits: 'bool',
      beyondLimits: 'int',
      constantImages: 'int',
      outliers: 'int',
      isolation: 'double',
      saturatedPercent: 'double',
      pixelMm: 'double',
      spacingMm: 'double',
      thicknessMm: 'double',
      lowest: 'double',
      highest: 'double',
    },
  });

/** Facts that are measured, not counted: doubles, even where they happen to be whole. */
const MEASURED: ReadonlySet<string> = new Set([
  'isolation',
  'saturatedPercent',
  'pixelMm',
  'spacingMm',
  'thicknessMm',
  'lowest',
  'highest',
]);

/** @throws Error when it is no CEL, names what does not exist, or does not end in true or false */
export function compileExpression(source: string, kind: 'admission' | 'processing'): Expression {
  const environment = kind === 'admission' ? admission : processing;
  const parsed = environment.parse(source);
  const checked = parsed.check();
  if (!checked.valid) throw checked.error ?? new Error('the expression does not type-check');
  if (checked.type !== 'bool') throw new Error(`the expression gives ${String(checked.type)}, a rule needs bool`);
  return (facts) => parsed(celValue(facts) as Record<string, unknown>) === true;
}

function celValue(value: FactValue, name = ''): unknown {
  if (typeof value === 'number') return MEASURED.has(name) ? value : BigInt(value);
  if (typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, celValue(inner, key)]));
}

/** An expression over attributes by keyword, and which attributes it asks for. */
export interface AttributeExpression {
  readonly names: readonly string[];
  readonly test: (values: Readonly<Record<string, string | number>>) => boolean;
}

/**
 * Every keyword of the dictionary is a variable: a number where its VR is one (NaN when absent), else text (empty when absent).
 * @throws Error when it is no CEL, names what is no keyword, or does not end in true or false
 */
export function compileAttributeExpression(
  source: string,
  typeOf: (name: string) => 'string' | 'double' | undefined,
): AttributeExpression {
  const environment = new Environment({ limits: LIMITS });
  const names: string[] = [];
  const bare = source.replaceAll(/"[^"]*"|'[^']*'/g, '""');
  for (const [name] of bare.matchAll(/(?<![\w.])[A-Z]\w*/g)) {
    const type = typeOf(name);
    if (type === undefined || names.includes(name)) continue;
    names.push(name);
    environment.registerVariable(name, type);
  }
  const parsed = environment.parse(source);
  const checked = parsed.check();
  if (!checked.valid) throw checked.error ?? new Error('the expression does not type-check');
  if (checked.type !== 'bool') throw new Error(`the expression gives ${String(checked.type)}, bool is expected`);
  return { names, test: (values) => parsed(values) === true };
}
