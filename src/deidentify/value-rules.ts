/** One value by its rule: kept, cleaned or moved as a profile says, and by the table's letter where it is not what its VR says. */
import { decodeText } from '../dicom/character-set.ts';
import { asciiOf, findElement, type DataElement } from '../dicom/data-set.ts';
import { tag, vrOf } from '../dicom/dictionary.ts';
import { VR_TRAITS, type Vr } from '../dicom/vr.ts';
import { littleEndianValue, writeElement, writeText } from '../dicom/writer.ts';
import {
  ageInYears,
  areNumbers,
  asCodeString,
  capAge,
  isTime,
  shiftDate,
  shiftDateTime,
  yearOfDate,
  yearOfDateTime,
} from './actions.ts';
import { isIdentifyingConcept } from './concepts.ts';
import { isIdentifier } from './identity.ts';
import { EMPTY, type Place, type Rewriting } from './rewriting.ts';
import type { BasicAction, Rule } from './rule.ts';
import { planOf, type Plan } from './unlisted.ts';
import {
  actByCode,
  apply,
  hasIdentifyingWord,
  invalid,
  isRequired,
  keep,
  keepUids,
  mapUids,
  textOf,
  typeOf,
  writeWord,
} from './value-outcomes.ts';
import { isClinicalWord } from './vocabulary.ts';

/** Of anything but a sequence: what keeps or replaces a sequence removes the rest. */
export function actOnValue(run: Rewriting, at: Place, element: DataElement, rule: Rule): void {
  switch (rule.action) {
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
    case 'walk':
    case 'code':
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

const SPECIES = [tag('PatientSpeciesDescription'), tag('PatientSpeciesCodeSequence')];

/** K: the value as it is, when it is what its VR says; the patient's own names and numbers have no place in it. */
function keepValue(run: Rewriting, at: Place, element: DataElement, otherwise: BasicAction): void {
  const plan = planOf(element.tag);
  const vr = vrOf(element.tag) ?? element.vr;
  switch (vr) {
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

export function keepCodeString(run: Rewriting, at: Place, element: DataElement, plan: Plan): void {
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

function isDateLike(text: string, vr: 'DA' | 'DT' | 'TM'): boolean {
  return text.split('\\').every((value) => {
    if (vr === 'TM') return isTime(value.trim());
    return (vr === 'DT' ? yearOfDateTime(value.trim()) : yearOfDate(value.trim())) !== undefined;
  });
}

/** C: what remains of a text; other values by what they are. */
export function cleanValue(run: Rewriting, at: Place, element: DataElement, otherwise: BasicAction): void {
  const vr = vrOf(element.tag) ?? element.vr;
  switch (vr) {
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

/** DA, DT and TM by the profile's way with dates; what is no date falls to the table's letter. */
export function actOnDate(run: Rewriting, at: Place, element: DataElement, otherwise: BasicAction): void {
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
