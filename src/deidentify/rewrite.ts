/**
 * Rewrites a data set by the rules, to any depth, in Explicit VR LE and UTF-8. What is not known to be harmless does not come out:
 * private and repeating groups, retired and unknown attributes, free text, values that are not what their VR says.
 */
import type { CharacterSet } from '../dicom/character-set.ts';
import { asciiOf, characterSetOf, type DataElement, type DataSet } from '../dicom/data-set.ts';
import { isPrivate, isPrivateCreator, vrOf } from '../dicom/dictionary.ts';
import { VR_TRAITS, type Vr } from '../dicom/vr.ts';
import { littleEndianValue, writeElement, writeSequence, writeText } from '../dicom/writer.ts';
import { areNumbers, asCodeString } from './actions.ts';
import { writeDummyCode } from './codes.ts';
import { conditionHolds, findOverride, type Override } from './overrides.ts';
import { keptBlocks, vetoesOf } from './private-list.ts';
import { EMPTY, NO_INSERTS, type Insert, type Place, type Rewriting, type Trace } from './rewriting.ts';
import type { Rule } from './rule.ts';
import { planOf } from './unlisted.ts';
import { apply, hasIdentifyingWord, keepUids, letterOf, mapUids, retainsUids, textOf } from './value-outcomes.ts';
import { actOnValue, changedDate } from './value-rules.ts';
import { actOnUnlistedValue, fits } from './value-unlisted.ts';

const SPECIFIC_CHARACTER_SET = 0x00080005;

/** Writes what may stay of `dataSet`, with `inserts` in their places. */
export function rewriteDataSet(
  run: Rewriting,
  dataSet: DataSet,
  inserts: readonly Insert[],
  path: number[] = [],
  inherited?: CharacterSet,
): void {
  const at: Place = { dataSet, set: characterSetOf(dataSet, inherited), path };
  walkDataSet(run, at, inserts, (place) => rewriteAt(run, at, place));
}

/**
 * `rewrite` is called for the places of elements that nothing is inserted for, ascending; it returns the last one that it has rewritten,
 * none at or behind the tag that is inserted next.
 */
export function walkDataSet(
  run: Rewriting,
  at: Place,
  inserts: readonly Insert[],
  rewrite: (place: number, before: number) => number,
): void {
  const { elements } = at.dataSet;
  let next = 0;
  for (let place = 0; place < elements.length; place++) {
    const element = elements[place];
    if (element === undefined) break;
    for (let insert = inserts[next]; insert !== undefined && insert[0] <= element.tag; insert = inserts[++next])
      writeInsert(run, at, insert, insert[0] === element.tag ? element : undefined);
    if (next > 0 && inserts[next - 1]?.[0] === element.tag) continue;
    place = rewrite(place, inserts[next]?.[0] ?? Infinity);
  }
  for (; next < inserts.length; next++) {
    const insert = inserts[next];
    if (insert !== undefined) writeInsert(run, at, insert, undefined);
  }
}

/** The element at this place, or all of its private group; returns the place of the last one. */
export function rewriteAt(run: Rewriting, at: Place, place: number): number {
  const element = at.dataSet.elements[place];
  if (element === undefined) return place;
  if (isPrivate(element.tag)) return rewritePrivateGroup(run, at, place);
  if (run.trace === undefined) rewriteElement(run, at, element);
  else traceElement(run, at, element, run.trace);
  return place;
}

function writeInsert(run: Rewriting, at: Place, [, write]: Insert, replaced: DataElement | undefined): void {
  const start = run.sink.length;
  write(run.sink);
  run.trace?.({
    path: at.path,
    before: replaced && { dataSet: at.dataSet, set: at.set, element: replaced },
    after: run.sink.buffer.subarray(start, run.sink.length),
    rule: 'written by de-identification',
  });
}

function traceElement(run: Rewriting, at: Place, element: DataElement, trace: Trace): void {
  const start = run.sink.length;
  rewriteElement(run, at, element);
  trace({
    path: at.path,
    before: { dataSet: at.dataSet, set: at.set, element },
    after: run.sink.buffer.subarray(start, run.sink.length),
    rule: ruleName(run, at, element),
  });
}

/** Why an attribute met its fate, for people. */
function ruleName(run: Rewriting, at: Place, element: DataElement): string {
  if ((element.tag & 0xffff) === 0) return 'group length';
  if (element.tag === SPECIFIC_CHARACTER_SET) return 'one character set for all';
  if (isPrivate(element.tag)) return isPrivateCreator(element.tag) ? 'private creator' : 'private';
  if (isRemovedGroup(element.tag >>> 16)) return 'group of curves, overlays, commands or signatures';
  const override = overrideOf(run, at, element.tag);
  if (override !== undefined) return `override ${override.index}: ${describeRule(override.rule)}`;
  const rule = run.profile.rules.get(element.tag);
  return rule === undefined ? `not in Table E.1-1: ${planOf(element.tag).kind}` : `Table E.1-1: ${describeRule(rule)}`;
}

function describeRule(rule: Rule): string {
  return 'otherwise' in rule ? `${rule.action}, else ${rule.otherwise}` : rule.action;
}

