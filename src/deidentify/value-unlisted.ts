/** One value that no rule names: by what the dictionary says it is (`unlisted`). */
import { encodeText } from '../dicom/character-set.ts';
import { asciiOf, findElement, formatTag, type DataElement } from '../dicom/data-set.ts';
import { Refusal } from '../dicom/refusal.ts';
import { VR_TRAITS } from '../dicom/vr.ts';
import { writeElement, writeText } from '../dicom/writer.ts';
import { areNumbers } from './actions.ts';
import { CODING_SCHEME_DESIGNATOR, isPlainCode, isPublicScheme } from './codes.ts';
import { pseudonymOfText } from './pseudonyms.ts';
import { EMPTY, type Place, type Rewriting } from './rewriting.ts';
import { planOf, type Plan } from './unlisted.ts';
import {
  apply,
  hasIdentifyingWord,
  invalid,
  keep,
  keepUids,
  letterOf,
  mapUids,
  retainsUids,
  textOf,
  writeWord,
} from './value-outcomes.ts';
import { actOnDate, cleanValue, keepCodeString } from './value-rules.ts';

/** Of anything but a sequence. */
export function actOnUnlistedValue(run: Rewriting, at: Place, element: DataElement): void {
  const { counts } = run;
  const plan = planOf(element.tag);
  if (!fits(plan, element)) {
    counts.unknownRemoved++;
    return;
  }
  switch (plan.kind) {
    case 'drop':
    case 'sequence':
      counts.unknownRemoved++;
      return;
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
export function fits(plan: Plan, element: DataElement): boolean {
  if (element.fragments !== undefined) return false;
  if (plan.vrs.includes(element.vr)) return true;
  const wanted = VR_TRAITS[plan.vr];
  const found = VR_TRAITS[element.vr];
  return wanted.text !== false && found.text !== false && element.vr !== 'UI';
}

/** Code Value, Coding Scheme Designator, Code Meaning ...: kept where the scheme is a published one, else made meaningless. */
function keepCoded(run: Rewriting, at: Place, element: DataElement, plan: Plan): void {
  const designator = findElement(at.dataSet, CODING_SCHEME_DESIGNATOR);
  const isPublic = designator !== undefined && isPublicScheme(asciiOf(at.dataSet, designator));
  const text = textOf(at, element, plan.vr);
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
  const text = textOf(at, element, plan.vr);
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
  const action = letterOf(run, at, element, 'X/Z/D');
  if (action === 'D' && (plan.vr === 'SH' || plan.vr === 'LO')) return writeWord(run, at, element);
  if (action === 'X') run.counts.unknownRemoved++;
  apply(run, at, element, action);
}
