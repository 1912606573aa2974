/**
 * Rewrites a data set by the rules, to any depth, in Explicit VR LE and UTF-8. What is not known to be harmless does not come out:
 * private and repeating groups, retired and unknown attributes, free text, values that are not what their VR says.
 */
import {
  asciiOf,
  formatTag,
  characterSetOf,
  findElement,
  numberValue,
  withoutTrailingPadding,
  type DataElement,
  type DataSet,
} from '../dicom/data-set.ts';
import { decodeText, encodeText, type CharacterSet } from '../dicom/character-set.ts';
import { isPrivate, isPrivateCreator, tag, vrOf } from '../dicom/dictionary.ts';
import { attributeType, hasAttributeTypes, type AttributeType } from '../dicom/iod.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isWellKnownUid } from '../dicom/sop-class.ts';
import { isUid } from '../dicom/uid.ts';
import { VR_TRAITS, type Vr } from '../dicom/vr.ts';
import {
  beginItem,
  beginSequence,
  copyElement,
  endItem,
  endSequence,
  littleEndianValue,
  writeElement,
  writeText,
  type Sink,
  writeSequence,
} from '../dicom/writer.ts';
import {
  ageInYears,
  areNumbers,
  asCodeString,
  capAge,
  dummyValue,
  isTime,
  resolveAction,
  shiftDate,
  shiftDateTime,
  yearOfDate,
  yearOfDateTime,
  type PlainAction,
} from './actions.ts';
import { isPublicScheme, isPlainCode } from './codes.ts';
import { pseudonymOfText, pseudonymOfUid } from './pseudonyms.ts';
import type { Domain } from './wall.ts';
import type { Cleaner } from './free-text.ts';
import { isIdentifyingConcept } from './concepts.ts';
import { isIdentifier } from './identity.ts';
import { conditionHolds, findOverride, type Override } from './overrides.ts';
import { keptBlocks, vetoesOf, type Vetoes } from './private-list.ts';
import type { CompiledProfile } from './profile.ts';
import type { BasicAction, Rule } from './rule.ts';
import { planOf, type Plan } from './unlisted.ts';
import { isClinicalWord } from './vocabulary.ts';

/** How many attributes met which fate; never a value. */
export interface Counts {
  kept: number;
  removed: number;
  emptied: number;
  dummies: number;
  uidsMapped: number;
  datesChanged: number;
  /** Text of which something was taken, or that was looked at and stayed as it is. */
  cleaned: number;
  privateKept: number;
  privateRemoved: number;
  /** Neither in Table E.1-1 nor known to be harmless. */
  unknownRemoved: number;
  /** Values that were not what their VR says. */
  invalidRemoved: number;
}

export function noCounts(): Counts {
  return {
    kept: 0,
    removed: 0,
    emptied: 0,
    dummies: 0,
    uidsMapped: 0,
    datesChanged: 0,
    cleaned: 0,
    privateKept: 0,
    privateRemoved: 0,
    unknownRemoved: 0,
    invalidRemoved: 0,
  };
}

/** One object on its way through. */
export interface Rewriting {
  readonly sink: Sink;
  readonly profile: CompiledProfile;
  readonly domain: Domain;
  readonly sopClassUID: string;
  readonly patient: string;
  /** As it stands in the object's Patient ID. */
  readonly originalPatientId: string;
  readonly offsetDays: number;
  /** What replaces Patient's Birth Date where the profile keeps a year of it. */
  readonly birthYear: string | undefined;
  /** Words of this object's names and ids, upper case, that no kept text may hold. */
  readonly identifyingWords: ReadonlySet<string>;
  /** Made when the first text is cleaned. */
  readonly cleaner: () => Cleaner;
  /** The object's top level: what conditions of overrides ask. */
  readonly root: DataSet;
  readonly conditions: Map<Override, boolean>;
  /** What the object says of its own private blocks. */
  vetoes: Vetoes | undefined;
  /** Told of every attribute, for a dry run. */
  readonly trace: Trace | undefined;
  readonly encapsulated: boolean;
  readonly pixelRepresentation: number | undefined;
  readonly bitsAllocated: number | undefined;
  readonly counts: Counts;
  /** Pseudonym -> original, of every UID mapped. */
  readonly uids: Map<string, string>;
}

