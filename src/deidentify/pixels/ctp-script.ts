/**
 * Reads scripts of CTP's DicomPixelAnonymizer as device rules: `{ condition } (left,top,width,height) ...`, everything outside of
 * braces and parentheses being a remark. Conditions: `Attribute.method("text")` or `[gggg,eeee].method("text")`, `*` and, `+` or, `!` not.
 */
import { Refusal } from '../../dicom/refusal.ts';
import type { AttributeTest, Condition, DeviceEntry, Rectangle } from './devices.ts';

/** @throws Refusal BadRequest with the line of what is not understood: a rule that is half read would leave text in pixels */
export function readCtpScript(text: string): DeviceEntry[] {
  const entries: DeviceEntry[] = [];
  let at = 0;
  for (;;) {
    const open = text.indexOf('{', at);
    if (open < 0) return entries;
    const close = text.indexOf('}', open);
    if (close < 0) throw wrong(text, open, 'a condition has no closing brace');
    const when = readCondition(text, open + 1, close);
    const end = nextSignature(text, close + 1);
    const blank = readRegions(text, close + 1, end);
    if (blank.length === 0) throw wrong(text, open, 'a condition has no region after it');
    entries.push({ name: nameOf(text, at, open, entries.length + 1), when, blank });
    at = end;
  }
}

function nextSignature(text: string, from: number): number {
  const open = text.indexOf('{', from);
  return open < 0 ? text.length : open;
}

/** The last line of remarks before the condition, else a number. */
function nameOf(text: string, from: number, open: number, number: number): string {
  const remarks = text
    .slice(from, open)
    .replaceAll(/\([^()]*\)/g, '')
    .split('\n')
    .map((line) => line.replaceAll(/[^\p{L}\p{N} .,/:_-]/gu, '').trim())
    .filter((line) => /[\p{L}\p{N}]/u.test(line));
  const last = remarks.at(-1);
  return `${number} ${last ?? 'from CTP'}`.slice(0, 100);
}

/** Parentheses with four numbers; other parentheses among the remarks are remarks. */
function readRegions(text: string, from: number, end: number): Rectangle[] {
  const regions: Rectangle[] = [];
  for (const match of text.slice(from, end).matchAll(/\(([^()]*)\)/g)) {
    const inside = match[1] ?? '';
    const numbers = inside.split(',').map((part) => part.trim());
    if (!numbers.some((part) => /^-?\d+$/.test(part))) continue;
    const [left, top, width, height] = numbers.map(Number);
    const isRegion = numbers.length === 4 && numbers.every((part) => /^\d+$/.test(part));
    if (!isRegion || left === undefined || top === undefined || !width || !height)
      throw wrong(text, from + match.index, 'a region is not (left,top,width,height)');
    regions.push({ rows: [top, top + height - 1], columns: [left, left + width - 1] });
  }
  return regions;
}

interface Token {
  readonly kind: 'test' | 'and' | 'or' | 'not' | 'open' | 'close';
  readonly at: number;
  readonly test?: AttributeTest;
}

const METHODS: Readonly<Record<string, (value: string) => Omit<AttributeTest, 'attribute'> | undefined>> = {
  equals: (equals) => ({ equals }),
  equalsIgnoreCase: (equals) => ({ equals, ignoreCase: true }),
  contains: (contains) => ({ contains }),
  containsIgnoreCase: (contains) => ({ contains, ignoreCase: true }),
  startsWith: (startsWith) => ({ startsWith }),
  startsWithIgnoreCase: (startsWith) => ({ startsWith, ignoreCase: true }),
  endsWith: (endsWith) => ({ endsWith }),
  endsWithIgnoreCase: (endsWith) => ({ endsWith, ignoreCase: true }),
  matches: (matches) => ({ matches }),
  isLessThan: (value) => (isNumber(value) ? { lessThan: Number(value) } : undefined),
  isGreaterThan: (value) => (isNumber(value) ? { greaterThan: Number(value) } : undefined),
};

function isNumber(text: string): boolean {
  return text.trim() !== '' && Number.isFinite(Number(text));
}

const TEST =
  /((?:\[?[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\]?|[A-Za-z][A-Za-z0-9]*)(?:::(?:\[?[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\]?|[A-Za-z][A-Za-z0-9]*))*)\s*\.\s*([A-Za-z]+)\s*\(\s*"([^"]*)"\s*\)/y;

function tokensOf(text: string, from: number, end: number): Token[] {
  const tokens: Token[] = [];
  const single: Readonly<Record<string, Token['kind']>> = {
    '*': 'and',
    '+': 'or',
    '!': 'not',
    '(': 'open',
    ')': 'close',
  };
  for (let at = from; at < end;) {
    const character = text[at] ?? '';
    const kind = single[character];
    if (/\s/.test(character)) at++;
    else if (kind !== undefined) tokens.push({ kind, at: at++ });
    else if (text.startsWith('//', at)) at = Math.min(end, text.indexOf('\n', at) < 0 ? end : text.indexOf('\n', at));
    else {
      TEST.lastIndex = at;
      const match = TEST.exec(text);
      if (match === null || TEST.lastIndex > end) throw wrong(text, at, 'a condition is not understood');
      tokens.push({ kind: 'test', at, test: testOf(text, at, match) });
      at = TEST.lastIndex;
    }
  }
  return tokens;
}

function testOf(text: string, at: number, match: RegExpExecArray): AttributeTest {
  const made = METHODS[match[2] ?? '']?.(match[3] ?? '');
  if (made === undefined) throw wrong(text, at, `${match[2] ?? ''} is no method that is known`);
  const attribute = (match[1] ?? '').replaceAll(/[[\]]/g, '').replaceAll('::', '.');
  return { attribute, ...made };
}

/** or of ands of (negated) tests and brackets. */
function readCondition(text: string, from: number, end: number): Condition {
  const tokens = tokensOf(text, from, end);
  let next = 0;
  const either = (): Condition => {
    const parts = [both()];
    while (tokens[next]?.kind === 'or') {
      next++;
      parts.push(both());
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : { any: parts };
  };
  const both = (): Condition => {
    const parts = [one()];
    while (tokens[next]?.kind === 'and') {
      next++;
      parts.push(one());
    }
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : { all: parts };
  };
  const one = (): Condition => {
    const token = tokens[next++];
    if (token?.test !== undefined) return token.test;
    if (token?.kind === 'not') return { not: one() };
    if (token?.kind !== 'open') throw wrong(text, token?.at ?? from, 'a test is expected');
    const inside = either();
    if (tokens[next++]?.kind !== 'close') throw wrong(text, token.at, 'a bracket is not closed');
    return inside;
  };
  const condition = either();
  const left = tokens[next];
  if (left !== undefined) throw wrong(text, left.at, 'a condition goes on where it should end');
  return condition;
}

function wrong(text: string, at: number, what: string): Refusal {
  return new Refusal('BadRequest', `line ${text.slice(0, at).split('\n').length}: ${what}`);
}
