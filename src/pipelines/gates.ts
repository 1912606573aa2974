/** Quality gates of a model: what was measured against what its card allows. */
import { Refusal } from '../dicom/refusal.ts';

/** Within `max` (or above `min`): pass. Up to `hard`: delivered with a warning. Beyond: refused. */
export interface Gate {
  readonly max?: number;
  readonly min?: number;
  readonly hard: number;
}

export interface Finding {
  readonly name: string;
  readonly value: number;
  /** In words with the numbers: "at most 0.001". */
  readonly expected: string;
  readonly outcome: 'pass' | 'warn' | 'refuse';
}

/** A result that its gates refuse, with all that was measured. */
export class GatesRefusal extends Refusal {
  readonly findings: readonly Finding[];

  constructor(sentence: string, findings: readonly Finding[]) {
    super('PipelineRefused', sentence);
    this.findings = findings;
  }
}

export interface Verdict {
  readonly outcome: 'pass' | 'warn';
  readonly findings: readonly Finding[];
}

/**
 * Judges every gate of the card. Refuses with all that failed, found and expected; a gate without a measured value and a
 * value that is not a number are refused too.
 */
export function judge(gates: Readonly<Record<string, Gate>>, measured: Readonly<Record<string, number>>): Verdict {
  const findings = Object.entries(gates).map(([name, gate]) => judgeOne(name, gate, measured[name] ?? Number.NaN));
  const refused = findings.filter(({ outcome }) => outcome === 'refuse');
  if (refused.length > 0) {
    const sentences = refused.map(sentenceOf);
    throw new GatesRefusal(sentences.join('; '), findings);
  }
  return { outcome: findings.some(({ outcome }) => outcome === 'warn') ? 'warn' : 'pass', findings };
}

/** What was found and what was expected. */
export function sentenceOf({ name, value, expected }: Finding): string {
  return `${name} is ${readable(value)}, expected ${expected}`;
}

function judgeOne(name: string, gate: Gate, value: number): Finding {
  const within = (limit: number) => (gate.max === undefined ? value >= limit : value <= limit);
  const limit = gate.max ?? gate.min ?? gate.hard;
  const expected = `${gate.max === undefined ? 'at least' : 'at most'} ${limit} (hard limit ${gate.hard})`;
  return { name, value, expected, outcome: within(limit) ? 'pass' : within(gate.hard) ? 'warn' : 'refuse' };
}

function readable(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(4))) : 'not known';
}