/** One attribute before and after. */
export interface Traced {
  readonly path: readonly number[];
  /** undefined: written where the input had none. */
  readonly before: { readonly dataSet: DataSet; readonly set: CharacterSet; readonly element: DataElement } | undefined;
  /** The element as written, header and all; empty: removed. Only until the next call. */
  readonly after: Buffer;
  readonly rule: string;
}

export type Trace = (traced: Traced) => void;

/** Elements that replace or join those of the data set, ascending by tag. */
export type Insert = readonly [tag: number, write: (sink: Sink) => void];

const SPECIFIC_CHARACTER_SET = 0x00080005;
const CODE_VALUE = tag('CodeValue');
const CODING_SCHEME_DESIGNATOR = tag('CodingSchemeDesignator');

const SPECIES = [tag('PatientSpeciesDescription'), tag('PatientSpeciesCodeSequence')];

/** Where an element stands. */
interface Place {
  readonly dataSet: DataSet;
  /** In force here. */
  readonly set: CharacterSet;
  /** Tags of the sequences around it, outermost first. */
  readonly path: number[];
}

/** Writes what may stay of `dataSet`, with `inserts` in their places. */
export function rewriteDataSet(
  run: Rewriting,
  dataSet: DataSet,
  inserts: readonly Insert[],
  path: number[] = [],
  inherited?: CharacterSet,
): void {
  const at: Place = { dataSet, set: characterSetOf(dataSet, inherited), path };
  const { elements } = dataSet;
  let next = 0;
  for (let index = 0; index < elements.length; index++) {
    const element = elements[index];
    if (element === undefined) break;
    for (let insert = inserts[next]; insert !== undefined && insert[0] <= element.tag; insert = inserts[++next])
      writeInsert(run, at, insert, insert[0] === element.tag ? element : undefined);
    if (next > 0 && inserts[next - 1]?.[0] === element.tag) continue;
    if (isPrivate(element.tag)) index = rewritePrivateGroup(run, at, index);
    else if (run.trace === undefined) rewriteElement(run, at, element);
    else traceElement(run, at, element, run.trace);
  }
  for (; next < inserts.length; next++) {
    const insert = inserts[next];
    if (insert !== undefined) writeInsert(run, at, insert, undefined);
  }
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
  if (rule === undefined) actUnlisted(run, at, element);
  else act(run, at, element, rule);
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

function act(run: Rewriting, at: Place, element: DataElement, rule: Rule): void {
  switch (rule.action) {
    case 'walk':
      return apply(run, at, element, 'walk');
    case 'code':
      writeDummyCode(run.sink, element.tag);
      run.counts.dummies++;
      return;
    case 'date':
      return actOnDate(run, at, element, rule.otherwise);
    case 'age':
      return replaceOrFall(run, at, element, capAge(asciiOf(at.dataSet, element)), 'X');
    case 'birth-date':
      return replaceOrFall(run, at, element, run.birthYear, 'Z');
    case 'patient-name':
      writeText(run.sink, element.tag, 'PN', at.path.length === 0 ? run.patient : '');
      run.counts.dummies++;
      return;
    case 'patient-id': {
      const same = decodeText(at.set, littleEndianValue(at.dataSet, element), 'LO').trim() === run.originalPatientId;
      writeText(run.sink, element.tag, 'LO', same ? run.patient : 'REMOVED');
      run.counts.dummies++;
      return;
    }
    case 'word':
      return writeWord(run, at, element);
    case 'owner':
      return apply(run, at, element, SPECIES.some((species) => findElement(run.root, species)) ? 'Z' : 'X');
    case 'keep':
      return keepValue(run, at, element, rule.otherwise);
    case 'clean':
      return cleanValue(run, at, element, rule.otherwise);
    case 'zone':
      return keepZone(run, at, element, rule.otherwise);
    case 'remove':
      run.counts.removed++;
      return;
    case 'replace':
      writeText(run.sink, element.tag, vrOf(element.tag) ?? element.vr, rule.value);
      run.counts.dummies++;
      return;
    default:
      return actByCode(run, at, element, rule.action);
  }
}

function actByCode(run: Rewriting, at: Place, element: DataElement, code: BasicAction): void {
  const conditional = code.length > 1 || code === 'Z';
  const type = conditional ? typeOf(run, at.path, element.tag) : undefined;
  apply(run, at, element, resolveAction(code, type, conditional && hasAttributeTypes(run.sopClassUID)));
}

function apply(run: Rewriting, at: Place, element: DataElement, action: PlainAction): void {
  const { counts } = run;
  const vr = vrOf(element.tag) ?? element.vr;
  switch (action) {
    case 'X':
      counts.removed++;
      return;
    case 'Z':
      writeElement(run.sink, element.tag, vr, EMPTY);
      counts.emptied++;
      return;
    case 'U':
      return mapUids(run, at, element);
    case 'walk':
      return walk(run, at, element);
    case 'D':
      if (vr === 'SQ') return walk(run, at, element);
      if (vr === 'UI') return mapUids(run, at, element);
      writeElement(run.sink, element.tag, vr, dummyValue(vr));
      counts.dummies++;
      return;
  }
}

const EMPTY = Buffer.alloc(0);

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
    rewriteDataSet(run, item, NO_INSERTS, at.path, at.set);
  });
  at.path.pop();
}

