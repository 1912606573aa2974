/** A stored object as verification sees it, read from its bytes: text that is left, every UID, and what it says of itself. One walk. */
import { asciiOf, asciiValue, itemsOf, textValue, valueBytes, withoutTrailingPadding } from '../dicom/data-set.ts';
import type { DataElement, DataSet } from '../dicom/data-set.ts';
import { decodeText, UTF_8 } from '../dicom/character-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Vr } from '../dicom/vr.ts';
import { isPublicScheme } from './codes.ts';
import { STAMP_TAGS } from './stamps.ts';

export interface Inspected {
  readonly texts: readonly { readonly path: readonly number[]; readonly value: string }[];
  readonly uids: readonly { readonly path: readonly number[]; readonly uid: string }[];
  readonly says: Stamped;
}

/** What the object says of its own de-identification. */
export interface Stamped {
  /** The first eight digits of the hash of each rule set named in (0012,0063), the last one first. */
  readonly ruleSets: readonly string[];
  /** (0012,0062). */
  readonly identityRemoved: string;
  /** (0028,0301). */
  readonly burnedIn: string;
  /** (0028,0302). */
  readonly recognizable: string;
  /** Codes of CID 7050. */
  readonly codes: readonly string[];
}

const FREE_TEXT: ReadonlySet<Vr> = new Set(['LO', 'LT', 'PN', 'SH', 'ST', 'UC', 'UR', 'UT']);
const STAMPS: ReadonlySet<number> = new Set(STAMP_TAGS);
/** Words that a code is made of: no text of a person where the scheme is a published one. */
const CODES: ReadonlySet<number> = new Set(
  ['CodeValue', 'LongCodeValue', 'URNCodeValue', 'CodeMeaning', 'CodingSchemeDesignator', 'CodingSchemeVersion'].map(
    tag,
  ),
);
const CODING_SCHEME_DESIGNATOR = tag('CodingSchemeDesignator');

export function inspect(dataSet: DataSet): Inspected {
  const texts: { path: number[]; value: string }[] = [];
  const uids: { path: number[]; uid: string }[] = [];
  walk(dataSet, [], (at, element, path) => {
    if (element.vr === 'UI') {
      for (const uid of asciiOf(at, element).split('\\')) if (uid.trim() !== '') uids.push({ path, uid: uid.trim() });
    } else if (isFreeText(at, element, path)) {
      const value = withoutTrailingPadding(decodeText(UTF_8, valueBytes(at, element), element.vr)).trim();
      if (value !== '') texts.push({ path, value });
    }
  });
  return { texts, uids, says: stamped(dataSet) };
}

function walk(
  dataSet: DataSet,
  path: readonly number[],
  visit: (at: DataSet, element: DataElement, path: number[]) => void,
): void {
  for (const element of dataSet.elements) {
    const here = [...path, element.tag];
    if (element.items === undefined) visit(dataSet, element, here);
    for (const item of element.items ?? []) walk(item, here, visit);
  }
}

function isFreeText(at: DataSet, element: DataElement, path: readonly number[]): boolean {
  if (!FREE_TEXT.has(element.vr) || STAMPS.has(path[0] ?? 0)) return false;
  return !(CODES.has(element.tag) && isPublicScheme(asciiValue(at, CODING_SCHEME_DESIGNATOR) ?? ''));
}

export function stamped(dataSet: DataSet): Stamped {
  const methods = (textValue(dataSet, tag('DeidentificationMethod'), UTF_8) ?? '').split('\\');
  return {
    ruleSets: methods.flatMap((method) => /^Isthmus \S+ .+@([0-9a-f]{8})$/.exec(method.trim())?.[1] ?? []).reverse(),
    identityRemoved: asciiValue(dataSet, tag('PatientIdentityRemoved')) ?? '',
    burnedIn: asciiValue(dataSet, tag('BurnedInAnnotation')) ?? '',
    recognizable: asciiValue(dataSet, tag('RecognizableVisualFeatures')) ?? '',
    codes: itemsOf(dataSet, tag('DeidentificationMethodCodeSequence')).flatMap(
      (item) => asciiValue(item, tag('CodeValue')) ?? [],
    ),
  };
}
