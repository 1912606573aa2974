/** What can become of a value by its letter of Table E.1-1: gone, empty, a dummy, a pseudonym, or kept as it is. */
import { decodeText } from '../dicom/character-set.ts';
import { asciiOf, numberValue, withoutTrailingPadding, type DataElement } from '../dicom/data-set.ts';
import { vrOf } from '../dicom/dictionary.ts';
import { attributeType, hasAttributeTypes, type AttributeType } from '../dicom/iod.ts';
import { isWellKnownUid } from '../dicom/sop-class.ts';
import { isUid } from '../dicom/uid.ts';
import type { Vr } from '../dicom/vr.ts';
import { copyElement, littleEndianValue, writeElement, writeText } from '../dicom/writer.ts';
import { dummyValue, resolveAction, type PlainAction } from './actions.ts';
import type { CompiledProfile } from './profile.ts';
import { pseudonymOfText, pseudonymOfUid } from './pseudonyms.ts';
import { EMPTY, type Place, type Rewriting } from './rewriting.ts';
import type { BasicAction } from './rule.ts';
import type { Plan } from './unlisted.ts';
import type { Domain } from './wall.ts';

/** The table's letter for this attribute in this object's IOD. */
export function letterOf(run: Rewriting, at: Place, element: DataElement, code: BasicAction): PlainAction {
  const conditional = code.length > 1 || code === 'Z';
  const type = conditional ? typeOf(run, at.path, element.tag) : undefined;
  return resolveAction(code, type, conditional && hasAttributeTypes(run.sopClassUID));
}

export function actByCode(run: Rewriting, at: Place, element: DataElement, code: BasicAction): void {
  apply(run, at, element, letterOf(run, at, element, code));
}

/** Of anything but a sequence. */
export function apply(run: Rewriting, at: Place, element: DataElement, action: PlainAction): void {
  const { counts } = run;
  const vr = vrOf(element.tag) ?? element.vr;
  switch (action) {
    case 'X':
    case 'walk':
      counts.removed++;
      return;
    case 'Z':
      writeElement(run.sink, element.tag, vr, EMPTY);
      counts.emptied++;
      return;
    case 'U':
      return mapUids(run, at, element);
    case 'D':
      if (vr === 'UI') return mapUids(run, at, element);
      writeElement(run.sink, element.tag, vr, vr === 'SQ' ? EMPTY : dummyValue(vr));
      counts.dummies++;
      return;
  }
}

/** The type in the IOD, remembered by class and place. */
export function typeOf(run: Rewriting, path: readonly number[], last: number): AttributeType | undefined {
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

export function isRequired(type: AttributeType | undefined): boolean {
  return type === '1' || type === '1C';
}

/** A value that is not what its VR says may be anything: it goes, and a dummy comes where the IOD wants a value. */
export function invalid(run: Rewriting, at: Place, element: DataElement): void {
  run.counts.invalidRemoved++;
  actByCode(run, at, element, 'X/Z/D');
}

/** As it is, under the dictionary's VR. */
export function keep(run: Rewriting, at: Place, element: DataElement, plan: Plan): void {
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

/** Every value of a multi-valued UID by itself; what the standard registers stays. */
export function mapUids(run: Rewriting, at: Place, element: DataElement): void {
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

/** They resolve to themselves on the way back. */
export function keepUids(run: Rewriting, at: Place, element: DataElement): void {
  const uids = asciiOf(at.dataSet, element).split('\\');
  if (!uids.every((uid) => uid === '' || isUid(uid))) return mapUids(run, at, element);
  for (const uid of uids) if (uid !== '' && !isWellKnownUid(uid)) run.uids.set(uid, uid);
  run.counts.kept++;
  writeElement(run.sink, element.tag, 'UI', Buffer.from(uids.join('\\'), 'latin1'));
}

/** Attributes of VR UI that the table does not name refer to what its rows define. */
export function retainsUids(run: Rewriting): boolean {
  return run.profile.options.has('retain-uids');
}

/** A UID that the profile retains stands for itself; what is no UID is none to retain. */
export function pseudonymFor(profile: CompiledProfile, domain: Domain, uid: string): string {
  return profile.options.has('retain-uids') && isUid(uid) ? uid : pseudonymOfUid(domain, uid);
}

/** Equal words stay equal, so that what refers to them still does. */
export function writeWord(run: Rewriting, at: Place, element: DataElement): void {
  const vr = vrOf(element.tag) ?? element.vr;
  const text = textOf(at, element, vr);
  writeText(run.sink, element.tag, vr, text === '' ? '' : pseudonymOfText(run.domain, text));
  run.counts.dummies++;
}

/** Decoded, without the padding. */
export function textOf(at: Place, element: DataElement, vr: Vr): string {
  return withoutTrailingPadding(decodeText(at.set, littleEndianValue(at.dataSet, element), vr));
}

/** Whether a name or number of the object's people is part of a text. */
export function hasIdentifyingWord(run: Rewriting, text: string): boolean {
  if (run.identifyingWords.size === 0) return false;
  const upper = text.toUpperCase();
  for (const word of run.identifyingWords) if (upper.includes(word)) return true;
  return false;
}