export const NO_INSERTS: readonly Insert[] = [];

/** Every value of a multi-valued UID by itself; what the standard registers stays. */
function mapUids(run: Rewriting, at: Place, element: DataElement): void {
  const text = asciiOf(at.dataSet, element);
  if (text === '') {
    writeElement(run.sink, element.tag, 'UI', EMPTY);
    return;
  }
  const mapped = text.includes('\\')
    ? text
        .split('\\')
        .map((uid) => mapUid(run, uid.trim()))
        .join('\\')
    : mapUid(run, text);
  writeElement(run.sink, element.tag, 'UI', Buffer.from(mapped, 'latin1'));
}

function mapUid(run: Rewriting, uid: string): string {
  if (uid === '' || isWellKnownUid(uid)) return uid;
  const pseudonym = pseudonymOfUid(run.domain, uid);
  run.uids.set(pseudonym, uid);
  run.counts.uidsMapped++;
  return pseudonym;
}

/** Attributes of VR UI that the table does not name refer to what its rows define. */
function retainsUids(run: Rewriting): boolean {
  return run.profile.options.has('retain-uids');
}

/** A UID that the profile retains stands for itself; what is no UID is none to retain. */
export function pseudonymFor(profile: CompiledProfile, domain: Domain, uid: string): string {
  return profile.options.has('retain-uids') && isUid(uid) ? uid : pseudonymOfUid(domain, uid);
}