/** All elements of one odd group: those of the safe list, in blocks counted anew. Returns the index of the group's last element. */
function rewritePrivateGroup(run: Rewriting, at: Place, first: number): number {
  const { elements } = at.dataSet;
  const group = (elements[first]?.tag ?? 0) >>> 16;
  let end = first;
  while (end < elements.length && (elements[end]?.tag ?? 0) >>> 16 === group) end++;
  const all = elements.slice(first, end);
  const list = run.profile.privateList;
  const blocks = list === undefined ? [] : keptBlocks(list, (run.vetoes ??= vetoesOf(run.root)), at.dataSet, all);
  for (const { creator, creatorTag } of blocks) writeText(run.sink, creatorTag, 'LO', creator);
  const kept = new Map<DataElement, readonly [start: number, end: number]>();
  for (const block of blocks) {
    for (const { element, tag: outTag, vr } of block.elements) {
      const start = run.sink.length;
      keepPrivate(run, at, element, outTag, vr);
      if (run.sink.length > start) kept.set(element, [start, run.sink.length]);
    }
  }
  run.counts.privateKept += kept.size;
  run.counts.privateRemoved += all.filter((element) => !kept.has(element)).length - blocks.length;
  for (const element of run.trace === undefined ? [] : all) {
    const written = kept.get(element);
    run.trace?.({
      path: at.path,
      before: { dataSet: at.dataSet, set: at.set, element },
      after: written === undefined ? EMPTY : run.sink.buffer.subarray(...written),
      rule: written !== undefined ? 'private, on the safe list' : ruleName(run, at, element),
    });
  }
  return end - 1;
}

/** The list says that this attribute tells nothing of a person; its value must still be what its VR says. */
function keepPrivate(run: Rewriting, at: Place, element: DataElement, outTag: number, vr: Vr): void {
  const renamed: DataElement = { ...element, tag: outTag, vr };
  switch (vr) {
    case 'SQ':
      if (element.items !== undefined) walk(run, at, renamed);
      return;
    case 'UI':
      return retainsUids(run) ? keepUids(run, at, renamed) : mapUids(run, at, renamed);
    case 'DS':
    case 'IS': {
      const text = asciiOf(at.dataSet, element);
      if (areNumbers(text, vr)) writeText(run.sink, outTag, vr, text);
      return;
    }
    case 'CS': {
      const code = asCodeString(asciiOf(at.dataSet, element));
      if (code !== undefined && !hasIdentifyingWord(run, code)) writeText(run.sink, outTag, vr, code);
      return;
    }
    case 'DA':
    case 'DT':
    case 'TM': {
      const changed = changedDate(run, asciiOf(at.dataSet, element), vr);
      if (changed !== undefined) writeText(run.sink, outTag, vr, changed);
      return;
    }
    default:
      if (VR_TRAITS[vr].text === false) writeElement(run.sink, outTag, vr, littleEndianValue(at.dataSet, renamed));
      else {
        const text = run.cleaner().clean(textOf(at, element, vr));
        if (text !== '') writeText(run.sink, outTag, vr, text);
      }
  }
}

function rewriteElement(run: Rewriting, at: Place, element: DataElement): void {
  const { counts, profile } = run;
  // Group lengths would no longer be true; the output is in one character set that the top level names.
  if ((element.tag & 0xffff) === 0 || element.tag === SPECIFIC_CHARACTER_SET) return;
  if (isRemovedGroup(element.tag >>> 16)) {
    counts.removed++;
    return;
  }
  const rule = overrideOf(run, at, element.tag)?.rule ?? profile.rules.get(element.tag);
  if ((vrOf(element.tag) ?? element.vr) === 'SQ') rewriteSequence(run, at, element, rule);
  else if (rule === undefined) actOnUnlistedValue(run, at, element);
  else actOnValue(run, at, element, rule);
}

function overrideOf(run: Rewriting, at: Place, attribute: number): Override | undefined {
  const candidates = run.profile.overrides.get(attribute);
  if (candidates === undefined) return undefined;
  return findOverride(candidates, at.path, (override) => {
    let holds = run.conditions.get(override);
    if (holds === undefined) run.conditions.set(override, (holds = conditionHolds(override, run.root)));
    return holds;
  });
}

/** Command, file meta and directory groups; MAC parameters (4FFE); curves (50xx) and overlays (60xx), every element, which no search for text can pass; signatures and padding. */
function isRemovedGroup(group: number): boolean {
  const block = group & 0xff00;
  return group < 8 || group === 0x4ffe || block === 0x5000 || block === 0x6000 || group >= 0x7fe0;
}

/** A rule says whether a sequence stays; inside, each attribute has its own. */
function rewriteSequence(run: Rewriting, at: Place, element: DataElement, rule: Rule | undefined): void {
  const { counts } = run;
  if (rule === undefined) {
    const plan = planOf(element.tag);
    if (plan.kind === 'sequence' && fits(plan, element)) walk(run, at, element);
    else counts.unknownRemoved++;
    return;
  }
  switch (rule.action) {
    case 'walk':
    case 'keep':
    case 'clean':
      return walk(run, at, element);
    case 'code':
      writeDummyCode(run.sink, element.tag);
      counts.dummies++;
      return;
    case 'D':
    case 'Z':
    case 'Z/D':
    case 'X/Z':
    case 'X/D':
    case 'X/Z/D':
    case 'X/Z/U*': {
      const letter = letterOf(run, at, element, rule.action);
      // A dummy for a sequence is the sequence with everything inside acted upon.
      return letter === 'D' || letter === 'walk' ? walk(run, at, element) : apply(run, at, element, letter);
    }
    default:
      return actOnValue(run, at, element, rule);
  }
}

/** Keeps the sequence and acts inside. */
function walk(run: Rewriting, at: Place, element: DataElement): void {
  if (element.items === undefined) {
    // A sequence that cannot be looked into.
    if (element.valueEnd > element.valueStart) run.counts.invalidRemoved++;
    writeElement(run.sink, element.tag, 'SQ', EMPTY);
    return;
  }
  run.counts.kept++;
  at.path.push(element.tag);
  writeSequence(run.sink, element.tag, element.items, (item) => {
    rewriteDataSet(run, item, run.itemInserts?.(element.tag, item) ?? NO_INSERTS, at.path, at.set);
  });
  at.path.pop();
}