/** K: the value as it is, when it is what its VR says; the patient's own names and numbers have no place in it. */
function keepValue(run: Rewriting, at: Place, element: DataElement, otherwise: BasicAction): void {
  const plan = planOf(element.tag);
  const vr = vrOf(element.tag) ?? element.vr;
  switch (vr) {
    case 'SQ':
      return walk(run, at, element);
    case 'UI':
      return keepUids(run, at, element);
    case 'DS':
    case 'IS':
      if (!areNumbers(asciiOf(at.dataSet, element), vr)) return invalid(run, at, element);
      return keep(run, at, element, plan);
    case 'CS':
      return keepCodeString(run, at, element, plan);
    case 'AS':
      if (ageInYears(asciiOf(at.dataSet, element)) === undefined) return invalid(run, at, element);
      return keep(run, at, element, plan);
    case 'DA':
    case 'DT':
    case 'TM':
      if (!isDateLike(asciiOf(at.dataSet, element), vr)) return actByCode(run, at, element, otherwise);
      return keep(run, at, element, plan);
    default:
      if (VR_TRAITS[vr].text === false) return keep(run, at, element, plan);
      if (isIdentifier(element.tag, vr)) return writeCleaned(run, at, element, otherwise, (text) => text);
      return writeCleaned(run, at, element, otherwise, (text) => run.cleaner().scrub(text));
  }
}

function isDateLike(text: string, vr: 'DA' | 'DT' | 'TM'): boolean {
  return text.split('\\').every((value) => {
    if (vr === 'TM') return isTime(value.trim());
    return (vr === 'DT' ? yearOfDateTime(value.trim()) : yearOfDate(value.trim())) !== undefined;
  });
}

/** They resolve to themselves on the way back. */
function keepUids(run: Rewriting, at: Place, element: DataElement): void {
  const uids = asciiOf(at.dataSet, element).split('\\');
  if (!uids.every((uid) => uid === '' || isUid(uid))) return mapUids(run, at, element);
  for (const uid of uids) if (uid !== '' && !isWellKnownUid(uid)) run.uids.set(uid, uid);
  run.counts.kept++;
  writeElement(run.sink, element.tag, 'UI', Buffer.from(uids.join('\\'), 'latin1'));
}

/** C: what remains of a text; other values by what they are. */
function cleanValue(run: Rewriting, at: Place, element: DataElement, otherwise: BasicAction): void {
  const vr = vrOf(element.tag) ?? element.vr;
  switch (vr) {
    case 'SQ':
      return walk(run, at, element);
    case 'UI':
      return mapUids(run, at, element);
    case 'DA':
    case 'DT':
    case 'TM':
      return actOnDate(run, at, element, otherwise);
    case 'CS': {
      const code = asciiOf(at.dataSet, element);
      if (run.cleaner().clean(code) !== code) return actByCode(run, at, element, otherwise);
      return keepValue(run, at, element, otherwise);
    }
    case 'DS':
    case 'IS':
    case 'AS':
      return keepValue(run, at, element, otherwise);
    default:
      if (VR_TRAITS[vr].text === false || vr === 'PN') return actByCode(run, at, element, otherwise);
      if (element.tag === TEXT_VALUE && isIdentifyingConcept(at.dataSet)) return actByCode(run, at, element, otherwise);
      return writeCleaned(run, at, element, otherwise, (text) => run.cleaner().clean(text));
  }
}

const TEXT_VALUE = tag('TextValue');

function textOf(at: Place, element: DataElement, vr: Vr): string {
  return withoutTrailingPadding(decodeText(at.set, littleEndianValue(at.dataSet, element), vr));
}

/** Each value by itself, in its place; nothing left of all of them falls to the letter. */
function writeCleaned(
  run: Rewriting,
  at: Place,
  element: DataElement,
  otherwise: BasicAction,
  clean: (text: string) => string,
): void {
  const vr = vrOf(element.tag) ?? element.vr;
  const text = textOf(at, element, vr);
  const cleaned = VR_TRAITS[vr].multiValued ? text.split('\\').map(clean).join('\\') : clean(text);
  if (text !== '' && cleaned.replaceAll('\\', '') === '') return actByCode(run, at, element, otherwise);
  writeText(run.sink, element.tag, vr, cleaned);
  run.counts.cleaned++;
}

/** +hhmm: an offset from UTC and nothing else. */
function keepZone(run: Rewriting, at: Place, element: DataElement, otherwise: BasicAction): void {
  const zone = asciiOf(at.dataSet, element);
  if (!/^[+-](0\d|1[0-4])[0-5]\d$/.test(zone)) return actByCode(run, at, element, otherwise);
  writeText(run.sink, element.tag, 'SH', zone);
  run.counts.kept++;
}

/** The type in the IOD, remembered by class and place. */
function typeOf(run: Rewriting, path: readonly number[], last: number): AttributeType | undefined {
  const key = path.length === 0 ? last : `${path.join()},${last}`;
  let types = TYPES.get(run.sopClassUID);
  if (types === undefined) TYPES.set(run.sopClassUID, (types = new Map()));
  if (types.has(key)) return types.get(key);
  const type = attributeType(run.sopClassUID, [...path, last]);
  if (types.size < MAX_TYPES) types.set(key, type);
  return type;
}

const TYPES = new Map<string, Map<number | string, AttributeType | undefined>>();
const MAX_TYPES = 5000;

/** DA, DT and TM by the profile's way with dates; what is no date falls to the table's letter. */
function actOnDate(run: Rewriting, at: Place, element: DataElement, otherwise: BasicAction): void {
  const text = asciiOf(at.dataSet, element);
  if (text === '') {
    writeElement(run.sink, element.tag, vrOf(element.tag) ?? element.vr, EMPTY);
    run.counts.kept++;
    return;
  }
  const values = text.split('\\').map((value) => changedDate(run, value.trim(), vrOf(element.tag) ?? element.vr));
  const changed = values.every((value) => value !== undefined) ? values.join('\\') : undefined;
  // A dummy in place of a time that the IOD requires says nothing, and X would break the object.
  if (changed === undefined)
    actByCode(run, at, element, isRequired(typeOf(run, at.path, element.tag)) ? 'D' : otherwise);
  else {
    writeText(run.sink, element.tag, vrOf(element.tag) ?? element.vr, changed);
    run.counts.datesChanged++;
  }
}

export function changedDate(run: Pick<Rewriting, 'profile' | 'offsetDays'>, value: string, vr: Vr): string | undefined {
  const { dates } = run.profile.file;
  if (dates.mode === 'remove') return undefined;
  if (dates.mode === 'keep') return isDateLike(value, vr as 'DA' | 'DT' | 'TM') ? value : undefined;
  if (vr === 'TM') return run.profile.keepTimes && isTime(value) ? value : undefined;
  if (dates.mode === 'year-only') {
    if (vr === 'DT') return yearOfDateTime(value);
    const year = yearOfDate(value);
    return year === undefined ? undefined : `${year}0101`;
  }
  return vr === 'DT' ? shiftDateTime(value, run.offsetDays, run.profile.keepTimes) : shiftDate(value, run.offsetDays);
}

function replaceOrFall(
  run: Rewriting,
  at: Place,
  element: DataElement,
  value: string | undefined,
  otherwise: BasicAction,
): void {
  if (value === undefined) return actByCode(run, at, element, otherwise);
  writeText(run.sink, element.tag, vrOf(element.tag) ?? element.vr, value);
  run.counts.datesChanged++;
}

/** Equal words stay equal, so that what refers to them still does. */
function writeWord(run: Rewriting, at: Place, element: DataElement): void {
  const vr = vrOf(element.tag) ?? element.vr;
  const text = withoutTrailingPadding(decodeText(at.set, littleEndianValue(at.dataSet, element), vr));
  writeText(run.sink, element.tag, vr, text === '' ? '' : pseudonymOfText(run.domain, text));
  run.counts.dummies++;
}

/** Attributes that Table E.1-1 does not have: by what the dictionary says they are. */
function actUnlisted(run: Rewriting, at: Place, element: DataElement): void {
  const { counts } = run;
  const plan = planOf(element.tag);
  if (plan.kind === 'drop' || !fits(plan, element)) {
    counts.unknownRemoved++;
    return;
  }
  switch (plan.kind) {
    case 'sequence':
      return walk(run, at, element);
    case 'uid':
      return retainsUids(run) ? keepUids(run, at, element) : mapUids(run, at, element);
    case 'date':
      return actOnDate(run, at, element, 'X/Z/D');
    case 'number':
      if (!areNumbers(asciiOf(at.dataSet, element), plan.vr as 'DS' | 'IS')) return invalid(run, at, element);
      return keep(run, at, element, plan);
    case 'code-string':
      return keepCodeString(run, at, element, plan);
    case 'coded':
      return keepCoded(run, at, element, plan);
    case 'kept-text':
      return keepText(run, at, element, plan);
    case 'free-text':
      return removeText(run, at, element, plan);
    case 'data':
      return keep(run, at, element, plan);
  }
}

/** The encoded VR is the dictionary's; text may stand for text, bytes for words. */
function fits(plan: Plan, element: DataElement): boolean {
  if (element.fragments !== undefined) return false;
  if (plan.vrs.includes(element.vr)) return true;
  const wanted = VR_TRAITS[plan.vr];
  const found = VR_TRAITS[element.vr];
  return wanted.text !== false && found.text !== false && element.vr !== 'UI';
}

function keep(run: Rewriting, at: Place, element: DataElement, plan: Plan): void {
  run.counts.kept++;
  if (plan.vrs.length > 1 && element.retyped) {
    const { pixelRepresentation, bitsAllocated, encapsulated } = run;
    const vr = vrOf(element.tag, {
      pixelRepresentation: numberValue(at.dataSet, 0x00280103) ?? pixelRepresentation,
      bitsAllocated,
      encapsulated,
    });
    writeElement(run.sink, element.tag, vr ?? element.vr, littleEndianValue(at.dataSet, element));
    return;
  }
  if (plan.vrs.includes(element.vr)) copyElement(run.sink, at.dataSet, element);
  else writeElement(run.sink, element.tag, plan.vr, littleEndianValue(at.dataSet, element));
}

/** A value that is not what its VR says may be anything: it goes, and a dummy comes where the IOD wants a value. */
function invalid(run: Rewriting, at: Place, element: DataElement): void {
  run.counts.invalidRemoved++;
  actByCode(run, at, element, 'X/Z/D');
}

function keepCodeString(run: Rewriting, at: Place, element: DataElement, plan: Plan): void {
  const text = asciiOf(at.dataSet, element);
  const values = text.split('\\').map(asCodeString);
  const allowed = plan.terms;
  const isBad = (value: string | undefined): boolean =>
    value === undefined || (allowed !== undefined && !allowed.has(value.trim()));
  // One odd value of several is replaced, so that the others keep their places.
  if (values.every(isBad)) return invalid(run, at, element);
  const code = values.map((value) => (isBad(value) ? 'REMOVED' : value)).join('\\');
  if (values.some(isBad)) run.counts.invalidRemoved++;
  if (hasIdentifyingWord(run, code)) {
    const required = isRequired(typeOf(run, at.path, element.tag));
    if (!required || isName(run, element.tag, code)) return invalid(run, at, element);
  }
  if (code === text) return keep(run, at, element, plan);
  writeText(run.sink, element.tag, 'CS', code);
  run.counts.kept++;
}

/** In an attribute that the IOD requires, a code is the patient's name only as a whole word that no examination has; never in group 0028. */
function isName(run: Rewriting, attribute: number, code: string): boolean {
  if (attribute >>> 16 === 0x0028) return false;
  return code.split(/[\\_ ]+/).some((word) => run.identifyingWords.has(word) && !isClinicalWord(word.toLowerCase()));
}

function isRequired(type: AttributeType | undefined): boolean {
  return type === '1' || type === '1C';
}

/** Code Value, Coding Scheme Designator, Code Meaning ...: kept where the scheme is a published one, else made meaningless. */
function keepCoded(run: Rewriting, at: Place, element: DataElement, plan: Plan): void {
  const designator = findElement(at.dataSet, CODING_SCHEME_DESIGNATOR);
  const isPublic = designator !== undefined && isPublicScheme(asciiOf(at.dataSet, designator));
  const text = withoutTrailingPadding(decodeText(at.set, littleEndianValue(at.dataSet, element), plan.vr));
  if (text === '') {
    writeElement(run.sink, element.tag, plan.vr, EMPTY);
    return;
  }
  const isMeaning = plan.vr === 'LO';
  const harmless = isPublic && (isMeaning ? !hasIdentifyingWord(run, text) : isPlainCode(text));
  if (harmless) {
    writeElement(run.sink, element.tag, plan.vr, encodeText(text));
    run.counts.kept++;
    return;
  }
  const meaning = isMeaning && run.profile.options.has('clean-descriptors') ? run.cleaner().clean(text) : '';
  if (meaning !== '') {
    writeText(run.sink, element.tag, 'LO', meaning);
    run.counts.cleaned++;
    return;
  }
  run.counts.dummies++;
  if (element.tag === CODING_SCHEME_DESIGNATOR) writeText(run.sink, element.tag, 'SH', '99LOCAL');
  else if (isMeaning) writeText(run.sink, element.tag, 'LO', 'REMOVED');
  else
    writeText(run.sink, element.tag, plan.vr, (plan.vr === 'UR' ? 'urn:x:' : '') + pseudonymOfText(run.domain, text));
}

function keepText(run: Rewriting, at: Place, element: DataElement, plan: Plan): void {
  const text = withoutTrailingPadding(decodeText(at.set, littleEndianValue(at.dataSet, element), plan.vr));
  if (hasIdentifyingWord(run, text)) return removeText(run, at, element, plan);
  writeElement(run.sink, element.tag, plan.vr, encodeText(text));
  run.counts.kept++;
}

/** Free text goes; where the IOD wants a value, short text becomes a word (equal stays equal), long text a dummy. */
function removeText(run: Rewriting, at: Place, element: DataElement, plan: Plan): void {
  const { unknown } = run.profile.file;
  if (unknown === 'quarantine')
    throw new Refusal('Quarantined', `${formatTag(element.tag)} is free text that the profile does not know`);
  if (unknown === 'clean') return cleanValue(run, at, element, 'X/Z/D');
  const action = resolveAction('X/Z/D', typeOf(run, at.path, element.tag), hasAttributeTypes(run.sopClassUID));
  if (action === 'D' && (plan.vr === 'SH' || plan.vr === 'LO')) return writeWord(run, at, element);
  if (action === 'X') run.counts.unknownRemoved++;
  apply(run, at, element, action);
}

function hasIdentifyingWord(run: Rewriting, text: string): boolean {
  if (run.identifyingWords.size === 0) return false;
  const upper = text.toUpperCase();
  for (const word of run.identifyingWords) if (upper.includes(word)) return true;
  return false;
}

export function writeDummyCode(sink: Sink, sequenceTag: number): void {
  writeCodeSequence(sink, sequenceTag, () => writeCode(sink, 'REMOVED', '99LOCAL', 'REMOVED'));
}

export function writeCodeSequence(sink: Sink, sequenceTag: number, writeItems: () => void): void {
  const sequence = beginSequence(sink, sequenceTag);
  writeItems();
  endSequence(sink, sequence);
}

/** One item of a code sequence (PS3.3 8.8). */
export function writeCode(sink: Sink, value: string, designator: string, meaning: string): void {
  const mark = beginItem(sink);
  writeText(sink, CODE_VALUE, 'SH', value);
  writeText(sink, CODING_SCHEME_DESIGNATOR, 'SH', designator);
  writeText(sink, tag('CodeMeaning'), 'LO', meaning);
  endItem(sink, mark);
}
